"""The page in a real browser, without a window: what it shows, what its keys do, and that nothing else happens."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from imagegen_cli.gallery.page import write
from imagegen_cli.gallery.values import Picture
from tests.doubles.http import Pictures
from tests.doubles.openai import ImageServer
from tests.program import Program

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed (Debian: apt-get install chromium)")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

MOST_FIGURES = 100
HOSTILE = [
    "<script>hacked = 1</script>", '"><img src=x onerror="hacked = 1">', "</script><script>hacked = 1</script>",
    "javascript:hacked=1", "line\u2028hacked = 1\u2029", "\u202etxet desrever\u202c", "null\0\x1b byte <b>bold</b>",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Looked(NamedTuple):
    """A page that is open, and all that it said and asked for."""

    page: Any
    said: list[str]
    asked: list[str]

    def figures(self) -> int:
        return int(self.page.locator("figure").count())

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def current(self) -> str:
        found = self.page.locator("figure.current figcaption")
        return str(found.text_content()) if found.count() else ""

    def pasted(self, text: str) -> None:
        """Wait for it in the line for words."""
        self.page.wait_for_function("(text) => document.querySelector('#search').value === text", arg=text)

    def settled(self) -> None:
        """Wait for the next picture of the screen: what scrolling and typing cause is drawn then."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@contextmanager
def looking(browser: Any, file: Path, *, wide: int = 1280, scheme: str = "light") -> Iterator[Looked]:
    """Open a page; at the end it must have said nothing, and asked for nothing outside its own folder."""
    context = browser.new_context(viewport={"width": wide, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    looked = Looked(page, [], [])
    page.on("console", lambda message: looked.said.append(message.text))
    page.on("pageerror", lambda error: looked.said.append(str(error)))
    page.on("dialog", lambda dialog: looked.said.append(dialog.message))
    page.on("request", lambda request: looked.asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield looked
    looked.settled()
    context.close()
    assert looked.said == []
    home = file.parent.as_uri() + "/"
    assert not [url for url in looked.asked if not url.startswith((home, "data:"))]


def saved(folder: Path, count: int) -> list[str]:
    sizes = [(96, 64), (64, 96), (64, 64), (128, 72)]
    for at in range(count):
        Image.new("RGB", sizes[at % 4], (at * 37 % 256, at * 91 % 256, 140)).save(folder / f"{at}.png")
    return [str(folder / f"{at}.png") for at in range(count)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of two models; the sixth failed."""
    folder = tmp_path_factory.mktemp("small")
    paths = saved(folder, 12)
    prompts = ["a fox in the snow", "小猫 在 雨夜 里", "a lighthouse"]
    pictures = [
        Picture(
            path="" if at == 5 else paths[at],
            prompt=prompts[at % 3],
            task=at,
            run=1 + at // 6,
            parameters=(("model", "alpha" if at % 2 else "beta"), ("seed", str(at)), ("ratio", "1:1")),
            axes=(("number", f"n{at}"),),
            command=f"imagegen again {at}",
            state="failed" if at == 5 else "done",
            reason="moderated: 内容审核未通过" if at == 5 else "",
        )
        for at in range(12)
    ]
    return write(pictures, folder / "page.html", folder / "cache", title="Foxes 狐狸").file


def test_all_is_shown_and_nothing_is_said(browser: Any, small: Path) -> None:
    with looking(browser, small) as looked:
        assert looked.page.locator("h1").text_content() == "Foxes 狐狸"
        assert looked.page.locator("#count").text_content() == "12 pictures"
        assert looked.figures() == 12
        assert looked.page.locator(".why").text_content() == "failedmoderated: 内容审核未通过"
        loaded = (
            "() => [...document.querySelectorAll('figure img')].every((one) => one.complete && one.naturalWidth > 0)"
        )
        looked.page.wait_for_function(loaded)


def test_rows_are_as_wide_as_the_page_and_pictures_keep_their_shape(browser: Any, small: Path) -> None:
    for wide in (360, 1280):
        with looking(browser, small, wide=wide) as looked:
            boxes = looked.page.evaluate(
                "() => [...document.querySelectorAll('.frame')].map((one) => one.getBoundingClientRect().toJSON())"
            )
            grid = looked.page.locator("#grid").bounding_box()
            tops = sorted({round(box["top"]) for box in boxes})
            for top in tops[:-1]:
                row = [box for box in boxes if round(box["top"]) == top]
                assert max(box["right"] for box in row) == pytest.approx(grid["x"] + grid["width"], abs=2)
            assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(96 / 64, rel=0.02)
            assert looked.page.evaluate("document.documentElement.scrollWidth") <= wide


def test_search_and_filters(browser: Any, small: Path) -> None:
    with looking(browser, small) as looked:
        search = looked.page.locator("#search")
        for words, count in (
            ("fox", 4),
            ("FOX  snow", 4),
            ("猫", 4),
            ("雨夜", 4),
            ("审核", 1),
            ("ｆｏｘ", 4),
            ("no such", 0),
            ("", 12),
        ):
            search.fill(words)
            assert looked.figures() == count, words
        assert looked.page.locator("#empty").is_hidden()
        looked.page.locator("#model").select_option("alpha")
        assert looked.page.locator("#count").text_content() == "6 of 12 pictures"
        looked.page.locator("#states button", has_text="failed").click()
        assert looked.figures() == 1
        search.fill("fox")
        assert looked.page.locator("#empty").is_visible()
        looked.page.locator("#reset").click()
        assert looked.figures() == 12


def test_a_walk_by_keyboard(browser: Any, small: Path) -> None:
    with looking(browser, small) as looked:
        looked.press("ArrowRight")
        assert looked.current() == "n0"
        looked.press("ArrowRight", "ArrowRight")
        assert looked.current() == "n2"
        looked.press("ArrowDown")
        assert int(looked.current()[1:]) > 2
        looked.press("ArrowUp")
        assert looked.current() == "n2"
        looked.press("End")
        looked.settled()
        assert looked.current() == "n11"
        looked.press("ArrowRight", "Home", "ArrowLeft")
        assert looked.current() == "n0"

        looked.press("Enter")
        viewer = looked.page.locator("#viewer")
        assert viewer.is_visible()
        assert looked.page.locator("#prompt").text_content() == "a fox in the snow"
        looked.press("ArrowRight")
        assert looked.page.locator("#place").text_content() == "2 of 12"
        facts = looked.page.locator("#facts").inner_text()
        for word in ("alpha", "1:1", "1.png"):
            assert word in facts
        looked.page.wait_for_function("() => document.querySelector('#big').src.endsWith('/1.png')")
        looked.press("Escape")
        assert viewer.is_hidden()
        assert looked.current() == "n1"

        looked.press("/")
        looked.page.keyboard.type("xv?t")
        assert looked.page.locator("#search").input_value() == "xv?t"
        looked.press("Escape", "?")
        assert looked.page.locator("#help").is_visible()
        looked.press("Escape")


def test_the_command_and_the_prompt_are_copied(browser: Any, small: Path) -> None:
    with looking(browser, small) as looked:
        looked.press("ArrowRight", "ArrowRight", "Enter")
        looked.page.locator("#copy-command").click()
        looked.page.locator("#toast", has_text="Command copied").wait_for(state="attached")
        looked.press("Escape", "/", "Control+V")
        looked.pasted("imagegen again 1")
        looked.page.locator("#search").fill("")
        looked.press("Escape", "ArrowRight", "Enter")
        looked.page.locator("#copy-prompt").click()
        looked.page.locator("#toast", has_text="Prompt copied").wait_for(state="attached")
        looked.press("Escape", "/", "Control+V")
        looked.pasted("小猫 在 雨夜 里")


def test_the_chosen_are_seen_side_by_side_with_what_they_differ_in(browser: Any, small: Path) -> None:
    with looking(browser, small) as looked:
        looked.press("ArrowRight", "x")
        assert looked.page.locator("#chosen").text_content() == "1 chosen"
        assert looked.page.locator("#compare").is_disabled()
        looked.press("ArrowRight", "ArrowRight", "x", "ArrowRight", "x")
        looked.page.locator("figure").nth(5).hover()
        looked.page.locator("figure").nth(5).locator(".tick").click()
        assert looked.page.locator("#chosen").text_content() == "4 chosen"
        looked.press("v")
        columns = looked.page.locator("#columns article")
        assert columns.count() == 4
        assert looked.page.locator("#columns img").count() == 3
        assert "审核" in columns.nth(3).inner_text()
        assert "beta" in columns.nth(0).inner_text()
        assert "ratio" not in columns.nth(0).inner_text()
        assert "ratio 1:1" in looked.page.locator("#alike").inner_text()
        looked.press("Escape", "Escape")
        assert looked.page.locator("#tray").is_hidden()


def test_light_and_dark(browser: Any, small: Path) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(250, 249, 247)", "rgb(18, 18, 20)"
    for scheme, as_it_is in (("light", light), ("dark", dark)):
        with looking(browser, small, scheme=scheme) as looked:
            seen = [looked.page.evaluate(ground)]
            for _ in range(3):
                looked.press("t")
                seen.append(looked.page.evaluate(ground))
            assert seen == [as_it_is, light, dark, as_it_is]
            looked.press("t", "t")
            looked.page.reload()
            looked.page.wait_for_selector("html[data-ready]")
            assert looked.page.evaluate(ground) == dark


def test_hostile_words_are_words(browser: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, 1)[0]
    pictures = [
        Picture(
            path=path if at % 2 else "", prompt=text, task=at, run=1, parameters=((text, text), ("model", text)),
            axes=((text, text),) if at > 3 else (), command=text, state=text, reason=text,
        )
        for at, text in enumerate(HOSTILE)
    ]  # fmt: skip
    made = write(pictures, tmp_path / "page.html", tmp_path / "cache", title="".join(HOSTILE))
    with looking(browser, made.file) as looked:
        assert looked.figures() == len(HOSTILE)
        looked.press("ArrowRight", "x", "Enter")
        for text in HOSTILE:
            seen = re.sub("[\0\x1b]", "\ufffd", text)
            assert looked.page.locator("#prompt").text_content() == seen
            assert looked.page.locator("#command").text_content() == seen
            looked.press("ArrowRight")
        looked.press("x", "Escape", "v", "Escape")
        looked.page.locator("#model").select_option(index=3)
        looked.page.locator("#search").fill(HOSTILE[0])
        assert looked.page.evaluate("() => typeof hacked") == "undefined"
        assert looked.page.evaluate("() => document.scripts.length") == 4
        assert looked.page.locator("img[src=x], svg, iframe, a[href^=javascript]").count() == 0
        assert "bold" not in looked.page.locator("b").all_text_contents()


def test_the_policy_holds(browser: Any, small: Path) -> None:
    """Were a text taken for a script or a picture from elsewhere, the browser would still refuse it."""
    add = """() => {
      const script = document.createElement("script"), picture = new Image();
      script.textContent = "hacked = 1";
      picture.src = "http://127.0.0.1:9/";
      document.body.append(script, picture);
    }"""
    with looking(browser, small) as looked:
        looked.page.evaluate(add)
        looked.settled()
        assert looked.page.evaluate("() => typeof hacked") == "undefined"
        assert len([word for word in looked.said if "Content Security Policy" in word]) == 2
        looked.said.clear()
        looked.asked.clear()  # the picture was asked for, and refused before it left


@pytest.mark.parametrize("single", [False, True])
def test_five_thousand_pictures(browser: Any, tmp_path: Path, single: bool) -> None:
    paths = saved(tmp_path, 40)
    prompts = ["a fox", "小猫 在 雨夜", "a lighthouse at night"]
    pictures = [Picture(path=paths[at % 40], prompt=prompts[at % 3], task=at, run=1) for at in range(5000)]
    first = write(pictures, tmp_path / "page.html", tmp_path / "cache", single=single)
    again = write(pictures, tmp_path / "page.html", tmp_path / "cache", single=single)
    assert (first.made, again.made, again.folder is None) == (40, 0, single)
    for wide in (360, 3840):
        with looking(browser, again.file, wide=wide) as looked:
            most = looked.figures()
            for part in (0.1, 0.35, 0.5, 0.77, 1):
                looked.page.evaluate(f"scrollTo(0, {part} * document.documentElement.scrollHeight)")
                looked.settled()
                most = max(most, looked.figures())
                assert looked.page.evaluate("() => document.elementFromPoint(innerWidth / 2, 500) !== document.body")
            looked.press("End")
            looked.settled()
            assert "4999" in looked.page.evaluate("document.querySelector('figure.current').id")
            looked.page.locator("#search").fill("猫 雨夜")
            assert looked.page.locator("#count").text_content() == "1,667 of 5,000 pictures"
            looked.page.wait_for_function("() => document.querySelector('figure img').naturalWidth > 0")
            assert 0 < max(most, looked.figures()) <= MOST_FIGURES


def test_a_page_works_after_it_was_moved_with_its_folders(browser: Any, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    paths = saved(here, 3)
    write(
        [Picture(path=paths[at % 3], prompt="p", task=at, run=1) for at in range(600)],
        here / "a b#1.html",
        tmp_path / "c",
    )
    there = here.rename(tmp_path / "there")
    with looking(browser, there / "a b#1.html") as looked:
        looked.page.wait_for_function("() => document.querySelector('figure img').naturalWidth > 0")
        looked.press("Enter")
        looked.page.wait_for_function("() => document.querySelector('#big').src.endsWith('/there/0.png')")


def test_where_the_file_is_gone_its_thumbnail_stays(browser: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, 1)[0]
    made = write([Picture(path=path, prompt="p", task=1, run=1)], tmp_path / "page.html", tmp_path / "cache")
    Path(path).unlink()
    with looking(browser, made.file) as looked:
        looked.press("Enter")
        looked.page.locator("#reason", has_text="thumbnail only").wait_for()
        looked.page.wait_for_function("() => document.querySelector('#big').naturalWidth > 0")
        assert [word for word in looked.said if "ERR_FILE_NOT_FOUND" not in word] == []
        looked.said.clear()


def test_what_was_missing_when_the_page_was_made_is_never_asked_for(browser: Any, tmp_path: Path) -> None:
    paths = [*saved(tmp_path, 1), str(tmp_path / "gone.png"), str(tmp_path / "gone too.png")]
    pictures = [Picture(path=path, prompt="p", task=at, run=1) for at, path in enumerate(paths)]
    made = write(pictures, tmp_path / "page.html", tmp_path / "cache")
    with looking(browser, made.file) as looked:
        looked.press("Enter", "ArrowRight", "ArrowRight")
        looked.page.locator("#reason", has_text="not there any more").wait_for()
        assert looked.page.locator("#big").is_hidden()
        looked.press("Escape", "x", "ArrowLeft", "x", "v")
        looked.page.locator("#versus[open]").wait_for()
        looked.settled()
        assert not [url for url in looked.asked if "gone" in url]


def test_from_the_command_to_a_walk_by_keyboard(browser: Any, tmp_path: Path) -> None:
    """Hostile prompts come from the history; what is compared, searched and copied is what the command knew."""
    prompts = [text.strip() for text in HOSTILE if "\0" not in text]
    rows = [{"prompt": text, "model": f"<b>{at}</b>", "negative": text} for at, text in enumerate(prompts)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ImageServer("localai", pictures=Pictures("png", (96, 64))) as server:
        program = Program(
            tmp_path,
            f'default_provider = "studio"\n[providers.studio]\nkind = "openai"\nbase_url = "{server.base_url}"\n',
        )
        assert program.run("batch", "rows.jsonl", "-q").code == 0
        program.run("run", "a fox #moderated", "-q")
    [page] = program.run("gallery", "-o", "page.html").lines
    with looking(browser, Path(page)) as looked:
        assert looked.figures() == len(prompts) + 1
        assert looked.page.locator("#count").text_content() == f"{len(prompts) + 1} pictures"
        looked.press("ArrowRight", "Enter")
        assert looked.page.locator("#prompt").text_content() == "a fox #moderated"
        assert "moderated" in looked.page.locator("#reason").inner_text()
        for text in reversed(prompts):
            looked.press("ArrowRight")
            assert looked.page.locator("#prompt").text_content() == text
            looked.page.wait_for_function("() => /[/]images[/]/.test(document.querySelector('#big').src)")
        looked.press("Escape", "x", "ArrowLeft", "x", "v")
        assert looked.page.locator("#columns article").count() == 2
        looked.press("Escape", "/")
        looked.page.locator("#search").fill("hacked = 1")
        assert 0 < looked.figures() < len(prompts)
        assert looked.page.evaluate("() => typeof hacked") == "undefined"
