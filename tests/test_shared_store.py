"""What several machines do with one history: tasks for workers, leases, accounts, pauses, lost connections, copies."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.errors import DiskError, HistoryError, Reason
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Job,
    Queued,
    RemoteImage,
    Running,
    SavedImage,
    Saving,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.storage import copying
from imagegen_cli.storage.places import Account
from imagegen_cli.storage.processes import SILENT_S, Process
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests import postgres
from tests.histories import KINDS, Place, opened, outside, place
from tests.program import LIMIT
from tests.test_store import beat, become, ids, numbered, one, planned, started

JOB = Job("job-1")
ELSEWHERE = Process("elsewhere", 1, "then", "another machine")
STUDIO = ["studio"]


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(place("postgres", tmp_path))


@pytest.fixture
def store(where: Place) -> Iterator[Store]:
    with closing(opened(where)) as store:
        yield store


def queued(store: Store, *prompts: str) -> list[int]:
    numbers = store.reserve(len(prompts))
    items = numbered([planned(prompt) for prompt in prompts], numbers)
    return [task.id for task in store.start_run(numbers.run, "batch", "", items, for_workers=True)]


def put_off(where: Place, seconds: float) -> None:
    """Let the last heartbeat of a process elsewhere be so many seconds earlier."""
    with outside(where) as db:
        db.execute("UPDATE process SET heartbeat = heartbeat - ? WHERE host = 'elsewhere'", (seconds,))


# Tasks for workers


def test_what_waits_for_workers_is_taken_in_order_and_by_one_alone(store: Store, where: Place) -> None:
    first, second, third = queued(store, "a", "b", "c")
    with closing(opened(where, process=ELSEWHERE)) as other:
        assert [task.id for task in other.claim_queued(STUDIO, 2)] == [first, second]
        assert [task.id for task in store.claim_queued(STUDIO, 9)] == [third]
        assert other.claim_queued(STUDIO, 9) == other.claim_queued(["nobody"], 9) == other.claim_queued([], 9) == []
        assert store.waiting_for_workers(STUDIO) == 0
        become(other, other.find(Filter(ids=(first,)))[0].task, Submitting(JOB), Running(JOB))
        assert one(store, store.find(Filter(ids=(first,)))[0].task).task.state == Running(JOB)


def test_a_folder_of_the_worker_is_kept(store: Store) -> None:
    (number,) = queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1, folder="/mine")
    assert task.folder == store.find(Filter(ids=(number,)))[0].task.folder == "/mine"


def test_what_was_not_sent_is_given_back_and_its_worker_changes_nothing_more(store: Store, where: Place) -> None:
    (number,) = queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    store.give_back([number, 99])
    with closing(opened(where, process=ELSEWHERE)) as other:
        assert [one_.id for one_ in other.claim_queued(STUDIO, 1)] == [number]
        become(store, task, Submitting())
        assert store.lost == {number}
        assert one(other, task).task.state == Queued()


def test_what_a_worker_still_has_in_hand_is_left_to_others(store: Store, where: Place) -> None:
    first, second = queued(store, "a", "b")
    store.claim_queued(STUDIO, 1)
    with outside(where) as db:
        db.execute("UPDATE task SET owner = NULL, fence = fence + 1 WHERE owner IS NOT NULL")
    assert [task.id for task in store.claim_queued(STUDIO, 2, without={TaskId(first)})] == [second]
    with closing(opened(where, process=ELSEWHERE)) as other:
        assert [task.id for task in other.claim_queued(STUDIO, 2)] == [first]


def test_what_a_worker_still_has_in_hand_it_does_not_take_over_from_itself(store: Store, where: Place) -> None:
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting(), Running(JOB))
    with outside(where) as db:
        db.execute("DELETE FROM process")
    assert ids(store.left_by_workers(STUDIO)) == [task.id]
    assert store.left_by_workers(STUDIO, without={task.id}) == []


def test_only_what_waits_is_given_back(store: Store) -> None:
    queued(store, "a")
    (task,) = store.claim_queued(STUDIO, 1)
    become(store, task, Submitting())
    store.give_back([task.id])
    assert store.waiting_for_workers(STUDIO) == 0


def test_what_comes_back_unsent_is_given_back_once_that_is_written(store: Store, where: Place) -> None:
    """A worker that stops in the middle of a submit gives back what has not left: the change may not be written yet."""
    first, second = queued(store, "a", "b")
    leaving = [become(store, task, Submitting()) for task in store.claim_queued(STUDIO, 2)]
    store.give_back([first, second])
    for task in leaving:
        become(store, task, Queued())
    assert not store.lost
    assert store.keep_only([second])
    assert store.waiting_for_workers(STUDIO) == 1
    store.close()
    with closing(opened(where, process=ELSEWHERE)) as other:
        assert [task.id for task in other.claim_queued(STUDIO, 2)] == [first, second]


def test_a_person_who_takes_a_task_takes_it_out_of_the_queue(store: Store) -> None:
    (number,) = queued(store, "a")
    record = store.find(Filter(ids=(number,)))[0]
    assert record.waits_for_worker
    assert store.claim([(record, Queued())])[0]
    assert not store.find(Filter(ids=(number,)))[0].shared
    assert store.waiting_for_workers(STUDIO) == 0


def test_what_a_dead_worker_left_follows_the_promise(store: Store, where: Place) -> None:
    numbers = queued(store, *"abcd")
    other = opened(where, process=Process(*_dead()))
    tasks = {task.id: task for task in other.claim_queued(STUDIO, 4)}
    become(other, tasks[TaskId(numbers[1])], Submitting())
    become(other, tasks[TaskId(numbers[2])], Submitting(JOB), Running(JOB))
    become(other, tasks[TaskId(numbers[3])], Submitting(), Saving((SavedImage("/1.png"),)), Done(("/1.png",)))
    left = store.left_by_workers(STUDIO)
    assert sorted(ids(left)) == [numbers[1], numbers[2]], "what was not sent, and what is over, is not gone on with"
    assert store.waiting_for_workers(STUDIO) == 1
    uncertain = Failed(Reason.UNCERTAIN, "gone")
    changes = [
        (record, uncertain if isinstance(record.task.state, Submitting) else record.task.state) for record in left
    ]
    assert len(store.claim(changes, for_workers=True)[0]) == 2
    assert one(store, tasks[TaskId(numbers[2])]).shared
    assert store.left_by_workers(STUDIO) == []
    other.close()


def _dead() -> tuple[str, int, str, str]:
    from imagegen_cli.storage.processes import this_process  # noqa: PLC0415 - only here

    me = this_process()
    return me.host, 999_999_999, "then", me.place


def test_a_receipt_that_comes_too_late_is_kept_and_heals(store: Store, where: Place) -> None:
    queued(store, "a")
    other = opened(where, process=Process(*_dead()))
    (task,) = other.claim_queued(STUDIO, 1)
    become(other, task, Submitting())
    (record,) = store.left_by_workers(STUDIO)
    assert store.claim([(record, Failed(Reason.UNCERTAIN, "gone"))], for_workers=True)[0]
    become(other, task.to(Submitting()), Running(JOB))
    assert one(store, task).task.state == Running(JOB)
    with outside(where) as db:
        assert list(db.execute("SELECT task, job FROM receipt").fetchall()) == [(task.id, "job-1")]
    assert ids(store.left_by_workers(STUDIO)) == [task.id], "workers ask for it"
    other.close()


def test_many_claims_at_once_give_no_task_twice(where: Place) -> None:
    with closing(opened(where)) as store:
        numbers = queued(store, *map(str, range(120)))
    found: list[list[int]] = []
    all_have_claimed = threading.Barrier(4)

    def claim(number: int) -> None:
        with closing(opened(where, process=Process(f"host{number}", 1, "then", "place"))) as one_:
            mine: list[int] = []
            while tasks := one_.claim_queued(STUDIO, 7):
                mine += [task.id for task in tasks]
            found.append(mine)
            all_have_claimed.wait(60)  # a worker that ends gives back what it has not sent

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id_ for mine in found for id_ in mine) == numbers


# Accounts


def test_an_account_has_so_many_places_over_all_processes(store: Store, where: Place) -> None:
    queued(store, *"abcd")
    with closing(opened(where, process=ELSEWHERE)) as other:
        for each in (store, other):
            each.budget.accounts["studio"] = Account("key", 2)
        mine, theirs = store.claim_queued(STUDIO, 2), other.claim_queued(STUDIO, 2)
        become(store, mine[0], Submitting(JOB), Running(JOB))
        become(other, theirs[0], Submitting())
        sending = mine[1].to(Submitting())
        store.record(TaskChanged(1.0, sending))
        asyncio.run(store.flush())
        assert store.budget.full == {mine[1].id}
        assert one(store, mine[1]).task.state == Queued()
        store.record(TaskChanged(2.0, sending.to(Queued())))
        become(other, theirs[0].to(Submitting()), Failed(Reason.MODERATED, "no"))
        become(store, mine[1], Submitting())
        assert store.budget.full == set()
        assert isinstance(one(store, mine[1]).task.state, Submitting)


def test_a_free_place_goes_to_the_process_that_has_waited_for_long(store: Store, where: Place) -> None:
    """A worker with a long list knows at once that one of its tasks has ended: it would take every place again."""
    with closing(opened(where)) as busy, closing(opened(where)) as other:
        for one_ in (store, busy, other):
            one_.budget.accounts["studio"] = Account("account", 1)
        at_work, next_, last = started(busy, *"abc")
        (mine,), (theirs,) = started(store, "d"), started(other, "e")
        become(busy, at_work, Submitting(JOB), Running(JOB))
        assert has_no_place(store, mine)
        waited(where, 4)
        assert has_no_place(other, theirs)
        waited(where, 4)
        become(busy, at_work.to(Submitting(JOB)).to(Running(JOB)), Failed(Reason.MODERATED, "no"))
        assert has_no_place(busy, next_)
        assert has_no_place(other, theirs), "another process has waited for longer"
        become(store, mine, Submitting(JOB), Failed(Reason.MODERATED, "no"))
        assert has_no_place(busy, next_)
        become(other, theirs, Submitting(JOB), Failed(Reason.MODERATED, "no"))
        assert not has_no_place(busy, next_)
        become(busy, next_.to(Submitting()), Failed(Reason.MODERATED, "no"))
        assert not has_no_place(busy, last)


@pytest.mark.parametrize("ends", [False, True])
def test_a_process_that_no_longer_looks_for_a_place_keeps_none_free(store: Store, where: Place, ends: bool) -> None:
    with closing(opened(where)) as busy:
        for one_ in (store, busy):
            one_.budget.accounts["studio"] = Account("account", 1)
        at_work, next_ = started(busy, *"ab")
        (mine,) = started(store, "c")
        become(busy, at_work, Submitting(JOB), Running(JOB))
        assert has_no_place(store, mine)
        waited(where, 4)
        if ends:
            store.close()
        else:
            waited(where, 6, column="seen")
        become(busy, at_work.to(Submitting(JOB)).to(Running(JOB)), Failed(Reason.MODERATED, "no"))
        assert not has_no_place(busy, next_)


def has_no_place(store: Store, task: Task) -> bool:
    """Let a submit leave, or go back into the queue where it finds no place at the account."""
    sending = become(store, task, Submitting())
    is_full = task.id in store.budget.full
    if is_full:
        become(store, sending, Queued())
    return is_full


def waited(where: Place, seconds: float, column: str = "since") -> None:
    """Let all that wait for a place have begun, or looked, so much earlier."""
    with outside(where) as db:
        db.execute(f"UPDATE waiting SET {column} = {column} - {seconds}")  # noqa: S608 - only our own words


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_a_task_that_may_have_been_sent_keeps_its_place_for_a_while(
    store: Store, where: Place, is_taken_over: bool
) -> None:
    """The service may be at work on it, whether its own process tells that or another one takes it over."""
    queued(store, *"ab")
    store.budget.accounts["studio"] = Account("key", 1)
    process = Process(*_dead()) if is_taken_over else ELSEWHERE
    with closing(opened(where, process=process)) as other:
        other.budget.accounts["studio"] = Account("key", 1)
        (sent,) = other.claim_queued(STUDIO, 1)
        become(other, sent, Submitting())
        lost = Failed(Reason.UNCERTAIN, "lost", may_be_paid=True)
        if is_taken_over:
            assert store.claim([(one(store, sent), lost)], for_workers=True)[0]
        else:
            become(other, sent.to(Submitting()), lost)
        (mine,) = store.claim_queued(STUDIO, 1)
        store.record(TaskChanged(1.0, mine.to(Submitting())))
        asyncio.run(store.flush())
        assert store.budget.full == {mine.id}
        with outside(where) as db:
            db.execute("UPDATE held SET at = at - 61")
        store.record(TaskChanged(2.0, mine))
        become(store, mine, Submitting())
        assert store.budget.full == set()


def test_what_dead_workers_left_at_an_account_is_named(store: Store, where: Place) -> None:
    account = Account("account", 2)
    numbers = queued(store, *"abc")
    others = [opened(where, process=Process(*_dead())), opened(where, process=ELSEWHERE)]
    for other in (*others, store):
        other.budget.accounts["studio"] = account
    (dead,), (alive,) = (other.claim_queued(STUDIO, 1) for other in others)
    for other, task in zip(others, (dead, alive), strict=True):
        become(other, task, Submitting(), Running(JOB))
    assert store.left_at("account") == [numbers[0]]
    assert store.left_at("other") == []
    (record,) = store.left_by_workers(STUDIO)
    store.claim([(record, record.task.state)], for_workers=True)
    assert store.left_at("account") == []
    for other in others:
        other.close()


def test_what_a_dead_process_began_by_itself_holds_its_place_for_a_minute(store: Store, where: Place) -> None:
    other = opened(where, process=Process(*_dead()))
    for one_ in (store, other):
        one_.budget.accounts["studio"] = Account("account", 1)
    (mine,) = started(store, "a")  # its lease begins while the other one seems to live
    (task,) = started(other, "b")
    become(other, task, Submitting(JOB), Running(JOB))
    become(store, mine, Submitting())
    assert store.budget.full == {mine.id}
    assert store.left_at("account") == []
    become(store, mine, Submitting())
    assert store.budget.full == {mine.id}, "its process is gone, and the service works on it"
    with outside(where) as db:
        assert [row[0] for row in db.execute("SELECT task FROM held").fetchall()] == [task.id]
        db.execute("UPDATE held SET at = at - 61")
    become(store, mine, Submitting())
    assert store.budget.full == set()
    other.close()


ENDS = {
    "runs": (None, True),
    "goes on": (Cancelled(CancelOutcome.GOES_ON, JOB), True),
    "stopped": (Cancelled(CancelOutcome.STOPPED, JOB), False),
    "too late": (Failed(Reason.TIMEOUT, "no picture", JOB), True),
    "not saved": (Failed(Reason.DISK, "full", JOB), False),
    "not known by our id": (Failed(Reason.UNCERTAIN, "unknown", JOB, final=True, may_be_paid=True), True),
}
OVER_THERE = {Reason.BAD_IMAGE, Reason.DISK, Reason.HISTORY, Reason.EXPIRED}
"""Reasons that say that the service has made the pictures."""
ANSWERS = {Reason.BAD_REQUEST, Reason.UNAUTHORIZED, Reason.OUT_OF_CREDITS, Reason.MODERATED, Reason.SERVER}
"""Reasons that are the answer to a submit, where there is no receipt."""
PICTURE = RemoteImage("https://studio.test/1.png")
for reason in Reason:
    ENDS |= {
        f"{reason} of a job": (Failed(reason, "why", JOB, may_be_paid=True), reason not in OVER_THERE),
        f"{reason}, may be paid": (Failed(reason, "why", may_be_paid=True), reason not in OVER_THERE | ANSWERS),
        f"{reason}, and its submit never left": (Failed(reason, "why"), False),
        f"{reason} of its pictures": (Failed(reason, "why", JOB, (PICTURE,), may_be_paid=True), False),
        f"{reason} by the service's word": (
            Failed(reason, "why", JOB, final=True, may_be_paid=True),
            reason is Reason.UNCERTAIN,
        ),
    }


@pytest.mark.parametrize("name", ENDS)
def test_what_a_run_leaves_at_the_service_when_it_ends_holds_its_place_for_a_minute(
    store: Store, where: Place, name: str
) -> None:
    end, is_held = ENDS[name]
    other = opened(where)
    for one_ in (store, other):
        one_.budget.accounts["studio"] = Account("account", 1)
    (task,) = started(other, "b")
    become(other, task, Submitting(JOB), Running(JOB), *([] if end is None else [end]))
    other.close()
    (mine,) = started(store, "a")
    become(store, mine, Submitting())
    assert store.budget.full == ({mine.id} if is_held else set())
    with outside(where) as db:
        db.execute("UPDATE held SET at = at - 61")
    become(store, mine, Submitting())
    assert store.budget.full == set()


def test_a_pause_holds_for_all_and_only_grows(store: Store, where: Place) -> None:
    with closing(opened(where)) as other:
        for seconds in (600.0, 300.0):
            store.share_pause("key", seconds)
        asyncio.run(store.flush())
        wait_for(lambda: bool(other.pauses()))
        assert 300 < other.pauses()["key"] <= 600
        assert list(other.pauses()) == ["key"]


def test_a_budget_holds_over_connections_that_write_in_turn(store: Store, where: Place) -> None:
    from imagegen_cli.core.budget import parse_limits  # noqa: PLC0415 - only here

    each = Quote(1, Money(40_000, "usd"), Source.SET)
    with closing(opened(where)) as other:
        sent = 0
        for turn in range(10):
            one_ = (store, other)[turn % 2]
            one_.budget.limits = parse_limits("0.12usd/day")
            (task,) = started(one_, f"prompt {turn}")
            one_.record(TaskChanged(one_.now(), task.to(Submitting(None, each))))
            asyncio.run(one_.flush())
            sent += task.id not in one_.budget.refused
        assert sent == 3


# The clock of the server


def test_a_process_elsewhere_lives_by_the_clock_of_the_server_alone(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    address += ",pg_catalog"  # so that a function of the test stands before the system's own
    restarted(address, real() - 9999)
    monkeypatch.setattr(time, "time", lambda: real() - 600)
    with closing(opened(address, process=ELSEWHERE)) as other, closing(opened(address)) as store:
        (task,) = started(other)
        assert abs(one(store, task).created - real()) < 30
        monkeypatch.setattr(time, "time", lambda: real() + 600)
        assert one(store, task).is_owned
        assert store.may_be_silent(), "it was not heard of since this process first looked"
        beat(other)
        assert not store.may_be_silent()
        put_off(address, SILENT_S / 2)
        assert one(store, task).is_owned
        assert store.may_be_silent(), "it should have been heard of"
        put_off(address, SILENT_S / 2 + 1)
        assert not one(store, task).is_owned
        beat(other)
        assert one(store, task).is_owned


def restarted(address: str, at: float) -> None:
    """Let the server have been started at this moment."""
    with outside(address) as db:
        db.execute(
            "CREATE FUNCTION pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql"
            f" AS $$ SELECT to_timestamp({at}) $$"
        )


@pytest.mark.parametrize("is_new", [True, False])
def test_while_the_server_was_away_no_process_could_be_heard_of(address: str, *, is_new: bool) -> None:
    address += ",pg_catalog"  # as above
    restarted(address, time.time() - (0 if is_new else 2 * SILENT_S))
    with closing(opened(address, process=ELSEWHERE)) as other, closing(opened(address)) as store:
        (task,) = started(other)
        put_off(address, 10 * SILENT_S)
        assert one(store, task).is_owned == is_new


# Lost connections


class Way:
    """A way to the server that a test cuts: each direction, or only the answer to a COMMIT."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts: Callable[[bytes], str] = lambda _: ""
        """Called with what the client sends; "before" and "after" cut the connection at that moment, and from "silent"
        on the server hears everything and its answers do not come through."""
        self._silent: set[socket.socket] = set()
        self._last: set[socket.socket] = set()
        """Servers whose next answer cuts the connection."""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", postgres.server().port))
                self._pairs.append((client, server))
                for source, target, is_client in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=(source, target, is_client), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        """Carry one direction until it ends; then its connection ends, and no other: the client may have a new one."""
        with suppress(OSError):
            while data := source.recv(65536):
                cut = self.cuts(data) if is_client else ""
                if cut == "silent":
                    self._silent.add(target)
                if source in self._silent:
                    continue
                if cut == "before":
                    break
                if cut == "after":
                    self._last.add(target)
                if source in self._last:  # the server has done what it was told, and the client does not hear of it
                    break
                target.sendall(data)
        _end(source, target)

    @property
    def is_silent(self) -> bool:
        return bool(self._silent)

    def heal(self) -> None:
        """Carry everything again, by new connections."""
        self.cuts = lambda _: ""
        self._silent.clear()
        self.cut()

    def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def close(self) -> None:
        with suppress(OSError):  # the thread that accepts would go on, and soon its descriptor is the next way's
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def _end(*sockets: socket.socket) -> None:
    for one_ in sockets:
        with suppress(OSError):
            one_.shutdown(socket.SHUT_RDWR)
        one_.close()


@pytest.fixture
def way(address: str) -> Iterator[tuple[Way, str]]:
    way = Way()
    yield way, address.replace(f":{postgres.server().port}/", f":{way.port}/")
    way.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_whose_answer_is_lost_is_asked_for_and_never_written_twice(
    way: tuple[Way, str], address: str, moment: str
) -> None:
    line, through = way
    each = Quote(1, Money(40_000, "usd"), Source.SET)
    with closing(opened(through)) as store:
        (task,) = started(store)
        left = [1]

        def cuts(data: bytes) -> str:
            if b"COMMIT" in data and left:
                left.pop()
                return moment
            return ""

        line.cuts = cuts
        task = task.to(Submitting(None, each))
        store.record(TaskChanged(1.0, task))
        asyncio.run(store.flush())
        assert not left, "it was cut"
        assert isinstance(one(store, task).task.state, Submitting)
        assert len(store.all_charges([task.id])[task.id]) == 1
        assert len(store.events(task.run)) == 1


def connection(address: str) -> Any:
    from imagegen_cli.storage.postgres_connection import PostgresConnection  # noqa: PLC0415 - needs an extra of ours

    return closing(PostgresConnection(address, wait_s=5.0))


def lost_connection() -> type[Exception]:
    import psycopg  # noqa: PLC0415 - an extra of ours

    return psycopg.OperationalError


def test_a_number_that_a_crashed_server_gives_again_proves_no_commit(address: str) -> None:
    """The server forgets a transaction that it had not written when it crashed, and gives its number to the next."""
    opened(address).close()
    with connection(address) as lost:
        lost.execute("BEGIN IMMEDIATE")
        lost.execute("INSERT INTO lane (account, until) VALUES ('lost', 0)")
        postgres.server().stop()
        postgres.server().start()
        with connection(address) as next_:
            next_.execute("BEGIN IMMEDIATE")
            assert next_._transaction_id == lost._transaction_id, "the number is given again"
            next_.execute("COMMIT")
            with pytest.raises(lost_connection()):
                lost.execute("COMMIT")
            assert next_.execute("SELECT count(*) FROM lane").fetchone()[0] == 0


def test_a_number_that_a_crashed_server_does_not_know_is_no_commit(address: str) -> None:
    opened(address).close()
    with connection(address) as lost:
        lost.execute("BEGIN IMMEDIATE")
        postgres.server().stop()
        postgres.server().start()
        with pytest.raises(lost_connection()):
            lost.execute("COMMIT")


def test_what_was_confirmed_is_on_the_disk_of_the_server_whatever_its_settings_say(address: str) -> None:
    with connection(f"{address}%20-csynchronous_commit%3Doff") as db:
        assert db.execute("SHOW synchronous_commit").fetchone()[0] == "on"
    with connection(f"{address}%20-csynchronous_commit%3Dremote_apply") as db:
        assert db.execute("SHOW synchronous_commit").fetchone()[0] == "remote_apply"


def test_connections_that_are_cut_again_and_again_lose_no_event(way: tuple[Way, str]) -> None:
    line, through = way
    chance = random.Random(5)
    with closing(opened(through)) as store:
        tasks = list(started(store, *map(str, range(30))))
        line.cuts = lambda _: "before" if chance.random() < 0.03 else ""
        for step in (Submitting(), Running(JOB), Saving((SavedImage("/a"),), JOB), Done(("/a",))):
            for number, task in enumerate(tasks):
                tasks[number] = task.to(step)
                store.record(TaskChanged(1.0, tasks[number]))
                if number % 5 == 0:
                    asyncio.run(store.flush())
            asyncio.run(store.flush())
        line.cuts = lambda _: ""
        assert {record.task.state for record in store.find(Filter())} == {Done(("/a",))}
        assert len(store.events(tasks[0].run)) == 120


def test_a_restarted_server_loses_nothing_and_a_command_goes_on(address: str) -> None:
    with closing(opened(address)) as store:
        (task,) = started(store)
        become(store, task, Submitting())
        postgres.server().stop()
        store.record(TaskChanged(2.0, task.to(Submitting()).to(Running(JOB))))
        waiting = threading.Thread(target=postgres.server().start)
        waiting.start()
        asyncio.run(store.flush())
        waiting.join()
        assert one(store, task).task.state == Running(JOB)


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    place("postgres", tmp_path)
    with pytest.raises(HistoryError) as caught:
        opened("postgresql://ann:s3cretword@127.0.0.1:1/team")
    assert "s3cretword" not in f"{caught.value.message} {caught.value.hint}"
    assert "cannot be reached" in caught.value.message


# Wishes


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_wish_to_cancel_comes_from_another_machine(address: str) -> None:
    with closing(opened(address)) as store, closing(opened(address, process=ELSEWHERE)) as other:
        (task,) = started(store)
        store.listen()
        other.request_cancel([task.id])
        wait_for(lambda: store.cancel_requests() == [task.id])
        assert store.cancel_requests() == []
        wakes = store.wakes
        other.notify("tasks")
        wait_for(lambda: store.wakes > wakes)


def test_what_is_told_just_before_a_process_listens_wakes_it_too(way: tuple[Way, str], address: str) -> None:
    line, through = way
    told: list[bytes] = []

    def tell(data: bytes) -> str:
        if data.startswith(b"Q") and b"LISTEN " in data and not told:
            told.append(data)
            with outside(address) as db:
                db.execute("SELECT pg_notify('imagegen_' || current_schema(), 'tasks')")
        return ""

    with closing(opened(through)) as store:
        started(store)
        line.cuts = tell
        store.listen()
        wait_for(lambda: told)
        wait_for(lambda: store.wakes > 0)


@pytest.mark.parametrize(("kind", "reason"), [("sqlite", Reason.DISK), ("postgres", Reason.HISTORY)])
def test_a_history_that_takes_nothing_is_told_from_a_disk_that_is_full(
    tmp_path: Path, kind: str, reason: Reason
) -> None:
    """Nothing on this machine helps where the server of a shared history takes nothing."""
    where = place(kind, tmp_path)
    with closing(opened(where)) as store:
        (task,) = started(store)
        with outside(where) as db:
            db.execute("ALTER TABLE event RENAME COLUMN body TO gone")
        with pytest.raises(DiskError) as caught:
            become(store, task, Submitting(), Running(JOB))
        assert caught.value.reason == reason
        with outside(where) as db:
            db.execute("ALTER TABLE event RENAME COLUMN gone TO body")
        asyncio.run(store.flush())
        assert Failed.after(Queued(), caught.value, None).reason == reason


# Copies


@pytest.mark.parametrize("kinds", [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")], ids="-".join)
def test_a_copy_has_everything_and_its_numbers_go_on(tmp_path: Path, kinds: tuple[str, str]) -> None:
    old, new = place(kinds[0], tmp_path / "old"), place(kinds[1], tmp_path / "new")
    with closing(opened(old)) as store:
        tasks = started(store, "一只小猫", "a fox\0 of nothing", "bird", source="list.txt")
        become(store, tasks[0], Submitting(JOB, Quote(1, Money(7, "usd"), Source.SET)), Running(JOB))
        become(store, tasks[1], Submitting(), Saving((SavedImage("/1.png", "a" * 64),)), Done(("/1.png",)))
        store.set_favourite(tasks[1].id, 1, is_one=True)
        become(store, tasks[2], Submitting(), Failed(Reason.BUSY, "no"))
        record = store.find(Filter(ids=(tasks[2].id,)))[0]
        store.claim([(record, Queued())], again=True)
        token, before = store.token, [one_.version for one_ in store.find(Filter())]
    with closing(opened(old)) as source, closing(opened(new)) as target:
        with pytest.raises(HistoryError, match="2 tasks have not ended"):
            copying.copy(source, target)
        copied, let_go = copying.copy(source, target, copying.Keep.TO)
        counts = {one_.table: one_.rows for one_ in copied}
        assert let_go == 2
        assert counts["task"] == 3
        assert all(counts[name] for name in ("event", "attempt", "charge", "picture", "run"))
        after = target.find(Filter())
        assert [one_.version for one_ in after] == before
        left = [one_.task.state for one_ in source.find(Filter())[1:]]
        assert left == [Done(("/1.png",)), Cancelled(CancelOutcome.GOES_ON, JOB)]
        assert source.find(Filter())[0].task.state == Failed(Reason.BUSY, "no"), "the attempt before stands again"
    with closing(opened(new)) as target:
        assert target.token == token
        assert ids(target.find(Filter(search="小猫"))) == [tasks[0].id]
        assert target.find(Filter(favourite=True))[0].task.id == tasks[1].id
        assert [task.id for task in started(target, "new")] == [4]
        assert one(target, tasks[0]).process is None, "the number of a process is given to no other"


def test_a_copy_is_refused_where_there_are_tasks_or_processes(tmp_path: Path, where: Place) -> None:
    with closing(opened(where)) as store, closing(opened(tmp_path / "other.db")) as target:
        started(store)
        with closing(opened(where, process=ELSEWHERE)) as busy:
            started(busy)
            if isinstance(where, Path):
                store.may_be_silent()
            with pytest.raises(HistoryError, match="still work"):
                copying.copy(store, target, copying.Keep.FROM)
        copying.copy(store, target, copying.Keep.FROM)
        with pytest.raises(HistoryError, match="has tasks already"):
            copying.copy(store, target, copying.Keep.FROM)


def test_a_copy_that_breaks_off_leaves_nothing_half(where: Place, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "old.db")) as store:
        started(store, "a")
    with outside(tmp_path / "old.db") as db:
        db.execute("UPDATE task SET expected_images = 'many'")
    with closing(opened(tmp_path / "old.db")) as source, closing(opened(where)) as target:
        if isinstance(where, Path):
            with outside(where) as db:
                db.execute("CREATE TRIGGER no BEFORE INSERT ON task BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(HistoryError):
            copying.copy(source, target, copying.Keep.TO)
        assert source.count_unfinished() == 1, "it goes on with them"
        assert target.run_ids() == []
        assert target.token


@pytest.mark.parametrize("kinds", [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")], ids="-".join)
@pytest.mark.parametrize("keep", list(copying.Keep))
def test_what_has_not_ended_goes_on_in_one_of_both_alone(
    tmp_path: Path, kinds: tuple[str, str], keep: copying.Keep
) -> None:
    old, new = place(kinds[0], tmp_path / "old"), place(kinds[1], tmp_path / "new")
    with closing(opened(old)) as store:
        queued(store, "waits", "waits too")
        tasks = started(store, "sent", "runs", "comes")
        become(store, tasks[0], Submitting(None, Quote(1, Money(7, "usd"), Source.SET)))
        become(store, tasks[1], Submitting(), Running(JOB))
        become(store, tasks[2], Submitting(), Saving((SavedImage("/1.png"),), JOB))
    with closing(opened(old)) as source, closing(opened(new)) as target:
        assert copying.copy(source, target, keep)[1] == 5
        on, off = (source, target) if keep is copying.Keep.FROM else (target, source)
        assert (on.count_unfinished(), off.count_unfinished()) == (5, 0)
        assert (on.waiting_for_workers(STUDIO), off.waiting_for_workers(STUDIO)) == (2, 0)
        assert (off.claim_queued(STUDIO, 9), off.left_by_workers(STUDIO)) == ([], [])
        assert len(on.claim_queued(STUDIO, 9)) == 2
        stops = [one_.task.state.stop for one_ in off.find(Filter()) if isinstance(one_.task.state, Cancelled)]
        assert stops == [*[CancelOutcome.GOES_ON] * 3, *[CancelOutcome.NOT_SENT] * 2]


def test_nothing_is_claimed_while_a_history_is_copied(address: str) -> None:
    with closing(opened(address)) as store:
        queued(store, "waits")
        with closing(opened(address, process=ELSEWHERE, wait_s=0.1)) as other:
            with store.copying():
                with pytest.raises(HistoryError):
                    other.claim_queued(STUDIO, 1)
                store.let_go()
            assert other.claim_queued(STUDIO, 1) == []
