"""Finds sentences in the code that no translation can reach, because they are not in `tr`, `Message` or `ngettext`.

    python -m tests.unmarked commands display      what stands in these folders, one a line

What is never shown, or is the same in all languages, is listed in tests/data/untranslated/FOLDER.txt, one literal a
line.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import imagegen_cli

ROOT = Path(imagegen_cli.__file__).parent
LISTS = Path(__file__).parent / "data" / "untranslated"
MARKS = ("tr", "Message", "ngettext")
WORDS = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z]{2,}")
"""Two words of a sentence."""


class Literal(NamedTuple):
    place: str
    text: str


def rooms() -> list[str]:
    """All but `sketch`, which knows no language: its texts are drawings, and the words of prompts."""
    found = [path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return sorted(room for room in found if room != "sketch")


def unmarked(room: str) -> list[Literal]:
    """The sentences of a folder, or of a module beside the folders, that are neither marked nor listed."""
    listed = LISTS / f"{room}.txt"
    known = set(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else set()
    return [found for found in sentences(room) if found.text not in known]


def stale(room: str) -> set[str]:
    """The lines of a room's list that stand nowhere in its code."""
    listed = LISTS / f"{room}.txt"
    known = set(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else set()
    return known - {found.text for found in sentences(room)}


def sentences(room: str) -> Iterator[Literal]:
    paths = sorted((ROOT / room).rglob("*.py")) if (ROOT / room).is_dir() else [ROOT / f"{room}.py"]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        hidden = set(_not_shown(tree))
        for node in ast.walk(tree):
            text = _text(node)
            if id(node) not in hidden and WORDS.search(text):
                yield Literal(f"{path.relative_to(ROOT.parent)}:{node.lineno}", text.replace("\n", "\\n"))  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str:
    """A literal with `{}` for what an f-string puts in; empty for any other node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def _not_shown(tree: ast.AST) -> Iterator[int]:
    """The nodes that are marked, docstrings, types, or parts of an f-string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
            yield from (id(one) for one in node.args[:2])
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, ast.JoinedStr):
            yield from (id(one) for one in node.values)
        elif isinstance(node, ast.arg | ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = node.returns if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else node.annotation
            if isinstance(kind, ast.Constant):
                yield id(kind)


if __name__ == "__main__":
    for name in sys.argv[1:] or rooms():
        for found in unmarked(name):
            sys.stdout.write(f"{found.place}: {found.text}\n")
