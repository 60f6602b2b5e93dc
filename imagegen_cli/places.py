"""Where the settings and the history are."""

import os
from pathlib import Path

PROJECT_FILE = "imagegen.toml"


def home() -> Path | None:
    """The folder that IMAGEGEN_HOME names, which holds everything then."""
    named = os.environ.get("IMAGEGEN_HOME")
    return Path(named).expanduser() if named else None


def user_file() -> Path:
    named = os.environ.get("IMAGEGEN_CONFIG")
    if named:
        return Path(named).expanduser()
    return (home() or _of_the_system("config")) / "config.toml"


def history_file() -> Path:
    return (home() or _of_the_system("state")) / "history.db"


def kept_folder() -> Path:
    """Where the bytes of a picture wait that its own folder could not take."""
    return history_file().with_name("pictures")


def _of_the_system(what: str) -> Path:
    """Where this system keeps a program's config or state."""
    import platformdirs  # noqa: PLC0415 - IMAGEGEN_HOME needs none of it

    find = {"config": platformdirs.user_config_path, "state": platformdirs.user_state_path}[what]
    return find("imagegen", appauthor=False)


def project_file(start: Path | None = None) -> Path | None:
    """The nearest imagegen.toml in the working directory or above."""
    folder = start or Path.cwd()
    found = (path for parent in (folder, *folder.parents) if (path := parent / PROJECT_FILE).is_file())
    return next(found, None)
