"""What `imagegen doctor` finds and mends. By subprocess, against doubles that misbehave."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.download import SMALL
from tests.crash import KILLER
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.gemini import KEY, GeminiService
from tests.doubles.http import ANY, CONNECT, Fault, Pictures, Reply
from tests.program import LIMIT, Program, finished

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


LARGE = Pictures("jpeg", (16, 16), SMALL + 1)
"""On the disk from its first byte, where a small one waits in memory until it is whole."""


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
    ("accepted", "gemini", KEY, "ok", "a question that carried it was answered", 0),
    ("refused", "gemini", "another-key", "no", "API key not valid", 3),
    ("not set", "gemini", "env:NOBODY_SET_THIS", "no", "NOBODY_SET_THIS", 3),
    ("not to be tried", "dashscope", "sk-some-key", "ok", "cannot be known without spending", 0),
    ("none at all", "dashscope", "", "warn", "api_key not set", 0),
]


@pytest.mark.parametrize(("why", "kind", "key", "level", "said", "code"), KEYS, ids=[row[0] for row in KEYS])
def test_keys(
    studio: Program, cloud: GeminiService, why: str, kind: str, key: str, level: str, said: str, code: int
) -> None:
    studio.configure(CLOUD.format(kind=kind, url=cloud.url, key=key))
    found = checked(studio, code=code)
    assert found["cloud", "key"]["level"] == level
    assert said in found["cloud", "key"]["said"]
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
    assert "warn studio: key: cannot be tried now" in ended.out


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
    assert "ALL_PROXY" in found["", "proxy"]["todo"]


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
    assert "move the file away" in found["todo"]


def test_a_history_open_to_others_is_said(studio: Program) -> None:
    studio.run("run", "a cat")
    (studio.home / "history.db").chmod(0o644)
    assert checked(studio)["", "history"]["todo"].startswith("chmod 600 ")


# What killed processes left behind


def killed(program: Program, step: str, number: int) -> None:
    """Run one prompt and kill the process as it takes the step for the so-manieth time."""
    command = [sys.executable, "-c", KILLER, step, str(number), "run", "a cat", "-q"]
    ended = subprocess.run(
        command, check=False, cwd=program.folder, env=program.environment(), capture_output=True, timeout=LIMIT
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def part_files(program: Program) -> list[Path]:
    return [path for path in program.pictures() if path.suffix == ".part"]


def test_half_pictures_of_a_killed_process_are_removed(studio: Program, server: DreaminaServer) -> None:
    server.pictures = LARGE
    server.fail("download", Fault.STALL_BODY, times=None)
    killed(studio, "part", 3)
    server.heal()
    assert part_files(studio)
    told = checked(studio, "--no-mend")["", "part files"]
    assert (told["level"], told["todo"]) == ("warn", "imagegen doctor --mend removes them")
    assert part_files(studio)
    mended = checked(studio)
    assert mended["", "part files"]["level"] == "ok"
    assert "(tasks 1) left behind" in mended["", "part files"]["said"]
    assert "removed" in mended["", "part files"]["said"]
    assert not part_files(studio)
    with closing(sqlite3.connect(studio.home / "history.db")) as database:
        assert database.execute("SELECT count(*) FROM process").fetchone() == (0,)
    assert mended["", "leases"]["level"] == "warn"
    assert "imagegen resume" in mended["", "leases"]["todo"]
    assert studio.run("resume").code == 0
    assert len(studio.pictures()) == 4
    assert server.counts["submit"] == 1
    assert levels(studio)["leases"] == "ok"


def test_whole_pictures_that_wait_for_resume_are_kept(studio: Program, server: DreaminaServer) -> None:
    killed(studio, "publish", 1)
    before = part_files(studio)
    assert before
    checked(studio)
    kept = part_files(studio)
    assert kept
    downloads = server.counts["download"]
    assert studio.run("resume").code == 0
    assert server.counts["download"] == downloads + 4 - len(kept)
    assert len(studio.pictures()) == 4


def test_a_living_process_and_strangers_are_left_alone(studio: Program, server: DreaminaServer) -> None:
    server.pictures = LARGE
    process = studio.start("run", "#stall-download")
    until(lambda: len(part_files(studio)) == 4)
    stranger = studio.folder / "images" / ".mine.part"
    stranger.write_bytes(b"mine")
    found = levels(studio)
    assert (found["part files"], found["leases"]) == ("ok", "ok")
    assert len(part_files(studio)) == 5
    process.kill()
    finished(process)
    assert "4 half pictures (tasks 1) left behind, 4 removed" in checked(studio)["", "part files"]["said"]
    assert part_files(studio) == [stranger]
