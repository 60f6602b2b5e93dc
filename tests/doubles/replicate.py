"""Replicate's HTTP API, as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.replicate --port 8310 --seconds 3

Words in a prompt steer what becomes of it:

    #fail             fails as out of memory (E1001); #nsfw and #e005 fail as forbidden, #mute without a reason
    #canceled         ends as canceled, #aborted as aborted, without being asked
    #string #object   the output's form; else a list
    #inline           pictures as data: URIs
    #none             succeeds without an output; #removed with one that was deleted
    #partial          one output of two is null
    #log              a progress bar in the logs while it runs
    #word             says an unknown word while it runs
    #never            never finishes; #stubborn keeps processing after a cancel
    #limit            the first try is answered 429 with retry_after in the body, the second goes well
    #poor             402; #invalid 422
    #lost             made and billed, but not answered; #nowhere answered so, but never made
    #expired          links answer 404

Any key but `key` is refused with 401.
"""

import argparse
import base64
import secrets
import threading
from datetime import UTC, datetime
from typing import Any

from tests.doubles.dreamina import tags_in
from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "r8_double0123456789secret"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
MODELS: tuple[dict[str, Any], ...] = (
    {"owner": "black-forest-labs", "name": "flux-schnell", "is_official": True, "latest_version": {"id": "hidden"}},
    {"owner": "stability-ai", "name": "sdxl", "is_official": False, "latest_version": {"id": VERSION}},
)
ERRORS = {
    "fail": "E1001: the prediction ran out of memory",
    "nsfw": "NSFW content detected. Try running it again, or try a different prompt.",
    "e005": "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    "mute": None,
}
BAR = "Using seed: 7\n  0%|          | 0/28 [00:00<?, ?it/s]\n 43%|████▎     | 12/28 [00:01<00:01, 9.1it/s]"


class ReplicateService(Service):
    """Kinds for `fail` and `counts`: submit, query, list, cancel, models, download."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.key = KEY
        self.retry_after = 0.1
        self.stuck = threading.Event()
        """Set as soon as a #never was asked for."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        match request.method, request.path.strip("/").split("/"):
            case "POST", [*_, "cancel"]:
                return "cancel"
            case "GET", ["v1", "predictions"]:
                return "list"
            case "GET", ["v1", "collections", *_]:
                return "models"
            case _:
                return super().kind(request)

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "models", owner, name, "predictions"]:
                return self._create(f"{owner}/{name}", "hidden", request.json())
            case "POST", ["v1", "predictions"]:
                payload = request.json()
                model, _, version = payload["version"].rpartition(":")
                return self._create(model or "stability-ai/sdxl", version, payload)
            case "GET", ["v1", "predictions"]:
                return self._list(request.query.get("created_after", ""))
            case "GET", ["v1", "predictions", number] if number in self.jobs:
                return self._query(self.jobs[number])
            case "POST", ["v1", "predictions", number, "cancel"] if number in self.jobs:
                return self._cancel(self.jobs[number])
            case "GET", ["v1", "collections", "text-to-image"]:
                return Reply.json({"name": "Text to image", "slug": "text-to-image", "models": MODELS})
            case _:
                return problem(404, "Not found", "The requested resource could not be found.")

    def _create(self, model: str, version: str, payload: dict[str, Any]) -> Reply:
        prompt, tags = payload["input"].get("prompt", ""), tags_in(payload["input"])
        if "limit" in tags and prompt not in self._limited:
            self._limited.add(prompt)
            detail = f"Request was throttled. Your rate limit resets in ~{self.retry_after:g}s."
            return Reply.json({"detail": detail, "status": 429, "retry_after": self.retry_after}, 429)
        if "poor" in tags:
            return problem(402, "Insufficient credit", "You have insufficient credit to run this model.")
        if "invalid" in tags:
            return problem(
                422, "Input validation failed", "- input.seed: Invalid type. Expected: integer, given: string"
            )
        if "nowhere" in tags:
            return Reply(fault=Fault.CLOSE_AFTER)
        job = self.add_job(secrets.token_hex(13), payload["input"])
        job.notes |= {"model": model, "version": version, "created": now()}
        reply = Reply.json(self._prediction(job, "starting"), 201)
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        if "never" in tags:
            self.stuck.set()
        return reply

    def _query(self, job: Job) -> Reply:
        job.polls += 1
        tags = tags_in(job.payload)
        if job.state == "running" and job.ripe and not tags & {"never", "stubborn"}:
            self.end_job(job, ended(tags))
        return Reply.json(self._prediction(job, job.state if job.state != "running" else self._meanwhile(job)))

    def _meanwhile(self, job: Job) -> str:
        return "uploading" if "word" in tags_in(job.payload) else "processing" if job.polls > 1 else "starting"

    def _cancel(self, job: Job) -> Reply:
        stubborn = "stubborn" in tags_in(job.payload)
        if job.state == "running" and not stubborn:
            self.end_job(job, "canceled")
        return Reply.json(self._prediction(job, "processing" if stubborn else job.state))

    def _list(self, after: str) -> Reply:
        """The newest first."""
        since = datetime.fromisoformat(after) if after else datetime.min.replace(tzinfo=UTC)
        recent = [job for job in self.jobs.values() if datetime.fromisoformat(job.notes["created"]) >= since]
        results = [self._prediction(job, job.state.replace("running", "processing")) for job in reversed(recent)]
        return Reply.json({"next": None, "previous": None, "results": results})

    def _prediction(self, job: Job, status: str) -> dict[str, Any]:
        tags, place = tags_in(job.payload), f"{self.url}/v1/predictions/{job.id}"
        error = next((ERRORS[tag] for tag in tags if tag in ERRORS), None) if status == "failed" else None
        return {
            "id": job.id,
            "model": job.notes["model"],
            "version": job.notes["version"],
            "input": job.payload,
            "logs": BAR if "log" in tags and status in ("processing", "succeeded") else "",
            "output": self._output(job, tags) if status == "succeeded" else None,
            "data_removed": "removed" in tags and status == "succeeded",
            "error": error,
            "source": "api",
            "status": status,
            "created_at": job.notes["created"],
            "urls": {"web": f"https://replicate.com/p/{job.id}", "get": place, "cancel": f"{place}/cancel"},
        }

    def _output(self, job: Job, tags: set[str]) -> Any:
        if tags & {"none", "removed"}:
            return None
        pictures = [self._picture(job, index, tags) for index in range(1, job.payload.get("num_outputs", 1) + 1)]
        if "string" in tags:
            return pictures[0]
        if "object" in tags:
            return {"images": pictures, "seed": 7, "caption": "a picture"}
        return [pictures[0], None] if "partial" in tags else pictures

    def _picture(self, job: Job, index: int, tags: set[str]) -> str:
        if "inline" not in tags:
            return self.file_url(job.id, index)
        data = base64.b64encode(self.pictures.make(job.id, index)).decode()
        return f"data:{self.pictures.content_type};base64,{data}"

    async def file(self, request: Request, job_id: str, index: int) -> Reply:
        if "expired" in tags_in(self.jobs[job_id].payload):
            return problem(404, "Not found", "The file has been deleted.")
        return await super().file(request, job_id, index)


def ended(tags: set[str]) -> str:
    if tags & ERRORS.keys():
        return "failed"
    return next((word for word in ("canceled", "aborted") if word in tags), "succeeded")


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def problem(status: int, title: str, detail: str) -> Reply:
    return Reply.json({"title": title, "detail": detail, "status": status}, status)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.replicate", description="Replicate's API, made up")
    parser.add_argument("--port", type=int, default=8310, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a prediction takes")
    parser.add_argument("--polls", type=int, default=0, help="status queries that a prediction takes at least")
    words = parser.parse_args()
    ReplicateService(port=words.port, seconds=words.seconds, polls=words.polls).run()


if __name__ == "__main__":
    main()
