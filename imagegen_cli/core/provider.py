"""What a provider is: one service, translated. It sends and reads; it never sleeps, retries, prints, stores or counts.

A provider is one file in this folder. Its last line binds `PROVIDER`; that alone registers it.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, get_args, get_origin
from urllib.parse import unquote, urlsplit

from imagegen_cli.core.errors import Expired
from imagegen_cli.core.events import Working
from imagegen_cli.core.masking import masked
from imagegen_cli.core.money import Money
from imagegen_cli.core.schema import Secret, setting
from imagegen_cli.core.task import CancelOutcome, Image, ImageRequest, Job

if TYPE_CHECKING:
    import httpx


Facts = Mapping[str, str | int | float]
"""What is worth remembering of how pictures were made, beside the request. Keys that several services have: `seed`
(the one really used), `model` (the one that really drew), `revised_prompt`, `request_id`."""


def _without_secrets(facts: Facts) -> Facts:
    return {name: masked(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


@dataclass(frozen=True, slots=True)
class Accepted:
    """Not ready; ask again with this receipt. `cost` is what the service told; None where it did not."""

    job: Job
    facts: Facts = field(default_factory=dict)
    cost: Money | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", _without_secrets(self.facts))


@dataclass(frozen=True, slots=True)
class Ready:
    """`note` has the service's words about pictures that it left out, or that differ from what was asked for.

    `cost` is what the service told, for the whole job; where it counts tokens instead, `tokens` has them by text_in,
    image_in, text_out and image_out. Neither the note nor a fact ever holds a secret.
    """

    images: tuple[Image, ...]
    note: str = ""
    facts: Facts = field(default_factory=dict)
    cost: Money | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "note", masked(self.note))
        object.__setattr__(self, "facts", _without_secrets(self.facts))


Report = Callable[[Working], None]
Fetch = Callable[["httpx.Request"], Awaitable["httpx.Response"]]
"""Sends a request and returns with the head of its answer; the caller reads and closes the answer's stream."""


@dataclass(frozen=True, slots=True)
class Balance:
    """`amount` None: the service does not tell. A made-up number is worse than none.

    `troubled`: a part of the account cannot be used, and `note` says which.
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
    """Ways to the network, and more than one, because a submit costs money.

    `paid` carries what must not be sent twice: fresh connections, a transport that can tell "never connected" from
    "sent, then lost". `free` carries everything that may be repeated; `fetch` goes the same way with a request as it
    stands, on connections of its own, and brings pictures. None follows redirects or keeps cookies.
    """

    paid: "httpx.AsyncClient"
    free: "httpx.AsyncClient"
    fetch: "Fetch | None" = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every kind can be told; a provider subclasses it with its own defaults and fields."""

    base_url: str = setting("", "address of the service")
    api_key: Secret = setting(Secret(), 'key: the text itself, "env:NAME" or "cmd:COMMAND"')
    model: str = setting("", "model when --model is not given")
    concurrency: int = setting(4, "tasks at the service at once; 0 lifts the limit")
    poll: float = setting(0.5, "shortest time between two status queries of a task, in seconds")
    timeout: float = setting(300.0, "time limit of a task in seconds, counted while the service works on it")
    busy_timeout: float = setting(
        900.0, "seconds for which a service may refuse everything (429, 503) before tasks fail; at least `timeout`"
    )
    headers: Mapping[str, str] = setting({}, "further HTTP headers; a value may be env:NAME or cmd:COMMAND, as a key")

    environment: ClassVar[Mapping[str, str]] = {}
    """Field name -> environment variable that the vendor's own tools read."""
    remarks: ClassVar[tuple[str, ...]] = ()
    """Sentences for people who set this kind up: what no setting of ours can mend."""

    def variable_for(self, name: str) -> str:
        """The variable for a field of these very settings; empty where no vendor names one."""
        return self.environment.get(name, "")


def way_to(settings: Settings) -> tuple[str, dict[str, str]]:
    """The origin of a service, and the headers that a request for a picture needs there: no key is among them."""
    address = urlsplit(settings.base_url.strip())
    if address.scheme.lower() not in ("http", "https") or not address.netloc:
        return "", {}
    login, at, host = address.netloc.rpartition("@")
    headers = dict(settings.headers)
    if at:
        headers["Authorization"] = f"Basic {b64encode(unquote(login).encode()).decode()}"
    return f"{address.scheme.lower()}://{host.lower()}", headers


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
    """True where `submit` itself lasts as long as the generation: there is nothing to ask again with."""

    stops_when_dropped: ClassVar[bool] = False
    """True where dropping the connection of a `submit` really stops the work, at no cost."""
    local: ClassVar[bool] = False
    """True where nothing goes over the network."""
    is_free: ClassVar[bool] = False
    """True where pictures cost nothing but the person's own electricity."""
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

        Raises a TaskError: Unavailable and SlowDown only where certainly nothing was accepted, Uncertain wherever it
        may have been, Refused for the service's last word. Where the service refused before any work, Unauthorized and
        OutOfCredits are marked `as_unspent()`: the same request may go to another provider then.
        """
        ...

    def client_job(self, request: ImageRequest) -> Job | None:  # noqa: ARG002 - the default needs nothing
        """An id of our own choice that the service will know the job by, so that a lost answer can be looked up."""
        return None

    async def poll(self, job: Job, report: Report) -> Working | Ready:  # noqa: ARG002
        """Ask once; an unknown word is Working(note=word).

        Every error counts as a failed query and keeps the job, but for one that is marked `as_final()`: the service's
        own, well-formed word that this very job failed, was moderated or has expired. An HTTP status alone is never
        that, because a proxy or a wrong address answers with it as well. A service that holds its answers in the submit
        alone has nothing to ask for: Expired.
        """
        raise Expired("this service keeps nothing that could be asked for")

    async def cancel(self, job: Job) -> CancelOutcome:  # noqa: ARG002
        """STOPPED, REQUESTED (may be ignored), TOO_LATE (it ended before) or GOES_ON (cannot be stopped)."""
        return CancelOutcome.GOES_ON

    def check(self, request: ImageRequest) -> None:
        """Refuse what the service would refuse, before anything is sent: raises BadRequest with the rule in it."""
        del request  # the default refuses nothing

    def check_settings(self) -> None:
        """Refuse settings with which no request could be sent, as `check` does as well: raises BadRequest."""
        return

    async def check_service(self) -> None:
        """Ask whether the service has what the settings name, without spending: raises BadRequest where it has not.

        Also raises what any question may raise. `doctor` asks; a run hears it from the service itself.
        """
        return

    def payload(self, request: ImageRequest) -> Mapping[str, Any]:  # noqa: ARG002
        """What would go to the service, for --dry-run; empty where the request itself says all of it."""
        return {}

    def fetchable(self, job: Job) -> bool:  # noqa: ARG002
        """Whether `poll` may ever bring the pictures of this job. Where not, the job is no receipt for a resume."""
        return True

    def model_for_version(self, version: str) -> str | None:  # noqa: ARG002
        """The service's own name for a Jimeng/Seedream model that people call by its version; None: not offered.

        `check` and `submit` take the version itself as well: this tells who offers it.
        """
        return None

    def max_images(self, request: ImageRequest) -> int | None:  # noqa: ARG002
        """Pictures that one submit can make; more are split into several tasks. None: no limit known."""
        return None

    def expected_images(self, request: ImageRequest) -> int:
        """Pictures that this request should bring."""
        return request.count or 1

    async def close(self) -> None:
        """Let go of what was opened beside the clients. Called once, at the end."""
        return

    async def prices(self, models: Collection[str]) -> Mapping[str, Money]:  # noqa: ARG002
        """What one picture of each of these models costs, where the service has an endpoint that tells it."""
        return {}

    async def models(self) -> tuple[str, ...]:
        """Names that `--model` may take, asked live where the service tells."""
        return ()

    async def balance(self) -> Balance | None:
        """What is left on the account; None where the service does not tell."""
        return None
