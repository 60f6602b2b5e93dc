"""Proxies, what goes past them, and certificates: what the environment says, against real sockets.

A proxy that makes no connection costs nothing, so the error is `network` and never
`uncertain`, whether the request is paid or not.
"""

import asyncio
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import ConfigError, TaskError, Unavailable, Uncertain
from imagegen_cli.core.task import RemoteImage
from imagegen_cli.net import client, proxies
from imagegen_cli.net.client import open_clients
from imagegen_cli.net.download import Downloader
from imagegen_cli.net.proxies import ProxySettings, check_network, checked_proxy, excepts
from imagegen_cli.providers._http import call
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Fault, Pictures, Reply, Request, Service
from tests.doubles.proxy import Proxy, Refusal
from tests.program import Program
from tests.test_transports import OK, PROXIES, answering, certificate

LONG = httpx.Timeout(60.0, connect=60.0, pool=None)
"""For what answers: no busy machine takes it for silent."""
SHORT = httpx.Timeout(2.0, connect=2.0, pool=None)
ASKS = "407 Proxy Authentication Required"


class Echo(Service):
    async def answer(self, request: Request) -> Reply:
        return Reply.json({"asked": request.path})


@pytest.fixture
def service() -> Iterator[Echo]:
    with Echo() as running:
        yield running


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def answer_to(url: str, *, paid: bool, timeout: httpx.Timeout = LONG) -> Any:
    async def ask() -> Any:
        async with open_clients() as clients:
            return await call(clients, "POST", url, paid=paid, json={}, timeout=timeout)

    return asyncio.run(ask())


PAST = [
    ("*", "http://example.org"),
    ("example.org", "http://example.org"),
    (".example.org", "http://a.example.org"),
    ("*.example.org", "http://a.example.org"),
    ("example.org:8188", "http://example.org:8188"),
    ("example.org:80", "http://example.org"),
    ("127.0.0.1", "http://127.0.0.1:8188"),
    ("10.0.0.0/8", "http://10.1.2.3"),
    ("127.0.0.1/8", "http://127.9.9.9"),
    ("192.168.*", "http://192.168.3.4"),
    ("::1", "http://[::1]:8188"),
    ("[::1]", "http://[::1]:8188"),
    ("[::1]:8188", "http://[::1]:8188"),
    ("fd00::/8", "http://[fd12::1]"),
    ("[fd00::]/8", "http://[fd12::1]"),
    ("fe80::%eth0/10", "http://[fe80::1]"),
    ("<local>", "http://studio:8188"),
    ("https://example.org", "http://example.org"),
    ("a.example, b.example  c.example", "http://b.example"),
    ("EXAMPLE.ORG", "http://example.org."),
]
BY = [
    ("", "http://example.org"),
    ("example.org", "http://anexample.org"),
    ("example.org:81", "http://example.org"),
    ("10.0.0.0/8", "http://11.1.2.3"),
    ("10.0.0.0/8", "http://10.example.org"),
    ("fd00::/8", "http://[2001:db8::1]"),
    ("[::1]:8188", "http://[::1]:8189"),
    ("192.168.*", "http://192.169.0.1"),
    ("<local>", "http://[::1]"),
    ("[,]:,/,:::,%,.,*:x,http://", "http://example.org"),
]


@pytest.mark.parametrize(("listed", "url", "proxied"), [(*one, False) for one in PAST] + [(*one, True) for one in BY])
def test_what_goes_past_a_proxy(monkeypatch: pytest.MonkeyPatch, listed: str, url: str, proxied: bool) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", listed)
    assert proxies.proxy_settings().proxy_for(url) == ("http://proxy:1" if proxied else "")


def test_a_range_names_no_host() -> None:
    assert not excepts("10.0.0.0/8", "ten", 80)


USABLE = [
    ("", ""),
    ("127.0.0.1:7890", "http://127.0.0.1:7890"),
    ("HTTP://127.0.0.1:7890", "http://127.0.0.1:7890"),
    ("socks://127.0.0.1:7891/", "socks5h://127.0.0.1:7891/"),
    ("socks5://me:word@127.0.0.1:7891", "socks5://me:word@127.0.0.1:7891"),
    ("https://proxy.example", "https://proxy.example"),
]


@pytest.mark.parametrize(("written", "taken"), USABLE)
def test_a_proxy_as_people_write_it(written: str, taken: str) -> None:
    assert checked_proxy(written) == taken


@pytest.mark.parametrize(
    "proxy",
    ["socks4://me:hunter22@h:1", "gopher://h", "http://me:hunter22@h:99999", "http://", "http://[::1", "http://a b"],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError, match="https_proxy") as caught:
        check_network("https://api.example.org/v1")
    assert "unset https_proxy" in caught.value.hint
    assert "hunter22" not in caught.value.message + caught.value.hint
    check_network("http://api.example.org/v1")  # which that proxy is not for


def test_socks_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:7891")
    with pytest.raises(ConfigError, match="SOCKS") as caught:
        check_network("https://api.example.org")
    assert "imagegen-cli[socks]" in caught.value.hint
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:7890")
    check_network("https://api.example.org")  # SOCKS is set beside it and not used


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("socks", [True, False])
def test_a_request_goes_through_a_proxy(
    service: Echo, monkeypatch: pytest.MonkeyPatch, socks: bool, paid: bool
) -> None:
    with Proxy(socks=socks) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("socks5", "socks"))
        answer = answer_to(f"http://far.invalid:{service.port}/x", paid=paid)
    assert answer.body == {"asked": "/x"}
    assert proxy.targets == [f"far.invalid:{service.port}"]


@pytest.mark.parametrize("socks", [True, False])
def test_a_picture_comes_through_a_proxy(
    service: Echo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, socks: bool
) -> None:
    async def fetch(url: str) -> Any:
        async with open_clients() as clients:
            return await Downloader(clients.fetch).stage(RemoteImage(url), tmp_path / "1", tmp_path / ".part")

    service.pictures = Pictures("png", (16, 16))
    with Proxy(socks=socks) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url)
        held = asyncio.run(fetch(service.file_url("job", 1)))
    assert Path(held.path).stat().st_size
    assert len(proxy.targets) == 1


REFUSALS = [(Refusal.REPLY, ASKS), (Refusal.REPLY, "403 Forbidden"), (Refusal.REPLY, "502 Bad Gateway")]
REFUSALS += [(refusal, "") for refusal in (Refusal.CLOSE, Refusal.SILENCE, Refusal.GARBAGE)]


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("socks", [True, False])
@pytest.mark.parametrize(("refusal", "status"), REFUSALS)
def test_a_refused_connection_was_never_sent(
    monkeypatch: pytest.MonkeyPatch, refusal: Refusal, status: str, socks: bool, paid: bool
) -> None:
    with Proxy(refusal, socks=socks, status=status) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("//", "//me:hunter22@") if not socks else proxy.url)
        with pytest.raises(TaskError) as caught:
            answer_to("https://far.invalid/v1", paid=paid, timeout=SHORT if refusal is Refusal.SILENCE else LONG)
    assert type(caught.value) is Unavailable
    assert f"127.0.0.1:{proxy.port}" in caught.value.message
    assert "hunter22" not in caught.value.message + str(caught.value.__cause__)
    assert proxy.targets == ["far.invalid:443"]
    assert socks or proxy.key == "me:hunter22"


@pytest.mark.parametrize("paid", [True, False])
def test_a_proxy_that_asks_for_a_password_passes_nothing_on(monkeypatch: pytest.MonkeyPatch, paid: bool) -> None:
    with Proxy(Refusal.REPLY, status=ASKS) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(Unavailable, match=r"407.*before its host in http_proxy"):
            answer_to("http://far.invalid/", paid=paid)
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(Unavailable, match=r"407.*before its host in http_proxy"):
            answer_to("http://far.invalid/", paid=paid)
        with pytest.raises(Unavailable, match=r"407.*before its host in https_proxy"):
            answer_to("https://far.invalid/", paid=paid)


@pytest.mark.parametrize("paid", [True, False])
def test_a_page_that_may_be_the_proxys_own_names_it(monkeypatch: pytest.MonkeyPatch, paid: bool) -> None:
    with Proxy(Refusal.REPLY, status="502 Bad Gateway") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(TaskError, match=rf"HTTP 502 through the proxy {proxy.url}"):
            answer_to("http://far.invalid/", paid=paid)


@pytest.mark.parametrize("paid", [True, False])
def test_what_was_sent_through_a_proxy_and_lost_is_uncertain(
    service: Echo, monkeypatch: pytest.MonkeyPatch, paid: bool
) -> None:
    service.fail("submit", Fault.CLOSE_AFTER)
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(TaskError, match="through the proxy") as caught:
            answer_to(service.url, paid=paid)
    assert type(caught.value) is (Uncertain if paid else Unavailable)


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("way", ["directly", "by HTTP", "by SOCKS"])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_that_is_not_trusted_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, way: str, paid: bool
) -> None:
    public, private = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
    client.trust.cache_clear()

    async def ask() -> int:
        async with answering(OK, tls=context) as server, open_clients() as clients:
            url = f"https://127.0.0.1:{server.port}/"
            return (await call(clients, "GET", url, paid=paid, raw=True, timeout=LONG)).status

    with Proxy(socks=way == "by SOCKS") as proxy:
        if way != "directly":
            monkeypatch.setenv("all_proxy", proxy.url)
        if trusted:
            assert asyncio.run(ask()) == 200
        else:
            with pytest.raises(Unavailable, match=r"not trusted.*SSL_CERT_FILE"):
                asyncio.run(ask())
    assert len(proxy.targets) == (way != "directly")
    client.trust.cache_clear()


def test_plain_http_behind_https_is_said() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def ask() -> Any:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server, open_clients() as clients:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await call(clients, "POST", url, paid=True, timeout=LONG)

    client.trust.cache_clear()
    with pytest.raises(Unavailable, match="does not speak TLS"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    "text", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
def test_a_file_of_certificates_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE") as caught:
        check_network("https://api.example.org")
    assert "unset SSL_CERT_FILE" in caught.value.hint
    check_network("http://127.0.0.1:8188")  # needs none


def test_a_folder_of_certificates_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="SSL_CERT_DIR"):
        check_network("https://api.example.org")


def test_settings_of_a_desktop_have_their_own_exceptions() -> None:
    assert ProxySettings({"http": "http://p:1"}, (), is_system=False).proxy_for("http://a.example") == "http://p:1"


# The whole program


CONFIG = '[providers.studio]\nkind = "dreamina"\nbase_url = "http://far.invalid:{port}"\npoll = 0.05\n'
NOTHING = {"NO_PROXY": "", "no_proxy": ""}


def test_what_shells_set_for_clash_just_works(tmp_path: Path) -> None:
    """HTTP_PROXY, HTTPS_PROXY and a SOCKS address for everything else, whether or not SOCKS can be spoken."""
    with DreaminaServer(pictures=Pictures("png", (16, 16))) as server, Proxy() as proxy:
        program = Program(tmp_path, CONFIG.format(port=server.port))
        shell = {"http_proxy": proxy.url, "https_proxy": proxy.url, "ALL_PROXY": "socks5://127.0.0.1:9"}
        ended = program.run("run", "a cat", "-p", "studio", **shell, **NOTHING)
    assert ended.code == 0, ended.err
    assert proxy.targets


@pytest.mark.parametrize(
    ("proxy", "code", "expected"),
    [
        ("socks4://127.0.0.1:9", 3, "unset ALL_PROXY"),
        ("socks://127.0.0.1:9", 1, "through the proxy socks://127.0.0.1:9"),
    ],
)
def test_a_proxy_in_the_way_is_named(tmp_path: Path, proxy: str, code: int, expected: str) -> None:
    program = Program(tmp_path, CONFIG.format(port=80))
    ended = program.run("run", "a cat", "-p", "studio", "--timeout", "5", ALL_PROXY=proxy, **NOTHING)
    assert ended.code == code
    assert expected in ended.err
    if code == 3:
        assert not (program.home / "history.db").exists()
    else:
        assert program.tasks()[0]["reason"] == "network"
