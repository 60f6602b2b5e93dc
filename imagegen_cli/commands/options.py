"""Options that several commands share. Each is declared once, as a field of the value that a command receives.

`--help` imports this module, so it must start fast: Python creates a NamedTuple in a fifth of the time of a dataclass.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, tr

MAX_TIMEOUT_S = 1e8
"""Three years: beyond it the timers of some systems overflow."""
NO_NUMBER = Message("--concurrency takes a number from 1 or unlimited, not {value!r}")
TOO_LONG = Message("--timeout takes seconds, less than {limit:.0f}, not {value}")


class Preview(StrEnum):
    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Progress(StrEnum):
    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


class CostsBy(StrEnum):
    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    RUN = "run"


def option(*names: str, help_: str, env: bool = True, **more: Any) -> Any:
    """An option that the environment variable IMAGEGEN_<OPTION> can set as well, unless `env` is false."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    return typer.Option(*names, help=help_, envvar=_variable(long) if env else None, show_envvar=False, **more)


def _variable(long: str) -> str:
    return "IMAGEGEN_" + long.removeprefix("--").replace("-", "_").upper()


def is_typed(long: str) -> bool:
    """Whether an option that has a value was typed, and not set by its environment variable."""
    return _variable(long) not in os.environ or any(word.partition("=")[0] == long for word in sys.argv[1:])


def _concurrency(text: str) -> int | None:
    """Read the value of --concurrency: 0 lifts the limit, None leaves it to the settings. Raises UsageError."""
    if not text:
        return None
    if text == "unlimited":
        return 0
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(NO_NUMBER.format(value=text))
    return int(text)


def _timeout(limit_s: float | None) -> float | None:
    """Check the value of --timeout. Raises UsageError."""
    if limit_s is not None and not limit_s < MAX_TIMEOUT_S:  # nan is not less than anything
        raise UsageError(TOO_LONG.format(limit=MAX_TIMEOUT_S, value=limit_s))
    return limit_s


def _hook(command: str | None) -> str | None:
    """Check the value of --exec, None where it was not given. Raises UsageError."""
    if command is not None:
        from imagegen_cli.commands.hook_words import words_of  # noqa: PLC0415 - few commands have one

        words_of(command)
    return command


def _folder(text: str) -> Path:
    """A folder; `-` alone means stdout, and ./- the folder of that name."""
    path = Path(text)
    return path.absolute() if str(path) == "-" and text != "-" else path


Json = Annotated[bool, option("--json", help_=tr("JSON on stdout, one object per line."))]
DryRun = Annotated[
    bool,
    option("--dry-run", help_=tr("Show what would be sent and where the files would go; send nothing."), env=False),
]
Yes = Annotated[bool, option("--yes", "-y", help_=tr("Do not ask; go on."))]


class MarkOptions(NamedTuple):
    """Whether a picture's file says how it was made; without either the settings decide."""

    no_metadata: Annotated[
        bool,
        option("--no-metadata", help_=tr("Leave every picture as it came; nothing in its file says how it was made.")),
    ] = False
    sidecar: Annotated[
        bool,
        option(
            "--sidecar", help_=tr("Leave every picture as it came, and say in NAME.json beside it how it was made.")
        ),
    ] = False

    @property
    def said(self) -> str:
        """`sidecar` or `none`; empty where the settings decide."""
        return "sidecar" if self.sidecar else "none" if self.no_metadata else ""


class RunOptions(NamedTuple):
    """How tasks are run and shown. `concurrency` None: as the settings say; 0: no limit. `timeout` is in seconds."""

    concurrency: Annotated[
        int | None,
        option(
            "--concurrency",
            "-j",
            help_=tr("Tasks at the service at the same time: a number or unlimited."),
            metavar="N",
            parser=_concurrency,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        option(
            "--timeout", help_=tr("Time limit of a task, in seconds."), min=0.1, callback=_timeout, metavar="SECONDS"
        ),
    ] = None
    progress: Annotated[
        Progress,
        option("--progress", help_=tr("How to show progress: auto, live, plain, json or quiet."), metavar="HOW"),
    ] = Progress.AUTO
    json: Json = False
    quiet: Annotated[bool, option("--quiet", "-q", help_=tr("Write only failures to stderr."))] = False
    preview: Annotated[
        Preview,
        option(
            "--preview",
            help_=tr("Show pictures in the terminal, in the making and finished: auto, on or off."),
            metavar="WHEN",
        ),
    ] = Preview.AUTO
    notify: Annotated[bool, option("--notify", help_=tr("Ring the bell and send a notification at the end."))] = False
    marks: MarkOptions = MarkOptions()
    hook: Annotated[
        str | None,
        option(
            "--exec",
            help_=tr(
                "Run this command for each picture that is saved, without a shell; {path} {prompt} {id} {index}"
                " {model} {provider} {seed} stand for its own."
            ),
            metavar="CMD",
            callback=_hook,
        ),
    ] = None

    @property
    def display(self) -> str:
        """The one of `Progress` that applies: --json goes before --quiet, and --quiet before --progress."""
        return Progress.JSON if self.json else Progress.QUIET if self.quiet else self.progress


class ListOptions(NamedTuple):
    """How prompt lists are read. Where a value is empty, the list itself decides."""

    format: Annotated[
        str,
        option(
            "--format",
            help_=tr(
                "Form of a list: lines (each is a prompt as it is), csv, tsv, json or jsonl; without it the content"
                " decides."
            ),
            metavar="FORM",
        ),
    ] = ""
    encoding: Annotated[
        str,
        option(
            "--encoding",
            help_=tr("Encoding of a list, such as gb18030; without it UTF-8, UTF-16, or GB18030 if certain."),
            metavar="NAME",
        ),
    ] = ""
    columns: Annotated[
        str,
        option(
            "--columns",
            help_=tr("The columns of a table that are read; all others are ignored: prompt=Caption,seed."),
            metavar="FIELD=COLUMN",
        ),
    ] = ""


class SentBefore(NamedTuple):
    """What `batch` does with prompts that were sent before."""

    again: Annotated[bool, typer.Option("--again", help=tr("Send everything, also what was sent before."))] = False
    skip_sent: Annotated[
        bool, typer.Option("--skip-sent", help=tr("Skip what was sent before, also from another list."))
    ] = False


class VaryOptions(NamedTuple):
    """How a prompt becomes several tasks."""

    vary: Annotated[
        list[str] | None,
        option(
            "--vary",
            help_=tr(
                "Make a task for each value of an option, or of a {NAME} in the prompt; may be repeated, which"
                " crosses them. VALUES: a,b or 1..8 or 0..100..25 or @FILE, a value a line."
            ),
            env=False,
            metavar="NAME=VALUES",
        ),
    ] = None
    zipped: Annotated[
        bool, option("--zip", help_=tr("Pair the values of several --vary, the first with the first."), env=False)
    ] = False
    alternatives: Annotated[
        bool, option("--alternatives", help_=tr("Make a task for each a and b of {a|b} in the prompt."), env=False)
    ] = False
    repeat: Annotated[
        int,
        option(
            "--repeat",
            help_=tr("Make each task so many times, each time with another seed."),
            env=False,
            min=1,
            metavar="N",
        ),
    ] = 1

    def check(self) -> None:
        """Raise UsageError where --vary cannot be read, or comes to too many tasks."""
        if self.vary:
            from imagegen_cli.inputs.vary import check_typed  # noqa: PLC0415 - --help needs none of it

            check_typed(self.vary, zipped=self.zipped, repeat=self.repeat)


class SpendOptions(NamedTuple):
    """What may be spent. "": no limit but those of the settings."""

    budget: Annotated[
        str,
        option(
            "--budget",
            help_=tr("Send nothing beyond this sum: 5usd for this command, 5usd/day or 5usd/month for all."),
            metavar="AMOUNT",
        ),
    ] = ""
    assume_price: Annotated[
        str,
        option(
            "--assume-price",
            help_=tr("Price of a picture whose price is not known, such as 0.05usd."),
            metavar="AMOUNT",
        ),
    ] = ""


class GenerateOptions(NamedTuple):
    """What `run`, `batch` and `again` share. None and "" leave a value to the settings."""

    provider: Annotated[
        str, option("--provider", "-p", help_=tr("Configured provider, or a kind by its own name."), metavar="NAME")
    ] = ""
    model: Annotated[
        list[str] | None, option("--model", "-m", help_=tr("Model; repeat it to compare models."), metavar="MODEL")
    ] = None
    pictures: Annotated[
        int | None, option("--count", "-n", help_=tr("Pictures for each prompt."), min=1, metavar="N")
    ] = None
    ratio: Annotated[str, option("--ratio", help_=tr("Aspect ratio, such as 16:9."), metavar="W:H")] = ""
    resolution: Annotated[
        str, option("--resolution", help_=tr("Size class, such as 1k, 2k or 4k."), metavar="CLASS")
    ] = ""
    size: Annotated[str, option("--size", help_=tr("Size in pixels, such as 1024x768."), metavar="WxH")] = ""
    seed: Annotated[
        int | None,
        option(
            "--seed",
            help_=tr("The same seed gives the same picture where the service can do that. -1 is random."),
            metavar="N",
        ),
    ] = None
    negative: Annotated[str, option("--negative", help_=tr("What should not be in the picture."), metavar="TEXT")] = ""
    image: Annotated[
        list[str] | None,
        option("--image", help_=tr("Picture to start from, a file or an address; may be repeated."), metavar="FILE"),
    ] = None
    extra: Annotated[
        list[str] | None,
        option(
            "--extra",
            "-x",
            help_=tr("Parameter that only this kind of service knows; may be repeated."),
            metavar="KEY=VALUE",
        ),
    ] = None
    variation: VaryOptions = VaryOptions()
    lists: ListOptions = ListOptions()
    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            help_=tr("Folder for the pictures; - writes the one picture to stdout."),
            metavar="FOLDER",
            parser=_folder,
        ),
    ] = None
    name: Annotated[str, option("--name", help_=tr("File name, such as {id}-{slug}-{index}."), metavar="TEMPLATE")] = ""
    sheet: Annotated[
        bool | None,
        option(
            "--sheet/--no-sheet",
            help_=tr("Draw a comparison's pictures on one sheet afterwards; without it, unless --json or --quiet."),
        ),
    ] = None
    run: RunOptions = RunOptions()
    spend: SpendOptions = SpendOptions()
    queue: Annotated[
        bool,
        option("--queue", help_=tr("Only plan: leave the tasks to workers, which imagegen work starts."), env=False),
    ] = False
    dry_run: DryRun = False
    yes: Yes = False
    sent_before: SentBefore = SentBefore()


class FilterOptions(NamedTuple):
    """Which tasks of the history a command is about. An empty value admits all."""

    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help=tr("Only tasks in this state; may be repeated.")),
    ] = None
    reason: Annotated[
        list[str] | None,
        typer.Option("--reason", metavar="CODE", help=tr("Only tasks that ended for this reason; may be repeated.")),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="MODEL", help=tr("Only tasks of this model; may be repeated.")),
    ] = None
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", "-p", metavar="NAME", help=tr("Only tasks of this provider; may be repeated.")),
    ] = None
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help=tr("Only newer tasks: 30m, 12h, 7d, or 2026-11-23."))
    ] = ""
    until: Annotated[
        str, typer.Option("--until", metavar="WHEN", help=tr("Only older tasks: 30m, 12h, 7d, or up to 2026-11-23."))
    ] = ""
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help=tr("Only tasks of this run; LAST or -1 is the newest."))
    ] = ""
    favourite: Annotated[bool, typer.Option("--favourite", help=tr("Only your favourites."))] = False
    has_picture: Annotated[bool, typer.Option("--has-picture", help=tr("Only tasks that saved a picture."))] = False
    search: Annotated[
        str,
        typer.Option(
            "--search", metavar="WORDS", help=tr("Only prompts with all of these words, or with words that begin so.")
        ),
    ] = ""


class InitOptions(NamedTuple):
    """What `init` connects, and how it gets the key. "" and None: not given."""

    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help=tr("Kind of service; imagegen providers lists them."))
    ] = ""
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help=tr("Name of the provider; without it the name of its kind."))
    ] = ""
    base_url: Annotated[str, typer.Option("--base-url", metavar="ADDRESS", help=tr("Address of the service."))] = ""
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help=tr("Read the key from this environment variable."))
    ] = ""
    key_command: Annotated[
        str, typer.Option("--key-command", metavar="CMD", help=tr("Read the key from the output of this command."))
    ] = ""
    key_stdin: Annotated[
        bool,
        typer.Option("--key-stdin", help=tr("Read the key from stdin, one line; a secret_key from a second line.")),
    ] = False
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help=tr("Model when --model is not given."))] = ""
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help=tr("Setting of its kind; may be repeated."))
    ] = None
    default: Annotated[
        bool | None, typer.Option("--default/--no-default", help=tr("Use this provider when --provider is not given."))
    ] = None
    yes: Yes = False


def declared(without: Container[str] = (), **other: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make options of a command's parameters; a parameter whose type is a class of options brings all of its fields.

    The fields and classes named in `without` are no options of this command and keep their defaults. `other` has the
    declarations that differ in this command.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters

        @functools.wraps(command)
        def called(**given: Any) -> None:
            command(**{name: _value(name, one.annotation, given) for name, one in own.items()})

        options = _flat({name: (one.annotation, one.default) for name, one in own.items()}, without)
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, keyword, default=default, annotation=other.get(name, kind))
            for name, kind, default in options
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
        called.__annotations__ = {}  # Typer would resolve them once more, which takes longer than all that is done here
        return called

    return decorate


def _flat(declarations: Mapping[str, tuple[Any, Any]], without: Container[str]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each option, with the fields of a class of options in its place."""
    for name, (kind, default) in declarations.items():
        if name in without:
            continue
        if _is_class_of_options(kind):
            yield from _flat(_fields(kind), without)
        else:
            yield name, kind, default


def _value(name: str, kind: Any, given: Mapping[str, Any]) -> Any:
    """The value for a parameter: that of its option, or an object of its class of options with all values given."""
    if not _is_class_of_options(kind):
        return given[name]
    known = {name: inner for name, (inner, _) in _fields(kind).items() if name in given or _is_class_of_options(inner)}
    return kind(**{name: _value(name, inner, given) for name, inner in known.items()})


def _fields(kind: Any) -> dict[str, tuple[Any, Any]]:
    return {name: (kind.__annotations__[name], kind._field_defaults[name]) for name in kind._fields}


def _is_class_of_options(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple)
