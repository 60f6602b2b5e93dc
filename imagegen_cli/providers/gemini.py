"""Google's generateContent: one long request, one picture in its answer, and refusals that come as HTTP 200.

Protocol facts are from Google's discovery document (v1beta) and from what its own Python client (google-genai 3.4.0)
reads: a blocked prompt or picture is HTTP 200 with a reason in place of the picture, and errors may be wrapped in a
list of one.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
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
    TaskError,
    Unauthorized,
)
from imagegen_cli.core.language import Message
from imagegen_cli.core.provider import Clients, Provider, Ready, Report
from imagegen_cli.core.references import examined, read
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import ImageRequest, InlineImage, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, MODELS_HINT, Answer, refuse, retry_after
from imagegen_cli.providers._models import other_model

RATIOS = ("1:1", "1:4", "4:1", "1:8", "8:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
TIERS = {"512": "512", "1k": "1K", "2k": "2K", "4k": "4K"}
SQUARES = {512: "512", 1024: "1K", 2048: "2K", 4096: "4K"}
"""Side of the square that a tier draws: the only pixel sizes that can be promised."""
SEEDS = range(2**31)
MAX_TEMPERATURE = 2.0
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
TOMORROW_HINT = Message("the day's quota is used up: wait for tomorrow, or raise it at Google")
UNSPECIFIED = ("", "BLOCK_REASON_UNSPECIFIED")
MAX_PAGES = 20


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://generativelanguage.googleapis.com", Message("address of the service"))
    model: str = setting(
        "gemini-3.1-flash-image", Message("model when --model is not given; imagegen models lists them")
    )

    environment: ClassVar[Mapping[str, str]] = {"api_key": "GEMINI_API_KEY"}


class Gemini(common.HttpProvider[Settings]):
    kind = "gemini"
    title = Message("Google Gemini: pictures by generateContent (Nano Banana)")
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._version = "v1" if self._base.endswith("/v1") else "v1beta"
        self._base = self._base.removesuffix(f"/{self._version}")
        self._auth = common.Key(settings.api_key, self._base, header="x-goog-api-key")

    def check(self, request: ImageRequest) -> None:
        _image_config(request)
        rules.check(_rules(request, self._model(request)))
        rules.options(request, EXTRAS, "Gemini")
        examined(request.references, formats=REFERENCES)

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return 1

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:  # noqa: ARG002
        self.check(request)
        path = f"models/{quote(self._model(request), safe='')}:generateContent"
        answer = await self._call("POST", path, paid=True, json=_body(request))
        body = _joined(answer.body)
        if not body.keys() & {"candidates", "promptFeedback"}:
            raise common.unknown_form(paid=True)
        ready = _ready(body)
        return replace(ready, note=other_model(self._model(request), ready.facts.get("model")))

    async def poll(self, job: Job, report: Report) -> Ready:  # noqa: ARG002 - it has no jobs to ask for
        raise Expired(Message("a Gemini picture comes in the answer to its request or not at all"))

    async def models(self) -> tuple[str, ...]:
        """The live list, without models that make no pictures."""
        found: list[str] = []
        token = ""
        for _ in range(MAX_PAGES):
            params = {"pageSize": "1000"} | ({"pageToken": token} if token else {})
            page = common.table((await self._call("GET", "models", params=params)).body)
            found += [name for item in common.items(page.get("models")) if (name := _drawing_model(item))]
            token = common.text(page.get("nextPageToken"))
            if not token:
                break
        return tuple(sorted(set(found)))

    async def _call(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        """An answer with JSON in it. Raises what any other answer means."""
        answer = await self._send(method, f"{self._base}/{self._version}/{path}", paid=paid, **options)
        _refuse(answer)
        refuse(answer, paid=paid)
        return answer

    def _model(self, request: ImageRequest) -> str:
        return super()._model(request).removeprefix("models/")


# What goes out


def _rules(request: ImageRequest, model: str) -> Iterator[rules.Rule]:
    yield from rules.prompt(request)
    yield (
        not re.fullmatch(r"[A-Za-z0-9._-]+", model),
        Message("{model} is not the name of a model").format(model=rules.shown(model)),
    )
    yield rules.no_negative(request, "Gemini")
    yield rules.count(request, 1)
    yield rules.seed(request, SEEDS)
    yield rules.number("temperature", request.extra.get("temperature", "0"), 0, MAX_TEMPERATURE)
    yield rules.choice("safety", request.extra.get("safety", SAFETY[0]), SAFETY)
    yield from rules.files_only(request.references, "Gemini")


def _image_config(request: ImageRequest) -> dict[str, str]:
    """Raises BadRequest with the rule where Gemini has no such shape."""
    if rules.is_sized(request):
        return _config_of_pixels(request)
    ratio, resolution = request.ratio, request.resolution.lower()
    rules.check([rules.one_of("ratio", ratio, RATIOS, "Gemini")])
    rules.check([rules.one_of("resolution", resolution, TIERS, "Gemini")])
    config = {"aspectRatio": ratio, "imageSize": TIERS.get(resolution, "")}
    return {name: value for name, value in config.items() if value}


def _config_of_pixels(request: ImageRequest) -> dict[str, str]:
    tier = SQUARES.get(request.width or 0) if request.width == request.height else None
    if tier is None:
        squares = rules.sizes_in_words((side, side) for side in SQUARES)
        size = rules.size_in_words(request.width, request.height)
        raise BadRequest(
            Message("Gemini draws by ratio and resolution, and of sizes only {squares}; not {size}").format(
                squares=squares, size=size
            )
        )
    if request.ratio not in ("", "1:1") or request.resolution.upper() not in ("", tier):
        raise BadRequest(
            Message("{width}x{height} is 1:1 at {tier}: leave ratio and resolution out").format(
                width=request.width, height=request.height, tier=tier
            )
        )
    return {"aspectRatio": "1:1", "imageSize": tier}


def _body(request: ImageRequest) -> dict[str, Any]:
    """The request is for a text beside the picture, because a refusal gives its reason there."""
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if image := _image_config(request):
        config["imageConfig"] = image
    if rules.has_seed(request):
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
    """The answer as one object: gateways wrap it in a list, or send a list of the parts of a stream."""
    while isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, list):
        return common.table(body)
    parts = [common.table(part) for part in body]
    whole = {key: value for part in reversed(parts) for key, value in part.items()}
    candidates = [candidate for part in parts for candidate in common.items(part.get("candidates"))]
    usage = [part["usageMetadata"] for part in parts if "usageMetadata" in part]  # each counts what came so far
    told = {"usageMetadata": usage[-1]} if usage else {}
    return whole | told | ({"candidates": candidates} if "candidates" in whole else {})


def _ready(body: dict[str, Any]) -> Ready:
    candidates = common.tables(body.get("candidates"))
    pieces = [piece for candidate in candidates for piece in _pieces(candidate)]
    images = tuple(image for piece in pieces if (image := _image(piece)) is not None)
    usage = common.table(body.get("usageMetadata"))
    tokens = _tokens(usage)
    if images:
        facts = common.facts(
            model=body.get("modelVersion"), request_id=body.get("responseId"), tokens=usage.get("totalTokenCount")
        )
        return Ready(images, facts=facts, tokens=tokens)
    raise _refusal(body, candidates, pieces).as_billed(None, tokens)


def _refusal(body: dict[str, Any], candidates: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> TaskError:
    """Why there is no picture in an answer that is none of an error."""
    feedback = common.table(body.get("promptFeedback"))
    blocked = common.text(feedback.get("blockReason"))
    if blocked not in UNSPECIFIED:
        message = common.text(feedback.get("blockReasonMessage"))
        return Moderated(_explained(Message("the prompt was blocked ({blocked})").format(blocked=blocked), message))
    reason = next((word for candidate in candidates if (word := common.text(candidate.get("finishReason")))), "")
    texts = (*(one.get("finishMessage") for one in candidates), *(piece.get("text") for piece in pieces))
    message = " ".join(filter(None, map(common.text, texts)))
    if reason in FORBIDDEN:
        return Moderated(_explained(Message("the picture was withheld ({reason})").format(reason=reason), message))
    return GenerationFailed(
        _explained(Message("no picture came ({reason})").format(reason=reason or Message("no reason given")), message)
    ).as_charged()


def _tokens(usage: dict[str, Any]) -> dict[str, int]:
    """The tokens of a request by sort; none where the service does not tell text and pictures apart.

    What a model thinks is charged as text that it writes, and what a tool brought as text that it reads.
    """
    asked, made = _by_modality(usage.get("promptTokensDetails")), _by_modality(usage.get("candidatesTokensDetails"))
    names = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    prompt, candidates, thoughts, tools = (common.natural(usage.get(name)) or 0 for name in names)
    known = all(set(counts) <= {"TEXT", "IMAGE"} for counts in (asked, made))
    if not known or not prompt or not asked or (candidates and not made):
        return {}
    image_in, image_out = min(prompt, asked["IMAGE"]), min(candidates, made["IMAGE"])
    return {
        "text_in": prompt - image_in + tools,
        "image_in": image_in,
        "text_out": candidates - image_out + thoughts,
        "image_out": image_out,
    }


def _by_modality(details: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for one in common.tables(details):
        counts[common.text(one.get("modality"))] += common.natural(one.get("tokenCount")) or 0
    return counts


def _pieces(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of an answer without the model's thoughts, which may hold pictures that were only tried."""
    content = common.tables(common.table(candidate.get("content")).get("parts"))
    return [piece for piece in content if piece.get("thought") is not True]


def _image(piece: dict[str, Any]) -> InlineImage | None:
    """A part's picture: `inlineData` in JSON; some gateways keep its name in the protocol buffer."""
    data = common.table(piece.get("inlineData") or piece.get("inline_data")).get("data")
    return common.inline(data)


def _refuse(answer: Answer) -> None:
    """Raise where Google's error says more than its status does."""
    error = _error(answer.body)
    message = f"HTTP {answer.status}: {common.text(error.get('message'))}".rstrip(": ")
    details = common.tables(error.get("details"))
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.body is not None:  # JSON comes from Google itself
        if _is_daily(details, message):
            raise OutOfCredits(message, hint=TOMORROW_HINT).as_unspent()
        raise RateLimited(message, after=_delay(details) or retry_after(answer))
    if answer.status == HTTPStatus.BAD_REQUEST:
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
            raise Unauthorized(message).as_unspent()
        if common.PLACE.search(message):
            raise Unauthorized(message, hint=common.ELSEWHERE_HINT).as_unspent()
    if answer.status == HTTPStatus.NOT_FOUND and "model" in message.lower():
        raise BadRequest(message, hint=MODELS_HINT)


def _error(body: Any) -> dict[str, Any]:
    while isinstance(body, list) and body:
        body = body[0]
    return common.table(common.table(body).get("error"))


def _is_daily(details: list[dict[str, Any]], message: str) -> bool:
    """Whether a day's quota is used up. A minute's quota has the same message, but another name of the quota."""
    violations = [item for detail in details for item in common.tables(detail.get("violations"))]
    return any("PerDay" in common.text(item.get("quotaId")) for item in violations) or "per day" in message


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


def _explained(what: str, message: str) -> str:
    return Message("{what}: {message}").format(what=what, message=message[:MAX_QUOTED_CHARS]) if message else what


PROVIDER: type[Provider[Any]] = Gemini
