"""What several processes that use one account are counted by, without its key."""

from dataclasses import fields
from hashlib import sha256

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.provider import way_to
from imagegen_cli.core.schema import Secret
from imagegen_cli.settings.config import Configured
from imagegen_cli.settings.keys import key_of
from imagegen_cli.storage.places import Account

DIGITS = 16
"""Of the digest: enough to tell accounts apart, and it is no key."""


def account_of(one: Configured, token: str) -> Account | None:
    """The account of a configured provider; None where there is none. `token` is the history's own."""
    if one.is_local:
        return None
    try:
        settings = key_of(one)
    except ConfigError:
        return None
    values = [getattr(settings, item.name) for item in fields(settings)]
    secrets = [value.reveal() for value in values if isinstance(value, Secret)]
    origin, _ = way_to(settings)
    digest = sha256("\n".join((token, one.kind, origin, *secrets)).encode()).hexdigest()[:DIGITS]
    return Account(digest, settings.account_concurrency or settings.concurrency or None)
