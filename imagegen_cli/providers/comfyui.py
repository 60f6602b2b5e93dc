"""ComfyUI on one's own machine: a graph of nodes goes out, its pictures come back by name.

Protocol facts are from server.py, execution.py, protocol.py and comfy_execution/{jobs,progress}.py of ComfyUI 0.27.
Servers before 0.6 have no /api/jobs; those are asked by /queue, then /history, the way in which a job moves. Since
0.3.57 (pull request 9607) /interrupt stops nothing but the job that it names.
Comfy Cloud is another service: it wants a key, and redirects to its pictures.
"""

import asyncio
import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, Refused, ServerTrouble, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, is_remote, read as read_picture
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, InlineImage, Job, RemoteImage
from imagegen_cli.providers import _common as common
from imagegen_cli.providers._comfyui_graph import (
    DEFAULT,
    MOST_STEPS,
    NO_NODE,
    NO_SAVER,
    NOWHERE,
    ROLES,
    Graph,
    Place,
    check_nodes,
    choices,
    ends_nowhere,
    graph_in,
    is_sendable,
    loads,
    offers,
    override,
    path_in,
    pictures,
    places_in,
    read,
    samples,
    saving,
    spread,
)
from imagegen_cli.providers._http import MAX_QUOTED_CHARS, NO_JOB_HINT, Answer, call, clean, decoded, message_in, refuse

SEEDS = range(2**64)
SIDES = range(16, 16385, 8)
SQUARES = {"": 1024, "512": 512, "768": 768, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
SAVABLE = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".jxl", ".svg"),
    *(".mp4", ".webm", ".wav", ".flac"),
)
"""Ends of names of files that can be told by their first bytes, and are saved as they are; others are named."""
NO_CHECKPOINT = "put one into its folder models/checkpoints"
QUESTIONS = 4
"""Classes of nodes that are asked for at once."""
NO_SUCH_JOB = "Job not found"
INTERRUPTS_BY_ID = (0, 3, 57)
"""The first version whose /interrupt looks at the id that is sent with it."""
OUT_OF_MEMORY = ("out of memory", "outofmemory", "allocation on device")
MOST_BYTES = 64 * 1024 * 1024
"""Of one message on the web socket: a preview is a picture."""
FIRST_WORDS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""Must be the first message; without it a preview does not say whose it is."""
MOST_LOST = 100
"""Connections that may break before live progress is given up; polling goes on."""
FETCHING = 2
"""Jobs whose pictures are held in memory at once, where only this file may fetch them."""
FETCHING_S = 20.0
"""Seconds after which a status query leaves the rest of the pictures to the next one."""


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
    """What is known of one job beside the server's own record: what we sent, and what the web socket said.

    `loads` says of each node how much of the work it is.
    """

    graph: Graph = field(default_factory=dict)
    facts: base.Facts = field(default_factory=dict)
    report: Report | None = None
    note: str = ""
    fetched: dict[str, Image] = field(default_factory=dict)
    loads: dict[str, int] = field(init=False)
    current: str = ""
    ended: set[str] = field(default_factory=set)
    cached: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)
    working: Working = field(default_factory=Working)

    def __post_init__(self) -> None:
        self.loads = loads(self.graph)

    def hear(self, event: Any, data: Any) -> None:
        match event, data:
            case "executing", {"node": str(node)}:
                self.ended.add(self.current)
                self.current = node
                self.working = replace(self.working, note=self._name(node))
            case "execution_cached", {"nodes": list(nodes)}:
                self.cached.update(node for node in nodes if isinstance(node, str))
            case "executed", {"node": str(node)}:
                self.ended.add(node)
            case "progress", {"node": str(node)}:
                self._went_on(node, data)
            case "progress_state", {"nodes": dict(nodes)}:
                for node, state in nodes.items():
                    self._went_on(node, state)
            case _:
                return
        self.tell()

    def _went_on(self, node: str, state: Any) -> None:
        """One node is so far. Only a sampler's steps are work; a node may count bytes or tiles as well."""
        self.parts[node] = _share(state)
        if path_in(state, "state") == "finished":
            self.ended.add(node)
        steps = _steps_in(state)
        if steps is not None and node in self.graph and samples(self.graph[node]):
            self.loads[node] = steps[1]
        if steps is not None and node not in self.ended:
            self.working = replace(self.working, note=f"{self._name(node)} {steps[0]}/{steps[1]}")

    def _name(self, node: str) -> str:
        return _words(path_in(self.graph, node, "class_type") or node)

    def tell(self, preview: bytes | None = None) -> None:
        """Say what is known by now; the fraction never falls. What lay ready in the server's cache is no work."""
        left = self.loads.keys() - self.cached
        ended = self.ended & left
        here = sum(part * self.loads[node] for node, part in self.parts.items() if node in left and node not in ended)
        whole = sum(self.loads[node] for node in left)
        share = min(1.0, (sum(self.loads[node] for node in ended) + here) / whole) if whole else 0.0
        fraction = max(share, self.working.fraction or 0.0) or None
        self.working = replace(self.working, fraction=fraction, preview=preview or self.working.preview)
        if self.report is not None:
            self.report(self.working)


class ComfyUI(Provider[Settings]):
    kind = "comfyui"
    title = "ComfyUI (your own server)"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._most_lost = MOST_LOST
        self._clients = clients
        self._base = self._settings.base_url.rstrip("/")
        self._headers = dict(self._settings.headers)
        self._client_id = uuid4().hex
        self._own: Graph | None = None
        self._has_jobs = True
        self._heard: dict[str, Heard] = {}
        self._fetching = asyncio.Semaphore(FETCHING)
        self._by_id: bool | None = None
        self._running = ""
        self._stopping: set[str] = set()
        self._ear: asyncio.Task[None] | None = None

    # Before anything is sent

    def check_settings(self) -> None:
        if self._settings.api_key:
            raise BadRequest("ComfyUI knows no key: leave api_key out, or write what your proxy wants into headers")
        graph = self._workflow()
        if "prompt" not in places_in(graph, self._settings.places):
            raise _placeless(graph, "prompt")
        if ends_nowhere(graph):
            raise BadRequest(NOWHERE, hint=NO_SAVER)

    async def check_service(self) -> None:
        """Ask which nodes and files the server has, class by class: the whole list is megabytes."""
        graph = self._filled(ImageRequest(prompt="a cat", provider=""), None, ())
        classes = sorted({node["class_type"] for node in graph.values()})
        room = asyncio.Semaphore(QUESTIONS)

        async def told(class_: str) -> dict[str, Any]:
            async with room:
                return await self._object(f"/object_info/{quote(class_, safe='')}")

        answers = await asyncio.gather(*map(told, classes))
        known = {class_: path_in(answer, class_) for class_, answer in zip(classes, answers, strict=True)}
        empty = self._unnamed(graph)
        check_nodes(graph, known, set(empty) | set(self._places().get("image", ())))
        if empty and not choices(known, graph[empty[0][0]]["class_type"], "ckpt_name"):
            raise BadRequest("the server has no checkpoint", hint=NO_CHECKPOINT)

    def check(self, request: ImageRequest) -> None:
        self.check_settings()
        for broken, rule in _rules(request):
            if broken:
                raise BadRequest(rule)
        examined(request.references, formats=ANY_FORMAT)
        pixels(request)
        graph = self._workflow()
        places = places_in(graph, self._settings.places)
        for role, value in _wanted(request, self._settings.model).items():
            if role not in places and not (role == "count" and value == 1):
                raise _placeless(graph, role)
        override(graph, request.extra)
        if len(request.references) > (most := len(places.get("image", ()))):
            raise BadRequest(f"the workflow takes {most} reference pictures, not {len(request.references)}")

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the workflow's
        return max(1, self._settings.max_batch) if "count" in self._places() else 1

    def expected_images(self, request: ImageRequest) -> int:
        """One for each picture of each SaveImage node; a workflow without one is believed to make what it is asked."""
        graph = self._filled(request, None, request.references)
        named = {node: graph[node]["inputs"][name] for node, name in self._places().get("count", ())}
        sizes = {node: size for node, size in named.items() if type(size) is int and size > 0}
        return pictures(graph, sizes) or request.count or next(iter(sizes.values()), 1)

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:
        """The workflow with everything in its place, but for what is known only when it is sent."""
        graph = self._filled(request, request.seed, request.references)
        drawn = self._places().get("seed", ()) if request.seed is None else ()
        for node, name in drawn:
            if f"{node}.{name}" not in request.extra:
                graph[node]["inputs"][name] = "(drawn when it is sent)"
        for node, name in self._places().get("model", ()):
            graph[node]["inputs"][name] = graph[node]["inputs"][name] or "(the server's first)"
        return {"prompt": graph}

    def client_job(self, request: ImageRequest) -> Job:  # noqa: ARG002 - any id will do
        """`prompt_id`, which must be a UUID in lower case with hyphens."""
        return Job(str(uuid4()))

    async def models(self) -> tuple[str, ...]:
        info = await self._object("/object_info/CheckpointLoaderSimple")
        return tuple(choices(info, "CheckpointLoaderSimple", "ckpt_name") or ())

    # The job

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        self.check(request)
        graph = await self._complete(request)
        job = client_job or self.client_job(request)
        heard = self._heard[job.id] = Heard(graph, self._facts(graph), report)
        self._listen()
        asked = {"prompt": graph, "client_id": self._client_id, "prompt_id": job.id}
        asked["extra_data"] = {"preview_method": self._settings.preview}
        answer = await self._ask("POST", "/prompt", paid=True, json=asked)
        _refuse(answer, graph)
        given = path_in(answer.body, "prompt_id")
        if not isinstance(given, str) or not given:
            raise Uncertain("the server gave no prompt_id; it may have accepted the workflow")
        self._heard[given] = self._heard.pop(job.id, heard)
        if left_out := _node_errors(answer.body):
            heard.note = f"runs without {left_out}"
            report(Working(note=heard.note))
        return Accepted(Job(given), heard.facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:
        heard = self._heard.setdefault(job.id, Heard())
        heard.report = report
        try:
            return await self._looked_up(job.id, heard)
        except TaskError as error:
            if error.final:
                self._heard.pop(job.id, None)
            raise

    async def _looked_up(self, id_: str, heard: Heard) -> Working | Ready:
        entry = await self._entry(id_)
        status = path_in(entry, "status")
        if entry is None:
            unknown = "the server does not know this job: it was restarted, or the job was removed"
            raise Expired(unknown, hint=NO_JOB_HINT)  # never final: base_url may name another ComfyUI by now
        if status == "completed":
            return await self._made(id_, entry, heard)
        if status in ("failed", "cancelled"):
            raise _last_word(entry, _failure(entry))
        if status == "pending":
            running, waiting = await self._queue()
            place = len(running) + waiting.index(id_) if id_ in waiting else None
            return Working(queue_position=place, note="waiting in the server's queue")
        return heard.working if status == "in_progress" else Working(note=_words(status))

    async def _made(self, id_: str, entry: Mapping[str, Any], heard: Heard) -> Working | Ready:
        """What we sent is known in this process only; after a restart the server's own record stands for it."""
        outputs = entry.get("outputs")
        graph = heard.graph or graph_in(path_in(entry, "workflow", "prompt")) or {}
        files, others = _files(outputs)
        notes = [heard.note or _silent(graph, outputs), f"the server keeps {others} too" if others else ""]
        if not files:
            raise _last_word(entry, _nothing(others))
        images = await self._images([f"{self._base}/view?{_query(file)}" for file in files], heard)
        if images is None:
            note = f"fetching what was made: {len(heard.fetched)} of {len(files)}"
            return replace(heard.working, note=note)
        self._heard.pop(id_, None)
        return Ready(images, "; ".join(filter(None, notes)), heard.facts or self._facts(graph))

    async def cancel(self, job: Job) -> CancelOutcome:
        """Never stops a neighbour.

        /interrupt ignores the id on servers before 0.3.57. There it is sent only while /queue shows our job running and
        no other waiting behind it, so that the job that it could hit instead does not exist yet.
        """
        self._stopping.add(job.id)
        answer = await self._ask("POST", f"/api/jobs/{quote(job.id, safe='')}/cancel")
        if isinstance(answer.body, dict) and "cancelled" in answer.body:
            status = path_in(await self._entry(job.id), "status")
            if answer.body["cancelled"] is True:
                return CancelOutcome.STOPPED if status in (None, "cancelled") else CancelOutcome.REQUESTED
            return CancelOutcome.STOPPED if status == "cancelled" else CancelOutcome.TOO_LATE
        _, waiting = await self._queue()
        if job.id in waiting:
            await self._ask("POST", "/queue", json={"delete": [job.id]})
        return await self._interrupt(job.id, deleted=job.id in waiting)

    async def _interrupt(self, id_: str, *, deleted: bool) -> CancelOutcome:
        entry = await self._entry(id_)
        if path_in(entry, "status") not in ("in_progress", "pending"):
            return CancelOutcome.STOPPED if deleted and entry is None else CancelOutcome.TOO_LATE
        running, waiting = await self._queue()
        neighbours = set(waiting) - self._stopping
        if id_ not in running or (neighbours and not await self._interrupts_by_id()):
            return CancelOutcome.GOES_ON
        answer = await self._ask("POST", "/interrupt", json={"prompt_id": id_})
        return CancelOutcome.REQUESTED if answer.status < 400 else CancelOutcome.GOES_ON  # noqa: PLR2004 - HTTP's classes

    async def _interrupts_by_id(self) -> bool:
        """Whether /interrupt leaves alone every job but the one that it names; asked once."""
        if self._by_id is None and not self._has_jobs:
            with suppress(TaskError):
                told = path_in(await self._object("/system_stats"), "system", "comfyui_version")
                self._by_id = _version(told) >= INTERRUPTS_BY_ID
        return self._has_jobs or bool(self._by_id)

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
                job = _good(answer)
                common.about(id_, job.get("id"))
                return job
            self._has_jobs = False
        running, waiting = await self._queue()
        if id_ in (*running, *waiting):
            return {"status": "in_progress" if id_ in running else "pending"}
        entry = (await self._object(f"/history/{quote(id_, safe='')}")).get(id_)
        if not isinstance(entry, dict):
            return None
        prompt = entry.get("prompt")
        common.about(id_, prompt[1] if isinstance(prompt, list) and len(prompt) > 1 else None)
        return _as_job(entry) | {"id": id_}

    async def _queue(self) -> tuple[list[str], list[str]]:
        """Ids that run, and ids that wait, next one first."""
        body = await self._object("/queue")
        return _ids(body.get("queue_running")), _ids(body.get("queue_pending"))

    async def _images(self, links: Sequence[str], heard: Heard) -> tuple[Image, ...] | None:
        """Headers, or a name and a password in base_url, open the way for this file alone: it fetches by itself then.

        None where that takes longer than one status query may; what has come is kept for the next.
        """
        if not self._headers and urlsplit(self._base).username is None:
            return tuple(RemoteImage(link) for link in links)
        if self._fetching.locked():
            return None
        clock = asyncio.get_running_loop().time
        async with self._fetching:
            end = clock() + FETCHING_S
            for link in links:
                if link not in heard.fetched and clock() > end:
                    return None
                heard.fetched[link] = heard.fetched.get(link) or await self._fetched(link)
        return tuple(heard.fetched[link] for link in links)

    async def _fetched(self, link: str) -> InlineImage:
        answer = await self._ask("GET", link.removeprefix(self._base))
        if answer.status != 200:  # noqa: PLR2004 - a picture is no JSON
            refuse(answer, paid=False)
        return InlineImage(answer.raw)

    # The graph

    def _workflow(self) -> Graph:
        if self._own is None:
            self._own = read(Path(self._settings.workflow).expanduser()) if self._settings.workflow else DEFAULT
        return deepcopy(self._own)

    def _places(self) -> dict[str, list[Place]]:
        return places_in(self._workflow(), self._settings.places)

    def _filled(self, request: ImageRequest, seed: int | None, images: Sequence[str]) -> Graph:
        """The workflow with everything in its place. What a person names by its node wins over what stands for it."""
        graph, places = self._workflow(), self._places()
        for role, value in _wanted(request, self._settings.model).items():
            for node, name in places.get(role, ()) if role != "seed" else ():
                graph[node]["inputs"][name] = value
        if seed is not None and "seed" in places:
            for (node, name), value in spread(graph, places["seed"], seed).items():
                graph[node]["inputs"][name] = value
        for (node, name), image in zip(places.get("image", ()), images, strict=False):
            graph[node]["inputs"][name] = image
        return override(graph, request.extra)

    async def _complete(self, request: ImageRequest) -> Graph:
        """As it goes out. Without a seed it gets one that all nodes take: an equal graph would be cached."""
        images = [await self._uploaded(reference) for reference in request.references]
        seed = request.seed if request.seed not in (None, -1) else random.getrandbits(32)
        graph = self._filled(request, seed, images)
        empty = self._unnamed(graph)
        first = next(iter(await self.models()), None) if empty else ""
        if first is None:
            raise BadRequest("the server has no checkpoint", hint=NO_CHECKPOINT)
        for node, name in empty:
            graph[node]["inputs"][name] = first
        return graph

    def _unnamed(self, graph: Graph) -> list[Place]:
        """Where the server's first checkpoint goes, because neither the request nor the workflow names one."""
        named = [(node, name) for node, name in self._places().get("model", ()) if name == "ckpt_name"]
        return [(node, name) for node, name in named if graph[node]["inputs"][name] == ""]

    def _facts(self, graph: Graph) -> base.Facts:
        """The seed of the first place and the model of the only one, as they stand in a graph that was sent."""
        found: dict[str, str | int] = {}
        with suppress(BadRequest):
            places = places_in(graph, self._settings.places)
            values = {role: [graph[id_]["inputs"][name] for id_, name in places.get(role, ())] for role in places}
            seeds, models = values.get("seed", []), {str(model) for model in values.get("model", ())}
            if seeds and type(seeds[0]) is int and seeds[0] in SEEDS:
                found["seed"] = seeds[0]
            if len(models) == 1 and (model := clean(models.pop())):
                found["model"] = model
        return found

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


def _placeless(graph: Graph, role: str) -> BadRequest:
    offered = offers(graph, role)
    hint = f'name it in places, as {role} = "6.{role}"' + (f"; the workflow has {offered}" if offered else "")
    return BadRequest(f"the workflow has no place for {role}", hint=hint)


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
        raise ServerTrouble(f"HTTP {answer.status}: {message_in(answer)}", hint="is base_url right?")
    refuse(answer, paid=False)
    if not isinstance(answer.body, dict):
        raise ServerTrouble("the server answered with JSON of an unknown form")
    return answer.body


def _refuse(answer: Answer, graph: Graph) -> None:
    """Raise what an answer to a submit means that accepts nothing."""
    body = answer.body if answer.status == 400 else None  # noqa: PLR2004 - Bad Request
    if lacking := _missing(path_in(body, "error"), graph):
        raise BadRequest(f"the server has no node {lacking}", hint=NO_NODE)
    if path_in(body, "error", "type") == "prompt_no_outputs":
        raise BadRequest(NOWHERE, hint=NO_SAVER)
    refuse(answer, paid=True, message=_node_errors(answer.body))


def _missing(error: Any, graph: Graph) -> str:
    """Class and id of a node that the server does not know; empty where that is not what is wrong.

    Newer servers write the title of the node into the message, and the class beside it; older ones only the class.
    """
    said = _words(path_in(error, "message"))
    old = path_in(error, "type") == "invalid_prompt" and "does not exist" in said
    if path_in(error, "type") != "missing_node_type" and not old:
        return ""
    told = re.search(r"#([\w:.-]+)", _words(path_in(error, "details")))
    id_ = told[1] if told else ""
    class_ = _words(path_in(error, "extra_info", "class_type")) or _words(path_in(graph, id_, "class_type"))
    return f"{class_ or said} (node {id_})" if id_ else class_ or said


def _files(outputs: Any) -> tuple[list[Mapping[str, Any]], str]:
    """Files that can be saved, and the names of those that cannot. Previews count only where there is nothing else."""
    nodes = [node for node in outputs.values() if isinstance(node, dict)] if isinstance(outputs, dict) else []
    lists = [files for node in nodes for files in node.values() if isinstance(files, list)]
    found = [file for files in lists for file in files if isinstance(path_in(file, "filename"), str)]
    told = list({_query(file): file for file in found if file["filename"]}.values())
    kept = [file for file in told if file.get("type") == "output"] or told
    savable = [file for file in kept if file["filename"].lower().endswith(SAVABLE)]
    return savable, clean(", ".join(file["filename"] for file in kept if file not in savable))


def _nothing(others: str) -> BadRequest:
    if others:
        said = f"the workflow made no picture, but {others}"
        return BadRequest(said, hint="it lies in the server's output folder; a SaveImage node makes a picture")
    return BadRequest("the workflow ended without a picture", hint=NO_SAVER)


def _silent(graph: Graph, outputs: Any) -> str:
    """Which nodes should have saved something and did not: the server leaves out what it finds wrong."""
    told = outputs if isinstance(outputs, dict) else {}
    nodes = [f"node {clean(id_)} {clean(graph[id_]['class_type'])}" for id_ in saving(graph) if id_ not in told]
    return f"nothing came of {', '.join(nodes)}"[:MAX_QUOTED_CHARS] if nodes else ""


def _version(text: Any) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", text, re.ASCII) if isinstance(text, str) else None
    return tuple(int(number) for number in found.groups()) if found else ()


def _as_job(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of /history in the words of /api/jobs."""
    messages = path_in(entry, "status", "messages")
    messages = messages if isinstance(messages, list) else []
    pairs = [pair for pair in messages if isinstance(pair, list) and len(pair) > 1]
    error = next((data for event, data, *_ in pairs if event == "execution_error"), None)
    stopped = any(event == "execution_interrupted" for event, *_ in pairs)
    failed = path_in(entry, "status", "status_str") == "error"
    status = "cancelled" if failed and stopped else "failed" if failed else "completed"
    prompt = entry.get("prompt")
    graph = prompt[2] if isinstance(prompt, list) and len(prompt) > 2 else None  # noqa: PLR2004 - number, id, graph
    told = {"status": status, "outputs": entry.get("outputs"), "execution_error": error}
    return told | {"workflow": {"prompt": graph}}


def _last_word(entry: Mapping[str, Any], error: Refused) -> TaskError:
    """The error as final; a word without the job's id may be about anything."""
    return error.as_final() if _words(entry.get("id")) else ServerTrouble(f"the server names no job: {error.message}")


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
    return "; ".join(told)[:MAX_QUOTED_CHARS]


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


def _steps_in(state: Any) -> tuple[int, int] | None:
    """How many steps of how many, where there are several."""
    value, most = path_in(state, "value"), path_in(state, "max")
    known = all(type(number) in (int, float) for number in (value, most)) and 0 <= value <= most <= MOST_STEPS
    return (int(value), int(most)) if known and most > 1 else None


def _words(value: Any) -> str:
    """A text or a small number from JSON, in one line that can be written anywhere; else nothing."""
    if isinstance(value, str):
        return clean(value)
    return str(value) if type(value) is int and abs(value) < 2**64 else ""


PROVIDER: type[Provider[Any]] = ComfyUI
