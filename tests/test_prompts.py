import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.lists.common import FIELDS
from imagegen_cli.inputs.lists.mojibake import MOJIBAKE, is_implausible
from imagegen_cli.inputs.prompts import (
    MAX_BAD_LINES,
    MAX_PROMPT_CHARACTERS,
    PromptSpec,
    from_arguments,
    from_list,
    size_in,
)
from tests.scripted import png

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""

COMMON = PromptSpec(prompt="")
CATS = "日落海滩上的两只猫"
CHINESE = f"{CATS}\n一只在雪地里奔跑的狐狸，水彩画风格\n夜晚的城市，霓虹灯，下着雨\n"


def specs(name: str, text: str | bytes, common: PromptSpec = COMMON) -> list[PromptSpec]:
    return from_list(name, text.encode() if isinstance(text, str) else text, common)[0]


def prompts(name: str, text: str | bytes) -> list[str]:
    return [spec.prompt for spec in specs(name, text)]


def refused(name: str, text: str | bytes) -> list[str]:
    """The lines of the message."""
    with pytest.raises(UsageError) as caught:
        specs(name, text)
    return caught.value.message.split("\n")


def tried(name: str, data: bytes) -> tuple[list[PromptSpec], str]:
    """The specifications that were read, and the messages of the refusal, if it was refused."""
    try:
        return specs(name, data), ""
    except UsageError as error:
        return [], error.message


# Plain lists


def test_a_plain_list_has_a_prompt_a_line_and_skips_comments_and_blank_lines() -> None:
    text = "# two animals\n\na cat\n   # not this\n  a dog  \n\n#\na # in the middle\n"
    assert [(spec.line, spec.prompt) for spec in specs("a.txt", text)] == [
        (3, "a cat"), (5, "a dog"), (8, "a # in the middle"),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_in_any_way(end: str, last: bool) -> None:
    assert prompts("a.txt", f"a cat{end}a dog{end * last}") == ["a cat", "a dog"]


@pytest.mark.parametrize("name", ["a.txt", "a.list", "a", "stdin", "a.TXT", "folder.csv/a.prompts", "/dev/fd/63"])
def test_what_is_no_table_is_a_plain_list(name: str) -> None:
    assert prompts(name, "a, b\nc") == ["a, b", "c"]


@pytest.mark.parametrize(
    "prompt",
    [
        "[bold]x[/]", "\x1b[2Jx", "../../etc/passwd", "100% %s", "{} {0} {id}", "🐱🏖️", "שלום", "\u202ecat", "-n 5",
        '"quoted"', "a\tb", "a\u2028b", "a\x0bb\x0cb", "a\x85b", "x" * MAX_PROMPT_CHARACTERS,
        "猫" * MAX_PROMPT_CHARACTERS,
    ],
)  # fmt: skip
def test_a_prompt_is_taken_as_it_stands(prompt: str) -> None:
    assert prompts("a.txt", f"{prompt}\nnext") == [prompt, "next"]
    assert prompts("a.jsonl", json.dumps({"prompt": prompt})) == [prompt]
    assert [spec.prompt for spec in from_arguments([prompt], COMMON)] == [prompt]


PROMPTS = (
    st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"), exclude_characters=",;|#={\ufffd"), max_size=20
    )
    .map(lambda text: f"a {text}".strip())
    .filter(lambda text: not (is_implausible(text) or MOJIBAKE.search(text)))
)
"""Prompts that are nothing else as well: no remark, no table, no program, no note of another one, no words of mixed
scripts, nothing that looks like UTF-8 misread by another program."""


@STEADY
@given(st.lists(PROMPTS))
def test_every_plain_list_is_read_line_by_line(lines: list[str]) -> None:
    assert prompts("a.txt", "\n".join(lines)) == lines


# What no service could take


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("x" * 1_000_000, "the prompt has 1,000,000 characters; no service takes more than 32,000"),
        ("x" * (MAX_PROMPT_CHARACTERS + 1), "the prompt has 32,001 characters; no service takes more than 32,000"),
    ],
    ids=["1 MB", "one too many"],
)
def test_an_endless_line_is_refused(line: str, trouble: str) -> None:
    assert refused("a.txt", f"a cat\n{line}") == [f"a.txt:2: {trouble}"]
    assert refused("a.jsonl", json.dumps({"prompt": line})) == [f"a.jsonl:1: {trouble}"]


def test_an_endless_cell_is_refused_by_its_line() -> None:
    (refusal,) = refused("a.csv", f"prompt\na cat\n{'x' * 1_000_000}\n")
    assert refusal.startswith("a.csv:3: ")


@pytest.mark.parametrize(
    ("prompt", "trouble"),
    [
        ("", "the prompt is empty"),
        ("  \n\t ", "the prompt is empty"),
        ("\u3000", "the prompt is empty"),
        ("a\0b", "the prompt holds a NUL character"),
        ("\ud800", "the prompt is not valid UTF-8"),
        ("caf\udce9", "the prompt is not valid UTF-8"),
    ],
)
def test_a_prompt_that_is_none_is_refused(prompt: str, trouble: str) -> None:
    assert refused("a.jsonl", json.dumps({"prompt": prompt})) == [f"a.jsonl:1: {trouble}"]
    with pytest.raises(UsageError, match=re.escape(f"prompt 2: {trouble}")):
        from_arguments(["a cat", prompt], COMMON)


def test_every_prompt_of_the_command_line_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        from_arguments(["", "a cat", "a\0"], COMMON)
    assert caught.value.message == "prompt 1: the prompt is empty\nprompt 3: the prompt holds a NUL character"
    assert caught.value.hint == "nothing was sent"


def test_the_command_line_numbers_its_prompts_and_keeps_the_options() -> None:
    common = PromptSpec(prompt="", provider="studio", count=2)
    one, two = from_arguments([" a cat ", "a dog"], common)
    assert (one.prompt, one.line, one.provider, one.count) == ("a cat", 1, "studio", 2)
    assert (two.prompt, two.line) == ("a dog", 2)


@pytest.mark.parametrize(
    ("common", "trouble"),
    [
        (PromptSpec(prompt="", negative="caf\udce9"), "negative is not valid UTF-8"),
        (PromptSpec(prompt="", models=("a", "\udce9")), "model is not valid UTF-8"),
        (PromptSpec(prompt="", references=("a\0.png",)), "references holds a NUL character"),
    ],
)
def test_options_that_are_no_text_are_refused(common: PromptSpec, trouble: str) -> None:
    with pytest.raises(UsageError, match=trouble):
        from_arguments(["a cat"], common)
    with pytest.raises(UsageError, match=f"a.txt:1: {trouble}"):
        specs("a.txt", "a cat", common)


# Encodings


@pytest.mark.parametrize(
    ("data", "remark"),
    [
        (CHINESE.encode(), ""),
        (codecs.BOM_UTF8 + CHINESE.encode(), ""),
        (CHINESE.encode("utf-16"), ""),
        (codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"), ""),
        (CHINESE.encode("gb18030"), "a.txt is not UTF-8; it was read as GB18030"),
        (CHINESE.replace("\n", "\r\n").encode("gb18030"), "a.txt is not UTF-8; it was read as GB18030"),
        (f"# 列表\n{CHINESE}a cat\n".encode("gbk"), "a.txt is not UTF-8; it was read as GB18030"),
        (f"{CHINESE}兩隻貓在夕陽下的海灘上\n".encode("gb18030"), "a.txt is not UTF-8; it was read as GB18030"),
    ],
    ids=["utf-8", "utf-8 with a mark", "utf-16", "utf-16 big", "gb18030", "crlf", "mixed", "traditional"],
)
def test_chinese_is_read_in_every_common_encoding(data: bytes, remark: str) -> None:
    found, refusals = from_list("a.txt", data, COMMON)
    assert [spec.prompt for spec in found][:3] == CHINESE.split()
    assert [line for line in refusals if "remark" not in line] == [remark] * bool(remark)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_schema_are_read_in_every_common_encoding(encoding: str) -> None:
    assert prompts("a.csv", f"提示词,比例\n{CATS},16:9\n".encode(encoding)) == [CATS]
    assert prompts("a.jsonl", f'{{"prompt": "{CATS}"}}\n'.encode(encoding)) == [CATS]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("un café à la crème\n", "latin-1"),
        ("naïve façade\n", "latin-1"),
        ("über den Wolken\n", "latin-1"),
        ("Ääkkönen höyrylaiva\n", "latin-1"),
        ("niño pequeño, mañana\n", "cp1252"),
        ("a cat – “quoted”\n", "cp1252"),
        ("кошка на пляже\n", "cp1251"),
        ("кошка на пляже\n", "koi8-r"),
        ("砂浜の猫、夕暮れ\n", "shift-jis"),
        ("砂浜の猫、夕暮れ\n", "euc-jp"),
    ],
)
def test_another_encoding_is_refused_by_line_with_what_fits(text: str, encoding: str) -> None:
    (refusal,) = refused("a.txt", f"a cat\n{text}".encode(encoding))
    shown = encoding.replace("-", "_").replace("latin_1", "cp1252")
    assert refusal.startswith(f"a.txt:2: the line is not UTF-8; as {shown} it reads {text.strip()!r}")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png("a cat"), "a.txt is a picture, not a list of prompts"),
        (b"\0" * 100, "a.txt:1: the line contains NUL bytes, so it is no text"),
        (b"a cat\n\0\n", "a.txt:2: the line contains NUL bytes, so it is no text"),
        (b"\x7fELF\x02\x01\x01\0", "a.txt:1: the line contains NUL bytes, so it is no text"),
    ],
    ids=["png", "zeros", "one NUL", "a program"],
)
def test_a_file_that_is_no_text_is_refused(data: bytes, expected: str) -> None:
    assert refused("a.txt", data) == [expected]


def test_half_a_letter_is_refused() -> None:
    assert refused("a.txt", b"\xff\xfea") == ["a.txt:1: the line is not utf-16 text"]


@STEADY
@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name in ("a.txt", "a.csv", "a.jsonl"):
        found, refusals = tried(name, data)
        assert refusals.startswith(name) or (not refusals and all(spec.prompt.strip() for spec in found))


# CSV


def test_a_table_names_its_columns() -> None:
    text = (
        "prompt,model,count,seed,ratio,size,negative,references,name\na cat,4.0,2,7,16:9,10x20,dogs,a.png|b.png,hero\n"
    )
    assert specs("a.csv", text) == [
        PromptSpec(
            prompt="a cat", line=2, models=("4.0",), count=2, seed=7, ratio="16:9", size="10x20", negative="dogs",
            references=("a.png", "b.png"), name="hero",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("A.CSV", ",")]
)
def test_a_table_may_be_separated_in_three_ways(name: str, delimiter: str) -> None:
    found = specs(name, f"prompt{delimiter}count\na cat{delimiter}2\n")
    assert [(spec.prompt, spec.count) for spec in found] == [("a cat", 2)]


@pytest.mark.parametrize(
    ("head", "row", "wanted"),
    [
        ("提示词,模型,比例,分辨率,数量,种子,反向提示词", "猫,4.0,16:9,2k,2,7,狗",
         PromptSpec(
             prompt="猫", line=2, models=("4.0",), ratio="16:9", resolution="2k", count=2, seed=7, negative="狗",
         )),
        ("Prompt , COUNT", "猫,2", PromptSpec(prompt="猫", line=2, count=2)),
        ("text,n,image", "猫,2,a.png", PromptSpec(prompt="猫", line=2, count=2, references=("a.png",))),
        ("prompt,negative_prompt,provider", "猫,狗,studio",
         PromptSpec(prompt="猫", line=2, negative="狗", provider="studio")),
        ("prompt,width,height", "猫,10,20", PromptSpec(prompt="猫", line=2, size="10x20")),
        ("prompt,extra", '猫,"{""steps"": 5, ""sampler"": ""euler""}"',
         PromptSpec(prompt="猫", line=2, extra={"steps": "5", "sampler": "euler"})),
    ],
)  # fmt: skip
def test_columns_go_by_several_names(head: str, row: str, wanted: PromptSpec) -> None:
    assert specs("a.csv", f"{head}\n{row}\n") == [wanted]


def test_a_cell_may_hold_quotes_commas_and_line_ends() -> None:
    text = 'prompt,count\r\n"a ""big"" cat,\r\nasleep",2\r\n"a; dog",1\r\n'
    assert [(spec.prompt, spec.count) for spec in specs("a.csv", text)] == [('a "big" cat,\nasleep', 2), ("a; dog", 1)]


@STEADY
@given(st.lists(st.tuples(PROMPTS, st.integers(1, 9)), min_size=1))
def test_what_a_spreadsheet_writes_is_read(rows: list[tuple[str, int]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("prompt", "count"), *rows])
    assert [(spec.prompt, spec.count) for spec in specs("a.csv", file.getvalue())] == rows


def test_a_row_is_known_by_the_line_on_which_it_begins() -> None:
    found = specs("a.csv", 'prompt\n\n"a\nb\nc"\nd\n')
    assert [(spec.line, spec.prompt) for spec in found] == [(3, "a\nb\nc"), (6, "d")]


def test_empty_cells_and_rows_say_nothing() -> None:
    common = PromptSpec(prompt="", count=3, ratio="1:1")
    found = specs("a.csv", "prompt,count,ratio\n\na cat,,\n,,\na dog,1\n", common)
    assert [(spec.prompt, spec.count, spec.ratio) for spec in found] == [("a cat", 3, "1:1"), ("a dog", 1, "1:1")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat,dog\na,b\n", ["a.csv:1: no column is named prompt (columns: 'cat', 'dog')"]),
        ("a cat\na dog\n", ["a.csv:1: no column is named prompt (columns: 'a cat')"]),
        ("prompt,promt\na,b\nc,d\n", ["a.csv:1: unknown column 'promt'; did you mean prompt?"]),
        ("prompt,zzz\na,b\nc,d\n", ["a.csv:1: unknown column 'zzz'"]),
        ("prompt,count\na,b,c\n", ["a.csv:2: the row has more cells than the table has columns (2)"]),
        ("prompt,count,N\na,1,2\n", ["a.csv:1: two columns are named count ('count', 'N')"]),
        ("prompt,count\na,x\n", ["a.csv:2: count must be a whole number, not 'x'"]),
        ("prompt,count\na,1.5\n", ["a.csv:2: count must be a whole number, not '1.5'"]),
        ("prompt,seed\na,--5\n", ["a.csv:2: seed must be a whole number, not '--5'"]),
        ("prompt,seed\na,99999999999999999999\n",
         ["a.csv:2: seed must be a whole number, not '99999999999999999999'"]),
        ("prompt,width\na,10\n", ["a.csv:2: width and height come together"]),
        ("prompt,extra\na,x\n", ["a.csv:2: extra must be a JSON object, not 'x'"]),
        ("prompt,count\n,2\n", ["a.csv:2: the prompt is empty"]),
        ('prompt\n"a cat" x\n', ["a.csv:2: text follows the quotation mark that ends a cell"]),
        ('prompt\na\n"b\nc\n', ["a.csv:3: a cell opens a quotation mark, and no later line closes it"]),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_by_its_line(text: str, expected: Sequence[str]) -> None:
    assert refused("a.csv", text) == expected


# JSON lines


def test_a_line_is_an_object_or_a_text() -> None:
    text = '{"prompt": "a cat", "n": 2, "seed": -1}\n\n"a dog"\n{"prompt": "猫", "references": ["a|b.png"]}\n'
    assert specs("a.jsonl", text) == [
        PromptSpec(prompt="a cat", line=1, count=2, seed=-1),
        PromptSpec(prompt="a dog", line=3),
        PromptSpec(prompt="猫", line=4, references=("a|b.png",)),
    ]


def test_what_a_line_says_goes_before_what_the_options_say() -> None:
    common = PromptSpec(prompt="", models=("3.0", "4.0"), count=4, provider="studio", extra={"a": "b"})
    bare, full = specs(
        "a.ndjson", '{"prompt":"a"}\n{"prompt":"a","model":"2.0","n":1,"provider":"x","extra":{}}', common
    )
    assert (bare.models, bare.count, bare.provider, bare.extra) == (("3.0", "4.0"), 4, "studio", {"a": "b"})
    assert (full.models, full.count, full.provider, full.extra) == (("2.0",), 1, "x", {})


def test_broken_json_is_named_by_its_line() -> None:
    lines = ['{"prompt": "a cat"}'] * 10
    lines[6] = '{"prompt": "a cat"'
    assert refused("a.jsonl", "\n".join(lines)) == [
        "a.jsonl:7: broken JSON: a comma or a closing bracket is missing (column 19)"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[]", "a line must be a JSON object or a JSON text"),
        ("5", "a line must be a JSON object or a JSON text"),
        ("null", "a line must be a JSON object or a JSON text"),
        ("a cat", "broken JSON: the line is neither an object nor a text in quotation marks (column 1)"),
        ("[" * 100_000, "broken JSON: it is nested too deeply"),
        ("{}", "the prompt is empty"),
        ('{"prompt": 5}', "the prompt must be a text, not 5"),
        ('{"prompt": ["a"]}', "the prompt must be a text, not ['a']"),
        ('{"prompt": "a", "count": true}', "count must be a whole number, not True"),
        ('{"prompt": "a", "count": 1.5}', "count must be a whole number, not 1.5"),
        ('{"prompt": "a", "model": ["x"]}', "model must be a text, not ['x']"),
        ('{"prompt": "a", "ratio": {}}', "ratio must be a text, not {}"),
        ('{"prompt": "a", "references": 5}', "references must be a file name or a list of them, not 5"),
        ('{"prompt": "a", "references": [5]}', "references must be a file name or a list of them, not [5]"),
        ('{"prompt": "a", "extra": []}', "extra must be an object, not []"),
        ('{"prompt": "a", "models": ["x"]}', "unknown field 'models'; did you mean model?"),
        ('{"prompt": "a", "text": "b"}', "prompt is given twice"),
        ('{"prompt": "a", "line": 5}', "unknown field 'line'; "),
        ('{"prompt": "a", "negative": "\\ud800"}', "negative is not valid UTF-8"),
        ('{"prompt": "a", "model": "\\udc00"}', "model is not valid UTF-8"),
        ('{"prompt": "a", "references": ["\\udc00"]}', "references is not valid UTF-8"),
        ('{"prompt": "a", "extra": {"x": "\\udc00"}}', "extra is not valid UTF-8"),
        ('{"prompt": "a", "provider": "x\\u0000"}', "provider holds a NUL character"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(line: str, expected: str) -> None:
    (found,) = refused("a.jsonl", f'"a cat"\n{line}')
    assert found.startswith(f"a.jsonl:2: {expected}")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=4,
)


@STEADY
@given(st.lists(JSON, max_size=4))
def test_any_json_is_read_or_refused_line_by_line(rows: list[Any]) -> None:
    text = "\n".join(json.dumps(row) for row in rows)
    found, refusals = tried("a.jsonl", text.encode())
    whole = rows[0] if len(rows) == 1 and isinstance(rows[0], list) else rows
    if rows == [{"prompt": []}]:  # an object that holds one list stands for that list, and it is empty
        whole = []
    assert re.match(r"a\.jsonl:\d+: ", refusals) if refusals else len(found) == len(whole)


# All that is wrong is said at once


def test_all_bad_lines_are_listed() -> None:
    text = '{"prompt": ""}\n{"prompt": "a"}\nx\n{"prompt": "a", "nn": 1}\n'
    refusals = refused("a.jsonl", text)
    assert [line.split(": ")[0] for line in refusals] == ["a.jsonl:1", "a.jsonl:3", "a.jsonl:4"]


def test_very_many_bad_lines_are_counted() -> None:
    refusals = refused("a.jsonl", '{"prompt": ""}\n' * (MAX_BAD_LINES + 30))
    assert len(refusals) == MAX_BAD_LINES + 1
    assert refusals[-1] == "… and 30 more"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "stdin"])
def test_an_empty_list_is_empty(name: str) -> None:
    assert specs(name, "\n\n") == []


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024x768", (1024, 768)),
        ("1024X768", (1024, 768)),
        ("1024×768", (1024, 768)),
        ("1024*768", (1024, 768)),
        (" 1 x 16384 ", (1, 16384)),
    ],
)
def test_a_size_is_width_times_height(text: str, size: tuple[int, int]) -> None:
    assert size_in(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "x", "1024", "1024x", "x768", "1024x768x3", "0x5", "5x0", "-5x5", "1e3x5", "16385x1", "十x十", "²x²", "٣x٣"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no (usable )?size"):
        size_in(text)
