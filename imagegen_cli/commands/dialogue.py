"""Questions on the terminal, for `init`."""

import os
import sys
from collections.abc import Sequence

from imagegen_cli.commands.console import say
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.display.keys import drop_typed_ahead
from imagegen_cli.display.notices import notice

YES, NO = ("y", "yes", "是"), ("n", "no", "否")


def line_from(question: str, default: str = "", *, needed: bool = True) -> str:
    """Read a line from the terminal; with `needed`, ask until there is one. Raises UsageError where the input ends.

    What was typed before the question is no answer to it.
    """
    asked = Message("{question} [{default}]:") if default else Message("{question}:")
    while True:
        drop_typed_ahead(sys.stdin)
        lines = notice(asked.format(question=question, default=default), sys.stderr, os.environ)
        sys.stderr.write("\n".join(lines) + " ")
        sys.stderr.flush()
        try:
            answer = input().strip() or default
        except EOFError:
            raise UsageError(Message("the dialogue ended before its last question; nothing was written")) from None
        if answer or not needed:
            return answer


def choice(options: Sequence[tuple[str, str]], default: str) -> str:
    """One of these names with their titles, chosen by its number or its name."""
    rows = [(f"{number:>2}", name, translated(title)) for number, (name, title) in enumerate(options, 1)]
    if is_capable_terminal(sys.stderr, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        print_items([Item(row) for row in rows], stream=sys.stderr, environ=os.environ, styles=("dim", "bold", "plain"))
    else:
        for number, name, title in rows:
            say(f"  {number}  {name:<12} {title}")
    numbered = {str(number): name for number, (name, _) in enumerate(options, 1)}
    while True:
        answer = line_from(Message("Number or name"), default)
        chosen = numbered.get(answer, answer)
        if chosen in numbered.values():
            return chosen
        say(Message("{answer} is none of these").format(answer=answer))


def agreed(question: str, *, default: bool) -> bool:
    """Whether the answer is yes."""
    while True:
        answer = line_from(question, tr("yes") if default else tr("no")).lower()
        if answer in (*YES, *NO):
            return answer in YES
