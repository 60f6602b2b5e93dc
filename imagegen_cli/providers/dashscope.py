"""Alibaba's DashScope (Model Studio): Wan by task id, newer Qwen-Image in one long request.

Protocol facts are from Alibaba's pages on asynchronous tasks, Wan text-to-image V2 and Qwen-Image, from its Python
client (dashscope 2.0.2) and from Comfy's proxy schemas. A task counts as succeeded as soon as one of its pictures did.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job, RemoteImage
from imagegen_cli.providers import _chinese_words, _common as common
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, Answer, call, message_in, refuse, retry_after

SEEDS = range(2**31)
LONGEST_NEGATIVE = 500
REFERENCES = ("PNG", "JPEG", "WebP", "BMP")
EXTRAS = ("prompt_extend", "watermark")
TIERS = {"512": 512, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
GRID = 16
"""Pixels: sides made from a ratio are multiples of it."""
GRACE = 2
"""UNKNOWN means "missing or expired"; a task is paid for, so it must be said more often than this."""

Shape = Literal["prompt", "images", "messages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one family of models is asked, and its rules. `area` and `sides` are least and most pixels."""

    route: str
    shape: Shape = "messages"
    waits: bool = False
    """Whether the answer to the submit has the pictures; otherwise it has a task id."""
    most: int = 4
    longest: int = 0
    area: tuple[int, int] = (512**2, 2048**2)
    sides: tuple[int, int] = (1, 1 << 20)
    aspect: float = 4.0
    square: int = 1024
    """Side of the square that is meant by a ratio without a resolution."""
    sizes: tuple[tuple[int, int], ...] = ()
    references: tuple[int, int] = (0, 0)

    @property
    def rule(self) -> str:
        if self.sizes:
            return ", ".join(f"{width}x{height}" for width, height in self.sizes)
        (least, most), (narrow, wide) = self.area, self.sides
        area = f"{math.isqrt(least)}x{math.isqrt(least)} to {math.isqrt(most)}x{math.isqrt(most)} pixels in all"
        sides = f", {narrow} to {wide} a side" if narrow > 1 else ""
        return f"{area}{sides}, at most {self.aspect:g}:1"

    def fits(self, width: int, height: int) -> bool:
        if self.sizes:
            return (width, height) in self.sizes
        low, high = min(width, height), max(width, height)
        return (
            self.sides[0] <= low
            and high <= self.sides[1]
            and self.area[0] <= width * height <= self.area[1]
            and high <= self.aspect * low
        )


TEXT2IMAGE, IMAGE2IMAGE = "text2image/image-synthesis", "image2image/image-synthesis"
GENERATION, MULTIMODAL = "image-generation/generation", "multimodal-generation/generation"
QWEN_SIZES = ((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664))

FORMS: dict[str, Form] = {
    "wan2.6-image": Form(route=GENERATION, longest=2000, area=(768**2, 2048**2), square=1280, references=(1, 4)),
    "wan2.6": Form(route=GENERATION, longest=2100, area=(1280**2, 1440**2), square=1280),
    "wan2.5-i2i": Form(
        route=IMAGE2IMAGE, shape="images", longest=2000, sides=(384, 5000), square=1280, references=(1, 2)
    ),
    "wan2.5": Form(route=TEXT2IMAGE, shape="prompt", longest=2000, area=(768**2, 1440**2), square=1280),
    "wan2.2": Form(route=TEXT2IMAGE, shape="prompt", longest=500, area=(512**2, 1440**2), sides=(512, 1440)),
    "wan2.1": Form(route=TEXT2IMAGE, shape="prompt", longest=500, area=(512**2, 1440**2), sides=(512, 1440)),
    "wanx": Form(route=TEXT2IMAGE, shape="prompt", longest=800, area=(512**2, 1440**2), sides=(512, 1440)),
    "wan": Form(route=GENERATION, area=(512**2, 4096**2), square=1280, aspect=8.0, references=(0, 9)),
    "qwen-image-edit": Form(route=MULTIMODAL, waits=True, most=6, longest=800, references=(1, 3)),
    "qwen-image-max": Form(route=MULTIMODAL, waits=True, most=1, longest=800, sizes=QWEN_SIZES),
    "qwen-image-": Form(
        route=MULTIMODAL, waits=True, most=6, area=(512**2, 2560**2), aspect=8.0, square=2048, references=(0, 3)
    ),
    "qwen-image-plus": Form(route=TEXT2IMAGE, shape="prompt", most=1, longest=800, sizes=QWEN_SIZES),
    "qwen-image": Form(route=TEXT2IMAGE, shape="prompt", most=1, longest=800, sizes=QWEN_SIZES),
}
"""Beginning of a model's name -> form; the longest beginning that fits counts. `wan` and `qwen-image-` stand for
models that are newer than this table: where pages disagree or say nothing the wider rule stands, since the service's
own refusal costs nothing."""

MODELS = (
    "wan2.6-t2i",
    "wan2.6-image",
    "wan2.5-t2i-preview",
    "wan2.5-i2i-preview",
    "wan2.2-t2i-plus",
    "wan2.2-t2i-flash",
    "qwen-image-3.0",
    "qwen-image-3.0-pro",
    "qwen-image-2.0",
    "qwen-image-2.0-pro",
    "qwen-image-max",
    "qwen-image-plus",
    "qwen-image",
)

CODES: tuple[tuple[str, type[TaskError]], ...] = (
    ("DataInspection", Moderated),
    ("IPInfringement", Moderated),
    ("Arrearage", OutOfCredits),
    ("PostpaidBillOverdue", OutOfCredits),
    ("PrepaidBillOverdue", OutOfCredits),
    ("insufficient_quota", OutOfCredits),
    ("AllocationQuota", OutOfCredits),
    ("Throttling.AllocationQuota", OutOfCredits),
    ("Throttling", RateLimited),
    ("LimitRequests", RateLimited),
    ("InvalidApiKey", Unauthorized),
    ("AccessDenied", Unauthorized),
    ("ModelNotFound", BadRequest),
    ("InvalidParameter", BadRequest),
)
"""Beginning of an error code -> meaning; the first that fits counts."""
UNFIT_CALL = re.compile("does not support (a?synchronous) calls")
"""AccessDenied says this of a model that is asked by the wrong route, which is no matter of keys."""

KEY_HINT = "a key is good in its own region only: look at the key and at base_url (imagegen config show)"
MODELS_HINT = "imagegen models lists the names that --model may take"
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting(
        "https://dashscope.aliyuncs.com",
        "address of the service; key and region belong together: others are dashscope-intl, dashscope-us",
    )
    model: str = setting("wan2.6-t2i", "model when --model is not given")
    poll: float = setting(1.0, "shortest time between two status queries of a task; an account may ask 20 a second")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "DASHSCOPE_API_KEY"}


class DashScope(Provider[Settings]):
    kind = "dashscope"
    title = "Alibaba DashScope (Model Studio): Wan, Qwen-Image"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        home = self._settings.base_url.rstrip("/").removesuffix("/compatible-mode/v1")  # of the same service for OpenAI
        self._base = home.removesuffix("/api/v1") + "/api/v1"
        self._unknown: Counter[str] = Counter()

    def check(self, request: ImageRequest) -> None:
        form = form_of(self._model(request))
        _size(request, form)
        for broken, rule in _rules(request, form):
            if broken:
                raise BadRequest(rule)
        for key in request.extra:
            if key not in EXTRAS:
                raise BadRequest(f"DashScope knows no option {key!r}", hint=nearest(key, EXTRAS))
        examined(request.references, formats=REFERENCES)

    def max_images(self, request: ImageRequest) -> int:
        return form_of(self._model(request)).most

    async def models(self) -> tuple[str, ...]:
        return MODELS

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        form = form_of(self._model(request))
        headers = {} if form.waits else {"X-DashScope-Async": "enable"}
        body = self._body(request, form)
        answer = await self._call("POST", f"services/aigc/{form.route}", paid=True, headers=headers, json=body)
        output = _output(answer)
        if output is None:
            raise Uncertain("the service answered with JSON of an unknown form; the request may have been charged")
        task_id = output.get("task_id")
        if isinstance(task_id, str) and re.fullmatch(r"[\w-]{1,128}", task_id, re.ASCII):
            return Accepted(Job(task_id), _facts(answer, body))
        if output.keys() & {"choices", "results"}:
            ready = _ready(output)
            return replace(ready, facts={**_facts(answer, body), **ready.facts})
        raise Uncertain("the service gave no task id to ask with; the request may have been accepted and charged")

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        output = await self._task(job)
        word = common.text(output.get("task_status"))
        if word == "UNKNOWN":
            return self._not_known(job)
        self._unknown.pop(job.id, None)
        if word == "SUCCEEDED":
            return _ready(output)
        if word == "FAILED":
            raise _failure(output).as_final()
        if word == "CANCELED":
            raise GenerationFailed("the task was cancelled at the service").as_final()
        return Working(fraction=_fraction(output.get("task_metrics")), note="" if word == "RUNNING" else word)

    async def cancel(self, job: Job) -> CancelOutcome:
        """The service strikes out what has not begun. Of the rest it says only that it cannot be cancelled."""
        try:
            await self._call("POST", f"tasks/{job.id}/cancel")
        except TaskError:
            word = common.text((await self._task(job)).get("task_status"))
            return CancelOutcome.TOO_LATE if word in FINISHED else CancelOutcome.GOES_ON
        return CancelOutcome.STOPPED

    async def _task(self, job: Job) -> dict[str, Any]:
        output = _output(await self._call("GET", f"tasks/{job.id}"))
        if output is None:
            raise ServerTrouble("the service answered with JSON of an unknown form")
        common.about(job.id, output.get("task_id"))
        return output

    def _not_known(self, job: Job) -> Working:
        self._unknown[job.id] += 1
        if self._unknown[job.id] > GRACE:
            raise Expired("the service does not know this task: it keeps them for 24 hours")
        return Working(note="UNKNOWN")

    async def _call(
        self, method: str, path: str, *, paid: bool = False, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        """An answer with JSON in it. Raises what any other answer means."""
        url = f"{self._base}/{path}"
        key = common.Key(self._settings.api_key, self._base, prefix="Bearer ").bound_for(url)
        sent = {**self._settings.headers, **(headers or {})}
        answer = await call(self._clients, method, url, paid=paid, raw=True, headers=sent, auth=key, **options)
        _refuse(answer)
        refuse(answer, paid=paid)
        return answer

    def _model(self, request: ImageRequest) -> str:
        return request.model or self._settings.model

    def _body(self, request: ImageRequest, form: Form) -> dict[str, Any]:
        """`n`, `watermark` and `prompt_extend` always go along: their defaults differ from model to model.

        So does a seed: the service draws one without telling it.
        """
        parameters: dict[str, Any] = {
            "n": self.expected_images(request),
            "watermark": request.extra.get("watermark") == "true",
        }
        if form.shape != "images":
            parameters["prompt_extend"] = request.extra.get("prompt_extend", "true") == "true"
        if size := _size(request, form):
            parameters["size"] = f"{size[0]}*{size[1]}"
        parameters["seed"] = common.drawn(SEEDS) if request.seed in (None, -1) else request.seed
        negative = {"negative_prompt": request.negative} if request.negative else {}
        if form.shape == "messages":
            parameters |= negative
            negative = {}
        return {
            "model": self._model(request),
            "input": _input(request, form.shape) | negative,
            "parameters": parameters,
        }


# What goes out


def form_of(model: str) -> Form:
    """Raises BadRequest where no family has such a name."""
    known = [beginning for beginning in FORMS if model.startswith(beginning)]
    if not known:
        raise BadRequest(f"DashScope has no image model {model[:40]!r}", hint=nearest(model, MODELS))
    return FORMS[max(known, key=len)]


def _rules(request: ImageRequest, form: Form) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    prompt, negative, count, seed = request.prompt, request.negative, request.count, request.seed
    yield not prompt.strip(), "the prompt is empty"
    long = f"a prompt has at most {form.longest} characters here, not {len(prompt)}: the rest would be cut off"
    yield 0 < form.longest < len(prompt), long
    long = f"a negative prompt has at most {LONGEST_NEGATIVE} characters, not {len(negative)}"
    yield len(negative) > LONGEST_NEGATIVE, long
    few = f"this model makes 1 to {form.most} pictures a request, not {count}"
    yield count is not None and count not in range(1, form.most + 1), few
    yield seed not in (None, -1) and seed not in SEEDS, f"a seed is 0 to {SEEDS[-1]}, or -1 for any; not {seed}"
    for key in EXTRAS:
        value = request.extra.get(key, "true")
        yield value not in ("true", "false"), f"{key} is true or false, not {value[:40]!r}"
    least, most = form.references
    yield not most and bool(request.references), "this model makes pictures from text alone: leave out the references"
    number = len(request.references)
    yield not least <= number <= most, f"this model takes {least} to {most} reference pictures, not {number}"


def _size(request: ImageRequest, form: Form) -> tuple[int, int] | None:
    """Width and height, None where nothing is asked for. Raises BadRequest with the rule."""
    if request.width is not None or request.height is not None:
        size = request.width or 0, request.height or 0
        if not form.fits(*size):
            raise BadRequest(f"this model cannot draw {request.width}x{request.height}; it draws {form.rule}")
        return size
    if not request.ratio and not request.resolution:
        return None
    drawn = _listed(request, form) if form.sizes else _computed(request, form)
    if drawn is None or not form.fits(*drawn):
        wanted = " at ".join(word for word in (request.ratio, request.resolution) if word)
        raise BadRequest(f"this model cannot draw {wanted[:60]}; it draws {form.rule}")
    return drawn


def _listed(request: ImageRequest, form: Form) -> tuple[int, int] | None:
    """The size whose shape is nearest to the ratio, if it is near: 1664x928 is what passes for 16:9."""
    wide, high = _ratio(request.ratio or "1:1")
    near = min(form.sizes, key=lambda size: abs(math.log(size[0] * high / (size[1] * wide))))
    close = abs(math.log(near[0] * high / (near[1] * wide))) < 0.02  # noqa: PLR2004 - two parts in a hundred
    return near if close and not request.resolution else None


def _computed(request: ImageRequest, form: Form) -> tuple[int, int]:
    wide, high = _ratio(request.ratio or "1:1")
    resolution = request.resolution.lower()
    if resolution and resolution not in TIERS:
        raise BadRequest(f"a resolution is one of {', '.join(TIERS)}; not {resolution[:40]!r}")
    area = TIERS[resolution] ** 2 if resolution else form.square**2
    rounded = math.floor if area >= form.area[1] else math.ceil
    unit = math.sqrt(area / (wide * high)) / GRID
    return rounded(wide * unit) * GRID, rounded(high * unit) * GRID


def _ratio(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", text)
    if found is None:
        raise BadRequest(f"a ratio is W:H, not {text[:40]!r}")
    return int(found[1]), int(found[2])


def _input(request: ImageRequest, shape: Shape) -> dict[str, Any]:
    pictures = [_picture(reference) for reference in request.references]
    if shape == "prompt":
        return {"prompt": request.prompt}
    if shape == "images":
        return {"prompt": request.prompt, "images": pictures}
    content = [*({"image": picture} for picture in pictures), {"text": request.prompt}]
    return {"messages": [{"role": "user", "content": content}]}


def _picture(reference: str) -> str:
    """An address as it is, a file as a data URL."""
    return reference if is_remote(reference) else read(reference, formats=REFERENCES).data_uri


# What comes back


def _facts(answer: Answer, asked: dict[str, Any]) -> Facts:
    request_id = common.table(answer.body).get("request_id")
    return common.facts(seed=asked["parameters"]["seed"], model=asked["model"], request_id=request_id)


def _output(answer: Answer) -> dict[str, Any] | None:
    output = common.table(answer.body).get("output")
    return output if isinstance(output, dict) else None


def _refuse(answer: Answer) -> None:
    """Raise where the service's code says more than its status does."""
    code = common.text(common.table(answer.body).get("code"))
    if answer.status < 400 or not code:  # noqa: PLR2004 - no error status
        return
    said = f"{code}: {message_in(answer)}"
    kind = _meaning(code) or (_by_words(message_in(answer)) if answer.status < 500 else None)  # noqa: PLR2004
    if kind is RateLimited:
        raise RateLimited(said, after=retry_after(answer))
    if kind is Unauthorized and UNFIT_CALL.search(said):
        raise BadRequest(said)
    if kind is Unauthorized:
        raise Unauthorized(said, hint=KEY_HINT)
    if kind is not None:
        raise kind(said, hint=MODELS_HINT if code.startswith("ModelNotFound") else "")


def _meaning(code: str) -> type[TaskError] | None:
    return next((kind for beginning, kind in CODES if code.startswith(beginning)), None)


def _by_words(text: str) -> type[TaskError] | None:
    """What words beside a code that nobody knows are believed to say."""
    found = _chinese_words.meaning("", text)
    return found.kind if found is not None and found.kind in (Moderated, OutOfCredits) else None


def _failure(said: dict[str, Any]) -> TaskError:
    """What a task, or one of its pictures, failed of: nothing that a later try by itself would mend."""
    code, message = common.text(said.get("code")), common.text(said.get("message"))
    kind = _meaning(code) or _by_words(message)
    text = ": ".join(word for word in (code, message) if word) or "the service gave no reason"
    return (kind if kind in (Moderated, BadRequest, OutOfCredits) else GenerationFailed)(text)


def _ready(output: dict[str, Any]) -> Ready:
    results = [item for item in common.items(output.get("results")) if isinstance(item, dict)]
    contents = [content for choice in common.items(output.get("choices")) for content in _contents(choice)]
    links = [common.link(item.get("url", item.get("image"))) for item in (*results, *contents)]
    images = tuple(RemoteImage(link) for link in links if link)
    failed = [item for item in results if "code" in item]
    facts = common.facts(revised_prompt=next(filter(None, (item.get("actual_prompt") for item in results)), None))
    if images:
        lost = len(results) - len(images) if results else 0
        note = f"{lost} of {len(results)} pictures failed: {_failure(failed[0] if failed else {}).message}"
        return Ready(images, note if lost > 0 else "", facts)
    words = " ".join(text for content in contents if (text := common.text(content.get("text"))))
    if failed:
        raise _failure(failed[0]).as_final()
    raise GenerationFailed(f"no picture came: {words[:MAX_QUOTED_CHARS] or 'the service gave no reason'}")


def _contents(choice: Any) -> list[dict[str, Any]]:
    contents = common.items(common.table(common.table(choice).get("message")).get("content"))
    return [content for content in contents if isinstance(content, dict)]


def _fraction(metrics: Any) -> float | None:
    """The share of a task's pictures that have come to an end."""
    counts = common.table(metrics)
    total, done = counts.get("TOTAL"), [counts.get("SUCCEEDED"), counts.get("FAILED")]
    ended = sum(number for number in done if isinstance(number, int))
    if not isinstance(total, int) or not 0 < ended <= total:
        return None
    return ended / total


PROVIDER: type[Provider[Any]] = DashScope
