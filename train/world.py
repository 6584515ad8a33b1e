"""The processes of a run: one alone, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

from pipeline.errors import ConfigError, first_line


@dataclass(frozen=True)
class World:
    """Which process this is, of how many, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Tell whether this is the process that writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def rows(self, values: torch.Tensor) -> torch.Tensor:
        """Return every process's rows of a tensor, in the order of the ranks; all must have as many. No gradient."""
        if self.size == 1:
            return values
        sent = values.detach().to(torch.uint8) if values.dtype == torch.bool else values.detach()
        found = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(found, sent.contiguous())
        return torch.cat(found).to(values.dtype)

    def gather(self, value: bytes) -> list[bytes]:
        """Return every process's bytes, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[bytes] = [b""] * self.size
        distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started, gloo on CPU and NCCL on GPUs; alone without torchrun."""
    rank, local = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
    size = processes()
    chosen = device_of(device, local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        yield World(rank, size, chosen)
    finally:
        if size > 1:
            distributed.destroy_process_group()


def processes() -> int:
    """Return how many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def device_of(asked: str, local: int = 0) -> torch.device:
    """Return the device that a configuration names, on GPUs that of this process; ConfigError where there is no such device."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise ConfigError(f"device {asked!r}: there is no such device ({first_line(error)})") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {asked!r}: give auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {asked!r}: there is no GPU that this PyTorch can use; take cpu, or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {asked!r}: this machine has {torch.cuda.device_count()}, counted from 0")
    return torch.device("cuda", local) if device.type == "cuda" and device.index is None else device


def plain_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Let attention be computed in plain steps on a CPU.

    PyTorch's fused CPU kernel takes half of a training step of a small transformer, most of it backwards: 70 pictures a
    second with it, 99 without it (tiny decoder, bfloat16, one core of an AMD EPYC).
    """
    if device.type != "cpu":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found: AbstractContextManager[Any] = sdpa_kernel(SDPBackend.MATH)
    return found
