"""How long tasks like this one took before, as far as this machine's history tells."""

import math
from contextlib import suppress

from imagegen_cli.core.durations import UNKNOWN, Durations
from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.task import Task
from imagegen_cli.storage.records import size_of
from imagegen_cli.storage.store import Store

MIN_TASKS = 3
"""With fewer earlier tasks of a kind there is no estimate."""


class Estimates:
    """Reads the history once for each kind of task. `before` leaves out what became ready at that moment or later."""

    def __init__(self, store: Store, before: float = math.inf) -> None:
        self._store = store
        self._before = before
        self._durations: dict[tuple[str, str, str], Durations] = {}

    def durations(self, task: Task) -> Durations:
        """UNKNOWN where the history cannot be read: nothing depends on it."""
        request = task.request
        kind = (request.provider, request.model, size_of(request))
        if kind not in self._durations:
            self._durations[kind] = UNKNOWN
            with suppress(HistoryError):
                self._durations[kind] = Durations(self._store.durations(request, before=self._before))
        return self._durations[kind]

    def seconds(self, task: Task) -> float | None:
        """The usual duration of such a task; None where too few are known."""
        known = self.durations(task)
        return known.median_s if known.tasks >= MIN_TASKS else None
