"""The fields of one task as text, for every display that shows them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from imagegen_cli.core.task import Failed, ImageRequest, Task, word
from imagegen_cli.core.text import seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Row, can_be_fetched
from imagegen_cli.display.costs import described

LABEL = 12


def service(request: ImageRequest) -> Iterator[str]:
    """The provider and the options of a request that are set."""
    yield request.provider
    if request.model:
        yield request.model
    if request.width and request.height:
        yield f"{request.width}x{request.height}"
    yield from (text for text in (request.ratio, request.resolution) if text)
    if request.seed is not None:
        yield f"seed {request.seed}"


SELF_EVIDENT = ("ratio", "resolution", "size")
"""What is varied and needs no name beside its value."""


def varied(cell: Mapping[str, str], between: str = ", ") -> str:
    """What was varied, with the values of one task: `model 4.0, 16:9`."""
    return between.join(
        value if name in SELF_EVIDENT or name[:1] == "{" else f"{name} {value}" for name, value in cell.items()
    )


def fields_of(row: Row, now: float) -> Iterator[tuple[str, str]]:
    """Label and value of everything about a task except its prompt; a value may be empty."""
    request = row.task.request
    yield "state", messages.described(row.task.state)
    yield "what to do", advice(row.task)
    elapsed = row.elapsed(now)
    yield "began", moment(row.started) + (f", {seconds(elapsed)}" if elapsed is not None else "")
    yield "pictures", f"{len(row.task.files)}/{row.task.expected_images}"
    yield "cost", described(row.charge, row.task.id)
    yield "note", row.note
    yield "varied", varied(row.task.cell)
    yield "negative", request.negative
    yield "references", ", ".join(request.references)
    yield "extra", ", ".join(f"{name}={value}" for name, value in request.extra.items())
    yield "run", str(row.task.run)
    yield "asked for", moment(row.created)
    if row.task.job is not None:
        yield "receipt", row.task.job.id


def brief(row: Row) -> str:
    state = row.task.state
    return str(state.reason) if isinstance(state, Failed) else word(state)


def state_and_reason(row: Row) -> str:
    state = word(row.task.state)
    return state if brief(row) == state else f"{state}: {brief(row)}"


def images_of(row: Row) -> str:
    return f"{len(row.task.files)}/{row.task.expected_images}"


def model_of(row: Row) -> str:
    return row.task.request.model or row.task.request.provider


def advice(task: Task) -> str:
    """The next step for a person; one that costs nothing comes first."""
    if can_be_fetched(task.state):
        fetch = f"imagegen resume {task.id} can still fetch it without paying again"
        hint = task.state.hint if isinstance(task.state, Failed) else ""
        return f"{hint}; {fetch}" if hint else fetch
    if not isinstance(task.state, Failed):
        return ""
    return (task.state.hint or messages.general_hint(task.state)).replace("{ids}", str(task.id))


def moment(at: float | None) -> str:
    """Seconds since the epoch as local time; empty for None."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
