"""What a submit costs, from its reservation on, and what becomes of that as its task goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    Done,
    Failed,
    ImageRequest,
    Queued,
    Running,
    Saving,
    State,
    Submitting,
    may_be_paid,
)


class Pricing(Protocol):
    """The prices of one configured provider."""

    def quote(self, request: ImageRequest, images: int) -> Quote:
        """What a request is expected to cost that should bring so many pictures."""
        ...

    def of_tokens(self, request: ImageRequest, tokens: Mapping[str, int]) -> Money | None:
        """What the tokens cost that a service says it used; None where their price is not known."""
        ...


class ChargeStatus(StrEnum):
    """What is known of a charge.

    RESERVED while the service may still charge it, SETTLED once its pictures exist, UNCERTAIN where a charge cannot be
    ruled out, RETURNED where certainly nothing was charged.
    """

    RESERVED = "reserved"
    SETTLED = "settled"
    UNCERTAIN = "uncertain"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Charge:
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

    A price that the person set counts more than one of our table, and stays where the units differ: a budget counts in
    it.
    """
    before = charge.amount if charge.source is Source.SET else None
    if before is not None and (source is not Source.TOLD or before.unit != amount.unit):
        return charge
    return replace(charge, amount=amount, source=source)


def after(charge: Charge, state: State) -> Charge:
    """What becomes of the charge where its task gets to `state`. What is settled stays settled."""
    if charge.status is ChargeStatus.SETTLED:
        return charge
    match state:
        case Submitting():
            return charge
        case Running():
            return replace(charge, status=ChargeStatus.RESERVED)
        case Saving(images=images):
            return _settled(charge, len(images))
        case Done(files=files):
            return _settled(charge, len(files))
        case Queued() | Failed() | Cancelled():
            returned = charge.status is ChargeStatus.RETURNED  # also where a person said so
            status = ChargeStatus.UNCERTAIN if may_be_paid(state) and not returned else ChargeStatus.RETURNED
            return replace(charge, status=status)


def _settled(charge: Charge, images: int) -> Charge:
    """Services charge for the pictures that they made, where they tell nothing else."""
    each = charge.quote.each
    amount = charge.amount if charge.source is Source.TOLD or each is None else each.times(images)
    return replace(charge, status=ChargeStatus.SETTLED, amount=amount)
