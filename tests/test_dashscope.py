import json
from pathlib import Path
from typing import Any

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
from imagegen_cli.core.task import CancelOutcome, Job
from imagegen_cli.providers import load
from imagegen_cli.providers.dashscope import MAX_UNKNOWN, MODELS, SEEDS, DashScope, Settings, form_of
from tests import suite
from tests.doubles.dashscope import KEY, DashScopeService, refusal
from tests.doubles.http import CONNECT, Fault, Reply
from tests.suite import WRONG, Suite, accepted, five_tasks, ignored, image_request, owners, polled_times, submitted

pytestmark = pytest.mark.anyio

SUITE = Suite(DashScope, DashScopeService, api_key=Secret(KEY))
server, provider, picture = SUITE.fixtures()

SPEC = "comfy-api-proxy-openapi.json"
WAN25 = "wan2.5-t2i-preview"
QWEN = "qwen-image-3.0"


def valid(body: object, schema: str) -> None:
    """Check against the proxy's schemas: Alibaba publishes no description."""
    suite.valid(body, schema, suite.description(SPEC)["components"])


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: DashScope) -> None:
    assert load("dashscope") is DashScope
    assert (
        provider.expected_images(image_request()),
        provider.expected_images(image_request(count=3)),
        provider.is_synchronous,
    ) == (
        1,
        3,
        False,
    )
    assert [provider.max_images(image_request(model=model)) for model in ("", QWEN, "qwen-image")] == [4, 6, 1]
    assert (await provider.models(), Settings().poll) == (MODELS, 1.0)


@pytest.mark.parametrize(
    ("model", "route", "asynchronous"),
    [
        ("wan2.6-t2i", "image-generation/generation", True),
        ("wan2.7-pro", "image-generation/generation", True),
        ("wan3.0-t2i", "image-generation/generation", True),
        (WAN25, "text2image/image-synthesis", True),
        ("wan2.2-t2i-flash", "text2image/image-synthesis", True),
        ("wanx2.1-t2i-turbo", "text2image/image-synthesis", True),
        ("qwen-image", "text2image/image-synthesis", True),
        ("qwen-image-plus", "text2image/image-synthesis", True),
        ("qwen-image-max", "multimodal-generation/generation", False),
        ("qwen-image-2.0-pro", "multimodal-generation/generation", False),
        (QWEN, "multimodal-generation/generation", False),
    ],
)
async def test_the_model_decides_the_route(
    server: DashScopeService, provider: DashScope, model: str, route: str, *, asynchronous: bool
) -> None:
    reply = await submitted(provider, image_request(model=model))
    (request,) = server.requests_of("submit")
    assert request.path == f"/api/v1/services/aigc/{route}"
    assert (request.headers.get("x-dashscope-async") == "enable") is asynchronous
    assert isinstance(reply, Accepted if asynchronous else Ready)


async def test_defaults_that_differ_by_model_are_said(server: DashScopeService, provider: DashScope) -> None:
    reply = await submitted(provider, image_request(model=WAN25))
    body = server.requests_of("submit")[0].json()
    seed = body["parameters"].pop("seed")
    assert body == {
        "model": WAN25,
        "input": {"prompt": "a cat"},
        "parameters": {"n": 1, "watermark": False, "prompt_extend": True},
    }
    assert seed in SEEDS
    assert (reply.facts["seed"], reply.facts["model"]) == (seed, WAN25)
    assert reply.facts["request_id"]


@pytest.mark.parametrize(("message", "meaning"), [
    ("图片审核不通过", Moderated), ("账户欠费", OutOfCredits), ("odd", BadRequest),
])  # fmt: skip
async def test_words_beside_an_unknown_code_are_believed(
    server: DashScopeService, provider: DashScope, message: str, meaning: type[TaskError]
) -> None:
    server.fail("submit", Reply.json({"code": "New.Code", "message": message}, 400))
    with pytest.raises(TaskError) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning


async def test_hints_say_what_the_general_one_does_not(server: DashScopeService, provider: DashScope) -> None:
    for status, code, word in ((401, "InvalidApiKey", "region"), (404, "ModelNotFound", "imagegen models")):
        server.fail("submit", Reply.json({"code": code, "message": "no"}, status))
        with pytest.raises(TaskError) as raised:
            await submitted(provider)
        assert word in raised.value.hint


async def test_a_prompt_that_was_rewritten_is_told(server: DashScopeService, provider: DashScope) -> None:
    job = await accepted(provider)
    results = [{"url": "https://example.com/1.png", "orig_prompt": "a cat", "actual_prompt": "a tabby cat"}]
    server.fail("query", Reply.json({"output": {"task_status": "SUCCEEDED", "results": results}}))
    (reply,) = await polled_times(provider, job)
    assert isinstance(reply, Ready)
    assert reply.facts == {"revised_prompt": "a tabby cat"}


@pytest.mark.parametrize(
    ("model", "schema", "place"),
    [
        (WAN25, "WanImageGenerationRequest", "input"),
        (QWEN, "QwenMultimodalGenerationRequest", "parameters"),
    ],
)
async def test_a_full_request_is_valid(
    server: DashScopeService, provider: DashScope, model: str, schema: str, place: str
) -> None:
    extra = {"prompt_extend": "false", "watermark": "true"}
    request = image_request(
        "猫 🐈", model=model, width=1280, height=1280, count=4, seed=7, negative="blurry", extra=extra
    )
    await submitted(provider, request)
    body = server.requests_of("submit")[0].json()
    expected = {"n": 4, "seed": 7, "size": "1280*1280", "prompt_extend": False, "watermark": True}
    assert {key: body["parameters"][key] for key in expected} == expected
    assert body[place]["negative_prompt"] == "blurry"
    valid(body, schema)


async def test_references_go_as_addresses_or_as_data(
    server: DashScopeService, provider: DashScope, picture: str
) -> None:
    references = ("https://example.com/a.png", picture)
    await submitted(provider, image_request(model=QWEN, references=references))
    await submitted(provider, image_request(model="wan2.5-i2i-preview", references=references))
    qwen, wan = (request.json() for request in server.requests_of("submit"))
    content = qwen["input"]["messages"][0]["content"]
    assert content[0] == {"image": "https://example.com/a.png"}
    assert content[1]["image"].startswith("data:image/png;base64,iVBOR")
    assert content[2] == {"text": "a cat"}
    assert wan["input"]["images"] == [part["image"] for part in content[:2]]
    valid(qwen, "QwenMultimodalGenerationRequest")
    valid(wan, "WanImage2ImageGenerationRequest")


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({}, None),
        ({"ratio": "1:1"}, "1280*1280"),
        ({"ratio": "16:9"}, "1712*960"),
        ({"ratio": "9:16"}, "960*1712"),
        ({"width": 1440, "height": 1440}, "1440*1440"),
        ({"model": "wan2.2-t2i-plus", "ratio": "16:9", "resolution": "1k"}, "1376*768"),
        ({"model": "wan2.2-t2i-plus", "resolution": "512"}, "512*512"),
        ({"model": "qwen-image", "ratio": "16:9"}, "1664*928"),
        ({"model": "qwen-image", "ratio": "3:4"}, "1104*1472"),
        ({"model": QWEN, "ratio": "1:1", "resolution": "2K"}, "2048*2048"),
        ({"model": QWEN, "ratio": "8:1", "resolution": "1k"}, "2912*368"),
    ],
)
async def test_sizes(server: DashScopeService, provider: DashScope, spec: dict[str, Any], size: str | None) -> None:
    await submitted(provider, image_request(**spec))
    assert server.requests_of("submit")[0].json()["parameters"].get("size") == size


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "字" * 2101}, "at most 2100 characters here, not 2101"),
        ({"negative": "n" * 501}, "at most 500"),
        ({"model": "flux-2"}, "no image model"),
        ({"count": 5}, "1 to 4"),
        ({"count": 0}, "1 to 4"),
        ({"model": "qwen-image", "count": 2}, "makes one picture here"),
        ({"seed": 2**31}, "0 to 2147483647"),
        ({"width": 1024, "height": 1024}, "1280x1280 to 1440x1440"),
        ({"width": 1280}, "1280xNone"),
        ({"width": 3000, "height": 600}, "at most 4:1"),
        ({"resolution": "1k"}, "1280x1280 to 1440x1440"),
        ({"resolution": "8k"}, "512, 1k, 2k"),
        ({"ratio": "wide"}, "W:H"),
        ({"ratio": "5:1"}, "at most 4:1"),
        ({"model": "wan2.2-t2i-plus", "width": 500, "height": 1000}, "512 to 1440 a side"),
        ({"model": "qwen-image", "width": 1024, "height": 1024}, "1664x928, 1472x1104"),
        ({"model": "qwen-image", "ratio": "21:9"}, "1664x928, 1472x1104"),
        ({"model": "qwen-image", "ratio": "1:1", "resolution": "2k"}, "1664x928, 1472x1104"),
        ({"extra": {"steps": "20"}}, "steps"),
        ({"extra": {"watermark": "no"}}, "true or false"),
        ({"references": (__file__,)}, "text alone"),
        ({"model": "wan2.6-image"}, "1 to 4 reference"),
        ({"model": QWEN, "references": (__file__,) * 4}, "at most 3 reference"),
        ({"model": QWEN, "references": ("nowhere.png",)}, "nowhere.png"),
        ({"model": QWEN, "references": (__file__,)}, "not a PNG"),
    ],
)
async def test_what_would_be_refused_or_bent_is_refused_before_it_is_sent(
    server: DashScopeService, provider: DashScope, wrong: dict[str, Any], rule: str
) -> None:
    with pytest.raises(BadRequest, match=rule) as refused:
        await submitted(provider, image_request(**({"prompt": "a cat"} | wrong)))
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


async def test_hints(provider: DashScope) -> None:
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(extra={"water_mark": "true"}))
    assert refused.value.hint == "did you mean watermark?"
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(model="quen-image-max"))
    assert refused.value.hint == "did you mean qwen-image-max?"


async def test_every_model_that_is_offered_has_its_form() -> None:
    for model in MODELS:
        form = form_of(model)
        if not form.sizes:
            assert form.is_valid(form.square, form.square)


# Answers to a submit


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#forbidden", Moderated, "DataInspectionFailed: Input data"),
        ("#quota", OutOfCredits, "AllocationQuota"),
        ("#arrears", OutOfCredits, "Arrearage"),
        ("#limit", RateLimited, "Throttling.RateQuota"),
        ("#500", Uncertain, "internal error.*charged"),
        ("#lost", Uncertain, "charged"),
    ],
)
async def test_refusals_by_prompt(provider: DashScope, prompt: str, meaning: type[TaskError], words: str) -> None:
    with pytest.raises(meaning, match=words) as raised:
        await submitted(provider, image_request(prompt))
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (refusal(400, "InvalidParameter", "size is wrong"), BadRequest),
        (refusal(400, "InvalidParameter.DataInspection", "no such thing"), BadRequest),
        (refusal(401, "InvalidApiKey", "Invalid API-key provided."), Unauthorized),
        (refusal(403, "AccessDenied", "Access denied."), Unauthorized),
        (refusal(403, "AccessDenied", "current user api does not support asynchronous calls."), BadRequest),
        (refusal(403, "AllocationQuota.FreeTierOnly", "The free tier is used up."), OutOfCredits),
        (refusal(404, "ModelNotFound", "Model can not be found."), BadRequest),
        (refusal(429, "Throttling", "Requests throttling triggered."), RateLimited),
        (refusal(429, "insufficient_quota", "You exceeded your current quota"), OutOfCredits),
        (refusal(429, "SomethingNew", "slow"), RateLimited),
        (refusal(503, "ModelServingError", "Too many requests"), Busy),
        (Reply.json({"code": 7, "message": []}, 400), BadRequest),
        (Reply.json({}), Uncertain),
        (Reply.json([]), Uncertain),
        (Reply.json({"output": {"task_status": "PENDING"}}), Uncertain),
        (Reply.json({"output": {"task_id": "../../x"}}), Uncertain),
        (Reply.json({"output": {"task_id": 7}}), Uncertain),
        (Reply.json({}, 302, location="https://example.com/"), Uncertain),
        (Reply.text("<html>nginx</html>", 502), Uncertain),
    ],
)
async def test_other_answers_to_a_submit(
    server: DashScopeService, provider: DashScope, answer: Reply, meaning: type[TaskError]
) -> None:
    server.fail("submit", answer)
    with pytest.raises(meaning) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning


async def test_a_wait_is_told(server: DashScopeService, provider: DashScope) -> None:
    body = {"code": "Throttling.RateQuota", "message": "slow"}
    server.fail("submit", Reply.json(body, 429, retry_after="3"))
    with pytest.raises(RateLimited) as raised:
        await submitted(provider)
    assert raised.value.after == 3.0


async def test_pictures_in_the_answer(server: DashScopeService, provider: DashScope, clients: Clients) -> None:
    reply = await submitted(provider, image_request(model=QWEN, count=3))
    (job,) = server.jobs
    assert await owners(clients, reply) == [f"{job}/{index}" for index in (1, 2, 3)]


@pytest.mark.parametrize(("prompt", "words"), [("#words", "I would rather not"), ("#none", "no reason")])
async def test_an_answer_without_a_picture(provider: DashScope, prompt: str, words: str) -> None:
    with pytest.raises(GenerationFailed, match=words):
        await submitted(provider, image_request(prompt, model=QWEN))


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "a b"])
async def test_a_key_that_no_header_can_carry(server: DashScopeService, clients: Clients, key: str) -> None:
    provider = DashScope(Settings(base_url=server.url, api_key=Secret(key)), clients)
    with pytest.raises(Unauthorized) as raised:
        await submitted(provider)
    assert key not in raised.value.message
    assert server.counts["connections"] == 0


async def test_a_service_that_is_not_there(server: DashScopeService, provider: DashScope) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await submitted(provider)


# Answers to a status query


@pytest.mark.parametrize("model", ["wan2.6-t2i", WAN25])
async def test_waiting_running_done(
    server: DashScopeService, provider: DashScope, clients: Clients, model: str
) -> None:
    server.polls = 2
    job = await accepted(provider, model=model, count=4)
    *before, reply = await polled_times(provider, job, 3)
    assert before == [Working(note="PENDING"), Working(fraction=0.25)]
    assert await owners(clients, reply) == [f"{job.id}/{index}" for index in (1, 2, 3, 4)]


async def test_the_double_answers_as_the_schemas_say(server: DashScopeService, clients: Clients) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    path, body = (
        f"{server.url}/api/v1/services/aigc/",
        {"model": WAN25, "input": {"prompt": "#partial"}, "parameters": {}},
    )
    enabled = key | {"X-DashScope-Async": "enable"}
    answer = await clients.free.post(path + "text2image/image-synthesis", json=body, headers=enabled)
    valid(answer.json(), "WanImageGenerationResponse")
    (job,) = server.jobs
    valid((await clients.free.get(f"{server.url}/api/v1/tasks/{job}", headers=key)).json(), "WanTaskQueryResponse")
    body["input"] = {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]}
    answer = await clients.free.post(path + "multimodal-generation/generation", json=body, headers=key)
    valid(answer.json(), "QwenMultimodalGenerationResponse")


async def test_what_came_counts_and_the_rest_is_told(provider: DashScope, clients: Clients) -> None:
    (reply,) = await polled_times(provider, await accepted(provider, "#partial", model=WAN25, count=3))
    assert isinstance(reply, Ready)
    assert len(await owners(clients, reply)) == 2
    assert reply.note.startswith("1 of 3 pictures failed: DataInspectionFailed: Output data")


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#inspected", Moderated, "Output data"),
        ("#fail", GenerationFailed, "InternalError.Algo"),
        ("#spoiled", Moderated, "Output data"),
        ("#cancelled", GenerationFailed, "cancelled"),
    ],
)
async def test_failures(provider: DashScope, prompt: str, meaning: type[TaskError], words: str) -> None:
    job = await accepted(provider, prompt, model=WAN25, count=2)
    with pytest.raises(meaning, match=words):
        await polled_times(provider, job)


@pytest.mark.parametrize(("prompt", "word"), [("#suspended", "SUSPENDED"), ("#odd", "DAYDREAMING")])
async def test_any_other_word_is_work(provider: DashScope, prompt: str, word: str) -> None:
    assert await polled_times(provider, await accepted(provider, prompt), 5) == [Working(note=word)] * 5


async def test_a_task_is_given_up_only_when_it_is_unknown_again_and_again(provider: DashScope) -> None:
    job = await accepted(provider, "#unknown")
    assert await polled_times(provider, job, MAX_UNKNOWN) == [Working(note="UNKNOWN")] * MAX_UNKNOWN
    with pytest.raises(Expired, match="24 hours"):
        await polled_times(provider, job)


async def test_an_answer_in_between_renews_the_grace(server: DashScopeService, provider: DashScope) -> None:
    job = await accepted(provider, "#unknown")
    for _ in range(3):
        await polled_times(provider, job, MAX_UNKNOWN)
        server.fail("query", Reply.json({"output": {"task_status": "RUNNING"}}))
        await polled_times(provider, job)


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({}), ServerTrouble),
        (Reply.json([]), ServerTrouble),
        (Reply.json({"output": []}), ServerTrouble),
        (Reply.text("<html>", 200), ServerTrouble),
        (Reply.json({}, 500), ServerTrouble),
        (Reply.json({}, 302, location="https://example.com/"), ServerTrouble),
        (refusal(429, "Throttling", "more than 20 a second"), RateLimited),
        (refusal(401, "InvalidApiKey", "Invalid API-key provided."), Unauthorized),
        (Reply.json({"output": {"task_status": "SUCCEEDED"}}), GenerationFailed),
        (Reply.json({"output": {"task_status": "FAILED"}}), GenerationFailed),
    ],
)
async def test_other_answers_to_a_query(
    server: DashScopeService, provider: DashScope, answer: Reply, meaning: type[TaskError]
) -> None:
    job = await accepted(provider)
    server.fail("query", answer)
    with pytest.raises(meaning) as raised:
        await polled_times(provider, job)
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    "place", ["task_status", "results", "url", "code", "choices", "message", "content", "task_metrics"]
)
async def test_no_json_breaks_it(server: DashScopeService, provider: DashScope, place: str) -> None:
    for wrong in WRONG:
        message = wrong if place == "message" else {"content": wrong}
        output: dict[str, Any] = {"task_status": "RUNNING" if place == "task_metrics" else "SUCCEEDED"}
        output["choices"] = wrong if place == "choices" else [{"message": message}]
        output["results"] = [{place: wrong}]
        output["task_metrics"] = {"TOTAL": wrong, "SUCCEEDED": wrong}
        output |= {place: wrong} if place in output else {}
        server.fail("query", Reply(200, json.dumps({"output": output}).encode()))
        try:
            reply = await provider.poll(Job("1"), ignored)
        except TaskError as error:
            assert error.message.encode()  # noqa: PT017 - both are fine, whichever comes
        else:
            assert isinstance(reply, Working)


# Cancelling


@pytest.mark.parametrize(
    ("prompt", "polls", "outcome"),
    [
        ("#pending", 3, CancelOutcome.STOPPED),
        ("#never", 0, CancelOutcome.STOPPED),
        ("#never", 2, CancelOutcome.GOES_ON),
        ("a cat", 1, CancelOutcome.TOO_LATE),
    ],
)
async def test_only_what_has_not_begun_can_be_cancelled(
    server: DashScopeService, provider: DashScope, prompt: str, polls: int, outcome: CancelOutcome
) -> None:
    job = await accepted(provider, prompt)
    await polled_times(provider, job, polls)
    assert await provider.cancel(job) is outcome
    assert server.counts["cancel"] == 1


# The whole program


LIST = ("a cat", "a storm #fail", "a fight #forbidden", "a dog #limit", "a bird #pending")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: DashScopeService) -> None:
    five = five_tasks("dashscope", tmp_path, server, LIST, secrets=(KEY,), api_key=KEY, poll=0.1)
    assert five.made < {f"{job}/1" for job in server.jobs}
    assert (five.batch.code, server.counts["submit"]) == (1, 6)
    assert "5 stopped at the service" in five.text


async def test_the_address_for_openai_is_taken_as_meant(server: DashScopeService, clients: Clients) -> None:
    provider = DashScope(Settings(base_url=f"{server.url}/compatible-mode/v1", api_key=Secret(KEY)), clients)
    assert isinstance(await submitted(provider), Accepted)


@pytest.mark.parametrize(
    ("model", "prompt", "count", "charged"),
    [(WAN25, "a cat", 3, 3), (WAN25, "#partial", 4, 3), (QWEN, "a cat", 2, 2), ("wan2.6-t2i", "a cat", 2, 2)],
)
async def test_the_number_of_charged_pictures_is_told(
    provider: DashScope, model: str, prompt: str, count: int, charged: int
) -> None:
    reply = await submitted(provider, image_request(prompt, model=model, count=count))
    if isinstance(reply, Accepted):
        *_, reply = await polled_times(provider, reply.job, 3)  # type: ignore[assignment]
    assert isinstance(reply, Ready)
    assert reply.charged_images == charged


@pytest.mark.parametrize("wrong", [value for value in WRONG if value != 0])
async def test_a_number_that_cannot_be_meant_is_not_told(
    server: DashScopeService, provider: DashScope, wrong: object
) -> None:
    body = {"output": {"choices": [{"message": {"content": [{"image": f"{server.url}/files/1.png"}]}}]}}
    for usage in ({"image_count": wrong}, {"output_image_count": wrong}, wrong):
        server.fail("submit", suite.escaped(body | {"usage": usage}))
        reply = await submitted(provider, image_request(model=QWEN))
        assert isinstance(reply, Ready)
        assert reply.charged_images is None
