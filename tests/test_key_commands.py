"""The commands of keys: a session takes them from a queue, one after the other."""

import asyncio
import io

import pytest

from imagegen_cli.commands.key_queue import KeyQueue, refusals_as_outcomes
from imagegen_cli.commands.session import end
from imagegen_cli.core.errors import UsageError
from imagegen_cli.display import Board, PlainLines
from imagegen_cli.display.key_commands import Add, Command, Drain, Outcome, Pause, Stop, Typed

FIRST, LAST = Add(Typed("a cat")), Stop()


async def obeyed(error: Exception, stderr: io.StringIO) -> list[Command]:
    """The commands that are done where the first of them raises; `all_done` ends with the last, also then."""
    queue = KeyQueue()
    done: list[Command] = []

    def do(command: Command) -> None:
        if command is FIRST:
            raise error
        done.append(command)

    for command in (FIRST, Pause(True), Drain(), LAST):
        queue.send(command)
    helper = asyncio.ensure_future(queue.obey(do, PlainLines(Board(), stderr=stderr)))
    await asyncio.wait_for(queue.all_done(), 5)
    await end(helper)
    return done


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UsageError("no such model\nat all"), "not added: no such model; at all\n"),
        (TypeError("a bug"), "the command of a key failed (TypeError: a bug)"),
    ],
)
def test_a_command_that_fails_is_said_and_ends_nothing(error: Exception, expected: str) -> None:
    stderr = io.StringIO()
    assert asyncio.run(obeyed(error, stderr)) == [Pause(True), Drain(), LAST]
    assert stderr.getvalue().startswith(expected)


def test_what_came_too_late_for_any_run_is_named() -> None:
    queue = KeyQueue()
    for command in (Add(Typed("a cat")), Pause(True), Add(Typed("a dog\n\na fox", listed=True))):
        queue.send(command)
    assert [*queue.not_added()] == ["a cat", "a dog", "a fox"]
    assert [*queue.not_added()] == []


def test_all_is_done_only_once_the_last_command_is() -> None:
    async def waited() -> tuple[bool, bool]:
        queue = KeyQueue()
        queue.send(FIRST)
        waiting = asyncio.ensure_future(queue.all_done())
        await asyncio.sleep(0)
        before = waiting.done()
        helper = asyncio.ensure_future(queue.obey(lambda _: None, PlainLines(Board(), stderr=io.StringIO())))
        await asyncio.wait_for(waiting, 5)
        await end(helper)
        return before, waiting.done()

    assert asyncio.run(waited()) == (False, True)


def test_a_refusal_is_an_outcome_on_one_line() -> None:
    def refuse(_typed: Typed) -> Outcome:
        raise UsageError("no such model\nat all")

    outcome = refusals_as_outcomes(refuse)(Typed("a cat"))
    assert (outcome.good, outcome.words) == (False, ("cannot be added: no such model; at all",))
