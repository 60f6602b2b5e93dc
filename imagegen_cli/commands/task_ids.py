"""Tasks and runs as a person names them: 12, 12/2 for picture 2 of task 12, LAST or -1 for the newest, -2 before it."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.task import RunId, Task, TaskId
from imagegen_cli.storage.store import Store

NAMED = r"\s*(?:(?P<id>[0-9]+)|-(?P<back>[1-9][0-9]*)|(?P<last>LAST))(?:/(?P<picture>[1-9][0-9]*))?\s*"
MAX_DIGITS = 18
"""More digits than any number in a history has."""
MAX_SHOWN_DIGITS = 40
SHOWN_BY = {"task": Message("imagegen list shows the tasks"), "run": Message("imagegen runs shows the runs")}
NOT_THERE = {"task": Message("there is no task {ids}"), "run": Message("there is no run {ids}")}
NONE_YET = {"task": Message("the history has no task yet"), "run": Message("the history has no run yet")}
FEWER = {
    "task": Message("the history has fewer than {number} tasks"),
    "run": Message("the history has fewer than {number} runs"),
}


class TaskReference(NamedTuple):
    """`number` is the place of a picture in its task, from 1; None names the whole task."""

    id: TaskId
    number: int | None = None

    def __str__(self) -> str:
        return str(self.id) if self.number is None else f"{self.id}/{self.number}"


def task_reference(text: str, store: Store) -> TaskReference:
    """What `text` names. Whether a task has that number, and a picture at that place, is for the caller to find out.

    Raises UsageError for other words, and NothingToDo where the history has no task so far back.
    """
    found = re.fullmatch(NAMED, text, re.IGNORECASE)
    if found is None:
        raise UsageError(
            Message("{text!r} names no task").format(text=text.strip()),
            hint=Message(
                "a task is its number, LAST or -1 for the newest, -2 for the one before; 12/2 is picture 2 of task 12"
            ),
        )
    number = None if found["picture"] is None else _number(found["picture"])
    if found["id"] is not None:
        _must_be_possible(found["id"], "task")
        return TaskReference(TaskId(_number(found["id"])), number)
    back = 1 if found["last"] else _number(found["back"])
    id_ = store.newest("task", back)
    if id_ is None:
        raise NothingToDo(_too_far(found["back"] or "1", "task"), hint=SHOWN_BY["task"])
    return TaskReference(TaskId(id_), number)


def task_ids(texts: Iterable[str], store: Store) -> list[int]:
    """The numbers of these tasks, each once and in this order, for a command that takes whole tasks.

    Raises UsageError where a text names one picture, and whatever `task_reference` raises.
    """
    found = [task_reference(text, store) for text in texts]
    if one := next((one for one in found if one.number is not None), None):
        message = Message("{picture} names one picture, and this command takes whole tasks")
        hint = Message("name the task: {id}").format(id=one.id)
        raise UsageError(message.format(picture=str(one)), hint=hint)
    return list(dict.fromkeys(one.id for one in found))


def check_pictures(tasks: Iterable[Task], references: Iterable[TaskReference]) -> None:
    """Raise NothingToDo where a reference names a picture that its task does not have: one rule for all commands."""
    files = {task.id: len(task.files) for task in tasks}
    for one in references:
        if one.number is not None and one.id in files and one.number > files[one.id]:
            hint = Message("imagegen show {id} says what became of it").format(id=one.id)
            raise NothingToDo(_lacks(one.id, files[one.id], one.number), hint=hint)


def _lacks(id_: TaskId, count: int, number: int) -> Message:
    if not count:
        return Message("task {id} has no picture {number}: it has none").format(id=id_, number=number)
    return ngettext(
        "task {id} has {count} picture, and no picture {number}",
        "task {id} has {count} pictures, and no picture {number}",
        count,
        id=id_,
        number=number,
    )


def run_reference(text: str, store: Store) -> RunId | None:
    """The run that `text` names: its number, LAST or -1 for the newest, -2 for the one before. None for an empty text.

    Raises UsageError for other words, and NothingToDo where the history has no run so far back.
    """
    if not text:
        return None
    found = re.fullmatch(NAMED, text, re.IGNORECASE)
    if found is None or found["picture"]:
        hint = Message("a run is its number, LAST or -1 for the newest, or -2 for the one before")
        raise UsageError(Message("{text!r} names no run").format(text=text.strip()), hint=hint)
    if found["id"] is not None:
        _must_be_possible(found["id"], "run")
        return RunId(_number(found["id"]))
    back = 1 if found["last"] else _number(found["back"])
    id_ = store.newest("run", back)
    if id_ is None:
        raise NothingToDo(_too_far(found["back"] or "1", "run"), hint=SHOWN_BY["run"])
    return RunId(id_)


def _number(digits: str) -> int:
    """A number that SQLite can hold; one that is longer is none of the history, and stays none."""
    return int(digits[-MAX_DIGITS:]) if len(digits.lstrip("0")) <= MAX_DIGITS else 10**MAX_DIGITS


def _must_be_possible(digits: str, what: str) -> None:
    """Raise NothingToDo for a number that no history has, as it was typed: another number would be said else."""
    if len(digits.lstrip("0")) > MAX_DIGITS:
        raise NothingToDo(NOT_THERE[what].format(ids=_shown(digits)), hint=SHOWN_BY[what])


def _shown(digits: str) -> str:
    return digits if len(digits) <= MAX_SHOWN_DIGITS else f"{digits[:MAX_SHOWN_DIGITS]}…"


def _too_far(back: str, what: str) -> Message:
    return NONE_YET[what] if back == "1" else FEWER[what].format(number=_shown(back))
