"""ComfyUI on one's own machine: a graph of nodes goes out, its pictures come back by name.

Protocol facts are from server.py, execution.py, protocol.py and comfy_execution/{jobs,progress}.py of ComfyUI 0.27.
Servers before 0.6 have no /api/jobs; those are asked by /queue, then /history, the way in which a job moves.
Comfy Cloud is another service: it wants a key, and redirects to its pictures.
"""

import asyncio
import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from imagegen_cli.errors import BadRequest, Expired, GenerationFailed, ServerTrouble, Uncertain
from imagegen_cli.events import Working
from imagegen_cli.providers import base
from imagegen_cli.providers._comfyui_graph import (
    DEFAULT,
    ROLES,
    Graph,
    Place,
    is_sendable,
    override,
    path_in,
    places_in,
    read,
)
from imagegen_cli.providers.base import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.providers.wire import QUOTED, Answer, call, clean, decoded, refuse, words_in
from imagegen_cli.references import ANY_FORMAT, examined, is_remote, read as read_picture
from imagegen_cli.tables import setting
from imagegen_cli.task import Image, ImageRequest, InlineImage, Job, RemoteImage, Stop

SEEDS = range(2**64)
SIDES = range(16, 16385, 8)
SQUARES = {"": 1024, "512": 512, "768": 768, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
NO_SUCH_JOB = "Job not found"
OUT_OF_MEMORY = ("out of memory", "outofmemory", "allocation on device")
MOST_BYTES = 64 * 1024 * 1024
"""Of one message on the web socket: a preview is a picture."""
FIRST_WORDS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""Must be the first message; without it a preview does not say whose it is."""
MOST_LOST = 100
"""Connections that may break before live progress is given up; polling goes on."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:8188", "address of the server")
    model: str = setting("", "checkpoint when --model is not given; empty: the workflow's own, else the server's first")
    concurrency: int = setting(4, "tasks at the server at once: it makes one and queues the rest")
    timeout: float = setting(600.0, "time limit of a task in seconds, counted while the server works on it")
    workflow: str = setting("", "workflow in API format, a file; empty: text to image with one checkpoint", file=True)
    places: Mapping[str, str] = setting({}, f'where values go, as prompt = "6.text, 8.text"; for {", ".join(ROLES)}')
    max_batch: int = setting(4, "pictures of one task, where the workflow has a batch size")
    preview: str = setting("auto", "preview method while sampling: auto, latent2rgb, taesd or none")


@dataclass(slots=True)
class Heard:
    """What the web socket said of one job; `nodes` has the class of each node that we sent."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    report: Report | None = None
    note: str = ""
    current: str = ""
    ended: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)
    working: Working = field(default_factory=Working)

    def hear(self, event: Any, data: Any) -> None:
        match event, data:
            case "executing", {"node": str(node)}:
                self.ended.add(self.current)
                self.current = node
                self.working = replace(self.working, note=_words(self.nodes.get(node, node)))
            case "execution_cached", {"nodes": list(nodes)}:
                self.ended.update(node for node in nodes if isinstance(node, str))
            case "executed", {"node": str(node)}:
                self.ended.add(node)
            case "progress", {"node": str(node)}:
                self.parts[node] = _share(data)
            case "progress_state", {"nodes": dict(nodes)}:
                self.ended.update(node for node, state in nodes.items() if path_in(state, "state") == "finished")
                self.parts.update((node, _share(state)) for node, state in nodes.items())
            case _:
                return
        self.tell()

    def tell(self, preview: bytes | None = None) -> None:
        """Say what is known by now; the fraction never falls."""
        ended = self.ended & self.nodes.keys()
        here = sum(part for node, part in self.parts.items() if node in self.nodes and node not in ended)
        share = min(1.0, (len(ended) + here) / len(self.nodes)) if self.nodes else 0.0
        fraction = max(share, self.working.fraction or 0.0) or None
        self.working = replace(self.working, fraction=fraction, preview=preview or self.working.preview)
        if self.report is not None:
            self.report(self.working)


class ComfyUI(Provider):
    kind = "comfyui"
    title = "ComfyUI (your own server)"
    Settings: ClassVar[type[base.Settings]] = Settings

    def __init__(self, settings: Any, clients: Clients) -> None:
        self._settings: Settings = settings
        self._most_lost = MOST_LOST
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/")
        self._headers = dict(self._settings.headers)
        self._client_id = uuid4().hex
        self._own: Graph | None = None
        self._has_jobs = True
        self._heard: dict[str, Heard] = {}
        self._running = ""
        self._stopping: set[str] = set()
        self._ear: asyncio.Task[None] | None = None

    # Before anything is sent

    def check(self, request: ImageRequest) -> None:
        if self._settings.api_key:
            raise BadRequest("ComfyUI knows no key: leave api_key out, or write what your proxy wants into headers")
        for broken, rule in _rules(request):
            if broken:
                raise BadRequest(rule)
        examined(request.references, formats=ANY_FORMAT)
        pixels(request)
        graph = self._workflow()
        places = places_in(graph, self._settings.places)
        for role, value in _wanted(request, self._settings.model).items():
            if role not in places and not (role == "count" and value == 1):
                hint = f'name it in places, as {role} = "6.{role}"'
                raise BadRequest(f"the workflow has no place for {role}", hint=hint)
        override(graph, request.extra)
        if len(request.references) > (most := len(places.get("image", ()))):
            raise BadRequest(f"the workflow takes {most} reference pictures, not {len(request.references)}")

    def most(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the workflow's
        return max(1, self._settings.max_batch) if "count" in self._places() else 1

    def expected(self, request: ImageRequest) -> int:
        graph = self._workflow()
        batches = [graph[node]["inputs"][name] for node, name in self._places().get("count", ())]
        return request.count or next((size for size in batches if isinstance(size, int)), 1)

    def draft(self, request: ImageRequest) -> Job:  # noqa: ARG002 - any id will do
        """`prompt_id`, which must be a UUID in lower case with hyphens."""
        return Job(str(uuid4()))

    async def models(self) -> tuple[str, ...]:
        info = await self._object("/object_info/CheckpointLoaderSimple")
        found = path_in(info, "CheckpointLoaderSimple", "input", "required", "ckpt_name")
        names = found[0] if isinstance(found, list) and found else ()
        if names == "COMBO":
            names = path_in(found[1], "options") if len(found) > 1 else ()
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()

    # The job

    async def submit(self, request: ImageRequest, draft: Job | None, report: Report) -> Accepted | Ready:
        self.check(request)
        graph = await self._filled(request)
        job = draft or self.draft(request)
        heard = self._heard[job.id] = Heard({node: graph[node]["class_type"] for node in graph}, report)
        self._listen()
        asked = {"prompt": graph, "client_id": self._client_id, "prompt_id": job.id}
        asked["extra_data"] = {"preview_method": self._settings.preview}
        answer = await self._ask("POST", "/prompt", paid=True, json=asked)
        refuse(answer, paid=True, said=_node_errors(answer.body))
        given = path_in(answer.body, "prompt_id")
        if not isinstance(given, str) or not given:
            raise Uncertain("the server gave no prompt_id; it may have accepted the workflow")
        self._heard[given] = self._heard.pop(job.id, heard)
        if left_out := _node_errors(answer.body):
            heard.note = f"runs without {left_out}"
            report(Working(note=heard.note))
        return Accepted(Job(given))

    async def poll(self, job: Job, report: Report) -> Working | Ready:
        heard = self._heard.setdefault(job.id, Heard())
        heard.report = report
        try:
            return await self._looked_up(job.id, heard)
        except (GenerationFailed, Expired):
            self._heard.pop(job.id, None)
            raise

    async def _looked_up(self, id_: str, heard: Heard) -> Working | Ready:
        entry = await self._entry(id_)
        status = path_in(entry, "status")
        if entry is None:
            raise Expired("the server does not know this job: it was restarted, or the job was removed").as_final()
        if status == "completed":
            self._heard.pop(id_, None)
            links = self._links(entry.get("outputs"))
            return Ready(tuple([await self._image(link) for link in links]), heard.note)
        if status in ("failed", "cancelled"):
            raise _failure(entry).as_final()
        if status == "pending":
            running, waiting = await self._queue()
            place = len(running) + waiting.index(id_) if id_ in waiting else None
            return Working(queue_position=place, note="waiting in the server's queue")
        return heard.working if status == "in_progress" else Working(note=_words(status))

    async def cancel(self, job: Job) -> Stop:
        """Never stops a neighbour.

        /interrupt may ignore the id on servers without /api/jobs. There it is sent only while /queue shows our job
        running and nobody waiting behind it, so that the job that it could hit instead does not exist yet.
        """
        self._stopping.add(job.id)
        answer = await self._ask("POST", f"/api/jobs/{quote(job.id, safe='')}/cancel")
        if isinstance(answer.body, dict) and "cancelled" in answer.body:
            status = path_in(await self._entry(job.id), "status")
            if answer.body["cancelled"] is True:
                return Stop.STOPPED if status in (None, "cancelled") else Stop.REQUESTED
            return Stop.STOPPED if status == "cancelled" else Stop.TOO_LATE
        _, waiting = await self._queue()
        if job.id in waiting:
            await self._ask("POST", "/queue", json={"delete": [job.id]})
        return await self._interrupt(job.id, deleted=job.id in waiting)

    async def _interrupt(self, id_: str, *, deleted: bool) -> Stop:
        entry = await self._entry(id_)
        if path_in(entry, "status") not in ("in_progress", "pending"):
            return Stop.STOPPED if deleted and entry is None else Stop.TOO_LATE
        running, waiting = await self._queue()
        neighbours = not self._has_jobs and set(waiting) - self._stopping
        if id_ not in running or neighbours:
            return Stop.GOES_ON
        answer = await self._ask("POST", "/interrupt", json={"prompt_id": id_})
        return Stop.REQUESTED if answer.status < 400 else Stop.GOES_ON  # noqa: PLR2004 - HTTP's classes

    async def close(self) -> None:
        """End the web socket."""
        if self._ear is not None:
            self._ear.cancel()
            await asyncio.wait({self._ear})

    # What the server knows of a job

    async def _entry(self, id_: str) -> dict[str, Any] | None:
        """The job as /api/jobs tells it, or the same made of /queue and /history; None where nobody knows it."""
        if self._has_jobs:
            answer = await self._ask("GET", f"/api/jobs/{quote(id_, safe='')}")
            if answer.status == 404 and path_in(answer.body, "error") == NO_SUCH_JOB:  # noqa: PLR2004 - Not Found
                return None  # any other 404 is about the route, or comes from a server in between
            if answer.status not in (404, 405):
                return _good(answer)
            self._has_jobs = False
        running, waiting = await self._queue()
        if id_ in (*running, *waiting):
            return {"status": "in_progress" if id_ in running else "pending"}
        entry = (await self._object(f"/history/{quote(id_, safe='')}")).get(id_)
        return _as_job(entry) if isinstance(entry, dict) else None

    async def _queue(self) -> tuple[list[str], list[str]]:
        """Ids that run, and ids that wait, next one first."""
        body = await self._object("/queue")
        return _ids(body.get("queue_running")), _ids(body.get("queue_pending"))

    async def _image(self, link: str) -> Image:
        """Headers of one's own open the way through a proxy, which a download from elsewhere would not have."""
        if not self._headers:
            return RemoteImage(link)
        answer = await self._ask("GET", link.removeprefix(self._base))
        if answer.status != 200:  # noqa: PLR2004 - a picture is no JSON
            refuse(answer, paid=False)
        return InlineImage(answer.raw)

    def _links(self, outputs: Any) -> list[str]:
        nodes = outputs.values() if isinstance(outputs, dict) else ()
        lists = [path_in(node, "images") for node in nodes]
        files = [file for images in lists if isinstance(images, list) for file in images if path_in(file, "filename")]
        kept = [file for file in files if file.get("type") == "output"] or files
        if not kept:
            raise GenerationFailed("the workflow ended without a picture: it needs a SaveImage node")
        return [f"{self._base}/view?{_query(file)}" for file in kept]

    # The graph

    def _workflow(self) -> Graph:
        if self._own is None:
            self._own = read(Path(self._settings.workflow).expanduser()) if self._settings.workflow else DEFAULT
        return deepcopy(self._own)

    def _places(self) -> dict[str, list[Place]]:
        return places_in(self._workflow(), self._settings.places)

    async def _filled(self, request: ImageRequest) -> Graph:
        """The workflow with everything in its place. Without a seed it gets one: an equal graph would be cached."""
        graph = override(self._workflow(), request.extra)
        wanted = _wanted(request, self._settings.model)
        wanted.setdefault("seed", random.getrandbits(64))
        if not self._settings.workflow and "model" not in wanted:
            wanted["model"] = next(iter(await self.models()), None)
            if wanted["model"] is None:
                raise BadRequest("the server has no checkpoint", hint="put one into its folder models/checkpoints")
        places = self._places()
        for role, value in wanted.items():
            for node, name in places.get(role, ()):
                graph[node]["inputs"][name] = value
        for (node, name), reference in zip(places.get("image", ()), request.references, strict=False):
            graph[node]["inputs"][name] = await self._uploaded(reference)
        return graph

    async def _uploaded(self, reference: str) -> str:
        """The name that the server gave a picture of ours."""
        answer = await self._ask("POST", "/upload/image", files={"image": _file(reference)}, data={"type": "input"})
        body = _good(answer)
        name, folder = _words(body.get("name")), _words(body.get("subfolder"))
        if not name:
            raise ServerTrouble("the server took a reference picture, but did not say its name")
        return f"{folder}/{name}" if folder else name

    # The wire

    async def _ask(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        """Without an Origin header: the server refuses a foreign one."""
        url = f"{self._base}{path}"
        return await call(self._clients, method, url, paid=paid, raw=True, headers=self._headers, **options)

    async def _object(self, path: str) -> dict[str, Any]:
        return _good(await self._ask("GET", path))

    def _listen(self) -> None:
        if self._ear is None:
            self._ear = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        """Live progress, as long as there is a socket. It may fail in any way: polling is the truth."""
        with suppress(Exception):
            from websockets.asyncio.client import connect  # noqa: PLC0415 - 75 ms that only a run is worth
            from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

            options: dict[str, Any] = {"additional_headers": self._headers, "max_size": MOST_BYTES, "close_timeout": 1}
            address = f"ws{self._base.removeprefix('http')}/ws?clientId={self._client_id}"
            sockets: Any = aiter(connect(address, **options))
            async with aclosing(sockets):
                for _ in range(self._most_lost):
                    socket = await anext(sockets)
                    with suppress(ConnectionClosed):
                        await socket.send(json.dumps(FIRST_WORDS))
                        async for message in socket:
                            self._heard_one(message)

    def _heard_one(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._heard_picture(message)
            return
        said = decoded(message.encode())
        data = path_in(said, "data")
        id_ = path_in(data, "prompt_id")
        if isinstance(id_, str) and id_ in self._heard:
            self._running = id_
            self._heard[id_].hear(path_in(said, "type"), data)

    def _heard_picture(self, frame: bytes) -> None:
        """Type 1: a number for the format, the picture. Type 4: a length, so much JSON, the picture."""
        kind, second = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[4:8], "big")
        id_: Any = self._running
        picture = frame[8:]
        if kind == 4:  # noqa: PLR2004 - see above
            id_, picture = path_in(decoded(picture[:second]), "prompt_id"), picture[second:]
        if kind in (1, 4) and picture and isinstance(id_, str) and id_ in self._heard:
            self._heard[id_].tell(picture)


def _rules(request: ImageRequest) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    yield not request.prompt.strip(), "the prompt is empty"
    words = (request.prompt, request.negative, request.model, *request.extra, *request.extra.values())
    yield not is_sendable(words), "half a character is in the request"
    yield request.seed not in (None, -1) and request.seed not in SEEDS, f"a seed is 0 to {SEEDS[-1]}, or -1 for any"
    yield request.count is not None and request.count < 1, "at least one picture must be asked for"
    for reference in request.references:
        by_address = "ComfyUI takes reference pictures from files, not from addresses: download them first"
        yield is_remote(reference), by_address


def _wanted(request: ImageRequest, model: str) -> dict[str, Any]:
    """Role -> value, for what was asked; the rest stays as the workflow has it."""
    width, height = pixels(request) or (None, None)
    seed = None if request.seed == -1 else request.seed
    said = {"prompt": request.prompt, "negative": request.negative or None, "seed": seed, "width": width}
    said |= {"height": height, "count": request.count, "model": request.model or model or None}
    return {role: value for role, value in said.items() if value is not None}


def pixels(request: ImageRequest) -> tuple[int, int] | None:
    """Width and height; None where nothing was said of them."""
    if request.width is not None or request.height is not None:
        if request.width not in SIDES or request.height not in SIDES:
            raise BadRequest(f"a side has {SIDES[0]} to {SIDES[-1]} pixels, in steps of 8")
        return request.width or 0, request.height or 0
    if not request.ratio and not request.resolution:
        return None
    found = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", request.ratio or "1:1")
    side = SQUARES.get(request.resolution.lower())
    if found is None or side is None:
        raise BadRequest(f"a ratio is W:H, a resolution one of {', '.join(word for word in SQUARES if word)}")
    slant = math.sqrt(int(found[1]) / int(found[2]))
    return round(side * slant / 8) * 8, round(side / slant / 8) * 8


def _file(reference: str) -> tuple[str, bytes]:
    """A name that tells nothing but the content, and the bytes."""
    picture = read_picture(reference, formats=ANY_FORMAT)
    return f"imagegen-{hashlib.sha256(picture.data).hexdigest()[:16]}{picture.suffix}", picture.data


def _good(answer: Answer) -> dict[str, Any]:
    if answer.status in (404, 405, 410):
        raise ServerTrouble(f"HTTP {answer.status}: {words_in(answer)}", hint="is base_url right?")
    refuse(answer, paid=False)
    if not isinstance(answer.body, dict):
        raise ServerTrouble("the server answered with JSON of an unknown form")
    return answer.body


def _as_job(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of /history in the words of /api/jobs."""
    messages = path_in(entry, "status", "messages")
    messages = messages if isinstance(messages, list) else []
    pairs = [pair for pair in messages if isinstance(pair, list) and len(pair) > 1]
    error = next((data for event, data, *_ in pairs if event == "execution_error"), None)
    stopped = any(event == "execution_interrupted" for event, *_ in pairs)
    failed = path_in(entry, "status", "status_str") == "error"
    status = "cancelled" if failed and stopped else "failed" if failed else "completed"
    return {"status": status, "outputs": entry.get("outputs"), "execution_error": error}


def _failure(entry: dict[str, Any]) -> GenerationFailed:
    if entry["status"] == "cancelled":
        return GenerationFailed("it was stopped at the server")
    error = entry.get("execution_error")
    node = clean(f"node {_words(path_in(error, 'node_id'))} {_words(path_in(error, 'node_type'))}")
    said = _words(path_in(error, "exception_message")) or _words(path_in(error, "exception_type")) or "no reason given"
    kind = str(path_in(error, "exception_type"))
    small = any(words in f"{kind} {said}".lower() for words in OUT_OF_MEMORY)
    hint = "take fewer pixels, a lower --count or a smaller model" if small else ""
    return GenerationFailed(f"{node}: {said}", hint=hint)


def _node_errors(body: Any) -> str:
    """What is wrong with which node; empty where nothing is."""
    nodes = path_in(body, "node_errors")
    told = []
    for id_, node in nodes.items() if isinstance(nodes, dict) else ():
        errors = path_in(node, "errors") if isinstance(path_in(node, "errors"), list) else ()
        words = [f"{_words(path_in(error, 'message'))}: {_words(path_in(error, 'details'))}" for error in errors]
        told.append(f"node {_words(id_)} {_words(path_in(node, 'class_type'))}: {', '.join(words)}")
    return "; ".join(told)[:QUOTED]


def _ids(items: Any) -> list[str]:
    """Ids of queue entries [number, id, …], lowest number first: the server tells them as they lie in its heap."""
    entries = [item for item in items if isinstance(item, list) and len(item) > 1] if isinstance(items, list) else []
    ordered = sorted(entries, key=lambda item: item[0] if isinstance(item[0], int | float) else 0)
    return [item[1] for item in ordered if isinstance(item[1], str)]


def _query(file: Mapping[str, Any]) -> str:
    return urlencode({key: str(file.get(key) or "") for key in ("filename", "subfolder", "type")}, errors="replace")


def _share(state: Any) -> float:
    value, most = path_in(state, "value"), path_in(state, "max")
    if not isinstance(value, int | float) or not isinstance(most, int | float) or not 0 < value < most:
        return 1.0 if value == most and value is not None else 0.0
    return float(value / most)


def _words(value: Any) -> str:
    """A text or a small number from JSON, in one line that can be written anywhere; else nothing."""
    if isinstance(value, str):
        return clean(value)
    return str(value) if type(value) is int and abs(value) < 2**64 else ""


PROVIDER: type[Provider] = ComfyUI
