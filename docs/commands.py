"""Record what every command shows, at three widths, dark and light: python -m docs.commands [NAME]...

Each picture in docs/screens/ has a command at 40, 80 and 120 columns, on a dark ground and below it on a light one;
help has 80 columns everywhere. Those that show most words are recorded in Chinese too, in docs/screens/zh-CN/.
The program runs in an emulated terminal against the doubles of `docs.screens`, with a history of tasks that ended in
every way.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte
from rich.terminal_theme import TerminalTheme

from docs.screens import CHINESE, ENGLISH, FOLDER, THEME, TROUBLE, Desk, Row, Shown, desk, svg_of, without_blank_ends
from tests.screen import Program

WIDTHS = (40, 80, 120)
HELP_WIDTHS = (80,)
LINES = 60
LIGHT = TerminalTheme(
    (255, 255, 255),
    (31, 35, 40),
    [(110, 119, 129), (207, 34, 46), (26, 127, 55), (154, 103, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131),
     (87, 96, 106)],
)  # fmt: skip
GAP = 24
"""Pixels between two pictures of a screen."""
LISTED = [*list(TROUBLE)[:4], *CHINESE[:3], *ENGLISH[:2]]

COMMANDS: Mapping[str, Sequence[str]] = {
    "help": ("--help",),
    "run-help": ("run", "--help"),
    "doctor": ("doctor",),
    "providers": ("providers",),
    "provider": ("providers", "comfyui"),
    "models": ("models",),
    "credits": ("credits",),
    "config": ("config", "show"),
    "list": ("list",),
    "runs": ("runs",),
    "show": ("show", "7"),
    "show-failed": ("show", "8"),
    "costs": ("costs",),
    "dry-run": ("batch", "prompts.csv", "--dry-run"),
    "cancel": ("cancel", "--all"),
    "info": ("info", "images/11-*-1.png"),
    "init": ("init", "-y", "--kind", "dreamina", "--name", "atelier", "--base-url", "127.0.0.1:5000"),
    "mistake": ("run", "two", "cats", "on", "a", "beach"),
}
IN_CHINESE = ("help", "run-help", "init", "doctor", "providers", "list", "show-failed", "costs", "mistake")
FOLDERS = {"en": FOLDER / "screens", "zh": FOLDER / "screens" / "zh-CN"}


def record(here: Desk, name: str, language: str) -> None:
    """One picture of all widths, dark above and light below."""
    words = [one for word in COMMANDS[name] for one in here.files(word)]
    widths = HELP_WIDTHS if words[-1] == "--help" else WIDTHS
    screens = {columns: _rows(here, words, columns, language) for columns in widths}
    title = " ".join(("imagegen", *words))
    parts, width, y = [], 0.0, 0.0
    for theme, of_theme in ((THEME, "dark"), (LIGHT, "light")):
        x = highest = 0.0
        for columns, rows in screens.items():
            part, wide, high = _placed(svg_of(rows, title, theme, f"{name}-{of_theme}-{columns}"), x, y)
            parts.append(part)
            x, highest = x + wide + GAP, max(highest, high)
        width, y = max(width, x - GAP), y + highest + GAP
    FOLDERS[language].mkdir(exist_ok=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y - GAP:.0f}">'
    FOLDERS[language].joinpath(f"{name}.svg").write_text(f"{head}{''.join(parts)}</svg>\n", encoding="utf-8")


def _placed(svg: str, x: float, y: float) -> tuple[str, float, float]:
    """A picture inside of another one, and its size."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if found is None:
        raise ValueError("a picture of Rich without a viewBox")
    wide, high = float(found[1]), float(found[2])
    svg = re.sub(
        r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>| clip-path="url\([^)]*-line-\d+\)"', "", svg, flags=re.DOTALL
    )
    place = f'x="{x:.0f}" y="{y:.0f}" width="{wide}" height="{high}" '
    return svg.replace("<svg ", f"<svg {place}", 1), wide, high


def _rows(here: Desk, words: Sequence[str], columns: int, language: str) -> list[Row]:
    with here.running(*words, columns=columns, lines=LINES, language=language) as program:
        program.finish(60)
        return _shown(program)


def _shown(program: Program) -> list[Row]:
    screen = Shown(program.emulator.columns, program.emulator.lines, history=1000, ratio=0.5)
    pyte.ByteStream(screen).feed(program.raw)
    rows = [*screen.history.top, *(screen.buffer[number] for number in range(screen.lines))]
    return without_blank_ends([[row[column] for column in range(screen.columns)] for row in rows])


@contextmanager
def used_desk() -> Iterator[Desk]:
    """A desk with a history: done, failed, uncertain, not sent."""
    with desk(0.4) as here:
        here.listed("prompts.csv", LISTED, ["studio"])
        with here.running("batch", "prompts.csv", "--timeout", "4", columns=100) as program:
            program.finish(60)
        yield here


def main() -> None:
    parser = argparse.ArgumentParser("python -m docs.commands", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*COMMANDS, []], metavar="NAME", help=", ".join(COMMANDS))
    names = parser.parse_args().names or COMMANDS
    with used_desk() as here:
        for name in (name for name in COMMANDS if name in names):  # a service that `init` adds is in later pictures
            record(here, name, "en")
            if name in IN_CHINESE:
                record(here, name, "zh")


if __name__ == "__main__":
    main()
