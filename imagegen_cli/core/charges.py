"""What a submit costs, from its reservation on, and what becomes of that as its task goes on."""

from enum import StrEnum
from typing import NamedTuple

from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    Done,
    Failed,
    Queued,
    Running,
    Saving,
    State,
    Submitting,
    may_be_paid,
)


class ChargeStatus(StrEnum):
    """What is known of a charge.

    RESERVED while the service may still charge it, SETTLED once its pictures exist, UNCERTAIN where a charge cannot be
    ruled out, RETURNED where certainly nothing was charged.
    """

    RESERVED = "reserved"
    SETTLED = "settled"
    UNCERTAIN = "uncertain"
    RETURNED = "returned"


class Charge(NamedTuple):
    """What one submit costs, as far as it is known: the reservation, until the service or its pictures tell more."""

    quote: Quote
    status: ChargeStatus
    amount: Money | None
    source: Source

    def plainly(self) -> dict[str, float | str]:
        """The same for JSON; `amount` is left out where it is not known."""
        amount = self.amount.plainly() if self.amount else {}
        return {**amount, "source": str(self.source), "status": str(self.status)}


def reserved(quote: Quote) -> Charge:
    return Charge(quote, ChargeStatus.RESERVED, quote.total, quote.source)


def as_told(charge: Charge, amount: Money, source: Source = Source.TOLD) -> Charge:
    """The charge with what the service told, or with the price of what it counted.

    A price that the person set counts more than one of our table. What is told in another unit than the reservation's
    changes nothing: a budget counts in the unit that was reserved.
    """
    before = charge.amount
    weaker = charge.source is Source.SET and source is not Source.TOLD
    if before is not None and (weaker or before.unit != amount.unit):
        return charge
    return charge._replace(amount=amount, source=source)


def as_settled(charge: Charge) -> Charge:
    """The charge where its service told for certain that it charges."""
    return charge._replace(status=ChargeStatus.SETTLED)


def as_counted(charge: Charge, images: int) -> Charge:
    """The charge where its service charges for so many pictures, and told no amount."""
    each = charge.quote.each
    return charge if charge.source is Source.TOLD or each is None else charge._replace(amount=each.times(images))


def after(charge: Charge, state: State) -> Charge:
    """What becomes of the charge where its task gets to `state`.

    What is settled stays settled. What was returned stays returned, because a person may have said so, until the
    service is at work on it after all.
    """
    if charge.status is ChargeStatus.SETTLED:
        return charge
    match state:
        case Submitting():
            return charge
        case Running():
            return _with_status(charge, ChargeStatus.RESERVED)
        case Saving(images=images):
            return _settled(charge, len(images))
        case Done(files=files):
            return _settled(charge, len(files))
        case Queued() | Failed() | Cancelled():
            is_open = may_be_paid(state) and charge.status is not ChargeStatus.RETURNED
            return _with_status(charge, ChargeStatus.UNCERTAIN if is_open else ChargeStatus.RETURNED)


def _with_status(charge: Charge, status: ChargeStatus) -> Charge:
    return charge if charge.status is status else charge._replace(status=status)


def _settled(charge: Charge, images: int) -> Charge:
    """Services charge for the pictures that they made, where they tell nothing else."""
    each = charge.quote.each
    amount = charge.amount if charge.source is Source.TOLD or each is None else each.times(images)
    return charge._replace(status=ChargeStatus.SETTLED, amount=amount)
