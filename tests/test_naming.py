import time
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.naming import DEFAULT, FIELDS, MAX_SLUG_BYTES, check_template, free_name, name_for, slug
from imagegen_cli.core.task import ImageRequest, TaskId

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""

NOON = time.mktime((2026, 11, 23, 12, 30, 5, 0, 0, -1))
HOSTILE = (
    "../../etc/passwd", "/etc/passwd", "..", ".", "...", "~/.ssh/id_rsa", "-rf *", "--help", "C:\\Windows\\con",
    "%s %n %%", "{} {0} {id} {{index}}", "{index}", "a\0b", "\x1b[2J\x1b]0;x\x07", "[bold red]x[/]", "\u202egnp.exe",
    "שלום עולם", "مرحبا", "🐱🐱🏖️", "❤️", "👨\u200d👩\u200d👧", "1️⃣", "\ufeff", "\u200b", "\ud800", " . . ", "\n\r\t",
    "a" * 10_000, "日落海滩上的两只猫" * 100, "e\u0301" * 500, "\u0301" * 50, "CON", "nul.txt", "COM1", "lpt9", "com¹",
)  # fmt: skip
SUFFIX_AND_PART = len(".") + len("~9999") + len(".webp") + len(".part")
EVERY_FIELD = "".join(f"{{{name}}}" for name in FIELDS)
TEMPLATES = (DEFAULT, "{index}", "{slug}", "{slug}{index}", "{name}-{index}", "{model}{index}", "x", "", EVERY_FIELD)


def request(prompt: str = "two cats", **more: Any) -> ImageRequest:
    return replace(ImageRequest(prompt=prompt, provider="studio", model="4.0", seed=7), **more)


def named(template: str = DEFAULT, wanted: ImageRequest | None = None, task_id: int = 12) -> str:
    return name_for(template, TaskId(task_id), 3, wanted or request(), line=5, now=NOON)


def filled(name: str, index: int = 1) -> str:
    return name.replace("{index}", str(index))


WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"}


def assert_safe(name: str) -> None:
    """A file name that every system takes, that stays in its folder, and that is no option and no device."""
    assert name.count("{index}") == 1, name
    stem = filled(name, 9_999)
    assert stem
    assert not set(stem) & set('/\\\0:*?"<>|')
    assert all(unicodedata.category(sign) not in ("Cc", "Cs", "Cf", "Zl", "Zp") for sign in stem), repr(stem)
    assert stem not in (".", "..")
    assert stem[0] not in "-. ~"
    assert stem[-1] not in ". "
    assert len(stem.encode()) + SUFFIX_AND_PART <= 255
    assert Path("/images", stem).parent == Path("/images")
    for index in (1, 2, 9):
        assert filled(name, index).split(".")[0].strip().lower() not in WINDOWS_DEVICES


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:24])
def test_no_prompt_name_provider_or_model_makes_an_unsafe_name(template: str, hostile: str) -> None:
    assert_safe(named(template, request(hostile)))
    assert_safe(named(template, request(name=hostile)))
    assert_safe(named(template, request(provider=hostile, model=hostile)))


@STEADY
@given(st.sampled_from(TEMPLATES), st.text(st.characters()), st.text(), st.integers(1, 10**12), st.integers())
def test_no_text_at_all_makes_an_unsafe_name(template: str, prompt: str, name: str, task_id: int, seed: int) -> None:
    assert_safe(named(template, request(prompt, name=name, model=prompt, seed=seed), task_id))


@STEADY
@given(st.text(), st.text(), st.integers(1, 10**6), st.integers(1, 10**6))
def test_names_with_an_id_differ_where_the_ids_do(one: str, other: str, first: int, second: int) -> None:
    names = {named(DEFAULT, request(one), first).lower(), named(DEFAULT, request(other), second).lower()}
    assert len(names) == 2 or first == second


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (DEFAULT, "12-two-cats-{index}"),
        ("{id}", "12-{index}"),
        ("{index}", "{index}"),
        ("", "_-{index}"),
        ("{index}-{id}", "{index}-12"),
        ("{index}-{index}", "{index}-"),
        ("{run}_{line}_{index}", "3_5_{index}"),
        ("{provider} {model} {seed} {index}", "studio 4-0 7 {index}"),
        ("{date}-{time}-{index}", "20261123-123005-{index}"),
        ("夏天-{index}", "夏天-{index}"),
        ("...{index}...", "{index}"),
        ("-{index}", "_-{index}"),
        ("{{a}}-{index}", "{a}-{index}"),
        ("con{index}", "con{index}"),
        ("con-{index}", "con-{index}"),
        ("com{index}", "_com{index}"),
        ("lpt{index}", "_lpt{index}"),
        ("con.{index}", "_con.{index}"),
        ("NUL.{slug}.{index}", "_NUL.two-cats.{index}"),
    ],
)
def test_a_template_becomes_a_name(template: str, name: str) -> None:
    assert named(template) == name


def test_a_number_that_is_missing_is_appended() -> None:
    assert named("{slug}") == "two-cats-{index}"


def test_a_name_of_the_persons_own_replaces_the_prompt() -> None:
    assert named(wanted=request(name="Hero Shot")) == "12-hero-shot-{index}"
    assert named("{name}-{index}", request()) == "two-cats-{index}"


def test_a_seed_that_the_service_chooses_leaves_its_field_empty() -> None:
    assert named("a{seed}-{index}", request(seed=None)) == "a-{index}"


@pytest.mark.parametrize("long", ["x" * 400, "猫" * 200])
def test_a_long_template_is_cut_and_keeps_its_number(long: str) -> None:
    for template in (f"{long}-{{index}}", f"{{index}}-{long}", f"{long}-{{index}}-{long}"):
        assert_safe(named(template))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("two cats on a beach", "two-cats-on-a-beach"),
        ("日落海滩上的两只猫", "日落海滩上的两只猫"),
        ("日落，海滩。两只猫！", "日落-海滩-两只猫"),
        ("Ünïcödé ÉTÉ", "ünïcödé-été"),
        ("e\u0301te\u0301", "été"),
        ("हिन्दी", "हिन्दी"),
        ("кошка", "кошка"),
        ("שלום", "שלום"),
        ("a cat 🐱 asleep", "a-cat-asleep"),
        ("a ❤️ b", "a-b"),
        ("🐱🏖️", "image"),
        ("❤️", "image"),
        ("\u0301\u0301", "image"),
        ("葛\U000e0100城", "葛城"),
        ("", "image"),
        ("---", "image"),
        ("../../etc/passwd", "etc-passwd"),
        ("\u202egnp.exe", "gnp-exe"),
        ("100% {index}", "100-index"),
    ],
)
def test_a_slug_keeps_letters_and_digits_of_every_script(text: str, wanted: str) -> None:
    assert slug(text) == wanted


@STEADY
@given(st.text(st.characters()))
def test_a_slug_is_short_whole_and_never_empty(text: str) -> None:
    made = slug(text)
    assert 0 < len(made.encode()) <= MAX_SLUG_BYTES
    assert not made.startswith("-")
    assert not made.endswith("-")
    assert unicodedata.category(made[0]) not in ("Mn", "Mc", "Me"), "a mark needs a letter before it"
    assert slug(made) == made or unicodedata.normalize("NFC", made) != made


def test_a_slug_is_cut_by_bytes_between_letters() -> None:
    assert slug("猫" * 100) == "猫" * (MAX_SLUG_BYTES // 3)


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("{promt}", "unknown field {promt} in the name template", "known: "),
        ("{slag}-{index}", "unknown field {slag} in the name template", "did you mean slug?"),
        ("{indx}", "unknown field {indx} in the name template", "did you mean index?"),
        ("{}", "unknown field {} in the name template", "known: "),
        ("{0}", "unknown field {0} in the name template", "known: "),
        ("{id.real}", "unknown field {id.real} in the name template", ""),
        ("{slug[0]}", "unknown field {slug[0]} in the name template", ""),
        ("{slug:>10}", "the field {slug} in the name template takes no format", ""),
        ("{slug!r}", "the field {slug} in the name template takes no format", ""),
        ("{slug:{id}}", "the field {slug} in the name template takes no format", ""),
        ("a/{slug}", "holds a folder", "--output"),
        ("../{slug}", "holds a folder", "--output"),
        ("a\\{slug}", "holds a folder", "--output"),
        ("{slug", "cannot be read", ""),
        ("slug}", "cannot be read", ""),
        ("{slug}\0", "holds", ""),
        ("\x1b[2J{slug}", "holds", ""),
        ("{slug}\n{index}", "holds", ""),
        ("\udcff{slug}", "holds", ""),
        ("\u202e{slug}", "holds", ""),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_by_name(template: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_template(template)
    text = f"{caught.value.message} {caught.value.hint}"
    assert message in text
    assert hint in text
    assert text.isprintable(), "what is refused must not reach the terminal either"


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_field_that_is_promised_is_taken(template: str) -> None:
    check_template(template)


@STEADY
@given(st.text(st.characters(), max_size=20))
def test_a_template_that_is_accepted_makes_a_name_inside_its_folder(template: str) -> None:
    try:
        check_template(template)
    except UsageError:
        return
    stem = filled(named(template))
    assert Path("/images", stem).parent == Path("/images")
    assert stem not in ("", ".", "..")
    assert all(unicodedata.category(sign) not in ("Cc", "Cs", "Cf", "Zl", "Zp") for sign in stem)


@pytest.mark.parametrize(
    ("taken", "count", "free"),
    [
        (set(), 2, "a-{index}"),
        ({"a-3"}, 2, "a-{index}"),
        ({"a-2"}, 2, "a-~2-{index}"),
        ({"a-1", "a-~2-2"}, 2, "a-~3-{index}"),
        ({"a-1"}, 1, "a-~2-{index}"),
    ],
)
def test_a_name_that_is_taken_gets_a_number(taken: set[str], count: int, free: str) -> None:
    assert free_name("a-{index}", count, taken) == free


def test_names_that_differ_in_case_only_collide() -> None:
    taken = {"cat-1"}
    assert free_name("CAT-{index}", 1, taken) == "CAT-~2-{index}"
    assert free_name("Cat-{index}", 1, taken) == "Cat-~3-{index}"


@STEADY
@given(st.lists(st.tuples(st.sampled_from(["a-{index}", "A-{index}", "a-1{index}", "{index}"]), st.integers(1, 4))))
def test_what_is_given_out_never_meets(wanted: list[tuple[str, int]]) -> None:
    taken: set[str] = set()
    stems = [
        filled(name, index).lower()
        for spec, count in wanted
        for name in [free_name(spec, count, taken)]
        for index in range(1, count + 1)
    ]
    assert len(stems) == len(set(stems))
    assert taken == set(stems)
