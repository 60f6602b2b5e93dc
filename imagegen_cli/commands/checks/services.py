"""Services: what each answer to a question without cost means for address, key, credits, clock and settings."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imagegen_cli.commands.checks.asking import NO_CREDITS, Answer, ask, balance_text, knock, together
from imagegen_cli.commands.checks.finding import Finding, Level
from imagegen_cli.commands.checks.machine import network, way_of
from imagegen_cli.core.errors import BadRequest, ConfigError, ImagegenError, Unauthorized
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.provider import Balance
from imagegen_cli.core.text import seconds
from imagegen_cli.inputs.plan import check_settings
from imagegen_cli.settings.config import Configured
from imagegen_cli.settings.keys import key_of, keys_lacking, keys_of, variable_of

SETTINGS = Message("settings")
SERVICE = Message("service")
ADDRESS = Message("address")
KEY = Message("key")
CREDITS = Message("credits")
CLOCK = Message("clock")
UNKNOWN = Message("the service does not know this question: {why}")
NOT_NOW = Message("cannot be checked now: {why}")
CREDITS_UNKNOWN = Message("unknown: {why}")
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
        message = Message("has no address: nothing to reach, no key")
        return [Finding(Level.OK, SERVICE, message, provider=one.name)]
    try:
        one = replace(one, settings=await asyncio.to_thread(key_of, one))
    except ConfigError as error:
        found = [_address(one, [await knock(one)]), Finding.of_error(KEY, error)]
    else:
        found = await _answers(one, busy)
    found += await _settings(one, works=all(finding.level is not Level.NO for finding in found))
    return [replace(finding, provider=one.name) for finding in found]


async def _settings(one: Configured, *, works: bool) -> list[Finding]:
    """What no request could be sent with; and, where the service works, what the settings name and it does not have."""
    try:
        check_settings(one)
    except ConfigError as error:
        return [Finding.of_error(SETTINGS, error)]
    answer: Answer[None] = await ask(one, lambda provider: provider.check_service()) if works else Answer(None)
    trouble = answer.trouble
    if trouble is None:
        return []
    if answer.is_unknown_question:
        return [Finding(Level.UNASKED, SETTINGS, UNKNOWN.format(why=trouble.message))]
    if isinstance(trouble, BadRequest):
        return [Finding.of_error(SETTINGS, trouble)]
    return [Finding(Level.WARN, SETTINGS, NOT_NOW.format(why=trouble.message), trouble.hint)]


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
    way = way_of(one.settings.base_url)
    if any(answer.responses for answer in answers):
        asked = [answer for answer in answers if answer.responses]
        strange = all(answer.is_unknown_question for answer in asked)
        advice = Message("it knew none of the questions: if it should, correct base_url") if strange else ""
        return Finding(Level.OK, ADDRESS, Message("{url} ({way}) answers").format(url=url, way=way), advice)
    trouble = answers[-1].trouble
    why = trouble.message if trouble else Message("no answer")
    if "CERTIFICATE" in why.upper():
        advice = Message("set SSL_CERT_FILE to a file with the certificate of its authority")
    else:
        advice = Message("start the service, or correct base_url, the proxy or the network")
    return Finding(Level.NO, ADDRESS, Message("{url} ({way}): {why}").format(url=url, way=way, why=why), advice)


def _key(one: Configured, answers: Sequence[Answer[Any]]) -> Finding:
    unknown = next((answer.trouble for answer in answers if answer.is_unknown_question), None)
    troubles = [answer.trouble for answer in answers if answer.trouble is not None and not answer.is_unknown_question]
    refused = next((error for error in troubles if isinstance(error, ConfigError | Unauthorized)), None)
    if refused is not None:
        return Finding(Level.NO, KEY, refused.message, refused.hint or Message("imagegen init writes another"))
    accepted = [answer.responses for answer in answers if answer.trouble is None]
    if any(response.with_key and response.is_success for responses in accepted for response in responses):
        return Finding(Level.OK, KEY, Message("the service answered a question that carried it"))
    if troubles:
        return Finding(Level.WARN, KEY, NOT_NOW.format(why=troubles[0].message), troubles[0].hint)
    return _untried_key(one, unknown)


def _untried_key(one: Configured, unknown: ImagegenError | None) -> Finding:
    """About a key that no question has carried. `unknown`: a question that the service does not know."""
    if lacking := keys_lacking(one):
        return _lacking_keys(one, lacking)
    if one.settings.api_key:
        message = Message("is set; only a paid request can show whether the service accepts it")
        return Finding(Level.UNASKED, KEY, message)
    if unknown is not None:
        message = Message("none is set; {why}").format(why=UNKNOWN.format(why=unknown.message))
        return Finding(Level.UNASKED, KEY, message)
    return Finding(Level.OK, KEY, Message("none is set, and the service asks for none"))


def _lacking_keys(one: Configured, lacking: Sequence[str]) -> Finding:
    """At most two: a key and its second half."""
    either = Message("{name} or ${variable}")
    ways = _all([either.format(name=name, variable=variable_of(one, name)) for name in lacking])
    advice = Message("set {ways}; imagegen init helps").format(ways=ways)
    return Finding(Level.WARN, KEY, Message("{names} not set").format(names=_all(lacking)), advice)


def _all(parts: Sequence[str]) -> str:
    found = parts[0]
    for part in parts[1:]:
        found = Message("{first} and {second}").format(first=found, second=part)
    return found


def _credits(answer: Answer[Balance | None], busy: str) -> Finding:
    if busy:
        return Finding(Level.UNASKED, CREDITS, Message("not asked: {why}").format(why=busy))
    if answer.trouble is not None:
        if answer.is_unknown_question:
            return Finding(Level.UNASKED, CREDITS, UNKNOWN.format(why=answer.trouble.message))
        return Finding(Level.WARN, CREDITS, CREDITS_UNKNOWN.format(why=answer.trouble.message))
    return _told_credits(answer.value)


def _told_credits(balance: Balance | None) -> Finding:
    message = balance_text(balance)
    note = balance.note if balance else ""
    if balance is not None and balance.troubled:
        advice = Message("renew the keys that are refused, or take them out of api_key")
        said = Message("{amount}: {note}").format(amount=message, note=note)
        return Finding(Level.WARN, CREDITS, said, advice)
    if message == "unknown":
        return Finding(Level.UNASKED, CREDITS, CREDITS_UNKNOWN.format(why=note or NO_CREDITS))
    spent = balance is not None and (balance.amount or 0.0) <= 0
    if not spent:
        return Finding(Level.OK, CREDITS, message)
    return Finding(Level.WARN, CREDITS, message, Message("top up the account"))


def _clock(one: Configured, answers: Sequence[Answer[Any]]) -> Iterator[Finding]:
    signs = "secret_key" in keys_of(one.type)
    responses = [response for answer in answers for response in answer.responses]
    skews = [response.clock_ahead_s for response in responses if response.clock_ahead_s is not None]
    if not skews:
        if signs:
            advice = Message("check the clock of this machine: requests are signed with its time")
            yield Finding(Level.UNASKED, CLOCK, Message("the service did not tell its time"), advice)
        return
    skew = min(skews, key=abs)
    if abs(skew) <= MAX_CLOCK_SKEW_S:
        yield Finding(Level.OK, CLOCK, Message("agrees with the service's clock"))
        return
    behind, ahead = (
        Message("this machine is {duration} behind the service"),
        Message("this machine is {duration} ahead of the service"),
    )
    message = (behind if skew > 0 else ahead).format(duration=seconds(abs(skew)))
    signed, plain = (
        Message("set the clock: the service refuses signed requests for it"),
        Message("set the clock: keys and links expire by it"),
    )
    yield Finding(Level.WARN, CLOCK, message, signed if signs else plain)
