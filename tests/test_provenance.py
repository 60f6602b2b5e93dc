"""What made a picture, through the program: in the file or beside it, in the history, and no secret in any byte."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagegen_cli.marks.reading import read, read_sidecar
from tests.doubles import marked
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.doubles.openai import ImageServer
from tests.program import Program, finished
from tests.test_marks import KINDS, drawn
from tests.test_marks_tools import LABELS
from tests.test_paid import POSIX, killed

PROMPT = "一只猫 <在> 雨里, a fox"
KEY = "sk-provenance-0123456789abcdef"
FORMS = {
    "png": KINDS["png"](),
    "jpeg": KINDS["jpeg"](),
    "webp": KINDS["webp"](),
    "avif": drawn("AVIF"),
    "png with alpha": KINDS["png with alpha"](),
    "progressive jpeg": KINDS["progressive jpeg"](),
    "lossless webp": KINDS["lossless webp"](),
    "webp with alpha": KINDS["webp with alpha"](),
    **{f"signed {suffix}": data for suffix, data in marked.signed().items()},
}
MARKED = [form for form in FORMS if "signed" not in form and form != "avif"]


@dataclass(frozen=True, slots=True)
class Given(Pictures):
    """The pictures of every job, in their order."""

    files: list[bytes] = field(default_factory=list)

    def make(self, job: str, index: int) -> bytes:
        del job
        return self.files[index - 1]


CONFIG = """
default_provider = "studio"
{more}
[providers.studio]
kind = "{kind}"
base_url = "{url}"
api_key = "{key}"
model = "{model}"
"""


def config(server: DreaminaServer | ImageServer, more: str = "") -> str:
    if isinstance(server, ImageServer):
        return CONFIG.format(kind="openai", url=server.base_url, key=KEY, model="gpt-image-1", more=more)
    return CONFIG.format(kind="dreamina", url=server.url, key=KEY, model="4.0", more=more)


@pytest.fixture
def studio() -> Iterator[DreaminaServer]:
    with DreaminaServer() as server:
        yield server


def saved(program: Program, server: DreaminaServer, files: list[bytes], *words: str) -> list[Path]:
    """Make pictures of these bytes, four for each task, and give the files in that order."""
    paths: list[str] = []
    for start in range(0, len(files), 4):
        server.pictures = Given(files=[*files, *[FORMS["png"]] * 3][start : start + 4])
        ended = program.run("run", PROMPT, "-q", *words)
        assert ended.code == 0, ended.err
        paths += ended.lines
    return [Path(path) for path in paths[: len(files)]]


def beside(path: Path) -> dict[str, Any] | None:
    """The sidecar of a picture, which must be its own."""
    for place in (path.with_suffix(".json"), path.with_name(f"{path.name}.json")):
        if place.exists() and sha256(path.read_bytes()).hexdigest() in place.read_text(encoding="utf-8"):
            found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
            return found
    return None


def pixels(data: bytes) -> list[Any]:
    with Image.open(BytesIO(data)) as image:
        return [image.size, image.mode, image.tobytes()]


def test_every_form_of_picture_says_what_made_it(tmp_path: Path, studio: DreaminaServer) -> None:
    program = Program(tmp_path, config(studio))
    paths = saved(program, studio, list(FORMS.values()), "--seed", "7")
    for path, (form, data) in zip(paths, FORMS.items(), strict=True):
        there = path.read_bytes()
        found = read(path)
        if form in MARKED:
            assert pixels(there) == pixels(data), form
            marks = found.marks
            assert beside(path) is None, form
        else:
            assert there == data, form
            assert beside(path) is not None, form
            marks = (read_sidecar(json.dumps(beside(path))) or (None, ""))[0]
        assert marks is not None
        assert (marks.prompt, marks.model, marks.kind, marks.seed) == (PROMPT, "4.0", "dreamina", 7)
        assert marks.source == "trainedAlgorithmicMedia"
        assert marks.job in studio.jobs
    names = {picture["path"]: picture["sha256"] for task in program.tasks() for picture in task["pictures"]}
    assert names == {str(path): sha256(path.read_bytes()).hexdigest() for path in map(Path, names)}
    assert set(map(str, paths)) <= names.keys()


EXIFTOOL = shutil.which("exiftool")


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
def test_exiftool_validates_what_was_saved_and_reads_it(tmp_path: Path, studio: DreaminaServer) -> None:
    paths = saved(Program(tmp_path, config(studio)), studio, [FORMS[form] for form in MARKED])
    command = [str(EXIFTOOL), "-j", "-validate", "-warning", "-XMP:all", "-PNG:Parameters", *map(str, paths)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)
    for path, one in zip(paths, told, strict=True):
        assert one["Validate"] == "OK", (path, one)
        assert one["Description"] == PROMPT
        assert (
            one["DigitalSourceType"].endswith("/trainedAlgorithmicMedia") or "Algorithmic" in one["DigitalSourceType"]
        )
        assert path.suffix != ".png" or one["Parameters"].startswith(PROMPT)


def test_every_form_of_the_chinese_label_is_kept(tmp_path: Path, studio: DreaminaServer) -> None:
    forms = [data for _, data in LABELS.values()]
    paths = saved(Program(tmp_path, config(studio)), studio, forms)
    for path, data in zip(paths, forms, strict=True):
        assert read(path).labels == read(data).labels
        assert read(path).marks is not None or beside(path) is not None


def test_a_picture_that_a_certificate_signed_stays_byte_for_byte(tmp_path: Path, studio: DreaminaServer) -> None:
    """Signed here by a certificate of its own; where the library for that is missing, the manifest is made by hand."""
    data = signed_png() or marked.signed()[".png"]
    (path,) = saved(Program(tmp_path, config(studio)), studio, [data])[:1]
    assert path.read_bytes() == data
    assert read(path).signature == "C2PA"
    assert beside(path) is not None


def signed_png() -> bytes:
    """A PNG with a manifest that holds a certificate of this test's own; empty where none can be made."""
    try:
        from cryptography import x509  # noqa: PLC0415 - most machines that test have it not
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError:
        return b""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - only here

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "A Test Authority")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    box = b"jumb\0\0\0\x0ajumdc2pa\0" + certificate
    return marked.png(marked.chunk(b"caBX", len(box).to_bytes(4, "big") + box))


# What decides


WAYS = {
    "embedded": ((), "", (True, False)),
    "beside": (("--sidecar",), "", (False, True)),
    "not at all": (("--no-metadata",), "", (False, False)),
    "both options": (("--no-metadata", "--sidecar"), "", (False, True)),
    "the settings: none": ((), 'metadata = "none"', (False, False)),
    "the settings: sidecar": ((), 'metadata = "sidecar"', (False, True)),
    "an option before the settings": (("--sidecar",), 'metadata = "none"', (False, True)),
}


@pytest.mark.parametrize("way", WAYS)
def test_options_and_settings_decide(tmp_path: Path, studio: DreaminaServer, way: str) -> None:
    words, more, (embeds, has_sidecar) = WAYS[way]
    (path,) = saved(Program(tmp_path, config(studio, more)), studio, [FORMS["png"]], *words)
    assert (path.read_bytes() != FORMS["png"], beside(path) is not None) == (embeds, has_sidecar)
    assert (read(path).marks is not None) == embeds


def test_a_wrong_setting_is_refused_before_anything_is_sent(tmp_path: Path, studio: DreaminaServer) -> None:
    ended = Program(tmp_path, config(studio, 'metadata = "sidecars"')).run("run", PROMPT)
    assert (ended.code, studio.counts["submit"]) == (3, 0)
    assert "did you mean sidecar?" in ended.err


def test_a_resume_decides_as_its_own_options_say(tmp_path: Path, studio: DreaminaServer) -> None:
    program = Program(tmp_path, config(studio))
    studio.pictures = Given(files=[FORMS["png"]] * 4)
    studio.polls = 10**6
    process = program.start("run", PROMPT, "-q")
    while not studio.counts["query"]:  # before the first one the receipt is durable
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    finished(process)
    for job in studio.jobs.values():
        job.min_polls = 0
    ended = program.run("resume", "-q", "--sidecar")
    assert ended.code == 0, ended.err
    for path in map(Path, ended.lines):
        assert path.read_bytes() == FORMS["png"]
        assert beside(path) is not None


def test_sent_again_it_is_marked_with_what_the_last_attempt_told(tmp_path: Path, studio: DreaminaServer) -> None:
    program = Program(tmp_path, config(studio))
    (first,) = saved(program, studio, [FORMS["png"]])
    (second,) = [Path(line) for line in program.run("again", "1", "-q", "--seed", "9").lines][:1]
    one, other = read(first).marks, read(second).marks
    assert one is not None
    assert other is not None
    assert (other.id, other.seed, other.prompt) == ("2", 9, PROMPT)
    assert (one.id, one.job != other.job) == ("1", True)


def test_a_drawing_is_not_called_the_work_of_a_model(tmp_path: Path) -> None:
    ended = Program(tmp_path).run("run", "a cat and a zork", "-q", "--seed", "3")
    marks = read(Path(ended.lines[0])).marks
    assert marks is not None
    assert (marks.kind, marks.seed, marks.source, read(Path(ended.lines[0])).source_type) == ("sketch", 3, "", "")
    assert (marks.parameters["drawn"], marks.parameters["not_drawn"]) == ("cat", "zork")


# What must never be said


def test_no_byte_of_any_file_holds_a_secret(tmp_path: Path) -> None:
    """A key in the settings and once more in a prompt, an address with a login, signed links, a folder."""
    folder = tmp_path / "private folder"
    folder.mkdir()
    with ImageServer() as cloud:
        cloud.key = KEY
        files = [FORMS["png"], FORMS["jpeg"], FORMS["webp"], marked.signed()[".png"]]
        cloud.pictures = Given(files=files)
        program = Program(folder, config(cloud))
        ended = program.run("run", f"a cat with {KEY} and http://me:pa55word@127.0.0.1/x", "-n", "4", "-q")
        assert ended.code == 0, ended.err
        hidden = [KEY, KEY[:20], cloud.url, f":{cloud.port}", str(folder), "pa55word", "sIgNaTuRe", "x-expires"]
        checked = 0
        for path in (folder / "images").iterdir():
            data = path.read_bytes()
            assert not [word for word in hidden if word.encode() in data], path
            checked += 1
        assert checked == 5, "four pictures and a sidecar"
        assert b"a cat with ****" in b"".join(path.read_bytes() for path in (folder / "images").glob("*.png"))


def test_a_reference_is_named_as_left_out_and_its_place_is_not(tmp_path: Path) -> None:
    with ImageServer() as cloud:
        cloud.key = KEY
        cloud.pictures = Given(files=[FORMS["png"]])
        program = Program(tmp_path, config(cloud))
        (tmp_path / "secret-reference.png").write_bytes(FORMS["png"])
        ended = program.run("run", "a cat", "-q", "--image", "secret-reference.png")
        assert ended.code == 0, ended.err
        path = Path(ended.lines[0])
        marks = read(path).marks
        assert marks is not None
        assert (marks.source, marks.omitted) == ("compositeWithTrainedAlgorithmicMedia", ("references",))
        assert b"secret-reference" not in path.read_bytes()


# Killed


@POSIX
@pytest.mark.parametrize("step", ["part", "synced", "publish", "unlink"])
@pytest.mark.parametrize("data", [FORMS["png"], marked.signed()[".png"]], ids=["marked", "signed"])
def test_killed_while_it_saves_a_resume_brings_one_good_picture(tmp_path: Path, step: str, data: bytes) -> None:
    with ImageServer() as cloud:
        cloud.key = KEY
        cloud.pictures = Given(files=[data])
        program = Program(tmp_path, config(cloud))
        killed(program, step, "run", PROMPT, "-q")
        program.run("resume", "-q")
        (task,) = program.tasks()
        if step == "part":  # nothing of it was on the disk
            assert task["state"] in ("failed", "done")
            return
        assert task["state"] == "done"
        (picture,) = task["pictures"]
        path = Path(picture["path"])
        assert sha256(path.read_bytes()).hexdigest() == picture["sha256"]
        assert pixels(path.read_bytes()) == pixels(data)
        assert read(path).marks is not None or beside(path) is not None
        assert not [one for one in path.parent.iterdir() if one.name.startswith(".")]
        assert cloud.counts["submit"] == 1


@POSIX
@pytest.mark.parametrize(
    ("said", "resumed", "is_marked", "has_sidecar"),
    [
        (["--no-metadata"], [], False, False),
        (["--sidecar"], [], False, True),
        (["--no-metadata"], ["--sidecar"], False, True),
        (["--sidecar"], ["--no-metadata"], False, False),
        ([], [], True, False),
    ],
)
@pytest.mark.parametrize("command", ["run", "batch"])
def test_a_resume_follows_what_the_first_command_said_about_marks(
    tmp_path: Path, studio: DreaminaServer, command: str, said: list[str], resumed: list[str], *, is_marked: bool,
    has_sidecar: bool,
) -> None:  # fmt: skip
    program = Program(tmp_path, config(studio))
    (tmp_path / "list.txt").write_text("a fox\n", encoding="utf-8")
    what = "a fox" if command == "run" else "list.txt"
    killed(program, "part", command, what, *said, "-q")
    ended = program.run("resume", *resumed, "-q")
    assert ended.code == 0, ended.err
    (task,) = program.tasks()
    for picture in task["pictures"]:
        path = Path(picture["path"])
        assert (read(path).marks is not None) == is_marked
        assert (beside(path) is not None) == has_sidecar
    assert studio.counts["submit"] == 1
