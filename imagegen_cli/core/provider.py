"""The interface of a provider: the translation of one service.

A provider sends requests and reads answers. It never sleeps, retries, prints, stores or counts. It is one file in the
folder providers/, and the line that binds `PROVIDER` registers it.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, get_args, get_origin
from urllib.parse import unquote, urlsplit

from imagegen_cli.core.errors import Expired
from imagegen_cli.core.events import Working
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import masked
from imagegen_cli.core.money import Money, Price
from imagegen_cli.core.schema import Secret, setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, Job

if TYPE_CHECKING:
    import httpx


Facts = Mapping[str, str | int | float]
"""Facts about how pictures were made, beside the request. Keys that several services have: `seed` (the seed that was
used; a text with commas where each picture has its own), `model` (the model that drew), `model_version`,
`revised_prompt`, `request_id`, `tokens`. A run adds `job_id`, the service's own number of the job."""
MAX_FACTS = 50
"""Of one answer."""
MAX_NAME_CHARS = 100
MAX_FACT_CHARS = 10_000
"""Prompts are this long at most where services rewrite them."""
MAX_FACT_NUMBER = 2**64


def _harmless(facts: Facts) -> Facts:
    """So many facts and such long ones as a history can hold for each task, and none with a secret in it."""
    usable = {masked(name[:MAX_NAME_CHARS]): fact for name, fact in facts.items() if _is_usable(fact)}
    cut = {name: _cut(masked(fact)) if isinstance(fact, str) else fact for name, fact in usable.items()}
    return dict(list(cut.items())[:MAX_FACTS])


def _cut(fact: str) -> str:
    return fact if len(fact) <= MAX_FACT_CHARS else fact[:MAX_FACT_CHARS]


def _is_usable(fact: object) -> bool:
    """Whether JSON and SQLite can carry it: no infinity, and no number of a thousand digits."""
    return isinstance(fact, str) or (isinstance(fact, int | float) and -MAX_FACT_NUMBER < fact < MAX_FACT_NUMBER)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service took the request; queries with this receipt bring the pictures.

    `cost` is what the service told; None where it did not.
    """

    job: Job
    facts: Facts = field(default_factory=dict)
    cost: Money | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", _harmless(self.facts))


@dataclass(frozen=True, slots=True)
class Ready:
    """The pictures. `note` is about pictures that are missing, or that differ from the request.

    `cost` is what the service told, for the whole job; where it counts tokens instead, `tokens` has them by text_in,
    image_in, text_out and image_out; `charged_images` is the number of pictures that it says it charges, where it tells
    that. Neither the note nor a fact ever holds a secret.
    """

    images: tuple[Image, ...]
    note: str = ""
    facts: Facts = field(default_factory=dict)
    cost: Money | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    charged_images: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "note", masked(self.note))
        object.__setattr__(self, "facts", _harmless(self.facts))


Report = Callable[[Working], None]
Fetch = Callable[["httpx.Request"], Awaitable["httpx.Response"]]
"""Sends a request and returns with the head of its response; the caller reads and closes the response's stream."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on an account. `amount` None: the service does not name it, and a wrong number is worse than none.

    `troubled`: a part of the account cannot be used, and `note` names it.
    """

    amount: float | None
    unit: str = "credits"
    note: str = ""
    troubled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", masked(self.unit))
        object.__setattr__(self, "note", masked(self.note))


@dataclass(frozen=True, slots=True)
class Clients:
    """The HTTP clients of a provider: more than one, because a submit costs money.

    `paid` is for requests that must not be sent twice: it uses fresh connections, and its transport distinguishes
    "never connected" from "sent, then lost". `free` is for requests that may be repeated. `fetch` sends a request as it
    is, on connections of its own, and is for pictures. None of them follows redirects or keeps cookies.
    """

    paid: "httpx.AsyncClient"
    free: "httpx.AsyncClient"
    fetch: "Fetch | None" = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every kind; a provider subclasses them with its own defaults and fields."""

    base_url: str = setting("", Message("address of the service"))
    api_key: Secret = setting(Secret(), Message('key: the text itself, "env:NAME" or "cmd:COMMAND"'))
    model: str = setting("", Message("model when --model is not given"))
    concurrency: int = setting(4, Message("tasks at the service at once; 0 lifts the limit"))
    account_concurrency: int = setting(
        0,
        Message(
            "tasks at the account at once, over all processes that share a history; 0: as many as `concurrency` says,"
            " over all processes in PostgreSQL, over workers alone in a file"
        ),
    )
    poll: float = setting(0.5, Message("shortest time between two status queries of a task, in seconds"))
    timeout: float = setting(300.0, Message("time limit of a task in seconds, counted while the service works on it"))
    busy_timeout: float = setting(
        900.0,
        Message("seconds for which a service may refuse everything (429, 503) before tasks fail; at least `timeout`"),
    )
    headers: Mapping[str, str] = setting(
        {}, Message("further HTTP headers; a value may be env:NAME or cmd:COMMAND, as a key")
    )

    environment: ClassVar[Mapping[str, str]] = {}
    """Field name -> environment variable that the vendor's own tools read."""
    remarks: ClassVar[tuple[str, ...]] = ()
    """Sentences for people who set this kind up, about problems that no setting of ours can solve."""

    def variable_for(self, name: str) -> str:
        """The environment variable of a field of these settings; empty where no vendor names one."""
        return self.environment.get(name, "")


def way_to(settings: Settings) -> tuple[str, dict[str, str]]:
    """The origin of a service, and the headers that a request for a picture needs there; they never hold a key."""
    address = urlsplit(settings.base_url.strip())
    if address.scheme.lower() not in ("http", "https") or not address.netloc:
        return "", {}
    login, at, host = address.netloc.rpartition("@")
    headers = dict(settings.headers)
    if at:
        headers["Authorization"] = f"Basic {b64encode(unquote(login).encode()).decode()}"
    return f"{address.scheme.lower()}://{host.lower()}", headers


class Upscaling(NamedTuple):
    """What makes a request with one reference picture one for a larger copy of it.

    `model` is empty where no model is named; `extra` are options of the kind.
    """

    model: str
    extra: Mapping[str, str]


S_co = TypeVar("S_co", bound=Settings, covariant=True)


class Provider(Protocol[S_co]):
    """The only thing that the engine knows of a service, generic over the settings of its kind.

    A method with a body here is a default that fits most services.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    """The class of the settings: the one in `Provider[…]` among the bases, unless the class names another itself."""
    is_synchronous: ClassVar[bool] = False
    """True where `submit` lasts as long as the generation, so that there is no job to query."""

    stops_when_dropped: ClassVar[bool] = False
    """True where dropping the connection of a `submit` stops the work, at no cost."""
    local: ClassVar[bool] = False
    """True where nothing goes over the network."""
    is_free: ClassVar[bool] = False
    """True where pictures cost nothing but the person's own electricity."""
    declares_options: ClassVar[bool] = True
    """False where every further option is taken for an input of the model, so that none can be told to be unknown."""
    notice: ClassVar[str] = ""
    """One line that people should read once a run, on stderr."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        bases = cls.__dict__.get("__orig_bases__", ())
        arguments = [get_args(base)[0] for base in bases if Provider in getattr(get_origin(base), "__mro__", ())]
        found = [one for one in arguments if isinstance(one, type) and issubclass(one, Settings)]
        if found and "Settings" not in cls.__dict__:
            cls.Settings = found[0]

    def __init__(self, settings: S_co, clients: Clients) -> None: ...

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        """Send one paid request.

        Raises a TaskError: Unavailable and SlowDown only where the request certainly was not accepted, Uncertain
        wherever it may have been, Refused where the service refused it for good. Where the service refused before any
        work, Unauthorized and OutOfCredits are marked `as_unspent()`: the same request may then go to another provider.
        """
        ...

    def client_job(self, request: ImageRequest) -> Job | None:  # noqa: ARG002 - the default needs nothing
        """An id, chosen here, by which the service knows the job, so that a query can replace a lost answer."""
        return None

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002
        """Query a job once; an unknown state is Working(note=state).

        Every error counts as a failed query and keeps the job, except for an error that is marked `as_final()`. Only
        the service's own, well-formed answer that this very job failed, was moderated or has expired is final. An HTTP
        status alone is never final, because a proxy or a wrong address answers with the same status. A service whose
        pictures come in the answer to the submit alone raises Expired.
        """
        raise Expired(Message("this service has no jobs that a query could be about"))

    async def cancel(self, job: Job) -> CancelOutcome:  # noqa: ARG002
        """STOPPED, REQUESTED (may be ignored), TOO_LATE (it ended before) or GOES_ON (cannot be stopped)."""
        return CancelOutcome.GOES_ON

    def check(self, request: ImageRequest) -> None:
        """Raises BadRequest, with the rule in its message, where the service would refuse the request."""
        del request  # the default refuses nothing

    def check_settings(self) -> None:
        """Raises BadRequest for settings with which no request could be sent; `check` includes it."""
        return

    async def check_service(self) -> None:
        """Query, at no cost, whether the service has everything that the settings name. Raises BadRequest if not.

        Also raises what any query may raise. Only `doctor` calls it: a run gets the same answer from the service.
        """
        return

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:  # noqa: ARG002
        """The body that would be sent, for --dry-run; empty where it holds nothing beyond the request."""
        return {}

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002
        """Whether `poll` can ever bring the pictures of this job. Where not, `resume` cannot use the job."""
        return True

    def model_for_version(self, version: str) -> str | None:  # noqa: ARG002
        """The service's own name for a Jimeng/Seedream model that people call by its version; None: not offered.

        `check` and `submit` take the version too: this method is for finding a provider that offers it.
        """
        return None

    def upscaling(self, factor: float) -> Upscaling | None:  # noqa: ARG002
        """How a picture is made so many times larger on each side; None where the service cannot do that."""
        return None

    def max_images(self, request: ImageRequest) -> int | None:  # noqa: ARG002
        """The most pictures that one submit can make; more become several tasks. None: no limit is known."""
        return None

    def expected_images(self, request: ImageRequest) -> int:
        """The number of pictures that this request should bring."""
        return request.count or 1

    async def close(self) -> None:
        """Close what the provider opened beside its clients. Called once, at the end."""
        return

    async def prices(self, models: Collection[str]) -> Mapping[str, Price | None]:  # noqa: ARG002
        """What these models cost, where the service has an endpoint that tells it; only who overrides this is asked.

        None: the endpoint has answered, and has no price that holds for every picture of this model. A model that is
        left out was not answered for, and is asked for again the next time. Raises what any question may raise.
        """
        return {}

    async def models(self) -> tuple[str, ...]:
        """Names that `--model` may take; a live list where the service has one."""
        return ()

    async def balance(self) -> Balance | None:
        """What is left on the account; None where the service has no such query."""
        return None
