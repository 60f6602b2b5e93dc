"""The head of every provider's suite: a double of its service, its settings, the provider, and what all suites do.

SUITE = Suite(Gemini, GeminiService, api_key=Secret(KEY))
server, provider, picture = SUITE.fixtures()
"""

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pytest

from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready
from imagegen_cli.core.task import ImageRequest, InlineImage, Job, RemoteImage
from tests.doubles.http import Pictures, Reply, Service
from tests.doubles.pictures import whose
from tests.program import Ended, Program, finished

P = TypeVar("P", bound=Provider[Any])
D = TypeVar("D", bound=Service)

SPECS = Path(__file__).parents[2] / "shared" / "specs"
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1.5, 10**30, 10**400, math.nan),
    *("", "x", "\ud800", "http://["),
    *([], [None, 7, [], {}], {}, {"x": {}}, {"url": {}}),
)
"""Values that JSON can hold in place of the right one."""
ENDS = (("done", None), ("failed", "server"), ("failed", "moderated"), ("done", None), ("cancelled", "cancelled"))
"""State and reason of the five tasks that every suite runs by the program."""


class Stuck(Protocol):
    """A double that says when the request arrived which never ends."""

    stuck: Any

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class FiveTasks:
    """What the program made of five prompts, of which one fails, one is refused, one is cancelled."""

    program: Program
    batch: Ended
    cancel: Ended
    tasks: list[dict[str, Any]]

    @property
    def text(self) -> str:
        return "\n".join((self.batch.out, self.batch.err, self.cancel.out, self.cancel.err, json.dumps(self.tasks)))

    @property
    def made(self) -> set[str]:
        """Whose pictures are on the disk, as job/index."""
        return {whose(Path(file).read_bytes()) for task in self.tasks for file in task["files"]}


class Suite(Generic[P, D]):
    """`settings` are those of every provider here; `form` is the format of the reference picture."""

    def __init__(self, provider: type[P], double: Callable[[], D], form: str = "png", **settings: Any) -> None:
        self._provider: Any = provider
        self._double = double
        self._form = form
        self._settings = settings

    def settings(self, server: D, **more: Any) -> Any:
        return self._provider.Settings(**{"base_url": f"{server.url}/", **self._settings, **more})

    def connect(self, server: D, clients: Clients, **more: Any) -> P:
        provider: P = self._provider(self.settings(server, **more), clients)
        return provider

    def fixtures(self) -> tuple[Any, Any, Any]:
        """`server`, `provider` and `picture`, to be bound to these names in the module of the suite."""

        @pytest.fixture
        def server() -> Iterator[D]:
            with self._double() as server:
                yield server

        @pytest.fixture
        async def provider(server: D, clients: Clients) -> AsyncIterator[P]:
            provider = self.connect(server, clients)
            yield provider
            await provider.close()

        return server, provider, self.picture()

    def another(self) -> Any:
        """A fixture: another host with the same service, to which no request should go."""

        @pytest.fixture
        def another() -> Iterator[D]:
            with self._double() as server:
                yield server

        return another

    def picture(self) -> Any:
        """A fixture: a reference picture whose name tells nothing about its format."""

        @pytest.fixture
        def picture(tmp_path: Path) -> str:
            path = tmp_path / "参考 图.bin"
            path.write_bytes(Pictures(self._form).make("reference", 1))
            return str(path)

        return picture


def image_request(prompt: str = "a cat", **more: Any) -> ImageRequest:
    return ImageRequest(prompt=prompt, provider="studio", **more)


def ignored(_: Working) -> None:
    pass


async def submitted(provider: Provider[Any], request: ImageRequest | None = None) -> Accepted | Ready:
    request = request or image_request()
    return await provider.submit(request, provider.client_job(request), ignored)


async def accepted(provider: Provider[Any], prompt: str = "a cat", **more: Any) -> Job:
    """The receipt of a submit."""
    reply = await submitted(provider, image_request(prompt, **more))
    assert isinstance(reply, Accepted)
    return reply.job


async def polled(provider: Provider[Any], job: Job) -> Working | Ready:
    return await provider.poll(job, ignored)


async def polled_times(provider: Provider[Any], job: Job, times: int = 1) -> list[Working | Ready]:
    return [await provider.poll(job, ignored) for _ in range(times)]


async def owners(clients: Clients, reply: object) -> list[str]:
    """Whose pictures a reply holds or leads to, as job/index."""
    assert isinstance(reply, Ready)
    inline = [whose(image.data) for image in reply.images if isinstance(image, InlineImage)]
    links = [image.url for image in reply.images if isinstance(image, RemoteImage)]
    return inline + [whose((await clients.free.get(link)).content) for link in links]


def escaped(value: object, status: int = 200) -> Reply:
    """JSON with its escapes left as they are, for half characters."""
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json"})


def description(name: str) -> Any:
    """A vendor's own description of its API; the test is skipped where it is not here."""
    path = SPECS / name
    if not path.exists():
        pytest.skip("the vendors' descriptions are not here")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    yaml = pytest.importorskip("yaml")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def valid(body: object, schema: str, components: Any) -> None:
    """Check a body against a schema of a description."""
    validators = pytest.importorskip("jsonschema")
    validators.validate(body, {"$ref": f"#/components/schemas/{schema}", "components": components})


def five_tasks(
    kind: str,
    folder: Path,
    server: Stuck,
    prompts: Sequence[str],
    *words: str,
    secrets: Sequence[str] = (),
    images: int = 1,
    environment: dict[str, str] | None = None,
    **table: Any,
) -> FiveTasks:
    """Run five prompts by the program and cancel the last. Their ends are `ENDS`, and no output holds a secret."""
    keys = {"kind": kind, "base_url": server.url, **table}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in keys.items()]
    program = Program(folder, "\n".join(["[providers.studio]", *lines, ""]))
    (folder / "list.txt").write_text("\n".join(prompts), encoding="utf-8")
    start = ("batch", "list.txt", "-p", "studio", "--progress", "plain", *words)
    batch = program.start(*start, environment=environment or {})
    assert server.stuck.wait(30)
    cancel = program.run("cancel", "5", **(environment or {}))
    five = FiveTasks(program, finished(batch), cancel, program.tasks())
    assert [(task["state"], task["reason"]) for task in five.tasks] == list(ENDS)
    made = [images if state == "done" else 0 for state, _ in ENDS]
    assert [len(task["files"]) for task in five.tasks] == made
    assert cancel.code == 0
    assert not [secret for secret in secrets if secret in five.text]
    history = [path.read_bytes() for path in program.home.glob("history.db*")]
    assert not [secret for secret in secrets if any(secret.encode() in data for data in history)]
    return five
