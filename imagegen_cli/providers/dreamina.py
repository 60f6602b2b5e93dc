"""The self-hosted Flask server for Dreamina / 即梦: a submit as JSON, a task id, status queries.

Protocol facts are from web/server.py and core/api_client.py of the server's public repository, whose first and last
versions differ. Before c7afcf5 a task that runs, a task that failed and an unknown task all get the answer NOT_FOUND.
After it all three are "running", and real failures carry their reason.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, GenerationFailed, ServerTrouble, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Accepted, Balance, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, form_file
from imagegen_cli.core.schema import nearest, setting
from imagegen_cli.core.task import ImageRequest, Job
from imagegen_cli.providers import _chinese_words, _common as common, _rules as rules
from imagegen_cli.providers._http import GONE, Answer, message_in

MODELS = ("4.0", "3.1", "3.0", "2.1", "2.0p", "1.4", "NanoBanana", "NanoBananaPro")
RESOLUTIONS = ("1k", "2k", "4k")
AT_4K = {
    "1:1": (4096, 4096),
    "4:3": (4693, 3520),
    "3:4": (3520, 4693),
    "3:2": (4992, 3328),
    "2:3": (3328, 4992),
    "16:9": (5404, 3040),
    "9:16": (3040, 5404),
}
SIZES = {ratio: (*rules.SEEDREAM_SIZES[ratio], pixels) for ratio, pixels in AT_4K.items()}
"""Ratio -> pixels at each of RESOLUTIONS."""
BY_PIXELS = {pixels: (ratio, RESOLUTIONS[at]) for ratio, row in SIZES.items() for at, pixels in enumerate(row)}

MAX_PROMPT_CHARS = 1600
SEEDS = range(1, 1_000_000_000)
PICTURES = 4
MAX_REFERENCES = 6

NOT_FOUND = "任务不存在或生成失败"
NO_REASON = "生成失败"
RUNNING = "正在生成中..."
MAX_CREDITS = 10**9

BASE_URL_HINT = Message("is base_url right? It is the server's own address, without /api")
SERVER_LOG_HINT = Message(
    "the server does not pass on the reason: look at its log, and at the account there (credits, session)"
)
THIS_SERVER = Message("this server")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:5000", Message("address of the server"))
    model: str = setting("3.0", Message("model when --model is not given: {known}").format(known=", ".join(MODELS)))
    concurrency: int = setting(
        4, Message("tasks at the server at once; its authors advise at most 5; 0 lifts the limit")
    )
    grace: int = setting(
        5, Message("answers “{text}” that count as “not known yet”; 0 believes the first").format(text=NOT_FOUND)
    )


class Dreamina(common.HttpProvider[Settings]):
    kind = "dreamina"
    title = Message("Dreamina / 即梦 server (Flask, self-hosted)")

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._base = self._base.removesuffix("/api")
        self._not_found: Counter[str] = Counter()
        self._seen_running: set[str] = set()

    def check(self, request: ImageRequest) -> None:
        self._model(request)
        _shape(request)
        rules.check(_rules(request))
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
        fields = self._fields(request)
        if request.references:
            form = {"params": json.dumps(fields | _counts(self.expected_images(request)), ensure_ascii=False)}
            answer = await self._generate("i2i", data=form, files=_files(request.references))
        else:
            answer = await self._generate("t2i", json=fields)
        body = _accepted_body(answer)
        facts = common.facts(seed=fields["seed"], model=fields["model"])
        if _completed(body):
            return replace(self._ready(body), facts=facts)
        task_id = common.text_or_number(body.get("taskId"))
        if not task_id:
            raise Uncertain(joined("; ", (Message("the server gave no task id to ask with"), common.CHARGED)))
        if body.get("queued") is True:
            report(Working(note=_text(body)))
        return Accepted(Job(task_id), facts, common.credits_told(body))

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        answer = await self._get(f"generate/status/{quote(job.id, safe='')}")
        body = answer.body
        if _completed(body):
            return self._ready(body)
        if body.get("failed") is True:
            if self._not_known_yet(job, body):
                return Working(note=Message("not known yet: {text}").format(text=NOT_FOUND))
            raise _failure(body.get("fail_code"), _text(body)).as_final().as_billed(common.credits_told(body))
        self._seen_running.add(job.id)
        message = _text(body)
        return Working(note="" if message == RUNNING else message)

    async def balance(self) -> Balance | None:
        """The credits, where the server has one account. A query about one of several would switch the server to it.

        The server would then look for running tasks under the wrong account, and not find them.
        """
        accounts = (await self._get("accounts")).body.get("accounts")
        if not isinstance(accounts, list) or not accounts:
            return Balance(None, note=Message("the server has no account"))
        if len(accounts) > 1:
            note = Message("not queried: a query would switch the account in use ({count} on the server)")
            return Balance(None, note=note.format(count=len(accounts)))
        number = common.text_or_number(common.table(accounts[0]).get("id"))
        credit = (await self._get(f"accounts/{quote(number, safe='')}/credit")).body.get("credit")
        total = common.number(common.table(credit).get("total_credit"), MAX_CREDITS)
        if total is not None and total >= 0 and total != common.MADE_UP_CREDITS:
            return Balance(total)
        return Balance(None, note=Message("the server does not name the credits"))

    async def _generate(self, route: str, **options: Any) -> Answer:
        return await self._send("POST", f"{self._base}/api/generate/{route}", paid=True, **options)

    async def _get(self, path: str) -> Answer:
        """An answer whose body is an object. This server has no 404 for a task, so a 404 says nothing about a task."""
        answer = await self._send("GET", f"{self._base}/api/{path}")
        if answer.status in GONE:
            message = joined(": ", (f"HTTP {answer.status}", message_in(answer)))
            raise ServerTrouble(message, hint=BASE_URL_HINT)
        if common.body_of(answer, paid=False).get("success") is False:
            raise ServerTrouble(message_in(answer) or Message("the server did not answer the question"))
        return answer

    def _fields(self, request: ImageRequest) -> dict[str, Any]:
        ratio, resolution = _shape(request)
        seed, model = rules.seed_or_drawn(request, SEEDS), self._model(request)
        return {"prompt": request.prompt, "model": model, "ratio": ratio, "seed": seed, "resolution": resolution}

    def _model(self, request: ImageRequest) -> str:
        """Raises BadRequest where the server has no such model."""
        model = super()._model(request)
        if model not in MODELS:
            rule = Message("this server has no model {model}; it has {known}")
            rule = rule.format(model=rules.shown(model), known=", ".join(MODELS))
            raise BadRequest(rule, hint=nearest(model, MODELS))
        return model

    def _not_known_yet(self, job: Job, body: dict[str, Any]) -> bool:
        """Whether NOT_FOUND may mean a task that runs: an old server has no other answer for it, a newer one has."""
        if _text(body) != NOT_FOUND or not self._settings.grace:
            return False
        self._not_found[job.id] += 1
        return job.id not in self._seen_running or self._not_found[job.id] <= self._settings.grace

    def _ready(self, body: dict[str, Any]) -> Ready:
        """The pictures. A failure may come as success, with an object where the list of pictures should be."""
        images, cost = body.get("images"), common.credits_told(body)
        if isinstance(images, dict):
            raise _failure(images.get("fail_code"), _text(images)).as_final().as_billed(cost)
        items = images.splitlines() if isinstance(images, str) else common.items(images)
        links = [item.get("url") if isinstance(item, dict) else item for item in items]
        found = tuple(image for url in links if (image := common.remote(url, self._base)) is not None)
        if not found:
            nothing = GenerationFailed(Message("the server says that it is finished, but names no pictures"))
            raise nothing.as_charged().as_billed(cost)
        return Ready(found, note=common.lost_note(len(items) - len(found), len(items)), cost=cost)


def _rules(request: ImageRequest) -> Iterator[rules.Rule]:
    yield from rules.prompt(request, MAX_PROMPT_CHARS)
    yield rules.no_negative(request, THIS_SERVER)
    further = Message("this server has no further options: leave out {names}")
    yield rules.broken_if(request.extra, further, names=", ".join(sorted(request.extra)))
    yield rules.seed(request, SEEDS)
    always = Message("this server always makes {count} pictures for a text prompt: leave --count away or say {count}")
    is_other = not request.references and request.count not in (None, PICTURES)
    yield rules.broken_if(is_other, always, count=PICTURES)
    yield rules.count(request, PICTURES)
    yield from rules.references(request, MAX_REFERENCES, THIS_SERVER)
    yield from rules.files_only(request.references, THIS_SERVER)


def _shape(request: ImageRequest) -> tuple[str, str]:
    """Ratio and resolution as the server names them.

    Raises BadRequest where the server would draw another size without a word.
    """
    if rules.is_sized(request):
        return _shape_of_pixels(request)
    ratio, resolution = request.ratio or "1:1", request.resolution.lower() or "2k"
    rules.check([rules.one_of("ratio", ratio, SIZES, THIS_SERVER)])
    rules.check([rules.one_of("resolution", resolution, RESOLUTIONS, THIS_SERVER)])
    return ratio, resolution


def _shape_of_pixels(request: ImageRequest) -> tuple[str, str]:
    size = rules.size_in_words(request.width, request.height)
    shape = BY_PIXELS.get((request.width or 0, request.height or 0))
    if shape is None:
        message = Message("this server cannot draw {size}; it has {known}")
        raise BadRequest(message.format(size=size, known=rules.sizes_in_words(BY_PIXELS)))
    if request.ratio not in ("", shape[0]) or request.resolution.lower() not in ("", shape[1]):
        message = Message("{size} is {ratio} at {resolution}: leave ratio and resolution out")
        raise BadRequest(message.format(size=size, ratio=shape[0], resolution=shape[1]))
    return shape


def _counts(count: int) -> dict[str, int]:
    """The number under two names: the server reads the first, its own web page sends the second."""
    return {"numImages": count, "num_images": count}


def _files(references: tuple[str, ...]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Form fields image_0, image_1 and so on, each with a file under a name of ours."""
    fields = [f"image_{index}" for index in range(len(references))]
    return [
        (field, form_file(field, reference, formats=ANY_FORMAT))
        for field, reference in zip(fields, references, strict=True)
    ]


def _accepted_body(answer: Answer) -> dict[str, Any]:
    """The object that came with an accepted submit. Raises what any other answer means."""
    body = common.table(answer.body)
    if body.get("success") is False and not answer.is_error:
        raise _refusal(body.get("fail_code"), _text(body))
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and _text(body) == NO_REASON:
        message = Message(
            "the server refused without a reason: {text} (often: no credits, an expired session or a forbidden prompt)"
        )
        raise GenerationFailed(message.format(text=NO_REASON), hint=SERVER_LOG_HINT)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise BadRequest(joined(": ", ("HTTP 404", message_in(answer))), hint=BASE_URL_HINT)
    return common.body_of(answer, paid=True)


def _completed(body: dict[str, Any]) -> bool:
    return body.get("completed", "images" in body) is True


def _failure(code: Any, text: str) -> TaskError:
    """Why a task failed that the server had accepted."""
    code = common.text_or_number(code)
    return _chinese_words.failed(code, text, _with_code(code, text))


def _refusal(code: Any, text: str) -> TaskError:
    """Why the server did not accept a task."""
    code = common.text_or_number(code)
    found, message = _chinese_words.meaning(code, text), _with_code(code, text)
    return found.error(message) if found is not None else GenerationFailed(message)


def _with_code(code: str, text: str) -> str:
    return f"{text or NO_REASON} (fail_code {code})" if code not in ("", "0") else text or NO_REASON


def _text(body: dict[str, Any]) -> str:
    """The server's own message about the state or the failure of a task."""
    texts = (common.text_or_number(body.get(key)) for key in ("error", "fail_msg", "message"))
    return next(filter(None, texts), "")


PROVIDER: type[Provider[Any]] = Dreamina
