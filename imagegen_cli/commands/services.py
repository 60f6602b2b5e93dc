"""What the configured services offer, and what is left on their accounts: asked now, and without spending."""

import sys
from collections.abc import Sequence
from typing import Any

from imagegen_cli.commands.checks.asking import Answer, ask_all, balance_text, busy_with
from imagegen_cli.commands.console import say
from imagegen_cli.core.errors import ConfigError, ImagegenError, NothingToDo, Unauthorized
from imagegen_cli.core.masking import masked
from imagegen_cli.core.provider import Balance
from imagegen_cli.core.text import Printer, encoded, finite, literal, printer
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings.config import Config, Configured, is_local, load_config


def models(name: str, *, as_json: bool) -> int:
    """List what can be named with --model, as provider/model: `*` its provider's own choice, `+` other configured ones.

    JSON: v, name, provider, model, default, configured, live; short names have v, name, stands_for.
    """
    config = load_config()
    data = printer(sys.stdout, as_json=as_json)
    chosen = _chosen(config, name)
    answers = ask_all(chosen, lambda provider: provider.models())
    for one, answer in zip(chosen, answers, strict=True):
        for row in _models_of(one, answer, is_configured=one.name in config.providers):
            data.line(_model_line(row, data.encoding, as_json=as_json))
        _remark(one, answer)
    _list_short_names(config, name, data, as_json=as_json)
    if not name:
        _say_unconfigured(config)
    return _exit_code([answer.trouble for answer in answers])


def credits_(name: str, *, as_json: bool) -> int:
    """List what is left at each service that tells. JSON: v, provider, amount (or null), unit, note."""
    config = load_config()
    chosen = [one for one in _chosen(config, name) if name or not one.is_local]
    if not chosen:
        raise NothingToDo("no service is configured", hint="imagegen init connects one")
    busy = busy_with(config)
    queried = [one for one in chosen if one.name not in busy]
    answers = ask_all(queried, lambda provider: provider.balance())
    answer_of = {one.name: answer for one, answer in zip(queried, answers, strict=True)}
    data = printer(sys.stdout, as_json=as_json)
    for one in chosen:
        answer = answer_of.get(one.name, Answer(Balance(None, note=f"not asked: {busy.get(one.name)}")))
        data.line(_balance_line(one.name, answer.value, data.encoding, as_json=as_json))
        if answer.trouble:
            _say_trouble(one, answer.trouble)
    return _exit_code([answer.trouble for answer in answers])


def _chosen(config: Config, name: str) -> list[Configured]:
    """What is configured and the default provider; or the one that is named. Raises UsageError."""
    names = [name] if name else list(dict.fromkeys([*(one.name for one in config.own), config.default]))
    return [config.provider(one) for one in names]


def _models_of(one: Configured, answer: Answer[tuple[str, ...]], *, is_configured: bool) -> list[dict[str, Any]]:
    """A row for each model; the default model is one even where the service does not name it."""
    named = tuple(map(masked, answer.value or ()))
    own = one.settings.model
    return [
        {
            "name": f"{one.name}/{model}",
            "provider": one.name,
            "model": model,
            "default": model == own,
            "configured": is_configured,
            "live": bool(answer.responses and answer.value),
        }
        for model in dict.fromkeys([own, *named] if own and own not in named else named)
    ]


def _model_line(row: dict[str, Any], encoding: str, *, as_json: bool) -> str:
    if as_json:
        return encoded({"v": 1, **row}, encoding)
    sign = "*" if row["default"] else "+" if row["configured"] else " "
    return literal(f"{sign} {row['name']}", encoding)


def _balance_line(name: str, balance: Balance | None, encoding: str, *, as_json: bool) -> str:
    balance = balance or Balance(None)
    if not as_json:
        note = f"  ({balance.note})" if balance.note else ""
        return literal(f"{name:<14} {balance_text(balance)}{note}", encoding)
    row = {"provider": name, "amount": finite(balance.amount), "unit": balance.unit, "note": balance.note}
    return encoded({"v": 1, **row}, encoding)


def _remark(one: Configured, answer: Answer[tuple[str, ...]]) -> None:
    """Say what a list of names cannot say."""
    own = one.settings.model
    if answer.trouble:
        _say_trouble(one, answer.trouble)
    elif not answer.value:
        say(f"{one.name} names no models")
    elif own and own not in answer.value:
        say(f"{one.name} does not name its default model {own}")


def _say_trouble(one: Configured, trouble: ImagegenError) -> None:
    say(f"{one.name} cannot be asked: {trouble.message}" + (f"; {trouble.hint}" if trouble.hint else ""))


def _list_short_names(config: Config, provider: str, data: Printer, *, as_json: bool) -> None:
    for short, model in config.general.models.items():
        if provider and not model.startswith(f"{provider}/"):
            continue
        row = {"v": 1, "name": short, "stands_for": model}
        data.line(encoded(row, data.encoding) if as_json else literal(f"+ {short} = {model}", data.encoding))


def _say_unconfigured(config: Config) -> None:
    used = {one.kind for one in config.providers.values()}
    services = [kind for kind, _ in titles() if not is_local(load(kind), load(kind).Settings())]
    if left := [kind for kind in services if kind not in used]:
        say(f"not configured: {', '.join(left)}; imagegen init connects one")


def titles() -> list[tuple[str, str]]:
    """Kinds with their titles, without those that cannot be loaded: other packages bring them."""
    found = []
    for kind in kinds():
        try:
            found.append((kind, load(kind).title))
        except ConfigError as error:
            say(error.message)
    return found


def _exit_code(troubles: Sequence[ImagegenError | None]) -> int:
    """0 where a service answered; 3 where none did and credentials are the reason; else 1."""
    if not troubles or None in troubles:
        return 0
    return 3 if any(isinstance(trouble, ConfigError | Unauthorized) for trouble in troubles) else 1
