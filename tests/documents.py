"""Reads the fenced blocks of a document, so that what people paste is what is run. It needs nothing but Python.

A comment before a block says what a test cannot know:

    <!-- not run: REASON -->            it is not run
    <!-- run by .ci/run -->             it is run there, because it installs
    <!-- run: exit 4 -->                its exit code
    <!-- run: in a terminal -->         it needs a terminal
    <!-- run: in a terminal, keys ^D -->    and ends by these keys
    <!-- file: NAME -->                 it is a file of this name, not a command

`python -m tests.documents FILE` prints the commands of a document as one script, with those that .ci/run runs.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCED = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMANDS = {"sh"}
INSTALLS = "run by .ci/run"
IN_TERMINAL = "run: in a terminal"


@dataclass(frozen=True, slots=True)
class Block:
    file: str
    line: int
    """The line of its first command, from 1."""
    language: str
    note: str
    text: str

    @property
    def is_commands(self) -> bool:
        return self.language in COMMANDS and not self.file_name

    @property
    def file_name(self) -> str:
        return self._noted("file: ")

    @property
    def why_not(self) -> str:
        """The reason why it is not run; empty where it is."""
        return self._noted("not run: ")

    @property
    def exit_code(self) -> int:
        return int(self._noted("run: exit ") or 0)

    @property
    def in_terminal(self) -> bool:
        return self.note.startswith(IN_TERMINAL)

    @property
    def keys(self) -> str:
        """What ends it in a terminal: ^D is Ctrl-D."""
        return re.sub(r"\^(.)", lambda key: chr(ord(key[1]) & 31), self._noted(f"{IN_TERMINAL}, keys "))

    def _noted(self, start: str) -> str:
        return self.note.removeprefix(start) if self.note.startswith(start) else ""


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(path.name, text.count("\n", 0, one.start("text")) + 1, one["language"], one["note"] or "", one["text"])
        for one in FENCED.finditer(text)
    ]


def script(path: Path) -> str:
    """The commands of a document that need no service and no terminal, for `sh`. It says each line before it is run."""
    chosen = [one for one in blocks(path) if one.is_commands and not one.why_not and not one.in_terminal]
    return "set -ex\n" + "".join(_checked(one) for one in chosen)


def _checked(block: Block) -> str:
    if not block.exit_code:
        return block.text
    return f"code=0; {{\n{block.text}}} || code=$?; test $code = {block.exit_code}\n"


if __name__ == "__main__":
    print(script(Path(sys.argv[1])))  # noqa: T201 - the script is its output
