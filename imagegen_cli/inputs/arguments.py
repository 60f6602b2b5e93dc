"""Checks the arguments of `run`: words that are hardly prompts are refused, because each argument is paid for."""

import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from imagegen_cli.core.errors import UsageError

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson")
FILE_SUFFIXES = (*LIST_SUFFIXES, ".md", ".yaml", ".yml", ".xlsx", ".docx", ".pdf", ".png", ".jpg", ".jpeg", ".webp")
MAX_FILE_NAMES = 2000
"""Names of a folder that are compared with a mistyped name."""
EACH = "imagegen run --each"
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts without blanks between words: Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese."""
PATH = re.compile(r"(?:/|\./|\.\./|~[\w.-]*/|[A-Za-z]:[\\/]|file:)\S*|\S*[\\/]\S*[*?]\S*")
ADDRESS = re.compile(r"(?:https?|ftp)://\S+", re.IGNORECASE)


def check_arguments(prompts: Sequence[str]) -> None:
    """Raise UsageError for arguments that are hardly prompts: names of files, or the words of one prompt."""
    for prompt in prompts:
        _refuse_file(prompt)
    if len(prompts) > 1 and all(_is_word(prompt) for prompt in prompts):
        message = f"{len(prompts)} words without quotes would be {len(prompts)} prompts, each paid for"
        one = f"imagegen run {quote(' '.join(prompts))}"
        hint = f"nothing was sent; if it is one prompt: {one}; if each word is one, add --each"
        raise UsageError(message, hint=hint)


def instead_of(name: str) -> str:
    """What the person may name instead of a list that cannot be read."""
    if _exists(name, os.path.isdir):
        lists = sorted(path for path in _names(Path(name)) if path.lower().endswith(LIST_SUFFIXES))
        found = quote(_safe(str(Path(name, lists[0])))) if lists else ""
        return f"name a list in it: imagegen batch {found}" if found else "name a file with one prompt a line"
    if near := _near(name):
        return f"did you mean {near}? imagegen batch {quote(_safe(near))}"
    return "name a file that can be read, or - for stdin"


def _is_word(prompt: str) -> bool:
    return len(prompt.split()) == 1 and prompt == prompt.strip() and not UNSPACED.search(prompt)


def _refuse_file(prompt: str) -> None:
    path = prompt.removeprefix("@")
    if _exists(path, os.path.isdir):
        _refuse(prompt, "is a folder", instead_of(path))
    if _exists(path, os.path.exists):
        _refuse(prompt, "is a file", f"imagegen batch {quote(_safe(path))}")
    if len(prompt.split()) != 1:
        return
    if ADDRESS.fullmatch(prompt):
        _refuse(prompt, "is an address", f"as a picture to start from: --image {quote(prompt)}")
    if any(sign in prompt for sign in "*?[") and Path(path).suffix.lower() in FILE_SUFFIXES:
        _refuse(prompt, "is a pattern for file names, and no file matches it", "name a list: imagegen batch FILE")
    if PATH.fullmatch(path) or Path(path).suffix.lower() in FILE_SUFFIXES:
        _refuse(prompt, "is a file name, and there is no such file", instead_of(path))


def _refuse(prompt: str, what: str, instead: str) -> None:
    hint = f"nothing was sent; {instead}; or, if it is the prompt itself: {EACH} {quote(prompt)}"
    raise UsageError(f"{prompt} {what}; as a prompt its name would cost money", hint=hint)


def _safe(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _exists(name: str, test: Callable[[str], bool]) -> bool:
    """Whether a file of this name passes the test; False for a text that cannot be a file name."""
    try:
        return bool(name.strip()) and test(os.path.expanduser(name))  # noqa: PTH111 - the test takes a text
    except (OSError, ValueError):
        return False


def _near(name: str) -> str:
    folder = Path(name).parent
    near = get_close_matches(Path(name).name, _names(folder), n=1, cutoff=0.75)
    return str(folder / near[0]) if near else ""


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path, _ in zip(os.scandir(folder.expanduser()), range(MAX_FILE_NAMES), strict=False)]
    except (OSError, ValueError, RuntimeError):
        return []
