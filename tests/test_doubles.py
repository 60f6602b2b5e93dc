import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import ANY, CONNECT, Fault, Pictures, Reply, Request, Service
from tests.doubles.pictures import whose
from tests.program import LIMIT

ROOT = Path(__file__).parents[1]
PATIENCE = httpx.Timeout(LIMIT, read=0.2)
"""With which a stalled answer is given up."""


class Shop(Service):
    """Every POST makes a job; a GET tells how far it is."""

    async def answer(self, request: Request) -> Reply:
        if request.method == "POST":
            job = self.add_job(f"job-{len(self.jobs) + 1}", request.json())
            return Reply.json({"id": job.id})
        job = self.jobs[request.path.strip("/")]
        job.polls += 1
        if job.ripe:
            self.end_job(job)
        return Reply.json({"state": job.state, "file": self.file_url(job.id, 1)})


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as service:
        yield service


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP: nothing to load
    with httpx.Client(verify=context, timeout=LIMIT) as client:
        yield client


def until(happens: Callable[[], bool]) -> None:
    """Wait for the service: a client that gives up may be faster."""
    end = time.monotonic() + LIMIT
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("fault", "seen", "billed"),
    [
        (Fault.RESET_BEFORE, httpx.TransportError, 0),
        (Fault.CLOSE_BEFORE, httpx.TransportError, 0),
        (Fault.CLOSE_AFTER, httpx.RemoteProtocolError, 1),
        (Fault.RESET_AFTER, httpx.ReadError, 1),
        (Fault.STALL, httpx.ReadTimeout, 1),
        (Fault.STALL_BEFORE_ACT, httpx.ReadTimeout, 0),
        (Fault.STALL_BODY, httpx.ReadTimeout, 1),
        (Fault.TRUNCATE, httpx.RemoteProtocolError, 1),
    ],
)
def test_a_fault_loses_the_answer(
    shop: Shop, client: httpx.Client, fault: Fault, seen: type[Exception], billed: int
) -> None:
    shop.fail("submit", fault)
    with pytest.raises(seen):
        client.post(shop.url, json={}, timeout=PATIENCE if seen is httpx.ReadTimeout else LIMIT)
    until(lambda: shop.struck[fault] == 1 and len(shop.jobs) >= billed)
    assert (len(shop.jobs), shop.struck[fault]) == (billed, 1)
    assert client.post(shop.url, json={}).is_success


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.GARBAGE, (200, b"\x00", 1)),
        (Fault.EMPTY, (200, b"", 1)),
        (Fault.HTML, (200, b"<", 1)),
        (Fault.ERROR_500, (500, b"{", 0)),
        (Fault.BAD_GATEWAY, (502, b"<", 0)),
        (Fault.TOO_MANY, (429, b"{", 0)),
        (Fault.SLOW_DRIP, (200, b"{", 1)),
    ],
)
def test_a_fault_answers_something_else(
    shop: Shop, client: httpx.Client, fault: Fault, seen: tuple[int, bytes, int]
) -> None:
    shop.fail("submit", fault)
    answer = client.post(shop.url, json={})
    assert (answer.status_code, answer.content[:1], len(shop.jobs)) == seen


def test_too_many_says_when_to_come_back(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Fault.TOO_MANY, seconds=2.5)
    assert client.post(shop.url, json={}).headers["retry-after"] == "2.5"


def test_an_error_may_come_after_the_deed(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Fault.ERROR_500, act=True)
    assert (client.post(shop.url, json={}).status_code, len(shop.jobs)) == (500, 1)


def test_a_length_that_is_too_short_cuts_the_body(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Fault.WRONG_LENGTH, by=-5)
    assert client.post(shop.url, json={}).content == b'{"id": "jo'


def test_a_length_that_is_too_long_keeps_the_client_waiting(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Fault.WRONG_LENGTH, by=5)
    with pytest.raises(httpx.ReadTimeout):
        client.post(shop.url, json={}, timeout=PATIENCE)


def test_refuse_lasts_until_heal_and_cuts_what_was_open(shop: Shop, client: httpx.Client) -> None:
    client.post(shop.url, json={})
    shop.fail(ANY, Fault.REFUSE)
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            client.post(shop.url, json={})
    shop.heal()
    assert client.post(shop.url, json={}).json() == {"id": "job-2"}


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.CLOSE_BEFORE])
def test_a_connection_can_end_as_soon_as_it_is_made(shop: Shop, client: httpx.Client, fault: Fault) -> None:
    shop.fail(CONNECT, fault)
    with pytest.raises(httpx.TransportError):
        client.get(shop.url)
    assert (shop.requests, shop.counts["connections"]) == ([], 1)


def test_rules_count_what_goes_well_before_and_what_goes_wrong(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Fault.ERROR_500, times=2, after=1)
    statuses = [client.post(shop.url, json={}).status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]


def test_a_rule_without_an_end_lasts_until_heal(shop: Shop, client: httpx.Client) -> None:
    shop.fail(ANY, Fault.ERROR_500, times=None)
    assert [client.post(shop.url, json={}).status_code for _ in range(3)] == [500] * 3
    shop.heal()
    assert client.post(shop.url, json={}).status_code == 200


def test_an_answer_of_ones_own_does_not_act(shop: Shop, client: httpx.Client) -> None:
    shop.fail("submit", Reply.json({"state": 7}, 418, retry_after="3"))
    answer = client.post(shop.url, json={})
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (418, {"state": 7}, "3")
    assert (shop.jobs, shop.struck["reply"]) == ({}, 1)


def test_everything_is_counted(shop: Shop, client: httpx.Client) -> None:
    client.post(shop.url + "/jobs?a=%20b", json={"prompt": "猫"}, headers={"X-Word": "hello"})
    link = client.get(f"{shop.url}/job-1").json()["file"]
    client.get(link)
    client.get(link)
    assert {kind: shop.counts[kind] for kind in ("submit", "query", "download", "connections")} == {
        "submit": 1,
        "query": 1,
        "download": 2,
        "connections": 1,
    }
    assert shop.counts["GET /files/job-1/1.png"] == 2
    (submit,) = shop.requests_of("submit")
    assert (submit.path, submit.query, submit.json()) == ("/jobs", {"a": " b"}, {"prompt": "猫"})
    assert (submit.method, submit.headers["x-word"], submit.size) == ("POST", "hello", len(submit.body))
    assert shop.jobs["job-1"].state == "done"


def test_a_job_takes_as_many_questions_as_asked_for(client: httpx.Client) -> None:
    with Shop(polls=2) as shop:
        client.post(shop.url, json={})
        states = [client.get(f"{shop.url}/job-1").json()["state"] for _ in range(3)]
    assert states == ["running", "running", "done"]
    assert shop.peak["jobs"] == 1


def test_a_stopped_service_remembers_its_jobs(shop: Shop, client: httpx.Client) -> None:
    client.post(shop.url, json={})
    url = shop.url
    shop.stop()
    with pytest.raises(httpx.ConnectError):
        client.post(url, json={})
    shop.start()
    assert (shop.url, client.get(f"{url}/job-1").json()["state"]) == (url, "done")


def test_stopping_does_not_wait_for_those_who_stall(client: httpx.Client) -> None:
    with Shop() as shop, socket.create_connection(("127.0.0.1", shop.port)) as silent:
        shop.fail("submit", Fault.STALL)
        silent.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        client.post(shop.url, json={})
    assert shop.counts["submit"] == 2


def test_forms_are_read(client: httpx.Client) -> None:
    class Office(Service):
        async def answer(self, request: Request) -> Reply:
            files = [[part.name, part.filename, part.content_type, part.text] for part in request.parts()]
            return Reply.json({"form": request.form(), "parts": files})

    with Office() as office:
        data, files = {"params": '{"a": 1}'}, {"image_0": ("中 文.png", b"\r\nbytes\r\n", "image/png")}
        answer = client.post(office.url, data=data, files=files).json()
        plain = client.post(office.url, data=data).json()
    assert answer["form"] == plain["form"] == data
    assert answer["parts"][1] == ["image_0", "中 文.png", "image/png", "\r\nbytes\r\n"]


def test_a_body_may_come_in_chunks(shop: Shop, client: httpx.Client) -> None:
    pieces = iter([b'{"prompt":', b' "cat"}'])
    assert client.post(shop.url, content=pieces).json() == {"id": "job-1"}
    assert shop.jobs["job-1"].payload == {"prompt": "cat"}


def test_an_answer_may_be_a_stream_or_take_the_connection_over(client: httpx.Client) -> None:
    class Radio(Service):
        async def answer(self, request: Request) -> Reply:
            if request.path == "/events":
                return Reply(headers={"content-type": "text/event-stream"}, stream=self.events())
            return Reply(101, headers={"upgrade": "echo"}, takeover=self.echo)

        async def events(self) -> AsyncIterator[bytes]:
            for number in range(3):
                yield f"data: {number}\n\n".encode()

        async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()

    with Radio() as radio, socket.create_connection(("127.0.0.1", radio.port)) as bare:
        assert client.get(f"{radio.url}/events").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        bare.sendall(b"GET /socket HTTP/1.1\r\n\r\nhello\n")
        with bare.makefile("rb") as answer:
            assert answer.read().endswith(b"upgrade: echo\r\n\r\nhello\n")


def test_a_bug_of_a_double_is_not_hidden(client: httpx.Client) -> None:
    shop = Shop().start()
    assert client.get(f"{shop.url}/nobody").status_code == 599
    with pytest.raises(KeyError):
        shop.__exit__(None, None, None)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_pictures_are_real_and_told_apart(form: str) -> None:
    pictures = Pictures(form, (33, 21))
    one, other = (pictures.make("任务/1", index) for index in (1, 2))
    with Image.open(BytesIO(one)) as image:
        image.load()
        assert (image.format, image.size) == (form.upper(), (33, 21))
        colours = image.convert("RGB").tobytes()
    with Image.open(BytesIO(other)) as image:
        assert image.convert("RGB").tobytes() != colours
    assert (whose(one), whose(other)) == ("任务/1/1", "任务/1/2")


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_pictures_can_be_heavy(form: str) -> None:
    data = Pictures(form, (8, 8), 200_000).make("job", 1)
    assert 200_000 <= len(data) < 200_100
    with Image.open(BytesIO(data)) as image:
        image.load()


def test_a_file_that_is_no_picture_of_ours_is_nobodys() -> None:
    with pytest.raises(ValueError, match="not a picture"):
        whose(b"\x89PNG")


def test_the_origin_can_be_started_by_hand_and_killed(client: httpx.Client) -> None:
    command = [sys.executable, "-m", "tests.doubles.dreamina", "--port", "0", "--seconds", "0", "--size", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        task = client.post(f"{url}/api/generate/t2i", json={"prompt": "a cat"}).json()["taskId"]
        status = client.get(f"{url}/api/generate/status/{task}").json()
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    assert (status["completed"], len(status["images"])) == (True, 4)


@pytest.mark.parametrize(
    ("tag", "outcome"),
    [
        ("broken-download", [httpx.RemoteProtocolError, httpx.RemoteProtocolError]),
        ("flaky-download", [httpx.RemoteProtocolError, 200]),
        ("stall-download", [httpx.ReadTimeout, httpx.ReadTimeout]),
        ("html-download", [200, 200]),
        ("expired", [404, 404]),
    ],
)
def test_the_origin_breaks_downloads_as_the_prompt_says(client: httpx.Client, tag: str, outcome: list[object]) -> None:
    def fetched(link: str) -> object:
        try:
            return client.get(link, timeout=PATIENCE if tag == "stall-download" else LIMIT).status_code
        except httpx.HTTPError as error:
            return type(error)

    with DreaminaServer() as server:
        answer = client.post(f"{server.url}/api/generate/t2i", json={"prompt": f"a cat #now #{tag}"}).json()
        assert [fetched(answer["images"][0]) for _ in range(2)] == outcome


def test_the_origin_serves_links_through_its_proxy(client: httpx.Client) -> None:
    with DreaminaServer() as server:
        payload = json.dumps({"prompt": "a cat #now"})
        link = client.post(f"{server.url}/api/generate/t2i", content=payload).json()["images"][1]
        through = client.get(f"{server.url}/api/proxy/image", params={"url": link})
        assert through.content == client.get(link).content
        assert server.counts["download"] == 2
        assert client.get(f"{server.url}/api/config").json() == {"success": False, "message": "接口不存在"}
