"""Limits that hold over processes which spend at the same time."""

from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.core.budget import parse_limits
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.storage.store import Store
from tests.spenders import PRICE, PROCESSES, TASKS, together

LIMIT = "3usd/day"
ALL = range(1, PROCESSES * TASKS + 1)


def check(folder: Path) -> None:
    """Settled is at most the limit and what the estimates were too low by; the history knows of every cent."""
    bill = [int(line) for line in (folder / "bill").read_text(encoding="ascii").splitlines()]
    (limit,) = parse_limits(LIMIT)
    with closing(Store(folder / "history.db")) as store:
        charges = [one for one in store.charges(ALL).values() if one.status is not ChargeStatus.RETURNED]
        spent = store.spent(limit).micros
    settled = [one.amount.micros for one in charges if one.amount and one.status is ChargeStatus.SETTLED]
    assert (sorted(settled), spent) == (sorted(bill), sum(bill))
    overshoot = sum(max(0, amount - PRICE.micros) for amount in settled)
    assert spent <= limit.amount.micros + overshoot
    assert len(settled) >= limit.amount.micros // (1.3 * PRICE.micros)


@pytest.mark.parametrize("factors", [(0.7, 1.3), (0.7, 1.0), (1.0, 1.0)])
def test_eight_processes_keep_one_limit(tmp_path: Path, factors: tuple[float, float]) -> None:
    together(tmp_path, LIMIT, *factors)
    check(tmp_path)


def test_checking_before_spending_breaks_the_same_limit(tmp_path: Path) -> None:
    together(tmp_path, LIMIT, 1.0, 1.0, "--check-then-spend")
    with pytest.raises(AssertionError, match="<="):
        check(tmp_path)
