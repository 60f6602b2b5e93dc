"""Replicate: a prediction by id, whose input fields each model names for itself.

Protocol facts are from Replicate's OpenAPI description (1.0.0-a1) and its Python client (2.0.0b4). A client can choose
neither an id nor an idempotency key. Where a receipt was lost, the error names a prediction that may belong to the
request; that prediction is never taken automatically.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    Expired,
    GenerationFailed,
    Moderated,
    Refused,
    ServerTrouble,
    TaskError,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message
from imagegen_cli.core.provider import Accepted, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import examined, referred
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules

NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
MODEL = re.compile(rf"(?P<official>{NAME})|(?:(?P<name>{NAME}):)?(?P<version>[0-9a-f]{{64}})", re.ASCII)
MAX_IMAGES = 4
MAX_REFERENCE_BYTES = 256 * 1024
"""Bytes of a file that may be part of the request, by Replicate's documentation."""
RECEIPT_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
"""Seconds. A receipt comes at once: a late one is looked up instead."""
MAX_CLOCK_SKEW = timedelta(seconds=5)
"""How far our clock may be ahead of the service's."""

STOPPED = ("canceled", "aborted")
FORBIDDEN = re.compile(
    r"nsfw|flagged|sensitive content|\bE005\b|moderat|content polic|safety (?:filter|checker|system)", re.IGNORECASE
)
SEED = re.compile(r"\bseed\W{1,3}(\d{1,20})\b", re.IGNORECASE | re.ASCII)
MAX_LOG_CHARS = 200_000
"""Characters of a log in which the seed is looked for."""
MAX_DEPTH = 4
"""Levels of an output in which pictures are looked for."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://api.replicate.com", Message("address of the service"))
    model: str = setting(
        "black-forest-labs/flux-schnell",
        Message("model when --model is not given: owner/name, owner/name:version or a version"),
    )
    count_field: str = setting(
        "num_outputs", Message('input field for --count; "" for models that make one picture a request')
    )
    image_field: str = setting("image", Message('input field for --image; "name[]" for models that take a list'))

    environment: ClassVar[Mapping[str, str]] = {"api_key": "REPLICATE_API_TOKEN"}


class Replicate(common.HttpProvider[Settings]):
    kind = "replicate"
    title = Message("Replicate: any model, by owner/name or by version")
    declares_options = False

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._base = self._base.removesuffix("/v1") + "/v1"
        self._auth = common.Key(settings.api_key, self._base, prefix="Bearer ")
        self._ours: set[str] = set()

    def check(self, request: ImageRequest) -> None:
        rules.check(self._rules(request))
        self._input(request, examined(request.references, max_bytes=MAX_REFERENCE_BYTES))

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - the settings say it for every request
        return MAX_IMAGES if self._settings.count_field else 1

    async def models(self) -> tuple[str, ...]:
        """The collection of models that draw from text; models that are not official run by their version."""
        listed = common.body_of(await self._send("GET", f"{self._base}/collections/text-to-image"), paid=False)
        names = {_runnable(common.table(item)) for item in common.items(listed.get("models"))}
        return tuple(sorted(names - {""}))

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        pictures = [referred(reference) for reference in request.references]
        model, fields, start = self._model(request), self._input(request, pictures), datetime.now(UTC)
        try:
            prediction = await self._create(model, fields)
        except Uncertain as lost:
            raise await self._with_candidate(lost, model, fields, start - MAX_CLOCK_SKEW) from None
        self._ours.add(prediction)
        return Accepted(Job(prediction))

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        self._ours.add(job.id)
        prediction = common.body_of(await self._send("GET", f"{self._base}/predictions/{job.id}"), paid=False)
        common.about(job.id, prediction.get("id"))
        word = common.state_in(prediction)
        if word == "succeeded":
            return replace(_ready(prediction), facts=_facts(prediction))
        if word == "failed":
            raise _as_final(prediction, _failure(common.text(prediction.get("error"))))
        if word in STOPPED:
            raise _as_final(prediction, GenerationFailed(Message("{word} at the service").format(word=word)))
        log = prediction.get("logs")
        fraction = common.fraction_in(log) if isinstance(log, str) else None
        return Working(fraction=fraction, note="" if word == "processing" else word)

    async def cancel(self, job: Job) -> CancelOutcome:
        prediction = common.body_of(await self._send("POST", f"{self._base}/predictions/{job.id}/cancel"), paid=False)
        common.about(job.id, prediction.get("id"))
        word = common.state_in(prediction)
        if word in STOPPED:
            return CancelOutcome.STOPPED
        return CancelOutcome.TOO_LATE if word in ("succeeded", "failed") else CancelOutcome.REQUESTED

    async def _create(self, model: str, fields: dict[str, Any]) -> str:
        """The id of a new prediction."""
        name, version = _parted(model)
        route = "predictions" if version else f"models/{name}/predictions"
        body = {"version": model, "input": fields} if version else {"input": fields}
        url = f"{self._base}/{route}"
        answer = await self._send("POST", url, paid=True, json=body, timeout=RECEIPT_TIMEOUT)
        prediction = common.job_id(common.body_of(answer, paid=True).get("id"))
        if not prediction or prediction in self._ours:
            raise Uncertain(common.NO_ID)
        return prediction

    async def _with_candidate(self, lost: Uncertain, model: str, fields: dict[str, Any], since: datetime) -> Uncertain:
        """The error, with the id of a new prediction of the same model and input, where the account has one.

        The prediction is not taken: another task, process or machine may have sent the same request, and then two
        tasks would fetch one prediction.
        """
        params = {"created_after": since.isoformat().replace("+00:00", "Z")}
        try:
            listed = common.body_of(await self._send("GET", f"{self._base}/predictions", params=params), paid=False)
        except TaskError:
            return lost
        for item in common.tables(listed.get("results")):
            if _id(item) not in self._ours and _is_of(item, model, fields) and _created(item) >= since:
                return _naming(lost, _id(item))
        return lost

    def _rules(self, request: ImageRequest) -> Iterator[rules.Rule]:
        model = self._model(request)
        yield from rules.prompt(request)
        known = Message("owner/name, owner/name:version or a version of 64 digits")
        yield (
            not MODEL.fullmatch(model),
            Message("{model} is not the name of a model: write {known}").format(model=rules.shown(model), known=known),
        )
        yield rules.count(request, self.max_images(request))
        size = Message(
            "the models here have no common size classes: give --size or --ratio, or the model's own field in extra"
        )
        yield bool(request.resolution), size
        field = self._settings.image_field
        yield bool(request.references) and not field, Message("image_field names no input for reference pictures")
        single = Message(
            '{field} takes one reference picture; image_field = "name[]" is for models that take more'
        ).format(field=field)
        yield len(request.references) > 1 and not field.endswith("[]"), single

    def _input(self, request: ImageRequest, pictures: Sequence[str]) -> dict[str, Any]:
        field = self._settings.image_field
        named: dict[str, Any] = {
            "prompt": request.prompt,
            "aspect_ratio": request.ratio,
            "width": request.width,
            "height": request.height,
            "seed": request.seed if rules.has_seed(request) else None,
            "negative_prompt": request.negative,
            self._settings.count_field: request.count,
        }
        if pictures:
            named[field.removesuffix("[]")] = list(pictures) if field.endswith("[]") else pictures[0]
        return common.options(named, request.extra)


def _parted(model: str) -> tuple[str, str]:
    """Name and version of a model; either may be empty."""
    found = MODEL.fullmatch(model)
    return (found["official"] or found["name"] or "", found["version"] or "") if found else ("", "")


def _id(prediction: dict[str, Any]) -> str:
    return common.job_id(prediction.get("id"))


def _naming(lost: Uncertain, prediction: str) -> Uncertain:
    line = f'{{"task": {{ids}}, "job": "{prediction}", "url": ""}}'
    message = Message(
        "{message}; prediction {prediction} is new and has the same input, but may be another task's"
    ).format(message=lost.message, prediction=prediction)
    hint = Message("if it is this task's, fetch it: imagegen resume --receipts FILE, with the line {line}").format(
        line=line
    )
    return Uncertain(message, hint=hint)


def _is_of(prediction: dict[str, Any], model: str, fields: dict[str, Any]) -> bool:
    """Whether a prediction has this model and input. Large data may come back as an address: then it has not."""
    name, version = _parted(model)
    same = (not name or prediction.get("model") == name) and (not version or prediction.get("version") == version)
    return bool(_id(prediction)) and same and prediction.get("input") == fields


def _created(prediction: dict[str, Any]) -> datetime:
    try:
        moment = datetime.fromisoformat(common.text(prediction.get("created_at")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _as_final(prediction: dict[str, Any], error: TaskError) -> TaskError:
    """The error as final; without the prediction's id the answer may be about anything, and counts as trouble."""
    return (
        error.as_final()
        if _id(prediction)
        else ServerTrouble(Message("the service names no prediction: {message}").format(message=error.message))
    )


def _ready(prediction: dict[str, Any]) -> Ready:
    output = prediction.get("output")
    if output is None and prediction.get("data_removed") is True:
        raise _as_final(prediction, Expired(Message("the service has deleted the pictures: it keeps them for an hour")))
    images = tuple(image for value in _leaves(output) if (image := common.picture(value)) is not None)
    if not images:
        raise GenerationFailed(Message("the model says that it is finished, but made no pictures"))
    lost = len(output) - len(images) if isinstance(output, list) else 0
    return Ready(
        images,
        note=Message("{count} of {total} outputs are not pictures").format(count=lost, total=len(images) + lost)
        if lost > 0
        else "",
    )


def _facts(prediction: dict[str, Any]) -> Facts:
    """Models write the seed that they drew into their log."""
    log = prediction.get("logs")
    seeds = SEED.findall(log[:MAX_LOG_CHARS]) if isinstance(log, str) else []
    seed = common.table(prediction.get("output")).get("seed", common.table(prediction.get("input")).get("seed"))
    name, version = (common.text(prediction.get(key)) for key in ("model", "version"))
    model = name if version in ("", "hidden") or not name else f"{name}:{version}"
    return common.facts(seed=int(seeds[-1]) if seeds else seed, model=model)


def _leaves(output: Any, depth: int = 0) -> Iterator[Any]:
    """The values in an output, whose form each model chooses: a text, a list, or an object of either."""
    if isinstance(output, list | dict) and depth < MAX_DEPTH:
        for value in output.values() if isinstance(output, dict) else output:
            yield from _leaves(value, depth + 1)
    else:
        yield output


def _failure(error: str) -> Refused:
    kind = Moderated if FORBIDDEN.search(error) else GenerationFailed
    return kind(error or Message("the model failed without saying why"))


def _runnable(model: dict[str, Any]) -> str:
    name = f"{common.text(model.get('owner'))}/{common.text(model.get('name'))}"
    version = common.text(common.table(model.get("latest_version")).get("id"))
    whole = name if model.get("is_official") is True or not version else f"{name}:{version}"
    return whole if MODEL.fullmatch(whole) else ""


PROVIDER: type[Provider[Any]] = Replicate
