"""The provider that needs nobody: it draws what the prompt names, from word lists, on this machine.

Every picture is drawn by a process of its own: resvg holds the interpreter lock while it renders, so a thread would
stop the live table. The process ends with its picture, when its task is dropped, and with this program.
"""

import asyncio
import os
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd, sqrt
from typing import Any, ClassVar

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, Unavailable
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Clients, Provider, Ready, Report
from imagegen_cli.core.schema import setting
from imagegen_cli.core.task import ImageRequest, InlineImage, Job
from imagegen_cli.sketch.order import Drawing, Order

SIDES = range(64, 4097)
SEEDS = range(2**31)
COUNTS = range(1, 101)
MOST_ASPECT = 4
SQUARES = {"": 1024, "512": 512, "1k": 1024, "2k": 2048, "4k": 4096}
"""Resolution -> side of the square that has as many pixels."""

WORDS_TOLD = 8


def cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    concurrency: int = setting(
        os.cpu_count() or 1, "tasks drawn at once; more than the processor's cores gain nothing", shown="one a core"
    )
    timeout: float = setting(300.0, "time limit of a task in seconds")


class Sketch(Provider[Settings]):
    kind = "sketch"
    title = "sketch: drawn here from word lists, without a model, a key or a network"
    is_synchronous = True
    stops_when_dropped: ClassVar[bool] = True
    local: ClassVar[bool] = True
    notice: ClassVar[str] = "sketch draws; no AI model is connected. To connect one: imagegen init"

    def __init__(self, settings: Settings, clients: Clients) -> None:  # noqa: ARG002 - every provider is built alike
        self._model: str = settings.model
        self._desks = asyncio.Semaphore(cores())

    def check(self, request: ImageRequest) -> None:
        size(request)
        if request.references:
            raise BadRequest("sketch cannot start from a picture: leave out the references")
        if request.extra:
            raise BadRequest(f"sketch knows no option {min(request.extra)!r}: leave it out")
        if request.count is not None and request.count not in COUNTS:
            raise BadRequest(f"sketch draws 1 to {COUNTS[-1]} pictures a task, not {request.count}")
        if request.seed not in (None, -1) and request.seed not in SEEDS:
            raise BadRequest(f"a seed is 0 to {SEEDS[-1]}, or -1 for any; not {request.seed}")

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:  # noqa: ARG002
        self.check(request)
        orders = tuple(self._orders(request))
        drawings = await self._all(orders, report)
        left_out = list(dict.fromkeys(word for drawing in drawings for word in drawing.left_out))
        images = tuple(InlineImage(drawing.png) for drawing in drawings)
        seeds = [order.seed for order in orders]
        return Ready(
            images, note=said(left_out), facts={"seed": seeds[0] if len(seeds) == 1 else ", ".join(map(str, seeds))}
        )

    async def poll(self, job: Job, report: Report) -> Ready:  # noqa: ARG002 - it has no jobs to ask for
        raise Expired("a drawing lasts no longer than its submit")

    def _orders(self, request: ImageRequest) -> Iterator[Order]:
        width, height = size(request)
        chance = random.SystemRandom()
        for index in range(self.expected_images(request)):
            unset = request.seed in (None, -1)
            seed = chance.choice(SEEDS) if unset else ((request.seed or 0) + index) % len(SEEDS)
            yield Order(
                prompt=request.prompt,
                negative=request.negative,
                model=request.model or self._model,
                width=width,
                height=height,
                seed=seed,
            )

    async def _all(self, orders: tuple[Order, ...], report: Report) -> tuple[Drawing, ...]:
        ready = 0

        async def one(order: Order) -> Drawing:
            nonlocal ready
            async with self._desks:
                drawing = await draw(order)
            ready += 1
            report(Working(fraction=ready / len(orders), note=f"{ready} of {len(orders)} drawn"))
            return drawing

        report(Working(fraction=0.0, note="drawing"))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(order)) for order in orders]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return tuple(task.result() for task in tasks)


async def draw(order: Order) -> Drawing:
    """Have one picture drawn. Whoever drops this ends the process that draws."""
    process = await _start()
    try:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("a process without its pipes")
        try:
            process.stdin.write(order.line())
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended early: what it said on stderr tells more
        answer, complaint = await asyncio.gather(process.stdout.read(), process.stderr.read())
        if await process.wait() != 0:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise GenerationFailed(f"the drawing process ended without a picture: {last or process.returncode}")
        return Drawing.read(answer)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _start() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    # Its own process group: a Ctrl-C in the terminal is this program's to hear, the drawing one is told by it.
    apart: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}
    # Without the site module the process starts in half the time; it finds everything where this program does.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    words = (sys.executable, "-S", "-P", "-m", "imagegen_cli.sketch")
    try:
        return await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **apart
        )
    except OSError as error:
        raise Unavailable(f"the drawing process cannot be started: {error}") from error


def size(request: ImageRequest) -> tuple[int, int]:
    """Width and height in pixels. Raises BadRequest with the rule."""
    if request.width is not None or request.height is not None:
        if request.width not in SIDES or request.height not in SIDES:
            raise BadRequest(f"sketch draws {SIDES[0]} to {SIDES[-1]} pixels a side")
        return request.width or 0, request.height or 0
    if request.resolution.lower() not in SQUARES:
        raise BadRequest(f"sketch draws at {', '.join(word for word in SQUARES if word)}; not {request.resolution!r}")
    wide, high = _ratio(request.ratio or "1:1")
    step = max(1, round(SQUARES[request.resolution.lower()] / sqrt(wide * high)))
    return wide * step, high * step


def _ratio(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", text)
    wide, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (0 < max(wide, high) <= SIDES[0] and max(wide, high) <= MOST_ASPECT * min(wide, high)):
        raise BadRequest(f"a ratio is W:H with numbers up to {SIDES[0]}, at most 4:1; not {text[:40]!r}")
    common = gcd(wide, high)
    return wide // common, high // common


def said(left_out: list[str]) -> str:
    if not left_out:
        return ""
    more = len(left_out) - WORDS_TOLD
    return f"not drawn: {', '.join(left_out[:WORDS_TOLD])}" + (f" and {more} more" if more > 0 else "")


PROVIDER: type[Provider[Any]] = Sketch
