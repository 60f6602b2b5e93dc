"""What keys set in motion: commands that a session takes from a queue, one after the other."""

import asyncio
import io

import pytest

from imagegen_cli.commands.session import end, obey
from imagegen_cli.core.errors import UsageError
from imagegen_cli.display import Board, PlainLines
from imagegen_cli.display.key_commands import Add, Command, Drain, Pause, Stop, Typed

FIRST, LAST = Add(Typed("a cat")), Stop()


async def obeyed(error: Exception, stderr: io.StringIO) -> list[Command]:
    """The commands that are done where the first of them raises; `join` ends with the last, also then."""
    commands: asyncio.Queue[Command] = asyncio.Queue()
    done: list[Command] = []

    def do(command: Command) -> None:
        if command is FIRST:
            raise error
        done.append(command)

    for command in (FIRST, Pause(True), Drain(), LAST):
        commands.put_nowait(command)
    helper = asyncio.ensure_future(obey(commands, do, PlainLines(Board(), stderr=stderr)))
    await asyncio.wait_for(commands.join(), 5)
    await end(helper)
    return done


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageError("no such model\nat all"), "not added: no such model; at all\n"),
        (TypeError("a bug"), "the command of a key failed (TypeError: a bug)"),
    ],
)
def test_a_command_that_fails_is_said_and_ends_nothing(error: Exception, said: str) -> None:
    stderr = io.StringIO()
    assert asyncio.run(obeyed(error, stderr)) == [Pause(True), Drain(), LAST]
    assert stderr.getvalue().startswith(said)
