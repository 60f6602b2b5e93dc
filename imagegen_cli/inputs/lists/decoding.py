"""Decodes the bytes of a prompt list. A certain encoding is read; else lines are refused, with likely encodings."""

import codecs
import contextlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import NoReturn

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.inputs.lists.advice import through
from imagegen_cli.inputs.lists.common import MAX_LIST_BYTES, UNSENT, Reading, placed
from imagegen_cli.inputs.lists.mojibake import hidden_encoding, is_implausible, is_unproven, repaired

MAX_LINE_NUMBERS = 10
"""Line numbers that one message names; the rest is counted."""
SAMPLE_BYTES = 20_000
"""Bytes, or characters, that are examined to find an encoding."""
MAX_SHOWN_CHARACTERS = 40
"""Characters of a line that a message shows."""
MAX_ENCODINGS = 4
MAX_SCORE_GAP = 0.3
"""A message does not name encodings whose score is this much lower than the best."""
MIN_EVERYDAY_SCORE = 0.8
"""With a lower score, text is not everyday text, so it raises no doubt about a line of UTF-8."""
HALF_WIDTH_PENALTY = 0.15
"""Subtracted from the score for half-width kana, which are rare in prompts."""
MIN_EVIDENCE = 9.0
"""The logarithm of the odds, about 8000 to 1; with lower odds, a list is doubtful."""
MIN_CHINESE_CHARACTERS = 8
"""A list with fewer Chinese characters is never certainly GB18030."""

READS_IT = Message("nothing was sent; {option} reads it, or save it as UTF-8")
NOT_OF = Message("the line is not {encoding} text")
EXAMPLES = ("utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc_jp", "cp949", "cp1252", "cp1251")
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
NO_TEXT = ("unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined")
"""Python encodings for names and source code; no list is saved in them."""
UNMARKED = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffe\uffff]")
UTF8_CHINESE = re.compile(rb"(?:[\xe3-\xe9][\x80-\xbf]{2}){2}")
"""Two Chinese characters in UTF-8: inside a line of GB18030 they mean that two encodings were mixed."""
ISO_2022 = re.compile(rb"\x1b\$[@B(]|\x1b\$\)C")
TYPOGRAPHY = frozenset("\xa0§©«®°·»¿¡×–—‘’‚“”„•…‹›€№、。，．：；！？（）「」『』【】《》〈〉〔〕・ー～〜〝〟　々〆")
"""Characters that occur in lists of any language."""
ENDS = "".join(TYPOGRAPHY)
WESTERN = "àáâãäåæçèéêëìíîïðñòóôõöøœùúûüýþÿßšž"
ICELANDIC = "ðþýÐÞÝ"
"""Rare letters, which misread Turkish consists of."""
LETTERS: dict[str, str] = {
    "cp1252": WESTERN,
    "cp1254": WESTERN.replace("ð", "ğ").replace("þ", "ş") + "ıİ",
    "cp1250": "áâăäąćčçďđéęëěíîĺľłńňóôőöŕřśšşťţúůűüýźžżß",
    "cp1257": "āąčćēęėģīįķļłņńōóõöśšūųüźžżäß",
    "cp850": WESTERN,
    "mac_roman": WESTERN,
}
"""The letters that each Latin encoding is used for; its other letters are mistakes."""
SCRIPTS: dict[str, str] = {
    "cp1251": "CYRILLIC", "koi8_r": "CYRILLIC", "cp866": "CYRILLIC", "cp1253": "GREEK", "cp1255": "HEBREW",
    "cp1256": "ARABIC", "cp874": "THAI",
}  # fmt: skip
COMMON_CHINESE = frozenset(
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事"
    "只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情"
    "部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处"
    "总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象"
    "记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领"
    "传近留红周保达办运武半候七必城父强步完深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片"
    "容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争包组造落视济喜离虽坏布图画油彩墨素描绘幅张只猫狗鸟鱼龙"
    "虎狼熊鹿兔狐狸凤蝴蝶雨雪云雾霜冰雷夜晚晨昏阳星球宇宙航员霓虹灯沙滩夕河湖泉瀑森草叶树木竹梅兰菊荷莲桃樱桥塔楼宫殿堡寺村街巷窗茶壶杯筝船舟"
    "古代现赛博朋克未科幻机械超写卡通漫插画风格背景特近远镜头微距鸟瞰逆光柔暖冷色调对比细节质高清肖像少女男孩老穿戴裙袍帽剑盔甲翅膀奔跑坐站躺"
    "抱骑飘舞跳唱睡夏春秋冬季节日蓝绿紫粉橙灰黑白银铜玻璃木纸布丝绒皮革提示词比例模型种数量标志海报设计产品照片摄影室内外建筑静温馨浪漫神秘梦幻"
    "宏伟壮观可爱戴眼镜咖啡蛋糕水果苹果面包厨餐桌椅床灯铅笔国潮仙侠山河田园雕塑剪影抽象极简主义印象派浮世绘皮克乐趣玩具熊汽火车飞铁站港城市幕"
)
"""Frequent characters of Chinese prompts. They are rare in text of other encodings that is misread as Chinese."""


def decoded(name: str, data: bytes, encoding: str = "") -> tuple[str, str]:
    """The text of a list, and a remark about its encoding or "".

    All line ends have become newlines, and no line begins with a byte order mark, also where files were joined.
    Without `encoding` this reads UTF-8, UTF-16 with its mark, and GB18030 where the whole list is certainly Chinese.
    Raises UsageError that names the lines which cannot be read for certain.
    """
    if len(data) > MAX_LIST_BYTES:
        message = Message("{name} is larger than {limit} MB: that is no prompt list")
        raise UsageError(message.format(name=name, limit=MAX_LIST_BYTES >> 20))
    if encoding:
        return _unmarked(_forced(name, data, encoding)), ""
    if data.startswith(UTF32):
        message = Message("the list is UTF-32, which no editor writes by itself")
        raise UsageError(placed(f"{name}:1", message), hint=READS_IT.format(option="--encoding utf-32"))
    if data.startswith(UTF16):
        return _unmarked(_wide(name, data, "utf-16")), ""
    text, remark = _by_line(name, data)
    return _unmarked(text), remark


def detected_encoding(data: bytes, remark: str) -> str:
    """The encoding that `decoded` has found by itself; empty for UTF-8."""
    return "utf-16" if data.startswith(UTF16) else "gb18030" if remark else ""


def check_encoding(encoding: str) -> None:
    """Raise UsageError where Python knows no text encoding of this name."""
    try:
        known = codecs.lookup(encoding).name not in NO_TEXT and isinstance(b"a".decode(encoding, "ignore"), str)
    except (LookupError, ValueError):
        known = False
    if not known:
        hint = Message("names are, for example: {names}").format(names=" ".join(EXAMPLES))
        raise UsageError(Message("there is no text encoding named {name!r}").format(name=encoding), hint=hint)


def _unmarked(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def _split(data: bytes) -> list[bytes]:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


# Encodings that a person names


def _forced(name: str, data: bytes, encoding: str) -> str:
    check_encoding(encoding)
    if not _keeps_ascii(encoding):
        return _wide(name, data, encoding)
    lines = _split(data)
    if bad := [number for number, line in enumerate(lines, 1) if _is_utf8_after_all(line, encoding)]:
        line = lines[bad[0] - 1]
        misread = _quoted(line.decode(encoding, "replace"))
        message = Message("the line is UTF-8; as {encoding} it would read {text}")
        message = _also(message.format(encoding=encoding, text=misread), bad)
        raise UsageError(placed(f"{name}:{bad[0]}", message), hint=_hint_without_force(lines, bad, encoding))
    if bad := [number for number, line in enumerate(lines, 1) if _decoded_as(line, encoding) is None]:
        way = Message("without --encoding {encoding} a message names the likely encodings").format(encoding=encoding)
        message = _also(NOT_OF.format(encoding=encoding), bad)
        raise UsageError(placed(f"{name}:{bad[0]}", message), hint=UNSENT.format(way=way))
    return "\n".join(line.decode(encoding) for line in lines)


def _keeps_ascii(encoding: str) -> bool:
    """Whether lines can be separated before they are decoded, and decoded one by one."""
    try:
        return all(bytes((code,)).decode(encoding) == chr(code) for code in (*range(0x20, 0x2B), *b"\n\razAZ09"))
    except ValueError:
        return False


def _is_utf8_after_all(line: bytes, encoding: str) -> bool:
    """Whether a line is UTF-8 although another encoding was named for it.

    One letter beyond ASCII proves it for encodings of single bytes; pairs of bytes may be valid UTF-8 by chance.
    """
    if line.isascii() or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
        return False
    text = _decoded_as(line, "utf-8")
    if text is None:
        return False
    if is_implausible(text) and _everyday_score(line, encoding):
        return False
    single = len(b"\xc3\xa9".decode(encoding, "replace")) > 1
    return single or sum(not sign.isascii() for sign in text) >= MIN_CHINESE_CHARACTERS


def _hint_without_force(lines: Sequence[bytes], mistaken: Sequence[int], encoding: str) -> str:
    foreign = sum(not line.isascii() for line in lines)
    if foreign == len(mistaken):
        way = Message("leave --encoding {encoding} out: the list is UTF-8").format(encoding=encoding)
    else:
        way = Message("save all lines of the list in one encoding, best in UTF-8")
    return UNSENT.format(way=way)


def _wide(name: str, data: bytes, encoding: str) -> str:
    """Decode text whose line ends have no fixed byte. Raises UsageError for the first line that is broken."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        number = len(re.findall(r"\r\n|\r|\n", data[: error.start].decode(encoding, "ignore"))) + 1
        message = NOT_OF.format(encoding=encoding)
        raise UsageError(placed(f"{name}:{number}", message), hint=_SAVE) from error
    except (ValueError, LookupError) as error:
        message = Message("the list is not {encoding} text").format(encoding=encoding)
        raise UsageError(placed(f"{name}:1", message), hint=_SAVE) from error
    lines = re.split(r"\r\n|\r|\n", text)
    if bad := [number for number, line in enumerate(lines, 1) if _pairs_of_ascii(line) or "\ufffe" in line]:
        message = Message("the line is not {encoding} text like the lines before it").format(encoding=encoding)
        message = Message("{message}; were two files joined?").format(message=_also(message, bad))
        raise UsageError(placed(f"{name}:{bad[0]}", message), hint=_SAVE)
    return text


_SAVE = UNSENT.format(way=Message("save the list as UTF-8"))


def _pairs_of_ascii(line: str) -> bool:
    """Whether Chinese characters are really two English letters each, misread as one character."""
    signs = line.encode("utf-16-le", "replace")
    if line.isascii() or len(signs) < 8 or not signs.isascii():  # noqa: PLR2004 - four signs
        return False
    return sum(0x61 <= code <= 0x7A or code == 0x20 for code in signs) >= 0.75 * len(signs)  # noqa: PLR2004 - a to z


# Encodings that the bytes prove


def _by_line(name: str, data: bytes) -> tuple[str, str]:
    text = _decoded_as(data, "utf-8")
    if text is None or "\0" in text:
        _refuse_wide(name, data)
    lines = _split(data)
    if ISO_2022.search(data):
        bad = [number for number, line in enumerate(lines, 1) if b"\x1b$" in line]
        _refuse_lines(name, lines, bad, ("iso2022_jp", "iso2022_kr"), mixed=False)
    if text is not None:
        _refuse_misread(name, lines)
        return text, ""
    bad = [number for number, line in enumerate(lines, 1) if _decoded_as(line, "utf-8") is None]
    foreign = [number for number, line in enumerate(lines, 1) if not line.isascii()]
    open_ = {*bad, *(number for number in foreign if _maybe_chinese(lines[number - 1]))}
    if open_ == {*foreign} and _surely_chinese([lines[number - 1] for number in foreign]):
        remark = Message("{name} is not UTF-8; it was read as GB18030").format(name=name)
        return "\n".join(line.decode("gb18030") for line in lines), remark
    plausible = plausible_encodings([lines[number - 1] for number in bad]) or plausible_encodings([lines[bad[0] - 1]])
    return _refuse_lines(name, lines, bad, plausible, mixed=open_ != {*foreign})


def _maybe_chinese(line: bytes) -> bool:
    """Whether a line may be valid UTF-8 by chance, in a list with other lines that are not."""
    text = _decoded_as(line, "utf-8")
    if text is None or text.isascii() or not (is_implausible(text) or is_unproven(text)):
        return False
    return bool(_other_readings(line))


def _other_readings(line: bytes) -> list[str]:
    """The double-byte encodings in which a line is everyday text."""
    scores = {encoding: _everyday_score(line, encoding) for encoding in PAIRS}
    likely = [encoding for encoding in scores if scores[encoding] > MIN_EVERYDAY_SCORE and encoding != "cp932"]
    return sorted(likely, key=lambda encoding: -scores[encoding])


def _everyday_score(line: bytes, encoding: str) -> float:
    text = _decoded_as(line, encoding)
    known = encoding if encoding in PAIRS else codecs.lookup(encoding).name
    if text is None or text.isascii() or CONTROLS.search(text) or known not in PAIRS:
        return 0.0
    return _score(known, text)


def _refuse_misread(name: str, lines: Sequence[bytes]) -> None:
    """Raise UsageError for lines of UTF-8 that are text of another encoding, or that no person would write."""
    doubtful: list[int] = []
    for number, line in enumerate(lines, 1):
        text = line.decode()
        if encoding := text.isascii() and ("~{" in text or "+" in text) and hidden_encoding(text, _makes_sense):
            message = Message("as {encoding} the line reads {text}")
            message = message.format(encoding=encoding, text=_quoted(line.decode(encoding)))
            way = Message("if that is right: --encoding {encoding}; if not: --encoding utf-8")
            hint = UNSENT.format(way=way.format(encoding=encoding))
            raise UsageError(placed(f"{name}:{number}", message), hint=hint)
        if not text.isascii():
            _refuse_mojibake(name, number, text, lines)
            if (is_implausible(text) or _is_one_letter(text)) and _other_readings(line):
                doubtful.append(number)
    if doubtful:
        _refuse_doubtful(name, lines, doubtful)


def _is_one_letter(text: str) -> bool:
    """Whether a line is only one Latin letter, which is a common Chinese character in GB18030."""
    words = text.strip()
    return len(words) == 1 and is_unproven(words) and words.encode().decode("gb18030", "replace") in COMMON_CHINESE


def _refuse_doubtful(name: str, lines: Sequence[bytes], doubtful: Sequence[int]) -> NoReturn:
    line = lines[doubtful[0] - 1]
    others = _other_readings(line)[:MAX_ENCODINGS]
    readings = _readings([(encoding, line.decode(encoding)) for encoding in others])
    message = Message("as utf-8 the line reads {text}; {readings}")
    message = _also(message.format(text=_quoted(line.decode()), readings=readings), doubtful)
    if all(line.isascii() for number, line in enumerate(lines, 1) if number not in doubtful):
        choices = reduce(_or, [f"--encoding {encoding}" for encoding in (*others, "utf-8")])
        way = Message("say which is right: {choices}").format(choices=choices)
    else:
        way = Message("other lines of the list are UTF-8: write this one anew; or --encoding utf-8 takes all")
    raise UsageError(placed(f"{name}:{doubtful[0]}", message), hint=UNSENT.format(way=way))


def _or(one: str, other: str) -> str:
    return Message("{one} or {other}").format(one=one, other=other)


def _readings(texts: Sequence[tuple[str, str]]) -> str:
    """What a line reads in each of these encodings."""
    told = Message("as {encoding} it reads {text}")
    both = Message("{one}; or {other}")
    readings: list[str] = [told.format(encoding=encoding, text=_quoted(text)) for encoding, text in texts]
    return reduce(lambda one, other: both.format(one=one, other=other), readings)


def _refuse_mojibake(name: str, number: int, text: str, lines: Sequence[bytes]) -> None:
    found, encoding = repaired(text, _makes_sense)
    if not found:
        return
    message = Message("the line reads {text}: that is {meant} after a program has taken it for {encoding}")
    message = message.format(text=_quoted(text), meant=_quoted(found), encoding=encoding)
    way = Message("write it anew; if it is meant: --encoding utf-8")
    with contextlib.suppress(ValueError):
        b"\n".join(lines).decode().encode(encoding).decode()
        command = f"iconv -f UTF-8 -t {ICONV_NAMES[encoding]}"
        way = Message("turn it back: {command}; if it is meant: --encoding utf-8")
        way = way.format(command=through(command, name, Reading()))
    raise UsageError(placed(f"{name}:{number}", message), hint=UNSENT.format(way=way))


ICONV_NAMES = {"latin-1": "ISO-8859-1", "cp1252": "CP1252", "gb18030": "GB18030"}


def _makes_sense(text: str) -> bool:
    """Whether letters beyond ASCII are everyday Chinese, Japanese or Korean."""
    foreign = [sign for sign in text if not sign.isascii() and sign not in TYPOGRAPHY]
    chinese = [sign for sign in foreign if "\u3400" <= sign <= "\u9fff"]
    others = [sign for sign in foreign if _is_kana(sign) or PAIRS["cp949"](sign)]
    if not foreign or (chinese and _common_share(chinese) < 0.5 and 4 * sum(map(_is_kana, others)) < len(foreign)):  # noqa: PLR2004 - half
        return False
    return len(chinese) + len(others) >= 0.9 * len(foreign)


def _refuse_wide(name: str, data: bytes) -> None:
    for encoding in UNMARKED:
        if _is_wide(data, encoding):
            message = Message("the list is not UTF-8; it looks like {encoding} without a byte order mark")
            message = message.format(encoding=encoding[:6].upper())
            raise UsageError(placed(f"{name}:1", message), hint=READS_IT.format(option=f"--encoding {encoding}"))
    if bad := [number for number, line in enumerate(_split(data), 1) if b"\0" in line]:
        message = _also(Message("the line contains NUL bytes, so it is no text"), bad)
        raise UsageError(placed(f"{name}:{bad[0]}", message), hint=_SAVE)


def _is_wide(data: bytes, encoding: str) -> bool:
    """Whether all NUL bytes are the upper halves of plain letters, or all letters are everyday Asian ones."""
    text = _decoded_as(data, encoding)
    if not text or CONTROLS.search(text):
        return False
    if "16" in encoding and sum(not sign.isascii() for sign in text) > 1 and _makes_sense(text):
        return True
    if not data.count(0) or len(re.findall(rb"[a-z]", data)) > 2 * data.count(0):
        return False
    return "32" in encoding or sum(sign < "\u0100" for sign in text) >= 0.9 * data.count(0)


def _refuse_lines(
    name: str, lines: Sequence[bytes], bad: Sequence[int], plausible: Iterable[str], *, mixed: bool
) -> NoReturn:
    line = lines[bad[0] - 1]
    readings = [(encoding, text) for encoding in plausible if (text := _decoded_as(line, encoding)) is not None]
    if mixed:
        way = Message("other lines of the list are UTF-8: write this one anew and save all as UTF-8")
    elif readings:
        way = Message("if that is right: --encoding {encoding}; or save the list as UTF-8")
        way = way.format(encoding=readings[0][0])
    else:
        way = Message("save the list as UTF-8, or name its encoding with --encoding")
    message = Message("the line is not UTF-8; {readings}") if readings else Message("the line is not UTF-8")
    message = _also(message.format(readings=_readings(readings) if readings else ""), bad)
    raise UsageError(placed(f"{name}:{bad[0]}", message), hint=UNSENT.format(way=way))


def _also(message: Message, numbers: Sequence[int]) -> Message:
    """A message about the first of these lines, with the numbers of the others."""
    more = numbers[1:]
    if not more:
        return message
    shown = " ".join(map(str, more[:MAX_LINE_NUMBERS]))
    places = ngettext("line {numbers}", "lines {numbers}", len(more), numbers=shown)
    if (rest := len(more) - MAX_LINE_NUMBERS) > 0:
        told = Message("{message} (also {places} and {count} more)")
        return told.format(message=message, places=places, count=rest)
    return Message("{message} (also {places})").format(message=message, places=places)


def _quoted(text: str) -> str:
    text = text.strip()
    return repr(text[:MAX_SHOWN_CHARACTERS] + "…" * (len(text) > MAX_SHOWN_CHARACTERS))


def _decoded_as(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except ValueError:
        return None


# Which encodings are likely


def plausible_encodings(lines: Sequence[bytes]) -> list[str]:
    """The encodings in which the lines make sense, the likeliest first; only one of those that give the same text."""
    data = b"\n".join(line for line in lines if not line.isascii())[:SAMPLE_BYTES]
    if not data:
        return []
    data = data.rpartition(b"\n")[0] if len(data) == SAMPLE_BYTES and b"\n" in data else data
    scores: dict[str, float] = {}
    read: set[str] = set()
    for encoding in (*PAIRS, *LETTERS, *SCRIPTS):
        text = _decoded_as(data, encoding)
        if text is None or text in read or CONTROLS.search(text) or not (score := _score(encoding, text)):
            continue
        read.add(text)
        scores[encoding] = score
    best = max(scores.values(), default=0.0)
    likely = [encoding for encoding in scores if scores[encoding] >= best - MAX_SCORE_GAP]
    return sorted(likely, key=lambda encoding: -scores[encoding])[:MAX_ENCODINGS]


def _score(encoding: str, text: str) -> float:
    """How much sense the decoded text makes, from 0 to 1."""
    foreign = [sign for sign in text if not sign.isascii()]
    if encoding in PAIRS:
        everyday = sum(sign in TYPOGRAPHY or PAIRS[encoding](sign) for sign in foreign) / len(foreign)
        everyday -= HALF_WIDTH_PENALTY * sum("\uff66" <= sign <= "\uff9f" for sign in foreign) / len(foreign)
        together = min(1.0, 2 * _common_share(foreign)) if encoding == "gb18030" else 1.0
        alone = len(re.findall(r"[a-zA-Z][^\x00-\x7f](?![^\x00-\x7f])|(?<![^\x00-\x7f])[^\x00-\x7f][a-zA-Z]", text))
        if encoding != "gb18030" and 2 * alone > len(foreign):  # a character inside words is a letter of Europe
            return 0.0
        return everyday * (0.7 + 0.3 * together) if everyday > 0.6 else 0.0  # noqa: PLR2004 - the rest is chance
    letters = [sign for sign in foreign if sign not in TYPOGRAPHY]
    if not all(_of_script(sign, encoding) for sign in letters) or _odd_words(text, latin=encoding in LETTERS):
        return 0.0
    loud = sum(sign.isupper() for sign in letters) / (len(letters) or 1)
    rare = encoding == "cp1252" and any(sign in ICELANDIC for sign in text)
    return 0.95 - 0.5 * loud - 0.1 * rare


def _of_script(sign: str, encoding: str) -> bool:
    if encoding in LETTERS:
        return sign.lower() in LETTERS[encoding] or sign in LETTERS[encoding]
    return unicodedata.name(sign, "").startswith(SCRIPTS[encoding])


def _odd_words(text: str, *, latin: bool) -> bool:
    """Whether words look misread: marks or capitals inside, two scripts in one word, or too few plain letters."""
    words = [word.strip(ENDS) for word in re.split(r"[\x00-@\[-`{-\x7f]+", text) if not word.isascii()]
    if any(re.search(r"\w[^\w’–—…\xa0]\w", word) or _capital_inside(word) for word in words):
        return True
    if latin:
        plain = sum("a" <= sign.lower() <= "z" for sign in text)
        many = sum(not sign.isascii() and sign.isalpha() for sign in text) > 2 * plain
        return many or any(re.search(r"[^\W\d_a-zA-Z]{4}", word) for word in words)
    return any(re.search(r"[a-zA-Z]", word) for word in words)


def _capital_inside(word: str) -> bool:
    return any(one.islower() and two.isupper() for one, two in itertools.pairwise(word))


def _everyday_rows(encoding: str, first: int, last: int) -> Callable[[str], bool]:
    """A test whether a character is in a standard's rows of everyday characters, by its first byte."""

    def everyday(sign: str) -> bool:
        code = sign.encode(encoding, "ignore")
        return len(code) == 2 and first <= code[0] <= last  # noqa: PLR2004 - a pair

    return everyday


def _common_share(signs: Sequence[str]) -> float:
    """The share of characters that are frequent in Chinese prompts."""
    return sum(sign in COMMON_CHINESE for sign in signs) / (len(signs) or 1)


def _is_kana(sign: str) -> bool:
    """Whether a character is kana, also half-width kana, which Shift-JIS writes in one byte."""
    return "\u3041" <= sign <= "\u30fe" or "\uff66" <= sign <= "\uff9f"


def _japanese(encoding: str, first: int, last: int) -> Callable[[str], bool]:
    level_one = _everyday_rows(encoding, first, last)
    return lambda sign: _is_kana(sign) or level_one(sign)


PAIRS: dict[str, Callable[[str], bool]] = {
    "gb18030": _everyday_rows("gb2312", 0xB0, 0xD7),
    "shift_jis": _japanese("shift_jis", 0x88, 0x97),
    "cp932": _japanese("cp932", 0x88, 0x97),
    "cp949": _everyday_rows("euc_kr", 0xB0, 0xC8),
    "euc_jp": _japanese("euc_jp", 0xB0, 0xCF),
    "big5": _everyday_rows("big5", 0xA4, 0xC6),
}
"""Double-byte encodings, each with a test for its everyday characters."""


def _surely_chinese(lines: Sequence[bytes]) -> bool:
    """Whether a list is certainly GB18030: only then its lines are read, and paid for, without --encoding.

    Nearly every other encoding can be decoded as GB18030. Kanji of EUC-JP and the syllables of cp949 even become
    everyday Chinese characters, but few of the most common ones (20 % where Chinese prompts have 60 %), and hardly any
    from the rows after those of kanji and syllables (3 % where Chinese prompts have 25 %). The weights are the
    logarithms of these odds.
    """
    if any(UTF8_CHINESE.search(line) for line in lines):
        return False
    texts = [_decoded_as(line, "gb18030") for line in lines]
    if any(text is None or CONTROLS.search(text) or not _is_chinese_line(text) for text in texts):
        return False
    signs = [sign for text in texts if text for sign in text if "\u4e00" <= sign <= "\u9fff"][:SAMPLE_BYTES]
    late = _everyday_rows("gb2312", 0xD0, 0xF7)
    evidence = sum((1.1 if sign in COMMON_CHINESE else -0.7) + (2.1 if late(sign) else -0.3) for sign in signs)
    return len(signs) >= MIN_CHINESE_CHARACTERS and evidence >= MIN_EVIDENCE


def _is_chinese_line(text: str) -> bool:
    """Whether a line of a Chinese list is Chinese."""
    foreign = [sign for sign in text if not sign.isascii()]
    chinese = [sign for sign in foreign if "\u4e00" <= sign <= "\u9fff"]
    marks = sum(sign.encode("gb2312", "ignore")[:1] in (b"\xa1", b"\xa2", b"\xa3") for sign in foreign)
    together = len(chinese) < MIN_CHINESE_CHARACTERS // 2 or _common_share(chinese) >= 0.3  # noqa: PLR2004 - a rare word is no proof
    return len(chinese) + marks >= 0.9 * len(foreign) and together
