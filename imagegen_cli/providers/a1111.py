"""AUTOMATIC1111, Forge and SD.Next: one POST that stays open until the pictures are in its answer.

Protocol facts are from modules/api/api.py, modules/progress.py and modules/call_queue.py of the three servers. An id of
ours (`force_task_id`) lets /internal/progress tell our request from others, where the web page runs beside the API.
A picture is made larger by /sdapi/v1/extra-single-image, which has no id (modules/api/models.py: ExtrasBaseRequest).
The server of stable-diffusion.cpp has the same routes for pictures and no others (examples/server/routes_sdapi.cpp): it
ignores `n_iter` and `override_settings`, starts from the first of several reference pictures, and reports no progress.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import isfinite
from typing import Any
from uuid import uuid4

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, TaskError
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.masking import hide
from imagegen_cli.core.provider import Clients, Provider, Ready, Report, Upscaling
from imagegen_cli.core.references import ANY_FORMAT, examined, read
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, NO_ROUTES, Answer, clean, decoded, refuse

SEEDS = range(2**32)
MIN_SIDE = 64
STEP = 8
SQUARES = {"": 512, "512": 512, "768": 768, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
MAX_BATCHES = 4
"""Batches that one open request makes; more pictures become further tasks."""
OPTIONS: Mapping[str, type] = {
    **dict.fromkeys(("sampler_name", "scheduler", "hr_upscaler"), str),
    **dict.fromkeys(("cfg_scale", "distilled_cfg_scale", "denoising_strength", "hr_scale"), float),
    **dict.fromkeys(("enable_hr", "restore_faces", "tiling"), bool),
    "steps": int,
    "upscale": float,
    "upscaler": str,
}
UPSCALING = ("upscale", "upscaler")
"""The only options of a request that makes a picture larger."""
MAX_UPSCALE = 8
UPSCALER = "R-ESRGAN 4x+"
"""What makes a picture larger where no other is named: AUTOMATIC1111 and Forge load it at its first use."""
SHORT = {"cfg": "cfg_scale", "sampler": "sampler_name", "denoise": "denoising_strength"}
MAX_STOP_WAIT_S = 3.0
"""Seconds in which an interrupted request should answer: the server stops after the current step."""
MIN_PROGRESS_GAP_S = 0.05
"""Seconds between two queries for progress, whatever `poll` is."""
MAX_SEED = 2**64
MAX_SIDE = 2**32
SDCPP = "stable-diffusion.cpp"
"""The version of that server in `info`."""
NO_PROGRESS = Message("this server reports no progress while it works, and it cannot be stopped")
OUTPUTS_HINT = Message("a picture may lie in the server's own outputs folder; save_images = true keeps copies there")
MADE = Message("the pictures were made, but this server sends them only to the request that waits for them")
OUT_OF_MEMORY_HINT = Message("take fewer pixels, a lower --count or a smaller model")
THIS_SERVER = Message("this server")
NO_PICTURE = Message("the server says that it is done, but sent no picture")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:7860", Message("address of the server, which must run with --api"))
    username: str = setting("", Message("name of --api-auth; its password is api_key"))
    model: str = setting("", Message("checkpoint when --model is not given; empty: the one that is loaded"))
    concurrency: int = setting(1, Message("tasks at the server at once: it works on one, and the others wait"))
    poll: float = setting(1.0, Message("shortest time between two queries for progress, in seconds"))
    timeout: float = setting(600.0, Message("time limit of a task in seconds, the server's own queue included"))
    max_batch: int = setting(4, Message("pictures made at the same time; more are made one batch after another"))
    max_side: int = setting(2048, Message("longest side in pixels"))
    save_images: bool = setting(False, Message("let the server keep a copy in its outputs folder"))  # noqa: FBT003 - a default


@dataclass(slots=True)
class Received:
    """What came for one request: pictures as they are in the answers, and `info` of the first answer."""

    items: list[Any]
    info: dict[str, Any]

    def is_one_batch(self, payload: Mapping[str, Any], expected: int) -> bool:
        """Whether the server was never going to make all pictures, because it makes one batch only.

        `info` has the seeds of all pictures from the start, also where the work is stopped.
        """
        number, seeds = len(self.items), common.items(self.info.get("all_seeds"))
        return 0 < number < expected and number == (len(seeds) or payload["batch_size"])


class A1111(common.HttpProvider[Settings]):
    kind = "a1111"
    title = Message("AUTOMATIC1111, Forge, SD.Next (your own server)")
    is_free = True
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        if settings.username:  # the server repeats both in the form in which they are sent
            hide(f"{settings.username}:{settings.api_key.reveal()}")
        self._posts: dict[str, asyncio.Task[Answer]] = {}
        self._interrupted: set[str] = set()
        self._knows_ids = True
        self._has_progress = True
        self._one_batch = False
        """Whether this server makes one batch, however many the request names."""

    def check_settings(self) -> None:
        if self._settings.api_key and not self._settings.username:
            raise BadRequest(Message("api_key is the password of --api-auth: set username too"))

    def check(self, request: ImageRequest) -> None:
        self.check_settings()
        rules.check(_rules(request))
        _pixels(request, self._settings.max_side)
        _options(request)
        examined(request.references, formats=ANY_FORMAT)

    def upscaling(self, factor: float) -> Upscaling:
        return Upscaling("", {"upscale": f"{factor:g}"})

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return MAX_BATCHES * max(1, self._settings.max_batch)

    def expected_images(self, request: ImageRequest) -> int:
        return request.count or max(1, len(request.references))

    def client_job(self, request: ImageRequest) -> Job:  # noqa: ARG002 - any id will do
        return Job(f"task(imagegen-{uuid4()})")

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002 - it is the same for every job
        """Never: the id serves for progress only, and the pictures come in the answer to the submit alone."""
        return False

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:
        """The body of the submit, with the names of files in place of pictures."""
        if "upscale" in request.extra:
            return _upscaling_body(request) | {"image": request.references[0]}
        return self._body(request) | ({"init_images": [*request.references]} if request.references else {})

    async def models(self) -> tuple[str, ...]:
        answer = await self._ask("GET", "/sdapi/v1/sd-models")
        refuse(answer, paid=False)
        titles = [item.get("title") for item in common.tables(answer.body)]
        return tuple(title for title in titles if isinstance(title, str))

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:
        self.check(request)
        job, expected = client_job or self.client_job(request), self.expected_images(request)
        if "upscale" in request.extra:
            return await self._upscaled(request, job.id, report)
        body = self._body(request) | {"force_task_id": job.id}
        received = _received(await self._posted(body, job.id, report), expected)
        stopped = job.id in self._interrupted
        self._one_batch = self._one_batch or (not stopped and received.is_one_batch(body, expected))
        differences = _differences(body, received.info)
        notes = [*differences]
        while self._one_batch and job.id not in self._interrupted and 0 < len(received.items) < expected:
            missing = expected - len(received.items)
            body = _rest(body, received, min(missing, max(1, self._settings.max_batch)))
            try:
                more = _received(await self._posted(body, job.id, report), missing)
            except TaskError as error:
                notes.append(error.message)
                break
            if not more.items:
                break
            received.items += more.items
        ready = _ready(received, expected, body["batch_size"] if job.id in self._interrupted else 0, notes)
        differs = joined("; ", differences) if differences else ""
        return replace(ready, facts={**ready.facts, **common.facts(differs=differs)})

    async def _posted(self, body: Mapping[str, Any], id_: str, report: Report) -> dict[str, Any]:
        """Send the request and wait for its answer; report the progress meanwhile."""
        route = "extra-single-image" if "image" in body else "img2img" if "init_images" in body else "txt2img"
        post = asyncio.ensure_future(self._ask("POST", f"/sdapi/v1/{route}", paid=True, json=body))
        self._posts[id_] = post
        watch = asyncio.ensure_future(self._watch(id_, post, report))
        try:
            answer = await post
        finally:
            post.cancel()
            watch.cancel()
            del self._posts[id_]
        _refuse(answer)
        if not isinstance(answer.body, dict) or not answer.body.keys() & {"images", "image"}:
            raise common.unknown_form(paid=True)
        return answer.body

    async def _upscaled(self, request: ImageRequest, id_: str, report: Report) -> Ready:
        picture = read(request.references[0], formats=ANY_FORMAT)
        body = _upscaling_body(request) | {"image": picture.base64}
        found = common.inline((await self._posted(body, id_, report)).get("image"))
        if found is None:
            raise GenerationFailed(NO_PICTURE)
        return Ready((found,), facts=common.facts(upscaler=body["upscaler_1"]))

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """Used only where the answer to the POST was lost: the pictures were in it."""
        progress = await self._progress(job.id)
        if progress.get("active") is True or progress.get("queued") is True:
            return _working(progress)
        if progress.get("completed") is True:
            hint = Message("set save_images = true to keep copies there from now on")
            look = Message("look into its outputs folder")
            raise Expired(MADE, hint=look if self._settings.save_images else hint).as_final()
        raise Expired(Message("the server does not know this request, or has no such query"), hint=OUTPUTS_HINT)

    async def cancel(self, job: Job) -> CancelOutcome:
        """/interrupt stops any request that runs, so it is sent only where our request was running a moment ago.

        If our request ends within that moment and another begins, the other one is stopped: /interrupt takes no id.
        """
        progress = await self._progress(job.id)
        if progress.get("active") is not True:
            return CancelOutcome.TOO_LATE if progress.get("completed") is True else CancelOutcome.GOES_ON
        self._interrupted.add(job.id)
        answer = await self._ask("POST", "/sdapi/v1/interrupt")
        if answer.is_error:
            self._interrupted.discard(job.id)
            return CancelOutcome.GOES_ON
        post = self._posts.get(job.id)
        if post is None:
            return CancelOutcome.REQUESTED
        done, _ = await asyncio.wait({post}, timeout=MAX_STOP_WAIT_S)
        return CancelOutcome.STOPPED if done else CancelOutcome.REQUESTED

    # While the POST is open

    async def _watch(self, id_: str, post: "asyncio.Task[Answer]", report: Report) -> None:
        """Report the progress until the answer is there; a query that fails costs nothing."""
        highest = 0.0
        while not post.done():
            await asyncio.wait({post}, timeout=max(self._settings.poll, MIN_PROGRESS_GAP_S))
            if post.done():
                return
            with suppress(TaskError):
                own = await self._progress(id_)
                working = _working(own) if own.get("active") or own.get("queued") else await self._whole()
                if not self._has_progress and not post.done():
                    report(working)
                    return
                highest = max(highest, working.fraction or 0.0)
                if not post.done():
                    report(Working(highest or None, working.queue_position, working.note))

    async def _progress(self, id_: str) -> dict[str, Any]:
        """The state of our request; empty where the server has no such query (--nowebui)."""
        if not self._knows_ids:
            return {}
        query = {"id_task": id_, "id_live_preview": -1, "live_preview": False}
        answer = await self._ask("POST", "/internal/progress", json=query)
        self._knows_ids = answer.status not in NO_ROUTES
        if not self._knows_ids:
            return {}
        refuse(answer, paid=False)
        return common.table(answer.body)

    async def _whole(self) -> Working:
        """The progress of the whole server; a fraction only where one request of ours is the only one from here."""
        if not self._has_progress:
            return Working(note=NO_PROGRESS)
        answer = await self._ask("GET", "/sdapi/v1/progress", params={"skip_current_image": "true"})
        self._has_progress = answer.status not in NO_ROUTES or self._knows_ids
        if not self._has_progress:
            return Working(note=NO_PROGRESS)
        refuse(answer, paid=False)
        fraction = _fraction(common.table(answer.body).get("progress"))
        return Working(fraction if len(self._posts) == 1 else None, note=Message("progress of the whole server"))

    async def _ask(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        login = httpx.BasicAuth(self._settings.username, self._settings.api_key.reveal())
        options["auth"] = login if self._settings.username else None
        return await self._send(method, f"{self._base}{path}", paid=paid, **options)

    def _body(self, request: ImageRequest) -> dict[str, Any]:
        number, batch = self.expected_images(request), self._batch(request)
        body = {"prompt": request.prompt, "negative_prompt": request.negative, "batch_size": batch}
        body |= {"n_iter": 1 if self._one_batch else number // batch}
        body |= {"seed": -1 if request.seed is None else request.seed}
        body |= {"send_images": True, "save_images": self._settings.save_images, **_options(request)}
        if pixels := _pixels(request, self._settings.max_side):
            body |= {"width": pixels[0], "height": pixels[1]}
        if model := self._model(request):
            body |= {"override_settings": {"sd_model_checkpoint": model}}
            body["override_settings_restore_afterwards"] = True
        if request.references:
            pictures = [read(reference, formats=ANY_FORMAT) for reference in request.references]
            body |= {"init_images": [picture.base64 for picture in pictures], "resize_mode": 1}
        return body

    def _batch(self, request: ImageRequest) -> int:
        """Pictures in one batch: the largest number that divides all of them; several references make one batch."""
        if len(request.references) > 1:
            return len(request.references)
        number, limit = self.expected_images(request), max(1, self._settings.max_batch)
        if self._one_batch:
            return min(number, limit)
        return max(size for size in range(1, limit + 1) if number % size == 0)


def _rules(request: ImageRequest) -> Iterator[rules.Rule]:
    count, references = request.count, request.references
    yield from rules.prompt(request)
    words = "".join((request.prompt, request.negative, request.model, *request.extra, *request.extra.values()))
    yield bool(re.search("[\ud800-\udfff]", words)), Message("half a character is in the request")
    yield rules.seed(request, SEEDS)
    yield count is not None and count < 1, Message("the request must be for at least one picture")
    several = Message("{count} reference pictures make {count} pictures: leave --count away")
    is_other = len(references) > 1 and count not in (None, len(references))
    yield rules.broken_if(is_other, several, count=len(references))
    yield from rules.files_only(references, THIS_SERVER)
    yield from _rules_of_upscaling(request)
    pointless = "denoising_strength" in map(_long, request.extra) and "enable_hr" not in request.extra
    effect = Message("denoising_strength has no effect without a reference picture or enable_hr")
    yield pointless and not references, effect


def _rules_of_upscaling(request: ImageRequest) -> Iterator[rules.Rule]:
    extra = request.extra
    if "upscale" not in extra:
        yield "upscaler" in extra, Message("upscaler says how a picture is made larger: add upscale=2")
        return
    yield rules.number("upscale", extra["upscale"], 1, MAX_UPSCALE)
    yield len(request.references) != 1, Message("upscale makes one picture larger: give one with --image")
    yield request.count not in (None, 1), Message("upscale makes one picture of one")
    others = [name for name in extra if name not in UPSCALING]
    sized = rules.is_sized(request) or request.ratio or request.resolution
    has_more = bool(others or sized or request.negative or rules.has_seed(request))
    yield has_more, Message("upscale takes no option but upscaler")


def _upscaling_body(request: ImageRequest) -> dict[str, Any]:
    factor, upscaler = float(request.extra["upscale"]), request.extra.get("upscaler", UPSCALER)
    return {"resize_mode": 0, "upscaling_resize": factor, "upscaler_1": upscaler, "show_extras_results": True}


def _pixels(request: ImageRequest, max_side: int) -> tuple[int, int] | None:
    """Width and height; None where neither a size nor a ratio is asked for. Raises BadRequest."""
    width, height = request.width or 0, request.height or 0
    if not rules.is_sized(request):
        if not request.ratio and not request.resolution:
            return None
        resolution = request.resolution.lower()
        rules.check([rules.one_of("resolution", resolution, SQUARES, THIS_SERVER)])
        width, height = rules.sides_of(request.ratio, SQUARES[resolution], STEP)
    if any(side % STEP or not MIN_SIDE <= side <= max_side for side in (width, height)):
        message = Message("a side has {low} to {high} pixels in steps of {step}; not {size}")
        raise BadRequest(message.format(low=MIN_SIDE, high=max_side, step=STEP, size=f"{width}x{height}"))
    return width, height


def _options(request: ImageRequest) -> dict[str, Any]:
    """The further options under the server's names and as its kinds of values. Raises BadRequest."""
    rules.options(request, [*OPTIONS, *SHORT], THIS_SERVER)
    found: dict[str, Any] = {}
    for word, text in request.extra.items():
        name = _long(word)
        kind = OPTIONS[name]
        value = text if kind is str else decoded(text.lower().encode())
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind or (isinstance(value, float) and not isfinite(value)):
            raise BadRequest(Message("{name} cannot be {value}").format(name=word, value=rules.shown(text)))
        found[name] = value
    return found


def _long(word: str) -> str:
    return SHORT.get(word, word)


def _working(progress: dict[str, Any]) -> Working:
    """The text of a request that waits is "In queue: 2/3", without the request that the server works on."""
    note = common.text(progress.get("textinfo"))
    place = re.search(r"(\d{1,6})/\d", note) if progress.get("queued") is True else None
    fraction = _fraction(progress.get("progress")) if progress.get("active") is True else None
    return Working(fraction, int(place[1]) if place else None, note)


def _fraction(value: Any) -> float | None:
    """A number from JSON, brought between 0 and 1: Forge begins at -1."""
    number = common.number(value)
    return None if number is None else min(1.0, max(0.0, number))


def _refuse(answer: Answer) -> None:
    """Raise what an answer without pictures stands for. A 500 with the server's own message ended the work."""
    body = common.table(answer.body)
    message = _message(body)
    if "outofmemory" in message.lower().replace(" ", ""):
        raise GenerationFailed(message, hint=OUT_OF_MEMORY_HINT)
    if (
        answer.status == HTTPStatus.NOT_FOUND and body.get("detail") == "Not Found"
    ):  # FastAPI's text for "no such route"
        hint = Message("start it with --api; is base_url right?")
        raise BadRequest(Message("HTTP 404: the server has no such route"), hint=hint)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and (message or answer.raw == b"Internal Server Error"):
        raise GenerationFailed(message or Message("the server failed and gave no reason"))
    refuse(answer, paid=True, message=message)


def _message(body: dict[str, Any]) -> str:
    """The texts of {error, detail, errors, message}, of {detail} or of a list of {loc, msg}, whichever came."""
    detail = body.get("detail")
    if isinstance(detail, list):
        items = [item for item in common.tables(detail) if isinstance(item.get("loc", []), list)]
        return clean("; ".join(f"{'.'.join(map(str, item.get('loc', [])))}: {item.get('msg')}" for item in items))
    texts = [common.text(body.get(key)) for key in ("error", "detail", "errors", "message")]
    return ": ".join(dict.fromkeys(filter(None, texts)))[:MAX_QUOTED_CHARS]


def _received(body: Mapping[str, Any], expected: int) -> Received:
    """The pictures without grids, which come before the first, and extras, which come after the last."""
    items = common.items(body.get("images"))
    text = body.get("info")
    info = common.table(decoded(text.encode("utf-8", "replace")) if isinstance(text, str) else None)
    first = common.natural(info.get("index_of_first_image"), len(items)) or 0
    return Received(items[first : first + expected], info)


def _rest(body: Mapping[str, Any], received: Received, batch: int) -> dict[str, Any]:
    """The request for the next batch at a server that makes one batch, with the seeds that follow."""
    seeds = (common.natural(seed, len(SEEDS)) for seed in (received.info.get("seed"), body["seed"]))
    seed = next((seed for seed in seeds if seed is not None), None)
    following = -1 if seed is None else (seed + len(received.items)) % len(SEEDS)
    return {**body, "batch_size": batch, "n_iter": 1, "seed": following}


def _ready(received: Received, expected: int, unfinished: int, notes: list[str]) -> Ready:
    """`unfinished` is the number of pictures at the end that were stopped half done."""
    whole = received.items[: max(0, len(received.items) - unfinished)]
    pictures = [common.inline(item) for item in whole]
    found = tuple(image for image in pictures if image is not None)
    if not found:
        stopped = Message("the work was stopped at the server")
        raise GenerationFailed(stopped if unfinished else NO_PICTURE)
    lost = common.lost_note(expected - len(found), expected, Message("did not come"))
    return Ready(found, note=joined("; ", filter(None, [lost, *notes])), facts=_facts(received.info, pictures))


def _facts(info: Mapping[str, Any], pictures: Sequence[object]) -> base.Facts:
    """The seed of each picture that came: the server counts on from the first where it does not name them all."""
    first, named = common.natural(info.get("seed")), common.items(info.get("all_seeds"))
    natural = [common.natural(seed) for seed in named[: len(pictures)]]
    counted = [] if first is None else [(first + index) % len(SEEDS) for index in range(len(pictures))]
    seeds = natural if len(natural) == len(pictures) and None not in natural else counted
    told = [seed for seed, picture in zip(seeds, pictures, strict=False) if picture is not None]
    seed = ", ".join(map(str, told)) if len(told) > 1 else first
    return common.facts(seed=seed, model=info.get("sd_model_name"), model_version=info.get("sd_model_hash"))


def _differences(body: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """What the server silently changed: `info` differs from the request there."""
    model = common.table(body.get("override_settings")).get("sd_model_checkpoint")
    drew = common.text(info.get("sd_model_name"))
    notes: list[str] = []
    if model and drew and not _same(model, info):
        notes.append(Message("drawn by the model {drew}, not by {requested}").format(drew=drew, requested=clean(model)))
    if not body.get("enable_hr"):
        wanted, taken = _size(body), _size(info)
        other = any(known not in ("?", side) for side, known in zip(wanted, taken, strict=True) if side != "?")
        size = Message("made in {size}, not in {requested}")
        notes += [size.format(size="x".join(taken), requested="x".join(wanted))] if other else []
    for name in ("steps", "seed"):
        wanted_number, number = (common.natural(values.get(name), MAX_SEED) for values in (body, info))
        other = None not in (wanted_number, number) and wanted_number != number
        differs = Message("made with {name} {number}, not {requested}")
        notes += [differs.format(name=name, number=number, requested=wanted_number)] if other else []
    if len(common.items(body.get("init_images"))) > 1 and info.get("version") == SDCPP:
        notes.append(Message("every picture was made from the first reference"))
    return notes


def _size(values: Mapping[str, Any]) -> list[str]:
    """Width and height as texts; "?" for a side that is missing."""
    return [str(common.natural(values.get(name), MAX_SIDE) or "?") for name in ("width", "height")]


def _same(model: str, info: Mapping[str, Any]) -> bool:
    """Whether a model drew: it is known by title ("folder/name.safetensors [hash]"), by file and by name."""
    hash_ = common.text(info.get("sd_model_hash"))
    return _plain(model) == _plain(common.text(info.get("sd_model_name"))) or bool(hash_ and hash_ in model)


def _plain(model: str) -> str:
    name = re.split(r"[/\\]", re.sub(r"\s*\[\w*\]$", "", model.strip()))[-1]
    return re.sub(r"\.(safetensors|ckpt|gguf|pt|pth|bin)$", "", name.casefold())


PROVIDER: type[Provider[Any]] = A1111
