"""Tasks of the history as the pictures of a sheet or a page: what was varied between them, and what made each."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from imagegen_cli.commands.elsewhere import LIES_THERE, Pictures, other_machine
from imagegen_cli.core.language import Message, tr
from imagegen_cli.core.masking import masked
from imagegen_cli.core.task import ENDED, Cancelled, ImageRequest, Task, word
from imagegen_cli.display.messages import STOPS, described
from imagegen_cli.gallery.values import Pairs, Picture
from imagegen_cli.gallery.words import PAIRED
from imagegen_cli.storage.records import Record

PROMPT = "prompt"
OPTIONS = ("provider", "model", "ratio", "resolution", "size", "count", "seed", "negative", "image", "name")
"""Names of varied things that stand in no prompt."""
Cell = Mapping[str, str]
"""What was varied: name and value."""


def cells_of(tasks: Sequence[Task]) -> list[dict[str, str]]:
    """For each task the value of everything that was varied between them; all name the same, in one order.

    What the person named as varied comes last. Before it comes every other option that tasks of one such combination
    differ in: a comparison by `-m a -m b`, or several prompts.
    """
    told = [dict(task.cell) for task in tasks]
    options = [_options(task.request, cell) for task, cell in zip(tasks, told, strict=True)]
    named = list(dict.fromkeys(name for cell in told for name in cell))
    found = [name for name in _differing(told, options) if name not in named]
    kept = [name for name in found if not _follows(name, found, options)]
    pairs = _paired(named, told)
    return [
        {name: one.get(name, "") for name in kept}
        | {PAIRED.join(names): PAIRED.join(cell.get(name, "") for name in names) for names in pairs}
        for cell, one in zip(told, options, strict=True)
    ]


def _paired(names: Sequence[str], cells: Sequence[Cell]) -> list[list[str]]:
    """The names, those together whose values go with each other: they make one axis."""
    found: list[list[str]] = []
    for name in names:
        together = next(
            (some for some in found if _decides(some[0], name, cells) and _decides(name, some[0], cells)), None
        )
        if together is None or len({cell.get(name) for cell in cells}) == 1:
            found.append([name])
        else:
            together.append(name)
    return found


def is_comparison(tasks: Sequence[Task]) -> bool:
    """Whether the tasks vary something; mere prompts after each other compare nothing."""
    if len(tasks) < 2:  # noqa: PLR2004 - one task has nothing beside it
        return False
    cells = cells_of(tasks)
    return cells[0].keys() != {PROMPT} and any(one != cells[0] for one in cells)


def _options(request: ImageRequest, cell: Cell) -> dict[str, str]:
    """What a request may differ in, with the words that were varied put back to their names."""
    return {PROMPT: unfilled(request.prompt, cell)} | dict(_parameters(request))


def unfilled(prompt: str, cell: Cell) -> str:
    """The prompt as it was before the words of this combination stood in it, as far as can be told."""
    for name, value in cell.items():
        if value and name not in OPTIONS:
            before, after = (r"(?<!\w)" if value[0].isascii() else "", r"(?!\w)" if value[-1].isascii() else "")
            place = name if name.startswith("{") else f"{{{name}}}"
            prompt = re.sub(f"{before}{re.escape(value)}{after}", place.replace("\\", r"\\"), prompt)
    return prompt


def _differing(told: Sequence[Cell], options: Sequence[Cell]) -> list[str]:
    """Names of options of which one combination has several values, in the order in which options are shown."""
    names = list(dict.fromkeys(name for one in options for name in one))
    seen: dict[tuple[tuple[str, ...], str], str] = {}
    found = set()
    for cell, one in zip(told, options, strict=True):
        for name in names:
            if seen.setdefault((tuple(cell.values()), name), one.get(name, "")) != one.get(name, ""):
                found.add(name)
    return [name for name in names if name in found]


def _follows(name: str, names: Sequence[str], options: Sequence[Cell]) -> bool:
    """Whether an earlier option decides this one: each model has its own provider, each prompt its own seed."""
    earlier = names[: names.index(name)]
    return any(_decides(other, name, options) for other in earlier)


def _decides(one: str, other: str, options: Sequence[Cell]) -> bool:
    seen: dict[str, str] = {}
    return all(seen.setdefault(row.get(one, ""), row.get(other, "")) == row.get(other, "") for row in options)


def _parameters(request: ImageRequest) -> Iterator[tuple[str, str]]:
    """The options of a request that are set, but for its prompt and its name."""
    named = (
        ("model", request.model),
        ("provider", request.provider),
        ("ratio", request.ratio),
        ("resolution", request.resolution),
        ("size", f"{request.width}x{request.height}" if request.width else ""),
        ("count", "" if request.count is None else str(request.count)),
        ("seed", "" if request.seed is None else str(request.seed)),
        ("negative", request.negative),
        ("image", " ".join(map(_name_of, request.references))),
    )
    yield from ((name, value) for name, value in named if value)
    yield from request.extra.items()


def _name_of(reference: str) -> str:
    """A reference without its folder, and without what may sign its address."""
    return reference.partition("?")[0].rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def pictures_of(
    records: Sequence[Record],
    *,
    compared: bool,
    numbers: Mapping[int, Sequence[int]] | None = None,
    elsewhere: Pictures = MappingProxyType({}),
) -> list[Picture]:
    """The pictures of these tasks, and a place with the reason for each that did not come.

    `compared`: for a sheet, which tells what was varied, and not when a picture was made. `numbers`: of these tasks
    only these pictures are wanted. `elsewhere`: see `made_elsewhere`.
    """
    tasks = [record.task for record in records]
    cells = cells_of(tasks) if compared else [dict(task.cell) for task in tasks]
    found: list[Picture] = []
    for record, cell in zip(records, cells, strict=True):
        wanted = (numbers or {}).get(record.task.id, ())
        found += (
            one for one in _places(record, cell, elsewhere, compared=compared) if not wanted or one.index in wanted
        )
    return found


def _places(record: Record, cell: Cell, elsewhere: Pictures, *, compared: bool) -> Iterator[Picture]:
    task, axes = record.task, tuple(cell.items())
    paths = [*task.files, ""] if _is_short(task) else list(task.files)
    for index, path in enumerate(paths, 1):
        yield Picture(
            path=path,
            prompt=task.request.prompt,
            task=task.id,
            run=task.run,
            index=index,
            parameters=_said(record, index, compared=compared),
            axes=axes,
            command="" if compared else command_for(task, _seed(record, index)),
            state=_state(task) if not path else "done",
            reason=_where(record, path, elsewhere) if path else why_missing(task),
        )


def _where(record: Record, path: str, elsewhere: Pictures) -> str:
    """That a file lies on another machine; empty where it may be here."""
    host = other_machine(record, [path], elsewhere.get(record.task.id, ()))
    return LIES_THERE.format(path=path, host=host) if host else ""


def _is_short(task: Task) -> bool:
    """Whether a picture of the task is not there."""
    return not isinstance(task.state, ENDED) or word(task.state) != "done" or bool(getattr(task.state, "missing", 0))


def _state(task: Task) -> str:
    return "short" if word(task.state) == "done" else word(task.state)


def why_missing(task: Task) -> str:
    """Why a picture of the task is not there, in words that fit into a cell."""
    if not isinstance(task.state, ENDED):
        return Message("It is not finished.")
    return STOPS[task.state.stop] if isinstance(task.state, Cancelled) else described(task.state)


def _said(record: Record, index: int, *, compared: bool) -> Pairs:
    """What stands beside a picture: its request's options, with what the service told of it."""
    request, facts = record.task.request, record.facts
    said = dict(_parameters(request))
    if compared:
        return tuple((name, masked(value)) for name, value in said.items())
    if seed := _seed(record, index):
        said["seed"] = seed
    model = facts.get("model")
    if isinstance(model, str) and model and model != request.model:
        said["model used"] = model
    if isinstance(words := facts.get("revised_prompt"), str) and words:
        said["revised prompt"] = words
    if record.ended is not None:
        said["made"] = f"{datetime.fromtimestamp(record.ended).astimezone():%Y-%m-%d %H:%M}"
    return tuple((name, masked(value)) for name, value in said.items())


def _seed(record: Record, index: int) -> str:
    """The seed of one picture: a service may tell one for each, with commas between."""
    told, asked = str(record.facts.get("seed", "")), record.task.request.seed
    seeds = [one.strip() for one in told.split(",")]
    if told and (len(seeds) == 1 or index <= len(seeds)):
        return seeds[0] if len(seeds) == 1 else seeds[index - 1]
    return "" if asked is None else str(asked)


def command_for(task: Task, seed: str = "") -> str:
    """The command that makes a picture again on any machine; with references, the one that looks into this history.

    `seed` is the one that was really used.
    """
    request = task.request
    if request.references or request.prompt.strip() in ("", "-"):
        return f"imagegen again {task.id}"
    words = ["imagegen", "run", "--each", *_flags(request, seed if request.count in (None, 1) else "")]
    return shlex.join([*words, *(["--"] if request.prompt.startswith("-") else []), request.prompt])


def _flags(request: ImageRequest, seed: str) -> Iterator[str]:
    yield from ("-p", request.provider)
    size = f"{request.width}x{request.height}" if request.width else ""
    asked = "" if request.seed is None else str(request.seed)
    for flag, value in (
        ("-m", request.model),
        ("--ratio", request.ratio),
        ("--resolution", request.resolution),
        ("--size", size),
        ("-n", "" if request.count is None else str(request.count)),
        ("--seed", seed or asked),
    ):
        if value:
            yield from (flag, value)
    if request.negative:
        yield f"--negative={request.negative}"
    for name, value in request.extra.items():
        yield from ("-x", f"{name}={value}")


def title_of(records: Sequence[Record]) -> str:
    """The prompt that all have in common, with the varied words by their names; else which run it is."""
    prompts = {unfilled(one.task.request.prompt, one.task.cell) for one in records}
    if len(prompts) == 1:
        return prompts.pop()
    runs = sorted({one.task.run for one in records})
    return tr("Run {run}", run=runs[0]) if len(runs) == 1 else tr("Pictures of several runs")


def folder_of(records: Iterable[Record]) -> str:
    """The folder of the pictures; where there are several, that of the newest task."""
    return max(records, key=lambda record: record.task.id).task.folder
