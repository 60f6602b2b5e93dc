"""File names of tasks, which cannot collide and cannot leave their folder."""

import re
import string
import sys
import time
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.task import ImageRequest, TaskId

DEFAULT = "{id}-{slug}-{index}"
FIELDS = ("id", "slug", "index", "run", "provider", "model", "seed", "date", "time", "name", "line", "vary")
MAX_SLUG_BYTES = 60
MAX_NAME_BYTES = 180
"""This leaves room in the 255 bytes of common file systems for a suffix and the dot of a part file."""
MAX_PART_BYTES = 200
"""A name with its suffix and all that a part file adds."""
RESERVED = r"(?i:(con|prn|aux|nul|(com|lpt)(\d|[¹²³]|\{index\})) *(\..*)?)"
"""Device names that Windows keeps for itself, whatever the suffix."""
SELECTORS = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
"""Variation selectors: invisible characters that choose between two forms of the character before them."""


def check_template(template: str) -> None:
    """Raise UsageError for an unknown field, a format that cannot be read, or a folder in the name."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        wrong = Message("the name template {template!r} cannot be read: {why}").format(
            template=template, why=str(error)
        )
        raise UsageError(wrong) from error
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in template):
        wrong = Message("the name template {template!a} holds signs that no file name should have")
        raise UsageError(wrong.format(template=template))
    for text, name, form, conversion in parts:
        if any(sign in text for sign in "/\\\0"):
            wrong = Message("the name template {template!r} holds a folder; choose the folder with --output")
            raise UsageError(wrong.format(template=template))
        if name is not None and name not in FIELDS:
            wrong = Message("unknown field {{{name}}} in the name template").format(name=name)
            raise UsageError(wrong, hint=nearest(name, FIELDS))
        if form or conversion:
            raise UsageError(Message("the field {{{name}}} in the name template takes no format").format(name=name))


def name_for(
    template: str,
    task_id: TaskId | str,
    run: int | str,
    request: ImageRequest,
    *,
    line: int,
    now: float,
    cell: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The file name of a task, with `{index}` left open: unique by its id, cut by bytes, safe on every file system.

    `cell`: see `Task`.
    """
    moment = time.localtime(now)
    fields = {
        "id": str(task_id),
        "run": str(run),
        "line": str(line),
        "slug": slug(request.name or request.prompt),
        "name": slug(request.name or request.prompt),
        "provider": slug(request.provider),
        "model": slug(request.model),
        "seed": "" if request.seed is None else str(request.seed),
        "date": time.strftime("%Y%m%d", moment),
        "time": time.strftime("%H%M%S", moment),
        "index": "{index}",
        "vary": slug(" ".join(cell.values())) if cell else "",
    }
    name = template.format_map(fields)
    if "{index}" not in name:
        name += "-{index}"
    before, after = name.split("{index}", 1)
    after = after.replace("{index}", "")
    name = _cut(before, MAX_NAME_BYTES - len(after.encode())) + "{index}" + _cut(after, MAX_NAME_BYTES)
    name = name.strip(" .") or "{index}"
    return f"_{name}" if re.fullmatch(RESERVED, name) or name[0] == "-" else name


def slug(text: str) -> str:
    """Letters and digits of any script, joined by hyphens, at most MAX_SLUG_BYTES bytes. Never empty."""
    text = unicodedata.normalize("NFC", re.sub(SELECTORS, "", text)).lower()
    system = sys.getfilesystemencoding()  # a bare C locale may leave ASCII alone to name files with
    text = text.encode(system, "ignore").decode(system)
    kept = " "
    for sign in text:
        belongs = sign.isalnum() or (unicodedata.category(sign) in ("Mn", "Mc") and kept[-1] != " ")
        kept += sign if belongs else " "
    return _cut("-".join(kept.split()), MAX_SLUG_BYTES).strip("-") or "image"


def free_name(name: str, count: int, taken: set[str]) -> str:
    """`name`, numbered where one of its pictures 1 to `count` is in `taken` (lower-case stems), which gets them too."""
    wanted = name
    for number in range(2, 100_000):
        stems = [wanted.replace("{index}", str(index)).lower() for index in range(1, count + 1)]
        if taken.isdisjoint(stems):
            taken.update(stems)
            return wanted
        wanted = name.replace("{index}", f"~{number}-{{index}}")
    too_many = Message("too many files are named {name!r}").format(name=name)
    raise UsageError(too_many, hint=Message("choose another folder with --output"))


def _cut(text: str, max_bytes: int) -> str:
    """At most `max_bytes` of UTF-8, never half a character."""
    return text.encode()[: max(0, max_bytes)].decode(errors="ignore")
