"""Wrong command lines: each ends with one line that says what is wrong, and one that says what to do."""

import ast
import gettext
import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from imagegen_cli.commands import slips
from imagegen_cli.core.alike import alike
from imagegen_cli.core.language import Message
from imagegen_cli.settings.language import FOLDER
from tests.forked import run_all
from tests.program import Ended, Program


class Wrong(NamedTuple):
    line: str
    says: str
    hint: str
    code: int = 2
    environment: tuple[tuple[str, str], ...] = ()


WRONG = [
    # no such command
    Wrong('"a cat"', 'there is no command "a cat"', 'to draw it: imagegen run "a cat"'),
    Wrong("a cat", "there is no command a", 'to draw it: imagegen run "a cat"'),
    Wrong('"a cat" --ratio 16:9', 'there is no command "a cat"', 'to draw it: imagegen run "a cat" --ratio 16:9'),
    Wrong("雪山下的红色小屋", "there is no command", "to draw it: imagegen run 雪山下的红色小屋"),
    Wrong('"a \\"cat\\"" "two"', "there is no command", "to draw it: imagegen run 'a \"cat\"' two"),
    Wrong('runn "a cat"', "there is no command runn", 'did you mean imagegen run "a cat"?'),
    Wrong("rnu x", "there is no command rnu", "did you mean imagegen run x?"),
    Wrong("lst", "there is no command lst", "did you mean imagegen list?"),
    Wrong("List", "there is no command List", "did you mean imagegen list?"),
    Wrong("shwo 12", "there is no command shwo", "did you mean imagegen show 12?"),
    Wrong("retyr --failed", "there is no command retyr", "did you mean imagegen retry --failed?"),
    Wrong("gallary", "there is no command gallary", "did you mean imagegen gallery?"),
    Wrong("favorite 12", "there is no command favorite", "did you mean imagegen favourite 12?"),
    Wrong("docter", "there is no command docter", "did you mean imagegen doctor?"),
    Wrong("comletion zsh", "there is no command comletion", "did you mean imagegen completion zsh?"),
    Wrong('generate "a cat"', "there is no command generate", 'did you mean imagegen run "a cat"?'),
    Wrong('imagine "a cat" -n 2', "there is no command imagine", 'did you mean imagegen run "a cat" -n 2?'),
    Wrong("hystory", "there is no command hystory", "did you mean imagegen history?"),
    Wrong("status", "there is no command status", "did you mean imagegen list?"),
    Wrong("rm 12", "there is no command rm", "did you mean imagegen forget 12?"),
    Wrong("stop 12", "there is no command stop", "did you mean imagegen cancel 12?"),
    Wrong("login", "there is no command login", "did you mean imagegen init?"),
    Wrong("version", "there is no command version", "did you mean imagegen --version?"),
    Wrong("balance", "there is no command balance", "did you mean imagegen credits?"),
    Wrong("settings", "there is no command settings", "did you mean imagegen config show?"),
    Wrong("prompts.txt", "there is no command prompts.txt", "as a list of prompts: imagegen batch prompts.txt"),
    Wrong("prompts.txt -n 2", "there is no command prompts.txt", "imagegen batch prompts.txt -n 2"),
    Wrong("cat.png", "there is no command cat.png", "what made it: imagegen info cat.png"),
    Wrong("pictures", "there is no command pictures", "the pictures in it: imagegen info pictures"),
    Wrong("12", "there is no command 12", "about the task: imagegen show 12"),
    Wrong("12/2", "there is no command 12/2", "about the task: imagegen show 12/2"),
    Wrong("LAST", "there is no command LAST", "about the task: imagegen show LAST"),
    Wrong('""', 'there is no command ""', "imagegen --help shows the commands"),
    Wrong("--", "there is no command in this line", "imagegen --help shows the commands"),
    Wrong("help config pencil", "config has no command pencil", "imagegen config --help shows the commands"),
    Wrong('-n 2 "a cat"', "-n is no option before a command", 'behind the command: imagegen run -n 2 "a cat"'),
    Wrong('--ratio 1:1 "a cat"', "--ratio is no option before a command", 'imagegen run --ratio 1:1 "a cat"'),
    Wrong("show -1 -2", "show takes no argument -2 here", "imagegen show --help shows the options"),
    Wrong("cancel --run", "--run lacks its value", "try imagegen cancel --run LAST"),
    Wrong("run", "there is no prompt", "imagegen run"),
    Wrong("-", "there is no command -", "to draw it: imagegen run -"),
    Wrong("config -", "config has no command -", "imagegen config --help shows the commands"),
    Wrong("config --", "there is no command in this line", "imagegen config --help shows the options"),
    Wrong("-- --", "there is no command --", "imagegen --help shows the commands"),
    Wrong("-- -kite", "-kite is no option before a command", "stands behind --: imagegen run -- -- -kite"),
    Wrong("--version=1", "--version takes no value", "imagegen --help shows the commands"),
    Wrong("pencil", "there is no command pencil", "to draw it: imagegen run pencil"),
    Wrong("config get output", "config has no command get", "did you mean imagegen config show?"),
    Wrong("config list", "config has no command list", "did you mean imagegen config show?"),
    Wrong("config ste output x", "config has no command ste", "did you mean imagegen config set output x?"),
    Wrong("config pencil", "config has no command pencil", "imagegen config --help shows the commands"),
    # options
    Wrong('run --modle 4.0 "a cat"', "run has no option --modle", "did you mean --model?"),
    Wrong('run "a cat" --ration 1:1', "run has no option --ration", "did you mean --ratio?"),
    Wrong('run "a cat" --dryrun', "run has no option --dryrun", "did you mean --dry-run?"),
    Wrong('run "a cat" --aspect-ratio 1:1', "run has no option --aspect-ratio", "did you mean --ratio?"),
    Wrong('run "a cat" --width 512', "run has no option --width", "did you mean --size?"),
    Wrong('run "a cat" --out x', "run has no option --out", "did you mean --output?"),
    Wrong('run "a cat" --negative-prompt fog', "run has no option --negative-prompt", "did you mean --negative?"),
    Wrong('run --prompt "a cat"', "run has no option --prompt", 'to draw it: imagegen run "a cat"'),
    Wrong('run "a cat" --conc 3', "run has no option --conc", "did you mean --concurrency?"),
    Wrong('run "a cat" --pencil', "run has no option --pencil", "imagegen run --help shows the options"),
    Wrong(
        "run -kite",
        "run has no option -kite",
        "a text that begins with - stands behind --: imagegen run -- -kite",
    ),
    Wrong('run "-5 degrees"', 'run has no option "-5 degrees"', 'behind --: imagegen run -- "-5 degrees"'),
    Wrong('run "--a kite"', 'run has no option "--a kite"', 'behind --: imagegen run -- "--a kite"'),
    Wrong('run "a cat" -kite', "run has no option -kite", 'imagegen run "a cat" -- -kite'),
    Wrong("edit LAST -blue", "edit has no option -blue", "imagegen edit LAST -- -blue"),
    Wrong(
        'run -model 4.0 "a cat"',
        "-model has one dash: it would be read as -m with the value odel",
        'did you mean imagegen run --model 4.0 "a cat"?',
    ),
    Wrong(
        'run "a cat" -size 64x64',
        "-size has one dash, and long options have two",
        'did you mean imagegen run "a cat" --size 64x64?',
    ),
    Wrong(
        'run "a cat" -output=x',
        "-output=x has one dash: it would be read as -o",
        'did you mean imagegen run "a cat" --output=x?',
    ),
    Wrong("list -json", "-json has one dash, and long options have two", "did you mean imagegen list --json?"),
    Wrong('--model 4.0 run "a cat"', "--model is no option before a command", 'imagegen run "a cat" --model 4.0'),
    Wrong(
        "--json list",
        "--json is no option before a command",
        "stand behind the command: imagegen list --json",
    ),
    Wrong("-kite", "-k is no option before a command", "stands behind --: imagegen run -- -kite"),
    Wrong("--versoin", "--versoin is no option before a command", "did you mean imagegen --version?"),
    Wrong("--pencil", "--pencil is no option before a command", "imagegen --help shows the commands"),
    Wrong("list --status failed", "list has no option --status", "did you mean --state?"),
    Wrong("list --dry-run", "list has no option --dry-run", "imagegen list --help shows the options"),
    Wrong(
        "config show --json",
        "config show has no option --json",
        "imagegen config show --help shows the options",
    ),
    Wrong("run a --quiet=yes", "--quiet takes no value", "imagegen run --help shows the options"),
    # values
    Wrong('run "a cat" --ratio', "--ratio lacks its value", "try imagegen run"),
    Wrong('run "a cat" -n', "-n lacks its value", "imagegen run --help shows the options"),
    Wrong("list --limit", "--limit lacks its value", "imagegen list --help shows the options"),
    # another option in the place of a value would be lost, and with it that nothing should be sent
    Wrong('run "a cat" -o --dry-run', "-o lacks its value", "imagegen run --help shows the options"),
    Wrong('run "a cat" -m --dry-run', "-m lacks its value", "try imagegen"),
    Wrong('run "a cat" --name -y', "--name lacks its value", "imagegen run --help shows the options"),
    Wrong('run -m -- "a cat"', "-m lacks its value", "try imagegen"),
    Wrong("retry 1 --reason --dry-run", "--reason lacks its value", "try imagegen retry"),
    Wrong('run "a cat" -n two', "-n takes a whole number from 1, not 'two'", "imagegen run --help"),
    Wrong('run "a cat" --count 0', "--count takes a whole number from 1, not '0'", "imagegen run --help"),
    Wrong('run "a cat" --seed x', "--seed takes a whole number, not 'x'", "try imagegen run"),
    Wrong("list --limit 1.5", "--limit takes a whole number from 1, not '1.5'", "imagegen list --help"),
    Wrong(
        'run "a cat" --progress foo',
        "--progress takes auto, live, plain, json, quiet, not 'foo'",
        "imagegen run --help",
    ),
    Wrong('run "a cat" --progress plan', "--progress takes auto, live, plain", "did you mean plain?"),
    Wrong("costs --by modle", "--by takes day, model, provider, run, not 'modle'", "did you mean model?"),
    Wrong("export --format cvs", "--format takes jsonl, csv, not 'cvs'", "did you mean csv?"),
    Wrong("watch --speed fast", "--speed takes a number from 0.1, not 'fast'", "try imagegen watch"),
    Wrong('run "a cat" -j 0', "--concurrency takes a number from 1 or unlimited", "imagegen run --help"),
    Wrong('run "a cat" --timeout soon', "--timeout takes a number from 0.1, not 'soon'", "imagegen run --help"),
    Wrong(
        'run "a cat"',
        "IMAGEGEN_COUNT takes a whole number from 1, not 'x'",
        "imagegen run --help",
        2,
        (("IMAGEGEN_COUNT", "x"),),
    ),
    Wrong(
        'run "a cat"',
        "IMAGEGEN_QUIET takes true or false, not 'maybe'",
        "imagegen run --help shows the options",
        2,
        (("IMAGEGEN_QUIET", "maybe"),),
    ),
    Wrong("list --state faild", "faild", "did you mean failed?"),
    Wrong("list --reason bussy", "bussy", "did you mean busy?"),
    Wrong("list --since soon", "soon", ""),
    Wrong('run "a cat" -p sketchh', "there is no provider 'sketchh'", "did you mean sketch?"),
    Wrong('run "a cat" -p pencil', "there is no provider 'pencil'", "known: "),
    Wrong('run "a cat" --size big', "big", ""),
    Wrong('run "a cat" --name "{slugg}"', "slugg", "did you mean slug?"),
    Wrong('run "a {x}" --vary ratoi=1:1,2:1', "ratoi", "did you mean ratio?"),
    Wrong("schema taks", "taks", "did you mean task?"),
    Wrong("show twelve", "twelve", ""),
    Wrong("show 999", "there is no task 999", "imagegen list shows the tasks", 4),
    # arguments
    Wrong("show", "show lacks ID", "try imagegen show LAST"),
    Wrong("edit LAST", "edit lacks WORDS", "try imagegen edit LAST"),
    Wrong("batch", "batch lacks FILE...", "try imagegen batch prompts.txt"),
    Wrong("config set", "config set lacks KEY", "try imagegen config set"),
    Wrong("config set output", "config set lacks VALUE", "try imagegen config set"),
    Wrong("list 12", "list takes no argument 12 here", "about the task: imagegen show 12"),
    Wrong(
        "edit LAST make it red",
        "edit takes no argument it red here",
        'as one text: imagegen edit LAST "make it red"',
    ),
    Wrong("again LAST a cat", "again takes no argument cat here", 'as one text: imagegen again LAST "a cat"'),
    Wrong("again 1 2 3", "again takes no argument 3 here", "one task at a time: imagegen again 1"),
    Wrong("edit 1 2 3", "edit takes no argument 3 here", 'one task at a time: imagegen edit 1 "make it night"'),
    Wrong("again 1 2", "2 reads as a task", "imagegen run --each 2"),
    Wrong("again 1 LAST", "LAST reads as a task", "to make it again: imagegen again 1"),
    Wrong("again LAST LAST", "LAST reads as a task", "to make it again: imagegen again LAST"),
    Wrong("again 1 -- -2", "-2 reads as a task", "imagegen run --each -- -2"),
    Wrong("edit LAST/1 2", "2 reads as a task", 'say what to change: imagegen edit LAST/1 "make it night"'),
    Wrong("edit 1/1 LAST", "LAST reads as a task", "imagegen run --each LAST --image task:1/1"),
    Wrong("run 1", "1 reads as a task", "to make it again: imagegen again 1"),
    Wrong("run 12/2", "12/2 reads as a task", "to make it again: imagegen again 12"),
    Wrong("run LAST", "LAST reads as a task", "imagegen run --each LAST"),
    Wrong("run １", "１ reads as a task", "imagegen run --each '１'"),
    Wrong("run -- -1", "-1 reads as a task", "imagegen run --each -- -1"),
    Wrong('run "1 2"', "1 2 reads as a task", "imagegen run --each '1 2'"),
    Wrong('run "again 1"', "again 1 reads as a command", "did you mean imagegen again 1?"),
    Wrong("run again 1", "again 1 reads as a command", "did you mean imagegen again 1?"),
    Wrong('run "edit 1 make it red"', "reads as a command", "did you mean imagegen edit 1 'make it red'?"),
    Wrong('run "a cat" -o ""', "-o has an empty value", "leave the option out"),
    Wrong('run "a cat" --output=', "--output has an empty value", "leave the option out"),
    Wrong('run "a cat" --name " "', "--name has an empty value", "leave the option out"),
    Wrong('run "a cat" --budget ""', "--budget has an empty value", "leave the option out"),
    Wrong('run "a cat" -p ""', "-p has an empty value", "leave the option out"),
    Wrong('gallery -o ""', "-o has an empty value", "leave the option out"),
    Wrong('retry --run ""', "--run has an empty value", "leave the option out"),
    Wrong('run "a cat" --zip', "--zip pairs the values of several --vary", "--vary seed=1,2 --zip"),
    Wrong('run "a cat" --vary seed=1,2 --zip', "--zip pairs the values of several --vary", "--vary seed=1,2 --zip"),
    Wrong('run "a cat" --alternatives', "--alternatives finds no {a|b}", "write them like {a|b}"),
    Wrong('studio "a cat"', "studio takes no argument", 'to draw it: imagegen run "a cat"'),
    Wrong("models sketch fal", "models takes no argument fal here", "imagegen models --help shows the options"),
    Wrong("config show output", "config show takes no argument output here", "imagegen config show --help"),
    Wrong("run a cat", "2 words without quotes", "if it is one prompt: imagegen run"),
    Wrong("run prompts.txt", "prompts.txt is a file", "imagegen batch prompts.txt"),
    Wrong("batch promts.txt", "promts.txt", "did you mean prompts.txt? imagegen batch prompts.txt"),
    Wrong("help pencil", "there is no topic pencil", "imagegen help shows the topics"),
    Wrong("help scriptin", "there is no topic scriptin", "did you mean scripting?"),
    Wrong("completion tcsh", "there is no completion for tcsh", "known: bash, fish, powershell, zsh"),
]


LANGUAGES = ("en", "zh")
CHINESE = gettext.translation("imagegen", FOLDER, ["zh_CN"])
SUGGESTED = re.compile(r"imagegen (?:[^?]*?)(?= shows|\?|$)|(?<=did you mean )[^?]+")
"""The command, or the word, in a hint: it is the same in every language."""


@cache
def ended(base: Path, language: str) -> dict[Wrong, Ended]:
    folder = base / f"slips-{language}"
    folder.mkdir()
    Program(folder)
    (folder / "prompts.txt").write_text("a cat\n")
    (folder / "cat.png").write_bytes(b"\x89PNG")
    (folder / "pictures").mkdir()
    lines = [(shlex.split(one.line), dict(one.environment)) for one in WRONG]
    return dict(zip(WRONG, run_all(folder, lines, IMAGEGEN_LANG=language), strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wrong", WRONG, ids=[one.line for one in WRONG])
def test_a_wrong_line_says_what_is_wrong_and_what_to_do(
    wrong: Wrong, language: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = ended(tmp_path_factory.getbasetemp(), language)[wrong]
    assert (found.code, found.out) == (wrong.code, ""), found.err
    lines = found.err.splitlines()
    assert len(lines) == 2, found.err
    assert lines[0].startswith("imagegen: ")
    assert lines[1].startswith("  ")
    if language == "en":
        assert wrong.says in lines[0]
        assert wrong.hint in lines[1]
    else:
        assert all(suggested in lines[1] for suggested in SUGGESTED.findall(wrong.hint)), found.err


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wrong", [one for one in WRONG if "did you mean" not in one.hint], ids=lambda one: one.line)
def test_nothing_is_suggested_where_nothing_is_alike(
    wrong: Wrong, language: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = ended(tmp_path_factory.getbasetemp(), language)[wrong]
    assert not re.search("did you mean|是不是想用", found.err)


@pytest.mark.skipif(CHINESE.gettext(slips.NO_COMMAND) == slips.NO_COMMAND, reason="there are no Chinese words")
@pytest.mark.parametrize("wrong", WRONG, ids=[one.line for one in WRONG])
def test_what_slips_says_is_said_in_chinese(wrong: Wrong, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    if is_of_slips(ended(base, "en")[wrong].err.splitlines()[0]):
        for line in ended(base, "zh")[wrong].err.splitlines():
            assert re.search("[一-鿿]", line.replace(wrong.line, "")), line


def is_of_slips(line: str) -> bool:
    forms = [re.escape(one) for one in vars(slips).values() if isinstance(one, Message) and one != slips.TAKES_OTHER]
    return any(re.fullmatch(re.sub(r"\\{\w+\\}", ".+", form), line.removeprefix("imagegen: ")) for form in forms)


def test_the_table_is_long_enough() -> None:
    assert len({one.line for one in WRONG}) >= 80


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("modle", "model"), ("stuido", "studio"), ("conc", "concurrency"), ("Studio", "studio"), ("cvs", "csv"),
        ("pencil", ""), ("a", ""), ("", ""), ("google", ""), ("midjourney", ""), ("-", ""), ("猫", ""),
        ("open source", ""),
    ],
)  # fmt: skip
def test_a_word_is_alike_only_within_slips_of_the_fingers(typed: str, meant: str) -> None:
    known = ["model", "studio", "concurrency", "openai", "fal", "dreamina", "csv", "run", "gemini"]
    assert alike(typed, known) == meant


# What Typer says

UNSEEN = {
    # its own errors: `slips` has other words for them
    "Missing command.", "No such command {name!r}.", "Aborted!",
    # its own help: `helping` has other pages
    "(dynamic)", "default: {default}", "required", "env var: {var}", "Arguments", "Options", "Commands",
    # its help with Rich, which is switched off
    "(deprecated) ", "[default: {}]", "[env var: {}]", "[required]", "Error", "Aborted.",
    "Try [blue]'{command_path} {help_option}'[/] for help.",
}  # fmt: skip
"""All that the installed Typer translates, by `gettext`, but no person sees."""


def of_typer() -> set[str]:
    """The texts that Typer gives to `gettext`."""
    found = set()
    for path in Path(typer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "ngettext"}:
                found |= {
                    one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


def test_each_word_that_typer_translates_is_known() -> None:
    """A new one needs words of ours, or a catalogue for Typer's domain, which is `messages`."""
    assert of_typer() <= UNSEEN
