"""Pictures that are named by their task, as 12/2: where they lie."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_cli.commands.console import history
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.task_ids import task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.task import Parent, word
from imagegen_cli.core.text import amount
from imagegen_cli.storage.records import Filter, Picture, Record
from imagegen_cli.storage.store import Store

MAX_NAMED = 4
"""Pictures of a task that a message names."""

if TYPE_CHECKING:
    from imagegen_cli.inputs.plan import FindPicture  # it would bring all settings


@contextmanager
def task_pictures() -> "Iterator[FindPicture]":
    """A function that finds pictures by their task; it opens the history only where it is called."""
    with ExitStack() as stack:
        opened: list[Store] = []

        def find(text: str) -> tuple[str, Parent]:
            if not opened:
                if not has_history():
                    raise UsageError(f"there is no task {text}", hint="the history is empty")
                opened.append(stack.enter_context(history()))
            return picture_of(text, opened[0])

        yield find


def picture_of(text: str, store: Store) -> tuple[str, Parent]:
    """The file of picture 12/2, or of task 12 where it has one picture alone. Raises UsageError."""
    record, picture = picture_in_history(text, store)
    place = Parent(record.task.id, picture.number)
    if not Path(picture.path).is_file():
        hint = f"give the file where it is now, or make it anew: imagegen again {record.task.id}"
        raise UsageError(f"picture {place} is no longer at {picture.path}", hint=hint)
    return picture.path, place


def picture_in_history(text: str, store: Store) -> tuple[Record, Picture]:
    """A task and one of its pictures, wherever the file is now. Raises UsageError."""
    try:
        named = task_reference(text, store)
    except NothingToDo as error:
        raise UsageError(error.message, hint=error.hint) from error
    found = store.find(Filter(ids=(named.id,)))
    if not found:
        raise UsageError(f"there is no task {named.id}", hint="imagegen list shows the tasks")
    pictures = store.pictures([named.id]).get(named.id, [])
    return found[0], _chosen(found[0], pictures, named.number)


def _chosen(record: Record, pictures: Sequence[Picture], number: int | None) -> Picture:
    id_ = record.task.id
    if not pictures:
        hint = f"imagegen show {id_} says what became of it"
        raise UsageError(f"task {id_} has no picture: it is {word(record.task.state)}", hint=hint)
    if number is None and len(pictures) == 1:
        return pictures[0]
    chosen = next((picture for picture in pictures if picture.number == number), None)
    if chosen is None:
        names = ", ".join(f"{id_}/{picture.number}" for picture in pictures[:MAX_NAMED])
        more = ", …" if len(pictures) > MAX_NAMED else ""
        has = f"task {id_} has {amount(len(pictures), 'picture')}"
        what = has if number is None else f"{has} and no picture {number}"
        raise UsageError(what, hint=f"name one of them: {names}{more}")
    return chosen
