"""The file of a history that is put back, exchanged or deleted while processes are at work: nothing is paid twice."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imagegen_cli.core.errors import DiskError, HistoryError, Reason
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Failed, Job, Running, Saving, State, Submitting, Task
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests.doubles import http
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures
from tests.histories import outside
from tests.program import Program, finished
from tests.test_set_back import until
from tests.test_shared_store import STUDIO, queued
from tests.test_store import become

if TYPE_CHECKING:
    import subprocess

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
concurrency = 2
"""
JOB = Job("job-1")
FINISHED = 3
PROMPTS = [f"fox {number}" for number in range(8)]


def renamed(backup: Path, history: Path) -> None:
    """As backup programs restore: another file takes the name."""
    delete_log(history)
    copy = backup.with_suffix(".copy")
    shutil.copy(backup, copy)
    copy.replace(history)


def restored(backup: Path, history: Path) -> None:
    """As `.restore` of SQLite does it: the same file with earlier pages."""
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(history, timeout=20)) as target:
        source.backup(target)


def deleted(_backup: Path, history: Path) -> None:
    delete_log(history)
    history.unlink()


def delete_log(history: Path) -> None:
    for end in ("-wal", "-shm"):
        history.with_name(history.name + end).unlink(missing_ok=True)


WAYS: dict[str, Callable[[Path, Path], None]] = {"renamed": renamed, "restored": restored, "deleted": deleted}


class Held(DreaminaServer):
    """Its fourth task and those that follow run until the test finishes them."""

    def add_job(self, job_id: str, payload: dict[str, Any], *, seconds: float | None = None) -> http.Job:
        is_held = self.seconds and len(self.jobs) >= FINISHED
        return super().add_job(job_id, payload, seconds=HELD if is_held else seconds)


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with Held(pictures=Pictures("png", (8, 8)), seconds=0.7) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: DreaminaServer) -> Program:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    (program.folder / "list.txt").write_text("\n".join(PROMPTS))
    return program


def started(program: Program, command: str) -> "list[subprocess.Popen[str]]":
    words = ["work", "--once"] if command == "work" else ["batch", "list.txt", "--yes"]
    return [program.start(*words, "--progress", "plain") for _ in range(2 if command == "work" else 1)]


@pytest.mark.parametrize("command", ["batch", "work"])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_put_back_under_processes_is_noticed_and_nothing_is_paid_twice(
    tmp_path: Path, program: Program, server: DreaminaServer, way: str, command: str
) -> None:
    backup, history = tmp_path / "backup.db", program.home / "history.db"
    assert program.run("run", "first #now", "-q").code == 0
    if command == "work":
        assert program.run("batch", "list.txt", "--queue", "--yes", "-q").code == 0
    with closing(sqlite3.connect(history)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    processes = started(program, command)
    until(lambda: len(server.jobs) >= 4 and is_everyone_at_work(history, len(processes)))
    WAYS[way](backup, history)
    server.release()
    ends = [finished(process) for process in processes]
    assert any("was set back to an earlier state, or is another one now" in end.err for end in ends), ends
    assert {end.code for end in ends} <= {3, 5}, ends
    sent = len(server.jobs)
    assert sent < 9, "nothing more is sent"
    assert program.run("resume", "-q").code == 0
    assert len(server.jobs) == sent
    pictures = program.pictures()
    rest = ["work", "--once", "-q"] if command == "work" and way != "deleted" else ["batch", "list.txt", "--yes", "-q"]
    assert program.run(*rest).code == 0
    assert len(server.jobs) == 9, "each prompt was paid for once"
    assert len(pictures) >= 4 * (sent - 2)
    assert {task["state"] for task in program.tasks()} == {"done"}


def is_everyone_at_work(history: Path, processes: int) -> bool:
    with outside(history) as db:
        return bool(db.execute("SELECT count(*) FROM process").fetchone()[0] == processes)


# One process


def used(folder: Path) -> tuple[Path, Path, Store, Task]:
    """A history whose worker has a task at its service, and a copy from before that."""
    history, backup = folder / "state" / "history.db", folder / "backup.db"
    store = Store(history)
    queued(store, "a", "b")
    with closing(sqlite3.connect(history)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    (task,) = store.claim_queued(STUDIO, 1)
    return history, backup, store, become(store, task, Submitting(), Running(JOB))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("notices", ["claim", "flush", "look"])
def test_whatever_a_process_does_next_it_notices_and_puts_its_receipt_back(
    tmp_path: Path, way: str, notices: str
) -> None:
    history, backup, store, task = used(tmp_path)
    WAYS[way](backup, history)
    if notices == "claim":
        with pytest.raises(HistoryError, match="set back"):
            store.claim_queued(STUDIO, 1)
    elif notices == "flush":
        with pytest.raises(DiskError, match="set back"):
            become(store, task, Saving((), JOB))
    store.cancel_requests()
    assert store.is_set_back
    assert "set back" in store.trouble
    with closing(Store(history)) as now:
        assert [state for state in states(now) if isinstance(state, Running)] == [Running(JOB)]
        assert [one.request.prompt for one in now.claim_queued(STUDIO, 9)] == ([] if way == "deleted" else ["b"])
    store.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_told", [False, True], ids=["on its way", "uncertain"])
def test_what_may_have_been_sent_without_an_answer_is_uncertain_in_the_file_that_is_there_now(
    tmp_path: Path, way: str, *, is_told: bool
) -> None:
    history, backup = tmp_path / "state" / "history.db", tmp_path / "backup.db"
    store = Store(history)
    queued(store, "a", "b")
    with closing(sqlite3.connect(history)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    (task,) = store.claim_queued(STUDIO, 1)
    lost = Failed(Reason.UNCERTAIN, "the answer was lost", may_be_paid=True)
    store.follow(TaskChanged(1.0, become(store, task, Submitting(), *([lost] if is_told else []))))
    WAYS[way](backup, history)
    store.cancel_requests()
    assert store.is_set_back
    with closing(Store(history)) as now:
        found = [state for state in states(now) if isinstance(state, Failed)]
        assert [state.reason for state in found] == ([] if way == "deleted" else [Reason.UNCERTAIN])
        assert [one.request.prompt for one in now.claim_queued(STUDIO, 9)] == ([] if way == "deleted" else ["b"])
    assert [one.request.prompt for one in store.unknown] == (["a"] if way == "deleted" else [])
    if not is_told:  # its answer comes after all
        store.record(TaskChanged(9.0, task.to(Submitting()).to(Running(JOB))))
        store.cancel_requests()
        with closing(Store(history)) as now:
            assert [state for state in states(now) if isinstance(state, Running)] == [Running(JOB)]
            assert [state for state in states(now) if isinstance(state, Failed)] == []
    store.close()


def states(store: Store) -> list[State]:
    return [record.task.state for record in store.find(Filter())]


@pytest.mark.parametrize("again", ["another process", "the same process"])
def test_a_history_that_others_change_goes_on(tmp_path: Path, again: str) -> None:
    store = Store(tmp_path / "history.db")
    queued(store, *"abcdef")
    with closing(Store(tmp_path / "history.db")) as other:
        for _ in range(3):
            store.claim_queued(STUDIO, 1)
            (task,) = (other if again == "another process" else store).claim_queued(STUDIO, 1)
            become(other if again == "another process" else store, task, Submitting(), Running(JOB))
            store.cancel_requests()
            assert not store.is_set_back
    store.close()


def test_each_change_of_a_task_is_counted(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "history.db")) as store:
        queued(store, "a")
        with outside(tmp_path / "history.db") as db:
            before = db.execute("SELECT number FROM changes").fetchone()[0]
            (task,) = store.claim_queued(STUDIO, 1)
            become(store, task, Submitting(), Running(JOB))
            assert db.execute("SELECT number FROM changes").fetchone()[0] == before + 3
