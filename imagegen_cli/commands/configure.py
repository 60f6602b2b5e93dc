"""Commands about settings and services: what there is, what is in force, whether it can work."""

import getpass
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imagegen_cli.core.errors import ConfigError, ImagegenError, NothingToDo, Unauthorized, UsageError
from imagegen_cli.core.masking import masked, without_user
from imagegen_cli.core.provider import Balance
from imagegen_cli.core.schema import Secret, default_of, nearest
from imagegen_cli.core.text import Printer, encoded, finite, literal, printer
from imagegen_cli.display.keys import drop_typed_ahead
from imagegen_cli.providers import kinds, load
from imagegen_cli.settings import config as settings, paths
from imagegen_cli.settings.as_toml import dumps, shown
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.settings.edit import with_provider
from imagegen_cli.settings.files import OTHERS, SettingsFile, holds_key, write
from imagegen_cli.settings.keys import key_of

ONE_WAY = "--key-stdin, --key-env and --key-command exclude each other"
ALL_THE_SAME = "Write it all the same?"
NAME = re.compile(r"[\w.-]+")
OWNER_ONLY = 0o600


def show_providers(kind: str, *, as_json: bool) -> int:
    """List what is configured and what could be; or the settings of one kind."""
    data = printer(sys.stdout, as_json=as_json)
    if kind:
        for line in _settings_of(kind):
            data.line(line)
        return 0
    config = settings.load_config()
    rows = [_row(name, one.kind, one.settings, config) for name, one in config.providers.items()]
    rows += [_row(name, name, load(name).Settings(), config) for name in kinds() if name not in config.providers]
    for row in rows:
        data.line(encoded({"v": 1, **row}, data.encoding) if as_json else _line(row))
    return 0


def config_path() -> int:
    """Print the files that are read, in the order of their weight, and the history."""
    data = Printer(sys.stdout)
    for path in (paths.project_file(), paths.user_file()):
        if path is not None:
            data.line(f"{path}{'' if paths.is_there(path) else '  (not there yet)'}")
    data.line(f"{paths.history_file()}  (history)")
    return 0


def config_show() -> int:
    """Print everything in force as TOML."""
    Printer(sys.stdout).line(dumps(shown(settings.load_config())).rstrip())
    return 0


def config_check() -> int:
    """Read all settings and find all keys. Raises ConfigError for the first that cannot be used."""
    config = settings.load_config()
    data = Printer(sys.stdout)
    for path in config.files:
        data.line(f"ok  {path}")
    trouble: list[ConfigError] = []
    for name, one in config.providers.items():
        try:
            _usable(one)
        except ConfigError as error:
            todo = f"; {error.hint}" if error.hint else ""
            data.line(literal(f"no  {name} ({one.kind}): {error.message}{todo}", data.encoding))
            trouble.append(error)
        else:
            data.line(f"ok  {name} ({one.kind})")
    for remark in config.remarks:
        data.line(f"no  {remark}")
    config.provider(config.default)
    data.line(f"ok  default provider: {config.general.default_provider}")
    if trouble or config.remarks:
        raise ConfigError(f"{len(trouble) + len(config.remarks)} to mend")
    return 0


def _usable(one: Configured) -> None:
    """Find the keys, and look at what else no request could be sent with. Raises ConfigError."""
    from imagegen_cli.inputs.plan import check_settings  # noqa: PLC0415 - a provider brings httpx with it

    key_of(one)
    check_settings(one)


def models(name: str, *, as_json: bool) -> int:
    """List what can be named with --model, as provider/model: `*` its provider's own choice, `+` other configured ones.

    JSON: v, name, provider, model, default, configured, live; short names have v, name, stands_for.
    """
    from imagegen_cli.commands import doctor  # noqa: PLC0415 - httpx costs more than all the rest

    config = settings.load_config()
    data = printer(sys.stdout, as_json=as_json)
    chosen = _chosen(config, name)
    answers = doctor.ask_all(chosen, lambda provider: provider.models())
    for one, told in zip(chosen, answers, strict=True):
        listed = tuple(map(masked, told.value or ()))
        own = one.settings.model
        for model in dict.fromkeys([own, *listed] if own and own not in listed else listed):
            row = {"name": f"{one.name}/{model}", "provider": one.name, "model": model, "default": model == own}
            row |= {"configured": one.name in config.providers, "live": bool(told.heard and told.value)}
            data.line(_model_line(row, data.encoding, as_json=as_json))
        _remark(one, own, told)
    _short_names(config, name, data, as_json=as_json)
    if not name:
        _say_unconfigured(config)
    return _code([told.trouble for told in answers])


def credits_(name: str, *, as_json: bool) -> int:
    """List what is left at each service that tells. JSON: v, provider, amount (or null), unit, note."""
    from imagegen_cli.commands import doctor  # noqa: PLC0415 - see above

    config = settings.load_config()
    chosen = [one for one in _chosen(config, name) if name or not doctor.at_home(one.type, one.settings)]
    if not chosen:
        raise NothingToDo("no service is configured", hint="imagegen init connects one")
    busy = doctor.busy_with(config)
    asked = [one for one in chosen if one.name not in busy]
    answers = doctor.ask_all(asked, lambda provider: provider.balance())
    told = {one.name: answer for one, answer in zip(asked, answers, strict=True)}
    data = printer(sys.stdout, as_json=as_json)
    for one in chosen:
        answer = told.get(one.name, doctor.Told(Balance(None, note=f"not asked: {busy.get(one.name)}")))
        data.line(_balance_line(one.name, answer.value, data.encoding, as_json=as_json))
        if answer.trouble:
            _say_trouble(one, answer.trouble)
    return _code([answer.trouble for answer in answers])


def _chosen(config: Config, name: str) -> list[Configured]:
    """What is configured and the default provider; or the one that is named. Raises UsageError."""
    names = [name] if name else list(dict.fromkeys([*(one.name for one in config.own), config.default]))
    return [config.provider(one) for one in names]


def _model_line(row: dict[str, Any], encoding: str, *, as_json: bool) -> str:
    if as_json:
        return encoded({"v": 1, **row}, encoding)
    sign = "*" if row["default"] else "+" if row["configured"] else " "
    return literal(f"{sign} {row['name']}", encoding)


def _balance_line(name: str, balance: Balance | None, encoding: str, *, as_json: bool) -> str:
    from imagegen_cli.commands.doctor import balance_said  # noqa: PLC0415 - see above, without_user

    balance = balance or Balance(None)
    if not as_json:
        note = f"  ({balance.note})" if balance.note else ""
        return literal(f"{name:<14} {balance_said(balance)}{note}", encoding)
    row = {"provider": name, "amount": finite(balance.amount), "unit": balance.unit, "note": balance.note}
    return encoded({"v": 1, **row}, encoding)


def _remark(one: Configured, own: str, told: Any) -> None:
    """What a list of names cannot say."""
    if told.trouble:
        _say_trouble(one, told.trouble)
    elif not told.value:
        _say(f"{one.name} names no models")
    elif own and own not in told.value:
        _say(f"{one.name} does not name its default model {own}")


def _say_trouble(one: Configured, trouble: ImagegenError) -> None:
    _say(f"{one.name} cannot be asked: {trouble.message}" + (f"; {trouble.hint}" if trouble.hint else ""))


def _short_names(config: Config, provider: str, data: Printer, *, as_json: bool) -> None:
    for short, model in config.general.models.items():
        if provider and not model.startswith(f"{provider}/"):
            continue
        row = {"v": 1, "name": short, "stands_for": model}
        data.line(encoded(row, data.encoding) if as_json else literal(f"+ {short} = {model}", data.encoding))


def _say_unconfigured(config: Config) -> None:
    from imagegen_cli.commands.doctor import at_home  # noqa: PLC0415 - see above

    used = {one.kind for one in config.providers.values()}
    services = [kind for kind, _ in _titles() if not at_home(load(kind), load(kind).Settings())]
    if left := [kind for kind in services if kind not in used]:
        _say(f"not configured: {', '.join(left)}; imagegen init connects one")


def _code(troubles: Sequence[ImagegenError | None]) -> int:
    """0 where somebody answered; 3 where it is for a lack of credentials that nobody did."""
    if not troubles or None in troubles:
        return 0
    return 3 if any(isinstance(trouble, ConfigError | Unauthorized) for trouble in troubles) else 1


def _titles() -> list[tuple[str, str]]:
    """Kinds with their titles, but for those of others that cannot be loaded."""
    found = []
    for kind in kinds():
        try:
            found.append((kind, load(kind).title))
        except ConfigError as error:
            _say(error.message)
    return found


def _say(text: str) -> None:
    Printer(sys.stderr).line(literal(text, sys.stderr.encoding or "utf-8"))


# imagegen init


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `init` was told, by flags or in its dialogue; "" and None: not said."""

    kind: str = ""
    name: str = ""
    base_url: str = ""
    keys: Mapping[str, Secret] = field(default_factory=dict)
    key_stdin: bool = False
    model: str = ""
    values: Sequence[str] = ()
    default: bool | None = None
    yes: bool = False

    def table(self) -> dict[str, Any]:
        """The table [providers.NAME] without its kind. Raises UsageError."""
        said = {"base_url": self.base_url, "model": self.model}
        plain = {key: value for key, value in said.items() if value}
        return plain | {key: secret.reveal() for key, secret in self.keys.items()} | _values(self.kind, self.values)


def init(wanted: Wanted) -> int:
    """Connect a service: ask or take flags, test, write."""
    path = paths.user_file().resolve()  # the file behind a link is written, not the link
    text, tables = _standing(path)
    talks = not wanted.yes and sys.stdin.isatty() and sys.stderr.isatty()
    wanted = _with_keys(wanted)
    wanted = _asked(wanted, tables) if talks else _complete(wanted, tables)
    if not _tested(_configured(wanted, path)) and not (wanted.yes or (talks and _agreed(ALL_THE_SAME, default=False))):
        raise ConfigError("it does not work as it is; nothing was written", hint="--yes writes it all the same")
    _write(path, text, wanted)
    _say(f"written: {path}")
    _say(f'try it: imagegen run "two cats on a beach" -p {wanted.name}')
    return 0


def key_reference(variable: str, command: str) -> Mapping[str, Secret]:
    """What stands in the settings for a key that is kept elsewhere. Raises UsageError."""
    if variable and not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise UsageError("--key-env takes the name of an environment variable, never a key")
    if variable and command:
        raise UsageError(ONE_WAY)
    text = f"env:{variable}" if variable else f"cmd:{command}" if command else ""
    return {"api_key": Secret(text)} if text else {}


def _standing(path: Path) -> tuple[str, dict[str, Any]]:
    """The file as it is, text and tables. Raises ConfigError where it cannot be kept."""
    file = SettingsFile.read(path, trusted=True)
    if file is None:
        return "", {}
    file.table("providers")
    return file.raw, file.data


def _with_keys(wanted: Wanted) -> Wanted:
    """With what came by stdin. Raises UsageError for flags that cannot be meant."""
    if wanted.kind and wanted.kind not in kinds():
        raise UsageError(f"there is no kind {wanted.kind!r}", hint=nearest(wanted.kind, kinds()))
    if not wanted.key_stdin:
        return wanted
    if wanted.keys:
        raise UsageError(ONE_WAY)
    return replace(wanted, keys=_keys_from_stdin(_keys_of(wanted.kind) if wanted.kind else ["api_key"]))


def _keys_from_stdin(names: Sequence[str]) -> dict[str, Secret]:
    """One line a key; on a terminal nothing of it is shown. Raises UsageError."""
    found: dict[str, Secret] = {}
    for name in names:
        text = (getpass.getpass(f"{name}: ", sys.stderr) if sys.stdin.isatty() else sys.stdin.readline()).strip()
        if text.startswith(("env:", "cmd:")):
            raise UsageError(f"the {name} on stdin is no key", hint="--key-env and --key-command take references")
        if text:
            found[name] = Secret(text)
    if "api_key" not in found:
        raise UsageError("--key-stdin found no key on stdin")
    return found


def _keys_of(kind: str) -> list[str]:
    from imagegen_cli.commands.doctor import keys_of  # noqa: PLC0415 - see above

    return keys_of(load(kind))


def _complete(wanted: Wanted, tables: Mapping[str, Any]) -> Wanted:
    """What flags must say where nobody can be asked. Raises UsageError that names all that are missing."""
    from imagegen_cli.commands import doctor  # noqa: PLC0415 - see above

    if not wanted.kind:
        known = ", ".join(kind for kind, _ in _titles())
        raise UsageError("missing: --kind; then what it needs, as --base-url, --key-env", hint=f"known: {known}")
    named = replace(wanted, name=wanted.name or wanted.kind)
    one = _configured(named, paths.user_file())
    if lacking := doctor.keys_lacking(one):
        flags = {"api_key": "one of --key-env NAME, --key-command CMD, --key-stdin"}
        said = "; ".join(flags.get(name, f"--set {name}=env:NAME") for name in lacking)
        variables = ", ".join(f"${doctor.variable_of(one, name)}" for name in lacking)
        raise UsageError(f"missing: {said}", hint=f"or set {variables}, read without being named")
    if named.name in tables.get("providers", {}) and not wanted.yes:
        raise UsageError(f"there is a provider {named.name} already", hint="--yes replaces it, --name adds another")
    return named


def _asked(wanted: Wanted, tables: Mapping[str, Any]) -> Wanted:
    """Ask for what the flags left open."""
    if not wanted.kind:
        _say("Which service?")
        wanted = replace(wanted, kind=_choice(_titles(), ""))
    wanted = _asked_name(wanted, tables)
    if not load(wanted.kind).local:
        wanted = _asked_service(wanted)
    if wanted.default is None:
        fresh = "default_provider" not in tables
        wanted = replace(wanted, default=_agreed("Use it when --provider is not given?", default=fresh))
    return wanted


def _asked_name(wanted: Wanted, tables: Mapping[str, Any]) -> Wanted:
    taken = tables.get("providers", {})
    name = wanted.name or _line_from("Its name here", wanted.kind)
    while not NAME.fullmatch(name) or (
        name in taken and not _agreed(f"There is a provider {name} already. Replace it?", default=False)
    ):
        name = _line_from("Another name, of letters, digits, - and _")
    return replace(wanted, name=name)


def _asked_service(wanted: Wanted) -> Wanted:
    """Address, keys and model; what is the kind's own default is not written down."""
    wanted = wanted if wanted.base_url else _asked_address(wanted)
    one = _configured(wanted, paths.user_file())
    keys = dict(wanted.keys)
    for name in _keys_of(wanted.kind):
        if name not in keys and not getattr(one.settings, name) and (secret := _asked_key(one, name)):
            keys[name] = secret
    if not wanted.model:
        own = one.settings.model
        given = _line_from("Its model when --model is not given", own, needed=False)
        wanted = replace(wanted, model="" if given == own else given)
    return replace(wanted, keys=keys)


def _asked_address(wanted: Wanted) -> Wanted:
    own = _configured(wanted, paths.user_file()).settings.base_url
    while True:
        given = _line_from("Its address", own, needed=False)
        asked = replace(wanted, base_url="" if given == own else given)
        try:
            _configured(asked, paths.user_file())
        except UsageError as error:
            _say(error.message)
        else:
            return asked


def _asked_key(one: Configured, name: str) -> Secret:
    from imagegen_cli.commands.doctor import variable_of  # noqa: PLC0415 - see above

    variable = variable_of(one, name)
    is_set = bool(variable and os.environ.get(variable))
    _say(f"Where does its {name} come from?")
    ways = [
        ("type", "type it now; it is not shown, and kept where only you can read it"),
        ("env", "an environment variable" + (f"; ${variable} is set" if is_set else "")),
        ("cmd", "a command that prints it, as: pass show images"),
        ("none", "it needs none"),
    ]
    match _choice(ways, "env" if is_set else "type" if variable else "none"):
        case "type":
            return Secret(getpass.getpass(f"{name}: ", sys.stderr).strip())
        case "env":
            return key_reference(_line_from("Name of the variable", variable), "").get("api_key", Secret())
        case "cmd":
            return key_reference("", _line_from("Command")).get("api_key", Secret())
        case _:
            return Secret()


def _line_from(question: str, default: str = "", *, needed: bool = True) -> str:
    """An answer from the terminal; asked until there is one if needed. Raises UsageError where the person leaves.

    What was typed before the question is no answer to it.
    """
    while True:
        drop_typed_ahead(sys.stdin)
        sys.stderr.write(literal(f"{question}{f' [{default}]' if default else ''}: ", sys.stderr.encoding or "utf-8"))
        sys.stderr.flush()
        try:
            answer = input().strip() or default
        except EOFError:
            raise UsageError("the dialogue was left; nothing was written") from None
        if answer or not needed:
            return answer


def _choice(options: Sequence[tuple[str, str]], default: str) -> str:
    """One of these, by its number or its name."""
    for number, (name, title) in enumerate(options, 1):
        _say(f"  {number:>2}  {name:<12} {title}")
    numbered = {str(number): name for number, (name, _) in enumerate(options, 1)}
    while True:
        answer = _line_from("Number or name", default)
        chosen = numbered.get(answer, answer)
        if chosen in numbered.values():
            return chosen
        _say(f"{answer} is none of these")


def _agreed(question: str, *, default: bool) -> bool:
    while True:
        answer = _line_from(question, "yes" if default else "no").lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")


def _values(kind: str, pairs: Sequence[str]) -> dict[str, Any]:
    """FIELD=VALUE as the kind's settings take them. Raises UsageError, which repeats no value: it may be a key."""
    known = {item.name: item for item in fields(load(kind).Settings)}
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError("--set takes FIELD=VALUE")
        if name not in known:
            raise UsageError(f"--set {name}: {kind} has no such setting", hint=nearest(name, known))
        found[name] = _value(known[name], text.strip())
    return found


def _value(item: Field[Any], text: str) -> Any:
    default = default_of(item)
    if isinstance(default, Secret) and not text.startswith(("env:", "cmd:")):
        hint = f'{item.name}=env:NAME or {item.name}="cmd:COMMAND" name a place to take it from'
        raise UsageError(f"--set {item.name}: a key never goes through a flag", hint=hint)
    if isinstance(default, str | Secret):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"--set {item.name}: the value is no JSON", hint=item.metadata["doc"]) from None


def _configured(wanted: Wanted, path: Path) -> Configured:
    """As it will be read from the file. Raises UsageError for what would be refused there."""
    if not NAME.fullmatch(wanted.name):
        raise UsageError(f"{wanted.name!r} is no name for a provider: use letters, digits, - and _")
    try:
        return settings.configured(wanted.name, wanted.kind, wanted.table(), str(path), lambda _: "init")
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _tested(one: Configured) -> bool:
    """Say what is found without spending; whether all of it can work."""
    from imagegen_cli.commands import doctor  # noqa: PLC0415 - see above

    works = True
    for finding in doctor.examined([one], {}):
        _say(doctor.line(finding, sys.stderr.encoding or "utf-8"))
        works = works and finding.level is not doctor.Level.NO
    return works


def _write(path: Path, text: str, wanted: Wanted) -> None:
    """Add the provider to the file, or replace it there; nothing else in the file changes. Raises ConfigError."""
    table = {"kind": wanted.kind, **wanted.table()}
    changed = with_provider(text, wanted.name, table, default=bool(wanted.default))
    mode = path.stat().st_mode & 0o7777 if path.exists() else OWNER_ONLY
    if mode & OTHERS and holds_key({wanted.name: table}):
        mode &= ~OTHERS
        _say(f"only you can read {path} from now on, because it holds a key")
    write(path, changed, mode=mode)


# What lines are made of


def _row(name: str, kind: str, one: Any, config: settings.Config) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "title": load(kind).title,
        "configured": name in config.providers,
        "default": name == config.general.default_provider,
        "base_url": without_user(one.base_url),
        "model": one.model,
        "concurrency": one.concurrency or "unlimited",
    }


def _line(row: dict[str, Any]) -> str:
    sign = "*" if row["default"] else "+" if row["configured"] else " "
    return f"{sign} {row['name']:<14} {row['kind']:<12} {row['title']}" + (
        f"  {row['base_url']}" if row["base_url"] else ""
    )


def _settings_of(kind: str) -> list[str]:
    provider = load(kind)
    lines = [provider.title, "", f"[providers.NAME]  kind = {json.dumps(kind)}", ""]
    for item in fields(provider.Settings):
        default = default_of(item)
        shown = "" if isinstance(default, Secret) or default in ("", (), {}) else f"  (default {default})"
        lines.append(f"  {item.name:<14} {item.metadata['doc']}{shown}")
    lines += [f"  {name} is also read from ${variable}" for name, variable in provider.Settings.environment.items()]
    return [*lines, *(f"  {remark}" for remark in provider.Settings.remarks)]
