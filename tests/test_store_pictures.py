"""The pictures of the history: which files were saved, and the digest of each."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.task import (
    Done,
    Failed,
    InlineImage,
    Job,
    RemoteImage,
    Running,
    SavedImage,
    Saving,
    StagedImage,
    State,
    Submitting,
)
from imagegen_cli.storage.migrations import MIGRATIONS
from imagegen_cli.storage.records import Filter, Picture
from imagegen_cli.storage.serialize import dumps, from_state
from imagegen_cli.storage.store import Store
from tests.histories import KINDS, opened, place
from tests.test_store import become, sql, started

A, B = "a" * 64, "b" * 64
FIRST, SECOND = SavedImage("/1.png", A), SavedImage("/2.png", B)
STAGED = StagedImage("/.part", "/1.png", A)
JOB = Job("job-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as store:
        yield store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with closing(opened(place(request.param, tmp_path))) as store:
        yield store


def saving(*images: InlineImage | RemoteImage | StagedImage | SavedImage) -> Saving:
    return Saving(images)


@pytest.mark.parametrize(
    ("states", "numbers"),
    [
        ([saving(STAGED)], []),
        ([saving(FIRST)], [1]),
        ([saving(RemoteImage("https://x"), SECOND)], [2]),
        ([saving(FIRST, SECOND)], [1, 2]),
        ([saving(FIRST), saving(FIRST), Done(("/1.png",))], [1]),
        ([saving(FIRST, RemoteImage("https://x")), Failed(Reason.DISK, "full", images=(FIRST,))], [1]),
        ([saving(InlineImage(b""), SECOND), Running(JOB, (InlineImage(b""), SECOND))], [2]),
    ],
)
def test_a_picture_is_known_as_soon_as_a_state_says_that_it_is_saved(
    store: Store, states: list[State], numbers: list[int]
) -> None:
    (task,) = started(store, "a cat")
    become(store, task, Submitting(), *states)
    all_ = {1: Picture(task.id, 1, "/1.png", A), 2: Picture(task.id, 2, "/2.png", B)}
    assert store.pictures([task.id]) == ({task.id: [all_[number] for number in numbers]} if numbers else {})
    assert [one.number for digest in (A, B) for one in store.by_sha256(digest)] == numbers


def test_state_and_pictures_are_one_transaction(sqlite: Store, path: Path) -> None:
    (task,) = started(sqlite, "a cat")
    become(sqlite, task, Submitting())
    sql(path, "CREATE TRIGGER broken BEFORE INSERT ON picture BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="history"):
        become(sqlite, task.to(Submitting()), saving(FIRST))
    assert sql(path, "SELECT state FROM task") == [("submitting",)]
    sql(path, "DROP TRIGGER broken")


def test_a_process_that_lost_its_task_writes_no_picture(sqlite: Store, path: Path) -> None:
    (task,) = started(sqlite, "a cat")
    become(sqlite, task, Submitting())
    sql(path, "UPDATE task SET fence = fence + 1")
    become(sqlite, task.to(Submitting()), saving(FIRST))
    assert sqlite.pictures([task.id]) == {}


def test_pictures_that_come_late_heal_what_was_uncertain(sqlite: Store, path: Path) -> None:
    (task,) = started(sqlite, "a cat")
    become(sqlite, task, Submitting())
    sql(path, "UPDATE task SET state = 'failed', reason = 'uncertain', fence = fence + 1")
    become(sqlite, task.to(Submitting()), saving(FIRST))
    assert sqlite.by_sha256(A) == [Picture(task.id, 1, "/1.png", A)]


def test_a_resume_knows_what_was_saved_before(store: Store) -> None:
    (task,) = started(store, "a cat")
    become(store, task, Submitting(), saving(RemoteImage("https://x")))
    (record,) = store.find(Filter())
    store.claim([(record, Saving((FIRST, RemoteImage("https://x"))))])
    assert store.pictures([task.id]) == {task.id: [Picture(task.id, 1, "/1.png", A)]}


@pytest.mark.parametrize("sha256", ["", "a", "'", A.upper()])
def test_a_digest_is_found_as_a_whole(store: Store, sha256: str) -> None:
    (task,) = started(store, "a cat")
    become(store, task, Submitting(), saving(FIRST, SavedImage("/3.png")))
    assert [one.path for one in store.by_sha256(sha256)] == (["/1.png"] if sha256.lower() == A else [])


def test_the_newest_of_equal_pictures_comes_first(store: Store) -> None:
    tasks = started(store, "a cat", "a cat again")
    for task in tasks:
        become(store, task, Submitting(), saving(FIRST))
    assert [one.task for one in store.by_sha256(A)] == [task.id for task in reversed(tasks)]


def test_a_search_by_digest_reads_no_table(sqlite: Store, path: Path) -> None:
    plan = sql(path, "EXPLAIN QUERY PLAN SELECT * FROM picture WHERE sha256 = ? AND sha256 != ''", A)
    assert any("picture_by_sha256" in str(row) for row in plan)


def before(path: Path, *states: State, events: bool = True) -> None:
    """Write a history as it was before pictures were remembered; each state is the last of a task."""
    version = next(number for number, script in enumerate(MIGRATIONS) if "CREATE TABLE picture" in script)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.execute("INSERT INTO run (command, started) VALUES ('run', 1)")
        for number, state in enumerate(states, 1):
            name = type(state).__name__.lower()
            columns = "id, run, provider, model, size, prompt, request, identity, folder, name, expected_images"
            request = '{"prompt":"a cat","provider":"studio"}'
            values = (number, 1, "s", "", "", "a cat", request, "", "/", "1-{index}", 1, name, dumps(from_state(state)))
            places = ",".join("?" * len(values))
            db.execute(f"INSERT INTO task ({columns}, state, detail, created) VALUES ({places}, 1)", values)  # noqa: S608 - our own words
            if events:
                body = dumps({"state": "saving"} | from_state(saving(FIRST, SECOND)))
                db.execute(
                    "INSERT INTO event (run, task, at, kind, body) VALUES (1, ?, 1, 'TaskChanged', ?)", (number, body)
                )
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def digests(path: Path) -> dict[int, list[tuple[int, str, str]]]:
    with closing(Store(path)) as store:
        return {task: [one[1:] for one in found] for task, found in store.pictures(range(1, 10)).items()}


def test_pictures_of_an_earlier_history_get_the_digests_that_it_still_has(path: Path) -> None:
    failed = Failed(Reason.DISK, "full", images=(RemoteImage("https://x"), SECOND))
    before(path, Done(("/1.png", "/2.png")), failed, Done(("/1.png", "/other.png")), Running(JOB))
    assert digests(path) == {
        1: [(1, "/1.png", A), (2, "/2.png", B)],
        2: [(2, "/2.png", B)],
        3: [(1, "/1.png", A), (2, "/other.png", "")],
    }


def test_pictures_whose_events_are_gone_have_no_digest(path: Path) -> None:
    before(path, Done(("/1.png",)), saving(SavedImage("/1.png")), events=False)
    assert digests(path) == {1: [(1, "/1.png", "")], 2: [(1, "/1.png", "")]}


def test_a_damaged_row_keeps_no_history_from_being_brought_up(path: Path) -> None:
    before(path, Done(("/1.png",)), Done(("/2.png",)), events=False)
    sql(path, "UPDATE task SET detail = '{\"files' WHERE id = 1")
    Store(path).close()
    assert sql(path, "SELECT task, path FROM picture") == [(2, "/2.png")]
