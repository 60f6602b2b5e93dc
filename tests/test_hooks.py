"""`--exec`: a command for each picture that is saved, which can do nothing to the run."""

import asyncio
import os
import re
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.hook_words import words_of
from imagegen_cli.commands.hooks import MAX_AT_ONCE, MAX_FAILURES_SAID, Hooks
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.events import Event, RunStarted, RunStopping, TaskChanged, TaskLearned
from imagegen_cli.core.masking import hide
from imagegen_cli.core.task import Done, ImageRequest, Job, RunId, SavedImage, Saving, State, Task, TaskId
from tests import clock
from tests.program import LIMIT

pytestmark = [pytest.mark.program, pytest.mark.skipif(os.name == "nt", reason="the commands here are POSIX")]
HOSTILE = "$(touch pwned) `touch pwned`; touch pwned | cat > pwned & \n'\"\\ {path} {id} -rf *"
WAITS = re.compile(r"waiting for \d commands? of --exec; Ctrl-C ends them")
SAY = "import sys; print(sys.argv[1:])"


def task(state: State, number: int = 1, prompt: str = "a cat", seed: int | None = None) -> Task:
    request = ImageRequest(prompt=prompt, provider="studio", model="4.0", seed=seed)
    return Task(
        id=TaskId(number), run=RunId(1), request=request, state=state, folder="/out", name=f"{number}-{{index}}",
        expected_images=2,
    )  # fmt: skip


def done(*paths: str, number: int = 1, **more: str) -> TaskChanged:
    return TaskChanged(0.0, task(Done(paths), number, **more))  # type: ignore[arg-type]


def run(
    words: list[str],
    *events: Event,
    timeout_s: float = LIMIT,
    prints_output: bool = True,
    between: Callable[[Hooks], Awaitable[None]] | None = None,
    runs: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> list[str]:
    """What is said while these events come and all commands end.

    That the end of the run waits for them is left out: it is said where a busy machine takes a second to start them.
    """
    said: list[str] = []

    async def all_of_it() -> None:
        hooks = Hooks(words, timeout_s, said.append, prints_output=prints_output)
        for event in events:
            hooks.tell(event)
        if between is not None:
            await between(hooks)
        await hooks.finished()
        await hooks.close()

    runs(all_of_it())
    return [line for line in said if not WAITS.fullmatch(line)]


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *words]


def test_every_placeholder_is_filled_in_as_a_part_of_its_word() -> None:
    learned = TaskLearned(0.0, TaskId(7), {"seed": 42})
    words = python(SAY, "p={path}", "{prompt}", "{id}/{index}", "{model}@{provider}", "{seed}", "{other}{}")
    assert run(words, learned, done("/out/7-2.png", number=7, prompt="a cat")) == [
        "7/2: ['p=/out/7-2.png', 'a cat', '7/2', '4.0@studio', '42', '{other}{}']"
    ]


def test_the_seed_of_the_request_is_used_where_no_service_told_one() -> None:
    state = Done(("/out/1-1.png",))
    said = run(python(SAY, "{seed}"), TaskChanged(0.0, task(state, seed=9)), TaskChanged(0.0, task(state)))
    assert said == ["1/1: ['9']"]


def test_a_hostile_prompt_stays_one_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = words_of(f"{shlex.quote(sys.executable)} -S -c '{SAY}' {{prompt}} x{{prompt}}")
    assert run(words, done("/out/1-1.png", prompt=HOSTILE)) == [f"1/1: {[HOSTILE, 'x' + HOSTILE]}"]
    assert list(tmp_path.iterdir()) == []


def test_each_picture_has_its_command_once_when_it_is_saved() -> None:
    first = task(Saving((SavedImage("/out/1-1.png"), SavedImage("/out/1-2.png")), Job("x")))
    said = run(python(SAY, "{path}"), TaskChanged(0.0, first), done("/out/1-1.png", "/out/1-2.png"))
    assert sorted(said) == ["1/1: ['/out/1-1.png']", "1/2: ['/out/1-2.png']"]


def test_pictures_from_before_have_none() -> None:
    before = task(Saving((SavedImage("/out/1-1.png"),), Job("x")))
    started = RunStarted(0.0, RunId(1), (before,))
    assert run(python(SAY, "{index}"), started, done("/out/1-1.png", "/out/1-2.png")) == ["1/2: ['2']"]


def test_output_is_said_in_few_short_lines_and_without_secrets() -> None:
    hide("sk-verysecret")
    code = "print('key sk-verysecret\\x1b[2J'); print(); print('x' * 5000); [print(n) for n in range(10**5)]"
    said = run(python(code), done("/out/1-1.png"))
    assert len(said) == 5
    assert "sk-verysecret" not in said[0]
    assert all(len(line) < 320 for line in said)
    assert run(python("print(1)"), done("/out/1-1.png"), prints_output=False) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (python("import sys; print('one'); sys.exit('two')"), "exit code 1: two"),
        (python("import os; os.kill(os.getpid(), 9)"), "it was ended by signal 9"),
        (["/no/such/command", "{path}"], "/no/such/command: No such file or directory"),
        (["echo", "a\0b"], "echo: embedded null byte"),
        (["echo", "{prompt}" * 40], "echo: Argument list too long"),
    ],
    ids=["exit code", "signal", "missing", "no argument", "too long"],
)
@pytest.mark.parametrize("prints_output", [True, False])
def test_a_failure_is_said(words: list[str], why: str, *, prints_output: bool) -> None:
    said = run(words, done("/out/1-1.png", prompt="p" * 30_000), prints_output=prints_output)
    assert said == [f"--exec failed for 1/1, the picture is saved: {why}"]


def test_many_failures_are_counted() -> None:
    events = [done(f"/out/{number}-1.png", number=number) for number in range(1, 10)]
    said = run(python("exit(3)"), *events)
    assert len(said) == MAX_FAILURES_SAID + 1
    assert said[-1] == "--exec failed for 4 more pictures"


def is_gone(pid: int) -> bool:
    """Whether a process has ended; whose parent has not asked for its end yet is still in the list of processes."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def alive_after(pids: list[int], limit_s: float = LIMIT) -> list[int]:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not all(map(is_gone, pids)):
        time.sleep(0.01)
    return [pid for pid in pids if not is_gone(pid)]


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def test_a_slow_command_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """The clock stands until the command has begun, then it jumps."""
    note = tmp_path / "pids"

    async def begun(_: Hooks) -> None:
        await asyncio.get_running_loop().run_in_executor(None, written, note)

    said = run(python(STUBBORN, str(note)), done("/out/1-1.png"), timeout_s=5.0, between=begun, runs=clock.run)
    assert said[-1] == "--exec failed for 1/1, the picture is saved: it was ended after 5 s (exec_timeout_s)"
    assert alive_after([int(pid) for pid in note.read_text(encoding="ascii").split()]) == []


def written(note: Path) -> None:
    """Wait until another process has written a note."""
    end = time.monotonic() + LIMIT
    while not note.exists() or not note.read_text(encoding="ascii"):
        assert time.monotonic() < end, f"{note} was never written"
        time.sleep(0.01)


LEAVES = """
import os, subprocess, sys
keeps = {} if sys.argv[2] == "open" else {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
child = subprocess.Popen(["sleep", "600"], **keeps)
open(sys.argv[1], "w").write(str(child.pid))
print("sent", flush=True)
sys.exit(int(sys.argv[3]))
"""


@pytest.mark.parametrize("pipe", ["open", "closed"])
@pytest.mark.parametrize(
    ("code", "told"), [(0, "1/1: sent"), (3, "--exec failed for 1/1, the picture is saved: exit code 3: sent")]
)
def test_a_command_has_ended_when_its_own_process_has(tmp_path: Path, pipe: str, code: int, told: str) -> None:
    note = tmp_path / "pid"
    begun = time.monotonic()
    assert run(python(LEAVES, str(note), pipe, str(code)), done("/out/1-1.png"), timeout_s=600)[-1] == told
    assert time.monotonic() - begun < 300
    assert alive_after([int(note.read_text(encoding="ascii"))]) == []


def test_a_child_that_leaves_the_session_keeps_nothing_waiting(tmp_path: Path) -> None:
    code = LEAVES.replace("**keeps", "start_new_session=True, **keeps")
    note = tmp_path / "pid"
    try:
        assert run(python(code, str(note), "open", "0"), done("/out/1-1.png"), timeout_s=60)[-1] == "1/1: sent"
    finally:
        os.kill(int(note.read_text(encoding="ascii")), 9)


def test_ctrl_c_ends_what_runs_and_begins_no_more(tmp_path: Path) -> None:
    async def stopping(hooks: Hooks) -> None:
        await asyncio.get_running_loop().run_in_executor(None, written, tmp_path / "1")
        hooks.tell(RunStopping(0.0, RunId(1), "Ctrl-C"))
        hooks.tell(done("/out/2-1.png", number=2))

    said = run(python(STUBBORN, f"{tmp_path}/{{id}}"), done("/out/1-1.png"), between=stopping)
    assert said == ["--exec was ended, or not begun, for 2 pictures"]
    assert alive_after([int(pid) for pid in (tmp_path / "1").read_text(encoding="ascii").split()]) == []
    assert not (tmp_path / "2").exists()


def test_few_run_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; open(f'{sys.argv[1]}/{os.getpid()}', 'w'); n = len(os.listdir(sys.argv[1]));"
        " time.sleep(0.05); os.unlink(f'{sys.argv[1]}/{os.getpid()}'); print(n)"
    )
    events = [done(f"/out/{number}-1.png", number=number) for number in range(1, 13)]
    said = run(python(code, str(tmp_path)), *events)
    counts = [int(line.rpartition(" ")[2]) for line in said]
    assert len(counts) == 12
    assert max(counts) <= MAX_AT_ONCE


LASTING = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"


def test_the_loop_goes_on_while_a_command_runs(tmp_path: Path) -> None:
    turns: list[int] = []

    async def counting(_: Hooks) -> None:
        (tmp_path / "go").touch()
        turns.append(1)

    assert run(python(LASTING, f"{tmp_path}/go"), done("/out/1-1.png"), between=counting) == []
    assert turns


def test_a_run_that_waits_for_its_commands_says_so(tmp_path: Path) -> None:
    """The command ends when that is said."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        (tmp_path / "go").touch()

    async def waiting() -> None:
        hooks = Hooks(python(LASTING, f"{tmp_path}/go"), LIMIT, say, prints_output=True)
        hooks.tell(done("/out/1-1.png"))
        await hooks.finished()
        await hooks.close()

    asyncio.run(waiting())
    assert said == ["waiting for 1 command of --exec; Ctrl-C ends them"]


def test_a_command_reads_no_keys_and_has_no_terminal() -> None:
    code = "import os, sys; print(repr(sys.stdin.read()), os.getsid(0) == os.getpid())"
    assert run(python(code), done("/out/1-1.png")) == ["1/1: '' True"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("rclone copy {path} cloud:pictures", ["rclone", "copy", "{path}", "cloud:pictures"]),
        ("a 'b c' \"d {prompt}\"", ["a", "b c", "d {prompt}"]),
        ("sh -c 'echo \"$1\"' - {prompt}", ["sh", "-c", 'echo "$1"', "-", "{prompt}"]),
        ("python3 -c 'print(1)' {prompt}", ["python3", "-c", "print(1)", "{prompt}"]),
        ("./bash-like -c {prompt}", ["./bash-like", "-c", "{prompt}"]),
        ("python3 -u note.py {prompt}", ["python3", "-u", "note.py", "{prompt}"]),
        ("awk -v x={prompt} '{print x}' {path}", ["awk", "-v", "x={prompt}", "{print x}", "{path}"]),
        ("./note.sh --to node {prompt}", ["./note.sh", "--to", "node", "{prompt}"]),
        ("fish '--command=echo $argv' {prompt}", ["fish", "--command=echo $argv", "{prompt}"]),
        ("bash note.sh --caption={prompt}", ["bash", "note.sh", "--caption={prompt}"]),
        ("timeout 5 note.sh {prompt}", ["timeout", "5", "note.sh", "{prompt}"]),
        ("sudo -u me -- note.sh {path}", ["sudo", "-u", "me", "--", "note.sh", "{path}"]),
        ("env A=1 nice -n 5 note.sh {path}", ["env", "A=1", "nice", "-n", "5", "note.sh", "{path}"]),
        ("find . -exec echo {} ';'", ["find", ".", "-exec", "echo", "{}", ";"]),
        ("./note.sh --to watch {prompt}", ["./note.sh", "--to", "watch", "{prompt}"]),
        ("watch 'echo ${IMAGEGEN_EXEC_PROMPT}'", ["watch", "echo ${IMAGEGEN_EXEC_PROMPT}"]),
        ("jq -n '{ path: 1 }' {{x}} {1} {a,b}", ["jq", "-n", "{ path: 1 }", "{{x}}", "{1}", "{a,b}"]),
    ],
)
def test_a_command_is_split_once(command: str, words: list[str]) -> None:
    assert words_of(command) == words


@pytest.mark.parametrize(
    "command",
    [
        "", "   ", "'' a", "a 'b", "a \\",
        "sh -c 'echo {prompt}'", "/bin/bash -lc 'x {path}'", "env A=1 zsh -c {prompt}", "CMD.EXE /c {prompt}",
        "pwsh -Command 'x {model}'", "timeout 5 dash -ec 'echo {seed}'",
        "python3 -c {prompt}", "/usr/bin/python3.11 -Ic 'print(\"{path}\")'", "python3 -W ignore -c{prompt}",
        "perl -e {prompt}", "perl -ne 'x {prompt}'", "ruby -e{prompt}", "node --eval={prompt}", "deno eval {prompt}",
        "fish --command={prompt}", "fish --command {prompt}", "fish -C {prompt} x.fish", "php -r {prompt}",
        "awk {prompt}", "awk -F , '/{prompt}/'", "sed -i s/x/{prompt}/ note.txt", "env -i bash {path}",
        "xargs lua5.4 -e {prompt}", "psql -c {prompt}", "su me -c {prompt}", "osascript -e 'say \"{prompt}\"'",
        "docker exec c {prompt}", "gosu me {prompt}", "bwrap --bind / / {prompt}", "uv run {prompt}",
        "env -S 'sh -c {prompt}'", "env '--split-string=sh -c {prompt}'", "env -iS 'x {prompt}'",
        "env -S 'sh -c' {prompt}",
        "env -i -vS sh -c {prompt}", "env --split 'x {path}'", "env A={prompt} note.sh", "env {prompt}",
        "flock x -c {prompt}", "flock -x lock {prompt}", "flock -n lock sh -c {prompt}", "timeout 5 {prompt}",
        "timeout -k 1 5 {prompt}", "nice -n 5 {prompt}", "sudo -u me {prompt}", "{prompt} x", "./{model} x",
        "watch {prompt}", "watch -n 1 'ls {path}'", "tmux new -d {prompt}", "parallel {prompt}",
        "parallel ::: {prompt}",
        "vim -c {prompt}", "nvim +{prompt}", "ssh host cat {path}", "nohup watch {prompt}", "sudo -- ssh h {prompt}",
        "timeout 5 env -S '{prompt}'", "emacs --eval {prompt}", "make X={prompt}", "xargs {prompt}",
        "nsenter -c {prompt}",
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_run_safely_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match="--exec"):
        words_of(command)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("rclone copy {file} cloud:", "did you mean path?"), ("echo x{promt}y", "did you mean prompt?"),
        ("echo {Prompt}", "did you mean prompt?"), ("echo {seed:04}", "did you mean seed?"), ("echo {date}",
        "known: "),
        ("awk {print} {path}", "as { print }"),
    ],
)  # fmt: skip
def test_a_placeholder_that_is_none_is_refused_and_the_nearest_is_named(command: str, hint: str) -> None:
    with pytest.raises(UsageError, match="has no placeholder") as caught:
        words_of(command)
    assert hint in caught.value.hint


def test_the_values_are_in_the_environment_too() -> None:
    code = "import os; print(sorted(v for k, v in os.environ.items() if k.startswith('IMAGEGEN_EXEC_')))"
    said = run(python(code), done("/out/1-1.png", prompt="$(x)\0\udc80\ud800"))
    assert said == ["1/1: ['', '$(x)\ufffd\\udc80\ufffd', '/out/1-1.png', '1', '1', '4.0', 'studio']"]
    assert run(python("print(1)"), done("/out/1-1.png", prompt="p" * 200_000)) == ["1/1: 1"]
