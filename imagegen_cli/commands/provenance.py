"""What made a picture, as the session tells it to the threads that save: into the file, or into a sidecar beside it.

Everything that takes time is done in those threads, the import of `marks` as well.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imagegen_cli.core.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagegen_cli.core.marker import Edit, Sidecar
    from imagegen_cli.marks.values import Marks


class Provenance:
    """The marker of picture `number` (from 1) of a task. `model` is the one that its provider uses by itself.

    `embeds`: the file gets the marks, where that is possible without damage; else they always go beside it.
    """

    def __init__(self, task: Task, number: int, *, kind: str, model: str, embeds: bool) -> None:
        self._task = task
        self._number = number
        self._kind = kind
        self._model = model
        self._embeds = embeds
        self._made_at = time.time()
        self._marks: Marks | None = None

    def edits(self, file: BinaryIO) -> "Sequence[Edit]":
        from imagegen_cli.marks.writing import plan  # noqa: PLC0415 - see above

        return plan(file, self._told()).edits if self._embeds else ()

    def sidecar(self, picture: Path, file: BinaryIO, sha256: str) -> "Sidecar | None":
        from imagegen_cli.core.marker import Sidecar  # noqa: PLC0415 - see above
        from imagegen_cli.marks.writing import has_marks, sidecar_paths, sidecar_text  # noqa: PLC0415 - see above

        if self._embeds and has_marks(file, self._told()):
            return None
        return Sidecar(sidecar_text(self._told(), sha256), sidecar_paths(picture))

    def _told(self) -> "Marks":
        self._marks = self._marks or self._made()
        return self._marks

    def _made(self) -> "Marks":
        from imagegen_cli.marks.values import marks_of  # noqa: PLC0415 - see above

        task, facts = self._task, self._task.facts
        return marks_of(
            task.request,
            kind=self._kind,
            facts={"model": task.request.model or self._model} | dict(facts),
            job=task.job.id if task.job is not None else str(facts.get("job_id", "")),
            task_id=str(task.id),
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._made_at)),
            index=self._number,
            parents=task.parents,
        )
