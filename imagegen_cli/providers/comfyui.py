"""ComfyUI, self-hosted: the request is a graph of nodes, the answer the names of its pictures.

Protocol facts are from server.py, execution.py, protocol.py and comfy_execution/{jobs,progress}.py of ComfyUI 0.27.
Servers before 0.6 have no /api/jobs: there a query goes to /queue, then to /history, as a job moves. Since 0.3.57
(pull request 9607) /interrupt stops only the job that it names.
Comfy Cloud is another service: it needs a key, and redirects to its pictures.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, Refused, ServerTrouble, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.core.references import ANY_FORMAT, examined, read as read_picture
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, InlineImage, Job, RemoteImage
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._comfyui_graph import (
    DEFAULT,
    MAX_STEPS,
    NO_OUTPUT,
    NODE_HINT,
    ROLES,
    SAVER_HINT,
    Graph,
    Place,
    check_nodes,
    choices,
    graph_in,
    has_no_output,
    is_sendable,
    loads,
    no_node,
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
from imagegen_cli.providers._http import (
    GONE,
    MAX_QUOTED_CHARS,
    NO_JOB_HINT,
    NO_ROUTES,
    Answer,
    clean,
    decoded,
    message_in,
    refuse,
)

SEEDS = range(2**64)
SIDES = range(16, 16385, 8)
SQUARES = {"": 1024, "512": 512, "768": 768, "1k": 1024, "2k": 2048}
"""Resolution -> side of the square that has as many pixels."""
SAVABLE = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".jxl", ".svg"),
    *(".mp4", ".webm", ".wav", ".flac"),
)
"""Suffixes of files that are recognised by their first bytes and saved as they are; the note names other files."""
NO_CHECKPOINT = Message("the server has no checkpoint")
CHECKPOINT_HINT = Message("put one into its folder models/checkpoints")
MAX_QUERIES_AT_ONCE = 4
"""Queries about classes of nodes that run at the same time."""
NO_SUCH_JOB = "Job not found"
INTERRUPTS_BY_ID = (0, 3, 57)
"""The first version whose /interrupt heeds the id that is sent with it."""
OUT_OF_MEMORY = ("out of memory", "outofmemory", "allocation on device")
OUT_OF_MEMORY_HINT = Message("take fewer pixels, a lower --count or a smaller model")
DRAWN_SEEDS = range(2**32)
"""Seeds that all nodes take."""
PREVIEW, PREVIEW_WITH_METADATA = 1, 4
"""Types of binary messages on the web socket."""
MAX_BYTES = 64 * 1024 * 1024
"""Of one message on the web socket: a preview is a picture."""
FIRST_MESSAGE = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""Must be the first message; without it a preview does not name its job."""
MAX_LOST_CONNECTIONS = 100
"""Connections that may break before live progress ends; status queries go on."""
MAX_JOBS_FETCHED = 2
"""Jobs whose pictures are held in memory at the same time, where only this file may fetch them."""
MAX_FETCH_S = 20.0
"""Seconds after which a status query leaves the remaining pictures to the next query."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("http://127.0.0.1:8188", Message("address of the server"))
    model: str = setting(
        "", Message("checkpoint when --model is not given; empty: the workflow's own, else the server's first")
    )
    concurrency: int = setting(4, Message("tasks at the server at once: it works on one and queues the others"))
    timeout: float = setting(600.0, Message("time limit of a task in seconds, counted while the server works on it"))
    workflow: str = setting(
        "", Message("workflow in API format, a file; empty: text to image with one checkpoint"), file=True
    )
    places: Mapping[str, str] = setting(
        {}, Message('where values go, as prompt = "6.text, 8.text"; for {roles}').format(roles=", ".join(ROLES))
    )
    max_batch: int = setting(4, Message("pictures of one task, where the workflow has a batch size"))
    preview: str = setting("auto", Message("preview method while sampling: auto, latent2rgb, taesd or none"))


@dataclass(slots=True)
class LiveJob:
    """What is known of one job beside the server's own record: what was sent, and the messages of the web socket.

    `loads` is each node's share of the work.
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

    def take(self, event: Any, data: Any) -> None:
        """Take in one message of the web socket; unknown messages are passed over."""
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
                self._advance(node, data)
            case "progress_state", {"nodes": dict(nodes)}:
                for node, state in nodes.items():
                    self._advance(node, state)
            case _:
                return
        self.show()

    def _advance(self, node: str, state: Any) -> None:
        """Note the progress of one node. Only a sampler's steps are work: other nodes count bytes or tiles."""
        self.parts[node] = _share(state)
        if path_in(state, "state") == "finished":
            self.ended.add(node)
        steps = _steps_in(state)
        if steps is not None and node in self.graph and samples(self.graph[node]):
            self.loads[node] = steps[1]
        if steps is not None and node not in self.ended:
            self.working = replace(self.working, note=f"{self._name(node)} {steps[0]}/{steps[1]}")

    def _name(self, node: str) -> str:
        return _text_in(self.graph, node, "class_type") or clean(node)

    def show(self, preview: bytes | None = None) -> None:
        """Report the progress; the fraction never falls. Nodes that the server had in its cache are no work."""
        left = self.loads.keys() - self.cached
        ended = self.ended & left
        here = sum(part * self.loads[node] for node, part in self.parts.items() if node in left and node not in ended)
        whole = sum(self.loads[node] for node in left)
        share = min(1.0, (sum(self.loads[node] for node in ended) + here) / whole) if whole else 0.0
        fraction = max(share, self.working.fraction or 0.0) or None
        self.working = replace(self.working, fraction=fraction, preview=preview or self.working.preview)
        if self.report is not None:
            self.report(self.working)


class ComfyUI(common.HttpProvider[Settings]):
    kind = "comfyui"
    title = Message("ComfyUI (your own server)")
    declares_options = False
    is_free = True

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._max_lost_connections = MAX_LOST_CONNECTIONS
        self._client_id = uuid4().hex
        self._own: Graph | None = None
        self._has_jobs = True
        self._live: dict[str, LiveJob] = {}
        self._fetching = asyncio.Semaphore(MAX_JOBS_FETCHED)
        self._by_id: bool | None = None
        self._running = ""
        self._stopping: set[str] = set()
        self._listener: asyncio.Task[None] | None = None

    # Before anything is sent

    def check_settings(self) -> None:
        if self._settings.api_key:
            message = Message("ComfyUI has no key: leave api_key out, or write what your proxy needs into headers")
            raise BadRequest(message)
        graph = self._workflow()
        if "prompt" not in places_in(graph, self._settings.places):
            raise _placeless(graph, "prompt")
        if has_no_output(graph):
            raise BadRequest(NO_OUTPUT, hint=SAVER_HINT)

    async def check_service(self) -> None:
        """Query the nodes and files of the server class by class: the whole list has megabytes."""
        graph = self._filled(ImageRequest(prompt="a cat", provider=""), None, ())
        classes = sorted({node["class_type"] for node in graph.values()})
        limit = asyncio.Semaphore(MAX_QUERIES_AT_ONCE)

        async def queried(class_: str) -> dict[str, Any]:
            async with limit:
                return await self._object(f"/object_info/{quote(class_, safe='')}")

        answers = await asyncio.gather(*map(queried, classes))
        known = {class_: path_in(answer, class_) for class_, answer in zip(classes, answers, strict=True)}
        empty = self._unnamed(graph)
        check_nodes(graph, known, set(empty) | set(self._places().get("image", ())))
        if empty and not choices(known, graph[empty[0][0]]["class_type"], "ckpt_name"):
            raise BadRequest(NO_CHECKPOINT, hint=CHECKPOINT_HINT)

    def check(self, request: ImageRequest) -> None:
        self.check_settings()
        rules.check(_rules(request))
        examined(request.references, formats=ANY_FORMAT)
        pixels(request)
        graph = self._workflow()
        places = places_in(graph, self._settings.places)
        for role, value in _wanted(request, self._settings.model).items():
            if role not in places and not (role == "count" and value == 1):
                raise _placeless(graph, role)
        override(graph, request.extra)
        if len(request.references) > (limit := len(places.get("image", ()))):
            message = Message("the workflow takes {limit} reference pictures, not {count}")
            raise BadRequest(message.format(limit=limit, count=len(request.references)))

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the workflow's
        return max(1, self._settings.max_batch) if "count" in self._places() else 1

    def expected_images(self, request: ImageRequest) -> int:
        """The pictures of all SaveImage nodes; for a workflow without such a node, the number in the request."""
        graph = self._filled(request, None, request.references)
        named = {node: graph[node]["inputs"][name] for node, name in self._places().get("count", ())}
        sizes = {node: size for node, size in named.items() if type(size) is int and size > 0}
        return pictures(graph, sizes) or request.count or next(iter(sizes.values()), 1)

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:
        """The workflow with its values, except for those that are known only when it is sent."""
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
        live = self._live[job.id] = LiveJob(graph, self._facts(graph), report)
        self._listen()
        body = {"prompt": graph, "client_id": self._client_id, "prompt_id": job.id}
        body["extra_data"] = {"preview_method": self._settings.preview}
        answer = await self._ask("POST", "/prompt", paid=True, json=body)
        _refuse(answer, graph)
        given = path_in(answer.body, "prompt_id")
        if not isinstance(given, str) or not given:
            raise Uncertain(Message("the server gave no prompt_id; it may have accepted the workflow"))
        self._live[given] = self._live.pop(job.id, live)
        if left_out := _node_errors(answer.body):
            live.note = Message("runs without {nodes}").format(nodes=left_out)
            report(Working(note=live.note))
        return Accepted(Job(given), live.facts)

    async def poll(self, job: Job, report: Report) -> Working | Ready:
        live = self._live.setdefault(job.id, LiveJob())
        live.report = report
        try:
            return await self._looked_up(job.id, live)
        except TaskError as error:
            if error.final:
                self._live.pop(job.id, None)
            raise

    async def _looked_up(self, id_: str, live: LiveJob) -> Working | Ready:
        entry = await self._entry(id_)
        status = path_in(entry, "status")
        if entry is None:
            unknown = Message("the server does not know this job: it was restarted, or the job was removed")
            raise Expired(unknown, hint=NO_JOB_HINT)  # never final: base_url may name another ComfyUI now
        if status == "completed":
            return await self._made(id_, entry, live)
        if status in ("failed", "cancelled"):
            raise _as_final(entry, _failure(entry))
        if status == "pending":
            running, waiting = await self._queue()
            place = len(running) + waiting.index(id_) if id_ in waiting else None
            return Working(queue_position=place, note=Message("waiting in the server's queue"))
        return live.working if status == "in_progress" else Working(note=common.text_or_number(status))

    async def _made(self, id_: str, entry: Mapping[str, Any], live: LiveJob) -> Working | Ready:
        """The pictures. The graph is known in this process only; later the server's own record stands for it."""
        outputs = entry.get("outputs")
        graph = live.graph or graph_in(path_in(entry, "workflow", "prompt")) or {}
        files, others = _files(outputs)
        kept = Message("the server keeps {files} too").format(files=others) if others else ""
        notes = [live.note or _silent(graph, outputs), kept]
        if not files:
            raise _as_final(entry, _nothing(others))
        images = await self._images([f"{self._base}/view?{_query(file)}" for file in files], live)
        if images is None:
            note = Message("fetching the pictures: {count} of {total}")
            return replace(live.working, note=note.format(count=len(live.fetched), total=len(files)))
        self._live.pop(id_, None)
        return Ready(images, joined("; ", filter(None, notes)), live.facts or self._facts(graph))

    async def cancel(self, job: Job) -> CancelOutcome:
        """Stop this job and never another one.

        Servers before 0.3.57 ignore the id that is sent with /interrupt. It is sent to them only while /queue shows our
        job running and no other job behind it, so that the job that it could stop instead does not exist yet.
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
        return CancelOutcome.GOES_ON if answer.is_error else CancelOutcome.REQUESTED

    async def _interrupts_by_id(self) -> bool:
        """Whether /interrupt stops only the job that it names; queried once."""
        if self._by_id is None and not self._has_jobs:
            with suppress(TaskError):
                version = path_in(await self._object("/system_stats"), "system", "comfyui_version")
                self._by_id = _version(version) >= INTERRUPTS_BY_ID
        return self._has_jobs or bool(self._by_id)

    async def close(self) -> None:
        """End the web socket."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})

    # The server's record of a job

    async def _entry(self, id_: str) -> dict[str, Any] | None:
        """The job of /api/jobs, or the same made of /queue and /history; None where the server does not know it."""
        if self._has_jobs:
            answer = await self._ask("GET", f"/api/jobs/{quote(id_, safe='')}")
            if answer.status == HTTPStatus.NOT_FOUND and path_in(answer.body, "error") == NO_SUCH_JOB:
                return None  # any other 404 is about the route, or comes from a server in between
            if answer.status not in NO_ROUTES:
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
        """The ids of the jobs that run, and of those that wait, the next one first."""
        body = await self._object("/queue")
        return _ids(body.get("queue_running")), _ids(body.get("queue_pending"))

    async def _images(self, links: Sequence[str], live: LiveJob) -> tuple[Image, ...] | None:
        """The pictures. With headers, or a login in base_url, only this provider can fetch them, and does it here.

        None where that takes longer than one status query may; what has come is kept for the next query.
        """
        if not self._settings.headers and urlsplit(self._base).username is None:
            return tuple(RemoteImage(link) for link in links)
        if self._fetching.locked():
            return None
        clock = asyncio.get_running_loop().time
        async with self._fetching:
            end = clock() + MAX_FETCH_S
            for link in links:
                if link not in live.fetched and clock() > end:
                    return None
                live.fetched[link] = live.fetched.get(link) or await self._fetched(link)
        return tuple(live.fetched[link] for link in links)

    async def _fetched(self, link: str) -> InlineImage:
        answer = await self._ask("GET", link.removeprefix(self._base))
        if answer.status != HTTPStatus.OK:  # `refuse` expects JSON, and a picture is none
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
        """The workflow with its values. An option that names a node counts before the option for a role."""
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
        """The workflow as it is sent. Without a seed it gets a drawn one: the server would cache an equal graph."""
        images = [await self._uploaded(reference) for reference in request.references]
        seed = rules.seed_or_drawn(request, DRAWN_SEEDS)
        graph = self._filled(request, seed, images)
        empty = self._unnamed(graph)
        first = next(iter(await self.models()), None) if empty else ""
        if first is None:
            raise BadRequest(NO_CHECKPOINT, hint=CHECKPOINT_HINT)
        for node, name in empty:
            graph[node]["inputs"][name] = first
        return graph

    def _unnamed(self, graph: Graph) -> list[Place]:
        """The places of the server's first checkpoint: neither the request nor the workflow names one there."""
        named = [(node, name) for node, name in self._places().get("model", ()) if name == "ckpt_name"]
        return [(node, name) for node, name in named if graph[node]["inputs"][name] == ""]

    def _facts(self, graph: Graph) -> base.Facts:
        """The first seed, and the model where there is only one, as they are in a graph that was sent."""
        try:
            places = places_in(graph, self._settings.places)
        except BadRequest:
            return {}
        values = {role: [graph[id_]["inputs"][name] for id_, name in places.get(role, ())] for role in places}
        seeds, models = values.get("seed", [None]), {str(model) for model in values.get("model", ())}
        seed = common.natural(seeds[0], SEEDS.stop)
        return common.facts(seed=seed, model=models.pop() if len(models) == 1 else None)

    async def _uploaded(self, reference: str) -> str:
        """The name that the server gave to a picture of ours."""
        answer = await self._ask("POST", "/upload/image", files={"image": _file(reference)}, data={"type": "input"})
        body = _good(answer)
        name, folder = common.text_or_number(body.get("name")), common.text_or_number(body.get("subfolder"))
        if not name:
            raise ServerTrouble(Message("the server took a reference picture, but did not name it"))
        return f"{folder}/{name}" if folder else name

    # HTTP and web socket

    async def _ask(self, method: str, path: str, *, paid: bool = False, **options: Any) -> Answer:
        """Any answer. No Origin header is sent: the server refuses a foreign one."""
        return await self._send(method, f"{self._base}{path}", paid=paid, **options)

    async def _object(self, path: str) -> dict[str, Any]:
        return _good(await self._ask("GET", path))

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = asyncio.create_task(self._take_messages())

    async def _take_messages(self) -> None:
        """Live progress, as long as there is a socket. It may fail in any way, because status queries decide."""
        with suppress(Exception):
            from websockets.asyncio.client import connect  # noqa: PLC0415 - 75 ms that only a run is worth
            from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

            headers = dict(self._settings.headers)
            options: dict[str, Any] = {"additional_headers": headers, "max_size": MAX_BYTES, "close_timeout": 1}
            address = f"ws{self._base.removeprefix('http')}/ws?clientId={self._client_id}"
            sockets: Any = aiter(connect(address, **options))
            async with aclosing(sockets):
                for _ in range(self._max_lost_connections):
                    socket = await anext(sockets)
                    with suppress(ConnectionClosed):
                        await socket.send(json.dumps(FIRST_MESSAGE))
                        async for message in socket:
                            self._take(message)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._take_preview(message)
            return
        body = decoded(message.encode())
        data = path_in(body, "data")
        id_ = path_in(data, "prompt_id")
        if isinstance(id_, str) and id_ in self._live:
            self._running = id_
            self._live[id_].take(path_in(body, "type"), data)

    def _take_preview(self, frame: bytes) -> None:
        """PREVIEW: a number for the format, the picture. PREVIEW_WITH_METADATA: a length, so much JSON, the picture."""
        kind, second = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[4:8], "big")
        id_: Any = self._running
        picture = frame[8:]
        if kind == PREVIEW_WITH_METADATA:
            id_, picture = path_in(decoded(picture[:second]), "prompt_id"), picture[second:]
        if kind in (PREVIEW, PREVIEW_WITH_METADATA) and picture and isinstance(id_, str) and id_ in self._live:
            self._live[id_].show(picture)


def _rules(request: ImageRequest) -> Iterator[rules.Rule]:
    yield from rules.prompt(request)
    words = (request.prompt, request.negative, request.model, *request.extra, *request.extra.values())
    yield not is_sendable(words), Message("half a character is in the request")
    yield rules.seed(request, SEEDS)
    yield request.count is not None and request.count < 1, Message("the request must be for at least one picture")
    yield from rules.files_only(request.references, "ComfyUI")


def _placeless(graph: Graph, role: str) -> BadRequest:
    offered = offers(graph, role)
    hint = Message("name it in places, as {example}").format(example=f'{role} = "6.{role}"')
    if offered:
        hint = Message("{hint}; the workflow has {inputs}").format(hint=hint, inputs=offered)
    return BadRequest(Message("the workflow has no place for {role}").format(role=role), hint=hint)


def _wanted(request: ImageRequest, model: str) -> dict[str, Any]:
    """Role -> value for what the request names; the rest stays as the workflow has it."""
    width, height = pixels(request) or (None, None)
    seed = request.seed if rules.has_seed(request) else None
    values = {"prompt": request.prompt, "negative": request.negative or None, "seed": seed, "width": width}
    values |= {"height": height, "count": request.count, "model": request.model or model or None}
    return {role: value for role, value in values.items() if value is not None}


def pixels(request: ImageRequest) -> tuple[int, int] | None:
    """Width and height; None where neither a size nor a ratio is asked for. Raises BadRequest."""
    width, height = request.width or 0, request.height or 0
    if not rules.is_sized(request):
        if not request.ratio and not request.resolution:
            return None
        resolution = request.resolution.lower()
        rules.check([rules.one_of("resolution", resolution, SQUARES, "ComfyUI")])
        width, height = rules.sides_of(request.ratio, SQUARES[resolution], SIDES.step)
    if width not in SIDES or height not in SIDES:
        message = Message("a side has {low} to {high} pixels, in steps of {step}; not {size}")
        size = f"{width}x{height}"
        raise BadRequest(message.format(low=SIDES[0], high=SIDES[-1], step=SIDES.step, size=size))
    return width, height


def _file(reference: str) -> tuple[str, bytes]:
    """A file name made of the content, and the bytes."""
    picture = read_picture(reference, formats=ANY_FORMAT)
    return f"imagegen-{hashlib.sha256(picture.data).hexdigest()[:16]}{picture.suffix}", picture.data


def _good(answer: Answer) -> dict[str, Any]:
    """The object in a good answer. A path that does not exist says nothing about a job."""
    if answer.status in (*NO_ROUTES, *GONE):
        message = joined(": ", (f"HTTP {answer.status}", message_in(answer)))
        raise ServerTrouble(message, hint=Message("is base_url right?"))
    return common.body_of(answer, paid=False)


def _refuse(answer: Answer, graph: Graph) -> None:
    """Raise what an answer to a submit means that accepts nothing."""
    body = answer.body if answer.status == HTTPStatus.BAD_REQUEST else None
    if lacking := _missing(path_in(body, "error"), graph):
        raise BadRequest(lacking, hint=NODE_HINT)
    if path_in(body, "error", "type") == "prompt_no_outputs":
        raise BadRequest(NO_OUTPUT, hint=SAVER_HINT)
    refuse(answer, paid=True, message=_node_errors(answer.body))


def _missing(error: Any, graph: Graph) -> str:
    """What to say of a node that the server does not know; empty where the error is another one.

    Newer servers write the title of the node into the message, and the class beside it; older ones only the class.
    """
    message = _text_in(error, "message")
    old = path_in(error, "type") == "invalid_prompt" and "does not exist" in message
    if path_in(error, "type") != "missing_node_type" and not old:
        return ""
    named = re.search(r"#([\w:.-]+)", _text_in(error, "details"))
    id_ = named[1] if named else ""
    class_ = _text_in(error, "extra_info", "class_type") or _text_in(graph, id_, "class_type")
    return no_node(class_ or message, id_)


def _files(outputs: Any) -> tuple[list[Mapping[str, Any]], str]:
    """Files that can be saved, and the names of the others. Previews count only where there are no other files."""
    nodes = [node for node in outputs.values() if isinstance(node, dict)] if isinstance(outputs, dict) else []
    lists = [files for node in nodes for files in node.values() if isinstance(files, list)]
    found = [file for files in lists for file in files if isinstance(path_in(file, "filename"), str)]
    distinct = list({_query(file): file for file in found if file["filename"]}.values())
    kept = [file for file in distinct if file.get("type") == "output"] or distinct
    savable = [file for file in kept if file["filename"].lower().endswith(SAVABLE)]
    return savable, clean(", ".join(file["filename"] for file in kept if file not in savable))


def _nothing(others: str) -> BadRequest:
    if others:
        message = Message("the workflow made no picture, but {files}").format(files=others)
        hint = Message("it lies in the server's output folder; a SaveImage node makes a picture")
        return BadRequest(message, hint=hint)
    return BadRequest(Message("the workflow ended without a picture"), hint=SAVER_HINT)


def _silent(graph: Graph, outputs: Any) -> str:
    """A note about the nodes that should have saved pictures and did not: the server leaves out faulty nodes."""
    came = common.table(outputs)
    nodes = [f"node {clean(id_)} {clean(graph[id_]['class_type'])}" for id_ in saving(graph) if id_ not in came]
    if not nodes:
        return ""
    note = Message("nothing came from {nodes}").format(nodes=", ".join(nodes))
    return note if len(note) <= MAX_QUOTED_CHARS else note[:MAX_QUOTED_CHARS]


def _version(text: Any) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", text, re.ASCII) if isinstance(text, str) else None
    return tuple(int(number) for number in found.groups()) if found else ()


def _as_job(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of /history in the form of /api/jobs."""
    messages = common.items(path_in(entry, "status", "messages"))
    pairs = [pair for pair in messages if isinstance(pair, list) and len(pair) > 1]
    error = next((data for event, data, *_ in pairs if event == "execution_error"), None)
    stopped = any(event == "execution_interrupted" for event, *_ in pairs)
    failed = path_in(entry, "status", "status_str") == "error"
    status = "cancelled" if failed and stopped else "failed" if failed else "completed"
    _number, _id, graph, *_ = (*common.items(entry.get("prompt")), None, None, None)
    job = {"status": status, "outputs": entry.get("outputs"), "execution_error": error}
    return job | {"workflow": {"prompt": graph}}


def _as_final(entry: Mapping[str, Any], error: Refused) -> TaskError:
    """The error as final; without the job's id the answer may be about anything."""
    if _text_in(entry, "id"):
        return error.as_final()
    return ServerTrouble(Message("the server names no job: {message}").format(message=error.message))


def _failure(entry: dict[str, Any]) -> GenerationFailed:
    if entry["status"] == "cancelled":
        return GenerationFailed(Message("it was stopped at the server"))
    error = entry.get("execution_error")
    node = clean(f"{_text_in(error, 'node_id')} {_text_in(error, 'node_type')}")[: MAX_QUOTED_CHARS - len("node ")]
    kind = _text_in(error, "exception_type")
    message = _text_in(error, "exception_message") or kind or Message("no reason given")
    out_of_memory = any(words in f"{kind} {message}".lower() for words in OUT_OF_MEMORY)
    told = Message("node {node}: {message}") if node else Message("node: {message}")
    hint = OUT_OF_MEMORY_HINT if out_of_memory else ""
    return GenerationFailed(told.format(node=node, message=message), hint=hint)


def _node_errors(body: Any) -> str:
    """The errors of each node; empty where there are none."""
    found = []
    for id_, node in common.table(path_in(body, "node_errors")).items():
        errors = common.items(path_in(node, "errors"))
        messages = [f"{_text_in(error, 'message')}: {_text_in(error, 'details')}" for error in errors]
        found.append(f"node {clean(id_)} {_text_in(node, 'class_type')}: {', '.join(messages)}")
    return "; ".join(found)[:MAX_QUOTED_CHARS]


def _ids(items: Any) -> list[str]:
    """Ids of queue entries [number, id, …], lowest number first: the server lists them in the order of its heap."""
    entries = [item for item in common.items(items) if isinstance(item, list) and len(item) > 1]
    ordered = sorted(entries, key=lambda item: item[0] if isinstance(item[0], int | float) else 0)
    return [item[1] for item in ordered if isinstance(item[1], str)]


def _query(file: Mapping[str, Any]) -> str:
    return urlencode({key: str(file.get(key) or "") for key in ("filename", "subfolder", "type")}, errors="replace")


def _share(state: Any) -> float:
    value, end = common.number(path_in(state, "value")), common.number(path_in(state, "max"))
    if value is None or end is None or not 0 <= value <= end:
        return 0.0
    return value / end if end else 1.0


def _steps_in(state: Any) -> tuple[int, int] | None:
    """How many steps of how many, where there are several."""
    value, end = common.number(path_in(state, "value")), common.number(path_in(state, "max"))
    known = value is not None and end is not None and 0 <= value <= end <= MAX_STEPS and end > 1
    return (int(value), int(end)) if value is not None and end is not None and known else None


def _text_in(value: Any, *keys: str) -> str:
    """The text or the number at the end of `keys`; empty where there is none."""
    return common.text_or_number(path_in(value, *keys))


PROVIDER: type[Provider[Any]] = ComfyUI
