"""What the environment says about the network: proxies, the hosts that need none, and the certificates to trust.

`proxy_for` answers for one address, so a proxy that no configured service would use does no harm: shells often set
`ALL_PROXY` for SOCKS beside `HTTP_PROXY` and `HTTPS_PROXY`.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import hide_user, without_user
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.system_errors import cause

SCHEMES = {"http": "http", "https": "https", "socks": "socks5h", "socks5": "socks5", "socks5h": "socks5h"}
"""Schemes of a proxy's address, each with httpx's name for it. Desktops write `socks://` and mean version 5."""
SOCKS_EXTRA = 'pip install "imagegen-cli[socks]"'
DEFAULT_PORTS = {"http": 80, "https": 443}
PEM_MARK = b"-----BEGIN"
MAX_PEM_BYTES = 64 * 1024 * 1024
WILDCARD = re.compile(r"(?:\d{1,3}\.)*\*")
"""Addresses as Windows and some desktops write them: 192.168.*"""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Proxies by the scheme of a request ("http", "https", "all"), and the hosts that are reached directly."""

    by_scheme: Mapping[str, str]
    exceptions: tuple[str, ...] = ()
    """Entries of NO_PROXY."""
    is_system: bool = False
    """True where the proxies are the desktop's settings, which have exceptions of their own."""

    def proxy_for(self, url: str) -> str:
        """The proxy as it is written; empty where a request goes directly, or `url` is not an address."""
        scheme, host, port = _parts(url)
        proxy = self.by_scheme.get(scheme) or self.by_scheme.get("all", "")
        if not proxy or any(excepts(entry, host, port) for entry in self.exceptions):
            return ""
        return "" if self.is_system and proxy_bypass(host) else proxy


def proxy_settings() -> ProxySettings:
    """What the environment, or else the desktop, says now."""
    found = {scheme: url.strip() for scheme, url in getproxies().items()}
    for url in found.values():
        hide_user(url)
    exceptions = tuple(entry for entry in re.split(r"[,\s]+", found.pop("no", "")) if entry)
    proxies = {scheme: url for scheme, url in found.items() if scheme in ("http", "https", "all") and url}
    return ProxySettings(proxies, exceptions, is_system=not getproxies_environment())


def proxy_for(url: str) -> str:
    """The proxy for an address, in the form that httpx takes; empty: directly. Raises ConfigError."""
    return checked_proxy(proxy_settings().proxy_for(url))


def through(what: str, url: str) -> str:
    """A part of an error's message, and the proxy on the way to an address, without its password, if there is one."""
    proxy = proxy_settings().proxy_for(url)
    return Message("{what} through the proxy {proxy}").format(what=what, proxy=without_user(proxy)) if proxy else what


def checked_proxy(proxy: str) -> str:
    """A proxy's address with a scheme that httpx knows. Raises ConfigError with a hint what to do."""
    if not proxy:
        return ""
    scheme, separator, rest = proxy.partition("://")
    if not separator:
        scheme, rest = "http", proxy
    known, shown, variable = SCHEMES.get(scheme.lower(), ""), without_user(proxy), variable_of(proxy)
    if not known:
        wrong = Message("{variable} is {proxy}: the scheme of a proxy can only be one of {schemes}")
    elif not _has_host(f"{known}://{rest}"):
        wrong = Message("{variable} is {proxy}, which is not the address of a proxy")
    elif known.startswith("socks") and not _is_socks_installed():
        hint = Message("{command}, or set HTTPS_PROXY and HTTP_PROXY to the http:// port of the same proxy")
        lacking = Message("{variable} is {proxy}, and SOCKS needs one more package")
        raise ConfigError(lacking.format(variable=variable, proxy=shown), hint=hint.format(command=SOCKS_EXTRA))
    else:
        return f"{known}://{rest}"
    hint = Message("write it as http://HOST:PORT, or unset {variable}").format(variable=variable)
    raise ConfigError(wrong.format(variable=variable, proxy=shown, schemes=", ".join(SCHEMES)), hint=hint)


def variable_of(proxy: str, scheme: str = "https") -> str:
    """The environment variable that names this proxy; where several do, the one for `scheme`."""
    schemes = (scheme, "https", "http", "all")
    variables = (variable for one in schemes for variable in (f"{one}_proxy", f"{one}_proxy".upper()))
    return next(
        (name for name in variables if os.environ.get(name, "").strip() == proxy), Message("the system's proxy")
    )


def check_network(base_url: str) -> None:
    """Check, before anything is sent or stored, the proxy and certificates for a service. Raises ConfigError."""
    proxy_for(base_url)
    if base_url.lower().startswith("https:"):
        check_certificates()


def check_certificates() -> None:
    """Check that SSL_CERT_FILE and SSL_CERT_DIR name certificates that can be read. Raises ConfigError."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file and (trouble := _certificate_trouble(Path(file))):
        hint = Message("name a file of certificates in PEM form, or unset SSL_CERT_FILE")
        raise ConfigError(
            Message("SSL_CERT_FILE={file} cannot be used: {why}").format(file=file, why=trouble), hint=hint
        )
    if folder and not any(Path(part).is_dir() for part in folder.split(os.pathsep)):
        hint = Message("name a folder of certificates, or unset SSL_CERT_DIR")
        wrong = Message("SSL_CERT_DIR={folder} cannot be used: it is not a folder").format(folder=folder)
        raise ConfigError(wrong, hint=hint)


def _certificate_trouble(file: Path) -> str:
    """Why a file of certificates cannot be used; empty where it can."""
    import ssl  # noqa: PLC0415 - only where the variable is set

    try:
        if PEM_MARK not in bytes_of(file, MAX_PEM_BYTES):
            return Message("there is no certificate in it")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError) as error:
        return cause(error)
    return ""


def excepts(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY matches this host.

    An entry is `*`, a domain with or without a leading dot, an address, a range as 10.0.0.0/8 or fd00::/8, each with
    or without brackets and a port, 192.168.*, or `<local>` for names without a dot.
    """
    entry = entry.lower().rpartition("://")[2]
    if entry == "*" or (entry == "<local>" and "." not in host and ":" not in host):
        return True
    if (network := _network(entry)) is not None:
        return _is_inside(host, network)
    name, own_port = _split(entry)
    if own_port is not None and own_port != port:
        return False
    if (network := _network(name)) is not None:
        return _is_inside(host, network)
    if WILDCARD.fullmatch(name):
        return host.startswith(name[:-1]) and host.replace(".", "").isdecimal()
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> object:
    """A network, also of a single address; None for a name."""
    import ipaddress  # noqa: PLC0415 - only where NO_PROXY is set

    bare = re.sub(r"^\[([^\]]*)\]", r"\1", text) if text.endswith("]") or "]/" in text else text
    try:
        return ipaddress.ip_network(re.sub(r"%[^/]*", "", bare), strict=False)
    except ValueError:
        return None


def _is_inside(host: str, network: object) -> bool:
    import ipaddress  # noqa: PLC0415 - see _network

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(one in network for one in (address, mapped) if one is not None)  # type: ignore[operator]


def _split(entry: str) -> tuple[str, int | None]:
    """A name or a bracketed address, and the port after it."""
    found = re.fullmatch(r"(\[[^\]]*\](?:/\d+)?|[^:]*):(\d+)", entry)
    return (found[1], int(found[2])) if found else (entry, None)


def _parts(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; empty where an address, which may come from a service, cannot be read."""
    try:
        address = urlsplit(url)
        host = (address.hostname or "").lower().rstrip(".")
    except ValueError:
        return "", "", None
    with suppress(ValueError):
        return address.scheme.lower(), host, address.port or DEFAULT_PORTS.get(address.scheme.lower())
    return address.scheme.lower(), host, DEFAULT_PORTS.get(address.scheme.lower())


def _has_host(url: str) -> bool:
    try:
        address = urlsplit(url)
        return bool(address.hostname) and not re.search(r"\s", url) and (address.port or 1) in range(1, 1 << 16)
    except ValueError:
        return False


def _is_socks_installed() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - only where there is such a proxy

    return find_spec("socksio") is not None
