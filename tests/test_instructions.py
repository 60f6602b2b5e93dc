"""CPU instructions of a start, compared with a bare Python: a busy machine does not change them."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.program import Program

COMMAND = "import sys; sys.argv[0] = 'imagegen'; from imagegen_cli.__main__ import main; main()"
"""What the `imagegen` on a PATH does; the finder of modules that `python -m` loads is none of ours."""
VALGRIND = shutil.which("valgrind")
pytestmark = pytest.mark.skipif(VALGRIND is None, reason="valgrind counts instructions, and is not here")


@cache
def counted(folder: Path, *words: str) -> int:
    """What one run of Python with these words takes, its hashes fixed and everything compiled before."""
    environment = Program(folder).environment(PYTHONHASHSEED="0", PYTHONPATH=str(Path(__file__).parents[1]))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    plain = [sys.executable, *words]
    subprocess.run(plain, cwd=folder, env=environment, capture_output=True, check=False, timeout=60)
    result = subprocess.run(
        [str(VALGRIND), "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *plain],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    found = re.search(r"I\s+refs:\s+([\d,]+)", result.stderr)
    assert found, result.stderr
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize(
    ("words", "high"),
    [(("--version",), 1.5), (("--help",), 9), (("run", "--help"), 9), (("list",), 12.4)],
    ids=["version", "help", "run help", "list"],
)
def test_a_command_takes_no_more_than_so_many_bare_pythons(
    tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...], high: float
) -> None:
    """A checkout with a long path, or one outside of ASCII, takes 3 % more: each of 200 modules is looked for there."""
    folder = tmp_path_factory.getbasetemp()
    floor = counted(folder, "-c", "pass")
    assert counted(folder, "-c", COMMAND, *words) <= high * floor


def test_a_billion_variations_are_refused_about_as_fast_as_help(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    axes = [word for name in ("seed", "steps", "cfg") for word in ("--vary", f"{name}=1..1000")]
    assert counted(folder, "-c", COMMAND, "run", "a cat", *axes) <= 1.3 * counted(folder, "-c", COMMAND, "--help")
