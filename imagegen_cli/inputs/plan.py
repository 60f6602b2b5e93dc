"""Turns prompt specifications into requests: provider and model are chosen, every rule is checked, nothing is sent."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_cli.core import naming
from imagegen_cli.core.errors import BadRequest, ConfigError, ImagegenError, UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.core.masking import without_user
from imagegen_cli.core.provider import Clients, Provider
from imagegen_cli.core.references import HEAD, format_in, is_remote, opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import ImageRequest, Parent, TaskId
from imagegen_cli.inputs.prompts import PromptSpec, size_in
from imagegen_cli.settings.config import Config, Configured
from imagegen_cli.storage import serialize
from imagegen_cli.storage.records import Numbers, Planned, Record

if TYPE_CHECKING:
    from imagegen_cli.inputs.comparison import EqualCells  # most commands vary nothing

STDIN = "-"
"""The source of a list that comes through a pipe; its references are looked up in the working directory."""
MIN_FREE_BYTES = 8 * 1024 * 1024
"""Free space that a picture and the receipt in the history need."""
MAX_COUNT = 1000
"""Pictures per prompt. Services make fewer at a time; a larger number is a mistake, and a costly one."""
MAX_BAD_LINES = 20
MAX_MAKERS = 3
UNSENT = Message("nothing was sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One future paid submit. `identity` distinguishes it from all others of its list, wherever its line moves.

    `expected_images` and `alternatives`: see `Task`. `source`, `earlier`, `adopts`, `others`, `repeats`, `terms`
    and `parents`: see `Planned`. `cell`: see `Task`. `shared_seed`: the seed that all tasks of its comparison share,
    which the first part of its request has; None where it has none.
    """

    request: ImageRequest
    expected_images: int
    line: int
    identity: str
    cell: Mapping[str, str] = field(default_factory=dict)
    shared_seed: int | None = None
    alternatives: tuple[ImageRequest, ...] = ()
    source: str = ""
    earlier: tuple[Record, ...] | None = None
    adopts: Record | None = None
    others: frozenset[int] | None = None
    repeats: TaskId | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where pictures go and how they are named. `marks`: see `Planned`."""

    folder: Path
    template: str
    marks: str = ""


FindPicture = Callable[[str], tuple[str, Parent]]
"""The file of a picture that is named by its task, as task:12/2, and which one it is. Raises UsageError."""
PICTURE_OF_A_TASK = "task:"
"""How a reference begins that names a picture of the history."""


def prepare(
    specs: Sequence[PromptSpec],
    config: Config,
    find: FindPicture | None = None,
    *,
    new_seeds: bool = False,
    remark: Callable[[str], None] | None = None,
) -> list[Item]:
    """Check everything before the first submit. Raises UsageError that names every line that would be refused.

    `new_seeds`: draw the seeds of comparisons anew also where lists were sent before. `remark` is told which cells are
    one, because they ask for the same.
    """
    is_single = len(specs) == 1 and not specs[0].place
    equal = None
    if any(spec.is_varied for spec in specs):
        from imagegen_cli.inputs.comparison import EqualCells, expanded  # noqa: PLC0415 - most commands vary nothing

        specs, equal = expanded(specs, new_seeds=new_seeds), EqualCells()
    found: list[Item] = []
    bad: dict[tuple[str, str], list[PromptSpec]] = {}
    seen: dict[tuple[str, str], int] = {}
    providers: dict[str, Provider[Any]] = {}
    for spec in specs:
        try:
            placed = with_files(spec, config, find) if find is not None else spec
            for requests in _requests(placed, config):
                for request in requests:
                    if request.provider not in providers:
                        providers[request.provider] = offline_provider(config.provider(request.provider))
                items = list(_checked(requests, placed, providers, seen))
                found += _unequalled(items, placed, equal, seen)
        except ConfigError:
            raise
        except ImagegenError as error:
            if is_single and not spec.cell:
                raise UsageError(error.message, hint=error.hint) from error
            bad.setdefault((error.message, error.hint), []).append(spec)
    if bad:
        raise _refusal(bad, is_single=is_single)
    _tell(equal, remark)
    return found


def _refusal(bad: Mapping[tuple[str, str], list[PromptSpec]], *, is_single: bool) -> UsageError:
    """The error that names every line that would be refused."""
    messages = [_located(wrong, message, alone=is_single) for (message, _), wrong in bad.items()]
    rest = len(messages) - MAX_BAD_LINES
    more = [Message("… and {count} more").format(count=rest)] if rest > 0 else []
    hint = next(filter(None, (_meant(wrong, *told) for told, wrong in bad.items())), "")
    if hint and not hint.startswith(UNSENT):
        hint = Message("nothing was sent; {way}").format(way=hint)
    return UsageError(joined("\n", [*messages[:MAX_BAD_LINES], *more]), hint=hint or UNSENT)


def _tell(equal: "EqualCells | None", remark: Callable[[str], None] | None) -> None:
    if equal is not None and remark is not None and equal.remark:
        remark(equal.remark)


def _unequalled(
    items: list[Item], spec: PromptSpec, equal: "EqualCells | None", seen: dict[tuple[str, str], int]
) -> list[Item]:
    """The items of a cell; none where another cell asks for the same, as if it were not there."""
    if equal is None or not spec.cell or not equal.has(spec, [item.request for item in items]):
        return items
    seen[spec.source, items[0].identity.split(":")[0]] -= 1  # so that the next one that is repeated keeps its number
    return []


def _located(wrong: Sequence[PromptSpec], message: str, *, alone: bool) -> str:
    """A message behind the file and the line that it is about, or behind the number of a typed prompt."""
    message = _with_what_varied(wrong, message)
    if alone:
        return message
    lines: dict[tuple[str, str, int], PromptSpec] = {}
    for spec in wrong:
        lines.setdefault((spec.source, spec.place, spec.line), spec)
    first, *others = lines.values()
    if others:
        numbers = joined(" ", [*(_short_place(spec, first) for spec in others[:MAX_BAD_LINES]), *_rest_of(others)])
        if first.place:
            where = ngettext("line {numbers}", "lines {numbers}", len(others), numbers=numbers)
        else:
            where = ngettext("prompt {numbers}", "prompts {numbers}", len(others), numbers=numbers)
        message = Message("{message} (also {places})").format(message=message, places=where)
    return joined(": ", (first.place or Message("prompt {number}").format(number=first.line), message))


def _rest_of(others: Sequence[PromptSpec]) -> list[str]:
    return ["…"] if len(others) > MAX_BAD_LINES else []


def _short_place(spec: PromptSpec, first: PromptSpec) -> str:
    """The place of a prompt without the name of its list, which stands in the first one's."""
    before = f"{first.place.rpartition(':')[0]}:"
    if not spec.place.startswith(before):
        return spec.place or f"{spec.line}"
    line = spec.place.removeprefix(before)
    return line if line.isdecimal() else Message(" element {number}").format(number=spec.line)


def _with_what_varied(wrong: Sequence[PromptSpec], message: str) -> str:
    """A message behind what was varied and is wrong: the values that all of these share, or an unknown name."""
    if unknown := _unknown(wrong, message):
        told = Message("--vary {name}: {word} stands in no prompt, and {message}")
        return told.format(name=unknown, word=f"{{{unknown}}}", message=message)
    shared = {
        name: value for name, value in wrong[0].cell.items() if all(spec.cell.get(name) == value for spec in wrong)
    }
    values = " ".join(f"{name}={value}" for name, value in shared.items())
    return joined(": ", (f"--vary {values}", message)) if shared else message


def _unknown(wrong: Sequence[PromptSpec], message: str) -> str:
    """The name of what was varied that is no option, in braces of no prompt, and refused by the service; else empty."""
    own = [name for name in wrong[0].cell if name in wrong[0].extra and "option" in message]
    return next((name for name in own if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", message)), "")


def _meant(wrong: Sequence[PromptSpec], message: str, hint: str) -> str:
    """A hint that names what stands in the prompts or is an option of `run`, where the unknown name is near to one."""
    unknown = _unknown(wrong, message)
    if not unknown:
        return hint
    from imagegen_cli.inputs.comparison import meant  # noqa: PLC0415 - something was varied, so it is there

    near = meant(unknown, wrong, least=0.6)
    return Message("did you mean {name}?").format(name=near) if near else hint


def place(folder: Path, template: str) -> Place:
    """Create the folder and write into it. Raises UsageError where no picture could be written or named."""
    naming.check_template(template)
    import tempfile  # noqa: PLC0415 - only where something is to be written

    try:
        folder = folder.expanduser().absolute()
        str(folder).encode()  # the history stores text, so this must be valid Unicode
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
        with suppress(FileNotFoundError):  # a path that is too long would be found out after the picture was paid for
            os.lstat(folder.joinpath(*["x" * 49] * (naming.MAX_PART_BYTES // 50)))
    except (OSError, ValueError, RuntimeError) as error:
        hint = Message("choose another folder with --output")
        message = Message("cannot write into {folder}: {why}").format(folder=folder, why=cause(error))
        raise UsageError(message, hint=hint) from error
    if free < MIN_FREE_BYTES:
        hint = Message("free some, or choose another folder with --output")
        raise UsageError(Message("no space left in {folder}").format(folder=folder), hint=hint)
    return Place(folder=folder, template=template)


def planned(items: Sequence[Item], where: Place, numbers: Numbers) -> list[Planned]:
    """The items as the history takes them: each with its number, folder and file name, which may contain the number."""
    taken = {path.name.rpartition(".")[0].lower() for path in os.scandir(where.folder)}
    now, new = time.time(), iter(numbers.tasks)
    ids = [next(new) if item.adopts is None else item.adopts.task.id for item in items]
    names = [
        naming.name_for(where.template, id_, numbers.run, item.request, line=item.line, now=now, cell=item.cell)
        for id_, item in zip(ids, items, strict=True)
    ]
    return [
        Planned(
            id=id_,
            name=naming.free_name(name, item.expected_images, taken),
            request=item.request,
            expected_images=item.expected_images,
            alternatives=item.alternatives,
            folder=str(where.folder),
            identity=item.identity,
            source=item.source,
            earlier=item.earlier,
            adopts=item.adopts,
            others=item.others,
            repeats=item.repeats,
            parents=item.parents,
            cell=item.cell,
            marks=where.marks,
            terms=item.terms,
        )
        for id_, name, item in zip(ids, names, items, strict=True)
    ]


def _requests(spec: PromptSpec, config: Config) -> Iterable[list[ImageRequest]]:
    """For each model that is compared, the request as each provider that may take it would get it."""
    width, height = size_in(spec.size) if spec.size else (None, None)
    if spec.count is not None and spec.count < 1:
        message = Message("count is {count}; it must be at least 1").format(count=spec.count)
        raise UsageError(message, hint=_count_hint(spec))
    if spec.count is not None and spec.count > MAX_COUNT:
        message = Message("count is {count}; one prompt may ask for at most {limit} pictures")
        raise UsageError(message.format(count=spec.count, limit=MAX_COUNT), hint=_count_hint(spec))
    for model in spec.models or ("",):
        yield [
            ImageRequest(
                prompt=spec.prompt,
                provider=provider,
                model=name or config.provider(provider).settings.model,
                ratio=spec.ratio.replace("：", ":"),
                resolution=spec.resolution.lower(),
                width=width,
                height=height,
                count=spec.count,
                seed=None if spec.seed == -1 else spec.seed,
                negative=spec.negative,
                references=tuple(_reference(reference, spec, config) for reference in spec.references),
                name=spec.name,
                extra=spec.extra,
            )
            for provider, name in _permitted(_chosen(spec.provider, model, config), spec, config)
        ]


def _count_hint(spec: PromptSpec) -> str:
    if "count" in spec.listed:
        return Message("write a number from 1 to {limit} for the column count").format(limit=MAX_COUNT)
    return Message("write a number from 1 to {limit} for -n").format(limit=MAX_COUNT)


def _chosen(providers: str, model: str, config: Config) -> list[tuple[str, str]]:
    """Providers and model: `provider/model` is exact, [models] has short names, and a version belongs to a provider.

    Raises UsageError where several providers offer a version and the person named none of them.
    """
    model = config.model(model)
    named = [name.strip() for name in providers.split(",") if name.strip()]
    before, slash, after = model.partition("/")
    if slash and (before in config.providers or (not named and _is_provider(before, config))):
        if named and named != [before]:
            message = Message("--model {model} names the provider {provider}, --provider names {others}")
            raise UsageError(message.format(model=model, provider=before, others=providers))
        return [(before, after)]
    if named:
        return [(name, model) for name in dict.fromkeys(named)]
    return [(_offering(model, config), model)]


def _permitted(chosen: list[tuple[str, str]], spec: PromptSpec, config: Config) -> list[tuple[str, str]]:
    """Raise UsageError where a list alone chose a provider that only the project file names."""
    for name, _ in chosen:
        by_list = "provider" in spec.listed or ("models" in spec.listed and spec.provider != name)
        if by_list and name in config.providers and not config.is_own(name):
            message = Message("the list chooses {name}, which only the project file names: -p {name} permits it")
            raise UsageError(message.format(name=name))
    return chosen


def _offering(model: str, config: Config) -> str:
    """The provider for a bare version such as 4.0: the default provider, or the only other one that offers it."""
    default = config.default
    offers = [one.name for one in config.own if offline_provider(one).model_for_version(model) is not None]
    if not re.fullmatch(r"\d\.\d\w?", model) or not offers or default in offers or config.provider(default).type.local:
        return default
    if len(offers) > 1:
        choices = ", ".join(f"{name}/{model}" for name in offers)
        message = Message("several providers offer the model {model}").format(model=model)
        raise UsageError(message, hint=Message("say which: {choices}").format(choices=choices))
    return offers[0]


def _is_provider(name: str, config: Config) -> bool:
    try:
        config.provider(name)
    except ImagegenError:
        return False
    return True


def _reference(text: str, spec: PromptSpec, config: Config) -> str:
    """A picture to start from: an address as it is, a file by its full path. Raises UsageError where there is none.

    A relative path starts at the working directory, in a list as well. Links are followed now and never again: the
    file that is checked here is the file that is sent later.
    """
    if is_remote(text):
        return text
    try:
        path = Path(text).expanduser().absolute()
        if "references" in spec.listed:
            _must_be_inside(text, path, spec, config)
        with opened(path) as file:
            known = format_in(file.read(HEAD))
    except (OSError, ValueError, RuntimeError) as error:
        message = Message("the reference {reference} cannot be read: {why}")
        raise UsageError(message.format(reference=text, why=cause(error))) from error
    if not known:
        message = Message("the reference {reference} is no picture, by its first bytes; only pictures are sent")
        raise UsageError(message.format(reference=text))
    return str(path.resolve())


def is_of_a_task(reference: str) -> bool:
    return reference.strip().lower().startswith(PICTURE_OF_A_TASK)


def names_a_task(spec: PromptSpec) -> bool:
    """Whether one of its references is a picture of a task, or becomes one by what is varied."""
    varied = (value for values in spec.vary.values() for value in values)
    return any(map(is_of_a_task, (*spec.references, *varied)))


def with_files(spec: PromptSpec, config: Config, find: FindPicture) -> PromptSpec:
    """The same with a file in place of each reference that names a picture of a task. Raises UsageError.

    A list may name a task only where it may name the file itself.
    """
    references, parents = [], list(spec.parents)
    for text in spec.references:
        path = text
        if is_of_a_task(text):
            path, parent = find(text.strip()[len(PICTURE_OF_A_TASK) :])
            if "references" in spec.listed:
                _must_be_inside(text, Path(path), spec, config)
            parents.append(parent)
        references.append(path)
    return replace(spec, references=tuple(references), parents=tuple(dict.fromkeys(parents)))


def _must_be_inside(text: str, path: Path, spec: PromptSpec, config: Config) -> None:
    """Raise UsageError where a list names a file outside of its own folder and of the project that it belongs to.

    A list may come from another person, who could name any picture of this machine and have it uploaded.
    """
    folder = Path(spec.source or STDIN).absolute().parent.resolve()
    root = config.project if config.project and folder.is_relative_to(config.project) else folder
    if not path.resolve().is_relative_to(root):
        message = Message(
            "the reference {reference} is outside of the list's folder {folder}: --allow-outside permits it"
        )
        raise UsageError(message.format(reference=text, folder=root))


def _checked(
    requests: list[ImageRequest],
    spec: PromptSpec,
    providers: Mapping[str, Provider[Any]],
    seen: dict[tuple[str, str], int],
) -> Iterable[Item]:
    """The request, split where a service makes fewer pictures at a time; equal requests differ in their occurrence."""
    content = serialize.identity(requests[0])
    here = spec.source, content
    seen[here] = seen.get(here, 0) + 1
    if spec.shared_seed is not None:  # it is no part of the identity: a list that is read again sends nothing again
        requests = [_with_seed(request, spec.shared_seed, providers[request.provider]) for request in requests]
    limits = [limit for request in requests if (limit := providers[request.provider].max_images(request)) is not None]
    pieces = [list(_split(request, min(limits, default=None))) for request in requests]
    for part, (piece, *others) in enumerate(zip(*pieces, strict=True), 1):
        for one in (piece, *others):
            providers[one.provider].check(one)
        identity = f"{content}:{seen[here]}:{part}"
        yield Item(
            request=piece,
            expected_images=providers[piece.provider].expected_images(piece),
            line=spec.line,
            identity=identity,
            alternatives=tuple(others),
            source=spec.source,
            parents=spec.parents,
            cell=spec.cell,
            shared_seed=spec.shared_seed if requests[0].seed is not None else None,
        )


def _with_seed(request: ImageRequest, seed: int, provider: Provider[Any]) -> ImageRequest:
    """The request with a seed, where the service takes one."""
    seeded = replace(request, seed=seed)
    try:
        provider.check(next(iter(_split(seeded, provider.max_images(seeded)))))
    except ImagegenError:
        return request
    return seeded


def _split(request: ImageRequest, max_images: int | None) -> Iterable[ImageRequest]:
    """Split a request. The seed increases from part to part: the same seed would give the same picture."""
    if max_images is None or request.count is None or request.count <= max_images:
        yield request
        return
    for start in range(0, request.count, max_images):
        seed = None if request.seed is None else request.seed + start
        yield replace(request, count=min(max_images, request.count - start), seed=seed)


def check_settings(configured: Configured) -> None:
    """Check settings as the first request would. Raises ConfigError."""
    try:
        offline_provider(configured).check_settings()
    except BadRequest as error:
        raise ConfigError(error.message, hint=error.hint) from error


def offline_provider(configured: Configured) -> Provider[Any]:
    """A provider that can check and count, but has no network clients."""
    none: Any = None
    return configured.type(configured.settings, Clients(paid=none, free=none))


def dry_run_row(item: Item, config: Config, where: Place) -> Mapping[str, Any]:
    """What would be sent, for --dry-run."""
    request = serialize.from_request(item.request)
    configured = config.provider(item.request.provider)
    now, cell = time.time(), item.cell
    name = naming.name_for(where.template, "(id)", "(run)", item.request, line=item.line, now=now, cell=cell)
    sent = offline_provider(configured).payload(item.request)
    return {
        "line": item.line,
        **request,
        "kind": configured.kind,
        "base_url": without_user(configured.settings.base_url),
        "asked": item.expected_images,
        **({"vary": dict(cell)} if cell else {}),
        "file": str(where.folder / name),
        **({"sent": sent} if sent else {}),
    }


def summary(items: Sequence[Item]) -> Iterator[str]:
    """What will be sent, in few words: the providers and models, the number of tasks if not one, and of pictures."""
    makers = list(dict.fromkeys(f"{item.request.provider} {item.request.model}".strip() for item in items))
    names = ", ".join(makers[:MAX_MAKERS])
    more = Message("{names} and {count} more").format(names=names, count=len(makers) - MAX_MAKERS)
    yield more if len(makers) > MAX_MAKERS else names
    if len(items) > 1:
        yield ngettext("{count} task", "{count} tasks", len(items))
    yield ngettext("{count} picture", "{count} pictures", sum(item.expected_images for item in items))
