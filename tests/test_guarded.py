"""A display that breaks: plain lines take over, one message says so, and the terminal is restored."""

import asyncio
import io
from dataclasses import replace
from types import TracebackType
from typing import Self

import pytest

from imagegen_cli.core.events import Event, RunFinished, RunStarted, TaskChanged, spare, tee
from imagegen_cli.core.task import (
    Done,
    ImageRequest,
    Job,
    Queued,
    RunId,
    Running,
    SavedImage,
    Saving,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.display.board import Board
from imagegen_cli.display.guarded import Guarded
from imagegen_cli.display.lines import JsonLines, PlainLines

WAYS = ("__enter__", "__exit__", "tell", "say", "run", "typed")


def task(number: int) -> Task:
    request = ImageRequest(prompt=f"cat {number}", provider="studio")
    return Task(id=TaskId(number), run=RunId(1), request=request, state=Queued(), folder="/", name="{index}")


def story(*tasks: Task) -> list[Event]:
    events: list[Event] = [RunStarted(0.0, RunId(1), tasks)]
    for one in tasks:
        saved = Saving((SavedImage(f"/{one.id}.png"),), Job("j"))
        states = (Submitting(), Running(Job("j")), saved, Done((f"/{one.id}.png",)))
        events += [TaskChanged(float(one.id), replace(one, state=state)) for state in states]
    return [*events, RunFinished(9.0, RunId(1))]


class Broken(PlainLines):
    """Raises an error where a test wants it, and counts the calls that still come after that."""

    def __init__(self, where: str, stderr: io.StringIO) -> None:
        super().__init__(Board(), stderr=stderr)
        self.where = where
        self.given_back = 0
        self.broke = 0

    def give_back(self) -> None:
        self.given_back += 1

    def fail(self, where: str) -> None:
        if where == self.where:
            self.broke += 1
            raise TypeError("a bug")

    def __enter__(self) -> Self:
        self.fail("__enter__")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.fail("__exit__")
        super().__exit__(kind, error, traceback)

    def tell(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self.fail("tell")
        super().tell(event)

    def say(self, message: str) -> None:
        self.fail("say")
        super().say(message)

    async def run(self) -> None:
        await asyncio.sleep(0)
        self.fail("run")
        await asyncio.sleep(3600)

    async def typed(self) -> None:
        self.fail("typed")
        if self.where == "tell":
            await asyncio.sleep(3600)  # a prompt is being typed, and its keys are never read again


async def shown(display: Guarded) -> None:
    with display:
        ticking = asyncio.ensure_future(display.run())
        typed = asyncio.ensure_future(display.typed())
        await asyncio.sleep(0.01)
        display.say("a notice")
        for event in story(task(1), task(2)):
            display.tell(event)
        await asyncio.wait_for(typed, 60)
        await asyncio.sleep(0.01)
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


@pytest.mark.parametrize("where", WAYS)
def test_plain_lines_go_on_wherever_it_breaks(where: str) -> None:
    stderr = io.StringIO()
    broken = Broken(where, stderr)
    asyncio.run(shown(Guarded(broken, stderr=stderr)))
    written = stderr.getvalue()
    assert written.count("the display broke (TypeError: a bug)") == 1
    assert (broken.broke, broken.given_back) == (1, 1)
    assert written.count("2 tasks: 2 done (2 pictures)") == 1
    assert "a notice" in written


def test_what_ended_before_is_in_the_last_words() -> None:
    stderr = io.StringIO()
    broken = Broken("", stderr)
    display = Guarded(broken, stderr=stderr)
    events = story(task(1), task(2))
    for event in events[:6]:
        display.tell(event)
    broken.where = "tell"
    for event in events[6:]:
        display.tell(event)
    display.__exit__(None, None, None)
    assert "2 done (2 pictures)" in stderr.getvalue()


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise ValueError("closed")


def test_where_plain_lines_break_as_well_nothing_is_shown_and_nothing_raised() -> None:
    asyncio.run(shown(Guarded(Broken("tell", Full()), stderr=Full())))


def test_json_is_not_mixed_with_paths() -> None:
    class Mixed(JsonLines):
        def tell(self, event: Event) -> None:
            raise TypeError("a bug")

    stderr = io.StringIO()
    display = Guarded(Mixed(Board(), stdout=io.StringIO(), stderr=stderr), stderr=stderr)
    display.tell(story(task(1))[0])
    assert display.prints_paths
    plain = Guarded(Broken("tell", stderr), stderr=stderr)
    assert not plain.prints_paths


def test_a_sink_that_can_be_spared_is_switched_off_and_said_once() -> None:
    seen: list[Event] = []
    written: list[Exception] = []

    def broken(event: Event) -> None:
        raise OSError("gone")

    tell = tee(seen.append, spare(broken, written.append), seen.append)
    for event in story(task(1)):
        tell(event)
    assert len(seen) == 2 * len(story(task(1)))
    assert [str(error) for error in written] == ["gone"]


def test_the_memory_is_never_switched_off() -> None:
    def forgets(event: Event) -> None:
        raise RuntimeError("no thread can be started")

    with pytest.raises(RuntimeError):
        tee(forgets)(story(task(1))[0])
