"""Changes a provider or a value in the text of a settings file; all other lines and comments stay as they are.

The text is split into statements, and tomllib tells which key or table each of them names.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.settings.as_toml import dumps
from imagegen_cli.settings.files import BYTE_ORDER_MARK

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|"(?:\\.|[^"\\])*"'
    r"|'{3}.*?'{3,5}|'[^']*'"
    r"""|\#[^\r\n]*|\r\n|[^"'\#\[\]{}=\r\n]+|.""",
    re.DOTALL,
)
"""Strings of all four kinds, comments, line ends, and the text between them; it is known to be valid TOML."""
OPENING, CLOSING = ("[", "{"), ("]", "}")
LINE_ENDS = ("\n", "\r\n", "\r")
DEFAULT = ("default_provider",)
REMOVED: Any = object()
OPENS = Message("imagegen config edit opens the file")
KeyPath = tuple[str, ...]
"""The names from the root of the file to a key or a table."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A key with its value, the header of a table, or a line without either; with its line end.

    `path` is empty for a comment and for a blank line.
    """

    text: str
    path: KeyPath = ()
    is_header: bool = False


def with_provider(text: str, name: str, table: Mapping[str, Any], *, default: bool) -> str:
    """The text with the provider `name`, which replaces one with the same name; `default` makes it the default.

    The text must be valid TOML. Raises ConfigError where the result would not be, or would change anything else.
    """
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    before = _parsed(text)
    wanted = before | {"providers": {**before.get("providers", {}), name: table}}
    statements = list(_statements(text))
    line_end = next((token for token in TOKEN.findall(text) if token in LINE_ENDS), "\n")
    if default:
        wanted["default_provider"] = name
        statements = _with_default(statements, name, line_end)
    statements = _with_table(statements, name, wanted["providers"], line_end)
    changed = "".join(statement.text for statement in statements)
    if not _says(changed, wanted):
        why = Message("{name} cannot be written into the settings without changing other lines; nothing was written")
        hint = Message("write {table} by hand: config.example.toml shows the form")
        raise ConfigError(why.format(name=name), hint=hint.format(table=f"[providers.{name}]"))
    return mark + changed


def with_value(text: str, path: KeyPath, value: Any) -> str:
    """The text with this value at `path`, changed in place or added to the table that it belongs to.

    The text must be valid TOML. Raises ConfigError where the result would not be, or would change anything else.
    """
    return _changed(text, path, value)


def without_value(text: str, path: KeyPath) -> str:
    """The text without the key or the table at `path`. Comments above it stay. Raises ConfigError as `with_value`."""
    return _changed(text, path, REMOVED)


def _changed(text: str, path: KeyPath, value: Any) -> str:
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    wanted = _with(_parsed(text), path, value)
    line_end = next((token for token in TOKEN.findall(text) if token in LINE_ENDS), "\n")
    statements = _placed(list(_statements(text)), path, wanted, line_end)
    changed = "".join(statement.text for statement in statements)
    if not _says(changed, wanted) and not (value is REMOVED and _says(changed, _without_empty(wanted, path[:-1]))):
        why = Message("{key} cannot be changed without changing other lines; nothing was written")
        raise ConfigError(why.format(key=".".join(path)), hint=OPENS)
    return mark + changed


def _with(tables: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """The tables with this value at `path`. Raises ConfigError where a name on the way is no table."""
    first, rest = path[0], path[1:]
    if not rest:
        return {key: one for key, one in tables.items() if key != first} | ({} if value is REMOVED else {first: value})
    inner = tables.get(first, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(Message("{name} is no table in the settings").format(name=first), hint=OPENS)
    return {**tables, first: _with(inner, rest, value)}


def _without_empty(tables: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    """The tables without those on the way to `path` that are empty: a header that is gone leaves none behind."""
    while path and _at(tables, path) == {}:
        tables, path = _with(tables, path, REMOVED), path[:-1]
    return dict(tables)


def _at(tables: Any, path: KeyPath) -> Any:
    """The value at `path`, or REMOVED where there is none."""
    for name in path:
        tables = tables.get(name, REMOVED) if isinstance(tables, Mapping) else REMOVED
    return tables


def _placed(
    statements: Sequence[Statement], path: KeyPath, wanted: Mapping[str, Any], line_end: str
) -> list[Statement]:
    """The statements with the value of `wanted` at `path`."""
    around = [path[:length] for length in range(1, len(path) + 1)]
    if any(one.path in around and not one.is_header for one in statements):  # itself, or an inline table around it
        found = [
            _with_value(one, _at(wanted, one.path)) if one.path in around and not one.is_header else one
            for one in statements
            if not (one.path in around and _at(wanted, one.path) is REMOVED)
        ]
        return [one for one in found if one.path != path or _at(wanted, path) is not REMOVED]
    if _at(wanted, path) is REMOVED:
        return [one for one in statements if one.path[: len(path)] != path]
    return _added(statements, path, _at(wanted, path), line_end)


def _added(statements: Sequence[Statement], path: KeyPath, value: Any, line_end: str) -> list[Statement]:
    """The statements with a new key: behind the last key of its table, or in a new table at the end."""
    table, key = path[:-1], path[-1:]
    header = next((at for at, one in enumerate(statements) if one.is_header and one.path == table), -1)
    line = f"{_name(key[0])} = {_inline(value)}{line_end}"
    if table and header < 0:
        dotted = [at for at, one in enumerate(statements) if one.path[:-1] == table and one.path and not one.is_header]
        if dotted:
            above = next((one.path for one in reversed(statements[: dotted[-1]]) if one.is_header), ())
            full = f"{'.'.join(map(_name, path[len(above) :]))} = {_inline(value)}{line_end}"
            return _inserted(statements, dotted[-1] + 1, [Statement(full, path)], line_end)
        blank = [Statement(line_end)] if statements and statements[-1].text.strip() else []
        head = Statement(f"[{'.'.join(map(_name, table))}]{line_end}", table, is_header=True)
        return _inserted(statements, len(statements), [*blank, head, Statement(line, path)], line_end)
    if not table:
        return _inserted_above(statements, Statement(line, path), line_end)
    end = next((at for at in range(header + 1, len(statements)) if statements[at].is_header), len(statements))
    keys = [at for at in range(header, end) if statements[at].path]
    return _inserted(statements, keys[-1] + 1, [Statement(line, path)], line_end)


def _name(name: str) -> str:
    """A key as TOML writes it, in quotes where it needs them."""
    return dumps({name: 0}).partition(" = ")[0]


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a text is TOML with these values. They are compared as JSON, because nan does not equal itself."""
    try:
        found = _parsed(text)
    except ValueError:
        return False
    return json.dumps(found, sort_keys=True, default=str) == json.dumps(wanted, sort_keys=True, default=str)


def _parsed(text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only `init` edits

    return tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))


# The text as statements


def _statements(text: str) -> Iterator[Statement]:
    table: KeyPath = ()
    for part in _parts(text):
        path = _path_of(part)
        is_header = part.lstrip().startswith("[")
        if is_header:
            table = path
        yield Statement(part, path if is_header else (*table, *path) if path else (), is_header)


def _parts(text: str) -> Iterator[str]:
    """Lines, but a value that takes several lines is one part."""
    part, depth = "", 0
    for token in TOKEN.findall(text):
        part += token
        depth += (token in OPENING) - (token in CLOSING)
        if token in LINE_ENDS and depth == 0:
            yield part
            part = ""
    if part:
        yield part


def _path_of(part: str) -> KeyPath:
    """The names in a key or a header, as tomllib reads them."""
    inner: Any = _parsed(part)
    names = itertools.takewhile(lambda piece: piece != "=" and not piece.startswith("#"), TOKEN.findall(part))
    depth = 1 + sum(name.count(".") for name in names if name[0] not in "\"'")
    path: list[str] = []
    while isinstance(inner, dict) and inner and len(path) < depth:
        [(name, inner)] = inner.items()
        path.append(name)
    return tuple(path)


# Statements that change


def _with_default(statements: Sequence[Statement], name: str, line_end: str) -> list[Statement]:
    """The statements with `default_provider` changed in place, or inserted after the last key above all tables."""
    if any(statement.path == DEFAULT and not statement.is_header for statement in statements):
        return [_with_value(one, name) if one.path == DEFAULT else one for one in statements]
    return _inserted_above(statements, Statement(f'default_provider = "{name}"{line_end}', DEFAULT), line_end)


def _inserted_above(statements: Sequence[Statement], new: Statement, line_end: str) -> list[Statement]:
    """The statements with a new key after the last one above all tables."""
    first_header = next((at for at, one in enumerate(statements) if one.is_header), len(statements))
    keys = [at for at, one in enumerate(statements[:first_header]) if one.path]
    if keys or first_header == len(statements):
        return _inserted(statements, keys[-1] + 1 if keys else first_header, [new], line_end)
    at = first_header
    while at and statements[at - 1].text.strip():  # a comment directly above a table is about that table
        at -= 1
    return _inserted(statements, at, [new, Statement(line_end)], line_end)


def _with_table(
    statements: Sequence[Statement], name: str, providers: Mapping[str, Any], line_end: str
) -> list[Statement]:
    """The statements with the table of a provider, changed in place or appended."""
    path = ("providers", name)
    inline = {("providers",): providers, path: providers[name]}
    if any(one.path in inline and not one.is_header for one in statements):
        return [_with_value(one, inline[one.path]) if one.path in inline else one for one in statements]
    if any(one.path == path and one.is_header for one in statements):
        return _updated(statements, path, providers[name], line_end)
    kept = [one for one in statements if one.path[:2] != path]
    blank = [Statement(line_end)] if kept and kept[-1].text.strip() else []
    section = dumps({"providers": {name: providers[name]}}).replace("\n", line_end)
    return _inserted(kept, len(kept), [*blank, Statement(section, path, is_header=True)], line_end)


def _updated(
    statements: Sequence[Statement], path: KeyPath, table: Mapping[str, Any], line_end: str
) -> list[Statement]:
    """The statements with other values under an existing header; other keys are removed, comments stay."""
    missing = dict(table)
    found: list[Statement] = []
    end = 0
    for one in statements:
        if one.path[:2] != path or (one.is_header and one.path == path):
            found.append(one)
        elif not one.is_header and len(one.path) == len(path) + 1 and one.path[-1] in missing:
            found.append(_with_value(one, missing.pop(one.path[-1])))
        if found and found[-1].path[:2] == path:
            end = len(found)
    if not missing:
        return found
    lines = dumps({"providers": {path[1]: missing}}).partition("\n")[2].replace("\n", line_end)
    return _inserted(found, end, [Statement(lines, path)], line_end)


def _inserted(statements: Sequence[Statement], at: int, new: Sequence[Statement], line_end: str) -> list[Statement]:
    """The statements with new ones inserted; a last line without a line end gets one."""
    before = list(statements[:at])
    if before and not before[-1].text.endswith(LINE_ENDS):
        before[-1] = replace(before[-1], text=before[-1].text + line_end)
    return [*before, *new, *statements[at:]]


def _with_value(statement: Statement, value: Any) -> Statement:
    """The statement with another value; the blanks around it and the comment after it stay."""
    if statement.is_header:
        return statement
    tokens = TOKEN.findall(statement.text)
    start = tokens.index("=") + 1
    start += not tokens[start].strip()
    end = len(tokens)
    while tokens[end - 1].startswith("#") or not tokens[end - 1].strip():
        end -= 1
    first, last = tokens[start], tokens[end - 1]  # a number stands in one piece with the blanks around it
    before, after = first[: len(first) - len(first.lstrip())], last[len(last.rstrip()) :]
    return replace(statement, text="".join((*tokens[:start], before, _inline(value), after, *tokens[end:])))


def _inline(value: Any) -> str:
    """A value as TOML writes it after a key; a table is inline."""
    if not isinstance(value, Mapping):
        return dumps({"key": value}).partition(" = ")[2].strip()
    parts = [f"{dumps({key: 0}).partition(' = ')[0]} = {_inline(inner)}" for key, inner in value.items()]
    return f"{{ {', '.join(parts)} }}"
