"""What several services have in common: a key bound to its hosts, pictures by address or as data, progress in logs."""

import base64
import json
import random
import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import httpx

from imagegen_cli.core.errors import BadRequest, ServerTrouble, Unauthorized, Uncertain
from imagegen_cli.core.forms import begins_a_form
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import Image, InlineImage, RemoteImage
from imagegen_cli.providers._http import Answer, clean, refuse

TAIL = 4000
"""Characters at the end of a log, which may be endless, in which the last progress bar is looked for."""
PLACE = re.compile(
    r"user location is not supported|country, region,? or territory not supported|unsupported_country_region",
    re.IGNORECASE,
)
"""What a service says of where the question came from. It looks like a refusal of the prompt, and is none."""
ELSEWHERE = (
    "the service does not serve this place: send through a proxy elsewhere (HTTPS_PROXY), or choose another with -p"
)
LARGEST = 2**63
"""A number beyond this, which no seed is, would not fit into the history. NaN is not below it either."""
LONGEST_HEAD = 200
"""Characters at the beginning of a data: URI in which its comma stands."""


class Key(httpx.Auth):
    """A key for the origin of `base_url` and, over https, for the service's own `domains`; for no other host.

    Where `base_url` is this machine the domains do not count: what speaks there is a tunnel or a test.
    """

    def __init__(
        self,
        secret: Secret,
        base_url: str,
        *,
        header: str = "Authorization",
        prefix: str = "",
        domains: tuple[str, ...] = (),
    ) -> None:
        self._secret = secret
        self._home = address(base_url)
        self._header = header
        self._prefix = prefix
        self._domains = domains if self._home and not _is_this_machine(self._home.host) else ()

    def bound_for(self, url: str) -> "Key":
        """Look before anything is sent: raises Unauthorized for an address that the key may not go to.

        The receipt is kept then, so that the pictures can still be fetched once `base_url` names that host. A key that
        no header can carry is refused here too: the transport's complaint would quote it.
        """
        if not re.fullmatch(r"[!-~]*", self._secret.reveal()):
            odd = "the key holds characters that no key has: a space, a line break or a letter with marks"
            raise Unauthorized(odd).as_unspent()
        there = address(url)
        if there is None or not self.may_go_to(there):
            where = clean(there.host) if there else "an address that cannot be read"
            unsent = f"the service says to ask at {where}, which is not its own: the key was not sent there"
            raise Unauthorized(f"{unsent}; if that is its host, name it in base_url and resume")
        return self

    def may_go_to(self, url: httpx.URL) -> bool:
        if self._home is not None and _origin(url) == _origin(self._home):
            return True
        own = any(url.host == domain or url.host.endswith(f".{domain}") for domain in self._domains)
        return own and url.scheme == "https" and url.port is None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._home is not None and self._home.username and _origin(request.url) == _origin(self._home):
            login = httpx.BasicAuth(self._home.username, self._home.password)
            request = next(login.auth_flow(request))  # which an httpx.Auth of one's own replaces
        if self._secret and self.may_go_to(request.url):
            request.headers[self._header] = self._prefix + self._secret.reveal()
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def address(value: Any) -> httpx.URL | None:
    """A web address that can be asked; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        url = httpx.URL(value.strip())
        usable = url.scheme in ("http", "https") and url.host and (url.port or 1) in range(1, 1 << 16)
    except (httpx.InvalidURL, ValueError):  # no address at all, or half a character in it
        return None
    return url if usable else None


def link(value: Any) -> str:
    """A web address as it came, or nothing."""
    return value.strip() if address(value) is not None else ""


# What comes back


def body_of(answer: Answer, *, paid: bool) -> dict[str, Any]:
    """The object in a good answer. Raises what any other answer means."""
    refuse(answer, paid=paid)
    if isinstance(answer.body, dict):
        return answer.body
    if paid:
        raise Uncertain("the service answered with JSON of an unknown form; the request may have been accepted")
    raise ServerTrouble("the service answered with JSON of an unknown form")


def state_in(body: dict[str, Any]) -> str:
    """The word for where a job stands; one that nobody knows is still an answer, none is not."""
    word = text(body.get("status"))
    if not word:
        raise ServerTrouble("the service answered without saying where the work stands")
    return word


def about(job_id: str, told: Any) -> None:
    """Raise ServerTrouble where `told`, the id in an answer about a job, is another's; an answer without one may pass.

    It is a strike and never the last word: a gateway or another service may have answered in its place.
    """
    known = isinstance(told, str | int) and not isinstance(told, bool) and told != ""
    if known and clean(str(told)) != clean(job_id):
        raise ServerTrouble("the service answered about another job")


def picture(value: Any) -> Image | None:
    """A picture from the text that stands for it: an address, or a data: URI that holds the bytes themselves."""
    if isinstance(value, str) and _is_data(value):
        return inline(value)
    return RemoteImage(url) if (url := link(value)) else None


def inline(value: Any) -> InlineImage | None:
    """A picture that came as base64 or as a data: URI; None for anything else."""
    data = unbased(value)
    return InlineImage(data) if data else None


def better(image: InlineImage | None, other: Image | None) -> Image | None:
    """Of a picture that came inside an answer and one that the same item names, the one that looks like a picture.

    Some servers put a word, or half a picture, where the bytes should be, beside an address that works.
    """
    if image is None or (other is not None and not begins_a_form(image.data)):
        return other if other is not None else image
    return image


def unbased(value: Any) -> bytes:
    """The bytes that base64, or a data: URI, stands for; none where it is neither, or damaged.

    Both alphabets are read, that of RFC 4648's section 4 and the URL-safe one of section 5, which Google's own client
    writes; line breaks and lacking padding are no damage. A foreign character is: to skip it would spoil the picture.
    """
    if not isinstance(value, str):
        return b""
    head, comma, rest = value[:LONGEST_HEAD].partition(",")
    rest += value[LONGEST_HEAD:]
    if comma and not head.strip().lower().endswith("base64"):
        return _percent_decoded(rest) if _is_data(value) else b""
    text = "".join((rest if comma else value).split())
    return _decoded(unquote(text) if "%" in text else text)


def _decoded(text: str) -> bytes:
    digits = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:  # no base64, or no ASCII
        return b""


def _percent_decoded(text: str) -> bytes:
    try:
        return unquote_to_bytes(text)
    except ValueError:  # half a character
        return b""


def _is_data(value: str) -> bool:
    return value[:LONGEST_HEAD].lstrip()[:5].lower() == "data:"


def fraction_in(log: str) -> float | None:
    """How far the last tqdm bar is, as in "42%|████▏     | 21/50"."""
    bars = re.findall(r"(\d{1,3})%\|", log[-TAIL:], re.ASCII)
    return min(int(bars[-1]) / 100, 1.0) if bars else None


def text(value: Any) -> str:
    """A text from JSON in one line of bearable length that can be written anywhere; else nothing."""
    return clean(value) if isinstance(value, str) else ""


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def facts(**told: Any) -> dict[str, str | int | float]:
    """What is worth remembering: texts and numbers of JSON as they are, without what says nothing."""
    found: dict[str, str | int | float] = {}
    for name, value in told.items():
        if isinstance(value, str) and (words := clean(value)):
            found[name] = words
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
            found[name] = value
    return found


def drawn(seeds: range) -> int:
    """A seed of our own choice, where the service would draw one and keep it to itself."""
    return random.SystemRandom().choice(seeds)


# What goes out


def options(named: Mapping[str, Any], extra: Mapping[str, str]) -> dict[str, Any]:
    """What was asked for, under the service's names, with the further options: JSON where they are JSON, else text.

    Raises BadRequest for what is said twice and for what no JSON can carry.
    """
    asked = {name: value for name, value in named.items() if name and value not in (None, "")}
    for name in extra:
        if not name.isidentifier():
            raise BadRequest(
                f"{clean(name)[:40]!r} is no name of an input field: those are made of letters, digits and _"
            )
        if name in asked:
            raise BadRequest(f"{clean(name)} is said twice: by an option of its own and among the further ones")
    asked |= {name: _value(words) for name, words in extra.items()}
    try:
        json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequest("an option holds a number or a text that no request can carry") from error
    return asked


def _value(words: str) -> Any:
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        return words
