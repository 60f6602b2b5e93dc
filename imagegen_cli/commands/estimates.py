"""How long tasks like this one took before, as far as this machine's history tells."""

import math
from contextlib import suppress

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.task import Task
from imagegen_cli.engine.scheduling import NOTHING, Known
from imagegen_cli.storage.records import size_of
from imagegen_cli.storage.store import Store

FEW = 3
"""Fewer earlier tasks of a kind make no estimate."""


class Estimates:
    """The history is asked once for each kind of task. `before` leaves out what was ready only later."""

    def __init__(self, store: Store, before: float = math.inf) -> None:
        self._store = store
        self._before = before
        self._known: dict[tuple[str, str, str], Known] = {}

    def known(self, task: Task) -> Known:
        """Nothing where the history cannot be read: nothing depends on it."""
        request = task.request
        kind = (request.provider, request.model, size_of(request))
        if kind not in self._known:
            self._known[kind] = NOTHING
            with suppress(HistoryError):
                self._known[kind] = Known(self._store.durations(request, before=self._before))
        return self._known[kind]

    def seconds(self, task: Task) -> float | None:
        known = self.known(task)
        return known.median if known.tasks >= FEW else None
