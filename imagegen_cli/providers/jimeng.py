"""OpenAI-style gateways to 即梦 / Dreamina: jimeng-api, jimeng-free-api and their kin.

Protocol facts are from src/api/{routes,controllers,consts} of iptag/jimeng-api, LLM-Red-Team/jimeng-free-api and its
forks, from fran0220/jimeng-gateway, and from src/{index,images,api}.ts of gracie007-cloud/dreamina-api, which alone
answers with a task id.
"""

import base64
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

import httpx

from imagegen_cli.errors import (
    BadRequest,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Uncertain,
)
from imagegen_cli.events import Working
from imagegen_cli.masking import hide
from imagegen_cli.providers import base
from imagegen_cli.providers.base import Accepted, Balance, Clients, Provider, Ready, Report
from imagegen_cli.providers.wire import QUOTED, Answer, call, clean, refuse, words_in
from imagegen_cli.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.tables import Secret, nearest, setting
from imagegen_cli.task import Image, ImageRequest, InlineImage, Job, RemoteImage

MODELS = {"ratio": "jimeng-4.5", "pixels": "jimeng-3.0"}
"""Dialect -> the gateway's own default model."""
VERSIONS = {
    "ratio": ("5.0", "4.6", "4.5", "4.1", "4.0", "3.1", "3.0", "2.1", "2.0p", "1.4"),
    "pixels": ("3.0", "2.1", "2.0p", "1.4"),
}
RESOLUTIONS = {"ratio": ("1k", "2k", "4k"), "pixels": ("1k", "2k")}
SIZES = {
    "1:1": ((1328, 1328), (2048, 2048)),
    "4:3": ((1472, 1104), (2304, 1728)),
    "3:4": ((1104, 1472), (1728, 2304)),
    "3:2": ((1584, 1056), (2496, 1664)),
    "2:3": ((1056, 1584), (1664, 2496)),
    "16:9": ((1664, 936), (2560, 1440)),
    "9:16": ((936, 1664), (1440, 2560)),
    "21:9": ((2016, 864), (3024, 1296)),
}
"""Ratio -> pixels at 1k and 2k. Of the gateways' own tables only those of 2k agree."""
AT_2K = {pixels[1]: ratio for ratio, pixels in SIZES.items()}

EXTRAS = {
    "ratio": ("intelligent_ratio", "response_format", "sample_strength"),
    "pixels": ("response_format", "sample_strength"),
}
FORMATS = ("url", "b64_json")
MOST_REFERENCES = 10
PICTURES = 4
SEVERAL = re.compile(r"([0-9]+)张")
"""In the prompt of a 4.x model this many pictures are asked for."""
MOST_PICTURES = 15
MOST_CREDITS = 10**9
WHOLE = 100
"""Percent of a task that is done."""

UNKNOWN_TASK = "任务不存在"
FAILED_FOR_GOOD = ("生成失败，错误代码", "内容由于合规问题已被阻止生成")
"""How the asynchronous gateway words a real failure; every other “failed” is a query of its own that failed."""

OUTER: dict[int, type[TaskError]] = {
    -1001: BadRequest,
    -1002: BadRequest,
    -2000: BadRequest,
    -2002: Unauthorized,
    -2003: BadRequest,
    -2004: BadRequest,
    -2006: Moderated,
    -2009: OutOfCredits,
}
"""The gateway's own codes that mean one thing. The others wrap a code or words of the service behind it."""
NO_ROUTE = -1002
MADE_NOTHING = (-2007, -2008)
INNER_CODE = re.compile(r"(?:错误码|错误代码|API错误)[\s:：\[]*(-?[0-9]+)")
MEANINGS: tuple[tuple[type[TaskError], tuple[str, ...], tuple[str, ...]], ...] = (
    (Moderated, ("2038", "1180", "4001"), ("敏感", "违规", "合规", "审核", "不符合", "risk")),
    (OutOfCredits, ("1006", "5000"), ("积分", "credit", "quota")),
    (Unauthorized, ("1015", "-4"), ("登录", "login", "authorization", "shark", "风控")),
    (BadRequest, ("1000", "4002", "34010100"), ("不支持", "最多支持", "至少需要", "缺少", "格式不正确", "not support")),
)
"""Inner codes, and words in lower case where there is no code."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:5100", "address of the gateway")
    api_key: Secret = setting(Secret(), "session id, or several with commas between: they take turns")
    model: str = setting("", f"model when --model is not given; empty: {' or '.join(MODELS.values())} by dialect")
    dialect: str = setting("ratio", "how sizes are said: ratio (jimeng-api and kin), pixels (jimeng-free-api)")
    concurrency: int = setting(2, "tasks at the gateway at once; 1 or 2 an account are wise; 0 lifts the limit")
    poll: float = setting(2.0, "shortest time between two status queries, where the gateway gives task ids")
    timeout: float = setting(2000.0, "time limit of a task in seconds; a gateway itself waits up to 1800")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "JIMENG_SESSION_ID"}


class Jimeng(Provider):
    """The pictures are in the one long answer to the submit and nowhere else: a disconnect loses them.

    The gateway goes on all the same and the credits are spent, so a cancel stops nothing.
    """

    kind = "jimeng"
    title = "即梦 / Dreamina gateways: jimeng-api, jimeng-free-api and kin (self-hosted)"
    Settings: ClassVar[type[base.Settings]] = Settings
    holds = True
    notice = "jimeng: pictures come in one long answer; a cancel or a lost connection loses them and saves no credits"

    def __init__(self, settings: Any, clients: Clients) -> None:
        self._settings: Settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/").removesuffix("/v1")
        self._ids = tuple(part.strip() for part in self._settings.api_key.reveal().split(",") if part.strip())
        for id_ in self._ids:  # some gateways repeat an id without the region before it
            hide(re.split(r"(?:^|@)(?:us|hk|jp|sg)-", id_)[-1])
        self._left_out: set[str] = set()
        self._turn = count()
        self._owners: dict[str, str] = {}

    def check(self, request: ImageRequest) -> None:
        if self._settings.dialect not in MODELS:
            raise BadRequest(f"dialect is one of {', '.join(MODELS)}; not {self._settings.dialect[:40]!r}")
        self._shape(request)
        for broken, rule in self._rules(request):
            if broken:
                raise BadRequest(rule)
        examined(request.references, formats=ANY_FORMAT)
        for key in request.extra:
            if key not in EXTRAS[self._settings.dialect]:
                hint = nearest(key, EXTRAS[self._settings.dialect])
                raise BadRequest(f"this gateway knows no option {key!r}", hint=hint)

    def named(self, version: str) -> str | None:
        known = version in VERSIONS.get(self._settings.dialect, ())
        return f"jimeng-{version.replace('2.0p', '2.0-pro')}" if known else None

    def most(self, request: ImageRequest) -> int | None:
        return None if request.references else self.expected(request)

    def expected(self, request: ImageRequest) -> int:
        """Four, but for 4.x prompts that name a number; from references the gateways promise no more than one."""
        if request.references:
            return 1
        several = SEVERAL.search(request.prompt)
        if several is None or not self._model(request).startswith("jimeng-4"):
            return PICTURES
        return max(1, min(int(several[1][:3]), MOST_PICTURES))

    async def models(self) -> tuple[str, ...]:
        body = (await self._ask("GET", "v1/models", self._session())).body
        listed = body.get("data") if isinstance(body, dict) else None
        ids = [item.get("id") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        return tuple(dict.fromkeys(name for id_ in ids if (name := _text(id_)) and "video" not in name))

    async def balance(self) -> Balance | None:
        """The sum over all session ids. The answer repeats them, so nothing of it but numbers is passed on."""
        url = f"{self._base}/token/points"
        options = self._options(",".join(self._ids))
        answer = await call(self._clients, "POST", url, raw=True, json={}, **options)
        if answer.status in (404, 405) or _code(answer) == NO_ROUTE:
            return None
        self._refuse(answer, paid=False)
        entries = answer.body if isinstance(answer.body, list) else []
        points = [entry.get("points") for entry in entries if isinstance(entry, dict)]
        totals = [_amount(point.get("totalCredit")) for point in points if isinstance(point, dict)]
        known = [total for total in totals if total is not None]
        if not known:
            return Balance(None, note="the gateway could not tell")
        note = f"{len(known)} of {len(self._ids)} accounts" if len(self._ids) > 1 else ""
        return Balance(sum(known), note=note)

    async def submit(self, request: ImageRequest, draft: Job | None, report: Report) -> Accepted | Ready:
        del draft, report  # it takes no ids of ours, and says nothing before its answer
        self.check(request)
        session = self._session()
        with self._leaving_out(session):
            answer = await self._send(request, session)
            self._refuse(answer, paid=True)
        body = answer.body if isinstance(answer.body, dict) else {}
        task_id = _text(body.get("task_id"))
        if task_id:
            self._owners[task_id] = session
            return Accepted(Job(task_id))
        if not isinstance(body.get("data", ""), list | None):
            raise Uncertain("the gateway answered with JSON of an unknown form; the request may have been charged")
        return self._ready(body["data"])

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """A task is known under one session id only: that of its submit, or whichever it is after a restart."""
        owner = self._owners.get(job.id)
        for session in (owner,) if owner is not None else self._ids or ("",):
            answer = await self._ask("GET", f"v1/images/tasks/{quote(job.id, safe='')}", session)
            body = answer.body if isinstance(answer.body, dict) else {}
            if _text(body.get("error")) != UNKNOWN_TASK:
                self._owners[job.id] = session
                return self._told(body)
        # Of a query that failed the gateway can say the same, and the task is paid for.
        raise ServerTrouble(f"the gateway does not find this task: {UNKNOWN_TASK}")

    def _told(self, body: dict[str, Any]) -> Working | Ready:
        status, said = _text(body.get("status")), _text(body.get("error"))
        if status == "completed":
            return self._ready(body.get("images"))
        if status == "failed":
            if said.startswith(FAILED_FOR_GOOD):
                raise _inner(said, GenerationFailed)(said).as_final()
            raise ServerTrouble(f"the gateway could not ask for the task: {said or 'no reason given'}")
        if not status:
            raise ServerTrouble("the gateway answered with JSON of an unknown form")
        return Working(fraction=_fraction(body.get("progress")), note="" if status == "processing" else status)

    # Sending

    async def _send(self, request: ImageRequest, session: str) -> Answer:
        asked, options = self._asked(request), self._options(session)
        route = "compositions" if request.references else "generations"
        if request.references and not is_remote(request.references[0]):
            form = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in asked.items()}
            options |= {"data": form, "files": _files(request.references)}
        else:
            options["json"] = asked | ({"images": list(request.references)} if request.references else {})
        return await call(self._clients, "POST", f"{self._base}/v1/images/{route}", paid=True, raw=True, **options)

    async def _ask(self, method: str, path: str, session: str) -> Answer:
        """The answer to a question. A 404 says nothing about a task: no gateway has one for it."""
        answer = await call(self._clients, method, f"{self._base}/{path}", raw=True, **self._options(session))
        if answer.status in (404, 410):
            raise ServerTrouble(f"HTTP {answer.status}: {words_in(answer)}; is base_url right?")
        self._refuse(answer, paid=False)
        return answer

    def _options(self, session: str) -> dict[str, Any]:
        return {"headers": dict(self._settings.headers), "auth": _Session(self._base, session).checked()}

    def _session(self) -> str:
        """Whose turn it is; empty where there is no session id, for gateways that have one of their own."""
        living = [id_ for id_ in self._ids if id_ not in self._left_out] or self._ids
        return living[next(self._turn) % len(living)] if living else ""

    @contextmanager
    def _leaving_out(self, session: str) -> Iterator[None]:
        """One account that is empty or logged out fails its task; the lane is shut only when it was the last."""
        try:
            yield
        except (Unauthorized, OutOfCredits) as error:
            self._left_out.add(session)
            if len(self._left_out) >= len(self._ids):
                raise
            left = f"session id {self._ids.index(session) + 1} of {len(self._ids)} is left out from now on"
            raise GenerationFailed(f"{error.message}; {left}") from error

    def _asked(self, request: ImageRequest) -> dict[str, Any]:
        extra = request.extra
        asked: dict[str, Any] = {"model": self._model(request), "prompt": request.prompt, **self._shape(request)}
        asked["response_format"] = extra.get("response_format", "url")
        if request.negative:
            asked["negative_prompt"] = request.negative
        if "sample_strength" in extra:
            asked["sample_strength"] = float(extra["sample_strength"])
        if "intelligent_ratio" in extra:
            asked["intelligent_ratio"] = extra["intelligent_ratio"] == "true"
        return asked

    def _model(self, request: ImageRequest) -> str:
        model = request.model or self._settings.model or MODELS.get(self._settings.dialect, "")
        return self.named(model) or model

    def _shape(self, request: ImageRequest) -> dict[str, Any]:
        """What the dialect says of ratio and size; nothing where nothing is asked for. Raises BadRequest."""
        dialect = self._settings.dialect
        sized = request.width is not None or request.height is not None
        if sized and (request.ratio or request.resolution):
            raise BadRequest("say either a size or ratio and resolution, not both")
        if sized:
            return _sized(request.width or 0, request.height or 0, dialect)
        if not request.ratio and not request.resolution:
            return {}
        ratio, resolution = request.ratio or "1:1", request.resolution.lower()
        known = RESOLUTIONS[dialect]
        if ratio not in SIZES:
            raise BadRequest(f"this gateway has no ratio {ratio[:40]}; it has {', '.join(SIZES)}")
        if resolution not in ("", *known):
            raise BadRequest(f"this gateway has no resolution {resolution[:40]}; it has {', '.join(known)}")
        if dialect == "ratio":
            return {"ratio": ratio, "resolution": resolution or "2k"}
        width, height = SIZES[ratio][known.index(resolution or "1k")]
        return {"width": width, "height": height}

    def _rules(self, request: ImageRequest) -> Iterator[tuple[bool, str]]:
        """Whether each rule is broken, and the rule."""
        yield not request.prompt.strip(), "the prompt is empty"
        yield request.seed not in (None, -1), "these gateways take no seed: leave it out"
        made, number = self.expected(request), request.count
        always = f"these gateways take no count and make {made} pictures for this prompt: leave --count away"
        yield not request.references and number not in (None, made), always
        decides = "from references the gateway decides how many pictures it makes: leave --count away"
        yield bool(request.references) and number not in (None, 1), decides
        yield from _rules_of_extra(request)
        pixels = self._settings.dialect == "pixels"
        yield (
            pixels and bool(request.references),
            "jimeng-free-api makes pictures from text alone: leave references out",
        )
        yield from _rules_of_references(request.references)

    # What comes back

    def _refuse(self, answer: Answer, *, paid: bool) -> None:
        """Raise what an answer without pictures means, be it said at HTTP 200 or by a status."""
        said, code = words_in(answer), _code(answer)
        if code is not None and code < 0:
            kind = OUTER.get(code) or _inner(said, GenerationFailed if code in MADE_NOTHING else Uncertain)
            if code in OUTER and "authorization" in said.lower():
                kind = Unauthorized
            if kind is Uncertain and not paid:
                kind = ServerTrouble
            charged = "; the request may have been accepted and charged" if kind is Uncertain else ""
            raise kind(f"{said or 'the gateway gave no reason'} (code {code}){charged}")
        if answer.status >= 400:  # noqa: PLR2004 - the meaning of HTTP's classes
            kind = _inner(said, TaskError)
            if kind is not TaskError:
                raise kind(f"HTTP {answer.status}: {said}")
        refuse(answer, paid=paid, said=said)

    def _ready(self, data: Any) -> Ready:
        items = data if isinstance(data, list) else []
        found = [self._image(item) for item in items]
        images = tuple(image for image in found if image is not None)
        if not images:
            raise GenerationFailed("the gateway is done, but sent no pictures; the credits may be spent")
        lost = len(found) - len(images)
        return Ready(images, note=f"{lost} of {len(found)} pictures came without a usable address" if lost else "")

    def _image(self, item: Any) -> Image | None:
        url, data = (item.get("url"), item.get("b64_json")) if isinstance(item, dict) else (item, None)
        try:
            if isinstance(data, str) and data:
                return InlineImage(base64.b64decode(data.rpartition("base64,")[2], validate=True))
            joined = urljoin(f"{self._base}/", url.strip()) if isinstance(url, str) and url.strip() else ""
            joined.encode()
            usable = urlsplit(joined).scheme in ("http", "https") and bool(urlsplit(joined).hostname)
        except ValueError:  # no base64, no address, or half a character in it
            return None
        return RemoteImage(joined) if usable else None


class _Session(httpx.Auth):
    """Adds a session id for the configured host and for no other."""

    def __init__(self, base_url: str, session: str) -> None:
        self._home = base_url
        self._session = session

    def checked(self) -> "_Session":
        """Refuse an id that no header can carry: the transport's complaint would quote it."""
        if not re.fullmatch(r"[!-~]*", self._session):
            raise Unauthorized("a session id holds a space, a line break or a letter that no session id has")
        return self

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._session and _origin(request.url) == _origin(httpx.URL(self._home)):
            request.headers["Authorization"] = f"Bearer {self._session}"
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _sized(width: int, height: int, dialect: str) -> dict[str, Any]:
    if dialect == "pixels":
        return {"width": width, "height": height}
    ratio = AT_2K.get((width, height))
    if ratio is None:
        known = ", ".join(f"{width}x{height}" for width, height in AT_2K)
        raise BadRequest(f"this gateway takes ratio and resolution, no free size; of {width}x{height} it has {known}")
    return {"ratio": ratio, "resolution": "2k"}


def _rules_of_extra(request: ImageRequest) -> Iterator[tuple[bool, str]]:
    extra = request.extra
    strength = extra.get("sample_strength", "0.5")
    share = re.fullmatch(r"0|1|0?\.[0-9]+|1\.0+", strength, re.ASCII) is not None
    yield not share, f"sample_strength is a number from 0 to 1, not {strength[:40]!r}"
    clever = extra.get("intelligent_ratio", "false")
    yield clever not in ("true", "false"), f"intelligent_ratio is true or false, not {clever[:40]!r}"
    fixed = bool(request.ratio) or request.width is not None
    yield clever == "true" and fixed, "with intelligent_ratio the model chooses the ratio: leave it out"
    form = extra.get("response_format", "url")
    yield form not in FORMATS, f"response_format is one of {', '.join(FORMATS)}; not {form[:40]!r}"


def _rules_of_references(references: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    many = f"these gateways take at most {MOST_REFERENCES} reference pictures, not {len(references)}"
    yield len(references) > MOST_REFERENCES, many
    both = "reference pictures are either all files or all addresses, not both"
    yield len(set(map(is_remote, references))) > 1, both


def _files(references: tuple[str, ...]) -> list[tuple[str, tuple[str, bytes]]]:
    """Form fields with file names that tell nothing."""
    pictures = [read(reference, formats=ANY_FORMAT) for reference in references]
    return [("images", (f"{number}{picture.suffix}", picture.data)) for number, picture in enumerate(pictures, 1)]


def _code(answer: Answer) -> int | None:
    code = answer.body.get("code") if isinstance(answer.body, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _inner(said: str, otherwise: type[TaskError]) -> type[TaskError]:
    """What the service behind the gateway meant. A code of its own is its last word, even one that nobody knows."""
    code = INNER_CODE.search(said)
    if code is not None:
        return next((kind for kind, codes, _ in MEANINGS if code[1] in codes), GenerationFailed)
    lowered = said.lower()
    return next((kind for kind, _, words in MEANINGS if any(word in lowered for word in words)), otherwise)


def _fraction(progress: Any) -> float | None:
    """The share of the pictures that are ready."""
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 < progress <= WHOLE:
        return None
    return progress / WHOLE


def _amount(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST_CREDITS
    return float(value) if usable else None


def _text(value: Any) -> str:
    """A text or a number from JSON, in one line of bearable length that can be written anywhere; else nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return clean(str(value)[: 8 * QUOTED])


PROVIDER: type[Provider] = Jimeng
