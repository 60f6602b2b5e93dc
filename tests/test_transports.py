"""What each httpx error means, for both clients and both transports: whether a request was paid depends on it.

`own` is our transport; `httpx` is the default one, which is taken through a proxy. The service itself is the proxy
here, so that every fault reaches the client as it is.
"""

import ast
import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import Busy, Expired, ServerTrouble, TaskError, Unavailable, Uncertain
from imagegen_cli.core.provider import Clients
from imagegen_cli.core.task import RemoteImage
from imagegen_cli.net import client
from imagegen_cli.net.client import MAX_DOWNLOADS, MAX_REPEATABLE_REQUESTS, open_clients
from imagegen_cli.net.download import Downloader
from imagegen_cli.net.transport import Body, Transport
from imagegen_cli.providers._http import call
from tests import clock, handles
from tests.doubles.http import CONNECT, Fault, Reply, Request, Service
from tests.program import LIMIT

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
LOST = (httpx.ReadError, httpx.RemoteProtocolError)


class Echo(Service):
    async def answer(self, request: Request) -> Reply:
        return Reply.json({"asked": request.path, "sent": request.body.decode("latin-1"), "target": request.target})


@pytest.fixture(params=["own", "httpx"])
def way(request: pytest.FixtureRequest, service: "Echo", monkeypatch: pytest.MonkeyPatch) -> str:
    named: str = request.param
    without_proxies(monkeypatch)
    if named == "httpx":
        monkeypatch.setenv("HTTP_PROXY", service.url)
    return named


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def service() -> Iterator[Echo]:
    with Echo() as running:
        yield running


def with_clients(work: Callable[[Clients], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with open_clients() as clients:
            return await work(clients)

    return asyncio.run(inside())


def failure(url: str, *, paid: bool, silence_s: float = LIMIT) -> tuple[Exception, TaskError]:
    """The error that the client raises, and the error of ours that `call` makes of it."""
    timeout = httpx.Timeout(LIMIT, read=silence_s, pool=None)

    async def twice(clients: Clients) -> tuple[Exception, TaskError]:
        bare = clients.paid if paid else clients.free
        with pytest.raises(httpx.HTTPError) as raw:
            await bare.post(url, json={}, timeout=timeout)
        with pytest.raises(TaskError) as caught:
            await call(clients, "POST", url, paid=paid, json={}, timeout=timeout)
        return raw.value, caught.value

    found: tuple[Exception, TaskError] = with_clients(twice)
    return found


def test_each_way_is_the_one_that_is_meant(way: str) -> None:
    async def transports(clients: Clients) -> set[type]:
        return {type(one._transport) for one in (clients.paid, clients.free)}

    assert with_clients(transports) == {Transport if way == "own" else client.Routed}


@pytest.mark.anyio
@pytest.mark.usefixtures("direct")
async def test_what_a_provider_is_given_in_tests_is_what_is_shipped(service: Echo, clients: Clients) -> None:
    assert {type(one._transport) for one in (clients.paid, clients.free)} == {Transport}
    assert clients.fetch is not None
    response = await clients.fetch(httpx.Request("GET", service.url))
    assert type(response.stream) is Body
    await response.aclose()


CLIENTS_OF_HTTPX = {"AsyncClient", "AsyncHTTPTransport", "MockTransport"}
OTHER_WAYS = {"test_download.py", "test_transports.py"}
"""They compare our transport with httpx's own."""


def test_every_suite_runs_on_the_shipped_transport() -> None:
    """With a client of its own a suite would show how a provider behaves on a transport that the program never uses."""
    wrong = []
    for suite in sorted(Path(__file__).parent.glob("**/*.py")):
        nodes = list(ast.walk(ast.parse(suite.read_bytes())))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.name for node in nodes if isinstance(node, ast.alias)}
        if used & CLIENTS_OF_HTTPX and suite.name not in OTHER_WAYS:
            wrong.append(suite.name)
    assert not wrong, f"use the fixture `clients`: {wrong}"


# Section 6's table: a row a fault


@pytest.mark.parametrize("paid", [True, False])
def test_nobody_listens(way: str, service: Echo, paid: bool) -> None:
    service.fail("submit", Fault.REFUSE)
    raw, ours = failure(service.url, paid=paid)
    assert isinstance(raw, httpx.ConnectError)
    assert type(ours) is Unavailable


@pytest.mark.parametrize("paid", [True, False])
def test_no_such_host(way: str, monkeypatch: pytest.MonkeyPatch, paid: bool) -> None:
    if way == "httpx":
        monkeypatch.setenv("HTTP_PROXY", "http://nobody.invalid:1")
    raw, ours = failure("http://nobody.invalid:1/", paid=paid)
    assert isinstance(raw, httpx.ConnectError)
    assert type(ours) is Unavailable


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize(
    ("where", "fault", "kinds"),
    [
        (CONNECT, Fault.CLOSE_BEFORE, LOST),
        ("submit", Fault.CLOSE_BEFORE, LOST),
        ("submit", Fault.RESET_BEFORE, LOST),
        ("submit", Fault.CLOSE_AFTER, LOST),
        ("submit", Fault.RESET_AFTER, LOST),
        ("submit", Fault.TRUNCATE, LOST),
        ("submit", Fault.STALL, (httpx.ReadTimeout,)),
        ("submit", Fault.STALL_BEFORE_ACT, (httpx.ReadTimeout,)),
        ("submit", Fault.STALL_BODY, (httpx.ReadTimeout,)),
    ],
)
def test_sent_and_then_lost(
    way: str, service: Echo, where: str, fault: Fault, kinds: tuple[type[Exception], ...], paid: bool
) -> None:
    """After the connection is open, no failure says "never sent", whether the request is paid or not."""
    service.fail(where, fault, times=None)
    raw, ours = failure(service.url, paid=paid, silence_s=0.3 if httpx.ReadTimeout in kinds else LIMIT)
    assert isinstance(raw, kinds)
    assert type(ours) is (Uncertain if paid else Unavailable)


@pytest.mark.parametrize("paid", [True, False])
def test_a_reset_while_connecting_may_be_either_but_nothing_arrived(way: str, service: Echo, paid: bool) -> None:
    service.fail(CONNECT, Fault.RESET_BEFORE, times=None)
    raw, ours = failure(service.url, paid=paid)
    assert isinstance(raw, (httpx.ConnectError, *LOST))
    assert type(ours) in (Unavailable, Uncertain)
    assert service.requests == []


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.EMPTY, Fault.HTML, Fault.ERROR_500, Fault.BAD_GATEWAY])
def test_an_answer_that_is_none(way: str, service: Echo, fault: Fault, paid: bool) -> None:
    service.fail("submit", fault)
    with pytest.raises(TaskError) as caught:
        with_clients(lambda clients: call(clients, "POST", service.url, paid=paid, json={}))
    assert type(caught.value) is (Uncertain if paid else ServerTrouble)


@pytest.mark.parametrize("paid", [True, False])
def test_a_redirect_is_seen_and_never_followed(way: str, service: Echo, paid: bool) -> None:
    service.fail("submit", Reply(302, headers={"location": f"{service.url}/elsewhere"}))
    answer = with_clients(lambda clients: call(clients, "POST", service.url, paid=paid, raw=True, json={}))
    assert answer.status == 302
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.CLOSE_AFTER, Unavailable),
        (Fault.RESET_AFTER, Unavailable),
        (Fault.TRUNCATE, Unavailable),
        (Fault.ERROR_500, ServerTrouble),
        (Reply(404), Expired),
    ],
)
def test_a_download_that_breaks(way: str, service: Echo, tmp_path: Path, fault: Any, error: type[TaskError]) -> None:
    service.fail("download", fault, times=None)
    with pytest.raises(error):
        with_clients(
            lambda clients: Downloader(clients.fetch).stage(
                RemoteImage(service.file_url("job", 1)), tmp_path / "1", tmp_path / ".1.part"
            )
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [{"json": {"a": 1}}, {"content": b"plain"}, {"data": {"a": "b"}}])
def test_bodies_arrive_whole(way: str, service: Echo, body: dict[str, Any]) -> None:
    answer = with_clients(lambda clients: call(clients, "POST", service.url, **body))
    assert answer.body["sent"] in ('{"a":1}', "plain", "a=b")


def test_a_stream_of_unknown_length_is_sent_in_chunks(way: str, service: Echo) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"", b"two"):
            yield part

    answer = with_clients(lambda clients: call(clients, "POST", service.url, content=parts()))
    assert answer.body["sent"] == "onetwo"


def test_a_large_upload_arrives_whole(way: str, service: Echo) -> None:
    files = {"image": ("a.png", b"x" * 5_000_000)}
    answer = with_clients(lambda clients: call(clients, "POST", service.url, files=files))
    assert len(answer.body["sent"]) > 5_000_000


# Proxies and certificates


def test_proxies_and_their_exceptions_are_honoured(service: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", service.url)
    for paid in (True, False):
        answer = with_clients(lambda clients, paid=paid: call(clients, "GET", "http://a.invalid/x", paid=paid))  # type: ignore[misc]
        assert answer.body["target"] == "http://a.invalid/x"


def certificate(folder: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    paths = folder / "cert.pem", folder / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_is_believed_when_ssl_cert_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    public, private = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
    client.trust.cache_clear()

    async def ask() -> int:
        async with answering(OK, tls=context) as server, open_clients() as clients:
            return (await clients.free.get(f"https://127.0.0.1:{server.port}/")).status_code

    if trusted:
        assert asyncio.run(ask()) == 200
    else:
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            asyncio.run(ask())
    client.trust.cache_clear()


# Our own transport, byte by byte


class Answering:
    """Answers every request with the same bytes; `once` closes each connection instead of a second answer."""

    def __init__(self, reply: bytes, *, once: bool, close: bool, slowly: bool) -> None:
        self.reply, self.once, self.close, self.slowly = reply, once, close, slowly
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self.conversations: list[asyncio.Task[Any] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.conversations.append(asyncio.current_task())
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = 0
        while request := await self._request(reader):
            self.requests.append(request)
            if self.once and served:
                return
            served += 1
            for part in [self.reply[at : at + 1] for at in range(len(self.reply))] if self.slowly else [self.reply]:
                writer.write(part)
                await asyncio.sleep(0)
            if self.close:
                return

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def answering(
    reply: bytes, *, once: bool = False, close: bool = False, slowly: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Answering]:
    double = Answering(reply, once=once, close=close, slowly=slowly)
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=tls)
    double.port = server.sockets[0].getsockname()[1]
    try:
        yield double
    finally:
        server.close()
        for conversation in filter(None, double.conversations):
            conversation.cancel()
        await asyncio.sleep(0.01)


async def fetched(reply: bytes, method: str = "GET", **how: bool) -> httpx.Response:
    async with answering(reply, **how) as server, open_clients() as clients:  # type: ignore[arg-type]
        return await clients.free.request(method, f"http://127.0.0.1:{server.port}/", timeout=LIMIT)


GOOD = {
    "length": (OK, b"ok"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", b"ok"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n", b"ok"),
    "until closed": (b"HTTP/1.0 200 OK\r\n\r\nok", b"ok"),
    "wait for it": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK, b"ok"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "bare line ends": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok"),
    "folded": (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "the same length twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_forms_that_an_answer_may_have(name: str, slowly: bool) -> None:
    reply, body = GOOD[name]
    answer = asyncio.run(fetched(reply, close=True, slowly=slowly))
    assert answer.is_success
    assert answer.content == body


BAD = {
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "no header": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: zip\r\n\r\nok",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n",
    "a chunk too long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
    "a chunk cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
}


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("name", BAD)
def test_answers_that_cannot_be_believed(name: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        asyncio.run(fetched(BAD[name], close=True))


@pytest.mark.usefixtures("direct")
def test_chunks_of_one_byte_cost_little_and_leave_the_loop_to_others() -> None:
    """They used to be cut off one after the other from all that was still there: 15 s for 0.7 MB."""
    size = 700_000
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * size + b"0\r\n\r\n"

    async def received() -> tuple[bytes, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        answer = await fetched(reply)
        counting.cancel()
        return answer.content, turns

    began = time.process_time()
    content, turns = asyncio.run(received())
    assert content == b"x" * size
    assert turns > size // 2000
    assert time.process_time() - began < 5.0


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 70_000])
def test_chunks_are_joined_wherever_the_network_cuts_them(size: int) -> None:
    content = bytes(range(256)) * 800
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    body = b"".join(b"%X;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nSum: 1\r\n\r\n"
    assert asyncio.run(fetched(reply)).content == content


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("tries", [2, 100])
def test_without_a_file_handle_it_waits_a_little_and_says_busy(tries: int) -> None:
    """`ulimit -n 64` with many tasks: the network is well, and nothing has been sent."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def answered() -> Any:
        async with answering(OK) as server, open_clients() as clients:
            used = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + 1, limits[1]))
            for handle in (*used, *handles.take_all()):
                asyncio.get_running_loop().call_later(0.25 * tries, os.close, handle)
            try:
                return await call(clients, "POST", f"http://127.0.0.1:{server.port}/", paid=True, raw=True)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    if tries == 2:
        assert clock.run(answered(), patience=0.01).status == 200
    else:
        with pytest.raises(Busy, match="too many files are open"):
            clock.run(answered(), patience=0.01)


@pytest.mark.usefixtures("direct")
def test_a_header_cannot_break_out_of_its_line() -> None:
    async def ask() -> None:
        async with answering(OK) as server, open_clients() as clients:
            with pytest.raises(httpx.LocalProtocolError):
                await clients.free.get(f"http://127.0.0.1:{server.port}/", headers={"X-Key": "a\r\nHost: b"})
            assert server.requests == []

    asyncio.run(ask())


@pytest.mark.usefixtures("direct")
def test_questions_share_connections_and_submits_never_do() -> None:
    async def ask() -> tuple[int, int]:
        async with answering(OK) as kept, answering(OK) as fresh, open_clients() as clients:
            for _ in range(3):
                await clients.free.get(f"http://127.0.0.1:{kept.port}/")
                await clients.paid.get(f"http://127.0.0.1:{fresh.port}/")
            return kept.connections, fresh.connections

    assert asyncio.run(ask()) == (1, 3)


@pytest.mark.usefixtures("direct")
def test_a_kept_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def ask() -> int:
        async with answering(OK, once=True) as server, open_clients() as clients:
            for _ in range(3):
                assert (await clients.free.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
            return server.connections

    assert asyncio.run(ask()) == 3


@pytest.mark.usefixtures("direct")
def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    async def ask() -> int:
        async with answering(OK + b"HTTP/1.1 200 OK\r\n") as server, open_clients() as clients:
            for _ in range(2):
                assert (await clients.free.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
            return server.connections

    assert asyncio.run(ask()) == 2


@pytest.mark.usefixtures("direct")
def test_so_many_questions_at_once_and_no_more() -> None:
    class Slow(Echo):
        async def answer(self, request: Request) -> Reply:
            while self.peak["query"] < MAX_REPEATABLE_REQUESTS:  # noqa: ASYNC110 - it is a count
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # one more would come now
            return await super().answer(request)

    with Slow() as service:
        with_clients(lambda clients: asyncio.gather(*(call(clients, "GET", service.url) for _ in range(100))))
        assert service.peak["query"] == MAX_REPEATABLE_REQUESTS
        assert service.counts["connections"] == MAX_REPEATABLE_REQUESTS


def test_pictures_that_never_come_delay_no_question(service: Echo, way: str) -> None:
    service.fail("download", Fault.STALL, times=None)

    async def ask(clients: Clients) -> int:
        assert clients.fetch is not None
        stalled = [
            asyncio.ensure_future(clients.fetch(httpx.Request("GET", f"{service.url}/files/1")))
            for _ in range(MAX_REPEATABLE_REQUESTS + MAX_DOWNLOADS)
        ]
        while service.counts["download"] < MAX_DOWNLOADS:  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0.01)
        try:
            async with asyncio.timeout(LIMIT):
                return (await clients.free.get(service.url)).status_code
        finally:
            for picture in stalled:
                picture.cancel()
            await asyncio.wait(stalled)

    assert with_clients(ask) == 200, way


@pytest.mark.usefixtures("direct")
def test_a_question_that_is_given_up_makes_room_for_the_next(service: Echo) -> None:
    service.fail("query", Fault.STALL, times=MAX_REPEATABLE_REQUESTS)

    async def ask(clients: Clients) -> int:
        stalled = [asyncio.ensure_future(clients.free.get(service.url)) for _ in range(MAX_REPEATABLE_REQUESTS)]
        while service.counts["query"] < MAX_REPEATABLE_REQUESTS:  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0.01)
        for question in stalled:
            question.cancel()
        return (await clients.free.get(service.url, timeout=LIMIT)).status_code

    assert with_clients(ask) == 200


@pytest.mark.usefixtures("direct")
def test_an_answer_that_nobody_reads_to_the_end_closes_its_connection(service: Echo) -> None:
    async def ask(clients: Clients) -> None:
        for _ in range(2):
            async with clients.free.stream("GET", service.url):
                pass

    with_clients(ask)
    assert service.counts["connections"] == 2
