"""AUTOMATIC1111, Forge and SD.Next as far as their clients can see them. From the checkout's root:

    python -m tests.doubles.a1111 --port 7860 --seconds 5 --variant forge

Words in the prompt steer what becomes of it:

    #slow #never      takes ten times as long; never ends by itself
    #fail #oom        an exception while it works; a full memory
    #none #null       200 with images: [] and images: null
    #grid             a grid before the pictures and a map after them
    #data             pictures with data:image/png;base64, before them
    #broken           the second picture is no base64
    #two              is in its second batch when it is interrupted, else in its first
    #lost             made, and not answered at all

`variant` is a1111, forge (errors are {detail}, progress counts from -1), sdnext (interrupt answers 204) or sdcpp, which
makes one batch, with the model that it was started with, and has no progress and no interrupt. `takes_sizes` False is a
server that makes its pictures in a size of its own.
`internal` False is a server with --nowebui: it has no query about one request. `login` is the name and
the password of --api-auth.
"""

import argparse
import asyncio
import json
import re
import time
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any
from uuid import uuid4

from tests.doubles.http import Fault, Job, Pictures, Reply, Request, Service

REMEMBERED = 16
UPSCALERS = ("None", "Lanczos", "R-ESRGAN 4x+")
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M")


class WebUIServer(Service):
    """Kinds for `fail` and `counts`: submit, query (progress of any sort), cancel, info."""

    def __init__(self, *, variant: str = "a1111", **options: Any) -> None:
        super().__init__(**options)
        self.variant = variant
        self.internal = True
        self.takes_sizes = True
        self.login: tuple[str, str] | None = None
        self.interrupted: list[str] = []
        """Ids that were running when an interrupt came."""
        self.waiting: list[str] = []
        self.current: Job | None = None
        self._finished: list[str] = []
        self._lock: asyncio.Lock | None = None
        self._nudge: asyncio.Event | None = None

    def kind(self, request: Request) -> str:
        if request.path.endswith(("/txt2img", "/img2img", "/extra-single-image")):
            return "submit"
        return {"progress": "query", "interrupt": "cancel"}.get(request.path.rpartition("/")[2], "info")

    async def answer(self, request: Request) -> Reply:  # noqa: PLR0911 - one return a route
        if not self._let_in(request):
            return self._error(401, "HTTPException", "Incorrect username or password")
        match request.method, request.path:
            case "POST", "/sdapi/v1/txt2img" | "/sdapi/v1/img2img":
                return await self._made(request.json())
            case "POST", "/sdapi/v1/extra-single-image" if self.variant != "sdcpp":
                return self._enlarged(request.json())
            case "POST", "/internal/progress" if self.internal and self.variant != "sdcpp":
                return self._progress_object(request.json())
            case "GET", "/sdapi/v1/progress" if self.variant != "sdcpp":
                return self._all_known()
            case "POST", "/sdapi/v1/interrupt" if self.variant != "sdcpp":
                return self._interrupt()
            case "GET", "/sdapi/v1/sd-models":
                titles = ["dream.safetensors [0123456789]", "other.safetensors"]
                return Reply.json([{"title": title, "model_name": title.partition(".")[0]} for title in titles])
            case _:
                return Reply.json({"detail": "Not Found"}, 404)

    def _let_in(self, request: Request) -> bool:
        if self.login is None or request.path.startswith("/internal"):
            return True
        given = b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        return given == ":".join(self.login)

    # The work

    async def _made(self, payload: dict[str, Any]) -> Reply:
        """Requests wait for one lock inside the open POST, first come, first served."""
        if (refused := self._checked(payload)) is not None:
            return refused
        self._lock, self._nudge = self._lock or asyncio.Lock(), self._nudge or asyncio.Event()
        job = self.add_job(payload.get("force_task_id") or f"task(txt2img-{uuid4().hex[:7]})", payload)
        self.waiting.append(job.id)
        async with self._lock:
            self.waiting.remove(job.id)
            self.current = job
            await self._worked(job)
            self.current = None
            self._finished = [*self._finished, job.id][-REMEMBERED:]
        self.end_job(job)
        return self._answered_for(job)

    def _enlarged(self, payload: dict[str, Any]) -> Reply:
        """One picture, larger; a real one fails an assertion for an upscaler that it has not got."""
        if payload.get("upscaler_1") not in UPSCALERS:
            missing = f"could not find upscaler named {payload.get('upscaler_1')}"
            return self._error(500, "AssertionError", "", missing)
        job = self.add_job(f"extras-{uuid4().hex[:7]}", payload)
        self.end_job(job)
        return Reply.json({"html_info": "<p></p>", "image": self._encoded(job, 1)})

    def _checked(self, payload: dict[str, Any]) -> Reply | None:
        if not isinstance(payload.get("steps", 20), int):
            wrong = {"loc": ["body", "steps"], "msg": "value is not a valid integer", "type": "type_error.integer"}
            return Reply.json({"detail": [wrong]}, 422)
        if payload.get("sampler_name", "Euler") not in SAMPLERS:
            return self._error(404, "HTTPException", "Sampler not found")
        return None

    async def _worked(self, job: Job) -> None:
        tags = tags_in(job)
        job.polls, job.started_at = 10**6 if self.variant == "sdcpp" else 0, time.monotonic()
        job.seconds *= 10 if "slow" in tags else 1
        assert self._nudge is not None
        while ("never" in tags or not job.ripe) and job.id not in self.interrupted:
            self._nudge.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), 0.05)

    def _answered_for(self, job: Job) -> Reply:
        tags = tags_in(job)
        if "oom" in tags:
            text = "CUDA out of memory. Tried to allocate 2.00 GiB"
            return self._error(500, "OutOfMemoryError", "", text)
        if "fail" in tags:
            return self._error(500, "RuntimeError", "", "Expected all tensors to be on the same device")
        images, first = self._images(job, tags)
        info = json.dumps(self._info(job, len(images)) | {"index_of_first_image": first})
        answer: dict[str, Any] = {"images": images, "parameters": job.payload, "info": info}
        reply = Reply.json(answer | ({"images": None} if "null" in tags else {}))
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _info(self, job: Job, number: int) -> dict[str, Any]:
        """All seeds are there from the start, also where the work is stopped; in sdcpp those of the pictures."""
        payload, seed = job.payload, job.payload.get("seed", -1)
        seed = 7 if seed == -1 else seed
        size = (payload.get("width", 512), payload.get("height", 512)) if self.takes_sizes else (256, 256)
        own = payload.get("override_settings", {}).get("sd_model_checkpoint", "dream")
        name = "loaded.gguf" if self.variant == "sdcpp" else own.partition(".")[0]
        planned = number if self.variant == "sdcpp" else payload.get("batch_size", 1) * payload.get("n_iter", 1)
        info = {"seed": seed, "all_seeds": [seed + index for index in range(planned)], "infotexts": []}
        info |= {"width": size[0], "height": size[1], "steps": payload.get("steps", 20), "sd_model_name": name}
        return info | ({"version": "stable-diffusion.cpp"} if self.variant == "sdcpp" else {})

    def _images(self, job: Job, tags: set[str]) -> tuple[list[str], int]:
        """Interrupted, it has the batch that it was in, unfinished, and none after it."""
        batch, batches = job.payload.get("batch_size", 1), job.payload.get("n_iter", 1)
        batches = 1 if self.variant == "sdcpp" else batches
        number = 0 if "none" in tags else batch * batches
        if job.id in self.interrupted:
            number = min(number, batch * (2 if "two" in tags else 1))
        images = [self._encoded(job, index) for index in range(1, number + 1)]
        if "broken" in tags:
            images[1] = "%%%"
        if "data" in tags:
            images = [f"data:image/png;base64,{image}" for image in images]
        if "grid" in tags:
            return [self._encoded(job, 0), *images, self._encoded(job, 99)], 1
        return images, 0

    def _encoded(self, job: Job, index: int) -> str:
        return b64encode(self.pictures.make(job.id, index)).decode()

    def _error(self, status: int, name: str, detail: str, errors: str = "") -> Reply:
        """Three forms: the middleware's, Starlette's own, FastAPI's own."""
        if self.variant != "forge":
            return Reply.json({"error": name, "detail": detail, "body": "", "errors": errors or detail}, status)
        return Reply.json({"detail": detail}, status) if detail else Reply.text("Internal Server Error", status)

    # Questions meanwhile

    def _progress_object(self, payload: dict[str, Any]) -> Reply:
        id_ = payload["id_task"]
        active = self.current is not None and self.current.id == id_
        body = {"active": active, "queued": id_ in self.waiting, "completed": id_ in self._finished}
        body |= {"progress": None, "eta": None, "live_preview": None, "id_live_preview": -1, "textinfo": "Waiting..."}
        if active:
            body |= {"progress": self._progress(), "textinfo": "Sampling"}
        elif id_ in self.waiting:
            body["textinfo"] = f"In queue: {self.waiting.index(id_) + 1}/{len(self.waiting)}"
        return Reply.json(body)

    def _all_known(self) -> Reply:
        running = self.current is not None
        state = {"job": "scripts_txt2img" if running else "", "job_count": 1, "interrupted": False}
        progress = self._progress() if running else 0.0
        return Reply.json({"progress": progress, "eta_relative": 1.0, "state": state, "textinfo": None})

    def _progress(self) -> float:
        job = self.current
        assert job is not None
        assert self._nudge is not None
        job.polls += 1
        self._nudge.set()
        if self.variant == "forge" and job.polls == 2:
            return -0.35
        return min(1.2, 0.3 * job.polls)

    def _interrupt(self) -> Reply:
        """Stops any request that runs, whichever client sent it."""
        if self.current is not None:
            self.interrupted.append(self.current.id)
            assert self._nudge is not None
            self._nudge.set()
        return Reply(204) if self.variant == "sdnext" else Reply.json({})


def tags_in(job: Job) -> set[str]:
    return set(re.findall(r"#([a-z]+)", str(job.payload.get("prompt", ""))))


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.a1111", description="a Stable Diffusion web UI, made up")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a picture takes")
    parser.add_argument("--size", type=int, default=512, help="pixels of a picture's side")
    parser.add_argument("--variant", choices=("a1111", "forge", "sdnext", "sdcpp"), default="a1111")
    parser.add_argument("--nowebui", action="store_true", help="without /internal/progress")
    words = parser.parse_args()
    pictures = Pictures("png", (words.size, words.size))
    server = WebUIServer(port=words.port, seconds=words.seconds, pictures=pictures, variant=words.variant)
    server.internal = not words.nowebui
    server.run()


if __name__ == "__main__":
    main()
