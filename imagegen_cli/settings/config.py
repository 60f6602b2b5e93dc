"""File, environment and flags into one frozen Config.

Flag before environment before project file before user file before what is built in. Flags and environment come as
Typer's options; this room reads the files. A project file may come with another person's folder, so it is trusted
less: it runs no command, an address in it never gets a key that is written elsewhere, it names no file and no folder
outside of the project, and it chooses no service that the person has not set up. A file that others can write does not
count at all.
"""

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from threading import Thread
from typing import IO, Any

from imagegen_cli.core import naming
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.masking import MASK, hide_header, hide_user, without_user
from imagegen_cli.core.provider import Provider, Settings
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.schema import REFERENCES, Secret, default_of, nearest, read_table, setting
from imagegen_cli.providers import kinds, known, load
from imagegen_cli.settings import addresses
from imagegen_cli.settings.paths import PROJECT_FILE, project_file, user_file

MOST_BYTES = 4 * 1024 * 1024
"""Of a file of settings; a person writes some KB."""
COMMAND_WAIT_S = 60.0
"""Seconds that a command has to print a key: it may ask the person for a password."""
MOST_KEY_BYTES = 64 * 1024
"""Of what such a command prints, without the blanks around it."""
MARGIN = 1024
"""Bytes for those blanks."""
OWN = "a project file cannot change {}, a provider of your own file"
OTHER_NAME = "give it another name"
NAME_OF_A_KIND = "a project file cannot lead {} elsewhere: the name of a kind stands for that service and its address"
UNCHOSEN = "{} {} chooses the service {}, which you have not set up yourself"
CHOOSE = "-p {0} chooses it for once; imagegen init sets it up for good"


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
    type: type[Provider[Any]]
    settings: Settings
    place: str


@dataclass(frozen=True, kw_only=True)
class Config:
    general: General
    providers: Mapping[str, Configured]
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = field(default=())
    unchosen: Mapping[str, str] = field(default_factory=dict)
    """What the project's default provider ("") and short names for models may not stand for, each with the reason."""
    project: Path | None = None
    """The folder of the project file, resolved."""

    @property
    def default(self) -> str:
        """The provider when none is named. Raises ConfigError where only a project file could mean it."""
        if "" in self.unchosen:
            raise ConfigError(self.unchosen[""], hint=CHOOSE.format(self.general.default_provider))
        return self.general.default_provider

    def model(self, name: str) -> str:
        """What a short name stands for; any other name as it is. Raises ConfigError as `default` does."""
        if name and name in self.unchosen:
            raise ConfigError(self.unchosen[name], hint=f"write the model out: -m {self.general.models[name]}")
        return self.general.models.get(name, name)

    @property
    def own(self) -> list[Configured]:
        """What may be asked without being named."""
        return [one for name, one in self.providers.items() if self.is_own(name)]

    def is_own(self, provider: str) -> bool:
        """Whether the person set it up, or it sends nothing anywhere."""
        found = self.providers.get(provider)
        if found is None:
            return known(provider) and load(provider).local
        return found.place != PROJECT_FILE or found.type.local

    def provider(self, name: str) -> Configured:
        """A configured provider, or a kind by its own name with all defaults. Raises UsageError."""
        if name in self.providers:
            return self.providers[name]
        if known(name):
            return _configured(name, name, {}, "built in", lambda key: key)
        raise UsageError(f"there is no provider {name!r}", hint=nearest(name, {*self.providers, *kinds()}))


def load_config() -> Config:
    """Read what there is. Raises ConfigError that names file, line and the nearest known key."""
    user = _File.read(user_file(), trusted=True)
    found_project, ignored = _project(user)
    project = _File.read(found_project, trusted=False)
    if user is None and os.environ.get("IMAGEGEN_CONFIG"):
        raise ConfigError(f"there is no file {user_file()}", hint="IMAGEGEN_CONFIG names it")
    found = [file for file in (user, project) if file is not None]
    values: dict[str, Any] = {}
    tables: dict[str, tuple[dict[str, Any], _File]] = {}
    for file in found:
        models = {**values.get("models", {}), **file.table("models")}
        general = read_table(General, file.general(), where="the settings", line_of=file.line_of(""))
        if not file.trusted and "output" in file.data:
            _inside(file, general.output, f"{file.line_of('')('output')}: output")
        values |= {key: getattr(general, key) for key in file.general()} | {"models": models}
        for name, table in file.table("providers").items():
            if not isinstance(table, dict):
                raise ConfigError(f"{file.line_of('providers')(name)}: [providers.{name}] must be a table")
            if name in tables:
                raise ConfigError(f"{file.line_of('providers')(name)}: {OWN.format(name)}", hint=OTHER_NAME)
            tables[name] = (table, file)
    providers = {name: _provider(name, table, file) for name, (table, file) in tables.items()}
    general = General(**values)
    try:
        naming.check_template(general.name)
    except UsageError as error:
        place = next((f"{file.line_of('')('name')}: " for file in reversed(found) if "name" in file.data), "")
        raise ConfigError(f"{place}name: {error.message}", hint=error.hint) from error
    config = Config(
        general=general,
        providers=providers,
        files=tuple(file.path for file in found),
        remarks=tuple(filter(None, (ignored, *(file.open_to_others() for file in found)))),
        project=project.folder if project else None,
    )
    return replace(config, unchosen=dict(_unchosen(config, project))) if project else config


def key_of(configured: Configured) -> Settings:
    """The settings with keys and headers in their places: from the text, the environment or a command.

    Raises ConfigError.
    """
    settings = configured.settings
    changed: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not isinstance(value, Secret):
            continue
        text = value.reveal()
        named = settings.variable_for(item.name)
        if not text and named and configured.place != PROJECT_FILE:
            text = os.environ.get(named, "").strip()
        changed[item.name] = _fetched(text, f"{item.name} of {configured.name}")
    headers = {name: _header(name, text, configured.name) for name, text in settings.headers.items()}
    return replace(settings, **changed, headers=headers)


def _header(name: str, text: str, provider: str) -> str:
    if text.startswith(REFERENCES):
        return _fetched(text, f"the header {name} of {provider}").reveal()
    hide_header(name, text)
    return text


def _fetched(text: str, what: str) -> Secret:
    """A secret from where its text says; any other text is the secret itself. Raises ConfigError."""
    if text.startswith("env:"):
        text = _from_environment(text[4:], what)
    elif text.startswith("cmd:"):
        text = _from_command(text[4:], what)
    secret = Secret(text)
    if not _sendable(secret.reveal()):
        raise ConfigError(f"{what} is more than one line, or not plain ASCII text")
    return secret


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
        "# Every line is optional; what stands here is the default. Written by python -m imagegen_cli.settings.config.",
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
        lines += [f"# {remark}" for remark in provider.Settings.remarks]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _File:
    path: Path
    text: str
    data: dict[str, Any]
    trusted: bool

    @property
    def folder(self) -> Path:
        return self.path.parent.resolve()

    @classmethod
    def read(cls, path: Path | None, *, trusted: bool) -> "_File | None":
        try:
            text = _text_of(path, trusted=trusted) if path else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
        except OSError as error:
            hint = "make it a file that you can read, or let IMAGEGEN_CONFIG name another"
            raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
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
        tables = [table for table in self.table("providers").values() if isinstance(table, dict)]
        tables += [headers for table in tables if isinstance(headers := table.get("headers"), dict)]
        literal = any(
            isinstance(value, str)
            and re.search("key|secret|token|password|authorization|cookie", key.lower())
            and not value.startswith(REFERENCES)
            for table in tables
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
    table = {key: value for key, value in table.items() if key != "kind"}
    if file.trusted:
        return _configured(name, kind, table, str(file.path), line_of)
    for key, value in table.items():
        if any(text.startswith(REFERENCES) for text in _texts_in(value)):
            hint = f"write it into your own file: {user_file()}"
            raise ConfigError(f"{line_of(key)}: a project file cannot fetch a key", hint=hint)
    return _of_a_project(_configured(name, kind, table, PROJECT_FILE, line_of), file, line_of)


def _of_a_project(one: Configured, file: _File, line_of: Callable[[str], str]) -> Configured:
    """With whatever names a file as a full path. Raises ConfigError for what a project file may not say."""
    if known(one.name) and (one.kind != one.name or _addresses(one.settings) != _addresses(one.type.Settings())):
        raise ConfigError(f"{line_of('base_url')}: {NAME_OF_A_KIND.format(one.name)}", hint=OTHER_NAME)
    files = {item.name: getattr(one.settings, item.name) for item in fields(one.settings) if item.metadata.get("file")}
    inside: dict[str, Any] = {
        key: str(_inside(file, text, f"{line_of(key)}: {key}")) for key, text in files.items() if text
    }
    return replace(one, settings=replace(one.settings, **inside))


def _texts_in(value: Any) -> Iterator[str]:
    """All texts of a value, however deep."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts_in(part)


def _addresses(settings: Settings) -> dict[str, str]:
    texts = {item.name: getattr(settings, item.name) for item in fields(settings)}
    return {name: text for name, text in texts.items() if isinstance(text, str) and "://" in text}


def _inside(file: _File, text: str, what: str) -> Path:
    """A path of a project file, wherever links lead. Raises ConfigError where that is outside of the project."""
    try:
        path = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{what} {text!r} cannot be read: {error}") from error
    if not path.is_relative_to(file.folder):
        hint = f"in a project file it lies in {file.folder}; your own file may name any other place"
        raise ConfigError(f"{what} {text!r} is outside of the project", hint=hint)
    return path


def _project(user: _File | None) -> tuple[Path | None, str]:
    """The project file that counts, or a remark about one that does not."""
    path = project_file()
    if path is None or (user is not None and path.samefile(user.path)):
        return None, ""
    why = _writable_by_strangers(path)
    return (None, f"{path} is ignored, because {why}") if why else (path, "")


def _writable_by_strangers(path: Path) -> str:
    """Why it may say what another user wants, with what to do; empty where only root and the person can write it."""
    if os.name == "nt":
        return ""
    for one in dict.fromkeys((path, path.resolve())):
        for place in (one, one.parent):
            found = place.lstat()
            if found.st_uid not in (0, os.geteuid()):
                return f"{place} belongs to another user: copy it into a folder of your own if you want its settings"
            if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWOTH:
                return f"everybody can write to {place}: chmod o-w {shlex.quote(str(place))}"
    return ""


def _unchosen(config: Config, project: _File) -> Iterator[tuple[str, str]]:
    """What of the project's choices would spend money or send prompts where the person never meant to."""
    default = config.general.default_provider
    meant = "default_provider" in project.data or default in config.providers
    if meant and not config.is_own(default) and (default in config.providers or known(default)):
        yield "", UNCHOSEN.format(f"{project.line_of('')('default_provider')}:", "default_provider", default)
    for short in project.table("models"):
        provider, slash, _ = config.general.models[short].partition("/")
        named = slash and (provider in config.providers or known(provider))
        if named and not config.is_own(provider):
            yield short, UNCHOSEN.format(f"{project.line_of('models')(short)}:", f"the short name {short}", provider)


def _text_of(path: Path, *, trusted: bool) -> str:
    """The person's own file may be a pipe, as a shell makes one of a command."""
    if trusted:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES)
    else:
        data = bytes_of(path, MOST_BYTES)
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def _configured(name: str, kind: str, table: dict[str, Any], place: str, line_of: Callable[[str], str]) -> Configured:
    provider = load(kind)
    if isinstance(table.get("base_url"), str):
        table = table | {"base_url": _address(name, table["base_url"], provider, line_of)}
    settings = read_table(provider.Settings, table, where=f"[providers.{name}]", line_of=line_of)
    fits = {"concurrency": settings.concurrency >= 0, "timeout": settings.timeout > 0, "poll": settings.poll >= 0}
    if key := next((key for key, right in fits.items() if not right), ""):  # nan is never right
        raise ConfigError(f"{line_of(key)}: {key} of {name} cannot be {getattr(settings, key)}")
    for address in _addresses(settings).values():
        hide_user(address)
    return Configured(name=name, kind=kind, type=provider, settings=settings, place=place)


def _address(name: str, text: str, provider: type[Provider[Any]], line_of: Callable[[str], str]) -> str:
    """The address as it will be used. Raises ConfigError that shows the mended form where it cannot be right."""
    own = default_of(next(item for item in fields(provider.Settings) if item.name == "base_url"))
    found, trouble = addresses.cleaned(text)
    if not found and own:
        trouble = f"is empty; leave the line out for {own}, or write the service's address"
    if trouble and (found or own):
        raise ConfigError(f"{line_of('base_url')}: base_url of {name} {trouble}")
    return found


def _sendable(key: str) -> bool:
    """Whether a header can carry it; what cannot be sent would be quoted in the error."""
    return key.isascii() and key.isprintable()


def _from_environment(variable: str, what: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{what} is to come from ${variable}, which is not set")
    return value


def _from_command(command: str, what: str) -> str:
    try:
        said = _said_by(shlex.split(command)).decode().strip()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        why = f"exit {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else type(error).__name__
        raise ConfigError(f"{what} is to come from a command, which failed ({why})") from None
    if len(said) > MOST_KEY_BYTES:
        raise ConfigError(f"{what} is to come from a command, which said more than {MOST_KEY_BYTES >> 10} KB")
    if not said:
        raise ConfigError(f"{what} is to come from a command, which said nothing")
    return said


def _said_by(words: list[str]) -> bytes:
    """What a command prints, at most a little more than a key may have. Raises what subprocess.run does.

    It is read by a thread, so that neither an endless answer nor a child of the command, which keeps the pipe open
    after its parent has ended, holds us for longer than COMMAND_WAIT_S.
    """
    said: list[bytes] = []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - the person's own file names it
    reader = Thread(target=_read, args=(process.stdout, said), daemon=True)
    reader.start()
    try:
        reader.join(COMMAND_WAIT_S)
        if not said:
            raise subprocess.TimeoutExpired(words, COMMAND_WAIT_S)
        if len(said[0]) < MOST_KEY_BYTES + MARGIN and (code := process.wait(COMMAND_WAIT_S)):
            raise subprocess.CalledProcessError(code, words)
    finally:
        process.kill()
        process.wait()
    return said[0]


def _read(pipe: IO[bytes], said: list[bytes]) -> None:
    with pipe:
        said.append(pipe.read(MOST_KEY_BYTES + MARGIN))


def _plain(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, Secret):
            text = value.reveal()
            found[item.name] = _hidden(text)
        elif item.name == "headers":
            found[item.name] = {name: _hidden(text) for name, text in value.items()}
        elif isinstance(value, str) and "://" in value:
            found[item.name] = without_user(value)
        else:
            found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def _hidden(text: str) -> str:
    """A secret as it may be seen: only where it is taken from, and only if that is a variable."""
    return text if text.startswith("env:") or not text else MASK


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
    print(example(), end="")  # noqa: T201 - python -m imagegen_cli.settings.config > config.example.toml
