"""The model card of a CLIP run, from its facts."""

from collections.abc import Mapping
from typing import Any, Final

from train.card import positions, whose
from train.clip_base import WORDS

RECALLS: Final = tuple(f"{way}_recall_{rank}_frac" for way in ("image_to_text", "text_to_image") for rank in (1, 10))


def card(facts: Mapping[str, Any], name: str, *, own_words: bool) -> str:
    """Return a model card as Markdown with a YAML head; what nobody measured is said to be unmeasured.

    `own_words`: the folder has a vocabulary of its own that open_clip must be told of.
    """
    model, config = facts["model_cfg"], facts["config"]
    locked = [tower for tower in ("image", "text") if config["clip"][f"lock_{tower}"]]
    rows = [
        ("training pairs", f"{facts['rows']:,} of snapshot {facts['snapshot']:06d} (digest {facts['snapshot_digest']})"),
        ("pairs seen", f"{facts['images_seen']:,} in {facts['step']:,} steps of {config['optim']['batch']:,}; "
                       f"{facts['skipped']:,} hidden ones were passed over"),
        ("refusals obeyed", positions(facts["refusals"] or {})),
        ("architecture", f"{_vision(model['vision_cfg'])} and {_text(model['text_cfg'])}; "
                         f"embeddings of {model['embed_dim']} numbers"),
        ("locked towers", " and ".join(locked) or "none"),
        ("started from", ", ".join(facts["parents"]) or "random weights"),
        ("weights", f"`open_clip_model.safetensors`, averaged over steps, sha256 {facts['weights_sha256']}"),
        *_quality(facts["measured"]),
    ]  # fmt: skip
    words = f', bpe_path="{name}/{WORDS}"' if own_words else ""
    return "\n".join([
        "---", "library_name: open_clip", "pipeline_tag: zero-shot-image-classification", "tags: [tamis, clip]", "---", "",
        f"# {name}", "", "Tells which texts belong to which pictures; trained by tamis. Every figure here is read from the run.", "",
        "```python", "import open_clip", "",
        f'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{name}")',
        f'tokenizer = open_clip.get_tokenizer("local-dir:{name}"{words})', "```", "", "For curation, in the file of `tamis ingest`:", "",
        "```toml", "[clip]", f'model = "local-dir:{name}"', "threshold = …  # measure it: that of another model does not carry over",
        "```", "", "| fact | |", "|---|---|", *(f"| {fact} | {value} |" for fact, value in rows), "", *whose("pairs"),
        "Cosines are comparable within this model only. Membership is exact, influence is not."
        + (" What the weights it started from had seen is not known here." if facts["parents"] else ""), "",
    ])  # fmt: skip


def _vision(config: Mapping[str, Any]) -> str:
    px = config.get("image_size", 224)
    kind = "ResNet" if isinstance(config.get("layers"), list) else "vision transformer"
    made = config.get("timm_model_name") or f"a {kind} of width {config.get('width', 768)}"
    return f"{made} at {px} px"


def _text(config: Mapping[str, Any]) -> str:
    return str(config.get("hf_model_name") or f"a text transformer of width {config.get('width', 512)}")


def _quality(measured: Mapping[str, float]) -> list[tuple[str, str]]:
    loss = measured.get("validation_loss")
    found = [("validation loss", "not measured" if loss is None else f"{loss:.4f}")]
    if not all(name in measured for name in RECALLS):
        return [*found, ("recall", "not measured at this step")]
    among = int(measured["recall_among"])
    for way in ("image_to_text", "text_to_image"):
        first, tenth = (measured[f"{way}_recall_{rank}_frac"] for rank in (1, 10))
        chance = f"by chance {1 / among:.1%} / {min(1.0, 10 / among):.1%}"
        found.append(
            (
                f"recall@1 / @10, {way.replace('_', ' ')}",
                f"{first:.1%} / {tenth:.1%} among {among:,} held out; {chance}",
            )
        )
    return found
