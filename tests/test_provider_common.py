"""What several services have in common."""

import base64
import textwrap
from collections.abc import Callable

import httpx
import pytest

from imagegen_cli.core.errors import Expired, Unauthorized
from imagegen_cli.core.events import Working
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import InlineImage, Job, RemoteImage
from imagegen_cli.providers import _common as common
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
    found = facts(seed=7, model=" a\nb ", one=1.5, **nothing)
    assert found == {"seed": 7, "model": "a b", "one": 1.5}


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


ODD_NUMBERS: tuple[object, ...] = (True, "7", None, [], float("nan"), float("inf"), 10**400, 2**63)


@pytest.mark.parametrize(
    ("value", "number", "natural"),
    [
        (7, 7.0, 7),
        (0, 0.0, 0),
        (-1.5, -1.5, None),
        (1.0, 1.0, None),
        *((odd, None, None) for odd in ODD_NUMBERS),
    ],
)
def test_numbers_of_json(value: object, number: float | None, natural: int | None) -> None:
    assert (common.number(value), common.natural(value)) == (number, natural)


@pytest.mark.parametrize(
    ("value", "total", "fraction"),
    [(0.5, 1, 0.5), (50, 100, 0.5), (0, 1, 0.0), (1, 1, 1.0), (2, 1, None), ("1", 1, None)],
)
def test_a_fraction(value: object, total: float, fraction: float | None) -> None:
    assert common.fraction(value, total) == fraction


@pytest.mark.parametrize(
    ("value", "home", "url"),
    [
        ("https://a.example/1.png", "", "https://a.example/1.png"),
        (" https://a.example/1.png\n", "", "https://a.example/1.png"),
        ("/view?x=1", "http://here:1/base", "http://here:1/view?x=1"),
        ("1.png", "http://here:1/base", "http://here:1/base/1.png"),
        ("https://b.example/1.png", "http://here:1", "https://b.example/1.png"),
        *(
            (odd, home, None)
            for home in ("", "http://here:1")
            for odd in ("", " ", None, 7, "http://[x", "https://", "file:///etc/passwd", "data:,x", "https://a/\ud800")
        ),
        ("1.png", "", None),
    ],
)
def test_only_a_web_address_leads_to_a_picture(value: object, home: str, url: str | None) -> None:
    found = common.remote(value, home)
    assert (found and found.url) == url


@pytest.mark.parametrize("id_", ["abc-1_2", "7", "x" * 128])
def test_an_id_can_be_part_of_an_address(id_: str) -> None:
    assert common.job_id(id_) == id_


@pytest.mark.parametrize("id_", ["", "a/b", "a b", "..", "x" * 129, "é", "a?b", 7, None, ["a"]])
def test_anything_else_is_no_id(id_: object) -> None:
    assert common.job_id(id_) == ""


def test_a_service_may_not_know_a_paid_job_for_a_while() -> None:
    job, other = Job("1"), Job("2")
    unknown = common.NotFound(2, "it is gone")
    assert [unknown.missed(job, "UNKNOWN") for _ in range(2)] == [Working(note="UNKNOWN")] * 2
    assert unknown.missed(other, "UNKNOWN") == Working(note="UNKNOWN")
    unknown.found(job)
    assert [unknown.missed(job, "UNKNOWN") for _ in range(2)] == [Working(note="UNKNOWN")] * 2
    with pytest.raises(Expired, match="it is gone"):
        unknown.missed(job, "UNKNOWN")


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "\ud800", "ключ", "tab\t"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(key: str) -> None:
    for auth in (common.Key(Secret(key), "http://here"), common.OriginAuth("http://here", Secret("good"), Secret(key))):
        with pytest.raises(Unauthorized, match="characters that no key has") as refused:
            auth.bound_for("http://here/x")
        assert refused.value.unspent
        assert key not in refused.value.message


@pytest.mark.parametrize(
    ("url", "is_home"),
    [
        ("http://here:80/x", True),
        ("http://HERE/x?y", True),
        ("https://here/x", False),
        ("http://here:81/x", False),
        ("http://here.evil/x", False),
        ("http://evil/here", False),
    ],
)
def test_what_proves_who_we_are_is_for_one_origin(url: str, is_home: bool) -> None:
    assert common.OriginAuth("http://here/base/").is_home(httpx.URL(url)) is is_home
    assert not common.OriginAuth("no address").is_home(httpx.URL(url))
