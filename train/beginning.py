"""What a run of each kind starts from: the shapes of its pictures, the weights it inherits, and what its folder must hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.clip_spec import file_sha256
from pipeline.errors import ConfigError, InputError
from pipeline.ids import stable_hash
from train import latents
from train.buckets import Bucket, buckets
from train.settings import TrainConfig
from train.world import processes

MODEL: Final = "open_clip"
"""Folder of a CLIP run with its model's configuration and tokenizer: a `local-dir:` folder but for the weights."""


def _nothing(folder: Path) -> None:
    """Leave a run's folder as it is."""


@dataclass(frozen=True)
class Beginning:
    """Of a run that is about to be made."""

    shapes: tuple[Bucket, ...]
    base: str | None = None
    parents: list[str] = field(default_factory=list)
    """The weights it starts from, with their digests; what their makers showed them is unknown."""
    frozen: dict[str, str] = field(default_factory=dict)
    """Folders of models that it computes with and never changes, with the digests of what they hold."""
    describe: Callable[[Path], None] = _nothing
    """Writes what the run's folder holds of the model."""


def beginning(kind: str, config: TrainConfig, base: str | None) -> Beginning:
    """Look at what a run starts from; ConfigError or InputError when it cannot be trained."""
    if kind == "clip":
        return _clip(config)
    multiple, side = _multiple(kind, config, base), config.data.resolution_px
    if side % multiple:
        raise ConfigError(
            f"data.resolution_px: {side} is no multiple of {multiple}, the pixels that one patch or cell covers"
        )
    if kind in ("decoder", "prior"):
        from train.cost import must_fit  # with diffusers, which nobody who only looks at a run should wait for

        must_fit(kind, config)
    parents = [f"{base} ({_weights(Path(base))})"] if base is not None else []
    shapes = buckets(side, multiple_px=multiple, max_aspect=config.data.max_aspect)
    return Beginning(shapes, base, parents, {str(folder): digest(folder) for folder in _frozen(kind, config, base)})


def _frozen(kind: str, config: TrainConfig, base: str | None) -> list[Path]:
    if kind == "finetune" and base is not None:
        return [Path(base) / name for name in ("vae", "text_encoder", "tokenizer", "scheduler")]
    return [Path(config.decoder.vae)] if kind == "decoder" and config.decoder.vae is not None else []


def digest(folder: Path) -> str:
    """Return the digest of a model's weights and configuration; InputError where there is none."""
    files = sorted(
        path for path in folder.glob("*") if path.suffix in (".safetensors", ".bin", ".json", ".txt", ".model")
    )
    if not files:
        raise InputError(f"{folder}: no model here")
    return stable_hash([(path.name, file_sha256(path)) for path in files])


def _clip(config: TrainConfig) -> Beginning:
    from train import clip_base
    from train.clip_pixels import Look

    said = config.clip.model
    base = clip_base.Base(clip_base.spec_of(said))
    model = base.make(weights=False, device="meta")
    clip_base.must_bear(model, config, processes())
    preprocess = clip_base.preprocessing(model)
    px = Look.of(preprocess).fit.size_px
    weights = base.weights_sha256()
    return Beginning(
        (Bucket(px, px),), said, [f"{said} (weights {weights})"] if weights is not None else [],
        describe=lambda folder: base.describe(folder / MODEL, preprocess),
    )  # fmt: skip


def _weights(base: Path) -> str:
    """Return the digest of the U-Net that is fine-tuned."""
    files = sorted((base / "unet").glob("*.safetensors"))
    if not files:
        raise InputError(f"{base}: no diffusers pipeline with a U-Net in safetensors here; `--from` names its folder")
    return f"unet {digest(base / 'unet')}"


def _multiple(kind: str, config: TrainConfig, base: str | None) -> int:
    """Return what the sides of a bucket must be multiples of: whole patches, and whole cells at every level."""
    model = config.decoder
    unet = 2 ** (len(model.channels) - 1)
    if kind == "prior":
        return 1
    if kind == "finetune":
        assert base is not None
        return latents.scale(Path(base) / "vae") * latents.scale(Path(base) / "unet")
    inner = model.patch_px if model.architecture == "transformer" else unet
    return inner * (latents.scale(Path(model.vae)) if model.vae is not None else 1)
