"""How long earlier tasks took at a service, as far as one process saw it."""

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """Seconds that a job took at the service: it was not ready at `min_s`, and it was ready at `max_s`."""

    min_s: float
    max_s: float


class Durations:
    """How long earlier tasks of one kind took.

    Each counts as `PARTS` moments, spread over the seconds in which it may have become ready: what was ready at the
    first query says little about when.
    """

    PARTS = 4

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        spans = tuple(spans)
        self.tasks = len(spans)
        self.moments = sorted(
            span.min_s + (span.max_s - span.min_s) * (part + 0.5) / self.PARTS
            for span in spans
            for part in range(self.PARTS)
        )

    @property
    def median_s(self) -> float:
        """Seconds. Raises IndexError where there are no earlier tasks."""
        return self.moments[len(self.moments) // 2]


UNKNOWN = Durations()
"""Those of a kind that has no earlier tasks."""
