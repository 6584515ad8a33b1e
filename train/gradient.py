"""A batch's gradient, in pieces where memory asks for it: of losses that stand alone, or of one that compares all samples."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from train.data import Batch
from train.draws import Draws
from train.tasks import Task
from train.world import World


@runtime_checkable
class Comparing(Protocol):
    """A task whose loss compares the samples of all processes with one another."""

    def features(self, module: nn.Module, batch: Batch, draws: Draws) -> tuple[torch.Tensor, ...]:
        """Return what is compared: f32[B,D] of pictures and of texts, and a scale f32[]."""
        ...

    def contrast(
        self, image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, shown: torch.Tensor
    ) -> torch.Tensor:
        """Return each sample's loss f32[B] of this process's samples, 0 where bool[B] `shown` is false."""
        ...


@dataclass(frozen=True)
class Gradient:
    """Adds a batch's gradient to the parameters. A sample's share is 1/batch, however many are left of the last batch."""

    world: World
    seed: int
    batch: int
    """Of all processes together."""
    micro_batch: int | None
    autocast: AbstractContextManager[Any]

    def add(self, task: Task, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return each sample's loss f32[B]; `module` is the task's, or what wraps it."""
        size = len(batch.weight)
        micro = min(self.micro_batch or size, size)
        pieces = [part(batch, slice(at, at + micro)) for at in range(0, size, micro)]
        if not isinstance(task, Comparing):
            return self._apart(task, module, pieces)
        return self._together(task, module, [one.to(self.world.device) for one in pieces])

    def _apart(self, task: Task, module: nn.Module, pieces: list[Batch]) -> torch.Tensor:
        losses = []
        for at, made in enumerate(pieces):
            piece = made.to(self.world.device)
            with self._syncing(module, at == len(pieces) - 1):
                with self.autocast:
                    found = task.losses(module, piece, self._draws(piece))
                mine = torch.where(piece.weight > 0, found * piece.weight, 0.0)
                (mine.sum() * self._share).backward()  # type: ignore[no-untyped-call]
            losses.append(mine.detach())
        return torch.cat(losses)

    def _together(self, task: Comparing, module: nn.Module, pieces: list[Batch]) -> torch.Tensor:
        """Compare all pieces at once and go back through each alone (Gao et al. 2021, 2101.06983, section 3.2).

        What is drawn at random belongs to the slots, so that both passes of a piece are the same.
        """
        shown = torch.cat([one.weight for one in pieces]) > 0
        if len(pieces) == 1:
            image, text, scale = self._features(task, module, pieces[0])
            losses = task.contrast(image, text, scale, shown)
            (losses.sum() * self._share).backward()  # type: ignore[no-untyped-call]
            return losses.detach()
        inner = getattr(module, "module", module)
        with torch.no_grad(), _buffers_kept(inner):
            seen = [self._features(task, inner, one) for one in pieces]
        image, text = (torch.cat([one[i] for one in seen]).requires_grad_() for i in (0, 1))
        scale = seen[0][2].clone().requires_grad_()
        losses = task.contrast(image, text, scale, shown)
        (losses.sum() * self._share).backward()  # type: ignore[no-untyped-call]
        to_image, to_text, to_scale = (one.grad for one in (image, text, scale))
        assert to_image is not None
        assert to_text is not None
        assert to_scale is not None
        ends = torch.tensor([len(one.weight) for one in pieces]).cumsum(0).tolist()
        for end, piece in zip(ends, pieces, strict=True):
            mine, last = slice(end - len(piece.weight), end), piece is pieces[-1]
            with self._syncing(module, last):
                found = self._features(task, module, piece)
                along = (found[0] * to_image[mine]).sum() + (found[1] * to_text[mine]).sum()
                along = along + found[2] * (to_scale if last else to_scale * 0)
                along.backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _features(self, task: Comparing, module: nn.Module, piece: Batch) -> tuple[torch.Tensor, ...]:
        with self.autocast:
            return task.features(module, piece, self._draws(piece))

    def _draws(self, piece: Batch) -> Draws:
        return Draws(self.seed, piece.slot.tolist())

    @property
    def _share(self) -> float:
        return self.world.size / self.batch  # the processes' gradients are averaged

    def _syncing(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Let the processes exchange gradients after the last piece only."""
        return nullcontext() if last or self.world.size == 1 else module.no_sync()  # type: ignore[operator]


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Give a module its buffers back as they were: statistics are taken once, not in each of two passes."""
    before = [one.clone() for one in module.buffers()]
    yield
    for one, was in zip(module.buffers(), before, strict=True):
        one.copy_(was)


def part(batch: Batch, mine: slice) -> Batch:
    """Return some samples of a batch."""
    cut: dict[str, Any] = {
        name: value[mine] if name not in ("step", "epoch", "hidden") else value for name, value in vars(batch).items()
    }
    return Batch(**cut)
