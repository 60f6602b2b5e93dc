"""File, environment and flags into one frozen Config.

Flag before environment before project file before user file before what is built in. Flags and environment come as
Typer's options; this room reads the files. A project file may come with somebody else's folder, so it is trusted
less: it runs no command, and an address in it never gets a key that is written elsewhere.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imagegen_cli import naming
from imagegen_cli.errors import ConfigError, UsageError
from imagegen_cli.places import PROJECT_FILE, project_file, user_file
from imagegen_cli.providers import kinds, known, load
from imagegen_cli.providers.base import Provider, Settings
from imagegen_cli.tables import Secret, default_of, nearest, read_table, setting


@dataclass(frozen=True, kw_only=True)
class General:
    """The settings outside of any table."""

    default_provider: str = setting("sketch", "provider when --provider is not given: a name below, or a kind")
    output: str = setting("images", "folder for the pictures, from the working directory")
    name: str = setting(naming.DEFAULT, f"file name; fields: {' '.join('{' + name + '}' for name in naming.FIELDS)}")
    models: Mapping[str, str] = setting({}, 'short names for models: hero = "studio/4.0"')


@dataclass(frozen=True, kw_only=True)
class Configured:
    """One provider as the person set it up."""

    name: str
    kind: str
    type: type[Provider]
    settings: Settings
    place: str


@dataclass(frozen=True, kw_only=True)
class Config:
    general: General
    providers: Mapping[str, Configured]
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = field(default=())

    def provider(self, name: str) -> Configured:
        """A configured provider, or a kind by its own name with all defaults. Raises UsageError."""
        if name in self.providers:
            return self.providers[name]
        if known(name):
            return _configured(name, name, {}, "built in", lambda key: key)
        raise UsageError(f"there is no provider {name!r}", hint=nearest(name, {*self.providers, *kinds()}))


def load_config() -> Config:
    """Read what there is. Raises ConfigError that names file, line and the nearest known key."""
    user, project = _File.read(user_file(), trusted=True), _File.read(project_file(), trusted=False)
    if user is None and os.environ.get("IMAGEGEN_CONFIG"):
        raise ConfigError(f"there is no file {user_file()}", hint="IMAGEGEN_CONFIG names it")
    found = [file for file in (user, project) if file is not None]
    values: dict[str, Any] = {}
    tables: dict[str, tuple[dict[str, Any], _File]] = {}
    for file in found:
        models = {**values.get("models", {}), **file.table("models")}
        general = read_table(General, file.general(), where="the settings", line_of=file.line_of(""))
        values |= {key: getattr(general, key) for key in file.general()} | {"models": models}
        for name, table in file.table("providers").items():
            if not isinstance(table, dict):
                raise ConfigError(f"{file.line_of('providers')(name)}: [providers.{name}] must be a table")
            tables[name] = (table, file)
    providers = {name: _provider(name, table, file) for name, (table, file) in tables.items()}
    general = General(**values)
    try:
        naming.check_template(general.name)
    except UsageError as error:
        place = next((f"{file.line_of('')('name')}: " for file in reversed(found) if "name" in file.data), "")
        raise ConfigError(f"{place}name: {error.message}", hint=error.hint) from error
    remarks = tuple(remark for file in found if (remark := file.open_to_others()))
    return Config(general=general, providers=providers, files=tuple(file.path for file in found), remarks=remarks)


def key_of(configured: Configured) -> Settings:
    """The settings with the key in its place: from the text, the environment or a command. Raises ConfigError."""
    settings = configured.settings
    changed: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not isinstance(value, Secret):
            continue
        text = value.reveal()
        named = settings.variable_for(item.name)
        if text.startswith("env:"):
            changed[item.name] = Secret(_from_environment(text[4:], configured, item.name))
        elif text.startswith("cmd:"):
            changed[item.name] = Secret(_from_command(text[4:], configured, item.name))
        elif not text and named and configured.place != PROJECT_FILE:
            changed[item.name] = Secret(os.environ.get(named, "").strip())
        if not _sendable(changed.get(item.name, value).reveal()):
            raise ConfigError(f"{item.name} of {configured.name} is more than one line, or not plain ASCII text")
    return replace(settings, **changed)


def save(path: Path, tables: Mapping[str, Any]) -> None:
    """Write a configuration that only its owner can read, whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(dumps(tables).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def dumps(tables: Mapping[str, Any], *, indent: int = 4) -> str:
    """Tables as the text of a configuration."""
    import tomli_w  # noqa: PLC0415 - few commands write

    return tomli_w.dumps(tables, indent=indent)


def shown(config: Config) -> dict[str, Any]:
    """Everything in force, as tables, with secrets hidden."""
    general = {item.name: getattr(config.general, item.name) for item in fields(config.general)}
    providers = {name: {"kind": one.kind} | _plain(one.settings) for name, one in config.providers.items()}
    return general | {"providers": providers}


def example() -> str:
    """The text of config.example.toml: every setting of every kind, with its default and its meaning."""
    lines = [
        "# Settings of imagegen. The place of this file: imagegen config path",
        "# Every line is optional; what stands here is the default. Written by python -m imagegen_cli.config.",
        "",
    ]
    plain = [item for item in fields(General) if item.name != "models"]
    lines += [_declared(item.name, default_of(item), item.metadata["doc"]) for item in plain]
    lines += ["", "# Short names for models. -m hero means this model on this provider.", "[models]"]
    lines += ['# hero = "studio/4.0"']
    for kind in kinds():
        provider = load(kind)
        lines += ["", f"# {provider.title}", f"# [providers.{kind}]", f'# kind = "{kind}"']
        for item in fields(provider.Settings):
            lines.append(f"# {_setting_line(item)}")
        lines += [f"# {name} is also read from ${variable}" for name, variable in provider.Settings.environment.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _File:
    path: Path
    text: str
    data: dict[str, Any]
    trusted: bool

    @classmethod
    def read(cls, path: Path | None, *, trusted: bool) -> "_File | None":
        try:
            text = path.read_text(encoding="utf-8-sig") if path else None
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        if path is None or text is None:
            return None
        import tomllib  # noqa: PLC0415 - only where there is a file

        try:
            return cls(path, text, tomllib.loads(text), trusted)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}", hint="see config.example.toml for the form") from error

    def general(self) -> dict[str, Any]:
        return {key: value for key, value in self.data.items() if key != "providers"}

    def table(self, name: str) -> dict[str, Any]:
        value = self.data.get(name, {})
        if not isinstance(value, dict):
            raise ConfigError(f"{self.line_of('')(name)}: {name} must be a table")
        return value

    def line_of(self, table: str) -> Callable[[str], str]:
        """Where a key of `table` stands: tomllib does not tell."""

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
        """A remark where a key stands in a file that others can read."""
        literal = any(
            isinstance(value, str)
            and re.search("key|secret|token|password", key)
            and not value.startswith(("env:", "cmd:"))
            for table in self.table("providers").values()
            if isinstance(table, dict)
            for key, value in table.items()
        )
        if os.name == "nt" or not literal or not self.path.stat().st_mode & 0o077:
            return ""
        return f"{self.path} holds a key and others can read it: chmod 600 {shlex.quote(str(self.path))}"


def _provider(name: str, table: dict[str, Any], file: _File) -> Configured:
    line_of = file.line_of(f"providers.{name}")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"{line_of('kind')}: {name!r} is no name for a provider: use letters, digits, - and _")
    kind = table.get("kind", name)
    if not isinstance(kind, str) or not known(kind):
        raise ConfigError(f"{line_of('kind')}: there is no kind of provider {kind!r}", hint=nearest(str(kind), kinds()))
    if not file.trusted:
        for key, value in table.items():
            if isinstance(value, str) and value.startswith(("cmd:", "env:")):
                hint = f"write it into your own file: {user_file()}"
                raise ConfigError(f"{line_of(key)}: a project file cannot fetch a key", hint=hint)
    place = str(file.path) if file.trusted else PROJECT_FILE
    return _configured(name, kind, {key: value for key, value in table.items() if key != "kind"}, place, line_of)


def _configured(name: str, kind: str, table: dict[str, Any], place: str, line_of: Callable[[str], str]) -> Configured:
    provider = load(kind)
    settings = read_table(provider.Settings, table, where=f"[providers.{name}]", line_of=line_of)
    fits = {"concurrency": settings.concurrency >= 0, "timeout": settings.timeout > 0, "poll": settings.poll >= 0}
    if key := next((key for key, right in fits.items() if not right), ""):  # nan is never right
        raise ConfigError(f"{line_of(key)}: {key} of {name} cannot be {getattr(settings, key)}")
    if settings.base_url and not re.match(r"https?://[^/\s]+", settings.base_url):
        raise ConfigError(f"{line_of('base_url')}: base_url of {name} must begin with http:// or https://")
    return Configured(name=name, kind=kind, type=provider, settings=settings, place=place)


def _sendable(key: str) -> bool:
    """Whether a header can carry it; what cannot be sent would be quoted in the error."""
    return key.isascii() and key.isprintable()


def _from_environment(variable: str, configured: Configured, key: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{key} of {configured.name} is to come from ${variable}, which is not set")
    return value


def _from_command(command: str, configured: Configured, key: str) -> str:
    try:
        said = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - the person's own file names it
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        why = f"exit {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else type(error).__name__
        raise ConfigError(f"{key} of {configured.name} is to come from a command, which failed ({why})") from None
    if not said.stdout.strip():
        raise ConfigError(f"{key} of {configured.name} is to come from a command, which said nothing")
    return said.stdout.strip()


def _plain(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, Secret):
            text = value.reveal()
            found[item.name] = text if text.startswith("env:") else str(value).strip("'")
        elif item.name == "headers":
            found[item.name] = dict.fromkeys(value, "****")
        elif item.name == "base_url":
            found[item.name] = without_user(value)
        else:
            found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def without_user(url: str) -> str:
    """An address without a name and a password in it."""
    return re.sub(r"(?<=//)[^/?#]*@|^[^/?#]*@", "****@", url)


def _setting_line(item: Field[Any]) -> str:
    """With its default; where that differs from machine to machine, with the common one and the truth in words."""
    shown, doc = item.metadata["shown"], item.metadata["doc"]
    if shown:
        common = next(one for one in fields(Settings) if one.name == item.name)
        return _declared(item.name, default_of(common), f"{doc}; without this line {shown}")
    return _declared(item.name, default_of(item), doc)


def _declared(name: str, default: Any, doc: str) -> str:
    if isinstance(default, Secret):
        default = ""
    value = "{}" if isinstance(default, dict) else dumps({name: default}, indent=0).partition(" = ")[2].strip()
    return f"{name} = {' '.join(value.split())}  # {doc}"


if __name__ == "__main__":
    print(example(), end="")  # noqa: T201 - python -m imagegen_cli.config > config.example.toml
