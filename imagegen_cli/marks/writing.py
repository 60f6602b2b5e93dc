"""Our marks into a finished file: chunks are added, nothing is decoded, and what was signed is not touched.

`plan` decides and says which bytes are to be put where; `core.marker.edited` does it. Where the file must stay as it
came, the plan has no edits and says why: then `sidecar_text` goes beside it.
"""

import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from imagegen_cli.core.errors import BadImage
from imagegen_cli.core.language import Message
from imagegen_cli.core.marker import Edit, edited
from imagegen_cli.marks import xmp
from imagegen_cli.marks.containers import DamagedError, Part, need, read_at, riff_end
from imagegen_cli.marks.contents import APP0, APP1, XMP_KEYWORD, XMP_SEGMENT, Contents, contents_of
from imagegen_cli.marks.decoding import MAX_TEXT_BYTES
from imagegen_cli.marks.reading import own_marks, suffix_in
from imagegen_cli.marks.values import TOOL, Marks, to_json, without_secrets

MAX_SEGMENT_BYTES = 65_503
"""Of an XMP packet in a JPEG: a segment has at most 65,535 bytes, its length and its name included."""
MAX_RIFF_BYTES = 2**32 - 2
HEADER_END = 33
"""Where the first chunk of a PNG ends, which is always IHDR."""
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
OTHER_FORMS = ("parameters", "prompt", "workflow", "invokeai_metadata", "Comment")
"""Texts of a PNG in which a tool has said already how it was made."""
EXIF_BYTES = 4
LOSSLESS_SIGNATURE = 0x2F
HAS_XMP, HAS_ALPHA = 0x04, 0x10
"""Flags of a WebP file's VP8X chunk."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
"""The form of the time that our marks name."""
UNWALKED = Message("pictures of this format are left as they came")


@dataclass(frozen=True, slots=True)
class Plan:
    """`sidecar` says why the facts go beside the file instead; empty where the edits put them into it.

    Both are empty where the file has these very marks already.
    """

    edits: tuple[Edit, ...] = ()
    sidecar: str = ""


def plan(file: BinaryIO, marks: Marks) -> Plan:
    """Decide how a file gets its marks. Raises OSError and nothing else."""
    marks = without_secrets(marks)
    size = file.seek(0, os.SEEK_END)
    try:
        suffix = suffix_in(file)
        found = contents_of(file, suffix, size)
        if own_marks(found) == marks:
            return Plan()
        reason = _obstacle(found) or ("" if suffix in WRITERS else UNWALKED)
        return Plan(sidecar=reason) if reason else WRITERS[suffix](file, found, marks)
    except (BadImage, DamagedError, struct.error):
        return Plan(sidecar=Message("the file is damaged, or of a form that we do not know"))


def has_marks(file: BinaryIO, marks: Marks) -> bool:
    """Whether a file has these marks, whatever time they name. Raises OSError and nothing else."""
    try:
        suffix = suffix_in(file)
        own = own_marks(contents_of(file, suffix, file.seek(0, os.SEEK_END)))
    except BadImage:
        return False
    return own is not None and replace(own, time="") == replace(without_secrets(marks), time="")


def digest_without_time(file: BinaryIO) -> str:
    """The SHA-256, in hex, of a file with marks of ours, without the time that they name. Raises OSError.

    Two processes that saved the same picture named different times. Empty where the file has no such marks.
    """
    try:
        suffix = suffix_in(file)
        found = contents_of(file, suffix, file.seek(0, os.SEEK_END))
        own = own_marks(found)
        if own is None or found.damage or not TIME.fullmatch(own.time):
            return ""
        total = sha256()
        for piece in edited(file, _without(own.time.encode(), file, found, suffix)):
            total.update(piece)
    except (BadImage, DamagedError):
        return ""
    return total.hexdigest()


def _without(time: bytes, file: BinaryIO, found: Contents, suffix: str) -> Iterator[Edit]:
    """What takes a time out of our packet and our settings text, and the checksum of a PNG chunk with it."""
    checksum_bytes = 4 if suffix == ".png" else 0
    for part in found.parts:
        if part.length > MAX_TEXT_BYTES:
            continue
        data = read_at(file, part.body, part.length)
        if time in data and (xmp.NAMESPACE.encode() in data or data.startswith(b"parameters\0")):
            yield Edit(part.body, part.end + checksum_bytes, data.replace(time, b""))


def add(data: bytes, marks: Marks) -> bytes:
    """A file in memory with its marks, or these very bytes where they go into a sidecar."""
    edits = plan(BytesIO(data), marks).edits
    return b"".join(edited(BytesIO(data), edits)) if edits else data


def sidecar_text(marks: Marks, sha256: str = "") -> str:
    """The same facts as JSON for a file beside the picture; `sha256` of the picture, in hex, tells whose it is."""
    return to_json(without_secrets(marks), **({"sha256": sha256} if sha256 else {})) + "\n"


def sidecar_paths(picture: Path) -> tuple[Path, ...]:
    """Where a sidecar may be: the second place is for a picture whose first one another file has."""
    return picture.with_suffix(".json"), picture.with_name(f"{picture.name}.json")


def settings_text(marks: Marks) -> str:
    """The words and settings as readers of A1111's form expect them: their line needs three pairs to be seen."""
    size = "x".join(str(marks.parameters[name]) for name in ("width", "height") if name in marks.parameters)
    told = {"Steps": marks.parameters.get("extra.steps"), "Seed": marks.seed, "Size": size, "Model": marks.model}
    told |= {"Service": marks.kind, "Task": marks.id, "Version": TOOL, "Created": marks.time}
    line = ", ".join(f"{name}: {_quoted(str(text))}" for name, text in told.items() if text not in ("", None))
    negative = f"\nNegative prompt: {marks.negative}" if marks.negative else ""
    return xmp.UNWRITABLE.sub(" ", f"{marks.prompt}{negative}\n{line}")


def _quoted(text: str) -> str:
    """A value with a comma, a colon or a line break is written as JSON, as A1111 does."""
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ',:\n"') else text


def _obstacle(found: Contents) -> str:
    """Why a file must stay as it came; empty where nothing stands against writing into it."""
    if found.is_signed:
        return Message("the picture is signed, and one added byte would break the signature")
    if found.damage:
        return Message("the file was not understood to its end: {why}").format(why=found.damage)
    if found.has_several_pictures:
        return Message("the file holds several pictures, which know each other's places")
    if len(found.packets) > 1:
        return Message("the file has more than one XMP packet")
    if any(xmp.NAMESPACE in packet.text for packet in found.packets):
        return Message("the file has marks of another task")
    return ""


def _packet(found: Contents, marks: Marks) -> tuple[bytes, Part | None]:
    """The packet to write, and the part that it replaces; nothing where that cannot be done safely."""
    properties = {
        "dc:description": marks.prompt,
        "xmp:CreatorTool": TOOL,
        "Iptc4xmpExt:DigitalSourceType": f"{SOURCE_TYPES}{marks.source}" if marks.source else "",
        "imagegen:Facts": to_json(marks),
    }
    if not found.packets:
        return xmp.packet(properties).encode(), None
    old = found.packets[0]
    new = xmp.merged(old.text, properties) if old.can_be_replaced else None
    return (new or "").encode(), old.part


def _png(_file: BinaryIO, found: Contents, marks: Marks) -> Plan:
    """A chunk for the packet, and one that readers of A1111's form know, unless a tool has written its own."""
    need(found.parts[0].name == b"IHDR" and found.parts[0].end + 4 == HEADER_END)
    packet, old = _packet(found, marks)
    chunk = _chunk(b"iTXt", XMP_KEYWORD.encode() + bytes(5) + packet)
    added = b"" if any(key in found.texts for key in OTHER_FORMS) else _settings_chunk(marks)
    if old is None:
        return _plan(packet, xmp.MAX_PACKET_BYTES, Edit(HEADER_END, HEADER_END, chunk + added))
    replaced = Edit(old.start, old.end + 4, chunk)
    return _plan(packet, xmp.MAX_PACKET_BYTES, Edit(HEADER_END, HEADER_END, added), replaced)


def _settings_chunk(marks: Marks) -> bytes:
    """Latin letters as plain text, which every reader takes; anything else in the international form."""
    text = settings_text(marks)
    if all(" " <= sign <= "~" or sign == "\n" or "\xa0" <= sign <= "\xff" for sign in text):
        return _chunk(b"tEXt", b"parameters\0" + text.encode("latin-1"))
    return _chunk(b"iTXt", b"parameters" + bytes(5) + text.encode())


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _jpeg(file: BinaryIO, found: Contents, marks: Marks) -> Plan:
    """A segment behind those that must be the first: JFIF's and Exif's."""
    packet, old = _packet(found, marks)
    length = min(len(packet), MAX_SEGMENT_BYTES) + len(XMP_SEGMENT) + 2
    segment = b"\xff\xe1" + struct.pack(">H", length) + XMP_SEGMENT + packet
    start, end = (old.start, old.end) if old else (_behind_headers(file, found),) * 2
    return _plan(packet, MAX_SEGMENT_BYTES, Edit(start, end, segment))


def _behind_headers(file: BinaryIO, found: Contents) -> int:
    at = 2
    for part in found.parts:
        is_exif = part.name[0] == APP1 and part.length > EXIF_BYTES and read_at(file, part.body, EXIF_BYTES) == b"Exif"
        if part.start != at or not (part.name[0] == APP0 or is_exif):
            break
        at = part.end
    return at


def _webp(file: BinaryIO, found: Contents, marks: Marks) -> Plan:
    """A chunk at the end, the flag that says so, and the new length. The simple form gets the chunk with the flags."""
    packet, old = _packet(found, marks)
    end = riff_end(file)
    data = b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2)
    placed = Edit(old.start, old.end + old.length % 2, data) if old else Edit(end, end, data)
    flags = _flags(file)
    growth = sum(len(edit.data) - (edit.end - edit.start) for edit in (placed, flags))
    need(end % 2 == 0 and placed.end <= end)
    if end + growth > MAX_RIFF_BYTES:
        return Plan(sidecar=Message("the file is too long for more"))
    return _plan(packet, xmp.MAX_PACKET_BYTES, Edit(4, 8, struct.pack("<I", end + growth - 8)), flags, placed)


def _flags(file: BinaryIO) -> Edit:
    """The VP8X chunk with the flag for XMP. Raises DamagedError."""
    head = read_at(file, 12, 30)
    if head[:4] == b"VP8X":
        return Edit(20, 21, bytes([head[8] | HAS_XMP]))
    width, height, flags = _canvas(head)
    data = struct.pack("<B3x", flags | HAS_XMP) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return Edit(12, 12, b"VP8X" + struct.pack("<I", len(data)) + data)


def _canvas(head: bytes) -> tuple[int, int, int]:
    """Width, height and flags of a simple file, from the head of its picture (RFC 9649, RFC 6386)."""
    if head[:4] == b"VP8L":
        need(head[8] == LOSSLESS_SIGNATURE)
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, HAS_ALPHA if bits >> 28 & 1 else 0
    need(head[:4] == b"VP8 " and head[8] & 1 == 0 and head[11:14] == b"\x9d\x01\x2a")
    width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 14))
    need(width > 0 and height > 0)
    return width, height, 0


def _plan(packet: bytes, limit: int, *edits: Edit) -> Plan:
    if not packet:
        strange = Message("the XMP packet of the service has a form into which nothing can be put safely")
        return Plan(sidecar=strange)
    if len(packet) > limit:
        return Plan(sidecar=Message("the facts are too long for this format"))
    return Plan(edits)


Writer = Callable[[BinaryIO, Contents, Marks], Plan]
WRITERS: dict[str, Writer] = {".png": _png, ".jpg": _jpeg, ".webp": _webp}
