"""A whole file of every form that a service may send, with the suffix that it should get."""

import struct
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image

from tests.doubles.pictures import Pictures

UNMARKED = (".jxl", ".psd", ".flac", ".mp3")
"""Forms of which the sample says nowhere where it ends."""


def by_pillow(form: str, **how: Any) -> bytes:
    """A picture with enough in it that its data has a middle."""
    colours = bytes(number * 37 % 251 for number in range(3 * 40 * 30))
    file = BytesIO()
    Image.frombytes("RGB", (40, 30), colours).save(file, form, **how)
    return file.getvalue()


def jpeg_with_thumbnail() -> bytes:
    """As cameras write it: a small JPEG, end mark included, inside a segment before the picture itself."""
    small, large = Pictures("jpeg", (8, 8)).make("small", 1), by_pillow("JPEG", quality=95)
    segment = b"Exif\0\0" + small
    return large[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + large[2:]


def box(name: bytes, content: bytes = b"", *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, name, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8, name) + content


def film(brand: bytes, *more: bytes) -> bytes:
    return box(b"ftyp", brand + bytes(4) + b"isom") + b"".join(more)


def matroska(kind: bytes) -> bytes:
    head = b"\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(kind)]) + kind
    content = bytes(range(200))
    size = (0x4000 | len(content)).to_bytes(2, "big")
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(head)]) + head + b"\x18\x53\x80\x67" + size + content


def riff(kind: bytes) -> bytes:
    content = kind + b"fmt " + bytes(60)
    return b"RIFF" + struct.pack("<I", len(content)) + content


@cache
def samples() -> dict[str, tuple[str, bytes]]:
    """Suffix and bytes by a name of the sample."""
    data = bytes(range(1, 256)) * 3
    moov, mdat = box(b"moov", data), box(b"mdat", data)
    return {
        "png": (".png", by_pillow("PNG")),
        "jpeg": (".jpg", by_pillow("JPEG")),
        "progressive jpeg": (".jpg", by_pillow("JPEG", progressive=True)),
        "jpeg with a thumbnail": (".jpg", jpeg_with_thumbnail()),
        "webp": (".webp", by_pillow("WEBP")),
        "gif": (".gif", by_pillow("GIF")),
        "animated gif": (".gif", by_pillow("GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), "red")])),
        "avif": (".avif", by_pillow("AVIF")),
        "heic": (".heic", film(b"heic", box(b"meta", data), mdat)),
        "heic by its second brand": (".heic", box(b"ftyp", b"mif1\0\0\0\0mif1heic") + box(b"meta", data) + mdat),
        "bmp": (".bmp", by_pillow("BMP")),
        "tiff": (".tiff", by_pillow("TIFF")),
        "packed tiff": (".tiff", by_pillow("TIFF", compression="tiff_lzw")),
        "svg": (".svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><svg><g/></svg><g/></svg>\n"),
        "jxl": (".jxl", b"\xff\x0a" + data),
        "boxed jxl": (".jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + film(b"jxl ", box(b"jxlc", data))),
        "boxed jxl in parts": (
            ".jxl",
            b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlp", bytes(4) + data) + box(b"jxlp", b"\x80\0\0\1" + data),
        ),
        "jpeg 2000": (".jp2", by_pillow("JPEG2000")),
        "psd": (".psd", b"8BPS\0\1" + bytes(6) + data),
        "mp4": (".mp4", film(b"isom", moov, box(b"mdat", data, wide=True))),
        "mp4 in fragments": (".mp4", film(b"iso5", moov, box(b"moof", data), mdat, box(b"mfra", data))),
        "quicktime": (".mov", film(b"qt  ", mdat, moov)),
        "m4a": (".m4a", film(b"M4A ", moov, mdat)),
        "webm": (".webm", matroska(b"webm")),
        "matroska": (".mkv", matroska(b"matroska")),
        "wav": (".wav", riff(b"WAVE")),
        "avi": (".avi", riff(b"AVI ")),
        "flac": (".flac", b"fLaC\0\0\0\x22" + data),
        "ogg": (".ogg", b"OggS\0\2" + data + b"OggS\0\4" + bytes(20) + b"\1\x40" + bytes(64)),
        "mp3": (".mp3", b"ID3\4\0\0" + data),
        "pdf": (".pdf", by_pillow("PDF")),
        "glb": (".glb", b"glTF" + struct.pack("<II", 2, 12 + len(data)) + data),
    }
