"""Is a model compiled before it trains? Decided once, when a run begins, since compiled and plain steps round differently."""

import logging
import sys
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from pipeline.errors import ConfigError
from train.settings import TrainConfig

WORTH_STEPS: Final = 5_000
"""A run shorter than this hardly wins back what compiling takes: about a minute (docs/training.md)."""
_SHAPES: Final = 64


@dataclass(frozen=True)
class Trouble:
    """Why nothing can be compiled on this machine."""

    why: str


def settled(config: TrainConfig, kind: str, device: torch.device, shapes: int) -> TrainConfig:
    """Return a new run's configuration with `run.compile` decided; ConfigError where it was asked for and does not work.

    `auto` compiles what was measured to gain by it: decoders and priors on a CPU, of one shape, that train long.
    """
    asked = config.run.compile
    if asked == "auto":
        long = config.optim.steps >= WORTH_STEPS and shapes == 1
        chosen = long and device.type == "cpu" and kind in ("decoder", "prior") and trouble() is None
    else:
        chosen = asked
        if chosen and (found := trouble()) is not None:
            raise ConfigError(
                f"run.compile: torch.compile does not work here ({found.why}); install a C++ compiler and Python's headers "
                "(Debian: apt install g++ python3-dev), or set it to false"
            )
    return config.model_copy(update={"run": config.run.model_copy(update={"compile": chosen})})


def compiled(module: nn.Module, config: TrainConfig, *, quiet: bool) -> nn.Module:
    """Return what a run trains with: the module compiled where its configuration says so, one program a shape of batch.

    Where a run goes on that cannot be compiled any more, it goes on plain and says so. A GPU run needs Triton, which torch's
    CUDA wheels bring.
    """
    if config.run.compile is not True:
        return module
    found = trouble()
    if found is not None:
        print(
            f"torch.compile does not work here ({found.why}): this run was compiled and goes on without, a third slower and equal "
            "but for rounding",
            file=sys.stderr,
        )
        return module
    if not quiet:
        print("compiling the model, which takes about a minute", file=sys.stderr)
    options: Any = torch._dynamo.config
    options.recompile_limit = max(options.recompile_limit, _SHAPES)
    made: nn.Module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
    return made


def trouble() -> Trouble | None:
    """Return why torch.compile does not work on this machine, tried on next to nothing; None where it does."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA aloud
    try:
        torch.compile(torch.sin, dynamic=False)(torch.ones(3))
    except (RuntimeError, OSError, ImportError) as error:  # no compiler, no headers, no writable folder
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Trouble(lines[0] if lines else type(error).__name__)
    return None
