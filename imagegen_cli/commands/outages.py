"""What is said of a history that is away for moments: that it is away, and that it is there again, once each."""

import asyncio
from collections.abc import Callable

from imagegen_cli.core.language import Message

QUIET_S = 180.0
"""Seconds after one outage was told in which no other one is: connections may come and go for hours."""


class Outages:
    """Tells of outages. It is asked on the event loop, whose clock counts."""

    def __init__(self) -> None:
        self._told_at = float("-inf")
        self._is_told = False
        """The outage of now was told, so that its end is told too."""

    def begins(self, why: Message, tell: Callable[[str], None]) -> None:
        """Tell that the history is away, and why, unless an outage was told lately."""
        now = asyncio.get_running_loop().time()
        if not self._is_told and now - self._told_at >= QUIET_S:
            self._told_at, self._is_told = now, True
            tell(why)

    def ends(self, tell: Callable[[str], None]) -> None:
        """Tell that the history is there again, where it was told that it was away."""
        if self._is_told:
            self._is_told = False
            tell(Message("the history is there again"))
