"""Tasks and runs as a person names them, and commands whose arguments may begin with a minus."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.commands.task_ids import TaskReference, run_reference, task_ids, task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.task import ImageRequest, TaskId
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store
from tests.program import Program

CONFIG = 'default_provider = "sketch"\n'
TAKE_IDS = ("show", "cancel", "resume", "retry", "again", "settle --paid", "watch")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A history of two runs: the tasks 1 to 3, and task 4."""
    with closing(Store(tmp_path / "history.db")) as store:
        for tasks in (3, 1):
            run, ids = store.reserve(tasks)
            request = ImageRequest(prompt="a", provider="sketch")
            planned = [
                Planned(id=id_, name="a", request=request, expected_images=1, folder="/", identity="a") for id_ in ids
            ]
            store.start_run(run, "run", "", planned)
        yield store


@pytest.mark.parametrize(
    ("text", "id_", "number"),
    [
        ("2", 2, None), ("2/3", 2, 3), ("LAST", 4, None), ("last/2", 4, 2), ("-1", 4, None), (" -1", 4, None),
        ("-4", 1, None), ("-2/1", 3, 1), ("007", 7, None), ("99", 99, None), ("9" * 40, 10**18, None),
    ],
)  # fmt: skip
def test_a_task_is_named_by_number_or_from_the_newest(store: Store, text: str, id_: int, number: int | None) -> None:
    assert task_reference(text, store) == TaskReference(TaskId(id_), number)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", "1/", "/1", "-0", "--1", "LAST-1", "1.5", "²", "１", "2/x", "-", "1 2"]
)
def test_other_words_name_no_task(store: Store, text: str) -> None:
    with pytest.raises(UsageError, match="names no task"):
        task_reference(text, store)


def test_a_number_from_the_newest_that_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="fewer than 5 tasks"):
        task_reference("-5", store)
    with closing(Store(tmp_path / "empty.db")) as empty:
        for text in ("LAST", "-1"):
            with pytest.raises(NothingToDo, match="no task yet"):
                task_reference(text, empty)
            with pytest.raises(NothingToDo, match="no run yet"):
                run_reference(text, empty)


@pytest.mark.parametrize(("text", "run"), [("", None), ("1", 1), ("LAST", 2), ("-1", 2), ("-2", 1), ("77", 77)])
def test_a_run_is_named_likewise(store: Store, text: str, run: int | None) -> None:
    assert run_reference(text, store) == run


@pytest.mark.parametrize("text", ["2/1", "x", "-1/2"])
def test_a_run_has_no_pictures(store: Store, text: str) -> None:
    with pytest.raises(UsageError, match="names no run"):
        run_reference(text, store)


def test_whole_tasks_are_taken_once_each_and_no_single_picture(store: Store) -> None:
    assert task_ids(["LAST", "2", "-1", "2"], store) == [4, 2]
    with pytest.raises(UsageError, match="4/2 names one picture"):
        task_ids(["1", "-1/2"], store)


@pytest.mark.parametrize("words", TAKE_IDS)
def test_no_command_takes_a_negative_number_for_an_option(tmp_path: Path, words: str) -> None:
    ended = Program(tmp_path).run(*words.split(), "-7")
    assert (ended.code, ended.lines) == (4, [])
    assert "fewer than 7 tasks" in ended.err


@pytest.mark.parametrize("words", ["list", "cancel", "resume", "watch", "retry --failed", "costs", "export", "forget"])
@pytest.mark.parametrize("run", ["LAST", "-1"])
def test_a_run_is_named_from_the_newest_wherever_a_run_is_taken(tmp_path: Path, words: str, run: str) -> None:
    ended = Program(tmp_path).run(*words.split(), "--run", run)
    assert (ended.code, ended.lines) == (4, [])
    assert "no run yet" in ended.err


@pytest.mark.parametrize("words", ["show --jsn 1", "cancel -1 --al", "retry -x", "show -1x", "again --sed 3 -1"])
def test_other_unknown_options_are_refused_as_before(tmp_path: Path, words: str) -> None:
    ended = Program(tmp_path).run(*words.split())
    assert ended.code == 2
    assert " has no option " in ended.err
    if "--jsn" in words:
        assert "--json" in ended.err


def test_the_newest_task_is_shown_and_made_again_with_a_random_seed(tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert program.run("run", "two cats", "a dog", "--each", "--quiet", "--size", "64x64").code == 0
    assert program.run("show", "-1", "--json").objects[0]["prompt"] == "a dog"
    assert program.run("show", "--json", "-2").objects[0]["prompt"] == "two cats"
    assert program.run("show", "--", "-2").lines[0] == "two cats"
    ended = program.run("again", "-2", "--seed", "-1", "--quiet")
    assert ended.code == 0, ended.err
    assert program.run("show", "last", "--json").objects[0]["prompt"] == "two cats"
    assert [task["id"] for task in program.run("list", "--json", "--run", "-2").objects] == [2, 1]
