"""Checks addresses of services: one that cannot work is refused with the form that was probably meant.

A host alone, as `127.0.0.1:5000` or `gateway.lan/v1`, gets its scheme: http:// for this machine, for hosts of the same
network, and where a port is named, as servers of one's own have. A name of the internet without a port gets https://:
the services behind such names speak nothing else, and no key goes to them in the clear.
"""

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit, urlunsplit

from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import without_user

ENDPOINTS = re.compile(
    r"""(?ix)
    /(?:images/(?:generations|edits|variations)|(?<=/v1/)images|(?<=/v1/)flux-[^/]+|docs|redoc|openapi\.json|chat/completions|completions|responses
      |sdapi(?:/v1(?:/.*)?)?|prompt|predictions|get_result
      |models/[^/]+:\w+|services/aigc/.*|api/generate/.*)/*$"""
)
"""The end of an address that names one endpoint, not the service."""
WIDE = str.maketrans({code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {ord("。"): "."})
"""The full-width forms of ASCII that Chinese and Japanese keyboards write."""
AROUND = "\"'<>`“”‘’《》〈〉"
"""Characters that people copy together with an address."""
MAX_LABEL_CHARACTERS = 63
"""Characters between two dots of a host (RFC 1035)."""
MAX_PORT = 65535
MAX_BYTE = 255


def cleaned(text: str) -> tuple[str, str]:
    """An address as it will be used, and what is wrong with it; empty where nothing is wrong.

    Blanks around it and capitals in its scheme are corrected; a host alone gets its scheme.
    """
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    if separator:
        text = f"{scheme.lower()}://{rest}"
    trouble = _trouble(text)
    if not trouble:
        return text, ""
    form = _corrected(text)
    if form.partition("://")[2] == text.rstrip("/") and not _trouble(form):
        return f"{form.partition('://')[0]}://{text}", ""
    if form and form != text and not _trouble(form):
        trouble = Message("{trouble}; write it as {address}").format(trouble=trouble, address=without_user(form))
    return text, trouble


def _trouble(text: str) -> str:
    """Why a text cannot be the address of a service; empty where it can."""
    return next((why for wrong, why in _rules(text) if wrong), "")


def _rules(text: str) -> Iterator[tuple[bool, str]]:
    """For each rule whether it is broken, and what is wrong then; later rules rely on earlier ones."""
    scheme, _, rest = text.partition("://")
    host = _authority(rest).rpartition("@")[2]
    yield "://" not in text or scheme not in ("http", "https"), Message("must begin with http:// or https://")
    odd = not text.isprintable() or re.search(r"[\s\\\"<>`]", text) or text != text.strip(AROUND)
    wide = _authority(rest) != _authority(rest).translate(WIDE)
    yield bool(odd) or wide, Message("contains a blank or a character that no address has")
    yield not re.sub(r":\d*$", "", host), Message("names no host")
    yield host.count(":") > 1 and not host.startswith("["), Message("has an IPv6 address without brackets")
    port = _port_trouble(text)
    yield bool(port), port
    yield not _is_host(host), Message("names an impossible host")
    query = Message("ends in a query or a fragment, which an address of a service does not have")
    yield "?" in rest or "#" in rest, query
    yield bool(ENDPOINTS.search(urlsplit(text).path)), Message("is the address of one endpoint, not of the service")


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _port_trouble(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return Message("names an impossible port") if "ort" in str(error) else Message("names an impossible host")
    return Message("names port 0, which is impossible") if port == 0 else ""


def _is_host(host: str) -> bool:
    """Whether a text can be a host name or an IPv4 address; a final dot is allowed, as in DNS."""
    if host.startswith("["):
        return True
    name = re.sub(r":\d*$", "", host)
    labels = name.removesuffix(".").split(".")
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name, re.ASCII):
        return all(int(label) <= MAX_BYTE and label == str(int(label)) for label in labels)
    if not name.isascii():
        return _has_ascii_form(name)
    return all(0 < len(label) <= MAX_LABEL_CHARACTERS for label in labels)


def _has_ascii_form(name: str) -> bool:
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _corrected(text: str) -> str:
    """The address that was probably meant; empty where there is no guess."""
    text = re.sub(r"\s", "", text.translate(WIDE)).replace("\\", "/").strip(AROUND)
    if re.match(r"(?i)https?:///+[^/.:]*(/|$)", text):  # there is a path without a host
        return ""
    found = re.match(r"(?i)(https?)(?::/*|/+)", text)
    scheme, rest = (found[1].lower(), text[found.end() :]) if found else ("", text.partition("://")[2] or text)
    user, at, host = _authority(rest).rpartition("@")
    tail = re.split(r"[?#]", rest[len(_authority(rest)) :], maxsplit=1)[0]
    host = _with_port(_with_brackets(host))
    scheme = scheme or ("http" if _speaks_plain_http(host) else "https")
    path = ENDPOINTS.sub("", tail.rstrip("/"))
    return urlunsplit(SplitResult(scheme, f"{user}{at}{host}", path, "", "")) if host else ""


def _with_brackets(host: str) -> str:
    if host.startswith("[") or host.count(":") < 2:  # noqa: PLR2004 - the shortest IPv6 address has two
        return host
    address, _, port = host.rpartition(":")
    if _is_ipv6(address) and port.isdecimal() and len(port) > 1:
        return f"[{address}]:{port}"
    return f"[{host}]" if _is_ipv6(host) else host


def _with_port(host: str) -> str:
    """The host without an impossible port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        return host
    return host if port.isdecimal() and 0 < int(port) <= MAX_PORT else name


def _speaks_plain_http(host: str) -> bool:
    """Whether a host speaks plain HTTP as a rule: this machine, the same network, a server with its own port."""
    name, _, port = host.partition(":")
    if port and port != "443" and not host.startswith("["):
        return True
    near = r"(\[.*|localhost|[^.]+|.*\.(local|lan)|127\..*|10\..*|192\.168\..*|172\.(1[6-9]|2\d|3[01])\..*)"
    return bool(re.fullmatch(near, name))


def _is_ipv6(text: str) -> bool:
    import ipaddress  # noqa: PLC0415 - only where something is wrong

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
