"""Limits, and the reservations that count against them, in one database."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.core.budget import Limit, Period, in_units, parse_limits
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import Reason, UsageError
from imagegen_cli.core.money import Money, Quote, Source, parse_money
from imagegen_cli.core.task import Failed, ImageRequest, Job, Queued, RemoteImage, RunId, Saving, Task, TaskId
from imagegen_cli.storage import charges
from imagegen_cli.storage.dialect import Connection
from tests.histories import KINDS, opened, place

NOW = time.mktime((2026, 11, 26, 12, 0, 0, 0, 0, -1))
FOUR_CENTS = Quote(1, Money(40_000, "usd"), Source.SET)
UNOWNED = "task.owner IS NULL"


def task(number: int, *, provider: str = "studio", model: str = "4.0", run: int = 1) -> Task:
    request = ImageRequest(prompt="a cat", provider=provider, model=model)
    return Task(id=TaskId(number), run=RunId(run), request=request, state=Queued(), folder=".", name="{index}")


OWNED = (
    "INSERT INTO task (id, run, owner, provider, model, size, prompt, request, identity, folder, name,"
    " expected_images, state, detail, created) VALUES (?, 1, 1, '', '', '', '', '{}', '', '', '', 1, 'queued', '{}', 0)"
)


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    with closing(opened(place(request.param, tmp_path))) as store:
        store._db.executemany(OWNED, [(number,) for number in range(1, 20)])
        yield store._db


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("5usd", [Limit(Money(5_000_000, "usd"))]),
        ("5usd/day, 100credits", [Limit(Money(5_000_000, "usd"), Period.DAY), Limit(Money(100_000_000, "credits"))]),
        ("$5/MONTH", [Limit(Money(5_000_000, "usd"), Period.MONTH)]),
        ("", []),
    ],
)
def test_budgets_are_read(text: str, limits: list[Limit]) -> None:
    assert list(parse_limits(text)) == limits


@pytest.mark.parametrize("text", ["5", "5usd/week", "usd/day", "5usd/", ",", "5usd/day/month"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_limits(text)


def test_a_day_and_a_month_begin_where_the_calendar_says() -> None:
    amount = Money(1, "usd")
    assert time.localtime(Limit(amount, Period.DAY).begins(NOW))[:5] == (2026, 11, 26, 0, 0)
    assert time.localtime(Limit(amount, Period.MONTH).begins(NOW))[:5] == (2026, 11, 1, 0, 0)
    assert Limit(amount).begins(NOW) == 0


def test_a_unit_that_no_limit_counts_is_named() -> None:
    assert in_units(parse_limits("5usd"), ["usd", "credits", "credits"]) == ["credits"]


def test_what_is_reserved_settled_or_uncertain_counts_and_what_was_returned_does_not(db: Connection) -> None:
    limit = Limit(parse_money("0.12usd"))
    for number in (1, 2, 3):
        assert charges.over(db, [limit], FOUR_CENTS, 7, NOW) == ""
        charges.reserve(db, task(number), FOUR_CENTS, 7, NOW)
    assert "0.12 usd of 0.12 usd" in charges.over(db, [limit], FOUR_CENTS, 7, NOW)
    charges.follow(db, 1, Failed(Reason.UNCERTAIN, "lost", may_be_paid=True))
    charges.follow(db, 2, Saving((RemoteImage("http://pictures/1"),), Job("2")))
    assert charges.over(db, [limit], FOUR_CENTS, 7, NOW)
    charges.follow(db, 3, Queued())
    assert charges.over(db, [limit], FOUR_CENTS, 7, NOW) == ""
    assert charges.spent(db, limit, 7, NOW) == parse_money("0.08usd")


def test_a_command_counts_its_own_and_a_day_counts_all(db: Connection) -> None:
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW - 86_400)
    charges.reserve(db, task(2), FOUR_CENTS, 7, NOW)
    charges.reserve(db, task(3), FOUR_CENTS, 8, NOW)
    amounts = [charges.spent(db, Limit(Money(1, "usd"), period), 7, NOW).micros for period in Period]
    assert amounts == [80_000, 80_000, 120_000]


def test_a_price_that_is_not_known_fits_no_budget_and_a_free_one_every(db: Connection) -> None:
    limit = Limit(Money(0, "usd"))
    assert "not known" in charges.over(db, [limit], Quote(1, None, Source.UNKNOWN), 7, NOW)
    assert charges.over(db, [limit], Quote(1, None, Source.FREE), 7, NOW) == ""


def test_a_submit_that_is_tried_again_is_one_row(db: Connection) -> None:
    for _ in range(4):
        charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
        charges.follow(db, 1, Queued())
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
    assert db.execute("SELECT count(*) FROM charge").fetchone()[0] == 1
    charges.follow(db, 1, Saving((RemoteImage("http://pictures/1"),), Job("2")))
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
    assert db.execute("SELECT count(*), sum(amount) FROM charge").fetchone()[:] == (2, 80_000)


def test_what_is_told_replaces_the_reservation_and_lands_in_its_own_sum(db: Connection) -> None:
    for number in (1, 2):
        charges.reserve(db, task(number), FOUR_CENTS._replace(source=Source.ESTIMATED), 7, NOW)
        charges.follow(db, number, Saving((RemoteImage("http://pictures/1"),), Job("2")))
    charges.tell(db, 1, parse_money("0.05usd"))
    found = {one.source: one for one in charges.sums(db, "model", None, UNOWNED)}
    assert (found[Source.TOLD].amount, found[Source.TOLD].pictures) == (parse_money("0.05usd"), 1)
    assert found[Source.ESTIMATED].amount == parse_money("0.04usd")
    assert found[Source.TOLD].key == "studio 4.0"


@pytest.mark.parametrize(("by", "keys"), [("day", 1), ("model", 2), ("provider", 2), ("run", 2)])
def test_sums_by(db: Connection, by: str, keys: int) -> None:
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
    charges.reserve(db, task(2, provider="other", run=2), FOUR_CENTS, 7, NOW)
    assert len({one.key for one in charges.sums(db, by, None, UNOWNED)}) == keys
    assert not list(charges.sums(db, by, NOW + 1, UNOWNED))


def test_a_reservation_of_a_process_that_is_gone_is_uncertain(db: Connection) -> None:
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
    db.execute("UPDATE task SET owner = NULL WHERE id = 1")
    assert [one.status for one in charges.sums(db, "run", None, UNOWNED)] == [ChargeStatus.UNCERTAIN]


@pytest.mark.parametrize(
    ("word", "amount", "status"),
    [(None, 40_000, "settled"), (parse_money("0.01usd"), 10_000, "settled"), (parse_money("0usd"), 40_000, "returned")],
)
def test_a_person_settles_what_is_uncertain(db: Connection, word: Money | None, amount: int, status: str) -> None:
    charges.reserve(db, task(1), FOUR_CENTS, 7, NOW)
    charges.follow(db, 1, Failed(Reason.UNCERTAIN, "lost", may_be_paid=True))
    assert charges.settle(db, 1, word)
    assert db.execute("SELECT amount, status FROM charge").fetchone()[:] == (amount, status)
    assert not charges.settle(db, 2, word)
