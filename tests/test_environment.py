"""The program in unusual surroundings: streams, folders, homes, signals, limits. Each trouble gets its own message,
and none is reported as a bug.

By subprocess through a shell: closed descriptors, deleted folders and ignored signals are made there.
"""

import atexit
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from imagegen_cli.core.task import ImageRequest
from imagegen_cli.storage import serialize
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures, Reply
from tests.program import LIMIT, Ended, Program, finished
from tests.test_doctor import until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="these are ways of POSIX shells")

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
DRAW = "$IG run cat --size 64x64"
BUGS = ("Traceback", "this is a bug", "Exception ignored")


@cache
def starter() -> Path:
    """A program that starts ours, under a name that a script need not quote: the interpreter's may hold a blank.

    Every user may run it, also one whom the system does not know.
    """
    folder = Path(tempfile.mkdtemp(prefix="imagegen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    path = folder / "ig"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m imagegen_cli "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def shell(program: Program, script: str, *, without: tuple[str, ...] = (), **more: str) -> Ended:
    environment = program.environment(IG=str(starter()), PY=sys.executable, **more)
    kept = {name: value for name, value in environment.items() if name not in without}
    command = ["sh", "-c", script]
    result = subprocess.run(
        command, cwd=program.folder, env=kept, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False
    )
    ended = Ended(result.returncode, result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace"))
    assert not [bug for bug in BUGS if bug in ended.out + ended.err], ended.err
    return ended


@pytest.fixture
def alone(tmp_path: Path) -> Program:
    return Program(tmp_path)


STREAMS = [
    (f"{DRAW} >&-", 2, "stdout is closed; redirect it to /dev/null"),
    (f"{DRAW} 2>&-", 2, "stderr is closed; redirect it to /dev/null"),
    (f"{DRAW} >&- 2>&-", 2, ""),
    ("$IG --version >&-", 2, "stdout is closed"),
    ("$IG list >&-", 2, "stdout is closed"),
    (f"{DRAW} <&-", 0, "1 done"),
    ("$IG run - <&-", 4, "there is no prompt"),
    ("$IG providers | head -0", 0, ""),
]


@pytest.mark.parametrize(("script", "code", "expected"), STREAMS)
def test_streams_that_are_closed(alone: Program, script: str, code: int, expected: str) -> None:
    ended = shell(alone, script)
    assert ended.code == code
    assert expected in ended.err + ended.out
    assert code == 0 or not (alone.home / "history.db").exists()


ENDS = """
import os, signal
import imagegen_cli.__main__ as program
program._end_by_code()
os.kill(os.getpid(), signal.{name})
"""
AT_THE_VERY_END = """
import os, signal
from imagegen_cli import cli
class Late:
    def __del__(self, kill=os.kill, own=os.getpid()):
        kill(own, 2)
late = Late()
cli._exit(130)
"""

WHILE_A_CLASS_IS_MADE = """
import dataclasses, os, sys
kind = dataclasses.Field
before = kind.__set_name__
def interrupted(field, owner, name):
    if owner.__name__ == "PromptSpec":
        kind.__set_name__ = before
        os.kill(os.getpid(), 2)
    return before(field, owner, name)
kind.__set_name__ = interrupted
sys.argv[1:] = ["run", "a cat"]
from imagegen_cli.__main__ import main
main()
"""
WHILE_THE_LOOP_IS_MADE = """
import asyncio, os, sys
before = asyncio.new_event_loop
def interrupted():
    os.kill(os.getpid(), 2)
    return before()
asyncio.events.new_event_loop = interrupted
sys.argv[1:] = ["run", "a cat"]
from imagegen_cli.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize(
    "script",
    [
        WHILE_A_CLASS_IS_MADE,
        WHILE_THE_LOOP_IS_MADE,
    ],
    ids=["while a command is imported", "while the event loop is made"],
)
def test_ctrl_c_while_the_program_starts_ends_it_without_a_word(alone: Program, script: str) -> None:
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, cwd=alone.folder, env=alone.environment(), check=False, stderr=subprocess.PIPE, text=True
    )
    assert (ended.returncode, ended.stderr) == (130, "")
    assert alone.pictures() == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(
    ("script", "code"),
    [(ENDS.format(name="SIGTERM"), 143), (ENDS.format(name="SIGHUP"), 129), (AT_THE_VERY_END, 130)],
    ids=["SIGTERM", "SIGHUP", "Ctrl-C"],
)
def test_a_signal_before_and_after_all_ends_by_an_exit_code(alone: Program, script: str, code: int) -> None:
    ended = subprocess.run([sys.executable, "-c", script], cwd=alone.folder, env=alone.environment(), check=False)
    assert ended.returncode == code


WRITTEN = [
    ("$IG --version >/dev/full", 2, "No space left on device"),
    ("$IG --help >/dev/full", 2, "No space left on device"),
    ("$IG providers >/dev/full", 2, "No space left on device"),
    ("$IG config show >/dev/full", 2, "No space left on device"),
    (f"{DRAW} --quiet; $IG list --json >/dev/full", 2, "No space left on device"),
    (f"{DRAW} --json >/dev/full", 1, "No space left on device"),
    (f"{DRAW} >/dev/full", 1, "No space left on device"),
    (f"{DRAW} --json >/dev/full 2>/dev/full", 1, ""),
    (f"{DRAW} 2>/dev/full", 0, ""),
    ("$IG run --nonsense 2>/dev/full", 2, ""),
    ("$IG run cat --size odd 2>/dev/full", 2, ""),
]


@FULL
@pytest.mark.parametrize(("script", "code", "expected"), WRITTEN)
def test_streams_that_are_full(alone: Program, script: str, code: int, expected: str) -> None:
    """With the pictures on disk the code is 1, and a message says what is missing on stdout. Else it is 2."""
    ended = shell(alone, script)
    assert ended.code == code
    assert expected in ended.err
    assert len(alone.pictures()) == (DRAW in script)


@pytest.mark.parametrize("words", ["run cat", "list", "doctor", "config path", "batch x.txt", "resume"])
def test_a_working_directory_that_was_deleted(alone: Program, words: str) -> None:
    ended = shell(alone, f"mkdir gone; cd gone; rmdir ../gone; $IG {words}")
    assert ended.code == 2
    assert "the working directory cannot be used" in ended.err
    assert not (alone.home / "history.db").exists()
    assert shell(alone, "mkdir gone; cd gone; rmdir ../gone; $IG --version && $IG run --help").code == 0


DEEP = """
import os
for name in ["d" * 200] * {levels}:
    os.mkdir(name)
    os.chdir(name)
if {levels} < 20:
    left = 4080 - len(os.getcwd())
    for size in (left // 2, left - left // 2 - 2):
        os.mkdir("e" * size)
        os.chdir("e" * size)
os.execvp("sh", ["sh", "-c", os.environ["DRAW"]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("levels", [25, 19])
def test_a_working_directory_with_too_long_a_path(alone: Program, levels: int) -> None:
    """Also one that is not too long itself, but leaves no room for a picture's name."""
    try:
        ended = shell(
            alone, f'exec {shlex.quote(sys.executable)} -c "$DEEP"', DEEP=DEEP.format(levels=levels), DRAW=DRAW
        )
    finally:
        subprocess.run(["rm", "-rf", "d" * 200], cwd=alone.folder, check=True)
    assert ended.code == 2
    assert "name too long" in ended.err.lower()
    assert not (alone.home / "history.db").exists()


HOMES = [
    ("", "there is no home folder", ("HOME",), ["setpriv", "--reuid=54321", "--clear-groups"]),
    ("HOME=", "HOME is empty", (), []),
    ("HOME=/dev/null", "set IMAGEGEN_HOME to a folder that can be written", (), []),
    ("IMAGEGEN_HOME=/dev/null", "set IMAGEGEN_HOME to a folder that can be written", (), []),
    ("IMAGEGEN_HOME=~nobodyhere/x", "~nobodyhere/x cannot be found", (), []),
    ("IMAGEGEN_CONFIG=/", "/ cannot be read", (), []),
]


@pytest.mark.parametrize(
    ("setting", "expected", "without", "as_"), HOMES, ids=[row[0] or "unknown uid" for row in HOMES]
)
def test_homes_that_are_none(
    alone: Program, setting: str, expected: str, without: tuple[str, ...], as_: list[str]
) -> None:
    if as_ and (os.geteuid() or not shutil.which(as_[0]) or not reachable(as_)):
        pytest.skip("only root can become a user that the system does not know")
    alone.folder.chmod(0o777)
    draw = DRAW.replace("$IG", '"$PY" -m imagegen_cli')  # another user may start the interpreter, but no script of ours
    script = f"{'cd /; ' if as_ else ''}env {setting} {' '.join(as_)} {draw}"
    ended = shell(alone, script, without=("IMAGEGEN_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", *without))
    assert ended.code == 3
    assert expected in ended.err
    assert alone.pictures() == []
    assert not (alone.folder / "~").exists()


def reachable(as_: list[str]) -> bool:
    command = [*as_, sys.executable, "-c", "import imagegen_cli"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("words", ["run cat -o", "batch", "run cat --image"])
def test_a_home_of_a_stranger_in_a_path(alone: Program, words: str) -> None:
    ended = shell(alone, f"$IG {words} '~nobodyhere/x'")
    assert ended.code in (2, 3)
    assert "~nobodyhere/x" in ended.err


def test_json_is_utf_8_in_every_locale(alone: Program) -> None:
    draw = "$IG run 猫é --size 64x64"
    for script in (
        f"{draw} --json",
        "$IG list --json",
        "$IG show 1 --json",
        f"{draw} --dry-run",
        "$IG providers --json",
    ):
        ended = shell(alone, script, PYTHONUTF8="0", PYTHONIOENCODING="gbk")
        assert ended.lines
        assert "\ufffd" not in ended.out
        for line in ended.lines:
            json.loads(line)
    assert "猫é" in shell(alone, "$IG list --json", PYTHONUTF8="0", PYTHONIOENCODING="gbk").out


# Signals and limits


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=10_000, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    provider = f'[providers.studio]\nkind = "dreamina"\nbase_url = "{server.url}"\npoll = 0.05\n'
    return Program(tmp_path, f'default_provider = "studio"\n{provider}')


@pytest.mark.parametrize("name", ["INT", "HUP", "TERM"])
def test_a_signal_that_is_ignored_stays_ignored(studio: Program, server: DreaminaServer, name: str) -> None:
    """`nohup` ignores SIGHUP, and a script's `&` ignores SIGINT."""
    command = ["sh", "-c", f"trap '' {name}; exec {shlex.quote(sys.executable)} -m imagegen_cli run cat"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=studio.folder, env=studio.environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    until(lambda: server.counts["query"] >= 2)
    process.send_signal(signal.Signals[f"SIG{name}"])
    queries = server.counts["query"]
    until(lambda: server.counts["query"] >= queries + 3)
    for job in server.jobs.values():
        job.min_polls = 0
    ended = finished(process)
    assert ended.code == 0
    assert "stopping" not in ended.err
    assert server.counts["cancel"] == 0


LIMITED = """
import resource
from imagegen_cli.storage.processes import more_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
more_files()
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(soft == min(hard, 4096), soft)
"""


def test_the_soft_limit_of_open_files_is_raised() -> None:
    result = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("True")


def test_a_hard_limit_that_no_run_fits_in_is_said(alone: Program) -> None:
    ended = shell(alone, f"ulimit -n 12; {DRAW}")
    assert ended.code == 3
    assert "ulimit -n" in ended.err
    assert not (alone.home / "history.db").exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300"])
def test_a_time_limit_that_is_none(alone: Program, seconds: str) -> None:
    assert shell(alone, f"{DRAW} --timeout {seconds}").code == 2


# Large histories

MEASURED = """
import pathlib, re, sys
sys.argv[0] = "imagegen"
from imagegen_cli.__main__ import main
try:
    main()
finally:
    status = pathlib.Path("/proc/self/status").read_text()
    sys.stderr.write("PEAK " + re.search(r"VmHWM:\\s*(\\d+) kB", status)[1])
"""
TASKS = 60_000
MANY = """
WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < :most)
INSERT INTO task
(id, run, provider, model, size, prompt, request, identity, folder, name, expected_images, state, detail, created)
SELECT id, 1, 'studio', '4.0', '', 'a cat', :request, 'x', :folder, id || '-cat-{index}', 1, :state, :detail, 1.0 FROM n
"""
MAX_MB = 70


def large(program: Program, state: str) -> None:
    with closing(Store(program.home / "history.db")):
        pass
    folder = str(program.folder / "images")
    Path(folder).mkdir()
    request = serialize.dumps(serialize.from_request(ImageRequest(prompt="a cat", provider="studio")))
    detail = '{"files": ["/x.png"]}' if state == "done" else "{}"
    with closing(sqlite3.connect(program.home / "history.db", isolation_level=None)) as database:
        database.execute("INSERT INTO run (command, started) VALUES ('batch', 1.0)")
        database.execute(MANY, {"most": TASKS, "folder": folder, "request": request, "state": state, "detail": detail})


@pytest.mark.skipif(sys.platform != "linux", reason="others count memory otherwise")
@pytest.mark.parametrize("state", ["done", "queued"])
@pytest.mark.parametrize(("words", "code"), [(("doctor", "--fix"), 0), (("watch",), 4), (("list",), 0)])
def test_a_large_history_needs_little_memory(alone: Program, state: str, words: tuple[str, ...], code: int) -> None:
    large(alone, state)
    with closing(Store(alone.home / "history.db")) as store:
        (record,) = store.find(Filter(ids=(7,)))
        part = alone.folder / "images" / f".imagegen-{record.task.key}-1.part"
    part.write_bytes(b"half")
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], cwd=alone.folder, env=alone.environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    assert int(result.stderr.rpartition("PEAK ")[2]) < MAX_MB * 1024
    assert part.exists() == (state == "queued" or words[0] != "doctor")


# Neighbours


@pytest.mark.parametrize("words", [("models", "-p", "studio"), ("models", "studio"), ("credits", "-p", "studio")])
def test_a_provider_is_named_as_everywhere(studio: Program, words: tuple[str, ...]) -> None:
    ended = studio.run(*words)
    assert ended.code == 0
    assert all("studio" in line for line in ended.lines)


def test_two_providers_are_one_too_many(studio: Program) -> None:
    assert studio.run("models", "studio", "-p", "sketch").code == 2


def test_doctor_looks_at_one(studio: Program) -> None:
    far = '[providers.far]\nkind = "comfyui"\nbase_url = "http://127.0.0.1:9"\n'
    studio.configure((studio.home / "config.toml").read_text() + far)
    assert studio.run("doctor").code == 3
    for words in (("doctor", "studio"), ("doctor", "-p", "studio")):
        ended = studio.run(*words)
        assert ended.code == 0, ended.out
        assert "far" not in ended.out
    assert studio.run("doctor", "sudio").code == 2


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_failed_question_says_nothing_of_tasks(studio: Program, server: DreaminaServer, status: int) -> None:
    for where in ("query", "submit", "other", "any"):
        server.fail(where, Reply.json({"error": "no"}, status), times=None)
    for words in (["doctor", "studio"], ["models", "-p", "studio"], ["credits", "-p", "studio"]):
        ended = studio.run(*words)
        assert "retry" not in ended.out + ended.err, ended.out + ended.err
        assert "anew" not in ended.out + ended.err
