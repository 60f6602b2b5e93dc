import asyncio
import base64
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    ConfigError,
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
from imagegen_cli.core.provider import Accepted, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, InlineImage, Job, RemoteImage
from imagegen_cli.providers._openai_dialects import DIALECTS
from imagegen_cli.providers.openai import OpenAI, Settings, events
from tests.doubles.hostile import ANSWERS, BOMBS, OneAnswer
from tests.doubles.http import Fault, Pictures, Reply
from tests.doubles.openai import ImageServer, Order, sse
from tests.doubles.pictures import whose
from tests.program import Program, finished
from tests.suite import WRONG, description, escaped, ignored, image_request, submitted

pytestmark = pytest.mark.anyio

KEY = "sk-this-key-opens-nothing"
LOCAL = ("localai", "sd-server", "sglang", "vllm-omni", "xinference")
NO_CLIENT: Any = None
PICTURE = Pictures().make("reference", 1)


@pytest.fixture
def server(dialect: str) -> Iterator[ImageServer]:
    with ImageServer("ark" if dialect == "byteplus" else dialect, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def provider(dialect: str, server: ImageServer, clients: Clients) -> OpenAI:
    return OpenAI(settings_for(dialect, server), clients)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "参考 图.jpg"
    path.write_bytes(PICTURE)
    return str(path)


def settings_for(dialect: str, server: ImageServer, **more: Any) -> Settings:
    settings = Settings(dialect=dialect, base_url=server.base_url, api_key=Secret(KEY), **more)
    return settings if settings.model or not settings.spoken.requires_model else replace(settings, model="drawer")


def unconnected(dialect: str, **more: Any) -> OpenAI:
    if not DIALECTS[dialect].home:
        more = {"base_url": "http://127.0.0.1:9/v1", **more}
    return OpenAI(Settings(dialect=dialect, **more), Clients(NO_CLIENT, NO_CLIENT))


async def refused(provider: OpenAI, request: ImageRequest | None = None) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await submitted(provider, request)
    return raised.value


async def pictures_of(provider: OpenAI, reply: Accepted | Ready) -> tuple[Image, ...]:
    """What a submit brings in the end."""
    for _ in range(10):
        if isinstance(reply, Ready):
            return reply.images
        later = await provider.poll(reply.job, ignored)
        reply = later if isinstance(later, Ready) else reply
    raise AssertionError("it never ends")


def sent(server: ImageServer) -> dict[str, Any]:
    body: dict[str, Any] = server.requests_of("submit")[-1].json()
    return body


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dialect", names)


every_dialect = only(*(name for name in DIALECTS if name != "byteplus"))


# What every dialect keeps


@every_dialect
async def test_a_prompt_becomes_a_picture(provider: OpenAI, server: ImageServer) -> None:
    images = await pictures_of(provider, await submitted(provider))
    assert len(images) == 1
    assert len(server.jobs) == 1
    if isinstance(images[0], InlineImage):
        assert whose(images[0].data).endswith("/1")


@every_dialect
async def test_several_pictures_are_split_or_asked_for_at_once(provider: OpenAI, server: ImageServer) -> None:
    high = provider.max_images(image_request())
    count = min(2, high)
    images = await pictures_of(provider, await submitted(provider, image_request(count=count)))
    assert len(images) == count
    few = f"1 to {high} pictures" if high > 1 else "makes one picture here"
    with pytest.raises(BadRequest, match=few):
        provider.check(image_request(count=high + 1))


@every_dialect
async def test_the_key_goes_to_the_service_and_nowhere_else(provider: OpenAI, server: ImageServer) -> None:
    server.key = KEY
    await pictures_of(provider, await submitted(provider))
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    with OneAnswer() as elsewhere:
        request = httpx.Request("GET", elsewhere.url)
        auth = provider._auth
        assert auth is not None
        assert "authorization" not in next(auth.auth_flow(request)).headers


@every_dialect
async def test_a_wrong_key_is_not_repeated(dialect: str, server: ImageServer, clients: Clients) -> None:
    server.key = "another"
    error = await refused(OpenAI(settings_for(dialect, server), clients))
    assert isinstance(error, Unauthorized)
    assert KEY not in error.message


@every_dialect
async def test_moderation(provider: OpenAI) -> None:
    error = await refused(provider, image_request("#moderated"))
    assert isinstance(error, BadRequest if "local" in error.message else Moderated)


@every_dialect
async def test_quota_is_final_and_a_rate_limit_is_not(provider: OpenAI, server: ImageServer) -> None:
    assert isinstance(await refused(provider, image_request("#quota")), OutOfCredits)
    error = await refused(provider, image_request("#limited429"))
    assert isinstance(error, RateLimited)
    assert error.after == pytest.approx(0.2)
    error = await refused(provider, image_request("#loading"))
    assert isinstance(error, Busy)
    assert error.after == pytest.approx(0.2)
    assert not server.jobs


@every_dialect
async def test_bad_requests(provider: OpenAI) -> None:
    error = await refused(provider, image_request("#bad"))
    assert isinstance(error, BadRequest)
    assert "banana" in error.message


@only(*(name for name in DIALECTS if name not in ("sd-server", "byteplus")))
async def test_an_unknown_model_names_the_command_that_lists_them(provider: OpenAI) -> None:
    error = await refused(provider, image_request("#model"))
    assert isinstance(error, BadRequest)
    assert "imagegen models" in error.hint


@every_dialect
@pytest.mark.parametrize("fault", [Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.ERROR_500, Fault.HTML, Fault.EMPTY])
async def test_a_lost_answer_is_uncertain(provider: OpenAI, server: ImageServer, fault: Fault) -> None:
    server.fail("submit", fault)
    assert isinstance(await refused(provider), Uncertain)


@every_dialect
async def test_no_server_there(provider: OpenAI, server: ImageServer) -> None:
    server.fail("submit", Fault.REFUSE)
    assert type(await refused(provider)) is Unavailable


@every_dialect
async def test_a_redirect_is_told(provider: OpenAI, server: ImageServer) -> None:
    server.fail("submit", Reply(302, headers={"location": "http://127.0.0.1:9/stolen"}))
    error = await refused(provider)
    assert isinstance(error, BadRequest)
    assert "base_url" in error.hint


@every_dialect
async def test_models(provider: OpenAI, dialect: str) -> None:
    names = await provider.models()
    expected = {"openai": ("gpt-image-2",), "together": ("flux",), "ark": DIALECTS["ark"].known_models}
    assert sorted(names) == sorted(expected.get(dialect, ("drawer", "drawer-pro")))


@every_dialect
async def test_models_are_not_listed_everywhere(dialect: str, provider: OpenAI, server: ImageServer) -> None:
    server.fail("models", Reply.json({"detail": "Not Found"}, 404))
    assert await provider.models() == DIALECTS[dialect].known_models


# What is sent


BODIES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("openai", {"width": 1536, "height": 864}, {"size": "1536x864", "n": 1, "stream": True, "partial_images": 1}),
    ("openai", {"ratio": "16:9", "resolution": "2k"}, {"size": "2736x1536"}),
    ("openai", {"ratio": "16:9", "resolution": "4k"}, {"size": "3840x2160"}),
    ("openai", {"ratio": "1:1"}, {"size": "1024x1024"}),
    ("openai", {"ratio": "16:9", "model": "gpt-image-1.5"}, {"size": "1536x1024"}),
    (
        "openai",
        {"extra": {"quality": "high", "output_compression": "80"}},
        {"quality": "high", "output_compression": 80},
    ),
    (
        "ark",
        {"ratio": "16:9"},
        {"size": "2736x1536", "watermark": False, "sequential_image_generation": "disabled", "response_format": "url"},
    ),
    ("ark", {"resolution": "2k", "model": "4.5"}, {"size": "2K", "model": "doubao-seedream-4-5-251128"}),
    ("ark", {"resolution": "1.5k", "model": "5.0p"}, {"size": "1.5K", "model": "doubao-seedream-5-0-pro-260628"}),
    (
        "ark",
        {"count": 3},
        {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 3}},
    ),
    ("ark", {"seed": 7, "model": "doubao-seedream-3-0-t2i-250415"}, {"seed": 7}),
    ("ark", {"extra": {"optimize_prompt_mode": "fast"}}, {"optimize_prompt_options": {"mode": "fast"}}),
    ("litellm", {"count": 2, "seed": 3}, {"n": 2, "seed": 3, "model": "gpt-image-2"}),
    ("localai", {"negative": "rain", "seed": 1}, {"prompt": "a cat|rain", "seed": 1, "response_format": "b64_json"}),
    ("localai", {"extra": {"steps": "9"}}, {"step": 9}),
    (
        "sd-server",
        {"ratio": "3:2", "seed": 5, "negative": "rain", "count": 2, "extra": {"steps": "9", "guidance_scale": "3.5"}},
        {
            "width": 1248,
            "height": 832,
            "seed": 5,
            "negative_prompt": "rain",
            "batch_count": 2,
            "sample_params": {"sample_steps": 9, "guidance": {"txt_cfg": 3.5}},
        },
    ),
    ("sglang", {"extra": {"steps": "9"}}, {"num_inference_steps": 9, "response_format": "b64_json"}),
    (
        "vllm-omni",
        {"extra": {"lora": '{"name": "x"}'}, "negative": "no"},
        {"lora": {"name": "x"}, "negative_prompt": "no"},
    ),
    ("xinference", {"width": 512, "height": 768}, {"size": "512*768", "response_format": "b64_json"}),
    ("together", {"width": 512, "height": 768, "seed": 1}, {"width": 512, "height": 768, "seed": 1, "n": 1}),
    (
        "together",
        {"extra": {"disable_safety_checker": "true", "steps": "4"}},
        {"disable_safety_checker": True, "steps": 4},
    ),
    ("xai", {"ratio": "19.5:9", "resolution": "2k"}, {"aspect_ratio": "19.5:9", "resolution": "2k"}),
    ("recraft", {"ratio": "16:9", "seed": 4}, {"size": "16:9", "random_seed": 4}),
    ("recraft", {"ratio": "16:9", "resolution": "2k"}, {"size": "2688x1536"}),
    ("recraft", {"extra": {"output_format": "webp"}}, {"image_format": "webp"}),
    ("generic", {"ratio": "4:3", "negative": "no"}, {"size": "1184x880", "negative_prompt": "no"}),
)


@pytest.mark.parametrize(("dialect", "spec", "expected"), BODIES)
async def test_the_body(provider: OpenAI, server: ImageServer, spec: dict[str, Any], expected: dict[str, Any]) -> None:
    await submitted(provider, image_request(**spec))
    assert expected.items() <= sent(server).items()


@every_dialect
async def test_the_seed_that_is_used_is_told(dialect: str, provider: OpenAI, server: ImageServer) -> None:
    seeded = dialect not in ("openai", "litellm", "generic", "xai", "ark")
    reply = await submitted(provider)
    body = sent(server)
    kwargs = json.loads(body.get("kwargs", "{}"))
    seed = next(
        (one for one in (body.get("seed"), body.get("random_seed"), kwargs.get("seed")) if one is not None), None
    )
    assert (seed is not None) is seeded
    assert reply.facts.get("seed") == seed
    if seeded:
        await submitted(provider, image_request(count=2))
        assert not {"seed", "random_seed"} & sent(server).keys(), "two pictures might be alike"
        assert (await submitted(provider, image_request(seed=3))).facts["seed"] == 3


@only("ark")
async def test_a_seed_is_drawn_for_the_models_that_take_one(provider: OpenAI, server: ImageServer) -> None:
    reply = await submitted(provider, image_request(model="doubao-seedream-3-0-t2i-250415"))
    assert reply.facts["seed"] == sent(server)["seed"]


def test_every_dialect_has_a_body_of_its_own_tested() -> None:
    assert {dialect for dialect, _, _ in BODIES} == DIALECTS.keys() - {"byteplus"}


REFUSED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("openai", {"prompt": " \n"}, "the prompt is empty"),
    ("openai", {"prompt": "x" * 32_001}, "at most 32000 characters"),
    ("openai", {"prompt": "\ud800"}, "cannot be written"),
    ("openai", {"width": 1000, "height": 1000}, "divisible by 16"),
    ("openai", {"width": 1024, "height": 4096}, "between 1:3 and 3:1"),
    ("openai", {"width": 3856, "height": 2048}, "longer than 3840"),
    ("openai", {"width": 3840, "height": 3840}, "at most 8294400"),
    ("openai", {"width": 1024, "height": 1040, "model": "gpt-image-1-mini"}, "1024x1024, 1536x1024, 1024x1536"),
    ("openai", {"ratio": "1:1", "resolution": "4k", "model": "gpt-image-1-mini"}, "it has 1024x1024"),
    ("openai", {"width": 1024}, "a width and a height"),
    ("openai", {"width": 0, "height": 0, "ratio": ""}, "a width and a height"),
    ("openai", {"width": 1024, "height": 1024, "ratio": "1:1"}, "not both"),
    ("openai", {"ratio": "5:1"}, "between 1:3 and 3:1"),
    ("openai", {"ratio": "wide"}, "two numbers W:H such as 16:9"),
    ("openai", {"ratio": "0:1"}, "two numbers W:H such as 16:9"),
    ("openai", {"resolution": "9k"}, "has no resolution '9k'"),
    ("openai", {"seed": 1}, "takes no seed"),
    ("openai", {"negative": "rain"}, "no negative prompt"),
    ("openai", {"count": 0}, "makes one picture here"),
    ("openai", {"extra": {"qualty": "high"}}, "did you mean quality"),
    ("openai", {"extra": {"quality": "hihg"}}, "quality is one of auto, low"),
    ("openai", {"extra": {"output_compression": "101"}}, "0 to 100"),
    ("openai", {"extra": {"output_compression": "much"}}, "0 to 100"),
    ("openai", {"extra": {"background": "transparent", "output_format": "jpeg"}}, "png or webp"),
    ("openai", {"references": ("missing.png",)}, "there is no reference picture"),
    ("openai", {"extra": {"input_fidelity": "high"}}, "give one with --image"),
    ("openai", {"extra": {"input_fidelity": "low"}, "references": ("https://a/1",)}, "gpt-image-2 takes no"),
    (
        "openai",
        {"extra": {"input_fidelity": "high"}, "references": ("https://a/1",), "model": "gpt-image-1-mini"},
        "input_fidelity low only",
    ),
    ("openai", {"extra": {"frame_count": "4"}}, "needs output_format gif"),
    ("openai", {"extra": {"frame_count": "17", "output_format": "gif"}}, "2 to 16"),
    ("openai", {"extra": {"frame_duration_ms": "200", "output_format": "png"}}, "needs output_format gif"),
    ("openai", {"extra": {"svg_model": "m"}}, "needs output_format svg"),
    ("openai", {"extra": {"output_format": "svg", "output_compression": "9"}}, "for jpeg and webp"),
    ("openai", {"extra": {"mask": "1"}}, "the number of the --image"),
    ("openai", {"extra": {"mask": "1"}, "references": ("https://a/1",)}, "at least one other"),
    ("openai", {"extra": {"mask": "3"}, "references": ("https://a/1",) * 2}, "the number of the --image"),
    ("openai", {"extra": {"mask": "/etc/passwd"}, "references": ("https://a/1",) * 2}, "mask is 1 to 16"),
    ("openai", {"extra": {"stream": "true"}}, "no option 'stream'"),
    ("generic", {"extra": {"stream": "true"}}, "no option 'stream'"),
    ("openai", {"extra": {"mask": "2", "output_format": "gif"}, "references": ("https://a/1",) * 2}, "without a mask"),
    ("ark", {"width": 1024, "height": 1024}, "at least 3686400 pixels"),
    ("ark", {"ratio": "1:1", "resolution": "1k"}, "at least 3686400 pixels"),
    ("ark", {"ratio": "17:1"}, "between 1:16 and 16:1"),
    ("ark", {"seed": 1}, "the model doubao-seedream-4-5-251128 takes no seed"),
    ("ark", {"seed": 2**31, "model": "seedream-3-0-t2i-250415"}, "0 to 2147483647"),
    ("ark", {"references": ("https://a/b.png",), "model": "doubao-seedream-3-0-t2i"}, "makes pictures from text alone"),
    ("ark", {"references": ("https://a/b.png",) * 15}, "at most 14"),
    ("ark", {"count": 13, "references": ("https://a/b.png",) * 3}, "1 to 12 pictures"),
    ("localai", {"prompt": "a|b", "negative": "c", "model": "drawer"}, "not both"),
    ("localai", {"model": ""}, "needs the name of a model"),
    ("xinference", {"model": "m", "references": ("https://a/b.png",)}, "from files, not from addresses"),
    ("together", {"references": (__file__,)}, "must be addresses"),
    ("together", {"extra": {"disable_safety_checker": "maybe"}}, "true or false"),
    ("together", {"extra": {"guidance_scale": "nan"}}, "cannot be written as JSON"),
    ("together", {"extra": {"image_loras": "{"}}, "is JSON"),
    ("together", {"extra": {"image_loras": "[" * 100_000}}, "is JSON"),
    ("together", {"extra": {"image_loras": "[NaN]"}}, "cannot be written as JSON"),
    ("together", {"extra": {"steps": "4.5"}}, "a whole number"),
    ("xai", {"width": 1024, "height": 1024}, "not pixels"),
    ("xai", {"ratio": "5:4"}, "has no ratio '5:4'"),
    ("xai", {"resolution": "4k"}, "has no resolution '4k'"),
    ("recraft", {"width": 1000, "height": 1000}, "it has 1024x1024"),
    ("recraft", {"references": ("https://a/b.png",)}, "makes pictures from text alone"),
    ("recraft", {"ratio": "9:1"}, "it has 1024x1024"),
    ("generic", {"ratio": "99999:1"}, "no size comes near"),
    ("openai", {"references": (__file__,)}, "is not a PNG"),
)


@pytest.mark.parametrize(("dialect", "spec", "rule"), REFUSED)
def test_what_the_service_would_refuse_is_not_sent(dialect: str, spec: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadRequest) as refused:
        unconnected(dialect).check(replace(image_request(), **spec))
    assert rule in f"{refused.value.message}; {refused.value.hint}"


@pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4", "21:9"])
@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name not in ("xai", "recraft")])
def test_ratios_suit_everybody_and_every_size_is_near_and_legal(dialect: str, ratio: str) -> None:
    provider = unconnected(dialect)
    for resolution in ("", "2k"):
        request = image_request(ratio=ratio, resolution=resolution, model="drawer" if dialect in LOCAL else "")
        provider.check(request)
        body = provider._body(request)
        sides = body.get("size") or f"{body['width']}x{body['height']}"
        width, height = (int(side) for side in re.split("[x*]", sides))
        wide, high = (int(part) for part in ratio.split(":"))
        assert width / height == pytest.approx(wide / high, rel=0.03)
        provider.check(replace(request, ratio="", resolution="", width=width, height=height))


def test_how_many_pictures_one_request_makes() -> None:
    assert unconnected("openai").max_images(image_request()) == 1
    assert unconnected("openai", stream="off").max_images(image_request()) == 10
    assert unconnected("openai").max_images(image_request(extra={"output_format": "gif"})) == 10
    assert unconnected("openai").max_images(image_request(extra={"output_format": "svg"})) == 1
    assert unconnected("ark").max_images(image_request()) == 15
    assert unconnected("ark").max_images(image_request(references=("https://a/b.png",) * 3)) == 12
    assert unconnected("ark", stream="on").max_images(image_request()) == 1
    assert unconnected("ark").max_images(image_request(model="doubao-seedream-5-0-pro-260628")) == 1
    assert unconnected("litellm").max_images(image_request()) == 10
    assert unconnected("openai").expected_images(image_request()) == 1


def test_versions_have_names() -> None:
    assert unconnected("ark").model_for_version("4.0") == "doubao-seedream-4-0-250828"
    assert unconnected("byteplus").model_for_version("5.0") == "seedream-5-0-260128"
    assert unconnected("ark").model_for_version("9.9") is None
    assert unconnected("openai").model_for_version("4.0") is None


# Settings


@pytest.mark.parametrize(
    ("settings", "home", "model", "variable"),
    [
        ({}, "https://api.openai.com/v1", "gpt-image-2", "OPENAI_API_KEY"),
        ({"base_url": "https://api.openai.com"}, "https://api.openai.com/v1", "gpt-image-2", "OPENAI_API_KEY"),
        ({"base_url": "https://api.x.ai/v1/"}, "https://api.x.ai/v1", "grok-imagine-image", "XAI_API_KEY"),
        (
            {"base_url": "https://ark.cn-beijing.volces.com/api/v3"},
            "https://ark.cn-beijing.volces.com/api/v3",
            "doubao-seedream-4-5-251128",
            "ARK_API_KEY",
        ),
        (
            {"base_url": "https://ark.eu-west.bytepluses.com"},
            "https://ark.eu-west.bytepluses.com/api/v3",
            "seedream-4-5-251128",
            "ARK_API_KEY",
        ),
        ({"base_url": "http://192.168.0.7:8000"}, "http://192.168.0.7:8000/v1", "", ""),
        ({"base_url": "https://api.openai.com.evil.example/v1"}, "https://api.openai.com.evil.example/v1", "", ""),
        ({"dialect": "sd-server"}, "http://127.0.0.1:1234/v1", "", ""),
        ({"dialect": "together", "model": "mine"}, "https://api.together.ai/v1", "mine", "TOGETHER_API_KEY"),
    ],
)
def test_what_follows_from_the_dialect(settings: dict[str, str], home: str, model: str, variable: str) -> None:
    found = Settings(**settings)  # type: ignore[arg-type]  # all of these are texts
    assert (found.base_url, found.model, found.variable_for("api_key")) == (home, model, variable)
    assert found.variable_for("model") == ""
    assert replace(found, timeout=1.0).base_url == home


@pytest.mark.parametrize(
    "wrong", [{"dialect": "opnai"}, {"stream": "yes"}, {"previews": 4}, {"base_url": "http://[::1"},
              {"dialect": "litellm", "stream": "on"}, {"dialect": "xai", "stream": "on"}],
)  # fmt: skip
def test_settings_that_mean_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)


@pytest.mark.parametrize("headers", [{"x y": "z"}, {"x": "schlüssel"}, {"x": "a\r\nb: c"}, {"": "x"}])
def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        unconnected("openai", headers=headers)


def test_dropping_stops_only_where_the_server_notices() -> None:
    assert {name for name in DIALECTS if unconnected(name).stops_when_dropped} == {"vllm-omni"}


# References


@only("openai", "litellm", "sglang", "vllm-omni", "generic")
async def test_references_go_as_files(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=(picture, picture)))
    request = server.requests_of("submit")[-1]
    assert request.path.endswith("/images/edits")
    files = [part for part in request.parts() if part.filename is not None]
    assert [(part.name, part.filename, part.content_type) for part in files] == [
        ("image[]", "image.png", "image/png")
    ] * 2
    assert files[0].data == PICTURE
    assert request.form()["prompt"] == "a cat"
    assert request.form()["n"] == "1"
    await submitted(provider, image_request(references=(picture,)))
    (only_one,) = [part for part in server.requests_of("submit")[-1].parts() if part.filename is not None]
    assert (only_one.name, only_one.data) == ("image", PICTURE)


@only("openai")
async def test_a_mask_is_one_of_the_pictures(provider: OpenAI, server: ImageServer, picture: str) -> None:
    request = image_request(references=(picture, picture), extra={"mask": "2"})
    await submitted(provider, request)
    files = [part for part in server.requests_of("submit")[-1].parts() if part.filename is not None]
    assert [(part.name, part.filename) for part in files] == [("image", "image.png"), ("mask", "mask.png")]
    assert "mask" not in server.requests_of("submit")[-1].form() or files[1].name == "mask"
    await submitted(provider, replace(request, references=("https://example.org/a.png", picture)))
    body = sent(server)
    assert [one["image_url"] for one in body["images"]] == ["https://example.org/a.png"]
    assert body["mask"]["image_url"].startswith("data:image/png;base64,")


@only("openai")
async def test_a_mask_is_a_png(provider: OpenAI, server: ImageServer, picture: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(Pictures("jpeg").make("mask", 1))
    error = await refused(provider, image_request(references=(picture, str(tmp_path / "a.png")), extra={"mask": "2"}))
    assert isinstance(error, BadRequest)
    assert not server.counts["submit"]


@only("openai")
async def test_what_a_form_has_no_field_for_goes_as_json(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=(picture,), extra={"moderation": "low"}))
    assert sent(server)["moderation"] == "low"
    assert sent(server)["images"][0]["image_url"].startswith("data:image/png;base64,")


@only("openai")
async def test_what_belongs_to_an_svg_gets_names_of_its_own_in_a_form(
    provider: OpenAI, server: ImageServer, picture: str
) -> None:
    extra = {"output_format": "svg", "svg_model": "gpt-6", "svg_effort": "low"}
    await submitted(provider, image_request(references=(picture,), extra=extra))
    form = server.requests_of("submit")[-1].form()
    assert (form["svg[model]"], form["svg[reasoning][effort]"]) == ("gpt-6", "low")
    await submitted(provider, image_request(extra=extra))
    assert sent(server)["svg"] == {"model": "gpt-6", "reasoning": {"effort": "low"}}


@only("openai")
async def test_faithful_to_references_where_the_model_can_be_told(
    provider: OpenAI, server: ImageServer, picture: str
) -> None:
    await submitted(
        provider, image_request(model="gpt-image-1.5", references=(picture,), extra={"input_fidelity": "high"})
    )
    assert server.requests_of("submit")[-1].form()["input_fidelity"] == "high"


@only("openai")
async def test_addresses_of_references_go_as_json(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=("https://example.org/a.png", picture)))
    assert server.requests_of("submit")[-1].path.endswith("/images/edits")
    first, second = sent(server)["images"]
    assert first == {"image_url": "https://example.org/a.png"}
    assert second["image_url"].startswith("data:image/png;base64,iVBOR")


@only("ark", "byteplus")
async def test_references_at_ark(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=(picture,)))
    assert sent(server)["image"].startswith("data:image/png;base64,")
    await submitted(provider, image_request(references=(picture, "https://example.org/a.png")))
    assert sent(server)["image"][1] == "https://example.org/a.png"


@only("xai")
async def test_references_at_xai(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=(picture,)))
    assert server.requests_of("submit")[-1].path.endswith("/images/edits")
    assert sent(server)["image"]["url"].startswith("data:image/png;base64,")
    await submitted(provider, image_request(references=(picture, picture)))
    assert len(sent(server)["images"]) == 2


@only("localai", "sd-server")
async def test_references_as_texts(provider: OpenAI, server: ImageServer, picture: str) -> None:
    await submitted(provider, image_request(references=(picture,)))
    assert base64.b64decode(sent(server)["ref_images"][0]) == PICTURE


@only("openai")
async def test_a_reference_that_is_no_picture(provider: OpenAI, server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    error = await refused(provider, image_request(references=(str(tmp_path / "a.png"),)))
    assert isinstance(error, BadRequest)
    assert not server.counts["submit"]


# Pictures and what stands in their place


@only("generic", "openai")
@pytest.mark.parametrize("broken", ["%%%", "iVBORw0K*", "", None, 7])
async def test_where_the_picture_is_broken_its_address_is_taken(
    provider: OpenAI, server: ImageServer, broken: object
) -> None:
    server.fail("submit", Reply.json({"data": [{"b64_json": broken, "url": "https://example.org/a.png"}]}))
    assert await pictures_of(provider, await submitted(provider)) == (RemoteImage("https://example.org/a.png"),)


@only("generic", "openai", "ark", "xai", "together")
async def test_what_the_service_tells_of_its_work_is_kept(provider: OpenAI, server: ImageServer) -> None:
    item = {"b64_json": base64.b64encode(PICTURE).decode(), "revised_prompt": "a tabby\ncat"}
    body = {"data": [item], "model": "drawer-2", "seed": 7, "usage": {"total_tokens": 30}}
    server.fail("submit", Reply.json(body, x_request_id="req_1"))
    reply = await submitted(provider)
    expected = {"model": "drawer-2", "seed": 7, "revised_prompt": "a tabby cat", "request_id": "req_1", "tokens": 30}
    assert reply.facts == expected


@only("openai")
async def test_a_stream_tells_of_its_work_as_well(provider: OpenAI, server: ImageServer) -> None:
    reply = await submitted(provider)
    assert sent(server)["stream"] is True
    assert reply.facts == {"tokens": 30}


@only("litellm", "generic", "localai")
async def test_forms_of_a_picture(provider: OpenAI, server: ImageServer) -> None:
    for tag, kind in (("url", RemoteImage), ("b64", InlineImage), ("inline", InlineImage), ("relative", RemoteImage)):
        (image,) = await pictures_of(provider, await submitted(provider, image_request(f"#{tag}")))
        assert isinstance(image, kind)
        assert not isinstance(image, RemoteImage) or image.url.startswith(server.url)


@only("xinference")
async def test_a_path_on_the_server_is_no_picture(provider: OpenAI) -> None:
    assert isinstance(await refused(provider, image_request("#paths")), GenerationFailed)


@only("ark")
async def test_partly_refused(provider: OpenAI) -> None:
    reply = await submitted(provider, image_request("#partial", count=3))
    assert isinstance(reply, Ready)
    assert len(reply.images) == 2
    assert reply.note.startswith("1 of 3 refused: the output image may contain")
    assert isinstance(await refused(provider, image_request("#partial")), Moderated)


@only("litellm", "generic", "recraft", "xai")
async def test_no_pictures_at_all(provider: OpenAI) -> None:
    assert isinstance(await refused(provider, image_request("#none")), GenerationFailed)


@only("openai")
async def test_the_stage_of_a_moderation_is_told(provider: OpenAI) -> None:
    error = await refused(provider, image_request("#moderated"))
    assert "stage: output; violence" in error.message


ERRORS: tuple[tuple[int, Any, type[TaskError]], ...] = (
    (400, {"error": {"code": "billing_hard_limit_reached", "message": "Billing hard limit"}}, OutOfCredits),
    (400, {"error": {"code": "content_policy_violation"}}, Moderated),
    (400, {"error": {"code": "InvalidParameter.Size", "message": "size"}}, BadRequest),
    (400, {"error": {"code": "OutputImageSensitiveContentDetected.Policy"}}, Moderated),
    (400, {"error": {"type": "budget_exceeded", "message": "Budget has been exceeded!", "code": "400"}}, OutOfCredits),
    (400, {"code": "not_enough_credits", "message": "top up"}, OutOfCredits),
    (400, {"error": {"type": "no_db_connection", "message": "No connected db.", "code": "400"}}, Unauthorized),
    (503, {"error": {"type": "no_db_connection", "message": "DB not connected", "code": "503"}}, Busy),
    (400, {"error": {"type": "expired_key", "message": "Expired Key", "code": "400"}}, Unauthorized),
    (401, {"error": {"type": "token_not_found_in_db", "message": "Invalid proxy server token"}}, Unauthorized),
    (400, {"error": {"type": "key_model_access_denied", "message": "key not allowed"}}, Unauthorized),
    (401, {"error": {"type": "team_model_access_denied", "message": "team not allowed"}}, Unauthorized),
    (400, {"error": {"message": "litellm.ContentPolicyViolationError: blocked", "code": "400"}}, Moderated),
    (400, {"error": {"message": "x", "code": "content_policy_violation_error"}}, Moderated),
    (
        400,
        {"error": {"message": "litellm.BadRequestError: User location is not supported", "code": "400"}},
        Unauthorized,
    ),
    (403, {"error": {"code": "unsupported_country_region_territory", "message": "Country"}}, Unauthorized),
    (401, {"error": {"code": "AuthenticationError"}}, Unauthorized),
    (403, {"error": {"code": "AccountOverdueError"}}, OutOfCredits),
    (403, {"error": {"code": "OperationDenied.ServiceNotOpen"}}, Unauthorized),
    (404, {"error": {"code": "InvalidEndpointOrModel.NotFound"}}, BadRequest),
    (404, {"error": {"code": "ModelNotOpen"}}, BadRequest),
    (404, {"detail": "Not Found"}, BadRequest),
    (409, {"detail": "conflict"}, BadRequest),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "Input should be less than or equal to 10"}]}, BadRequest),
    (429, {"error": {"code": "QuotaExceeded"}}, OutOfCredits),
    (429, {"error": {"code": "SetLimitExceeded"}}, OutOfCredits),
    (429, {"error": {"code": "insufficient_quota"}}, OutOfCredits),
    (429, {"error": {"type": "insufficient_quota", "code": None}}, OutOfCredits),
    (429, {"error": {"code": "ModelAccountIpmRateLimitExceeded"}}, RateLimited),
    (429, {"error": {"code": "ServerOverloaded"}}, Busy),
    (429, {"error": {"code": "RequestBurstTooFast"}}, RateLimited),
    (429, {"error": "job queue is full"}, Busy),
    (429, {}, RateLimited),
    (499, {"error": {"code": "RequestCanceled"}}, GenerationFailed),
    (500, {"error": {"code": "InternalServiceError"}}, Uncertain),
    (500, {"error": {"code": "rate_limit_exceeded"}}, Uncertain),
    (500, {"error": {"code": "moderation_blocked"}}, Moderated),
    (503, {"error": {"code": "model_loading"}}, Busy),
    (503, {"error": "oh"}, Busy),
    (408, {}, Uncertain),
    (200, {"error": {"code": "InternalServiceError", "message": "no"}}, GenerationFailed),
    (200, {"data": None, "error": "sorry"}, GenerationFailed),
    (200, {"data": [], "block_reason": "violence"}, Moderated),
    (200, {"data": []}, GenerationFailed),
    (200, {"data": [{"b64_json": ""}]}, GenerationFailed),
    (200, {"created": 1}, Uncertain),
    (200, [], Uncertain),
    (200, {"data": [{"error": {"code": "InputImageSensitiveContentDetected"}}]}, Moderated),
)


@only("generic", "openai", "ark")
@pytest.mark.parametrize(("status", "body", "meaning"), ERRORS)
async def test_errors(provider: OpenAI, server: ImageServer, status: int, body: Any, meaning: type[TaskError]) -> None:
    server.fail("submit", Reply.json(body, status))
    assert type(await refused(provider)) is meaning


@only("generic")
async def test_hints_tell_a_wrong_path_from_a_wrong_model(provider: OpenAI, server: ImageServer) -> None:
    server.fail("submit", Reply.json({"detail": "Not Found"}, 404))
    assert "base_url" in (await refused(provider)).hint
    server.fail("submit", Reply.json({"error": {"code": "ModelNotOpen"}}, 404))
    assert "imagegen models" in (await refused(provider)).hint


@only("generic", "openai")
async def test_a_place_that_is_not_served_is_no_matter_of_the_prompt(provider: OpenAI, server: ImageServer) -> None:
    error = {"message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}
    server.fail("submit", Reply.json({"error": error}, 400))
    found = await refused(provider)
    assert isinstance(found, Unauthorized)
    assert "place" in found.hint


@only("generic", "openai", "litellm")
@pytest.mark.parametrize(
    ("status", "body", "unspent"),
    [
        (401, {"error": {"code": "invalid_api_key"}}, True),
        (400, {"error": {"type": "expired_key"}}, True),
        (402, {}, True),
        (429, {"error": {"code": "insufficient_quota"}}, True),
        (500, {"error": {"code": "insufficient_quota"}}, False),
        (200, {"data": [], "error": {"code": "insufficient_quota"}}, False),
    ],
)
async def test_only_a_refusal_before_any_work_may_go_elsewhere(
    provider: OpenAI, server: ImageServer, status: int, body: Any, *, unspent: bool
) -> None:
    server.fail("submit", Reply.json(body, status))
    assert (await refused(provider)).unspent is unspent


@only("openai", "ark", "generic", "xai", "xinference")
async def test_wrong_types_anywhere(provider: OpenAI, server: ImageServer) -> None:
    """Nothing outside of the tree of errors escapes, whatever JSON holds."""
    for wrong in WRONG:
        item = {"b64_json": wrong, "url": wrong, "error": wrong}
        inner = {"code": wrong, "type": wrong, "message": wrong, "moderation_details": wrong}
        deeper = {"moderation_details": {"moderation_stage": wrong, "categories": [wrong]}}
        bodies = [wrong, {"data": wrong}, {"data": [wrong]}, {"data": [item]}, {"error": inner}, {"error": deeper}]
        bodies += [{"data": [{"url": wrong}]}, {"data": [{"b64_json": wrong}]}, {"error": wrong, "detail": wrong}]
        for body in bodies:
            for status in (200, 400, 429, 500):
                server.fail("submit", escaped(body, status))
                reply = await tried(provider)
                assert isinstance(reply, Ready | TaskError)
                assert not isinstance(reply, TaskError) or reply.message.encode()


async def tried(provider: OpenAI) -> Accepted | Ready | TaskError:
    try:
        return await submitted(provider)
    except TaskError as error:
        return error


# Streams


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def parsed(*parts: bytes) -> list[bytes]:
    return [data async for data in events(chunks(*parts))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": ping\n\n: pong\nevent: x\nid: 1\nretry: 5\ndata:a\n\n", [b"a"]),
        (b"data: a\ndata:  b\ndata\n\n", [b"a\n b\n"]),
        (b"data: a\n\ndata: no empty line", [b"a", b"no empty line"]),
        (b"\n\n\n", []),
        (b"", []),
        (b"nonsense\nmore: nonsense\n\n", []),
        ("data: 猫\n\n".encode(), ["猫".encode()]),
    ],
)
async def test_events_are_read_however_they_are_cut(text: bytes, expected: list[bytes]) -> None:
    assert await parsed(text) == expected
    assert await parsed(*(text[at : at + 1] for at in range(len(text)))) == expected
    for at in range(len(text)):
        assert await parsed(text[:at], b"", text[at:]) == expected


@only("openai")
async def test_previews_are_told(provider: OpenAI, server: ImageServer, clients: Clients, dialect: str) -> None:
    reports: list[Working] = []
    provider = OpenAI(settings_for(dialect, server, previews=3), clients)
    reply = await provider.submit(image_request(), None, reports.append)
    assert isinstance(reply, Ready)
    assert len(reply.images) == 1
    assert [whose(working.preview or b"")[-3:] for working in reports] == ["100", "101", "102"]
    assert all(working.fraction is None for working in reports)


@only("openai")
async def test_an_edit_streams_too(provider: OpenAI, server: ImageServer, picture: str) -> None:
    reply = await submitted(provider, image_request(references=(picture,)))
    assert isinstance(reply, Ready)
    assert server.requests_of("submit")[-1].form()["stream"] == "true"


@only("openai", "ark")
async def test_streams_that_do_not_end_well(server: ImageServer, clients: Clients, dialect: str) -> None:
    provider = OpenAI(settings_for(dialect, server, stream="on"), clients)
    assert isinstance(await refused(provider, image_request("#error")), GenerationFailed)
    if dialect == "openai":
        assert isinstance(await refused(provider, image_request("#cut")), Uncertain)
    else:
        reply = await submitted(provider, image_request("#cut"))
        assert isinstance(reply, Ready)
        assert isinstance(await refused(provider, image_request("#partial")), Moderated)


@only("openai")
async def test_a_gateway_that_does_not_stream(provider: OpenAI) -> None:
    reply = await submitted(provider, image_request("#plain"))
    assert isinstance(reply, Ready)
    assert len(reply.images) == 1


def stream_of(*parts: bytes, fault: Fault | None = None) -> Reply:
    return Reply(200, b"".join(parts), {"content-type": "text/event-stream; charset=utf-8"}, fault=fault)


COMPLETED = {"type": "image_generation.completed", "b64_json": base64.b64encode(Pictures().make("a", 1)).decode()}
SUCCEEDED = {"type": "image_generation.partial_succeeded", "image_index": 0, "url": "https://example.org/a.png"}


@only("openai")
@pytest.mark.parametrize(
    ("parts", "meaning"),
    [
        ([sse(COMPLETED)], Ready),
        ([sse(COMPLETED)[:-2]], Ready),
        ([sse(COMPLETED), b"garbage"], Ready),
        ([b"data: {not json}\n\n", b"data: 7\n\n", sse({"type": "keep.alive"}), sse(COMPLETED)], Ready),
        ([sse(SUCCEEDED), sse({"type": "image_generation.completed"})], Ready),
        ([sse(SUCCEEDED), sse({"type": "error", "error": {"message": "the rest failed"}})], Ready),
        ([sse(SUCCEEDED)], Ready),
        ([sse({"type": "image_generation.completed"})], GenerationFailed),
        ([b"data: [DONE]\n\n"], Uncertain),
        ([], Uncertain),
        ([sse(COMPLETED)[:-9]], Uncertain),
        ([sse({"type": "error", "error": {"code": "moderation_blocked"}})], Moderated),
        ([sse({"type": "error", "code": "rate_limit_exceeded", "message": "slow"})], GenerationFailed),
        ([b'data: {"error": "no luck"}\n\n'], GenerationFailed),
        ([b'data: {"type": "image", "data": [{"url": "https://example.org/a.png"}]}\n\n'], Ready),
    ],
)
async def test_events_and_what_they_mean(
    provider: OpenAI, server: ImageServer, parts: list[bytes], meaning: type[Any]
) -> None:
    server.fail("submit", stream_of(*parts))
    assert type(await tried(provider)) is meaning


@only("openai")
async def test_a_picture_that_came_before_the_cut_is_kept(provider: OpenAI, server: ImageServer) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield sse(SUCCEEDED)
        raise ConnectionError

    server.fail("submit", Reply(200, headers={"content-type": "text/event-stream"}, stream=broken()))
    reply = await submitted(provider)
    assert isinstance(reply, Ready)
    assert "lost the connection" in reply.note


@only("openai")
@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.CLOSE_AFTER, Fault.RESET_AFTER])
async def test_a_stream_that_breaks(provider: OpenAI, server: ImageServer, fault: Fault) -> None:
    server.fail("submit", fault)
    assert isinstance(await tried(provider), Uncertain)


@only("openai", "ark")
async def test_wrong_types_in_a_stream(server: ImageServer, clients: Clients, dialect: str) -> None:
    provider = OpenAI(settings_for(dialect, server, stream="on"), clients)
    kinds = ("partial_image", "partial_succeeded", "partial_failed", "completed")
    for wrong in WRONG:
        for kind in kinds:
            body = {"type": f"image_generation.{kind}", "b64_json": wrong, "url": wrong, "error": wrong, "data": wrong}
            parts = [sse(body), sse({"type": "x", "error": wrong}), sse({"type": "y", "data": [wrong]})]
            server.fail("submit", stream_of(*parts, b"data: " + json.dumps({"type": wrong}).encode() + b"\n\n"))
            assert isinstance(await tried(provider), Ready | TaskError)


@pytest.mark.parametrize("name", [*ANSWERS, *BOMBS])
async def test_a_hostile_answer_where_a_stream_is_due(clients: Clients, name: str) -> None:
    with OneAnswer((ANSWERS | BOMBS)[name]()) as service:
        provider = OpenAI(Settings(dialect="openai", base_url=service.url, api_key=Secret(KEY)), clients)
        reply = await tried(provider)
    assert isinstance(reply, Ready | TaskError)
    assert not isinstance(reply, Unavailable), "it was sent: it may have been accepted"


# sd-server's jobs


@only("sd-server")
async def test_a_job_from_the_queue_to_the_picture(provider: OpenAI, server: ImageServer) -> None:
    server.polls = 2
    reply = await submitted(provider, image_request(count=2))
    assert isinstance(reply, Accepted)
    first, second = [await provider.poll(reply.job, ignored) for _ in range(2)]
    assert first == Working(queue_position=2, note="queued")
    assert second == Working(queue_position=0, note="generating")
    ready = await provider.poll(reply.job, ignored)
    assert isinstance(ready, Ready)
    assert len(ready.images) == 2


@only("sd-server")
async def test_a_job_that_fails_dies_or_was_never_there(provider: OpenAI, server: ImageServer) -> None:
    reply = await submitted(provider, image_request("#failing"))
    assert isinstance(reply, Accepted)
    with pytest.raises(GenerationFailed, match="empty results"):
        await provider.poll(reply.job, ignored)
    server.jobs[reply.job.id].state = "expired"
    with pytest.raises(Expired, match="410"):
        await provider.poll(reply.job, ignored)
    with pytest.raises(Expired, match="404"):
        await provider.poll(Job("job_nobody knows/../x"), ignored)


@only("sd-server")
@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "queued"])
async def test_an_answer_about_another_job_is_a_strike(provider: OpenAI, server: ImageServer, status: str) -> None:
    reply = await submitted(provider)
    assert isinstance(reply, Accepted)
    body = {"id": "job_another", "status": status, "result": {"images": [{"b64_json": "aaaa"}]}, "error": "no"}
    server.fail("any", Reply.json(body), times=2)
    with pytest.raises(ServerTrouble, match="about another job") as raised:
        await provider.poll(reply.job, ignored)
    assert not raised.value.final
    with pytest.raises(ServerTrouble, match="about another job"):
        await provider.cancel(reply.job)


@only("sd-server")
async def test_cancels_of_jobs(provider: OpenAI, server: ImageServer) -> None:
    server.polls = 5
    waiting, running = [await submitted(provider) for _ in range(2)]
    assert isinstance(waiting, Accepted)
    assert isinstance(running, Accepted)
    assert await provider.cancel(waiting.job) is CancelOutcome.STOPPED
    with pytest.raises(GenerationFailed):
        await provider.poll(waiting.job, ignored)
    for _ in range(3):
        await provider.poll(running.job, ignored)
    assert await provider.cancel(running.job) is CancelOutcome.GOES_ON
    server.end_job(server.jobs[running.job.id])
    assert await provider.cancel(running.job) is CancelOutcome.TOO_LATE
    assert await provider.cancel(Job("nobody")) is CancelOutcome.TOO_LATE


@only("sd-server")
async def test_a_full_queue_is_busy(provider: OpenAI, server: ImageServer) -> None:
    server.fail("submit", Reply.json({"error": "job queue is full"}, 429))
    assert isinstance(await refused(provider), Busy)


@only("sd-server")
async def test_an_old_server_has_no_queue(provider: OpenAI, server: ImageServer, picture: str) -> None:
    server.has_jobs = False
    spec = image_request(count=2, seed=5, width=512, height=512, references=(picture,), extra={"output_format": "jpeg"})
    reply = await submitted(provider, spec)
    assert isinstance(reply, Ready)
    assert len(reply.images) == 2
    body = sent(server)
    words, _, rest = body.pop("prompt").partition(" <sd_cpp_extra_args>")
    assert (words, body) == ("a cat", {"n": 2, "size": "512x512", "output_format": "jpeg"})
    arguments = json.loads(rest.removesuffix("</sd_cpp_extra_args>"))
    assert arguments["seed"] == 5
    assert len(arguments["ref_images"]) == 1
    await submitted(provider)
    assert server.counts["POST /sdcpp/v1/img_gen"] == 1


@only("sd-server")
async def test_wrong_types_of_jobs(provider: OpenAI, server: ImageServer) -> None:
    for wrong in WRONG:
        server.fail("submit", escaped({"id": wrong, "queue_position": wrong, "status": wrong}, 202))
        assert isinstance(await tried(provider), Accepted | TaskError)
        job: dict[str, Any] = {"status": "completed", "result": wrong, "error": wrong, "queue_position": wrong}
        bodies: list[Any] = [wrong, job, job | {"status": wrong}, job | {"status": "failed"}]
        bodies += [job | {"result": {"images": wrong}}, job | {"result": {"images": [wrong, {"b64_json": wrong}]}}]
        for body in bodies:
            server.fail("query", escaped(body, 200))
            with suppress(TaskError):
                assert isinstance(await provider.poll(Job("a"), ignored), Working | Ready)
            server.fail("cancel", escaped(body, 200))
            assert isinstance(await provider.cancel(Job("a")), CancelOutcome)


@only("openai", "generic")
async def test_what_has_no_jobs_says_so(provider: OpenAI) -> None:
    assert provider.client_job(image_request()) is None
    assert await provider.cancel(Job("a")) is CancelOutcome.GOES_ON
    with pytest.raises(Expired):
        await provider.poll(Job("a"), ignored)


# Xinference's abort


@only("xinference")
async def test_an_abort_ends_the_request(provider: OpenAI, server: ImageServer) -> None:
    server.seconds = 30.0
    request = image_request(seed=3)
    client_job = provider.client_job(request)
    assert client_job is not None
    waiting = asyncio.ensure_future(provider.submit(request, client_job, ignored))
    while client_job.id not in server.jobs:  # noqa: ASYNC110 - the service lives in another thread
        await asyncio.sleep(0)
    assert json.loads(sent(server)["kwargs"]) == {"request_id": client_job.id, "seed": 3}
    assert await provider.cancel(client_job) is CancelOutcome.STOPPED
    with pytest.raises(GenerationFailed, match="stopped at the server"):
        await waiting
    assert await provider.cancel(client_job) is CancelOutcome.GOES_ON
    with pytest.raises(Uncertain):
        await provider.poll(client_job, ignored)


# The vendors' own descriptions


def complaint(document: dict[str, Any], place: str, value: Any) -> str:
    """Why a value does not fit the schema at `place`, a path such as components/schemas/Image."""
    jsonschema = pytest.importorskip("jsonschema")
    parts = {key: document[key] for key in ("components", "definitions", "paths") if key in document}
    schema: dict[str, Any] = {"$ref": f"#/{place}"} | parts
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=str)
    return "; ".join(error.message for error in errors)


START_BATCH = "paths/~1images~1generations/post/requestBody/content/application~1json/schema"
DESCRIBED = {
    "openai": ("openai-openapi.yaml", "components/schemas/CreateImageRequest", "components/schemas/ImagesResponse"),
    "ark": (
        "comfy-api-proxy-openapi.json",
        "components/schemas/BytePlusImageGenerationRequest",
        "components/schemas/BytePlusImageGenerationResponse",
    ),
    "xai": (
        "comfy-api-proxy-openapi.json",
        "components/schemas/XAIImageGenerationRequest",
        "components/schemas/XAIImageGenerationResponse",
    ),
    "together": ("together-openapi.yaml", START_BATCH, "components/schemas/ImageResponse"),
    "recraft": (
        "recraft-openapi.yaml",
        "components/schemas/GenerateImageJSONRequest",
        "components/schemas/GenerateImageResponse",
    ),
    "localai": ("localai-swagger.yaml", "definitions/schema.OpenAIRequest", "definitions/schema.OpenAIResponse"),
}


@only(*DESCRIBED)
async def test_bodies_and_answers_fit_the_description(server: ImageServer, clients: Clients, dialect: str) -> None:
    file, request_place, response_place = DESCRIBED[dialect]
    document = description(file)
    provider = OpenAI(settings_for(dialect, server, stream="off"), clients)
    if dialect == "localai":
        document["definitions"]["schema.OpenAIRequest"]["required"] = []  # it says that every request needs a file
    for of, spec, _ in BODIES:
        if of == dialect:
            request = replace(image_request(**spec), model=spec.get("model", "").removeprefix("doubao-"))
            await submitted(provider, request)
            body = sent(server)
            if "model" in body:
                body["model"] = body["model"].removeprefix("doubao-")
            assert not complaint(document, request_place, body)
    answer = server._whole(Order({"prompt": "a cat", "n": 2}, [], edits=False), server.add_job("a", {}))
    assert not complaint(document, response_place, answer)


@only("openai")
async def test_events_fit_the_description(server: ImageServer) -> None:
    document = description("openai-openapi.yaml")
    job = server.add_job("a", {})
    partial = server._picture_event("image_generation.partial_image", job, 1) | {"partial_image_index": 0}
    assert not complaint(document, "components/schemas/ImageGenPartialImageEvent", partial)


@only("openai")
async def test_json_edits_fit_the_description(provider: OpenAI, server: ImageServer) -> None:
    document = description("openai-openapi.yaml")
    await submitted(provider, image_request(references=("https://example.org/a.png",)))
    assert not complaint(document, "components/schemas/EditImageBodyJsonParam", sent(server))


@only("xai")
async def test_edits_at_xai_fit_the_description(provider: OpenAI, server: ImageServer, picture: str) -> None:
    document = description("comfy-api-proxy-openapi.json")
    await submitted(provider, image_request(references=(picture, picture), ratio="1:1"))
    assert not complaint(document, "components/schemas/XAIImageEditRequest", sent(server))
    assert not complaint(document, "components/schemas/XAIImageEditRequest", sent(server) | {"images": []})


# From the command line


CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "openai"
dialect = "{dialect}"
base_url = "{url}"
api_key = "{key}"
model = "drawer"
concurrency = 0
poll = 0.05
"""


def arrived(server: ImageServer, word: str, process: "subprocess.Popen[str]") -> None:
    """Wait until a prompt with this word has reached the service."""
    for _ in range(600):
        if any(word in job.payload["prompt"] for job in list(server.jobs.values())):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(f"{word!r} never arrived: {server.counts}")


def test_a_list_from_the_command_line(tmp_path: Path) -> None:
    prompts = ["one cat", "two #bad", "three #moderated", "four #limited429", "five #never"]
    (tmp_path / "list.txt").write_text("\n".join(prompts))
    with ImageServer("xinference", pictures=Pictures("png", (16, 16))) as server:
        server.key = KEY
        studio = Program(tmp_path, CONFIG.format(dialect="xinference", url=server.base_url, key=KEY))
        process = studio.start("batch", "list.txt", "-p", "studio", "--progress", "plain")
        try:
            arrived(server, "five", process)
            cancelled = studio.run("cancel", "5")
            ended = finished(process)
        finally:
            process.kill()
        tasks = studio.tasks()
    output = f"{ended.out}{ended.err}{cancelled.out}{cancelled.err}{tasks}"
    assert ended.code == 1
    assert "stopped at the service" in cancelled.out
    assert [task["state"] for task in tasks] == ["done", "failed", "failed", "done", "cancelled"]
    assert [task["reason"] for task in tasks] == [None, "bad-request", "moderated", None, "cancelled"]
    assert len([path for path in studio.pictures() if path.suffix == ".png"]) == 2
    assert KEY not in output
    assert not any(KEY.encode() in path.read_bytes() for path in studio.home.rglob("history*"))
    assert len(server.jobs) == 3


def test_a_key_that_litellm_does_not_know_is_a_matter_of_settings(tmp_path: Path) -> None:
    with ImageServer("litellm") as server:
        body = {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}}
        server.fail("submit", Reply.json(body, 400), times=None)
        config = f'[providers.proxy]\nkind = "openai"\ndialect = "litellm"\nbase_url = "{server.base_url}"\n'
        program = Program(tmp_path, f'{config}api_key = "sk-x"\n')
        ended = program.run("run", "a cat", "-p", "proxy")
    assert ended.code == 3
    assert [task["reason"] for task in program.tasks()] == ["unauthorized"]


@pytest.mark.parametrize(
    ("body", "hint"),
    [({"detail": "Not Found"}, "usually ends in /v1"), ({"error": {"code": "ModelNotOpen"}}, "imagegen models")],
)
def test_a_providers_own_hint_reaches_the_person(tmp_path: Path, body: Any, hint: str) -> None:
    with ImageServer("generic") as server:
        server.fail("submit", Reply.json(body, 404), times=None)
        program = Program(tmp_path, f'[providers.own]\nkind = "openai"\nbase_url = "{server.base_url}"\n')
        ended = program.run("run", "a cat", "-p", "own")
        assert ended.code == 1
        assert hint in ended.err
        assert hint in program.run("show", "1").out
        assert hint in program.tasks()[0]["hint"]


def test_a_dialect_without_an_address_of_its_own_goes_to_no_other_vendor() -> None:
    homeless = [name for name, dialect in DIALECTS.items() if not dialect.home]
    for name in homeless:
        with pytest.raises(ConfigError, match="base_url is empty"):
            Settings(dialect=name)
    assert all(Settings(dialect=name).base_url for name in DIALECTS if name not in homeless)


@only("openai", "litellm")
@pytest.mark.parametrize(
    ("drew", "note"),
    [
        ("gpt-image-2", ""),
        ("openai/gpt-image-2-2026-04-23", ""),
        ("", ""),
        (7, ""),
        ("dall-e-3", "drawn by the model dall-e-3, not by gpt-image-2"),
        ("gpt-image-2-mini", "drawn by the model gpt-image-2-mini, not by gpt-image-2"),
    ],
)
async def test_another_model_than_asked_for_is_said(
    provider: OpenAI, server: ImageServer, drew: object, note: str
) -> None:
    body = {"data": [{"b64_json": base64.b64encode(PICTURE).decode()}], "model": drew}
    server.fail("submit", Reply.json(body))
    reply = await submitted(provider, image_request(model="gpt-image-2"))
    assert isinstance(reply, Ready)
    assert reply.note == note


# Costs


@pytest.mark.parametrize("dialect", ["openai"])
@pytest.mark.parametrize("stream", ["on", "off"])
async def test_tokens_are_told_by_sort(server: ImageServer, dialect: str, clients: Clients, stream: str) -> None:
    reply = await submitted(OpenAI(settings_for(dialect, server, stream=stream), clients))
    assert isinstance(reply, Ready)
    assert reply.tokens == {"text_in": 10, "image_in": 0, "text_out": 0, "image_out": 20}


@pytest.mark.parametrize("dialect", ["openai"])
async def test_tokens_without_their_sorts_are_not_told(server: ImageServer, provider: OpenAI, dialect: str) -> None:
    item = {"b64_json": base64.b64encode(PICTURE).decode()}
    whole = {"input_tokens": 10, "output_tokens": 20, "input_tokens_details": {"text_tokens": 4, "image_tokens": 6}}
    details = {"output_tokens_details": {"text_tokens": 5, "image_tokens": 15}}
    cases: list[tuple[Any, dict[str, int]]] = [
        (whole | details, {"text_in": 4, "image_in": 6, "text_out": 5, "image_out": 15}),
        (whole, {"text_in": 4, "image_in": 6, "text_out": 0, "image_out": 20}),
        (whole | {"input_tokens_details": None}, {}),
        (whole | {"output_tokens": "7"}, {}),
        (whole | {"output_tokens": -1}, {}),
        (whole | {"input_tokens_details": {"text_tokens": 4}}, {}),
    ]
    for usage, tokens in cases:
        server.fail("submit", Reply.json({"data": [item], "usage": usage}))
        reply = await submitted(OpenAI(replace(provider._settings, stream="off"), provider._clients))
        assert isinstance(reply, Ready)
        assert reply.tokens == tokens


@pytest.mark.parametrize(
    ("dialect", "cost"),
    [
        ("xai", "0.02usd"),
        ("recraft", "40credits"),
        ("litellm", "0.04usd"),
        ("generic", ""),
        ("openai", ""),
        ("together", ""),
    ],
)
async def test_a_dialect_that_tells_its_cost(provider: OpenAI, dialect: str, cost: str) -> None:
    reply = await submitted(provider)
    assert isinstance(reply, Ready)
    assert reply.cost == (parse_money(cost) if cost else None)


@pytest.mark.parametrize("dialect", ["generic"])
async def test_the_unit_of_a_gateways_cost_is_the_persons_word(
    server: ImageServer, dialect: str, clients: Clients
) -> None:
    reply = await submitted(OpenAI(settings_for(dialect, server, cost_unit="credits"), clients))
    assert isinstance(reply, Ready)
    assert reply.cost == parse_money("0.015credits")
    with pytest.raises(ConfigError):
        settings_for(dialect, server, cost_unit="gbp")


@pytest.mark.parametrize("dialect", ["litellm"])
@pytest.mark.parametrize("header", ["0.0", "0", "None", "", "nan", "-1", "1e99"])
async def test_a_proxy_that_knows_no_price_tells_none(
    server: ImageServer, provider: OpenAI, dialect: str, header: str
) -> None:
    body = {"data": [{"b64_json": base64.b64encode(PICTURE).decode()}]}
    head = {"content-type": "application/json", "x-litellm-response-cost": header}
    server.fail("submit", Reply(200, json.dumps(body).encode(), head))
    reply = await submitted(provider)
    assert isinstance(reply, Ready)
    assert reply.cost is None


@pytest.mark.parametrize("dialect", ["xai"])
async def test_a_refusal_that_is_charged_says_so(server: ImageServer, provider: OpenAI, dialect: str) -> None:
    usage = {"cost_in_usd_ticks": 200_000_000}
    server.fail("submit", Reply.json({"data": [], "block_reason": "violence", "usage": usage}))
    error = await refused(provider)
    assert (type(error), error.cost, error.charged) == (Moderated, parse_money("0.02usd"), True)


@pytest.mark.parametrize("dialect", ["ark"])
@pytest.mark.parametrize("stream", ["on", "off"])
async def test_ark_charges_what_it_drew(server: ImageServer, dialect: str, clients: Clients, stream: str) -> None:
    provider = OpenAI(settings_for(dialect, server, stream=stream), clients)
    reply = await submitted(
        provider, image_request("#partial" if stream == "off" else "a cat", count=3 if stream == "off" else 1)
    )
    assert isinstance(reply, Ready)
    assert reply.charged_images == (2 if stream == "off" else 1)


@pytest.mark.parametrize("dialect", ["xai", "recraft", "ark"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_cost_of_any_json_breaks_nothing(
    server: ImageServer, provider: OpenAI, dialect: str, wrong: object
) -> None:
    item = {"b64_json": base64.b64encode(PICTURE).decode()}
    usage = {"cost_in_usd_ticks": wrong, "generated_images": wrong, "input_tokens_details": wrong}
    for expected in ({"usage": usage, "credits": wrong}, {"usage": wrong}):
        server.fail("submit", escaped({"data": [item], **expected}))
        reply = await submitted(provider)
        assert isinstance(reply, Ready)
        assert reply.cost is None or reply.cost.micros == 0
        assert reply.charged_images is None
