"""Combines the settings files into one frozen Config.

An option takes precedence over the environment, then the project file, the user's file and the built-in defaults.
Options and environment come from the command line; this module reads the files. A project file may come with another
person's folder, so it is trusted less: it runs no command, an address in it never gets a key from another file, it
names no file and no folder outside of the project, and it chooses no service that the person has not set up. A file
that other users can write is ignored.
"""

import errno
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imagegen_cli.core import naming
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.language import language_named
from imagegen_cli.core.masking import hide_user
from imagegen_cli.core.provider import Provider, Settings
from imagegen_cli.core.schema import REFERENCES, default_of, nearest, read_table, setting
from imagegen_cli.providers import kinds, known, load
from imagegen_cli.settings import addresses
from imagegen_cli.settings.files import SettingsFile
from imagegen_cli.settings.paths import PROJECT_FILE, project_file, user_file

OWN = "a project file cannot change {}, which is a provider of your own file"
OTHER_NAME = "give it another name"
NAME_OF_A_KIND = "a project file cannot redirect {}: the name of a kind means that service and its own address"
UNCHOSEN = "{} {} chooses the service {}, which you have not set up yourself"
CHOOSE = "-p {0} chooses it for one command; imagegen init sets it up permanently"


@dataclass(frozen=True, kw_only=True)
class General:
    """The settings outside of any table."""

    default_provider: str = setting("sketch", "provider when --provider is not given: a name below, or a kind")
    lang: str = setting("", "language of all text: en or zh; empty: that of the locale")
    output: str = setting("images", "folder for the pictures, from the working directory")
    name: str = setting(naming.DEFAULT, f"file name; fields: {' '.join('{' + name + '}' for name in naming.FIELDS)}")
    sheet: bool = setting(True, "draw a sheet of all pictures after a comparison, such as -m 3.0 -m 4.0")  # noqa: FBT003
    models: Mapping[str, str] = setting({}, 'short names for models: hero = "studio/4.0"')
    metadata: str = setting(
        "embed",
        "what says how a picture was made: embed, its file, or NAME.json beside a file that must stay as it came;"
        " sidecar, always NAME.json; none, only the history",
    )
    confirm_above: int = setting(
        0, "ask before more tasks than this are sent; 0: above 20 on a terminal, never off one (--yes answers)"
    )
    confirm_cost: str = setting("", "ask before more than this is spent at once, as 2usd or 2usd,50credits")
    exec_timeout_s: float = setting(60.0, "seconds that the command of --exec may take for a picture")
    history: str = setting(
        "", 'history that a team shares, as "postgresql://user@host/database"; empty: a file of yours (docs/team.md)'
    )
    history_password: str = setting(
        "", 'password of that database: "env:NAME" or "cmd:COMMAND"; PGPASSWORD and ~/.pgpass serve too'
    )
    prices: Mapping[str, str] = setting({}, 'prices of a picture: "studio/4.0" = "0.04usd"; "studio/*" for the rest')
    budget: Mapping[str, str] = setting({}, 'limits that hold over all processes: day = "10usd", month = "100usd"')


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A provider with its settings. `place` is the file that sets it up, PROJECT_FILE, or "built in"."""

    name: str
    kind: str
    type: type[Provider[Any]]
    settings: Settings
    place: str

    @property
    def is_local(self) -> bool:
        return is_local(self.type, self.settings)


@dataclass(frozen=True, kw_only=True)
class Config:
    general: General
    providers: Mapping[str, Configured]
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = field(default=())
    unchosen: Mapping[str, str] = field(default_factory=dict)
    """Short names for models, and "" for the default provider, that a project file may not choose, and why."""
    project: Path | None = None
    """The folder of the project file, resolved."""

    @property
    def default(self) -> str:
        """The provider where none is named. Raises ConfigError where a project file alone chose it."""
        if "" in self.unchosen:
            raise ConfigError(self.unchosen[""], hint=CHOOSE.format(self.general.default_provider))
        return self.general.default_provider

    def model(self, name: str) -> str:
        """The model for a short name, or the name itself. Raises ConfigError where only a project file chose it."""
        if name and name in self.unchosen:
            raise ConfigError(self.unchosen[name], hint=f"write the model out: -m {self.general.models[name]}")
        return self.general.models.get(name, name)

    @property
    def own(self) -> list[Configured]:
        """The providers that commands may ask without being told to."""
        return [one for name, one in self.providers.items() if self.is_own(name)]

    def is_own(self, provider: str) -> bool:
        """Whether the person set the provider up, or it sends nothing over the network."""
        found = self.providers.get(provider)
        if found is None:
            return known(provider) and load(provider).local
        return found.place != PROJECT_FILE or found.type.local

    def provider(self, name: str) -> Configured:
        """A configured provider, or a kind by its own name with all defaults. Raises UsageError."""
        if name in self.providers:
            return self.providers[name]
        if known(name):
            return configured(name, name, {}, "built in", lambda key: key)
        raise UsageError(f"there is no provider {name!r}", hint=nearest(name, {*self.providers, *kinds()}))


def is_local(kind: type[Provider[Any]], settings: Settings) -> bool:
    """Whether a provider sends nothing over the network: there is no address, no account and no key."""
    return kind.local or not settings.base_url


METADATA = ("embed", "sidecar", "none")
"""Values of `metadata`."""
OWN_ONLY = ("lang", "prices", "confirm_above", "confirm_cost", "history", "history_password")
"""What another person's folder must not decide: it could make anything look cheap, or learn of every prompt."""


def _check_untrusted(file: SettingsFile, general: General) -> None:
    """Raise ConfigError where a project file names a folder outside of the project, or says what only a person may."""
    if "output" in file.data:
        _inside(file, general.output, f"{file.line_of('')('output')}: output")
    for key in OWN_ONLY:
        if key in file.data:
            hint = f"write it into your own file: {user_file()}"
            raise ConfigError(f"{file.line_of('')(key)}: a project file cannot set {key}", hint=hint)


def _both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Budgets of two files hold both."""
    names = dict.fromkeys((*first, *second))
    return {name: ",".join(filter(None, (first.get(name, ""), second.get(name, "")))) for name in names}


def load_config() -> Config:
    """Read the settings files. Raises ConfigError that names file, line and the nearest known key."""
    user, project, ignored = settings_files()
    if user is None and os.environ.get("IMAGEGEN_CONFIG"):
        raise ConfigError(f"there is no file {user_file()}", hint="IMAGEGEN_CONFIG names it")
    return combined(user, project, ignored)


def settings_files() -> tuple[SettingsFile | None, SettingsFile | None, str]:
    """The person's file, the project's file, and a remark about a project file that is ignored. Raises ConfigError."""
    user = SettingsFile.read(user_file(), trusted=True)
    found_project, ignored = _project(user)
    return user, SettingsFile.read(found_project, trusted=False), ignored


def combined(user: SettingsFile | None, project: SettingsFile | None, ignored: str = "") -> Config:
    """The settings of these files. Raises ConfigError that names file, line and the nearest known key."""
    found = [file for file in (user, project) if file is not None]
    values: dict[str, Any] = {}
    tables: dict[str, tuple[dict[str, Any], SettingsFile]] = {}
    for file in found:
        models = {**values.get("models", {}), **file.table("models")}
        general = read_table(General, file.general(), where="the settings", line_of=file.line_of(""))
        if general.metadata not in METADATA:
            raise ConfigError(
                f"{file.line_of('')('metadata')}: metadata: there is no {general.metadata!r}",
                hint=nearest(general.metadata, METADATA),
            )
        if general.lang and not language_named(general.lang):
            raise ConfigError(f"{file.line_of('')('lang')}: lang: there is no {general.lang!r}", hint="known: en, zh")
        if not file.trusted:
            _check_untrusted(file, general)
        budget = _both(values.get("budget", {}), file.table("budget"))
        values |= {key: getattr(general, key) for key in file.general()} | {"models": models, "budget": budget}
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


def _provider(name: str, table: dict[str, Any], file: SettingsFile) -> Configured:
    line_of = file.line_of(f"providers.{name}")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"{line_of('kind')}: {name!r} is no name for a provider: use letters, digits, - and _")
    kind = table.get("kind", name)
    if not isinstance(kind, str) or not known(kind):
        raise ConfigError(f"{line_of('kind')}: there is no kind of provider {kind!r}", hint=nearest(str(kind), kinds()))
    table = {key: value for key, value in table.items() if key != "kind"}
    if file.trusted:
        return configured(name, kind, table, str(file.path), line_of)
    for key, value in table.items():
        if any(text.startswith(REFERENCES) for text in _texts_in(value)):
            hint = f"write it into your own file: {user_file()}"
            raise ConfigError(f"{line_of(key)}: a project file cannot fetch a key", hint=hint)
    return _of_a_project(configured(name, kind, table, PROJECT_FILE, line_of), file, line_of)


def _of_a_project(one: Configured, file: SettingsFile, line_of: Callable[[str], str]) -> Configured:
    """A project's provider with full paths. Raises ConfigError for settings that a project file may not have."""
    if known(one.name) and (one.kind != one.name or _addresses(one.settings) != _addresses(one.type.Settings())):
        raise ConfigError(f"{line_of('base_url')}: {NAME_OF_A_KIND.format(one.name)}", hint=OTHER_NAME)
    files = {item.name: getattr(one.settings, item.name) for item in fields(one.settings) if item.metadata.get("file")}
    inside: dict[str, Any] = {
        key: str(_inside(file, text, f"{line_of(key)}: {key}")) for key, text in files.items() if text
    }
    return replace(one, settings=replace(one.settings, **inside))


def _texts_in(value: Any) -> Iterator[str]:
    """All texts inside of a value."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts_in(part)


def _addresses(settings: Settings) -> dict[str, str]:
    texts = {item.name: getattr(settings, item.name) for item in fields(settings)}
    return {name: text for name, text in texts.items() if isinstance(text, str) and "://" in text}


def _inside(file: SettingsFile, text: str, what: str) -> Path:
    """A path of a project file, with links resolved. Raises ConfigError where it is outside of the project."""
    try:
        path = Path(text).expanduser().resolve()
        if any(place.is_symlink() for place in (path, *path.parents)):  # from Python 3.13 on, `resolve` takes a circle
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))  # noqa: TRY301 - as earlier versions raise it
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{what} {text!r} cannot be read: {error}") from error
    if not path.is_relative_to(file.folder):
        hint = f"in a project file it lies in {file.folder}; your own file may name any other place"
        raise ConfigError(f"{what} {text!r} is outside of the project", hint=hint)
    return path


def _project(user: SettingsFile | None) -> tuple[Path | None, str]:
    """The project file, or a remark about one that is ignored."""
    path = project_file()
    if path is None or (user is not None and path.samefile(user.path)):
        return None, ""
    why = _writable_by_others(path)
    return (None, f"{path} is ignored, because {why}") if why else (path, "")


def _writable_by_others(path: Path) -> str:
    """Why another user could have written a file, and what to do; empty where only root and the person can write it."""
    if os.name == "nt":
        return ""
    for one in dict.fromkeys((path, path.resolve())):
        for place in (one, one.parent):
            found = place.lstat()
            if found.st_uid not in (0, os.geteuid()):
                return f"{place} belongs to another user: copy it into a folder of your own if you want its settings"
            if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWOTH:
                return f"every user can write to {place}: chmod o-w {shlex.quote(str(place))}"
    return ""


def _unchosen(config: Config, project: SettingsFile) -> Iterator[tuple[str, str]]:
    """The choices of a project that would spend money or send prompts without the person's decision."""
    default = config.general.default_provider
    meant = "default_provider" in project.data or default in config.providers
    if meant and not config.is_own(default) and (default in config.providers or known(default)):
        yield "", UNCHOSEN.format(f"{project.line_of('')('default_provider')}:", "default_provider", default)
    for short in project.table("models"):
        provider, slash, _ = config.general.models[short].partition("/")
        named = slash and (provider in config.providers or known(provider))
        if named and not config.is_own(provider):
            yield short, UNCHOSEN.format(f"{project.line_of('models')(short)}:", f"the short name {short}", provider)


def configured(name: str, kind: str, table: dict[str, Any], place: str, line_of: Callable[[str], str]) -> Configured:
    provider = load(kind)
    if isinstance(table.get("base_url"), str):
        table = table | {"base_url": _address(name, table["base_url"], provider, line_of)}
    settings = read_table(provider.Settings, table, where=f"[providers.{name}]", line_of=line_of)
    is_valid = {
        "concurrency": settings.concurrency >= 0, "account_concurrency": settings.account_concurrency >= 0,
        "timeout": settings.timeout > 0, "poll": settings.poll >= 0,
    }  # fmt: skip
    if key := next((key for key, valid in is_valid.items() if not valid), ""):  # nan is never valid
        raise ConfigError(f"{line_of(key)}: {key} of {name} cannot be {getattr(settings, key)}")
    for address in _addresses(settings).values():
        hide_user(address)
    return Configured(name=name, kind=kind, type=provider, settings=settings, place=place)


def _address(name: str, text: str, provider: type[Provider[Any]], line_of: Callable[[str], str]) -> str:
    """The address as it will be used. Raises ConfigError that shows a corrected form where it cannot work."""
    own = default_of(next(item for item in fields(provider.Settings) if item.name == "base_url"))
    found, trouble = addresses.cleaned(text)
    if not found and own:
        trouble = f"is empty; remove the line to use {own}, or write the address of the service"
    if trouble and (found or own):
        raise ConfigError(f"{line_of('base_url')}: base_url of {name} {trouble}")
    return found
