"""Whether everything can work, without spending: services, this machine, and what killed processes left behind."""

import asyncio
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from imagegen_cli.core.errors import (
    BadRequest,
    ConfigError,
    HistoryError,
    ImagegenError,
    ProviderBug,
    Unauthorized,
    Unavailable,
    UsageError,
    question_hint,
)
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.provider import Balance, Clients, Provider, Settings
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import Cancelled, Done, Failed, StagedImage
from imagegen_cli.core.text import amount, encoded, literal, printer, seconds
from imagegen_cli.inputs.plan import LEAST_FREE, check_settings
from imagegen_cli.net.client import open_clients, trust
from imagegen_cli.net.image_files import left_behind, whole
from imagegen_cli.net.proxies import check_certificates, proxy_for, proxy_settings
from imagegen_cli.providers._http import call
from imagegen_cli.settings.config import Config, Configured, General, load_config
from imagegen_cli.settings.keys import key_of
from imagegen_cli.settings.paths import expanded, history_file, is_there, kept_folder, working_folder
from imagegen_cli.storage.records import Filter, Record
from imagegen_cli.storage.store import Store

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for one question to a service."""
SKEW = 60.0
"""Seconds by which the clock may be wrong; a signature is refused for little more."""
KEYS = ("api_key", "secret_key")
MOST_IDS = 20
SHORTEST_SECRET = 4
"""Characters; anything shorter is found in every other word and hides nothing."""


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    check: str
    said: str
    todo: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer of a service: whether the question carried a key, and how far its clock is ahead of ours."""

    with_key: bool
    skew: float | None


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What came of a question; with `trouble` there is no value. No `heard`: nothing went over the network."""

    value: T | None
    trouble: ImagegenError | None = None
    heard: tuple[Heard, ...] = ()


def doctor(name: str = "", *, fix: bool, as_json: bool) -> int:
    """Print one line a check, of all services or of the one that is named. 3 where something cannot work."""
    data = printer(sys.stdout, as_json=as_json)
    worst = 0
    for finding in _findings(name, fix=fix):
        data.line(_object(finding, data.encoding) if as_json else line(finding, data.encoding))
        worst = 3 if finding.level is Level.NO else worst
    return worst


def line(finding: Finding, encoding: str) -> str:
    provider = f"{finding.provider}: " if finding.provider else ""
    todo = f"; {finding.todo}" if finding.todo else ""
    return literal(f"{finding.level:<4} {provider}{finding.check}: {finding.said}{todo}", encoding)


def _object(finding: Finding, encoding: str) -> str:
    """JSON: v, level (ok, warn, no), provider (or null), check, said, todo."""
    told = {"check": finding.check, "said": finding.said, "todo": finding.todo}
    return encoded({"v": 1, "level": finding.level, "provider": finding.provider or None, **told}, encoding)


def _findings(name: str, *, fix: bool) -> Iterator[Finding]:
    config, found = _settings()
    if name and all(finding.level is not Level.NO for finding in found):
        config.provider(name)
    yield from found
    yield _output(config)
    yield from _history(fix=fix)
    if name:
        yield from _of_one(config, name)
        return
    chosen = config.own
    yield from (_not_asked(one) for one in config.providers.values() if not config.is_own(one.name))
    try:
        default = config.provider(config.default)
        chosen += [] if default.name in config.providers else [default]
    except ImagegenError as error:
        yield Finding(Level.NO, "default provider", error.message, error.hint)
    yield from examined(chosen, _busy_or_none(config))


def _not_asked(one: Configured) -> Finding:
    said = f"not asked: only the project file names it and its address, {without_user(one.settings.base_url)}"
    return Finding(Level.OK, "service", said, f"imagegen models {one.name} asks it", one.name)


def _of_one(config: Config, name: str) -> Iterator[Finding]:
    try:
        yield from examined([config.provider(name)], _busy_or_none(config))
    except UsageError as error:  # the settings cannot be read, which has been said
        yield Finding(Level.NO, "provider", error.message, error.hint)


# Services


def examined(chosen: Sequence[Configured], busy: Mapping[str, str]) -> Iterator[Finding]:
    """What is found about the network and these services. `busy`: who must not be asked for credits, and why."""
    network = [_trust(), _proxies(chosen)]
    yield from network
    if all(finding.level is not Level.NO for finding in network):
        for findings in _together(_service(one, busy.get(one.name, "")) for one in chosen):
            yield from findings


def ask_all(chosen: Sequence[Configured], question: Callable[[Provider[Any]], Awaitable[T]]) -> list[Told[T]]:
    """The same question to several services at the same time."""
    return _together(_ask(one, question) for one in chosen)


def busy_with(config: Config) -> dict[str, str]:
    """Providers at which a living process has tasks, and which process that is; so are others of the same address.

    A question for credits may switch the account that those tasks were sent from.
    """
    if not is_there(history_file()):
        return {}
    with closing(Store(history_file())) as store:
        at_work = store.busy_providers()
    busy = {name: f"process {who.pid} on {who.host} has tasks there" for name, who in at_work.items()}
    known = config.providers
    addresses = {known[name].settings.base_url.rstrip("/"): who for name, who in busy.items() if name in known}
    same = {name: addresses.get(one.settings.base_url.rstrip("/"), "") for name, one in known.items()}
    return {name: who for name, who in same.items() if who} | busy


def balance_said(balance: Balance | None) -> str:
    """An amount with its unit, or unknown: never a made-up number."""
    if balance is None or balance.amount is None or not math.isfinite(balance.amount):
        return "unknown"
    whole = balance.amount.is_integer()
    return f"{int(balance.amount) if whole else round(balance.amount, 4)} {balance.unit}"


def at_home(kind: type[Provider[Any]], settings: Settings) -> bool:
    """Whether it speaks to nobody: there is no address to reach, no account and no key."""
    return kind.local or not settings.base_url


def keys_lacking(one: Configured) -> list[str]:
    """Keys that are usual for this service and stand nowhere."""
    usual = {name: variable_of(one, name) for name in keys_of(one.type)}
    settings = one.settings
    return [name for name, variable in usual.items() if variable and not (getattr(settings, name) or _set(variable))]


def keys_of(kind: type[Provider[Any]]) -> list[str]:
    """The fields that a person fills with a key, of those that this kind has."""
    known = {item.name for item in fields(kind.Settings)}
    return [name for name in KEYS if name in known]


def variable_of(one: Configured, field: str) -> str:
    """The environment variable that a key is read from by itself; empty where there is none, so no key is usual."""
    return one.settings.variable_for(field)


def _set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())


def _together(work: Any) -> list[Any]:
    async def gathered() -> list[Any]:
        return list(await asyncio.gather(*work))

    return asyncio.run(gathered())


def _busy_or_none(config: Config) -> Mapping[str, str]:
    try:
        return busy_with(config)
    except HistoryError:  # said where the history is checked; nobody can be at work on it
        return {}


async def _service(one: Configured, busy: str) -> list[Finding]:
    if at_home(one.type, one.settings):
        return [Finding(Level.OK, "service", "has no address: nothing to reach, no key", provider=one.name)]
    try:
        one = replace(one, settings=await asyncio.to_thread(key_of, one))
    except ConfigError as error:
        found = [_address(one, [await _knock(one)]), Finding(Level.NO, "key", error.message, error.hint)]
    else:
        found = await _questioned(one, busy)
    unusable = list(_unusable(one))
    if not unusable and all(finding.level is not Level.NO for finding in found):
        unusable = await _lacking(one)
    found += unusable
    return [replace(finding, provider=one.name) for finding in found]


def _unusable(one: Configured) -> Iterator[Finding]:
    try:
        check_settings(one)
    except ConfigError as error:
        yield Finding(Level.NO, "settings", error.message, error.hint)


async def _lacking(one: Configured) -> list[Finding]:
    """What the settings name and the service does not have."""
    trouble = (await _ask(one, lambda provider: provider.check_service())).trouble
    if trouble is None:
        return []
    if isinstance(trouble, BadRequest):
        return [Finding(Level.NO, "settings", trouble.message, trouble.hint)]
    return [Finding(Level.WARN, "settings", f"cannot be tried now: {trouble.message}", trouble.hint)]


async def _questioned(one: Configured, busy: str) -> list[Finding]:
    models = _ask(one, lambda provider: provider.models())
    balance: Told[Balance | None]
    if busy:
        listed, balance = await models, Told(None)
    else:
        listed, balance = await asyncio.gather(models, _ask(one, lambda provider: provider.balance()))
    asked: list[Told[Any]] = [listed, balance]
    if not any(told.heard for told in asked):
        asked.append(await _knock(one))
    address = _address(one, asked)
    if address.level is Level.NO:
        return [address]
    return [address, _key(one, asked[:2]), _credits(balance, busy), *_clock(one, asked)]


async def _ask(one: Configured, question: Callable[[Provider[Any]], Awaitable[T]]) -> Told[T]:
    try:
        settings = await asyncio.to_thread(key_of, one)
    except ConfigError as error:
        return Told(None, error)

    async def put(clients: Clients) -> T:
        provider = one.type(settings, clients)
        try:
            return await question(provider)
        finally:
            await provider.close()

    return await _listened(one, settings, put)


async def _knock(one: Configured) -> Told[Any]:
    """Any answer at all, for services that no question was sent to."""
    return await _listened(one, one.settings, lambda clients: call(clients, "GET", one.settings.base_url, raw=True))


async def _listened(one: Configured, settings: Settings, work: Callable[[Clients], Awaitable[T]]) -> Told[T]:
    """Do it within PATIENCE seconds, and remember what its answers tell by the way."""
    heard: list[Heard] = []

    async def listen(response: Any) -> None:
        sent = response.request.headers
        with_key = "authorization" in sent or any(secret in sent.values() for secret in _secrets(settings))
        heard.append(Heard(with_key, _skew(response.headers.get("date", ""))))

    try:
        async with asyncio.timeout(PATIENCE), _clients(one) as clients:
            if clients.free is not None:
                clients.free.event_hooks = {"response": [listen]}
            return Told(await work(clients), None, tuple(heard))
    except TimeoutError:
        trouble: ImagegenError = Unavailable(f"no answer within {PATIENCE:.0f} s")
    except ImagegenError as error:
        trouble = error
    except Exception as error:  # noqa: BLE001 - one broken provider must not hide the others
        trouble = ProviderBug(f"the provider itself failed: {type(error).__name__}")
    trouble.hint = question_hint(trouble)
    return Told(None, trouble, tuple(heard))


@asynccontextmanager
async def _clients(one: Configured) -> AsyncIterator[Clients]:
    """As a run has them. Raises ConfigError where what the environment says of the network cannot be used."""
    none: Any = None
    if at_home(one.type, one.settings):
        yield Clients(none, none)
        return
    for finding in (_trust(), _proxies([one])):
        if finding.level is Level.NO:
            raise ConfigError(f"{finding.check}: {finding.said}", hint=finding.todo)
    async with open_clients() as clients:
        yield clients


def _secrets(settings: Settings) -> list[str]:
    """Every text that must not be shown; a key may be several with commas between."""
    values = [getattr(settings, item.name) for item in fields(settings)]
    keys = [part.strip() for value in values if isinstance(value, Secret) for part in value.reveal().split(",")]
    inside = urlsplit(settings.base_url).password or ""
    return [text for text in (*keys, *settings.headers.values(), inside) if len(text) >= SHORTEST_SECRET]


def _skew(date: str) -> float | None:
    """Seconds that a service's clock is ahead of ours."""
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()


# What each answer means


def _address(one: Configured, asked: Sequence[Told[Any]]) -> Finding:
    url = without_user(one.settings.base_url)
    way = f"{url} ({_way(one.settings.base_url)})"
    if any(told.heard for told in asked):
        return Finding(Level.OK, "address", f"{way} answers")
    why = asked[-1].trouble
    said = why.message if why else "no answer"
    if "CERTIFICATE" in said.upper():
        todo = "set SSL_CERT_FILE to a file with the certificate of its authority"
    else:
        todo = "start the service, or correct base_url, the proxy or the network"
    return Finding(Level.NO, "address", f"{way}: {said}", todo)


def _key(one: Configured, asked: Sequence[Told[Any]]) -> Finding:
    troubles = [told.trouble for told in asked if told.trouble is not None]
    refused = next((error for error in troubles if isinstance(error, ConfigError | Unauthorized)), None)
    if refused is not None:
        return Finding(Level.NO, "key", refused.message, refused.hint or "imagegen init writes another")
    if any(heard.with_key for told in asked if told.trouble is None for heard in told.heard):
        return Finding(Level.OK, "key", "a question that carried it was answered")
    if troubles:
        return Finding(Level.WARN, "key", f"cannot be tried now: {troubles[0].message}", troubles[0].hint)
    if lacking := keys_lacking(one):
        todo = " and ".join(f"{name} or ${variable_of(one, name)}" for name in lacking)
        return Finding(Level.WARN, "key", f"{' and '.join(lacking)} not set", f"set {todo}; imagegen init helps")
    if one.settings.api_key:
        return Finding(Level.OK, "key", "is set; whether it is accepted cannot be known without spending")
    return Finding(Level.OK, "key", "none is set, and none was asked for")


def _credits(told: Told[Balance | None], busy: str) -> Finding:
    if busy:
        return Finding(Level.OK, "credits", f"not asked: {busy}")
    if told.trouble is not None:
        return Finding(Level.WARN, "credits", f"unknown: {told.trouble.message}")
    said = balance_said(told.value)
    note = told.value.note if told.value else ""
    if told.value is not None and told.value.troubled:
        return Finding(Level.WARN, "credits", f"{said}: {note}", "renew what is refused, or take it out of api_key")
    if said == "unknown":
        return Finding(Level.OK, "credits", f"unknown: {note or 'the service does not tell'}")
    spent = told.value is not None and (told.value.amount or 0.0) <= 0
    return Finding(Level.WARN if spent else Level.OK, "credits", said, "top up the account" if spent else "")


def _clock(one: Configured, asked: Sequence[Told[Any]]) -> Iterator[Finding]:
    signs = "secret_key" in keys_of(one.type)
    skews = [heard.skew for told in asked for heard in told.heard if heard.skew is not None]
    if not skews:
        if signs:
            yield Finding(Level.WARN, "clock", "the service did not tell its time", "requests are signed: see to yours")
        return
    skew = min(skews, key=abs)
    if abs(skew) <= SKEW:
        yield Finding(Level.OK, "clock", "agrees with the service's")
        return
    said = f"this machine is {seconds(abs(skew))} {'behind' if skew > 0 else 'ahead of'} the service"
    why = "signed requests are refused for it" if signs else "keys and links expire by it"
    yield Finding(Level.WARN, "clock", said, f"set the clock: {why}")


# This machine


def _settings() -> tuple[Config, list[Finding]]:
    try:
        config = load_config()
    except ConfigError as error:
        nothing = Config(general=General(), providers={}, files=())
        return nothing, [Finding(Level.NO, "settings", error.message, error.hint)]
    found = [Finding(Level.OK, "settings", str(path)) for path in config.files]
    for remark in config.remarks:
        said, _, todo = remark.rpartition(": ")
        found.append(Finding(Level.NO, "settings", said, todo))
    return config, found or [Finding(Level.OK, "settings", "none yet", "imagegen init connects a service")]


def _trust() -> Finding:
    """As `client.trust` chooses."""
    named = [f"${name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    try:
        check_certificates()
        trust()
    except ConfigError as error:
        return Finding(Level.NO, "TLS", error.message, error.hint)
    except OSError as error:
        said = f"{' '.join(named) or 'the system'}: certificates cannot be read: {error.strerror or error}"
        return Finding(Level.NO, "TLS", said, "name a readable file of certificates in SSL_CERT_FILE")
    return Finding(Level.OK, "TLS", f"certificates of {' '.join(named) or 'the system'} are trusted")


def _proxies(chosen: Sequence[Configured]) -> Finding:
    """What the environment names, and whether these services can be reached by it."""
    found = proxy_settings()
    if "*" in found.exceptions:
        return Finding(Level.OK, "proxy", "none is used: NO_PROXY is *")
    for one in chosen:
        try:
            _ = at_home(one.type, one.settings) or proxy_for(one.settings.base_url)
        except ConfigError as error:
            return Finding(Level.NO, "proxy", error.message, error.hint)
    told = ", ".join(f"{scheme} by {without_user(url)}" for scheme, url in sorted(found.by_scheme.items()))
    return Finding(Level.OK, "proxy", told or "none is set")


def _way(url: str) -> str:
    """Which proxy a request to this address takes."""
    found = proxy_settings()
    if not (found.by_scheme.get(urlsplit(url).scheme) or found.by_scheme.get("all")):
        return "directly"
    proxy = found.proxy_for(url)
    return f"by the proxy {without_user(proxy)}" if proxy else "directly, as NO_PROXY says"


def _output(config: Config) -> Finding:
    todo = "choose another folder: output in the settings, or --output"
    try:
        folder = working_folder() / expanded(config.general.output)
    except ImagegenError as error:
        return Finding(Level.NO, "output", error.message, error.hint)
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(Level.NO, "output", f"cannot write into {there}: {error.strerror or error}", todo)
    if free < LEAST_FREE:
        return Finding(Level.NO, "output", f"no space left in {there}", f"free some, or {todo}")
    return Finding(Level.OK, "output", f"{folder} can be written, {free / 1e9:.1f} GB free")


def _history(*, fix: bool) -> Iterator[Finding]:
    path = history_file()
    if not is_there(path):
        yield Finding(Level.OK, "history", f"none yet; it will be {path}")
        return
    try:
        with closing(Store(path)) as store:
            said = store.check()
            if said != "ok":
                yield Finding(Level.NO, "history", f"{path} is damaged: {said}", "move it away to begin a new one")
                return
            yield _whole_history(path)
            yield from _leftovers(store, fix=fix)
    except HistoryError as error:
        yield Finding(Level.NO, "history", error.message, error.hint)


def _whole_history(path: Path) -> Finding:
    if os.name != "nt" and path.stat().st_mode & 0o077:
        return Finding(Level.WARN, "history", f"{path} is open to others", f"chmod 600 {shlex.quote(str(path))}")
    return Finding(Level.OK, "history", f"{path} is whole")


# What killed processes left behind


def _leftovers(store: Store, *, fix: bool) -> Iterator[Finding]:
    left, first = store.orphans(MOST_IDS)
    if fix:
        store.take([])  # a take strikes out the leases of processes that are gone
    if left:
        said = f"{amount(left, 'task')} unfinished, and no process carries them: {_ids(first, left)}"
        yield Finding(Level.WARN, "leases", said, "imagegen resume goes on with what was sent, and sends nothing")
    else:
        yield Finding(Level.OK, "leases", "every unfinished task is carried by a living process")
    yield from _parts(store, fix=fix)


@dataclass(frozen=True, slots=True)
class Left:
    """A part file, and the task that it belongs to; None where this history knows no such task."""

    path: Path
    record: Record | None

    @property
    def over(self) -> bool:
        """Whether its task needs it no more, and no process goes on with it."""
        state = None if self.record is None else self.record.task.state
        return isinstance(state, Done | Cancelled | Failed) and not self._held(state)

    def _held(self, state: object) -> bool:
        images = getattr(state, "images", ())
        return any(isinstance(image, StagedImage) and Path(image.path) == self.path for image in images)

    def useless(self) -> bool:
        """Certainly no whole picture, or a second name of one that its task has."""
        return self.over and (not whole({1: [self.path]}) or self._named())

    def _named(self) -> bool:
        if self.record is None:
            return False
        with suppress(OSError):
            return any(self.path.samefile(path) for path in self.record.task.files if Path(path).exists())
        return False


def _parts(store: Store, *, fix: bool) -> Iterator[Finding]:
    """What is certainly broken and belongs to a task that is over may go; everything else is only told."""
    ours, others = _part_files(store)
    useless = [one for one in ours if one.useless()]
    kept = [one for one in ours if one not in useless and not (one.record is not None and one.record.is_owned)]
    waiting = [one for one in kept if whole({1: [one.path]})]
    yield _broken(store, useless, others, fix=fix)
    if waiting:
        ids = _ids_of([one.record for one in waiting if one.record is not None])
        where = f" (tasks {ids})" if ids else f": {waiting[0].path}"
        said = f"{amount(len(waiting), 'whole picture')} without a name{where}"
        yield Finding(Level.WARN, "whole pictures", said, f"imagegen resume {ids}".rstrip())


def _broken(store: Store, useless: Sequence[Left], others: int, *, fix: bool) -> Finding:
    more = f"; {amount(others, 'part file')} of another history left alone" if others else ""
    if not useless:
        return Finding(Level.OK, "part files", f"none is left behind by a task that is over{more}")
    records = [one.record for one in useless if one.record is not None]
    half = f"{amount(len(useless), 'half picture')} (tasks {_ids_of(records)}) left behind"
    if not fix:
        return Finding(Level.WARN, "part files", f"{half}{more}", "imagegen doctor --fix removes them")
    removed, stuck = _removed(store, useless)
    said = f"{half}, {len(removed)} removed{more}"
    if stuck:
        return Finding(Level.WARN, "part files", f"{said}; {stuck[0]} cannot be", "remove it by hand")
    return Finding(Level.OK, "part files", said)


def _part_files(store: Store) -> tuple[list[Left], int]:
    """The part files of this history, and how many there are of others."""
    found = left_behind([*(Path(folder) for folder in store.folders()), kept_folder()])
    ids = {int(key.partition("-")[2]) for key in found if key.partition("-")[0] == store.token}
    records = {record.task.key: record for record in store.find(Filter(ids=tuple(ids)))} if ids else {}
    ours, others = [], 0
    for key, parts in found.items():
        paths = [path for copies in parts.values() for path in copies]
        if key.partition("-")[0] == store.token:
            ours += [Left(path, records.get(key)) for path in paths]
        else:
            others += len(paths)
    return ours, others


def _removed(store: Store, useless: Sequence[Left]) -> tuple[list[Path], list[Path]]:
    """What could be removed, and what not. The tasks are taken first, so that no other process goes on with them."""
    taken, _ = store.take(sorted({one.record.task.id for one in useless if one.record is not None}))
    ours = {record.task.key: record for record in taken}
    removed, stuck = [], []
    for one in useless:
        fresh = ours.get(one.record.task.key) if one.record is not None else None
        if fresh is None or not Left(one.path, fresh).useless():
            continue
        try:
            one.path.unlink(missing_ok=True)
            removed.append(one.path)
        except OSError:
            stuck.append(one.path)
    return removed, stuck


def _ids(first: Sequence[int], count: int) -> str:
    more = f" and {count - len(first)} more" if count > len(first) else ""
    return " ".join(map(str, first)) + more


def _ids_of(records: Sequence[Record]) -> str:
    ids = sorted({record.task.id for record in records})
    return _ids(ids[:MOST_IDS], len(ids))
