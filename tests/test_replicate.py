import base64
import json
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

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
from imagegen_cli.core.provider import Clients, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import CancelOutcome, Job
from imagegen_cli.providers import load
from imagegen_cli.providers.replicate import MAX_REFERENCE_BYTES, Replicate, Settings
from tests import suite
from tests.doubles.http import CONNECT, Fault, Pictures, Reply
from tests.doubles.pictures import whose
from tests.doubles.replicate import KEY, VERSION, ReplicateService
from tests.suite import WRONG, Suite, accepted, five_tasks, image_request, owners, polled

pytestmark = pytest.mark.anyio

SUITE = Suite(Replicate, ReplicateService, "jpeg", api_key=Secret(KEY))
server, provider, picture = SUITE.fixtures()

SPEC = "replicate-openapi.json"


def valid(body: object, schema: str) -> None:
    """Check against Replicate's own description."""
    suite.valid(body, schema, plain(suite.description(SPEC)["components"]))


def plain(schema: Any) -> Any:
    """Without `nullable`, which JSON Schema does not know, and a `oneOf` whose two parts are both true of "hidden"."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {"anyOf" if key == "oneOf" else key: plain(value) for key, value in schema.items()}
    return changed | ({"type": [changed["type"], "null"]} if changed.get("nullable") is True else {})


# What goes out


async def test_it_is_found_by_its_kind_and_knows_its_numbers(server: ReplicateService, clients: Clients) -> None:
    assert load("replicate") is Replicate
    assert (
        SUITE.connect(server, clients).max_images(image_request()),
        SUITE.connect(server, clients).expected_images(image_request(count=3)),
    ) == (4, 3)
    assert SUITE.connect(server, clients, count_field="").max_images(image_request()) == 1


async def test_the_shortest_request(server: ReplicateService, provider: Replicate) -> None:
    job = await accepted(provider)
    (request,) = server.requests_of("submit")
    assert request.path == "/v1/models/black-forest-labs/flux-schnell/predictions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert not {"prefer", "cancel-after"} & request.headers.keys()
    assert request.json() == {"input": {"prompt": "a cat"}}
    assert [job.id] == list(server.jobs)


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("owner/a.b-c", "/v1/models/owner/a.b-c/predictions", None),
        (f"stability-ai/sdxl:{VERSION}", "/v1/predictions", f"stability-ai/sdxl:{VERSION}"),
        (VERSION, "/v1/predictions", VERSION),
    ],
)
async def test_models_and_versions(
    server: ReplicateService, provider: Replicate, model: str, path: str, version: str | None
) -> None:
    await accepted(provider, model=model)
    (request,) = server.requests_of("submit")
    assert (request.path, request.json().get("version")) == (path, version)
    valid(request.json(), "schemas_version_prediction_request" if version else "schemas_prediction_request")


async def test_a_full_request_is_valid(server: ReplicateService, provider: Replicate, picture: str) -> None:
    extra = {"guidance": "3.5", "go_fast": "true", "output_format": "png", "loras": '["a", {"b": null}]', "word": "{x"}
    shape = {"ratio": "16:9", "width": 1024, "height": 576}
    await accepted(provider, "猫 🐈", seed=0, count=2, negative="dogs", references=(picture,), extra=extra, **shape)
    body = server.requests_of("submit")[0].json()
    head, _, data = body["input"].pop("image").partition(",")
    assert (head, whose(base64.b64decode(data))) == ("data:image/jpeg;base64", "reference/1")
    assert body["input"] == {
        "prompt": "猫 🐈",
        "aspect_ratio": "16:9",
        "width": 1024,
        "height": 576,
        "seed": 0,
        "negative_prompt": "dogs",
        "num_outputs": 2,
        "guidance": 3.5,
        "go_fast": True,
        "output_format": "png",
        "loras": ["a", {"b": None}],
        "word": "{x",
    }
    valid(body, "schemas_prediction_request")


async def test_fields_that_a_model_names_otherwise(server: ReplicateService, clients: Clients, picture: str) -> None:
    provider = SUITE.connect(server, clients, count_field="number_of_images", image_field="image_input[]")
    await accepted(provider, count=2, references=("https://example.com/a.png", picture), seed=-1)
    sent = server.requests_of("submit")[0].json()["input"]
    assert (sent["number_of_images"], sent["image_input"][0]) == (2, "https://example.com/a.png")
    assert sent["image_input"][1].startswith("data:image/jpeg;base64,")
    assert "seed" not in sent


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "\ud800"}, "no request can carry"),
        ({"model": "flux"}, "owner/name"),
        ({"model": "../../account"}, "owner/name"),
        ({"model": "a/b:1"}, "64 digits"),
        ({"count": 5}, "1 to 4"),
        ({"count": 0}, "1 to 4"),
        ({"resolution": "2k"}, "no common size classes"),
        ({"extra": {"prompt": "a dog"}}, "prompt is given twice"),
        ({"extra": {"image": "x"}, "references": ("https://example.com/a",)}, "image is given twice"),
        ({"extra": {"a-b": "1"}}, "not the name of an input field"),
        ({"extra": {"guidance": "1e999"}}, "no request can carry"),
        ({"extra": {"guidance": "NaN"}}, "no request can carry"),
        ({"extra": {"word": '"\\ud800"'}}, "no request can carry"),
        ({"references": ("nowhere.png",)}, "nowhere.png"),
        ({"references": (__file__,)}, "not a PNG"),
        ({"references": ("https://example.com/a",) * 2}, "takes one reference"),
    ],
)
async def test_what_would_be_refused_is_refused_before_it_is_sent(
    server: ReplicateService, provider: Replicate, wrong: dict[str, Any], rule: str
) -> None:
    with pytest.raises(BadRequest, match=rule) as refused:
        provider.check(image_request(**({"prompt": "a cat"} | wrong)))
    with pytest.raises(BadRequest):
        await accepted(provider, **({"prompt": "a cat"} | wrong))
    assert "\n" not in refused.value.message
    assert server.counts["connections"] == 0


async def test_a_large_reference_goes_by_address_only(provider: Replicate, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(Pictures(min_bytes=MAX_REFERENCE_BYTES + 1).make("reference", 1))
    with pytest.raises(BadRequest, match="at most 256 KB here, not 257"):
        provider.check(image_request(references=(str(path),)))


# What comes back


@pytest.mark.parametrize(
    ("prompt", "count", "indices", "note"),
    [
        ("a cat", None, ["1"], ""),
        ("a cat", 3, ["1", "2", "3"], ""),
        ("#string", None, ["1"], ""),
        ("#object", 2, ["1", "2"], ""),
        ("#inline", 2, ["1", "2"], ""),
        ("#partial", None, ["1"], "1 of 2"),
    ],
)
async def test_forms_of_output(
    server: ReplicateService, clients: Clients, provider: Replicate, prompt: str, count: int | None,
    indices: list[str], note: str,
) -> None:  # fmt: skip
    job = await accepted(provider, prompt, count=count)
    reply = await polled(provider, job)
    assert await owners(clients, reply) == [f"{job.id}/{index}" for index in indices]
    assert isinstance(reply, Ready)
    assert note in reply.note
    assert not any("authorization" in request.headers for request in server.requests_of("download"))


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#fail", GenerationFailed, "E1001"),
        ("#mute", GenerationFailed, "without saying why"),
        ("#nsfw", Moderated, "NSFW content detected"),
        ("#e005", Moderated, "E005"),
        ("#canceled", GenerationFailed, "canceled at the service"),
        ("#aborted", GenerationFailed, "aborted at the service"),
        ("#none", GenerationFailed, "made no pictures"),
        ("#removed", Expired, "for an hour"),
    ],
)
async def test_ends_without_pictures(provider: Replicate, prompt: str, meaning: type[TaskError], words: str) -> None:
    job = await accepted(provider, prompt)
    with pytest.raises(meaning, match=words) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning


async def test_what_it_says_while_it_works(server: ReplicateService, provider: Replicate) -> None:
    server.polls = 3
    job, other = await accepted(provider, "#log"), await accepted(provider, "#word")
    assert [await polled(provider, job) for _ in range(2)] == [Working(note="starting"), Working(fraction=0.43)]
    assert await polled(provider, other) == Working(note="uploading")


@pytest.mark.parametrize(("prompt", "spec", "seed"), [
    ("#log", {}, 7), ("#object", {}, 7), ("a cat", {"seed": 5}, 5), ("a cat", {}, None),
])  # fmt: skip
async def test_the_seed_that_the_model_drew_is_told(
    server: ReplicateService, provider: Replicate, prompt: str, spec: dict[str, Any], seed: int | None
) -> None:
    server.polls = 0
    reply = await polled(provider, await accepted(provider, prompt, **spec))
    assert isinstance(reply, Ready)
    assert reply.facts.get("seed") == seed
    assert str(reply.facts["model"]).startswith("black-forest-labs/flux-schnell")


@pytest.mark.parametrize(
    ("prompt", "meaning", "words"),
    [
        ("#limit", RateLimited, "throttled"),
        ("#poor", OutOfCredits, "insufficient credit"),
        ("#invalid", BadRequest, "Invalid type"),
        ("#nowhere", Uncertain, "charged"),
    ],
)
async def test_refusals_of_a_submit(provider: Replicate, prompt: str, meaning: type[TaskError], words: str) -> None:
    with pytest.raises(meaning, match=words) as raised:
        await accepted(provider, prompt)
    assert type(raised.value) is meaning
    assert not isinstance(raised.value, RateLimited) or raised.value.after == 0.1


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Reply.json({"detail": "no"}, 404), Expired),
        (Reply.json({"detail": "no"}, 401), Unauthorized),
        (Reply.json({"detail": "slow", "retry_after": 5}, 429), RateLimited),
        (Reply.json({}), ServerTrouble),
        (Reply.json([]), ServerTrouble),
        (Reply.text("<html>nginx</html>", 502), ServerTrouble),
        (Fault.CLOSE_AFTER, Unavailable),
    ],
)
async def test_other_answers_to_a_query(
    server: ReplicateService, provider: Replicate, answer: Reply | Fault, meaning: type[TaskError]
) -> None:
    job = await accepted(provider)
    server.fail("query", answer)
    with pytest.raises(meaning) as raised:
        await polled(provider, job)
    assert type(raised.value) is meaning


@pytest.mark.parametrize(
    ("prompt", "ended", "outcome", "then"),
    [
        ("#never", False, CancelOutcome.STOPPED, "canceled"),
        ("#stubborn", False, CancelOutcome.REQUESTED, "running"),
        ("a cat", True, CancelOutcome.TOO_LATE, "succeeded"),
        ("#fail", True, CancelOutcome.TOO_LATE, "failed"),
        ("#aborted", True, CancelOutcome.STOPPED, "aborted"),
    ],
)
async def test_cancels(
    server: ReplicateService, provider: Replicate, prompt: str, ended: bool, outcome: CancelOutcome, then: str
) -> None:
    job = await accepted(provider, prompt)
    if ended:
        server.end_job(server.jobs[job.id], then)
    assert await provider.cancel(job) is outcome
    assert (server.jobs[job.id].state, server.counts["cancel"]) == (then, 1)


# Lost receipts


@pytest.mark.parametrize(
    "how", [Fault.CLOSE_AFTER, Fault.RESET_AFTER, Fault.TRUNCATE, Fault.HTML, Fault.EMPTY, Fault.GARBAGE]
)
@pytest.mark.parametrize("model", ["black-forest-labs/flux-schnell", f"stability-ai/sdxl:{VERSION}", VERSION])
async def test_a_lost_receipt_is_looked_up_and_named_but_not_taken(
    server: ReplicateService, provider: Replicate, how: Fault, model: str
) -> None:
    server.fail("submit", how)
    with pytest.raises(Uncertain, match="charged") as raised:
        await accepted(provider, model=model, seed=7)
    (number,) = server.jobs
    assert (server.counts["submit"], server.counts["list"]) == (1, 1)
    after = datetime.fromisoformat(server.requests_of("list")[0].query["created_after"])
    assert timedelta(seconds=4) < datetime.now(UTC) - after < timedelta(seconds=30)
    assert number in raised.value.message
    assert f'{{"task": {{ids}}, "job": "{number}", "url": ""}}' in raised.value.hint


async def test_two_processes_do_not_take_one_prediction(
    server: ReplicateService, clients: Clients, provider: Replicate
) -> None:
    server.fail("submit", Fault.CLOSE_AFTER)
    server.fail("submit", Fault.CLOSE_BEFORE)
    for process in (SUITE.connect(server, clients), provider):
        with pytest.raises(Uncertain):
            await accepted(process)
    assert len(server.jobs) == 1


async def test_the_predictions_of_this_process_are_not_named(server: ReplicateService, provider: Replicate) -> None:
    server.fail("submit", Fault.CLOSE_BEFORE, after=1)
    first = await accepted(provider)
    with pytest.raises(Uncertain) as raised:
        await accepted(provider)
    assert first.id not in raised.value.message


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "a dog"}, {"model": "owner/other"}, {"count": 1}])
async def test_anothers_prediction_is_not_ours(
    server: ReplicateService, clients: Clients, provider: Replicate, other: dict[str, Any]
) -> None:
    spec: dict[str, Any] = {"prompt": "a cat", "seed": 7}
    await accepted(SUITE.connect(server, clients), **(spec | other))
    server.fail("submit", Fault.CLOSE_BEFORE)
    with pytest.raises(Uncertain, match="charged") as raised:
        await accepted(provider, seed=7)
    assert server.counts["list"] == 1
    assert not raised.value.hint


@pytest.mark.parametrize("created", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00", "", "yesterday", None, 7])
async def test_an_older_prediction_is_not_ours(
    server: ReplicateService, clients: Clients, provider: Replicate, created: object
) -> None:
    job = server.jobs[(await accepted(SUITE.connect(server, clients))).id]
    listed: list[Any] = [{**server._prediction(job, "succeeded"), "created_at": created}, None, 7, {"id": []}]
    server.fail("submit", Fault.CLOSE_BEFORE)
    server.fail("list", Reply.json({"results": listed}))
    with pytest.raises(Uncertain, match="charged"):
        await accepted(provider)


@pytest.mark.parametrize(
    "how", [Fault.CLOSE_AFTER, Fault.ERROR_500, Fault.TOO_MANY, Reply.json([]), Reply.json({}, 401)]
)
async def test_a_look_up_that_fails_changes_nothing(
    server: ReplicateService, provider: Replicate, how: Fault | Reply
) -> None:
    server.fail("list", how)
    with pytest.raises(Uncertain, match="charged"):
        await accepted(provider, "#lost")
    assert (server.counts["submit"], len(server.jobs)) == (1, 1)


async def test_what_never_left_is_not_looked_up(server: ReplicateService, provider: Replicate) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    with pytest.raises(Unavailable):
        await accepted(provider)
    assert server.counts["list"] == 0


# Keys, models, hostile JSON


async def test_a_wrong_key(server: ReplicateService, clients: Clients) -> None:
    provider = Replicate(Settings(base_url=server.url, api_key=Secret("r8_wrong_0000")), clients)
    with pytest.raises(Unauthorized, match="valid authentication token") as raised:
        await accepted(provider)
    assert "r8_wrong" not in raised.value.message


async def test_the_key_stays_at_home(server: ReplicateService, provider: Replicate) -> None:
    with ReplicateService() as evil:
        away = Reply.json({}, 302, location=f"{evil.url}/v1/predictions/1")
        urls = {"get": f"{evil.url}/v1/predictions/1", "cancel": f"{evil.url}/v1/predictions/1/cancel"}
        server.fail("submit", Reply.json({"id": "1", "status": "starting", "urls": urls}, 201))
        job = await accepted(provider)
        server.fail("query", away)
        server.fail("cancel", away)
        with pytest.raises(ServerTrouble):
            await polled(provider, job)
        with pytest.raises(TaskError):
            await provider.cancel(job)
        assert evil.counts["connections"] == 0


async def test_models_that_draw(server: ReplicateService, provider: Replicate) -> None:
    assert await provider.models() == ("black-forest-labs/flux-schnell", f"stability-ai/sdxl:{VERSION}")
    server.fail("models", Reply.json({"models": [7, {}, {"owner": "a", "name": []}]}))
    assert await provider.models() == ()


async def test_the_double_answers_as_replicate_describes(server: ReplicateService, clients: Clients) -> None:
    server.polls = 1
    provider, answers, headers = SUITE.connect(server, clients), [], {"Authorization": f"Bearer {KEY}"}
    for prompt in ("a cat", "#fail", "#log", "#removed", "#object", "#never"):
        job = await accepted(provider, prompt)
        places = [f"/v1/predictions/{job.id}"] * 3
        answers += [(await clients.free.get(server.url + place, headers=headers)).json() for place in places]
        answers.append((await clients.free.post(f"{server.url}{places[0]}/cancel", headers=headers)).json())
    for answer in answers:
        valid(answer, "schemas_prediction_response")
    listed = (await clients.free.get(f"{server.url}/v1/predictions", headers=headers)).json()
    valid(listed, "schemas_paginated_prediction_response")


BODIES: tuple[dict[str, Any], ...] = (
    {"id": "1", "status": "succeeded", "output": ["https://a.example/1"], "data_removed": True},
    {"id": "1", "status": "failed", "error": "x"},
    {"id": "1", "status": "processing", "logs": "10%|"},
    {"results": [{"id": "1", "model": "a/b", "input": {"prompt": "a cat"}, "created_at": "9999-12-31T23:59:59+00:00"}]},
)


@pytest.mark.parametrize("key", ["id", "status", "output", "data_removed", "error", "logs", "results"])
async def test_no_json_breaks_it(server: ReplicateService, provider: Replicate, key: str) -> None:
    for body, wrong in product(BODIES, WRONG):
        answer = Reply(200, json.dumps(body | {key: wrong}).encode())
        for where in ("submit", "query", "list", "cancel"):
            server.fail(where, answer)
        for work in (accepted(provider), polled(provider, Job("1")), provider.cancel(Job("1"))):
            try:
                reply: object = await work
            except TaskError as error:
                reply = error
            str(reply).encode()
        server.heal()


# The whole program


LIST = ("a cat", "a storm #fail", "a fight #nsfw", "a dog #limit", "a bird #never")


def test_five_prompts_from_the_command_line(tmp_path: Path, server: ReplicateService) -> None:
    five = five_tasks("replicate", tmp_path, server, LIST, secrets=(KEY,), api_key=KEY)
    assert five.made < {f"{job}/1" for job in server.jobs}
    assert (five.batch.code, server.counts["submit"], server.counts["cancel"]) == (1, 6, 1)
