"""What the configured services offer, and what is left on their accounts: asked now, and without spending."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from imagegen_cli.commands.checks.asking import NO_CREDITS, Answer, ask_all, balance_text, busy_with
from imagegen_cli.commands.console import say
from imagegen_cli.core.errors import ConfigError, ImagegenError, NothingToDo, Unauthorized
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.masking import masked
from imagegen_cli.core.provider import Balance
from imagegen_cli.core.text import encoded, finite, is_capable_terminal, literal, printer
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings.config import Config, Configured, is_local, load_config


def models(name: str, *, as_json: bool) -> int:
    """List what can be named with --model, as provider/model: `*` its provider's own choice, `+` other configured ones.

    JSON: v, name, provider, model, default, configured, live; short names have v, name, stands_for.
    """
    config = load_config()
    data = printer(sys.stdout, as_json=as_json)
    is_drawn = not as_json and is_capable_terminal(sys.stdout, os.environ)
    chosen = _chosen(config, name)
    answers = ask_all(chosen, lambda provider: provider.models())
    drawn: list[dict[str, Any]] = []
    for one, answer in zip(chosen, answers, strict=True):
        for row in _models_of(one, answer, is_configured=one.name in config.providers):
            drawn.append(row)
            if not is_drawn:
                data.line(_model_line(row, data.encoding, as_json=as_json))
        if not is_drawn:
            _remark(one, answer)
    short_names = _short_names(config, name)
    if is_drawn:
        _draw_models(drawn, short_names)
        for one, answer in zip(chosen, answers, strict=True):
            _remark(one, answer)
    else:
        for row in short_names:
            data.line(_short_name_line(row, data.encoding, as_json=as_json))
    if not name:
        _say_unconfigured(config)
    return _exit_code(answers)


def credits_(name: str, *, as_json: bool) -> int:
    """List what is left at each service that tells. JSON: v, provider, amount (or null), unit, note."""
    config = load_config()
    chosen = [one for one in _chosen(config, name) if name or not one.is_local]
    if not chosen:
        raise NothingToDo(Message("no service is configured"), hint=Message("imagegen init connects one"))
    busy = busy_with(config)
    queried = [one for one in chosen if one.name not in busy]
    answers = ask_all(queried, lambda provider: provider.balance())
    answer_of = {one.name: answer for one, answer in zip(queried, answers, strict=True)}
    unasked = Message("not asked: {why}")
    told = {
        one.name: answer_of.get(one.name, Answer(Balance(None, note=unasked.format(why=busy.get(one.name)))))
        for one in chosen
    }
    _print_credits({name: _balance_of(answer) for name, answer in told.items()}, as_json=as_json)
    for one in chosen:
        trouble = told[one.name].trouble
        if trouble and not told[one.name].is_unknown_question:
            _say_trouble(one, trouble)
    return _exit_code(answers)


def _balance_of(answer: Answer[Balance | None]) -> Balance:
    """What is known of an account; where the service has no question about it, the note says so."""
    if answer.is_unknown_question or (answer.value is None and answer.trouble is None):
        return Balance(None, note=NO_CREDITS)
    return answer.value or Balance(None)


def _print_credits(balances: Mapping[str, Balance], *, as_json: bool) -> None:
    if not as_json and is_capable_terminal(sys.stdout, os.environ):
        from imagegen_cli.display.tables import UNASKED, Item, print_items  # noqa: PLC0415 - Rich only where it draws

        items = []
        for name, balance in balances.items():
            text = balance_text(balance)
            items.append(Item((name, UNASKED if text == "unknown" else translated(text), translated(balance.note))))
        legend = tr("{sign} not known", sign=UNASKED) if any(item.cells[1] == UNASKED for item in items) else ""
        print_items(items, stream=sys.stdout, environ=os.environ, styles=("bold", "plain", "dim"), remark=legend)
        return
    data = printer(sys.stdout, as_json=as_json)
    for name, balance in balances.items():
        data.line(_balance_line(name, balance, data.encoding, as_json=as_json))


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


def _balance_line(name: str, balance: Balance, encoding: str, *, as_json: bool) -> str:
    if not as_json:
        line = f"{name:<14} {translated(balance_text(balance))}"
        return literal(f"{line}  ({translated(balance.note)})" if balance.note else line, encoding)
    row = {"provider": name, "amount": finite(balance.amount), "unit": balance.unit, "note": balance.note}
    return encoded({"v": 1, **row}, encoding)


def _remark(one: Configured, answer: Answer[tuple[str, ...]]) -> None:
    """Say what a list of names cannot say."""
    own = one.settings.model
    if answer.is_unknown_question and answer.trouble:
        lacks = Message("{name} has no list of its models: {why}")
        say(lacks.format(name=one.name, why=answer.trouble.message))
    elif answer.trouble:
        _say_trouble(one, answer.trouble)
    elif not answer.value:
        say(Message("{name} names no models").format(name=one.name))
    elif own and own not in answer.value:
        say(Message("{name} does not name its default model {model}").format(name=one.name, model=own))


def _say_trouble(one: Configured, trouble: ImagegenError) -> None:
    message = Message("{name} cannot be asked: {why}").format(name=one.name, why=trouble.message)
    say(Message("{message}; {hint}").format(message=message, hint=trouble.hint) if trouble.hint else message)


def _short_names(config: Config, provider: str) -> list[dict[str, Any]]:
    return [
        {"v": 1, "name": short, "stands_for": model}
        for short, model in config.general.models.items()
        if not provider or model.startswith(f"{provider}/")
    ]


def _short_name_line(row: dict[str, Any], encoding: str, *, as_json: bool) -> str:
    return encoded(row, encoding) if as_json else literal(f"+ {row['name']} = {row['stands_for']}", encoding)


def _draw_models(rows: Sequence[dict[str, Any]], short_names: Sequence[dict[str, Any]]) -> None:
    from imagegen_cli.display.tables import Item, print_items  # noqa: PLC0415 - Rich only where it draws

    items = [
        Item((row["name"],), "chosen" if row["default"] else "ready" if row["configured"] else "absent") for row in rows
    ]
    items += [Item((f"{row['name']} = {row['stands_for']}",), "ready") for row in short_names]
    legend = {
        "chosen": tr("used without --model"),
        "ready": tr("can be named with --model"),
        "absent": tr("imagegen init connects its service"),
    }
    print_items(items, stream=sys.stdout, environ=os.environ, legend=legend)


def _say_unconfigured(config: Config) -> None:
    used = {one.kind for one in config.providers.values()}
    services = [kind for kind, _ in titles() if not is_local(load(kind), load(kind).Settings())]
    if left := [kind for kind in services if kind not in used]:
        say(Message("not configured: {kinds}; imagegen init connects one").format(kinds=", ".join(left)))


def titles() -> list[tuple[str, str]]:
    """Kinds with their titles, without those that cannot be loaded: other packages bring them."""
    found = []
    for kind in kinds():
        try:
            found.append((kind, load(kind).title))
        except ConfigError as error:
            say(error.message)
    return found


def _exit_code(answers: Sequence[Answer[Any]]) -> int:
    """0 where a service answered, or has no such question; 3 where none did and credentials are why; else 1."""
    troubles = [None if answer.is_unknown_question else answer.trouble for answer in answers]
    if not troubles or None in troubles:
        return 0
    return 3 if any(isinstance(trouble, ConfigError | Unauthorized) for trouble in troubles) else 1
