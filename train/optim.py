"""The optimiser, its learning rate as a function of the step, and the averaged weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.settings import OptimConfig

LARGEST_LOGIT_SCALE = math.log(100)


def lr_at(config: OptimConfig, step: int) -> float:
    """Return the learning rate of a step: a linear rise, then constant, then a linear fall where a cool-down is asked for."""
    rise = min(1.0, (step + 1) / (config.warmup_steps + 1))
    fall_steps = config.cooldown_frac * config.steps
    fall = min(1.0, (config.steps - step) / fall_steps) if fall_steps else 1.0
    return config.lr * rise * fall


def adamw(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019) over what is trained. Gains, biases and scalars do not decay.

    A model with a `logit_scale` has it kept between 0 and ln 100 after each step (Radford et al. 2021, section 2.5).
    """
    groups: list[dict[str, Any]] = [{"params": trained(module)}]
    if config.weight_decay:
        flat = [[one for one in trained(module) if (one.ndim < 2) == small] for small in (False, True)]
        groups = [{"params": flat[0]}, {"params": flat[1], "weight_decay": 0.0}]
    made = torch.optim.AdamW(
        groups, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
    )
    scale = getattr(module, "logit_scale", None)
    if isinstance(scale, nn.Parameter):

        def bound(*_: Any) -> None:
            scale.data.clamp_(0.0, LARGEST_LOGIT_SCALE)

        made.register_step_post_hook(bound)
    return made


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that learn."""
    return [one for one in module.parameters() if one.requires_grad]


def _statistics(module: nn.Module) -> list[torch.Tensor]:
    """Return the running means and variances of batch norms; other buffers are constants (some of them infinite)."""
    norms = (one for one in module.modules() if isinstance(one, _BatchNorm))
    return [one for norm in norms for one in (norm.running_mean, norm.running_var) if one is not None]


@dataclass
class Averaged:
    """An exponential moving average of a module's weights whose decay rises as 1-(1+n)^-3/4 to its final value.

    The running statistics of batch norms are averaged with the weights that they belong to.
    """

    module: nn.Module
    ema: Any
    buffers: list[torch.Tensor]

    @classmethod
    def of(cls, module: nn.Module, decay: float) -> "Averaged":
        """Begin with the module's weights as they are."""
        average = EMAModel(trained(module), decay=decay, use_ema_warmup=True, power=3 / 4, foreach=True)
        return cls(module, average, [one.detach().clone() for one in _statistics(module)])

    def step(self) -> None:
        """Take the weights of this step in."""
        self.ema.step(trained(self.module))
        for kept, one in zip(self.buffers, _statistics(self.module), strict=True):
            kept.lerp_(one, 1 - self.ema.cur_decay_value)

    @property
    def steps(self) -> int:
        """Return how many steps it has taken in."""
        return int(self.ema.optimization_step)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the module have the averaged weights for a while."""
        parameters, statistics = trained(self.module), _statistics(self.module)
        kept = [one.detach().clone() for one in (*parameters, *statistics)]
        self.ema.copy_to(parameters)
        for statistic, average in zip(statistics, self.buffers, strict=True):
            statistic.copy_(average)
        try:
            yield
        finally:
            for value, before in zip((*parameters, *statistics), kept, strict=True):
                value.data.copy_(before)

    def restore(self, steps: int) -> None:
        """Take the module's weights as the average after so many steps."""
        for shadow, one in zip(self.ema.shadow_params, trained(self.module), strict=True):
            shadow.copy_(one.detach())
        for kept, statistic in zip(self.buffers, _statistics(self.module), strict=True):
            kept.copy_(statistic)
        self.ema.optimization_step = steps
