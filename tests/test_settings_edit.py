"""What `init` writes into a settings file that a person wrote: the provider, its default line, and nothing else."""

import json
import random
import tomllib
from typing import Any

import pytest
import tomli_w

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.settings.edit import with_provider

NEW = {"kind": "dreamina", "base_url": "http://127.0.0.1:9"}
SECTION = '[providers.new]\nkind = "dreamina"\nbase_url = "http://127.0.0.1:9"\n'
DEFAULT = 'default_provider = "new"\n'

INLINE = '{ kind = "dreamina", base_url = "http://127.0.0.1:9" }'

APPENDED: dict[str, tuple[str, str]] = {
    "an empty file": ("", f"{DEFAULT}\n{SECTION}"),
    "comments alone": ("# mine\n\n# more\n", f"# mine\n\n# more\n{DEFAULT}\n{SECTION}"),
    "comments and order": (
        '# mine\noutput = "out"  # here\n\n\n# short\n[models]\nhero = "old/3.0"   # the best\n\n',
        f'# mine\noutput = "out"  # here\n{DEFAULT}\n\n# short\n[models]\nhero = "old/3.0"   # the best\n\n{SECTION}',
    ),
    "a comment about the first table": (
        "# mine\n\n# short names\n[models]\n",
        f"# mine\n\n{DEFAULT}\n# short names\n[models]\n\n{SECTION}",
    ),
    "a table at once": ("[models]\n", f"{DEFAULT}\n[models]\n\n{SECTION}"),
    "no line end at the end": ('output = "out"', f'output = "out"\n{DEFAULT}\n{SECTION}'),
    "a comment without a line end": ('output = "o" # x', f'output = "o" # x\n{DEFAULT}\n{SECTION}'),
    "another default": (
        '  default_provider="old" # for now\nname = "{id}"\n',
        f'  default_provider="new" # for now\nname = "{{id}}"\n\n{SECTION}',
    ),
    "a default in literal quotes": ("'default_provider' =  'old'\n", f"'default_provider' =  \"new\"\n\n{SECTION}"),
    "a default inside of another table": (
        '[models]\ndefault_provider = "old"\n',
        f'{DEFAULT}\n[models]\ndefault_provider = "old"\n\n{SECTION}',
    ),
    "a default inside of a text": (
        'output = """\ndefault_provider = "old"\n[providers.new]\n"""\n',
        f'output = """\ndefault_provider = "old"\n[providers.new]\n"""\n{DEFAULT}\n{SECTION}',
    ),
    "quotation marks at the end of a text": (
        'output = """a"""""\nname = \'\'\'b\'\'\'\'\n',
        f'output = """a"""""\nname = \'\'\'b\'\'\'\'\n{DEFAULT}\n{SECTION}',
    ),
    "a list over several lines": (
        'other = [\n  "[providers.new]", # one\n  "]"\n]\n',
        f'other = [\n  "[providers.new]", # one\n  "]"\n]\n{DEFAULT}\n{SECTION}',
    ),
    "dotted keys": (
        'providers.old.kind = "dreamina"\nproviders.old.poll = 2.5\n',
        f'providers.old.kind = "dreamina"\nproviders.old.poll = 2.5\n{DEFAULT}\n{SECTION}',
    ),
    "a table of all providers": (
        '[providers]\nold.kind = "dreamina"\ntwo = { kind = "gemini" } # 2\n',
        f'{DEFAULT}\n[providers]\nold.kind = "dreamina"\ntwo = {{ kind = "gemini" }} # 2\n\n{SECTION}',
    ),
    "providers in one inline table": (
        'providers = { old = { kind = "gemini", headers = { A = "b" } } } # all\n',
        f'providers = {{ old = {{ kind = "gemini", headers = {{ A = "b" }} }}, new = {INLINE} }} # all\n{DEFAULT}',
    ),
    "no provider in an inline table": (
        "providers = {}\n",
        f"providers = {{ new = {INLINE} }}\n{DEFAULT}",
    ),
}


@pytest.mark.parametrize("why", APPENDED)
def test_a_new_provider_is_appended_and_everything_else_stays(why: str) -> None:
    before, after = APPENDED[why]
    assert with_provider(before, "new", NEW, default=True) == after


@pytest.mark.parametrize("why", APPENDED)
@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_stay_as_they_are(why: str, line_end: str) -> None:
    before, after = ("\ufeff" + text.replace("\n", line_end) for text in APPENDED[why])
    if "\n" in APPENDED[why][0]:
        assert with_provider(before, "new", NEW, default=True) == after


@pytest.mark.parametrize("why", APPENDED)
def test_without_a_default_no_line_above_the_new_section_changes(why: str) -> None:
    before, _ = APPENDED[why]
    if "providers = {" not in before:
        after = with_provider(before, "new", NEW, default=False)
        assert after.startswith(before)
        assert after.endswith(SECTION)


REPLACED: dict[str, tuple[str, str]] = {
    "a section": (
        "# a\n[providers.new] # b\n# c\nkind = 'dreamina'  # d\npoll = 2.5 # e\nbase_url='old' # f\n\n# g\n[models]\n",
        '# a\n[providers.new] # b\n# c\nkind = "dreamina"  # d\nbase_url="http://127.0.0.1:9" # f\n\n# g\n[models]\n',
    ),
    "a section at the end that lacks a key": (
        '[ providers . "new" ]\nkind = "gemini"',
        '[ providers . "new" ]\nkind = "dreamina"\nbase_url = "http://127.0.0.1:9"\n',
    ),
    "a section with tables below it": (
        '[providers.new]\nkind = "dreamina"\n[providers.new.headers]\nA = "b"\n# about old\n[providers.old]\n',
        '[providers.new]\nkind = "dreamina"\nbase_url = "http://127.0.0.1:9"\n# about old\n[providers.old]\n',
    ),
    "a table below a section that is not there": ('[providers.new.headers]\nA = "b"\n# end\n', f"# end\n\n{SECTION}"),
    "an inline table": (
        '[providers]\nnew = { kind = "gemini" } # n\nold.kind = "gemini"\n',
        '[providers]\nnew = { kind = "dreamina", base_url = "http://127.0.0.1:9" } # n\nold.kind = "gemini"\n',
    ),
    "dotted keys": (
        'providers.new.kind = "gemini"\nproviders.old.kind = "gemini" # o\n',
        f'providers.old.kind = "gemini" # o\n\n{SECTION}',
    ),
    "providers in one inline table": (
        'providers = { new = { kind = "gemini" } }',
        'providers = { new = { kind = "dreamina", base_url = "http://127.0.0.1:9" } }',
    ),
}


@pytest.mark.parametrize("why", REPLACED)
def test_a_provider_of_the_same_name_is_replaced_where_it_stands(why: str) -> None:
    before, after = REPLACED[why]
    assert with_provider(before, "new", NEW, default=False) == after


def test_a_table_of_headers_comes_after_the_other_keys() -> None:
    table = {**NEW, "headers": {"X-Team": "a b", "Über": "c"}, "grace": 1}
    for before in ("", '[providers.new]\nheaders = { A = "b" } # h\n# end\n[models]\n'):
        assert tomllib.loads(with_provider(before, "new", table, default=False))["providers"]["new"] == table


def test_what_cannot_be_changed_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be written into the settings"):
        with_provider('[[providers.new]]\nkind = "dreamina"\n', "new", NEW, default=False)


PIECES = (
    "# a comment = [x]\n", "\n", "   \n", 'a{0} = "# no comment" # one\n', "b{0} = '''\n[c]\n''' # two\n",
    "c{0} = [ # three\n 1,\n]\n", 'd{0}."e.f".g = nan\n', "h{0} = {{ i = 'j', k = [1] }}\n", "l{0} = 2026-11-23\n",
    "[m{0}]\n", '[ n . "o{0}" ] # four\n', "[[p]]\n", "[providers.q{0}]\n", "[providers.q{0}.headers]\n",
    'default_provider = "r"\n', '[providers.new]\nkind = "s"\n', "[providers.new.headers]\nT = 'u'\n",
)  # fmt: skip


def plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


@pytest.mark.parametrize("seed", range(40))
def test_files_made_by_chance_say_just_what_they_said_before(seed: int) -> None:
    chance = random.Random(seed)
    tried = 0
    while tried < 20:
        text = "".join(chance.choice(PIECES).format(number) for number in range(chance.randrange(12)))
        try:
            before = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        tried += 1
        after = with_provider(text, "new", NEW, default=True)
        wanted = before | {"default_provider": "new", "providers": {**before.get("providers", {}), "new": NEW}}
        assert plain(tomllib.loads(after)) == plain(wanted), text
        assert with_provider(after, "new", NEW, default=True) == after, "once more changes nothing"
        comments = [line.partition("#")[2] for line in text.splitlines() if line.startswith("#")]
        assert [line.partition("#")[2] for line in after.splitlines() if line.startswith("#")] == comments


def test_a_large_file_takes_no_time_worth_telling() -> None:
    table = {"providers": {f"p{number}": NEW for number in range(2000)}}
    assert with_provider(tomli_w.dumps(table), "new", NEW, default=True).endswith(SECTION)
