"""The whole program in both languages: what people read differs, what machines read is the same to the byte."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.commands import guide
from imagegen_cli.core.errors import Reason
from tests import screen
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Ended, Program, finished
from tests.pseudo import untranslated

CHINESE = re.compile("[\u4e00-\u9fff]")
CONFIG = """
default_provider = "studio"
[budget]
day = "50usd"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
timeout = 1.0
[prices]
"studio/*" = "0.01usd"
"""
PROMPTS = (
    "cat", "dog #fail", "fox #lost", "#partial", "#object", "#1000", "#expired", "#none", "#invalid", "#flaky", "#500",
    "#dead", "#never",
)  # fmt: skip
"""One prompt for each way in which a task of the fake service ends."""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program whose history has tasks of all kinds of ends, made in Chinese."""
    with DreaminaServer(pictures=Pictures("png", (8, 8))) as server:
        server.credit_count = 3
        program = Program(tmp_path_factory.mktemp("words"), CONFIG.format(url=server.url))
        program.more = {"IMAGEGEN_LANG": "zh"}
        program.run("run", *PROMPTS, "--each", "--yes")
        program.run("run", "#1002", "--yes")
        yield program


@pytest.fixture
def person(used: Program, tmp_path: Path) -> Program:
    """A copy of that history."""
    folder = tmp_path / "work"
    shutil.copytree(used.folder, folder)
    (folder / "list.csv").write_text("prompt,ratio\nowl,1:1\n", encoding="utf-8")
    (folder / "bad.csv").write_text("prompt,ratio\nowl,x\n,1:1\n", encoding="utf-8")
    return Program(folder)


def said(person: Program, words: list[str], language: str) -> Ended:
    return person.run(*words, IMAGEGEN_LANG=language)


# What machines read


@pytest.mark.parametrize(
    "line",
    [
        "list --json", "show 1 --json", "show 2 --json", "show 3 --json", "export", "export --format csv",
        "runs --json",
        "costs --json", "costs --json --by model", "costs --csv", "models --json", "credits --json", "providers --json",
        "providers openai --json", "doctor --json", "run owl --dry-run --json", "batch list.csv --dry-run --json",
        "retry --failed --dry-run --json", "watch --replay --run 1 --speed 9999 --json", "info images --json",
        "schema", "schema task", "skill", "config path", "config show", "completion bash", "list --json --state failed",
        "list", "list --limit 3", "list --state failed", "runs", "cancel 1",
    ],
)  # fmt: skip
def test_what_machines_read_is_the_same(person: Program, line: str) -> None:
    english, chinese = (said(person, line.split(), language) for language in ("en", "zh"))
    assert _settled(english.out) == _settled(chinese.out)
    assert english.code == chinese.code
    assert english.out


def _settled(output: str) -> str:
    """An output without what differs from call to call: how long a question took."""
    return re.sub(r'"(?:seconds|elapsed|at|now|ms)": [\d.e-]+|\d+ ms', "", output)


def test_a_run_writes_the_same_events_and_the_same_history(tmp_path: Path) -> None:
    kept = []
    with DreaminaServer(pictures=Pictures("png", (8, 8))) as server:
        for language in ("en", "zh"):
            folder = tmp_path / "x"
            folder.mkdir()
            settings = CONFIG.replace("timeout = 1.0", "timeout = 5.0")  # time for the answer to a submit
            program = Program(folder, settings.format(url=server.url))
            ended = program.run("run", *PROMPTS, "--each", "--yes", "--json", "-j", "1", IMAGEGEN_LANG=language)
            with closing(sqlite3.connect(program.home / "history.db")) as db:
                states = db.execute("SELECT state, reason, detail FROM task ORDER BY id").fetchall()
            lines = sorted(_without_moments(line) for line in ended.out.splitlines())
            kept.append(([_without_moments(json.dumps(row)) for row in states], set(lines), ended.code))
            shutil.rmtree(folder)
    assert kept[0] == kept[1]


def _without_moments(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}|[0-9a-f]{32,}|\d+(?:\.\d+)?", "", text)


# What people read


@pytest.mark.parametrize("reason", list(Reason))
def test_a_failure_of_a_history_is_read_in_both_languages(used: Program, reason: Reason) -> None:
    failed = [task for task in used.tasks() if task.get("reason") == reason]
    for task in failed[:1]:
        words = ["show", str(task["id"])]
        english, chinese = (said(used, words, language).out for language in ("en", "zh"))
        assert not CHINESE.search(english.replace(task["message"], "").replace(task["prompt"], ""))
        assert CHINESE.search(chinese)
        assert str(reason) in chinese


LINES = [
    *(f"{name} --help" for name in sorted(guide.commands()) if " " not in name),
    *(f"help {name}" for name in ("run", "batch", "list", "init", "studio")),
    "--help", "list --search nothing", "show 1", "show 2",
    "show 3", "show 99", "costs", "costs --by model", "credits", "models", "providers", "providers openai",
    "providers comfyui", "doctor", "doctor --fix", "run owl --dry-run", "run owl -q", "run owl", "run #fail",
    "run #lost", "run #never --timeout 0.3", "run #dead", "run owl bat ant --each", "run #fail #lost #1002 --each",
    "batch list.csv", "batch bad.csv", "batch nothing.csv", "batch", "retry", "retry --failed --dry-run",
    "retry 2 --yes", "retry 3", "retry 1", "resume", "resume 1", "cancel 99", "again LAST --dry-run",
    "edit LAST", "upscale 1", "watch --run 1 --replay --speed 9999", "watch", "info images", "info nothing.png",
    "sheet", "gallery", "open 99", "favourite 1", "forget --older 90d", "forget 1 --dry-run", "settle",
    "settle 3 --unpaid", "history migrate a b", "config check", "config set output pictures", "config set outptu x",
    "config unset output", "init --kind nothing -y", "init --kind dreamina --base-url http://127.0.0.1:9 -y",
    "run owl --vary ratio=1:1,16:9 --dry-run", "run owl --vary ratio", "run owl -p nothing", "run owl --ratio x",
    "run owl --count 99", "run owl --timeout x", "run owl --size 1", "run", "runn owl", "list --stat failed", "owl",
    "-x", "list 1", "show", "run -model 4.0", "completion nothing", "help nothing", "work --once",
    "run owl --image nothing.png", "run owl --budget 0.001usd", "run owl --name {nothing}", "run owl --exec",
    "export -o bad.csv", "schema nothing", "--lang fr", "run owl --lang",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_no_sentence_comes_untranslated(person: Program, line: str) -> None:
    """In a language that brackets every text, only words of the person or of a service stand outside of brackets."""
    ended = _in_brackets(person, line.split())
    assert "Traceback" not in ended.err
    assert "this is a bug" not in ended.err
    left = untranslated(_without_data(ended.out + ended.err))
    assert [one for one in left if not one.startswith("  imagegen ")] == []


def _in_brackets(person: Program, words: list[str]) -> Ended:
    command = [sys.executable, "-m", "tests.pseudo", *words]
    environment = person.environment(PYTHONPATH=str(Path(__file__).parents[1]))
    return finished(
        subprocess.Popen(
            command, cwd=person.folder, env=environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
    )  # fmt: skip


def _without_data(output: str) -> str:
    """Without words of the fake service and of the system."""
    return re.sub(r"login expired|invalid parameter|No such file or directory|Connection refused", "", output)


@pytest.mark.parametrize("line", ["show 2", "costs", "doctor", "providers", "--help", "run --help", "show 99"])
def test_chinese_is_spoken(person: Program, line: str) -> None:
    ended = said(person, line.split(), "zh")
    assert CHINESE.search(ended.out + ended.err)


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("line", ["list", "runs", "cancel 1", "show 2", "costs", "doctor", "providers"])
def test_a_terminal_speaks_chinese(person: Program, line: str, columns: int) -> None:
    """What programs read off a terminal is for people on one."""
    command = [sys.executable, "-m", "imagegen_cli", *line.split()]
    environ = person.environment(IMAGEGEN_LANG="zh", PYTHONPATH=str(Path(__file__).parents[1]))
    with screen.Program(command, columns=columns, cwd=person.folder, environ=environ) as terminal:
        terminal.finish()
    assert CHINESE.search(terminal.scrollback)
    known = r"imagegen [a-z]+|(?:access|secret) key"
    assert untranslated(re.sub(known, "", terminal.scrollback)) == []
