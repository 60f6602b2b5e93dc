"""OpenAI's Images API and all that speaks it. How they differ is a table, in _openai_dialects.py, not a class each.

Protocol facts of the stream are from OpenAI's and Ark's SDKs, those of jobs and aborts from the public sources of
stable-diffusion.cpp and Xinference, as they stood in November 2026.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit
from uuid import uuid4

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    ConfigError,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    SlowDown,
    TaskError,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import examined
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, Job, RemoteImage
from imagegen_cli.providers._common import (
    ELSEWHERE,
    PLACE,
    Key,
    about,
    address,
    better,
    body_of,
    drawn,
    facts,
    inline,
    items,
    state_in,
    table,
    unbased,
)
from imagegen_cli.providers._http import (
    MAX_BYTES,
    Answer,
    call,
    clean,
    decoded,
    message_in,
    opened,
    refuse,
    retry_after,
    whole,
)
from imagegen_cli.providers._models import other_model
from imagegen_cli.providers._openai_dialects import (
    DIALECTS,
    MODELS_HINT,
    Dialect,
    content,
    fields_of,
    put,
    rules,
    without_jobs,
)

AUTO = "auto"
OPENAI = DIALECTS["openai"]
CODES: tuple[tuple[type[TaskError], str], ...] = (
    (OutOfCredits, r"insufficient_?(quota|credit|balance|fund)|billing|quotaexceeded|setlimitexceeded|overdue"),
    (OutOfCredits, r"not_enough_credits|budget_exceeded"),
    (Moderated, r"moderation|sensitivecontent|riskdetection|content_?policy|content_?filter|content_?violation|nsfw"),
    (Unauthorized, r"invalid_api_key|authentication|accessdenied|permission|unsupported_country"),
    (Unauthorized, r"no_db_connection|expired_key|token_not_found_in_db|model_access_denied|\bauth_error"),
    (Busy, r"model_loading|overloaded"),
    (RateLimited, r"rate_?limit|requestbursttoofast|inflightbatchsizeexceeded"),
    (GenerationFailed, r"requestcanceled"),
)
"""What a service's code stands for."""
WORDS: tuple[tuple[type[TaskError], str], ...] = (
    (OutOfCredits, r"billing hard limit|exceeded your current quota|(insufficient|not enough) (credit|balance|quota)"),
    (Unauthorized, PLACE.pattern.lower()),
    (Moderated, r"content[ _]?policy|safety system|moderation_blocked|safety_violations|failed safety check"),
    (Busy, r"queue is full"),
)
"""The same for services that have no code for it."""
REQUEST_IDS = ("x-request-id", "x-litellm-call-id")
MOST_SEEDS = 2**31
"""Every server can hold a seed below this."""
PATH_HINT = "is base_url right? it usually ends in /v1"


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("", f"address of the service; empty: the dialect's own, for OpenAI {OPENAI.home}")
    model: str = setting("", f"model when --model is not given; empty: the dialect's own, for OpenAI {OPENAI.model}")
    timeout: float = setting(600.0, "time limit of a task in seconds, counted while the service works on it")
    dialect: str = setting(AUTO, f"how the service speaks: {', '.join(DIALECTS)}; auto tells by the host of base_url")
    stream: str = setting(AUTO, "pictures as a stream, one a request: on, off, or auto, which is on at OpenAI only")
    previews: int = setting(1, "previews in a stream from OpenAI, 0 to 3; each is billed as some 100 output tokens")
    watermark: bool = setting(default=False, doc="let Ark write its mark into the picture")

    environment: ClassVar[Mapping[str, str]] = {"api_key": OPENAI.variable}
    remarks: ClassVar[tuple[str, ...]] = (
        "A LiteLLM proxy sends a request that fails up to 3 times upstream (1.110) or 9 times (1.108), and each may be",
        "billed. router_settings: {num_retries: 0} in its config.yaml makes that 1 and 3 times; max_retries: 0 in the",
        "parameters of a model changes nothing for pictures.",
    )

    def __post_init__(self) -> None:
        """Fill in what follows from the dialect. Raises ConfigError for words that mean nothing."""
        if self.dialect not in (AUTO, *DIALECTS):
            raise ConfigError(f"there is no dialect {self.dialect!r}", hint=nearest(self.dialect, (AUTO, *DIALECTS)))
        if self.stream not in (AUTO, "on", "off"):
            raise ConfigError(f"stream is on, off or auto, not {self.stream!r}")
        if self.previews not in range(4):
            raise ConfigError(f"previews is 0 to 3, not {self.previews}")
        if self.stream == "on" and not self.speaks.streams:
            streaming = ", ".join(name for name, dialect in DIALECTS.items() if dialect.streams)
            rule = f"{self.speaks.title} sends no stream: set stream to auto or off"
            raise ConfigError(rule, hint=f"dialects with a stream: {streaming}")
        object.__setattr__(self, "base_url", _home(self.base_url, self.speaks))
        object.__setattr__(self, "model", self.model or self.speaks.model)

    @property
    def speaks(self) -> Dialect:
        if self.dialect != AUTO:
            return DIALECTS[self.dialect]
        host = _host_of(self.base_url or OPENAI.home)
        return next((one for one in DIALECTS.values() if host.endswith(one.hosts)), DIALECTS["generic"])

    def variable_for(self, name: str) -> str:
        """The environment variable for a field: the key of one vendor never goes to another's host."""
        return self.speaks.variable if name == "api_key" else ""


def _home(base_url: str, dialect: Dialect) -> str:
    """The address without its last slash; where it is a bare host, with the path of the dialect's own."""
    base_url = (base_url or dialect.home).rstrip("/")
    if not base_url:
        raise ConfigError("base_url is empty, and this dialect has no address of its own", hint="set base_url")
    if address(base_url) is None:
        raise ConfigError(f"base_url {base_url!r} is no usable address")
    return base_url if urlsplit(base_url).path else base_url + (urlsplit(dialect.home).path or "/v1")


def _host_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


class OpenAI(Provider[Settings]):
    kind = "openai"
    title = "OpenAI Images, Seedream on Ark, xAI, Recraft, Together, LocalAI and other servers that speak alike"
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._speaks: Dialect = self._settings.speaks
        self._base: str = self._settings.base_url
        self._root = self._base.removesuffix("/v1")
        self._has_jobs = self._speaks.jobs
        self._key = Key(self._settings.api_key, self._base, prefix="Bearer ")
        self._headers = _sendable(self._settings.headers)
        self.stops_when_dropped = self._speaks.stops_when_dropped  # type: ignore[misc] # each dialect has its own

    # Before anything is sent

    def check(self, request: ImageRequest) -> None:
        for broken, rule in rules(self._speaks, self._model(request), request):
            if broken:
                raise BadRequest(rule)
        examined(request.references)
        most, count = self.max_images(request), 1 if request.count is None else request.count
        if count not in range(1, most + 1):
            raise BadRequest(f"one request makes 1 to {most} pictures here, not {count}")
        try:
            json.dumps(self._body(request), ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise BadRequest(f"the request cannot be written as JSON: {error}") from error

    def max_images(self, request: ImageRequest) -> int:
        family = self._speaks.family(self._model(request))
        if self._streams(request) or not family.groups or request.extra.get("output_format") == "svg":
            return 1
        return max(1, self._speaks.most - (len(request.references) if self._speaks.count == "" else 0))

    def client_job(self, request: ImageRequest) -> Job | None:
        """Xinference knows a request by an id of ours; its address is kept, because the model is part of it."""
        if not self._speaks.client_jobs:
            return None
        number = str(uuid4())
        return Job(number, f"{self._base}/models/{quote(self._model(request), safe='')}/requests/{number}/abort")

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002 - it is the same for every job
        """An id of ours serves to abort a request; its pictures come in the answer to the submit alone."""
        return not self._speaks.client_jobs

    def model_for_version(self, version: str) -> str | None:
        number, pro = version.removesuffix("p").replace(".", "-"), "pro-" if version.endswith("p") else "(t2i-)?"
        wanted = rf"seedream-{re.escape(number)}-{pro}\d+"
        return next((model for model in self._speaks.known_models if re.search(wanted, model)), None)

    def _model(self, request: ImageRequest) -> str:
        model = request.model or self._settings.model
        return self.model_for_version(model) or model

    def _streams(self, request: ImageRequest) -> bool:
        if not self._speaks.streams or self._settings.stream == "off":
            return False
        if not self._speaks.family(self._model(request)).groups or request.extra.get("output_format") in ("gif", "svg"):
            return False
        return self._settings.stream == "on" or self._speaks is OPENAI

    def _body(self, request: ImageRequest) -> dict[str, Any]:
        body = fields_of(self._speaks, self._model(request), request)
        if self._speaks.marks:
            body["watermark"] = self._settings.watermark
        if self._streams(request):
            body["stream"] = True
            if self._speaks.previews:
                body["partial_images"] = self._settings.previews
        return body

    # Sending

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        self.check(request)
        request = self._seeded(request)
        body = self._body(request)
        if client_job is not None and self._speaks.client_jobs:
            put(body, "kwargs.request_id", client_job.id)
        if "kwargs" in body:
            body["kwargs"] = json.dumps(body["kwargs"])
        path, asked = content(self._speaks, body, request)
        if self._has_jobs:
            accepted = await self._enqueue(asked["json"], report)
            if accepted is not None:
                return replace(accepted, facts=facts(seed=request.seed))
        if self._speaks.jobs:
            asked = {"json": without_jobs(asked["json"])}
        if self._streams(request):
            ready = await self._stream(f"{self._base}{path}", asked, report)
        else:
            ready = self._ready(await self._post(f"{self._base}{path}", asked))
        notes = filter(None, (ready.note, other_model(self._model(request), ready.facts.get("model"))))
        return replace(ready, note="; ".join(notes), facts={**facts(seed=request.seed), **ready.facts})

    def _seeded(self, request: ImageRequest) -> ImageRequest:
        """With a seed of ours where the service would draw one. One for several pictures might make them all alike."""
        draws = self._speaks.draws and self._speaks.family(self._model(request)).seeds
        if not draws or request.seed is not None or (request.count or 1) != 1:
            return request
        return replace(request, seed=drawn(range(min(self._speaks.seeds.stop, MOST_SEEDS))))

    async def _enqueue(self, body: dict[str, Any], report: Report) -> Accepted | None:
        """None where the server is too old to have a queue: then nothing was accepted."""
        answer = await self._ask("POST", f"{self._root}/sdcpp/v1/img_gen", paid=True, json=body)
        if answer.status in (404, 405):
            self._has_jobs = False
            return None
        self._judge(answer, paid=True)
        job = _text(table(answer.body).get("id"))
        if not job:
            raise Uncertain("the server gave no job id to ask with; the request may have been accepted")
        report(_working(table(answer.body)))
        return Accepted(Job(job))

    async def _post(self, url: str, asked: Mapping[str, Any]) -> Answer:
        answer = await self._ask("POST", url, paid=True, **asked)
        self._judge(answer, paid=True)
        return answer

    async def _ask(self, method: str, url: str, *, paid: bool = False, **asked: Any) -> Answer:
        options = {"headers": self._headers, "auth": self._key.bound_for(url), **asked}
        return await call(self._clients, method, url, paid=paid, raw=True, **options)

    def _judge(self, answer: Answer, *, paid: bool) -> None:
        """Raise what an answer that brings no picture means."""
        if 300 <= answer.status < 400:  # noqa: PLR2004 - a redirect
            raise BadRequest(f"HTTP {answer.status}: the service is at another address", hint=PATH_HINT)
        if answer.status == 409 and self._speaks.client_jobs:  # noqa: PLR2004 - Xinference's word for an abort
            raise GenerationFailed(f"stopped at the server: {message_in(answer)}")
        fault = _fault(answer)
        if fault is not None:
            raise fault
        if answer.status == 404 and paid:  # noqa: PLR2004
            about_model = "model" in f"{_codes(answer.body)} {message_in(answer)}".lower()
            raise BadRequest(f"HTTP 404: {message_in(answer)}", hint=MODELS_HINT if about_model else PATH_HINT)
        refuse(answer, paid=paid)

    def _ready(self, answer: Answer) -> Ready:
        body = table(answer.body)
        if not {"data", "error", "block_reason"} & body.keys():
            raise Uncertain("the service answered with JSON of an unknown form; it may have been accepted and charged")
        got = Received(complete=True)
        got.take(items(body.get("data")), self._image)
        got.note(body, answer.headers)
        if body.get("error"):
            got.refused.append(_failure(body))
        if reason := _text(body.get("block_reason")):
            got.refused.append(Moderated(f"blocked: {reason}"))
        return got.ready()

    def _image(self, item: Any) -> Image | None:
        """A picture that came inside, or at an address of the web. A path on the server's disk is neither."""
        found = table(item)
        inside, url = found.get("b64_json"), found.get("url")
        other: Image | None = None
        if isinstance(url, str):
            home = self._base if self._speaks.joins_addresses else ""
            other = inline(url) if url[:5].lower() == "data:" else _remote(home, url.strip())
        return better(inline(inside), other)

    # Streams

    async def _stream(self, url: str, asked: Mapping[str, Any], report: Report) -> Ready:
        got = Received()
        try:
            options = {"headers": self._headers, "auth": self._key.bound_for(url), **asked}
            async with opened(self._clients, "POST", url, paid=True, **options) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != HTTPStatus.OK or "text/event-stream" not in kind:
                    answer = await whole(response, paid=True)  # a refusal, or a gateway that does not stream
                    self._judge(answer, paid=True)
                    return self._ready(answer)
                got.note({}, response.headers)
                async with aclosing(events(response.aiter_bytes())) as found:
                    async for data in found:
                        self._take(data, got, report)
                        if got.whole:
                            break
        except Uncertain as error:
            if not got.images:
                raise
            return Ready(tuple(got.images), error.message, got.facts)
        return got.ready()

    def _take(self, data: bytes, got: "Received", report: Report) -> None:
        """One event: a preview, a picture, a refusal, the end. Whatever else it is, it is passed over."""
        if data.strip() == b"[DONE]":
            got.whole = True
            return
        body = table(decoded(data))
        kind = _text(body.get("type"))
        got.note(body)
        if body.get("error") or kind == "error":
            got.refused.append(_failure(body))
            got.whole = not kind.endswith("partial_failed")
        elif kind.endswith(".partial_image"):
            report(Working(note="preview", preview=unbased(body.get("b64_json")) or None))
        elif kind.endswith((".partial_succeeded", ".completed")):
            got.take([body] if {"b64_json", "url"} & body.keys() else [], self._image)
            got.whole = got.complete = kind.endswith(".completed")
        else:
            got.take(items(body.get("data")), self._image)

    # Jobs: sd-server's queue, Xinference's abort

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        if self._speaks.client_jobs:
            raise Uncertain("the answer was lost, and this server keeps no picture to ask for")
        if not self._speaks.jobs:
            raise Expired("this service has no jobs that could be asked for")
        answer = await self._ask("GET", self._job_url(job))
        if answer.status in (404, 410):
            raise Expired(f"HTTP {answer.status}: {message_in(answer)}")
        body = body_of(answer, paid=False)
        about(job.id, body.get("id"))
        status = state_in(body)
        if status == "completed":
            got = Received(complete=True)
            got.take(items(table(body.get("result")).get("images")), self._image)
            return got.ready()
        if status in ("failed", "cancelled"):
            raise _failure(body).as_final()
        return _working(body)

    async def cancel(self, job: Job) -> CancelOutcome:
        if self._speaks.client_jobs and job.url:
            return await self._abort(job)
        if not self._speaks.jobs:
            return CancelOutcome.GOES_ON
        answer = await self._ask("POST", f"{self._job_url(job)}/cancel")
        if answer.status in (404, 410):
            return CancelOutcome.TOO_LATE
        words = {
            "cancelled": CancelOutcome.STOPPED,
            "completed": CancelOutcome.TOO_LATE,
            "failed": CancelOutcome.TOO_LATE,
        }
        about(job.id, table(answer.body).get("id"))
        status = _text(table(answer.body).get("status"))
        return words.get(status, CancelOutcome.REQUESTED) if answer.status == 200 else CancelOutcome.GOES_ON  # noqa: PLR2004

    async def _abort(self, job: Job) -> CancelOutcome:
        """Xinference answers DONE, NOT_FOUND or NO_OP."""
        answer = await self._ask("POST", job.url, json={"block_duration": 30})
        if answer.status != 200:  # noqa: PLR2004
            return CancelOutcome.GOES_ON
        return CancelOutcome.STOPPED if "DONE" in json.dumps(answer.body) else CancelOutcome.GOES_ON

    def _job_url(self, job: Job) -> str:
        return f"{self._root}/sdcpp/v1/jobs/{quote(job.id, safe='')}"

    # Questions

    async def models(self) -> tuple[str, ...]:
        if self._speaks.known_models:
            return self._speaks.known_models
        answer = await self._ask("GET", f"{self._base}/models")
        if answer.status in (404, 405):
            return ()
        self._judge(answer, paid=False)
        listed = answer.body if isinstance(answer.body, list) else table(answer.body).get("data")
        found = [table(item) for item in items(listed)]
        names = [name for item in filter(_draws, found) if (name := _text(item.get("id")))]
        fitting = [name for name in names if re.search(self._speaks.pictures_named, name)]
        return tuple(sorted(fitting or names))


@dataclass(slots=True)
class Received:
    """What a request has brought so far. `complete`: the service said that this is all, so a lack is its last word."""

    images: list[Image] = field(default_factory=list)
    refused: list[TaskError] = field(default_factory=list)
    whole: bool = False
    complete: bool = False
    facts: Facts = field(default_factory=dict)

    def note(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """Keep what the service tells of how it drew: which model, of which words, under which number."""
        rewritten = (table(item).get("revised_prompt") for item in (*items(body.get("data")), body))
        sent = headers or {}
        told = facts(
            model=body.get("model"),
            seed=body.get("seed"),
            revised_prompt=next(filter(None, rewritten), None),
            request_id=next(filter(None, map(sent.get, REQUEST_IDS)), None),
            tokens=table(body.get("usage")).get("total_tokens"),
        )
        self.facts = {**self.facts, **told}

    def take(self, items: Iterable[Any], read: Callable[[Any], Image | None]) -> None:
        for item in items:
            image = None if table(item).get("error") else read(item)
            if image is not None:
                self.images.append(image)
            elif table(item).get("error"):
                self.refused.append(_failure(item))
            else:
                self.refused.append(GenerationFailed("a picture came in a form that cannot be used").as_charged())

    def ready(self) -> Ready:
        """The pictures, or the reason why there is none: never both lost."""
        if not self.images:
            raise self.refused[0] if self.refused else self._nothing()
        lost = len(self.refused)
        note = f"{lost} of {lost + len(self.images)} refused: {self.refused[0].message}" if lost else ""
        return Ready(tuple(self.images), note, self.facts)

    def _nothing(self) -> TaskError:
        if self.complete:
            return GenerationFailed("the service says that it is done, but names no picture").as_charged()
        return Uncertain("the stream ended without a picture; it may have been made and charged")


# What comes back


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event, however the bytes were cut. The last may lack its empty line."""
    data: list[bytes] = []
    async for line in _lines(chunks):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        if not line and data:
            yield b"\n".join(data)
            data.clear()
    if data:
        yield b"\n".join(data)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines end with CR, LF or both, as the HTML standard has it for event streams."""
    held: list[bytes] = []
    size, after_return = 0, False
    async for chunk in chunks:
        text = chunk[1:] if after_return and chunk.startswith(b"\n") else chunk
        after_return = chunk.endswith(b"\r")
        first, *more = re.split(rb"\r\n|\n|\r", text)
        held.append(first)
        size += len(first)
        if size > MAX_BYTES:
            raise Uncertain(f"the service sent an event of more than {MAX_BYTES >> 20} MB")
        for piece in more:
            yield b"".join(held).removeprefix(b"\xef\xbb\xbf")
            held, size = [piece], len(piece)
    yield b"".join(held)


def _fault(answer: Answer) -> TaskError | None:
    """What a refusal means by its code or its words; None where only the status tells, or where pictures came."""
    error = _kind_of(answer.body)
    good = 200 <= answer.status < 300  # noqa: PLR2004 - the meaning of HTTP's classes
    if good or error is None:
        return None
    text = f"HTTP {answer.status}: {_said(answer.body) or message_in(answer)}"
    if answer.status == 503 and error is Unauthorized:  # noqa: PLR2004 - what keeps the keys is down
        return None
    if error not in (RateLimited, Busy):
        fault = error(text, hint=ELSEWHERE if PLACE.search(text) else "")
        early = isinstance(fault, Unauthorized | OutOfCredits) and answer.status < 500  # noqa: PLR2004
        return fault.as_unspent() if early else fault
    if answer.status >= 500 and answer.status != 503:  # noqa: PLR2004 - it may have been accepted before it broke
        return None
    return Busy(text, after=retry_after(answer)) if error is Busy else RateLimited(text, after=retry_after(answer))


def _failure(body: Any) -> TaskError:
    """What a failure means that was told in a good answer.

    Without a word that we know, it is the service's own. So is too much to do: it had been accepted, perhaps billed.
    """
    kind = _kind_of(body)
    text = _said(body) or "the service gave no reason"
    return GenerationFailed(text) if kind is None or issubclass(kind, SlowDown) else kind(text)


def _kind_of(body: Any) -> type[TaskError] | None:
    codes, text = _codes(body).lower(), _said(body).lower()
    by_code = (kind for kind, pattern in CODES if re.search(pattern, codes))
    by_word = (kind for kind, pattern in WORDS if re.search(pattern, text))
    return next(by_code, None) or next(by_word, None)


def _codes(body: Any) -> str:
    """The service's codes for a failure: they stand beside the message, or in its place."""
    error = table(body).get("error")
    places = (table(error), table(body))
    found = [_text(place.get(key)) for place in places for key in ("code", "type")]
    return " ".join([*found, _text(error)])


def _said(body: Any) -> str:
    """The service's words for a failure; with them at which stage it was held back, and why, where that is told."""
    text = message_in(Answer(0, httpx.Headers(), body, b"")) or _codes(body).strip()
    details = table(table(table(body).get("error")).get("moderation_details"))
    stage = _text(details.get("moderation_stage"))
    categories = ", ".join(filter(None, map(_text, items(details.get("categories")))))
    told = "; ".join(filter(None, (f"stage: {stage}" if stage else "", categories)))
    return clean(f"{text} ({told})") if told else text


def _working(job: Mapping[str, Any]) -> Working:
    position = job.get("queue_position")
    waiting = isinstance(position, int) and not isinstance(position, bool) and position >= 0
    return Working(queue_position=position if waiting else None, note=_text(job.get("status")))


def _remote(base_url: str, url: str) -> RemoteImage | None:
    try:
        whole = urljoin(f"{base_url}/", url) if base_url else url
        whole.encode()
        usable = urlsplit(whole).scheme in ("http", "https") and bool(urlsplit(whole).hostname)
    except ValueError:  # no address at all, or half a character in it
        return None
    return RemoteImage(whole) if usable else None


def _draws(model: dict[str, Any]) -> bool:
    """Whether a listed model makes pictures: Together, Xinference and Recraft say so, others say nothing."""
    kinds = [kind for key in ("type", "model_type") if (kind := _text(model.get(key)))]
    kinds += map(_text, items(model.get("output_modalities")))
    return not kinds or "image" in kinds


def _text(value: Any) -> str:
    """A text or a number from JSON on one line of bearable length that can be written anywhere; else nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return clean(str(value))


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the header {name!r} holds characters that cannot be sent")
    return dict(headers)


PROVIDER: type[Provider[Any]] = OpenAI
