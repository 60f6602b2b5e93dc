"""One configured provider as the tasks of a run share it: its gate, its limits, and why it takes no task, if so."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from imagegen_cli.core.errors import TaskError
from imagegen_cli.core.money import Money, Quote
from imagegen_cli.core.provider import Provider
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.engine.scheduling import Gate

MAX_REFUSED_S = 900.0
"""Seconds that a service may refuse everything before its waiting tasks fail, where the settings do not say."""


class Pricing(Protocol):
    """The prices of one configured provider."""

    def quote(self, request: ImageRequest, images: int) -> Quote:
        """What a request is expected to cost that should bring so many pictures."""
        ...

    def of_tokens(self, request: ImageRequest, tokens: Mapping[str, int]) -> Money | None:
        """What the tokens cost that a service says it used; None where their price is not known."""
        ...


@dataclass(slots=True)
class Lane:
    """`poll`: the shortest time between two status queries. `timeout`: how long a service may work on one task.

    `busy_timeout`: how long a service may refuse everything. All in seconds. `shut`: the error after which the
    provider takes no task any more.
    """

    provider: Provider[Any]
    gate: Gate
    poll: float
    timeout: float
    shut: TaskError | None = None
    busy_timeout: float = MAX_REFUSED_S
    pricing: Pricing | None = None
    """What its pictures cost; None where prices do not matter."""
    given_up: TaskError | None = None
    given_up_at: float = 0.0
    """By the loop's clock: tasks that were there before it fail; those that come later are tried."""

    @property
    def max_refused_s(self) -> float:
        """Seconds that the service may refuse everything."""
        return max(self.busy_timeout, self.timeout)

    def give_up(self, error: TaskError) -> None:
        """Fail all tasks that wait now: the service has refused everything for too long."""
        self.given_up, self.given_up_at = error, asyncio.get_running_loop().time()
        self.gate.give_up()

    def closed_to(self, since: float) -> TaskError | None:
        """The error because of which a task that has been here since then is not sent, if there is one."""
        return self.shut or (self.given_up if since <= self.given_up_at else None)
