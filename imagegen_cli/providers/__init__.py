"""The registry: every module in this folder without a leading underscore, and kinds from other packages.

A kind is its module's name, so that using one service imports no other.
"""

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.provider import Provider
from imagegen_cli.core.schema import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "imagegen.providers"


def kinds() -> tuple[str, ...]:
    """Every kind of service that can be configured here, built in or installed beside us."""
    return tuple(sorted(_built_in() | _outside().keys()))


def known(kind: str) -> bool:
    """Whether there is such a kind. Other packages are searched only for a kind that is not built in."""
    return kind in _built_in() or kind in _outside()


@cache
def _built_in() -> frozenset[str]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return frozenset(name for name in names if not name.startswith("_"))


@cache
def _outside() -> "dict[str, EntryPoint]":
    """Kinds of other packages. The search takes as long as a start of Python, so its result is kept."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    return {point.name: point for point in entry_points(group=GROUP)}


def load(kind: str) -> type[Provider[Any]]:
    """The class of a kind. Raises ConfigError where there is none, or where another package's cannot be imported."""
    if not known(kind):
        raise ConfigError(
            Message("there is no provider of kind {kind!r}").format(kind=kind), hint=nearest(kind, kinds())
        )
    try:
        found = import_module(f"{__name__}.{kind}").PROVIDER if kind in _built_in() else _outside()[kind].load()
    except Exception as error:
        message = Message("the provider {kind!r} cannot be loaded: {why}").format(kind=kind, why=str(error))
        raise ConfigError(message) from error
    provider: type[Provider[Any]] = found
    return provider
