"""The tab key: the real scripts in the shells that are here, and for all shells what the program answers them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from imagegen_cli.commands import completing
from imagegen_cli.commands.completion_scripts import SCRIPTS
from tests.forked import Line, run_all
from tests.program import Program
from tests.screen import Program as TerminalProgram

HOSTILE = "a\x1b[31m fox $(touch pwned) `touch pwned` \"'; touch pwned #\n%F{red}%n {a,b} \\e]0;x"
SETTINGS = """\
[models]
hero = "studio/4.0"
"$(touch pwned)" = "studio/3.0"
"; touch pwned" = "studio/3.0"

[providers.studio]
kind = "dreamina"
base_url = "http://127.0.0.1:9"
model = "4.0"
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("completion")
    program = Program(folder, SETTINGS)
    ended = program.run("run", "a red fox", HOSTILE, "--each", "-p", "sketch", "--size", "64x64", "-q")
    assert ended.code == 0, ended.err
    (folder / "values.txt").write_text("a file whose name is no value\n")
    (folder / "16.txt").write_text("a file whose name begins like a ratio\n")
    return program


def offered(program: Program, words: Sequence[str], shell: str = "zsh", **more: str) -> list[str]:
    [ended] = run_all(
        program.folder, [([], {"_IMAGEGEN_COMPLETE": shell, "_IMAGEGEN_WORDS": "\n".join(words), **more})]
    )
    assert (ended.code, ended.err) == (0, "")
    return ended.lines


def values(lines: Sequence[str]) -> list[str]:
    assert lines[:1] == ["values"], lines
    return [line.partition("\t")[0] for line in lines[1:]]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("re|", "resume retry"),
        ("--v|", "--version"),
        ("--l|", "--lang"),
        ("--lang |", "en zh"),
        ("--lang z|", "zh"),
        ("--lang=e|", "--lang=en"),
        ("--lang zh re|", "resume retry"),
        ("--lang=zh list --state f|", "failed"),
        ("run --la|", "--lang"),
        ("run fox --lang |", "en zh"),
        ("list --lang zh --state f|", "failed"),
        ("config set lang |", "en zh"),
        ("run --neg|", "--negative"),
        ("run -p |", "studio sketch fal gemini"),
        ("run -p st|", "studio"),
        ("run --provider=st|", "--provider=studio"),
        ("run -p studio -m |", "4.0 3.0 hero"),
        ("run -m he|", "hero"),
        ("run --ratio |", "1:1 16:9"),
        ("run --ratio 16|", "16:9"),
        ("run --progress p|", "plain"),
        ("list --state f|", "failed"),
        ("list --reason b|", "bad-image bad-request bug busy"),
        ("list --run |", "1 LAST"),
        ("retry --reason out|", "out-of-credits"),
        ("show |", "1 2 LAST"),
        ("show 2|", "2"),
        ("cancel 1 |", "1 2 LAST"),
        ("sheet --run |", "1 LAST"),
        ("upscale L|", "LAST"),
        ("models s|", "sketch studio"),
        ("credits -p s|", "sketch studio"),
        ("providers dr|", "dreamina"),
        ("init --kind o|", "openai"),
        ("schema ta|", "task"),
        ("help what|", "what-happens"),
        ("help retr|", "retry"),
        ("completion z|", "zsh"),
        ("config s|", "set show"),
        ("config set out|", "output"),
        ("config set providers.studio.m|", "providers.studio.model"),
        ("config set metadata |", "embed sidecar none"),
        ("config set default_provider st|", "studio"),
        ("costs --by m|", "model"),
        ("export --format |", "jsonl csv"),
        ("batch prompts.txt --format |", "lines csv tsv json jsonl"),
        ("forget --older 9|", "90d"),
    ],
)
def test_values_are_offered(program: Program, line: str, wanted: str) -> None:
    found = values(offered(program, line.removesuffix("|").split(" ")))
    assert set(wanted.split()) <= set(found)
    assert all(one.startswith(line.removesuffix("|").split(" ")[-1]) for one in found)


def test_the_same_values_are_offered_in_every_language(program: Program) -> None:
    lines = ["", "--", "config ", "help ", "run --", "run -p ", "show ", "list --state ", "init --kind ", "config set "]
    questions: list[Line] = [
        ([], {"_IMAGEGEN_COMPLETE": "zsh", "_IMAGEGEN_WORDS": "\n".join(line.split(" "))}) for line in lines
    ]
    english, chinese = (run_all(program.folder, questions, IMAGEGEN_LANG=language) for language in ("en", "zh"))
    assert [values(one.lines) for one in chinese] == [values(one.lines) for one in english]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("batch |", "files"), ("run --image |", "files"), ("run --image=a|", "files"), ("info pict|", "files"),
        ("run -o |", "folders"), ("sheet -o |", "files"), ("run --from |", "files"), ("resume --receipts |", "files"),
    ],
)  # fmt: skip
def test_files_are_left_to_the_shell_where_a_file_is_expected(program: Program, line: str, kind: str) -> None:
    assert offered(program, line.removesuffix("|").split(" ")) == [kind]


@pytest.mark.parametrize(
    "line",
    [
        "run |", "run a|", "edit 1 |", "run --seed |", "run --negative |", "run --budget |", "run --exec |", "studio |",
        "run -- -|", "pencil |", "config pencil |", "config set pencil |", "doctor pencil|", "show 1 |", "show -|x",
    ],
)  # fmt: skip
def test_nothing_is_offered_where_nothing_is_known_and_never_a_file(program: Program, line: str) -> None:
    assert not any("." in one for one in values(offered(program, line.removesuffix("|").split(" "))))


@pytest.mark.parametrize("settings", ["", "[[[", "default_provider = 3\n"], ids=["none", "no TOML", "wrong"])
@pytest.mark.parametrize("words", [["run", "-m", ""], ["show", ""], ["list", "--run", ""], ["config", "set", ""], [""]])
def test_trouble_is_silent(tmp_path: Path, settings: str, words: list[str]) -> None:
    program = Program(tmp_path, settings)
    (program.home / "history.db").write_text("no history at all")
    assert isinstance(offered(program, words), list)


@pytest.mark.parametrize(
    "variables", [{}, {"_IMAGEGEN_WORDS": ""}, {"_IMAGEGEN_LINE": ""}, {"_IMAGEGEN_LINE": 'imagegen "'}]
)
def test_variables_that_are_not_those_of_a_script_are_no_error(tmp_path: Path, variables: dict[str, str]) -> None:
    Program(tmp_path)
    [ended] = run_all(tmp_path, [([], {"_IMAGEGEN_COMPLETE": "bash", **variables})])
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize(
    "words", [["show", ""], ["run", "-m", ""], ["run", "-p", "studio", "-m", ""], ["list", "--run", ""]]
)
def test_hostile_texts_are_no_values_and_harmless_as_meanings(program: Program, shell: str, words: list[str]) -> None:
    lines = offered(program, words, shell)
    for line in lines:
        value, _, meaning = line.partition("\t")
        assert completing.PLAIN.fullmatch(value)
        assert meaning.isprintable()
        assert len(meaning) <= completing.MAX_MEANING
    assert not (program.folder / "pwned").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("imagegen ", [""]), ("imagegen run", ["run"]), ("imagegen run ", ["run", ""]),
        ("imagegen run 'a b", ["run", "a b"]),
        ('imagegen run "a \\" b" c\\ d ', ["run", 'a " b', "c d", ""]), ("imagegen run '' x", ["run", "", "x"]),
        ("imagegen", [""]), ("", [""]),
    ],
)  # fmt: skip
def test_a_line_of_bash_is_split_as_bash_does(line: str, words: list[str]) -> None:
    assert completing._split(line) == words


# The shells themselves


@cache
def bin_folder(folder: Path) -> Path:
    """A folder with a command `imagegen`."""
    found = folder / "bin"
    found.mkdir(exist_ok=True)
    command = found / "imagegen"
    root = Path(__file__).parents[1]
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m imagegen_cli "$@"\n')
    command.chmod(0o755)
    return found


def shell_environment(program: Program) -> dict[str, str]:
    path = f"{bin_folder(program.folder)}{os.pathsep}{os.environ['PATH']}"
    return program.environment(
        PATH=path, HOME=str(program.folder), XDG_CONFIG_HOME=str(program.folder / "xdg"), LC_ALL="C.UTF-8"
    )


def in_shell(program: Program, *command: str) -> list[str]:
    result = subprocess.run(
        command, cwd=program.folder, env=shell_environment(program), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not result.stderr, result.stderr
    return result.stdout.splitlines()


BASH = """
source <(imagegen completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=${2:-9} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
compopt() { echo "compopt $*"; }
_imagegen_completion imagegen
for one in "${COMPREPLY[@]}"; do printf '%s\\n' "$one"; done
"""
SHELL_LINES = [
    ("imagegen list --state f", ["failed"]),
    ("imagegen resu", ["resume"]),
    ("imagegen show ", ["2", "1", "LAST"]),
    ("imagegen run -p st", ["studio"]),
]
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
fish = pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not here")
zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not here")


@bash
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        *SHELL_LINES,
        ("imagegen run --ratio 16:", ["9"]),
        ("imagegen run --ratio=16", ["16:9"]),
        ("imagegen batch ", ["compopt -o default"]),
        ("imagegen run -o ", ["compopt -o dirnames"]),
        ("imagegen run --vary rat", ["compopt -o nospace", "ratio="]),
        ("imagegen run ", []),
    ],
)
def test_bash(program: Program, line: str, wanted: list[str]) -> None:
    assert in_shell(program, "bash", "--norc", "-c", BASH, "bash", line) == wanted
    assert not (program.folder / "pwned").exists()


@bash
def test_bash_lists_meanings_and_writes_none(program: Program) -> None:
    listed = in_shell(program, "bash", "--norc", "-c", BASH, "bash", "imagegen show ", "63")
    assert "1  (done: a red fox)" in listed
    assert all(
        "(" not in one for one in in_shell(program, "bash", "--norc", "-c", BASH, "bash", "imagegen show ", "37")
    )


@fish
@pytest.mark.parametrize(
    ("line", "wanted"), [*SHELL_LINES, ("imagegen run --ratio=16", ["--ratio=16:9"]), ("imagegen run ", [])]
)
def test_fish(program: Program, line: str, wanted: list[str]) -> None:
    script = "imagegen completion fish | source; complete -C $argv[1]"
    found = in_shell(program, "fish", "--no-config", "-c", script, line)
    assert sorted(one.partition("\t")[0] for one in found) == sorted(wanted)
    assert not (program.folder / "pwned").exists()


@fish
def test_fish_offers_files_where_a_file_is_expected(program: Program) -> None:
    script = "imagegen completion fish | source; complete -C $argv[1]"
    assert "values.txt" in "".join(in_shell(program, "fish", "--no-config", "-c", script, "imagegen batch val"))


ZSH = """
compdef() { :; }
source <(imagegen completion zsh)
compadd() {
    local -a found; local previous; local one
    for one in "$@"; do [[ $previous == -a ]] && found=("${(@P)one}"); previous=$one; done
    print -rl -- "${(@)found}"
}
_files() { print -r -- "files $*"; }
words=("${(@Q)${(z)1}}"); [[ $1 == *' ' ]] && words+=('')
CURRENT=$#words
_imagegen
return 0
"""


@zsh
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        *SHELL_LINES,
        ("imagegen run --ratio=16", ["--ratio=16:9"]),
        ("imagegen batch ", ["files "]),
        ("imagegen run -o ", ["files -/"]),
        ("imagegen run ", []),
    ],
)
def test_zsh(program: Program, line: str, wanted: list[str]) -> None:
    assert in_shell(program, "zsh", "-f", "-c", ZSH, "zsh", line) == wanted
    assert not (program.folder / "pwned").exists()


@zsh
def test_zsh_itself_completes_with_the_script_where_it_looks_for_it(program: Program) -> None:
    place = program.folder / "functions"
    place.mkdir(exist_ok=True)
    (place / "_imagegen").write_text(SCRIPTS["zsh"])
    start = f"PS1='ready> '; fpath=({place} $fpath); autoload -Uz compinit; compinit -u -D\n"
    (program.folder / ".zshrc").write_text(start)
    environment = shell_environment(program) | {"TERM": "xterm", "ZDOTDIR": str(program.folder)}
    with TerminalProgram([str(shutil.which("zsh")), "-d"], cwd=program.folder, environ=environment) as screen:
        screen.wait_for("ready>", seconds=60)  # it reads a thousand functions
        screen.send("imagegen list --state f\t")
        screen.wait_for("--state failed")
        screen.send("\x15exit\n")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_no_script_evaluates_what_it_is_told(shell: str) -> None:
    assert not any(word in SCRIPTS[shell] for word in ("eval ", "Invoke-Expression", "iex ", "-o default -F"))


@pytest.mark.parametrize(("shell", "place"), [
    ("bash", "data/bash-completion/completions/imagegen"),
    ("fish", "config/fish/completions/imagegen.fish"),
    ("zsh", "data/zsh/site-functions/_imagegen"),
])  # fmt: skip
def test_a_script_is_installed_where_its_shell_looks(tmp_path: Path, shell: str, place: str) -> None:
    Program(tmp_path)
    folders = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    [ended] = run_all(tmp_path, [(["completion", shell, "--install"], folders)])
    assert (ended.code, ended.out) == (0, "")
    assert str(tmp_path / place) in ended.err
    assert (tmp_path / place).read_text() == SCRIPTS[shell]


def test_the_tab_key_is_quick_with_a_locked_history(program: Program) -> None:
    import sqlite3  # noqa: PLC0415

    db = sqlite3.connect(program.home / "history.db")
    try:
        db.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert "LAST" in values(offered(program, ["show", ""]))
        assert time.monotonic() - began < 20
    finally:
        db.rollback()
        db.close()
