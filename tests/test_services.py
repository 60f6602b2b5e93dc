"""Commands about services and settings: models, credits, init. By subprocess, against doubles."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen_cli.commands.checks import asking
from imagegen_cli.core.errors import Unavailable
from imagegen_cli.core.money import Money
from imagegen_cli.core.schema import Secret
from imagegen_cli.providers import load
from imagegen_cli.providers.gemini import Settings
from imagegen_cli.settings.config import Configured
from tests import screen
from tests.doubles.bfl import BflService
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.gemini import KEY, GeminiService
from tests.doubles.http import CONNECT, Fault, Pictures, Reply, Request, Service
from tests.program import Program, finished, interrupt, next_line

BOTH = """
default_provider = "studio"
[models]
hero = "studio/4.0"
[providers.studio]
kind = "dreamina"
base_url = "{studio}"
poll = 0.05
[providers.cloud]
kind = "gemini"
base_url = "{cloud}"
api_key = "{key}"
"""


class Silent(Service):
    """A server that has none of the routes that it is asked for."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    async def answer(self, request: Request) -> Reply:
        return Reply.json({"error": "no such route"}, self.status)


@pytest.fixture
def studio() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def cloud() -> Iterator[GeminiService]:
    with GeminiService() as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, studio: DreaminaServer, cloud: GeminiService) -> Program:
    return Program(tmp_path, BOTH.format(studio=studio.url, cloud=cloud.url, key=KEY))


@pytest.fixture
def fresh(tmp_path: Path) -> Program:
    return Program(tmp_path)


def settings_file(program: Program) -> Path:
    return program.home / "config.toml"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# models


def test_models_of_all_that_is_configured(program: Program, cloud: GeminiService) -> None:
    ended = program.run("models")
    assert ended.code == 0, ended.err
    assert "* studio/3.0" in ended.lines
    assert "+ studio/4.0" in ended.lines
    assert "* cloud/gemini-3.1-flash-image" in ended.lines
    assert "+ cloud/gemini-3-pro-image" in ended.lines
    assert "+ hero = studio/4.0" in ended.lines
    assert cloud.counts["models"] == 2
    assert cloud.counts["submit"] == 0
    line = ended.err.splitlines()[-1]
    assert line.startswith("not configured: ")
    assert "openai" in line
    assert "gemini" not in line


def test_models_as_json(program: Program) -> None:
    rows = program.run("models", "--json").objects
    by_name = {row["name"]: row for row in rows}
    assert all(row["v"] == 1 for row in rows)
    assert by_name["hero"]["stands_for"] == "studio/4.0"
    chosen = by_name["cloud/gemini-3.1-flash-image"]
    assert (chosen["default"], chosen["configured"], chosen["live"]) == (True, True, True)
    assert by_name["studio/4.0"]["live"] is False


def test_what_no_setting_can_mend_is_said_where_a_kind_is_set_up(program: Program) -> None:
    assert "num_retries: 0" in program.run("providers", "openai").out


def test_models_of_one_provider_or_kind(program: Program) -> None:
    ended = program.run("models", "studio")
    assert {line.split("/")[0] for line in ended.lines if "=" not in line} == {"* studio", "+ studio"}
    assert ended.err == ""
    assert "  bfl/flux-2-max" in program.run("models", "bfl", BFL_API_KEY="none").lines
    unknown = program.run("models", "studoi")
    assert (unknown.code, unknown.out) == (2, "")
    assert "did you mean studio?" in unknown.err


def test_a_provider_that_cannot_be_asked_does_not_hide_the_others(program: Program, cloud: GeminiService) -> None:
    cloud.fail(CONNECT, Fault.REFUSE)
    ended = program.run("models")
    assert ended.code == 0
    assert "+ studio/4.0" in ended.lines
    assert "* cloud/gemini-3.1-flash-image" in ended.lines
    assert "cloud cannot be asked: cannot reach" in ended.err
    assert program.run("models", "cloud").code == 1


def test_a_key_that_is_refused_is_for_credentials_and_never_shown(program: Program, cloud: GeminiService) -> None:
    cloud.key = "another"
    ended = program.run("models", "cloud")
    assert ended.code == 3
    assert KEY not in ended.out + ended.err


def test_what_a_service_says_is_shown_literally_and_without_the_key(program: Program, cloud: GeminiService) -> None:
    cloud.fail("models", Reply.json({"error": {"message": f"\x1b[2J[red]no[/red] {KEY}\x07"}}, 500), times=None)
    ended = program.run("models")
    assert "[red]no[/red] ****" in ended.err
    assert "\x1b" not in ended.err
    assert KEY not in ended.out + ended.err


def configured(cloud: GeminiService) -> Configured:
    settings = Settings(base_url=cloud.url, api_key=Secret(KEY))
    return Configured(name="cloud", kind="gemini", type=load("gemini"), settings=settings, place="here")


def test_nobody_is_waited_for_without_end(cloud: GeminiService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER_S", 2.0)
    cloud.fail("models", Fault.STALL, times=None)
    one = configured(cloud)
    answers = asking.ask_all([one] * 3, lambda provider: provider.models())
    assert [type(answer.trouble) for answer in answers] == [Unavailable] * 3


def test_all_are_asked_at_once() -> None:
    class Together(GeminiService):
        async def answer(self, request: Request) -> Reply:
            while self.counts["models"] < 3:  # noqa: ASYNC110 - it is a count
                await asyncio.sleep(0.001)
            return await super().answer(request)

    with Together() as cloud:
        one = configured(cloud)
        answers = asking.ask_all([one] * 3, lambda provider: provider.models())
    assert [answer.trouble for answer in answers] == [None] * 3


# credits


def test_credits_where_a_service_tells(program: Program, studio: DreaminaServer) -> None:
    studio.sessions.pop("1")
    rows = {row["provider"]: row for row in program.run("credits", "--json").objects}
    assert rows["studio"]["amount"] == 60
    assert rows["cloud"]["amount"] is None
    lines = [line.split() for line in program.run("credits").lines]
    assert [line[:2] for line in lines] == [["studio", "60"], ["cloud", "unknown"]]


def test_credits_of_a_service_with_a_key(fresh: Program) -> None:
    with BflService() as server:
        fresh.configure(f'[providers.flux]\nkind = "bfl"\nbase_url = "{server.url}/v1"\napi_key = "{server.key}"\n')
        ended = fresh.run("credits", "flux")
        assert (ended.code, ended.lines) == (0, ["flux           123.5 credits"])
        server.key = "another"
        refused = fresh.run("credits")
        assert refused.code == 3
        assert refused.lines == ["flux           unknown"]
        assert "flux cannot be asked: HTTP 403" in refused.err


def test_a_made_up_number_is_unknown(program: Program, studio: DreaminaServer) -> None:
    studio.sessions.pop("1")
    studio.credit_known = False
    assert "unknown" in program.run("credits", "studio").out
    assert "999999" not in program.run("credits", "--json").out


def test_nobody_is_asked_for_credits_during_a_run(program: Program, studio: DreaminaServer) -> None:
    studio.sessions.pop("1")
    process = program.start("run", "#never", "--json")
    next_line(process, '"running"')
    ended = program.run("credits", "studio")
    assert ended.code == 0
    assert f"not asked: process {process.pid} on " in ended.out
    checked = program.run("doctor", "--json").objects
    assert any("not asked: process" in row["said"] for row in checked if row["check"] == "credits")
    assert studio.counts["credit"] == 0
    interrupt(process)
    finished(process)
    assert program.run("credits", "studio").lines == ["studio         60 credits"]


LACKING = ["bfl", "dreamina", "gemini", "jimeng", "replicate", "a1111", "comfyui", "openai"]


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("kind", LACKING)
def test_a_question_that_a_service_does_not_have_is_no_fault(fresh: Program, kind: str, status: int) -> None:
    with Silent(status) as server:
        key = "" if kind in ("dreamina", "comfyui", "a1111") else 'api_key = "some-key"\n'
        fresh.configure(f'[providers.mine]\nkind = "{kind}"\nbase_url = "{server.url}"\n{key}')
        for command in ("models", "credits", "doctor"):
            ended = fresh.run(command, "mine")
            assert ended.code == 0, ended.err
            assert "again later" not in ended.err + ended.out
            assert "cannot be asked:" not in ended.err
            assert "base_url still" not in ended.err + ended.out
        rows = [row for row in fresh.run("doctor", "mine", "--json").objects if row["provider"]]
        levels = {row["check"]: row["level"] for row in rows}
        assert "warn" not in levels.values()
        assert levels["credits"] == levels["key"] == "--"
        assert fresh.run("credits", "mine", "--json").objects[0]["note"] == "the service has no such question"


def test_one_credit_is_one_credit(fresh: Program) -> None:
    with BflService() as server:
        server.fail("credits", Reply.json({"credits": 1.0}), times=None)
        fresh.configure(f'[providers.flux]\nkind = "bfl"\nbase_url = "{server.url}/v1"\napi_key = "{server.key}"\n')
        assert fresh.run("credits").lines == ["flux           1 credit"]
    assert [str(Money(micros, "credits")) for micros in (10**6, 2 * 10**6, 0)] == ["1 credit", "2 credits", "0 credits"]


def test_credits_of_nothing(fresh: Program) -> None:
    ended = fresh.run("credits")
    assert (ended.code, ended.out) == (4, "")
    assert "imagegen init" in ended.err


# init by flags


def test_a_service_is_connected_by_flags(fresh: Program, studio: DreaminaServer) -> None:
    words = ["--kind", "dreamina", "--name", "mine", "--base-url", studio.url, "--set", "poll=0.05", "--default"]
    ended = fresh.run("init", *words, "--model", "4.0")
    assert ended.code == 0, ended.err
    assert ended.out == ""
    assert "ok   mine: address" in ended.err
    assert ended.err.splitlines()[-1] == 'try it: imagegen run "two cats on a beach" -p mine'
    assert mode(settings_file(fresh)) == 0o600
    assert fresh.run("run", "a cat").code == 0
    assert studio.requests_of("submit")[0].json()["model"] == "4.0"


def test_without_default_it_is_none(fresh: Program, studio: DreaminaServer) -> None:
    assert fresh.run("init", "--kind", "dreamina", "--base-url", studio.url).code == 0
    assert "default_provider" not in settings_file(fresh).read_text()


def test_a_key_comes_by_stdin_and_is_shown_nowhere(fresh: Program, cloud: GeminiService) -> None:
    ended = fresh.run("init", "--kind", "gemini", "--base-url", cloud.url, "--key-stdin", stdin=f"{KEY}\n")
    assert ended.code == 0, ended.err
    assert "ok   gemini: key" in ended.err
    assert KEY not in ended.out + ended.err
    assert f'api_key = "{KEY}"' in settings_file(fresh).read_text()
    assert mode(settings_file(fresh)) == 0o600
    assert cloud.counts["submit"] == 0


def test_a_key_is_taken_from_a_variable_or_a_command(fresh: Program, cloud: GeminiService) -> None:
    where = ["--kind", "gemini", "--base-url", cloud.url]
    assert fresh.run("init", *where, "--key-env", "MY_KEY", MY_KEY=KEY).code == 0
    assert 'api_key = "env:MY_KEY"' in settings_file(fresh).read_text()
    assert fresh.run("init", *where, "--name", "two", "--key-command", f"echo {KEY}").code == 0
    assert fresh.run("init", *where, "--name", "three", GEMINI_API_KEY=KEY).code == 0
    assert "api_key" not in settings_file(fresh).read_text().partition("[providers.three]")[2]


def test_a_key_in_two_parts_comes_in_two_lines(fresh: Program, cloud: GeminiService) -> None:
    words = ["init", "--kind", "volcengine", "--base-url", cloud.url, "--key-stdin"]
    ended = fresh.run(*words, stdin="AK-first-part\nSK-second-part\n")
    assert ended.code == 0, ended.err
    assert "only a paid request can show" in ended.err
    assert not any(part in ended.err for part in ("AK-first-part", "SK-second-part"))
    text = settings_file(fresh).read_text()
    assert 'api_key = "AK-first-part"\nsecret_key = "SK-second-part"\n' in text


BAD = [
    ("nothing", [], "missing: --kind"),
    ("no key", ["--kind", "gemini"], "missing: one of --key-env NAME, --key-command CMD, --key-stdin"),
    ("half a key", ["--kind", "volcengine", "--key-env", "A"], "missing: --set secret_key=env:NAME"),
    ("no such kind", ["--kind", "dreamna"], "did you mean dreamina?"),
    ("no name", ["--kind", "dreamina", "--name", "a b"], "no name for a provider"),
    ("no address", ["--kind", "dreamina", "--base-url", "http:/localhost"], "write it as http://localhost"),
    ("no such setting", ["--kind", "dreamina", "--set", "gracee=1"], "did you mean grace?"),
    ("wrong type", ["--kind", "dreamina", "--set", 'grace="x"'], "must be a whole number"),
    ("impossible", ["--kind", "dreamina", "--set", "timeout=-1"], "cannot be -1"),
    ("a key in a flag", ["--kind", "dreamina", "--set", "api_key=sk-secret"], "never goes through an option"),
    ("a key for a name", ["--kind", "dreamina", "--key-env", "sk-secret"], "the name of an environment variable"),
    ("two ways", ["--kind", "dreamina", "--key-env", "A", "--key-command", "b"], "exclude each other"),
    ("three ways", ["--kind", "dreamina", "--key-env", "A", "--key-stdin"], "exclude each other"),
    ("an empty key", ["--kind", "dreamina", "--key-stdin"], "no key on stdin"),
]


@pytest.mark.parametrize(("why", "words", "expected"), BAD, ids=[row[0] for row in BAD])
def test_what_flags_lack_is_named_and_nothing_written(
    fresh: Program, why: str, words: list[str], expected: str
) -> None:
    ended = fresh.run("init", *words)
    assert ended.code == 2, ended.err
    assert expected in ended.err
    assert "sk-secret" not in ended.err
    assert not settings_file(fresh).exists()


def test_an_existing_name_needs_a_yes(program: Program, studio: DreaminaServer) -> None:
    words = ["init", "--kind", "dreamina", "--name", "studio", "--base-url", studio.url, "--model", "4.0"]
    before = settings_file(program).read_text()
    refused = program.run(*words)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert settings_file(program).read_text() == before
    assert program.run(*words, "--yes").code == 0
    assert 'model = "4.0"' in settings_file(program).read_text()


def test_what_does_not_work_is_written_only_with_a_yes(fresh: Program, cloud: GeminiService) -> None:
    words = ["init", "--kind", "gemini", "--base-url", cloud.url, "--key-env", "MY_KEY"]
    refused = fresh.run(*words, MY_KEY="another")
    assert refused.code == 3
    assert "no   gemini: key" in refused.err
    assert not settings_file(fresh).exists()
    written = fresh.run(*words, "--yes", MY_KEY="another")
    assert written.code == 3
    assert "gemini is in the settings, but it does not work as it is: key: " in written.err
    assert written.err.splitlines()[-1] == "  mend it, then look again: imagegen doctor gemini"
    assert "try it" not in written.err
    assert settings_file(fresh).exists()


def test_a_dead_server_is_written_with_a_yes_and_said(fresh: Program, studio: DreaminaServer) -> None:
    studio.fail(CONNECT, Fault.REFUSE)
    ended = fresh.run("init", "--kind", "dreamina", "--base-url", studio.url, "-y")
    assert ended.code == 3
    assert "it does not work as it is: address: " in ended.err
    assert "cannot reach" in ended.err
    assert "[providers.dreamina]" in settings_file(fresh).read_text()


MINE = (
    "# mine\noutput = 'out'  # here\n\n[models]\nhero = 'old/3.0'\n\n"
    "[providers.old]  # the first\nkind = 'dreamina'\npoll = 2.5"
)


@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o640])
def test_everything_else_in_the_file_stays_and_so_do_its_permissions(
    fresh: Program, studio: DreaminaServer, permissions: int
) -> None:
    fresh.configure(MINE)
    path = settings_file(fresh)
    path.chmod(permissions)
    ended = fresh.run("init", "--kind", "dreamina", "--name", "new", "--base-url", studio.url, "--default")
    assert ended.code == 0, ended.err
    new = f'\n\n[providers.new]\nkind = "dreamina"\nbase_url = "{studio.url}"\n'
    assert path.read_text() == MINE.replace("# here\n", '# here\ndefault_provider = "new"\n') + new
    assert mode(path) == permissions
    assert [other.name for other in path.parent.glob("config.toml*")] == ["config.toml"]


def test_a_file_that_gets_a_key_is_closed_to_others(fresh: Program, cloud: GeminiService) -> None:
    fresh.configure(MINE)
    settings_file(fresh).chmod(0o644)
    ended = fresh.run("init", "--kind", "gemini", "--base-url", cloud.url, "--key-stdin", stdin=f"{KEY}\n")
    assert ended.code == 0, ended.err
    assert "only you can read" in ended.err
    assert mode(settings_file(fresh)) == 0o600


def test_a_windows_file_keeps_its_line_ends_and_its_mark(fresh: Program, studio: DreaminaServer) -> None:
    path = settings_file(fresh)
    before = b"\xef\xbb\xbf" + MINE.replace("\n", "\r\n").encode()
    path.write_bytes(before)
    assert fresh.run("init", "--kind", "dreamina", "--name", "new", "--base-url", studio.url).code == 0
    after = path.read_bytes()
    assert after.startswith(before + b"\r\n\r\n[providers.new]\r\n")
    assert after.count(b"\n") == after.count(b"\r\n")
    assert "[providers.new]" in fresh.run("config", "show").out


def test_a_link_stays_a_link(fresh: Program, studio: DreaminaServer) -> None:
    real = fresh.folder / "dotfiles.toml"
    real.write_text('output = "out"\n')
    real.chmod(0o640)
    settings_file(fresh).symlink_to(real)
    assert fresh.run("init", "--kind", "dreamina", "--base-url", studio.url).code == 0
    assert settings_file(fresh).is_symlink()
    assert "[providers.dreamina]" in real.read_text()
    assert mode(real) == 0o640
    assert sorted(path.name for path in fresh.folder.iterdir() if path.is_file()) == ["dotfiles.toml"]


def test_a_file_that_is_too_large_is_not_cut_off(fresh: Program, studio: DreaminaServer) -> None:
    text = "# long\n" * 700_000
    fresh.configure(text)
    ended = fresh.run("init", "--kind", "dreamina", "--base-url", studio.url)
    assert ended.code == 3
    assert "larger than 4 MB" in ended.err
    assert settings_file(fresh).read_text() == text


def test_a_broken_file_is_left_as_it_is(fresh: Program, studio: DreaminaServer) -> None:
    fresh.configure("default_provider = \n")
    ended = fresh.run("init", "--kind", "dreamina", "--base-url", studio.url)
    assert ended.code == 3
    assert settings_file(fresh).read_text() == "default_provider = \n"


# init by dialogue


def dialogue(program: Program, **environment: str) -> screen.Program:
    command = [sys.executable, "-m", "imagegen_cli", "init"]
    return screen.Program(
        command, columns=120, lines=60, environ=program.environment(**environment), cwd=program.folder
    )


def answer(terminal: screen.Program, question: str, text: str) -> None:
    terminal.wait_for(question.rstrip())  # the emulator strips the ends of lines
    terminal.send(f"{text}\r")


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
def test_the_dialogue_connects_a_service(fresh: Program, studio: DreaminaServer) -> None:
    with dialogue(fresh) as terminal:
        answer(terminal, "Number or name: ", "nothing")
        answer(terminal, "nothing is none of these\nNumber or name: ", "dreamina")
        answer(terminal, "Its name here [dreamina]: ", "studio")
        answer(terminal, "Its address [http://127.0.0.1:5000]: ", "http:/localhost")
        answer(terminal, "write it as http://localhost\nIts address", studio.url)
        answer(terminal, "Number or name [none]: ", "")
        answer(terminal, "Its model when --model is not given [3.0]: ", "")
        answer(terminal, "Use it when --provider is not given? [yes]: ", "")
        assert terminal.finish() == 0
        assert "try it: imagegen run" in terminal.text
    text = settings_file(fresh).read_text()
    assert text == f'default_provider = "studio"\n\n[providers.studio]\nkind = "dreamina"\nbase_url = "{studio.url}"\n'
    assert mode(settings_file(fresh)) == 0o600


def test_a_typed_key_is_never_on_the_screen(fresh: Program, cloud: GeminiService) -> None:
    with dialogue(fresh) as terminal:
        answer(terminal, "Number or name: ", "gemini")
        answer(terminal, "Its name here", "")
        answer(terminal, "Its address", cloud.url)
        answer(terminal, "Number or name [type]: ", "1")
        answer(terminal, "api_key: ", KEY)
        answer(terminal, "Its model", "")
        answer(terminal, "Use it when", "no")
        assert terminal.finish() == 0
        assert KEY.encode() not in terminal.raw
        assert "✓  key       the service answered a question that carried it" in terminal.text
    assert f'api_key = "{KEY}"' in settings_file(fresh).read_text()
    assert mode(settings_file(fresh)) == 0o600


def test_a_variable_that_is_set_is_suggested(fresh: Program, cloud: GeminiService) -> None:
    with dialogue(fresh, GEMINI_API_KEY=KEY) as terminal:
        answer(terminal, "Number or name: ", "gemini")
        answer(terminal, "Its name here", "")
        answer(terminal, "Its address", cloud.url)
        terminal.wait_for("$GEMINI_API_KEY is set")
        answer(terminal, "Number or name [env]: ", "")
        answer(terminal, "Name of the variable [GEMINI_API_KEY]: ", "")
        answer(terminal, "Its model", "")
        answer(terminal, "Use it when", "no")
        assert terminal.finish() == 0
        assert KEY.encode() not in terminal.raw
    assert 'api_key = "env:GEMINI_API_KEY"' in settings_file(fresh).read_text()


def test_who_leaves_the_dialogue_writes_nothing(program: Program) -> None:
    before = settings_file(program).read_text()
    with dialogue(program) as terminal:
        answer(terminal, "Number or name: ", "dreamina")
        answer(terminal, "Its name here", "studio")
        answer(terminal, "There is a provider studio already. Replace it? [no]: ", "no")
        terminal.wait_for("Another name")
        terminal.send("\x04")
        assert terminal.finish() == 2
        assert "nothing was written" in terminal.text
    with dialogue(program) as terminal:
        terminal.wait_for("Number or name:")
        terminal.send("\x03")
        assert terminal.finish() == 130
    assert settings_file(program).read_text() == before


@pytest.mark.parametrize(("word", "next_question"), [("否", "Another name"), ("是", "Its address")])
def test_a_chinese_yes_or_no_is_taken(program: Program, word: str, next_question: str) -> None:
    with dialogue(program) as terminal:
        answer(terminal, "Number or name: ", "dreamina")
        answer(terminal, "Its name here", "studio")
        answer(terminal, "There is a provider studio already. Replace it? [no]: ", word)
        terminal.wait_for(next_question)


def test_what_does_not_work_is_asked_about(fresh: Program) -> None:
    with dialogue(fresh) as terminal:
        answer(terminal, "Number or name: ", "dreamina")
        answer(terminal, "Its name here", "")
        answer(terminal, "Its address", "http://127.0.0.1:1")
        answer(terminal, "Number or name [none]: ", "")
        answer(terminal, "Its model", "")
        answer(terminal, "Use it when", "no")
        terminal.wait_for("✗  address   http://127.0.0.1:1 (directly): cannot reach")
        answer(terminal, "Write it all the same? [no]: ", "")
        assert terminal.finish() == 3
    assert not settings_file(fresh).exists()
