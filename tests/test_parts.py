"""What several services have in common."""

import base64
import textwrap
from collections.abc import Callable

import pytest

from imagegen_cli.core.task import InlineImage, RemoteImage
from imagegen_cli.providers._common import better, facts, inline, picture, unbased
from imagegen_cli.providers._rules import drawn
from tests.doubles.http import Pictures

PICTURE = Pictures().make("made", 1) + b"\xfb\xff\xbf"
"""Ends in bytes whose digits differ between the two alphabets."""
PLAIN = base64.b64encode(PICTURE).decode()
SAFE = base64.urlsafe_b64encode(PICTURE).decode()
FORMS: dict[str, str] = {
    "plain": PLAIN,
    "URL-safe": SAFE,
    "without padding": PLAIN.rstrip("="),
    "URL-safe without padding": SAFE.rstrip("="),
    "in lines": "\r\n".join(textwrap.wrap(PLAIN, 76)) + "\n",
    "indented": f"\t {PLAIN} ",
    "a data: URI": f"data:image/png;base64,{PLAIN}",
    "a data: URI in capitals": f"DATA:image/PNG;BASE64,{SAFE}",
    "a data: URI with a parameter": f"data:image/png;name=a.png;base64,{PLAIN}",
    "a data: URI with percent signs": f"data:image/png;base64,{PLAIN.replace('+', '%2B').replace('=', '%3D')}",
    "without its scheme": f"image/png;base64,{PLAIN}",
    "with its scheme alone": f"base64,{PLAIN}",
}
assert PLAIN != SAFE


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_base64_is_the_same_picture(form: str) -> None:
    assert unbased(FORMS[form]) == PICTURE
    assert inline(FORMS[form]) == InlineImage(PICTURE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:50] + "*" + text[50:],
        lambda text: text[:50] + "é" + text[50:],
        lambda text: text[:50] + "\ud800" + text[50:],
        lambda text: text[:50] + "=" + text[50:],
        lambda text: text[:50] + "," + text[50:],
        lambda text: text.rstrip("=") + "AAAAA"[: (1 - len(text.rstrip("="))) % 4],
        lambda text: f"data:image/png;base64,{text}%",
        lambda _: "",
        lambda _: "====",
        lambda _: "https://example.com/a.png",
        lambda _: "https://example.com/a,b.png",
    ],
)
def test_what_is_damaged_is_no_picture(spoil: Callable[[str], str]) -> None:
    assert unbased(spoil(PLAIN)) == b""
    assert inline(spoil(PLAIN)) is None


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], {}, b"AAAA"])
def test_only_a_text_is_read(value: object) -> None:
    assert inline(value) is None


def test_a_data_uri_may_be_written_out() -> None:
    assert unbased("data:,a%20b") == b"a b"
    assert unbased("data:text/plain,\ud800") == b""
    assert picture(" Data:image/png;base64," + SAFE) == InlineImage(PICTURE)


def test_facts_are_texts_and_numbers_that_say_something() -> None:
    nothing: dict[str, object] = {
        "odd": True,
        "none": None,
        "empty": "",
        "huge": 10**40,
        "nan": float("nan"),
        "parts": [],
    }
    told = facts(seed=7, model=" a\nb ", one=1.5, **nothing)
    assert told == {"seed": 7, "model": "a b", "one": 1.5}


def test_a_drawn_seed_is_one_that_the_service_takes() -> None:
    assert {drawn(range(5, 7)) for _ in range(100)} == {5, 6}


PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


@pytest.mark.parametrize(
    ("inside", "other", "taken"),
    [
        (PNG, "http://cdn/1.png", PNG),
        (b"not available", "http://cdn/1.png", "http://cdn/1.png"),
        (b"<html>", "http://cdn/1.png", "http://cdn/1.png"),
        (b"not available", None, b"not available"),
        (None, "http://cdn/1.png", "http://cdn/1.png"),
        (None, None, None),
    ],
)
def test_of_bytes_and_an_address_the_one_that_looks_like_a_picture_is_taken(
    inside: bytes | None, other: str | None, taken: bytes | str | None
) -> None:
    found = better(InlineImage(inside) if inside else None, RemoteImage(other) if other else None)
    assert (found and getattr(found, "data", getattr(found, "url", None))) == taken
