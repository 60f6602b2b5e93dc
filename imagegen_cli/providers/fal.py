"""fal: a queue before every model, with three addresses as the receipt.

Protocol facts are from fal's pages on the queue and on errors and from its Python client. There is no failed state:
a request that failed is completed, with the model's own HTTP error as its result.

Prices are told by another host of fal's (Platform API, `GET /v1/models/pricing`), which takes the same key. A result
says in `x-fal-billable-units` how many of the priced units it took, whatever the unit is; a 5xx is never billed, and a
422 may be.
"""

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from http import HTTPStatus
from typing import Any, ClassVar

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import GenerationFailed, Moderated, OutOfCredits, TaskError, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.money import Money, Price, told
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report, Upscaling
from imagegen_cli.core.references import examined, referred
from imagegen_cli.core.schema import Secret, setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import GONE, Answer, message_in

MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)+", re.ASCII)
MAX_IMAGES = 4
UPSCALER = "fal-ai/esrgan"
"""A model that makes a picture larger. By its page it takes `image_url` and `scale` from 1 to 8, and no prompt."""
ADDRESSES = ("status", "response", "cancel")
DOMAINS = ("fal.run", "fal.ai")
PRESETS = {
    "1:1": "square_hd",
    "3:4": "portrait_4_3",
    "9:16": "portrait_16_9",
    "4:3": "landscape_4_3",
    "16:9": "landscape_16_9",
}
"""Ratio -> image_size."""
STOPS = {
    "OK": CancelOutcome.STOPPED,
    "CANCELLATION_REQUESTED": CancelOutcome.REQUESTED,
    "ALREADY_COMPLETED": CancelOutcome.TOO_LATE,
}
"""A cancelled request that waits is removed, one that runs gets a signal; NOT_FOUND says nothing about either."""
MAX_QUEUE = 10**9
PLATFORM_URL = "https://api.fal.ai/v1"
MAX_PRICED_MODELS = 50
"""Models that one question about prices may name."""
MAX_PRICE_WAIT_S = 3.0
"""The longest that a result waits for the price of its units."""


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://queue.fal.run", Message("address of the queue"))
    key_id: Secret = setting(Secret(), Message("first half of a key that came in two, instead of api_key"))
    key_secret: Secret = setting(Secret(), Message("second half of it"))
    model: str = setting(
        "fal-ai/flux/dev", Message("model when --model is not given: owner/app, or with a path below it")
    )
    concurrency: int = setting(
        8, Message("tasks in the queue at once; more of them only wait there; 0 lifts the limit")
    )
    ratio_field: str = setting(
        "image_size",
        Message("input field for --ratio: image_size takes five of them as presets, aspect_ratio any as it stands"),
    )
    platform_url: str = setting(
        "",
        Message(
            "address that tells prices, on the queue's own host; empty: {platform_url} where the queue is fal's own"
        ).format(platform_url=PLATFORM_URL),
    )
    image_list: bool = setting(False, Message("send even one reference as image_urls, as many editing models want it"))  # noqa: FBT003 - its name says it

    environment: ClassVar[Mapping[str, str]] = {
        "api_key": "FAL_KEY",
        "key_id": "FAL_KEY_ID",
        "key_secret": "FAL_KEY_SECRET",
    }


class Fal(common.HttpProvider[Settings]):
    kind = "fal"
    title = Message("fal: any model of its queue, by owner/app")
    declares_options = False

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._auth = common.Key(_whole_key(settings), self._base, prefix="Key ", domains=DOMAINS)
        self._platform = settings.platform_url.rstrip("/") or (PLATFORM_URL if _is_of_fal(self._base) else "")
        self._price_rows: dict[str, dict[str, Any]] = {}
        """By model, as the endpoint tells them; empty where it did not."""
        self._asking = asyncio.Lock()

    def check(self, request: ImageRequest) -> None:
        rules.check(self._rules(request))
        self._input(request, examined(request.references))

    def upscaling(self, factor: float) -> Upscaling:
        return Upscaling(UPSCALER, {"scale": f"{factor:g}"})

    def max_images(self, request: ImageRequest) -> int:  # noqa: ARG002 - it is the same for every request
        return MAX_IMAGES

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:  # noqa: ARG002
        self.check(request)
        fields = self._input(request, [referred(reference) for reference in request.references])
        answer = await self._send("POST", f"{self._base}/{self._model(request)}", paid=True, json=fields)
        _refuse_content(answer)
        if answer.status == HTTPStatus.FORBIDDEN and "balance" in message_in(answer).lower():
            raise OutOfCredits(message_in(answer)).as_unspent()
        receipt = common.body_of(answer, paid=True)
        job_id = common.text(receipt.get("request_id"))
        addresses = {name: common.link(receipt.get(f"{name}_url")) for name in ADDRESSES}
        if not job_id or not addresses["status"]:
            raise Uncertain(Message("the service gave no address to ask at; {charged}").format(charged=common.CHARGED))
        model = self._model(request)
        return Accepted(
            Job(job_id, json.dumps({**addresses, "model": model})), common.facts(model=model, request_id=job_id)
        )

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        addresses = _addresses(job)
        status = common.body_of(await self._send("GET", addresses["status"], params={"logs": "1"}), paid=False)
        common.about(job.id, status.get("request_id"))
        word = common.state_in(status)
        if word == "COMPLETED":
            error = common.text(status.get("error")) or common.text(status.get("error_type"))
            address = addresses["response"] or common.link(status.get("response_url"))
            return await self._result(address, error, _receipt(job).get("model"))
        place = common.natural(status.get("queue_position"), MAX_QUEUE)
        log = "\n".join(str(line.get("message")) for line in common.tables(status.get("logs")))
        known = word in ("IN_QUEUE", "IN_PROGRESS")
        return Working(fraction=common.fraction_in(log), queue_position=place, note="" if known else word)

    async def cancel(self, job: Job) -> CancelOutcome:
        address = _addresses(job)["cancel"]
        if not address:
            return CancelOutcome.GOES_ON
        answer = await self._send("PUT", address)
        return STOPS.get(common.text(common.table(answer.body).get("status")), CancelOutcome.GOES_ON)

    async def prices(self, models: Collection[str]) -> Mapping[str, Price | None]:
        """Only pictures and megapixels have a price that is known before the request; most other units are seconds."""
        found = await self._asked_prices(list(models)[:MAX_PRICED_MODELS]) if self._platform and models else {}
        return {model: _price(row) for model, row in found.items() if model in models}

    async def _asked_prices(self, models: Sequence[str]) -> dict[str, dict[str, Any]]:
        url = f"{self._platform}/models/pricing"
        body = common.body_of(await self._send("GET", url, params={"endpoint_id": ",".join(models)}), paid=False)
        rows = sorted(common.tables(body.get("prices")), key=lambda row: common.number(row.get("unit_price")) or 0)
        return {common.text(row.get("endpoint_id")): row for row in rows}  # of several for a model the dearest

    async def _cost(self, answer: Answer, model: Any) -> Money | None:
        """What a result cost by the units that it says it took; None where they or their price are not told.

        Pictures that are paid for never wait long for this, and never fail by it.
        """
        units = _units(answer)
        if units is None or not self._platform or not isinstance(model, str) or not MODEL.fullmatch(model):
            return None
        async with self._asking:
            if model not in self._price_rows:
                self._price_rows[model] = {}
                with suppress(TaskError, TimeoutError):
                    async with asyncio.timeout(MAX_PRICE_WAIT_S):
                        self._price_rows |= await self._asked_prices([model])
        return _amount(self._price_rows[model], units)

    async def _result(self, address: str, error: str, model: Any) -> Ready:
        """The pictures, fetched at once: fal keeps a large result for six minutes."""
        answer = await self._send("GET", address)
        cost = None if answer.is_server_error else await self._cost(answer, model)
        try:
            return replace(self._read(answer, error), cost=cost)
        except TaskError as refused:
            unsaid = cost is None and _units(answer) != 0
            may_be_billed = unsaid and answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
            raise (refused.as_charged() if may_be_billed else refused.as_billed(cost)) from None

    def _read(self, answer: Answer, error: str) -> Ready:
        _refuse_content(answer)
        if answer.is_server_error and _is_of_the_model(answer, error):
            message = (
                message_in(answer)
                or error
                or Message("the model answered with HTTP {status}").format(status=answer.status)
            )
            raise GenerationFailed(message).as_final()
        if error and (answer.status in GONE or answer.is_success):
            raise GenerationFailed(error).as_final()
        return _ready(common.body_of(answer, paid=False))

    def _rules(self, request: ImageRequest) -> Iterator[rules.Rule]:
        model = self._model(request)
        yield from rules.prompt(request)
        known = Message("write owner/app, such as fal-ai/flux/dev")
        yield (
            not MODEL.fullmatch(model),
            Message("{model} is not the name of a model: {known}").format(model=rules.shown(model), known=known),
        )
        yield rules.count(request, MAX_IMAGES)
        sized = rules.is_sized(request)
        yield sized and None in (request.width, request.height), Message("width and height come together")
        presets = self._settings.ratio_field == "image_size"
        known = Message("fal has sizes for {known}: give --size for others, or set ratio_field to aspect_ratio").format(
            known=", ".join(PRESETS)
        )
        yield presets and bool(request.ratio) and request.ratio not in PRESETS, known
        yield presets and rules.size_or_ratio(request)[0], rules.size_or_ratio(request)[1]
        size = Message(
            "the models here have no common size classes: give --size or --ratio, or the model's own field in extra"
        )
        yield bool(request.resolution), size

    def _input(self, request: ImageRequest, pictures: Sequence[str]) -> dict[str, Any]:
        field = self._settings.ratio_field
        named: dict[str, Any] = {
            "prompt": "" if self._model(request) == UPSCALER else request.prompt,
            "num_images": request.count,
            "seed": request.seed if rules.has_seed(request) else None,
            "negative_prompt": request.negative,
            field: PRESETS[request.ratio] if request.ratio and field == "image_size" else request.ratio,
        }
        if request.width is not None:
            named["image_size"] = {"width": request.width, "height": request.height}
        if len(pictures) == 1 and (not self._settings.image_list or self._model(request) == UPSCALER):
            named["image_url"] = pictures[0]
        elif pictures:
            named["image_urls"] = list(pictures)
        return common.options(named, request.extra)


def _whole_key(settings: Settings) -> Secret:
    """The one key, or both halves as fal writes them together."""
    if settings.api_key or not (settings.key_id and settings.key_secret):
        return settings.api_key
    return Secret(f"{settings.key_id.reveal()}:{settings.key_secret.reveal()}")


def _is_of_fal(base_url: str) -> bool:
    there = common.address(base_url)
    return there is not None and any(there.host == one or there.host.endswith(f".{one}") for one in DOMAINS)


def _receipt(job: Job) -> dict[str, Any]:
    """What the receipt holds: the addresses, and the model; a bare address is the status's."""
    try:
        return common.table(json.loads(job.url))
    except (ValueError, RecursionError):
        return {"status": job.url}


def _addresses(job: Job) -> dict[str, str]:
    """The three that came with the receipt, since fal says not to build them."""
    found = _receipt(job)
    return {name: common.link(found.get(name)) for name in ADDRESSES}


def _units(answer: Answer) -> Decimal | None:
    """How many priced units a result took; None where it does not say so in a number that can be meant."""
    words = answer.headers.get("x-fal-billable-units", "").strip()
    return Decimal(words) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", words) else None


def _amount(row: Mapping[str, Any], units: Decimal | int = 1) -> Money | None:
    """What so many units cost. The price is not rounded before: a second of a machine costs less than a millionth."""
    each = common.number(row.get("unit_price"))
    return told(Decimal(str(each)) * units, common.text(row.get("currency")).lower()) if each is not None else None


def _price(row: Mapping[str, Any]) -> Price | None:
    """The price of one picture, or of a million pixels; None for units that no request names, such as seconds."""
    each, unit = _amount(row), common.text(row.get("unit")).lower().removesuffix("s")
    return Price(each, unit == "megapixel") if each is not None and unit in ("image", "megapixel") else None


def _refuse_content(answer: Answer) -> None:
    """Raise Moderated for the one type of a 422 that is not a bad request. The errors are in `detail`, or alone."""
    errors = common.tables(common.table(answer.body).get("detail")) or common.tables(answer.body)
    found = next((error for error in errors if error.get("type") == "content_policy_violation"), None)
    if found is not None:
        where = ", ".join(word for value in common.items(found.get("categories")) if (word := common.text(value)))
        message = common.text(found.get("msg")) or Message("the content was refused")
        raise Moderated(
            Message("{message} ({where})").format(message=message, where=where) if where else message
        ).as_final()


def _is_of_the_model(answer: Answer, error: str) -> bool:
    """Whether an error has fal's own form, or the status named one before: a gateway too may write a `detail`."""
    body = common.table(answer.body)
    if common.text(body.get("error_type")):
        return True
    details = [common.table(one) for one in common.items(body.get("detail"))]
    if not details:
        return bool(error and body)
    return all(common.text(one.get(key)) for one in details for key in ("type", "msg"))


def _ready(result: dict[str, Any]) -> Ready:
    listed = common.items(result.get("images")) or [result.get("image")]
    found = [common.picture(item.get("url") if isinstance(item, dict) else item) for item in listed]
    images = tuple(image for image in found if image is not None)
    if not images:
        raise GenerationFailed(Message("the model says that it is finished, but made no pictures"))
    marked = sum(mark is True for mark in common.items(result.get("has_nsfw_concepts")))
    if marked >= len(images):
        raise Moderated(Message("the model marked every picture as unsafe, and sends black ones instead")).as_final()
    unsafe = (
        Message("the model marked {marked} of {count} pictures as unsafe: they may be black").format(
            marked=marked, count=len(images)
        )
        if marked
        else ""
    )
    notes = filter(None, (common.lost_note(len(listed) - len(images), len(listed)), unsafe))
    facts = common.facts(seed=result.get("seed"), revised_prompt=result.get("prompt"))
    return Ready(images, note=joined("; ", notes), facts=facts)


PROVIDER: type[Provider[Any]] = Fal
