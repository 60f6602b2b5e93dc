"""A TOML table into a frozen dataclass, or a ConfigError that names the place and the nearest known key."""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from imagegen_cli.core.alike import alike
from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import MASK, hide

T = TypeVar("T")


REFERENCES = ("env:", "cmd:")
"""How a text begins that is not a secret itself but names the place of one."""


class Secret:
    """A text that cannot be shown by accident. `reveal()` is for the one line that sends it.

    A revealed secret may come back in a service's message, so it is masked everywhere from then on.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        if not self._text.startswith(REFERENCES):
            hide(self._text)
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return MASK if self._text else "''"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type["Secret"], tuple[str]]:
        raise TypeError("a secret is not written anywhere")


def setting(default: Any, doc: str, *, shown: str = "", file: bool = False) -> Any:
    """A field of a settings dataclass; `doc` becomes its line in help and in config.example.toml.

    `shown` stands for a default that differs from machine to machine. `file`: the text names a file on this machine,
    which in a project's settings must lie in the project.
    """
    metadata = {"doc": doc, "shown": shown, "file": file}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(item: Field[Any]) -> Any:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else MISSING


def read_table(kind: type[T], table: Mapping[str, Any], *, where: str, line_of: typing.Callable[[str], str]) -> T:
    """`where` names the table in messages; `line_of(key)` gives "file:line" for a key of it."""
    types_of = typing.get_type_hints(kind)
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in table.items():
        if key not in known:
            unknown = Message("{place}: unknown key {key!r} in {where}").format(
                place=line_of(key), key=key, where=where
            )
            raise ConfigError(unknown, hint=nearest(key, known))
        place = Message("{place}: {key} in {where}").format(place=line_of(key), key=key, where=where)
        values[key] = _converted(value, types_of[key], place)
    return kind(**values)


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A hint that names the nearest of `known`, or all of them where none is near."""
    known = sorted(known)
    near = alike(name, known)
    if near:
        return Message("did you mean {name}?").format(name=near)
    return Message("known: {names}").format(names=", ".join(known))


def _converted(value: Any, wanted: Any, place: str) -> Any:
    """`value` as `wanted`: str, int, float, bool, Secret, tuple[str, ...], Mapping[str, str]; each may be optional."""
    if isinstance(wanted, types.UnionType):
        wanted = next(part for part in typing.get_args(wanted) if part is not type(None))
    origin = typing.get_origin(wanted)
    if wanted is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        wrong = {name: part for name, part in value.items() if not isinstance(part, str)}
        if not wrong:
            return value
        name, part = next(iter(wrong.items()))
        hint = Message("{name} is {kind}: write a text, in quotes").format(name=name, kind=_kind_name(type(part)))
        raise ConfigError(_mistaken(place, wanted, value), hint=hint)
    if isinstance(wanted, type) and isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(_mistaken(place, wanted, value))


def _mistaken(place: str, wanted: Any, value: Any) -> str:
    found = Message("{place} must be {wanted}, not {found}")
    return found.format(place=place, wanted=_kind_name(wanted), found=_kind_name(type(value)))


def _kind_name(wanted: Any) -> str:
    text, number = Message("a text"), Message("a number")
    names = {str: text, int: Message("a whole number"), float: number, bool: Message("true or false"), Secret: text}
    names |= {list: Message("a list"), dict: Message("a table")}
    if wanted in names:
        return names[wanted]
    return Message("a list of texts") if typing.get_origin(wanted) is tuple else Message("a table of texts")
