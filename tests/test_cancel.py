"""What a cancel saves: every kind of service, at every moment of a task."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.events import Event, TaskChanged, TaskProgressed, Working
from imagegen_cli.core.provider import Accepted, Ready
from imagegen_cli.core.task import Cancelled, CancelOutcome, Done, Job, Running, Saving, Submitting, TaskId
from tests.clock import run
from tests.scripted import Scripted, Stage, ready

MOMENTS = ("before", "submitting", "queued there", "running", "saving", "done")


class Kind(Scripted):
    """A service that answers a submit after 2 s, queues for 10 s, works for 10 s. Subclasses define the cancel."""

    neighbours_stopped = 0

    def __init__(self) -> None:
        super().__init__()
        self.begun: float | None = None

    @property
    def age(self) -> float:
        return asyncio.get_running_loop().time() - (self.begun or 0.0)

    async def submit(self, request: Any, client_job: Any, report: Any) -> Accepted:
        self.counts["submit"] += 1
        await asyncio.sleep(2.0)
        self.begun = asyncio.get_running_loop().time()
        return Accepted(Job("job-1"))

    async def poll(self, job: Job, report: Any) -> Working | Ready:
        if self.age < 10.0:
            return Working(queue_position=2)
        return Working(0.5) if self.age < 20.0 else ready()


class Never(Kind):
    async def cancel(self, job: Job) -> CancelOutcome:
        return CancelOutcome.GOES_ON


class OnlyQueued(Kind):
    async def cancel(self, job: Job) -> CancelOutcome:
        return CancelOutcome.STOPPED if self.age < 10.0 else CancelOutcome.GOES_ON


class Always(Kind):
    async def cancel(self, job: Job) -> CancelOutcome:
        return CancelOutcome.STOPPED if self.age < 20.0 else CancelOutcome.TOO_LATE


class Interrupt(Kind):
    """One interrupt stops whatever the server runs: it is used only while our task runs."""

    async def cancel(self, job: Job) -> CancelOutcome:
        if self.age < 10.0:
            return CancelOutcome.GOES_ON
        self.neighbours_stopped += self.age >= 20.0
        return CancelOutcome.STOPPED


TRUTH = {
    Never: (CancelOutcome.NOT_SENT, CancelOutcome.GOES_ON, CancelOutcome.GOES_ON, CancelOutcome.GOES_ON, None, None),
    OnlyQueued: (
        CancelOutcome.NOT_SENT,
        CancelOutcome.STOPPED,
        CancelOutcome.STOPPED,
        CancelOutcome.GOES_ON,
        None,
        None,
    ),
    Always: (CancelOutcome.NOT_SENT, CancelOutcome.STOPPED, CancelOutcome.STOPPED, CancelOutcome.STOPPED, None, None),
    Interrupt: (
        CancelOutcome.NOT_SENT,
        CancelOutcome.GOES_ON,
        CancelOutcome.GOES_ON,
        CancelOutcome.STOPPED,
        None,
        None,
    ),
}
"""None: it is finished, and the pictures are kept."""


def reached(moment: str, event: Event) -> bool:
    match event:
        case TaskChanged(task=task):
            wanted = {"submitting": Submitting, "saving": Saving, "done": Done}
            return isinstance(task.state, wanted.get(moment, Running)) and moment in wanted
        case TaskProgressed(working=working):
            return moment == ("queued there" if working.queue_position else "running")
        case _:
            return False


def cancelled_at(moment: str, provider: Kind, folder: Path) -> Stage:
    def cancel_when_reached(event: Event) -> None:
        if reached(moment, event):
            delay = 0.1 if moment == "submitting" else 0.0
            asyncio.get_running_loop().call_later(delay, stage.runner.cancel, [TaskId(1)])

    stage = Stage(provider, folder, also=cancel_when_reached)

    async def go() -> None:
        if moment == "before":
            stage.gate.close_for(5.0)
            asyncio.get_running_loop().call_later(1.0, stage.runner.cancel, [TaskId(1)])
        await stage.run_tasks(stage.task())

    run(go())
    return stage


@pytest.mark.parametrize("kind", TRUTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cancel_is_as_true_as_the_service_lets_it_be(tmp_path: Path, kind: type[Kind], moment: str) -> None:
    provider = kind()
    stage = cancelled_at(moment, provider, tmp_path)
    state, expected = stage.last[1].state, TRUTH[kind][MOMENTS.index(moment)]
    if expected is None:
        assert isinstance(state, Done)
        assert stage.files() == ["1-1.png"]
    else:
        assert isinstance(state, Cancelled)
        assert state.stop is expected
        assert (state.job is not None) == (expected is CancelOutcome.GOES_ON)
        assert stage.files() == []
    assert provider.counts["submit"] == (moment != "before")
    assert provider.neighbours_stopped == 0
