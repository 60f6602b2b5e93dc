from itertools import product
from pathlib import Path
from typing import Any

import anyio
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
from imagegen_cli.core.provider import Accepted, Balance, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, ImageRequest, InlineImage, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers.jimeng import AT_2K, SIZES, Jimeng, Settings
from tests.doubles.http import CONNECT, Fault, Reply
from tests.doubles.jimeng import KEY, SESSIONS, JimengGateway
from tests.doubles.pictures import whose
from tests.program import Program
from tests.suite import WRONG, Suite, escaped, five_tasks, ignored, image_request, owners, polled_times, submitted

pytestmark = pytest.mark.anyio

SUITE = Suite(Jimeng, JimengGateway, api_key=Secret(SESSIONS[0]))
server, provider, picture = SUITE.fixtures()

LINK = "https://a.example/1"


def connected(server: JimengGateway, clients: Clients, *, key: str = SESSIONS[0], **more: Any) -> Jimeng:
    return SUITE.connect(server, clients, api_key=Secret(key), **more)


@pytest.fixture
def pixels(server: JimengGateway, clients: Clients) -> Jimeng:
    server.dialect = "pixels"
    return connected(server, clients, dialect="pixels")


async def accepted(server: JimengGateway, provider: Jimeng, prompt: str = "a cat") -> Job:
    server.dialect = "tasks"
    reply = await submitted(provider, image_request(prompt))
    assert isinstance(reply, Accepted)
    return reply.job


def all_of(server: JimengGateway, number: int = 4) -> list[str]:
    return [f"{job}/{index}" for job in server.jobs for index in range(1, number + 1)]


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(provider: Jimeng) -> None:
    assert load("jimeng") is Jimeng
    assert (provider.is_synchronous, await provider.cancel(Job("1"))) == (True, CancelOutcome.GOES_ON)
    assert (Settings().base_url, Settings().timeout > 1800) == ("http://127.0.0.1:5100", True)
    assert "where the gateway gives no task id" in Jimeng.notice


async def test_what_is_not_said_is_left_to_the_gateway(
    server: JimengGateway, provider: Jimeng, clients: Clients
) -> None:
    reply = await submitted(provider)
    (request,) = server.requests_of("submit")
    assert request.path == "/v1/images/generations"
    assert request.json() == {"prompt": "a cat", "response_format": "url"}
    assert server.counts["models"] == 0
    assert request.headers["authorization"] == f"Bearer {SESSIONS[0]}"
    assert await owners(clients, reply) == all_of(server)


async def test_a_submit_says_all_that_was_asked(server: JimengGateway, provider: Jimeng) -> None:
    extra = {"sample_strength": "0.7"}
    await submitted(
        provider,
        image_request(
            "猫", model="jimeng-3.1", ratio="16:9", resolution="4K", negative="blurry", count=4, seed=-1, extra=extra
        ),
    )
    assert server.requests_of("submit")[0].json() == {
        "model": "jimeng-3.1",
        "prompt": "猫",
        "ratio": "16:9",
        "resolution": "4k",
        "negative_prompt": "blurry",
        "sample_strength": 0.7,
        "response_format": "url",
    }


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        ({"ratio": "21:9"}, {"ratio": "21:9", "resolution": "2k"}),
        ({"resolution": "1k"}, {"ratio": "1:1", "resolution": "1k"}),
        ({"width": 2304, "height": 1728}, {"ratio": "4:3", "resolution": "2k"}),
        ({"resolution": "2k", "extra": {"intelligent_ratio": "true"}}, {"resolution": "2k", "intelligent_ratio": True}),
    ],
)
async def test_sizes_in_the_dialect_of_ratios(
    server: JimengGateway, provider: Jimeng, spec: dict[str, Any], sent: dict[str, Any]
) -> None:
    await submitted(provider, image_request(**spec))
    body = server.requests_of("submit")[0].json()
    assert {key: body.get(key) for key in sent} == sent
    assert not {"width", "height"} & body.keys()


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        ({}, (None, None)),
        ({"ratio": "16:9"}, (1664, 936)),
        ({"resolution": "2k"}, (2048, 2048)),
        ({"ratio": "3:4", "resolution": "2K"}, (1728, 2304)),
        ({"width": 640, "height": 480}, (640, 480)),
    ],
)
async def test_sizes_in_the_dialect_of_pixels(
    server: JimengGateway, pixels: Jimeng, spec: dict[str, Any], sent: tuple[int | None, int | None]
) -> None:
    await submitted(pixels, image_request(**spec))
    body = server.requests_of("submit")[0].json()
    assert (body.get("model"), body.get("width"), body.get("height")) == (None, *sent)
    assert not {"ratio", "resolution"} & body.keys()


async def test_the_table_of_2k_holds_each_size_once() -> None:
    assert len(AT_2K) == len(SIZES) == 8
    assert all(abs(width / height / (int(wide) / int(high)) - 1) < 0.01 for ratio, row in SIZES.items()
               for (width, height), (wide, _, high) in ((size, ratio.partition(":")) for size in row))  # fmt: skip


async def test_a_version_finds_its_model(server: JimengGateway, provider: Jimeng, pixels: Jimeng) -> None:
    assert (
        provider.model_for_version("4.6"),
        provider.model_for_version("2.0p"),
        provider.model_for_version("7.0"),
    ) == ("jimeng-4.6", None, None)
    assert (pixels.model_for_version("3.0"), pixels.model_for_version("2.0p"), pixels.model_for_version("4.0")) == (
        "jimeng-3.0",
        "jimeng-2.0-pro",
        None,
    )
    await submitted(pixels, image_request(model="2.1"))
    assert server.requests_of("submit")[0].json()["model"] == "jimeng-2.1"


async def test_references_by_address_go_as_json(server: JimengGateway, provider: Jimeng) -> None:
    links = tuple(f"https://example.com/{number}.png" for number in range(10))
    await submitted(provider, image_request(references=links))
    (request,) = server.requests_of("submit")
    assert request.path == "/v1/images/compositions"
    assert request.json()["images"] == list(links)


async def test_references_from_files_go_as_a_form(server: JimengGateway, provider: Jimeng, picture: str) -> None:
    extra = {"intelligent_ratio": "true", "sample_strength": "1"}
    await submitted(provider, image_request("猫", references=(picture, picture), extra=extra))
    (request,) = server.requests_of("submit")
    files = [part for part in request.parts() if part.filename]
    assert request.path == "/v1/images/compositions"
    assert [(part.name, part.filename, whose(part.data)) for part in files] == [
        ("images", "1.png", "reference/1"),
        ("images", "2.png", "reference/1"),
    ]
    form = {"prompt": "猫", "intelligent_ratio": "true", "sample_strength": "1.0"}
    assert request.form() == form | {"response_format": "url"}


async def test_a_reference_that_vanished_is_a_bad_request(provider: Jimeng, picture: str) -> None:
    request = image_request(references=(picture,))
    provider.check(request)
    await anyio.Path(picture).unlink()
    with pytest.raises(BadRequest):
        await submitted(provider, request)


@pytest.mark.parametrize(
    ("request_", "made"),
    [
        (image_request(), 4),
        (image_request("一只猫的9张照片"), 9),
        (image_request("一只猫的9张照片", model="4.0"), 9),
        (image_request("一只猫的9张照片", model="jimeng-3.0"), 4),
        (image_request("画999张图"), 15),
        (image_request("画0张图"), 1),
        (image_request("绘本"), 4),
        (image_request("一张图"), 4),
        (image_request("9张", references=(LINK,)), 1),
    ],
)
async def test_how_many_pictures_a_prompt_brings(provider: Jimeng, request_: ImageRequest, made: int) -> None:
    assert provider.expected_images(request_) == made
    assert provider.max_images(request_) == (None if request_.references else made)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"seed": 7}, "no seed"),
        ({"count": 3}, "make 4 pictures"),
        ({"references": (LINK,), "count": 2}, "gateway decides"),
        ({"ratio": "5:4"}, "1:1, 4:3"),
        ({"resolution": "8k"}, "1k, 2k, 4k"),
        ({"width": 1000, "height": 1000}, "2048x2048"),
        ({"width": 2048}, "2048x0"),
        ({"width": 2048, "height": 2048, "ratio": "1:1"}, "not both"),
        ({"extra": {"steps": "20"}}, "steps"),
        ({"extra": {"sample_strength": "1.5"}}, "0 to 1"),
        ({"extra": {"sample_strength": "nan"}}, "0 to 1"),
        ({"extra": {"intelligent_ratio": "yes"}}, "true or false"),
        ({"extra": {"intelligent_ratio": "true"}, "ratio": "1:1"}, "leave it out"),
        ({"extra": {"response_format": "png"}}, "url, b64_json"),
        ({"references": (LINK,) * 11}, "at most 10"),
        ({"references": (LINK, __file__)}, "not both"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
    ],
)
async def test_what_the_gateway_would_refuse_or_bend_is_refused_before_it_is_sent(
    server: JimengGateway, provider: Jimeng, wrong: dict[str, Any], rule: str
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await submitted(provider, request)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"references": (LINK,)}, "from text alone"),
        ({"resolution": "4k"}, "it has 1k, 2k$"),
        ({"extra": {"intelligent_ratio": "true"}}, "intelligent_ratio"),
    ],
)
async def test_the_dialect_of_pixels_has_rules_of_its_own(pixels: Jimeng, wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadRequest, match=rule):
        pixels.check(image_request(**wrong))


async def test_an_unknown_dialect_is_named(server: JimengGateway, clients: Clients) -> None:
    with pytest.raises(BadRequest, match="ratio, pixels"):
        connected(server, clients, dialect="size").check(image_request())


async def test_an_unknown_option_gets_a_hint(provider: Jimeng) -> None:
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(extra={"sample_strenght": "0.5"}))
    assert refused.value.hint == "did you mean sample_strength?"


# Session ids


async def test_session_ids_take_turns(server: JimengGateway, clients: Clients) -> None:
    provider = connected(server, clients, key=" , ".join(SESSIONS))
    for _ in range(4):
        await submitted(provider)
    sent = [request.headers["authorization"] for request in server.requests_of("submit")]
    assert sent == [f"Bearer {SESSIONS[turn % 2]}" for turn in range(4)]


async def test_an_empty_account_is_left_out_and_only_the_last_one_ends_it_all(
    server: JimengGateway, clients: Clients
) -> None:
    provider = connected(server, clients, key=",".join(SESSIONS))
    server.credits[SESSIONS[0]] = 0
    reports: list[Working] = []
    await provider.submit(image_request(), None, reports.append)
    assert [working.note.partition(":")[0] for working in reports] == ["session id 1 of 2 is left out"]
    assert len([await submitted(provider) for _ in range(3)]) == 3
    assert server.counts["submit"] == len(server.jobs) + 1
    del server.credits[SESSIONS[1]]
    with pytest.raises(TaskError, match=r"session id 2 of 2: \[登录失效\].*session id 1 of 2: .*Not enough") as raised:
        await submitted(provider)
    assert isinstance(raised.value, Unauthorized | OutOfCredits)
    assert raised.value.unspent
    assert len(server.jobs) == 4


ACCOUNT = (
    (-2002, "[登录失效]: login error", Unauthorized),
    (-2009, "[积分不足]: x", OutOfCredits),
    (-2001, "[请求失败]: Not enough credits (错误码: 1006)", OutOfCredits),
    (-2001, "[请求失败]: shark not pass (错误码: 1019)", Unauthorized),
)


@pytest.mark.parametrize(("code", "message", "meaning"), ACCOUNT)
async def test_a_refusal_of_one_account_sends_the_same_task_to_the_next(
    server: JimengGateway, clients: Clients, code: int, message: str, meaning: type[TaskError]
) -> None:
    provider = connected(server, clients, key=",".join(SESSIONS))
    server.fail("submit", Reply.json({"code": code, "message": message, "data": None}))
    assert isinstance(await submitted(provider), Ready)
    first, second = (request.headers["authorization"] for request in server.requests_of("submit"))
    assert (first, second) == (f"Bearer {SESSIONS[0]}", f"Bearer {SESSIONS[1]}")
    server.fail("submit", Reply.json({"code": code, "message": message, "data": None}), times=2)
    with pytest.raises(meaning):
        await submitted(provider)
    assert len(server.jobs) == 1


async def test_an_id_that_cannot_be_sent_is_passed_by(server: JimengGateway, clients: Clients) -> None:
    provider = connected(server, clients, key=f"two words,{SESSIONS[0]}")
    assert isinstance(await submitted(provider), Ready)
    assert server.counts["submit"] == 1


async def test_work_that_was_begun_and_failed_for_credits_is_not_begun_again(
    server: JimengGateway, clients: Clients
) -> None:
    provider = connected(server, clients, key=",".join(SESSIONS))
    server.fail(
        "submit", Reply.json({"code": -2007, "message": "图像生成失败，状态码: 30，错误码: 2039", "data": None})
    )
    with pytest.raises(OutOfCredits) as raised:
        await submitted(provider)
    assert not raised.value.unspent
    assert server.counts["submit"] == 1


async def test_too_many_tasks_at_once_are_a_reason_to_wait(server: JimengGateway, provider: Jimeng) -> None:
    with pytest.raises(Busy):
        await submitted(provider, image_request("#crowd"))
    assert isinstance(await submitted(provider, image_request("#crowd")), Ready)


# Models


@pytest.mark.parametrize(
    ("dialect", "wanted", "sent"),
    [
        ("ratio", "3.0", "jimeng-3.0"),
        ("ratio", "5.0", "jimeng-5.0"),
        ("ratio", "jimeng-4.6", "jimeng-4.6"),
        ("pixels", "2.0p", "jimeng-2.0-pro"),
        ("pixels", "xl-pro", "jimeng-xl-pro"),
        ("lite", "3.0", "jimeng-image-3.0"),
        ("lite", "jimeng-4.0", "jimeng-image-4.0"),
        ("lite", "5.0", "jimeng-image-5.0-lite"),
        ("lite", "4.7", "jimeng-image-4.7"),
        ("lite", "2.0p", "jimeng-image-2.0-pro"),
        ("pool", "4.0", "jimeng-4.0"),
        ("pool", "NanoBananaPro", "nanobananapro"),
        ("tasks", "3.0", "jimeng-3.0"),
    ],
)
async def test_the_model_that_was_asked_for_is_the_one_that_draws(
    server: JimengGateway, clients: Clients, dialect: str, wanted: str, sent: str
) -> None:
    server.dialect = dialect
    key = KEY if dialect == "pool" else SESSIONS[0]
    provider = connected(server, clients, key=key, dialect="pixels" if dialect == "pixels" else "ratio")
    reply = await submitted(provider, image_request(model=wanted))
    await submitted(provider, image_request(model=wanted))
    assert [request.json()["model"] for request in server.requests_of("submit")] == [sent] * 2
    assert [job.notes["model"] for job in server.jobs.values()] == [sent] * 2
    assert server.counts["models"] == 1
    assert reply.facts["model"] == sent


@pytest.mark.parametrize(
    ("dialect", "wanted"),
    [
        ("ratio", "2.1"), ("ratio", "1.4"), ("ratio", "nanobanana"), ("ratio", "banana"), ("ratio", "jimeng-video-3.0"),
        ("pixels", "4.0"), ("lite", "2.1"), ("lite", "jimeng-1.4"), ("pool", "2.1"), ("pool", "jimeng-video-3.0"),
        ("tasks", "4.0"),
    ],
)  # fmt: skip
async def test_a_model_that_would_become_another_is_refused_before_it_is_sent(
    server: JimengGateway, clients: Clients, dialect: str, wanted: str
) -> None:
    server.dialect = dialect
    provider = connected(server, clients, key=KEY, dialect="pixels" if dialect == "pixels" else "ratio")
    with pytest.raises(BadRequest, match="would draw with another") as refused:
        await submitted(provider, image_request(model=wanted))
    assert "imagegen models" in refused.value.hint
    assert server.counts["submit"] == 0


async def test_models_from_abroad_are_for_session_ids_from_there(server: JimengGateway, clients: Clients) -> None:
    reply = await submitted(connected(server, clients, key=SESSIONS[1]), image_request(model="nanobanana"))
    assert reply.facts["model"] == "nanobanana"


async def test_a_list_that_cannot_be_had_leaves_the_dialect_to_decide(server: JimengGateway, provider: Jimeng) -> None:
    server.fail("models", Reply.json({}, 404))
    await submitted(provider, image_request(model="3.0"))
    server.fail("models", Reply.json({}, 503, retry_after="3"))
    with pytest.raises(Busy):
        await submitted(connected_like(provider), image_request(model="3.0"))
    assert server.counts["submit"] == 1


def connected_like(provider: Jimeng) -> Jimeng:
    """Another provider with the same settings, which has asked for no list yet."""
    return Jimeng(provider._settings, provider._clients)


async def test_what_the_answer_says_of_the_model_is_believed(server: JimengGateway, provider: Jimeng) -> None:
    server.fail("submit", Reply.json({"model": "jimeng-4.5", "data": [{"url": LINK}]}))
    assert (await submitted(provider)).facts == {"model": "jimeng-4.5"}


async def test_one_reference_goes_to_the_gateway_without_compositions(
    server: JimengGateway, provider: Jimeng, picture: str
) -> None:
    server.dialect = "lite"
    await submitted(provider, image_request(references=(picture,)))
    await submitted(provider, image_request(references=(LINK,)))
    file, address = server.requests_of("submit")
    assert file.path == address.path == "/v1/images/generations"
    assert file.json()["filePath"].startswith("data:image/png;base64,iVBOR")
    assert address.json()["filePath"] == LINK
    with pytest.raises(BadRequest, match="one reference"):
        await submitted(provider, image_request(references=(LINK, LINK)))
    assert server.counts["submit"] == 2


@pytest.mark.parametrize("dialect", ["ratio", "pool", "tasks"])
async def test_a_path_that_is_not_there_was_sent_no_further(
    server: JimengGateway, clients: Clients, dialect: str
) -> None:
    server.dialect = dialect
    provider = Jimeng(Settings(base_url=f"{server.url}/api", api_key=Secret(KEY)), clients)
    with pytest.raises(BadRequest) as refused:
        await submitted(provider)
    assert "base_url" in refused.value.hint
    with pytest.raises(ServerTrouble) as trouble:
        await provider.models()
    assert "base_url" in trouble.value.hint


async def test_no_session_id_sends_none(server: JimengGateway, clients: Clients) -> None:
    with pytest.raises(Unauthorized, match="authorization invalid"):
        await submitted(connected(server, clients, key=" , "))
    assert "authorization" not in server.requests_of("submit")[0].headers


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "\ud800"])
async def test_an_id_that_no_header_can_carry_is_refused_without_being_quoted(
    server: JimengGateway, clients: Clients, key: str
) -> None:
    with pytest.raises(Unauthorized) as refused:
        await submitted(connected(server, clients, key=key))
    assert key not in str(refused.value)
    assert server.counts["connections"] == 0


async def test_no_id_goes_to_another_host_or_into_a_message(
    server: JimengGateway, provider: Jimeng, clients: Clients
) -> None:
    with JimengGateway() as elsewhere:
        server.fail("submit", Reply.json({}, 307, location=f"{elsewhere.url}/v1/images/generations"))
        with pytest.raises(Uncertain):
            await submitted(provider)
        assert elsewhere.counts["connections"] == 0
    server.fail("submit", Reply.json({"code": -2002, "message": f"[登录失效]: {SESSIONS[1][3:]} of {SESSIONS[1]}"}))
    with pytest.raises(Unauthorized) as refused:
        await submitted(connected(server, clients, key=SESSIONS[1]))
    assert "[登录失效]: **** of ****" in refused.value.message.replace("us-****", "****")


# Answers to a submit


@pytest.mark.parametrize(
    ("code", "message", "meaning"),
    [
        (-1, "Unexpected token", Uncertain),
        (-1000, "Cannot read properties of undefined", Uncertain),
        (-1000, "不支持的参数: width", BadRequest),
        (-1001, "x", BadRequest),
        (-1002, "x", BadRequest),
        (-2000, "Params body.prompt invalid", BadRequest),
        (-2000, "Params headers.authorization invalid", Unauthorized),
        (-2001, "[请求失败]: Not enough credits (错误码: 1006)", OutOfCredits),
        (-2001, "[请求失败]: x (错误码: 5000)", OutOfCredits),
        (-2001, "[请求失败]: x (错误码: 1015)", Unauthorized),
        (-2001, "[请求失败]: x (错误码: 4001)", Moderated),
        (-2001, "[请求失败]: x (错误码：1000)", BadRequest),
        (-2001, "[请求失败]: shark check reject (错误码: -4)", Unauthorized),
        (-2001, "[请求失败]: x (错误码: 31337)", GenerationFailed),
        (-2001, "[请求失败]: image risk not pass (错误码: 2003)", Moderated),
        (-2001, "[请求失败]: shark not pass (错误码: 1019)", Unauthorized),
        (-2001, "[请求失败]: x (错误码: 4013)", Unauthorized),
        (-2001, "[请求失败]: Permission denied (错误码: 3018)", Unauthorized),
        (-2001, "[请求失败]: x (错误码: 3000)", Unauthorized),
        (-2001, "[请求失败]: x (错误码: 34010105)", Unauthorized),
        (-2001, "[请求失败]: check login error (错误码: 34010999)", Unauthorized),
        (-2001, "[请求失败]: login error (错误码: 1000)", Unauthorized),
        (-2001, "[请求失败]: ExceedConcurrencyLimit (错误码: 1310)", Busy),
        (-2001, "[请求失败]: ret=1310 ExceedConcurrencyLimit", Busy),
        (-2001, "[请求jimeng失败]: exceed_model_parallel_max", Busy),
        (-2001, "[请求jimeng失败]: queue is full", Busy),
        (-2001, "[请求jimeng失败]: content violation", Moderated),
        (-2001, "[请求jimeng失败]: param error", BadRequest),
        (-2001, "[请求jimeng失败]: invalid parameter", BadRequest),
        (-1000, "[请求有误]: 请检查API文档", BadRequest),
        (-2007, "图像生成失败，状态码: 30，错误码: 2039", OutOfCredits),
        (-2007, "图像生成失败，状态码: 30，错误码: 1310", GenerationFailed),
        (-2001, "[请求jimeng失败]: Not enough credits", OutOfCredits),
        (-2001, "[请求失败]: Request failed with status code 429", Uncertain),
        (-2001, "[请求失败]: read ECONNRESET", Uncertain),
        (-2002, "[登录失效]: login error", Unauthorized),
        (-2003, "x", BadRequest),
        (-2004, "x", BadRequest),
        (-2006, "x", Moderated),
        (-2007, "图像生成失败，状态码: 30，错误码: 2038", Moderated),
        (-2007, "图像生成失败，状态码: 30，错误码: 1180", Moderated),
        (-2007, "图像生成失败，状态码: 30，错误码: 1017", GenerationFailed),
        (-2007, "记录不存在", GenerationFailed),
        (-2007, "图片上传失败: 图片内容审核不通过", Moderated),
        (-2008, "x", GenerationFailed),
        (-2009, "[积分不足]: x", OutOfCredits),
        (-2010, "timeout", Uncertain),
        (-31337, "", Uncertain),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
async def test_negative_codes(
    server: JimengGateway, provider: Jimeng, code: int, message: str, meaning: type[TaskError], status: int
) -> None:
    server.fail("submit", Reply.json({"code": code, "message": message, "data": None}, status))
    with pytest.raises(TaskError) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning
    assert message in raised.value.message
    assert f"(code {code})" in raised.value.message or "[请求有误]" in message
    assert server.counts["submit"] == 1


@pytest.mark.parametrize("inner", [1019, 4013, 3018, 3000])
async def test_an_account_in_trouble_is_no_reason_to_try_again(
    server: JimengGateway, provider: Jimeng, inner: int
) -> None:
    message = f"[请求失败]: no (错误码: {inner})"
    server.fail("submit", Reply.json({"code": -2001, "message": message, "data": None}))
    with pytest.raises(Unauthorized) as raised:
        await submitted(provider)
    assert "account" in raised.value.hint
    assert "retry" not in raised.value.hint


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("#forbidden", Moderated),
        ("#text", Moderated),
        ("#fail", GenerationFailed),
        ("#credits", OutOfCredits),
        ("#poor", OutOfCredits),
        ("#login", Unauthorized),
        ("#system", Uncertain),
        ("#none", GenerationFailed),
        ("#null", GenerationFailed),
        ("#limit", RateLimited),
        ("#quota", OutOfCredits),
        ("#lost", Uncertain),
    ],
)
async def test_prompts_that_spoil_the_submit(provider: Jimeng, prompt: str, meaning: type[TaskError]) -> None:
    with pytest.raises(TaskError) as raised:
        await submitted(provider, image_request(prompt))
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({"error": {"message": "API错误 [1006]: 积分不足: x"}}, 500), OutOfCredits),
        (Reply.json({"error": {"message": "API错误 [1015]: 登录已失效"}}, 500), Unauthorized),
        (Reply.json({"error": {"message": "outputimagerisk"}}, 400), Moderated),
        (Reply.json({"error": {"message": "记录ID不存在"}}, 500), Uncertain),
        (Reply.json({"error": {"message": "Authorization header 是必需的"}}, 401), Unauthorized),
        (Reply.json({"error": {"message": "too fast"}}, 429, retry_after="7"), RateLimited),
        (Reply.json({}, 503), Busy),
        (Reply.json({}, 404), BadRequest),
        (Reply.text("<html>nginx</html>", 502), Uncertain),
        (Reply.json({}), Uncertain),
        (Reply.json({"data": {}}), Uncertain),
        (Reply.json([]), Uncertain),
        (Reply.json(None), Uncertain),
        (Reply.json({"data": [{"url": "ftp://a/1"}, {"url": None}, {}]}), GenerationFailed),
        (Reply.json({"data": [{"b64_json": "%%%"}]}), GenerationFailed),
        (Reply.json({"error": {"type": "content_policy_error", "code": "content_filtered"}}, 403), Moderated),
        (Reply.json({"error": {"type": "authentication_error", "code": "invalid_api_key"}}, 401), Unauthorized),
        (Reply.json({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}, 402), OutOfCredits),
        (Reply.json({"error": {"type": "invalid_request_error", "code": "payload_too_large"}}, 413), BadRequest),
        (Reply.json({"error": {"type": "api_error", "code": -2001, "message": "DATABASE_URL"}}, 502), Uncertain),
    ],
)
async def test_other_answers_to_a_submit(
    server: JimengGateway, provider: Jimeng, answer: Reply, meaning: type[TaskError]
) -> None:
    server.fail("submit", answer)
    with pytest.raises(TaskError) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning
    assert getattr(raised.value, "after", None) == (7 if meaning is RateLimited else None)


@pytest.mark.parametrize(
    "fault",
    [Fault.CLOSE_BEFORE, Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE, Fault.GARBAGE, Fault.EMPTY, Fault.HTML],
)
async def test_a_lost_answer_to_a_submit_is_uncertain(server: JimengGateway, provider: Jimeng, fault: Fault) -> None:
    server.fail("submit", fault)
    with pytest.raises(Uncertain, match="charged"):
        await submitted(provider)


async def test_a_gateway_that_is_not_there_accepted_nothing(server: JimengGateway, provider: Jimeng) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await submitted(provider)


async def test_pictures_inside_the_answer(server: JimengGateway, provider: Jimeng) -> None:
    reply = await submitted(provider, image_request(extra={"response_format": "b64_json"}))
    assert isinstance(reply, Ready)
    data = [image.data for image in reply.images if isinstance(image, InlineImage)]
    assert [whose(one) for one in data] == all_of(server)


@pytest.mark.parametrize("broken", ["%%%", "iVBORw0K*", "", None, 7])
async def test_where_the_picture_is_broken_its_address_is_taken(
    server: JimengGateway, provider: Jimeng, broken: object
) -> None:
    server.fail("submit", Reply.json({"data": [{"b64_json": broken, "url": LINK}]}))
    reply = await submitted(provider)
    assert isinstance(reply, Ready)
    assert reply.images == (RemoteImage(LINK),)


@pytest.mark.parametrize(("prompt", "number", "note"), [
    ("#partial", 2, ""), ("#relative", 4, ""), ("#broken", 3, "1 of 4 pictures"),
])  # fmt: skip
async def test_fewer_and_odd_addresses(
    server: JimengGateway, provider: Jimeng, clients: Clients, prompt: str, number: int, note: str
) -> None:
    reply = await submitted(provider, image_request(prompt))
    assert isinstance(reply, Ready)
    assert await owners(clients, reply) == all_of(server, number)
    assert note in reply.note


# The asynchronous gateway


async def test_a_task_id_is_a_receipt(server: JimengGateway, provider: Jimeng, clients: Clients) -> None:
    server.polls = 2
    job = await accepted(server, provider)
    assert [job.id] == list(server.jobs)
    pending, processing, last = await polled_times(provider, job, 3)
    assert (pending, processing) == (Working(note="pending"), Working(fraction=0.5))
    assert await owners(clients, last) == all_of(server)


@pytest.mark.parametrize(
    ("prompt", "meaning"), [("#blocked", Moderated), ("#bad", GenerationFailed), ("#none", GenerationFailed)]
)
async def test_a_real_failure_is_final(
    server: JimengGateway, provider: Jimeng, prompt: str, meaning: type[TaskError]
) -> None:
    job = await accepted(server, provider, prompt)
    with pytest.raises(TaskError) as raised:
        await polled_times(provider, job)
    assert type(raised.value) is meaning


async def test_a_query_that_failed_is_no_failed_task(server: JimengGateway, provider: Jimeng) -> None:
    job = await accepted(server, provider, "#hiccup")
    with pytest.raises(ServerTrouble, match="fetch failed"):
        await polled_times(provider, job)
    assert isinstance((await polled_times(provider, job))[0], Ready)


async def test_an_unknown_word_runs_on(server: JimengGateway, provider: Jimeng) -> None:
    job = await accepted(server, provider, "#odd")
    assert await polled_times(provider, job, 2) == [
        Working(note="daydreaming"),
        Working(fraction=0.5, note="daydreaming"),
    ]


async def test_after_a_restart_the_owner_is_found_among_the_ids(server: JimengGateway, clients: Clients) -> None:
    job = await accepted(server, connected(server, clients, key=SESSIONS[1]))
    server.polls = 1
    provider = connected(server, clients, key=",".join(SESSIONS))
    await polled_times(provider, job, 2)
    assert server.counts["query"] == 3


async def test_an_unknown_task_keeps_its_receipt(server: JimengGateway, provider: Jimeng) -> None:
    server.dialect = "tasks"
    with pytest.raises(ServerTrouble, match="任务不存在"):
        await polled_times(provider, Job("nobody knows #1?"))


@pytest.mark.parametrize("answer", [Reply.json({}), Reply.json([]), Reply.json({}, 404), Reply.text("<html>", 200)])
async def test_an_answer_that_tells_nothing_counts_as_a_failed_query(
    server: JimengGateway, provider: Jimeng, answer: Reply
) -> None:
    job = await accepted(server, provider)
    server.fail("query", answer)
    with pytest.raises(ServerTrouble):
        await polled_times(provider, job)
    assert isinstance((await polled_times(provider, job))[0], Ready)


async def test_its_refusals_are_real_statuses(server: JimengGateway, provider: Jimeng, picture: str) -> None:
    server.dialect = "tasks"
    server.credits[SESSIONS[0]] = 0
    with pytest.raises(OutOfCredits):
        await submitted(provider)
    with pytest.raises(Uncertain):
        await submitted(provider, image_request(references=(picture,)))
    assert await provider.balance() is None


# The gateway with tasks of its own


@pytest.fixture
def pool(server: JimengGateway, clients: Clients) -> Jimeng:
    server.dialect = "pool"
    return connected(server, clients, key=KEY)


async def test_its_task_is_a_receipt(server: JimengGateway, pool: Jimeng, clients: Clients) -> None:
    server.polls = 2
    reply = await submitted(pool)
    assert isinstance(reply, Accepted)
    (number,) = server.jobs
    assert reply.job == Job(number, f"/v1/tasks/{number}")
    queued, running, last = await polled_times(pool, reply.job, 3)
    assert (queued, running) == (Working(note="queued"), Working())
    assert await owners(clients, last) == all_of(server)
    assert isinstance((await polled_times(connected(server, clients, key=KEY), reply.job))[0], Ready)


async def test_its_receipt_is_asked_for_at_base_url_only(server: JimengGateway, pool: Jimeng) -> None:
    with JimengGateway(dialect="pool") as elsewhere:
        answer = {"id": "1", "object": "task", "status": "queued", "result_url": f"{elsewhere.url}/v1/tasks/1"}
        server.fail("submit", Reply.json(answer))
        reply = await submitted(pool)
        assert isinstance(reply, Accepted)
        with pytest.raises(Expired):
            await polled_times(pool, reply.job)
        assert elsewhere.counts["connections"] == 0


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("#forbidden", Moderated),
        ("#text", Moderated),
        ("#fail", GenerationFailed),
        ("#credits", OutOfCredits),
        ("#poor", OutOfCredits),
        ("#login", Unauthorized),
        ("#system", GenerationFailed),
        ("#crowd", GenerationFailed),
        ("#none", GenerationFailed),
    ],
)
async def test_its_failures_are_final(pool: Jimeng, prompt: str, meaning: type[TaskError]) -> None:
    reply = await submitted(pool, image_request(prompt))
    assert isinstance(reply, Accepted)
    with pytest.raises(TaskError) as raised:
        await polled_times(pool, reply.job)
    assert type(raised.value) is meaning
    assert raised.value.final or prompt == "#none"


async def test_a_task_that_it_does_not_know_keeps_its_receipt(pool: Jimeng) -> None:
    with pytest.raises(Expired) as raised:
        await polled_times(pool, Job("1", "/v1/tasks/1"))
    assert not raised.value.final


async def test_its_refusals(server: JimengGateway, pool: Jimeng, clients: Clients) -> None:
    with pytest.raises(Moderated):
        await submitted(pool, image_request("#blocked"))
    with pytest.raises(Unauthorized) as raised:
        await submitted(connected(server, clients, key="jm-wrong"))
    assert raised.value.unspent


async def test_only_a_question_about_a_task_proves_its_key(
    server: JimengGateway, pool: Jimeng, clients: Clients
) -> None:
    assert await pool.balance() == Balance(None, note="this gateway does not name the credits of its accounts")
    wrong = connected(server, clients, key="jm-wrong")
    assert "jimeng-5.0" in await wrong.models()
    with pytest.raises(Unauthorized):
        await wrong.balance()


# Questions


@pytest.mark.parametrize(
    ("dialect", "first", "last"),
    [
        ("ratio", "jimeng-5.0", "jimeng-3.0"),
        ("lite", "jimeng-image-5.0-lite", "jimeng-image-2.0-pro"),
        ("tasks", "jimeng-4.5", "jimeng-3.0"),
    ],
)
async def test_models_without_those_for_films(
    server: JimengGateway, provider: Jimeng, dialect: str, first: str, last: str
) -> None:
    server.dialect = dialect
    names = await provider.models()
    assert (names[0], names[-1]) == (first, last)
    assert not any("video" in name for name in names)


async def test_credits_are_summed_and_no_id_is_told(server: JimengGateway, clients: Clients) -> None:
    assert await connected(server, clients).balance() == Balance(66.0)
    both = await connected(server, clients, key=",".join(SESSIONS)).balance()
    assert both == Balance(132.0, note="2 of 2 accounts")
    asked_for = [request.headers["authorization"] for request in server.requests_of("points")]
    assert asked_for == [f"Bearer {session}" for session in (SESSIONS[0], *SESSIONS)]


async def test_a_dead_and_an_empty_session_id_are_named_by_their_numbers(
    server: JimengGateway, clients: Clients
) -> None:
    provider = connected(server, clients, key=",".join(SESSIONS))
    server.credits[SESSIONS[0]] = 0
    balance = await provider.balance()
    assert balance == Balance(66.0, note="2 of 2 accounts; session id 1 of 2 has no credits")
    del server.credits[SESSIONS[1]]
    balance = await provider.balance()
    assert balance is not None
    assert balance.troubled
    assert balance.note.startswith("1 of 2 accounts; session id 2 of 2: [登录失效]")
    server.credits.clear()
    with pytest.raises(Unauthorized, match=r"session id 1 of 2: .*session id 2 of 2: ") as raised:
        await provider.balance()
    assert not [one for one in SESSIONS if one in raised.value.message]


async def test_credits_of_an_expired_session(server: JimengGateway, provider: Jimeng) -> None:
    server.credits.clear()
    with pytest.raises(Unauthorized):
        await provider.balance()


async def test_a_gateway_without_the_route_tells_no_credits(server: JimengGateway, provider: Jimeng) -> None:
    server.fail("points", Reply.json({"code": -1002, "message": "x", "data": None}))
    assert await provider.balance() is None


@pytest.mark.parametrize("wrong", [*WRONG, 10**400, "66", -1])
async def test_no_points_break_it(server: JimengGateway, provider: Jimeng, wrong: Any) -> None:
    for body in (wrong, [wrong], [{"points": wrong}], [{"points": {"totalCredit": wrong}}]):
        server.fail("points", escaped(body))
        try:
            balance = await provider.balance()
        except TaskError:
            continue
        assert balance is not None
        assert balance.amount in (None, 0)


# Hostile JSON


@pytest.mark.parametrize("key", ["code", "message", "data", "task_id", "status", "error", "images", "progress"])
async def test_no_json_breaks_it(server: JimengGateway, provider: Jimeng, key: str) -> None:
    bodies: tuple[dict[str, Any], ...] = (
        {"created": 1, "data": [{"url": LINK}]},
        {"task_id": "1", "status": "pending"},
        {"status": "completed", "images": [LINK]},
        {"status": "failed", "error": "生成失败，错误代码: 2038"},
        {"code": -2001, "message": "x", "data": None},
    )
    for body, wrong in product(bodies, WRONG):
        for where, work in (("submit", submitted(provider)), ("query", provider.poll(Job("1"), ignored))):
            server.fail(where, escaped(body | {key: wrong}))
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()


async def test_no_model_list_breaks_it(server: JimengGateway, provider: Jimeng) -> None:
    for wrong in WRONG:
        for body in (wrong, {"data": wrong}, {"data": [{"id": wrong}]}):
            server.fail("models", escaped(body))
            try:
                assert all(isinstance(name, str) for name in await provider.models())
            except TaskError as error:
                assert error.message  # noqa: PT017 - both are fine, whichever comes


# The whole program


LIST = ("a cat", "a storm #fail", "a fight #forbidden", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: JimengGateway) -> None:
    five = five_tasks("jimeng", tmp_path, server, LIST, secrets=SESSIONS, images=4, api_key=",".join(SESSIONS))
    assert five.made == {f"{job.id}/{index}" for job in server.jobs.values() for index in range(1, 5)
                         if not {"fail", "forbidden", "never"} & set(job.payload["prompt"].split("#"))}  # fmt: skip
    assert (five.batch.code, server.counts["submit"]) == (1, 6)
    assert "the service goes on, credits may be used" in five.text
    assert Jimeng.notice in five.text


@pytest.mark.parametrize("dialect", ["ratio", "pool"])
def test_a_gateway_whose_accounts_are_dead_hands_the_same_task_on_at_once(
    tmp_path: Path, server: JimengGateway, dialect: str
) -> None:
    server.dialect = dialect
    key = KEY if dialect == "pool" else SESSIONS[0]
    table = '[providers.{name}]\nkind = "jimeng"\nbase_url = "{url}"\napi_key = "{key}"\nconcurrency = 1\n'
    with JimengGateway(dialect=dialect) as dead:
        dead.credits.clear()
        gates = (("dead", dead.url, "jm-wrong-1"), ("alive", server.url, key))
        config = "".join(table.format(name=name, url=url, key=id_) for name, url, id_ in gates)
        program = Program(tmp_path, config)
        ended = program.run("run", "a cat", "a dog", "-p", "dead,alive", "--json")
        assert (ended.code, len(server.jobs), dead.jobs) == (0, 2, {})
        assert [task["state"] for task in program.tasks()] == ["done", "done"]
        assert len(program.pictures()) == 8
        alone = program.run("run", "a bird", "-p", "dead")
    assert alone.code == 3
    assert "browser" in alone.err or "config show" in alone.err


def test_a_dead_session_id_is_named_by_its_number_everywhere(tmp_path: Path, server: JimengGateway) -> None:
    del server.credits[SESSIONS[0]]
    key = ",".join(SESSIONS)
    program = Program(tmp_path, f'[providers.gate]\nkind = "jimeng"\nbase_url = "{server.url}"\napi_key = "{key}"\n')
    for command in ("credits", "doctor"):
        ended = program.run(command)
        assert "session id 1 of 2" in ended.out + ended.err, command
        assert not [one for one in SESSIONS if one in ended.out + ended.err]
    assert program.run("run", "a cat", "-p", "gate").code == 0
