"""Words that people type for tasks of the history: 12, 12/2, LAST, -1. As prompts they would be paid for."""

import re
import unicodedata

NAME = r"(?:[0-9]+|-[1-9][0-9]*|LAST)(?:/[0-9]+)?"
NAMES = rf"{NAME}(?:(?:\s*[,;]\s*|\s+|\.\.|-){NAME})*"
COMMANDS = (
    "again", "cancel", "edit", "favourite", "forget", "info", "open", "resume", "retry", "sheet", "show", "upscale",
)  # fmt: skip
"""Commands that take a task."""
ONLY_NAMES = re.compile(rf"\s*{NAMES}\s*", re.IGNORECASE)
COMMAND_LINE = re.compile(
    rf"\s*(?:(?:imagegen\s+)?({'|'.join(COMMANDS)})\s+{NAMES}|(edit)\s+{NAME}\s.*)\s*", re.IGNORECASE | re.DOTALL
)


def are_names(text: str) -> bool:
    """Whether the text is nothing but names of tasks."""
    return ONLY_NAMES.fullmatch(unicodedata.normalize("NFKC", text)) is not None


def is_command_line(text: str) -> bool:
    """Whether the text is a command about tasks, such as `again 1`, that is given as a prompt."""
    return COMMAND_LINE.fullmatch(unicodedata.normalize("NFKC", text)) is not None


def mean_tasks(text: str) -> bool:
    return are_names(text) or is_command_line(text)
