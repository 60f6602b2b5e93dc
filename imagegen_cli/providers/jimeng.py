"""OpenAI-style gateways to 即梦 / Dreamina: jimeng-api, jimeng-free-api and their kin.

Protocol facts are from src/api/{routes,controllers,consts} of iptag/jimeng-api, LLM-Red-Team/jimeng-free-api and its
fork by zhizinan1997, from fran0220/jimeng-gateway, and from two that answer with a task id: src/{index,images,api}.ts
of gracie007-cloud/dreamina-api, and src/{api/routes,lib/jobs,lib/response} of f3liiix/jimeng2api.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

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
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.masking import hide
from imagegen_cli.core.provider import Accepted, Balance, Clients, Facts, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, form_file, is_remote, referred
from imagegen_cli.core.schema import Secret, setting
from imagegen_cli.core.task import Image, ImageRequest, Job
from imagegen_cli.providers import _chinese_words, _common as common, _rules as rules
from imagegen_cli.providers._http import GONE, MODELS_HINT, NO_ROUTES, Answer, message_in, refuse

MODELS = {"ratio": "jimeng-4.5", "pixels": "jimeng-3.0"}
"""Dialect -> the model that a gateway draws with where the request names none."""
VERSIONS = {
    "ratio": ("5.0", "4.6", "4.5", "4.1", "4.0", "3.1", "3.0"),
    "pixels": ("3.0", "2.1", "2.0p", "2.0", "1.4", "xl-pro"),
}
"""Dialect -> the models that a gateway draws with. For any other name it silently draws with its default."""
ABROAD = ("nanobanana", "nanobananapro")
"""Models of jimeng-api for session ids with a region: for others it draws with its default."""
FAMILY = "jimeng"
"""What jimeng-api and jimeng-free-api list instead of their models."""
RESOLUTIONS = {"ratio": ("1k", "2k", "4k"), "pixels": ("1k", "2k")}
SIZES = rules.SEEDREAM_SIZES
"""Of the gateways' own tables only those of 2k agree."""
AT_2K = {pixels[1]: ratio for ratio, pixels in SIZES.items()}

EXTRAS = {
    "ratio": ("intelligent_ratio", "response_format", "sample_strength"),
    "pixels": ("response_format", "sample_strength"),
}
FORMATS = ("url", "b64_json")
MAX_REFERENCES = 10
PICTURES = 4
SEVERAL = re.compile(r"([0-9]+)张")
"""How the prompt of a 4.x model asks for a number of pictures."""
MAX_PICTURES = 15
MAX_CREDITS = 10**9

NO_ROUTE_WORDS = "[请求有误]"
"""How a gateway answers a path that it does not have: nothing reached the service behind it."""
BASE_URL_HINT = Message("is base_url right? It is the gateway's own address, with or without /v1 at its end")
FORBIDDEN = ("content_filtered", "content_policy")
OF_POOL = "jimeng2api"
"""The owner of the models in the list of the gateway that has keys of its own instead of session ids."""
NO_TASK = "00000000-0000-4000-8000-000000000000"

UNKNOWN_TASK = "任务不存在"
FAILED_FOR_GOOD = ("生成失败，错误代码", "内容由于合规问题已被阻止生成")
"""How the message of a real failure begins; any other “failed” means that a query of the gateway failed."""

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
"""The gateway's own codes that mean one thing. The others wrap a code or a message of the service behind it."""
NO_ROUTE = -1002
MADE_NOTHING = (-2007, -2008)
"""Codes of work that was begun and failed; the other codes mean that a request was refused."""
INNER_CODE = re.compile(r"(?:错误码|错误代码|API错误|\bret)[\s:：=\[]*(-?[0-9]+)")
ORDINARY = ("processing", "running")


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:5100", Message("address of the gateway"))
    api_key: Secret = setting(
        Secret(), Message("session id, or several with commas between: they take turns; or its own key")
    )
    model: str = setting("", Message("model when --model is not given; empty: the gateway's own choice"))
    dialect: str = setting("ratio", Message("how sizes are sent: ratio (jimeng-api and kin), pixels (jimeng-free-api)"))
    concurrency: int = setting(
        2, Message("tasks at the gateway at once; 1 or 2 an account are wise; 0 lifts the limit")
    )
    poll: float = setting(2.0, Message("shortest time between two status queries, where the gateway gives task ids"))
    timeout: float = setting(2000.0, Message("time limit of a task in seconds; a gateway itself waits up to 1800"))

    environment: ClassVar[Mapping[str, str]] = {"api_key": "JIMENG_SESSION_ID"}


class Jimeng(common.HttpProvider[Settings]):
    """Gateways whose pictures come in the one long answer to the submit: a disconnect loses them.

    The gateway goes on then and the credits are spent, so a cancel stops nothing.
    """

    kind = "jimeng"
    title = Message("即梦 / Dreamina gateways: jimeng-api, jimeng-free-api and kin (self-hosted)")
    is_synchronous = True
    notice = Message(
        "jimeng: where the gateway gives no task id, a lost connection or a cancel loses the pictures, not the cost"
    )

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._base = self._base.removesuffix("/v1")
        self._ids = tuple(part.strip() for part in settings.api_key.reveal().split(",") if part.strip())
        for id_ in self._ids:  # some gateways repeat an id without the region before it
            hide(re.split(r"(?:^|@)(?:us|hk|jp|sg)-", id_)[-1])
        self._keys = {id_: common.Key(Secret(id_), self._base, prefix="Bearer ") for id_ in (*self._ids, "")}
        self._left_out: set[str] = set()
        self._turn = count()
        self._owners: dict[str, str] = {}
        self._listed: tuple[dict[str, Any], ...] | None = None

    def check(self, request: ImageRequest) -> None:
        rules.check([rules.choice("dialect", self._settings.dialect, MODELS)])
        self._shape(request)
        rules.check(self._rules(request))
        examined(request.references, formats=ANY_FORMAT)
        rules.options(request, EXTRAS[self._settings.dialect], Message("this gateway"))

    def model_for_version(self, version: str) -> str | None:
        return _name(version) if version in VERSIONS.get(self._settings.dialect, ()) else None

    def max_images(self, request: ImageRequest) -> int | None:
        return None if request.references else self.expected_images(request)

    def expected_images(self, request: ImageRequest) -> int:
        """Four, or the number that the prompt of a 4.x model names; from references the gateways promise only one."""
        if request.references:
            return 1
        several = SEVERAL.search(request.prompt)
        drawing = self._model(request) or MODELS.get(self._settings.dialect, "")
        if several is None or not _version(drawing).startswith("4"):
            return PICTURES
        return max(1, min(int(several[1][:3]), MAX_PICTURES))

    # Questions

    async def models(self) -> tuple[str, ...]:
        """The listed models; where only the name of the family is listed, those that the dialect draws with."""
        listed = _drawing(await self._list())
        return listed or self._known()

    async def balance(self) -> Balance | None:
        """The sum over all session ids. Each is queried alone: one dead id makes a query about all of them fail.

        Only the numbers of an answer are passed on, because the answer repeats the ids.
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
            raise self._all_refused(dead)
        return self._summed(totals, dead)

    async def _points(self, session: str) -> Answer | None:
        """None where the gateway has no such route."""
        answer = await self._reach("POST", "token/points", session, json={})
        if self._lacks_route(answer):
            return None
        self._refuse(answer, paid=False)
        return answer

    def _summed(self, totals: Mapping[str, float | None], dead: Mapping[str, TaskError]) -> Balance:
        """The sum over the accounts; the note names an account that cannot be used by its number."""
        known = [total for total in totals.values() if total is not None]
        if not known:
            note = joined("; ", (*self._errors_of(dead), Message("the gateway does not name the credits")))
            return Balance(None, note=note, troubled=bool(dead))
        of_all = Message("{count} of {total} accounts").format(count=len(known), total=len(self._ids))
        notes: list[str] = [of_all] if len(self._ids) > 1 else []
        notes += self._errors_of(dead)
        empty = [id_ for id_, total in totals.items() if total == 0 and len(self._ids) > 1]
        notes += [Message("{session} has no credits").format(session=self._numbered(id_)) for id_ in empty]
        return Balance(sum(known), note=joined("; ", notes), troubled=bool(dead))

    def _errors_of(self, sessions: Mapping[str, TaskError]) -> list[str]:
        return [
            Message("{session}: {error}").format(session=self._numbered(id_), error=error.message)
            for id_, error in sessions.items()
        ]

    def _numbered(self, session: str) -> str:
        """The name of a session id in messages, which never hold the id itself."""
        return Message("session id {number} of {count}").format(
            number=self._ids.index(session) + 1, count=len(self._ids)
        )

    async def _of_pool(self) -> Balance:
        """No balance; the query proves the key, because the list of models of this gateway needs none."""
        answer = await self._reach("GET", f"v1/tasks/{NO_TASK}", self._session())
        if answer.status != HTTPStatus.NOT_FOUND:  # the answer about a task that it does not know
            self._refuse(answer, paid=False)
        return Balance(None, note=Message("this gateway does not name the credits of its accounts"))

    async def _list(self) -> tuple[dict[str, Any], ...]:
        """The models that the gateway lists."""
        body = common.table((await self._ask("GET", "v1/models", self._session())).body)
        self._listed = tuple(common.tables(body.get("data")))
        return self._listed

    async def _once_listed(self) -> tuple[dict[str, Any], ...]:
        """The listed models, queried once; nothing where the gateway lists none: then only the dialect counts."""
        if self._listed is None:
            try:
                return await self._list()
            except TaskError as error:
                if isinstance(error, SlowDown) or type(error) is Unavailable:
                    raise  # the gateway cannot be reached, or not now: a request would fail in the same way
                return ()
        return self._listed

    def _known(self) -> tuple[str, ...]:
        """The names of the models that gateways of this dialect draw with."""
        dialect = self._settings.dialect
        abroad = dialect == "ratio" and any(_region(id_) for id_ in self._ids)
        return (*map(_name, VERSIONS.get(dialect, ())), *(ABROAD if abroad else ()))

    # Sending

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        del client_job  # the gateways take no ids of ours
        self.check(request)
        listed = await self._once_listed() if self._model(request) or request.references else ()
        fields = self._fields(request, self._listed_model(request, listed))
        takes_one = any(name.startswith(f"{FAMILY}-image-") for name in _drawing(listed))
        refused: dict[str, TaskError] = {}
        while True:
            session = self._session(refused)
            try:
                answer = await self._generate(request, fields, session, takes_one=takes_one)
                self._refuse(answer, paid=True)
            except (Unauthorized, OutOfCredits) as error:
                self._leave_out(session, error, refused, report)
                continue
            return self._accepted(answer, session, common.facts(model=fields.get("model")))

    def _leave_out(self, session: str, error: TaskError, refused: dict[str, TaskError], report: Report) -> None:
        """Note that an account is empty or logged out. It refused before any work, so the next account may be tried.

        Raises the error where this was the last account, or where the refusal may have come after some work.
        """
        self._left_out.add(session)
        refused[session] = error
        if not error.unspent:
            raise error
        if len(refused) >= len(self._ids):
            raise self._all_refused(refused)
        report(
            Working(
                note=Message("{session} is left out: {message}").format(
                    session=self._numbered(session), message=error.message
                )
            )
        )

    def _all_refused(self, refused: Mapping[str, TaskError]) -> TaskError:
        """The error where every account refused, with the message of each under its number."""
        last = list(refused.values())[-1]
        if len(self._ids) > 1:
            last = type(last)(joined("; ", self._errors_of(refused)), hint=last.hint)
        return last.as_unspent()

    async def _generate(
        self, request: ImageRequest, fields: dict[str, Any], session: str, *, takes_one: bool
    ) -> Answer:
        options: dict[str, Any] = {}
        route, references = "compositions" if request.references else "generations", request.references
        if references and takes_one:
            if len(references) > 1:
                raise BadRequest(
                    Message("this gateway takes one reference picture, not {count}").format(count=len(references))
                )
            picture = referred(references[0], formats=ANY_FORMAT)
            route, options["json"] = "generations", fields | {"filePath": picture}
        elif references and not is_remote(references[0]):
            form = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in fields.items()}
            options |= {"data": form, "files": _files(references)}
        else:
            options["json"] = fields | ({"images": list(references)} if references else {})
        return await self._reach("POST", f"v1/images/{route}", session, paid=True, **options)

    async def _ask(self, method: str, path: str, session: str) -> Answer:
        """The answer to a query. A path that does not exist says nothing about a task."""
        answer = await self._reach(method, path, session)
        if answer.status in (*NO_ROUTES, *GONE) or self._lacks_route(answer):
            raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint=BASE_URL_HINT)
        self._refuse(answer, paid=False)
        return answer

    async def _reach(self, method: str, path: str, session: str, *, paid: bool = False, **options: Any) -> Answer:
        """Any answer, sent with one session id."""
        url = f"{self._base}/{path}"
        return await self._send(method, url, paid=paid, auth=self._keys[session].bound_for(url), **options)

    def _session(self, refused: Collection[str] = ()) -> str:
        """The next session id in turn; empty where there is none, for gateways that have one of their own."""
        here = [id_ for id_ in self._ids if id_ not in refused]
        living = [id_ for id_ in here if id_ not in self._left_out] or here
        return living[next(self._turn) % len(living)] if living else ""

    def _fields(self, request: ImageRequest, model: str) -> dict[str, Any]:
        """Without a model in the request none is sent: the gateway's own choice is one that it has."""
        extra = request.extra
        fields: dict[str, Any] = {"model": model} if model else {}
        fields |= {"prompt": request.prompt, **self._shape(request)}
        fields["response_format"] = extra.get("response_format", "url")
        if request.negative:
            fields["negative_prompt"] = request.negative
        if "sample_strength" in extra:
            fields["sample_strength"] = float(extra["sample_strength"])
        if "intelligent_ratio" in extra:
            fields["intelligent_ratio"] = extra["intelligent_ratio"] == "true"
        return fields

    def _listed_model(self, request: ImageRequest, listed: tuple[dict[str, Any], ...]) -> str:
        """The gateway's own name for the model; empty where the gateway is to choose.

        Raises BadRequest where the gateway would silently draw with another one.
        """
        wanted = self._model(request)
        if not wanted:
            return ""
        names = _drawing(listed) or self._known()
        same = [name for name in names if _version(name) == _version(wanted)]
        if not same:
            known = ", ".join(names)
            rule = Message("this gateway has no model {wanted} and would draw with another one; it has {known}").format(
                wanted=rules.shown(wanted), known=known
            )
            raise BadRequest(rule, hint=MODELS_HINT)
        return wanted if wanted in same else min(same, key=len)

    def _shape(self, request: ImageRequest) -> dict[str, Any]:
        """The fields of ratio and size in this dialect; none where neither is asked for. Raises BadRequest."""
        dialect = self._settings.dialect
        rules.check([rules.size_or_ratio(request)])
        if rules.is_sized(request):
            return _sized(request.width or 0, request.height or 0, dialect)
        if not request.ratio and not request.resolution:
            return {}
        ratio, resolution = request.ratio or "1:1", request.resolution.lower()
        known = RESOLUTIONS[dialect]
        rules.check([rules.one_of("ratio", ratio, SIZES, Message("this gateway"))])
        rules.check([rules.one_of("resolution", resolution, known, Message("this gateway"))])
        if dialect == "ratio":
            return {"ratio": ratio, "resolution": resolution or "2k"}
        width, height = SIZES[ratio][known.index(resolution or "1k")]
        return {"width": width, "height": height}

    def _rules(self, request: ImageRequest) -> Iterator[rules.Rule]:
        yield from rules.prompt(request)
        yield rules.has_seed(request), Message("these gateways take no seed: leave it out")
        made, number = self.expected_images(request), request.count
        always = Message(
            "these gateways take no count and make {made} pictures for this prompt: leave --count away"
        ).format(made=made)
        yield not request.references and number not in (None, made), always
        decides = Message("from references the gateway decides how many pictures it makes: leave --count away")
        yield bool(request.references) and number not in (None, 1), decides
        yield from _rules_of_extra(request)
        pixels = self._settings.dialect == "pixels"
        yield (
            pixels and bool(request.references),
            Message("jimeng-free-api makes pictures from text alone: leave references out"),
        )
        yield from _rules_of_references(request)

    # What comes back

    def _accepted(self, answer: Answer, session: str, facts: Facts) -> Accepted | Ready:
        body = common.table(answer.body)
        task_id, of_pool = common.text_or_number(body.get("task_id")), common.text_or_number(body.get("id"))
        if task_id:
            self._owners[task_id] = session
            return Accepted(Job(task_id), facts, common.credits_told(body))
        if of_pool and (body.get("object") == "task" or "result_url" in body):
            self._owners[of_pool] = session
            job = Job(of_pool, f"/v1/tasks/{quote(of_pool, safe='')}")
            return Accepted(job, facts, common.credits_told(body))
        if not isinstance(body.get("data", ""), list | None):
            raise common.unknown_form(paid=True)
        return replace(self._ready(body["data"], body), facts={**facts, **common.facts(model=body.get("model"))})

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        """A task is known under the session id of its submit only; after a restart every id is tried.

        A receipt with an address is of the gateway that has tasks of its own. The query's address is built from our
        own base_url, because the session id goes with it.
        """
        owner = self._owners.get(job.id)
        trouble: TaskError = ServerTrouble(
            Message("the gateway does not find this task: {unknown_task}").format(unknown_task=UNKNOWN_TASK)
        )
        for session in (owner,) if owner is not None else self._ids or ("",):
            try:
                body = await self._task(job, session)
            except (Unauthorized, Expired) as error:
                if error.final:
                    raise
                trouble = error
                continue
            if body is not None:
                common.about(job.id, body.get("id" if job.url else "taskId"))
                self._owners[job.id] = session
                return self._reply(body)
        # Never final: the gateway gives the same answer where its own query failed, and the task is paid for.
        raise trouble

    async def _task(self, job: Job, session: str) -> dict[str, Any] | None:
        """The gateway's record of a task; None where this session id has no such task."""
        number = quote(job.id, safe="")
        if not job.url:
            answer = await self._ask("GET", f"v1/images/tasks/{number}", session)
        else:
            answer = await self._reach("GET", f"v1/tasks/{number}", session)
            if _error(answer.body).get("code") == "task_not_found":
                raise Expired(Message("the gateway does not know this task, or not under this key"))
            if answer.status in NO_ROUTES:
                raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint=BASE_URL_HINT)
            self._refuse(answer, paid=False)
        body = common.table(answer.body)
        return None if common.text_or_number(body.get("error")) == UNKNOWN_TASK else body

    def _reply(self, body: dict[str, Any]) -> Working | Ready:
        status, result = common.text_or_number(body.get("status")), common.table(body.get("result"))
        if status == "completed":
            return self._ready(body.get("images"), body)
        if status == "succeeded":
            return replace(self._ready(result.get("data"), body), facts=common.facts(model=result.get("model")))
        if status == "failed" and isinstance(body.get("error"), dict):
            raise self._failure(body["error"]).as_final().as_billed(common.credits_told(body))
        if status == "failed":
            message = common.text_or_number(body.get("error"))
            if message.startswith(FAILED_FOR_GOOD):
                raise _failed(message).as_final().as_billed(common.credits_told(body))
            raise ServerTrouble(
                Message("the gateway's own query of the task failed: {message}").format(
                    message=message or Message("no reason given")
                )
            )
        if not status:
            raise common.unknown_form(paid=False)
        fraction = common.fraction(body.get("progress"), 100) or None  # 0 stands for "not known"
        return Working(fraction=fraction, note="" if status in ORDINARY else status)

    def _failure(self, error: dict[str, Any]) -> TaskError:
        """Why a task failed, by the error of the gateway that has tasks of its own."""
        message = common.text_or_number(error.get("message")) or Message("the gateway gave no reason")
        code, kind = common.text_or_number(error.get("code")), common.text_or_number(error.get("type"))
        if re.fullmatch(r"-[0-9]{1,6}", code):
            outer = OUTER.get(int(code))
            return (
                outer(Message("{message} (code {code})").format(message=message, code=code))
                if outer
                else _failed(message)
            )
        if any(word in f"{code} {kind}" for word in FORBIDDEN):
            return Moderated(message)
        return OutOfCredits(message) if code == "insufficient_quota" else _failed(message)

    def _lacks_route(self, answer: Answer) -> bool:
        """Whether the gateway has no such path: it answers with HTTP 200, 500 or 404, and with one of two codes."""
        code = _code(answer)
        if code is None:
            return answer.status in NO_ROUTES
        return code == NO_ROUTE or NO_ROUTE_WORDS in message_in(answer)

    def _refuse(self, answer: Answer, *, paid: bool) -> None:
        """Raise what an answer without pictures means, whether a code at HTTP 200 says it or a status."""
        message, code = message_in(answer), _code(answer)
        refused = NO_ROUTE_WORDS in message and (answer.is_error or code is not None)
        if paid and (refused or answer.status in NO_ROUTES):
            said = message or Message("no such route")
            raise BadRequest(
                Message("{message} (HTTP {status})").format(message=said, status=answer.status), hint=BASE_URL_HINT
            )
        if code is not None and code < 0:
            raise _by_code(code, message, paid=paid)
        if answer.is_error:
            self._refuse_by_message(answer, message)
        refuse(answer, paid=paid, message=message)

    def _refuse_by_message(self, answer: Answer, message: str) -> None:
        """Raise where the message, or the type of the error, says more than the status does."""
        error, text = _error(answer.body), f"HTTP {answer.status}: {message}"
        kind = f"{common.text_or_number(error.get('code'))} {common.text_or_number(error.get('type'))}"
        if any(word in kind for word in FORBIDDEN):
            raise Moderated(text)
        if "unsupported_model" in kind:
            raise BadRequest(text, hint=MODELS_HINT)
        found = _chinese_words.meaning(_inner(message), message)
        if found is not None and not (answer.body is None and issubclass(found.kind, SlowDown)):
            raise _unspent(found.error(text))

    def _ready(self, data: Any, body: Mapping[str, Any]) -> Ready:
        """The pictures of `data`, and what the whole answer tells of their cost."""
        cost = common.credits_told(body)
        found = [self._image(item) for item in common.items(data)]
        images = tuple(image for image in found if image is not None)
        if not images:
            nothing = GenerationFailed(Message("the gateway is done, but sent no pictures; the credits may be spent"))
            raise nothing.as_charged().as_billed(cost)
        return Ready(images, note=common.lost_note(len(found) - len(images), len(found)), cost=cost)

    def _image(self, item: Any) -> Image | None:
        url, data = (item.get("url"), item.get("b64_json")) if isinstance(item, dict) else (item, None)
        return common.better(common.inline(data), common.remote(url, self._base))


def _sized(width: int, height: int, dialect: str) -> dict[str, Any]:
    if dialect == "pixels":
        return {"width": width, "height": height}
    ratio = AT_2K.get((width, height))
    if ratio is None:
        known = rules.sizes_in_words(AT_2K)
        raise BadRequest(
            Message(
                "this gateway takes a ratio and a resolution; of sizes it has {known}, not {width}x{height}"
            ).format(known=known, width=width, height=height)
        )
    return {"ratio": ratio, "resolution": "2k"}


def _rules_of_extra(request: ImageRequest) -> Iterator[rules.Rule]:
    extra = request.extra
    yield rules.number("sample_strength", extra.get("sample_strength", "0.5"), 0, 1)
    clever = extra.get("intelligent_ratio", "false")
    yield rules.switch("intelligent_ratio", clever)
    fixed = bool(request.ratio) or request.width is not None
    yield clever == "true" and fixed, Message("with intelligent_ratio the model chooses the ratio: leave it out")
    yield rules.choice("response_format", extra.get("response_format", "url"), FORMATS)


def _rules_of_references(request: ImageRequest) -> Iterator[rules.Rule]:
    references = request.references
    yield from rules.references(request, MAX_REFERENCES, Message("this gateway"))
    both = Message("reference pictures are either all files or all addresses, not both")
    yield len(set(map(is_remote, references))) > 1, both


def _files(references: tuple[str, ...]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Form fields with files under names of ours."""
    numbered = enumerate(references, 1)
    return [("images", form_file(str(number), reference, formats=ANY_FORMAT)) for number, reference in numbered]


def _code(answer: Answer) -> int | None:
    code = common.table(answer.body).get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _error(body: Any) -> dict[str, Any]:
    return common.table(common.table(body).get("error"))


def _inner(message: str) -> str:
    """The code of the service behind the gateway; empty where the gateway does not pass it on."""
    code = INNER_CODE.search(message)
    return code[1] if code else ""


def _by_code(code: int, message: str, *, paid: bool) -> TaskError:
    """What the gateway's own code means, together with the code or the message of the service behind it."""
    said = message or Message("the gateway gave no reason")
    text = Message("{message} (code {code})").format(message=said, code=code)
    if code in MADE_NOTHING:
        return _failed(message, text)
    outer, found = OUTER.get(code), _chinese_words.meaning(_inner(message), message)
    if outer is not None and (found is None or (found.kind is not outer and found is not _chinese_words.LOGGED_OUT)):
        return _unspent(outer(text, hint=BASE_URL_HINT if code == NO_ROUTE else ""))
    if found is not None:
        return _unspent(found.error(text))
    if _inner(message):
        return GenerationFailed(text)  # a code of the service behind is its refusal, even one that is not known here
    return Uncertain(joined("; ", (text, common.CHARGED))) if paid else ServerTrouble(text)


def _failed(message: str, text: str = "") -> TaskError:
    """Why work failed that had been begun."""
    return _chinese_words.failed(_inner(message), message, text)


def _unspent(error: TaskError) -> TaskError:
    return error.as_unspent() if isinstance(error, Unauthorized | OutOfCredits) else error


def _name(version: str) -> str:
    """The name of a model in jimeng-api and jimeng-free-api."""
    return f"{FAMILY}-{version.replace('2.0p', '2.0-pro')}"


def _version(name: str) -> str:
    """The same text for all names of one model: 5.0, jimeng-5.0 and jimeng-image-5.0-lite are one model."""
    bare = name.lower().removeprefix(f"{FAMILY}-").removeprefix("image-").removesuffix("-lite")
    return re.sub(r"^([0-9]\.[0-9])p$", r"\1-pro", bare)


def _drawing(listed: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The names of models that draw pictures, without the name of the family."""
    found = [common.text_or_number(item.get("id")) for item in listed if item.get("type") != "video"]
    return tuple(dict.fromkeys(name for name in found if name and name != FAMILY and "video" not in name))


def _is_pool(listed: Iterable[dict[str, Any]]) -> bool:
    return any(item.get("owned_by") == OF_POOL for item in listed)


def _region(session: str) -> str:
    found = re.search(r"(?:^|@)(us|hk|jp|sg)-", session)
    return found[1] if found else ""


def _total(answer: Answer) -> float | None:
    entry = common.table(next(iter(common.items(answer.body)), None))
    total = common.number(common.table(entry.get("points")).get("totalCredit"), MAX_CREDITS)
    return total if total is not None and total >= 0 else None


PROVIDER: type[Provider[Any]] = Jimeng
