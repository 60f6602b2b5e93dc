"""Files that were made to do harm: nothing but the documented error, in bounded time and memory."""

import json
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest

from imagegen_cli.marks.decoding import MAX_TEXT_BYTES
from imagegen_cli.marks.reading import Reading, UnreadableFile, read, read_sidecar, request_from
from imagegen_cli.marks.values import Marks, from_json, to_json
from imagegen_cli.marks.writing import add, plan
from tests.doubles import marked
from tests.doubles.forms import box, by_pillow
from tests.test_marks import KINDS, MARKS
from tests.test_marks_tools import FORMS, LABELS

MUTANTS = 10_000
MAX_MUTANTS_S = 100
"""Of CPU time for all of them: some seconds on a quiet machine."""
MAX_ONE_S = 20
"""Of CPU time for one file that is made to be slow, which takes two at most; what is quadratic takes minutes."""
MAX_MEMORY_BYTES = 200 * 1024 * 1024
INTERESTING = (
    b"\xff\xff\xff\xff",
    bytes(4),
    b"\x7f\xff\xff\xff",
    b"\0\0\0\1",
    b"{",
    b"}",
    b'"',
    b"[",
    b"\\",
    b"<",
    b">",
    b"\0",
)


def seeds() -> list[bytes]:
    files = [data for data, _, _ in FORMS.values()]
    files += [data for _, data in LABELS.values()]
    files += [*marked.signed().values()]
    files += [add(KINDS[kind](), MARKS) for kind in ("jpeg", "webp", "png")]
    files.append(by_pillow("AVIF", exif=b"Exif\0\0" + marked.exif({0x0131: b"x"}), xmp=marked.LABEL_ELEMENT.encode()))
    return files


def mutants(number: int) -> Iterator[bytes]:
    """Files with a few bytes changed, cut, doubled or moved, mostly where the metadata is."""
    chance = random.Random(15)
    files = seeds()
    for _ in range(number):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            _mutate(data, chance)
        yield bytes(data)


def _mutate(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1) if data else 0
    end = min(len(data), at + chance.choice((1, 4, 30, 300)))
    kind = chance.randrange(7)
    if kind == 0:
        data[at:end] = chance.randbytes(end - at)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at:end]
    elif kind == 3:
        data[at:at] = data[at:end] * chance.choice((1, 3))
    elif kind == 4:
        data[at : at + 4] = chance.choice(INTERESTING)
    elif kind == 5:
        data[at:at] = chance.choice(INTERESTING) * chance.choice((1, 2, 50))
    elif at < len(data):
        data[at] ^= 1 << chance.randrange(8)


def tried(data: bytes) -> Reading | None:
    """Read it, and plan its marks. None where it is no picture."""
    plan(BytesIO(data), MARKS)
    try:
        found = read(data)
    except UnreadableFile:
        return None
    json.dumps([request_from(found), dict(found.made.parameters), dict(found.texts)]).encode()
    str([request_from(found), found.labels, found.signer, found.source_type, found.damage]).encode()
    return found


def test_mutated_files_raise_nothing_else() -> None:
    start = time.process_time()
    found = [tried(data) for data in mutants(MUTANTS)]
    assert time.process_time() - start < MAX_MUTANTS_S
    whole = [one for one in found if one is not None]
    assert len(whole) > MUTANTS / 2
    assert {one.made.tool for one in whole} > {"A1111", "ComfyUI", "InvokeAI", "NovelAI", "imagegen", ""}


def test_marks_in_mutated_files_change_no_byte_that_was_there() -> None:
    """Whatever is planned for a damaged file only adds, or replaces the one packet and the flags."""
    for data in mutants(1000):
        planned = plan(BytesIO(data), MARKS)
        assert not (planned.edits and planned.sidecar)
        if planned.edits:
            assert read(add(data, MARKS)).marks == MARKS
            assert all(0 <= edit.start <= edit.end <= len(data) for edit in planned.edits)


FTYP = box(b"ftyp", b"avif" + bytes(8))
LARGE = 3 * 1024 * 1024
BOMB = zlib.compress(bytes(32 * 1024 * 1024))
SMALL_BOMB = zlib.compress(bytes(LARGE))
DEEP = "[" * 1_000_000
NESTED = '{"a":' * 500_000


def nested_boxes(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = box(b"meta", bytes(4) + data)
    return data


def many_items() -> bytes:
    """An AVIF whose items all stand in the same large place."""
    count = 4000
    names = b"".join(box(b"infe", b"\2\0\0\0" + struct.pack(">HH", at, 0) + b"Exif\0") for at in range(count))
    places = b"".join(struct.pack(">HHH", at, 0, 1) + struct.pack(">II", 16, LARGE) for at in range(count))
    meta = bytes(4) + box(b"iinf", bytes(4) + struct.pack(">H", count) + names)
    meta += box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">H", count) + places)
    return box(b"ftyp", b"avif\0\0\0\0avif") + box(b"mdat", bytes(LARGE)) + box(b"meta", meta)


def comfy_ring(size: int) -> str:
    ring = {str(at): {"class_type": "Save", "inputs": {"positive": [str((at + 1) % size), 0]}} for at in range(size)}
    return json.dumps(ring)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a bomb in zTXt": lambda: marked.png(marked.chunk(b"zTXt", b"parameters\0\0" + BOMB)),
    "a bomb in iTXt": lambda: marked.png(marked.chunk(b"iTXt", b"parameters\0\1\0\0\0" + BOMB)),
    "a bomb in a packet": lambda: marked.png(marked.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)),
    "many bombs": lambda: marked.png(*[marked.chunk(b"zTXt", b"%d\0\0" % at + SMALL_BOMB) for at in range(2000)]),
    "a cut zTXt": lambda: marked.png(marked.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100))[:-3])),
    "a chunk that claims to be huge": lambda: by_pillow("PNG")[:33] + struct.pack(">I4s", 2**31 - 1, b"tEXt") + b"a\0b",
    "a segment without length": lambda: by_pillow("JPEG")[:20] + b"\xff\xe1\0\0",
    "fill bytes": lambda: b"\xff\xd8" + b"\xff" * LARGE,
    "a RIFF that claims to be huge": lambda: b"RIFF\xfe\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(20),
    "a box that claims to be huge": lambda: FTYP + struct.pack(">I4sQ", 1, b"meta", 2**64 - 1),
    "a box shorter than its header": lambda: FTYP + struct.pack(">I4s", 3, b"meta") * 99,
    "nested boxes": lambda: FTYP + nested_boxes(2000),
    "many items in one place": many_items,
    "many empty chunks": lambda: marked.png(*[marked.chunk(b"tEXt", b"")] * 101_000),
    "many texts": lambda: marked.png(*[marked.text(f"k{at}", "x") for at in range(50_000)]),
    "large texts": lambda: marked.png(*[marked.text(f"k{at}", "x" * LARGE) for at in range(8)]),
    "a text that is too large": lambda: marked.png(marked.text("parameters", "x" * (MAX_TEXT_BYTES + 1))),
    "deep JSON": lambda: marked.png(marked.text("prompt", DEEP), marked.text("Comment", NESTED)),
    "JSON of nothing but lists": lambda: marked.png(
        marked.text("invokeai_metadata", '{"a":[' + "[]," * 1_000_000 + "0]}")
    ),
    "a long number": lambda: marked.png(marked.text("sd-metadata", '{"seed":' + "9" * LARGE + "}")),
    "numbers beyond": lambda: marked.png(
        marked.text("invokeai_metadata", '{"seed":1e999,"width":NaN,"a":' + "9" * 400 + "}")
    ),
    "wrong types": lambda: marked.png(
        marked.text("invokeai_metadata", '{"positive_prompt":[1],"model":7,"seed":{},"width":"x"}')
    ),
    "a settings line without end": lambda: marked.png(marked.text("parameters", "a\nSteps: 1, " + "a" * LARGE)),
    "settings of colons": lambda: marked.png(marked.text("parameters", "a\nSteps: 1, " + 'a:"' * (LARGE // 3))),
    "settings of quotes": lambda: marked.png(marked.text("parameters", "a\nSteps: 1, " + '\\"' * (LARGE // 2))),
    "tags without end": lambda: marked.png_with_xmp("<a:AIGC " * 120_000),
    "tags that never close": lambda: marked.png_with_xmp("<a:AIGC>" * 120_000),
    "attributes without end": lambda: marked.png_with_xmp(' a:AIGC="' * 110_000),
    "prefixes without end": lambda: marked.png_with_xmp("<" + "a" * 500_000 + " " * 400_000),
    "entities": lambda: marked.png_with_xmp("<a:AIGC>" + "&lt;" * 200_000 + "</a:AIGC>"),
    "endings of RDF": lambda: marked.png_with_xmp("</rdf:RDF>" * 90_000),
    "a packet that is too large": lambda: marked.png_with_xmp("x" * LARGE),
    "flags without end": lambda: marked.png(marked.text("Description", " --a b" * 500_000 + MARKS.prompt)),
    "jobs without end": lambda: marked.png(marked.text("Description", "Job ID: 0123" * 200_000)),
    "an old prompt without end": lambda: marked.png(marked.text("Dream", '"' + '\\"' * 1_000_000)),
    "square brackets": lambda: marked.png(marked.text("sd-metadata", json.dumps({"image": {"prompt": "[" * LARGE}}))),
    "a ring of nodes": lambda: marked.png(marked.text("prompt", comfy_ring(40_000))),
    "a list of Exif in itself": lambda: marked.png(
        marked.chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\1\0\0\0\x08" + bytes(4))
    ),
    "Exif that points outside": lambda: marked.png(marked.chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")),
    "Exif with many tags": lambda: marked.png(
        marked.chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + struct.pack(">HHII", 305, 2, LARGE, 0) * 65535 + bytes(9))
    ),
    "a certificate without end": lambda: marked.png(
        marked.chunk(b"caBX", b"\x17\x0d260101000000Z\x17\x0d360101000000Z" * 90_000)
    ),
    "labels without end": lambda: marked.jpeg(*[marked.segment(0xE9, b"AIGC" + b"{" * 60_000)] * 40),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little_time(name: str) -> None:
    data = HOSTILE[name]()
    start = time.process_time()
    tried(data)
    assert time.process_time() - start < MAX_ONE_S


@pytest.mark.parametrize(
    "name",
    ["a bomb in zTXt", "a bomb in a packet", "many bombs", "large texts", "many items in one place",
     "JSON of nothing but lists"],
)  # fmt: skip
def test_a_hostile_file_costs_little_memory(name: str) -> None:
    file = BytesIO(HOSTILE[name]())
    tracemalloc.start()
    try:
        read(file)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_what_is_too_large_is_left_out_and_said() -> None:
    for name in ("a bomb in zTXt", "a bomb in a packet", "a text that is too large", "a chunk that claims to be huge"):
        found = tried(HOSTILE[name]())
        assert found is not None
        assert found.damage
        assert "parameters" not in found.texts


def test_control_characters_are_returned_as_they_are() -> None:
    words = "a\x1b[2J\x07\u202eb"
    assert read(marked.png(marked.long_text("parameters", f"{words}\nSteps: 1, Seed: 2"))).made.prompt == words


@pytest.mark.parametrize("text", ["", "x", "[]", DEEP, NESTED, '{"tool":"imagegen"}', '{"tool":"imagegen","v":"1"}'])
def test_a_text_that_is_no_sidecar(text: str) -> None:
    assert read_sidecar(text) is None


def test_values_of_a_wrong_type_are_left_out() -> None:
    table = {"v": 9, "tool": "imagegen", "prompt": ["x"], "seed": True, "source": [], "parameters": [1], "omitted": {}}
    assert from_json(json.dumps(table)) == Marks()
    table |= {"seed": "12", "parameters": {"a": None, "b": [1], "c": 1.5, "d": True, "extra.url": "https://x.y/z"}}
    found = from_json(json.dumps(table))
    assert found == Marks(seed=12, parameters={"c": 1.5, "d": True}, omitted=("extra.url",))
    assert found is not None
    assert "://" not in to_json(found)
