"""`run`, `batch` and `again`: plan the tasks that prompts ask for, and run them. Each returns an exit code."""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from errno import EBADF
from pathlib import Path

from imagegen_cli.commands import queueing
from imagegen_cli.commands.additions import Additions, costs_of
from imagegen_cli.commands.console import all_there, answers, check_keys, history, ids_of, is_asked, say, settings
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.options import GenerateOptions, ListOptions, SpendOptions
from imagegen_cli.commands.session import Session
from imagegen_cli.commands.spending import NOTHING_SENT, Spending, amounts, cost_lines
from imagegen_cli.commands.task_ids import task_ids
from imagegen_cli.commands.terms import terms
from imagegen_cli.core.errors import NothingToDo, UsageError, label
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.system_errors import cause
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
from imagegen_cli.display.planned import print_nothing, print_plan
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.arguments import MAKE_AGAIN, check_arguments, check_words, each_sends, instead_of
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
        raise UsageError(Message("there is no prompt"), hint=Message('write one: imagegen run "a fox in snow"'))
    if not each:
        check_arguments([as_typed(prompt) for prompt in prompts if prompt != "-"])
    specs: list[PromptSpec] = []
    if picture:
        from imagegen_cli.commands.picture_source import from_picture  # noqa: PLC0415 - few runs need it

        quiet = options.run.display == "quiet"
        is_agreed = options.yes or options.dry_run
        common = from_picture(picture, common, with_words=bool(prompts), quiet=quiet, is_agreed=is_agreed)
        specs = [] if prompts else from_arguments([common.prompt], common)
        common = replace(common, prompt="")
    for prompt in prompts:
        if prompt == "-":
            specs += _listed("-", common, reading)
        else:
            specs += from_arguments([prompt], common)
    if example := next(filter(None, (foreign_option(prompt, common) for prompt in prompts)), ""):
        message = Message("options and wildcards of other programs, such as {example}, are sent as text")
        say(message.format(example=example))
    specs = [replace(spec, line=number) for number, spec in enumerate(specs, 1)]
    return run_specs(specs, common, options, command="run")


def batch(files: Sequence[str], options: GenerateOptions, *, allow_outside: bool = False) -> int:
    """Generate images from prompt lists. A second run sends only what is new or was never sent."""
    if options.sent_before.again and options.sent_before.skip_sent:
        raise UsageError(
            Message("--again sends what was sent before, and --skip-sent leaves it out"),
            hint=Message("nothing was sent; give one of them"),
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
    text = as_typed(prompt).strip()
    check_words(text, MAKE_AGAIN.format(command=f"imagegen again {name.strip()}"), each_sends(text))
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

    text, remark = decoded(name, _read(name, Message("name a file with a value a line"), is_file=True), "")
    if remark:
        say(remark)
    return [line for line in text.splitlines() if not is_remark(line)]


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, sign, _ in pairs if not (name and sign)]:
        raise UsageError(Message("--extra takes KEY=VALUE, not {text!r}").format(text=bad[0]))
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
    _check_pairs(specs)
    variation = _variation(specs)
    config = settings()
    if not specs:
        hint = Message("blank lines and remarks, which begin with # and a space, are skipped")
        raise NothingToDo(Message("there is no prompt"), hint=hint)
    remark = None if options.run.display in QUIET else say
    if options.queue:
        queueing.check(options)
    items, common = _prepared(specs, common, config, new_seeds=options.sent_before.again, remark=remark)
    folder, template = options.output or Path(config.general.output), options.name or config.general.name
    if is_piped := str(options.output) == STDIN:  # the same sign means stdout here
        folder = _kept_beside_stdout(items, options)  # what a list has sent before is not known yet
    if options.dry_run:
        where = plan.Place(folder=expanded(folder).absolute(), template=template)
        return _dry_run(items, config, where, options, variation)
    where = replace(plan.place(folder, template), marks=options.run.marks.said)
    if not options.queue:  # else the workers have the keys
        check_keys(config, [one.provider for item in items for one in (item.request, *item.alternatives)])
    spending = Spending(
        config, options.spend, (one.provider for item in items for one in (item.request, *item.alternatives))
    )
    with history() as store:
        planned = _planned(
            store, items, where, options, config, command=command, spending=spending, variation=variation
        )
        if planned is None:
            return _nothing_new(options, piped=is_piped)
        run_id, tasks, items = planned
        if options.queue:
            return queueing.end(store, run_id, items, config, options)
        additions = Additions(store, config, where, _for_more(common, specs), spending)
        if is_piped:
            session = Session(store, config, options.run, spending=spending, prints_paths=False)
            return _into_stdout(session, run_id, tasks, quiet=options.run.display in QUIET)
        session = Session(store, config, options.run, additions.add, additions.outcome_of, spending=spending)
        code = session.run_tasks(run_id, tasks)
        if (len(tasks) > 1 or tasks[0].cell) and _wants_sheet(options, config):
            _draw_sheet(store, run_id, code)
        return code


def _check_pairs(specs: Sequence[PromptSpec]) -> None:
    """Raise UsageError where --zip or --alternatives finds nothing to do: something else was meant."""
    if any(spec.zipped for spec in specs) and all(len(spec.vary) < 2 for spec in specs):  # noqa: PLR2004 - a pair
        hint = Message('nothing was sent; as in: imagegen run "a cat" --vary ratio=1:1,16:9 --vary seed=1,2 --zip')
        raise UsageError(Message("--zip pairs the values of several --vary, and there are not two"), hint=hint)
    if not any(spec.alternatives for spec in specs):
        return
    from imagegen_cli.inputs.vary import alternatives  # noqa: PLC0415 - few commands have any

    if not any(alternatives(spec.prompt) for spec in specs):
        hint = Message("nothing was sent; write them like {a|b}, or leave --alternatives out")
        raise UsageError(Message("--alternatives finds no {a|b} in a prompt"), hint=hint)


def _nothing_new(options: GenerateOptions, *, piped: bool) -> int:
    """The end of a list that was sent before. Raises NothingToDo where a picture should go to stdout."""
    if piped:
        hint = Message("--again sends it again; imagegen list shows where its pictures are")
        raise NothingToDo(Message("there is no picture for stdout: the list has nothing new"), hint=hint)
    if options.run.display == "json":
        print_nothing(stdout=sys.stdout)
    return 0


def _wants_sheet(options: GenerateOptions, config: Config) -> bool:
    """Whether a comparison is to have its sheet; programs, and people who want no words, ask for it by --sheet."""
    if options.sheet is not None:
        return options.sheet
    return config.general.sheet and options.run.display not in QUIET


def _draw_sheet(store: Store, run_id: RunId, code: int) -> None:
    """Draw the sheet of a comparison. What goes wrong is said and changes nothing: the pictures are on the disk."""
    if store.is_set_back:  # it lacks the run, or has another one with its number
        return
    try:
        from imagegen_cli.commands.gallery import sheet_after  # noqa: PLC0415 - one task is compared with nothing

        sheet_after(store, run_id, code)
    except Exception as error:  # noqa: BLE001 - see above
        why = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        say(Message("no sheet: {why}; imagegen sheet --run {run} tries it again").format(why=why, run=run_id))


def _prepared(
    specs: Sequence[PromptSpec],
    common: PromptSpec,
    config: Config,
    *,
    new_seeds: bool,
    remark: Callable[[str], None] | None,
) -> tuple[list[plan.Item], PromptSpec]:
    """The items, and what is common to all with files in place of pictures of tasks: task:LAST means the one of now."""
    if not any(map(plan.names_a_task, (common, *specs))):
        return plan.prepare(specs, config, new_seeds=new_seeds, remark=remark), common
    from imagegen_cli.commands.task_pictures import task_pictures  # noqa: PLC0415 - few runs need it

    with task_pictures() as find:
        items = plan.prepare(specs, config, find, new_seeds=new_seeds, remark=remark)
        return items, plan.with_files(common, config, find)


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
    if not any(item.source for item in items):
        piping.check_single(items)
    return piped_folder()


def _check_single(items: Sequence[plan.Item]) -> None:
    from imagegen_cli.commands import piping  # noqa: PLC0415 - few commands do that

    piping.check_single(items)


def _requests_of(items: Iterable[plan.Item]) -> list[ImageRequest]:
    """The requests as each provider that a person named would take them."""
    return [one for item in items for one in (item.request, *item.alternatives)]


def _planned(
    store: Store,
    items: list[plan.Item],
    where: plan.Place,
    options: GenerateOptions,
    config: Config,
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
        fresh = _compared(store, items, options, config)
        if not fresh:
            return None
        if str(options.output) == STDIN:
            _check_single(fresh)
        if len(fresh) > allowed:
            spending.learn(_requests_of(fresh), store, ask=True)
            if variation and options.run.display not in QUIET:
                say(_amounts(fresh, items, variation))
            spending.allow(costs_of(fresh, spending), yes=options.yes, quiet=options.run.display in QUIET)
            allowed = len(fresh)
        if options.queue:
            fresh = queueing.with_terms(fresh, spending, options.spend)
        numbers = store.reserve(sum(item.adopts is None for item in fresh))
        try:
            found = plan.planned(fresh, where, numbers)
            tasks = store.start_run(numbers.run, command, sources, found, for_workers=options.queue)
        except PlanChangedError:
            continue
        return numbers.run, tasks, fresh
    raise UsageError(Message("other processes keep planning the same list; nothing was sent"))


def _amounts(sent: Sequence[plan.Item], items: Sequence[plan.Item], variation: str) -> Message:
    """`12 tasks, 12 pictures: model 2 × ratio 3 × seed 2`."""
    count = amounts(len(sent), sum(item.expected_images for item in sent))
    if len(sent) == len(items):
        return Message("{amounts}: {variation}").format(amounts=count, variation=variation)
    of_all = Message("{amounts} (of {total} tasks): {variation}")
    return of_all.format(amounts=count, total=len(items), variation=variation)


def _compared(store: Store, items: list[plan.Item], options: GenerateOptions, config: Config) -> list[plan.Item]:
    """The items to send: none that its own list has sent before, and those of other lists as the person decides."""
    listed = [item for item in items if item.source]
    if not listed or options.sent_before.again:
        return items
    known = store.known(item.identity for item in listed)
    fresh = _with_seeds_of_sent(_without_sent(items, known, options.spend), items, known, config)
    doubles = {id(item): records for item in fresh if (records := _sent_from_other_lists(item, known))}
    if not doubles or not _left_out(doubles, fresh, options):
        return fresh
    return [item for item in fresh if id(item) not in doubles]


def _without_sent(items: Sequence[plan.Item], known: Known, spend: SpendOptions) -> list[plan.Item]:
    """The new items, after saying which are skipped and why. Rows of tasks that were never sent are used again."""
    fresh: list[plan.Item] = []
    left: dict[str, list[Record]] = {}
    for item in items:
        earlier = tuple(known.get((item.source, item.identity), ())) if item.source not in ("", STDIN) else None
        if sent := [record for record in earlier or () if not _never_sent(record)]:
            left.setdefault(_what_became_of(sent[-1]), []).append(sent[-1])
        else:
            others = others_of(item.source, item.identity, known) if item.source else None
            fresh.append(replace(item, earlier=earlier, adopts=earlier[-1] if earlier else None, others=others))
    for records in left.values():
        ids = ids_of(record.task for record in records)
        state = _what_became_of(records[0], ids, terms(spend.budget, spend.assume_price))
        message = Message("skipped {count} that {state} (tasks {ids})")
        say(message.format(count=len(records), state=state, ids=ids))
    if left and not fresh:
        say(Message("the list has nothing new; --again sends all of it again"))
    return fresh


def _with_seeds_of_sent(
    fresh: list[plan.Item], items: Sequence[plan.Item], known: Known, config: Config
) -> list[plan.Item]:
    """The new items, with the seeds of the cells of their comparisons that are skipped."""
    if not any(item.shared_seed is not None for item in fresh):
        return fresh
    from imagegen_cli.commands.joining import joined as with_shared_seeds  # noqa: PLC0415 - few commands compare

    sent = ((item, record) for item in items if (record := _sent(item, known)) is not None)
    found, remarks = with_shared_seeds(fresh, sent, config)
    for remark in remarks:
        say(remark)
    return found


def _sent(item: plan.Item, known: Known) -> Record | None:
    """The newest task of the item that its own list has sent before."""
    earlier = known.get((item.source, item.identity), ()) if item.source not in ("", STDIN) else ()
    return next((record for record in reversed(earlier) if not _never_sent(record)), None)


def _sent_from_other_lists(item: plan.Item, known: Known) -> list[Record]:
    """Tasks for the same prompt and parameters that another list, or this one by another name, has sent or plans."""
    others = others_of(item.source, item.identity, known) if item.source else frozenset()
    found = [record for records in known.values() for record in records if record.task.id in others]
    return [record for record in found if may_be_paid(record.task.state) or record.is_owned]


def _left_out(doubles: Mapping[int, Sequence[Record]], fresh: Sequence[plan.Item], options: GenerateOptions) -> bool:
    """Whether to skip what another list has sent before. Raises UsageError where the person has not decided."""
    ids = ids_of(records[-1].task for records in doubles.values())
    prompts = ngettext("{count} prompt", "{count} prompts", len(fresh))
    if options.sent_before.skip_sent or options.yes:
        message = Message("skipped {count} of {prompts}: sent before, from another list (tasks {ids})")
        say(message.format(count=len(doubles), prompts=prompts, ids=ids))
        return True
    what = ngettext(
        "{count} of {prompts} was sent before, from another list (tasks {ids})",
        "{count} of {prompts} were sent before, from another list (tasks {ids})",
        len(doubles),
        prompts=prompts,
        ids=ids,
    )
    question = Message("{what}. Skip them, send them again, or stop? [s/a/N]").format(what=what)
    choice = answers(question, ["skip", "again"])
    if not choice:
        ways = Message("--skip-sent skips them, --again sends them again; nothing was sent")
        raise UsageError(what, hint=NOTHING_SENT if is_asked() else ways)
    return choice == "skip"


def _dry_run(
    items: Sequence[plan.Item], config: Config, where: plan.Place, options: GenerateOptions, variation: str
) -> int:
    known: Known = {}
    if any(item.source for item in items) and not options.sent_before.again and has_history():
        with history() as store:
            known = store.known(item.identity for item in items)
    fresh = [item for item in items if not _skipped(item, known)]
    later = {(item.source, item.identity): item for item in _with_seeds_of_sent(fresh, items, known, config)}
    items = [later.get((item.source, item.identity), item) for item in items] if known else items
    skips = [_skip(item, known, options) for item in items]
    rows = [
        {**plan.dry_run_row(item, config, where), **({"skip": skip} if skip else {})}
        for item, skip in zip(items, skips, strict=True)
    ]
    print_plan(rows, as_json=options.run.display == "json", stdout=sys.stdout, environ=os.environ)
    sent = [item for item, skip in zip(items, skips, strict=True) if not skip]
    if str(options.output) == STDIN and sent:
        _check_single(sent)
    spending = Spending(config, options.spend, (request.provider for request in _requests_of(items)))
    with history() if has_history() else nullcontext() as store:
        if store is not None:
            spending.learn(_requests_of(sent), store, ask=False)
        if variation:
            say(_amounts(sent, items, variation))
        planned = costs_of(sent, spending)
        for line in cost_lines(planned):
            say(line)
        say(_would_go_to(where.folder, sent, len(items) - len(sent)), path=str(where.folder))
        spending.foretell(planned, store)
    if doubles := _undecided(items, known, options):
        say(_what_comes_of(doubles))
    return 0


def _would_go_to(folder: Path, sent: Sequence[plan.Item], skipped: int) -> Message:
    """The last line of a dry run."""
    count = amounts(len(sent), sum(item.expected_images for item in sent))
    if not skipped:
        return Message("nothing was sent: {amounts} would go to {folder}").format(amounts=count, folder=str(folder))
    some = Message("nothing was sent: {amounts} would go to {folder}, {skipped} skipped")
    return some.format(amounts=count, folder=str(folder), skipped=skipped)


def _what_comes_of(doubles: int) -> Message:
    """What the real run does about prompts that another list has sent before."""
    if is_asked():
        return ngettext(
            "{count} prompt sent before, from another list: the real run asks about them first; --skip-sent skips them,"
            " --again sends them again",
            "{count} prompts sent before, from another list: the real run asks about them first; --skip-sent skips"
            " them, --again sends them again",
            doubles,
        )
    return ngettext(
        "{count} prompt sent before, from another list: the real run stops with exit code 2 and sends nothing;"
        " --skip-sent skips them, --again sends them again",
        "{count} prompts sent before, from another list: the real run stops with exit code 2 and sends nothing;"
        " --skip-sent skips them, --again sends them again",
        doubles,
    )


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
        is_decided = options.sent_before.skip_sent or options.yes
        before = Message("sent before as {id}") if is_decided else Message("sent before as {id}, would be asked")
        return before.format(id=others[-1].task.id)
    return ""


def _skipped(item: plan.Item, known: Known) -> str:
    """What became of the item where its own list has sent it before; else empty."""
    record = _sent(item, known)
    if record is None:
        return ""
    return joined(" ", (str(record.task.id), _what_became_of(record, str(record.task.id))))


def _never_sent(record: Record) -> bool:
    """Whether the task was certainly never sent, and no process is about to send it."""
    match record.task.state:
        case Queued():
            return not record.is_owned and not record.repeated
        case Cancelled(stop=CancelOutcome.NOT_SENT):
            return True
        case _:
            return False


def _what_became_of(record: Record, ids: str = "", more: str = "") -> Message:
    """Why tasks like this one are not sent, and the command that does something; `more`: see `terms`."""
    match record.task.state:
        case Done(missing=0):
            return Message("are done")
        case Done():
            return Message("are done with fewer pictures than expected")
        case Failed() | Cancelled():
            return _what_ended(record.task.state, ids, f"imagegen retry {ids}{more}")
        case _ if record.is_owned:
            return Message("another process is running")
        case Queued():
            return Message("wait to be sent again: imagegen resume {ids} tells what to do").format(ids=ids)
        case _:
            return Message("were interrupted: imagegen resume {ids}").format(ids=ids)


def _what_ended(state: Failed | Cancelled, ids: str, retry: str) -> Message:
    """The same of what ended without its pictures; `retry` is the command that sends it again."""
    match state:
        case Failed(reason=reason) if state.resumable:
            fetched = Message("failed ({reason}) and can be fetched: imagegen resume {ids}")
            return fetched.format(reason=label(reason), ids=ids)
        case Failed(reason=reason) if may_be_paid(state):
            charged = Message("failed ({reason}) and may be charged: look at the service; {command} pays anew")
            return charged.format(reason=label(reason), command=f"{retry} --may-repeat")
        case Failed(reason=reason):
            return Message("failed ({reason}): {command}").format(reason=label(reason), command=retry)
        case Cancelled(job=job) if job is not None:
            return Message("were cancelled while the service went on: imagegen resume {ids} fetches").format(ids=ids)
        case Cancelled() if may_be_paid(state):
            cancelled = Message("were cancelled on their way, may be charged: look at the service; {command} pays anew")
            return cancelled.format(command=f"{retry} --may-repeat")
        case _:
            return Message("were stopped at the service: {command}").format(command=retry)


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


def _read(name: str, hint: str, *, is_file: bool = False) -> bytes:
    """The bytes of a list; `hint` is for one that cannot be read, if not what may be meant. Raises UsageError.

    `is_file`: it must be a regular file. A list may also be a pipe, such as `<(command)`.
    """
    try:
        return bytes_of(Path(name).expanduser(), MAX_LIST_BYTES) if is_file and name != STDIN else _bytes_of(name)
    except (OSError, RuntimeError, ValueError) as error:  # a home folder that does not exist is a RuntimeError
        way = Message("nothing was sent; {way}").format(way=hint or instead_of(name))
        raise UsageError(
            Message("{path} cannot be read: {why}").format(path=name, why=cause(error)), hint=way
        ) from error


def _bytes_of(name: str) -> bytes:
    """The bytes of a list, at most one more than a list may have: a device may never end."""
    if name != STDIN:
        with Path(name).expanduser().open("rb") as file:
            return file.read(MAX_LIST_BYTES + 1)
    if sys.stdin is None:
        raise OSError(EBADF, os.strerror(EBADF))
    return sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
