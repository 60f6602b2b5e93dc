"""fal's queue, as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.fal --port 8320 --seconds 3

Words in a prompt steer what becomes of it:

    #queue            stands in the queue at first, at place 2, 1 and 0
    #log              a progress bar in the logs while it runs
    #fail             completed with an error, which the result repeats as 500
    #infra            completed with an error of fal's own, 504
    #policy           completed, with a 422 for its content; #bare the same as a list without `detail`
    #invalid          completed, with a 422 for its input
    #vague            completed with an error, but with a picture as its result
    #all #some        has_nsfw_concepts for all pictures; for the first
    #single #strings  one picture as `image`; pictures as texts
    #inline           pictures as data: URIs; #none has no pictures, #broken one of two without an address
    #gone             the result answers 404
    #gateway          the result answers 502 with a web page
    #word             says an unknown word while it runs
    #never            never finishes; #stubborn ignores a cancel
    #limit            the first try is answered 429, the second goes well
    #poor             403 for an exhausted balance; #refused 422 for its content at once
    #lost             made and billed, but not answered; #nourls answered without addresses
    #elsewhere        the status address lies at `elsewhere`; #resultelsewhere the result's

`prices` are told at /v1/models/pricing by model, as (price, unit, currency); results then say their billable units: one
a picture, half a unit for #policy, none for #invalid; a 5xx and #bare say nothing and are free.

Any key but `key` is refused with 401.
"""

import argparse
import base64
import threading
from decimal import Decimal
from typing import Any
from uuid import uuid4

from tests.doubles.dreamina import tags_in
from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "0123456789abcdef:fedcba9876543210secret"
BAR = "  0%|          | 0/28\n 43%|████▎     | 12/28"


class FalQueue(Service):
    """Kinds for `fail` and `counts`: submit, query (a status), result, cancel, download."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.key = KEY
        self.elsewhere = "http://127.0.0.1:1"
        self.prices: dict[str, tuple[float, str, str]] = {}
        self.stuck = threading.Event()
        """Set as soon as a #never was asked for."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        if request.path.startswith("/files/"):
            return "download"
        last = request.path.rpartition("/")[2]
        kinds = {"status": "query", "pricing": "prices"}
        return {"POST": "submit", "PUT": "cancel"}.get(request.method, kinds.get(last, "result"))

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        if request.headers.get("authorization") != f"Key {self.key}":
            return Reply.json({"detail": "Authentication is required to access this application."}, 401)
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["v1", "models", "pricing"]:
                return self._pricing(request.query.get("endpoint_id", "").split(","))
            case "POST", [owner, app, *_]:
                return self._submit(f"{owner}/{app}", request.path.strip("/"), request.json())
            case "GET", [_, _, "requests", number, "status"] if number in self.jobs:
                return self._status(self.jobs[number])
            case "GET", [_, _, "requests", number] if number in self.jobs:
                return self._result(self.jobs[number])
            case "PUT", [_, _, "requests", number, "cancel"]:
                return self._cancel(self.jobs.get(number))
            case _:
                return Reply.json({"detail": "Not found"}, 404)

    def _pricing(self, models: list[str]) -> Reply:
        rows = [
            {"endpoint_id": model, "unit_price": price, "unit": unit, "currency": currency}
            for model, (price, unit, currency) in self.prices.items()
            if model in models
        ]
        return Reply.json({"prices": rows, "next_cursor": None, "has_more": False})

    def _units(self, job: Job, units: float) -> dict[str, str]:
        """The header of a result that says how much of the priced unit it took."""
        if job.notes["model"] not in self.prices:
            return {}
        price = Decimal(str(self.prices[job.notes["model"]][0]))
        self.charge(job, Decimal(str(units)) * price)
        return {"x_fal_billable_units": f"{units:g}"}

    def _submit(self, app: str, model: str, payload: dict[str, Any]) -> Reply:
        prompt, tags = payload.get("prompt", ""), tags_in(payload)
        if "limit" in tags and prompt not in self._limited:
            self._limited.add(prompt)
            return Reply.json({"detail": "Too many requests"}, 429, retry_after="0.1")
        if "poor" in tags:
            locked = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
            return Reply.json({"detail": locked}, 403)
        if "refused" in tags:
            return Reply.json({"detail": [violation(payload)]}, 422)
        job = self.add_job(str(uuid4()), payload)
        job.notes |= {"app": app, "model": model}
        if "never" in tags:
            self.stuck.set()
        addresses = {} if "nourls" in tags else self._addresses(job, tags)
        reply = Reply.json({"request_id": job.id, "status": "IN_QUEUE", "queue_position": 0, **addresses})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _addresses(self, job: Job, tags: set[str]) -> dict[str, str]:
        """Without the path below the app, as the real ones."""
        place = f"/{job.notes['app']}/requests/{job.id}"
        response = f"{self.elsewhere if 'resultelsewhere' in tags else self.url}{place}"
        status = f"{self.elsewhere if 'elsewhere' in tags else self.url}{place}/status"
        return {"status_url": status, "response_url": response, "cancel_url": f"{self.url}{place}/cancel"}

    def _status(self, job: Job) -> Reply:
        job.polls += 1
        tags = tags_in(job.payload)
        common = {"request_id": job.id, **self._addresses(job, tags)}
        if "queue" in tags and job.polls <= 3:
            return Reply.json({**common, "status": "IN_QUEUE", "queue_position": 3 - job.polls}, 202)
        if job.state == "running" and (not job.ripe or tags & {"never", "stubborn"}):
            logs = [{"message": line, "level": "INFO", "source": "USER"} for line in BAR.split("\n") if "log" in tags]
            return Reply.json({**common, "status": "PAUSED" if "word" in tags else "IN_PROGRESS", "logs": logs}, 202)
        if job.state == "running":
            self.end_job(job)
        done = {**common, "status": "COMPLETED", "logs": None, "metrics": {"inference_time": 0.5}}
        return Reply.json(done | self._trouble(job, tags))

    def _trouble(self, job: Job, tags: set[str]) -> dict[str, str]:
        if job.state == "cancelled":
            return {"error": "Request was cancelled", "error_type": "client_cancelled"}
        if "infra" in tags:
            return {"error": "Request timed out", "error_type": "request_timeout"}
        troubled = tags & {"fail", "policy", "bare", "invalid", "vague"}
        return {"error": "Internal Server Error" if "fail" in tags else "the runner gave up"} if troubled else {}

    def _result(self, job: Job) -> Reply:  # noqa: PLR0911 - one return a way to fail
        tags = tags_in(job.payload)
        if job.state == "cancelled" or "gone" in tags:
            return Reply.json({"detail": "Request not found"}, 404)
        if job.state == "running":
            return Reply.json({"detail": "Request is still in progress"}, 400)
        if "fail" in tags:
            error = {"loc": ["body"], "msg": "CUDA out of memory", "type": "internal_server_error"}
            return Reply.json({"detail": [error]}, 500, x_fal_retryable="false")
        if "infra" in tags:
            late = {"detail": "Request timed out", "error_type": "request_timeout"}
            return Reply.json(late, 504, x_fal_error_type="request_timeout")
        if "policy" in tags:
            refused = {"detail": [{"type": "missing"}, violation(job.payload)]}
            return Reply.json(refused, 422, x_fal_retryable="false", **self._units(job, 0.5))
        if "bare" in tags:
            return Reply.json([violation(job.payload)], 422)
        if "invalid" in tags:
            error = {"loc": ["body", "image_url"], "msg": "Failed to load the image", "type": "image_load_error"}
            return Reply.json({"detail": [error]}, 422, **self._units(job, 0))
        if "gateway" in tags:
            return Reply.text("<html><h1>502 Bad Gateway</h1><hr>nginx</html>", 502, "text/html")
        made = self._made(job, tags)
        return Reply.json(made, 200, **self._units(job, len(made.get("images", [None]))))

    def _made(self, job: Job, tags: set[str]) -> dict[str, Any]:
        number = 0 if "none" in tags else job.payload.get("num_images", 1)
        images: list[Any] = [self._image(job, index, tags) for index in range(1, number + 1)]
        if "single" in tags:
            return {"image": images[0], "seed": 7}
        if "strings" in tags:
            images = [image["url"] for image in images]
        if "broken" in tags:
            images.append({"url": None})
        marks = [bool("all" in tags or ("some" in tags and not index)) for index in range(number)]
        return {
            "images": images,
            "seed": 7,
            "prompt": job.payload.get("prompt", ""),
            "timings": {},
            "has_nsfw_concepts": marks,
        }

    def _image(self, job: Job, index: int, tags: set[str]) -> dict[str, Any]:
        url = self.file_url(job.id, index)
        if "inline" in tags:
            data = base64.b64encode(self.pictures.make(job.id, index)).decode()
            url = f"data:{self.pictures.content_type};base64,{data}"
        width, height = self.pictures.size
        return {"url": url, "width": width, "height": height, "content_type": self.pictures.content_type}

    def _cancel(self, job: Job | None) -> Reply:
        if job is None:
            return Reply.json({"status": "NOT_FOUND"}, 404)
        if job.state != "running":
            return Reply.json({"status": "ALREADY_COMPLETED"}, 400)
        if "stubborn" not in tags_in(job.payload):
            self.end_job(job, "cancelled")
        return Reply.json({"status": "CANCELLATION_REQUESTED"}, 202)


def violation(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "loc": ["body", "prompt"],
        "msg": "The content was flagged by a content checker.",
        "type": "content_policy_violation",
        "url": "https://docs.fal.ai/errors#content_policy_violation",
        "input": payload.get("prompt"),
        "categories": ["violence", "model_moderated"],
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.fal", description="fal's queue, made up")
    parser.add_argument("--port", type=int, default=8320, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a request takes")
    parser.add_argument("--polls", type=int, default=0, help="status queries that a request takes at least")
    words = parser.parse_args()
    FalQueue(port=words.port, seconds=words.seconds, polls=words.polls).run()


if __name__ == "__main__":
    main()
