"""What was asked for once, with what the options of another command change."""

from dataclasses import replace

from imagegen_cli.inputs.lists.common import canonical
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.storage.records import Record


def spec_of(record: Record) -> PromptSpec:
    """What was asked for when a task was made."""
    request = record.task.request
    return PromptSpec(
        prompt=request.prompt,
        provider=request.provider,
        models=(request.model,),
        ratio=request.ratio,
        resolution=request.resolution,
        size=f"{request.width}x{request.height}" if request.width else "",
        count=request.count,
        seed=request.seed,
        negative=request.negative,
        references=request.references,
        name=request.name,
        extra=request.extra,
        parents=record.task.parents,
    )


def changed(spec: PromptSpec, changes: PromptSpec, prompt: str = "") -> PromptSpec:
    """A specification with what the options change. Another provider has other models."""
    is_elsewhere = changes.provider and changes.provider != spec.provider
    varied = {canonical(name) for name in changes.vary}
    has_size = changes.size or "size" in varied
    has_shape = changes.ratio or changes.resolution or varied & {"ratio", "resolution"}
    return replace(
        changes,
        prompt=prompt or spec.prompt,
        provider=changes.provider or spec.provider,
        models=changes.models or (() if is_elsewhere else spec.models),
        ratio=changes.ratio or ("" if has_size else spec.ratio),
        resolution=changes.resolution or ("" if has_size else spec.resolution),
        size=changes.size or ("" if has_shape else spec.size),
        count=spec.count if changes.count is None else changes.count,
        seed=spec.seed if changes.seed is None else changes.seed,
        negative=changes.negative or spec.negative,
        references=changes.references or spec.references,
        parents=changes.parents if changes.references else spec.parents,
        name=changes.name or spec.name,
        extra={**spec.extra, **changes.extra},
    )
