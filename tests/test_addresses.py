"""Addresses as people write them: by the settings, by init, and at the start of a run."""

from pathlib import Path

import pytest

from imagegen_cli.settings.addresses import cleaned
from tests.doubles.dreamina import DreaminaServer
from tests.program import Program

TAKEN = [
    ("http://studio:8188", "http://studio:8188"),
    ("HTTP://Studio:8188", "http://Studio:8188"),
    ("  https://api.example.org/v1/  ", "https://api.example.org/v1/"),
    ("http://[::1]:8188", "http://[::1]:8188"),
    ("http://me:word@studio", "http://me:word@studio"),
    ("https://example.org/sd/models", "https://example.org/sd/models"),
    ("https://example.org/images", "https://example.org/images"),
    ("https://example.org./v1", "https://example.org./v1"),
    ("https://bücher.example", "https://bücher.example"),
    ("https://example.org/api", "https://example.org/api"),
    ("localhost:8188", "http://localhost:8188"),
    ("127.0.0.1:5000", "http://127.0.0.1:5000"),
    (" 192.168.0.7:8188/ ", "http://192.168.0.7:8188/"),
    ("gateway.lan/v1", "http://gateway.lan/v1"),
    ("studio", "http://studio"),
    ("[::1]:8188", "http://[::1]:8188"),
    ("me:word@studio:8188", "http://me:word@studio:8188"),
    ("api.example.org/v1", "https://api.example.org/v1"),
    ("203.0.113.7:8000", "http://203.0.113.7:8000"),
]
MENDED = [
    ("https://api.example.org/v1/images/generations", "https://api.example.org/v1"),
    ("https://api.example.org/v1/images/edits/", "https://api.example.org/v1"),
    ("https://api.example.org/v1/chat/completions", "https://api.example.org/v1"),
    ("http://127.0.0.1:7860/sdapi/v1/txt2img", "http://127.0.0.1:7860"),
    ("http://127.0.0.1:8188/prompt", "http://127.0.0.1:8188"),
    ("https://g.example/v1beta/models/gemini-9:generateContent", "https://g.example/v1beta"),
    ("https://d.example/api/v1/services/aigc/text2image/image-synthesis", "https://d.example/api/v1"),
    ("http://127.0.0.1:5000/api/generate/text", "http://127.0.0.1:5000"),
    ("http://studio/v1?key=1", "http://studio/v1"),
    ("http://studio/#", "http://studio/"),
    ("http://studio:99999", "http://studio"),
    ("http://studio:abc/v1", "http://studio/v1"),
    ("http://studio:0", "http://studio"),
    ("http://::1:8188", "http://[::1]:8188"),
    ("http://::1", "http://[::1]"),
    ("::1", "http://[::1]"),
    ("http:/studio:8188", "http://studio:8188"),
    ("http:\\\\studio", "http://studio"),
    ("http：//localhost：8188", "http://localhost:8188"),
    ("http://stu dio", "http://studio"),
    ("https://api.example.org/v1/images", "https://api.example.org/v1"),
    ("https://api.bfl.example/v1/flux-2-pro", "https://api.bfl.example/v1"),
    ("http://127.0.0.1:7860/docs", "http://127.0.0.1:7860"),
    ("http://127.0.0.1:7860/sdapi", "http://127.0.0.1:7860"),
    ("http://127.0.0.1:8000/openapi.json", "http://127.0.0.1:8000"),
    ('http://studio:8188"', "http://studio:8188"),
    ("<http://studio:8188/v1>", "http://studio:8188/v1"),
    ("“http://studio:8188”", "http://studio:8188"),
    ("'http://studio:8188'", "http://studio:8188"),
    ("http://１２７.0.0.1:８１８８", "http://127.0.0.1:8188"),
    ("http://127.0.0.1:８１８８", "http://127.0.0.1:8188"),
    ("http://ｓｔｕｄｉｏ", "http://studio"),
    ("http:///127.0.0.1:8188", "http://127.0.0.1:8188"),
]
NO_HOSTS = ["http://.", "http://a..b", "http://.a", "http://" + "a" * 64, "http://300.0.0.1", "http://ä..b"]


@pytest.mark.parametrize(("written", "meant"), TAKEN)
def test_what_is_meant_is_taken(written: str, meant: str) -> None:
    assert cleaned(written) == (meant, "")


@pytest.mark.parametrize(("written", "meant"), MENDED)
def test_what_cannot_be_right_is_refused_with_the_mended_form(written: str, meant: str) -> None:
    assert cleaned(written)[1].endswith(f"; write it as {meant.rstrip('/')}")
    assert cleaned(meant.rstrip("/"))[1] == ""


@pytest.mark.parametrize(
    "written", ["", "http://", "https://:80", "http://[::1", "http://h:1:2", "\x00", "http://h\x1b[m"]
)
def test_what_nothing_can_be_guessed_from_is_refused(written: str) -> None:
    assert cleaned(written)[1]


@pytest.mark.parametrize("written", NO_HOSTS)
def test_a_host_that_cannot_be_is_refused(written: str) -> None:
    assert "names an impossible host" in cleaned(written)[1]


@pytest.mark.parametrize("written", ["http:///v1", "https:////api/v1"])
def test_no_host_is_made_of_a_path(written: str) -> None:
    assert "names no host" in cleaned(written)[1]
    assert "write it as" not in cleaned(written)[1]


@pytest.mark.parametrize("address", ["http://１２７.0.0.1", "http://a..b", "http://studio>"])
def test_the_line_of_a_wrong_address_is_named(tmp_path: Path, address: str) -> None:
    program = Program(tmp_path, f'[providers.studio]\nkind = "comfyui"\nbase_url = "{address}"\n')
    ended = program.run("config", "check")
    assert ended.code == 3
    assert "config.toml:3" in ended.err


@pytest.mark.parametrize(
    "written", ["http://me:hunter22@studio:99999", "http://me:hunter22@studio/prompt", "me:hunter22@h"]
)
def test_a_password_in_it_is_never_shown(written: str) -> None:
    assert "hunter22" not in cleaned(written)[1]


COMMANDS = [("run", "a cat", "-p", "studio"), ("config", "check"), ("models",), ("retry", "--failed")]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_refuses_it_before_anything_is_written(tmp_path: Path, words: tuple[str, ...]) -> None:
    program = Program(tmp_path, '[providers.studio]\nkind = "comfyui"\nbase_url = "http://::1:8188"\n')
    ended = program.run(*words)
    assert ended.code == 3
    assert "config.toml:3" in ended.err
    assert "write it as http://[::1]:8188" in ended.err
    assert not (program.home / "history.db").exists()


def test_init_refuses_it_too(tmp_path: Path) -> None:
    program = Program(tmp_path)
    ended = program.run("init", "--kind", "a1111", "--base-url", "http://h:7860/sdapi/v1/txt2img", "--yes")
    assert ended.code == 2
    assert "write it as http://h:7860" in ended.err
    assert not (program.home / "config.toml").exists()


@pytest.mark.parametrize("bare", [True, False])
def test_a_host_alone_is_an_address_everywhere(tmp_path: Path, bare: bool) -> None:
    with DreaminaServer() as server:
        server.sessions.pop("1")
        address = server.url.removeprefix("http://") if bare else server.url
        program = Program(tmp_path)
        ended = program.run("init", "--kind", "dreamina", "--base-url", address)
        assert ended.code == 0, ended.err
        assert f'base_url = "{server.url}"' in (program.home / "config.toml").read_text()
        program.configure(f'[providers.studio]\nkind = "dreamina"\nbase_url = "{address}"\n')
        assert program.run("credits", "studio").lines == ["studio         60 credits"]


def test_an_empty_address_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    program = Program(tmp_path, '[providers.studio]\nkind = "comfyui"\nbase_url = " "\n')
    ended = program.run("config", "check")
    assert ended.code == 3
    assert "remove the line to use http://127.0.0.1:8188" in ended.err
    program.configure('[providers.studio]\nkind = "openai"\nbase_url = ""\napi_key = "k"\n')
    assert program.run("config", "check").code == 0
