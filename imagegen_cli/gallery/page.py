"""One HTML page of many pictures, which works from the disk without a network.

What the page may do is fixed by a Content-Security-Policy that names its one script and one style by their hashes;
texts are data, and the script puts them in as text. The script, the style and the skeleton are files beside this one.
"""

import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from imagegen_cli.core.language import translated
from imagegen_cli.gallery import words
from imagegen_cli.gallery.beside import Folder, tidy
from imagegen_cli.gallery.thumbnails import Thumbnail, thumbnails, trim
from imagegen_cli.gallery.values import Pairs, Picture, Progress, nothing, plain
from imagegen_cli.gallery.whole import mark, whole

MAX_INSIDE = 500
"""Pictures whose thumbnails are in the page itself. Of more, they lie in a folder beside it: 28 times sooner ready."""
PART = 100
"""Pictures whose data stand together: thumbnails in the page are read part by part."""

ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""What could end the element, or a line, that data stand in."""


@dataclass(frozen=True, slots=True)
class Page:
    """What came of it. `folder` belongs to the page and must be moved with it; None where the page is one file.

    `made`: thumbnails that the cache did not have. `broken`: files that cannot be shown, and why.
    """

    file: Path
    folder: Path | None
    pictures: int
    missing: int
    made: int
    broken: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Tally:
    made: int = 0
    missing: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


def write(
    pictures: Sequence[Picture],
    file: Path,
    cache_folder: Path,
    *,
    title: str = "",
    subject: str = "",
    single: bool = False,
    fresh: bool = False,
    progress: Progress = nothing,
) -> Page:
    """Write a page that replaces `file`; thumbnails are kept in `cache_folder`.

    Above MAX_INSIDE pictures it has a folder `NAME_files` beside it, unless it is to be `single`. The page itself is
    written whole or not at all; with `fresh` it replaces nothing and raises FileExistsError. `subject`: see
    `whole.mark`. Raises OSError. Run it in a thread: a thumbnail that is made takes up to a tenth of a second, one that
    is kept a ten-thousandth.
    """
    beside = file.with_name(f"{file.stem}_files")
    folder = None if single or len(pictures) <= MAX_INSIDE else Folder(beside, file.name)
    tally = _Tally()
    head, tail = _skeleton(
        title or translated(words.SKELETON["Pictures"]), beside if folder else None, mark("gallery", subject)
    )
    with folder.filled() if folder else nullcontext(), whole(file, fresh=fresh) as stream:
        stream.write(head)
        for part in _parts(pictures, cache_folder, progress):
            _write_part(stream, part, file.parent, folder, tally)
        stream.write(tail)
    tidy(beside, file.name, map(_thumbnail_name, tally.keys) if folder else ())
    if tally.made:
        trim(cache_folder, tally.keys)
    return Page(file, folder.path if folder else None, len(pictures), tally.missing, tally.made, tuple(tally.broken))


def _parts(
    pictures: Sequence[Picture], cache_folder: Path, progress: Progress
) -> Iterator[list[tuple[Picture, Thumbnail]]]:
    made = thumbnails([picture.path for picture in pictures if picture.is_here], cache_folder)
    pairs = _counted(pictures, made, progress)
    while part := list(islice(pairs, PART)):
        yield part


def _counted(
    pictures: Sequence[Picture], made: Iterator[Thumbnail], progress: Progress
) -> Iterator[tuple[Picture, Thumbnail]]:
    for done, picture in enumerate(pictures):
        progress(done, len(pictures))
        yield picture, next(made) if picture.is_here else Thumbnail(why=picture.reason if picture.path else "")


def _write_part(
    stream: BinaryIO, part: Iterable[tuple[Picture, Thumbnail]], home: Path, folder: Folder | None, tally: _Tally
) -> None:
    entries, inside = [], []
    for picture, thumbnail in part:
        entries.append(_entry(picture, thumbnail, home))
        _count(picture, thumbnail, tally)
        if folder is None:
            inside.append(b64encode(thumbnail.data).decode())
        elif thumbnail.key:
            folder.keep(_thumbnail_name(thumbnail.key), thumbnail.data)
    stream.write(_script("pictures", entries))
    if folder is None:
        stream.write(_script("thumbnails", inside))


def _count(picture: Picture, thumbnail: Thumbnail, tally: _Tally) -> None:
    tally.made += thumbnail.made
    tally.missing += not picture.path
    tally.keys.add(thumbnail.key)
    if thumbnail.why:
        tally.broken.append((picture.path, picture.reason or thumbnail.why))


def _entry(picture: Picture, thumbnail: Thumbnail, home: Path) -> dict[str, Any]:
    """What the script reads, under names of one letter: there are thousands of them.

    `m`: the file was missing already, or is another one, so that the page never asks for it.
    """
    is_missing = bool(picture.path and thumbnail.why) and not (picture.is_here and _can_be_read(picture.path))
    return {
        "p": plain(picture.prompt), "t": picture.task, "r": picture.run, "i": picture.index,
        "a": _pairs(picture.parameters), "x": _pairs(picture.axes), "c": plain(picture.command),
        "s": plain(picture.state), "y": plain(translated(picture.reason or thumbnail.why)),
        "k": thumbnail.key, "w": thumbnail.width, "h": thumbnail.height,
        "f": _address(picture.path, home), "n": plain(os.path.basename(picture.path)),  # noqa: PTH119 - as it is
    } | ({"m": 1} if is_missing else {})  # fmt: skip


def _can_be_read(path: str) -> bool:
    with suppress(ValueError):  # a path with NUL in it
        return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113 - as it is
    return False


def _pairs(pairs: Pairs) -> list[list[str]]:
    return [[plain(name), plain(value)] for name, value in pairs]


def _address(path: str, home: Path) -> str:
    """The address of a file from the page's folder, so that both can be moved together."""
    if not path:
        return ""
    try:
        way = Path(os.path.relpath(path, home))
    except ValueError:  # another drive
        return Path(path).absolute().as_uri()
    return "/".join(quote(part.encode("utf-8", sys.getfilesystemencodeerrors()), safe="") for part in way.parts)


def _thumbnail_name(key: str) -> str:
    return f"{key}.webp"


def _script(kind: str, data: object) -> bytes:
    return f'<script type="application/json" class="{kind}">{_json(data)}</script>\n'.encode()


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(ESCAPES)


def _skeleton(title: str, folder: Path | None, mark_: str) -> tuple[bytes, bytes]:
    """What stands before the data and after it."""
    style, script = _file("page.css"), _file("page.js")
    policy = (
        f"default-src 'none'; img-src 'self' data: file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = {"folder": quote(os.fsencode(folder.name), safe="") if folder else "", "part": PART}
    values = {
        "policy": policy, "style": style, "script": script, "title": escape(" ".join(plain(title).split())),
        "mark": mark_, "language": words.language(), "page": _json(page | words.of_the_script()),
    }  # fmt: skip
    head, tail = _file("page.html").split("{{data}}")
    return _filled(head, values), _filled(tail, values)


def _filled(template: str, values: dict[str, str]) -> bytes:
    """In one pass: what a value says is never taken for a place. `{{tr Words}}` is the place of words of ours."""

    def value(found: re.Match[str]) -> str:
        return escape(translated(words.SKELETON[found[1]])) if found[1] else values[found[2]]

    return re.sub(r"\{\{(?:tr ([^{}]+)|(\w+))\}\}", value, template).encode()


@cache
def _file(name: str) -> str:
    return files("imagegen_cli.gallery").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
