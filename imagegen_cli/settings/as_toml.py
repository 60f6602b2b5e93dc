"""Writes settings as TOML: everything in force, with secrets hidden, and config.example.toml from the declarations.

`python -m imagegen_cli.settings.as_toml > config.example.toml` writes that file.
"""

from collections.abc import Mapping
from dataclasses import Field, fields
from textwrap import wrap
from typing import Any

from imagegen_cli.core.masking import MASK, without_user
from imagegen_cli.core.provider import Settings
from imagegen_cli.core.schema import Secret, default_of
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings.config import Config, General

TABLES = {
    "models": ("Short names for models. -m hero means this model on this provider.", ['hero = "studio/4.0"']),
    "prices": (
        "What a picture costs, by provider or kind and model, where you know it better; units: usd, cny, eur, credits.",
        ['"studio/4.0" = "0.04usd"', '"studio/*" = "0.05usd"'],
    ),
    "budget": (
        "Limits that hold over all processes, in calendar days and months.",
        ['day = "10usd"', 'month = "100usd"'],
    ),
}
"""The tables of General, each with its meaning and an example."""
COLUMNS = 115
"""Signs in a line of a remark."""


def dumps(tables: Mapping[str, Any], *, indent: int = 4) -> str:
    """Tables as TOML."""
    import tomli_w  # noqa: PLC0415 - few commands write

    return tomli_w.dumps(tables, indent=indent)


def shown(config: Config) -> dict[str, Any]:
    """Everything in force, as tables, with secrets hidden."""
    general = {item.name: getattr(config.general, item.name) for item in fields(config.general)}
    general |= {"history": _address(general["history"]), "history_password": _hidden(general["history_password"])}
    providers = {name: {"kind": one.kind} | _plain(one.settings) for name, one in config.providers.items()}
    return general | {"providers": providers}


def example() -> str:
    """The text of config.example.toml: every setting of every kind, with its default and its meaning."""
    lines = [
        "# Settings of imagegen. The place of this file: imagegen config path",
        "# Every line is optional and shows the default. Written by python -m imagegen_cli.settings.as_toml.",
        "",
    ]
    plain = [item for item in fields(General) if item.name not in TABLES]
    lines += [_declared(item.name, default_of(item), item.metadata["doc"]) for item in plain]
    for name, (meaning, entries) in TABLES.items():
        lines += ["", f"# {meaning}", f"[{name}]", *(f"# {entry}" for entry in entries)]
    for kind in kinds():
        provider = load(kind)
        lines += ["", f"# {provider.title}", f"# [providers.{kind}]", f'# kind = "{kind}"']
        for item in fields(provider.Settings):
            lines.append(f"# {_setting_line(item)}")
        lines += [f"# {name} is also read from ${variable}" for name, variable in provider.Settings.environment.items()]
        lines += [f"# {line}" for remark in provider.Settings.remarks for line in wrap(remark, COLUMNS)]
    return "\n".join(lines) + "\n"


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
    """A secret as it may be shown: the environment variable that it comes from, or nothing of it."""
    return text if text.startswith("env:") or not text else MASK


def _address(history: str) -> str:
    """The address of a shared history as it may be shown."""
    from imagegen_cli.core.database_address import database_address  # noqa: PLC0415 - few have one

    return database_address(history).shown if history else ""


def _setting_line(item: Field[Any]) -> str:
    """A setting with its default; where that depends on the machine, the common default and a description."""
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
    print(example(), end="")  # noqa: T201 - python -m imagegen_cli.settings.as_toml > config.example.toml
