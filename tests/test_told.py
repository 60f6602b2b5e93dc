"""What services tell of costs, as the history has it afterwards."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.commands.price_queries import endpoint_prices, tells_prices
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import BadRequest, GenerationFailed, Moderated, TaskError
from imagegen_cli.core.events import PicturesCharged, TaskCharged
from imagegen_cli.core.money import Money, Price, Quote, Source, parse_money, totals
from imagegen_cli.core.provider import Accepted
from imagegen_cli.core.task import ImageRequest, Job, Task
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.storage import serialize
from imagegen_cli.storage.store import Store
from tests.clock import run
from tests.doubles.bfl import KEY as BFL_KEY, BflService
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.fal import KEY as FAL_KEY, FalQueue
from tests.doubles.http import Fault, Reply, Service
from tests.doubles.jimeng import KEY as POOL_KEY, JimengGateway
from tests.doubles.openai import ImageServer
from tests.program import Program
from tests.scripted import Scripted, Stage, ready
from tests.test_spending import lasting

FLUX = "fal-ai/flux/dev"


# The double's bill equals the history


@dataclass(frozen=True)
class Case:
    make: Callable[[], Any]
    settings: str
    prompts: tuple[str, ...]
    unit: str
    bill: str
    options: tuple[str, ...] = ()


def fal() -> FalQueue:
    queue = FalQueue()
    queue.prices = {FLUX: (0.025, "megapixels", "USD")}
    return queue


def flask() -> DreaminaServer:
    server = DreaminaServer()
    server.credit_count = 2
    return server


def pool() -> JimengGateway:
    gateway = JimengGateway(dialect="pool")
    gateway.credit_count = 4
    return gateway


MIXED = ("one #fine", "two #fine", "three #moderated", "four #partial", "five #none")
CASES = {
    "bfl": Case(
        BflService, f'kind = "bfl"\napi_key = "{BFL_KEY}"',
        ("one", "two", "three #blocked", "four #withheld", "five #error", "six #cheaper"), "credits", "9.75",
    ),
    "fal": Case(
        fal, f'kind = "fal"\napi_key = "{FAL_KEY}"\nplatform_url = "URL/v1"',
        ("one", "two #some", "three #policy", "four #all", "five #fail", "six #broken"), "usd", "0.2375", ("-n", "2"),
    ),
    "xai": Case(
        lambda: ImageServer("xai"), 'kind = "openai"\ndialect = "xai"', MIXED, "usd", "0.12", ("-n", "2"),
    ),
    "recraft": Case(
        lambda: ImageServer("recraft"), 'kind = "openai"\ndialect = "recraft"\nmodel = "recraftv3"',
        MIXED, "credits", "240", ("-n", "2"),
    ),
    "litellm": Case(
        lambda: ImageServer("litellm"), 'kind = "openai"\ndialect = "litellm"', MIXED, "usd", "0.24", ("-n", "2"),
    ),
    "gateway": Case(
        lambda: ImageServer("generic"), 'kind = "openai"\ndialect = "generic"\ncost_unit = "usd"\nmodel = "flux"',
        MIXED, "usd", "0.09", ("-n", "2"),
    ),
    "dreamina": Case(
        flask, 'kind = "dreamina"', ("one", "two #fail", "three #partial", "four #30"), "credits", "4"
    ),
    "jimeng": Case(
        pool, f'kind = "jimeng"\ndialect = "ratio"\napi_key = "{POOL_KEY}"',
        ("one", "two #forbidden", "three #partial", "four #text"), "credits", "8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_bill_of_a_mixed_run_equals_what_the_history_was_told(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with case.make() as server:
        base = server.base_url if isinstance(server, ImageServer) else server.url
        settings = case.settings.replace("URL", server.url)
        program = Program(tmp_path, f'[providers.studio]\nbase_url = "{base}"\npoll = 0.01\n{settings}\n')
        program.run("run", *case.prompts, "-p", "studio", *case.options, "-q", "--yes")
        states = [task["state"] for task in program.tasks()]
        assert {"done", "failed"} == set(states), states
    assert server.bill == Decimal(case.bill)
    settled = [one for one in costs(program) if one.status is ChargeStatus.SETTLED]
    assert {one.source for one in settled} == {Source.TOLD}
    assert totals(one.amount for one in settled) == {case.unit: parse_money(f"{server.bill}{case.unit}")}


def costs(program: Program) -> Sequence[Any]:
    with closing(Store(program.home / "history.db")) as store:
        return store.costs("provider")


# The price endpoint


@pytest.fixture
def queue() -> Iterator[FalQueue]:
    with fal() as queue:
        yield queue


def configured(queue: Service, tmp_path: Path, more: str = "") -> Program:
    return Program(
        tmp_path,
        f'[providers.studio]\nkind = "fal"\nbase_url = "{queue.url}"\napi_key = "{FAL_KEY}"\n'
        f'platform_url = "{queue.url}/v1"\npoll = 0.01\n{more}',
    )


def test_a_price_endpoint_is_asked_once_a_day(queue: FalQueue, tmp_path: Path) -> None:
    queue.prices[FLUX] = (0.03, "image", "USD")
    program = configured(queue, tmp_path)
    assert "price not known" in program.run("run", "a cat", "-p", "studio", "--dry-run").err
    assert queue.counts["prices"] == 0
    ended = program.run("run", "a cat", "a dog", "-p", "studio", "--budget", "1usd")
    assert (ended.code, "about 0.06 usd (priced)" in ended.err) == (0, True)
    assert queue.counts["prices"] == 2  # before the run, and with the first result, for its units
    queue.prices.clear()
    assert "about 0.03 usd (priced)" in program.run("run", "a cat", "-p", "studio", "--dry-run").err
    assert program.run("run", "a bird", "-p", "studio", "--budget", "1usd").code == 0
    assert queue.counts["prices"] == 2
    age(program, 90_000)
    assert program.run("run", "a bird", "-p", "studio", "--budget", "1usd").code == 2
    assert queue.counts["prices"] == 3


def age(program: Program, seconds: float) -> None:
    with closing(sqlite3.connect(program.home / "history.db", isolation_level=None)) as db:
        db.execute("UPDATE price SET at = at - ?", (seconds,))


def test_megapixels_have_a_price_where_the_size_is_known(queue: FalQueue, tmp_path: Path) -> None:
    program = configured(queue, tmp_path)
    image_request = ("run", "a cat", "-p", "studio", "--budget", "1usd")
    refused = program.run(*image_request)
    assert (refused.code, "is not known" in refused.err, queue.counts["submit"]) == (2, True, 0)
    assert program.run(*image_request, "--size", "1024x1536").code == 0
    assert [one.amount for one in costs(program)] == [Money(25_000, "usd")]


def test_what_the_person_set_needs_no_question(queue: FalQueue, tmp_path: Path) -> None:
    program = configured(queue, tmp_path, '[prices]\n"studio/*" = "0.02usd"\n')
    queue.prices.clear()
    assert "about 0.02 usd (set)" in program.run("run", "a cat", "-p", "studio", "--dry-run").err
    assert program.run("run", "a cat", "-p", "studio").code == 0
    assert queue.counts["prices"] == 0


@pytest.mark.parametrize(
    "trouble", [Fault.REFUSE, Fault.RESET_AFTER, Reply.json([1]), Reply.json({"prices": [{"unit_price": "much"}]})]
)
def test_a_price_query_that_fails_stops_nothing(queue: FalQueue, tmp_path: Path, trouble: Any) -> None:
    if trouble is not Fault.REFUSE:
        queue.fail("prices", trouble, times=None)
    program = configured(queue, tmp_path)
    if trouble is Fault.REFUSE:
        program.configure((program.home / "config.toml").read_text().replace("/v1", "/none"))
    ended = program.run("run", "a cat", "-p", "studio")
    assert (ended.code, "price not known" in ended.err) == (0, False)
    assert [(one.amount, one.status) for one in costs(program)] == [(None, ChargeStatus.SETTLED)]


def test_a_price_query_that_hangs_is_not_waited_for(queue: FalQueue, tmp_path: Path) -> None:
    queue.fail("prices", Fault.STALL, times=None)
    one = settings_of(configured(queue, tmp_path))
    with closing(Store(tmp_path / "prices.db")) as store:
        found = endpoint_prices({"studio": (one, [FLUX])}, store, ask=True, wait_s=0.05)
        asks = [thread for thread in threading.enumerate() if thread.name == "prices"]
    assert (found, len(asks)) == ({}, 1), "the question is still open"


def settings_of(program: Program) -> Configured:
    return config_of(program).provider("studio")


def config_of(program: Program) -> Config:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IMAGEGEN_HOME", str(program.home))
        return load_config()


def test_a_model_without_a_usable_price_is_not_asked_for_again(queue: FalQueue, tmp_path: Path) -> None:
    queue.prices[FLUX] = (0.00017, "compute seconds", "USD")
    one = settings_of(configured(queue, tmp_path))
    with closing(Store(tmp_path / "prices.db")) as store:
        for _ in range(2):
            assert endpoint_prices({"studio": (one, [FLUX])}, store, ask=True) == {}
            assert queue.counts["prices"] == 1
        queue.prices["a/b"] = (0.5, "images", "EUR")
        found = endpoint_prices({"studio": (one, [FLUX, "a/b"])}, store, ask=True)
    assert found == {("studio", "a/b"): Price(parse_money("0.5eur"))}


def test_only_fal_has_a_price_endpoint(tmp_path: Path) -> None:
    program = Program(tmp_path, "\n".join(f'[providers.{kind}]\nkind = "{kind}"' for kind in kinds()))
    config = config_of(program)
    assert [kind for kind in kinds() if tells_prices(config.provider(kind))] == ["fal"]
    assert {kind for kind in kinds() if load(kind).is_free} == {"a1111", "comfyui", "sketch"}


# What the flow says


def charged(tmp_path: Path, provider: Scripted, quote: Quote | None = None) -> list[Any]:
    play = Stage(provider, tmp_path)
    if quote is not None:
        play.lane.pricing = Priced(quote)
    run(play.run_tasks(play.task()))
    return [event for event in play.events if isinstance(event, TaskCharged | PicturesCharged)]


@dataclass(frozen=True)
class Priced:
    one: Quote

    def quote(self, request: ImageRequest, images: int) -> Quote:
        return self.one._replace(images=images)

    def of_tokens(self, request: ImageRequest, tokens: Any) -> Money:
        return Money(sum(tokens.values()), "usd")


THREE = parse_money("3credits")


@pytest.mark.parametrize("kind", [Moderated, GenerationFailed])
def test_a_failure_that_is_charged_says_so(tmp_path: Path, kind: type[TaskError]) -> None:
    error = kind("withheld").as_final().as_billed(THREE)
    (event,) = charged(tmp_path, Scripted(polls=[error]))
    assert (event.amount, event.source, event.settled, error.charged) == (THREE, Source.TOLD, True, True)


@pytest.mark.parametrize("cost", [None, parse_money("0credits")])
def test_a_failure_that_is_free_says_nothing(tmp_path: Path, cost: Money | None) -> None:
    error = Moderated("refused").as_final().as_billed(cost)
    assert (charged(tmp_path, Scripted(polls=[error])), error.charged) == ([], False)


def test_tokens_of_a_failed_request_have_their_price(tmp_path: Path) -> None:
    read, drawn = {"text_in": 7}, {"text_in": 7, "image_out": 20}
    assert not Moderated("no").as_billed(None, read).charged
    error = GenerationFailed("no").as_billed(None, drawn)
    (event,) = charged(tmp_path, Scripted(submits=[error]), Quote(1, None, Source.UNKNOWN))
    assert (event.amount, event.source) == (Money(27, "usd"), Source.ESTIMATED)
    assert event.settled
    assert error.charged


def test_questions_that_end_with_a_cost_keep_it(tmp_path: Path) -> None:
    error = BadRequest("HTTP 422").as_billed(THREE)
    assert [event.amount for event in charged(tmp_path, Scripted(polls=[error]))] == [THREE]


def test_the_number_of_charged_pictures_goes_on(tmp_path: Path) -> None:
    (event,) = charged(tmp_path, Scripted(polls=[replace(ready(2), charged_images=3)], expected=4))
    assert event.images == 3


@pytest.mark.parametrize(
    ("reply", "status", "amount", "source"),
    [
        (replace(ready(2), charged_images=3), ChargeStatus.SETTLED, 120_000, Source.ESTIMATED),
        (ready(2), ChargeStatus.SETTLED, 80_000, Source.ESTIMATED),
        (replace(ready(2), cost=Money(5, "usd"), charged_images=3), ChargeStatus.SETTLED, 5, Source.TOLD),
        (Moderated("no").as_final().as_billed(Money(7, "usd")), ChargeStatus.SETTLED, 7, Source.TOLD),
        (Moderated("no").as_final().as_billed(THREE), ChargeStatus.SETTLED, 160_000, Source.ESTIMATED),
        (Moderated("no").as_final(), ChargeStatus.RETURNED, 160_000, Source.ESTIMATED),
        (GenerationFailed("no").as_final().as_charged(), ChargeStatus.UNCERTAIN, 160_000, Source.ESTIMATED),
    ],
)
def test_the_history_and_the_board_agree_on_a_charge(
    tmp_path: Path, reply: Any, status: ChargeStatus, amount: int, source: Source
) -> None:
    from imagegen_cli.display.board import Board  # noqa: PLC0415 - this test alone

    board = Board()
    with closing(Store(tmp_path / "history.db")) as store:
        task = planned(store, tmp_path)
        play = Stage(
            Scripted(submits=[Accepted(Job("1"))], polls=[reply], expected=4), tmp_path, also=store.record,
            flush=lasting(store),
        )  # fmt: skip
        play.lane.pricing = Priced(Quote(4, Money(40_000, "usd"), Source.ESTIMATED))
        run(play.run_tasks(task))
        charge = store.charges([task.id])[task.id]
        replayed = [
            serialize.to_event(type(event).__name__, event.at, task, serialize.from_event(event)[1])
            if isinstance(event, TaskCharged | PicturesCharged)
            else event
            for event in play.events
        ]
    for event in replayed:
        board.tell(event)
    assert (charge.status, charge.amount, charge.source) == (status, Money(amount, "usd"), source)
    shown = board.rows[task.id].charge
    assert shown is not None
    assert shown._replace(quote=charge.quote) == charge


def planned(store: Store, folder: Path) -> Task:
    from imagegen_cli.storage.records import Planned  # noqa: PLC0415 - this test alone

    numbers = store.reserve(1)
    request = ImageRequest(prompt="a cat", provider="scripted")
    one = Planned(
        id=numbers.tasks[0], name="1-{index}", request=request, expected_images=4, folder=str(folder), identity="1"
    )
    return store.start_run(numbers.run, "run", "", [one])[0]
