"""Tasks and events as JSON, for the history: all that is needed to go on after a crash, and no secret."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from imagegen_cli.core.errors import Reason, error_class
from imagegen_cli.core.events import (
    BudgetReached,
    Event,
    LaneChanged,
    PicturesCharged,
    ProviderPaused,
    RunStarted,
    RunStopping,
    TaskChanged,
    TaskCharged,
    TaskDelayed,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.language import Message, parts_of, restored
from imagegen_cli.core.masking import without_own_user
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Image,
    ImageRequest,
    InlineImage,
    Job,
    Queued,
    RemoteImage,
    RunId,
    Running,
    SavedImage,
    Saving,
    StagedImage,
    State,
    Submitting,
    Task,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


def dumps(value: Any) -> str:
    """JSON in ASCII: half a surrogate in a service's message must not keep a receipt from being written."""
    return _ENCODER.encode(value)


def in_order(texts: Mapping[str, str]) -> str:
    """JSON in ASCII of texts by name, whose order means something."""
    return json.dumps(dict(texts))


def from_request(request: ImageRequest) -> Json:
    """The fields that differ from their defaults, so that a new field of a later version changes no identity."""
    plain = asdict(request)
    return {item.name: plain[item.name] for item in fields(request) if plain[item.name] or item.name == "seed"}


def to_request(data: Json) -> ImageRequest:
    known = {item.name for item in fields(ImageRequest)}
    values = {key: value for key, value in data.items() if key in known}
    return ImageRequest(**values | {"references": tuple(values.get("references", ()))})


def identity(request: ImageRequest) -> str:
    """A hash of a request: equal for equal prompts and parameters, wherever their line is in a list."""
    from hashlib import sha256  # noqa: PLC0415 - reading the history needs no OpenSSL

    return sha256(dumps(from_request(request)).encode()).hexdigest()[:32]


def from_state(state: State) -> Json:
    return _with_words(_from_state(state))


def from_facts(facts: Mapping[str, Any]) -> Json:
    return _with_words(dict(facts))


def to_facts(data: Json) -> dict[str, Any]:
    """Facts as a service told them; those in words of ours are messages again."""
    words = data.get("words")
    if not isinstance(words, dict):
        return dict(data)
    return {
        name: restored(fact, words[name]) if isinstance(fact, str) and name in words else fact
        for name, fact in data.items()
        if name != "words"
    }


def _with_words(plain: Json) -> Json:
    """A JSON object, and under `words` how each message in it was made, so that it can be read in any language."""
    words = {key: parts for key, text in plain.items() if isinstance(text, str) and (parts := parts_of(text))}
    return plain | {"words": words} if words else plain


def _said(data: Json, key: str) -> Message:
    """The message under `key`. Raises KeyError where there is none."""
    return restored(data[key], data.get("words", {}).get(key))


def _remark(data: Json, key: str) -> Message:
    """The message under `key`; empty where there is none."""
    return _said(data, key) if key in data else Message("")


def _from_state(state: State) -> Json:  # noqa: PLR0911 - one return a state
    match state:
        case Queued():
            return {}
        case Submitting(job, quote):
            return _with_job(job) | ({"quote": from_quote(quote)} if quote else {})
        case Running(job, images, unconfirmed):
            plain = {"images": [_from_image(image) for image in images]}
            return _with_job(job) | plain | ({"unconfirmed": True} if unconfirmed else {})
        case Saving(images, job, note):
            return _with_job(job) | {"images": [_from_image(image) for image in images], "note": note}
        case Done(files, missing, note, job):
            return _with_job(job) | {"files": list(files), "missing": missing, "note": note}
        case Failed():
            return _with_job(state.job) | _from_failed(state)
        case Cancelled(stop, job):
            return _with_job(job) | {"stop": stop.value}


def to_state(name: str, data: Json) -> State:
    """The reverse of `from_state`. Raises KeyError or ValueError where the history is damaged."""
    job = Job(**data["job"]) if data.get("job") else None
    images = tuple(_to_image(image) for image in data.get("images", ()))
    states: dict[str, Any] = {
        "queued": Queued,
        "submitting": lambda: Submitting(job, _to_quote(data.get("quote"))),
        "running": lambda: Running(job or Job(""), images, data.get("unconfirmed", False)),
        "saving": lambda: Saving(images, job, _remark(data, "note")),
        "done": lambda: Done(tuple(data["files"]), data.get("missing", 0), _remark(data, "note"), job),
        "failed": lambda: _to_failed(data, job, images),
        "cancelled": lambda: Cancelled(CancelOutcome(data["stop"]), job),
    }
    state: State = states[name]()
    return state


def from_event(event: Event) -> tuple[int | None, Json]:
    """The id of the task that the event is about, if any, and what to write beside the time and the kind."""
    about, plain = _from_event(event)
    return about, plain if "words" in plain else _with_words(plain)


def _from_event(event: Event) -> tuple[int | None, Json]:  # noqa: PLR0911 - one return an event
    match event:
        case TaskChanged(task=task):
            return task.id, {"state": word(task.state)} | from_state(task.state)
        case TaskProgressed(id=id_, working=working):
            progress = {"fraction": working.fraction, "queue": working.queue_position, "note": working.note}
            return id_, {key: value for key, value in progress.items() if value not in (None, "")}
        case TaskDelayed(id=id_, attempt=attempt, seconds=seconds, because=because):
            return id_, {"attempt": attempt, "seconds": round(seconds, 3), "because": because}
        case RunStopping(why=why):
            return None, {"why": why}
        case BudgetReached(because=because):
            return None, {"because": because}
        case ProviderPaused(provider=provider, because=because):
            return None, {"provider": provider, "because": because}
        case LaneChanged():
            fields = ("provider", "limit", "allowed", "until", "paused")
            return None, {name: value for name in fields if (value := getattr(event, name))}
        case TaskCharged(id=id_, amount=amount, source=source, settled=settled):
            said = {"micros": amount.micros, "unit": amount.unit, "source": str(source)}
            return id_, said | ({"settled": True} if settled else {})
        case PicturesCharged(id=id_, images=images):
            return id_, {"images": images}
        case _:
            return None, {}


def to_run_event(kind: str, at: float, run: RunId, data: Json) -> Event | None:
    """The reverse of `from_event`, for what is about a whole run; None for a kind that a later version wrote."""
    events: dict[str, Callable[[], Event]] = {
        "RunStarted": lambda: RunStarted(at, run, ()),
        "RunStopping": lambda: RunStopping(at, run, _said(data, "why")),
        "BudgetReached": lambda: BudgetReached(at, run, _said(data, "because")),
        "ProviderPaused": lambda: ProviderPaused(at, data["provider"], _said(data, "because"), run),
        "LaneChanged": lambda: LaneChanged(
            at, run, data["provider"], data.get("limit"), data.get("allowed"), data.get("until", 0.0),
            data.get("paused", False),
        ),
    }  # fmt: skip
    return events[kind]() if kind in events else None


def to_event(kind: str, at: float, task: Task, data: Json) -> Event:
    """The reverse of `from_event`, for a task."""
    if kind == "TaskProgressed":
        return TaskProgressed(at, task.id, Working(data.get("fraction"), data.get("queue"), _remark(data, "note")))
    if kind == "TaskDelayed":
        return TaskDelayed(at, task.id, data["attempt"], data["seconds"], _said(data, "because"))
    if kind == "TaskCharged":
        amount = Money(data["micros"], data["unit"])
        return TaskCharged(at, task.id, amount, Source(data["source"]), data.get("settled", False))
    if kind == "PicturesCharged":
        return PicturesCharged(at, task.id, data["images"])
    return TaskChanged(at, task)


def _from_failed(state: Failed) -> Json:
    always = {"reason": state.reason.value, "message": state.message, "may_be_paid": state.may_be_paid}
    more = {"hint": state.hint, "final": state.final, "images": [_from_image(image) for image in state.images]}
    return always | {key: value for key, value in more.items() if value}


def _to_failed(data: Json, job: Job | None, images: tuple[Image, ...]) -> Failed:
    reason = Reason(data["reason"])
    paid = data.get("may_be_paid", error_class(reason).may_be_paid)  # an early history does not say it
    return Failed(reason, _said(data, "message"), job, images, _remark(data, "hint"), data.get("final", False), paid)


def from_quote(quote: Quote) -> Json:
    each = {"micros": quote.each.micros, "unit": quote.each.unit} if quote.each else {}
    return {"images": quote.images, "source": str(quote.source)} | each


def _to_quote(data: Json | None) -> Quote | None:
    if not data:
        return None
    each = Money(data["micros"], data["unit"]) if "unit" in data else None
    return Quote(data["images"], each, Source(data["source"]))


def _with_job(job: Job | None) -> Json:
    return {"job": {"id": job.id, "url": without_own_user(job.url)}} if job else {}


def _from_image(image: Image) -> Json:
    match image:
        case RemoteImage(url):
            return {"url": without_own_user(url)}
        case StagedImage(path, final, sha256, doubt):
            return _with_words({"part": path, "final": final} | _unless_empty(sha256=sha256, doubt=doubt))
        case SavedImage(path, sha256, doubt, remark):
            return _with_words({"file": path} | _unless_empty(sha256=sha256, doubt=doubt, remark=remark))
        case InlineImage():
            return {}


def _unless_empty(**values: str) -> Json:
    return {name: value for name, value in values.items() if value}


def _to_image(data: Json) -> Image:
    if "file" in data:
        return SavedImage(data["file"], data.get("sha256", ""), _remark(data, "doubt"), _remark(data, "remark"))
    if "part" in data:
        return StagedImage(data["part"], data.get("final", ""), data.get("sha256", ""), _remark(data, "doubt"))
    return RemoteImage(data["url"]) if "url" in data else InlineImage(b"")
