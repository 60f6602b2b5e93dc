"""Black Forest Labs' API, as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.bfl --port 8330 --seconds 3

Words in a prompt steer what becomes of it:

    #blocked          Request Moderated; #withheld Content Moderated, with a reason
    #error #failed    ends with that word
    #unknown          Task not found for ever; #early for the first two questions, #early404 the same as HTTP 404
    #reasoning        says Reasoning and then Generating while it runs; #word an unknown word
    #progress         tells its progress; else it is null
    #cheaper          costs less in the end than the receipt said
    #inline           the picture as a data: URI; #nosample Ready without a picture
    #never            never finishes
    #limit            the first try is answered 429, the second goes well
    #poor             402; #invalid 422
    #lost             made and billed, but not answered
    #elsewhere        the polling address lies at `elsewhere`; #nourl there is none
    #expired          links answer 403, as a signature that is over

Any key but `key` is refused with 403. Links are refused to requests with a key.
"""

import argparse
import base64
import threading
from typing import Any
from uuid import uuid4

from tests.doubles.dreamina import tags_in
from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "bfl_double-0123-4567-89ab-secret"
ENDS = {"blocked": "Request Moderated", "withheld": "Content Moderated", "error": "Error", "failed": "Failed"}
NOT_FOUND = "Task not found"
CREDITS = 123.5
COST = 3.0
OF_REFUSED = {"Request Moderated": 0.0, "Content Moderated": 1.5}
"""Costs of what brings no picture; a failure says nothing of its cost, and is not charged."""


class BflService(Service):
    """Kinds for `fail` and `counts`: submit, query, credits, download."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.key = KEY
        self.elsewhere = "http://127.0.0.1:1"
        self.stuck = threading.Event()
        """Set as soon as a #never was asked for."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        return "credits" if request.path == "/v1/credits" else super().kind(request)

    async def answer(self, request: Request) -> Reply:
        if request.headers.get("x-key") != self.key:
            return Reply.json({"detail": "Not authenticated"}, 403)
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", _]:
                return self._submit(request.json())
            case "GET", ["v1", "get_result"]:
                return self._result(request.query.get("id", ""))
            case "GET", ["v1", "credits"]:
                return Reply.json({"credits": CREDITS})
            case _:
                return Reply.json({"detail": "Not Found"}, 404)

    def _submit(self, payload: dict[str, Any]) -> Reply:
        prompt, tags = payload.get("prompt", ""), tags_in(payload)
        if "limit" in tags and prompt not in self._limited:
            self._limited.add(prompt)
            return Reply.json({"detail": "Too many active tasks: 24", "retry_after": 0.1}, 429)
        if "poor" in tags:
            return Reply.json({"detail": "Insufficient credits"}, 402)
        if "invalid" in tags:
            error = {"loc": ["body", "width"], "msg": "Input should be a multiple of 16", "type": "multiple_of"}
            return Reply.json({"detail": [error]}, 422)
        job = self.add_job(str(uuid4()), payload)
        if "never" in tags:
            self.stuck.set()
        place = f"{self.elsewhere if 'elsewhere' in tags else self.url}/v1/get_result?id={job.id}"
        address = {} if "nourl" in tags else {"polling_url": place}
        reply = Reply.json({"id": job.id, **address, "cost": COST, "input_mp": None, "output_mp": 1.0})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _result(self, number: str) -> Reply:
        job = self.jobs.get(number)
        tags = tags_in(job.payload) if job else {"unknown"}
        if job is not None:
            job.polls += 1
        early = job is not None and job.polls <= 2
        if "early404" in tags and early:
            return Reply.json({"detail": NOT_FOUND}, 404)
        if job is None or "unknown" in tags or ("early" in tags and early):
            return Reply.json(state(number, NOT_FOUND))
        if not job.ripe or "never" in tags:
            return Reply.json(state(number, meanwhile(job, tags), progress=0.25 if "progress" in tags else None))
        return Reply.json(self._ended(job, tags))

    def _ended(self, job: Job, tags: set[str]) -> dict[str, Any]:
        self.end_job(job)
        word = next((ENDS[tag] for tag in tags if tag in ENDS), "Ready")
        if word != "Ready":
            reasons = {"Moderation Reasons": ["Safety Filter"]} if "Moderated" in word else None
            cost = {"cost": self.charge(job, OF_REFUSED[word])} if word in OF_REFUSED else {}
            return state(job.id, word, details=reasons, **cost)
        result = {
            "sample": self._sample(job, tags),
            "seed": job.payload.get("seed", 7),
            "prompt": job.payload["prompt"],
        }
        final = self.charge(job, COST * 0.75 if "cheaper" in tags else COST)
        return state(job.id, word, result={} if "nosample" in tags else result, cost=final)

    def _sample(self, job: Job, tags: set[str]) -> str:
        if "inline" not in tags:
            return self.file_url(job.id, 1)
        data = base64.b64encode(self.pictures.make(job.id, 1)).decode()
        return f"data:{self.pictures.content_type};base64,{data}"

    async def file(self, request: Request, job_id: str, index: int) -> Reply:
        if "x-key" in request.headers or "expired" in tags_in(self.jobs[job_id].payload):
            return Reply.text("<Error><Code>AccessDenied</Code></Error>", 403, "application/xml")
        return await super().file(request, job_id, index)


def meanwhile(job: Job, tags: set[str]) -> str:
    if "word" in tags:
        return "Dreaming"
    if "reasoning" not in tags:
        return "Pending"
    return "Reasoning" if job.polls == 1 else "Generating"


def state(number: str, word: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "status": word, "result": None, "progress": None, "details": None, "preview": None} | more


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.bfl", description="Black Forest Labs' API, made up")
    parser.add_argument("--port", type=int, default=8330, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a picture takes")
    parser.add_argument("--polls", type=int, default=0, help="status queries that a picture takes at least")
    words = parser.parse_args()
    BflService(port=words.port, seconds=words.seconds, polls=words.polls).run()


if __name__ == "__main__":
    main()
