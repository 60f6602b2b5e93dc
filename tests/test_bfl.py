import base64
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
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
from imagegen_cli.core.money import parse_money
from imagegen_cli.core.provider import Accepted, Balance, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, InlineImage, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers._common import Key
from imagegen_cli.providers.bfl import DOMAINS, MAX_UNKNOWN, MODELS, SEEDS, UNKNOWN, BlackForestLabs, Settings, form_of
from tests import suite
from tests.doubles.bfl import CREDITS, KEY, BflService, state
from tests.doubles.http import CONNECT, Fault, Reply
from tests.doubles.pictures import whose
from tests.suite import WRONG, Suite, accepted, five_tasks, ignored, image_request, polled, submitted

pytestmark = pytest.mark.anyio

SUITE = Suite(BlackForestLabs, BflService, "jpeg", api_key=Secret(KEY))
server, provider, picture = SUITE.fixtures()
evil = SUITE.another()

SPEC = "bfl-openapi.json"


def valid(body: object, schema: str) -> None:
    """Check against BFL's own description, in which a field that it does not have is a mistake."""
    components = suite.description(SPEC)["components"]
    for one in components["schemas"].values():
        one["additionalProperties"] = one.get("additionalProperties", False)
    suite.valid(body, schema, components)


def schema_of(model: str) -> str:
    operation = suite.description(SPEC)["paths"][f"/v1/{model}"]["post"]
    reference: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return reference.rpartition("/")[2]


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: BlackForestLabs) -> None:
    assert load("bfl") is BlackForestLabs
    assert (provider.max_images(image_request()), provider.expected_images(image_request())) == (1, 1)
    assert (await provider.models(), Settings().concurrency <= 24) == (MODELS, True)
    assert await provider.cancel(Job("1")) is CancelOutcome.GOES_ON


async def test_the_shortest_request(server: BflService, provider: BlackForestLabs) -> None:
    job = await accepted(provider)
    (request,) = server.requests_of("submit")
    assert (request.path, request.headers["x-key"]) == ("/v1/flux-2-pro", KEY)
    body = request.json()
    assert body.pop("seed") in SEEDS
    assert body == {"prompt": "a cat", "output_format": "png"}
    assert job == Job(next(iter(server.jobs)), f"{server.url}/v1/get_result?id={job.id}")


@pytest.mark.parametrize("model", MODELS)
async def test_full_requests_are_valid(server: BflService, provider: BlackForestLabs, picture: str, model: str) -> None:
    form = form_of(model)
    shape = {"ratio": "16:9"} if form.shape == "ratio" else {"width": 1024, "height": 768}
    values = {"guidance": "3.5", "steps": "20", "safety_tolerance": "5", "prompt_upsampling": "true", "raw": "false"}
    extra = {name: values[name] for name in form.extras}
    more = {"seed": 0, "count": 1, "references": (picture,) * form.references, "extra": extra, **shape}
    await accepted(provider, "猫 🐈", model=model, **more)
    body = server.requests_of("submit")[0].json()
    valid(body, schema_of(model))
    assert (body["seed"], body["safety_tolerance"]) == (0, 5)
    pictures = [value for name, value in body.items() if name.startswith("input_image")]
    assert {whose(base64.b64decode(one)) for one in pictures} == ({"reference/1"} if form.references else set())
    assert len(pictures) == form.references


@pytest.mark.parametrize(
    ("model", "spec", "size"),
    [
        ("flux-2-pro", {"ratio": "1:1"}, (1024, 1024)),
        ("flux-2-pro", {"ratio": "16:9"}, (1360, 768)),
        ("flux-2-pro", {"ratio": "9:21", "resolution": "1K"}, (656, 1552)),
        ("flux-2-max", {"resolution": "2k"}, (2048, 2048)),
        ("flux-2-klein-4b", {"ratio": "3:3"}, (1024, 1024)),
        ("flux-2-flex", {"width": 64, "height": 4096}, (64, 4096)),
        ("flux-pro-1.1", {"ratio": "4:3"}, (1152, 864)),
        ("flux-pro-1.1", {"ratio": "21:9"}, (1440, 608)),
        ("flux-dev", {"width": 256, "height": 1440}, (256, 1440)),
    ],
)
async def test_sizes(
    server: BflService, provider: BlackForestLabs, model: str, spec: dict[str, Any], size: tuple[int, int]
) -> None:
    await accepted(provider, model=model, **spec)
    body = server.requests_of("submit")[0].json()
    assert (body["width"], body["height"]) == size


@pytest.mark.parametrize("model", ["flux-2-pro", "flux-pro-1.1"])
async def test_every_ratio_keeps_to_the_rules_and_near_to_itself(provider: BlackForestLabs, model: str) -> None:
    form = form_of(model)
    for wide, high in product(range(1, 22), repeat=2):
        if 9 / 21 <= wide / high <= 21 / 9:
            body = provider._body(image_request(model=model, ratio=f"{wide}:{high}"), [])
            provider.check(image_request(model=model, width=body["width"], height=body["height"]))
            assert body["width"] * body["height"] <= 1024**2
            assert math.isclose(body["width"] / body["height"], wide / high, rel_tol=form.step / 600)


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        ({"model": "flux-kontext-pro", "ratio": "21:9"}, {"aspect_ratio": "21:9"}),
        ({"model": "flux-pro-1.1-ultra", "ratio": "9:21"}, {"aspect_ratio": "9:21"}),
        ({"model": "flux-pro-1.1-ultra", "extra": {"raw": "true"}}, {"raw": True}),
        ({"model": "flux-9-new", "ratio": "3:2", "resolution": "4k"}, {"aspect_ratio": "3:2", "resolution": "4k"}),
        ({"model": "flux-9-new", "width": 777, "height": 333}, {"width": 777, "height": 333}),
        ({"seed": -1}, {}),
        (
            {"references": ("https://a/1", "https://a/2")},
            {"input_image": "https://a/1", "input_image_2": "https://a/2"},
        ),
    ],
)
async def test_fields(
    server: BflService, provider: BlackForestLabs, spec: dict[str, Any], sent: dict[str, Any]
) -> None:
    await accepted(provider, **spec)
    body = server.requests_of("submit")[0].json()
    assert body.pop("seed") in SEEDS
    assert body == {"prompt": "a cat", "output_format": "png"} | sent


async def test_the_seed_that_was_used_is_told(server: BflService, provider: BlackForestLabs) -> None:
    for seed in (5, None):
        reply = await provider.submit(image_request(seed=seed), None, ignored)
        sent = server.requests_of("submit")[-1].json()["seed"]
        assert reply.facts["seed"] == sent == (sent if seed is None else seed)
        assert (reply.facts["model"], isinstance(reply, Accepted)) == ("flux-2-pro", True)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "\ud800"}, "no request can carry"),
        ({"negative": "dogs"}, "no negative prompt"),
        ({"model": "sdxl"}, "no model 'sdxl'"),
        ({"model": "flux-2-pro/../credits"}, "no model"),
        ({"count": 2}, "makes one picture here"),
        ({"seed": -2}, "0 or more"),
        ({"width": 1000, "height": 1024}, "steps of 16"),
        ({"width": 48, "height": 64}, "64 to"),
        ({"width": 1024}, "1024x0"),
        ({"width": 1024, "height": 1024, "ratio": "1:1"}, "not both"),
        ({"width": 1024, "height": 1024, "resolution": "1k"}, "not both"),
        ({"ratio": "22:9"}, "between 21:9 and 9:21"),
        ({"ratio": "0:1"}, "such as 16:9"),
        ({"ratio": "wide"}, "such as 16:9"),
        ({"resolution": "4k"}, "has 1k, 2k"),
        ({"model": "flux-pro-1.1", "resolution": "2k"}, "has 1k"),
        ({"model": "flux-pro-1.1", "width": 1456, "height": 1024}, "256 to 1440"),
        ({"model": "flux-dev", "width": 1040, "height": 1024}, "steps of 32"),
        ({"model": "flux-pro-1.1-ultra", "width": 1024, "height": 1024}, "by ratio"),
        ({"model": "flux-kontext-max", "resolution": "2k"}, "no size classes"),
        ({"extra": {"safety_tolerance": "6"}}, "from 0 to 5"),
        ({"model": "flux-dev", "extra": {"safety_tolerance": "7"}}, "from 0 to 6"),
        ({"model": "flux-dev", "extra": {"guidance": "nan"}}, "from 1.5 to 5"),
        ({"model": "flux-2-flex", "extra": {"steps": "2.5"}}, "whole number from 1 to 50"),
        ({"model": "flux-dev", "extra": {"prompt_upsampling": "yes"}}, "true or false"),
        ({"extra": {"prompt": "a dog"}}, "no option 'prompt'"),
        ({"extra": {"webhook_url": "https://a.example/"}}, "no option 'webhook_url'"),
        ({"model": "flux-pro-1.1", "references": (__file__,)}, "text alone"),
        ({"model": "flux-2-klein-9b", "references": (__file__,) * 5}, "at most 4"),
        ({"references": (__file__,)}, "not a PNG"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
    ],
)
async def test_what_would_be_refused_is_refused_before_it_is_sent(
    server: BflService, provider: BlackForestLabs, wrong: dict[str, Any], rule: str
) -> None:
    spec: dict[str, Any] = {"prompt": "a cat"} | wrong
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(image_request(**spec))
    with pytest.raises(BadRequest):
        await accepted(provider, **spec)
    assert "\n" not in refused.value.message
    assert server.counts["connections"] == 0


async def test_an_unknown_file_format(server: BflService, clients: Clients) -> None:
    with pytest.raises(BadRequest, match="png, jpeg, webp"):
        BlackForestLabs(Settings(base_url=server.url, output_format="gif"), clients).check(image_request())


# What comes back


@pytest.mark.parametrize("prompt", ["a cat", "#inline", "#nourl"])
async def test_the_picture(clients: Clients, provider: BlackForestLabs, prompt: str) -> None:
    job = await accepted(provider, prompt)
    reply = await polled(provider, job)
    assert isinstance(reply, Ready)
    (image,) = reply.images
    assert isinstance(image, InlineImage | RemoteImage)
    data = image.data if isinstance(image, InlineImage) else (await clients.free.get(image.url)).content
    assert whose(data) == f"{job.id}/1"


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#blocked", Moderated, r"prompt or a reference was refused \(Request Moderated\): Safety Filter"),
        ("#withheld", Moderated, r"withheld \(Content Moderated\): Safety Filter"),
        ("#error", GenerationFailed, r"\(Error\)"),
        ("#failed", GenerationFailed, r"\(Failed\)"),
        ("#nosample", GenerationFailed, "names none"),
    ],
)
async def test_ends_without_a_picture(
    provider: BlackForestLabs, prompt: str, meaning: type[TaskError], words: str
) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(meaning, match=words) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning


async def test_what_it_says_while_it_works(server: BflService, provider: BlackForestLabs) -> None:
    server.polls = 9
    for prompt, replies in {
        "a cat": [Working(), Working()],
        "#progress": [Working(fraction=0.25)],
        "#reasoning": [Working(note="Reasoning"), Working()],
        "#word": [Working(note="Dreaming")],
    }.items():
        job = await accepted(provider, prompt)
        assert [await polled(provider, job) for _ in replies] == replies


@pytest.mark.parametrize("prompt", ["#early", "#early404"])
async def test_a_question_may_come_too_early(provider: BlackForestLabs, prompt: str) -> None:
    job = await accepted(provider, prompt)
    assert [await polled(provider, job) for _ in range(2)] == [Working(note=UNKNOWN)] * 2
    assert isinstance(await polled(provider, job), Ready)


async def test_after_the_grace_an_unknown_task_is_gone(server: BflService, provider: BlackForestLabs) -> None:
    job = await accepted(provider, "#unknown")
    assert [await polled(provider, job) for _ in range(MAX_UNKNOWN)] == [Working(note=UNKNOWN)] * MAX_UNKNOWN
    with pytest.raises(Expired, match="does not know") as raised:
        await polled(provider, job)
    assert not raised.value.final, "another region's server says the same"


async def test_an_address_that_is_not_there_says_nothing_about_the_task(
    server: BflService, provider: BlackForestLabs
) -> None:
    with pytest.raises(Expired, match="404") as raised:
        await polled(provider, Job("unheard-of", f"{server.url}/v1/nowhere"))
    assert not raised.value.final


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#limit", RateLimited, "24"),
        ("#poor", OutOfCredits, "Insufficient credits"),
        ("#invalid", BadRequest, "multiple of 16"),
        ("#lost", Uncertain, "charged"),
    ],
)
async def test_refusals_of_a_submit(
    provider: BlackForestLabs, prompt: str, meaning: type[TaskError], words: str
) -> None:
    with pytest.raises(meaning, match=words) as raised:
        await accepted(provider, prompt)
    assert type(raised.value) is meaning
    assert not isinstance(raised.value, RateLimited) or raised.value.after == 0.1


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({"detail": "Not authenticated"}, 403), Unauthorized),
        (Reply.json({"detail": "slow"}, 429, retry_after="3"), RateLimited),
        (Reply.json({"detail": "oh"}, 500), ServerTrouble),
        (Reply.json([]), ServerTrouble),
        (Reply.json({}), ServerTrouble),
        (Fault.HTML, ServerTrouble),
        (Fault.CLOSE_AFTER, Unavailable),
    ],
)
async def test_other_answers_to_a_question_keep_the_job(
    server: BflService, provider: BlackForestLabs, answer: Reply | Fault, meaning: type[TaskError]
) -> None:
    job = await accepted(provider)
    server.fail("query", answer)
    with pytest.raises(meaning) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning
    assert isinstance(await polled(provider, job), Ready)


async def test_a_service_that_is_not_there(server: BflService, provider: BlackForestLabs) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await accepted(provider)


# Keys and credits


async def test_the_key_goes_to_no_other_host(server: BflService, evil: BflService, provider: BlackForestLabs) -> None:
    server.elsewhere = evil.url
    job = await accepted(provider, "#elsewhere")
    with pytest.raises(Unauthorized, match=r"127\.0\.0\.1.* was not sent"):
        await polled(provider, job)
    assert evil.counts["connections"] == 0


async def test_no_redirect_is_followed(server: BflService, evil: BflService, provider: BlackForestLabs) -> None:
    job = await accepted(provider)
    server.fail("query", Reply.json({}, 302, location=f"{evil.url}/v1/get_result?id={job.id}"))
    with pytest.raises(ServerTrouble):
        await polled(provider, job)
    assert evil.counts["connections"] == 0


@pytest.mark.parametrize(
    ("base", "url", "goes"),
    [
        ("https://api.bfl.ai", "https://api.eu4.bfl.ai/v1/get_result?id=1", True),
        ("https://api.eu.bfl.ai", "https://bfl.ai/v1", True),
        ("https://api.bfl.ai", "http://api.bfl.ai/v1", False),
        ("https://api.bfl.ai", "https://api.bfl.ai.evil.example/v1", False),
        ("https://api.bfl.ai", "https://notbfl.ai/v1", False),
        ("http://127.0.0.1:8000", "https://api.bfl.ai/v1", False),
    ],
)
async def test_where_the_key_may_go(base: str, url: str, goes: bool) -> None:
    key = Key(Secret(KEY), base, header="x-key", domains=DOMAINS)
    (sent,) = key.auth_flow(httpx.Request("GET", url))
    assert sent.headers.get("x-key") == (KEY if goes else None)


async def test_a_wrong_key(server: BflService, clients: Clients) -> None:
    provider = BlackForestLabs(Settings(base_url=server.url, api_key=Secret("bfl_wrong_0000")), clients)
    with pytest.raises(Unauthorized, match="Not authenticated") as raised:
        await accepted(provider)
    assert "bfl_wrong" not in raised.value.message


@pytest.mark.parametrize(
    ("prompt", "cost", "charged"),
    [("#blocked", "0credits", False), ("#withheld", "1.5credits", True), ("#error", "", False)],
)
async def test_a_failure_says_what_it_costs(provider: BlackForestLabs, prompt: str, cost: str, charged: bool) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(TaskError) as raised:
        await polled(provider, job)
    assert raised.value.cost == (parse_money(cost) if cost else None)
    assert (raised.value.charged, raised.value.final) == (charged, True)


@pytest.mark.parametrize(("cost", "charged"), [("1.5", True), (-1, True), (1e300, True), ({}, True), (None, False)])
async def test_a_cost_that_cannot_be_read_is_no_word_that_nothing_is_charged(
    server: BflService, provider: BlackForestLabs, cost: Any, charged: bool
) -> None:
    job = await accepted(provider)
    server.fail("query", Reply.json(state(job.id, "Content Moderated", cost=cost)))
    with pytest.raises(Moderated) as raised:
        await polled(provider, job)
    assert (raised.value.cost, raised.value.charged, raised.value.final) == (None, charged, True)


async def test_the_receipt_and_the_result_say_what_they_cost(provider: BlackForestLabs) -> None:
    reply = await submitted(provider, image_request("#cheaper"))
    assert isinstance(reply, Accepted)
    result = await polled(provider, reply.job)
    assert isinstance(result, Ready)
    assert (reply.cost, result.cost) == (parse_money("3credits"), parse_money("2.25credits"))


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_cost_that_is_no_amount_is_not_known(server: BflService, provider: BlackForestLabs, wrong: Any) -> None:
    body = {"id": "1", "polling_url": f"{server.url}/v1/get_result?id=1", "cost": wrong}
    server.fail("submit", suite.escaped(body))
    reply = await submitted(provider, image_request())
    assert isinstance(reply, Accepted)
    assert reply.cost in (None, parse_money("0credits"))


async def test_credits(server: BflService, provider: BlackForestLabs) -> None:
    assert await provider.balance() == Balance(CREDITS)
    cases: tuple[Any, ...] = (None, True, "5", [], 10**400, float("nan"))
    for wrong in cases:
        server.fail("credits", Reply.json({"credits": wrong}))
        assert await provider.balance() == Balance(None, note="the service does not name the credits")


# Any JSON


async def test_the_double_answers_as_bfl_describes(server: BflService, clients: Clients) -> None:
    headers = {"x-key": KEY}
    for prompt in ("a cat", "#blocked", "#withheld", "#error", "#unknown", "#never #progress"):
        answer = await clients.free.post(f"{server.url}/v1/flux-2-pro", json={"prompt": prompt}, headers=headers)
        valid(answer.json(), "AsyncResponse")
        result = (await clients.free.get(answer.json()["polling_url"], headers=headers)).json()
        result.pop("cost", None)  # it is newer than the description
        valid(result, "ResultResponse")
    refused = await clients.free.post(f"{server.url}/v1/flux-2-pro", json={"prompt": "#invalid"}, headers=headers)
    valid(refused.json(), "HTTPValidationError")


BODIES: tuple[dict[str, Any], ...] = (
    state("1", "Ready", result={"sample": "https://a.example/1"}),
    state("1", "Content Moderated", details={"Moderation Reasons": ["x"]}),
    state("1", "Pending", progress=0.5),
)


@pytest.mark.parametrize("key", ["id", "status", "result", "progress", "details", "preview", "polling_url"])
async def test_no_json_breaks_it(server: BflService, provider: BlackForestLabs, key: str) -> None:
    for body, wrong in product(BODIES, WRONG):
        answer = Reply(200, json.dumps(body | {key: wrong}).encode())
        for where in ("submit", "query"):
            server.fail(where, answer)
        for work in (accepted(provider), polled(provider, Job("1"))):
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()
        server.heal()


# The whole program


LIST = ("a cat", "a storm #error", "a fight #withheld", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: BflService) -> None:
    five = five_tasks("bfl", tmp_path, server, LIST, secrets=(KEY,), api_key=KEY)
    assert five.made < {f"{job}/1" for job in server.jobs}
    assert (five.batch.code, server.counts["submit"]) == (5, 6)
