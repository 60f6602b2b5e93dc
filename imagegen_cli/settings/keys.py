"""Gets the keys and headers of a provider from its settings, from the environment or from a command."""

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
"""Time limit of a command that prints a key: it may ask the person for a password."""
MAX_KEY_BYTES = 64 * 1024
"""The longest key that a command may print, without the blanks around it."""
MARGIN_BYTES = 1024
"""Room for those blanks."""


KEY_FIELDS = ("api_key", "secret_key")


def keys_of(kind: type[Provider[Any]]) -> list[str]:
    """The names of the settings of this kind that contain a key."""
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
    """The settings with the real keys and headers, instead of the variables and commands that give them.

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
        changed[item.name] = fetched(text, f"{item.name} of {configured.name}")
    headers = {name: _header(name, text, configured.name) for name, text in settings.headers.items()}
    return replace(settings, **changed, headers=headers)


def _header(name: str, text: str, provider: str) -> str:
    if text.startswith(REFERENCES):
        return fetched(text, f"the header {name} of {provider}").reveal()
    hide_header(name, text)
    return text


def fetched(text: str, what: str) -> Secret:
    """The secret from the variable or the command that a text names; else the text itself. Raises ConfigError."""
    if text.startswith("env:"):
        text = _from_environment(text[4:], what)
    elif text.startswith("cmd:"):
        text = _from_command(text[4:], what)
    secret = Secret(text)
    if not _sendable(secret.reveal()):
        raise ConfigError(f"{what} is more than one line, or not plain ASCII text")
    return secret


def _sendable(key: str) -> bool:
    """Whether a header can contain the key; otherwise the error of the HTTP library would quote it."""
    return key.isascii() and key.isprintable()


def _from_environment(variable: str, what: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{what} comes from ${variable}, which is not set")
    return value


def _from_command(command: str, what: str) -> str:
    try:
        output = _output_of(shlex.split(command)).decode().strip()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        why = f"exit {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else type(error).__name__
        raise ConfigError(f"{what} comes from a command, which failed ({why})") from None
    if len(output) > MAX_KEY_BYTES:
        raise ConfigError(f"{what} comes from a command, which printed more than {MAX_KEY_BYTES >> 10} KB")
    if not output:
        raise ConfigError(f"{what} comes from a command, which printed nothing")
    return output


def _output_of(words: list[str]) -> bytes:
    """The output of a command, up to a little more than a key may have. Raises the errors of subprocess.run.

    A thread reads it, so that we wait at most COMMAND_WAIT_S, even if the output is endless or a child of the command
    keeps the pipe open after its parent has ended.
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
