"""All texts, XMP packets and signatures of a picture file, with limits; what is wrong is remembered as damage."""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from imagegen_cli.core.language import Message
from imagegen_cli.marks import exif, items
from imagegen_cli.marks.containers import DamagedError, Part, parts, read_at
from imagegen_cli.marks.decoding import MAX_TEXT_BYTES, unpacked
from imagegen_cli.marks.xmp import MAX_PACKET_BYTES, value

MAX_ALL_BYTES = 16 * 1024 * 1024
"""Of all metadata of one file."""
XMP_KEYWORD = "XML:com.adobe.xmp"
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
C2PA_LABEL_BYTES = 80
"""Of a JPEG segment, in which the label `c2pa` stands."""
APP0, APP1, APP2, APP11, COMMENT = 0xE0, 0xE1, 0xE2, 0xEB, 0xFE
SKIPPED = (b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"mdat")
"""Parts with pixels."""
LABEL = "label:"
"""How the key of a text begins that stands in no common field and may be a label."""


class Packet(NamedTuple):
    """`can_be_replaced` is false where it is compressed, too long, not UTF-8, or in a place that we only look at."""

    part: Part
    text: str
    can_be_replaced: bool


@dataclass(slots=True)
class Contents:
    """`texts`: PNG keywords as they are, Exif names as `Exif.UserComment`, the comment of a JPEG as `Comment`."""

    texts: dict[str, str] = field(default_factory=dict)
    packets: list[Packet] = field(default_factory=list)
    manifest: bytes = b""
    is_signed: bool = False
    has_several_pictures: bool = False
    damage: str = ""
    parts: list[Part] = field(default_factory=list)
    """Those without pixels, in their order."""
    used: int = 0

    @property
    def xmp(self) -> str:
        return self.packets[0].text if self.packets else ""

    def load(self, file: BinaryIO, part: Part) -> bytes:
        """The content of a part, or nothing and a remark where it is too large."""
        return read_at(file, part.body, part.length) if self.has_room(part.length) else b""

    def has_room(self, length: int) -> bool:
        """Take that many bytes from what is allowed for one file; where it has not got them, that is remembered."""
        is_allowed = length <= MAX_TEXT_BYTES and self.used + length <= MAX_ALL_BYTES
        self.used += length if is_allowed else 0
        if not is_allowed:
            self.damage = self.damage or Message("a part of its metadata is too large to be read")
        return is_allowed

    def unpack(self, data: bytes) -> bytes:
        """Compressed data as it was, with the same limits. Raises zlib.error, and ValueError where it is too long."""
        room = min(MAX_TEXT_BYTES, MAX_ALL_BYTES - self.used)
        self.used += room  # also where it fails: the work was done
        text = unpacked(data, room)
        self.used -= room - len(text)
        return text

    def add(self, key: str, text: str) -> None:
        """Take in a text; the first of several counts."""
        if text:
            self.texts.setdefault(key, text)

    def add_exif(self, data: bytes) -> None:
        for name, text in exif.texts(data).items():
            self.add(f"Exif.{name}", text)

    def add_packet(self, part: Part, data: bytes, *, can_be_replaced: bool = True) -> None:
        try:
            text = data[:MAX_PACKET_BYTES].decode()
        except UnicodeDecodeError:
            text, can_be_replaced = data[:MAX_PACKET_BYTES].decode("utf-8", "replace"), False
        self.packets.append(Packet(part, text, can_be_replaced and len(data) <= MAX_PACKET_BYTES))

    def sign(self, data: bytes) -> None:
        self.is_signed = True
        self.manifest += data


def contents_of(file: BinaryIO, suffix: str, size: int) -> Contents:
    """Everything of a file whose format is known. Raises OSError and nothing else."""
    found, take = Contents(), TAKERS.get(suffix, _take_box)
    try:
        for part in parts(file, suffix, size):
            if part.name not in SKIPPED:
                found.parts.append(part)
                _take(take, found, file, part)
    except (DamagedError, struct.error):
        found.damage = Message("it ends early or is damaged")
    if any(value(packet.text, "provenance") for packet in found.packets):  # the manifest is kept at an address
        found.is_signed = True
    return found


def _take(take: "Taker", found: Contents, file: BinaryIO, part: Part) -> None:
    """Look at one part. What is wrong inside of it says nothing about the next one."""
    try:
        take(found, file, part)
    except (DamagedError, struct.error, zlib.error, ValueError, IndexError):
        found.damage = found.damage or Message("a part of its metadata is damaged")


def _take_chunk(found: Contents, file: BinaryIO, part: Part) -> None:
    """A PNG chunk."""
    if part.name == b"caBX":
        found.sign(found.load(file, part))
    elif part.name == b"eXIf":
        found.add_exif(found.load(file, part))
    elif part.name in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, _, rest = found.load(file, part).partition(b"\0")
        key, text = keyword.decode("latin-1"), _png_text(found, part.name, rest)
        if key == XMP_KEYWORD:
            found.add_packet(part, text, can_be_replaced=part.name == b"iTXt" and rest[:1] == b"\0")
        elif key.startswith("Raw profile type"):
            if key.endswith(("xmp", "APP1")):  # ImageMagick's form of a packet: there to be seen, not to be changed
                found.add_packet(part, b"", can_be_replaced=False)
        else:
            found.add(key, text.decode("utf-8" if part.name == b"iTXt" else _plain_encoding(text), "replace"))


def _png_text(found: Contents, name: bytes, rest: bytes) -> bytes:
    """The text behind the keyword. Raises zlib.error, ValueError or IndexError."""
    if name == b"tEXt":
        return rest
    if name == b"zTXt":
        return found.unpack(rest[1:])
    is_compressed, text = rest[0], rest[2:].split(b"\0", 2)[2]
    return found.unpack(text) if is_compressed else text


def _plain_encoding(data: bytes) -> str:
    """A plain text is Latin-1 by the standard, and UTF-8 from many writers."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _take_segment(found: Contents, file: BinaryIO, part: Part) -> None:
    """A JPEG segment."""
    marker = part.name[0]
    if marker != COMMENT and not APP0 <= marker <= APP0 + 15:
        return
    data = found.load(file, part)
    if marker == APP11 and data[:2] == b"JP" and (b"c2pa" in data[:C2PA_LABEL_BYTES] or found.is_signed):
        found.sign(data)
    elif marker == APP1 and data.startswith(b"Exif\0"):
        found.add_exif(data)
    elif marker == APP1 and data.startswith(XMP_SEGMENT):
        found.add_packet(part, data.removeprefix(XMP_SEGMENT))
    elif marker == APP2 and data.startswith(b"MPF\0"):
        found.has_several_pictures = True
    elif marker == COMMENT:
        found.add("Comment", data.decode("utf-8", "replace").strip("\0"))
    if bare := re.match(rb"[\w\0]{0,16}AIGC.{0,4}?\{", data, re.DOTALL):
        found.add(f"{LABEL}segment", data[bare.end() - 1 :].decode("utf-8", "replace"))


def _take_riff(found: Contents, file: BinaryIO, part: Part) -> None:
    """A chunk of a WebP file."""
    if part.name == b"C2PA":
        found.sign(found.load(file, part))
    elif part.name == b"EXIF":
        found.add_exif(found.load(file, part))
    elif part.name == b"XMP ":
        found.add_packet(part, found.load(file, part))


def _take_box(found: Contents, file: BinaryIO, part: Part) -> None:
    """A box of AVIF, HEIC or MP4."""
    if part.name == C2PA_UUID:
        found.sign(found.load(file, part))
    elif part.name == XMP_UUID:
        found.add_packet(part, found.load(file, part))
    elif part.name == b"meta":
        for item in items.of_picture(file, part):
            data = b"".join(found.load(file, place) for place in item.places)
            if item.type == b"mime":
                found.add_packet(part, data, can_be_replaced=False)
            else:
                found.add_exif(data[4 + int.from_bytes(data[:4], "big") :])
    elif part.name == b"moov":
        for box in items.of_film(file, part):
            data = found.load(file, box)
            if b"AIGC" in data and (bare := re.search(rb"\{[^{]{0,40}\"(?:Label|AIGC)\"", data)):
                found.add(f"{LABEL}film", data[bare.start() :].decode("utf-8", "replace"))


Taker = Callable[[Contents, BinaryIO, Part], None]
TAKERS: dict[str, Taker] = {".png": _take_chunk, ".jpg": _take_segment, ".webp": _take_riff}
