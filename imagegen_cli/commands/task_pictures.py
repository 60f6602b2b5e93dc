"""Pictures that are named by their task, as 12/2: where they lie."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from shlex import quote
from typing import TYPE_CHECKING

from imagegen_cli.commands.console import history
from imagegen_cli.commands.elsewhere import BRING_IT, LIES_THERE, machine_of, other_machine
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.task_ids import task_reference
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.references import MAX_BYTES, opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import Parent, word
from imagegen_cli.gallery.words import STATES
from imagegen_cli.net.image_files import sha256_of
from imagegen_cli.storage.records import Filter, Picture, Record
from imagegen_cli.storage.store import Store

MAX_NAMED = 4
"""Pictures of a task that a message names."""
NO_TASK = Message("there is no task {task}")

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
                    raise UsageError(NO_TASK.format(task=text), hint=Message("the history is empty"))
                opened.append(stack.enter_context(history()))
            return picture_of(text, opened[0])

        yield find


def picture_of(text: str, store: Store, option: str = "--image") -> tuple[str, Parent]:
    """The file of picture 12/2, or of task 12 where it has one picture alone. Raises UsageError.

    It is the picture itself, by its SHA-256: what lies there instead is sent only where the person names the file
    with `option`.
    """
    record, picture = picture_in_history(text, store)
    place = Parent(record.task.id, picture.number)
    try:
        is_it = _is_as_saved(picture)
    except (OSError, ValueError) as error:  # a path with NUL in it is a ValueError
        hint = Message("give the file where it is now, or make it anew: imagegen again {task}")
        if host := other_machine(record, [picture.path]):
            raise UsageError(
                LIES_THERE.format(path=picture.path, host=host), hint=BRING_IT.format(host=host)
            ) from error
        raise UsageError(_unusable(place, picture.path, error), hint=hint.format(task=record.task.id)) from error
    if not is_it and (host := machine_of(record)):
        raise UsageError(LIES_THERE.format(path=picture.path, host=host), hint=BRING_IT.format(host=host))
    if not is_it:
        other = Message("{path} is not picture {picture} any more: it was changed or replaced")
        hint = Message("to send that file on purpose, name it: {option} {path}")
        hint = hint.format(option=option, path=quote(picture.path))
        raise UsageError(other.format(path=picture.path, picture=str(place)), hint=hint)
    return picture.path, place


def _unusable(place: Parent, path: str, error: Exception) -> Message:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Message("picture {picture} is no longer at {path}").format(picture=str(place), path=path)
    message = Message("picture {picture} cannot be used: {why}: {path}")
    return message.format(picture=str(place), why=cause(error), path=path)


def _is_as_saved(picture: Picture) -> bool:
    """Whether the file has the bytes that were saved. Where no digest is known, a file that is no link. Raises OSError.

    A file that is larger than any reference is not read here: it is refused where it would be sent.
    """
    with opened(picture.path, follow=bool(picture.sha256)) as file:
        too_large = os.fstat(file.fileno()).st_size > MAX_BYTES
        return not picture.sha256 or too_large or sha256_of(file) == picture.sha256


def picture_in_history(text: str, store: Store) -> tuple[Record, Picture]:
    """A task and one of its pictures, wherever the file is now. Raises UsageError."""
    try:
        named = task_reference(text, store)
    except NothingToDo as error:
        raise UsageError(error.message, hint=error.hint) from error
    found = store.find(Filter(ids=(named.id,)))
    if not found:
        raise UsageError(NO_TASK.format(task=named.id), hint=Message("imagegen list shows the tasks"))
    pictures = store.pictures([named.id]).get(named.id, [])
    return found[0], _chosen(found[0], pictures, named.number)


def _chosen(record: Record, pictures: Sequence[Picture], number: int | None) -> Picture:
    id_ = record.task.id
    if not pictures:
        none = Message("task {task} has no picture: it is {state}")
        hint = Message("imagegen show {task} says what became of it").format(task=id_)
        raise UsageError(none.format(task=id_, state=STATES[word(record.task.state)]), hint=hint)
    if number is None and len(pictures) == 1:
        return pictures[0]
    chosen = next((picture for picture in pictures if picture.number == number), None)
    if chosen is None:
        names = ", ".join(f"{id_}/{picture.number}" for picture in pictures[:MAX_NAMED])
        more = ", …" if len(pictures) > MAX_NAMED else ""
        hint = Message("name one of them: {pictures}").format(pictures=f"{names}{more}")
        raise UsageError(_unnamed(id_, len(pictures), number), hint=hint)
    return chosen


def _unnamed(task: int, count: int, number: int | None) -> Message:
    if number is None:
        return ngettext("task {task} has {count} picture", "task {task} has {count} pictures", count, task=task)
    return ngettext(
        "task {task} has {count} picture and no picture {number}",
        "task {task} has {count} pictures and no picture {number}",
        count,
        task=task,
        number=number,
    )
