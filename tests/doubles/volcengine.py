"""Volcengine's Visual service (即梦AI), as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.volcengine --port 8500 --seconds 3 --slots 2

It computes every signature anew, from the raw request, by the platform's rules. Words in the prompt steer the rest:

    #forbidden #copyright     the submit is refused: 50412, 50413
    #outlawed                 accepted, then ends with 50511 and data: null
    #fail                     accepted, then done with the outer code 50500
    #limit                    the first submit is answered 429 with 50430, the second goes well
    #500                      the submit is answered 500 with 50500 after the job was made; #lost not at all
    #hiccup                   every second query is answered 500 with 50501
    #word                     says an unknown word while it runs; #expired, #forgotten end as expired, not_found
    #never                    never finishes
    #data #spoiled            has base64 only; one picture's base64 is broken
    #none                     is done without pictures

A job is in_queue for its first query and generating after it. More jobs at once than `slots` are refused with 50430.
"""

import argparse
import hashlib
import hmac
import json
import re
import threading
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from tests.doubles.http import Fault, Job, Reply, Request, Service

ACCESS, SECRET = "AKLTdouble0123456789", "WkRvdWJsZVNlY3JldEtleQ=="
AUTHORIZATION = re.compile(
    r"HMAC-SHA256 Credential=([^/]+)/([0-9]{8}/cn-north-1/cv/request), SignedHeaders=([a-z0-9;-]+), Signature=(\w+)"
)
PATIENCE = 900
"""Seconds that a signature's time may be off."""
REQ_KEYS = (
    "jimeng_t2i_v40", "jimeng_seedream46_cvtob", "jimeng_t2i_v31", "jimeng_t2i_v30", "jimeng_t2i_v21", "jimeng_i2i_v30",
)  # fmt: skip

REFUSED = {
    "forbidden": (50412, "Text Risk Not Pass"),
    "copyright": (50413, "Post Text Risk Not Pass"),
}


class VisualService(Service):
    """Kinds for `fail` and `counts`: submit, query, download."""

    def __init__(self, *, slots: int = 100, **options: Any) -> None:
        super().__init__(**options)
        self.slots = slots
        self.secrets = {ACCESS: SECRET}
        self.clock = 0.0
        """Seconds that the service's clock is ahead."""
        self.stuck = threading.Event()
        """Set as soon as a #never is queried."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        kinds = {"CVSync2AsyncSubmitTask": "submit", "CVSync2AsyncGetResult": "query"}
        return kinds.get(request.query.get("Action", ""), super().kind(request))

    async def answer(self, request: Request) -> Reply:
        action = request.query.get("Action", "")
        if (refused := self._unsigned(request)) is not None:
            return refused
        if request.query.get("Version") != "2022-08-31" or not action.startswith("CVSync2Async"):
            return platform(404, 100008, "InvalidActionOrVersion", f"Could not find operation {action}.")
        payload = request.json()
        if payload.get("req_key") not in REQ_KEYS:
            return answer_of(50215, "Input invalid for this service.", 400)
        return self._submit(payload) if self.kind(request) == "submit" else self._result(payload)

    def _unsigned(self, request: Request) -> Reply | None:
        """The platform in front of the service."""
        given = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if given is None:
            return platform(400, 100024, "InvalidAuthorization", "Invalid 'Authorization' header.")
        if given[1] not in self.secrets:
            return platform(401, 100009, "InvalidAccessKey", f"The accesskey [{given[1]}] is invalid.")
        moment = datetime.strptime(request.headers["x-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC).timestamp() + self.clock - moment.timestamp()) > PATIENCE:
            return platform(400, 100006, "InvalidTimestamp", "The Signature of the request is expired")
        whole = request.headers.get("x-content-sha256") == hashlib.sha256(request.body).hexdigest()
        signature = signature_of(request, self.secrets[given[1]], scope=given[2], names=given[3].split(";"))
        if not whole or signature != given[4]:
            return platform(401, 100010, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        return None

    # Submits

    def _submit(self, payload: dict[str, Any]) -> Reply:
        tags = tags_in(payload)
        refused = next((REFUSED[tag] for tag in tags if tag in REFUSED), None)
        if refused is not None:
            return answer_of(*refused, 400)
        running = sum(job.state == "running" for job in self.jobs.values())
        if running >= self.slots or ("limit" in tags and payload["prompt"] not in self._limited):
            self._limited.add(payload["prompt"])
            return answer_of(50430, "Request Has Reached API Concurrent Limit, Please Try Later", 429)
        job = self.add_job(str(7_392_616_336_519_610_409 + len(self.jobs)), payload)
        if "500" in tags:
            return answer_of(50500, "Internal Error", 500)
        reply = answer_of(10000, "Success", data={"task_id": job.id})
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    # Queries

    def _result(self, payload: dict[str, Any]) -> Reply:
        job = self.jobs.get(payload.get("task_id", ""))
        if job is None or job.payload["req_key"] != payload["req_key"]:
            return running("not_found")
        job.polls += 1
        tags = tags_in(job.payload)
        if "never" in tags:
            self.stuck.set()
        if "hiccup" in tags and job.polls % 2 == 1:
            return answer_of(50501, "Internal RPC Error", 500)
        if not job.ripe or "never" in tags:
            word = "daydreaming" if "word" in tags else "in_queue" if job.polls == 1 else "generating"
            return running(word)
        return self._ended(job, tags, json.loads(payload.get("req_json", "{}")))

    def _ended(self, job: Job, tags: set[str], specs: dict[str, Any]) -> Reply:
        for tag, word in (("expired", "expired"), ("forgotten", "not_found")):
            if tag in tags:
                self.end_job(job, "failed")
                return running(word)
        if "outlawed" in tags:
            self.end_job(job, "failed")
            return answer_of(50511, "Post Img Risk Not Pass", 400)
        if "fail" in tags:
            self.end_job(job, "failed")
            return answer_of(
                50500, "Internal Error", 500, {"status": "done", "image_urls": None, "binary_data_base64": None}
            )
        self.end_job(job)
        return answer_of(10000, "Success", data={"status": "done", **self._pictures(job, tags, specs)})

    def _pictures(self, job: Job, tags: set[str], specs: dict[str, Any]) -> dict[str, Any]:
        if "none" in tags:
            return {"image_urls": [], "binary_data_base64": None}
        number = 1 if job.payload.get("force_single", True) else 3
        if specs.get("return_url") is not True or tags & {"data", "spoiled"}:
            data = [b64encode(self.pictures.make(job.id, index)).decode() for index in range(1, number + 1)]
            return {"image_urls": None, "binary_data_base64": [*data, "%%%"] if "spoiled" in tags else data}
        links = [self.file_url(job.id, index) for index in range(1, number + 1)]
        return {"image_urls": links, "binary_data_base64": None}


def signature_of(request: Request, secret: str, *, scope: str, names: list[str]) -> str:
    """What SignerV4 of volc-sdk-python would have signed, from the bytes that arrived."""
    canonical = (
        f"{request.method}\n{request.path}\n"
        + "&".join(sorted(request.target.partition("?")[2].split("&")))
        + "\n"
        + "".join(f"{name}:{request.headers[name]}\n" for name in sorted(names))
        + "\n"
        + f"{';'.join(sorted(names))}\n"
        + hashlib.sha256(request.body).hexdigest()
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    date, region, service, _ = scope.split("/")
    text = f"HMAC-SHA256\n{request.headers['x-date']}\n{scope}\n{hashed}"
    by_date = hmac.digest(secret.encode(), date.encode(), "sha256")
    by_region = hmac.digest(by_date, region.encode(), "sha256")
    by_service = hmac.digest(by_region, service.encode(), "sha256")
    return hmac.digest(hmac.digest(by_service, b"request", "sha256"), text.encode(), "sha256").hex()


def tags_in(payload: dict[str, Any]) -> set[str]:
    return set(re.findall(r"#([a-z0-9-]+)", str(payload.get("prompt", ""))))


def answer_of(code: int, message: str, status: int = 200, data: dict[str, Any] | None = None) -> Reply:
    body = {"code": code, "data": data, "message": message, "request_id": "20251125005330F6", "status": code}
    return Reply.json(body | {"time_elapsed": "34.7ms"}, status)


def running(word: str) -> Reply:
    return answer_of(10000, "Success", data={"status": word, "image_urls": None, "binary_data_base64": None})


def platform(status: int, number: int, code: str, message: str) -> Reply:
    error = {"CodeN": number, "Code": code, "Message": message}
    fixed = {"RequestId": "20251125005330F6", "Version": "2022-08-31", "Service": "cv", "Region": "cn-north-1"}
    return Reply.json({"ResponseMetadata": {**fixed, "Error": error}}, status)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m tests.doubles.volcengine", description="即梦AI's Visual service, made up"
    )
    parser.add_argument("--port", type=int, default=8500, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a task takes")
    parser.add_argument("--slots", type=int, default=1, help="tasks that may run at once")
    words = parser.parse_args()
    VisualService(port=words.port, seconds=words.seconds, slots=words.slots, polls=1).run()


if __name__ == "__main__":
    main()
