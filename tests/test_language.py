"""Two languages: which one is chosen, that every text has its translation, and that nothing else changes."""

import importlib.util
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from babel.messages.pofile import read_po

import imagegen_cli
from imagegen_cli.core import language
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import (
    CHINESE,
    ENGLISH,
    Message,
    in_sense,
    joined,
    language_named,
    language_of,
    ngettext,
    parts_of,
    restored,
    tr,
    translated,
)
from imagegen_cli.core.masking import hide, masked
from imagegen_cli.core.money import Money
from imagegen_cli.display.paragraphs import COMMAND
from imagegen_cli.settings.language import checked, choose
from tests.program import Program
from tests.pseudo import placeholders
from tests.unmarked import rooms, stale, unmarked


class Loud:
    """A language for tests: each text in capitals, with its placeholders as they are."""

    def gettext(self, message: str) -> str:
        return "".join(
            text.upper()
            + (
                ""
                if name is None
                else "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            )
            for text, name, form, conversion in string.Formatter().parse(message)
        )

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return self.gettext(singular if number == 1 else plural)


@pytest.fixture
def loud() -> Iterator[None]:
    language.use(Loud())
    yield
    language.use(None)


# The choice


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_SG.UTF-8"}, CHINESE),
        ({"LANG": "zh_Hans_CN"}, CHINESE),
        ({"LANG": "zh"}, CHINESE),
        ({"LANG": "zh_CN.GB18030@pinyin"}, CHINESE),
        ({"LANG": "zh_TW.UTF-8"}, ENGLISH),
        ({"LANG": "zh_HK"}, ENGLISH),
        ({"LANG": "zh_Hant_CN"}, ENGLISH),
        ({"LANG": "zh_Hans_TW.UTF-8"}, CHINESE),
        ({"LANG": "zh-Hans-HK"}, CHINESE),
        ({"LANG": "zh_TW", "LANGUAGE": "zh_TW:zh_CN"}, CHINESE),
        ({"LANG": "de_DE.UTF-8"}, ENGLISH),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh_CN:en"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en:zh"}, ENGLISH),
        ({"LANG": "C", "LANGUAGE": "zh_CN"}, ENGLISH),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8", "LANGUAGE": "zh_CN"}, ENGLISH),
        ({"LC_ALL": "POSIX", "LANG": "zh_CN.UTF-8"}, ENGLISH),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, CHINESE),
        ({"LC_ALL": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, ENGLISH),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN"}, CHINESE),
        ({"LANGUAGE": "zh_CN"}, ENGLISH),
    ],
)
def test_a_locale_means_a_language(environ: dict[str, str], wanted: str) -> None:
    assert language_of(environ) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("zh", CHINESE),
        ("zh_CN.UTF-8", CHINESE),
        ("中文", CHINESE),
        ("zh-TW", CHINESE),
        ("EN", ENGLISH),
        ("en-GB", ENGLISH),
    ],
)
def test_a_language_is_named(name: str, wanted: str) -> None:
    assert language_named(name) == checked(name, "--lang") == wanted


@pytest.mark.parametrize("name", ["fr", "", "zhx", "../zh"])
def test_a_language_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match="there is no language"):
        checked(name, "--lang")


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--lang", "en", "run", "a cat"], ["run", "a cat"]),
        (["run", "a cat", "--lang=en"], ["run", "a cat"]),
        (["run", "--lang", "zh", "a cat", "--lang", "en"], ["run", "a cat"]),
        (["run", "--lang", "en", "--", "--lang", "fr"], ["run", "--", "--lang", "fr"]),
    ],
)
def test_the_option_may_stand_anywhere(words: list[str], left: list[str]) -> None:
    arguments = ["imagegen", *words]
    assert choose(arguments, {}) is None
    assert arguments == ["imagegen", *left]


@pytest.mark.parametrize(
    ("words", "environ", "told"),
    [
        (["--lang", "fr"], {}, "--lang: there is no language 'fr'"),
        (["run", "--lang"], {}, "--lang lacks its value"),
        (["--lang="], {}, "--lang: there is no language ''"),
        ([], {"IMAGEGEN_LANG": "fr"}, "IMAGEGEN_LANG: there is no language 'fr'"),
    ],
)
def test_what_is_asked_for_by_name_must_be_there(words: list[str], environ: dict[str, str], told: str) -> None:
    wrong = choose(["imagegen", *words], environ)
    assert isinstance(wrong, UsageError)
    assert wrong.message == told


@pytest.mark.parametrize(
    ("encoding", "speaks"), [("utf-8", True), ("gb18030", True), ("ascii", False), ("latin-1", False)]
)
def test_english_is_spoken_where_chinese_cannot_be_written(encoding: str, speaks: bool, tmp_path: Path) -> None:
    process: Any = Program(tmp_path).start(
        "show", "9", text=False, environment={"IMAGEGEN_LANG": "zh", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    )
    words = process.communicate()[1].decode(encoding)
    assert ("没有任务" in words) == speaks
    assert ("there is no task" in words) != speaks


@pytest.mark.parametrize("environ", [{"IMAGEGEN_LANG": "zh"}, {"LANG": "zh_CN.UTF-8"}])
def test_a_wrong_choice_is_said_in_the_language_that_holds_without_it(environ: dict[str, str]) -> None:
    try:
        wrong = choose(["imagegen", "--lang", "fr"], environ)
        assert wrong is not None
        assert translated(wrong.message) == "--lang：没有语言 'fr'"
    finally:
        language.use(None)


@pytest.mark.parametrize("content", [None, b"", b"\xde\x12\x04\x95"])
def test_without_the_files_of_a_language_english_is_used(tmp_path: Path, content: bytes | None) -> None:
    package = tmp_path / "imagegen_cli"
    shutil.copytree(Path(imagegen_cli.__file__).parent, package, ignore=shutil.ignore_patterns("*.mo", "__pycache__"))
    if content is not None:
        (package / "locale" / CHINESE / "LC_MESSAGES" / "imagegen.mo").write_bytes(content)
    environ = {"PYTHONPATH": str(tmp_path), "IMAGEGEN_HOME": str(tmp_path / "home"), "LANG": "zh_CN.UTF-8"}
    command = [sys.executable, "-m", "imagegen_cli", "list"]
    ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert "has no words" in ended.stderr
    assert "no matching tasks" in ended.stderr


# Messages


def test_a_message_is_english_and_translated_when_it_is_shown(loud: None) -> None:
    message = Message("{name} has no {what}").format(name="fal", what=Message("key"))
    assert message == "fal has no key"
    assert translated(message) == "fal HAS NO KEY"
    assert tr("{name} waits", name="fal") == "fal WAITS"
    assert translated("plain") == "plain"
    assert translated(Message("")) == ""


def test_counts_and_forms_are_kept(loud: None) -> None:
    assert [str(ngettext("{count} picture", "{count} pictures", number)) for number in (1, 2)] == [
        "1 picture",
        "2 pictures",
    ]
    assert (
        translated(ngettext("{count} picture of {name}", "{count} pictures of {name}", 2, name="x"))
        == "2 PICTURES OF x"
    )
    assert translated(Message("{value!r} of {size:.1f}").format(value="a", size=2)) == "'a' OF 2.0"
    assert translated(joined("; ", [Message("one"), "two"])) == "ONE; two"
    assert translated(joined(", ", ["one", Message("two"), "{three}"])) == "one, TWO, {three}"


def test_a_word_is_translated_by_its_sense(loud: None) -> None:
    word = in_sense("disk", Message("the reason disk"))
    assert (word, translated(word)) == ("disk", "THE REASON DISK")
    whole = Message("{reason}: full").format(reason=word)
    assert (whole, translated(whole)) == ("disk: full", "THE REASON DISK: FULL")
    again = restored(str(whole), parts_of(whole))
    assert (again, translated(again)) == (whole, translated(whole))


def test_an_amount_of_credits_is_a_message_among_values(loud: None) -> None:
    message = Message("spent {amount}").format(amount=Money(2_500_000, "credits"))
    assert (message, translated(message)) == ("spent 2.5 credits", "SPENT 2.5 CREDITS")
    assert translated(restored(str(message), parts_of(message))) == translated(message)


def test_braces_of_a_text_that_is_not_filled_are_characters(loud: None) -> None:
    assert translated(Message("imagegen retry")) == "IMAGEGEN RETRY"
    assert Message("{ids}") == "{ids}"


@pytest.mark.parametrize(
    "message",
    [
        Message("{name} has {number:.1f}").format(name="{x}", number=2.5),
        ngettext("{count} task: {why}", "{count} tasks: {why}", 3, why=Message("{name} waits").format(name="fal")),
        joined("; ", [Message("one"), Message("{a!r}").format(a="b")]),
        Message("it ends"),
        Message("a path: {path}").format(path=Path("a/x")),
    ],
)
def test_the_history_keeps_a_message(message: Message, loud: None) -> None:
    again = restored(str(message), parts_of(message))
    assert again == message
    assert translated(again) == translated(message)
    assert parts_of(again) == parts_of(message)


@pytest.mark.parametrize(
    "parts",
    [
        {"template": "{a.__class__}", "values": {"a": "x"}},
        {"template": "{a:>999999999}", "values": {"a": "x"}},
        {"template": "{b}", "values": {"a": "x"}},
        {"template": "{a[0]}", "values": {"a": "x"}},
        {"template": "{", "values": {}},
        {"values": {}},
        {"template": "{a}", "values": {"a": {"values": {}}}},
        [],
        "text",
        {"template": "{a}", "values": [1]},
        {"template": "x", "plural": "y", "values": {}},
    ],
)
def test_damaged_parts_leave_the_english_text(parts: object, loud: None) -> None:
    assert translated(restored("it ended", parts)) == "IT ENDED"


def test_a_secret_is_struck_out_of_the_values_too(loud: None) -> None:
    hide("abcdef-secret")
    message = masked(Message("the key {key} is wrong").format(key="abcdef-secret"))
    assert message == "the key **** is wrong"
    assert translated(message) == "THE KEY **** IS WRONG"
    assert "secret" not in repr(parts_of(message))
    whole = masked(Message("{a}{b}").format(a="abcdef-", b="secret"))
    assert "secret" not in translated(whole)


# The catalogue

ROOT = Path(__file__).parents[1]
FOLDER = Path(imagegen_cli.__file__).parent / "locale"


@cache
def tool(name: str) -> ModuleType:
    """A script of .ci as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def translations() -> list[Any]:
    with (FOLDER / CHINESE / "LC_MESSAGES" / "imagegen.po").open("rb") as file:
        return [message for message in read_po(file, locale=CHINESE) if message.id]


def test_every_text_is_in_the_catalogue_and_no_other() -> None:
    wanted = {message.id for message in tool("catalogues").collected(ROOT) if message.id}
    known = {message.id for message in translations()}
    assert wanted - known == set(), "python .ci/catalogues.py --update, then translate"
    assert known - wanted == set(), "python .ci/catalogues.py --update"


def pairs() -> Iterator[tuple[str, str]]:
    """Every source with its translation; both forms of a plural."""
    for message in translations():
        sources = message.id if isinstance(message.id, tuple) else (message.id,)
        targets = message.string if isinstance(message.string, tuple) else (message.string,)
        yield from ((source, target) for source in sources for target in targets)


def test_every_translation_is_whole() -> None:
    for source, target in pairs():
        assert target, source
        assert _edges(source) == _edges(target), source
        assert re.findall(r"%\(\w+\)\w|imagegen [a-z]+ \{\w+\}", source) == re.findall(
            r"%\(\w+\)\w|imagegen [a-z]+ \{\w+\}", target
        ), source
        if not _is_unfilled(source):
            assert set(placeholders(target)) == set(placeholders(source)), source


def _edges(text: str) -> tuple[str, str, int]:
    return text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :], text.count("\n")


def _is_unfilled(text: str) -> bool:
    """Whether braces are ordinary signs of the text, which is never filled."""
    try:
        return any(not one.partition("!")[0].isidentifier() for one in placeholders(text))
    except ValueError:
        return True


def test_chinese_has_signs_of_its_own() -> None:
    """Half-width marks between Chinese signs, and blanks beside full-width ones, are slips of the translator."""
    wrong = r"[\u4e00-\u9fff][,;:?!](?= |[\u4e00-\u9fff]|$)|[，。；：？！（）] | [，。；：？！（）]"
    assert [target for _, target in pairs() if re.search(wrong, target)] == []


def test_the_meaning_of_a_sign_of_the_table_is_no_label_with_a_colon() -> None:
    found = dict(pairs())
    assert [found[text] for text in ("moves: nothing is known yet", "moves: not known")] == [
        "来回移动，进度未知",
        "进度未知",
    ]


PLACEHOLDER = re.compile(r"\{(\w+)[^}]*\}")


def _as_shown(text: str) -> str:
    """A text with values in its places, as commands have them: numbers, or a whole command."""
    return PLACEHOLDER.sub(lambda one: "imagegen retry 12" if one[1] == "command" else "12", text)


def test_a_command_in_chinese_is_pasted_without_the_sign_behind_it() -> None:
    """Many terminals take a full-width sign with the word before it: by a double click, or at the end of a line."""
    wrong = [
        target
        for _, target in pairs()
        for found in COMMAND.finditer(_as_shown(target))
        if re.match("[，。；：、？！）]", _as_shown(target)[found.end() :])
    ]
    assert wrong == []


@pytest.mark.parametrize("room", rooms())
def test_no_sentence_is_out_of_reach_of_a_translation(room: str) -> None:
    assert [f"{found.place}: {found.text}" for found in unmarked(room)] == []
    assert stale(room) == set()
