"""Commands about the settings: the providers, the files that are read, what is in force, whether it can work."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_cli.commands.histories import history_name
from imagegen_cli.core.errors import ConfigError, ImagegenError
from imagegen_cli.core.language import Message, ngettext, tr, translated
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.schema import Secret, default_of
from imagegen_cli.core.text import Printer, encoded, is_capable_terminal, literal, printer
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings import paths
from imagegen_cli.settings.as_toml import dumps, shown
from imagegen_cli.settings.config import Config, Configured, combined, load_config, settings_files
from imagegen_cli.settings.files import SettingsFile
from imagegen_cli.settings.keys import key_of
from imagegen_cli.settings.shared_history import check_history_settings, shared_history

if TYPE_CHECKING:
    from imagegen_cli.display.theme import StyleName


def show_providers(kind: str, *, as_json: bool) -> int:
    """List what is configured and what could be; or the settings of one kind."""
    data = printer(sys.stdout, as_json=as_json)
    is_drawn = not as_json and is_capable_terminal(sys.stdout, os.environ)
    if kind:
        if as_json:
            data.line(encoded(_kind_object(kind), data.encoding))
        elif is_drawn:
            _draw_settings_of(kind)
        else:
            for line in _settings_of(kind):
                data.line(line)
        return 0
    config = load_config()
    rows = [_row(name, one.kind, one.settings, config) for name, one in config.providers.items()]
    rows += [_row(name, name, load(name).Settings(), config) for name in kinds() if name not in config.providers]
    if is_drawn:
        _draw_providers(rows)
        return 0
    for row in rows:
        data.line(encoded({"v": 1, **row}, data.encoding) if as_json else _line(row))
    return 0


def _draw_providers(rows: Sequence[dict[str, Any]]) -> None:
    from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

    signs = ["chosen" if row["default"] else "ready" if row["configured"] else "absent" for row in rows]
    items = [Item((row["name"], row["base_url"], _service(row)), sign) for row, sign in zip(rows, signs, strict=True)]
    legend = {
        "chosen": tr("used without --provider"),
        "ready": tr("connected"),
        "absent": tr("imagegen init connects it"),
    }
    heads = (tr("name"), tr("address"), tr("service"))
    print_items(
        items, stream=sys.stdout, environ=os.environ, heads=heads, legend=legend, styles=("bold", "plain", "dim")
    )


def _service(row: dict[str, Any]) -> str:
    """What a service is; its kind goes before that where the person gave it another name."""
    title = translated(row["title"])
    return title if row["kind"] == row["name"] else tr("{kind}: {title}", kind=row["kind"], title=title)


def config_path() -> int:
    """Print the files of settings, the one that goes before the other first, and the history."""
    rows = [(str(path), "" if paths.is_there(path) else Message("not there yet")) for path in _settings_files()]
    rows.append((history_name(), Message("history")))
    if is_capable_terminal(sys.stdout, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        items = [Item((path, translated(remark)), paths={0}) for path, remark in rows]
        print_items(items, stream=sys.stdout, environ=os.environ, styles=("plain", "dim"))
        return 0
    data = Printer(sys.stdout)
    for path, remark in rows:
        data.line(path + (f"  ({remark})" if remark else ""))
    return 0


def _settings_files() -> list[Path]:
    return [path for path in (paths.project_file(), paths.user_file()) if path is not None]


def config_show(*, origin: bool = False) -> int:
    """Print everything in force as TOML; with `origin` a line each, which says where it comes from."""
    if origin:
        return _show_origins()
    Printer(sys.stdout).line(dumps(shown(load_config())).rstrip())
    return 0


def _show_origins() -> int:
    from imagegen_cli.settings.values import lines_with_origin  # noqa: PLC0415 - only for this

    user, project, ignored = settings_files()
    data = Printer(sys.stdout)
    for line in lines_with_origin(combined(user, project, ignored), user, project):
        data.line(literal(line, data.encoding))
    return 0


def config_check() -> int:
    """Read all settings and find all keys. Raises ConfigError, after all lines, where one cannot be used."""
    config = load_config()
    found: list[tuple[str, str]] = []
    try:
        found.extend(_checked(config))
    finally:
        _print_checked(found)
    if problems := sum(level == "no" for level, _ in found):
        raise ConfigError(ngettext("{count} problem", "{count} problems", problems))
    return 0


def _print_checked(found: Sequence[tuple[str, str]]) -> None:
    if is_capable_terminal(sys.stdout, os.environ):
        from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

        items = [Item((translated(text),), level) for level, text in found]
        legend = {"ok": tr("can be used"), "no": tr("cannot be used")}
        print_items(items, stream=sys.stdout, environ=os.environ, legend=legend)
        return
    data = Printer(sys.stdout)
    for level, text in found:
        data.line(f"{level}  {literal(translated(text), data.encoding)}")


def _checked(config: Config) -> Iterator[tuple[str, str]]:
    """Pairs of ok or no, and what that is about. Raises UsageError where the default provider is unknown."""
    yield from (("ok", str(path)) for path in config.files)
    for name, one in config.providers.items():
        said = Message("{name} ({kind})").format(name=name, kind=one.kind)
        problem = _problem(one)
        yield "no" if problem else "ok", _reason(said, problem) if problem else said
    yield from (("no", remark) for remark in config.remarks)
    if trouble := _trouble_with_money(config):
        yield "no", trouble
    if trouble := _trouble_with_history():
        yield "no", trouble
    config.provider(config.default)
    yield "ok", Message("default provider: {name}").format(name=config.general.default_provider)


def _trouble_with_money(config: Config) -> str:
    """What no run could read of prices, budgets and the sum to ask above; empty where all is well."""
    from imagegen_cli.commands.spending import check_configured  # noqa: PLC0415 - it brings the history with it

    try:
        check_configured(config)
    except ConfigError as error:
        return _with_hint(error)
    return ""


def _trouble_with_history() -> str:
    """Why the shared history that is in force, or named in the settings, cannot be used; empty where all is well."""
    try:
        shared_history()
        if (file := SettingsFile.read(paths.user_file(), trusted=True)) is not None:
            check_history_settings(file.data, file.path)
    except ConfigError as error:
        return _with_hint(error)
    return ""


def _reason(said: str, problem: str) -> Message:
    return Message("{said}: {why}").format(said=said, why=problem)


def _with_hint(error: ImagegenError) -> str:
    if not error.hint:
        return error.message
    return Message("{message}; {hint}").format(message=error.message, hint=error.hint)


def _problem(one: Configured) -> str:
    """Why no request could be sent with these settings; empty where one could."""
    from imagegen_cli.inputs.plan import check_settings  # noqa: PLC0415 - a provider brings httpx with it

    try:
        key_of(one)
        check_settings(one)
    except ConfigError as error:
        return _with_hint(error)
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
    return f"{sign} {row['name']:<14} {row['kind']:<12} {translated(row['title'])}{address}"


def _settings_of(kind: str) -> list[str]:
    """The settings of a kind as lines."""
    lines = [translated(load(kind).title), "", _table_of(kind), ""]
    for name, meaning, default in _declared(kind):
        lines.append(f"  {name:<14} {translated(meaning)}{f'  ({translated(default)})' if default else ''}")
    return [*lines, *(f"  {translated(remark)}" for remark in _remarks_of(kind))]


def _kind_object(kind: str) -> dict[str, Any]:
    """The settings of a kind for programs: a default is a text, and empty where there is none worth naming."""
    settings = load(kind).Settings
    declared = [{"name": name, "meaning": meaning, "default": default} for name, meaning, default in _declared(kind)]
    return {
        "v": 1, "kind": kind, "title": load(kind).title, "settings": [
            one | {"environment": settings.environment.get(one["name"], "")} for one in declared
        ], "remarks": list(settings.remarks),
    }  # fmt: skip


def _table_of(kind: str) -> str:
    return f"[providers.NAME]  kind = {json.dumps(kind)}"


def _declared(kind: str) -> Iterator[tuple[str, str, str]]:
    """Name, meaning and default of each setting; what has no default worth naming has an empty text there."""
    for item in fields(load(kind).Settings):
        default = default_of(item)
        is_empty = isinstance(default, Secret) or default in ("", (), {})
        yield item.name, item.metadata["doc"], "" if is_empty else Message("default {value}").format(value=default)


def _remarks_of(kind: str) -> list[str]:
    settings = load(kind).Settings
    read = Message("{name} is also read from ${variable}")
    named = [read.format(name=name, variable=variable) for name, variable in settings.environment.items()]
    return [*named, *settings.remarks]


def _draw_settings_of(kind: str) -> None:
    from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

    def show(items: Sequence[Item], *styles: "StyleName") -> None:
        print_items(items, stream=sys.stdout, environ=os.environ, styles=styles)

    blank = Item(("",))
    show([Item((translated(load(kind).title),)), blank], "bold")
    show([Item((_table_of(kind),)), blank], "plain")
    rows = [(name, _meaning(meaning, default)) for name, meaning, default in _declared(kind)]
    show([*map(Item, rows), blank], "bold", "plain")
    settings = load(kind).Settings
    named = map(translated, _remarks_of(kind)[: len(settings.environment)])
    remarks = [*named, " ".join(map(translated, settings.remarks))]
    show([Item((remark,)) for remark in remarks if remark], "dim")


def _meaning(meaning: str, default: str) -> str:
    if not default:
        return translated(meaning)
    return tr("{meaning} ({default})", meaning=translated(meaning), default=translated(default))
