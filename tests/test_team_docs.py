"""docs/team.md: every command on the page runs, as it is there, against a private server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres

PAGE = Path(__file__).parents[1] / "docs" / "team.md"
PREAMBLE = """
set -eu
sudo() {{ [ "$1" != -u ] || shift 2; "$@"; }}  # the server of this test is ours
apt-get() {{ :; }}
systemctl() {{ :; }}
tee() {{ cat >/dev/null; }}
pip() {{ [ "$*" = "install imagegen-cli[postgres]" ]; }}
psql() {{ command psql "{base}" "$@" >/dev/null; }}
imagegen() {{ "{python}" -m imagegen_cli "$@"; }}
"""


def commands() -> list[str]:
    return re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"))


@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    server = postgres.server()
    script = PREAMBLE.format(base=server.base, python=sys.executable) + "\n".join(commands())
    assert "imagegen work" in script
    script = script.replace("db.example.org:5432", f"127.0.0.1:{server.port}").replace(
        "@db.example.org/", f"@127.0.0.1:{server.port}/"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGEGEN_", "XDG_", "PG"))}
    kept |= {"HOME": str(tmp_path), "PYTHONPATH": str(PAGE.parents[1]), "IMAGEGEN_PROGRESS": "plain"}
    kept["PATH"] = f"{server.programs}:{kept['PATH']}"
    try:
        ended = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        server.execute("DROP DATABASE IF EXISTS imagegen WITH (FORCE)")
        server.execute("DROP ROLE IF EXISTS team")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 tasks wait for workers" in ended.stderr
    assert len(list((tmp_path / "images").glob("*.png"))) == 5
    assert "a-long-one" not in ended.stdout + ended.stderr
