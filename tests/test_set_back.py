"""A history that was set back to an earlier state: a backup that was restored, or a server that was behind."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from imagegen_cli.core.errors import DiskError, HistoryError, Reason
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Cancelled, CancelOutcome, Failed, Job, Queued, Running, State, Submitting, TaskId
from imagegen_cli.storage.missing_tasks import Restored
from imagegen_cli.storage.receipt_lines import Receipt
from imagegen_cli.storage.records import Filter, PlanChangedError
from imagegen_cli.storage.store import Store
from tests import postgres
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures
from tests.histories import KINDS, Place, opened, outside, place
from tests.program import LIMIT, Program, finished
from tests.test_shared_store import ELSEWHERE, STUDIO, queued
from tests.test_store import become, enter, ids, one, planned

JOB = Job("job-1")
TABLES = ("task", "run", "process", "receipt", "attempt", "charge", "event", "picture")
NUMBERED = ("process", "receipt", "charge", "event")
OF_SERVER = ("committed", "numbering")


class Backup:
    """The rows of a history as they are now, for later."""

    def __init__(self, where: Place) -> None:
        self._where = where
        self._tables = TABLES + (OF_SERVER if isinstance(where, str) else ())
        with outside(where) as db:
            for table in self._tables:
                db.execute(f"CREATE TABLE before_{table} AS SELECT * FROM {table}")  # noqa: S608 - our own words

    def restore(self) -> None:
        with outside(self._where) as db:
            db.execute("BEGIN IMMEDIATE")
            for table in self._tables:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
                db.execute(f"INSERT INTO {table} SELECT * FROM before_{table}")  # noqa: S608 - see above
            for table in NUMBERED if isinstance(self._where, str) else ():
                last = f"(SELECT coalesce(max(id), 0) + 1 FROM {table})"  # noqa: S608 - see above
                db.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last}, false)")
            db.execute("COMMIT")


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


@pytest.fixture
def store(where: Place) -> Iterator[Store]:
    with closing(opened(where)) as store:
        yield store


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(place("postgres", tmp_path))


def add_receipt(where: Place, task: int, fence: int, job: str = "job-1") -> None:
    with outside(where) as db:
        query = "INSERT INTO receipt (task, fence, job, url, at) VALUES (?, ?, ?, '', 1.0)"
        db.execute(query, (task, fence, job))


def task_of(store: Store, id_: int) -> object:
    return store.find(Filter(ids=(id_,)))[0].task.state


def sent_and_set_back(store: Store, where: Place, *prompts: str) -> list[int]:
    """The first of these tasks was sent, and the history is as it was before any was claimed."""
    numbers = queued(store, *prompts)
    backup = Backup(where)
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting(), Running(JOB))
    backup.restore()
    return numbers


# The process that sent a task


def test_a_worker_takes_nothing_that_it_has_sent_from_a_history_that_was_set_back(where: Place) -> None:
    store = opened(where)
    first, second = sent_and_set_back(store, where, "a", "b")
    with suppress(HistoryError):
        assert ids_of_claim(store) == [second]
    with suppress(HistoryError):
        assert ids_of_claim(store) == []
    store.cancel_requests()
    with suppress(DiskError):
        asyncio.run(store.flush())
    unwritten = store.close()
    with closing(opened(where, process=ELSEWHERE)) as other:
        assert ids(other.left_by_workers(STUDIO)) == [first], "its receipt is kept and asked for"
        assert task_of(other, first) == Running(JOB)
        assert first not in ids_of_claim(other)
    if isinstance(where, str):
        assert [(task.id, task.job) for task in unwritten] == [(first, JOB)], "it is printed as well"


def ids_of_claim(store: Store) -> list[int]:
    return [task.id for task in store.claim_queued(STUDIO, 9)]


def test_a_server_that_lost_what_it_had_confirmed_is_written_to_no_more(address: str) -> None:
    store = opened(address)
    sent_and_set_back(store, address, "a", "b")
    with pytest.raises(HistoryError, match="was set back to an earlier state"):
        store.claim_queued(STUDIO, 9)
    assert store.is_set_back
    assert "set back" in store.trouble
    with pytest.raises(HistoryError, match="set back"):
        store.find(Filter())
    with outside(address) as db:
        assert db.execute("SELECT count(*) FROM task WHERE owner IS NOT NULL").fetchall() == [(0,)]
    store.close()


def empty(address: str) -> None:
    """Set a database back to before it had any of our tables."""
    with outside(address) as db:
        schema = db.execute("SELECT current_schema()").fetchall()[0][0]
        db.execute(f"DROP SCHEMA {schema} CASCADE")
        db.execute(f"CREATE SCHEMA {schema}")


@pytest.mark.parametrize("ask", ["claim_queued", "find", "flush"])
def test_a_database_from_before_our_tables_is_one_that_was_set_back(address: str, ask: str) -> None:
    store = opened(address)
    queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting(), Running(JOB))
    empty(address)
    if ask != "flush":
        with pytest.raises(HistoryError, match="was set back to an earlier state"):
            _ = store.claim_queued(STUDIO, 9) if ask == "claim_queued" else store.find(Filter())
    store.record(TaskChanged(time.time(), task.to(Submitting()).to(Running(JOB)).to(FAILED)))
    with suppress(DiskError):
        asyncio.run(store.flush())
    assert store.is_set_back
    assert "set back" in store.trouble
    assert [(one_.id, one_.job) for one_ in store.close()] == [(task.id, JOB)]


def test_a_process_that_only_waits_notices_it_at_its_next_connection(address: str) -> None:
    store = opened(address)
    sent_and_set_back(store, address, "a")
    postgres.server().cut()
    deadline = time.monotonic() + LIMIT
    while not store.is_set_back:
        assert time.monotonic() < deadline
        with suppress(DiskError, HistoryError):
            store.cancel_requests()
            asyncio.run(store.flush())
    with outside(address) as db:
        assert db.execute("SELECT count(*) FROM process").fetchall() == [(1,)], "its lease is not written anew"
    assert store.close()


def test_what_only_the_writing_thread_has_lost_stops_claims_too(address: str) -> None:
    """A standby that is a moment behind lacks the last states, and has the claims."""
    store = opened(address)
    queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    backup = Backup(address)
    become(store, task.to(Submitting()), Running(JOB))
    backup.restore()
    with pytest.raises(HistoryError, match="set back"):
        store.claim_queued(STUDIO, 1)
    assert [task.job for task in store.close()] == [JOB]


@pytest.mark.parametrize("is_told", [False, True], ids=["on its way", "uncertain"])
def test_what_may_have_been_sent_without_an_answer_is_uncertain_after_that(address: str, *, is_told: bool) -> None:
    store = opened(address)
    first, second = queued(store, "a", "b")
    backup = Backup(address)
    (task,) = store.claim_queued(STUDIO, 1)
    lost = Failed(Reason.UNCERTAIN, "the answer was lost", may_be_paid=True)
    store.follow(TaskChanged(1.0, become(store, task, Submitting(), *([lost] if is_told else []))))
    backup.restore()
    with pytest.raises(HistoryError, match="set back"):
        store.claim_queued(STUDIO, 9)
    store.cancel_requests()
    with suppress(DiskError):
        asyncio.run(store.flush())
    with closing(opened(address, process=ELSEWHERE)) as other:
        state = task_of(other, first)
        assert isinstance(state, Failed)
        assert state.reason is Reason.UNCERTAIN
        assert ids_of_claim(other) == [second]
    assert store.unknown == []
    store.close()


def test_a_process_that_was_taken_for_dead_goes_on(store: Store, where: Place) -> None:
    first, second = queued(store, "a", "b")
    (task,) = store.claim_queued(STUDIO, 1)
    with outside(where) as db:
        db.execute("DELETE FROM process")
        db.execute("UPDATE task SET owner = NULL, fence = fence + 1 WHERE owner IS NOT NULL")
    become(store, task, Submitting())
    assert store.lost == {first}
    assert not store.is_set_back
    assert ids_of_claim(store) == [first, second]
    assert not store.is_set_back


def test_a_connection_that_was_lost_and_has_all_of_its_commits_goes_on(address: str) -> None:
    with closing(opened(address)) as store:
        queued(store, "a", "b")
        (task,) = store.claim_queued(STUDIO, 1)
        postgres.server().cut()
        become(store, task, Submitting(), Running(JOB))
        assert len(store.claim_queued(STUDIO, 1)) == 1
        assert not store.is_set_back


def test_a_task_that_has_the_number_of_a_lost_one_gets_no_receipt(address: str) -> None:
    with closing(opened(address, process=ELSEWHERE)) as other:
        backup = Backup(address)
        store = opened(address)
        (number,) = queued(store, "a")
        (task,) = store.claim_queued(STUDIO, 1)
        become(store, task, Submitting(), Running(JOB))
        backup.restore()
        assert queued(other, "another prompt") == [number]
        with pytest.raises(HistoryError):
            store.claim_queued(STUDIO, 1)
        store.cancel_requests()
        with suppress(DiskError):
            asyncio.run(store.flush())
        assert [one_.job for one_ in store.close()] == [JOB]
        assert task_of(other, number) == Queued()
        assert other.recover_receipts() == []


# Other processes


@pytest.mark.parametrize("fence", [2, 5])
def test_a_task_that_waits_although_a_receipt_of_it_is_there_is_asked_for(
    store: Store, where: Place, fence: int
) -> None:
    first, second = queued(store, "a", "b")
    add_receipt(where, first, fence)
    assert ids_of_claim(store) == [second]
    assert ids(store.left_by_workers(STUDIO)) == [first]
    assert task_of(store, first) == Running(JOB)
    assert store.recover_receipts() == [], "once"


def test_a_process_that_has_claimed_it_before_the_receipt_came_does_not_send_it(store: Store, where: Place) -> None:
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    add_receipt(where, task.id, 2)
    become(store, task, Submitting())
    assert store.lost == {task.id}
    assert task_of(store, task.id) == Running(JOB)


def test_a_submit_that_was_never_sent_leaves_no_receipt(store: Store, where: Place) -> None:
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    with outside(where) as db:
        db.execute("UPDATE task SET owner = NULL, fence = fence + 1")
    become(store, task, Submitting(Job("an id of ours")))
    assert store.lost == {task.id}
    assert ids_of_claim(store) == [task.id]


FAILED = Failed(Reason.NETWORK, "no route", may_be_paid=False)
UNSENT = Cancelled(CancelOutcome.NOT_SENT)


def test_a_queue_that_is_emptied_leaves_what_was_sent(store: Store, where: Place) -> None:
    first, second = queued(store, "a", "b")
    add_receipt(where, first, 2)
    store.cancel_queued(store.find(Filter(ids=(first,)))[0].task.run)
    assert [task_of(store, id_) for id_ in (first, second)] == [Running(JOB), UNSENT]


@pytest.mark.parametrize("end", [UNSENT, FAILED], ids=["cancelled", "failed"])
def test_a_task_that_ends_unsent_was_sent_where_a_receipt_says_so(store: Store, where: Place, end: State) -> None:
    """Claimed by a command, or ended by the process that has it: neither may say that nothing was spent."""
    first, second = queued(store, "a", "b")
    record = store.find(Filter(ids=(first,)))[0]
    add_receipt(where, first, 2)
    assert store.claim([(record, end)])[0] == []
    (task,) = store.claim_queued(STUDIO, 1)
    add_receipt(where, second, 3)
    become(store, task, end)
    assert [task_of(store, id_) for id_ in (first, second)] == [Running(JOB)] * 2


def test_a_history_that_another_one_goes_on_with_leaves_what_was_sent_as_such(store: Store, where: Place) -> None:
    (task,) = queued(store, "a")
    add_receipt(where, task, 2)
    with store.copying():
        store.let_go()
    assert task_of(store, task) == Cancelled(CancelOutcome.GOES_ON, JOB)


@pytest.mark.parametrize("meanwhile", ["queued", "cancelled"])
def test_a_receipt_that_comes_after_the_history_was_set_back_unnoticed_is_used_at_once(
    tmp_path: Path, meanwhile: str
) -> None:
    """SQLite notices nothing, and the process that sent the task goes on."""
    where = place("sqlite", tmp_path / "file")
    with closing(opened(where)) as sender, closing(opened(where, process=ELSEWHERE)) as other:
        (number,) = queued(sender, "a")
        backup = Backup(where)
        (task,) = sender.claim_queued(STUDIO, 1)
        become(sender, task, Submitting())
        backup.restore()
        if meanwhile == "cancelled":
            other.claim([(other.find(Filter())[0], UNSENT)])
        become(sender, task.to(Submitting()), Running(JOB))
        assert task_of(other, number) == Running(JOB)
        assert ids_of_claim(other) == []


def test_a_retry_that_the_history_has_forgotten_is_not_repeated(store: Store, where: Place) -> None:
    _, (task,) = enter(store, planned("a"))
    become(store, task, FAILED)
    add_receipt(where, task.id, 2)
    record = one(store, task)
    taken, owned, changed = store.claim([(record, Queued())], again=True)
    assert (taken, owned, ids(changed)) == ([], [], [task.id])
    assert task_of(store, task.id) == Running(JOB)
    failed = Failed(Reason.SERVER, "no picture", may_be_paid=False)
    (again,), _, _ = store.claim([(one(store, task), Running(JOB))])
    become(store, again, failed)
    assert store.claim([(one(store, task), Queued())], again=True)[0], "its end is known now"


def test_a_receipt_of_an_earlier_attempt_holds_nothing_up(store: Store, where: Place) -> None:
    _, (task,) = enter(store, planned("a"))
    add_receipt(where, task.id, 0)
    become(store, task, FAILED)
    ((again), *_), _, _ = store.claim([(one(store, task), Queued())], again=True)
    become(store, again, Submitting())
    assert store.lost == set()
    assert task_of(store, task.id) == Submitting()


def test_a_list_that_is_given_again_does_not_take_up_what_was_sent(store: Store, where: Place) -> None:
    _, (task,) = enter(store, planned("a"))
    become(store, task, Cancelled(CancelOutcome.NOT_SENT))
    with outside(where) as db:
        db.execute("UPDATE task SET state = 'queued', reason = '', detail = '{}', ended = NULL")
    add_receipt(where, task.id, 1)
    with pytest.raises(PlanChangedError):
        enter(store, planned("a")._replace(adopts=one(store, task)))
    assert task_of(store, task.id) == Running(JOB)


def test_printed_receipts_are_given_back_to_tasks_that_wait(store: Store, where: Place) -> None:
    first, second = queued(store, "a", "b")
    assert store.restore_receipts([Receipt(first, JOB), Receipt(99, JOB)]).healed == [first]
    assert task_of(store, first) == Running(JOB)
    assert store.restore_receipts([Receipt(first, JOB)]) == Restored(
        healed=[], held=[TaskId(first)], made=[], strangers=[]
    )
    _, (task,) = enter(store, planned("c"))
    become(store, task, Submitting(), Running(JOB), Failed(Reason.SERVER, "no", job=JOB, may_be_paid=False))
    store.claim([(one(store, task), Queued())], again=True)
    assert store.restore_receipts([Receipt(task.id, JOB)]).healed == [], "that is what its first attempt came to"
    assert task_of(store, task.id) == Queued()
    assert ids_of_claim(store) == [second]


def test_a_process_that_sends_one_just_now_is_left_to_it(store: Store, where: Place) -> None:
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    add_receipt(where, task.id, 3)
    assert store.recover_receipts() == []
    become(
        store,
        task.to(Submitting()),
        Running(Job("job-2")),
    )
    assert task_of(store, task.id) == Running(Job("job-2"))


# The program


CONFIG = '\n[providers.studio]\nkind = "dreamina"\nbase_url = "{url}"\npoll = 0.02\n'


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=HELD) as server:
        yield server


@pytest.mark.program
@pytest.mark.parametrize("is_empty", [False, True], ids=["earlier", "empty"])
@pytest.mark.parametrize("words", [("work",), ("run", "new 0", "new 1", "new 2", "-p", "studio")], ids=lambda x: x[0])
def test_it_says_so_ends_and_its_receipts_are_used(
    tmp_path: Path, server: DreaminaServer, address: str, words: tuple[str, ...], is_empty: bool
) -> None:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY"] = address
    (program.folder / "list.txt").write_text("a cat\na dog\na fox")
    assert program.run("batch", "list.txt", "-p", "studio", "--queue", "-q", "--yes").code == 0
    backup = Backup(address)
    process = program.start(*words, "--progress", "plain")
    until(lambda: len(server.jobs) == 3)
    (empty(address) if is_empty else backup.restore())
    postgres.server().cut()
    server.release()
    ended = finished(process)
    assert ended.code == 5, ended.err
    assert ended.err.count("nothing more is sent, what was sent comes to its end") == 1
    assert all(f'"job": "{job}"' in ended.err for job in server.jobs)
    assert "does not exist" not in ended.err
    if is_empty:
        return
    if words == ("work",):
        assert program.run("resume", "-q").code == 0
        assert [task["state"] for task in program.tasks()] == ["done"] * 3
        assert program.run("work", "--once", "-q").code == 4
    assert len(server.jobs) == 3, "nothing was sent twice"


@pytest.mark.program
@pytest.mark.parametrize(
    ("words", "code", "second"),
    [
        (["--queued"], 0, "cancelled"),
        (["1"], 0, "queued"),
        (["--all"], 0, "cancelled"),
        (["--run", "1"], 0, "cancelled"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_cancel_says_of_no_task_with_a_receipt_that_nothing_was_spent(
    tmp_path: Path, server: DreaminaServer, where: Place, words: list[str], code: int, second: str
) -> None:
    program = Program(tmp_path, CONFIG.format(url=server.url))
    program.more["IMAGEGEN_HISTORY" if isinstance(where, str) else "IMAGEGEN_UNUSED"] = str(where)
    (program.folder / "list.txt").write_text("a cat\na dog")
    assert program.run("batch", "list.txt", "-p", "studio", "--queue", "-q", "--yes").code == 0
    job = server.add_job("job-1", {"prompt": "a cat"}, seconds=0.0)
    add_receipt(where if isinstance(where, str) else next(program.home.rglob("*.db")), 1, 2, job.id)
    ended = program.run("cancel", *words)
    assert ended.code == code, ended.err
    assert "receipts of them are there: 1" in ended.err
    assert "1 not sent" not in ended.out
    assert ("2 not sent, nothing spent" in ended.out) == (second == "cancelled")
    first = program.tasks()[0]["state"]
    assert first == ("running" if words == ["--queued"] else "cancelled")
    assert program.run("resume", "-q", "1").code == 0
    assert [task["state"] for task in program.tasks()] == ["done", second]
    assert server.counts["submit"] == 0


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
