"""Checks the arguments of `run`: words that are hardly prompts are refused, because each argument is paid for."""

import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.task_words import are_names, is_command_line, mean_tasks

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson")
FILE_SUFFIXES = (*LIST_SUFFIXES, ".md", ".yaml", ".yml", ".xlsx", ".docx", ".pdf", ".png", ".jpg", ".jpeg", ".webp")
MAX_FILE_NAMES = 2000
"""Names of a folder that are compared with a mistyped name."""
EACH, BATCH = "imagegen run --each", "imagegen batch"
A_FOLDER = Message("{prompt} is a folder; as a prompt its name would cost money")
A_FILE = Message("{prompt} is a file; as a prompt its name would cost money")
AN_ADDRESS = Message("{prompt} is an address; as a prompt its name would cost money")
A_PATTERN = Message(
    "{prompt} is a pattern for file names, and no file matches it; as a prompt its name would cost money"
)
NO_FILE = Message("{prompt} is a file name, and there is no such file; as a prompt its name would cost money")
A_TASK = Message("{prompt} reads as a task, not as a prompt; as a prompt it would cost money")
A_COMMAND = Message("{prompt} reads as a command, not as a prompt; as a prompt it would cost money")
MAKE_AGAIN = Message("to make it again: {command}")
MEANT = Message("did you mean {command}?")
NO_WORDS = Message("{words} reads as a task, not as words of a prompt; nothing was sent")
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts without blanks between words: Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese."""
PATH = re.compile(r"(?:/|\./|\.\./|~[\w.-]*/|[A-Za-z]:[\\/]|file:)\S*|\S*[\\/]\S*[*?]\S*")
ADDRESS = re.compile(r"(?:https?|ftp)://\S+", re.IGNORECASE)


def check_arguments(prompts: Sequence[str]) -> None:
    """Raise UsageError for arguments that are hardly prompts: names of files, or the words of one prompt."""
    if len(prompts) > 1 and is_command_line(whole := " ".join(prompts)):
        refuse_task(whole)
    for prompt in prompts:
        _refuse_file(prompt)
        refuse_task(prompt)
    if len(prompts) > 1 and all(_is_word(prompt) for prompt in prompts):
        message = Message("{count} words without quotes would be {count} prompts, each paid for")
        hint = Message("nothing was sent; if it is one prompt: {command}; if each word is one, add --each")
        command = f"imagegen run {quote(' '.join(prompts))}"
        raise UsageError(message.format(count=len(prompts)), hint=hint.format(command=command))


def refuse_task(prompt: str) -> None:
    """Raise UsageError for the name of a task, or a command about one: it is a slip, and would be paid for."""
    if are_names(prompt):
        task = re.split(r"[\s,;/]", prompt.strip())[0]
        _refuse(prompt, A_TASK, MAKE_AGAIN.format(command=f"imagegen again {task}"))
    elif is_command_line(prompt):
        words = [word for at, word in enumerate(prompt.split()) if at or word.lower() != "imagegen"]
        given = [*words[:2], " ".join(words[2:])] if words[0].lower() == "edit" and words[2:] else words
        _refuse(prompt, A_COMMAND, MEANT.format(command=f"imagegen {' '.join(map(quote, given))}"))


def check_words(words: str, command: str, each: str) -> None:
    """Raise UsageError for the words of `again` and `edit` where they are the name of another task.

    `command` is what was meant, `each` what sends the words all the same.
    """
    if mean_tasks(words):
        hint = Message("{command}; or, if it is the prompt itself: {each}").format(command=command, each=each)
        raise UsageError(NO_WORDS.format(words=words.strip()), hint=hint)


def instead_of(name: str) -> str:
    """What the person may name instead of a list that cannot be read."""
    if _exists(name, os.path.isdir):
        lists = sorted(path for path in _names(Path(name)) if path.lower().endswith(LIST_SUFFIXES))
        found = quote(_safe(str(Path(name, lists[0])))) if lists else ""
        if not found:
            return Message("name a file with one prompt a line")
        return Message("name a list in it: {command}").format(command=f"{BATCH} {found}")
    if near := _near(name):
        return Message("did you mean {name}? {command}").format(name=near, command=f"{BATCH} {quote(_safe(near))}")
    return Message("name a file that can be read, or - for stdin")


def _is_word(prompt: str) -> bool:
    return len(prompt.split()) == 1 and prompt == prompt.strip() and not UNSPACED.search(prompt)


def _refuse_file(prompt: str) -> None:
    path = prompt.removeprefix("@")
    if _exists(path, os.path.isdir):
        _refuse(prompt, A_FOLDER, instead_of(path))
    if _exists(path, os.path.exists):
        _refuse(prompt, A_FILE, f"{BATCH} {quote(_safe(path))}")
    if len(prompt.split()) != 1:
        return
    if ADDRESS.fullmatch(prompt):
        way = Message("as a picture to start from: {option}").format(option=f"--image {quote(prompt)}")
        _refuse(prompt, AN_ADDRESS, way)
    if any(sign in prompt for sign in "*?[") and Path(path).suffix.lower() in FILE_SUFFIXES:
        _refuse(prompt, A_PATTERN, Message("name a list: imagegen batch FILE"))
    if PATH.fullmatch(path) or Path(path).suffix.lower() in FILE_SUFFIXES:
        _refuse(prompt, NO_FILE, instead_of(path))


def _refuse(prompt: str, why: Message, instead: str) -> None:
    hint = Message("nothing was sent; {instead}; or, if it is the prompt itself: {command}")
    raise UsageError(why.format(prompt=prompt), hint=hint.format(instead=instead, command=each_sends(prompt)))


def each_sends(prompt: str) -> str:
    """The command that sends any text as a prompt."""
    return f"{EACH} {'-- ' if prompt.startswith('-') else ''}{quote(prompt)}"


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
