"""Runs, favourites, export and forgetting, as a person uses them."""

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.console import READING_S
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Job,
    Running,
    SavedImage,
    Saving,
    State,
    Submitting,
    Task,
)
from imagegen_cli.marks.values import Marks
from imagegen_cli.marks.writing import sidecar_paths, sidecar_text
from imagegen_cli.storage.records import Filter, Planned
from imagegen_cli.storage.runs import RunSummary
from imagegen_cli.storage.store import Store
from tests import screen
from tests.program import Program

BYTES = b"\x89PNG\r\n\x1a\n the bytes of a picture"
DIGEST = sha256(BYTES).hexdigest()
TIMED_OUT = Failed(Reason.TIMEOUT, "too late", Job("a"), may_be_paid=True)
MODERATED = Failed(Reason.MODERATED, "no cats", final=True)
FOUR_CENTS = Quote(1, Money(40_000, "usd"), Source.PRICED)


class History:
    """A history with one run of tasks in given states, and a program that uses it."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(folder)
        self.folder = folder
        self.store = Store(self.program.home / "history.db")

    def add(self, *states: State | None, prompts: Sequence[str] = (), source: str = "", **request: Any) -> list[Task]:
        """A run; None leaves a task queued. The tasks belong to no living process once `close` was called."""
        run, ids = self.store.reserve(len(states))
        texts = prompts or ["a cat"] * len(states)
        asked = {"provider": "studio", "model": "3.0"} | request
        planned = [
            Planned(
                id=id_, name="a", request=ImageRequest(prompt=text, **asked), expected_images=1,
                folder=str(self.folder), identity=str(id_), source=source,
            )
            for id_, text in zip(ids, texts, strict=True)
        ]  # fmt: skip
        tasks = list(self.store.start_run(run, "batch" if source else "run", source, planned))
        for at, state in enumerate(states):
            if state is not None:
                tasks[at] = self.become(tasks[at], state)
        return tasks

    def become(self, task: Task, state: State) -> Task:
        steps: list[State] = [Submitting(quote=FOUR_CENTS)]
        if isinstance(state, Done):
            images = tuple(SavedImage(path, sha256(Path(path).read_bytes()).hexdigest()) for path in state.files)
            steps += [Running(Job("a")), Saving(images, Job("a"))]
        elif not isinstance(state, Cancelled):
            steps += [Running(Job("a"))]
        else:
            steps = []
        for step in [*steps, state]:
            task = task.to(step)
            self.store.record(TaskChanged(time.time(), task))
        return task

    def picture(self, name: str) -> str:
        path = self.folder / name
        path.write_bytes(BYTES + name.encode())
        return str(path)

    def close(self) -> None:
        self.store.close()

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.program.home / "history.db")) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


# Runs


def test_runs_are_summed_up(history: History) -> None:
    one, two = history.picture("1.png"), history.picture("2.png")
    history.add(Done((one, two)), TIMED_OUT, MODERATED, Cancelled(CancelOutcome.NOT_SENT), None, source="/lists/a.txt")
    history.add(Done((), missing=1))
    history.store.close()
    with closing(Store(history.program.home / "history.db")) as store:
        last, first = store.runs()
        assert [run.id for run in store.runs([1, 77])] == [1]
        assert [run.id for run in store.runs(limit=1)] == [2]
        assert store.runs(since=time.time() + 9) == []
    assert (first.id, first.command, first.source, first.tasks, first.pictures) == (1, "batch", "/lists/a.txt", 5, 2)
    assert (first.done, first.failed, first.cancelled, first.unfinished, first.ended) == (1, 2, 1, 1, None)
    assert first.costs == (
        (ChargeStatus.SETTLED, Money(80_000, "usd")),
        (ChargeStatus.UNCERTAIN, Money(40_000, "usd")),
    )
    assert (last.short, last.unfinished, first.is_told) == (1, 0, False)
    assert last.ended is not None
    assert isinstance(first, RunSummary)


def test_runs_are_printed_as_lines_and_as_json(history: History) -> None:
    history.add(Done((history.picture("1.png"),)), MODERATED, source="/lists/花.txt")
    history.add(None)
    history.close()
    lines = history.program.run("runs").lines
    assert "1 unfinished" in lines[0]
    assert "1 done, 1 failed" in lines[1]
    assert "1 picture " in lines[1]
    assert lines[1].endswith("batch 花.txt")
    objects = history.program.run("runs", "--json", "--limit", "1").objects
    assert [(one["v"], one["id"], one["unfinished"], one["ended"]) for one in objects] == [(1, 2, 1, None)]
    assert history.program.run("runs", "--since", "2099-01-01").code == 4


def test_costs_of_one_run_are_told(history: History) -> None:
    history.add(Done((history.picture("1.png"), history.picture("2.png"))))
    history.add(Done((history.picture("3.png"),)))
    history.close()
    told = [history.program.run("costs", "--json", "--run", run).objects[0]["priced"] for run in ("1", "LAST")]
    assert told == [0.08, 0.04]
    assert "nothing was spent by run 7" in history.program.run("costs", "--run", "7").err


def test_no_run_is_said(tmp_path: Path) -> None:
    ended = Program(tmp_path).run("runs")
    assert (ended.code, ended.out) == (4, "")
    assert "there is no run yet" in ended.err


# Filters


def test_filters_are_combined(history: History) -> None:
    history.add(Done((history.picture("1.png"),)), MODERATED, TIMED_OUT, prompts=["小猫", "a fox", "a cat"])
    history.add(None, prompts=["一只小猫"], model="4.0", provider="lab")
    history.close()

    def ids(*words: str) -> list[int]:
        return [one["id"] for one in history.program.run("list", "--json", *words).objects]

    assert ids("--reason", "moderated", "--reason", "timeout") == [3, 2]
    assert ids("--model", "4.0") == ids("--provider", "lab") == ids("-m", "4.0", "-p", "lab") == [4]
    assert ids("--model", "4.0", "--provider", "studio") == []
    assert ids("--has-picture") == [1]
    assert ids("--search", "小猫", "--state", "done", "--run", "-2") == [1]
    assert ids("--until", "1h") == []
    assert ids("--until", time.strftime("%Y-%m-%d")) == ids("--since", "1h") == [4, 3, 2, 1]
    assert ids("--since", "1h", "--until", "0s", "--limit", "2") == [4, 3]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--reason", "sad"), "there is no reason 'sad'"),
        (("--state", "sad"), "there is no state 'sad'"),
        (("--until", "then"), "--until 'then' is neither"),
        (("--since", "0001-01-01"), "--since '0001-01-01' is neither"),
        (("--run", "x"), "names no run"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    ended = Program(tmp_path).run("list", *words)
    assert ended.code == 2
    assert text in ended.err


def test_tasks_are_read_by_their_times_also_when_clocks_were_set(history: History) -> None:
    tasks = history.add(*[None] * 4)
    for task, created in zip(tasks, (100.0, 400.0, 200.0, 300.0), strict=True):
        history.store._db.execute("UPDATE task SET created = ? WHERE id = ?", (created, task.id))
    for since, until, expected in (
        (None, 250.0, [3, 1]),
        (250.0, None, [4, 2]),
        (150.0, 350.0, [4, 3]),
        (999.0, None, []),
    ):
        found = history.store.find(Filter(since=since, until=until))
        assert [record.task.id for record in found] == expected


# Favourites


def test_favourites_are_kept_shown_and_found(history: History) -> None:
    history.add(Done((history.picture("1.png"), history.picture("2.png"))), MODERATED)
    history.close()
    program = history.program
    assert program.run("favourite", "2", "1/2").code == 0
    assert [one["id"] for one in program.run("list", "--favourite", "--json").objects] == [2, 1]
    shown = program.run("show", "1", "--json").objects[0]
    assert (shown["favourite"], shown["favourite_pictures"]) == (True, [2])
    assert "favourite   picture 2" in program.run("show", "1").lines
    assert "favourite   yes" in program.run("show", "2").lines
    assert "*  a cat" in program.run("list").lines[0]
    assert program.run("favourite", "--not", "1/2", "LAST").code == 0
    assert program.run("list", "--favourite").code == 4
    assert "*" not in program.run("list").out
    assert program.run("list", "--json").objects[0]["favourite"] is False


def test_a_whole_task_is_taken_out_with_its_pictures(history: History) -> None:
    history.add(Done((history.picture("1.png"), history.picture("2.png"))))
    history.close()
    assert history.program.run("favourite", "1", "1/2").code == 0
    assert history.program.run("favourite", "--not", "1/2").code == 0
    assert history.program.run("list", "--favourite", "--json").objects[0]["favourite"] is True
    assert history.program.run("favourite", "1/2").code == history.program.run("favourite", "--not", "1").code == 0
    assert history.program.run("list", "--favourite").code == 4


@pytest.mark.parametrize(
    ("name", "text"), [("1/3", "has no picture 3: it has 2 pictures"), ("9", "there is no task 9")]
)
def test_what_is_not_there_is_no_favourite(history: History, name: str, text: str) -> None:
    history.add(Done((history.picture("1.png"), history.picture("2.png"))))
    history.close()
    ended = history.program.run("favourite", "1", name)
    assert ended.code == 4
    assert text in ended.err
    assert history.program.run("list", "--favourite").code == 4


# Export


def test_json_lines_are_those_of_list(history: History) -> None:
    history.add(Done((history.picture("1.png"),)), MODERATED)
    history.close()
    program = history.program
    assert program.run("export").lines == program.run("list", "--json").lines
    assert program.run("export", "-o", "out.jsonl", "--state", "done").out == ""
    assert [json.loads(line)["id"] for line in (program.folder / "out.jsonl").read_text().splitlines()] == [1]


FORMULAS = ["=1+1", "+1", "-1", "@x", "＝1", "\t=1", 'a "quoted", prompt', "two\nlines", "\x1b[31mred", "a cat"]


def test_csv_gives_no_spreadsheet_a_formula_and_keeps_every_word(history: History) -> None:
    history.add(*[None] * len(FORMULAS), prompts=FORMULAS)
    history.add(Done((history.picture("1.png"), history.picture("2.png"))))
    history.close()
    program = history.program
    text = program.run("export", "--format", "csv").out
    assert not text.startswith("\ufeff")
    assert "\x1b" not in text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    prompts = [row["prompt"] for row in rows[:0:-1]]
    assert prompts == [
        "'=1+1", "'+1", "'-1", "'@x", "'＝1", "'\\t=1", 'a "quoted", prompt', "two\nlines", "\\x1b[31mred", "a cat",
    ]  # fmt: skip
    assert rows[0]["files"].splitlines() == [str(history.folder / "1.png"), str(history.folder / "2.png")]
    assert (rows[0]["cost"], rows[0]["unit"], rows[0]["cost_status"]) == ("0.08", "usd", "settled")
    assert program.run("export", "--format", "csv", "-o", "out.csv").code == 0
    assert (program.folder / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid,run,")


def test_an_export_replaces_no_file_and_leaves_none_behind(history: History) -> None:
    history.add(None)
    history.close()
    (history.folder / "mine.txt").write_text("mine")
    ended = history.program.run("export", "-o", "mine.txt")
    assert ended.code == 2
    assert "exists already" in ended.err
    assert (history.folder / "mine.txt").read_text() == "mine"
    assert history.program.run("export", "-o", "none.csv", "--state", "done").code == 4
    assert history.program.run("export", "-o", "no/such/folder.csv").code == 2
    assert not (history.folder / "none.csv").exists()


# Forget


def test_forgetting_takes_all_but_the_money(history: History) -> None:
    first = history.picture("1.png")
    history.add(Done((first,)), MODERATED, prompts=["小猫", "a fox"])
    history.add(Done((history.picture("2.png"),)))
    history.close()
    program = history.program
    before = program.run("costs", "--json").out
    ended = program.run("forget", "1", "2", "--yes")
    assert (ended.code, ended.lines) == (0, ["1 forgotten", "2 forgotten"])
    assert "what they cost stays counted" in ended.err
    assert [one["id"] for one in program.run("list", "--json").objects] == [3]
    assert program.run("list", "--search", "小猫").code == program.run("show", "1").code == 4
    assert [one["id"] for one in program.run("runs", "--json").objects] == [2]
    assert program.run("costs", "--json").out == before
    assert Path(first).exists()
    assert [history.rows(table) for table in ("task", "attempt", "picture", "charge", "run", "unsearched")] == [
        1,
        0,
        1,
        3,
        1,
        0,
    ]
    history = History(history.folder)
    assert len(history.store.events(1)) == 0
    assert history.store.events(2)
    history.store._db.execute("INSERT INTO prompt_words (prompt_words) VALUES ('integrity-check')")
    assert b"\xe5\xb0\x8f\xe7\x8c\xab" not in (program.home / "history.db").read_bytes(), "its words are gone"
    assert history.add(None)[0].id == 4, "no number is given twice"


def test_uncertain_costs_of_forgotten_tasks_can_still_be_settled(history: History) -> None:
    history.add(TIMED_OUT)
    history.close()
    program = history.program
    assert program.run("forget", "1", "--yes", "--with-receipts").code == 0
    assert "may have been charged: 1 task, 1" in program.run("costs").err
    assert program.run("settle", "1", "--unpaid").code == 0
    assert program.run("costs").code == 4
    assert program.run("settle", "2", "--unpaid").code == 4


def test_what_can_still_be_fetched_is_named_first_and_needs_its_own_consent(history: History) -> None:
    history.add(TIMED_OUT, MODERATED, None)
    history.close()
    program = history.program
    ended = program.run("forget", "1", "2", "3", "--yes")
    assert ended.lines == ["2 forgotten"]
    left = ended.err.splitlines()
    assert left[0] == "left alone, unfinished: 3; imagegen cancel 3 ends them first"
    assert left[1].startswith("left alone, can still be fetched: 1; imagegen resume 1 fetches them without paying")
    assert program.run("forget", "--failed", "--yes").code == 4
    assert program.run("forget", "--failed", "--yes", "--with-receipts").lines == ["1 forgotten"]


def test_tasks_that_a_process_works_on_are_not_forgotten(history: History) -> None:
    history.add(None)
    ended = history.program.run("forget", "1", "--yes")
    assert ended.code == 4
    assert "left alone, unfinished: 1" in ended.err
    history.close()


def test_a_claim_between_the_question_and_the_end_saves_a_task(history: History) -> None:
    history.add(MODERATED)
    history.close()
    path = history.program.home / "history.db"
    with closing(Store(path)) as store, closing(Store(path)) as other:
        records = store.find(Filter())
        other.claim([(records[0], records[0].task.state)])
        assert store.forget(records) == []
        assert len(store.find(Filter())) == 1


def test_forgetting_asks_and_a_pipe_cannot_answer(history: History) -> None:
    history.add(MODERATED, source="/lists/a.txt")
    history.close()
    ended = history.program.run("forget", "1", stdin="yes\n")
    assert ended.code == 2
    assert "a list that is run again would send these again" in ended.err
    assert "--yes forgets them" in ended.err
    ended = history.program.run("forget", "1", "--dry-run")
    assert (ended.code, ended.lines) == (0, ["1"])
    assert history.rows("task") == 1


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("yes", 0)])
def test_a_person_is_asked_and_keys_from_before_the_question_are_no_answer(
    history: History, answer: str, left: int
) -> None:
    history.add(MODERATED)
    history.close()
    program = history.program
    command = [sys.executable, "-m", "imagegen_cli", "forget", "1"]
    with screen.Program(command, columns=100, lines=20, environ=program.environment(), cwd=program.folder) as shown:
        shown.send("y\ryes\r")
        shown.wait_for("This cannot be undone. [y/N]")
        time.sleep(READING_S + 0.5)  # a yes that comes sooner is not taken
        assert history.rows("task") == 1
        shown.send(f"{answer}\r")
        assert shown.finish() == (2 if left else 0)
    assert history.rows("task") == left


@pytest.mark.parametrize("words", [(), ("1", "--failed"), ("1", "--older", "1d"), ("--older", "soon"), ("1/2",)])
def test_tasks_to_forget_are_named_in_one_way(history: History, words: tuple[str, ...]) -> None:
    history.add(MODERATED)
    history.close()
    assert history.program.run("forget", "--yes", *words).code == 2
    assert history.rows("task") == 1


def test_old_failed_tasks_of_a_run_are_chosen_and_favourites_stay(history: History) -> None:
    history.add(MODERATED, MODERATED, MODERATED, Done((history.picture("1.png"),)))
    history.add(MODERATED)
    with history.store._transaction():
        history.store._db.execute("UPDATE task SET created = created - 8000000 WHERE id IN (2, 3, 4, 5)")
    history.close()
    program = history.program
    assert program.run("favourite", "2").code == 0
    ended = program.run("forget", "--failed", "--older", "90d", "--run", "1", "--yes")
    assert ended.lines == ["3 forgotten"]
    assert "left alone, favourites: 2" in ended.err
    assert program.run("forget", "--older", "90d", "--yes").lines == ["4 forgotten", "5 forgotten"]


def test_only_files_that_are_certainly_ours_are_deleted(history: History) -> None:
    files = [history.picture(f"{number}.png") for number in range(1, 6)]
    history.add(Done(tuple(files)))
    history.close()
    Path(files[1]).write_bytes(b"edited by a person")
    Path(files[2]).unlink()
    Path(files[3]).unlink()
    Path(files[3]).symlink_to(files[1])
    ours, other = sidecar_paths(Path(files[0]))[0], sidecar_paths(Path(files[4]))[0]
    ours.write_text(sidecar_text(Marks(prompt="a cat"), sha256(Path(files[0]).read_bytes()).hexdigest()))
    other.write_text('{"mine": true}')
    ended = history.program.run("forget", "1", "--files", "--yes")
    assert ended.lines == ["1 forgotten, 2 pictures deleted, 3 left alone"]
    for text in ("it was changed after", "it is gone already", "it is no plain file"):
        assert text in ended.err
    assert sorted(path.name for path in history.folder.glob("*.*")) == ["2.png", "4.png", "5.json"]


def test_a_file_that_another_task_has_stays(history: History) -> None:
    path = history.picture("1.png")
    history.add(Done((path,)), Done((path,)))
    history.close()
    ended = history.program.run("forget", "1", "--files", "--yes")
    assert "another task has it as well" in ended.err
    assert Path(path).exists()
    assert history.program.run("forget", "2", "--files", "--yes").lines == ["2 forgotten, 1 picture deleted"]
    assert not Path(path).exists()


def test_a_picture_of_unknown_digest_stays(history: History) -> None:
    path = history.picture("1.png")
    history.add(Done((path,)))
    with history.store._transaction():
        history.store._db.execute("UPDATE picture SET sha256 = ''")
    history.close()
    with closing(sqlite3.connect(history.program.home / "history.db")) as db:
        db.execute("UPDATE picture SET sha256 = ''")
        db.commit()
    assert "does not know its SHA-256" in history.program.run("forget", "1", "--files", "--yes").err
    assert Path(path).exists()


# Together with others

WRITING = """
import sys, time
from pathlib import Path
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Cancelled, CancelOutcome, ImageRequest
from imagegen_cli.storage.records import Planned
from imagegen_cli.storage.store import Store

store = Store(Path(sys.argv[1]))
for _ in range(25):
    run, ids = store.reserve(4)
    request = ImageRequest(prompt="小猫 fox", provider="studio")
    values = {"name": "a", "request": request, "expected_images": 1, "folder": "/"}
    planned = [Planned(id=id_, identity=str(id_), **values) for id_ in ids]
    for task in store.start_run(run, "run", "", planned):
        store.record(TaskChanged(time.time(), task.to(Cancelled(CancelOutcome.NOT_SENT))))
sys.exit(len(store.close()))
"""


def test_reading_while_eight_processes_write_is_never_wrong(tmp_path: Path) -> None:
    program = Program(tmp_path)
    path = program.home / "history.db"
    Store(path).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITING, str(path)], cwd=Path(__file__).parents[1]) for _ in range(8)
    ]
    counts = []
    while any(writer.poll() is None for writer in writers):
        for words in (("list", "--json", "--limit", "9999"), ("list", "--search", "fox", "--json", "--limit", "9999")):
            ended = program.run(*words)
            assert ended.code in (0, 4), ended.err
            ids = [one["id"] for one in ended.objects]
            assert ids == sorted(set(ids), reverse=True)
            counts.append(len(ids))
        assert program.run("runs").code in (0, 4)
    assert [writer.wait() for writer in writers] == [0] * 8
    assert counts == sorted(counts), "what was there once stays"
    assert len(program.run("list", "--search", "小猫", "--json", "--limit", "9999").objects) == 800
