"""The page as a file: what is in it, where its thumbnails lie, and what it keeps to itself."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from imagegen_cli.gallery import page
from imagegen_cli.gallery.beside import LIST
from imagegen_cli.gallery.page import MAX_INSIDE, write
from imagegen_cli.gallery.thumbnails import _key
from imagegen_cli.gallery.values import Picture
from imagegen_cli.gallery.whole import subject_of


def of(path: str = "", task: int = 1, **values: Any) -> Picture:
    return Picture(path=path, prompt=values.pop("prompt", "a fox"), task=task, run=1, **values)


def saved(folder: Path, count: int = 3) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{at}.png" for at in range(count)]
    for at, path in enumerate(paths):
        Image.new("RGB", (64 + at, 48), (at * 40 % 256, 90, 120)).save(path)
    return [str(path) for path in paths]


class Scripts(HTMLParser):
    """What a browser would take for elements, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.policy = ""
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        if tag in ("script", "style"):
            self.found.append((named | {"tag": tag}, ""))

        self.inside = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            named, text = self.found[-1]
            self.found[-1] = (named, text + data)

    def data(self, kind: str) -> list[Any]:
        parts = [json.loads(text) for named, text in self.found if named.get("class") == kind]
        return [one for part in parts for one in part]


def read(file: Path) -> Scripts:
    return Scripts(file.read_text("utf-8"))


def test_few_pictures_are_one_file(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures")
    made = write([of(path) for path in paths], tmp_path / "a.html", tmp_path / "cache", title="Foxes & <friends>")

    assert (made.folder, made.pictures, made.made, made.missing, made.broken) == (None, 3, 3, 0, ())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "cache", "pictures"]
    html = read(made.file)
    assert len(html.data("thumbnails")) == len(html.data("pictures")) == 3
    assert "<title>Foxes &amp; &lt;friends&gt;</title>" in made.file.read_text("utf-8")


def test_many_pictures_have_a_folder_beside_the_page(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures")
    many = [of(paths[at % 3], at) for at in range(MAX_INSIDE + 1)]
    file = tmp_path / "a b.html"

    beside = write(many, file, tmp_path / "cache")
    assert beside.folder == tmp_path / "a b_files"
    html = read(file)
    assert html.data("thumbnails") == []
    keys = {one["k"] for one in html.data("pictures")}
    assert {thumbnail.stem for thumbnail in beside.folder.glob("*.webp")} == keys
    assert json.loads(html.found[1][1])["folder"] == "a%20b_files"

    assert write(many, tmp_path / "one.html", tmp_path / "cache", single=True).folder is None
    assert len(read(tmp_path / "one.html").data("thumbnails")) == MAX_INSIDE + 1


def test_a_second_page_makes_no_thumbnail(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures", 12)
    pictures = [of(paths[at % 12], at) for at in range(MAX_INSIDE + 12)]
    first = write(pictures, tmp_path / "a.html", tmp_path / "cache")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "a_files").iterdir()}
    second = write(pictures, tmp_path / "a.html", tmp_path / "cache")
    assert (first.made, second.made) == (12, 0)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "a_files").iterdir()} == before


def many(folder: Path, count: int = 2) -> list[Picture]:
    """So many that their page has a folder."""
    paths = saved(folder / "pictures", count)
    return [of(paths[at % count], at) for at in range(MAX_INSIDE + 1)]


def test_only_files_that_the_page_wrote_leave_its_folder(tmp_path: Path) -> None:
    pictures, folder = many(tmp_path, 3), tmp_path / "a_files"
    write(pictures, tmp_path / "a.html", tmp_path / "cache")
    changed, removed, kept = sorted(folder.glob("*.webp"), key=lambda file: file.name != saved_key(pictures, 0))
    changed.write_bytes(b"changed by its owner")
    others = {f"{'0' * 40}.webp": b"something", "notes.txt": b"something"}
    for name, data in others.items():
        (folder / name).write_bytes(data)
    (folder / f"{'1' * 40}.webp").symlink_to(removed)
    last = [picture for picture in pictures if saved_key([picture], 0) == kept.name]
    write((last * MAX_INSIDE)[: MAX_INSIDE + 1], tmp_path / "a.html", tmp_path / "cache")
    assert changed.read_bytes() == b"changed by its owner"
    assert not removed.exists()
    link = f"{'1' * 40}.webp"
    assert {file.name for file in folder.iterdir()} == {LIST, link, kept.name, changed.name, *others}


@pytest.mark.parametrize("count", [1, MAX_INSIDE + 1])
@pytest.mark.parametrize("put", ["folder", "link", "link to a page's", "another page's"])
def test_a_folder_that_is_not_the_page_s_is_left_as_it_is(tmp_path: Path, put: str, count: int) -> None:
    pictures, folder, victim = many(tmp_path)[:count], tmp_path / "a_files", tmp_path / "victim_files"
    if put in ("link to a page's", "another page's"):
        write(many(tmp_path), tmp_path / "victim.html", tmp_path / "cache")
    else:
        victim.mkdir()
        (victim / f"{'0' * 40}.webp").write_bytes(b"something")
    if put.startswith("link"):
        folder.symlink_to(victim)
    else:
        victim.rename(folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    if count == 1:
        write(pictures, tmp_path / "a.html", tmp_path / "cache")
    else:
        with pytest.raises(OSError, match="of this page"):
            write(pictures, tmp_path / "a.html", tmp_path / "cache")
        assert not (tmp_path / "a.html").exists()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_empty_folder_is_taken_and_a_file_of_another_in_it_is_not_replaced(tmp_path: Path) -> None:
    pictures, folder = many(tmp_path), tmp_path / "a_files"
    folder.mkdir()
    write(pictures, tmp_path / "a.html", tmp_path / "cache")
    more = many(tmp_path, 3)
    (folder / saved_key(more, 2)).write_bytes(b"of another")
    with pytest.raises(FileExistsError):
        write(more, tmp_path / "a.html", tmp_path / "cache")
    assert (folder / saved_key(more, 2)).read_bytes() == b"of another"


def saved_key(pictures: list[Picture], at: int) -> str:
    """The name of a picture's thumbnail."""
    return f"{_key(pictures[at].path)}.webp"


def test_the_policy_names_the_one_script_and_the_one_style(tmp_path: Path) -> None:
    html = read(write([of()], tmp_path / "a.html", tmp_path / "cache").file)
    hashes = {
        named["tag"]: "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
        for named, text in html.found
        if named.get("type") is None
    }
    assert html.policy == (
        f"default-src 'none'; img-src 'self' data: file:; style-src '{hashes['style']}'; "
        f"script-src '{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert [named["tag"] for named, _ in html.found] == ["style", "script", "script", "script", "script"]
    text = made_text(html)
    assert not re.search(r"\bon\w+=|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?:", text)


def made_text(html: Scripts) -> str:
    return "".join(text for named, text in html.found if named["tag"] == "script")


def test_a_picture_is_found_from_where_the_page_lies(tmp_path: Path) -> None:
    names = ["plain.png", "#1 50% a?b.png", "雪山 🏔.png", "java script:x.png", "javascript:alert(1).png"]
    folder = tmp_path / "some pictures"
    [first] = saved(folder, 1)
    paths = [str(folder / name) for name in names]
    for path in paths:
        Path(path).write_bytes(Path(first).read_bytes())
    (tmp_path / "pages").mkdir()

    made = write([of(path) for path in paths], tmp_path / "pages" / "a.html", tmp_path / "cache")

    addresses = [one["f"] for one in read(made.file).data("pictures")]
    assert [unquote(address) for address in addresses] == [f"../some pictures/{name}" for name in names]
    assert not [address for address in addresses if re.search(r"[:?#\s]", address)]


def test_a_page_beside_its_pictures_names_no_folder_above(tmp_path: Path) -> None:
    paths = saved(tmp_path, 1)
    made = write([of(paths[0])], tmp_path / "a.html", tmp_path / "cache")
    assert read(made.file).data("pictures")[0]["f"] == "0.png"
    assert str(tmp_path) not in made.file.read_text("utf-8")


def test_what_is_missing_and_what_is_broken_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("this is no picture")
    pictures = [
        of(state="failed", reason="moderated"),
        of(str(tmp_path / "no.png"), 2),
        of(str(tmp_path / "gone.png"), 3),
    ]
    made = write(pictures, tmp_path / "a.html", tmp_path / "cache")
    assert (made.pictures, made.missing, made.made) == (3, 1, 0)
    assert [path for path, _ in made.broken] == [str(tmp_path / "no.png"), str(tmp_path / "gone.png")]
    said = [one["y"] for one in read(made.file).data("pictures")]
    assert said == ["moderated", made.broken[0][1], made.broken[1][1]]


HOSTILE = [
    "<script>hacked()</script>", '"><img src=x onerror=hacked()>', "</script><script>hacked()</script>",
    "javascript:hacked()", "line\u2028and\u2029paragraph", "\u202eright to left\u202c", "null\0byte\x1b[31m",
    "<!--<script>", "{{script}} {{data}}", "\\u003c/script", "a half \ud800 of one",
    "']]></style><svg onload=hacked()>",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_every_text_is_data_and_comes_through_whole(tmp_path: Path, text: str) -> None:
    odd = of(prompt=text, command=text, state=text, reason=text, parameters=((text, text),), axes=((text, text),))
    made = write([odd], tmp_path / "a.html", tmp_path / "cache", title=text)
    html = read(made.file)
    [one] = html.data("pictures")
    seen = re.sub("[\0\x1b\ud800]", "\ufffd", text)
    assert (one["p"], one["c"], one["s"], one["y"]) == (seen,) * 4
    assert one["a"] == one["x"] == [[seen, seen]]
    assert len(html.found) == 5
    assert "\u2028" not in made_text(html)


def test_a_page_is_whole_or_not_there(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures")
    file = tmp_path / "a.html"
    file.write_text("before")

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write([of(path) for path in paths], file, tmp_path / "cache", progress=stop)
    assert file.read_text() == "before"
    assert not list(tmp_path.glob(".*"))


def test_no_thumbnail_of_a_page_that_was_stopped_stays_beside_it(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures", 120)
    pictures = [of(paths[at % 120], at) for at in range(MAX_INSIDE + 1)]

    def stop(done: int, _total: int) -> None:
        if done == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(pictures, tmp_path / "a.html", tmp_path / "cache", progress=stop)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cache", "pictures"]
    write(pictures, tmp_path / "a.html", tmp_path / "cache")
    before = sorted((tmp_path / "a_files").iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(pictures, tmp_path / "a.html", tmp_path / "cache", progress=stop)
    assert sorted((tmp_path / "a_files").iterdir()) == before


def test_a_page_of_fewer_pictures_needs_no_folder_any_more(tmp_path: Path) -> None:
    paths = saved(tmp_path / "pictures")
    write([of(paths[0], at) for at in range(MAX_INSIDE + 1)], tmp_path / "a.html", tmp_path / "cache")
    (tmp_path / "a_files" / "notes.txt").touch()
    write([of(paths[0])], tmp_path / "a.html", tmp_path / "cache")
    assert [file.name for file in (tmp_path / "a_files").iterdir()] == ["notes.txt"]


def test_a_page_is_known_as_ours_by_what_no_prompt_can_write(tmp_path: Path) -> None:
    subject = "0123456789abcdef"
    mark_ = f'<meta name="generator" content="imagegen gallery {subject}">'
    ours = write([of()], tmp_path / "a.html", tmp_path / "cache", subject=subject).file
    assert (subject_of(ours, "gallery"), subject_of(ours, "sheet")) == (subject, None)
    for text in (mark_, f"<!doctype html><title>{escape(mark_)}</title>", ""):
        (tmp_path / "b.html").write_text(text)
        assert subject_of(tmp_path / "b.html", "gallery") is None
    other = write([of(prompt=mark_)], tmp_path / "c.html", tmp_path / "cache", title=mark_).file
    assert subject_of(other, "gallery") == "0" * 16


def test_what_is_fresh_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("before")
    with pytest.raises(FileExistsError):
        write([of()], tmp_path / "a.html", tmp_path / "cache", fresh=True)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir() if file.is_file()] == [("a.html", "before")]
    assert write([of()], tmp_path / "b.html", tmp_path / "cache", fresh=True).file.exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write([of()], tmp_path / "nowhere" / "a.html", tmp_path / "cache")


def test_progress_is_told_picture_by_picture(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write(
        [of(task=at) for at in range(250)],
        tmp_path / "a.html",
        tmp_path / "cache",
        progress=lambda *now: told.append(now),
    )
    assert told == [(done, 250) for done in range(250)]


def test_nothing_at_all_is_a_page_too(tmp_path: Path) -> None:
    assert write([], tmp_path / "a.html", tmp_path / "cache").pictures == 0


def test_the_page_s_own_files_are_whole() -> None:
    names = set(re.findall(r'\$\("([\w-]+)"\)', page._file("page.js")))
    assert names <= set(re.findall(r'id="([\w-]+)"', page._file("page.html")))
    assert "{{" not in page._file("page.js") + page._file("page.css")
