"""The ground of the providers: a provider that speaks HTTP, its key, and the readers of JSON and of pictures."""

import base64
import json
import re
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit

import httpx

from imagegen_cli.core.errors import BadRequest, Expired, ServerTrouble, Unauthorized, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.forms import begins_a_form
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.money import Money, told
from imagegen_cli.core.provider import Clients, Provider, Settings
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import Image, ImageRequest, InlineImage, Job, RemoteImage
from imagegen_cli.providers._http import MAX_PORT, Answer, call, clean, refuse

MAX_PROMPT_CHARS = 8_000
"""Of a prompt that a service has rewritten."""
LOG_TAIL_CHARS = 4000
"""Characters at the end of a log, which may be endless, in which the last progress bar is looked for."""
PLACE = re.compile(
    r"user location is not supported|country, region,? or territory not supported|unsupported_country_region",
    re.IGNORECASE,
)
"""A service's message about the country of the caller. It looks like a refusal of the prompt, and is none."""
ELSEWHERE_HINT = Message(
    "the service does not serve this place: send through a proxy elsewhere (HTTPS_PROXY), or choose another with -p"
)
MAX_NUMBER = 2**63
"""A number beyond this, which no seed is, would not fit into the history."""
MAX_DATA_HEAD_CHARS = 200
"""Characters at the beginning of a data: URI in which its comma stands."""
UNKNOWN_FORM = Message("the service answered with JSON of an unknown form")
CHARGED = Message("the request may have been accepted and charged")
MADE_UP_CREDITS = 999999
NO_ID = joined("; ", (Message("the service gave no id to ask with"), CHARGED))
"""The end of a paid request whose answer has no receipt."""

S = TypeVar("S", bound=Settings)


class HttpProvider(Provider[S]):
    """A provider of one service that speaks HTTP at one address; its key goes to no other host."""

    def __init__(self, settings: S, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._base = settings.base_url.rstrip("/")
        self._auth: OriginAuth | None = None

    def _model(self, request: ImageRequest) -> str:
        return request.model or self._settings.model

    async def _send(
        self, method: str, url: str, *, paid: bool = False, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        """Any answer that arrived whole, as it is. Raises what `call` raises, and Unauthorized as `OriginAuth` does."""
        if self._auth is not None:
            options = {"auth": self._auth.bound_for(url), **options}
        headers = {**self._settings.headers, **(headers or {})}
        return await call(self._clients, method, url, paid=paid, raw=True, headers=headers, **options)


# Keys


class OriginAuth(httpx.Auth):
    """Credentials for the origin of `base_url` and for no other host."""

    def __init__(self, base_url: str, *secrets: Secret) -> None:
        self._home = address(base_url)
        self._secrets = secrets

    def bound_for(self, url: str) -> "OriginAuth":  # noqa: ARG002 - a subclass checks it
        """Look before anything is sent. Raises Unauthorized, unspent, for a key that no header can carry.

        The transport's own complaint about such a header would quote the key.
        """
        if not all(re.fullmatch(r"[!-~]*", secret.reveal()) for secret in self._secrets):
            odd = Message("the key holds characters that no key has: a space, a line break or a letter with marks")
            raise Unauthorized(odd).as_unspent()
        return self

    def is_home(self, url: httpx.URL) -> bool:
        return self._home is not None and _origin(url) == _origin(self._home)


class Key(OriginAuth):
    """A key for the origin of `base_url` and, over https, for the service's own `domains`; for no other host.

    Where `base_url` is this machine the domains do not count: the server there is a tunnel or a test.
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
        super().__init__(base_url, secret)
        self._secret = secret
        self._header = header
        self._prefix = prefix
        self._domains = domains if self._home and not _is_this_machine(self._home.host) else ()

    def bound_for(self, url: str) -> "Key":
        """As in `OriginAuth`; also raises Unauthorized for an address that the key may not go to.

        The receipt is kept then, so that the pictures can still be fetched once `base_url` names that host.
        """
        super().bound_for(url)
        there = _request_address(url)
        if there is None or not self.may_go_to(there):
            where = clean(there.host) if there else Message("an address that cannot be read")
            message = Message(
                "the service says to ask at {host}, which is not its own: the key was not sent there;"
                " if that is its host, name it in base_url and resume"
            )
            raise Unauthorized(message.format(host=where))
        return self

    def may_go_to(self, url: httpx.URL) -> bool:
        own = any(url.host == domain or url.host.endswith(f".{domain}") for domain in self._domains)
        return self.is_home(url) or (own and url.scheme == "https" and url.port is None)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._home is not None and self._home.username and self.is_home(request.url):
            # httpx sends the login of an address by itself only where no other httpx.Auth is given.
            login = httpx.BasicAuth(self._home.username, self._home.password)
            request = next(login.auth_flow(request))
        if self._secret and self.may_go_to(request.url):
            request.headers[self._header] = self._prefix + self._secret.reveal()
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


# Addresses


def address(value: Any) -> httpx.URL | None:
    """A web address that a request can go to; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
        urlsplit(value)  # is stricter than httpx about brackets
        url = httpx.URL(value.strip())
        usable = url.scheme in ("http", "https") and url.host and 0 < (url.port or 1) <= MAX_PORT
    except (httpx.InvalidURL, ValueError):  # not an address at all, or half a character in it
        return None
    return url if usable else None


_request_address = lru_cache(maxsize=4096)(address)
"""`address` for requests, which go to the same few addresses again and again; texts from answers may be long."""


def link(value: Any) -> str:
    """A web address as it came, or an empty text."""
    return value.strip() if address(value) is not None else ""


# Answers


def body_of(answer: Answer, *, paid: bool) -> dict[str, Any]:
    """The object in a good answer. Raises what any other answer means."""
    refuse(answer, paid=paid)
    if isinstance(answer.body, dict):
        return answer.body
    raise unknown_form(paid=paid)


def unknown_form(*, paid: bool) -> Uncertain | ServerTrouble:
    return Uncertain(joined("; ", (UNKNOWN_FORM, CHARGED))) if paid else ServerTrouble(UNKNOWN_FORM)


def state_in(body: dict[str, Any]) -> str:
    """The word for the state of a job, also an unknown one. Raises ServerTrouble where there is no word."""
    word = text(body.get("status"))
    if not word:
        raise ServerTrouble(Message("the service answered without the state of the job"))
    return word


def job_id(value: Any) -> str:
    """An id that can be part of an address; empty where it is none."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w-]{1,128}", value, re.ASCII) else ""


def about(job_id: str, answered: Any) -> None:
    """Raise ServerTrouble where `answered`, the id in an answer about a job, is another job's.

    An answer without an id passes. A wrong id is a strike and never final: a gateway or another service may have
    answered in the service's place.
    """
    known = isinstance(answered, str | int) and not isinstance(answered, bool) and answered != ""
    if known and clean(str(answered)) != clean(job_id):
        raise ServerTrouble(Message("the service answered about another job"))


class NotFound:
    """Counts how often a service does not know a job. The job is paid for, so the first such answers are not believed.

    `limit` is the number of answers that count as "not known yet".
    """

    def __init__(self, limit: int, message: str) -> None:
        self._limit = limit
        self._message = message
        self._times: Counter[str] = Counter()

    def found(self, job: Job) -> None:
        self._times.pop(job.id, None)

    def missed(self, job: Job, word: str) -> Working:
        """Raises Expired beyond the limit."""
        self._times[job.id] += 1
        if self._times[job.id] > self._limit:
            raise Expired(self._message)
        return Working(note=word)


# Pictures


def remote(value: Any, home: str = "") -> RemoteImage | None:
    """A picture at a web address; None for anything else. With `home` the address may be relative to that one."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        whole = urljoin(f"{home}/", value.strip()) if home else value.strip()
    except ValueError:
        return None
    return RemoteImage(whole) if address(whole) is not None else None


def picture(value: Any, home: str = "") -> Image | None:
    """A picture from the text that stands for it: an address as in `remote`, or a data: URI that holds the bytes."""
    if isinstance(value, str) and _is_data(value):
        return inline(value)
    return remote(value, home)


def inline(value: Any) -> InlineImage | None:
    """A picture that came as base64 or as a data: URI; None for anything else."""
    data = unbased(value)
    return InlineImage(data) if data else None


def better(image: InlineImage | None, other: Image | None) -> Image | None:
    """Of a picture inside an answer and another that the same item names, the one that looks like a picture.

    Some servers put a word, or half a picture, where the bytes should be, beside an address that works.
    """
    if image is None or (other is not None and not begins_a_form(image.data)):
        return other if other is not None else image
    return image


ADDRESSLESS = Message("came without a usable address")


def lost_note(lost: int, total: int, fate: str = ADDRESSLESS) -> str:
    """A note about pictures that did not come; empty where all came. `fate` says what became of them."""
    if lost <= 0:
        return ""
    return Message("{count} of {total} pictures {fate}").format(count=lost, total=total, fate=fate)


def unbased(value: Any) -> bytes:
    """The bytes that base64, or a data: URI, stands for; none where it is neither, or damaged.

    Both alphabets are read: that of RFC 4648's section 4, and the URL-safe one of section 5, which Google's own client
    writes. Line breaks and lacking padding are no damage. A foreign character is: to skip it would spoil the picture.
    """
    if not isinstance(value, str):
        return b""
    head, comma, rest = value[:MAX_DATA_HEAD_CHARS].partition(",")
    rest += value[MAX_DATA_HEAD_CHARS:]
    if comma and not head.strip().lower().endswith("base64"):
        return _percent_decoded(rest) if _is_data(value) else b""
    text = "".join((rest if comma else value).split())
    return _decoded(unquote(text) if "%" in text else text)


def _decoded(text: str) -> bytes:
    digits = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:  # not base64, or not ASCII
        return b""


def _percent_decoded(text: str) -> bytes:
    try:
        return unquote_to_bytes(text)
    except ValueError:  # half a character
        return b""


def _is_data(value: str) -> bool:
    return value[:MAX_DATA_HEAD_CHARS].lstrip()[:5].lower() == "data:"


# JSON


def text(value: Any) -> str:
    """A text from JSON on one line of bounded length that can be written anywhere; empty for anything else."""
    return clean(value) if isinstance(value, str) else ""


def text_or_number(value: Any) -> str:
    """As `text`, for services that write ids and codes as texts or as whole numbers."""
    return clean(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def number(value: Any, limit: float = MAX_NUMBER) -> float | None:
    """A number from JSON between -limit and limit; None for anything else, such as true, NaN and "7"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < limit:
        return None
    return float(value)


def natural(value: Any, limit: int = MAX_NUMBER) -> int | None:
    """A whole number from 0 to below the limit; None for anything else."""
    return value if type(value) is int and 0 <= value < limit else None


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def tables(value: Any) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [item for item in items(value) if isinstance(item, dict)]


def fraction(value: Any, total: float = 1) -> float | None:
    """A share of 0 to 1 from a number of 0 to `total`; None for anything else."""
    part = number(value)
    return part / total if part is not None and 0 <= part <= total else None


def fraction_in(log: str) -> float | None:
    """The fraction of the last tqdm bar in a log, as in "42%|████▏     | 21/50"."""
    bars = re.findall(r"(\d{1,3})%\|", log[-LOG_TAIL_CHARS:], re.ASCII)
    return min(int(bars[-1]) / 100, 1.0) if bars else None


def facts(**values: Any) -> dict[str, str | int | float]:
    """Facts from texts and numbers of JSON, without empty and unusable ones. A rewritten prompt may be long."""
    found: dict[str, str | int | float] = {}
    for name, value in values.items():
        if isinstance(value, Message):
            found[name] = value  # of the provider's own words, so that it can be translated
        elif isinstance(value, str) and (words := _prompt(value) if name == "revised_prompt" else clean(value)):
            found[name] = words
        elif number(value) is not None:
            found[name] = value
    return found


def rewritten(prompts: Iterable[Any]) -> str:
    """The prompt that a service drew instead of ours; where its pictures have several, each with its number."""
    told = [_prompt(prompt) for prompt in prompts if isinstance(prompt, str) or prompt is None]
    if len(set(told)) <= 1:
        return told[0] if told else ""
    return "; ".join(f"{number}: {prompt}" for number, prompt in enumerate(told, 1) if prompt)


def _prompt(words: str | None) -> str:
    """A prompt on one line that can be encoded, written and shown."""
    cut = (words or "")[: 2 * MAX_PROMPT_CHARS].encode("utf-8", "replace").decode()
    return " ".join(cut.split())[:MAX_PROMPT_CHARS]


def credits_told(body: Mapping[str, Any]) -> Money | None:
    """The credits that a task cost, under the name that the vendor's own command line tool gives them (1.4.18).

    The known servers do not tell them. 999999 is what servers make up where they do not know.
    """
    amount = number(body.get("credit_count"), MADE_UP_CREDITS)
    return told(amount, "credits") if amount is not None else None


# Requests


def options(named: Mapping[str, Any], extra: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a request under the service's names, with the further options: JSON where they are JSON, else text.

    Raises BadRequest for a field that is given twice and for a value that JSON cannot carry.
    """
    fields = {name: value for name, value in named.items() if name and value not in (None, "")}
    for name in extra:
        if not name.isidentifier():
            rule = Message("{name!r} is not the name of an input field: those are made of letters, digits and _")
            raise BadRequest(rule.format(name=clean(name)[:40]))
        if name in fields:
            rule = Message("{name} is given twice: by an option of its own and among the further ones")
            raise BadRequest(rule.format(name=clean(name)))
    fields |= {name: _value(words) for name, words in extra.items()}
    try:
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequest(Message("an option holds a number or a text that no request can carry")) from error
    return fields


def _value(words: str) -> Any:
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        return words
