"""Finds pastes in terminals that do not mark them: keys that come faster than a person types."""

from collections.abc import Sequence
from itertools import groupby

from imagegen_cli.display.keys import Key, Paste, plain

MIN_BURST = 3
"""Text keys between two reads, 50 ms apart, that are too many to be typed."""
TYPED_KEY_S = 0.06
MAX_LATE_S = 0.6
"""A look that comes late finds more keys of a person: one more for each TYPED_KEY_S, within this time."""
MIN_TAIL_S = 0.1
KEY_TAIL_S = 0.05
MAX_TAIL_S = 1.0
"""What follows within this time belongs to the paste too: KEY_TAIL_S for each of its keys. Only ASCII counts, because
an input method sends a whole phrase at once, and the enter key after a phrase is meant."""
TYPED = {"enter": "\n", "tab": " "}


class PasteDetector:
    """`merged` is given the keys of one read and the moment in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._ends = ""

    def merged(self, keys: Sequence[Key], now: float, late_s: float = 0.0) -> list[Key]:
        """The same keys, with pastes in place of bursts. The last line ends of a paste wait until more of it comes.

        `late_s`: by how much this look is later than planned.
        """
        texts = [key for key in keys if is_text(key)]
        if now >= self._until:
            self._ends = ""
            if len(texts) < MIN_BURST + int(min(late_s, MAX_LATE_S) / TYPED_KEY_S):
                return list(keys)
        if texts:
            tail = KEY_TAIL_S * sum(isinstance(key, str) and key.isascii() for key in texts)
            self._until = max(self._until, now + min(MAX_TAIL_S, max(MIN_TAIL_S, tail)))
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
