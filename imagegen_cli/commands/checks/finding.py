"""What a check found."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.text import Printer, encoded, is_capable_terminal, literal


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    NO = "no"
    UNASKED = "--"
    """What a service cannot be asked, or was not: that is no fault."""


MEANINGS = {
    "ok": Message("works"),
    "warn": Message("look at it"),
    "no": Message("cannot work"),
    "--": Message("cannot be asked"),
}
"""The legend on a terminal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` says what to do; `provider` is empty for what concerns this machine.

    The words are English, as JSON has them; what shows them to people translates them.
    """

    level: Level
    check: str
    message: str
    advice: str = ""
    provider: str = ""

    @classmethod
    def of_error(cls, check: str, error: ImagegenError) -> "Finding":
        """What an error makes impossible."""
        return cls(Level.NO, check, error.message, error.hint)


def as_line(finding: Finding, encoding: str) -> str:
    """One line for a person."""
    about = Message("{check}: {message}")
    said = about.format(check=finding.check, message=finding.message)
    if finding.provider:
        said = about.format(check=finding.provider, message=said)
    if finding.advice:
        said = Message("{message}; {more}").format(message=said, more=finding.advice)
    return literal(f"{finding.level:<4} {translated(said)}", encoding)


def as_json(finding: Finding, encoding: str) -> str:
    """JSON: v, level (ok, warn, no, --), provider (or null), check, said (the message), todo (the advice)."""
    words = {"check": finding.check, "said": finding.message, "todo": finding.advice}
    return encoded({"v": 1, "level": finding.level, "provider": finding.provider or None, **words}, encoding)


class Report:
    """Prints findings as they come: on a terminal in groups, with signs and a legend; elsewhere one line for each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = Printer(stream)
        self._is_drawn = is_capable_terminal(stream, os.environ)
        self._group: str | None = None
        self._levels: set[str] = set()

    def add(self, finding: Finding) -> None:
        if self._is_drawn:
            self._draw(finding)
        else:
            self._lines.line(as_line(finding, self._lines.encoding))

    def _draw(self, finding: Finding) -> None:
        from imagegen_cli.display.tables import Check, check_lines, heading  # noqa: PLC0415 - Rich only where it draws
        from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - see above

        terminal = Terminal(self._stream, os.environ)
        width, theme = terminal.size.columns - 1, terminal.theme
        if finding.provider != self._group:
            name = finding.provider or tr("this machine")
            terminal.print(heading(name, width, theme, is_first=self._group is None))
            self._group = finding.provider
        self._levels.add(finding.level)
        check = Check(finding.level, *map(translated, (finding.check, finding.message, finding.advice)))
        terminal.print(check_lines(check, width, theme))

    def close(self) -> None:
        """Draw the legend."""
        if not self._is_drawn:
            return
        from imagegen_cli.display.tables import legend_lines  # noqa: PLC0415 - see above
        from imagegen_cli.display.terminal import Terminal  # noqa: PLC0415 - see above

        terminal = Terminal(self._stream, os.environ)
        legend = {name: translated(meaning) for name, meaning in MEANINGS.items()}
        terminal.print(legend_lines(self._levels, legend, terminal.size.columns - 1, terminal.theme))
