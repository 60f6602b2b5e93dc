"""What `list` and `show` make of a record of the history."""

import pytest

from imagegen_cli.commands.history import _row
from imagegen_cli.core.errors import Reason
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
    State,
    Task,
    TaskId,
)
from imagegen_cli.storage.records import Record

REQUEST = ImageRequest(prompt="a cat", provider="studio")


@pytest.mark.parametrize(
    ("state", "started", "ended", "elapsed"),
    [
        (Queued(), None, None, None),
        (Queued(), 20.0, None, None),
        (Running(Job("a")), 20.0, None, 80.0),
        (Done(("/1.png",)), 20.0, 25.0, 5.0),
        (Failed(Reason.DISK, "full"), 20.0, 24.0, 4.0),
        (Cancelled(CancelOutcome.NOT_SENT), None, 24.0, None),
    ],
)
def test_a_row_is_made_from_a_record(
    state: State, started: float | None, ended: float | None, elapsed: float | None
) -> None:
    task = Task(id=TaskId(1), run=RunId(1), request=REQUEST, state=state, folder="/", name="x")
    row = _row(Record(task=task, created=10.0, started=started, ended=ended))
    assert (row.task, row.created, row.ended, row.elapsed(100.0)) == (task, 10.0, ended, elapsed)
