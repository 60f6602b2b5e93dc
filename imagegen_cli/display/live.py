"""The board on a terminal, redrawn while a run lasts.

No thread draws: `run` ticks inside the caller's loop, and a tick draws only when something changed or a clock moved.
What has ended is printed once, above the live area, and stays in the scrollback, with its paths. Where stdout is the
same terminal they must not come a second time: hence `prints_paths`. While the terminal takes nothing, no frame is
drawn, and what is to stay waits: the next frame shows the newest.
"""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from imagegen_cli.core.events import Event, ProviderPaused, TaskChanged
from imagegen_cli.core.language import Message
from imagegen_cli.core.output import await_written, is_behind
from imagegen_cli.core.task import ENDED, Cancelled, Failed, Task
from imagegen_cli.display import messages
from imagegen_cli.display.board import Board, Row
from imagegen_cli.display.controls import TYPING, Controls, Copy, Mode, Ui, lines_of
from imagegen_cli.display.key_commands import Keys
from imagegen_cli.display.keys import Key, in_foreground, keyboard
from imagegen_cli.display.paste_detector import PasteDetector
from imagegen_cli.display.preview import half_blocks, small
from imagegen_cli.display.progress import share_done
from imagegen_cli.display.prompt_line import LineControls

if TYPE_CHECKING:
    from imagegen_cli.display.terminal import Terminal
    from imagegen_cli.display.theme import Line

TICK_S = 0.05
MIN_FRAME_GAP_S = 0.12
MOTION_S = 0.25
MAX_TYPING_ON_S = 5.0
"""Seconds that a person may go on typing after the end, at most; the terminal is given back then."""
GIVE_BACK_S = 0.5
"""So long may a terminal take to be given back before Ctrl-Z and SIGQUIT take effect."""
NOT_ROWS = 8
"""Lines of a screen that are no rows of the table, about."""
MIN_COLLAPSED = 3
"""So many equal endings that are printed together take one line."""
COLLAPSE_S = 0.4
"""Equal endings that follow each other within this time are told together: another process' come in pieces."""
MAX_WHOLE_ENDINGS = 10
"""In a run of more tasks, each ended task takes only one line."""


@dataclass(frozen=True, slots=True)
class Ended:
    task: Task
    elapsed: float | None


def likeness(entry: Ended | str) -> object:
    """What equal endings without pictures have in common; everything else is like nothing but itself."""
    if isinstance(entry, str):
        return entry
    match entry.task.state:
        case Cancelled(stop=stop) if not entry.task.files:
            return stop
        case Failed(reason=reason, message=message) if not entry.task.files:
            return reason, message
        case _:
            return entry.task.id


class Live:
    """Without `summary` none is printed. `on_wake` is told how many seconds Ctrl-Z stopped the program.

    What ended before `since` is counted and not printed. `pictures`: those on the disk may be shown in small.
    `clock` gives the moments of what is shown, which may be long ago; `key_clock` those of the keys.
    """

    def __init__(
        self,
        board: Board,
        *,
        stderr: TextIO,
        environ: Mapping[str, str],
        stdin: TextIO | None = None,
        prints_paths: bool = False,
        summary: bool = True,
        clock: Callable[[], float] = time.time,
        key_clock: Callable[[], float] = time.monotonic,
        on_wake: Callable[[float], None] | None = None,
        keys: Keys | None = None,
        since: float = -math.inf,
        pictures: bool = False,
    ) -> None:
        self.board = board
        self.prints_paths = prints_paths
        self.ui = Ui()
        self._stderr = stderr
        self._environ = environ
        self._keyboard = keyboard(stdin, stderr, owns=keys is not None and keys.line is not None)
        self._controls: Controls | None = None
        if keys is not None and self._keyboard is not None:
            self._controls = controls_of(board, keys, self.ui, self._copied)
        self.ui.keys = self._controls is not None
        self._paste_detector = PasteDetector()
        self._summary = summary
        self._since = since
        self._pictures = pictures
        self._pictured: Row | None = None
        self._clock = clock
        self._key_clock = key_clock
        self._on_wake = on_wake
        self._opened_terminal: Terminal | None = None
        self._lasting: list[Ended | str] = []
        self._lasting_at = -math.inf
        self._changed = False
        self._moving = False
        self._drawn = -1.0
        self._late_s = 0.0
        self._is_stalled = False
        self._size = os.terminal_size((0, 0))

    @property
    def takes_keys(self) -> bool:
        return self._controls is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._outwait_typing()
            self._leave()
            self._tell_unsent()
            if self._lasting or self.board.rows:
                self._terminal.print([*self._lasting_lines(self._lasting), *self._last_lines()])

    def tell(self, event: Event) -> None:
        self.board.tell(event)
        self._changed = True
        if event.at < self._since:
            return
        if isinstance(event, TaskChanged) and isinstance(event.task.state, ENDED):
            elapsed = self.board.rows[event.task.id].elapsed(event.at)
            self._lasting.append(Ended(event.task, elapsed))
            self._lasting_at = self._key_clock()
        elif isinstance(event, ProviderPaused):
            self.say(messages.paused(event.provider, event.because))

    def say(self, message: str) -> None:
        self._lasting.append(message)
        self._changed = True

    async def run(self) -> None:
        with self._signals():
            while True:
                began = time.monotonic()
                self.tick()
                await asyncio.sleep(TICK_S)
                self._late_s = time.monotonic() - began - TICK_S

    async def typed(self) -> None:
        while self._is_typed():  # noqa: ASYNC110 - as often as keys
            await asyncio.sleep(TICK_S)

    def _is_typed(self) -> bool:
        if self.board.stopping:
            return False
        if self.ui.line is not None:
            return not self.ui.draining
        return self.ui.focus and self.ui.mode in TYPING

    def interrupt(self) -> bool:
        return isinstance(self._controls, LineControls) and self._controls.interrupt() and self._redrawn()

    def _redrawn(self) -> bool:
        self._changed = True
        return True

    def tick(self) -> None:
        """Read keys, then draw if a frame is due and the terminal has taken the one before.

        A terminal that was closed must not end paid work.
        """
        with contextlib.suppress(OSError):
            if not self._in_front():
                return
            self._listen()
            now = self._clock()
            if self._due(now):
                self._is_stalled = is_behind(self._stderr)
                if not self._is_stalled:
                    self.draw(now)

    def draw(self, now: float) -> None:
        from imagegen_cli.display.view import (  # noqa: PLC0415 - Rich is imported when something is drawn
            draw,
            unpainted,
        )

        terminal = self._terminal
        self._size = terminal.size
        self._changed = False
        width, height = self._size
        self.ui.page = max(1, height - NOT_ROWS)
        paint = half_blocks if terminal.colours else unpainted
        frame = draw(self.board, now, width=width, height=height, theme=terminal.theme, ui=self.ui, paint=paint)
        title = f"imagegen {self.board.ended}/{len(self.board.rows)}"
        share = share_done(self.board, now) if terminal.tells_progress else None  # it looks at every running task
        terminal.show(frame, self._lasting_lines(self._taken()), title, share)
        self._moving = frame.moving
        self._drawn = now

    @property
    def _terminal(self) -> "Terminal":
        if self._opened_terminal is None:
            from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - Rich is imported when something is drawn

            self._opened_terminal = Terminal(self._stderr, self._environ)
        return self._opened_terminal

    def _due(self, now: float) -> bool:
        since = abs(now - self._drawn)
        if self._opened_terminal is None:
            return self._changed
        if self._changed or self._terminal.size != self._size:
            return since >= MIN_FRAME_GAP_S
        return self._moving and since >= MOTION_S

    def _taken(self) -> list[Ended | str]:
        """What is printed now. Equal endings that still come are kept for a moment, so that one line tells them all."""
        last = [list(group) for _, group in groupby(self._lasting, key=likeness)][-1:]
        kept = last[0] if last and len(last[0]) >= MIN_COLLAPSED else []
        if self._key_clock() - self._lasting_at >= COLLAPSE_S:
            kept = []
        taken, self._lasting = self._lasting[: len(self._lasting) - len(kept)], kept
        self._changed = bool(kept)
        return taken

    def _lasting_lines(self, lasting: Sequence[Ended | str]) -> "list[Line]":
        from imagegen_cli.display.details import collapsed_lines, ended_lines, notice_lines  # noqa: PLC0415 - see draw

        theme, width = self._terminal.theme, self._terminal.size.columns
        many = self.board.running + self.board.waiting if self.ui.line is not None else len(self.board.rows)
        brief, is_known = many > MAX_WHOLE_ENDINGS, not self.board.is_set_back()
        lines: list[Line] = []
        for _, group in groupby(lasting, key=likeness):
            entries = list(group)
            tasks = [entry.task for entry in entries if isinstance(entry, Ended)]
            if len(tasks) >= MIN_COLLAPSED:
                lines += collapsed_lines(tasks, width, theme)
                continue
            for entry in entries:
                if isinstance(entry, str):
                    lines += notice_lines(entry, width, theme)
                else:
                    lines += ended_lines(entry.task, entry.elapsed, width, theme, brief=brief, is_known=is_known)
        return lines

    def _last_lines(self) -> "list[Line]":
        from imagegen_cli.display.details import folder_lines, last_lines  # noqa: PLC0415 - see draw
        from imagegen_cli.display.end_report import Tone, summary  # noqa: PLC0415 - see draw

        if not self._summary:
            return []
        theme, board, width = self._terminal.theme, self.board, self._terminal.size.columns
        summary_lines = summary(board, self._clock(), theme.times)
        if len(board.rows) == board.ended == 1:  # its own lines say already that it can be fetched
            summary_lines = [one for one in summary_lines if one[0] is not Tone.OFFER]
        folders = folder_lines(board, theme) if len(board.rows) > MAX_WHOLE_ENDINGS else []
        return [*last_lines(summary_lines, width, theme), *folders]

    def _in_front(self) -> bool:
        try:
            return in_foreground(self._stderr.fileno())
        except (OSError, ValueError):
            return True

    def _listen(self) -> None:
        if self._keyboard is None or self._controls is None:
            return
        if self.ui.line is not None and self._opened_terminal is None:
            return  # what is typed before the line can be seen is dropped
        now = self._key_clock()
        if self._keyboard.enter():
            self._controls.miss(now)
        for key in self._paste_detector.merged(self._keyboard.read(), now, self._late_s):
            if self._is_stalled and self.ui.mode is Mode.ASK:
                continue  # the question cannot be seen: no key answers it
            self._press(key, now, self._controls)
            self._changed = True
        self._changed |= self._controls.settle(now)
        self._picture_details()

    def _press(self, key: Key, now: float, controls: Controls) -> None:
        """Ctrl-C that is not used up by a prompt line does what the signal does."""
        if key != "interrupt":
            controls.press(key, now)
        elif not (isinstance(controls, LineControls) and controls.interrupted(now)):
            signal.raise_signal(signal.SIGINT)

    def _copied(self, text: str) -> str:
        from imagegen_cli.display.clipboard import copied  # noqa: PLC0415 - few press this key

        return copied(text, self._stderr, self._environ)

    def _picture_details(self) -> None:
        """Load the first picture of an ended task whose details are open, and drop that of the one before."""
        row = self.board.rows.get(self.ui.chosen) if self.ui.chosen is not None else None
        if row is self._pictured or self.ui.mode is not Mode.DETAILS:
            return
        if self._pictured is not None and self._pictured.ended is not None:
            self._pictured.preview = None
        self._pictured = row
        if row is not None and row.task.files and self._pictures:
            self._load(row, row.task.files[0])

    def _load(self, row: Row, path: str) -> None:
        """In a thread: a large picture takes a moment, and the run must not wait."""

        def loaded(picture: "asyncio.Future[bytes]") -> None:
            if self._pictured is row and not picture.cancelled():
                row.preview = picture.result() or None
                self._changed = True

        asyncio.get_running_loop().run_in_executor(None, small, path).add_done_callback(loaded)

    def _tell_unsent(self) -> None:
        """Print the prompts that were typed and not added, so that they are not lost."""
        for prompt in lines_of(self.ui.unsent or self.ui.text):
            self.say(Message("not added: {prompt}").format(prompt=prompt))

    def _outwait_typing(self) -> None:
        """Take what is still typed for a prompt line whose run has ended: the shell would run it as a command."""
        if self._keyboard is None or not isinstance(self._controls, LineControls):
            return
        end = time.monotonic() + MAX_TYPING_ON_S
        while self._controls.is_typed_on(self._key_clock()) and time.monotonic() < end:
            time.sleep(TICK_S)
            for key in self._keyboard.read():
                self._controls.press(key, self._key_clock())

    def give_back(self) -> None:
        with contextlib.suppress(OSError):
            self._leave()

    def _leave(self) -> None:
        try:
            if self._keyboard is not None:
                self._keyboard.leave()
        finally:
            if self._opened_terminal is not None:
                self._opened_terminal.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Give the terminal back before Ctrl-Z and SIGQUIT take effect. Only POSIX has them."""
        loop = asyncio.get_running_loop()
        taken: list[signal.Signals] = []
        with contextlib.suppress(NotImplementedError, AttributeError, RuntimeError, ValueError):
            for number in (signal.SIGTSTP, signal.SIGQUIT):
                loop.add_signal_handler(number, self._give_way, number)
                taken.append(number)
            loop.add_signal_handler(signal.SIGCONT, self._come_back)
            taken.append(signal.SIGCONT)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _give_way(self, number: signal.Signals) -> None:
        """Raise the signal again with its default action: the kernel knows where stopping would be for ever."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            self._leave()
            await_written(self._stderr, GIVE_BACK_S)
        loop.remove_signal_handler(number)
        began = time.monotonic()
        signal.raise_signal(number)
        loop.add_signal_handler(number, self._give_way, number)
        if self._on_wake is not None:
            self._on_wake(time.monotonic() - began)
        self._changed = True

    def _come_back(self) -> None:
        """Set the terminal up again: another program may have changed it while this one was stopped."""
        with contextlib.suppress(OSError):
            self._leave()
        if self._controls is not None:
            self._controls.leave()
        self._changed = True


def controls_of(board: Board, keys: Keys, ui: Ui, copy: Copy) -> Controls:
    return Controls(board, keys, ui, copy) if keys.line is None else LineControls(board, keys, keys.line, ui, copy)
