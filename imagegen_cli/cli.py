"""The command line: arguments and options of each command, one call into `commands`, and the exit code."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from imagegen_cli import __version__
from imagegen_cli.commands import guide
from imagegen_cli.commands.helping import Command, Group, Page, TakesIds
from imagegen_cli.commands.options import (
    CostsBy,
    DryRun,
    ExportFormat,
    FilterOptions,
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
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.masking import masked

app = typer.Typer(
    name="imagegen",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(
    cls=Group,
    help=tr("Show where the settings are and what is in force, check and change them."),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")
history_app = typer.Typer(
    cls=Group,
    help=tr("Copy a history from one place to another; imagegen list shows what is in it."),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(history_app, name="history")


TWO_PROVIDERS = Message("two providers are named, {one} and {other}: name one, or none for all")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write to stdout or stderr when the disk behind it is full or broken."""


Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help=tr("Task numbers, as `list` shows them; LAST or -1 is the newest.")),
]
OneTask = Annotated[str, typer.Argument(metavar="ID", help=tr("Number of a task; LAST or -1 is the newest."))]
OnePicture = Annotated[
    str, typer.Argument(metavar="ID[/N]", help=tr("A picture by its task: 12/2, or 12 where that has one; LAST."))
]
SHAPE = ("model", "pictures", "ratio", "resolution", "size", "seed", "negative", "image", "variation", "sheet")
"""Options that say what to draw, which a larger copy of a picture has no use for."""
SkipOrGoOn = Annotated[
    bool, option("--yes", "-y", help_=tr("Do not ask: skip what another list has sent before, as --skip-sent does."))
]
OneProvider = Annotated[
    str, typer.Argument(metavar="PROVIDER", help=tr("Only this provider, or a kind by its own name."))
]
SameProvider = Annotated[
    str,
    option(
        "--provider",
        "-p",
        help_=tr("The same as the argument, for those who know it from `run`."),
        env=False,
        metavar="PROVIDER",
    ),
]
RunNumber = Annotated[
    str, typer.Option("--run", metavar="RUN", help=tr("Only tasks of this run; LAST or -1 is the newest."))
]


@app.callback()
def _top(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", help=tr("Show the version and exit."), is_eager=True)
    ] = False,
    lang: Annotated[str, typer.Option("--lang", help=guide.LANG_OPTION, metavar="LANG")] = "",  # noqa: ARG001 - `settings.language` has read it
) -> None:
    if version:
        typer.echo(f"imagegen {__version__}")
        raise typer.Exit
    if not {"-h", "--help"} & set(sys.argv):
        from imagegen_cli.settings.paths import working_folder  # noqa: PLC0415 - --help needs none of it

        working_folder()


@app.command(cls=Command)
@declared(without=["sent_before"])
def run(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help=tr("What to draw; - reads prompts from stdin, one per line.")),
    ] = None,
    *,
    options: GenerateOptions,
    each: Annotated[
        bool, option("--each", help_=tr("Take every argument as a prompt as it is, also single words."), env=False)
    ] = False,
    picture: Annotated[
        str,
        option(
            "--from",
            help_=tr("Make this picture again, as the file, its sidecar or the history says; other options change it."),
            env=False,
            metavar="FILE",
        ),
    ] = "",
) -> None:
    """Generate images: one task per prompt and model, all concurrently."""
    options.variation.check()
    from imagegen_cli.commands import generate  # noqa: PLC0415 - --help needs none of it

    _leave(generate.run(prompts or (), options, each=each, picture=picture), ran=not options.dry_run)


@app.command(cls=Command)
@declared(without=["variation", "lists", "sheet", "sent_before", "dry_run", "queue"])
def studio(*, options: GenerateOptions) -> None:
    """Type one prompt after the other into a live table that stays open."""
    from imagegen_cli.commands import studio as commands  # noqa: PLC0415

    _leave(commands.studio(options), ran=True)


@app.command(cls=Command)
@declared(yes=SkipOrGoOn)
def batch(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help=tr(".txt, .csv, .tsv, .json, .jsonl; - is stdin."))
    ],
    *,
    options: GenerateOptions,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help=tr("Allow the list to name reference pictures outside of its own folder.")
        ),
    ] = False,
) -> None:
    """Generate images from prompt lists. A second run sends only what is new or was never sent."""
    options.variation.check()
    from imagegen_cli.commands import generate  # noqa: PLC0415

    _leave(generate.batch(files, options, allow_outside=allow_outside), ran=not options.dry_run)


@app.command("again", cls=TakesIds)
@declared(without=["lists", "sent_before"])
def again_(
    task: OneTask,
    prompt: Annotated[str, typer.Argument(metavar="WORDS", help=tr("Another prompt."))] = "",
    *,
    options: GenerateOptions,
) -> None:
    """Make a new task with the parameters of an old one, except for those that you change."""
    options.variation.check()
    from imagegen_cli.commands import generate  # noqa: PLC0415

    _leave(generate.again(task, prompt, options), ran=not options.dry_run)


@app.command(cls=TakesIds)
@declared(without=["lists", "sent_before"])
def edit(
    picture: OnePicture,
    words: Annotated[str, typer.Argument(metavar="WORDS", help=tr("What to change."))],
    *,
    options: GenerateOptions,
) -> None:
    """Change a picture by words: a new task that starts from it, with its service, model and size unless told."""
    options.variation.check()
    from imagegen_cli.commands import remake  # noqa: PLC0415

    _leave(remake.edit(picture, words, options), ran=not options.dry_run)


@app.command(cls=TakesIds)
@declared(without=[*SHAPE, "lists", "sent_before"])
def upscale(
    picture: OnePicture,
    *,
    factor: Annotated[
        float, typer.Option("--factor", metavar="N", help=tr("How many times longer each side becomes."))
    ] = 2.0,
    options: GenerateOptions,
) -> None:
    """Make a picture larger, where its service or the one that -p names can do that."""
    from imagegen_cli.commands import remake  # noqa: PLC0415

    _leave(remake.upscale(picture, factor, options), ran=not options.dry_run)


@app.command(cls=Command)
@declared()
def work(
    *,
    provider: Annotated[
        list[str] | None,
        option("--provider", "-p", help_=tr("Work only for this provider; may be repeated."), metavar="NAME"),
    ] = None,
    output: Annotated[
        Path | None,
        option("--output", "-o", help_=tr("Folder for the pictures, instead of the planned one."), metavar="DIR"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help=tr("Leave when no task waits any more."))] = False,
    options: RunOptions,
    spend: SpendOptions,
) -> None:
    """Carry tasks that `--queue` has planned, here or on another machine that shares the history."""
    from imagegen_cli.commands import work as commands  # noqa: PLC0415

    _leave(commands.work(provider or (), options, spend, output=output, once=once), ran=True)


@app.command(cls=TakesIds)
@declared()
def resume(
    ids: Ids = None,
    *,
    run_number: RunNumber = "",
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="FILE", help=tr("Read receipts that a run has printed; - reads stdin.")),
    ] = None,
    options: RunOptions,
) -> None:
    """Continue what a service accepted and did not deliver. Nothing is submitted a second time."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    _leave(recover.resume(ids or (), options, run=run_number, receipts=receipts), ran=True)


@app.command(cls=TakesIds)
@declared()
def retry(
    ids: Ids = None,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help=tr("Tasks that failed, of the last run that has such tasks."))
    ] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help=tr("Tasks that were cancelled, of the last run that has such tasks."))
    ] = False,
    reason: Annotated[
        list[str] | None,
        typer.Option("--reason", metavar="CODE", help=tr("Tasks that failed for this reason; may be repeated.")),
    ] = None,
    run_number: RunNumber = "",
    all_runs: Annotated[bool, typer.Option("--all-runs", help=tr("Tasks of all runs, not only of the last."))] = False,
    may_repeat: Annotated[
        bool,
        typer.Option(
            "--may-repeat", help=tr("Include tasks that may be generated and billed already: this can pay twice.")
        ),
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
    _leave(code, ran=not dry_run)


@app.command(cls=TakesIds)
def cancel(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help=tr("All unfinished tasks."))] = False,
    run_number: RunNumber = "",
    queued: Annotated[bool, typer.Option("--queued", help=tr("All tasks that were not sent yet."))] = False,
) -> None:
    """Stop unfinished tasks, from any terminal, and say what became of each."""
    from imagegen_cli.commands import recover  # noqa: PLC0415

    _leave(recover.cancel(ids or (), everything=everything, run=run_number, queued=queued))


@app.command("list", cls=Command)
@declared()
def list_(
    *,
    options: FilterOptions,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help=tr("Maximum number of tasks."))] = 50,
    json: Json = False,
) -> None:
    """List the tasks of all runs, newest first."""
    from imagegen_cli.commands import history  # noqa: PLC0415

    _leave(history.list_tasks(options, limit, as_json=json))


app.command("ps", cls=Command, hidden=True, help=tr("The same as list."))(list_)


@app.command("runs", cls=Command)
def runs_(
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help=tr("Only newer runs: 30m, 12h, 7d, or 2026-11-23."))
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help=tr("Maximum number of runs."))] = 20,
    json: Json = False,
) -> None:
    """List the runs, newest first: how their tasks ended, how many pictures they brought, what they cost."""
    from imagegen_cli.commands import runs  # noqa: PLC0415

    _leave(runs.runs(since, limit, as_json=json))


@app.command(cls=TakesIds)
def show(
    task: OneTask,
    *,
    preview: Annotated[
        bool, typer.Option("--preview", help=tr("Draw its pictures in the terminal; 12/2 draws the second alone."))
    ] = False,
    json: Json = False,
) -> None:
    """Show everything about one task: parameters, times, files, and what to do if it failed."""
    from imagegen_cli.commands import history  # noqa: PLC0415

    _leave(history.show_task(task, as_json=json, preview=preview))


Runs = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="RUN", help=tr("Tasks of this run; LAST or -1 is the newest. May be repeated.")),
]
Pictures = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help=tr("Task numbers; 12/2 is picture 2 of task 12; LAST or -1 is the newest.")),
]


@app.command(cls=TakesIds)
def sheet(
    ids: Pictures = None,
    *,
    runs: Runs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help=tr("The PNG; without it a name beside the pictures.")),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help=tr("Light words on a dark ground."))] = False,
    json: Json = False,
) -> None:
    """Draw one labelled PNG that compares pictures: of the last run that varied anything, or of what you name.

    Rows and columns are what was varied, other variations make blocks, and the cell of a picture that is not there says
    why. After a comparison it is drawn by itself; --no-sheet prevents that. A file that is no sheet of imagegen is
    never replaced.
    """
    from imagegen_cli.commands import gallery as commands  # noqa: PLC0415

    _leave(commands.sheet(ids or (), runs or (), output, dark=dark, as_json=json))


@app.command(cls=TakesIds)
@declared()
def gallery(
    ids: Pictures = None,
    *,
    options: FilterOptions,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help=tr("Maximum number of tasks, the newest."))
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help=tr("The HTML file; without it a name beside the pictures.")
        ),
    ] = None,
    single: Annotated[
        bool, typer.Option("--single", help=tr("One file, however many pictures; it takes longer to open."))
    ] = False,
    shown: Annotated[bool, typer.Option("--open", help=tr("Open the page in the browser."))] = False,
    json: Json = False,
) -> None:
    """Write one HTML page of many pictures, which works from the disk without a network.

    Without a choice it shows the newest 500 tasks. Above 500 pictures the thumbnails lie in a folder beside the page.
    Thumbnails are kept in imagegen's cache folder, at most 256 MiB: the oldest are removed first. A file that is no
    gallery of imagegen is never replaced.
    """
    from imagegen_cli.commands import gallery as commands  # noqa: PLC0415

    _leave(commands.gallery(ids or (), options, limit, output, single=single, shown=shown, as_json=json))


@app.command("open", cls=TakesIds)
def open_(
    task: Annotated[
        str, typer.Argument(metavar="ID", help=tr("Number of a task; 12/2 is its picture 2; LAST or -1 is the newest."))
    ],
) -> None:
    """Open a picture in the desktop's own program, and print its path; without a desktop only the path, and exit 1."""
    from imagegen_cli.commands import gallery as commands  # noqa: PLC0415

    _leave(commands.open_picture(task))


@app.command(cls=TakesIds)
def favourite(
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID[/N]...", help=tr("Tasks, or single pictures as 12/2; LAST is the newest.")),
    ],
    *,
    remove: Annotated[bool, typer.Option("--not", help=tr("They are no favourites any more."))] = False,
) -> None:
    """Keep tasks or pictures among your favourites: list --favourite shows them, and forget leaves them alone."""
    from imagegen_cli.commands import keeping  # noqa: PLC0415

    _leave(keeping.favourite(ids, remove=remove))


@app.command(cls=Command)
@declared()
def export(
    *,
    options: FilterOptions,
    form: Annotated[
        ExportFormat, typer.Option("--format", metavar="FORM", help=tr("jsonl, as list --json, or csv."))
    ] = ExportFormat.JSONL,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help=tr("A new file; a CSV begins with a BOM for spreadsheets.")
        ),
    ] = None,
) -> None:
    """Write the history, or a part of it, for other programs: newest first, on stdout or into a file."""
    from imagegen_cli.commands import keeping  # noqa: PLC0415

    _leave(keeping.export(options, form, output))


@app.command(cls=TakesIds)
def forget(
    ids: Ids = None,
    *,
    older: Annotated[
        str, typer.Option("--older", metavar="WHEN", help=tr("Tasks older than this: 90d, 12w, or before 2026-08-01."))
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help=tr("Tasks that failed."))] = False,
    run_number: Annotated[
        str, typer.Option("--run", metavar="RUN", help=tr("Tasks of this run; LAST or -1 is the newest."))
    ] = "",
    files: Annotated[bool, typer.Option("--files", help=tr("Delete their unchanged pictures as well."))] = False,
    with_receipts: Annotated[
        bool, typer.Option("--with-receipts", help=tr("Include tasks whose pictures can still be fetched."))
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=tr("Show what would be forgotten; forget nothing."))
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete tasks from the history after a question, and with --files their pictures. Costs stay counted."""
    from imagegen_cli.commands import forgetting  # noqa: PLC0415

    choice = forgetting.Choice(ids or (), older, failed, run_number, with_receipts)
    _leave(forgetting.forget(choice, files=files, dry_run=dry_run, yes=yes))


@app.command("info", cls=Command)
def info_(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=tr("Pictures, or folders with pictures."))],
    *,
    json: Json = False,
    verify: Annotated[
        bool, typer.Option("--verify", help=tr("Check C2PA signatures; it needs pip install 'imagegen-cli[c2pa]'."))
    ] = False,
) -> None:
    """Show what made a picture: prompt, model, seed, label, signature, and which pictures it was made from."""
    from imagegen_cli.commands import info  # noqa: PLC0415

    _leave(info.info(files, as_json=json, verify=verify))


@app.command("costs", cls=Command)
def costs_(
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help=tr("Only what was sent since: 30m, 12h, 7d, or 2026-11-23."))
    ] = "",
    by: Annotated[
        CostsBy, typer.Option("--by", metavar="WHAT", help=tr("A line for each day, model, provider or run."))
    ] = CostsBy.DAY,
    run_number: RunNumber = "",
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help=tr("CSV on stdout."))] = False,
) -> None:
    """What was spent, who says so, and what is left of the budgets."""
    from imagegen_cli.commands import costs  # noqa: PLC0415

    _leave(costs.costs(by, since, run=run_number, as_json=json, as_csv=csv))


@app.command(cls=TakesIds)
def settle(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help=tr("All that is uncertain."))] = False,
    paid: Annotated[bool, typer.Option("--paid", help=tr("Each of them was charged."))] = False,
    unpaid: Annotated[bool, typer.Option("--unpaid", help=tr("None of them was charged."))] = False,
    amount: Annotated[
        str, typer.Option("--amount", metavar="AMOUNT", help=tr("What each cost, as 0.04usd; without it as reserved."))
    ] = "",
    json: Json = False,
) -> None:
    """Say what submits cost that may have been charged, where no service tells."""
    from imagegen_cli.commands import costs  # noqa: PLC0415

    _leave(costs.settle(ids or (), everything=everything, paid=paid, unpaid=unpaid, amount=amount, as_json=json))


@app.command(cls=TakesIds)
@declared(without=["concurrency", "timeout", "preview", "notify", "hook", "marks"])
def watch(
    ids: Ids = None,
    *,
    run_number: RunNumber = "",
    replay: Annotated[bool, typer.Option("--replay", help=tr("Show a finished run again, from its record."))] = False,
    speed: Annotated[
        float, typer.Option("--speed", min=0.1, metavar="N", help=tr("How many times faster the replay is."))
    ] = 1.0,
    options: RunOptions,
) -> None:
    """Show the live table of what other terminals are running."""
    from imagegen_cli.commands import watch as commands  # noqa: PLC0415

    _leave(commands.watch(ids or (), options, run=run_number, replay=replay, speed=speed))


@app.command(cls=Command)
def providers(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=tr("Show the settings of this kind."))] = "",
    *,
    json: Json = False,
) -> None:
    """List the configured providers and the kinds of service."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.show_providers(kind, as_json=json))


@app.command(cls=Command)
def models(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    json: Json = False,
) -> None:
    """List what --model can name: the models that each configured service offers now."""
    from imagegen_cli.commands import services  # noqa: PLC0415

    _leave(services.models(_one_name(provider, chosen), as_json=json))


@app.command("credits", cls=Command)
def credits_(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    json: Json = False,
) -> None:
    """Show what is left on each account, where its service tells."""
    from imagegen_cli.commands import services  # noqa: PLC0415

    _leave(services.credits_(_one_name(provider, chosen), as_json=json))


@app.command(cls=Command)
@declared()
def init(*, options: InitOptions) -> None:
    """Connect a service: ask what is needed, test it without spending, write it into your settings."""
    from imagegen_cli.commands import init as commands  # noqa: PLC0415

    _leave(commands.init(options))


@app.command(cls=Command)
def doctor(
    provider: OneProvider = "",
    *,
    chosen: SameProvider = "",
    fix: Annotated[bool, typer.Option("--fix", help=tr("Remove what ended processes left behind."))] = False,
    json: Json = False,
) -> None:
    """Check every configured service and this machine without spending, and say what to do."""
    from imagegen_cli.commands import doctor as commands  # noqa: PLC0415

    _leave(commands.doctor(_one_name(provider, chosen), fix=fix, as_json=json))


@app.command("schema", cls=Command)
def schema_(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=tr("events, summary, task, runs, costs and so on; without it all."))
    ] = "",
) -> None:
    """Print the JSON Schema of what --json prints: of one sort of line, or of all."""
    from imagegen_cli.commands import schema  # noqa: PLC0415

    _leave(schema.schema(name))


@app.command("skill", cls=Command)
def skill_() -> None:
    """Print a SKILL.md: how an agent uses this program in scripts and never pays twice."""
    from imagegen_cli.commands import skill  # noqa: PLC0415

    _leave(skill.skill())


@history_app.command("migrate", cls=Command)
def history_migrate(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help=tr("A file, or an address as postgresql://user@host/db."))
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help=tr("Another file or address, whose history is empty."))],
    *,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="from|to",
            help=tr("The one of both that goes on with tasks that have not ended; they are cancelled in the other."),
        ),
    ] = "",
) -> None:
    """Copy a whole history, and prove that nothing is missing. The old one stays as it is, but for --keep to."""
    from imagegen_cli.commands import migrate  # noqa: PLC0415

    _leave(migrate.migrate(source, target, keep))


@config_app.command("path", cls=Command)
def config_path() -> None:
    """Show where the settings and the history are."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_path())


@config_app.command("show", cls=Command)
def config_show(
    *, origin: Annotated[bool, typer.Option("--origin", help=tr("Say behind each value where it comes from."))] = False
) -> None:
    """Show all settings in force, with secrets hidden."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_show(origin=origin))


@config_app.command("check", cls=Command)
def config_check() -> None:
    """Read every setting and find every key, without asking any service."""
    from imagegen_cli.commands import configure  # noqa: PLC0415

    _leave(configure.config_check())


Key = Annotated[str, typer.Argument(metavar="KEY", help=tr("Name of a setting, as output or providers.studio.model."))]
InProject = Annotated[
    bool, typer.Option("--project", help=tr("In the project's imagegen.toml, and not in your own settings."))
]


@config_app.command("set", cls=Command)
def config_set(
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help=tr("The value; a key as env:NAME or cmd:COMMAND."))],
    *,
    project: InProject = False,
) -> None:
    """Set one value in your settings; comments and all other lines stay as they are."""
    from imagegen_cli.commands import change_settings  # noqa: PLC0415

    _leave(change_settings.config_set(key, value, project=project))


@config_app.command("unset", cls=Command)
def config_unset(key: Key, *, project: InProject = False) -> None:
    """Remove one value, or a whole table, from your settings."""
    from imagegen_cli.commands import change_settings  # noqa: PLC0415

    _leave(change_settings.config_unset(key, project=project))


@config_app.command("edit", cls=Command)
def config_edit(*, project: InProject = False) -> None:
    """Open your settings in your editor (VISUAL or EDITOR), and check them before they are written."""
    from imagegen_cli.commands import change_settings  # noqa: PLC0415

    _leave(change_settings.config_edit(project=project))


@app.command("completion", cls=Command)
def completion_(
    shell: Annotated[
        str, typer.Argument(metavar="SHELL", help=tr("bash, fish, powershell or zsh; without it that of SHELL."))
    ] = "",
    *,
    install: Annotated[bool, typer.Option("--install", help=tr("Put it where the shell looks for it."))] = False,
) -> None:
    """Print what makes the tab key of a shell complete commands, options and their values."""
    from imagegen_cli.commands import completion_scripts  # noqa: PLC0415

    _leave(completion_scripts.completion(shell, install=install))


@app.command("help", cls=Command)
def help_(
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help=tr("A topic, or a command; without it the list of topics."))
    ] = "",
    *,
    man: Annotated[bool, typer.Option("--man", help=tr("Print the man page."))] = False,
) -> None:
    """Show a topic of the documentation, or all options of a command."""
    from imagegen_cli.commands import topics  # noqa: PLC0415

    _leave(topics.help_(topic, man=man))


def main(wrong: ImagegenError | None = None) -> None:
    """Run the command line; the one place that turns errors into exit codes. `wrong`: why it cannot be read at all."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if "_IMAGEGEN_COMPLETE" in os.environ:
        from imagegen_cli.commands.completing import answer  # noqa: PLC0415 - only for the tab key

        answer(os.environ, _command_of)
        _exit(0)
    try:
        _prepare(wrong)
        code = app(prog_name="imagegen", standalone_mode=False)
        _exit(code if isinstance(code, int) else 0)
    except SystemExit as leaving:
        _exit(leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1)
    except ImagegenError as error:
        from imagegen_cli.commands.signals import ended_by  # noqa: PLC0415 - only where something is wrong

        _print_error(error)
        _exit(ended_by() or error.exit_code)
    except BrokenPipeError:
        _exit(0)
    except KeyboardInterrupt:
        _exit(130)
    except Exception as error:  # noqa: BLE001 - every other error is a bug
        _refuse(error)
        _report(error)


def _prepare(wrong: ImagegenError | None) -> None:
    """Keep only the command that is called. Raises `wrong`."""
    if wrong:
        raise wrong
    _leave_out_others(_asked_for_all_of(sys.argv))


def _command_of(words: Sequence[str]) -> Any:
    """The command of this name, as Typer builds it."""
    _leave_out_others(words)
    root: Any = typer.main.get_command(app)
    return root.commands[words[0]]


def _asked_for_all_of(arguments: list[str]) -> Sequence[str]:
    """The first word behind the program. `help COMMAND` becomes `COMMAND --help`, which then shows all options."""
    words = arguments[1:]
    if words[:1] == ["help"] and words[1:] and not words[1].startswith("-") and words[1] in _names():
        Page.is_whole = True
        arguments[1:] = [*words[1:], "--help"]
    return arguments[1:2]


def _names() -> set[str]:
    return {*map(_name_of, app.registered_commands), *(str(one.name) for one in app.registered_groups)}


def _name_of(command: Any) -> str:
    return str(command.name or getattr(command.callback, "__name__", ""))


def _leave_out_others(words: Sequence[str]) -> None:
    """Keep only the command that is called: what Typer builds of all of them is most of a start."""
    if words in ([], ["--help"], ["-h"]):
        app.registered_commands, app.registered_groups = [], []
        return
    if words[0].startswith("-"):
        return
    app.registered_commands = [one for one in app.registered_commands if words == [_name_of(one)]]
    app.registered_groups = [one for one in app.registered_groups if words == [one.name]]


def _refuse(error: Exception) -> None:
    """Exit where the error is no bug: Ctrl-C, an output that takes nothing, or a wrong command line, as Typer says."""
    if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 makes a RuntimeError of it while a class is made
        _exit(130)
    if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename is None:
        from imagegen_cli.core.system_errors import cause  # noqa: PLC0415 - only where something is wrong

        _report_unwritten(cause(error))  # what Typer itself writes: help
        _exit(2)
    from imagegen_cli.commands.slips import as_ours  # noqa: PLC0415 - only for slips

    if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help
        _echo(str(error))
        _exit(2)
    if wrong := as_ours(error):
        _print_error(wrong)
        _exit(2)


def _leave(code: int, *, ran: bool = False) -> None:
    """Exit with `code`. If stdout could not be written, 0 becomes 2; 1 where tasks have run, whose files are there."""
    from imagegen_cli.core.text import Printer  # noqa: PLC0415 - every command has it by now

    if Printer.trouble:
        _report_unwritten(Printer.trouble)
        code = code or (1 if ran else 2)
    if code:
        _exit(code)


def _exit(code: int) -> NoReturn:
    """Exit with `code`, also when the reader of stdout has gone away, and when a signal comes meanwhile.

    Several come together where a terminal goes away: its kernel and its shell say so.
    """
    import _signal  # type: ignore[import-not-found]  # noqa: PLC0415 - `signal` loads more than all that is done here
    import atexit  # noqa: PLC0415

    for name, own in (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)):
        number = getattr(_signal, name, None)
        if number is not None and _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _leaving(code or own))
            atexit.register(_signal.signal, number, _signal.SIG_IGN)  # Python's own end would restore the default
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _leaving(code: int) -> Callable[[int, object], None]:
    return lambda _number, _frame: os._exit(code)


def _report_unwritten(why: str) -> None:
    _echo(f"imagegen: {tr('stdout could not be written completely: {why}', why=why)}")
    _echo(f"  {tr('redirect it to another place')}")


def _flush(stream: Any) -> None:
    """Flush a stream; one that cannot be written is redirected to nowhere, so that Python does not fail at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _echo(text: str) -> None:
    """Write a line to stderr, which may be closed or full."""
    try:
        typer.echo(text, err=True)
    except OSError:
        _flush(sys.stderr)


def _print_error(error: ImagegenError) -> None:
    lines = [(f"imagegen: {line}", 2) for line in translated(error.message).splitlines()]
    hint = translated(error.hint or (_general_hint() if isinstance(error, UsageError) else ""))
    for line, hanging in [*lines, *([(f"  {hint}", 0)] if hint else [])]:
        _echo(_for_people(line, hanging))


def _general_hint() -> str:
    from imagegen_cli.commands.slips import help_of  # noqa: PLC0415 - only for slips

    return help_of(sys.argv[1:])


def _for_people(text: str, hanging: int) -> str:
    """A text as `notice` breaks it on a terminal, and literally elsewhere, where no display needs to be imported."""
    from imagegen_cli.core.text import is_capable_terminal, literal  # noqa: PLC0415

    is_receipt = text.startswith('imagegen: {"task"')  # it stays one line, so that it can be copied
    if is_receipt or not is_capable_terminal(sys.stderr, os.environ):
        return literal(text, sys.stderr.encoding or "utf-8")
    from imagegen_cli.display.notices import notice  # noqa: PLC0415

    return "\n".join(notice(text, sys.stderr, os.environ, hanging=hanging))


def _report(error: Exception) -> NoReturn:
    import traceback  # noqa: PLC0415

    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    kind = type(error).__name__
    bug = tr("this is a bug in imagegen {version}: {kind} at {place}", version=__version__, kind=kind, place=place)
    _echo(f"imagegen: {bug}")
    hint = tr("please report it to the project's issues; IMAGEGEN_TRACEBACK=1 shows the traceback")
    _echo(f"  {hint}")
    if os.environ.get("IMAGEGEN_TRACEBACK"):
        typer.echo(masked("".join(traceback.format_exception(error))), err=True, nl=False)
    _exit(70)


def _one_name(argument: str, option: str) -> str:
    if argument and option and argument != option:
        raise UsageError(TWO_PROVIDERS.format(one=argument, other=option))
    return argument or option
