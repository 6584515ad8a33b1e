"""A run becomes a folder that diffusers loads where tamis is not installed, with its own code, its facts and a model card."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from pipeline.clip_spec import ModelSpec, file_sha256
from pipeline.errors import FormatError, InputError
from pipeline.stage import sha256_file
from train import checkpoint, exported
from train.exported.pipeline import TamisPipeline
from train.models import Decoder, Prior


@dataclass(frozen=True)
class ClipSaid:
    """What an export's facts say of the model that its prompts are embedded with."""

    model: str
    pretrained: str | None
    precision: str = "auto"


_PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_CODE: Final = Path(exported.__file__).parent
_TOKENS: Final = ("image_tokens", "text_tokens", "prior_tokens")


def assemble(decoder: Decoder, prior: Prior | None, facts: Mapping[str, Any], vae: Any = None) -> TamisPipeline:
    """Return the pipeline of a decoder and, where there are some, a prior and an AutoencoderKL; InputError when they do not fit."""
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
        vae=vae,
        prior=None if prior is None else prior.net, prior_tokens=None if prior is None else prior.text,
        objective=objective, clip_model=clip.get("model"), clip_pretrained=clip.get("pretrained"),
        clip_sha256=clip.get("weights_sha256"),
    )  # fmt: skip


def export(
    pipeline: TamisPipeline, facts: Mapping[str, Any], out: Path, draft: Path, *, card: str, clip: Path | None = None
) -> None:
    """Write the folder as a draft and show it when it is whole; `clip` is a local open_clip folder to take along for prompts."""
    checkpoint.publish(out, draft, lambda draft: _write(draft, pipeline, facts, card, clip))


def public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts for others to read: folders of this machine by their last name alone."""
    config = {section: {key: _named(value) for key, value in keys.items()} for section, keys in facts["config"].items()}
    clips = {
        key: {name: _named(value) for name, value in facts[key].items()}
        for key in ("clip", "clip_config")
        if key in facts
    }
    return {**facts, "config": config, **clips}


def _named(said: Any) -> Any:
    if not isinstance(said, str):
        return said
    prefix, path = ("local-dir:", said.removeprefix("local-dir:")) if said.startswith("local-dir:") else ("", said)
    return prefix + Path(path).name if prefix or Path(path).is_absolute() else said


def _write(draft: Path, pipeline: TamisPipeline, facts: Mapping[str, Any], card: str, clip: Path | None) -> None:
    pipeline.save_pretrained(draft, safe_serialization=True)
    for config in draft.rglob("config.json"):  # where diffusers read a part from on this machine concerns nobody
        told = json.loads(config.read_text())
        told.pop("_name_or_path", None)
        config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    index = json.loads((draft / "model_index.json").read_text())
    index.pop("_name_or_path", None)
    index |= {name: _named(index[name]) for name in ("clip_model", "clip_pretrained")}
    index["_class_name"] = ["pipeline", "TamisPipeline"]
    for name in _TOKENS:
        if (draft / name).is_dir():
            index[name] = ["tokens", "EmbeddingTokens"]
            shutil.copyfile(_CODE / "tokens.py", draft / name / "tokens.py")
    (draft / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for name in ("pipeline.py", "sampling.py"):
        shutil.copyfile(_CODE / name, draft / name)
    if clip is not None:
        shutil.copytree(clip, draft / "clip", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    files = {
        path.relative_to(draft).as_posix(): sha256_file(path) for path in sorted(draft.rglob("*")) if path.is_file()
    }
    (draft / "README.md").write_text(card)  # who publishes it may add to it
    (draft / "tamis.json").write_text(json.dumps({**facts, "files": files}, indent=1, sort_keys=True) + "\n")


_CLIP: Final = TypeAdapter(ClipSaid | None)


def read(folder: Path) -> dict[str, Any]:
    """Return the facts of an exported folder; InputError where it is none, FormatError where a file is not as it was exported."""
    try:
        facts = json.loads((folder / "tamis.json").read_text(), parse_constant=_no_number)
        files, _, _ = facts["files"].items(), facts["clip"].items(), facts["run"]
        _CLIP.validate_python(facts.get("clip_config"))
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder}: not a folder of `tamis export` (tamis.json: {error!r})") from error
    for path in folder.rglob("*"):
        if path.suffix in _PICKLES and not path.is_relative_to(folder / "clip"):  # diffusers would read some of them
            raise FormatError(f"{path}: a pickle, which no export has; copy the folder anew, or export the run again")
    for name, digest in files:
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise FormatError(
                f"{path}: {'damaged' if path.is_file() else 'gone'} since it was exported; copy the folder anew, or export the run again"
            )
    found: dict[str, Any] = facts
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def clip_folder(spec: ModelSpec | None, clip: Mapping[str, Any]) -> Path:
    """Return the folder of a data set's CLIP to take along; InputError where it has none, or holds other weights by now."""
    folder = spec.folder() if spec is not None else None
    if spec is None or folder is None:
        raise InputError(
            "the data set's CLIP is no local folder; its name stands in the export, and open_clip fetches it"
        )
    path = spec.weights()
    found, recorded = file_sha256(path) if path is not None else None, clip.get("weights_sha256")
    if found != recorded:
        raise InputError(
            f"{folder}: the CLIP there (weights {found}) is not the one that the model learnt from ({recorded}); prompts would "
            "mean something else. Restore it, or export without --with-clip"
        )
    return folder
