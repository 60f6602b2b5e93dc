"""Every command of the documents is run, in the order of its page, and every setting of theirs is read."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from imagegen_cli.cli import app
from imagegen_cli.commands.hook_words import words_of
from tests import screen
from tests.documents import INSTALLS, Block, blocks
from tests.doubles.a1111 import WebUIServer
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program, finished

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh-CN.md"]
PAGES = [*(ROOT / name for name in READMES), *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "team.md"})]
SPOKEN = [*PAGES, ROOT / "docs" / "team.md"]
"""Pages whose commands are looked at one by one; test_team_docs.py runs those of the last one."""
"""All but the page whose commands need a server: tests/test_team_docs.py runs those."""
SKILL = ROOT / "imagegen_cli" / "commands" / "SKILL.md"
CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
poll = 0.02
[providers.gpu]
kind = "a1111"
base_url = "{gpu}"
poll = 0.05
"""
STAND_INS = {
    "magick": 'for last; do :; done; cat > "$last"',
    "rclone": 'test -f "$2"',
    "apprise": 'case "$*" in --title=*) ;; *) exit 1;; esac',
    "jq": 'test "$1" = -n && echo "{}"',
    "curl": 'cat; for last; do :; done; test -n "$last"',
}
"""Programs of others that the documents use, as far as a test needs them."""
NOT_RUN = Counter(
    {
        "pipx is not a part of Python": 2,
        "uv is not a part of Python": 2,
        "it serves until Ctrl-C": 1,
        "these are the tests": 2,
    }
)
LIMIT_S = 180
FENCED_SH = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def in_words(path: Path) -> str:
    return path.name


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A person's folder after some work: tasks 1 to 12 are done, 13 may be paid, 14 can be fetched, 15 failed."""
    pictures = Pictures("png", (32, 32))
    with DreaminaServer(pictures=pictures) as studio, WebUIServer(pictures=pictures) as gpu:
        program = Program(tmp_path_factory.mktemp("used"), CONFIG.format(studio=studio.url, gpu=gpu.url))
        letters = [f"picture {letter}" for letter in "abcdefghijkl"]
        finished(program.start("run", *letters, "-q"))
        finished(program.start("run", "a harbour #lost", "--assume-price", "0.04usd", "--budget", "1usd"))
        program.run_out_of_time("a lake #never")
        finished(program.start("run", "a tower #30"))
        assert [task["state"] for task in program.tasks()] == ["done"] * 12 + ["failed"] * 3
        yield program


@pytest.fixture
def person(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """A person with the folder of `used`, or a new one for the README."""
    if request.param.name in READMES:
        return Program(tmp_path)
    known: Program = request.getfixturevalue("used")
    folder = tmp_path / "work"
    shutil.copytree(known.folder, folder)
    (folder / "prompts.txt").write_text("a red fox in the snow\n水墨风格的江南古镇\n", encoding="utf-8")
    return Program(folder)


def programs(folder: Path) -> Path:
    """A folder for the PATH with `imagegen` and `python3`, and with stand-ins for programs that are not here."""
    folder.mkdir()
    bodies = {"imagegen": f'exec {shlex.quote(sys.executable)} -m imagegen_cli "$@"'} | STAND_INS
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def environment(person: Program, tools: Path) -> dict[str, str]:
    more = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "FEISHU_HOOK": "hook"}
    return person.environment(**more)


@pytest.mark.parametrize(("person", "page"), [(page, page) for page in PAGES], indirect=["person"], ids=in_words)
def test_every_command_of_a_page_works(person: Program, page: Path, tmp_path: Path) -> None:
    environ = environment(person, programs(tmp_path / "bin"))
    written = blocks(page)
    for block in written:
        if block.file_name:
            (person.folder / block.file_name).write_text(block.text, encoding="utf-8")
            (person.folder / block.file_name).chmod(0o755)
    for block in written:
        if block.is_commands and not block.why_not and block.note != INSTALLS:
            run(block, person.folder, environ)


def run(block: Block, folder: Path, environ: dict[str, str]) -> None:
    if block.in_terminal:
        run_in_a_terminal(block, folder, environ)
        return
    ended = subprocess.run(
        ["sh", "-ec", block.text], cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    told = f"{block.file}:{block.line} ended with {ended.returncode}\n{block.text}\n{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == block.exit_code, told
    assert "this is a bug" not in ended.stderr, told


def run_in_a_terminal(block: Block, folder: Path, environ: dict[str, str]) -> None:
    with screen.Program(["sh", "-ec", block.text], environ=environ, cwd=folder) as program:
        if block.keys:
            program.wait(lambda: program.keys_are_read)
            program.press(block.keys)
        assert program.finish() == block.exit_code, program.scrollback


@pytest.mark.parametrize("page", PAGES, ids=in_words)
def test_every_setting_of_a_page_is_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            program = Program(tmp_path, block.text)
            ended = program.run("config", "show", OPENAI_API_KEY="sk-test")
            assert ended.code == 0, f"{block.file}:{block.line}\n{ended.err}"


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    assert Counter(one.why_not for page in PAGES for one in blocks(page) if one.why_not) == NOT_RUN


@pytest.mark.parametrize("page", [*PAGES, SKILL], ids=in_words)
def test_every_block_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(page)
    assert len(found) * 2 == len(re.findall("^```", text, re.MULTILINE))
    assert {one.language for one in found} <= {"sh", "toml"}
    notes = re.findall(r"^<!-- (.*) -->$", text, re.MULTILINE)
    assert notes == [one.note for one in found if one.note], "a note stands in the line before its block"
    known = r"not run: .|run: exit \d+$|run: in a terminal(, keys .+)?$|file: [\w.]+$|run by \.ci/run$"
    assert all(re.match(known, note) for note in notes)


@pytest.mark.parametrize("page", [*PAGES, SKILL], ids=in_words)
def test_no_remark_stands_behind_a_command(page: Path) -> None:
    """An interactive zsh passes it on as arguments: they would be prompts."""
    for block in blocks(page):
        if block.is_commands:
            assert not re.search(r"^[^#\n].*[ \t]# ", block.text, re.MULTILINE), f"{block.file}:{block.line}"


@pytest.mark.parametrize("page", [*SPOKEN, SKILL], ids=in_words)
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    assert not [*filter(None, map(misfit, named(page.read_text(encoding="utf-8"))))]


@pytest.mark.parametrize("page", SPOKEN, ids=lambda page: page.name)
def test_every_command_for_exec_that_is_named_can_be_used(page: Path) -> None:
    """In code spans and in blocks: its placeholders exist, and none stands where it is refused."""
    found = re.findall(r"imagegen [^`\n]*--exec '([^']+)'", page.read_text(encoding="utf-8"))
    assert all(map(words_of, found))
    assert found or page.name != "team.md"


def named(text: str) -> Iterator[list[str]]:
    """The words behind `imagegen` in code spans and in blocks of commands."""
    spans = re.findall(r"`(?:.venv/bin/)?imagegen ([^`]+)`", text)
    lines = re.findall(
        r'^(?:[^"\n]*[ |;])?imagegen (.*)$', "".join(FENCED_SH.findall(text)).replace(" | ", "\n"), re.MULTILINE
    )
    for found in (*spans, *lines):
        yield re.sub(r"'.*'|\".*?\"", "''", found).replace("\\|", " ").split()


def misfit(words: list[str]) -> str:
    """What of these words is no command and no option; empty if all are known."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    name = words[0]
    if name.startswith("-") or not re.fullmatch(r"[a-z]+", name):
        return ""
    if name not in commands:
        return f"imagegen {name}"
    command = getattr(commands[name], "commands", {}).get(words[1] if words[1:] else "", commands[name])
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    options = [re.match(r"--?[a-z][a-z-]*", word) for word in words[1:]]
    used = [one[0] for one in options if one]
    return " ".join(f"imagegen {name} {one}" for one in used if one not in known and f"{one}" != "-")
