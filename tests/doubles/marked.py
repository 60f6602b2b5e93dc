"""Picture files with metadata as services and other tools write it, made by hand."""

import struct
import zlib
from collections.abc import Iterable

from tests.doubles.forms import box, by_pillow

XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
LABEL = '{"Label":"1","ContentProducer":"001191110102MACQD9K64010000","ProduceID":"p-1","PropagateID":"q"}'
AIGC_NAMESPACE = 'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"'
OIDS = {"country": b"\x06\x03\x55\x04\x06", "organisation": b"\x06\x03\x55\x04\x0a", "name": b"\x06\x03\x55\x04\x03"}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def text(keyword: str, words: str) -> bytes:
    return chunk(b"tEXt", keyword.encode() + b"\0" + words.encode())


def packed_text(keyword: str, words: str) -> bytes:
    return chunk(b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(words.encode()))


def long_text(keyword: str, words: str, *, packed: bool = False) -> bytes:
    data = zlib.compress(words.encode()) if packed else words.encode()
    return chunk(b"iTXt", keyword.encode() + bytes([0, packed, 0, 0, 0]) + data)


def png(*chunks: bytes, late: Iterable[bytes] = ()) -> bytes:
    """A PNG with these chunks behind its header, and others before its end."""
    plain = by_pillow("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:-12] + b"".join(late) + plain[-12:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes) -> bytes:
    """A JPEG with these segments behind the one of JFIF."""
    plain = by_pillow("JPEG")
    return plain[:20] + b"".join(segments) + plain[20:]


def riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def webp(*chunks: bytes) -> bytes:
    """A WebP of the extended form with these chunks at its end."""
    plain = by_pillow("WEBP", exif=exif({0x0131: b"x"}))
    inside = plain[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(inside)) + b"WEBP" + inside


def exif(tags: dict[int, bytes], *, order: str = ">", inner: dict[int, bytes] | None = None) -> bytes:
    """An Exif block; `inner` are the tags of its second list. Every value is UNDEFINED, which all readers take."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    entries = {tag: (7, data) for tag, data in sorted(tags.items())}
    size = 8 + 2 + 12 * (len(entries) + bool(inner)) + 4
    first, values = _list(order, entries, size, pointer=bool(inner))
    second = b""
    if inner:
        start = size + len(values)
        second, more = _list(
            order, {tag: (7, data) for tag, data in sorted(inner.items())}, start + 6 + 12 * len(inner)
        )
        first += struct.pack(order + "HHII", 0x8769, 4, 1, start)
        second += bytes(4) + more
    return head + struct.pack(order + "H", len(entries) + bool(inner)) + first + bytes(4) + values + second


def _list(
    order: str, entries: dict[int, tuple[int, bytes]], place: int, *, pointer: bool | None = None
) -> tuple[bytes, bytes]:
    """The entries, and the values that are longer than four bytes, which begin at `place`."""
    lines = b"" if pointer is not None else struct.pack(order + "H", len(entries))
    values = b""
    for tag, (kind, data) in entries.items():
        where = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", place + len(values))
        lines += struct.pack(order + "HHI", tag, kind, len(data)) + where
        values += data if len(data) > 4 else b""
    return lines, values


def jpeg_with_exif(tags: dict[int, bytes], *, inner: dict[int, bytes] | None = None, order: str = ">") -> bytes:
    return jpeg(segment(0xE1, b"Exif\0\0" + exif(tags, inner=inner, order=order)))


def comment(words: str) -> dict[int, bytes]:
    """The user comment as A1111 writes it."""
    return {0x9286: b"UNICODE\0" + words.encode("utf-16-be")}


def packet(inside: str, about: str = '""') -> str:
    """An XMP packet around descriptions."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description rdf:about={about} {AIGC_NAMESPACE}{inside}</rdf:RDF></x:xmpmeta>"
        f"{' ' * 100}<?xpacket end='w'?>"
    )


LABEL_ELEMENT = packet(f"><TC260:AIGC>{LABEL.replace(chr(34), '&quot;')}</TC260:AIGC></rdf:Description>")
LABEL_ATTRIBUTE = packet(f' TC260:AIGC="{LABEL.replace(chr(34), "&quot;")}"/>')


def png_with_xmp(words: str) -> bytes:
    return png(long_text("XML:com.adobe.xmp", words))


def jpeg_with_xmp(words: str) -> bytes:
    return jpeg(segment(0xE1, XMP_SEGMENT + words.encode()))


def webp_with_xmp(words: str) -> bytes:
    """With the flag that says so."""
    data = bytearray(webp(riff(b"XMP ", words.encode())))
    data[20] |= 4
    return bytes(data)


def manifest() -> bytes:
    """A manifest as far as it is looked at: the label, and the certificate of an owner behind that of an issuer."""
    issuer = _name("organisation", b"Some Authority") + _name("name", b"Root")
    owner = _name("country", b"US") + _name("organisation", b"Honest Pictures Ltd")
    dates = b"\x17\x0d260101000000Z\x17\x0d360101000000Z"
    certificate = b"\x30\x82\x02\x00" + issuer + b"\x30\x1e" + dates + owner
    return b"\0\0\0\x20jumb\0\0\0\x18jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0" + certificate


def _name(kind: str, words: bytes) -> bytes:
    return b"\x31\x10\x30\x0e" + OIDS[kind] + b"\x0c" + bytes([len(words)]) + words


def signed() -> dict[str, bytes]:
    """A signed file of each format, by the format's suffix."""
    store = manifest()
    first, rest = store[:60], store[60:]
    head = b"JP\0\x01\0\0\0\x01" + store[:8]
    return {
        ".png": png(chunk(b"caBX", store)),
        ".jpg": jpeg(segment(0xEB, b"JP\0\x01\0\0\0\x01" + first), segment(0xEB, head + rest)),
        ".webp": webp(riff(b"C2PA", store)),
        ".avif": by_pillow("AVIF") + box(b"uuid", C2PA_UUID + bytes(21) + store),
    }


def film_with_label() -> bytes:
    keys = box(b"keys", bytes(4) + struct.pack(">I", 1) + box(b"mdta", b"AIGC"))
    value = box(b"ilst", box(b"\0\0\0\1", box(b"data", struct.pack(">II", 1, 0) + LABEL.encode())))
    meta = box(b"meta", bytes(4) + box(b"hdlr", bytes(24)) + keys + value)
    return box(b"ftyp", b"isom" + bytes(8)) + box(b"moov", box(b"mvhd", bytes(100)) + box(b"udta", meta)) + box(b"mdat")
