"""Prompts found by their words: the index of words and of pairs of signs, compared with LIKE."""

import random
import sqlite3
import string
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.task import ImageRequest, RunId
from imagegen_cli.storage import search
from imagegen_cli.storage.migrations import MIGRATIONS
from imagegen_cli.storage.records import Filter, Planned
from imagegen_cli.storage.store import Store
from tests.histories import KINDS, opened, place

CHINESE = "小猫汉服赛博朋克雨夜城市"
LETTERS = "abcx "
MIXED = f"{CHINESE}{LETTERS}あカ한é,，.%_!3"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as store:
        yield store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with closing(opened(place(request.param, tmp_path))) as store:
        yield store


def entered(store: Store, prompts: Sequence[str]) -> RunId:
    run, ids = store.reserve(len(prompts))
    planned = [
        Planned(
            id=id_, name="a", request=ImageRequest(prompt=prompt, provider="studio"), expected_images=1, folder="/",
            identity=str(id_),
        )
        for id_, prompt in zip(ids, prompts, strict=True)
    ]  # fmt: skip
    store.start_run(run, "run", "", planned)
    return run


def found(store: Store, text: str, **more: Any) -> list[str]:
    return [record.task.request.prompt for record in store.find(Filter(search=text, **more))]


def without_index(path: Path) -> None:
    """Make the history as one sees it whose SQLite lacks the module: each use of the table says so."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'gone') WHERE name = 'prompt_words'")
        db.commit()


def with_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'gone', 'fts5') WHERE name = 'prompt_words'")
        db.commit()


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("猫", ["一只小猫在雨夜", "猫cat", "ＣＡＴ猫"]),
        ("小猫", ["一只小猫在雨夜"]),
        ("小猫 雨夜", ["一只小猫在雨夜"]),
        ("雨夜 小猫", ["一只小猫在雨夜"]),
        ("猫在雨", ["一只小猫在雨夜"]),
        ("夜", ["一只小猫在雨夜"]),
        ("小雨", []),
        ("猫cat", ["猫cat"]),
        ("fox", ["a red fox", "Foxes, red"]),
        ("FO", ["a red fox", "Foxes, red"]),
        ("fo re", ["a red fox", "Foxes, red"]),
        ("cat", ["猫cat", "ＣＡＴ猫"]),
        ("ox", ["a red fox", "Foxes, red"]),  # no word begins so: what LIKE finds
        ("red fox", ["a red fox", "Foxes, red"]),
        ("100%", ["100% wool"]),
        ("%", ["100% wool"]),
        ("🐱", ["🐱 only"]),
        ("'\"; DROP", []),
        ("NEAR(fox", []),
        ("prompt:fox", []),
        ("fox*", []),
        ("-", []),
    ],
)
def test_prompts_are_found_by_their_words(store: Store, text: str, prompts: list[str]) -> None:
    entered(
        store, ["一只小猫在雨夜", "猫cat", "ＣＡＴ猫", "a red fox", "Foxes, red", "100% wool", "1000 sheep", "🐱 only"]
    )
    assert sorted(found(store, text)) == sorted(prompts)


def at_word_start(prompt: str, text: str) -> bool:
    """Whether LIKE finds `text` where a word begins; a Chinese sign always begins one."""
    places = (at for at in range(len(prompt)) if prompt[at : at + len(text)] == text)
    return any(at == 0 or prompt[at] in CHINESE or prompt[at - 1] not in string.ascii_lowercase for at in places)


def test_random_searches_agree_with_like_at_word_starts(store: Store) -> None:
    prompts = list({"".join(random.choices(CHINESE + LETTERS, k=random.randint(3, 30))).strip() for _ in range(80)})
    entered(store, prompts)
    compared = 0
    while compared < 200:
        prompt = random.choice(prompts)
        at = random.randrange(len(prompt))
        text = prompt[at : at + random.randint(1, 4)].strip()
        expected = {one for one in prompts if at_word_start(one, text)}
        if expected and " " not in text:
            assert set(found(store, text)) == expected, text
            compared += 1


def test_any_search_finds_what_like_finds_at_word_starts_and_never_fails(store: Store) -> None:
    prompts = ["".join(random.choices(MIXED, k=random.randint(1, 25))) for _ in range(60)]
    entered(store, prompts)
    for _ in range(300):
        text = "".join(random.choices(MIXED + "\"'*()-:^\x00\ud800😀", k=random.randint(1, 4)))
        found(store, text)


def test_tasks_are_searched_together_with_other_filters_page_by_page(store: Store) -> None:
    run = entered(store, [f"小猫 {number}" for number in range(1200)])
    entered(store, ["小猫 in another run", "a dog"])
    pages = list(store.each(Filter(search="小猫", run=run)))
    numbers = [int(record.task.request.prompt.split()[1]) for page in pages for record in page]
    assert numbers == list(range(1199, -1, -1))
    assert max(map(len, pages)) <= 500
    assert found(store, "小猫", states=("done",)) == []
    assert len(found(store, "小猫", limit=7)) == 7


def test_an_earlier_history_is_indexed_by_its_first_search(path: Path) -> None:
    version = next(number for number, script in enumerate(MIGRATIONS) if "unsearched" in script)
    with closing(sqlite3.connect(path)) as db:
        for script in MIGRATIONS[:version]:
            for statement in script.split(";"):
                db.execute(statement)
        row = (1, "一只小猫", "{}", "x", "/", "a", 1, "queued", "{}", 1.0, "studio", "", "")
        db.execute(
            "INSERT INTO task (run, prompt, request, identity, folder, name, expected_images, state, detail, created,"
            " provider, model, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        db.execute('UPDATE task SET request = \'{"prompt": "一只小猫", "provider": "studio"}\'')
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    with closing(Store(path)) as store:
        assert found(store, "小猫") == ["一只小猫"]
        assert search.is_ready(store._db)


def test_without_fts5_like_finds_them_and_a_later_python_indexes_what_was_left_out(sqlite: Store, path: Path) -> None:
    entered(sqlite, ["a red fox"])
    assert found(sqlite, "fox") == ["a red fox"]
    sqlite.close()
    without_index(path)
    lacking = Store(path)
    entered(lacking, ["一只小猫", "a red dog"])
    assert found(lacking, "小猫") == ["一只小猫"]
    assert found(lacking, "dog red") == ["a red dog"]
    lacking.close()
    with_index(path)
    with closing(Store(path)) as again:
        assert not search.is_ready(again._db)
        assert found(again, "red") == ["a red dog", "a red fox"]
        assert search.is_ready(again._db)
        assert found(again, "小猫") == ["一只小猫"]


def test_a_search_waits_for_no_process_that_writes(sqlite: Store, path: Path) -> None:
    entered(sqlite, ["一只小猫"])
    with closing(Store(path, wait_s=0.0)) as other:
        with sqlite._transaction():
            assert found(other, "小猫") == ["一只小猫"], "by LIKE"
        assert not search.is_ready(other._db)
        assert found(other, "小猫") == ["一只小猫"]
        assert search.is_ready(other._db)


def test_many_prompts_are_indexed_a_few_at_a_time(sqlite: Store) -> None:
    entered(sqlite, [f"cat {number}" for number in range(7)])
    with sqlite._transaction():
        assert search.index(sqlite._db, 5)
        assert not search.index(sqlite._db, 5)
    assert found(sqlite, "cat 6") == ["cat 6"]


def test_words_that_no_prompt_has_are_not_looked_for_in_every_prompt(sqlite: Store) -> None:
    entered(sqlite, ["a red fox", "一只小猫"])
    assert found(sqlite, "fox")
    read: list[str] = []
    traced: Any = sqlite._db
    traced.set_trace_callback(read.append)
    assert found(sqlite, "zebra") == found(sqlite, "狗") == found(sqlite, "red zebra") == []
    assert not any("LIKE" in statement for statement in read)
    assert found(sqlite, "ox") == ["a red fox"]
    assert any("LIKE" in statement for statement in read)


def test_the_index_is_sound_after_everything(sqlite: Store) -> None:
    entered(sqlite, ["一只小猫", "a red fox", ""])
    assert found(sqlite, "red") == ["a red fox"]
    sqlite._db.execute("INSERT INTO prompt_words (prompt_words) VALUES ('integrity-check')")
    assert sqlite.check() == "ok"


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("，", ["red,Cat", "雨，C猫", "一，二"]),
        (",", ["red,Cat", "雨，C猫", "一，二"]),
        (",C", ["red,Cat", "雨，C猫"]),
        ("，c", ["red,Cat", "雨，C猫"]),
        ("cat！", ["cat! yes", "no cat！"]),
        ("cat !", ["cat! yes", "no cat！"]),
        ("一，", ["一，二"]),
    ],
)
def test_punctuation_is_found_in_both_widths_also_where_other_prompts_match(
    store: Store, text: str, prompts: list[str]
) -> None:
    entered(store, ["red,Cat", "雨，C猫", "一，二", "cat", "cat! yes", "no cat！", "C猫", "一二"])
    assert sorted(found(store, text)) == sorted(prompts)


@pytest.mark.parametrize("harm", ["UPDATE task SET prompt = 'a lighthouse 灯塔' WHERE id = 1", "garbage"])
def test_an_index_that_does_not_agree_is_made_anew_and_hinders_nothing(sqlite: Store, harm: str) -> None:
    store, path = sqlite, sqlite.path
    run = entered(store, ["a red fox", "一只小猫", "a blue fox"])
    assert len(found(store, "fox")) == 2
    if harm == "garbage":
        harm = "UPDATE prompt_words_data SET block = x'00ff00ff' WHERE id > 10"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(harm)
        db.execute("UPDATE task SET state = 'cancelled', detail = '{\"stop\": \"not-sent\"}'")
    records = store.find(Filter(run=run))
    with closing(Store(path)) as again:
        assert not again.index_agrees()
        if "x'" in harm:
            assert len(found(again, "fox")) == 2
        forgotten = again.forget([record for record in records if record.task.id == 1])
        assert [one.task for one in forgotten] == [1]
        assert found(again, "red") == []
        assert found(again, "blue") == ["a blue fox"]
        assert again.index_agrees()
        again._db.execute("INSERT INTO prompt_words (prompt_words) VALUES ('integrity-check')")
