"""Whether a service drew with the model that was asked for."""

import re


def other_model(asked: str, drew: object) -> str:
    """A note where another model drew; empty where it is the same, or where one of both is unknown.

    Of one model there are names with an owner before it and with a date or a version behind it.
    """
    if not asked or not isinstance(drew, str) or not drew or _is_same(_bare(asked), _bare(drew)):
        return ""
    return f"drawn by the model {drew}, not by {asked}"


def _bare(name: str) -> str:
    return name.rpartition("/")[2].casefold().removesuffix(":latest")


def _is_same(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return (
        long.startswith(short)
        and re.fullmatch(r"([-_:@.]?(v?\d[\d.-]*|preview|latest|exp))*", long[len(short) :]) is not None
    )
