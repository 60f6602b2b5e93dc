"""Prompts found by their words: an FTS5 index of words and, where no blanks part them, of pairs of signs.

A run of Chinese, Japanese or Korean signs is indexed as its overlapping pairs and its last sign alone. So a search
for two signs or more is a phrase of pairs, one for a single sign is a prefix, and both find what LIKE finds. Words of
other scripts are found by their beginning, and where no word begins so, LIKE finds them; `prompt_term` has all of them
once, so that it tells without reading the prompts whether any has the wanted one inside.

The index is brought up to date by a search. A task that is entered is only noted in `unsearched`: sending paid work
depends on no index, nor on an SQLite that has FTS5. Without it LIKE finds all. The index has no copy of the prompts
(`content=''`): to delete a row, its words are made anew, so what `indexed` makes of a prompt may only change together
with a new index. All functions work inside of a caller's transaction.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

PAIRED = (
    (0x4E00, 0x9FCC), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3105, 0x312D), (0x31F0, 0x31FF), (0x3400, 0x4DB5),
    (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0x20000, 0x2B81D),
)  # fmt: skip
"""Code points of signs that are written without blanks between words, as far as `unicode61` knows them as letters."""
MATCHED = "prompt_words CROSS JOIN task ON task.id = prompt_words.rowid"
"""Where rows come from that match an expression: newest first without sorting, as many as are wanted."""

Run = tuple[bool, str]
"""Signs of one kind in a row: whether they are paired, and their text."""


def note(db: "Connection", task: int) -> None:
    """Note a new task: the next search indexes it."""
    db.execute("INSERT OR IGNORE INTO unsearched (task) VALUES (?)", (task,))


def is_ready(db: "Connection") -> bool:
    """Whether every task is in the index, and this SQLite can read it."""
    try:
        db.execute("SELECT rowid FROM prompt_words LIMIT 0")
    except sqlite3.OperationalError:  # there is no such table yet, or no such module
        return False
    return db.execute("SELECT 1 FROM unsearched LIMIT 1").fetchone() is None


def index(db: "Connection", limit: int) -> bool:
    """Index at most so many tasks. Returns whether some are left. Raises sqlite3.OperationalError without FTS5."""
    db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS prompt_words USING fts5(words, content='')")
    rows = db.execute(
        "SELECT unsearched.task, prompt FROM unsearched LEFT JOIN task ON id = unsearched.task ORDER BY 1 LIMIT ?",
        (limit,),
    ).fetchall()
    prompts = [(row[0], row[1]) for row in rows if row[1] is not None]
    db.executemany(
        "INSERT INTO prompt_words (rowid, words) VALUES (?, ?)", ((id_, indexed(prompt)) for id_, prompt in prompts)
    )
    terms = {term for _, prompt in prompts for term in _terms(prompt)}
    db.executemany("INSERT OR IGNORE INTO prompt_term (term) VALUES (?)", ((term,) for term in terms))
    db.execute("DELETE FROM unsearched WHERE task <= ?", (rows[-1][0] if rows else 0,))
    return len(rows) == limit


def remove(db: "Connection", prompts: Mapping[int, str]) -> None:
    """Take tasks out of the index, which has all tasks, and words that no other prompt has."""
    db.executemany(
        "INSERT INTO prompt_words (prompt_words, rowid, words) VALUES ('delete', ?, ?)",
        ((task, indexed(prompt)) for task, prompt in prompts.items()),
    )
    gone = {term for prompt in prompts.values() for term in _terms(prompt) if not has_any(db, f'"{term}"')}
    db.executemany("DELETE FROM prompt_term WHERE term = ?", ((term,) for term in gone))
    db.execute("INSERT INTO prompt_words (prompt_words) VALUES ('optimize')")  # no removed word is left in it


def indexed(prompt: str) -> str:
    """The words of a prompt as they are indexed, parted by blanks."""
    text = folded(prompt)
    if text.isascii():
        return text
    return " ".join(f"{' '.join(_pairs(run))} {run[-1]}" if paired else run for paired, run in runs(text))


def expression(search: str) -> str:
    """What to MATCH: each word of `search`, in any order. Empty where it has none, as a search for "!" or an emoji."""
    return " ".join(filter(None, map(_phrase, folded(search).split())))


def has_any(db: "Connection", matched: str) -> bool:
    """Whether any task matches this expression."""
    return (
        db.execute("SELECT 1 FROM prompt_words WHERE prompt_words MATCH ? LIMIT 1", (matched,)).fetchone() is not None
    )


def may_be_inside(db: "Connection", search: str) -> bool:
    """Whether LIKE may find what no word begins with: "ox" in "fox". Of paired signs the index finds all."""
    inside = "SELECT 1 FROM prompt_term WHERE instr(term, ?) LIMIT 1"
    terms = _terms(search)
    return bool(terms) and all(db.execute(inside, (term,)).fetchone() for term in terms)


def patterns(search: str) -> list[str]:
    """Patterns for LIKE with "!" as the escape, one for each word of `search`."""
    return [_pattern(word) for word in search.split() or [search]]


def exact(search: str) -> list[str]:
    """Patterns for the words that are not one run, as "100%" and "x猫": what is between runs is not in the index."""
    return [_pattern(word) for word in search.split() if len(list(runs(word))) > 1 or not word.isalnum()]


def _pattern(word: str) -> str:
    word = word.encode("utf-8", "replace").decode()
    return f"%{word.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"


def _phrase(word: str) -> str:
    words, is_whole = phrase(word)
    return "" if not words else f'"{" ".join(words)}"' + ("" if is_whole else " *")


def phrase(word: str) -> tuple[list[str], bool]:
    """A word of a search as a phrase of indexed words, and whether the last of them must not be longer."""
    found: list[str] = []
    paired, last = False, ""
    for paired, last in runs(word):
        found += [*_pairs(last), last[-1]] if paired else [last]
    if paired and len(last) > 1:
        return found[:-1], True
    return found, False


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def folded(text: str) -> str:
    """The text without differences of case and width, and without halves of surrogates, which SQLite cannot hold."""
    if text.isascii():
        return text.lower()
    from unicodedata import normalize  # noqa: PLC0415 - most prompts in English need no table

    return normalize("NFKC", text.encode("utf-8", "replace").decode()).lower()


def _terms(text: str) -> set[str]:
    """The words that are not paired."""
    return {run for paired, run in runs(folded(text)) if not paired}


def runs(text: str) -> Iterator[Run]:
    """The letters and digits of a text, in runs of one kind."""
    kind, begin = None, 0
    for at, sign in enumerate([*text, ""]):
        now = _is_paired(sign) if sign.isalnum() else None
        if now is not kind:
            if kind is not None:
                yield kind, text[begin:at]
            kind, begin = now, at


def _is_paired(sign: str) -> bool:
    point = ord(sign)
    return point > PAIRED[1][0] - 1 and any(first <= point <= last for first, last in PAIRED)
