"""OpenAI-style gateways to 即梦 / Dreamina: jimeng-api, jimeng-free-api and their kin.

Protocol facts are from src/api/{routes,controllers,consts} of iptag/jimeng-api, LLM-Red-Team/jimeng-free-api and its
fork by zhizinan1997, from fran0220/jimeng-gateway, and from two that answer with a task id: src/{index,images,api}.ts
of gracie007-cloud/dreamina-api, and src/{api/routes,lib/jobs,lib/response} of f3liiix/jimeng2api.
"""

import re
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

import httpx

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import (
    BadRequest,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    ServerTrouble,
    SlowDown,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.masking import hide
from imagegen_cli.core.provider import Accepted, Balance, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read
from imagegen_cli.core.schema import Secret, nearest, setting
from imagegen_cli.core.task import Image, ImageRequest, Job, RemoteImage
from imagegen_cli.providers import _chinese_words, _common as common
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, Answer, call, clean, message_in, refuse

MODELS = {"ratio": "jimeng-4.5", "pixels": "jimeng-3.0"}
"""Dialect -> the gateway's own default model, which it draws with where no model is named."""
VERSIONS = {
    "ratio": ("5.0", "4.6", "4.5", "4.1", "4.0", "3.1", "3.0"),
    "pixels": ("3.0", "2.1", "2.0p", "2.0", "1.4", "xl-pro"),
}
"""Dialect -> the models that it draws with. At any other name it draws with its default, and says nothing."""
ABROAD = ("nanobanana", "nanobananapro")
"""Models of jimeng-api for session ids with a region: at one without, it draws with its default."""
FAMILY = "jimeng"
"""What jimeng-api and jimeng-free-api list in place of their models."""
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

NO_ROUTE_WORDS = "[请求有误]"
"""How a gateway answers a path that it does not have: nothing went further."""
IS_IT_RIGHT = "is base_url right? It is the gateway's own address, with or without /v1 at its end"
MODELS_HINT = "imagegen models lists the names that --model may take"
FORBIDDEN = ("content_filtered", "content_policy")
OF_POOL = "jimeng2api"
"""Who owns the models in the list of the gateway whose keys are its own, and no session ids."""
NO_TASK = "00000000-0000-4000-8000-000000000000"

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
NO_ROUTES = (404, 405)
MADE_NOTHING = (-2007, -2008)
"""Of work that had been begun and failed; the other codes are of requests that were refused."""
INNER_CODE = re.compile(r"(?:错误码|错误代码|API错误|\bret)[\s:：=\[]*(-?[0-9]+)")
ORDINARY = ("processing", "running")
ERROR = 400
"""The least HTTP status that is none of success."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:5100", "address of the gateway")
    api_key: Secret = setting(Secret(), "session id, or several with commas between: they take turns; or its own key")
    model: str = setting("", "model when --model is not given; empty: the gateway's own choice")
    dialect: str = setting("ratio", "how sizes are said: ratio (jimeng-api and kin), pixels (jimeng-free-api)")
    concurrency: int = setting(2, "tasks at the gateway at once; 1 or 2 an account are wise; 0 lifts the limit")
    poll: float = setting(2.0, "shortest time between two status queries, where the gateway gives task ids")
    timeout: float = setting(2000.0, "time limit of a task in seconds; a gateway itself waits up to 1800")

    environment: ClassVar[Mapping[str, str]] = {"api_key": "JIMENG_SESSION_ID"}


class Jimeng(Provider[Settings]):
    """The pictures are in the one long answer to the submit and nowhere else: a disconnect loses them.

    The gateway goes on all the same and the credits are spent, so a cancel stops nothing.
    """

    kind = "jimeng"
    title = "即梦 / Dreamina gateways: jimeng-api, jimeng-free-api and kin (self-hosted)"
    is_synchronous = True
    notice = (
        "jimeng: where the gateway gives no task id, a lost connection or a cancel loses the pictures, not the cost"
    )

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/").removesuffix("/v1")
        self._ids = tuple(part.strip() for part in self._settings.api_key.reveal().split(",") if part.strip())
        for id_ in self._ids:  # some gateways repeat an id without the region before it
            hide(re.split(r"(?:^|@)(?:us|hk|jp|sg)-", id_)[-1])
        self._left_out: set[str] = set()
        self._turn = count()
        self._owners: dict[str, str] = {}
        self._listed: tuple[dict[str, Any], ...] | None = None

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

    def model_for_version(self, version: str) -> str | None:
        return _name(version) if version in VERSIONS.get(self._settings.dialect, ()) else None

    def max_images(self, request: ImageRequest) -> int | None:
        return None if request.references else self.expected_images(request)

    def expected_images(self, request: ImageRequest) -> int:
        """Four, but for 4.x prompts that name a number; from references the gateways promise no more than one."""
        if request.references:
            return 1
        several = SEVERAL.search(request.prompt)
        drawing = self._wanted(request) or MODELS.get(self._settings.dialect, "")
        if several is None or not _version(drawing).startswith("4"):
            return PICTURES
        return max(1, min(int(several[1][:3]), MOST_PICTURES))

    # Questions

    async def models(self) -> tuple[str, ...]:
        """What is listed; where that is the family's name alone, what gateways of this dialect draw with."""
        listed = _drawing(await self._list())
        return listed or self._known()

    async def balance(self) -> Balance | None:
        """The sum over all session ids, each asked for alone: one that is dead makes an answer about all fail.

        Nothing of an answer but numbers is passed on, since it repeats the ids.
        """
        if _is_pool(await self._once_listed()):
            return await self._of_pool()
        totals: dict[str, float | None] = {}
        dead: dict[str, TaskError] = {}
        for session in self._ids or ("",):
            try:
                answer = await self._points(session)
            except (Unauthorized, OutOfCredits) as error:
                dead[session] = error
                continue
            if answer is None:
                return None
            totals[session] = _total(answer)
        if dead and not totals:
            raise self._nobody(dead)
        return self._summed(totals, dead)

    async def _points(self, session: str) -> Answer | None:
        """None where the gateway has no such route."""
        url, options = f"{self._base}/token/points", self._options(session)
        answer = await call(self._clients, "POST", url, raw=True, json={}, **options)
        if self._lacks_route(answer):
            return None
        self._refuse(answer, paid=False)
        return answer

    def _summed(self, totals: Mapping[str, float | None], dead: Mapping[str, TaskError]) -> Balance:
        """What the accounts have together; an account that cannot be used is named by its number."""
        known = [total for total in totals.values() if total is not None]
        if not known:
            return Balance(
                None, note="; ".join((*self._told_dead(dead), "the gateway could not tell")), troubled=bool(dead)
            )
        notes = [f"{len(known)} of {len(self._ids)} accounts"] if len(self._ids) > 1 else []
        notes += self._told_dead(dead)
        empty = [id_ for id_, total in totals.items() if total == 0 and len(self._ids) > 1]
        notes += [f"{self._numbered(id_)} has no credits" for id_ in empty]
        return Balance(sum(known), note="; ".join(notes), troubled=bool(dead))

    def _told_dead(self, dead: Mapping[str, TaskError]) -> list[str]:
        return [f"{self._numbered(id_)}: {error.message}" for id_, error in dead.items()]

    def _numbered(self, session: str) -> str:
        """How a session id is called: never by itself."""
        return f"session id {self._ids.index(session) + 1} of {len(self._ids)}"

    async def _of_pool(self) -> Balance:
        """The list of this gateway needs no key: only a question about a task proves one."""
        answer = await self._reach("GET", f"v1/tasks/{NO_TASK}", self._session())
        if answer.status != 404:  # noqa: PLR2004 - that is its word for a task that it does not know
            self._refuse(answer, paid=False)
        return Balance(None, note="the gateway keeps its accounts to itself")

    async def _list(self) -> tuple[dict[str, Any], ...]:
        """The models that the gateway lists."""
        body = (await self._ask("GET", "v1/models", self._session())).body
        listed = body.get("data") if isinstance(body, dict) else None
        self._listed = tuple(item for item in common.items(listed) if isinstance(item, dict))
        return self._listed

    async def _once_listed(self) -> tuple[dict[str, Any], ...]:
        """The same, asked once; nothing where the gateway does not tell: then the dialect alone counts."""
        if self._listed is None:
            try:
                return await self._list()
            except TaskError as error:
                if isinstance(error, SlowDown) or type(error) is Unavailable:
                    raise  # it cannot be reached, or not now: a request would fare no better
                return ()
        return self._listed

    def _known(self) -> tuple[str, ...]:
        """The names that gateways of this dialect draw with."""
        dialect = self._settings.dialect
        abroad = dialect == "ratio" and any(_region(id_) for id_ in self._ids)
        return (*map(_name, VERSIONS.get(dialect, ())), *(ABROAD if abroad else ()))

    # Sending

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        del client_job  # it takes no ids of ours
        self.check(request)
        listed = await self._once_listed() if self._wanted(request) or request.references else ()
        asked = self._asked(request, self._model(request, listed))
        takes_one = any(name.startswith(f"{FAMILY}-image-") for name in _drawing(listed))
        refused: dict[str, TaskError] = {}
        while True:
            session = self._session(refused)
            try:
                answer = await self._send(request, asked, session, takes_one=takes_one)
                self._refuse(answer, paid=True)
            except (Unauthorized, OutOfCredits) as error:
                self._leave_out(session, error, refused, report)
                continue
            return self._accepted(answer, session, common.facts(model=asked.get("model")))

    def _leave_out(self, session: str, error: TaskError, refused: dict[str, TaskError], report: Report) -> None:
        """Note that an account is empty or logged out; it refused before anything was made, so the next may be asked.

        Raises where it was the last one, or where the refusal may have come too late for that.
        """
        self._left_out.add(session)
        refused[session] = error
        if not error.unspent:
            raise error
        if len(refused) >= len(self._ids):
            raise self._nobody(refused)
        report(Working(note=f"{self._numbered(session)} is left out: {error.message}"))

    def _nobody(self, refused: Mapping[str, TaskError]) -> TaskError:
        """Every account refused: what each said, by its number."""
        last = list(refused.values())[-1]
        if len(self._ids) > 1:
            last = type(last)("; ".join(self._told_dead(refused)), hint=last.hint)
        return last.as_unspent()

    async def _send(self, request: ImageRequest, asked: dict[str, Any], session: str, *, takes_one: bool) -> Answer:
        options = self._options(session)
        route, references = "compositions" if request.references else "generations", request.references
        if references and takes_one:
            if len(references) > 1:
                raise BadRequest(f"this gateway takes one reference picture, not {len(references)}")
            route, options["json"] = "generations", asked | {"filePath": _referred(references[0])}
        elif references and not is_remote(references[0]):
            form = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in asked.items()}
            options |= {"data": form, "files": _files(references)}
        else:
            options["json"] = asked | ({"images": list(references)} if references else {})
        return await call(self._clients, "POST", f"{self._base}/v1/images/{route}", paid=True, raw=True, **options)

    async def _ask(self, method: str, path: str, session: str) -> Answer:
        """The answer to a question. A path that is not there says nothing about a task."""
        answer = await self._reach(method, path, session)
        if answer.status in (*NO_ROUTES, 410) or self._lacks_route(answer):
            raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint=IS_IT_RIGHT)
        self._refuse(answer, paid=False)
        return answer

    async def _reach(self, method: str, path: str, session: str) -> Answer:
        return await call(self._clients, method, f"{self._base}/{path}", raw=True, **self._options(session))

    def _options(self, session: str) -> dict[str, Any]:
        return {"headers": dict(self._settings.headers), "auth": _Session(self._base, session).checked()}

    def _session(self, refused: Collection[str] = ()) -> str:
        """Whose turn it is; empty where there is no session id, for gateways that have one of their own."""
        here = [id_ for id_ in self._ids if id_ not in refused]
        living = [id_ for id_ in here if id_ not in self._left_out] or here
        return living[next(self._turn) % len(living)] if living else ""

    def _asked(self, request: ImageRequest, model: str) -> dict[str, Any]:
        """Where no model was asked for none is sent: the gateway's own choice is one that it has."""
        extra = request.extra
        asked: dict[str, Any] = {"model": model} if model else {}
        asked |= {"prompt": request.prompt, **self._shape(request)}
        asked["response_format"] = extra.get("response_format", "url")
        if request.negative:
            asked["negative_prompt"] = request.negative
        if "sample_strength" in extra:
            asked["sample_strength"] = float(extra["sample_strength"])
        if "intelligent_ratio" in extra:
            asked["intelligent_ratio"] = extra["intelligent_ratio"] == "true"
        return asked

    def _wanted(self, request: ImageRequest) -> str:
        """The model as the person named it; empty where the gateway is to choose."""
        return request.model or self._settings.model

    def _model(self, request: ImageRequest, listed: tuple[dict[str, Any], ...]) -> str:
        """The gateway's own name for the model. Raises BadRequest where it would draw with another and say nothing."""
        wanted = self._wanted(request)
        if not wanted:
            return ""
        names = _drawing(listed) or self._known()
        same = [name for name in names if _version(name) == _version(wanted)]
        if not same:
            known = ", ".join(names)
            rule = f"this gateway has no model {wanted[:60]!r} and would draw with another one; it has {known}"
            raise BadRequest(rule, hint=MODELS_HINT)
        return wanted if wanted in same else min(same, key=len)

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
        made, number = self.expected_images(request), request.count
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

    def _accepted(self, answer: Answer, session: str, facts: Facts) -> Accepted | Ready:
        body = answer.body if isinstance(answer.body, dict) else {}
        task_id, of_pool = _text(body.get("task_id")), _text(body.get("id"))
        if task_id:
            self._owners[task_id] = session
            return Accepted(Job(task_id), facts)
        if of_pool and (body.get("object") == "task" or "result_url" in body):
            self._owners[of_pool] = session
            return Accepted(Job(of_pool, f"/v1/tasks/{quote(of_pool, safe='')}"), facts)
        if not isinstance(body.get("data", ""), list | None):
            raise Uncertain("the gateway answered with JSON of an unknown form; the request may have been charged")
        return replace(self._ready(body["data"]), facts={**facts, **common.facts(model=body.get("model"))})

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """A task is known under one session id only: that of its submit, or whichever it is after a restart.

        A receipt with an address is of the gateway that has tasks of its own; the address is built from our own
        base_url, because the session id goes with it.
        """
        owner = self._owners.get(job.id)
        trouble: TaskError = ServerTrouble(f"the gateway does not find this task: {UNKNOWN_TASK}")
        for session in (owner,) if owner is not None else self._ids or ("",):
            try:
                told = await self._told_of(job, session)
            except (Unauthorized, Expired) as error:
                if error.final:
                    raise
                trouble = error
                continue
            if told is not None:
                common.about(job.id, told.get("id" if job.url else "taskId"))
                self._owners[job.id] = session
                return self._told(told)
        # Of a query that failed the gateway can say the same, and the task is paid for.
        raise trouble

    async def _told_of(self, job: Job, session: str) -> dict[str, Any] | None:
        """What the gateway says of a task; None where this session id has no such task."""
        number = quote(job.id, safe="")
        if not job.url:
            answer = await self._ask("GET", f"v1/images/tasks/{number}", session)
        else:
            answer = await self._reach("GET", f"v1/tasks/{number}", session)
            if _error(answer.body).get("code") == "task_not_found":
                raise Expired("the gateway does not know this task, or not under this key")
            if answer.status in NO_ROUTES:
                raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint=IS_IT_RIGHT)
            self._refuse(answer, paid=False)
        body = answer.body if isinstance(answer.body, dict) else {}
        return None if _text(body.get("error")) == UNKNOWN_TASK else body

    def _told(self, body: dict[str, Any]) -> Working | Ready:
        status, result = _text(body.get("status")), common.table(body.get("result"))
        if status == "completed":
            return self._ready(body.get("images"))
        if status == "succeeded":
            return replace(self._ready(result.get("data")), facts=common.facts(model=result.get("model")))
        if status == "failed" and isinstance(body.get("error"), dict):
            raise self._why(body["error"]).as_final()
        said = _text(body.get("error"))
        if status == "failed":
            if said.startswith(FAILED_FOR_GOOD):
                raise _failed(said).as_final()
            raise ServerTrouble(f"the gateway could not ask for the task: {said or 'no reason given'}")
        if not status:
            raise ServerTrouble("the gateway answered with JSON of an unknown form")
        return Working(fraction=_fraction(body.get("progress")), note="" if status in ORDINARY else status)

    def _why(self, error: dict[str, Any]) -> TaskError:
        """Why a task failed, by the words of the gateway that has tasks of its own."""
        said = _text(error.get("message")) or "the gateway gave no reason"
        code, kind = _text(error.get("code")), _text(error.get("type"))
        if re.fullmatch(r"-[0-9]{1,6}", code):
            outer = OUTER.get(int(code))
            return outer(f"{said} (code {code})") if outer else _failed(said)
        if any(word in f"{code} {kind}" for word in FORBIDDEN):
            return Moderated(said)
        return OutOfCredits(said) if code == "insufficient_quota" else _failed(said)

    def _lacks_route(self, answer: Answer) -> bool:
        """Whether the gateway has no such path. It says so at HTTP 200, at 500 or at 404, with one of two codes."""
        code = _code(answer)
        if code is None:
            return answer.status in NO_ROUTES
        return code == NO_ROUTE or NO_ROUTE_WORDS in message_in(answer)

    def _refuse(self, answer: Answer, *, paid: bool) -> None:
        """Raise what an answer without pictures means, be it said at HTTP 200 or by a status."""
        said, code = message_in(answer), _code(answer)
        refused = NO_ROUTE_WORDS in said and (answer.status >= ERROR or code is not None)
        if paid and (refused or answer.status in NO_ROUTES):
            raise BadRequest(f"{said or 'no such route'} (HTTP {answer.status})", hint=IS_IT_RIGHT)
        if code is not None and code < 0:
            raise _by_code(code, said, paid=paid)
        if answer.status >= ERROR:
            self._refuse_by_status(answer, said)
        refuse(answer, paid=paid, message=said)

    def _refuse_by_status(self, answer: Answer, said: str) -> None:
        """Where the words, or a word for the kind of error, say more than the status does."""
        error, text = _error(answer.body), f"HTTP {answer.status}: {said}"
        kind = f"{_text(error.get('code'))} {_text(error.get('type'))}"
        if any(word in kind for word in FORBIDDEN):
            raise Moderated(text)
        if "unsupported_model" in kind:
            raise BadRequest(text, hint=MODELS_HINT)
        found = _chinese_words.meaning(_inner(said), said)
        if found is not None and not (answer.body is None and issubclass(found.kind, SlowDown)):
            raise _unspent(found.error(text))

    def _ready(self, data: Any) -> Ready:
        items = data if isinstance(data, list) else []
        found = [self._image(item) for item in items]
        images = tuple(image for image in found if image is not None)
        if not images:
            raise GenerationFailed("the gateway is done, but sent no pictures; the credits may be spent").as_charged()
        lost = len(found) - len(images)
        return Ready(images, note=f"{lost} of {len(found)} pictures came without a usable address" if lost else "")

    def _image(self, item: Any) -> Image | None:
        url, data = (item.get("url"), item.get("b64_json")) if isinstance(item, dict) else (item, None)
        return common.better(common.inline(data), self._at(url))

    def _at(self, url: Any) -> RemoteImage | None:
        try:
            joined = urljoin(f"{self._base}/", url.strip()) if isinstance(url, str) and url.strip() else ""
            joined.encode()
            usable = urlsplit(joined).scheme in ("http", "https") and bool(urlsplit(joined).hostname)
        except ValueError:  # no address, or half a character in it
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
            odd = "a session id holds a space, a line break or a letter that no session id has"
            raise Unauthorized(odd).as_unspent()
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


def _referred(reference: str) -> str:
    return reference if is_remote(reference) else read(reference, formats=ANY_FORMAT).data_uri


def _code(answer: Answer) -> int | None:
    code = answer.body.get("code") if isinstance(answer.body, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _error(body: Any) -> dict[str, Any]:
    return common.table(common.table(body).get("error"))


def _inner(said: str) -> str:
    """The code of the service behind the gateway; empty where the gateway keeps it to itself."""
    code = INNER_CODE.search(said)
    return code[1] if code else ""


def _by_code(code: int, said: str, *, paid: bool) -> TaskError:
    """What the gateway's own code means, and the code or the words of the service behind it."""
    text = f"{said or 'the gateway gave no reason'} (code {code})"
    if code in MADE_NOTHING:
        return _failed(said, text)
    outer, found = OUTER.get(code), _chinese_words.meaning(_inner(said), said)
    if outer is not None and (found is None or (found.kind is not outer and found is not _chinese_words.LOGGED_OUT)):
        return _unspent(outer(text, hint=IS_IT_RIGHT if code == NO_ROUTE else ""))
    if found is not None:
        return _unspent(found.error(text))
    if _inner(said):
        return GenerationFailed(text)  # a code of its own is the service's last word, even one that nobody knows
    return Uncertain(f"{text}; the request may have been accepted and charged") if paid else ServerTrouble(text)


def _failed(said: str, text: str = "") -> TaskError:
    """What work that had been begun failed of."""
    return _chinese_words.failed(_inner(said), said, text)


def _unspent(error: TaskError) -> TaskError:
    return error.as_unspent() if isinstance(error, Unauthorized | OutOfCredits) else error


def _name(version: str) -> str:
    """What jimeng-api and jimeng-free-api call a model."""
    return f"{FAMILY}-{version.replace('2.0p', '2.0-pro')}"


def _version(name: str) -> str:
    """What all names of one model have in common: 5.0, jimeng-5.0 and jimeng-image-5.0-lite are one."""
    bare = name.lower().removeprefix(f"{FAMILY}-").removeprefix("image-").removesuffix("-lite")
    return re.sub(r"^([0-9]\.[0-9])p$", r"\1-pro", bare)


def _drawing(listed: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The names of models that draw pictures; the family's own name is none."""
    found = [_text(item.get("id")) for item in listed if item.get("type") != "video"]
    return tuple(dict.fromkeys(name for name in found if name and name != FAMILY and "video" not in name))


def _is_pool(listed: Iterable[dict[str, Any]]) -> bool:
    return any(item.get("owned_by") == OF_POOL for item in listed)


def _region(session: str) -> str:
    found = re.search(r"(?:^|@)(us|hk|jp|sg)-", session)
    return found[1] if found else ""


def _total(answer: Answer) -> float | None:
    entry = common.table(next(iter(common.items(answer.body)), None))
    return _amount(common.table(entry.get("points")).get("totalCredit"))


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
    return clean(str(value)[: 8 * MAX_QUOTED_CHARS])


PROVIDER: type[Provider[Any]] = Jimeng
