"""`sheet`, `gallery`, `open` and `show --preview` as a person starts them."""

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.doubles.http import Pictures
from tests.doubles.openai import ImageServer
from tests.program import Ended, Program, finished
from tests.screen import Program as OnAScreen

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "openai"
base_url = "{url}"
concurrency = 20
"""
GRID = "prompt,ratio,seed,count\n" + "".join(
    f"a red fox 狐狸 🦊,{ratio},{seed},1\n" for ratio in ("1:1", "16:9", "9:16") for seed in (7, 8)
)
TWO_MODELS = ("-m", "3.0", "-m", "4.0", "-n", "1")


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer("localai", pictures=Pictures("png", (48, 32))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: ImageServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.base_url))


@pytest.fixture
def compared(studio: Program) -> Program:
    """Run 1: two models, a task each, whose pictures are there. No sheet was drawn."""
    assert studio.run("run", "a red fox", *TWO_MODELS, "--no-sheet").code == 0
    return studio


def sheets(program: Program) -> list[str]:
    return [path.name for path in program.pictures() if path.name.startswith("sheet")]


def inside(program: Program, *words: str, lines: int = 24, **environ: str) -> OnAScreen:
    command = [sys.executable, "-m", "imagegen_cli", *words]
    home = {"IMAGEGEN_HOME": str(program.home), "COLORTERM": "truecolor", "NO_PROXY": "*", **environ}
    return OnAScreen(command, environ=home, cwd=program.folder, lines=lines)


# The sheet after a comparison


def test_two_models_three_ratios_and_two_seeds_are_followed_by_one_sheet(studio: Program) -> None:
    (studio.folder / "grid.csv").write_text(GRID, encoding="utf-8")
    ended = studio.run("batch", "grid.csv", "-m", "3.0", "-m", "4.0")
    assert ended.code == 0
    assert len(ended.lines) == 12
    assert not [line for line in ended.lines if "sheet" in line]
    [said] = re.findall(r"^sheet: (.+) \(12 pictures.*\)$", ended.err, re.MULTILINE)
    before = Path(said).read_bytes()

    again = studio.run("sheet")
    assert (again.code, again.lines) == (0, [said])
    assert Path(said).read_bytes() == before
    with Image.open(said) as image:
        assert image.width > 3 * image.info["Software"].count("imagegen") * 96
    assert sheets(studio) == ["sheet-run-1.png"]
    assert not list((studio.folder / "images").glob(".*"))


@pytest.mark.parametrize(
    ("words", "environment", "drawn"),
    [
        ([*TWO_MODELS], {}, 1),
        ([*TWO_MODELS, "--no-sheet"], {}, 0),
        ([*TWO_MODELS], {"IMAGEGEN_SHEET": "0"}, 0),
        ([*TWO_MODELS, "--quiet"], {}, 0),
        ([*TWO_MODELS, "--json"], {}, 0),
        ([*TWO_MODELS, "--json", "--sheet"], {}, 1),
        (["-n", "4"], {}, 0),
        (["a blue fox", "-n", "1"], {}, 0),
    ],
)
def test_only_a_comparison_is_followed_by_a_sheet(
    studio: Program, words: list[str], environment: dict[str, str], drawn: int
) -> None:
    ended = studio.run("run", "a red fox", *words, **environment)
    assert ended.code == 0
    assert len(sheets(studio)) == drawn
    if "--json" in words:
        assert "event" in ended.objects[0]


def test_a_setting_turns_the_sheet_off(studio: Program, server: ImageServer) -> None:
    studio.configure("sheet = false\n" + CONFIG.format(url=server.base_url))
    studio.run("run", "a red fox", *TWO_MODELS)
    assert sheets(studio) == []
    assert "sheet" in studio.run("config", "show").out


def test_what_failed_stands_on_the_sheet_and_the_exit_code_stays(studio: Program) -> None:
    ended = studio.run("run", "a red fox", "a fox #moderated", *TWO_MODELS)
    assert ended.code == 1
    assert "(2 pictures, 2 missing)" in ended.err
    told = studio.run("sheet", "--json").objects[0]
    assert (told["v"], told["pictures"], told["missing"]) == (1, 2, 2)


def test_where_nothing_came_there_is_no_sheet(studio: Program) -> None:
    assert studio.run("run", "a fox #moderated", *TWO_MODELS).code == 1
    assert sheets(studio) == []


def test_a_sheet_that_cannot_be_drawn_changes_no_exit_code(studio: Program) -> None:
    broken = studio.folder / "broken" / "PIL"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half installed')")
    ended = studio.run("run", "a red fox", *TWO_MODELS, PYTHONPATH=str(broken.parent))
    assert ended.code == 0
    assert len(ended.lines) == 2
    assert "no sheet: ImportError: half installed; imagegen sheet --run 1 tries it again" in ended.err


def test_of_several_at_once_the_last_one_wins(compared: Program) -> None:
    for command, name in (("sheet", "same.png"), ("gallery", "same.html")):
        started = [compared.start(command, "1", "2", "-o", name) for _ in range(3)]
        ended = [finished(one) for one in started]
        assert [(one.code, one.lines) for one in ended] == [(0, [str(compared.folder / name)])] * 3, ended
        assert not list(compared.folder.glob(".imagegen-*"))


# What lies where a picture was, or where a file is to be written


@pytest.mark.parametrize("put", ["pipe", "device"])
@pytest.mark.parametrize("words", [["sheet", "1"], ["gallery", "1"], ["forget", "1", "--files", "-y"]])
def test_what_is_no_file_at_the_place_of_a_picture_is_never_opened(
    compared: Program, words: list[str], put: str
) -> None:
    place = compared.pictures()[0]
    place.unlink()
    if put == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    ended = compared.run(*words)
    assert ended.code == 0
    assert os.path.lexists(place)


@pytest.mark.parametrize("command", ["sheet", "gallery"])
def test_a_pipe_is_no_place_for_a_sheet_or_a_page(compared: Program, command: str) -> None:
    pipe = compared.folder / ("x.png" if command == "sheet" else "x.html")
    os.mkfifo(pipe)
    ended = compared.run(command, "1", "-o", str(pipe))
    assert (ended.code, f"is no {command} of imagegen" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [["run", "a {x} fox", "--vary", "x=@pipe"], ["resume", "--receipts", "pipe"]])
def test_a_file_of_values_or_of_receipts_is_no_pipe(studio: Program, words: list[str]) -> None:
    os.mkfifo(studio.folder / "pipe")
    ended = studio.run(*words)
    assert (ended.code, "not a file" in ended.err) == (2, True)


# The sheet as a command


@pytest.mark.parametrize("words", [["sheet"], ["gallery"], ["open"], ["favourite"], ["favourite", "--not"]])
@pytest.mark.parametrize(
    ("named", "said"),
    [
        (["1/9"], "task 1 has 1 picture, and no picture 9"),
        (["1/1", "2/2"], "task 2 has 1 picture, and no picture 2"),
        (["9/9"], "there is no task 9"),
    ],
)
def test_a_picture_that_is_not_there_is_named_by_every_command(
    compared: Program, words: list[str], named: list[str], said: str
) -> None:
    ended = compared.run(*words, *(named[-1:] if words == ["open"] else named))
    assert ended.code == 4
    assert said in ended.err
    assert ended.out == ""


def test_tasks_pictures_and_runs_can_be_named(compared: Program) -> None:
    compared.run("run", "a red fox", "-m", "5.0", "-n", "2")
    for words, count, name in (
        (["1", "3"], 3, "sheet-tasks-1-3.png"),
        (["1", "3/2"], 2, "sheet-tasks-1-3-2.png"),
        (["-1/1", "LAST/2"], 2, "sheet-tasks-3.png"),
        (["--run", "1", "--run", "LAST"], 4, "sheet-runs-1-2.png"),
        (["--run", "-1"], 2, "sheet-run-2.png"),
    ):
        told = compared.run("sheet", *words, "--json").objects[0]
        assert (told["pictures"], Path(told["sheet"]).name) == (count, name)


def test_the_last_comparison_is_found_behind_other_runs(compared: Program) -> None:
    compared.run("run", "a blue fox", "a green fox", "-n", "1")
    assert compared.run("sheet").lines[0].endswith("sheet-run-1.png")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sheet"], 4, "no run yet"),
        (["sheet", "7"], 4, "no task 7"),
        (["sheet", "--run", "9"], 4, "no run 9"),
        (["sheet", "seven"], 2, "names no task"),
        (["gallery"], 4, "no task yet"),
        (["gallery", "--search", "wolf"], 4, "no matching tasks"),
        (["gallery", "1", "--search", "fox"], 2, "not by both"),
        (["open", "1"], 4, "no task 1"),
        (["open", "LAST"], 4, "no task yet"),
    ],
)
def test_what_is_not_there_is_said(studio: Program, words: list[str], code: int, said: str) -> None:
    ended = studio.run(*words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


# Files that are not ours


@pytest.mark.parametrize(("kind", "suffix"), [("sheet", ".png"), ("gallery", ".html")])
def test_no_file_of_another_kind_is_replaced(compared: Program, kind: str, suffix: str) -> None:
    folder = compared.folder / "images"
    picture = next(folder.glob("1-*"))
    for name in (picture.name, f"notes{suffix}"):
        target = folder / name
        if not target.exists():
            target.write_text(f"imagegen {kind} 0123456789abcdef")
        before = target.read_bytes()
        ended = compared.run(kind, "1", "2", "-o", str(target))
        assert ended.code == 2
        assert target.read_bytes() == before

    usual = Path(compared.run(kind, "1", "2").lines[0])
    usual.write_bytes(picture.read_bytes())
    other = Path(compared.run(kind, "1", "2").lines[0])
    assert other.name == f"{usual.stem}-2{suffix}"
    assert usual.read_bytes() == picture.read_bytes()
    assert Path(compared.run(kind, "1", "2").lines[0]) == other
    assert Path(compared.run(kind, "1", "2", "-o", str(other)).lines[0]) == other


def test_a_folder_a_new_folder_and_a_wrong_suffix(compared: Program) -> None:
    there = compared.folder / "there"
    there.mkdir()
    assert compared.run("sheet", "-o", "there").lines == [str(there / "sheet-run-1.png")]
    assert compared.run("gallery", "--run", "1", "-o", "new/a.html").lines == [str(compared.folder / "new" / "a.html")]
    ended = compared.run("sheet", "-o", "a.jpg")
    assert (ended.code, "a.png" in ended.err) == (2, True)
    (compared.folder / "file").touch()
    assert compared.run("gallery", "-o", "file/a.html").code == 2


# Stopped in the middle


def made_slow(program: Program) -> None:
    """Every picture becomes one that takes a while to decode."""
    paths = [path for path in program.pictures() if path.suffix == ".png"]
    paths[0].unlink()
    Image.effect_noise((3600, 3600), 60).convert("RGB").save(paths[0], compress_level=1)
    for path in paths[1:]:
        path.unlink()
        path.hardlink_to(paths[0])


@pytest.mark.parametrize(("word", "number"), [("sheet", signal.SIGINT), ("gallery", signal.SIGTERM)])
def test_what_is_stopped_leaves_no_half_file(studio: Program, word: str, number: signal.Signals) -> None:
    studio.run("run", *(f"a fox of kind {kind}" for kind in "abcdefgh"), *TWO_MODELS, "--no-sheet")
    made_slow(studio)
    before = studio.pictures()
    with inside(studio, word, "--run", "1") as program:
        program.wait_for("of 16 pictures", 60)
        program.signal(number)
        assert program.finish(20) == 128 + number
    assert studio.pictures() == before


# The page


def page_of(ended: Ended) -> str:
    return Path(ended.lines[0]).read_text("utf-8")


def entries(text: str) -> list[dict[str, object]]:
    parts = re.findall(r'<script type="application/json" class="pictures">(.*?)</script>', text)
    return [one for part in parts for one in json.loads(part)]


def test_a_second_gallery_makes_no_thumbnail(compared: Program) -> None:
    first, second = compared.run("gallery"), compared.run("gallery")
    assert "2 pictures, 2 new thumbnails" in first.err
    assert "2 pictures, 0 new thumbnails" in second.err
    assert first.out == second.out == f"{compared.folder / 'images' / 'gallery.html'}\n"
    assert len(list((compared.home / "cache" / "thumbnails").rglob("*.webp"))) == 2


def test_a_gallery_of_what_is_searched_for(compared: Program) -> None:
    compared.run("run", "雪山下的红色小屋", "-n", "2")
    for words, tasks in (
        (["--search", "小屋"], [3, 3]),
        (["--since", "1h"], [3, 3, 2, 1]),
        (["--limit", "2"], [3, 3, 2]),
        (["--run", "1"], [1, 2]),
        (["--run", "1", "--search", "fox", "--model", "4.0"], [2]),
        (["--has-picture", "--until", "1h"], []),
        (["2", "3/2"], [2, 3]),
    ):
        ended = compared.run("gallery", *words)
        assert ended.code == (0 if tasks else 4)
        assert (not tasks) or [one["t"] for one in entries(page_of(ended))] == tasks, words


def test_pictures_that_are_gone_are_said(compared: Program) -> None:
    gone = next((compared.folder / "images").glob("2-*"))
    gone.unlink()
    ended = compared.run("gallery")
    assert ended.code == 0
    assert f"1 file cannot be shown: {gone}" in ended.err
    assert compared.run("gallery", "--json").objects[0]["not_shown"] == [
        {"path": str(gone), "why": "The file is not there any more."}
    ]


def test_five_hundred_and_more_have_a_folder_until_there_are_fewer(studio: Program) -> None:
    (studio.folder / "many.txt").write_text("".join(f"fox {at}\n" for at in range(126)))
    assert studio.run("batch", "many.txt", "-n", "4", "-j", "unlimited", "-q").code == 0
    ended = studio.run("gallery", "-o", "page.html")
    assert "504 pictures" in ended.err
    assert "page_files, which belongs to the page; --single makes one file" in ended.err
    folder = studio.folder / "page_files"
    assert len(list(folder.glob("*.webp"))) == 504
    ended = studio.run("gallery", "-o", "page.html", "--single")
    assert "504 pictures, 0 new thumbnails" in ended.err
    assert not folder.exists()


def test_the_command_on_the_page_makes_an_equal_request(studio: Program) -> None:
    prompts = ["a fox, 'quoted' \"twice\" $HOME `id` \\", "--not-an-option", "狐狸\n第二行", "fox", "a {b|c} 100 %"]
    rows = [
        {"prompt": prompt, "ratio": "16:9", "seed": at + 7, "negative": "-blurred, text", "model": "4.0", "count": 1}
        for at, prompt in enumerate(prompts)
    ]
    (studio.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    planned = studio.run("batch", "rows.jsonl", "--dry-run", "--json").objects
    assert studio.run("batch", "rows.jsonl", "-q").code == 0
    commands = [str(one["c"]) for one in entries(page_of(studio.run("gallery", "--run", "1")))]
    for before, command in zip(planned, commands, strict=True):
        words = shlex.split(command)
        assert words[0] == "imagegen"
        [after] = studio.run(*words[1:3], "--dry-run", "--json", *words[3:]).objects
        assert without_place(after) == without_place(before)
        assert before["seed"] == after["seed"]


def without_place(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in ("line", "file", "skip")}


# Opened and drawn


def opener(folder: Path, name: str = "xdg-open", exit_code: int = 0) -> dict[str, str]:
    """An environment in which the desktop opens a file by writing down its arguments."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    tool = tools / name
    code = f'import sys; open({str(folder / "opened")!r}, "w").write(repr(sys.argv[1:])); sys.exit({exit_code})'
    tool.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", code])} "$@"\n')
    tool.chmod(0o755)
    return {"PATH": str(tools), "DISPLAY": ":0"}


def test_a_picture_is_opened_by_its_path_and_by_nothing_else(studio: Program) -> None:
    studio.run("run", "$(touch pwned); a fox", "-n", "2", "--name", "{slug} ; & '{index}")
    desktop = opener(studio.folder)
    for words, number in ((["1"], 1), (["1/2"], 2), (["LAST"], 1)):
        ended = studio.run("open", *words, **desktop)
        path = str(studio.pictures()[number - 1])
        assert (ended.code, ended.lines) == (0, [path])
        assert (studio.folder / "opened").read_text() == repr([path])
        assert ("1 of 2: imagegen open 1/2" in ended.err) == (words != ["1/2"])
    assert not (studio.folder / "pwned").exists()


def test_a_gallery_is_opened(compared: Program) -> None:
    ended = compared.run("gallery", "--open", **opener(compared.folder))
    assert (compared.folder / "opened").read_text() == repr(ended.lines)


def test_where_nothing_opens_the_path_is_said(compared: Program) -> None:
    path = str(compared.pictures()[0])
    for environment, said in (
        ({"DISPLAY": "", "WAYLAND_DISPLAY": ""}, "there is no desktop here"),
        ({"DISPLAY": ":0", "PATH": "/nowhere"}, "there is no program here that opens files"),
        (opener(compared.folder, exit_code=3), "xdg-open ended with code 3"),
    ):
        ended = compared.run("open", "1", **environment)
        assert (ended.code, ended.lines) == (1, [path])
        assert said in ended.err


@pytest.mark.parametrize(
    ("words", "said"), [("1/3", "1 picture, and no picture 3"), ("2", "moderated"), ("3", "is not there any more")]
)
def test_a_picture_that_is_not_there_is_not_opened(studio: Program, words: str, said: str) -> None:
    studio.run("run", "a fox", "a fox #moderated", "a dog", "-n", "1")
    next((studio.folder / "images").glob("3-*")).unlink()
    ended = studio.run("open", words, **opener(studio.folder))
    assert (ended.code, ended.out) == (4, "")
    assert said in ended.err
    assert not (studio.folder / "opened").exists()


def test_show_draws_the_pictures_in_the_terminal(studio: Program) -> None:
    studio.run("run", "a fox", "-n", "2")
    for name, pictures in (("1", 2), ("1/2", 1)):
        with inside(studio, "show", name, "--preview", lines=60) as program:
            assert program.finish(30) == 0
            assert "a fox" in program.text
            first = next(line for line in program.text.splitlines() if "▀" in line)
            assert len(first.split("  ")) >= pictures
    ended = studio.run("show", "1", "--preview")
    assert (ended.code, "imagegen open 1" in ended.err) == (2, True)


def test_ctrl_c_while_the_sheet_after_a_comparison_is_drawn_ends_it_at_once(tmp_path: Path) -> None:
    """The pictures are there, and the command that draws the sheet is named."""
    with ImageServer("localai", pictures=Pictures("png", (3600, 3600))) as server:
        program = Program(tmp_path, CONFIG.format(url=server.base_url))
        with inside(
            program, "run", *(f"a fox of kind {kind}" for kind in "abcdefgh"), *TWO_MODELS, "-q", "--sheet"
        ) as run:
            run.wait_for("of 16 pictures; Ctrl-C", 60)
            run.signal(signal.SIGINT)
            assert run.finish(10) == 130
            assert "imagegen sheet --run 1" in run.text
        assert len(program.pictures()) == 16
        assert not list((program.folder / "images").glob(".*"))
