"""Receipts as lines of text, which a process prints where it could not write them into the history.

A line is one JSON object. It holds all that is needed to make its task again where the history lacks it, and no secret.
A file of such lines comes from a person: whatever it says is checked before it is used.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import without_own_user
from imagegen_cli.core.money import MAX_MICROS, UNITS, Money, Quote, Source
from imagegen_cli.core.task import MARKS, ImageRequest, Job, Task, TaskId
from imagegen_cli.storage import serialize
from imagegen_cli.storage.records import Origin, Planned

MAX_TEXT = 1_000_000
"""Characters of a text in a receipt: prompts are long, and addresses may be."""
MAX_WORD = 4096
"""Characters of a name in a receipt."""
MAX_NUMBER = 2**63 - 1
MAX_IMAGES = 1000
MAX_MOMENT_S = 2.0**36
"""Seconds since the epoch, far in the future."""
INDEX = "{index}"
WORDS = ("provider", "model", "ratio", "resolution", "name")
"""Fields of a request that are short texts of one line."""
NUMBERS = ("width", "height", "count", "seed")


class Receipt(NamedTuple):
    """The job of a task, as the process that sent it knows both.

    `key`: see `Task.key`; empty where the line has none. `planned`: the task as it was planned, where the line tells.
    `created`: seconds since the epoch. `quote`: what the submit was expected to cost.
    """

    task: int
    job: Job
    key: str = ""
    planned: Planned | None = None
    created: float = 0.0
    quote: Quote | None = None


class Refused(NamedTuple):
    """A line that seems to be a receipt and cannot be used; `number` counts from 1."""

    number: int
    why: Message


def receipt_of(task: Task, job: Job, origin: Origin, quote: Quote | None = None) -> Receipt:
    """The receipt of a task of this process."""
    planned = Planned(
        id=task.id, name=task.name, request=task.request, expected_images=task.expected_images, folder=task.folder,
        identity=origin.identity, source=origin.source, cell=task.cell, marks=str(task.facts.get(MARKS, "")),
    )  # fmt: skip
    return Receipt(task.id, job, task.key, planned, origin.created, quote)


def line_of(receipt: Receipt) -> str:
    """The receipt as one line of ASCII."""
    plain = {"task": receipt.task, "job": receipt.job.id, "url": without_own_user(receipt.job.url), "key": receipt.key}
    if (item := receipt.planned) is not None:
        plain |= {
            "request": serialize.from_request(item.request), "images": item.expected_images, "folder": item.folder,
            "name": item.name, "created": receipt.created, "source": item.source, "identity": item.identity,
            "marks": item.marks, "cell": dict(item.cell),
        }  # fmt: skip
    if receipt.quote is not None:
        plain["quote"] = serialize.from_quote(receipt.quote)
    return json.dumps({name: value for name, value in plain.items() if value or name in ("job", "url", "key")})


def receipts_in(text: str) -> Iterator[Receipt | Refused]:
    """What these lines hold, in order; lines without a receipt are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        if (start := line.find("{")) < 0:
            continue
        try:
            plain = json.JSONDecoder().raw_decode(line[start:])[0]
        except (ValueError, RecursionError):
            if '"job"' in line and '"task"' in line:
                yield Refused(number, Message("it is damaged"))
            continue
        if "job" in plain and "task" in plain:
            yield _checked(plain, number)


def _checked(plain: dict[str, Any], number: int) -> Receipt | Refused:
    try:
        return _receipt(plain)
    except _WrongError as wrong:
        return Refused(number, Message("{field} cannot be right").format(field=str(wrong)))


class _WrongError(Exception):
    """The name of a field whose value no receipt has."""


def _receipt(plain: dict[str, Any]) -> Receipt:
    given = plain["job"]
    if isinstance(given, int) and not isinstance(given, bool):  # as a person types it
        given = str(_whole(plain, "job", 0, MAX_NUMBER))
    job = Job(_word({"job": given}, "job", is_needed=True), _word(plain, "url", MAX_TEXT))
    task, key = _whole(plain, "task", 1, MAX_NUMBER), _word(plain, "key")
    if "request" not in plain:
        return Receipt(task, job, key)
    marks = _word(plain, "marks")
    _check(marks in ("", "none", "sidecar", "embed"), "marks")
    planned = Planned(
        id=TaskId(task), name=_name(plain), request=_request(plain["request"]),
        expected_images=_whole(plain, "images", 1, MAX_IMAGES), folder=_word(plain, "folder"),
        identity=_word(plain, "identity"), source=_word(plain, "source"), cell=_texts(plain, "cell"), marks=marks,
    )  # fmt: skip
    return Receipt(task, job, key, planned, _moment(plain), _quote(plain.get("quote")))


def _request(plain: Any) -> ImageRequest:
    _check(isinstance(plain, dict), "request")
    references = plain.get("references", [])
    _check(isinstance(references, list), "references")
    words = {name: _word(plain, name, is_needed=name == "provider") for name in WORDS}
    given = [name for name in NUMBERS if plain.get(name) is not None]
    numbers = {name: _whole(plain, name, -MAX_NUMBER, 2 * MAX_NUMBER) for name in given}
    texts = {"prompt": _text(plain, "prompt"), "negative": _text(plain, "negative")}
    extra = {"references": [_text({"references": one}, "references") for one in references]}
    return serialize.to_request({**words, **numbers, **texts, **extra, "extra": _texts(plain, "extra")})


def _quote(plain: Any) -> Quote | None:
    """What the submit was expected to cost, where the line tells."""
    if plain is None:
        return None
    _check(isinstance(plain, dict), "quote")
    images, source = _whole(plain, "images", 1, MAX_IMAGES), plain.get("source")
    _check(source in tuple(Source), "quote")
    if "unit" not in plain:
        return Quote(images, None, Source(source))
    _check(plain["unit"] in UNITS, "quote")
    return Quote(images, Money(_whole(plain, "micros", 0, MAX_MICROS), plain["unit"]), Source(source))


def _name(plain: dict[str, Any]) -> str:
    """The name of a file, which stays inside of its folder."""
    name = _word(plain, "name", 255)
    is_plain = Path(name).name == name and "\\" not in name and not name.startswith(".")
    _check(is_plain and name.count(INDEX) == 1 and len(name.encode()) <= 255, "name")  # noqa: PLR2004 - of file systems
    return name


def _moment(plain: dict[str, Any]) -> float:
    moment = plain.get("created", 0.0)
    is_number = isinstance(moment, int | float) and not isinstance(moment, bool)
    _check(is_number and math.isfinite(moment) and 0 <= moment <= MAX_MOMENT_S, "created")
    return float(moment)


def _texts(plain: dict[str, Any], name: str) -> dict[str, str]:
    found = plain.get(name, {})
    _check(isinstance(found, dict), name)
    return {_text({name: key}, name): _text(found, key, name) for key in found}


def _text(plain: dict[str, Any], name: str, called: str = "") -> str:
    """A text of any length that can be meant; what is shown of it is made harmless where it is shown."""
    text = plain.get(name, "")
    _check(isinstance(text, str) and len(text) <= MAX_TEXT and not re.search("[\ud800-\udfff]", text), called or name)
    return str(text)


def _word(plain: dict[str, Any], name: str, most: int = MAX_WORD, *, is_needed: bool = False) -> str:
    """A text of one line without control codes."""
    text = _text(plain, name)
    _check(text.isprintable() and len(text) <= most and bool(text or not is_needed), name)
    return text


def _whole(plain: dict[str, Any], name: str, least: int, most: int) -> int:
    value = plain.get(name)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _WrongError(name)
    return value


def _check(is_right: bool, name: str) -> None:
    if not is_right:
        raise _WrongError(name)
