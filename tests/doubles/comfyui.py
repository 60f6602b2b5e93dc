"""ComfyUI as far as its clients can see it, web socket included. From the checkout's root:

    python -m tests.doubles.comfyui --port 8188 --seconds 5

Words in the prompt steer what becomes of it:

    #slow #never      takes ten times as long; never ends
    #fail #oom        ends with execution_error; of a full memory
    #none #temp       ends without pictures; with pictures of type temp only
    #film #mesh       has a film beside the pictures; a thing that no program here can show
    #only             has nothing but these
    #both             has pictures of type output and of type temp
    #partial          accepted with node_errors: one output is left out
    #word             says an unknown status while it runs
    #lost             accepted, and not answered at all
    #preview          sends a picture with every step

Attributes switch what holds for the whole server: `has_jobs` (GET /api/jobs), `has_cancel` (POST …/cancel),
`interrupts_by_id` (else /interrupt stops whatever runs), `takes_ids` (else it gives prompt ids of its own), `renames`,
`version`, `login` (name and password that a proxy in front wants), `lacks` (classes of nodes that are not there).
A job's time goes on with each query; every query about a running job reports its progress on the socket.
"""

import argparse
import asyncio
import json
import re
import struct
import threading
import time
from base64 import b64encode
from hashlib import sha1
from typing import Any
from uuid import UUID, uuid4

from tests.doubles.http import Fault, Job, Pictures, Reply, Request, Service

STEPS = 4
PREVIEWS = Pictures("jpeg", (256, 256))
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(100)
FAILURES = {
    "fail": ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"),
    "oom": ("torch.OutOfMemoryError", "Allocation on device"),
}
OUTPUTS = ("SaveImage", "PreviewImage", "FancySaver")
ENDED = ("completed", "failed", "cancelled")


class ComfyServer(Service):
    """Kinds for `fail` and `counts`: submit, query, cancel, download, upload, info, socket."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.has_jobs = self.has_cancel = self.interrupts_by_id = self.takes_ids = True
        self.renames = False
        self.version = "0.27.0"
        self.login: tuple[str, str] | None = None
        self.lacks: set[str] = set()
        self.checkpoints = ["dream.safetensors", "other.safetensors"]
        self.killed: list[str] = []
        """Ids of the jobs that were interrupted, in order."""
        self.uploads: dict[str, bytes] = {}
        self.listening = threading.Event()
        """A socket is connected and has received its first message."""
        self._files: dict[str, tuple[str, int]] = {}
        self._sockets: dict[str, asyncio.StreamWriter] = {}

    def kind(self, request: Request) -> str:
        path = request.path.removeprefix("/api")
        if request.method == "POST":
            return {"/prompt": "submit", "/upload/image": "upload"}.get(path, "cancel")
        kinds = {"/view": "download", "/ws": "socket", "/object_info": "info"}
        return next((kind for start, kind in kinds.items() if path.startswith(start)), "query")

    async def answer(self, request: Request) -> Reply:
        self._go_on()
        if "origin" in request.headers:
            return Reply.text("", 403)
        if self.login is not None:
            wanted = "Basic " + b64encode(":".join(self.login).encode()).decode()
            if request.headers.get("authorization") != wanted:
                return Reply.text("<html>401 Authorization Required</html>", 401)
        path = request.path.strip("/").split("/")
        return self._got(request, path) if request.method == "GET" else self._posted(request, path)

    def _got(self, request: Request, path: list[str]) -> Reply:  # noqa: PLR0911 - one return a route
        match path:
            case ["api", "jobs", id_] if self.has_jobs:
                return self._job(id_)
            case ["queue"]:
                for job in self.jobs.values():
                    self._advance(job)
                self._go_on()
                running, pending = self._entries("running"), self._entries("pending")
                return Reply.json({"queue_running": running, "queue_pending": pending})
            case ["history", id_]:
                return Reply.json({id_: history(self.jobs[id_])} if self._ended(id_) else {})
            case ["system_stats"]:
                return Reply.json({"system": {"os": "posix", "comfyui_version": self.version}, "devices": []})
            case ["view"]:
                return self._view(request.query)
            case ["object_info", "CheckpointLoaderSimple"]:
                required = {"ckpt_name": [self.checkpoints, {"tooltip": "The checkpoint"}]}
                info = {"input": {"required": required}, "output_node": False}
                return Reply.json({"CheckpointLoaderSimple": info})
            case ["object_info", class_]:
                info = {"input": {"required": {}}, "output_node": class_ in OUTPUTS}
                return Reply.json({} if class_ in self.lacks else {class_: info})
            case ["ws"]:
                return self._socket(request)
            case _:
                return Reply.text("404: Not Found", 404)

    def _posted(self, request: Request, path: list[str]) -> Reply:
        match path:
            case ["prompt"]:
                return self._prompt(request.json())
            case ["upload", "image"]:
                return self._upload(request)
            case ["api", "jobs", id_, "cancel"] if self.has_jobs and self.has_cancel:
                return Reply.json({"cancelled": self._delete(id_) or self._interrupt(id_)})
            case ["queue"]:
                for id_ in request.json().get("delete", ()):
                    self._delete(id_)
                return Reply()
            case ["interrupt"]:
                self._interrupt(request.json().get("prompt_id") if self.interrupts_by_id else None)
                return Reply()
            case _:
                return Reply.text("405: Method Not Allowed", 405)

    # Jobs, one at a time

    def _prompt(self, payload: dict[str, Any]) -> Reply:
        graph, id_ = payload.get("prompt"), payload.get("prompt_id", str(uuid4()))
        if not isinstance(graph, dict):
            return refusal("no_prompt", "No prompt provided")
        if not self.takes_ids:
            id_ = str(uuid4())
        elif not canonical(id_):
            return refusal("invalid_prompt_id", "prompt_id must be a valid UUID")
        for node, lacking in ((id_, node["class_type"]) for id_, node in graph.items()):
            if lacking in self.lacks:
                return missing(node, lacking, old=not self.has_jobs)
        if wrong := self._wrong(graph):
            return refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", wrong)
        job = self.add_job(id_, payload)
        job.state = "pending"
        self._inside["jobs"] -= 1
        self._go_on()
        left_out = {"19": node_error("SaveImage", "Required input is missing", "images")}
        answer = {"prompt_id": id_, "number": len(self.jobs), "node_errors": {}}
        reply = Reply.json(answer | ({"node_errors": left_out} if "partial" in tags_in(job) else {}))
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags_in(job) else None
        return reply

    def _wrong(self, graph: dict[str, Any]) -> dict[str, Any]:
        """node_errors of checkpoints that are not there."""
        found = {}
        for id_, node in graph.items():
            name = node["inputs"].get("ckpt_name", self.checkpoints[0])
            if name not in self.checkpoints:
                details = f"ckpt_name: '{name}' not in {self.checkpoints}"
                found[id_] = node_error(node["class_type"], "Value not in list", details)
        return found

    def _go_on(self) -> None:
        """End the jobs whose time has passed, then start the first one that waits."""
        for job in list(self.jobs.values()):
            if job.state == "running" and job.ripe and "never" not in tags_in(job):
                self._end(job)
        if not any(job.state == "running" for job in self.jobs.values()):
            waiting = next((job for job in self.jobs.values() if job.state == "pending"), None)
            if waiting is not None:
                self._begin(waiting)

    def _begin(self, job: Job) -> None:
        job.state, job.started_at, job.polls = "running", time.monotonic(), 0
        job.seconds = self.seconds * (10 if "slow" in tags_in(job) else 1)
        self._send_event(job, "execution_start", {})
        self._send_event(job, "execution_cached", {"nodes": ["4"]})

    def _end(self, job: Job) -> None:
        failure = next((FAILURES[tag] for tag in tags_in(job) if tag in FAILURES), None)
        if failure is not None:
            error = {"prompt_id": job.id, "node_id": "3", "node_type": "KSampler", "exception_type": failure[0]}
            job.notes["error"] = error | {"exception_message": failure[1], "traceback": []}
            self._send_event(job, "execution_error", job.notes["error"])
            job.state = "failed"
            return
        job.notes["outputs"] = self._outputs(job)
        self._send_event(job, "executing", {"node": None})
        self._send_event(job, "execution_success", {})
        job.state = "completed"

    def _outputs(self, job: Job) -> dict[str, Any]:
        tags = tags_in(job)
        types = ["output"] if "temp" not in tags else ["temp"]
        types = [] if tags & {"none", "only"} else ["temp", "output"] if "both" in tags else types
        outputs: dict[str, Any] = {}
        for type_ in types:
            images = []
            for index in range(1, batch_in(job) + 1):
                name = f"{type_} {len(self._files):05}_.png"
                self._files[name] = (job.id, index)
                images.append({"filename": name, "subfolder": "a & b", "type": type_})
            savers = [id_ for id_, node in job.payload["prompt"].items() if node["class_type"] == "SaveImage"]
            outputs["10" if type_ == "temp" else (savers or ["9"])[0]] = {"images": images}
        for tag, name in (("film", "clip.mp4"), ("mesh", "thing.glb")):
            if tag in tags:
                self._files[name] = (job.id, 0)
                outputs[tag] = {
                    "gifs": [{"filename": name, "subfolder": "a & b", "type": "output"}],
                    "animated": [True],
                }
        return outputs

    def _job(self, id_: str) -> Reply:
        job = self.jobs.get(id_)
        if job is None or job.state == "deleted":
            return Reply.json({"error": "Job not found"}, 404)
        self._advance(job)
        self._go_on()
        status = "in_progress" if job.state == "running" else job.state
        if status == "in_progress" and "word" in tags_in(job):
            status = "warming_up"
        entry = {"id": id_, "status": status, "create_time": 1, "update_time": 1, "priority": 1}
        if job.state in ENDED:
            entry |= {"outputs": job.notes.get("outputs", {}), "execution_status": history(job)["status"]}
            entry["workflow"] = {"prompt": job.payload["prompt"], "extra_data": {}}
        if "error" in job.notes:
            entry["execution_error"] = job.notes["error"]
        return Reply.json(entry)

    def _entries(self, state: str) -> list[list[Any]]:
        """As they lie in the server's heap: not in their order."""
        jobs = [job for job in self.jobs.values() if job.state == state]
        numbers = {id_: number for number, id_ in enumerate(self.jobs)}
        return [[numbers[job.id], job.id, job.payload["prompt"], {}, ["9"]] for job in reversed(jobs)]

    def _advance(self, job: Job) -> None:
        if job.state != "running":
            return
        job.polls += 1
        step = min(job.polls, STEPS)
        self._send_event(job, "executing", {"node": "3", "display_node": "3"})
        self._send_event(job, "progress", {"value": step, "max": STEPS, "node": "3"})
        if "preview" in tags_in(job):
            self._send(job.payload.get("client_id", ""), preview(PREVIEWS.make(job.id, step), job.id), text=False)

    def _ended(self, id_: str) -> bool:
        return id_ in self.jobs and self.jobs[id_].state in ENDED

    def _delete(self, id_: str) -> bool:
        job = self.jobs.get(id_)
        if job is None or job.state != "pending":
            return False
        job.state = "deleted"
        return True

    def _interrupt(self, id_: str | None) -> bool:
        """Without an id it hits whatever runs."""
        for job in self.jobs.values():
            if job.state == "running" and id_ in (None, job.id):
                job.state = "cancelled"
                self.killed.append(job.id)
                self._send_event(job, "execution_interrupted", {"node_id": "3"})
                return True
        return False

    def restart(self) -> None:
        """Queue and history die with the process."""
        self.jobs.clear()

    # Files

    def _view(self, query: dict[str, str]) -> Reply:
        if query.get("filename") not in self._files or query.get("subfolder") != "a & b":
            return Reply.text("", 404)
        if query["filename"].endswith(".mp4"):
            return Reply.file(FILM, "video/mp4")
        return Reply.file(self.pictures.make(*self._files[query["filename"]]), self.pictures.content_type)

    def _upload(self, request: Request) -> Reply:
        part = next(part for part in request.parts() if part.name == "image")
        name = f"{part.filename} (1).png" if self.renames else str(part.filename)
        self.uploads[name] = part.data
        return Reply.json({"name": name, "subfolder": "", "type": "input"})

    # The web socket

    def _socket(self, request: Request) -> Reply:
        """A second socket of the same client replaces the first."""
        client = request.query.get("clientId", "")
        key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = b64encode(sha1(key.encode(), usedforsecurity=False).digest()).decode()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._sockets[client] = writer
            while (frame := await read_frame(reader)) is not None:
                self.requests.append(Request("FRAME", request.target, {}, frame, "frame"))
                self.listening.set()
            self._sockets.pop(client, None)

        headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}
        return Reply(101, headers=headers, takeover=serve)

    def _send_event(self, job: Job, event: str, data: dict[str, Any]) -> None:
        """Events go to the client whose prompt it is."""
        message = json.dumps({"type": event, "data": {"prompt_id": job.id, **data}}).encode()
        self._send(job.payload.get("client_id", ""), message, text=True)

    def _send(self, client: str, data: bytes, *, text: bool) -> None:
        if client in self._sockets:
            self._sockets[client].write(frame(data, text=text))

    def say(self, data: bytes | str) -> None:
        """Send any message to every socket, for a test."""

        async def send() -> None:
            for client in self._sockets:
                self._send(client, data.encode() if isinstance(data, str) else data, text=isinstance(data, str))

        self._call(send())

    def hang_up(self) -> None:
        """Cut every socket, as a network does."""

        async def cut() -> None:
            for writer in self._sockets.values():
                writer.transport.abort()

        self.listening.clear()
        self._call(cut())


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """One frame of a client, unmasked; None for the one that closes. Clients here send small ones only."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:  # the length is in the next two bytes
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    mask = await reader.readexactly(4)
    data = await reader.readexactly(length)
    return None if first & 0x0F == 8 else bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def frame(data: bytes, *, text: bool) -> bytes:
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    return bytes([0x81 if text else 0x82]) + (length if size < 65536 else b"\x7f" + struct.pack(">Q", size)) + data


def preview(picture: bytes, id_: str = "") -> bytes:
    """A binary message: with an id one of type 4, else one of type 1."""
    if not id_:
        return struct.pack(">II", 1, 2) + picture
    head = json.dumps({"node_id": "3", "prompt_id": id_, "image_type": "image/png"}).encode()
    return struct.pack(">II", 4, len(head)) + head + picture


def history(job: Job) -> dict[str, Any]:
    """An entry of /history."""
    messages: list[Any] = [["execution_start", {"prompt_id": job.id}]]
    if job.state == "failed":
        messages.append(["execution_error", job.notes["error"]])
    if job.state == "cancelled":
        messages.append(["execution_interrupted", {"prompt_id": job.id}])
    good = job.state == "completed"
    status = {"status_str": "success" if good else "error", "completed": good, "messages": messages}
    prompt = [1, job.id, job.payload["prompt"], {}, ["9"]]
    return {"prompt": prompt, "outputs": job.notes.get("outputs", {}), "status": status, "meta": {}}


def tags_in(job: Job) -> set[str]:
    texts = (str(node["inputs"].get("text", "")) for node in job.payload["prompt"].values())
    return set(re.findall(r"#([a-z]+)", " ".join(texts)))


def batch_in(job: Job) -> int:
    return max(int(node["inputs"].get("batch_size", 1)) for node in job.payload["prompt"].values())


def canonical(id_: object) -> bool:
    try:
        return str(UUID(str(id_))) == id_
    except ValueError:
        return False


def node_error(class_type: str, message: str, details: str) -> dict[str, Any]:
    errors = [{"type": "value_not_in_list", "message": message, "details": details, "extra_info": {}}]
    return {"class_type": class_type, "errors": errors, "dependent_outputs": ["9"]}


def refusal(type_: str, message: str, nodes: dict[str, Any] | None = None) -> Reply:
    error = {"type": type_, "message": message, "details": "", "extra_info": {}}
    return Reply.json({"error": error, "node_errors": nodes or {}}, 400)


def missing(id_: str, class_type: str, *, old: bool) -> Reply:
    """Newer servers name the node by its title, older ones by its class."""
    error: dict[str, Any] = {"type": "invalid_prompt", "details": f"Node ID '#{id_}'", "extra_info": {}}
    error["message"] = f"Cannot execute because node {class_type} does not exist."
    if not old:
        error |= {"type": "missing_node_type", "extra_info": {"node_id": id_, "class_type": class_type}}
        error["message"] = "Node 'my favourite' not found. The custom node may not be installed."
    return Reply.json({"error": error, "node_errors": {}}, 400)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.comfyui", description="a ComfyUI server, made up")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a job takes")
    parser.add_argument("--size", type=int, default=1024, help="pixels of a picture's side")
    parser.add_argument("--old", action="store_true", help="as before 0.6: no /api/jobs, /interrupt ignores the id")
    words = parser.parse_args()
    server = ComfyServer(port=words.port, seconds=words.seconds, pictures=Pictures("png", (words.size, words.size)))
    server.has_jobs = server.interrupts_by_id = not words.old
    server.run()


if __name__ == "__main__":
    main()
