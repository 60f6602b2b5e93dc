"""Commands about settings and services: what there is, what is in force, whether it can work."""

import json
import sys
from dataclasses import fields
from typing import Any

import tomli_w

from imagegen_cli import config as settings
from imagegen_cli.display.lines import Printer
from imagegen_cli.errors import ConfigError
from imagegen_cli.providers import kinds, load
from imagegen_cli.tables import Secret, default_of


def show_providers(kind: str, *, as_json: bool) -> int:
    """List what is configured and what could be; or the settings of one kind."""
    data = Printer(sys.stdout)
    if kind:
        for line in _settings_of(kind):
            data.line(line)
        return 0
    config = settings.load_config()
    rows = [_row(name, one.kind, one.settings, config) for name, one in config.providers.items()]
    rows += [_row(name, name, load(name).Settings(), config) for name in kinds() if name not in config.providers]
    for row in rows:
        data.line(json.dumps({"v": 1, **row}, ensure_ascii=False) if as_json else _line(row))
    return 0


def config_path() -> int:
    """Print the files that are read, in the order of their weight, and the history."""
    data = Printer(sys.stdout)
    for path in (settings.project_file(), settings.user_file()):
        if path is not None:
            data.line(f"{path}{'' if path.exists() else '  (not there yet)'}")
    data.line(f"{settings.history_file()}  (history)")
    return 0


def config_show() -> int:
    """Print everything in force as TOML."""
    Printer(sys.stdout).line(tomli_w.dumps(settings.shown(settings.load_config())).rstrip())
    return 0


def config_check() -> int:
    """Read all settings and find all keys. Raises ConfigError for the first that cannot be used."""
    config = settings.load_config()
    data = Printer(sys.stdout)
    for path in config.files:
        data.line(f"ok  {path}")
    trouble: list[ConfigError] = []
    for name, one in config.providers.items():
        try:
            settings.key_of(one)
        except ConfigError as error:
            data.line(f"no  {name} ({one.kind}): {error.message}")
            trouble.append(error)
        else:
            data.line(f"ok  {name} ({one.kind})")
    for remark in config.remarks:
        data.line(f"no  {remark}")
    config.provider(config.general.default_provider)
    data.line(f"ok  default provider: {config.general.default_provider}")
    if trouble or config.remarks:
        raise ConfigError(f"{len(trouble) + len(config.remarks)} to mend")
    return 0


def _row(name: str, kind: str, one: Any, config: settings.Config) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "title": load(kind).title,
        "configured": name in config.providers,
        "default": name == config.general.default_provider,
        "base_url": one.base_url,
        "model": one.model,
        "concurrency": one.concurrency or "unlimited",
    }


def _line(row: dict[str, Any]) -> str:
    sign = "*" if row["default"] else "+" if row["configured"] else " "
    return f"{sign} {row['name']:<14} {row['kind']:<12} {row['title']}" + (
        f"  {row['base_url']}" if row["base_url"] else ""
    )


def _settings_of(kind: str) -> list[str]:
    provider = load(kind)
    lines = [provider.title, "", f"[providers.NAME]  kind = {json.dumps(kind)}", ""]
    for item in fields(provider.Settings):
        default = default_of(item)
        shown = "" if isinstance(default, Secret) or default in ("", (), {}) else f"  (default {default})"
        lines.append(f"  {item.name:<14} {item.metadata['doc']}{shown}")
    lines += [f"  {name} is also read from ${variable}" for name, variable in provider.Settings.environment.items()]
    return lines
