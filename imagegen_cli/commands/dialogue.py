"""Questions on the terminal, for `init`."""

import os
import sys
from collections.abc import Sequence

from imagegen_cli.commands.console import say
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.display.keys import drop_typed_ahead
from imagegen_cli.display.notices import notice


def line_from(question: str, default: str = "", *, needed: bool = True) -> str:
    """Read a line from the terminal; with `needed`, ask until there is one. Raises UsageError where the input ends.

    What was typed before the question is no answer to it.
    """
    while True:
        drop_typed_ahead(sys.stdin)
        lines = notice(f"{question}{f' [{default}]' if default else ''}:", sys.stderr, os.environ)
        sys.stderr.write("\n".join(lines) + " ")
        sys.stderr.flush()
        try:
            answer = input().strip() or default
        except EOFError:
            raise UsageError("the dialogue ended before its last question; nothing was written") from None
        if answer or not needed:
            return answer


def choice(options: Sequence[tuple[str, str]], default: str) -> str:
    """One of these names with their titles, chosen by its number or its name."""
    rows = [(f"{number:>2}", name, title) for number, (name, title) in enumerate(options, 1)]
    if is_capable_terminal(sys.stderr, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        print_items([Item(row) for row in rows], stream=sys.stderr, environ=os.environ, styles=("dim", "bold", "plain"))
    else:
        for number, name, title in rows:
            say(f"  {number}  {name:<12} {title}")
    numbered = {str(number): name for number, (name, _) in enumerate(options, 1)}
    while True:
        answer = line_from("Number or name", default)
        chosen = numbered.get(answer, answer)
        if chosen in numbered.values():
            return chosen
        say(f"{answer} is none of these")


def agreed(question: str, *, default: bool) -> bool:
    """Whether the answer is yes."""
    while True:
        answer = line_from(question, "yes" if default else "no").lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")
