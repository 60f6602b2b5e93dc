"""`config set`, `config unset` and `config edit`: change a settings file, and never leave one that cannot be read."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagegen_cli.commands.console import answers, say
from imagegen_cli.core.errors import ConfigError, NothingToDo, UsageError
from imagegen_cli.core.language import Message, parts_of, restored, translated
from imagegen_cli.core.system_errors import cause, in_full
from imagegen_cli.settings import paths
from imagegen_cli.settings.config import combined
from imagegen_cli.settings.edit import with_value, without_value
from imagegen_cli.settings.files import OTHERS, SettingsFile, holds_key, write
from imagegen_cli.settings.shared_history import check_history_settings
from imagegen_cli.settings.values import VARIABLES, Setting, is_open_key, place_of, setting_of, value_of

OWNER_ONLY = 0o600
EDITORS = ("notepad",) if os.name == "nt" else ("nano", "vi")
"""What edits where neither VISUAL nor EDITOR is set; the first that is there."""
NEW_FILE = Message("# Settings of imagegen: `imagegen providers KIND` lists those of a kind of service.\n")
OPEN_KEY = Message("a key on a command line stays in the history of the shell; nothing was written")
NAME_IT = Message("imagegen config set {key} env:VARIABLE or cmd:COMMAND names its place; imagegen init asks for it")
IS_SET = Message("{key} is set in {path}")
IS_UNSET = Message("{key} is no longer set in {path}")
NOT_SET = Message("{key} is not set in {path}")
SHOWS_ALL = Message("imagegen config show --origin shows what is set, and where")
GOES_BEFORE = Message("{variable} is set in the environment, and goes before it")
PROJECT_BEFORE = Message("{place} sets it as well, and goes before it")
STILL_WRONG = Message("the settings still cannot be used: {why}")
CLOSED = Message("only you can read {path} from now on, because it holds a key")
WRITTEN = Message("written: {path}")
UNCHANGED = Message("nothing was changed in {path}")
GOES_ON = Message("going on with what was typed before: {draft}")
KEPT = Message("what you typed is kept in {draft}")
EDIT_AGAIN = Message("imagegen config edit goes on with it")
ASK_AGAIN = Message("edit it again? [yes/no]")
NO_EDITOR = Message("there is no editor")
SET_EDITOR = Message("set EDITOR to the command of your editor, as EDITOR=nano imagegen config edit")
EDITOR_FAILED = Message("the editor {editor} failed: {why}")
MEANWHILE = Message("{path} was changed by something else while you edited it")
COMPARE = Message("compare it with {draft}, which has what you typed; then remove that file")


def config_set(key: str, text: str, *, project: bool) -> int:
    """Set one value in a settings file. Raises UsageError and ConfigError; then nothing is written."""
    path, file = _target(project=project)
    setting = setting_of(key, _providers(file))
    value = value_of(setting, text)
    if is_open_key(setting, value):
        raise UsageError(OPEN_KEY, hint=NAME_IT.format(key=key))
    if setting.path[0] in ("history", "history_password"):
        check_history_settings({setting.path[0]: value}, path)
    raw = with_value(file.raw if file else "", setting.path, value)
    _check(path, raw, file, project=project)
    _write(path, raw)
    say(IS_SET.format(key=key, path=path), path=str(path))
    _say_what_goes_before(setting, path)
    return 0


def config_unset(key: str, *, project: bool) -> int:
    """Remove one value, or a table of a provider, from a settings file. Raises UsageError, ConfigError, NothingToDo."""
    path, file = _target(project=project)
    names = _path_in(key, file)
    if file is None or not names:
        raise NothingToDo(NOT_SET.format(key=key, path=path), hint=SHOWS_ALL)
    raw = without_value(file.raw, names)
    if why := _fault(path, raw, project=project):
        if not _fault(path, file.raw, project=project):
            raise why
        say(STILL_WRONG.format(why=why.message))
    _write(path, raw)
    say(IS_UNSET.format(key=key, path=path), path=str(path))
    return 0


def _path_in(key: str, file: SettingsFile | None) -> tuple[str, ...]:
    """The names of a key that the file has: also of one that is no setting. A name may have dots itself."""

    def found(table: Any, rest: str) -> tuple[str, ...]:
        for name, inner in table.items() if isinstance(table, Mapping) else ():
            for written in (name, f'"{name}"'):
                if rest == written:
                    return (name,)
                if rest.startswith(f"{written}.") and (below := found(inner, rest[len(written) + 1 :])):
                    return (name, *below)
        return ()

    return found(file.data if file else {}, key)


def _target(*, project: bool) -> tuple[Path, SettingsFile | None]:
    """The file to be changed, which may not be there yet. Raises ConfigError where it cannot be read."""
    path = _path(project=project)
    return path, SettingsFile.read(path, trusted=not project)


def _path(*, project: bool) -> Path:
    """The file behind a link is written, not the link."""
    if project:
        return (paths.project_file() or paths.working_folder() / paths.PROJECT_FILE).resolve()
    return paths.user_file().resolve()


def _providers(file: SettingsFile | None) -> Mapping[str, Any]:
    """The tables of providers: of the file itself, and of the person's own."""
    user = SettingsFile.read(paths.user_file(), trusted=True)
    own = user.table("providers") if user else {}
    return {**own, **(file.table("providers") if file else {})}


def _check(path: Path, raw: str, before: SettingsFile | None, *, project: bool) -> None:
    """Raise ConfigError where the settings could not be used with this text, but could be without it."""
    why = _fault(path, raw, project=project)
    if why and not (before and _fault(path, before.raw, project=project)):
        raise why
    if why:
        say(STILL_WRONG.format(why=why.message))


def _fault(path: Path, raw: str, *, project: bool) -> ConfigError | None:
    """Why the settings could not be used if the file had this text; None where they could."""
    try:
        changed = SettingsFile.of(path, raw, trusted=not project)
        if project:
            combined(SettingsFile.read(paths.user_file(), trusted=True), changed)
        else:
            combined(changed, _project_beside(path))
            check_history_settings(changed.data, path)
    except ConfigError as error:
        return error
    return None


def _project_beside(path: Path) -> SettingsFile | None:
    """The project file that is in force beside the person's own."""
    try:
        found = paths.project_file()
        same = found is not None and path.exists() and found.samefile(path)
        return None if same else SettingsFile.read(found, trusted=False)
    except (ConfigError, UsageError, OSError):
        return None


def _write(path: Path, raw: str) -> None:
    """Write the file completely or not at all; one that holds a key is closed to other people."""
    mode = path.stat().st_mode & 0o7777 if path.exists() else OWNER_ONLY
    tables = SettingsFile.of(path, raw, trusted=True).table("providers")
    if mode & OTHERS and holds_key(tables):
        mode &= ~OTHERS
        say(CLOSED.format(path=path))
    write(path, raw, mode=mode)


def _say_what_goes_before(setting: Setting, path: Path) -> None:
    variable = VARIABLES.get(setting.path[0], "") if len(setting.path) == 1 else ""
    if variable and os.environ.get(variable):
        say(GOES_BEFORE.format(variable=variable))
    project = _project_beside(path)
    if project is not None and (place := place_of(setting.path, project)):
        say(PROJECT_BEFORE.format(place=place))


# The editor


def config_edit(*, project: bool) -> int:
    """Open a settings file in the person's editor, check what was typed, and write it. Raises ConfigError.

    A draft beside the file is edited, so that the file is always one that can be read. The draft is kept where it
    cannot be used.
    """
    path = _path(project=project)
    before = _text_of(path)
    begins = before or translated(NEW_FILE)
    draft = path.with_name(f"{path.name}.draft")
    if draft.is_symlink():  # not made by us: it would lead the editor to another file
        draft.unlink()
    if draft.exists():
        say(GOES_ON.format(draft=draft))
    else:
        write(draft, begins, mode=OWNER_ONLY)
    while True:
        _run_editor(draft, begins)
        typed = _text_of(draft)
        if typed == begins:
            draft.unlink()
            say(UNCHANGED.format(path=path))
            return 0
        fault = _fault(path, typed, project=project)
        if fault is None:
            break
        say(_about(draft, path, fault.message))
        if fault.hint:
            say(f"  {translated(fault.hint)}")
        if answers(ASK_AGAIN, ("yes", "no")) != "yes":
            raise ConfigError(KEPT.format(draft=draft), hint=EDIT_AGAIN)
    if _text_of(path) != before:
        raise ConfigError(MEANWHILE.format(path=path), hint=COMPARE.format(draft=draft))
    _write(path, typed)
    draft.unlink()
    say(WRITTEN.format(path=path), path=str(path))
    return 0


def _about(draft: Path, path: Path, text: str) -> str:
    """A message about a file as one about its draft."""

    def moved(value: str) -> str:
        return value.replace(str(path), str(draft))

    parts = parts_of(text)
    return restored(text, parts).mapped(moved) if parts else moved(text)


def _text_of(path: Path) -> str:
    """The text of a file, also of one that is no TOML; empty where there is none. Raises ConfigError."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        message = Message("{path} cannot be read: {why}").format(path=path, why=in_full(error))
        raise ConfigError(message) from error


def _run_editor(draft: Path, before: str) -> None:
    """Let the person's editor change the draft. Raises ConfigError; a draft that was not changed is removed."""
    words = _editor()
    try:
        code = subprocess.run([*words, str(draft)], check=False).returncode  # noqa: S603 - the person's own editor
        why: str = Message("exit {code}").format(code=code) if code else ""
    except OSError as error:
        why = cause(error) or type(error).__name__
    if not why:
        return
    message = EDITOR_FAILED.format(editor=words[0], why=why)
    if _text_of(draft) == before:
        draft.unlink()
        raise ConfigError(message, hint=SET_EDITOR)
    hint = Message("{message}; {hint}").format(message=KEPT.format(draft=draft), hint=EDIT_AGAIN)
    raise ConfigError(message, hint=hint)


def _editor() -> list[str]:
    """The command of the editor: VISUAL, EDITOR, or one that every system has. Raises ConfigError."""
    import shutil  # noqa: PLC0415 - only to edit

    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(named, posix=os.name != "nt")
    except ValueError:
        words = [named]
    found = words or [one for one in EDITORS if shutil.which(one)][:1]
    if not found:
        raise ConfigError(NO_EDITOR, hint=SET_EDITOR)
    return found
