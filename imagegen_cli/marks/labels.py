"""The label that Chinese services put into what a model made: GB 45438-2025, with the forms of TC260-PG-20258A.

The text of a label is JSON with `Label`, `ContentProducer`, `ProduceID`, `ContentPropagator`, `PropagateID` and two
reserved codes. Seven places are known in which services write it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imagegen_cli.core.language import Message
from imagegen_cli.marks.contents import LABEL, Contents
from imagegen_cli.marks.decoding import table_in, text_of
from imagegen_cli.marks.xmp import value

MEANINGS = {
    "1": Message("generated"),
    "2": Message("possibly generated"),
    "3": Message("suspected to be generated"),
}
PLACES = {
    "AIGC": Message("PNG text"),
    "Exif.UserComment": "Exif UserComment",
    "Exif.ImageDescription": "Exif ImageDescription",
    f"{LABEL}segment": Message("JPEG segment"),
    f"{LABEL}film": Message("MP4 metadata"),
}
"""Key of a text -> the form of a label that it may be."""
FIELDS = frozenset({"Label", "ContentProducer", "ProduceID", "ServiceProvider"})
"""A table with one of them is a label."""


@dataclass(frozen=True, slots=True)
class Label:
    """`form` is where it was found; the other fields are the service's words as they are."""

    form: str
    label: str
    producer: str = ""
    produce_id: str = ""
    propagator: str = ""
    propagate_id: str = ""

    @property
    def meaning(self) -> str:
        return MEANINGS.get(self.label, Message("unknown"))


def labels_in(found: Contents) -> tuple[Label, ...]:
    """Every label of a file, one for each place."""
    return tuple(_labels(found))


def _labels(found: Contents) -> Iterator[Label]:
    for packet in found.packets:
        if fields := _fields(value(packet.text, "AIGC")):
            is_attribute = "AIGC=" in packet.text.replace(" ", "")
            yield _label(Message("XMP attribute") if is_attribute else Message("XMP element"), fields)
    for key, form in PLACES.items():
        if fields := _fields(found.texts.get(key, "")):
            yield _label(form, fields)


def _fields(text: str) -> dict[str, Any]:
    """The table of a label, also inside of `{"AIGC": …}` and with other words around it; empty where it is none."""
    start = text.find("{")
    if start < 0:
        return {}
    table = table_in(text[start:]) or _first_table(text[start:])
    inner = table.get("AIGC")
    table = inner if isinstance(inner, dict) else table_in(inner) if isinstance(inner, str) else table
    return table if FIELDS & table.keys() else {}


def _first_table(text: str) -> dict[str, Any]:
    """The JSON object at the beginning of a text that goes on behind it."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _label(form: str, fields: dict[str, Any]) -> Label:
    names = ("ProduceID", "ContentPropagator", "PropagateID")
    producer = text_of(fields.get("ContentProducer")) or text_of(fields.get("ServiceProvider"))
    return Label(form, text_of(fields.get("Label")), producer, *(text_of(fields.get(name)) for name in names))
