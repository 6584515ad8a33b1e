"""The open_clip model that a CLIP run starts from: by name, by tag, or in a folder; with its weights or with random ones."""

import json
import logging
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import open_clip
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import SigLipTokenizer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.clip_model import open_clip_name, weights_file
from pipeline.clip_spec import ModelSpec, file_sha256
from pipeline.errors import ConfigError
from train.settings import TrainConfig

WORDS: Final = "bpe.txt.gz"
"""A vocabulary of CLIP's form; open_clip reads it only when told so (`bpe_path`)."""
_SIDE_FILES: Final = (
    WORDS, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
CONFIG: Final = "open_clip_config.json"
WEIGHTS: Final = "open_clip_model.safetensors"


def spec_of(said: str) -> ModelSpec:
    """Return what a name means: `local-dir:PATH`, `hf-hub:ORG/NAME`, `tamis-mini`, `NAME` or `NAME/PRETRAINED`."""
    if said.startswith(("local-dir:", "hf-hub:")) or Path(said).is_dir():
        return ModelSpec(said)
    name, _, pretrained = said.partition("/")
    return ModelSpec(name, pretrained or None)


def must_bear(model: nn.Module, config: TrainConfig, processes: int) -> None:
    """Refuse to save memory in ways that would change what a model learns; ConfigError.

    Batch norms and dropout look at pieces of a batch; batch norms count a batch twice that is computed twice.
    """
    normed = any(isinstance(one, _BatchNorm) for one in model.modules())
    piece, share = config.optim.micro_batch, config.optim.batch // processes
    if piece is not None and piece < share and (normed or any(_drops(one) for one in model.modules())):
        raise ConfigError(
            "optim.micro_batch: this model has batch norms or dropout, which see a piece and not the batch; what it learns would "
            "depend on the pieces. Leave it out, or take a smaller optim.batch"
        )
    if config.run.recompute and normed:
        raise ConfigError(
            "run.recompute: this model has batch norms, which would count every batch twice; put recompute = false under [run], or take "
            "a smaller optim.batch"
        )


def _drops(module: nn.Module) -> bool:
    """Tell whether a module leaves something out by chance: nn.Dropout, open_clip's PatchDropout, timm's DropPath, attention's own."""
    rates = ("p", "prob", "drop_prob") if "drop" in type(module).__name__.lower() else ("dropout",)
    return any(isinstance(rate := getattr(module, name, 0), int | float) and rate > 0 for name in rates)


@dataclass(frozen=True)
class Base:
    """A model that can be trained on pairs."""

    spec: ModelSpec

    @cached_property
    def has_weights(self) -> bool:
        """Tell whether it was trained before; one that is only named starts from random weights."""
        if self.spec.folder() is None:
            return self.spec.pretrained is not None or self.spec.model.startswith("hf-hub:")
        try:
            return self.spec.weights() is not None
        except ConfigError:
            return False

    def make(self, *, weights: bool = True, device: str = "cpu") -> nn.Module:
        """Make the model, with its weights if it has some and they are wanted; ConfigError says why it cannot be trained.

        On the device `meta` it has shapes alone.
        """
        name, _ = open_clip_name(self.spec)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it warns of random weights where they are wanted
        try:
            model: nn.Module = open_clip.create_model(
                name,
                self.spec.pretrained,
                load_weights=weights and self.has_weights,
                device=device,
                pretrained_text=False,
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise ConfigError(f"clip.model = {self._said()}: open_clip cannot load it: {error}") from error
        finally:
            logging.disable(disabled)
        if type(model) not in (CLIP, CustomTextCLIP) or getattr(model, "logit_bias", None) is not None:
            raise ConfigError(
                f"clip.model = {self._said()}: it is a {type(model).__name__} with a loss of its own (captions, or sigmoids); "
                "what can be trained here are models of the contrastive loss, such as ViT-B-32"
            )
        return model

    def tokenizer(self) -> Any:
        """Return its tokenizer: texts → i64[B,L]."""
        name, arguments = open_clip_name(self.spec)
        found = open_clip.get_tokenizer(name, **arguments)
        if isinstance(found, SigLipTokenizer):
            raise ConfigError(
                f"clip.model = {self._said()}: its tokenizer cannot be kept in a folder; take another model"
            )
        return found

    def weights_sha256(self) -> str | None:
        """Return the digest of the weights that it starts from, None where they are random."""
        return file_sha256(weights_file(self.spec)) if self.has_weights else None

    def describe(self, folder: Path, preprocess: dict[str, Any]) -> None:
        """Write all of a `local-dir:` folder but the weights: the configuration, and the tokenizer's files."""
        name, _ = open_clip_name(self.spec)
        config = open_clip.get_model_config(name)
        for part, key in (("vision_cfg", "timm_model_pretrained"), ("text_cfg", "hf_model_pretrained")):
            if key.replace("pretrained", "name") in config[part]:
                config[part][key] = False  # nobody who loads the folder should ask a hub for weights
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"model_cfg": config, "preprocess_cfg": preprocess}
        (folder / CONFIG).write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
        if config["text_cfg"].get("hf_tokenizer_name"):
            self.tokenizer().tokenizer.save_pretrained(folder)
        if (source := self.spec.folder()) is not None:
            for path in (source / one for one in _SIDE_FILES):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)

    def _said(self) -> str:
        return repr(self.spec.model + (f"/{self.spec.pretrained}" if self.spec.pretrained else ""))


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """Return open_clip's preprocessing configuration of a model."""
    found: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    return found
