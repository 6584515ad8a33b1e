"""A run becomes a folder that diffusers loads where tamis is not installed, with its own code, its facts and a model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError
from train import exported
from train.exported.pipeline import TamisPipeline
from train.models import Decoder, Prior

_CODE: Final = Path(exported.__file__).parent
_TOKENS: Final = ("image_tokens", "text_tokens", "prior_tokens")


def assemble(decoder: Decoder, prior: Prior | None, facts: Mapping[str, Any], vae: Path | None = None) -> TamisPipeline:
    """Return the pipeline of a decoder and, where there is one, a prior; InputError when they do not fit together."""
    import diffusers

    from train.exported.sampling import scheduler

    clip = facts["clip"]
    tokens: dict[str, Any] = {f"{name}_tokens": one for name, one in decoder.tokens.items()}
    if prior is not None and "image_tokens" in tokens:
        mine, theirs = tokens["image_tokens"].config.embedding_dim, prior.net.config.embedding_dim
        if mine != theirs:
            raise InputError(f"the decoder listens to embeddings of {mine} numbers, the prior makes {theirs}")
    objective = facts["objective"]
    return TamisPipeline(
        transformer=decoder.net, scheduler=scheduler(objective, "euler" if objective == "flow" else "ddim"), **tokens,
        vae=None if vae is None else diffusers.AutoencoderKL.from_pretrained(vae),
        prior=None if prior is None else prior.net, prior_tokens=None if prior is None else prior.text,
        objective=objective, clip_model=clip.get("model"), clip_pretrained=clip.get("pretrained"),
        clip_sha256=clip.get("weights_sha256"),
    )  # fmt: skip


def export(
    pipeline: TamisPipeline, facts: Mapping[str, Any], out: Path, *, card: str, clip: Path | None = None
) -> None:
    """Write the folder; `clip` is a local open_clip folder to take along for prompts. InputError when `out` holds something."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a new folder")
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    pipeline.save_pretrained(draft, safe_serialization=True)
    index = json.loads((draft / "model_index.json").read_text())
    index["_class_name"] = ["pipeline", "TamisPipeline"]
    for name in _TOKENS:
        if (draft / name).is_dir():
            index[name] = ["tokens", "EmbeddingTokens"]
            shutil.copyfile(_CODE / "tokens.py", draft / name / "tokens.py")
    (draft / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for name in ("pipeline.py", "sampling.py"):
        shutil.copyfile(_CODE / name, draft / name)
    (draft / "tamis.json").write_text(json.dumps(dict(facts), indent=1, sort_keys=True) + "\n")
    (draft / "README.md").write_text(card)
    if clip is not None:
        shutil.copytree(clip, draft / "clip", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    if out.exists():
        out.rmdir()
    draft.rename(out)
