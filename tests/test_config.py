import os
import stat
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli import config
from imagegen_cli.config import Config, Configured, General, key_of, load_config, save, shown
from imagegen_cli.errors import ConfigError, UsageError
from imagegen_cli.naming import DEFAULT
from imagegen_cli.places import history_file, user_file
from imagegen_cli.providers import kinds, load
from imagegen_cli.tables import Secret
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
    """What is said instead of a key."""
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


def test_a_provider_is_taken_whole_from_one_file(user: Path, project: Path) -> None:
    write(user, f'{STUDIO}api_key = "{KEY}"\nconcurrency = 9\n')
    write(project, f'{STUDIO}base_url = "https://elsewhere.example"\n')
    studio = load_config().provider("studio")
    assert studio.settings.base_url == "https://elsewhere.example"
    assert studio.settings.concurrency != 9
    assert key(studio) == "", "a key of the person's own never goes to an address of the project's"


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
    said = refused()
    assert said.message == f"there is no file {named}"
    assert said.hint == "IMAGEGEN_CONFIG names it"
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
        ("[models]\nhero = 4", 1, "models in the settings must be a table of texts, not a table", ""),
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
        (STUDIO + 'base_url = "example.org"', 3, "base_url of studio must begin with http:// or https://", ""),
        (STUDIO + 'base_url = "file:///etc/passwd"', 3, "base_url of studio must begin with http:// or https://", ""),
        ('[providers.studio]\nkind = "dashscop"', 2, "there is no kind of provider 'dashscop'", "dashscope"),
        ("[providers.studio]\nkind = 5", 2, "there is no kind of provider 5", ""),
        ("[providers.studio]\nkind = []", 2, "there is no kind of provider []", ""),
        ('[providers.dreamin]\nmodel = "4.0"', None, "there is no kind of provider 'dreamin'", "dreamina"),
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
    said = refused()
    assert message in said.message
    assert hint in said.hint
    if line is not None:
        assert said.message.startswith(f"{path}:{line}: ")


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
    said = refused()
    assert said.message.startswith(str(user))
    assert message in said.message


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
    ("line", "said"),
    [
        ('api_key = "env:MY_KEY"', "api_key of studio is to come from $MY_KEY, which is not set"),
        ('api_key = "cmd:/no/such/program"', "is to come from a command, which failed (FileNotFoundError)"),
        ('api_key = "cmd:"', "is to come from a command, which failed (IndexError)"),
        ("""api_key = "cmd:echo 'half" """, "is to come from a command, which failed (ValueError)"),
        (f"""api_key = "cmd:'{sys.executable}' -c 'exit(3)'" """, "is to come from a command, which failed (exit 3)"),
        (f"""api_key = "cmd:'{sys.executable}' -c ''" """, "is to come from a command, which said nothing"),
    ],
)
def test_a_key_that_is_not_there_is_said(user: Path, line: str, said: str) -> None:
    assert said in no_key(configured(user, line))


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
    said = no_key(configured(user, line))
    assert said == "api_key of studio is more than one line, or not plain ASCII text"
    assert KEY not in said


def test_what_a_failing_command_said_is_not_repeated(user: Path) -> None:
    line = f"""api_key = "cmd:'{sys.executable}' -c 'import sys; print({KEY[3:]}); sys.exit(int(\\"{KEY}\\"))'" """
    assert KEY[3:] not in no_key(configured(user, line))


@pytest.mark.parametrize("value", ["env:HOME", "cmd:touch ran"])
@pytest.mark.parametrize("name", ["api_key", "base_url", "model"])
def test_a_project_file_fetches_no_key(project: Path, value: str, name: str) -> None:
    write(project, f'{STUDIO}{name} = "{value}"\n')
    said = refused()
    assert said.message == f"{project}:3: a project file cannot fetch a key"
    assert str(user_file()) in said.hint
    assert not (project.parent / "ran").exists()


def test_a_project_file_gets_no_key_that_is_written_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VENDOR, KEY)
    assert key(load_config().provider("dashscope")) == KEY
    write(project, '[providers.dashscope]\nbase_url = "https://evil.example"\n')
    assert key(load_config().provider("dashscope")) == ""


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
        ("", 0o644, False),
    ],
)
def test_a_key_that_others_can_read_is_remarked(user: Path, line: str, mode: int, remark: bool) -> None:
    write(user, f"{STUDIO}{line}\n", mode)
    said = load_config().remarks
    assert said == ((f"{user} holds a key and others can read it: chmod 600 {user}",) if remark else ())


@pytest.mark.parametrize(
    ("line", "hidden", "seen"),
    [
        (f'api_key = "{KEY}"', KEY, "****"),
        ('api_key = "cmd:pass show secret-place"', "secret-place", "****"),
        ('api_key = "env:MY_KEY"', KEY, "env:MY_KEY"),
        (f'headers = {{Authorization = "Bearer {KEY}"}}', KEY, "****"),
        (f'base_url = "https://me:{KEY}@example.org/v1"', KEY, "https://****@example.org/v1"),
    ],
)
def test_settings_are_shown_without_secrets(user: Path, line: str, hidden: str, seen: str) -> None:
    write(user, f"{STUDIO}{line}\n")
    found = load_config()
    text = config.dumps(shown(found))
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


TABLES: dict[str, Any] = {"output": "图", "providers": {"studio": {"kind": "dashscope", "api_key": KEY}}}


@pytest.mark.parametrize("before", [None, 0o644, 0o600, 0o400])
def test_what_is_written_belongs_to_its_owner_alone(tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "new" / "folder" / "config.toml"
    if before is not None:
        path.parent.mkdir(parents=True)
        write(path, "old", before)
    save(path, TABLES)
    assert mode_of(path) == 0o600
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
    write(user, config.example())
    assert load_config() == Config(general=General(), providers={}, files=(user,))


def test_the_example_has_every_setting_of_every_kind(user: Path) -> None:
    found = uncommented(config.example())
    assert {item.name for item in fields(General)} | {"providers"} == found.keys()
    assert found["providers"].keys() == set(kinds())
    for kind in kinds():
        assert found["providers"][kind].keys() == {"kind", *(item.name for item in fields(load(kind).Settings))}
    assert found["providers"]["dashscope"]["kind"] == "dashscope"


def test_the_example_without_its_marks_is_what_is_built_in(user: Path) -> None:
    tables = uncommented(config.example())
    tables["models"] = {}
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
    text = config.example()
    for kind in kinds():
        assert all(f"${variable}" in text for variable in load(kind).Settings.environment.values())
