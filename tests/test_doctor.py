"""What `imagegen doctor` finds and fixes. By subprocess, against doubles that misbehave."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.task import Failed, Job, RemoteImage, Running, SavedImage, Saving, Submitting
from imagegen_cli.net.download import MAX_BYTES_IN_MEMORY
from imagegen_cli.storage.rows import key_of
from imagegen_cli.storage.store import Store
from tests.crash import KILLER
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.gemini import KEY, GeminiService
from tests.doubles.http import ANY, CONNECT, Fault, Pictures, Reply
from tests.program import LIMIT, Program, finished
from tests.test_store import become, started

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.05
"""
CLOUD = """
[providers.cloud]
kind = "{kind}"
base_url = "{url}"
api_key = "{key}"
"""
JOB = Job("job-1")
LARGE = Pictures("jpeg", (16, 16), MAX_BYTES_IN_MEMORY + 1)
"""A picture of this size is written from its first byte on; a smaller one waits in memory until it is whole."""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (16, 16))) as server:
        server.sessions.pop("1")
        yield server


@pytest.fixture
def cloud() -> Iterator[GeminiService]:
    with GeminiService() as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


def checked(program: Program, *words: str, code: int = 0, **environment: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What was found, by provider and check."""
    ended = program.run("doctor", "--json", *words, **environment)
    assert ended.code == code, ended.out + ended.err
    return {(row["provider"] or "", row["check"]): row for row in ended.objects}


def levels(program: Program, *words: str, code: int = 0, **environment: str) -> dict[str, str]:
    found = checked(program, *words, code=code, **environment)
    return {f"{provider} {check}".strip(): row["level"] for (provider, check), row in found.items()}


def test_its_json_is_the_same_in_every_language(studio: Program) -> None:
    english, chinese = (checked(studio, IMAGEGEN_LANG=name) for name in ("en", "zh"))
    for found in (english, chinese):
        found["", "output"].pop("said")  # the space that is free
    assert chinese == english


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


# Services


def test_all_is_well(studio: Program, server: DreaminaServer) -> None:
    ended = studio.run("doctor")
    assert ended.code == 0
    assert f"ok   studio: address: {server.url} (directly) answers" in ended.lines
    assert "ok   studio: credits: 60 credits" in ended.lines
    assert all(line.startswith("ok   ") for line in ended.lines)
    assert ended.err == ""
    assert server.counts["submit"] == 0
    assert not (studio.folder / "images").exists()


def test_a_fresh_machine_is_well(tmp_path: Path) -> None:
    program = Program(tmp_path)
    found = checked(program)
    assert found["sketch", "service"]["level"] == "ok"
    assert "imagegen init" in found["", "settings"]["todo"]
    assert list(program.home.iterdir()) == []


def test_every_object_has_the_same_fields(studio: Program) -> None:
    rows = studio.run("doctor", "--json").objects
    assert {tuple(row) for row in rows} == {("v", "level", "provider", "check", "said", "todo")}


def test_a_service_that_is_not_there(studio: Program, server: DreaminaServer) -> None:
    server.fail(CONNECT, Fault.REFUSE)
    address = checked(studio, code=3)["studio", "address"]
    assert address["level"] == "no"
    assert "cannot reach" in address["said"]
    assert "base_url" in address["todo"]


def test_a_name_that_nobody_has(studio: Program) -> None:
    studio.configure(CONFIG.format(url="http://nobody.invalid"))
    assert checked(studio, code=3)["studio", "address"]["level"] == "no"


def test_a_service_in_trouble_is_no_wrong_key(studio: Program, server: DreaminaServer) -> None:
    server.fail(ANY, Fault.ERROR_500, times=None)
    found = levels(studio)
    assert (found["studio address"], found["studio key"], found["studio credits"]) == ("ok", "warn", "warn")


KEYS = [
    ("accepted", "gemini", KEY, "ok", "answered a question that carried it", 0),
    ("refused", "gemini", "another-key", "no", "API key not valid", 3),
    ("not set", "gemini", "env:NOBODY_SET_THIS", "no", "NOBODY_SET_THIS", 3),
    ("not to be tried", "dashscope", "sk-some-key", "--", "only a paid request can show", 0),
    ("none at all", "dashscope", "", "warn", "api_key not set", 0),
]


@pytest.mark.parametrize(("why", "kind", "key", "level", "expected", "code"), KEYS, ids=[row[0] for row in KEYS])
def test_keys(
    studio: Program, cloud: GeminiService, why: str, kind: str, key: str, level: str, expected: str, code: int
) -> None:
    studio.configure(CLOUD.format(kind=kind, url=cloud.url, key=key))
    found = checked(studio, code=code)
    assert found["cloud", "key"]["level"] == level
    assert expected in found["cloud", "key"]["said"]
    if not key.startswith("env:") and key:
        assert key not in studio.run("doctor").out
    assert cloud.counts["submit"] == 0


def test_hostile_words_and_an_echoed_key_are_harmless(studio: Program, cloud: GeminiService) -> None:
    studio.configure(CLOUD.format(kind="gemini", url=cloud.url, key=KEY))
    cloud.fail("models", Reply.json({"error": {"message": f"\x1b[2Jbad key {KEY}\x07\u202e"}}, 403), times=None)
    for words in ([], ["--json"]):
        ended = studio.run("doctor", *words)
        assert ended.code == 3
        assert "****" in ended.out
        assert not any(part in ended.out + ended.err for part in (KEY, "\x1b", "\u202e"))


def test_a_page_of_the_wrong_server_is_no_traceback(studio: Program, server: DreaminaServer) -> None:
    server.fail(ANY, Fault.HTML, times=None)
    ended = studio.run("doctor")
    assert ended.code == 0
    assert "warn studio: key: cannot be checked now" in ended.out


CLOCKS = [("right", 0, "gemini", "ok"), ("slow", 3600, "gemini", "warn"), ("fast", -3600, "gemini", "warn")]
CLOCKS += [("signed", 3600, "volcengine", "warn")]


@pytest.mark.parametrize(("why", "seconds", "kind", "level"), CLOCKS, ids=[row[0] for row in CLOCKS])
def test_the_clock_is_compared(
    studio: Program, cloud: GeminiService, why: str, seconds: int, kind: str, level: str
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    cloud.fail("models", Reply.json({"models": []}, date=date), times=None)
    studio.configure(CLOUD.format(kind=kind, url=cloud.url, key=KEY) + ('secret_key = "b"\n' * (kind != "gemini")))
    clock = checked(studio)["cloud", "clock"]
    assert clock["level"] == level
    if level == "warn":
        assert ("behind" if seconds > 0 else "ahead of") in clock["said"]
    assert ("signed" in clock["todo"]) == (kind == "volcengine")


def test_an_unknown_default_is_said(studio: Program, server: DreaminaServer) -> None:
    studio.configure(CONFIG.format(url=server.url).replace('"studio"', '"studdio"', 1))
    found = checked(studio, code=3)
    assert "did you mean studio?" in found["", "default provider"]["todo"]
    assert found["studio", "address"]["level"] == "ok"


# This machine


def test_a_proxy_is_shown_without_its_password(studio: Program) -> None:
    proxy = {"http_proxy": "http://me:pass-word@127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    ended = studio.run("doctor", **proxy)
    assert ended.code == 3
    assert "by the proxy http://****@127.0.0.1:1" in ended.out
    assert "pass-word" not in ended.out + ended.err
    passed = studio.run("doctor", **proxy | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    assert passed.code == 0
    assert "directly, as NO_PROXY says" in passed.out


def test_a_proxy_that_cannot_be_used_is_said(studio: Program) -> None:
    found = checked(studio, code=3, all_proxy="gopher://127.0.0.1:1080", NO_PROXY="", no_proxy="")
    assert found["", "proxy"]["level"] == "no"
    assert "unset all_proxy" in found["", "proxy"]["todo"]


def test_certificates_that_are_not_there(studio: Program) -> None:
    found = checked(studio, code=3, SSL_CERT_FILE="/nowhere/at/all.pem")
    assert "SSL_CERT_FILE" in found["", "TLS"]["said"]
    assert found["", "TLS"]["level"] == "no"


def test_a_folder_that_cannot_take_pictures(studio: Program) -> None:
    (studio.folder / "images").write_text("not a folder")
    assert checked(studio, code=3)["", "output"]["level"] == "no"


def test_settings_that_others_can_read(studio: Program, server: DreaminaServer) -> None:
    studio.configure(CONFIG.format(url=server.url) + 'api_key = "sk-very-secret"\n')
    path = studio.home / "config.toml"
    path.chmod(0o644)
    found = checked(studio, code=3)["", "settings"]
    assert found["level"] == "no"
    assert found["todo"] == f"chmod 600 {path}"


def test_settings_that_cannot_be_read_do_not_hide_the_rest(studio: Program) -> None:
    studio.configure("default_provider = \n")
    found = levels(studio, code=3)
    assert found["settings"] == "no"
    assert found["output"] == "ok"


def test_a_damaged_history_is_said(studio: Program) -> None:
    (studio.home / "history.db").write_bytes(b"this is no database at all\n" * 100)
    found = checked(studio, code=3)["", "history"]
    assert "damaged" in found["said"]
    assert "keep the file" in found["todo"]  # receipts may be in it


def test_an_index_that_does_not_agree_is_made_anew(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    assert studio.run("list", "--search", "cat").code == 0
    assert ("", "search") not in checked(studio)
    with closing(sqlite3.connect(studio.home / "history.db")) as database, database:
        database.execute("UPDATE task SET prompt = 'a lighthouse'")
    assert checked(studio)["", "search"]["level"] == "warn"
    assert checked(studio, "--fix")["", "search"]["level"] == "ok"
    assert ("", "search") not in checked(studio)
    assert studio.run("list", "--search", "lighthouse").code == 0


def test_a_history_open_to_others_is_said(studio: Program) -> None:
    studio.run("run", "a cat")
    (studio.home / "history.db").chmod(0o644)
    assert checked(studio)["", "history"]["todo"].startswith("chmod 600 ")


# What killed processes left behind


def killed(program: Program, step: str, number: int) -> None:
    """Run one prompt and kill the process as it takes the step for the given time."""
    command = [sys.executable, "-c", KILLER, step, str(number), "run", "a cat", "-q"]
    ended = subprocess.run(
        command, check=False, cwd=program.folder, env=program.environment(), capture_output=True, timeout=LIMIT
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def key_in(program: Program, task: int = 1) -> str:
    """The key of a task in the names of its part files; of one that this history lacks, a key like those of others."""
    with closing(sqlite3.connect(program.home / "history.db")) as database:
        token = str(database.execute("SELECT value FROM meta WHERE name = 'token'").fetchone()[0])
        row = database.execute("SELECT created FROM task WHERE id = ?", (task,)).fetchone()
        return key_of(token, task, 0.0 if row is None else row[0])


def part_files(program: Program) -> list[Path]:
    return [path for path in program.pictures() if path.suffix == ".part"]


def test_half_pictures_of_unfinished_tasks_are_left_to_resume(studio: Program, server: DreaminaServer) -> None:
    server.pictures = LARGE
    server.fail("download", Fault.STALL_BODY, times=None)
    killed(studio, "part", 3)
    server.heal()
    half = part_files(studio)
    assert half
    found = checked(studio)
    assert (found["", "part files"]["level"], found["", "leases"]["level"]) == ("ok", "warn")
    assert "imagegen resume" in found["", "leases"]["todo"]
    checked(studio, "--fix")
    assert part_files(studio) == half
    with closing(sqlite3.connect(studio.home / "history.db")) as database:
        assert database.execute("SELECT count(*) FROM process").fetchone() == (0,)
    assert studio.run("resume").code == 0
    assert len(studio.pictures()) == 4
    assert server.counts["submit"] == 1
    assert levels(studio)["leases"] == "ok"


def test_part_files_of_killed_galleries_are_removed_when_they_are_old(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    page = studio.folder / "images" / "a_files"
    thumbnails = studio.home / "cache" / "thumbnails" / "ab"
    for folder in (page, thumbnails):
        folder.mkdir(parents=True)
    old = [
        folder / f".imagegen-{'0a' * 8}.part" for folder in (studio.folder, studio.folder / "images", page, thumbnails)
    ]
    young, other = page / f".imagegen-{'1b' * 8}.part", page / ".imagegen-mine.part"
    for file in (*old, young, other):
        file.write_bytes(b"half")
    for file in (*old, other):
        os.utime(file, (1, 1))
    before = checked(studio)["", "sheets and galleries"]
    assert (before["level"], before["todo"]) == ("warn", "imagegen doctor --fix removes them")
    assert before["said"] == "4 part files left behind; 1 part file younger than a day left alone"
    assert checked(studio, "--fix")["", "sheets and galleries"]["level"] == "ok"
    assert [file.exists() for file in (*old, young, other)] == [False] * 4 + [True] * 2


def test_half_pictures_of_tasks_that_are_over_are_told_and_removed_when_asked(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    folder = studio.folder / "images"
    half = folder / f".imagegen-{key_in(studio)}-1.part"
    half.write_bytes(Pictures("png", (16, 16)).make("job", 1)[:-20])
    before = checked(studio)["", "part files"]
    assert (before["level"], before["todo"]) == ("warn", "imagegen doctor --fix removes them")
    assert "1 half picture (tasks 1) left behind" in before["said"]
    assert half.exists()
    after = checked(studio, "--fix")["", "part files"]
    assert (after["level"], after["said"]) == ("ok", "1 half picture (tasks 1) left behind, 1 removed")
    assert not part_files(studio)


def test_what_may_be_a_picture_is_never_removed(studio: Program) -> None:
    """Whole ones, those of tasks that this history does not know, and those of other histories."""
    assert studio.run("run", "a cat").code == 0
    folder = studio.folder / "images"
    (studio.home / "pictures").mkdir()
    whole = Pictures("png", (16, 16)).make("job", 1)
    kept = {
        folder / f".imagegen-{key_in(studio)}-1.part": whole,
        studio.home / "pictures" / f".imagegen-{key_in(studio)}-2.part": whole,
        folder / f".imagegen-{key_in(studio, 99)}-1.part": whole[:-20],
        folder / ".imagegen-abc123-1-1.part": whole[:-20],
        folder / ".mine.part": b"mine",
    }
    for path, data in kept.items():
        path.write_bytes(data)
    found = checked(studio, "--fix")
    assert {path: path.read_bytes() for path in kept} == kept
    assert found["", "part files"]["said"].endswith("1 part file of another history left alone")
    assert found["", "extra pictures"]["level"] == "warn"
    assert ("", "whole pictures") not in found


@pytest.mark.skipif(not hasattr(os, "link"), reason="second names")
def test_a_second_name_of_a_saved_picture_may_go(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    picture = studio.pictures()[0]
    os.link(picture, picture.with_name(f".imagegen-{key_in(studio)}-1.part"))
    found = checked(studio)["", "part files"]
    assert (found["level"], found["todo"]) == ("warn", "imagegen doctor --fix removes them")
    assert found["said"] == "1 second copy of a saved picture (tasks 1) left behind"
    checked(studio, "--fix")
    assert not part_files(studio)
    assert picture.exists()


def left(program: Program, data: bytes, *, task: int = 1, index: int = 1, folder: Path | None = None) -> Path:
    """A part file of a task."""
    path = (folder or program.folder / "images") / f".imagegen-{key_in(program, task)}-{index}.part"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def extra(program: Program, *words: str) -> list[dict[str, Any]]:
    """What `doctor` says of whole pictures that no command takes up."""
    found = map(json.loads, program.run("doctor", *words, "--json").out.splitlines())
    return [one for one in found if one["check"] == "extra pictures"]


def test_a_second_copy_of_a_saved_picture_is_removed_when_asked(studio: Program) -> None:
    """A worker that was paused finishes its download although another has brought the picture."""
    assert studio.run("run", "a cat").code == 0
    pictures = {path: path.read_bytes() for path in studio.pictures()}
    copies = [left(studio, data, index=number) for number, data in enumerate(pictures.values(), 1)]
    copies.append(left(studio, next(iter(pictures.values())), folder=studio.home / "pictures"))
    before = checked(studio)
    said = "5 second copies of saved pictures (tasks 1) left behind"
    assert (before["", "part files"]["level"], before["", "part files"]["said"]) == ("warn", said)
    assert before["", "part files"]["todo"] == "imagegen doctor --fix removes them"
    assert not {("", "whole pictures"), ("", "extra pictures")} & set(before)
    after = checked(studio, "--fix")["", "part files"]
    assert (after["level"], after["said"]) == ("ok", f"{said}, 5 removed")
    assert not any(copy.exists() for copy in copies)
    assert {path: path.read_bytes() for path in studio.pictures()} == pictures


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_second_copy_that_was_marked_later_is_known(studio: Program, server: DreaminaServer, form: str) -> None:
    """Two processes that fetch one picture put different times into it."""
    server.pictures = Pictures(form, (16, 16))
    assert studio.run("run", "a cat").code == 0
    first = min(studio.pictures())
    copy = left(studio, marked_later(first.read_bytes()))
    assert copy.read_bytes() != first.read_bytes()
    said = checked(studio, "--fix")["", "part files"]["said"]
    assert said == "1 second copy of a saved picture (tasks 1) left behind, 1 removed"
    assert not copy.exists()


def test_another_picture_with_the_marks_of_a_saved_one_is_no_copy(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    data = marked_later(min(studio.pictures()).read_bytes())
    at = data.index(b"PLTE") + 4
    copy = left(studio, with_checksums(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]))
    (found,) = extra(studio, "--fix")
    assert str(copy) in found["said"]
    assert copy.exists()


def marked_later(data: bytes) -> bytes:
    (before,) = set(re.findall(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", data))
    data = data.replace(before, b"2031-02-03T04:05:06Z")
    return with_checksums(data) if data.startswith(b"\x89PNG") else data


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have been changed, with the checksums that they need."""
    made, at = data[:8], 8
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        made += data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return made


def gone(picture: Path, _copy: Path) -> None:
    picture.unlink()


def changed(picture: Path, _copy: Path) -> None:
    picture.write_bytes(picture.read_bytes() + b"edited")


def led_to_the_copy(picture: Path, copy: Path) -> None:
    picture.unlink()
    picture.symlink_to(copy)


def forgotten_by_the_history(picture: Path, _copy: Path) -> None:
    with closing(sqlite3.connect(picture.parents[1] / "home" / "history.db")) as database, database:
        database.execute("UPDATE picture SET sha256 = ''")


def another_one(_picture: Path, copy: Path) -> None:
    copy.write_bytes(Pictures("png", (8, 8)).make("another job", 1))


def of_no_task(_picture: Path, copy: Path) -> None:
    copy.rename(copy.with_name(copy.name.replace("-1-1.part", "-99-1.part")))


@pytest.mark.parametrize("happens", [gone, changed, led_to_the_copy, forgotten_by_the_history, another_one, of_no_task])
def test_a_picture_that_is_not_proven_to_be_in_place_is_kept_and_named(
    studio: Program, happens: Callable[[Path, Path], None]
) -> None:
    """The command that is told gives it a name, and then nothing is left to say."""
    assert studio.run("run", "a cat").code == 0
    picture = next(path for path in studio.pictures() if path.stem.endswith("-1"))
    copy = left(studio, picture.read_bytes())
    happens(picture, copy)
    (copy,) = part_files(studio)
    data = copy.read_bytes()
    (found,) = extra(studio, "--fix")
    assert copy.read_bytes() == data
    assert (found["level"], str(copy) in found["said"]) == ("warn", True)
    before = set(studio.pictures())
    command = found["todo"].removeprefix("to keep it: ")
    assert command.startswith("mv ")
    subprocess.run(["sh", "-c", command], check=True, timeout=LIMIT)
    assert not extra(studio)
    (new,) = set(studio.pictures()) - before or {picture}
    assert (new.suffix, new.read_bytes()) == (".png", data)
    assert studio.run("resume").code == 4, "nothing was left to it"


def test_every_extra_picture_gets_a_name_of_its_own(studio: Program) -> None:
    assert studio.run("run", "a cat").code == 0
    data = [Pictures("png", (8, 8)).make("another job", number) for number in (1, 2)]
    path = left(studio, data[0])
    path.with_name(path.name.replace(".part", ".marked.part")).write_bytes(data[1])
    before = set(studio.pictures()) - set(part_files(studio))
    for found in extra(studio):
        subprocess.run(["sh", "-c", found["todo"].removeprefix("to keep it: ")], check=True, timeout=LIMIT)
    assert sorted(path.read_bytes() for path in set(studio.pictures()) - before) == sorted(data)


def test_a_picture_that_waits_for_resume_is_no_second_copy_of_another(studio: Program) -> None:
    """A service may make two pictures alike: only what is saved under the same number is a copy."""
    data = Pictures("png", (8, 8)).make("job", 1)
    with closing(Store(studio.home / "history.db")) as store:
        (task,) = started(store)
        folder = studio.home / "pictures"
        folder.mkdir()
        (folder / "one.png").write_bytes(data)
        images = (SavedImage(str(folder / "one.png"), sha256(data).hexdigest()), RemoteImage("http://localhost/2"))
        late = Failed(Reason.TIMEOUT, "too late", JOB, images)
        become(store, task, Submitting(), Running(JOB), Saving(images, JOB), late)
    waits, copy = (left(studio, data, index=number, folder=folder) for number in (2, 1))
    found = checked(studio, "--fix")
    assert (waits.exists(), copy.exists()) == (True, False)
    assert found["", "whole pictures"]["todo"] == "imagegen resume 1"


def test_whole_pictures_that_wait_for_resume_are_kept(studio: Program, server: DreaminaServer) -> None:
    killed(studio, "publish", 1)
    before = part_files(studio)
    assert before
    assert checked(studio, "--fix")["", "whole pictures"]["todo"] == "imagegen resume 1"
    assert part_files(studio) == before
    downloads = server.counts["download"]
    assert studio.run("resume").code == 0
    assert server.counts["download"] == downloads + 4 - len(before)
    assert len(studio.pictures()) == 4


def test_a_living_process_and_strangers_are_left_alone(studio: Program, server: DreaminaServer) -> None:
    server.pictures = LARGE
    process = studio.start("run", "#stall-download")
    until(lambda: len(part_files(studio)) == 4)
    stranger = studio.folder / "images" / ".mine.part"
    stranger.write_bytes(b"mine")
    found = levels(studio, "--fix")
    assert (found["part files"], found["leases"]) == ("ok", "ok")
    assert "whole pictures" not in found
    assert len(part_files(studio)) == 5
    process.kill()
    finished(process)
    checked(studio, "--fix")
    assert len(part_files(studio)) == 5, "their task is not over"
