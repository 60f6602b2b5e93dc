"""`costs` and `settle`: what is added up, what is shown of it, and what a person may say about it."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.core.budget import Limit, Period
from imagegen_cli.core.money import UNITS, Money, Source, parse_money
from imagegen_cli.display.cost_report import objects_of, plain_lines, print_csv
from imagegen_cli.display.cost_rows import BudgetLine, CostRow, Report, merged, table_of
from imagegen_cli.display.cost_table import lines
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import theme_for
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures, Reply
from tests.program import Program, next_line
from tests.test_cli import CONFIG
from tests.test_store import sql

MIXED = """
[providers.other]
kind = "dreamina"
base_url = "{url}"
poll = 0.01
[prices]
"studio/3.0" = "0.01usd"
"studio/4.0" = "2 credits"
"""
BUDGET = '[budget]\nday = "1usd"\nmonth = "2usd,100credits"\n'


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: DreaminaServer) -> Program:
    """Of studio's models one costs usd and one costs credits; what other's pictures cost is not known."""
    return Program(tmp_path, (CONFIG + MIXED).format(url=server.url))


def row(key: str, unit: str = "usd", **more: Any) -> CostRow:
    return CostRow(key=key, unit=unit, **more)


def spent(key: str, usd: float, pictures: int = 1, source: Source = Source.TOLD) -> CostRow:
    return row(key, settled={source: round(usd * 1_000_000)}, submits=1, pictures=pictures)


# What is added up


def test_each_unit_source_and_doubt_has_its_own_place_and_only_its_own(program: Program) -> None:
    assert program.run("run", "a cat", "a dog", "-m", "3.0", "-m", "4.0").code == 0
    assert program.run("run", "a bird", "-p", "other").code == 0
    assert program.run("run", "a tree", "-p", "sketch").code == 0
    assert program.run("run", "a lost dog #lost").code == 1
    found = {
        (one["key"], one["unit"], one["price"]): one for one in program.run("costs", "--by", "model", "--json").objects
    }
    usd = found["studio 3.0", "usd", "known"]
    assert {name: usd[name] for name in ("submits", "pictures", "set", "told", "uncertain", "each")} == {
        "submits": 3, "pictures": 8, "set": 0.08, "told": 0, "uncertain": 0.04, "each": 0.01,
    }  # fmt: skip
    assert found["studio 4.0", "credits", "known"]["set"] == 16
    assert found["other 3.0", None, "unknown"]["pictures"] == 4
    assert found["other 3.0", None, "unknown"]["set"] is None
    assert found["sketch", None, "free"]["pictures"] == 1
    text = program.run("costs", "--by", "provider")
    assert re.search(r"^other +1 +4 +unknown$", text.out, re.MULTILINE)
    assert re.search(r"^sketch +1 +1 +free$", text.out, re.MULTILINE)
    assert 'the price of 4 pictures is not known, and no sum has them; [prices] "other/*" = "0.04usd"' in text.err
    assert "may have been charged: 1 task, 7; if you know it: imagegen settle 7 --paid, or --unpaid" in text.err


def test_the_table_names_the_sources_that_say_something() -> None:
    report = Report("day", [spent("2026-11-25", 1.2, 30), spent("2026-11-26", 0.5, 5, Source.ESTIMATED)])
    assert table_of(report) == [
        ["day", "submits", "pictures", "told", "estimated", "a picture"],
        ["2026-11-25", "1", "30", "1.20 usd", "", "0.04 usd"],
        ["2026-11-26", "1", "5", "", "0.50 usd", "0.10 usd"],
        ["in all", "2", "35", "1.20 usd", "0.50 usd", "0.0486 usd"],
    ]


SOME_ROWS = st.lists(
    st.builds(
        CostRow,
        key=st.sampled_from(["a", "b"]),
        unit=st.sampled_from(UNITS),
        settled=st.dictionaries(st.sampled_from([Source.TOLD, Source.SET]), st.integers(0, 10**15)),
        reserved=st.integers(0, 10**15),
        uncertain=st.integers(0, 10**15),
        submits=st.integers(1, 9),
        pictures=st.integers(0, 9),
    ),
    min_size=1,
)


@given(SOME_ROWS)
def test_sums_lose_nothing_and_never_cross_units(rows: list[CostRow]) -> None:
    totals = Report("model", merged(rows)).totals
    assert len({total.unit for total in totals}) == len(totals)
    for unit in UNITS:
        of_unit = [one for one in rows if one.unit == unit]
        total = next((one for one in totals if one.unit == unit), row("", unit))
        assert sum(total.settled.values()) == sum(sum(one.settled.values()) for one in of_unit)
        for name in ("reserved", "uncertain", "submits", "pictures"):
            assert getattr(total, name) == sum(getattr(one, name) for one in of_unit)


# How it is shown


@given(rows=SOME_ROWS, width=st.integers(1, 130), encoding=st.sampled_from(["utf-8", "ascii"]))
def test_the_report_fits_every_screen(rows: list[CostRow], width: int, encoding: str) -> None:
    budgets = [BudgetLine(Limit(Money(10**6, "usd"), Period.DAY), Money(10**6, "usd"))]
    for line in lines(Report("model", rows, budgets), width, theme_for(encoding)):
        assert cell_width("".join(part.text for part in line if not part.control)) <= width


def test_a_narrow_screen_has_a_paragraph_for_each_row() -> None:
    report = Report("day", [row("2026-11-26", settled={Source.TOLD: 40_000}, uncertain=10_000, submits=2, pictures=1)])
    shown = ["".join(part.text for part in line if not part.control) for line in lines(report, 39, theme_for("utf-8"))]
    assert [line.rstrip() for line in shown] == [
        "2026-11-26",
        "  0.04 usd told, 0.01 usd uncertain, 1",
        "  picture, 0.04 usd a picture",
    ]


def test_off_a_terminal_the_columns_are_aligned() -> None:
    report = Report("model", [spent("studio 4.0", 12.5, 100), spent("a very long model's name", 0.04)])
    assert list(plain_lines(report)) == [
        "model                     submits  pictures       told   a picture",
        "studio 4.0                      1       100  12.50 usd   0.125 usd",
        "a very long model's name        1         1   0.04 usd    0.04 usd",
        "in all                          2       101  12.54 usd  0.1242 usd",
    ]


def test_csv_is_read_back_and_no_spreadsheet_calculates_with_a_name() -> None:
    stream = io.StringIO()
    evil = '=cmd|"/c calc",1'
    print_csv(Report("model", [spent(evil, 0.04), row("free one", "", is_free=True, pictures=3)]), stream)
    found = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert found[0]["key"] == "'" + evil
    assert (found[0]["v"], found[0]["told"], found[0]["each"], found[0]["price"]) == ("1", "0.04", "0.04", "known")
    assert (found[1]["price"], found[1]["told"], found[1]["pictures"]) == ("free", "", "3")


def test_json_has_rows_then_sums_then_budgets() -> None:
    limits = [
        BudgetLine(Limit(parse_money("1usd"), Period.DAY), parse_money("1.50usd")),
        BudgetLine(Limit(parse_money("5usd")), None),
    ]
    found = list(objects_of(Report("day", [spent("2026-11-26", 0.04)], limits)))
    assert [one["kind"] for one in found] == ["cost", "total", "budget", "budget"]
    assert all(one["v"] == 1 for one in found)
    assert found[1]["key"] is None
    assert found[2] == {
        "v": 1, "kind": "budget", "period": "day", "unit": "usd", "limit": 1.0, "spent": 1.5, "left": 0.0,
    }  # fmt: skip
    assert found[3]["left"] is None


def test_the_budgets_in_force_are_the_last_lines(program: Program, server: DreaminaServer) -> None:
    program.configure((CONFIG + MIXED + BUDGET).format(url=server.url))
    assert program.run("run", "a cat").code == 0
    assert program.run("costs", IMAGEGEN_BUDGET="3usd").lines[-4:] == [
        "budget of a command: 3.00 usd",
        "budget of a day: 0.96 usd left; 0.04 usd of 1.00 usd used or reserved",
        "budget of a month: 1.96 usd left; 0.04 usd of 2.00 usd used or reserved",
        "budget of a month: 100 credits left; 0 credits of 100 credits used or reserved",
    ]


def test_settings_that_cannot_be_read_are_no_reason_for_no_report(program: Program) -> None:
    assert program.run("run", "a cat").code == 0
    program.configure("default_provider = 5\n")
    ended = program.run("costs")
    assert (ended.code, len(ended.lines)) == (0, 2)
    assert "the budgets are not shown" in ended.err


@pytest.mark.parametrize(
    ("words", "code"), [((), 4), (("--since", "2030-01-01"), 4), (("--since", "soon"), 2), (("--json", "--csv"), 2)]
)
def test_nothing_to_report_and_wrong_words(program: Program, words: tuple[str, ...], code: int) -> None:
    assert program.run("costs", *words).code == code


# What a person says


def lost(program: Program, *more: str) -> None:
    """Task 1, which may have been charged."""
    assert program.run("run", "a cat #lost", *more).code == 1


@pytest.mark.parametrize(
    ("words", "cost", "total"),
    [
        (("--paid",), {"amount": 0.04, "unit": "usd", "source": "set", "status": "settled"}, 0.04),
        (("--paid", "--amount", "$0.05"), {"amount": 0.05, "unit": "usd", "source": "set", "status": "settled"}, 0.05),
        (("--unpaid",), {"amount": 0.04, "unit": "usd", "source": "set", "status": "returned"}, None),
    ],
)
def test_a_person_settles_a_charge_and_changes_nothing_else(
    program: Program, words: tuple[str, ...], cost: dict[str, Any], total: float | None
) -> None:
    lost(program)
    before = program.tasks()[0]
    assert program.run("settle", "1", *words).code == 0
    after = program.tasks()[0]
    assert after.pop("cost") == cost
    assert before.pop("cost")["status"] == "uncertain"
    assert after == before
    sums = [one for one in program.run("costs", "--json").objects if one["kind"] == "cost"]
    assert [one["set"] for one in sums] == ([] if total is None else [total])
    again = program.run("settle", "1", *words)
    assert (again.code, "it is known already" in again.err) == (4, True)


def test_costs_of_a_run_name_only_its_own_uncertain_tasks(program: Program) -> None:
    for _ in range(2):
        program.run("run", "a cat #lost")
    assert "may have been charged: 2 tasks, 1 2" in program.run("costs").err
    assert "may have been charged: 1 task, 2;" in program.run("costs", "--run", "2").err


def test_the_commands_that_costs_and_show_name_work_as_they_are(program: Program) -> None:
    lost(program)
    for text in (program.run("costs").err, program.run("show", "1").out):
        assert "imagegen settle 1 --paid" in text
    assert program.run("settle", "1", "--paid").out == "1  paid: 0.04 usd (by the price that you gave)\n"
    assert "cost        0.04 usd (by the price that you gave)" in program.run("show", "1").out


@pytest.mark.parametrize(
    "words",
    [
        ("1",), ("--paid",), ("1", "--all", "--paid"), ("1", "--paid", "--unpaid"),
        ("1", "--unpaid", "--amount", "1usd"), ("1", "--paid", "--amount", "0usd"), ("1", "--paid", "--amount", "much"),
    ],
)  # fmt: skip
def test_what_a_person_says_must_be_clear(program: Program, words: tuple[str, ...]) -> None:
    lost(program)
    assert program.run("settle", *words).code == 2
    assert program.tasks()[0]["cost"]["status"] == "uncertain"


def test_a_price_that_is_not_known_has_to_be_said(program: Program) -> None:
    lost(program, "-p", "other")
    refused = program.run("settle", "1", "--paid")
    assert refused.code == 2
    named = re.search(r"imagegen (settle 1 --paid --amount 0.04usd)", refused.err)
    assert named
    assert program.run(*named[1].split(), "--json").objects == [
        {"v": 1, "id": 1, "costs": [{"amount": 0.04, "unit": "usd", "source": "set", "status": "settled"}]}
    ]


def test_all_that_is_uncertain_and_nothing_else(program: Program) -> None:
    assert program.run("run", "a cat #lost", "a dog", "a bird #lost", "a key #500").code == 1
    assert program.run("settle", "--all", "--unpaid").lines == ["1  nothing was charged", "3  nothing was charged"]
    assert program.run("settle", "--all", "--unpaid").code == 4
    assert program.run("settle", "9", "--paid").code == 4


def test_a_task_at_work_is_left_to_its_process_and_a_dead_one_is_not(program: Program) -> None:
    process = program.start("run", "a cat #never", "--json")
    next_line(process, '"running"')
    left = program.run("settle", "1", "--unpaid")
    assert left.code == 4
    assert "1 is left as it is: a process is at work on it" in left.err
    assert program.run("costs", "--json").objects[0]["reserved"] == 0.04
    process.kill()
    process.communicate()
    text = program.run("costs")
    assert "imagegen resume 1 asks what became of it" in text.err
    assert program.run("costs", "--json").objects[0]["uncertain"] == 0.04
    assert program.tasks()[0]["cost"]["status"] == "uncertain"
    assert program.run("settle", "1", "--paid").code == 0
    assert program.tasks()[0]["state"] == "running"


def test_what_was_called_unpaid_counts_again_where_its_receipt_is_found(
    program: Program, server: DreaminaServer
) -> None:
    server.fail("query", Reply.json({"error": "busy"}, 500), times=3)
    assert program.run("run", "a cat").code == 5
    assert program.run("settle", "1", "--unpaid").code == 0
    assert program.run("resume", "1").code == 0
    assert program.tasks()[0]["cost"] == {"amount": 0.04, "unit": "usd", "source": "set", "status": "settled"}


# One task and many


def test_list_has_a_column_of_costs_only_where_one_is_known(program: Program) -> None:
    assert program.run("run", "a bird", "-p", "other").code == 0
    assert "usd" not in program.run("list").out
    assert "?" not in program.run("list").out
    assert "cost" in program.tasks()[0]
    assert program.run("run", "a cat").code == 0
    lost(program)
    costs = [re.split(" {2,}", line.strip())[4] for line in program.run("list").lines]
    assert costs == ["~0.04 usd?", "~0.04 usd", "?"]


def test_show_says_that_nothing_was_charged(program: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"detail": "Insufficient credits"}, 402))
    assert program.run("run", "a cat").code == 1
    assert "cost        nothing was charged" in program.run("show", "1").out
    assert program.tasks()[0]["cost"]["status"] == "returned"


def test_an_old_charge_of_a_task_is_listed_beside_the_new_one(program: Program) -> None:
    assert program.run("run", "a cat").code == 0
    database = program.home / "history.db"
    sql(database, "CREATE TABLE twin AS SELECT * FROM charge")
    sql(database, "UPDATE twin SET id = id + 1")
    sql(database, "INSERT INTO charge SELECT * FROM twin")
    assert "cost 1      0.04 usd" in program.run("show", "1").out
    plain = program.run("show", "1", "--json").objects[0]
    assert (plain["cost"]["amount"], [one["amount"] for one in plain["earlier_costs"]]) == (0.04, [0.04])
