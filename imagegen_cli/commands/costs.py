"""What was spent, and a person's word on what may have been: costs, settle."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing

from imagegen_cli.commands.console import all_there, history, numbers, printed, say
from imagegen_cli.commands.filters import moment_of
from imagegen_cli.commands.histories import open_history
from imagegen_cli.commands.spending import limits
from imagegen_cli.commands.task_ids import run_reference, task_ids
from imagegen_cli.core.budget import Period
from imagegen_cli.core.charges import Charge, ChargeStatus
from imagegen_cli.core.errors import ConfigError, NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext, translated
from imagegen_cli.core.money import Money, Source, parse_money
from imagegen_cli.core.task import Running, Saving, recovered
from imagegen_cli.core.text import Printer, is_capable_terminal, literal
from imagegen_cli.display.board import can_be_fetched
from imagegen_cli.display.cost_report import print_csv, print_json, print_report
from imagegen_cli.display.cost_rows import BudgetLine, CostRow, Report, merged
from imagegen_cli.display.costs import described, how_to_settle
from imagegen_cli.settings.config import load_config
from imagegen_cli.storage.charges import Sum
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

BUDGET_VARIABLE = "IMAGEGEN_BUDGET"
OPEN = (ChargeStatus.UNCERTAIN, ChargeStatus.RESERVED)


def costs(by: str, since: str, *, run: str = "", as_json: bool, as_csv: bool) -> int:
    """Print what was spent by `day`, `model`, `provider` or `run`.

    Raises NothingToDo where nothing was, and no budget is set.
    """
    if as_json and as_csv:
        raise UsageError(Message("--json and --csv are two forms of the same: give one of them"))
    begin = moment_of(since)
    with closing(open_history()) as store:
        number = run_reference(run, store)
        sums = store.costs(by, begin, number)
        report = Report(by, merged(map(_row, sums)), _budgets(store) if number is None else [])
        if not sums and not report.budgets:
            raise NothingToDo(_nothing(since, number))
        if as_json:
            print_json(report, sys.stdout)
        elif as_csv:
            print_csv(report, sys.stdout)
        else:
            print_report(report, stdout=sys.stdout, environ=os.environ)
            _say_what_is_not_known(store, sums, begin, number)
    return 0


def _nothing(since: str, run: int | None) -> Message:
    if run is None:
        return Message("nothing was spent since {since}").format(since=since) if since else Message("nothing was spent")
    if since:
        return Message("nothing was spent since {since} by run {run}").format(since=since, run=run)
    return Message("nothing was spent by run {run}").format(run=run)


def _row(one: Sum) -> CostRow:
    micros = one.amount.micros if one.amount else 0
    return CostRow(
        key=one.key,
        unit=one.amount.unit if one.amount else "",
        is_free=one.source is Source.FREE,
        settled={one.source: micros} if one.status is ChargeStatus.SETTLED else {},
        reserved=micros if one.status is ChargeStatus.RESERVED else 0,
        uncertain=micros if one.status is ChargeStatus.UNCERTAIN else 0,
        submits=one.submits,
        pictures=one.pictures,
    )


def _budgets(store: Store) -> list[BudgetLine]:
    """The budgets of the settings and of IMAGEGEN_BUDGET. Settings that cannot be read are no reason for no report."""
    try:
        found = limits(load_config(), os.environ.get(BUDGET_VARIABLE, ""))
    except (ConfigError, UsageError) as error:
        say(Message("the budgets are not shown: {why}").format(why=error.message))
        return []
    return [BudgetLine(one, None if one.period is Period.COMMAND else store.spent(one)) for one in found]


def _say_what_is_not_known(store: Store, sums: Sequence[Sum], since: float | None, run: int | None) -> None:
    unknown = [one for one in sums if one.source is Source.UNKNOWN and one.status is ChargeStatus.SETTLED]
    if pictures := sum(one.pictures for one in unknown):
        name = next(one.key for one in store.costs("provider", since, run) if one.source is Source.UNKNOWN)
        priced = Message('[prices] "{name}/*" = "0.04usd" in the settings gives the next ones a price')
        said = ngettext(
            "the price of {count} picture is not known, and no sum has them; {advice}",
            "the price of {count} pictures is not known, and no sum has them; {advice}",
            pictures,
            advice=priced.format(name=name),
        )
        say(said)
    if any(one.status is ChargeStatus.UNCERTAIN for one in sums):
        _say_what_is_uncertain(store, run)


def _say_what_is_uncertain(store: Store, run: int | None) -> None:
    tasks = store.open_charges(run)
    if not tasks:
        return
    fetchable = [record.task.id for record in store.find(Filter(ids=tuple(tasks))) if _can_be_asked_for(record)]
    found = [charge for charges in store.all_charges(tasks).values() for charge in charges if charge.status in OPEN]
    advice = how_to_settle(tasks, is_priced=any(charge.amount is not None for charge in found))
    if fetchable:
        both = Message("imagegen resume {ids} asks what became of it; {advice}")
        advice = both.format(ids=numbers(fetchable), advice=advice)
    said = ngettext(
        "may have been charged: {count} task, {ids}; {advice}",
        "may have been charged: {count} tasks, {ids}; {advice}",
        len(tasks),
        ids=numbers(tasks),
        advice=advice,
    )
    say(said)


def _can_be_asked_for(record: Record) -> bool:
    task = recovered(record.task)
    return isinstance(task.state, Running | Saving) or can_be_fetched(task.state)


def settle(names: Sequence[str], *, everything: bool, paid: bool, unpaid: bool, amount: str, as_json: bool) -> int:
    """Take a person's word for what submits cost that may have been charged. No task changes, and no receipt."""
    cost = _person_says(paid=paid, unpaid=unpaid, amount=amount)
    if bool(names) == everything:
        raise UsageError(Message("say which: the numbers of tasks, or --all for all that is uncertain"))
    with history() as store:
        ids = task_ids(names, store)
        tasks = store.open_charges() if everything else _known(store, ids)
        if not tasks:
            raise NothingToDo(Message("nothing is uncertain"))
        before = store.all_charges(tasks)
        _check_prices(before, cost)
        _check_units(before, cost)
        settled = store.settle(tasks, cost)
        left = {task: found for task, found in before.items() if task not in settled}
        _tell(settled, as_json=as_json)
        _say_left(store, [task for task in sorted(tasks) if task not in settled], left)
        if not settled:
            raise NothingToDo(Message("nothing of it is uncertain"), hint=Message("imagegen costs shows what is"))
    return 0


def _known(store: Store, ids: Sequence[int]) -> list[int]:
    """Tasks that exist, or that were forgotten and have costs. Raises NothingToDo for others."""
    forgotten = store.missing(ids)
    charged = store.all_charges(forgotten) if forgotten else {}
    if left := [id_ for id_ in ids if id_ not in charged]:
        all_there(store, left)
    return list(ids)


def _person_says(*, paid: bool, unpaid: bool, amount: str) -> Money | None:
    """The amount of each submit; None: as reserved, 0: nothing. Raises UsageError."""
    if paid == unpaid:
        raise UsageError(Message("say what became of it: --paid, --paid --amount 0.04usd, or --unpaid"))
    if not amount:
        return None if paid else Money(0, "usd")
    cost = parse_money(amount)
    if unpaid or not cost.micros:
        raise UsageError(Message("--amount is what was paid; where nothing was, --unpaid alone says so"))
    return cost


def _check_prices(charges: Mapping[int, Sequence[Charge]], cost: Money | None) -> None:
    """Raise UsageError where a person says that it was paid, and it is not known how much."""
    if cost is not None:
        return
    for task, found in charges.items():
        if any(charge.status in OPEN and charge.amount is None for charge in found):
            hint = Message("nothing was settled; say it: imagegen settle {task} --paid --amount 0.04usd")
            unknown = Message("the price of task {task} is not known").format(task=task)
            raise UsageError(unknown, hint=hint.format(task=task))


def _check_units(charges: Mapping[int, Sequence[Charge]], cost: Money | None) -> None:
    """Raise UsageError where a person names another unit than the budgets count of it: it would be counted nowhere."""
    if cost is None or not cost.micros:
        return
    for task, found in charges.items():
        units = (charge.amount.unit for charge in found if charge.status in OPEN and charge.amount is not None)
        if unit := next((unit for unit in units if unit != cost.unit), ""):
            hint = Message("nothing was settled; say it in {unit}: imagegen settle {task} --paid --amount 4{unit}")
            other = Message("task {task} is counted in {unit}, not in {other}")
            raise UsageError(
                other.format(task=task, unit=unit, other=cost.unit), hint=hint.format(task=task, unit=unit)
            )


def _tell(settled: Mapping[int, Sequence[Charge]], *, as_json: bool) -> None:
    if as_json:
        for task, charges in settled.items():
            printed({"v": 1, "id": task, "costs": [charge.plainly() for charge in charges]})
        return
    rows = [(str(task), _said(task, charge)) for task, charges in settled.items() for charge in charges]
    if is_capable_terminal(sys.stdout, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        print_items(list(map(Item, rows)), stream=sys.stdout, environ=os.environ, styles=("dim", "plain"))
        return
    data = Printer(sys.stdout)
    for row in rows:
        data.line(literal("  ".join(row), data.encoding))


def _said(task: int, charge: Charge) -> str:
    said = described(charge, task)
    return translated(Message("paid: {cost}").format(cost=said) if charge.status is ChargeStatus.SETTLED else said)


def _say_left(store: Store, tasks: Sequence[int], charges: Mapping[int, Sequence[Charge]]) -> None:
    """Why tasks were left as they are."""
    records = {int(record.task.id): record for record in store.find(Filter(ids=tuple(tasks)))} if tasks else {}
    for task in tasks:
        if task in records and records[task].is_owned:
            why = Message("a process is at work on it and will know")
        elif not (found := charges.get(task)):
            why = Message("no cost was reserved for it")
        else:
            cost = described(found[-1], task) or Message("free")
            why = Message("it is known already: {cost}").format(cost=cost)
        say(Message("{task} is left as it is: {why}").format(task=task, why=why))
