import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from imagegen_cli.core.errors import (
    BadRequest,
    Expired,
    GenerationFailed,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import Working
from imagegen_cli.core.forms import suffix_of
from imagegen_cli.core.provider import Accepted, Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, InlineImage, Job, RemoteImage
from imagegen_cli.providers import load
from imagegen_cli.providers._comfyui_graph import DEFAULT, Graph, loads, offers, pictures, places_in, read, spread
from imagegen_cli.providers.comfyui import ComfyUI, Settings, _file, pixels
from tests.doubles.comfyui import ComfyServer, preview, tags_in
from tests.doubles.http import CONNECT, Fault, Job as Made, Pictures, Reply
from tests.doubles.pictures import whose
from tests.program import LIMIT, Program
from tests.suite import WRONG, Suite, accepted, description, escaped, ignored, image_request, owners, valid

pytestmark = pytest.mark.anyio

SUITE = Suite(ComfyUI, ComfyServer)
server, provider, picture = SUITE.fixtures()

PICTURE = Pictures().make("preview", 1)


async def ready(provider: ComfyUI, job: Job) -> Ready:
    reply = await provider.poll(job, ignored)
    assert isinstance(reply, Ready)
    return reply


def sent(server: ComfyServer) -> Any:
    return server.requests_of("submit")[-1].json()


def inputs(server: ComfyServer) -> dict[str, Any]:
    """Every input that went out, as "node.name"."""
    graph = sent(server)["prompt"]
    return {f"{id_}.{name}": value for id_, node in graph.items() for name, value in node["inputs"].items()}


def node(class_type: str, **values: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": values}


FLUX: Graph = {
    "1": node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default"),
    "2": node("CLIPTextEncode", text="old", clip=["9", 0]),
    "3": node("FluxGuidance", guidance=3.5, conditioning=["2", 0]),
    "4": node("BasicGuider", model=["1", 0], conditioning=["3", 0]),
    "5": node("RandomNoise", noise_seed=1),
    "6": node("KSamplerSelect", sampler_name="euler"),
    "7": node("EmptySD3LatentImage", width=512, height=512, batch_size=1),
    "8": node("SamplerCustomAdvanced", noise=["5", 0], guider=["4", 0], sampler=["6", 0], latent_image=["7", 0]),
    "10": node("SaveImage", images=["8", 0], filename_prefix="x"),
}
TWO_STAGES: Graph = {
    "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
    "2": node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
    "3": node("CLIPTextEncodeSDXL", text_g="", text_l="", width=1024, height=1024, clip=["1", 1]),
    "4": node("CLIPTextEncode", text="", clip=["2", 1]),
    "5": node("CLIPTextEncode", text="ugly", clip=["1", 1]),
    "6": node("ControlNetApplyAdvanced", positive=["3", 0], negative=["5", 0], strength=1.0),
    "12:7": node("KSamplerAdvanced", noise_seed=1, positive=["6", 0], negative=["6", 1]),
    "8": node("KSamplerAdvanced", noise_seed=["12:7", 0], positive=["4", 0], negative=["5", 0]),
    "9": node("LoadImage", image="a.png"),
    "99": node("FancySaver", samples=["8", 0]),
}
ZEROED: Graph = {
    "1": node("CLIPTextEncode", text="", clip=["9", 0]),
    "2": node("ConditioningZeroOut", conditioning=["1", 0]),
    "3": node("KSampler", seed=["7", 0], positive=["1", 0], negative=["2", 0]),
    "4": node("CLIPTextEncode", text=["5", 0]),
    "6": node("KSampler", seed=3, positive=["4", 0], negative=["6", 0]),
    "99": node("FancySaver", samples=["6", 0]),
}


# What goes out


async def test_it_is_found_by_its_kind() -> None:
    assert load("comfyui") is ComfyUI


async def test_the_built_in_graph_takes_everything_in_its_place(server: ComfyServer, provider: ComfyUI) -> None:
    request = image_request(
        "猫 🐈", negative="blurry", model="other.safetensors", width=512, height=768, seed=2**64 - 1, count=3
    )
    client_job = provider.client_job(request)
    await provider.submit(request, client_job, ignored)
    went = inputs(server)
    assert (went["6.text"], went["7.text"], went["4.ckpt_name"]) == ("猫 🐈", "blurry", "other.safetensors")
    assert (went["5.width"], went["5.height"], went["5.batch_size"]) == (512, 768, 3)
    assert went["3.seed"] == 2**64 - 1
    assert sent(server)["prompt_id"] == client_job.id == str(UUID(client_job.id))
    assert DEFAULT["6"]["inputs"]["text"] == ""


async def test_without_a_model_the_first_of_the_server_is_taken(server: ComfyServer, provider: ComfyUI) -> None:
    await accepted(provider)
    assert inputs(server)["4.ckpt_name"] == "dream.safetensors"
    assert await provider.models() == ("dream.safetensors", "other.safetensors")


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ([["a", "b"], {}], ("a", "b")),
        (["COMBO", {"options": ["a"]}], ("a",)),
        (["COMBO"], ()),
        (["COMBO", {"options": "a"}], ()),
        ([], ()),
    ],
)
async def test_models_in_both_forms(server: ComfyServer, provider: ComfyUI, models: object, names: object) -> None:
    server.fail("info", Reply.json({"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": models}}}}))
    assert await provider.models() == names


async def test_without_a_seed_no_two_graphs_are_equal(server: ComfyServer, provider: ComfyUI) -> None:
    seeds = set()
    for seed in (None, None, -1):
        await accepted(provider, seed=seed)
        seeds.add(inputs(server)["3.seed"])
    assert len(seeds) == 3


async def test_what_is_sent_is_what_the_specification_takes(server: ComfyServer, provider: ComfyUI) -> None:
    components = description("comfyui-openapi-0.27.0.yaml")["components"]
    job = await accepted(provider, "#never")
    other = await accepted(provider)
    server.has_cancel = False
    await provider.cancel(other)

    def conforms(name: str, value: object) -> None:
        valid(value, name, components)

    conforms("PromptRequest", sent(server))
    (deletion,) = [request for request in server.requests_of("cancel") if request.path == "/queue"]
    conforms("QueueManageRequest", deletion.json())
    conforms("JobDetailResponse", (await provider._ask("GET", f"/api/jobs/{job.id}")).body)


async def test_no_origin_and_no_key_go_out_but_headers_of_ones_own_do(server: ComfyServer, clients: Clients) -> None:
    provider = ComfyUI(Settings(base_url=server.url, headers={"X-Gate": "open"}), clients)
    job = await accepted(provider)
    (image,) = (await ready(provider, job)).images
    assert isinstance(image, InlineImage)
    assert whose(image.data) == f"{job.id}/1"
    await anyio.to_thread.run_sync(server.listening.wait, LIMIT)
    http = [request for request in server.requests if request.kind != "frame"]
    assert {request.headers.get("x-gate") for request in http} == {"open"}
    assert not any({"origin", "authorization"} & request.headers.keys() for request in http)
    again = await accepted(provider)
    server.fail("download", Reply.text("", 404))
    with pytest.raises(Expired):
        await provider.poll(again, ignored)
    await provider.close()


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (DEFAULT, {"prompt": ["6.text"], "negative": ["7.text"], "seed": ["3.seed"], "model": ["4.ckpt_name"]}),
        (FLUX, {"prompt": ["2.text"], "seed": ["5.noise_seed"], "width": ["7.width"], "model": ["1.unet_name"]}),
        (
            TWO_STAGES,
            {"prompt": ["3.text_g", "3.text_l", "4.text"], "negative": ["5.text", "5.text"], "image": ["9.image"]}
            | {"seed": ["12:7.noise_seed"]},
        ),
        (ZEROED, {"prompt": ["1.text"], "seed": ["6.seed"]}),
    ],
)
async def test_places_are_found_by_the_classes_of_nodes(graph: Graph, expected: dict[str, list[str]]) -> None:
    found = {role: [".".join(place) for place in places] for role, places in places_in(graph, {}).items()}
    roles = ("width", "height", "count", "model", "negative", "image")
    assert {role: found.get(role) for role in expected} == expected
    assert {role for role in roles if role in found} >= {role for role in roles if role in expected}
    assert ("negative" in found) == ("negative" in expected)


async def test_places_can_be_named(server: ComfyServer, clients: Clients, tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(TWO_STAGES))
    places = {
        "prompt": "4.text",
        "seed": "12:7.noise_seed",
        "model": "1.ckpt_name",
        "width": "3.width",
        "height": "3.height",
    }
    provider = ComfyUI(Settings(base_url=server.url, workflow=str(path), places=places), clients)
    server.checkpoints += ["base.safetensors", "refiner.safetensors", "mine.safetensors"]
    await accepted(
        provider, "a dog", model="mine.safetensors", ratio="16:9", resolution="1k", extra={"6.strength": "0.5"}
    )
    went = inputs(server)
    assert (went["4.text"], went["3.text_g"], went["5.text"]) == ("a dog", "", "ugly")
    assert (went["1.ckpt_name"], went["2.ckpt_name"]) == ("mine.safetensors", "refiner.safetensors")
    assert (went["3.width"], went["3.height"], went["6.strength"]) == (1368, 768, 0.5)
    assert (provider.max_images(image_request()), provider.expected_images(image_request())) == (1, 1)
    await provider.close()


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, None),
        ({"ratio": "1:1"}, (1024, 1024)),
        ({"resolution": "512"}, (512, 512)),
        ({"ratio": "2:3", "resolution": "1K"}, (840, 1256)),
        ({"width": 16, "height": 16384}, (16, 16384)),
    ],
)
async def test_sizes(options: dict[str, Any], size: tuple[int, int] | None) -> None:
    assert pixels(image_request(**options)) == size


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"seed": 2**64}, "0 to 18446744073709551615"),
        ({"seed": -2}, "or -1"),
        ({"negative": "\ud800"}, "half a character"),
        ({"extra": {"\ud800": "x"}}, "half a character"),
        ({"count": 0}, "at least one"),
        ({"width": 100, "height": 100}, "steps of 8"),
        ({"width": 512}, "steps of 8"),
        ({"ratio": "wide"}, "W:H"),
        ({"resolution": "8k"}, "512, 768, 1k, 2k"),
        ({"references": (__file__,)}, "is not a PNG"),
        ({"count": 5, "extra": {"5.batch": "4"}}, "no input"),
        ({"references": ("https://example.com/a.png",)}, "not from addresses"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
        ({"extra": {"3.step": "20"}}, "3.step"),
        ({"extra": {"3.steps": "many"}}, "cannot be 'many'"),
        ({"extra": {"3.steps": "true"}}, "cannot be 'true'"),
        ({"extra": {"3.steps": "2.5"}}, "cannot be"),
        ({"extra": {"3.model": "4"}}, "cannot be"),
        ({"extra": {"3.cfg": "Infinity"}}, "cannot be"),
        ({"extra": {"3.steps, 3.cfg": "4"}}, "no input"),
        ({"extra": {"": "4"}}, "no input"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before(
    server: ComfyServer, provider: ComfyUI, wrong: dict[str, Any], rule: str
) -> None:
    request = image_request(**({"prompt": "a cat"} | wrong))
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(request)
    with pytest.raises(BadRequest):
        await provider.submit(request, None, ignored)
    assert "\n" not in refused.value.message
    assert server.counts["submit"] == 0


@pytest.mark.parametrize(
    ("text", "settings", "request_", "rule"),
    [
        (None, {}, {}, "cannot be read"),
        ("no JSON", {}, {}, "not a workflow in API format"),
        ('{"nodes": [], "links": []}', {}, {}, "not a workflow in API format"),
        ("[]", {}, {}, "not a workflow in API format"),
        ("{}", {}, {}, "not a workflow in API format"),
        ('{"1": {"class_type": "X", "inputs": {"cfg": NaN}}}', {}, {}, "not a workflow in API format"),
        ('{"1": {"class_type": "X", "inputs": {"text": "\\ud800"}}}', {}, {}, "not a workflow in API format"),
        ('{"1": {"class_type": 7, "inputs": {"seed": 1}}}', {}, {}, "no place for prompt"),
        (json.dumps(FLUX), {}, {"negative": "ugly"}, "no place for negative"),
        (json.dumps(TWO_STAGES), {}, {"model": "x"}, "no place for model"),
        (json.dumps(TWO_STAGES), {}, {"width": 512, "height": 512}, "no place for width"),
        (json.dumps(TWO_STAGES), {}, {"count": 2}, "no place for count"),
        (json.dumps(FLUX), {"places": {"promt": "2.text"}}, {}, "no 'promt'"),
        (json.dumps(FLUX), {"places": {"prompt": "2.txt"}}, {}, "no input '2.txt'"),
        (json.dumps(FLUX), {"api_key": Secret("k")}, {}, "has no key"),
    ],
)
async def test_a_workflow_that_does_not_fit_is_refused_before(
    clients: Clients, tmp_path: Path, text: str | None, settings: dict[str, Any], request_: dict[str, Any], rule: str
) -> None:
    path = tmp_path / "flow.json"
    if text is not None:
        path.write_text(text)
    provider = ComfyUI(Settings(workflow=str(path), **settings), clients)
    with pytest.raises(BadRequest, match=rule):
        provider.check(image_request(**request_))


async def test_it_knows_its_numbers(provider: ComfyUI) -> None:
    assert (
        provider.expected_images(image_request()),
        provider.expected_images(image_request(count=3)),
        provider.max_images(image_request()),
    ) == (1, 3, 4)


@pytest.mark.parametrize("renames", [False, True])
async def test_references_are_uploaded_and_named_as_the_server_says(
    server: ComfyServer, clients: Clients, tmp_path: Path, picture: str, renames: bool
) -> None:
    path = tmp_path / "flow.json"
    path.write_text(
        json.dumps({**ZEROED, "9": node("LoadImage", image="a.png"), "10": node("LoadImage", image="b.png")})
    )
    provider = ComfyUI(Settings(base_url=server.url, workflow=str(path)), clients)
    server.renames = renames
    await accepted(provider, references=(picture,))
    ((name, data),) = server.uploads.items()
    assert whose(data) == "reference/1"
    assert "参考" not in name
    assert (inputs(server)["9.image"], inputs(server)["10.image"]) == (name, "b.png")
    await provider.close()


async def test_a_workflow_without_a_place_for_a_picture_takes_none(provider: ComfyUI, picture: str) -> None:
    with pytest.raises(BadRequest, match="takes 0 reference pictures, not 1"):
        provider.check(image_request("a cat", references=(picture,)))


async def test_a_reference_that_cannot_be_read_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot read"):
        _file(str(tmp_path))


async def test_an_upload_without_a_name(server: ComfyServer, clients: Clients, tmp_path: Path, picture: str) -> None:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps({**ZEROED, "9": node("LoadImage", image="a.png")}))
    provider = ComfyUI(Settings(base_url=server.url, workflow=str(path)), clients)
    for answer in (Reply.json({"subfolder": "x"}), Reply.text("", 404), Reply.json([])):
        server.fail("upload", answer)
        with pytest.raises(ServerTrouble):
            await provider.submit(image_request(references=(picture,)), None, ignored)
    assert server.counts["submit"] == 0


# Workflows of one's own


def saved(**nodes: Any) -> Graph:
    """Four samplers over one latent, each with a SaveImage of its own."""
    graph: Graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="dream.safetensors"),
        "2": node("CLIPTextEncode", text="", clip=["1", 1]),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }
    for number in range(4):
        graph[f"1{number}"] = node("KSampler", seed=number * 10 + 5, steps=4, positive=["2", 0], latent_image=["5", 0])
        graph[f"2{number}"] = node("VAEDecode", samples=[f"1{number}", 0], vae=["1", 2])
        graph[f"3{number}"] = node("SaveImage", images=[f"2{number}", 0], filename_prefix="x")
    return graph | nodes


@pytest.fixture
async def own(server: ComfyServer, clients: Clients, tmp_path: Path) -> AsyncIterator[Callable[..., ComfyUI]]:
    """A provider with the workflow of a person."""
    made: list[ComfyUI] = []

    def make(graph: object, **settings: Any) -> ComfyUI:
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(graph))
        made.append(ComfyUI(Settings(**{"base_url": server.url, "workflow": str(path)} | settings), clients))
        return made[-1]

    yield make
    for provider in made:
        await provider.close()


@pytest.mark.parametrize(
    ("values", "seed", "seeds"),
    [
        ([5, 15, 25, 35], 100, [100, 110, 120, 130]),
        ([35, 5, 35], 3, [3, 2**32 - 27, 3]),
        ([0, 1], 2**32 - 1, [2**32 - 1, 0]),
        ([0, 2**40], 7, [7, 2**40 + 7]),
        ([1, 0], 0, [0, 2**32 - 1]),
        ([0, 1], 2**64 - 1, [2**64 - 1, 0]),
        (["random", -1, 5, True], 9, [9, 9, 14, 9]),
    ],
)
def test_seeds_differ_as_in_the_workflow(values: list[Any], seed: int, seeds: list[int]) -> None:
    graph = {str(number): node("KSampler", seed=value) for number, value in enumerate(values)}
    assert list(spread(graph, [(id_, "seed") for id_ in graph], seed).values()) == seeds


@pytest.mark.parametrize("seed", [100, None])
async def test_several_samplers_make_different_pictures(server: ComfyServer, own: Any, seed: int | None) -> None:
    provider = own(saved())
    request = image_request(seed=seed)
    reply = await provider.submit(request, None, ignored)
    went = inputs(server)
    first = went["10.seed"]
    assert first == (100 if seed else first)
    assert first < 2**32
    assert [(went[f"1{number}.seed"] - first) % 2**32 for number in range(4)] == [0, 10, 20, 30]
    assert reply.facts == {"seed": first, "model": "dream.safetensors"}
    assert (provider.expected_images(request), provider.expected_images(image_request(count=3))) == (4, 12)


async def test_the_seed_and_the_model_are_told_with_the_pictures(
    server: ComfyServer, provider: ComfyUI, clients: Clients, age: str
) -> None:
    reply = await provider.submit(image_request(), None, ignored)
    assert isinstance(reply, Accepted)
    assert reply.facts == {"seed": inputs(server)["3.seed"], "model": "dream.safetensors"}
    after_a_crash = ComfyUI(Settings(base_url=server.url), clients)
    assert (await ready(after_a_crash, reply.job)).facts == reply.facts
    assert (await ready(provider, reply.job)).facts == reply.facts


async def test_what_is_named_by_its_node_wins(server: ComfyServer, provider: ComfyUI, own: Any, picture: str) -> None:
    extra = {"3.seed": "7", "6.text": "a dog", "5.width": "64", "5.batch_size": "3", "4.ckpt_name": "other.safetensors"}
    request = image_request(seed=1, width=512, height=512, model="dream.safetensors", extra=extra)
    reply = await provider.submit(request, None, ignored)
    went = inputs(server)
    assert {name: went[name] for name in extra} == {**extra, "3.seed": 7, "5.width": 64, "5.batch_size": 3}
    assert isinstance(reply, Accepted)
    assert reply.facts == {"seed": 7, "model": "other.safetensors"}
    assert provider.expected_images(request) == 3
    await accepted(own({**ZEROED, "9": node("LoadImage", image="a")}), references=(picture,), extra={"9.image": "b"})
    assert inputs(server)["9.image"] == "b"


async def test_what_would_be_sent_is_shown(provider: ComfyUI, own: Any, picture: str) -> None:
    graph = provider.payload(image_request("a cat", extra={"3.steps": "9"}))["prompt"]
    assert (graph["6"]["inputs"]["text"], graph["3"]["inputs"]["steps"]) == ("a cat", 9)
    assert (graph["3"]["inputs"]["seed"], graph["4"]["inputs"]["ckpt_name"]) == (
        "(drawn when it is sent)",
        "(the server's first)",
    )
    shown = own(saved(**{"9": node("LoadImage", image="a")})).payload(image_request(seed=1, references=(picture,)))[
        "prompt"
    ]
    assert [shown[f"1{number}"]["inputs"]["seed"] for number in range(4)] == [1, 11, 21, 31]
    assert shown["9"]["inputs"]["image"] == picture


@pytest.mark.parametrize(
    "wrapped",
    [{"prompt": DEFAULT}, {"input": {"workflow": DEFAULT}}, {"input": {"prompt": DEFAULT}}, {"workflow": DEFAULT}],
)
def test_workflows_come_in_wrappers(tmp_path: Path, wrapped: object) -> None:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(wrapped))
    assert read(path) == DEFAULT


@pytest.mark.parametrize(
    ("role", "offered"),
    [("prompt", "1.value (PrimitiveString), 2.text (ShowText), 3.filename_prefix (SaveImage)"), ("seed", "4.seed (X)")],
)
def test_candidates_are_listed_where_no_place_is_found(role: str, offered: str) -> None:
    graph: Graph = {
        "3": node("SaveImage", filename_prefix="x", images=["2", 0]),
        "1": node("PrimitiveString", value="a cat"),
        "2": node("ShowText", text="b", other=["1", 0]),
        "4": node("X", seed=1),
    }
    assert offers(graph, role).startswith(offered)


async def test_settings_that_cannot_work_are_refused_by_themselves(own: Any) -> None:
    with pytest.raises(BadRequest, match="no place for prompt") as refused:
        own({"1": node("PrimitiveString", value="a cat")}).check_settings()
    assert "1.value (PrimitiveString)" in refused.value.hint
    with pytest.raises(BadRequest, match="not a workflow in API format"):
        own({"nodes": []}).check_settings()
    own(saved()).check_settings()


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (DEFAULT, 3),
        (saved(), 12),
        ({**saved(), "5": node("LoadImage", image="a")}, 4),
        ({**saved(), "20": node("LatentFromBatch", samples=["10", 0])}, 10),
        ({**saved(), "40": node("PreviewImage", images=["20", 0])}, 12),
        ({**DEFAULT, "9": node("PreviewImage", images=["8", 0])}, 3),
        (FLUX, 3),
        (ZEROED, 0),
    ],
)
def test_pictures_are_counted_by_what_saves_them(graph: Graph, expected: int) -> None:
    sizes = {id_: 3 for id_, _ in places_in(graph, {}).get("count", ())}
    assert pictures(graph, sizes) == expected


def test_samplers_weigh_as_much_as_their_steps() -> None:
    graph = {**FLUX, "11": node("BasicScheduler", steps=30, scheduler="simple")}
    graph["8"] = node("SamplerCustomAdvanced", sigmas=["11", 0], latent_image=["7", 0])
    assert (loads(DEFAULT)["3"], loads(DEFAULT)["8"]) == (20, 1)
    assert (loads(graph)["8"], loads(graph)["11"], loads(graph)["6"]) == (30, 1, 1)
    assert loads({"1": node("KSampler", steps=10**9, latent_image=[])}) == {"1": 20}


async def test_a_reference_that_is_no_picture_is_refused_before_it_is_uploaded(
    server: ComfyServer, own: Any, tmp_path: Path
) -> None:
    (tmp_path / "id.png").write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    provider = own({**ZEROED, "9": node("LoadImage", image="a.png")})
    with pytest.raises(BadRequest, match=r"id\.png"):
        await provider.submit(image_request(references=(str(tmp_path / "id.png"),)), None, ignored)
    assert server.counts == {}


@pytest.mark.parametrize("has_jobs", [True, False])
async def test_a_missing_node_says_its_class(server: ComfyServer, own: Any, has_jobs: bool) -> None:
    server.has_jobs, server.lacks = has_jobs, {"FancyNode"}
    with pytest.raises(BadRequest, match=r"has no node FancyNode \(node 12:7\)") as refused:
        await own(saved(**{"12:7": node("FancyNode")})).submit(image_request(), None, ignored)
    assert "install" in refused.value.hint


async def test_a_workflow_that_ends_nowhere(server: ComfyServer, provider: ComfyUI) -> None:
    server.fail("submit", Reply.json({"error": {"type": "prompt_no_outputs", "message": "x"}, "node_errors": []}, 400))
    with pytest.raises(BadRequest) as refused:
        await provider.submit(image_request(), None, ignored)
    assert "SaveImage" in refused.value.hint


# Answers to a submit


@pytest.mark.parametrize(
    ("answer", "meaning", "words"),
    [
        (Reply.json({"error": "no prompt", "node_errors": []}, 400), BadRequest, "no prompt"),
        (Reply.json({"error": {"type": "x", "message": "Cannot", "details": "d"}}, 400), BadRequest, "Cannot"),
        (Reply.text("", 403), Unauthorized, "403"),
        (Reply.text("404: Not Found", 404), BadRequest, "404"),
        (Reply.text("500 Internal Server Error", 500), Uncertain, "500"),
        (Reply.json({}), Uncertain, "no prompt_id"),
        (Reply.json({"prompt_id": 7}), Uncertain, "no prompt_id"),
        (Reply.json([]), Uncertain, "no prompt_id"),
        (Reply.text("<html>nginx</html>"), Uncertain, "not JSON"),
    ],
)
async def test_other_answers_to_a_submit(
    server: ComfyServer, provider: ComfyUI, answer: Reply, meaning: type[TaskError], words: str
) -> None:
    server.fail("submit", answer)
    with pytest.raises(meaning, match=words) as raised:
        await provider.submit(image_request(), None, ignored)
    assert type(raised.value) is meaning


async def test_a_missing_model_is_told_by_its_node(provider: ComfyUI) -> None:
    with pytest.raises(BadRequest, match="node 4 CheckpointLoaderSimple: Value not in list: ckpt_name: 'x' not in"):
        await provider.submit(image_request(model="x"), None, ignored)


async def test_no_model_at_all(server: ComfyServer, provider: ComfyUI) -> None:
    server.checkpoints.clear()
    with pytest.raises(BadRequest, match="no checkpoint"):
        await provider.submit(image_request(), None, ignored)
    assert server.counts["submit"] == 0


async def test_what_is_left_out_is_said(provider: ComfyUI) -> None:
    reports: list[Working] = []
    reply = await provider.submit(image_request("#partial"), None, reports.append)
    assert isinstance(reply, Accepted)
    (note,) = {working.note for working in reports if "runs without" in working.note}
    assert note.startswith("runs without node 19 SaveImage")
    assert (await ready(provider, reply.job)).note == note


async def test_an_old_server_gives_ids_of_its_own(server: ComfyServer, provider: ComfyUI) -> None:
    server.takes_ids = False
    job = await accepted(provider)
    assert job.id in server.jobs
    assert len((await ready(provider, job)).images) == 1


@pytest.mark.parametrize("fault", [Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE, Fault.HTML, Fault.EMPTY])
async def test_a_lost_answer_can_be_looked_up(
    server: ComfyServer, provider: ComfyUI, clients: Clients, fault: Fault
) -> None:
    server.fail("submit", fault)
    client_job = provider.client_job(image_request())
    with pytest.raises(Uncertain):
        await provider.submit(image_request(), client_job, ignored)
    assert await owners(clients, await ready(provider, client_job)) == [f"{client_job.id}/1"]


async def test_a_server_that_is_not_there_accepted_nothing(server: ComfyServer, provider: ComfyUI) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await provider.submit(image_request(), None, ignored)


# Answers to a status query


@pytest.fixture(params=["new", "old"])
def age(request: pytest.FixtureRequest, server: ComfyServer) -> str:
    server.has_jobs = server.interrupts_by_id = request.param == "new"
    return str(request.param)


async def test_waiting_then_running_then_done(
    server: ComfyServer, provider: ComfyUI, clients: Clients, age: str
) -> None:
    server.polls = 1
    first, second, third = [await accepted(provider, prompt) for prompt in ("#never", "b", "c")]
    for job, place in ((second, 1), (third, 2)):
        reply = await provider.poll(job, ignored)
        assert isinstance(reply, Working)
        assert reply.queue_position == place
    assert isinstance(await provider.poll(first, ignored), Working)
    await provider.cancel(third)
    server._interrupt(first.id)
    assert isinstance(await provider.poll(second, ignored), Working)
    assert await owners(clients, await ready(provider, second)) == [f"{second.id}/1"]
    routes = {path for path in server.counts if path.startswith("GET /history")}
    assert bool(routes) == (age == "old")


@pytest.mark.parametrize(
    ("prompt", "words", "hint"),
    [
        ("#fail", "node 3 KSampler: mat1 and mat2", ""),
        ("#oom", "Allocation on device", "fewer pixels"),
    ],
)
async def test_a_failure_is_told_by_its_node(provider: ComfyUI, age: str, prompt: str, words: str, hint: str) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(GenerationFailed, match=words) as raised:
        await provider.poll(job, ignored)
    assert hint in raised.value.hint
    assert raised.value.final


@pytest.mark.parametrize(("prompt", "count"), [("#both", 2), ("#temp", 2), ("", 4)])
async def test_previews_count_only_where_there_is_nothing_else(
    provider: ComfyUI, clients: Clients, age: str, prompt: str, count: int
) -> None:
    job = await accepted(provider, f"a cat {prompt}", count=count)
    reply = await ready(provider, job)
    assert await owners(clients, reply) == [f"{job.id}/{index}" for index in range(1, count + 1)]


@pytest.mark.parametrize(
    ("prompt", "images", "note"),
    [
        ("a cat #film", 2, ""),
        ("a cat #film #mesh", 2, "the server keeps thing.glb too"),
        ("#film #only", 1, "nothing came from node 9 SaveImage"),
    ],
)
async def test_outputs_that_are_no_pictures(
    provider: ComfyUI, clients: Clients, age: str, prompt: str, images: int, note: str
) -> None:
    reply = await ready(provider, await accepted(provider, prompt))
    assert (len(reply.images), reply.note) == (images, note)
    film = reply.images[-1]
    assert isinstance(film, RemoteImage)
    assert suffix_of((await clients.free.get(film.url)).content) == ".mp4"


@pytest.mark.parametrize(
    ("prompt", "words", "hint"),
    [("#none", "without a picture", "SaveImage"), ("#only #mesh", r"no picture, but thing\.glb", "output folder")],
)
async def test_no_picture_is_no_fault_of_the_service(
    provider: ComfyUI, age: str, prompt: str, words: str, hint: str
) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(BadRequest, match=words) as raised:
        await provider.poll(job, ignored)
    assert raised.value.final
    assert hint in raised.value.hint


async def test_what_was_left_out_is_known_after_a_crash_too(
    server: ComfyServer, own: Any, clients: Clients, age: str
) -> None:
    provider = own(saved())
    job = await accepted(provider, "#partial")
    assert (await ready(provider, job)).note.startswith("runs without node 19 SaveImage")
    note = (await ready(ComfyUI(Settings(base_url=server.url), clients), job)).note
    assert note == "nothing came from node 31 SaveImage, node 32 SaveImage, node 33 SaveImage"


async def test_name_and_password_in_the_address(server: ComfyServer, clients: Clients, age: str) -> None:
    server.login = ("me", "se%cret")
    provider = ComfyUI(Settings(base_url=server.url.replace("//", "//me:se%25cret@")), clients)
    job = await accepted(provider, count=3)
    assert await anyio.to_thread.run_sync(server.listening.wait, LIMIT)
    images = (await ready(provider, job)).images
    assert [whose(image.data) for image in images if isinstance(image, InlineImage)] == [
        f"{job.id}/{number}" for number in (1, 2, 3)
    ]
    assert await provider.models()
    await provider.close()


async def test_pictures_that_take_long_are_fetched_in_several_looks(server: ComfyServer, clients: Clients) -> None:
    provider = ComfyUI(Settings(base_url=server.url, headers={"X-Gate": "open"}), clients)
    job = await accepted(provider, count=3)
    server.fail("download", Fault.TRUNCATE, after=2)
    with pytest.raises(TaskError):
        await provider.poll(job, ignored)
    assert len((await ready(provider, job)).images) == 3
    assert server.counts["download"] == 4
    await provider.close()


async def test_a_404_of_another_server_says_nothing_about_the_job(server: ComfyServer, provider: ComfyUI) -> None:
    job = await accepted(provider)
    server.fail("query", Reply.json({"detail": "Not Found"}, 404))
    assert len((await ready(provider, job)).images) == 1


async def test_a_restart_forgets_everything(server: ComfyServer, provider: ComfyUI, age: str) -> None:
    job = await accepted(provider, "#never")
    await provider.poll(job, ignored)
    server.restart()
    with pytest.raises(Expired, match="restarted") as raised:
        await provider.poll(job, ignored)
    assert not raised.value.final, "base_url may name another server by now"


async def test_a_history_of_another_job_is_no_word_about_ours(server: ComfyServer, provider: ComfyUI) -> None:
    server.has_jobs = False
    job = await accepted(provider)
    entry = {"prompt": [1, str(uuid4()), {}], "outputs": {}, "status": {"status_str": "error", "messages": []}}
    server.fail("query", Reply.json({}, 404))
    server.fail("query", Reply.json({"queue_running": [], "queue_pending": []}))
    server.fail("query", Reply.json({job.id: entry}))
    with pytest.raises(ServerTrouble, match="about another job") as raised:
        await provider.poll(job, ignored)
    assert not raised.value.final


async def test_a_job_stopped_by_another_client(server: ComfyServer, provider: ComfyUI, age: str) -> None:
    job = await accepted(provider, "#never")
    server._interrupt(None)
    with pytest.raises(GenerationFailed, match="stopped at the server"):
        await provider.poll(job, ignored)


async def test_an_unknown_word_is_told_as_it_is(provider: ComfyUI) -> None:
    job = await accepted(provider, "#word #never")
    assert await provider.poll(job, ignored) == Working(note="warming_up")


@pytest.mark.parametrize(
    "answer",
    [Reply.text("", 500), Reply.json([]), Reply.json(7), Reply.text("<html>"), Reply.json({"error": "busy"}, 500)],
)
async def test_an_answer_that_tells_nothing_counts_as_a_failed_query(
    server: ComfyServer, provider: ComfyUI, answer: Reply, age: str
) -> None:
    job = await accepted(provider)
    if age == "old":
        await provider.poll(await accepted(provider), ignored)
    server.fail("query", answer)
    with pytest.raises(ServerTrouble):
        await provider.poll(job, ignored)
    assert len((await ready(provider, job)).images) == 1


# The web socket


class Reports:
    """What was reported, and a way to wait for more."""

    def __init__(self) -> None:
        self.all: list[Working] = []
        self._more = asyncio.Event()

    def __call__(self, working: Working) -> None:
        self.all.append(working)
        self._more.set()

    async def until(self, fraction: float | None = None, preview: bytes | None = None) -> Working:
        with anyio.fail_after(LIMIT):
            while True:
                found = [one for one in self.all if fraction in (None, one.fraction) and preview in (None, one.preview)]
                if found:
                    return found[-1]
                self._more.clear()
                await self._more.wait()


async def running(server: ComfyServer, provider: ComfyUI, reports: Reports) -> Job:
    reply = await provider.submit(image_request("#never"), None, reports)
    assert isinstance(reply, Accepted)
    await anyio.to_thread.run_sync(server.listening.wait, LIMIT)
    return reply.job


def event(job: Job, type_: str, **data: Any) -> str:
    return json.dumps({"type": type_, "data": {"prompt_id": job.id, **data}})


async def test_the_fraction_weighs_steps_leaves_out_what_is_cached_and_never_falls(
    server: ComfyServer, provider: ComfyUI
) -> None:
    reports = Reports()
    job = await running(server, provider, reports)
    ended = {"value": 20, "max": 20, "state": "finished"}
    for expected in (
        event(job, "execution_cached", nodes=["4", "5", "unknown", 7]),
        event(job, "executing", node="3"),
        event(job, "progress", node="3", value=10, max=20),
        event(job, "progress", node="3", value=0, max=20),
        event(job, "progress_state", nodes={"3": ended, "8": {"value": 1, "max": 4, "state": "running"}}),
        event(job, "executing", node="8"),
        event(job, "executing", node="9"),
        event(job, "executing", node=None),
    ):
        server.say(expected)
    last = await reports.until(fraction=21 / 24)
    fractions = [one.fraction or 0 for one in reports.all]
    assert fractions == sorted(fractions)
    assert {10 / 24, 20.25 / 24, 21 / 24} <= set(fractions)
    assert [one.note for one in reports.all if "/" in one.note][:3] == [
        "KSampler 10/20",
        "KSampler 0/20",
        "VAEDecode 1/4",
    ]
    assert last.note == "SaveImage"
    reply = await provider.poll(job, reports)
    assert isinstance(reply, Working)
    assert (reply.fraction or 0) >= 21 / 24


async def test_previews_of_both_types(server: ComfyServer, provider: ComfyUI) -> None:
    reports = Reports()
    job = await running(server, provider, reports)
    (first,) = server.requests_of("frame")
    assert first.json() == {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    server.say(preview(PICTURE, job.id))
    await reports.until(preview=PICTURE)
    server.say(event(job, "executing", node="3"))
    server.say(preview(PICTURE + b"2"))
    await reports.until(preview=PICTURE + b"2")
    assert sent(server)["extra_data"] == {"preview_method": "auto"}


async def test_it_listens_again_after_a_disconnect(server: ComfyServer, provider: ComfyUI) -> None:
    reports = Reports()
    job = await running(server, provider, reports)
    server.hang_up()
    assert await anyio.to_thread.run_sync(server.listening.wait, LIMIT)
    server.say(event(job, "executed", node="5"))
    await reports.until(fraction=1 / 25)
    assert {request.query["clientId"] for request in server.requests_of("socket")} == {sent(server)["client_id"]}


async def test_a_socket_that_breaks_too_often_is_given_up(server: ComfyServer, provider: ComfyUI) -> None:
    provider._max_lost_connections = 1
    job = await running(server, provider, Reports())
    server.hang_up()
    assert provider._listener is not None
    with anyio.fail_after(LIMIT):
        await provider._listener
    assert isinstance(await provider.poll(job, ignored), Working)
    assert server.counts["socket"] == 1


async def test_without_a_socket_polling_goes_on(server: ComfyServer, provider: ComfyUI, clients: Clients) -> None:
    server.fail("socket", Reply.text("", 403), times=None)
    job = await accepted(provider)
    assert await owners(clients, await ready(provider, job)) == [f"{job.id}/1"]


async def test_no_message_breaks_it(server: ComfyServer, provider: ComfyUI) -> None:
    reports = Reports()
    job = await running(server, provider, reports)
    types: tuple[Any, ...] = (
        "executing",
        "execution_cached",
        "executed",
        "progress",
        "progress_state",
        "status",
        None,
        [],
    )
    for type_, wrong in product(types, WRONG):
        for key in ("node", "nodes", "value", "max", "prompt_id"):
            data = {"prompt_id": job.id, "node": "3", "value": 1, "max": 2, "nodes": {"3": wrong}} | {key: wrong}
            server.say(json.dumps({"type": type_, "data": data}))
        server.say(json.dumps({"type": type_, "data": wrong}))
    for size in (0, 3, 4, 7, 8, 9):
        for kind in range(6):
            server.say((kind.to_bytes(4, "big") + b"\xff" * 8)[:size])
    server.say("no JSON")
    server.say(preview(PICTURE, job.id))
    await reports.until(preview=PICTURE)
    assert all(one.fraction is None or 0 <= one.fraction <= 1 for one in reports.all)


async def test_a_closed_provider_says_nothing_more(server: ComfyServer, provider: ComfyUI) -> None:
    await provider.close()
    await running(server, provider, Reports())
    await provider.close()
    await provider.close()
    assert len(asyncio.all_tasks()) < 4


# Cancelling


@pytest.mark.parametrize(
    ("server_is", "ours_is", "neighbour", "stop", "killed"),
    [
        ("new", "running", True, CancelOutcome.STOPPED, "ours"),
        ("new", "waiting", True, CancelOutcome.STOPPED, ""),
        ("new", "done", True, CancelOutcome.TOO_LATE, ""),
        ("new", "unknown", True, CancelOutcome.TOO_LATE, ""),
        ("no cancel", "running", True, CancelOutcome.REQUESTED, "ours"),
        ("no cancel", "waiting", True, CancelOutcome.STOPPED, ""),
        ("no cancel", "done", True, CancelOutcome.TOO_LATE, ""),
        ("no cancel", "unknown", True, CancelOutcome.TOO_LATE, ""),
        ("old", "running", False, CancelOutcome.REQUESTED, "ours"),
        ("old", "running", True, CancelOutcome.GOES_ON, ""),
        ("0.3.57", "running", True, CancelOutcome.REQUESTED, "ours"),
        ("0.3.57", "waiting", True, CancelOutcome.STOPPED, ""),
        ("0.3.56", "running", True, CancelOutcome.GOES_ON, ""),
        ("old", "waiting", True, CancelOutcome.STOPPED, ""),
        ("old", "done", True, CancelOutcome.TOO_LATE, ""),
        ("old", "unknown", True, CancelOutcome.TOO_LATE, ""),
    ],
)
async def test_a_cancel_never_stops_a_neighbour(
    server: ComfyServer,
    provider: ComfyUI,
    server_is: str,
    ours_is: str,
    neighbour: bool,
    stop: CancelOutcome,
    killed: str,
) -> None:
    server.has_cancel = server_is == "new"
    server.has_jobs = server_is in ("new", "no cancel")
    server.interrupts_by_id = server_is not in ("old", "0.3.56")
    server.version = server_is if server_is.startswith("0.") else {"old": "0.3.10"}.get(server_is, "0.27.0")
    if ours_is == "waiting":
        await accepted(provider, "neighbour #never")
    job = Job("5e1ec7ed-0000-4000-8000-000000000000")
    if ours_is != "unknown":
        job = await accepted(provider, "a cat" if ours_is == "done" else "#never")
    if ours_is == "done":
        await ready(provider, job)
    if neighbour:
        await accepted(provider, "neighbour #never")
    assert await provider.cancel(job) is stop
    assert server.killed == ([job.id] if killed else [])
    others = [made for made in server.jobs.values() if "neighbour" in json.dumps(made.payload)]
    assert all(made.state in ("running", "pending") for made in others)


async def test_on_an_old_server_all_of_ours_can_be_stopped_together(server: ComfyServer, provider: ComfyUI) -> None:
    server.has_jobs = server.interrupts_by_id = False
    jobs = [await accepted(provider, "#never") for _ in range(3)]
    outcomes = [await provider.cancel(job) for job in reversed(jobs)]
    assert outcomes == [CancelOutcome.STOPPED, CancelOutcome.STOPPED, CancelOutcome.REQUESTED]


async def test_an_interrupt_that_is_refused_stops_nothing(server: ComfyServer, provider: ComfyUI) -> None:
    server.has_cancel = False
    job = await accepted(provider, "#never")
    server.fail("cancel", Reply.text("", 405))
    server.fail("cancel", Reply.text("", 500))
    assert await provider.cancel(job) is CancelOutcome.GOES_ON


async def test_after_a_request_to_stop_the_next_look_says_so(server: ComfyServer, provider: ComfyUI) -> None:
    server.has_cancel = False
    job = await accepted(provider, "#never")
    assert await provider.cancel(job) is CancelOutcome.REQUESTED
    with pytest.raises(GenerationFailed, match="stopped"):
        await provider.poll(job, ignored)


# Hostile JSON


BODIES: tuple[dict[str, Any], ...] = (
    {"prompt_id": "1", "node_errors": {"3": {"class_type": "X", "errors": [{"message": "m", "details": "d"}]}}},
    {"status": "completed", "outputs": {"9": {"images": [{"filename": "a", "subfolder": "", "type": "output"}]}}},
    {"status": "failed", "execution_error": {"node_id": 3, "node_type": "X", "exception_message": "m"}},
    {
        "status": "pending",
        "queue_running": [[1, "1"]],
        "queue_pending": [["x", "2"], [1]],
        "name": "x",
        "cancelled": True,
    },
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
async def test_no_json_breaks_it(server: ComfyServer, provider: ComfyUI, body: dict[str, Any]) -> None:
    for wrong in WRONG:
        for value in bent(body, wrong):
            for kind in ("submit", "query", "cancel", "info"):
                server.fail(kind, escaped(value), times=None)
            works = (
                provider.submit(image_request(), None, ignored),
                provider.poll(Job("1"), ignored),
                provider.cancel(Job("1")),
            )
            for work in works:
                try:
                    reply: object = await work
                except TaskError as error:
                    reply = error
                str(reply).encode()
            server._rules.clear()


@pytest.mark.parametrize("wrong", WRONG)
async def test_no_history_breaks_it(server: ComfyServer, provider: ComfyUI, wrong: object) -> None:
    server.has_jobs = False
    entry = {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", {"node_id": "3"}]]}}
    for value in bent({"1": entry}, wrong):
        server.fail("query", Reply.text("404: Not Found", 404))
        server.fail("query", Reply.json({"queue_running": [], "queue_pending": []}))
        server.fail("query", escaped(value))
        provider._has_jobs = True
        with pytest.raises(TaskError):
            await provider.poll(Job("1"), ignored)


# The whole program


class Watched(ComfyServer):
    """Has an event for the moment at which the job that never ends begins."""

    def __init__(self) -> None:
        super().__init__()
        self.never_began = threading.Event()

    def _begin(self, job: Made) -> None:
        super()._begin(job)
        if "never" in tags_in(job):
            self.never_began.set()


LIST = [
    {"prompt": "a cat"},
    {"prompt": "a dog #fail"},
    {"prompt": "a bird", "model": "nowhere.safetensors"},
    {"prompt": "a fish", "count": 2},
    {"prompt": "a snail #never"},
]


def test_a_list_from_the_command_line(tmp_path: Path) -> None:
    with Watched() as server:
        program = Program(tmp_path, f'[providers.comfyui]\nbase_url = "{server.url}"\npoll = 0.05\n')
        (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(line) for line in LIST))
        server.fail("submit", Fault.TOO_MANY, seconds=0.1)
        run = program.start("batch", "list.jsonl", "-p", "comfyui", "--progress", "plain")
        assert server.never_began.wait(LIMIT)
        assert "stopped" in program.run("cancel", "5").out
        out, err = run.communicate(timeout=LIMIT)
    tasks = {task["id"]: task for task in program.run("list", "--json").objects}
    assert {id_: task["state"] for id_, task in tasks.items()} == {
        1: "done", 2: "failed", 3: "failed", 4: "done", 5: "cancelled"
    }, err  # fmt: skip
    assert (tasks[2]["reason"], tasks[3]["reason"]) == ("server", "bad-request")
    assert run.returncode == 1
    files = [Path(line) for line in out.splitlines()]
    assert sorted(whose(path.read_bytes()).rpartition("/")[2] for path in files) == ["1", "1", "2"]
    assert server.counts["submit"] == 6


TWO = {
    "1": node("CheckpointLoaderSimple", ckpt_name="dream.safetensors"),
    "2": node("CLIPTextEncode", text="", clip=["1", 1]),
    "3": node("KSampler", seed=1, positive=["2", 0], latent_image=["5", 0]),
    "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "9": node("SaveImage", images=["3", 0]),
    "19": node("SaveImage", images=["4", 0]),
}


def test_fewer_pictures_than_asked_are_told_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text(json.dumps(TWO))
    with ComfyServer() as server:
        settings = f'base_url = "{server.url}"\npoll = 0.05\nworkflow = "{tmp_path}/flow.json"\n'
        program = Program(tmp_path, f"[providers.comfyui]\n{settings}")
        run = program.run("run", "a cat #partial", "-p", "comfyui", "--progress", "plain")
        assert (run.code, len(run.lines)) == (1, 1)
        assert "runs without node 19 SaveImage" in run.err
        assert "runs without node 19 SaveImage" in program.run("show", "1").out
        dry = program.run("run", "a cat", "-p", "comfyui", "--dry-run").objects[0]
        assert dry["sent"]["prompt"]["2"]["inputs"]["text"] == "a cat"
        assert dry["asked"] == 2


def test_a_task_that_timed_out_can_still_be_cancelled(tmp_path: Path) -> None:
    with ComfyServer() as server:
        program = Program(tmp_path, f'[providers.comfyui]\nbase_url = "{server.url}"\npoll = 0.05\n')
        run = program.run_out_of_time("a snail #never", "-p", "comfyui")
        assert run.code == 5, run.err
        cancelled = program.run("cancel", "1")
        assert (cancelled.code, "stopped at the service" in cancelled.out) == (0, True)
        assert len(server.killed) == 1
        assert program.tasks()[0]["state"] == "cancelled"
        assert program.run("cancel", "1").code == 4


@pytest.mark.parametrize("flow", ["", '{"nodes": []}', '{"1": {"class_type": "X", "inputs": {"text": "a"}}}'])
def test_doctor_and_config_check_refuse_what_run_would_refuse(tmp_path: Path, flow: str) -> None:
    if flow:
        (tmp_path / "flow.json").write_text(flow)
    with ComfyServer() as server:
        settings = f'base_url = "{server.url}"\nworkflow = "{tmp_path}/flow.json"\n'
        program = Program(tmp_path, f"[providers.comfyui]\n{settings}")
        assert program.run("run", "a cat", "-p", "comfyui").code == 2
        check, doctor = program.run("config", "check"), program.run("doctor")
    assert (check.code, doctor.code) == (3, 3)
    assert "no  comfyui (comfyui): " in check.out
    assert "no   comfyui: settings: " in doctor.out
    assert "workflow" in check.out


NO_SAVER = {id_: node for id_, node in TWO.items() if node["class_type"] != "SaveImage"}


@pytest.mark.parametrize(
    ("flow", "settings", "expected"),
    [
        ({**TWO, "20": node("FancyNode")}, "", "the server has no node FancyNode (node 20)"),
        (
            {**TWO, "1": node("CheckpointLoaderSimple", ckpt_name="drem.safetensors"), "19": TWO["9"]},
            "",
            "drem.safetens",
        ),
        (None, 'model = "nowhere.safetensors"\n', "the server has no ckpt_name 'nowhere.safetensors'"),
        ({**NO_SAVER, "20": node("Other", images=["3", 0])}, "", "the workflow has no node that saves a picture"),
    ],
)
def test_doctor_asks_the_server_for_what_the_workflow_needs(
    tmp_path: Path, flow: Graph | None, settings: str, expected: str
) -> None:
    if flow is not None:
        (tmp_path / "flow.json").write_text(json.dumps(flow))
        settings += f'workflow = "{tmp_path}/flow.json"\n'
    with ComfyServer() as server:
        server.lacks = {"FancyNode"}
        program = Program(tmp_path, f'[providers.comfyui]\nbase_url = "{server.url}"\n{settings}')
        ended = program.run("doctor", "comfyui")
        assert (ended.code, server.counts["submit"]) == (3, 0)
    assert "no   comfyui: settings: " in ended.out
    assert expected in ended.out


@pytest.mark.parametrize("flow", [None, TWO, saved(), {**NO_SAVER, "20": node("FancySaver", images=["3", 0])}])
def test_doctor_is_content_with_what_the_server_can_do(tmp_path: Path, flow: Graph | None) -> None:
    settings = ""
    if flow is not None:
        (tmp_path / "flow.json").write_text(json.dumps(flow))
        settings = f'workflow = "{tmp_path}/flow.json"\n'
    with ComfyServer() as server:
        program = Program(tmp_path, f'[providers.comfyui]\nbase_url = "{server.url}"\n{settings}')
        ended = program.run("doctor", "comfyui")
    assert (ended.code, "settings: " in ended.out.replace("ok   settings: ", "")) == (0, False), ended.out


def test_a_server_without_a_checkpoint_and_one_that_does_not_tell(tmp_path: Path) -> None:
    with ComfyServer() as server:
        program = Program(tmp_path, f'[providers.comfyui]\nbase_url = "{server.url}"\n')
        server.checkpoints = []
        assert "no   comfyui: settings: the server has no checkpoint" in program.run("doctor", "comfyui").out
        server.fail("info", Fault.ERROR_500, times=None)
        ended = program.run("doctor", "comfyui")
    assert ended.code == 0
    assert "warn comfyui: settings: cannot be checked now" in ended.out


@pytest.mark.parametrize("words", [["config", "check"], ["run", "a cat", "-p", "comfyui", "--dry-run"], ["doctor"]])
def test_a_workflow_that_ends_nowhere_is_refused_without_a_server(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "flow.json").write_text(json.dumps(NO_SAVER))
    with ComfyServer() as server:
        settings = f'base_url = "{server.url}"\nworkflow = "{tmp_path}/flow.json"\n'
        ended = Program(tmp_path, f"[providers.comfyui]\n{settings}").run(*words)
        assert server.counts["submit"] == 0
    assert ended.code == (2 if "run" in words else 3)
    assert "the workflow has no node that saves a picture" in ended.out + ended.err
