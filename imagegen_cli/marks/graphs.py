"""The prompt and the settings in a graph of ComfyUI: found by walking up from what saves to the sampler."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imagegen_cli.marks.decoding import Scalar, clean, scalars, text_of

Graph = Mapping[str, Mapping[str, Any]]
"""Node id -> its inputs; an input is a literal or a link [node id, output]."""

TEXTS = ("text", "text_g", "text_l", "t5xxl", "clip_l", "clip_g", "populated_text", "prompt", "string", "value")
MODELS = ("ckpt_name", "unet_name", "model_name", "gguf_name")
SETTINGS = ("steps", "cfg", "guidance", "sampler_name", "scheduler", "denoise")
SEEDS = ("seed", "noise_seed")
OTHER_LINKS = ("clip", "model", "vae", "control_net", "image", "style_model", "clip_vision_output", "pixels", "mask")
"""Links that lead away from the words."""


def graph_in(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The inputs of each node of a graph in API form, with `class_type` among them; empty where it is no graph."""
    found: dict[str, Mapping[str, Any]] = {}
    for id_, node in table.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict) and isinstance(node.get("class_type"), str):
            found[id_] = {**inputs, "class_type": node["class_type"]}
    return found


def prompts(graph: Graph) -> tuple[str, str]:
    """The words for and against, from the sampler that is nearest to what is saved."""
    order = _from_the_end(graph)
    for id_ in order:
        if "positive" in graph[id_]:
            return _words(graph, id_, "positive"), _words(graph, id_, "negative")
        if "Guider" in graph[id_]["class_type"]:
            return _words(graph, id_, "conditioning"), ""
    return text_of(_first([graph[id_] for id_ in order], ("prompt",))), ""  # nodes that ask a service


def settings(graph: Graph) -> dict[str, Scalar]:
    """`seed`, `model`, `width`, `height` and what the sampler was set to, where they are literals."""
    order = [graph[id_] for id_ in _from_the_end(graph)]
    found = {name: _first(order, (name,)) for name in SETTINGS}
    found |= {"seed": _first(order, SEEDS), "model": _first(order, MODELS)}
    canvases = [inputs for inputs in order if "Latent" in inputs["class_type"] and "width" in inputs]
    found |= {name: _first(canvases, (name,)) for name in ("width", "height")}
    plain = scalars({name: value for name, value in found.items() if value is not None})
    return plain | ({"seed": found["seed"]} if found["seed"] is not None else {})  # also one that is no usable number


def _first(nodes: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> Any:
    literals = (inputs[name] for inputs in nodes for name in names if name in inputs)
    return next((value for value in literals if not isinstance(value, list | dict)), None)


def _from_the_end(graph: Graph) -> list[str]:
    """All nodes: first what saves, then what that depends on, the nearest first; then the rest."""
    savers = [id_ for id_, inputs in graph.items() if "Save" in inputs["class_type"]]
    return list(dict.fromkeys([*_upwards(graph, savers), *graph]))


def _upwards(graph: Graph, start: Iterable[str]) -> Iterator[str]:
    """Nodes and what they depend on, each once, the nearest first."""
    left, seen = list(start), set[str]()
    for id_ in left:  # it grows
        if id_ in graph and id_ not in seen:
            seen.add(id_)
            yield id_
            left += _links(graph[id_].values())


def _links(values: Iterable[Any]) -> list[str]:
    return [str(value[0]) for value in values if isinstance(value, list) and len(value) == 2 and _is_id(value[0])]  # noqa: PLR2004


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int)


def _words(graph: Graph, sampler: str, role: str) -> str:
    """The texts that reach one input of a sampler, joined by line breaks."""
    start = graph[sampler].get(role)
    left, seen, found = _links([start]), set[str](), dict[str, None]()
    for id_ in left:  # it grows
        if id_ not in graph or id_ in seen or graph[id_]["class_type"] == "ConditioningZeroOut":
            continue
        seen.add(id_)
        inputs = graph[id_]
        words = [clean(inputs[name]) for name in (*TEXTS, role) if isinstance(inputs.get(name), str) and inputs[name]]
        found |= dict.fromkeys(words)
        if not words:
            wanted = [inputs[role]] if role in inputs else [v for name, v in inputs.items() if name not in OTHER_LINKS]
            left += _links(wanted)
    return "\n".join(found) or (clean(start) if isinstance(start, str) else "")
