"""`info`: what a picture says of itself, what lies beside it, and what the history knows of its bytes."""

import json
import os
import random
import shutil
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.task import ImageRequest, Parent
from imagegen_cli.marks.dimensions import dimensions
from imagegen_cli.marks.reading import suffix_in
from imagegen_cli.marks.values import Marks, from_json, marks_of, to_json
from imagegen_cli.marks.writing import add, sidecar_paths, sidecar_text
from tests.doubles.forms import by_pillow
from tests.doubles.marked import LABEL, LABEL_ELEMENT, comment, jpeg_with_exif, png, png_with_xmp, signed, text
from tests.program import Program

SETTINGS = "Steps: 15, Sampler: DPM++ 2M, CFG scale: 5.5, Seed: 77, Size: 40x30, Model: dream"
WORDS = f"a fox, 雪\nNegative prompt: blurry\n{SETTINGS}"
MARKS = marks_of(
    ImageRequest(prompt="a fox 雪", provider="studio", model="4.0", ratio="16:9", seed=3),
    kind="dreamina", facts={}, task_id="9", time="2026-11-24T10:00:00+00:00", parents=[Parent(2, 1)],
)  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def told(program: Program, name: str, data: bytes) -> dict[str, Any]:
    """What --json prints of a file with these bytes."""
    (program.folder / name).write_bytes(data)
    [found] = program.run("info", name, "--json").objects
    return found


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_ours_is_read_back(program: Program, form: str) -> None:
    data = by_pillow(form)
    path = program.folder / f"moved.{form.lower()}"
    path.write_bytes(add(data, MARKS))
    if form == "AVIF":
        sidecar_paths(path)[0].write_text(sidecar_text(MARKS))
    [found] = program.run("info", path.name, "--json").objects
    assert (found["tool"], found["kind"], found["prompt"], found["model"]) == (
        "imagegen",
        "dreamina",
        "a fox 雪",
        "4.0",
    )
    assert (found["seed"], found["parameters"], found["made_at"]) == (3, {"ratio": "16:9"}, "2026-11-24T10:00:00+00:00")
    assert (found["width"], found["height"], found["parents"]) == (40, 30, [{"task": 2, "picture": 1}])
    assert found["said_by"] == ("sidecar" if form == "AVIF" else "file")
    shown = program.run("info", path.name)
    assert shown.code == 0
    assert "made by     imagegen with dreamina" in shown.out
    assert "made from   2/1" in shown.out


def test_forms_of_other_tools_labels_and_signatures(program: Program) -> None:
    found = told(program, "a.png", png(text("parameters", WORDS)))
    assert (found["tool"], found["prompt"], found["negative"], found["seed"]) == ("A1111", "a fox, 雪", "blurry", 77)
    assert told(program, "a.jpg", jpeg_with_exif({}, inner=comment(WORDS)))["model"] == "dream"
    [label] = told(program, "l.png", png_with_xmp(LABEL_ELEMENT))["labels"]
    assert (label["form"], label["meaning"], label["id"]) == ("XMP element", "generated", "p-1")
    found = told(program, "s.png", signed()[".png"])
    assert (found["signature"], found["signer"], found["verified"]) == ("C2PA", "Honest Pictures Ltd", None)
    lines = program.run("info", "s.png", "l.png").out
    assert "C2PA, by Honest Pictures Ltd; not verified" in lines
    assert "generated (1), TC260 label as XMP element, producer 001191110102MACQD9K64010000" in lines
    assert LABEL


def test_a_sidecar_in_the_second_place(program: Program) -> None:
    path = program.folder / "a.png"
    path.write_bytes(by_pillow("PNG"))
    sidecar_paths(path)[0].write_text("{}")
    sidecar_paths(path)[1].write_text(sidecar_text(MARKS))
    [found] = program.run("info", "a.png", "--json").objects
    assert (found["said_by"], found["sidecar"]) == ("sidecar", "a.png.json")


def test_a_sidecar_of_another_picture_is_none_of_this_one(program: Program) -> None:
    path = program.folder / "a.png"
    path.write_bytes(by_pillow("PNG"))
    sidecar_paths(path)[0].write_text(sidecar_text(MARKS, "0" * 64))
    ended = program.run("info", "a.png", "--json")
    assert (ended.code, ended.objects[0]["tool"]) == (4, None)


def drawn(program: Program, *words: str) -> Path:
    ended = program.run("run", *words, "--size", "64x64", "--quiet")
    assert ended.code == 0, ended.err
    return Path(ended.lines[0])


def test_a_renamed_picture_is_known_by_its_bytes(program: Program) -> None:
    path = drawn(program, "a fox", "-n", "2", "--seed", "4")
    second = path.with_name(path.name.replace("-1.png", "-2.png"))
    shutil.move(second, program.folder / "x.png")
    [found] = program.run("info", "x.png", "--json").objects
    assert (found["task"], found["picture"], found["saved_as"]) == (1, 2, str(second))
    assert (found["prompt"], found["seed"]) == ("a fox", 5)
    assert "task        1/2, run 1" in program.run("info", "x.png").out


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_of_a_file_that_is_larger_than_any_picture_only_a_part_is_read(program: Program, name: str) -> None:
    path = program.folder / "sparse.png"
    path.write_bytes(by_pillow(name))
    os.truncate(path, 2 << 30)
    ended = program.run("info", "sparse.png")
    assert ended.code == 4
    assert "it is larger than 512 MB, and was not looked for in the history" in ended.err


def test_a_folder_is_the_pictures_in_it(program: Program) -> None:
    drawn(program, "a fox", "a cat")
    (program.folder / "images" / "notes.txt").write_text("x")
    found = program.run("info", "images", "--json").objects
    assert [one["prompt"] for one in found] == ["a fox", "a cat"]


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["plain.png"], 4, "nothing is known of what made it"),
        (["plain.png", "other.png"], 4, "nothing is known of 2 pictures"),
        (["plain.png", "made.png"], 0, ""),
        (["made.png", "none.png"], 2, "No such file"),
        (["made.png", "words.txt"], 2, "no picture"),
        (["pipe"], 2, "cannot be read"),
        (["empty"], 4, "there is no picture"),
        ([], 2, "FILE"),
    ],
)
def test_exit_codes(program: Program, names: list[str], code: int, words: str) -> None:
    folder = program.folder
    for name in ("plain.png", "other.png"):
        (folder / name).write_bytes(by_pillow("PNG"))
    (folder / "made.png").write_bytes(add(by_pillow("PNG"), MARKS))
    (folder / "words.txt").write_text("hello")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    ended = program.run("info", *names)
    assert ended.code == code, ended.err
    assert words in ended.err
    if "made.png" in names:
        assert "a fox 雪" in ended.out
    assert "Traceback" not in ended.err


def test_hostile_words_reach_no_terminal(program: Program) -> None:
    words = "\x1b]0;owned\x07\x1b[2J\u202ered" + "x" * 100_000
    (program.folder / "a.png").write_bytes(png(text("parameters", f"a\n{words}\n{SETTINGS}, Sampler: {words[:200]}")))
    ended = program.run("info", "a.png")
    assert "\x1b" not in ended.out
    assert "\x07" not in ended.out
    assert "more characters" in ended.out
    assert len(ended.out) < 20_000
    found = program.run("info", "a.png", "--json")
    assert "\x1b" not in found.out
    assert len(found.objects[0]["prompt"]) > 100_000


def test_without_the_package_for_signatures_it_says_how_to_install_it(program: Program) -> None:
    if find_spec("c2pa"):
        pytest.skip("c2pa-python is installed")
    (program.folder / "a.png").write_bytes(signed()[".png"])
    ended = program.run("info", "--verify", "a.png")
    assert ended.code == 2
    assert "pip install 'imagegen-cli[c2pa]'" in ended.err


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_signature_is_verified(program: Program, form: str) -> None:
    data = signed_by_own_authority(by_pillow(form), f"image/{form.lower()}")
    assert told(program, "a", data)["signer"] == "Honest Pictures Ltd"
    changed = bytearray(data)
    changed[-30] ^= 1
    (program.folder / "b").write_bytes(changed)
    found = program.run("info", "--verify", "a", "b", "--json").objects
    assert [one["verified"] for one in found] == ["valid", "invalid"]
    shown = program.run("info", "--verify", "a", "b").out
    assert "verified: it fits the file" in shown
    assert "does NOT fit" in shown


def signed_by_own_authority(data: bytes, media_type: str) -> bytes:
    """The picture with a C2PA manifest, signed by a certificate whose authority is made here."""
    c2pa = pytest.importorskip("c2pa", reason="signing needs c2pa-python")
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - c2pa-python brings it
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    root, owner = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = _certificate("Honest Pictures Ltd", owner, root), _certificate("Own Authority", root, root)
    private = owner.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    certificates = b"".join(one.public_bytes(forms.Encoding.PEM) for one in chain)
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", certificates, private, None))
    source, target = BytesIO(data), BytesIO()
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": source_type}]}
    manifest = {
        "claim_generator_info": [{"name": "test"}], "assertions": [{"label": "c2pa.actions", "data": actions}]
    }  # fmt: skip
    c2pa.Builder(manifest).sign(signer, media_type, source, target)
    return target.getvalue()


def _certificate(owner: str, key: Any, authority: Any) -> Any:
    """Of an authority where `key` is its own, else one that may sign pictures."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    is_root, now = key is authority, datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    names = [x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)]) for name in (owner, "Own Authority")]
    made = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
    made = made.add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
    signs = x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage)
    made = made.add_extension(signs, critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    made = made.add_extension(above, critical=False)
    if not is_root:
        purpose = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, critical=False)
    return made.sign(authority, hashes.SHA256())


def test_parents_are_numbers_and_nothing_else() -> None:
    for wrong in ("x", [1, 2], [["1", 2], [0, 1], [3, -1], [4, 5, 6], [{}, 1], None, [7, 8]], {"a": 1}, 7):
        found = from_json(json.dumps({"v": 1, "tool": "imagegen", "parents": wrong}))
        assert found is not None
        assert all(isinstance(parent, Parent) for parent in found.parents)
    many = from_json(json.dumps({"v": 1, "tool": "imagegen", "parents": [[7, 8]] * 1000}))
    assert many is not None
    assert many.parents == (Parent(7, 8),) * 64
    assert from_json(to_json(MARKS)) == MARKS
    assert "parents" not in to_json(Marks(prompt="x"))


KINDS = [
    ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0x"}), ("GIF", {}), ("AVIF", {}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "how"), KINDS)
def test_the_size_stands_in_the_header(form: str, how: dict[str, Any], tmp_path: Path) -> None:
    data = by_pillow(form, **how)
    assert size_of(data, tmp_path) == (40, 30)
    chance = random.Random(5)
    for _ in range(300):
        damaged = bytearray(data[: chance.randrange(20, len(data))])
        damaged[chance.randrange(12, min(len(damaged), 400))] = chance.randrange(256)
        size_of(bytes(damaged), tmp_path)


def size_of(data: bytes, folder: Path) -> tuple[int, int] | None:
    path = folder / "x"
    path.write_bytes(data)
    with path.open("rb") as file:
        return dimensions(file, suffix_in(file), len(data))
