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
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.provider import Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, ImageRequest, InlineImage, Job
from imagegen_cli.providers import load
from imagegen_cli.providers.gemini import RATIOS, SQUARES, TIERS, Gemini, Settings
from tests import suite
from tests.doubles.gemini import KEY, GeminiService, delay, refusal
from tests.doubles.http import CONNECT, Fault, Reply
from tests.doubles.pictures import whose
from tests.suite import WRONG, Suite, five_tasks, ignored, image_request

pytestmark = pytest.mark.anyio

SUITE = Suite(Gemini, GeminiService, "jpeg", api_key=Secret(KEY))
server, provider, picture = SUITE.fixtures()

SPEC = "google-gemini-openapi.json"


async def submitted(provider: Gemini, request: ImageRequest | None = None) -> Ready:
    return await provider.submit(request or image_request(), None, ignored)


def owners(reply: Ready) -> list[str]:
    """Whose pictures a reply holds, as job/index."""
    return [whose(image.data) for image in reply.images if isinstance(image, InlineImage)]


def valid(body: object, schema: str) -> None:
    """Check against Google's own description."""
    suite.valid(body, schema, suite.description(SPEC)["components"])


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: Gemini) -> None:
    assert load("gemini") is Gemini
    assert (
        provider.max_images(image_request()),
        provider.expected_images(image_request()),
        provider.is_synchronous,
    ) == (1, 1, True)
    assert await provider.cancel(Job("1")) is CancelOutcome.GOES_ON
    with pytest.raises(Expired):
        await provider.poll(Job("1"), ignored)


async def test_the_shortest_request(server: GeminiService, provider: Gemini) -> None:
    await submitted(provider)
    (request,) = server.requests_of("submit")
    assert request.path == "/v1beta/models/gemini-3.1-flash-image:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.json() == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
    }


FULL = {
    "model": "models/gemini-3-pro-image",
    "ratio": "21:9",
    "resolution": "4k",
    "seed": 7,
    "count": 1,
    "extra": {"temperature": "0.5", "safety": "BLOCK_NONE"},
}


async def test_a_full_request_is_valid(server: GeminiService, provider: Gemini, picture: str) -> None:
    await submitted(provider, image_request("猫 🐈", references=(picture,), **FULL))
    (request,) = server.requests_of("submit")
    body = request.json()
    assert request.path == "/v1beta/models/gemini-3-pro-image:generateContent"
    assert body["contents"][0]["parts"][0] == {"text": "猫 🐈"}
    assert body["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "image/jpeg"
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "21:9", "imageSize": "4K"}
    assert (body["generationConfig"]["seed"], body["generationConfig"]["temperature"]) == (7, 0.5)
    assert len(body["safetySettings"]) == 4
    valid(body, "GenerateContentRequest")


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        *(({"ratio": ratio}, {"aspectRatio": ratio}) for ratio in RATIOS),
        *(({"resolution": word}, {"imageSize": tier}) for word, tier in TIERS.items()),
        *(({"width": n, "height": n}, {"aspectRatio": "1:1", "imageSize": tier}) for n, tier in SQUARES.items()),
        (
            {"width": 1024, "height": 1024, "ratio": "1:1", "resolution": "1k"},
            {"aspectRatio": "1:1", "imageSize": "1K"},
        ),
    ],
)
async def test_shapes(server: GeminiService, provider: Gemini, spec: dict[str, Any], config: dict[str, str]) -> None:
    await submitted(provider, image_request(**spec))
    assert server.requests_of("submit")[0].json()["generationConfig"]["imageConfig"] == config


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"negative": "blurry"}, "no negative prompt"),
        ({"ratio": "7:3"}, "1:1, 1:4, 4:1"),
        ({"resolution": "8k"}, "512, 1k, 2k, 4k"),
        ({"width": 1024, "height": 768}, "by ratio and resolution"),
        ({"width": 1024}, "512x512, 1024x1024"),
        ({"width": 1024, "height": 1024, "ratio": "16:9"}, "1:1 at 1K"),
        ({"width": 1024, "height": 1024, "resolution": "4k"}, "1:1 at 1K"),
        ({"count": 2}, "makes one picture here"),
        ({"seed": -2}, "0 to 2147483647"),
        ({"seed": 2**31}, "0 to 2147483647"),
        ({"model": "a/../b"}, "not the name of a model"),
        ({"extra": {"steps": "20"}}, "steps"),
        ({"extra": {"temperature": "3"}}, "from 0 to 2"),
        ({"extra": {"temperature": "nan"}}, "from 0 to 2"),
        ({"extra": {"safety": "none"}}, "BLOCK_NONE"),
        ({"references": ("https://example.com/a.png",)}, "not from addresses"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
    ],
)
async def test_what_would_be_refused_or_bent_is_refused_before_it_is_sent(
    server: GeminiService, provider: Gemini, wrong: dict[str, Any], rule: str
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await submitted(provider, request)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


async def test_an_unknown_option_gets_a_hint(provider: Gemini) -> None:
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(extra={"temprature": "1"}))
    assert refused.value.hint == "did you mean temperature?"


@pytest.mark.parametrize("content", [b"GIF89a and so on", b"no picture at all", b""])
async def test_a_reference_that_is_no_picture(provider: Gemini, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(BadRequest, match="takes no other"):
        await submitted(provider, image_request(references=(str(path),)))


async def test_a_seed_of_minus_one_is_any_seed(server: GeminiService, provider: Gemini) -> None:
    await submitted(provider, image_request(seed=-1))
    assert "seed" not in server.requests_of("submit")[0].json()["generationConfig"]


# What comes back


@pytest.mark.parametrize(("prompt", "indices"), [("a cat", ["1"]), ("#thought", ["1"]), ("#two", ["1", "1"])])
async def test_pictures_come_in_the_answer(
    server: GeminiService, provider: Gemini, prompt: str, indices: list[str]
) -> None:
    reply = await submitted(provider, image_request(prompt))
    (job,) = server.jobs
    assert owners(reply) == [f"{job}/{index}" for index in indices]
    tokens = reply.facts["tokens"]
    assert reply.facts == {"model": "gemini-3.1-flash-image", "request_id": job, "tokens": tokens}
    assert isinstance(tokens, int)


async def test_the_first_version_is_asked_where_base_url_names_it(server: GeminiService, clients: Clients) -> None:
    provider = Gemini(Settings(base_url=f"{server.url}/v1/", api_key=Secret(KEY)), clients)
    with pytest.raises(BadRequest) as raised:
        await submitted(provider)
    assert "base_url" in raised.value.hint
    assert server.requests[-1].path == "/v1/models/gemini-3.1-flash-image:generateContent"


async def test_a_place_that_is_not_served_is_no_matter_of_the_prompt(server: GeminiService, provider: Gemini) -> None:
    message = "User location is not supported for the API use."
    server.fail("submit", refusal(400, "FAILED_PRECONDITION", message))
    with pytest.raises(Unauthorized, match="location") as raised:
        await submitted(provider)
    assert "place" in raised.value.hint
    assert raised.value.unspent


async def test_hints_say_what_the_general_one_does_not(server: GeminiService, provider: Gemini) -> None:
    daily = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}
    server.fail("submit", refusal(429, "RESOURCE_EXHAUSTED", "quota", daily))
    with pytest.raises(OutOfCredits) as raised:
        await submitted(provider)
    assert "tomorrow" in raised.value.hint
    server.fail("submit", refusal(404, "NOT_FOUND", "models/banana is not found"))
    with pytest.raises(BadRequest) as wrong:
        await submitted(provider)
    assert "imagegen models" in wrong.value.hint


async def test_the_double_answers_as_google_describes(server: GeminiService, clients: Clients) -> None:
    for prompt in ("a cat #thought", "#blocked", "#unsafe", "#noimage", "#words"):
        path = f"{server.url}/v1beta/models/gemini-3-pro-image:generateContent"
        body = {"contents": [{"parts": [{"text": prompt}]}]}
        answer = await clients.free.post(path, json=body, headers={"x-goog-api-key": KEY})
        valid(answer.json(), "GenerateContentResponse")


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#blocked", Moderated, "PROHIBITED_CONTENT"),
        ("#unsafe", Moderated, "IMAGE_SAFETY.*Unable to show"),
        ("#noimage", GenerationFailed, "NO_IMAGE"),
        ("#words", GenerationFailed, "STOP.*I cannot draw that"),
        ("#broken", GenerationFailed, "STOP"),
        ("#limit", RateLimited, "exceeded your current quota"),
        ("#day", OutOfCredits, "exceeded your current quota"),
        ("#busy", Busy, "overloaded"),
        ("#500", Uncertain, "overloaded.*charged"),
        ("#late", Uncertain, "charged"),
        ("#listed", BadRequest, "invalid argument"),
        ("#lost", Uncertain, "charged"),
    ],
)
async def test_refusals_by_prompt(provider: Gemini, prompt: str, meaning: type[TaskError], words: str) -> None:
    with pytest.raises(meaning, match=words) as raised:
        await submitted(provider, image_request(prompt))
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (refusal(429, "RESOURCE_EXHAUSTED", "slow", delay("26s")), 26.0),
        (refusal(429, "RESOURCE_EXHAUSTED", "slow", delay("1.5s")), 1.5),
        (refusal(429, "RESOURCE_EXHAUSTED", "slow", delay("soon")), None),
        (Reply.json({"error": {"details": [7, {"retryDelay": {"seconds": 9}}]}}, 429), None),
        (Reply.json([], 429, retry_after="3"), 3.0),
        (Reply(429, b"slow", {"retry-after": "3"}), 3.0),
    ],
)
async def test_how_long_to_wait(server: GeminiService, provider: Gemini, answer: Reply, after: float | None) -> None:
    server.fail("submit", answer)
    with pytest.raises(RateLimited) as raised:
        await submitted(provider)
    assert raised.value.after == after


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({}), Uncertain),
        (Reply.json([]), Uncertain),
        (Reply.json(None), Uncertain),
        (Reply.json({"candidates": []}), GenerationFailed),
        (
            Reply.json({"candidates": None, "promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}),
            GenerationFailed,
        ),
        (Reply.json({"candidates": [{"finishReason": "A_NEW_WORD"}]}), GenerationFailed),
        (refusal(403, "PERMISSION_DENIED", "no"), Unauthorized),
        (refusal(404, "NOT_FOUND", "no such model"), BadRequest),
        (Reply.json({}, 302, location="https://example.com/"), Uncertain),
        (Reply.text("<html>nginx</html>", 502), Uncertain),
    ],
)
async def test_other_answers(server: GeminiService, provider: Gemini, answer: Reply, meaning: type[TaskError]) -> None:
    server.fail("submit", answer)
    with pytest.raises(meaning) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    "place", ["candidates", "content", "parts", "inlineData", "data", "finishReason", "blockReason"]
)
async def test_no_json_breaks_it(server: GeminiService, provider: Gemini, place: str) -> None:
    for wrong in WRONG:
        blob = {"data": wrong} if place == "data" else wrong
        part = {"inlineData": blob} if place in ("inlineData", "data") else wrong
        content = {"parts": wrong if place == "parts" else [part]} if place != "content" else wrong
        candidate = {"content": content, "finishReason": wrong if place == "finishReason" else "STOP"}
        feedback = {"blockReason": wrong if place == "blockReason" else ""}
        body = {"candidates": wrong if place == "candidates" else [candidate], "promptFeedback": feedback}
        server.fail("submit", Reply(200, json.dumps(body).encode()))
        with pytest.raises(TaskError) as raised:
            await submitted(provider)
        assert raised.value.message.encode()


async def test_a_wrong_key(server: GeminiService, clients: Clients) -> None:
    provider = Gemini(Settings(base_url=server.url, api_key=Secret("AIza-wrong-0000")), clients)
    with pytest.raises(Unauthorized, match="API key not valid") as raised:
        await submitted(provider)
    assert "AIza-wrong" not in raised.value.message


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "a b", "x\r\nX-Other: y"])
async def test_a_key_that_no_header_can_carry(server: GeminiService, clients: Clients, key: str) -> None:
    provider = Gemini(Settings(base_url=server.url, api_key=Secret(key)), clients)
    with pytest.raises(Unauthorized) as raised:
        await submitted(provider)
    assert key not in raised.value.message
    assert server.counts["connections"] == 0


async def test_a_service_that_is_not_there(server: GeminiService, provider: Gemini) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await submitted(provider)


async def test_models_that_draw_over_all_pages(server: GeminiService, provider: Gemini) -> None:
    assert await provider.models() == ("gemini-3-pro-image", "gemini-3.1-flash-image", "gemini-nano-banana-2.1")
    assert server.counts["models"] == 2


@pytest.mark.parametrize("body", [[], {"models": 7}, {"models": [None, {"name": 7}]}, {"nextPageToken": "1"}])
async def test_no_model_list_breaks_it(server: GeminiService, provider: Gemini, body: object) -> None:
    server.fail("models", Reply.json(body), times=None)
    assert await provider.models() == ()


# The whole program


LIST = ("a cat", "a storm #noimage", "a fight #blocked", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: GeminiService) -> None:
    five = five_tasks("gemini", tmp_path, server, LIST, secrets=(KEY,), api_key=KEY)
    assert five.made < {f"{job}/1" for job in server.jobs}
    assert (five.batch.code, server.counts["submit"]) == (1, 6)


@pytest.mark.parametrize("wrapped", ["#wrapped", "#wrapped #two", "#parts"])
async def test_a_picture_in_a_list_is_no_lost_picture(provider: Gemini, wrapped: str) -> None:
    reply = await submitted(provider, image_request(f"a cat {wrapped}"))
    assert len(reply.images) == (2 if "two" in wrapped else 1)
    assert reply.facts["model"] == "gemini-3.1-flash-image"


async def test_a_refusal_in_a_list_is_one(provider: Gemini) -> None:
    with pytest.raises(Moderated):
        await submitted(provider, image_request("a cat #wrapped #blocked"))


@pytest.mark.parametrize("body", [[], [[]], [None], [{}], [{"candidates": None}, 7], json.loads("[" * 500 + "]" * 500)])
async def test_a_list_of_nothing_breaks_nothing(server: GeminiService, provider: Gemini, body: object) -> None:
    server.fail("submit", Reply.json(body))
    with pytest.raises((Uncertain, GenerationFailed)):
        await submitted(provider)


async def test_another_model_than_asked_for_is_said(server: GeminiService, provider: Gemini) -> None:
    part = {"inlineData": {"data": "iVBORw0KGgo="}}
    body = {"candidates": [{"content": {"parts": [part]}}], "modelVersion": "gemini-2.5-flash-image"}
    server.fail("submit", Reply.json(body))
    reply = await submitted(provider)
    assert reply.note == "drawn by the model gemini-2.5-flash-image, not by gemini-3.1-flash-image"


# Tokens


@pytest.mark.parametrize("prompt", ["a cat", "#wrapped", "#parts"])
async def test_tokens_are_told_by_sort(provider: Gemini, prompt: str) -> None:
    ready = await submitted(provider, image_request(prompt))
    assert ready.tokens == {"text_in": 6, "image_in": 0, "text_out": 104, "image_out": 1120}


async def test_the_last_part_of_a_stream_counts_all_tokens(server: GeminiService, provider: Gemini) -> None:
    picture = {"candidates": [{"content": {"parts": [{"inlineData": {"data": "aGk="}}]}}]}
    asked_for = [{"modality": "TEXT", "tokenCount": 6}]
    usages = [
        {"promptTokenCount": 6, "promptTokensDetails": asked_for},
        {
            "promptTokenCount": 6, "promptTokensDetails": asked_for, "candidatesTokenCount": 7,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}],
        },
    ]  # fmt: skip
    server.fail("submit", Reply.json([picture | {"usageMetadata": usage} for usage in usages]))
    assert (await submitted(provider)).tokens["image_out"] == 7


@pytest.mark.parametrize(
    ("prompt", "tokens", "charged"),
    [("#blocked", {"text_in": 6, "image_in": 0, "text_out": 0, "image_out": 0}, False), ("#unsafe", None, False)],
)
async def test_a_refusal_keeps_the_tokens_that_it_took(
    provider: Gemini, prompt: str, tokens: dict[str, int] | None, charged: bool
) -> None:
    with pytest.raises(Moderated) as raised:
        await submitted(provider, image_request(prompt))
    assert raised.value.tokens == (tokens or {"text_in": 6, "image_in": 0, "text_out": 0, "image_out": 0})
    assert raised.value.charged == charged


@pytest.mark.parametrize(
    "name", ["promptTokenCount", "candidatesTokenCount", "promptTokensDetails", "thoughtsTokenCount"]
)
@pytest.mark.parametrize("wrong", [*WRONG, [{"modality": "AUDIO", "tokenCount": 5}], [{"tokenCount": 10**30}]])
async def test_tokens_of_any_json_break_nothing(
    server: GeminiService, provider: Gemini, name: str, wrong: object
) -> None:
    usage = {
        "promptTokenCount": 6, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}],
        "candidatesTokenCount": 7, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}], name: wrong,
    }  # fmt: skip
    picture = {"candidates": [{"content": {"parts": [{"inlineData": {"data": "aGk="}}]}}]}
    server.fail("submit", suite.escaped(picture | {"usageMetadata": usage}))
    ready = await submitted(provider)
    assert ready.images
    assert not ready.tokens or all(type(number) is int and 0 <= number < 2**63 for number in ready.tokens.values())
