"""Pictures of a shared history that lie on another machine: every command says on which, and none is orphaned."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.core.task import TaskId
from imagegen_cli.storage.records import Filter
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.histories import KINDS, opened, outside, place, place_of
from tests.program import Program
from tests.test_team import CONFIG

HOST = "studio-2"


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=0.0) as server:
        yield server


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest, tmp_path: Path, server: DreaminaServer) -> Program:
    """Task 1 was made on another machine and task 2 on this one; a file of SQLite may be a copy of a shared history."""
    program = Program(tmp_path, CONFIG.format(url=server.url))
    where = place(request.param, tmp_path)
    program.more["IMAGEGEN_HISTORY" if isinstance(where, str) else "IMAGEGEN_UNUSED"] = str(where)
    for folder in ("there", "here"):
        assert program.run("run", f"a fox {folder}", "-p", "studio", "-q", "-o", folder).code == 0
    with outside(history_of(program)) as db:
        db.execute("UPDATE task SET host = ? WHERE id = 1", (HOST,))
    (tmp_path / "there").rename(tmp_path / "hidden")
    return program


def history_of(program: Program) -> "Path | str":
    return place_of(program.more.get("IMAGEGEN_HISTORY") or str(next(program.home.rglob("*.db"))))


def first_picture(program: Program) -> str:
    with closing(opened(history_of(program))) as store:
        return store.pictures([1])[TaskId(1)][0].path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["open", "1/1"], 4), (["run", "a dog", "--image", "task:1/1", "-p", "studio"], 2),
        (["run", "a dog", "--image", "task:1/1", "-p", "studio", "--queue"], 2), (["run", "--from", "task:1/1"], 2),
        (["edit", "1/1", "more snow", "-p", "studio"], 2), (["info", "there/FILE"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_every_command_names_the_machine_of_a_picture_that_is_not_here(
    program: Program, server: DreaminaServer, words: list[str], code: int
) -> None:
    path = first_picture(program)
    words = [word.replace("FILE", Path(path).name) for word in words]
    ended = program.run(*words)
    assert ended.code == code, ended.err
    assert f"{path} is on the machine {HOST}, and not on this one" in " ".join(ended.err.split())
    assert server.counts["submit"] == 2


def test_a_page_and_a_sheet_say_in_the_place_of_a_picture_where_it_is(program: Program) -> None:
    said = f"the pictures of 1 are on the machine {HOST}, and not on this one"
    page = program.run("gallery", "1", "2", "-o", "page.html")
    assert (page.code, said in page.err) == (0, True)
    assert f"is on the machine {HOST}" in (program.folder / "page.html").read_text("utf-8")
    sheet = program.run("sheet", "1", "2", "-o", "sheet.png")
    assert (sheet.code, said in sheet.err) == (0, True)


def test_a_copy_of_a_picture_names_the_machine_of_its_original(program: Program) -> None:
    path = first_picture(program)
    ended = program.run("info", f"hidden/{Path(path).name}")
    assert ended.code == 0
    assert f"on the machine {HOST}" in " ".join(ended.out.split())


def test_pictures_on_another_machine_are_not_forgotten_with_their_files(program: Program) -> None:
    ended = program.run("forget", "1", "--files", "--yes")
    assert ended.code == 4
    assert f"their pictures are on the machine {HOST}: 1" in ended.err
    assert "nothing to forget" in ended.err
    both = program.run("forget", "1", "2", "--files", "--yes")
    assert both.code == 0
    assert both.lines == ["2 forgotten, 4 pictures deleted"]
    with closing(opened(history_of(program))) as store:
        assert [record.task.id for record in store.find(Filter())] == [1]
    assert len(list((program.folder / "hidden").glob("*.png"))) == 4
    assert program.run("forget", "1", "--yes").code == 0


def test_a_folder_that_machines_share_has_the_pictures_of_all(program: Program) -> None:
    (program.folder / "hidden").rename(program.folder / "there")
    assert program.run("forget", "1", "--files", "--yes").lines == ["1 forgotten, 4 pictures deleted"]


def test_another_file_at_the_same_path_is_not_the_picture_of_another_machine(program: Program) -> None:
    path = Path(first_picture(program))
    path.parent.mkdir()
    for picture in (program.folder / "hidden").iterdir():
        (path.parent / picture.name).write_bytes(b"another task's")
    ended = program.run("forget", "1", "--files", "--yes")
    assert (ended.code, "nothing to forget" in ended.err) == (4, True), ended.err
    assert path.read_bytes() == b"another task's"


def replace_there(program: Program) -> Path:
    """Let pictures of a task of this machine lie where task 1 has its own on the other one. Returns the first."""
    path = Path(first_picture(program))
    path.parent.mkdir()
    others = sorted((program.folder / "here").glob("*.png"))
    names = sorted((program.folder / "hidden").glob("*.png"))
    for picture, other in zip(names, others, strict=True):
        (path.parent / picture.name).write_bytes(other.read_bytes())
    return path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["open", "1/1"], 4), (["open", "1"], 4), (["edit", "1/1", "more snow", "-p", "studio"], 2),
        (["run", "a dog", "--image", "task:1/1", "-p", "studio"], 2), (["run", "--from", "task:1/1"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_another_file_at_the_path_of_a_picture_is_not_taken_for_it(
    program: Program, server: DreaminaServer, words: list[str], code: int
) -> None:
    path = replace_there(program)
    ended = program.run(*words)
    assert ended.code == code, ended.err
    assert f"{path} is on the machine {HOST}, and not on this one" in " ".join(ended.err.split())
    assert ended.out == ""
    assert server.counts["submit"] == 2


def test_a_page_and_a_sheet_show_no_other_file_at_the_path_of_a_picture(program: Program) -> None:
    replace_there(program)
    said = f"the pictures of 1 are on the machine {HOST}, and not on this one"
    page = program.run("gallery", "1", "2", "-o", "page.html")
    assert (page.code, said in page.err) == (0, True), page.err
    assert "4 files cannot be shown" in page.err
    assert (program.folder / "page.html").read_text("utf-8").count(f"is on the machine {HOST}") == 4
    sheet = program.run("sheet", "1", "2", "-o", "sheet.png")
    assert (sheet.code, said in sheet.err) == (0, True)
    assert "4 pictures, 4 missing" in sheet.err


def test_a_copy_of_a_picture_names_the_machine_of_its_original_where_another_file_has_its_path(
    program: Program,
) -> None:
    path = replace_there(program)
    ended = program.run("info", f"hidden/{path.name}")
    assert f"on the machine {HOST}" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("words", "names"), [(["gallery", "2"], "2/1"), (["sheet", "2"], "2/1"), (["open", "2/1"], "2/1")], ids=str
)
def test_a_file_that_was_replaced_on_this_machine_is_told_as_such(
    program: Program, words: list[str], names: str
) -> None:
    with closing(opened(history_of(program))) as store:
        path = Path(store.pictures([2])[TaskId(2)][0].path)
    assert "changed or replaced" not in program.run(*words).err
    with outside(history_of(program)) as db:
        db.execute("UPDATE task SET ended = ended - 60 WHERE id = 2")
    assert "changed or replaced" not in program.run(*words).err, "it was only touched"
    path.write_bytes(next((program.folder / "hidden").glob("*.png")).read_bytes())
    told = f"1 file was changed or replaced since it was saved, and is shown as it is now: {names}"
    assert told in program.run(*words).err
