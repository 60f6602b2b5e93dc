"""What looking back costs in a long history: searches and filters, against the scan of every row that LIKE is."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from benchmarks.measure import Figure
from imagegen_cli.storage.dialect import Connection, Row
from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store

TASKS = 300_000
SHOWN = 50
CHINESE = "小猫汉服赛博朋克雨夜城市街道少女森林湖泊日落星空机器人龙凤山水画风格写实油画水彩光影电影感高清细节"
ENGLISH = (
    "fox", "cat", "dog", "red", "blue", "city", "night", "rain", "neon", "portrait", "forest", "lake", "sunset",
    "robot", "dragon", "castle", "oil", "light", "house",
)  # fmt: skip
COLUMNS = (
    "id", "run", "provider", "model", "size", "prompt", "request", "identity", "folder", "name", "expected_images",
    "state", "detail", "reason", "created", "started", "ended",
)  # fmt: skip


def measured() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "history.db")
        store._db.execute("BEGIN")  # noqa: SLF001 - 300,000 tasks one by one would take minutes
        fill(store._db)  # noqa: SLF001
        store._db.execute("COMMIT")  # noqa: SLF001
        first = spent(lambda: store.find(Filter(search="小猫", limit=SHOWN)), times=1)
        scan = spent(lambda: scanned(store._db, "鲸鱼"))  # noqa: SLF001
        yield Figure("memory: the first search indexes 300,000 prompts", f"{first:.1f} s", first / scan)
        for name, wanted in WANTED.items():
            cost = spent(lambda wanted=wanted: store.find(wanted))  # type: ignore[misc]  # it is called at once
            yield Figure(f"memory: {name}", f"{cost * 1000:.2f} of {scan * 1000:.0f} ms", cost / scan, 0.2)
        store.close()


WANTED = {
    "words that nothing has, in Chinese": Filter(search="鲸鱼", limit=SHOWN),
    "words that nothing has, in English": Filter(search="zebra", limit=SHOWN),
    "two signs": Filter(search="小猫", limit=SHOWN),
    "one sign": Filter(search="猫", limit=SHOWN),
    "a word": Filter(search="fox", limit=SHOWN),
    "part of a word": Filter(search="ox", limit=SHOWN),
    "the newest": Filter(limit=SHOWN),
    "a rare reason": Filter(reasons=("moderated",), limit=SHOWN),
    "a rare model of a frequent provider": Filter(models=("rare",), providers=("studio",), limit=SHOWN),
    "since a minute": Filter(since=TASKS - 60.0, limit=SHOWN),
    "until long ago": Filter(until=60.0, limit=SHOWN),
    "with a picture": Filter(has_picture=True, limit=SHOWN),
    "favourites": Filter(favourite=True, limit=SHOWN),
}


def scanned(db: Connection, text: str) -> list[Row]:
    """What a search was before there was an index."""
    return db.execute("SELECT * FROM task WHERE prompt LIKE ? ORDER BY id DESC LIMIT 50", (f"%{text}%",)).fetchall()


def spent(call: Callable[[], object], times: int = 5) -> float:
    """The least seconds of CPU of so many calls."""
    costs = []
    for _ in range(times):
        began = time.process_time()
        call()
        costs.append(time.process_time() - began)
    return min(costs)


def fill(db: Connection) -> None:
    random = Random(1)
    runs = ((run, "batch", "/list.txt", float(run)) for run in range(1, TASKS // 100 + 2))
    db.executemany("INSERT INTO run (id, command, source, started) VALUES (?, ?, ?, ?)", runs)
    marks = ", ".join("?" * len(COLUMNS))
    db.executemany(
        f"INSERT INTO task ({', '.join(COLUMNS)}) VALUES ({marks})",  # noqa: S608 - our own words
        (row(random, number) for number in range(1, TASKS + 1)),
    )
    db.execute("INSERT INTO picture SELECT id, 1, '/1.png', '' FROM task WHERE state = 'done'")
    db.execute("INSERT INTO unsearched SELECT id FROM task")


def row(random: Random, number: int) -> tuple[object, ...]:
    prompt = prompted(random)
    is_failed = number % 50 == 0
    reason = "moderated" if number % 10_000 == 0 else "server" if is_failed else ""
    detail = {"reason": reason, "message": "no"} if is_failed else {"files": ["/1.png"]}
    provider, model = ("other", "rare") if number % 5000 == 1 else (random.choice(("studio", "lab")), "3.0")
    request = {"prompt": prompt, "provider": provider, "model": model, "seed": None}
    return (
        number, number // 100 + 1, provider, model, "", prompt, json.dumps(request), f"{number:032x}", "/images",
        f"{number}-{{index}}", 1, "failed" if is_failed else "done", json.dumps(detail), reason, float(number),
        float(number), number + 5.0,
    )  # fmt: skip


def prompted(random: Random) -> str:
    if random.random() < 0.5:
        return " ".join(random.choices(ENGLISH, k=random.randint(8, 30)))
    parts = ("".join(random.choices(CHINESE, k=random.randint(2, 6))) for _ in range(random.randint(4, 12)))
    return "，".join(parts)
