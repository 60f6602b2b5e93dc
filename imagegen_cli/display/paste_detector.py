"""What comes faster than a person types is a paste, also where a terminal marks none."""

from collections.abc import Sequence
from itertools import groupby

from imagegen_cli.display.keys import Key, Paste, plain

MANY = 3
"""Text keys between two looks, 50 ms apart: more than anybody types."""
SHORTEST_TAIL_S = 0.1
TAIL_S = 0.05
LONGEST_TAIL_S = 1.0
"""What follows belongs to the burst as well: for TAIL_S a key of it. Only ASCII counts, because an input method gives
whole phrases at once, and the enter key after one is meant."""
TYPED = {"enter": "\n", "tab": " "}


class PasteDetector:
    """`joined` is given what one look at the keyboard has found, and the moment in seconds."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._ends = ""

    def merged(self, keys: Sequence[Key], now: float) -> list[Key]:
        """The same keys, those of a burst as pastes. Its last line ends are kept until more of it comes."""
        texts = [key for key in keys if is_text(key)]
        if now >= self._until:
            self._ends = ""
            if len(texts) < MANY:
                return list(keys)
        if texts:
            tail = TAIL_S * sum(isinstance(key, str) and key.isascii() for key in texts)
            self._until = max(self._until, now + min(LONGEST_TAIL_S, max(SHORTEST_TAIL_S, tail)))
        found: list[Key] = []
        for text, run in groupby(keys, key=is_text):
            together = list(run)
            found += self._pasted(together) if text else together
        return found

    def _pasted(self, run: Sequence[Key]) -> list[Key]:
        signs = [TYPED.get(key, key) for key in run if isinstance(key, str)]
        text = self._ends + plain("".join(signs))
        whole = text.rstrip("\n")
        self._ends = text[len(whole) :]
        phrase = "\n" not in text and not any(sign.isascii() for sign in signs)
        return [Paste(whole, phrase=phrase)] if whole else []


def is_text(key: Key) -> bool:
    return isinstance(key, str) and (len(key) == 1 or key in TYPED)
