"""What services tell of how pictures were made: every kind tells what its service does, and none too much."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from imagegen_cli.core.events import Working
from imagegen_cli.core.masking import MASK, hide
from imagegen_cli.core.provider import MAX_FACT_CHARS, MAX_FACTS, Accepted, Clients, Facts, Ready
from imagegen_cli.core.task import Job
from imagegen_cli.providers import kinds, load
from imagegen_cli.providers._common import MAX_PROMPT_CHARS, facts, rewritten
from imagegen_cli.providers.openai import OpenAI
from tests import (
    test_a1111,
    test_bfl,
    test_comfyui,
    test_dashscope,
    test_dreamina,
    test_fal,
    test_gemini,
    test_jimeng,
    test_replicate,
    test_volcengine,
)
from tests.doubles.http import Reply
from tests.doubles.openai import ImageServer
from tests.suite import Suite, ignored, image_request, polled, submitted

pytestmark = pytest.mark.anyio


class Told(NamedTuple):
    """The facts that a kind's double tells of a picture, and those `further` ones that only some answers have."""

    suite: Any
    facts: set[str]
    where: str = ""
    answer: Mapping[str, Any] = {}
    further: Mapping[str, Any] = {}
    request: Mapping[str, Any] = {}


MADE = {"b64_json": "", "url": "https://example.org/1.png"}
TOLD = {
    "a1111": Told(test_a1111.SUITE, {"seed", "model"}),
    "bfl": Told(
        test_bfl.SUITE, {"seed", "model", "request_id", "revised_prompt"}, "query",
        {"status": "Ready", "result": {"sample": MADE["url"], "seed": 9, "prompt": "a tabby cat"}},
        {"seed": 9, "revised_prompt": "a tabby cat"},
    ),
    "comfyui": Told(test_comfyui.SUITE, {"seed", "model"}),
    "dashscope": Told(
        test_dashscope.SUITE, {"seed", "model", "request_id"}, "query",
        {"output": {"task_status": "SUCCEEDED", "results": [{"url": MADE["url"], "actual_prompt": "a tabby cat"}]}},
        {"revised_prompt": "a tabby cat"},
    ),
    "dreamina": Told(test_dreamina.SUITE, {"seed", "model"}),
    "fal": Told(test_fal.SUITE, {"seed", "model", "request_id", "revised_prompt"}),
    "gemini": Told(test_gemini.SUITE, {"model", "request_id", "tokens"}),
    "jimeng": Told(test_jimeng.SUITE, {"model"}, request={"model": "jimeng-4.5"}),
    "openai": Told(
        Suite(OpenAI, ImageServer), set(), "submit",
        {"data": [MADE | {"revised_prompt": "a tabby cat"}], "model": "m-2", "seed": 9, "usage": {"total_tokens": 30}},
        {"revised_prompt": "a tabby cat", "model": "m-2", "seed": 9, "tokens": 30},
    ),
    "replicate": Told(
        test_replicate.SUITE, {"model"}, "query",
        {"status": "succeeded", "output": [MADE["url"]], "logs": "Using seed: 9", "model": "a/b", "version": "1f" * 9},
        {"seed": 9, "model": "a/b:" + "1f" * 9},
    ),
    "volcengine": Told(test_volcengine.SUITE, {"seed", "model", "request_id"}, request={"model": "3.0"}),
}  # fmt: skip
"""By kind; the sheets of the services say what they tell."""


async def learned(told: Told, clients: Clients, answer: Mapping[str, Any] = {}) -> dict[str, Any]:
    """All facts of one picture, as a run would keep them."""
    with ExitStack() as stack:
        server = stack.enter_context(told.suite._double())
        provider = told.suite.connect(server, clients)
        if answer and told.where == "submit":
            server.fail("submit", Reply.json(answer))
        try:
            reply: Accepted | Ready | Working = await submitted(provider, image_request("a cat", **told.request))
            found: dict[str, Any] = dict(reply.facts) if not isinstance(reply, Working) else {}
            job = reply.job if isinstance(reply, Accepted) else None
            if answer and told.where == "query" and job is not None:
                server.fail("query", Reply.json({"id": job.id, **answer}))
            while job is not None and not isinstance(reply, Ready):
                reply = await polled(provider, job)
            assert isinstance(reply, Ready)
            return found | dict(reply.facts)
        finally:
            await provider.close()


def test_no_kind_is_left_out() -> None:
    assert TOLD.keys() == {kind for kind in kinds() if not load(kind).local}


@pytest.mark.parametrize("kind", TOLD)
async def test_every_kind_tells_what_its_service_does(clients: Clients, kind: str) -> None:
    told = TOLD[kind]
    found = await learned(told, clients)
    assert told.facts <= found.keys()
    assert all(isinstance(found[name], int) for name in ("seed", "tokens") if name in found)
    assert all(isinstance(found[name], str) and found[name] for name in ("model", "request_id") if name in found)


@pytest.mark.parametrize("kind", [kind for kind in TOLD if TOLD[kind].answer])
async def test_what_only_some_answers_have_is_kept_as_well(clients: Clients, kind: str) -> None:
    told = TOLD[kind]
    found = await learned(told, clients, told.answer)
    assert {name: found.get(name) for name in told.further} == told.further


async def test_several_pictures_have_several_seeds(clients: Clients) -> None:
    with test_a1111.SUITE._double() as server:
        provider = test_a1111.SUITE.connect(server, clients)
        reply = await provider.submit(image_request("a cat", seed=5, count=3), None, ignored)
        assert isinstance(reply, Ready)
        assert reply.facts["seed"] == "5, 6, 7"


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ([], ""), ([None], ""), (["a"], "a"), (["a\n b"], "a b"), (["a", "a"], "a"), (["a", "b"], "1: a; 2: b"),
        ([None, "b"], "2: b"), ([7, "b", {}], "b"), (["\ud800"], "?"),
    ],
)  # fmt: skip
def test_each_picture_may_have_its_own_prompt(prompts: list[Any], told: str) -> None:
    assert rewritten(prompts) == told


def test_a_long_prompt_is_kept_and_an_endless_one_is_cut() -> None:
    assert facts(revised_prompt="猫 " * 2000) == {"revised_prompt": ("猫 " * 2000).strip()}
    assert len(str(facts(revised_prompt="x" * 10**6)["revised_prompt"])) == MAX_PROMPT_CHARS


HOSTILE: dict[str, Any] = {
    "long": "x" * 10**6,
    "key": "sk-a-key-of-ours",
    "sk-a-key-of-ours": 1,
    "number": 10**1000,
    "nan": math.nan,
    "endless": math.inf,
    "list": [1],
    "nothing": None,
    "x" * 10**5: "name",
    "seed": 7,
}


@pytest.mark.parametrize("told", [lambda given: Accepted(Job("1"), given), lambda given: Ready((), "", given)])
def test_facts_are_bounded_and_masked(told: Any) -> None:
    hide("sk-a-key-of-ours")
    found: Facts = told(HOSTILE).facts
    assert len(str(found["long"])) == MAX_FACT_CHARS
    assert (found["key"], found[MASK], found["seed"]) == (MASK, 1, 7)
    assert not {"number", "nan", "endless", "list", "nothing"} & found.keys()
    assert max(map(len, found)) <= 100
    assert len(told({str(number): number for number in range(10**4)}).facts) == MAX_FACTS
