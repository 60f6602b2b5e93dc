"""Which tasks a command takes that names a run in place of tasks, so that a shown command means just what is said."""

from imagegen_cli.core.errors import HistoryError, error_class
from imagegen_cli.core.task import Cancelled, Failed, RunId, Task, TaskId, may_be_paid
from imagegen_cli.storage.records import UNFINISHED, Filter
from imagegen_cli.storage.store import Store


def taken_by(store: Store, words: str, run: RunId) -> frozenset[TaskId]:
    """The tasks that `imagegen WORDS --run RUN` takes; none where the history cannot be read."""
    takes = {"retry": _is_retried, "retry --cancelled": _is_cancelled, "resume": _is_fetched}[words]
    try:
        found = store.find(Filter(run=run, states=(*UNFINISHED, "failed", "cancelled")))
    except HistoryError:
        return frozenset()
    return frozenset(record.task.id for record in found if takes(record.task))


def _is_retried(task: Task) -> bool:
    state = task.state
    return isinstance(state, Failed) and not may_be_paid(state) and not error_class(state.reason).is_refused_again


def _is_cancelled(task: Task) -> bool:
    return isinstance(task.state, Cancelled) and not may_be_paid(task.state)


def _is_fetched(task: Task) -> bool:
    match task.state:
        case Failed() as state:
            return state.resumable
        case Cancelled(job=job):
            return job is not None
        case _:
            return True
