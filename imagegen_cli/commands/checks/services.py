"""Services: what each answer to a question without cost means for address, key, credits, clock and settings."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imagegen_cli.commands.checks.asking import NO_CREDITS, Answer, ask, balance_text, knock, together
from imagegen_cli.commands.checks.finding import Finding, Level
from imagegen_cli.commands.checks.machine import network, way_of
from imagegen_cli.core.errors import BadRequest, ConfigError, ImagegenError, Unauthorized
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.provider import Balance
from imagegen_cli.core.text import seconds
from imagegen_cli.inputs.plan import check_settings
from imagegen_cli.settings.config import Configured
from imagegen_cli.settings.keys import key_of, keys_lacking, keys_of, variable_of

UNKNOWN = "the service does not know this question"
MAX_CLOCK_SKEW_S = 60.0
"""A signature is refused for little more."""


def check_services(chosen: Sequence[Configured], busy: Mapping[str, str]) -> Iterator[Finding]:
    """Check the network and these services. `busy` has the names of those whose credits must not be asked, and why."""
    found = network(chosen)
    yield from found
    if all(finding.level is not Level.NO for finding in found):
        for findings in together(_service(one, busy.get(one.name, "")) for one in chosen):
            yield from findings


async def _service(one: Configured, busy: str) -> list[Finding]:
    if one.is_local:
        return [Finding(Level.OK, "service", "has no address: nothing to reach, no key", provider=one.name)]
    try:
        one = replace(one, settings=await asyncio.to_thread(key_of, one))
    except ConfigError as error:
        found = [_address(one, [await knock(one)]), Finding.of_error("key", error)]
    else:
        found = await _answers(one, busy)
    found += await _settings(one, works=all(finding.level is not Level.NO for finding in found))
    return [replace(finding, provider=one.name) for finding in found]


async def _settings(one: Configured, *, works: bool) -> list[Finding]:
    """What no request could be sent with; and, where the service works, what the settings name and it does not have."""
    try:
        check_settings(one)
    except ConfigError as error:
        return [Finding.of_error("settings", error)]
    answer: Answer[None] = await ask(one, lambda provider: provider.check_service()) if works else Answer(None)
    trouble = answer.trouble
    if trouble is None:
        return []
    if answer.is_unknown_question:
        return [Finding(Level.UNASKED, "settings", f"{UNKNOWN}: {trouble.message}")]
    if isinstance(trouble, BadRequest):
        return [Finding.of_error("settings", trouble)]
    return [Finding(Level.WARN, "settings", f"cannot be checked now: {trouble.message}", trouble.hint)]


async def _answers(one: Configured, busy: str) -> list[Finding]:
    """Ask for models and for credits, and read the answers."""
    models = ask(one, lambda provider: provider.models())
    balance: Answer[Balance | None]
    if busy:
        listed, balance = await models, Answer(None)
    else:
        listed, balance = await asyncio.gather(models, ask(one, lambda provider: provider.balance()))
    answers: list[Answer[Any]] = [listed, balance]
    if not any(answer.responses for answer in answers):
        answers.append(await knock(one))
    address = _address(one, answers)
    if address.level is Level.NO:
        return [address]
    return [address, _key(one, answers[:2]), _credits(balance, busy), *_clock(one, answers)]


def _address(one: Configured, answers: Sequence[Answer[Any]]) -> Finding:
    url = without_user(one.settings.base_url)
    way = f"{url} ({way_of(one.settings.base_url)})"
    if any(answer.responses for answer in answers):
        asked = [answer for answer in answers if answer.responses]
        strange = all(answer.is_unknown_question for answer in asked)
        advice = "it knew none of the questions: if it should, correct base_url" if strange else ""
        return Finding(Level.OK, "address", f"{way} answers", advice)
    trouble = answers[-1].trouble
    message = trouble.message if trouble else "no answer"
    if "CERTIFICATE" in message.upper():
        advice = "set SSL_CERT_FILE to a file with the certificate of its authority"
    else:
        advice = "start the service, or correct base_url, the proxy or the network"
    return Finding(Level.NO, "address", f"{way}: {message}", advice)


def _key(one: Configured, answers: Sequence[Answer[Any]]) -> Finding:
    unknown = next((answer.trouble for answer in answers if answer.is_unknown_question), None)
    troubles = [answer.trouble for answer in answers if answer.trouble is not None and not answer.is_unknown_question]
    refused = next((error for error in troubles if isinstance(error, ConfigError | Unauthorized)), None)
    if refused is not None:
        return Finding(Level.NO, "key", refused.message, refused.hint or "imagegen init writes another")
    accepted = [answer.responses for answer in answers if answer.trouble is None]
    if any(response.with_key and response.is_success for responses in accepted for response in responses):
        return Finding(Level.OK, "key", "the service answered a question that carried it")
    if troubles:
        return Finding(Level.WARN, "key", f"cannot be checked now: {troubles[0].message}", troubles[0].hint)
    return _untried_key(one, unknown)


def _untried_key(one: Configured, unknown: ImagegenError | None) -> Finding:
    """About a key that no question has carried. `unknown`: a question that the service does not know."""
    if lacking := keys_lacking(one):
        advice = " and ".join(f"{name} or ${variable_of(one, name)}" for name in lacking)
        return Finding(Level.WARN, "key", f"{' and '.join(lacking)} not set", f"set {advice}; imagegen init helps")
    if one.settings.api_key:
        return Finding(Level.UNASKED, "key", "is set; only a paid request can show whether the service accepts it")
    if unknown is not None:
        return Finding(Level.UNASKED, "key", f"none is set; {UNKNOWN}: {unknown.message}")
    return Finding(Level.OK, "key", "none is set, and the service asks for none")


def _credits(answer: Answer[Balance | None], busy: str) -> Finding:
    if busy:
        return Finding(Level.UNASKED, "credits", f"not asked: {busy}")
    if answer.is_unknown_question and answer.trouble is not None:
        return Finding(Level.UNASKED, "credits", f"{UNKNOWN}: {answer.trouble.message}")
    if answer.trouble is not None:
        return Finding(Level.WARN, "credits", f"unknown: {answer.trouble.message}")
    balance = answer.value
    message = balance_text(balance)
    note = balance.note if balance else ""
    if balance is not None and balance.troubled:
        advice = "renew the keys that are refused, or take them out of api_key"
        return Finding(Level.WARN, "credits", f"{message}: {note}", advice)
    if message == "unknown":
        return Finding(Level.UNASKED, "credits", f"unknown: {note or NO_CREDITS}")
    spent = balance is not None and (balance.amount or 0.0) <= 0
    return Finding(Level.WARN if spent else Level.OK, "credits", message, "top up the account" if spent else "")


def _clock(one: Configured, answers: Sequence[Answer[Any]]) -> Iterator[Finding]:
    signs = "secret_key" in keys_of(one.type)
    responses = [response for answer in answers for response in answer.responses]
    skews = [response.clock_ahead_s for response in responses if response.clock_ahead_s is not None]
    if not skews:
        if signs:
            advice = "check the clock of this machine: requests are signed with its time"
            yield Finding(Level.UNASKED, "clock", "the service did not tell its time", advice)
        return
    skew = min(skews, key=abs)
    if abs(skew) <= MAX_CLOCK_SKEW_S:
        yield Finding(Level.OK, "clock", "agrees with the service's clock")
        return
    message = f"this machine is {seconds(abs(skew))} {'behind' if skew > 0 else 'ahead of'} the service"
    why = "the service refuses signed requests for it" if signs else "keys and links expire by it"
    yield Finding(Level.WARN, "clock", message, f"set the clock: {why}")
