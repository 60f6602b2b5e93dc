import json
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
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
from imagegen_cli.core.task import CancelOutcome, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers.dreamina import BY_PIXELS, MODELS, SEEDS, Dreamina, Settings, _files
from tests.doubles.dreamina import NOT_FOUND, DreaminaServer
from tests.doubles.http import CONNECT, Fault, Reply
from tests.doubles.pictures import whose
from tests.suite import WRONG, Suite, accepted, ignored, image_request, owners, polled_times, submitted

pytestmark = pytest.mark.anyio

SUITE = Suite(Dreamina, DreaminaServer)
server, provider, picture = SUITE.fixtures()


def links(reply: object) -> list[str]:
    assert isinstance(reply, Ready)
    return [image.url for image in reply.images if isinstance(image, RemoteImage)]


# What goes out


async def test_it_is_found_by_its_kind() -> None:
    assert load("dreamina") is Dreamina


async def test_a_submit_says_all_that_the_server_reads(server: DreaminaServer, provider: Dreamina) -> None:
    await submitted(provider, image_request("猫 🐈", model="4.0", ratio="16:9", resolution="4K", seed=7, count=4))
    (request,) = server.requests_of("submit")
    assert request.path == "/api/generate/t2i"
    assert request.json() == {"prompt": "猫 🐈", "model": "4.0", "ratio": "16:9", "seed": 7, "resolution": "4k"}


async def test_what_is_not_said_takes_the_servers_own_defaults(server: DreaminaServer, provider: Dreamina) -> None:
    reply = await submitted(provider)
    body = server.requests_of("submit")[0].json()
    seed = body.pop("seed")
    assert body == {"prompt": "a cat", "model": "3.0", "ratio": "1:1", "resolution": "2k"}
    assert seed in SEEDS
    assert reply.facts == {"seed": seed, "model": "3.0"}


async def test_an_asked_for_seed_is_the_one_that_is_used(server: DreaminaServer, provider: Dreamina) -> None:
    reply = await submitted(provider, image_request(seed=7))
    assert (server.requests_of("submit")[0].json()["seed"], reply.facts["seed"]) == (7, 7)


async def test_no_key_is_sent_but_headers_of_ones_own_are(server: DreaminaServer, clients: Clients) -> None:
    provider = Dreamina(Settings(base_url=server.url, headers={"X-Gate": "open"}), clients)
    await polled_times(provider, await accepted(provider))
    assert [request.headers["x-gate"] for request in server.requests] == ["open", "open"]
    assert not any("authorization" in request.headers or "cookie" in request.headers for request in server.requests)


async def test_a_size_of_the_table_becomes_ratio_and_resolution(server: DreaminaServer, provider: Dreamina) -> None:
    for (width, height), shape in BY_PIXELS.items():
        await submitted(provider, image_request(width=width, height=height))
        sent = server.requests_of("submit")[-1].json()
        assert (sent["ratio"], sent["resolution"]) == shape
    assert (len(BY_PIXELS), BY_PIXELS[5404, 3040]) == (21, ("16:9", "4k"))


@pytest.mark.parametrize(("count", "made"), [(None, 4), (4, 4), (2, 2)])
async def test_references_go_as_a_form_and_the_answer_has_the_pictures(
    server: DreaminaServer, provider: Dreamina, picture: str, count: int | None, made: int
) -> None:
    request = image_request("a cat", references=(picture,) * 6, count=count, seed=5)
    reply = await submitted(provider, request)
    (sent,) = server.requests_of("submit")
    params = json.loads(sent.form()["params"])
    assert sent.path == "/api/generate/i2i"
    assert (params["prompt"], params["seed"]) == ("a cat", 5)
    assert (params["numImages"], params["num_images"], provider.expected_images(request)) == (made, made, made)
    files = [part for part in sent.parts() if part.filename]
    assert [part.name for part in files] == [f"image_{index}" for index in range(6)]
    assert {whose(part.data) for part in files} == {"reference/1"}
    assert len(links(reply)) == made


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "字" * 1601}, "at most 1600 characters here, not 1601"),
        ({"negative": "blurry"}, "no negative prompt"),
        ({"model": "5.0"}, "4.0, 3.1, 3.0"),
        ({"model": "4.5"}, "NanoBananaPro"),
        ({"ratio": "21:9"}, "1:1, 4:3, 3:4"),
        ({"resolution": "8k"}, "1k, 2k, 4k"),
        ({"width": 1000, "height": 1000}, "2048x2048"),
        ({"width": 2048}, "2048xNone"),
        ({"width": 2048, "height": 2048, "ratio": "16:9"}, "1:1 at 2k"),
        ({"width": 2048, "height": 2048, "resolution": "4k"}, "1:1 at 2k"),
        ({"count": 3}, "always makes 4"),
        ({"count": 0}, "always makes 4"),
        ({"seed": 0}, "1 to 999999999"),
        ({"seed": -2}, "1 to 999999999"),
        ({"seed": 10**9}, "1 to 999999999"),
        ({"extra": {"steps": "20"}}, "steps"),
        ({"references": ("https://example.com/a.png",)}, "not from addresses"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
        ({"references": (__file__,) * 7}, "at most 6"),
        ({"references": (__file__,), "count": 5}, "1 to 4"),
    ],
)
async def test_what_the_server_would_refuse_or_bend_is_refused_before_it_is_sent(
    server: DreaminaServer, provider: Dreamina, wrong: dict[str, Any], rule: str
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await submitted(provider, request)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


@pytest.mark.parametrize(
    "right",
    [
        {"prompt": "字" * 1600},
        {"seed": -1},
        {"seed": 1},
        {"seed": 999_999_999},
        {"count": 4},
        {"width": 936, "height": 1664, "ratio": "9:16", "resolution": "1K"},
        *({"model": model} for model in MODELS),
    ],
)
async def test_what_the_server_takes_passes(provider: Dreamina, right: dict[str, Any]) -> None:
    provider.check(image_request(**({"prompt": "a cat"} | right)))


async def test_an_unknown_model_gets_a_hint(provider: Dreamina) -> None:
    with pytest.raises(BadRequest) as refused:
        provider.check(image_request(model="nanobanana"))
    assert refused.value.hint == "did you mean NanoBanana?"


async def test_a_reference_that_vanished_is_a_bad_request(provider: Dreamina, picture: str) -> None:
    request = image_request(references=(picture,))
    provider.check(request)
    await anyio.Path(picture).unlink()
    with pytest.raises(BadRequest):
        await submitted(provider, request)


async def test_a_reference_that_cannot_be_read_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot read"):
        _files((str(tmp_path),))


async def test_it_knows_its_numbers(provider: Dreamina) -> None:
    assert (
        provider.expected_images(image_request()),
        provider.max_images(image_request()),
        await provider.models(),
    ) == (4, 4, MODELS)
    assert await provider.cancel(Job("1")) is CancelOutcome.GOES_ON


# Answers to a submit


async def test_accepted_with_a_task_id(server: DreaminaServer, provider: Dreamina) -> None:
    assert [(await accepted(provider)).id] == list(server.jobs)


@pytest.mark.parametrize("tags", ["#now", "#now #items", "#now #relative"])
async def test_finished_at_once(server: DreaminaServer, provider: Dreamina, clients: Clients, tags: str) -> None:
    reply = await submitted(provider, image_request(f"a cat {tags}"))
    (job,) = server.jobs
    assert await owners(clients, reply) == [f"{job}/{index}" for index in range(1, 5)]


async def test_queued_says_so_in_the_servers_words(server: DreaminaServer, provider: Dreamina) -> None:
    reports: list[Working] = []
    reply = await provider.submit(image_request("a cat #queued"), None, reports.append)
    assert isinstance(reply, Accepted)
    assert "第7位" in reports[0].note
    assert await polled_times(provider, reply.job, 9) == [Working()] * 9
    server.queued_resolves = True
    assert len(links(await provider.poll(reply.job, ignored))) == 4


@pytest.mark.parametrize(
    ("answer", "meaning", "words"),
    [
        (Reply.json({"success": False, "message": "提示词不能为空"}, 400), BadRequest, "提示词不能为空"),
        (Reply.json({"success": False, "message": "接口不存在"}, 404), BadRequest, "接口不存在"),
        (Reply.json({"success": False, "message": "生成失败"}, 500), GenerationFailed, "without a reason: 生成失败"),
        (Reply.json({"success": False, "message": "'NoneType' object"}, 500), Uncertain, "'NoneType' object"),
        (Reply.json({"success": False, "message": "服务器内部错误"}, 500), Uncertain, "服务器内部错误"),
        (Reply.text("<html>nginx</html>", 500), Uncertain, "a web page"),
        (Reply.json({"error": "slow"}, 429, retry_after="3"), RateLimited, "slow"),
        (Reply.json({}, 503), Busy, "503"),
        (Reply.json({}, 401), Unauthorized, "401"),
        (Reply.json({}, 302, location="https://example.com/"), Uncertain, "302"),
        (Reply.json({"success": False, "message": "积分不足"}), OutOfCredits, "积分不足"),
        (Reply.json({"success": True, "message": "任务已提交"}), Uncertain, "no task id"),
        (Reply.json({"success": True, "taskId": " "}), Uncertain, "no task id"),
        (Reply.json({"success": True, "queued": True, "taskId": None}), Uncertain, "no task id"),
        (Reply.json({"success": True, "completed": True, "images": []}), GenerationFailed, "no pictures"),
        (Reply.json({"success": True, "completed": True, "images": [""]}), GenerationFailed, "no pictures"),
        (Reply.json({"success": True, "completed": True}), GenerationFailed, "no pictures"),
        (Reply.json([]), Uncertain, "unknown form"),
        (Reply.json("ok"), Uncertain, "unknown form"),
        (Reply.json(None), Uncertain, "charged"),
    ],
)
async def test_other_answers_to_a_submit(
    server: DreaminaServer, provider: Dreamina, answer: Reply, meaning: type[TaskError], words: str
) -> None:
    server.fail("submit", answer)
    with pytest.raises(meaning, match=words) as raised:
        await submitted(provider)
    assert type(raised.value) is meaning
    assert server.counts["submit"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault.CLOSE_BEFORE,
        Fault.CLOSE_AFTER,
        Fault.RESET_AFTER,
        Fault.TRUNCATE,
        Fault.GARBAGE,
        Fault.EMPTY,
        Fault.HTML,
        Fault.BAD_GATEWAY,
        Fault.WRONG_LENGTH,
    ],
)
async def test_a_lost_answer_to_a_submit_is_uncertain(server: DreaminaServer, provider: Dreamina, fault: Fault) -> None:
    server.fail("submit", fault)
    with pytest.raises(Uncertain, match="charged"):
        await submitted(provider)


async def test_a_server_that_is_not_there_accepted_nothing(server: DreaminaServer, provider: Dreamina) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await submitted(provider)


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [("#500", GenerationFailed), ("#crash", Uncertain), ("#lost", Uncertain), ("#object", Moderated)],
)
async def test_prompts_that_spoil_the_submit(provider: Dreamina, prompt: str, meaning: type[TaskError]) -> None:
    with pytest.raises(meaning):
        await submitted(provider, image_request(prompt))


async def test_image_to_image_loses_every_reason(provider: Dreamina, picture: str) -> None:
    with pytest.raises(Uncertain, match="not enough values to unpack"):
        await submitted(provider, image_request("a cat #fail", references=(picture,)))


# Answers to a status query


async def test_running_then_done(server: DreaminaServer, provider: Dreamina, clients: Clients) -> None:
    server.polls = 2
    job = await accepted(provider)
    *before, last = await polled_times(provider, job, 3)
    assert before == [Working(), Working()]
    assert await owners(clients, last) == [f"{job.id}/{index}" for index in range(1, 5)]


@pytest.mark.parametrize(
    ("tag", "meaning", "words"),
    [
        ("fail", Moderated, "提示词包含敏感内容，请修改后重试"),
        ("1180", Moderated, "提示词不符合规范，请修改后重试"),
        ("1000", BadRequest, "参数错误，请检查设置"),
        ("1002", OutOfCredits, "积分不足"),
        ("1015", Unauthorized, "login expired"),
        ("30", GenerationFailed, "任务生成失败"),
        ("invalid", BadRequest, "invalid parameter"),
        ("none", GenerationFailed, "no pictures"),
    ],
)
async def test_a_failure_is_final_at_once_and_in_the_servers_words(
    server: DreaminaServer, provider: Dreamina, tag: str, meaning: type[TaskError], words: str
) -> None:
    server.polls = 1
    job = await accepted(provider, f"a cat #{tag}")
    assert await polled_times(provider, job) == [Working()]
    with pytest.raises(meaning, match=words):
        await provider.poll(job, ignored)


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        ("2038", "InputTextRisk", Moderated),
        (2038, "", Moderated),
        ("", "OutputImageRisk", Moderated),
        ("", "图片审核不通过", Moderated),
        ("", "积分余额不够", OutOfCredits),
        ("2039", "x", OutOfCredits),
        ("2003", "image risk not pass", Moderated),
        ("1019", "shark not pass", Unauthorized),
        ("", "账号风控", Unauthorized),
        ("34010105", "x", Unauthorized),
        ("1000", "请重新登录", Unauthorized),
        ("1310", "ExceedConcurrencyLimit", GenerationFailed),
        (None, "内容违规", Moderated),
        ("4001", "x", Moderated),
        (1006, "Not enough", OutOfCredits),
        ("5000", "x", OutOfCredits),
        ("", "Not enough credits", OutOfCredits),
        ("1001", "x", Unauthorized),
        ("", "请重新登录", Unauthorized),
        ("1000", "敏感", BadRequest),
        ("0", "生成失败", GenerationFailed),
        ("1017", "nanobanana", GenerationFailed),
        ("", "", GenerationFailed),
    ],
)
async def test_codes_go_before_words(
    server: DreaminaServer, provider: Dreamina, code: object, text: str, meaning: type[TaskError]
) -> None:
    server.fail("query", Reply.json({"completed": False, "failed": True, "fail_code": code, "error": text}))
    with pytest.raises(TaskError) as raised:
        await polled_times(provider, Job("1"))
    assert type(raised.value) is meaning
    assert text in raised.value.message
    assert raised.value.message


async def test_the_code_is_told_with_the_words(server: DreaminaServer, provider: Dreamina) -> None:
    server.fail("query", Reply.json({"failed": True, "fail_code": 1017, "error": " two\n lines "}))
    with pytest.raises(GenerationFailed) as raised:
        await polled_times(provider, Job("1"))
    assert raised.value.message == "two lines (fail_code 1017)"


@pytest.mark.parametrize(
    "answer",
    [
        Reply.json({"success": False, "message": "Read timed out."}, 500),
        Reply.json({"success": False, "message": "Read timed out."}),
        Reply.json({"success": False, "message": "接口不存在"}, 404),
        Reply.text("<html>gone</html>", 410),
        Reply.json([]),
        Reply.json(7),
        Reply.text("<html>sign in</html>"),
        Reply.text("", 204),
    ],
)
async def test_an_answer_that_tells_nothing_counts_as_a_failed_query(
    server: DreaminaServer, provider: Dreamina, answer: Reply
) -> None:
    job = await accepted(provider)
    server.fail("query", answer)
    with pytest.raises(ServerTrouble):
        await polled_times(provider, job)
    assert len(links(await provider.poll(job, ignored))) == 4


@pytest.mark.parametrize("fault", [Fault.CLOSE_BEFORE, Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE])
async def test_a_lost_answer_to_a_query_may_be_asked_for_again(
    server: DreaminaServer, provider: Dreamina, fault: Fault
) -> None:
    job = await accepted(provider)
    server.fail("query", fault)
    with pytest.raises(Unavailable):
        await polled_times(provider, job)
    assert len(links(await provider.poll(job, ignored))) == 4


async def test_every_second_query_may_fail(server: DreaminaServer, provider: Dreamina) -> None:
    server.polls = 2
    job = await accepted(provider, "a cat #flaky")
    assert await polled_times(provider, job) == [Working()]
    with pytest.raises(ServerTrouble):
        await polled_times(provider, job)
    assert len(links(await provider.poll(job, ignored))) == 4


async def test_an_unknown_word_is_told_as_it_is(server: DreaminaServer, provider: Dreamina) -> None:
    job = await accepted(provider, "a cat #word #never")
    assert await polled_times(provider, job) == [Working(note="status 47: 美化中")]


async def test_an_unknown_id_runs_for_ever(provider: Dreamina) -> None:
    assert await polled_times(provider, Job("nobody/../knows #1?"), 9) == [Working()] * 9


async def test_fewer_pictures_than_promised(provider: Dreamina) -> None:
    job = await accepted(provider, "a cat #partial")
    assert len(links(await provider.poll(job, ignored))) == 2


@pytest.mark.parametrize(
    ("images", "usable", "note"),
    [
        (["https://a.example/1.png?x=1&y=%20", {"url": "http://b.example/2"}], 2, ""),
        ([" /files/1.png "], 1, ""),
        ("https://a.example/1\nhttps://a.example/2", 2, ""),
        (["https://a.example/1", "", 7, {"href": "x"}], 1, "3 of 4 pictures"),
        (["https://a.example/1", "file:///etc/passwd", "data:image/png;base64,AAAA"], 1, "2 of 3 pictures"),
        (["https://a.example/1", "javascript:alert(1)", "http://[", "https://a/\ud800"], 1, "3 of 4 pictures"),
    ],
)
async def test_only_web_addresses_become_pictures(
    server: DreaminaServer, provider: Dreamina, images: object, usable: int, note: str
) -> None:
    server.fail("query", escaped({"success": True, "completed": True, "images": images}))
    (reply,) = await polled_times(provider, Job("1"))
    assert isinstance(reply, Ready)
    assert len(links(reply)) == usable
    assert all(link.startswith(("http://", "https://")) for link in links(reply))
    assert note in reply.note


# The old server's one answer


async def test_an_old_server_calls_a_running_task_failed(server: DreaminaServer, provider: Dreamina) -> None:
    server.old, server.polls = True, 40
    job = await accepted(provider)
    *before, last = await polled_times(provider, job, 41)
    assert before == [Working(note=f"not known yet: {NOT_FOUND}")] * 40
    assert len(links(last)) == 4


async def test_the_first_queries_may_come_too_early(server: DreaminaServer, provider: Dreamina) -> None:
    server.unknown_polls, server.polls = 2, 3
    job = await accepted(provider)
    early, again, running, last = await polled_times(provider, job, 4)
    assert early == again == Working(note=f"not known yet: {NOT_FOUND}")
    assert running == Working()
    assert len(links(last)) == 4


async def test_after_the_grace_a_server_that_knows_better_is_believed(
    server: DreaminaServer, provider: Dreamina
) -> None:
    job = await accepted(provider, "a cat #never")
    await polled_times(provider, job)
    server.old = True
    assert len(await polled_times(provider, job, 5)) == 5
    with pytest.raises(GenerationFailed, match=NOT_FOUND):
        await polled_times(provider, job)


async def test_without_grace_the_first_answer_is_believed(server: DreaminaServer, clients: Clients) -> None:
    server.old = True
    provider = Dreamina(Settings(base_url=server.url, grace=0), clients)
    with pytest.raises(GenerationFailed, match=NOT_FOUND):
        await polled_times(provider, await accepted(provider, "a cat #never"))


# Hostile JSON


def escaped(value: object) -> Reply:
    """JSON with its escapes left as they are, for half characters."""
    return Reply(200, json.dumps(value).encode(), {"content-type": "application/json"})


KEYS = ("success", "completed", "failed", "images", "taskId", "error", "fail_code", "message", "queued")
BODIES: tuple[dict[str, Any], ...] = (
    {"success": True, "taskId": "1"},
    {"success": True, "completed": True, "images": ["https://a.example/1"]},
    {"success": True, "completed": True, "images": {"failed": True, "fail_code": "2038", "fail_msg": "x"}},
    {"success": True, "failed": True, "error": NOT_FOUND},
)


@pytest.mark.parametrize("key", KEYS)
async def test_no_json_breaks_it(server: DreaminaServer, provider: Dreamina, key: str) -> None:
    for body, wrong in product(BODIES, WRONG):
        for where in ("submit", "query"):
            server.fail(where, escaped(body | {key: wrong}))
        for work in (submitted(provider), provider.poll(Job("1"), ignored)):
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()


# Credits


async def test_credits_of_the_only_account(server: DreaminaServer, provider: Dreamina) -> None:
    del server.sessions["1"]
    assert await provider.balance() == Balance(60.0)


async def test_credits_are_not_asked_where_that_would_switch_the_account(
    server: DreaminaServer, provider: Dreamina
) -> None:
    balance = await provider.balance()
    assert balance is not None
    assert (balance.amount, server.active_account) == (None, "0")
    assert server.counts["credit"] == 1


async def test_a_made_up_number_is_not_told(server: DreaminaServer, provider: Dreamina) -> None:
    del server.sessions["1"]
    server.credit_known = False
    assert await provider.balance() == Balance(None, note="the server does not name the credits")


@pytest.mark.parametrize("wrong", WRONG)
async def test_no_account_list_breaks_it(server: DreaminaServer, provider: Dreamina, wrong: object) -> None:
    server.fail("credit", escaped({"success": True, "accounts": wrong}))
    balance = await provider.balance()
    assert balance is not None
    assert balance.amount in (None, 60.0)


@pytest.mark.parametrize("wrong", [*WRONG, {"total_credit": "60"}, {"total_credit": 10**400}, {"total_credit": -1}])
async def test_no_credit_breaks_it(server: DreaminaServer, provider: Dreamina, wrong: object) -> None:
    server.fail("credit", escaped({"success": True, "accounts": [{"id": "0"}]}))
    server.fail("credit", escaped({"success": True, "credit": wrong}))
    assert await provider.balance() == Balance(None, note="the server does not name the credits")


async def test_an_account_route_that_fails_says_so(server: DreaminaServer, provider: Dreamina) -> None:
    server.fail("credit", Reply.json({"success": False, "message": "获取积分信息失败"}, 500))
    with pytest.raises(ServerTrouble, match="获取积分信息失败"):
        await provider.balance()


async def test_an_address_that_ends_in_api_is_taken_as_meant(server: DreaminaServer, clients: Clients) -> None:
    provider = Dreamina(Settings(base_url=f"{server.url}/api/"), clients)
    assert isinstance(await submitted(provider), Accepted)
