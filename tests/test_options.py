"""Options that several commands share: each is declared once, and every command that has it receives its value."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from imagegen_cli import cli
from imagegen_cli.commands.options import (
    GenerateOptions,
    ListOptions,
    Preview,
    Progress,
    RunOptions,
    SentBefore,
    VaryOptions,
    declared,
    option,
)
from imagegen_cli.core.errors import UsageError

RUN = {"concurrency", "timeout", "progress", "json", "quiet", "preview", "notify", "no-metadata", "sidecar", "exec"}
VARY = {"vary", "zip", "alternatives", "repeat"}
LISTS = {"format", "encoding", "columns"}
SENT_BEFORE = {"again", "skip-sent"}
PROMPT = {"provider", "model", "count", "ratio", "resolution", "size", "seed", "negative", "image", "extra"}
SPEND = {"budget", "assume-price"}
GENERATE = {*PROMPT, *VARY, *RUN, *SPEND, "output", "name", "dry-run", "yes", "sheet", "queue"}
SHAPE = {"model", "count", "ratio", "resolution", "size", "seed", "negative", "image", *VARY, "sheet"}
"""What a larger copy of a picture has no use for."""
SELECTION = {"failed", "cancelled", "reason", "run", "all-runs", "may-repeat"}
OPTIONS = {
    "run": {*GENERATE, *LISTS, "each", "from"},
    "batch": {*GENERATE, *LISTS, *SENT_BEFORE, "allow-outside"},
    "again": GENERATE,
    "edit": GENERATE,
    "upscale": {*GENERATE, "factor"} - SHAPE,
    "resume": {*RUN, "run", "receipts"},
    "retry": {*RUN, *SELECTION, *SPEND, "dry-run", "yes"},
    "work": {*RUN, *SPEND, "provider", "output", "once"},
    "watch": {"progress", "json", "quiet", "run", "replay", "speed"},
}
NO_VARIABLE = {"dry-run", "each", "from", "factor", *VARY, *SENT_BEFORE, "allow-outside", *SELECTION}
NO_VARIABLE |= {"receipts", "replay", "speed", "queue", "once"}


def parameters(command: str) -> list[Any]:
    commands: Any = typer.main.get_command(cli.app)
    return [one for one in commands.commands[command].params if one.param_type_name == "option"]


def long(parameter: Any) -> str:
    names: list[str] = parameter.opts
    return next(name for name in names if name.startswith("--")).removeprefix("--")


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_has_its_options(command: str) -> None:
    assert {long(one) for one in parameters(command)} == OPTIONS[command]


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_but_those_for_one_time_has_a_variable(command: str) -> None:
    variables = {long(one): one.envvar for one in parameters(command)}
    wanted = {name: f"IMAGEGEN_{name.upper().replace('-', '_')}" for name in OPTIONS[command] - NO_VARIABLE}
    assert variables == wanted | dict.fromkeys(OPTIONS[command] & NO_VARIABLE)


def received(
    *words: str, without: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> tuple[str, GenerateOptions, bool]:
    app = typer.Typer()
    found: list[tuple[str, GenerateOptions, bool]] = []

    @app.command()
    @declared(without=without)
    def toy(
        word: Annotated[str, typer.Argument()] = "nothing",
        *,
        options: GenerateOptions,
        last: Annotated[bool, option("--last", help_="")] = False,
    ) -> None:
        found.append((word, options, last))

    ended = CliRunner().invoke(app, list(words), env=environment, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return found[0]


ALL = GenerateOptions(
    provider="studio",
    model=["3.0", "4.0"],
    pictures=2,
    ratio="16:9",
    resolution="2k",
    size="1024x768",
    seed=7,
    negative="rain",
    image=["a.png", "b.png"],
    extra=["a=1"],
    variation=VaryOptions(vary=["ratio=1:1,16:9", "seed=1..2"], zipped=True, alternatives=True, repeat=3),
    lists=ListOptions(format="csv", encoding="gb18030", columns="prompt=Caption"),
    output=Path("elsewhere"),
    name="{id}",
    run=RunOptions(
        concurrency=0,
        timeout=5.5,
        progress=Progress.PLAIN,
        json=True,
        quiet=True,
        preview=Preview.ON,
        notify=True,
        hook="echo",
    ),
    dry_run=True,
    yes=True,
    sent_before=SentBefore(again=True, skip_sent=True),
)
WORDS = (
    "cat -p studio -m 3.0 -m 4.0 -n 2 --ratio 16:9 --resolution 2k --size 1024x768 --seed 7 --negative rain "
    "--image a.png --image b.png -x a=1 --format csv --encoding gb18030 --columns prompt=Caption -o elsewhere "
    "--name {id} -j unlimited --timeout 5.5 --progress plain --json -q --preview on --notify --dry-run -y --again "
    "--skip-sent --last --vary ratio=1:1,16:9 --vary seed=1..2 --zip --alternatives --repeat 3 --exec echo"
)


def test_every_value_arrives_in_its_field() -> None:
    assert received(*WORDS.split()) == ("cat", ALL, True)


def test_what_was_not_said_has_its_default() -> None:
    assert received() == ("nothing", GenerateOptions(), False)


def test_variables_say_what_options_say() -> None:
    values = {"MODEL": "3.0 4.0", "COUNT": "2", "IMAGE": "a.png b.png", "CONCURRENCY": "3", "TIMEOUT": "9", "LAST": "1"}
    _, options, last = received(environment={f"IMAGEGEN_{name}": value for name, value in values.items()})
    assert (options.model, options.pictures, options.image, last) == (["3.0", "4.0"], 2, ["a.png", "b.png"], True)
    assert options.run == RunOptions(concurrency=3, timeout=9)


def test_what_a_command_does_not_have_keeps_its_default() -> None:
    _, options, _ = received("--provider", "studio", without=("lists", "notify"))
    assert options == GenerateOptions(provider="studio")
    with pytest.raises(AssertionError, match="No such option: --notify"):
        received("--notify", without=("lists", "notify"))
    with pytest.raises(AssertionError, match="No such option: --encoding"):
        received("--encoding", "utf-8", without=("lists", "notify"))


@pytest.mark.parametrize(
    "words",
    ["-j 0", "-j -1", "-j many", "-j 1.5", "-j ²", "--timeout nan", "--timeout inf", "--timeout 1e8"],
)
def test_a_limit_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"^--(concurrency|timeout) takes"):
        received(*words.split())


@pytest.mark.parametrize(
    ("words", "display"),
    [("", "auto"), ("--progress live", "live"), ("--progress live -q", "quiet"), ("--progress live -q --json", "json")],
)
def test_json_goes_before_quiet_and_quiet_before_progress(words: str, display: str) -> None:
    assert received(*words.split())[1].run.display == display
