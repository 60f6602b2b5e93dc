"""The seed of new cells of a comparison that was sent before."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from imagegen_cli.commands.joining import joined
from imagegen_cli.core.task import ImageRequest, Queued, RunId, Task, TaskId
from imagegen_cli.inputs.plan import Item
from imagegen_cli.storage.records import Record
from tests.test_comparison import CONFIG
from tests.test_plan import Strict

SHARED = 50
STRICT = replace(CONFIG, providers={"picky": replace(CONFIG.providers["picky"], type=Strict)})
"""Its service takes seeds up to 100."""


def item(model: str, seed: int | None = SHARED, line: int = 1) -> Item:
    request = ImageRequest(prompt="a cat", provider="picky", model=model, seed=seed)
    shared = None if seed is None else SHARED
    return Item(request=request, expected_images=1, line=line, identity=f"{model}:1:1", shared_seed=shared)


def sent(one: Item, facts: Mapping[str, Any], asked: int | None = None) -> tuple[Item, Record]:
    request = ImageRequest(prompt="a cat", provider="picky", model=one.request.model, seed=asked)
    task = Task(id=TaskId(1), run=RunId(1), request=request, state=Queued(), folder="/", name="a")
    return one, Record(task=task, created=0.0, facts=facts)


@pytest.mark.parametrize(
    ("facts", "asked", "seed", "is_said"),
    [
        ({"seed": 7}, None, 7, False),
        ({"seed": "7,8,9"}, None, 7, False),
        ({}, 9, 9, False),
        ({}, SHARED, SHARED, False),
        ({}, None, SHARED, True),
        ({"seed": "x"}, None, SHARED, True),
        ({"seed": 101}, None, SHARED, True),
    ],
    ids=["told", "told for each", "asked", "shared", "not known", "no number", "not taken"],
)
def test_a_new_cell_takes_the_known_seed(
    facts: Mapping[str, Any], asked: int | None, seed: int, *, is_said: bool
) -> None:
    found, remarks = joined([item("b")], [sent(item("a"), facts, asked)], STRICT)
    assert [one.request.seed for one in found] == [seed]
    assert remarks == (["1 new cell cannot share the seed of the cells sent before"] if is_said else [])


def test_parts_of_a_split_request_keep_their_distance() -> None:
    parts = [item("a", SHARED), item("a", SHARED + 4)]
    earlier = [sent(part, {"seed": 7 + 4 * number}) for number, part in enumerate(parts)]
    found, remarks = joined([item("b", SHARED), item("b", SHARED + 4)], earlier, CONFIG)
    assert [one.request.seed for one in found] == [7, 11]
    assert not remarks


def test_seeds_that_differ_and_seedless_services_change_nothing() -> None:
    differing = [sent(item("a"), {"seed": 7}), sent(item("c"), {"seed": 8})]
    found, remarks = joined([item("b"), item("d", None), item("b", line=2)], differing, CONFIG)
    assert [one.request.seed for one in found] == [SHARED, None, SHARED]
    assert len(remarks) == 1
