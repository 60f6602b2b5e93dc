"""One picture that compares many: rows and columns by what was varied, and words for what did not come.

The same pictures and the same fonts give the same bytes. Memory is bounded: pictures are made as small as their cells
one after the other, and the sheet itself has at most `frames.MAX_PIXELS`.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from imagegen_cli.core.language import Message, translated
from imagegen_cli.gallery import frames, labels, words
from imagegen_cli.gallery.frames import CAPTION, CELL, GAP, MARGIN, Box, Frame, fitted
from imagegen_cli.gallery.grids import Band, Cell, Heading, arranged, shared
from imagegen_cli.gallery.labels import Fonts, Text, wrapped
from imagegen_cli.gallery.thumbnails import NoThumbnail, shape, small
from imagegen_cli.gallery.values import Picture, Progress, nothing
from imagegen_cli.gallery.whole import mark, whole

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IN_A_CELL = 9
ROUND = 6
"""Radius of a picture's corners in pixels."""
MAX_LINES = 3
MEASURED = 24
"""Pictures whose shape is looked up, to choose that of the cells."""
SYSTEM = Fonts()


@dataclass(frozen=True, slots=True)
class Paint:
    """The colours of a sheet."""

    ground: str = "#ffffff"
    panel: str = "#f3f2ef"
    ink: str = "#1c1b19"
    quiet: str = "#716d66"
    alarm: str = "#a8322a"


LIGHT = Paint()
DARK = Paint("#141416", "#202024", "#ededee", "#9a9aa3", "#ff9a8f")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What came of it.

    `missing`: places that say why they show no picture. `left_out`: pictures that had no room. `cell`: pixels across.
    `undrawn`: signs of the labels that no font of this machine has; where there are some, a font is to be installed.
    """

    file: Path
    width: int
    height: int
    cell: int
    drawn: int
    missing: int
    left_out: int
    undrawn: str


@dataclass(frozen=True, slots=True)
class _Speaks:
    """The language of the sheet: the one in use, or English where no font has its signs."""

    is_translated: bool

    def text(self, message: str) -> str:
        return translated(message) if self.is_translated else str(message)

    def name(self, name: str) -> str:
        return words.name_shown(name) if self.is_translated else name

    def headings(self, headings: Sequence[Heading]) -> str:
        """Names and values in one line."""
        pair = Message("{name}: {value}")
        return "  ·  ".join(self.text(pair.format(name=self.name(name), value=value)) for name, value in headings)


@dataclass(slots=True)
class _Canvas:
    """The sheet while it is painted. Words are gathered and written at the end, all at once.

    `progress` is told of each of `total` pictures before it is painted. `speaks` brings our own words into the
    language of the sheet.
    """

    image: "Image"
    paint: Paint
    progress: Progress
    total: int
    speaks: "_Speaks"
    texts: list[tuple[int, int, Text]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, x: int, y: int, text: Text) -> int:
        """Put one line there; the height that it takes."""
        if text.words:
            self.texts.append((x, y, text))
        return round(text.px * labels.LINE)

    def panel(self, box: Box) -> None:
        from PIL import ImageDraw  # noqa: PLC0415 - only a sheet needs it

        shape = (box.left, box.top, box.left + box.width - 1, box.top + box.height - 1)
        ImageDraw.Draw(self.image).rounded_rectangle(shape, ROUND, fill=self.paint.panel)

    def picture(self, box: Box, path: str) -> None:
        """A picture with round corners, where the words below its box begin. Raises NoThumbnail."""
        found = small(path, (box.width, box.height))
        mask = _rounded(found.size)
        if found.mode == "RGBA":
            from PIL import ImageChops  # noqa: PLC0415 - only a sheet needs it

            mask = ImageChops.multiply(mask, found.getchannel("A"))
        self.image.paste(found.convert("RGB"), (box.left, box.top + box.height - found.height), mask)


def _rounded(size: tuple[int, int]) -> "Image":
    """A mask with smooth round corners."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - only a sheet needs it

    mask = Image.new("L", (4 * size[0], 4 * size[1]))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * size[0] - 1, 4 * size[1] - 1), 4 * ROUND, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def draw(
    pictures: Sequence[Picture],
    file: Path,
    *,
    title: str = "",
    subject: str = "",
    cell: int = CELL,
    dark: bool = False,
    fresh: bool = False,
    fonts: Fonts = SYSTEM,
    progress: Progress = nothing,
) -> Sheet:
    """Draw a PNG that replaces `file`; `cell` is the most pixels across one picture, fewer where there are very many.

    With `fresh` it replaces nothing and raises FileExistsError. `subject`: see `whole.mark`. Run it off an event loop:
    a picture takes up to a tenth of a second. Raises OSError where the file cannot be written, and ValueError without
    any picture.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    with labels.pen(fonts) as pen:
        speaks = _Speaks(not words.is_english() and not pen.undrawn([words.sample()]))
        paint, common = DARK if dark else LIGHT, speaks.headings(shared(pictures))
        frame = fitted(
            arranged(pictures), _ratio(pictures), cell, lambda width: _header(title, common, width, paint)[1]
        )
        canvas = _Canvas(_blank(frame, paint), paint, progress, frames.pictures_of(frame.grid), speaks)
        for y, text in _header(title, common, frame.width, paint)[0]:
            canvas.write(MARGIN, y, text)
        for band, top in zip(frame.grid.bands, frame.tops(), strict=True):
            _paint_band(canvas, frame, band, top)
        _write_note(canvas, frame)
        _write_all(canvas, pen)
        undrawn = pen.undrawn(text.words for _, _, text in canvas.texts)
    _save(canvas, file, mark("sheet", subject), fresh=fresh)
    return Sheet(
        file, *canvas.image.size, frame.cell, canvas.counts["drawn"], canvas.counts["missing"],
        frame.left_out + canvas.counts["left out"], undrawn,
    )  # fmt: skip


def _ratio(pictures: Sequence[Picture]) -> float:
    """The middle one of some pictures' shapes."""
    found = []
    for picture in [picture for picture in pictures if picture.is_here][:MEASURED]:
        with suppress(NoThumbnail):
            found.append(shape(picture.path))
    return median(found) if found else 1.0


def _blank(frame: Frame, paint: Paint) -> "Image":
    from PIL import Image  # noqa: PLC0415 - only a sheet needs it

    return Image.new("RGB", (frame.width, frame.height), paint.ground)


def _header(title: str, common: str, width: int, paint: Paint) -> tuple[list[tuple[int, Text]], int]:
    """The lines above all, each with its place, and the height that they take."""
    room, y, found = width - 2 * MARGIN, MARGIN, []
    for told, px, colour, bold in (
        (title, frames.TITLE, paint.ink, True),
        (common, frames.SHARED, paint.quiet, False),
    ):
        for line in wrapped(told, px, room, MAX_LINES):
            found.append((y, Text(line, px, colour, room, bold)))
            y += round(px * labels.LINE)
        y += GAP // 2 if told else 0
    return found, y - MARGIN + (GAP if found else 0)


def _paint_band(canvas: _Canvas, frame: Frame, band: Band, top: int) -> None:
    above = frame.above(band)
    if above:
        _write_columns(canvas, frame, band, top)
    top += above
    if band.row:
        width, paint = frames.BESIDE - 2 * GAP, canvas.paint
        y = top + canvas.write(MARGIN, top, Text(canvas.speaks.name(band.row.name), frames.NAME, paint.quiet, width))
        for line in wrapped(band.row.value, frames.VALUE, width, MAX_LINES):
            y += canvas.write(MARGIN, y, Text(line, frames.VALUE, paint.ink, width, bold=True))
    for column, cell in enumerate(band.cells):
        _paint_cell(canvas, frame, frame.box(column, top), cell)


def _write_columns(canvas: _Canvas, frame: Frame, band: Band, top: int) -> None:
    """The name of the block, and what each column has in common."""
    paint = canvas.paint
    if band.block:
        room = frame.width - 2 * MARGIN
        name = canvas.speaks.headings(band.block)
        canvas.write(MARGIN, top + frames.BLOCK, Text(name, frames.BLOCK, paint.ink, room, bold=True))
        top += 3 * frames.BLOCK
    for column, heading in enumerate(frame.grid.columns):
        box = frame.box(column, top)
        name = canvas.speaks.name(heading.name)
        y = top + canvas.write(box.left, top, Text(name, frames.NAME, paint.quiet, box.width))
        canvas.write(box.left, y, Text(heading.value, frames.VALUE, paint.ink, box.width, bold=True))


def _paint_cell(canvas: _Canvas, frame: Frame, box: Box, cell: Cell) -> None:
    shown = cell[:MAX_IN_A_CELL]
    canvas.counts["left out"] += len(cell) - len(shown)
    if not cell:
        canvas.panel(box)
        _write_reason(canvas, box, "", words.UNASKED)
    for part, picture in zip(box.split(len(shown)) if shown else (), shown, strict=True):
        _paint_picture(canvas, part, picture)
    y = box.top + box.height + GAP // 2
    for line in _caption(cell, canvas.speaks)[: frame.captions]:
        y += canvas.write(box.left, y, Text(line, CAPTION, canvas.paint.quiet, box.width))


def _caption(cell: Cell, speaks: _Speaks) -> list[str]:
    """Where the pictures are to be found again, and what they are of where no column says it."""
    if not cell:
        return []
    tasks = ", ".join(map(str, dict.fromkeys(picture.task for picture in cell)))
    where = Message("task {task}").format(task=tasks)
    if len(cell) > 1:
        where = Message("task {task}, {count} pictures").format(task=tasks, count=len(cell))
    of = speaks.headings([Heading(*pair) for pair in cell[0].axes]) or cell[0].prompt
    return [speaks.text(where), of]


def _paint_picture(canvas: _Canvas, box: Box, picture: Picture) -> None:
    state, reason = words.STATES.get(picture.state, picture.state), picture.reason or words.NO_PICTURE
    canvas.progress(canvas.counts["drawn"] + canvas.counts["missing"], canvas.total)
    if picture.path and picture.reason:
        state = words.STATES["not shown"]
    elif picture.path:
        try:
            canvas.picture(box, picture.path)
        except NoThumbnail as error:
            state, reason = words.STATES["not shown"], picture.reason or error.args[0]
        else:
            canvas.counts["drawn"] += 1
            return
    canvas.counts["missing"] += 1
    canvas.panel(box)
    _write_reason(canvas, box, state, reason)


def _write_reason(canvas: _Canvas, box: Box, state: str, reason: str) -> None:
    """As many lines as fit into the box."""
    state, reason = map(canvas.speaks.text, (state, reason))
    px, inner = frames.REASON, box.inside(min(14, box.width // 8))
    lines, y = inner.height // round(px * labels.LINE), inner.top
    if state and lines > 0:
        y += canvas.write(inner.left, y, Text(state, px, canvas.paint.alarm, inner.width, bold=True))
        lines -= 1
    for line in wrapped(reason, px, inner.width, lines) if lines > 0 else ():
        y += canvas.write(inner.left, y, Text(line, px, canvas.paint.quiet, inner.width))


def _write_note(canvas: _Canvas, frame: Frame) -> None:
    left = frame.left_out + canvas.counts["left out"]
    if frame.left_out:
        note = canvas.speaks.text(Message("{count} more are not on this sheet.").format(count=left))
        y = frame.height - MARGIN // 2 - 2 * CAPTION
        canvas.write(MARGIN, y, Text(note, CAPTION, canvas.paint.quiet, frame.width - 2 * MARGIN))


def _write_all(canvas: _Canvas, pen: labels.Pen) -> None:
    drawn = pen.draw([text for _, _, text in canvas.texts])
    for (x, y, _), strip in zip(canvas.texts, drawn, strict=True):
        canvas.image.paste(strip.convert("RGB"), (x, y), strip.getchannel("A"))


def _save(canvas: _Canvas, file: Path, software: str, *, fresh: bool) -> None:
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415 - only a sheet needs it

    said = PngInfo()
    said.add_text("Software", software)
    if labels.has_emoji(text.words for _, _, text in canvas.texts):
        said.add_text("Copyright", labels.ARTIST)
    with whole(file, fresh=fresh) as stream:
        canvas.image.save(stream, "PNG", compress_level=6, pnginfo=said)
