"""A history is copied by `imagegen history migrate`, and the program is killed before each step of the hand-over."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.task import Cancelled, CancelOutcome, Job, Running, Submitting
from imagegen_cli.storage import postgres as histories, postgres_connection as connections
from imagegen_cli.storage.copying import Keep, copy
from imagegen_cli.storage.records import UNFINISHED, Filter
from tests import postgres
from tests.histories import Place, opened, place
from tests.program import LIMIT, Program
from tests.test_shared_store import STUDIO, Way, queued
from tests.test_store import become, started

KILLER = """
import os, signal, sqlite3, sys
first, number = sys.argv[1].split(","), int(sys.argv[2])
del sys.argv[1:3]
COUNTED = ("copy", "_begun", "_begun_to_write")
seen = 0
def step(frame, event, call):
    global seen
    if event == "c_call" and call.__name__ == "execute" and isinstance(call.__self__, sqlite3.Connection):
        function = frame.f_code.co_name
    elif event == "call" and frame.f_code.co_qualname == "PostgresConnection.execute":
        function = frame.f_back.f_code.co_name
    else:
        return
    if function in (first, COUNTED)[seen > 0]:
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(step)
from imagegen_cli.__main__ import main
main()
"""
"""Counts the statements that begin or end a transaction or stand between two, from the first one of some functions on,
and kills itself before one of them."""
JOB = Job("job-1")
COPIES = [
    ("sqlite", "postgres", Keep.TO), ("postgres", "sqlite", Keep.TO), ("sqlite", "sqlite", Keep.TO),
    ("sqlite", "postgres", Keep.FROM),
]  # fmt: skip


def filled(where: Place) -> None:
    """A task that waits for a worker, and one at which a service is at work."""
    with closing(opened(where)) as store:
        queued(store, "waits")
        (task,) = started(store, "runs")
        become(store, task, Submitting(), Running(JOB))


def killed(program: Program, old: Place, new: Place, keep: Keep, first: str, number: int = 1) -> bool:
    """Copy a history; whether the program met the statement before which it is killed."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLER, first, str(number), *words(old, new, keep)],
        check=False, cwd=program.folder, capture_output=True, timeout=LIMIT, text=True,
        env=program.environment(PYTHONPATH=str(Path(__file__).parents[1])),
    )  # fmt: skip
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def words(old: Place, new: Place, keep: Keep) -> list[str]:
    return ["history", "migrate", str(old), str(new), "--keep", keep]


def going_on(where: Place) -> list[int]:
    """The tasks with which a command or a worker would go on here."""
    with closing(opened(where)) as store:
        if store.unfinished_copy:
            assert store.claim_queued(STUDIO, 9) == [], "a worker that had it open before takes nothing"
            assert store.left_by_workers(STUDIO) == []
            return []
        return sorted(record.task.id for record in store.find(Filter(states=UNFINISHED)))


@pytest.mark.parametrize(("source", "target", "keep"), COPIES, ids=map("-".join, COPIES))
def test_a_copy_that_is_killed_never_leaves_a_task_in_two_places_and_goes_on(
    tmp_path: Path, source: str, target: str, keep: Keep
) -> None:
    program, number, met = Program(tmp_path), 0, True
    while met:
        number += 1
        old, new = place(source, tmp_path / f"old{number}"), place(target, tmp_path / f"new{number}")
        filled(old)
        met = killed(program, old, new, keep, "_hold,let_go", number)
        assert not set(going_on(old)) & set(going_on(new)), number
        again = program.run(*words(old, new, keep))
        assert again.code == 0 or (keep is Keep.FROM and "has tasks already" in again.err), again.err
        on, off = (old, new) if keep is Keep.FROM else (new, old)
        assert (going_on(on), going_on(off)) == ([1, 2], []), number
        with closing(opened(on)) as store, closing(opened(off)) as other:
            assert (store.waiting_for_workers(STUDIO), other.waiting_for_workers(STUDIO)) == (1, 0)
            states = [record.task.state for record in (store.find(Filter())[0], other.find(Filter())[0])]
        assert states == [Running(JOB), Cancelled(CancelOutcome.GOES_ON, JOB)]
    assert number > 4


def test_a_copy_that_is_not_finished_is_used_by_nothing_and_replaced_by_its_own_source_alone(tmp_path: Path) -> None:
    program = Program(tmp_path)
    old, new, other = place("sqlite", tmp_path / "old"), place("postgres", tmp_path), tmp_path / "other.db"
    filled(old)
    filled(other)
    assert killed(program, old, new, Keep.TO, "let_go")
    for command in (["list"], ["resume"], ["work", "--once"], ["run", "a cat"]):
        ended = program.run(*command, IMAGEGEN_HISTORY=str(new))
        assert (ended.code, "is a copy that is not finished" in ended.err) == (3, True)
        assert "imagegen history migrate FROM TO --keep to" in ended.err
    stranger = program.run(*words(other, new, Keep.TO))
    assert (stranger.code, "an unfinished copy of another one" in stranger.err) == (3, True)
    onward = program.run(*words(new, tmp_path / "third.db", Keep.TO))
    assert (onward.code, "is a copy that is not finished" in onward.err) == (3, True)
    with closing(opened(old)) as store:
        queued(store, "is new")
    assert killed(program, old, new, Keep.TO, "_release")
    assert (going_on(old), going_on(new)) == ([], [])
    back = program.run(*words(old, new, Keep.FROM))
    assert (back.code, "the tasks go on in" in back.err) == (3, True)
    last = program.run(*words(old, new, Keep.TO))
    assert last.code == 0, last.err
    assert "3 tasks that had not ended go on in" in last.err
    assert going_on(new) == [1, 2, 3]


# A server that is silent or lost in the middle


class WhileSilent(float):
    """A limit that nothing meets while the line carries answers: on a busy machine one may take seconds."""

    line: Way

    def __le__(self, waited: float) -> bool:
        return self.line.is_silent and float(self) <= waited


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """A way to the server; once it is silent, a copy waits for an answer for a second."""
    if why := postgres.missing():
        pytest.skip(why)
    limit = WhileSilent(1.0)
    limit.line = line = Way()
    monkeypatch.setattr(histories, "MAX_COPY_SILENCE_S", limit)
    monkeypatch.setattr(connections, "MAX_SILENCE_S", limit)
    yield line
    line.close()


def through(line: Way, where: Place) -> str:
    return str(where).replace(f":{postgres.server().port}/", f":{line.port}/")


def moved(old: Place, new: Place, keep: Keep = Keep.TO, wait_s: float = LIMIT) -> None:
    with closing(opened(old, wait_s=wait_s)) as source, closing(opened(new, wait_s=wait_s)) as target:
        copy(source, target, keep)


def again(line: Way, old: Place, new: Place, keep: Keep) -> None:
    """The same once more with a server that is there."""
    line.heal()
    moved(old, new, keep)


def cut_at(number: int, how: str) -> Callable[[bytes], str]:
    """Cuts at a COMMIT of a copy, counted from 1, and from then on."""
    seen: list[bytes] = []  # threads of several connections ask at once: a list loses nothing that one of them adds

    def cuts(data: bytes) -> str:
        if b"INSERT INTO committed" in data:
            seen.append(data)
        return how if len(seen) >= number else ""

    return cuts


@pytest.mark.parametrize("how", ["silent", "before"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("keep", Keep)
def test_a_target_that_is_lost_at_the_end_of_a_copy_is_told_and_the_same_command_finishes_it(
    tmp_path: Path, line: Way, how: str, number: int, keep: Keep
) -> None:
    old, new = place("sqlite", tmp_path), place("postgres", tmp_path)
    filled(old)
    opened(new).close()
    line.cuts = cut_at(number, how)
    if keep is Keep.FROM and number > 1:
        moved(old, through(line, new), keep)
        return
    with pytest.raises(HistoryError, match="not finished" if keep is Keep.TO else "as a whole or not at all") as caught:
        moved(old, through(line, new), keep, wait_s=1.0)
    assert "the same command again" in caught.value.hint
    assert not set(going_on(old)) & set(going_on(new))
    for _ in range(2):  # the second one finds it done
        with suppress(*([HistoryError] if keep is Keep.FROM else [])):
            again(line, old, through(line, new), keep)
    on, off = (old, new) if keep is Keep.FROM else (new, old)
    assert (going_on(on), going_on(off)) == ([1, 2], [])


@pytest.mark.parametrize("how", ["silent", "before"])
def test_a_source_that_is_lost_when_it_lets_go_is_told_and_the_same_command_finishes_it(
    tmp_path: Path, line: Way, how: str
) -> None:
    old, new = place("postgres", tmp_path), tmp_path / "new.db"
    filled(old)
    line.cuts = cut_at(1, how)
    with pytest.raises(HistoryError, match="not finished"):
        moved(through(line, old), new, wait_s=1.0)
    assert not set(going_on(old)) & set(going_on(new))
    again(line, through(line, old), new, Keep.TO)
    assert (going_on(new), going_on(old)) == ([1, 2], [])


def test_a_finished_copy_is_not_taken_for_one_of_a_source_that_has_new_tasks(tmp_path: Path) -> None:
    old, new = place("sqlite", tmp_path), tmp_path / "new.db"
    filled(old)
    moved(old, new)
    moved(old, new)
    with closing(opened(old)) as store:
        queued(store, "is new")
    with pytest.raises(HistoryError, match="has tasks already"):
        moved(old, new)
    assert going_on(old) == [3]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_history_is_not_copied_onto_itself_whatever_names_it_has(tmp_path: Path, kind: str) -> None:
    program, where = Program(tmp_path), place(kind, tmp_path)
    filled(where)
    if isinstance(where, Path):
        link = tmp_path / "link.db"
        link.symlink_to(where)
        names = [str(link)]
    else:
        names = [where.replace("127.0.0.1", "localhost"), where + "&application_name=other"]
    for name in names:
        ended = program.run("history", "migrate", str(where), name, "--keep", "to")
        assert ended.code == 2, ended.err
        assert "are the same history" in ended.err
    assert going_on(where) == [1, 2]
