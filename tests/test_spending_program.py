"""Money by the command line: what is asked and refused, what a budget leaves unsent, and the command that goes on."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from imagegen_cli.core.money import parse_money
from imagegen_cli.storage.store import Store
from tests import screen
from tests.crash import CrashComfy, CrashServer, Harness
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.fal import FalQueue
from tests.doubles.http import HELD, Fault, Pictures, Reply
from tests.program import LIMIT, Ended, Program, await_lines, finished, interrupt
from tests.test_outsiders import installed
from tests.test_terminal import add

SMALL = Pictures("png", (8, 8))
CONFIG = """
default_provider = "studio"
{more}
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
[prices]
"studio/*" = "0.01usd"
"""
"""Four pictures a task: 0.04 usd."""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=SMALL) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url, more=""))


def configured(studio: Program, server: DreaminaServer, more: str) -> None:
    studio.configure(CONFIG.format(url=server.url, more=more))


def prompts(number: int, more: str = "") -> list[str]:
    return [f"cat {n}{more}" for n in range(number)]


def listed(studio: Program, number: int) -> None:
    (studio.folder / "list.txt").write_text("\n".join(prompts(number)), encoding="utf-8")


def pasted(studio: Program, ended: Ended) -> Ended:
    """What becomes of the command that the last line names."""
    _, _, words = ended.err.splitlines()[-1].rpartition("imagegen ")
    return studio.run(*shlex.split(words), "-q")


def statuses(studio: Program) -> list[tuple[str, str]]:
    """Each kind of charge, with its sum."""
    with closing(Store(studio.home / "history.db")) as store:
        return sorted((str(one.status), str(one.amount)) for one in store.costs("run"))


# A limit that holds


@pytest.mark.parametrize("number", [4, 9, 20])
def test_a_budget_stops_with_6_and_the_last_line_goes_on(studio: Program, server: DreaminaServer, number: int) -> None:
    ended = studio.run("run", *prompts(number), "--budget", "0.08usd", "-q")
    assert ended.code == 6, ended.err
    assert server.counts["submit"] == 2
    last = ended.err.splitlines()[-1]
    assert f"{number - 2} tasks not sent: 0.08 usd of 0.08 usd is spent or reserved" in last
    again = pasted(studio, ended)
    assert again.code == (6 if number > 4 else 0), again.err
    assert server.counts["submit"] == 4
    assert statuses(studio) == [("settled", "0.08 usd")] * 2 or statuses(studio) == [("settled", "0.16 usd")]


def test_the_command_means_only_what_the_budget_left(studio: Program, server: DreaminaServer) -> None:
    """Tasks of the same run that were cancelled for another reason are not paid by it."""
    server.seconds = HELD
    process = studio.start("run", *prompts(16), "-j", "1", "--json", "--budget", "0.08usd")
    await_lines(process, ['"running"'])
    studio.await_states("running", *["queued"] * 15)
    assert studio.run("cancel", "16").code == 0
    server.release()
    ended = finished(process)
    assert ended.code == 6, ended.err
    words = ended.err.splitlines()[-1].rpartition("imagegen ")[2].split()
    assert words == ["retry", *map(str, range(3, 16)), "--yes", "--budget", "0.08usd"]


@pytest.mark.parametrize("limit", ["0.10usd/day", "0.10usd/month", "9usd,0.10usd/day"])
def test_a_limit_of_a_day_or_a_month_holds_over_commands(studio: Program, server: DreaminaServer, limit: str) -> None:
    assert studio.run("run", "a cat", "--budget", limit, "-q").code == 0
    ended = studio.run("run", *prompts(4), "--budget", limit, "-q")
    assert (ended.code, server.counts["submit"]) == (6, 2)
    last = ended.err.splitlines()[-1]
    assert "raise the budget or wait until the" in last
    assert limit.rpartition(",")[2] in last
    assert pasted(studio, ended).code == 6
    assert server.counts["submit"] == 2


def test_a_limit_of_the_settings_and_one_of_the_option_hold_both(studio: Program, server: DreaminaServer) -> None:
    configured(studio, server, 'budget = { day = "0.08usd", month = "0.16usd" }')
    assert studio.run("run", *prompts(3), "--budget", "0.04usd", "-q").code == 6
    assert server.counts["submit"] == 1
    assert studio.run("run", *prompts(3), "--budget", "5usd", "-q").code == 6
    assert server.counts["submit"] == 2
    ended = studio.run("run", "a cat", "-q", IMAGEGEN_BUDGET="5usd")
    assert ended.code == 6, ended.err
    assert server.counts["submit"] == 2


def test_nothing_fits_a_limit_of_0_and_the_last_line_says_what_to_raise(
    studio: Program, server: DreaminaServer
) -> None:
    ended = studio.run("run", "a cat", "--budget", "0usd", "-q")
    assert (ended.code, server.counts["submit"]) == (6, 0)
    assert "raise the budget" in ended.err.splitlines()[-1]
    assert statuses(studio) == []


def test_a_batch_run_again_sends_only_the_rest(studio: Program, server: DreaminaServer) -> None:
    listed(studio, 5)
    assert studio.run("batch", "list.txt", "--budget", "0.08usd", "-q").code == 6
    assert server.counts["submit"] == 2
    ended = studio.run("batch", "list.txt", "--budget", "9usd", "-q")
    assert ended.code == 0, ended.err
    assert server.counts["submit"] == 5
    assert len(studio.tasks()) == 5
    assert sorted(job.payload["prompt"] for job in server.jobs.values()) == prompts(5)


def test_again_and_copies_of_what_may_be_paid_are_charges_of_their_own(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat #lost", "-q").code == 1
    assert statuses(studio) == [("uncertain", "0.04 usd")]
    ended = studio.run("retry", "1", "--may-repeat", "--budget", "0.04usd", "-q")
    assert ended.code == 1, ended.err
    assert statuses(studio) == [("uncertain", "0.04 usd")] * 2
    assert studio.run("again", "1", "--budget", "0.03usd", "-q").code == 6
    assert studio.run("again", "1", "another cat", "--budget", "0.04usd", "-q").code == 0
    assert statuses(studio) == [("settled", "0.04 usd"), *[("uncertain", "0.04 usd")] * 2]


def test_the_command_for_a_copy_that_did_not_fit_works(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a #lost cat", "a #lost dog", "-q").code == 1
    ended = studio.run("retry", "1", "2", "--may-repeat", "--budget", "0.04usd", "-q")
    assert (ended.code, server.counts["submit"]) == (6, 3)
    assert pasted(studio, ended).code == 1
    assert server.counts["submit"] == 4


def test_a_retry_that_did_not_fit_is_named_by_its_number(studio: Program, server: DreaminaServer) -> None:
    """What was not sent again is failed as before: no filter for cancelled tasks finds it."""
    assert studio.run("run", *prompts(14, " #fail"), "-q").code == 1
    ended = studio.run("retry", "--reason", "moderated", "--yes", "--budget", "0.04usd", "-q", "-j", "unlimited")
    assert ended.code == 6, ended.err
    sent = server.counts["submit"]
    assert sent < 28
    assert "--cancelled" not in ended.err
    pasted(studio, ended)
    assert server.counts["submit"] > sent


POOR = Reply.json({"success": False, "message": "积分不足"}, 402)


def test_without_credits_the_command_means_what_was_refused_and_what_was_left_unsent(
    studio: Program, server: DreaminaServer
) -> None:
    """Not what the person had cancelled before."""
    server.seconds = HELD
    server.fail("submit", POOR, times=None, after=1)
    process = studio.start("run", *prompts(5), "-j", "1", "--json")
    await_lines(process, ['"running"'])
    assert studio.run("cancel", "5").code == 0
    server.release()
    ended = finished(process)
    assert ended.code == 1, ended.err
    assert "2 tasks not sent" in ended.err.splitlines()[-1]
    assert ended.err.splitlines()[-1].endswith("top up, then imagegen retry 2 3 4")
    server.heal()
    assert pasted(studio, ended).code == 0
    assert [task["state"] for task in studio.tasks()].count("done") == 4


def test_without_credits_many_tasks_are_named_by_what_became_of_them(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", POOR, times=None, after=1)
    ended = studio.run("run", *prompts(30), "-j", "1", "-q")
    last = ended.err.splitlines()[-1]
    assert last.endswith("imagegen retry --cancelled --reason cancelled --reason out-of-credits --run 1 --yes")
    server.heal()
    assert pasted(studio, ended).code == 0
    assert server.counts["submit"] == 1 + 1 + 29


@pytest.mark.parametrize("budget", ["0usd", "0.03usd", "0.03usd,1eur", "0.03usd,9usd/day"])
def test_the_command_that_goes_on_names_a_budget_that_holds_a_task(
    studio: Program, server: DreaminaServer, budget: str
) -> None:
    ended = studio.run("run", "a cat", "--budget", budget, "-q")
    assert (ended.code, server.counts["submit"]) == (6, 0)
    assert "raise the budget, then imagegen retry 1 --budget 0.04usd" in ended.err.splitlines()[-1]
    assert pasted(studio, ended).code == 0
    assert server.counts["submit"] == 1


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("budget", "named"), [("5credits/day", "5credits/day,100usd"), ("5eur,2cny", "5.00eur,2.00cny,100usd")]
)
def test_the_budget_that_is_proposed_can_be_pasted(studio: Program, budget: str, named: str) -> None:
    ended = studio.run("run", "a cat", "--budget", budget)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].endswith(f"--budget {named}")
    assert studio.run("run", "a cat", "--budget", named, "-q").code == 0


def test_the_price_that_is_proposed_has_the_unit_of_the_budget(studio: Program, server: DreaminaServer) -> None:
    studio.configure(CONFIG.format(url=server.url, more="").partition("[prices]")[0])
    ended = studio.run("run", "a cat", "--budget", "50credits")
    assert "--assume-price 4credits" in ended.err
    assert studio.run("run", "a cat", "--budget", "50credits", "--assume-price", "4credits", "-q").code == 0


def test_retry_says_what_it_should_cost(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", *prompts(2), "--budget", "0usd", "-q").code == 6
    ended = studio.run("retry", "1", "2")
    assert "as new paid work: 1 2 · about 0.08 usd (set)" in ended.err


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('confirm_cost = "5"', "no  confirm_cost: '5' is no amount of money"),
        ("confirm_above = -3", "no  confirm_above cannot be -3"),
        ('[budget]\nweek = "5usd"', "no  [budget] has no 'week'"),
        ('[budget]\nday = "5"', "no  [budget] day: '5' is no amount of money"),
    ],
)
def test_the_check_of_the_settings_reads_money_too(
    studio: Program, server: DreaminaServer, more: str, expected: str
) -> None:
    configured(studio, server, more)
    ended = studio.run("config", "check")
    assert ended.code == 3
    assert expected in ended.out


# A price that rises


def test_a_price_that_proved_too_low_is_asked_for_anew(tmp_path: Path) -> None:
    with FalQueue(pictures=SMALL) as server:
        server.prices = {"fal-ai/flux/dev": (0.04, "images", "USD")}
        settings = (
            f'kind = "fal"\nbase_url = "{server.url}"\nplatform_url = "{server.url}/v1"\napi_key = "{server.key}"'
        )
        program = Program(tmp_path, f'default_provider = "fal"\n[providers.fal]\n{settings}\npoll = 0.02\n')
        assert program.run("run", "a cat", "--budget", "0.20usd", "-q").code == 0
        server.prices = {"fal-ai/flux/dev": (0.5, "images", "USD")}
        ended = program.run("run", *prompts(3), "--budget", "0.20usd", "-j", "1", "-q")
        assert (ended.code, server.counts["submit"]) == (6, 2)
        assert "0.46 usd more was charged than reserved" in ended.err
        again = pasted(program, ended)
        assert (again.code, server.counts["submit"]) == (6, 2)
        assert "raise the budget, then imagegen retry 3 4 --budget 0.50usd" in again.err


# What was spent


def test_budgets_are_told_where_nothing_was_spent(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("costs").code == 4
    configured(studio, server, '[budget]\nday = "5usd"')
    ended = studio.run("costs")
    assert (ended.code, ended.out) == (0, "budget of a day: 5.00 usd left; 0.00 usd of 5.00 usd used or reserved\n")
    assert [plain["kind"] for plain in studio.run("costs", "--json").objects] == ["budget"]


def test_a_word_in_another_unit_does_not_free_a_budget(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Fault.CLOSE_AFTER)
    assert studio.run("run", "a cat", "-q").code == 1
    assert statuses(studio) == [("uncertain", "0.04 usd")]
    refused = studio.run("settle", "1", "--paid", "--amount", "4credits")
    assert (refused.code, statuses(studio)) == (2, [("uncertain", "0.04 usd")])
    assert "task 1 is counted in usd, not in credits" in refused.err
    assert studio.run("settle", "1", "--paid", "--amount", "0.03usd").code == 0
    assert statuses(studio) == [("settled", "0.03 usd")]


def test_the_word_that_is_proposed_has_an_amount_where_no_price_is_known(
    studio: Program, server: DreaminaServer
) -> None:
    studio.configure(CONFIG.format(url=server.url, more="").partition("[prices]")[0])
    server.fail("submit", Fault.CLOSE_AFTER)
    assert studio.run("run", "a cat", "-q").code == 1
    assert "imagegen settle 1 --paid --amount 0.04usd, or --unpaid" in studio.run("costs").err
    assert "imagegen settle 1 --paid --amount 0.04usd, or --unpaid" in studio.run("show", "1").out
    assert studio.run("settle", "1", "--paid", "--amount", "0.04usd").code == 0


# What no budget can hold


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-p", "other"], "the price of other/3.0 is not known"),
        (["-p", "studio,other"], "the price of other/3.0 is not known"),
        (["-p", "credits"], "this costs credits, and no budget counts credits"),
        (["-p", "studio,credits"], "this costs credits, and no budget counts credits"),
    ],
)
def test_what_no_budget_can_hold_is_refused_before_anything_is_sent(
    studio: Program, server: DreaminaServer, words: list[str], expected: str
) -> None:
    text = CONFIG.format(url=server.url, more="") + '"credits/*" = "2credits"\n'
    other = text.partition("[providers.studio]")[2].partition("[prices]")[0]
    studio.configure(text + f"[providers.other]\n{other}[providers.credits]\n{other}")
    ended = studio.run("run", "a cat", *words, "--budget", "5usd")
    assert ended.code == 2
    assert expected in ended.err
    assert "nothing was sent" in ended.err
    assert (server.counts["submit"], studio.tasks()) == (0, [])
    assert studio.run("run", "a cat", *words, "--budget", "5usd,9credits", "--assume-price", "1usd", "-q").code in (
        0,
        6,
    )


def test_the_assumed_price_is_part_of_the_command_that_goes_on(studio: Program, server: DreaminaServer) -> None:
    studio.configure(CONFIG.format(url=server.url, more="").partition("[prices]")[0])
    ended = studio.run("run", *prompts(3), "--budget", "0.08usd", "--assume-price", "0.01 usd", "-q")
    assert (ended.code, server.counts["submit"]) == (6, 2)
    assert pasted(studio, ended).code == 0
    assert server.counts["submit"] == 3


# What the network does


def test_what_was_not_accepted_is_given_back_and_what_may_be_is_kept(tmp_path: Path) -> None:
    """One batch over services that each fail in their own way."""
    page = Reply.text("<html>busy</html>", 503, "text/html")
    faults: dict[str, tuple[str, object]] = {
        "away": ("returned", Fault.REFUSE),
        "unauthorized": ("returned", Reply.json({"detail": "no"}, 401)),
        "poor": ("returned", Reply.json({"detail": "no credits"}, 402)),
        "limited": ("returned", Reply.json({"detail": "slow down"}, 429)),
        "busy": ("returned", Reply.json({"detail": "busy"}, 503)),
        "page": ("uncertain", page),
        "cut": ("uncertain", Fault.CLOSE_AFTER),
        "gateway": ("uncertain", Fault.BAD_GATEWAY),
        "late": ("uncertain", Fault.STALL_BEFORE_ACT),
        "fine": ("settled", None),
    }
    with ExitStack() as stack:
        config, lines = "", []
        for name, (_, fault) in faults.items():
            server = stack.enter_context(DreaminaServer(pictures=SMALL))
            if fault is not None:
                server.fail("submit", fault, times=None)  # type: ignore[arg-type]
            config += f'[providers.{name}]\nkind = "dreamina"\nbase_url = "{server.url}"\n'
            limit = 2 if name in ("away", "limited", "busy", "late") else LIMIT
            config += f"poll = 0.02\ntimeout = {limit:.0f}\nbusy_timeout = 0.1\n"
            lines.append(f'{{"prompt": "a cat", "provider": "{name}"}}')
        prices = "[prices]\n" + "".join(f'"{name}/*" = "0.01usd"\n' for name in faults)
        program = Program(tmp_path, config + prices)
        (tmp_path / "list.jsonl").write_text("\n".join(lines))
        program.run("batch", "list.jsonl", "-q", "--budget", "9usd")
    with closing(Store(program.home / "history.db")) as store:
        found = {one.key: str(one.status) for one in store.costs("provider")}
    assert found == {name: status for name, (status, _) in faults.items() if status != "returned"}


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_wins_and_what_goes_on_stays_reserved(studio: Program, server: DreaminaServer, times: int) -> None:
    process = studio.start("run", "a cat #never", *prompts(3), "--json", "-j", "1", "--budget", "0.05usd")
    await_lines(process, ['"running"'])
    for _ in range(times):
        interrupt(process)
    ended = finished(process)
    assert ended.code == 130, ended.err
    assert statuses(studio) == [("uncertain", "0.04 usd")]
    assert studio.run("run", "a cat", "--budget", "0.07usd/day", "-q").code == 6


# Killed


@pytest.mark.parametrize(
    ("step", "paid"),
    [("connect", 0), ("submit", 1), ("submit acted", 1)],
    ids=["before it left", "as it arrived", "before the answer"],
)
def test_killed_while_it_is_sent_the_reservation_counts_until_a_word_settles_it(
    tmp_path: Path, step: str, paid: int
) -> None:
    with CrashServer(pictures=SMALL) as server, CrashComfy(pictures=SMALL) as comfy:
        harness = Harness(tmp_path, server, comfy, seed=1)
        studio = harness.program
        studio.configure((studio.home / "config.toml").read_text() + '[prices]\n"studio/*" = "0.01usd"\n')
        harness._killed(["run", "round 1 studio 1", "-p", "studio", "-q", "--budget", "0.04usd/day"], step, 1)
        assert harness.ledgers.kills.total() == 1
        assert len(server.jobs) == paid
        assert statuses(studio) == [("uncertain", "0.04 usd")]
        refused = studio.run("run", "round 2 studio 1", "-p", "studio", "-q", "--budget", "0.07usd/day")
        assert (refused.code, len(server.jobs)) == (6, paid)
        studio.run("resume", "-q")
        assert statuses(studio) == [("uncertain", "0.04 usd")], "the service knows nothing to ask with"
        with closing(Store(studio.home / "history.db")) as store:
            store.settle([1], None if paid else parse_money("0usd"))
        assert statuses(studio) == ([("settled", "0.04 usd")] if paid else [])
        again = studio.run("retry", "2", "-q", "--budget", "0.07usd/day")
        assert (again.code, len(server.jobs)) == (6 if paid else 0, 1)


@pytest.mark.parametrize(
    ("step", "status"), [("connect", [("uncertain", "0.04 usd")]), ("submit acted", [("settled", "0.04 usd")])]
)
def test_an_answer_about_that_very_job_settles_what_a_kill_left(
    tmp_path: Path, step: str, status: list[tuple[str, str]]
) -> None:
    """A job that the service does not know proves nothing: it may have been restarted."""
    with CrashServer(pictures=SMALL) as server, CrashComfy(pictures=SMALL) as comfy:
        harness = Harness(tmp_path, server, comfy, seed=1)
        studio = harness.program
        studio.configure((studio.home / "config.toml").read_text() + '[prices]\n"comfy/*" = "0.04usd"\n')
        harness._killed(["run", "round 1 comfy 1", "-p", "comfy", "-q", "--budget", "1usd/day"], step, 1)
        assert statuses(studio) == [("uncertain", "0.04 usd")]
        studio.run("resume", "-q")
        assert statuses(studio) == status


# Estimates that are wrong

TELLER = r"""
from typing import ClassVar
from zlib import crc32

from imagegen_cli.core.money import Money
from imagegen_cli.core.provider import Provider, Ready, Settings
from imagegen_cli.core.task import InlineImage

class Studio(Provider[Settings]):
    kind: ClassVar[str] = "studio"
    title: ClassVar[str] = "A studio that charges what it likes"
    local: ClassVar[bool] = True

    def __init__(self, settings, clients):
        self.settings = settings

    async def submit(self, request, client_job, report):
        cost = Money(int(request.prompt.split()[0]), "usd")
        return Ready((InlineImage(b"GIF89a" + bytes(7) + b"!\xff\x40" + bytes(64) + b"\0;"),), cost=cost)
"""


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([52_000, 52_000, 46_000], "0.03 usd more was charged than reserved; 0.15 usd of 0.12 usd is spent"),
        ([52_000, 46_000], "0.018 usd more was charged than reserved"),
        ([52_000, 20_000], ""),
        ([30_000, 20_000], ""),
    ],
)
def test_what_cost_more_than_reserved_is_said(tmp_path: Path, costs: list[int], expected: str) -> None:
    program = Program(tmp_path, '[providers.mine]\nkind = "studio"\n[prices]\n"mine/*" = "0.04usd"\n')
    site = installed(tmp_path, TELLER)
    ended = program.run(
        "run", *(f"{cost} for a cat" for cost in costs), "-p", "mine", "--budget", "0.12usd", "-q", PYTHONPATH=site
    )
    assert ended.code == 0, ended.err
    lines = [line for line in ended.err.splitlines() if "more was charged" in line]
    assert lines == ([expected] if expected else [])


# What is asked


def terminal(studio: Program, *words: str) -> screen.Program:
    command = [sys.executable, "-m", "imagegen_cli", *words]
    return screen.Program(command, columns=120, lines=40, environ=studio.environment(), cwd=studio.folder)


ASKING = [
    ("", prompts(21), "more than 20 tasks (confirm_above)"),
    ("confirm_above = 2", prompts(3), "more than 2 tasks (confirm_above)"),
    ('confirm_cost = "0.10usd"', prompts(3), "more than 0.10 usd (confirm_cost)"),
]


@pytest.mark.parametrize(("more", "words", "why"), ASKING)
@pytest.mark.parametrize("answer", ["n", "yes"])
def test_on_a_terminal_it_asks(
    studio: Program, server: DreaminaServer, more: str, words: list[str], why: str, answer: str
) -> None:
    configured(studio, server, more)
    with terminal(studio, "run", *words) as program:
        program.send("y\ryes\r")  # typed for another program
        program.wait_for("Send them? [y/N]")
        assert why in program.text.replace("\n", " ").replace("  ", " ")
        assert server.counts["submit"] == 0
        if answer == "n":
            program.send("n\r")
        else:
            program.answer(f"{answer}\r", lambda: server.counts["submit"] > 0)
        code = program.finish()
    assert (code, server.counts["submit"]) == ((2, 0) if answer == "n" else (0, len(words)))


@pytest.mark.parametrize(
    ("more", "words", "code"),
    [
        ("", prompts(21), 0),
        ("confirm_above = 2", prompts(3), 2),
        ("confirm_above = 2", [*prompts(3), "--yes"], 0),
        ("confirm_above = 3", prompts(3), 0),
        ('confirm_cost = "0.10usd"', prompts(3), 2),
        ('confirm_cost = "0.10usd"', [*prompts(3), "--yes"], 0),
        ('confirm_cost = "0.12usd"', prompts(3), 0),
        ('confirm_cost = "1credits"', prompts(3), 0),
    ],
)
def test_off_a_terminal_a_limit_of_the_person_s_own_stops(
    studio: Program, server: DreaminaServer, more: str, words: list[str], code: int
) -> None:
    configured(studio, server, more)
    ended = studio.run("run", *words, "-q")
    assert ended.code == code, ended.err
    assert server.counts["submit"] == (0 if code else len([word for word in words if word != "--yes"]))
    if code:
        assert "--yes sends them" in ended.err
        assert studio.tasks() == []


def test_retry_asks_above_a_cost_as_well(studio: Program, server: DreaminaServer) -> None:
    configured(studio, server, 'confirm_cost = "0.05usd"')
    assert studio.run("run", "a #fail", "b #fail", "--yes", "-q").code == 1
    ended = studio.run("retry", "1", "2", "-q")
    assert (ended.code, server.counts["submit"]) == (2, 2)
    assert "more than 0.05 usd" in ended.err
    assert studio.run("retry", "1", "-q").code == 1
    assert studio.run("retry", "1", "2", "--yes", "-q").code == 1


def test_the_dearest_alternative_counts_for_the_question(studio: Program, server: DreaminaServer) -> None:
    text = CONFIG.format(url=server.url, more='confirm_cost = "0.10usd"') + '"dear/*" = "0.10usd"\n'
    studio.configure(text + f'[providers.dear]\nkind = "dreamina"\nbase_url = "{server.url}"\n')
    assert studio.run("run", "a cat", "-q").code == 0
    assert studio.run("run", "a cat", "-p", "studio,dear", "-q").code == 2


def test_a_free_provider_is_never_asked_about(tmp_path: Path) -> None:
    with CrashComfy(pictures=SMALL) as comfy:
        config = (
            f'default_provider = "comfy"\n[providers.comfy]\nkind = "comfyui"\nbase_url = "{comfy.url}"\npoll = 0.02\n'
        )
        with terminal(Program(tmp_path, config), "run", *prompts(21), "--budget", "0usd") as shown:
            assert shown.finish() == 0, shown.text
            assert "Send them?" not in shown.scrollback
        assert comfy.counts["submit"] == 21


# Typed in the table


def test_what_is_typed_into_the_table_is_held_by_the_budget(studio: Program, server: DreaminaServer) -> None:
    server.seconds = HELD
    with terminal(studio, "run", "a cat", "--budget", "0.08usd") as program:
        program.wait_for("a cat")
        add(program, "a dog")
        program.wait(lambda: server.counts["submit"] == 2, "its submit")
        add(program, "a mouse")
        server.release()
        code = program.finish()
        text = program.scrollback
    assert (code, server.counts["submit"]) == (6, 2), text
    assert "1 task not sent: 0.08 usd of 0.08 usd" in text.replace("\n", " ")


def test_wrong_settings_of_money_stop_no_fetching(studio: Program, server: DreaminaServer) -> None:
    configured(studio, server, "")
    assert studio.run_out_of_time("a cat #never").code == 5
    studio.configure(CONFIG.format(url=server.url, more="").replace('usd"', 'pesos"'))
    again = studio.run("resume", "1", "--timeout", "0.3")
    assert again.code == 5, again
    assert "costs are not known: [prices]" in again.err
    assert server.counts["query"] > 0
    assert studio.run("run", "a dog").code == 3


def test_free_tasks_beside_some_without_a_known_price_are_told_in_whole_words(tmp_path: Path) -> None:
    program = Program(tmp_path, '[providers.studio]\nkind = "dreamina"\nbase_url = "http://127.0.0.1:9"\n')
    (tmp_path / "list.csv").write_text("prompt,provider\na red fox,sketch\nan owl at night,studio\n", encoding="utf-8")
    assert "sketch, studio 3.0 · 1 task without a known price" in program.run("batch", "list.csv", "--yes").err
