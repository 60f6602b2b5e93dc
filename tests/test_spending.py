"""What becomes of reservations: the real runner and the real history around a scripted service."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.commands.session import exit_code
from imagegen_cli.core.budget import Limit, Period, parse_limits
from imagegen_cli.core.charges import Charge, ChargeStatus, after, as_counted, as_settled, as_told, reserved
from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    RateLimited,
    Reason,
    ServerTrouble,
    TaskError,
    Unauthorized,
    Unavailable,
    Uncertain,
)
from imagegen_cli.core.events import BudgetReached, Event, PicturesCharged, TaskChanged, TaskCharged, Working
from imagegen_cli.core.money import UNITS, Money, Quote, Source, parse_money
from imagegen_cli.core.provider import Accepted, Ready
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Job,
    Queued,
    RemoteImage,
    Running,
    Saving,
    Submitting,
    Task,
    TaskId,
    recovered,
)
from imagegen_cli.display.board import Board
from imagegen_cli.engine.lane import Lane
from imagegen_cli.engine.scheduling import Gate
from imagegen_cli.storage import charges
from imagegen_cli.storage.processes import Process
from imagegen_cli.storage.records import Filter, Planned, Record
from imagegen_cli.storage.store import Store
from tests.clock import run
from tests.histories import KINDS, Place, opened, place
from tests.scripted import Asleep, Scripted, Stage, ready

FOUR_CENTS = Money(40_000, "usd")
JOB = Job("job-1")
GONE = Process("this machine no longer", 1, "then", "nowhere")
STATUS = dict[int, tuple[str, int | None]]


@dataclass
class Price:
    """The same price for every picture."""

    each: Money | None = FOUR_CENTS
    source: Source = Source.SET
    quoted: list[str] = field(default_factory=list)

    def quote(self, request: ImageRequest, images: int) -> Quote:
        self.quoted.append(request.provider)
        return Quote(images, self.each, self.source)

    def of_tokens(self, request: ImageRequest, tokens: Mapping[str, int]) -> Money | None:
        return Money(sum(tokens.values()), "usd")


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(request.param, tmp_path)


@pytest.fixture
def store(where: Place) -> Iterator[Store]:
    with closing(opened(where)) as store:
        yield store


def lasting(store: Store) -> Callable[[], Any]:
    """Wait for the disk in a thread: the clock of the test stands meanwhile."""

    async def flush() -> None:
        await asyncio.to_thread(lambda: asyncio.run(store.flush()))

    return flush


def stage(store: Store, provider: Scripted, folder: Path, budget: str = "", **how: Any) -> Stage:
    store.budget.limits = parse_limits(budget)
    how.setdefault("pricing", Price())
    return Stage(
        provider,
        folder,
        also=store.record,
        flush=lasting(store),
        owns=lambda task: task not in store.lost,
        over_budget=lambda task: store.budget.refused.get(task, ""),
        **how,
    )


def entered(store: Store, folder: Path, number: int = 1, *, images: int = 1, **more: Any) -> tuple[Task, ...]:
    numbers = store.reserve(number)
    request = ImageRequest(prompt="a cat", provider="scripted", model="4.0")
    items = [
        Planned(
            request=request,
            expected_images=images,
            folder=str(folder),
            identity=f"{id_}",
            id=id_,
            name=f"{id_}-{{index}}",
            **more,
        )
        for id_ in numbers.tasks
    ]
    return store.start_run(numbers.run, "batch", "", items)


def after_run(
    store: Store, provider: Scripted, folder: Path, budget: str = "", *, number: int = 1, **how: Any
) -> tuple[Stage, STATUS]:
    """Run so many tasks to their ends; what is known then of each charge."""
    tasks = entered(store, folder, number, images=how.pop("images", 1))
    one = stage(store, provider, folder, budget, **how)
    run(one.run_tasks(*tasks))
    return one, found(store, *(task.id for task in tasks))


def found(store: Store, *ids: int) -> STATUS:
    """Status and millionths of the last charge of each of these tasks."""
    asyncio.run(store.flush())
    charges = store.charges(ids)
    return {id_: (str(one.status), one.amount.micros if one.amount else None) for id_, one in charges.items()}


def spent(store: Store, limit: str = "0usd/day") -> int:
    asyncio.run(store.flush())
    return store.spent(parse_limits(limit)[0]).micros


def record(store: Store, id_: int) -> Record:
    return store.find(Filter(ids=(id_,)))[0]


# What becomes of one reservation

NEVER_CONNECTED = Unavailable("never connected")


@pytest.mark.parametrize(
    "submits",
    [
        [NEVER_CONNECTED],
        [Unauthorized("401")],
        [OutOfCredits("402").as_unspent()],
        [RateLimited("429", after=1.0)],
        [Busy("503 in the service's own form", after=1.0)],
        [BadRequest("422")],
        [Moderated("no")],
        [ServerTrouble("nothing was accepted")],
    ],
    ids=lambda steps: type(steps[0]).__name__,
)
def test_what_was_certainly_not_accepted_is_given_back(store: Store, tmp_path: Path, submits: list[TaskError]) -> None:
    _, charges = after_run(store, Scripted(submits), tmp_path, "1usd")
    assert charges == {1: ("returned", 40_000)}
    assert (spent(store), spent(store, "0usd")) == (0, 0)


@pytest.mark.parametrize(
    ("submits", "polls"),
    [
        ([Uncertain("the answer was cut")], []),
        ([Asleep(400.0)], []),
        ([], [Working()]),
        ([], [Unavailable("away")]),
        ([], [Unauthorized("the key was taken away")]),
        ([], [GenerationFailed("made and billed").as_final().as_charged()]),
        ([], [Ready(())]),
    ],
    ids=["cut", "no answer", "no picture in time", "no contact", "401 at a query", "failed but billed", "no picture"],
)
def test_where_a_charge_cannot_be_ruled_out_the_reservation_stays(
    store: Store, tmp_path: Path, submits: list[Any], polls: list[Any]
) -> None:
    _, charges = after_run(store, Scripted(submits, polls), tmp_path, "1usd")
    assert charges == {1: ("uncertain", 40_000)}
    assert (spent(store), spent(store, "0usd")) == (40_000, 40_000)


@pytest.mark.parametrize("final", [GenerationFailed("no").as_final(), Moderated("no").as_final()])
def test_the_service_s_last_word_that_nothing_was_made_gives_it_back(
    store: Store, tmp_path: Path, final: TaskError
) -> None:
    assert after_run(store, Scripted(polls=[final]), tmp_path)[1] == {1: ("returned", 40_000)}


@pytest.mark.parametrize(("came", "amount"), [(4, 160_000), (3, 120_000), (5, 200_000)])
def test_it_is_settled_with_the_number_of_the_pictures(store: Store, tmp_path: Path, came: int, amount: int) -> None:
    _, charges = after_run(store, Scripted(polls=[ready(came)], expected=4), tmp_path, "1usd", images=4)
    assert charges == {1: ("settled", amount)}
    assert spent(store) == amount
    assert [(one.pictures, one.submits) for one in store.costs("run")] == [(came, 1)]


@pytest.mark.parametrize(
    ("reply", "amount", "source"),
    [
        (Ready(ready().images, cost=Money(52_000, "usd")), 52_000, "told"),
        (Ready(ready().images, cost=Money(0, "usd")), 0, "told"),
        (Ready(ready().images, tokens={"image_out": 30_000}), 30_000, "estimated"),
    ],
    ids=["dearer", "for nothing", "tokens"],
)
def test_what_the_service_tells_replaces_the_reservation(
    store: Store, tmp_path: Path, reply: Ready, amount: int, source: str
) -> None:
    price = Price(source=Source.ESTIMATED)
    _, charges = after_run(store, Scripted(polls=[reply]), tmp_path, "1usd", pricing=price)
    assert charges == {1: ("settled", amount)}
    assert store.charges([1])[1].source == source
    assert spent(store) == amount


def test_what_is_told_with_the_receipt_counts_at_once_and_stays_where_it_is_lost(store: Store, tmp_path: Path) -> None:
    provider = Scripted([Accepted(JOB, cost=Money(50_000, "usd"))], [Unavailable("away")])
    _, charges = after_run(store, provider, tmp_path)
    assert charges == {1: ("uncertain", 50_000)}


def test_another_unit_than_the_reservation_s_opens_no_hole_in_a_budget(store: Store, tmp_path: Path) -> None:
    provider = Scripted([Accepted(JOB, cost=Money(4_000_000, "credits"))])
    provider.steps["submit"] = [lambda one: Accepted(Job(str(one.counts)), cost=Money(4_000_000, "credits"))]
    price = Price(source=Source.ESTIMATED)
    one, _ = after_run(store, provider, tmp_path, "0.08usd", number=4, pricing=price, limit=1)
    assert provider.counts["submit"] == 2
    assert (spent(store, "0usd"), spent(store, "0credits")) == (80_000, 0)  # a budget counts in what was reserved
    assert any(isinstance(event, BudgetReached) for event in one.events)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (CancelOutcome.STOPPED, "returned"),
        (CancelOutcome.REQUESTED, "uncertain"),
        (CancelOutcome.GOES_ON, "uncertain"),
    ],
)
def test_a_cancelled_job_keeps_its_reservation_where_it_may_go_on(
    store: Store, tmp_path: Path, outcome: CancelOutcome, status: str
) -> None:
    tasks = entered(store, tmp_path)
    one = stage(store, Scripted(polls=[Working()], cancels=[outcome]), tmp_path)

    async def cancelled() -> None:
        running = asyncio.ensure_future(one.run_tasks(*tasks))
        await asyncio.sleep(3)
        one.runner.cancel([TaskId(1)])
        await running

    run(cancelled())
    assert found(store, 1) == {1: (status, 40_000)}


@pytest.mark.parametrize("when", ["before", "on its way", "abandoned"])
def test_ctrl_c(store: Store, tmp_path: Path, when: str) -> None:
    """Before it is sent nothing is reserved; on its way it counts, also where the process leaves at once."""
    tasks = entered(store, tmp_path)
    one = stage(store, Scripted([Asleep(100)]), tmp_path)

    async def stopped() -> None:
        running = asyncio.ensure_future(one.run_tasks(*tasks))
        if when == "before":
            one.gate.pause(paused=True)
        await asyncio.sleep(3)
        if when == "abandoned":
            running.cancel()
        else:
            one.runner.stop("Ctrl-C")
        await asyncio.wait([running])

    run(stopped())
    expected = {"before": {}, "on its way": {1: ("uncertain", 40_000)}, "abandoned": {1: ("reserved", 40_000)}}
    assert found(store, 1) == expected[when]
    assert spent(store) == (0 if when == "before" else 40_000)


def test_a_drained_run_gives_back_what_comes_back_to_be_sent_again(store: Store, tmp_path: Path) -> None:
    tasks = entered(store, tmp_path, 3)
    one = stage(store, Scripted([Asleep(5, Busy("later"))]), tmp_path, "1usd")

    async def drained() -> None:
        running = asyncio.ensure_future(one.run_tasks(*tasks))
        await asyncio.sleep(1)
        one.runner.drain()
        await running

    run(drained())
    assert set(found(store, 1, 2, 3).values()) == {("returned", 40_000)}
    assert {one.last[id_].state for id_ in (1, 2, 3)} == {Cancelled(CancelOutcome.NOT_SENT)}


# When it does not fit


@pytest.mark.parametrize(
    ("budget", "sent"), [("0.12usd", 3), ("0.1199usd", 2), ("0usd", 0), ("1usd,0.08usd/day", 2), ("0.04usd/month", 1)]
)
def test_what_does_not_fit_stays_unsent_and_what_is_sent_finishes(
    store: Store, tmp_path: Path, budget: str, sent: int
) -> None:
    provider = Scripted([lambda one: Accepted(Job(str(one.counts)))], [Working(), ready()])
    one, charges = after_run(store, provider, tmp_path, budget, number=8)
    assert provider.counts["submit"] == sent
    states = [one.last[id_].state for id_ in range(1, 9)]
    assert sum(isinstance(state, Done) for state in states) == sent
    assert states.count(Cancelled(CancelOutcome.NOT_SENT)) == 8 - sent
    assert list(charges.values()) == [("settled", 40_000)] * sent
    (reached,) = [event for event in one.events if isinstance(event, BudgetReached)]
    assert "is spent or reserved, and the next task costs 0.04 usd" in reached.because
    assert exit_code(one.last.values(), budget=reached.because) == 6


def test_what_is_given_back_can_be_spent_by_others(store: Store, tmp_path: Path) -> None:
    provider = Scripted([Moderated("no"), Moderated("no"), lambda one: Accepted(Job(str(one.counts)))])
    after_run(store, provider, tmp_path, "0.08usd", number=5, limit=1)
    assert provider.counts["submit"] == 4
    assert spent(store) == 80_000


def test_a_free_service_fits_every_budget_and_an_unknown_price_none(store: Store, tmp_path: Path) -> None:
    provider = Scripted([lambda one: Accepted(Job(str(one.counts)))])
    after_run(store, provider, tmp_path, "0usd", number=3, pricing=Price(None, Source.FREE))
    assert provider.counts["submit"] == 3
    for pricing in (Price(None, Source.UNKNOWN), Price(Money(1, "credits")), None):
        one, _ = after_run(store, provider, tmp_path, "9usd", pricing=pricing)
        assert any(isinstance(event, BudgetReached) for event in one.events), pricing
    assert provider.counts["submit"] == 3


def test_each_unit_has_a_limit_of_its_own(store: Store, tmp_path: Path) -> None:
    provider = Scripted([lambda one: Accepted(Job(str(one.counts)))])
    after_run(store, provider, tmp_path, "0.04usd/day,9credits/day", number=2)
    after_run(
        store, provider, tmp_path, "0.04usd/day,9credits/day", number=9, pricing=Price(Money(2_000_000, "credits"))
    )
    assert provider.counts["submit"] == 1 + 4
    assert (spent(store), spent(store, "0credits/day")) == (40_000, 8_000_000)


def test_alternatives_reserve_with_the_price_of_the_one_that_takes_the_task(store: Store, tmp_path: Path) -> None:
    dear, cheap = Price(), Price(Money(10_000, "usd"))
    refused = Scripted([Unauthorized("no key").as_unspent()])
    other = Scripted([lambda one: Accepted(Job(f"other {one.counts}"))])
    lanes = {"other": Lane(other, Gate(None), 0.5, 300.0, pricing=cheap)}
    alternative = ImageRequest(prompt="a cat", provider="other")
    tasks = entered(store, tmp_path, 3, alternatives=(alternative,))
    one = stage(store, refused, tmp_path, "0.08usd", others=lanes, pricing=dear)
    run(one.run_tasks(*tasks))
    assert [one.last[task.id].state for task in tasks if isinstance(one.last[task.id].state, Done)]
    taken: dict[int, str] = {task.id: one.last[task.id].request.provider for task in tasks}
    for id_, (status, amount) in found(store, *taken).items():
        price = cheap if taken[TaskId(id_)] == "other" else dear
        assert (status, amount) in (("settled", price.each and price.each.micros), ("returned", 40_000))
    assert {one.key for one in store.costs("provider")} == {"other"}


# Retried, resumed, taken over


def test_a_retry_is_a_charge_of_its_own_only_where_the_first_may_be_paid(store: Store, tmp_path: Path) -> None:
    after_run(store, Scripted([Moderated("no")]), tmp_path)
    again, _, _ = store.claim([(record(store, 1), Queued())], again=True)
    run(stage(store, Scripted(), tmp_path).run_tasks(*again))
    assert [(one.submits, str(one.status)) for one in store.costs("run")] == [(1, "settled")]
    assert spent(store) == 40_000


def test_a_retry_that_the_budget_refuses_leaves_the_task_as_it_was(store: Store, tmp_path: Path) -> None:
    after_run(store, Scripted([Moderated("no")]), tmp_path)
    again, _, _ = store.claim([(record(store, 1), Queued())], again=True)
    run(stage(store, Scripted(), tmp_path, "0.03usd").run_tasks(*again))
    asyncio.run(store.flush())
    state = record(store, 1).task.state
    assert isinstance(state, Failed)
    assert state.reason is Reason.MODERATED
    assert spent(store) == 0


def test_a_resumed_task_settles_what_was_uncertain(store: Store, tmp_path: Path) -> None:
    after_run(store, Scripted(polls=[Unavailable("away")]), tmp_path)
    before = record(store, 1)
    tasks, _, _ = store.claim([(before, recovered(before.task).state)])
    assert found(store, 1) == {1: ("reserved", 40_000)}
    run(stage(store, Scripted(), tmp_path).run_tasks(*tasks))
    assert found(store, 1) == {1: ("settled", 40_000)}
    assert [one.submits for one in store.costs("run")] == [1]


@pytest.fixture
def left(tmp_path: Path) -> Iterator[tuple[Store, Task]]:
    """A history whose process is gone, with a task that was being sent."""
    with closing(Store(tmp_path / "history.db", process=GONE)) as store:
        (task,) = entered(store, tmp_path)
        task = task.to(Submitting(None, Quote(1, FOUR_CENTS, Source.SET)))
        store.record(TaskChanged(time.time(), task))
        asyncio.run(store.flush())
        yield store, task


def taken(path: Path, store: Store) -> list[Task]:
    """What another process makes of it that knows the first to be dead."""
    before = record(store, 1)._replace(process=None)
    tasks, owned, changed = store.claim([(before, recovered(before.task).state)])
    assert (owned, changed) == ([], []), path
    return tasks


def silent(store: Store) -> None:
    """Let the process elsewhere count as dead."""
    store._db.execute("DELETE FROM process WHERE host = ?", (GONE.host,))


def test_what_another_process_left_while_sending_counts_until_a_word_settles_it(
    left: tuple[Store, Task], tmp_path: Path
) -> None:
    with closing(Store(tmp_path / "history.db")) as other:
        assert found(other, 1) == {1: ("reserved", 40_000)}, "it may live"
        silent(other)
        assert found(other, 1) == {1: ("uncertain", 40_000)}
        assert [str(one.status) for one in other.costs("run")] == ["uncertain"]
        taken(tmp_path, other)
        assert found(other, 1) == {1: ("uncertain", 40_000)}
        assert spent(other) == 40_000
        assert other.settle([1], parse_money("0usd")).keys() == {1}
        taken(tmp_path, other)
        assert found(other, 1) == {1: ("returned", 40_000)}, "a claim changes nothing that a person settled"
        assert spent(other) == 0


def test_a_receipt_and_a_cost_that_come_late_count(left: tuple[Store, Task], tmp_path: Path) -> None:
    late, task = left
    with closing(Store(tmp_path / "history.db")) as other:
        silent(other)
        taken(tmp_path, other)
        late.record(TaskChanged(time.time(), task.to(Running(JOB))))
        late.record(TaskCharged(time.time(), task.id, Money(30_000, "usd"), Source.TOLD))
        asyncio.run(late.flush())
        assert late.lost == {1}
        assert found(other, 1) == {1: ("uncertain", 30_000)}, "no process owns the task"
        before = record(other, 1)
        tasks, _, _ = other.claim([(before, before.task.state)])
        run(stage(other, Scripted(), tmp_path).run_tasks(*tasks))
        assert found(other, 1) == {1: ("settled", 30_000)}


def test_a_person_settles_while_a_process_that_seemed_dead_goes_on(left: tuple[Store, Task], tmp_path: Path) -> None:
    late, task = left
    with closing(Store(tmp_path / "history.db")) as other, other._transaction():
        charges.settle(other._db, 1, parse_money("0.07usd"))  # as a process does that takes `late` for dead
    late.record(TaskChanged(time.time(), task := task.to(Running(JOB))))
    late.record(TaskChanged(time.time(), task.to(Saving((RemoteImage("http://pictures/1"),), JOB))))
    asyncio.run(late.flush())
    assert found(late, 1) == {1: ("settled", 70_000)}


# Several commands, and the calendar


def test_two_commands_share_a_day_and_have_their_own_sums(store: Store, where: Place, tmp_path: Path) -> None:
    provider = Scripted([lambda one: Accepted(Job(str(one.counts)))])
    with closing(opened(where)) as other:
        after_run(store, provider, tmp_path, "0.12usd/day,9usd", number=2)
        after_run(other, provider, tmp_path, "0.12usd/day,0.08usd", number=9)
        assert provider.counts["submit"] == 3
        assert (spent(store, "0usd"), spent(other, "0usd"), spent(other)) == (80_000, 40_000, 120_000)
        after_run(other, provider, tmp_path, "9usd/day,0.08usd", number=9)
        assert provider.counts["submit"] == 4


MIDNIGHT = time.mktime((2026, 11, 27, 0, 0, 0, 0, 0, -1))
NEW_MONTH = time.mktime((2026, 12, 1, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("limit", "at", "later", "fits"),
    [
        ("0.04usd/day", MIDNIGHT - 1, MIDNIGHT - 0.5, False),
        ("0.04usd/day", MIDNIGHT - 1, MIDNIGHT, True),
        ("0.04usd/month", MIDNIGHT - 1, MIDNIGHT, False),
        ("0.04usd/month", NEW_MONTH - 1, NEW_MONTH, True),
        ("0.04usd/day,0.04usd/month", NEW_MONTH - 1, NEW_MONTH, True),
        ("0.04usd", MIDNIGHT - 1, MIDNIGHT, False),
    ],
)
def test_a_day_and_a_month_end_at_midnight(
    store: Store, tmp_path: Path, limit: str, at: float, later: float, fits: bool
) -> None:
    if store.is_remote:
        pytest.skip("the days of a shared history are those of its server's clock, which no test can set")
    store.budget.limits = parse_limits(limit)
    for task, moment in zip(entered(store, tmp_path, 2), (at, later), strict=True):
        store.record(TaskChanged(moment, task.to(Submitting(None, Quote(1, FOUR_CENTS, Source.SET)))))
        asyncio.run(store.flush())
    assert (not store.budget.refused) is fits


# Exit codes


@pytest.mark.parametrize(
    ("states", "budget", "code"),
    [
        ([Failed(Reason.UNAUTHORIZED, "401"), Cancelled(CancelOutcome.NOT_SENT)], "no more", 3),
        ([Failed(Reason.UNAUTHORIZED, "401"), Done(("1.png",))], "no more", 6),
        ([Failed(Reason.TIMEOUT, "late", job=JOB), Cancelled(CancelOutcome.NOT_SENT)], "no more", 6),
        ([Failed(Reason.TIMEOUT, "late", job=JOB), Cancelled(CancelOutcome.NOT_SENT)], "", 5),
        ([Failed(Reason.MODERATED, "no"), Cancelled(CancelOutcome.NOT_SENT)], "", 1),
        ([Done(("1.png",)), Cancelled(CancelOutcome.NOT_SENT)], "no more", 6),
        ([Cancelled(CancelOutcome.NOT_SENT)], "no more", 6),
    ],
)
def test_the_first_of_3_6_5_1_applies(states: list[Any], budget: str, code: int) -> None:
    request = ImageRequest(prompt="a cat", provider="scripted")
    tasks = [
        Task(id=TaskId(n), run=entered_run(), request=request, state=state, folder=".", name="")
        for n, state in enumerate(states)
    ]
    assert exit_code(tasks, budget=budget) == code


def entered_run() -> Any:
    return 1


# The same by a model

PRICES = st.sampled_from([FOUR_CENTS, Money(70_000, "usd"), Money(3_000_000, "credits"), Money(250_000, "cny"), None])
TOLD = st.sampled_from([Money(30_000, "usd"), Money(55_001, "usd"), Money(0, "usd"), Money(4_000_000, "credits")])
IMAGES = tuple(RemoteImage(f"http://pictures/{number}") for number in range(4))
LOST = Failed(Reason.UNCERTAIN, "lost", may_be_paid=True)
NEXT: dict[type[Any], list[Any]] = {
    Queued: [Submitting],
    Submitting: [Running(JOB), Saving(IMAGES[:2], JOB), Queued(), LOST, Failed(Reason.MODERATED, "no"),
                 Cancelled(CancelOutcome.GOES_ON), Cancelled(CancelOutcome.STOPPED)],
    Running: [Saving(IMAGES[:1], JOB), Saving(IMAGES, JOB), Failed(Reason.TIMEOUT, "late", job=JOB),
              Failed(Reason.SERVER, "no", job=JOB, final=True), Cancelled(CancelOutcome.GOES_ON, JOB)],
    Saving: [Saving(IMAGES[:3], JOB), Done(("1.png", "2.png"), job=JOB), Running(JOB),
             Failed(Reason.DISK, "full", images=IMAGES[:2])],
    Failed: [], Done: [], Cancelled: [],
}  # fmt: skip
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), PRICES, st.integers(1, 4), st.none() | TOLD | st.integers(0, 4)),
    max_size=25,
)


@pytest.mark.program  # it takes seconds
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_sums_by_sql_equal_those_of_a_model_and_the_board_s(tmp_path_factory: Any, steps: Any) -> None:
    """Random states and told amounts, in random order over three tasks."""
    folder = tmp_path_factory.mktemp("model")
    with closing(Store(folder / "history.db")) as store:
        tasks = dict(enumerate(entered(store, folder, 6)))
        board, model = Board(), dict[int, Charge]()
        now = time.time()
        wide = tuple(Limit(Money(10**15, unit), period) for unit in UNITS for period in Period)

        def tell(event: Any) -> None:
            store.record(event)
            asyncio.run(store.flush())
            board.tell(event)

        for number, choice, each, images, told in steps:
            task = tasks[number]
            if options := possible(task.state, model.get(number)):
                state = options[choice % len(options)]
                if state is Submitting:
                    store.budget.limits = wide if each else ()
                    quote = Quote(images, each, Source.ESTIMATED if each else Source.UNKNOWN)
                    state, model[number] = Submitting(None, quote), reserved(quote)
                elif number in model:
                    model[number] = after(model[number], state)
                tasks[number] = task = task.to(state)
                tell(TaskChanged(now, task))
            if number in model and told is not None:
                model[number], event = by_service(model[number], task.id, told, settled=choice == 0)
                tell(event)
        asyncio.run(store.flush())
        living = [one for one in model.values() if one.status is not ChargeStatus.RETURNED and one.amount is not None]
        for number, unit in enumerate(("usd", "credits", "cny"), 3):
            for status in (ChargeStatus.RESERVED, ChargeStatus.SETTLED, ChargeStatus.UNCERTAIN):
                expected = sum(
                    one.amount.micros
                    for one in living
                    if one.amount and (one.amount.unit, one.status) == (unit, status)
                )
                sums = [
                    one.amount.micros
                    for one in store.costs("run")
                    if one.amount and (one.unit, one.status) == (unit, status)
                ]
                shown = [amount.micros for amount in board.costs.amounts(status) if amount.unit == unit]
                assert (sum(sums), sum(shown)) == (expected, expected)
            counted = sum(_counted(one, unit) for one in model.values())
            for period in Period:
                assert store.spent(Limit(Money(0, unit), period)).micros == counted
                assert not fits(store, tasks[number], Limit(Money(counted, unit), period))
            assert fits(store, tasks[number], *(Limit(Money(counted + 1, unit), period) for period in Period))
            store.record(TaskChanged(now, tasks[number].to(Submitting(None)).to(Queued())))
        assert {tasks[number].id: charge for number, charge in model.items()} == {
            id_: one._replace(quote=model[id_ - 1].quote) for id_, one in store.charges([1, 2, 3]).items()
        }


def possible(state: Any, charge: Charge | None) -> list[Any]:
    """What may follow. A service that says that it charges a request has accepted it."""
    is_settled = charge is not None and charge.status is ChargeStatus.SETTLED
    return [one for one in NEXT[type(state)] if not (is_settled and isinstance(one, Queued))]


def by_service(charge: Charge, id_: TaskId, told: Money | int, *, settled: bool) -> tuple[Charge, Event]:
    """What the service says: an amount, which may be certain, or how many pictures it charges."""
    if isinstance(told, int):
        return as_counted(charge, told), PicturesCharged(time.time(), id_, told)
    now = as_told(charge, told)
    return as_settled(now) if settled else now, TaskCharged(time.time(), id_, told, Source.TOLD, settled)


def fits(store: Store, task: Task, *limits: Limit) -> bool:
    """Whether the smallest amount there is still fits, as the connection knows it that writes."""
    store.budget.limits = limits
    store.budget.refused.clear()
    quote = Quote(1, Money(1, limits[0].amount.unit), Source.SET)
    store.record(TaskChanged(time.time(), task.to(Submitting(None, quote))))
    asyncio.run(store.flush())
    return not store.budget.refused


def _counted(charge: Charge, unit: str) -> int:
    """What counts against a limit."""
    amount = None if charge.status is ChargeStatus.RETURNED else charge.amount
    return amount.micros if amount is not None and amount.unit == unit else 0
