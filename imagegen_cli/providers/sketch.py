"""The built-in provider without a service: it draws what the prompt names, from word lists, on this machine.

Every picture is drawn by a process of its own: resvg holds the interpreter lock while it renders, so a thread would
stop the live table. The process ends with its picture, when its task is dropped, and with this program.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, Expired, GenerationFailed, Unavailable
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.provider import Clients, Provider, Ready, Report
from imagegen_cli.core.schema import setting
from imagegen_cli.core.system_errors import in_full
from imagegen_cli.core.task import ImageRequest, InlineImage, Job
from imagegen_cli.providers import _rules as rules
from imagegen_cli.sketch.order import Drawing, Order

SIDES = range(64, 4097)
SEEDS = range(2**31)
MAX_IMAGES = 100
MAX_ASPECT = 4
SQUARES = {"": 1024, "512": 512, "1k": 1024, "2k": 2048, "4k": 4096}
"""Resolution -> side of the square that has as many pixels."""

MAX_NOTED_WORDS = 8


def cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    concurrency: int = setting(
        os.cpu_count() or 1,
        Message("tasks drawn at once; more than the processor's cores gain nothing"),
        shown=Message("one per core"),
    )
    timeout: float = setting(300.0, Message("time limit of a task in seconds"))


class Sketch(Provider[Settings]):
    kind = "sketch"
    title = Message("sketch: drawn here from word lists, without a model, a key or a network")
    is_synchronous = True
    stops_when_dropped: ClassVar[bool] = True
    local: ClassVar[bool] = True
    is_free: ClassVar[bool] = True
    notice: ClassVar[str] = Message("sketch draws; no AI model is connected. To connect one: imagegen init")

    def __init__(self, settings: Settings, clients: Clients) -> None:  # noqa: ARG002 - every provider is built alike
        self._model = settings.model
        self._limit = asyncio.Semaphore(cores())

    def check(self, request: ImageRequest) -> None:
        size(request)
        if request.references:
            raise BadRequest(Message("sketch cannot start from a picture: leave out the references"))
        rules.options(request, (), "sketch")
        rules.check([rules.count(request, MAX_IMAGES), rules.seed(request, SEEDS)])

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Ready:  # noqa: ARG002
        self.check(request)
        orders = tuple(self._orders(request))
        drawings = await self._all(orders, report)
        drawn = list(dict.fromkeys(word for drawing in drawings for word in drawing.drawn))
        left_out = list(dict.fromkeys(word for drawing in drawings for word in drawing.left_out))
        images = tuple(InlineImage(drawing.png) for drawing in drawings)
        seeds = [order.seed for order in orders]
        facts: dict[str, str | int] = {"seed": seeds[0] if len(seeds) == 1 else ", ".join(map(str, seeds))}
        facts |= {"drawn": joined(", ", drawn)} if drawn else {}
        facts |= {"not_drawn": joined(", ", left_out)} if left_out else {}
        return Ready(images, note=note_of(drawn, left_out), facts=facts)

    async def poll(self, job: Job, report: Report) -> Ready:  # noqa: ARG002 - it has no jobs to ask for
        raise Expired(Message("a drawing lasts no longer than its submit"))

    def _orders(self, request: ImageRequest) -> Iterator[Order]:
        width, height = size(request)
        for index in range(self.expected_images(request)):
            seed = ((request.seed or 0) + index) % len(SEEDS) if rules.has_seed(request) else rules.drawn(SEEDS)
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
            async with self._limit:
                drawing = await draw(order)
            ready += 1
            report(
                Working(
                    fraction=ready / len(orders),
                    note=Message("{count} of {total} drawn").format(count=ready, total=len(orders)),
                )
            )
            return drawing

        report(
            Working(note=Message("drawing"))
        )  # without a fraction the bar moves: 0 % would stand still until the first picture
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(order)) for order in orders]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return tuple(task.result() for task in tasks)


async def draw(order: Order) -> Drawing:
    """Draw one picture in a process of its own. Cancelling the call ends the process."""
    process = await _start()
    try:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("a process without its pipes")
        try:
            process.stdin.write(order.line())
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the process ended early: its stderr has the reason
        answer, complaint = await asyncio.gather(process.stdout.read(), process.stderr.read())
        if await process.wait() != 0:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise GenerationFailed(
                Message("the drawing process ended without a picture: {last}").format(last=last or process.returncode)
            )
        return Drawing.read(answer)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _start() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    # In a process group of its own it gets no Ctrl-C from the terminal: this program ends it.
    group: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}
    # Without the site module the process starts in half the time; PYTHONPATH names the folders of this program.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    words = (sys.executable, "-S", "-P", "-m", "imagegen_cli.sketch")
    try:
        return await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **group
        )
    except OSError as error:
        raise Unavailable(
            Message("the drawing process cannot be started: {error}").format(error=in_full(error))
        ) from error


def size(request: ImageRequest) -> tuple[int, int]:
    """Width and height in pixels. Raises BadRequest with the rule."""
    if rules.is_sized(request):
        if request.width not in SIDES or request.height not in SIDES:
            raise BadRequest(Message("sketch draws {low} to {high} pixels a side").format(low=SIDES[0], high=SIDES[-1]))
        return request.width or 0, request.height or 0
    resolution = request.resolution.lower()
    rules.check([rules.one_of("resolution", resolution, SQUARES, "sketch")])
    wide, high = rules.ratio_of(request.ratio or "1:1")
    if max(wide, high) > min(SIDES[0], MAX_ASPECT * min(wide, high)):
        rule = Message("a ratio is W:H with numbers up to {limit}, at most {aspect}:1; not {ratio}").format(
            limit=SIDES[0], aspect=MAX_ASPECT, ratio=rules.shown(request.ratio)
        )
        raise BadRequest(rule)
    step = max(1, round(SQUARES[resolution] / sqrt(wide * high)))
    return wide * step, high * step


def note_of(drawn: list[str], left_out: list[str]) -> str:
    """What the picture shows of the prompt and what it does not; empty where nothing is missing."""
    if not left_out:
        return ""
    drew = [Message("drew: {words}").format(words=_first(drawn))] if drawn else []
    return joined(" · ", [*drew, Message("not drawn: {words}").format(words=_first(left_out))])


def _first(words: list[str]) -> str:
    """The first words of a list, and how many follow."""
    shown, more = joined(", ", words[:MAX_NOTED_WORDS]), len(words) - MAX_NOTED_WORDS
    return Message("{words} and {count} more").format(words=shown, count=more) if more > 0 else shown


PROVIDER: type[Provider[Any]] = Sketch
