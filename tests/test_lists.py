"""Lists as people have them: only texts that are meant as prompts become paid tasks."""

import codecs
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core.errors import UsageError
from imagegen_cli.inputs.lists.common import MAX_LIST_BYTES, Reading, columns_in
from imagegen_cli.inputs.lists.decoding import check_encoding, decoded, plausible_encodings
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments, from_list
from tests.program import Program

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
COMMON = PromptSpec(prompt="")
LINES = "if each line is a prompt as it stands: --format lines"
CASES = Path(__file__).parents[2] / "shared" / "cases" / "lists"
KANJI = "東京夜景 満月\n桜満開 富士山\n"
KOREAN = "해변의 고양이 두 마리\n밤의 도시, 네온\n"
CHINESE = "一只在雪地里奔跑的狐狸，水彩画风格\n夜晚的城市，霓虹灯，下着雨\n"


def read(name: str, data: str | bytes, **reading: Any) -> tuple[list[PromptSpec], list[str]]:
    how = Reading(
        form=reading.get("form", ""),
        encoding=reading.get("encoding", ""),
        columns=columns_in(reading.get("columns", "")),
    )
    return from_list(name, data.encode() if isinstance(data, str) else data, COMMON, how)


def prompts(name: str, data: str | bytes, **reading: Any) -> list[str]:
    return [spec.prompt for spec in read(name, data, **reading)[0]]


def refused(name: str, data: str | bytes, **reading: Any) -> tuple[str, str]:
    """The message and the hint."""
    with pytest.raises(UsageError) as caught:
        read(name, data, **reading)
    assert caught.value.hint.startswith("nothing was sent")
    return caught.value.message, caught.value.hint.removeprefix("nothing was sent").removeprefix("; ")


NAMES = pytest.mark.parametrize("name", ["list.txt", "stdin", "/dev/fd/63", "noext", "list.prompts"])
"""File names without a known suffix: the content decides the form."""


# JSON by its content

TWO = ["a kite", "teapot"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "stdin", "/dev/fd/63", "a.csv"])
@pytest.mark.parametrize(
    "text",
    [
        '["a kite", "teapot"]',
        '[\n {\n  "prompt": "a kite"\n },\n {\n  "prompt": "teapot"\n }\n]\n',
        '{"prompts": ["a kite", "teapot"]}',
        '{\n  "prompts": [\n    {"prompt": "a kite"},\n    "teapot"\n  ]\n}',
        '{"prompt": "a kite"}\n{"prompt": "teapot"}\n',
        '# two\n{"prompt": "a kite"}\n\n{"prompt": "teapot"}\n',
        '{\n  "prompt": "a kite"\n}\n{\n  "prompt": "teapot"\n}\n',
        '[{"prompt": "a kite"}]\n[{"prompt": "teapot"}]\n'.replace("}]\n[{", "},\n{"),
        '\ufeff["a kite", "teapot"]',
    ],
    ids=["texts", "pretty", "object", "pretty object", "lines", "remark", "pretty lines", "rows", "mark"],
)
def test_json_is_told_by_its_content(name: str, text: str) -> None:
    assert prompts(name, text) == TWO


def test_elements_are_known_by_their_line_or_by_their_count() -> None:
    assert [spec.line for spec in read("a.json", '[\n "a kite",\n\n "teapot"]')[0]] == [2, 4]
    assert [spec.line for spec in read("a.json", '["a kite", "teapot"]')[0]] == [1, 2]
    assert refused("a.json", '[\n "a kite",\n\n ""]')[0] == "a.json:4: the prompt is empty"
    assert refused("a.json", '["a kite", ""]')[0] == "a.json:1: element 2: the prompt is empty"


@NAMES
def test_lines_that_are_all_json_texts_are_unquoted_where_no_suffix_says_text(name: str) -> None:
    quoted = '"a kite"\n"\\u732b \\"big\\""\n'
    assert prompts(name, quoted) == (quoted.split("\n")[:2] if name == "list.txt" else ["a kite", '猫 "big"'])


LINE_OF_A_COMMA = 3 if sys.version_info >= (3, 13) else 4
"""Python tells the place of a comma too many from 3.13 on, and the place of what follows it before."""


@NAMES
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a kite", "teapot",]', ":1: "),
        ('[\n {\n  "prompt": "a kite",\n },\n]', f":{LINE_OF_A_COMMA}: "),
        ('{"prompt": "a kite", "seed": 7,}\n', ":1: broken JSON"),
        ('{"prompt": "a ki', ":1: broken JSON"),
        ("{'prompt': 'a kite'}\n{'prompt': 'teapot'}\n", ":1: broken JSON"),
        ("['a kite', 'teapot']\n", ":1: broken JSON"),
        ('{"prompt": "a kite"},\n{"prompt": "teapot"},\n', ":1: broken JSON"),
        ('{"prompt": "a kite", "prompt": "teapot"}\n', ":1: prompt is given twice"),
        ('["a kite", ["teapot"]]', ":1: element 2: an element must be a JSON object or a JSON text"),
        ('{"error": {"code": 404}}', ":1: this object is no prompt; its keys are 'error'"),
        ('{"errors": ["not found"]}', ":1: this object is no prompt; its keys are 'errors'"),
        ('{"prompts": ["a"], "negative": "x"}', ":1: this object is no prompt; its keys are 'prompts', 'negative'"),
        ('{"3": {"class_type": "KSampler"}, "4": {}}', ":1: this object is no prompt; its keys are '3', '4'"),
        ('[{"prompt": "a"}\n{"prompt": "b"}]', ":2: broken JSON: a comma or a closing bracket is missing"),
        ('{"prompt": "a", "extra": {"x": 1, "x": 2}}', ":1: x is given twice"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_read_is_not_paid_line_by_line(name: str, text: str, expected: str) -> None:
    message, _ = refused(name, text)
    assert message.startswith(f"{name}{expected}")
    assert "\n" not in message or text.count("\n") > 1


def test_an_object_with_several_keys_says_how_to_take_its_list_out() -> None:
    _, hint = refused("my list.json", '{"version": 1, "items": ["a kite"]}')
    assert hint == "take the list without 'version': jq -c '.[\"items\"][]' 'my list.json' | imagegen batch -"


def test_a_request_for_a_batch_interface_says_where_its_prompt_is() -> None:
    row = {"custom_id": "r-1", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a kite"}}
    message, hint = refused("a.jsonl", f"{json.dumps(row)}\n" * 30)
    assert message == "a.jsonl:1: a request for a batch interface is no prompt; the prompt is inside its body"
    assert hint == "take the bodies: jq -c .body a.jsonl | imagegen batch -"


def test_an_unknown_name_in_many_objects_is_said_once() -> None:
    message, hint = refused("a.jsonl", '{"prompt": "a kite", "seed": 7, "act": "b"}\n' * 30)
    assert message.count("\n") == 0
    assert message.startswith("a.jsonl:1: unknown field 'act'")
    assert hint == "to read only these: --columns prompt,seed"


def test_deep_json_is_refused() -> None:
    deep = "[" * 900 + "]" * 900
    for row in ('{"prompt": "a", "extra": {"x": %s}}', '{"prompt": %s}', '{"prompt": "a", "seed": %s}', "[%s]"):
        assert from_or_said("a.jsonl", (row % deep).encode())
    message, _ = refused("a.jsonl", '{"prompt": "a", "seed": %s}' % ("9" * 5000))
    assert len(message) < 200
    for sign in ("[", '{"a":', '[{"prompt":'):
        assert refused("stdin", sign * 100_000)[0].startswith("stdin:1: ")


@pytest.mark.parametrize(
    "text", ["[bold]x[/]", "[cat:dog:0.5] photo", "{} {0} {id}", "{{masterpiece}}, cat", "[[soft]] cat"]
)
def test_brackets_of_prompts_are_no_json(text: str) -> None:
    assert prompts("stdin", f"{text}\nnext") == [text, "next"]


# Tables by their content


@NAMES
@pytest.mark.parametrize(
    "text",
    [
        "prompt,seed\na kite,7\n", "Prompt;Seed\r\na kite;7\r\n", "prompt\tseed\na kite\t7\n",
        "seed|prompt\n7|a kite\n", "\n# mine\nprompt,seed\na kite,7\n", "提示词,种子\na kite,7\n",
        'sep=;\r\n"prompt";"seed"\r\n"a kite";7\r\n',
        "text,seed\na kite,7\n", "prompt,seed\u2028a kite,7",
    ],
)  # fmt: skip
def test_a_table_is_told_by_its_head(name: str, text: str) -> None:
    (spec,) = read(name, text)[0]
    assert (spec.prompt, spec.seed) == ("a kite", 7)


def test_a_head_alone_is_no_prompt() -> None:
    assert prompts("stdin", "prompt\n") == []
    assert prompts("stdin", "prompt\na kite\nteapot\n") == TWO


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_what_spreadsheets_call_unicode_text_is_a_table(encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    data = mark + "prompt\tseed\r\na kite\t7\r\n蓝色茶壶\t8\r\n".encode(encoding)
    assert [(spec.prompt, spec.seed) for spec in read("a.txt", data)[0]] == [("a kite", 7), ("蓝色茶壶", 8)]


@pytest.mark.parametrize("name", ["a.csv", "stdin"])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (",prompt\n0,a kite\n1,teapot\n", [PromptSpec(prompt="a kite", line=2), PromptSpec(prompt="teapot", line=3)]),
        ("Unnamed: 0,prompt\n0,a kite\n", [PromptSpec(prompt="a kite", line=2)]),
        ("prompt,seed,\na kite,7,\n", [PromptSpec(prompt="a kite", line=2, seed=7)]),
        ("prompt,seed\na kite,7,\nteapot,8,,\n",
         [PromptSpec(prompt="a kite", line=2, seed=7), PromptSpec(prompt="teapot", line=3, seed=8)]),
        ("sep=;\r\nprompt;seed\r\na kite;7\r\n", [PromptSpec(prompt="a kite", line=3, seed=7)]),
        ("prompt,seed,count\na kite,7.0,1.0\nteapot,,\n",
         [PromptSpec(prompt="a kite", line=2, seed=7, count=1), PromptSpec(prompt="teapot", line=3)]),
        ("prompt,Negative Prompt,Aspect Ratio,Width,Height\na kite,blurry,,512.0,768\n",
         [PromptSpec(prompt="a kite", line=2, negative="blurry", size="512x768")]),
        ("prompt,negative prompt\na kite,blurry\n", [PromptSpec(prompt="a kite", line=2, negative="blurry")]),
        ("prompt,aspect_ratio,negative-prompt\na kite,16:9,blurry\n",
         [PromptSpec(prompt="a kite", line=2, ratio="16:9", negative="blurry")]),
        (
            "prompt,note,grade\na kite,,\nteapot, ,\n",
            [PromptSpec(prompt="a kite", line=2), PromptSpec(prompt="teapot", line=3)],
        ),
        ('prompt, seed\n"a kite, red", 7\n7, "8"\n',
         [PromptSpec(prompt="a kite, red", line=2, seed=7), PromptSpec(prompt="7", line=3, seed=8)]),
    ],
    ids=["pandas", "unnamed", "trailing", "rows", "sep", "floats", "names", "space", "ratio", "empty", "spaces"],
)  # fmt: skip
def test_schema_of_real_collections_simply_work(name: str, text: str, wanted: list[PromptSpec]) -> None:
    assert read(name, text) == (wanted, [])


@pytest.mark.parametrize(
    ("text", "expected", "offer"),
    [
        ('"act","prompt"\n"Kite maker","a kite"\n"x","y"\n', "unknown column 'act'", "prompt"),
        ("Prompt,Category,Challenge\na kite,b,c\nd,e,f\n", "unknown columns 'Category', 'Challenge'", "prompt"),
        ("Prompts,Category\na kite,Colors\n", "unknown column 'Category'", "prompt"),
        ("id,prompt,seed,width,height,model,grid,guidance\n00-aa,a kite,1,512,768,sd,false,7\n",
         "unknown columns 'id', 'grid', 'guidance'", "prompt,seed,width,height,model"),
        (",prompt\nx,a kite\n", "unknown column 'column 1 (no name)'", "prompt"),
    ],
)  # fmt: skip
def test_unknown_columns_are_named_once_with_a_way_to_leave_them_out(text: str, expected: str, offer: str) -> None:
    message, hint = refused("a.csv", text)
    assert message == f"a.csv:1: {expected}"
    assert hint == f"to read the others and leave these out: --columns {offer}"
    found, remarks = read("a.csv", text, columns=offer)
    assert found
    assert all(remark.startswith("a.csv:1: not read: ") for remark in remarks)


@pytest.mark.parametrize("name", ["a.csv", "stdin"])
def test_columns_are_read_under_other_names_and_no_others(name: str) -> None:
    text = "Caption,Model,Lucky number\na kite,sd,7\n"
    found, remarks = read(name, text, columns="prompt=Caption,seed=lucky number")
    assert found == [PromptSpec(prompt="a kite", line=2, seed=7)]
    assert remarks == [f"{name}:1: not read: 'Model'"]


def test_columns_are_names_in_json_as_well() -> None:
    text = '{"Caption": "a kite", "Model": "sd", "Seed": 7}\n{"caption": "teapot"}\n'
    found, _ = read("a.jsonl", text, columns="prompt=Caption,seed=Seed")
    assert found == [PromptSpec(prompt="a kite", line=1, seed=7), PromptSpec(prompt="teapot", line=2)]
    assert prompts("a.json", '[{"t": "a kite"}]', columns="prompt=t") == ["a kite"]
    message, _ = refused("a.jsonl", text, columns="prompt=Captoin")
    assert message == "a.jsonl: no object has 'Captoin' (names: 'Caption', 'Model', 'Seed', 'caption')"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("Caption,b\na,c\n", "prompt=Captoin", "a.csv:1: there is no column 'Captoin' (columns: 'Caption', 'b')"),
        ("Caption,b\na,c\n", "prompt=Caption,seed=Caption", "a.csv:1: --columns reads 'Caption' twice"),
    ],
)
def test_a_column_that_is_not_there_is_said(text: str, columns: str, expected: str) -> None:
    assert refused("a.csv", text, columns=columns)[0] == expected


def test_a_plain_list_has_no_columns() -> None:
    message, _ = refused("a.txt", "a kite\nteapot\n", columns="prompt=Caption")
    assert message == "a.txt:1: no column 'Caption' is in the first line 'a kite'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("promt=Caption,prompt=b", "there is no field 'promt'; did you mean prompt?"),
        ("seed=Seed", "--columns does not say which column has the prompt"),
        ("prompt=a,prompt=b", "--columns names prompt twice"),
        ('"prompt=a', "--columns cannot be read"),
        ("prompt=\udcff", "--columns is not valid UTF-8"),
        ("=", "there is no field ''"),
        (",", "there is no field ''"),
    ],
)
def test_columns_that_make_no_sense_are_refused(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        columns_in(text)
    assert expected in caught.value.message


def test_columns_may_hold_commas_and_signs_of_any_script() -> None:
    assert columns_in('"prompt=a, b",种子=数=字') == {"prompt": "a, b", "seed": "数=字"}
    assert columns_in("") == {}
    assert columns_in("Prompt") == {"prompt": "Prompt"}


def test_a_table_without_a_prompt_says_which_column_may_be_it() -> None:
    message, hint = refused("a.csv", "id,my caption\n1,a red kite\n")
    assert message == "a.csv:1: no column is named prompt (columns: 'id', 'my caption')"
    assert hint == f"say which column has the prompts: --columns 'prompt=my caption'; or, {LINES}"
    assert prompts("a.csv", "id,my caption\n1,a red kite\n", columns="prompt=my caption") == ["a red kite"]


@NAMES
@pytest.mark.parametrize(
    "text",
    ["a kite\t7\nteapot\t8\n", "caption,seed\na kite,7\nteapot,8\n", "id,caption\n1,a kite\n2,teapot\n",
     "0;a kite\n1;teapot\n", "a kite,7\nteapot,8\n", "{x},seed\na kite,7\n"],
)  # fmt: skip
def test_a_table_without_a_head_is_not_paid_with_its_cells(name: str, text: str) -> None:
    message, hint = refused(name, text)
    assert message == f"{name} looks like a table, but no column is named prompt"
    assert "--format lines" in hint
    assert len(prompts(name, text, form="lines")) == text.count("\n")


@NAMES
@pytest.mark.parametrize(
    "text", ["a cat, asleep\na dog, awake\n", "masterpiece, 1girl\nmasterpiece, solo\n", "a\tb\nc\n"]
)
def test_commas_in_prompts_are_no_table(name: str, text: str) -> None:
    assert prompts(name, text) == text.split("\n")[:2]


def test_a_tab_separated_table_does_not_quote() -> None:
    text = 'prompt\tseed\n"Hello" on a 5" wall\t7\n'
    assert prompts("a.tsv", text) == prompts("a.txt", text) == ['"Hello" on a 5" wall']
    assert prompts("a.tsv", 'prompt\tseed\n"a ""big"" kite"\t7\n', form="csv") == ['a "big" kite']
    message, _ = refused("a.tsv", 'prompt\tseed\n"a kite\nteapot"\t7\n')
    assert message.startswith("a.tsv:2: a cell opens a quote and does not close it; --format csv reads quoted cells")


def test_joined_tables_do_not_pay_for_the_second_head() -> None:
    text = "prompt,seed\na kite,7\n\ufeffprompt,seed\nteapot,8\n# more,\n"
    found, remarks = read("a.csv", text)
    assert [spec.prompt for spec in found] == TWO
    assert remarks == ["a.csv: skipped 2 lines (lines 3 5) that are remarks or repeat the header"]
    assert "byte order mark" in refused("a.csv", "prompt\nteapot\ufeffprompt\na kite\n")[0]


def test_a_table_with_thousands_of_columns_is_refused_in_short() -> None:
    message, _ = refused("a.csv", "prompt," + "x," * 50_000 + "\na," + "b," * 50_000)
    assert len(message) < 400


# What is no list of prompts


@pytest.mark.parametrize(
    "suffix", ["yaml", "yml", "md", "rtf", "html", "docx", "xlsx", "pdf", "png", "zip", "toml", "xls"]
)
def test_a_document_is_refused_by_its_name(suffix: str) -> None:
    message, hint = refused(f"list.{suffix}", "a kite\n")
    assert message.startswith(f"list.{suffix} is ")
    assert message.endswith(", not a list of prompts")
    assert hint


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04 xl/workbook.xml", b"PK\x03\x04 word/document.xml", b"\xd0\xcf\x11\xe0 x", b"%PDF-1.7 x",
     b"{\\rtf1 a kite}", b"\x1f\x8b\x08 x", b"SQLite format 3\0 x", b"GIF89a x"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["", "lines"])
@NAMES
def test_a_document_is_refused_by_its_first_bytes_whatever_is_forced(name: str, data: bytes, form: str) -> None:
    assert refused(name, data, form=form)[0].startswith(f"{name} is a")


@NAMES
@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html><html><body>404</body></html>", "<html>\n<p>a kite</p>", "<?xml version='1.0'?>\n<a>b</a>",
        "404: Not Found", "Not Found\n", "403 Forbidden", "#!/bin/sh\nimagegen run 'a kite'\n",
        "---\n- a kite\n- teapot\n", "---\nprompts:\n  - a kite\n", "prompts:\n  - a kite\n",
        "Animals:\n  a cat\n  a dog\n", "- a kite\n- teapot\n", "- a kite\n", "* a kite\n* teapot\n",
        "1. a kite\n2) teapot\n",
        "# My prompts\n\n- a kite\n- a teapot\n\n1. a cat\n2. a dog\n\n## More\n* a fox\n",
        "| prompt | seed |\n|---|---|\n| a kite | 7 |\n", "a kite\n```\nteapot\n```\n",
        "a red kite\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x768\n",
        "a red kite\nSteps: 20, Sampler: Euler a\n", "positive: a kite\nnegative: blurry\n----\npositive: a teapot\n",
        "prompt: a kite\n", "prompt = a kite\nseed = 7\n", '"prompt": "a kite",\n', "提示词：红色的风筝\n",
    ],
)  # fmt: skip
def test_a_text_that_is_no_list_is_refused_with_a_way_out(name: str, text: str) -> None:
    message, hint = refused(name, text)
    assert message.startswith(f"{name}{':' if message[len(name)] == ':' else ' is '}")
    assert hint.endswith(LINES)


def test_a_list_with_marks_says_how_to_take_them_off() -> None:
    for name in ("list.yaml", "list.md"):
        sed = "sed -E 's/^[[:space:]]*[-*+][[:space:]][[:space:]]*//'"
        hint = refused(name, "- a kite\n")[1]
        assert hint == f"take the marks off: {sed} {name} | imagegen batch -; or, {LINES}"
    assert prompts("list.md", "- a kite\n", form="lines") == ["- a kite"]


def test_columns_with_braces_do_not_break_a_hint() -> None:
    assert "prompt={x}" in refused("stdin", "{x}\tseed\nc d\t7\n")[1]


@NAMES
@pytest.mark.parametrize(
    "line",
    [
        "---",
        "}",
        "…",
        "***",
        "、、",
        "\u200b",
        "\u3164",
        "\u2800",
        "──────",
        "★★★",
        "\u00ad\u2060",
        "\u200d\u200d",
    ],
)
def test_a_line_without_a_letter_or_digit_is_refused_by_number(name: str, line: str) -> None:
    assert refused(name, f"a kite\n{line}\n")[0] == f"{name}:2: the prompt has no letter and no digit"
    assert refused(name, f"a kite\n{line}\n", form="lines")[0] == f"{name}:2: the prompt has no letter and no digit"


@pytest.mark.parametrize("prompt", ["7", "猫", "ß", "أ", "א", "ไ", "ก", "é", "Ω", "🐱", "☕", "❤️", "⠓", "①", "क", "한"])
def test_one_letter_of_any_script_is_a_prompt(prompt: str) -> None:
    assert prompts("a.txt", prompt) == [prompt]


@pytest.mark.parametrize("line", ["null", "None", "NaN", "undefined", "#N/A", "#REF!", "[object Object]", "caf\ufffd"])
def test_what_programs_write_for_nothing_is_no_prompt(line: str) -> None:
    assert refused("a.csv", f"prompt,seed\na kite,7\n{line},8\n")[0].startswith("a.csv:3: ")
    assert refused("a.txt", f"a kite\n{line}\n")[0].startswith("a.txt:2: ")


@NAMES
@pytest.mark.parametrize(
    "line", ['{"prompt": "x"}', '[{"prompt": "x"}]', '["x", "y"]', "// x", "<!-- x -->", "; x", "$ imagegen run x"]
)
def test_strange_lines_among_prompts_are_refused_by_number(name: str, line: str) -> None:
    message, hint = refused(name, f"a kite\n{line}\nteapot\n")
    assert message.startswith(f"{name}:2: ")
    assert hint == LINES
    assert prompts(name, f"a kite\n{line}\n", form="lines") == ["a kite", line]


# Remarks


def test_a_colour_and_a_tag_are_prompts_and_skipped_lines_are_counted() -> None:
    text = "#2E294E on white\n# remark\n  ## another\n#\n\ufeff# third\n\u200b# fourth\n＃ 备注\n"
    text += "#cat photo\n#1 dad mug\n#==\n"
    found, remarks = read("a.txt", text)
    assert [spec.prompt for spec in found] == ["#2E294E on white", "#cat photo", "#1 dad mug"]
    assert remarks == [
        "a.txt: skipped 7 remarks (lines 2 3 4 5 6 7 10)",
        "a.txt: # without a space is no remark; sent as prompts: 1 line (line 8)",
    ]


@pytest.mark.parametrize("start", ["", "\n"])
def test_joined_files_do_not_turn_a_remark_into_a_prompt(start: str) -> None:
    part = codecs.BOM_UTF8 + b"# mine\na kite\n"
    assert prompts("a.txt", part + start.encode() + part) == ["a kite", "a kite"]
    message, _ = refused("a.txt", part.strip() + part)
    assert message.startswith("a.txt:2: a byte order mark is inside the line")


@pytest.mark.parametrize(
    ("line", "example"),
    [
        ("a red kite --ar 16:9 --v 6", "--ar"), ("a red kite --n blurry --w 768", "--n"),
        ('--prompt "a red kite" --negative_prompt "x"', "--prompt"), ("a {red|blue} kite", "{red|blue}"),
        ("a __color__ kite", "__color__"), ("a kite <lora:x:1>", "<lora:"),
    ],
)  # fmt: skip
def test_options_of_other_programs_get_one_remark(line: str, example: str) -> None:
    found, remarks = read("a.txt", f"a teapot\n{line}\n{line}\n")
    assert [spec.prompt for spec in found] == ["a teapot", line, line]
    assert remarks == [
        f"a.txt: options and wildcards of other programs, such as {example}, are sent as text: 2 prompts (lines 2 3)"
    ]
    assert read("a.csv", f"prompt,seed\n{json.dumps(line)[1:-1]},7\n".replace('\\"', "'"))[1]


@pytest.mark.parametrize(
    "line", ["a well-known kite", "-n 5", "a kite -- red", "a {red} kite", "snake_case __x", "a–b—c"]
)
def test_dashes_and_braces_of_prompts_get_no_remark(line: str) -> None:
    assert read("a.txt", line) == ([PromptSpec(prompt=line)], [])


# Encodings


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(KOREAN, "cp949"), (KANJI, "euc_jp"), (KANJI, "shift_jis"), (KANJI, "iso2022_jp"), ("żółta łódź\n", "cp1250"),
     ("日落海灘上的兩隻貓\n", "big5"), ("кошка\n", "cp866"), ("μια γάτα στην παραλία\n", "cp1253"),
     ("红色的风筝\n", "gb18030"), ("חתול על החוף\n", "cp1255"), ("แมวบนชายหาด\n", "cp874"),
     ("café\n", "cp850"), ("café\n", "mac_roman"),
     ("güneşli kırmızı İstanbul\n", "cp1254")],
)  # fmt: skip
def test_other_encodings_are_refused_naming_what_fits_and_read_when_named(text: str, encoding: str) -> None:
    data = f"# list\n{text}".encode(encoding)
    message, hint = refused("a.txt", data)
    assert message.startswith("a.txt:2: the line is not UTF-8; ")
    assert f"as {encoding} it reads {text.splitlines()[0]!r}" in message
    assert "--encoding" in hint
    assert prompts("a.txt", data, encoding=encoding) == text.split("\n")[:-1]


def test_every_line_that_cannot_be_read_is_numbered() -> None:
    data = KOREAN.encode("cp949") * 10
    assert refused("a.txt", data)[0].endswith(" (also lines 2 3 4 5 6 7 8 9 10 11 and 9 more)")


@pytest.mark.parametrize(
    ("bad", "reads"),
    [("夜晚的城市，霓虹灯".encode("gbk"), "夜晚的城市，霓虹灯"), (b"caf\xe9 at night", "café at night")],
)
def test_one_bad_line_does_not_spoil_the_others(bad: bytes, reads: str) -> None:
    data = "a kite ☕\n".encode() + bad + "\nteapot 日落\n".encode()
    message, hint = refused("a.txt", data)
    assert message.startswith("a.txt:2: the line is not UTF-8; as ")
    assert f"{reads!r}" in message
    assert "also line" not in message
    assert "--encoding" not in hint, "it would spoil the good lines"


def test_a_list_that_is_utf_8_is_not_read_as_something_else() -> None:
    for encoding in ("cp1252", "latin-1", "gb18030"):
        message, hint = refused("a.txt", CHINESE, encoding=encoding)
        assert message.startswith("a.txt:1: the line is UTF-8; as ")
        assert hint == f"leave --encoding {encoding} out: the list is UTF-8"
    assert prompts("a.txt", CHINESE, encoding="utf-8") == CHINESE.split()
    assert refused("a.txt", "日落海滩".encode() + CHINESE.encode("gb18030"))[0].startswith(
        "a.txt:1: the line is not UTF-8"
    )
    mixed = "a kite ☕\n".encode() + b"caf\xe9\n"
    assert refused("a.txt", mixed, encoding="cp1252")[0].startswith("a.txt:1: the line is UTF-8; ")


def test_certain_chinese_is_read_and_words_of_other_languages_are_never_taken_for_it() -> None:
    found, remarks = read("a.txt", CHINESE.encode("gb18030"))
    assert [spec.prompt for spec in found] == CHINESE.split()
    assert remarks == ["a.txt is not UTF-8; it was read as GB18030"]
    chance = random.Random(7)
    for words, encoding in ((KANJI.split(), "euc_jp"), (KOREAN.split(), "cp949")):
        for _ in range(100):
            text = " ".join(chance.sample(words, len(words)))
            assert refused("a.txt", text.encode(encoding))[0].startswith("a.txt:1: the line is not UTF-8")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["a kite\nteapot\n", "日落\na kite\n"])
def test_wide_text_without_its_mark_is_refused_by_its_name(encoding: str, text: str) -> None:
    message, hint = refused("a.txt", text.encode(encoding))
    assert message == f"a.txt:1: the list is not UTF-8; it looks like {encoding[:6].upper()} without a byte order mark"
    assert hint == f"--encoding {encoding} reads it, or save it as UTF-8"
    assert prompts("a.txt", text.encode(encoding), encoding=encoding) == text.split("\n")[:-1]


def test_utf_32_is_refused_by_its_mark() -> None:
    for mark, encoding in ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")):
        data = mark + "a kite\nteapot\n".encode(encoding)
        assert refused("a.txt", data)[0].startswith("a.txt:1: the list is UTF-32")
        assert prompts("a.txt", data, encoding="utf-32") == TWO


def test_utf_16_and_english_joined_do_not_become_invented_chinese() -> None:
    data = "a kite 猫\n".encode("utf-16") + b"a red teapot on a table\nand a cat\n"
    assert "were two files joined?" in refused("a.txt", data)[0]
    assert "were two files joined?" in refused("a.txt", b"a red teapot on a table\n", encoding="utf-16-le")[0]
    assert refused("a.txt", b"a kite\n" + "teapot\n".encode("utf-16"))[0].startswith("a.txt:2: ")
    assert refused("a.txt", "a kite\n".encode("utf-16-le") * 3 + b"x", encoding="utf-16-le")[0].startswith("a.txt:4: ")


@pytest.mark.parametrize(
    "name", ["nope", "rot13", "hex", "unicode_escape", "idna", "undefined", "a\0b", "\udcff", "x" * 999, "../x"]
)
def test_what_is_no_text_encoding_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no text encoding"):
        check_encoding(name)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_lines_may_end_in_any_way_in_any_encoding(end: str, encoding: str) -> None:
    assert prompts("a.txt", CHINESE.replace("\n", end).encode(encoding)) == CHINESE.split()


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
def test_signs_for_paragraphs_end_lines_where_nothing_else_does(end: str) -> None:
    assert prompts("a.txt", f"a kite{end}# remark{end}teapot") == TWO
    assert prompts("a.txt", f"a{end}b\nnext") == [f"a{end}b", "next"]
    assert prompts("a.jsonl", json.dumps({"prompt": f"a{end}b"}, ensure_ascii=False)) == [f"a{end}b"]


def test_a_list_that_is_too_large_is_refused() -> None:
    with pytest.raises(UsageError, match="larger than 64 MB"):
        decoded("a.txt", bytes(MAX_LIST_BYTES + 1))


@pytest.mark.program  # it takes seconds
def test_long_lists_are_read_in_a_moment() -> None:
    """A hundred thousand lines take about a second; what grows with the square of the lines takes minutes."""
    lists = {
        "a.txt": "a red kite over a lake --ar 16:9\n" * 30_000,
        "a.csv": "prompt,seed\n" + "a red kite,7\n" * 30_000,
        "a.jsonl": '{"prompt": "a red kite"}\n' * 30_000,
        "a.json": "[" + '{"prompt": "a red kite"},\n' * 29_999 + '"x"]',
        "b.json": '{\n"prompt": "a red kite"\n}\n' * 30_000,
    }
    for name, text in lists.items():
        start = time.process_time()
        assert len(prompts(name, text)) == 30_000
        assert time.process_time() - start < 15
    for data in (KOREAN.encode("cp949") * 15_000, ("a kite\n" * 30_000).encode("utf-16-le")):
        assert refused("a.txt", data)


# Whatever comes


def from_or_said(name: str, data: bytes, **reading: Any) -> list[PromptSpec] | str:
    try:
        return read(name, data, **reading)[0]
    except UsageError as error:
        return error.message


PIECES = st.sampled_from(
    [b"a kite", b"\n", b"\r\n", b"\r", b"\0", b",", b";", b"\t", b'"', b"prompt", b"seed", b"{", b"}", b"[", b"]", b":",
     b"#", b"# ", b"- ", b"---", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE,
     b"sep=;",
     b'{"prompt": "x"}', "日落".encode(), "日落".encode("gbk"), "日落".encode("utf-16-le"),
     "猫と犬".encode("euc_jp"), b"\xe9", b"\xed\xa0\x80", "\u2028\u2029\x85".encode(),
     b"\x1b$B", b"7", b"7.0", b"null", b"\\", b"|", b"'", b"\\ud800"]
)  # fmt: skip
FORMS = ("", "lines", "csv", "tsv", "json", "jsonl")
ENCODINGS = (
    "",
    "utf-8",
    "utf-16",
    "utf-32",
    "gb18030",
    "latin-1",
    "cp949",
    "utf-7",
    "iso2022_jp",
    "hz",
    "cp037",
    "ascii",
)


@settings(STEADY, max_examples=300)
@given(
    st.one_of(st.binary(), st.lists(PIECES, max_size=30).map(b"".join)),
    st.sampled_from(["stdin", "a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl"]),
    st.sampled_from(FORMS),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["", "prompt", "prompt=seed", "prompt=a kite,seed"]),
)
def test_any_bytes_are_read_or_refused_in_any_reading(
    data: bytes, name: str, form: str, encoding: str, columns: str
) -> None:
    found = from_or_said(name, data, form=form, encoding=encoding, columns=columns)
    if isinstance(found, str):
        assert found.startswith(name)
        assert len(found) < 40_000
        return
    assert all(any(sign.isalnum() for sign in spec.prompt) or not spec.prompt.isascii() for spec in found)
    assert all(one.line < two.line for one, two in pairwise(found))


@STEADY
@given(st.text(), st.sampled_from(["cp949", "euc_jp", "big5", "shift_jis", "cp1252", "cp1251", "gb18030"]))
def test_what_fits_is_always_an_encoding_of_the_line(text: str, encoding: str) -> None:
    data = text.encode(encoding, "ignore")
    for found in plausible_encodings([data]):
        assert data.decode(found) is not None


# What is said about prompts, and texts that are none

KEYS = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r\n",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF\n",
    "-----BEGIN CERTIFICATE-----\nMIID\n",
    "a kite\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here\n",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n",
    "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\n",
    "AGE-SECRET-KEY-1QQQQQQQQQQ\n",
    f"token ghp_{'a1' * 18}\n",
)


@pytest.mark.parametrize("form", ["", "lines", "csv", "json"])
@pytest.mark.parametrize("text", KEYS)
def test_keys_are_never_prompts_whatever_is_forced(text: str, form: str) -> None:
    message, hint = refused("stdin", text, form=form)
    assert message.endswith("the line contains a key or a certificate, not a prompt")
    assert hint.endswith("no key is ever sent to a service")
    with pytest.raises(UsageError, match="no key is ever sent"):
        from_arguments([text], COMMON)
    message, hint = refused("a.jsonl", json.dumps({"prompt": f"a kite\n{text}"}))
    assert "no key is ever sent" in message + hint


def test_files_of_keys_are_refused_by_their_name() -> None:
    assert refused("id.pem", "MIIEvQ\n", form="lines")[0].startswith("id.pem is a file of keys by its name")


@NAMES
@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "import os\nimport sys\n\ndef main():\n    print('a kite')\n\nmain()\n",
        "const a = 1;\nfunction draw() {\n  return a;\n}\n",
        "#include <stdio.h>\nint main() {\n  return 0;\n}\n",
        "\\documentclass{article}\n\\begin{document}\nA kite.\n\\end{document}\n",
        "1\n00:00:01,000 --> 00:00:02,000\na kite\n\n2\n00:00:03,000 --> 00:00:04,000\nteapot\n",
        "WEBVTT\n\n00:01.000 --> 00:02.000\na kite\n",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        "HTTP/1.1 200 OK\nContent-Type: text/plain\n\na kite\n",
        "GET /list.txt HTTP/1.1\nHost: example.org\n",
        "From: a@example.org\nTo: b@example.org\nSubject: prompts\n\na kite\n",
        "total 8\ndrwxr-xr-x 2 a a 4096 Jan  1 10:00 x\n",
        "-rw-r--r-- 1 a a 1 Jan 1 y\n-rw-r--r-- 1 a a 1 Jan 1 z\n",
        "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\n",
        "API_URL=http://x\nDB_NAME=y\n",
        "[main]\na = 1\nb = 2\n",
        "2024-01-01 10:00:00 start\n2024-01-01 10:00:01 stop\n",
        "BEGIN:VCARD\nFN:A Kite\nEND:VCARD\n",
        "SELECT a FROM b;\nINSERT INTO c VALUES (1);\n",
        "Sure! Here are 3 prompts:\n\na kite\nteapot\n",
        "a kite\n\nLet me know if you want more!\n",
        "Here are some ideas:\na kite\n",
        "好的，以下是三个提示词：\n一只猫\n",
        "当然可以！下面是提示词\n猫\n",
        '"a kite\nin the sky"\nteapot\n',
        "1、一只猫\n2、雪山\n",
        "（1）猫\n（2）雪山\n",
        "1.一只猫\n2.雪山\n",
        "‣a\n‣b\n",
        "①猫\n②狗\n",
        "一、猫\n二、狗\n",
        "・猫\n・狗\n",
        "- [ ] a kite\n- [x] teapot\n",
    ],
)
def test_other_texts_are_not_paid_line_by_line(name: str, text: str) -> None:
    _, hint = refused(name, text)
    assert hint.endswith(f"; or, {LINES}")


@pytest.mark.parametrize("suffix", ["py", "tex", "srt", "diff", "eml", "env", "log", "css", "ipynb"])
def test_other_texts_are_refused_by_their_name(suffix: str) -> None:
    assert refused(f"a.{suffix}", "a kite\n")[1].endswith(f"; or, {LINES}")
    assert prompts(f"a.{suffix}", "a kite\n", form="lines") == ["a kite"]


def test_prompts_that_look_a_little_like_something_else_are_prompts() -> None:
    lines = [
        "a cat, asleep",
        "a dog; awake",
        "class photo: a school",
        "from the sea",
        "import ship at dawn",
        "if only: a drama",
        "Here we go again",
        "sure thing",
        "1.5 litre bottle",
        "2.5 litre jug",
        'a sign that says "hello',
        'a 5" wall',
        "当然是一只猫",
        "如果明天下雨",
        "c++20 +abc+defgh+ a+bcdefg",
        "a ~{ brace ~}",
        "subject: a cat",
        "select a fruit",
    ]
    assert prompts("a.txt", "\n".join(lines)) == lines


def test_remarks_are_skipped_in_every_form() -> None:
    found, remarks = read("a.csv", "prompt,seed\n# a remark,7\na kite,8\n")
    assert ([spec.prompt for spec in found], remarks) == (
        ["a kite"],
        ["a.csv: skipped 1 line (line 2) that are remarks or repeat the header"],
    )
    assert prompts("a.csv", "seed,prompt\n7,# a remark\n8,a kite\n") == ["a kite"]
    for name, text in (
        ("a.json", '["# a remark", "a kite"]'),
        ("a.jsonl", '"# a remark"\n{"prompt": "# more"}\n"a kite"\n'),
    ):
        found, remarks = read(name, text)
        assert [spec.prompt for spec in found] == ["a kite"]
        assert f"{name}: skipped {text.count('# ')} remark" in remarks[0]
    heading = "# Title\nand a text below it"
    assert prompts("a.json", json.dumps([heading])) == [heading]
    assert prompts("a.csv", f'prompt\n"{heading}"\n') == [heading]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "n,prompt\n1,a\n2,b\n3,c\n"),
        ("a.csv", "数量,提示词\n1,a\n2,b\n3,c\n"),
        ("a.csv", "count,prompt,seed\n1,a,7\n2,b,7\n3,c,7\n4,d,7\n"),
        ("a.jsonl", '{"n":1,"prompt":"a"}\n{"n":2,"prompt":"b"}\n{"n":3,"prompt":"c"}\n'),
    ],
)
def test_row_numbers_are_not_paid_as_counts(name: str, text: str) -> None:
    message, hint = refused(name, text)
    assert message.startswith(f"{name}: the count of pictures is 1, 2, 3 … as the rows are numbered")
    without, kept = (part.split("--columns ")[1] for part in hint.split("; or, "))
    assert {spec.count for spec in read(name, text, columns=without)[0]} == {None}
    assert [spec.count for spec in read(name, text, columns=kept)[0]][:3] == [1, 2, 3]


def test_counts_that_are_counts_are_taken() -> None:
    assert [spec.count for spec in read("a.csv", "n,prompt\n1,a\n2,b\n")[0]] == [1, 2]
    assert [spec.count for spec in read("a.csv", "n,prompt\n2,a\n1,b\n3,c\n")[0]] == [2, 1, 3]


# Valid UTF-8 that says something else


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("一只猫", "gb18030"),
        ('["雪山","一只猫"]', "gb18030"),
        ("雪山", "gb18030"),
        ("猫", "euc_jp"),
        ("猫", "gb18030"),
        ("ﾈｺ", "shift_jis"),
    ],
)
def test_utf_8_by_chance_is_refused_with_both_readings(text: str, encoding: str) -> None:
    data = f"{text}\n".encode(encoding)
    shown = data.decode().strip()
    for name in ("a.txt", "a.json", "stdin"):
        message, hint = refused(name, data)
        assert message.startswith(f"{name}:1: as utf-8 the line reads {shown!r}; ")
        assert f"as {encoding} it reads {text!r}" in message
        assert f"--encoding {encoding} or " in hint
        assert "--encoding utf-8" in hint
    wanted = json.loads(text) if text[0] == "[" else [text]
    assert prompts("a.txt", data, encoding=encoding) == wanted
    assert prompts("a.txt", f"a {shown}" if "[" not in text else data, encoding="utf-8")


def test_one_line_of_another_encoding_in_utf_8_is_named() -> None:
    message, hint = refused("a.txt", "日落海滩\n".encode() + "雪山\n".encode("gbk"))
    assert message.startswith("a.txt:2: as utf-8 the line reads 'ѩɽ'; as gb18030 it reads '雪山'")
    assert "write this one anew" in hint


def test_short_lines_do_not_hinder_that_a_list_is_recognised() -> None:
    lines = [*CHINESE.split(), "雪山", "一只猫", "猫"]
    found, remarks = read("a.txt", "\n".join(lines).encode("gbk"))
    assert [spec.prompt for spec in found] == lines
    assert remarks == ["a.txt is not UTF-8; it was read as GB18030"]


@pytest.mark.parametrize(
    "text",
    [
        "кошка на пляже",
        "Οι γάτες",
        "חתול על החוף",
        "قطة على الشاطئ",
        "café à la crème",
        "þú og ég",
        "il gatto è bello",
        "żółć łódź ąę",
        "ə mən çay",
        "mèo trên bãi biển",
        "µm 5Ω",
        "ǎi nǐ hǎo",
        "Ђорђе љубав",
        "қала көше",
        "naïve “q” – ok",
        "日本語の猫",
        "고양이",
        "ไทย",
        "été",
        "ЁЖ",
        "كَتَبَ",
        "שָׁלוֹם",
        "हिन्दी",
        "ʻokina",
        "ɪntəˈnæʃənəl",
        "2× ½ °C ± ¡Hola!",
        "Åå",
        "SÃO PAULO",
        "é́",
        "cafe\u0301",
        "ß",
        "é",
        "Ω",
        "أ",
        "א",
    ],
)
def test_words_of_living_languages_are_utf_8(text: str) -> None:
    assert prompts("a.txt", text) == [text]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("雪山".encode().decode("latin-1"), "雪山"),
        ("cafÃ© itâ€™s", "café it’s"),
        ("红色的猫在山上".encode().decode("gb18030", "ignore")[:9], ""),
        ("浣犲ソ涓栫晫绾㈣壊鐨勭尗", "你好世界红色的猫"),
    ],
)
def test_what_a_program_has_read_wrongly_is_refused(text: str, meant: str) -> None:
    if not meant:
        assert from_or_said("a.txt", text.encode())
        return
    message, hint = refused("a.txt", text)
    assert f"that is {meant!r} after a program has taken it for " in message
    assert "iconv -f UTF-8 -t " in hint
    assert prompts("a.txt", text, encoding="utf-8") == [text]


@pytest.mark.parametrize(("text", "encoding"), [("雪山和猫", "utf-7"), ("中国", "hz")])
def test_encodings_of_plain_letters_are_named(text: str, encoding: str) -> None:
    data = f"a kite {text}\n".encode(encoding)
    message, hint = refused("a.txt", data)
    assert message == f"a.txt:1: as {encoding} the line reads 'a kite {text}'"
    assert hint == f"if that is right: --encoding {encoding}; if not: --encoding utf-8"
    assert prompts("a.txt", data, encoding=encoding) == [f"a kite {text}"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["雪山\n一只猫\n", "雪山", "고양이\n바다\n", "ねこ\n"])
def test_wide_asian_text_without_its_mark_is_named(encoding: str, text: str) -> None:
    assert f"--encoding {encoding}" in refused("a.txt", text.encode(encoding))[1]


def test_german_of_an_old_mac_is_no_japanese() -> None:
    hint = refused("a.txt", "Fälle über Straßen, schön\n".encode("mac_roman"))[1]
    assert hint == "if that is right: --encoding mac_roman; or save the list as UTF-8"


# What messages advise


@pytest.mark.parametrize(
    ("name", "text", "expected", "way"),
    [
        ("a.json", '["a", "b",]', "a comma follows the last element", "delete that comma"),
        ("a.jsonl", '{"prompt": "a",}\n', "a comma follows the last element", "delete that comma"),
        ("a.json", "['a']", "JSON does not know the quotation mark '", 'write " instead'),
        ("a.json", '["a\\d"]', "a backslash stands before a letter", "write it twice"),
        ("a.jsonl", '"x"\na cat\n', "the line is neither an object nor a text in quotation marks", LINES),
        ("a.json", "[" * 200_000 + ",", "nested too deeply", "as a text"),
        ("a.json", '[{"prompt":"a","seed":%s}]' % ("9" * 5000), "thousands of digits", "as a text"),
        ("a.csv", "prompt,seed\na,1.2E+12\n", "not '1.2E+12'", "a spreadsheet has shortened it"),
        ("a.csv", "prompt,seed\na,7.5\n", "not '7.5'", "in digits"),
        ("a.csv", "prompt,width\na,10\n", "come together", "1024x768"),
        ("a.csv", 'prompt\n"a\nb\n', "no later line closes it", "close it"),
        ("a.csv", "prompt,seed\na, b, c\n", "more cells", "quotation marks"),
        ("a.txt", "a\n---\n", "no letter and no digit", "take it out"),
        ("a.csv", "prompt,prompt\na,b\n", "two columns", "another name"),
        ("a.csv", "a kite,7\nteapot,8\n", "no column is named prompt", "write a line above the first"),
    ],
)
def test_each_message_has_a_place_and_a_next_step_and_no_words_of_python(
    name: str, text: str, expected: str, way: str
) -> None:
    message, hint = refused(name, text)
    assert message.startswith(f"{name}:")
    assert expected in message
    assert way in hint
    assert not re.search(r"\(char \d|Expecting|recursion|digits\) for|delimiter|Traceback", message)


PASTED: dict[str, tuple[str | bytes, list[str]]] = {
    "bullets.txt": ("- a kite\n- teapot\n", TWO),
    "prompts.txt": ("1、a kite\n2、teapot\n", TWO),
    "my list.txt": ("1) a kite\r\n2) teapot\r\n", TWO),
    "-x.txt": ("‣a kite\n‣teapot\n", TWO),
    "it's.txt": ("（1）a kite\n（2） teapot\n", TWO),
    "wide.txt": ("- a kite\n- 猫\n".encode("utf-16"), ["a kite", "猫"]),
    "todo.txt": ("- [ ] a kite\n- [x] teapot\n", TWO),
    "list.yaml": ("---\n- a kite\n- teapot\n", TWO),
    "list.md": ("# Mine\n\n```\n* a kite\n1. teapot\n```\n", TWO),
    "title.csv": ("My prompts 2025,\nprompt,seed\na kite,7\nteapot,8\n", TWO),
    "cells.txt": ('"a kite\nin the sky"\nteapot\n', ["a kite\nin the sky", "teapot"]),
    "object.json": ('{"version": 1, "my items": ["a kite", "teapot"]}', TWO),
    "body.jsonl": ('{"url": "/v1", "body": {"prompt": "a kite", "quality": "high"}}\n', ["a kite"]),
    "latin.txt": ("雪山".encode().decode("latin-1"), ["雪山"]),
}


@pytest.mark.skipif(
    shutil.which("jq") is None or shutil.which("iconv") is None, reason="a tool of the shell is missing"
)
def test_advised_commands_work_when_they_are_pasted_and_write_no_file(tmp_path: Path) -> None:
    program = Program(tmp_path)
    tool = tmp_path / "bin" / "imagegen"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imagegen_cli "$@" --dry-run --json\n', encoding="utf-8")
    tool.chmod(0o755)
    for name, (text, wanted) in PASTED.items():
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        hint = refused(name, data)[1]
        command = next(part for part in re.split(r": |; (?:or|if)\b", hint) if part.endswith("| imagegen batch -"))
        environment = program.environment(PATH=f"{tool.parent}:{os.environ['PATH']}")
        before = sorted(tmp_path.iterdir())
        ended = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, (command, ended.stderr)
        assert [json.loads(line)["prompt"] for line in ended.stdout.splitlines()] == wanted
        assert (tmp_path / name).read_bytes() == data
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("text", [text for text, _ in PASTED.values()])
def test_no_advice_writes_into_a_file(text: str | bytes) -> None:
    for name in ("a.txt", "stdin", "/dev/fd/63"):
        found = from_or_hint(name, text if isinstance(text, bytes) else text.encode())
        assert ">" not in found
        assert "imagegen batch -" not in found or name == "a.txt" or "put into your pipe: … | " in found


def from_or_hint(name: str, data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read(name, data)
    return caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: Mine\n---\n- a kite\n",
        "| prompt |\n|---|\n| a |\n",
        "- a kite\nwith a tail\n- teapot\n",
        "a kite\n```\nteapot\n```\n",
        '{"prompts": ["a"], "negatives": ["b"]}',
        '{"a": {"b": 1}}',
    ],
)
def test_where_no_command_gives_a_list_none_is_advised(text: str) -> None:
    assert "|" not in refused("a.txt", text)[1]


# The command line

COUNTS = {
    "act.csv": 2, "capPrompt.csv": 2, "drawbench.csv": 2, "lexica.csv": 2, "list.md": 2, "list.yaml": 2, "p.yaml": 2,
    "rtf.rtf": 2, "html.txt": 2, "infotext.txt": 2, "comfyblock.txt": 2, "dupkey.jsonl": 2, "utf16le_nobom.txt": 2,
    "utf32.txt": 2, "onebad.txt": 2, "openai.jsonl": 2, "a1111.txt": 2, "arr.json": 2, "arr1.json": 2,
    "prettyarr.jsonl": 1, "obj.json": 2, "noext": 1, "excel_utf16.txt": 2, "idxcol.csv": 2, "trail.csv": 1,
    "trailrow.csv": 2, "sepline.csv": 1, "floatseed.csv": 2, "negcap.csv": 1, "neghead.csv": 1,
    "hash.txt": 3, "kohya.txt": 1, "mj.txt": 1, "wild.txt": 1,
}  # fmt: skip
REFUSED = frozenset(list(COUNTS)[:16])


@pytest.mark.skipif(not CASES.is_dir(), reason="the collection of lists is not here")
@pytest.mark.parametrize("case", COUNTS)
def test_the_collected_lists_do_what_their_table_says(case: str) -> None:
    for name in (case, "stdin"):
        found = from_or_said(name, (CASES / case).read_bytes())
        if case in REFUSED:
            assert isinstance(found, str)
            assert "\n" not in found
        else:
            assert len(found) == COUNTS[case]
            assert isinstance(found, list)


def test_the_command_line_reads_lists_as_it_is_told(tmp_path: Path) -> None:
    program = Program(tmp_path)
    (tmp_path / "a.md").write_text("- a kite\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("кошка\n".encode("cp1251"))
    (tmp_path / "c.csv").write_text("Caption,Seed,note\na kite,7,x\n", encoding="utf-8")

    def found_by(*words: str, stdin: str = "", **environment: str) -> list[tuple[str, Any]]:
        ended = program.run(*words, "--dry-run", "--json", stdin=stdin, **environment)
        assert ended.code == 0, ended.err
        return [(task["prompt"], task["seed"]) for task in map(json.loads, ended.lines)]

    assert program.run("batch", "a.md", "--dry-run").code == 2
    assert found_by("batch", "a.md", "--format", "lines") == [("- a kite", None)]
    assert found_by("batch", "b.txt", "--encoding", "cp1251") == [("кошка", None)]
    assert found_by("batch", "c.csv", "--columns", "prompt=Caption,seed=Seed") == [("a kite", 7)]
    assert found_by("batch", "-", "--columns", "prompt=Caption", stdin="Caption,Seed\na kite,7\n") == [("a kite", None)]
    assert found_by("run", "-", "a teapot", stdin='["a kite"]') == [("a kite", None), ("a teapot", None)]
    assert found_by("run", "-", stdin="- a kite\n", IMAGEGEN_FORMAT="lines") == [("- a kite", None)]
    assert found_by("batch", "-", stdin="a kite", IMAGEGEN_ENCODING="utf-8") == [("a kite", None)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("batch", "list.txt", "--format", "xml"), "xml"),
        (("batch", "list.txt", "--encoding", "nope"), "there is no text encoding named 'nope'"),
        (("batch", "list.txt", "--columns", "promt=a"), "did you mean prompt?"),
        (("batch", "~nobody-of-this-name/list.txt"), "cannot be read"),
        (("batch", "."), "cannot be read"),
        (("batch", "a" * 5000), "cannot be read"),
        (("batch", "/dev/zero"), "larger than 64 MB"),
        (("batch", "."), "imagegen batch list.txt"),
        (("batch", "lst.txt"), "did you mean list.txt? imagegen batch list.txt"),
        (("batch", "list.txt", "--again", "--skip-sent"), "give one of them"),
        (("run", "list.txt"), "imagegen batch list.txt"),
        (("run", "lst.txt"), "imagegen batch list.txt"),
        (("run", "*.tsv"), "is a pattern for file names, and no file matches it"),
        (("run", "@list.txt"), "imagegen batch list.txt"),
        (("run", "@other.txt"), "is a file name, and there is no such file"),
        (("run", "/etc/passwd"), "imagegen batch /etc/passwd"),
        (("run", "/no/such/place"), "is a file name"),
        (("run", "home"), "is a folder"),
        (("run", "https://example.org/a.png"), "--image https://example.org/a.png"),
        (("run", "two", "cats", "on", "a", "beach"), "imagegen run 'two cats on a beach'"),
        (("run", "it's", "고양이"), "add --each"),
        (("run", "-", "a", "cat"), "imagegen run 'a cat'"),
        (("run", "--dry-run", "--", "---"), "no letter and no digit"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    (tmp_path / "list.txt").write_text("a kite\n", encoding="utf-8")
    ended = Program(tmp_path).run(*words)
    assert ended.code == 2
    assert expected in ended.err
    assert "Traceback" not in ended.err


def test_prompts_without_blanks_are_taken_where_they_are_meant(tmp_path: Path) -> None:
    program = Program(tmp_path)
    (tmp_path / "cat").mkdir()
    for words in (
        ["日落", "雪山"], ["猫", "dog"], ["ねこ", "いぬ"], ["แมว", "หมา"], ["cathedral"], ["a cat", "dog"], ["what?"],
        ["--each", "two", "cat", "list.txt", "/etc/passwd"],
    ):  # fmt: skip
        ended = program.run("run", *words, "--dry-run", "--json")
        assert ended.code == 0, ended.err
        assert [task["prompt"] for task in ended.objects] == [word for word in words if word != "--each"]
