"""Names one setting as `config set` does, reads its value from a text, and says where each value comes from."""

import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import Secret, nearest
from imagegen_cli.providers import kinds, known, load
from imagegen_cli.settings.as_toml import TABLES, dumps, shown
from imagegen_cli.settings.config import Config, General, load_config
from imagegen_cli.settings.edit import KeyPath
from imagegen_cli.settings.files import SettingsFile, holds_key
from imagegen_cli.settings.shared_history import history_in_force

VARIABLES = {
    "default_provider": "IMAGEGEN_PROVIDER", "output": "IMAGEGEN_OUTPUT", "name": "IMAGEGEN_NAME",
    "history": "IMAGEGEN_HISTORY",
}  # fmt: skip
"""Settings that a variable goes before."""
DEFAULT = "default"
WORDS_OF_BOOL = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
NO_SETTING = Message("there is no setting {key}")
NO_NAME = Message("{key} lacks a name: it is a table")
NAME_BEHIND = Message("write {key}.NAME, as {example}")
LACKS_FIELD = Message("{key} lacks the name of a setting")
FIELD_BEHIND = Message("write providers.NAME.SETTING, as providers.studio.model")
NO_PROVIDER = Message("there is no provider {name} in the settings, and no kind of that name")
CONNECT = Message("imagegen init --name {name} connects one; {near}")
TAKES_BOOL = Message("{key} takes true or false, not {value}")
TAKES_WHOLE = Message("{key} takes a whole number, not {value}")
TAKES_NUMBER = Message("{key} takes a number, not {value}")
EXAMPLES = {"models": "models.hero", "prices": 'prices."studio/4.0"', "budget": "budget.day"}


class Setting(NamedTuple):
    """One setting: the names from the root of the file to it, and the type of its value."""

    key: str
    path: KeyPath
    kind: Any


def setting_of(key: str, providers: Mapping[str, Any]) -> Setting:
    """The setting that `key` names, as `models.hero` or `providers.studio.model`. Raises UsageError."""
    first, _, rest = key.partition(".")
    rest = rest.strip().strip("\"'")
    if first == "providers":
        return _of_a_provider(key, rest, providers)
    hints = typing.get_type_hints(General)
    if first not in hints or (rest and first not in TABLES):
        raise UsageError(NO_SETTING.format(key=key), hint=nearest(key, {*hints, "providers"}))
    if first in TABLES:
        if not rest:
            hint = NAME_BEHIND.format(key=first, example=EXAMPLES[first])
            raise UsageError(NO_NAME.format(key=first), hint=hint)
        return Setting(key, (first, rest), str)
    return Setting(key, (first,), hints[first])


def _of_a_provider(key: str, rest: str, providers: Mapping[str, Any]) -> Setting:
    name, inside, header = rest.partition(".headers.")
    field = "headers" if inside else ""
    if not inside:
        name, _, field = rest.rpartition(".")
    if not name:
        raise UsageError(LACKS_FIELD.format(key=key), hint=FIELD_BEHIND)
    name = name.strip("\"'")
    if field == "kind":
        return Setting(key, ("providers", name, field), str)
    table = providers.get(name)
    kind = str(table.get("kind", name)) if isinstance(table, Mapping) else name
    if not known(kind):
        hint = CONNECT.format(name=name, near=nearest(name, {*providers, *kinds()}))
        raise UsageError(NO_PROVIDER.format(name=name), hint=hint)
    hints = typing.get_type_hints(load(kind).Settings)
    if field not in hints:
        raise UsageError(NO_SETTING.format(key=key), hint=nearest(field, {*hints, "kind"}))
    if inside:
        return Setting(key, ("providers", name, field, header), str)
    if _is_table(hints[field]):
        hint = NAME_BEHIND.format(key=key, example=f"{key}.X-Project")
        raise UsageError(NO_NAME.format(key=key), hint=hint)
    return Setting(key, ("providers", name, field), hints[field])


def known_keys() -> Iterator[tuple[str, str]]:
    """Keys that `config set` takes, with their meanings: of all settings, and of the providers in the settings."""
    config = load_config()
    for item in fields(General):
        if item.name not in TABLES:
            yield item.name, item.metadata["doc"]
    for table in TABLES:
        yield from ((f"{table}.{name}", "") for name in getattr(config.general, table))
    for name, one in config.providers.items():
        yield from ((f"providers.{name}.{item.name}", item.metadata["doc"]) for item in fields(one.settings))


def _is_table(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def value_of(setting: Setting, text: str) -> Any:
    """The value that a text means for a setting. Raises UsageError."""
    kind = setting.kind
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        if text.lower() not in WORDS_OF_BOOL:
            raise UsageError(TAKES_BOOL.format(key=setting.key, value=repr(text)))
        return WORDS_OF_BOOL[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            form = TAKES_WHOLE if kind is int else TAKES_NUMBER
            raise UsageError(form.format(key=setting.key, value=repr(text))) from None
    return text


def is_open_key(setting: Setting, value: Any) -> bool:
    """Whether the value is a key itself, and not the name of its variable or command."""
    if setting.kind is Secret:
        return bool(value) and holds_key({"": {"api_key": value}})
    return setting.path[0] == "providers" and holds_key({"": {setting.path[-1]: value}})


# Where values come from


def lines_with_origin(config: Config, user: SettingsFile | None, project: SettingsFile | None) -> Iterator[str]:
    """Each value in force as a line of TOML, with a comment that says where it comes from."""
    for path, value in _flat(shown(config)):
        found, source = _in_force(path, value, config, [file for file in (project, user) if file is not None])
        yield f"{'.'.join(_name(one) for one in path)} = {_inline(found)}  # {source}"


def _flat(tables: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, (*above, name))
        elif not isinstance(value, Mapping):
            yield (*above, name), value


def _in_force(path: KeyPath, value: Any, config: Config, files: list[SettingsFile]) -> tuple[Any, str]:
    variable = VARIABLES.get(path[0], "") if len(path) == 1 else ""
    if variable and os.environ.get(variable):
        return history_in_force() if path[0] == "history" else os.environ[variable], f"${variable}"
    places = [place for file in files if (place := place_of(path, file))]
    if places:
        return value, " and ".join(places) if path[0] == "budget" else places[0]
    if path[0] == "providers" and not value and (variable := _variable_of(path, config)):
        return value, f"${variable}"
    return value, DEFAULT


def _variable_of(path: KeyPath, config: Config) -> str:
    """The variable of the vendor that gives this key, where it is set."""
    settings = config.providers[path[1]].settings
    is_key = any(
        item.name == path[-1] and isinstance(getattr(settings, item.name), Secret) for item in fields(settings)
    )
    variable = settings.variable_for(path[-1]) if is_key else ""
    return variable if variable and os.environ.get(variable) else ""


def place_of(path: KeyPath, file: SettingsFile) -> str:
    """Where a file has this value, as "file:line"; empty where it has none."""
    inner: Any = file.data
    for name in path:
        inner = inner.get(name) if isinstance(inner, Mapping) else None
    if inner is None:
        return ""
    place = file.line_of(".".join(path[:-1]))(path[-1])
    return place if ":" in place.removeprefix(str(file.path)) else file.line_of(".".join(path[:-2]))(path[-2])


def _name(name: str) -> str:
    return dumps({name: 0}).partition(" = ")[0]


def _inline(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value) if value is None else " ".join(dumps({"key": value}).partition(" = ")[2].split())
