"""A sheet of a thousand pictures, and a page of five thousand: made, made again, and opened in a browser."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from PIL import Image

from benchmarks.measure import Figure
from imagegen_cli.gallery.page import write
from imagegen_cli.gallery.sheet import draw
from imagegen_cli.gallery.values import Picture

PICTURES, FILES = 5_000, 200
CELLS = (25, 40)
READY_S = 1.0
MOST_FIGURES = 100


def measured() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [painted(folder, at) for at in range(FILES)]
        yield from pages(folder, paths)
        began = time.process_time()
        draw([placed(paths, *place) for place in product(*map(range, CELLS))], folder / "sheet.png", title="模型 🦊")
        taken = time.process_time() - began
        yield Figure(f"gallery: a sheet of {CELLS[0] * CELLS[1]} pictures of 1024², CPU", "", taken, unit=" s")


def painted(folder: Path, at: int) -> str:
    file = folder / f"{at}.png"
    Image.effect_noise((256, 256), 30 + at % 60).convert("RGB").resize((1024, 1024)).save(file, compress_level=1)
    return str(file)


def placed(paths: list[str], across: int, down: int) -> Picture:
    at = across + CELLS[0] * down
    axes = (("seed", str(across)), ("steps", str(down)))
    return Picture(path=paths[at % FILES], prompt="a fox", task=at, run=1, axes=axes)


def pages(folder: Path, paths: list[str]) -> Iterator[Figure]:
    few = [Picture(path=path, prompt="a fox", task=at, run=1) for at, path in enumerate(paths)]
    for what in ("a first page", "the same page again"):
        began = time.process_time()
        made = write(few, folder / "few.html", folder / "cache").made
        taken = time.process_time() - began
        yield Figure(f"gallery: {what} of {FILES} pictures, {made} new thumbnails, CPU", "", taken, unit=" s")
    with Image.open(paths[0]) as image:
        image.resize((256, 160)).save(folder / "small.png")
    copies = [linked(folder, folder / "small.png", at) for at in range(PICTURES)]
    pictures = [Picture(path=path, prompt=f"a fox number {at}", task=at, run=1) for at, path in enumerate(copies)]
    write(pictures, folder / "many.html", folder / "cache")
    began = time.process_time()
    again = write(pictures, folder / "many.html", folder / "cache")
    taken = time.process_time() - began
    yield Figure(f"gallery: {PICTURES} pictures again, {again.made} new thumbnails, CPU", "", taken, unit=" s")
    yield from opened(again.file)


def linked(folder: Path, path: Path, at: int) -> str:
    copy = folder / f"copy-{at}.png"
    copy.hardlink_to(path)
    return str(copy)


def opened(page: Path) -> Iterator[Figure]:
    """In Chromium, where it is installed: from asking for the page to all pictures of the first screen."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only here

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 1280, "height": 800})
        shown.goto("about:blank")
        began = time.monotonic()
        shown.goto(page.as_uri())
        shown.wait_for_selector("html[data-ready]")
        shown.wait_for_function("() => [...document.querySelectorAll('figure img')].every((one) => one.complete)")
        ready = time.monotonic() - began
        figures = shown.locator("figure").count()
        browser.close()
    yield Figure(f"gallery: {PICTURES} pictures in Chromium, ready", "", ready, READY_S, unit=" s")
    yield Figure(f"gallery: {PICTURES} pictures in Chromium, figures", "", figures, MOST_FIGURES, unit="")
