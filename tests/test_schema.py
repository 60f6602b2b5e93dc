import copy
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.schema import Secret, default_of, nearest, read_table, setting

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""


@dataclass(frozen=True, kw_only=True)
class Example:
    text: str = setting("a", "a text")
    count: int = setting(1, "a number")
    limit: int | None = setting(None, "a number or nothing")
    seconds: float = setting(0.5, "a number")
    strict: bool = setting(False, "a switch")
    key: Secret = setting(Secret(), "a secret")
    names: tuple[str, ...] = setting((), "several")
    headers: Mapping[str, str] = setting({}, "a table")


def read(table: Mapping[str, Any]) -> Example:
    return read_table(Example, table, where="[example]", line_of=lambda key: f"file:{key}")


@pytest.mark.parametrize(
    ("key", "value", "read_as"),
    [
        ("text", "b", "b"),
        ("text", "", ""),
        ("count", 0, 0),
        ("count", -3, -3),
        ("limit", 4, 4),
        ("seconds", 2, 2.0),
        ("seconds", 2.5, 2.5),
        ("strict", True, True),
        ("key", "sk-1", Secret("sk-1")),
        ("key", Secret("sk-1"), Secret("sk-1")),
        ("names", ["a", "b"], ("a", "b")),
        ("names", [], ()),
        ("headers", {"X-One": "1"}, {"X-One": "1"}),
    ],
)
def test_a_value_of_the_right_kind_is_taken(key: str, value: Any, read_as: Any) -> None:
    found = getattr(read({key: value}), key)
    assert found == read_as
    assert type(found) is type(read_as)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text", 1, "file:text: text in [example] must be a text, not a whole number"),
        ("text", ["a"], "file:text: text in [example] must be a text, not a list"),
        ("count", "1", "file:count: count in [example] must be a whole number, not a text"),
        ("count", 1.5, "file:count: count in [example] must be a whole number, not a number"),
        ("count", True, "file:count: count in [example] must be a whole number, not true or false"),
        ("limit", "all", "file:limit: limit in [example] must be a whole number, not a text"),
        ("seconds", "1", "file:seconds: seconds in [example] must be a number, not a text"),
        ("seconds", True, "file:seconds: seconds in [example] must be a number, not true or false"),
        ("strict", 1, "file:strict: strict in [example] must be true or false, not a whole number"),
        ("key", 5, "file:key: key in [example] must be a text, not a whole number"),
        ("names", "a", "file:names: names in [example] must be a list of texts, not a text"),
        ("names", ["a", 1], "file:names: names in [example] must be a list of texts, not a list"),
        ("headers", "a", "file:headers: headers in [example] must be a table of texts, not a text"),
        ("headers", {"a": 1}, "file:headers: headers in [example] must be a table of texts, not a table"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_place(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({key: value})
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("secnds", "did you mean seconds?"),
        ("header", "did you mean headers?"),
        ("zzz", "known: count, headers, key, limit, names, seconds, strict, text"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known(key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({"text": "b", key: 1})
    assert caught.value.message == f"file:{key}: unknown key {key!r} in [example]"
    assert caught.value.hint == hint


def test_what_is_left_out_keeps_its_default() -> None:
    assert read({}) == Example()
    assert read({"count": 2}).text == "a"


def test_a_table_as_default_is_shared_by_nobody() -> None:
    assert Example().headers is not Example().headers


def test_a_setting_carries_its_meaning_and_default() -> None:
    found = {item.name: (item.metadata["doc"], default_of(item)) for item in fields(Example)}
    assert found["seconds"] == ("a number", 0.5)
    assert found["headers"] == ("a table", {})


def test_a_field_without_a_default_says_so() -> None:
    @dataclass
    class Bare:
        name: str
        more: list[str] = field(default_factory=list)

    name, more = fields(Bare)
    assert type(default_of(name)).__name__ == "_MISSING_TYPE"
    assert default_of(more) == []


@STEADY
@given(st.text(min_size=1))
def test_a_secret_is_shown_nowhere(text: str) -> None:
    secret = Secret(text)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>4}", repr(Example(key=secret)), repr([secret])]
    assert all("****" in one for one in shown)
    assert all(one.count("*") == 4 for one in shown)
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == text


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, copy.copy])
def test_a_secret_is_written_nowhere(write: Any) -> None:
    with pytest.raises(TypeError, match="not written"):
        write(Secret("sk-1"))


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a")
    assert not Secret()
    assert repr(Secret()) == "''"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("promt", ("prompt", "ratio"), "did you mean prompt?"),
        ("x", ("b", "a"), "known: a, b"),
        ("x", (), "known: "),
    ],
)
def test_the_nearest_name_or_all_of_them(name: str, known: tuple[str, ...], hint: str) -> None:
    assert nearest(name, known) == hint
