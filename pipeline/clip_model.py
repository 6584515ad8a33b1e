"""CLIP models: any open_clip architecture and tag, a local checkpoint, or the bundled tamis-mini; one copy a process."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.pretrained import download_pretrained_from_hf
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.clip_fit import Fit
from pipeline.clip_spec import ModelSpec, file_sha256
from pipeline.errors import ConfigError

F16 = NDArray[np.float16]
U8 = NDArray[np.uint8]


class ClipModel:
    """A loaded model with its preprocessing: pictures and texts to unit vectors.

    On CUDA: bfloat16 autocast, channels-last, pinned memory; needs a CUDA build of torch and nothing else.
    """

    def __init__(self, spec: ModelSpec, device: str = "auto", compile_image: bool = False) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.spec, self.device = spec, torch.device(device)
        name, tokenizer_args = open_clip_name(spec)
        try:
            self.model, _, _ = open_clip.create_model_and_transforms(
                name, pretrained=spec.pretrained, device=self.device
            )
            self.tokenizer = open_clip.get_tokenizer(name, **tokenizer_args)
            self.weights_sha256 = file_sha256(weights_file(spec))
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise ConfigError(
                f"clip.model = {spec.model!r}, clip.pretrained = {spec.pretrained!r}: open_clip cannot load it: {error}"
            ) from error
        self.model.eval().requires_grad_(False)
        config = open_clip.get_model_preprocess_cfg(self.model)
        self.fit = Fit.of(config)
        self.size_px = self.fit.size_px
        fold_batch_norms(self.model.visual, self.size_px)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.encode_image = torch.compile(self.model.encode_image) if compile_image else self.model.encode_image
        mean, std = config["mean"], config["std"]
        self.mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(std, device=self.device).view(1, 3, 1, 1) * 255

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self._uses_bfloat16() else nullcontext()

    def _uses_bfloat16(self) -> bool:
        return self.spec.precision == "bfloat16" or (self.spec.precision == "auto" and self.device.type == "cuda")

    def images(self, pixels: U8) -> F16:
        """Return f16[B,D] unit-norm embeddings of u8[B,S,S,3] RGB pictures, already of the model's size."""
        batch = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        with torch.inference_mode(), self._autocast():
            x = batch.permute(0, 3, 1, 2).float()  # u8 NHWC → f32 NCHW, channels-last in memory
            vectors = self.encode_image((x - self.mean) / self.std)
        return _unit(vectors)

    def prepare(self, rgb: U8) -> U8:
        """Return a picture u8[H,W,3] as the model's preprocessing makes it, u8[S,S,3]."""
        return self.fit.prepare(rgb)

    def texts(self, texts: Sequence[str]) -> F16:
        """Return f16[B,D] unit-norm embeddings of texts; what is over the context length is cut by the tokenizer."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        with torch.inference_mode(), self._autocast():
            vectors = self.model.encode_text(tokens)
        return _unit(vectors)

    def preprocessing(self) -> dict[str, Any]:
        """Return what was done to a picture before the model saw it, for the record."""
        uses = self._uses_bfloat16()
        return {
            "precision": "bfloat16" if uses else "float32",
            "size_px": self.size_px,
            "resize_mode": self.fit.resize_mode,
            "interpolation": self.fit.interpolation,
        }


def fold_batch_norms(tower: torch.nn.Module, size_px: int) -> int:
    """Fold batch norms into the convolutions before them, and return how many were; the function computed is the same.

    Neighbouring children are taken as a pair, which is how these networks are written; a network for which that is wrong
    gives other vectors on a test picture and is left as it was.
    """
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    like = next(tower.parameters())
    probe = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0)).to(like)
    swaps: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []
    with torch.no_grad():
        expected = tower(probe)
        for parent in tower.modules():
            children = list(parent.named_children())
            for (name, conv), (norm_name, norm) in pairwise(children):
                if (
                    isinstance(conv, torch.nn.Conv2d)
                    and isinstance(norm, torch.nn.BatchNorm2d)
                    and norm.track_running_stats
                ):
                    swaps += [(parent, name, conv), (parent, norm_name, norm)]
                    setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                    after = [
                        getattr(norm, part)
                        for part in ("drop", "act")
                        if isinstance(getattr(norm, part, None), torch.nn.Module)
                    ]
                    setattr(parent, norm_name, torch.nn.Sequential(*after))
        same = not swaps or torch.allclose(_normed(tower(probe)), _normed(expected), atol=1e-3)
    if not same:
        for parent, name, module in swaps:
            setattr(parent, name, module)
        tower.load_state_dict(before)
        return 0
    return len(swaps) // 2


def _normed(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def _unit(vectors: torch.Tensor) -> F16:
    normed: F16 = _normed(vectors).half().cpu().numpy()
    return normed


def open_clip_name(spec: ModelSpec) -> tuple[str, dict[str, str]]:
    """Return open_clip's name of a model, and the arguments that its tokenizer needs."""
    folder = spec.folder()
    if folder is None:
        return spec.model, {}
    bpe = folder / "bpe.txt.gz"  # without it the bundled model's token ids would be wrong
    return f"local-dir:{folder}", {"bpe_path": str(bpe)} if bpe.is_file() else {}


def weights_file(spec: ModelSpec) -> Path:
    """Return the file that open_clip reads the model's weights from; a hub's are in its cache once the model is loaded."""
    if (local := spec.weights()) is not None:
        return local
    if spec.model.startswith("hf-hub:"):
        return Path(download_pretrained_from_hf(spec.model.removeprefix("hf-hub:")))
    tag = open_clip.get_pretrained_cfg(spec.model.replace("/", "-"), spec.pretrained) if spec.pretrained else {}
    if not tag:
        raise ValueError("it names no weights, and random ones judge nothing; give clip.pretrained")
    return Path(open_clip.download_pretrained(tag))


@lru_cache(maxsize=2)
def load(spec: ModelSpec, device: str = "auto", compile_image: bool = False) -> ClipModel:
    """Return the model, loaded once a process."""
    return ClipModel(spec, device, compile_image)
