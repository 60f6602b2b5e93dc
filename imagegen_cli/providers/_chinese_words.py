"""The meaning of the Chinese services' codes and messages: one table for all kinds that speak to them.

Codes are those of 即梦 / Dreamina (`ret` and `fail_code`), as the public sources of jimeng-api, jimeng-free-api, their
kin and the Dreamina servers name them, and as their users report them. The words are for answers without a code, or
with an unknown one.
"""

from dataclasses import dataclass

from imagegen_cli.core.errors import (
    BadRequest,
    Busy,
    GenerationFailed,
    Moderated,
    OutOfCredits,
    TaskError,
    Unauthorized,
)
from imagegen_cli.core.language import Message

LOOK_AT_ACCOUNT = Message("log in to this account in a browser and see what it asks for; sending more makes it worse")
LOOK_AT_REGION = Message(
    "the account or its region may not use this: look at the prefix of the session id (us-, hk-, jp-, sg-)"
)
LOG_IN_ANEW = Message("log in to the service in a browser and put the new session id into the settings")
FEWER = Message("the account makes fewer pictures at once than were sent: a lower --concurrency helps")


@dataclass(frozen=True, slots=True)
class Meaning:
    """`hint` is what to do where the general hint of the kind of error does not fit."""

    kind: type[TaskError]
    codes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    hint: str = ""

    def error(self, text: str) -> TaskError:
        return self.kind(text, hint=self.hint)


LOGGED_OUT = Meaning(
    Unauthorized,
    ("1001", "1015", "34010105"),
    (
        "登录", "登陆", "login", "logged in", "authorization", "sessionid", "session id", "session expired",
        "invalid session", "token已失效", "token expired",
    ),
    LOG_IN_ANEW,
)  # fmt: skip
PARAMETERS = Meaning(
    BadRequest,
    ("1000", "4002", "34010100"),
    (
        "参数错误", "参数不", "参数无效", "invalid parameter", "param error", "params invalid",
        "不支持", "最多支持", "至少需要", "缺少", "格式不正确", "not support", "unsupported",
    ),
)  # fmt: skip
MEANINGS = (
    Meaning(
        Unauthorized,
        ("1019", "4013", "-4"),
        ("shark", "风控", "风险控制", "risk control", "账号异常", "账户异常"),
        LOOK_AT_ACCOUNT,
    ),
    Meaning(
        Unauthorized,
        ("3018", "3000"),
        ("permission denied", "无权限", "没有权限", "该地区", "当前地区"),
        LOOK_AT_REGION,
    ),
    Meaning(
        Busy,
        ("1310",),
        ("exceedconcurrencylimit", "exceed_model_parallel_max", "queue is full", "并发上限", "并发限制", "并发数"),
        FEWER,
    ),
    Meaning(
        Moderated,
        ("2038", "1180", "4001", "2003"),
        ("risk", "敏感", "违规", "违禁", "合规", "审核", "色情", "content violation", "inappropriate content"),
    ),
    LOGGED_OUT,
    Meaning(
        OutOfCredits,
        ("1002", "1006", "2039", "5000"),
        ("积分", "余额不足", "欠费", "credit", "quota", "insufficient balance"),
    ),
    PARAMETERS,
    Meaning(Moderated, (), ("不符合", "规范")),
)
"""In the order in which the words are looked for: the more exact words come first."""


def meaning(code: str, text: str) -> Meaning | None:
    """What a failure means by its code or, where the code is unknown, by its message; None where both are unknown.

    即梦 uses the code of a wrong parameter for an expired session too: there a message about the login counts.
    """
    lowered = text.lower()
    by_code = next((one for one in MEANINGS if code in one.codes), None)
    if by_code is PARAMETERS and _matches(LOGGED_OUT, lowered):
        return LOGGED_OUT
    return by_code or next((one for one in MEANINGS if _matches(one, lowered)), None)


def failed(code: str, text: str, message: str = "") -> TaskError:
    """The error for work that a service had accepted and that failed. Its message is `message`, or else `text`.

    A limit on tasks at once then fails the task: the service does not begin the work again.
    """
    found = meaning(code, text)
    if found is None:
        return GenerationFailed(message or text)
    return GenerationFailed(message or text, hint=found.hint) if found.kind is Busy else found.error(message or text)


def _matches(one: Meaning, lowered: str) -> bool:
    return any(word in lowered for word in one.words)
