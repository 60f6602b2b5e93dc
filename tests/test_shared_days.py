"""Budgets of a day and a month in a shared history: by the clock of its server, in UTC, whatever a machine thinks."""

import asyncio
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagegen_cli.core.budget import Limit, Period, parse_limits
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import Submitting
from tests.histories import Place, opened, outside, place
from tests.test_store import started

EACH = Quote(1, Money(40_000, "usd"), Source.SET)
DAY_S = 86_400


def with_a_standing_clock(where: Place) -> Place:
    """The same history, whose server has one moment for ever: a test at midnight would see two days.

    A function of ours comes before that of PostgreSQL, as its schema does.
    """
    with outside(where) as db:
        moment = "SELECT timestamptz '2026-11-26 12:00:00+00'"
        db.execute(f"CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ {moment} $$")
    return f"{where},pg_catalog"


@pytest.mark.parametrize("period", ["day", "month"])
def test_machines_whose_clocks_are_days_off_hold_one_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: str
) -> None:
    where, real, sent = with_a_standing_clock(place("postgres", tmp_path)), time.time, 0
    for turn, off_s in enumerate([0, -DAY_S, -40 * DAY_S, 2 * DAY_S, 0, -DAY_S, 40 * DAY_S, 0]):
        monkeypatch.setattr(time, "time", lambda off_s=off_s: real() + off_s)
        with closing(opened(where)) as store:
            store.budget.limits = parse_limits(f"0.12usd/{period}")
            (task,) = started(store, f"prompt {turn}")
            store.record(TaskChanged(time.time(), task.to(Submitting(None, EACH))))
            asyncio.run(store.flush())
            sent += task.id not in store.budget.refused
            assert store.spent(store.budget.limits[0]) == Money(40_000 * sent, "usd")
    assert sent == 3


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles", "UTC"])
def test_a_shared_day_begins_at_midnight_in_utc(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        now = datetime(2026, 11, 26, 23, 30, tzinfo=UTC).timestamp()
        begun = [Limit(Money(1, "usd"), period).begins(now, in_utc=True) for period in (Period.DAY, Period.MONTH)]
    finally:
        monkeypatch.undo()
        time.tzset()
    days = [datetime.fromtimestamp(one, UTC) for one in begun]
    assert days == [datetime(2026, 11, 26, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)]
