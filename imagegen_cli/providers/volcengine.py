"""Volcengine's Visual service, the official 即梦AI: a signed submit, a task id, a signed query.

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
from itertools import zip_longest
from typing import Any, ClassVar, NoReturn
from urllib.parse import quote, urlsplit

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
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.core.schema import Secret, nearest, setting
from imagegen_cli.core.task import Image, ImageRequest, Job, RemoteImage
from imagegen_cli.providers import _chinese_words, _common as common
from imagegen_cli.providers._http import (
    MAX_QUOTED_CHARS,
    NO_JOB_HINT,
    Answer,
    call,
    clean,
    message_in,
    refuse,
    retry_after,
)

REGION, SERVICE, VERSION = "cn-north-1", "cv", "2022-08-31"
SUBMIT, QUERY = "CVSync2AsyncSubmitTask", "CVSync2AsyncGetResult"
LONGEST_PROMPT = 800
SEEDS = range(2**31)
SHAPES = (1 / 3, 3.0)
"""Least and most width by height, unless min_ratio and max_ratio say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One req_key and its rules. `area` is least and most pixels, `tier` what a ratio alone is drawn at."""

    req_key: str
    area: tuple[int, int] = (512**2, 2048**2)
    tiers: tuple[str, ...] = ("1k", "2k")
    tier: str = "1k"
    references: tuple[int, int] = (0, 0)
    seeded: bool = True
    extras: tuple[str, ...] = ("use_pre_llm",)
    scale: tuple[int, int] = (0, 1)
    """Least and most `scale`, the weight of the prompt against the references; beyond 1 it is a whole number."""
    takes_data: bool = False
    """Whether references may be files, sent as base64."""

    @property
    def decides(self) -> bool:
        """Whether the model itself chooses ratio and number of pictures where nothing is said."""
        return "force_single" in self.extras


OF_4 = ("force_single", "max_ratio", "min_ratio", "scale")
MODELS = {
    "4.6": Model(
        req_key="jimeng_seedream46_cvtob", area=(1024**2, 4096**2), tiers=("2k", "4k"), tier="2k",
        references=(0, 14), seeded=False, extras=OF_4, scale=(1, 100),
    ),
    "4.0": Model(
        req_key="jimeng_t2i_v40", area=(1024**2, 4096**2), tiers=("2k", "4k"), tier="2k",
        references=(0, 10), seeded=False, extras=OF_4,
    ),
    "3.1": Model(req_key="jimeng_t2i_v31"),
    "3.0": Model(req_key="jimeng_t2i_v30"),
    "2.1": Model(req_key="jimeng_t2i_v21", area=(256**2, 2048**2), tiers=(), seeded=False, extras=()),
    "i2i-3.0": Model(
        req_key="jimeng_i2i_v30", tiers=("1k",), references=(1, 1), extras=("scale",), takes_data=True,
    ),
}  # fmt: skip
BY_KEY = {model.req_key: model for model in MODELS.values()}

LYING = {
    "4:3": ((1472, 1104), (2304, 1728), (4694, 3520)),
    "3:2": ((1584, 1056), (2496, 1664), (4992, 3328)),
    "16:9": ((1664, 936), (2560, 1440), (5404, 3040)),
    "21:9": ((2016, 864), (3024, 1296), (6198, 2656)),
}
UPRIGHT = {
    f"{high}:{wide}": tuple((height, width) for width, height in row)
    for (wide, _, high), row in ((ratio.partition(":"), row) for ratio, row in LYING.items())
}
SIZES = {"1:1": ((1328, 1328), (2048, 2048), (4096, 4096)), **LYING, **UPRIGHT}
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
ACCOUNT = (401, 402, 403, 429, 503)
BELIEVED = (Moderated, OutOfCredits)
"""What words beside a code that nobody knows are believed to say."""
TROUBLED = 500
ERROR = 400
"""The least HTTP status that is none of success."""
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
"""What the gateway in front of the service means, by a part of its code's name."""
CLOCK = "set this machine's clock: the signature carries the time, and it is minutes off the service's"


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://visual.volcengineapi.com", "address of the service")
    api_key: Secret = setting(Secret(), 'access key id (AKLT…): the text itself, "env:NAME" or "cmd:COMMAND"')
    secret_key: Secret = setting(Secret(), "secret access key that belongs to it")
    session_token: Secret = setting(Secret(), "security token, for temporary keys only")
    model: str = setting("4.0", f"model when --model is not given: {', '.join(MODELS)}, or a req_key")
    concurrency: int = setting(1, "tasks at the service at once; an account has 1 unless more were bought")
    poll: float = setting(1.0, "shortest time between two status queries of a task, in seconds")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "VOLC_ACCESSKEY", "secret_key": "VOLC_SECRETKEY"}


class Volcengine(Provider[Settings]):
    """`force_single` is always said: without it the model decides how many pictures it makes, and bills each."""

    kind = "volcengine"
    title = "Volcengine Visual: the official 即梦AI (access key and secret key)"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/")

    def check(self, request: ImageRequest) -> None:
        model = self._model(request)
        for key in request.extra:
            if key not in model.extras:
                known = nearest(key, model.extras) if model.extras else "it has none at all"
                raise BadRequest(f"{model.req_key} knows no option {key!r}", hint=known)
        for broken, rule in (
            *_rules(request, model),
            *_rules_of_extra(request, model),
            *_rules_of_references(request, model),
        ):
            if broken:
                raise BadRequest(rule)
        examined(request.references, formats=ANY_FORMAT)
        _size(request, model)

    def model_for_version(self, version: str) -> str | None:
        return MODELS[version].req_key if version in MODELS else None

    def max_images(self, request: ImageRequest) -> int | None:
        return 1 if _single(request) else None

    async def models(self) -> tuple[str, ...]:
        return tuple(MODELS)

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        del client_job, report  # it takes no ids of ours, and says nothing before its answer
        self.check(request)
        model = self._model(request)
        body = self._body(request, model)
        data, request_id = await self._call(SUBMIT, body, paid=True)
        task_id = _text(data.get("task_id"))
        if not re.fullmatch(r"[\w-]{1,128}", task_id, re.ASCII):
            raise Uncertain("the service gave no task id to ask with; the request may have been accepted and charged")
        facts = common.facts(seed=body.get("seed"), model=model.req_key, request_id=request_id)
        return Accepted(Job(f"{model.req_key}/{task_id}"), facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """A query names the model as well as the task, so the receipt holds both."""
        req_key, _, task_id = job.id.rpartition("/")
        # Without return_url the pictures come as base64 inside the answer.
        asked = {"req_key": req_key, "task_id": task_id, "req_json": json.dumps({"return_url": True})}
        data, _ = await self._call(QUERY, asked)
        status = _text(data.get("status"))
        if status == "done":
            return _ready(data)
        if status == "not_found":
            raise Expired("the service does not know this task: it keeps them for 12 hours")
        if status == "expired":
            raise Expired("the task has expired at the service").as_final()
        if not status:
            raise ServerTrouble("the service answered with JSON of an unknown form")
        return Working(note="" if status == "generating" else status)

    async def _call(self, action: str, asked: dict[str, Any], *, paid: bool = False) -> tuple[dict[str, Any], str]:
        """`data` of a good answer, and its request_id. Raises what any other answer means."""
        auth = _Signature(self._base, self._settings).checked()
        headers = {**self._settings.headers, "Content-Type": "application/json"}
        url = f"{self._base}/?Action={action}&Version={VERSION}"
        content = json.dumps(asked).encode()
        options = {"headers": headers, "content": content, "auth": auth}
        answer = await call(self._clients, "POST", url, paid=paid, raw=True, **options)
        body = _table(answer.body)
        data = _table(body.get("data"))
        if "task_id" in asked:
            common.about(asked["task_id"], data.get("task_id"))
        if _code(body.get("code")) != OK:
            _refuse(answer, body, data, paid=paid)
        return data, _text(body.get("request_id"))

    def _model(self, request: ImageRequest) -> Model:
        name = request.model or self._settings.model
        model = MODELS.get(name) or BY_KEY.get(name)
        if model is None:
            raise BadRequest(f"即梦AI has no image model {name[:60]!r}", hint=nearest(name, (*MODELS, *BY_KEY)))
        return model

    def _body(self, request: ImageRequest, model: Model) -> dict[str, Any]:
        body: dict[str, Any] = {"req_key": model.req_key, "prompt": request.prompt, **_size(request, model)}
        if model.seeded:
            body["seed"] = common.drawn(SEEDS) if request.seed in (None, -1) else request.seed
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


class _Signature(httpx.Auth):
    """Signs requests to the configured host and no other."""

    requires_request_body = True

    def __init__(self, base_url: str, settings: Settings) -> None:
        self._home = base_url
        self._keys = settings.api_key, settings.secret_key, settings.session_token

    def checked(self) -> "_Signature":
        """Refuse keys that cannot sign: the transport's complaint would quote them."""
        access, secret, _ = self._keys
        if not access or not secret:
            wanted = "set api_key and secret_key, or $VOLC_ACCESSKEY and $VOLC_SECRETKEY"
            raise Unauthorized(f"即梦AI needs an access key and a secret key: {wanted}")
        if not all(re.fullmatch(r"[!-~]*", key.reveal()) for key in self._keys):
            raise Unauthorized("a key holds characters that no key has: a space, a line break or a letter with marks")
        return self

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _origin(request.url) == _origin(httpx.URL(self._home)):
            access, secret, token = (key.reveal() for key in self._keys)
            sign(request, datetime.now(UTC), access=access, secret=secret, token=token)
        yield request


def sign(request: httpx.Request, moment: datetime, *, access: str, secret: str, token: str = "") -> None:
    """Add the headers of Volcengine's signature, V4-like.

    As AWS's, but the chain of keys begins with the bare secret and ends in "request".
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


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


# What goes out


def _single(request: ImageRequest) -> bool:
    return request.extra.get("force_single", "true") == "true"


def _rules(request: ImageRequest, model: Model) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    prompt, seed = request.prompt, request.seed
    yield not prompt.strip(), "the prompt is empty"
    long = f"a prompt has at most {LONGEST_PROMPT} characters, not {len(prompt)}"
    yield len(prompt) > LONGEST_PROMPT, f"{long}: a longer one may spoil the picture, which is billed all the same"
    yield bool(request.negative), "即梦AI takes no negative prompt: say in the prompt what you want instead"
    one = "即梦AI makes one picture a request: leave --count away"
    yield _single(request) and request.count not in (None, 1), one
    yield not _single(request) and request.count is not None, "without force_single the model chooses the count itself"
    yield seed not in (None, -1) and not model.seeded, f"{model.req_key} takes no seed: leave it out"
    yield seed not in (None, -1) and seed not in SEEDS, f"a seed is 0 to {SEEDS[-1]}, or -1 for any; not {seed}"


def _rules_of_extra(request: ImageRequest, model: Model) -> Iterator[tuple[bool, str]]:
    for key, value in request.extra.items():
        if key in ("force_single", "use_pre_llm"):
            yield value not in ("true", "false"), f"{key} is true or false, not {value[:40]!r}"
            continue
        least, most = model.scale if key == "scale" else (1 / 16, 16)
        usable = least <= _float(value) <= most and (key != "scale" or most == 1 or "." not in value)
        yield not usable, f"{key} is a number from {least:g} to {most}, not {value[:40]!r}"


def _rules_of_references(request: ImageRequest, model: Model) -> Iterator[tuple[bool, str]]:
    (least, most), references = model.references, request.references
    without = "makes pictures from text alone: leave the references out, or take 4.0 or i2i-3.0"
    yield not most and bool(references), f"{model.req_key} {without}"
    yield (
        not least <= len(references) <= most,
        f"{model.req_key} takes {least} to {most} references, not {len(references)}",
    )
    for reference in references:
        by_address = f"{model.req_key} takes reference pictures by address only, no files"
        yield not is_remote(reference) and not model.takes_data, by_address


def _size(request: ImageRequest, model: Model) -> dict[str, int]:
    """Width and height, an area, or nothing where nothing is asked for. Raises BadRequest with the rule."""
    if request.width is not None or request.height is not None:
        if request.ratio or request.resolution:
            raise BadRequest("say either a size or ratio and resolution, not both")
        return _checked(request.width or 0, request.height or 0, request, model)
    if not request.ratio and not request.resolution:
        return {}
    resolution = request.resolution.lower()
    if model.decides and not request.ratio and resolution in TIERS:
        return {"size": TIERS[resolution] ** 2}
    tier = resolution or model.tier
    if tier not in model.tiers:
        known = ", ".join(model.tiers) or "none: say a size in pixels"
        raise BadRequest(f"{model.req_key} has no resolution {tier[:40]!r}; it has {known}")
    if request.ratio and request.ratio not in SIZES:
        raise BadRequest(f"即梦AI has no ratio {request.ratio[:40]!r}; it has {', '.join(SIZES)}")
    return _checked(*SIZES[request.ratio or "1:1"][list(TIERS).index(tier)], request, model)


def _checked(width: int, height: int, request: ImageRequest, model: Model) -> dict[str, int]:
    least, most = model.area
    if not (width > 0 and height > 0 and least <= width * height <= most):
        roots = f"{math.isqrt(least)}x{math.isqrt(least)} to {math.isqrt(most)}x{math.isqrt(most)}"
        raise BadRequest(f"{model.req_key} draws {roots} pixels in all, not {width}x{height}")
    low, high = _float(request.extra.get("min_ratio", "")), _float(request.extra.get("max_ratio", ""))
    low, high = (SHAPES[0] if math.isnan(low) else low), (SHAPES[1] if math.isnan(high) else high)
    if not low <= width / height <= high:
        raise BadRequest(f"{model.req_key} draws shapes from {low:.3g}:1 to {high:.3g}:1, not {width}x{height}")
    return {"width": width, "height": height}


def _float(text: str) -> float:
    """A plain number; anything else is NaN, which fits no range."""
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text, re.ASCII) else math.nan


# What comes back


def _refuse(answer: Answer, body: dict[str, Any], data: dict[str, Any], *, paid: bool) -> NoReturn:
    """Raise what an answer means that is not OK: a code goes before any status."""
    if error := _table(_table(body.get("ResponseMetadata")).get("Error")):
        _refuse_platform(error, answer, paid=paid)
    code = _code(body.get("code"))
    said = message_in(answer) if code is None else f"{message_in(answer) or 'the service gave no reason'} (code {code})"
    if code in CODES:
        _raise(CODES[code], said, answer)
    told = _chinese_words.meaning("", message_in(answer)) if code not in (None, *TROUBLE) else None
    if told is not None and told.kind in BELIEVED and answer.status < TROUBLED:
        _raise(told.kind, said, answer)
    refused_at_200 = paid and code is not None and code not in TROUBLE and answer.status < ERROR
    if data.get("status") == "done" or refused_at_200:
        raise GenerationFailed(said).as_final()
    _refuse_by_status(answer, said, paid=paid, trouble=code in TROUBLE)


def _refuse_platform(error: dict[str, Any], answer: Answer, *, paid: bool) -> NoReturn:
    name, message = _text(error.get("Code")), _text(error.get("Message"))
    said = f"{name}: {message}" if name and message else name or message
    kind = next((kind for kind, parts in PLATFORM if any(part in name for part in parts)), None)
    if kind is Unauthorized and "Timestamp" in name:
        raise Unauthorized(f"{said}; {CLOCK}")
    if kind is not None:
        _raise(kind, said, answer)
    _refuse_by_status(answer, said, paid=paid)


def _refuse_by_status(answer: Answer, said: str, *, paid: bool, trouble: bool = False) -> NoReturn:
    """Of a query only what concerns the account is believed: the task is paid for, and a wrong 404 would lose it."""
    if not trouble and (paid or answer.status in ACCOUNT):
        refuse(answer, paid=paid, message=said)
    said = f"HTTP {answer.status}: {said or 'an answer of an unknown form'}"
    hint = NO_JOB_HINT if answer.status in (404, 405, 410) else ""
    uncertain = Uncertain(f"{said}; the request may have been accepted and charged")
    raise uncertain if paid else ServerTrouble(said, hint=hint)


def _raise(kind: type[TaskError], said: str, answer: Answer) -> NoReturn:
    if issubclass(kind, SlowDown):
        raise kind(said, after=retry_after(answer))
    raise kind(said).as_final() if kind in (Moderated, GenerationFailed) else kind(said)


def _ready(data: dict[str, Any]) -> Ready:
    """Each picture by its address; where that is none, the picture itself."""
    urls, inline = _list(data.get("image_urls")), _list(data.get("binary_data_base64"))
    found: list[Image | None] = [_address(url) or common.inline(text) for url, text in zip_longest(urls, inline)]
    images = tuple(image for image in found if image is not None)
    if not images:
        raise GenerationFailed("the service is done, but sent no pictures")
    lost = len(found) - len(images)
    return Ready(images, note=f"{lost} of {len(found)} pictures cannot be read" if lost else "")


def _address(url: Any) -> RemoteImage | None:
    try:
        usable = isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
        return RemoteImage(url) if usable and url.encode() else None
    except ValueError:  # no address at all, or half a character in it
        return None


def _code(value: Any) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A text or a number from JSON, in one line of bearable length that can be written anywhere; else nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return clean(str(value)[: 8 * MAX_QUOTED_CHARS])


PROVIDER: type[Provider[Any]] = Volcengine
