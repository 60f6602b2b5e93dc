"""Commands about the settings: the providers, the files that are read, what is in force, whether it can work."""

import json
import sys
from dataclasses import fields
from typing import Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.schema import Secret, default_of
from imagegen_cli.core.text import Printer, amount, encoded, literal, printer
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings import paths
from imagegen_cli.settings.as_toml import dumps, shown
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.settings.keys import key_of


def show_providers(kind: str, *, as_json: bool) -> int:
    """List what is configured and what could be; or the settings of one kind."""
    data = printer(sys.stdout, as_json=as_json)
    if kind:
        for line in _settings_of(kind):
            data.line(line)
        return 0
    config = load_config()
    rows = [_row(name, one.kind, one.settings, config) for name, one in config.providers.items()]
    rows += [_row(name, name, load(name).Settings(), config) for name in kinds() if name not in config.providers]
    for row in rows:
        data.line(encoded({"v": 1, **row}, data.encoding) if as_json else _line(row))
    return 0


def config_path() -> int:
    """Print the files of settings, the one that goes before the other first, and the history."""
    data = Printer(sys.stdout)
    for path in (paths.project_file(), paths.user_file()):
        if path is not None:
            data.line(f"{path}{'' if paths.is_there(path) else '  (not there yet)'}")
    data.line(f"{paths.history_file()}  (history)")
    return 0


def config_show() -> int:
    """Print everything in force as TOML."""
    Printer(sys.stdout).line(dumps(shown(load_config())).rstrip())
    return 0


def config_check() -> int:
    """Read all settings and find all keys. Raises ConfigError, after all lines, where one cannot be used."""
    config = load_config()
    data = Printer(sys.stdout)
    for path in config.files:
        data.line(f"ok  {path}")
    problems = len(config.remarks)
    for name, one in config.providers.items():
        problem = _problem(one)
        problems += bool(problem)
        data.line(literal(f"{'no' if problem else 'ok'}  {name} ({one.kind}){problem}", data.encoding))
    for remark in config.remarks:
        data.line(f"no  {remark}")
    if trouble := _trouble_with_money(config):
        problems += 1
        data.line(literal(f"no  {trouble}", data.encoding))
    config.provider(config.default)
    data.line(f"ok  default provider: {config.general.default_provider}")
    if problems:
        raise ConfigError(amount(problems, "problem"))
    return 0


def _trouble_with_money(config: Config) -> str:
    """What no run could read of prices, budgets and the sum to ask above; empty where all is well."""
    from imagegen_cli.commands.spending import check_configured  # noqa: PLC0415 - it brings the history with it

    try:
        check_configured(config)
    except ConfigError as error:
        return error.message + (f"; {error.hint}" if error.hint else "")
    return ""


def _problem(one: Configured) -> str:
    """Why no request could be sent with these settings; empty where one could."""
    from imagegen_cli.inputs.plan import check_settings  # noqa: PLC0415 - a provider brings httpx with it

    try:
        key_of(one)
        check_settings(one)
    except ConfigError as error:
        return f": {error.message}" + (f"; {error.hint}" if error.hint else "")
    return ""


def _row(name: str, kind: str, one: Any, config: Config) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "title": load(kind).title,
        "configured": name in config.providers,
        "default": name == config.general.default_provider,
        "base_url": without_user(one.base_url),
        "model": one.model,
        "concurrency": one.concurrency or "unlimited",
    }


def _line(row: dict[str, Any]) -> str:
    sign = "*" if row["default"] else "+" if row["configured"] else " "
    address = f"  {row['base_url']}" if row["base_url"] else ""
    return f"{sign} {row['name']:<14} {row['kind']:<12} {row['title']}{address}"


def _settings_of(kind: str) -> list[str]:
    provider = load(kind)
    lines = [provider.title, "", f"[providers.NAME]  kind = {json.dumps(kind)}", ""]
    for item in fields(provider.Settings):
        default = default_of(item)
        value = "" if isinstance(default, Secret) or default in ("", (), {}) else f"  (default {default})"
        lines.append(f"  {item.name:<14} {item.metadata['doc']}{value}")
    lines += [f"  {name} is also read from ${variable}" for name, variable in provider.Settings.environment.items()]
    return [*lines, *(f"  {remark}" for remark in provider.Settings.remarks)]
