"""Keys and headers of a provider, from where its settings say: the text itself, the environment or a command."""

import os
import shlex
import subprocess
from dataclasses import fields, replace
from threading import Thread
from typing import IO, Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.masking import hide_header
from imagegen_cli.core.provider import Provider, Settings
from imagegen_cli.core.schema import REFERENCES, Secret
from imagegen_cli.settings.config import Configured
from imagegen_cli.settings.paths import PROJECT_FILE

COMMAND_WAIT_S = 60.0
"""Seconds that a command has to print a key: it may ask the person for a password."""
MAX_KEY_BYTES = 64 * 1024
"""Of what such a command prints, without the blanks around it."""
MARGIN_BYTES = 1024
"""For those blanks."""


KEY_FIELDS = ("api_key", "secret_key")


def keys_of(kind: type[Provider[Any]]) -> list[str]:
    """The settings of this kind that hold a key."""
    known = {item.name for item in fields(kind.Settings)}
    return [name for name in KEY_FIELDS if name in known]


def keys_lacking(one: Configured) -> list[str]:
    """The keys that this service usually needs, and that neither its settings nor the environment have."""
    return [
        name
        for name in keys_of(one.type)
        if (variable := variable_of(one, name))
        and not getattr(one.settings, name)
        and not os.environ.get(variable, "").strip()
    ]


def variable_of(one: Configured, field: str) -> str:
    """The environment variable that is read for a key without being named; empty where the service needs no key."""
    return one.settings.variable_for(field)


def key_of(configured: Configured) -> Settings:
    """The settings with keys and headers in their places: from the text, the environment or a command.

    Raises ConfigError.
    """
    settings = configured.settings
    changed: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not isinstance(value, Secret):
            continue
        text = value.reveal()
        named = settings.variable_for(item.name)
        if not text and named and configured.place != PROJECT_FILE:
            text = os.environ.get(named, "").strip()
        changed[item.name] = _fetched(text, f"{item.name} of {configured.name}")
    headers = {name: _header(name, text, configured.name) for name, text in settings.headers.items()}
    return replace(settings, **changed, headers=headers)


def _header(name: str, text: str, provider: str) -> str:
    if text.startswith(REFERENCES):
        return _fetched(text, f"the header {name} of {provider}").reveal()
    hide_header(name, text)
    return text


def _fetched(text: str, what: str) -> Secret:
    """A secret from where its text says; any other text is the secret itself. Raises ConfigError."""
    if text.startswith("env:"):
        text = _from_environment(text[4:], what)
    elif text.startswith("cmd:"):
        text = _from_command(text[4:], what)
    secret = Secret(text)
    if not _sendable(secret.reveal()):
        raise ConfigError(f"{what} is more than one line, or not plain ASCII text")
    return secret


def _sendable(key: str) -> bool:
    """Whether a header can carry it; what cannot be sent would be quoted in the error."""
    return key.isascii() and key.isprintable()


def _from_environment(variable: str, what: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{what} is to come from ${variable}, which is not set")
    return value


def _from_command(command: str, what: str) -> str:
    try:
        output = _output_of(shlex.split(command)).decode().strip()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        why = f"exit {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else type(error).__name__
        raise ConfigError(f"{what} is to come from a command, which failed ({why})") from None
    if len(output) > MAX_KEY_BYTES:
        raise ConfigError(f"{what} is to come from a command, which said more than {MAX_KEY_BYTES >> 10} KB")
    if not output:
        raise ConfigError(f"{what} is to come from a command, which said nothing")
    return output


def _output_of(words: list[str]) -> bytes:
    """What a command prints, at most a little more than a key may have. Raises what subprocess.run does.

    It is read by a thread, so that neither an endless answer nor a child of the command, which keeps the pipe open
    after its parent has ended, holds us for longer than COMMAND_WAIT_S.
    """
    output: list[bytes] = []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - the person's own file names it
    reader = Thread(target=_read, args=(process.stdout, output), daemon=True)
    reader.start()
    try:
        reader.join(COMMAND_WAIT_S)
        if not output:
            raise subprocess.TimeoutExpired(words, COMMAND_WAIT_S)
        if len(output[0]) < MAX_KEY_BYTES + MARGIN_BYTES and (code := process.wait(COMMAND_WAIT_S)):
            raise subprocess.CalledProcessError(code, words)
    finally:
        process.kill()
        process.wait()
    return output[0]


def _read(pipe: IO[bytes], output: list[bytes]) -> None:
    with pipe:
        output.append(pipe.read(MAX_KEY_BYTES + MARGIN_BYTES))
