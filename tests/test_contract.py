"""The promises of every kind of provider: a file in providers/ is under test as soon as it is there."""

import asyncio
import base64
import gzip
import json
import os
import re
import textwrap
import tracemalloc
from asyncio.futures import _set_result_unless_cancelled  # type: ignore[attr-defined]  # what asyncio.sleep calls later
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    ConfigError,
    OutOfCredits,
    RateLimited,
    Refused,
    ServerTrouble,
    SlowDown,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Settings
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import ImageRequest, InlineImage, Job, RemoteImage, StagedImage
from imagegen_cli.net.client import open_clients
from imagegen_cli.net.download import Downloader
from imagegen_cli.providers import kinds, load
from imagegen_cli.providers._comfyui_graph import DEFAULT
from tests.doubles.hostile import (
    ADDRESSES,
    ANSWERS,
    BOMBS,
    ECHOES,
    ID,
    MB,
    NEVER,
    PICTURES,
    OneAnswer,
    documents,
    echoing,
    redirects,
    spoiled,
    typed,
    zeros,
)
from tests.doubles.http import ANY, Fault, Pictures, Reply

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
"""Seconds after which an answer that came at once counts as a hang."""
SOON = 0.3
"""Seconds after which we stop waiting for a service that never ends its answer."""
MAX_MEMORY = 420 * MB
"""An answer may have 256 MB, and comes in pieces of at most 64."""


class Watched(asyncio.SelectorEventLoop):
    """An event loop that remembers the seconds of each sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def call_later(  # type: ignore[override]  # its type variables say no more than Any does here
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if callback is _set_result_unless_cancelled and delay > 0:
            self.slept.append(delay)
        return super().call_later(delay, callback, *args, context=context)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": Watched}


def remote_kinds() -> list[str]:
    """Kinds that speak to a service; one that cannot even be loaded is among them, and fails there."""
    return [kind for kind in kinds() if kind != "sketch" and not _is_local(kind)]


def _is_local(kind: str) -> bool:
    try:
        return load(kind).local
    except ConfigError:
        return False


def polls(kind: str) -> bool:
    """Whether it has jobs that can be asked for."""
    try:
        return not load(kind).is_synchronous
    except ConfigError:
        return True


every_kind = pytest.mark.parametrize("kind", remote_kinds())
every_kind_with_jobs = pytest.mark.parametrize("kind", [kind for kind in remote_kinds() if polls(kind)])


def settings_for(kind: str, url: str, secret: str = "sk-{name}-of-{kind}-s3cr3t") -> Settings:  # noqa: S107 - it opens nothing
    """Settings in which every address is the double's, and every secret has a text that can be searched for."""
    plain = load(kind).Settings()
    changed: dict[str, Any] = {}
    for item in fields(plain):
        value = getattr(plain, item.name)
        if isinstance(value, Secret):
            changed[item.name] = Secret(secret.format(name=item.name, kind=kind))
        elif item.name == "base_url" or (isinstance(value, str) and value.startswith(("http://", "https://"))):
            changed[item.name] = url
        elif item.name == "username":
            changed[item.name] = "a-user"
    return replace(plain, **changed)


def secrets_of(settings: Settings) -> list[str]:
    values = [getattr(settings, item.name) for item in fields(settings)]
    return [value.reveal() for value in values if isinstance(value, Secret) and value]


def request_for(kind: str, settings: Settings, picture: str) -> ImageRequest | None:
    """The shortest request that the kind takes. Most need a prompt; some a model, a size or a picture besides."""
    nothing: Any = None
    provider = load(kind)(settings, Clients(nothing, nothing))
    plain = ImageRequest(prompt="a cat", provider=kind, model=settings.model)
    named = (plain, replace(plain, model="model"), replace(plain, model="owner/name"))
    wider = [replace(one, **more) for one in named for more in ({}, {"width": 1024, "height": 1024}, {"ratio": "1:1"})]
    for request in (*wider, *(replace(one, references=(picture,)) for one in wider)):
        with suppress(BadRequest):
            provider.check(request)
            return request
    return None


def usable(kind: str, url: str, picture: str) -> tuple[Settings, ImageRequest]:
    """Settings with a key, or without one for a kind that knows none, and a request that they allow."""
    for settings in (settings_for(kind, url), settings_for(kind, url, secret="")):
        request = request_for(kind, settings, picture)
        if request is not None:
            return settings, request
    raise AssertionError(f"no short request suits {kind}")


@dataclass
class Trial:
    """One kind with a service that gives one answer, and with another host to which no request should go."""

    kind: str
    service: OneAnswer
    elsewhere: OneAnswer
    provider: Provider[Any]
    request: ImageRequest
    secrets: list[str]
    sent: list[httpx.Request]
    """Requests that the client for paid requests has sent; a kind may send other queries first."""
    job: Job
    clients: Clients
    settings: Settings
    reports: list[Working] = field(default_factory=list)

    async def submit(self, limit: float = PATIENCE) -> Accepted | Ready | TaskError:
        client_job = self.provider.client_job(self.request)
        reply: Accepted | Ready | TaskError = await self._kept(
            self.provider.submit(self.request, client_job, self.reports.append), limit
        )
        if isinstance(reply, Accepted) and client_job is not None:
            assert reply.job.id == client_job.id
        return reply

    async def poll(self, job: Job | None = None, limit: float = PATIENCE) -> Working | Ready | TaskError:
        reply: Working | Ready | TaskError = await self._kept(
            self.provider.poll(job or self.job, self.reports.append), limit
        )
        return reply

    async def _kept(self, work: Any, limit: float) -> Any:
        """The reply or the TaskError, after a check that no promise was broken."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Watched)
        loop.slept.clear()
        try:
            async with asyncio.timeout(limit):
                reply = await work
        except TaskError as error:
            reply = error
            self._check_error(error)
        assert not loop.slept, f"it slept for {loop.slept}"
        self._check_words(repr(reply), *(repr(one) for one in self.reports))
        assert not any(self.elsewhere.saw(secret) for secret in self.secrets), "a key on another host"
        return reply

    def _check_error(self, error: TaskError) -> None:
        chain: BaseException | None = error
        while chain is not None:
            self._check_words(str(chain), repr(chain))
            chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        self._check_words(error.message, error.hint)
        assert error.message
        assert len(error.message) < 4000
        for text in (error.message, error.hint):
            text.encode()  # the history can write UTF-8 only
        if isinstance(error, SlowDown) and error.after is not None:
            assert 0 <= error.after < float("inf")

    def _check_words(self, *texts: str) -> None:
        for secret in self.secrets:
            assert not any(secret in text for text in texts), "a key in a message"


@pytest.fixture
async def trial(kind: str, tmp_path: Path) -> AsyncIterator[Trial]:
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    with OneAnswer() as service, OneAnswer() as elsewhere:
        settings, request = usable(kind, service.url, str(picture))
        async with open_clients() as clients:
            sent: list[httpx.Request] = []

            async def noted(request: httpx.Request) -> None:
                sent.append(request)

            clients.paid.event_hooks = {"request": [noted]}
            job = await receipt(kind, load(kind)(settings, clients), request, service)
            sent.clear()
            provider = load(kind)(settings, clients)
            yield Trial(kind, service, elsewhere, provider, request, secrets_of(settings), sent, job, clients, settings)


async def receipt(kind: str, provider: Provider[Any], request: ImageRequest, service: OneAnswer) -> Job:
    """What a good answer to a submit brings; a made-up one where the corpus has no such answer."""
    for document in documents(kind) if polls(kind) else ():
        service.reply = typed(json.dumps(document).replace(NEVER, f"{service.url}/").encode())
        with suppress(TaskError):
            reply = await provider.submit(request, provider.client_job(request), lambda _: None)
            if isinstance(reply, Accepted):
                break
    else:
        reply = None
    service.reply = Reply.json({})
    service.requests.clear()
    service.counts.clear()
    return reply.job if isinstance(reply, Accepted) else Job(ID, f"{service.url}/jobs/{ID}?id={ID}")


@every_kind
async def test_its_class_says_who_it_is(kind: str) -> None:
    provider = load(kind)
    assert provider.kind == kind
    assert provider.title
    assert issubclass(provider.Settings, Settings)
    assert all(item.metadata.get("doc") for item in fields(provider.Settings))
    assert set(provider.Settings.environment) <= {item.name for item in fields(provider.Settings)}


@every_kind
async def test_checking_and_counting_need_no_network(kind: str, tmp_path: Path) -> None:
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    settings, request = usable(kind, NEVER, str(picture))
    nothing: Any = None
    provider = load(kind)(settings, Clients(nothing, nothing))
    high = provider.max_images(request)
    assert high is None or high >= 1
    assert provider.expected_images(request) >= 1


@every_kind
@pytest.mark.parametrize("wrong", [{"prompt": ""}, {"prompt": " \n"}, {"extra": {"no-such-option": "1"}}])
async def test_nonsense_is_refused_before_it_is_sent(trial: Trial, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        trial.provider.check(replace(trial.request, **wrong))
    assert trial.service.counts["connections"] == 0


# The table: answer -> word of ours


UNSURE = (Uncertain, Refused)
"""What an unreadable answer to a submit may mean: never that the request was not accepted."""
ODD = typed(
    b'{"success":true,"completed":false,"status":"daydreaming","task_status":"DAYDREAMING","state":"daydreaming",'
    b'"code":10000,"id":"%(id)s","data":{"status":"daydreaming"},"output":{"task_status":"DAYDREAMING"},'
    b'"%(id)s":{"status":{"status_str":"daydreaming"},"outputs":{}}}' % {b"id": ID.encode()}
)
TABLE: dict[str, tuple[Reply | Fault, tuple[type[Any], ...], tuple[type[Any], ...]]] = {
    "an empty object": (Reply.json({}), UNSURE, (Working, TaskError)),
    "401": (Reply.json({"error": "no"}, 401), (Unauthorized,), (Unauthorized,)),
    "402": (Reply.json({"error": "no"}, 402), (OutOfCredits,), (OutOfCredits,)),
    "429": (Reply.json({"error": "slow"}, 429), (SlowDown,), (SlowDown,)),
    "500": (Reply.json({"error": "oh"}, 500), UNSURE, (Unavailable,)),
    "502": (Reply.json({"error": "oh"}, 502), (Uncertain,), (Unavailable,)),
    "503": (Reply.json({"error": "oh"}, 503), (SlowDown, Uncertain), (SlowDown, Unavailable)),
    "a web page at 200": (Fault.HTML, (Uncertain,), (Unavailable,)),
    "499": (Reply.json({"error": "oh"}, 499), (Uncertain,), (Unavailable,)),
    "a web page at 429": (Reply.text("<html>", 429, "text/html"), (Uncertain,), (SlowDown,)),
    "a web page at 503": (Reply.text("<html>", 503, "text/html"), (Uncertain,), (SlowDown, Unavailable)),
    "a web page at 502": (Fault.BAD_GATEWAY, (Uncertain,), (Unavailable,)),
    "closed before reading": (Fault.CLOSE_BEFORE, (Uncertain,), (Unavailable,)),
    "closed after reading": (Fault.CLOSE_AFTER, (Uncertain, Accepted), (Unavailable,)),
    "reset after reading": (Fault.RESET_AFTER, (Uncertain, Accepted), (Unavailable,)),
    "an empty body": (Fault.EMPTY, (Uncertain,), (Unavailable,)),
    "a truncated body": (Fault.TRUNCATE, (Uncertain, Accepted), (Unavailable,)),
    "an unknown word": (ODD, (Accepted, *UNSURE), (Working, Unavailable)),
}


@every_kind
@pytest.mark.parametrize("row", TABLE)
async def test_submit_says_the_word(trial: Trial, row: str) -> None:
    answer, paid, free = TABLE[row]
    trial.service.fail(ANY, answer, times=None, act=True)
    reply = await trial.submit()
    assert isinstance(reply, paid if trial.sent else (*free, Refused)), repr(reply)
    assert len(trial.sent) <= 1


@every_kind_with_jobs
@pytest.mark.parametrize("row", TABLE)
async def test_poll_says_the_word(trial: Trial, row: str) -> None:
    answer, _, meaning = TABLE[row]
    trial.service.fail(ANY, answer, times=None, act=True)
    reply = await trial.poll()
    assert isinstance(reply, meaning), repr(reply)


STATUSES = (400, 401, 402, 403, 404, 405, 407, 409, 410, 418, 421, 422, 425, 429, 431, 451, 500, 502, 503, 504)
NOT_ABOUT_THE_JOB: dict[str, Reply | Fault] = {
    **{str(status): Reply.json({"error": "no"}, status) for status in STATUSES},
    **{f"{status} without words": Reply.json({}, status) for status in (400, 404, 410, 422)},
    "a redirect": redirects(302, "http://127.0.0.1:1/login"),
    "a web page": Fault.HTML,
    "a web page at 404": Reply(404, b"<html>not here</html>", {"content-type": "text/html"}),
}
"""What a wrong base_url, a proxy, a gateway or a captive page answers."""


@every_kind_with_jobs
@pytest.mark.parametrize("row", NOT_ABOUT_THE_JOB)
async def test_only_the_services_own_word_about_the_job_is_final(trial: Trial, row: str) -> None:
    trial.service.fail(ANY, NOT_ABOUT_THE_JOB[row], times=None, act=True)
    for _ in range(6):
        reply = await trial.poll()
        assert isinstance(reply, Working | TaskError)
        assert isinstance(reply, Working) or not reply.final, repr(reply)


@every_kind
async def test_no_server_there(trial: Trial) -> None:
    trial.service.fail(ANY, Fault.REFUSE)
    assert isinstance(await trial.submit(), Unavailable)
    if polls(trial.kind):
        assert isinstance(await trial.poll(), Unavailable)


def in_ten_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)


@every_kind
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("answer", "low", "high"),
    [
        (lambda status: Reply.json({"error": "slow"}, status, retry_after="7"), 7, 7),
        (lambda status: Reply.json({"error": "slow"}, status, retry_after=in_ten_seconds()), 8, 10),
        (lambda status: Reply.json({"error": {"message": "slow", "retry_after": 7}}, status), 7, 7),
    ],
)
async def test_a_wait_that_is_asked_for_is_told(
    trial: Trial, status: int, answer: Callable[[int], Reply], low: float, high: float
) -> None:
    trial.service.reply = answer(status)
    replies = [await trial.submit(), *([await trial.poll()] if polls(trial.kind) else [])]
    for reply in replies:
        if status == 503 and not isinstance(reply, Busy):
            continue  # some services answer 503 after an internal error
        assert isinstance(reply, RateLimited | Busy), repr(reply)
        assert reply.after is not None
        assert low <= reply.after <= high


@every_kind
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(trial: Trial, status: int) -> None:
    trial.service.reply = redirects(status, f"{trial.elsewhere.url}/stolen")
    assert isinstance(await trial.submit(), Uncertain | Refused if trial.sent else Unavailable | Refused)
    if polls(trial.kind):
        assert isinstance(await trial.poll(), Unavailable)
    assert trial.elsewhere.counts["connections"] == 0


@every_kind
@pytest.mark.parametrize("key", ["sk-line\nbreak-1234", "sk-schlüssel-1234", "sk-二-1234", "sk-nul\0-1234"])
async def test_a_key_that_no_header_can_carry_is_not_told(kind: str, key: str, tmp_path: Path) -> None:
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    with OneAnswer(Reply.json({"error": "no"}, 401)) as service:
        settings = settings_for(kind, service.url, secret=key)
        request = request_for(kind, settings, str(picture))
        if request is None:
            return  # refused before it could be sent
        async with open_clients() as clients:
            provider = load(kind)(settings, clients)
            with pytest.raises(Refused) as raised:
                await provider.submit(request, provider.client_job(request), lambda _: None)
    assert key not in raised.value.message
    assert repr(key)[1:-1] not in raised.value.message


# Pictures inside an answer

INSIDE: dict[str, Callable[[str], Any]] = {
    "openai": lambda text: {"data": [{"b64_json": text}]},
    "gemini": lambda text: {"candidates": [{"content": {"parts": [{"inlineData": {"data": text}}]}}]},
    "jimeng": lambda text: {"data": [{"b64_json": text}]},
    "volcengine": lambda text: {
        "code": 10000,
        "data": {"task_id": ID, "status": "done", "binary_data_base64": [text]},
    },
    "a1111": lambda text: {"images": [text], "parameters": {}, "info": "{}"},
    "replicate": lambda text: {"id": ID, "status": "succeeded", "output": [f"data:image/png;base64,{text}"]},
    "bfl": lambda text: {"id": ID, "status": "Ready", "result": {"sample": f"data:image/png;base64,{text}"}},
}
"""Good answers with a picture inside, of the kinds that can have one."""
TO_DECODE = Pictures().make("inside", 1) + b"\xfb\xff\xbf"
BASE64: dict[str, str] = {
    "the plain alphabet": base64.b64encode(TO_DECODE).decode(),
    "the URL-safe alphabet": base64.urlsafe_b64encode(TO_DECODE).decode(),
    "no padding": base64.b64encode(TO_DECODE).decode().rstrip("="),
    "lines": "\r\n".join(textwrap.wrap(base64.b64encode(TO_DECODE).decode(), 76)),
    "a foreign character": base64.b64encode(TO_DECODE).decode()[:-8] + "*" + base64.b64encode(TO_DECODE).decode()[-8:],
}


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("form", BASE64)
async def test_every_form_of_base64_is_a_picture_or_none(trial: Trial, form: str) -> None:
    trial.service.reply = Reply.json(INSIDE[trial.kind](BASE64[form]))
    reply = await (trial.poll() if polls(trial.kind) else trial.submit())
    if form == "a foreign character":
        assert not isinstance(reply, Ready), "a spoiled picture was taken for one"
        return
    assert isinstance(reply, Ready), repr(reply)
    assert reply.images == (InlineImage(TO_DECODE),)


# Answers about another job

OTHER = "11111111-2222-4333-8444-555555555555"
LINK = f"{NEVER}/picture.png"
ABOUT: dict[str, Callable[[str], list[Any]]] = {
    "replicate": lambda id_: [
        {"id": id_, "status": "succeeded", "output": [LINK]},
        {"id": id_, "status": "succeeded", "output": None, "data_removed": True},
        {"id": id_, "status": "failed", "error": "NSFW"},
        {"id": id_, "status": "canceled"},
        {"id": id_, "status": "processing"},
    ],
    "fal": lambda id_: [
        {"request_id": id_, "status": "COMPLETED", "images": [{"url": LINK}]},
        {"request_id": id_, "status": "COMPLETED", "error": "gave up", "error_type": "runner_error"},
    ],
    "bfl": lambda id_: [
        {"id": id_, "status": "Ready", "result": {"sample": LINK}},
        {"id": id_, "status": "Content Moderated"},
        {"id": id_, "status": "Error"},
        {"id": id_, "status": "Task not found"},
    ],
    "comfyui": lambda id_: [
        {"id": id_, "status": "completed", "outputs": {}},
        {"id": id_, "status": "failed", "execution_error": {}},
        {"id": id_, "status": "cancelled"},
    ],
    "dashscope": lambda id_: [
        {"output": {"task_id": id_, "task_status": "SUCCEEDED", "results": [{"url": LINK}]}},
        {"output": {"task_id": id_, "task_status": "FAILED", "code": "DataInspectionFailed", "message": "no"}},
        {"output": {"task_id": id_, "task_status": "CANCELED"}},
    ],
    "volcengine": lambda id_: [
        {"code": 10000, "data": {"task_id": id_, "status": "done", "image_urls": [LINK]}},
        {"code": 10000, "data": {"task_id": id_, "status": "expired"}},
        {"code": 50412, "message": "text risk", "data": {"task_id": id_, "status": "done"}},
    ],
    "jimeng": lambda id_: [
        {"id": id_, "taskId": id_, "status": "completed", "images": [{"url": LINK}]},
        {"id": id_, "taskId": id_, "status": "failed", "error": {"message": "no", "code": "content_filtered"}},
    ],
}
"""Answers to a query that carry an id: good ones, and those that end the job."""


def polled_id(job: Job) -> str:
    return job.id.rpartition("/")[2]


@pytest.mark.parametrize("kind", ABOUT)
async def test_an_answer_about_another_job_is_a_strike(trial: Trial) -> None:
    for body in ABOUT[trial.kind](OTHER):
        trial.service.reply = Reply.json(body)
        reply = await trial.poll()
        assert isinstance(reply, ServerTrouble), (body, reply)
        assert "about another job" in reply.message
        assert not reply.final


@pytest.mark.parametrize("kind", ABOUT)
async def test_an_answer_about_this_job_is_believed(trial: Trial) -> None:
    for body in ABOUT[trial.kind](polled_id(trial.job)):
        trial.service.reply = Reply.json(body)
        reply = await trial.poll()
        assert isinstance(reply, Working | Ready) or reply.final, (body, reply)


@pytest.mark.parametrize("kind", ["replicate", "comfyui"])
async def test_a_last_word_without_an_id_is_a_strike(trial: Trial) -> None:
    for body in ABOUT[trial.kind](""):
        trial.service.reply = Reply.json({name: value for name, value in body.items() if name != "id"})
        reply = await trial.poll()
        assert isinstance(reply, Working | Ready) or (isinstance(reply, ServerTrouble) and not reply.final), body


# Hints


@every_kind
@pytest.mark.parametrize("answer", [Reply.json({"detail": "Not Found"}, 404), Reply.text("<html>", 404, "text/html")])
async def test_a_path_that_is_not_there_hints_at_the_address(trial: Trial, answer: Reply) -> None:
    trial.service.reply = answer
    replies = [await trial.submit(), *([await trial.poll()] if polls(trial.kind) else [])]
    for reply in replies:
        assert isinstance(reply, TaskError), repr(reply)
        assert "base_url" in reply.hint or "imagegen models" in reply.hint, repr(reply)


# Hostile answers


@every_kind
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_hostile_answer_to_a_submit(trial: Trial, name: str) -> None:
    trial.service.reply = ANSWERS[name]()
    reply = await trial.submit()
    assert isinstance(reply, Accepted | Ready | TaskError)
    assert not (trial.sent and isinstance(reply, Unavailable)), "it was sent: it may have been accepted"


@every_kind_with_jobs
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_hostile_answer_to_a_query(trial: Trial, name: str) -> None:
    trial.service.reply = ANSWERS[name]()
    assert isinstance(await trial.poll(), Working | Ready | TaskError)


@every_kind
async def test_documents_with_one_wrong_value(trial: Trial) -> None:
    """Every field of every good document in turn; a job that comes of it is asked for as well."""
    other = f"{trial.elsewhere.url}/stolen"
    for document in documents(trial.kind):
        for place, body in spoiled(document, more=(other, "http://127.0.0.1:99999/")):
            trial.service.reply = typed(body)
            try:
                reply = await trial.submit()
                if isinstance(reply, Accepted) and polls(trial.kind):
                    await trial.poll(reply.job)
                if polls(trial.kind):
                    await trial.poll()
            except Exception as error:
                error.add_note(f"{trial.kind}: {place}")
                raise
    assert not any(trial.elsewhere.saw(secret) for secret in trial.secrets)


@every_kind
async def test_a_dripping_submit_can_be_given_up(trial: Trial) -> None:
    trial.service.reply = Reply.json({"status": "x" * 1000})
    trial.service.fail(ANY, Fault.SLOW_DRIP, times=None, seconds=60.0)
    with pytest.raises(TimeoutError):
        await trial.submit(limit=SOON)


@every_kind_with_jobs
async def test_a_dripping_query_can_be_given_up(trial: Trial) -> None:
    trial.service.reply = Reply.json({"status": "x" * 1000})
    trial.service.fail(ANY, Fault.SLOW_DRIP, times=None, seconds=60.0)
    with pytest.raises(TimeoutError):
        await trial.poll(limit=SOON)


@every_kind
@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_stays_small(trial: Trial, name: str) -> None:
    trial.service.reply = BOMBS[name]()
    with peak() as used:
        reply = await (trial.poll() if polls(trial.kind) else trial.submit())
    assert isinstance(reply, TaskError)
    assert used() < MAX_MEMORY, f"{used() // MB} MB"


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Gives a function that returns, after the `with`, the peak of the memory that Python has used inside."""
    most = 0
    tracemalloc.start()
    try:
        yield lambda: most
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


# A service that repeats the key


@every_kind
@pytest.mark.parametrize("form", ECHOES)
async def test_a_key_that_is_repeated_is_never_shown(trial: Trial, form: str) -> None:
    """The key is in no error, note or balance, whatever the status and the request."""
    settings = settings_for(trial.kind, trial.service.url)
    provider = load(trial.kind)(settings, trial.clients)
    trial.secrets = secrets_of(settings)
    for secret in trial.secrets:
        text = ECHOES[form](secret)
        for status in (200, 400, 401, 403, 404, 422, 429, 500, 503):
            trial.service.reply = echoing(text, status)
            trial.provider = load(trial.kind)(trial.settings, trial.clients)
            for reply in (await trial.submit(), await trial.poll(), *(await answers_of(provider))):
                shown = f"{reply!r} {getattr(reply, 'message', '')} {getattr(reply, 'hint', '')} {trial.reports!r}"
                assert_untold(secret, text, shown)


async def answers_of(provider: Provider[Any]) -> list[object]:
    found: list[object] = []
    for question in (provider.models, provider.balance):
        try:
            found.append(await question())
        except TaskError as error:
            found.append(error)
    return found


def assert_untold(secret: str, text: str, shown: str) -> None:
    """Assert that `shown` holds neither the secret, as written in `text`, nor its first half."""
    written = text.rsplit(maxsplit=1)[-1]
    for form in (secret, written, secret[: len(secret) // 2 + 1]):
        assert form not in shown, "a key in a message"


# References that are no pictures


REFERENCE_MODELS = {"volcengine": "i2i-3.0", "dashscope": "wan2.6-image"}
"""Models that start from a picture, of kinds whose default does not: such a kind must be named here."""
TEXT_ALONE = "from text alone"
"""How a kind refuses every reference picture: the sentence of `rules.references`."""
NO_PICTURE = r"reference picture|is not a .* picture"
WITH_PICTURE = {"99": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}


def with_reference(kind: str, url: str, picture: str, folder: Path) -> tuple[Settings, ImageRequest, str]:
    """A request with a reference picture, and the rule by which the kind refuses a file that is no picture."""
    path = folder / "workflow.json"
    path.write_text(json.dumps(DEFAULT | WITH_PICTURE))
    graph: dict[str, Any] = {"workflow": str(path)} if kind == "comfyui" else {}
    text_alone = None
    for plain in (settings_for(kind, url), settings_for(kind, url, secret="")):
        settings = replace(plain, **graph)
        model = REFERENCE_MODELS.get(kind, settings.model)
        request = ImageRequest(prompt="a cat", provider=kind, model=model, references=(picture,))
        nothing: Any = None
        try:
            load(kind)(settings, Clients(nothing, nothing)).check(request)
        except BadRequest as error:
            refused = error.message
        else:
            return settings, request, NO_PICTURE
        if TEXT_ALONE in refused:
            text_alone = settings, request, TEXT_ALONE
    assert text_alone is not None, f"no request of {kind} starts from a picture"
    return text_alone


NO_PICTURES: dict[str, Callable[[Path], None]] = {
    "a private key": lambda path: write(path, b"-----BEGIN OPENSSH PRIVATE KEY-----\n"),
    "a link to a private key": lambda path: path.symlink_to(elsewhere(path, b"-----BEGIN OPENSSH PRIVATE KEY-----\n")),
    "a pipe": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "what the system makes up": lambda path: path.symlink_to("/proc/self/environ"),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: write(path, b""),
    "more than any picture": lambda path: sparse(path, 1 << 40),
}


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def elsewhere(path: Path, data: bytes) -> Path:
    target = path.with_name("id_rsa")
    target.write_bytes(data)
    return target


def sparse(path: Path, size: int) -> None:
    path.write_bytes(Pictures().make("reference", 1))
    os.truncate(path, size)


@every_kind
@pytest.mark.skipif(os.name == "nt", reason="has other devices")
async def test_a_reference_that_is_no_picture_is_refused_before_anything_is_sent(kind: str, tmp_path: Path) -> None:
    """By the check before a run, and again by the submit, for a file that was exchanged in between."""
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    with OneAnswer() as service:
        settings, request, rule = with_reference(kind, service.url, str(picture), tmp_path)
        async with open_clients() as clients:
            provider = load(kind)(settings, clients)
            for name, make in NO_PICTURES.items():
                path = tmp_path / f"{name}.png"
                make(path)
                bad = replace(request, references=(str(path),))
                with pytest.raises(BadRequest, match=rule):
                    provider.check(bad)
                with pytest.raises(BadRequest, match=rule):
                    await provider.submit(bad, provider.client_job(bad), lambda _: None)
        assert service.counts["connections"] == 0


# Hostile pictures


@pytest.fixture
def shop() -> Iterator[OneAnswer]:
    with OneAnswer() as shop:
        yield shop


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    async with open_clients() as clients:
        yield Downloader(clients.fetch)


async def held(downloader: Downloader, url: str, folder: Path) -> StagedImage | TaskError:
    reply: StagedImage | TaskError
    try:
        async with asyncio.timeout(PATIENCE):
            reply = await downloader.stage(RemoteImage(url), folder / "a", folder / ".a.part")
    except TaskError as error:
        reply = error
    message = reply.message if isinstance(reply, TaskError) else ""
    assert message.isprintable()
    assert not url or url not in message, "addresses may be signed"
    return reply


@pytest.mark.parametrize("name", PICTURES)
async def test_a_picture_that_lies(shop: OneAnswer, downloader: Downloader, tmp_path: Path, name: str) -> None:
    shop.reply = PICTURES[name]()
    with peak() as used:
        reply = await held(downloader, f"{shop.url}/a.png", tmp_path)
    assert isinstance(reply, TaskError)
    assert used() < 64 * MB, f"{used() // MB} MB"


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_hostile_answer_to_a_download(
    shop: OneAnswer, downloader: Downloader, tmp_path: Path, name: str
) -> None:
    shop.reply = ANSWERS[name]()
    assert isinstance(await held(downloader, f"{shop.url}/a.png", tmp_path), TaskError)


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda text: re.sub(r"\W+", "-", ascii(text))[:40])
async def test_no_address_of_a_picture(downloader: Downloader, tmp_path: Path, address: str) -> None:
    assert isinstance(await held(downloader, address, tmp_path), TaskError)


@pytest.mark.parametrize(("location", "number"), [(NEVER, 1), ("file:///etc/passwd", 1), ("/other.png", 6)])
async def test_redirects_of_a_download_end_in_our_own_words(
    shop: OneAnswer, downloader: Downloader, tmp_path: Path, location: str, number: int
) -> None:
    """A picture's address may lead on, five times at most; test_download.py says where to."""
    shop.reply = redirects(302, location)
    assert isinstance(await held(downloader, f"{shop.url}/a.png", tmp_path), TaskError)
    assert shop.counts["any"] == number


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_for_a_picture(shop: OneAnswer, downloader: Downloader, tmp_path: Path, name: str) -> None:
    shop.reply = BOMBS[name]()
    with peak() as used:
        assert isinstance(await held(downloader, f"{shop.url}/a.png", tmp_path), TaskError)
    assert used() < MAX_MEMORY, f"{used() // MB} MB"


async def test_a_drip_of_a_picture_can_be_given_up(shop: OneAnswer, downloader: Downloader, tmp_path: Path) -> None:
    shop.reply = Reply.file(Pictures().make("slow", 1), "image/png")
    shop.fail(ANY, Fault.SLOW_DRIP, seconds=60.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await downloader.stage(RemoteImage(f"{shop.url}/a.png"), tmp_path / "a", tmp_path / ".a.part")


# What the tests above rest on


async def test_a_sleep_is_seen() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Watched)
    await asyncio.sleep(0.001)
    assert loop.slept == [0.001]


async def test_the_bombs_are_real() -> None:
    with peak() as used:
        assert len(zeros(100)) < MB
    assert len(gzip.decompress(zeros(2))) == 2 * MB
    assert used() < 16 * MB
