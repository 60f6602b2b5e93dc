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
