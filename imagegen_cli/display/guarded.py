"""Keeps a run going when its display breaks."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from imagegen_cli.core.events import Event, RunStarted, TaskAdded, TaskChanged
from imagegen_cli.core.language import Message
from imagegen_cli.display.board import Board
from imagegen_cli.display.lines import JsonLines, PlainLines, Quiet, StaticDisplay

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from imagegen_cli.core.task import TaskId
    from imagegen_cli.display import Display


class SilentDisplay(StaticDisplay):
    """Shows nothing: the last resort when plain lines break too."""

    def say(self, message: str) -> None:
        """Show nothing."""


class Guarded:
    """Passes everything on to a display. If that raises, it is switched off with one message and plain lines go on.

    The plain lines have a board of their own, because the error may come from the old one.
    """

    def __init__(self, display: "Display", *, stderr: TextIO) -> None:
        self._display = display
        self._stderr = stderr
        self._json = isinstance(display, JsonLines)
        self._quiet = isinstance(display, Quiet)
        self._begun: list[RunStarted | TaskAdded] = []
        self._last: dict[TaskId, TaskChanged] = {}
        self._inside: set[asyncio.Future[None]] = set()

    @property
    def prints_paths(self) -> bool:
        """Also true for JSON that was switched off: nothing else may follow it on stdout."""
        return self._json or self._display.prints_paths

    @property
    def takes_keys(self) -> bool:
        return self._display.takes_keys

    def __enter__(self) -> Self:
        self._pass(lambda display: display.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pass(lambda display: display.__exit__(kind, error, traceback))

    def tell(self, event: Event) -> None:
        if isinstance(event, RunStarted | TaskAdded):
            self._begun.append(event)
        elif isinstance(event, TaskChanged):
            self._last[event.task.id] = event
        display = self._display
        try:
            display.tell(event)
        except Exception as error:  # noqa: BLE001 - a bug in a table must not end paid work
            self._switch(display, error)

    def interrupt(self) -> bool:
        display = self._display
        try:
            return display.interrupt()
        except Exception as error:  # noqa: BLE001 - see tell
            self._switch(display, error)
            return False

    def say(self, message: str) -> None:
        self._pass(lambda display: display.say(message))

    def give_back(self) -> None:
        self._pass(lambda display: display.give_back())

    async def run(self) -> None:
        await self._kept(lambda display: display.run())

    async def typed(self) -> None:
        await self._kept(lambda display: display.typed())

    def _pass(self, work: "Callable[[Display], object]") -> None:
        display = self._display
        try:
            work(display)
        except Exception as error:  # noqa: BLE001 - see tell
            self._switch(display, error)
            with suppress(Exception):
                work(self._display)

    async def _kept(self, work: "Callable[[Display], Coroutine[Any, Any, None]]") -> None:
        """Do the work, and do it again with the display that replaced the first one."""
        while True:
            display = self._display
            inside = asyncio.ensure_future(work(display))
            self._inside.add(inside)
            try:
                await asyncio.wait({inside})
            finally:
                self._inside.discard(inside)
                inside.cancel()
                await asyncio.gather(inside, return_exceptions=True)
            error = None if inside.cancelled() else inside.exception()
            if isinstance(error, Exception):
                self._switch(display, error)
            if display is self._display:
                return

    def _switch(self, broken: "Display", error: Exception) -> None:
        if broken is not self._display:
            return
        with suppress(Exception):
            broken.give_back()
        self._display = SilentDisplay(Board(), stderr=self._stderr)
        with suppress(Exception):
            self._display = self._plain(error)
        for inside in self._inside:
            inside.cancel()

    def _plain(self, error: Exception) -> "Display":
        board = Board()
        lines = Quiet(board, stderr=self._stderr) if self._quiet else PlainLines(board, stderr=self._stderr)
        for event in (*self._begun, *self._last.values()):
            board.tell(event)
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        broke = Message(
            "the display broke ({why}) and is switched off; the tasks go on, in plain lines. Please report it"
        )
        lines.say(broke.format(why=why))
        return lines
