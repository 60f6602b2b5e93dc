import os
import stat
import sys
import time
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.masking import masked
from imagegen_cli.core.naming import DEFAULT
from imagegen_cli.core.schema import Secret
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings import as_toml
from imagegen_cli.settings.as_toml import shown
from imagegen_cli.settings.config import Config, Configured, General, load_config
from imagegen_cli.settings.files import write as write_file
from imagegen_cli.settings.keys import COMMAND_WAIT_S, key_of
from imagegen_cli.settings.paths import history_file, user_file
from tests.program import Program

KEY = "sk-1234567890"
VENDOR = "DASHSCOPE_API_KEY"
STUDIO = '[providers.studio]\nkind = "dashscope"\n'


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a project of the test's own; nothing from the machine's environment."""
    for variable in [name for name in os.environ if name.startswith("IMAGEGEN_") or name == VENDOR]:
        monkeypatch.delenv(variable)
    for folder in ("home", "project"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "project")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    return tmp_path / "home" / "config.toml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project" / "imagegen.toml"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def refused() -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config()
    return caught.value


def key(configured: Configured) -> str:
    return key_of(configured).api_key.reveal()


def no_key(configured: Configured) -> str:
    """The message of the error that comes instead of a key."""
    with pytest.raises(ConfigError) as caught:
        key_of(configured)
    return caught.value.message


# Which file, and which goes before which


def test_without_any_file_everything_is_as_built_in() -> None:
    found = load_config()
    assert found.general == General()
    assert (found.general.default_provider, found.general.output, found.general.name) == ("sketch", "images", DEFAULT)
    assert (found.providers, found.files, found.remarks) == ({}, (), ())


def test_the_project_goes_before_the_person_and_the_person_before_what_is_built_in(user: Path, project: Path) -> None:
    write(user, 'output = "mine"\nname = "{id}-{index}"\n[models]\na = "studio/1"\nb = "studio/2"\n')
    write(project, 'output = "ours"\n[models]\nb = "studio/3"\n')
    found = load_config()
    assert found.general.output == "ours"
    assert found.general.name == "{id}-{index}"
    assert found.general.default_provider == "sketch"
    assert found.general.models == {"a": "studio/1", "b": "studio/3"}
    assert found.files == (user, project)


@pytest.mark.parametrize("line", ['base_url = "https://elsewhere.example"', "concurrency = 9", 'kind = "sketch"'])
def test_a_project_file_changes_no_provider_of_the_persons_own(user: Path, project: Path, line: str) -> None:
    """With a changed address, prompts for the person's own service would go to another one."""
    write(user, f'{STUDIO}api_key = "{KEY}"\n')
    write(project, f"[providers.studio]\n{line}\n")
    error = refused()
    assert error.message == f"{project}:1: a project file cannot change studio, which is a provider of your own file"
    assert error.hint == "give it another name"


def test_the_nearest_project_file_above_counts(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, 'output = "ours"')
    below = tmp_path / "project" / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load_config().general.output == "ours"
    write(below / "imagegen.toml", 'output = "nearer"')
    assert load_config().general.output == "nearer"


def test_one_folder_may_hold_everything(tmp_path: Path) -> None:
    assert user_file() == tmp_path / "home" / "config.toml"
    assert history_file() == tmp_path / "home" / "history.db"


def test_one_file_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "mine.toml"
    monkeypatch.setenv("IMAGEGEN_CONFIG", str(named))
    error = refused()
    assert error.message == f"there is no file {named}"
    assert error.hint == "IMAGEGEN_CONFIG names it"
    write(named, 'output = "mine"')
    assert load_config().general.output == "mine"
    assert history_file() == tmp_path / "home" / "history.db"


def test_without_a_folder_of_ones_own_the_systems_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEGEN_HOME")
    assert user_file().parts[-2:] == ("imagegen", "config.toml")
    assert history_file().name == "history.db"
    assert "imagegen" in history_file().parts


# What is wrong is named with its place


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ('outptu = "x"', 1, "unknown key 'outptu' in the settings", "did you mean output?"),
        ('\n# two\n"nmae" = "x"', 3, "unknown key 'nmae' in the settings", "did you mean name?"),
        ("output = 5", 1, "output in the settings must be a text, not a whole number", ""),
        ("models = 5", 1, "models must be a table", ""),
        (
            "[models]\nhero = 4",
            1,
            "models in the settings must be a table of texts, not a table",
            "hero is a whole number: write a text, in quotes",
        ),
        ("providers = 5", 1, "providers must be a table", ""),
        ("[providers]\nstudio = 5", 2, "[providers.studio] must be a table", ""),
        (STUDIO + "concurency = 3", 3, "unknown key 'concurency' in [providers.studio]", "did you mean concurrency?"),
        (STUDIO + "\n  timeout = 'long'", 4, "timeout in [providers.studio] must be a number, not a text", ""),
        (STUDIO + "concurrency = 2.5", 3, "concurrency in [providers.studio] must be a whole number, not a number", ""),
        (STUDIO + "concurrency = -1", 3, "concurrency of studio cannot be -1", ""),
        (STUDIO + "timeout = 0", 3, "timeout of studio cannot be 0.0", ""),
        (STUDIO + "timeout = nan", 3, "timeout of studio cannot be nan", ""),
        (STUDIO + "poll = -0.5", 3, "poll of studio cannot be -0.5", ""),
        (STUDIO + "poll = nan", 3, "poll of studio cannot be nan", ""),
        (STUDIO + 'base_url = "file:///etc/passwd"', 3, "base_url of studio must begin with http:// or https://", ""),
        ('[providers.studio]\nkind = "dashscop"', 2, "there is no kind of provider 'dashscop'", "dashscope"),
        ("[providers.studio]\nkind = 5", 2, "there is no kind of provider 5", ""),
        ("[providers.studio]\nkind = []", 2, "there is no kind of provider []", ""),
        ('[providers.dreamin]\nmodel = "4.0"', None, "there is no kind of provider 'dreamin'", "dreamina"),
        ('[providers.studio]\ntype = "sketch"', None, "the line kind =", "known"),
        ('[providers."a b"]\nkind = "sketch"', None, "'a b' is no name for a provider", ""),
        ('[providers."a,b"]\nkind = "sketch"', None, "'a,b' is no name for a provider", ""),
        ('output = "x"\nname = "{promt}"', 2, "name: unknown field {promt} in the name template", ""),
        ('name = "../{id}"', 1, "name: the name template '../{id}' holds a folder", ""),
        (STUDIO + '[providers.other]\nkind = "sketch"\ntimeout = "x"', 5, "timeout in [providers.other]", ""),
    ],
)
@pytest.mark.parametrize("which", ["user", "project"])
def test_a_mistake_is_named_with_file_and_line(
    which: str, text: str, line: int | None, message: str, hint: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    write(path, text)
    error = refused()
    assert message in error.message
    assert hint in error.hint
    if line is not None:
        assert error.message.startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'output = "x\n', "(at line 1, column 12)"),
        (b'output = "x"\noutput = "y"\n', "(at line 2, column 13)"),
        (b"[providers\n", "(at line 1, column 11)"),
        (b"a = " + b"[" * 50_000, ""),
        (b'output = "caf\xe9"', "is not UTF-8 text"),
        (b"\xff\xfeo\0", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(user: Path, data: bytes, message: str) -> None:
    user.write_bytes(data)
    error = refused()
    assert error.message.startswith(str(user))
    assert message in error.message


def test_a_folder_in_the_files_place_is_named(user: Path) -> None:
    user.mkdir()
    assert refused().message == f"{user} cannot be read: Is a directory"


def test_a_mark_and_crlf_are_no_mistake(user: Path) -> None:
    user.write_bytes(b'\xef\xbb\xbfoutput = "x"\r\nname = "{id}"\r\n')
    assert load_config().general.output == "x"


def test_a_provider_that_nobody_set_up_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no provider 'sktech'") as caught:
        load_config().provider("sktech")
    assert caught.value.hint == "did you mean sketch?"


def test_a_kind_can_be_used_by_its_own_name_with_all_defaults(user: Path) -> None:
    assert load_config().provider("sketch").kind == "sketch"
    write(user, "[providers.sketch]\nconcurrency = 1\n")
    assert load_config().provider("sketch").settings.concurrency == 1


# Keys


def configured(path: Path, line: str) -> Configured:
    write(path, f"{STUDIO}{line}\n")
    return load_config().provider("studio")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f'api_key = "{KEY}"', KEY),
        ('api_key = "env:MY_KEY"', "from-my-variable"),
        ("", "from-the-vendors-variable"),
        ('api_key = ""', "from-the-vendors-variable"),
        (f"""api_key = "cmd:'{sys.executable}' -c 'print(42)'" """, "42"),
    ],
)
def test_a_key_is_found(user: Path, monkeypatch: pytest.MonkeyPatch, line: str, found: str) -> None:
    monkeypatch.setenv("MY_KEY", " from-my-variable\n")
    monkeypatch.setenv(VENDOR, "from-the-vendors-variable")
    assert key(configured(user, line)) == found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('api_key = "env:MY_KEY"', "api_key of studio comes from $MY_KEY, which is not set"),
        ('api_key = "cmd:/no/such/program"', "comes from a command, which failed (FileNotFoundError)"),
        ('api_key = "cmd:"', "comes from a command, which failed (IndexError)"),
        ("""api_key = "cmd:echo 'half" """, "comes from a command, which failed (ValueError)"),
        (f"""api_key = "cmd:'{sys.executable}' -c 'exit(3)'" """, "comes from a command, which failed (exit 3)"),
        (f"""api_key = "cmd:'{sys.executable}' -c ''" """, "comes from a command, which printed nothing"),
    ],
)
def test_a_key_that_is_not_there_is_said(user: Path, line: str, expected: str) -> None:
    assert expected in no_key(configured(user, line))


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{KEY}\\nlogin: me"',
        f'api_key = "{KEY}é"',
        f'api_key = "{KEY}\\u0000"',
        f"""api_key = "cmd:'{sys.executable}' -c 'print(\\"{KEY}\\"); print(\\"login: me\\")'" """,
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(user: Path, line: str) -> None:
    error = no_key(configured(user, line))
    assert error == "api_key of studio is more than one line, or not plain ASCII text"
    assert KEY not in error


def test_what_a_failing_command_said_is_not_repeated(user: Path) -> None:
    line = f"""api_key = "cmd:'{sys.executable}' -c 'import sys; print({KEY[3:]}); sys.exit(int(\\"{KEY}\\"))'" """
    assert KEY[3:] not in no_key(configured(user, line))


def headers_of(configured: Configured) -> dict[str, str]:
    return dict(key_of(configured).headers)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("plain words", "plain words"),
        ("env:MY_KEY", KEY),
        (f"cmd:'{sys.executable}' -c 'print(42)'", "42"),
    ],
)
def test_a_header_is_found_as_a_key_is(user: Path, monkeypatch: pytest.MonkeyPatch, value: str, found: str) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    one = configured(user, f'headers = {{ "X-One" = "{value}", "X-Two" = "2" }}')
    assert headers_of(one) == {"X-One": found, "X-Two": "2"}
    assert (KEY in masked(f"no {KEY}")) == (found != KEY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("env:MY_KEY", "the header X-One of studio comes from $MY_KEY, which is not set"),
        ("cmd:/no/such/program", "comes from a command, which failed (FileNotFoundError)"),
        (f"cmd:'{sys.executable}' -c 'print(1); print(2)'", "is more than one line, or not plain ASCII text"),
    ],
)
def test_a_header_that_is_not_there_is_said(user: Path, value: str, expected: str) -> None:
    assert expected in no_key(configured(user, f'headers = {{ "X-One" = "{value}" }}'))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat /dev/zero", "comes from a command, which printed more than 64 KB"),
        ("yes", "comes from a command, which printed more than 64 KB"),
        (f"'{sys.executable}' -c 'print(5 * 65000 * chr(97))'", "which printed more than 64 KB"),
        (f"'{sys.executable}' -c 'import sys; sys.stdout.buffer.write(bytes([255]))'", "failed (UnicodeDecodeError)"),
    ],
)
def test_what_a_command_says_is_bounded(user: Path, command: str, expected: str) -> None:
    assert expected in no_key(configured(user, f'api_key = "cmd:{command}"'))


@pytest.mark.skipif(os.name == "nt", reason="the command is a POSIX shell's")
def test_a_command_may_leave_an_agent_that_holds_its_output(user: Path, tmp_path: Path) -> None:
    script = tmp_path / "key.sh"
    script.write_text("sleep 600 &\necho $! > pid\necho 42\n", encoding="ascii")
    begun = time.monotonic()
    assert key(configured(user, f'api_key = "cmd:sh {script}"')) == "42"
    assert time.monotonic() - begun < COMMAND_WAIT_S
    os.kill(int(Path("pid").read_text(encoding="ascii")), 9)  # it is still there


def test_a_command_that_complains_without_end_is_heard_out(user: Path) -> None:
    command = f"'{sys.executable}' -c 'import sys; sys.stderr.write(10 ** 6 * chr(97)); print(42)'"
    assert key(configured(user, f'api_key = "cmd:{command}"')) == "42"


@pytest.mark.parametrize("value", ["env:HOME", "cmd:touch ran"])
@pytest.mark.parametrize("name", ["api_key", "base_url", "model", "headers.X-One", "headers.Authorization"])
def test_a_project_file_fetches_no_key(project: Path, value: str, name: str) -> None:
    write(project, f'{STUDIO}{name} = "{value}"\n')
    error = refused()
    assert error.message == f"{project}:3: a project file cannot fetch a key"
    assert str(user_file()) in error.hint
    assert not (project.parent / "ran").exists()


def test_a_project_file_gets_no_key_that_is_written_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VENDOR, KEY)
    assert key(load_config().provider("dashscope")) == KEY
    write(project, f'{STUDIO}base_url = "https://evil.example"\n')
    assert key(load_config().provider("studio")) == ""


@pytest.mark.parametrize(
    "text",
    [
        '[providers.dashscope]\nbase_url = "https://evil.example"\n',
        '[providers.dreamina]\nbase_url = "https://evil.example"\n',
        '[providers.openai]\nbase_url = "https://evil.example"\n',
        '[providers.openai]\ndialect = "recraft"\n',
        '[providers.openai]\nkind = "dreamina"\n',
        '[providers.openai]\nkind = "sketch"\n',
    ],
)
def test_a_project_file_leads_the_name_of_a_kind_nowhere_else(project: Path, text: str) -> None:
    """The person who says `-p openai` means OpenAI."""
    write(project, text)
    assert "the name of a kind means that service and its own address" in refused().message


def test_a_project_file_may_say_how_a_kind_is_used(project: Path) -> None:
    write(project, '[providers.dashscope]\nmodel = "wan2.6-image"\n[providers.sketch]\nconcurrency = 1\n')
    assert load_config().provider("dashscope").settings.model == "wan2.6-image"


# What a project file chooses


MINE = '[providers.mine]\nkind = "dashscope"\n'


@pytest.mark.parametrize(
    ("own", "theirs", "chosen"),
    [
        (MINE, 'default_provider = "mine"', "mine"),
        ("", 'default_provider = "sketch"', "sketch"),
        ("", f'default_provider = "pen"\n{STUDIO}[providers.pen]\nkind = "sketch"', "pen"),
        ('default_provider = "dashscope"', 'output = "x"', "dashscope"),
        ('default_provider = "dashscope"', "[providers.dashscope]\nconcurrency = 1", None),
        ("", 'default_provider = "dashscope"', None),
        ("", 'default_provider = "dreamina"', None),
        (MINE, f'default_provider = "studio"\n{STUDIO}api_key = "{KEY}"', None),
        ('default_provider = "studio"', f'{STUDIO}base_url = "https://evil.example"', None),
    ],
)
def test_a_project_file_chooses_only_what_the_person_set_up(
    user: Path, project: Path, monkeypatch: pytest.MonkeyPatch, own: str, theirs: str, chosen: str | None
) -> None:
    monkeypatch.setenv(VENDOR, KEY)
    write(user, own)
    write(project, theirs)
    found = load_config()
    if chosen is not None:
        assert found.default == chosen
        return
    with pytest.raises(ConfigError, match="which you have not set up yourself") as caught:
        _ = found.default
    assert str(project) in caught.value.message
    assert "-p " in caught.value.hint


def test_a_short_name_of_a_project_leads_to_no_service_that_the_person_did_not_set_up(
    user: Path, project: Path
) -> None:
    write(user, f'{MINE}[models]\nhero = "mine/1"\n')
    write(project, '[models]\n"4.0" = "openai/gpt"\nhero = "mine/2"\nfree = "sketch/a"\nbare = "9"\nslash = "a/b"\n')
    found = load_config()
    assert [found.model(name) for name in ("hero", "free", "bare", "slash", "other", "")] == [
        "mine/2", "sketch/a", "9", "a/b", "other", "",
    ]  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"imagegen\.toml:2: the short name 4\.0 chooses the service openai"
    ) as caught:
        found.model("4.0")
    assert caught.value.hint == "write the model out: -m openai/gpt"


def test_what_only_a_project_file_names_is_asked_nothing_by_itself(user: Path, project: Path) -> None:
    write(user, MINE)
    write(project, f'{STUDIO}[providers.pen]\nkind = "sketch"\n')
    assert [one.name for one in load_config().own] == ["mine", "pen"]


# Where a project file may point


OUTSIDE = [
    "/etc",
    "..",
    "../x",
    "~",
    "~/x",
    "a/../../x",
    "link",
    "link/x",
    "loop",
    "a\\u0000b",
    "~nobody-of-this-name/x",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize(
    "text",
    ['output = "{}"', '[providers.flow]\nkind = "comfyui"\nworkflow = "{}"'],
    ids=["output", "workflow"],
)
def test_a_project_file_points_nowhere_outside_of_the_project(
    user: Path, project: Path, tmp_path: Path, text: str, path: str
) -> None:
    (tmp_path / "project" / "link").symlink_to(tmp_path / "home")
    (tmp_path / "project" / "loop").symlink_to("loop")
    write(project, text.format(path))
    error = refused().message
    assert error.startswith(f"{project}:")
    assert "is outside of the project" in error or "cannot be read" in error
    write(project, "")
    if "\\u0000" not in path:
        write(user, text.format(path))
        assert load_config().files == (user, project), "the person's own file may point anywhere"


@pytest.mark.parametrize("path", ["graph.json", "./a/graph.json", "link/graph.json"])
def test_a_project_file_points_into_the_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    below = tmp_path / "project" / "a"
    below.mkdir()
    (below / "link").symlink_to(tmp_path / "project")
    (tmp_path / "project" / "link").symlink_to(below)
    write(project, f'output = "{path}"\n[providers.flow]\nkind = "comfyui"\nworkflow = "{path}"\n')
    for folder in (tmp_path / "project", below):
        monkeypatch.chdir(folder)
        found = load_config()
        settings: Any = found.provider("flow").settings
        assert settings.workflow == str((folder / path).resolve())
        assert found.general.output == path
        assert found.project == tmp_path / "project"


# Whose project file it is


@pytest.mark.skipif(os.name == "nt", reason="has other rights")
@pytest.mark.parametrize(
    ("what", "mode", "counts"),
    [
        ("imagegen.toml", 0o644, True), ("imagegen.toml", 0o664, True), ("imagegen.toml", 0o646, False),
        (".", 0o755, True), (".", 0o775, True), (".", 0o777, False), (".", 0o1777, False),
    ],
)  # fmt: skip
def test_a_project_file_that_everybody_can_write_is_ignored(project: Path, what: str, mode: int, counts: bool) -> None:
    write(project, f'output = "ours"\n{STUDIO}')
    place = project.parent / what
    place.chmod(mode)
    found = load_config()
    assert (found.general.output == "ours", found.provider("sketch").name) == (counts, "sketch")
    assert found.files == ((project,) if counts else ())
    remark = f"{project} is ignored, because every user can write to {place}: chmod o-w {place}"
    assert found.remarks == (() if counts else (remark,))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["imagegen.toml", ".", "link", "the target", "the target's folder"])
def test_a_project_file_of_another_user_is_ignored(project: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "elsewhere" / "settings.toml"
    target.parent.mkdir()
    write(target, 'output = "ours"\n')
    if what in ("imagegen.toml", "."):
        write(project, 'output = "ours"\n')
    else:
        project.symlink_to(target)
    assert load_config().general.output == "ours"
    place = {"link": project, "the target": target, "the target's folder": target.parent}.get(what)
    place = place or project.parent / what
    os.chown(place, 12345, -1, follow_symlinks=False)
    found = load_config()
    assert found.files == ()
    assert found.remarks[0].startswith(f"{project} is ignored, because {place} belongs to another user: ")


def test_what_is_no_file_or_very_large_is_no_project_file(project: Path) -> None:
    os.mkfifo(project)
    assert load_config().files == ()
    project.unlink()
    write(project, "#")
    os.truncate(project, 1 << 40)
    assert refused().message == f"{project} cannot be read: it is larger than 4096 KB"


def test_the_persons_own_file_is_no_project_file_of_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, f'{STUDIO}api_key = "env:MY_KEY"\n')
    monkeypatch.setenv("IMAGEGEN_CONFIG", str(project))
    monkeypatch.setenv("MY_KEY", KEY)
    assert key(load_config().provider("studio")) == KEY


def test_a_project_file_may_hold_a_key_of_its_own(project: Path) -> None:
    assert key(configured(project, f'api_key = "{KEY}"')) == KEY


# What others may see


@pytest.mark.parametrize(
    ("line", "mode", "remark"),
    [
        (f'api_key = "{KEY}"', 0o644, True),
        (f'api_key = "{KEY}"', 0o640, True),
        (f'api_key = "{KEY}"', 0o600, False),
        ('api_key = "env:MY_KEY"', 0o644, False),
        ('api_key = "cmd:pass show x"', 0o644, False),
        (f'headers = {{Authorization = "Bearer {KEY}"}}', 0o644, True),
        ('headers = {Authorization = "env:MY_KEY"}', 0o644, False),
        ('headers = {X-Client = "imagegen"}', 0o644, False),
        ("", 0o644, False),
    ],
)
def test_a_key_that_others_can_read_is_remarked(user: Path, line: str, mode: int, remark: bool) -> None:
    write(user, f"{STUDIO}{line}\n", mode)
    error = load_config().remarks
    assert error == ((f"{user} contains a key and other users can read it: chmod 600 {user}",) if remark else ())


@pytest.mark.parametrize(
    ("line", "hidden", "seen"),
    [
        (f'api_key = "{KEY}"', KEY, "****"),
        ('api_key = "cmd:pass show secret-place"', "secret-place", "****"),
        ('api_key = "env:MY_KEY"', KEY, "env:MY_KEY"),
        (f'headers = {{Authorization = "Bearer {KEY}"}}', KEY, "****"),
        ('headers = {Authorization = "env:MY_KEY"}', KEY, "env:MY_KEY"),
        ('headers = {X-One = "cmd:pass show secret-place"}', "secret-place", "****"),
        (f'base_url = "https://me:{KEY}@example.org/v1"', KEY, "https://****@example.org/v1"),
    ],
)
def test_settings_are_shown_without_secrets(user: Path, line: str, hidden: str, seen: str) -> None:
    write(user, f"{STUDIO}{line}\n")
    found = load_config()
    text = as_toml.dumps(shown(found))
    assert hidden not in text
    assert seen in text
    assert KEY not in repr(found) or "api_key" not in line
    assert tomllib.loads(text)["providers"]["studio"]["kind"] == "dashscope"


def test_everything_in_force_is_shown(user: Path) -> None:
    write(user, STUDIO)
    plain = shown(load_config())
    assert {item.name for item in fields(General)} < plain.keys()
    assert plain["providers"]["studio"].keys() == {"kind", *(item.name for item in fields(load("dashscope").Settings))}


def test_a_remark_and_a_mistake_reach_the_person_without_the_key(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.configure(f'{STUDIO}api_key = "{KEY}\\nx"\n')
    ended = program.run("config", "check")
    assert ended.code == 3
    assert KEY not in ended.out + ended.err


# Writing


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def save(path: Path, tables: dict[str, Any], *, mode: int = 0o600) -> None:
    write_file(path, as_toml.dumps(tables), mode=mode)


TABLES: dict[str, Any] = {"output": "图", "providers": {"studio": {"kind": "dashscope", "api_key": KEY}}}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
@pytest.mark.parametrize("before", [None, 0o644, 0o600, 0o400])
def test_what_is_written_has_the_permissions_it_is_given(tmp_path: Path, before: int | None, mode: int) -> None:
    path = tmp_path / "new" / "folder" / "config.toml"
    if before is not None:
        path.parent.mkdir(parents=True)
        write(path, "old", before)
    save(path, TABLES, mode=mode)
    assert mode_of(path) == mode
    assert tomllib.loads(path.read_text(encoding="utf-8")) == TABLES
    assert [other.name for other in path.parent.iterdir()] == ["config.toml"]
    if before is None:
        assert mode_of(path.parent) == 0o700


def test_a_leftover_of_an_earlier_attempt_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / ".config.toml.new").symlink_to(elsewhere)
    save(path, TABLES)
    assert not elsewhere.exists()
    assert mode_of(path) == 0o600


def test_what_cannot_be_written_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml cannot be written: "):
        save(path, TABLES)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        save(tmp_path / "file" / "config.toml", TABLES)


def test_what_is_saved_is_what_is_loaded(user: Path) -> None:
    save(user, TABLES)
    found = load_config()
    assert found.general.output == "图"
    assert found.provider("studio").settings.api_key == Secret(KEY)
    assert found.remarks == ()


# The example


def uncommented(text: str) -> dict[str, Any]:
    """The example as it is after removing the mark from every line that is TOML behind it."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        try:
            tomllib.loads(bare)
        except tomllib.TOMLDecodeError:
            continue
        lines.append(bare)
    return tomllib.loads("\n".join(lines))


def test_the_example_says_nothing_as_it_stands(user: Path) -> None:
    write(user, as_toml.example())
    assert load_config() == Config(general=General(), providers={}, files=(user,))


def test_the_example_has_every_setting_of_every_kind(user: Path) -> None:
    found = uncommented(as_toml.example())
    assert {item.name for item in fields(General)} | {"providers"} == found.keys()
    assert found["providers"].keys() == set(kinds())
    for kind in kinds():
        assert found["providers"][kind].keys() == {"kind", *(item.name for item in fields(load(kind).Settings))}
    assert found["providers"]["dashscope"]["kind"] == "dashscope"


def test_the_example_without_its_marks_is_what_is_built_in(user: Path) -> None:
    tables = uncommented(as_toml.example())
    tables |= {"models": {}, "prices": {}, "budget": {}}
    for kind in kinds():
        for item in fields(load(kind).Settings):
            if item.metadata["shown"]:  # words for a default that differs from machine to machine
                del tables["providers"][kind][item.name]
    save(user, tables)
    found = load_config()
    assert found.general == General()
    for kind in kinds():
        built_in, written = load(kind).Settings(), found.provider(kind).settings
        differing = [
            item.name for item in fields(built_in) if getattr(built_in, item.name) != getattr(written, item.name)
        ]
        assert not differing, kind


def test_every_setting_has_a_meaning_of_one_line() -> None:
    every: tuple[type[Any], ...] = (General, *(load(kind).Settings for kind in kinds()))
    for kind in every:
        for item in fields(kind):
            assert item.metadata["doc"].isprintable(), item.name
            assert item.metadata["doc"], item.name


def test_every_variable_of_a_vendor_is_told_in_the_example() -> None:
    text = as_toml.example()
    for kind in kinds():
        assert all(f"${variable}" in text for variable in load(kind).Settings.environment.values())
