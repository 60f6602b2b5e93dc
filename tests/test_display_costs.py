"""Costs on the board, in a column and in words; frames with them fit every screen."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from imagegen_cli.core.charges import Charge, ChargeStatus, reserved
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import BudgetReached, ChargesKnown, Event, ProviderPaused, TaskChanged, TaskCharged
from imagegen_cli.core.money import Money, Quote, Source, parse_money
from imagegen_cli.core.task import Failed, Job, RemoteImage, RunId, Running, Saving, State, Submitting, TaskId
from imagegen_cli.display import costs
from imagegen_cli.display.controls import Controls, Ui
from imagegen_cli.display.end_report import Tone, summary
from imagegen_cli.display.key_commands import Command, Keys, Pause
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import theme_for
from imagegen_cli.display.view import draw
from tests.test_display_board import PATIENT, board_with, started, task
from tests.test_display_view import text_of

CENTS = Quote(4, Money(10_000, "usd"), Source.SET)
JOB = Job("a")
PICTURES = (RemoteImage("http://pictures/1"),) * 4


def sent(number: int, quote: Quote = CENTS) -> TaskChanged:
    return TaskChanged(1.0, replace(task(number), state=Submitting(None, quote)))


def changed(number: int, state: State) -> TaskChanged:
    return TaskChanged(2.0, replace(task(number), state=state))


def settled(number: int, quote: Quote = CENTS) -> list[Event]:
    return [sent(number, quote), changed(number, Running(JOB)), changed(number, Saving(PICTURES, JOB))]


@pytest.mark.parametrize(
    ("events", "long", "short"),
    [
        ([], "", ""),
        ([sent(1, Quote(1, None, Source.FREE))], "", ""),
        ([sent(1, Quote(1, None, Source.UNKNOWN))], "", ""),
        ([sent(1)], "reserved 0.04 usd", "+0.04 usd"),
        ([*settled(1), sent(2)], "spent about 0.04 usd, reserved 0.04 usd", "~0.04 usd +0.04 usd"),
        (
            [*settled(1), TaskCharged(3.0, TaskId(1), parse_money("0.05usd"), Source.TOLD)],
            "spent 0.05 usd",
            "0.05 usd",
        ),
        (
            [sent(1), changed(1, Failed(Reason.UNCERTAIN, "lost", may_be_paid=True))],
            "uncertain 0.04 usd",
            "+0.04 usd",
        ),
        ([sent(1), changed(1, Failed(Reason.UNAUTHORIZED, "no"))], "", ""),
        (
            [*settled(1), *settled(2, Quote(4, Money(2_000_000, "credits"), Source.SET))],
            "spent about 0.04 usd + 8 credits",
            "~0.04 usd + 8 credits",
        ),
    ],
)
def test_the_costs_of_a_run_in_words(events: list[Event], long: str, short: str) -> None:
    board = board_with(started(task(1), task(2)), *events)
    assert (costs.text(board.costs), costs.short_text(board.costs), bool(board.costs)) == (long, short, bool(long))
    assert [text for tone, text in summary(board, 9.0, "x") if tone is Tone.COST] == ([long] if long else [])


@pytest.mark.parametrize(
    ("charge", "column", "words"),
    [
        (None, "", ""),
        (reserved(Quote(1, None, Source.FREE)), "", ""),
        (reserved(CENTS), "~0.04 usd", "reserved: 0.04 usd (by the price that you gave)"),
        (
            Charge(CENTS, ChargeStatus.SETTLED, parse_money("0.05usd"), Source.TOLD),
            "0.05 usd",
            "0.05 usd (told by the service)",
        ),
        (
            Charge(CENTS, ChargeStatus.UNCERTAIN, parse_money("0.04usd"), Source.ESTIMATED),
            "~0.04 usd?",
            f"uncertain, it may have been charged: 0.04 usd (estimated); {costs.how_to_settle([12])}",
        ),
        (Charge(CENTS, ChargeStatus.RETURNED, parse_money("0.04usd"), Source.SET), "", "nothing was charged"),
        (Charge(CENTS, ChargeStatus.SETTLED, None, Source.UNKNOWN), "?", "not known"),
    ],
)
def test_the_cost_of_a_task_in_words(charge: Charge | None, column: str, words: str) -> None:
    assert (costs.of_task(charge), costs.described(charge, 12)) == (column, words)


def test_many_uncertain_tasks_are_settled_with_all() -> None:
    assert costs.how_to_settle(range(1, 4)) == "if you know it: imagegen settle 1 2 3 --paid, or --unpaid"
    assert costs.how_to_settle(range(1, 99)) == "if you know it: imagegen settle --all --paid, or --unpaid"


def test_charges_from_the_history_take_the_place_of_those_of_events() -> None:
    board = board_with(started(task(1), task(2)), *settled(1))
    known = Charge(CENTS, ChargeStatus.SETTLED, parse_money("0.07usd"), Source.TOLD)
    board.tell(ChargesKnown(3.0, {TaskId(1): known, TaskId(2): reserved(CENTS), TaskId(9): known}))
    assert costs.text(board.costs) == "spent 0.07 usd, reserved 0.04 usd"
    board.tell(changed(2, Failed(Reason.UNAUTHORIZED, "no")))
    assert costs.text(board.costs) == "spent 0.07 usd"


def test_space_lets_an_account_go_on_and_then_holds_back_as_always() -> None:
    board = board_with(started(task(1), task(2)), ProviderPaused(1.0, task(1).request.provider, "no credits"))
    commands: list[Command] = []
    ui = Ui()
    controls = Controls(board, Keys(commands.append), ui)
    for moment, key in ((10.0, "tab"), (12.0, " "), (14.0, " "), (16.0, " ")):
        controls.press(key, moment)
    assert commands == [Pause(False), Pause(True), Pause(False)]
    assert not board.paused_providers


def test_what_a_person_held_back_goes_on_with_the_account() -> None:
    board = board_with(started(task(1), task(2)))
    commands: list[Command] = []
    controls = Controls(board, Keys(commands.append), Ui())
    for moment, key in ((10.0, "tab"), (12.0, " ")):
        controls.press(key, moment)
    board.tell(ProviderPaused(13.0, task(1).request.provider, "no credits"))
    controls.press(" ", 14.0)
    assert commands == [Pause(True), Pause(False)]


def test_only_the_tasks_of_the_account_are_said_to_lack_credits() -> None:
    other = replace(task(2), request=replace(task(2).request, provider="other"))
    board = board_with(started(task(1), other), ProviderPaused(1.0, task(1).request.provider, "no credits"))
    lines = [text_of(line) for line in draw(board, 9.0, width=80, height=24, theme=theme_for("utf-8")).lines]
    assert [("held: out of credits" in line) for line in lines if "lighthouse" in line] == [True, False]


@PATIENT
@given(
    number=st.integers(1, 12),
    width=st.integers(1, 130),
    height=st.integers(1, 40),
    focus=st.booleans(),
    money=st.sampled_from(["", "budget", "credits", "both"]),
    encoding=st.sampled_from(["utf-8", "ascii"]),
)
def test_frames_with_money_fit(number: int, width: int, height: int, focus: bool, money: str, encoding: str) -> None:
    board = board_with(started(*(task(one) for one in range(1, number + 1))), *settled(1))
    if money in ("budget", "both"):
        board.tell(BudgetReached(3.0, RunId(1), "9.99 usd of 10.00 usd"))
    if money in ("credits", "both"):
        board.tell(ProviderPaused(3.0, task(1).request.provider, "no credits"))
    ui = Ui(keys=True, focus=focus)
    frame = draw(board, 9.0, width=width, height=height, theme=theme_for(encoding), ui=ui)
    assert len(frame.lines) <= max(0, height - 1)
    assert all(cell_width(text_of(line)) < width for line in frame.lines)
