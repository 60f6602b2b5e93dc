"""The secrets of this process, and texts without them: the one place where a key is masked.

A secret is remembered as soon as it is revealed, before it can be sent and repeated by a service. Every error, note and
balance passes `masked` when it is made, so that a secret is never stored, printed or raised.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from imagegen_cli.core.language import Message

MASK = "****"
SHORTEST = 6
"""The least characters of a secret that is masked anywhere, also inside a longer word and inside base64."""
SHORTEST_WORD = 3
"""The least characters of a secret that is masked as a whole word. Shorter ones are in every sentence, and a mask
would only show where they are."""
LONG = 16
"""The least characters of a secret whose first half is masked too: services cut long texts anywhere."""

CODED = ("%", "\\u", "&#")
"""How a character begins that is written by its code: percent-encoded, in JSON, in HTML."""
USER = r"(?<=://)[^\s/?#]*@"
"""The name and password of an address."""
WORD = r"(?<![^\s/?#@'\"])[^\s/?#@'\"]++@(?=[\w\[])"
"""What may end in the name and password of an address without a scheme. It begins at the first letter of a word alone,
so that the time grows with the length of the text."""
FIRST_LETTER = r"(?<![^\s'\"(=])[^:]"
"""Of a name before a password."""
OF_A_HEADER = "(?i)auth|cookie|credential|key|pass|secret|session|token"
"""Headers whose values are secrets, by their names; the values of others are ordinary words."""


class _Form(NamedTuple):
    """One way in which a secret can be written; `sign` is in every text that `pattern` matches, as `_flat` makes it.

    `part`: only the beginning of the secret, which is looked for after every whole secret is masked. A pattern is
    compiled when its sign is first found, because most runs find none.
    """

    sign: str
    pattern: str
    part: bool = False


_known: frozenset[str] = frozenset()
_forms: tuple[_Form, ...] = ()


def hide(secret: str) -> None:
    """Mask this text in every message from now on, in all its forms.

    Each of several keys with commas between them is a secret, and so is the password of `user:password`.
    """
    if secret and secret not in _known:
        _remember(secret)
        for part in (*secret.split(","), secret.partition(":")[2]):
            _remember(part.strip())


def hide_user(url: str) -> None:
    """Mask the password of an address, or the user where there is no password, because the user is a key then."""
    if "@" not in url:
        return
    from urllib.parse import unquote  # noqa: PLC0415 - most have no secret in an address

    user, _, password = _user_in(url).partition(":")
    for written in (str, unquote):
        hide(written(password or user))
        if password:
            hide(f"{written(user)}:{written(password)}")


def hide_header(name: str, value: str) -> None:
    """Mask the value of a header whose name stands for a secret, with and without the scheme before it."""
    if re.search(OF_A_HEADER, name):
        hide(value)
        hide(value.rpartition(" ")[2])


def masked(text: str) -> str:
    """The text without any secret and without the name and password of any address. A message stays one."""
    if isinstance(text, Message) and text.values:
        message = text.mapped(masked)
        return message if _masked(text) == message else _masked(text)
    cleaned = _masked(text)
    return text if cleaned == text else cleaned


def _masked(text: str) -> str:
    flat = _flat(text) if _forms else ""
    for sign, pattern, _ in _forms:
        if sign in flat:
            text = _compiled(pattern).sub(MASK, text)
    return _with_users(text, lambda _: f"{MASK}@")


def _flat(text: str) -> str:
    """Without blanks and line breaks, which a service may put anywhere, and without capitals."""
    return "".join(text.split()).lower()


_compiled = lru_cache(maxsize=256)(re.compile)


def without_user(url: str) -> str:
    """An address without a name and a password in it.

    Where the host seems to have a colon without a port behind it, that was a password with a sign that ends a host.
    """
    return re.sub(r"(?<=//)(?:[^/?#]*@|[^/?#]*:[^/?#]+[/?#].*@)|^[^/?#]*@", f"{MASK}@", url)


def without_own_user(text: str) -> str:
    """Addresses without the name and password of the settings; those that a service wrote are not changed."""
    return _with_users(text, lambda user: "" if user[:-1] in _known else user)


def _with_users(text: str, replacement: Callable[[str], str]) -> str:
    """The text with each `name:password@` replaced, also of an address that lacks its scheme."""
    if "@" not in text:
        return text

    def without(word: re.Match[str]) -> str:
        last_colon = text.rfind(":", word.start(), word.end() - 2)
        first = _compiled(FIRST_LETTER).search(text, word.start(), max(last_colon, word.start()))
        return (
            word[0]
            if first is None
            else text[word.start() : first.start()] + replacement(text[first.start() : word.end()])
        )

    text = re.sub(USER, lambda found: replacement(found[0]), text)
    return re.sub(WORD, without, text)


def forget() -> None:
    """Forget all secrets, for tests that share a process."""
    global _known, _forms
    _known, _forms = frozenset(), ()


def _remember(secret: str) -> None:
    global _known, _forms  # noqa: PLW0603 - see above; a new tuple, because other threads may be reading the old one
    if len(secret.strip()) < SHORTEST_WORD or secret in _known:
        return
    found = _forms_of(secret) if len(secret) >= SHORTEST else _words_of(secret)
    _known |= {secret}
    _forms = tuple(sorted({*_forms, *found}, key=lambda form: (form.part, -len(form.sign))))


def _user_in(url: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - see above

    try:
        return urlsplit(url).netloc.rpartition("@")[0]
    except ValueError:  # no address at all
        return ""


def _forms_of(secret: str) -> Iterator[_Form]:
    import json  # noqa: PLC0415 - without a secret, as for --help, none of this is needed
    from html import escape  # noqa: PLC0415
    from urllib.parse import quote, quote_plus  # noqa: PLC0415

    data = secret.encode("utf-8", "surrogatepass")
    for safe in ("", "/"):
        yield _percent_encoded(quote(secret, safe=safe, errors="replace"))
    yield _percent_encoded(quote_plus(secret, errors="replace"))
    for text in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], escape(secret)}:
        yield _Form(_flat(text), f"(?i){re.escape(text)}")
    yield _Form(data.hex(), f"(?i){_broken(data.hex())}")
    for core in _cores(data):
        yield _Form(core.lower(), rf"(?a)[\w+/-]?{_broken(core)}[\w+/-]?={{0,2}}")
    for sign in (_flat(secret), *CODED):
        yield _Form(sign, f"(?i){_coded(secret)}")
    if len(secret) >= LONG and ":" not in secret:  # the first half of `user:password` is no secret
        half = secret[: -(-len(secret) // 2)]
        for sign in (_flat(half), *CODED):
            yield _Form(sign, rf"(?ai){_coded(half)}[\w.~+/=%-]*", part=True)


def _percent_encoded(text: str) -> _Form:
    """The digits of a code may be written in capitals or not."""
    return _Form(_flat(max(re.split("%..", text), key=len)), f"(?i){re.escape(text)}")


def _broken(text: str) -> str:
    """A pattern of the text with line breaks at any place, as in long lines that were wrapped."""
    return r"\s*".join(map(re.escape, text))


def _coded(secret: str) -> str:
    """A pattern of the secret with line breaks anywhere, each character as itself or by its code."""
    return r"(?:\s|\+|%20|%0[ad]|\\u0020|&#0*32;|&#x0*20;)+".join(
        r"\s*".join(map(_ways, word)) for word in re.split(r"\s+", secret)
    )


def _ways(character: str) -> str:
    """As itself, percent-encoded, and as JSON and HTML write it by its number."""
    data = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    coded = "".join(f"%{byte:02x}" for byte in data)
    escaped = "".join(rf"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return rf"(?:{re.escape(character)}|{coded}|{escaped}|&#0*{ord(character)};|&#x0*{ord(character):x};)"


def _cores(data: bytes) -> Iterator[str]:
    """The base64 of the secret at any place in the encoded bytes, as in `user:password`.

    Three bytes become four characters, so there are three ways. The characters at both ends that hold bits of a
    neighbour are left out here, and masked together with the found ones.
    """
    from base64 import b64encode  # noqa: PLC0415 - see above

    for before in range(3):
        encoded = b64encode(bytes(before) + data).decode().rstrip("=")
        whole = (before + len(data)) * 8 // 6
        core = encoded[-(-before * 8 // 6) : whole]
        yield core
        yield core.replace("+", "-").replace("/", "_")


def _words_of(secret: str) -> Iterator[_Form]:
    """A short secret as a word of its own: inside other words it would be found everywhere."""
    from base64 import b64encode  # noqa: PLC0415 - see above
    from urllib.parse import quote  # noqa: PLC0415

    encoded = b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    for text in (secret, quote(secret, safe="", errors="replace"), encoded):
        yield _Form(_flat(text), rf"(?<![^\W_]){re.escape(text)}(?![^\W_])")
    if secret.strip():
        for sign in (_flat(secret), *CODED):
            yield _Form(sign, rf"(?i)(?<![^\W_]){''.join(map(_ways, secret))}(?![^\W_])")
