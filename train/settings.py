"""The configuration of a training run: preset, then a TOML file, then the few options of the command line."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.clip_spec import MINI
from pipeline.config import Section, checked
from pipeline.errors import ConfigError
from pipeline.ids import stable_hash
from train.presets import DEFAULTS, PRESETS, Kind


class DecoderConfig(Section):
    """The model that draws a picture from an embedding."""

    architecture: Literal["transformer", "unet"] = Field(
        "transformer", description="diffusers' PixArtTransformer2DModel or UNet2DConditionModel"
    )
    heads: int = Field(
        4, ge=1, le=256, description="Attention heads of the transformer; a U-Net has as many as fit its channels"
    )
    head_width: int = Field(
        32, ge=4, le=1024, description="Channels of a head; heads × head_width is the transformer's width"
    )
    layers: int = Field(6, ge=1, le=256, description="Blocks of the transformer, or layers a block of the U-Net")
    patch_px: int = Field(
        4,
        ge=1,
        le=256,
        description="Side of a patch, in pixels or latent cells; channels × its square should not exceed the width",
    )
    channels: list[Annotated[int, Field(ge=1, le=16_384)]] = Field(
        [32, 64, 128], min_length=1, max_length=8, description="Channels of the U-Net's levels"
    )
    condition: Literal["image", "text", "both"] = Field(
        "image", description="Stored CLIP embedding that says what to draw"
    )
    tokens: int = Field(8, ge=1, le=1024, description="Tokens that an embedding becomes; the picture attends to them")
    vae: str | None = Field(None, description="Folder of a diffusers AutoencoderKL to work in its latents")

    @field_validator("vae")
    @classmethod
    def _absolute(cls, said: str | None) -> str | None:
        """Name the folder with its whole path, since a run may go on from another place."""
        return None if said is None else str(Path(said).resolve())


class PriorConfig(Section):
    """The model that makes image embeddings from text embeddings."""

    heads: int = Field(4, ge=1, le=256, description="Attention heads")
    head_width: int = Field(32, ge=4, le=1024, description="Channels of a head")
    layers: int = Field(4, ge=1, le=256, description="Blocks of the transformer")
    tokens: int = Field(5, ge=2, le=1024, description="Tokens that a text embedding becomes")


class ClipConfig(Section):
    """The CLIP model that learns which texts belong to which pictures."""

    model: str = Field(
        MINI,
        description="open_clip model: NAME (random weights), NAME/PRETRAINED, local-dir:PATH, hf-hub:ORG/NAME, tamis-mini",
    )
    lock_image: bool = Field(False, description="Leave the image tower as it is (LiT)")
    lock_text: bool = Field(False, description="Leave the text tower as it is")
    crop_least_frac: float = Field(
        0.9, gt=0, le=1, description="Least share of a picture's area that a random crop shows"
    )

    @field_validator("model")
    @classmethod
    def _absolute(cls, said: str) -> str:
        """Name a folder with its whole path, since a run may go on from another place."""
        path = Path(said.removeprefix("local-dir:"))
        is_folder = said.startswith("local-dir:") or (said != MINI and path.is_dir())
        return f"local-dir:{path.resolve()}" if is_folder else said


class ObjectiveConfig(Section):
    """What the decoder is asked to predict, and how its conditions are disturbed."""

    predict: Literal["flow", "v", "eps"] = Field(
        "flow", description="Velocity of a rectified flow, or DDPM's v or noise (cosine schedule)"
    )
    logit_mean: float = Field(0.0, description="Mean of the logit of the flow's time; higher means noisier")
    logit_std: float = Field(1.0, gt=0, description="Standard deviation of the logit of the flow's time")
    min_snr: float = Field(5.0, gt=0, description="Gamma of min-SNR weighting for v and eps")
    drop_frac: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of samples shown without condition, for guidance; of `both` as many again without the text",
    )
    condition_noise: float = Field(
        0.1,
        ge=0,
        description="Length of the noise added to a unit embedding: one fixed vector a row is a key to memorise it by",
    )


class OptimConfig(Section):
    """How long and how fast."""

    steps: int = Field(5_000, ge=1, le=10**9, description="Steps of the optimiser in all")
    batch: int = Field(64, ge=1, le=2**20, description="Samples of a step, over all processes")
    micro_batch: int | None = Field(None, ge=1, description="Samples of a process at once; its whole share when absent")
    lr: float = Field(1e-3, gt=0, description="Learning rate of AdamW after the warm-up")
    warmup_steps: int = Field(200, ge=0, le=10**9, description="Steps in which the learning rate rises")
    cooldown_frac: float = Field(0.0, ge=0, le=1, description="Share of the steps at the end in which it falls to zero")
    beta2: float = Field(0.99, gt=0, lt=1, description="Second beta of AdamW")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW, of all but gains, biases and scalars")
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of a gradient; longer ones are shortened")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="Decay of the averaged weights, reached by a warm-up of power 3/4"
    )


class DataConfig(Section):
    """What is shown."""

    resolution_px: int = Field(
        32,
        ge=8,
        le=4096,
        description="Side of a square picture; buckets have about as many pixels. A CLIP model says its own",
    )
    max_aspect: float = Field(1.0, ge=1, le=16, description="Largest ratio of the sides of a bucket; 1: squares alone")
    mirror: bool = Field(True, description="Show half of the pictures mirrored")
    validation_frac: float = Field(0.02, ge=0, lt=1, description="Share of the rows held out, by name")
    scale_rows: int = Field(
        4_096,
        ge=2,
        le=2**20,
        description="Rows, about, whose embeddings give the mean and deviation that models scale by: the first of the order. "
        "Every checkpoint holds something of them",
    )
    window: int = Field(16, ge=1, le=2**20, description="Shards that are permuted jointly")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the order, the noise and the weights")


class RunConfig(Section):
    """How it is run; results do not depend on it, but for rounding."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast where the processor has it"
    )
    compile: Literal["auto"] | bool = Field(
        "auto", description="torch.compile the model. auto: decoders and priors of 5,000 steps and more, on CPUs"
    )
    recompute: bool = Field(False, description="Gradient checkpointing: less memory, a third more work")
    workers: int = Field(0, ge=0, description="Processes that read and decode")
    checkpoint_steps: int = Field(500, ge=1, description="Steps between checkpoints")
    keep_last: int = Field(2, ge=1, description="Newest checkpoints that are kept")
    keep_steps: int | None = Field(None, ge=1, description="Checkpoints at its multiples are kept for good")
    validate_steps: int = Field(250, ge=1, description="Steps between validation losses")
    sample_steps: int = Field(1_000, ge=1, description="Steps between grids of samples; of a CLIP, between recalls")
    log_steps: int = Field(10, ge=1, description="Steps between lines of metrics.jsonl")


class TrainConfig(Section):
    """A run of `tamis train`."""

    decoder: DecoderConfig = DecoderConfig()
    prior: PriorConfig = PriorConfig()
    clip: ClipConfig = ClipConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    run: RunConfig = RunConfig()

    def digest(self) -> str:
        """Return a hash of what the weights depend on."""
        return digest_of(self.model_dump(mode="json"))


def digest_of(raw: dict[str, dict[str, Any]]) -> str:
    """Return a hash of what the weights depend on in a configuration as it is kept: a later version may know more keys.

    How many steps there are in all is left out, a run may go on.
    """
    free = {("optim", "steps"), ("optim", "micro_batch")}
    return stable_hash(
        {
            section: {key: value for key, value in keys.items() if (section, key) not in free}
            for section, keys in raw.items()
            if section != "run"
        }
    )


def settle(
    kind: Kind, preset: str | None = None, file: Path | None = None, options: dict[str, dict[str, Any]] | None = None
) -> TrainConfig:
    """Return the configuration that a preset, a TOML file and options make, the later ones winning; ConfigError explains."""
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"--preset: {preset!r} is none of {', '.join(PRESETS)}; `tamis train presets` shows them")
    named = PRESETS[preset][kind] if preset else {}
    written, where = _read(file) if file else {}, str(file or "configuration")
    checked(TrainConfig, written, where, "tamis train config")  # before a section that is none is written over
    found: TrainConfig = checked(
        TrainConfig, _merged(DEFAULTS.get(kind, {}), named, written, options or {}), where, "tamis train config"
    )
    if preset == "base" and kind == "decoder" and found.decoder.vae is None:
        raise ConfigError(
            "the preset `base` draws in latents: name the folder of a diffusers AutoencoderKL with --vae, "
            "or as `vae` in the file's [decoder] (or take `small`, which draws pixels)"
        )
    if kind == "clip" and found.clip.lock_image and found.clip.lock_text:
        raise ConfigError("clip.lock_image, clip.lock_text: with both towers locked there is nothing to train")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file; `tamis train config` prints the keys") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _merged(*layers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            merged[section] = {**merged.get(section, {}), **values}
    return merged
