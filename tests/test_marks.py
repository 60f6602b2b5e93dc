"""Our marks in pictures: every pixel and every old byte stays, and what was written is read back, by exiftool too."""

import json
import random
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from imagegen_cli.core.marker import edited
from imagegen_cli.core.masking import forget, hide
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.marks import writing
from imagegen_cli.marks.reading import UnreadableFile, read, read_sidecar, request_from, with_marks
from imagegen_cli.marks.values import Marks, SourceType, from_json, marks_of, to_json
from imagegen_cli.marks.writing import Plan, add, plan, sidecar_paths, sidecar_text
from tests.doubles import marked
from tests.doubles.forms import samples
from tests.test_marks_tools import LABELS

PROMPT = '一只猫 <在> "雨" & 雪 🐈, 100 %\nsecond line'
REQUEST = ImageRequest(
    prompt=PROMPT, provider="studio", model="seedream-4.0", ratio="2:3", resolution="2k", width=512, height=768,
    count=2, seed=7, negative="模糊, dog: cat", name="the cat", extra={"steps": "30", "style": "水墨"},
)  # fmt: skip
MARKS = marks_of(
    REQUEST,
    kind="volcengine",
    facts={"seed": 7, "request_id": "r-1"},
    job="t-9",
    task_id="12",
    time="2026-11-26T02:41:00Z",
)


def drawn(form: str, mode: str = "RGB", **how: Any) -> bytes:
    """A picture with smooth and rough parts, and every degree of opacity where the mode has any."""
    noise = random.Random(15).randbytes
    layers = [Image.frombytes("L", (61, 47), noise(61 * 47)) for _ in "RGBA"]
    layers[0] = Image.linear_gradient("L").resize((61, 47))
    image = Image.merge("RGBA", layers) if mode != "I;16" else Image.frombytes(mode, (61, 47), noise(2 * 61 * 47))
    file = BytesIO()
    (image if image.mode == mode else image.convert(mode)).save(file, form, **how)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: drawn("PNG"),
    "png with alpha": lambda: drawn("PNG", "RGBA"),
    "png of 16 bits": lambda: drawn("PNG", "I;16"),
    "png with palette": lambda: drawn("PNG", "P"),
    "jpeg": lambda: drawn("JPEG"),
    "progressive jpeg": lambda: drawn("JPEG", progressive=True),
    "jpeg with exif": lambda: marked.jpeg_with_exif({0x0131: b"a camera"}),
    "webp": lambda: drawn("WEBP"),
    "lossless webp": lambda: drawn("WEBP", lossless=True),
    "lossless webp with alpha": lambda: drawn("WEBP", "RGBA", lossless=True),
    "webp with alpha": lambda: drawn("WEBP", "RGBA"),
    "webp with exif": marked.webp,
    "animated webp": lambda: drawn("WEBP", save_all=True, append_images=[Image.new("RGB", (61, 47), "red")]),
}
"""Files into which marks are put."""
BESIDE = {
    "avif": lambda: drawn("AVIF"),
    "avif with alpha": lambda: drawn("AVIF", "RGBA"),
    "gif": lambda: drawn("GIF"),
    "svg": lambda: samples()["svg"][1],
}
"""Files beside which a sidecar is put."""


def planned(data: bytes, marks: Marks = MARKS) -> Plan:
    return plan(BytesIO(data), marks)


def pixels(data: bytes) -> tuple[str, tuple[int, int], list[bytes]]:
    with Image.open(BytesIO(data)) as image:
        frames = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            frames.append(image.tobytes())
        return image.mode, image.size, frames


@pytest.mark.parametrize("kind", KINDS)
def test_no_pixel_changes_and_the_marks_come_back(kind: str) -> None:
    data = KINDS[kind]()
    with_them = add(data, MARKS)
    assert pixels(with_them) == pixels(data)
    found = read(with_them)
    assert found.marks == MARKS
    assert (found.source_type, found.damage, found.made.tool) == ("trainedAlgorithmicMedia", "", "imagegen")
    assert ImageRequest(**request_from(found), provider="studio") == REQUEST


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_that_was_there_stays(kind: str) -> None:
    data = KINDS[kind]()
    edits = planned(data).edits
    changed = [edit for edit in edits if edit.start < edit.end]
    assert all(kind.endswith("webp") or "webp" in kind for _ in changed), "only a WebP says how long it is"
    assert sum(edit.end - edit.start for edit in changed) <= 5
    assert len(add(data, MARKS)) - len(data) == sum(len(edit.data) - (edit.end - edit.start) for edit in edits)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "webp" in kind])
def test_a_webp_says_what_is_in_it(kind: str) -> None:
    data, with_them = KINDS[kind](), add(KINDS[kind](), MARKS)
    assert int.from_bytes(with_them[4:8], "little") == len(with_them) - 8
    assert (with_them[12:16], with_them[20] & 0x04) == (b"VP8X", 0x04)
    assert bool(with_them[20] & 0x10) == ("alpha" in kind)
    sides = [int.from_bytes(with_them[at : at + 3], "little") + 1 for at in (24, 27)]
    assert tuple(sides) == pixels(data)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_marks_are_written_once(kind: str) -> None:
    once = add(KINDS[kind](), MARKS)
    assert planned(once) == Plan()
    assert planned(once, replace(MARKS, id="13")).sidecar == "the file has marks of another task"


@pytest.mark.parametrize("kind", BESIDE)
def test_other_formats_stay_as_they_came(kind: str) -> None:
    data = BESIDE[kind]()
    assert add(data, MARKS) is data
    assert planned(data).sidecar
    found = with_marks(read(data), (read_sidecar(sidecar_text(MARKS)) or (Marks(), ""))[0])
    assert ImageRequest(**request_from(found), provider="studio") == REQUEST


@pytest.mark.parametrize("suffix", marked.signed())
def test_a_signed_file_stays_byte_for_byte(suffix: str) -> None:
    data = marked.signed()[suffix]
    assert planned(data).edits == ()
    assert "signed" in planned(data).sidecar
    assert add(data, MARKS) is data


def test_a_signature_behind_the_pixels_or_elsewhere_counts_as_well() -> None:
    late = marked.png(late=[marked.chunk(b"caBX", marked.manifest())])
    elsewhere = marked.png_with_xmp(marked.packet(" dcterms:provenance='https://example.org/m.c2pa'/>"))
    for data in (late, elsewhere):
        assert "signed" in planned(data).sidecar


def test_a_sidecar_says_the_same_and_whose_it_is() -> None:
    data = marked.signed()[".png"]
    text = sidecar_text(MARKS, sha256(data).hexdigest())
    assert read_sidecar(text) == (MARKS, sha256(data).hexdigest())
    assert read_sidecar("{}") is read_sidecar("[]") is read_sidecar("no JSON") is None
    assert sidecar_paths(Path("a/12-猫-1.png")) == (Path("a/12-猫-1.json"), Path("a/12-猫-1.png.json"))


@pytest.mark.parametrize("form", [form for form in LABELS if form != "MP4 metadata"])
def test_a_label_is_kept(form: str) -> None:
    _, data = LABELS[form]
    found = read(add(data, MARKS))
    assert (found.labels, found.marks) == (read(data).labels, MARKS)
    assert pixels(add(data, MARKS)) == pixels(data)


@pytest.mark.parametrize("make", [marked.png_with_xmp, marked.jpeg_with_xmp, marked.webp_with_xmp])
@pytest.mark.parametrize("packet", [marked.LABEL_ELEMENT, marked.LABEL_ATTRIBUTE])
def test_there_is_one_packet_and_the_old_words_stand_in_it(make: Callable[[str], bytes], packet: str) -> None:
    data = make(packet)
    with_them = add(data, MARKS)
    assert with_them.count(b"<x:xmpmeta") == 1
    found, before = read(with_them), read(data)
    ours = found.texts["XMP"].index("<rdf:Description", found.texts["XMP"].index("TC260:AIGC"))
    ending = found.texts["XMP"].index("</rdf:RDF>")
    assert found.texts["XMP"][:ours] + found.texts["XMP"][ending:] == before.texts["XMP"]
    assert pixels(with_them) == pixels(data)
    assert (found.marks, found.labels) == (MARKS, before.labels)


def test_a_property_of_the_service_is_not_said_twice() -> None:
    about = '"uuid:1" Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalArt"'
    found = read(add(marked.png_with_xmp(marked.packet("/>", about)), MARKS))
    assert (found.source_type, found.marks) == ("digitalArt", MARKS)
    assert found.texts["XMP"].count("DigitalSourceType") == 1
    assert 'rdf:about="uuid:1" xmlns:dc' in found.texts["XMP"]


@pytest.mark.parametrize(
    "data",
    [
        marked.png_with_xmp("<x:xmpmeta/>"),
        marked.png_with_xmp("<!DOCTYPE x [<!ENTITY a 'b'>]>" + marked.LABEL_ELEMENT),
        marked.png_with_xmp(marked.LABEL_ELEMENT.replace("</x:xmpmeta>", "<!-- </rdf:RDF> --></x:xmpmeta>")),
        marked.png(marked.long_text("XML:com.adobe.xmp", marked.LABEL_ELEMENT, packed=True)),
        marked.png(*[marked.long_text("XML:com.adobe.xmp", marked.LABEL_ELEMENT)] * 2),
        marked.png(marked.packed_text("Raw profile type xmp", "\nxmp\n 4\n3c3e")),
        marked.png(marked.long_text("XML:com.adobe.xmp", "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"))),
        marked.jpeg_with_xmp(marked.LABEL_ELEMENT + " " * 64_000),
        marked.jpeg(marked.segment(0xE2, b"MPF\0MM\0*" + bytes(20))),
        marked.jpeg_with_xmp(marked.packet(' xmpNote:HasExtendedXMP="AB"/>')),
        drawn("PNG")[:-20],
        drawn("WEBP")[:-1],
        drawn("JPEG")[:100],
        b"no picture",
    ],
)  # fmt: skip
def test_where_it_is_not_certain_the_facts_go_beside_the_file(data: bytes) -> None:
    assert add(data, MARKS) is data
    assert planned(data).sidecar


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_stands_behind_the_picture_stays_behind_it(kind: str) -> None:
    data = KINDS[kind]()
    assert add(data + b"something else", MARKS) == add(data, MARKS) + b"something else"
    assert read(add(data + b"something else", MARKS)).marks == MARKS


def test_a_prompt_that_is_too_long_for_a_jpeg_goes_beside_it() -> None:
    long = replace(MARKS, prompt="猫" * 20_000)
    assert "too long" in planned(KINDS["jpeg"](), long).sidecar
    for kind in ("png", "webp"):
        assert read(add(KINDS[kind](), long)).marks == long


def test_the_longest_packet_that_a_jpeg_takes() -> None:
    data = KINDS["jpeg"]()
    least = bisect_left(range(65_536), 1, key=lambda length: bool(planned(data, Marks(prompt="a" * length)).sidecar))
    longest = Marks(prompt="a" * (least - 1))
    assert read(add(data, longest)).marks == longest
    assert 32_000 < least < 32_700  # the prompt stands in the packet twice


@pytest.mark.parametrize(
    "prompt", ["", " ", "\0\x07\x1b[2J\x7f\x85\x9f", "a\r\nb\tc\u2028d\ufffe\uffff", "]]></rdf:li>", "&lt;&amp;&#0;",
               "é ÿ ©", "Negative prompt: x\nSteps: 3, Seed: 4", "{}", "}{", "\\", "'\"", "a" * 5000, "\\u0041"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_any_prompt_comes_back(kind: str, prompt: str) -> None:
    marks = replace(MARKS, prompt=prompt, negative=prompt[::-1], parameters={"style": prompt, prompt or "x": 1})
    found = read(add(KINDS[kind](), marks))
    assert found.marks == marks
    ET.fromstring(found.texts["XMP"].removeprefix("\ufeff"))  # noqa: S314 - our own words, and well formed
    assert from_json(to_json(marks)) == marks


def test_half_a_character_is_replaced() -> None:
    assert Marks(prompt="a\ud800b").prompt == "a?b"
    assert read(add(KINDS["png"](), Marks(prompt="a\ud800b"))).made.prompt == "a?b"


def test_settings_in_the_form_of_a1111() -> None:
    with Image.open(BytesIO(add(KINDS["png"](), MARKS))) as image:
        words = image.info["parameters"]
    assert words.startswith(f"{PROMPT}\nNegative prompt: 模糊, dog: cat\nSteps: 30, Seed: 7, Size: 512x768, Model: ")
    alone = read(marked.png(marked.long_text("parameters", words))).made
    assert (alone.tool, alone.prompt, alone.negative, alone.seed) == ("A1111", PROMPT, MARKS.negative, 7)
    least = writing.settings_text(Marks(prompt="猫", kind="bfl", id="1", time="2026-11-26T02:41:00Z"))
    assert read(marked.png(marked.long_text("parameters", least))).made.prompt == "猫"


def test_latin_words_are_plain_text_and_others_are_not() -> None:
    assert b"tEXtparameters" in add(KINDS["png"](), Marks(prompt="café"))
    assert b"iTXtparameters" in add(KINDS["png"](), Marks(prompt="猫"))
    assert b"iTXtparameters" in add(KINDS["png"](), Marks(prompt="a\x85b"))


@pytest.mark.parametrize("keyword", ["parameters", "prompt", "workflow"])
def test_settings_of_a_tool_are_not_said_again(keyword: str) -> None:
    data = marked.png(marked.text(keyword, "its own words"))
    found = read(add(data, MARKS))
    assert found.texts.get("parameters", "its own words") == "its own words"
    assert found.marks == MARKS


SECRET = "sk-verysecret-0123456789"
HIDDEN = {
    "image_url": "https://cdn.example.com/a.png?X-Amz-Signature=abc",
    "path": "/home/me/pictures/a.png",
    "windows": "C:\\Users\\me\\a.png",
    "share": "\\\\nas\\private",
    "home": "~/a.png",
    "above": "../private/a.png",
    "inside": '{"file": "/home/me/a.png"}',
    "data": "data:image/png;base64,AAAA",
    "server": "10.0.0.7:8188",
    "host": "studio.example.com:7860",
    "api_key": "abcdefg",
    "session_token": "abcdefg",
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "sidecar"])
def test_no_address_path_or_secret_is_written(kind: str, name: str) -> None:
    marks = marks_of(replace(REQUEST, extra={name: HIDDEN[name], "steps": "30"}), kind="fal", facts={})
    written = sidecar_text(marks).encode() if kind == "sidecar" else add(KINDS[kind](), marks)
    assert HIDDEN[name].encode() not in written
    assert json.dumps(HIDDEN[name])[1:-1].encode() not in written
    assert (marks.omitted, dict(marks.parameters)["extra.steps"]) == ((f"extra.{name}",), "30")


def test_what_names_no_place_is_kept() -> None:
    extra = {"a": "16/9", "b": "black-forest-labs/flux-dev:abc", "c": "and/or", "d": "3: 4", "e": "v1.5", "f": "12:30"}
    extra |= {"g": "<lora:x.safetensors:12>", "h": "SDXL\\dream.safetensors", "i": "2026-11-26T02:41:00+08:00"}
    marks = marks_of(replace(REQUEST, model="owner/name:v1.5", extra=extra), kind="fal", facts={})
    assert (marks.omitted, marks.model) == ((), "owner/name:v1.5")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "sidecar"])
def test_a_key_of_this_process_is_struck_out_everywhere(kind: str) -> None:
    hide(SECRET)
    try:
        texts = dict.fromkeys(("prompt", "negative", "model", "kind", "job", "id", "time"), f"a {SECRET}")
        marks = Marks(**texts, parameters={"style": f"x {SECRET}", SECRET: "x"}, omitted=(SECRET,))  # type: ignore[arg-type]
        written = sidecar_text(marks).encode() if kind == "sidecar" else add(KINDS[kind](), marks)
        assert SECRET.encode() not in written
        assert b"a ****" in written
    finally:
        forget()


def test_references_are_counted_as_left_out_and_make_a_composite() -> None:
    marks = marks_of(replace(REQUEST, references=("/home/me/a.png",)), kind="fal", facts={})
    assert (marks.omitted, marks.source) == (("references",), SourceType.COMPOSITE)
    assert "/home" not in to_json(marks)


def test_what_sketch_draws_is_called_nothing() -> None:
    marks = marks_of(REQUEST, kind="sketch", facts={})
    assert marks.source == SourceType.UNKNOWN
    assert read(add(KINDS["jpeg"](), marks)).source_type == ""


@pytest.mark.parametrize(
    ("told", "index", "asked", "seed"),
    [(9, 1, 7, 9), ("8, 9", 2, 7, 9), ("8, 9", 3, 7, 7), (None, 1, 7, 7), (None, 1, None, None), (0, 1, None, 0),
     (-1, 1, -1, None)],
)  # fmt: skip
def test_the_real_seed_stands_before_the_one_that_was_asked_for(told: Any, index: int, asked: Any, seed: Any) -> None:
    facts = {} if told is None else {"seed": told}
    assert marks_of(replace(REQUEST, seed=asked), kind="fal", facts=facts, index=index).seed == seed


def test_the_model_that_drew_is_shown_and_the_one_asked_for_is_asked_again() -> None:
    found = read(add(KINDS["png"](), marks_of(REQUEST, kind="fal", facts={"model": "seedream-4.0-251128"})))
    assert (found.made.model, request_from(found)["model"]) == ("seedream-4.0-251128", "seedream-4.0")
    unasked = marks_of(replace(REQUEST, model=""), kind="fal", facts={"model": "seedream-4.0-251128"})
    assert request_from(read(add(KINDS["png"](), unasked)))["model"] == "seedream-4.0-251128"


def test_a_file_is_copied_in_pieces_with_its_marks(tmp_path: Path) -> None:
    data = marked.png(late=[marked.chunk(b"prVt", bytes(3 * 1024 * 1024))])
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as source, (tmp_path / "b.png").open("wb") as target:
        target.writelines(edited(source, plan(source, MARKS).edits))
    assert (tmp_path / "b.png").read_bytes() == add(data, MARKS)
    assert read(tmp_path / "b.png").marks == MARKS


def test_what_is_no_file_is_the_documented_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, Path("a\0b")):
        with pytest.raises(UnreadableFile):
            read(path)


EXIFTOOL = shutil.which("exiftool")


def seen(folder: Path) -> list[dict[str, Any]]:
    asked = ["-j", "-validate", "-warning", "-a", "-XMP:all", "-PNG:Parameters"]
    answer = subprocess.run([str(EXIFTOOL), *asked, "."], cwd=folder, capture_output=True, check=True).stdout
    told: list[dict[str, Any]] = json.loads(answer)
    return told


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)")
def test_exiftool_validates_the_files_and_reads_what_is_in_them(tmp_path: Path) -> None:
    files = {kind: make() for kind, make in KINDS.items()}
    files |= {form: data for form, (suffix, data) in LABELS.items() if suffix != ".mp4"}
    files |= {
        f"webp {at}": marked.webp_with_xmp(one) for at, one in enumerate((marked.LABEL_ELEMENT, marked.LABEL_ATTRIBUTE))
    }
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
        for kind, data in files.items():
            (folder / f"{kind}{read(data).suffix}").write_bytes(data if folder is before else add(data, MARKS))
    told, old = seen(after), {Path(one["SourceFile"]).name: one["Validate"] for one in seen(before)}
    assert len(told) == len(files)
    for one in told:
        name = Path(str(one["SourceFile"]))
        assert (name.name, one["Validate"]) == (name.name, old[name.name])
        assert one["Validate"] == "OK" or name.stem not in KINDS or "exif" in name.stem, (
            "what is made by hand lacks tags"
        )
        assert one["Description"] == PROMPT
        assert one["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
        assert from_json(one["Facts"]) == MARKS
        assert ("aigc" in map(str.lower, one)) == (name.stem.startswith(("XMP", "webp 0", "webp 1")))
        assert name.suffix != ".png" or one["Parameters"].startswith(PROMPT)
