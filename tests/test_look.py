"""One look for every command: on a terminal of 40, 80 and 120 columns, with Chinese and hostile data, and off one."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.core.task import Cancelled, CancelOutcome, ImageRequest, RunId, Task, TaskId
from imagegen_cli.core.text import literal
from imagegen_cli.display import links
from imagegen_cli.display.details import collapsed_lines
from imagegen_cli.display.notices import notice
from imagegen_cli.display.paragraphs import COMMAND, NO_END, SEPARATORS, paragraph, units
from imagegen_cli.display.tables import Check, Item, check_lines, legend_lines, table_lines
from imagegen_cli.display.text_width import NO_START, cell_width, wrapped
from imagegen_cli.display.theme import Line, theme_for
from tests import screen
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program

WIDTHS = (40, 80, 120)
CHINESE = "孤舟蓑笠翁，独钓寒江雪。千山鸟飞绝，万径人踪灭（柳宗元），一只猫坐在窗台上看雨，水彩画风格，柔和的光"
HOSTILE = "a cat \x1b[2J\x1b]0;owned\x07 \u202etxt.exe [red]bold[/red] \U0001f468\u200d\U0001f469\u200d\U0001f467 עברית"
LONG = "antidisestablishmentarianism " * 4

CONFIG = """
default_provider = "studio"
[models]
hero = "studio/4.0"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.05
[providers."工作室-二号"]
kind = "openai"
base_url = "https://a-rather-long-host-name.example.org/gateway/v1"
api_key = "some-key"
"""


def lines_of(drawn: "Iterator[Line] | list[Line]") -> list[str]:
    return ["".join(part.text for part in line if not part.control) for line in drawn]


# Paragraphs

TEXTS = [
    'try it: imagegen run "two cats on a beach" -p mine',
    "3 can still be fetched without paying again: imagegen resume 1 2 3",
    "left alone, may be made and billed already: 1 2 3; imagegen resume 1 2 3 asks first; --may-repeat sends them anew",
    "written: /home/somebody/a/long/folder/.config/imagegen/configuration/config.toml",
    f"{CHINESE}，图片在：/home/猫/狗/一二三四五六七八九十.png，好的。山水/水墨画",
    "a very-long-word-that-has-no-blank-and-is-wider-than-the-whole-screen and then more",
    HOSTILE,
    LONG,
    "한국어는 띄어쓰기로 나눕니다 그래서 여기서 줄을 바꿉니다",
]


@pytest.mark.parametrize("width", [20, *WIDTHS])
@pytest.mark.parametrize("text", TEXTS)
def test_no_word_is_broken_that_fits_a_line(text: str, width: int) -> None:
    lines = [str(piece) for piece in paragraph(text, width, hanging=2)]
    for unit in units(literal(text)):
        if cell_width(unit.text) <= width:
            whole = unit.text.rstrip(SEPARATORS) if unit.is_command else unit.text
            assert any(whole in line for line in lines), unit
    for line in lines:
        assert cell_width(line) <= width or " " not in line.strip() or '"' in line


@given(st.text(st.sampled_from('ab 猫，。（》/\\"-é\u0301한1'), max_size=80), st.integers(1, 50), st.booleans())
def test_every_text_keeps_its_signs_and_breaks_where_it_may(text: str, width: int, whole: bool) -> None:
    pieces = paragraph(text, width, hanging=2, whole=whole)
    assert "".join(piece.text for piece in pieces).replace(" ", "") == literal(text).replace(" ", "")
    for piece in pieces:
        if not whole and width > 1:
            assert cell_width(str(piece)) <= max(width, 2)
    for piece in pieces[1:]:
        if whole:
            assert piece.text[0] not in NO_START or " " in text
    for piece in pieces[:-1]:
        if whole:
            assert piece.text[-1] not in NO_END or " " in text


@pytest.mark.parametrize("width", [30, 39])
def test_a_command_is_copied_as_a_shell_reads_it(width: int) -> None:
    text = "if you know it: imagegen settle 1 2 3 4 5 6 7 8 9 10 11 12 --paid --amount 0.04usd, or --unpaid"
    lines = [piece.text for piece in paragraph(text, width, hanging=2)]
    start = next(index for index, line in enumerate(lines) if line.startswith("imagegen"))
    command = "\n".join(lines[start:]).replace(" \\\n", " ").split("\n", 1)[0]
    assert command == "imagegen settle 1 2 3 4 5 6 7 8 9 10 11 12 --paid --amount 0.04usd"
    assert lines[-1] == "or --unpaid"


@pytest.mark.parametrize("width", range(24, 80))
@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("wait, then imagegen retry 1 2 3, or imagegen list; it may be imagegen doctor.", ",;."),
        ("请稍等，再运行 imagegen retry 1 2 3，或者 imagegen list；也可以是 imagegen doctor。", "，；。"),
    ],
)
def test_a_line_that_ends_in_a_command_has_no_sign_that_would_be_pasted(text: str, signs: str, width: int) -> None:
    lines = [piece.text for piece in paragraph(text, width, hanging=2)]
    ends = [line for line in lines if line.rstrip(signs).endswith(("imagegen retry 1 2 3", "list", "doctor"))]
    assert lines[-1] in ends
    assert not any(line.endswith(tuple(signs)) for line in ends)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("可用 imagegen doctor 再试一次；", "imagegen doctor"),
        ("imagegen models 查看", "imagegen models"),
        ("imagegen list shows the tasks", "imagegen list"),
        ("imagegen resume 12 can still fetch it", "imagegen resume 12"),
        ("imagegen retry --failed --yes sends them", "imagegen retry --failed --yes"),
        ('try it: imagegen run "two cats" -p studio', 'imagegen run "two cats" -p studio'),
        ("imagegen config check finds it", "imagegen config check"),
        ("to ask it: imagegen models studio", "imagegen models studio"),
        ("imagegen resume --receipts FILE gives them back", "imagegen resume --receipts FILE"),
        ("chmod 600 '/a b/c'", "chmod 600 '/a b/c'"),
    ],
)
def test_a_command_ends_where_words_begin(text: str, command: str) -> None:
    found = COMMAND.search(text)
    assert found is not None
    assert found[0] == command


@pytest.mark.parametrize("cells", range(4, 60, 5))
def test_a_limited_text_breaks_no_word_that_fits(cells: int) -> None:
    text = f"{LONG} and a word {CHINESE}"
    lines = wrapped(text, cells, 1000, "utf-8", "…")
    assert all(cell_width(line) <= cells for line in lines)
    if cells > len("antidisestablishmentarianism"):
        assert sum(line.count("antidisestablishmentarianism") for line in lines) == 4
    if cells > 4:
        assert not any(line[0] in NO_START for line in lines)


# Tables

ITEMS = [
    Item(("studio", "http://127.0.0.1:5000", "Dreamina / 即梦 server (Flask, self-hosted)"), "chosen"),
    Item(("工作室-二号", "https://a-rather-long-host-name.example.org/gateway/v1", LONG.strip()), "ready"),
    Item((literal(HOSTILE)[:30], "", CHINESE), "absent"),
    Item(("plain", "", "")),
]
LEGEND = {
    "chosen": "used without --provider",
    "ready": "connected",
    "absent": "imagegen init connects it",
    "no": "none",
}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [20, *WIDTHS, 200])
def test_a_table_cuts_nothing_off(width: int, encoding: str) -> None:
    theme = theme_for(encoding)
    lines = lines_of(table_lines(ITEMS, width, theme, heads=("name", "address", "service")))
    for item in ITEMS:
        for cell in item.cells:
            for unit in units(literal(cell, encoding)):
                assert any(unit.text in line for line in lines), unit
    assert all(cell_width(line) <= width or " " not in line.strip() for line in lines)
    legend = lines_of(legend_lines({item.sign for item in ITEMS}, LEGEND, width, theme))
    assert legend[0] == ""
    assert "none" not in " ".join(legend)


@pytest.mark.parametrize("width", WIDTHS)
def test_golden_tables(width: int) -> None:
    """With WRITE_GOLDEN=1 they are written anew; a person must look at them then."""
    theme = theme_for("utf-8")
    checks = [
        Check("ok", "address", "http://127.0.0.1:5000 (directly) answers"),
        Check("warn", "key", "cannot be checked now: HTTP 500: 服务器内部错误，请稍后再试。", "ask again in a minute"),
        Check("no", "default provider", "there is no provider 'stuido'", "did you mean studio?"),
        Check("--", "credits", "unknown: the service has no such question"),
        Check("ok", "settings", "/home/somebody/a/rather/long/path/to/the/settings/config.toml"),
    ]
    drawn = lines_of(table_lines(ITEMS, width - 1, theme, heads=("name", "address", "service")))
    drawn += lines_of(legend_lines({item.sign for item in ITEMS}, LEGEND, width - 1, theme))
    drawn += ["", *(line for check in checks for line in lines_of(check_lines(check, width - 1, theme)))]
    text = "".join(f"{line.rstrip()}\n" for line in drawn)
    path = Path(__file__).parent / "golden" / f"look-{width}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


# Notices


def test_off_a_terminal_a_notice_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        assert notice(LONG * 5, stream, {"TERM": "xterm", "COLUMNS": "40", "FORCE_HYPERLINK": "1"}) == [LONG * 5]


def test_on_a_terminal_it_is_broken_and_its_path_is_a_link() -> None:
    with screen.Paper(40, 24) as paper:
        path = "/tmp/a folder/猫.png"  # noqa: S108 - nothing is written there
        text = f"the pictures are in {path}"
        assert max(map(cell_width, notice(text, paper.stream, {"TERM": "xterm"}))) < 40
        lines = notice("written: /tmp/x", paper.stream, {"TERM": "xterm", "FORCE_HYPERLINK": "1"}, path="/tmp/x")  # noqa: S108
        assert lines == [f"written: \x1b]8;;{links.file_url('/tmp/x')}\x1b\\/tmp/x\x1b]8;;\x1b\\"]  # noqa: S108


# Links and progress

KITTY = {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}
INSIDE = [{"TMUX": "socket,1,0", "TERM": "screen-256color"}, {"TERM": "tmux-256color"}, {"STY": "1.x"}]
LINKING = [
    (KITTY, True),
    ({"TERM": "xterm-256color"}, False),
    ({"VTE_VERSION": "7006"}, True),
    ({"VTE_VERSION": "5000"}, False),
    ({"VTE_VERSION": "nonsense"}, False),
    ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.6"}, True),
    ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "2.9"}, False),
    ({"TERM_PROGRAM": "vscode", "TERM_PROGRAM_VERSION": "1.100.0"}, True),
    ({"TERM_PROGRAM": "Apple_Terminal", "TERM_PROGRAM_VERSION": "455"}, False),
    ({"WT_SESSION": "x"}, True),
    ({"FORCE_HYPERLINK": "1"}, True),
    ({"FORCE_HYPERLINK": "0", **KITTY}, False),
    ({**INSIDE[0], "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.3a"}, False),
    ({**INSIDE[0], "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.4"}, True),
    ({**INSIDE[0], **KITTY, "TERM": "screen"}, False),
    ({"STY": "1.x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.5"}, False),
]


@pytest.mark.parametrize(("environ", "expected"), LINKING)
def test_links_only_where_a_terminal_shows_them(environ: Mapping[str, str], expected: bool) -> None:
    assert links.knows_links(environ) is expected


@pytest.mark.parametrize("path", ["/home/猫 100%/#1?.png", "images/a b.png", "/home/\udcff.png"])
def test_the_address_of_a_file_leads_to_it(path: str) -> None:
    parts = urlsplit(links.file_url(path))
    assert parts.scheme == "file"
    assert parts.netloc
    assert parts.query == parts.fragment == ""
    assert parts.path.isascii()
    assert os.fsencode(unquote(parts.path, errors="surrogateescape")) == os.fsencode(os.path.abspath(path))  # noqa: PTH100


def test_an_address_that_no_terminal_follows_is_none() -> None:
    assert links.file_url("/" + "猫" * 300) == ""


PROGRESS = [
    ({"WT_SESSION": "x"}, True),
    ({"ConEmuPID": "12"}, True),
    ({"TERM_PROGRAM": "ghostty", "TERM_PROGRAM_VERSION": "1.2.0"}, True),
    ({"TERM_PROGRAM": "ghostty", "TERM_PROGRAM_VERSION": "1.1.3"}, False),
    ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.5"}, False),
    ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.10"}, True),
    ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20240203-110809-5046fc22"}, False),
    ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20250803-1-abc"}, True),
    ({"VTE_VERSION": "7600"}, False),
    ({"VTE_VERSION": "8000"}, True),
    (KITTY, False),
    *(({"WT_SESSION": "x", **inside}, False) for inside in INSIDE),
]


@pytest.mark.parametrize(("environ", "expected"), PROGRESS)
def test_progress_only_where_a_terminal_shows_it(environ: Mapping[str, str], expected: bool) -> None:
    assert links.knows_progress(environ) is expected


# Every command on a terminal


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A history with Chinese, hostile and failed tasks of several runs."""
    folder = tmp_path_factory.mktemp("h")
    with DreaminaServer(pictures=Pictures("png", (16, 16))) as server:
        server.sessions.pop("1")
        program = Program(folder, CONFIG.format(url=server.url))
        (folder / "山水-list.txt").write_text(f"{CHINESE}\n{LONG}\na cat #fail\n", encoding="utf-8")
        program.run("batch", "山水-list.txt", "--assume-price", "1credit")
        program.run("run", HOSTILE, "-q")
        yield program


@pytest.fixture
def room(tmp_path: Path, house: Program) -> Program:
    """The service of the house, for tests that add tasks: others may come later, and count those of the house."""
    return Program(tmp_path, (house.home / "config.toml").read_text(encoding="utf-8"))


COMMANDS = [
    ("providers",), ("providers", "openai"), ("models", "studio"), ("credits", "studio"), ("config", "path"),
    ("config", "check"), ("doctor", "studio"), ("list",), ("runs",), ("show", "1"), ("show", "2"), ("show", "3"),
    ("show", "4"), ("costs",), ("cancel", "1", "3"), ("run", "--dry-run", CHINESE, LONG, "--each"),
    ("list", "--state", "none"), ("run", "a cat", "-p", "stuido"),
]  # fmt: skip


def seen(program: Program, columns: int, *words: str, **environment: str) -> screen.Program:
    environ = {**program.environment(), "TERM": "xterm-256color", **environment}
    for name in ("NO_COLOR", "TMUX", "STY"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "imagegen_cli", *words]
    with screen.Program(command, columns=columns, lines=24, environ=environ, cwd=program.folder) as terminal:
        terminal.finish(60)
    return terminal


CHANGES = re.compile(r"now|[\d.:-]+[smhd]?")
"""What may be another word a moment later: the age of a task is one."""
CUT = ("list", "run")
"""Commands that show a prompt on one line, cut off."""


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words)[:20] for words in COMMANDS])
def test_every_command_keeps_its_words_whole(house: Program, words: tuple[str, ...]) -> None:
    wide = seen(house, 300, *words).scrollback
    known = {word.strip("…") for word in wide.split() if word.isascii() and not CHANGES.fullmatch(word)}
    for columns in WIDTHS:
        text = seen(house, columns, *words).scrollback
        lines = text.splitlines()
        assert "\x1b" not in text
        assert max(map(cell_width, lines)) <= columns + 1  # the emulator puts a wide sign of a long path on the edge
        if words[0] in CUT or (words[0] == "providers" and len(words) == 1) or words[0] == "costs":
            known = {word for word in known if word in text}  # a narrow table has fewer columns and heads
        whole = {word for word in known if cell_width(word) < columns}
        missing = [word for word in whole if not any(word in line for line in lines)]
        assert not missing, text
        assert not any(line.lstrip()[:1] in "。，、；：" for line in lines if line.strip())


def test_the_list_has_a_heading_for_each_run_on_a_terminal_only(house: Program) -> None:
    text = seen(house, 120, "list").text
    clock = time.strftime("%H:")
    assert re.search(rf"^run 2 · run · 1 of 1 · \d+s · ({clock}|\d\d:)\d\d$", text, re.MULTILINE)
    assert re.search(r"^run 1 · 山水-list.txt · 2 of 3 · 1 failed · \d+s · \d\d:\d\d$", text, re.MULTILINE)
    plain = house.run("list").lines
    assert len(plain) == 4
    assert not any(line.startswith("run ") for line in plain)


@pytest.mark.parametrize("words", COMMANDS[:9], ids=[" ".join(words) for words in COMMANDS[:9]])
def test_off_a_terminal_no_width_and_no_terminal_matters(house: Program, words: tuple[str, ...]) -> None:
    variables = {"COLUMNS": "40", "FORCE_HYPERLINK": "1", "WT_SESSION": "x", "FORCE_COLOR": "1", **KITTY}
    plain, other = house.run(*words), house.run(*words, **variables)
    unstable = re.compile(r"[\d.]+ GB free")
    assert unstable.sub("", plain.out) == unstable.sub("", other.out)
    assert plain.err == other.err
    assert "\x1b" not in other.out + other.err


def test_paths_are_links_where_the_terminal_shows_them(house: Program) -> None:
    path = house.run("show", "1", "--json").objects[0]["files"][0]
    address = links.file_url(path).encode()
    assert b";" + address + b"\x1b\\" in seen(house, 120, "show", "1", **KITTY).raw
    assert b"\x1b]8;" not in seen(house, 120, "show", "1").raw
    assert b"\x1b]8;" not in seen(house, 120, "show", "1", TERM="screen", KITTY_WINDOW_ID="1").raw
    assert links.file_url(str(house.home / "config.toml")).encode() in seen(house, 120, "config", "path", **KITTY).raw


def test_what_scripts_read_is_what_it_was(house: Program) -> None:
    assert house.run("credits", "studio").lines == ["studio         60 credits"]
    assert "* studio/3.0" in house.run("models", "studio").lines
    assert house.run("config", "check").lines[0].startswith("ok  ")
    assert json.loads(house.run("doctor", "studio", "--json").lines[0])["level"] == "ok"


@pytest.mark.parametrize("ending", ["end", "interrupt", "suspend"])
def test_progress_is_told_outside_of_the_screen_and_always_ended(room: Program, ending: str) -> None:
    environ = {**room.environment(), "TERM": "xterm-256color", "WT_SESSION": "x"}
    prompt = "a cat" if ending == "end" else "a cat #never"
    command = [sys.executable, "-m", "imagegen_cli", "run", prompt]
    with screen.Program(command, environ=environ, cwd=room.folder) as terminal:
        if ending != "end":
            terminal.wait(lambda: b"\x1b]9;4;1;" in terminal.raw)
        if ending == "interrupt":
            terminal.send("\x03")
        elif ending == "suspend":
            terminal.send("\x1a")
            terminal.stopped()
            assert terminal.raw.rindex(b"\x1b]9;4;0;0") > terminal.raw.rindex(b"\x1b]9;4;1;")
            before = len(terminal.raw)
            terminal.foreground()
            terminal.wait(lambda: b"\x1b]9;4;1;" in terminal.raw[before:])
            terminal.send("\x03")
        terminal.finish(60)
        assert terminal.raw.rindex(b"\x1b]9;4;0;0") > terminal.raw.rindex(b"\x1b]9;4;1;")
        assert "9;4" not in terminal.scrollback


@pytest.mark.parametrize("inside", [{"TMUX": "socket,1,0"}, {"STY": "1.x"}, {"TERM": "screen-256color"}])
def test_inside_tmux_and_screen_no_question_and_no_code_of_the_terminal_around(
    room: Program, inside: dict[str, str]
) -> None:
    environ = {**room.environment(), "TERM": "xterm-256color", **KITTY, "WT_SESSION": "x", "TERM_PROGRAM": "ghostty"}
    environ |= {"TERM": "tmux-256color"} | inside
    command = [sys.executable, "-m", "imagegen_cli", "run", "a cat", "--preview", "on", "--notify"]
    with screen.Program(command, environ=environ, cwd=room.folder) as terminal:
        assert terminal.finish(60) == 0
        assert "▀" in terminal.scrollback
        for code in (b"\x1b_G", b"\x1b]8;", b"\x1b]9;4", b"\x1b]9;imagegen", b"\x1b[c"):
            assert code not in terminal.raw


# Budgets and prices


def test_a_dry_run_says_that_the_real_one_would_be_refused(house: Program) -> None:
    refused = house.run("run", "--dry-run", "a cat", "--budget", "1usd")
    assert refused.code == 0
    assert "the real run would be refused: the price of studio/3.0 is not known, so no budget can hold" in refused.err
    short = house.run("run", "--dry-run", "a cat", "a dog", "--budget", "5credits", "--assume-price", "1credit")
    assert "8 credits is more than the budget of 5 credits" in short.err
    fits = house.run("run", "--dry-run", "a cat", "--budget", "5credits", "--assume-price", "1credit")
    assert "real run" not in fits.err
    again = house.run("retry", "3", "--reason", "moderated", "--dry-run", "--budget", "1usd")
    assert "the real run would be refused" in again.err


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80])
def test_tasks_that_ended_alike_are_told_in_whole_words(width: int) -> None:
    ended = Cancelled(CancelOutcome.GOES_ON)
    request = ImageRequest(prompt="a", provider="p", model="m")
    task = Task(id=TaskId(9), run=RunId(1), request=request, state=ended, folder="folder", name="{index}")
    tasks = [replace(task, id=TaskId(number)) for number in (9, 10, 11)]
    lines = lines_of(collapsed_lines(tasks, width, theme_for("utf-8")))
    assert max(map(cell_width, lines)) < width
    assert lines[0].startswith("⊘ 9–11")
    assert lines[-1].endswith("3 tasks")
    assert all(line.startswith("  ") for line in lines[1:])
