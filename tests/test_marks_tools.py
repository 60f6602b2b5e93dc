"""What other tools and services write into pictures is read in every form that is known."""

import json
from typing import Any

import pytest

from imagegen_cli.marks.reading import UnreadableFile, read, request_from
from tests.doubles import marked
from tests.doubles.forms import by_pillow, samples

SETTINGS = "Steps: 15, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768, Model hash: ab12, Model: dream_8"
A1111 = f"一只猫, cinematic\nsecond line\nNegative prompt: blurry, dog\nugly\n{SETTINGS}"
A1111_FACTS = {"prompt": "一只猫, cinematic\nsecond line", "negative": "blurry, dog\nugly", "model": "dream_8"} | {
    "seed": 42, "width": 512, "height": 768,
}  # fmt: skip


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


GRAPH = {
    "3": node("KSampler", seed=["20", 0], steps=20, cfg=7.5, model=["4", 0], positive=["30", 0], negative=["30", 1],
              latent_image=["5", 0], sampler_name="euler"),
    "4": node("CheckpointLoaderSimple", ckpt_name="dream_8.safetensors"),
    "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
    "6": node("CLIPTextEncode", text=["21", 0], clip=["4", 1]),
    "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    "20": node("Seed (rgthree)", seed=42),
    "21": node("PrimitiveStringMultiline", value="一只猫"),
    "22": node("CLIPTextEncode", text="an unused encoder", clip=["4", 1]),
    "30": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], control_net=["31", 0], image=["32", 0]),
}  # fmt: skip
FLUX = {
    "1": node("SaveImage", images=["2", 0]),
    "2": node("VAEDecode", samples=["3", 0], vae=["9", 0]),
    "3": node("SamplerCustomAdvanced", noise=["4", 0], guider=["5", 0], sampler=["6", 0], latent_image=["7", 0]),
    "4": node("RandomNoise", noise_seed=42),
    "5": node("BasicGuider", model=["8", 0], conditioning=["10", 0]),
    "7": node("EmptySD3LatentImage", width=512, height=768, batch_size=1),
    "8": node("UNETLoader", unet_name="flux1-dev"),
    "10": node("FluxGuidance", guidance=3.5, conditioning=["11", 0]),
    "11": node("CLIPTextEncodeFlux", clip_l="一只猫", t5xxl="一只猫", guidance=3.5, clip=["12", 0]),
}
ZEROED = {
    "3": node("KSampler", seed=42, positive=["6", 0], negative=["7", 0]),
    "6": node("CLIPTextEncode", text="一只猫"),
    "7": node("ConditioningZeroOut", conditioning=["6", 0]),
}
CIRCLE = {
    "3": node("KSampler", seed=42, positive=["6", 0], negative=["6", 0]),
    "6": node("ConditioningCombine", conditioning_1=["7", 0], conditioning_2=["6", 0]),
    "7": node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["8", 0]),
    "8": node("CLIPTextEncode", text="一只猫"),
}
LOADER = {
    "1": node("KSampler (Efficient)", seed=42, positive=["2", 1], negative=["2", 2]),
    "2": node("Efficient Loader", ckpt_name="dream_8", positive="一只猫", negative="blurry"),
}
SHORT = {"prompt": "一只猫", "seed": 42}
COMFY = SHORT | {"negative": "blurry", "model": "dream_8.safetensors", "width": 512, "height": 768}
INVOKE = {"positive_prompt": "一只猫", "negative_prompt": "blurry", "seed": 42, "width": 512, "height": 768} | {
    "model": {"model_name": "dream_8", "base_model": "sdxl"}, "steps": 30,
}  # fmt: skip
OLD_INVOKE = {"model": "stable diffusion", "model_weights": "dream_8"} | {
    "image": {
        "prompt": [{"prompt": "一只猫 [blurry]", "weight": 1.0}],
        "seed": 42,
        "width": 512,
        "height": 768,
        "steps": 50,
    }
}
FACTS = SHORT | {"negative": "blurry", "model": "dream_8"}
SIZED = FACTS | {"width": 512, "height": 768}
FOOOCUS = {
    "prompt": "一只猫",
    "negative_prompt": "blurry",
    "base_model": "dream_8",
    "seed": "42",
    "version": "Fooocus v2.5.5",
}
NOVEL = {"steps": 28, "sampler": "k_euler", "seed": 42, "uc": "blurry", "width": 512, "height": 768}
SWARM = {"sui_image_params": {"prompt": "一只猫", "negativeprompt": "blurry", "model": "dream_8", "seed": 42}}
MFLUX = {"mflux_version": "0.10.0", "prompt": "一只猫", "negative_prompt": "blurry", "model": "dream_8", "seed": 42}
DRAW_THINGS = {"c": "一只猫", "uc": "blurry", "model": "dream_8", "seed": 42, "size": "512x768", "steps": 8}
EASY = {"prompt": "一只猫", "negative_prompt": "blurry", "use_stable_diffusion_model": "dream_8", "seed": "42"}
OTHER_MODEL = "Stable Diffusion model"
MIDJOURNEY = "一只猫 --ar 3:2 --no blurry, dog --v 6.1 Job ID: 0b1a2c3d-1111-2222-3333-444455556666"


def written(value: Any) -> str:
    return json.dumps(value)


def xmp(inside: str) -> str:
    return marked.packet(f">{inside}</rdf:Description>")


def comment(words: str, **tags: Any) -> bytes:
    return marked.jpeg_with_exif({0x0131: b"x"} | tags.pop("tags", {}), inner=marked.comment(words), **tags)


FORMS: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "a1111 text": (marked.png(marked.text("parameters", A1111)), "A1111", A1111_FACTS),
    "a1111 international": (marked.png(marked.long_text("parameters", A1111)), "A1111", A1111_FACTS),
    "a1111 packed behind the pixels": (
        marked.png(late=[marked.packed_text("parameters", A1111)]), "A1111", A1111_FACTS
    ),
    "a1111 jpeg": (comment(A1111), "A1111", A1111_FACTS),
    "a1111 jpeg in a little-endian block": (comment(A1111, order="<"), "A1111", A1111_FACTS),
    "little-endian comment": (
        marked.jpeg_with_exif({}, inner={0x9286: b"UNICODE\0" + A1111.encode("utf-16-le")}, order="<"),
        "A1111", A1111_FACTS,
    ),
    "a1111 webp": (
        marked.webp(marked.riff(b"EXIF", marked.exif({}, inner=marked.comment(A1111)))), "A1111", A1111_FACTS
    ),
    "a1111 before comfyui": (
        marked.png(marked.text("prompt", written(GRAPH)), marked.text("parameters", A1111)), "A1111", A1111_FACTS
    ),
    "a1111 with quoted values": (
        marked.png(marked.text("parameters", f'a\n{SETTINGS}, Lora hashes: "x: 1, y: 2", Version: v1')),
        "A1111", {"prompt": "a", "seed": 42},
    ),
    "words alone": (marked.png(marked.text("parameters", "一只猫: a, b")), "A1111", {"prompt": "一只猫: a, b"}),
    "comfyui": (
        marked.png(marked.text("prompt", written(GRAPH)), marked.text("workflow", '{"nodes":[]}')), "ComfyUI", COMFY
    ),
    "comfyui custom sampler": (
        marked.png(marked.text("prompt", written(FLUX))), "ComfyUI",
        SHORT | {"model": "flux1-dev", "width": 512, "height": 768, "negative": ""},
    ),
    "comfyui zeroed negative": (
        marked.png(marked.text("prompt", written(ZEROED))), "ComfyUI", SHORT | {"negative": ""}
    ),
    "comfyui in a circle": (marked.png(marked.text("prompt", written(CIRCLE))), "ComfyUI", SHORT),
    "comfyui loader with words": (marked.png(marked.text("prompt", written(LOADER))), "ComfyUI", FACTS),
    "comfyui webp": (
        marked.webp(marked.riff(b"EXIF", marked.exif({0x0110: b"prompt:" + written(GRAPH).encode(),
                                                      0x010F: b'workflow:{"nodes":[]}'}))), "ComfyUI", COMFY,
    ),
    "comfyui in one comment": (comment(written({"prompt": GRAPH, "workflow": {}})), "ComfyUI", COMFY),
    "comfyui graph of the page alone": (
        marked.png(marked.text("workflow", '{"nodes":[],"links":[]}')), "ComfyUI", {"prompt": ""}
    ),
    "invoke": (marked.png(marked.long_text("invokeai_metadata", written(INVOKE))), "InvokeAI", SIZED),
    "invoke before 3": (marked.png(marked.text("sd-metadata", written(OLD_INVOKE))), "InvokeAI", SIZED),
    "invoke at first": (
        marked.png(marked.text("Dream", '"一只猫" -s 50 -S 42 -W512 -H 768 -C7.5 -A k_lms')), "InvokeAI",
        SHORT | {"width": 512, "height": 768},
    ),
    "fooocus": (
        marked.png(marked.text("parameters", written(FOOOCUS)), marked.text("fooocus_scheme", "fooocus")),
        "Fooocus", FACTS,
    ),
    "fooocus as a1111": (
        marked.png(marked.text("parameters", A1111), marked.text("fooocus_scheme", "a1111")), "Fooocus", A1111_FACTS
    ),
    "fooocus jpeg": (
        marked.jpeg_with_exif({0x0131: b"Fooocus v2"}, inner=marked.comment(written(FOOOCUS)) | {0x927C: b"fooocus"}),
        "Fooocus", FACTS,
    ),
    "fooocus jpeg as a1111": (
        marked.jpeg_with_exif({0x0131: b"Fooocus v2.5.5"}, inner=marked.comment(A1111) | {0x927C: b"a1111"}),
        "Fooocus", A1111_FACTS,
    ),
    "fooocus at first": (
        marked.jpeg(marked.segment(0xFE, written({"Prompt": "一只猫", "Negative Prompt": "blurry", "Seed": 42,
                                                   "Base Model": "dream_8"}).encode())), "Fooocus", FACTS,
    ),
    "novelai": (
        marked.png(*(marked.text(*pair) for pair in [
            ("Title", "AI generated image"), ("Description", "一只猫"), ("Software", "NovelAI"), ("Source", "dream_8"),
            ("Comment", written(NOVEL)),
        ])), "NovelAI", SIZED,
    ),
    "swarm": (marked.png(marked.text("parameters", written(SWARM))), "SwarmUI", FACTS),
    "swarm jpeg": (comment(written(SWARM)), "SwarmUI", FACTS),
    "swarm at first": (marked.jpeg_with_exif({0x0110: written(SWARM).encode()}), "SwarmUI", FACTS),
    "mflux": (
        marked.jpeg_with_exif({}, inner={0x9286: b"ASCII\0\0\0" + json.dumps(MFLUX, ensure_ascii=False).encode()}),
        "mflux", FACTS,
    ),
    "mflux png": (
        marked.png_with_xmp(xmp("<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>一只猫</rdf:li></rdf:Alt>"
                                "</dc:description><mflux:seed>42</mflux:seed><mflux:model>dream_8</mflux:model>")),
        "mflux", SHORT | {"model": "dream_8"},
    ),
    "draw things": (
        marked.png_with_xmp(xmp("<xmp:CreatorTool>Draw Things</xmp:CreatorTool><exif:UserComment><rdf:Alt><rdf:li>"
                                f"{written(DRAW_THINGS).replace(chr(34), '&quot;')}"
                                "</rdf:li></rdf:Alt></exif:UserComment>")), "Draw Things", SIZED,
    ),
    "easy diffusion": (
        marked.png(*(marked.text(*pair) for pair in EASY.items())), "Easy Diffusion", FACTS
    ),
    "easy diffusion jpeg": (
        comment(written({"Prompt": "一只猫", "Negative Prompt": "blurry", "Seed": 42, OTHER_MODEL: "dream_8"})),
        "Easy Diffusion", FACTS,
    ),
    "midjourney": (
        marked.png(marked.text("Description", MIDJOURNEY), marked.text("Author", "u1")), "Midjourney",
        {"prompt": "一只猫", "negative": "blurry, dog", "model": "v6.1"},
    ),
    "xai": (
        marked.jpeg_with_exif({0x010E: b"Signature: abc", 0x013B: b"0b1a2c3d-1111-2222-3333-444455556666"}), "xAI", {}
    ),
    "ideogram": (marked.jpeg_with_exif({0x010F: b"Ideogram AI"}), "Ideogram", {}),
    "named in xmp": (marked.png_with_xmp(xmp("<xmp:CreatorTool>豆包</xmp:CreatorTool>")), "豆包", {}),
    "nothing": (by_pillow("PNG"), "", {"prompt": "", "seed": None}),
    "a camera": (marked.jpeg_with_exif({0x010F: b"Canon", 0x0110: b"EOS R5", 0x010E: b"prompt: my dog"}), "", {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_another_tool(form: str) -> None:
    data, tool, facts = FORMS[form]
    found = read(data)
    assert (found.made.tool, found.marks, found.damage) == (tool, None, "")
    assert {name: getattr(found.made, name) for name in facts} == facts


def test_settings_are_plain_values() -> None:
    data, _, _ = FORMS["a1111 with quoted values"]
    assert read(data).made.parameters["Lora hashes"] == "x: 1, y: 2"
    assert read(FORMS["comfyui"][0]).made.parameters["steps"] == 20


def test_a_request_from_a_foreign_picture() -> None:
    asked = request_from(read(FORMS["a1111 jpeg"][0]))
    assert asked.pop("extra") == {}
    assert {name: value for name, value in asked.items() if value not in ("", None)} == A1111_FACTS


LABELS = {
    "XMP element": (".png", marked.png_with_xmp(marked.LABEL_ELEMENT)),
    "XMP attribute": (".jpg", marked.jpeg_with_xmp(marked.LABEL_ATTRIBUTE)),
    "PNG text": (".png", marked.png(marked.text("AIGC", marked.LABEL))),
    "Exif UserComment": (
        ".jpg", marked.jpeg_with_exif({}, inner={0x9286: b"ASCII\0\0\0" + f'{{"AIGC":{marked.LABEL}}}'.encode()})
    ),
    "JPEG segment": (".jpg", marked.jpeg(marked.segment(0xE9, f"AIGC{marked.LABEL}".encode()))),
    "Exif ImageDescription": (
        ".jpg", marked.jpeg_with_exif({0x010E: f'{marked.LABEL[:-1]},"ServiceProvider":"混元"}}'.encode()})
    ),
    "MP4 metadata": (".mp4", marked.film_with_label()),
}  # fmt: skip
"""The seven forms of the Chinese label."""


@pytest.mark.parametrize("form", LABELS)
def test_a_label_is_named_with_its_form(form: str) -> None:
    suffix, data = LABELS[form]
    found = read(data)
    (label,) = found.labels
    assert found.suffix == suffix
    assert (label.form, label.label, label.meaning) == (form, "1", "generated")
    assert (label.producer, label.produce_id) == ("001191110102MACQD9K64010000", "p-1")


def test_a_label_in_webp_is_read_as_well() -> None:
    for packet in (marked.LABEL_ELEMENT, marked.LABEL_ATTRIBUTE):
        assert len(read(marked.webp_with_xmp(packet)).labels) == 1


@pytest.mark.parametrize("suffix", marked.signed())
def test_a_signature_is_named_with_its_owner(suffix: str) -> None:
    found = read(marked.signed()[suffix])
    assert (found.suffix, found.signature, found.damage) == (suffix, "C2PA", "")
    assert found.signer == ("Honest Pictures Ltd" if suffix != ".jpg" else found.signer)


def test_a_signature_that_is_kept_elsewhere_is_one() -> None:
    elsewhere = xmp("<dcterms:provenance>https://example.org/m.c2pa</dcterms:provenance>")
    assert read(marked.jpeg_with_xmp(elsewhere)).signature == "C2PA"


def test_a_digital_source_type_is_its_last_word() -> None:
    words = '"" Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"'
    assert read(marked.webp_with_xmp(marked.packet("/>", words))).source_type == "trainedAlgorithmicMedia"


def test_metadata_inside_avif() -> None:
    data = by_pillow(
        "AVIF", exif=b"Exif\0\0" + marked.exif({}, inner=marked.comment(A1111)), xmp=marked.LABEL_ELEMENT.encode()
    )
    found = read(data)
    assert (found.suffix, found.made.prompt, found.damage) == (".avif", A1111_FACTS["prompt"], "")
    assert [label.form for label in found.labels] == ["XMP element"]


@pytest.mark.parametrize("name", samples())
def test_every_form_of_file_is_read_without_trouble(name: str) -> None:
    suffix, data = samples()[name]
    assert read(data).suffix == suffix


def test_what_is_no_picture_is_the_documented_error() -> None:
    for data in (b"", b"hello", b"<html>", bytes(100)):
        with pytest.raises(UnreadableFile):
            read(data)
