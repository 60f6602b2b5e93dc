"""`imagegen init` connects a service: take what the options or the person say, test it without spending, write it."""

import getpass
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from imagegen_cli.commands.checks.finding import Level, Report
from imagegen_cli.commands.checks.services import check_services
from imagegen_cli.commands.console import say
from imagegen_cli.commands.dialogue import agreed, choice, line_from
from imagegen_cli.commands.options import InitOptions
from imagegen_cli.commands.services import titles
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.schema import REFERENCES, Secret, default_of, nearest
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings.config import Configured, configured
from imagegen_cli.settings.edit import with_provider
from imagegen_cli.settings.files import OTHERS, SettingsFile, holds_key, write
from imagegen_cli.settings.keys import keys_lacking, keys_of, variable_of
from imagegen_cli.settings.paths import user_file

ONE_WAY = Message("--key-stdin, --key-env and --key-command exclude each other")
NAME = re.compile(r"[\w.-]+")
OWNER_ONLY = 0o600

Keys = Mapping[str, Secret]
"""Settings that hold a key, each with the key itself or with where it comes from."""


def init(options: InitOptions) -> int:
    """Connect a service. Raises UsageError and ConfigError, which says whether it was written."""
    path = user_file().resolve()  # the file behind a link is written, not the link
    text, tables = _existing(path)
    taken = tables.get("providers", {})
    is_dialogue = not options.yes and sys.stdin.isatty() and sys.stderr.isatty()
    keys = _keys(options)
    if is_dialogue:
        options, keys = _prompted(options, keys, taken, has_default="default_provider" in tables)
    else:
        options = _complete(options, keys, taken)
    one = _configured(options, keys)
    options = options._replace(base_url=one.settings.base_url) if options.base_url else options
    fault = _tested(one)
    if fault and not (options.yes or (is_dialogue and agreed(Message("Write it all the same?"), default=False))):
        wrong = Message("it does not work as it is; nothing was written")
        raise ConfigError(wrong, hint=Message("--yes writes it all the same"))
    _write(path, text, options, keys)
    say(Message("written: {path}").format(path=path), path=str(path))
    if fault:
        wrong = Message("{name} is in the settings, but it does not work as it is: {why}")
        again = Message("mend it, then look again: imagegen doctor {name}").format(name=options.name)
        raise ConfigError(wrong.format(name=options.name, why=fault), hint=again)
    say(Message('try it: imagegen run "two cats on a beach" -p {name}').format(name=options.name))
    return 0


def _existing(path: Path) -> tuple[str, dict[str, Any]]:
    """The text and the tables of the file as it is. Raises ConfigError where they cannot be kept."""
    file = SettingsFile.read(path, trusted=True)
    if file is None:
        return "", {}
    file.table("providers")
    return file.raw, file.data


def _write(path: Path, text: str, options: InitOptions, keys: Keys) -> None:
    """Add the provider to the file, or replace it there; nothing else in the file changes. Raises ConfigError."""
    table = {"kind": options.kind, **_table(options, keys)}
    changed = with_provider(text, options.name, table, default=bool(options.default))
    mode = path.stat().st_mode & 0o7777 if path.exists() else OWNER_ONLY
    if mode & OTHERS and holds_key({options.name: table}):
        mode &= ~OTHERS
        say(Message("only you can read {path} from now on, because it holds a key").format(path=path))
    write(path, changed, mode=mode)


def _tested(one: Configured) -> str:
    """Test it without spending, and say what is found. Returns the first thing that cannot work, empty if all can."""
    report, fault = Report(sys.stderr), ""
    for finding in check_services([one], {}):
        report.add(finding)
        if finding.level is Level.NO and not fault:
            fault = Message("{check}: {message}").format(check=finding.check, message=finding.message)
    report.close()
    return fault


# What the options say


def _table(options: InitOptions, keys: Keys) -> dict[str, Any]:
    """The table [providers.NAME] without its kind. Raises UsageError."""
    plain = {"base_url": options.base_url, "model": options.model}
    named = {name: value for name, value in plain.items() if value}
    secrets = {name: secret.reveal() for name, secret in keys.items()}
    return named | secrets | _values(options.kind, options.values or ())


def _configured(options: InitOptions, keys: Keys) -> Configured:
    """The provider as it will be read from the file. Raises UsageError for what would be refused there."""
    if not NAME.fullmatch(options.name):
        wrong = Message("{name!r} is no name for a provider: use letters, digits, - and _")
        raise UsageError(wrong.format(name=options.name))
    try:
        return configured(options.name, options.kind, _table(options, keys), str(user_file()), lambda _: "init")
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _complete(options: InitOptions, keys: Keys, taken: Mapping[str, Any]) -> InitOptions:
    """The options with a name. Raises UsageError that names every option that is missing."""
    if not options.kind:
        known = Message("known: {kinds}").format(kinds=", ".join(kind for kind, _ in titles()))
        raise UsageError(Message("missing: --kind; then what it needs, as --base-url, --key-env"), hint=known)
    options = options._replace(name=options.name or options.kind)
    one = _configured(options, keys)
    if lacking := keys_lacking(one):
        ways = {"api_key": Message("one of --key-env NAME, --key-command CMD, --key-stdin")}
        missing = joined("; ", [ways.get(name, f"--set {name}=env:NAME") for name in lacking])
        variables = ", ".join(f"${variable_of(one, name)}" for name in lacking)
        hint = Message("or set {variables}, which is read without being named").format(variables=variables)
        raise UsageError(Message("missing: {options}").format(options=missing), hint=hint)
    if options.name in taken and not options.yes:
        there = Message("there is a provider {name} already").format(name=options.name)
        raise UsageError(there, hint=Message("--yes replaces it, --name adds another"))
    return options


def _values(kind: str, pairs: Sequence[str]) -> dict[str, Any]:
    """FIELD=VALUE as the kind's settings take them. Raises UsageError, which repeats no value: it may be a key."""
    known = {item.name: item for item in fields(load(kind).Settings)}
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(Message("--set takes FIELD=VALUE"))
        if name not in known:
            unknown = Message("--set {name}: {kind} has no such setting").format(name=name, kind=kind)
            raise UsageError(unknown, hint=nearest(name, known))
        found[name] = _value(known[name], text.strip())
    return found


def _value(item: Field[Any], text: str) -> Any:
    default = default_of(item)
    if isinstance(default, Secret) and not text.startswith(REFERENCES):
        hint = Message('{name}=env:NAME or {name}="cmd:COMMAND" name a place to take it from').format(name=item.name)
        raise UsageError(Message("--set {name}: a key never goes through an option").format(name=item.name), hint=hint)
    if isinstance(default, str | Secret):
        return text
    try:
        return json.loads(text)
    except ValueError:
        wrong = Message("--set {name}: the value is not valid JSON").format(name=item.name)
        raise UsageError(wrong, hint=item.metadata["doc"]) from None


# Keys


def _keys(options: InitOptions) -> Keys:
    """The keys that the options and stdin say. Raises UsageError."""
    if options.kind and options.kind not in kinds():
        unknown = Message("there is no kind {kind!r}").format(kind=options.kind)
        raise UsageError(unknown, hint=nearest(options.kind, kinds()))
    reference = _key_reference(options.key_env, options.key_command)
    if not options.key_stdin:
        return reference
    if reference:
        raise UsageError(ONE_WAY)
    return _keys_from_stdin(keys_of(load(options.kind)) if options.kind else ["api_key"])


def _key_reference(variable: str, command: str) -> Keys:
    """What the settings say about a key that is kept elsewhere. Raises UsageError."""
    if variable and not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise UsageError(Message("--key-env takes the name of an environment variable, never a key"))
    if variable and command:
        raise UsageError(ONE_WAY)
    text = f"env:{variable}" if variable else f"cmd:{command}" if command else ""
    return {"api_key": Secret(text)} if text else {}


def _keys_from_stdin(names: Sequence[str]) -> Keys:
    """One line per key, and a terminal shows nothing of it. Raises UsageError."""
    found: dict[str, Secret] = {}
    for name in names:
        text = (getpass.getpass(f"{name}: ", sys.stderr) if sys.stdin.isatty() else sys.stdin.readline()).strip()
        if text.startswith(REFERENCES):
            hint = Message("--key-env and --key-command take references")
            raise UsageError(Message("the {name} on stdin is no key").format(name=name), hint=hint)
        if text:
            found[name] = Secret(text)
    if "api_key" not in found:
        raise UsageError(Message("--key-stdin found no key on stdin"))
    return found


# The dialogue


def _prompted(
    options: InitOptions, keys: Keys, taken: Mapping[str, Any], *, has_default: bool
) -> tuple[InitOptions, Keys]:
    """Ask for what the options left open."""
    if not options.kind:
        say(Message("Which service?"))
        options = options._replace(kind=choice(titles(), ""))
    options = options._replace(name=_prompted_name(options, taken))
    if not load(options.kind).local:
        options, keys = _prompted_service(options, keys)
    if options.default is None:
        question = Message("Use it when --provider is not given?")
        options = options._replace(default=agreed(question, default=not has_default))
    return options, keys


def _prompted_name(options: InitOptions, taken: Mapping[str, Any]) -> str:
    replaces = Message("There is a provider {name} already. Replace it?")
    name = options.name or line_from(Message("Its name here"), options.kind)
    while not NAME.fullmatch(name) or (name in taken and not agreed(replaces.format(name=name), default=False)):
        name = line_from(Message("Another name, of letters, digits, - and _"))
    return name


def _prompted_service(options: InitOptions, keys: Keys) -> tuple[InitOptions, Keys]:
    """Ask for address, keys and model; what is the kind's own default is not written down."""
    if not options.base_url:
        options = options._replace(base_url=_prompted_address(options, keys))
    one = _configured(options, keys)
    found = dict(keys)
    for name in keys_of(one.type):
        if name not in found and not getattr(one.settings, name) and (secret := _prompted_key(one, name)):
            found[name] = secret
    if not options.model:
        own = one.settings.model
        given = line_from(Message("Its model when --model is not given"), own, needed=False)
        options = options._replace(model="" if given == own else given)
    return options, found


def _prompted_address(options: InitOptions, keys: Keys) -> str:
    own = _configured(options, keys).settings.base_url
    while True:
        given = line_from(Message("Its address"), own, needed=False)
        address = "" if given == own else given
        try:
            _configured(options._replace(base_url=address), keys)
        except UsageError as error:
            say(error.message)
        else:
            return address


def _prompted_key(one: Configured, name: str) -> Secret:
    variable = variable_of(one, name)
    is_set = bool(variable and os.environ.get(variable))
    say(Message("Where does its {name} come from?").format(name=name))
    set_now = Message("an environment variable; ${variable} is set").format(variable=variable)
    ways = [
        ("type", Message("type it now; it is not shown, and kept where only you can read it")),
        ("env", set_now if is_set else Message("an environment variable")),
        ("cmd", Message("a command that prints it, as: pass show images")),
        ("none", Message("it needs none")),
    ]
    match choice(ways, "env" if is_set else "type" if variable else "none"):
        case "type":
            return Secret(getpass.getpass(f"{name}: ", sys.stderr).strip())
        case "env":
            return _key_reference(line_from(Message("Name of the variable"), variable), "").get("api_key", Secret())
        case "cmd":
            return _key_reference("", line_from(Message("Command"))).get("api_key", Secret())
        case _:
            return Secret()
