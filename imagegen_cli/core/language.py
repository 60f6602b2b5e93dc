"""What people read, in their language: English text that remembers how it was made, so that it can be translated.

Errors, notes and hints are a `Message`: its own characters are English, and that is what the history and JSON get.
Only what shows a text translates it, by `translated`, or by `tr` where the text is made to be shown at once. English is
the source; with no catalogue in use, nothing here costs more than a text.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

ENGLISH, CHINESE = "en", "zh_CN"
LANGUAGES = (ENGLISH, CHINESE)
TRADITIONAL = r"(?i)^(?!.*[-_]hans(?![a-z])).*[-_](?:tw|hk|mo|hant)(?![a-z])"
"""The region or the script of a locale whose readers are not served by simplified signs; the script goes first."""
JOINED = r"\{part0\}(?:(, |; )\{part[0-9]+\})+"
"""The templates of `joined` whose separators are those of a sentence, which are other signs in other languages."""


class Catalogue(Protocol):
    """The translations of one language; `gettext.GNUTranslations` is one. What it lacks comes back unchanged."""

    def gettext(self, message: str, /) -> str: ...

    def ngettext(self, singular: str, plural: str, number: int, /) -> str: ...


_catalogue: Catalogue | None = None


def use(catalogue: Catalogue | None) -> None:
    """Translate by this catalogue from now on; None leaves all text in English."""
    global _catalogue  # noqa: PLW0603 - a process has one language
    _catalogue = catalogue


class Message(str):  # noqa: SLOT000 - a slot would have to be set in each message, also in those without values
    """English text with its template, so that it can be said in another language. Placeholders are `{name}`.

    What makes a plain text of it (`+`, an f-string, `strip`) makes plain English: let the template have the whole
    sentence, and put one message into another as a value.
    """

    template = ""
    """Empty for a message that is its own template."""
    plural = ""
    values: Mapping[str, Any] | None = None
    """None before `format` has been called: then braces are ordinary characters."""

    def format(self, *_: object, **values: Any) -> "Message":
        """Fill the placeholders. A value that is a message itself is translated with the whole."""
        return _made(self, "", values)

    def mapped(self, function: Callable[[str], str]) -> "Message":
        """The same message with every text among its values changed."""
        if not self.values:
            return self
        return _made(self.template, self.plural, {key: _changed(one, function) for key, one in self.values.items()})


def _changed(value: Any, function: Callable[[str], str]) -> Any:
    if isinstance(value, Message):
        return value.mapped(function)
    return function(value) if isinstance(value, str) else value


def _made(template: str, plural: str, values: Mapping[str, Any]) -> Message:
    form = plural if plural and values["count"] != 1 else template
    made = Message(str.format(form, **values))
    made.template, made.plural, made.values = str(template), plural, values
    return made


def ngettext(singular: str, plural: str, count: int, **values: Any) -> Message:
    """A message about `count` things, which `{count}` stands for."""
    return _made(singular, plural, values | {"count": count})


def in_sense(word: str, sense: Message) -> Message:
    """A word that is translated by what it means here: `disk` as a part of a machine, or as the reason of a failure.

    Only translators see `sense`.
    """
    found = Message(word)
    found.template, found.values = str(sense), {}
    return found


def joined(separator: str, parts: Iterable[str]) -> Message:
    """Several messages with a separator between them, as one."""
    values = {f"part{at}": part for at, part in enumerate(parts)}
    return _made(separator.join(f"{{{name}}}" for name in values), "", values)


def translated(text: str) -> str:
    """A message in the language in use; any other text as it is."""
    if _catalogue is None or not text or not isinstance(text, Message):  # the empty text is the catalogue's own head
        return text
    if text.values is None:
        return _catalogue.gettext(text)
    values = {key: _said(one) for key, one in text.values.items()}
    if text.plural:
        return _catalogue.ngettext(text.template, text.plural, text.values["count"]).format(**values)
    if found := re.fullmatch(JOINED, text.template):
        return _separator(found[1]).join(values.values())
    return _catalogue.gettext(text.template).format(**values)


def _said(value: Any) -> Any:
    """A value as a sentence says it. What is no text may have one that is a message, as an amount has."""
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return translated(text) if isinstance(text, Message) else value


def _separator(sign: str) -> str:
    """The sign of an English list in the language in use."""
    return tr("{one}, {other}", one="", other="") if sign == ", " else tr("{one}; {other}", one="", other="")


def tr(template: str, **values: Any) -> str:
    """A text in the language in use, to be shown at once."""
    if _catalogue is None:
        return template.format(**values) if values else template
    return translated(Message(template).format(**values) if values else Message(template))


# In the history


def parts_of(text: str) -> dict[str, Any] | None:
    """What the history keeps beside a message, as JSON; None where the text itself tells all."""
    if not isinstance(text, Message) or text.values is None:
        return None
    values = {key: _plain(one) for key, one in text.values.items()}
    return {"template": text.template, "values": values} | ({"plural": text.plural} if text.plural else {})


def _plain(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else str(value)
    return (parts_of(text) or {"template": str(text)}) if isinstance(text, Message) else str(text)


def restored(text: str, parts: Any = None) -> Message:
    """The reverse of `parts_of`: a message that is `text` in English, whatever the parts say."""
    found = Message(text)
    try:
        made = _from_parts(parts) if parts else None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
        return found  # the history was written by a later version, or is damaged
    if made is not None:
        found.template, found.plural, found.values = made.template, made.plural, made.values
    return found


def _from_parts(parts: Any) -> Message:
    """A template of the history is believed only where it does no more than put in its values. Raises ValueError."""
    from string import Formatter  # noqa: PLC0415 - it compiles a pattern, and most starts read no message back

    template, plural = str(parts["template"]), str(parts.get("plural", ""))
    if "values" not in parts:
        return Message(template)
    values = {str(key): _from_parts(one) if isinstance(one, dict) else one for key, one in parts["values"].items()}
    for _, name, form, conversion in (*Formatter().parse(template), *Formatter().parse(plural)):
        if name is not None and (name not in values or len(form or "") > 4 or conversion not in {None, "r", "s"}):  # noqa: PLR2004 - as in .1f
            raise ValueError(name)
    return _made(template, plural, values)


# The choice


def language_named(text: str) -> str:
    """The language that a person means by a name such as zh, zh_CN.UTF-8, en-GB or 中文; empty for one that we lack."""
    if not text:
        return ""
    name = re.split(r"[-_.@]", text.strip().lower(), maxsplit=1)[0]
    if name in {"zh", "中文", "chinese", "cn"}:
        return CHINESE
    return ENGLISH if name in {"en", "english", "c", "posix"} else ""


def language_of(environ: Mapping[str, str]) -> str:
    """The language of a locale: LC_ALL, LC_MESSAGES, LANG, the first that is set.

    As in GNU's gettext, LANGUAGE goes before them, but only where the locale is not C; Python's own does not know that.
    """
    locale = next((found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := environ.get(name))), "")
    if not locale or locale.partition(".")[0].partition("@")[0] in {"C", "POSIX"}:
        return ENGLISH
    for name in (*environ.get("LANGUAGE", "").split(":"), locale):
        if name and (found := "" if re.search(TRADITIONAL, name) else language_named(name)):
            return found
    return ENGLISH
