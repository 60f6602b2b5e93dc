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
    """The account of a configured provider; None where there is none. `token` is the history's own.

    Its key begins with the word of `service_of`.
    """
    if one.is_local:
        return None
    try:
        settings = key_of(one)
    except ConfigError:
        return None
    values = [getattr(settings, item.name) for item in fields(settings)]
    secrets = [value.reveal() for value in values if isinstance(value, Secret)]
    service = service_of(one, token)
    return Account(
        f"{service}-{_digest(service, *secrets)}", settings.account_concurrency or settings.concurrency or None
    )


def service_of(one: Configured, token: str) -> str:
    """A word for the service at which a provider is, with whatever key."""
    origin, _ = way_to(one.settings)
    return _digest(token, one.kind, origin)


def is_at(account: str, one: Configured, token: str) -> bool:
    """Whether an account is at a provider's service; a key that does not tell, such as an empty one, may be."""
    service, hyphen, _ = account.partition("-")
    return not hyphen or service == service_of(one, token)


def _digest(*texts: str) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()[:DIGITS]
