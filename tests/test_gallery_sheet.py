"""One picture that compares many: what stands where, what its words say, and the same bytes every time."""

import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagegen_cli.gallery import frames, labels, sheet
from imagegen_cli.gallery.grids import Grid, Heading, arranged, shared
from imagegen_cli.gallery.labels import Fonts, Text, one_line, wrapped
from imagegen_cli.gallery.sheet import draw
from imagegen_cli.gallery.values import Picture

OWN = Fonts(system=False)
"""Only the font that we bring, so that a test sees the same on every machine."""


def of(path: str = "", task: int = 1, **values: Any) -> Picture:
    axes = tuple((name, str(value)) for name, value in values.pop("axes", {}).items())
    return Picture(path=path, prompt=values.pop("prompt", "a fox"), task=task, run=1, axes=axes, **values)


def compared(*axes: tuple[str, list[str]], each: int = 1) -> list[Picture]:
    names = [name for name, _ in axes]
    combinations = product(*(values for _, values in axes))
    return [
        of(task=task, index=index, axes=dict(zip(names, values, strict=True)))
        for task, values in enumerate(combinations, 1)
        for index in range(1, each + 1)
    ]


def coloured(folder: Path, colour: str, size: tuple[int, int] = (640, 640)) -> str:
    file = folder / f"{colour[1:]}-{size[0]}x{size[1]}.png"
    if not file.exists():
        Image.new("RGB", size, colour).save(file)
    return str(file)


def tasks(grid: Grid) -> list[list[list[int]]]:
    return [[[picture.task for picture in cell] for cell in band.cells] for band in grid.bands]


def test_two_axes_are_rows_and_columns() -> None:
    grid = arranged(compared(("model", ["a", "b"]), ("ratio", ["1:1", "16:9", "9:16"])))
    assert [heading.value for heading in grid.columns] == ["1:1", "16:9", "9:16"]
    assert [band.row for band in grid.bands] == [Heading("model", "a"), Heading("model", "b")]
    assert tasks(grid) == [[[1], [2], [3]], [[4], [5], [6]]]


def test_further_axes_are_blocks() -> None:
    axes = ("model", ["a", "b"]), ("ratio", ["1:1", "16:9", "9:16"]), ("seed", ["7", "8"]), ("negative", ["", "x"])
    grid = arranged(compared(*axes))
    blocks = [[heading.value for heading in band.block] for band in grid.bands if band.block]
    assert blocks == [["7", ""], ["7", "x"], ["8", ""], ["8", "x"]]
    assert len(grid.bands) == 8
    assert tasks(grid)[0] == [[1], [5], [9]]


def test_one_axis_is_a_row_while_it_is_short() -> None:
    assert len(arranged(compared(("seed", [str(seed) for seed in range(6)]))).bands) == 1
    long = arranged(compared(("seed", [str(seed) for seed in range(60)])))
    assert (long.columns, max(len(band.cells) for band in long.bands)) == ((), 9)


def test_the_longer_axis_goes_down_where_it_is_too_long_to_go_across() -> None:
    grid = arranged(compared(("model", ["a", "b"]), ("seed", [str(seed) for seed in range(40)])))
    assert [heading.name for heading in grid.columns] == ["model", "model"]
    assert len(grid.bands) == 40


def test_pictures_of_one_combination_share_a_cell() -> None:
    grid = arranged(compared(("model", ["a", "b"]), each=4))
    assert tasks(grid) == [[[1, 1, 1, 1], [2, 2, 2, 2]]]


def test_what_was_paired_has_no_rows_of_nothing() -> None:
    pictures = [of(task=at, axes={"model": at, "ratio": at, "seed": at}) for at in range(3)]
    assert len(arranged(pictures).bands) == 3


def test_an_axis_of_one_value_is_said_once_above() -> None:
    pictures = [of(task=at, axes={"model": "a", "seed": at}, parameters=(("ratio", "1:1"),)) for at in range(3)]
    assert [heading.name for heading in arranged(pictures).columns] == ["seed"] * 3
    assert shared(pictures) == [Heading("model", "a"), Heading("ratio", "1:1")]


def test_twelve_tasks_make_one_sheet_of_equal_bytes(tmp_path: Path) -> None:
    colours = ["#aa3344", "#33aa44", "#3344aa"]
    pictures = []
    for task, (model, ratio, seed) in enumerate(product("ab", ["1:1", "16:9", "9:16"], "78"), 1):
        axes = {"model": model, "ratio": ratio, "seed": seed}
        size = {"1:1": (400, 400), "16:9": (640, 360), "9:16": (360, 640)}[ratio]
        pictures.append(of(coloured(tmp_path, colours[task % 3], size), task, axes=axes))
    pictures[4] = of("", 5, axes=dict(pictures[4].axes), state="failed", reason="the service refused it")
    pictures[7] = of(str(tmp_path / "gone.png"), 8, axes=dict(pictures[7].axes))

    first = draw(pictures, tmp_path / "first.png", title="a fox 🦊 模型", fonts=OWN)
    second = draw(pictures, tmp_path / "second.png", title="a fox 🦊 模型", fonts=OWN)

    assert (first.drawn, first.missing, first.left_out) == (10, 2, 0)
    assert first.undrawn == "模型"
    assert first.file.read_bytes() == second.file.read_bytes()
    with Image.open(first.file) as image:
        assert image.size == (first.width, first.height)
        assert "Twemoji" in image.info["Copyright"]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".png"] * len([*tmp_path.iterdir()])


def test_pictures_stand_in_their_cells_and_keep_their_shape(tmp_path: Path) -> None:
    pictures = [
        of(coloured(tmp_path, "#ff0000", (400, 400)), 1, axes={"seed": 1}),
        of(coloured(tmp_path, "#0000ff", (400, 200)), 2, axes={"seed": 2}),
        of(coloured(tmp_path, "#00ff00", (400, 400)), 3, axes={"seed": 3}),
    ]
    made = draw(pictures, tmp_path / "sheet.png", fonts=OWN, cell=200)
    with Image.open(made.file) as image:
        found = {rgb: count for count, rgb in image.getcolors(1 << 20) or [] if rgb in ((255, 0, 0), (0, 0, 255))}
    assert found[255, 0, 0] == pytest.approx(200 * 200, rel=0.01)
    assert found[0, 0, 255] == pytest.approx(200 * 100, rel=0.01)


def test_what_is_transparent_shows_the_ground(tmp_path: Path) -> None:
    Image.new("RGBA", (200, 200), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    made = draw([of(str(tmp_path / "clear.png"))], tmp_path / "sheet.png", fonts=OWN)
    with Image.open(made.file) as image:
        assert not [rgb for _, rgb in image.getcolors(1 << 20) or [] if rgb == (255, 0, 0)]


def ink(file: Path) -> int:
    """Pixels that are neither the ground nor the panel."""
    with Image.open(file) as image:
        counts = sorted(count for count, _ in image.getcolors(1 << 24) or [])
    return sum(counts[:-2])


def test_a_missing_picture_says_why_in_its_cell(tmp_path: Path) -> None:
    """More words, more ink; what the words are is looked at, not tested."""
    files = {}
    for name, reason in {
        "none": "",
        "short": "no",
        "long": "the service refused this prompt for many good reasons",
    }.items():
        files[name] = draw([of(state="failed", reason=reason)], tmp_path / f"{name}.png", fonts=OWN).file
    assert ink(files["short"]) < ink(files["long"])


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2000)])
def test_any_shape_of_picture_can_be_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    made = draw([of(coloured(tmp_path, "#123456", size))], tmp_path / "sheet.png", fonts=OWN)
    assert made.drawn == 1


@pytest.mark.parametrize(
    ("axes", "each"),
    [
        ([], 9000), ([("seed", 5000)], 1), ([("seed", 120), ("model", 120)], 1), ([("a", 2), ("b", 900)], 1),
        ([("a", 9), ("b", 9), ("c", 60)], 1), ([("a", 2)], 30),
    ],
)  # fmt: skip
def test_a_sheet_has_bounds_and_says_what_is_not_on_it(axes: list[tuple[str, int]], each: int) -> None:
    named = [(name, [str(at) for at in range(count)]) for name, count in axes]
    pictures = compared(*named, each=each)
    frame = frames.fitted(arranged(pictures), 1.0, 320, lambda _: 200)
    assert frame.width * frame.height <= frames.MAX_PIXELS
    assert max(frame.width, frame.height) <= frames.MAX_SIDE
    assert frames.pictures_of(frame.grid) + frame.left_out == len(pictures)
    assert frames.pictures_of(frame.grid) > 0


def test_many_pictures_in_a_cell_are_cut_and_counted(tmp_path: Path) -> None:
    path = coloured(tmp_path, "#884422", (60, 60))
    pictures = [of(path, task, axes={"model": task % 2}) for task in range(24)]
    made = draw(pictures, tmp_path / "sheet.png", fonts=OWN)
    assert (made.drawn, made.left_out) == (18, 6)


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """What Python itself holds; the decoder's own memory is one picture at a time."""
    path = coloured(tmp_path, "#225588", (64, 64))
    tracemalloc.start()
    draw([of(path, task) for task in range(150)], tmp_path / "sheet.png", fonts=OWN, cell=96)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 30_000_000


def test_no_picture_makes_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw([], tmp_path / "sheet.png")


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    path = coloured(tmp_path, "#225588")

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw([of(path)], tmp_path / "sheet.png", fonts=OWN, progress=stop)
    assert [*tmp_path.iterdir()] == [Path(path)]


def strips(texts: list[Text], fonts: Fonts = OWN) -> list[Image.Image]:
    with labels.pen(fonts) as pen:
        return list(pen.draw(texts))


@pytest.mark.parametrize(
    "words", ["a long label that goes on and on " * 9, "很长的提示词" * 40, "🐱" * 60, "W" * 300, "ﷺ" * 99]
)
@pytest.mark.parametrize("width", [1, 12, 60, 333])
def test_a_long_label_is_cut_to_its_width(words: str, width: int) -> None:
    [strip] = strips([Text(words, 15, "#000000", width)])
    assert strip.width == width


def test_a_label_that_fits_is_whole() -> None:
    short, cut = strips([Text("seed 7", 15, "#000000", 200), Text("seed 7 " * 20, 15, "#000000", 200)])
    ends = [box[2] for box in (short.getbbox(), cut.getbbox()) if box]
    assert ends[0] < 80
    assert 180 < ends[1] <= 200


def test_emoji_have_their_colours_on_every_machine() -> None:
    colours = [
        strip.getcolors(1 << 16) or []
        for strip in strips([Text(w, 30, "#000000", 200) for w in ("🐱", "a", "👩‍👩‍👧‍👦 🇨🇳 1️⃣ ⚡")])
    ]
    coloured_ = [sum(1 for _, (r, g, b, *_) in found if max(r, g, b) - min(r, g, b) > 60) for found in colours]  # type: ignore[misc]
    assert coloured_[0] > 0
    assert coloured_[1] == 0
    assert coloured_[2] > 0


def test_letters_that_emoji_also_have_stay_letters() -> None:
    assert not labels.has_emoji(["© ™ 3 # * ℹ ↔ 模型 abc"])
    assert labels.has_emoji(["3️⃣"])
    assert labels.has_emoji(["abc ⚡"])


def test_a_sign_that_no_font_has_is_told() -> None:
    with labels.pen(OWN) as pen:
        assert pen.undrawn(["plain words", "模型 v3", "Привет", "🐱", "模"]) == "模型Привет"
        assert pen.undrawn(["plain words only"]) == ""


def test_a_system_with_a_chinese_font_draws_chinese() -> None:
    with labels.pen(Fonts()) as pen:
        if pen.undrawn(["模"]):
            pytest.skip("this system has no Chinese font (Debian: fonts-wqy-microhei)")
    plain_, chinese = strips([Text("模", 40, "#000000", 80), Text("型", 40, "#000000", 80)], Fonts())
    assert plain_.tobytes() != chinese.tobytes()


HOSTILE = [
    "</text><image href='file:///etc/passwd'/>",
    "&#0; &lol;",
    "]]>",
    "\0\x1b[31m\x07",
    "\ud800",
    "\u202eabc",
    "a\n\n\tb",
    "<!--",
    "'\"" * 9,
    "\ufffe",
]


@pytest.mark.parametrize("words", HOSTILE)
def test_no_text_can_break_a_sheet(tmp_path: Path, words: str) -> None:
    odd = of(axes={words: words}, prompt=words, state=words, reason=words, parameters=((words, words),))
    made = draw([odd, of(axes={words: "other"})], tmp_path / "sheet.png", title=words, fonts=OWN)
    assert made.missing == 2


def test_labels_are_one_line_of_what_can_be_seen() -> None:
    assert one_line("a\n b\t\tc\u202e\u200bd\0e") == "a b cde"
    assert one_line("👩‍👩‍👧‍👦") == "👩‍👩‍👧‍👦"


def test_words_are_wrapped_to_lines_that_hold_all_of_them() -> None:
    words = "the service refused this prompt 内容审核未通过请修改提示词后再试 and nothing was spent"
    lines = wrapped(words, 13, 120, 20)
    assert len(lines) > 4
    assert "".join("".join(lines).split()) == "".join(words.split())
    assert len(wrapped(words, 13, 120, 3)) == 3
    assert wrapped("", 13, 120, 3) == []


def test_a_dark_sheet_is_dark(tmp_path: Path) -> None:
    made = [draw([of(reason="no")], tmp_path / f"{dark}.png", fonts=OWN, dark=dark).file for dark in (False, True)]
    corners = []
    for file in made:
        with Image.open(file) as image:
            corners.append(image.getpixel((0, 0)))
    assert corners == [(255, 255, 255), (20, 20, 22)]
    assert sheet.DARK.ground == "#141416"
