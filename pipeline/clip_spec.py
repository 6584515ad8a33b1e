"""Which CLIP model: names, local files, digests. No torch in here, so that runs without new pictures never load it."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

MINI = "tamis-mini"
MINI_THRESHOLD_COS = 0.10
"""Keeps 80 % of matched and removes 82 % of shuffled pairs of object-like pictures (see the model card)."""


@dataclass(frozen=True)
class ModelSpec:
    """What names a model; everything the embeddings depend on is in here or in the weights."""

    model: str = MINI
    pretrained: str | None = None
    precision: str = "auto"

    def identity(self) -> dict[str, Any]:
        """Return what a stage's key needs: names, and the digest of local weights.

        Weights of a hub or of a published tag have none here: what the machine's cache holds must not change a key, and to
        find out would need torch. The embeddings record theirs.
        """
        path = self.weights()
        weights = file_sha256(path) if path is not None else None
        return {
            "files_sha256": self._side_files(),
            "model": self.model,
            "pretrained": None if weights else self.pretrained,
            "weights_sha256": weights,
            "precision": self.precision,
        }

    def _side_files(self) -> dict[str, str]:
        """Return the digests of what else a local model is made of: its configuration and vocabulary."""
        folder = self.folder()
        names = ("open_clip_config.json", "bpe.txt.gz", "tokenizer.json", "vocab.txt")
        found = [folder / name for name in names if (folder / name).is_file()] if folder is not None else []
        return {path.name: file_sha256(path) for path in found}

    def folder(self) -> Path | None:
        """Return the folder of a local model, or None."""
        if self.model == MINI:
            return Path(str(files("pipeline.tamis_mini")))
        if self.model.startswith("local-dir:"):
            return Path(self.model.removeprefix("local-dir:")).resolve()
        as_path = Path(self.model)
        return as_path.resolve() if as_path.is_dir() else None

    def weights(self) -> Path | None:
        """Return the file of a local model's weights, or None for a model of a hub or a published tag."""
        folder = self.folder()
        if folder is not None:
            for name in (
                "open_clip_model.safetensors",
                "open_clip_pytorch_model.safetensors",
                "open_clip_pytorch_model.bin",
            ):
                if (folder / name).is_file():
                    return folder / name
            raise ConfigError(f"clip.model: {folder} holds no open_clip weights (open_clip_model.safetensors)")
        if self.pretrained is not None and self.pretrained.endswith((".pt", ".pth", ".bin", ".safetensors")):
            path = Path(self.pretrained)
            if not path.is_file():
                raise ConfigError(f"clip.pretrained: no such file: {self.pretrained}")
            return path
        return None


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex, computed once as long as the file stays as it is."""
    return _sha256(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, mtime_ns: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
