"""`run`, `batch` and `again`: plan the tasks that prompts ask for, and run them. Each returns an exit code."""

import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from errno import EBADF
from pathlib import Path

from imagegen_cli.commands.additions import Additions, costs_of
from imagegen_cli.commands.console import all_there, answers, check_keys, history, ids_of, is_asked, say, settings
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.options import GenerateOptions, ListOptions
from imagegen_cli.commands.session import Session
from imagegen_cli.commands.spending import Spending, cost_lines
from imagegen_cli.commands.task_ids import task_ids
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Queued,
    RunId,
    Task,
    may_be_paid,
)
from imagegen_cli.core.text import amount
from imagegen_cli.display.planned import print_plan
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.arguments import check_arguments, instead_of
from imagegen_cli.inputs.changes import changed, spec_of
from imagegen_cli.inputs.lists.common import (
    MAX_LIST_BYTES,
    Reading,
    as_typed,
    columns_in,
    form_in,
    is_remark,
)
from imagegen_cli.inputs.prompts import PromptSpec, foreign_option, from_arguments, from_list
from imagegen_cli.settings.config import Config
from imagegen_cli.settings.paths import expanded, piped_folder
from imagegen_cli.storage.records import PlanChangedError, Record, others_of
from imagegen_cli.storage.store import Store

STDIN = "-"
"""The source of a list without a name: it is a new list each time."""
QUIET = ("json", "quiet")
"""Displays that say nothing about what is about to be sent."""
MAX_ATTEMPTS = 10
"""Times that a list is compared with the history again because other processes plan the same list at that moment."""
Known = Mapping[tuple[str, str], Sequence[Record]]


def run(prompts: Sequence[str], options: GenerateOptions, *, each: bool = False, picture: str = "") -> int:
    """Generate images from the prompts of the command line; `-` stands for those on stdin, one per line.

    `picture` is a file whose parameters are used, and its prompt where no other is given.
    """
    common, reading = common_of(options), _reading(options.lists)
    if not prompts and not picture:
        raise UsageError("there is no prompt", hint='write one: imagegen run "a fox in snow"')
    if not each:
        check_arguments([as_typed(prompt) for prompt in prompts if prompt != "-"])
    specs: list[PromptSpec] = []
    if picture:
        from imagegen_cli.commands.picture_source import from_picture  # noqa: PLC0415 - few runs need it

        quiet = options.run.display == "quiet"
        common = from_picture(picture, common, with_words=bool(prompts), quiet=quiet)
        specs = [] if prompts else from_arguments([common.prompt], common)
        common = replace(common, prompt="")
    for prompt in prompts:
        if prompt == "-":
            specs += _listed("-", common, reading)
        else:
            specs += from_arguments([prompt], common)
    if example := next(filter(None, (foreign_option(prompt, common) for prompt in prompts)), ""):
        say(f"options and wildcards of other programs, such as {example}, are sent as text")
    specs = [replace(spec, line=number) for number, spec in enumerate(specs, 1)]
    return run_specs(specs, common, options, command="run")


def batch(files: Sequence[str], options: GenerateOptions, *, allow_outside: bool = False) -> int:
    """Generate images from prompt lists. A second run sends only what is new or was never sent."""
    if options.sent_before.again and options.sent_before.skip_sent:
        raise UsageError(
            "--again sends what was sent before, and --skip-sent leaves it out",
            hint="nothing was sent; give one of them",
        )
    common, reading = common_of(options), _reading(options.lists)
    lists = {(source, name if source == STDIN else ""): name for name in files if (source := _source(name))}
    specs = [
        replace(spec, source=source) for (source, _), name in lists.items() for spec in _listed(name, common, reading)
    ]
    if allow_outside:
        specs = [replace(spec, listed=spec.listed - {"references"}) for spec in specs]
    return run_specs(specs, common, options, command="batch")


def again(name: str, prompt: str, options: GenerateOptions) -> int:
    """Make a new task with the parameters of an old one, except for those that the options change."""
    changes = common_of(options)
    with history() as store:
        record = all_there(store, task_ids([name], store))[0]
    spec = changed(spec_of(record), changes, prompt)
    common = replace(spec, prompt="", name="")
    options = options._replace(output=options.output or Path(record.task.folder))
    return run_specs([spec], common, options, command="again")


# Options as the rest of the program takes them


def common_of(options: GenerateOptions) -> PromptSpec:
    """What the options say about every prompt. Raises UsageError."""
    common = PromptSpec(
        prompt="",
        provider=options.provider,
        models=tuple(options.model or ()),
        ratio=options.ratio,
        resolution=options.resolution,
        size=options.size,
        count=options.pictures,
        seed=options.seed,
        negative=options.negative,
        references=tuple(options.image or ()),
        extra=_pairs(options.extra or ()),
        vary=_axes(options.variation.vary or ()),
        zipped=options.variation.zipped,
        alternatives=options.variation.alternatives,
        repeat=options.variation.repeat,
    )
    if common.vary:
        from imagegen_cli.inputs.comparison import check_options  # noqa: PLC0415 - most commands vary nothing

        start = "IMAGEGEN_"
        variables = {name.removeprefix(start).lower(): text for name, text in os.environ.items() if start in name}
        check_options(common, variables)
    return common


def _axes(texts: Sequence[str]) -> Mapping[str, Sequence[str]]:
    if not texts:
        return {}
    from imagegen_cli.inputs.vary import axes_in  # noqa: PLC0415 - most commands vary nothing

    return axes_in(map(as_typed, texts), _lines_of)


def _lines_of(name: str) -> list[str]:
    """The lines of a file of values, without remarks. Raises UsageError."""
    from imagegen_cli.inputs.lists.decoding import decoded  # noqa: PLC0415 - few values come from a file

    text, remark = decoded(name, _read(name, "name a file with a value a line"), "")
    if remark:
        say(remark)
    return [line for line in text.splitlines() if not is_remark(line)]


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, sign, _ in pairs if not (name and sign)]:
        raise UsageError(f"--extra takes KEY=VALUE, not {bad[0]!r}")
    return {name: value for name, _, value in pairs}


def _reading(options: ListOptions) -> Reading:
    """How lists are to be read. Raises UsageError."""
    if options.encoding:
        from imagegen_cli.inputs.lists.decoding import check_encoding  # noqa: PLC0415 - few lists need it

        check_encoding(options.encoding)
    form = form_in(options.format)
    return Reading(form=form, encoding=options.encoding, columns=columns_in(options.columns))


# What all three do with their prompts


def run_specs(specs: list[PromptSpec], common: PromptSpec, options: GenerateOptions, *, command: str) -> int:
    """Plan the tasks of prompt specifications and run them, as `command` of the history. Returns an exit code."""
    variation = _variation(specs)
    config = settings()
    if not specs:
        raise NothingToDo(
            "there is no prompt", hint="blank lines and remarks, which begin with # and a space, are skipped"
        )
    items, common = _prepared(specs, common, config, new_seeds=options.sent_before.again)
    folder, template = options.output or Path(config.general.output), options.name or config.general.name
    if is_piped := str(options.output) == STDIN:  # the same sign means stdout here
        if options.queue:
            raise UsageError("--queue sends nothing, so no picture comes to stdout", hint="name a folder: -o FOLDER")
        folder = _kept_beside_stdout(items, options)
    if options.dry_run:
        where = plan.Place(folder=expanded(folder).absolute(), template=template)
        return _dry_run(items, config, where, options, variation)
    where = plan.place(folder, template)
    if not options.queue:  # else the workers have the keys
        check_keys(config, [one.provider for item in items for one in (item.request, *item.alternatives)])
    spending = Spending(
        config, options.spend, (one.provider for item in items for one in (item.request, *item.alternatives))
    )
    with history() as store:
        planned = _planned(store, items, where, options, command=command, spending=spending, variation=variation)
        if planned is None:
            return 0
        run_id, tasks, items = planned
        if options.queue:
            return _queued(run_id, tasks)
        additions = Additions(store, config, where, _for_more(common, specs), spending)
        if is_piped:
            session = Session(store, config, options.run, spending=spending, prints_paths=False)
            return _into_stdout(session, run_id, tasks, quiet=options.run.display in QUIET)
        session = Session(store, config, options.run, additions.add, additions.outcome_of, spending=spending)
        code = session.run_tasks(run_id, tasks)
        if len(tasks) > 1 and _wants_sheet(options, config):
            _draw_sheet(store, run_id, tasks, code)
        return code


def _queued(run_id: RunId, tasks: Sequence[Task]) -> int:
    say(f"{amount(len(tasks), 'task')} wait for workers in run {run_id}, and nothing is sent yet: imagegen work")
    return 0


def _wants_sheet(options: GenerateOptions, config: Config) -> bool:
    """Whether a comparison is to have its sheet; programs, and people who want no words, ask for it by --sheet."""
    if options.sheet is not None:
        return options.sheet
    return config.general.sheet and options.run.display not in QUIET


def _draw_sheet(store: Store, run_id: RunId, tasks: Sequence[Task], code: int) -> None:
    """Draw the sheet of a comparison. What goes wrong is said and changes nothing: the pictures are on the disk."""
    try:
        from imagegen_cli.commands.gallery import sheet_after  # noqa: PLC0415 - one task is compared with nothing

        sheet_after(store, run_id, tasks, code)
    except Exception as error:  # noqa: BLE001 - see above
        why = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        say(f"no sheet: {why}; imagegen sheet --run {run_id} tries it again")


def _prepared(
    specs: Sequence[PromptSpec], common: PromptSpec, config: Config, *, new_seeds: bool
) -> tuple[list[plan.Item], PromptSpec]:
    """The items, and what is common to all with files in place of pictures of tasks: task:LAST means the one of now."""
    if not any(map(plan.names_a_task, (common, *specs))):
        return plan.prepare(specs, config, new_seeds=new_seeds), common
    from imagegen_cli.commands.task_pictures import task_pictures  # noqa: PLC0415 - few runs need it

    with task_pictures() as find:
        return plan.prepare(specs, config, find, new_seeds=new_seeds), plan.with_files(common, config, find)


def _into_stdout(session: Session, run_id: RunId, tasks: Sequence[Task], *, quiet: bool) -> int:
    """Run the task and write its picture to stdout. No prompt can be added: one picture is all that stdout takes."""
    from imagegen_cli.commands import piping  # noqa: PLC0415 - few commands do that

    code = session.run_tasks(run_id, tasks)
    is_written = piping.write(session.tasks, quiet=quiet)
    return code or (0 if is_written else 1)


def _variation(specs: Sequence[PromptSpec]) -> str:
    """`model 2 × ratio 3` where something is varied; else empty. Raises UsageError where that is too much."""
    if not any(spec.is_varied for spec in specs):
        return ""
    from imagegen_cli.inputs.comparison import described  # noqa: PLC0415 - most commands vary nothing

    return described(specs)


def _for_more(common: PromptSpec, specs: Sequence[PromptSpec]) -> PromptSpec:
    """What holds for prompts that are typed into the table."""
    if not common.vary:
        return common
    from imagegen_cli.inputs.comparison import for_more  # noqa: PLC0415 - see above

    return for_more(common, specs)


def _kept_beside_stdout(items: Sequence[plan.Item], options: GenerateOptions) -> Path:
    """The folder of a picture that goes to stdout. Raises UsageError where it cannot, or where more than one comes."""
    from imagegen_cli.commands import piping  # noqa: PLC0415 - few commands do that

    if not options.dry_run:
        piping.check_stdout(options)
    piping.check_single(items)
    return piped_folder()


def _requests_of(items: Iterable[plan.Item]) -> list[ImageRequest]:
    """The requests as each provider that a person named would take them."""
    return [one for item in items for one in (item.request, *item.alternatives)]


def _planned(
    store: Store,
    items: list[plan.Item],
    where: plan.Place,
    options: GenerateOptions,
    *,
    command: str,
    spending: Spending,
    variation: str,
) -> tuple[RunId, tuple[Task, ...], list[plan.Item]] | None:
    """Write what is to be sent into the history; None where the list brings nothing new. Raises UsageError.

    Where two processes read the same list at the same time, each line is planned once: the second one compares again.
    """
    sources = "\n".join(dict.fromkeys(item.source for item in items if item.source not in ("", STDIN)))
    allowed = 0
    for _ in range(MAX_ATTEMPTS):
        fresh = _compared(store, items, options)
        if not fresh:
            return None
        if len(fresh) > allowed:
            spending.learn(_requests_of(fresh), store, ask=True)
            if variation and options.run.display not in QUIET:
                say(_amounts(fresh, items, variation))
            spending.allow(costs_of(fresh, spending), yes=options.yes, quiet=options.run.display in QUIET)
            allowed = len(fresh)
        numbers = store.reserve(sum(item.adopts is None for item in fresh))
        try:
            found = plan.planned(fresh, where, numbers)
            tasks = store.start_run(numbers.run, command, sources, found, for_workers=options.queue)
        except PlanChangedError:
            continue
        return numbers.run, tasks, fresh
    raise UsageError("other processes keep planning the same list; nothing was sent")


def _amounts(sent: Sequence[plan.Item], items: Sequence[plan.Item], variation: str) -> str:
    """`12 tasks, 12 pictures: model 2 × ratio 3 × seed 2`."""
    pictures = sum(item.expected_images for item in sent)
    of_all = f" (of {len(items)} tasks)" if len(sent) < len(items) else ""
    return f"{amount(len(sent), 'task')}, {amount(pictures, 'picture')}{of_all}: {variation}"


def _compared(store: Store, items: list[plan.Item], options: GenerateOptions) -> list[plan.Item]:
    """The items to send: none that its own list has sent before, and those of other lists as the person decides."""
    listed = [item for item in items if item.source]
    if not listed or options.sent_before.again:
        return items
    known = store.known(item.identity for item in listed)
    fresh = _without_sent(items, known)
    doubles = {id(item): records for item in fresh if (records := _sent_from_other_lists(item, known))}
    if not doubles or not _left_out(doubles, fresh, options):
        return fresh
    return [item for item in fresh if id(item) not in doubles]


def _without_sent(items: Sequence[plan.Item], known: Known) -> list[plan.Item]:
    """The new items, after saying which are skipped and why. Rows of tasks that were never sent are used again."""
    fresh: list[plan.Item] = []
    left: dict[str, list[Task]] = {}
    for item in items:
        earlier = tuple(known.get((item.source, item.identity), ())) if item.source not in ("", STDIN) else None
        if sent := [record for record in earlier or () if not _never_sent(record)]:
            left.setdefault(_what_became_of(sent[-1]), []).append(sent[-1].task)
        else:
            others = others_of(item.source, item.identity, known) if item.source else None
            fresh.append(replace(item, earlier=earlier, adopts=earlier[-1] if earlier else None, others=others))
    for state, tasks in left.items():
        say(f"skipped {len(tasks)} that {state} (tasks {ids_of(tasks)})")
    if left and not fresh:
        say("the list has nothing new; --again sends all of it again")
    return fresh


def _sent_from_other_lists(item: plan.Item, known: Known) -> list[Record]:
    """Tasks for the same prompt and parameters that another list, or this one by another name, has sent or plans."""
    others = others_of(item.source, item.identity, known) if item.source else frozenset()
    found = [record for records in known.values() for record in records if record.task.id in others]
    return [record for record in found if may_be_paid(record.task.state) or record.is_owned]


def _left_out(doubles: Mapping[int, Sequence[Record]], fresh: Sequence[plan.Item], options: GenerateOptions) -> bool:
    """Whether to skip what another list has sent before. Raises UsageError where the person has not decided."""
    tasks = [records[-1].task for records in doubles.values()]
    share = f"{len(doubles)} of {amount(len(fresh), 'prompt')}"
    before = f"sent before, from another list (tasks {ids_of(tasks)})"
    if options.sent_before.skip_sent or options.yes:
        say(f"skipped {share}: {before}")
        return True
    what = f"{share} {'was' if len(doubles) == 1 else 'were'} {before}"
    choice = answers(f"{what}. Skip them, send them again, or stop? [s/a/N]", ["skip", "again"])
    if not choice:
        hint = "" if is_asked() else "--skip-sent skips them, --again sends them again; "
        raise UsageError(what, hint=f"{hint}nothing was sent")
    return choice == "skip"


def _dry_run(
    items: Sequence[plan.Item], config: Config, where: plan.Place, options: GenerateOptions, variation: str
) -> int:
    known: Known = {}
    if any(item.source for item in items) and not options.sent_before.again and has_history():
        with history() as store:
            known = store.known(item.identity for item in items)
    skips = [_skip(item, known, options) for item in items]
    rows = [
        {**plan.dry_run_row(item, config, where), **({"skip": skip} if skip else {})}
        for item, skip in zip(items, skips, strict=True)
    ]
    print_plan(rows, as_json=options.run.display == "json", stdout=sys.stdout, environ=os.environ)
    sent = [item for item, skip in zip(items, skips, strict=True) if not skip]
    pictures = sum(item.expected_images for item in sent)
    left = f", {len(items) - len(sent)} skipped" if len(sent) < len(items) else ""
    amounts = f"{amount(len(sent), 'task')}, {amount(pictures, 'picture')}"
    spending = Spending(config, options.spend, (request.provider for request in _requests_of(items)))
    with history() if has_history() else nullcontext() as store:
        if store is not None:
            spending.learn(_requests_of(sent), store, ask=False)
        if variation:
            say(_amounts(sent, items, variation))
        planned = costs_of(sent, spending)
        for line in cost_lines(planned):
            say(line)
        say(f"nothing was sent: {amounts} would go to {where.folder}{left}", path=str(where.folder))
        spending.foretell(planned, store)
    if doubles := _undecided(items, known, options):
        way = "--skip-sent skips them, --again sends them again"
        asks = (
            "the real run asks about them first"
            if is_asked()
            else "the real run stops with exit code 2 and sends nothing"
        )
        say(f"{amount(doubles, 'prompt')} sent before, from another list: {asks}; {way}")
    return 0


def _undecided(items: Sequence[plan.Item], known: Known, options: GenerateOptions) -> int:
    """How many were sent from another list, where no option says what to do with them."""
    if options.sent_before.skip_sent or options.yes:
        return 0
    return sum(bool(_sent_from_other_lists(item, known)) for item in items if not _skipped(item, known))


def _skip(item: plan.Item, known: Known, options: GenerateOptions) -> str:
    """Why a run would skip the item; empty where it would be sent."""
    if skipped := _skipped(item, known):
        return skipped
    if others := _sent_from_other_lists(item, known):
        return f"sent before as {others[-1].task.id}" + (
            "" if options.sent_before.skip_sent or options.yes else ", would be asked"
        )
    return ""


def _skipped(item: plan.Item, known: Known) -> str:
    """What became of the item where its own list has sent it before; else empty."""
    earlier = known.get((item.source, item.identity), ()) if item.source not in ("", STDIN) else ()
    sent = [record for record in earlier if not _never_sent(record)]
    return f"{sent[-1].task.id} {_what_became_of(sent[-1])}" if sent else ""


def _never_sent(record: Record) -> bool:
    """Whether the task was certainly never sent, and no process is about to send it."""
    match record.task.state:
        case Queued():
            return not record.is_owned and not record.repeated
        case Cancelled(stop=CancelOutcome.NOT_SENT):
            return True
        case _:
            return False


def _what_became_of(record: Record) -> str:  # noqa: PLR0911 - one return a case
    match record.task.state:
        case Done(missing=0):
            return "are done"
        case Done():
            return "are done with fewer pictures than expected"
        case Failed(reason=reason) if record.task.state.resumable:
            return f"failed ({reason}) and can be fetched: imagegen resume"
        case Failed(reason=reason):
            return f"failed ({reason}): imagegen retry"
        case Cancelled():
            return "were cancelled after they had been sent: imagegen resume, imagegen retry"
        case _ if record.is_owned:
            return "another process is running"
        case Queued():
            return "wait to be sent again: imagegen retry"
        case _:
            return "were interrupted: imagegen resume"


def _source(name: str) -> str:
    """The name that identifies a list: its resolved path; `-` for all lists that come through a pipe."""
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if name != STDIN and stat.S_ISREG(path.stat().st_mode) else STDIN
    except (OSError, ValueError, RuntimeError):
        return STDIN


def _listed(name: str, common: PromptSpec, reading: Reading) -> list[PromptSpec]:
    specs, remarks = from_list("stdin" if name == STDIN else name, _read(name, ""), common, reading)
    for remark in remarks:
        say(remark)
    return specs


def _read(name: str, hint: str) -> bytes:
    """The bytes of a list; `hint` is for one that cannot be read, if not what may be meant. Raises UsageError."""
    try:
        return _bytes_of(name)
    except (OSError, RuntimeError, ValueError) as error:  # a home folder that does not exist is a RuntimeError
        message = f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UsageError(message, hint=f"nothing was sent; {hint or instead_of(name)}") from error


def _bytes_of(name: str) -> bytes:
    """The bytes of a list, at most one more than a list may have: a device may never end."""
    if name != STDIN:
        with Path(name).expanduser().open("rb") as file:
            return file.read(MAX_LIST_BYTES + 1)
    if sys.stdin is None:
        raise OSError(EBADF, os.strerror(EBADF))
    return sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
