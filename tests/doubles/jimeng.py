"""The OpenAI-style gateways to 即梦, as far as their clients can see them. From the checkout's root:

    python -m tests.doubles.jimeng --port 5100 --seconds 3 --dialect ratio

Words in the prompt steer what becomes of it:

    #forbidden #text  fails for moderation: -2007 with an inner 2038; -2006
    #fail             -2007 without an inner code
    #credits #poor    no credits: -2001 with an inner 1006; -2009
    #login            -2002, the session has expired
    #system           -1000 after the work was paid for
    #none #null       finishes with data: [] and data: null
    #partial          has two pictures of four
    #relative         gives addresses without a host; #broken one that is none
    #slow #never      takes ten times as long; never ends
    #limit            the first try is answered 429, the second goes well
    #crowd            the first try finds too many tasks at once (ret 1310), the second goes well
    #quota            429 with daily_quota_exceeded
    #lost             accepted, and not answered at all

and, for tasks of the asynchronous gateway, which knows them only under the session id of their submit:

    #odd              says an unknown word while it runs
    #hiccup           tells every second query of its own that failed as “failed”
    #blocked #bad     fails for moderation; with a code

Every failure of the others comes at HTTP 200 with a negative code. `dialect` is ratio (iptag/jimeng-api: refuses width
and height), pixels (LLM-Red-Team/jimeng-free-api: no compositions), lite (zhizinan1997/jimeng-free-api-all: models of
other names, one reference as filePath), tasks (gracie007-cloud/dreamina-api: asynchronous, real HTTP statuses, takes
JSON only) or pool (f3liiix/jimeng2api: asynchronous in another form, keys of its own before a pool of accounts).

Each draws with its default where it does not know a model, and says nothing of it; `job.notes["model"]` has the truth.
"""

import argparse
import asyncio
import re
import threading
from base64 import b64encode
from typing import Any
from uuid import uuid4

from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "jm-0123456789abcdef"
"""A key of the gateway that has keys of its own."""
SESSIONS = ("0123456789abcdef0123456789abcdef", "us-fedcba9876543210fedcba9876543210")
PICTURES = 4

VIDEOS = ("jimeng-video-3.0", "jimeng-video-3.0-pro", "jimeng-video-2.0", "jimeng-video-2.0-pro")
RATIO = ("jimeng-5.0", "jimeng-4.6", "jimeng-4.5", "jimeng-4.1", "jimeng-4.0", "jimeng-3.1", "jimeng-3.0")
LITE = ("5.0-lite", "4.7", "4.6", "4.5", "4.1", "4.0", "3.1", "3.0", "2.0-pro")
LISTED: dict[str, tuple[str, ...]] = {
    "ratio": ("jimeng", *VIDEOS),
    "pixels": ("jimeng",),
    "lite": (*(f"jimeng-image-{version}" for version in LITE), "jimeng-video-3.0"),
    "tasks": ("jimeng-4.5", "jimeng-3.0", "jimeng-video-3.0"),
    "pool": (*RATIO, *VIDEOS, "nanobanana", "nanobananapro"),
}
DRAWS: dict[str, tuple[str, ...]] = {
    "ratio": ("jimeng-4.5", *RATIO),
    "pixels": tuple(f"jimeng-{version}" for version in ("3.0", "2.1", "2.0-pro", "2.0", "1.4", "xl-pro")),
    "lite": tuple(f"jimeng-image-{version}" for version in LITE),
    "tasks": ("jimeng-4.5", "jimeng-3.0"),
    "pool": ("jimeng-4.5", *RATIO, "nanobanana", "nanobananapro"),
}
"""Dialect -> the models that it draws with; the first is its default."""
CROWD = "ExceedConcurrencyLimit (错误码: 1310)"

FAILURES: dict[str, tuple[int, str]] = {
    "forbidden": (-2007, "[图像生成失败]: 图像生成失败，状态码: 30，错误码: 2038"),
    "text": (-2006, "[内容违规]: content filtered"),
    "fail": (-2007, "[图像生成失败]: 记录不存在"),
    "credits": (-2001, "[请求失败]: Not enough credits (错误码: 1006)"),
    "poor": (-2009, "[积分不足]: 即梦积分可能不足"),
    "login": (-2002, "[登录失效]: login error"),
    "system": (-1000, "Cannot read properties of undefined (reading 'status')"),
}
BLOCKED = {"blocked": "内容由于合规问题已被阻止生成", "bad": "生成失败，错误代码: 1017"}


class JimengGateway(Service):
    """Kinds for `fail` and `counts`: submit, query, download, points, models."""

    def __init__(self, *, dialect: str = "ratio", **options: Any) -> None:
        super().__init__(**options)
        self.dialect = dialect
        self.credits = dict.fromkeys(SESSIONS, 66)
        """Session id -> credits; one that is not in here is not logged in, one at 0 cannot pay."""
        self.stuck = threading.Event()
        """Set as soon as a #never is submitted."""
        self.credit_count: int | None = None
        """What a task of the pool costs, in its answer; no known gateway tells it. A failure costs nothing."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        path = request.path
        if path.startswith(("/v1/images/generations", "/v1/images/compositions")):
            return "submit"
        kinds = {"/v1/images/tasks/": "query", "/v1/tasks/": "query", "/token/points": "points", "/v1/models": "models"}
        return next((kind for start, kind in kinds.items() if path.startswith(start)), super().kind(request))

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        sessions = request.headers.get("authorization", "").removeprefix("Bearer ").split(",")
        tasks = self.dialect == "tasks"
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "images", "generations"]:
                return await self._submit(request, sessions[0])
            case "POST", ["v1", "images", "compositions"] if self.dialect not in ("pixels", "lite"):
                return await self._submit(request, sessions[0])
            case "GET", ["v1", "images", "tasks", job_id] if tasks:
                return self._task(job_id, sessions[0])
            case "GET", ["v1", "tasks", job_id] if self.dialect == "pool":
                return self._pool_task(job_id, sessions[0])
            case "GET", ["v1", "models"]:
                return self._models()
            case "POST", ["token", "points"] if not tasks:
                return self._points(sessions)
            case _:
                return self._no_route(request)

    def _models(self) -> Reply:
        owner = "jimeng2api" if self.dialect == "pool" else "jimeng-api"
        items: list[dict[str, Any]] = [
            {"id": id_, "object": "model", "owned_by": owner} for id_ in LISTED[self.dialect]
        ]
        for item in items if self.dialect == "pool" else ():
            item |= {"type": "video" if "video" in item["id"] else "image", "regions": ["CN"]}
        return Reply.json({"data": items})

    def _no_route(self, request: Request) -> Reply:
        message = f"[请求有误]: 请检查API文档确认正确的请求路径，当前请求为 {request.method} -> {request.path} 请纠正"
        if self.dialect == "tasks":
            return real_error(404, "Not Found")
        return typed_error(404, message, "api_error", -1002) if self.dialect == "pool" else failure(-1000, message)

    # Submits

    async def _submit(self, request: Request, session: str) -> Reply:
        payload = self._read(request)
        if isinstance(payload, Reply):
            return payload
        if (refused := self._checked(payload, session)) is not None:
            return refused
        tags = tags_in(payload)
        if "limit" in tags and payload["prompt"] not in self._limited:
            self._limited.add(payload["prompt"])
            return Reply.json({"error": {"message": "too fast", "type": "rate_limit_error"}}, 429, retry_after="0")
        if "quota" in tags:
            code = "daily_quota_exceeded"
            return Reply.json(
                {"error": {"message": f"daily limit ({code})", "type": "rate_limit_error", "code": code}}, 429
            )
        if "crowd" in tags and payload["prompt"] not in self._limited and self.dialect != "pool":
            self._limited.add(payload["prompt"])
            return self._refusal(-2001, f"[请求失败]: {CROWD}", 500)
        job = self.add_job(uuid4().hex, payload)
        job.notes["session"] = session
        known = DRAWS[self.dialect]
        job.notes["model"] = payload["model"] if payload.get("model") in known else known[0]
        return self._accepted(job) if self.dialect in ("tasks", "pool") else await self._waited(job)

    def _read(self, request: Request) -> dict[str, Any] | Reply:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            payload: dict[str, Any] = request.json()
            return payload
        if self.dialect == "tasks":
            return real_error(500, "Unexpected token '-', is not valid JSON")
        files = [part for part in request.parts() if part.filename is not None and part.name == "images"]
        return request.form() | {"images": files}

    def _checked(self, payload: dict[str, Any], session: str) -> Reply | None:
        """Before anything is paid."""
        check = self._checked_by_pool if self.dialect == "pool" else self._checked_by_session
        return check(payload, session)

    def _checked_by_session(self, payload: dict[str, Any], session: str) -> Reply | None:
        if not session:
            return self._refusal(-2000, "Params headers.authorization invalid", 401)
        if not isinstance(payload.get("prompt"), str):
            return self._refusal(-2000, "Params body.prompt invalid", 400)
        if self.dialect == "ratio" and payload.keys() & {"size", "width", "height"}:
            return failure(-1000, "不支持的参数: width, height。请使用 ratio 和 resolution 参数控制图像尺寸。")
        if session not in self.credits:
            return self._refusal(-2002, "[登录失效]: login error", 500, 1015)
        if self.credits[session] <= 0:
            return self._refusal(-2001, "[请求失败]: Not enough credits (错误码: 1006)", 500, 1006)
        return None

    def _checked_by_pool(self, payload: dict[str, Any], session: str) -> Reply | None:
        if not isinstance(payload.get("prompt"), str):
            return typed_error(400, "Params body.prompt invalid", "invalid_request_error", "invalid_request")
        if session != KEY:
            return typed_error(401, "API Key 无效或已被停用", "authentication_error", "invalid_api_key")
        if "model" in payload and payload["model"] not in DRAWS["pool"]:
            return typed_error(
                400, f'Unsupported image model "{payload["model"]}"', "invalid_request_error", "unsupported_model"
            )
        if "blocked" in tags_in(payload):
            return typed_error(403, "内容由于合规问题已被阻止生成", "content_policy_error", "content_filtered")
        return None

    def _refusal(self, code: int, text: str, status: int, inner: int | None = None) -> Reply:
        if self.dialect != "tasks":
            return failure(code, text)
        return real_error(status, f"API错误 [{inner}]: {text}" if inner else text)

    async def _waited(self, job: Job) -> Reply:
        """The answer comes when the pictures are there, or never."""
        tags = tags_in(job.payload)
        if "never" in tags:
            self.stuck.set()
            await asyncio.Event().wait()
        await asyncio.sleep(job.seconds * (10 if "slow" in tags else 1))
        failed = next((FAILURES[tag] for tag in tags if tag in FAILURES), None)
        self.end_job(job, "failed" if failed else "done")
        if failed:
            return failure(*failed)
        if "null" in tags:
            return Reply.json({"created": 1_700_000_000, "data": None})
        reply = Reply.json({"created": 1_700_000_000, "data": self._data(job)})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _data(self, job: Job) -> list[dict[str, str]]:
        if job.payload.get("response_format") == "b64_json":
            pictures = [self.pictures.make(job.id, index) for index in range(1, PICTURES + 1)]
            return [{"b64_json": b64encode(picture).decode()} for picture in pictures]
        return [{"url": link} for link in self._links(job)]

    def _links(self, job: Job) -> list[str]:
        tags = tags_in(job.payload)
        number = 0 if "none" in tags else 2 if "partial" in tags else PICTURES
        links = [self.file_url(job.id, index) for index in range(1, number + 1)]
        if "relative" in tags:
            return [link.removeprefix(self.url) for link in links]
        return [*links[:-1], "undefined:"] if "broken" in tags else links

    # The asynchronous gateways

    def _accepted(self, job: Job) -> Reply:
        if self.dialect == "pool":
            reply = Reply.json(self._job_object(job, "queued"))
            reply.fault = Fault.CLOSE_AFTER if "lost" in tags_in(job.payload) else None
            return reply
        message = "任务已提交，请通过 GET /v1/images/tasks/{task_id} 查询状态"
        reply = Reply.json({"task_id": job.id, "submit_id": str(uuid4()), "status": "pending", "message": message})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags_in(job.payload) else None
        return reply

    def _task(self, job_id: str, session: str) -> Reply:
        job = self.jobs.get(job_id)
        if job is None or job.notes["session"] != session:
            return Reply.json({"taskId": job_id, "status": "failed", "error": "任务不存在"})
        job.polls += 1
        tags = tags_in(job.payload)
        if "hiccup" in tags and job.polls % 2 == 1:
            return Reply.json({"taskId": job_id, "status": "failed", "error": "fetch failed"})
        if not job.ripe or tags & {"never", "odd"}:
            word = "daydreaming" if "odd" in tags else "pending" if job.polls == 1 else "processing"
            return Reply.json({"taskId": job_id, "status": word, "progress": 0 if job.polls == 1 else 50})
        blocked = next((BLOCKED[tag] for tag in tags if tag in BLOCKED), None)
        self.end_job(job, "failed" if blocked else "done")
        if blocked:
            return Reply.json({"taskId": job_id, "status": "failed", "error": blocked})
        return Reply.json({"taskId": job_id, "status": "completed", "progress": 100, "images": self._links(job)})

    def _job_object(self, job: Job, status: str) -> dict[str, Any]:
        body = {"id": job.id, "object": "task", "type": "image_generation", "status": status}
        owned = {"result_url": f"/v1/tasks/{job.id}", "api_key_id": "1", "token_id": "1"}
        return body | {"created": 1, "updated": 2} | owned

    def _pool_task(self, job_id: str, key: str) -> Reply:
        if key != KEY:
            return typed_error(401, "API Key 无效或已被停用", "authentication_error", "invalid_api_key")
        job = self.jobs.get(job_id)
        if job is None:
            return typed_error(404, f"Task {job_id} not found", "invalid_request_error", "task_not_found")
        job.polls += 1
        tags = tags_in(job.payload)
        if not job.ripe or "never" in tags:
            return Reply.json(self._job_object(job, "queued" if job.polls == 1 else "running"))
        failures = FAILURES | {"crowd": (-2001, f"[请求失败]: {CROWD}")}
        failed = next((failures[tag] for tag in tags if tag in failures), None)
        self.end_job(job, "failed" if failed else "done")
        if failed:
            error = {"message": failed[1], "type": "api_error", "code": failed[0]}
            return Reply.json(self._job_object(job, "failed") | {"error": error})
        cost = {} if self.credit_count is None else {"credit_count": int(self.charge(job, self.credit_count))}
        return Reply.json(
            self._job_object(job, "succeeded") | cost | {"result": {"created": 1, "data": self._data(job)}}
        )

    def _points(self, sessions: list[str]) -> Reply:
        if any(session not in self.credits for session in sessions):
            return failure(-2002, "[登录失效]: login error")
        empty = {"giftCredit": 0, "purchaseCredit": 0, "vipCredit": 0}
        points = {session: empty | {"totalCredit": self.credits[session]} for session in sessions}
        return Reply.json([{"token": session, "points": one} for session, one in points.items()])


def tags_in(payload: dict[str, Any]) -> set[str]:
    return set(re.findall(r"#([a-z0-9-]+)", str(payload.get("prompt", ""))))


def failure(code: int, message: str) -> Reply:
    return Reply.json({"code": code, "message": message, "data": None})


def typed_error(status: int, message: str, kind: str, code: str | int) -> Reply:
    return Reply.json({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


def real_error(status: int, message: str) -> Reply:
    return Reply.json({"error": {"message": message, "type": "api_error", "code": status}}, status)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.jimeng", description="a gateway to 即梦, made up")
    parser.add_argument("--port", type=int, default=5100, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a task takes")
    parser.add_argument("--dialect", choices=tuple(LISTED), default="ratio")
    words = parser.parse_args()
    JimengGateway(port=words.port, seconds=words.seconds, dialect=words.dialect, polls=1).run()


if __name__ == "__main__":
    main()
