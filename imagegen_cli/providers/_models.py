"""Whether a service drew with the model of the request."""

import re

from imagegen_cli.core.language import Message


def other_model(requested: str, drew: object) -> str:
    """A note where another model drew; empty where it is the same, or where one of the two is unknown.

    One model may have several names: with an owner before it, with a date or a version behind it.
    """
    if not requested or not isinstance(drew, str) or not drew or _is_same(_bare(requested), _bare(drew)):
        return ""
    return Message("drawn by the model {drew}, not by {requested}").format(drew=drew, requested=requested)


def _bare(name: str) -> str:
    return name.rpartition("/")[2].casefold().removesuffix(":latest")


def _is_same(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return (
        long.startswith(short)
        and re.fullmatch(r"([-_:@.]?(v?\d[\d.-]*|preview|latest|exp))*", long[len(short) :]) is not None
    )
