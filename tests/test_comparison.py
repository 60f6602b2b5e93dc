"""Prompts that are varied: what comes of them, which seed they share, what is refused, and what is sent again."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, UsageError
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.inputs.comparison import described, expanded, for_more
from imagegen_cli.inputs.plan import Item, Place, dry_run_row, prepare
from imagegen_cli.inputs.prompts import PromptSpec, from_list
from imagegen_cli.inputs.vary import MAX_TASKS, axes_in, check_typed
from imagegen_cli.settings.config import Config, Configured, General
from tests.test_plan import Strict

LIST = "/lists/animals.csv"


class Picky(Strict):
    """Takes a ratio of two numbers, the option `steps`, and no seed for the model `seedless`."""

    kind = "picky"

    def check(self, request: ImageRequest) -> None:
        if request.ratio and not all(side.isdecimal() for side in request.ratio.split(":")):
            raise BadRequest(f"a ratio is W:H, not {request.ratio!r}")
        for name in request.extra:
            if name != "steps":
                raise BadRequest(f"picky has no option {name!r}", hint=nearest(name, ["steps"]))
        if request.model == "seedless" and request.seed is not None:
            raise BadRequest("seedless takes no seed")
        if request.model == "landscape" and request.ratio == "9:16":
            raise BadRequest("landscape has no ratio 9:16")


class Unbuilt(Sequence[str]):
    """Values that are counted and never looked at."""

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError(index)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError


CONFIG = Config(
    general=General(default_provider="picky"),
    providers={"picky": Configured(name="picky", kind="picky", type=Picky, settings=base.Settings(), place="test")},
    files=(),
)


class Alone(Picky):
    """Makes one picture a request."""

    def check(self, request: ImageRequest) -> None: ...

    def max_images(self, request: ImageRequest) -> int | None:
        return 1


EACH_ALONE = replace(
    CONFIG,
    providers={"picky": Configured(name="picky", kind="picky", type=Alone, settings=base.Settings(), place="test")},
)


def varied(*texts: str) -> dict[str, Sequence[str]]:
    return axes_in(texts, lambda _: [])


def spec(prompt: str = "a cat", *texts: str, **more: Any) -> PromptSpec:
    return PromptSpec(prompt=prompt, vary=varied(*texts), **more)


def items(*specs: PromptSpec, new_seeds: bool = False) -> list[Item]:
    return prepare(specs, CONFIG, new_seeds=new_seeds)


def cells(*specs: PromptSpec) -> list[dict[str, str]]:
    return [dict(item.cell) for item in items(*specs)]


def seeds(*specs: PromptSpec, new_seeds: bool = False) -> list[int | None]:
    return [item.request.seed for item in items(*specs, new_seeds=new_seeds)]


def refused(*specs: PromptSpec) -> UsageError:
    with pytest.raises(UsageError) as caught:
        prepare(specs, CONFIG)
    return caught.value


# What comes of a prompt


def test_models_and_variations_are_crossed_and_each_task_has_its_cell() -> None:
    found = items(spec("a cat", "ratio=1:1,16:9", "seed=1..2", models=("3.0", "4.0")))
    assert len(found) == 8
    assert dict(found[1].cell) == {"model": "3.0", "ratio": "1:1", "seed": "2"}
    request = found[1].request
    assert (request.model, request.ratio, request.seed) == ("3.0", "1:1", 2)
    assert list(found[1].cell) == ["model", "ratio", "seed"]


def test_a_pair_is_crossed_with_models_all_the_same() -> None:
    found = cells(spec("a cat", "ratio=1:1,16:9", "seed=1..2", models=("3.0", "4.0"), zipped=True))
    assert [tuple(cell.values()) for cell in found] == [
        ("3.0", "1:1", "1"), ("3.0", "16:9", "2"), ("4.0", "1:1", "1"), ("4.0", "16:9", "2"),
    ]  # fmt: skip


def test_a_word_varies_only_the_prompts_that_hold_it() -> None:
    found = items(spec("a {animal}", "animal=cat,fox"), spec("a house", "animal=cat,fox"))
    assert [item.request.prompt for item in found] == ["a cat", "a fox", "a house"]
    assert [dict(item.cell) for item in found] == [{"animal": "cat"}, {"animal": "fox"}, {}]


def test_an_option_may_have_the_names_that_lists_know() -> None:
    assert cells(spec("a cat", "种子=1,2")) == [{"seed": "1"}, {"seed": "2"}]
    assert refused(spec("a cat", "n=1,2", "count=3,4")).message == "--vary count is given twice"


def test_alternatives_are_words_only_where_they_are_wanted() -> None:
    prompt = "{red|blue} hat, {red|blue} coat"
    assert [item.request.prompt for item in items(spec(prompt))] == [prompt]
    found = items(spec(prompt, alternatives=True))
    assert [item.request.prompt for item in found] == ["red hat, red coat", "blue hat, blue coat"]


def test_nothing_is_a_cell_where_nothing_is_varied() -> None:
    (item,) = items(spec("a {cat}, {red|blue}"))
    assert (item.request.prompt, dict(item.cell)) == ("a {cat}, {red|blue}", {})


def test_a_dry_run_shows_the_cell(tmp_path: Path) -> None:
    (first, _) = items(spec("a cat", "ratio=1:1,16:9"))
    row = dry_run_row(first, CONFIG, Place(folder=tmp_path, template="{slug}-{vary}"))
    assert row["vary"] == {"ratio": "1:1"}
    assert row["file"].endswith("a-cat-1-1-{index}")


# Seeds


def test_a_comparison_shares_one_drawn_seed_for_each_prompt() -> None:
    found = seeds(spec("a cat", "ratio=1:1,16:9"), spec("a dog", "ratio=1:1,16:9"))
    assert found[0] == found[1] != found[2] == found[3]
    assert None not in found


@pytest.mark.parametrize(
    "one",
    [
        spec("a cat", models=("3.0", "4.0"), seed=-1),
        spec("a cat", repeat=2),
        spec("a cat", "ratio=1:1"),
        spec("a cat"),
    ],
    ids=["any seed is wanted", "nothing differs", "one value", "one task"],
)
def test_no_seed_is_drawn_where_nothing_is_compared(one: PromptSpec) -> None:
    assert set(seeds(one)) == {None}


def test_who_takes_no_seed_gets_none() -> None:
    found = seeds(spec("a cat", models=("3.0", "seedless", "4.0")))
    assert found[1] is None
    assert found[0] is not None
    assert found[0] == found[2]


def test_a_seed_that_is_given_or_varied_stays() -> None:
    assert seeds(spec("a cat", "ratio=1:1,16:9", seed=7)) == [7, 7]
    assert seeds(spec("a cat", "ratio=1:1,16:9", "seed=3,4")) == [3, 4, 3, 4]


def test_a_repetition_has_another_seed() -> None:
    assert seeds(spec("a cat", seed=7, count=3, repeat=2)) == [7, 10]
    first, second, third, fourth = seeds(spec("a cat", "ratio=1:1,16:9", repeat=2))
    assert (first, second) == (third, fourth)
    assert first != second


def test_each_run_draws_anew_and_a_list_finds_its_seeds_again() -> None:
    typed, listed = spec("a cat", "ratio=1:1,16:9"), spec("a cat", "ratio=1:1,16:9", source=LIST)
    assert seeds(typed) != seeds(typed)
    assert seeds(listed) == seeds(listed)
    assert seeds(listed, new_seeds=True) != seeds(listed)
    more = spec("a cat", "ratio=1:1,16:9,9:16", source=LIST)
    assert set(seeds(more)) == set(seeds(listed))
    assert len(set(seeds(listed, listed))) == 2, "equal rows are two comparisons"


def test_the_drawn_seed_is_no_part_of_the_identity() -> None:
    listed = spec("a cat", "ratio=1:1,16:9", source=LIST)
    more = spec("a cat", "ratio=9:16,1:1,16:9", source=LIST)
    before = {item.identity for item in items(listed, new_seeds=True)}
    assert before == {item.identity for item in items(listed)}
    assert before < {item.identity for item in items(more)}
    assert before == {item.identity for item in items(spec("a cat", ratio="1:1"), spec("a cat", ratio="16:9"))}


# How many


def test_the_number_is_said_by_what_it_comes_from() -> None:
    one = spec("a {b}", "ratio=1:1,16:9,9:16", "b=1..2", models=("3.0", "4.0"), repeat=2)
    assert described([one]) == "model 2 × ratio 3 × b 2 × repeat 2"
    assert described([one, one]) == "2 prompts × model 2 × ratio 3 × b 2 × repeat 2"
    assert described([one, spec("a dog", "b=1..2")]) == "2 prompts, varied by model, ratio, b"
    assert described([spec("a", "ratio=1:1,16:9", "seed=1..2", zipped=True)]) == "ratio+seed 2"


@pytest.mark.parametrize(
    ("one", "axis"),
    [
        (spec("a cat", "seed=1..1000", "count=1..1000", "ratio=1..1000"), "seed has 1,000 values"),
        (spec("a cat", "seed=1..999999999999999999"), "seed has 999,999,999,999,999,999 values"),
        (spec("a cat", repeat=10**9), "lower --repeat"),
        (spec("a cat", "seed=1..6000", models=("3.0", "4.0")), "seed has 6,000 values"),
        (spec("{a|b}" + "{a|b }{a |b}" * 10, alternatives=True, repeat=5000), "has 2 values"),
    ],
    ids=["crossed", "one", "repeated", "models", "alternatives"],
)
def test_too_many_are_refused_before_one_is_built(one: PromptSpec, axis: str) -> None:
    unbuilt = replace(one, vary={name: Unbuilt(values) for name, values in one.vary.items()})
    error = refused(unbuilt)
    assert "tasks would be sent" in error.message
    assert f"at most {MAX_TASKS:,}" in error.message
    assert axis in error.hint


def test_the_sum_of_many_prompts_counts() -> None:
    many = [spec(f"cat {number}", "seed=1..9000") for number in range(12)]
    assert "108,000 tasks would be sent: 12 prompts × seed 9,000; variations come to at most" in refused(*many).message


def test_a_long_list_may_compare_models() -> None:
    one = spec("a cat", models=tuple(map(str, range(600))))
    assert described([one] * 200) == "200 prompts × model 600"


def test_typed_variations_are_counted_before_anything_else() -> None:
    texts = ["seed=1..1000", "steps=1..1000", "cfg=1..1000"]
    with pytest.raises(UsageError, match="1,000,000,000 tasks"):
        check_typed(texts, zipped=False, repeat=1)
    check_typed(texts, zipped=True, repeat=1)
    check_typed(["a=@values.txt", "b=1..9000"], zipped=False, repeat=1)


# Equal cells


@pytest.mark.parametrize(
    ("one", "number", "remark"),
    [
        (spec("a", "seed=1,1"), 1, "2 equal cells are one"),
        (spec("a", models=("m", "m")), 1, "2 equal cells are one"),
        (spec("a {x|x} b", alternatives=True), 1, "2 equal cells are one"),
        (spec("a {q}", "q=k,k,k"), 1, "3 equal cells are one"),
        (spec("a", "ratio=1:1,1：1,16:9"), 2, "2 equal cells are one"),
        (spec("a", "seed=1,01,2", "ratio=1:1,16:9"), 4, "4 equal cells are 2"),
        (spec("a", "ratio=1:1,1:1", "seed=5,5", zipped=True), 1, "2 equal cells are one"),
        (spec("a {q}", "q=k,k", repeat=2), 2, "4 equal cells are 2"),
        (spec("a {q}", "q=k,k", repeat=2, seed=-1), 2, "4 equal cells are 2"),
        (spec("a", repeat=3, seed=-1), 3, ""),
        (spec("a", "count=1,2", seed=-1), 3, ""),
        (spec("a", "seed=1..2"), 2, ""),
    ],
)
def test_equal_cells_are_one_and_it_is_said(one: PromptSpec, number: int, remark: str) -> None:
    said: list[str] = []
    assert len(prepare([one], EACH_ALONE, remark=said.append)) == number
    assert said == ([remark] if remark else [])


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (spec("a", "seed=1,2", count=2), "--vary seed=1 and seed=2 would both pay for the picture with seed 2"),
        (spec("a", "count=1,2"), "--vary count=1 and count=2 would both pay"),
        (spec("a", "count=2,4", seed=7), "the picture with seed 7"),
    ],
)
def test_cells_that_share_some_pictures_are_refused(one: PromptSpec, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepare([one], EACH_ALONE)
    assert "-n 1" in caught.value.hint
    assert len(prepare([spec("a", "seed=1..3..2", count=2)], EACH_ALONE)) == 4


def test_a_cell_that_is_one_with_another_changes_no_identity_of_a_list() -> None:
    rows = [replace(spec("a", texts, repeat=2), source=LIST) for texts in ("ratio=1:1,2:1", "ratio=1:1,1:1,2:1")]
    first, second = ([item.identity for item in prepare([row], EACH_ALONE)] for row in rows)
    assert first == second


# What is refused


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (spec("a", "ratio=1:1,9:x"), "--vary ratio=9:x: a ratio is W:H, not '9:x'"),
        (spec("a", "ratio=1:1,9:x", "seed=1..2", models=("3.0", "4.0")), "--vary ratio=9:x: a ratio is W:H, not '9:x'"),
        (
            spec("a", "ratio=1:1,9:16", models=("3.0", "landscape")),
            "--vary model=landscape ratio=9:16: landscape has no ratio 9:16",
        ),
        (spec("a", "size=1x1,1xx"), "--vary size=1xx: '1xx' is no size; write it like 1024x768"),
        (spec("a", "count=0,1"), "--vary count=0: count is 0; it must be at least 1"),
        (spec("a", "seed=x,1"), "--vary seed: 'x' is no whole number"),
        (spec("a", "step=1,2"), "--vary step: {step} stands in no prompt, and picky has no option 'step'"),
        (spec("{a}", "a=...,b"), "--vary a=...: the prompt has no letter and no digit"),
        (spec("a", "seed=1..2", repeat=2), "--repeat makes each variation again with another seed, and"),
        (spec("a", "size=1x1,2x2", "ratio=1:1,2:1"), "--vary size goes with no --vary ratio"),
        (spec("a", "ratio=1:1,2:1", "seed=1..3", zipped=True), "--zip pairs variations of one length, but"),
        (spec("a", "model=1,2", models=("3.0", "4.0")), "--vary model is given twice"),
    ],
)
def test_a_bad_value_is_refused_with_its_axis(one: PromptSpec, message: str) -> None:
    assert refused(one).message.startswith(message)


@pytest.mark.parametrize(
    ("name", "prompt", "meant"),
    [("step", "a", "steps"), ("ratoi", "a", "ratio"), ("animl", "a {animal}", "animal"), ("zzz", "a", "steps")],
)
def test_an_unknown_name_says_what_may_be_meant(name: str, prompt: str, meant: str) -> None:
    assert meant in refused(spec(prompt, f"{name}=1,2")).hint


@pytest.mark.parametrize("name", ["seeds", "ratoi", "animl", "negativ"])
def test_a_slip_is_refused_also_where_the_service_takes_any_name(name: str) -> None:
    class Open(Picky):
        def check(self, request: ImageRequest) -> None: ...

    provider = Configured(name="picky", kind="picky", type=Open, settings=base.Settings(), place="test")
    config = replace(CONFIG, providers={"picky": provider})
    with pytest.raises(UsageError, match=f"--vary {name}: it is no option"):
        prepare([spec("an {animal}", f"{name}=1,2")], config)
    assert len(prepare([spec("an {animal}", f"{name}=1,2", extra={name: "0"})], config)) == 2
    assert len(prepare([spec("an {animal}", "image_size=1,2")], config)) == 2


def test_a_bad_cell_of_a_list_is_named_once_with_its_line() -> None:
    rows = b'prompt,vary\na cat,ratio=1:1\na dog,"ratio=9:x; seed=1..3"\n'
    listed = from_list("a.csv", rows, PromptSpec(prompt=""))[0]
    assert refused(*listed).message == "a.csv:3: --vary ratio=9:x: a ratio is W:H, not '9:x'"
    typed = [spec("a", "ratio=1:1,9:x", line=1), spec("b", "ratio=1:1,9:x", line=2)]
    assert refused(*typed).message == "prompt 1: --vary ratio=9:x: a ratio is W:H, not '9:x' (also prompt 2)"


# Lists


def listed(text: str, *typed: str, name: str = "a.csv") -> list[PromptSpec]:
    return from_list(name, text.encode(), PromptSpec(prompt="", vary=varied(*typed)))[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'prompt,vary\na {x},"ratio=1:1,16:9; x=red\\, dark,a\\;b"\n'),
        ("a.jsonl", '{"prompt": "a {x}", "vary": {"ratio": "1:1,16:9", "x": ["red, dark", "a;b"]}}\n'),
        ("a.jsonl", '{"prompt": "a {x}", "vary": "ratio=1:1,16:9;{x}=red\\\\, dark,a\\\\;b"}\n'),
        ("a.csv", 'prompt,vary\na {x},"{""ratio"": [""1:1"", ""16:9""], ""x"": [""red, dark"", ""a;b""]}"\n'),
    ],
    ids=["column", "object", "text", "object in a column"],
)
def test_a_row_varies_itself(name: str, text: str) -> None:
    (row,) = listed(text, name=name)
    assert {axis: list(values) for axis, values in row.vary.items()} == {
        "ratio": ["1:1", "16:9"], "x": ["red, dark", "a;b"],
    }  # fmt: skip
    assert len(items(row)) == 4


def test_numbers_in_json_are_values_and_texts_in_a_list_are_taken_as_they_are() -> None:
    (row,) = listed('{"prompt": "a {x}", "vary": {"seed": [1, 2], "x": ["1..3", "@a"]}}', name="a.jsonl")
    assert {axis: list(values) for axis, values in row.vary.items()} == {"seed": ["1", "2"], "x": ["1..3", "@a"]}


def test_what_is_typed_varies_every_row_and_is_crossed_with_the_row_s_own() -> None:
    first, second = listed("prompt,vary\na,seed=1..2\nb,\n", "ratio=1:1,16:9")
    assert (len(items(first)), len(items(second))) == (4, 2)


@pytest.mark.parametrize(
    ("text", "typed", "message"),
    [
        ("prompt,vary\na,animal=@/etc/passwd\n", (), "vary names the file '/etc/passwd'"),
        ("prompt,ratio,vary\na,1:1,ratio=2:1\n", (), "the row varies ratio, which is set or varied as well"),
        ("prompt,vary\na,ratio=2:1\n", ("ratio=1:1",), "the row varies ratio, which is set or varied as well"),
        ("prompt,model\na,3.0\n", ("model=4.0,5.0",), "the row sets model, and --vary model varies it"),
        ("prompt,vary\na,ratio\n", (), "--vary 'ratio' has no name and values"),
        ("prompt,vary\na,seed=1;seed=2\n", (), "--vary seed is given twice"),
        ("prompt,vary\na,{seed\n", (), "vary holds no JSON object"),
    ],
)
def test_a_row_that_cannot_be_varied_is_refused_by_its_line(text: str, typed: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed(text, *typed)
    assert caught.value.message.startswith(f"a.csv:2: {message}")


@pytest.mark.parametrize(
    "value", ["[]", "7", "{}", '{"a": []}', '{"a": [true]}', '{"a": [""]}', '{"a": {}}', '{"": [1]}']
)
def test_a_value_in_json_that_varies_nothing_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="vary"):
        listed(f'{{"prompt": "a", "vary": {value}}}', name="a.jsonl")


def test_what_a_list_varies_is_trusted_as_little_as_what_it_sets() -> None:
    (row,) = listed('prompt,vary\na,"provider=x,y; image=/etc/passwd; model=1,2"\n')
    assert row.listed >= {"provider", "references", "models"}
    (typed,) = listed("prompt\na\n", "image=a.png,b.png")
    assert "references" not in typed.listed


def test_a_prompt_that_is_typed_later_is_varied_by_options_and_not_by_words_of_others() -> None:
    later = for_more(spec("a house", "ratio=1:1,16:9", "animal=cat,dog"), [spec("a {animal}", "animal=cat,dog")])
    assert list(later.vary) == ["ratio"]
    assert [one.cell for one in expanded([later])] == [{"ratio": "1:1"}, {"ratio": "16:9"}]
