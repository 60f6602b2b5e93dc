"""Receipts of tasks that a history lacks: a receipt always brings its pictures, and never twice."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.made_anew import carry_parts
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.masking import forget, hide_user
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Job,
    Queued,
    RunId,
    Running,
    SavedImage,
    Saving,
    State,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.storage.receipt_lines import Receipt, Refused, line_of, receipt_of, receipts_in
from imagegen_cli.storage.records import Filter, Origin, Record
from imagegen_cli.storage.store import Store
from tests import postgres
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Fault, Pictures
from tests.histories import KINDS, Place, opened, outside, place
from tests.program import Program, finished
from tests.test_set_back import CONFIG, Backup, until
from tests.test_shared_store import ELSEWHERE
from tests.test_store import become, enter, ids, one, planned

JOB = Job("job-1", "https://service.example/job-1")
QUOTE = Quote(2, Money(40_000, "usd"), Source.ESTIMATED)
SAVED = (SavedImage("/images/1.png"),)
LIST = "/lists/cats.txt"


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


@pytest.fixture
def store(where: Place) -> Iterator[Store]:
    with closing(opened(where)) as store:
        yield store


def sent(store: Store, prompt: str = "a cat", job: Job = JOB) -> Task:
    item = planned(prompt, seed=7, extra={"style": "ink"})._replace(
        source=LIST, expected_images=2, cell={"seed": "7"}, marks="none"
    )
    _, (task,) = enter(store, item, source=LIST)
    return become(store, task, Submitting(quote=QUOTE), Running(job))


def printed(store: Store, *tasks: Task) -> list[Receipt]:
    """The receipts of these tasks as they come back from the lines that were printed."""
    lines = "\n".join(f"imagegen: {line_of(one)}" for one in store.receipts_of(tasks))
    found = list(receipts_in(f"something else\n{lines}\n"))
    return [one for one in found if isinstance(one, Receipt)]


def lost(where: Place, *prompts: str) -> list[Receipt]:
    """Receipts of tasks that the history lacks, because it is as it was before their run."""
    with closing(opened(where, process=ELSEWHERE)) as store:
        backup = Backup(where)
        tasks = [sent(store, prompt, Job(f"job-{number}")) for number, prompt in enumerate(prompts, 1)]
        found = printed(store, *tasks)
        backup.restore()
    return found


def record_of(store: Store, id_: int) -> Record:
    (record,) = store.find(Filter(ids=(id_,)))
    return record


# A task that is made anew


def test_a_task_that_the_history_lacks_is_made_of_its_receipt(store: Store, where: Place) -> None:
    (receipt,) = lost(where, "a cat")
    assert receipt.task not in ids(store.find(Filter()))
    restored = store.restore_receipts([receipt])
    ((named, _, id_, *_),) = restored.made
    assert (named, restored.healed, restored.held, restored.strangers) == (receipt.task, [], [], [])
    record = record_of(store, id_)
    assert record.task.state == Running(Job("job-1"))
    assert (record.is_owned, record.owner, record.shared) == (False, None, False)
    assert (record.source, record.identity, record.task.expected_images) == (LIST, "a cat", 2)
    assert (record.task.request.seed, record.task.request.extra) == (7, {"style": "ink"})
    assert (dict(record.task.cell), record.facts) == ({"seed": "7"}, {"marks": "none"})
    assert record.created == pytest.approx(receipt.created, abs=1)
    assert [one.command for one in store.runs([record.task.run])] == ["resume"]
    assert [record.task.id for record in store.find(Filter(search="cat"))] == [id_], "its words are found"
    assert store.known(["a cat"]).keys() == {(LIST, "a cat")}, "its list sends it not once more"


def test_its_costs_are_counted_and_no_budget_is_asked(store: Store, where: Place) -> None:
    ((_, _, id_, *_),) = store.restore_receipts(lost(where, "a cat")).made
    (charge,) = store.all_charges([id_])[id_]
    assert (charge.status, charge.amount) == (ChargeStatus.UNCERTAIN, Money(80_000, "usd"))
    (task,), _, _ = store.claim([(record_of(store, id_), Running(Job("job-1")))])
    become(store, task, Saving(SAVED, Job("job-1")), Done(("/images/1.png",)))
    (charge,) = store.all_charges([id_])[id_]
    assert (charge.status, charge.amount) == (ChargeStatus.SETTLED, Money(40_000, "usd"))


def test_the_same_receipts_make_a_task_once(store: Store, where: Place) -> None:
    receipts = lost(where, "a", "b")
    made = store.restore_receipts([*receipts, *receipts]).made
    assert len(made) == 2
    with closing(opened(where, process=ELSEWHERE)) as other:
        again = other.restore_receipts(receipts)
        assert (again.made, again.held) == ([], [new.id for new in made])
    id_ = made[0].id
    (task,), _, _ = store.claim([(record_of(store, id_), Running(Job("job-1")))])
    become(store, task, Saving(SAVED, Job("job-1")), Done(("/images/1.png",)))
    assert not store.restore_receipts(receipts).made, "also once it is done"


def test_two_processes_at_once_make_one_task(where: Place) -> None:
    opened(where).close()
    receipts, found = lost(where, "a", "b", "c"), list[int]()
    barrier = threading.Barrier(4)

    def restore() -> None:
        with closing(opened(where)) as store:
            barrier.wait()
            found.extend(new.id for new in store.restore_receipts(receipts).made)

    threads = [threading.Thread(target=restore) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3


def test_the_number_of_another_task_stays_its_own(store: Store, where: Place) -> None:
    (receipt,) = lost(where, "a cat")
    _, tasks = enter(store, *[planned(f"dog {number}") for number in range(4)])
    receipt = receipt._replace(task=tasks[0].id)
    ((_, _, id_, *_),) = store.restore_receipts([receipt]).made
    assert id_ not in [task.id for task in tasks]
    assert one(store, tasks[0]).task.state == Queued()


ENDS: dict[str, tuple[State, ...]] = {
    "done": (Saving(SAVED, Job("other")), Done(("/images/1.png",))),
    "running": (),
    "failed": (Failed(Reason.MODERATED, "no"),),
    "cancelled": (Cancelled(CancelOutcome.STOPPED),),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_was_sent_again_meanwhile_leaves_the_first_job_to_a_new_task(store: Store, end: str) -> None:
    task = sent(store, job=Job("other"))
    become(store, task, *ENDS[end])
    before = one(store, task)
    (receipt,) = [receipt._replace(job=JOB) for receipt in printed(store, task)]
    ((named, _, id_, *_),) = store.restore_receipts([receipt]).made
    assert named == task.id != id_
    assert record_of(store, id_).task.state == Running(JOB)
    assert one(store, task) == before


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_its_task_has_brought_to_its_end_makes_none(store: Store, end: str) -> None:
    task = sent(store, job=Job("other"))
    become(store, task, *ENDS[end])
    assert not store.restore_receipts(printed(store, task)).made


def test_a_job_of_an_earlier_attempt_makes_none(store: Store) -> None:
    task = sent(store)
    receipts = printed(store, task)
    become(store, task, Failed(Reason.SERVER, "no", job=JOB, may_be_paid=False))
    store.claim([(one(store, task), Queued())], again=True)
    restored = store.restore_receipts(receipts)
    assert (restored.made, restored.healed, restored.held) == ([], [], [task.id])


def test_two_receipts_of_one_task_bring_both_pictures(store: Store) -> None:
    _, (task,) = enter(store, planned())
    first = receipt_of(task, JOB, Origin())
    restored = store.restore_receipts([first, first._replace(job=Job("job-2"))])
    ((_, _, id_, *_),) = restored.made
    assert restored.healed == [task.id]
    assert (one(store, task).task.state, record_of(store, id_).task.state) == (Running(JOB), Running(Job("job-2")))


def test_jobs_of_other_providers_are_other_jobs(store: Store, where: Place) -> None:
    (receipt,) = lost(where, "a cat")
    assert receipt.planned is not None
    elsewhere = replace(receipt.planned.request, provider="other")
    other = receipt._replace(planned=receipt.planned._replace(request=elsewhere))
    assert len(store.restore_receipts([receipt, other]).made) == 2


def test_a_new_task_that_failed_is_sent_again_like_any_other(store: Store, where: Place) -> None:
    ((_, _, id_, *_),) = store.restore_receipts(lost(where, "a cat")).made
    (task,), _, _ = store.claim([(record_of(store, id_), Running(Job("job-1")))])
    become(store, task, Failed(Reason.MODERATED, "no"))
    (again,), _, _ = store.claim([(record_of(store, id_), Queued())], again=True)
    become(store, again, Submitting(), Running(Job("job-2")))
    assert store.lost == set()
    assert record_of(store, id_).task.state == Running(Job("job-2"))


# The process that sent it


def test_the_process_that_finds_its_tasks_gone_puts_their_receipts_back(where: Place) -> None:
    store = opened(where)
    backup = Backup(where)
    tasks = [sent(store, prompt, Job(f"job-{prompt}")) for prompt in "ab"]
    backup.restore()
    with closing(opened(where, process=ELSEWHERE)) as other:
        _, (another,) = enter(other, planned("another"))
        store.record(_progress(tasks[0]))
        _flushed(store)
        assert store.is_set_back
        assert "was set back" in store.trouble
        store.close()
        assert [new.lost for new in store.made] == [task.id for task in tasks]
        made = [record_of(other, new.id) for new in store.made]
        assert [record.task.state for record in made] == [Running(Job("job-a")), Running(Job("job-b"))]
        assert len({record.task.run for record in made}) == 1
        assert one(other, another).task.state == Queued()
        assert other.recover_receipts() == []
        assert len(other.find(Filter())) == 3
        assert not other.restore_receipts(printed(store, *tasks)).made, "what it prints as well is held"


def _progress(task: Task) -> Any:
    from imagegen_cli.core.events import TaskChanged  # noqa: PLC0415

    return TaskChanged(200.0, task.to(Saving(SAVED, task.job)))


def _flushed(store: Store) -> None:
    import asyncio  # noqa: PLC0415
    from contextlib import suppress  # noqa: PLC0415

    from imagegen_cli.core.errors import DiskError  # noqa: PLC0415

    with suppress(DiskError):
        asyncio.run(store.flush())


# Lines


def a_receipt(**more: Any) -> Receipt:
    request = ImageRequest(
        prompt="a cat\nat \x1b[31mnight", provider="studio", model="4.0", seed=0, references=("/in/a.png",),
        extra={"style": "墨"},
    )  # fmt: skip
    task = Task(
        id=TaskId(5), run=RunId(1), request=request, state=Queued(), folder="/images", name="5-cat-{index}", key="t-5",
        expected_images=4, cell={"style": "墨", "a": "b"},
    )  # fmt: skip
    return receipt_of(task, JOB, Origin(12.5, LIST, "i:1"), QUOTE)._replace(**more)


def test_a_line_brings_back_all_that_was_written_into_it() -> None:
    line = line_of(a_receipt())
    assert line.isascii()
    assert "\n" not in line
    assert list(receipts_in(line)) == [a_receipt()]


def test_a_line_has_no_secret_of_the_settings() -> None:
    hide_user("https://me:s3cretword@host.example")
    try:
        assert "s3cretword" not in line_of(a_receipt(job=Job("j", "https://me:s3cretword@host.example/j")))
    finally:
        forget()


@pytest.mark.parametrize("line", ['{"task":1,"job":"j"}', 'x {"task": "1", "job": "j", "url": ""} y'])
def test_short_lines_are_read(line: str) -> None:
    assert list(receipts_in(line)) == [Receipt(1, Job("j"))]


DEEP = '{"task": 1, "job": ' + '{"a":' * 100_000
WRONG: dict[str, Any] = {
    "no task": {"task": 0}, "a huge number": {"task": 10**30}, "a fraction": {"task": 1.5}, "a truth": {"task": True},
    "no job": {"job": ""}, "a list": {"job": ["j"]}, "control codes": {"job": "a\x1b[31m"},
    "a line break in the address": {"url": "http://a\nb"}, "half a sign": {"job": "\ud800"},
    "no request": {"request": []}, "no provider": {"request": {"prompt": "a"}},
    "a number for a prompt": {"request": {"prompt": 5, "provider": "studio"}},
    "a text for a width": {"request": {"prompt": "a", "provider": "studio", "width": "wide"}},
    "a huge seed": {"request": {"prompt": "a", "provider": "studio", "seed": 10**40}},
    "a text for references": {"request": {"prompt": "a", "provider": "studio", "references": "/etc/passwd"}},
    "numbers in extra": {"request": {"prompt": "a", "provider": "studio", "extra": {"a": 1}}},
    "a name above its folder": {"name": "../5-{index}"}, "a name with a folder": {"name": "/etc/{index}"},
    "a name of Windows": {"name": "..\\{index}"}, "a name without a place for numbers": {"name": "cat"},
    "a hidden name": {"name": ".{index}"}, "a long name": {"name": "x" * 300 + "{index}"},
    "no pictures": {"images": 0}, "too many pictures": {"images": 10**9}, "no moment": {"created": float("nan")},
    "a moment far away": {"created": 1e300}, "marks": {"marks": "all"}, "a cell": {"cell": [1]},
    "a price": {"quote": {"images": 1, "unit": "usd", "micros": 10**20, "source": "estimated"}},
    "a unit": {"quote": {"images": 1, "unit": "gold", "micros": 1, "source": "estimated"}},
    "a source": {"quote": {"images": 1, "source": "heaven"}},
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_lies_is_refused_by_its_number(what: str) -> None:
    plain = json.loads(line_of(a_receipt())) | WRONG[what]
    good = line_of(a_receipt())
    found = list(receipts_in(f"{good}\n{json.dumps(plain)}\n{good}"))
    assert [type(one) for one in found] == [Receipt, Refused, Receipt]
    assert isinstance(found[1], Refused)
    assert found[1].number == 2
    assert found[1].why.isprintable()


@pytest.mark.parametrize(
    "line", [DEEP, '{"task": 1, "job": "j', '{"task": 1, "job": }', '{"job": 1, "task": ' + "9" * 9000 + "}"]
)
def test_a_damaged_line_is_refused(line: str) -> None:
    assert [type(one) for one in receipts_in(line)] == [Refused]


def test_lines_that_are_changed_anywhere_never_raise() -> None:
    line = line_of(a_receipt())
    for _ in range(3000):
        at, length = random.randrange(len(line)), random.randrange(6)
        noise = "".join(random.choice('{}[]",:0123456789-eE.\\u\x00\x1b é\ud800') for _ in range(random.randrange(4)))
        found = list(receipts_in(line[:at] + noise + line[at + length :]))
        assert all(isinstance(receipt, Receipt | Refused) for receipt in found)


# The program


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=0.1) as server:
        yield server


def program_on(folder: Path, server: DreaminaServer, where: Place) -> Program:
    program = Program(folder, CONFIG.format(url=server.url))
    program.use_history(where)
    return program


@pytest.fixture
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "home" / "history.db" if request.param == "sqlite" else place(request.param, tmp_path)


@pytest.mark.program
@pytest.mark.parametrize("history", KINDS, indirect=True)
@pytest.mark.parametrize("words", [("--progress", "plain"), ("--json",)], ids=["plain", "json"])
def test_every_picture_of_a_run_that_the_history_lacks_is_fetched(
    tmp_path: Path, server: DreaminaServer, history: Place, words: tuple[str, ...]
) -> None:
    program = program_on(tmp_path, server, history)
    assert program.run("run", "first #now", "-p", "studio", "-q").code == 0
    backup = Backup(history)
    prompts = ["a cat", "a dog", "a fox"]
    server.seconds = HELD
    process = program.start("run", *prompts, "--each", "-p", "studio", *words)
    until(lambda: len(server.jobs) == 4)
    backup.restore()
    if isinstance(history, str):
        postgres.server().cut()
    server.release()
    ended = finished(process)
    assert ended.code == 5, ended.err
    assert "imagegen resume 2" not in ended.err
    assert "imagegen resume 2" not in ended.out
    assert "imagegen retry" not in ended.err
    assert "--run" not in ended.err
    assert "another process goes on" not in ended.err
    if isinstance(history, str):
        assert "imagegen resume --receipts FILE gives them back" in ended.err
    (tmp_path / "receipts").write_text(ended.err, encoding="utf-8")
    resumed = program.run("resume", *(["--receipts", "receipts"] if '"job"' in ended.err else []), "-q")
    assert resumed.code == 0, resumed.err
    assert sorted((task["prompt"], task["state"]) for task in program.tasks()) == [
        *((prompt, "done") for prompt in prompts), ("first #now", "done"),
    ]  # fmt: skip
    assert len([path for path in program.pictures() if path.suffix == ".png"]) == 4 * 4, program.pictures()
    again = program.run("resume", "--receipts", "receipts") if '"job"' in ended.err else program.run("resume")
    assert again.code == 4, again.err
    assert server.counts["submit"] == 4, "nothing was sent twice"


@pytest.mark.program
@pytest.mark.parametrize("history", KINDS, indirect=True)
def test_receipts_of_a_file_are_fetched_by_a_history_that_knows_nothing(
    tmp_path: Path, server: DreaminaServer, history: Place
) -> None:
    program = program_on(tmp_path, server, history)
    server.fail("query", Fault.ERROR_500, times=None)
    assert program.run("run", "a cat", "a dog", "--each", "-p", "studio", "-q").code == 5
    server.heal()
    with closing(opened(history)) as store:
        tasks = [record.task for record in store.find(Filter())]
        lines = [line_of(one) for one in store.receipts_of(tasks)]
        with outside(history) as db:
            for table in ("task", "event", "charge", "attempt", "receipt", "picture", "run"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
    outside_ = json.loads(lines[0]) | {"folder": str(tmp_path / "elsewhere")}
    unknown = json.loads(lines[1]) | {"job": "job-9", "request": {"prompt": "a", "provider": "gone"}}
    text = "\n".join([json.dumps(outside_), lines[1], json.dumps(unknown), '{"task": 1, "job": "x'])
    ended = program.run("resume", "--receipts", "-", stdin=text)
    said = " ".join(ended.err.split())
    assert ended.code == 5, "one provider is gone, and one line is damaged"
    assert "line 4 of - is no receipt that can be used: it is damaged" in said
    assert "the history lacked tasks 2 1 1; their receipts are tasks 3 4 5 now" in said
    assert "left as they are: 5" in said
    assert "gone" in said
    assert not (tmp_path / "elsewhere").exists()
    assert len(program.pictures()) == 2 * 4
    assert server.counts["submit"] == 2
    again = program.run("resume", "--receipts", "-", stdin="\n".join(lines))
    assert (again.code, "the history needs none of these receipts" in again.err) == (4, True)


@pytest.mark.program
def test_pictures_that_lie_half_saved_go_with_their_task(tmp_path: Path, server: DreaminaServer) -> None:
    """Their links may be gone: what a process has on the disk already is not fetched again."""
    program = program_on(tmp_path, server, Path())
    assert program.run("run", "first #now", "-p", "studio", "-q").code == 0
    folder = tmp_path / "images"
    (picture,) = [path for path in program.pictures() if "-1.png" in path.name]
    for key in ("abc-5", "abc-1"):
        (folder / f".imagegen-{key}-1.part").write_bytes(picture.read_bytes())
    receipt = a_receipt()
    assert receipt.planned is not None
    receipt = receipt._replace(key="abc-5", planned=receipt.planned._replace(folder=str(folder)))
    with closing(opened(program.home / "history.db")) as store:
        key = store.find(Filter())[0].task.key
        (folder / f".imagegen-{key}-1.part").write_bytes(picture.read_bytes())
        of_another = receipt._replace(task=1, key=key, job=Job("job-2"))
        made = store.restore_receipts([receipt, of_another]).made
    carry_parts(made)
    assert {path.name for path in folder.glob(".imagegen-*")} == {
        f".imagegen-{made[0].key}-1.part", ".imagegen-abc-1-1.part", f".imagegen-{key}-1.part",
    }  # fmt: skip


def test_a_task_that_was_sent_once_more_is_another_one(where: Place) -> None:
    """The same command, started again after a set-back, gets the same numbers, names and prompts."""
    store = opened(where)
    with closing(opened(where, process=ELSEWHERE)) as other:
        backup = Backup(where)
        task = sent(store)
        backup.restore()
        with outside(where) as db:
            if isinstance(where, Path):
                db.execute("UPDATE sqlite_sequence SET seq = seq - 1 WHERE name IN ('run', 'task')")
        again = sent(other, job=Job("job-2"))
        assert (again.id, again.run, again.name) == (task.id, task.run, task.name)
        store.record(_progress(task))
        _flushed(store)
        store.close()
        assert one(other, again).task.state == Running(Job("job-2"))
        ((lost_, _, id_, *_),) = store.made
        assert lost_ == task.id != id_
        assert record_of(other, id_).task.state == Running(JOB)
