import re
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from imagegen_cli.display.preview import half_blocks, show
from tests.doubles.pictures import Pictures
from tests.screen import Paper
from tests.test_display_board import PATIENT

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
Colour = tuple[int, ...]


def saved(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def of(size: tuple[int, int], *pixels: Colour, mode: str = "RGB") -> bytes:
    return saved(Image.frombytes(mode, size, bytes(value for pixel in pixels for value in pixel)))


def block(upper: Colour, lower: Colour, cells: int = 1) -> Segment:
    return Segment("▀" * cells, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))


def size_of(lines: Iterable[list[Segment]]) -> tuple[int, int]:
    """Cells and lines; all lines are as wide as the first."""
    (cells,) = {sum(segment.cell_length for segment in line) for line in lines}
    return cells, len([*lines])


def test_a_cell_has_the_colour_of_the_upper_pixel_before_that_of_the_lower() -> None:
    assert half_blocks(of((2, 2), RED, GREEN, BLUE, WHITE), 2, 1) == [[block(RED, BLUE), block(GREEN, WHITE)]]


def test_equal_neighbours_are_one_segment() -> None:
    assert half_blocks(of((3, 2), RED, RED, RED, BLUE, BLUE, WHITE), 3, 1) == [[block(RED, BLUE, 2), block(RED, WHITE)]]


def test_what_is_transparent_is_black_whatever_its_colour() -> None:
    seen = half_blocks(of((2, 2), (*RED, 255), (*RED, 0), (*WHITE, 0), (*WHITE, 255), mode="RGBA"), 2, 1)
    assert seen == [[block(RED, BLACK), block(BLACK, WHITE)]]


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((64, 64), (32, 16)),
        ((2, 2), (32, 16)),
        ((1600, 900), (40, 11)),
        ((900, 1600), (18, 16)),
        ((1000, 1), (40, 1)),
        ((1, 1000), (1, 16)),
    ],
)
def test_the_shape_is_kept_within_the_room(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert size_of(half_blocks(saved(Image.new("RGB", size)), 40, 16)) == drawn


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("L", "JPEG"),
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "WEBP"),
        ("RGBA", "WEBP"),
    ],
)
def test_pictures_of_every_kind(mode: str, form: str) -> None:
    [[segment]] = half_blocks(saved(Image.new("RGB", (64, 64), "white").convert(mode), form), 2, 1)
    assert segment == block(WHITE, WHITE, 2)


def enlarged(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose header claims a larger picture than it holds."""
    head = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def rescanned(times: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: a few bytes each, and all pixels to go through."""
    data = saved(Image.new("RGB", (64, 64), "red"), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * times + data[-2:]


SMALL = Pictures("png", (64, 64)).make("small", 1)
JPEG = Pictures("jpeg", (64, 64)).make("small", 1)
NOTHING = {
    "empty": b"",
    "words": b"<html>502 Bad Gateway</html>",
    "a start": b"\x89PNG\r\n\x1a\n",
    "half a PNG": SMALL[: len(SMALL) // 2],
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "another format": saved(Image.new("RGB", (8, 8)), "GIF"),
    "too many pixels": Pictures("png", (1536, 1025)).make("large", 1),
    "a bomb that Pillow warns of": enlarged(SMALL, 12_000, 10_000),
    "a bomb that Pillow refuses": enlarged(SMALL, 2**31 - 1, 2**31 - 1),
    "no pixels": enlarged(SMALL, 0, 64),
    "too many bytes": Pictures("png", (64, 64), min_bytes=4 * 1024 * 1024 + 1).make("heavy", 1),
    "too many scans": rescanned(100),
}


@pytest.mark.parametrize("data", NOTHING.values(), ids=NOTHING)
def test_what_cannot_be_drawn_is_nothing_and_says_nothing(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert not half_blocks(data, 40, 16)
    assert not warned
    assert capfd.readouterr() == ("", "")


def test_what_is_just_within_the_limits_is_drawn() -> None:
    assert half_blocks(Pictures("png", (1536, 1024)).make("large", 1), 40, 16)
    assert half_blocks(Pictures("png", (64, 64), min_bytes=4 * 1024 * 1024 - 99).make("heavy", 1), 40, 16)
    assert half_blocks(rescanned(20), 40, 16)


@PATIENT
@given(
    st.sampled_from([Pictures(form, (40, 30)).make("any", 1) for form in ("png", "jpeg", "webp")]),
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=8))),
    st.integers(1, 40),
    st.integers(1, 16),
)
def test_no_bytes_raise_or_leave_their_room(
    data: bytes, changes: list[tuple[float, bytes]], cells: int, lines: int
) -> None:
    for share, change in changes:
        at = int(share * len(data))
        data = data[:at] + change + data[at + len(change) :]
    drawn = half_blocks(data, cells, lines)
    assert len(drawn) <= lines
    assert all(sum(segment.cell_length for segment in line) <= cells for line in drawn)


TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
SQUARE, WIDE, TALL = (64, 64), (64, 32), (32, 64)


def filed(folder: Path, *sizes: tuple[int, int]) -> list[str]:
    paths = [folder / f"{number}.png" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(saved(Image.new("RGB", size, "red")))
    return [str(path) for path in paths]


def shown(
    paths: list[str],
    mode: str = "on",
    *,
    columns: int = 80,
    lines: int = 24,
    environ: Mapping[str, str] = TERMINAL,
    encoding: str = "utf-8",
) -> tuple[str, list[str]]:
    """The remark, and the lines on the screen after an empty one."""
    with Paper(columns, lines, encoding) as paper:
        trouble = show(paths, mode, stdout=paper.stream, environ=environ)
        paper.settle()
        first, *rest = paper.scrollback.splitlines() or [""]
        assert first == ""
        return trouble, rest


def blocks(line: str) -> list[int]:
    """Cells of each picture that a line goes through."""
    return [len(run) for run in re.findall("▀+", line)]


@pytest.mark.parametrize(
    ("columns", "pictures", "cells"),
    [(80, 1, [40]), (80, 2, [38, 38]), (80, 4, [18] * 4), (200, 4, [40] * 4), (200, 9, [40] * 4), (12, 1, [11])],
)
def test_finished_pictures_are_side_by_side(tmp_path: Path, columns: int, pictures: int, cells: list[int]) -> None:
    trouble, lines = shown(filed(tmp_path, *[SQUARE] * pictures), columns=columns)
    assert trouble == ""
    assert {tuple(blocks(line)) for line in lines} == {tuple(cells)}
    assert len(lines) == round(cells[0] / 2)


def test_those_that_find_no_room_beside_others_are_below(tmp_path: Path) -> None:
    _, lines = shown(filed(tmp_path, *[SQUARE] * 4), columns=40)
    assert [*map(blocks, lines)] == [*[[18, 18]] * 9, [], *[[18, 18]] * 9]


def test_pictures_of_other_shapes_keep_their_columns(tmp_path: Path) -> None:
    _, lines = shown(filed(tmp_path, WIDE, TALL, SQUARE), lines=60)
    assert {line.find("▀") for line in lines[:6]} == {0}
    assert [*map(blocks, lines)] == [*[[25, 20, 25]] * 6, *[[20, 25]] * 6, *[[20]] * 8]
    assert {line.rindex(" ") for line in lines[12:]} == {26}


def test_a_low_screen_is_not_overflown_by_one_picture(tmp_path: Path) -> None:
    _, lines = shown(filed(tmp_path, SQUARE), lines=8)
    assert len(lines) == 6


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_cannot_be_drawn_is_told_and_hinders_no_other(tmp_path: Path, place: int) -> None:
    paths = filed(tmp_path, SQUARE, SQUARE, SQUARE)
    Path(paths[place]).write_bytes(b"<svg/>")
    trouble, lines = shown(paths)
    assert trouble.startswith("no preview: UnidentifiedImageError")
    assert {len(blocks(line)) for line in lines} == {2}


@pytest.mark.parametrize(
    ("environ", "encoding", "reason"),
    [
        ({**TERMINAL, "NO_COLOR": "1"}, "utf-8", "no preview: it needs colours"),
        (TERMINAL, "ascii", "no preview: it needs signs that ascii lacks"),
    ],
    ids=["NO_COLOR", "ascii"],
)
def test_without_colours_or_signs_nothing_is_drawn(
    tmp_path: Path, environ: Mapping[str, str], encoding: str, reason: str
) -> None:
    paths = filed(tmp_path, SQUARE)
    assert shown(paths, environ=environ, encoding=encoding) == (reason, [])
    assert shown(paths, "auto", environ=environ, encoding=encoding) == ("", [])


def test_half_blocks_are_drawn_only_where_they_were_asked_for(tmp_path: Path) -> None:
    assert shown(filed(tmp_path, SQUARE), "auto") == ("", [])
    assert shown([]) == ("", [])


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_finished_picture_may_be_large(tmp_path: Path, form: str) -> None:
    path = tmp_path / "large"
    path.write_bytes(Pictures(form, (4096, 4096), min_bytes=20_000_000).make("large", 1))
    trouble, lines = shown([str(path)])
    assert trouble == ""
    assert blocks(lines[0]) == [40]


def test_a_finished_picture_may_not_be_of_any_size(tmp_path: Path) -> None:
    for name, data in (("bomb", enlarged(SMALL, 12_000, 10_000)), ("scans", rescanned(100))):
        path = tmp_path / name
        path.write_bytes(data)
        trouble, lines = shown([str(path)])
        assert trouble.startswith("no preview: TooLarge: ")
        assert lines == []


def test_what_a_library_logs_stays_off_the_screen(tmp_path: Path) -> None:
    code = (
        "import logging, os, sys; from imagegen_cli.display import preview;"
        "preview.show(sys.argv[1:], 'on', stdout=sys.stdout, environ=os.environ);"
        "logging.getLogger('textual_image._terminal').warning('of no use to anybody');"
        "logging.getLogger('PIL.TiffImagePlugin').error('nor this')"
    )
    environ = {**TERMINAL, "PYTHONUTF8": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, "-c", code, *filed(tmp_path, SQUARE)]
    ended = subprocess.run(words, env=environ, capture_output=True, encoding="utf-8", check=True)
    assert ended.stderr == ""
    assert "▀" in ended.stdout
