"""The dialects of OpenAI's Images API as a table: data only. What a request becomes is in _openai_requests.py.

Protocol facts are from the vendors' published descriptions and SDKs (OpenAI, Volcengine Ark and BytePlus, Together,
xAI, Recraft) and from the public sources of LiteLLM, LocalAI, stable-diffusion.cpp, SGLang, vLLM-Omni and Xinference,
as they stood in November 2026.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from imagegen_cli.core.language import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The sizes that a model hides_seeds: those in `sizes`, or any within the limits.

    `words` are resolutions that the service takes as they are; it then chooses the ratio by the prompt.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    step: int = 1
    max_ratio: float = math.inf
    max_side: float = math.inf
    min_pixels: int = 1
    """In the whole picture, as `max_pixels`."""
    max_pixels: float = math.inf
    default: str = "1k"
    """The resolution of a ratio alone."""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that share rules, found by a pattern of their names."""

    pattern: str = ""
    frame: Frame = Frame()
    has_seeds: bool = True
    has_groups: bool = True
    """Whether one request may be for several pictures, or for a stream of them."""
    max_references: int | None = None
    """None: as many as the dialect allows."""


@dataclass(frozen=True, slots=True)
class Option:
    """The values that an option may have, and its place in the body: a dot leads into an object.

    `value`: str, int, float, bool, dict (JSON of any kind), the words to choose from, or the range of whole numbers.
    """

    value: type | range | tuple[str, ...]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Where an answer tells what it cost: a place in its body, where a dot leads into an object, or a header.

    `per_unit` of what is told there make one `unit`. `none_is_free`: 0 means that nothing is charged; else it only says
    that the service knows no price.
    """

    place: str
    unit: str
    per_unit: int = 1
    is_header: bool = False
    none_is_free: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one service differs from the others.

    `home`          its address; `hosts` are the ends of its host names, `variable` is its vendor's variable for the key
    `sized`         "x" and "*" join two numbers in `size`; "sides": two fields; "ratio": a ratio and no pixels
    `count` `seed` `negative`  names of fields, with a dot where a field lies in an object; empty where there is none
    `hides_seeds`   the service draws a seed and does not name it, so one is drawn here for a single picture
    `references`    "files" (multipart), "strings" (a list), "string-or-list", "objects" (at /edits), "" for none
    `addresses`     whether references may be addresses; `files`: whether they may be files
    `previews`      whether its stream has previews; `has_watermark`: whether it has a field for a watermark
    `has_jobs`      the server has a queue of its own
    `client_jobs`   the server takes an id of ours, with which a request can be stopped
    `picture_models`  a pattern of the names of listed models that make pictures
    `cost`          where an answer tells its cost
    `charged_images`  where an answer tells how many pictures are charged
    """

    title: str
    home: str = ""
    hosts: tuple[str, ...] = ()
    variable: str = ""
    model: str = ""
    requires_model: bool = True
    families: tuple[Family, ...] = (Family(),)
    sized: str = "x"
    ratios: tuple[str, ...] = ()
    count: str = "n"
    max_images: int = 10
    seed: str = ""
    seeds: range = range(2**63)
    hides_seeds: bool = False
    negative: str = ""
    always: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    references: str = ""
    reference_field: str = "image"
    max_references: int = 16
    addresses: bool = False
    files: bool = True
    max_prompt: int = 32_000
    streams: bool = False
    previews: bool = False
    has_watermark: bool = False
    has_jobs: bool = False
    client_jobs: bool = False
    stops_when_dropped: bool = False
    joins_addresses: bool = True
    picture_models: str = ""
    cost: Cost | None = None
    charged_images: str = ""
    known_models: tuple[str, ...] = ()

    def family(self, model: str) -> Family:
        return next(family for family in self.families if re.search(family.pattern, model))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(width), int(height)) for width, _, height in (word.partition("x") for word in text.split()))


_FORMATS = Option(("png", "jpeg", "webp"))
_STEPS = Option(int, "num_inference_steps")
_OUTPUT = {"output_format": _FORMATS, "output_compression": Option(range(101))}
_DIFFUSION = {"steps": _STEPS, "num_inference_steps": _STEPS, "guidance_scale": Option(float)}

OPENAI = Dialect(
    title="OpenAI",
    home="https://api.openai.com/v1",
    hosts=("api.openai.com",),
    variable="OPENAI_API_KEY",
    model="gpt-image-2",
    families=(
        Family(pattern=r"^gpt-image-1(?!\d)", frame=Frame(sizes=_sizes("1024x1024 1536x1024 1024x1536"))),
        Family(frame=Frame(step=16, max_ratio=3, max_side=3840, max_pixels=3840 * 2160)),
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
    picture_models=r"image|dall-e",
)
_ARK = Dialect(
    title="Volcengine Ark (Seedream)",
    home="https://ark.cn-beijing.volces.com/api/v3",
    hosts=(".volces.com",),
    variable="ARK_API_KEY",
    model="doubao-seedream-4-5-251128",
    families=(
        Family(
            pattern="seedream-3-0",
            frame=Frame(min_pixels=512**2, max_pixels=2048**2),
            has_groups=False,
            max_references=0,
        ),
        Family(
            pattern="seedream-4-0",
            frame=Frame(max_ratio=16, min_pixels=921_600, max_pixels=4096**2, default="2k", words=("1K", "2K", "4K")),
            has_seeds=False,
        ),
        Family(
            pattern="seedream-4-5",
            frame=Frame(max_ratio=16, min_pixels=2560 * 1440, max_pixels=4096**2, default="2k", words=("2K", "4K")),
            has_seeds=False,
        ),
        Family(
            pattern="seedream-5-0-pro",
            frame=Frame(max_ratio=16, min_pixels=921_600, max_pixels=4_624_220, words=("1K", "1.5K", "2K")),
            has_seeds=False,
            has_groups=False,
            max_references=10,
        ),
        Family(
            pattern="seedream-5-0",
            frame=Frame(
                max_ratio=16, min_pixels=2560 * 1440, max_pixels=4096**2, default="2k", words=("2K", "3K", "4K")
            ),
            has_seeds=False,
        ),
        Family(frame=Frame(max_ratio=16, default="2k", words=("1K", "1.5K", "2K", "3K", "4K"))),
    ),
    count="",
    max_images=15,
    seed="seed",
    seeds=range(2**31),
    hides_seeds=True,
    always={"response_format": "url"},
    options={
        "output_format": Option(("png", "jpeg")),
        "guidance_scale": Option(float),
        "optimize_prompt_mode": Option(("standard", "fast"), "optimize_prompt_options.mode"),
        "tools": Option(dict),
    },
    references="string-or-list",
    reference_field="image",
    max_references=14,
    addresses=True,
    streams=True,
    has_watermark=True,
    charged_images="usage.generated_images",
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
    requires_model=False,
    seed="seed",
    hides_seeds=True,
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
    title=Message("any other"),
    requires_model=False,
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
    "openai": OPENAI,
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
        _GENERIC,
        title=Message("LiteLLM proxy"),
        home="http://127.0.0.1:4000/v1",
        requires_model=True,
        model=OPENAI.model,
        cost=Cost("x-litellm-response-cost", "usd", is_header=True, none_is_free=False),
    ),
    "localai": Dialect(
        title="LocalAI",
        home="http://127.0.0.1:8080/v1",
        seed="seed",
        hides_seeds=True,
        negative="|",
        always={"response_format": "b64_json"},
        options={"steps": Option(int, "step"), "step": Option(int), "quality": Option(str), "clip_skip": Option(int)},
        references="strings",
        reference_field="ref_images",
        addresses=True,
    ),
    "sd-server": Dialect(
        title=Message("sd-server of stable-diffusion.cpp"),
        home="http://127.0.0.1:1234/v1",
        requires_model=False,
        sized="sides",
        count="batch_count",
        seed="seed",
        hides_seeds=True,
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
        has_jobs=True,
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
        hides_seeds=True,
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
        max_images=4,
        seed="seed",
        hides_seeds=True,
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
        picture_models="image",
        cost=Cost("usage.cost_in_usd_ticks", "usd", per_unit=10**10),
    ),
    "recraft": Dialect(
        title="Recraft",
        home="https://external.api.recraft.ai/v1",
        hosts=("external.api.recraft.ai",),
        variable="RECRAFT_API_TOKEN",
        requires_model=False,
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
        max_images=6,
        seed="random_seed",
        seeds=range(2**32),
        hides_seeds=True,
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
        cost=Cost("credits", "credits"),
    ),
    "generic": _GENERIC,
}
