import asyncio
import errno
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.session import exit_code
from imagegen_cli.core.durations import Durations, Span
from imagegen_cli.core.errors import (
    BadImage,
    BadRequest,
    Busy,
    DiskError,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    Reason,
    ServerTrouble,
    SlowDown,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
    UnusableImage,
)
from imagegen_cli.core.events import Event, RunFinished, RunStarted, TaskChanged, TaskDelayed, TaskLearned, Working
from imagegen_cli.core.marker import Marker
from imagegen_cli.core.provider import Accepted, Ready
from imagegen_cli.core.task import (
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
    TaskId,
    recovered,
)
from imagegen_cli.engine.lane import Lane
from imagegen_cli.engine.runner import Runner
from imagegen_cli.engine.scheduling import Gate
from imagegen_cli.engine.task_flow import MAX_DOWNLOAD_S, MAX_QUERIES_AT_ONCE, NameChosen
from imagegen_cli.net.download import Downloader
from imagegen_cli.net.image_files import whole
from tests.clock import run
from tests.scripted import Asleep, Scripted, Stage, png, ready

JOB = Job("job-1")
BUSY = Busy("queue full")


def after_run(provider: Scripted, folder: Path, **how: Any) -> Stage:
    stage = Stage(provider, folder, **how)
    run(stage.run_tasks(stage.task()))
    return stage


def failure(stage: Stage, id_: int = 1) -> Failed:
    state = stage.last[id_].state
    assert isinstance(state, Failed), state
    return state


def test_a_task_goes_from_submit_to_a_file(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(0.4), ready(2)], expected=2)
    stage = after_run(provider, tmp_path)
    assert stage.states() == ["Submitting", "Running", "Saving", "Saving", "Saving", "Saving", "Saving", "Done"]
    assert stage.files() == ["1-1.png", "1-2.png"]
    assert isinstance(stage.events[0], RunStarted)
    assert isinstance(stage.events[-1], RunFinished)
    assert provider.counts == {"submit": 1, "poll": 2}


def test_a_service_that_answers_with_the_pictures_needs_no_query(tmp_path: Path) -> None:
    provider = Scripted([ready(1)])
    stage = after_run(provider, tmp_path)
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts == {"submit": 1}


def test_fewer_pictures_than_asked_are_counted_apart(tmp_path: Path) -> None:
    stage = after_run(Scripted(polls=[ready(3, note="one was refused")], expected=4), tmp_path)
    assert stage.last[1].state == Done(stage.last[1].files, 1, "one was refused")


def test_no_picture_at_all_is_a_failure(tmp_path: Path) -> None:
    stage = after_run(Scripted(polls=[Ready(())]), tmp_path)
    assert failure(stage).reason is Reason.SERVER


@pytest.mark.parametrize("error", [GenerationFailed("no").as_final(), Moderated("no").as_final()])
def test_the_service_says_failed_and_it_fails_within_that_query(tmp_path: Path, error: TaskError) -> None:
    provider = Scripted(polls=[Working(), error])
    stage = after_run(provider, tmp_path)
    assert failure(stage) == Failed(error.reason, "no", JOB, final=True)
    assert not failure(stage).resumable
    assert not failure(stage).may_be_paid
    assert provider.counts["poll"] == 2


@pytest.mark.parametrize("error", [Unavailable("away"), ServerTrouble("500")])
def test_three_failed_queries_in_a_row_fail_the_task_and_keep_its_receipt(tmp_path: Path, error: TaskError) -> None:
    provider = Scripted(polls=[error, error, Working(), error, error, error])
    stage = after_run(provider, tmp_path)
    assert provider.counts["poll"] == 6
    assert failure(stage).reason is error.reason
    assert failure(stage).job == JOB
    assert failure(stage).resumable


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (BadRequest, Reason.SERVER),
        (Moderated, Reason.SERVER),
        (GenerationFailed, Reason.SERVER),
        (Expired, Reason.SERVER),
        (ServerTrouble, Reason.SERVER),
        (Unavailable, Reason.NETWORK),
        (Unauthorized, Reason.UNAUTHORIZED),
        (OutOfCredits, Reason.OUT_OF_CREDITS),
    ],
)
def test_whatever_fails_a_question_is_a_strike_unless_it_is_the_last_word_about_the_job(
    tmp_path: Path, kind: type[TaskError], reason: Reason
) -> None:
    provider = Scripted(polls=[kind("no"), kind("no"), Working(), *[kind("no", hint="do this")] * 3])
    stage = after_run(provider, tmp_path)
    assert provider.counts["poll"] == 6
    assert failure(stage) == Failed(
        reason, "3 status queries in a row failed: no", JOB, hint="do this", may_be_paid=True
    )
    assert failure(stage).resumable


def test_the_time_limit_fails_the_task_and_keeps_its_receipt(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(note="still at it")])
    stage = after_run(provider, tmp_path, timeout=300.0)
    assert failure(stage).reason is Reason.TIMEOUT
    assert failure(stage).job == JOB
    first, last = provider.at[0][1], provider.at[-1][1]
    assert 250 < last - first < 330


def test_waiting_in_the_queue_of_the_service_does_not_count(tmp_path: Path) -> None:
    polls = [Working(queue_position=9)] * 200 + [ready()]
    provider = Scripted(polls=polls)
    stage = after_run(provider, tmp_path, timeout=60.0, poll=5.0)
    assert isinstance(stage.last[1].state, Done)


def test_a_query_that_hangs_counts_as_failed(tmp_path: Path) -> None:
    provider = Scripted(polls=[Asleep(10_000.0)])
    stage = after_run(provider, tmp_path)
    assert failure(stage).reason is Reason.NETWORK
    assert provider.counts["poll"] == 3


def test_a_submit_that_never_left_is_sent_again(tmp_path: Path) -> None:
    provider = Scripted([Unavailable("refused"), Unavailable("refused"), Accepted(JOB)])
    stage = after_run(provider, tmp_path)
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts["submit"] == 3


def test_a_submit_that_never_leaves_fails_and_holds_nothing(tmp_path: Path) -> None:
    provider = Scripted([Unavailable("refused")])
    stage = after_run(provider, tmp_path)
    assert failure(stage) == Failed(Reason.NETWORK, "refused")
    assert provider.counts["submit"] == 4


def test_a_lost_answer_is_never_sent_again(tmp_path: Path) -> None:
    provider = Scripted([Uncertain("may have been accepted and charged")])
    stage = after_run(provider, tmp_path)
    assert failure(stage).reason is Reason.UNCERTAIN
    assert provider.counts == {"submit": 1}


def test_a_lost_answer_with_an_id_of_ours_is_looked_up(tmp_path: Path) -> None:
    provider = Scripted([Uncertain("lost")], polls=[Expired("unknown"), Working(), ready()], client_job=Job("ours"))
    stage = after_run(provider, tmp_path)
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts["submit"] == 1


def test_a_lost_answer_that_nobody_knows_of_stays_uncertain(tmp_path: Path) -> None:
    provider = Scripted([Uncertain("lost")], polls=[Expired("unknown")], client_job=Job("ours"))
    stage = after_run(provider, tmp_path)
    assert failure(stage).reason is Reason.UNCERTAIN
    assert provider.counts == {"submit": 1, "poll": 3}


def test_a_submit_without_an_answer_in_time_is_uncertain(tmp_path: Path) -> None:
    stage = after_run(Scripted([Asleep(1e6)]), tmp_path, timeout=60.0)
    assert failure(stage).reason is Reason.UNCERTAIN
    assert "charged" in failure(stage).message


def test_a_bug_in_a_provider_is_said_with_its_name_and_ends_one_task(tmp_path: Path) -> None:
    provider = Scripted([KeyError("images"), Accepted(Job("job-2"))])
    stage = Stage(provider, tmp_path, limit=1)
    run(stage.run_tasks(stage.task(1), stage.task(2)))
    assert failure(stage).reason is Reason.BUG
    assert "scripted" in failure(stage).message
    assert isinstance(stage.last[2].state, Done)


def test_a_bad_key_is_sent_once_for_five_hundred_tasks(tmp_path: Path) -> None:
    provider = Scripted([Asleep(0.3, Unauthorized("401"))])
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(*(stage.task(number) for number in range(1, 501))))
    assert provider.counts == {"submit": 1}
    assert {failure(stage, number).reason for number in range(1, 501)} == {Reason.UNAUTHORIZED}


@pytest.mark.parametrize("error", [Unauthorized("401"), OutOfCredits("402")])
def test_a_key_that_dies_while_a_task_runs_keeps_the_receipt(tmp_path: Path, error: TaskError) -> None:
    stage = after_run(Scripted(polls=[error]), tmp_path)
    assert failure(stage).job == JOB


@pytest.mark.parametrize("error", [RateLimited("slow down", after=7.0), Busy("queue full", after=7.0)])
def test_a_refusal_shuts_the_lane_for_everyone_and_fails_nobody(tmp_path: Path, error: TaskError) -> None:
    provider = Scripted([error, lambda one: Accepted(Job(f"job-{one.counts['submit']}"))])
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(*(stage.task(number) for number in range(1, 6))))
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    submits = [at for name, at in provider.at if name == "submit"]
    assert min(submits[1:]) - submits[0] >= 7.0
    delayed = [event for event in stage.events if isinstance(event, TaskDelayed)]
    assert len(delayed) == 1
    assert re.fullmatch(rf"{error.message} \(tried until \d\d:\d\d\)", delayed[0].because)


PATIENCE = [(300.0, 900.0, 900.0), (1200.0, 900.0, 1200.0), (300.0, 60.0, 300.0)]
"""The task's own limit, the time that the settings give a busy service, and when it is given up."""


@pytest.mark.parametrize("after", [None, 1.0, 7000.0])
@pytest.mark.parametrize(("timeout", "busy", "until"), PATIENCE)
def test_a_service_that_refuses_for_ever_is_given_up_by_all_that_wait(
    tmp_path: Path, timeout: float, busy: float, until: float, after: float | None
) -> None:
    provider = Scripted([RateLimited("slow down", after=after)])
    stage = Stage(provider, tmp_path, timeout=timeout)
    stage.lane.busy_timeout = busy

    async def go() -> float:
        began = asyncio.get_running_loop().time()
        await stage.run_tasks(*(stage.task(number) for number in range(1, 41)))
        return asyncio.get_running_loop().time() - began

    assert until - 2.0 <= run(go()) <= until + 2.0
    assert {failure(stage, number).reason for number in range(1, 41)} == {Reason.RATE_LIMITED}
    assert all(f"refused for {until / 60:.0f} min: slow down" in failure(stage, number).message for number in (1, 40))


def test_what_is_added_after_a_service_was_given_up_is_tried(tmp_path: Path) -> None:
    steps = Scripted([lambda provider: Accepted(JOB) if provider.at[-1][1] - provider.at[0][1] > 1000.0 else BUSY])
    typed = asyncio.Event()
    stage = Stage(steps, tmp_path, complete=typed.wait)

    async def go() -> None:
        asyncio.get_running_loop().call_later(1100.0, stage.runner.add, stage.task(2))
        asyncio.get_running_loop().call_later(1100.0, typed.set)
        await stage.run_tasks(stage.task(1))

    run(go())
    assert failure(stage).reason is Reason.BUSY
    assert isinstance(stage.last[2].state, Done)


def test_a_service_that_is_given_up_hands_its_unsent_tasks_to_the_others(tmp_path: Path) -> None:
    full, free = Scripted([BUSY]), Scripted(polls=[*[Working()] * 60, ready()])
    stage = spread(tmp_path, full, free, tasks=40)
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert {task.request.provider for task in stage.last.values()} == {"p1"}


def test_too_many_queries_are_no_failed_queries(tmp_path: Path) -> None:
    provider = Scripted(polls=[RateLimited("slow", after=3.0)] * 5 + [ready()])
    stage = after_run(provider, tmp_path)
    assert isinstance(stage.last[1].state, Done)
    delayed = [event for event in stage.events if isinstance(event, TaskDelayed)]
    assert [event.attempt for event in delayed] == [1, 2, 3, 4, 5]
    assert all(re.fullmatch(r"slow \(tried until \d\d:\d\d\)", event.because) for event in delayed)


@pytest.mark.parametrize("after", [None, 1.0, 7000.0])
@pytest.mark.parametrize(("timeout", "busy", "until"), PATIENCE)
def test_queries_that_are_refused_for_ever_fail_the_task_and_keep_its_receipt(
    tmp_path: Path, timeout: float, busy: float, until: float, after: float | None
) -> None:
    provider = Scripted(polls=[Working(), RateLimited("slow", after=after)])
    stage = Stage(provider, tmp_path, timeout=timeout)
    stage.lane.busy_timeout = busy
    run(stage.run_tasks(stage.task()))
    assert failure(stage).reason is Reason.RATE_LIMITED
    assert failure(stage).job == JOB
    polls = [at for name, at in provider.at if name == "poll"]
    assert until - 2.0 <= polls[-1] - polls[1] <= until + 2.0


def lasted(stage: Stage) -> list[Span | None]:
    """The spans that were measured, one for each job that became ready."""
    changes = [event for event in stage.events if isinstance(event, TaskChanged)]
    saving = [isinstance(event.task.state, Saving) for event in changes]
    return [event.lasted for event, before, now in zip(changes, [False, *saving], saving, strict=False) if now > before]


class Lasts(Scripted):
    """Ready, or at its `end`, so many seconds after it was accepted."""

    def __init__(self, seconds: float, end: Any = None) -> None:
        super().__init__()
        self.seconds, self.end = seconds, end

    async def submit(self, request: Any, client_job: Any, report: Any) -> Accepted | Ready:
        reply = await super().submit(request, client_job, report)
        self.begun = asyncio.get_running_loop().time()
        return reply

    async def poll(self, job: Job, report: Any) -> Working | Ready:
        over = asyncio.get_running_loop().time() - self.begun >= self.seconds
        self.steps["poll"] = [(self.end or ready()) if over else Working()]
        return await super().poll(job, report)


@pytest.mark.parametrize("known", [(), (60.0,) * 50, (*(60.0,) * 49, 30_000.0)], ids=["none", "60 s", "an outlier"])
@pytest.mark.parametrize("seconds", [1.0, 10.0, 30.0])
def test_a_failure_is_seen_soon_whatever_earlier_tasks_took(
    tmp_path: Path, seconds: float, known: tuple[float, ...]
) -> None:
    provider = Lasts(seconds, GenerationFailed("no").as_final())
    stage = Stage(provider, tmp_path, known=Durations(Span(each, each) for each in known))
    run(stage.run_tasks(stage.task()))
    assert failure(stage).final
    assert provider.at[-1][1] - provider.begun - seconds <= max(3.0, 0.3 * seconds)


def test_the_duration_is_what_lies_between_the_last_two_looks(tmp_path: Path) -> None:
    provider = Lasts(10.0)
    stage = after_run(provider, tmp_path)
    (span,) = lasted(stage)
    looks = [at - provider.begun for name, at in provider.at if name == "poll"]
    assert span == pytest.approx(looks[-2:], abs=0.1)


def test_a_submit_that_brings_the_pictures_is_measured_exactly(tmp_path: Path) -> None:
    (span,) = lasted(after_run(Scripted([Asleep(7.0, ready())]), tmp_path))
    assert span == pytest.approx((7.0, 7.0), abs=0.1)


def test_the_queue_of_the_service_is_no_part_of_the_duration(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(queue_position=2)] * 9 + [Working()] * 5 + [ready()])
    (span,) = lasted(after_run(provider, tmp_path))
    looks = [at for name, at in provider.at if name == "poll"]
    assert span == pytest.approx((looks[13] - looks[9], looks[14] - looks[8]), abs=0.1)


def test_a_resumed_task_is_asked_for_soon_and_not_measured(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(), Working(), ready()])
    stage = Stage(provider, tmp_path, known=Durations([Span(60.0, 60.0)] * 50))

    async def go() -> float:
        began = asyncio.get_running_loop().time()
        await stage.run_tasks(stage.task(1, Running(JOB)))
        return asyncio.get_running_loop().time() - began

    assert run(go()) < 3.0
    assert lasted(stage) == [None]


def test_pictures_that_are_asked_for_anew_are_not_measured_again(tmp_path: Path) -> None:
    async def gone(_: Any) -> Any:
        raise Expired("gone")

    first = Ready((RemoteImage("http://127.0.0.1/1.png"),))
    provider = Scripted(polls=[Working(), first, ready()])
    stage = Stage(provider, tmp_path, fetch=gone, known=Durations([Span(60.0, 60.0)] * 50))
    run(stage.run_tasks(stage.task()))
    measured = lasted(stage)
    assert measured[0] is not None
    assert measured[1:] == [None]
    assert provider.at[-1][1] - provider.at[-2][1] < 1.0


@pytest.mark.parametrize("polls", [[RateLimited("slow", after=9.0), ready()], [Working(), BUSY, Working(), ready()]])
def test_a_task_whose_queries_were_refused_is_not_measured(tmp_path: Path, polls: list[Any]) -> None:
    assert lasted(after_run(Scripted(polls=polls), tmp_path)) == [None]


@pytest.mark.parametrize("provider", [Lasts(30.0), Scripted([Asleep(30.0, ready())])], ids=["queries", "one answer"])
def test_a_process_that_was_stopped_measures_nothing(tmp_path: Path, provider: Scripted) -> None:
    """Ctrl-Z: when it goes on, the clock has jumped."""
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.call_later(10.0, lambda: setattr(loop, "_now", loop._now + 3600.0))
        await stage.run_tasks(stage.task())

    run(go())
    assert isinstance(stage.last[1].state, Done)
    assert lasted(stage) == [None]


def test_a_query_has_its_time_from_when_it_is_sent(tmp_path: Path) -> None:
    """Each takes 50 s of the 60 that it may, and only so many are on their way at once."""
    provider = Scripted(polls=[Asleep(50.0, ready())])
    stage = Stage(provider, tmp_path)
    run(
        stage.run_tasks(
            *(stage.task(number, Running(Job(f"job-{number}"))) for number in range(1, 3 * MAX_QUERIES_AT_ONCE))
        )
    )
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert not [event for event in stage.events if isinstance(event, TaskDelayed)]


def test_very_many_cancels_are_all_sent_a_few_at_a_time(tmp_path: Path) -> None:
    """The time limit of each task counts from its submit."""
    inside, high = 0, 0

    class Slow(Scripted):
        async def cancel(self, job: Job) -> CancelOutcome:
            nonlocal inside, high
            inside += 1
            high = max(high, inside)
            await asyncio.sleep(3.0)
            inside -= 1
            return CancelOutcome.STOPPED

    stage = Stage(Slow(polls=[Working()]), tmp_path)
    ids = [TaskId(number) for number in range(1, 3 * MAX_QUERIES_AT_ONCE)]

    async def go() -> None:
        asyncio.get_running_loop().call_later(0.1, stage.runner.cancel, ids)
        await stage.run_tasks(*(stage.task(id_, Running(Job(f"job-{id_}"))) for id_ in ids))

    run(go())
    assert {task.state for task in stage.last.values()} == {Cancelled(CancelOutcome.STOPPED)}
    assert high <= MAX_QUERIES_AT_ONCE


class ThreeAtOnce(Scripted):
    """A service that takes three and refuses the fourth."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: set[str] = set()
        self.refused = 0

    async def submit(self, request: Any, client_job: Any, report: Any) -> Accepted:
        self.counts["submit"] += 1
        job = Job(f"job-{self.counts['submit']}")
        await asyncio.sleep(0.05)
        if len(self.inside) >= 3:
            self.refused += 1
            raise Busy("queue full")
        self.inside.add(job.id)
        return Accepted(job)

    async def poll(self, job: Job, report: Any) -> Working | Ready:
        self.counts[job.id] += 1
        if self.counts[job.id] < 4:
            return Working()
        self.inside.discard(job.id)
        return ready()


def test_a_service_that_allows_three_completes_a_hundred_with_few_refusals(tmp_path: Path) -> None:
    provider = ThreeAtOnce()
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(*(stage.task(number) for number in range(1, 101))))
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert provider.refused <= 20
    assert len(stage.files()) == 100


def test_nothing_is_sent_before_its_row_is_durable(tmp_path: Path) -> None:
    async def full() -> None:
        raise DiskError("no space left")

    provider = Scripted()
    refused: list[tuple[TaskId, str]] = []

    def unrecorded(id_: TaskId, error: DiskError) -> None:
        refused.append((id_, error.message))

    stage = after_run(provider, tmp_path, flush=full, unrecorded=unrecorded)
    assert stage.last[1].state == Queued(), "nothing was sent, and in the history it waits"
    assert refused == [(TaskId(1), "no space left")]
    assert provider.counts == {}


def test_where_a_run_stays_open_a_submit_is_tried_until_the_history_takes_it(tmp_path: Path) -> None:
    left = 3

    async def full_for_a_while() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise DiskError("no space left")

    provider = Scripted()
    stage = after_run(provider, tmp_path, flush=full_for_a_while, unrecorded=lambda _id, _error: 2.0)
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts["submit"] == 1
    assert stage.seconds >= 6.0
    assert {event.because for event in stage.events if isinstance(event, TaskDelayed)} == {"no space left"}


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "kept"])
def test_a_task_that_another_process_has_is_not_said_to_have_failed(tmp_path: Path, *, is_lost: bool) -> None:
    """The name of a picture cannot be written; the next answer of the history tells whose the task is."""
    refusals: list[DiskError] = []
    heard: list[str] = []

    async def refused_before_the_name() -> None:
        if isinstance(stage.last[1].state, Saving) and len(refusals) < 2:
            refusals.append(DiskError("no answer"))
            raise refusals[-1]

    def announce(event: Event) -> None:
        if isinstance(event, TaskChanged):
            heard.append(type(event.task.state).__name__)

    stage = Stage(
        Scripted(polls=[ready()]),
        tmp_path,
        flush=refused_before_the_name,
        owns=lambda _: not (is_lost and len(refusals) == 2),
        announce=announce,
    )
    run(stage.run_tasks(stage.task()))
    assert len(refusals) == 2
    assert ("Failed" in heard) is not is_lost
    assert failure(stage).job == JOB, "as it is recorded: a receipt is kept"


def test_a_receipt_that_cannot_be_written_is_carried_on_all_the_same(tmp_path: Path) -> None:
    calls = 0

    async def full_after_the_submit() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DiskError("no space left")

    stage = after_run(Scripted(), tmp_path, flush=full_after_the_submit)
    assert isinstance(stage.last[1].state, Done)


def test_pictures_that_cannot_be_written_keep_the_receipt(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where the folder should be")
    stage = after_run(Scripted(), tmp_path / "folder")
    assert failure(stage).reason is Reason.DISK
    assert failure(stage).job == JOB


def test_one_bad_picture_never_costs_the_others_and_keeps_the_receipt(tmp_path: Path) -> None:
    images = (InlineImage(png("a")), InlineImage(b"<html>not a picture</html>"), InlineImage(png("c")))
    stage = after_run(Scripted(polls=[Ready(images)], expected=3), tmp_path)
    state = failure(stage)
    assert (state.reason, state.job, state.resumable) == (Reason.BAD_IMAGE, JOB, True)
    assert "web page" in state.message
    assert stage.files() == ["1-1.png", "1-3.png"] == [Path(path).name for path in stage.last[1].files]
    assert stage.seconds < 10.0, "what came inside an answer does not become another by waiting"


class Downloads(Downloader):
    """Answers for each address in order what a test has laid there: bytes or an error; the last goes on for ever."""

    def __init__(self, **laid: list[Any]) -> None:
        super().__init__(None)
        self.laid = laid
        self.tries = Counter[str]()

    async def stage(
        self, image: InlineImage | RemoteImage, stem: Path, part: Path, marker: Marker | None = None
    ) -> StagedImage:
        if isinstance(image, RemoteImage):
            self.tries[image.url] += 1
            answers = self.laid[image.url]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            image = InlineImage(answer)
        return await super().stage(image, stem, part, marker)


def named(*urls: str, note: str = "") -> Ready:
    return Ready(tuple(RemoteImage(url) for url in urls), note)


PASSING = [
    ("a web page for some minutes", BadImage("the service sent a web page where a picture was due")),
    ("a server in trouble", ServerTrouble("a picture could not be fetched (HTTP 502)")),
    ("a connection that breaks", Unavailable("a picture did not arrive whole: 5 of 10 bytes")),
    ("too many downloads", RateLimited("too many downloads at once (HTTP 429)")),
    ("too many open files", Busy("too many files are open at once")),
]


@pytest.mark.parametrize(("why", "error"), PASSING, ids=[why for why, _ in PASSING])
def test_a_download_is_tried_for_minutes_with_growing_pauses(tmp_path: Path, why: str, error: TaskError) -> None:
    saver = Downloads(one=[png("1")], two=[error] * 7 + [png("2")])
    stage = after_run(Scripted(polls=[named("one", "two")], expected=2), tmp_path, saver=saver)
    assert isinstance(stage.last[1].state, Done), why
    assert saver.tries == {"one": 1, "two": 8}
    pauses = [event.seconds for event in stage.events if isinstance(event, TaskDelayed)]
    assert 60 < sum(pauses) < MAX_DOWNLOAD_S
    assert pauses[0] < 2
    assert pauses[-1] > 10
    assert len(set(pauses)) == len(pauses), "they are jittered"


@pytest.mark.parametrize(("why", "error"), PASSING, ids=[why for why, _ in PASSING])
def test_pictures_that_were_named_and_never_came_keep_the_task_resumable(
    tmp_path: Path, why: str, error: TaskError
) -> None:
    saver = Downloads(one=[png("1")], two=[error])
    stage = after_run(Scripted(polls=[named("one", "two")], expected=2), tmp_path, saver=saver)
    state = failure(stage)
    assert (state.reason, state.job, state.resumable) == (error.reason, JOB, True), why
    assert [type(image) for image in state.images] == [SavedImage, RemoteImage]
    assert exit_code(stage.last.values()) == 5
    assert MAX_DOWNLOAD_S * 0.9 < stage.seconds < MAX_DOWNLOAD_S + 60
    saver.laid["two"] = [png("2")]
    again = Stage(Scripted(), tmp_path, saver=saver)
    run(again.run_tasks(recovered(stage.last[1])))
    assert isinstance(again.last[1].state, Done)
    assert again.provider.counts == {}, "nothing is asked for that is known"
    assert again.files() == ["1-1.png", "1-2.png"]


def test_a_picture_at_an_address_that_is_none_fails_at_once_and_keeps_the_receipt(tmp_path: Path) -> None:
    saver = Downloads(one=[UnusableImage("an address that is not http")])
    stage = after_run(Scripted(polls=[named("one")]), tmp_path, saver=saver)
    assert (failure(stage).reason, failure(stage).job) == (Reason.BAD_IMAGE, JOB)
    assert saver.tries["one"] == 1


def test_a_service_that_made_fewer_is_done(tmp_path: Path) -> None:
    saver = Downloads(one=[png("1")])
    stage = after_run(Scripted(polls=[named("one", note="one was refused")], expected=2), tmp_path, saver=saver)
    assert stage.last[1].state == Done(stage.last[1].files, 1, "one was refused")


def test_one_expired_address_among_other_troubles_is_asked_for_anew(tmp_path: Path) -> None:
    saver = Downloads(one=[BadImage("text")], two=[Expired("HTTP 403")], fresh=[png("1")], new=[png("2")])
    provider = Scripted(polls=[named("one", "two"), named("fresh", "new")])
    stage = after_run(provider, tmp_path, saver=saver)
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts["submit"] == 1


def test_what_nothing_can_be_said_of_is_done_with_a_note_and_its_receipt(tmp_path: Path) -> None:
    class Doubtful(Downloads):
        async def publish(
            self, held: StagedImage, stem: Path, chosen: NameChosen, marker: Marker | None = None
        ) -> SavedImage:
            return replace(await super().publish(held, stem, chosen, marker), doubt="it may be cut")

    stage = after_run(Scripted(polls=[named("one")]), tmp_path, saver=Doubtful(one=[png("1")]))
    assert stage.last[1].state == Done(stage.last[1].files, 0, "it may be cut", JOB)


class Full(Downloader):
    """A folder in which the first `times` writes fail."""

    def __init__(self, times: int, **how: Any) -> None:
        super().__init__(None, **how)
        self.times = times

    async def stage(
        self, image: InlineImage | RemoteImage, stem: Path, part: Path, marker: Marker | None = None
    ) -> StagedImage:
        self.times -= 1
        if self.times >= 0:
            raise DiskError("cannot write: No space left on device")
        return await super().stage(image, stem, part, marker)


def test_what_only_this_process_has_waits_for_the_disk(tmp_path: Path) -> None:
    stage = after_run(Scripted([ready()]), tmp_path, saver=Full(6))
    assert isinstance(stage.last[1].state, Done)
    delayed = [event for event in stage.events if isinstance(event, TaskDelayed)]
    assert {event.because for event in delayed} == {"cannot write: No space left on device"}


def test_what_a_full_disk_lost_without_a_receipt_may_be_paid(tmp_path: Path) -> None:
    stage = after_run(Scripted([ready()]), tmp_path, saver=Full(10**6))
    state = failure(stage)
    assert (state.reason, state.resumable, bool(state.images)) == (Reason.DISK, False, True)
    assert stage.seconds > MAX_DOWNLOAD_S * 0.9


def test_a_picture_held_in_the_second_place_is_brought_by_a_later_resume(tmp_path: Path) -> None:
    folder, second = tmp_path / "folder", tmp_path / "second"
    folder.write_text("a file where the folder should be", encoding="ascii")
    stage = after_run(Scripted([ready(2)], expected=2), folder, saver=Downloader(None, fallback_folder=second))
    state = failure(stage)
    assert (state.reason, state.resumable, exit_code(stage.last.values())) == (Reason.DISK, True, 5)
    assert f"the picture is kept in {second}" in state.message
    folder.unlink()
    again = Stage(Scripted(), folder, saver=Downloader(None, fallback_folder=second))
    run(again.run_tasks(recovered(stage.last[1])))
    assert isinstance(again.last[1].state, Done)
    assert again.files() == ["1-1.png", "1-2.png"]
    assert list(second.iterdir()) == []


def test_a_part_file_that_is_gone_is_asked_for_anew(tmp_path: Path) -> None:
    provider = Scripted()
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(stage.task(1, Saving((StagedImage(str(tmp_path / "gone")),), JOB))))
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts == {"poll": 1}


def test_pictures_that_were_adopted_are_not_fetched_again(tmp_path: Path) -> None:
    saver = Downloads(two=[png("2")])
    stage = Stage(Scripted(polls=[named("one", "two")]), tmp_path, saver=saver)
    task = stage.task(1, Running(JOB))
    task.part(1).write_bytes(png("1"))
    run(stage.run_tasks(recovered(task, whole({1: [task.part(1)]}))))
    assert isinstance(stage.last[1].state, Done)
    assert saver.tries == {"two": 1}


def test_only_bad_pictures_are_a_failure(tmp_path: Path) -> None:
    stage = after_run(Scripted(polls=[Ready((InlineImage(b"<html>"),))]), tmp_path)
    assert failure(stage).reason is Reason.BAD_IMAGE
    assert stage.files() == []


def test_a_picture_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "1-1.png").write_bytes(b"mine")
    stage = after_run(Scripted(), tmp_path)
    assert (tmp_path / "1-1.png").read_bytes() == b"mine"
    assert stage.last[1].files == (str(tmp_path / "1-1~2.png"),)


def test_resuming_starts_from_the_stored_state_and_never_submits(tmp_path: Path) -> None:
    provider = Scripted()
    stage = Stage(provider, tmp_path)
    saved = SavedImage(str(tmp_path / "1-1.png"))
    Path(saved.path).write_bytes(png("kept"))
    tasks = [
        stage.task(1, Running(JOB, (saved,))),
        stage.task(2, Running(Job("job-2"))),
        stage.task(3, Saving((InlineImage(png("3")),), Job("job-3"))),
    ]
    run(stage.run_tasks(*tasks))
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert provider.counts == {"poll": 2}
    assert Path(saved.path).read_bytes() == png("kept")


def stopped(provider: Scripted, folder: Path, after: float) -> Stage:
    """Cancel task 1 after so many virtual seconds."""
    stage = Stage(provider, folder, limit=1)

    async def go() -> None:
        asyncio.get_running_loop().call_later(after, stage.runner.cancel, [TaskId(1)])
        await stage.run_tasks(stage.task())

    run(go())
    return stage


def test_a_cancel_before_the_first_step_is_heard(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working()], cancels=[CancelOutcome.STOPPED])
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        asyncio.get_running_loop().call_soon(stage.runner.cancel, [TaskId(1), TaskId(2)])
        await stage.run_tasks(stage.task(1, Running(JOB)), stage.task(2))

    run(go())
    assert [stage.last[id_].state for id_ in (1, 2)] == [
        Cancelled(CancelOutcome.STOPPED),
        Cancelled(CancelOutcome.NOT_SENT),
    ]
    assert provider.counts == {"cancel": 1}


SLOW = Asleep(2.0)
CANCELS = [
    # moment, submits, polls, cancels, outcome afterwards, receipt kept, queries
    ("while submitting, answered in time", [SLOW], [Working()],
     [CancelOutcome.STOPPED], 1.0, CancelOutcome.STOPPED, False),
    ("while submitting, cannot cancel", [SLOW], [Working()], [CancelOutcome.GOES_ON], 1.0, CancelOutcome.GOES_ON, True),
    ("while submitting, refused then", [Asleep(2.0, Busy("full"))], [], [], 1.0, CancelOutcome.NOT_SENT, False),
    ("while submitting, never answered", [Asleep(1e6)], [], [], 1.0, CancelOutcome.GOES_ON, False),
    ("running, can stop", [], [Working()], [CancelOutcome.STOPPED], 5.0, CancelOutcome.STOPPED, False),
    ("running, may ignore it", [], [Working()], [CancelOutcome.REQUESTED], 5.0, CancelOutcome.REQUESTED, True),
    ("running, ignores and then refuses", [], [Working()] * 4 + [GenerationFailed("gone").as_final()],
     [CancelOutcome.REQUESTED], 1.5, CancelOutcome.STOPPED, False),
    ("running, cannot cancel", [], [Working()], [CancelOutcome.GOES_ON], 5.0, CancelOutcome.GOES_ON, True),
    ("running, cancel breaks", [], [Working()], [RuntimeError("boom")], 5.0, CancelOutcome.GOES_ON, True),
    ("running, cancel hangs", [], [Working()], [Asleep(1e6)], 5.0, CancelOutcome.GOES_ON, True),
    ("running, queued there only", [], [Working(queue_position=3)],
     [CancelOutcome.STOPPED], 5.0, CancelOutcome.STOPPED, False),
]  # fmt: skip


@pytest.mark.parametrize(("moment", "submits", "polls", "cancels", "after", "stop", "kept"), CANCELS)
def test_a_cancel_says_what_is_true(
    tmp_path: Path, moment: str, submits: Any, polls: Any, cancels: Any, after: float, stop: CancelOutcome, kept: bool
) -> None:
    stage = stopped(Scripted(submits, polls, cancels), tmp_path, after)
    state = stage.last[1].state
    assert isinstance(state, Cancelled), moment
    assert state.stop is stop
    assert (state.job is not None) is kept
    assert stage.files() == []


def test_a_cancel_before_the_submit_sends_nothing(tmp_path: Path) -> None:
    provider = Scripted([RateLimited("later", after=60.0)])
    stage = stopped(provider, tmp_path, 5.0)
    assert stage.last[1].state == Cancelled(CancelOutcome.NOT_SENT)
    assert provider.counts == {"submit": 1}


def test_a_cancel_that_comes_too_late_keeps_the_pictures(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(), Working(), ready()], cancels=[CancelOutcome.TOO_LATE])
    stage = stopped(provider, tmp_path, 0.95)
    assert isinstance(stage.last[1].state, Done)
    assert stage.files() == ["1-1.png"]


def test_dropping_a_local_drawing_really_stops_it(tmp_path: Path) -> None:
    stage = stopped(Scripted([Asleep(100.0)], dropped=True), tmp_path, 1.0)
    assert stage.last[1].state == Cancelled(CancelOutcome.STOPPED)


def test_a_stop_waits_for_receipts_and_cancels_what_runs(tmp_path: Path) -> None:
    provider = Scripted([Accepted(Job("a")), SLOW], polls=[Working()], cancels=[CancelOutcome.STOPPED])
    stage = Stage(provider, tmp_path, limit=2)

    async def go() -> None:
        asyncio.get_running_loop().call_later(1.5, stage.runner.stop, "Ctrl-C")
        await stage.run_tasks(*(stage.task(number) for number in (1, 2, 3)))

    run(go())
    stops = [state.stop for task in stage.last.values() if isinstance(state := task.state, Cancelled)]
    assert stops == [CancelOutcome.STOPPED, CancelOutcome.STOPPED, CancelOutcome.NOT_SENT]
    assert provider.counts["cancel"] == 2


def test_draining_lets_what_was_sent_finish_and_sends_nothing_more(tmp_path: Path) -> None:
    provider = Scripted([Accepted(Job("a")), Accepted(Job("b")), ready()], polls=[Working(), Working(), ready()])
    stage = Stage(provider, tmp_path, limit=2)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, stage.runner.drain)
        loop.call_later(0.6, lambda: stage.runner.add(stage.task(5)))
        await stage.run_tasks(*(stage.task(number) for number in (1, 2, 3, 4)))

    run(go())
    states = [stage.last[number].state for number in (1, 2, 3, 4, 5)]
    assert [type(state) for state in states[:2]] == [Done, Done]
    assert states[2:] == [Cancelled(CancelOutcome.NOT_SENT)] * 3
    assert (provider.counts["submit"], provider.counts["cancel"]) == (2, 0)
    assert isinstance(stage.events[-1], RunFinished)


@pytest.mark.parametrize("error", [Busy("busy", after=5.0), Unavailable("no way there")], ids=["busy", "unsent"])
def test_what_comes_back_while_a_run_drains_is_not_sent_again(tmp_path: Path, error: TaskError) -> None:
    provider = Scripted([Asleep(1.0, error)])
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        asyncio.get_running_loop().call_later(0.5, stage.runner.drain)
        await stage.run_tasks(stage.task())

    run(go())
    assert stage.last[1].state == Cancelled(CancelOutcome.NOT_SENT)
    assert provider.counts["submit"] == 1


def test_a_run_that_is_held_back_can_drain(tmp_path: Path) -> None:
    provider = Scripted()
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        stage.runner.pause(True)
        asyncio.get_running_loop().call_later(0.5, stage.runner.drain)
        await stage.run_tasks(stage.task(1), stage.task(2))

    run(go())
    assert [task.state for task in stage.last.values()] == [Cancelled(CancelOutcome.NOT_SENT)] * 2
    assert provider.counts["submit"] == 0


class Stuck(Downloader):
    """Saver that never writes a picture to the disk."""

    async def publish(
        self, held: StagedImage, stem: Path, chosen: NameChosen, marker: Marker | None = None
    ) -> SavedImage:
        await asyncio.sleep(1e6)
        return await super().publish(held, stem, chosen, marker)


def test_leaving_at_once_waits_for_no_picture_that_a_stop_still_found(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(), Working(), ready()], cancels=[CancelOutcome.TOO_LATE])
    stage = Stage(provider, tmp_path, saver=Stuck(None))

    async def go() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        main = asyncio.ensure_future(stage.run_tasks(stage.task()))
        loop.call_later(0.95, stage.runner.stop, "Ctrl-C")
        loop.call_later(5.0, main.cancel)
        await asyncio.wait([main])
        return loop.time() - began

    assert run(go()) < 6.0
    assert isinstance(stage.last[1].state, Saving)


@pytest.mark.parametrize("more", [True, False], ids=["one more", "nothing"])
def test_a_run_waits_for_whoever_is_about_to_add(tmp_path: Path, more: bool) -> None:
    typed = asyncio.Event()
    stage = Stage(Scripted(), tmp_path, complete=typed.wait)

    async def go() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if more:
            loop.call_later(60.0, stage.runner.add, stage.task(2))
        loop.call_later(60.0, typed.set)
        await stage.run_tasks(stage.task())
        return loop.time() - began

    assert 60.0 <= run(go()) < 62.0
    assert {id_: type(task.state) for id_, task in stage.last.items()} == dict.fromkeys((1, 2) if more else (1,), Done)
    assert isinstance(stage.events[-1], RunFinished)


def test_held_back_tasks_wait_and_go_on(tmp_path: Path) -> None:
    provider = Scripted()
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        stage.runner.pause(True)
        loop.call_later(30.0, stage.runner.pause, False)
        await stage.run_tasks(stage.task(1), stage.task(2))
        assert provider.at[0][1] - began >= 30.0

    run(go())
    assert provider.counts["submit"] == 2


def test_a_prompt_can_join_while_others_run(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working(), Working(), ready()])
    stage = Stage(provider, tmp_path)

    async def go() -> None:
        asyncio.get_running_loop().call_later(0.6, lambda: stage.runner.add(stage.task(2)))
        await stage.run_tasks(stage.task(1))

    run(go())
    assert isinstance(stage.last[2].state, Done)


def test_a_short_task_is_seen_soon_and_a_long_one_costs_few_queries(tmp_path: Path) -> None:
    short, long = Lasts(2.0), Lasts(120.0)
    after_run(short, tmp_path)
    after_run(long, tmp_path)
    assert short.at[-1][1] - short.begun < 2.5
    assert long.counts["poll"] <= 35


def spread(tmp_path: Path, *providers: Scripted, tasks: int = 20) -> Stage:
    """Run tasks that any of several providers may take."""
    stage = Stage(providers[0], tmp_path, limit=2)
    lanes = {f"p{number}": Lane(one, Gate(2), 0.5, 300.0) for number, one in enumerate(providers)}
    given = [stage.task(number + 1) for number in range(tasks)]
    requests = [replace(given[0].request, provider=name) for name in lanes]
    given = [replace(task, request=requests[0], alternatives=tuple(requests[1:])) for task in given]
    stage.runner = Runner(lanes, Downloader(None), stage.record, no_wait)
    run(stage.runner.run(RunId(1), given))
    return stage


async def no_wait() -> None:
    pass


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("both", [False, True], ids=["one place", "two places"])
def test_a_cancel_in_the_turn_in_which_a_place_is_granted_gives_it_back(tmp_path: Path, turns: int, both: bool) -> None:
    stage = Stage(Scripted(), tmp_path)
    lanes = {name: Lane(Scripted(), Gate(1), 0.5, 300.0) for name in ("p0", "p1")}
    task = replace(stage.task(), request=replace(stage.task().request, provider="p0"))
    task = replace(task, alternatives=(replace(task.request, provider="p1"),))
    stage.runner = Runner(lanes, Downloader(None), stage.record, no_wait)

    async def go() -> None:
        places = [await lane.gate.enter() for lane in lanes.values()]
        running = asyncio.ensure_future(stage.runner.run(RunId(1), [task]))
        await asyncio.sleep(1.0)
        for place in places[: 1 + both]:
            place.leave()
        for _ in range(turns):
            await asyncio.sleep(0)
        stage.runner.cancel([task.id])
        await running
        places[-1].leave()
        await asyncio.sleep(1.0)
        assert [lane.gate.load for lane in lanes.values()] == [0.0, 0.0]

    run(go())


def test_a_batch_is_spread_over_several_providers_least_loaded_first(tmp_path: Path) -> None:
    fast, slow = Scripted(), Scripted(polls=[Working()] * 20 + [ready()])
    stage = spread(tmp_path, fast, slow)
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert fast.counts["submit"] + slow.counts["submit"] == 20
    assert fast.counts["submit"] > slow.counts["submit"] > 0


@pytest.mark.parametrize("error", [Unauthorized("401"), OutOfCredits("402")])
def test_a_provider_that_is_shut_hands_its_unsent_tasks_to_the_others(tmp_path: Path, error: TaskError) -> None:
    broke, rich = Scripted([error]), Scripted()
    stage = spread(tmp_path, broke, rich)
    assert all(isinstance(task.state, Done) for task in stage.last.values())
    assert {task.request.provider for task in stage.last.values()} == {"p1"}
    assert broke.counts["submit"] == 1


def test_when_all_are_shut_every_task_says_why(tmp_path: Path) -> None:
    stage = spread(tmp_path, Scripted([Unauthorized("401")]), Scripted([Unauthorized("403")]))
    assert {failure(stage, number).reason for number in range(1, 21)} == {Reason.UNAUTHORIZED}


def test_when_the_account_is_out_of_credits_the_rest_stays_unsent(tmp_path: Path) -> None:
    stage = spread(tmp_path, Scripted([OutOfCredits("402")]), Scripted([OutOfCredits("402")]))
    states = [stage.last[number].state for number in range(1, 21)]
    failed = [state for state in states if isinstance(state, Failed)]
    assert 1 <= len(failed) <= 2
    assert {state.reason for state in failed} == {Reason.OUT_OF_CREDITS}
    unsent = [state for state in states if state == Cancelled(CancelOutcome.NOT_SENT)]
    assert len(failed) + len(unsent) == 20


# One task's trouble


BROKEN = RuntimeError("a provider's bug")


@pytest.mark.parametrize(
    ("steps", "began", "reason"),
    [
        ({"polls": [Working(), BROKEN], "cancels": [CancelOutcome.TOO_LATE]}, Running(JOB), Reason.BUG),
        ({"polls": [Working(), Ready(())], "cancels": [CancelOutcome.TOO_LATE]}, Running(JOB), Reason.SERVER),
        ({"submits": [Asleep(3.0, BROKEN)]}, Queued(), Reason.BUG),
        ({"submits": [Asleep(3.0, Ready(()))]}, Queued(), Reason.SERVER),
    ],
    ids=["a query breaks", "no pictures", "a submit breaks", "a submit without pictures"],
)
def test_what_breaks_during_a_cancel_ends_that_task_and_no_other(
    tmp_path: Path, steps: dict[str, Any], began: State, reason: Reason
) -> None:
    stage = Stage(Scripted(**steps), tmp_path)

    async def go() -> None:
        asyncio.get_running_loop().call_later(1.0, stage.runner.cancel, [TaskId(1)])
        await stage.run_tasks(stage.task(1, began), stage.task(2, Saving((InlineImage(png()),))))

    run(go())
    assert failure(stage).reason is reason
    assert isinstance(stage.last[2].state, Done)


def test_a_provider_that_cannot_count_any_more_ends_no_run(tmp_path: Path) -> None:
    class Uncountable(Scripted):
        def expected(self, request: ImageRequest) -> int:
            raise OSError("the workflow file is gone")

    stage = spread(tmp_path, Scripted([Unauthorized("401")]), Uncountable(polls=[ready()]), tasks=1)
    assert isinstance(stage.last[1].state, Done)


def test_facts_are_told_before_the_state_that_they_belong_to(tmp_path: Path) -> None:
    provider = Scripted([Accepted(JOB, {"seed": 7})], [replace(ready(), facts={"model": "4.0"})])
    stage = after_run(provider, tmp_path)
    assert [event.facts for event in stage.events if isinstance(event, TaskLearned)] == [
        {"seed": 7, "job_id": JOB.id},
        {"model": "4.0"},
    ]


class Told(Downloads):
    """Keeps the facts that each picture's task had when the picture was staged, and remarks on each."""

    def __init__(self, remark: str = "", **laid: list[Any]) -> None:
        super().__init__(**laid)
        self.remark = remark

    async def publish(
        self, held: StagedImage, stem: Path, chosen: NameChosen, marker: Marker | None = None
    ) -> SavedImage:
        return replace(await super().publish(held, stem, chosen, marker), remark=self.remark)


@pytest.mark.parametrize("submitted", [Accepted(JOB, {"seed": 7}), replace(ready(2), facts={"seed": 7})])
def test_all_facts_are_known_before_a_picture_is_staged(tmp_path: Path, submitted: Accepted | Ready) -> None:
    asked: list[tuple[int, dict[str, object]]] = []
    provider = Scripted([submitted], [replace(ready(2), facts={"model": "4.0"})], expected=2)
    stage = Stage(provider, tmp_path, marker=lambda task, number: asked.append((number, dict(task.facts))))
    run(stage.run_tasks(stage.task()))
    late = {"seed": 7} | ({"job_id": JOB.id, "model": "4.0"} if isinstance(submitted, Accepted) else {})
    assert asked == [(number, late) for _ in ("staged", "published") for number in (1, 2)]
    assert stage.last[1].facts == late


def test_what_an_earlier_attempt_told_is_no_fact_of_this_one(tmp_path: Path) -> None:
    stage = Stage(Scripted([Accepted(JOB)], [ready()]), tmp_path)
    run(stage.run_tasks(replace(stage.task(), facts={"seed": 1, "revised_prompt": "a dog"})))
    assert stage.last[1].facts == {"job_id": JOB.id}
    stage = Stage(Scripted([ready()]), tmp_path)
    run(stage.run_tasks(replace(stage.task(), facts={"seed": 1})))
    assert stage.last[1].facts == {}


def test_a_resumed_task_keeps_what_was_told_before(tmp_path: Path) -> None:
    stage = Stage(Scripted(polls=[replace(ready(), facts={"model": "4.0"})]), tmp_path)
    run(stage.run_tasks(replace(stage.task(state=Running(JOB)), facts={"seed": 1})))
    assert stage.last[1].facts == {"seed": 1, "model": "4.0"}


def test_a_prompt_that_was_not_rewritten_is_no_fact(tmp_path: Path) -> None:
    stage = after_run(Scripted([replace(ready(), facts={"revised_prompt": "a cat", "seed": 7})]), tmp_path)
    assert stage.last[1].facts == {"seed": 7}


def test_what_could_not_be_written_beside_a_picture_is_noted_and_fails_nothing(tmp_path: Path) -> None:
    saver = Told("only the history says", one=[png("1")], two=[png("2")])
    stage = after_run(Scripted(polls=[named("one", "two")], expected=2), tmp_path, saver=saver)
    assert stage.last[1].state == Done(stage.last[1].files, 0, "only the history says")


# Tasks that another process has claimed


def test_a_request_does_not_leave_where_the_history_refused_it(tmp_path: Path) -> None:
    provider = Scripted()
    stage = Stage(provider, tmp_path, owns=lambda task: task != 1)
    run(stage.run_tasks(stage.task(1), stage.task(2)))
    assert provider.counts["submit"] == 1
    assert isinstance(stage.last[1].state, Submitting), "what becomes of it is the other process' to say"
    assert isinstance(stage.last[2].state, Done)


def test_a_task_that_another_process_claims_is_let_go_and_its_siblings_go_on(tmp_path: Path) -> None:
    stage = Stage(Scripted(polls=[Working()] * 30 + [ready()]), tmp_path)
    left: list[TaskId] = []
    held: list[set[TaskId]] = []

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lambda: left.extend(stage.runner.let_go([TaskId(1), TaskId(99)])))
        for moment in (4.9, 5.0, 6.0):  # a flow that is let go may still be at the end of a step
            loop.call_later(moment, lambda: held.append(stage.runner.in_hand()))
        tasks = [stage.task(number, Running(Job(f"job-{number}"))) for number in (1, 2)]
        await stage.runner.run(RunId(1), tasks)

    run(go())
    assert left == [1]
    assert (held, stage.runner.in_hand()) == ([{1, 2}, {1, 2}, {2}], set())
    assert isinstance(stage.last[2].state, Done)
    assert 1 not in stage.last, "nothing more was said of it"


def test_a_request_on_its_way_is_waited_for_by_a_process_that_lost_the_task(tmp_path: Path) -> None:
    """Its answer may be a receipt, and a late receipt heals what is uncertain."""
    lost: set[TaskId] = set()
    stage = Stage(Scripted([Asleep(10.0, Accepted(JOB))]), tmp_path, owns=lambda task: task not in lost)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lost.add, TaskId(1))
        loop.call_later(6.0, stage.runner.let_go, [TaskId(1)])
        await stage.run_tasks(stage.task(1))

    run(go())
    assert stage.last[1].state == Running(JOB)


def test_one_look_asks_once(tmp_path: Path) -> None:
    provider = Scripted(polls=[Working()])
    stage = Stage(provider, tmp_path, one_look={TaskId(1)})
    run(stage.run_tasks(stage.task(1, Running(JOB))))
    assert failure(stage).reason is Reason.TIMEOUT
    assert failure(stage).resumable
    assert provider.counts["poll"] == 1


@pytest.mark.parametrize("error", [Expired("unknown"), Expired("unknown").as_final()])
def test_an_id_of_ours_that_the_service_does_not_know_is_uncertain_and_asked_for_no_more(
    tmp_path: Path, error: Expired
) -> None:
    provider = Scripted(polls=[error])
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(stage.task(1, Running(JOB, unconfirmed=True))))
    state = failure(stage)
    assert (state.reason, state.resumable, state.may_be_paid, state.job) == (Reason.UNCERTAIN, False, True, JOB)


def test_an_id_of_ours_that_could_not_be_asked_for_is_asked_for_again_by_resume(tmp_path: Path) -> None:
    stage = Stage(Scripted(polls=[ServerTrouble("500")]), tmp_path)
    run(stage.run_tasks(stage.task(1, Running(JOB, unconfirmed=True))))
    assert (failure(stage).reason, failure(stage).resumable) == (Reason.UNCERTAIN, True)


def test_a_receipt_that_the_service_does_not_know_is_kept(tmp_path: Path) -> None:
    provider = Scripted(polls=[Expired("unknown")])
    stage = after_run(provider, tmp_path)
    assert (failure(stage).job, failure(stage).resumable, provider.counts["poll"]) == (JOB, True, 3)


@pytest.mark.parametrize("client_job", [None, Job("ours")])
@pytest.mark.parametrize("first", [Queued(), Running(JOB)])
def test_the_same_receipt_for_two_tasks_is_uncertain_for_the_second(
    tmp_path: Path, first: State, client_job: Job | None
) -> None:
    provider = Scripted([Accepted(JOB)], polls=[Working(), ready()], client_job=client_job)
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(stage.task(1, first), stage.task(2)))
    assert isinstance(stage.last[1].state, Done)
    state = failure(stage, 2)
    assert "the receipt of task 1 again" in state.message
    assert (state.reason, state.job, state.final, state.may_be_paid) == (Reason.UNCERTAIN, None, False, True)


def test_a_receipt_of_a_task_that_has_ended_is_held_too(tmp_path: Path) -> None:
    stage = Stage(Scripted([Accepted(JOB)]), tmp_path, limit=1)
    run(stage.run_tasks(stage.task(1), stage.task(2)))
    assert isinstance(stage.last[1].state, Done)
    assert failure(stage, 2).reason is Reason.UNCERTAIN


def test_the_same_number_at_two_services_is_two_receipts(tmp_path: Path) -> None:
    other = Lane(Scripted([Accepted(JOB)]), Gate(1), 0.5, 300.0)
    stage = Stage(Scripted([Accepted(JOB)]), tmp_path, others={"other": other})
    second = stage.task(2)
    run(stage.run_tasks(stage.task(1), replace(second, request=replace(second.request, provider="other"))))
    assert all(isinstance(task.state, Done) for task in stage.last.values())


@pytest.mark.parametrize("state", [Queued(), Running(JOB)])
def test_a_step_that_finds_no_file_handle_is_repeated_a_little_later(tmp_path: Path, state: State) -> None:
    trouble = OSError(errno.EMFILE, "Too many open files")
    provider = Scripted(polls=[trouble, trouble, ready()])
    stage = Stage(provider, tmp_path)
    run(stage.run_tasks(stage.task(1, state)))
    assert isinstance(stage.last[1].state, Done)
    assert provider.counts["submit"] == (1 if isinstance(state, Queued) else 0)


def test_a_step_that_never_finds_a_file_handle_ends_and_keeps_its_receipt(tmp_path: Path) -> None:
    stage = Stage(Scripted(polls=[OSError(errno.EMFILE, "Too many open files")]), tmp_path)
    run(stage.run_tasks(stage.task(1, Running(JOB))))
    assert failure(stage).resumable


@pytest.mark.parametrize("after", [0.0, -5.0, 1e-9, 0.9])
@pytest.mark.parametrize("kind", [RateLimited, Busy])
def test_a_wait_of_nothing_makes_no_flood_of_submits(tmp_path: Path, kind: type[SlowDown], after: float) -> None:
    provider = Scripted([kind("slow", after=after)])
    stage = Stage(provider, tmp_path, timeout=60.0)
    stage.lane.busy_timeout = 60.0
    run(stage.run_tasks(stage.task()))
    assert provider.counts["submit"] <= 8


@pytest.mark.parametrize("reply", [Ready(()), GenerationFailed("done, but nothing that can be used").as_charged()])
def test_what_a_service_calls_done_may_be_paid_though_no_picture_came(tmp_path: Path, reply: Any) -> None:
    stage = after_run(Scripted([reply]), tmp_path)
    assert failure(stage).may_be_paid
    assert not failure(stage).resumable
