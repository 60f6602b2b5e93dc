"""Record the README's pictures from real runs: python -m docs.screens.

The program runs in an emulated terminal against the server double; what stands on the screen becomes an SVG.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program as Plain
from tests.screen import Program

FOLDER = Path(__file__).parent
FONTS = "font-family: ui-monospace, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC'"
"""Fonts that readers have; the picture fetches none."""
CONFIG = 'default_provider = "studio"\n[providers.studio]\nkind = "dreamina"\nbase_url = "{url}"\nconcurrency = 6\n'
CHINESE = ["日落海滩上的两只猫，温暖的光", "雪山下的红色小屋，夜晚", "水墨风格的江南古镇", "赛博朋克城市，雨夜霓虹"]
ENGLISH = ["a lighthouse in a storm", "two foxes in the snow", "a red boat at dawn", "an astronaut on a horse"]


@contextmanager
def running(*words: str, seconds: float = 2.0, lines: int = 24) -> Iterator[Program]:
    with DreaminaServer(seconds=seconds, pictures=Pictures("png", (64, 64))) as server, folder() as path:
        plain = Plain(path, CONFIG.format(url=server.url))
        environ = {"IMAGEGEN_HOME": str(plain.home), "PYTHONPATH": str(FOLDER.parent), "NO_PROXY": "*"}
        command = [sys.executable, "-m", "imagegen_cli", *words]
        with Program(command, environ=environ, cwd=path, columns=92, lines=lines) as program:
            yield program


@contextmanager
def folder() -> Iterator[Path]:
    """A folder whose name may stand in a picture."""
    path = Path(tempfile.gettempdir()) / "art"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def record(program: Program, name: str, title: str) -> None:
    """What is on the screen now, with its colours, as an SVG."""
    console = Console(record=True, file=StringIO(), width=92, force_terminal=True, color_system="truecolor")
    screen = program.emulator
    for number in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[number][column]
            if cell.data:
                color = None if cell.fg == "default" else cell.fg.replace("brown", "yellow")
                line.append(cell.data, Style(color=color, bold=cell.bold, reverse=cell.reverse))
        console.print(line, no_wrap=True, overflow="ignore", crop=True)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title, theme=MONOKAI), flags=re.DOTALL)
    svg = re.sub(r"font-family: Fira Code", FONTS, svg)
    (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """Record one task, many tasks, failures and Chinese prompts."""
    with running("run", "一只戴帽子的狐狸，插画风格", "-m", "4.0", lines=8, seconds=5.0) as program:
        program.wait_for("  2s")
        record(program, "one", "imagegen run 一只戴帽子的狐狸，插画风格 -m 4.0")
    prompts = [text for pair in zip(ENGLISH, CHINESE, strict=True) for text in pair] * 5
    with running("run", *prompts, lines=26) as program:
        program.wait_for("12 done")
        record(program, "many", "imagegen batch prompts.txt")
    bad = ["a portrait #fail", "x #500 refused", "a castle #partial", "a lake #never", *CHINESE]
    with running("run", *bad, "--timeout", "4", lines=34) as program:
        program.finish(60)
        record(program, "failures", "imagegen batch prompts.txt --timeout 4")
    with running("run", *CHINESE * 3, lines=20) as program:
        program.wait_for("6 running")
        record(program, "chinese", "imagegen batch 提示词.txt")


if __name__ == "__main__":
    main()
