"""A model card, in Hugging Face's form, from the facts of a run; what nobody measured is said to be unmeasured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import FormatError
from train.sheets import RECORD, read_record


def card(facts: Mapping[str, Any], name: str, run: Path | None = None) -> str:
    """Return the card as Markdown with a YAML head."""
    prior = facts.get("prior")
    lines = [
        "---", "library_name: diffusers", "pipeline_tag: text-to-image" if prior else "pipeline_tag: image-to-image",
        "tags: [tamis, unclip, clip-conditioned]", "---", "", f"# {name}", "",
        "Draws pictures from CLIP embeddings; trained by tamis. Every figure here is read from the run.", "",
        "```python", "import torch", "from diffusers import DiffusionPipeline", "",
        f'pipeline = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)',
        'pictures = pipeline(["a red apple"], seeds=[7]).images' if prior else
        "pictures = pipeline(image_embeds=vectors, seeds=[7]).images  # f32[1,D], unit norm",
        "```", "",
        "A prompt needs open_clip and the encoder below: the folder `clip` of this model, where `tamis export --with-clip` made "
        "it, or the name in open_clip. Without, give `text_embeds`." if prior else "",
        "", "| fact | |", "|---|---|",
    ]  # fmt: skip
    clip = facts["clip"]
    rows = [
        ("training rows", f"{facts['rows']:,} of snapshot {facts['snapshot']:06d} (digest {facts['snapshot_digest']})"),
        (
            "images seen",
            f"{facts['images_seen']:,} in {facts['step']:,} steps; {facts['skipped']:,} hidden ones were passed over",
        ),
        ("refusals obeyed", positions(facts.get("refusals") or {})),
        ("objective", f"{facts['objective']}, {facts['resolution_px']} px"),
        ("encoder", f"{clip.get('model')} (weights {clip.get('weights_sha256')})"),
        ("validation loss", _number(facts.get("validation_loss"))),
        (
            "prior",
            f"run {prior['run']}, step {prior['step']:,}, {prior['images_seen']:,} embeddings seen"
            if prior
            else "none",
        ),
        *(
            [
                (
                    "the prior's rows",
                    f"{prior['rows']:,} of snapshot {prior['snapshot']:06d} (digest {prior['snapshot_digest']}); "
                    f"refusals obeyed: {positions(prior['refusals'])}",
                )
            ]
            if prior and "rows" in prior
            else []
        ),
        ("parents", ", ".join(facts.get("parents") or []) or "none: trained from random weights"),
        *(_quality(run, facts) if run is not None else []),
    ]
    lines += [f"| {fact} | {value} |" for fact, value in rows]
    lines += [
        "", *whose("pictures"),
        "Membership is exact, influence is not: no claim is made that nothing was memorised. Compare outputs with the training "
        "rows (`tamis sample --check-copies`).", "",
    ]  # fmt: skip
    return "\n".join(lines)


def whose(what: str) -> list[str]:
    """Return the section on whose pictures or pairs are in the weights."""
    return [
        f"## Whose {what}", "",
        "Which rows went into the weights is computed, not guessed: `tamis lineage DATASET --uid …` answers for this run. "
        "What was erased from the data set after its turn came is still in the weights; "
        "`tamis train after-erasure` goes on from the last checkpoint that had not seen it.", "",
    ]  # fmt: skip


def positions(refusals: Mapping[str, Any]) -> str:
    """Return up to where the registry's refusals were obeyed."""
    return ", ".join(f"{name} {value}" for name, value in sorted(refusals.items())) or "none were registered"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _quality(run: Path, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = read_record(run)
    if found is None:
        return [("quality", "not measured; `tamis train quality` does")]
    prior = facts.get("prior")
    try:
        measured = [found["run"], found["step"], *((found["prior"] or {}).get(name) for name in ("run", "step"))]
        if measured != [facts["run"], facts["step"], *((prior or {}).get(name) for name in ("run", "step"))]:
            return [("quality", "not measured of this checkpoint with this prior; `tamis train quality` does")]
        return _measured(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{run / RECORD}: not a record of `tamis train quality` ({error!r}); measure again, or remove it"
        ) from error


def _measured(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    held, sampler = found["held"], found["sampler"]
    share, real = held["agreement"], held["agreement_real"]
    reached = (
        f"95 % interval {share['low']:.1%} to {share['high']:.1%}, {share['n']} held-out captions; real pictures "
        f"{real['value']:.1%}, chance {share['chance']:.1%}"
    )
    drawn = "prompts" if found["prior"] else "pictures' own vectors, without a prior"
    return [
        (f"prompts retrieved among {found['among']}", f"{share['value']:.1%} ({reached})"),
        ("CLIP score", f"{held['clip_own']['value']:.3f} (real pictures {held['clip_real']['value']:.3f})"),
        ("KID", f"{held['kid']['value']:.4f} (real against real {held['kid_floor']['value']:.4f})"),
        ("CMMD", f"{held['cmmd']['value']:.3f} (real against real {held['cmmd_floor']['value']:.3f})"),
        ("measured at", f"step {found['step']:,}, drawn from {drawn}; {sampler['solver']}, {sampler['steps']} steps, "
         f"guidance {sampler['guidance']:g}"),
    ]  # fmt: skip
