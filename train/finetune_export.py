"""A fine-tuned U-Net takes its place in the pipeline that it came from: a diffusers folder with its facts and a model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.stage import sha256_file
from train import checkpoint
from train.card import positions, whose
from train.export import public
from train.finetune import parts_of
from train.handed_out import noted
from train.opening import facts_of
from train.run import must_have_its_parts, open_run

_INDEX = "model_index.json"


def export_finetuned(run: Path, out: Path, step: int | None = None) -> None:
    """Write the pipeline with a checkpoint's averaged U-Net, the newest where no step is named.

    InputError when there is no such checkpoint, `out` holds something, or the pipeline it came from is gone; InvariantError when
    what it was trained with (VAE, text encoder, tokenizer, schedule) is another by now. Parts that training does not touch, a
    safety checker or a feature extractor, are taken as they are.
    """
    found = open_run(run)
    at = checkpoint.last(found.folder) if step is None else step
    if at is None:
        raise InputError(f"{run}: no checkpoint yet; wait for the first, or `tamis train finetune … --resume`")
    must_have_its_parts(found)
    out, base = out.resolve(), Path(str(found.facts.base))
    parts = parts_of(base)
    if "unet" not in parts:
        raise InputError(f"{base / _INDEX}: names no unet; put back the pipeline that {run} fine-tunes")
    kind = str(json.loads((base / _INDEX).read_bytes()).get("_class_name", "DiffusionPipeline"))
    facts = public(facts_of(found, at))
    facts |= {"base": base.name, "parents": [one.replace(str(base), base.name) for one in facts["parents"]]}

    def fill(draft: Path) -> None:
        draft.mkdir()
        for part in sorted(name for name in parts if (base / name).is_dir()):
            source = found.folder / checkpoint.name(at) / "ema" / part if part == "unet" else base / part
            shutil.copytree(source, draft / part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        shutil.copyfile(base / _INDEX, draft / _INDEX)
        names = sorted(path for path in draft.rglob("*") if path.is_file())
        files = {path.relative_to(draft).as_posix(): sha256_file(path) for path in names}
        (draft / "tamis.json").write_text(json.dumps({**facts, "files": files}, indent=1, sort_keys=True) + "\n")
        (draft / "README.md").write_text(card(facts, out.name, kind))

    with noted([(found.folder, at)], out) as draft:
        checkpoint.publish(out, draft, fill)


def card(facts: Mapping[str, Any], name: str, pipeline: str) -> str:
    """Return a model card as Markdown with a YAML head; `pipeline` is diffusers' class."""
    loss = facts["validation_loss"]
    rows = [
        ("training rows", f"{facts['rows']:,} of snapshot {facts['snapshot']:06d} (digest {facts['snapshot_digest']})"),
        ("images seen", f"{facts['images_seen']:,} in {facts['step']:,} steps; {facts['skipped']:,} hidden ones were passed over"),
        ("refusals obeyed", positions(facts.get("refusals") or {})),
        ("fine-tuned from", f"{facts['base']}: {', '.join(facts['parents'])}; what that had seen before is not known here"),
        ("validation loss", "not measured" if loss is None else f"{loss:.4f}"),
    ]  # fmt: skip
    return "\n".join([
        "---", "library_name: diffusers", "pipeline_tag: text-to-image", "tags: [tamis]", "---", "", f"# {name}", "",
        "A pipeline whose U-Net was fine-tuned by tamis; its other parts are as they were. Every figure here is read from the run.", "",
        "```python", f"from diffusers import {pipeline}", "", f'pipeline = {pipeline}.from_pretrained("{name}")',
        'picture = pipeline("a red apple").images[0]', "```", "", "| fact | |", "|---|---|",
        *(f"| {fact} | {value} |" for fact, value in rows), "", *whose("pictures"),
    ])  # fmt: skip
