"""The origin's Flask server, as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.dreamina --port 5000 --seconds 3 --format png --size 1024

Words in a prompt steer what becomes of it, so that a person can try the tool:

    #now              finished in the answer to the submit
    #slow             takes ten times as long
    #held             takes until `release` is called
    #never            never finishes
    #queued           accepted as queued, under a history id (see `queued_resolves`)
    #fail             fails as forbidden (fail_code 2038)
    #1180 #1000 #30 #1002 #1015    fails with that code; #invalid fails with a text and no code
    #object           "completed", with a failure where the list of pictures should be
    #none #partial    finishes with no pictures; with two of four
    #items            pictures as {url} instead of texts; #relative gives addresses without a host
    #word             says an unknown word while it runs
    #flaky #dead      every second status query answers 500; every one does
    #500              the submit is refused with 500 and no reason
    #crash #lost      the submit is accepted, but answered with 500 and an exception's text; not answered at all
    #expired          links answer 404
    #broken-download  every download breaks off in the middle; #flaky-download only the first of each picture
    #html-download    links answer 200 with a web page; #stall-download sends half and then nothing

Attributes switch what holds for every task: `old`, `unknown_polls`, `queued_resolves`, `credit_known`.
"""

import argparse
import asyncio
import re
from typing import Any
from uuid import uuid4

from tests.doubles.http import HELD, Fault, Job, Pictures, Reply, Request, Service

NOT_FOUND = "任务不存在或生成失败"
RUNNING = "正在生成中..."
LONGEST_PROMPT = 1600
PICTURES = 4

FAILURES: dict[str, dict[str, str]] = {
    "fail": {"error": "提示词包含敏感内容，请修改后重试", "fail_code": "2038"},
    "1180": {"error": "提示词不符合规范，请修改后重试", "fail_code": "1180"},
    "1000": {"error": "参数错误，请检查设置", "fail_code": "1000"},
    "30": {"error": "任务生成失败", "fail_code": ""},
    "1002": {"error": "积分不足", "fail_code": "1002"},
    "1015": {"error": "login expired", "fail_code": "1015"},
    "invalid": {"error": "invalid parameter"},
}
BROKEN_FILES: dict[str, Fault] = {
    "broken-download": Fault.TRUNCATE,
    "flaky-download": Fault.TRUNCATE,
    "html-download": Fault.HTML,
    "stall-download": Fault.STALL_BODY,
}


class DreaminaServer(Service):
    """Kinds for `fail` and `counts`: submit, query, download, credit (all of /api/accounts), other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.old = False
        """Before c7afcf5: a running, a failed and an unknown task all get the answer NOT_FOUND."""
        self.unknown_polls = 0
        """The first so many status queries of a task are answered with NOT_FOUND."""
        self.queued_resolves = False
        """Whether the status route knows the history id that a #queued task was given."""
        self.credit_known = True
        """Otherwise the credit route answers with its made-up number."""
        self.sessions = {"0": "0123456789abcdef0123456789abcdef", "1": "fedcba9876543210fedcba9876543210"}
        self.active_account = "0"
        self.credit_count: int | None = None
        """What a task costs, in its answers; no known server tells it. A failure costs nothing."""
        self._given: set[str] = set()

    def kind(self, request: Request) -> str:
        path = request.path
        if path.startswith(("/api/generate/t2i", "/api/generate/i2i")):
            return "submit"
        kinds = {"/api/generate/status/": "query", "/api/accounts": "credit", "/api/proxy/image": "download"}
        return next((kind for start, kind in kinds.items() if path.startswith(start)), super().kind(request))

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["api", "health"]:
                return Reply.json({"status": "ok", "message": "Dreamina AI Web Server is running"})
            case "POST", ["api", "generate", "t2i"]:
                return self._text_to_image(request.json())
            case "POST", ["api", "generate", "i2i"]:
                return await self._image_to_image(request)
            case "GET", ["api", "generate", "status", *rest]:
                return self._status("/".join(rest))
            case "GET", ["api", "accounts"]:
                return self._accounts()
            case "GET", ["api", "accounts", account, "credit"]:
                return self._credit(account)
            case "GET", ["api", "proxy", "image"]:
                return await self._proxied(request.query.get("url", ""))
            case _:
                return refusal("接口不存在", 404)

    # Submits

    def _text_to_image(self, payload: dict[str, Any]) -> Reply:
        prompt, tags = payload.get("prompt") or "", tags_in(payload)
        if (refused := checked(prompt)) is not None:
            return refused
        if "500" in tags:
            return refusal("生成失败", 500)
        job = self._new_job(payload)
        if "crash" in tags:
            return refusal("'NoneType' object has no attribute 'get'", 500)
        reply = self._accepted(job)
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _new_job(self, payload: dict[str, Any]) -> Job:
        tags = tags_in(payload)
        seconds = HELD if "held" in tags else self.seconds * (10 if "slow" in tags else 1)
        job = self.add_job(str(uuid4()), payload, seconds=seconds)
        job.notes |= {"history": str(4_000_000_000_000 + len(self.jobs)), "account": self.active_account}
        return job

    def _accepted(self, job: Job) -> Reply:
        tags, history = tags_in(job.payload), job.notes["history"]
        if "object" in tags:
            self.end_job(job, "failed")
            images = {"failed": True, "fail_code": "2038", "fail_msg": "InputTextRisk"}
            return Reply.json({"success": True, "completed": True, "images": images, "historyId": history})
        if "now" in tags:
            self.end_job(job)
            return Reply.json({"success": True, "completed": True, "images": self._images(job), "historyId": history})
        if "queued" in tags:
            text = "📊 总队列长度：120人\n🔄 您的位置：第7位\n⏰ 预计等待时间：2分钟"
            return Reply.json({"success": True, "queued": True, "taskId": history, "message": text})
        return Reply.json({"success": True, "taskId": job.id, "message": "任务已提交，请等待生成"})

    async def _image_to_image(self, request: Request) -> Reply:
        """Answers when the pictures are there. Every failure after acceptance is an unpacking error's text."""
        form = request.form()
        if "params" not in form:
            return refusal("缺少参数", 400)
        payload = Request("", "", {}, form["params"].encode()).json()
        if (refused := checked(payload.get("prompt") or "")) is not None:
            return refused
        files = [part for part in request.parts() if part.filename is not None and part.name.startswith("image_")]
        if not files:
            return refusal("请至少上传一张参考图", 400)
        tags = tags_in(payload)
        if "500" in tags:
            return refusal("生成失败", 500)
        job = self._new_job(payload)
        job.notes["files"] = files
        await (asyncio.Event().wait() if "never" in tags else self.work(job))
        return self._blended(job)

    def _blended(self, job: Job) -> Reply:
        if tags_in(job.payload) & FAILURES.keys():
            self.end_job(job, "failed")
            return refusal("not enough values to unpack (expected 4, got 3)", 500)
        self.end_job(job)
        images = self._images(job)[: job.payload.get("numImages", PICTURES)]
        answer = {"success": True, "completed": True, "images": images, "historyId": job.notes["history"]}
        return Reply.json(answer | {"info": f"数量: {len(images)}"})

    # Status queries

    def _status(self, job_id: str) -> Reply:
        job = self._known(job_id)
        if job is None:
            return self._nothing()
        job.polls += 1
        tags = tags_in(job.payload)
        if "dead" in tags or ("flaky" in tags and job.polls % 2 == 0):
            return refusal("HTTPSConnectionPool: Read timed out.", 500)
        if job.polls <= self.unknown_polls:
            return Reply.json(not_found())
        if not job.ripe or "never" in tags:
            return self._nothing("status 47: 美化中" if "word" in tags else RUNNING)
        return self._ended(job)

    def _known(self, job_id: str) -> Job | None:
        if job_id in self.jobs:
            return self.jobs[job_id] if "queued" not in tags_in(self.jobs[job_id].payload) else None
        if not self.queued_resolves:
            return None
        return next((job for job in self.jobs.values() if job.notes["history"] == job_id), None)

    def _nothing(self, word: str = RUNNING) -> Reply:
        """The answer for a running and for an unknown task."""
        running = {"success": True, "completed": False, "failed": False, "message": word}
        return Reply.json(not_found() if self.old else running)

    def _ended(self, job: Job) -> Reply:
        failure = next((FAILURES[tag] for tag in tags_in(job.payload) if tag in FAILURES), None)
        if failure is not None:
            self.end_job(job, "failed")
            failed = {"success": True, "completed": False, "failed": True, **failure, **self._told(job, 0)}
            return Reply.json(not_found() if self.old else failed)
        self.end_job(job)
        images = self._images(job)
        return Reply.json({"success": True, "completed": True, "images": images, **self._told(job, self.credit_count)})

    def _told(self, job: Job, credit_count: int | None) -> dict[str, Any]:
        if credit_count is None or self.credit_count is None:
            return {}
        return {"credit_count": int(self.charge(job, credit_count))}

    def _images(self, job: Job) -> list[Any]:
        tags = tags_in(job.payload)
        number = 0 if "none" in tags else 2 if "partial" in tags else PICTURES
        links = [self.file_url(job.id, index) for index in range(1, number + 1)]
        if "relative" in tags:
            return [link.removeprefix(self.files_url or self.url) for link in links]
        return [{"url": link} for link in links] if "items" in tags else links

    # Files and accounts

    async def file(self, request: Request, job_id: str, index: int) -> Reply:
        tags = tags_in(self.jobs[job_id].payload) if job_id in self.jobs else {"expired"}
        if "expired" in tags:
            return refusal("接口不存在", 404)
        reply = await super().file(request, job_id, index)
        reply.fault = next((BROKEN_FILES[tag] for tag in tags if tag in BROKEN_FILES), None)
        if "flaky-download" in tags and request.path in self._given:
            reply.fault = None
        self._given.add(request.path)
        return reply

    async def _proxied(self, url: str) -> Reply:
        path = url.removeprefix(self.files_url or self.url)
        if not path.startswith("/files/"):
            return refusal("缺少图片URL", 400)
        job_id, index = path.split("/")[2:4]
        return await self.file(Request("GET", path, {}), job_id, int(index.partition(".")[0]))

    def _accounts(self) -> Reply:
        accounts = [
            {"id": account, "description": f"账号{int(account) + 1}", "sessionId": session[:20] + "..."}
            for account, session in self.sessions.items()
        ]
        return Reply.json({"success": True, "accounts": accounts})

    def _credit(self, account: str) -> Reply:
        """Asking switches the account that later submits use, as in the original."""
        if account in self.sessions:
            self.active_account = account
        total = 60 + 6 * int(self.active_account) if self.credit_known else 999999
        amounts = {"gift_credit": total, "purchase_credit": 0, "vip_credit": 0, "total_credit": total}
        lists: dict[str, Any] = {"expiring_credits": [], "credits_detail": {}}
        return Reply.json({"success": True, "credit": amounts | lists | {"is_free_period": not self.credit_known}})


def tags_in(payload: dict[str, Any]) -> set[str]:
    return set(re.findall(r"#([a-z0-9-]+)", str(payload.get("prompt", ""))))


def checked(prompt: str) -> Reply | None:
    if not prompt:
        return refusal("提示词不能为空", 400)
    return refusal("提示词长度不能超过1600个字符", 400) if len(prompt) > LONGEST_PROMPT else None


def refusal(message: str, status: int) -> Reply:
    return Reply.json({"success": False, "message": message}, status)


def not_found() -> dict[str, Any]:
    return {"success": True, "completed": False, "failed": True, "error": NOT_FOUND}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.dreamina", description="the origin's server, made up")
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a task takes")
    parser.add_argument("--polls", type=int, default=0, help="status queries that a task takes at least")
    parser.add_argument("--format", choices=("png", "jpeg", "webp"), default="png")
    parser.add_argument("--size", type=int, default=1024, help="pixels of a picture's side")
    parser.add_argument("--bytes", type=int, default=0, help="least size of a png or jpeg file")
    parser.add_argument("--old", action="store_true", help="tell running tasks as 任务不存在或生成失败")
    words = parser.parse_args()
    pictures = Pictures(words.format, (words.size, words.size), words.bytes)
    server = DreaminaServer(port=words.port, seconds=words.seconds, polls=words.polls, pictures=pictures)
    server.old = words.old
    server.run()


if __name__ == "__main__":
    main()
