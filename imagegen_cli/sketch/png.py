"""PNG by hand: chunks into a finished picture, and small pictures out of raw samples."""

import struct
import zlib
from base64 import b64encode

SIGNATURE_AND_HEADER = 8 + 25
"""Bytes before the place where text may be put: the signature and IHDR."""

GREY_WITH_ALPHA = 4


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_chunk(key: str, text: str) -> bytes:
    """An iTXt chunk: any language, no NUL."""
    return chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.replace("\0", " ").encode("utf-8", "replace"))


def with_texts(picture: bytes, texts: dict[str, str]) -> bytes:
    chunks = b"".join(text_chunk(key, text) for key, text in texts.items() if text)
    return picture[:SIGNATURE_AND_HEADER] + chunks + picture[SIGNATURE_AND_HEADER:]


def alpha_address(samples: bytes, width: int, white: int = 255) -> str:
    """A data address of a picture in one grey, as opaque as each sample says."""
    height = len(samples) // width
    grey = bytes([white])
    rows = (samples[at * width : (at + 1) * width] for at in range(height))
    raw = b"".join(b"\0" + grey + grey.join(row[i : i + 1] for i in range(width)) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, GREY_WITH_ALPHA, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 1)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()
