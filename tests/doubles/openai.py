"""OpenAI's Images API in all its dialects, as far as clients can see them. From the checkout's root:

    python -m tests.doubles.openai --dialect openai --port 8000 --seconds 3 --size 1024

Words in a prompt steer what becomes of it, so that a person can try the tool:

    #slow              takes ten times as long; #never is never answered
    #bad               refused as a bad request; #model as an unknown model
    #moderated         refused by the content filter, in the dialect's own way
    #quota             429 that means "no credits"; #limited429 one 429 that passes (each prompt once)
    #loading           503 with Retry-After, once; #500 answers 500
    #none #partial     answers with no pictures; the first of several fails
    #paths             addresses that are paths on the server's disk; #relative without a host; #inline as data:
    #url #b64          the one form or the other, whatever was asked for
    #cut               a stream ends before its last event; #error a stream ends with an error
    #plain             answers in one piece where a stream was asked for

Attributes: `dialect`; `key`, which must come as a bearer token where it is not empty; `has_jobs` (sd-server).
"""

import argparse
import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

from tests.doubles.http import Job, Part, Pictures, Reply, Request, Service

LOCAL = ("localai", "sd-server", "sglang", "vllm-omni", "xinference")
KNOWN = {
    "openai": """prompt model n size quality background moderation output_format output_compression stream
        partial_images user input_fidelity complexity safety_identifier images image image[] mask frame_count
        frame_duration_ms svg svg[model] svg[reasoning][effort]""",
    "ark": """prompt model size image seed guidance_scale watermark response_format stream output_format tools
        sequential_image_generation sequential_image_generation_options optimize_prompt_options""",
}
"""The fields that a service knows, for services that refuse all others."""


@dataclass(frozen=True, slots=True)
class Order:
    """A submit as the service understands it."""

    fields: dict[str, Any]
    pictures: list[Part]
    edits: bool

    @property
    def prompt(self) -> str:
        return str(self.fields.get("prompt", ""))

    @property
    def tags(self) -> set[str]:
        return set(re.findall(r"#([\w-]+)", self.prompt))

    @property
    def count(self) -> int:
        options = self.fields.get("sequential_image_generation_options") or {}
        number = self.fields.get("n") or self.fields.get("batch_count") or options.get("max_images") or 1
        return int(number)


class ImageServer(Service):
    """Kinds for `fail` and `counts`: submit, query, cancel, models, download, other."""

    def __init__(self, dialect: str = "openai", **options: Any) -> None:
        super().__init__(**options)
        self.dialect = dialect
        self.key = ""
        self.has_jobs = dialect == "sd-server"
        self._once: set[str] = set()

    @property
    def base_url(self) -> str:
        return self.url + ("/api/v3" if self.dialect == "ark" else "/v1")

    def kind(self, request: Request) -> str:
        path = request.path
        if path.startswith("/files/"):
            return "download"
        if path.endswith(("/cancel", "/abort")):
            return "cancel"
        ends = {"/generations": "submit", "/edits": "submit", "/img_gen": "submit", "/models": "models"}
        return next((kind for end, kind in ends.items() if path.endswith(end)), "query")

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            given = request.headers.get("authorization", "")
            return self.refusal(401, "invalid_api_key", f"Incorrect API key provided: {given}")
        match request.method, request.path.strip("/").split("/"):
            case "POST", [*_, "images", "generations" | "edits" as route]:
                return await self._submit(order_in(request, edits=route == "edits"))
            case "GET", [*_, "models"]:
                return self._models()
            case "POST", ["sdcpp", "v1", "img_gen"] if self.has_jobs:
                return self._enqueue(order_in(request, edits=False))
            case "GET", ["sdcpp", "v1", "jobs", job]:
                return self._status(job)
            case "POST", ["sdcpp", "v1", "jobs", job, "cancel"]:
                return self._cancel(job)
            case "POST", ["v1", "models", _, "requests", number, "abort"]:
                return self._abort(number)
            case _:
                return Reply.json({"detail": "Not Found"}, 404)

    # Submits

    async def _submit(self, order: Order) -> Reply:
        refused = self._refused(order)
        if refused is not None:
            return refused
        job = self.add_job(self._number(order), order.fields)
        if order.fields.get("stream") in (True, "true") and "plain" not in order.tags:
            return self._streamed(order, job)
        await self._work(order, job)
        if job.state == "aborted":
            return Reply.json({"detail": "Request has been aborted"}, 409)
        self.end_job(job)
        body = self._whole(order, job)
        number = len(body["data"])
        cost = {"x_litellm_response_cost": f"{self.charge(job, 0.04 * number)}"} if self.dialect == "litellm" else {}
        return Reply.json(body, 200, **cost)

    def _number(self, order: Order) -> str:
        kwargs = json.loads(order.fields.get("kwargs") or "{}")
        return str(kwargs.get("request_id") or uuid4())

    async def _work(self, order: Order, job: Job) -> None:
        """Hold the connection for as long as it takes; an abort ends it."""
        job.notes["aborted"] = asyncio.Event()
        with suppress(TimeoutError):
            seconds = job.seconds * (10 if "slow" in order.tags else 1)
            async with asyncio.timeout(None if "never" in order.tags else seconds):
                await job.notes["aborted"].wait()

    def _refused(self, order: Order) -> Reply | None:
        tags = order.tags
        if self.dialect == "openai" and (wrong := misused(order)):
            return self.refusal(400, "unknown_parameter", f"Unknown parameter: '{wrong}'.")
        known = KNOWN[self.dialect].split() if self.dialect in KNOWN else order.fields
        unknown = {name for name in order.fields if name not in known}
        if unknown:
            return self.refusal(400, "unknown_parameter", f"Unknown parameter: '{min(unknown)}'.")
        if not order.prompt or (order.edits and not (order.pictures or {"image", "images"} & order.fields.keys())):
            return self.refusal(400, "missing_required_parameter", "Missing required parameter")
        for tag in ("limited429", "loading"):
            if tag in tags and order.prompt not in self._once:
                self._once.add(order.prompt)
                return self._later(tag)
        for tag, (status, code, message) in REFUSALS.items():
            if tag in tags:
                return self.refusal(status, code, message)
        return self.moderated() if "moderated" in tags else None

    def _later(self, tag: str) -> Reply:
        if tag == "limited429":
            reply = self.refusal(429, "rate_limit_exceeded", "Rate limit exceeded for images per minute")
        else:
            reply = self.refusal(503, "model_loading", "the model is loading")
        reply.headers["retry-after"] = "0.2"
        return reply

    def refusal(self, status: int, code: str, message: str) -> Reply:
        """A refusal in the dialect's own form."""
        match self.dialect:
            case "sd-server":
                return Reply.json({"error": message}, status)
            case "sglang" | "vllm-omni" | "xinference":
                return Reply.json({"detail": message}, status)
            case "localai":
                return Reply.json({"error": {"code": status, "message": message, "type": code}}, status)
            case "xai":
                return Reply.json({"code": code, "error": message}, status)
            case "recraft":
                return Reply.json({"code": code, "message": message}, status)
            case _:
                error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
                return Reply.json({"error": error}, status)

    def moderated(self) -> Reply:
        if self.dialect == "xai":
            return Reply.json({"data": [], "block_reason": "input moderation: violence"})
        if self.dialect in ("ark", "byteplus"):
            code = "InputTextSensitiveContentDetected"
            return self.refusal(
                400, code, "The request failed because the input text may contain sensitive information"
            )
        if self.dialect != "openai":
            return self.refusal(400, "content_policy_violation", "refused under our content policy")
        error = {
            "message": "Your request was rejected by the safety system. safety_violations=[violence].",
            "type": "image_generation_user_error",
            "param": None,
            "code": "moderation_blocked",
            "moderation_details": {"moderation_stage": "output", "categories": ["violence"]},
        }
        return Reply.json({"error": error}, 400)

    # Pictures

    def _item(self, order: Order, job: Job, index: int) -> dict[str, Any]:
        tags, data = order.tags, self.pictures.make(job.id, index)
        if "partial" in tags and index == 1:
            code = "OutputImageSensitiveContentDetected"
            return {"error": {"code": code, "message": "the output image may contain sensitive information"}}
        extra: dict[str, Any] = {"index": index - 1} if self.dialect == "together" else {}
        extra |= {"image_id": str(uuid4())} if self.dialect == "recraft" else {}
        if "paths" in tags:
            return extra | {"url": f"/srv/xinference/image/{job.id}.png"}
        if "relative" in tags:
            return extra | {"url": self.file_url(job.id, index).removeprefix(self.url)}
        if "inline" in tags:
            return extra | {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}
        inside = "b64" in tags or ("url" not in tags and self._inside_by_default(order))
        extra |= {"type": "b64_json" if inside else "url"} if self.dialect == "together" else {}
        text = {"b64_json": base64.b64encode(data).decode()} if inside else {"url": self.file_url(job.id, index)}
        return extra | text

    def _inside_by_default(self, order: Order) -> bool:
        form = order.fields.get("response_format")
        return form in ("b64_json", "base64") if form else self.dialect in ("openai", "sd-server", "vllm-omni")

    def _items(self, order: Order, job: Job) -> list[dict[str, Any]]:
        count = 0 if "none" in order.tags else order.count
        return [self._item(order, job, index) for index in range(1, count + 1)]

    def _whole(self, order: Order, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {"created": int(time.time()), "data": self._items(order, job)}
        drawn = sum("error" not in item for item in body["data"])
        match self.dialect:
            case "openai":
                usage = {"total_tokens": 30, "input_tokens": 10, "output_tokens": 20}
                details = {"text_tokens": 10, "image_tokens": 0}
                body |= {"usage": usage | {"input_tokens_details": details}, "output_format": "png"}
            case "together":
                body |= {"id": job.id, "model": "flux", "object": "list"}
            case "recraft":
                body |= {"credits": int(self.charge(job, 40 * len(body["data"])))}
            case "ark":
                body |= {"model": order.fields.get("model", ""), "usage": {"generated_images": drawn}}
            case "xai":
                cost = self.charge(job, Decimal("0.02") * len(body["data"]))
                body |= {"usage": {"cost_in_usd_ticks": round(cost * 10**10)}}
            case "generic":
                body |= {"usage": {"cost": self.charge(job, Decimal("0.015") * len(body["data"]))}}
            case _:
                pass
        return body

    # Streams

    def _streamed(self, order: Order, job: Job) -> Reply:
        return Reply(headers={"content-type": "text/event-stream"}, stream=self._events(order, job))

    async def _events(self, order: Order, job: Job) -> AsyncIterator[bytes]:
        yield b": keep-alive\r\n\r\n"
        name = "image_edit" if order.edits else "image_generation"
        for preview in range(int(order.fields.get("partial_images") or 0)):
            yield sse(
                self._picture_event(f"{name}.partial_image", job, 100 + preview) | {"partial_image_index": preview}
            )
        await self._work(order, job)
        if "error" in order.tags:
            self.end_job(job, "failed")
            error = {"type": "server_error", "code": "server_error", "message": "we could not draw that"}
            yield sse({"type": "error", "error": error})
            return
        if self.dialect == "ark":
            for event in self._group(order, job, name):
                yield event
        if "cut" in order.tags:
            return
        usage = {"total_tokens": 30, "input_tokens": 10, "output_tokens": 20}
        details = {"text_tokens": 10, "image_tokens": 0}
        last: dict[str, Any] = {"type": f"{name}.completed", "usage": usage | {"input_tokens_details": details}}
        if self.dialect == "ark":
            last["usage"] = {"generated_images": order.count, "output_tokens": 20, "total_tokens": 20}
        yield sse(last if self.dialect == "ark" else self._picture_event(f"{name}.completed", job, 1) | last)
        self.end_job(job)
        yield b"data: [DONE]\n\n"

    def _picture_event(self, kind: str, job: Job, index: int) -> dict[str, Any]:
        text = base64.b64encode(self.pictures.make(job.id, index)).decode()
        body = {"size": "1024x1024", "quality": "high", "background": "opaque", "output_format": "png"}
        return {"type": kind, "b64_json": text, "created_at": int(time.time()), **body}

    def _group(self, order: Order, job: Job, name: str) -> list[bytes]:
        found = []
        for index, item in enumerate(self._items(order, job)):
            kind = "partial_failed" if "error" in item else "partial_succeeded"
            found.append(sse({"type": f"{name}.{kind}", "image_index": index, **item}))
        return found

    # sd-server's jobs, Xinference's abort

    def _enqueue(self, order: Order) -> Reply:
        refused = self._refused(order)
        if refused is not None:
            return refused
        job = self.add_job(f"job_{len(self.jobs) + 1:08X}", order.fields)
        job.notes["order"] = order
        body = {"id": job.id, "kind": "img_gen", "status": "queued", "created": int(time.time())}
        return Reply.json(body | {"poll_url": f"/sdcpp/v1/jobs/{job.id}"}, 202)

    def _status(self, number: str) -> Reply:
        job = self.jobs.get(number)
        if job is None:
            return Reply.json({"error": "job not found"}, 404)
        if job.state == "expired":
            return Reply.json({"error": "job expired"}, 410)
        job.polls += 1
        if job.state == "running" and job.ripe:
            self.end_job(job)
        return Reply.json(self._job_object(job))

    def _job_object(self, job: Job) -> dict[str, Any]:
        order: Order = job.notes["order"]
        failed = "failing" in order.tags
        states = {"done": "failed" if failed else "completed", "running": "queued" if job.polls < 2 else "generating"}
        body: dict[str, Any] = {"id": job.id, "kind": "img_gen", "status": states.get(job.state, job.state)}
        body |= {"queue_position": 2 if body["status"] == "queued" else 0, "result": None, "error": None}
        if body["status"] == "completed":
            images = [{"index": at, **item} for at, item in enumerate(self._items(order, job))]
            body["result"] = {"output_format": "png", "images": images}
        if body["status"] in ("failed", "cancelled"):
            code = "generation_failed" if failed else "cancelled"
            body["error"] = {"code": code, "message": "generate_image returned empty results"}
        return body

    def _cancel(self, number: str) -> Reply:
        job = self.jobs.get(number)
        if job is None:
            return Reply.json({"error": "job not found"}, 404)
        if job.state == "running" and job.polls >= 2:
            return Reply.json({"error": "job is currently generating and cannot be interrupted yet"}, 409)
        if job.state == "running":
            self.end_job(job, "cancelled")
        return Reply.json(self._job_object(job))

    def _abort(self, number: str) -> Reply:
        job = self.jobs.get(number)
        if job is None or job.state != "running":
            return Reply.json({"msg": "NOT_FOUND"})
        self.end_job(job, "aborted")
        job.notes["aborted"].set()
        return Reply.json({"msg": "DONE"})

    def _models(self) -> Reply:
        names = ["gpt-image-2", "gpt-5", "whisper-1"] if self.dialect == "openai" else ["drawer", "drawer-pro"]
        items: list[dict[str, Any]] = [{"id": name, "object": "model", "owned_by": "us"} for name in names]
        if self.dialect == "together":
            return Reply.json([{"id": "flux", "type": "image"}, {"id": "llama", "type": "chat"}])
        if self.dialect == "xinference":
            items.append({"id": "qwen", "object": "model", "model_type": "LLM"})
        return Reply.json({"object": "list", "data": items})


REFUSALS = {
    "bad": (400, "invalid_value", "Invalid value: 'banana'"),
    "model": (404, "model_not_found", "The model 'banana' does not exist"),
    "quota": (429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details"),
    "500": (500, "server_error", "the server had an error while processing your request"),
}


def misused(order: Order) -> str:
    """The field that OpenAI knows, and does not take in this kind of request."""
    if "input_fidelity" in order.fields and not (order.edits and "gpt-image-1" in str(order.fields.get("model"))):
        return "input_fidelity"
    in_form = order.edits and "images" not in order.fields
    return "moderation" if in_form and "moderation" in order.fields else ""


def order_in(request: Request, *, edits: bool) -> Order:
    parts = request.parts()
    if not parts:
        return Order(request.json(), [], edits)
    return Order(request.form(), [part for part in parts if part.filename is not None], edits)


def sse(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.openai", description="an image server, made up")
    parser.add_argument("--dialect", default="openai", choices=("openai", "ark", "litellm", "together", "xai", *LOCAL))
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a request takes")
    parser.add_argument("--format", choices=("png", "jpeg", "webp"), default="png")
    parser.add_argument("--size", type=int, default=1024, help="pixels of a picture's side")
    words = parser.parse_args()
    pictures = Pictures(words.format, (words.size, words.size))
    ImageServer(words.dialect, port=words.port, seconds=words.seconds, pictures=pictures).run()


if __name__ == "__main__":
    main()
