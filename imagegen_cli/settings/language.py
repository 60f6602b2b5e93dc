"""Chooses the language before anything that has words is imported.

--lang goes before IMAGEGEN_LANG, then `lang` in the person's own settings, then the locale.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from imagegen_cli.core.errors import ImagegenError, UsageError
from imagegen_cli.core.language import CHINESE, ENGLISH, LANGUAGES, Message, language_named, language_of, use

OPTION, VARIABLE = "--lang", "IMAGEGEN_LANG"
MAX_BYTES = 4 * 1024 * 1024
FOLDER = Path(__file__).parents[1] / "locale"
UNKNOWN = Message("{place}: there is no language {name}")
KNOWN = Message("the languages are {known}")
LACKS_VALUE = Message("{option} lacks its value")


def choose(arguments: list[str], environ: Mapping[str, str]) -> ImagegenError | None:
    """Use the language that the person chose; take --lang out of `arguments`. Returns what is wrong with the choice.

    That is said in the language which holds without it.
    """
    wrong = None
    try:
        language = _chosen(arguments, environ)
    except UsageError as error:
        language, wrong = _not_named(environ), error
    if language == CHINESE and _can_be_written(sys.stderr, sys.stdout):
        use_language(language)
    return wrong


def _can_be_written(*streams: TextIO) -> bool:
    """Whether Chinese comes out of these streams: in ASCII it would be escapes, which are worse than English."""
    try:
        for stream in streams:
            "中文，".encode(stream.encoding or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


def use_language(language: str) -> None:
    """Translate into this language. Where its words were not built with the package, the text stays English."""
    import gettext  # noqa: PLC0415 - English needs none of it
    import struct  # noqa: PLC0415 - see above

    try:
        use(gettext.translation("imagegen", FOLDER, [language]))
    except (OSError, ValueError, LookupError, struct.error):  # the last three: the file is damaged
        sys.stderr.write(f"imagegen: {FOLDER / language} has no words: pip install imagegen-cli again builds them\n")


def checked(name: str, place: str) -> str:
    """The language of this name. Raises UsageError where we lack it."""
    if language := language_named(name):
        return language
    hint = KNOWN.format(known=", ".join(name.partition("_")[0] for name in LANGUAGES))
    raise UsageError(UNKNOWN.format(place=place, name=repr(name)), hint=hint)


def _chosen(arguments: list[str], environ: Mapping[str, str]) -> str:
    """Raises UsageError for a language that we lack, where it is asked for by name."""
    if name := _taken_out(arguments):
        return checked(name, OPTION)
    if name := environ.get(VARIABLE, ""):
        return checked(name, VARIABLE)
    return _not_named(environ)


def _not_named(environ: Mapping[str, str]) -> str:
    """The language of a command without --lang; a name that we lack in the environment is passed over."""
    named = language_named(environ.get(VARIABLE, ""))
    return named or language_named(_in_settings()) or _of_the_system(environ)


def _taken_out(arguments: list[str]) -> str:
    """Take each --lang out of the words before `--`; the last one's value. Raises UsageError where it is missing."""
    found = ""
    at = 1
    while at < len(arguments) and arguments[at] != "--":
        word = arguments[at]
        if word == OPTION:
            if at + 1 == len(arguments):
                raise UsageError(LACKS_VALUE.format(option=OPTION))
            found = arguments[at + 1]
            del arguments[at : at + 2]
        elif word.startswith(f"{OPTION}="):
            found = word.removeprefix(f"{OPTION}=") or checked("", OPTION)
            del arguments[at]
        else:
            at += 1
    return found


def _in_settings() -> str:
    """`lang` in the person's own settings; empty where it is not there, or they cannot be read, which is said later."""
    from imagegen_cli.settings.paths import user_file  # noqa: PLC0415 - not needed where the language was named

    try:
        with user_file().open("rb") as file:
            text = file.read(MAX_BYTES) if os.path.isfile(file.fileno()) else b""  # noqa: PTH113 - a pipe is read once
    except (OSError, ImagegenError):
        return ""
    if b"lang" not in text:
        return ""
    import tomllib  # noqa: PLC0415 - only if the word is in the file

    try:
        lang = tomllib.loads(text.decode("utf-8-sig")).get("lang", "")
    except (ValueError, RecursionError):
        return ""
    return lang if isinstance(lang, str) else ""


def _of_the_system(environ: Mapping[str, str]) -> str:
    if os.name != "nt" or any(environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")):
        return language_of(environ)
    import locale  # noqa: PLC0415 - Windows has no LANG

    return language_of({"LANG": locale.getlocale()[0] or ENGLISH})
