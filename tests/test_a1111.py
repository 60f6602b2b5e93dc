import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from imagegen_cli.core import language
from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    Expired,
    GenerationFailed,
    RateLimited,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import CHINESE, Message, translated
from imagegen_cli.core.provider import Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, InlineImage, Job
from imagegen_cli.providers import load
from imagegen_cli.providers.a1111 import A1111, NO_PROGRESS, Settings, _differences
from imagegen_cli.settings.language import use_language
from tests.doubles.a1111 import WebUIServer, tags_in
from tests.doubles.http import CONNECT, Fault, Job as Made, Reply, Request
from tests.doubles.pictures import whose
from tests.program import Program
from tests.suite import WRONG, Suite, description, escaped, ignored, image_request, valid

pytestmark = pytest.mark.anyio

SUITE = Suite(A1111, WebUIServer, poll=0.05)
server, provider, picture = SUITE.fixtures()


async def made(provider: A1111, prompt: str = "a cat", **more: Any) -> Ready:
    return await provider.submit(image_request(prompt, **more), None, ignored)


def owners(reply: Ready) -> list[str]:
    """Numbers of the pictures within their job."""
    return [whose(image.data).rpartition("/")[2] for image in reply.images if isinstance(image, InlineImage)]


def sent(server: WebUIServer) -> Any:
    return server.requests_of("submit")[-1].json()


class Reports:
    """What was reported, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[Working] = []
        self.more = asyncio.Event()

    def __call__(self, working: Working) -> None:
        self.all.append(working)
        self.more.set()

    async def first(self) -> Working:
        with anyio.fail_after(10):
            await self.more.wait()
        return self.all[0]


# What goes out


async def test_it_is_found_by_its_kind() -> None:
    assert load("a1111") is A1111


async def test_a_submit_says_what_was_asked(server: WebUIServer, provider: A1111) -> None:
    extra = {"cfg": "5", "steps": "30", "sampler": "Euler a", "enable_hr": "True", "denoise": "0.4"}
    request = image_request(
        "猫 🐈", negative="blurry", model="other", width=512, height=768, seed=7, count=6, extra=extra
    )
    client_job = provider.client_job(request)
    await provider.submit(request, client_job, ignored)
    body = sent(server)
    assert server.requests_of("submit")[0].path == "/sdapi/v1/txt2img"
    assert body.pop("override_settings") == {"sd_model_checkpoint": "other"}
    assert body == {
        "prompt": "猫 🐈", "negative_prompt": "blurry", "seed": 7, "width": 512, "height": 768,
        "batch_size": 3, "n_iter": 2, "send_images": True, "save_images": False, "force_task_id": client_job.id,
        "override_settings_restore_afterwards": True,
        "cfg_scale": 5.0, "steps": 30, "sampler_name": "Euler a", "enable_hr": True, "denoising_strength": 0.4,
    }  # fmt: skip
    assert client_job.id.startswith("task(imagegen-")


async def test_what_is_not_said_is_left_to_the_server(server: WebUIServer, provider: A1111) -> None:
    await made(provider)
    assert not {"width", "height", "steps", "override_settings", "init_images"} & sent(server).keys()
    assert (sent(server)["seed"], sent(server)["batch_size"], sent(server)["n_iter"]) == (-1, 1, 1)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"ratio": "1:1"}, (512, 512)),
        ({"resolution": "1K"}, (1024, 1024)),
        ({"ratio": "16:9", "resolution": "768"}, (1024, 576)),
        ({"width": 64, "height": 2048}, (64, 2048)),
    ],
)
async def test_sizes(server: WebUIServer, provider: A1111, options: dict[str, Any], size: tuple[int, int]) -> None:
    await made(provider, **options)
    assert (sent(server)["width"], sent(server)["height"]) == size


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7, 8, 16])
async def test_every_count_is_made_exactly(server: WebUIServer, provider: A1111, count: int) -> None:
    reply = await made(provider, count=count)
    assert sent(server)["batch_size"] * sent(server)["n_iter"] == count
    assert sent(server)["batch_size"] <= 4
    assert owners(reply) == [str(index) for index in range(1, count + 1)]


@pytest.mark.parametrize("number", [1, 2])
async def test_references_are_sent_as_base64(server: WebUIServer, provider: A1111, picture: str, number: int) -> None:
    reply = await made(provider, references=(picture,) * number, extra={"denoise": "0.5"})
    assert server.requests_of("submit")[0].path == "/sdapi/v1/img2img"
    assert {whose(base64.b64decode(image)) for image in sent(server)["init_images"]} == {"reference/1"}
    assert len(reply.images) == number == sent(server)["batch_size"]


async def test_what_is_sent_is_what_the_specification_takes(server: WebUIServer, provider: A1111, picture: str) -> None:
    schemas = description("automatic1111-openapi.json")["components"]

    def conforms(name: str, value: dict[str, Any]) -> None:
        valid(value, name, schemas)
        assert value.keys() <= schemas["schemas"][name]["properties"].keys()

    extra = {"cfg": "5", "steps": "30", "sampler": "Euler a", "scheduler": "karras", "distilled_cfg_scale": "3"}
    more = {"hr_scale": "2", "hr_upscaler": "Latent", "enable_hr": "true", "tiling": "false", "restore_faces": "true"}
    await made(provider, model="x", ratio="3:4", count=2, seed=1, extra=extra | more)
    conforms("StableDiffusionProcessingTxt2Img", sent(server))
    await made(provider, references=(picture,), extra=extra)
    conforms("StableDiffusionProcessingImg2Img", sent(server))
    with pytest.raises(Expired):
        await provider.poll(Job("task(x)"), ignored)
    conforms("ProgressRequest", server.requests_of("query")[-1].json())


async def test_name_and_password_go_with_every_request(server: WebUIServer, clients: Clients) -> None:
    server.login, server.seconds = ("me", "secret:word"), 0.0
    settings = Settings(base_url=server.url, username="me", api_key=Secret("secret:word"), headers={"X-Gate": "open"})
    provider = A1111(settings, clients)
    assert len((await made(provider)).images) == 1
    assert await provider.models() == ("dream.safetensors [0123456789]", "other.safetensors")
    assert {request.headers["x-gate"] for request in server.requests} == {"open"}


@pytest.mark.parametrize("username", ["", "you"])
async def test_a_wrong_name_or_none(server: WebUIServer, clients: Clients, username: str) -> None:
    server.login = ("me", "secret")
    provider = A1111(Settings(base_url=server.url, username=username), clients)
    with pytest.raises(Unauthorized, match="Incorrect username"):
        await made(provider)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"seed": 2**32}, "0 to 4294967295"),
        ({"seed": -2}, "or -1"),
        ({"negative": "\ud800"}, "half a character"),
        ({"extra": {"\ud800": "x"}}, "half a character"),
        ({"count": 0}, "at least one"),
        ({"width": 513, "height": 512}, "steps of 8; not 513x512"),
        ({"width": 56, "height": 512}, "64 to 2048"),
        ({"width": 4096, "height": 512}, "64 to 2048"),
        ({"width": 512}, "512x0"),
        ({"ratio": "99:1"}, "64 to 2048"),
        ({"ratio": "wide"}, "W:H"),
        ({"resolution": "8k"}, "512, 768, 1k, 2k"),
        ({"extra": {"step": "20"}}, "no option 'step'"),
        ({"extra": {"steps": "many"}}, "cannot be 'many'"),
        ({"extra": {"steps": "2.5"}}, "cannot be"),
        ({"extra": {"cfg": "NaN"}}, "cannot be"),
        ({"extra": {"cfg": "-Infinity"}}, "cannot be"),
        ({"extra": {"tiling": "1"}}, "cannot be"),
        ({"extra": {"denoise": "0.5"}}, "without a reference"),
        ({"references": ("https://example.com/a.png",)}, "not from addresses"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
        ({"references": (__file__, __file__), "count": 3}, "make 2 pictures"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before(
    server: WebUIServer, provider: A1111, wrong: dict[str, Any], rule: str
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await provider.submit(request, None, ignored)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


async def test_an_unknown_option_gets_a_hint_and_a_lone_password_is_refused(clients: Clients) -> None:
    with pytest.raises(BadRequest) as refused:
        A1111(Settings(), clients).check(image_request(extra={"step": "20"}))
    assert refused.value.hint == "did you mean steps?"
    with pytest.raises(BadRequest, match="username"):
        A1111(Settings(api_key=Secret("x")), clients).check(image_request())


@pytest.mark.parametrize("content", ["no picture", "a key"])
async def test_a_reference_that_is_no_picture_is_refused_before(
    server: WebUIServer, provider: A1111, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "id.png"
    path.write_text(content * 20)
    with pytest.raises(BadRequest, match=r"id\.png"):
        await made(provider, references=(str(path),))
    assert server.counts["submit"] == 0


async def test_name_and_password_in_the_address(server: WebUIServer, clients: Clients) -> None:
    server.login = ("me", "secret")
    provider = A1111(Settings(base_url=server.url.replace("//", "//me:secret@")), clients)
    assert owners(await made(provider)) == ["1"]
    assert await provider.models()


def test_settings_that_cannot_work_are_refused_by_themselves() -> None:
    nothing: Any = None
    with pytest.raises(BadRequest, match="username"):
        A1111(Settings(api_key=Secret("x")), Clients(nothing, nothing)).check_settings()


async def test_what_would_be_sent_is_shown_without_pictures(provider: A1111, picture: str) -> None:
    shown = provider.payload(image_request(references=(picture,), extra={"steps": "9"}))
    assert (shown["steps"], shown["init_images"]) == (9, [picture])


async def test_it_knows_its_numbers(clients: Clients) -> None:
    provider = A1111(Settings(max_batch=0), clients)
    assert (
        provider.expected_images(image_request()),
        provider.expected_images(image_request(count=3)),
        provider.max_images(image_request()),
    ) == (1, 3, 4)
    assert (provider.expected_images(image_request(references=("a", "b"))), provider.is_synchronous) == (2, True)


async def test_a_reference_that_cannot_be_read_is_a_bad_request(provider: A1111, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot read"):
        provider.check(image_request(references=(str(tmp_path),)))


# Answers


@pytest.mark.parametrize("variant", ["a1111", "forge", "sdnext"])
@pytest.mark.parametrize(
    ("prompt", "count", "expected"),
    [("", 2, ["1", "2"]), ("#grid", 2, ["1", "2"]), ("#data", 1, ["1"]), ("#grid #data", 3, ["1", "2", "3"])],
)
async def test_pictures_come_without_grids_and_prefixes(
    server: WebUIServer, provider: A1111, variant: str, prompt: str, count: int, expected: list[str]
) -> None:
    server.variant = variant
    assert owners(await made(provider, f"a cat {prompt}", count=count)) == expected


async def test_a_picture_that_is_none_is_left_out_and_said(provider: A1111) -> None:
    reply = await made(provider, "#broken", count=3)
    assert (owners(reply), reply.note) == (["1", "3"], "1 of 3 pictures did not come")


@pytest.mark.parametrize("prompt", ["#none", "#null"])
async def test_a_good_answer_without_pictures_is_a_failure(provider: A1111, prompt: str) -> None:
    with pytest.raises(GenerationFailed, match="no picture"):
        await made(provider, prompt)


@pytest.mark.parametrize(
    ("variant", "prompt", "words"),
    [
        ("a1111", "#fail", "RuntimeError: Expected all tensors"),
        ("sdnext", "#fail", "Expected all tensors"),
        ("forge", "#fail", "gave no reason"),
        ("a1111", "#oom", "OutOfMemoryError: CUDA out of memory"),
        ("forge", "#oom", "gave no reason"),
    ],
)
async def test_what_broke_there_is_final(
    server: WebUIServer, provider: A1111, variant: str, prompt: str, words: str
) -> None:
    server.variant = variant
    with pytest.raises(GenerationFailed, match=words) as raised:
        await made(provider, prompt)
    assert ("fewer pixels" in raised.value.hint) == ("OutOfMemory" in words)


@pytest.mark.parametrize("variant", ["a1111", "forge"])
async def test_an_unknown_sampler(server: WebUIServer, provider: A1111, variant: str) -> None:
    server.variant = variant
    with pytest.raises(BadRequest, match="Sampler not found"):
        await made(provider, extra={"sampler": "none"})


@pytest.mark.parametrize(
    ("answer", "meaning", "words"),
    [
        (
            Reply.json({"detail": [{"loc": ["body", "steps"], "msg": "not an integer"}]}, 422),
            BadRequest,
            "body.steps: not an integer",
        ),
        (Reply.json({"detail": "Not Found"}, 404), BadRequest, "no such route"),
        (Reply.json({"detail": "CUDA out of memory"}, 400), GenerationFailed, "out of memory"),
        (Reply.text("<html>nginx</html>", 500), Uncertain, "500"),
        (Reply.text("<html>nginx</html>", 504), Uncertain, "504"),
        (Reply.json({}, 503), Busy, "503"),
        (Reply.json({}, 429, retry_after="3"), RateLimited, "429"),
        (Reply.json([]), Uncertain, "unknown form"),
        (Reply.json({}), Uncertain, "unknown form"),
        (Reply.text("ok"), Uncertain, "not JSON"),
        (Reply.json({}, 302, location="https://example.com/"), Uncertain, "302"),
    ],
)
async def test_other_answers(
    server: WebUIServer, provider: A1111, answer: Reply, meaning: type[TaskError], words: str
) -> None:
    server.fail("submit", answer)
    with pytest.raises(meaning, match=words) as raised:
        await made(provider)
    assert type(raised.value) is meaning


@pytest.mark.parametrize("fault", [Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE, Fault.EMPTY])
async def test_a_lost_answer_is_uncertain_and_the_pictures_are_gone_with_it(
    server: WebUIServer, provider: A1111, fault: Fault
) -> None:
    server.fail("submit", fault)
    client_job = provider.client_job(image_request())
    with pytest.raises(Uncertain):
        await provider.submit(image_request(), client_job, ignored)
    with pytest.raises(Expired, match="only to the request that waits") as raised:
        await provider.poll(client_job, ignored)
    assert "save_images" in raised.value.hint


async def test_a_server_that_is_not_there_accepted_nothing(server: WebUIServer, provider: A1111) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await made(provider)


# Servers that make fewer pictures than the request wants, and say so in `info` alone


@pytest.mark.parametrize(
    ("count", "batches"), [(2, [2]), (5, [1, 4]), (6, [3, 3]), (7, [1, 4, 2]), (8, [4, 4]), (16, [4] * 4)]
)
async def test_a_server_that_makes_one_batch_is_asked_again(
    server: WebUIServer, provider: A1111, count: int, batches: list[int]
) -> None:
    server.variant, server.seconds = "sdcpp", 0.0
    reply = await made(provider, count=count, seed=100)
    assert (len(reply.images), reply.note) == (count, "")
    bodies = [request.json() for request in server.requests_of("submit")]
    assert [body["batch_size"] for body in bodies] == batches
    starts = [100 + sum(batches[:number]) for number in range(len(batches))]
    assert [body["seed"] for body in bodies] == starts
    assert all(body["n_iter"] == 1 for body in bodies[1:])


async def test_what_one_task_found_out_the_next_one_knows(server: WebUIServer, provider: A1111) -> None:
    server.variant, server.seconds = "sdcpp", 0.0
    await made(provider, count=8)
    assert len((await made(provider, count=5)).images) == 5
    assert [(body["batch_size"], body["n_iter"]) for body in map(Request.json, server.requests_of("submit")[2:])] == [
        (4, 1),
        (1, 1),
    ]


async def test_what_came_is_kept_where_the_rest_fails(server: WebUIServer, provider: A1111) -> None:
    server.variant, server.seconds = "sdcpp", 0.0
    await made(provider, count=8)
    server.fail("submit", Reply.json({"error": "server_error", "message": "out of VRAM"}, 500), after=1)
    reply = await made(provider, count=8)
    assert (len(reply.images), reply.note) == (4, "4 of 8 pictures did not come; server_error: out of VRAM")


async def test_after_a_stop_by_another_client_nothing_is_sent_again(server: WebUIServer, provider: A1111) -> None:
    client_job = provider.client_job(image_request())
    work = asyncio.ensure_future(provider.submit(image_request("#never", count=8), client_job, reports := Reports()))
    await reports.first()
    await anyio.to_thread.run_sync(httpx.post, f"{server.url}/sdapi/v1/interrupt")
    reply = await work
    assert (len(reply.images), server.counts["submit"]) == (4, 1)


@pytest.mark.parametrize(
    ("variant", "sizes", "request_", "words"),
    [
        ("sdcpp", True, {"model": "dream"}, ["drawn by the model loaded.gguf, not by dream"]),
        ("sdcpp", True, {"model": "loaded"}, []),
        ("sdcpp", True, {}, []),
        ("a1111", True, {"model": "dream.safetensors [0123456789]"}, []),
        ("a1111", True, {"model": "sd15/dream.safetensors", "width": 512, "height": 768}, []),
        ("a1111", False, {"width": 512, "height": 768}, ["made in 256x256, not in 512x768"]),
        ("a1111", False, {"width": 512, "height": 768, "extra": {"enable_hr": "true"}}, []),
        ("a1111", False, {}, []),
    ],
)
async def test_what_was_silently_done_otherwise_is_said(
    server: WebUIServer, provider: A1111, variant: str, sizes: bool, request_: dict[str, Any], words: list[str]
) -> None:
    server.variant, server.takes_sizes = variant, sizes
    reply = await made(provider, **request_)
    assert reply.note == "; ".join(words)
    assert reply.facts.get("differs", "") == reply.note
    assert bool(words) == isinstance(reply.facts.get("differs"), Message)


async def test_what_was_done_otherwise_can_be_told_in_another_language(server: WebUIServer, provider: A1111) -> None:
    server.variant, server.takes_sizes = "sdcpp", False
    differs = (await made(provider, model="dream", width=512, height=768)).facts["differs"]
    assert isinstance(differs, Message)
    use_language(CHINESE)
    try:
        assert translated(differs) == "实际由模型 loaded.gguf 生成，而不是 dream；实际尺寸为 256x256，而不是 512x768"
    finally:
        language.use(None)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"width": 256}, "made in 256x?, not in 512x768"),
        ({"height": 768}, ""),
        ({"height": 9}, "made in ?x9, not in 512x768"),
    ],
)
def test_one_side_is_enough_to_tell(info: dict[str, int], expected: str) -> None:
    assert "; ".join(_differences({"width": 512, "height": 768}, info)) == expected


async def test_several_references_of_which_one_counted(server: WebUIServer, provider: A1111, picture: str) -> None:
    server.variant = "sdcpp"
    assert "first reference" in (await made(provider, references=(picture, picture))).note


@pytest.mark.parametrize(("seed", "used"), [(None, 7), (-1, 7), (2**32 - 1, 2**32 - 1)])
async def test_the_seed_and_the_model_that_were_used_are_told(provider: A1111, seed: int | None, used: int) -> None:
    assert (await made(provider, seed=seed)).facts == {"seed": used, "model": "dream"}


async def test_a_server_that_tells_nothing_is_said_to(server: WebUIServer, provider: A1111) -> None:
    server.variant = "sdcpp"
    reports = Reports()
    for asked in (1, 2):
        server.hold()
        submit = asyncio.ensure_future(provider.submit(image_request(), None, reports))
        while server.counts["query"] < asked:  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # no further question comes
        server.release()
        await submit
    assert {working.note for working in reports.all} == {NO_PROGRESS}
    assert len(reports.all) == 2
    assert server.counts["query"] == 2


async def test_no_job_of_it_is_a_receipt(provider: A1111) -> None:
    assert not provider.fetchable(provider.client_job(image_request()))


# Progress while the answer is waited for


async def test_progress_is_asked_for_by_our_id_and_never_falls(server: WebUIServer, provider: A1111) -> None:
    server.variant, server.polls = "forge", 4
    reports = Reports()
    client_job = provider.client_job(image_request())
    await provider.submit(image_request(), client_job, reports)
    fractions = [working.fraction or 0 for working in reports.all]
    assert fractions[:3] == [0.3, 0.3, pytest.approx(0.9)]
    assert max(fractions) <= 1
    assert {request.json()["id_task"] for request in server.requests_of("query")} == {client_job.id}
    assert not any(request.json()["live_preview"] for request in server.requests_of("query"))


async def test_waiting_in_the_servers_queue(server: WebUIServer, provider: A1111) -> None:
    first = asyncio.ensure_future(provider.submit(image_request("#never"), Job("task(first)"), began := Reports()))
    await began.first()
    second = asyncio.ensure_future(provider.submit(image_request(), Job("task(second)"), reports := Reports()))
    waiting = await reports.first()
    assert (waiting.queue_position, waiting.fraction, waiting.note) == (1, None, "In queue: 1/1")
    assert await provider.poll(Job("task(second)"), ignored) == waiting
    assert await provider.cancel(Job("task(second)")) is CancelOutcome.GOES_ON
    assert server.interrupted == []
    assert await provider.cancel(Job("task(first)")) is CancelOutcome.STOPPED
    with pytest.raises(GenerationFailed, match="stopped"):
        await first
    assert owners(await second) == ["1"]


async def test_without_a_web_page_the_progress_is_the_whole_servers(server: WebUIServer, provider: A1111) -> None:
    server.internal, server.polls = False, 2
    reports = Reports()
    await provider.submit(image_request(), None, reports)
    assert reports.all[0] == Working(0.3, None, "progress of the whole server")
    assert server.counts["POST /internal/progress"] == 1


async def test_with_several_requests_the_servers_progress_is_no_fraction(server: WebUIServer, provider: A1111) -> None:
    server.internal, server.polls = False, 3
    reports = Reports()
    both = (provider.submit(image_request(), None, reports), provider.submit(image_request(), None, reports))
    await asyncio.gather(*both)
    assert reports.all[0].fraction is None


@pytest.mark.parametrize("answer", [Reply.text("", 500), Reply.text("<html>"), Reply.json([]), Reply.json({}, 401)])
async def test_questions_that_fail_cost_nothing(server: WebUIServer, provider: A1111, answer: Reply) -> None:
    server.seconds, server.polls = 600.0, -1
    server.fail("query", answer, times=None)
    pictures = asyncio.ensure_future(made(provider))
    with anyio.fail_after(30):
        while server.counts["query"] < 2:  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0.01)
        for job in server.jobs.values():
            job.seconds = 0.0
        assert owners(await pictures) == ["1"]


async def test_a_question_that_hangs_does_not_keep_the_answer(server: WebUIServer, provider: A1111) -> None:
    server.seconds, server.polls = 0.2, -1
    server.fail("query", Fault.STALL, times=None)
    with anyio.fail_after(60):
        assert owners(await made(provider)) == ["1"]


async def test_a_dropped_submit_leaves_no_task_behind(server: WebUIServer, provider: A1111) -> None:
    work = asyncio.ensure_future(provider.submit(image_request("#never"), Job("task(x)"), reports := Reports()))
    await reports.first()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not provider._posts
    assert isinstance(await provider.poll(Job("task(x)"), ignored), Working)


# Cancelling


@pytest.mark.parametrize("variant", ["a1111", "sdnext"])
async def test_whole_batches_are_kept_and_the_one_it_was_in_is_not(
    server: WebUIServer, provider: A1111, variant: str
) -> None:
    server.variant = variant
    client_job = provider.client_job(image_request())
    work = asyncio.ensure_future(
        provider.submit(image_request("#never #two", count=8), client_job, reports := Reports())
    )
    await reports.first()
    assert await provider.cancel(client_job) is CancelOutcome.STOPPED
    reply = await work
    assert (owners(reply), reply.note) == (["1", "2", "3", "4"], "4 of 8 pictures did not come")


@pytest.mark.parametrize(
    ("answer", "stop", "interrupts"),
    [
        ({"active": True, "queued": False, "completed": False}, CancelOutcome.REQUESTED, 1),
        ({"active": False, "queued": True, "completed": False}, CancelOutcome.GOES_ON, 0),
        ({"active": False, "queued": False, "completed": True}, CancelOutcome.TOO_LATE, 0),
        ({"active": False, "queued": False, "completed": False}, CancelOutcome.GOES_ON, 0),
        ({}, CancelOutcome.GOES_ON, 0),
        ({"active": "yes"}, CancelOutcome.GOES_ON, 0),
        (None, CancelOutcome.GOES_ON, 0),
    ],
)
async def test_only_what_is_ours_is_interrupted(
    server: WebUIServer, provider: A1111, answer: Any, stop: CancelOutcome, interrupts: int
) -> None:
    if answer is None:
        server.internal = False
    else:
        server.fail("query", Reply.json(answer))
    assert await provider.cancel(Job("task(x)")) is stop
    assert server.counts["cancel"] == interrupts


async def test_an_interrupt_that_is_refused_stops_nothing(server: WebUIServer, provider: A1111) -> None:
    server.polls = 3
    client_job = provider.client_job(image_request())
    work = asyncio.ensure_future(provider.submit(image_request(count=2), client_job, reports := Reports()))
    await reports.first()
    server.fail("cancel", Reply.json({"detail": "no"}, 500))
    assert await provider.cancel(client_job) is CancelOutcome.GOES_ON
    assert owners(await work) == ["1", "2"]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ({"active": True, "progress": 0.5, "textinfo": "Sampling"}, Working(0.5, None, "Sampling")),
        ({"active": True, "progress": -3, "textinfo": None}, Working(0.0)),
        ({"queued": True, "textinfo": "In queue: 2/3"}, Working(None, 2, "In queue: 2/3")),
        ({"queued": True, "textinfo": "Queued..."}, Working(note="Queued...")),
    ],
)
async def test_a_lost_answer_that_is_still_made(
    server: WebUIServer, provider: A1111, answer: dict[str, Any], reply: Working
) -> None:
    server.fail("query", Reply.json(answer))
    assert await provider.poll(Job("task(x)"), ignored) == reply


# Hostile JSON


BODIES: tuple[Any, ...] = (
    {"images": ["AAAA"], "info": '{"index_of_first_image": 1}', "parameters": {}},
    {"images": ["AAAA", "BBBB"], "info": {"index_of_first_image": 0}},
    {"error": "x", "detail": [{"loc": ["body"], "msg": "m"}], "errors": "y"},
    {"active": True, "queued": True, "completed": True, "progress": 0.5, "textinfo": "In queue: 1/2"},
    [{"title": "x"}],
)


def bent(value: Any, wrong: object) -> Iterator[Any]:
    """The value, once for each of its parts with that part replaced."""
    yield wrong
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        for other in bent(part, wrong):
            copy = value.copy()
            copy[key] = other
            yield copy


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [200, 422, 500])
async def test_no_json_breaks_it(server: WebUIServer, provider: A1111, body: Any, status: int) -> None:
    for wrong in WRONG:
        for value in bent(body, wrong):
            reply = escaped(value)
            reply.status = status
            for kind in ("submit", "query", "cancel", "info"):
                server.fail(kind, reply, times=None)
            works = (made(provider), provider.poll(Job("1"), ignored), provider.cancel(Job("1")), provider.models())
            for work in works:
                try:
                    outcome: object = await work
                except TaskError as error:
                    outcome = error
                str(outcome).encode()
            server._rules.clear()


# The whole program


class Watched(WebUIServer):
    """Has an event for the moment at which the job that never ends begins."""

    def __init__(self) -> None:
        super().__init__()
        self.never_began = threading.Event()

    async def _worked(self, job: Made) -> None:
        if "never" in tags_in(job):
            self.never_began.set()
        await super()._worked(job)


LIST = [
    {"prompt": "a cat"},
    {"prompt": "a dog #fail"},
    {"prompt": "a bird", "extra": {"sampler": "none"}},
    {"prompt": "a fish", "count": 2},
    {"prompt": "a snail #never"},
]


def test_a_list_from_the_command_line(tmp_path: Path) -> None:
    with Watched() as server:
        program = Program(tmp_path, f'[providers.a1111]\nbase_url = "{server.url}"\npoll = 0.05\n')
        (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(line) for line in LIST))
        server.fail("submit", Fault.TOO_MANY, seconds=0.1)
        run = program.start("batch", "list.jsonl", "-p", "a1111", "--progress", "plain")
        assert server.never_began.wait(30)
        program.run("cancel", "5")
        out, err = run.communicate(timeout=30)
    tasks = {task["id"]: task for task in program.run("list", "--json").objects}
    assert {id_: task["state"] for id_, task in tasks.items()} == {
        1: "done", 2: "failed", 3: "failed", 4: "done", 5: "cancelled"
    }, err  # fmt: skip
    assert (tasks[2]["reason"], tasks[3]["reason"]) == ("server", "bad-request")
    assert run.returncode == 1
    files = [Path(line) for line in out.splitlines()]
    assert sorted(whose(path.read_bytes()).rpartition("/")[2] for path in files) == ["1", "1", "2"]
    assert (len(server.interrupted), server.counts["submit"]) == (1, 6)


def test_a_cancel_promises_no_picture_that_cannot_be_fetched(tmp_path: Path) -> None:
    with Watched() as server:
        server.variant = "sdcpp"
        program = Program(tmp_path, f'[providers.a1111]\nbase_url = "{server.url}"\npoll = 0.05\n')
        run = program.start("run", "a snail #never", "-p", "a1111", "--progress", "plain")
        assert server.never_began.wait(30)
        shown = program.run("cancel", "1").out
        run.communicate(timeout=30)
    assert "the service goes on" in shown
    assert "resume" not in shown
    assert program.run("resume", "1").code == 4
