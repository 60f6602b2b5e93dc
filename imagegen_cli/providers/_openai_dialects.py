"""The dialects of OpenAI's Images API as a table, and what a request becomes in each of them.

Protocol facts are from the vendors' published descriptions and SDKs (OpenAI, Volcengine Ark and BytePlus, Together,
xAI, Recraft) and from the public sources of LiteLLM, LocalAI, stable-diffusion.cpp, SGLang, vLLM-Omni and Xinference,
as they stood in November 2026.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.references import is_remote, read, referred
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.task import ImageRequest

MODELS_HINT = "imagegen models lists the names that --model may take"
TIERS = {"0.5k": 512, "1k": 1024, "1.5k": 1536, "2k": 2048, "3k": 3072, "4k": 4096}
"""Side of the square that has as many pixels as --resolution asks for."""
GRID = 16
"""Sides that we choose are divisible by this: every model that has a rule is content with it."""
NEAR = 1.25
"""A ratio that is off by more than this factor is another ratio."""
FAR = 2.5
"""A picture that is larger or smaller than asked by more than this factor is another picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixels that a model draws: `sizes`, or whatever keeps to the limits, which count pixels in all.

    `words` are resolutions that the service takes as they are, choosing the ratio by the prompt.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    step: int = 1
    widest: float = math.inf
    longest: float = math.inf
    least: int = 1
    most: float = math.inf
    usual: str = "1k"
    words: tuple[str, ...] = ()

    def broken(self, width: int, height: int) -> str:
        """The rule that these pixels break, in words; empty where they break none."""
        sides = (width, height)
        pixels = width * height
        rules = (
            (bool(self.sizes) and sides not in self.sizes, f"it has {_listed(self.sizes)}"),
            (any(side % self.step for side in sides), f"both sides must be divisible by {self.step}"),
            (
                max(sides) > self.widest * min(sides),
                f"the ratio must lie between 1:{self.widest:g} and {self.widest:g}:1",
            ),
            (max(sides) > self.longest, f"no side may be longer than {self.longest:g}"),
            (pixels < self.least, f"a picture has at least {self.least} pixels in all"),
            (pixels > self.most, f"a picture has at most {self.most:.0f} pixels in all"),
        )
        return next((rule for wrong, rule in rules if wrong), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that share rules; `named` is a pattern of their names. `groups`: several pictures, or a stream of them."""

    named: str = ""
    frame: Frame = Frame()
    seeds: bool = True
    groups: bool = True
    references: int | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """What may be given for one option, and where it goes in the body: a dot leads into an object.

    `value`: str, int, float, bool, dict (JSON of any kind), the words to choose from, or the range of whole numbers.
    """

    value: type | range | tuple[str, ...]
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one service speaks.

    `home`        its address; `hosts` and `variable` are the ends of its host names and its vendor's name for the key
    `sized`       "x" and "*" join two numbers in `size`; "sides" are fields of their own; "ratio" knows no pixels
    `seed` …      names of fields, with a dot where they lie in an object; empty where the service has none
    `draws`       it would draw a seed and keep it to itself, so we draw one where one picture is asked for
    `references`  "files" (multipart), "strings" (a list), "string-or-list", "objects" (at /edits), "" for none
    `addresses`   whether references may be addresses; `files`: whether they may be files
    `previews`    its stream brings them; `marks`: it would write a mark into the picture
    `jobs`        the server has a queue of its own
    `client_jobs` the server takes an id of ours, by which it can be told to stop
    """

    title: str
    home: str = ""
    hosts: tuple[str, ...] = ()
    variable: str = ""
    model: str = ""
    must_name_model: bool = True
    families: tuple[Family, ...] = (Family(),)
    sized: str = "x"
    ratios: tuple[str, ...] = ()
    count: str = "n"
    most: int = 10
    seed: str = ""
    seeds: range = range(2**63)
    draws: bool = False
    negative: str = ""
    always: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    references: str = ""
    reference_field: str = "image"
    most_references: int = 16
    addresses: bool = False
    files: bool = True
    longest_prompt: int = 32_000
    streams: bool = False
    previews: bool = False
    marks: bool = False
    jobs: bool = False
    client_jobs: bool = False
    stops_when_dropped: bool = False
    joins_addresses: bool = True
    pictures_named: str = ""
    known_models: tuple[str, ...] = ()

    def family(self, model: str) -> Family:
        return next(family for family in self.families if re.search(family.named, model))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(width), int(height)) for width, _, height in (word.partition("x") for word in text.split()))


_FORMATS = Option(("png", "jpeg", "webp"))
_STEPS = Option(int, "num_inference_steps")
_OUTPUT = {"output_format": _FORMATS, "output_compression": Option(range(101))}
_DIFFUSION = {"steps": _STEPS, "num_inference_steps": _STEPS, "guidance_scale": Option(float)}

_OPENAI = Dialect(
    title="OpenAI",
    home="https://api.openai.com/v1",
    hosts=("api.openai.com",),
    variable="OPENAI_API_KEY",
    model="gpt-image-2",
    families=(
        Family(named=r"^gpt-image-1(?!\d)", frame=Frame(sizes=_sizes("1024x1024 1536x1024 1024x1536"))),
        Family(frame=Frame(step=16, widest=3, longest=3840, most=3840 * 2160)),
    ),
    options={
        "quality": Option(("auto", "low", "medium", "high", "xhigh", "max")),
        "background": Option(("auto", "transparent", "opaque")),
        "moderation": Option(("auto", "low")),
        "output_format": Option(("png", "jpeg", "webp", "gif", "svg")),
        "output_compression": Option(range(101)),
        "input_fidelity": Option(("low", "high")),
        "complexity": Option(("low", "medium", "high")),
        "frame_count": Option(range(2, 17)),
        "frame_duration_ms": Option(range(10, 655_351)),
        "svg_model": Option(str, "svg.model"),
        "svg_effort": Option(_words("none minimal low medium high xhigh max"), "svg.reasoning.effort"),
        "mask": Option(range(1, 17)),
        "safety_identifier": Option(str),
        "user": Option(str),
    },
    references="files",
    addresses=True,
    streams=True,
    previews=True,
    pictures_named=r"image|dall-e",
)
_ARK = Dialect(
    title="Volcengine Ark (Seedream)",
    home="https://ark.cn-beijing.volces.com/api/v3",
    hosts=(".volces.com",),
    variable="ARK_API_KEY",
    model="doubao-seedream-4-5-251128",
    families=(
        Family(named="seedream-3-0", frame=Frame(least=512**2, most=2048**2), groups=False, references=0),
        Family(
            named="seedream-4-0",
            frame=Frame(widest=16, least=921_600, most=4096**2, usual="2k", words=("1K", "2K", "4K")),
            seeds=False,
        ),
        Family(
            named="seedream-4-5",
            frame=Frame(widest=16, least=2560 * 1440, most=4096**2, usual="2k", words=("2K", "4K")),
            seeds=False,
        ),
        Family(
            named="seedream-5-0-pro",
            frame=Frame(widest=16, least=921_600, most=4_624_220, words=("1K", "1.5K", "2K")),
            seeds=False,
            groups=False,
            references=10,
        ),
        Family(
            named="seedream-5-0",
            frame=Frame(widest=16, least=2560 * 1440, most=4096**2, usual="2k", words=("2K", "3K", "4K")),
            seeds=False,
        ),
        Family(frame=Frame(widest=16, usual="2k", words=("1K", "1.5K", "2K", "3K", "4K"))),
    ),
    count="",
    most=15,
    seed="seed",
    seeds=range(2**31),
    draws=True,
    always={"response_format": "url"},
    options={
        "output_format": Option(("png", "jpeg")),
        "guidance_scale": Option(float),
        "optimize_prompt_mode": Option(("standard", "fast"), "optimize_prompt_options.mode"),
        "tools": Option(dict),
    },
    references="string-or-list",
    reference_field="image",
    most_references=14,
    addresses=True,
    streams=True,
    marks=True,
    known_models=(
        "doubao-seedream-5-0-pro-260628",
        "doubao-seedream-5-0-260128",
        "doubao-seedream-4-5-251128",
        "doubao-seedream-4-0-250828",
        "doubao-seedream-3-0-t2i-250415",
    ),
)
_VLLM = Dialect(
    title="vLLM-Omni",
    home="http://127.0.0.1:8000/v1",
    must_name_model=False,
    seed="seed",
    draws=True,
    negative="negative_prompt",
    always={"response_format": "b64_json"},
    options={
        **_DIFFUSION,
        "true_cfg_scale": Option(float),
        "flow_shift": Option(float),
        "output_format": _FORMATS,
        "lora": Option(dict),
        "extra_params": Option(dict),
    },
    references="files",
    stops_when_dropped=True,
)
_GENERIC = Dialect(
    title="any other",
    must_name_model=False,
    seed="seed",
    negative="negative_prompt",
    options={
        "quality": Option(str),
        "background": Option(str),
        "moderation": Option(str),
        "style": Option(str),
        "response_format": Option(("url", "b64_json")),
        "user": Option(str),
        "steps": Option(int),
        "guidance_scale": Option(float),
        "num_inference_steps": Option(int),
        **_OUTPUT,
    },
    references="files",
)

DIALECTS: Mapping[str, Dialect] = {
    "openai": _OPENAI,
    "ark": _ARK,
    "byteplus": replace(
        _ARK,
        title="BytePlus ModelArk (Seedream)",
        home="https://ark.ap-southeast.bytepluses.com/api/v3",
        hosts=(".bytepluses.com",),
        model=_ARK.model.removeprefix("doubao-"),
        known_models=tuple(model.removeprefix("doubao-") for model in _ARK.known_models),
    ),
    "litellm": replace(
        _GENERIC, title="LiteLLM proxy", home="http://127.0.0.1:4000/v1", must_name_model=True, model=_OPENAI.model
    ),
    "localai": Dialect(
        title="LocalAI",
        home="http://127.0.0.1:8080/v1",
        seed="seed",
        draws=True,
        negative="|",
        always={"response_format": "b64_json"},
        options={"steps": Option(int, "step"), "step": Option(int), "quality": Option(str), "clip_skip": Option(int)},
        references="strings",
        reference_field="ref_images",
        addresses=True,
    ),
    "sd-server": Dialect(
        title="sd-server of stable-diffusion.cpp",
        home="http://127.0.0.1:1234/v1",
        must_name_model=False,
        sized="sides",
        count="batch_count",
        seed="seed",
        draws=True,
        negative="negative_prompt",
        options={
            "steps": Option(int, "sample_params.sample_steps"),
            "guidance_scale": Option(float, "sample_params.guidance.txt_cfg"),
            "distilled_guidance": Option(float, "sample_params.guidance.distilled_guidance"),
            "sample_method": Option(str, "sample_params.sample_method"),
            "scheduler": Option(str, "sample_params.scheduler"),
            "clip_skip": Option(int),
            "lora": Option(dict),
            **_OUTPUT,
        },
        references="strings",
        reference_field="ref_images",
        jobs=True,
    ),
    "sglang": replace(
        _VLLM,
        title="SGLang",
        home="http://127.0.0.1:30000/v1",
        options={
            **_DIFFUSION,
            "true_cfg_scale": Option(float),
            "quality": Option(str),
            "background": Option(("auto", "transparent", "opaque")),
            "style": Option(str),
            **_OUTPUT,
        },
        stops_when_dropped=False,
    ),
    "vllm-omni": _VLLM,
    "xinference": Dialect(
        title="Xinference",
        home="http://127.0.0.1:9997/v1",
        sized="*",
        seed="kwargs.seed",
        draws=True,
        negative="kwargs.negative_prompt",
        always={"response_format": "b64_json"},
        options={
            "steps": Option(int, "kwargs.num_inference_steps"),
            "num_inference_steps": Option(int, "kwargs.num_inference_steps"),
            "guidance_scale": Option(float, "kwargs.guidance_scale"),
        },
        references="files",
        client_jobs=True,
        joins_addresses=False,
    ),
    "together": Dialect(
        title="Together",
        home="https://api.together.ai/v1",
        hosts=("api.together.ai", "api.together.xyz"),
        variable="TOGETHER_API_KEY",
        model="black-forest-labs/FLUX.1-schnell",
        sized="sides",
        most=4,
        seed="seed",
        draws=True,
        negative="negative_prompt",
        always={"response_format": "url"},
        options={
            "steps": Option(int),
            "guidance_scale": Option(float),
            "output_format": Option(("png", "jpeg")),
            "disable_safety_checker": Option(bool),
            "image_loras": Option(dict),
        },
        references="strings",
        reference_field="reference_images",
        addresses=True,
        files=False,
    ),
    "xai": Dialect(
        title="xAI",
        home="https://api.x.ai/v1",
        hosts=("api.x.ai",),
        variable="XAI_API_KEY",
        model="grok-imagine-image",
        families=(Family(frame=Frame(words=("1k", "2k"))),),
        sized="ratio",
        ratios=_words("1:1 3:4 4:3 9:16 16:9 2:3 3:2 9:19.5 19.5:9 9:20 20:9 1:2 2:1 auto"),
        always={"response_format": "url"},
        options={"quality": Option(("low", "medium", "high")), "user": Option(str)},
        references="objects",
        reference_field="images",
        addresses=True,
        pictures_named="image",
    ),
    "recraft": Dialect(
        title="Recraft",
        home="https://external.api.recraft.ai/v1",
        hosts=("external.api.recraft.ai",),
        variable="RECRAFT_API_TOKEN",
        must_name_model=False,
        families=(
            Family(
                frame=Frame(
                    sizes=_sizes(
                        "1024x1024 1365x1024 1024x1365 1536x1024 1024x1536 1820x1024 1024x1820 1024x2048 2048x1024"
                        " 1434x1024 1024x1434 1024x1280 1280x1024 1024x1707 1707x1024 1216x896 896x1216 1280x832"
                        " 832x1280 1152x896 896x1152 1280x896 896x1280 832x1344 768x1344 1344x768 768x1536 1536x768"
                        " 2048x2048 2432x1792 1792x2432 2560x1664 1664x2560 2304x1792 1792x2304 2560x1792 1792x2560"
                        " 1664x2688 1536x2688 2688x1536 1536x3072 3072x1536"
                    )
                )
            ),
        ),
        ratios=_words("1:1 2:1 1:2 3:2 2:3 4:3 3:4 5:4 4:5 6:10 14:10 10:14 16:9 9:16"),
        most=6,
        seed="random_seed",
        seeds=range(2**32),
        draws=True,
        negative="negative_prompt",
        always={"response_format": "url"},
        options={
            "style": Option(str),
            "substyle": Option(str),
            "style_id": Option(str),
            "output_format": Option(("png", "webp"), "image_format"),
            "controls": Option(dict),
            "text_layout": Option(dict),
        },
    ),
    "generic": _GENERIC,
}
MASK = "mask"
EXTRA_ARGS = "<sd_cpp_extra_args>{}</sd_cpp_extra_args>"


def rules(speaks: Dialect, model: str, request: ImageRequest) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, and the rule."""
    prompt, seed, title = request.prompt, request.seed, speaks.title
    yield not prompt.strip(), "the prompt is empty"
    too_long = f"a prompt has at most {speaks.longest_prompt} characters here, not {len(prompt)}"
    yield len(prompt) > speaks.longest_prompt, too_long
    yield speaks.must_name_model and not model, f"{title} must be told a model: say --model; {MODELS_HINT}"
    seeds = bool(speaks.seed) and speaks.family(model).seeds
    yield seed is not None and not seeds, f"{f'the model {model}' if speaks.seed else title} takes no seed"
    yield seed is not None and seed not in speaks.seeds, f"a seed is 0 to {speaks.seeds[-1]} here, not {seed}"
    yield bool(request.negative) and not speaks.negative, f"{title} has no negative prompt: say it in the prompt"
    bar = 'the server takes what follows "|" for the negative prompt: use --negative or "|", not both'
    yield bool(request.negative) and speaks.negative == "|" and "|" in prompt, bar
    clear = "a transparent background needs output_format png or webp"
    opaque = request.extra.get("output_format") in ("jpeg", "gif")
    yield request.extra.get("background") == "transparent" and opaque, clear
    if speaks is _OPENAI:
        yield from _rules_of_openai(model, request)
    yield from _reference_rules(speaks, model, request.references)


def _rules_of_openai(model: str, request: ImageRequest) -> Iterator[tuple[bool, str]]:
    """What goes with what, as OpenAI's SDK 3.57 describes it."""
    extra, number = request.extra, len(request.references)
    form = extra.get("output_format", "png")
    faithful = extra.get("input_fidelity")
    yield faithful is not None and not number, "input_fidelity is about reference pictures: give one with --image"
    old = re.search(r"^gpt-image-1(?!\d)", model) is not None
    yield faithful is not None and not old, f"{model} takes no input_fidelity: gpt-image-2 and later keep to references"
    yield faithful == "high" and "mini" in model, f"{model} takes input_fidelity low only"
    for name in ("frame_count", "frame_duration_ms"):
        yield name in extra and form != "gif", f"{name} needs output_format gif"
    for name in ("svg_model", "svg_effort"):
        yield name in extra and form != "svg", f"{name} needs output_format svg"
    fixed = "output_compression is for jpeg and webp"
    yield "output_compression" in extra and form in ("gif", "svg"), fixed
    mask = extra.get("mask", "")
    yield bool(mask) and form == "gif", "a gif is drawn without a mask"
    rule = "mask is the number of the --image that is the mask, and at least one other picture goes with it"
    yield mask.isdecimal() and not (1 <= int(mask[:4]) <= number and number > 1), rule


def _reference_rules(speaks: Dialect, model: str, references: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    fewer = speaks.family(model).references
    most = (speaks.most_references if fewer is None else fewer) if speaks.references else 0
    none = f"{speaks.title} takes no reference pictures" + (f" for {model}" if fewer == 0 else "")
    many = f"at most {most} reference pictures, not {len(references)}"
    yield len(references) > most, many if most else none
    for reference in references:
        remote = is_remote(reference)
        yield remote and not speaks.addresses, "reference pictures must be files here: download them first"
        yield not remote and not speaks.files, "reference pictures must be addresses here (https://…), not files"


def fields_of(speaks: Dialect, model: str, request: ImageRequest) -> dict[str, Any]:
    """Everything but the references. Raises BadRequest for what cannot be said to this service."""
    body: dict[str, Any] = {"prompt": request.prompt, **speaks.always}
    body |= {"model": model} if model else {}
    body |= _sized(speaks, model, request)
    body |= _counted(speaks, model, request.count or 1)
    if request.seed is not None:
        put(body, speaks.seed, request.seed)
    if request.negative and speaks.negative == "|":
        body["prompt"] += f"|{request.negative}"
    elif request.negative:
        put(body, speaks.negative, request.negative)
    for name, text in request.extra.items():
        option = _option(speaks, name)
        put(body, option.place or name, _value(name, text, option.value))
    body.pop(MASK, None)  # a picture, and no field: see `content`
    return body


def _sized(speaks: Dialect, model: str, request: ImageRequest) -> dict[str, Any]:
    """The fields that say how large the picture is; none where nothing was asked. Raises BadRequest."""
    frame = speaks.family(model).frame
    if (request.width or request.height) and (request.ratio or request.resolution):
        raise BadRequest("say either pixels or a ratio with a resolution, not both")
    if speaks.sized == "ratio":
        return _sized_by_ratio(speaks, frame, request)
    if request.ratio in speaks.ratios and not request.resolution:
        return {"size": request.ratio}
    word = next((word for word in frame.words if word.lower() == request.resolution.lower()), "")
    if word and not request.ratio:
        return {"size": word}
    pixels = _pixels(frame, request)
    if pixels is None:
        return {}
    width, height = pixels
    return {"width": width, "height": height} if speaks.sized == "sides" else {"size": f"{width}{speaks.sized}{height}"}


def _sized_by_ratio(speaks: Dialect, frame: Frame, request: ImageRequest) -> dict[str, Any]:
    ratio, resolution = request.ratio, request.resolution.lower()
    if request.width is not None or request.height is not None:
        raise BadRequest(f"{speaks.title} takes a ratio and a resolution, not pixels")
    if ratio and ratio not in speaks.ratios:
        raise BadRequest(f"{speaks.title} has no ratio {ratio}; it has {', '.join(speaks.ratios)}")
    if resolution and resolution not in frame.words:
        raise BadRequest(f"{speaks.title} has no resolution {resolution}; it has {', '.join(frame.words)}")
    return {key: value for key, value in (("aspect_ratio", ratio), ("resolution", resolution)) if value}


def _pixels(frame: Frame, request: ImageRequest) -> tuple[int, int] | None:
    width, height = request.width, request.height
    if width is None and height is None:
        if not request.ratio and not request.resolution:
            return None
        return _nearest(frame, request.ratio or "1:1", request.resolution.lower())
    if width is None or height is None or width < 1 or height < 1:
        raise BadRequest(f"a size is a width and a height in pixels, not {width}x{height}")
    if rule := frame.broken(width, height):
        raise BadRequest(f"{width}x{height} cannot be drawn: {rule}")
    return width, height


def _nearest(frame: Frame, ratio: str, resolution: str) -> tuple[int, int]:
    """The pixels that a model draws nearest to a ratio and a resolution. Raises BadRequest where none is near."""
    shape = _shape(ratio)
    if resolution and resolution not in TIERS:
        raise BadRequest(f"there is no resolution {resolution}; there are {', '.join(TIERS)}")
    wanted = TIERS[resolution or frame.usual] ** 2

    def off(size: tuple[int, int]) -> tuple[float, float]:
        """By which factors the ratio and the number of pixels differ."""
        width, height = size
        return _factor(width / height / shape), _factor(width * height / wanted)

    around = frame.sizes or _around(frame, shape, wanted)
    legal = [size for size in around if not frame.broken(*size)]
    best = min(legal, key=lambda size: math.prod(off(size)) * off(size)[0], default=None)
    if best is None or off(best)[0] > NEAR or (resolution and off(best)[1] > FAR):
        asked = f"{ratio} at {resolution}" if resolution else ratio
        height = math.sqrt(wanted / shape)
        rule = frame.broken(_on_grid(height * shape), _on_grid(height)) or "no size comes near"
        raise BadRequest(f"{asked} cannot be drawn: {rule}")
    return best


def _around(frame: Frame, shape: float, wanted: int) -> list[tuple[int, int]]:
    """The sizes on the grid next to what is wanted, after that was brought into the frame's limits."""
    height = math.sqrt(min(max(wanted, frame.least), frame.most) / shape)
    height *= min(1.0, frame.longest / (height * max(shape, 1.0)))
    steps = product((-GRID, 0, GRID), repeat=2)
    return [(_on_grid(height * shape) + right, _on_grid(height) + down) for right, down in steps]


def _on_grid(side: float) -> int:
    """At least two steps, so that one fewer is still a picture."""
    return max(2, round(side / GRID)) * GRID


def _shape(ratio: str) -> float:
    """Width by height."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,5})?):(\d{1,5}(?:\.\d{1,5})?)", ratio)
    if found is None or not float(found[1]) or not float(found[2]):
        raise BadRequest(f"a ratio is two numbers such as 16:9, not {ratio!r}")
    return float(found[1]) / float(found[2])


def _factor(quotient: float) -> float:
    return max(quotient, 1 / quotient)


def _listed(sizes: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{width}x{height}" for width, height in sizes)


def _counted(speaks: Dialect, model: str, count: int) -> dict[str, Any]:
    """Ark has no `n`: it makes one picture, or a group of at most so many."""
    if speaks.count:
        return {speaks.count: count}
    if not speaks.family(model).groups:
        return {}
    if count == 1:
        return {"sequential_image_generation": "disabled"}
    most = {"max_images": count}
    return {"sequential_image_generation": "auto", "sequential_image_generation_options": most}


def _option(speaks: Dialect, name: str) -> Option:
    if name not in speaks.options:
        hint = nearest(name, speaks.options) if speaks.options else ""
        raise BadRequest(f"{speaks.title} has no option {name!r}; {hint}", hint=hint)
    return speaks.options[name]


def _value(name: str, text: str, kind: type | range | tuple[str, ...]) -> Any:
    """The text of an option as what it stands for. Raises BadRequest."""
    if isinstance(kind, tuple):
        if text in kind:
            return text
        raise BadRequest(f"{name} is one of {', '.join(kind)}; not {text!r}")
    try:
        if isinstance(kind, range):
            return kind[kind.index(int(text))]
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return json.loads(text) if kind is dict else kind(text)
    except (ValueError, KeyError, RecursionError):
        names = {int: "a whole number", float: "a number", bool: "true or false", dict: "JSON"}
        said = f"{kind[0]} to {kind[-1]}" if isinstance(kind, range) else names.get(kind, "a text")
        raise BadRequest(f"{name} is {said}, not {text!r}") from None


def put(body: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    for name in path:
        body = body.setdefault(name, {})
    body[last] = value


def content(speaks: Dialect, body: dict[str, Any], request: ImageRequest) -> tuple[str, dict[str, Any]]:
    """The path, and httpx's words for the body. Raises BadRequest where a reference cannot be read."""
    name, references = speaks.reference_field, request.references
    if not references:
        return "/images/generations", {"json": body}
    if speaks.references == "files":
        return "/images/edits", _edit(name, body, request)
    if speaks.references == "objects":
        objects = [{"url": referred(one)} for one in references]
        return "/images/edits", {"json": body | ({name: objects} if len(objects) > 1 else {"image": objects[0]})}
    if speaks.references == "string-or-list":
        uris = [referred(one) for one in references]
        return "/images/generations", {"json": body | {name: uris if len(uris) > 1 else uris[0]}}
    texts = [one if is_remote(one) else read(one).base64 for one in references]
    return "/images/generations", {"json": body | {name: texts}}


def _edit(name: str, body: dict[str, Any], request: ImageRequest) -> dict[str, Any]:
    """A form with files; JSON where there are addresses, or what a form has no field for.

    One picture goes as `image`, several as `image[]`, as OpenAI's SDK sends them.
    """
    masked = int(request.extra.get(MASK, "0"))
    pictures = [one for at, one in enumerate(request.references, 1) if at != masked]
    mask = request.references[masked - 1] if masked else ""
    if "moderation" in body or any(map(is_remote, request.references)):
        more = {"mask": {"image_url": referred(mask)}} if mask else {}
        return {"json": body | {"images": [{"image_url": referred(one)} for one in pictures]} | more}
    files = [(f"{name}[]" if len(pictures) > 1 else name, _file(one)) for one in pictures]
    return {"data": _form(body), "files": [*files, *([("mask", _mask(mask))] if mask else [])]}


def _mask(reference: str) -> tuple[str, bytes, str]:
    name, data, kind = _file(reference)
    if kind != "image/png":
        raise BadRequest(f"a mask is a PNG picture, and {reference!r} is none")
    return name.replace("image", "mask"), data, kind


def without_jobs(body: dict[str, Any]) -> dict[str, Any]:
    """The same for an sd-server without a queue; what its OpenAI route does not know travels inside the prompt."""
    rest = dict(body)
    asked: dict[str, Any] = {
        key: rest.pop(key) for key in ("model", "output_format", "output_compression") if key in rest
    }
    asked |= {"prompt": rest.pop("prompt"), "n": rest.pop("batch_count")}
    if "width" in rest:
        asked["size"] = f"{rest.pop('width')}x{rest.pop('height')}"
    if rest:
        asked["prompt"] += " " + EXTRA_ARGS.format(json.dumps(rest, ensure_ascii=False))
    return asked


def _form(body: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a form. What lies in `svg` gets names of its own, as in svg[model]: that is how OpenAI reads it."""
    flat = {key: value for key, value in body.items() if key != "svg"} | _bracketed("svg", body.get("svg", {}))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}


def _bracketed(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = f"{name}[{key}]"
        found |= _bracketed(inner, value) if isinstance(value, dict) else {inner: value}
    return found


def _file(reference: str) -> tuple[str, bytes, str]:
    """A part of a form: a file name that tells nothing, the bytes, their type. Raises BadRequest."""
    picture = read(reference)
    return f"image{picture.suffix}", picture.data, picture.media_type
