"""`config set`, `unset`, `edit` and `show --origin`: what they write, what they refuse, and what they keep."""

import shlex
import stat
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.settings.edit import with_value, without_value
from tests.program import Ended, Program
from tests.screen import Program as TerminalProgram

ROOT = Path(__file__).parents[1]
STUDIO = """\
# mine
[providers.studio]  # the fast one
kind = "dreamina"
base_url = "http://127.0.0.1:9"  # here
poll = 2.5
"""


@pytest.mark.parametrize(
    ("text", "path", "value", "changed"),
    [
        ("", ("output",), "x", 'output = "x"\n'),
        ("# mine\n\n[models]\n", ("output",), "x", '# mine\n\noutput = "x"\n\n[models]\n'),
        ('output = "a" # why\nname = "b"\n', ("output",), "x", 'output = "x" # why\nname = "b"\n'),
        ("sheet = true", ("sheet",), False, "sheet = false"),
        ("sheet=true   # on\n", ("sheet",), False, "sheet=false   # on\n"),
        ("", ("models", "hero"), "a/b", '[models]\nhero = "a/b"\n'),
        ('[models]\na = "1"\n\n# end\n', ("models", "b"), "2", '[models]\na = "1"\nb = "2"\n\n# end\n'),
        ("[models] # short\n\n[budget]\n", ("models", "b"), "2", '[models] # short\nb = "2"\n\n[budget]\n'),
        ('models = { a = "1" } # in\n', ("models", "b"), "2", 'models = { a = "1", b = "2" } # in\n'),
        ('models.a = "1"\n', ("models", "b"), "2", 'models.a = "1"\nmodels.b = "2"\n'),
        ("x = 1", ("prices", "studio/4.0"), "1usd", 'x = 1\n\n[prices]\n"studio/4.0" = "1usd"\n'),
        (STUDIO, ("providers", "studio", "poll"), 3.0, STUDIO.replace("2.5", "3.0")),
        (STUDIO, ("providers", "studio", "model"), "4.0", f'{STUDIO}model = "4.0"\n'),
        (
            '[providers]\nold.kind = "fal"\n',
            ("providers", "old", "model"),
            "m",
            '[providers]\nold.kind = "fal"\nold.model = "m"\n',
        ),
        (
            '[providers.a.headers]\nX = "1"\n',
            ("providers", "a", "model"),
            "m",
            '[providers.a.headers]\nX = "1"\n\n[providers.a]\nmodel = "m"\n',
        ),
        ("a = 1\r\n", ("output",), "x", 'a = 1\r\noutput = "x"\r\n'),
        ("\ufeffa = 1\n", ("output",), "x", '\ufeffa = 1\noutput = "x"\n'),
    ],
)
def test_a_value_is_set_and_nothing_else_changes(text: str, path: tuple[str, ...], value: object, changed: str) -> None:
    assert with_value(text, path, value) == changed


@pytest.mark.parametrize(
    ("text", "path", "changed"),
    [
        ('# why\noutput = "a" # x\nname = "b"\n', ("output",), '# why\nname = "b"\n'),
        ('[models]\na = "1"\nb = "2"\n', ("models", "a"), '[models]\nb = "2"\n'),
        ('models = { a = "1", b = "2" }\n', ("models", "a"), 'models = { b = "2" }\n'),
        (f"{STUDIO}[models]\n", ("providers", "studio"), "# mine\n[models]\n"),
        ("list = [\n  1,\n]\nx = 1\n", ("list",), "x = 1\n"),
    ],
)
def test_a_value_is_removed_and_nothing_else_changes(text: str, path: tuple[str, ...], changed: str) -> None:
    assert without_value(text, path) == changed


def test_what_cannot_be_changed_alone_is_refused() -> None:
    with pytest.raises(ConfigError):
        with_value('models = "none"\n', ("models", "a"), "1")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path, STUDIO)


def text_of(program: Program) -> str:
    return (program.home / "config.toml").read_text()


@pytest.mark.parametrize(
    ("key", "value", "path", "wanted"),
    [
        ("output", "pictures", ("output",), "pictures"),
        ("sheet", "no", ("sheet",), False),
        ("confirm_above", "30", ("confirm_above",), 30),
        ("exec_timeout_s", "5", ("exec_timeout_s",), 5.0),
        ("models.hero", "studio/4.0", ("models", "hero"), "studio/4.0"),
        ('prices."studio/4.0"', "0.04usd", ("prices", "studio/4.0"), "0.04usd"),
        ("prices.studio/4.0", "0.04usd", ("prices", "studio/4.0"), "0.04usd"),
        ("budget.day", "10usd", ("budget", "day"), "10usd"),
        ("providers.studio.concurrency", "2", ("providers", "studio", "concurrency"), 2),
        ("providers.studio.api_key", "env:STUDIO_KEY", ("providers", "studio", "api_key"), "env:STUDIO_KEY"),
        ("providers.studio.headers.X-Team", "red", ("providers", "studio", "headers", "X-Team"), "red"),
        ("providers.fal.api_key", "cmd:pass fal", ("providers", "fal", "api_key"), "cmd:pass fal"),
        ("default_provider", "studio", ("default_provider",), "studio"),
    ],
)
def test_config_set(program: Program, key: str, value: str, path: tuple[str, ...], wanted: object) -> None:
    before = text_of(program)
    ended = program.run("config", "set", key, value)
    assert (ended.code, ended.out) == (0, ""), ended.err
    found = tomllib.loads(text_of(program))
    for name in path:
        found = found[name]
    assert found == wanted
    assert set(before.splitlines()) <= set(text_of(program).splitlines())
    assert stat.S_IMODE((program.home / "config.toml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "code", "says", "hint"),
    [
        (("outptu", "x"), 2, "there is no setting outptu", "did you mean output?"),
        (("pencil", "x"), 2, "there is no setting pencil", "known: "),
        (("models", "x"), 2, "models lacks a name", "models.hero"),
        (("providers", "x"), 2, "providers lacks the name of a setting", "providers.NAME.SETTING"),
        (("providers.stuido.model", "x"), 2, "there is no provider stuido", "did you mean studio?"),
        (("providers.studio.modle", "x"), 2, "there is no setting providers.studio.modle", "did you mean model?"),
        (("sheet", "maybe"), 2, "sheet takes true or false, not 'maybe'", "config"),
        (("confirm_above", "many"), 2, "confirm_above takes a whole number", "config"),
        (("providers.studio.api_key", "sk-123456789"), 2, "a key on a command line", "env:VARIABLE"),
        (("providers.studio.headers.Authorization", "Bearer x"), 2, "a key on a command line", "env:VARIABLE"),
        (("metadata", "embedd"), 3, "metadata", "did you mean embed?"),
        (("name", "{slugg}"), 3, "slugg", "did you mean slug?"),
        (("providers.studio.timeout", "-1"), 2, "", ""),
        (("providers.studio.poll", "nan"), 3, "poll", ""),
        (("providers.studio.kind", "dreamian"), 3, "dreamian", "did you mean dreamina?"),
    ],
)
def test_config_set_refuses_and_writes_nothing(
    program: Program, words: Sequence[str], code: int, says: str, hint: str
) -> None:
    before = text_of(program)
    ended = program.run("config", "set", *words)
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert says in ended.err
    assert hint in ended.err
    assert "sk-123456789" not in ended.err
    assert text_of(program) == before


def test_config_set_makes_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert program.run("config", "set", "output", "x").code == 0
    assert stat.S_IMODE((program.home / "config.toml").stat().st_mode) == 0o600
    assert [path.name for path in program.home.iterdir()] == ["config.toml"]


def test_config_set_in_the_project_says_what_a_project_may_not_set(program: Program) -> None:
    assert program.run("config", "set", "output", "pictures", "--project").code == 0
    assert (program.folder / "imagegen.toml").read_text() == 'output = "pictures"\n'
    refused = program.run("config", "set", "confirm_above", "5", "--project")
    assert refused.code == 3
    assert "a project file cannot set confirm_above" in refused.err
    outside = program.run("config", "set", "output", "/", "--project")
    assert outside.code == 3
    assert (program.folder / "imagegen.toml").read_text() == 'output = "pictures"\n'
    shadowed = program.run("config", "set", "output", "x", IMAGEGEN_OUTPUT="y")
    assert "IMAGEGEN_OUTPUT is set in the environment, and goes before it" in shadowed.err
    assert "imagegen.toml:1 sets it as well, and goes before it" in shadowed.err


def test_config_unset(program: Program) -> None:
    assert program.run("config", "unset", "providers.studio.poll").code == 0
    assert text_of(program) == STUDIO.replace("poll = 2.5\n", "")
    assert program.run("config", "unset", "providers.studio").code == 0
    assert text_of(program) == "# mine\n"
    missing = program.run("config", "unset", "output")
    assert missing.code == 4
    assert "output is not set" in missing.err


def test_config_unset_removes_what_is_no_setting(program: Program) -> None:
    program.configure("outptu = 1\n")
    assert program.run("config", "show").code == 3
    assert program.run("config", "unset", "outptu").code == 0
    assert program.run("config", "show").code == 0


def test_every_value_says_where_it_comes_from(program: Program) -> None:
    program.configure(f'name = "{{id}}"\n{STUDIO}\n[providers.fal]\nkind = "fal"\n[models]\nhero = "studio/4.0"\n')
    (program.folder / "imagegen.toml").write_text('output = "pictures"\n[models]\nhero = "sketch/3.0"\n')
    ended = program.run("config", "show", "--origin", IMAGEGEN_PROVIDER="studio", FAL_KEY="a-secret-key")
    assert (ended.code, ended.err) == (0, "")
    user, project = program.home / "config.toml", program.folder / "imagegen.toml"
    wanted = [
        'default_provider = "studio"  # $IMAGEGEN_PROVIDER',
        f'output = "pictures"  # {project}:1',
        f'name = "{{id}}"  # {user}:1',
        "sheet = true  # default",
        f'models.hero = "sketch/3.0"  # {project}:3',
        f'providers.studio.base_url = "http://127.0.0.1:9"  # {user}:5',
        f"providers.studio.poll = 2.5  # {user}:6",
        'providers.studio.model = "3.0"  # default',
        'providers.fal.api_key = ""  # $FAL_KEY',
    ]
    assert not [line for line in wanted if line not in ended.lines], ended.out
    assert "a-secret-key" not in ended.out
    tomllib.loads(ended.out)


# The editor


def editor(program: Program, script: str) -> str:
    """A command that changes the file as this line of Python does, with its text in `text`."""
    path = program.folder / "editor.py"
    path.write_text(
        f"import sys\npath = sys.argv[1]\ntext = open(path).read()\n{script}\nopen(path, 'w').write(text)\n"
    )
    return shlex.join([sys.executable, str(path)])


def edited(program: Program, script: str, **more: str) -> Ended:
    return program.run("config", "edit", EDITOR=editor(program, script), **more)


def draft(program: Program) -> Path:
    return program.home / "config.toml.draft"


def test_what_was_edited_is_checked_and_written(program: Program) -> None:
    ended = edited(program, "text = text.replace('2.5', '3.5')")
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert text_of(program) == STUDIO.replace("2.5", "3.5")
    assert not draft(program).exists()


def test_visual_goes_before_editor(program: Program) -> None:
    assert edited(program, "text += 'output = 1'", VISUAL="true").code == 0
    assert text_of(program) == STUDIO


def test_nothing_is_written_where_nothing_was_changed(program: Program) -> None:
    ended = edited(program, "")
    assert ended.code == 0
    assert "nothing was changed" in ended.err
    assert not draft(program).exists()


def test_what_cannot_be_used_is_kept_and_goes_on(program: Program) -> None:
    ended = edited(program, "text += 'outptu = 1\\n'")
    assert ended.code == 3
    assert "config.toml.draft:6: unknown key 'outptu'" in ended.err
    assert f"what you typed is kept in {draft(program)}" in ended.err
    assert text_of(program) == STUDIO
    again = edited(program, "text = text.replace('outptu = 1', 'model = \"4.0\"')")
    assert again.code == 0
    assert "going on with what was typed before" in again.err
    assert text_of(program) == f'{STUDIO}model = "4.0"\n'
    assert not draft(program).exists()


def test_a_file_that_is_no_toml_can_be_mended(program: Program) -> None:
    program.configure("output = [\n")
    assert edited(program, "text = 'output = \"x\"\\n'").code == 0
    assert text_of(program) == 'output = "x"\n'


def test_what_changed_meanwhile_is_not_overwritten(program: Program) -> None:
    other = f"open({str(program.home / 'config.toml')!r}, 'a').write('timeout = 5\\n')"
    ended = edited(program, f"{other}\ntext = text.replace('2.5', '3.5')")
    assert ended.code == 3
    assert "was changed by something else" in ended.err
    assert text_of(program) == f"{STUDIO}timeout = 5\n"
    assert "3.5" in draft(program).read_text()


@pytest.mark.parametrize(
    ("command", "says"), [("false", "exit 1"), ("/no/such/editor", "No such file"), ("'", "failed")]
)
def test_an_editor_that_fails_changes_nothing(program: Program, command: str, says: str) -> None:
    ended = program.run("config", "edit", EDITOR=command, VISUAL="")
    assert ended.code == 3
    assert says in ended.err
    assert text_of(program) == STUDIO
    assert not draft(program).exists()


def test_it_offers_to_edit_again_on_a_terminal(program: Program) -> None:
    script = "text = text.replace('outptu = 1', '') if 'outptu' in text else text + 'outptu = 1\\n'"
    environment = program.environment(EDITOR=editor(program, script), VISUAL="", PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "imagegen_cli", "config", "edit"]
    with TerminalProgram(command, cwd=program.folder, environ=environment) as screen:
        screen.wait_for("edit it again? [yes/no]")
        screen.press("yes\n")
        assert screen.finish() == 0
    assert text_of(program).strip() == STUDIO.strip()
