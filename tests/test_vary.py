"""Variations of prompts."""

import time
from collections.abc import Sequence

import pytest

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.comparison import applied
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.inputs.vary import Axis, alternatives, cells, combinations, parse_axis


def no_file(name: str) -> Sequence[str]:
    raise AssertionError(name)


def values(text: str) -> list[str]:
    return list(parse_axis(f"x={text}", no_file).values)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b", ["a", "b"]),
        (r"red\, blue,green", ["red, blue", "green"]),
        ("1..4", ["1", "2", "3", "4"]),
        ("4..1", ["4", "3", "2", "1"]),
        ("0..100..25", ["0", "25", "50", "75", "100"]),
        ("0..10..4", ["0", "4", "8"]),
        ("10..0..5", ["10", "5", "0"]),
        ("0.5..1..0.25", ["0.5", "0.75", "1"]),
        ("-2..0", ["-2", "-1", "0"]),
        ("1..1", ["1"]),
        (r"1\..3", ["1..3"]),
        (r"1\..1e9,a\..c", ["1..1e9", "a..c"]),
        ("a cat... 2 dogs,well..", ["a cat... 2 dogs", "well.."]),
        ("../a1.png,a1/../b2.png", ["../a1.png", "a1/../b2.png"]),
        (r"..\..\a1.png", [r"..\..\a1.png"]),
        ("水墨,油画", ["水墨", "油画"]),
        ("one", ["one"]),
    ],
)
def test_values(text: str, found: list[str]) -> None:
    assert values(text) == found


def test_values_from_a_file_are_its_lines() -> None:
    axis = parse_axis(
        "{animal}=@animals.txt", lambda name: ["cat, black", "", " dog "] if name == "animals.txt" else []
    )
    assert axis == Axis("animal", ("cat, black", "dog"))


@pytest.mark.parametrize(
    "text", ["seed", "=1", "seed=", "seed=1,,2", "1=2", "a b=c", "seed=1..5..0", "seed=1..99999999999999999999"]
)
def test_what_is_no_variation_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_axis(text, no_file)


@pytest.mark.parametrize(
    "text",
    [
        "1..1e9", "0..1..-1", "1..2..3..4", "a..c", "1...3", "1..", "..8", "1..x", "x..1", "0..1,5", "1..8,12",
        "v1..v3", "1 .. 3.5.1", "1..10%", "+1..+3", "1..1_000", "b,1..c",
    ],
)  # fmt: skip
def test_what_looks_like_a_range_and_is_none_is_refused_with_its_axis_and_a_way(text: str) -> None:
    with pytest.raises(UsageError, match="--vary steps: ") as caught:
        parse_axis(f"steps={text}", no_file)
    assert "\\.." in caught.value.hint
    assert caught.value.hint.startswith("nothing was sent; write ")


@pytest.mark.parametrize("text", ["0..1..0", "1..99999999999999999999"])
def test_a_range_that_cannot_be_walked_names_its_axis(text: str) -> None:
    with pytest.raises(UsageError, match="--vary steps: "):
        parse_axis(f"steps={text}", no_file)


def test_lines_of_a_file_may_look_like_ranges() -> None:
    assert parse_axis("x=@a.txt", lambda _: ["1..x"]).values == ("1..x",)


def test_combinations_are_counted_without_building_one() -> None:
    axes = [parse_axis(f"{name}=1..1000", no_file) for name in ("seed", "steps", "cfg")]
    before = time.process_time()
    assert combinations(axes, zipped=False) == 10**9
    assert combinations([parse_axis("seed=1..999999999999999", no_file)], zipped=False) == 999_999_999_999_999
    assert time.process_time() - before < 10.0  # to build a thousand million takes minutes


def test_pairs_need_one_length_and_name_what_differs() -> None:
    axes = [parse_axis("seed=1..3", no_file), parse_axis("ratio=1:1,16:9", no_file)]
    with pytest.raises(UsageError, match="seed has 3, ratio has 2"):
        combinations(axes, zipped=True)
    assert combinations(axes, zipped=False) == 6
    assert [dict(cell) for cell in cells(axes[:1], zipped=True)] == [{"seed": "1"}, {"seed": "2"}, {"seed": "3"}]


def test_an_axis_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        combinations([Axis("seed", ("1",)), Axis("seed", ("2",))], zipped=False)


def test_the_last_axis_changes_fastest() -> None:
    axes = [Axis("model", ("3.0", "4.0")), Axis("seed", ("1", "2"))]
    assert [tuple(cell.values()) for cell in cells(axes, zipped=False)] == [
        ("3.0", "1"), ("3.0", "2"), ("4.0", "1"), ("4.0", "2"),
    ]  # fmt: skip


def test_options_words_and_options_of_the_service_take_their_values() -> None:
    spec = PromptSpec(prompt="a {animal} in {place}", extra={"cfg": "7"})
    varied = applied(spec, {"animal": "cat", "model": "4.0", "seed": "7", "steps": "20", "image": "a.png"})
    assert varied.prompt == "a cat in {place}"
    assert (varied.models, varied.seed, varied.references) == (("4.0",), 7, ("a.png",))
    assert varied.extra == {"cfg": "7", "steps": "20"}


def test_a_value_that_looks_like_another_name_is_text() -> None:
    spec = PromptSpec(prompt="{a} and {b}")
    assert applied(spec, {"a": "{b}", "b": r"\1 {a}"}).prompt == r"{b} and \1 {a}"


@pytest.mark.parametrize(
    "prompt",
    [
        '{"scene": "a cat", "style": {"ink": true}}',
        "{red|blue} hat",
        "$5, 100 % {a,b}",
        "{2$$a|b}",
        "{unclosed",
        "\\{x\\}",
    ],
)
def test_braces_that_are_not_varied_pass_untouched(prompt: str) -> None:
    assert applied(PromptSpec(prompt=prompt), {"seed": "1"}).prompt == prompt


def test_alternatives_are_axes_of_their_own() -> None:
    prompt = '{red|blue} {"json": 1} {a|b|}'
    axes = alternatives(prompt)
    assert [list(axis.values) for axis in axes] == [["red", "blue"], ["a", "b", ""]]
    prompts = [applied(PromptSpec(prompt=prompt), cell).prompt for cell in cells(axes, zipped=False)]
    assert prompts[:2] == ['red {"json": 1} a', 'red {"json": 1} b']
    assert len(prompts) == 6


@pytest.mark.parametrize(("name", "value"), [("seed", "abc"), ("count", "1.5"), ("seed", "٣")])
def test_a_value_that_its_option_cannot_have_is_refused_with_the_axis(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"--vary {name}"):
        applied(PromptSpec(prompt="x"), {name: value})


def test_a_size_that_is_varied_goes_before_the_ratio() -> None:
    varied = applied(PromptSpec(prompt="x", ratio="1:1", resolution="2k"), {"size": "512x512"})
    assert (varied.size, varied.ratio, varied.resolution) == ("512x512", "", "")
