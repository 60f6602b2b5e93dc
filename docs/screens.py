"""Record the README's pictures from real runs: python -m docs.screens [NAME]...

The program runs in an emulated terminal against doubles of two services: `studio` tells nothing before it is done,
`gpu` tells steps, its queue and previews. Both have carried a few tasks before, so that times can be estimated.
What stands on the screen becomes an SVG. `sheet` and `gallery` are what the commands of these names make of pictures by
`sketch`; the page is photographed in Chromium. `recording` is a film of two runs, moment by moment.
"""

import argparse
import csv
import html
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO, StringIO
from itertools import cycle, groupby, islice
from pathlib import Path
from typing import Any

import pyte
import resvg_py
from PIL import Image, ImageFilter
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from imagegen_cli.display.preview import HALF
from imagegen_cli.display.terminal import END
from imagegen_cli.sketch.order import Order
from imagegen_cli.sketch.picture import draw
from tests.doubles import comfyui, dreamina
from tests.doubles.http import Job, Pictures, Reply
from tests.program import Program as Plain, finished
from tests.screen import Emulator, Program

FOLDER = Path(__file__).parent
FONTS = "font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', monospace"
"""Fonts that readers have; the picture fetches none."""
THEME = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (88, 166, 255), (188, 140, 255), (57, 197, 207),
     (177, 186, 196)],
)  # fmt: skip
CELL = 12.2
"""Pixels in Rich's SVG that a cell is wide, and half as many as it is high."""

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
model = "4.0"
concurrency = 6
[providers.gpu]
kind = "comfyui"
base_url = "{gpu}"
model = "dream-xl"
poll = 0.2
"""
SERVICES = ("studio", "studio", "studio", "gpu")
LIGHTHOUSE = "a lighthouse in a storm"
CHINESE = ["日落海滩上的两只猫，温暖的光", "雪山下的红色小屋，夜晚", "水墨风格的江南古镇", "赛博朋克城市，雨夜霓虹",
           "森林里的鹿，清晨薄雾", "宇航员骑着白马，油画", "樱花树下的古寺", "沙漠中的绿洲与骆驼",
           "月光下的竹林，写意国画", "海底城市，发光的水母", "热气球飞过梯田", "旧书店里的猫，暖色灯光"]  # fmt: skip
ENGLISH = ["a lighthouse in a storm", "two foxes in the snow", "a red boat at dawn", "an astronaut on a horse",
           "a castle above the clouds", "an old bookshop, warm light", "a whale between stars", "a tram in the rain",
           "a bamboo grove by moonlight", "an orchid, macro", "balloons over terraces", "a fox with a hat"]  # fmt: skip
COMPARED = "a red fox in the snow 雪中的红狐 🦊"
VARIED = ("-m", "sketch-3", "-m", "sketch-4", "--vary", "ratio=1:1,16:9,9:16", "--vary", "seed=7,8")
TROUBLE = {
    "a portrait of a famous politician": "#fail",
    "a poster with a famous slogan": "#fail",
    "a castle above the clouds": "#partial",
    "a lake in the mountains": "#never",
    "a harbour at night": "#1002",
    "a clockwork bird": "#lost",
}
"""What becomes of some prompts; the doubles read it behind the prompt."""


class Studio(dreamina.DreaminaServer):
    """No two tasks take the same time."""

    def _text_to_image(self, payload: dict[str, Any]) -> Reply:
        return super()._text_to_image(payload | {"prompt": payload["prompt"] + TROUBLE.get(payload["prompt"], "")})

    def _new_job(self, payload: dict[str, Any]) -> Job:
        job = super()._new_job(payload)
        job.seconds *= (1.0, 0.7, 1.2, 0.9)[len(self.jobs) % 4]
        return job


class Gpu(comfyui.ComfyServer):
    """Samples in 20 steps, each with a preview that has less noise in it than the one before."""

    def _begin(self, job: Job) -> None:
        super()._begin(job)
        self._send_event(job, "execution_cached", {"nodes": ["4", "5", "6", "7"]})

    def _advance(self, job: Job) -> None:
        if job.state != "running":
            return
        job.polls += 1
        step = min(20, int(21 * (time.monotonic() - job.started_at) / max(job.seconds, 0.1)))
        if job.polls == 1:
            self._send_event(job, "executing", {"node": "3", "display_node": "3"})
        self._send_event(job, "progress", {"value": step, "max": 20, "node": "3"})
        if isinstance(self.pictures, Drawn):
            self._send(job.payload["client_id"], comfyui.preview(self.pictures.at(step), job.id), text=False)


@dataclass(frozen=True, slots=True)
class Drawn(Pictures):
    """Pictures of a prompt, drawn by what is built in; `at` is one in the making."""

    prompt: str = ""

    def make(self, job: str, index: int) -> bytes:  # noqa: ARG002 - the same for every job
        return sketched(self.prompt, index)

    def at(self, step: int) -> bytes:
        """In few colours: a picture of the screen is a shape for each."""
        with Image.open(BytesIO(sketched(self.prompt, 1))) as whole:
            small = whole.convert("RGB").resize((96, 96)).filter(ImageFilter.GaussianBlur(max(0, 14 - step) / 6))
        noise = Image.effect_noise(small.size, 60).convert("RGB")
        file = BytesIO()
        Image.blend(small, noise, max(0, 16 - step) / 40).save(file, "PNG")
        return file.getvalue()


@cache
def sketched(prompt: str, seed: int) -> bytes:
    return draw(Order(prompt=prompt, seed=seed, width=512, height=512)).png


# Runs


class Desk:
    """A folder whose name may stand in a picture, and two services that were used before."""

    def __init__(self, folder: Path, studio: Studio, gpu: Gpu) -> None:
        self._folder = folder
        self._plain = Plain(folder, CONFIG.format(studio=studio.url, gpu=gpu.url))

    def used(self) -> None:
        """Three tasks of each kind are the least that an estimate is made from."""
        runs = [self._plain.start("run", "--each", "a", "b", "c", "-p", name, "-q") for name in ("studio", "gpu")]
        for run in runs:
            finished(run)

    @contextmanager
    def running(self, *words: str, columns: int = 92, lines: int = 24, language: str = "en") -> Iterator[Program]:
        environ = {"IMAGEGEN_HOME": str(self._plain.home), "PYTHONPATH": str(FOLDER.parent), "NO_PROXY": "*"}
        environ |= {"COLORTERM": "truecolor", "IMAGEGEN_LANG": language}
        command = [sys.executable, "-m", "imagegen_cli", *words]
        with Program(command, environ=environ, cwd=self._folder, columns=columns, lines=lines) as program:
            yield program

    def files(self, pattern: str) -> list[str]:
        """The names of the files that a pattern means, as a shell does; a word that is none stays as it is."""
        found = [str(path.relative_to(self._folder)) for path in self._folder.glob(pattern)] if "*" in pattern else []
        return sorted(found) or [pattern]

    def listed(self, name: str, prompts: Iterable[str], services: Iterable[str] = SERVICES) -> str:
        """A list of prompts, the services taking turns."""
        with (self._folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("prompt", "provider"), *zip(prompts, cycle(services), strict=False)])
        return name


@contextmanager
def desk(seconds: float = 5.0, pictures: Pictures | None = None) -> Iterator[Desk]:
    path = Path(tempfile.gettempdir()) / "art"
    path.mkdir()
    pictures = pictures or Pictures("png", (64, 64))
    try:
        with (
            Studio(port=5000, seconds=seconds, pictures=pictures) as studio,
            Gpu(port=8188, seconds=seconds / 2, pictures=pictures) as gpu,
        ):
            gpu.checkpoints = ["dream-xl"]
            made = Desk(path, studio, gpu)
            made.used()
            yield made
    finally:
        shutil.rmtree(path)


# Pictures of them


COLOUR = {2: 3, 5: 1}
"""Numbers after the kind of a colour."""
DIM = {2: (5,), 22: (22, 25)}


class Shown(Emulator):
    """An emulator that knows dim text: it uses the flag for blinking, which no display of ours sets."""

    def select_graphic_rendition(self, *attributes: int, **options: Any) -> None:
        super().select_graphic_rendition(*seen(attributes), **options)


def seen(attributes: Sequence[int]) -> Iterator[int]:
    """Dim told as blinking; the 2 of 38;2;R;G;B is none."""
    given = iter(attributes)
    for one in given:
        if one in (38, 48):
            yield from (one, kind := next(given), *islice(given, COLOUR[kind]))
        else:
            yield from DIM.get(one, (one,))


def record(program: Program, name: str, title: str, *, whole: bool = False) -> None:
    """The latest frame on the screen, or all that was ever on it, as an SVG."""
    raw = program.raw if whole else program.raw[: program.raw.rindex(END.encode()) + len(END)]
    rows = without_blank_ends(rows_of(program, raw, whole=whole))
    (FOLDER / f"{name}.svg").write_text(svg_of(rows, title), encoding="utf-8")


Row = list[Any]


def rows_of(program: Program, raw: bytes, *, whole: bool = False) -> list[Row]:
    """What a terminal like the program's shows after these bytes, with what has scrolled out if it is `whole`."""
    screen = Shown(program.emulator.columns, program.emulator.lines, history=1000, ratio=0.5)
    pyte.ByteStream(screen).feed(raw)
    rows = [*(screen.history.top if whole else ()), *(screen.buffer[number] for number in range(screen.lines))]
    return [[row[column] for column in range(screen.columns)] for row in rows]


def without_blank_ends(rows: list[Row]) -> list[Row]:
    written = [number for number, row in enumerate(rows) if any(cell.data.strip() for cell in row)]
    return rows[written[0] : written[-1] + 1]


def svg_of(rows: list[Row], title: str, theme: TerminalTheme = THEME, name: str = "terminal") -> str:
    """`name` begins the names of its styles: pictures inside of one file need different ones."""
    console = Console(record=True, file=StringIO(), width=len(rows[0]), force_terminal=True, color_system="truecolor")
    for row in rows:
        console.print(text_of(row), no_wrap=True, overflow="ignore", crop=True)
    svg = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title=title, theme=theme, unique_id=name), flags=re.DOTALL
    )
    svg = re.sub("font-family: (Fira Code(, monospace)?|arial)", FONTS, svg)
    svg = svg.replace("font-size: 18px;\n        font-weight: bold;", "font-size: 15px;")
    svg = re.sub(r'textLength="[^"]*"( [^>]*)?>([^<]*)<', wide, svg)
    return re.sub(r'(<g class="[^"]*-matrix">)', rf"{pixels(rows)}\1", svg)


def wide(found: re.Match[str]) -> str:
    """Rich counts signs where cells are meant."""
    cells = cell_len(html.unescape(found[2]))
    return f'textLength="{cells * CELL:.1f}"{found[1] or ""}>{found[2]}<'


def text_of(row: Row) -> Text:
    """Word by word, wide signs apart from others: each begins at its cell, whatever the reader's font."""
    line = Text()
    for (style, *_), cells in groupby((cell for cell in row if cell.data), key=manner):
        line.append("".join(" " if cell.data == HALF else cell.data for cell in cells), style)
    return line


def manner(cell: Any) -> tuple[Style, int, bool]:
    if cell.data == HALF:
        return Style.null(), 1, True
    style = Style(color=colour(cell.fg), bold=cell.bold, reverse=cell.reverse, dim=cell.blink)
    return style, cell_len(cell.data), cell.data == " "


def colour(name: str) -> str | None:
    """The emulator's word for it as Rich's."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


def pixels(rows: list[Row]) -> str:
    """Half blocks as what they are: no font has them without seams. One path a colour."""
    paths: dict[str, str] = {}
    for y, row in enumerate(rows):
        for half in (0, 1):
            x = 0
            for paint, run in groupby((cell.bg if half else cell.fg) if cell.data == HALF else "" for cell in row):
                cells = len([*run])
                paths[paint] = paths.get(paint, "") + f"M{x} {2 * y + half}h{cells}v1h-{cells}z"
                x += cells
    paths.pop("", None)
    drawn = "".join(f'<path fill="#{paint}" d="{path}"/>' for paint, path in paths.items())
    return f'<g transform="translate(0 1.5) scale({CELL})" shape-rendering="crispEdges">{drawn}</g>' if drawn else ""


# Films

FILM_WIDTH = 880
"""Pixels: as wide as a page of documents."""
MOMENT_S = 0.25
"""Between two pictures of a film."""
END_S = 3.0
"""How long the last picture of a run is shown."""
FILM_QUALITY = 62


@dataclass(frozen=True, slots=True)
class Moment:
    rows: tuple[Row, ...]
    title: str
    shown_s: float


def film(program: Program, title: str, seconds: float = 60) -> list[Moment]:
    """The screen at fixed moments until the program ends; a moment that shows nothing new makes the last one longer."""
    lengths = [(len(END), 0.0)]
    begun = time.monotonic()
    while not program.modes_restored or time.monotonic() - begun < 1:
        lengths.append((len(program.raw), MOMENT_S))
        time.sleep(MOMENT_S)
    program.finish(seconds)
    lengths.append((len(program.raw), END_S))
    moments: list[Moment] = []
    for length, shown_s in lengths[1:]:
        moments = with_moment(moments, Moment(tuple(at(program, length)), title, shown_s))
    return moments


def at(program: Program, length: int) -> list[Row]:
    """The last whole frame in the first bytes of what was written; all of it at the end."""
    raw = program.raw[:length]
    ends = raw.rfind(END.encode())
    return rows_of(program, raw if length == len(program.raw) or ends < 0 else raw[: ends + len(END)])


def with_moment(before: list[Moment], moment: Moment) -> list[Moment]:
    if before and before[-1].rows == moment.rows:
        return [*before[:-1], Moment(moment.rows, moment.title, before[-1].shown_s + moment.shown_s)]
    return [*before, moment]


def save_film(moments: Iterable[Moment], name: str) -> None:
    """An animated WebP, which repeats without an end."""
    shown = [moment for moment in moments if any(cell.data.strip() for row in moment.rows for cell in row)]
    pictures = [drawn(moment) for moment in shown]
    first, *others = pictures
    first.save(
        FOLDER / f"{name}.webp", save_all=True, append_images=others, loop=0, method=6, quality=FILM_QUALITY,
        duration=[round(1000 * moment.shown_s) for moment in shown], minimize_size=True,
    )  # fmt: skip


def drawn(moment: Moment) -> Image.Image:
    png = bytes(
        resvg_py.svg_to_bytes(svg_string=svg_of([*moment.rows], moment.title), width=FILM_WIDTH, background="#161b22")
    )
    with Image.open(BytesIO(png)) as image:
        return image.convert("RGB")


# Scenes


def recording() -> None:
    """What a person sees first: a list that two services work on, and one prompt with what its service shows."""
    prompts = [text for pair in zip(ENGLISH, CHINESE, strict=True) for text in pair][:10]
    with (
        desk(4.0) as here,
        here.running("batch", here.listed("prompts.csv", prompts), columns=92, lines=20) as program,
    ):
        moments = film(program, "imagegen batch prompts.csv")
    words = ("run", CHINESE[0], "-p", "gpu", "--preview", "on")
    with desk(12.0, Drawn(prompt=CHINESE[0])) as here, here.running(*words, columns=92, lines=20) as program:
        moments += film(program, f"imagegen {' '.join(words)}")
    save_film(moments, "recording")


def one() -> None:
    """A task at work, with what its service shows of it."""
    prompt = CHINESE[0]
    words = ("run", prompt, "-p", "gpu", "--preview", "on")
    with desk(12.0, Drawn(prompt=prompt)) as here, here.running(*words, columns=80, lines=26) as program:
        program.wait_for("4s of")
        record(program, "one", f"imagegen {' '.join(words)}")


def finished_one() -> None:
    """Paths, and the pictures side by side."""
    words = ("run", LIGHTHOUSE, "--preview", "on")
    with desk(1.0, Drawn(prompt=LIGHTHOUSE)) as here, here.running(*words, columns=100, lines=26) as program:
        program.finish(60)
        record(program, "finished", f'imagegen run "{LIGHTHOUSE}" --preview on', whole=True)


def many() -> None:
    """Two services, one table."""
    prompts = [next(iter(TROUBLE)), *(text for pair in zip(ENGLISH, CHINESE, strict=True) for text in pair)] * 2
    with (
        desk() as here,
        here.running("batch", here.listed("prompts.csv", prompts), "--yes", columns=100, lines=26) as program,
    ):
        program.wait(lambda: re.search(r"1\d done", program.text), "some done", 60)
        record(program, "many", "imagegen batch prompts.csv --yes")


def failures() -> None:
    """What is said at the end."""
    prompts = [*TROUBLE, *CHINESE[:5]]
    with desk(1.0) as here:
        words = ("batch", here.listed("prompts.csv", prompts, ["studio"]), "--timeout", "6")
        with here.running(*words, columns=100, lines=40) as program:
            program.finish(60)
            record(program, "failures", f"imagegen {' '.join(words)}", whole=True)


def chinese() -> None:
    with (
        desk(8.0) as here,
        here.running("batch", here.listed("提示词.csv", CHINESE), columns=100, lines=20) as program,
    ):
        program.wait_for("3 done", 60)
        record(program, "chinese", "imagegen batch 提示词.csv")


def chinese_table() -> None:
    """The table in Chinese, with tasks that ended in several ways."""
    prompts = [next(iter(TROUBLE)), *CHINESE]
    with (
        desk(8.0) as here,
        here.running("batch", here.listed("提示词.csv", prompts), columns=100, lines=22, language="zh") as program,
    ):
        program.wait(lambda: program.text.count("✓") > 2, "some done", 60)  # noqa: PLR2004 - some, not all
        record(program, "chinese-table", "imagegen batch 提示词.csv")


def studio() -> None:
    """A prompt that is typed while others run, with another model and shape than the first ones had."""
    with desk(9.0) as here, here.running("studio", columns=100, lines=20) as program:
        program.wait_for("studio >")
        program.wait(lambda: not program.modes_restored)
        for line in (*CHINESE[:1], *ENGLISH[:2], "/model 3.0 4.0", "/ratio 16:9", "/size 2k", CHINESE[2]):
            typed(program, line)
            program.send("\r")
            program.wait(lambda: program.text.endswith(">"))
        typed(program, ENGLISH[5])
        program.wait_for(" done", 60)
        record(program, "studio", "imagegen studio")


def typed(program: Program, text: str) -> None:
    for sign in text:
        program.send(sign)
        program.wait(lambda sign=sign: sign == " " or program.text.endswith(sign))  # type: ignore[misc]


def compared() -> None:
    """Two models, three ratios and two seeds: the sheet that follows, and the page of it."""
    with tempfile.TemporaryDirectory() as folder:
        program = Plain(Path(folder))
        program.run("run", COMPARED, *VARIED, "-o", "art")
        [sheet] = program.run("sheet").lines
        small(Path(sheet), "sheet", 760)
        program.run("run", "--each", *CHINESE, *ENGLISH, "--size", "768x768", "-o", "art", "-q")
        [page] = program.run("gallery").lines
        photograph(Path(page), Path(folder, "page.png"))
        small(Path(folder, "page.png"), "gallery", 1200)


def small(file: Path, name: str, width: int) -> None:
    """A picture for the documents: as wide as it is shown, and some ten thousand bytes."""
    with Image.open(file) as image:
        whole = image.convert("RGB")
        whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.LANCZOS).save(
            FOLDER / f"{name}.webp", quality=80, method=6
        )


def photograph(page: Path, file: Path) -> None:
    """The first screen of a page."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other scenes need no browser

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 780}, device_scale_factor=1.5)
        shown.goto(page.as_uri())
        shown.wait_for_selector("html[data-ready]")
        shown.wait_for_function("() => [...document.querySelectorAll('figure img')].every((one) => one.complete)")
        shown.screenshot(path=str(file))
        browser.close()


SCENES: dict[str, Callable[[], None]] = {
    "recording": recording,
    "one": one,
    "finished": finished_one,
    "many": many,
    "failures": failures,
    "chinese": chinese,
    "chinese-table": chinese_table,
    "studio": studio,
    "compared": compared,
}


def main() -> None:
    parser = argparse.ArgumentParser("python -m docs.screens", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*SCENES, []], metavar="NAME", help=", ".join(SCENES))
    for name in parser.parse_args().names or SCENES:
        SCENES[name]()


if __name__ == "__main__":
    main()
