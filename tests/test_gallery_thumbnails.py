"""Pictures made small: every kind of file, and files that are none."""

import os
import random
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from imagegen_cli.gallery import thumbnails as making
from imagegen_cli.gallery.thumbnails import (
    BOX,
    MAX_PIXELS,
    NoThumbnail,
    Thumbnail,
    shape,
    small,
    thumbnails,
    trim,
    webp_size,
)
from imagegen_cli.gallery.whole import whole


def half_red(mode: str, size: tuple[int, int] = (600, 300)) -> Image.Image:
    """Red on the left and blue on the right, or light and dark."""
    if mode == "LA":
        return half_red("L", size).convert("LA")
    if mode in ("I;16", "I", "F", "L", "1"):
        light: float = {"I;16": 60000, "I": 60000, "F": 240.0, "L": 240, "1": 1}[mode]
        image = Image.new(mode, size)
        image.paste(Image.new(mode, (size[0] // 2, size[1]), light), (0, 0))
        return image
    image = Image.new("RGB", size, "#0000ff")
    image.paste("#ff0000", (0, 0, size[0] // 2, size[1]))
    return image.convert(mode)


KINDS = [
    ("RGB", "PNG", {}), ("RGB", "JPEG", {}), ("RGB", "MPO", {}),
    ("RGB", "JPEG", {"progressive": True}), ("RGB", "WEBP", {}),
    ("RGB", "AVIF", {}), ("RGB", "GIF", {}), ("RGB", "BMP", {}), ("RGB", "TIFF", {}), ("RGB", "JPEG2000", {}),
    ("RGBA", "PNG", {}), ("RGBA", "WEBP", {}), ("P", "PNG", {}), ("P", "PNG", {"transparency": 0}), ("P", "GIF", {}),
    ("L", "PNG", {}), ("LA", "PNG", {}), ("1", "PNG", {}), ("I;16", "PNG", {}), ("F", "TIFF", {}),
    ("CMYK", "JPEG", {}), ("CMYK", "TIFF", {}), ("LAB", "TIFF", {}), ("YCbCr", "JPEG", {}),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "form", "options"), KINDS)
def test_every_kind_of_picture_is_made_small(tmp_path: Path, mode: str, form: str, options: dict[str, object]) -> None:
    image = half_red("RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        from PIL import ImageCms  # noqa: PLC0415 - one kind needs it

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB") or image
    file = tmp_path / "picture"
    image.save(file, form, **options)

    found = small(str(file), BOX)

    assert (found.size, found.mode in ("RGB", "RGBA")) == ((512, 256), True)
    left, right = (found.convert("RGB").getpixel((x, 128)) for x in (100, 400))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 150 > right[0], (left, right)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000"])
def test_a_picture_that_is_small_already_keeps_its_size(tmp_path: Path, form: str) -> None:
    half_red("RGB", (40, 30)).save(tmp_path / "tiny", form)
    [found] = thumbnails([str(tmp_path / "tiny")], tmp_path / "cache")
    assert (found.width, found.height, found.why) == (40, 30, "")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_that_lay_on_its_side_is_set_upright(tmp_path: Path, orientation: int) -> None:
    upright = half_red("RGB", (300, 600))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose's numbers
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "photo.jpg"
    stored.save(file, exif=exif, quality=95)

    found = small(str(file), BOX)

    assert found.size == (128, 256)
    assert shape(str(file)) == pytest.approx(0.5)
    left, right = found.getpixel((30, 128)), found.getpixel((100, 128))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 200 > right[0], (left, right)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_shown(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("#ff0000", "#00ff00")]
    file = tmp_path / "film"
    frames[0].save(file, form, save_all=True, append_images=frames[1:])
    first = small(str(file), BOX).convert("RGB").getpixel((30, 30))
    assert isinstance(first, tuple)
    assert first[0] > 200 > first[1]


def picture(file: Path, colour: str = "#446688", size: tuple[int, int] = (640, 480)) -> str:
    Image.new("RGB", size, colour).save(file)
    return str(file)


def png_of(width: int, height: int) -> bytes:
    """A picture that says that it is so large, and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def cut(tmp_path: Path) -> bytes:
    half_red("RGB").save(tmp_path / "whole.png")
    return (tmp_path / "whole.png").read_bytes()[:-400]


def many_scans() -> bytes:
    file = BytesIO()
    half_red("RGB").save(file, "JPEG", progressive=True)
    return file.getvalue()[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 200 + b"\xff\xd9"


def test_what_is_no_picture_says_why(tmp_path: Path) -> None:
    named = {
        "cut.png": cut(tmp_path), "empty.png": b"", "page.png": b"<html>Not found</html>",
        "film.mp4": b"\0\0\0\x18ftypmp42",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "large.png": png_of(20000, 20000), "larger.png": png_of(10000, MAX_PIXELS // 10000 + 1),
        "scans.jpg": many_scans(), "broken.webp": b"RIFF\x10\0\0\0WEBPVP8 \x04\0\0\0abcd",
    }  # fmt: skip
    for name, data in named.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    names = [*named, "folder.png", "not-there.png", "nul\0.png"]

    found = list(thumbnails([str(tmp_path / name) for name in names], tmp_path / "cache"))

    whys = dict(zip(names, (one.why for one in found), strict=True))
    assert all(one == Thumbnail(why=one.why) for one in found), found
    assert whys["not-there.png"] == "The file is not there any more."
    assert "million pixels" in whys["large.png"]
    assert "million pixels" in whys["larger.png"]
    assert "too long" in whys["scans.jpg"]
    for name in ("page.png", "film.mp4", "drawing.svg", "program.eps", "empty.png"):
        assert "form" in whys[name], (name, whys[name])
    assert "damaged" in whys["cut.png"]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000"])
def test_damaged_files_become_words_or_pictures(tmp_path: Path, form: str) -> None:
    file, cache = BytesIO(), tmp_path / "cache"
    exif = Image.Exif()
    exif[0x0112] = 6
    half_red("RGB", (90, 60)).save(file, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP", "TIFF") else {}))
    for at in range(40):
        data = bytearray(file.getvalue())
        for _ in range(random.randint(1, 12)):
            data[random.randrange(len(data) if at % 2 else min(len(data), 120))] = random.randrange(256)
        (tmp_path / f"{at}").write_bytes(data[: random.randrange(len(data))] if at % 5 == 0 else data)
    for found in thumbnails([str(tmp_path / f"{at}") for at in range(40)], cache):
        assert bool(found.data) != bool(found.why)


def test_a_second_time_nothing_is_decoded(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{at}.png", size=(300 + at, 200)) for at in range(5)]
    first = list(thumbnails(paths, tmp_path / "cache"))
    second = list(thumbnails(paths, tmp_path / "cache"))

    assert [one.made for one in first] == [True] * 5
    assert [one.made for one in second] == [False] * 5
    assert [one.data for one in first] == [one.data for one in second]
    assert second[3][1:4] == (303, 200, first[3].key)


def test_a_file_that_changed_is_made_small_again(tmp_path: Path) -> None:
    path, cache = picture(tmp_path / "a.png"), tmp_path / "cache"
    [before] = thumbnails([path], cache)
    picture(tmp_path / "a.png", "#ffffff")
    os.utime(path, ns=(1, 1))
    [after] = thumbnails([path], cache)
    assert after.made
    assert after.key != before.key


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-7], lambda _: b"", lambda data: b"x" + data[1:], lambda _: b"RIFF"]
)
def test_what_is_damaged_in_the_cache_is_made_again(tmp_path: Path, harm: object) -> None:
    path, cache = picture(tmp_path / "a.png"), tmp_path / "cache"
    [before] = thumbnails([path], cache)
    [kept] = cache.rglob("*.webp")
    assert callable(harm)
    kept.write_bytes(harm(kept.read_bytes()))
    [again] = thumbnails([path], cache)
    assert (again.made, again.data, kept.read_bytes()) == (True, before.data, before.data)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("this is no folder")
    [found] = thumbnails([picture(tmp_path / "a.png")], tmp_path / "cache")
    assert found.made
    assert webp_size(found.data) == (341, 256)


def test_the_cache_is_for_this_account_alone(tmp_path: Path) -> None:
    list(thumbnails([picture(tmp_path / "a.png")], tmp_path / "cache"))
    [folder] = (tmp_path / "cache").iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_only_what_is_asked_for_is_made(tmp_path: Path) -> None:
    """One after the other: memory holds one picture, however many there are."""
    asked = []

    def paths() -> object:
        for at in range(1000):
            asked.append(at)
            yield picture(tmp_path / f"{at}.png", size=(8, 8))

    stream = thumbnails(paths(), tmp_path / "cache")  # type: ignore[arg-type]
    next(stream)
    next(stream)
    assert len(asked) == 2


def test_two_threads_share_a_cache(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{at}.png", size=(64, 64)) for at in range(20)]
    found: list[list[Thumbnail]] = []
    threads = [threading.Thread(target=lambda: found.append(list(thumbnails(paths, tmp_path / "c")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.data for one in found[0]] == [one.data for one in found[1]]
    assert not list((tmp_path / "c").rglob("*.part"))


def test_a_thumbnail_holds_nothing_of_the_original_but_its_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    half_red("RGB").save(tmp_path / "a.jpg", exif=exif, comment=b"a secret word")
    [found] = thumbnails([str(tmp_path / "a.jpg")], tmp_path / "cache")
    assert b"secret" not in found.data


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole(file) as stream:  # noqa: PT012 - it is to end in the middle
        stream.write(b"half")
        raise KeyboardInterrupt
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_bytes() == b"before"
    with whole(file) as stream:
        stream.write(b"after")
    assert (file.read_bytes(), [*tmp_path.iterdir()]) == (b"after", [file])


def test_reasons_have_words_for_every_error() -> None:
    assert making._words(PermissionError()) == "This account may not read the file."
    with pytest.raises(NoThumbnail, match="not there"):
        shape("/no/such/file.png")


def test_the_cache_is_bounded_and_loses_what_was_not_used_for_longest(tmp_path: Path) -> None:
    paths = [tmp_path / f"{at}.png" for at in range(6)]
    for at, path in enumerate(paths):
        Image.new("RGB", (64, 64), (at, 0, 0)).save(path)
    cache = tmp_path / "cache"
    made = list(thumbnails(map(str, paths), cache))
    for at, one in enumerate(made):
        os.utime(cache / one.key[:2] / f"{one.key}.webp", (at, at))
    list(thumbnails([str(paths[1])], cache))  # looked at again
    room = sum(len(made[at].data) for at in (0, 1, 5))
    assert trim(cache, {made[0].key}, room) == 3
    left = {file.stem for file in cache.rglob("*.webp")}
    assert left == {made[0].key, made[1].key, made[5].key}
    assert trim(cache, set(), room) == trim(tmp_path / "nowhere", set(), 0) == 0
    assert [one.made for one in thumbnails(map(str, paths), cache)] == [False, False, True, True, True, False]
