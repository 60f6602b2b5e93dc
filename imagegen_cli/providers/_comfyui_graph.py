"""ComfyUI's workflows in API format: the built-in one, where a workflow takes its values, and what it makes of them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from pathlib import Path
from typing import Any

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.language import Message, joined
from imagegen_cli.core.references import bytes_of
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.system_errors import cause
from imagegen_cli.providers._http import clean, decoded

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
MAX_BYTES = 16 * 1024 * 1024
"""Of a workflow; large ones have some hundred KB."""
WRAPPERS = ("input", "workflow", "prompt")
"""Keys under which other programs put a workflow: {"prompt": …} is the body of a submit."""
MAX_WRAPPERS = 4
MAX_OFFERED = 5
"""Inputs that a message offers."""
STEPS = 20
"""The steps of a sampler that names no number."""
MAX_STEPS = 10_000
SAVERS = ("SaveImage", "PreviewImage")
"""Nodes that make one file per picture; previews are kept where nothing is saved."""
ENDLESS = re.compile(
    r"""(?x) K?Sampler(Advanced|Select|Custom|CustomAdvanced)? | RandomNoise | DisableNoise
    | Basic(Guider|Scheduler) | CFGGuider
    | (unCLIP)?CheckpointLoader(Simple)? | (UNET|VAE|CLIP|CLIPVision|ControlNet|StyleModel|UpscaleModel)Loader
    | (Dual|Triple|Quadruple)CLIPLoader | LoraLoader(ModelOnly)? | CLIP(TextEncode\w*|SetLastLayer|VisionEncode)
    | VAE(Decode|Encode)(Tiled|ForInpaint)? | Empty(SD3|Flux2|HunyuanImage)?LatentImage | EmptyImage
    | Latent(Upscale|UpscaleBy|FromBatch|Rotate|Flip|Crop|Composite|Blend) | RepeatLatentBatch | SetLatentNoiseMask
    | Conditioning(Combine|Average|Concat|SetArea|SetMask|ZeroOut|SetTimestepRange) | ControlNetApply(Advanced)?
    | FluxGuidance | ModelSampling(Flux|SD3|AuraFlow|Discrete) | InpaintModelConditioning | ReferenceLatent
    | Load(Image|ImageMask)
    | Image(Scale|ScaleBy|ScaleToTotalPixels|Invert|Batch|Blend|Blur|PadForOutpaint|UpscaleWithModel)
    | Primitive(String|StringMultiline|Int|Float|Boolean)"""
)
"""Classes of ComfyUI itself (nodes.py and comfy_extras of 0.27) that are not output nodes.

Only the server knows whether a workflow may end in another class.
"""
FILES = re.compile(r"\w+_name\d?")
"""Inputs that name a file of the server or a sampler; they take only the values that the server offers for them."""
NO_OUTPUT = Message("the workflow has no node that saves a picture")
SAVER_HINT = Message("let the workflow end in a SaveImage node")
FILE_HINT = Message("put it into the server's folder of models, or name another in the workflow or in model")
NODE_HINT = Message("install the extension that brings it, or take the node out of the workflow")


def read(path: Path) -> Graph:
    """A workflow in API format. Raises BadRequest."""
    try:
        graph = _unwrapped(decoded(bytes_of(path, MAX_BYTES)))
    except OSError as error:
        message = Message("the workflow {path} cannot be read: {why}").format(path=path, why=cause(error))
        raise BadRequest(message) from error
    found = graph_in(graph)
    if found is None:
        message = Message("{path} is not a workflow in API format").format(path=path)
        raise BadRequest(message, hint=Message("in ComfyUI: Workflow, Export (API)"))
    return found


def graph_in(value: Any) -> Graph | None:
    """A graph from JSON; None where the JSON is not a graph."""
    nodes = value.values() if isinstance(value, dict) and is_sendable(value) else ()
    if not nodes or not all(isinstance(path_in(node, "inputs"), dict) for node in nodes):
        return None
    return {id_: {**node, "class_type": str(node.get("class_type"))} for id_, node in value.items()}


def _unwrapped(value: Any) -> Any:
    """The graph inside {"input": {"workflow": …}}, {"prompt": …} and the like; anything else as it is."""
    for _ in range(MAX_WRAPPERS):
        inside = [value[key] for key in WRAPPERS if isinstance(value.get(key), dict)] if isinstance(value, dict) else []
        if not inside or all(isinstance(path_in(node, "inputs"), dict) for node in value.values()):
            break
        value = inside[0]
    return value


def is_sendable(value: Any) -> bool:
    """Whether JSON can carry a value: it cannot carry half a character, NaN or infinity."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def places_in(graph: Graph, named: Mapping[str, str]) -> dict[str, list[Place]]:
    """Role -> the places of its value: those in `named`, else by the classes of the nodes. Raises BadRequest."""
    if unknown := sorted(named.keys() - set(ROLES)):
        message = Message("places has no {name!r}").format(name=unknown[0])
        raise BadRequest(message, hint=nearest(unknown[0], ROLES))
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
        message = Message("the workflow has no input {name!r}").format(name=word)
        raise BadRequest(message, hint=nearest(word, known))
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
    """Texts of the encoders that conditioning comes from, through any number of nodes."""
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
    """Set the inputs that `extra` names, such as "3.steps", to values of the kind that the workflow has there.

    Raises BadRequest.
    """
    for word, text in extra.items():
        id_, name = _place(graph, word)
        kind = type(graph[id_]["inputs"][name])
        value = text if kind is str else decoded(text.encode())
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not is_sendable(value):
            message = Message("{name} cannot be {value!r}: the workflow has {own} there")
            raise BadRequest(message.format(name=word, value=text, own=repr(graph[id_]["inputs"][name])))
        graph[id_]["inputs"][name] = value
    return graph


def offers(graph: Graph, role: str) -> str:
    """The inputs that suit a role, the likeliest first, as a text for a message; empty where there are none."""
    kind = str if role in ("prompt", "negative", "model", "image") else int
    likely = {"prompt": "text|prompt|string|value", "negative": "text|prompt|string|value", "model": "name|model"}
    pattern = re.compile(likely.get(role, "|".join(INPUTS.get(role, (role,)))))
    found = [
        (pattern.search(name) is None, f"{id_}.{name} ({node['class_type']})")
        for id_, node in graph.items()
        for name, value in node["inputs"].items()
        if type(value) is kind
    ]
    return ", ".join(words for _, words in sorted(found, key=lambda one: one[0])[:MAX_OFFERED])


def spread(graph: Graph, places: Sequence[Place], seed: int) -> dict[Place, int]:
    """The seed for each place, as far from the first one as in the workflow: different seeds stay different.

    Small seeds stay below 2**32, because many nodes take no larger ones.
    """
    values = [graph[node]["inputs"][name] for node, name in places]
    known = [value if type(value) is int and value >= 0 else 0 for value in values]
    end = 2**32 if max(seed, *known) < 2**32 else 2**64
    return {place: (seed + value - known[0]) % end for place, value in zip(places, known, strict=True)}


def pictures(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The number of pictures of all known savers of a graph; 0 without one. `sizes`: node -> its batch size."""
    return sum(_batch(graph, _above(graph, id_), sizes) for id_ in saving(graph))


def saving(graph: Graph) -> list[str]:
    """The nodes that save pictures. Nodes that only preview count where there are no others."""
    found = [[id_ for id_, node in graph.items() if node["class_type"] == saver] for saver in SAVERS]
    return next(filter(None, found), [])


def has_no_output(graph: Graph) -> bool:
    """Whether a graph certainly has no output node: every node is of a class that is known not to be one."""
    return all(ENDLESS.fullmatch(node["class_type"]) for node in graph.values())


def check_nodes(graph: Graph, known: Mapping[str, Any], filled: AbstractSet[Place]) -> None:
    """Raise BadRequest where the server would refuse the graph. `known`: class -> its entry in /object_info.

    The values at `filled` come from the request. A fault above only one of several outputs passes: the server leaves
    that output out and names it.
    """
    for id_, node in graph.items():
        if not isinstance(known.get(node["class_type"]), dict):
            raise BadRequest(no_node(clean(node["class_type"]), clean(id_)), hint=NODE_HINT)
    outputs = {id_: path_in(known, node["class_type"], "output_node") for id_, node in graph.items()}
    if all(is_output is False for is_output in outputs.values()):
        raise BadRequest(NO_OUTPUT, hint=SAVER_HINT)
    wrong = {id_: fault for id_ in graph if (fault := _lacking(graph, id_, known, filled))}
    faults = [[wrong[one] for one in (id_, *_above(graph, id_)) if one in wrong] for id_ in outputs if outputs[id_]]
    if faults and all(faults):
        raise BadRequest(faults[0][0], hint=FILE_HINT)


def no_node(name: str, id_: str = "") -> Message:
    """What to say of a node that the server does not know."""
    if id_:
        return Message("the server has no node {name} (node {id})").format(name=name, id=id_)
    return Message("the server has no node {name}").format(name=name)


def _lacking(graph: Graph, id_: str, known: Mapping[str, Any], filled: AbstractSet[Place]) -> str:
    """A message about a file that a node names and the server does not have; empty where it has all of them."""
    class_ = graph[id_]["class_type"]
    for name, value in graph[id_]["inputs"].items():
        offered = choices(known, class_, name) if FILES.fullmatch(name) and (id_, name) not in filled else None
        if offered is not None and isinstance(value, str) and value not in offered:
            near = nearest(value, offered)
            message = Message("node {id} {kind}: the server has no {name} {value!r}")
            message = message.format(id=clean(id_), kind=clean(class_), name=clean(name), value=clean(value))
            return joined("; ", (message, near if clean(near) == near else clean(near))) if near else message
    return ""


def choices(known: Mapping[str, Any], class_: str, name: str) -> list[str] | None:
    """The values that an input of a class takes, in both forms that servers have for it; None where it takes any."""
    parts = [path_in(known, class_, "input", part, name) for part in ("required", "optional")]
    found = next((one for one in parts if isinstance(one, list) and one), [None])
    names = found[0]
    if names == "COMBO":
        names = path_in(found[1], "options") if len(found) > 1 else None
    return [one for one in names if isinstance(one, str)] if isinstance(names, list) else None


def _above(graph: Graph, id_: str) -> set[str]:
    """All nodes that a node depends on."""
    found: set[str] = set()
    left = [id_]
    while left:
        links = [value[0] for value in graph[left.pop()]["inputs"].values() if isinstance(value, list) and value]
        fresh = {link for link in links if isinstance(link, str) and link in graph} - found
        found |= fresh
        left += fresh
    return found


def _batch(graph: Graph, above: AbstractSet[str], sizes: Mapping[str, int]) -> int:
    """The size of a batch; 1 where other nodes may cut or repeat the batch in an unknown way."""
    batches = [sizes[node] for node in above if node in sizes]
    changed = any("Batch" in graph[node]["class_type"] for node in above if node not in sizes)
    return max(1, min(batches)) if batches and not changed else 1


def loads(graph: Graph) -> dict[str, int]:
    """Node -> its amount of work: the steps of a sampler, one for any other node."""
    return {id_: _steps(graph, node["inputs"]) if samples(node) else 1 for id_, node in graph.items()}


def samples(node: Mapping[str, Any]) -> bool:
    """Whether a node works in steps."""
    return "latent_image" in node["inputs"] or ("Sampler" in node["class_type"] and "steps" in node["inputs"])


def _steps(graph: Graph, inputs: Mapping[str, Any]) -> int:
    """The steps of the node itself, or of the scheduler that its sigmas come from."""
    steps = inputs.get("steps")
    sigmas = inputs.get("sigmas")
    if "steps" not in inputs and isinstance(sigmas, list) and sigmas and isinstance(sigmas[0], str):
        steps = path_in(graph, sigmas[0], "inputs", "steps")
    return steps if type(steps) is int and 0 < steps <= MAX_STEPS else STEPS


def path_in(value: Any, *keys: str) -> Any:
    """The value at the end of `keys`, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
