"""What the history knows of how long a task takes, as a run and those who watch it ask."""

from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli.core.durations import Span
from imagegen_cli.core.events import TaskChanged
from imagegen_cli.core.task import Done, Running, SavedImage, Saving, Submitting, Task
from imagegen_cli.storage.estimates import Estimates
from imagegen_cli.storage.store import Store
from tests.test_store import JOB, become, say, started


def taken(store: Store, seconds: float, at: float = 100.0) -> Task:
    """A task that was watched for so many seconds."""
    task = become(store, started(store)[0], Submitting(JOB), Running(JOB), at=at - 1)
    task = task.to(Saving((SavedImage("/1.png"),), JOB))
    say(store, TaskChanged(at + seconds, task, Span(seconds, seconds)))
    return become(store, task, Done(("/1.png",)), at=at + seconds)


@pytest.mark.parametrize(("seconds", "estimate"), [((), None), ((5, 9), None), ((9, 1, 5), 5), ((9, 1, 5, 7), 7)])
def test_an_estimate_is_the_middle_of_at_least_three(
    tmp_path: Path, seconds: tuple[float, ...], estimate: float | None
) -> None:
    with closing(Store(tmp_path / "history.db")) as store:
        for each in seconds:
            taken(store, each)
        assert Estimates(store).seconds(started(store)[0]) == estimate


def test_what_became_known_later_can_be_left_out(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "history.db")) as store:
        for at in (100.0, 200.0, 300.0):
            taken(store, 5, at)
        task = taken(store, 50, 400.0)
        assert set(Estimates(store, before=305.5).durations(task).moments) == {5}
        assert Estimates(store, before=305.0).seconds(task) is None
        assert set(Estimates(store).durations(task).moments) == {5, 50}
        assert Estimates(store).durations(task).tasks == 4


def test_a_history_that_cannot_be_read_gives_none(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "history.db")) as store:
        task = taken(store, 5)
        store._db.execute("DROP TABLE task")
        assert Estimates(store).seconds(task) is None
