"""Reads a settings file, finds the lines of its keys, and writes a file completely or not at all."""

import errno
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.schema import REFERENCES
from imagegen_cli.core.system_errors import cause

BYTE_ORDER_MARK = "\ufeff"
OTHERS = 0o077
"""The permissions of everyone but the owner."""
MAX_BYTES = 4 * 1024 * 1024
"""The largest settings file that is read; a person writes some KB."""


@dataclass(frozen=True)
class SettingsFile:
    """`raw` is the text as it is in the file; `text` has newlines as line ends and no byte order mark."""

    path: Path
    raw: str
    text: str
    data: dict[str, Any]
    trusted: bool

    @classmethod
    def read(cls, path: Path | None, *, trusted: bool) -> "SettingsFile | None":
        """The file, or None where there is none. Raises ConfigError where it cannot be read."""
        try:
            raw = _bytes_of(path, trusted=trusted).decode() if path else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            message = Message("{path} is not UTF-8 text").format(path=path)
            raise ConfigError(message, hint=Message("save it as UTF-8")) from error
        except OSError as error:
            hint = Message("make it a file that you can read, or let IMAGEGEN_CONFIG name another")
            message = Message("{path} cannot be read: {why}").format(path=path, why=cause(error))
            raise ConfigError(message, hint=hint) from error
        return None if path is None or raw is None else cls.of(path, raw, trusted=trusted)

    @classmethod
    def of(cls, path: Path, raw: str, *, trusted: bool) -> "SettingsFile":
        """The file as it is with this text. Raises ConfigError where that is no TOML."""
        import tomllib  # noqa: PLC0415 - only if there is a file

        text = raw.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")
        try:
            return cls(path, raw, text, tomllib.loads(text), trusted)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}", hint=Message("see config.example.toml for the form")) from error

    @property
    def folder(self) -> Path:
        return self.path.parent.resolve()

    def general(self) -> dict[str, Any]:
        """The keys outside of the providers' tables."""
        return {key: value for key, value in self.data.items() if key != "providers"}

    def table(self, name: str) -> dict[str, Any]:
        """The table of this name, empty where there is none. Raises ConfigError where it is no table."""
        value = self.data.get(name, {})
        if not isinstance(value, dict):
            message = Message("{place}: {name} must be a table").format(place=self.line_of("")(name), name=name)
            raise ConfigError(message)
        return value

    def line_of(self, table: str) -> Callable[[str], str]:
        """A function that tells where a key of `table` is, as "file:line": tomllib does not tell."""

        def line_of(key: str) -> str:
            here, wanted = "", re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""")
            for number, line in enumerate(self.text.splitlines(), 1):
                if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
                    here = re.sub(r"""["'\s]""", "", header[1])
                    if here == f"{table}.{key}".lstrip("."):
                        return f"{self.path}:{number}"
                elif here == table and wanted.match(line):
                    return f"{self.path}:{number}"
            return str(self.path)

        return line_of

    def open_to_others(self) -> str:
        """A remark if the file contains a key and other users can read it; else empty."""
        if os.name == "nt" or not holds_key(self.table("providers")) or not self.path.stat().st_mode & OTHERS:
            return ""
        remark = Message("{path} contains a key and other users can read it: {command}")
        return remark.format(path=self.path, command=f"chmod 600 {shlex.quote(str(self.path))}")


def holds_key(providers: Mapping[str, Any]) -> bool:
    """Whether one of these tables has a key as its text, and not only the name of a variable or a command."""
    tables = [table for table in providers.values() if isinstance(table, dict)]
    tables += [headers for table in tables if isinstance(headers := table.get("headers"), dict)]
    return any(
        isinstance(value, str)
        and re.search("key|secret|token|password|authorization|cookie", key.lower())
        and not value.startswith(REFERENCES)
        for table in tables
        for key, value in table.items()
    )


def write(path: Path, text: str, *, mode: int) -> None:
    """Write a settings file completely or not at all, with these permissions. Raises ConfigError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)
        beside.replace(path)
    except OSError as error:
        message = Message("{path} cannot be written: {why}").format(path=path, why=cause(error))
        raise ConfigError(message) from error


def _bytes_of(path: Path, *, trusted: bool) -> bytes:
    """The content of a file. The user's own file may be a pipe, such as a process substitution. Raises OSError."""
    if not trusted:
        return bytes_of(path, MAX_BYTES)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, Message("it is larger than {limit} MB").format(limit=MAX_BYTES >> 20))
    return data
