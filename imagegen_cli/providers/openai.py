"""OpenAI's Images API and the services that are like it. Their differences are a table in _openai_dialects.py.

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
from urllib.parse import quote, urlsplit
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
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.money import UNITS, Money, told
from imagegen_cli.core.provider import Accepted, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import examined
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import (
    GONE,
    MAX_BYTES,
    MODELS_HINT,
    NO_ROUTES,
    Answer,
    clean,
    decoded,
    message_in,
    opened,
    refuse,
    retry_after,
    whole,
)
from imagegen_cli.providers._models import other_model
from imagegen_cli.providers._openai_dialects import DIALECTS, OPENAI, Cost, Dialect
from imagegen_cli.providers._openai_requests import content, fields_of, put, rules_of, without_jobs

AUTO = "auto"
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
"""The meaning of a service's code for a failure."""
WORDS: tuple[tuple[type[TaskError], str], ...] = (
    (OutOfCredits, r"billing hard limit|exceeded your current quota|(insufficient|not enough) (credit|balance|quota)"),
    (Unauthorized, common.PLACE.pattern.lower()),
    (Moderated, r"content[ _]?policy|safety system|moderation_blocked|safety_violations|failed safety check"),
    (Busy, "queue is full"),
)
"""The meaning of a service's message, where the code is missing or unknown."""
CANCELLED = {
    "cancelled": CancelOutcome.STOPPED,
    "completed": CancelOutcome.TOO_LATE,
    "failed": CancelOutcome.TOO_LATE,
}
"""The state of a job after its cancel -> the outcome."""
REQUEST_IDS = ("x-request-id", "x-litellm-call-id")
MAX_SEED = 2**31
"""Every server takes a seed below this."""
ABORT_WAIT_S = 30
"""Seconds in which Xinference refuses the request that it aborts."""
PREVIEWS = range(4)
MAX_CHARGED_IMAGES = 1000
PATH_HINT = Message("is base_url right? it usually ends in /v1")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting(
        "", Message("address of the service; empty: the dialect's own, for OpenAI {home}").format(home=OPENAI.home)
    )
    model: str = setting(
        "",
        Message("model when --model is not given; empty: the dialect's own, for OpenAI {model}").format(
            model=OPENAI.model
        ),
    )
    timeout: float = setting(600.0, Message("time limit of a task in seconds, counted while the service works on it"))
    dialect: str = setting(
        AUTO,
        Message("kind of the service: {known}; auto finds it by the host of base_url").format(
            known=", ".join(DIALECTS)
        ),
    )
    stream: str = setting(
        AUTO, Message("pictures as a stream, one a request: on, off, or auto, which is on at OpenAI only")
    )
    previews: int = setting(
        1, Message("previews in a stream from OpenAI, 0 to 3; each is billed as some 100 output tokens")
    )
    watermark: bool = setting(default=False, doc=Message("let Ark write its mark into the picture"))
    cost_unit: str = setting(
        "",
        Message("unit of `usage.cost` in a gateway's answers: {known}; empty: not read").format(known=", ".join(UNITS)),
    )

    environment: ClassVar[Mapping[str, str]] = {"api_key": OPENAI.variable}
    remarks: ClassVar[tuple[str, ...]] = (
        Message(
            "A LiteLLM proxy sends a request that fails up to 3 times upstream (1.110) or 9 times (1.108), and each may"
            " be billed. router_settings: {num_retries: 0} in its config.yaml makes that 1 and 3 times; max_retries: 0"
            " in the parameters of a model changes nothing for pictures."
        ),
    )

    def __post_init__(self) -> None:
        """Fill in what follows from the dialect. Raises ConfigError for unknown values."""
        if self.dialect not in (AUTO, *DIALECTS):
            raise ConfigError(
                Message("there is no dialect {dialect!r}").format(dialect=self.dialect),
                hint=nearest(self.dialect, (AUTO, *DIALECTS)),
            )
        if self.stream not in (AUTO, "on", "off"):
            raise ConfigError(Message("stream is on, off or auto, not {stream!r}").format(stream=self.stream))
        if self.cost_unit not in ("", *UNITS):
            raise ConfigError(
                Message("cost_unit is one of {known}, not {cost_unit!r}").format(
                    known=", ".join(UNITS), cost_unit=self.cost_unit
                )
            )
        if self.previews not in PREVIEWS:
            raise ConfigError(
                Message("previews is {low} to {high}, not {previews}").format(
                    low=PREVIEWS[0], high=PREVIEWS[-1], previews=self.previews
                )
            )
        if self.stream == "on" and not self.spoken.streams:
            streaming = ", ".join(name for name, dialect in DIALECTS.items() if dialect.streams)
            rule = Message("{title} sends no stream: set stream to auto or off").format(title=self.spoken.title)
            raise ConfigError(rule, hint=Message("dialects with a stream: {streaming}").format(streaming=streaming))
        object.__setattr__(self, "base_url", _home(self.base_url, self.spoken))
        object.__setattr__(self, "model", self.model or self.spoken.model)

    @property
    def spoken(self) -> Dialect:
        if self.dialect != AUTO:
            return DIALECTS[self.dialect]
        host = _host_of(self.base_url or OPENAI.home)
        return next((one for one in DIALECTS.values() if host.endswith(one.hosts)), DIALECTS["generic"])

    def variable_for(self, name: str) -> str:
        """The environment variable for a field: the key of one vendor never goes to another's host."""
        return self.spoken.variable if name == "api_key" else ""


def _home(base_url: str, dialect: Dialect) -> str:
    """The address without its last slash; a bare host gets the path of the dialect's own address."""
    base_url = (base_url or dialect.home).rstrip("/")
    if not base_url:
        raise ConfigError(
            Message("base_url is empty, and this dialect has no address of its own"), hint=Message("set base_url")
        )
    if common.address(base_url) is None:
        raise ConfigError(Message("base_url {base_url!r} is not a usable address").format(base_url=base_url))
    return base_url if urlsplit(base_url).path else base_url + (urlsplit(dialect.home).path or "/v1")


def _host_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


class OpenAI(common.HttpProvider[Settings]):
    kind = "openai"
    title = Message(
        "OpenAI Images, Seedream on Ark, xAI, Recraft, Together, LocalAI and other servers with the same API"
    )
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._dialect = settings.spoken
        self._root = self._base.removesuffix("/v1")
        self._has_jobs = self._dialect.has_jobs
        self._bill = Bill(self._dialect.cost or _gateway_cost(settings.cost_unit), self._dialect.charged_images)
        self._auth = common.Key(settings.api_key, self._base, prefix="Bearer ")
        _check_headers(settings.headers)
        self.stops_when_dropped = self._dialect.stops_when_dropped  # type: ignore[misc] # each dialect has its own

    # Before anything is sent

    def check(self, request: ImageRequest) -> None:
        rules.check(rules_of(self._dialect, self._model(request), request))
        examined(request.references)
        rules.check([rules.count(request, self.max_images(request))])
        try:
            json.dumps(self._body(request), ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise BadRequest(Message("the request cannot be written as JSON: {error}").format(error=error)) from error

    def max_images(self, request: ImageRequest) -> int:
        family = self._dialect.family(self._model(request))
        if self._streams(request) or not family.has_groups or request.extra.get("output_format") == "svg":
            return 1
        return max(1, self._dialect.max_images - (len(request.references) if self._dialect.count == "" else 0))

    def client_job(self, request: ImageRequest) -> Job | None:
        """Xinference takes an id of ours; the address to abort it is kept, because the model is part of that."""
        if not self._dialect.client_jobs:
            return None
        id_ = str(uuid4())
        return Job(id_, f"{self._base}/models/{quote(self._model(request), safe='')}/requests/{id_}/abort")

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002 - it is the same for every job
        """Not by an id of ours: it only serves to abort a request, whose pictures come in the answer to the submit."""
        return not self._dialect.client_jobs

    def model_for_version(self, version: str) -> str | None:
        number, pro = version.removesuffix("p").replace(".", "-"), "pro-" if version.endswith("p") else "(t2i-)?"
        wanted = rf"seedream-{re.escape(number)}-{pro}\d+"
        return next((model for model in self._dialect.known_models if re.search(wanted, model)), None)

    def _model(self, request: ImageRequest) -> str:
        model = super()._model(request)
        return self.model_for_version(model) or model

    def _streams(self, request: ImageRequest) -> bool:
        if not self._dialect.streams or self._settings.stream == "off":
            return False
        if not self._dialect.family(self._model(request)).has_groups or request.extra.get("output_format") in (
            "gif",
            "svg",
        ):
            return False
        return self._settings.stream == "on" or self._dialect is OPENAI

    def _body(self, request: ImageRequest) -> dict[str, Any]:
        body = fields_of(self._dialect, self._model(request), request)
        if self._dialect.has_watermark:
            body["watermark"] = self._settings.watermark
        if self._streams(request):
            body["stream"] = True
            if self._dialect.previews:
                body["partial_images"] = self._settings.previews
        return body

    # Sending

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        self.check(request)
        request = self._seeded(request)
        body = self._body(request)
        if client_job is not None and self._dialect.client_jobs:
            put(body, "kwargs.request_id", client_job.id)
        if "kwargs" in body:
            body["kwargs"] = json.dumps(body["kwargs"])
        path, options = content(self._dialect, body, request)
        if self._has_jobs:
            accepted = await self._enqueue(options["json"], report)
            if accepted is not None:
                return replace(accepted, facts=common.facts(seed=request.seed))
        if self._dialect.has_jobs:
            options = {"json": without_jobs(options["json"])}
        if self._streams(request):
            ready = await self._stream(f"{self._base}{path}", options, report)
        else:
            answer = await self._send("POST", f"{self._base}{path}", paid=True, **options)
            self._judge(answer, paid=True)
            ready = self._ready(answer)
        notes = filter(None, (ready.note, other_model(self._model(request), ready.facts.get("model"))))
        return replace(ready, note=joined("; ", notes), facts={**common.facts(seed=request.seed), **ready.facts})

    def _seeded(self, request: ImageRequest) -> ImageRequest:
        """With a drawn seed where the service would not name its own. One seed might make several pictures alike."""
        hides = self._dialect.hides_seeds and self._dialect.family(self._model(request)).has_seeds
        if not hides or request.seed is not None or (request.count or 1) != 1:
            return request
        return replace(request, seed=rules.drawn(range(min(self._dialect.seeds.stop, MAX_SEED))))

    async def _enqueue(self, body: dict[str, Any], report: Report) -> Accepted | None:
        """None where the server is too old to have a queue: then nothing was accepted."""
        answer = await self._send("POST", f"{self._root}/sdcpp/v1/img_gen", paid=True, json=body)
        if answer.status in NO_ROUTES:
            self._has_jobs = False
            return None
        self._judge(answer, paid=True)
        id_ = common.text_or_number(common.table(answer.body).get("id"))
        if not id_:
            raise Uncertain(common.NO_ID)
        report(_working(common.table(answer.body)))
        return Accepted(Job(id_))

    def _judge(self, answer: Answer, *, paid: bool) -> None:
        """Raise what an answer without a picture means."""
        if answer.is_redirect:
            raise BadRequest(
                Message("HTTP {status}: the service is at another address").format(status=answer.status), hint=PATH_HINT
            )
        if answer.status == HTTPStatus.CONFLICT and self._dialect.client_jobs:  # Xinference's answer after an abort
            raise GenerationFailed(Message("stopped at the server: {why}").format(why=message_in(answer)))
        fault = _fault(answer)
        if fault is not None:
            raise fault
        if answer.status == HTTPStatus.NOT_FOUND and paid:
            about_model = "model" in f"{_codes(answer.body)} {message_in(answer)}".lower()
            raise BadRequest(f"HTTP 404: {message_in(answer)}", hint=MODELS_HINT if about_model else PATH_HINT)
        refuse(answer, paid=paid)

    def _ready(self, answer: Answer) -> Ready:
        body = common.table(answer.body)
        if not {"data", "error", "block_reason"} & body.keys():
            raise common.unknown_form(paid=True)
        received = Received(complete=True, bill=self._bill)
        received.take(common.items(body.get("data")), self._image)
        received.note(body, answer.headers)
        if body.get("error"):
            received.refused.append(_failure(body))
        if reason := common.text_or_number(body.get("block_reason")):
            received.refused.append(Moderated(Message("blocked: {reason}").format(reason=reason)))
        return received.ready()

    def _image(self, item: Any) -> Image | None:
        """A picture inside the answer, or at a web address; a path on the server's disk is neither."""
        found = common.table(item)
        home = self._base if self._dialect.joins_addresses else ""
        return common.better(common.inline(found.get("b64_json")), common.picture(found.get("url"), home))

    # Streams

    async def _stream(self, url: str, options: Mapping[str, Any], report: Report) -> Ready:
        received = Received(bill=self._bill)
        headers, auth = dict(self._settings.headers), self._auth.bound_for(url) if self._auth else None
        try:
            async with opened(self._clients, "POST", url, paid=True, headers=headers, auth=auth, **options) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != HTTPStatus.OK or "text/event-stream" not in kind:
                    answer = await whole(response, paid=True)  # a refusal, or a gateway that does not stream
                    self._judge(answer, paid=True)
                    return self._ready(answer)
                received.note({}, response.headers)
                async with aclosing(events(response.aiter_bytes())) as found:
                    async for data in found:
                        self._take(data, received, report)
                        if received.whole:
                            break
        except Uncertain as error:
            if not received.images:
                raise
            return received.with_note(error.message)
        return received.ready()

    def _take(self, data: bytes, received: "Received", report: Report) -> None:
        """Take in one event: a preview, a picture, a refusal, the end. Any other event is passed over."""
        if data.strip() == b"[DONE]":
            received.whole = True
            return
        body = common.table(decoded(data))
        kind = common.text_or_number(body.get("type"))
        received.note(body)
        if body.get("error") or kind == "error":
            received.refused.append(_failure(body))
            received.whole = not kind.endswith("partial_failed")
        elif kind.endswith(".partial_image"):
            report(Working(note=Message("preview"), preview=common.unbased(body.get("b64_json")) or None))
        elif kind.endswith((".partial_succeeded", ".completed")):
            received.take([body] if {"b64_json", "url"} & body.keys() else [], self._image)
            received.whole = received.complete = kind.endswith(".completed")
        else:
            received.take(common.items(body.get("data")), self._image)

    # Jobs: sd-server's queue, Xinference's abort

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        if self._dialect.client_jobs:
            raise Uncertain(Message("the answer was lost, and this server keeps no pictures that a query could fetch"))
        if not self._dialect.has_jobs:
            raise Expired(Message("this service has no jobs that a query could be about"))
        answer = await self._send("GET", self._job_url(job))
        if answer.status in GONE:
            raise Expired(f"HTTP {answer.status}: {message_in(answer)}")
        body = common.body_of(answer, paid=False)
        common.about(job.id, body.get("id"))
        status = common.state_in(body)
        if status == "completed":
            received = Received(complete=True)
            received.take(common.items(common.table(body.get("result")).get("images")), self._image)
            return received.ready()
        if status in ("failed", "cancelled"):
            raise _failure(body).as_final()
        return _working(body)

    async def cancel(self, job: Job) -> CancelOutcome:
        if self._dialect.client_jobs and job.url:
            return await self._abort(job)
        if not self._dialect.has_jobs:
            return CancelOutcome.GOES_ON
        answer = await self._send("POST", f"{self._job_url(job)}/cancel")
        if answer.status in GONE:
            return CancelOutcome.TOO_LATE
        body = common.table(answer.body)
        common.about(job.id, body.get("id"))
        if answer.status != HTTPStatus.OK:
            return CancelOutcome.GOES_ON
        return CANCELLED.get(common.text_or_number(body.get("status")), CancelOutcome.REQUESTED)

    async def _abort(self, job: Job) -> CancelOutcome:
        """Xinference answers DONE, NOT_FOUND or NO_OP."""
        answer = await self._send("POST", job.url, json={"block_duration": ABORT_WAIT_S})
        done = answer.status == HTTPStatus.OK and "DONE" in json.dumps(answer.body)
        return CancelOutcome.STOPPED if done else CancelOutcome.GOES_ON

    def _job_url(self, job: Job) -> str:
        return f"{self._root}/sdcpp/v1/jobs/{quote(job.id, safe='')}"

    # Questions

    async def models(self) -> tuple[str, ...]:
        if self._dialect.known_models:
            return self._dialect.known_models
        answer = await self._send("GET", f"{self._base}/models")
        if answer.status in NO_ROUTES:
            return ()
        self._judge(answer, paid=False)
        listed = answer.body if isinstance(answer.body, list) else common.table(answer.body).get("data")
        found = filter(_draws, common.tables(listed))
        names = [name for item in found if (name := common.text_or_number(item.get("id")))]
        matching = [name for name in names if re.search(self._dialect.picture_models, name)]
        return tuple(sorted(matching or names))


@dataclass(frozen=True, slots=True)
class Bill:
    """Where this service tells what it charges; see `Dialect`."""

    cost: Cost | None = None
    charged_images: str = ""

    def money_in(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Money | None:
        where = self.cost
        if where is None:
            return None
        amount = _number_in(headers.get(where.place)) if where.is_header else common.number(_at(body, where.place))
        if amount is None or (not amount and not where.none_is_free):
            return None
        return told(amount / where.per_unit, where.unit)

    def images_in(self, body: Mapping[str, Any]) -> int | None:
        return common.natural(_at(body, self.charged_images), MAX_CHARGED_IMAGES) or None


def _gateway_cost(unit: str) -> Cost | None:
    """What gateways like OpenRouter tell, in a unit that the person has to know."""
    return Cost("usage.cost", unit, none_is_free=False) if unit else None


def _at(body: Mapping[str, Any], place: str) -> Any:
    """What stands at a place; a dot leads into an object."""
    outer, _, inner = place.partition(".")
    return common.table(body.get(outer)).get(inner) if inner else body.get(outer)


def _number_in(words: str | None) -> float | None:
    """A number from a header, as 0.04 or 4e-05."""
    found = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,20})?(e-[0-9]{1,2})?", (words or "").strip(), re.ASCII)
    return float(found[0]) if found else None


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of OpenAI's `usage` by sort; none where it does not tell text and pictures apart.

    Without `output_tokens_details` all of the output are tokens of pictures, as OpenAI describes it.
    """
    asked, made = common.table(usage.get("input_tokens_details")), common.table(usage.get("output_tokens_details"))
    made = made or {"image_tokens": usage.get("output_tokens"), "text_tokens": 0}
    found = {
        "text_in": common.natural(asked.get("text_tokens")),
        "image_in": common.natural(asked.get("image_tokens")),
        "text_out": common.natural(made.get("text_tokens", 0)),
        "image_out": common.natural(made.get("image_tokens")),
    }
    counted = {name: number for name, number in found.items() if number is not None}
    return counted if counted.keys() == found.keys() else {}


@dataclass(slots=True)
class Received:
    """What has come of a request so far. `complete`: the service marked it as the end, so nothing else will come."""

    images: list[Image] = field(default_factory=list)
    refused: list[TaskError] = field(default_factory=list)
    whole: bool = False
    complete: bool = False
    facts: Facts = field(default_factory=dict)
    bill: Bill = Bill()
    cost: Money | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    charged_images: int | None = None

    def note(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """Keep what the service tells: the cost, the model, the prompt that was drawn, the id of the request."""
        items = common.items(body.get("data")) or [body]
        facts = common.facts(
            model=body.get("model"),
            seed=body.get("seed"),
            revised_prompt=common.rewritten(common.table(item).get("revised_prompt") for item in items),
            request_id=next(filter(None, map((headers or {}).get, REQUEST_IDS)), None),
            tokens=common.table(body.get("usage")).get("total_tokens"),
        )
        self.facts = {**self.facts, **facts}
        money = self.bill.money_in(body, headers or {})
        self.cost = self.cost if money is None else money
        self.tokens = _tokens(common.table(body.get("usage"))) or self.tokens
        self.charged_images = self.bill.images_in(body) or self.charged_images

    def take(self, items: Iterable[Any], read: Callable[[Any], Image | None]) -> None:
        for item in items:
            image = None if common.table(item).get("error") else read(item)
            if image is not None:
                self.images.append(image)
            elif common.table(item).get("error"):
                self.refused.append(_failure(item))
            else:
                self.refused.append(
                    GenerationFailed(Message("a picture came in a form that cannot be used")).as_charged()
                )

    def ready(self) -> Ready:
        """The pictures. Raises the reason where there is none."""
        if not self.images:
            raise (self.refused[0] if self.refused else self._nothing()).as_billed(self.cost, self.tokens)
        lost = len(self.refused)
        if not lost:
            return self.with_note("")
        note = Message("{count} of {total} refused: {why}")
        return self.with_note(note.format(count=lost, total=lost + len(self.images), why=self.refused[0].message))

    def with_note(self, note: str) -> Ready:
        """The pictures that came, and what is told of their cost."""
        return Ready(tuple(self.images), note, self.facts, self.cost, self.tokens, self.charged_images)

    def _nothing(self) -> TaskError:
        if self.complete:
            return GenerationFailed(Message("the service says that it is done, but sent no picture")).as_charged()
        return Uncertain(Message("the stream ended without a picture; it may have been made and charged"))


# What comes back


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event, from pieces of any length. The last event may lack its empty line."""
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
    """Lines that end with CR, LF or both: the HTML standard allows all three in event streams."""
    line: list[bytes] = []
    size, after_return = 0, False
    async for chunk in chunks:
        text = chunk[1:] if after_return and chunk.startswith(b"\n") else chunk
        after_return = chunk.endswith(b"\r")
        first, *more = re.split(rb"\r\n|\n|\r", text)
        line.append(first)
        size += len(first)
        if size > MAX_BYTES:
            raise Uncertain(Message("the service sent an event of more than {limit} MB").format(limit=MAX_BYTES >> 20))
        for piece in more:
            yield b"".join(line).removeprefix(b"\xef\xbb\xbf")
            line, size = [piece], len(piece)
    yield b"".join(line)


def _fault(answer: Answer) -> TaskError | None:
    """What a refusal means by its code or its message; None where only the status counts, or where pictures came."""
    error = _kind_of(answer.body)
    if answer.is_success or error is None:
        return None
    text = f"HTTP {answer.status}: {_message(answer.body) or message_in(answer)}"
    unavailable = answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    if unavailable and error is Unauthorized:  # the part of the service that knows the keys is down
        return None
    if error not in (RateLimited, Busy):
        fault = error(text, hint=common.ELSEWHERE_HINT if common.PLACE.search(text) else "")
        early = isinstance(fault, Unauthorized | OutOfCredits) and not answer.is_server_error
        return fault.as_unspent() if early else fault
    if answer.is_server_error and not unavailable:  # the request may have been accepted before the failure
        return None
    return Busy(text, after=retry_after(answer)) if error is Busy else RateLimited(text, after=retry_after(answer))


def _failure(body: Any) -> TaskError:
    """What a failure inside a good answer means.

    An unknown failure, and one by too much load, is GenerationFailed: the request had been accepted, perhaps billed.
    """
    kind = _kind_of(body)
    text = _message(body) or Message("the service gave no reason")
    return GenerationFailed(text) if kind is None or issubclass(kind, SlowDown) else kind(text)


def _kind_of(body: Any) -> type[TaskError] | None:
    codes, text = _codes(body).lower(), _message(body).lower()
    by_code = (kind for kind, pattern in CODES if re.search(pattern, codes))
    by_message = (kind for kind, pattern in WORDS if re.search(pattern, text))
    return next(by_code, None) or next(by_message, None)


def _codes(body: Any) -> str:
    """The service's codes for a failure: they stand beside the message, or in its place."""
    error = common.table(body).get("error")
    places = (common.table(error), common.table(body))
    found = [common.text_or_number(place.get(key)) for place in places for key in ("code", "type")]
    return " ".join([*found, common.text_or_number(error)])


def _message(body: Any) -> str:
    """The service's message about a failure, with the stage and the categories of a moderation."""
    text = message_in(Answer(0, httpx.Headers(), body, b"")) or _codes(body).strip()
    error = common.table(common.table(body).get("error"))
    moderation = common.table(error.get("moderation_details"))
    stage = common.text_or_number(moderation.get("moderation_stage"))
    categories = ", ".join(filter(None, map(common.text_or_number, common.items(moderation.get("categories")))))
    details = "; ".join(filter(None, (f"stage: {stage}" if stage else "", categories)))
    return clean(f"{text} ({details})") if details else text


def _working(job: Mapping[str, Any]) -> Working:
    note = common.text_or_number(job.get("status"))
    return Working(queue_position=common.natural(job.get("queue_position")), note=note)


def _draws(model: dict[str, Any]) -> bool:
    """Whether a listed model makes pictures: Together, Xinference and Recraft name its kind, others do not."""
    kinds = [kind for key in ("type", "model_type") if (kind := common.text_or_number(model.get(key)))]
    kinds += map(common.text_or_number, common.items(model.get("output_modalities")))
    return not kinds or "image" in kinds


def _check_headers(headers: Mapping[str, str]) -> None:
    """Raises ConfigError for a header that HTTP cannot carry."""
    for name, value in headers.items():
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not (value.isascii() and value.isprintable()):
            raise ConfigError(Message("the header {name!r} holds characters that cannot be sent").format(name=name))


PROVIDER: type[Provider[Any]] = OpenAI
