"""Volcengine's Visual service, the official 即梦AI: a signed submit, a task id, signed queries.

Protocol facts are from volcengine.com/docs/85621/1817045 (4.0) and its neighbours for 3.x and 4.6, the platform's
pages on common error codes, and volcengine/auth/SignerV4.py of volc-sdk-python.
"""

import hashlib
import hmac
import json
import math
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import zip_longest
from typing import Any, ClassVar, NoReturn
from urllib.parse import quote

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    ServerTrouble,
    SlowDown,
    TaskError,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.core.schema import Secret, nearest, setting
from imagegen_cli.core.task import Image, ImageRequest, Job
from imagegen_cli.providers import _chinese_words, _common as common, _rules as rules
from imagegen_cli.providers._http import GONE, NO_JOB_HINT, NO_ROUTES, Answer, message_in, refuse, retry_after

REGION, SERVICE, VERSION = "cn-north-1", "cv", "2022-08-31"
SUBMIT, QUERY = "CVSync2AsyncSubmitTask", "CVSync2AsyncGetResult"
MAX_PROMPT_CHARS = 800
SEEDS = range(2**31)
SHAPES = (1 / 3, 3.0)
"""The bounds of width by height, unless min_ratio and max_ratio are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One req_key and its rules. `area` bounds the pixels in all; `tier` is the resolution of a ratio alone."""

    req_key: str
    area: tuple[int, int] = (512**2, 2048**2)
    tiers: tuple[str, ...] = ("1k", "2k")
    tier: str = "1k"
    references: tuple[int, int] = (0, 0)
    has_seeds: bool = True
    extras: tuple[str, ...] = ("use_pre_llm",)
    scale: tuple[int, int] = (0, 1)
    """The bounds of `scale`, the weight of the prompt against the references; beyond 1 it is a whole number."""
    takes_data: bool = False
    """Whether references may be files, sent as base64."""

    @property
    def decides(self) -> bool:
        """Whether the model itself chooses ratio and number of pictures where the request names none."""
        return "force_single" in self.extras


OF_4 = ("force_single", "max_ratio", "min_ratio", "scale")
MODELS = {
    "4.6": Model(
        req_key="jimeng_seedream46_cvtob", area=(1024**2, 4096**2), tiers=("2k", "4k"), tier="2k",
        references=(0, 14), has_seeds=False, extras=OF_4, scale=(1, 100),
    ),
    "4.0": Model(
        req_key="jimeng_t2i_v40", area=(1024**2, 4096**2), tiers=("2k", "4k"), tier="2k",
        references=(0, 10), has_seeds=False, extras=OF_4,
    ),
    "3.1": Model(req_key="jimeng_t2i_v31"),
    "3.0": Model(req_key="jimeng_t2i_v30"),
    "2.1": Model(req_key="jimeng_t2i_v21", area=(256**2, 2048**2), tiers=(), has_seeds=False, extras=()),
    "i2i-3.0": Model(
        req_key="jimeng_i2i_v30", tiers=("1k",), references=(1, 1), extras=("scale",), takes_data=True,
    ),
}  # fmt: skip
BY_KEY = {model.req_key: model for model in MODELS.values()}

AT_4K = {
    "1:1": (4096, 4096),
    "4:3": (4694, 3520),
    "3:4": (3520, 4694),
    "3:2": (4992, 3328),
    "2:3": (3328, 4992),
    "16:9": (5404, 3040),
    "9:16": (3040, 5404),
    "21:9": (6198, 2656),
    "9:21": (2656, 6198),
}
AT_9_21 = tuple((width, height) for height, width in rules.SEEDREAM_SIZES["21:9"])
SIZES = {ratio: (*row, AT_4K[ratio]) for ratio, row in (*rules.SEEDREAM_SIZES.items(), ("9:21", AT_9_21))}
"""Ratio -> pixels that the pages recommend at 1k, 2k and 4k."""
TIERS = {"1k": 1024, "2k": 2048, "4k": 4096}
"""Resolution -> side of the square that has as many pixels."""

OK = 10000
CODES: dict[int, type[TaskError]] = {
    50400: Unauthorized,
    50429: RateLimited,
    50430: Busy,
    **dict.fromkeys((50411, 50412, 50413, 50511, 50512, 50518, 50519), Moderated),
    **dict.fromkeys((50520, 50521, 50522), GenerationFailed),
    **dict.fromkeys(range(50200, 50300), BadRequest),
}
TROUBLE = (50500, 50501)
ABOUT_ACCOUNT = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
BELIEVED = (Moderated, OutOfCredits)
"""What the message beside an unknown code may mean; any other meaning is not believed."""
PLATFORM: tuple[tuple[type[TaskError], tuple[str, ...]], ...] = (
    (RateLimited, ("FlowLimit",)),
    (Busy, ("ServiceUnavailable",)),
    (BadRequest, ("NotFound", "InvalidAction", "MissingParameter", "InvalidParameter")),
    (
        Unauthorized,
        (
            "Timestamp",
            "Signature",
            "AccessKey",
            "Token",
            "Credential",
            "Authorization",
            "Policy",
            "Access",
            "RequestInfo",
        ),
    ),
)
"""What an error of the gateway in front of the service means, by a part of its code's name."""
CLOCK_HINT = Message("set this machine's clock: the signature carries the time, and it is minutes off the service's")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://visual.volcengineapi.com", Message("address of the service"))
    api_key: Secret = setting(Secret(), Message('access key id (AKLT…): the text itself, "env:NAME" or "cmd:COMMAND"'))
    secret_key: Secret = setting(Secret(), Message("secret access key that belongs to it"))
    session_token: Secret = setting(Secret(), Message("security token, for temporary keys only"))
    model: str = setting(
        "4.0", Message("model when --model is not given: {known}, or a req_key").format(known=", ".join(MODELS))
    )
    concurrency: int = setting(1, Message("tasks at the service at once; an account has 1 unless more were bought"))
    poll: float = setting(1.0, Message("shortest time between two status queries of a task, in seconds"))

    environment: ClassVar[Mapping[str, str]] = {"api_key": "VOLC_ACCESSKEY", "secret_key": "VOLC_SECRETKEY"}


class Volcengine(common.HttpProvider[Settings]):
    """`force_single` is always sent: without it the model decides how many pictures it makes, and bills each."""

    kind = "volcengine"
    title = Message("Volcengine Visual: the official 即梦AI (access key and secret key)")

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._auth = _Signature(self._base, settings)

    def check(self, request: ImageRequest) -> None:
        model = self._entry(request)
        rules.options(request, model.extras, model.req_key)
        rules.check(_rules(request, model))
        rules.check(_rules_of_extra(request, model))
        rules.check(_rules_of_references(request, model))
        examined(request.references, formats=ANY_FORMAT)
        _size(request, model)

    def model_for_version(self, version: str) -> str | None:
        return MODELS[version].req_key if version in MODELS else None

    def max_images(self, request: ImageRequest) -> int | None:
        return 1 if _single(request) else None

    async def models(self) -> tuple[str, ...]:
        return tuple(MODELS)

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        del client_job, report  # the service takes no ids of ours, and answers at once
        self.check(request)
        model = self._entry(request)
        body = self._body(request, model)
        data, request_id = await self._call(SUBMIT, body, paid=True)
        task_id = common.job_id(common.text_or_number(data.get("task_id")))
        if not task_id:
            raise Uncertain(common.NO_ID)
        facts = common.facts(seed=body.get("seed"), model=model.req_key, request_id=request_id)
        return Accepted(Job(f"{model.req_key}/{task_id}"), facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """A query names the model as well as the task, so the receipt holds both."""
        req_key, _, task_id = job.id.rpartition("/")
        # Without return_url the pictures come as base64 inside the answer.
        query = {"req_key": req_key, "task_id": task_id, "req_json": json.dumps({"return_url": True})}
        data, _ = await self._call(QUERY, query)
        status = common.text_or_number(data.get("status"))
        if status == "done":
            return _ready(data)
        if status == "not_found":
            raise Expired(Message("the service does not know this task: it keeps them for 12 hours"))
        if status == "expired":
            raise Expired(Message("the task has expired at the service")).as_final()
        if not status:
            raise common.unknown_form(paid=False)
        return Working(note="" if status == "generating" else status)

    async def _call(self, action: str, fields: dict[str, Any], *, paid: bool = False) -> tuple[dict[str, Any], str]:
        """`data` of a good answer, and its request_id. Raises what any other answer means."""
        url, headers = f"{self._base}/?Action={action}&Version={VERSION}", {"Content-Type": "application/json"}
        answer = await self._send("POST", url, paid=paid, headers=headers, content=json.dumps(fields).encode())
        body = common.table(answer.body)
        data = common.table(body.get("data"))
        if "task_id" in fields:
            common.about(fields["task_id"], data.get("task_id"))
        if _code(body.get("code")) != OK:
            _refuse(answer, body, data, paid=paid)
        return data, common.text_or_number(body.get("request_id"))

    def _entry(self, request: ImageRequest) -> Model:
        """The model of a request with its rules. Raises BadRequest where there is none of that name."""
        name = self._model(request)
        model = MODELS.get(name) or BY_KEY.get(name)
        if model is None:
            raise BadRequest(
                Message("即梦AI has no image model {name}").format(name=rules.shown(name)),
                hint=nearest(name, (*MODELS, *BY_KEY)),
            )
        return model

    def _body(self, request: ImageRequest, model: Model) -> dict[str, Any]:
        body: dict[str, Any] = {"req_key": model.req_key, "prompt": request.prompt, **_size(request, model)}
        if model.has_seeds:
            body["seed"] = rules.seed_or_drawn(request, SEEDS)
        if model.decides:
            body["force_single"] = _single(request)
        for key in ("max_ratio", "min_ratio", "scale"):
            if key in request.extra:
                number = float(request.extra[key])
                body[key] = int(number) if key == "scale" and model.scale[1] > 1 else number
        if "use_pre_llm" in request.extra:
            body["use_pre_llm"] = request.extra["use_pre_llm"] == "true"
        if request.references and is_remote(request.references[0]):
            body["image_urls"] = list(request.references)
        elif request.references:
            body["binary_data_base64"] = [read(one, formats=ANY_FORMAT).base64 for one in request.references]
        return body


class _Signature(common.OriginAuth):
    """Signs requests to the configured host and to no other."""

    requires_request_body = True

    def __init__(self, base_url: str, settings: Settings) -> None:
        super().__init__(base_url, settings.api_key, settings.secret_key, settings.session_token)

    def bound_for(self, url: str) -> "_Signature":
        """As in `OriginAuth`; also raises Unauthorized without both keys."""
        if not all(self._secrets[:2]):
            both = Message("set api_key and secret_key, or $VOLC_ACCESSKEY and $VOLC_SECRETKEY")
            raise Unauthorized(
                Message("即梦AI needs an access key and a secret key: {both}").format(both=both)
            ).as_unspent()
        super().bound_for(url)
        return self

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.is_home(request.url):
            access, secret, token = (key.reveal() for key in self._secrets)
            sign(request, datetime.now(UTC), access=access, secret=secret, token=token)
        yield request


def sign(request: httpx.Request, moment: datetime, *, access: str, secret: str, token: str = "") -> None:
    """Add the headers of Volcengine's signature.

    It is AWS's version 4, but the chain of keys begins with the bare secret and ends in "request".
    """
    date = moment.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(request.content).hexdigest()
    request.headers.update(
        {"X-Date": date, "X-Content-Sha256": digest} | ({"X-Security-Token": token} if token else {})
    )
    names = sorted({"content-type", "host", "x-content-sha256", "x-date"} | ({"x-security-token"} if token else set()))
    signed = ";".join(names)
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    canonical = "\n".join((request.method, request.url.path or "/", _query(request.url), headers, signed, digest))
    scope = f"{date[:8]}/{REGION}/{SERVICE}/request"
    text = "\n".join(("HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = secret.encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"HMAC-SHA256 Credential={access}/{scope}"
    request.headers["Authorization"] = f"{credential}, SignedHeaders={signed}, Signature={key.hex()}"


def _query(url: httpx.URL) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in url.params.multi_items())
    return "&".join(f"{name}={value}" for name, value in pairs)


# What goes out


def _single(request: ImageRequest) -> bool:
    return request.extra.get("force_single", "true") == "true"


def _rules(request: ImageRequest, model: Model) -> Iterator[rules.Rule]:
    yield from rules.prompt(
        request, MAX_PROMPT_CHARS, Message("a longer one may spoil the picture, which is billed anyway")
    )
    yield rules.no_negative(request, "即梦AI")
    if _single(request):
        yield rules.count(request, 1)
    yield (
        not _single(request) and request.count is not None,
        Message("without force_single the model chooses the count itself"),
    )
    yield (
        rules.has_seed(request) and not model.has_seeds,
        Message("{req_key} takes no seed: leave it out").format(req_key=model.req_key),
    )
    yield rules.seed(request, SEEDS)


def _rules_of_extra(request: ImageRequest, model: Model) -> Iterator[rules.Rule]:
    for name, value in request.extra.items():
        if name in ("force_single", "use_pre_llm"):
            yield rules.switch(name, value)
        elif name == "scale":
            yield rules.number(name, value, *model.scale, whole=model.scale[1] > 1)
        else:
            yield rules.number(name, value, 1 / 16, 16)


def _rules_of_references(request: ImageRequest, model: Model) -> Iterator[rules.Rule]:
    low, high = model.references
    yield from rules.references(request, high, model.req_key, low)
    for reference in request.references:
        rule = Message("{req_key} takes reference pictures from addresses, not from files").format(
            req_key=model.req_key
        )
        yield not is_remote(reference) and not model.takes_data, rule


def _size(request: ImageRequest, model: Model) -> dict[str, int]:
    """Width and height, an area, or nothing where nothing is asked for. Raises BadRequest with the rule."""
    if rules.is_sized(request):
        rules.check([rules.size_or_ratio(request)])
        return _checked(request.width or 0, request.height or 0, request, model)
    if not request.ratio and not request.resolution:
        return {}
    resolution = request.resolution.lower()
    if model.decides and not request.ratio and resolution in TIERS:
        return {"size": TIERS[resolution] ** 2}
    tier = resolution or model.tier
    if not model.tiers:
        raise BadRequest(Message("{req_key} has no resolutions: say a size in pixels").format(req_key=model.req_key))
    rules.check([rules.one_of("resolution", tier, model.tiers, model.req_key)])
    rules.check([rules.one_of("ratio", request.ratio, SIZES, "即梦AI")])
    return _checked(*SIZES[request.ratio or "1:1"][list(TIERS).index(tier)], request, model)


def _checked(width: int, height: int, request: ImageRequest, model: Model) -> dict[str, int]:
    if not (width > 0 and height > 0 and model.area[0] <= width * height <= model.area[1]):
        small, large = map(math.isqrt, model.area)
        squares = f"{small}x{small} to {large}x{large}"
        raise BadRequest(
            Message("{req_key} draws {squares} pixels in all, not {width}x{height}").format(
                req_key=model.req_key, squares=squares, width=width, height=height
            )
        )
    low, high = (rules.plain_number(request.extra.get(name, "")) for name in ("min_ratio", "max_ratio"))
    low, high = (SHAPES[0] if math.isnan(low) else low), (SHAPES[1] if math.isnan(high) else high)
    if not low <= width / height <= high:
        raise BadRequest(
            Message("{req_key} draws shapes from {low:.3g}:1 to {high:.3g}:1, not {width}x{height}").format(
                req_key=model.req_key, low=low, high=high, width=width, height=height
            )
        )
    return {"width": width, "height": height}


# What comes back


def _refuse(answer: Answer, body: dict[str, Any], data: dict[str, Any], *, paid: bool) -> NoReturn:
    """Raise what an answer means that is not OK: the code counts before the status."""
    if error := common.table(common.table(body.get("ResponseMetadata")).get("Error")):
        _refuse_platform(error, answer, paid=paid)
    code, message = _code(body.get("code")), message_in(answer)
    said = message or Message("the service gave no reason")
    text = message if code is None else Message("{message} (code {code})").format(message=said, code=code)
    if code in CODES:
        _raise(CODES[code], text, answer)
    meaning = _chinese_words.meaning("", message) if code not in (None, *TROUBLE) else None
    if meaning is not None and meaning.kind in BELIEVED and not answer.is_server_error:
        _raise(meaning.kind, text, answer)
    refused_at_200 = paid and code is not None and code not in TROUBLE and not answer.is_error
    if data.get("status") == "done" or refused_at_200:
        raise GenerationFailed(text).as_final()
    _refuse_by_status(answer, text, paid=paid, trouble=code in TROUBLE)


def _refuse_platform(error: dict[str, Any], answer: Answer, *, paid: bool) -> NoReturn:
    name, message = common.text_or_number(error.get("Code")), common.text_or_number(error.get("Message"))
    text = ": ".join(filter(None, (name, message)))
    kind = next((kind for kind, parts in PLATFORM if any(part in name for part in parts)), None)
    if kind is Unauthorized and "Timestamp" in name:
        raise Unauthorized(joined("; ", (text, CLOCK_HINT)))
    if kind is not None:
        _raise(kind, text, answer)
    _refuse_by_status(answer, text, paid=paid)


def _refuse_by_status(answer: Answer, message: str, *, paid: bool, trouble: bool = False) -> NoReturn:
    """Raise by the status. To a query only a status about the account is believed.

    The task is paid for, and a 404 that comes from elsewhere would lose it.
    """
    if not trouble and (paid or answer.status in ABOUT_ACCOUNT):
        refuse(answer, paid=paid, message=message)
    said = message or Message("an answer of an unknown form")
    text = Message("HTTP {status}: {message}").format(status=answer.status, message=said)
    if paid:
        raise Uncertain(joined("; ", (text, common.CHARGED)))
    raise ServerTrouble(text, hint=NO_JOB_HINT if answer.status in (*NO_ROUTES, *GONE) else "")


def _raise(kind: type[TaskError], text: str, answer: Answer) -> NoReturn:
    if issubclass(kind, SlowDown):
        raise kind(text, after=retry_after(answer))
    raise kind(text).as_final() if kind in (Moderated, GenerationFailed) else kind(text)


def _ready(data: dict[str, Any]) -> Ready:
    """Each picture by its address; where there is no usable one, the picture itself."""
    urls, data_texts = common.items(data.get("image_urls")), common.items(data.get("binary_data_base64"))
    found: list[Image | None] = [
        common.remote(url) or common.inline(text) for url, text in zip_longest(urls, data_texts)
    ]
    images = tuple(image for image in found if image is not None)
    if not images:
        raise GenerationFailed(Message("the service says that it is done, but sent no pictures"))
    return Ready(images, note=common.lost_note(len(found) - len(images), len(found), Message("cannot be read")))


def _code(value: Any) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else None


PROVIDER: type[Provider[Any]] = Volcengine
