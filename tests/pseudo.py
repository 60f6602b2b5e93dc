"""A language for tests: each text between ⟦ and ⟧, so that what is not translated shows.

python -m tests.pseudo run "a cat"      the program in that language
"""

import re
import string
import sys

from imagegen_cli.core import language

OPEN, CLOSE = "⟦⟧"
WORDS = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z]{2,}")
"""Two words of a sentence."""


class Bracketed:
    def gettext(self, message: str) -> str:
        """The text between brackets, with braces as in the source, whether they are filled afterwards or not."""
        return f"{OPEN}{message}{CLOSE}"

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return self.gettext(singular if number == 1 else plural)


def placeholders(text: str) -> list[str]:
    """The placeholders of a template, with conversion and form, in order of their names. Raises ValueError."""
    found = string.Formatter().parse(text)
    return sorted(f"{name}!{conversion}:{form}" for _, name, form, conversion in found if name is not None)


def untranslated(output: str) -> list[str]:
    """The lines of an output in which words stand outside of brackets."""
    previous = ""
    while output != previous:
        previous, output = output, re.sub(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", "", output)
    return [line for line in output.splitlines() if WORDS.search(line)]


if __name__ == "__main__":
    language.use(Bracketed())
    sys.argv[0] = "imagegen"
    from imagegen_cli.__main__ import main

    main()
