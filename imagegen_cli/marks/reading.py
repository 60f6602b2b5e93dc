"""What a picture file says about itself, as plain values. Nothing of it is verified, and every text is as it stands."""

import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from imagegen_cli.core.errors import BadImage, UsageError
from imagegen_cli.core.forms import HEAD_BYTES, suffix_of
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.marks import xmp
from imagegen_cli.marks.contents import Contents, contents_of
from imagegen_cli.marks.decoding import table_in, text_of, whole_number
from imagegen_cli.marks.labels import Label, labels_in
from imagegen_cli.marks.tools import Made, made_by, signed_by_xai
from imagegen_cli.marks.values import EXTRA, TOOL, Marks, from_json

MAX_SIDECAR_BYTES = 16 * 1024 * 1024
SIGNER = re.compile(
    rb"[\x17\x18][\x0d\x0f]\d{10,14}Z[\x17\x18][\x0d\x0f]\d{10,14}Z.{0,400}?\x06\x03\x55\x04\x0a[\x0c\x13](.)(.{1,127})",
    re.DOTALL,
)
"""In a certificate the organisation of its owner is the first one behind the two dates; the issuer stands before them.

(X.509, DER: a UTCTime or GeneralizedTime, twice; then the object id 2.5.4.10 and a UTF8String or PrintableString.)
"""


class UnreadableFile(UsageError):
    """There is no such file, it cannot be opened, or it is no picture: the only error that reading raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`suffix` is the format by the first bytes; `marks` are there where the file is ours, and `made` says the same.

    `signature` is `C2PA` or the name of another one; `signer` is the organisation that its certificate names. None
    of it is verified. `source_type` is the last word of the IPTC digital source type. `damage` says what could not be
    read. `texts` are all texts of the file by their keys, and the XMP packet as `XMP`.
    """

    suffix: str
    made: Made = field(default_factory=Made)
    marks: Marks | None = None
    labels: tuple[Label, ...] = ()
    signature: str = ""
    signer: str = ""
    source_type: str = ""
    damage: str = ""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(source: Path | bytes | BinaryIO) -> Reading:
    """Everything that a file says, with bounded memory however large it is. Raises UnreadableFile."""
    try:
        with _open(source) as file:
            size = file.seek(0, os.SEEK_END)
            suffix = suffix_in(file)
            return _reading(suffix, contents_of(file, suffix, size))
    except BadImage as error:
        message = Message("this is no picture: its first bytes are those of no format that we know")
        raise UnreadableFile(message) from error
    except (OSError, ValueError) as error:  # a path with NUL in it is a ValueError
        raise UnreadableFile(Message("the file cannot be read: {why}").format(why=cause(error))) from error


def suffix_in(file: BinaryIO) -> str:
    """The suffix of the format by the first bytes. Raises BadImage."""
    file.seek(0)
    return suffix_of(file.read(HEAD_BYTES))


def own_marks(found: Contents) -> Marks | None:
    """Marks that we wrote into a file ourselves."""
    if not any(xmp.NAMESPACE in packet.text for packet in found.packets):
        return None
    texts = (xmp.value(packet.text, "Facts") for packet in found.packets)
    return next((marks for text in texts if (marks := from_json(text)) is not None), None)


def read_sidecar(text: str) -> tuple[Marks, str] | None:
    """The marks of a sidecar and the SHA-256 of its picture in hex; None where the text is no sidecar of ours."""
    marks = from_json(text) if len(text) <= MAX_SIDECAR_BYTES else None
    return None if marks is None else (marks, text_of(table_in(text).get("sha256")))


def with_marks(reading: Reading, marks: Marks) -> Reading:
    """Our own facts, from the file or from the sidecar beside it, stand before everything else that is in the file."""
    width, height = (whole_number(marks.parameters.get(name)) for name in ("width", "height"))
    made = Made(TOOL, marks.prompt, marks.negative, marks.model, marks.seed, width, height, marks.parameters)
    return replace(reading, made=made, marks=marks, source_type=reading.source_type or marks.source)


def request_from(reading: Reading) -> dict[str, Any]:
    """The fields of an ImageRequest that the file tells, without its provider and its references.

    The seed and, where none was asked for, the model are those that were really used. `Marks.omitted` names what else
    the request had. Of a picture that another tool made these are the fields that every service knows.
    """
    made, parameters = reading.made, reading.made.parameters if reading.marks else {}
    model = text_of(parameters.get("requested_model")) or made.model
    told: dict[str, Any] = {"prompt": made.prompt, "negative": made.negative, "model": model, "seed": made.seed}
    told |= {"width": made.width, "height": made.height} if made.width and made.height else {}
    told |= {name: text_of(parameters.get(name)) for name in ("ratio", "resolution", "name")}
    told["count"] = whole_number(parameters.get("count")) or None
    extra = {key.removeprefix(EXTRA): text_of(text) for key, text in parameters.items() if key.startswith(EXTRA)}
    return told | {"extra": extra}


def _open(source: Path | bytes | BinaryIO) -> Any:
    if isinstance(source, bytes):
        return BytesIO(source)
    return opened(source) if isinstance(source, Path) else nullcontext(source)


def _reading(suffix: str, found: Contents) -> Reading:
    reading = Reading(
        suffix=suffix,
        made=made_by(found),
        labels=labels_in(found),
        signature="C2PA" if found.is_signed else "xAI" if signed_by_xai(found) else "",
        signer=_signer(found.manifest),
        source_type=_source_type(found),
        damage=found.damage,
        texts=found.texts | ({"XMP": found.xmp} if found.packets else {}),
    )
    marks = own_marks(found)
    return reading if marks is None else with_marks(reading, marks)


def _signer(manifest: bytes) -> str:
    """The organisation that the certificate of a manifest names; empty where none is found."""
    certificate = SIGNER.search(manifest)
    return certificate[2][: certificate[1][0]].decode("utf-8", "replace") if certificate else ""


def _source_type(found: Contents) -> str:
    texts = (xmp.value(packet.text, "DigitalSourceType") for packet in found.packets)
    return next((text.rstrip("/").rpartition("/")[2] for text in texts if text), "")
