"""What a picture costs before it is sent."""

import tomllib
from dataclasses import replace

import pytest

from imagegen_cli.core.money import Money, Price, Source, parse_money
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.settings.prices import LISTED_KINDS, TABLE, PriceList, Service, as_of, estimated, host_of, used

REQUEST = ImageRequest(prompt="a cat", provider="studio")
OPENAI = Service(name="studio", kind="openai", host="api.openai.com")
BFL = Service(name="studio", kind="bfl", host="api.bfl.ai")


@pytest.mark.parametrize(
    ("prices", "each"),
    [
        ({"studio/4.0": "1usd", "openai/4.0": "2usd", "studio/*": "3usd", "openai/*": "4usd"}, "1usd"),
        ({"openai/4.0": "2usd", "studio/*": "3usd", "openai/*": "4usd"}, "2usd"),
        ({"studio/*": "3usd", "openai/*": "4usd"}, "3usd"),
        ({"openai/*": "4usd", "other/4.0": "5usd"}, "4usd"),
    ],
)
def test_the_nearest_price_of_the_person_counts(prices: dict[str, str], each: str) -> None:
    listed = PriceList({name: parse_money(text) for name, text in prices.items()})
    quote = listed.quote(OPENAI, ["4.0"], REQUEST, 3)
    assert (quote.each, quote.source, quote.images) == (parse_money(each), Source.SET, 3)


def test_the_order_is_set_priced_estimated_assumed_unknown() -> None:
    endpoint = {("studio", "flux-2-pro"): Price(Money(1, "credits"))}
    every = PriceList({"studio/*": Money(2, "usd")}, endpoint, Money(3, "usd"))
    assert every.quote(BFL, ["flux-2-pro"], REQUEST, 1).source is Source.SET
    assert replace(every, set_prices={}).quote(BFL, ["flux-2-pro"], REQUEST, 1).source is Source.PRICED
    known = replace(every, set_prices={}, endpoint_prices={})
    assert known.quote(BFL, ["flux-2-pro"], REQUEST, 1).source is Source.ESTIMATED
    assert known.quote(BFL, ["flux-9"], REQUEST, 1).each == Money(3, "usd")
    nothing = PriceList().quote(BFL, ["flux-9"], REQUEST, 1)
    assert (nothing.each, nothing.total, nothing.source) == (None, None, Source.UNKNOWN)


def test_a_service_of_the_persons_own_costs_nothing_unless_they_say_so() -> None:
    own = Service(name="box", kind="comfyui", host="127.0.0.1", is_free=True)
    assert PriceList().quote(own, ["sdxl"], REQUEST, 4).source is Source.FREE
    rented = PriceList({"box/*": Money(10_000, "eur")}).quote(own, ["sdxl"], REQUEST, 4)
    assert (rented.total, rented.source) == (Money(40_000, "eur"), Source.SET)


def test_the_table_counts_for_the_vendors_own_hosts_only() -> None:
    gateway = replace(OPENAI, host="gateway.example")
    assert PriceList().quote(gateway, ["gpt-image-1.5"], REQUEST, 1).source is Source.UNKNOWN
    assert as_of() == "2026-11"


@pytest.mark.parametrize(
    ("model", "request_", "each"),
    [
        ("gpt-image-1.5", replace(REQUEST, width=1024, height=1024, extra={"quality": "low"}), "0.009usd"),
        ("gpt-image-1.5-2025-12-16", replace(REQUEST, extra={"quality": "HIGH"}), "0.2usd"),
        ("gpt-image-1.5", replace(REQUEST, width=1024, height=1024), "0.133usd"),
        ("gpt-image-1.5", REQUEST, "0.2usd"),
    ],
)
def test_quality_and_size_choose_the_entry_and_the_dearest_counts_where_they_are_open(
    model: str, request_: ImageRequest, each: str
) -> None:
    assert estimated(OPENAI, [model], request_) == parse_money(each)


@pytest.mark.parametrize("model", ["gpt-image-1.55", "gpt-image", "gpt-image-1.5-pro", "dall-e-3", ""])
def test_another_model_has_no_price_of_its_neighbour(model: str) -> None:
    assert estimated(OPENAI, [model], REQUEST) is None


@pytest.mark.parametrize(
    ("width", "height", "credits_"),
    [(1024, 1024, "3credits"), (1440, 1376, "4.5credits"), (2048, 2048, "7.5credits"), (512, 512, "3credits")],
)
def test_megapixels_are_counted(width: int, height: int, credits_: str) -> None:
    request = replace(REQUEST, width=width, height=height)
    assert estimated(BFL, ["flux-2-pro"], request) == parse_money(credits_)


def test_tokens_that_a_service_tells_have_a_price_where_every_sort_of_them_has_one() -> None:
    tokens = {"text_in": 10, "image_in": 0, "text_out": 0, "image_out": 1056}
    assert used(OPENAI, "gpt-image-2", tokens) == parse_money("0.03173usd")
    assert used(OPENAI, "gpt-image-2", tokens | {"text_out": 5}) is None
    assert used(OPENAI, "gpt-4o", tokens) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [("https://API.bfl.ai/v1", "api.bfl.ai"), ("http://user:key@host:80/x", "host"), ("", ""), ("studio", "")],
)
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


def test_the_table_is_read_for_the_kinds_that_it_lists_and_for_no_others() -> None:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    assert {kind for vendor in table["vendors"] for kind in vendor["kinds"]} == LISTED_KINDS
