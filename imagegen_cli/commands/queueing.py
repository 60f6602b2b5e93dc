"""`--queue`: what is said to it and belongs to the tasks is kept with them; what belongs to a process is refused.

A worker is another process, perhaps on another machine: what it is not told by the history it cannot obey.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from imagegen_cli.commands.console import say
from imagegen_cli.commands.options import GenerateOptions, SpendOptions, is_typed
from imagegen_cli.commands.spending import Spending
from imagegen_cli.commands.terms import of_process
from imagegen_cli.core import references
from imagegen_cli.core.budget import parse_limits
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.money import Money, parse_money
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import ASSUMED_PRICE, BUDGET, KNOWN_PRICE, REFERENCE_DIGESTS, RunId
from imagegen_cli.core.text import Printer, encoded
from imagegen_cli.inputs import plan
from imagegen_cli.settings.config import Config
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store

BUDGETS_HOLD = Message(
    "the budgets of the workers' settings hold, not the [budget] of the settings here; --budget with --queue is kept"
)


def check(options: GenerateOptions) -> None:
    """Raise UsageError where an option can neither be kept with the tasks nor be obeyed now."""
    if str(options.output) == "-":
        message = Message("--queue sends nothing, so no picture comes to stdout")
        raise UsageError(message, hint=Message("name a folder: -o FOLDER"))
    if options.sheet and is_typed("--sheet"):
        message = Message("--queue sends nothing, so there is nothing to draw on a --sheet")
        raise UsageError(message, hint=Message("nothing was queued; once the run is done: imagegen sheet --run N"))
    given = of_process(options.run)
    if given:
        message = Message("--queue cannot keep {options}: that belongs to the process that carries the tasks")
        hint = Message("nothing was queued; leave it out, and give it to the workers: imagegen work {options}")
        raise UsageError(message.format(options=given), hint=hint.format(options=given))


# What is kept with the tasks


def with_terms(items: Sequence[plan.Item], spending: Spending, spend: SpendOptions) -> list[plan.Item]:
    """The items with what their workers are to obey: the budget, prices, and which files they start from."""
    budget = ",".join(limit.as_option for limit in parse_limits(spend.budget))
    assumed = parse_money(spend.assume_price) if spend.assume_price else None
    known: dict[str, str] = {}
    money = [_money(item, spending, budget, assumed) for item in items]
    return [replace(item, terms=terms | _files(item, known)) for item, terms in zip(items, money, strict=True)]


def _money(item: plan.Item, spending: Spending, budget: str, assumed: Money | None) -> dict[str, str]:
    """Where a budget is to hold, also the price that is known here: it may be unknown to the settings of a worker."""
    price = spending.dearest_each(item.request, item.expected_images, item.alternatives) if budget else None
    known = "" if price in (None, assumed) else _as_option(price)
    terms = {BUDGET: budget, ASSUMED_PRICE: _as_option(assumed), KNOWN_PRICE: known}
    return {name: text for name, text in terms.items() if text}


def _as_option(price: Money | None) -> str:
    return "" if price is None else str(price).replace(" ", "")


def _files(item: plan.Item, known: dict[str, str]) -> dict[str, str]:
    files = [one for one in item.request.references if not references.is_remote(one)]
    digests = " ".join(known.setdefault(path, known.get(path) or digest(path)) for path in files)
    return {REFERENCE_DIGESTS: digests} if digests else {}


def digest(path: str) -> str:
    """The SHA-256 of a reference picture, in hex. Raises UsageError where it cannot be read."""
    try:
        with references.opened(path, follow=False) as file:
            return references.digest_of(file)
    except (OSError, ValueError) as error:
        message = Message("cannot read the reference picture {path!r}: {why}")
        raise UsageError(message.format(path=path, why=cause(error)), hint=Message("nothing was queued")) from error


# What is said


def end(store: Store, run: RunId, items: Sequence[plan.Item], config: Config, options: GenerateOptions) -> int:
    """Say what waits for workers now, and which budgets will hold. Returns the exit code."""
    if options.run.display == "json":
        from imagegen_cli.commands.history import objects  # noqa: PLC0415 - few commands need it

        data = Printer(sys.stdout, "utf-8")
        for plain in objects(store, Filter(run=run)):
            data.line(encoded(plain, data.encoding))
    if options.run.display not in ("json", "quiet"):
        waited = sum(item.adopts is not None and item.adopts.waits_for_worker for item in items)
        say(_what_waits(run, len(items), waited))
    if config.general.budget:
        say(BUDGETS_HOLD)
    return 0


def _what_waits(run: RunId, count: int, waited: int) -> Message:
    """`waited`: how many of these tasks were in the queue before."""
    if not waited:
        return ngettext(
            "{count} task waits for workers in run {run}, and nothing is sent yet: imagegen work",
            "{count} tasks wait for workers in run {run}, and nothing is sent yet: imagegen work",
            count,
            run=run,
        )
    if waited == count:
        return ngettext(
            "nothing new is queued: {count} task of the list waited for workers already, now in run {run}: imagegen"
            " work",
            "nothing new is queued: {count} tasks of the list waited for workers already, now in run {run}: imagegen"
            " work",
            count,
            run=run,
        )
    return ngettext(
        "{count} task waits for workers in run {run}, {waited} of them waited already: imagegen work",
        "{count} tasks wait for workers in run {run}, {waited} of them waited already: imagegen work",
        count,
        run=run,
        waited=waited,
    )
