"""What `--help` teaches: it fits 24 lines of 80 columns, names everything once, and its examples run."""

import gettext
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import imagegen_cli
from imagegen_cli import cli
from imagegen_cli.commands import guide, helping, topics, wrapping
from imagegen_cli.settings.language import FOLDER
from tests.doubles.a1111 import WebUIServer
from tests.forked import run_all
from tests.program import Ended, Program
from tests.screen import Program as TerminalProgram

COLUMNS, LINES = 80, 24
TITLE = (Path(__file__).parents[1] / "docs" / "scripting.md").read_text(encoding="utf-8").partition("\n")[0][2:].upper()
ROOT = Path(__file__).parents[1]
LANGUAGES = ("en", "zh")
CHINESE = gettext.translation("imagegen", FOLDER, ["zh_CN"])


def walked(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and every group that has commands, with its words behind `imagegen`."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from walked(inner, f"{path} {name}".strip())


@cache
def commands() -> dict[str, Any]:
    return dict(walked(typer.main.get_command(cli.app)))


def said(text: str, language: str) -> str:
    """A text of the code as a page has it, which is English where it is not translated yet."""
    return CHINESE.gettext(text) if language == "zh" and text else text


def unspaced(text: str) -> str:
    return "".join(text.split())


LEAVES = [path for path, one in commands().items() if path and not hasattr(one, "commands")]


@cache
def pages(base: Path, language: str) -> dict[str, Ended]:
    """The help of every command, and behind `help` all options of those that have options."""
    folder = base / f"pages-{language}"
    folder.mkdir()
    Program(folder)
    lines = {path: [*path.split(), "--help"] for path in commands()}
    lines |= {f"help {path}": ["help", *path.split()] for path in LEAVES}
    ended = run_all(folder, [(line, {}) for line in lines.values()], IMAGEGEN_LANG=language)
    return dict(zip(lines, ended, strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", commands())
def test_help_fits_a_screen_of_24_lines_and_80_columns(
    path: str, language: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = pages(tmp_path_factory.getbasetemp(), language)[path]
    assert (page.code, page.err) == (0, "")
    assert len(page.lines) < LINES, page.out
    assert max(map(wrapping.cells, page.lines)) <= COLUMNS


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", commands())
def test_help_has_no_brackets_but_those_of_what_may_be_left_out(
    path: str, language: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    usage, *rest = pages(tmp_path_factory.getbasetemp(), language)[path].lines
    assert usage.startswith(said("Usage: {command}", language).format(command="imagegen"))
    assert not re.search(r"[<>]", usage.replace("...", ""))
    text = "\n".join(line for line in rest if not line.startswith("  imagegen "))
    assert not re.search(r"<|>|\[(?!/N\]|c2pa)|\.\.\.$", text, re.MULTILINE), text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", LEAVES)
def test_all_options_are_in_the_help_that_is_whole(
    path: str, language: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = pages(tmp_path_factory.getbasetemp(), language)[f"help {path}"]
    assert page.code == 0
    assert "$IMAGEGEN_LANG" in page.out
    for one in commands()[path].params:
        if one.param_type_name == "option":
            assert f" {helping.place_of(one)}" in page.out.replace("\n", " "), page.out
            assert (one.envvar is None) or f"${one.envvar}" in page.out
        assert unspaced(said(one.help or "", language)) in unspaced(page.out)
    assert max(map(wrapping.cells, page.lines)) <= COLUMNS


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_names_how_many_options_it_leaves_out(language: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = pages(tmp_path_factory.getbasetemp(), language)
    short, whole = found["run"], found["help run"]
    count = len(re.findall(r"^  -", whole.out, re.MULTILINE))
    more = said("imagegen help {command} shows all {count} options.", language).format(command="run", count=count)
    assert more in short.lines
    assert said("Money", language) in short.lines
    assert said("Lists", language) in whole.lines
    assert said("Money", language) in whole.lines


@pytest.mark.parametrize("words", [["--lang", "zh", "list", "--help"], ["help", "list", "--lang=zh"]])
def test_the_language_of_help_is_chosen_before_or_behind_a_command(words: list[str], tmp_path: Path) -> None:
    ended = Program(tmp_path).run(*words)
    assert (ended.code, ended.err) == (0, "")
    assert said("Only your favourites.", "zh") in ended.out


def test_the_help_of_all_commands_names_the_languages(tmp_path_factory: pytest.TempPathFactory) -> None:
    for language in LANGUAGES:
        assert "[--lang en|zh]" in pages(tmp_path_factory.getbasetemp(), language)[""].lines[0]


@pytest.mark.parametrize("words", [[], ["config"]])
def test_without_a_command_the_commands_are_shown_as_an_error(tmp_path: Path, words: list[str]) -> None:
    Program(tmp_path)
    bare, asked = run_all(tmp_path, [(words, {}), ([*words, "--help"], {})])
    assert (bare.code, bare.out, bare.err) == (2, "", asked.out)


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["--version", "run"], ["-V", "list", "--json"]])
def test_the_version_goes_before_everything(tmp_path: Path, words: list[str]) -> None:
    Program(tmp_path)
    [ended] = run_all(tmp_path, [(words, {})])
    assert (ended.code, ended.out) == (0, f"imagegen {imagegen_cli.__version__}\n")


def test_every_command_stands_in_a_group() -> None:
    assert set(guide.commands()) == {path for path in commands() if path and " " not in path}


@pytest.mark.parametrize("path", [path for path, one in commands().items() if not hasattr(one, "commands")])
def test_every_option_stands_in_a_group(path: str) -> None:
    moved = [place for _, places in guide.OTHERWISE.values() for place in places]
    places = {*moved, *(place for group in guide.GROUPS.values() for place in group)}
    assert {helping.place_of(one) for one in commands()[path].params} <= places


def test_no_group_names_what_does_not_exist() -> None:
    known = {helping.place_of(one) for command in commands().values() for one in command.params} | {"--help"}
    named = {place for group in guide.GROUPS.values() for place in group} | {*guide.COMMON}
    assert named <= known


# Examples

EXAMPLES = [(path, line) for path, lines in guide.EXAMPLES.items() for line in lines]
UNTRIED = {"imagegen studio", "imagegen studio -m 4.0 --ratio 16:9", "imagegen watch", "imagegen config edit"}
"""What wants a terminal or an editor: it is read, and not started."""
UNTRIED |= {
    "imagegen config edit --project",
    "imagegen init",
    "imagegen gallery --since 7d --open",
    "imagegen open LAST",
}
UNTRIED |= {"imagegen open 12/2", "imagegen skill > SKILL.md"}


@pytest.mark.parametrize("path", [path for path in commands() if path])
def test_every_command_has_two_or_three_examples(path: str) -> None:
    assert len(guide.EXAMPLES[path]) in ((1, 2, 3) if " " in path or path == "skill" else (2, 3))
    assert all(line.startswith(f"imagegen {path}") or path in {"config", "help"} for line in guide.EXAMPLES[path])


@cache
def tried(base: Path) -> dict[str, Ended]:
    folder = base / "examples"
    folder.mkdir()
    program = Program(folder)
    (folder / "prompts.txt").write_text("a red fox\n")
    (folder / "prompts.csv").write_text("Caption,n\na red fox,1\n")
    (folder / "receipts.txt").write_text('{"task": 12, "job": "x", "url": ""}\n')
    assert program.run("run", *(f"fox {number}" for number in range(13)), "--size", "64x64", "-q").code == 0
    lines = [line for _, line in EXAMPLES if line not in UNTRIED]
    with WebUIServer() as server:
        program.configure(f'[providers.local]\nkind = "a1111"\nbase_url = "{server.url}"\n')
        variables = [{"IMAGEGEN_PROVIDER": "local"} if " edit " in line else {} for line in lines]
        words = [shlex.split(line)[1:] for line in lines]
        return dict(zip(lines, run_all(folder, list(zip(words, variables, strict=True))), strict=True))


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_an_example_is_read_as_it_stands(path: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])[1:]
    command = commands()[""]
    context = command.make_context("imagegen", ["config", "path"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("imagegen", words, parent=context)


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES if line not in UNTRIED])
def test_an_example_runs(line: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = tried(tmp_path_factory.getbasetemp())[line]
    assert found.code not in (2, 70, 99), found.err
    assert "Traceback" not in found.err


# Topics and the man page


def test_the_topics_are_the_pages_of_docs(tmp_path: Path) -> None:
    Program(tmp_path)
    [listed] = run_all(tmp_path, [(["help"], {})])
    names = [path.stem for path in sorted((ROOT / "docs").glob("*.md"))]
    assert [line.split()[0] for line in listed.lines if line.startswith("  ")] == names
    found = run_all(tmp_path, [(["help", name], {}) for name in names])
    for page in found:
        assert page.code == 0
        assert not re.search(r"```|\]\(|^#|\*\*", page.out, re.MULTILINE), page.out


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("# A *title*\n\nSome `code` and a [link](x.md).\nMore.", ["A TITLE", "", "Some code and a link. More."]),
        ("# a\n\n```sh\nls | `x`\n```\n", ["A", "", "    ls | `x`"]),
        ("# a\n\n| h | i |\n|---|---|\n| `x` | one **two** |\n", ["A", "", "x", "    one two"]),
        ("# a\n\n* one\n  two\n* three\n\nend\n", ["A", "", "  * one two", "  * three", "", "end"]),
        ("", []),
        ("雪" * 50, ["雪" * 40, "雪" * 10]),
    ],
)
def test_markdown_becomes_plain_text(text: str, lines: list[str]) -> None:
    assert topics.plain(text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("雪山（abc）下", ["雪山", "（abc）下"]),
        ("雪山下，abc、def", ["雪山下，", "abc、def"]),
        ("默认：auto。", ["默认：", "auto。"]),
        ("雪山下的「红」", ["雪山下的", "「红」"]),
        ("abc’def ghi", ["abc’def", "ghi"]),
    ],
)
def test_chinese_is_broken_where_a_line_may_end(text: str, lines: list[str]) -> None:
    assert wrapping.wrapped(text, 9) == lines


SAME = (["schema"], ["schema", "task"], ["skill"], ["completion", "zsh"], ["help", "money"])
"""What is for programs, or is written in English alone so far."""


def test_what_is_not_for_people_is_the_same_in_every_language(tmp_path: Path) -> None:
    Program(tmp_path)
    english, chinese = (
        run_all(tmp_path, [(words, {}) for words in SAME], IMAGEGEN_LANG=language) for language in LANGUAGES
    )
    assert english == chinese
    assert all(one.code == 0 for one in english)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_man_page_is_one(language: str, tmp_path: Path) -> None:
    Program(tmp_path)
    [page] = run_all(tmp_path, [(["help", "--man"], {})], IMAGEGEN_LANG=language)
    result = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-k"], input=page.out, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stderr == ""
    shown = re.sub(r"\x1b\[\d+m|.\x08", "", result.stdout)
    assert all(f"imagegen {name}" in shown for name in guide.commands())
    assert 'imagegen run "a red fox" -m 3.0 -m 4.0' in shown
    assert TITLE in shown


def test_help_of_a_topic_is_shown_by_the_pager_of_the_person(tmp_path: Path) -> None:
    program = Program(tmp_path)
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED; head -n 1\n")
    pager.chmod(0o755)
    command = [sys.executable, "-m", "imagegen_cli", "help", "scripting"]
    environment = program.environment(PYTHONPATH=str(ROOT))
    with TerminalProgram(command, cwd=tmp_path, environ={**environment, "PAGER": str(pager)}) as screen:
        assert screen.finish() == 0
        assert screen.text.split() == ["PAGED", *TITLE.split()]
    with TerminalProgram(command, cwd=tmp_path, environ={**environment, "PAGER": "/no/such/pager"}) as screen:
        assert screen.finish() == 0
        assert TITLE in screen.scrollback


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", ["", "run", "config", "history migrate", "costs"])
def test_on_a_narrow_terminal_help_breaks_no_word(
    path: str, language: str, columns: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = Program(tmp_path)
    environment = program.environment(PYTHONPATH=str(ROOT), IMAGEGEN_LANG=language)
    command = [sys.executable, "-m", "imagegen_cli", *path.split(), "--help"]
    with TerminalProgram(command, cwd=tmp_path, environ=environment, columns=columns, lines=200) as screen:
        assert screen.finish() == 0
        lines = screen.text.rstrip().splitlines()
    whole = pages(tmp_path_factory.getbasetemp(), language)[path].out
    assert max(map(wrapping.cells, lines)) <= columns
    assert unspaced("\n".join(line.removesuffix(wrapping.CONTINUED) for line in lines)) == unspaced(whole)
    words = {word for line in lines for word in line.split()}
    assert {word for word in whole.split() if word.isascii()} <= words
    assert not any(line.endswith((" -p", " -m", " -n", "[--lang")) for line in lines)


@pytest.mark.parametrize("width", range(12, 80, 7))
@pytest.mark.parametrize("line", [line for lines in guide.EXAMPLES.values() for line in lines])
def test_an_example_that_goes_on_in_the_next_line_is_the_same_command(line: str, width: int) -> None:
    pasted = "\n".join(wrapping.example(line, width)).replace("\\\n", "")
    assert shlex.split(pasted) == shlex.split(line)


def test_topics_are_as_narrow_as_the_terminal(tmp_path: Path) -> None:
    program = Program(tmp_path)
    environment = program.environment(PYTHONPATH=str(ROOT), PAGER="cat")
    for words in (["help"], ["help", "run"]):
        command = [sys.executable, "-m", "imagegen_cli", *words]
        with TerminalProgram(command, cwd=tmp_path, environ=environment, columns=40, lines=300) as screen:
            assert screen.finish() == 0
            assert max(map(wrapping.cells, screen.text.splitlines())) <= 40
