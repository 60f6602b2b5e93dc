"""Tasks as the pictures of a sheet: what was varied between them, and what stands where nothing came."""

import shlex
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from imagegen_cli.commands.pictures import cells_of, command_for, is_comparison, pictures_of, title_of, unfilled
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Queued,
    RunId,
    SavedImage,
    State,
    Task,
    TaskId,
)
from imagegen_cli.storage.records import Record


def task(number: int = 1, state: State | None = None, *, cell: Mapping[str, str] | None = None, **values: Any) -> Task:
    request = ImageRequest(prompt=values.pop("prompt", "a fox"), provider=values.pop("provider", "studio"), **values)
    return Task(
        id=TaskId(number), run=RunId(1), request=request, state=state or Queued(), folder="/p", name="n",
        cell=cell or {},
    )  # fmt: skip


def tasks(**values: list[Any]) -> list[Task]:
    """One for each combination; the last name changes fastest."""
    rows = product(*values.values())
    return [task(number, **dict(zip(values, row, strict=True))) for number, row in enumerate(rows, 1)]


@pytest.mark.parametrize(
    ("values", "names", "compares"),
    [
        ({"model": ["a", "b"]}, ["model"], True),
        ({"model": ["a", "b"], "ratio": ["1:1", "16:9", "9:16"], "seed": [7, 8]}, ["model", "ratio", "seed"], True),
        ({"prompt": ["a", "b"], "model": ["a", "b"]}, ["prompt", "model"], True),
        ({"negative": ["", "blur"]}, ["negative"], True),
        ({"extra": [{}, {"steps": "20"}, {"steps": "30"}]}, ["steps"], True),
        ({"prompt": ["a", "b", "c"]}, ["prompt"], False),
        ({"model": ["a"]}, [], False),
        ({"seed": [7, 7, 7]}, [], False),
        ({"width": [512, 768], "height": [512]}, ["size"], True),
    ],
)
def test_what_was_varied_is_what_the_requests_differ_in(
    values: dict[str, list[Any]], names: list[str], compares: bool
) -> None:
    some = tasks(**values)
    assert [list(cell) for cell in cells_of(some)] == [names] * len(some)
    assert is_comparison(some) is compares


def test_a_model_s_own_provider_is_no_second_axis() -> None:
    some = [task(1, model="4.0", provider="studio"), task(2, model="flux", provider="cloud")]
    assert cells_of(some) == [{"model": "4.0"}, {"model": "flux"}]


def test_one_model_at_two_providers_is_compared_by_provider() -> None:
    some = [task(1, model="flux", provider="studio"), task(2, model="flux", provider="cloud")]
    assert cells_of(some) == [{"provider": "studio"}, {"provider": "cloud"}]


def test_a_list_whose_prompts_have_their_own_models_compares_nothing() -> None:
    some = [task(1, prompt="a", model="x"), task(2, prompt="b", model="y"), task(3, prompt="c", model="x")]
    assert cells_of(some) == [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]
    assert not is_comparison(some)


def test_what_the_person_varied_stands_behind_what_differs_besides() -> None:
    cells = [{"animal": animal} for animal in ("cat", "dog")]
    some = [
        task(number, prompt=prompt.replace("{animal}", cell["animal"]), model=model, cell=cell)
        for number, (prompt, model, cell) in enumerate(product(("a {animal}", "{animal}s"), "xy", cells), 1)
    ]
    assert cells_of(some)[:2] == [
        {"prompt": "a {animal}", "model": "x", "animal": "cat"},
        {"prompt": "a {animal}", "model": "x", "animal": "dog"},
    ]


def test_what_was_paired_is_one_axis() -> None:
    pairs = (("1:1", "7"), ("16:9", "8"))
    some = [
        task(at, ratio=ratio, seed=int(seed), cell={"ratio": ratio, "seed": seed})
        for at, (ratio, seed) in enumerate(pairs)
    ]
    assert cells_of(some) == [{"ratio · seed": "1:1 · 7"}, {"ratio · seed": "16:9 · 8"}]
    single = [task(at, cell={"ratio": "1:1", "seed": seed}) for at, seed in enumerate("78")]
    assert cells_of(single) == [{"ratio": "1:1", "seed": "7"}, {"ratio": "1:1", "seed": "8"}]


@pytest.mark.parametrize(
    ("prompt", "cell", "before"),
    [
        ("a cat in the snow", {"animal": "cat"}, "a {animal} in the snow"),
        ("a cat, cats", {"animal": "cat"}, "a {animal}, cats"),
        ("雪中的猫", {"动物": "猫"}, "雪中的{动物}"),
        ("a red fox", {"{red|blue}": "red"}, "a {red|blue} fox"),
        ("model 7", {"seed": "7"}, "model 7"),
        (r"a \1 fox", {"x": r"\1"}, "a {x} fox"),
    ],
)
def test_varied_words_stand_in_the_title_by_their_names(prompt: str, cell: Mapping[str, str], before: str) -> None:
    assert unfilled(prompt, cell) == before


def test_what_did_not_come_has_a_place_that_says_why() -> None:
    saved = SavedImage("/p/1.png")
    states: list[tuple[State, list[tuple[str, str, str]]]] = [
        (Done(("/p/1.png", "/p/2.png")), [("/p/1.png", "done", ""), ("/p/2.png", "done", "")]),
        (Done(("/p/1.png",), missing=1, note="one was filtered"),
         [("/p/1.png", "done", ""), ("", "short", "only 1 of 2 pictures: one was filtered")]),
        (Failed(Reason.MODERATED, "no"), [("", "failed", "moderated: no")]),
        (Failed(Reason.EXPIRED, "gone", images=(saved,)), [("/p/1.png", "done", ""), ("", "failed", "expired: gone")]),
        (Cancelled(CancelOutcome.NOT_SENT), [("", "cancelled", "not sent, nothing spent")]),
        (Queued(), [("", "queued", "It is not finished.")]),
    ]  # fmt: skip
    for state, expected in states:
        found = pictures_of([Record(task(1, state), 0.0)], compared=True)
        assert [(one.path, one.state, one.reason) for one in found] == expected


def test_each_picture_has_its_own_seed_and_what_the_service_told() -> None:
    facts = {"seed": "11, 12", "model": "4.0-turbo", "revised_prompt": "a fox, cinematic"}
    record = Record(task(1, Done(("/p/1.png", "/p/2.png")), model="4.0", seed=5), 0.0, ended=1.8e9, facts=facts)
    found = [dict(one.parameters) for one in pictures_of([record], compared=False)]
    assert [one["seed"] for one in found] == ["11", "12"]
    assert found[0]["model used"] == "4.0-turbo"
    assert found[0]["revised prompt"] == "a fox, cinematic"
    assert "made" in found[0]
    assert "made" not in dict(pictures_of([record], compared=True)[0].parameters)


def test_no_folder_and_no_signature_of_a_reference_is_shown() -> None:
    references = ("/home/me/secret/cat.png", "https://host/dir/dog.png?sig=abc", r"C:\me\fox.png")
    record = Record(task(1, Done(("/p/1.png",)), references=references), 0.0)
    [one] = pictures_of([record], compared=False)
    assert dict(one.parameters)["image"] == "cat.png dog.png fox.png"
    assert one.command == "imagegen again 1"


def test_the_command_has_the_seed_that_was_used_where_it_makes_one_picture() -> None:
    one, several = task(1, model="4.0"), task(2, count=4, seed=3)
    assert shlex.split(command_for(one, "77"))[-3:] == ["--seed", "77", "a fox"]
    assert shlex.split(command_for(several, "77"))[-3:] == ["--seed", "3", "a fox"]


def test_the_title_is_what_all_have_in_common() -> None:
    assert title_of([Record(one, 0.0) for one in tasks(model=["a", "b"])]) == "a fox"
    assert title_of([Record(one, 0.0) for one in tasks(prompt=["a", "b"])]) == "Run 1"
