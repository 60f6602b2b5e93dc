"""Black Forest Labs: one FLUX picture a request, asked for at the address that came with the receipt.

Protocol facts are from BFL's OpenAPI description (0.0.1), from Comfy's proxy schemas for the states that are newer,
and from what other clients learned: a task is known in its own region only, and failures come as HTTP 200.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, Moderated, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Balance, Clients, Provider, Ready, Report
from imagegen_cli.core.references import examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import ImageRequest, Job
from imagegen_cli.providers import _common as common
from imagegen_cli.providers._http import Answer, call, clean

DOMAINS = ("bfl.ai",)
FORMATS = ("png", "jpeg", "webp")
WIDEST = 21 / 9
TIERS = {"": 1024, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
SEEDS = range(2**31)
"""Those that we draw from: every model takes a whole number, and tells the one that it drew itself only at times."""
UNKNOWN = "Task not found"
GRACE = 3
"""UNKNOWN may come too early; a task is paid for, so it must be said more often than this."""
MODERATED = {
    "Request Moderated": "the prompt or a reference was refused",
    "Content Moderated": "the picture was withheld",
}
FAILED = ("Error", "Failed")
ORDINARY = ("Pending", "Generating")

Range = tuple[float, float]
SWITCH: Range = (0, 0)
"""Not a range: true or false."""
OLDER: Mapping[str, Range] = {"safety_tolerance": (0, 6), "prompt_upsampling": SWITCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The rules of one family of models. `sides` are least and most pixels of a side, where it takes pixels."""

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
"""Beginning of a model's name -> rules; the longest that fits counts. `flux` stands for models newer than this table:
they are asked as the person says, since the service's own refusal costs nothing."""

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
    base_url: str = setting("https://api.bfl.ai", "address of the service; api.eu.bfl.ai and api.us.bfl.ai stay there")
    model: str = setting("flux-2-pro", f"model when --model is not given: {', '.join(MODELS)}")
    concurrency: int = setting(8, "tasks at the service at once; it takes 24 of an account; 0 lifts the limit")
    output_format: str = setting("png", f"file format: {', '.join(FORMATS)}")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "BFL_API_KEY"}


class BlackForestLabs(Provider[Settings]):
    kind = "bfl"
    title = "Black Forest Labs: FLUX"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self._key = common.Key(self._settings.api_key, self._base, header="x-key", domains=DOMAINS)
        self._not_found: Counter[str] = Counter()

    def check(self, request: ImageRequest) -> None:
        form = form_of(self._model(request))
        for broken, rule in self._rules(request, form):
            if broken:
                raise BadRequest(rule)
        self._body(request, examined(request.references))

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return 1

    async def models(self) -> tuple[str, ...]:
        return MODELS

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        pictures = [one if is_remote(one) else read(one).base64 for one in request.references]
        asked = self._body(request, pictures)
        answer = await self._call("POST", f"{self._base}/{self._model(request)}", paid=True, json=asked)
        receipt = common.body_of(answer, paid=True)
        number = receipt.get("id")
        if not isinstance(number, str) or not re.fullmatch(r"[\w-]{1,128}", number, re.ASCII):
            raise Uncertain("the service gave no id to ask with; the request may have been accepted and charged")
        facts = common.facts(seed=asked["seed"], model=self._model(request), request_id=number)
        return Accepted(Job(number, common.link(receipt.get("polling_url"))), facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        answer = await self._call("GET", job.url or f"{self._base}/get_result?id={job.id}")
        body = common.table(answer.body)
        common.about(job.id, body.get("id"))
        if UNKNOWN in (body.get("status"), body.get("detail")):  # it comes with HTTP 200 and with 404
            return self._not_known(job)
        result = common.body_of(answer, paid=False)
        word = common.state_in(result)
        self._not_found.pop(job.id, None)
        if word == "Ready":
            return _ready(result)
        if word in MODERATED:
            raise Moderated(f"{MODERATED[word]} ({word}){_details(result)}").as_final()
        if word in FAILED:
            raise GenerationFailed(f"the service could not make it ({word}){_details(result)}").as_final()
        return Working(fraction=_fraction(result.get("progress")), note="" if word in ORDINARY else word)

    async def balance(self) -> Balance | None:
        credit = common.body_of(await self._call("GET", f"{self._base}/credits"), paid=False).get("credits")
        if isinstance(credit, bool) or not isinstance(credit, int | float) or not abs(credit) < 1e12:  # noqa: PLR2004 - nor is NaN
            return Balance(None, note="the service could not tell")
        return Balance(float(credit))

    def _not_known(self, job: Job) -> Working:
        self._not_found[job.id] += 1
        if self._not_found[job.id] > GRACE:
            raise Expired(f"the service does not know this task, or no longer: {UNKNOWN}")
        return Working(note=UNKNOWN)

    async def _call(self, method: str, url: str, *, paid: bool = False, **more: Any) -> Answer:
        headers, auth = dict(self._settings.headers), self._key.bound_for(url)
        return await call(self._clients, method, url, paid=paid, raw=True, headers=headers, auth=auth, **more)

    def _model(self, request: ImageRequest) -> str:
        return request.model or self._settings.model

    def _rules(self, request: ImageRequest, form: Form) -> Iterator[tuple[bool, str]]:
        """Whether each rule is broken, and the rule."""
        yield not request.prompt.strip(), "the prompt is empty"
        yield bool(request.negative), "FLUX has no negative prompt: say it in the prompt, leave --negative out"
        yield request.count not in (None, 1), f"this service makes one picture a request, not {request.count}"
        yield request.seed is not None and request.seed < -1, f"a seed is 0 or more, or -1 for any; not {request.seed}"
        number, most = len(request.references), form.references
        none = "this model makes pictures from text alone: leave out the references"
        yield number > most, f"this model takes at most {most} reference pictures, not {number}" if most else none
        known = f"output_format is one of {', '.join(FORMATS)}, not {self._settings.output_format[:40]!r}"
        yield self._settings.output_format not in FORMATS, known

    def _body(self, request: ImageRequest, pictures: Sequence[str]) -> dict[str, Any]:
        form = form_of(self._model(request))
        named = {
            "prompt": request.prompt,
            "output_format": self._settings.output_format,
            "seed": common.drawn(SEEDS) if request.seed in (None, -1) else request.seed,
            **_shape(request, form),
            **{name: _extra(name, words, form) for name, words in request.extra.items()},
            **{"input_image" if at == 1 else f"input_image_{at}": one for at, one in enumerate(pictures, 1)},
        }
        return common.options(named, {})


def form_of(model: str) -> Form:
    """Raises BadRequest where no family has such a name."""
    known = [beginning for beginning in FORMS if model.startswith(beginning)]
    if not known or not re.fullmatch(r"[\w.-]+", model, re.ASCII):
        raise BadRequest(f"this service has no model {model[:40]!r}", hint=nearest(model, MODELS))
    return FORMS[max(known, key=len)]


def _shape(request: ImageRequest, form: Form) -> dict[str, Any]:
    """Size or ratio as this family wants it; nothing where nothing is asked for. Raises BadRequest with the rule."""
    width, height, ratio, resolution = request.width, request.height, request.ratio, request.resolution.lower()
    if ratio:
        _check_ratio(ratio)
    if width is not None or height is not None:
        if form.shape == "ratio":
            raise BadRequest(f"this model draws by ratio, not by pixels: give --ratio, not {width}x{height}")
        if ratio or resolution:
            raise BadRequest("a size has its ratio and resolution: leave those out")
        return _pixels(width or 0, height or 0, form)
    if form.shape == "any":
        named = {"aspect_ratio": ratio, "resolution": request.resolution}
        return {name: words for name, words in named.items() if words}
    if form.shape == "ratio":
        if resolution:
            raise BadRequest("this model has no size classes: leave --resolution out")
        return {"aspect_ratio": ratio} if ratio else {}
    return _pixels_of(ratio, resolution, form) if ratio or resolution else {}


def _check_ratio(ratio: str) -> None:
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", ratio, re.ASCII)
    wide, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not wide or not high or not 1 / WIDEST <= wide / high <= WIDEST:
        raise BadRequest(f"a ratio is between 21:9 and 9:21, not {ratio[:40]}")


def _pixels(width: int, height: int, form: Form) -> dict[str, Any]:
    least, most = form.sides
    if not all(least <= side <= most and side % form.step == 0 for side in (width, height)):
        raise BadRequest(f"a side has {least} to {most} pixels here, in steps of {form.step}; not {width}x{height}")
    return {"width": width, "height": height}


def _pixels_of(ratio: str, resolution: str, form: Form) -> dict[str, Any]:
    """Sides of this ratio with about, and not more than, the pixels of the resolution's square."""
    if resolution not in form.tiers:
        known = ", ".join(tier for tier in form.tiers if tier)
        raise BadRequest(f"this model has no resolution {resolution[:40]}; it has {known}")
    wide, high = map(int, (ratio or "1:1").split(":"))
    factor = min(TIERS[resolution] / (wide * high) ** 0.5, form.sides[1] / max(wide, high))
    width, height = (form.step * int(round(side * factor, 3) // form.step) for side in (wide, high))
    return {"width": width, "height": height}


def _extra(name: str, words: str, form: Form) -> Any:
    """A further option as this family takes it. Raises BadRequest with the rule."""
    if name not in form.extras:
        raise BadRequest(f"this model knows no option {clean(name)!r}", hint=nearest(name, form.extras))
    least, most = form.extras[name]
    if form.extras[name] == SWITCH:
        if words not in ("true", "false"):
            raise BadRequest(f"{name} is true or false, not {words[:40]!r}")
        return words == "true"
    whole = name != "guidance"
    fits = re.fullmatch(r"\d{1,3}" if whole else r"\d{1,3}(\.\d{1,6})?", words, re.ASCII)
    if not fits or not least <= float(words) <= most:
        kind = "a whole number" if whole else "a number"
        raise BadRequest(f"{name} is {kind} from {least:g} to {most:g}, not {words[:40]!r}")
    return int(words) if whole else float(words)


def _ready(result: dict[str, Any]) -> Ready:
    image = common.picture(common.table(result.get("result")).get("sample"))
    if image is None:
        raise GenerationFailed("the service says that it is ready, but names no picture")
    facts = common.facts(seed=common.table(result.get("result")).get("seed"))
    return Ready((image,), facts=facts)


def _details(result: dict[str, Any]) -> str:
    """The reasons that come with a refusal, as {"Moderation Reasons": ["Safety Filter"]}."""
    values = [
        part for value in common.table(result.get("details")).values() for part in (common.items(value) or [value])
    ]
    words = ", ".join(word for value in values if (word := common.text(value)))
    return f": {clean(words)}" if words else ""


def _fraction(progress: Any) -> float | None:
    known = isinstance(progress, int | float) and not isinstance(progress, bool) and 0 <= progress <= 1
    return float(progress) if known else None


PROVIDER: type[Provider[Any]] = BlackForestLabs
