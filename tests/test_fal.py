import base64
import json
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    Expired,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.money import Price, parse_money
from imagegen_cli.core.provider import Accepted, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, InlineImage, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers._common import Key, fraction_in, picture
from imagegen_cli.providers.fal import DOMAINS, PRESETS, Fal, Settings
from tests import suite
from tests.doubles.fal import KEY, FalQueue
from tests.doubles.http import CONNECT, Fault, Reply
from tests.doubles.pictures import whose
from tests.suite import WRONG, Suite, accepted, five_tasks, ignored, image_request, owners, polled

pytestmark = pytest.mark.anyio

SUITE = Suite(Fal, FalQueue, "webp", api_key=Secret(KEY))
server, provider, reference = SUITE.fixtures()
evil = SUITE.another()

SPEC = "comfy-api-proxy-openapi.json"


def valid(body: object, schema: str) -> None:
    """Check against Comfy's description of fal's answers: fal publishes none of its queue."""
    suite.valid(body, schema, suite.description(SPEC)["components"])


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: Fal) -> None:
    assert load("fal") is Fal
    assert (provider.max_images(image_request()), provider.expected_images(image_request(count=3))) == (4, 3)


async def test_the_shortest_request(server: FalQueue, provider: Fal) -> None:
    job = await accepted(provider)
    (request,) = server.requests_of("submit")
    assert request.path == "/fal-ai/flux/dev"
    assert request.headers["authorization"] == f"Key {KEY}"
    assert request.json() == {"prompt": "a cat"}
    assert [job.id] == list(server.jobs)
    assert json.loads(job.url) == {
        "status": f"{server.url}/fal-ai/flux/requests/{job.id}/status",
        "response": f"{server.url}/fal-ai/flux/requests/{job.id}",
        "cancel": f"{server.url}/fal-ai/flux/requests/{job.id}/cancel",
        "model": "fal-ai/flux/dev",
    }


FLUX = "fal-ai/flux/dev"


async def result_of(provider: Fal, prompt: str = "a cat", **more: Any) -> Ready:
    reply = await polled(provider, await accepted(provider, prompt, **more))
    assert isinstance(reply, Ready)
    return reply


def priced(server: FalQueue, clients: Clients, **more: Any) -> Fal:
    return SUITE.connect(server, clients, platform_url=f"{server.url}/v1", **more)


async def test_prices_of_pictures_and_megapixels_are_told_and_those_of_seconds_are_not(
    server: FalQueue, clients: Clients
) -> None:
    server.prices = {
        FLUX: (0.025, "megapixels", "USD"), "a/b": (4, "image", "eur"), "a/c": (0.00017, "compute seconds", "USD"),
        "a/d": (1, "units", "USD"), "a/e": (1, "image", "GBP"), "a/f": (-1, "image", "USD"),
    }  # fmt: skip
    told = await priced(server, clients).prices([*server.prices, "a/unknown"])
    assert told == {
        FLUX: Price(parse_money("0.025usd"), per_megapixel=True), "a/b": Price(parse_money("4eur")),
        **dict.fromkeys(("a/c", "a/d", "a/e", "a/f")),
    }  # fmt: skip
    assert server.requests_of("prices")[0].headers["authorization"] == f"Key {KEY}"


@pytest.mark.parametrize("prices", [(0.04, 0.0001), (0.0001, 0.04), (0.04, "free")])
async def test_of_two_prices_of_a_model_the_dearer_counts(
    server: FalQueue, clients: Clients, prices: tuple[Any, ...]
) -> None:
    rows = [{"endpoint_id": FLUX, "unit_price": price, "unit": "images", "currency": "USD"} for price in prices]
    server.fail("prices", Reply.json({"prices": rows}))
    assert await priced(server, clients).prices([FLUX]) == {FLUX: Price(parse_money("0.04usd"))}


async def test_units_of_a_result_cost_what_their_unit_costs(server: FalQueue, clients: Clients) -> None:
    server.prices = {FLUX: (0.00000575, "compute seconds", "USD")}
    provider = priced(server, clients)
    server.fail(
        "result", Reply.json({"images": [{"url": f"{server.url}/files/1.png"}]}, 200, x_fal_billable_units="8.5")
    )
    assert (await result_of(provider)).cost == parse_money("0.000049usd")
    assert (await result_of(provider, model="fal-ai/other")).cost is None
    for _ in range(3):
        await result_of(provider)
    assert server.counts["prices"] == 1


@pytest.mark.parametrize("units", ["", "many", "-1", "1e9", "nan", "٣", "1" * 40])
async def test_units_that_are_no_number_cost_nothing_known(server: FalQueue, clients: Clients, units: str) -> None:
    server.prices = {FLUX: (0.025, "megapixels", "USD")}
    body = json.dumps({"images": [{"url": f"{server.url}/files/1.png"}]}).encode()
    server.fail("result", Reply(200, body, {"content-type": "application/json", "x-fal-billable-units": units}))
    assert (await result_of(priced(server, clients))).cost is None


@pytest.mark.parametrize("wrong", WRONG)
async def test_prices_of_any_json_break_nothing(server: FalQueue, clients: Clients, wrong: Any) -> None:
    server.prices = {FLUX: (0.025, "megapixels", "USD")}
    row = {"endpoint_id": FLUX, "unit_price": 1, "unit": "image", "currency": "USD"}
    for body in (wrong, {"prices": wrong}, *({"prices": [row | {name: wrong}]} for name in row)):
        server.fail("prices", suite.escaped(body))
        assert (await result_of(priced(server, clients))).images
        server.fail("prices", suite.escaped(body))
        with suppress(TaskError):
            assert set(await priced(server, clients).prices([FLUX])) <= {FLUX}


@pytest.mark.parametrize("trouble", [Fault.RESET_AFTER, Reply.json({}, 500), Reply.json({}, 401)])
async def test_pictures_never_fail_for_a_price(server: FalQueue, clients: Clients, trouble: Any) -> None:
    server.prices = {FLUX: (0.025, "megapixels", "USD")}
    server.fail("prices", trouble, times=None)
    assert (await result_of(priced(server, clients))).cost is None


@pytest.mark.parametrize(
    ("prompt", "cost", "charged"),
    [("#policy", "0.0125usd", True), ("#all", "0.025usd", True), ("#bare", "", True), ("#fail", "", False)],
)
async def test_a_failure_is_charged_as_it_says(
    server: FalQueue, clients: Clients, prompt: str, cost: str, charged: bool
) -> None:
    """A 5xx is free; a 422 without units may have been billed."""
    server.prices = {FLUX: (0.025, "megapixels", "USD")}
    provider = priced(server, clients)
    with pytest.raises(TaskError) as raised:
        await result_of(provider, prompt)
    assert (raised.value.cost, raised.value.charged) == (parse_money(cost) if cost else None, charged)


async def test_the_price_endpoint_of_another_host_is_not_asked(
    server: FalQueue, evil: FalQueue, clients: Clients
) -> None:
    server.prices = evil.prices = {FLUX: (0.025, "megapixels", "USD")}
    provider = SUITE.connect(server, clients, platform_url=f"{evil.url}/v1")
    with pytest.raises(Unauthorized):
        await provider.prices([FLUX])
    assert (await result_of(provider)).cost is None
    assert evil.counts["connections"] == 0


@pytest.mark.parametrize(
    ("base_url", "platform"),
    [
        ("https://queue.fal.run", "https://api.fal.ai/v1"),
        ("https://queue.fal.run.evil.example", ""),
        ("https://evilfal.run", ""),
        ("https://gateway.example/fal", ""),
        ("http://127.0.0.1:8320", ""),
    ],
)
async def test_only_fals_own_queue_leads_to_fals_own_prices(base_url: str, platform: str) -> None:
    none: Any = None
    provider = Fal(Settings(base_url=base_url, api_key=Secret(KEY)), Clients(none, none))
    assert provider._platform == platform
    if not platform:
        assert await provider.prices([FLUX]) == {}


async def test_a_full_request_is_valid(server: FalQueue, provider: Fal, reference: str) -> None:
    extra = {"guidance_scale": "3.5", "enable_safety_checker": "false", "output_format": "png"}
    shape = {"width": 1024, "height": 576}
    more = {"seed": 0, "count": 4, "negative": "dogs", "references": (reference,), "extra": extra, **shape}
    await accepted(provider, "猫 🐈", model="fal-ai/patina/material", **more)
    (request,) = server.requests_of("submit")
    body = request.json()
    valid(body, "FalPatinaMaterialRequest")
    head, _, data = body.pop("image_url").partition(",")
    assert (head, whose(base64.b64decode(data))) == ("data:image/webp;base64", "reference/1")
    assert request.path == "/fal-ai/patina/material"
    assert body == {
        "prompt": "猫 🐈",
        "num_images": 4,
        "seed": 0,
        "negative_prompt": "dogs",
        "image_size": {"width": 1024, "height": 576},
        "guidance_scale": 3.5,
        "enable_safety_checker": False,
        "output_format": "png",
    }


@pytest.mark.parametrize(
    ("more", "spec", "sent"),
    [
        *(({}, {"ratio": ratio}, {"image_size": preset}) for ratio, preset in PRESETS.items()),
        ({"ratio_field": "aspect_ratio"}, {"ratio": "21:9"}, {"aspect_ratio": "21:9"}),
        ({}, {"references": ("https://a.example/1",)}, {"image_url": "https://a.example/1"}),
        ({}, {"references": ("https://a/1", "https://a/2")}, {"image_urls": ["https://a/1", "https://a/2"]}),
        ({"image_list": True}, {"references": ("https://a/1",)}, {"image_urls": ["https://a/1"]}),
        ({}, {"seed": -1}, {}),
        ({}, {"extra": {"image_size": "square"}}, {"image_size": "square"}),
    ],
)
async def test_fields(
    server: FalQueue, clients: Clients, more: dict[str, Any], spec: dict[str, Any], sent: dict[str, Any]
) -> None:
    await accepted(SUITE.connect(server, clients, **more), **spec)
    assert server.requests_of("submit")[0].json() == {"prompt": "a cat"} | sent


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "\ud800"}, "no request can carry"),
        ({"model": "flux"}, "owner/app"),
        ({"model": "fal-ai/../x"}, "owner/app"),
        ({"count": 5}, "1 to 4"),
        ({"count": 0}, "1 to 4"),
        ({"ratio": "21:9"}, "1:1, 3:4"),
        ({"ratio": "1:1", "width": 512, "height": 512}, "not both"),
        ({"width": 512}, "come together"),
        ({"resolution": "2k"}, "no common size classes"),
        ({"extra": {"prompt": "a dog"}}, "prompt is given twice"),
        ({"extra": {"image_size": "square"}, "ratio": "1:1"}, "image_size is given twice"),
        ({"extra": {"image_url": "x"}, "references": ("https://example.com/a",)}, "image_url is given twice"),
        ({"extra": {"guidance": "-1e999"}}, "no request can carry"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
        ({"references": (__file__,)}, "not a PNG"),
    ],
)
async def test_what_would_be_refused_is_refused_before_it_is_sent(
    server: FalQueue, provider: Fal, wrong: dict[str, Any], rule: str
) -> None:
    spec: dict[str, Any] = {"prompt": "a cat"} | wrong
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(image_request(**spec))
    with pytest.raises(BadRequest):
        await accepted(provider, **spec)
    assert "\n" not in refused.value.message
    assert server.counts["connections"] == 0


# What comes back


@pytest.mark.parametrize(
    ("prompt", "count", "indices", "note"),
    [
        ("a cat", None, ["1"], ""),
        ("a cat", 4, ["1", "2", "3", "4"], ""),
        ("#single", None, ["1"], ""),
        ("#strings", 2, ["1", "2"], ""),
        ("#inline", 2, ["1", "2"], ""),
        ("#broken", None, ["1"], "1 of 2 pictures came without"),
        ("#some", 2, ["1", "2"], "marked 1 of 2 pictures as unsafe"),
    ],
)
async def test_forms_of_results(
    server: FalQueue, clients: Clients, provider: Fal, prompt: str, count: int | None, indices: list[str], note: str
) -> None:
    job = await accepted(provider, prompt, count=count)
    reply = await polled(provider, job)
    assert await owners(clients, reply) == [f"{job.id}/{index}" for index in indices]
    assert isinstance(reply, Ready)
    assert note in reply.note
    assert not any("authorization" in request.headers for request in server.requests_of("download"))


async def test_what_the_queue_and_the_model_tell_is_kept(server: FalQueue, provider: Fal) -> None:
    receipt = await provider.submit(image_request(), None, ignored)
    assert isinstance(receipt, Accepted)
    assert receipt.facts == {"model": "fal-ai/flux/dev", "request_id": receipt.job.id}
    reply = await polled(provider, receipt.job)
    assert isinstance(reply, Ready)
    assert reply.facts == {"seed": 7, "revised_prompt": "a cat"}


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#fail", GenerationFailed, "CUDA out of memory"),
        ("#infra", GenerationFailed, "Request timed out"),
        ("#vague", GenerationFailed, "the runner gave up"),
        ("#policy", Moderated, r"flagged by a content checker. \(violence, model_moderated\)"),
        ("#bare", Moderated, "flagged by a content checker"),
        ("#invalid", BadRequest, "Failed to load the image"),
        ("#all", Moderated, "every picture as unsafe"),
        ("#none", GenerationFailed, "made no pictures"),
        ("#gone", Expired, "Request not found"),
        ("#gateway", ServerTrouble, "a web page"),
    ],
)
async def test_ends_without_pictures(provider: Fal, prompt: str, meaning: type[TaskError], words: str) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(meaning, match=words) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning


async def test_what_it_says_while_it_works(server: FalQueue, provider: Fal) -> None:
    server.polls = 9
    job, bar, word = [await accepted(provider, prompt) for prompt in ("#queue", "#log", "#word")]
    replies = [await polled(provider, job) for _ in range(4)]
    assert replies == [*(Working(queue_position=place) for place in (2, 1, 0)), Working()]
    assert await polled(provider, bar) == Working(fraction=0.43)
    assert await polled(provider, word) == Working(note="PAUSED")
    assert {request.query["logs"] for request in server.requests_of("query")} == {"1"}


@pytest.mark.parametrize(
    ("log", "fraction"),
    [
        ("", None),
        ("100% sure", None),
        (" 7%|", 0.07),
        ("100%|x|\n 50%|x|", 0.5),
        ("999%|", 1.0),
        ("٤٢%|", None),
        ("9%|" + "x" * 10**6, None),
    ],
)
async def test_progress_in_logs(log: str, fraction: float | None) -> None:
    assert fraction_in(log) == fraction


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#limit", RateLimited, "Too many requests"),
        ("#poor", OutOfCredits, "Exhausted balance"),
        ("#refused", Moderated, "flagged"),
        ("#nourls", Uncertain, "no address"),
        ("#lost", Uncertain, "charged"),
    ],
)
async def test_refusals_of_a_submit(provider: Fal, prompt: str, meaning: type[TaskError], words: str) -> None:
    with pytest.raises(meaning, match=words) as raised:
        await accepted(provider, prompt)
    assert type(raised.value) is meaning
    assert not isinstance(raised.value, RateLimited) or raised.value.after == 0.1


@pytest.mark.parametrize("where", ["query", "result"])
@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({"detail": "Authentication"}, 401), Unauthorized),
        (Reply.json({"detail": "User is locked. Reason: Exhausted balance."}, 403), Unauthorized),
        (Reply.json({"detail": "no"}, 410), Expired),
        (Reply.json({"detail": "slow"}, 429, retry_after="3"), RateLimited),
        (Reply.json({"error": "busy"}, 503), Busy),
        (Reply.json({"error": "oh"}, 500), ServerTrouble),
        (Reply.json([]), ServerTrouble),
        (Fault.HTML, ServerTrouble),
        (Fault.CLOSE_AFTER, Unavailable),
    ],
)
async def test_other_answers_to_a_question_keep_the_job(
    server: FalQueue, provider: Fal, where: str, answer: Reply | Fault, meaning: type[TaskError]
) -> None:
    job = await accepted(provider)
    server.fail(where, answer, times=None)  # a kept connection that is closed is replaced once
    with pytest.raises(meaning) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning
    server._rules.clear()
    assert isinstance(await polled(provider, job), Ready)


OF_A_GATEWAY: tuple[object, ...] = (
    {"detail": "Not Found"},
    {"detail": ["upstream"]},
    {"detail": []},
    {"detail": None},
    {"detail": [{"type": "x"}]},
    {"detail": {"type": "x", "msg": "y"}},
    {"error_type": ""},
)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("body", OF_A_GATEWAY)
async def test_a_gateways_error_on_the_result_keeps_the_job(
    server: FalQueue, provider: Fal, status: int, body: object
) -> None:
    job = await accepted(provider)
    server.fail("result", Reply.json(body, status))
    with pytest.raises(TaskError) as raised:
        await polled(provider, job)
    assert isinstance(raised.value, ServerTrouble | Busy)
    assert not raised.value.final


OF_FAL: tuple[tuple[str, object], ...] = (
    ("a cat", {"detail": [{"loc": ["body"], "msg": "out of memory", "type": "internal_server_error"}]}),
    ("a cat", {"detail": "Request timed out", "error_type": "request_timeout"}),
    ("#vague", {"detail": "Internal Server Error"}),
)


@pytest.mark.parametrize(("prompt", "body"), OF_FAL)
async def test_fals_own_error_on_the_result_is_final(
    server: FalQueue, provider: Fal, prompt: str, body: object
) -> None:
    job = await accepted(provider, prompt)
    server.fail("result", Reply.json(body, 500))
    with pytest.raises(GenerationFailed) as raised:
        await polled(provider, job)
    assert raised.value.final


@pytest.mark.parametrize("answer", [Reply.json([]), Reply.json(None), Reply.json({}), Reply.json({}, 302), Fault.HTML])
async def test_receipts_that_are_none(server: FalQueue, provider: Fal, answer: Reply | Fault) -> None:
    server.fail("submit", answer)
    with pytest.raises(Uncertain, match="accepted"):
        await accepted(provider)


async def test_a_service_that_is_not_there(server: FalQueue, provider: Fal) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await accepted(provider)


@pytest.mark.parametrize(
    ("prompt", "ended", "outcome"),
    [
        ("#never", False, CancelOutcome.REQUESTED),
        ("#stubborn", False, CancelOutcome.REQUESTED),
        ("a cat", True, CancelOutcome.TOO_LATE),
    ],
)
async def test_cancels(server: FalQueue, provider: Fal, prompt: str, ended: bool, outcome: CancelOutcome) -> None:
    job = await accepted(provider, prompt)
    if ended:
        await polled(provider, job)
    assert await provider.cancel(job) is outcome
    assert server.requests_of("cancel")[0].method == "PUT"


async def test_other_answers_to_a_cancel(server: FalQueue, provider: Fal) -> None:
    job = await accepted(provider)
    server.jobs.clear()
    assert await provider.cancel(job) is CancelOutcome.GOES_ON
    server.fail("cancel", Reply.json({"status": "OK"}))
    assert await provider.cancel(job) is CancelOutcome.STOPPED
    assert await provider.cancel(Job("1", f"{server.url}/status")) is CancelOutcome.GOES_ON
    assert server.counts["cancel"] == 2


async def test_a_cancelled_request_ends_so(provider: Fal) -> None:
    job = await accepted(provider, "#never")
    await provider.cancel(job)
    with pytest.raises(GenerationFailed, match="cancelled"):
        await polled(provider, job)


# Keys


async def test_a_key_in_two_halves(server: FalQueue, clients: Clients) -> None:
    first, _, second = KEY.partition(":")
    halves = {"api_key": Secret(), "key_id": Secret(first), "key_secret": Secret(second)}
    await accepted(SUITE.connect(server, clients, **halves))
    with pytest.raises(Unauthorized, match="Authentication is required"):
        await accepted(SUITE.connect(server, clients, **(halves | {"key_secret": Secret()})))
    assert set(Settings.environment.values()) == {"FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"}


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "a b", "x\r\nX-Other: y"])
async def test_a_key_that_no_header_can_carry(server: FalQueue, clients: Clients, key: str) -> None:
    with pytest.raises(Unauthorized, match="characters that no key has") as raised:
        await accepted(SUITE.connect(server, clients, api_key=Secret(key)))
    assert key not in raised.value.message
    assert server.counts["connections"] == 0


@pytest.mark.parametrize("prompt", ["#elsewhere", "#resultelsewhere"])
async def test_the_key_goes_to_no_other_host(server: FalQueue, evil: FalQueue, provider: Fal, prompt: str) -> None:
    server.elsewhere = evil.url
    job = await accepted(provider, prompt)
    with pytest.raises(Unauthorized, match=r"127\.0\.0\.1.* was not sent"):
        await polled(provider, job)
    with pytest.raises(Unauthorized, match="was not sent"):
        await provider.cancel(Job("1", json.dumps({"cancel": f"{evil.url}/cancel"})))
    assert evil.counts["connections"] == 0


async def test_no_redirect_is_followed(server: FalQueue, evil: FalQueue, provider: Fal) -> None:
    job = await accepted(provider)
    for where in ("query", "result"):
        server.fail(where, Reply.json({}, 302, location=f"{evil.url}/a/b/requests/{job.id}"))
        with pytest.raises(ServerTrouble):
            await polled(provider, job)
    assert evil.counts["connections"] == 0


@pytest.mark.parametrize(
    ("base", "url", "goes"),
    [
        ("https://queue.fal.run", "https://queue.fal.run/a/b", True),
        ("https://queue.fal.run", "https://queue.fal.run:443/a/b", True),
        ("https://queue.fal.run", "https://api.fal.ai/a", True),
        ("https://queue.fal.run", "https://FAL.AI/a", True),
        ("https://queue.fal.run", "http://queue.fal.run/a/b", False),
        ("https://queue.fal.run", "https://queue.fal.run:8443/a", False),
        ("https://queue.fal.run", "https://queue.fal.run.evil.example/a", False),
        ("https://queue.fal.run", "https://evilfal.run/a", False),
        ("https://queue.fal.run", "https://queue.fal.run@evil.example/a", False),
        ("https://queue.fal.run", "https://queue.fal.run\\@evil.example/a", False),
        ("https://queue.fal.run", "https://evil.example/?https://queue.fal.run", False),
        ("https://queue.fal.run", "ftp://queue.fal.run/a", False),
        ("https://queue.fal.run", "https://queue.fal.run:99999/a", False),
        ("https://queue.fal.run", "https://[", False),
        ("https://queue.fal.run", "", False),
        ("https://gate.example/fal", "https://gate.example/other", True),
        ("https://gate.example/fal", "https://queue.fal.run/a", True),
        ("https://gate.example/fal", "https://other.example/a", False),
        ("http://localhost:8000", "http://localhost:8000/a", True),
        ("http://localhost:8000", "http://localhost:8001/a", False),
        ("http://127.0.0.1:8000", "https://queue.fal.run/a", False),
        ("http://[::1]:8000", "https://queue.fal.run/a", False),
    ],
)
async def test_where_a_key_may_go(base: str, url: str, goes: bool) -> None:
    key = Key(Secret(KEY), base, prefix="Key ", domains=DOMAINS)
    if not goes:
        with pytest.raises(Unauthorized) as refused:
            key.bound_for(url)
        assert KEY not in refused.value.message
        return
    (sent,) = key.bound_for(url).auth_flow(httpx.Request("GET", url))
    assert sent.headers["Authorization"] == f"Key {KEY}"


async def test_a_request_that_went_astray_gets_no_key() -> None:
    key = Key(Secret(KEY), "https://queue.fal.run", domains=DOMAINS)
    (sent,) = key.auth_flow(httpx.Request("GET", "https://evil.example/"))
    assert "Authorization" not in sent.headers


# Any JSON


@pytest.mark.parametrize(
    ("value", "image"),
    [
        ("data:image/png;base64,AAAA", InlineImage(b"\0\0\0")),
        ("data:image/svg+xml;utf8,%3Csvg/>", InlineImage(b"<svg/>")),
        (" https://a.example/1?x=%20&y=1 ", RemoteImage("https://a.example/1?x=%20&y=1")),
        *((wrong, None) for wrong in ("data:", "data:;base64,A", "data:;base64,é", "data:,\ud800", "", "file:///a", 7)),
        *((wrong, None) for wrong in ("https://", "https://a:99999/", "https://xn--/", "https://a/\ud800")),
    ],
)
async def test_pictures_as_text(value: object, image: object) -> None:
    assert picture(value) == image


async def test_the_double_answers_as_described(server: FalQueue, clients: Clients) -> None:
    provider, headers = SUITE.connect(server, clients), {"Authorization": f"Key {KEY}"}
    server.polls = 1
    for prompt in ("a cat", "#queue", "#log"):
        job = await accepted(provider, prompt)
        status, response = json.loads(job.url)["status"], json.loads(job.url)["response"]
        for _ in range(2):
            valid((await clients.free.get(status, headers=headers)).json(), "FalQueueStatus")
        if not prompt.startswith("#queue"):
            valid((await clients.free.get(response, headers=headers)).json(), "FalPatinaMaterialResponse")


KEYS = (
    *("request_id", "status_url", "response_url", "status", "queue_position", "logs", "error", "error_type"),
    *("images", "image", "has_nsfw_concepts", "detail"),
)
BODIES: tuple[dict[str, Any], ...] = (
    {"status": "COMPLETED", "images": [{"url": "https://a.example/1"}], "has_nsfw_concepts": [True]},
    {"status": "IN_PROGRESS", "queue_position": 1, "logs": [{"message": "1%|"}]},
    {"detail": [{"type": "content_policy_violation", "msg": "x", "categories": ["a"]}]},
)


@pytest.mark.parametrize("key", KEYS)
async def test_no_json_breaks_it(server: FalQueue, provider: Fal, key: str) -> None:
    job = await accepted(provider)
    for body, wrong in product(BODIES, WRONG):
        answer = Reply(200, json.dumps(body | {key: wrong}).encode())
        for where in ("submit", "query", "result", "cancel"):
            server.fail(where, answer)
        for work in (accepted(provider), polled(provider, job), provider.cancel(job)):
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()
        server.heal()


# The whole program


LIST = ("a cat", "a storm #fail", "a fight #policy", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: FalQueue) -> None:
    five = five_tasks("fal", tmp_path, server, LIST, secrets=(KEY,), api_key=KEY)
    assert five.made < {f"{job}/1" for job in server.jobs}
    assert (five.batch.code, server.counts["submit"], server.counts["cancel"]) == (1, 6, 1)
