"""Typer: words in, one call into `app`, an exit code out."""

import errno
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from imagegen_cli import __version__
from imagegen_cli.core.errors import ImagegenError, UsageError
from imagegen_cli.core.masking import masked

app = typer.Typer(
    name="imagegen",
    help="Many prompts, one terminal: submit them to an image service, watch, keep every picture.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="No key, no set-up: imagegen run 'two cats on a beach' draws with the built-in sketch provider.",
)
config_app = typer.Typer(
    help="Where the settings are, what is in force, and whether it can work.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")


UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a write to stdout or stderr fails with where the disk behind it is full or broken."""


LONGEST_S = 1e8
"""A time limit of three years: beyond it timers of some systems overflow."""


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


def _option(*names: str, help_: str, env: bool = True, **more: Any) -> Any:
    """An option that IMAGEGEN_<OPTION> can set as well."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "IMAGEGEN_" + long.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*names, help=help_, envvar=variable if env else None, show_envvar=False, **more)


Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Tasks, by the numbers that `list` shows.")]
Provider = Annotated[str, _option("--provider", "-p", help_="Configured provider, or a kind by its own name.")]
Model = Annotated[list[str] | None, _option("--model", "-m", help_="Model; give it again to compare models.")]
Count = Annotated[int | None, _option("--count", "-n", help_="Pictures for each prompt.", min=1)]
Ratio = Annotated[str, _option("--ratio", help_="Aspect ratio, as 16:9.")]
Resolution = Annotated[str, _option("--resolution", help_="Size class, as 1k, 2k or 4k.")]
Size = Annotated[str, _option("--size", help_="Size in pixels, as 1024x768.")]
Seed = Annotated[int | None, _option("--seed", help_="Same seed, same picture, where the service can. -1: random.")]
Negative = Annotated[str, _option("--negative", help_="What should not be in the picture.")]
Images = Annotated[
    list[str] | None, _option("--image", help_="Picture to start from, file or address; may be repeated.")
]
Extra = Annotated[
    list[str] | None,
    _option("--extra", "-x", help_="What only this kind of service knows; may be repeated.", metavar="KEY=VALUE"),
]
ListFormat = Annotated[
    str,
    _option(
        "--format",
        help_="How to read a list; without it as its content tells. lines: each line as it stands.",
        metavar="lines|csv|tsv|json|jsonl",
    ),
]
ListEncoding = Annotated[
    str, _option("--encoding", help_="Encoding of a list, as gb18030; without it UTF-8, UTF-16 and what is certain.")
]
ListColumns = Annotated[
    str,
    _option(
        "--columns",
        help_="The columns of a table to read, and no others: prompt=Caption,seed.",
        metavar="FIELD=COLUMN,...",
    ),
]
Output = Annotated[Path | None, _option("--output", "-o", help_="Folder for the pictures.")]
Name = Annotated[str, _option("--name", help_="File name, as {id}-{slug}-{index}.")]
Concurrency = Annotated[
    str,
    _option("--concurrency", "-j", help_="Tasks at the service at once: a number or unlimited.", metavar="N|unlimited"),
]
Timeout = Annotated[float | None, _option("--timeout", help_="Time limit of a task, in seconds.", min=0.1)]
ProgressOption = Annotated[Progress, _option("--progress", help_="How to show what happens.")]
Json = Annotated[bool, _option("--json", help_="JSON on stdout, one object a line.")]
Quiet = Annotated[bool, _option("--quiet", "-q", help_="Nothing on stderr but failures.")]
PreviewOption = Annotated[
    Preview, _option("--preview", help_="Show pictures in the terminal, in the making and finished, where it can.")
]
Notify = Annotated[bool, _option("--notify", help_="Ring and notify at the end.")]
DryRun = Annotated[
    bool, _option("--dry-run", help_="Say what would be sent and where files would go; send nothing.", env=False)
]
Yes = Annotated[bool, _option("--yes", "-y", help_="Ask nothing and go on.")]
YesSkip = Annotated[
    bool, _option("--yes", "-y", help_="Ask nothing: leave out what another list has sent before, as --skip-sent.")
]
OneProvider = Annotated[
    str, typer.Argument(metavar="[PROVIDER]", help="Only this provider, or a kind by its own name.")
]
SameProvider = Annotated[
    str, _option("--provider", "-p", help_="The same as the argument, as `run` has it.", env=False, metavar="PROVIDER")
]
RunNumber = Annotated[int | None, typer.Option("--run", help="Only tasks of this run.")]


@app.callback()
def _top(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version and leave.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(f"imagegen {__version__}")
        raise typer.Exit
    if not {"-h", "--help"} & set(sys.argv):
        from imagegen_cli.settings.paths import working_folder  # noqa: PLC0415 - --help needs none of it

        working_folder()


@app.command()
def run(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT...", help="What to draw; - reads prompts from stdin.")
    ],
    *,
    provider: Provider = "",
    model: Model = None,
    count: Count = None,
    ratio: Ratio = "",
    resolution: Resolution = "",
    size: Size = "",
    seed: Seed = None,
    negative: Negative = "",
    image: Images = None,
    extra: Extra = None,
    list_format: ListFormat = "",
    encoding: ListEncoding = "",
    columns: ListColumns = "",
    output: Output = None,
    name: Name = "",
    concurrency: Concurrency = "",
    timeout: Timeout = None,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    preview: PreviewOption = Preview.AUTO,
    notify: Notify = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    each: Annotated[
        bool, _option("--each", help_="Take every argument as a prompt as it stands, also single words.", env=False)
    ] = False,
) -> None:
    """Carry prompts to pictures: one task a prompt and model, all at the same time."""
    from imagegen_cli.commands import generate as commands  # noqa: PLC0415 - --help needs none of it

    _leave(commands.run(prompts, _options(locals())), carried=not dry_run)


@app.command()
def batch(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=".txt, .csv, .tsv, .json, .jsonl; - is stdin.")],
    *,
    provider: Provider = "",
    model: Model = None,
    count: Count = None,
    ratio: Ratio = "",
    resolution: Resolution = "",
    size: Size = "",
    seed: Seed = None,
    negative: Negative = "",
    image: Images = None,
    extra: Extra = None,
    list_format: ListFormat = "",
    encoding: ListEncoding = "",
    columns: ListColumns = "",
    output: Output = None,
    name: Name = "",
    concurrency: Concurrency = "",
    timeout: Timeout = None,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    preview: PreviewOption = Preview.AUTO,
    notify: Notify = False,
    dry_run: DryRun = False,
    yes: YesSkip = False,
    again: Annotated[bool, typer.Option("--again", help="Send all of it, also what was sent before.")] = False,
    skip_sent: Annotated[
        bool, typer.Option("--skip-sent", help="Leave out what was sent before, from another list too.")
    ] = False,
    allow_outside: Annotated[
        bool,
        typer.Option("--allow-outside", help="Let the list name reference pictures outside of its own folder."),
    ] = False,
) -> None:
    """Carry a list of prompts. Run again, it sends only what is new or was never sent."""
    from imagegen_cli.commands import generate as commands  # noqa: PLC0415

    _leave(commands.batch(files, _options(locals())), carried=not dry_run)


@app.command("again")
def again_(
    task: Annotated[int, typer.Argument(metavar="ID", help="The task to make once more.")],
    prompt: Annotated[str, typer.Argument(help="Another prompt.")] = "",
    *,
    provider: Provider = "",
    model: Model = None,
    count: Count = None,
    ratio: Ratio = "",
    resolution: Resolution = "",
    size: Size = "",
    seed: Seed = None,
    negative: Negative = "",
    image: Images = None,
    extra: Extra = None,
    output: Output = None,
    name: Name = "",
    concurrency: Concurrency = "",
    timeout: Timeout = None,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    preview: PreviewOption = Preview.AUTO,
    notify: Notify = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make a new task with the parameters of an old one, but for what you change."""
    from imagegen_cli.commands import generate as commands  # noqa: PLC0415

    _leave(commands.again(task, _options(locals())), carried=not dry_run)


@app.command()
def resume(
    ids: Ids = None,
    *,
    run_number: RunNumber = None,
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="FILE", help="Give back receipts that were printed; - reads stdin."),
    ] = None,
    concurrency: Concurrency = "",
    timeout: Timeout = None,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    preview: PreviewOption = Preview.AUTO,
    notify: Notify = False,
) -> None:
    """Go on with what was accepted but not delivered. Never a second submit."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    _leave(recover.resume(ids or (), _manner(locals()), run_id=run_number, receipts=receipts), carried=True)


@app.command()
def retry(
    ids: Ids = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="What failed; of the last run with such tasks.")] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="What was cancelled; as --failed.")] = False,
    reason: Annotated[
        list[str] | None, typer.Option("--reason", metavar="CODE", help="What failed for it; may be repeated.")
    ] = None,
    run_number: RunNumber = None,
    all_runs: Annotated[bool, typer.Option("--all-runs", help="Of all runs, not only of the last.")] = False,
    may_repeat: Annotated[
        bool, typer.Option("--may-repeat", help="Also what may be made and billed already: this can pay twice.")
    ] = False,
    concurrency: Concurrency = "",
    timeout: Timeout = None,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    preview: PreviewOption = Preview.AUTO,
    notify: Notify = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Submit again what failed or was cancelled, as new paid work."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    selection = recover.Selection(
        ids=ids or (),
        failed=failed,
        cancelled=cancelled,
        reasons=reason or (),
        run=run_number,
        all_runs=all_runs,
    )
    code = recover.retry(selection, _manner(locals()), may_repeat=may_repeat, dry_run=dry_run, yes=yes)
    _leave(code, carried=not dry_run)


@app.command()
def cancel(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that is unfinished.")] = False,
    run_number: RunNumber = None,
    queued: Annotated[bool, typer.Option("--queued", help="All that was not sent yet.")] = False,
) -> None:
    """Stop unfinished tasks, from any terminal, and say what came of it."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    _leave(recover.cancel(ids or (), everything=everything, run_id=run_number, queued=queued))


@app.command("list")
def list_(
    *,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only tasks in this state; may be repeated.")
    ] = None,
    run_number: RunNumber = None,
    since: Annotated[str, typer.Option("--since", help="Only newer ones: 30m, 12h, 7d, or 2026-11-23.")] = "",
    search: Annotated[str, typer.Option("--search", metavar="TEXT", help="Only prompts that hold this.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    json: Json = False,
) -> None:
    """Tasks of all runs, newest first."""
    from imagegen_cli.commands import history  # noqa: PLC0415

    _leave(history.list_tasks(state or (), run_number, since, search, limit, as_json=json))


app.command("ps", hidden=True, help="The same as list.")(list_)


@app.command()
def show(task: Annotated[int, typer.Argument(metavar="ID")], *, json: Json = False) -> None:
    """Everything about one task: parameters, times, files, and what to do where it failed."""
    from imagegen_cli.commands import history  # noqa: PLC0415

    _leave(history.show_task(task, as_json=json))


@app.command()
def watch(
    ids: Ids = None,
    *,
    run_number: RunNumber = None,
    replay: Annotated[bool, typer.Option("--replay", help="Show a finished run once more, from its record.")] = False,
    speed: Annotated[float, typer.Option("--speed", min=0.1, help="How many times faster to replay.")] = 1.0,
    progress: ProgressOption = Progress.AUTO,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The live table of what other terminals are running."""
    from imagegen_cli.commands import watch as commands  # noqa: PLC0415

    _leave(commands.watch(ids or (), _manner(locals()), run=run_number, replay=replay, speed=speed))


@app.command()
def providers(
    kind: Annotated[str, typer.Argument(help="Show the settings of this kind.")] = "", *, json: Json = False
) -> None:
    """What is configured, and which kinds of service there are."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.show_providers(kind, as_json=json))


@app.command()
def models(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    json: Json = False,
) -> None:
    """What can be named with --model: what each configured service offers, asked now."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.models(_one_name(provider, chosen), as_json=json))


@app.command("credits")
def credits_(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    json: Json = False,
) -> None:
    """What is left on each account, where its service tells."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.credits_(_one_name(provider, chosen), as_json=json))


@app.command()
def init(
    *,
    kind: Annotated[str, typer.Option("--kind", help="Kind of service: imagegen providers lists them.")] = "",
    name: Annotated[str, typer.Option("--name", help="What to call it here; the kind's own name if not given.")] = "",
    base_url: Annotated[str, typer.Option("--base-url", help="Its address.")] = "",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="Take its key from this environment variable.")
    ] = "",
    key_command: Annotated[
        str, typer.Option("--key-command", metavar="CMD", help="Take its key from what this command prints.")
    ] = "",
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from stdin, one line; a secret_key in a second.")
    ] = False,
    model: Annotated[str, typer.Option("--model", help="Its model when --model is not given.")] = "",
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A setting of its kind; may be repeated."),
    ] = None,
    default: Annotated[
        bool | None, typer.Option("--default/--no-default", help="Use it when --provider is not given.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Connect a service: ask what is needed, test it without spending, write it down."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    wanted = configure.Wanted(
        kind=kind,
        name=name,
        base_url=base_url,
        keys=configure.key_reference(key_env, key_command),
        key_stdin=key_stdin,
        model=model,
        values=values or (),
        default=default,
        yes=yes,
    )
    _leave(configure.init(wanted))


@app.command()
def doctor(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    fix: Annotated[bool, typer.Option("--fix", help="Clear away what killed processes left behind.")] = False,
    json: Json = False,
) -> None:
    """Check every configured service without spending, and this machine; say what to do."""
    from imagegen_cli.commands import doctor as check  # noqa: PLC0415

    _leave(check.doctor(_one_name(provider, chosen), fix=fix, as_json=json))


@config_app.command("path")
def config_path() -> None:
    """Where the settings and the history are."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_path())


@config_app.command("show")
def config_show() -> None:
    """All settings in force, with secrets hidden."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_show())


@config_app.command("check")
def config_check() -> None:
    """Read every setting and find every key, without asking any service."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_check())


def main() -> None:
    """Run the command line; the one place that turns errors into exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as leaving:
        _exit(leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1)
    except ImagegenError as error:
        _tell(error)
        _exit(error.exit_code)
    except BrokenPipeError:
        _exit(0)
    except KeyboardInterrupt:
        _exit(130)
    except Exception as error:  # noqa: BLE001 - the last one to ask
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename is None:
            _say_unwritten(str(error.strerror))  # what Typer itself writes: help and wrong usage
            _exit(2)
        _report(error)


def _leave(code: int, *, carried: bool = False) -> None:
    """End with `code`. What stdout should have told and could not makes a 0 a 2, but not where tasks were carried."""
    from imagegen_cli.core.text import Printer  # noqa: PLC0415 - every command has it by now

    if Printer.trouble:
        _say_unwritten(Printer.trouble)
        code = code or (0 if carried else 2)
    if code:
        _exit(code)


def _exit(code: int) -> NoReturn:
    """Leave with `code`; a reader that went away changes nothing."""
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _say_unwritten(why: str) -> None:
    _echo(f"imagegen: not all could be written to stdout: {why}\n  redirect it to another place")


def _flush(stream: Any) -> None:
    """Afterwards a stream that cannot be written leads nowhere, so that Python can end in peace."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _echo(text: str) -> None:
    """To stderr, which may be gone or full."""
    try:
        typer.echo(text, err=True)
    except OSError:
        _flush(sys.stderr)


def _tell(error: ImagegenError) -> None:
    from imagegen_cli.core.text import literal  # noqa: PLC0415

    encoding = sys.stderr.encoding or "utf-8"
    for line in error.message.splitlines():
        _echo(f"imagegen: {literal(line, encoding)}")
    if error.hint:
        _echo(f"  {literal(error.hint, encoding)}")


def _report(error: Exception) -> NoReturn:
    import traceback  # noqa: PLC0415

    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    _echo(f"imagegen: this is a bug in imagegen {__version__}: {type(error).__name__} at {place}")
    _echo("  please report it to the project's issues; IMAGEGEN_TRACEBACK=1 shows all of it")
    if os.environ.get("IMAGEGEN_TRACEBACK"):
        typer.echo(masked("".join(traceback.format_exception(error))), err=True, nl=False)
    _exit(70)


def _options(given: dict[str, Any]) -> Any:
    from imagegen_cli.commands.generate import Options  # noqa: PLC0415
    from imagegen_cli.inputs.prompts import PromptSpec  # noqa: PLC0415

    common = PromptSpec(
        prompt=given.get("prompt", ""),
        provider=given["provider"],
        models=tuple(given["model"] or ()),
        ratio=given["ratio"],
        resolution=given["resolution"],
        size=given["size"],
        count=given["count"],
        seed=given["seed"],
        negative=given["negative"],
        references=tuple(given["image"] or ()),
        extra=_pairs(given["extra"] or ()),
    )
    return Options(
        common=common,
        output=given["output"],
        template=given["name"],
        manner=_manner(given),
        dry_run=given["dry_run"],
        again=given.get("again", False),
        skip_sent=given.get("skip_sent", False),
        yes=given["yes"],
        allow_outside=given.get("allow_outside", False),
        each=given.get("each", False),
        reading=_reading(given),
    )


def _reading(given: dict[str, Any]) -> Any:
    from imagegen_cli.inputs.lists.basics import Reading, columns_in, form_in  # noqa: PLC0415

    if encoding := given.get("encoding", ""):
        from imagegen_cli.inputs.lists.decoding import check_encoding  # noqa: PLC0415

        check_encoding(encoding)
    form = form_in(given.get("list_format", ""))
    return Reading(form=form, encoding=encoding, columns=columns_in(given.get("columns", "")))


def _one_name(argument: str, option: str) -> str:
    if argument and option and argument != option:
        raise UsageError(f"two providers are named, {argument} and {option}: name one, or none for all")
    return argument or option


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, sign, _ in pairs if not (name and sign)]:
        raise UsageError(f"--extra takes KEY=VALUE, not {bad[0]!r}")
    return {name: value for name, _, value in pairs}


def _manner(given: dict[str, Any]) -> Any:
    from imagegen_cli.commands.session import RunOptions  # noqa: PLC0415

    progress = "json" if given["json"] else "quiet" if given["quiet"] else given["progress"].value
    return RunOptions(
        progress=progress,
        concurrency=_at_once(given.get("concurrency", "")),
        timeout=_seconds(given.get("timeout")),
        preview=given["preview"].value if "preview" in given else "off",
        notify=given.get("notify", False),
    )


def _seconds(limit: float | None) -> float | None:
    if limit is not None and not limit < LONGEST_S:  # nan is not less than anything
        raise UsageError(f"--timeout takes seconds, less than {LONGEST_S:.0f}, not {limit}")
    return limit


def _at_once(text: str) -> int | None:
    if not text:
        return None
    if text == "unlimited":
        return 0
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--concurrency takes a number from 1 or unlimited, not {text!r}")
    return int(text)
