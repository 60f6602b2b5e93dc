import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import anyio
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
from imagegen_cli.core.provider import Accepted, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, InlineImage, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers.volcengine import CLOCK_HINT, MODELS, SEEDS, SIZES, Settings, Volcengine, _Signature, sign
from tests.doubles.http import CONNECT, Fault, Pictures, Reply
from tests.doubles.pictures import whose
from tests.doubles.volcengine import ACCESS, SECRET, VisualService, answer_of, platform, running
from tests.suite import WRONG, Suite, accepted, escaped, five_tasks, ignored, image_request, owners, polled_times

pytestmark = pytest.mark.anyio

SUITE = Suite(Volcengine, VisualService, api_key=Secret(ACCESS), secret_key=Secret(SECRET))
server, provider, picture = SUITE.fixtures()

LINK = "https://a.example/1.png"
NO_SINGLE = {"force_single": "false"}


@pytest.fixture
def settings(server: VisualService) -> Settings:
    settings: Settings = SUITE.settings(server)
    return settings


# The signature


@pytest.mark.parametrize(
    ("keys", "moment", "query", "form", "body", "signature"),
    [
        # Published in the tests of two independent public clients: one of OCRNormal in TypeScript, one of CVProcess
        # in Go, whose authors computed them with Node's crypto and Python's hmac.
        (
            ("AKIDEXAMPLE", "SECRETEXAMPLE"),
            datetime(2026, 7, 22, 10, 20, 30, tzinfo=UTC),
            "Version=2020-08-26&Action=OCRNormal",
            "application/x-www-form-urlencoded",
            b"image_base64=abc%2B%2F%3D",
            "a4376fcbac4cfa771a986ce91d6195b879478562e9c5a5c2432a7ff65502ca89",
        ),
        (
            ("AKID", "SECRET"),
            datetime(2026, 9, 30, 1, 2, 3, tzinfo=UTC),
            "Action=CVProcess&Version=2022-08-31",
            "application/json",
            b'{"prompt":"cat","req_key":"model"}',
            "1fa5f51cfa9f0ba53fdcd1913cfba70da53e9cdc7452f0165d0769f0ce20810a",
        ),
    ],
)
async def test_published_signatures(
    keys: tuple[str, str], moment: datetime, query: str, form: str, body: bytes, signature: str
) -> None:
    url = f"https://visual.volcengineapi.com/?{query}"
    request = httpx.Request("POST", url, content=body, headers={"Content-Type": form})
    sign(request, moment, access=keys[0], secret=keys[1])
    assert request.headers["x-date"] == moment.strftime("%Y%m%dT%H%M%SZ")
    assert request.headers["authorization"] == (
        f"HMAC-SHA256 Credential={keys[0]}/{moment:%Y%m%d}/cn-north-1/cv/request, "
        f"SignedHeaders=content-type;host;x-content-sha256;x-date, Signature={signature}"
    )


async def test_queries_are_sorted_and_escaped_as_the_platform_does_it() -> None:
    signatures = set()
    for query in ("a=%E7%A9%BA%20%E6%A0%BC&z=%21%2A%27", "z=!*'&a=空 格", "a=空+格&z=!*'"):
        request = httpx.Request("POST", f"https://a.example/?{query}", headers={"Content-Type": "application/json"})
        sign(request, datetime(2026, 1, 1, tzinfo=UTC), access="a", secret="s")
        signatures.add(request.headers["authorization"])
    assert len(signatures) == 1


async def test_a_temporary_key_signs_its_token_too(server: VisualService, settings: Settings, clients: Clients) -> None:
    provider = Volcengine(replace(settings, session_token=Secret("STStoken==")), clients)
    await polled_times(provider, await accepted(provider))
    for request in server.requests:
        assert request.headers["x-security-token"] == "STStoken=="
        assert "x-date;x-security-token" in request.headers["authorization"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"api_key": Secret("AKLTother0123456789")}, r"InvalidAccessKey: The accesskey \[\*\*\*\*\]"),
        ({"secret_key": Secret("other")}, "SignatureDoesNotMatch"),
        ({"api_key": Secret()}, "an access key and a secret key"),
        ({"secret_key": Secret()}, "an access key and a secret key"),
        ({"secret_key": Secret("two words")}, "characters that no key has"),
        ({"api_key": Secret("line\nbreak")}, "characters that no key has"),
        ({"session_token": Secret("\ud800")}, "characters that no key has"),
    ],
)
async def test_wrong_keys(settings: Settings, clients: Clients, change: dict[str, Any], words: str) -> None:
    provider = Volcengine(replace(settings, **change), clients)
    for work in (accepted(provider), provider.poll(Job("jimeng_t2i_v40/1"), ignored)):
        with pytest.raises(Unauthorized, match=words) as refused:
            await work
        assert SECRET not in refused.value.message
        assert not [key for key in change.values() if len(key.reveal()) > 9 and key.reveal() in refused.value.message]


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_a_clock_that_is_wrong_is_named_as_the_cause(
    server: VisualService, provider: Volcengine, ahead: float
) -> None:
    job = await accepted(provider)
    server.clock = ahead
    for work in (accepted(provider), provider.poll(job, ignored)):
        with pytest.raises(Unauthorized, match="InvalidTimestamp") as refused:
            await work
        assert CLOCK_HINT in refused.value.message


async def test_nothing_signed_goes_to_another_host(server: VisualService, provider: Volcengine) -> None:
    with VisualService() as elsewhere:
        server.fail("submit", Reply.json({}, 307, location=f"{elsewhere.url}/?Action=CVSync2AsyncSubmitTask"))
        with pytest.raises(Uncertain):
            await accepted(provider)
        assert elsewhere.counts["connections"] == 0


async def test_a_request_to_another_host_stays_unsigned(settings: Settings) -> None:
    signature = _Signature(settings.base_url, settings)
    for url, signed in ((settings.base_url, True), ("http://127.0.0.1:1/", False), ("https://a.example/", False)):
        (request,) = signature.sync_auth_flow(httpx.Request("POST", url, headers={"Content-Type": "application/json"}))
        assert ("authorization" in request.headers) is signed


async def test_every_download_is_asked_without_a_signature(
    server: VisualService, provider: Volcengine, clients: Clients
) -> None:
    (reply,) = await polled_times(provider, await accepted(provider))
    assert await owners(clients, reply) == [f"{job}/1" for job in server.jobs]
    assert not [name for name in server.requests_of("download")[0].headers if name.startswith(("authorization", "x-"))]


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: Volcengine) -> None:
    assert load("volcengine") is Volcengine
    assert (
        provider.expected_images(image_request()),
        provider.max_images(image_request()),
        provider.max_images(image_request(extra=NO_SINGLE)),
    ) == (1, 1, None)
    assert await provider.models() == ("4.6", "4.0", "3.1", "3.0", "2.1", "i2i-3.0")
    assert (provider.model_for_version("4.0"), provider.model_for_version("4.5")) == ("jimeng_t2i_v40", None)
    assert (Settings().concurrency, Settings().poll, Settings().model) == (1, 1.0, "4.0")
    assert await provider.cancel(Job("1")) is CancelOutcome.GOES_ON
    assert await provider.balance() is None
    assert Settings.environment == {"api_key": "VOLC_ACCESSKEY", "secret_key": "VOLC_SECRETKEY"}


async def test_one_picture_is_always_said(server: VisualService, provider: Volcengine) -> None:
    await polled_times(provider, await accepted(provider))
    submit, query = server.requests
    assert submit.target == "/?Action=CVSync2AsyncSubmitTask&Version=2022-08-31"
    assert submit.json() == {"req_key": "jimeng_t2i_v40", "prompt": "a cat", "force_single": True}
    assert query.target == "/?Action=CVSync2AsyncGetResult&Version=2022-08-31"
    assert query.json()["req_key"] == "jimeng_t2i_v40"
    assert json.loads(query.json()["req_json"]) == {"return_url": True}


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        ({}, {"req_key": "jimeng_t2i_v40", "force_single": True}),
        ({"extra": NO_SINGLE}, {"force_single": False}),
        ({"resolution": "1k"}, {"size": 1024**2}),
        ({"resolution": "4K"}, {"size": 4096**2}),
        ({"ratio": "16:9"}, {"width": 2560, "height": 1440}),
        ({"ratio": "9:16", "resolution": "4k"}, {"width": 3040, "height": 5404}),
        ({"ratio": "3:4"}, {"width": 1728, "height": 2304}),
        ({"width": 1024, "height": 1024}, {"width": 1024, "height": 1024}),
        ({"width": 4096, "height": 1024, "extra": {"max_ratio": "4"}}, {"width": 4096, "max_ratio": 4.0}),
        ({"extra": {"scale": "0.75", "min_ratio": "0.0625"}}, {"scale": 0.75, "min_ratio": 0.0625}),
        ({"references": (LINK, LINK)}, {"image_urls": [LINK, LINK]}),
        ({"model": "4.6", "extra": {"scale": "50"}}, {"req_key": "jimeng_seedream46_cvtob", "scale": 50}),
        ({"model": "3.0", "seed": 7}, {"req_key": "jimeng_t2i_v30", "seed": 7}),
        ({"model": "jimeng_t2i_v31", "ratio": "21:9"}, {"req_key": "jimeng_t2i_v31", "width": 2016, "height": 864}),
        ({"model": "3.0", "resolution": "2k"}, {"width": 2048, "height": 2048}),
        ({"model": "3.1", "extra": {"use_pre_llm": "false"}, "seed": -1}, {"use_pre_llm": False}),
        ({"model": "2.1", "width": 512, "height": 384}, {"req_key": "jimeng_t2i_v21", "width": 512}),
        ({"model": "i2i-3.0", "references": (LINK,)}, {"req_key": "jimeng_i2i_v30", "image_urls": [LINK]}),
    ],
)
async def test_what_each_model_is_told(
    server: VisualService, provider: Volcengine, spec: dict[str, Any], sent: dict[str, Any]
) -> None:
    await accepted(provider, **spec)
    body = server.requests_of("submit")[0].json()
    assert {key: body.get(key) for key in sent} == sent
    assert ("force_single" in body) is body["req_key"].endswith(("v40", "cvtob"))


@pytest.mark.parametrize(("spec", "seeded"), [
    ({"model": "3.0", "seed": -1}, True), ({"model": "3.1"}, True), ({"model": "4.0"}, False),
])  # fmt: skip
async def test_the_seed_that_is_used_is_told(
    server: VisualService, provider: Volcengine, spec: dict[str, Any], *, seeded: bool
) -> None:
    reply = await provider.submit(image_request(**spec), None, ignored)
    body = server.requests_of("submit")[0].json()
    assert isinstance(reply, Accepted)
    assert (reply.facts.get("seed"), reply.facts["model"]) == (body.get("seed"), body["req_key"])
    assert ("seed" in body) is seeded
    assert not seeded or body["seed"] in SEEDS
    assert reply.facts["request_id"]


@pytest.mark.parametrize(("message", "meaning"), [
    ("图片审核不通过", Moderated), ("账户余额不足", OutOfCredits), ("odd", GenerationFailed),
])  # fmt: skip
async def test_words_beside_an_unknown_code_are_believed(
    server: VisualService, provider: Volcengine, message: str, meaning: type[TaskError]
) -> None:
    server.fail("submit", Reply.json({"code": 59999, "message": message, "data": None}))
    with pytest.raises(meaning) as raised:
        await provider.submit(image_request(), None, ignored)
    assert type(raised.value) is meaning


async def test_a_picture_comes_from_the_answer_where_its_address_is_none(
    server: VisualService, provider: Volcengine
) -> None:
    job = await accepted(provider)
    data = Pictures().make("made", 1)
    inside = ["", base64.b64encode(data).decode()]
    broken = {"status": "done", "image_urls": [LINK, "undefined"], "binary_data_base64": inside}
    server.fail("query", Reply.json({"code": 10000, "data": broken}))
    (reply,) = await polled_times(provider, job)
    assert isinstance(reply, Ready)
    assert reply.images == (RemoteImage(LINK), InlineImage(data))


async def test_a_file_goes_as_base64_where_the_model_takes_it(
    server: VisualService, provider: Volcengine, picture: str
) -> None:
    await accepted(provider, model="i2i-3.0", references=(picture,))
    (data,) = server.requests_of("submit")[0].json()["binary_data_base64"]
    assert whose(base64.b64decode(data)) == "reference/1"


async def test_a_reference_that_vanished_is_a_bad_request(provider: Volcengine, picture: str) -> None:
    request = image_request(model="i2i-3.0", references=(picture,))
    provider.check(request)
    await anyio.Path(picture).unlink()
    with pytest.raises(BadRequest):
        await provider.submit(request, None, ignored)


async def test_the_recommended_sizes_keep_their_ratio_and_their_models_rules(provider: Volcengine) -> None:
    assert len(SIZES) == 9
    for ratio, row in SIZES.items():
        wide, _, high = ratio.partition(":")
        assert all(abs(width / height / (int(wide) / int(high)) - 1) < 0.01 for width, height in row)
    for model, ratio in product(MODELS, SIZES):
        for tier in MODELS[model].tiers:
            references = (LINK,) * MODELS[model].references[0]
            provider.check(image_request(model=model, ratio=ratio, resolution=tier, references=references))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "字" * 801}, "at most 800 characters here, not 801"),
        ({"negative": "blurry"}, "no negative prompt"),
        ({"model": "4.5"}, "no image model '4.5'"),
        ({"model": ""}, None),
        ({"count": 2}, "makes one picture here"),
        ({"count": 1, "extra": NO_SINGLE}, "chooses the count itself"),
        ({"seed": 7}, "jimeng_t2i_v40 takes no seed"),
        ({"seed": 7, "model": "2.1"}, "takes no seed"),
        ({"seed": 2**31, "model": "3.0"}, "0 to 2147483647"),
        ({"seed": -2, "model": "3.0"}, "0 to 2147483647"),
        ({"ratio": "5:4"}, "1:1, 4:3"),
        ({"ratio": "1:1", "resolution": "1k"}, "it has 2k, 4k"),
        ({"resolution": "8k"}, "it has 2k, 4k"),
        ({"resolution": "4k", "model": "3.0"}, "it has 1k, 2k"),
        ({"ratio": "1:1", "model": "2.1"}, "say a size in pixels"),
        ({"width": 512, "height": 512}, "1024x1024 to 4096x4096"),
        ({"width": 2048}, "2048x0"),
        ({"width": 4096, "height": 4096, "model": "3.0"}, "512x512 to 2048x2048"),
        ({"width": 4096, "height": 1024}, "0.333:1 to 3:1"),
        ({"width": 1024, "height": 1024, "extra": {"min_ratio": "2"}}, "2:1 to 3:1"),
        ({"width": 2048, "height": 2048, "ratio": "1:1"}, "not both"),
        ({"extra": {"steps": "20"}}, "has no option 'steps'"),
        ({"extra": {"use_pre_llm": "true"}}, "has no option 'use_pre_llm'"),
        ({"extra": {"scale": "0.5"}, "model": "2.1"}, "has no option 'scale'"),
        ({"extra": {"force_single": "1"}}, "true or false"),
        ({"extra": {"scale": "1.5"}}, "0 to 1"),
        ({"extra": {"scale": "nan"}}, "0 to 1"),
        ({"extra": {"scale": "1e9"}}, "0 to 1"),
        ({"extra": {"scale": "0.5"}, "model": "4.6"}, "1 to 100"),
        ({"extra": {"scale": "50.5"}, "model": "4.6"}, "1 to 100"),
        ({"extra": {"max_ratio": "17"}}, "0.0625 to 16"),
        ({"references": (LINK,) * 11}, "at most 10 reference pictures"),
        ({"references": (LINK,), "model": "3.0"}, "from text alone"),
        ({"model": "i2i-3.0"}, "exactly 1 reference picture, not 0"),
        ({"references": (__file__,)}, "from addresses, not from files"),
        ({"references": ("nowhere.png",), "model": "i2i-3.0"}, "nowhere.png"),
    ],
)
async def test_what_the_service_would_refuse_or_bend_is_refused_before_it_is_sent(
    server: VisualService, provider: Volcengine, wrong: dict[str, Any], rule: str | None
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    if rule is None:
        provider.check(request)
        return
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await provider.submit(request, None, ignored)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"model": "jimeng_t2i_v41"}, "did you mean jimeng_t2i_v40?"),
        ({"extra": {"force_singel": "true"}}, "did you mean force_single?"),
        ({"extra": {"x": "1"}, "model": "2.1"}, "it has no options"),
    ],
)
async def test_what_is_unknown_gets_a_hint(provider: Volcengine, wrong: dict[str, Any], hint: str) -> None:
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(**wrong))
    assert refused.value.hint == hint


async def test_checking_needs_no_keys(clients: Clients) -> None:
    Volcengine(Settings(), clients).check(image_request())


# Answers to a submit

BOTH: tuple[tuple[int, int, type[TaskError]], ...] = (
    (50411, 400, Moderated),
    (50412, 400, Moderated),
    (50413, 400, Moderated),
    (50511, 400, Moderated),
    (50512, 400, Moderated),
    (50518, 400, Moderated),
    (50519, 400, Moderated),
    (50520, 400, GenerationFailed),
    (50522, 500, GenerationFailed),
    (50429, 429, RateLimited),
    (50430, 429, Busy),
    (50430, 200, Busy),
    (50400, 400, Unauthorized),
    (50400, 200, Unauthorized),
    (50215, 400, BadRequest),
)
"""Codes that mean the same for a submit and for a query."""


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        *BOTH,
        (50500, 500, Uncertain),
        (50501, 500, Uncertain),
        (50500, 200, Uncertain),
        (60000, 200, GenerationFailed),
        (60000, 400, BadRequest),
        (60000, 500, Uncertain),
    ],
)
async def test_codes_of_a_submit(
    server: VisualService, provider: Volcengine, code: int, status: int, meaning: type[TaskError]
) -> None:
    server.fail("submit", answer_of(code, "some words", status))
    with pytest.raises(TaskError, match=rf"some words \(code {code}\)") as raised:
        await accepted(provider)
    assert type(raised.value) is meaning
    assert server.counts["submit"] == 1


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [*BOTH, (50500, 500, ServerTrouble), (50501, 500, ServerTrouble), (50501, 200, ServerTrouble),
     (60000, 200, ServerTrouble), (60000, 400, ServerTrouble), (60000, 401, Unauthorized)],
)  # fmt: skip
async def test_codes_of_a_query(
    server: VisualService, provider: Volcengine, code: int, status: int, meaning: type[TaskError]
) -> None:
    job = await accepted(provider)
    server.fail("query", answer_of(code, "some words", status))
    with pytest.raises(TaskError, match=rf"some words \(code {code}\)") as raised:
        await polled_times(provider, job)
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (platform(401, 100010, "SignatureDoesNotMatch", "x"), Unauthorized),
        (platform(403, 100013, "AccessDenied", "x"), Unauthorized),
        (platform(403, 100012, "LackPolicy", "x"), Unauthorized),
        (platform(400, 100024, "InvalidAuthorization", "x"), Unauthorized),
        (platform(401, 100026, "InvalidSecretToken", "x"), Unauthorized),
        (platform(200, 100010, "SignatureDoesNotMatch", "x"), Unauthorized),
        (platform(404, 100008, "InvalidActionOrVersion", "x"), BadRequest),
        (platform(429, 100018, "AccountFlowLimitExceeded", "x"), RateLimited),
        (platform(503, 100019, "ServiceUnavailableTemp", "x"), Busy),
        (platform(500, 100014, "InternalError", "x"), Uncertain),
        (platform(200, 1, "", ""), Uncertain),
        (answer_of(10000, "Success"), Uncertain),
        (answer_of(10000, "Success", data={"task_id": "a/../b"}), Uncertain),
        (Reply.json({"data": {"task_id": "1"}}), Uncertain),
        (Reply.json([]), Uncertain),
        (Reply.json({}, 429, retry_after="7"), RateLimited),
        (Reply.json({}, 404), BadRequest),
        (Reply.text("<html>nginx</html>", 502), Uncertain),
    ],
)
async def test_other_answers_to_a_submit(
    server: VisualService, provider: Volcengine, answer: Reply, meaning: type[TaskError]
) -> None:
    server.fail("submit", answer)
    with pytest.raises(TaskError) as raised:
        await accepted(provider)
    assert type(raised.value) is meaning
    assert raised.value.message


async def test_a_code_may_come_as_a_text_and_an_id_as_a_number(server: VisualService, provider: Volcengine) -> None:
    server.fail("submit", Reply.json({"code": "10000", "data": {"task_id": 42}}))
    assert await accepted(provider) == Job("jimeng_t2i_v40/42")


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [("#forbidden", Moderated), ("#copyright", Moderated), ("#limit", Busy), ("#500", Uncertain), ("#lost", Uncertain)],
)
async def test_prompts_that_spoil_the_submit(provider: Volcengine, prompt: str, meaning: type[TaskError]) -> None:
    with pytest.raises(TaskError) as raised:
        await accepted(provider, prompt)
    assert type(raised.value) is meaning


async def test_more_at_once_than_were_bought(server: VisualService, provider: Volcengine) -> None:
    server.slots = 1
    job = await accepted(provider)
    with pytest.raises(Busy, match="Concurrent Limit"):
        await accepted(provider)
    await polled_times(provider, job)
    await accepted(provider)


@pytest.mark.parametrize(
    "fault",
    [Fault.CLOSE_BEFORE, Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE, Fault.GARBAGE, Fault.EMPTY, Fault.HTML],
)
async def test_a_lost_answer(server: VisualService, provider: Volcengine, fault: Fault) -> None:
    job = await accepted(provider)
    server.fail("submit", fault)
    with pytest.raises(Uncertain, match="charged"):
        await accepted(provider)
    server.fail("query", fault)
    with pytest.raises(Unavailable):
        await polled_times(provider, job)
    assert isinstance((await polled_times(provider, job))[0], Ready)


async def test_a_service_that_is_not_there_accepted_nothing(server: VisualService, provider: Volcengine) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await accepted(provider)


# Answers to a query


async def test_waiting_then_working_then_done(server: VisualService, provider: Volcengine, clients: Clients) -> None:
    server.polls = 2
    job = await accepted(provider, model="3.0")
    assert job.id == f"jimeng_t2i_v30/{next(iter(server.jobs))}"
    waiting, working, last = await polled_times(provider, job, 3)
    assert (waiting, working) == (Working(note="in_queue"), Working())
    assert await owners(clients, last) == [f"{id_}/1" for id_ in server.jobs]


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#outlawed", Moderated, "Post Img Risk Not Pass"),
        ("#fail", GenerationFailed, "Internal Error"),
        ("#none", GenerationFailed, "no pictures"),
        ("#expired", Expired, "expired"),
        ("#forgotten", Expired, "12 hours"),
    ],
)
async def test_bad_ends(provider: Volcengine, prompt: str, meaning: type[TaskError], words: str) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(TaskError, match=words) as raised:
        await polled_times(provider, job)
    assert type(raised.value) is meaning


async def test_an_unknown_word_runs_on(provider: Volcengine) -> None:
    assert (
        await polled_times(provider, await accepted(provider, "#never #word"), 3) == [Working(note="daydreaming")] * 3
    )


async def test_a_query_that_failed_may_be_asked_again(provider: Volcengine) -> None:
    job = await accepted(provider, "#hiccup")
    with pytest.raises(ServerTrouble, match="50501"):
        await polled_times(provider, job)
    assert isinstance((await polled_times(provider, job))[0], Ready)


async def test_a_group_of_pictures_where_one_asks_for_it(provider: Volcengine, clients: Clients) -> None:
    (reply,) = await polled_times(provider, await accepted(provider, extra=NO_SINGLE))
    assert len(await owners(clients, reply)) == 3


@pytest.mark.parametrize(("prompt", "note"), [("#data", ""), ("#spoiled", "1 of 2 pictures")])
async def test_pictures_inside_the_answer(server: VisualService, provider: Volcengine, prompt: str, note: str) -> None:
    (reply,) = await polled_times(provider, await accepted(provider, prompt))
    assert isinstance(reply, Ready)
    data = [image.data for image in reply.images if isinstance(image, InlineImage)]
    assert [whose(one) for one in data] == [f"{job}/1" for job in server.jobs]
    assert note in reply.note


async def test_only_web_addresses_become_pictures(server: VisualService, provider: Volcengine) -> None:
    urls = [LINK, "file:///etc/passwd", "data:image/png;base64,AAAA", "http://[x", "https://a/\ud800", "https://", None]
    server.fail("query", escaped({"code": 10000, "data": {"status": "done", "image_urls": urls}}))
    (reply,) = await polled_times(provider, Job("jimeng_t2i_v40/1"))
    assert reply == Ready((RemoteImage(LINK),), note="6 of 7 pictures cannot be read")


@pytest.mark.parametrize(
    "answer", [Reply.json({}), Reply.json([]), Reply.json({}, 404), running(""), answer_of(10000, "")]
)
async def test_an_answer_that_tells_nothing_counts_as_a_failed_query(
    server: VisualService, provider: Volcengine, answer: Reply
) -> None:
    job = await accepted(provider)
    server.fail("query", answer)
    with pytest.raises(ServerTrouble):
        await polled_times(provider, job)
    assert isinstance((await polled_times(provider, job))[0], Ready)


PLACES = ("code", "message", "data", "status", "task_id", "image_urls", "binary_data_base64", "Error", "Code")


@pytest.mark.parametrize("place", [*PLACES, "ResponseMetadata"])
async def test_no_json_breaks_it(server: VisualService, provider: Volcengine, place: str) -> None:
    for wrong, code in product(WRONG, (10000, 50500, 60000)):
        data: dict[str, Any] = {"task_id": "1", "status": "done", "image_urls": [LINK], "binary_data_base64": None}
        if place == "binary_data_base64":
            data["image_urls"] = None
        body: dict[str, Any] = {"code": code, "message": "x", "data": data | {place: wrong}}
        if place in ("Error", "Code"):
            body["ResponseMetadata"] = {"Error": {"Code": wrong, "Message": wrong} if place == "Code" else wrong}
        body |= {place: wrong} if place in ("code", "message", "data", "ResponseMetadata") else {}
        for where, work in (("submit", accepted(provider)), ("query", provider.poll(Job("x/1"), ignored))):
            server.fail(where, escaped(body))
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()


# The whole program


LIST = ("a cat", "a storm #fail", "a fight #forbidden", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: VisualService) -> None:
    keys = {"VOLC_ACCESSKEY": ACCESS, "VOLC_SECRETKEY": SECRET}
    server.slots = 2
    five = five_tasks(
        "volcengine", tmp_path, server, LIST, "-j", "2", secrets=(ACCESS, SECRET), environment=keys, poll=0.1
    )
    made = {owner.partition("/")[0] for owner in five.made}
    assert {server.jobs[id_].payload["prompt"] for id_ in made} == {"a cat", "a dog #limit"}
    assert (five.batch.code, server.peak["jobs"] <= 2) == (5, True)
    assert "the service goes on, credits may be used" in five.text
