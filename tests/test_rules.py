"""The rules that several services have for a request."""

from typing import Any

import pytest

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.providers import _rules as rules
from tests.suite import image_request


def broken(*found: rules.Rule) -> list[str]:
    return [rule for wrong, rule in found if wrong]


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("16:9", (16, 9)),
        ("32:18", (16, 9)),
        ("1:1", (1, 1)),
        ("19.5:9", (13, 6)),
        ("9:19.5", (6, 13)),
        ("1.5:1", (3, 2)),
    ],
)
def test_a_ratio_is_its_smallest_whole_numbers(text: str, ratio: tuple[int, int]) -> None:
    assert rules.ratio_of(text) == ratio


@pytest.mark.parametrize(
    "text", ["", "wide", "0:1", "1:0", "1", "1:2:3", "-1:2", "1e3:1", "１:１", "1:1\n", ".5:1", "9" * 9]
)
def test_anything_else_is_refused_as_a_ratio(text: str) -> None:
    with pytest.raises(BadRequest, match="two numbers W:H such as 16:9"):
        rules.ratio_of(text)


@pytest.mark.parametrize("ratio", ["", "1:1", "16:9", "9:16", "21:9", "3:2"])
@pytest.mark.parametrize("square", [512, 1024, 2048])
def test_sides_keep_the_ratio_the_area_and_the_step(ratio: str, square: int) -> None:
    width, height = rules.sides_of(ratio, square, 8)
    wide, high = rules.ratio_of(ratio or "1:1")
    assert (width % 8, height % 8) == (0, 0)
    assert width / height == pytest.approx(wide / high, rel=0.03)
    assert width * height == pytest.approx(square**2, rel=0.03)


@pytest.mark.parametrize(("seed", "given"), [(None, False), (-1, False), (0, True), (7, True)])
def test_a_seed_of_minus_one_asks_for_any(seed: int | None, given: bool) -> None:
    request = image_request(seed=seed)
    assert rules.has_seed(request) is given
    drawn = rules.seed_or_drawn(request, range(5, 8))
    assert drawn == seed if given else drawn in range(5, 8)


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (image_request(" \n"), "the prompt is empty"),
        (image_request("12345"), "a prompt has at most 4 characters here, not 5: the rest is lost"),
        (image_request("1234"), None),
    ],
)
def test_a_prompt(request_: ImageRequest, rule: str | None) -> None:
    assert broken(*rules.prompt(request_, 4, "the rest is lost")) == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("count", "limit", "rule"),
    [
        (None, 1, None),
        (1, 1, None),
        (2, 1, "one request makes one picture here, not 2"),
        (0, 4, "one request makes 1 to 4 pictures here, not 0"),
        (5, 4, "one request makes 1 to 4 pictures here, not 5"),
    ],
)
def test_a_count(count: int | None, limit: int, rule: str | None) -> None:
    assert broken(rules.count(image_request(count=count), limit)) == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("number", "low", "high", "rule"),
    [
        (0, 0, 0, None),
        (1, 0, 0, "X makes pictures from text alone: leave out the references"),
        (2, 0, 2, None),
        (3, 0, 2, "X takes at most 2 reference pictures, not 3"),
        (0, 1, 1, "X takes exactly 1 reference picture, not 0"),
        (3, 1, 2, "X takes 1 to 2 reference pictures, not 3"),
    ],
)
def test_the_number_of_references(number: int, low: int, high: int, rule: str | None) -> None:
    found = broken(*rules.references(image_request(references=("a",) * number), high, "X", low))
    assert found[:1] == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("value", "whole", "usable"),
    [
        ("1", False, True),
        ("1.5", False, True),
        (".5", False, False),
        ("2", True, True),
        ("1.5", True, False),
        ("11", False, False),
        *((text, False, False) for text in ("", "nan", "1e0", "-1", "1.", "１", "0x1", "1_0")),
    ],
)
def test_a_number_is_digits_with_one_point_within_its_bounds(value: str, whole: bool, usable: bool) -> None:
    assert broken(rules.number("x", value, 1, 10, whole=whole)) == (
        [] if usable else [f"x is {'a whole number' if whole else 'a number'} from 1 to 10, not {value!r}"]
    )


def test_an_unknown_option_names_the_nearest() -> None:
    request = image_request(extra={"stepz": "1"})
    with pytest.raises(BadRequest, match="X has no option 'stepz'") as refused:
        rules.options(request, ("steps", "cfg"), "X")
    assert refused.value.hint == "did you mean steps?"
    with pytest.raises(BadRequest) as refused:
        rules.options(request, (), "X")
    assert refused.value.hint == "it has no options"
    rules.options(image_request(), (), "X")


@pytest.mark.parametrize(
    ("wrong", "is_broken"),
    [({"width": 1, "height": 1, "ratio": "1:1"}, True), ({"height": 1, "resolution": "1k"}, True),
     ({"width": 1, "height": 1}, False), ({"ratio": "1:1", "resolution": "1k"}, False)],
)  # fmt: skip
def test_a_size_has_its_own_ratio_and_resolution(wrong: dict[str, Any], is_broken: bool) -> None:
    assert bool(broken(rules.size_or_ratio(image_request(**wrong)))) is is_broken


def test_a_wrong_value_is_repeated_in_part() -> None:
    assert rules.shown("x" * 1000) == repr("x" * rules.MAX_SHOWN_CHARS)


def test_the_longest_beginning_of_a_name_counts() -> None:
    table = {"a": 1, "ab": 2, "abc": 3}
    assert [rules.by_prefix(table, name) for name in ("abx", "abcd", "a", "x", "")] == [2, 3, 1, None, None]


def test_the_first_broken_rule_is_raised() -> None:
    with pytest.raises(BadRequest, match="second"):
        rules.check([(False, "first"), (True, "second"), (True, "third")])
    rules.check([(False, "first")])
