"""A name and a password in base_url: every kind sends them, and to its own host alone."""

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import TaskError
from imagegen_cli.core.provider import way_to
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import RemoteImage
from imagegen_cli.net.client import open_clients
from imagegen_cli.net.download import Downloader
from imagegen_cli.providers import kinds, load
from imagegen_cli.providers._common import Key
from tests.doubles.hostile import OneAnswer, redirects
from tests.doubles.http import Pictures, Reply
from tests.test_contract import remote_kinds, request_for, settings_for

pytestmark = pytest.mark.anyio

LOGIN = "Basic " + b64encode(b"me:secret").decode()
OWN_WAY = {"jimeng", "volcengine", "dreamina"}
"""Kinds that cannot be asked without a key, which takes the place of a name and a password."""


@pytest.mark.parametrize("kind", [kind for kind in remote_kinds() if kind not in OWN_WAY])
async def test_name_and_password_open_the_way(kind: str, tmp_path: Path) -> None:
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    with OneAnswer() as service:
        settings = settings_for(kind, service.url.replace("//", "//me:secret@"), secret="")
        more: dict[str, Any] = {"username": ""} if hasattr(settings, "username") else {}
        settings = replace(settings, **more)
        request = request_for(kind, settings, str(picture))
        assert request is not None
        async with open_clients() as clients:
            provider = load(kind)(settings, clients)
            with suppress(TaskError):
                await provider.submit(request, provider.client_job(request), lambda _: None)
            await provider.close()
        assert service.requests
        assert {one.headers.get("authorization") for one in service.requests} == {LOGIN}


@pytest.mark.parametrize(
    ("header", "url", "sent"),
    [
        ("Authorization", "http://me:secret@here.example", {"authorization": "Bearer k"}),
        ("x-key", "http://me:secret@here.example", {"authorization": LOGIN, "x-key": "Bearer k"}),
    ],
)
@pytest.mark.parametrize("host", ["here.example", "elsewhere.example"])
def test_a_key_goes_beside_them_where_it_has_a_header_of_its_own(
    header: str, url: str, sent: dict[str, str], host: str
) -> None:
    key = Key(Secret("k"), url, header=header, prefix="Bearer ")
    request = next(key.auth_flow(httpx.Request("GET", f"http://{host}/x")))
    found = {name: value for name, value in request.headers.items() if name in ("authorization", "x-key")}
    assert found == (sent if host == "here.example" else {})


def test_the_exceptions_are_kinds() -> None:
    assert set(kinds()) >= OWN_WAY


@pytest.mark.parametrize("kind", ["dreamina", "jimeng", "openai"])
async def test_pictures_of_ones_own_server_are_fetched_with_name_password_and_headers(
    kind: str, tmp_path: Path
) -> None:
    with OneAnswer(Reply(200, Pictures().make("a", 1), {"content-type": "image/png"})) as service, OneAnswer() as other:
        settings = replace(
            load(kind).Settings(), base_url=service.url.replace("//", "//me:secret@"), headers={"X-Door": "open"}
        )
        origin, headers = way_to(settings)
        async with open_clients() as clients:
            saver = Downloader(clients.fetch, own_headers={origin: headers})
            for number, home in enumerate((service.url, service.url.replace("//", "//me:secret@"))):
                await saver.stage(
                    RemoteImage(f"{home}/{number}.png"), tmp_path / f"{number}", tmp_path / f".{number}.part"
                )
            service.reply = redirects(302, f"{other.url}/stolen")
            other.reply = Reply(200, Pictures().make("b", 1), {"content-type": "image/png"})
            await saver.stage(RemoteImage(f"{service.url}/3.png"), tmp_path / "3", tmp_path / ".3.part")
    assert {one.headers.get("authorization") for one in service.requests} == {LOGIN}
    assert {one.headers.get("x-door") for one in service.requests} == {"open"}
    assert [one.headers.get("authorization", one.headers.get("x-door")) for one in other.requests] == [None]
