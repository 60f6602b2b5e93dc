"""Finds the word that a person meant: one that slips of the fingers turn into what was typed, and no other."""

from collections.abc import Iterable

MIN_PREFIX = 3
"""Characters of a word that is taken for the beginning of another."""


def alike(typed: str, known: Iterable[str]) -> str:
    """The nearest of `known` that is alike, or an empty text.

    Alike is what differs in its case, what begins so, or what a slip in about every fourth character makes: a
    character that is missing, too many, another one, or exchanged with its neighbour.
    """
    word = typed.casefold()
    found = [(_distance(word, one), one) for one in sorted(known)]
    near = [(distance, one) for distance, one in found if distance <= _allowed(word, one.casefold())]
    if near:
        return min(near)[1]
    begun = [one for _, one in found if len(word) >= MIN_PREFIX and one.casefold().startswith(word)]
    return begun[0] if len(begun) == 1 else ""


def _allowed(word: str, other: str) -> int:
    """The slips that a word of this length may have: one in short words, and none where all would be other."""
    shorter = min(len(word), len(other))
    return 0 if shorter <= 1 else max(1, shorter // 4 + (shorter > 5))  # noqa: PLR2004 - six characters may have two


def _distance(word: str, known: str) -> int:
    """How many slips are between two words; what is certainly too far is counted as their longer length."""
    other = known.casefold()
    if abs(len(word) - len(other)) > _allowed(word, other):
        return max(len(word), len(other)) + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for at in range(1, len(word) + 1):
        before, last = last, _next_row(word[max(at - 2, 0) : at], other, at, last, before)
    return last[-1]


def _next_row(signs: str, other: str, at: int, last: list[int], before: list[int]) -> list[int]:
    """The slips between the first `at` signs of a word and each beginning of the other; `signs`: its last two."""
    row = [at]
    for to, wanted in enumerate(other, 1):
        cost = min(last[to] + 1, row[to - 1] + 1, last[to - 1] + (signs[-1] != wanted))
        if to > 1 and signs == wanted + other[to - 2]:
            cost = min(cost, before[to - 2] + 1)
        row.append(cost)
    return row
