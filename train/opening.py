"""Open what pictures are made with: a run's newest checkpoint (its averaged weights) with a prior's, or an exported folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.given_picture import read_rgb
from pipeline.snapshot import read as read_snapshot
from pipeline.stage import sha256_file
from train import checkpoint, export, models
from train.exported.pipeline import TamisPipeline
from train.exported.sampling import SOLVERS
from train.exported.tokens import EmbeddingTokens
from train.latents import Latents
from train.run import Run, must_be_as_trained, must_have_its_parts, open_run
from train.world import device_of


@dataclass(frozen=True)
class Model:
    """A pipeline and the facts that belong to it."""

    pipeline: TamisPipeline
    facts: dict[str, Any]
    clip: ModelSpec | None
    """What its prompts are embedded with; None where that is not known."""


def open_model(folder: Path, prior: Path | None, device: str, step: int | None = None) -> Model:
    """Open a run of `tamis train decoder` (with a prior's run) or a folder of `tamis export`; InputError names what is missing."""
    where = device_of(device)
    if (folder / "model_index.json").is_file():
        if prior is not None or step is not None:
            raise InputError(f"{folder} was exported with its checkpoint and prior; --step and --prior are for runs")
        return _exported(folder, where)
    run = open_run(folder)
    if run.facts.kind != "decoder":
        way = f"; `tamis export {folder} --out …` makes a pipeline that diffusers draws with" * (
            run.facts.kind == "finetune"
        )
        raise InputError(f"{folder} trains a {run.facts.kind}; name a decoder's run, and a prior's with --prior{way}")
    must_have_its_parts(run)
    weights, made = weights_folder(run, step), None
    facts, decoder = _facts(run, weights), models.load(weights)
    if prior is not None:
        other = open_run(prior)
        if other.facts.kind != "prior":
            raise InputError(f"{prior} trains a {other.facts.kind}; --prior names the run of a prior")
        their_weights = weights_folder(other, None)
        theirs = _facts(other, their_weights)
        if theirs["clip"].get("weights_sha256") != facts["clip"].get("weights_sha256"):
            raise InputError(f"{prior} learnt from another encoder ({theirs['clip'].get('model')}) than {folder}")
        made = models.load(their_weights)
        facts["prior"] = {
            name: theirs[name]
            for name in (
                "run",
                "step",
                "images_seen",
                "skipped",
                "weights_sha256",
                "dataset",
                "rows",
                "snapshot",
                "snapshot_digest",
                "refusals",
                "parents",
            )
        }
    assert isinstance(decoder, models.Decoder)
    vae = Latents.open(run.config.decoder.vae, where).vae if run.config.decoder.vae is not None else None
    assert made is None or isinstance(made, models.Prior)
    pipeline = export.assemble(decoder, made, facts, vae).to(where)
    return Model(pipeline, facts, _spec(facts))


def weights_folder(run: Run, step: int | None) -> Path:
    """Return the folder of a checkpoint's averaged weights, the newest one's where no step is named; InputError without one."""
    newest = step if step is not None else checkpoint.last(run.folder)
    if newest is None:
        raise InputError(f"{run.folder}: no checkpoint yet; wait for the first, or `tamis train … --resume`")
    folder = run.folder / checkpoint.name(newest)
    checkpoint.sound(folder, "ema/")
    return folder / "ema"


def facts_of(run: Run, step: int | None) -> dict[str, Any]:
    """Return what a run's checkpoint is and what it learnt from."""
    return _facts(run, weights_folder(run, step))


def _facts(run: Run, weights: Path) -> dict[str, Any]:
    """Return the facts of the checkpoint that the weights are of: a run under way may have a newer one by now."""
    cursor = checkpoint.read(weights.parent)
    must_be_as_trained(run, cursor.step)
    rows = run.rows.facts
    digests = {path.parent.name: sha256_file(path) for path in sorted(weights.rglob("*.safetensors"))}
    return {
        "run": run.facts.id, "kind": run.facts.kind, "step": cursor.step, "images_seen": cursor.images_seen,
        "skipped": cursor.skipped, "weights_sha256": digests, "objective": run.config.objective.predict,
        "resolution_px": run.config.data.resolution_px, "dataset": Path(rows.dataset).name, "snapshot": rows.snapshot,
        "snapshot_digest": rows.snapshot_digest, "refusals": rows.refusals, "clip": rows.clip,
        "rows": run.shown.rows_shown, "validation_loss": cursor.validation_loss, "parents": cursor.parents,
        "config": run.facts.config, "clip_config": _clip_config(run),
    }  # fmt: skip


def _clip_config(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = dict(read_snapshot(run.store, run.facts.snapshot).config["clip"])
    return found


_CLASSES: Final = {
    "transformer": (diffusers.PixArtTransformer2DModel, diffusers.UNet2DConditionModel),
    "scheduler": (diffusers.FlowMatchEulerDiscreteScheduler, diffusers.DDIMScheduler),
    "image_tokens": (EmbeddingTokens,), "text_tokens": (EmbeddingTokens,), "prior_tokens": (EmbeddingTokens,),
    "prior": (diffusers.PriorTransformer,), "vae": (diffusers.AutoencoderKL,),
}  # fmt: skip
"""What an export is made of."""


def _exported(folder: Path, device: torch.device) -> Model:
    """Open an export with this version's own classes: no code that lies in the folder is run, no pickle among its parts read."""
    facts = export.read(folder)
    try:
        index = json.loads((folder / "model_index.json").read_text())
        parts = {
            name: _part(folder / name, kinds, index[name][1])
            for name, kinds in _CLASSES.items()
            if index.get(name, [None])[0]
        }
        told = ("objective", "clip_model", "clip_pretrained", "clip_sha256")
        pipeline = TamisPipeline(**parts, **{name: index[name] for name in told}).to(device)
        if index["objective"] not in SOLVERS:
            raise ValueError(f"it predicts {index['objective']!r}")
    except Exception as error:
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"{folder}: diffusers cannot open it ({why}); export the run again") from error
    return Model(pipeline, facts, _spec(facts, folder / "clip"))


def _part(folder: Path, kinds: Sequence[Any], said: str) -> Any:
    kind = next((one for one in kinds if one.__name__ == said), None)
    if kind is None:
        raise ValueError(f"{folder.name} is a {said}, not a {' or '.join(one.__name__ for one in kinds)}")
    options = {} if folder.name == "scheduler" else {"use_safetensors": True}
    return kind.from_pretrained(folder, local_files_only=True, **options)


def _spec(facts: dict[str, Any], own: Path | None = None) -> ModelSpec | None:
    """Return what prompts are embedded with: the CLIP that an export took along, or the one its facts name."""
    clip = facts.get("clip_config") or {}
    if own is not None and own.is_dir():
        return ModelSpec(f"local-dir:{own.resolve()}", None, clip.get("precision", "auto"))
    if own is not None and str(clip.get("model")).startswith("local-dir:"):
        return None  # a folder of the machine it was exported on
    return ModelSpec(clip["model"], clip["pretrained"], clip.get("precision", "auto")) if clip else None


class ClipEncoder:
    """The CLIP model of a training set; loads it at the first question. InputError when its weights are not the recorded ones."""

    def __init__(self, model: Model, device: str) -> None:
        self._model, self._device = model, device
        self._loaded: Any = None

    def texts(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return f16[B,D], unit norm."""
        return self._of_its_width(self._clip().texts(texts))

    def pixels(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the vector f16[D] of a picture u8[H,W,3]."""
        clip = self._clip()
        vector: NDArray[np.float16] = self._of_its_width(clip.images(clip.prepare(rgb)[None]))[0]
        return vector

    def _of_its_width(self, vectors: NDArray[np.float16]) -> NDArray[np.float16]:
        """Refuse vectors of another length than the model listens to."""
        pipeline = self._model.pipeline
        width = int((pipeline.image_tokens or pipeline.text_tokens).mean.numel())
        if vectors.shape[1] != width:
            raise InputError(
                f"the CLIP {self._model.clip.model if self._model.clip else ''} makes vectors of {vectors.shape[1]:,} numbers, the model "
                f"listens to {width:,}: it learnt from another one"
            )
        return vectors

    def picture(self, path: Path) -> NDArray[np.float16]:
        """Return the vector f16[D] of a picture file, upright and on white."""
        return self.pixels(read_rgb(path))

    def _clip(self) -> Any:
        if self._loaded is None:
            if self._model.clip is None:
                raise InputError(
                    "the CLIP that this model listens to was a folder where it was exported; `tamis export --with-clip` takes it along"
                )
            from pipeline import clip_model

            self._loaded = clip_model.load(self._model.clip, self._device)
            recorded, found = self._model.facts["clip"].get("weights_sha256"), self._loaded.weights_sha256
            if None not in (recorded, found) and recorded != found:
                raise InputError(
                    f"the weights of {self._model.clip.model} here (sha256 {found}) are not those the model learnt from "
                    f"({recorded}); its prompts would mean something else"
                )
        return self._loaded
