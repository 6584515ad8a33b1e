"""What a model is asked: how a picture is disturbed at a time, what is to be predicted, and how much an answer counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Protocol

import torch

TIMES: Final = 1_000
"""Times are told to the models in thousands, as diffusers' schedulers do."""


@dataclass(frozen=True)
class Asked:
    """A question to a model: `time` f32[B] in [0,1000), `weight` f32[B]."""

    noisy: torch.Tensor
    time: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class Objective(Protocol):
    """Clean samples and noise [B,…], and a chance f64[B] in [0,1), on the CPU, that decides on the time → a question."""

    def ask(self, clean: torch.Tensor, noise: torch.Tensor, chance: torch.Tensor) -> Asked:
        """Return the question."""
        ...

    def scheduler(self) -> tuple[str, dict[str, Any]]:
        """Return the class and configuration of diffusers' scheduler that samples from a model trained so."""
        ...


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al. 2022): x_t = (1-t) x0 + t ε, velocity ε - x0, logit-normal t (Esser et al. 2024, eq. 19)."""

    logit_mean: float = 0.0
    logit_std: float = 1.0

    def ask(self, clean: torch.Tensor, noise: torch.Tensor, chance: torch.Tensor) -> Asked:
        """Return the question."""
        at = torch.sigmoid(self.logit_mean + self.logit_std * _quantile(chance)).to(clean)
        t = _like(at, clean)
        return Asked((1 - t) * clean + t * noise, at * TIMES, noise - clean, torch.ones_like(at))

    def scheduler(self) -> tuple[str, dict[str, Any]]:
        """Return Euler's; Heun, DPM++ and UniPC sample from it too, with `use_flow_sigmas`."""
        return "FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": TIMES, "shift": 1.0}


@dataclass(frozen=True)
class Ddpm:
    """DDPM (Ho et al. 2020) on a schedule of ᾱ: the noise, v = √ᾱ ε - √(1-ᾱ) x0 (Salimans & Ho 2022), or the sample itself.

    Weights of noise and v are min-SNR-γ (Hang et al. 2023, 2303.09556, section 3.4): γ bounds how much clean pictures count.
    """

    predict: Literal["eps", "v", "sample"]
    min_snr: float = 5.0
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"beta_schedule": "squaredcos_cap_v2"})
    """What diffusers' schedulers call `beta_schedule` and so on."""

    @cached_property
    def _kept(self) -> torch.Tensor:
        from diffusers import DDPMScheduler

        kept: torch.Tensor = DDPMScheduler(TIMES, **self.schedule).alphas_cumprod
        return kept.double()

    def ask(self, clean: torch.Tensor, noise: torch.Tensor, chance: torch.Tensor) -> Asked:
        """Return the question."""
        time = (chance * TIMES).long().clamp(max=TIMES - 1)
        kept = self._kept[time]
        alpha, sigma = (_like(one.sqrt().to(clean), clean) for one in (kept, 1 - kept))
        noisy = alpha * clean + sigma * noise
        target = {"eps": lambda: noise, "v": lambda: alpha * noise - sigma * clean, "sample": lambda: clean}
        return Asked(noisy, time.to(clean), target[self.predict](), self._weight(kept).to(clean))

    def _weight(self, kept: torch.Tensor) -> torch.Tensor:
        if self.predict == "sample":
            return torch.ones_like(kept)
        snr = kept / (1 - kept)
        return snr.clamp(max=self.min_snr) / (snr if self.predict == "eps" else snr + 1)

    def scheduler(self) -> tuple[str, dict[str, Any]]:
        """Return DDIM's, that of the prior with its bound on embeddings left off."""
        names = {"eps": "epsilon", "v": "v_prediction", "sample": "sample"}
        return "DDIMScheduler", {
            "num_train_timesteps": TIMES, **self.schedule, "prediction_type": names[self.predict],
            "clip_sample": self.predict != "sample", "set_alpha_to_one": True, "timestep_spacing": "trailing",
        }  # fmt: skip


def _like(per_sample: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return per_sample.view(-1, *[1] * (clean.dim() - 1))


def _quantile(chance: torch.Tensor) -> torch.Tensor:
    """Return the standard normal's quantiles, finite at 0 too."""
    found: torch.Tensor = torch.special.ndtri(chance.clamp(min=2.0**-53, max=1 - 2.0**-53))
    return found


def losses(found: torch.Tensor, asked: Asked) -> torch.Tensor:
    """Return f32[B]: each sample's mean squared error times its weight."""
    mine: torch.Tensor = asked.weight * (found.float() - asked.target.float()).square().flatten(1).mean(1)
    return mine
