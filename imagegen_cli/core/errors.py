"""What can go wrong, as a tree. The number is the exit code.

ImagegenError
├── UsageError          2   arguments or values that cannot be used; nothing was sent
├── ConfigError         3   settings or credentials
├── HistoryError        3   the history database cannot be used
│   ├── HistoryAway         3   the server of the history is not there just now: waiting may help
│   └── HistoryUnwritten    5   the last states of tasks are not in it; the message holds their receipts
├── NothingToDo         4   no such task, an empty list
└── TaskError           1   ends (or delays) one task, never a run; carries a reason code
    ├── Refused             the service's last word: final at once
    │   ├── BadRequest          bad-request
    │   ├── Unauthorized        unauthorized     also shuts the lane
    │   ├── OutOfCredits        out-of-credits   also shuts the lane
    │   ├── Moderated           moderated
    │   └── GenerationFailed    server
    ├── SlowDown            certainly not accepted: the lane waits, nothing failed
    │   ├── RateLimited         rate-limited
    │   └── Busy                busy
    ├── Unavailable             network          certainly not accepted, or a query that may be repeated
    │   └── ServerTrouble       server           the same, but the service answered: with a 5xx
    ├── Uncertain               uncertain        sent, and the answer was lost: it may be accepted and billed
    ├── TimedOut                timeout
    ├── Expired                 expired          a link or a job that the service has forgotten
    ├── BadImage                bad-image
    │   └── UnusableImage       bad-image        the same, and fetching it again brings no other
    ├── DiskError               disk
    │   └── HistoryTrouble      history          the server of the history is away, or takes nothing
    └── ProviderBug             bug              a provider raised something that is not in this tree
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from imagegen_cli.core.language import Message, in_sense
from imagegen_cli.core.masking import masked

if TYPE_CHECKING:
    from imagegen_cli.core.amounts import Money


class Reason(StrEnum):
    """Why a task ended without its pictures. The codes are stable: scripts depend on them."""

    BAD_REQUEST = "bad-request"
    UNAUTHORIZED = "unauthorized"
    OUT_OF_CREDITS = "out-of-credits"
    MODERATED = "moderated"
    RATE_LIMITED = "rate-limited"
    BUSY = "busy"
    SERVER = "server"
    NETWORK = "network"
    TIMEOUT = "timeout"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    BAD_IMAGE = "bad-image"
    DISK = "disk"
    HISTORY = "history"
    CANCELLED = "cancelled"
    BUG = "bug"


HINTS: dict[Reason, Message] = {
    Reason.BAD_REQUEST: Message("change the prompt or the options, then run it again"),
    Reason.UNAUTHORIZED: Message("check the key (imagegen config show), then imagegen retry {ids}"),
    Reason.OUT_OF_CREDITS: Message("top up the account or choose another provider with -p, then imagegen retry {ids}"),
    Reason.MODERATED: Message("rephrase the prompt; the service will refuse it again as it stands"),
    Reason.RATE_LIMITED: Message("wait a little, then imagegen retry {ids}; a lower --concurrency helps"),
    Reason.BUSY: Message("wait a little, then imagegen retry {ids}"),
    Reason.SERVER: Message("the service failed; try imagegen retry {ids} later"),
    Reason.NETWORK: Message("check the connection and base_url, then imagegen retry {ids}"),
    Reason.TIMEOUT: Message("raise --timeout, then imagegen retry {ids}"),
    Reason.UNCERTAIN: Message(
        "it may be made and billed: look at the service; imagegen retry {ids} --may-repeat pays anew"
    ),
    Reason.EXPIRED: Message("the service no longer keeps it; imagegen retry {ids} makes it anew and costs again"),
    Reason.BAD_IMAGE: Message(
        "the service sent something that is no picture; imagegen retry {ids} --may-repeat pays anew"
    ),
    Reason.DISK: Message("free some space or choose another folder with --output; the service may have been paid"),
    Reason.HISTORY: Message("imagegen doctor tests the history and says what to do; the service may have been paid"),
    Reason.CANCELLED: Message("imagegen retry {ids} makes it anew"),
    Reason.BUG: Message("please report it: imagegen show {ids} has the details"),
}
"""What to do about tasks that ended for a reason; `{ids}` stands for the tasks."""


LABELS: dict[Reason, Message] = {
    Reason.BAD_REQUEST: Message("reason of a failure: bad-request"),
    Reason.UNAUTHORIZED: Message("reason of a failure: unauthorized"),
    Reason.OUT_OF_CREDITS: Message("reason of a failure: out-of-credits"),
    Reason.MODERATED: Message("reason of a failure: moderated"),
    Reason.RATE_LIMITED: Message("reason of a failure: rate-limited"),
    Reason.BUSY: Message("reason of a failure: busy"),
    Reason.SERVER: Message("reason of a failure: server"),
    Reason.NETWORK: Message("reason of a failure: network"),
    Reason.TIMEOUT: Message("reason of a failure: timeout"),
    Reason.UNCERTAIN: Message("reason of a failure: uncertain"),
    Reason.EXPIRED: Message("reason of a failure: expired"),
    Reason.BAD_IMAGE: Message("reason of a failure: bad-image"),
    Reason.DISK: Message("reason of a failure: disk"),
    Reason.HISTORY: Message("reason of a failure: history"),
    Reason.CANCELLED: Message("reason of a failure: cancelled"),
    Reason.BUG: Message("reason of a failure: bug"),
}
"""What `label` is translated by."""


def label(reason: Reason) -> Message:
    """A reason for people: in English its code, in another language a few words."""
    return in_sense(reason, LABELS[reason])


QUESTION_HINTS: dict[Reason, Message] = {
    Reason.BAD_REQUEST: Message("check base_url: it may be the address of another service, or of a part of it"),
    Reason.UNAUTHORIZED: Message("check the key; imagegen init writes another"),
    Reason.OUT_OF_CREDITS: Message("top up the account"),
    Reason.MODERATED: Message("ask again later"),
    Reason.RATE_LIMITED: Message("ask again in a minute"),
    Reason.BUSY: Message("ask again in a minute"),
    Reason.SERVER: Message("the service failed, or base_url names another service: ask again later"),
    Reason.NETWORK: Message("check the connection, the proxy and base_url"),
    Reason.TIMEOUT: Message("check the connection, the proxy and base_url"),
    Reason.UNCERTAIN: Message("ask again: nothing was spent"),
    Reason.EXPIRED: Message("check base_url: nothing is at this address"),
    Reason.BAD_IMAGE: Message("check base_url"),
    Reason.DISK: Message("free some space"),
    Reason.HISTORY: Message("imagegen doctor tests the history"),
    Reason.CANCELLED: Message("ask again"),
    Reason.BUG: Message("please report it"),
}
"""What to do where `models`, `credits`, `doctor` or `init` failed to ask a service: there is no task to retry."""


class ImagegenError(Exception):
    """A fault in one line, and in `hint` what to do next. Neither ever holds a secret."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = masked(message)
        self.hint = masked(hint)
        super().__init__(self.message)


class UsageError(ImagegenError):
    exit_code = 2


class ConfigError(ImagegenError):
    exit_code = 3


class HistoryError(ImagegenError):
    exit_code = 3


class HistoryAway(HistoryError):
    pass


class HistoryUnwritten(HistoryError):
    exit_code = 5


class NothingToDo(ImagegenError):
    exit_code = 4


class TaskError(ImagegenError):
    """`hint` is empty where the reason's general hint fits.

    Facts of a class, and so of its reason code. `may_be_paid`: where the request had left, the service may charge for
    it. `is_refused_again`: the service refuses the same request again. `shuts_lane`: the account is refused, so that
    the provider takes no other task either.

    Facts of one error. `final`: the service itself said, in an answer of its own form, that this very job is over and
    brings no picture. `unspent`: the service refused the request before any work, so that another account or service
    may take it. `charged`: sending the same request again may pay a second time, whatever else the error says. `cost`
    and `tokens`: what the service told that it charges although no picture came, as in `provider.Ready`.
    """

    exit_code = 1
    reason: ClassVar[Reason] = Reason.BUG
    may_be_paid: ClassVar[bool] = False
    is_refused_again: ClassVar[bool] = False
    shuts_lane: ClassVar[bool] = False
    final = False
    unspent = False
    charged = False
    cost: "Money | None" = None
    tokens: Mapping[str, int] = MappingProxyType({})

    def as_final(self) -> Self:
        """Mark the error as the service's last word about a job. A status code or a proxy never gives that."""
        self.final = True
        return self

    def as_charged(self) -> Self:
        """Mark a failure after which sending the same request again may pay a second time."""
        self.charged = True
        return self

    def as_billed(self, cost: "Money | None", tokens: Mapping[str, int] = MappingProxyType({})) -> Self:
        """Keep what the service told of the cost. Where it charges for what it made, the error counts as charged."""
        made = any(tokens.get(name) for name in ("text_out", "image_out"))
        self.cost, self.tokens = cost, tokens
        self.charged = self.charged or made or (cost is not None and cost.micros > 0)
        return self

    def as_unspent(self) -> Self:
        """Mark a refusal after which the same request may go to another provider without paying twice."""
        self.unspent = True
        return self


def words_of(error: BaseException) -> str:
    """What an exception says, as the message that it was made of: `str` would make plain English of it."""
    if isinstance(error, OSError):
        from imagegen_cli.core.system_errors import in_full  # noqa: PLC0415 - only where something is wrong

        return in_full(error)
    return next((text for text in error.args if isinstance(text, Message)), str(error))


def question_hint(error: ImagegenError) -> str:
    """The hint where a question failed that belongs to no task. A hint of the provider's own stays."""
    if isinstance(error, TaskError) and not error.hint:
        return QUESTION_HINTS[error.reason]
    return error.hint


class Refused(TaskError):
    pass


class BadRequest(Refused):
    reason = Reason.BAD_REQUEST
    is_refused_again = True


class Unauthorized(Refused):
    reason = Reason.UNAUTHORIZED
    shuts_lane = True


class OutOfCredits(Refused):
    reason = Reason.OUT_OF_CREDITS
    shuts_lane = True


class Moderated(Refused):
    reason = Reason.MODERATED
    is_refused_again = True


class GenerationFailed(Refused):
    reason = Reason.SERVER


class SlowDown(TaskError):
    """`after`: seconds that the service asked us to wait; None where it did not say."""

    def __init__(self, message: str, *, after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.after = after


class RateLimited(SlowDown):
    reason = Reason.RATE_LIMITED


class Busy(SlowDown):
    reason = Reason.BUSY


class Unavailable(TaskError):
    reason = Reason.NETWORK


class ServerTrouble(Unavailable):
    reason = Reason.SERVER


class Uncertain(TaskError):
    reason = Reason.UNCERTAIN
    may_be_paid = True
    charged = True


class TimedOut(TaskError):
    reason = Reason.TIMEOUT


class Expired(TaskError):
    reason = Reason.EXPIRED


class BadImage(TaskError):
    reason = Reason.BAD_IMAGE
    may_be_paid = True


class UnusableImage(BadImage):
    pass


class DiskError(TaskError):
    reason = Reason.DISK
    may_be_paid = True


class HistoryTrouble(DiskError):
    reason = Reason.HISTORY


class ProviderBug(TaskError):
    reason = Reason.BUG
    may_be_paid = True


def _below(kind: type[TaskError]) -> Iterator[type[TaskError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


_BY_REASON = {kind.reason: kind for kind in _below(TaskError) if "reason" in vars(kind)}


def error_class(reason: Reason) -> type[TaskError]:
    """The class whose facts hold for a reason code. A cancel is no error, and gets the facts of TaskError."""
    return _BY_REASON.get(reason, TaskError)
