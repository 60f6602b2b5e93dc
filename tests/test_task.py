from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from imagegen_cli.core.errors import (
    BadImage,
    BadRequest,
    DiskError,
    GenerationFailed,
    ProviderBug,
    Reason,
    TaskError,
    TimedOut,
    Uncertain,
    error_class,
)
from imagegen_cli.core.task import (
    ENDED,
    FOLLOWS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Image,
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

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""

JOB = Job("job-1")
REMOTE, STAGED, SAVED = RemoteImage("https://cdn/1"), StagedImage("/images/.1-1.part"), SavedImage("/images/1-1.png")
EXAMPLES: tuple[State, ...] = (
    Queued(),
    Submitting(),
    Running(JOB),
    Saving((REMOTE,), JOB),
    Done(("/images/1-1.png",)),
    Failed(Reason.SERVER, "no"),
    Cancelled(CancelOutcome.STOPPED),
)
"""One of each."""


def task(state: State | None = None) -> Task:
    request = ImageRequest(prompt="a cat", provider="studio")
    return Task(
        id=TaskId(1), run=RunId(1), request=request, state=state or Queued(), folder="/images", name="1-{index}"
    )


@pytest.mark.parametrize(("before", "after"), [*product(EXAMPLES, EXAMPLES)], ids=word)
def test_a_state_follows_another_only_where_the_table_says_so(before: State, after: State) -> None:
    if type(after) in FOLLOWS[type(before)]:
        assert task(before).to(after).state is after
    else:
        with pytest.raises(RuntimeError, match=f"task 1: {word(before)} cannot become {word(after)}"):
            task(before).to(after)


def test_the_table_and_the_examples_name_every_state() -> None:
    assert set(FOLLOWS) == set(get_args(State)) == {type(state) for state in EXAMPLES}
    assert {after for many in FOLLOWS.values() for after in many} == set(get_args(State))


def test_an_end_is_left_only_by_a_person() -> None:
    assert {state for state in FOLLOWS if not set(FOLLOWS[state]) & set(ENDED)} == set(ENDED)
    assert FOLLOWS[Done] == ()


def test_changing_state_changes_nothing_else() -> None:
    before = task()
    after = before.to(Submitting(JOB))
    assert before.state == Queued()
    assert (after.id, after.run, after.request, after.folder, after.name) == (
        before.id, before.run, before.request, before.folder, before.name,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "index", "path"),
    [
        ("1-{index}", 3, "/images/1-3"),
        ("{index}", 12, "/images/12"),
        ("1-{slug}-{index}", 1, "/images/1-{slug}-1"),
        ("1-%s-{}-{index}", 1, "/images/1-%s-{}-1"),
    ],
)
def test_a_stem_is_the_name_with_its_number(name: str, index: int, path: str) -> None:
    request = ImageRequest(prompt="a cat", provider="studio")
    one = Task(id=TaskId(1), run=RunId(1), request=request, state=Queued(), folder="/images", name=name)
    assert one.stem(index) == Path(path)


@pytest.mark.parametrize(
    ("state", "job"),
    [
        (Queued(), None),
        (Submitting(), None),
        (Submitting(JOB), JOB),
        (Running(JOB), JOB),
        (Saving((REMOTE,), JOB), JOB),
        (Saving((REMOTE,)), None),
        (Done(("a",)), None),
        (Failed(Reason.TIMEOUT, "late", JOB), JOB),
        (Cancelled(CancelOutcome.GOES_ON, JOB), JOB),
    ],
)
def test_a_task_knows_its_receipt(state: State, job: Job | None) -> None:
    assert task(state).job == job


@pytest.mark.parametrize(
    ("state", "files"),
    [
        (Queued(), ()),
        (Running(JOB, (SAVED, REMOTE)), (SAVED.path,)),
        (Saving((STAGED, SAVED), JOB), (SAVED.path,)),
        (Failed(Reason.DISK, "full", JOB, (SAVED, STAGED)), (SAVED.path,)),
        (Done(("a", "b")), ("a", "b")),
        (Cancelled(CancelOutcome.STOPPED), ()),
    ],
)
def test_a_task_knows_its_files(state: State, files: tuple[str, ...]) -> None:
    assert task(state).files == files


@pytest.mark.parametrize(
    ("state", "resumable"),
    [
        (Failed(Reason.SERVER, "no"), False),
        (Failed(Reason.TIMEOUT, "late", JOB), True),
        (Failed(Reason.DISK, "full", None, (STAGED,)), True),
        (Failed(Reason.NETWORK, "lost", None, (SAVED, REMOTE)), True),
        (Failed(Reason.BAD_IMAGE, "bad", None, (SAVED,)), False),
        (Failed(Reason.BAD_IMAGE, "bad", None, (InlineImage(b""),)), False),
    ],
)
def test_a_failure_can_be_resumed_where_something_can_be_fetched(state: Failed, resumable: bool) -> None:
    assert state.resumable is resumable


LOST = Failed(
    Reason.UNCERTAIN,
    "the program stopped while this was being sent; it may have been accepted and charged",
    may_be_paid=True,
)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Queued(), Queued()),
        (Submitting(), LOST),
        (Submitting(JOB), Running(JOB, unconfirmed=True)),
        (Running(JOB), Running(JOB)),
        (Running(JOB, (SAVED, STAGED)), Running(JOB, (SAVED, STAGED))),
        (Saving((REMOTE, STAGED), JOB, "one left out"), Saving((REMOTE, STAGED), JOB, "one left out")),
        (Done(("a",), 1, "three"), Done(("a",), 1, "three")),
        (Failed(Reason.SERVER, "no"), Failed(Reason.SERVER, "no")),
        (Failed(Reason.TIMEOUT, "late", JOB), Running(JOB)),
        (Failed(Reason.TIMEOUT, "late", JOB, (SAVED,)), Running(JOB, (SAVED,))),
        (Failed(Reason.DISK, "full", JOB, (SAVED, STAGED)), Saving((SAVED, STAGED), JOB)),
        (Failed(Reason.DISK, "full", None, (REMOTE,)), Saving((REMOTE,))),
        (Failed(Reason.BAD_IMAGE, "bad", None, (SAVED,)), Failed(Reason.BAD_IMAGE, "bad", None, (SAVED,))),
        (Cancelled(CancelOutcome.NOT_SENT), Cancelled(CancelOutcome.NOT_SENT)),
        (Cancelled(CancelOutcome.GOES_ON, JOB), Running(JOB)),
    ],
    ids=word,
)
def test_what_the_next_process_may_believe(state: State, after: State) -> None:
    assert recovered(task(state)).state == after


FOUND = StagedImage("/images/.imagegen-ab-1-1.part", "", "5a")
DOUBTED = StagedImage("/images/.imagegen-ab-1-2.part", "", "5b", "it may be cut")
KEPT = "the program stopped while the answer came; what had come whole was kept"


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Queued(), Queued()),
        (Submitting(), Saving((FOUND, DOUBTED), None, KEPT)),
        (LOST, Saving((FOUND, DOUBTED), None, KEPT)),
        (Cancelled(CancelOutcome.GOES_ON), Saving((FOUND, DOUBTED), None, KEPT)),
        (Submitting(JOB), Running(JOB, (FOUND, InlineImage(b"")))),
        (Cancelled(CancelOutcome.GOES_ON, JOB), Running(JOB, (FOUND, InlineImage(b"")))),
        (Running(JOB), Running(JOB, (FOUND, InlineImage(b"")))),
        (Running(JOB, (SAVED, REMOTE)), Running(JOB, (SAVED, REMOTE))),
        (Saving((REMOTE, REMOTE, REMOTE)), Saving((FOUND, REMOTE, REMOTE))),
        (Saving((STAGED, SAVED)), Saving((STAGED, SAVED))),
        (Saving((REMOTE,), JOB), Saving((FOUND,), JOB)),
        (Running(JOB, unconfirmed=True), Running(JOB, (FOUND, InlineImage(b"")), unconfirmed=True)),
        (Failed(Reason.EXPIRED, "gone", None, (REMOTE,)), Saving((FOUND,))),
        (Failed(Reason.DISK, "full", None, (InlineImage(b""), InlineImage(b""))), Saving((FOUND, DOUBTED))),
        (Failed(Reason.TIMEOUT, "late", JOB), Running(JOB, (FOUND, InlineImage(b"")))),
        (Done(("a",)), Done(("a",))),
    ],
)
def test_whole_pictures_on_the_disk_are_taken_in(state: State, after: State) -> None:
    """What is in doubt is taken only where it cannot be fetched once more."""
    assert recovered(task(state), {1: FOUND, 2: DOUBTED}).state == after
    assert recovered(task(state), {}) == recovered(task(state))


@pytest.mark.parametrize(
    "state", [Saving((SAVED, InlineImage(b"")), JOB), Failed(Reason.DISK, "full", JOB, (InlineImage(b""),))]
)
def test_what_was_only_in_memory_is_asked_for_again(state: Saving | Failed) -> None:
    assert recovered(task(state)).state == Running(JOB, state.images)


def test_a_part_file_beyond_what_the_task_has_changes_nothing() -> None:
    one = task(Saving((REMOTE,), JOB))
    assert recovered(one, {2: FOUND}) == one


def test_a_part_file_is_named_by_history_and_task_alone() -> None:
    one = replace(task(), key="ab12-7", name="{index}")
    assert one.part(3) == Path("/images/.imagegen-ab12-7-3.part")


JOBS = st.builds(Job, st.text(min_size=1), st.text())
IMAGES = st.lists(
    st.one_of(
        st.builds(RemoteImage, st.text()),
        st.builds(StagedImage, st.text(), st.text()),
        st.builds(SavedImage, st.text()),
        st.builds(InlineImage, st.binary()),
    ),
    max_size=4,
).map(tuple)
STATES: st.SearchStrategy[State] = st.one_of(
    st.just(Queued()),
    st.builds(Submitting, st.none() | JOBS),
    st.builds(Running, JOBS, IMAGES),
    st.builds(Saving, IMAGES, st.none() | JOBS, st.text()),
    st.builds(Done, st.lists(st.text()).map(tuple), st.integers(0), st.text()),
    st.builds(Failed, st.sampled_from(Reason), st.text(), st.none() | JOBS, IMAGES),
    st.builds(Cancelled, st.sampled_from(CancelOutcome), st.none() | JOBS),
)


@STEADY
@given(STATES)
def test_recovering_keeps_the_receipt_invents_no_submit_and_loses_no_file(state: State) -> None:
    before, after = task(state), recovered(task(state))
    assert after.job == before.job
    assert after.files == before.files
    assert isinstance(after.state, Queued | Submitting) == isinstance(before.state, Queued)
    assert recovered(after) == after, "twice is as once"


class ActiveTask(RuleBasedStateMachine):
    """One task in every situation, beside a service that knows which requests it accepted.

    The rules do what the runner and the commands do, and only through `to` and `recovered`. `at_service` holds what
    was really accepted, each a picture that costs; `allowed` counts what a person has asked to be paid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.task = task()
        self.allowed = 1
        self.at_service: list[str] = []
        self.mine: str | None = None
        self.drafted = False

    @property
    def state(self) -> State:
        return self.task.state

    def accept(self) -> Job:
        """The service takes it and will bill it."""
        self.mine = f"paid-{len(self.at_service) + 1}"
        self.at_service.append(self.mine)
        return Job(self.mine)

    @precondition(lambda self: isinstance(self.state, Queued))
    @rule(client_job=st.booleans())
    def leave(self, *, client_job: bool) -> None:
        self.drafted = client_job
        self.mine = None
        self.task = self.task.to(Submitting(Job("draft") if client_job else None))

    @precondition(lambda self: isinstance(self.state, Submitting))
    @rule()
    def be_told_to_wait(self) -> None:
        self.task = self.task.to(Queued())

    @precondition(lambda self: isinstance(self.state, Submitting))
    @rule(at_once=st.booleans())
    def be_accepted(self, *, at_once: bool) -> None:
        job = self.accept()
        job = Job("draft") if self.drafted else job
        self.task = self.task.to(Saving((REMOTE,), job) if at_once else Running(job))

    @precondition(lambda self: isinstance(self.state, Submitting))
    @rule(arrived=st.booleans())
    def lose_the_answer(self, *, arrived: bool) -> None:
        if arrived:
            self.accept()
        self.task = self.task.to(Running(Job("draft")) if self.drafted else Failed(Reason.UNCERTAIN, "lost"))

    @precondition(lambda self: isinstance(self.state, Running) and self.drafted and self.mine is None)
    @rule()
    def learn_that_the_client_job_never_arrived(self) -> None:
        self.task = self.task.to(Queued())

    @precondition(lambda self: isinstance(self.state, Running) and self.mine is not None)
    @rule()
    def be_ready(self) -> None:
        assert isinstance(self.state, Running)
        self.task = self.task.to(Saving((REMOTE, *self.state.images), self.state.job))

    @precondition(lambda self: isinstance(self.state, Running))
    @rule(reason=st.sampled_from((Reason.TIMEOUT, Reason.NETWORK)))
    def lose_patience(self, reason: Reason) -> None:
        assert isinstance(self.state, Running)
        self.task = self.task.to(Failed(reason, "late", self.state.job, self.state.images))

    @precondition(lambda self: isinstance(self.state, Saving) and self.state.job is not None)
    @rule()
    def find_a_link_expired(self) -> None:
        assert isinstance(self.state, Saving)
        assert self.state.job is not None
        kept: tuple[Image, ...] = tuple(image for image in self.state.images if isinstance(image, SavedImage))
        self.task = self.task.to(Running(self.state.job, kept))

    @precondition(lambda self: isinstance(self.state, Saving))
    @rule(image=st.sampled_from((STAGED, SAVED)))
    def save(self, image: Image) -> None:
        assert isinstance(self.state, Saving)
        self.task = self.task.to(Saving((image,), self.state.job))

    @precondition(lambda self: isinstance(self.state, Saving))
    @rule()
    def find_the_disk_full(self) -> None:
        assert isinstance(self.state, Saving)
        self.task = self.task.to(Failed(Reason.DISK, "full", self.state.job, self.state.images))

    @precondition(lambda self: isinstance(self.state, Saving) and len(self.task.files) == len(self.state.images))
    @rule()
    def finish(self) -> None:
        self.task = self.task.to(Done(self.task.files))

    @precondition(lambda self: isinstance(self.state, Queued))
    @rule()
    def cancel_unsent(self) -> None:
        self.task = self.task.to(Cancelled(CancelOutcome.NOT_SENT))

    @precondition(lambda self: isinstance(self.state, Running))
    @rule(stop=st.sampled_from((CancelOutcome.REQUESTED, CancelOutcome.GOES_ON, CancelOutcome.TOO_LATE)))
    def cancel(self, stop: CancelOutcome) -> None:
        self.task = self.task.to(Cancelled(stop, self.task.job))

    @rule()
    def crash(self) -> None:
        """An ended task stays ended until a person gives a command."""
        if not isinstance(self.state, ENDED):
            self.task = recovered(self.task)

    @precondition(lambda self: isinstance(self.state, Submitting) and not self.drafted)
    @rule(arrived=st.booleans())
    def crash_while_sending(self, *, arrived: bool) -> None:
        if arrived:
            self.accept()
        self.task = recovered(self.task)

    @precondition(lambda self: isinstance(self.state, Failed | Cancelled))
    @rule()
    def resume(self) -> None:
        before = self.task
        self.task = recovered(self.task)
        if self.task.job is None and not self.task.files and not isinstance(self.state, Saving):
            assert self.task == before, "with nothing to fetch with, nothing begins"

    @precondition(lambda self: isinstance(self.state, Failed | Cancelled))
    @rule()
    def retry(self) -> None:
        self.allowed += 1
        self.mine = None
        self.drafted = False
        self.task = self.task.to(Queued())

    @invariant()
    def nothing_is_paid_that_nobody_asked_for(self) -> None:
        assert len(self.at_service) <= self.allowed

    @invariant()
    def what_waits_to_be_sent_is_not_at_the_service_already(self) -> None:
        if isinstance(self.state, Queued):
            assert self.mine is None

    @invariant()
    def what_is_paid_can_be_fetched_or_is_said_to_be_uncertain(self) -> None:
        if self.mine is None or isinstance(self.state, Done):
            return
        uncertain = isinstance(self.state, Failed) and self.state.reason is Reason.UNCERTAIN
        assert self.task.job is not None or uncertain

    @invariant()
    def a_finished_task_has_its_files(self) -> None:
        if isinstance(self.state, Done):
            assert self.state.files


TestActive = pytest.mark.program(ActiveTask.TestCase)  # it takes seconds
TestActive.settings = settings(STEADY, max_examples=200, stateful_step_count=40)


# What a reason says


def kinds(kind: type[TaskError] = TaskError) -> list[type[TaskError]]:
    return [kind, *(below for one in kind.__subclasses__() for below in kinds(one))]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.CANCELLED])
def test_all_errors_of_a_reason_say_the_same_of_it(reason: Reason) -> None:
    def facts(kind: type[TaskError]) -> tuple[bool, bool, bool]:
        return kind.may_be_paid, kind.is_refused_again, kind.shuts_lane

    assert error_class(reason).reason is reason
    alike = kinds(error_class(reason)) + [kind for kind in kinds() if vars(kind).get("reason") is reason]
    assert {facts(kind) for kind in alike if kind is not TaskError} == {facts(error_class(reason))}


def test_no_reason_that_may_hide_a_payment_is_forgotten() -> None:
    hiding = {reason for reason in Reason if error_class(reason).may_be_paid}
    assert hiding == {Reason.UNCERTAIN, Reason.BAD_IMAGE, Reason.DISK, Reason.HISTORY, Reason.BUG}
    assert {reason for reason in Reason if error_class(reason).is_refused_again} == {
        Reason.BAD_REQUEST,
        Reason.MODERATED,
    }


SUBMITTED = Submitting(Job("j"))
RUNS = Running(Job("j"), (SavedImage("/a"),))


@pytest.mark.parametrize(
    ("state", "error", "paid"),
    [
        (Queued(), DiskError("full"), False),
        (Queued(), ProviderBug("broke"), False),
        (SUBMITTED, BadRequest("no"), False),
        (SUBMITTED, Uncertain("lost"), True),
        (SUBMITTED, BadImage("a page"), True),
        (SUBMITTED, DiskError("full"), True),
        (SUBMITTED, ProviderBug("broke"), True),
        (SUBMITTED, GenerationFailed("nothing").as_charged(), True),
        (RUNS, TimedOut("late"), True),
        (RUNS, GenerationFailed("no").as_final(), False),
        (RUNS, Uncertain("lost").as_final(), True),
        (Saving(()), DiskError("full"), True),
    ],
)  # fmt: skip
def test_a_failure_is_made_from_the_state_and_the_error(state: State, error: TaskError, paid: bool) -> None:
    failed = Failed.after(state, error, Job("j"))
    assert (failed.reason, failed.message, failed.final) == (error.reason, error.message, error.final)
    assert (failed.may_be_paid, failed.job) == (paid, Job("j"))
    assert failed.images == getattr(state, "images", ())
