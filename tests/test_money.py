"""Amounts, and what becomes of a charge."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.core.charges import Charge, ChargeStatus, after, as_told, reserved
from imagegen_cli.core.errors import Reason, UsageError
from imagegen_cli.core.money import MAX_MICROS, UNITS, Money, Quote, Source, listed, money, parse_money, told, totals
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Job,
    Queued,
    RemoteImage,
    Running,
    Saving,
    State,
    Submitting,
)

QUOTE = Quote(4, Money(40_000, "usd"), Source.SET)


@pytest.mark.parametrize(
    ("text", "micros", "unit"),
    [
        ("0.04usd", 40_000, "usd"),
        ("5 USD", 5_000_000, "usd"),
        ("$5", 5_000_000, "usd"),
        (" 12 credits ", 12_000_000, "credits"),
        ("1 credit", 1_000_000, "credits"),
        ("3积分", 3_000_000, "credits"),
        ("5元", 5_000_000, "cny"),
        ("2.5€", 0, ""),
        ("€2.5", 2_500_000, "eur"),
        ("0.000001usd", 1, "usd"),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, micros: int, unit: str) -> None:
    if not unit:
        with pytest.raises(UsageError):
            parse_money(text)
    else:
        assert parse_money(text) == Money(micros, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "usd",
        "-1usd",
        "¥5",
        "1e9usd",
        "nan usd",
        "0.0000001usd",
        "1,5usd",
        "$5usd",
        "5 gbp",
        "1000000000000usd",
    ],
)
def test_what_is_no_amount_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_money(text)
    assert "0.04usd" in caught.value.hint or "can be spent" in caught.value.message


@given(st.integers(0, MAX_MICROS), st.sampled_from(UNITS))
def test_an_amount_is_read_back_from_its_own_text(micros: int, unit: str) -> None:
    amount = Money(micros, unit)
    if micros < 10**18:
        assert parse_money(str(amount)) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Money(9_600_000, "usd"), "9.60 usd"),
        (Money(3_000, "usd"), "0.003 usd"),
        (Money(12_000_000, "credits"), "12 credits"),
        (Money(4_500_000, "credits"), "4.5 credits"),
        (Money(0, "eur"), "0.00 eur"),
    ],
)
def test_amounts_are_written_with_their_unit(amount: Money, text: str) -> None:
    assert str(amount) == text


@pytest.mark.parametrize("amount", [True, None, "4", -1, float("nan"), float("inf"), 1e40, [4]])
def test_what_a_service_tells_counts_only_where_it_is_an_amount(amount: object) -> None:
    assert told(amount, "credits") is None


def test_a_told_amount_is_kept_to_a_millionth() -> None:
    assert told(4.5, "credits") == Money(4_500_000, "credits")
    assert money(Decimal("0.0000014"), "usd") == Money(1, "usd")


def test_amounts_of_different_units_are_never_added() -> None:
    sums = totals([Money(1, "usd"), None, Money(2, "credits"), Money(3, "usd")])
    assert sums == {"usd": Money(4, "usd"), "credits": Money(2, "credits")}
    assert listed(sums) == "0.000004 usd + 0.000002 credits"


JOB = Job("1")
IMAGES = (RemoteImage("http://pictures/1"), RemoteImage("http://pictures/2"))


@pytest.mark.parametrize(
    ("state", "status", "pictures"),
    [
        (Submitting(), ChargeStatus.RESERVED, 4),
        (Running(JOB), ChargeStatus.RESERVED, 4),
        (Saving(IMAGES, JOB), ChargeStatus.SETTLED, 2),
        (Done(("a.png", "b.png", "c.png"), missing=1), ChargeStatus.SETTLED, 3),
        (Queued(), ChargeStatus.RETURNED, 4),
        (Failed(Reason.UNCERTAIN, "lost", may_be_paid=True), ChargeStatus.UNCERTAIN, 4),
        (Failed(Reason.TIMEOUT, "late", job=JOB), ChargeStatus.UNCERTAIN, 4),
        (Failed(Reason.SERVER, "the service says no", job=JOB, final=True), ChargeStatus.RETURNED, 4),
        (Failed(Reason.UNAUTHORIZED, "no key"), ChargeStatus.RETURNED, 4),
        (Cancelled(CancelOutcome.NOT_SENT), ChargeStatus.RETURNED, 4),
        (Cancelled(CancelOutcome.STOPPED, JOB), ChargeStatus.RETURNED, 4),
        (Cancelled(CancelOutcome.GOES_ON, JOB), ChargeStatus.UNCERTAIN, 4),
        (Cancelled(CancelOutcome.REQUESTED, JOB), ChargeStatus.UNCERTAIN, 4),
    ],
)
def test_a_charge_follows_its_task(state: State, status: ChargeStatus, pictures: int) -> None:
    charge = after(reserved(QUOTE), state)
    assert (charge.status, charge.amount) == (status, Money(40_000 * pictures, "usd"))


def test_what_is_settled_stays_settled_whatever_becomes_of_the_files() -> None:
    charge = after(reserved(QUOTE), Saving(IMAGES, JOB))
    for state in (Running(JOB), Failed(Reason.BAD_IMAGE, "no picture"), Failed(Reason.DISK, "full", job=JOB), Done(())):
        assert after(charge, state) == charge


def test_an_uncertain_charge_is_settled_where_the_pictures_come_after_all() -> None:
    doubtful = after(reserved(QUOTE), Failed(Reason.TIMEOUT, "late", job=JOB))
    assert after(after(doubtful, Running(JOB)), Saving(IMAGES, JOB)).status is ChargeStatus.SETTLED


def test_what_the_service_tells_counts_more_than_a_price() -> None:
    charge = as_told(reserved(Quote(4, Money(1, "credits"), Source.ESTIMATED)), Money(7, "credits"))
    assert after(charge, Saving(IMAGES, JOB)) == Charge(
        charge.quote, ChargeStatus.SETTLED, Money(7, "credits"), Source.TOLD
    )


def test_a_price_that_the_person_set_in_another_unit_stays() -> None:
    charge = reserved(QUOTE)
    assert as_told(charge, Money(7, "credits")) == charge


def test_an_unknown_price_stays_unknown_and_nothing_is_made_up() -> None:
    charge = after(reserved(Quote(1, None, Source.UNKNOWN)), Saving(IMAGES, JOB))
    assert (charge.amount, charge.source) == (None, Source.UNKNOWN)
    assert charge.plainly() == {"source": "unknown", "status": "settled"}
