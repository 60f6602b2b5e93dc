"""Where the driver or the server of PostgreSQL is absent, tests that need it are skipped and say why."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres

ROOT = Path(__file__).parents[1]
NEEDING = [
    "tests/test_team.py::test_a_history_is_copied_to_a_server_and_back",
    "tests/test_team.py::test_five_workers_hold_the_limit_of_the_account",
    "tests/test_team_docs.py",
    "tests/test_store_pictures.py",
    "tests/test_watch_hosts.py::test_one_host_is_no_news",
]
"""A test of each way to need it: by a mark, by a parameter, as a page, by a fixture."""


def test_without_the_driver_tests_are_collected_and_those_that_need_it_skip_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no psycopg')\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-k",
            "not sqlite",
            *NEEDING,
        ],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "psycopg is not installed (pip install 'imagegen-cli[postgres]')" in ended.stdout
    assert not re.search(r"\d+ (failed|error)", ended.stdout)
    assert re.search(r"(?<!\d)[1-9]\d* skipped", ended.stdout)


def test_where_no_server_is_installed_its_programs_are_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres.programs(tmp_path) is None
    for version in ("9", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch()
    assert postgres.programs(tmp_path) == tmp_path / "15" / "bin"
