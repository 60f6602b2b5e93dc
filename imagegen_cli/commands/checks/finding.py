"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.text import encoded, literal


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` says what to do; `provider` is empty for what concerns this machine."""

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
    provider = f"{finding.provider}: " if finding.provider else ""
    advice = f"; {finding.advice}" if finding.advice else ""
    return literal(f"{finding.level:<4} {provider}{finding.check}: {finding.message}{advice}", encoding)


def as_json(finding: Finding, encoding: str) -> str:
    """JSON: v, level (ok, warn, no), provider (or null), check, said (the message), todo (the advice)."""
    words = {"check": finding.check, "said": finding.message, "todo": finding.advice}
    return encoded({"v": 1, "level": finding.level, "provider": finding.provider or None, **words}, encoding)
