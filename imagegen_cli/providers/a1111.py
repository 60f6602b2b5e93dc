"""AUTOMATIC1111, Forge and SD.Next: one POST that stays open until the pictures are in its answer.

Protocol facts are from modules/api/api.py, modules/progress.py and modules/call_queue.py of the three servers. An id of
ours (`force_task_id`) lets /internal/progress tell our request from others, where the web page runs beside the API.
The server of stable-diffusion.cpp has the same routes for pictures and no others (examples/server/routes_sdapi.cpp): it
looks at no `n_iter` and no `override_settings`, takes the first of several pictures to start from, tells no progress.
"""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.masking import hide
from imagegen_cli.core.provider import Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, InlineImage, Job
from imagegen_cli.providers import _common as common
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, Answer, call, clean, decoded, refuse

SEEDS = range(2**32)
SMALLEST = 64
STEP = 8
SQUARES = {"": 512, "512": 512, "768": 768, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
BATCHES = 4
"""Batches that one open request makes; more pictures become tasks of their own."""
OPTIONS: Mapping[str, type] = {
    **dict.fromkeys(("sampler_name", "scheduler", "hr_upscaler"), str),
    **dict.fromkeys(("cfg_scale", "distilled_cfg_scale", "denoising_strength", "hr_scale"), float),
    **dict.fromkeys(("enable_hr", "restore_faces", "tiling"), bool),
    "steps": int,
}
SHORT = {"cfg": "cfg_scale", "sampler": "sampler_name", "denoise": "denoising_strength"}
STOP_WAIT = 3.0
"""Seconds in which an interrupted request should answer: it stops after the step it is in."""
SDCPP = "stable-diffusion.cpp"
"""What that server says in `info` of its version."""
TELLS_NOTHING = "this server tells nothing while it works: no progress, and it cannot be stopped"
OUTPUTS = "a picture may lie in the server's own outputs folder; save_images = true keeps copies there"
MADE = "it was made, but this server hands pictures only to the request that waits for them"


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:7860", "address of the server, which must run with --api")
    username: str = setting("", "name of --api-auth; its password is api_key")
    model: str = setting("", "checkpoint when --model is not given; empty: the one that is loaded")
    concurrency: int = setting(1, "tasks at the server at once: it makes one and lets the rest wait")
    poll: float = setting(1.0, "shortest time between two questions for progress, in seconds")
    timeout: float = setting(600.0, "time limit of a task in seconds, the server's own queue included")
    max_batch: int = setting(4, "pictures made at the same time; more are made one batch after another")
    max_side: int = setting(2048, "longest side in pixels")
    save_images: bool = setting(False, "let the server keep a copy in its outputs folder")  # noqa: FBT003 - a default


@dataclass(slots=True)
class Got:
    """What came for one request: pictures as they are in the answers, and `info` of the first answer."""

    items: list[Any]
    info: dict[str, Any]

    def skips(self, asked: Mapping[str, Any], expected: int) -> bool:
        """Whether the server never meant to make all of it, because it looks at one batch only.

        The seeds of all pictures are in `info` from the start, also where somebody stops the work.
        """
        number, seeds = len(self.items), common.items(self.info.get("all_seeds"))
        return 0 < number < expected and number == (len(seeds) or asked["batch_size"])


class A1111(Provider[Settings]):
    kind = "a1111"
    title = "AUTOMATIC1111, Forge, SD.Next (your own server)"
    is_synchronous = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/")
        if self._settings.username:  # the server repeats both in the form in which they are sent
            hide(f"{self._settings.username}:{self._settings.api_key.reveal()}")
        self._posts: dict[str, asyncio.Task[Answer]] = {}
        self._interrupted: set[str] = set()
        self._knows_ids = True
        self._tells = True
        self._one_batch = False
        """Whether this server makes one batch, however many are asked for."""

    def check_settings(self) -> None:
        if self._settings.api_key and not self._settings.username:
            raise BadRequest("api_key is the password of --api-auth: set username too")

    def check(self, request: ImageRequest) -> None:
        self.check_settings()
        for broken, rule in _rules(request):
            if broken:
                raise BadRequest(rule)
        _pixels(request, self._settings.max_side)
        _options(request.extra)
        examined(request.references, formats=ANY_FORMAT)

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return BATCHES * max(1, self._settings.max_batch)

    def expected_images(self, request: ImageRequest) -> int:
        return request.count or max(1, len(request.references))

    def client_job(self, request: ImageRequest) -> Job:  # noqa: ARG002 - any id will do
        return Job(f"task(imagegen-{uuid4()})")

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002 - it is the same for every job
        """The id only tells of the progress: pictures come in the answer to the submit and nowhere else."""
        return False

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:
        """The body, with the names of files in place of pictures."""
        return self._asked(request) | ({"init_images": [*request.references]} if request.references else {})

    async def models(self) -> tuple[str, ...]:
        answer = await self._ask("GET", "/sdapi/v1/sd-models")
        refuse(answer, paid=False)
        items = answer.body if isinstance(answer.body, list) else []
        titles = [item.get("title") for item in items if isinstance(item, dict)]
        return tuple(title for title in titles if isinstance(title, str))

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:
        self.check(request)
        job, expected = client_job or self.client_job(request), self.expected_images(request)
        asked = self._asked(request) | {"force_task_id": job.id}
        got = _received(await self._posted(asked, job.id, report), expected)
        self._one_batch = self._one_batch or (job.id not in self._interrupted and got.skips(asked, expected))
        differs = _differences(asked, got.info)
        notes = [*differs]
        while self._one_batch and job.id not in self._interrupted and 0 < len(got.items) < expected:
            asked = _rest(asked, got, min(expected - len(got.items), max(1, self._settings.max_batch)))
            try:
                more = _received(await self._posted(asked, job.id, report), expected - len(got.items))
            except TaskError as error:
                notes.append(error.message)
                break
            if not more.items:
                break
            got.items += more.items
        ready = _ready(got, expected, asked["batch_size"] if job.id in self._interrupted else 0, notes)
        return replace(ready, facts={**ready.facts, **common.facts(differs="; ".join(differs))})

    async def _posted(self, asked: Mapping[str, Any], id_: str, report: Report) -> dict[str, Any]:
        """Send it and wait for its answer, telling of the progress meanwhile."""
        route = "img2img" if "init_images" in asked else "txt2img"
        post = asyncio.ensure_future(self._ask("POST", f"/sdapi/v1/{route}", paid=True, json=asked))
        self._posts[id_] = post
        watch = asyncio.ensure_future(self._watch(id_, post, report))
        try:
            answer = await post
        finally:
            post.cancel()
            watch.cancel()
            del self._posts[id_]
        _refuse(answer)
        if not isinstance(answer.body, dict) or "images" not in answer.body:
            raise Uncertain("the server answered with JSON of an unknown form")
        return answer.body

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """Asked only where the answer to the POST was lost: the pictures were in it."""
        told = await self._progress(job.id)
        if told.get("active") is True or told.get("queued") is True:
            return _working(told)
        if told.get("completed") is True:
            hint = "set save_images = true to keep copies there from now on"
            raise Expired(MADE, hint="look into its outputs folder" if self._settings.save_images else hint).as_final()
        raise Expired("the server does not know this request, or cannot tell", hint=OUTPUTS)

    async def cancel(self, job: Job) -> CancelOutcome:
        """/interrupt stops whatever runs, so it is sent only where our request was running a moment ago.

        Should ours end within that moment and a neighbour's begin, the neighbour's is hit: the server offers no id.
        """
        told = await self._progress(job.id)
        if told.get("active") is not True:
            return CancelOutcome.TOO_LATE if told.get("completed") is True else CancelOutcome.GOES_ON
        self._interrupted.add(job.id)
        answer = await self._ask("POST", "/sdapi/v1/interrupt")
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's classes
            self._interrupted.discard(job.id)
            return CancelOutcome.GOES_ON
        post = self._posts.get(job.id)
        if post is None:
            return CancelOutcome.REQUESTED
        done, _ = await asyncio.wait({post}, timeout=STOP_WAIT)
        return CancelOutcome.STOPPED if done else CancelOutcome.REQUESTED

    # While the POST is open

    async def _watch(self, id_: str, post: "asyncio.Task[Answer]", report: Report) -> None:
        """Tell of the progress until the answer is there; a question that fails costs nothing."""
        most = 0.0
        while not post.done():
            await asyncio.wait({post}, timeout=max(self._settings.poll, 0.05))
            if post.done():
                return
            with suppress(TaskError):
                told = await self._progress(id_)
                working = _working(told) if told.get("active") or told.get("queued") else await self._whole()
                if not self._tells and not post.done():
                    report(working)
                    return
                most = max(most, working.fraction or 0.0)
                if not post.done():
                    report(Working(most or None, working.queue_position, working.note))

    async def _progress(self, id_: str) -> dict[str, Any]:
        """What the server says of our request; nothing where it has no such question (--nowebui)."""
        if not self._knows_ids:
            return {}
        asked = {"id_task": id_, "id_live_preview": -1, "live_preview": False}
        answer = await self._ask("POST", "/internal/progress", json=asked)
        self._knows_ids = answer.status not in (404, 405)
        if not self._knows_ids:
            return {}
        refuse(answer, paid=False)
        return answer.body if isinstance(answer.body, dict) else {}

    async def _whole(self) -> Working:
        """The progress of whatever the server makes; a fraction only where just one request of ours is there."""
        if not self._tells:
            return Working(note=TELLS_NOTHING)
        answer = await self._ask("GET", "/sdapi/v1/progress", params={"skip_current_image": "true"})
        self._tells = answer.status not in (404, 405) or self._knows_ids
        if not self._tells:
            return Working(note=TELLS_NOTHING)
        refuse(answer, paid=False)
        fraction = _fraction(answer.body.get("progress")) if isinstance(answer.body, dict) else None
        return Working(fraction if len(self._posts) == 1 else None, note="progress of the whole server")

    async def _ask(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        settings = self._settings
        login = httpx.BasicAuth(settings.username, settings.api_key.reveal()) if settings.username else None
        options |= {"auth": login, "headers": dict(settings.headers)}
        return await call(self._clients, method, f"{self._base}{path}", paid=paid, raw=True, **options)

    def _asked(self, request: ImageRequest) -> dict[str, Any]:
        size, batch, most = self.expected_images(request), len(request.references), max(1, self._settings.max_batch)
        if batch < 2:  # noqa: PLR2004 - several pictures to start from make a batch by themselves
            whole = max(number for number in range(1, most + 1) if size % number == 0)
            batch = min(size, most) if self._one_batch else whole
        asked = {"prompt": request.prompt, "negative_prompt": request.negative, "batch_size": batch}
        asked |= {
            "n_iter": 1 if self._one_batch else size // batch,
            "seed": -1 if request.seed is None else request.seed,
        }
        asked |= {"send_images": True, "save_images": self._settings.save_images, **_options(request.extra)}
        if pixels := _pixels(request, self._settings.max_side):
            asked |= {"width": pixels[0], "height": pixels[1]}
        if model := request.model or self._settings.model:
            asked |= {"override_settings": {"sd_model_checkpoint": model}}
            asked["override_settings_restore_afterwards"] = True
        if request.references:
            pictures = [read(reference, formats=ANY_FORMAT) for reference in request.references]
            asked |= {"init_images": [picture.base64 for picture in pictures], "resize_mode": 1}
        return asked


def _rules(request: ImageRequest) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    seed, count, references = request.seed, request.count, request.references
    yield not request.prompt.strip(), "the prompt is empty"
    words = "".join((request.prompt, request.negative, request.model, *request.extra, *request.extra.values()))
    yield bool(re.search("[\ud800-\udfff]", words)), "half a character is in the request"
    yield seed not in (None, -1) and seed not in SEEDS, f"a seed is 0 to {SEEDS[-1]}, or -1 for any; not {seed}"
    yield count is not None and count < 1, "at least one picture must be asked for"
    several = f"{len(references)} reference pictures make {len(references)} pictures: leave --count away"
    yield len(references) > 1 and count not in (None, len(references)), several
    for reference in references:
        by_address = "this server takes reference pictures from files, not from addresses: download them first"
        yield is_remote(reference), by_address
    pointless = "denoising_strength" in map(_long, request.extra) and "enable_hr" not in request.extra
    yield pointless and not references, "denoising_strength says nothing without a reference picture or enable_hr"


def _pixels(request: ImageRequest, longest: int) -> tuple[int, int] | None:
    """Width and height; None where nothing was said of them. Raises BadRequest."""
    if request.width is None and request.height is None and not request.ratio and not request.resolution:
        return None
    width, height = request.width or 0, request.height or 0
    if request.width is None and request.height is None:
        found = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", request.ratio or "1:1")
        side = SQUARES.get(request.resolution.lower())
        if found is None or side is None:
            raise BadRequest(f"a ratio is W:H, a resolution one of {', '.join(word for word in SQUARES if word)}")
        slant = math.sqrt(int(found[1]) / int(found[2]))
        width, height = round(side * slant / STEP) * STEP, round(side / slant / STEP) * STEP
    if any(side % STEP or not SMALLEST <= side <= longest for side in (width, height)):
        raise BadRequest(f"a side has {SMALLEST} to {longest} pixels in steps of {STEP}; not {width}x{height}")
    return width, height


def _options(extra: Mapping[str, str]) -> dict[str, Any]:
    """`extra` in the server's words and kinds of values. Raises BadRequest."""
    found: dict[str, Any] = {}
    for word, text in extra.items():
        name = _long(word)
        if name not in OPTIONS:
            raise BadRequest(f"this server has no option {word!r} here", hint=nearest(word, [*OPTIONS, *SHORT]))
        kind = OPTIONS[name]
        value = text if kind is str else decoded(text.lower().encode())
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise BadRequest(f"{word} cannot be {text!r}")
        found[name] = value
    return found


def _long(word: str) -> str:
    return SHORT.get(word, word)


def _working(told: dict[str, Any]) -> Working:
    """Of a request that waits the server says "In queue: 2/3", the one that it makes not counted."""
    note = _words(told.get("textinfo"))
    place = re.search(r"(\d{1,6})/\d", note) if told.get("queued") is True else None
    fraction = _fraction(told.get("progress")) if told.get("active") is True else None
    return Working(fraction, int(place[1]) if place else None, note)


def _fraction(value: Any) -> float | None:
    """Forge counts from -1 at first."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return min(1.0, value) if value > 0 else 0.0


def _refuse(answer: Answer) -> None:
    """Raise what an answer without pictures stands for. A 500 with the server's own words ended the work."""
    body = answer.body if isinstance(answer.body, dict) else {}
    said = _said(body)
    if "outofmemory" in said.lower().replace(" ", ""):
        raise GenerationFailed(said, hint="take fewer pixels, a lower --count or a smaller model")
    if answer.status == 404 and body.get("detail") == "Not Found":  # noqa: PLR2004 - FastAPI's words for "no such route"
        raise BadRequest("HTTP 404: the server has no such route", hint="start it with --api; is base_url right?")
    if answer.status == 500 and (said or answer.raw == b"Internal Server Error"):  # noqa: PLR2004
        raise GenerationFailed(said or "the server broke down over it, and says no more")
    refuse(answer, paid=True, message=said)


def _said(body: dict[str, Any]) -> str:
    """The words of {error, detail, errors, message}, of {detail} and of a list of {loc, msg}, whichever came."""
    detail = body.get("detail")
    if isinstance(detail, list):
        items = [item for item in detail if isinstance(item, dict) and isinstance(item.get("loc", []), list)]
        return clean("; ".join(f"{'.'.join(map(str, item.get('loc', [])))}: {item.get('msg')}" for item in items))
    said = [_words(body.get(key)) for key in ("error", "detail", "errors", "message")]
    return ": ".join(dict.fromkeys(words for words in said if words))[:MAX_QUOTED_CHARS]


def _received(body: Mapping[str, Any], expected: int) -> Got:
    """The pictures without grids, which come before the first, and extras, which come after the last."""
    items = common.items(body.get("images"))
    told = decoded(body["info"].encode("utf-8", "replace")) if isinstance(body.get("info"), str) else None
    info = common.table(told)
    first = info.get("index_of_first_image")
    first = first if isinstance(first, int) and 0 <= first < len(items) else 0
    return Got(items[first : first + expected], info)


def _rest(asked: Mapping[str, Any], got: Got, batch: int) -> dict[str, Any]:
    """What to ask of a server that makes one batch: the next one, with the seeds that follow."""
    number = len(got.items)
    seed = next((seed for seed in (got.info.get("seed"), asked["seed"]) if type(seed) is int and seed in SEEDS), None)
    following = -1 if seed is None else (seed + number) % len(SEEDS)
    return {**asked, "batch_size": batch, "n_iter": 1, "seed": following}


def _ready(got: Got, expected: int, unfinished: int, notes: list[str]) -> Ready:
    whole = got.items[: max(0, len(got.items) - unfinished)]
    found = tuple(InlineImage(data) for item in whole if (data := _bytes(item)))
    if not found:
        raise GenerationFailed("it was stopped" if unfinished else "the server says it is done, but sent no picture")
    lost = expected - len(found)
    said = [f"{lost} of {expected} pictures did not come"] if lost else []
    return Ready(found, note="; ".join([*said, *notes]), facts=_facts(got.info))


def _facts(info: Mapping[str, Any]) -> base.Facts:
    seed, model = info.get("seed"), _words(info.get("sd_model_name"))
    found: dict[str, str | int] = {"seed": seed} if type(seed) is int and 0 <= seed < 2**64 else {}
    return found | ({"model": model} if model else {})


def _differences(asked: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """Where the server took something else than what was asked for, and did not say so but in `info`."""
    model, drew = (
        common.table(asked.get("override_settings")).get("sd_model_checkpoint"),
        _words(info.get("sd_model_name")),
    )
    said = [f"drawn by the model {drew}, not by {clean(model)}"] if model and drew and not _same(model, info) else []
    if not asked.get("enable_hr"):
        wanted, took = _size(asked), _size(info)
        other = any(known not in ("?", side) for side, known in zip(wanted, took, strict=True) if side != "?")
        said += [f"made in {'x'.join(took)}, not in {'x'.join(wanted)}"] if other else []
    for name in ("steps", "seed"):
        pair = (asked.get(name), info.get(name))
        other = all(type(number) is int and 0 <= number < 2**64 for number in pair) and pair[0] != pair[1]
        said += [f"made with {name} {pair[1]}, not {pair[0]}"] if other else []
    if len(common.items(asked.get("init_images"))) > 1 and info.get("version") == SDCPP:
        said.append("every picture was made from the first reference")
    return said


def _size(told: Mapping[str, Any]) -> list[str]:
    """Width and height in words; "?" for a side that is not told."""
    sides = [told.get(name) for name in ("width", "height")]
    return [str(side) if type(side) is int and 0 < side < 2**32 else "?" for side in sides]


def _same(model: str, info: Mapping[str, Any]) -> bool:
    """Models are known by title ("folder/name.safetensors [hash]"), by file and by name."""
    hash_ = _words(info.get("sd_model_hash"))
    return _plain(model) == _plain(_words(info.get("sd_model_name"))) or bool(hash_ and hash_ in model)


def _plain(model: str) -> str:
    name = re.split(r"[/\\]", re.sub(r"\s*\[\w*\]$", "", model.strip()))[-1]
    return re.sub(r"\.(safetensors|ckpt|gguf|pt|pth|bin)$", "", name.casefold())


def _bytes(item: Any) -> bytes:
    """A picture from base64, with or without "data:image/png;base64," before it; nothing where it is neither."""
    return common.unbased(item)


def _words(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


PROVIDER: type[Provider[Any]] = A1111
