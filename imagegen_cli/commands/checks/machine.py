"""The machine itself: certificates, proxies, the folder for pictures, the history."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from imagegen_cli.commands.checks.finding import Finding, Level
from imagegen_cli.commands.checks.leftovers import check_leftovers
from imagegen_cli.commands.histories import has_history, open_history
from imagegen_cli.core.errors import ConfigError, HistoryError, ImagegenError
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.system_errors import cause
from imagegen_cli.inputs.plan import MIN_FREE_BYTES
from imagegen_cli.net.client import trust
from imagegen_cli.net.proxies import check_certificates, proxy_for, proxy_settings
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.settings.files import OTHERS
from imagegen_cli.settings.paths import expanded, history_file, working_folder
from imagegen_cli.storage.database import SALVAGE
from imagegen_cli.storage.store import Store

PROXY = Message("proxy")
OUTPUT = Message("output")
HISTORY = Message("history")
SEARCH = Message("search")


def network(chosen: Sequence[Configured]) -> list[Finding]:
    """Whether the environment's certificates and proxies can be used for these services."""
    return [_certificates(), _proxies(chosen)]


def check_network(chosen: Sequence[Configured]) -> None:
    """Raise ConfigError for the first thing of `network` that cannot work."""
    for finding in network(chosen):
        if finding.level is Level.NO:
            message = Message("{check}: {message}").format(check=finding.check, message=finding.message)
            raise ConfigError(message, hint=finding.advice)


def _certificates() -> Finding:
    """Look at certificates as `client.trust` chooses them."""
    named = [f"${name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    place = " ".join(named) or Message("the system")
    try:
        check_certificates()
        trust()
    except ConfigError as error:
        return Finding.of_error("TLS", error)
    except OSError as error:
        message = Message("{place}: certificates cannot be read: {why}")
        message = message.format(place=place, why=cause(error))
        return Finding(Level.NO, "TLS", message, Message("name a readable file of certificates in SSL_CERT_FILE"))
    return Finding(Level.OK, "TLS", Message("certificates of {place} are trusted").format(place=place))


def _proxies(chosen: Sequence[Configured]) -> Finding:
    found = proxy_settings()
    if "*" in found.exceptions:
        return Finding(Level.OK, PROXY, Message("none is used: NO_PROXY is *"))
    for one in chosen:
        try:
            _ = one.is_local or proxy_for(one.settings.base_url)
        except ConfigError as error:
            return Finding.of_error(PROXY, error)
    by = Message("{scheme} by {address}")
    names = [by.format(scheme=scheme, address=without_user(url)) for scheme, url in sorted(found.by_scheme.items())]
    return Finding(Level.OK, PROXY, joined(", ", names) if names else Message("none is set"))


def way_of(url: str) -> str:
    """How a request to this address goes: directly, or by which proxy."""
    found = proxy_settings()
    if not (found.by_scheme.get(urlsplit(url).scheme) or found.by_scheme.get("all")):
        return Message("directly")
    proxy = found.proxy_for(url)
    if not proxy:
        return Message("directly, as NO_PROXY says")
    return Message("by the proxy {address}").format(address=without_user(proxy))


def output(config: Config) -> Finding:
    """Whether the folder for pictures can be written, and has space."""
    advice = Message("choose another folder: output in the settings, or --output")
    try:
        folder = working_folder() / expanded(config.general.output)
    except ImagegenError as error:
        return Finding.of_error(OUTPUT, error)
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        message = Message("cannot write into {folder}: {why}")
        return Finding(Level.NO, OUTPUT, message.format(folder=existing, why=cause(error)), advice)
    if free < MIN_FREE_BYTES:
        message = Message("no space is left in {folder}").format(folder=existing)
        return Finding(Level.NO, OUTPUT, message, Message("free some, or {advice}").format(advice=advice))
    message = Message("{folder} can be written, {size:.1f} GB free").format(folder=folder, size=free / 1e9)
    return Finding(Level.OK, OUTPUT, message)


def history(*, fix: bool) -> Iterator[Finding]:
    """Whether the history is whole, and what ended processes left behind; `fix` removes what is certainly useless."""
    path = history_file()
    try:
        if not has_history():
            yield Finding(Level.OK, HISTORY, Message("none yet; it will be {path}").format(path=path))
            return
        with closing(open_history()) as store:
            problem = store.check()
            is_of_the_index = "prompt_words" in problem  # newer SQLites check it as well
            if problem != "ok" and not is_of_the_index:
                message = Message("{name} is damaged: {why}").format(name=store.name, why=problem)
                yield Finding(Level.NO, HISTORY, message, SALVAGE)
                return
            answers = Message("{name} answers").format(name=store.name)
            yield Finding(Level.OK, HISTORY, answers) if store.is_remote else _permissions(path)
            if is_of_the_index or not store.index_agrees():
                yield _damaged_index(store, fix=fix)
            yield from check_leftovers(store, fix=fix)
    except (ConfigError, HistoryError) as error:
        yield Finding.of_error(HISTORY, error)


def _damaged_index(store: Store, *, fix: bool) -> Finding:
    if fix and store.rebuild_index():
        mended = Message("the index of words does not agree with the prompts; it was made anew")
        return Finding(Level.OK, SEARCH, mended)
    message = Message("the index of words does not agree with the prompts")
    return Finding(Level.WARN, SEARCH, message, Message("imagegen doctor --fix makes it anew; nothing is lost"))


def _permissions(path: Path) -> Finding:
    if os.name != "nt" and path.stat().st_mode & OTHERS:
        message = Message("{path} is open to others").format(path=path)
        return Finding(Level.WARN, HISTORY, message, f"chmod 600 {shlex.quote(str(path))}")
    return Finding(Level.OK, HISTORY, Message("{path} is whole").format(path=path))
