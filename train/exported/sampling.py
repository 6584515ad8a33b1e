"""From noise to pictures: solvers, guidance, variations, img2img and inpainting, over anything that denoises.

The solvers are diffusers' schedulers. Each picture's noise belongs to its own seed, so what it looks like does not depend on
the batch it is made in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import diffusers
import torch

Objective = Literal["flow", "v", "eps"]
Denoise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(x f32[B,C,H,W], time f32[B] in 0…1000, conditions f32[B,K,E]) → what the objective predicts, f32[B,C,H,W]."""

SOLVERS: Final = {
    "flow": ("euler", "heun", "dpm++", "unipc"),
    "v": ("ddim", "dpm++", "unipc"),
    "eps": ("ddim", "dpm++", "unipc"),
}
PRIOR_STEPS: Final = 25
PRIOR_GUIDANCE: Final = 2.0
_TRAIN_STEPS = 1000
_MOST_GUIDANCE: Final = 1000
LATENT_BOUND: Final = 4.0
"""Latents have about unit variance."""


@dataclass(frozen=True)
class Sampling:
    """How pictures are made."""

    solver: str = "unipc"
    steps: int = 12
    guidance: float = 3.0
    """1: what the condition says, above: away from what no condition says (Ho & Salimans 2022, arXiv 2207.12598)."""
    strength: float = 1.0
    """Of img2img: how much of the way from noise is gone; 1 forgets the start picture."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= _TRAIN_STEPS:
            raise ValueError(f"--steps is {self.steps}; give 1 to {_TRAIN_STEPS}, as many as the model knows times")
        if not -_MOST_GUIDANCE <= self.guidance <= _MOST_GUIDANCE:  # not a number is neither
            raise ValueError(f"--guidance is {self.guidance}; give a number from -{_MOST_GUIDANCE} to {_MOST_GUIDANCE}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"--strength is {self.strength}; give a number above 0, at most 1")


@dataclass(frozen=True)
class Start:
    """What a picture begins with: its own pixels, and for inpainting which of them stay."""

    picture: torch.Tensor
    """f32[B,C,H,W], -1 to 1 (or latents)."""
    keep: torch.Tensor | None = None
    """f32[B,1,H,W]: 1 where the picture stays as it is, 0 where it is made anew."""


def half(precision: str, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: as asked ("bfloat16", "float32"), or with "auto" where the processor has it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def scheduler(objective: Objective, solver: str) -> Any:
    """Return diffusers' scheduler of a solver; ValueError names those that an objective has."""
    if solver not in SOLVERS[objective]:
        known = ", ".join(SOLVERS[objective])
        raise ValueError(f"no solver {solver!r} for a model that predicts {objective}; there are {known}")
    if solver == "euler":
        return diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=_TRAIN_STEPS)
    if solver == "heun":
        return diffusers.FlowMatchHeunDiscreteScheduler(num_train_timesteps=_TRAIN_STEPS)
    if objective == "flow":
        options: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
    else:
        kind = {"v": "v_prediction", "eps": "epsilon"}[objective]
        options = {"prediction_type": kind, "beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    if solver == "ddim":
        return diffusers.DDIMScheduler(**options, clip_sample=False)
    made = diffusers.DPMSolverMultistepScheduler if solver == "dpm++" else diffusers.UniPCMultistepScheduler
    return made(num_train_timesteps=_TRAIN_STEPS, solver_order=2, **options)


def noise(seeds: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Return f32[B,…]: the noise of each seed, on the CPU so that every device makes the same picture."""
    made = [torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds]
    return torch.stack(made)


@torch.no_grad()
def sample(
    denoise: Denoise, objective: Objective, conditions: torch.Tensor, null: torch.Tensor, seeds: Sequence[int],
    shape: tuple[int, int, int], how: Sampling, start: Start | None = None, *, latent: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Make one picture (or its latents) f32[C,H,W] a seed, conditions f32[B,K,E]; `null` f32[B,K,E] is what no condition looks like.

    Runs where `conditions` is: a GPU run needs the model and the conditions there. ValueError on an unknown solver.
    """
    device = conditions.device
    steps = scheduler(objective, how.solver)
    steps.set_timesteps(how.steps, device=device)
    fresh = noise(seeds, shape).to(device)
    times = steps.timesteps
    if start is not None:
        times = times[_skipped(steps, how) :]
        if hasattr(steps, "set_begin_index"):
            steps.set_begin_index(len(steps.timesteps) - len(times))
    x = fresh if start is None else _noised(objective, steps, start.picture.to(device), fresh, times[0])
    for at, time in enumerate(times):
        predicted = _guided(denoise, x, time, conditions, null, how.guidance)
        if objective == "eps":
            predicted = _bounded(steps, predicted, x, time, LATENT_BOUND if latent else 1.0)
        x = steps.step(predicted, time, x, return_dict=False)[0]
        if start is not None and start.keep is not None:
            keep, known = start.keep.to(device), start.picture.to(device)
            later = times[at + 1] if at + 1 < len(times) else None
            held = known if later is None else _noised(objective, steps, known, fresh, later)
            x = keep * held + (1 - keep) * x
    return x.float() if latent else x.float().clamp(-1, 1)


@torch.no_grad()
def imagine(prior: Any, tokens: Any, text: torch.Tensor, seeds: Sequence[int], how: Sampling) -> torch.Tensor:
    """Return image embeddings f32[B,D] of unit norm, one a text embedding f32[B,D]: diffusers' prior and its tokens, by DDIM.

    Ramesh et al. 2022 (arXiv 2204.06125), section 2.2. Runs where `text` is: a GPU run needs the prior and its tokens there.
    """
    said, none = tokens(text), tokens(text, torch.zeros(len(text), dtype=torch.bool, device=text.device))
    steps = diffusers.DDIMScheduler(
        _TRAIN_STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip
    steps.set_timesteps(how.steps, device=text.device)

    def clean(x: torch.Tensor, time: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = prior(
            x, timestep=time, proj_embedding=told[:, 0], encoder_hidden_states=told[:, 1:], return_dict=False
        )[0]
        return found

    x = noise([seed * 2 + 1 for seed in seeds], (text.shape[1],)).to(text.device)
    for time in steps.timesteps:
        x = steps.step(_guided(clean, x, time, said, none, how.guidance), time, x, return_dict=False)[0]
    return torch.nn.functional.normalize(x * prior.clip_std + prior.clip_mean, dim=-1)


def _bounded(steps: Any, noise_: torch.Tensor, x: torch.Tensor, time: torch.Tensor, bound: float) -> torch.Tensor:
    """Return the noise that leads to a clean sample within ±bound (Saharia et al. 2022, arXiv 2205.11487, section 2.3).

    Sampling begins where the cosine schedule has left 2.4e-9 of the sample: there an error in the noise is 20,000 in the sample.
    """
    kept = steps.alphas_cumprod[time.long().cpu()].to(x)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    clean = ((x - sigma * noise_) / alpha).clamp(-bound, bound)
    bounded: torch.Tensor = (x - alpha * clean) / sigma
    return bounded


def _skipped(steps: Any, how: Sampling) -> int:
    """Return how many of the scheduler's times an img2img run leaves out; pairs of them where the solver takes two a step."""
    kept = max(1, round(len(steps.timesteps) * how.strength))
    skipped = len(steps.timesteps) - kept
    return skipped + skipped % 2 if getattr(steps, "order", 1) == 2 and skipped else skipped


def _noised(
    objective: Objective, steps: Any, picture: torch.Tensor, fresh: torch.Tensor, time: torch.Tensor
) -> torch.Tensor:
    """Return a picture as it is at a time of the way: x_t of the objective (Liu et al. 2022, arXiv 2209.03003, eq. 1)."""
    if objective == "flow":
        share = (time / _TRAIN_STEPS).to(picture)
        return (1 - share) * picture + share * fresh
    noised: torch.Tensor = steps.add_noise(picture, fresh, time.reshape(1).long())
    return noised


def _guided(
    denoise: Denoise, x: torch.Tensor, time: torch.Tensor, conditions: torch.Tensor, null: torch.Tensor, weight: float
) -> torch.Tensor:
    """Return the prediction under classifier-free guidance; one pass of the model where the weight is 1."""
    times = time.to(x).expand(len(x))
    if weight == 1.0:
        return denoise(x, times, conditions)
    both = denoise(torch.cat([x, x]), torch.cat([times, times]), torch.cat([conditions, null]))
    told, untold = both.chunk(2)
    return untold + weight * (told - untold)


def slerp(one: torch.Tensor, two: torch.Tensor, share: float) -> torch.Tensor:
    """Return unit vectors f32[…,D] on the great circle from `one` to `two` (Shoemake 1985), at a share of the way."""
    cosine = (one * two).sum(dim=-1, keepdim=True).clamp(-1, 1)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    straight = torch.nn.functional.normalize((1 - share) * one + share * two, dim=-1)
    around = (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * two) / sine.clamp_min(1e-6)
    return torch.where(sine < 1e-4, straight, around)


def text_difference(picture: torch.Tensor, towards: torch.Tensor, away: torch.Tensor, share: float) -> torch.Tensor:
    """Turn a picture's vector by what one text says beyond another (Ramesh et al. 2022, arXiv 2204.06125, section 3.3)."""
    return slerp(picture, torch.nn.functional.normalize(towards - away, dim=-1), share)
