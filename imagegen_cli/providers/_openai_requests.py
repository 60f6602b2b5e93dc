"""What a request becomes in a dialect of OpenAI's Images API: its rules, its fields, its references."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from imagegen_cli.core.errors import BadRequest
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import form_file, is_remote, read, referred
from imagegen_cli.core.task import ImageRequest
from imagegen_cli.providers import _rules as rules
from imagegen_cli.providers._http import MODELS_HINT
from imagegen_cli.providers._openai_dialects import OPENAI, Dialect, Frame, Option

TIERS = {"0.5k": 512, "1k": 1024, "1.5k": 1536, "2k": 2048, "3k": 3072, "4k": 4096}
"""Resolution -> side of the square that has as many pixels."""
GRID = 16
"""Computed sides are divisible by this: it satisfies every model that has such a rule."""
NEAR = 1.25
"""A ratio that differs by more than this factor is another ratio."""
FAR = 2.5
"""A picture with more or fewer pixels than by this factor is another picture."""
MASK = "mask"
NEEDS = Message("{name} needs output_format {value}")
UNDRAWABLE = Message("{size} cannot be drawn: {rule}")
EXTRA_ARGS = "<sd_cpp_extra_args>{}</sd_cpp_extra_args>"


def rules_of(dialect: Dialect, model: str, request: ImageRequest) -> Iterator[rules.Rule]:
    seed, title = request.seed, dialect.title
    yield from rules.prompt(request, dialect.max_prompt)
    nameless = Message("{title} needs the name of a model: say --model; {hint}")
    lacks_model = dialect.requires_model and not model
    yield rules.broken_if(lacks_model, nameless, title=title, hint=MODELS_HINT)
    if seed is not None and not (dialect.seed and dialect.family(model).has_seeds):
        who = Message("the model {model}").format(model=model) if dialect.seed else title
        yield True, Message("{who} takes no seed").format(who=who)
    beyond = Message("a seed is 0 to {high} here, not {seed}")
    is_beyond = seed is not None and seed not in dialect.seeds
    yield rules.broken_if(is_beyond, beyond, high=dialect.seeds[-1], seed=seed)
    if not dialect.negative:
        yield rules.no_negative(request, title)
    bar = Message('the server reads the text behind "|" as the negative prompt: use --negative or "|", not both')
    yield bool(request.negative) and dialect.negative == "|" and "|" in request.prompt, bar
    clear = Message("a transparent background needs output_format png or webp")
    opaque = request.extra.get("output_format") in ("jpeg", "gif")
    yield request.extra.get("background") == "transparent" and opaque, clear
    if dialect is OPENAI:
        yield from _rules_of_openai(model, request)
    yield from _reference_rules(dialect, model, request)


def _rules_of_openai(model: str, request: ImageRequest) -> Iterator[rules.Rule]:
    """Which options go together, as OpenAI's SDK 3.57 describes it."""
    extra, number = request.extra, len(request.references)
    form = extra.get("output_format", "png")
    faithful = extra.get("input_fidelity")
    pointless = Message("input_fidelity is about reference pictures: give one with --image")
    yield faithful is not None and not number, pointless
    is_old = re.search(r"^gpt-image-1(?!\d)", model) is not None
    untaken = Message("{model} takes no input_fidelity: gpt-image-2 and later keep to references")
    yield rules.broken_if(faithful is not None and not is_old, untaken, model=model)
    low_only = Message("{model} takes input_fidelity low only")
    yield rules.broken_if(faithful == "high" and "mini" in model, low_only, model=model)
    for name in ("frame_count", "frame_duration_ms"):
        yield rules.broken_if(name in extra and form != "gif", NEEDS, name=name, value="gif")
    for name in ("svg_model", "svg_effort"):
        yield rules.broken_if(name in extra and form != "svg", NEEDS, name=name, value="svg")
    fixed = Message("output_compression is for jpeg and webp")
    yield "output_compression" in extra and form in ("gif", "svg"), fixed
    mask = extra.get("mask", "")
    yield bool(mask) and form == "gif", Message("a gif is drawn without a mask")
    rule = Message("mask is the number of the --image that is the mask, and at least one other picture goes with it")
    yield mask.isdecimal() and not (1 <= int(mask[:4]) <= number and number > 1), rule


def _reference_rules(dialect: Dialect, model: str, request: ImageRequest) -> Iterator[rules.Rule]:
    of_family = dialect.family(model).max_references
    limit = (dialect.max_references if of_family is None else of_family) if dialect.references else 0
    title = dialect.title
    who = Message("{title} with {model}").format(title=title, model=model) if of_family == 0 else title
    yield from rules.references(request, limit, who)
    if not dialect.addresses:
        yield from rules.files_only(request.references, dialect.title)
    for reference in request.references:
        files = not is_remote(reference) and not dialect.files
        yield files, Message("reference pictures must be addresses here (https://…), not files")


def fields_of(dialect: Dialect, model: str, request: ImageRequest) -> dict[str, Any]:
    """The fields of the body without the references. Raises BadRequest for what this service has no field for."""
    body: dict[str, Any] = {"prompt": request.prompt, **dialect.always}
    body |= {"model": model} if model else {}
    body |= _sized(dialect, model, request)
    body |= _counted(dialect, model, request.count or 1)
    if request.seed is not None:
        put(body, dialect.seed, request.seed)
    if request.negative and dialect.negative == "|":
        body["prompt"] += f"|{request.negative}"
    elif request.negative:
        put(body, dialect.negative, request.negative)
    rules.options(request, dialect.options, dialect.title)
    for name, text in request.extra.items():
        option = dialect.options[name]
        put(body, option.place or name, _value(name, text, option))
    body.pop(MASK, None)  # the mask is one of the pictures: see `content`
    return body


def _sized(dialect: Dialect, model: str, request: ImageRequest) -> dict[str, Any]:
    """The fields of the size; none where neither a size nor a ratio is asked for. Raises BadRequest."""
    frame = dialect.family(model).frame
    rules.check([rules.size_or_ratio(request)])
    if dialect.sized == "ratio":
        return _sized_by_ratio(dialect, frame, request)
    if request.ratio in dialect.ratios and not request.resolution:
        return {"size": request.ratio}
    word = next((word for word in frame.words if word.lower() == request.resolution.lower()), "")
    if word and not request.ratio:
        return {"size": word}
    pixels = _pixels(frame, request)
    if pixels is None:
        return {}
    width, height = pixels
    return (
        {"width": width, "height": height} if dialect.sized == "sides" else {"size": f"{width}{dialect.sized}{height}"}
    )


def _sized_by_ratio(dialect: Dialect, frame: Frame, request: ImageRequest) -> dict[str, Any]:
    ratio, resolution = request.ratio, request.resolution.lower()
    if rules.is_sized(request):
        message = Message("{title} takes a ratio and a resolution, not pixels")
        raise BadRequest(message.format(title=dialect.title))
    rules.check([rules.one_of("ratio", ratio, dialect.ratios, dialect.title)])
    rules.check([rules.one_of("resolution", resolution, frame.words, dialect.title)])
    return {key: value for key, value in (("aspect_ratio", ratio), ("resolution", resolution)) if value}


def _pixels(frame: Frame, request: ImageRequest) -> tuple[int, int] | None:
    width, height = request.width, request.height
    if width is None and height is None:
        if not request.ratio and not request.resolution:
            return None
        return _nearest(frame, request.ratio or "1:1", request.resolution.lower())
    if width is None or height is None or width < 1 or height < 1:
        message = Message("a size is a width and a height in pixels, not {size}")
        raise BadRequest(message.format(size=f"{width}x{height}"))
    if rule := broken_rule(frame, width, height):
        raise BadRequest(UNDRAWABLE.format(size=f"{width}x{height}", rule=rule))
    return width, height


def _nearest(frame: Frame, ratio: str, resolution: str) -> tuple[int, int]:
    """The size that a model draws nearest to a ratio and a resolution. Raises BadRequest where none is near."""
    wide, high = rules.ratio_of(ratio)
    shape = wide / high
    rules.check([rules.one_of("resolution", resolution, TIERS, Message("the service"))])
    wanted = TIERS[resolution or frame.default] ** 2

    def difference(size: tuple[int, int]) -> tuple[float, float]:
        """The factors by which the ratio and the number of pixels differ."""
        width, height = size
        return _factor(width / height / shape), _factor(width * height / wanted)

    around = frame.sizes or _around(frame, shape, wanted)
    valid = [size for size in around if not broken_rule(frame, *size)]
    best = min(valid, key=lambda size: math.prod(difference(size)) * difference(size)[0], default=None)
    if best is None or difference(best)[0] > NEAR or (resolution and difference(best)[1] > FAR):
        height = math.sqrt(wanted / shape)
        rule = broken_rule(frame, _on_grid(height * shape), _on_grid(height)) or Message("no size comes near")
        size = Message("{ratio} at {resolution}").format(ratio=ratio, resolution=resolution) if resolution else ratio
        raise BadRequest(UNDRAWABLE.format(size=size, rule=rule))
    return best


def broken_rule(frame: Frame, width: int, height: int) -> str:
    """The rule that a size breaks, in words; empty where it breaks none."""
    sides, pixels, limit = (width, height), width * height, frame.max_ratio
    rules_of_sizes: tuple[tuple[bool, Message, object], ...] = (
        (bool(frame.sizes) and sides not in frame.sizes, Message("it has {value}"), rules.sizes_in_words(frame.sizes)),
        (any(side % frame.step for side in sides), Message("both sides must be divisible by {value}"), frame.step),
        (max(sides) > limit * min(sides), Message("the ratio must lie between 1:{value:g} and {value:g}:1"), limit),
        (max(sides) > frame.max_side, Message("no side may be longer than {value:g}"), frame.max_side),
        (pixels < frame.min_pixels, Message("a picture has at least {value} pixels in all"), frame.min_pixels),
        (pixels > frame.max_pixels, Message("a picture has at most {value:.0f} pixels in all"), frame.max_pixels),
    )
    return next((rule.format(value=value) for is_broken, rule, value in rules_of_sizes if is_broken), "")


def _around(frame: Frame, shape: float, wanted: int) -> list[tuple[int, int]]:
    """The sizes on the grid around the wanted one, after that was brought into the frame's limits."""
    height = math.sqrt(min(max(wanted, frame.min_pixels), frame.max_pixels) / shape)
    height *= min(1.0, frame.max_side / (height * max(shape, 1.0)))
    steps = product((-GRID, 0, GRID), repeat=2)
    return [(_on_grid(height * shape) + right, _on_grid(height) + down) for right, down in steps]


def _on_grid(side: float) -> int:
    """The nearest side on the grid, at least two steps, so that one step fewer is still a side."""
    return max(2, round(side / GRID)) * GRID


def _factor(quotient: float) -> float:
    return max(quotient, 1 / quotient)


def _counted(dialect: Dialect, model: str, count: int) -> dict[str, Any]:
    """The fields of the number of pictures. Ark has no `n`: it makes one picture, or a group of at most so many."""
    if dialect.count:
        return {dialect.count: count}
    if not dialect.family(model).has_groups:
        return {}
    if count == 1:
        return {"sequential_image_generation": "disabled"}
    limit = {"max_images": count}
    return {"sequential_image_generation": "auto", "sequential_image_generation_options": limit}


def _value(name: str, text: str, option: Option) -> Any:
    """The value that the text of an option stands for. Raises BadRequest."""
    kind = option.value
    if isinstance(kind, tuple):
        rules.check([rules.choice(name, text, kind)])
        return text
    try:
        if isinstance(kind, range):
            return kind[kind.index(int(text))]
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return json.loads(text) if kind is dict else kind(text)
    except (ValueError, KeyError, RecursionError):
        message = Message("{name} is {values}, not {value}")
        raise BadRequest(message.format(name=name, values=_values(kind), value=rules.shown(text))) from None


def _values(kind: type | range) -> str:
    if isinstance(kind, range):
        return Message("{low} to {high}").format(low=kind[0], high=kind[-1])
    names = {int: Message("a whole number"), float: Message("a number"), bool: Message("true or false"), dict: "JSON"}
    return names.get(kind, Message("a text"))


def put(body: dict[str, Any], place: str, value: Any) -> None:
    """Set a field; a dot in `place` leads into an object."""
    *path, last = place.split(".")
    for name in path:
        body = body.setdefault(name, {})
    body[last] = value


def content(dialect: Dialect, body: dict[str, Any], request: ImageRequest) -> tuple[str, dict[str, Any]]:
    """The path, and httpx's options for the body. Raises BadRequest where a reference cannot be read."""
    name, references = dialect.reference_field, request.references
    if not references:
        return "/images/generations", {"json": body}
    if dialect.references == "files":
        return "/images/edits", _edit(name, body, request)
    if dialect.references == "objects":
        objects = [{"url": referred(one)} for one in references]
        return "/images/edits", {"json": body | ({name: objects} if len(objects) > 1 else {"image": objects[0]})}
    if dialect.references == "string-or-list":
        uris = [referred(one) for one in references]
        return "/images/generations", {"json": body | {name: uris if len(uris) > 1 else uris[0]}}
    texts = [one if is_remote(one) else read(one).base64 for one in references]
    return "/images/generations", {"json": body | {name: texts}}


def _edit(name: str, body: dict[str, Any], request: ImageRequest) -> dict[str, Any]:
    """A form with files; JSON where there are addresses, or an option that a form has no field for.

    One picture goes as `image`, several as `image[]`, as OpenAI's SDK sends them.
    """
    masked = int(request.extra.get(MASK, "0"))
    pictures = [one for at, one in enumerate(request.references, 1) if at != masked]
    mask = request.references[masked - 1] if masked else ""
    if "moderation" in body or any(map(is_remote, request.references)):
        more = {"mask": {"image_url": referred(mask)}} if mask else {}
        return {"json": body | {"images": [{"image_url": referred(one)} for one in pictures]} | more}
    files = [(f"{name}[]" if len(pictures) > 1 else name, form_file("image", one)) for one in pictures]
    return {"data": _form(body), "files": [*files, *([("mask", _mask(mask))] if mask else [])]}


def _mask(reference: str) -> tuple[str, bytes, str]:
    part = form_file("mask", reference)
    if part[2] != "image/png":
        message = Message("a mask is a PNG picture, and {reference!r} is none")
        raise BadRequest(message.format(reference=reference))
    return part


def without_jobs(body: dict[str, Any]) -> dict[str, Any]:
    """The body for an sd-server without a queue: fields that its OpenAI route does not have go inside the prompt."""
    rest = dict(body)
    known = ("model", "output_format", "output_compression")
    flat: dict[str, Any] = {key: rest.pop(key) for key in known if key in rest}
    flat |= {"prompt": rest.pop("prompt"), "n": rest.pop("batch_count")}
    if "width" in rest:
        flat["size"] = f"{rest.pop('width')}x{rest.pop('height')}"
    if rest:
        flat["prompt"] += " " + EXTRA_ARGS.format(json.dumps(rest, ensure_ascii=False))
    return flat


def _form(body: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a form. OpenAI reads the parts of `svg` from names such as svg[model]."""
    flat = {key: value for key, value in body.items() if key != "svg"} | _bracketed("svg", body.get("svg", {}))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}


def _bracketed(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = f"{name}[{key}]"
        found |= _bracketed(inner, value) if isinstance(value, dict) else {inner: value}
    return found
