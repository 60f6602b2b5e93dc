"""What made a picture, as the session tells it to the threads that save: into the file, or into a sidecar beside it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from imagegen_cli.core.marker import Edit, Sidecar
from imagegen_cli.core.task import Task
from imagegen_cli.marks.values import Marks, marks_of
from imagegen_cli.marks.writing import has_marks, plan, sidecar_paths, sidecar_text


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
        self._time = datetime.now(UTC)

    @cached_property
    def _marks(self) -> Marks:
        """Made when the first thread needs it: looking for secrets in a long prompt must not stop the event loop."""
        task, facts = self._task, self._task.facts
        job = task.job.id if task.job is not None else str(facts.get("job_id", ""))
        return marks_of(
            task.request,
            kind=self._kind,
            facts={"model": task.request.model or self._model} | dict(facts),
            job=job,
            task_id=str(task.id),
            time=self._time.isoformat(timespec="seconds").replace("+00:00", "Z"),
            index=self._number,
            parents=task.parents,
        )

    def edits(self, file: BinaryIO) -> Sequence[Edit]:
        return plan(file, self._marks).edits if self._embeds else ()

    def sidecar(self, picture: Path, file: BinaryIO, sha256: str) -> Sidecar | None:
        if self._embeds and has_marks(file, self._marks):
            return None
        return Sidecar(sidecar_text(self._marks, sha256), sidecar_paths(picture))
