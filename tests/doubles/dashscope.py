"""DashScope's image services, as far as their clients can see them. From the checkout's root:

    python -m tests.doubles.dashscope --port 8400 --seconds 3

Words in a prompt steer what becomes of it:

    #forbidden        the submit is refused: DataInspectionFailed
    #inspected        accepted, then FAILED with DataInspectionFailed
    #fail             accepted, then FAILED with InternalError.Algo
    #partial          SUCCEEDED with one picture fewer, whose entry has a code
    #spoiled          SUCCEEDED with an entry of a code for every picture
    #words            a finished answer that holds only text; #none one that holds nothing
    #suspended        says SUSPENDED while it runs; #odd an unknown word; #unknown UNKNOWN for ever
    #cancelled        CANCELED by another client
    #never            never finishes; #pending never begins, so that it can be cancelled
    #limit            the first try is answered 429 Throttling.RateQuota, the second goes well
    #quota #arrears   429 Throttling.AllocationQuota; 400 Arrearage
    #500 #lost        accepted, but answered with an internal error; not answered at all

A task that runs is PENDING for its first status query and RUNNING after it.
"""

import argparse
import asyncio
import re
import threading
from typing import Any
from uuid import uuid4

from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "sk-double-0123456789abcdef-secret"
ASYNCHRONOUS = ("text2image/image-synthesis", "image2image/image-synthesis", "image-generation/generation")
SYNCHRONOUS = ("multimodal-generation/generation",)
MODELS = ("wan", "qwen-image")

REFUSED: dict[str, tuple[int, str, str]] = {
    "forbidden": (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
    "quota": (429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
    "arrears": (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
}
FAILURES: dict[str, dict[str, str]] = {
    "inspected": {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."},
    "fail": {"code": "InternalError.Algo", "message": "The generation failed inside."},
}


class DashScopeService(Service):
    """Kinds for `fail` and `counts`: submit, query, cancel, download."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.key = KEY
        self.stuck = threading.Event()
        """Set as soon as a #pending is queried."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        return "cancel" if request.path.endswith("/cancel") else super().kind(request)

    async def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return refusal(401, "InvalidApiKey", "Invalid API-key provided.")
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["api", "v1", "services", "aigc", *route]:
                return await self._submit("/".join(route), request)
            case "GET", ["api", "v1", "tasks", job_id]:
                return self._status(job_id)
            case "POST", ["api", "v1", "tasks", job_id, "cancel"]:
                return self._cancel(job_id)
            case _:
                return refusal(404, "NotFound", "no such route")

    async def _submit(self, route: str, request: Request) -> Reply:
        payload = request.json()
        asynchronous = request.headers.get("x-dashscope-async") == "enable"
        if route not in (ASYNCHRONOUS if asynchronous else SYNCHRONOUS):
            kind = "asynchronous" if asynchronous else "synchronous"
            return refusal(403, "AccessDenied", f"current user api does not support {kind} calls.")
        if not payload["model"].startswith(MODELS):
            return refusal(404, "ModelNotFound", f"Model {payload['model']} not found.")
        prompt = prompt_of(payload)
        if (refused := self._refused(prompt)) is not None:
            return refused
        job = self.add_job(str(uuid4()), payload)
        return self._accepted(job) if asynchronous else await self._waited(job)

    def _refused(self, prompt: str) -> Reply | None:
        tags = tags_in(prompt)
        if "limit" in tags and prompt not in self._limited:
            self._limited.add(prompt)
            return refusal(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.")
        found = next((REFUSED[tag] for tag in tags if tag in REFUSED), None)
        return refusal(*found) if found else None

    def _accepted(self, job: Job) -> Reply:
        tags = tags_in(prompt_of(job.payload))
        if "500" in tags:
            return refusal(500, "InternalError", "An internal error has occured.")
        reply = answered({"task_id": job.id, "task_status": "PENDING"})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    async def _waited(self, job: Job) -> Reply:
        tags = tags_in(prompt_of(job.payload))
        await (asyncio.Event().wait() if "never" in tags else asyncio.sleep(job.seconds))
        self.end_job(job)
        choices = self._choices(job)
        return answered({"choices": choices}, output_image_count=pictures_in(choices))

    def _status(self, job_id: str) -> Reply:
        job = self.jobs.get(job_id)
        if job is None or "unknown" in tags_in(prompt_of(job.payload)):
            return answered({"task_id": job_id, "task_status": "UNKNOWN"})
        job.polls += 1
        if "pending" in tags_in(prompt_of(job.payload)):
            self.stuck.set()
        if job.state == "running" and not self._ripe(job):
            return answered({"task_id": job_id, "task_status": self._word(job), "task_metrics": self._metrics(job)})
        ended = self._ended(job)
        number = sum("url" in result for result in ended.get("results", ())) + pictures_in(ended.get("choices", []))
        return answered({"task_id": job_id, **ended}, **({"image_count": number} if number else {}))

    def _ripe(self, job: Job) -> bool:
        return job.ripe and not tags_in(prompt_of(job.payload)) & {"never", "pending", "suspended", "odd"}

    def _word(self, job: Job) -> str:
        tags = tags_in(prompt_of(job.payload))
        words = {"pending": "PENDING", "suspended": "SUSPENDED", "odd": "DAYDREAMING"}
        return next((words[tag] for tag in tags if tag in words), "PENDING" if job.polls == 1 else "RUNNING")

    def _metrics(self, job: Job) -> dict[str, int]:
        """The first picture of several is ready as soon as the task runs."""
        total = number_of(job)
        return {"TOTAL": total, "SUCCEEDED": int(total > 1 and job.polls > 1), "FAILED": 0}

    def _ended(self, job: Job) -> dict[str, Any]:
        tags = tags_in(prompt_of(job.payload))
        failure = next((FAILURES[tag] for tag in tags if tag in FAILURES), None)
        if failure is not None:
            self.end_job(job, "failed")
            return {"task_status": "FAILED", **failure}
        if job.state == "cancelled" or "cancelled" in tags:
            return {"task_status": "CANCELED"}
        self.end_job(job)
        if "messages" in job.payload["input"]:
            return {"task_status": "SUCCEEDED", "finished": True, "choices": self._choices(job)}
        results = self._results(job, tags)
        failed = sum("code" in result for result in results)
        metrics = {"TOTAL": len(results), "SUCCEEDED": len(results) - failed, "FAILED": failed}
        return {"task_status": "SUCCEEDED", "results": results, "task_metrics": metrics}

    def _results(self, job: Job, tags: set[str]) -> list[dict[str, str]]:
        links = [{"url": self.file_url(job.id, index)} for index in range(1, number_of(job) + 1)]
        spoiled = FAILURES["inspected"]
        if "spoiled" in tags:
            return [spoiled for _ in links]
        return [*links[:-1], spoiled] if "partial" in tags else links

    def _choices(self, job: Job) -> list[dict[str, Any]]:
        """One choice a picture, as Wan 2.6 does it; Qwen-Image puts all into one."""
        tags = tags_in(prompt_of(job.payload))
        if "none" in tags:
            return []
        if "words" in tags:
            contents = [[{"text": "I would rather not."}]]
        else:
            contents = [[{"image": self.file_url(job.id, index)}] for index in range(1, number_of(job) + 1)]
        return [{"finish_reason": "stop", "message": {"role": "assistant", "content": one}} for one in contents]

    def _cancel(self, job_id: str) -> Reply:
        job = self.jobs.get(job_id)
        if (
            job is None
            or job.state != "running"
            or (job.polls > 1 and "pending" not in tags_in(prompt_of(job.payload)))
        ):
            message = "Failed to cancel the task, please confirm if the task is in PENDING status."
            return refusal(400, "UnsupportedOperation", message)
        self.end_job(job, "cancelled")
        return Reply.json({"request_id": str(uuid4())})


def prompt_of(payload: dict[str, Any]) -> str:
    given = payload["input"]
    if "messages" not in given:
        return str(given["prompt"])
    return str(next(part["text"] for part in given["messages"][0]["content"] if "text" in part))


def number_of(job: Job) -> int:
    return int(job.payload["parameters"].get("n", 4))


def tags_in(prompt: str) -> set[str]:
    return set(re.findall(r"#([a-z0-9-]+)", prompt))


def pictures_in(choices: list[dict[str, Any]]) -> int:
    return sum("image" in part for choice in choices for part in choice["message"]["content"])


def answered(output: dict[str, Any], **usage: int) -> Reply:
    """Only what came is counted in `usage`."""
    return Reply.json({"request_id": str(uuid4()), "output": output} | ({"usage": usage} if usage else {}))


def refusal(status: int, code: str, message: str) -> Reply:
    return Reply.json({"code": code, "message": message, "request_id": str(uuid4())}, status)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.dashscope", description="DashScope's pictures, made up")
    parser.add_argument("--port", type=int, default=8400, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a task takes")
    words = parser.parse_args()
    DashScopeService(port=words.port, seconds=words.seconds, polls=1).run()


if __name__ == "__main__":
    main()
