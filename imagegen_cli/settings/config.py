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
from imagegen_cli.core.language import Message, joined, language_named
from imagegen_cli.core.masking import hide_user
from imagegen_cli.core.provider import Provider, Settings
from imagegen_cli.core.schema import REFERENCES, default_of, nearest, read_table, setting
from imagegen_cli.core.system_errors import in_full
from imagegen_cli.providers import kinds, known, load
from imagegen_cli.settings import addresses
from imagegen_cli.settings.files import SettingsFile
from imagegen_cli.settings.paths import PROJECT_FILE, project_file, user_file

OWN = Message("{place}: a project file cannot change {provider}, which is a provider of your own file")
OTHER_NAME = Message("give it another name")
NAME_OF_A_KIND = Message(
    "{place}: a project file cannot redirect {provider}: the name of a kind means that service and its own address"
)
UNCHOSEN = Message("{place}: {setting} chooses the service {provider}, which you have not set up yourself")
CHOOSE = Message("-p {provider} chooses it for one command; imagegen init sets it up permanently")
IN_OWN_FILE = Message("write it into your own file: {path}")
NO_SUCH_KIND = Message("{place}: there is no kind of provider {kind!r}")
NO_KIND = Message(
    '{place}: there is no kind of provider {kind!r}; below [providers.{kind}] the line kind = "…" is missing'
)


@dataclass(frozen=True, kw_only=True)
class General:
    """The settings outside of any table."""

    default_provider: str = setting("sketch", Message("provider when --provider is not given: a name below, or a kind"))
    lang: str = setting("", Message("language of all text: en or zh; empty: that of the locale"))
    output: str = setting("images", Message("folder for the pictures, from the working directory"))
    name: str = setting(
        naming.DEFAULT,
        Message("file name; fields: {fields}").format(fields=" ".join("{" + name + "}" for name in naming.FIELDS)),
    )
    sheet: bool = setting(
        True,  # noqa: FBT003 - the default
        Message("draw a sheet of all pictures after a comparison, such as -m 3.0 -m 4.0"),
    )
    models: Mapping[str, str] = setting({}, Message('short names for models: hero = "studio/4.0"'))
    metadata: str = setting(
        "embed",
        Message(
            "what says how a picture was made: embed, its file, or NAME.json beside a file that must stay as it came;"
            " sidecar, always NAME.json; none, only the history"
        ),
    )
    confirm_above: int = setting(
        0, Message("ask before more tasks than this are sent; 0: above 20 on a terminal, never off one (--yes answers)")
    )
    confirm_cost: str = setting("", Message("ask before more than this is spent at once, as 2usd or 2usd,50credits"))
    exec_timeout_s: float = setting(60.0, Message("seconds that the command of --exec may take for a picture"))
    history: str = setting(
        "",
        Message(
            'history that a team shares, as "postgresql://user@host/database"; empty: a file of yours (docs/team.md)'
        ),
    )
    history_password: str = setting(
        "", Message('password of that database: "env:NAME" or "cmd:COMMAND"; PGPASSWORD and ~/.pgpass serve too')
    )
    prices: Mapping[str, str] = setting(
        {}, Message('prices of a picture: "studio/4.0" = "0.04usd"; "studio/*" for the rest')
    )
    budget: Mapping[str, str] = setting(
        {}, Message('limits that hold over all processes: day = "10usd", month = "100usd"')
    )


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
            raise ConfigError(self.unchosen[""], hint=CHOOSE.format(provider=self.general.default_provider))
        return self.general.default_provider

    def model(self, name: str) -> str:
        """The model for a short name, or the name itself. Raises ConfigError where only a project file chose it."""
        if name and name in self.unchosen:
            hint = Message("write the model out: {option}").format(option=f"-m {self.general.models[name]}")
            raise ConfigError(self.unchosen[name], hint=hint)
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
        message = Message("there is no provider {name!r}").format(name=name)
        raise UsageError(message, hint=nearest(name, {*self.providers, *kinds()}))


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
            message = Message("{place}: a project file cannot set {setting}")
            message = message.format(place=file.line_of("")(key), setting=key)
            raise ConfigError(message, hint=IN_OWN_FILE.format(path=user_file()))


def _both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Budgets of two files hold both."""
    names = dict.fromkeys((*first, *second))
    return {name: ",".join(filter(None, (first.get(name, ""), second.get(name, "")))) for name in names}


def load_config() -> Config:
    """Read the settings files. Raises ConfigError that names file, line and the nearest known key."""
    user, project, ignored = settings_files()
    if user is None and os.environ.get("IMAGEGEN_CONFIG"):
        message = Message("there is no file {path}").format(path=user_file())
        raise ConfigError(message, hint=Message("IMAGEGEN_CONFIG names it"))
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
        general = read_table(General, file.general(), where=Message("the settings"), line_of=file.line_of(""))
        if general.metadata not in METADATA:
            raise _no_such(file, "metadata", general.metadata, nearest(general.metadata, METADATA))
        if general.lang and not language_named(general.lang):
            raise _no_such(file, "lang", general.lang, Message("known: {names}").format(names="en, zh"))
        if not file.trusted:
            _check_untrusted(file, general)
        budget = _both(values.get("budget", {}), file.table("budget"))
        values |= {key: getattr(general, key) for key in file.general()} | {"models": models, "budget": budget}
        for name, table in file.table("providers").items():
            if not isinstance(table, dict):
                message = Message("{place}: {name} must be a table")
                raise ConfigError(message.format(place=file.line_of("providers")(name), name=f"[providers.{name}]"))
            if name in tables:
                message = OWN.format(place=file.line_of("providers")(name), provider=name)
                raise ConfigError(message, hint=OTHER_NAME)
            tables[name] = (table, file)
    providers = {name: _provider(name, table, file) for name, (table, file) in tables.items()}
    general = General(**values)
    try:
        naming.check_template(general.name)
    except UsageError as error:
        places = [file.line_of("")("name") for file in reversed(found) if "name" in file.data]
        raise ConfigError(joined(": ", (*places[:1], "name", error.message)), hint=error.hint) from error
    config = Config(
        general=general,
        providers=providers,
        files=tuple(file.path for file in found),
        remarks=tuple(filter(None, (ignored, *(file.open_to_others() for file in found)))),
        project=project.folder if project else None,
    )
    return replace(config, unchosen=dict(_unchosen(config, project))) if project else config


def _no_such(file: SettingsFile, key: str, value: str, hint: str) -> ConfigError:
    message = Message("{place}: {setting}: there is no {value!r}")
    return ConfigError(message.format(place=file.line_of("")(key), setting=key, value=value), hint=hint)


def _provider(name: str, table: dict[str, Any], file: SettingsFile) -> Configured:
    line_of = file.line_of(f"providers.{name}")
    if not re.fullmatch(r"[\w.-]+", name):
        message = Message("{place}: {name!r} is no name for a provider: use letters, digits, - and _")
        raise ConfigError(message.format(place=line_of("kind"), name=name))
    kind = table.get("kind", name)
    if not isinstance(kind, str) or not known(kind):
        message = NO_SUCH_KIND if "kind" in table else NO_KIND
        raise ConfigError(message.format(place=line_of("kind"), kind=kind), hint=nearest(str(kind), kinds()))
    table = {key: value for key, value in table.items() if key != "kind"}
    if file.trusted:
        return configured(name, kind, table, str(file.path), line_of)
    for key, value in table.items():
        if any(text.startswith(REFERENCES) for text in _texts_in(value)):
            message = Message("{place}: a project file cannot fetch a key").format(place=line_of(key))
            raise ConfigError(message, hint=IN_OWN_FILE.format(path=user_file()))
    return _of_a_project(configured(name, kind, table, PROJECT_FILE, line_of), file, line_of)


def _of_a_project(one: Configured, file: SettingsFile, line_of: Callable[[str], str]) -> Configured:
    """A project's provider with full paths. Raises ConfigError for settings that a project file may not have."""
    if known(one.name) and (one.kind != one.name or _addresses(one.settings) != _addresses(one.type.Settings())):
        message = NAME_OF_A_KIND.format(place=line_of("base_url"), provider=one.name)
        raise ConfigError(message, hint=OTHER_NAME)
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
        message = Message("{what} {text!r} cannot be read: {why}").format(what=what, text=text, why=in_full(error))
        raise ConfigError(message) from error
    if not path.is_relative_to(file.folder):
        hint = Message("in a project file it lies in {folder}; your own file may name any other place")
        message = Message("{what} {text!r} is outside of the project").format(what=what, text=text)
        raise ConfigError(message, hint=hint.format(folder=file.folder))
    return path


def _project(user: SettingsFile | None) -> tuple[Path | None, str]:
    """The project file, or a remark about one that is ignored."""
    path = project_file()
    if path is None or (user is not None and path.samefile(user.path)):
        return None, ""
    why = _writable_by_others(path)
    if not why:
        return path, ""
    return None, Message("{path} is ignored, because {why}").format(path=path, why=why)


def _writable_by_others(path: Path) -> str:
    """Why another user could have written a file, and what to do; empty where only root and the person can write it."""
    if os.name == "nt":
        return ""
    for one in dict.fromkeys((path, path.resolve())):
        for place in (one, one.parent):
            found = place.lstat()
            if found.st_uid not in (0, os.geteuid()):
                why = Message(
                    "{path} belongs to another user: copy it into a folder of your own if you want its settings"
                )
                return why.format(path=place)
            if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWOTH:
                why = Message("every user can write to {path}: {command}")
                return why.format(path=place, command=f"chmod o-w {shlex.quote(str(place))}")
    return ""


def _unchosen(config: Config, project: SettingsFile) -> Iterator[tuple[str, str]]:
    """The choices of a project that would spend money or send prompts without the person's decision."""
    default = config.general.default_provider
    meant = "default_provider" in project.data or default in config.providers
    if meant and not config.is_own(default) and (default in config.providers or known(default)):
        place = project.line_of("")("default_provider")
        yield "", UNCHOSEN.format(place=place, setting="default_provider", provider=default)
    for short in project.table("models"):
        provider, slash, _ = config.general.models[short].partition("/")
        named = slash and (provider in config.providers or known(provider))
        if named and not config.is_own(provider):
            name = Message("the short name {name}").format(name=short)
            yield short, UNCHOSEN.format(place=project.line_of("models")(short), setting=name, provider=provider)


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
        message = Message("{place}: {setting} of {provider} cannot be {value}")
        value = getattr(settings, key)
        raise ConfigError(message.format(place=line_of(key), setting=key, provider=name, value=value))
    for address in _addresses(settings).values():
        hide_user(address)
    return Configured(name=name, kind=kind, type=provider, settings=settings, place=place)


def _address(name: str, text: str, provider: type[Provider[Any]], line_of: Callable[[str], str]) -> str:
    """The address as it will be used. Raises ConfigError that shows a corrected form where it cannot work."""
    own = default_of(next(item for item in fields(provider.Settings) if item.name == "base_url"))
    found, trouble = addresses.cleaned(text)
    if not found and own:
        trouble = Message("is empty; remove the line to use {address}, or write the address of the service")
        trouble = trouble.format(address=own)
    if trouble and (found or own):
        message = Message("{place}: base_url of {provider} {trouble}")
        raise ConfigError(message.format(place=line_of("base_url"), provider=name, trouble=trouble))
    return found
