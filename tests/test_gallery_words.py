"""The page and the sheet in another language: every word of ours is known, and prompts stay as they are."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from imagegen_cli.core import language
from imagegen_cli.core.language import Message
from imagegen_cli.gallery import words
from imagegen_cli.gallery.labels import Fonts
from imagegen_cli.gallery.page import write
from imagegen_cli.gallery.sheet import draw
from imagegen_cli.gallery.values import Picture
from tests.test_language import Loud

SCRIPT, SKELETON = (
    files("imagegen_cli.gallery").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("js", "html")
)
SHOWN = ("placeholder", "aria-label", "title")


class Strange(Loud):
    """A language whose signs no font of ours has."""

    def gettext(self, message: str) -> str:
        return f"\u4e2d{super().gettext(message)}"


@pytest.fixture
def loud() -> Iterator[None]:
    language.use(Loud())
    yield
    language.use(None)


@pytest.fixture
def strange() -> Iterator[None]:
    language.use(Strange())
    yield
    language.use(None)


class Texts(HTMLParser):
    """The texts that a person sees on a page before its script has run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.element = self.language = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.element = tag
        self.found += [value or "" for name, value in attrs if name in SHOWN]
        self.language = dict(attrs).get("lang") or self.language

    def handle_data(self, data: str) -> None:
        if self.element not in ("script", "style"):
            self.found.append(data)


def foxes(folder: Path, reason: str = "") -> list[Picture]:
    Image.new("RGB", (64, 48), "#a05a3c").save(folder / "fox.png")
    made = Picture(path=str(folder / "fox.png"), prompt="a fox", task=1, run=1, axes=(("seed", "1"),))
    lost = Picture(path="", prompt="a fox", task=2, run=1, axes=(("seed", "2"),), state="failed", reason=reason)
    return [made, lost]


def test_the_script_says_nothing_that_cannot_be_translated() -> None:
    told = set(re.findall(r'\btr\("([^"]+)"', SCRIPT))
    assert told == {str(text) for text in words.TEXTS}
    counted = re.findall(r'\bcounted\([^"]*"([^"]+)", "([^"]+)"', SCRIPT)
    assert len(counted) == 2
    assert all(re.sub(r"(?<=picture)s", "", many) == one for one, many in counted)
    assert set(re.findall(r'\bnamed\("([^"]+)"', SCRIPT)) <= {*words.NAMES, *words.STATES}


def test_the_skeleton_says_nothing_that_cannot_be_translated() -> None:
    assert set(re.findall(r"\{\{tr ([^}]+)\}\}", SKELETON)) == set(words.SKELETON)
    plain = Texts(re.sub(r"\{\{[^}]+\}\}", "", SKELETON)).found
    assert [text for text in plain if re.search(r"[A-Za-z]{2}", text)] == ["Enter", "Esc"]


def test_the_page_is_in_the_language_in_use(tmp_path: Path, loud: None) -> None:
    reason = Message("the {what} said no").format(what="service")
    html = write(foxes(tmp_path, reason=reason), tmp_path / "a.html", tmp_path / "cache").file.read_text("utf-8")
    page = Texts(html)
    assert page.language == "EN"
    assert [text for text in page.found if re.search("[a-z]{2}", text)] == ["Enter", "Esc"]
    told = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html)
    script, pictures, _ = map(json.loads, told)
    assert script["words"]["{count} picture"] == "{count} PICTURES"
    assert script["words"]["{shown} of {count} picture"] == "{shown} OF {count} PICTURES"
    assert script["words"]["Side by side holds {count} pictures at most."].startswith("SIDE BY SIDE HOLDS {count} ")
    assert script["names"]["failed"] == "FAILED"
    assert [(one["p"], one["s"]) for one in pictures] == [("a fox", "done"), ("a fox", "failed")]
    assert pictures[1]["y"] == "THE service SAID NO"


def test_an_english_page_has_its_words_in_the_script_alone(tmp_path: Path) -> None:
    html = write(foxes(tmp_path), tmp_path / "a.html", tmp_path / "cache").file.read_text("utf-8")
    assert '<html lang="en">' in html
    assert '<script type="application/json" id="page">{"folder":"","part":100}</script>' in html


def test_names_that_were_varied_together_are_translated_one_by_one(loud: None) -> None:
    assert words.name_shown("model · ratio") == "MODEL · RATIO"
    assert words.name_shown("animal · seed") == "animal · SEED"


def test_a_sheet_is_english_where_no_font_has_the_signs(tmp_path: Path, strange: None) -> None:
    pictures = foxes(tmp_path)
    drawn = draw(pictures, tmp_path / "a.png", fonts=Fonts(system=False))
    language.use(None)
    draw(pictures, tmp_path / "b.png", fonts=Fonts(system=False))
    assert drawn.undrawn == ""
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_sheet_is_in_the_language_in_use(tmp_path: Path, loud: None) -> None:
    pictures = foxes(tmp_path)
    draw(pictures, tmp_path / "a.png", fonts=Fonts(system=False))
    language.use(None)
    draw(pictures, tmp_path / "b.png", fonts=Fonts(system=False))
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
