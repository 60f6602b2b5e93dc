"""The history: what it keeps, what it says when it cannot, and what several processes do to it together."""

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from imagegen_cli.core.durations import Span
from imagegen_cli.core.errors import DiskError, HistoryError, Reason
from imagegen_cli.core.events import (
    Event,
    RunFinished,
    RunStarted,
    RunStopping,
    TaskChanged,
    TaskDelayed,
    TaskLearned,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.language import Message, parts_of
from imagegen_cli.core.task import (
    FOLLOWS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    InlineImage,
    Job,
    Queued,
    RemoteImage,
    RunId,
    Running,
    SavedImage,
    Saving,
    StagedImage,
    State,
    Submitting,
    Task,
    TaskId,
    recovered,
    word,
)
from imagegen_cli.storage.database import MAX_LOCK_WAIT_S, RESERVE_BYTES
from imagegen_cli.storage.dialect import Connection
from imagegen_cli.storage.migrations import MIGRATIONS
from imagegen_cli.storage.missing_tasks import Restored
from imagegen_cli.storage.processes import SILENT_S, Process, this_process
from imagegen_cli.storage.receipt_lines import Receipt
from imagegen_cli.storage.records import UNFINISHED, Filter, Numbers, PlanChangedError, Planned, Record, size_of
from imagegen_cli.storage.store import Store
from imagegen_cli.storage.updates import MAX_KEPT_RUNS
from tests.histories import KINDS, Place, opened, outside, place

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""
SOON = 0.1
"""Seconds to wait for a lock that will not be given."""
JOB = Job("job-1", "https://api/job-1")


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[Store]:
    """A history in a file, for what is known of files alone."""
    with closing(Store(file)) as store:
        yield store


@pytest.fixture
def store(path: Place) -> Iterator[Store]:
    with closing(opened(path)) as store:
        yield store


def planned(prompt: str = "a cat", *, identity: str = "", expected_images: int = 1, **more: Any) -> Planned:
    return Planned(
        request=replace(ImageRequest(prompt=prompt, provider="studio", model="4.0"), **more),
        expected_images=expected_images,
        folder="/images",
        identity=identity or prompt,
        id=TaskId(0),
        name="",
    )


def enter(store: Store, *items: Planned, command: str = "batch", source: str = "") -> tuple[RunId, tuple[Task, ...]]:
    """Start a run of these, numbered and named."""
    numbers = store.reserve(len([item for item in items if item.adopts is None]))
    return numbers.run, store.start_run(numbers.run, command, source, numbered(items, numbers))


def numbered(items: Sequence[Planned], numbers: Numbers) -> list[Planned]:
    new = iter(numbers.tasks)
    ids = [next(new) if item.adopts is None else item.adopts.task.id for item in items]
    return [item._replace(id=id_, name=f"{id_}-{numbers.run}-{{index}}") for item, id_ in zip(items, ids, strict=True)]


def joined(store: Store, run: RunId, *items: Planned) -> tuple[Task, ...]:
    return store.add(run, numbered(items, store.reserve(len(items), run)))


def started(store: Store, *prompts: str, source: str = "") -> tuple[Task, ...]:
    items = [planned(prompt)._replace(source=source) for prompt in prompts or ("a cat",)]
    return enter(store, *items, source=source)[1]


def say(store: Store, *events: Event) -> None:
    """Record the events and wait until they are durable."""
    for event in events:
        store.record(event)
    asyncio.run(store.flush())


def become(store: Store, task: Task, *states: State, at: float = 100.0) -> Task:
    for state in states:
        task = task.to(state)
        store.record(TaskChanged(at, task))
        at += 1
    asyncio.run(store.flush())
    return task


def one(store: Store, task: Task) -> Record:
    (record,) = store.find(Filter(ids=(task.id,)))
    return record


def ids(records: Sequence[Record]) -> list[int]:
    return [record.task.id for record in records]


def sql(path: Place, statement: str, *values: Any) -> list[Any]:
    """From outside, as another program would."""
    with outside(path) as db:
        return list(db.execute(statement, values).fetchall())


# What is kept


def test_a_run_gives_ids_and_names(store: Store) -> None:
    run, (one_, two) = enter(store, planned("a"), planned("b"))
    assert (one_.id, two.id, run) == (1, 2, 1)
    assert (one_.name, two.name) == ("1-1-{index}", "2-1-{index}")
    assert one_.state == Queued()
    assert enter(store, planned("c"))[1][0].id == 3
    assert store.run_ids() == [2, 1]


def test_ids_are_never_given_twice(store: Store, path: Place) -> None:
    (task,) = started(store)
    sql(path, "DELETE FROM task")
    assert started(store)[0].id == task.id + 1


def test_a_task_that_joins_a_run_belongs_to_it(store: Store) -> None:
    run, _ = enter(store, planned("a"))
    (task,) = joined(store, run, planned("b"))
    assert (task.id, task.run) == (2, run)
    assert one(store, task).process == this_process()


def test_a_plan_that_fails_leaves_nothing_behind(store: Store, path: Place) -> None:
    (first,) = started(store)
    enter(store, planned("c")._replace(repeats=first.id))
    with pytest.raises(PlanChangedError):
        enter(store, planned("a"), planned("b")._replace(repeats=first.id))
    assert len(store.find(Filter())) == 2
    assert store.run_ids() == [2, 1]
    (task,) = started(store)
    assert one(store, task).process == this_process(), "the lease was taken anew"
    assert sql(path, "SELECT count(*) FROM process") == [(1,)]


def test_a_record_is_what_was_planned(store: Store) -> None:
    item = planned(
        "猫 \U0001f431", expected_images=4, seed=7, references=("/a.png",), extra={"steps": "5"}, ratio="16:9"
    )
    _, (task,) = enter(store, item)
    record = one(store, task)
    assert record.task == task
    assert record.task.request == item.request
    assert record.task.expected_images == 4
    assert (record.started, record.accepted, record.ready, record.ended) == (None, None, None, None)


HISTORY: tuple[State, ...] = (
    Submitting(JOB), Running(JOB), Saving((RemoteImage("https://cdn/1"),), JOB), Saving((SavedImage("/1.png"),), JOB),
    Done(("/1.png",), 1, "one left out"),
)  # fmt: skip


def test_every_change_of_state_is_kept_with_its_time(store: Store) -> None:
    task = become(store, started(store)[0], *HISTORY)
    record = one(store, task)
    assert record.task == task
    assert (record.started, record.accepted, record.ready, record.ended) == (100, 101, 102, 104)
    assert not record.is_owned


def test_the_first_time_of_each_step_counts_and_an_end_can_be_undone(store: Store) -> None:
    task = become(store, started(store)[0], Submitting(), Running(JOB), Failed(Reason.TIMEOUT, "late", JOB))
    assert one(store, task).ended == 102
    become(store, task, Running(JOB), at=200.0)
    record = one(store, task)
    assert (record.accepted, record.ended) == (101, None)
    assert record.is_owned


def test_a_retry_begins_its_times_anew(store: Store) -> None:
    task = become(store, started(store)[0], Submitting(), Failed(Reason.BUSY, "no"))
    again = task.to(Queued())
    assert store.claim([(one(store, task), Queued())], again=True) == ([again], [], [])
    record = one(store, task)
    assert record.task == again
    assert (record.started, record.ended) == (None, None)
    (attempt,) = store.attempts(task.id)
    assert attempt.state == Failed(Reason.BUSY, "no")
    assert (attempt.number, attempt.started, attempt.ended) == (1, 100, 101)


def test_a_claim_writes_state_and_reason(store: Store, path: Place) -> None:
    (task,) = started(store)
    store.claim([(one(store, task), Failed(Reason.MODERATED, "no"))])
    assert one(store, task).task.state == Failed(Reason.MODERATED, "no")
    assert sql(path, "SELECT reason, ended IS NULL FROM task") == [("moderated", 0)]


MODERATED = Failed(Reason.MODERATED, "not like this", JOB, final=True)


@pytest.mark.parametrize(
    "ending",
    [
        [Cancelled(CancelOutcome.NOT_SENT)],
        [Submitting(), Queued(), Cancelled(CancelOutcome.NOT_SENT)],
        [Failed(Reason.UNAUTHORIZED, "not sent: no key")],
    ],
)
def test_a_retry_that_was_never_sent_falls_back_to_what_was_before(store: Store, ending: list[State]) -> None:
    task = become(store, started(store)[0], Submitting(), Running(JOB), MODERATED)
    before = one(store, task)
    ((again,), _, _) = store.claim([(before, Queued())], again=True)
    become(store, again, *ending, at=500.0)
    record = one(store, task)
    assert record.task.state == MODERATED
    assert (record.started, record.accepted, record.ended) == (before.started, before.accepted, before.ended)
    assert store.attempts(task.id) == []


def test_a_retry_that_was_sent_keeps_every_attempt(store: Store) -> None:
    task = become(store, started(store)[0], Submitting(), Running(JOB), MODERATED)
    states: list[State] = [MODERATED]
    endings: list[State] = [Failed(Reason.BUSY, "no"), Cancelled(CancelOutcome.STOPPED), Failed(Reason.SERVER, "x")]
    for number, ending in enumerate(endings):
        ((again,), _, _) = store.claim([(one(store, task), Queued())], again=True)
        task = become(store, again, Submitting(), ending, at=500.0 + 10 * number)
        states.append(ending)
    assert [attempt.state for attempt in store.attempts(task.id)] == states[:-1]
    assert one(store, task).task.state == states[-1]


def test_what_the_service_told_is_kept(store: Store) -> None:
    (task,) = started(store)
    say(store, TaskLearned(1.0, task.id, {"seed": 7}), TaskLearned(2.0, task.id, {"model": "4.0", "seed": 8}))
    assert one(store, task).facts == {"seed": 8, "model": "4.0"} == one(store, task).task.facts


def test_what_is_told_in_words_of_ours_can_be_read_in_any_language(store: Store) -> None:
    (task,) = started(store)
    words = Message("made in {size}, not in {requested}").format(size="1x1", requested="2x2")
    say(store, TaskLearned(1.0, task.id, {"differs": words, "model": "4.0"}), TaskLearned(2.0, task.id, {"seed": 8}))
    facts = one(store, task).facts
    assert facts == {"differs": "made in 1x1, not in 2x2", "model": "4.0", "seed": 8} == one(store, task).task.facts
    assert parts_of(facts["differs"]) == parts_of(words)
    assert parts_of(facts["model"]) is None


def test_what_an_earlier_attempt_told_is_forgotten_when_the_next_one_is_answered(store: Store, path: Place) -> None:
    (task,) = started(store)
    sql(path, "UPDATE task SET facts = '{\"repeats\": 3}'")
    become(store, task, Submitting())
    say(store, TaskLearned(1.0, task.id, {"seed": 7}))
    become(store, task.to(Submitting()), Running(JOB))
    say(store, TaskLearned(2.0, task.id, {"model": "4.0"}))
    assert one(store, task).facts == {"repeats": 3, "seed": 7, "model": "4.0"}
    become(store, task.to(Submitting()).to(Running(JOB)), Failed(Reason.SERVER, "no"))
    (failed,) = store.find(Filter(ids=(task.id,)))
    ((again,), _, _) = store.claim([(failed, Queued())], again=True)
    become(store, again, Submitting())
    say(store, TaskLearned(3.0, task.id, {"job_id": "2"}))
    assert one(store, task).facts == {"repeats": 3, "job_id": "2"}


def test_who_gets_a_task_is_certain_when_it_is_sent(store: Store) -> None:
    other = ImageRequest(prompt="a cat", provider="other", model="5.0")
    _, (task,) = enter(store, planned()._replace(alternatives=(other,)))
    assert one(store, task).task == task
    assert task.alternatives == (other,)
    sent = become(store, task.as_sent(other, 4), Submitting())
    assert one(store, task).task == sent
    assert (sent.request, sent.expected_images, sent.alternatives) == (other, 4, (task.request,))


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\U0001f431", "'; DROP TABLE task; --", "\x1b[2J", "x" * 100_000])
def test_any_words_of_a_service_can_be_kept(store: Store, text: str) -> None:
    task = become(store, started(store)[0], Submitting(), Failed(Reason.SERVER, text))
    assert one(store, task).task == task
    assert [event for _, event in store.events(task.run)][-1] == TaskChanged(101.0, task)


def test_no_picture_in_memory_is_written(sqlite: Store, file: Path) -> None:
    task = become(sqlite, started(sqlite)[0], Submitting(), Saving((InlineImage(b"\x89PNG-bytes"),)))
    assert one(sqlite, task).task.state == Saving((InlineImage(b""),))
    assert all(b"PNG-bytes" not in kept.read_bytes() for kept in file.parent.iterdir())


# What is found


@pytest.fixture
def filled(store: Store, path: Place) -> Store:
    """1 done, 2 failed, 3 cancelled, 4 queued, all in run 1; 5 queued in run 2."""
    done, failed, cancelled, _ = started(store, "a red Cat", "100% wool_hat", "日落海滩上的两只猫", "a!b")
    become(store, done, *HISTORY)
    become(store, failed, Submitting(), Failed(Reason.MODERATED, "no"))
    become(store, cancelled, Cancelled(CancelOutcome.NOT_SENT))
    started(store, "100x woolzhat")
    for id_ in range(1, 6):
        sql(path, "UPDATE task SET created = ? WHERE id = ?", 1000.0 + id_, id_)
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [5, 4, 3, 2, 1]),
        (Filter(ids=(2, 4, 99)), [4, 2]),
        (Filter(ids=(2, 2, 2)), [2]),
        (Filter(ids=(10**30,)), []),
        (Filter(states=("done",)), [1]),
        (Filter(states=("done", "queued")), [5, 4, 1]),
        (Filter(states=UNFINISHED), [5, 4]),
        (Filter(reasons=("moderated",)), [2]),
        (Filter(reasons=("cancelled", "moderated")), [3, 2]),
        (Filter(run=2), [5]),
        (Filter(run=99), []),
        (Filter(run=10**30), []),
        (Filter(after=3), [5, 4]),
        (Filter(run=1, after=3), [4]),
        (Filter(after=10**30), []),
        (Filter(since=1003.0), [5, 4, 3]),
        (Filter(limit=2), [5, 4]),
        (Filter(limit=0), []),
        (Filter(limit=10**30), [5, 4, 3, 2, 1]),
        (Filter(search="cat"), [1]),
        (Filter(search="CAT"), [1]),
        (Filter(search="两只猫"), [3]),
        (Filter(search="100%"), [2]),
        (Filter(search="l_h"), [2]),
        (Filter(search="!"), [4]),
        (Filter(search="a!b"), [4]),
        (Filter(search="%"), [2]),
        (Filter(search="' OR 1=1 --"), []),
        (Filter(search="\udce9"), []),
        (Filter(states=("queued",), run=1, search="a"), [4]),
    ],
    ids=str,
)
def test_tasks_are_found_newest_first(filled: Store, wanted: Filter, found: list[int]) -> None:
    assert ids(filled.find(wanted)) == found


def test_very_many_ids_can_be_asked_for_at_once(store: Store) -> None:
    started(store, "a", "b")
    many = tuple(range(1, 300_001))
    assert ids(store.find(Filter(ids=many))) == [2, 1]
    assert len(store.missing(many)) == 299_998


def test_what_is_missing_is_named_in_order(filled: Store) -> None:
    assert filled.missing([9, 1, 7, 7, 5]) == [7, 9]
    assert filled.missing([]) == []


def test_earlier_tasks_of_a_list_are_known_by_their_content(store: Store) -> None:
    first = started(store, "a", "b", source="list.txt")
    again = started(store, "a", source="list.txt")
    started(store, "a", source="other.txt")
    become(store, again[0], Submitting(), Failed(Reason.BUSY, "no"))
    found = store.known(["a", "b", "c", "a"])
    assert {key: ids(records) for key, records in found.items()} == {
        ("list.txt", "a"): [first[0].id, again[0].id], ("list.txt", "b"): [first[1].id], ("other.txt", "a"): [4],
    }  # fmt: skip
    assert isinstance(found["list.txt", "a"][1].task.state, Failed)
    assert len(store.known([f"x{number}" for number in range(5000)])) == 0


def test_a_prompt_that_comes_from_no_list_is_no_earlier_task_of_one(store: Store) -> None:
    started(store, "a")
    assert store.known(["a"]) == {}


def test_every_task_has_a_key_that_no_other_history_gives(tmp_path: Path) -> None:
    keys: list[set[str]] = []
    for name in ("one", "two"):
        with closing(Store(tmp_path / name)) as store:
            run, tasks = enter(store, planned("a"), planned("b"))
            tasks += joined(store, run, planned("c"))
            keys.append({task.key for task in tasks})
            assert {record.task.key for record in store.find(Filter())} == keys[-1]
            assert {record.task.key for record in store.take([task.id for task in tasks])[0]} == keys[-1]
        with closing(Store(tmp_path / name)) as store:
            assert {record.task.key for record in store.find(Filter())} == keys[-1], "also tomorrow"
            assert store.folders() == [record.task.folder for record in store.find(Filter(limit=1))]
            assert all(re.fullmatch(f"{store.token}[0-9a-f]+-[123]", key) for key in keys[-1])
    assert not keys[0] & keys[1]


def test_durations_are_those_of_the_same_kind(store: Store) -> None:
    def lasted(seconds: float, **more: Any) -> None:
        _, (task,) = enter(store, planned("a", **more))
        running = become(store, task, Submitting(), Running(JOB))
        say(store, TaskChanged(100.0, running.to(Saving((), JOB)), Span(seconds - 0.5, seconds)))

    for seconds in (5.0, 1.0, 3.0):
        lasted(seconds)
    lasted(9.0, model="5.0")
    lasted(8.0, resolution="4k")
    lasted(7.0, provider="other")
    request = planned("another prompt").request
    assert store.durations(request) == [(2.5, 3.0), (0.5, 1.0), (4.5, 5.0)]
    assert store.durations(request, limit=2) == [(2.5, 3.0), (0.5, 1.0)]
    assert store.durations(replace(request, model="6.0")) == []


def test_a_duration_that_was_not_watched_is_none(store: Store) -> None:
    """The clock may have been set, the machine may have slept: what lies between two times of day tells nothing."""
    task = become(store, started(store)[0], Submitting(), Running(JOB), Saving((), JOB), at=10.0)
    assert store.durations(task.request) == []


@pytest.mark.parametrize(("again", "known"), [(False, [(1.0, 2.0)]), (True, [])])
def test_a_duration_stays_through_a_resume_and_goes_with_a_retry(
    store: Store, again: bool, known: list[tuple[float, float]]
) -> None:
    running = become(store, started(store)[0], Submitting(), Running(JOB))
    saving = running.to(Saving((RemoteImage("https://cdn/1"),), JOB))
    say(store, TaskChanged(100.0, saving, Span(1.0, 2.0)))
    failed = become(store, saving, Failed(Reason.NETWORK, "away", JOB))
    ((task,), _, _) = store.claim([(one(store, failed), Queued() if again else Running(JOB))], again=again)
    if not again:
        become(store, task, Saving((RemoteImage("https://cdn/1"),), JOB), at=9000.0)
    assert store.durations(running.request) == known


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({}, ""),
        ({"count": 4}, "4"),
        ({"resolution": "2k", "ratio": "16:9"}, "2k 16:9"),
        ({"width": 10, "height": 20, "count": 2}, "10x20 2"),
    ],
)
def test_what_decides_how_long_a_picture_takes(more: dict[str, Any], size: str) -> None:
    assert size_of(planned("a", **more).request).split() == size.split()


# Events, to be replayed


def test_a_run_can_be_told_again(store: Store) -> None:
    one_, two = started(store, "a", "b")
    running = one_.to(Submitting()).to(Running(JOB))
    events: list[Event] = [
        TaskChanged(1.0, one_.to(Submitting())),
        TaskChanged(2.0, two.to(Submitting())),
        TaskChanged(3.0, running),
        TaskProgressed(4.0, one_.id, Working(0.5, 2, "half")),
        TaskDelayed(5.0, two.id, 1, 2.0, "busy"),
        TaskChanged(6.0, two.to(Submitting()).to(Failed(Reason.BUSY, "no"))),
    ]
    say(
        store,
        RunStarted(0.5, one_.run, (one_, two)),
        *events,
        RunStopping(7.0, one_.run, "x"),
        RunFinished(8.0, one_.run),
    )
    found = store.events(one_.run)
    of_run: list[Event] = [RunStarted(0.5, one_.run, ()), RunStopping(7.0, one_.run, "x")]
    events = [of_run[0], *events, of_run[1]]
    assert [event for _, event in found] == events
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert [event for _, event in store.events(one_.run, numbers[3])] == events[4:]
    assert store.events(99) == store.events(10**30) == []


def test_progress_is_remembered_twice_a_second_at_most(store: Store) -> None:
    (task,) = started(store)
    moments = (1.0, 1.1, 1.4, 1.5, 1.9, 2.0, 7.0)
    say(store, *(TaskProgressed(at, task.id, Working(at / 10)) for at in moments))
    assert [event.at for _, event in store.events(task.run)] == [1.0, 1.5, 2.0, 7.0]


def test_events_of_very_old_runs_are_let_go_and_their_tasks_stay(store: Store, path: Place) -> None:
    (task,) = started(store)
    become(store, task, Submitting())
    sql(path, "INSERT INTO run (id, command, started) VALUES (?, 'run', 0)", 1 + MAX_KEPT_RUNS)
    say(store, RunFinished(1.0, RunId(MAX_KEPT_RUNS)))
    assert len(store.events(task.run)) == 1
    say(store, RunFinished(1.0, RunId(1 + MAX_KEPT_RUNS)))
    assert store.events(task.run) == []
    assert store.find(Filter(ids=(task.id,)))


def test_an_empty_history_has_no_runs(store: Store) -> None:
    assert store.run_ids() == []


# Leases


def test_a_task_is_carried_by_whoever_started_it_until_it_ends(store: Store, path: Place) -> None:
    (task,) = started(store)
    with closing(opened(path)) as other:
        assert one(other, task).process == this_process()
        assert one(other, task).is_owned
        assert other.is_any_owned([task.id, 99])
        become(store, task, Submitting(), Failed(Reason.SERVER, "no"))
        assert not one(other, task).is_owned
        assert not other.is_any_owned([task.id, 99])


def test_what_a_process_leaves_when_it_goes_in_order_is_nobodys(path: Place) -> None:
    with closing(opened(path)) as store:
        (task,) = started(store)
    with closing(opened(path)) as store:
        assert one(store, task).process is None
        assert store.orphans(9) == (1, [task.id])
        assert not store.is_any_owned([task.id])
        assert sql(path, "SELECT count(*) FROM process") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "owned"),
    [
        ("host = 'elsewhere'", True),
        ("host = 'elsewhere', heartbeat = heartbeat + 1", True),
        ("place = 'another boot, or another container'", True),
        ("started_at = 'another time'", False),
        ("pid = 999999999", False),
        ("heartbeat = 0", True),
    ],
)
def test_a_lease_holds_as_long_as_its_process_lives(sqlite: Store, file: Path, changes: str, owned: bool) -> None:
    (task,) = started(sqlite)
    sql(file, f"UPDATE process SET {changes}")  # noqa: S608 - the table above
    with closing(Store(file)) as other:
        assert one(other, task).is_owned is owned
        taken, refused = other.take([task.id])
    if ("host" in changes or "place" in changes) and owned:
        assert (ids(taken), ids(refused)) == ([], [task.id])
        assert refused[0].process is not None
    elif not owned:
        assert ids(taken) == [task.id]


ELSEWHERE = Process("elsewhere", 1, "then", "another machine")


def beat(store: Store) -> None:
    statement, *values = store._leases.heartbeat()
    with store._transaction():
        store._db.execute(statement, values)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the clock by which heartbeats are watched."""
    now = [1000.0]
    monkeypatch.setattr(time, "clock_gettime", lambda _: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has another clock")
def test_a_process_elsewhere_is_dead_when_its_heartbeat_was_watched_without_a_change(
    sqlite: Store, file: Path, clock: Callable[[float], None]
) -> None:
    with closing(Store(file, process=ELSEWHERE)) as other:
        (task,) = started(other)
        assert sqlite.take([task.id])[0] == [], "it is seen for the first time"
        clock(SILENT_S + 1)
        beat(other)
        assert sqlite.take([task.id])[0] == [], "its heart has beaten since"
        clock(SILENT_S - 1)
        assert sqlite.take([task.id])[0] == [], "not watched for long enough"
        assert sqlite.may_be_silent()
        clock(2)
        assert not sqlite.may_be_silent()
        assert sqlite.orphans(9) == (1, [task.id])
        assert ids(sqlite.take([task.id])[0]) == [task.id]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has another clock")
def test_a_process_that_was_struck_out_and_goes_on_enters_itself_again(
    sqlite: Store, file: Path, clock: Callable[[float], None]
) -> None:
    with closing(Store(file, process=ELSEWHERE)) as other:
        claimed, left = started(other, "a", "b")
        sqlite.take([])
        clock(SILENT_S + 1)
        assert ids(sqlite.take([claimed.id])[0]) == [claimed.id]
        beat(other)
        assert sqlite.orphans(9) == (0, []), "what was not claimed is carried again"
        assert sqlite.take([left.id])[0] == []


# The fence


@pytest.mark.parametrize(
    "state", [Submitting(), Submitting(JOB), Failed(Reason.BUSY, "no"), Cancelled(CancelOutcome.NOT_SENT)]
)
def test_a_process_that_was_taken_for_dead_changes_nothing_any_more(store: Store, path: Place, state: State) -> None:
    (task,) = started(store)
    with closing(opened(path)) as other:
        ((theirs,), _, _) = other.claim([(one(other, task), Queued())])
        become(store, task, state)
        assert store.lost == {task.id}
        assert one(store, task).task.state == Queued()
        become(other, theirs, Submitting(), Running(JOB))
        assert other.lost == set()
        assert one(store, task).task.state == Running(JOB)


@pytest.mark.parametrize("late", [Running(JOB), Saving((StagedImage("/part"),))])
def test_a_receipt_that_comes_late_heals_what_was_uncertain(store: Store, path: Place, late: State) -> None:
    task = become(store, started(store)[0], Submitting())
    with closing(opened(path)) as other:
        other.claim([(one(other, task), recovered(task).state)])
        assert isinstance(one(other, task).task.state, Failed)
        become(store, task, late)
        record = one(other, task)
        assert record.task.state == late
        assert record.process is None, "it is left to resume"
        assert ids(other.take([task.id])[0]) == [task.id]


def test_a_receipt_that_comes_late_never_disturbs_another_attempt(store: Store, path: Place) -> None:
    task = become(store, started(store)[0], Submitting())
    with closing(opened(path)) as other:
        other.claim([(one(other, task), recovered(task).state)])
        ((again,), _, _) = other.claim([(one(other, task), Queued())], again=True)
        become(other, again, Submitting())
        become(store, task, Running(JOB))
        assert one(other, task).task.state == Submitting()
        become(other, again.to(Submitting()), Running(Job("theirs")))
        assert one(other, task).task.state == Running(Job("theirs"))
        (attempt,) = other.attempts(task.id)
        assert attempt.state == Running(JOB), "what came of the first is not forgotten"


def test_a_claim_is_refused_where_the_task_has_changed_since_it_was_read(store: Store, path: Place) -> None:
    task = become(store, started(store)[0], Submitting(), Failed(Reason.BUSY, "no"))
    seen = one(store, task)
    with closing(opened(path)) as other:
        assert other.claim([(seen, Queued())], again=True)[0]
    taken, owned, changed = store.claim([(seen, Queued())], again=True)
    assert (taken, owned, ids(changed)) == ([], [], [task.id])
    assert len(store.attempts(task.id)) == 1


def test_a_list_is_planned_once_by_two_who_read_it_at_once(store: Store, path: Place) -> None:
    def item(source: str = "/list.txt") -> Planned:
        return planned("a")._replace(source=source, earlier=())

    with closing(opened(path)) as other:
        enter(other, item(), source="/list.txt")
        with pytest.raises(PlanChangedError):
            enter(store, item(), source="/list.txt")
        assert len(store.find(Filter())) == 1
        enter(store, item("/other.txt"), source="/other.txt")


def test_a_row_that_was_never_sent_is_used_again(store: Store) -> None:
    def item(**more: Any) -> Planned:
        return planned("a")._replace(source="/list.txt", **more)

    run, (task,) = enter(store, item(earlier=()), source="/list.txt")
    become(store, task, Cancelled(CancelOutcome.NOT_SENT))
    (before,) = store.known(["a"])["/list.txt", "a"]
    other = ImageRequest(prompt="a", provider="other")
    changed = item(
        earlier=(before,), adopts=before, folder="/elsewhere", expected_images=3, alternatives=(other,), cell={"z": "1"}
    )
    again, (adopted,) = enter(store, changed, source="/list.txt")
    assert (adopted.id, adopted.run) == (task.id, again)
    record = one(store, task)
    assert record.task == adopted
    assert (record.task.folder, record.task.expected_images) == ("/elsewhere", 3)
    assert record.task.alternatives == (other,)
    assert record.task.cell == {"z": "1"}
    assert (record.task.state, record.ended) == (Queued(), None)
    become(store, adopted, Submitting())
    assert store.lost == set()
    assert run != again


def test_what_was_varied_keeps_its_order(store: Store) -> None:
    cell = {"ratio": "1:1", "model": "4.0", "{红|b}": "红"}
    _, (task,) = enter(store, planned()._replace(cell=cell))
    assert task.cell == cell
    assert list(one(store, task).task.cell.items()) == list(cell.items())


def test_receipts_are_given_back_to_what_is_uncertain_and_to_nothing_else(store: Store) -> None:
    lost, running, done = started(store, "a", "b", "c")
    become(store, lost, Submitting(), recovered(lost.to(Submitting())).state)
    become(store, running, Submitting(), Running(JOB))
    become(store, done, Submitting(), *HISTORY[1:])
    store._leases.owner = None
    given = [Receipt(task.id, Job("given")) for task in (lost, running, done)] + [Receipt(99, JOB)]
    assert store.restore_receipts(given) == Restored(healed=[lost.id], held=[], made=[], strangers=[Receipt(99, JOB)])
    assert one(store, lost).task.state == Running(Job("given"))
    assert one(store, running).task.state == Running(JOB)


def test_dead_leases_are_swept_by_the_next_to_come(store: Store, path: Place) -> None:
    started(store)
    sql(path, "UPDATE process SET pid = 999999999")
    with closing(opened(path)) as other:
        started(other)
        assert sql(path, "SELECT pid FROM process") == [(os.getpid(),)]


def test_taking_forgets_an_earlier_wish_to_cancel(store: Store) -> None:
    (task,) = started(store)
    store.request_cancel([task.id])
    store.take([task.id])
    assert store.cancel_requests() == []


def test_nothing_is_taken_where_nothing_is_asked_for(store: Store) -> None:
    assert store.take([]) == ([], [])
    assert store.take([99]) == ([], [])


@pytest.mark.program  # it takes seconds
def test_very_many_tasks_are_taken_in_one_go(store: Store) -> None:
    tasks = started(store, *(f"prompt {number}" for number in range(5_000)))
    taken, refused = store.take([task.id for task in tasks])
    assert sorted(ids(taken)) == [task.id for task in tasks]
    assert refused == []


# A wish to cancel


def test_a_wish_to_cancel_reaches_its_process_once(store: Store, path: Place) -> None:
    one_, two = started(store, "a", "b")
    assert store.cancel_requests() == []
    with closing(opened(path)) as other:
        other.request_cancel([two.id])
        assert other.cancel_requests() == [], "it carries nothing"
    assert store.cancel_requests() == [two.id]
    assert store.cancel_requests() == []
    asyncio.run(store.flush())
    store.request_cancel([one_.id, two.id, 99])
    assert sorted(store.cancel_requests()) == [one_.id, two.id]


def test_a_wish_that_comes_while_others_are_read_is_not_lost(sqlite: Store, file: Path) -> None:
    one_, two = started(sqlite, "a", "b")
    sqlite.request_cancel([one_.id])
    with closing(Store(file)) as other:
        late, seen = iter([two.id]), list[str]()

        def meanwhile(statement: str) -> None:
            if seen and seen[-1].startswith("SELECT id FROM task"):
                other.request_cancel(list(late))
            seen.append(statement)

        traced: Any = sqlite._db
        traced.set_trace_callback(meanwhile)
        assert sqlite.cancel_requests() == [one_.id]
        traced.set_trace_callback(None)
    asyncio.run(sqlite.flush())
    assert sqlite.cancel_requests() == [two.id]


def test_a_look_for_wishes_never_waits_for_a_lock(sqlite: Store, file: Path) -> None:
    """The event loop asks: the heartbeat and the striking out are the writer's, which tries until it can."""
    one_ = started(sqlite, "a")[0]
    sqlite.request_cancel([one_.id])
    beats = "SELECT heartbeat FROM process"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("UPDATE process SET heartbeat = 0")
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert [sqlite.cancel_requests() for _ in range(5)] == [[one_.id], [], [], [], []]
        assert time.monotonic() - began < MAX_LOCK_WAIT_S, "a single wait for a lock is as long"
        assert holder.execute(beats).fetchone() == (0,)
        holder.execute("COMMIT")
        asyncio.run(sqlite.flush())
        assert holder.execute(beats).fetchone() > (0,)
        assert holder.execute("SELECT count(*) FROM task WHERE cancel_requested").fetchone() == (0,)


def test_a_task_is_added_or_refused_soon_while_another_program_holds_the_history(sqlite: Store, file: Path) -> None:
    run = started(sqlite, "a")[0].run
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(HistoryError, match="locked"):
            joined(sqlite, run, planned("b"))
        assert time.monotonic() - began < MAX_LOCK_WAIT_S


# What the file is


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_can_read_it(sqlite: Store, file: Path) -> None:
    become(sqlite, started(sqlite)[0], Submitting())
    assert mode(file.parent) == 0o700
    kept = [file for file in file.parent.iterdir() if not file.name.endswith(".reserve")]
    assert {file.name for file in kept} == {"history.db", "history.db-wal", "history.db-shm"}
    assert {mode(file) for file in kept} == {0o600}


def test_it_is_written_ahead_and_synced(sqlite: Store) -> None:
    assert sqlite._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert sqlite._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert sqlite.check() == "ok"


def test_the_schema_has_its_number(sqlite: Store, file: Path) -> None:
    assert sql(file, "PRAGMA user_version") == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_every_earlier_schema_is_brought_up(tmp_path: Path, file: Path, version: int) -> None:
    earlier, new = tmp_path / "earlier.db", file
    with closing(sqlite3.connect(earlier)) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {version}")
    Store(earlier).close()
    Store(new).close()
    shape = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert sql(earlier, shape) == sql(new, shape)
    assert sql(earlier, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_a_task_of_an_earlier_schema_keeps_what_is_known_of_it(file: Path) -> None:
    file.parent.mkdir()
    request = '{"prompt":"a cat","provider":"studio"}'
    with closing(sqlite3.connect(file)) as db:
        for script in MIGRATIONS[:5]:
            db.executescript(script)
        db.execute("INSERT INTO run (command, started) VALUES ('run', 1)")
        columns = "run, provider, model, size, prompt, request, identity, folder, name, asked, state, detail, created"
        values = (1, "studio", "", "", "a cat", request, "", "/images", "1-{index}", 4, "queued", "{}", 1.0)
        db.execute(f"INSERT INTO task ({columns}) VALUES ({','.join('?' * 13)})", values)  # noqa: S608 - our own words
        db.execute("PRAGMA user_version = 5")
        db.commit()
    with closing(Store(file)) as store:
        (record,) = store.find(Filter())
    assert (record.task.expected_images, record.task.alternatives, record.task.name) == (4, (), "1-{index}")


def test_a_newer_schema_is_refused_and_left_alone(file: Path) -> None:
    Store(file).close()
    sql(file, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = file.read_bytes()
    with pytest.raises(HistoryError, match="was written by a newer imagegen") as caught:
        Store(file)
    assert caught.value.hint.startswith("upgrade imagegen")
    assert file.read_bytes() == before


# What can be wrong with it


@pytest.mark.parametrize(
    "data",
    [b"this is no database, only a text that is long enough\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(5000)],
    ids=["text", "picture"],
)
def test_a_file_that_is_no_database_is_named_and_left_alone(file: Path, data: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(data)
    with pytest.raises(HistoryError, match="is damaged or no history at all") as caught:
        Store(file)
    assert str(file) in caught.value.message
    assert "keep the file" in caught.value.hint  # receipts may be in it, and a new history has none
    assert file.read_bytes() == data


def test_an_empty_file_becomes_a_history(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    with closing(Store(file)) as store:
        assert started(store)


def test_a_file_that_is_torn_is_said_to_be_damaged(file: Path) -> None:
    with closing(Store(file)) as store:
        started(store, *(f"prompt {number}" * 20 for number in range(500)))
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(HistoryError, match="is damaged"), closing(Store(file)) as store:
        store.find(Filter())


@pytest.mark.parametrize(
    "change",
    [
        "state = 'sleeping'", "state = 'done'", "detail = 'no json'", "detail = '[]'", "detail = '5'",
        "state = 'failed', detail = '{}'", "request = '{}'", "request = '[]'", "request = 'x'",
    ],
)  # fmt: skip
def test_a_row_that_nobody_wrote_is_said_to_be_damaged(store: Store, path: Place, change: str) -> None:
    started(store)
    sql(path, f"UPDATE task SET {change}")  # noqa: S608 - the table above
    with pytest.raises(HistoryError, match="is damaged"):
        store.find(Filter())


@pytest.mark.parametrize("body", ["no json", "[]", '{"state": "sleeping"}', '{"state": "failed"}'])
def test_an_event_that_nobody_wrote_is_said_to_be_damaged(store: Store, path: Place, body: str) -> None:
    task = become(store, started(store)[0], Submitting())
    sql(path, "UPDATE event SET body = ?", body)
    if body == "[]":
        sql(path, "UPDATE event SET kind = 'TaskDelayed'")
    with pytest.raises(HistoryError, match="is damaged"):
        store.events(task.run)


def test_a_folder_in_its_place_is_said(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(HistoryError, match="unable to open"):
        Store(file)


def test_a_file_in_its_folders_place_is_said(file: Path) -> None:
    file.parent.touch()
    with pytest.raises(HistoryError, match="cannot be opened") as caught:
        Store(file)
    assert "IMAGEGEN_HOME" in caught.value.hint


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder that this process may read and not write: root gives its rights away meanwhile."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    try:
        folder.chmod(0o755 if root else 0o700)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def give_up_rights(folder: Path) -> None:
    if os.geteuid() == 0:
        for file in folder.iterdir():
            file.chmod(0o644)
        os.seteuid(65534)
    else:
        for file in folder.iterdir():
            file.chmod(0o400)
        folder.chmod(0o500)


@pytest.mark.skipif(os.name == "nt", reason="no rights of this kind")
def test_a_history_that_is_read_only_is_said() -> None:
    with as_nobody() as folder:
        path = folder / "history.db"
        opened(path).close()
        give_up_rights(folder)
        with pytest.raises(HistoryError, match=r"read-only|unable to open") as caught, closing(opened(path)) as store:
            started(store)
        assert "IMAGEGEN_HOME" in caught.value.hint


@pytest.mark.skipif(os.name == "nt", reason="no rights of this kind")
def test_a_folder_that_is_read_only_is_said() -> None:
    with as_nobody() as folder:
        give_up_rights(folder)
        for path in (folder / "history.db", folder / "below" / "history.db"):
            with pytest.raises(HistoryError, match="cannot be opened: Permission denied"):
                opened(path)


@contextmanager
def locked(path: Place) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield db


def test_a_lock_that_is_not_given_is_said(file: Path) -> None:
    with closing(Store(file, wait_s=SOON)) as store:
        (task,) = started(store)
        with locked(file):
            assert ids(store.find(Filter())) == [task.id], "reading goes on"
            with pytest.raises(HistoryError, match="is locked by another program") as caught:
                started(store)
            assert caught.value.hint == "close the program that holds it and try again"
            with pytest.raises(DiskError, match="is locked by another program"):
                become(store, task, Submitting())
        asyncio.run(store.flush())
        assert one(store, task).task.state == Submitting(), "what could not be written was kept and is written later"


def test_a_new_history_that_is_locked_is_said(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("CREATE TABLE other (id)")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HistoryError, match="is locked by another program"):
            Store(file, wait_s=SOON)


def test_leaving_while_it_is_locked_says_what_is_not_written(file: Path) -> None:
    store = Store(file, wait_s=SOON)
    (task,) = started(store)
    with locked(file):
        for state in (Submitting(), Running(JOB)):
            task = task.to(state)
            store.record(TaskChanged(1.0, task))
        assert store.close() == [task]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store._db.execute("SELECT 1")


class Small(Store):
    """A history on a disk that is nearly full: SQLite refuses to grow the file, with the words of a full disk."""

    pages = 2**30

    def connect(self) -> Connection:
        db = super().connect()
        db.execute(f"PRAGMA max_page_count = {self.pages}")
        self.connections = [*getattr(self, "connections", []), db]
        return db

    def shrink(self, more: int) -> None:
        """From now on only so many pages more fit."""
        self.pages = self._db.execute("PRAGMA page_count").fetchone()[0] + more
        for db in self.connections:
            db.execute(f"PRAGMA max_page_count = {self.pages}")


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(file: Path) -> None:
    with closing(Small(file)) as store:
        (task,) = started(store)
        become(store, task, Submitting())
        store.shrink(1)
        much = Failed(Reason.SERVER, "x" * 50_000)
        with pytest.raises(DiskError, match="cannot be written: the disk is full") as caught:
            become(store, task.to(Submitting()), much)
        assert "make room" in caught.value.hint
        assert one(store, task).task.state == Submitting(), "all or nothing"
        with pytest.raises(HistoryError, match="the disk is full"):
            started(store, *("x" * 10_000 for _ in range(10)))
        assert len(store.find(Filter())) == 1
        store.shrink(1000)
        asyncio.run(store.flush())
        assert one(store, task).task.state == much
        assert started(store)


def test_room_is_kept_for_a_receipt_and_given_up_when_the_disk_is_full(file: Path) -> None:
    reserve = file.with_name("history.db.reserve")
    with closing(Small(file)) as store:
        (task,) = started(store)
        become(store, task, Submitting())
        assert reserve.stat().st_size == RESERVE_BYTES
        store.shrink(1)
        with pytest.raises(DiskError):
            become(store, task.to(Submitting()), Failed(Reason.SERVER, "x" * 50_000))
        assert not reserve.exists()
        store.shrink(1000)
        asyncio.run(store.flush())
        assert reserve.exists()


class Moody(Store):
    """A database to which no further connection can be opened for a while."""

    shut = False

    def connect(self) -> Connection:
        if self.shut:
            raise sqlite3.OperationalError("unable to open database file")
        return super().connect()


def test_whoever_waits_hears_that_the_writer_cannot_begin(file: Path) -> None:
    with closing(Moody(file)) as store:
        (task,) = started(store)
        store.shut = True
        with pytest.raises(DiskError, match="unable to open"):
            become(store, task, Submitting())
        store.shut = False
        asyncio.run(store.flush())
        assert one(store, task).task.state == Submitting()


def test_what_cannot_be_written_at_all_is_said(store: Store) -> None:
    (task,) = started(store)
    nonsense: Any = object()
    with pytest.raises(DiskError, match="cannot be written: TypeError"):
        say(store, TaskChanged(1.0, replace(task, state=Failed(Reason.SERVER, nonsense))))


# Several processes

HERE = Path(__file__).parent.parent

CHILD = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from imagegen_cli.core.events import RunFinished, TaskChanged
from imagegen_cli.storage.records import Filter, Planned
from tests.histories import opened, place_of
from imagegen_cli.core.task import Done, ImageRequest, Job, Running, SavedImage, Saving, Submitting

path, what, *words = sys.argv[1:]

def say(word):
    print(word, flush=True)

def planned(id, prompt):
    request = ImageRequest(prompt=prompt, provider="studio")
    return Planned(id=id, name=f"{id}-{{index}}", request=request, expected_images=1, folder="/", identity=prompt)

async def carry(store, tasks):
    for step in (Submitting(), Running(Job("j")), Saving((SavedImage("/a"),), Job("j")), Done(("/a",))):
        for number, task in enumerate(tasks):
            tasks[number] = task.to(step)
            store.record(TaskChanged(float(number), tasks[number]))
            if number % 20 == 0:
                await store.flush()
                store.cancel_requests()
        await store.flush()
    store.record(RunFinished(1.0, tasks[0].run))
    await store.flush()

say("ready")
sys.stdin.readline()
store = opened(place_of(path))
if what == "work":
    run, ids = store.reserve(200)
    tasks = store.start_run(run, "batch", "", [planned(id, f"{words[0]} {number}") for number, id in enumerate(ids)])
    asyncio.run(carry(store, list(tasks)))
    store.close()
    say("done")
elif what == "take":
    taken, refused = store.take([int(word) for word in words])
    say(" ".join(str(record.task.id) for record in taken) or "-")
    say(" ".join(str(record.process.pid) for record in refused) or "-")
    sys.stdin.readline()
    store.close()
elif what == "settle":
    taken, _ = store.take([int(word) for word in words])
    task = taken[0].task.to(Submitting()).to(Running(Job("receipt")))
    store.record(TaskChanged(5.0, task))
    asyncio.run(store.flush())
    say("settled")
    sys.stdin.readline()
"""


class Children:
    """Processes that wait for a line on stdin, so that they begin at the same time."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, path: Place, *words: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), *words],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(child)
        return child

    def together(self) -> None:
        for child in self.started:
            assert line(child) == "ready"
        for child in self.started:
            go(child)

    def end(self) -> None:
        for child in self.started:
            with suppress(ProcessLookupError):
                child.kill()
            child.communicate()


def go(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    answer = child.stdout.readline().strip()
    if not answer:
        assert child.stderr is not None
        raise AssertionError(child.stderr.read())
    return answer


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


@pytest.mark.parametrize("count", [2, 5])
def test_several_processes_write_one_new_history_and_lose_nothing(path: Place, children: Children, count: int) -> None:
    for number in range(count):
        children.start(path, "work", str(number))
    children.together()
    for child in children.started:
        assert line(child) == "done"
        assert child.communicate() == ("", ""), "no process saw a locked database"
        assert child.returncode == 0
    with closing(opened(path)) as store:
        records = store.find(Filter())
        assert len(records) == 200 * count
        assert {record.task.state for record in records} == {Done(("/a",))}
        prompts = {record.task.request.prompt for record in records}
        assert prompts == {f"{number} {task}" for number in range(count) for task in range(200)}
        assert {len(store.events(run)) for run in store.run_ids()} == {800}
        assert store.check() == "ok"


def test_two_who_take_at_once_never_both_get_a_task(path: Place, children: Children) -> None:
    with closing(opened(path)) as store:
        tasks = started(store, *(f"prompt {number}" for number in range(50)))
    wanted = [str(task.id) for task in tasks]
    for number in range(5):
        children.start(path, "take", *(wanted if number % 2 else reversed(wanted)))
    children.together()
    found = {child.pid: (sorted(line(child).split()), set(line(child).split())) for child in children.started}
    (winner,) = [pid for pid, (taken, _) in found.items() if taken != ["-"]]
    assert found.pop(winner) == (sorted(wanted), {"-"})
    assert list(found.values()) == [(["-"], {str(winner)})] * 4


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_the_tasks_of_a_process_that_was_killed_are_nobodys(path: Place, children: Children) -> None:
    with closing(opened(path)) as store:
        tasks = started(store, "a", "b")
    child = children.start(path, "take", *(str(task.id) for task in tasks))
    children.together()
    assert sorted(line(child).split()) == ["1", "2"]
    with closing(opened(path)) as store:
        taken, refused = store.take([1, 2])
        assert taken == []
        assert {record.process.pid for record in refused if record.process} == {child.pid}
        assert store.orphans(9) == (0, [])
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert store.orphans(9) == (2, [1, 2])
        taken, refused = store.take([1, 2])
        assert sorted(ids(taken)) == [1, 2]
        assert refused == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_process_that_nobody_has_buried_counts_as_dead(path: Place, children: Children) -> None:
    with closing(opened(path)) as store:
        (task,) = started(store)
    child = children.start(path, "take", str(task.id))
    children.together()
    line(child)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with closing(opened(path)) as store:
        assert store.orphans(9) == (1, [task.id])


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_is_settled_survives_a_kill(path: Place, children: Children) -> None:
    with closing(opened(path)) as store:
        (task,) = started(store)
    child = children.start(path, "settle", str(task.id))
    children.together()
    assert line(child) == "settled"
    child.send_signal(signal.SIGKILL)
    child.wait()
    with closing(opened(path)) as store:
        record = one(store, task)
        assert record.task.state == Running(Job("receipt"))
        assert record.accepted == 5.0
        assert len(store.events(task.run)) == 1


# Everything in any order, beside a dictionary that does the same

EXAMPLES: dict[str, State] = {
    "queued": Queued(),
    "submitting": Submitting(JOB),
    "running": Running(JOB),
    "saving": Saving((SavedImage("/a.png"), RemoteImage("https://cdn/1")), JOB),
    "done": Done(("/a.png",)),
    "failed": Failed(Reason.TIMEOUT, "late", JOB),
    "cancelled": Cancelled(CancelOutcome.GOES_ON, JOB),
}


class Remembering(RuleBasedStateMachine):
    """Two processes' connections to one history: the first runs tasks, the second reads and requests cancels."""

    tasks: Bundle[Task] = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "history.db"
        self.store, self.other = Store(self.path), Store(self.path)
        self.known: dict[int, Task] = {}
        self.events: list[TaskChanged] = []
        self.to_cancel: set[int] = set()
        self.owned: set[int] = set()
        self.clock = 0.0

    def teardown(self) -> None:
        self.store.close()
        self.other.close()
        shutil.rmtree(self.folder)

    @rule(target=tasks, prompts=st.lists(st.sampled_from(["a cat", "两只猫", "100%", "a_b"]), min_size=1, max_size=3))
    def start(self, prompts: list[str]) -> Any:
        _, tasks = enter(self.store, *map(planned, prompts), source="list")
        self.known |= {task.id: task for task in tasks}
        self.owned |= {task.id for task in tasks}
        return multiple(*tasks)

    @rule(task=tasks, data=st.data())
    def change(self, task: Task, data: st.DataObject) -> None:
        before = self.known[task.id]
        followers = [state for state in EXAMPLES.values() if type(state) in FOLLOWS[type(before.state)]]
        if not followers:
            return
        after = before.to(data.draw(st.sampled_from(followers)))
        self.clock += 1
        event = TaskChanged(self.clock, after)
        self.store.record(event)
        self.events.append(event)
        self.known[task.id] = after

    @rule(task=tasks)
    def cancel_from_elsewhere(self, task: Task) -> None:
        self.other.request_cancel([task.id])
        if task.id in self.owned:
            self.to_cancel.add(task.id)

    @rule()
    def listen(self) -> None:
        assert set(self.store.cancel_requests()) == self.to_cancel
        self.to_cancel.clear()

    @rule()
    def crash_and_come_back(self) -> None:
        """The process ends without a last word; the next one takes over what the history says."""
        asyncio.run(self.store.flush())
        sql(self.path, "UPDATE process SET pid = 999999999")
        self.store._leases.owner = None
        self.store.close()
        self.store = Store(self.path)
        assert set(self.other.orphans(99)[1]) == {
            task.id for task in self.known.values() if word(task.state) in UNFINISHED
        }
        taken, refused = self.store.take(list(self.known))
        assert refused == []
        assert {record.task.id for record in taken} == set(self.known)
        found = self.store.find(Filter())
        revived, _, _ = self.store.claim([(record, recovered(record.task).state) for record in found])
        self.known = {task.id: task for task in revived}
        self.owned = set(self.known)
        self.to_cancel.clear()

    @rule(
        states=st.sets(st.sampled_from([*EXAMPLES])),
        search=st.sampled_from(["", "cat", "猫", "%", "_", "0%"]),
        limit=st.none() | st.integers(0, 3),
    )
    def find(self, states: set[str], search: str, limit: int | None) -> None:
        asyncio.run(self.store.flush())
        wanted = [
            task.id
            for task in sorted(self.known.values(), key=lambda task: -task.id)
            if (not states or word(task.state) in states) and search in task.request.prompt
        ]
        found = self.other.find(Filter(states=tuple(sorted(states)), search=search, limit=limit))
        assert [record.task.id for record in found] == wanted[:limit]

    @invariant()
    def everybody_sees_the_last_state_and_all_that_was_said(self) -> None:
        asyncio.run(self.store.flush())
        assert {record.task.id: record.task for record in self.other.find(Filter())} == self.known
        found = [event for run in self.other.run_ids() for _, event in self.other.events(run)]
        assert sorted(found, key=lambda event: event.at) == self.events


TestRemembering = pytest.mark.program(Remembering.TestCase)  # it takes seconds
TestRemembering.settings = settings(STEADY, max_examples=25, stateful_step_count=20)


def test_a_copy_that_goes_on_shares_no_part_file_with_its_original(tmp_path: Path) -> None:
    """A copy, or a backup that was restored, gives the same numbers to other tasks, in the same folder."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(Store(old)) as store:
        before = started(store, "before")[0]
    shutil.copy(old, new)
    with closing(Store(old)) as one_, closing(Store(new)) as other:
        assert one_.token == other.token
        (mine,), (its,) = started(one_, "mine"), started(other, "its")
        assert mine.id == its.id
        assert mine.part(1).name != its.part(1).name
        read = [store.find(Filter(ids=(before.id,)))[0].task.part(1) for store in (one_, other)]
        assert read == [before.part(1)] * 2, "a task that was moved still finds its own"
        assert one(one_, mine).task.key == mine.key
