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
from imagegen_cli.core.masking import without_user
from imagegen_cli.inputs.plan import MIN_FREE_BYTES
from imagegen_cli.net.client import trust
from imagegen_cli.net.proxies import check_certificates, proxy_for, proxy_settings
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.settings.files import OTHERS
from imagegen_cli.settings.paths import expanded, history_file, working_folder


def network(chosen: Sequence[Configured]) -> list[Finding]:
    """Whether the environment's certificates and proxies can be used for these services."""
    return [_certificates(), _proxies(chosen)]


def check_network(chosen: Sequence[Configured]) -> None:
    """Raise ConfigError for the first thing of `network` that cannot work."""
    for finding in network(chosen):
        if finding.level is Level.NO:
            raise ConfigError(f"{finding.check}: {finding.message}", hint=finding.advice)


def _certificates() -> Finding:
    """Look at certificates as `client.trust` chooses them."""
    named = [f"${name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    try:
        check_certificates()
        trust()
    except ConfigError as error:
        return Finding.of_error("TLS", error)
    except OSError as error:
        why = f"{' '.join(named) or 'the system'}: certificates cannot be read: {error.strerror or error}"
        return Finding(Level.NO, "TLS", why, "name a readable file of certificates in SSL_CERT_FILE")
    return Finding(Level.OK, "TLS", f"certificates of {' '.join(named) or 'the system'} are trusted")


def _proxies(chosen: Sequence[Configured]) -> Finding:
    found = proxy_settings()
    if "*" in found.exceptions:
        return Finding(Level.OK, "proxy", "none is used: NO_PROXY is *")
    for one in chosen:
        try:
            _ = one.is_local or proxy_for(one.settings.base_url)
        except ConfigError as error:
            return Finding.of_error("proxy", error)
    names = ", ".join(f"{scheme} by {without_user(url)}" for scheme, url in sorted(found.by_scheme.items()))
    return Finding(Level.OK, "proxy", names or "none is set")


def way_of(url: str) -> str:
    """How a request to this address goes: directly, or by which proxy."""
    found = proxy_settings()
    if not (found.by_scheme.get(urlsplit(url).scheme) or found.by_scheme.get("all")):
        return "directly"
    proxy = found.proxy_for(url)
    return f"by the proxy {without_user(proxy)}" if proxy else "directly, as NO_PROXY says"


def output(config: Config) -> Finding:
    """Whether the folder for pictures can be written, and has space."""
    advice = "choose another folder: output in the settings, or --output"
    try:
        folder = working_folder() / expanded(config.general.output)
    except ImagegenError as error:
        return Finding.of_error("output", error)
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(Level.NO, "output", f"cannot write into {existing}: {error.strerror or error}", advice)
    if free < MIN_FREE_BYTES:
        return Finding(Level.NO, "output", f"no space is left in {existing}", f"free some, or {advice}")
    return Finding(Level.OK, "output", f"{folder} can be written, {free / 1e9:.1f} GB free")


def history(*, fix: bool) -> Iterator[Finding]:
    """Whether the history is whole, and what ended processes left behind; `fix` removes what is certainly useless."""
    path = history_file()
    try:
        if not has_history():
            yield Finding(Level.OK, "history", f"none yet; it will be {path}")
            return
        with closing(open_history()) as store:
            problem = store.check()
            if problem != "ok":
                what = f"{store.name} is damaged: {problem}"
                yield Finding(Level.NO, "history", what, "move it away to begin a new one")
                return
            yield Finding(Level.OK, "history", f"{store.name} answers") if store.is_remote else _permissions(path)
            yield from check_leftovers(store, fix=fix)
    except (ConfigError, HistoryError) as error:
        yield Finding.of_error("history", error)


def _permissions(path: Path) -> Finding:
    if os.name != "nt" and path.stat().st_mode & OTHERS:
        return Finding(Level.WARN, "history", f"{path} is open to others", f"chmod 600 {shlex.quote(str(path))}")
    return Finding(Level.OK, "history", f"{path} is whole")
