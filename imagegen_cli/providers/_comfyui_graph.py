"""ComfyUI's workflows in API format: the built-in one, and where a workflow takes its prompt, seed and size."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagegen_cli.errors import BadRequest
from imagegen_cli.providers.wire import decoded
from imagegen_cli.references import bytes_of
from imagegen_cli.tables import nearest

Graph = dict[str, dict[str, Any]]
"""Node id -> {"class_type", "inputs"}: the "API format". An input is a literal or a link [node id, output]."""


Place = tuple[str, str]
"""Node id and input."""


DEFAULT: Graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 0, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        | {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": ""}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "imagegen", "images": ["8", 0]}},
}


ROLES = ("prompt", "negative", "seed", "width", "height", "count", "model", "image")


INPUTS = {"seed": ("seed", "noise_seed"), "model": ("ckpt_name", "unet_name"), "count": ("batch_size",)}


LINKS = {"prompt": "positive", "negative": "negative"}


TEXTS = ("text", "text_g", "text_l", "clip_g", "clip_l", "t5xxl")
"""Inputs of the CLIPTextEncode family that hold a prompt."""


MOST_BYTES = 16 * 1024 * 1024
"""Of a workflow; large ones have some hundred KB."""


def read(path: Path) -> Graph:
    """A workflow in API format. Raises BadRequest."""
    try:
        graph = decoded(bytes_of(path, MOST_BYTES))
    except OSError as error:
        raise BadRequest(f"the workflow {path} cannot be read: {error.strerror}") from error
    nodes = graph.values() if isinstance(graph, dict) and is_sendable(graph) else ()
    if not nodes or not all(isinstance(path_in(node, "inputs"), dict) for node in nodes):
        raise BadRequest(f"{path} is no workflow in API format", hint="in ComfyUI: Workflow, Export (API)")
    return {id_: {**node, "class_type": str(node.get("class_type"))} for id_, node in graph.items()}


def is_sendable(value: Any) -> bool:
    """Whether JSON can carry it: not where there is half a character in it, or no number."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def places_in(graph: Graph, named: Mapping[str, str]) -> dict[str, list[Place]]:
    """Role -> where its value goes: as named, else by the classes of the nodes. Raises BadRequest."""
    if unknown := sorted(named.keys() - set(ROLES)):
        raise BadRequest(f"places has no {unknown[0]!r}", hint=nearest(unknown[0], ROLES))
    found = {role: list(_literals(graph, named[role]) if role in named else _found(graph, role)) for role in ROLES}
    if "negative" not in named:
        found["negative"] = [place for place in found["negative"] if place not in found["prompt"]]
    if "model" not in named and len(found["model"]) > 1:
        del found["model"]
    return {role: places for role, places in found.items() if places}


def _literals(graph: Graph, text: str) -> Iterator[Place]:
    """Places written as "6.text, 8.text"."""
    yield from (_place(graph, word) for word in re.split(r"[\s,]+", text.strip()))


def _place(graph: Graph, word: str) -> Place:
    id_, _, name = word.rpartition(".")
    if name not in graph.get(id_, {"inputs": ()})["inputs"]:
        known = [f"{id_}.{name}" for id_, node in graph.items() for name in node["inputs"]]
        raise BadRequest(f"the workflow has no input {word!r}", hint=nearest(word, known))
    return id_, name


def _found(graph: Graph, role: str) -> Iterator[Place]:
    names = INPUTS.get(role, (role,))
    classes = {"seed": ".*", "model": ".*", "image": "LoadImage"}.get(role, r"Empty\w*Latent\w*")
    for id_, node in graph.items():
        if role in LINKS and ("Sampler" in node["class_type"] or "Guider" in node["class_type"]):
            yield from _texts(graph, node["inputs"], LINKS[role], set())
        elif role not in LINKS and re.fullmatch(classes, node["class_type"]):
            literals = (name for name in names if not isinstance(node["inputs"].get(name, []), list))
            yield from ((id_, name) for name in literals)


def _texts(graph: Graph, inputs: Mapping[str, Any], key: str, seen: set[str]) -> Iterator[Place]:
    """Texts of the encoders that conditioning comes from, however many nodes lie between."""
    names = [key] if key in inputs else [name for name in inputs if name.startswith("conditioning")]
    for name in names:
        link = inputs[name]
        id_ = link[0] if isinstance(link, list) and link else None
        if not isinstance(id_, str) or id_ not in graph or id_ in seen:
            continue
        seen.add(id_)
        above = graph[id_]["inputs"]
        texts = [(id_, text) for text in TEXTS if isinstance(above.get(text), str)]
        yield from texts or _texts(graph, above, key, seen)


def override(graph: Graph, extra: Mapping[str, str]) -> Graph:
    """Inputs named as "3.steps" take the values of `extra`, as the kind of value that the workflow has there."""
    for word, text in extra.items():
        id_, name = _place(graph, word)
        kind = type(graph[id_]["inputs"][name])
        value = text if kind is str else decoded(text.encode())
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not is_sendable(value):
            raise BadRequest(f"{word} cannot be {text!r}: the workflow has {graph[id_]['inputs'][name]!r} there")
        graph[id_]["inputs"][name] = value
    return graph


def path_in(value: Any, *keys: str) -> Any:
    """What lies at the end of `keys`, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
