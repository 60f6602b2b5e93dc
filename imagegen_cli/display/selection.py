"""Which rows the table shows: their order, the filter, and the window around the chosen one.

Tasks that have ended stand above the others, in the order in which they ended. They are shown only where a person
chooses among them or filters: what ends is printed above the table anyway.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from imagegen_cli.core.language import translated
from imagegen_cli.core.task import TaskId
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.fields import state_and_reason
from imagegen_cli.display.messages import WORDS, described

MIN_WAITING = 8
"""Lines that may show waiting tasks while none is chosen; more of them only push what happens off the screen."""


class Window(NamedTuple):
    """The rows that are drawn, and how many more there are above and below them."""

    rows: list[Row]
    above: int
    below: int


def searched(row: Row) -> str:
    """What the filter looks in: the prompt, the provider and its model, the state and the reason. Kept in the row.

    A state and a reason are found by their codes too.
    """
    if not row.searched:
        request = row.task.request
        shown = translated(WORDS[type(row.task.state)]), translated(described(row.task.state))
        parts = (request.prompt, request.provider, request.model, state_and_reason(row), *shown)
        row.searched = "\n".join(parts).casefold()
    return row.searched


def matching(rows: Iterable[Row], words: str, chosen: TaskId | None = None) -> Iterator[Row]:
    """The rows in which every word is found, and the chosen one: it stays although its state changes."""
    found = iter(rows)
    for one in words.casefold().split():
        found = _with(one, found, chosen)
    return found


def _with(part: str, rows: Iterable[Row], chosen: TaskId | None) -> Iterator[Row]:
    return (row for row in rows if part in (row.searched or searched(row)) or row.task.id == chosen)


def count(board: Board, words: str) -> int:
    """How many tasks the filter leaves."""
    return sum(1 for _ in matching(board.rows.values(), words))


def ids_in_order(board: Board, words: str) -> tuple[list[TaskId], int]:
    """The tasks that can be chosen, as the table orders them, and how many of them have ended."""
    ended = [row.task.id for row in matching(board.over.values(), words)]
    return [*ended, *(row.task.id for row in matching(board.unfinished(), words))], len(ended)


def window(board: Board, height: int, chosen: TaskId | None = None, words: str = "", *, tells: bool = False) -> Window:
    """The rows for `height` lines: around the chosen one, else those that are unfinished. `words`: of the filter.

    `tells`: where not all rows fit, one line less is taken, because that will be told.
    """
    if height < 1:
        return Window([], 0, 0)
    if chosen is None and not words:
        total = len(board.rows) - board.ended
        wanted = max(board.busy, MIN_WAITING)
        rows = list(islice(board.unfinished(), min(height - (tells and min(wanted, height) < total), wanted)))
        return Window(rows, 0, total - len(rows))
    unfinished = list(matching(board.unfinished(), words, chosen))
    ended = list(matching(board.over.values(), words, chosen))
    height -= tells and len(unfinished) + len(ended) > height
    return _around(ended, unfinished, height, chosen, is_filtered=bool(words))


def _around(
    ended: list[Row], unfinished: list[Row], height: int, chosen: TaskId | None, *, is_filtered: bool
) -> Window:
    """An unfinished task is shown among its own kind; one that has ended with one line above it."""
    rows, first = [*ended, *unfinished], len(ended)
    at = next((at for at, row in enumerate(rows) if row.task.id == chosen), None)
    if at is None and is_filtered:
        first = 0
    elif at is not None and at < first:
        first = max(0, at - 1)
    elif at is not None and at - first >= height:
        first = at - height // 2
    first = max(0, min(first, len(rows) - height))
    shown = rows[first : first + height]
    return Window(shown, first, len(rows) - first - len(shown))
