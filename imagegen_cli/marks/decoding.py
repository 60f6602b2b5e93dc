"""Hostile text into plain values: JSON and compressed data with limits, and what is a number or a word in them."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Of one text, also when it is unpacked."""
MAX_CONTAINERS = 100_000
"""Lists and tables in one JSON text; each costs far more memory than its two brackets."""
MAX_VALUES = 500
"""Parameters that are taken from one table."""
MAX_NUMBER = 2**64
MAX_SHOWN = 40
"""Characters that are shown of a value that could not be read."""

Scalar = str | int | float | bool
Parameters = Mapping[str, Scalar]


def from_json(text: str) -> Any:
    """The value, or None where it is no JSON, too long, too deep or of too many parts."""
    is_json = text.lstrip()[:1] in ("{", "[") and len(text) <= MAX_TEXT_BYTES
    if not is_json or text.count("[") + text.count("{") > MAX_CONTAINERS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def table_in(text: str) -> dict[str, Any]:
    """The JSON object that a text is; empty where it is none."""
    value = from_json(text)
    return value if isinstance(value, dict) else {}


def unpacked(data: bytes, limit: int) -> bytes:
    """What zlib data holds. Raises zlib.error, and ValueError where it is cut or longer than `limit`."""
    inflate = zlib.decompressobj()
    text = inflate.decompress(data, limit) if limit else b""  # zlib takes 0 for no limit
    if not inflate.eof:
        raise ValueError("a compressed text is cut or too long")
    return text


def clean(text: str) -> str:
    """A text that can be encoded: half characters are replaced."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def text_of(value: Any) -> str:
    """A text as it is, a number as its digits, anything else as nothing."""
    if isinstance(value, str):
        return clean(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def whole_number(value: Any) -> int | None:
    """A number that is not negative and has no fraction, also one that is written as text."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 21:  # noqa: PLR2004
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER else None


def unread(table: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Those of these numbers that are in the table and are none, as `seed [5]`; -1 means none."""
    told = [(name, table[name]) for name in names if table.get(name) not in (None, "", -1, "-1")]
    wrong = [(name, value) for name, value in told if whole_number(value) is None]
    return tuple(f"{name} {clean(str(value)[:MAX_SHOWN])}" for name, value in wrong)


def scalars(table: Mapping[str, Any]) -> dict[str, Scalar]:
    """The texts, finite numbers and truths of a table, at most MAX_VALUES of them."""
    found: dict[str, Scalar] = {}
    for name, value in table.items():
        if len(found) == MAX_VALUES:
            break
        if isinstance(value, str):
            found[clean(name)] = clean(value)
        elif isinstance(value, int | float) and abs(value) <= MAX_NUMBER:  # not NaN
            found[clean(name)] = value
    return found
