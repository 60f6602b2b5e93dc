"""`info`: what made a picture, as its file, the sidecar beside it and the history say."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_cli.commands.console import history, printed, say
from imagegen_cli.commands.elsewhere import LIES_THERE, other_machine, other_machine_of
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.lineage import Chain, as_objects, chains, in_words
from imagegen_cli.commands.verifying import verifier
from imagegen_cli.core.errors import HistoryError, NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext, tr, translated
from imagegen_cli.core.references import bytes_of, opened
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import Parent
from imagegen_cli.display.fields import moment
from imagegen_cli.display.labelled import Block, print_blocks
from imagegen_cli.marks.dimensions import Size, dimensions
from imagegen_cli.marks.labels import Label
from imagegen_cli.marks.reading import MAX_SIDECAR_BYTES, Reading, UnreadableFile, read, read_sidecar, with_marks
from imagegen_cli.marks.tools import Made
from imagegen_cli.marks.values import EXTRA, Marks, marks_of
from imagegen_cli.marks.writing import sidecar_paths
from imagegen_cli.storage.records import Filter, Picture, Record
from imagegen_cli.storage.store import Store

FORMATS = {".jpg": "JPEG", ".webp": "WebP"}
"""How a format is written, where that is not its suffix in capitals."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff", ".jxl")
"""Suffixes of the files of a folder that are looked at."""
MAX_PARAMETERS = 40
"""Parameters that are shown of one picture; --json has all."""
MAX_PARAMETER_CHARACTERS = 200
MAX_DIGEST_BYTES = 512 * 1024 * 1024
"""Bytes of a file that are read to find it in the history; no larger picture is ever saved."""
CHUNK_BYTES = 1024 * 1024
WORDS = {
    "trainedAlgorithmicMedia": Message("made by a model"),
    "compositeWithTrainedAlgorithmicMedia": Message("changed by a model"),
}
"""Terms of IPTC for how a picture came to be, in plain words."""


class Known(NamedTuple):
    """All that is known of one file. `said_by` is where `reading.made` comes from: file, sidecar or history.

    `picture` and `record` are what the history has under the file's SHA-256. `parents` are the pictures that it was
    made from, and `chains` every way from the first picture to this one. `is_verified` None: it was not looked at.
    """

    path: Path
    size: int
    pixels: Size | None
    reading: Reading
    said_by: str = "file"
    sidecar: Path | None = None
    picture: Picture | None = None
    record: Record | None = None
    parents: Sequence[Parent] = ()
    chains: Sequence[Chain] = ()
    signature: Mapping[str, str] = {}

    @property
    def is_known(self) -> bool:
        """Whether anything tells where the picture comes from."""
        reading = self.reading
        return bool(
            reading.made.tool
            or reading.labels
            or reading.signature
            or reading.source_type
            or self.sidecar
            or self.record
        )


def info(names: Sequence[str], *, as_json: bool, verify: bool = False) -> int:
    """Print what made each picture; of a folder, those in it. Raises NothingToDo where nothing is known of any.

    Files that cannot be read are named, and the exit code is 2 then. JSON: one object a file.
    """
    check = verifier() if verify else None
    known: list[Known] = []
    blocks: list[Block] = []
    failed = 0
    with ExitStack() as stack:
        store = stack.enter_context(history()) if has_history() else None
        for path in _files(names):
            try:
                one = known_of(path, store)
            except UnreadableFile as error:
                say(_elsewhere(path, store) or Message("{path}: {why}").format(path=path, why=error.message))
                failed += 1
                continue
            one = one._replace(signature=check(path)) if check and one.reading.signature == "C2PA" else one
            known.append(one)
            if as_json:
                printed(_object(one))
            else:
                blocks.append(Block(str(path), list(_fields(one))))
    print_blocks(blocks, stdout=sys.stdout, environ=os.environ)
    if failed:
        return 2
    if not any(one.is_known for one in known):
        raise NothingToDo(_nothing(len(known)))
    return 0


def _elsewhere(path: Path, store: Store | None) -> str:
    """That a file that is not here is a picture on another machine, with its task; empty where it is none."""
    if store is None or os.path.lexists(path):
        return ""
    with suppress(HistoryError, UsageError):  # the name may be no text
        for picture in store.by_path(str(path.absolute())):
            record = store.find(Filter(ids=(picture.task,)))[0]
            if host := other_machine(record, [picture.path]):
                task = Message("{message}; imagegen show {task} tells what is known of it")
                return task.format(message=LIES_THERE.format(path=picture.path, host=host), task=picture.task)
    return ""


def _nothing(count: int) -> Message:
    if not count:
        return Message("there is no picture here")
    if count == 1:
        return Message("nothing is known of what made it")
    return Message("nothing is known of {count} pictures").format(count=count)


def _files(names: Iterable[str]) -> Iterator[Path]:
    """The files, and of a folder the pictures that lie in it by their suffixes; its own folders are left out."""
    for name in names:
        path = Path(name).expanduser() if name.startswith("~") else Path(name)
        if not _is_folder(path):
            yield path
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES and one.name[0] != ".")
        if not inside:
            say(Message("the folder {path} has no pictures").format(path=path))
        yield from inside


def _is_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def known_of(path: Path, store: Store | None) -> Known:
    """What the file, its sidecar and the history say. Raises UnreadableFile."""
    reading = read(path)
    size, pixels, sha256 = _measured(path, reading.suffix)
    known = Known(path, size, pixels, reading)
    if beside := _sidecar(path, sha256):
        known = known._replace(sidecar=beside[0])
        if reading.marks is None:
            known = known._replace(reading=with_marks(reading, beside[1]), said_by="sidecar")
    own = known.reading.marks
    known = known._replace(parents=own.parents if own is not None else ())
    return known if store is None else _with_history(known, sha256, store)


def _measured(path: Path, suffix: str) -> tuple[int, Size | None, str]:
    """Bytes, pixels and SHA-256 in hex, empty where the file is larger than a picture. Raises UnreadableFile."""
    from hashlib import sha256  # noqa: PLC0415 - only where a file is read

    digest = sha256()
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_DIGEST_BYTES:
                large = Message("{path}: it is larger than {size} MB, and was not looked for in the history")
                say(large.format(path=path, size=MAX_DIGEST_BYTES >> 20))
                return size, dimensions(file, suffix, size), ""
            while (data := file.read(CHUNK_BYTES)) and file.tell() <= MAX_DIGEST_BYTES:
                digest.update(data)
            size = file.tell()
            return size, dimensions(file, suffix, size), digest.hexdigest()
    except (OSError, ValueError) as error:
        raise UnreadableFile(Message("the file cannot be read: {why}").format(why=cause(error))) from error


def _sidecar(path: Path, sha256: str) -> tuple[Path, Marks] | None:
    """Our sidecar beside a picture with its marks; None where there is none, or it is that of another picture."""
    for beside in sidecar_paths(path):
        with suppress(OSError, ValueError):
            found = read_sidecar(bytes_of(beside, MAX_SIDECAR_BYTES).decode())
            if found is not None and found[1] in ("", sha256):
                return beside, found[0]
    return None


def _with_history(known: Known, sha256: str, store: Store) -> Known:
    """Add what the history has of a file with these bytes; of several tasks the one that saved it here."""
    same = store.by_sha256(sha256)
    here = str(known.path.absolute())
    picture = next((one for one in same if one.path == here), same[0] if same else None)
    records = store.find(Filter(ids=(picture.task,))) if picture else []
    if picture is None or not records:
        return known
    record, reading = records[0], known.reading
    if reading.marks is None:
        marks = marks_of_record(record, picture.number)
        reading = replace(with_marks(reading, marks), source_type=reading.source_type)
        known = known._replace(said_by="history")
    end = (Parent(picture.task, picture.number),)
    parents = record.task.parents
    return known._replace(
        reading=reading, picture=picture, record=record, parents=parents, chains=chains(end, parents, store)
    )


def marks_of_record(record: Record, number: int) -> Marks:
    """The marks of a picture as the history knows it. The kind of service is not in it: there stands the provider."""
    task, created = record.task, datetime.fromtimestamp(record.ended or record.created, UTC)
    return marks_of(
        task.request,
        kind="",
        facts=record.facts,
        job=task.job.id if task.job else "",
        task_id=str(task.id),
        time=created.isoformat(timespec="seconds"),
        index=number,
        parents=task.parents,
    )


# How it is shown


def _fields(known: Known) -> Iterator[tuple[str, str]]:
    reading = known.reading
    made, marks = reading.made, reading.marks
    yield tr("picture"), _form(known)
    if not known.is_known:
        yield tr("made by"), tr("nothing is known")
    yield tr("made by"), _maker(known)
    yield tr("prompt"), made.prompt
    yield tr("negative"), made.negative
    yield tr("model"), made.model
    yield tr("seed"), "" if made.seed is None else str(made.seed)
    yield tr("size"), f"{made.width}x{made.height}" if made.width and made.height else ""
    yield tr("parameters"), _parameters(made)
    yield tr("left out"), ", ".join(marks.omitted) if marks else ""
    yield tr("made at"), marks.time if marks else ""
    yield tr("task"), _task(known)
    yield from ((tr("made from"), in_words(chain)) for chain in known.chains)
    if not known.chains:
        yield tr("made from"), ", ".join(map(str, known.parents))
    yield tr("sidecar"), known.sidecar.name if known.sidecar else ""
    yield from ((tr("label"), _label(label)) for label in reading.labels)
    yield tr("signature"), _signature(known)
    yield tr("source"), translated(WORDS.get(reading.source_type, reading.source_type))
    yield tr("damage"), translated(reading.damage)


def _form(known: Known) -> str:
    suffix = known.reading.suffix
    form = FORMATS.get(suffix, suffix.removeprefix(".").upper())
    pixels = f"{known.pixels[0]}x{known.pixels[1]}" if known.pixels else ""
    return ", ".join(filter(None, (form, pixels, _bytes(known.size))))


def _bytes(size: int) -> str:
    if size < 1000:  # noqa: PLR2004 - a kilobyte
        return translated(ngettext("{count} byte", "{count} bytes", size))
    return f"{size / 1000:.0f} KB" if size < 999_500 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004


def _maker(known: Known) -> str:
    """Whose form the facts have, the service, and who says so."""
    made, marks = known.reading.made, known.reading.marks
    service = marks.kind if marks else ""
    if known.record and not service:
        service = known.record.task.request.provider
    by = tr("{tool} with {service}", tool=made.tool, service=service) if service else made.tool
    if by and known.said_by == "sidecar":
        return tr("{maker}, says its sidecar", maker=by)
    return tr("{maker}, says the history", maker=by) if by and known.said_by == "history" else by


def _parameters(made: Made) -> str:
    pairs = [
        f"{name.removeprefix(EXTRA)}={_short(value)}"
        for name, value in made.parameters.items()
        if name not in ("width", "height")
    ]
    more = [tr("… and {count} more", count=len(pairs) - MAX_PARAMETERS)] if len(pairs) > MAX_PARAMETERS else []
    return ", ".join([*pairs[:MAX_PARAMETERS], *more])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_PARAMETER_CHARACTERS else f"{text[:MAX_PARAMETER_CHARACTERS]}…"


def _task(known: Known) -> str:
    """Which task of the history made it, and where it was saved if it has another place now."""
    if known.picture is None or known.record is None:
        return ""
    picture = f"{known.picture.task}/{known.picture.number}"
    place = Message("{picture}, run {run}, {moment}")
    place = place.format(picture=picture, run=known.record.task.run, moment=moment(known.record.ended))
    moved = known.picture.path != str(known.path.absolute())
    if moved and (host := other_machine_of(known.record, [known.picture])):
        return tr("{place}; saved as {path} on the machine {host}", place=place, path=known.picture.path, host=host)
    return tr("{place}; saved as {path}", place=place, path=known.picture.path) if moved else translated(place)


def _label(label: Label) -> str:
    parts = (
        tr("producer {name}", name=label.producer) if label.producer else "",
        tr("id {id}", id=label.produce_id) if label.produce_id else "",
        tr("by {name}", name=label.propagator) if label.propagator else "",
        label.propagate_id,
    )
    value = label.label or Message("no value")
    said = tr("{meaning} ({value}), TC260 label as {form}", meaning=label.meaning, value=value, form=label.form)
    return ", ".join([said, *filter(None, parts)])


def _signature(known: Known) -> str:
    reading = known.reading
    if not reading.signature:
        return ""
    signed = reading.signature
    if reading.signer:
        signed = Message("{signature}, by {name}").format(signature=signed, name=reading.signer)
    if known.signature:
        return tr("{message}; {more}", message=signed, more=known.signature["text"])
    if reading.signature == "C2PA":
        return tr("{signature}; not verified (--verify does)", signature=signed)
    return tr("{signature}; not verified", signature=signed)


def _object(known: Known) -> dict[str, Any]:
    """One file for programs. What the file says is as it stands in it; only the history is certain."""
    reading, marks, picture = known.reading, known.reading.marks, known.picture
    made = reading.made
    return {
        "v": 1,
        "file": str(known.path),
        "format": reading.suffix.removeprefix("."),
        "bytes": known.size,
        "width": known.pixels[0] if known.pixels else None,
        "height": known.pixels[1] if known.pixels else None,
        "tool": made.tool or None,
        "said_by": known.said_by if made.tool else None,
        "kind": (marks.kind if marks else "") or None,
        "prompt": made.prompt,
        "negative": made.negative,
        "model": made.model,
        "seed": made.seed,
        "said_width": made.width,
        "said_height": made.height,
        "parameters": dict(made.parameters),
        "omitted": list(marks.omitted) if marks else [],
        "made_at": (marks.time if marks else "") or None,
        "sidecar": str(known.sidecar) if known.sidecar else None,
        "task": picture.task if picture else None,
        "picture": picture.number if picture else None,
        "saved_as": picture.path if picture else None,
        "parents": [parent._asdict() for parent in known.parents],
        "chains": as_objects(known.chains),
        "labels": [
            {
                "form": one.form,
                "label": one.label,
                "meaning": one.meaning,
                "producer": one.producer,
                "id": one.produce_id,
            }
            for one in reading.labels
        ],
        "signature": reading.signature or None,
        "signer": reading.signer or None,
        "verified": known.signature.get("state"),
        "source_type": reading.source_type or None,
        "damage": reading.damage or None,
    }
