"""The registry: every module in this folder that binds PROVIDER, and outsiders by entry point.

A kind is its module's name, so that using one service imports no other.
"""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from imagegen_cli.errors import ConfigError
from imagegen_cli.providers.base import Provider
from imagegen_cli.tables import nearest

GROUP = "imagegen.providers"
_TOOLS = {"base", "wire", "parts"}


def kinds() -> tuple[str, ...]:
    """Every kind of service that can be configured here, built in or installed beside us."""
    built_in = {module.name for module in pkgutil.iter_modules(__path__)} - _TOOLS
    return tuple(sorted(built_in | {point.name for point in entry_points(group=GROUP)}))


def load(kind: str) -> type[Provider]:
    """The class behind a kind. Raises ConfigError where there is none, or where an outsider's cannot be imported."""
    if kind not in kinds():
        raise ConfigError(f"there is no provider of kind {kind!r}", hint=nearest(kind, kinds()))
    outside = {point.name: point for point in entry_points(group=GROUP)}
    try:
        found = outside[kind].load() if kind in outside else import_module(f"{__name__}.{kind}").PROVIDER
    except Exception as error:
        raise ConfigError(f"the provider {kind!r} cannot be loaded: {error}") from error
    provider: type[Provider] = found
    return provider
