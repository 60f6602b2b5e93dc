"""Black Forest Labs: one FLUX picture a request, queried at the address that came with the receipt.

Protocol facts are from BFL's OpenAPI description (0.0.1), from Comfy's proxy schemas for the states that are newer,
and from the code of other clients: a task is known in its own region only, and failures come as HTTP 200.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, GenerationFailed, Moderated, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.money import told
from imagegen_cli.core.provider import Accepted, Balance, Clients, Provider, Ready, Report
from imagegen_cli.core.references import examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import clean

DOMAINS = ("bfl.ai",)
FORMATS = ("png", "jpeg", "webp")
MAX_RATIO = 21 / 9
TIERS = {"": 1024, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
SEEDS = range(2**31)
"""The seeds that are drawn here: every model takes a whole number, and not every one names the seed that it drew."""
UNKNOWN = "Task not found"
MAX_UNKNOWN = 3
"""UNKNOWN may come too early. A task is paid for, so only more of these answers than this are believed."""
MAX_CREDITS = 10**12
CREDITS = "credits"
THIS_MODEL = Message("this model")
MODERATED = {
    "Request Moderated": Message("the prompt or a reference was refused"),
    "Content Moderated": Message("the picture was withheld"),
}
FAILED = ("Error", "Failed")
ORDINARY = ("Pending", "Generating")

Range = tuple[float, float]
SWITCH: Range = (0, 0)
"""Not a range: true or false."""
OLDER: Mapping[str, Range] = {"safety_tolerance": (0, 6), "prompt_upsampling": SWITCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The rules of one family of models. `sides` are the fewest and the most pixels of a side."""

    shape: Literal["pixels", "ratio", "any"]
    step: int = 16
    sides: tuple[int, int] = (64, 1 << 14)
    tiers: tuple[str, ...] = ("", "1k")
    references: int = 0
    extras: Mapping[str, Range] = field(default_factory=lambda: {"safety_tolerance": (0, 5)})


FORMS: dict[str, Form] = {
    "flux-2-klein": Form(shape="pixels", tiers=tuple(TIERS), references=4),
    "flux-2-flex": Form(
        shape="pixels",
        tiers=tuple(TIERS),
        references=8,
        extras={"safety_tolerance": (0, 5), "prompt_upsampling": SWITCH, "guidance": (1.5, 10), "steps": (1, 50)},
    ),
    "flux-2": Form(shape="pixels", tiers=tuple(TIERS), references=8),
    "flux-pro-1.1-ultra": Form(shape="ratio", extras={**OLDER, "raw": SWITCH}),
    "flux-pro-1.1": Form(shape="pixels", step=32, sides=(256, 1440), extras=OLDER),
    "flux-dev": Form(
        shape="pixels", step=32, sides=(256, 1440), extras={**OLDER, "guidance": (1.5, 5), "steps": (1, 50)}
    ),
    "flux-kontext": Form(shape="ratio", references=4, extras=OLDER),
    "flux": Form(shape="any", step=1, sides=(1, 1 << 14), references=8, extras=OLDER),
}
"""Beginning of a model's name -> its rules; the longest that matches counts. `flux` stands for models that are newer
than this table: their requests are sent as they are given, because a refusal by the service costs nothing."""

MODELS = (
    "flux-2-pro",
    "flux-2-max",
    "flux-2-flex",
    "flux-2-klein-4b",
    "flux-2-klein-9b",
    "flux-pro-1.1",
    "flux-pro-1.1-ultra",
    "flux-kontext-pro",
    "flux-kontext-max",
    "flux-dev",
)


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting(
        "https://api.bfl.ai", Message("address of the service; api.eu.bfl.ai and api.us.bfl.ai stay there")
    )
    model: str = setting(
        "flux-2-pro", Message("model when --model is not given: {known}").format(known=", ".join(MODELS))
    )
    concurrency: int = setting(8, Message("tasks at the service at once; it takes 24 of an account; 0 lifts the limit"))
    output_format: str = setting("png", Message("file format: {known}").format(known=", ".join(FORMATS)))

    environment: ClassVar[Mapping[str, str]] = {"api_key": "BFL_API_KEY"}


class BlackForestLabs(common.HttpProvider[Settings]):
    kind = "bfl"
    title = "Black Forest Labs: FLUX"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._base = self._base.removesuffix("/v1") + "/v1"
        self._auth = common.Key(settings.api_key, self._base, header="x-key", domains=DOMAINS)
        gone = Message("the service does not know this task, or no longer: {state}").format(state=UNKNOWN)
        self._not_found = common.NotFound(MAX_UNKNOWN, gone)

    def check(self, request: ImageRequest) -> None:
        form = form_of(self._model(request))
        rules.check(self._rules(request, form))
        self._body(request, examined(request.references))

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return 1

    async def models(self) -> tuple[str, ...]:
        return MODELS

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        pictures = [one if is_remote(one) else read(one).base64 for one in request.references]
        body = self._body(request, pictures)
        answer = await self._send("POST", f"{self._base}/{self._model(request)}", paid=True, json=body)
        receipt = common.body_of(answer, paid=True)
        job_id = common.job_id(receipt.get("id"))
        if not job_id:
            raise Uncertain(common.NO_ID)
        facts = common.facts(seed=body["seed"], model=self._model(request), request_id=job_id)
        return Accepted(Job(job_id, common.link(receipt.get("polling_url"))), facts, told(receipt.get("cost"), CREDITS))

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        answer = await self._send("GET", job.url or f"{self._base}/get_result?id={job.id}")
        body = common.table(answer.body)
        common.about(job.id, body.get("id"))
        if UNKNOWN in (body.get("status"), body.get("detail")):  # it comes with HTTP 200 and with 404
            return self._not_found.missed(job, UNKNOWN)
        result = common.body_of(answer, paid=False)
        word = common.state_in(result)
        self._not_found.found(job)
        if word == "Ready":
            return _ready(result)
        if word in MODERATED:
            message = Message("{message} ({state})").format(message=MODERATED[word], state=word)
            raise _billed(Moderated(_with_details(message, result)), result)
        if word in FAILED:
            message = Message("the service could not make it ({state})").format(state=word)
            raise _billed(GenerationFailed(_with_details(message, result)), result)
        return Working(fraction=common.fraction(result.get("progress")), note="" if word in ORDINARY else word)

    async def balance(self) -> Balance | None:
        credit = common.body_of(await self._send("GET", f"{self._base}/credits"), paid=False).get("credits")
        amount = common.number(credit, MAX_CREDITS)
        unknown = Message("the service does not name the credits")
        return Balance(amount, note="" if amount is not None else unknown)

    def _rules(self, request: ImageRequest, form: Form) -> Iterator[rules.Rule]:
        yield from rules.prompt(request)
        yield rules.no_negative(request, "FLUX")
        yield rules.count(request, 1)
        negative = Message("a seed is 0 or more, or -1 for any; not {seed}")
        yield rules.broken_if(request.seed is not None and request.seed < -1, negative, seed=request.seed)
        yield from rules.references(request, form.references, THIS_MODEL)
        yield rules.choice("output_format", self._settings.output_format, FORMATS)

    def _body(self, request: ImageRequest, pictures: Sequence[str]) -> dict[str, Any]:
        form = form_of(self._model(request))
        rules.options(request, form.extras, THIS_MODEL)
        named = {
            "prompt": request.prompt,
            "output_format": self._settings.output_format,
            "seed": rules.seed_or_drawn(request, SEEDS),
            **_shape(request, form),
            **{name: _extra(name, words, form) for name, words in request.extra.items()},
            **{"input_image" if at == 1 else f"input_image_{at}": one for at, one in enumerate(pictures, 1)},
        }
        return common.options(named, {})


def form_of(model: str) -> Form:
    """Raises BadRequest where no family has such a name."""
    form = rules.by_prefix(FORMS, model)
    if form is None or not re.fullmatch(r"[\w.-]+", model, re.ASCII):
        message = Message("this service has no model {name}").format(name=rules.shown(model))
        raise BadRequest(message, hint=nearest(model, MODELS))
    return form


def _shape(request: ImageRequest, form: Form) -> dict[str, Any]:
    """Size or ratio as this family takes it; empty where neither is asked for. Raises BadRequest with the rule."""
    width, height, ratio, resolution = request.width, request.height, request.ratio, request.resolution.lower()
    if ratio:
        _check_ratio(ratio)
    if rules.is_sized(request):
        if form.shape == "ratio":
            message = Message("this model draws by ratio, not by pixels: give --ratio, not {size}")
            raise BadRequest(message.format(size=f"{width}x{height}"))
        rules.check([rules.size_or_ratio(request)])
        return _pixels(width or 0, height or 0, form)
    if form.shape == "any":
        named = {"aspect_ratio": ratio, "resolution": request.resolution}
        return {name: words for name, words in named.items() if words}
    if form.shape == "ratio":
        if resolution:
            raise BadRequest(Message("this model has no size classes: leave --resolution out"))
        return {"aspect_ratio": ratio} if ratio else {}
    return _pixels_of(ratio, resolution, form) if ratio or resolution else {}


def _check_ratio(ratio: str) -> None:
    wide, high = rules.ratio_of(ratio)
    if not 1 / MAX_RATIO <= wide / high <= MAX_RATIO:
        message = Message("a ratio is between 21:9 and 9:21 here, not {ratio}")
        raise BadRequest(message.format(ratio=ratio[:40]))


def _pixels(width: int, height: int, form: Form) -> dict[str, Any]:
    low, high = form.sides
    if not all(low <= side <= high and side % form.step == 0 for side in (width, height)):
        message = Message("a side has {low} to {high} pixels here, in steps of {step}; not {size}")
        raise BadRequest(message.format(low=low, high=high, step=form.step, size=f"{width}x{height}"))
    return {"width": width, "height": height}


def _pixels_of(ratio: str, resolution: str, form: Form) -> dict[str, Any]:
    """Sides of this ratio with about, and not more than, the pixels of the resolution's square."""
    rules.check([rules.one_of("resolution", resolution, form.tiers, THIS_MODEL)])
    wide, high = rules.ratio_of(ratio or "1:1")
    factor = min(TIERS[resolution] / (wide * high) ** 0.5, form.sides[1] / max(wide, high))
    width, height = (form.step * int(round(side * factor, 3) // form.step) for side in (wide, high))
    return {"width": width, "height": height}


def _extra(name: str, words: str, form: Form) -> Any:
    """A further option, known to this family, as the service takes it. Raises BadRequest with the rule."""
    if form.extras[name] == SWITCH:
        rules.check([rules.switch(name, words)])
        return words == "true"
    whole = name != "guidance"
    rules.check([rules.number(name, words, *form.extras[name], whole=whole)])
    return int(words) if whole else float(words)


def _ready(result: dict[str, Any]) -> Ready:
    image = common.picture(common.table(result.get("result")).get("sample"))
    if image is None:
        nothing = GenerationFailed(Message("the service says that the picture is ready, but names none"))
        raise nothing.as_billed(told(result.get("cost"), CREDITS))
    made = common.table(result.get("result"))
    facts = common.facts(seed=made.get("seed"), revised_prompt=made.get("prompt"))
    return Ready((image,), facts=facts, cost=told(result.get("cost"), CREDITS))


def _billed(error: TaskError, result: dict[str, Any]) -> TaskError:
    """The service's last word about a job, with what it charges all the same: `cost` is that of the whole job.

    A cost that cannot be read is no word that it charges nothing.
    """
    cost = told(result.get("cost"), CREDITS)
    unclear = cost is None and result.get("cost") is not None
    return error.as_final().as_charged() if unclear else error.as_final().as_billed(cost)


def _with_details(message: Message, result: dict[str, Any]) -> str:
    """A message with the reasons that come with a refusal, as {"Moderation Reasons": ["Safety Filter"]}."""
    values = [
        part for value in common.table(result.get("details")).values() for part in (common.items(value) or [value])
    ]
    words = ", ".join(word for value in values if (word := common.text(value)))
    return joined(": ", (message, clean(words))) if words else message


PROVIDER: type[Provider[Any]] = BlackForestLabs
