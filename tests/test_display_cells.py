"""What was varied, wherever tasks are shown: behind the prompt, which makes room for it."""

from dataclasses import replace

import pytest

from imagegen_cli.core.task import Done, Task
from imagegen_cli.display import task_object
from imagegen_cli.display.board import Row
from imagegen_cli.display.cell import CellContext
from imagegen_cli.display.columns import LIST, LIVE
from imagegen_cli.display.details import ended_lines, task_lines
from imagegen_cli.display.plan_table import lines as plan_lines
from imagegen_cli.display.table import draw_rows
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import Line, theme_for
from tests.test_display_board import task

CELL = {"model": "4.0", "ratio": "16:9", "animal": "狐狸"}
HOSTILE = {"animal": "\x1b[2J[bold]\n"}
THEME, ASCII = theme_for("utf-8"), theme_for("ascii")
LONG = "a lighthouse in a storm, the sea is high and the sky is dark, oil on canvas, dramatic light from the left"


def text_of(line: Line) -> str:
    return "".join(segment.text for segment in line if not segment.control)


def varied(prompt: str = LONG, cell: dict[str, str] | None = None) -> Task:
    return replace(task(1, Done(("/out/1-1.png",)), prompt), cell=CELL if cell is None else cell)


def drawn(one: Task, width: int, table: object = LIST) -> str:
    context = CellContext(10.0, THEME)
    (line,) = draw_rows(table, [Row(one, 0.0)], width, 2, context)  # type: ignore[arg-type]
    assert cell_width(text_of(line)) <= width
    return text_of(line)


@pytest.mark.parametrize("table", [LIST, LIVE], ids=["list", "live"])
def test_what_was_varied_stands_behind_a_prompt_that_is_shortened(table: object) -> None:
    line = drawn(varied(), 120, table)
    assert "a lighthouse in a storm" in line
    assert "… · model 4.0 · 16:9 · animal 狐狸" in line
    assert "a lake · model 4.0 · 16:9 · animal 狐狸" in drawn(varied("a lake"), 120, table)


@pytest.mark.parametrize("table", [LIST, LIVE], ids=["list", "live"])
def test_on_a_narrow_line_the_values_go_before_the_prompt(table: object) -> None:
    line = drawn(varied(cell={"model": "3.0", "seed": "2"}), 40, table)
    assert "3.0·2" in line


@pytest.mark.parametrize("width", range(20, 120, 7))
@pytest.mark.parametrize("cell", [CELL, HOSTILE, {"a": "x" * 500}])
def test_no_width_and_no_value_breaks_the_line(width: int, cell: dict[str, str]) -> None:
    for table in (LIST, LIVE):
        line = drawn(varied(cell=cell), width, table)
        assert line.isprintable()


def test_details_and_endings_say_it() -> None:
    row = Row(varied(), 0.0)
    assert "varied      model 4.0, 16:9, animal 狐狸" in [
        text_of(line).rstrip() for line in task_lines(row, 9.0, 80, THEME)
    ]
    (line, *_) = ended_lines(varied("a lake"), 3.0, 80, THEME)
    assert "a lake · model 4.0, 16:9, animal 狐狸 · 1 picture" in text_of(line)
    (line, *_) = ended_lines(varied("a lake", HOSTILE), 3.0, 80, ASCII)
    assert text_of(line).isprintable()


def test_programs_read_it_in_order_and_only_where_something_was_varied() -> None:
    assert list(task_object(varied(), created=0, started=None, ended=None)["vary"].items()) == list(CELL.items())
    assert "vary" not in task_object(task(1), created=0, started=None, ended=None)


def test_a_dry_run_has_a_column_for_it_only_where_something_is_varied() -> None:
    rows = [{"line": 1, "prompt": "a lake", "provider": "studio", "asked": 1, "vary": CELL}]
    head, line = map(text_of, plan_lines(rows, 100, THEME))
    assert "varied" in head
    assert "model 4.0, 16:9, animal" in line
    head, _ = map(text_of, plan_lines([{**rows[0], "vary": {}}], 100, THEME))
    assert "varied" not in head
