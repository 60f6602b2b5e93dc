"""Recognises lines of valid UTF-8 that are hardly text: another encoding by chance, or text that a program misread.

GB18030 and EUC put most letters into two bytes that are a valid pair of UTF-8 as well, where the second byte is below
0xC0. The result mixes scripts that no word mixes.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

EVERYDAY = re.compile("[a-zA-Zªµºß-öø-ÿÀ-ÖØ-ÞĀ-ſƏƠơƯưǍ-ǜȘ-țəΆ-ώЀ-џҐґҒғҖҗҚқҢңҮүҰұҲҳҺһӘәӢӣӨөӮӯԱ-Ֆա-ֆא-תء-يپچژکگی]")
"""Letters of living languages that UTF-8 writes in at most two bytes."""
FAR = "\u0800"
"""The first character with three bytes in UTF-8; from here on only the script is examined."""
CP1252_HOLES = {code: code for code in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00bfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]")
HZ = re.compile(r"~\{(?:[!-}][!-~])+~\}")
UTF7 = re.compile(r"\+[A-Za-z0-9+/]{5,}-?")
JOINED_TO = frozenset("µªº²³¹ΩΔπμ")
"""Symbols of units that occur beside letters of another script."""


def is_implausible(text: str) -> bool:
    """Whether no person can mean these words: mixed scripts, letters of no script, or marks without a letter."""
    return any(_is_odd_word(word) for word in _words(text))


def is_unproven(text: str) -> bool:
    """Whether nothing proves that a line is UTF-8: no plain letter, and no character of three bytes."""
    return not text.isascii() and not any(sign >= FAR or (sign.isascii() and sign.isalpha()) for sign in text)


def _words(text: str) -> Iterable[str]:
    """Words that are not ASCII; blanks, digits, punctuation and typography separate them."""
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


# Text that an earlier program misread


def repaired(text: str, makes_sense: Callable[[str], bool]) -> tuple[str, str]:
    """The text before a program misread its UTF-8, and the wrong encoding that it used; empty where none did."""
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
    """The text encoded again and decoded as UTF-8; empty where the result is no better."""
    try:
        data = text.encode(encoding) if encoding != "cp1252" else b"".join(map(_byte, text))
        found = data.decode()
    except ValueError:
        return ""
    return "" if found == text or is_implausible(found) else found


def _byte(sign: str) -> bytes:
    return bytes((ord(sign),)) if ord(sign) in CP1252_HOLES else sign.encode("cp1252")


def hidden_encoding(text: str, makes_sense: Callable[[str], bool]) -> str:
    """The 7-bit encoding, hz or utf-7, in which a line is another text; empty where there is none."""
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
