"""Whether everything can work, without spending: settings, this machine, services, and what ended processes left."""

import re
import sys
from collections.abc import Iterator, Mapping

from imagegen_cli.commands.checks import machine
from imagegen_cli.commands.checks.asking import busy_with
from imagegen_cli.commands.checks.finding import Finding, Level, Report, as_json as object_of
from imagegen_cli.commands.checks.services import check_services
from imagegen_cli.core.errors import ConfigError, HistoryError, ImagegenError, UsageError
from imagegen_cli.core.language import Message, translated
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.text import printer
from imagegen_cli.settings.config import Config, Configured, General, load_config

SETTINGS = Message("settings")


def doctor(name: str = "", *, fix: bool, as_json: bool) -> int:
    """Print one line per check, of all services or of the one that is named; 3 where something cannot work."""
    data, report = printer(sys.stdout, as_json=as_json), Report(sys.stdout)
    worst = 0
    for finding in _findings(name, fix=fix, as_json=as_json):
        if as_json:
            data.line(object_of(finding, data.encoding))
        else:
            report.add(finding)
        worst = 3 if finding.level is Level.NO else worst
    if not as_json:
        report.close()
    return worst


def _findings(name: str, *, fix: bool, as_json: bool) -> Iterator[Finding]:
    config, found = _settings(as_json=as_json)
    if name and all(finding.level is not Level.NO for finding in found):
        config.provider(name)
    yield from found
    yield machine.output(config)
    yield from machine.history(fix=fix)
    yield from _named(config, name) if name else _all(config)


def _settings(*, as_json: bool) -> tuple[Config, list[Finding]]:
    """The settings, or the built-in ones where they cannot be read, and what was found."""
    try:
        config = load_config()
    except ConfigError as error:
        return Config(general=General(), providers={}, files=()), [Finding.of_error(SETTINGS, error)]
    found = [Finding(Level.OK, SETTINGS, str(path)) for path in config.files]
    remarks = config.remarks if as_json else map(translated, config.remarks)
    found += [Finding(Level.NO, SETTINGS, *_halves(remark)) for remark in remarks]
    none = Finding(Level.OK, SETTINGS, Message("none yet"), Message("imagegen init connects a service"))
    return config, found or [none]


def _halves(remark: str) -> tuple[str, str]:
    """What is wrong and what to do, which stands behind the last colon in every language."""
    parts = re.fullmatch("(.*)(?:: |：)(.*)", remark, re.DOTALL)
    return (parts[1], parts[2]) if parts else (remark, "")


def _named(config: Config, name: str) -> Iterator[Finding]:
    try:
        one = config.provider(name)
    except UsageError as error:  # the settings cannot be read, which another finding says
        yield Finding.of_error(Message("provider"), error)
    else:
        yield from check_services([one], _busy(config))


def _all(config: Config) -> Iterator[Finding]:
    """The person's own services, and the default one; what only a project file names is not asked."""
    chosen = config.own
    yield from (_unqueried(one) for one in config.providers.values() if not config.is_own(one.name))
    try:
        default = config.provider(config.default)
        chosen += [] if default.name in config.providers else [default]
    except ImagegenError as error:
        yield Finding.of_error(Message("default provider"), error)
    yield from check_services(chosen, _busy(config))


def _unqueried(one: Configured) -> Finding:
    message = Message("not asked: only the project file names it and its address, {address}")
    message = message.format(address=without_user(one.settings.base_url))
    advice = Message("to ask it: imagegen models {name}").format(name=one.name)
    return Finding(Level.UNASKED, Message("service"), message, advice, one.name)


def _busy(config: Config) -> Mapping[str, str]:
    """As `busy_with`; a history that cannot be read has its own finding, and no process can use it."""
    try:
        return busy_with(config)
    except HistoryError:
        return {}
