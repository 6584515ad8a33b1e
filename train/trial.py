"""A trial of a model: pictures drawn for captions it was not trained on and for some that it was, looked at by CLIP, and measured.

Real pictures are looked at in the size that the model draws: what a few pixels cannot show is then not held against it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import InputError
from train.asking import Ask
from train.data import Batches
from train.estimates import Estimate
from train.making import Maker, Settings
from train.manifest import Manifest
from train.opening import Model
from train.order import Order, key
from train.probe import Attribute, attribute
from train.quality import AMONG, F32, Quality, Sample, measure
from train.run import Run
from train.start import make_task
from train.validation import Validation
from train.world import World

U8 = NDArray[np.uint8]
Look = Callable[[U8], NDArray[np.floating[Any]]]
"""A picture u8[H,W,3] → its CLIP vector [D], unit norm."""
_READ: Final = 64
POOL: Final = 2_000
"""Texts of training rows of which a picture's competitors are drawn."""
FEWEST: Final = 10
"""Held-out rows below which nothing is said of a model."""


@dataclass(frozen=True)
class Rows:
    """Rows of a run, in the model's size."""

    captions: tuple[str, ...]
    pictures: tuple[U8, ...]
    image: F32
    """f32[N,D], stored vectors, unit norm; `text` alike."""
    text: F32
    uids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)


def rows_of(run: Run, rows: Manifest, count: int, purpose: str) -> Rows:
    """Read `count` rows in an order of the run's seed, or as many as there are; hidden ones are passed over."""
    order = Order(rows.shards, key(run.config.data.seed, purpose), _READ, run.config.data.window)
    captions: list[str] = []
    uids: list[str] = []
    pictures: list[U8] = []
    vectors: list[tuple[F32, F32]] = []
    if rows.rows_shown:
        source = Batches(run.store, rows, order, mirror=False, captions=True)
        for step in range(order.batches):
            if len(captions) >= count:
                break
            batch = source[step]
            shown = np.flatnonzero(batch.weight.numpy() > 0)[: count - len(captions)]
            captions += [batch.captions[at] for at in shown]
            uids += [bytes(batch.uid[at]).ljust(16, b"\0").hex() for at in shown]
            pictures += [batch.pixels[at].permute(1, 2, 0).numpy() for at in shown]
            vectors.append((batch.image_emb[shown].numpy(), batch.text_emb[shown].numpy()))
    image, text = (np.concatenate([one[i] for one in vectors]) if vectors else np.zeros((0, 0), "f4") for i in (0, 1))
    return Rows(tuple(captions), tuple(pictures), image, text, tuple(uids))


def texts_of(run: Run, rows: Manifest, count: int) -> F32:
    """Return the text vectors f32[N,D] of `count` rows or as many as there are; hidden ones are passed over."""
    order = Order(rows.shards, key(run.config.data.seed, "texts"), _READ, run.config.data.window)
    source = Batches(run.store, rows, order, pictures=False)
    found = []
    for step in range(min(order.batches, -(-count // _READ))):
        batch = source[step]
        found.append(batch.text_emb[batch.weight > 0].numpy())
    return np.concatenate(found)[:count]


@dataclass(frozen=True)
class Trial:
    """What was drawn and measured."""

    held: Quality
    """On captions that the model was not trained on; `seen` on captions that it was."""
    seen: Quality
    losses: dict[str, Estimate]
    attributes: tuple[Attribute, ...]
    rows: Rows
    """The held-out rows, and what was drawn for each."""
    made: tuple[Image.Image, ...]

    @property
    def follows(self) -> bool:
        """Tell whether the pictures agree with their prompts more than guessing explains: what a model must do first."""
        return self.held.agreement.above_chance

    def told(self) -> dict[str, Any]:
        """Return the measurements as JSON."""
        return {
            "follows_prompts": self.follows, "held": self.held.told(), "seen": self.seen.told(),
            **{name: one.told() for name, one in self.losses.items()},
            "attributes": [one.told() for one in self.attributes],
        }  # fmt: skip


@dataclass(frozen=True)
class Exam:
    """The questions of a run, the same for all its checkpoints: captions, and the real pictures looked at once."""

    run: Run
    look: Look
    held: Rows
    seen: Rows
    real: tuple[F32, F32]
    """CLIP vectors of the real pictures of `held` and of `seen`, in the model's size."""
    pool: F32

    @classmethod
    def of(cls, run: Run, look: Look, prompts: int) -> "Exam":
        """Read `prompts` held-out rows and as many of the training rows; InputError when too few are held out."""
        held, seen = (rows_of(run, rows, prompts, "quality") for rows in (run.held, run.shown))
        if len(held) < FEWEST:
            raise InputError(
                f"{run.folder}: {len(held)} rows are held out, and a measurement needs {FEWEST} at least; train with a "
                "larger --validation-frac"
            )
        pool = np.concatenate([held.text, texts_of(run, run.shown, POOL)])
        return cls(run, look, held, seen, (looked(look, held.pictures), looked(look, seen.pictures)), pool)

    def take(
        self,
        model: Model,
        settings: Settings,
        *,
        seed: int = 0,
        words: Sequence[Sequence[str]] = (),
        losses: bool = True,
    ) -> Trial:
        """Draw every caption once by a model of the run, and measure."""
        maker = Maker(model.pipeline, {}, settings)
        drawn = [drawings(maker, rows, seed) for rows in (self.held, self.seen)]
        made = [looked(self.look, [np.asarray(one) for one in pictures]) for pictures in drawn]
        held, seen = (
            measure(Sample(mine, real, rows.text), *self.real, pool=self.pool, seed=seed)
            for mine, real, rows in zip(made, self.real, (self.held, self.seen), strict=True)
        )
        captions = self.held.captions
        asked = [
            attribute(one, (self.real[1], self.seen.captions), (made[0], captions), (self.real[0], captions))
            for one in words
        ]
        found = measured_losses(self.run, model) if losses else {}
        return Trial(held, seen, found, tuple(asked), self.held, tuple(drawn[0]))


def drawings(maker: Maker, rows: Rows, seed: int) -> list[Image.Image]:
    """Draw every row once: from its caption where the model takes texts, from its picture's vector where it has no prior."""
    pipeline, how = maker.pipeline, maker.settings
    by_text = pipeline.prior is not None or pipeline.image_tokens is None
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at, picture in enumerate(rows.pictures):
        groups[picture.shape[0], picture.shape[1]].append(at)
    found: dict[int, Image.Image] = {}
    for (height, width), members in groups.items():
        asks = [
            Ask(seed + at, {}, text=torch.from_numpy(rows.text[at])) if by_text
            else Ask(seed + at, {}, image=torch.from_numpy(rows.image[at]))
            for at in members
        ]  # fmt: skip
        sized = Settings(**{**vars(how), "height_px": height, "width_px": width})
        made = Maker(pipeline, maker.model, sized).make(asks)
        found.update(zip(members, (one.picture for one in made), strict=True))
    return [found[at] for at in range(len(rows))]


def looked(look: Look, pictures: Sequence[U8]) -> F32:
    """Return the CLIP vectors f32[N,D] of pictures u8[H,W,3]."""
    return np.stack([np.asarray(look(np.ascontiguousarray(one)), np.float32) for one in pictures])


def measured_losses(run: Run, model: Model) -> dict[str, Estimate]:
    """Return the losses of the model's weights on fixed held-out and training rows (`train.validation`)."""
    alone = World(0, 1, next(model.pipeline.transformer.parameters()).device)
    plain = Batches(run.store, run.shown, run.order)
    task = make_task(run, plain, alone)
    task.module.load_state_dict(_state(model))
    return Validation.of(run, task, alone).estimates()


def _state(model: Model) -> dict[str, torch.Tensor]:
    pipeline = model.pipeline
    parts = {"net": pipeline.transformer, "tokens.image": pipeline.image_tokens, "tokens.text": pipeline.text_tokens}
    return {
        f"{name}.{leaf}": value
        for name, part in parts.items()
        if part is not None
        for leaf, value in part.state_dict().items()
    }


def among(trial: Trial) -> int:
    """Return how many texts a picture's own competed with, itself included."""
    return min(AMONG, round(1 / trial.held.agreement.chance))
