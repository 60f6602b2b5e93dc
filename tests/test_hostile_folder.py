"""The program in a folder of another person, and with a service that repeats the key: no secret leaves."""

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from imagegen_cli.core.schema import Secret
from imagegen_cli.settings.as_toml import dumps
from tests.doubles.hostile import ECHOES, OneAnswer, echoing
from tests.doubles.http import Reply
from tests.doubles.pictures import Pictures
from tests.program import Ended, Program
from tests.test_contract import remote_kinds, settings_for, usable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="has other links and devices")

PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n"
ACCEPTED = {"success": True, "taskId": "1", "id": "1", "completed": False}


@pytest.fixture
def service() -> Iterator[OneAnswer]:
    with OneAnswer(Reply.json(ACCEPTED)) as service:
        yield service


@pytest.fixture
def person(tmp_path: Path, service: OneAnswer) -> Program:
    """With a private key and a private picture, a service of their own, and a key in the environment."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_bytes(PRIVATE)
    (tmp_path / "private.png").write_bytes(Pictures().make("private", 1))
    return Program(
        tmp_path, f'default_provider = "mine"\n[providers.mine]\nkind = "dreamina"\nbase_url = "{service.url}"\n'
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What came from another person."""
    folder = tmp_path / "cloned"
    folder.mkdir()
    (folder / "a.png").write_bytes(Pictures().make("theirs", 1))
    (folder / "key.png").symlink_to("../.ssh/id_rsa")
    (folder / "picture.png").symlink_to("../private.png")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    return folder


def inside(person: Program, folder: Path, *words: str, **environment: str) -> Ended:
    """Run it there, with the person's home."""
    there = Program(folder)
    (folder / "home").rmdir()
    there.home = person.home
    more = {"HOME": str(person.folder), "OPENAI_API_KEY": "sk-of-the-environment"} | environment
    return there.run(*words, **more)


REFERENCES = (
    "key.png", "picture.png", "up/private.png", "up/.ssh/id_rsa", "../.ssh/id_rsa", "../private.png", "~/.ssh/id_rsa",
    "~/private.png", "{home}/.ssh/id_rsa", "{home}/private.png", "file://{home}/private.png", "pipe.png",
    "endless.png", "/dev/stdin", "/proc/self/environ", "/etc/passwd", ".", "./up/cloned/../private.png",
)  # fmt: skip


@pytest.mark.parametrize("settings", ["", 'output = "pictures"\n'], ids=["a list", "a list with settings"])
def test_a_list_uploads_nothing_of_the_persons_own(
    person: Program, folder: Path, service: OneAnswer, settings: str
) -> None:
    if settings:
        (folder / "imagegen.toml").write_text(settings)
    rows = [{"prompt": "a", "references": [one.format(home=person.folder)]} for one in REFERENCES]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ended = inside(person, folder, "batch", "list.jsonl")
    assert ended.code == 2, ended.err
    for number in range(1, len(REFERENCES) + 1):
        assert f" {number}:" in ended.err or f":{number}:" in ended.err, f"{REFERENCES[number - 1]}: {ended.err}"
    assert service.counts["connections"] == 0


def test_what_is_permitted_is_a_picture_all_the_same(person: Program, folder: Path, service: OneAnswer) -> None:
    (folder / "list.jsonl").write_text(json.dumps({"prompt": "a", "references": ["key.png"]}))
    ended = inside(person, folder, "batch", "--allow-outside", "list.jsonl")
    assert (ended.code, service.counts["connections"]) == (2, 0)
    assert "is no picture" in ended.err
    (folder / "list.jsonl").write_text(json.dumps({"prompt": "a", "references": ["picture.png"]}))
    planned = inside(person, folder, "batch", "--allow-outside", "--dry-run", "list.jsonl").objects[0]
    assert planned["references"] == [str((folder / "picture.png").resolve())]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('default_provider = "openai"', ["run", "a cat"]),
        ('[models]\n"3.0" = "openai/gpt-image-1"', ["run", "a cat", "-m", "3.0"]),
        ('default_provider = "evil"\n[providers.evil]\nkind = "dreamina"\nbase_url = "{evil}"', ["run", "a cat"]),
        ('[providers.mine]\nkind = "dreamina"\nbase_url = "{evil}"', ["run", "a cat"]),
        ('[providers.openai]\nbase_url = "{evil}/v1"', ["run", "a cat", "-p", "openai"]),
        ('[providers.mine]\nheaders = {{ X = "env:OPENAI_API_KEY" }}', ["run", "a cat"]),
        ('[providers.evil]\nkind = "dreamina"\nbase_url = "{evil}"\nheaders = {{ X = "env:HOME" }}', ["doctor"]),
        ('output = "../.ssh"', ["run", "a cat"]),
        ('output = "up"', ["run", "a cat"]),
        ('[providers.flow]\nkind = "comfyui"\nworkflow = "key.png"', ["run", "a cat", "-p", "flow"]),
    ],
)
def test_settings_of_another_person_send_nothing(
    person: Program, folder: Path, service: OneAnswer, settings: str, words: list[str]
) -> None:
    with OneAnswer() as evil:
        (folder / "imagegen.toml").write_text(settings.format(evil=evil.url))
        ended = inside(person, folder, *words)
        assert ended.code == 3, ended.err
        assert (evil.counts["connections"], service.counts["connections"]) == (0, 0)
    assert sorted(path.name for path in (person.folder / ".ssh").iterdir()) == ["id_rsa"]


def test_a_service_that_only_a_project_file_names_is_asked_when_it_is_named(person: Program, folder: Path) -> None:
    with OneAnswer(Reply.json({"error": "no"}, 500)) as evil:
        text = f'[providers.theirs]\nkind = "dreamina"\nbase_url = "{evil.url}"\n'
        (folder / "imagegen.toml").write_text(text)
        for words in (["doctor"], ["models"], ["credits"], ["config", "check"], ["providers"]):
            inside(person, folder, *words)
        assert evil.counts["connections"] == 0
        inside(person, folder, "run", "a cat", "-p", "theirs")
        assert evil.counts["connections"] > 0


def test_settings_that_everybody_can_write_do_not_count(person: Program, folder: Path, service: OneAnswer) -> None:
    (folder / "imagegen.toml").write_text('output = "ours"')
    folder.chmod(0o777)
    ended = inside(person, folder, "run", "a cat", "--dry-run")
    assert ended.code == 0, ended.err
    assert "imagegen.toml is ignored, because every user can write to" in ended.err
    assert ended.objects[0]["file"].startswith(f"{folder}/images/")
    assert service.counts["connections"] == 0


# A service that repeats the key


SECRET = "sk-Ech0ed/s3cr3t+x"
"""The same for every key, header and password, so that one answer can repeat all of them."""
FORMS = [form(SECRET).split()[-1] for form in ECHOES.values()] + [SECRET[: len(SECRET) // 2 + 1]]


def settings_of(kind: str, url: str) -> dict[str, Any]:
    plain = settings_for(kind, url, secret="" if kind == "comfyui" else SECRET)
    table: dict[str, Any] = {"kind": kind, "headers": {"X-Api-Key": SECRET, "X-Other": "env:ECHOED"}}
    for item in fields(plain):
        value = getattr(plain, item.name)
        if isinstance(value, Secret) and value:
            table[item.name] = value.reveal()
        elif item.name == "username" or (isinstance(value, str) and value.startswith("http")):
            table[item.name] = value.replace("://", f"://a-user:{quote(SECRET, safe='')}@")
    return table


def words_of(kind: str, url: str, picture: str) -> list[str]:
    """The shortest run that the kind takes."""
    request = usable(kind, url, picture)[1]
    size = ["--size", f"{request.width}x{request.height}"] if request.width else []
    return [
        "run",
        "a cat",
        "-p",
        f"my-{kind}",
        "--timeout",
        "3",
        *size,
        *(["-m", request.model] if request.model else []),
    ]


def test_no_file_and_no_line_holds_a_key(tmp_path: Path, service: OneAnswer) -> None:
    """The service repeats the key in every form. No output of the program holds one of them."""
    picture = tmp_path / "reference.png"
    picture.write_bytes(Pictures().make("reference", 1))
    tables = {f"my-{kind}": settings_of(kind, service.url) for kind in remote_kinds()}
    program = Program(tmp_path, dumps({"providers": tables}))
    output = ""
    service.reply = echoing(" ".join(FORMS[:6]), 401)
    runs = [words_of(kind, service.url, str(picture)) for kind in remote_kinds()]
    for words in (
        *runs, ["run", "a cat", "-p", "my-dreamina", "--json"], ["doctor"], ["doctor", "--json"], ["models"],
        ["credits", "--json"], ["providers", "--json"], ["config", "show"], ["config", "check"], ["list", "--json"],
        *(["show", str(number + 1)] for number in range(len(runs))), [*runs[0], "--dry-run"],
    ):  # fmt: skip
        ended = program.run(*words, ECHOED=SECRET)
        output += ended.out + ended.err
        assert ended.code != 70, ended.err
    assert output.count("****") > 2 * len(runs)
    assert len(program.tasks()) == len(runs) + 1, "every kind has sent something"
    written = b"".join(path.read_bytes() for path in program.home.iterdir() if path.name != "config.toml")
    for form in FORMS:
        assert form not in output
        assert form.encode() not in written
