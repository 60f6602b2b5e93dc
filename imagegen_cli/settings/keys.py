"""Gets the keys and headers of a provider from its settings, from the environment or from a command."""

import os
import shlex
import subprocess
from dataclasses import fields, replace
from threading import Thread
from typing import IO, Any

from imagegen_cli.core.errors import ConfigError
from imagegen_cli.core.language import Message
from imagegen_cli.core.masking import hide_header
from imagegen_cli.core.provider import Provider, Settings
from imagegen_cli.core.schema import REFERENCES, Secret
from imagegen_cli.settings.config import Configured
from imagegen_cli.settings.paths import PROJECT_FILE

COMMAND_WAIT_S = 60.0
"""Time limit of a command that prints a key: it may ask the person for a password."""
MAX_KEY_BYTES = 64 * 1024
"""The longest key that a command may print, without the blanks around it."""
DRAIN_S = 0.2
"""Seconds for which output is read that still lies in the pipe of a command that has ended."""
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
        what = Message("{setting} of {provider}").format(setting=item.name, provider=configured.name)
        changed[item.name] = fetched(text, what)
    headers = {name: _header(name, text, configured.name) for name, text in settings.headers.items()}
    return replace(settings, **changed, headers=headers)


def _header(name: str, text: str, provider: str) -> str:
    if text.startswith(REFERENCES):
        what = Message("the header {name} of {provider}").format(name=name, provider=provider)
        return fetched(text, what).reveal()
    hide_header(name, text)
    return text


def fetched(text: str, what: str, *, in_header: bool = True) -> Secret:
    """The secret from the variable or the command that a text names; else the text itself. Raises ConfigError.

    `in_header`: it is sent in a header of HTTP, which takes plain ASCII alone.
    """
    if text.startswith("env:"):
        text = _from_environment(text[4:], what)
    elif text.startswith("cmd:"):
        text = _from_command(text[4:], what)
    secret = Secret(text)
    if not in_header and not secret.reveal().isprintable():
        raise ConfigError(Message("{what} is more than one line, or has a control character").format(what=what))
    if in_header and not _sendable(secret.reveal()):
        raise ConfigError(Message("{what} is more than one line, or not plain ASCII text").format(what=what))
    return secret


def _sendable(key: str) -> bool:
    """Whether a header can contain the key; otherwise the error of the HTTP library would quote it."""
    return key.isascii() and key.isprintable()


def _from_environment(variable: str, what: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        message = Message("{what} comes from ${variable}, which is not set")
        raise ConfigError(message.format(what=what, variable=variable))
    return value


def _from_command(command: str, what: str) -> str:
    try:
        output = _output_of(shlex.split(command)).decode().strip()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        why = f"exit {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else type(error).__name__
        message = Message("{what} comes from a command, which failed ({why})").format(what=what, why=why)
        raise ConfigError(message) from None
    if len(output) > MAX_KEY_BYTES:
        message = Message("{what} comes from a command, which printed more than {limit} KB")
        raise ConfigError(message.format(what=what, limit=MAX_KEY_BYTES >> 10))
    if not output:
        raise ConfigError(Message("{what} comes from a command, which printed nothing").format(what=what))
    return output


def _output_of(words: list[str]) -> bytes:
    """The output of a command, up to a little more than a key may have. Raises the errors of subprocess.run.

    A thread reads it, so that we wait at most COMMAND_WAIT_S even if the output is endless. The command has ended when
    its own process has: an agent that it leaves behind may hold the pipe open for ever.
    """
    output: list[bytes] = []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - the person's own file names it
    reader = Thread(target=_read, args=(process, output), daemon=True)
    reader.start()
    try:
        code = process.wait(COMMAND_WAIT_S)
        reader.join(DRAIN_S)
    finally:
        process.kill()
        process.wait()
    told = b"".join(output)
    if code and len(told) < MAX_KEY_BYTES + MARGIN_BYTES:
        raise subprocess.CalledProcessError(code, words)
    return told


def _read(process: "subprocess.Popen[bytes]", output: list[bytes]) -> None:
    """Read what a command prints, and end one that prints more than a key may have."""
    left = MAX_KEY_BYTES + MARGIN_BYTES
    pipe: IO[bytes] | None = process.stdout
    if pipe is None:
        return
    with pipe:
        while left and (data := os.read(pipe.fileno(), left)):
            output.append(data)
            left -= len(data)
    if not left:
        process.kill()
