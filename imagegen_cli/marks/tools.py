"""What other tools write about a picture, each in its own form. The order of FORMS decides where two are in one file.

A1111 keeps a second copy in the lowest bits of the alpha channel where it is told to; that would mean to unpack the
pixels and is left out.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagegen_cli.marks import graphs
from imagegen_cli.marks.contents import Contents
from imagegen_cli.marks.decoding import Parameters, scalars, table_in, text_of, unread, whole_number
from imagegen_cli.marks.xmp import value

MAX_SETTINGS = 64 * 1024
"""Characters of a line of settings."""
MIN_PAIRS = 3
"""Pairs of name and value in the last line of a text that make it a line of settings."""
PAIR = re.compile(r"\s{0,9}(\w[\w \-/]{0,60}):\s{0,9}(\"(?:\\.|[^\\\"])+\"|[^,]*)(?:,|$)")
JOB = re.compile(r"\s{0,9}Job ID: ?([\da-f]{8}-[\da-f-]{27})")
FLAG = re.compile(r"\s--([a-z]{1,12})\b ?((?:(?!\s--)[^\n]){0,200})")
FLAGS = {"S": "seed", "W": "width", "H": "height", "no": "negative_prompt"}
"""Flags behind the words, as InvokeAI and Midjourney write them."""
BRACKETS = r"\[([^\[\]]{1,10000})\]"
OLD_INVOKE = re.compile(r'\s*"((?:[^"\\]|\\.){0,100000})"(.{0,1000})', re.DOTALL)
KNOWN = re.compile(
    "Midjourney|DALL[-·]?E|OpenAI|Firefly|Ideogram|Leonardo|Stable ?Diffusion|Stability|Grok|xAI|Gemini|Imagen|Recraft"
    "|Krea|FLUX|Doubao|豆包|即梦|Jimeng|Dreamina|Seedream|Kling|可灵|Hunyuan|混元|通义|Tongyi|Fooocus|ComfyUI|InvokeAI",
    re.IGNORECASE,
)
"""Names of tools and services, as they stand in fields that name the maker."""


@dataclass(frozen=True, slots=True)
class Made:
    """How a picture was made. `tool` is whose form the facts are in; empty where no form is known."""

    tool: str = ""
    prompt: str = ""
    negative: str = ""
    model: str = ""
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    parameters: Parameters = field(default_factory=dict)
    unread: tuple[str, ...] = field(default=(), compare=False)
    """What a file says and has a value that cannot be one: `seed [5]`."""


def made_by(found: Contents) -> Made:
    """By the first form that is there; an empty value where the file names no tool that we know."""
    return next((made for form in FORMS if (made := form(found)) is not None), Made())


ROLES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "Prompt", "positive_prompt", "c"),
    "negative": ("negative_prompt", "Negative Prompt", "negativeprompt", "uc"),
    "model": ("model", "Model", "base_model", "Base Model", "use_stable_diffusion_model", "Stable Diffusion model"),
    "seed": ("seed", "Seed"),
    "width": ("width", "Width"),
    "height": ("height", "Height"),
}
"""The names under which tools keep what every tool has. No tool uses one of them for anything else."""


ROLE_NAMES = frozenset(name for names in ROLES.values() for name in names)


def _from(tool: str, table: Mapping[str, Any]) -> Made:
    """What the names of ROLES hold; everything else that is plain in the table is kept as parameters."""
    told = {role: next((table[name] for name in names if table.get(name)), None) for role, names in ROLES.items()}
    prompt, negative, model = (text_of(told[role]) for role in ("prompt", "negative", "model"))
    seeds = (number for name in ROLES["seed"] if (number := whole_number(table.get(name))) is not None)  # it may be 0
    width, height = whole_number(told["width"]), whole_number(told["height"])
    rest = scalars({name: one for name, one in table.items() if name not in ROLE_NAMES})
    seed = next(seeds, None)
    wrong = unread(told, ("seed", "width", "height") if seed is None else ("width", "height"))
    return Made(tool, prompt, negative, model, seed, width, height, rest, wrong)


def _tables(found: Contents, *keys: str) -> list[dict[str, Any]]:
    return [table for key in keys if (table := table_in(found.texts.get(key, "")))]


def _fooocus(found: Contents) -> Made | None:
    """JSON, or the form of A1111, as `fooocus_scheme` or the Exif maker note says. The oldest has it as a comment."""
    texts = found.texts
    scheme = texts.get("fooocus_scheme") or texts.get("Exif.MakerNote", "")
    for table in _tables(found, "parameters", "Exif.UserComment", "Comment"):
        told = scheme == "fooocus" or "Fooocus" in str(table.get("version", ""))
        if told or "base_model" in table or "Base Model" in table:
            return _from("Fooocus", table)
    is_ours = scheme == "a1111" and ("fooocus_scheme" in texts or "Fooocus" in texts.get("Exif.Software", ""))
    return _a1111(found, "Fooocus") if is_ours else None


def _swarm(found: Contents) -> Made | None:
    for table in _tables(found, "parameters", "Exif.UserComment", "Exif.Model", "Comment"):
        if isinstance(inner := table.get("sui_image_params"), dict):
            return _from("SwarmUI", inner)
    return None


def _a1111(found: Contents, tool: str = "A1111") -> Made | None:
    """Also Forge, SD.Next and stable-diffusion.cpp, and nodes of ComfyUI that write the same."""
    for key in ("parameters", "Exif.UserComment", "Comment"):
        text = found.texts.get(key, "")
        if text and not table_in(text) and (made := settings_text(text, tool)):
            return made
    text = found.texts.get("parameters", "")
    return Made(tool, prompt=text) if text and not table_in(text) else None


def settings_text(text: str, tool: str) -> Made | None:
    """The text of A1111: words, `Negative prompt: …`, and a line of settings; None where it has no such line."""
    before, mark, line = f"\n{text}".rpartition("\nSteps: ")
    pairs = _pairs(f"Steps: {line}") if mark else []
    if not pairs:
        before, _, line = f"\n{text}".rstrip().rpartition("\n")
        pairs = _pairs(line)
        if len(pairs) < MIN_PAIRS:
            return None
    prompt, _, negative = before.partition("\nNegative prompt:")
    table = dict(pairs)
    width, _, height = table.get("Size", "").partition("x")
    words = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
    return _from(tool, table | words | {"width": width, "height": height})


def _pairs(line: str) -> list[tuple[str, str]]:
    found = PAIR.findall(line[:MAX_SETTINGS])
    return [(name, text_of(_unquoted(text.strip()))) for name, text in found]


def _unquoted(text: str) -> Any:
    """A value with commas stands as a JSON string."""
    return next(iter(table_in(f'{{"": {text}}}').values()), text) if text.startswith('"') else text


def _invoke(found: Contents) -> Made | None:
    for table in _tables(found, "invokeai_metadata"):
        model = table.get("model")
        name = (model.get("model_name") or model.get("name")) if isinstance(model, dict) else model
        return _from("InvokeAI", table | {"model": name})
    for table in _tables(found, "sd-metadata"):
        return _older_invoke(table)
    old = OLD_INVOKE.match(found.texts.get("Dream", ""))
    if old is None:
        return None
    flags = {FLAGS.get(name, name): text for name, text in re.findall(r"-([A-Za-z])\s?([\w.]{1,40})", old[2])}
    return _from("InvokeAI", flags | {"prompt": old[1]})


def _older_invoke(table: dict[str, Any]) -> Made:
    """The form before 3.0: the words against stand in square brackets inside the prompt."""
    image = table.get("image")
    image = image if isinstance(image, dict) else {}
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(text_of(one.get("prompt")) for one in prompt if isinstance(one, dict))
    words = re.sub(BRACKETS, "", text_of(prompt)).strip()
    against = ", ".join(re.findall(BRACKETS, text_of(prompt)))
    model = {"model": table.get("model_weights")}
    return _from("InvokeAI", image | model | {"prompt": words, "negative_prompt": against})


def _novelai(found: Contents) -> Made | None:
    texts, comment = found.texts, table_in(found.texts.get("Comment", ""))
    if texts.get("Software") != "NovelAI" and not (texts.get("Title") == "AI generated image" and comment):
        return None
    table = {"prompt": texts.get("Description"), "model": texts.get("Source"), **comment}
    return _from("NovelAI", table)


def _comfyui(found: Contents) -> Made | None:
    """PNG texts `prompt` and `workflow`, or Exif fields that begin with these words; some nodes put both into one."""
    texts = dict(found.texts)
    for key in ("Exif.Model", "Exif.Make", "Exif.ImageDescription"):
        name, mark, text = texts.get(key, "").partition(":")
        if mark and name.lower() in ("prompt", "workflow"):
            texts.setdefault(name.lower(), text)
    both = table_in(texts.get("Exif.UserComment", ""))
    told = both.get("prompt")
    graph = graphs.graph_in(table_in(texts.get("prompt", "")) or (told if isinstance(told, dict) else {}))
    if not graph:
        return Made("ComfyUI") if "nodes" in table_in(texts.get("workflow", "")) else None
    prompt, negative = graphs.prompts(graph)
    return _from("ComfyUI", graphs.settings(graph) | {"prompt": prompt, "negative_prompt": negative})


def _draw_things(found: Contents) -> Made | None:
    table = table_in(value(found.xmp, "UserComment"))
    width, _, height = text_of(table.get("size")).partition("x")
    return _from("Draw Things", table | {"width": width, "height": height}) if "c" in table else None


def _mflux(found: Contents) -> Made | None:
    for table in _tables(found, "Exif.UserComment"):
        if "mflux_version" in table:
            return _from("mflux", table)
    names = ("seed", "steps", "guidance", "model")
    told = {name: value(found.xmp, name) for name in names} | {"prompt": value(found.xmp, "description")}
    return _from("mflux", told) if "<mflux:" in found.xmp else None


def _midjourney(found: Contents) -> Made | None:
    """The words are followed by flags and by the id of the job. Only what is downloaded from its own page has them."""
    text = found.texts.get("Description") or value(found.xmp, "description")
    job = JOB.search(text)
    if job is None:
        return None
    flags = {FLAGS.get(name, name): words.strip() for name, words in FLAG.findall(text[: job.start()])}
    words = re.split(r"\s--[a-z]", text[: job.start()], maxsplit=1)[0].strip()
    model = f"v{flags['v']}" if "v" in flags else ""
    return _from("Midjourney", flags | {"job": job[1], "prompt": words, "model": model})


def _easy_diffusion(found: Contents) -> Made | None:
    """Keys of one table, in either of two spellings, as PNG texts or as JSON in the Exif comment."""
    for table in (found.texts, *_tables(found, "Exif.UserComment", "Comment")):
        if "negative_prompt" in table or "Negative Prompt" in table:
            return _from("Easy Diffusion", table)
    return None


def _named(found: Contents) -> Made | None:
    """A tool that gives no more than its name."""
    fields = [found.texts.get(key, "") for key in ("Software", "Exif.Software", "Exif.Make", "Exif.Artist")]
    for text in (*fields, value(found.xmp, "CreatorTool"), value(found.xmp, "Credit")):
        if name := KNOWN.search(text[:MAX_SETTINGS]):
            return Made(name[0])
    return Made("xAI") if signed_by_xai(found) else None


def signed_by_xai(found: Contents) -> bool:
    return found.texts.get("Exif.ImageDescription", "").startswith("Signature: ") and "Exif.Artist" in found.texts


Form = Callable[[Contents], Made | None]
FORMS: tuple[Form, ...] = (
    _fooocus, _swarm, _a1111, _invoke, _novelai, _comfyui, _draw_things, _mflux, _midjourney, _easy_diffusion, _named,
)  # fmt: skip
