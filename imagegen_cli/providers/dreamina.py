"""The Flask server that people run for Dreamina / 即梦: JSON in, a task id out, status by asking.

Protocol facts are from web/server.py and core/api_client.py of the server's public repository, whose first and last
versions differ: before c7afcf5 a task that runs, one that failed and one that nobody knows all get the answer
NOT_FOUND; after it all three are "running", and real failures carry their reason.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, GenerationFailed, ServerTrouble, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Balance, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import Image, ImageRequest, Job, RemoteImage
from imagegen_cli.providers import _chinese_words, _common as common
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, Answer, call, message_in, refuse

MODELS = ("4.0", "3.1", "3.0", "2.1", "2.0p", "1.4", "NanoBanana", "NanoBananaPro")
RESOLUTIONS = ("1k", "2k", "4k")
SIZES = {
    "1:1": ((1328, 1328), (2048, 2048), (4096, 4096)),
    "3:4": ((1104, 1472), (1728, 2304), (3520, 4693)),
    "4:3": ((1472, 1104), (2304, 1728), (4693, 3520)),
    "2:3": ((1056, 1584), (1664, 2496), (3328, 4992)),
    "3:2": ((1584, 1056), (2496, 1664), (4992, 3328)),
    "16:9": ((1664, 936), (2560, 1440), (5404, 3040)),
    "9:16": ((936, 1664), (1440, 2560), (3040, 5404)),
}
"""Ratio -> pixels at each of RESOLUTIONS."""
BY_PIXELS = {pixels: (ratio, RESOLUTIONS[at]) for ratio, row in SIZES.items() for at, pixels in enumerate(row)}

LONGEST_PROMPT = 1600
SEEDS = range(1, 1_000_000_000)
PICTURES = 4
MOST_REFERENCES = 6

NOT_FOUND = "任务不存在或生成失败"
NO_REASON = "生成失败"
RUNNING = "正在生成中..."
MADE_UP_CREDITS = 999999
MOST_CREDITS = 10**9

IS_IT_RIGHT = "is base_url right? It is the server's own address, without /api"
LOOK_AT_SERVER = "the server keeps the reason to itself: look at its log, and at the account there (credits, session)"


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:5000", "address of the server")
    model: str = setting("3.0", f"model when --model is not given: {', '.join(MODELS)}")
    concurrency: int = setting(4, "tasks at the server at once; its authors advise at most 5; 0 lifts the limit")
    grace: int = setting(5, f"answers “{NOT_FOUND}” that are taken as “not known yet”; 0 believes the first")


class Dreamina(Provider[Settings]):
    kind = "dreamina"
    title = "Dreamina / 即梦 server (Flask, self-hosted)"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/").removesuffix("/api")
        self._not_found: Counter[str] = Counter()
        self._seen_running: set[str] = set()

    def check(self, request: ImageRequest) -> None:
        self._model(request)
        _shape(request)
        for broken, rule in _rules(request):
            if broken:
                raise BadRequest(rule)
        examined(request.references, formats=ANY_FORMAT)

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return PICTURES

    def expected_images(self, request: ImageRequest) -> int:
        return (request.count if request.references else None) or PICTURES

    def model_for_version(self, version: str) -> str | None:
        return version if version in MODELS else None

    async def models(self) -> tuple[str, ...]:
        return MODELS

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        asked = self._asked(request)
        if request.references:
            form = {"params": json.dumps(asked | _counts(self.expected_images(request)), ensure_ascii=False)}
            answer = await self._send("i2i", data=form, files=_files(request.references))
        else:
            answer = await self._send("t2i", json=asked)
        body = _accepted_body(answer)
        facts = common.facts(seed=asked["seed"], model=asked["model"])
        if _completed(body):
            return replace(self._ready(body.get("images")), facts=facts)
        task_id = _words(body.get("taskId"))
        if not task_id:
            raise Uncertain("the server gave no task id to ask with; the request may have been accepted and charged")
        if body.get("queued") is True:
            report(Working(note=_text(body)))
        return Accepted(Job(task_id), facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        answer = await self._get(f"generate/status/{quote(job.id, safe='')}")
        body = answer.body
        if _completed(body):
            return self._ready(body.get("images"))
        if body.get("failed") is True:
            if self._not_known_yet(job, body):
                return Working(note=f"not known yet: {NOT_FOUND}")
            raise _failure(body.get("fail_code"), _text(body)).as_final()
        self._seen_running.add(job.id)
        word = _text(body)
        return Working(note="" if word == RUNNING else word)

    async def balance(self) -> Balance | None:
        """Where there are several accounts nothing is asked: a question switches the server to the account asked for.

        Tasks that run would then be looked up, and found missing, under the wrong account.
        """
        accounts = (await self._get("accounts")).body.get("accounts")
        if not isinstance(accounts, list) or not accounts:
            return Balance(None, note="the server has no account")
        if len(accounts) > 1:
            return Balance(None, note=f"not asked: it would switch the account in use ({len(accounts)} on the server)")
        number = _words(accounts[0].get("id") if isinstance(accounts[0], dict) else None)
        credit = (await self._get(f"accounts/{quote(number, safe='')}/credit")).body.get("credit")
        total = credit.get("total_credit") if isinstance(credit, dict) else None
        if isinstance(total, int | float) and 0 <= total < MOST_CREDITS and total != MADE_UP_CREDITS:
            return Balance(float(total))
        return Balance(None, note="the server could not tell")

    async def _send(self, route: str, **options: Any) -> Answer:
        url = f"{self._base}/api/generate/{route}"
        headers = dict(self._settings.headers)
        return await call(self._clients, "POST", url, paid=True, raw=True, headers=headers, **options)

    async def _get(self, path: str) -> Answer:
        """An answer whose body is an object. This server has no 404 for a task, so a 404 says nothing about one."""
        headers = dict(self._settings.headers)
        answer = await call(self._clients, "GET", f"{self._base}/api/{path}", raw=True, headers=headers)
        if answer.status in (404, 410):
            raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint=IS_IT_RIGHT)
        refuse(answer, paid=False)
        if not isinstance(answer.body, dict):
            raise ServerTrouble("the server answered with JSON of an unknown form")
        if answer.body.get("success") is False:
            raise ServerTrouble(message_in(answer) or "the server could not answer")
        return answer

    def _asked(self, request: ImageRequest) -> dict[str, Any]:
        ratio, resolution = _shape(request)
        seed = common.drawn(SEEDS) if request.seed in (None, -1) else request.seed
        model = self._model(request)
        return {"prompt": request.prompt, "model": model, "ratio": ratio, "seed": seed, "resolution": resolution}

    def _model(self, request: ImageRequest) -> str:
        model = request.model or self._settings.model
        if model not in MODELS:
            known = ", ".join(MODELS)
            raise BadRequest(f"this server has no model {model!r}; it has {known}", hint=nearest(model, MODELS))
        return model

    def _not_known_yet(self, job: Job, body: dict[str, Any]) -> bool:
        """Whether NOT_FOUND may mean a task that runs: an old server has no other word for it, a newer one does."""
        if _text(body) != NOT_FOUND or not self._settings.grace:
            return False
        self._not_found[job.id] += 1
        return job.id not in self._seen_running or self._not_found[job.id] <= self._settings.grace

    def _ready(self, images: Any) -> Ready:
        """The first look-up's failure is told as success with an object where the list of pictures should be."""
        if isinstance(images, dict):
            raise _failure(images.get("fail_code"), _text(images)).as_final()
        items = images.splitlines() if isinstance(images, str) else images if isinstance(images, list) else []
        found = tuple(image for item in items if (image := self._image(item)) is not None)
        if not found:
            raise GenerationFailed("the server says that it is finished, but names no pictures").as_charged()
        lost = len(items) - len(found)
        return Ready(found, note=f"{lost} of {len(items)} pictures came without a usable address" if lost else "")

    def _image(self, item: Any) -> Image | None:
        url = item.get("url") if isinstance(item, dict) else item
        if not isinstance(url, str) or not url.strip():
            return None
        try:
            whole = urljoin(f"{self._base}/", url.strip())
            whole.encode()
            usable = urlsplit(whole).scheme in ("http", "https") and bool(urlsplit(whole).hostname)
        except ValueError:  # no address at all, or half a character in it
            return None
        return RemoteImage(whole) if usable else None


def _rules(request: ImageRequest) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    prompt, references, count = request.prompt, request.references, request.count
    yield not prompt.strip(), "the prompt is empty"
    yield len(prompt) > LONGEST_PROMPT, f"a prompt has at most {LONGEST_PROMPT} characters here, not {len(prompt)}"
    yield bool(request.negative), "this server has no negative prompt: leave --negative out"
    yield bool(request.extra), f"this server knows no further options: leave out {', '.join(sorted(request.extra))}"
    seed = request.seed
    yield seed not in (None, -1) and seed not in SEEDS, f"a seed is 1 to {SEEDS[-1]}, or -1 for any; not {seed}"
    always = f"this server always makes {PICTURES} pictures for a text prompt: leave --count away or say {PICTURES}"
    yield not references and count not in (None, PICTURES), always
    few = f"this server makes 1 to {PICTURES} pictures from references, not {count}"
    yield count is not None and count not in range(1, PICTURES + 1), few
    many = f"this server takes at most {MOST_REFERENCES} reference pictures, not {len(references)}"
    yield len(references) > MOST_REFERENCES, many
    for reference in references:
        by_address = "this server takes reference pictures from files, not from addresses: download them first"
        yield is_remote(reference), by_address


def _shape(request: ImageRequest) -> tuple[str, str]:
    """Ratio and resolution in the server's words. Raises BadRequest where it would quietly draw another size."""
    if request.width is not None or request.height is not None:
        return _shape_of_pixels(request)
    ratio, resolution = request.ratio or "1:1", request.resolution.lower() or "2k"
    if ratio not in SIZES:
        raise BadRequest(f"this server has no ratio {ratio}; it has {', '.join(SIZES)}")
    if resolution not in RESOLUTIONS:
        raise BadRequest(f"this server has no resolution {request.resolution}; it has {', '.join(RESOLUTIONS)}")
    return ratio, resolution


def _shape_of_pixels(request: ImageRequest) -> tuple[str, str]:
    size = f"{request.width}x{request.height}"
    shape = BY_PIXELS.get((request.width or 0, request.height or 0))
    if shape is None:
        known = ", ".join(f"{width}x{height}" for width, height in BY_PIXELS)
        raise BadRequest(f"this server cannot draw {size}; it has {known}")
    if request.ratio not in ("", shape[0]) or request.resolution.lower() not in ("", shape[1]):
        raise BadRequest(f"{size} is {shape[0]} at {shape[1]}: leave ratio and resolution out")
    return shape


def _counts(count: int) -> dict[str, int]:
    """The server reads the first, its own page sends the second."""
    return {"numImages": count, "num_images": count}


def _files(references: tuple[str, ...]) -> list[tuple[str, tuple[str, bytes]]]:
    """Form fields image_0, image_1 and so on, each with a file name that tells nothing and its bytes."""
    pictures = [read(reference, formats=ANY_FORMAT) for reference in references]
    named = [(f"image_{index}", picture) for index, picture in enumerate(pictures)]
    return [(field, (f"{field}{picture.suffix}", picture.data)) for field, picture in named]


def _accepted_body(answer: Answer) -> dict[str, Any]:
    """The object that came with an accepted submit. Raises what any other answer means."""
    body = answer.body
    if isinstance(body, dict) and body.get("success") is False and answer.status < 400:  # noqa: PLR2004 - no error status
        raise _refusal(body.get("fail_code"), _text(body))
    if answer.status == 500 and isinstance(body, dict) and _text(body) == NO_REASON:  # noqa: PLR2004
        often = "often: no credits, an expired session or a forbidden prompt"
        raise GenerationFailed(f"the server refused without a reason: {NO_REASON} ({often})", hint=LOOK_AT_SERVER)
    if answer.status == 404:  # noqa: PLR2004
        raise BadRequest(f"HTTP 404: {message_in(answer)}", hint=IS_IT_RIGHT)
    refuse(answer, paid=True)
    if not isinstance(body, dict):
        raise Uncertain("the server answered with JSON of an unknown form; the request may have been accepted")
    return body


def _completed(body: dict[str, Any]) -> bool:
    return body.get("completed", "images" in body) is True


def _failure(code: Any, text: str) -> TaskError:
    """What a task failed of that the server had taken on."""
    return _chinese_words.failed(_words(code), text, _told(_words(code), text))


def _refusal(code: Any, text: str) -> TaskError:
    """Why the server did not take the task on."""
    found = _chinese_words.meaning(_words(code), text)
    said = _told(_words(code), text)
    return found.error(said) if found is not None else GenerationFailed(said)


def _told(code: str, text: str) -> str:
    return f"{text or NO_REASON} (fail_code {code})" if code not in ("", "0") else text or NO_REASON


def _text(body: dict[str, Any]) -> str:
    """The server's own words for what is or went wrong."""
    return next((text for key in ("error", "fail_msg", "message") if (text := _words(body.get(key)))), "")


def _words(value: Any) -> str:
    """A text or a number from JSON, in one line of bearable length that can be written anywhere; else nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return " ".join(str(value).encode("utf-8", "replace").decode().split())[:MAX_QUOTED_CHARS]


PROVIDER: type[Provider[Any]] = Dreamina
