"""Typer: words in, one call into `app`, an exit code out."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from imagegen_cli import __version__
from imagegen_cli.commands.options import (
    DryRun,
    GenerateOptions,
    InitOptions,
    Json,
    RunOptions,
    SpendOptions,
    Yes,
    declared,
    option,
)
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


Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Tasks, by the numbers that `list` shows.")]
SkipOrGoOn = Annotated[
    bool, option("--yes", "-y", help_="Ask nothing: leave out what another list has sent before, as --skip-sent.")
]
OneProvider = Annotated[
    str, typer.Argument(metavar="[PROVIDER]", help="Only this provider, or a kind by its own name.")
]
SameProvider = Annotated[
    str, option("--provider", "-p", help_="The same as the argument, as `run` has it.", env=False, metavar="PROVIDER")
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
@declared(without=["sent_before"])
def run(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT...", help="What to draw; - reads prompts from stdin.")
    ],
    *,
    options: GenerateOptions,
    each: Annotated[
        bool, option("--each", help_="Take every argument as a prompt as it stands, also single words.", env=False)
    ] = False,
) -> None:
    """Carry prompts to pictures: one task a prompt and model, all at the same time."""
    from imagegen_cli.commands import generate  # noqa: PLC0415 - --help needs none of it

    _leave(generate.run(prompts, options, each=each), carried=not options.dry_run)


@app.command()
@declared(yes=SkipOrGoOn)
def batch(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=".txt, .csv, .tsv, .json, .jsonl; - is stdin.")],
    *,
    options: GenerateOptions,
    allow_outside: Annotated[
        bool,
        typer.Option("--allow-outside", help="Let the list name reference pictures outside of its own folder."),
    ] = False,
) -> None:
    """Carry a list of prompts. Run again, it sends only what is new or was never sent."""
    from imagegen_cli.commands import generate  # noqa: PLC0415

    _leave(generate.batch(files, options, allow_outside=allow_outside), carried=not options.dry_run)


@app.command("again")
@declared(without=["lists", "sent_before"])
def again_(
    task: Annotated[int, typer.Argument(metavar="ID", help="The task to make once more.")],
    prompt: Annotated[str, typer.Argument(help="Another prompt.")] = "",
    *,
    options: GenerateOptions,
) -> None:
    """Make a new task with the parameters of an old one, but for what you change."""
    from imagegen_cli.commands import generate  # noqa: PLC0415

    _leave(generate.again(task, prompt, options), carried=not options.dry_run)


@app.command()
@declared()
def resume(
    ids: Ids = None,
    *,
    run_number: RunNumber = None,
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="FILE", help="Give back receipts that were printed; - reads stdin."),
    ] = None,
    options: RunOptions,
) -> None:
    """Go on with what was accepted but not delivered. Never a second submit."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    _leave(recover.resume(ids or (), options, run_id=run_number, receipts=receipts), carried=True)


@app.command()
@declared()
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
    options: RunOptions,
    spend: SpendOptions,
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
    code = recover.retry(selection, options, spend, may_repeat=may_repeat, dry_run=dry_run, yes=yes)
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
@declared(without=["concurrency", "timeout", "preview", "notify"])
def watch(
    ids: Ids = None,
    *,
    run_number: RunNumber = None,
    replay: Annotated[bool, typer.Option("--replay", help="Show a finished run once more, from its record.")] = False,
    speed: Annotated[float, typer.Option("--speed", min=0.1, help="How many times faster to replay.")] = 1.0,
    options: RunOptions,
) -> None:
    """The live table of what other terminals are running."""
    from imagegen_cli.commands import watch as commands  # noqa: PLC0415

    _leave(commands.watch(ids or (), options, run=run_number, replay=replay, speed=speed))


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
    from imagegen_cli.commands import services  # noqa: PLC0415

    _leave(services.models(_one_name(provider, chosen), as_json=json))


@app.command("credits")
def credits_(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    json: Json = False,
) -> None:
    """What is left on each account, where its service tells."""
    from imagegen_cli.commands import services  # noqa: PLC0415

    _leave(services.credits_(_one_name(provider, chosen), as_json=json))


@app.command()
@declared()
def init(*, options: InitOptions) -> None:
    """Connect a service: ask what is needed, test it without spending, write it down."""
    from imagegen_cli.commands import init as commands  # noqa: PLC0415

    _leave(commands.init(options))


@app.command()
def doctor(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    fix: Annotated[bool, typer.Option("--fix", help="Clear away what killed processes left behind.")] = False,
    json: Json = False,
) -> None:
    """Check every configured service without spending, and this machine; say what to do."""
    from imagegen_cli.commands import doctor as commands  # noqa: PLC0415

    _leave(commands.doctor(_one_name(provider, chosen), fix=fix, as_json=json))


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


def _one_name(argument: str, option: str) -> str:
    if argument and option and argument != option:
        raise UsageError(f"two providers are named, {argument} and {option}: name one, or none for all")
    return argument or option
