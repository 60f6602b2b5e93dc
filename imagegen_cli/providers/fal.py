"""fal: a queue before every model, with three addresses as the receipt.

Protocol facts are from fal's pages on the queue and on errors and from its Python client. There is no failed state:
a request that failed is completed, with the model's own HTTP error as its result.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import GenerationFailed, Moderated, OutOfCredits, Uncertain
from imagegen_cli.core.events import Working
from imagegen_cli.core.provider import Accepted, Clients, Provider, Ready, Report
from imagegen_cli.core.references import examined, referred
from imagegen_cli.core.schema import Secret, setting
from imagegen_cli.core.task import CancelOutcome, ImageRequest, Job
from imagegen_cli.providers import _common as common, _rules as rules
from imagegen_cli.providers._http import GONE, Answer, message_in

MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)+", re.ASCII)
MAX_IMAGES = 4
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


@dataclass(frozen=True, kw_only=True)
class Settings(base.Settings):
    base_url: str = setting("https://queue.fal.run", "address of the queue")
    key_id: Secret = setting(Secret(), "first half of a key that came in two, instead of api_key")
    key_secret: Secret = setting(Secret(), "second half of it")
    model: str = setting("fal-ai/flux/dev", "model when --model is not given: owner/app, or with a path below it")
    concurrency: int = setting(8, "tasks in the queue at once; more of them only wait there; 0 lifts the limit")
    ratio_field: str = setting(
        "image_size", "input field for --ratio: image_size takes five of them as presets, aspect_ratio any as it stands"
    )
    image_list: bool = setting(False, "send even one reference as image_urls, as many editing models want it")  # noqa: FBT003 - its name says it

    environment: ClassVar[Mapping[str, str]] = {
        "api_key": "FAL_KEY",
        "key_id": "FAL_KEY_ID",
        "key_secret": "FAL_KEY_SECRET",
    }


class Fal(common.HttpProvider[Settings]):
    kind = "fal"
    title = "fal: any model of its queue, by owner/app"

    def __init__(self, settings: Settings, clients: Clients) -> None:
        super().__init__(settings, clients)
        self._auth = common.Key(_whole_key(settings), self._base, prefix="Key ", domains=DOMAINS)

    def check(self, request: ImageRequest) -> None:
        rules.check(self._rules(request))
        self._input(request, examined(request.references))

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
        addresses = {name: common.link(receipt.get(f"{name}_url")) for name in ("status", "response", "cancel")}
        if not job_id or not addresses["status"]:
            raise Uncertain(f"the service gave no address to ask at; {common.CHARGED}")
        return Accepted(Job(job_id, json.dumps(addresses)), common.facts(model=self._model(request), request_id=job_id))

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002 - the answer says it all
        addresses = _addresses(job)
        status = common.body_of(await self._send("GET", addresses["status"], params={"logs": "1"}), paid=False)
        common.about(job.id, status.get("request_id"))
        word = common.state_in(status)
        if word == "COMPLETED":
            error = common.text(status.get("error")) or common.text(status.get("error_type"))
            return await self._result(addresses["response"] or common.link(status.get("response_url")), error)
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

    async def _result(self, address: str, error: str) -> Ready:
        """The pictures, fetched at once: fal keeps a large result for six minutes."""
        answer = await self._send("GET", address)
        _refuse_content(answer)
        if answer.is_server_error and _is_of_the_model(answer, error):
            message = message_in(answer) or error or f"the model answered with HTTP {answer.status}"
            raise GenerationFailed(message).as_final()
        if error and (answer.status in GONE or answer.is_success):
            raise GenerationFailed(error).as_final()
        return _ready(common.body_of(answer, paid=False))

    def _rules(self, request: ImageRequest) -> Iterator[rules.Rule]:
        model = self._model(request)
        yield from rules.prompt(request)
        known = "write owner/app, such as fal-ai/flux/dev"
        yield not MODEL.fullmatch(model), f"{rules.shown(model)} is not the name of a model: {known}"
        yield rules.count(request, MAX_IMAGES)
        sized = rules.is_sized(request)
        yield sized and None in (request.width, request.height), "width and height come together"
        presets = self._settings.ratio_field == "image_size"
        known = f"fal has sizes for {', '.join(PRESETS)}: give --size for others, or set ratio_field to aspect_ratio"
        yield presets and bool(request.ratio) and request.ratio not in PRESETS, known
        yield presets and rules.size_or_ratio(request)[0], rules.size_or_ratio(request)[1]
        size = "the models here have no common size classes: give --size or --ratio, or the model's own field in extra"
        yield bool(request.resolution), size

    def _input(self, request: ImageRequest, pictures: Sequence[str]) -> dict[str, Any]:
        field = self._settings.ratio_field
        named: dict[str, Any] = {
            "prompt": request.prompt,
            "num_images": request.count,
            "seed": request.seed if rules.has_seed(request) else None,
            "negative_prompt": request.negative,
            field: PRESETS[request.ratio] if request.ratio and field == "image_size" else request.ratio,
        }
        if request.width is not None:
            named["image_size"] = {"width": request.width, "height": request.height}
        if len(pictures) == 1 and not self._settings.image_list:
            named["image_url"] = pictures[0]
        elif pictures:
            named["image_urls"] = list(pictures)
        return common.options(named, request.extra)


def _whole_key(settings: Settings) -> Secret:
    """The one key, or both halves as fal writes them together."""
    if settings.api_key or not (settings.key_id and settings.key_secret):
        return settings.api_key
    return Secret(f"{settings.key_id.reveal()}:{settings.key_secret.reveal()}")


def _addresses(job: Job) -> dict[str, str]:
    """The three that came with the receipt, since fal says not to build them; a bare address is the status's."""
    try:
        found = common.table(json.loads(job.url))
    except (ValueError, RecursionError):
        found = {"status": job.url}
    return {name: common.link(found.get(name)) for name in ("status", "response", "cancel")}


def _refuse_content(answer: Answer) -> None:
    """Raise Moderated for the one type of a 422 that is not a bad request. The errors are in `detail`, or alone."""
    errors = common.tables(common.table(answer.body).get("detail")) or common.tables(answer.body)
    found = next((error for error in errors if error.get("type") == "content_policy_violation"), None)
    if found is not None:
        where = ", ".join(word for value in common.items(found.get("categories")) if (word := common.text(value)))
        message = common.text(found.get("msg")) or "the content was refused"
        raise Moderated(f"{message} ({where})" if where else message).as_final()


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
        raise GenerationFailed("the model says that it is finished, but made no pictures")
    marked = sum(mark is True for mark in common.items(result.get("has_nsfw_concepts")))
    if marked >= len(images):
        raise Moderated("the model marked every picture as unsafe, and sends black ones instead").as_final()
    unsafe = f"the model marked {marked} of {len(images)} pictures as unsafe: they may be black" if marked else ""
    notes = filter(None, (common.lost_note(len(listed) - len(images), len(listed)), unsafe))
    return Ready(images, note="; ".join(notes), facts=common.facts(seed=result.get("seed")))


PROVIDER: type[Provider[Any]] = Fal
