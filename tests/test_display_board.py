import math
import sys
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings, strategies as st

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import (
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskChanged,
    TaskDelayed,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.task import (
    ENDED,
    FOLLOWS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Job,
    Queued,
    RemoteImage,
    RunId,
    Running,
    SavedImage,
    Saving,
    State,
    Submitting,
    Task,
    TaskId,
    word,
)
from imagegen_cli.display.board import MAX_FRACTION, Board, Known, Row, guessed
from tests.doubles.pictures import Pictures

PATIENT = settings(deadline=None)
"""No deadline: the first example loads tables that later ones share."""

PICTURE = Pictures("png", (32, 24)).make("preview", 1)
JOB = Job("job")
REMOTE = RemoteImage("https://example.org/signed")


def task(number: int, state: State | None = None, prompt: str = "a lighthouse", *, model: str = "4.0") -> Task:
    request = ImageRequest(prompt=prompt, provider="dreamina", model=model, count=4)
    return Task(
        id=TaskId(number),
        run=RunId(1),
        request=request,
        state=state or Queued(),
        folder="out",
        name=f"{number}-{{index}}",
        expected_images=4,
    )


def started(*tasks: Task, at: float = 0.0) -> RunStarted:
    return RunStarted(at, RunId(1), tasks)


def board_with(*events: Event, **options: object) -> Board:
    board = Board(**options)  # type: ignore[arg-type]
    for event in events:
        board.tell(event)
    return board


def running(number: int, at: float = 0.0) -> list[Event]:
    return [TaskChanged(at, task(number, Submitting())), TaskChanged(at, task(number, Running(JOB)))]


def row_of(board: Board, number: int = 1) -> Row:
    return board.rows[TaskId(number)]


HOSTILE = [
    *"abc 123 [bold] {x} %s",
    *"\x00\x07\x08\t\n\r\x1b\x7f\x85\x9b",
    "\x1b[2J",
    "\x1b]0;title\x07",
    *"日落海滩。，　",
    *"…“”×°",
    *"שלוםعربي",
    *"\u200b\u200c\u200d\u200e\u202e\u2066\u2028\ufeff\ufe0f\u0301\u0489\u20e3",
    "👨‍👩‍👧‍👦",
    "👍🏽",
    "🇩🇪",
    "❤️",
    "1️⃣",
    "🏴\U000e0067\U000e007f",
    *"\ud800\udcff\ue000\U0010ffff\u0378",
    *"กำนิ",
]
texts = st.lists(st.sampled_from(HOSTILE), max_size=40).map("".join)

states: st.SearchStrategy[State] = st.one_of(
    st.just(Queued()),
    st.just(Submitting()),
    st.just(Running(JOB)),
    st.builds(
        lambda saved, rest: Saving(tuple([SavedImage("out/1.png")] * saved + [REMOTE] * rest), JOB),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.builds(lambda count, missing: Done(("out/1.png",) * count, missing), st.integers(0, 4), st.integers(0, 2)),
    st.builds(Failed, st.sampled_from(Reason), texts, st.sampled_from([None, JOB])),
    st.builds(Cancelled, st.sampled_from(CancelOutcome), st.sampled_from([None, JOB])),
)
numbers = st.integers(1, 6).map(TaskId)
fractions = st.one_of(st.none(), st.floats())


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events as a run may emit them: each task from state to state as FOLLOWS allows, in any order of tasks."""
    prompts = {number: draw(texts) for number in range(1, 7)}
    known = {TaskId(number): task(number, prompt=prompts[number]) for number in range(1, draw(st.integers(1, 6)) + 1)}
    events: list[Event] = [started(*known.values())]
    for at in range(draw(st.integers(0, 25))):
        number = draw(numbers)
        if number not in known:
            known[number] = task(number, prompt=prompts[number])
            events.append(TaskAdded(float(at), known[number]))
            continue
        match draw(st.integers(0, 3)):
            case 0:
                note = draw(texts)
                place = draw(st.one_of(st.none(), st.integers(0, 9)))
                working = Working(draw(fractions), place, note, draw(st.sampled_from([None, PICTURE, b"broken"])))
                events.append(TaskProgressed(float(at), number, working))
            case 1:
                events.append(TaskDelayed(float(at), number, 2, draw(st.floats(0, 100)), draw(texts)))
            case _:
                state = draw(states)
                if type(state) in FOLLOWS[type(known[number].state)]:
                    known[number] = known[number].to(state)
                    events.append(TaskChanged(float(at), known[number]))
    return events


@PATIENT
@given(histories())
def test_counts_agree_with_a_recount(events: list[Event]) -> None:
    board = board_with(*events)
    tasks = [row.task for row in board.rows.values()]
    assert Counter({name: count for name, count in board.counts.items() if count}) == Counter(
        word(each.state) for each in tasks
    )
    assert board.ended == sum(isinstance(each.state, ENDED) for each in tasks)
    assert +board.reasons == Counter(each.state.reason for each in tasks if isinstance(each.state, Failed))
    assert board.pictures == sum(len(each.files) for each in tasks if isinstance(each.state, ENDED))
    assert board.short == sum(isinstance(each.state, Done) and each.state.missing > 0 for each in tasks)
    assert set(board.resumable) == {each.id for each in tasks if fetchable(each.state)}
    order = [row.task.id for row in board.unfinished()]
    assert order[: len(board.delayed)] == [*board.delayed], "what needs attention comes first"
    assert order[len(order) - len(board.queued) :] == [*board.queued]
    assert board.busy == len(order) - len(board.queued)
    assert sorted(row.task.id for row in board.unfinished()) == sorted(
        each.id for each in tasks if not isinstance(each.state, ENDED)
    )


def fetchable(state: State) -> bool:
    if isinstance(state, Failed):
        return state.job is not None
    return (
        isinstance(state, Cancelled)
        and state.job is not None
        and state.stop not in (CancelOutcome.STOPPED, CancelOutcome.NOT_SENT)
    )


@PATIENT
@given(st.lists(fractions, min_size=1))
def test_a_told_fraction_never_runs_backwards_and_stays_a_fraction(values: list[float | None]) -> None:
    board = board_with(started(task(1)), *running(1))
    last = 0.0
    for fraction in values:
        board.tell(TaskProgressed(1.0, TaskId(1), Working(fraction)))
        _, shown = row_of(board).progress(2.0)
        assert last <= shown <= 1
        last = shown


def test_a_guess_never_reaches_the_end_and_never_runs_backwards() -> None:
    shown = [guessed(step / 100) for step in range(-10, 1000)]
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert 0.94 < shown[-1] <= 0.95
    assert math.isclose(guessed(0.5), 0.4)


def test_an_estimate_is_used_until_it_was_wrong_and_only_where_nothing_was_told() -> None:
    board = board_with(started(task(1)), *running(1), estimate=lambda _: 10.0)
    assert row_of(board).progress(5.0) == (Known.GUESSED, 0.4)
    assert row_of(board).progress(15.5)[0] is Known.NOTHING
    board.tell(TaskProgressed(2.5, TaskId(1), Working(0.25)))
    assert row_of(board).progress(3.0) == (Known.REPORTED, 0.25)


def test_a_guess_goes_on_from_where_it_was_after_a_queue_that_was_told_late() -> None:
    board = board_with(started(task(1)), *running(1), estimate=lambda _: 10.0)
    board.tell(TaskProgressed(5.0, TaskId(1), Working(queue_position=2)))
    assert row_of(board).progress(6.0)[0] is Known.NOTHING
    board.tell(TaskProgressed(7.0, TaskId(1), Working()))
    assert row_of(board).progress(8.0) == (Known.GUESSED, 0.4)
    assert row_of(board).progress(13.0)[1] > 0.4


def test_a_bar_waits_as_a_guess_for_a_service_that_tells_less() -> None:
    board = board_with(started(task(1)), *running(1), estimate=lambda _: 10.0)
    board.tell(TaskProgressed(5.0, TaskId(1), Working(0.1)))
    assert row_of(board).progress(9.0) == (Known.GUESSED, 0.4)
    board.tell(TaskProgressed(10.0, TaskId(1), Working(0.5)))
    assert row_of(board).progress(11.0) == (Known.REPORTED, 0.5)


working = st.builds(Working, fractions, st.one_of(st.none(), st.integers(0, 3)))


@PATIENT
@given(st.lists(st.tuples(st.floats(0, 20), working)), st.floats(0.1, 100))
def test_no_bar_runs_backwards_or_reaches_the_end(reports: list[tuple[float, Working]], estimate: float) -> None:
    board = board_with(started(task(1)), *running(1), estimate=lambda _: estimate)
    at, last = 0.0, 0.0
    for seconds, word_of_it in reports:
        for moment in (at, at + seconds / 2, at + seconds):
            known, shown = row_of(board).progress(moment)
            assert shown < 1
            assert known is Known.NOTHING or last <= shown
            last = shown
        at += seconds
        board.tell(TaskProgressed(at, TaskId(1), word_of_it))


def test_without_history_no_number_is_invented() -> None:
    for nothing in (None, 0.0, -1.0, math.nan, math.inf):
        board = board_with(started(task(1)), *running(1), estimate=lambda _, nothing=nothing: nothing)
        assert row_of(board).progress(5.0) == (Known.NOTHING, 0.0)


def test_an_estimate_counts_from_the_end_of_the_queue() -> None:
    board = board_with(started(task(1)), *running(1), estimate=lambda _: 10.0)
    board.tell(TaskProgressed(30.0, TaskId(1), Working(queue_position=3)))
    assert row_of(board).progress(31.0)[0] is Known.NOTHING
    board.tell(TaskProgressed(32.0, TaskId(1), Working()))
    assert row_of(board).progress(35.0) == (Known.GUESSED, 0.4)
    board.tell(TaskProgressed(36.0, TaskId(1), Working(queue_position=1)))
    assert row_of(board).progress(37.0)[1] > 0.4


def test_a_bar_is_nearly_full_while_pictures_are_brought_home_even_when_they_must_be_asked_for_again() -> None:
    board = board_with(started(task(1)), *running(1), TaskChanged(3.0, task(1, Saving((REMOTE,), JOB))))
    assert row_of(board).progress(4.0) == (Known.REPORTED, MAX_FRACTION)
    board.tell(TaskChanged(5.0, task(1, Running(JOB))))
    assert row_of(board).progress(6.0) == (Known.REPORTED, MAX_FRACTION)


def test_what_needs_attention_comes_first_and_goes_back_to_its_place() -> None:
    board = board_with(started(*map(task, range(1, 6))), *chain(*map(running, range(1, 5))))
    board.tell(TaskDelayed(1.0, TaskId(3), 1, 5.0, "HTTP 503"))
    assert [row.task.id for row in board.unfinished()] == [3, 1, 2, 4, 5]
    board.tell(TaskProgressed(2.0, TaskId(3), Working()))
    assert [row.task.id for row in board.unfinished()] == [1, 2, 3, 4, 5]


def test_a_task_that_was_sent_back_starts_its_clock_anew() -> None:
    board = board_with(started(task(1)), *running(1, at=1.0), TaskChanged(5.0, task(1)))
    assert row_of(board).elapsed(9.0) is None
    board.tell(TaskChanged(10.0, task(1, Submitting())))
    assert row_of(board).elapsed(12.0) == 2.0
    board.tell(TaskChanged(13.0, task(1, Done(("out/1.png",)))))
    assert row_of(board).elapsed(99.0) == 3.0


def previewed(number: int, preview: bytes | None, at: float = 2.0) -> TaskProgressed:
    return TaskProgressed(at, TaskId(number), Working(preview=preview))


def test_the_latest_preview_is_kept_while_a_task_runs() -> None:
    board = board_with(started(task(1)), *running(1), previewed(1, b"first"), previewed(1, b"second"), previews=1)
    assert row_of(board).preview == b"second"
    for event in (previewed(1, None), previewed(1, b""), TaskDelayed(3.0, TaskId(1), 1, 5.0, "HTTP 503")):
        board.tell(event)
    board.tell(TaskChanged(4.0, task(1, Saving((REMOTE,), JOB))))
    assert row_of(board).preview == b"second"


@pytest.mark.parametrize(
    "state", [Queued(), Done(("out/1.png",)), Failed(Reason.SERVER, ""), Cancelled(CancelOutcome.STOPPED)], ids=word
)
def test_a_preview_is_dropped_when_its_task_ends_or_is_sent_back(state: State) -> None:
    board = board_with(
        started(task(1)), *running(1), previewed(1, b"first"), TaskChanged(3.0, task(1, state)), previews=1
    )
    assert row_of(board).preview is None
    board.tell(previewed(1, b"late"))
    assert row_of(board).preview is None
    for event in [*running(1, at=5.0), previewed(1, b"again")]:
        board.tell(event)
    assert row_of(board).preview == b"again"


def test_only_so_many_previews_are_held_the_latest_told() -> None:
    board = board_with(started(*map(task, range(1, 5))), *chain(*map(running, range(1, 5))), previews=2)
    for event in (previewed(1, b"1"), previewed(2, b"2"), previewed(1, b"1 again"), previewed(3, b"3")):
        board.tell(event)
    assert [row_of(board, number).preview for number in range(1, 5)] == [b"1 again", None, b"3", None]
    board.tell(TaskChanged(3.0, task(3, Done(("out/3.png",)))))
    board.tell(previewed(4, b"4"))
    assert [row_of(board, number).preview for number in range(1, 5)] == [b"1 again", None, None, b"4"]


def test_a_delay_is_shown_until_the_next_sign_of_life() -> None:
    board = board_with(started(task(1), task(2)), TaskDelayed(1.0, TaskId(2), 2, 8.0, "HTTP 503"))
    assert [row.task.id for row in board.unfinished()] == [2, 1]
    board.tell(TaskChanged(9.0, task(2, Submitting())))
    assert row_of(board, 2).delay is None
    assert list(board.delayed) == []


def test_time_left_is_not_told_before_there_is_something_to_tell_it_from() -> None:
    board = board_with(started(*map(task, range(1, 11))))
    assert board.left(5.0) is None
    for number in (1, 2, 3, 4, 5):
        board.tell(TaskChanged(number - 1.0, task(number, Submitting())))
        board.tell(TaskChanged(float(number), task(number, Done(("x",)))))
    assert board.left(5.0) == 5.0


def test_a_run_lasts_until_it_has_finished() -> None:
    board = board_with(started(task(1), at=3.0))
    assert board.lasted(10.0) == 7.0
    board.tell(RunFinished(8.0, RunId(1)))
    assert board.lasted(10.0) == 5.0


def test_events_about_tasks_that_nobody_announced_change_nothing_or_add_them() -> None:
    board = board_with(
        TaskProgressed(1.0, TaskId(9), Working(0.5)), TaskDelayed(1.0, TaskId(9), 1, 1.0, ""), *running(4, at=2.0)
    )
    assert list(board.rows) == [4]


def test_a_task_costs_less_than_two_kilobytes() -> None:
    board = board_with(started(*map(task, range(1, 1001))))
    for number in range(1, 1001):
        for event in running(number):
            board.tell(event)
        board.tell(TaskProgressed(1.0, TaskId(number), Working(0.5, None, "note", preview=bytes(100_000))))
    assert row_of(board).preview is None
    tables = (board.rows, board.active, board.queued, board.delayed)
    each = sys.getsizeof(row_of(board)) + sum(map(sys.getsizeof, tables)) / 1000 + 10 * 32
    assert each < 2000
