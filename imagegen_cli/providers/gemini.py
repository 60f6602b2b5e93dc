"""Google's generateContent: one long request, one picture in its answer, and refusals that come as success.

Protocol facts are from Google's discovery document (v1beta) and from what its own Python client (google-genai 3.4.0)
reads: a blocked prompt or picture is HTTP 200 with a reason in place of the picture, and errors may be wrapped in a
list of one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.core.provider import Clients, Provider, Ready, Report
from imagegen_cli.core.references import examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import ImageRequest, InlineImage, Job
from imagegen_cli.providers import _common as common
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, Answer, call, refuse, retry_after
from imagegen_cli.providers._models import other_model

RATIOS = ("1:1", "1:4", "4:1", "1:8", "8:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
TIERS = {"512": "512", "1k": "1K", "2k": "2K", "4k": "4K"}
SQUARES = {512: "512", 1024: "1K", 2048: "2K", 4096: "4K"}
"""Side of the square that a tier draws: the only pixel sizes that can be promised."""
SEEDS = range(2**31)
HOTTEST = 2.0
SAFETY = ("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF")
HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
EXTRAS = ("temperature", "safety")

REFERENCES = ("PNG", "JPEG", "WebP", "HEIC", "HEIF")

FORBIDDEN = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
}
"""Finish reasons that mean "not this picture"; the others mean "no picture"."""
TOMORROW = "the day's quota is used up: wait for tomorrow, or raise it at Google"
MODELS_HINT = "imagegen models lists the names that --model may take"
UNSPECIFIED = ("", "BLOCK_REASON_UNSPECIFIED")
MOST_PAGES = 20


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://generativelanguage.googleapis.com", "address of the service")
    model: str = setting("gemini-3.1-flash-image", "model when --model is not given; imagegen models lists them")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "GEMINI_API_KEY"}


class Gemini(Provider[Settings]):
    kind = "gemini"
    title = "Google Gemini: pictures by generateContent (Nano Banana)"
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        base_url = self._settings.base_url.rstrip("/")
        self._version = "v1" if base_url.endswith("/v1") else "v1beta"
        self._base = base_url.removesuffix(f"/{self._version}")

    def check(self, request: ImageRequest) -> None:
        _image_config(request)
        for broken, rule in _rules(request, self._model(request)):
            if broken:
                raise BadRequest(rule)
        for key in request.extra:
            if key not in EXTRAS:
                raise BadRequest(f"Gemini knows no option {key!r}", hint=nearest(key, EXTRAS))
        examined(request.references, formats=REFERENCES)

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return 1

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:  # noqa: ARG002
        self.check(request)
        path = f"models/{quote(self._model(request), safe='')}:generateContent"
        answer = await self._call("POST", path, paid=True, json=_body(request))
        body = _joined(answer.body)
        if not body.keys() & {"candidates", "promptFeedback"}:
            raise Uncertain("the service answered with JSON of an unknown form; the request may have been charged")
        ready = _ready(body)
        return replace(ready, note=other_model(self._model(request), ready.facts.get("model")))

    async def poll(self, job: Job, report: Report) -> Ready:  # noqa: ARG002 - it has no jobs to ask for
        raise Expired("a Gemini picture comes in the answer to its request or not at all")

    async def models(self) -> tuple[str, ...]:
        """The live list, but for models that make no pictures."""
        found: list[str] = []
        token = ""
        for _ in range(MOST_PAGES):
            params = {"pageSize": "1000"} | ({"pageToken": token} if token else {})
            body = (await self._call("GET", "models", params=params)).body
            page = body if isinstance(body, dict) else {}
            found += [name for item in common.items(page.get("models")) if (name := _drawing_model(item))]
            token = common.text(page.get("nextPageToken"))
            if not token:
                break
        return tuple(sorted(set(found)))

    async def _call(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        """An answer with JSON in it. Raises what any other answer means."""
        url = f"{self._base}/{self._version}/{path}"
        key = common.Key(self._settings.api_key, self._base, header="x-goog-api-key").bound_for(url)
        headers = dict(self._settings.headers)
        answer = await call(self._clients, method, url, paid=paid, raw=True, headers=headers, auth=key, **options)
        _refuse(answer)
        refuse(answer, paid=paid)
        return answer

    def _model(self, request: ImageRequest) -> str:
        return (request.model or self._settings.model).removeprefix("models/")


# What goes out


def _rules(request: ImageRequest, model: str) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    yield not request.prompt.strip(), "the prompt is empty"
    yield not re.fullmatch(r"[A-Za-z0-9._-]+", model), f"{model[:40]!r} is no name of a model"
    yield bool(request.negative), "Gemini has no negative prompt: say it in the prompt, leave --negative out"
    yield request.count not in (None, 1), f"Gemini makes one picture a request, not {request.count}"
    seed = request.seed
    yield seed not in (None, -1) and seed not in SEEDS, f"a seed is 0 to {SEEDS[-1]}, or -1 for any; not {seed}"
    warm, safety = request.extra.get("temperature", "0"), request.extra.get("safety", SAFETY[0])
    yield not _is_temperature(warm), f"temperature is a number from 0 to {HOTTEST:g}, not {warm[:40]!r}"
    yield safety not in SAFETY, f"safety is one of {', '.join(SAFETY)}, not {safety[:40]!r}"
    for reference in request.references:
        by_address = "Gemini takes reference pictures from files, not from addresses: download them first"
        yield is_remote(reference), by_address


def _is_temperature(text: str) -> bool:
    return re.fullmatch(r"\d(\.\d{1,6})?", text, re.ASCII) is not None and float(text) <= HOTTEST


def _image_config(request: ImageRequest) -> dict[str, str]:
    """Raises BadRequest with the rule where Gemini has no such shape."""
    if request.width is not None or request.height is not None:
        return _config_of_pixels(request)
    config = {}
    if request.ratio:
        if request.ratio not in RATIOS:
            raise BadRequest(f"Gemini has no ratio {request.ratio[:40]}; it has {', '.join(RATIOS)}")
        config["aspectRatio"] = request.ratio
    if request.resolution:
        tier = TIERS.get(request.resolution.lower())
        if tier is None:
            raise BadRequest(f"Gemini has no resolution {request.resolution[:40]}; it has {', '.join(TIERS)}")
        config["imageSize"] = tier
    return config


def _config_of_pixels(request: ImageRequest) -> dict[str, str]:
    tier = SQUARES.get(request.width or 0) if request.width == request.height else None
    if tier is None:
        squares = ", ".join(f"{side}x{side}" for side in SQUARES)
        size = f"{request.width}x{request.height}"
        raise BadRequest(f"Gemini draws by ratio and resolution, and of sizes only {squares}; not {size}")
    if request.ratio not in ("", "1:1") or request.resolution.upper() not in ("", tier):
        raise BadRequest(f"{request.width}x{request.height} is 1:1 at {tier}: leave ratio and resolution out")
    return {"aspectRatio": "1:1", "imageSize": tier}


def _body(request: ImageRequest) -> dict[str, Any]:
    """Words are asked for beside the picture: a refusal then says why."""
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if image := _image_config(request):
        config["imageConfig"] = image
    if request.seed not in (None, -1):
        config["seed"] = request.seed
    if "temperature" in request.extra:
        config["temperature"] = float(request.extra["temperature"])
    content = [{"text": request.prompt}, *({"inlineData": _reference(path)} for path in request.references)]
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": content}], "generationConfig": config}
    if "safety" in request.extra:
        threshold = request.extra["safety"]
        body["safetySettings"] = [{"category": f"HARM_CATEGORY_{harm}", "threshold": threshold} for harm in HARMS]
    return body


def _reference(path: str) -> dict[str, str]:
    picture = read(path, formats=REFERENCES)
    return {"mimeType": picture.media_type, "data": picture.base64}


# What comes back


def _joined(body: Any) -> dict[str, Any]:
    """One object: gateways wrap it in a list, or send the parts of a stream in one."""
    while isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, list):
        return common.table(body)
    parts = [common.table(part) for part in body]
    whole = {key: value for part in reversed(parts) for key, value in part.items()}
    candidates = [candidate for part in parts for candidate in common.items(part.get("candidates"))]
    return whole | ({"candidates": candidates} if "candidates" in whole else {})


def _ready(body: dict[str, Any]) -> Ready:
    candidates = [candidate for candidate in common.items(body.get("candidates")) if isinstance(candidate, dict)]
    pieces = [piece for candidate in candidates for piece in _pieces(candidate)]
    images = tuple(image for piece in pieces if (image := _image(piece)) is not None)
    if images:
        return Ready(images, facts=common.facts(model=body.get("modelVersion"), request_id=body.get("responseId")))
    feedback = common.table(body.get("promptFeedback"))
    blocked = common.text(feedback.get("blockReason"))
    if blocked not in UNSPECIFIED:
        raise Moderated(_said(f"the prompt was blocked ({blocked})", common.text(feedback.get("blockReasonMessage"))))
    reason = next((word for candidate in candidates if (word := common.text(candidate.get("finishReason")))), "")
    said = (*(one.get("finishMessage") for one in candidates), *(piece.get("text") for piece in pieces))
    words = " ".join(text for one in said if (text := common.text(one)))
    if reason in FORBIDDEN:
        raise Moderated(_said(f"the picture was withheld ({reason})", words))
    raise GenerationFailed(_said(f"no picture came ({reason or 'no reason given'})", words)).as_charged()


def _pieces(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """Without the model's thoughts: those may hold pictures that were only tried."""
    content = common.items(common.table(candidate.get("content")).get("parts"))
    return [piece for piece in content if isinstance(piece, dict) and piece.get("thought") is not True]


def _image(piece: dict[str, Any]) -> InlineImage | None:
    """JSON has inlineData; some gateways keep the name that it has in the protocol buffer."""
    data = common.table(piece.get("inlineData") or piece.get("inline_data")).get("data")
    return common.inline(data)


def _refuse(answer: Answer) -> None:
    """Raise where Google's error says more than its status does."""
    error = _error(answer.body)
    said = f"HTTP {answer.status}: {common.text(error.get('message'))}".rstrip(": ")
    details = [detail for detail in common.items(error.get("details")) if isinstance(detail, dict)]
    if answer.status == 429 and answer.body is not None:  # noqa: PLR2004 - Too Many Requests, from Google itself
        if _by_the_day(details, said):
            raise OutOfCredits(said, hint=TOMORROW).as_unspent()
        raise RateLimited(said, after=_delay(details) or retry_after(answer))
    if answer.status == 400 and any(detail.get("reason") == "API_KEY_INVALID" for detail in details):  # noqa: PLR2004
        raise Unauthorized(said).as_unspent()
    if answer.status == 400 and common.PLACE.search(said):  # noqa: PLR2004
        raise Unauthorized(said, hint=common.ELSEWHERE).as_unspent()
    if answer.status == 404 and "model" in said.lower():  # noqa: PLR2004
        raise BadRequest(said, hint=MODELS_HINT)


def _error(body: Any) -> dict[str, Any]:
    while isinstance(body, list) and body:
        body = body[0]
    return common.table(common.table(body).get("error"))


def _by_the_day(details: list[dict[str, Any]], said: str) -> bool:
    """A minute's quota has the same message; only the violated quota's name tells them apart."""
    violations = [item for detail in details for item in common.items(detail.get("violations"))]
    quotas = [common.text(item.get("quotaId")) for item in violations if isinstance(item, dict)]
    return any("PerDay" in quota for quota in quotas) or "per day" in said


def _delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds of google.rpc.RetryInfo, such as "26s" or "1.5s"."""
    found = (
        re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)s", common.text(detail.get("retryDelay")), re.ASCII) for detail in details
    )
    return next((float(delay[1]) for delay in found if delay), None)


def _drawing_model(item: Any) -> str:
    if not isinstance(item, dict) or "generateContent" not in common.items(item.get("supportedGenerationMethods")):
        return ""
    name = common.text(item.get("name")).removeprefix("models/")
    return name if re.search("image|banana", name) else ""


def _said(what: str, words: str) -> str:
    return f"{what}: {words[:MAX_QUOTED_CHARS]}" if words else what


PROVIDER: type[Provider[Any]] = Gemini
