"""Lines that are valid UTF-8 but hardly text: another encoding by chance, or what an earlier program read wrongly.

GB18030 and EUC put most letters into two bytes that are a valid pair of UTF-8 as well, where the second byte is below
0xC0. What comes out mixes scripts that no word mixes.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

EVERYDAY = re.compile("[a-zA-Zªµºß-öø-ÿÀ-ÖØ-ÞĀ-ſƏƠơƯưǍ-ǜȘ-țəΆ-ώЀ-џҐґҒғҖҗҚқҢңҮүҰұҲҳҺһӘәӢӣӨөӮӯԱ-Ֆա-ֆא-תء-يپچژکگی]")
"""Letters of living languages that UTF-8 writes in at most two bytes."""
FAR = "\u0800"
"""From here on UTF-8 takes three bytes; what stands there is judged by its script alone."""
CP1252_HOLES = {code: code for code in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00bfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]")
HZ = re.compile(r"~\{(?:[!-}][!-~])+~\}")
UTF7 = re.compile(r"\+[A-Za-z0-9+/]{5,}-?")
JOINED_TO = frozenset("µªº²³¹ΩΔπμ")
"""Signs of measures that stand beside letters of another script."""


def is_implausible(text: str) -> bool:
    """Whether no person can have meant these words: scripts mixed in one, letters of none, marks without a letter."""
    return any(_is_odd_word(word) for word in _words(text))


def is_unproven(text: str) -> bool:
    """Whether a line holds nothing that proves it: no plain letter, and nothing behind the letters of two bytes."""
    return not text.isascii() and not any(sign >= FAR or (sign.isascii() and sign.isalpha()) for sign in text)


def _words(text: str) -> Iterable[str]:
    """Runs of letters, marks and half signs; blanks, digits, plain punctuation and typography part them."""
    for word in re.split(r"[\x00-@\[-`{-\x7f\u00a0-\u00bf×÷\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+", text):
        if word and not word.isascii():
            yield word


def _is_odd_word(word: str) -> bool:
    near = [sign for sign in word if sign < FAR and sign not in JOINED_TO]
    letters = [sign for sign in near if not unicodedata.category(sign).startswith("M")]
    if any("\u0080" <= sign < "\u00a0" for sign in near):
        return True
    if near and not letters:
        return True
    scripts = {_script(sign) for sign in letters}
    if any(sign.isascii() for sign in letters):
        scripts.discard("MODIFIER")  # as in ʻokina
    foreign = any(not EVERYDAY.match(sign) for sign in letters)
    plain = any(sign.isascii() for sign in letters)
    marks = any(
        unicodedata.category(sign).startswith("M") and _script(sign) not in {*scripts, "COMBINING"} for sign in near
    )
    return len(scripts) > 1 or marks or (foreign and not plain)


def _script(sign: str) -> str:
    return unicodedata.name(sign, "?").partition(" ")[0]


# What an earlier program read wrongly


def repaired(text: str, makes_sense: Callable[[str], bool]) -> tuple[str, str]:
    """The text that was UTF-8 before a program read it as another encoding, and that encoding; empty where none was."""
    if MOJIBAKE.search(text):
        for encoding in ("latin-1", "cp1252"):
            if (found := _undone(text, encoding)) and len(found) < len(text):
                return found, encoding
    if any("\u4e00" <= sign <= "\u9fff" for sign in text):
        found = _undone(text, "gb18030")
        if found and makes_sense(found) and not makes_sense(text):
            return found, "gb18030"
    return "", ""


def _undone(text: str, encoding: str) -> str:
    """Written in the encoding and read as UTF-8; empty where that gives nothing better."""
    try:
        data = text.encode(encoding) if encoding != "cp1252" else b"".join(map(_byte, text))
        found = data.decode()
    except ValueError:
        return ""
    return "" if found == text or is_implausible(found) else found


def _byte(sign: str) -> bytes:
    return bytes((ord(sign),)) if ord(sign) in CP1252_HOLES else sign.encode("cp1252")


def hidden_encoding(text: str, makes_sense: Callable[[str], bool]) -> str:
    """The encoding of plain letters, hz or utf-7, in which a line says something else; empty where there is none."""
    if HZ.search(text) and _decoded(text, "hz"):
        return "hz"
    parts = UTF7.findall(text)
    if parts and all((found := _decoded(part, "utf-7")) and makes_sense(found) for part in parts):
        return "utf-7" if _decoded(text, "utf-7") else ""
    return ""


def _decoded(text: str, encoding: str) -> str:
    try:
        found = text.encode("ascii").decode(encoding)
    except ValueError:
        return ""
    return "" if found.isascii() else found
