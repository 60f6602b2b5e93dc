"""Finds the settings files and the history."""

import os
import sys
from pathlib import Path

from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.language import Message

PROJECT_FILE = "imagegen.toml"


def home() -> Path | None:
    """The folder that IMAGEGEN_HOME names; then it contains the settings and the history."""
    named = os.environ.get("IMAGEGEN_HOME")
    return expanded(named) if named else None


def user_file() -> Path:
    named = os.environ.get("IMAGEGEN_CONFIG")
    if named:
        return expanded(named)
    return (home() or _of_the_system("config")) / "config.toml"


def history_file() -> Path:
    return (home() or _of_the_system("state")) / "history.db"


def kept_folder() -> Path:
    """The folder for pictures that could not be written into their own folder."""
    return history_file().with_name("pictures")


def cache_folder() -> Path:
    """The folder for what can be made again at any time."""
    own = home()
    return own / "cache" if own else _of_the_system("cache")


def piped_folder() -> Path:
    """The folder for pictures that were written to stdout."""
    return history_file().with_name("piped")


def expanded(path: str | Path) -> Path:
    """The path with ~ replaced by the home folder. Raises ConfigError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        message = Message("{path} cannot be found: there is no home folder here").format(path=path)
        raise ConfigError(message, hint=Message("set HOME")) from error


def working_folder() -> Path:
    """The working directory. Raises UsageError where it was deleted, or its path is too long for files in it."""
    try:
        folder = Path.cwd()
        os.stat(folder)  # noqa: PTH116 - a path that is too long for the system fails here and not later
    except OSError as error:
        from imagegen_cli.core.system_errors import cause  # noqa: PLC0415 - only where something is wrong

        message = Message("the working directory cannot be used: {why}").format(why=cause(error))
        raise UsageError(message, hint=Message("go to a folder that is there: cd")) from error
    return folder


def _of_the_system(what: str) -> Path:
    """The folder of this system for config, state or cache. Raises ConfigError where there is no home folder."""
    import platformdirs  # noqa: PLC0415 - IMAGEGEN_HOME needs none of it

    places = {
        "config": platformdirs.user_config_path,
        "state": platformdirs.user_state_path,
        "cache": platformdirs.user_cache_path,
    }
    find = places[what]
    variable = f"XDG_{what.upper()}_HOME"
    hint = Message("set HOME, or set IMAGEGEN_HOME to a folder of your own")
    if os.environ.get("HOME") == "" and not os.environ.get(variable) and sys.platform != "win32":
        raise ConfigError(Message("HOME is empty, so there is no place for settings and history"), hint=hint)
    try:
        found = find("imagegen", appauthor=False)
    except RuntimeError as error:
        message = Message("there is no home folder here, so there is no place for settings")
        raise ConfigError(message, hint=hint) from error
    if not found.is_absolute():
        named = os.environ.get(variable)
        if not named:
            message = Message("there is no home folder here, so there is no place for settings and history")
            raise ConfigError(message, hint=hint)
        message = Message(
            "{variable} is {folder}, which is no absolute path, so there is no place for settings and history"
        )
        raise ConfigError(message.format(variable=variable, folder=named), hint=hint)
    return found


def project_file(start: Path | None = None) -> Path | None:
    """The nearest imagegen.toml in the working directory or above. Raises UsageError where that directory is gone."""
    folder = start or working_folder()
    found = (path for parent in (folder, *folder.parents) if _is_file(path := parent / PROJECT_FILE))
    return next(found, None)


def is_there(path: Path) -> bool:
    """Whether the path exists; False also in a folder without permission."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    """Whether the path is a file; False also in a folder without permission."""
    try:
        return path.is_file()
    except OSError:
        return False
