"""What is said and done about tasks that were made anew, because the history lacked them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.net.image_files import left_behind
from imagegen_cli.settings.paths import kept_folder
from imagegen_cli.storage.missing_tasks import Made

MAX_IDS = 20
"""Task numbers that fit into a line."""


def go_on(made: Sequence[Made]) -> Iterator[Message]:
    """Let new tasks go on with the part files of those in whose place they are. Yields what is to be said of them."""
    carry_parts(made)
    again = [one for one in made if one.lost == one.id]
    if again:
        yield ngettext(
            "the history lacked task {ids}; it is there again, with its receipt",
            "the history lacked tasks {ids}; they are there again, with their receipts",
            len(again),
            ids=_listed([one.id for one in again]),
        )
    if moved := [one for one in made if one.lost != one.id]:
        yield ngettext(
            "the history lacked task {lost}; its receipt is task {ids} now",
            "the history lacked tasks {lost}; their receipts are tasks {ids} now",
            len(moved),
            lost=_listed([one.lost for one in moved]),
            ids=_listed([one.id for one in moved]),
        )


def carry_parts(made: Sequence[Made]) -> None:
    """Rename part files of which a process of the lost task has written whole pictures: their links may be gone."""
    found = left_behind([*(Path(one.folder) for one in made), kept_folder()])
    for one in made:
        if not one.has_parts or one.lost_key == one.key:
            continue
        for path in (path for paths in found.get(one.lost_key, {}).values() for path in paths):
            target = path.with_name(path.name.replace(f"-{one.lost_key}-", f"-{one.key}-", 1))
            with suppress(OSError):
                if not target.exists():
                    path.rename(target)


def _listed(ids: Sequence[int]) -> str:
    """Numbers in their order, which is that of the other numbers; of many, the first ones and how many follow."""
    shown = " ".join(map(str, ids[:MAX_IDS]))
    if len(ids) <= MAX_IDS:
        return shown
    return Message("{ids} and {count} more").format(ids=shown, count=len(ids) - MAX_IDS)
