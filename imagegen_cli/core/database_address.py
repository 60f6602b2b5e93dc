"""The address of a history in PostgreSQL, taken apart by the only parser that the program has for it.

It is stricter than libpq: an address whose password could be read in two ways is refused, and nothing of it is shown
but its scheme. So what is shown, what is refused on a command line and what is connected to are one reading.
"""

import re
from typing import NamedTuple

from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import MASK

CODES = Message(
    "write @ / : ? # % and blanks inside of a name or a password by their codes, as %40 %2F %3A %3F %23 %25 %20"
)
NO_ADDRESS = Message("{place} is no address of PostgreSQL")
UNCLEAR = Message("{place} is an address whose parts cannot be told apart: {shown}")
SCHEME = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]+:(?:/|$)|postgres(?:ql)?:)", re.IGNORECASE)
"""How an address begins, also a wrong one. A drive of Windows has one letter."""
KEYWORDS = re.compile(
    r"(?i)(?:^|\s)(?:host|hostaddr|port|dbname|user|password|passfile|service|sslmode|sslpassword|options)\s*=\s*\S"
)
"""The other form that libpq takes: `host=db.example.org password=…`."""
WORD = r"(?:[^\s/?#@:%\[\]\\]|%[0-9A-Fa-f]{2})"
HOST = rf"(?:\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z]+)?\]|{WORD}*)(?::[0-9]{{1,5}})?"
VALUE = r"(?:[^\s?#@&=%]|%[0-9A-Fa-f]{2})*"
ADDRESS = re.compile(
    rf"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>{WORD}+)(?P<password>:(?:{WORD}|:)*)?@)?"
    rf"(?P<hosts>{HOST}(?:,{HOST})*)(?:/(?P<database>{WORD}*))?(?:\?(?P<more>[a-z_]+={VALUE}(?:&[a-z_]+={VALUE})*))?"
)
IS_SECRET = re.compile("password|secret|token|scram")
"""Parameters whose values are secrets, by their names."""
DOUBTFUL = re.compile(r"[\x00-\x20\x7f/?#:%\\]")
"""What the codes of a name may not stand for: part of a password that was coded together with its colon."""
DOUBTFUL_VALUE = re.compile(r"[\x00\x7f@?#%]|://|password|secret", re.IGNORECASE)

BRACKETS = re.compile(r"\[[^]]*\]|:[0-9]+(?=,|$)")
DOUBTFUL_HOST = re.compile(r"[\x00-\x20\x7f:?#@%\\]")
"""A host may be a folder of sockets, whose slashes are coded."""


class DatabaseAddress(NamedTuple):
    """An address that was taken apart. `template` says why it cannot be used; it is empty where it can.

    `shown` is what may be printed of it: without a password, and where the address is in doubt, its scheme alone.
    `name` is the same without what follows `?`.
    """

    shown: str
    name: str
    has_password: bool = False
    template: Message = Message()

    def trouble(self, place: str) -> Message:
        """Why the address at this place cannot be used; empty where it can."""
        return self.template and self.template.format(place=place, shown=self.shown)


def is_address(text: str) -> bool:
    """Whether a text is meant as an address and not as the path of a file, whatever it may be an address of."""
    return bool(SCHEME.match(text) or KEYWORDS.search(text))


def database_address(text: str) -> DatabaseAddress:
    """Take an address apart."""
    from urllib.parse import unquote  # noqa: PLC0415 - most histories are files

    text = text.strip()
    found = ADDRESS.fullmatch(text)
    if found is None:
        return _doubtful(text)
    user, database = found["user"] or "", found["database"] or ""
    parameters = [one.partition("=")[::2] for one in (found["more"] or "").split("&")]
    secrets = [value for name, value in parameters if IS_SECRET.search(name)]
    doubts = (
        DOUBTFUL.search(unquote(user))
        or DOUBTFUL.search(unquote(database))
        or DOUBTFUL_HOST.search(unquote(BRACKETS.sub("", found["hosts"])))
    )
    if doubts or any(DOUBTFUL_VALUE.search(unquote(value)) for name, value in parameters if value not in secrets):
        return _doubtful(text)
    at = f"{MASK}@" if found["password"] is not None else f"{user}@" if user else ""
    name = f"{found['scheme']}{at}{found['hosts']}" + ("" if found["database"] is None else f"/{database}")
    more = "&".join(f"{name}={MASK if value in secrets else value}" for name, value in parameters if name)
    shown = f"{name}?{more}" if more else name
    return DatabaseAddress(shown, name, found["password"] is not None or bool(secrets))


def _doubtful(text: str) -> DatabaseAddress:
    scheme = re.match(r"(postgres(?:ql)?):", text)
    shown = f"{scheme[1]}://{MASK}" if scheme else MASK
    is_ours = text.startswith(("postgresql://", "postgres://"))
    return DatabaseAddress(shown, shown, template=UNCLEAR if is_ours else NO_ADDRESS)
