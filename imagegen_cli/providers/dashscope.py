"""Alibaba's DashScope (Model Studio): Wan by task id, newer Qwen-Image in one long request.

Protocol facts are from Alibaba's pages on asynchronous tasks, Wan text-to-image V2 and Qwen-Image, from its Python
client (dashscope 2.0.2) and from Comfy's proxy schemas. A task has succeeded as soon as one of its pictures has.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    TaskError,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Accepted, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import examined, referred
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job, RemoteImage
from imagegen_cli.providers import _chinese_words, _common as common, _rules as rules
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, MODELS_HINT, Answer, message_in, refuse, retry_after

SEEDS = range(2**31)
MAX_NEGATIVE_CHARS = 500
REFERENCES = ("PNG", "JPEG", "WebP", "BMP")
MAX_CHARGED_IMAGES = 1000
EXTRAS = ("prompt_extend", "watermark")
TIERS = {"512": 512, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
GRID = 16
"""Pixels: sides that are computed from a ratio are multiples of this."""
NEAR = 0.02
"""The largest difference of the logarithms of two ratios that count as the same: 1664x928 is offered as 16:9."""
MAX_UNKNOWN = 2
"""UNKNOWN means "missing or expired". A task is paid for, so only more of these answers than this are believed."""

MAX_SHOWN_CHARS = 60
"""Characters of a wrong shape that a message repeats."""
UNDRAWABLE = Message("this model cannot draw {size}; it draws {rule}")

Shape = Literal["prompt", "images", "messages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How to send a request to one family of models, and its rules. `area` and `sides` are in pixels, from and to."""

    route: str
    shape: Shape = "messages"
    is_synchronous: bool = False
    """Whether the answer to the submit has the pictures; otherwise it has a task id."""
    max_images: int = 4
    max_prompt: int = 0
    """Characters; 0: no limit is known."""
    area: tuple[int, int] = (512**2, 2048**2)
    sides: tuple[int, int] = (1, 1 << 20)
    aspect: float = 4.0
    square: int = 1024
    """Side of the square that stands for a ratio without a resolution."""
    sizes: tuple[tuple[int, int], ...] = ()
    references: tuple[int, int] = (0, 0)

    @property
    def rule(self) -> str:
        if self.sizes:
            return rules.sizes_in_words(self.sizes)
        (low, high), (narrow, wide) = map(math.isqrt, self.area), self.sides
        rule = Message("{low}x{low} to {high}x{high} pixels in all, at most {aspect:g}:1")
        if narrow > 1:
            rule = Message(
                "{low}x{low} to {high}x{high} pixels in all, {narrow} to {wide} a side, at most {aspect:g}:1"
            )
        return rule.format(low=low, high=high, narrow=narrow, wide=wide, aspect=self.aspect)

    def is_valid(self, width: int, height: int) -> bool:
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
    "wan2.6-image": Form(route=GENERATION, max_prompt=2000, area=(768**2, 2048**2), square=1280, references=(1, 4)),
    "wan2.6": Form(route=GENERATION, max_prompt=2100, area=(1280**2, 1440**2), square=1280),
    "wan2.5-i2i": Form(
        route=IMAGE2IMAGE, shape="images", max_prompt=2000, sides=(384, 5000), square=1280, references=(1, 2)
    ),
    "wan2.5": Form(route=TEXT2IMAGE, shape="prompt", max_prompt=2000, area=(768**2, 1440**2), square=1280),
    "wan2.2": Form(route=TEXT2IMAGE, shape="prompt", max_prompt=500, area=(512**2, 1440**2), sides=(512, 1440)),
    "wan2.1": Form(route=TEXT2IMAGE, shape="prompt", max_prompt=500, area=(512**2, 1440**2), sides=(512, 1440)),
    "wanx": Form(route=TEXT2IMAGE, shape="prompt", max_prompt=800, area=(512**2, 1440**2), sides=(512, 1440)),
    "wan": Form(route=GENERATION, area=(512**2, 4096**2), square=1280, aspect=8.0, references=(0, 9)),
    "qwen-image-edit": Form(route=MULTIMODAL, is_synchronous=True, max_images=6, max_prompt=800, references=(1, 3)),
    "qwen-image-max": Form(route=MULTIMODAL, is_synchronous=True, max_images=1, max_prompt=800, sizes=QWEN_SIZES),
    "qwen-image-": Form(
        route=MULTIMODAL,
        is_synchronous=True,
        max_images=6,
        area=(512**2, 2560**2),
        aspect=8.0,
        square=2048,
        references=(0, 3),
    ),
    "qwen-image-plus": Form(route=TEXT2IMAGE, shape="prompt", max_images=1, max_prompt=800, sizes=QWEN_SIZES),
    "qwen-image": Form(route=TEXT2IMAGE, shape="prompt", max_images=1, max_prompt=800, sizes=QWEN_SIZES),
}
"""Beginning of a model's name -> form; the longest beginning that matches counts. `wan` and `qwen-image-` stand for
models that are newer than this table. Where the pages disagree or say nothing the wider rule is taken, because a
refusal by the service costs nothing."""

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
"""Beginning of an error code -> meaning; the first that matches counts."""
WRONG_ROUTE = re.compile("does not support (a?synchronous) calls")
"""AccessDenied has this message where a request took the wrong route for its model: the key is not the cause."""

KEY_HINT = Message("a key is good in its own region only: look at the key and at base_url (imagegen config show)")
THIS_MODEL = Message("this model")
NO_REASON = Message("the service gave no reason")
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting(
        "https://dashscope.aliyuncs.com",
        Message("address of the service; key and region belong together: others are dashscope-intl, dashscope-us"),
    )
    model: str = setting("wan2.6-t2i", Message("model when --model is not given"))
    poll: float = setting(
        1.0, Message("shortest time between two status queries of a task; an account may ask 20 a second")
    )

    environment: ClassVar[Mapping[str, str]] = {"api_key": "DASHSCOPE_API_KEY"}


class DashScope(common.HttpProvider[Settings]):
    kind = "dashscope"
    title = Message("Alibaba DashScope (Model Studio): Wan, Qwen-Image")

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        home = self._base.removesuffix("/compatible-mode/v1")  # the path that its OpenAI-like routes have
        self._base = home.removesuffix("/api/v1") + "/api/v1"
        self._auth = common.Key(settings.api_key, self._base, prefix="Bearer ")
        gone = Message("the service does not know this task: it keeps them for 24 hours")
        self._not_found = common.NotFound(MAX_UNKNOWN, gone)

    def check(self, request: ImageRequest) -> None:
        form = form_of(self._model(request))
        _size(request, form)
        rules.check(_rules(request, form))
        rules.options(request, EXTRAS, "DashScope")
        examined(request.references, formats=REFERENCES)

    def max_images(self, request: ImageRequest) -> int:
        return form_of(self._model(request)).max_images

    async def models(self) -> tuple[str, ...]:
        return MODELS

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        form = form_of(self._model(request))
        headers = {} if form.is_synchronous else {"X-DashScope-Async": "enable"}
        body = self._body(request, form)
        answer = await self._call("POST", f"services/aigc/{form.route}", paid=True, headers=headers, json=body)
        output = _output(answer)
        if output is None:
            raise common.unknown_form(paid=True)
        if task_id := common.job_id(output.get("task_id")):
            return Accepted(Job(task_id), _facts(answer, body))
        if output.keys() & {"choices", "results"}:
            ready = _ready(output, _charged_images(answer))
            return replace(ready, facts={**_facts(answer, body), **ready.facts})
        raise Uncertain(common.NO_ID)

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        output, charged = await self._task(job)
        word = common.text(output.get("task_status"))
        if word == "UNKNOWN":
            return self._not_found.missed(job, word)
        self._not_found.found(job)
        if word == "SUCCEEDED":
            return _ready(output, charged)
        if word == "FAILED":
            raise _failure(output).as_final()
        if word == "CANCELED":
            raise GenerationFailed(Message("the task was cancelled at the service")).as_final()
        return Working(fraction=_fraction(output.get("task_metrics")), note="" if word == "RUNNING" else word)

    async def cancel(self, job: Job) -> CancelOutcome:
        """The service removes a task that has not begun, and answers that any other cannot be cancelled."""
        try:
            await self._call("POST", f"tasks/{job.id}/cancel")
        except TaskError:
            output, _ = await self._task(job)
            word = common.text(output.get("task_status"))
            return CancelOutcome.TOO_LATE if word in FINISHED else CancelOutcome.GOES_ON
        return CancelOutcome.STOPPED

    async def _task(self, job: Job) -> tuple[dict[str, Any], int | None]:
        """What the service says of a task, and how many pictures it charges."""
        answer = await self._call("GET", f"tasks/{job.id}")
        output = _output(answer)
        if output is None:
            raise common.unknown_form(paid=False)
        common.about(job.id, output.get("task_id"))
        return output, _charged_images(answer)

    async def _call(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        """An answer with JSON in it. Raises what any other answer means."""
        answer = await self._send(method, f"{self._base}/{path}", paid=paid, **options)
        _refuse(answer)
        refuse(answer, paid=paid)
        return answer

    def _body(self, request: ImageRequest, form: Form) -> dict[str, Any]:
        """`n`, `watermark` and `prompt_extend` are always sent: their defaults differ from model to model.

        A seed is always sent too: the service would draw one and not name it.
        """
        parameters: dict[str, Any] = {
            "n": self.expected_images(request),
            "watermark": request.extra.get("watermark") == "true",
        }
        if form.shape != "images":
            parameters["prompt_extend"] = request.extra.get("prompt_extend", "true") == "true"
        if size := _size(request, form):
            parameters["size"] = f"{size[0]}*{size[1]}"
        parameters["seed"] = rules.seed_or_drawn(request, SEEDS)
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
    form = rules.by_prefix(FORMS, model)
    if form is None:
        message = Message("DashScope has no image model {name}").format(name=rules.shown(model))
        raise BadRequest(message, hint=nearest(model, MODELS))
    return form


def _rules(request: ImageRequest, form: Form) -> Iterator[rules.Rule]:
    yield from rules.prompt(request, form.max_prompt, Message("the service would cut off the rest"))
    long = Message("a negative prompt has at most {limit} characters, not {count}")
    length = len(request.negative)
    yield rules.broken_if(length > MAX_NEGATIVE_CHARS, long, limit=MAX_NEGATIVE_CHARS, count=length)
    yield rules.count(request, form.max_images)
    yield rules.seed(request, SEEDS)
    for name in EXTRAS:
        yield rules.switch(name, request.extra.get(name, "true"))
    low, high = form.references
    yield from rules.references(request, high, THIS_MODEL, low)


def _size(request: ImageRequest, form: Form) -> tuple[int, int] | None:
    """Width and height; None where neither a size nor a ratio is asked for. Raises BadRequest with the rule."""
    if rules.is_sized(request):
        size = request.width or 0, request.height or 0
        if not form.is_valid(*size):
            raise BadRequest(UNDRAWABLE.format(size=f"{request.width}x{request.height}", rule=form.rule))
        return size
    if not request.ratio and not request.resolution:
        return None
    size_or_none = _listed(request, form) if form.sizes else _computed(request, form)
    if size_or_none is None or not form.is_valid(*size_or_none):
        raise BadRequest(UNDRAWABLE.format(size=_shape_in_words(request), rule=form.rule))
    return size_or_none


def _shape_in_words(request: ImageRequest) -> str:
    if not (request.ratio and request.resolution):
        return (request.ratio or request.resolution)[:MAX_SHOWN_CHARS]
    shape = Message("{ratio} at {resolution}").format(ratio=request.ratio, resolution=request.resolution)
    return shape if len(shape) <= MAX_SHOWN_CHARS else shape[:MAX_SHOWN_CHARS]


def _listed(request: ImageRequest, form: Form) -> tuple[int, int] | None:
    """The size whose shape is nearest to the ratio; None where none is near."""
    wide, high = rules.ratio_of(request.ratio or "1:1")
    distances = {abs(math.log(width * high / (height * wide))): (width, height) for width, height in form.sizes}
    shortest = min(distances)
    return distances[shortest] if shortest < NEAR and not request.resolution else None


def _computed(request: ImageRequest, form: Form) -> tuple[int, int]:
    wide, high = rules.ratio_of(request.ratio or "1:1")
    resolution = request.resolution.lower()
    rules.check([rules.one_of("resolution", resolution, TIERS, THIS_MODEL)])
    area = TIERS[resolution] ** 2 if resolution else form.square**2
    rounded = math.floor if area >= form.area[1] else math.ceil
    unit = math.sqrt(area / (wide * high)) / GRID
    return rounded(wide * unit) * GRID, rounded(high * unit) * GRID


def _input(request: ImageRequest, shape: Shape) -> dict[str, Any]:
    pictures = [referred(reference, formats=REFERENCES) for reference in request.references]
    if shape == "prompt":
        return {"prompt": request.prompt}
    if shape == "images":
        return {"prompt": request.prompt, "images": pictures}
    content = [*({"image": picture} for picture in pictures), {"text": request.prompt}]
    return {"messages": [{"role": "user", "content": content}]}


# What comes back


def _facts(answer: Answer, body: dict[str, Any]) -> Facts:
    request_id = common.table(answer.body).get("request_id")
    return common.facts(seed=body["parameters"]["seed"], model=body["model"], request_id=request_id)


def _output(answer: Answer) -> dict[str, Any] | None:
    output = common.table(answer.body).get("output")
    return output if isinstance(output, dict) else None


def _charged_images(answer: Answer) -> int | None:
    """How many pictures are charged: only those that came. Tasks and answers in one piece name it differently."""
    usage = common.table(common.table(answer.body).get("usage"))
    counts = (common.natural(usage.get(name), MAX_CHARGED_IMAGES) for name in ("image_count", "output_image_count"))
    return next(filter(None, counts), None)


def _refuse(answer: Answer) -> None:
    """Raise where the service's code says more than its status does."""
    code = common.text(common.table(answer.body).get("code"))
    if not answer.is_error or not code:
        return
    message = joined(": ", (code, message_in(answer)))
    kind = _meaning(code) or (None if answer.is_server_error else _by_words(message_in(answer)))
    if kind is RateLimited:
        raise RateLimited(message, after=retry_after(answer))
    if kind is Unauthorized and WRONG_ROUTE.search(message):
        raise BadRequest(message)
    if kind is Unauthorized:
        raise Unauthorized(message, hint=KEY_HINT)
    if kind is not None:
        raise kind(message, hint=MODELS_HINT if code.startswith("ModelNotFound") else "")


def _meaning(code: str) -> type[TaskError] | None:
    return next((kind for beginning, kind in CODES if code.startswith(beginning)), None)


def _by_words(text: str) -> type[TaskError] | None:
    """What the message beside an unknown code means, as far as it is believed."""
    found = _chinese_words.meaning("", text)
    return found.kind if found is not None and found.kind in (Moderated, OutOfCredits) else None


def _failure(failed: dict[str, Any]) -> TaskError:
    """Why a task, or one of its pictures, failed. The error is never one that is repeated automatically."""
    code, message = common.text(failed.get("code")), common.text(failed.get("message"))
    kind = _meaning(code) or _by_words(message)
    text = joined(": ", filter(None, (code, message))) or NO_REASON
    return (kind if kind in (Moderated, BadRequest, OutOfCredits) else GenerationFailed)(text)


def _ready(output: dict[str, Any], charged_images: int | None) -> Ready:
    results = common.tables(output.get("results"))
    contents = [content for choice in common.items(output.get("choices")) for content in _contents(choice)]
    links = [common.link(item.get("url", item.get("image"))) for item in (*results, *contents)]
    images = tuple(RemoteImage(link) for link in links if link)
    failed = [item for item in results if "code" in item]
    facts = common.facts(revised_prompt=common.rewritten(item.get("actual_prompt") for item in results))
    if images:
        fate = Message("failed: {why}").format(why=_failure(failed[0] if failed else {}).message)
        note = common.lost_note(len(results) - len(images), len(results), fate)
        return Ready(images, note, facts, charged_images=charged_images)
    message = " ".join(text for content in contents if (text := common.text(content.get("text"))))
    if failed:
        raise _failure(failed[0]).as_final()
    nothing = Message("no picture came: {why}").format(why=message[:MAX_QUOTED_CHARS] or NO_REASON)
    raise GenerationFailed(nothing)


def _contents(choice: Any) -> list[dict[str, Any]]:
    return common.tables(common.table(common.table(choice).get("message")).get("content"))


def _fraction(metrics: Any) -> float | None:
    """The share of a task's pictures that have ended."""
    counts = common.table(metrics)
    ended = sum(common.natural(counts.get(name)) or 0 for name in ("SUCCEEDED", "FAILED"))
    total = common.natural(counts.get("TOTAL"))
    return common.fraction(ended, total) if ended and total else None


PROVIDER: type[Provider[Any]] = DashScope
