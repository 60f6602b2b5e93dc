"""Marks in pictures as they are saved: there before the digest is taken, beside what is signed, never at a cost."""

# ruff: noqa: ASYNC240 - the loop of a test serves no other task

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from imagegen_cli.commands.provenance import Provenance
from imagegen_cli.core.marker import Edit, Marker, Sidecar
from imagegen_cli.core.task import (
    ImageRequest,
    InlineImage,
    Parent,
    Queued,
    RemoteImage,
    RunId,
    StagedImage,
    Task,
    TaskId,
)
from imagegen_cli.marks.reading import read, read_sidecar
from imagegen_cli.marks.values import Marks, SourceType
from imagegen_cli.net.download import MAX_BYTES_IN_MEMORY, Downloader
from imagegen_cli.net.image_files import left_behind, remove, whole
from imagegen_cli.net.transport import Transport
from tests.doubles import marked
from tests.doubles.http import Reply
from tests.test_download import TRUST, Files, KilledError, no_name_kept, part_of, there
from tests.test_marks import BESIDE, KINDS, pixels
from tests.test_marks_tools import LABELS

pytestmark = pytest.mark.anyio

REQUEST = ImageRequest(
    prompt="一只猫 <在> 雨里", provider="studio", model="4.0", negative="狗", seed=7, extra={"steps": "30"}
)
LARGE = marked.png(late=[marked.chunk(b"prVt", bytes(MAX_BYTES_IN_MEMORY))])
"""More than waits in memory: it is written as it comes."""


def task(folder: Path) -> Task:
    return Task(
        id=TaskId(12), run=RunId(1), request=REQUEST, state=Queued(), folder=str(folder), name="12-猫-{index}",
        key="ab12-1", facts={"seed": 8, "model": "4.0-v2", "job_id": "j-1"}, parents=(Parent(3, 2),),
    )  # fmt: skip


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "images" / "12-猫-1"


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as files:
        yield files


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    async with Transport(lambda: TRUST, 8) as transport:
        yield Downloader(transport.handle_async_request)


def marker_of(stem: Path, *, embeds: bool = True) -> Provenance:
    return Provenance(task(stem.parent), 1, kind="volcengine", model="3.0", embeds=embeds)


async def saved(downloader: Downloader, image: InlineImage | RemoteImage, stem: Path, marker: Marker | None) -> Path:
    """The picture under its name; the digest that the history gets is of the file as it lies there."""
    staged = await downloader.stage(image, stem, part_of(stem), marker)
    assert sha256(Path(staged.path).read_bytes()).hexdigest() == staged.sha256
    done = await downloader.publish(staged, stem, no_name_kept, marker)
    path = Path(done.path)
    assert sha256(path.read_bytes()).hexdigest() == done.sha256
    return path


def beside(path: Path) -> Marks | None:
    found = path.with_suffix(".json")
    if not found.exists():
        return None
    marks = read_sidecar(found.read_text(encoding="utf-8"))
    assert marks is not None
    assert marks[1] == sha256(path.read_bytes()).hexdigest()
    return marks[0]


WAYS: dict[str, Callable[[Files, bytes], InlineImage | RemoteImage]] = {
    "inline": lambda _, data: InlineImage(data),
    "small and remote": lambda files, data: files.lay(data),
    "of an unknown length": lambda files, data: files.lay(Reply(200, data, unmeasured=True)),
}
UNCHANGED = BESIDE | {f"signed {suffix}": partial(bytes, data) for suffix, data in marked.signed().items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_gets_its_marks_before_it_gets_its_name(
    downloader: Downloader, files: Files, stem: Path, kind: str, way: str
) -> None:
    data = KINDS[kind]()
    path = await saved(downloader, WAYS[way](files, data), stem, marker_of(stem))
    found = read(path)
    assert pixels(path.read_bytes()) == pixels(data)
    assert found.marks == replace(
        Marks(
            prompt=REQUEST.prompt, negative="狗", model="4.0-v2", kind="volcengine", seed=8, job="j-1", id="12",
            source=SourceType.TRAINED, parameters={"extra.steps": "30", "requested_model": "4.0"},
            parents=(Parent(3, 2),),
        ),
        time=found.marks.time if found.marks else "",
    )  # fmt: skip
    assert there(stem) == [path.name], "no sidecar, and nothing is left behind"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", UNCHANGED)
async def test_what_must_stay_as_it_came_does_and_has_a_sidecar(
    downloader: Downloader, files: Files, stem: Path, kind: str, way: str
) -> None:
    data = UNCHANGED[kind]()
    path = await saved(downloader, WAYS[way](files, data), stem, marker_of(stem))
    assert path.read_bytes() == data
    marks = beside(path)
    assert marks is not None
    assert (marks.prompt, marks.seed, marks.id) == (REQUEST.prompt, 8, "12")
    assert there(stem) == [path.with_suffix(".json").name, path.name] or there(stem) == [path.name, f"{stem.name}.json"]


@pytest.mark.parametrize("form", LABELS)
async def test_a_label_of_the_service_is_kept(downloader: Downloader, stem: Path, form: str) -> None:
    _, data = LABELS[form]
    path = await saved(downloader, InlineImage(data), stem, marker_of(stem))
    found = read(path)
    assert found.labels == read(data).labels
    assert (found.marks or beside(path)) is not None
    assert path.read_bytes().count(b"<x:xmpmeta") <= 1


async def test_a_large_picture_is_marked_by_a_copy(downloader: Downloader, files: Files, stem: Path) -> None:
    path = await saved(downloader, files.lay(LARGE), stem, marker_of(stem))
    assert (len(path.read_bytes()) > len(LARGE), read(path).marks is not None) == (True, True)
    assert there(stem) == [path.name]


@pytest.mark.parametrize("data", [KINDS["png"](), LARGE], ids=["small", "large"])
async def test_a_picture_without_a_marker_stays_as_it_came(
    downloader: Downloader, files: Files, stem: Path, data: bytes
) -> None:
    path = await saved(downloader, files.lay(data), stem, None)
    assert path.read_bytes() == data
    assert there(stem) == [path.name]


@pytest.mark.parametrize("kind", [*KINDS, *UNCHANGED])
async def test_a_sidecar_alone_leaves_every_byte(downloader: Downloader, stem: Path, kind: str) -> None:
    data = (KINDS | UNCHANGED)[kind]()
    path = await saved(downloader, InlineImage(data), stem, marker_of(stem, embeds=False))
    assert path.read_bytes() == data
    assert beside(path) is not None


# What can go wrong


class Broken(Provenance):
    """A marker with a bug at one place."""

    def __init__(self, stem: Path, where: str) -> None:
        super().__init__(task(stem.parent), 1, kind="volcengine", model="", embeds=True)
        self._where = where

    def edits(self, file: BinaryIO) -> Sequence[Edit]:
        if "edits" in self._where:
            raise ZeroDivisionError
        return super().edits(file)

    def sidecar(self, picture: Path, file: BinaryIO, sha256: str) -> Sidecar | None:
        if "sidecar" in self._where:
            raise ZeroDivisionError
        return super().sidecar(picture, file, sha256)


@pytest.mark.parametrize("data", [KINDS["png"](), LARGE], ids=["small", "large"])
async def test_a_fault_of_marking_costs_no_picture(
    downloader: Downloader, files: Files, stem: Path, data: bytes
) -> None:
    marker = Broken(stem, "edits")
    path = await saved(downloader, files.lay(data), stem, marker)
    assert path.read_bytes() == data
    assert beside(path) is not None


async def test_where_nothing_can_be_said_a_remark_does(downloader: Downloader, stem: Path) -> None:
    marker = Broken(stem, "edits, sidecar")
    staged = await downloader.stage(InlineImage(KINDS["png"]()), stem, part_of(stem), marker)
    done = await downloader.publish(staged, stem, no_name_kept, marker)
    assert Path(done.path).read_bytes() == KINDS["png"]()
    assert done.remark.startswith("only the history says how 12-猫-1.png was made")
    assert "ZeroDivisionError" in done.remark


async def test_a_copy_that_cannot_be_written_leaves_the_file_as_it_came(
    downloader: Downloader, files: Files, stem: Path
) -> None:
    stem.parent.mkdir()
    part_of(stem).with_suffix(".marked.part").mkdir()
    path = await saved(downloader, files.lay(LARGE), stem, marker_of(stem))
    assert path.read_bytes() == LARGE
    assert beside(path) is not None


@pytest.mark.parametrize("taken", ["a note", "a link", "a folder", "the sidecar of another picture"])
async def test_a_sidecar_takes_no_name_of_another_file(downloader: Downloader, stem: Path, taken: str) -> None:
    stem.parent.mkdir()
    note = stem.with_suffix(".json")
    match taken:
        case "a note":
            note.write_text("precious", encoding="ascii")
        case "a link":
            note.symlink_to("nowhere")
        case "a folder":
            note.mkdir()
        case _:
            note.write_text('{"v": 1, "tool": "imagegen", "sha256": "' + "0" * 64 + '"}', encoding="ascii")
    before = note.lstat()
    path = await saved(downloader, InlineImage(marked.signed()[".png"]), stem, marker_of(stem))
    assert (note.lstat().st_ino, note.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    other = path.with_name("12-猫-1.png.json")
    assert read_sidecar(other.read_text(encoding="utf-8")) is not None
    assert there(stem) == sorted([note.name, other.name, path.name])


async def test_where_both_names_are_taken_a_remark_says_so(downloader: Downloader, stem: Path) -> None:
    stem.parent.mkdir()
    for name in ("12-猫-1.json", "12-猫-1.png.json"):
        stem.with_name(name).write_text("precious", encoding="ascii")
    marker = marker_of(stem)
    staged = await downloader.stage(InlineImage(marked.signed()[".png"]), stem, part_of(stem), marker)
    done = await downloader.publish(staged, stem, no_name_kept, marker)
    assert done.remark.endswith("12-猫-1.json and 12-猫-1.png.json are other files")
    assert {path.read_text(encoding="ascii") for path in stem.parent.glob("*.json")} == {"precious"}


async def test_two_pictures_of_one_name_have_a_sidecar_each(downloader: Downloader, stem: Path) -> None:
    for suffix in (".png", ".jpg"):
        await saved(downloader, InlineImage(marked.signed()[suffix]), stem, marker_of(stem))
    assert there(stem) == sorted(f"12-猫-1{suffix}" for suffix in (".png", ".jpg", ".json", ".jpg.json"))
    for path in (stem.with_suffix(".json"), stem.with_suffix(".jpg.json")):
        assert read_sidecar(path.read_text(encoding="utf-8")) is not None


async def test_a_sidecar_that_cannot_be_written_is_not_there(downloader: Downloader, stem: Path) -> None:
    stem.parent.mkdir()
    marker = marker_of(stem)
    staged = await downloader.stage(InlineImage(marked.signed()[".png"]), stem, part_of(stem), marker)
    Path(staged.path).with_suffix(".json.part").mkdir()
    done = await downloader.publish(staged, stem, no_name_kept, marker)
    assert done.remark.startswith("only the history says how")
    assert not stem.with_suffix(".json").exists()


async def test_marking_is_done_in_the_threads_that_save(downloader: Downloader, files: Files, stem: Path) -> None:
    threads = set()

    class Watched(Broken):
        def edits(self, file: BinaryIO) -> Sequence[Edit]:
            threads.add(threading.current_thread())
            return super().edits(file)

        def sidecar(self, picture: Path, file: BinaryIO, sha256: str) -> Sidecar | None:
            threads.add(threading.current_thread())
            return super().sidecar(picture, file, sha256)

    await saved(downloader, files.lay(LARGE), stem, Watched(stem, ""))
    assert threads
    assert threading.current_thread() not in threads


# Killed at every step: what the next process finds


async def killed_before_linking(downloader: Downloader, stem: Path, data: bytes, marker: Provenance) -> StagedImage:
    known: list[StagedImage] = []

    async def kill(staged: StagedImage) -> None:
        known.append(staged)
        raise KilledError

    staged = await downloader.stage(InlineImage(data), stem, part_of(stem), marker)
    with pytest.raises(KilledError):
        await downloader.publish(staged, stem, kill, marker)
    return known[0]


AFTER: dict[str, Callable[[StagedImage], object]] = {
    "the marks": lambda _: None,
    "the link": lambda staged: os.link(staged.path, staged.final),
    "the tidying": lambda staged: Path(staged.path).rename(staged.final),
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("kind", ["png", "signed .png"])
@pytest.mark.parametrize("embeds", [True, False])
async def test_killed_after_any_step_the_next_process_has_one_good_picture(
    downloader: Downloader, stem: Path, kind: str, after: str, *, embeds: bool
) -> None:
    data = (KINDS | UNCHANGED)[kind]()
    staged = await killed_before_linking(downloader, stem, data, marker_of(stem))
    AFTER[after](staged)
    next_one = Provenance(task(stem.parent), 1, kind="volcengine", model="3.0", embeds=embeds)
    done = await downloader.publish(staged, stem, no_name_kept, next_one)
    path = Path(done.path)
    assert sha256(path.read_bytes()).hexdigest() == done.sha256 == staged.sha256
    assert pixels(path.read_bytes()) == pixels(data)
    assert (read(path).marks is not None) == (kind == "png")
    assert (beside(path) is not None) == (kind != "png" or not embeds)
    assert not [name for name in there(stem) if name.startswith(".")]


@pytest.mark.parametrize("half", [b"", LARGE[:100], LARGE[:-1], LARGE])
async def test_killed_while_a_copy_was_marked_the_next_process_marks_it(
    downloader: Downloader, stem: Path, half: bytes
) -> None:
    """The history knows no name yet, so the picture is taken in by its part file."""
    stem.parent.mkdir()
    part = stem.with_name(".imagegen-ab12-1-1.part")
    part.write_bytes(LARGE)
    part.with_suffix(".marked.part").write_bytes(half)
    found = whole(left_behind([stem.parent])["ab12-1"])
    assert [Path(one.path) for one in found.values()] == [part]
    done = await downloader.publish(found[1], stem, no_name_kept, marker_of(stem))
    assert read(Path(done.path)).marks is not None
    assert sha256(Path(done.path).read_bytes()).hexdigest() == done.sha256
    assert there(stem) == ["12-猫-1.png"]


async def test_killed_while_a_sidecar_was_written_the_next_process_writes_it(
    downloader: Downloader, stem: Path
) -> None:
    staged = await killed_before_linking(downloader, stem, marked.signed()[".png"], marker_of(stem))
    os.link(staged.path, staged.final)
    Path(staged.path).with_suffix(".json.part").write_bytes(b'{"half')
    done = await downloader.publish(staged, stem, no_name_kept, marker_of(stem))
    assert beside(Path(done.path)) is not None
    assert not [name for name in there(stem) if name.startswith(".")]


async def test_a_sidecar_is_written_once(downloader: Downloader, stem: Path) -> None:
    staged = await killed_before_linking(downloader, stem, marked.signed()[".png"], marker_of(stem))
    for _ in range(3):
        done = await downloader.publish(staged, stem, no_name_kept, marker_of(stem))
        assert beside(Path(done.path)) is not None
    assert there(stem) == sorted(["12-猫-1.json", "12-猫-1.png"])


async def test_a_name_that_is_taken_meanwhile_changes_no_byte(downloader: Downloader, stem: Path) -> None:
    """The history knows the picture by its digest since a name was chosen: it is never marked after that."""
    staged = await downloader.stage(InlineImage(KINDS["png"]()), stem, part_of(stem))
    Path(staged.final).write_text("precious", encoding="ascii")
    done = await downloader.publish(staged, stem, no_name_kept, marker_of(stem))
    assert (Path(done.path).name, done.sha256) == ("12-猫-1~2.png", staged.sha256)
    assert Path(done.path).read_bytes() == KINDS["png"]()
    assert beside(Path(done.path)) is not None


async def test_a_picture_that_waits_beside_the_history_is_marked_once(tmp_path: Path, stem: Path) -> None:
    stem.parent.write_bytes(b"a file in the folder's place")
    downloader = Downloader(None, fallback_folder=tmp_path / "second")
    staged = await downloader.stage(InlineImage(KINDS["png"]()), stem, part_of(stem), marker_of(stem))
    stem.parent.unlink()
    done = await downloader.publish(staged, stem, no_name_kept, marker_of(stem))
    assert read(Path(done.path)).marks is not None
    assert list((tmp_path / "second").iterdir()) == []


def test_what_was_being_made_of_a_part_file_goes_with_it(tmp_path: Path) -> None:
    part = tmp_path / ".imagegen-ab12-1-1.part"
    for path in (part, part.with_suffix(".marked.part"), part.with_suffix(".json.part")):
        path.write_bytes(b"x")
    assert len(left_behind([tmp_path])["ab12-1"][1]) == 3
    remove(part)
    assert list(tmp_path.iterdir()) == []
