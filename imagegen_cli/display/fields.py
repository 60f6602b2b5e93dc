"""The fields of one task as text, for every display that shows them, in the language in use.

Where a function says so, it gives English, for scripts.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from imagegen_cli.core.errors import HINTS, Reason, label
from imagegen_cli.core.language import Message, joined, tr, translated
from imagegen_cli.core.task import Cancelled, Failed, ImageRequest, Task, may_be_paid, word
from imagegen_cli.core.text import seconds
from imagegen_cli.display import messages
from imagegen_cli.display.board import Row, can_be_fetched
from imagegen_cli.display.costs import described
from imagegen_cli.display.messages import RETRY

LABEL = 12
STATE = Message("state")


def service(request: ImageRequest) -> Iterator[str]:
    """The provider and the options of a request that are set."""
    yield request.provider
    if request.model:
        yield request.model
    if request.width and request.height:
        yield f"{request.width}x{request.height}"
    yield from (text for text in (request.ratio, request.resolution) if text)
    if request.seed is not None:
        yield tr("seed {seed}", seed=str(request.seed))


SELF_EVIDENT = ("ratio", "resolution", "size")
"""What is varied and needs no name beside its value."""


def varied(cell: Mapping[str, str], between: str = ", ") -> str:
    """What was varied, with the values of one task: `model 4.0, 16:9`."""
    return between.join(
        value if name in SELF_EVIDENT or name[:1] == "{" else f"{name} {value}" for name, value in cell.items()
    )


def fields_of(row: Row, now: float) -> Iterator[tuple[str, str]]:
    """Label and value of everything about a task except its prompt; a value may be empty. Labels are messages."""
    request = row.task.request
    yield STATE, messages.explained(row.task.state)
    yield Message("what to do"), shown_advice(row.task, row.terms)
    yield Message("began"), began(row, now)
    yield Message("pictures"), f"{len(row.task.files)}/{row.task.expected_images}"
    yield Message("cost"), translated(described(row.charge, row.task.id))
    yield Message("note"), translated(row.note)
    yield Message("varied"), varied(row.task.cell)
    yield Message("negative"), request.negative
    yield Message("references"), ", ".join(request.references)
    yield Message("extra"), ", ".join(f"{name}={value}" for name, value in request.extra.items())
    yield Message("run"), str(row.task.run)
    yield Message("asked for"), moment(row.created)
    if row.task.job is not None:
        yield Message("receipt"), row.task.job.id


def began(row: Row, now: float) -> str:
    """When the task was sent, and how long it took or has taken; empty where it was not sent."""
    elapsed = row.elapsed(now)
    return translated(joined(", ", (moment(row.started), *([] if elapsed is None else [seconds(elapsed)]))))


def brief(row: Row) -> str:
    """The state, or why the task failed."""
    state = row.task.state
    return translated(label(state.reason) if isinstance(state, Failed) else messages.WORDS[type(state)])


def state_and_reason(row: Row) -> str:
    """Both as scripts know them, so in every language in English."""
    state = row.task.state
    return f"{word(state)}: {state.reason}" if isinstance(state, Failed) else word(state)


def images_of(row: Row) -> str:
    return f"{len(row.task.files)}/{row.task.expected_images}"


def model_of(row: Row) -> str:
    return row.task.request.model or row.task.request.provider


def advice(task: Task, terms: str = "") -> str:
    """The next step for a person, in English; one that costs nothing comes first. `terms`: see Row."""
    return _of_task(str(_next_step(task)), task, terms)


def shown_advice(task: Task, terms: str = "") -> str:
    """The same in the language in use."""
    return _of_task(translated(_next_step(task)), task, terms)


def _of_task(text: str, task: Task, terms: str) -> str:
    return text.replace(RETRY, f"{RETRY}{terms}").replace("{ids}", str(task.id))


def _next_step(task: Task) -> str:
    """A message in which `{ids}` stands for the task."""
    if can_be_fetched(task.state):
        fetch = Message("imagegen resume {id} can still fetch it without paying again").format(id=task.id)
        hint = task.state.hint if isinstance(task.state, Failed) else ""
        return joined("; ", (hint, fetch)) if hint else fetch
    if isinstance(task.state, Cancelled) and may_be_paid(task.state):
        return HINTS[Reason.UNCERTAIN]
    if not isinstance(task.state, Failed):
        return ""
    return task.state.hint or messages.general_hint(task.state)


def moment(at: float | None) -> str:
    """Seconds since the epoch as local time; empty for None."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
