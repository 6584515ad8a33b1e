"""Solvers on flows whose truth is known, guidance, seeds, img2img and inpainting."""

import math

import pytest
import torch

from train.exported.sampling import (
    SOLVERS,
    Denoise,
    Objective,
    Sampling,
    Start,
    noise,
    sample,
    scheduler,
    slerp,
    text_difference,
)

SHAPE = (3, 4, 4)
MEAN, SPREAD = 0.3, 0.2


def gaussian(objective: Objective) -> Denoise:
    """The exact denoiser of pictures whose pixels are N(condition, SPREAD²); condition f32[B,K,E] → its first number."""
    alphas = None if objective == "flow" else scheduler(objective, "ddim").alphas_cumprod

    def denoise(x: torch.Tensor, time: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        mean = conditions[:, 0, 0].reshape(-1, 1, 1, 1)
        if objective == "flow":
            share = (time / 1000).reshape(-1, 1, 1, 1)
            signal, sigma = 1 - share, share
        else:
            assert alphas is not None
            bar = alphas[time.long().clamp(0, 999)].reshape(-1, 1, 1, 1)
            signal, sigma = bar.sqrt(), (1 - bar).sqrt()
        variance = signal**2 * SPREAD**2 + sigma**2
        start = mean + SPREAD**2 * signal / variance * (x - signal * mean)
        eps = (x - signal * start) / sigma.clamp_min(1e-6)
        return {"flow": eps - start, "eps": eps, "v": signal * eps - sigma * start}[objective]

    return denoise


def conditions(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)


@pytest.mark.parametrize(("objective", "solver"), [(o, s) for o, names in SOLVERS.items() for s in names])
def test_every_solver_ends_at_the_pictures_that_the_exact_model_describes(objective: Objective, solver: str) -> None:
    told = conditions([MEAN] * 8)
    made = sample(gaussian(objective), objective, told, told, range(8), SHAPE, Sampling(solver, 30, 1.0))
    assert made.shape == (8, *SHAPE)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert made.std().item() == pytest.approx(SPREAD, rel=0.2)


@pytest.mark.parametrize("solver", SOLVERS["eps"])
@pytest.mark.parametrize("latent", [False, True])
def test_a_small_error_in_the_noise_does_not_burst_where_sampling_begins(solver: str, latent: bool) -> None:
    exact, told = gaussian("eps"), conditions([MEAN] * 8)

    def learnt(x: torch.Tensor, time: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        return exact(x, time, said) + 0.02 * torch.sin(7 * x)  # about what a trained model is off by

    made = sample(learnt, "eps", told, told, range(8), SHAPE, Sampling(solver, 30, 1.0), latent=latent)
    assert (made.abs() >= 0.99).float().mean().item() < 0.05
    assert made.mean().item() == pytest.approx(MEAN, abs=0.15)


def test_latents_are_not_cut_off_at_the_range_of_pixels() -> None:
    told = conditions([2.5] * 4)
    for latent, most in ((False, 1.0), (True, 2.5)):
        made = sample(gaussian("flow"), "flow", told, told, range(4), SHAPE, Sampling("euler", 30, 1.0), latent=latent)
        assert made.mean().item() == pytest.approx(most, abs=0.1)


def test_a_solver_that_an_objective_does_not_have_is_refused_with_those_it_has() -> None:
    told = conditions([MEAN])
    with pytest.raises(ValueError, match="euler, heun"):
        sample(gaussian("flow"), "flow", told, told, [0], SHAPE, Sampling("ddim"))


def test_a_picture_is_that_of_its_seed_in_every_batch() -> None:
    told, how = conditions([0.1, 0.2, 0.3]), Sampling("heun", 6, 2.0)
    together = sample(gaussian("flow"), "flow", told, conditions([0.0] * 3), [5, 6, 7], SHAPE, how)
    alone = sample(gaussian("flow"), "flow", told[1:2], conditions([0.0]), [6], SHAPE, how)
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    assert torch.equal(noise([3], SHAPE), noise([3], SHAPE))


def test_guidance_goes_further_in_the_direction_of_the_condition() -> None:
    told, null = conditions([0.2]), conditions([0.0])
    means = [
        sample(gaussian("flow"), "flow", told, null, [1], SHAPE, Sampling("euler", 40, weight)).mean().item()
        for weight in (0.0, 1.0, 3.0)
    ]
    assert means == sorted(means)
    assert means[2] == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("solver", SOLVERS["flow"])
def test_img2img_stays_nearer_to_its_start_the_weaker_it_is(solver: str) -> None:
    told, picture = conditions([MEAN]), torch.full((1, *SHAPE), -0.5)
    made = [
        sample(gaussian("flow"), "flow", told, told, [1], SHAPE, Sampling(solver, 20, 1.0, strength), Start(picture))
        for strength in (0.1, 0.4, 1.0)
    ]
    away = [(one - picture).abs().mean().item() for one in made]
    assert away == sorted(away)
    assert away[2] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("objective", "solver"), [(o, s) for o, names in SOLVERS.items() for s in names])
def test_img2img_begins_with_its_start_under_the_noise_of_its_time(objective: Objective, solver: str) -> None:
    told, picture, seen = conditions([MEAN]), torch.full((1, *SHAPE), -0.5), []

    def denoise(x: torch.Tensor, time: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        seen.append((x, time))
        return gaussian(objective)(x, time, said)

    sample(denoise, objective, told, told, [5], SHAPE, Sampling(solver, 20, 1.0, 0.5), Start(picture))
    x, time = seen[0]
    assert 300 < time.item() < 700
    if objective == "flow":
        signal, sigma = 1 - time.item() / 1000, time.item() / 1000
    else:
        kept = scheduler(objective, solver).alphas_cumprod[int(time.item())].item()
        signal, sigma = kept**0.5, (1 - kept) ** 0.5
    assert torch.allclose(x, signal * picture + sigma * noise([5], SHAPE), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS["flow"])
def test_inpainting_leaves_what_is_kept_exactly_and_makes_the_rest(solver: str) -> None:
    told, picture = conditions([MEAN]), torch.full((1, *SHAPE), -0.5)
    keep = torch.zeros(1, 1, 4, 4)
    keep[..., :2] = 1
    made = sample(gaussian("flow"), "flow", told, told, [1], SHAPE, Sampling(solver, 20, 1.0), Start(picture, keep))
    assert torch.equal(made[..., :2], picture[..., :2])
    assert made[..., 2:].mean().item() == pytest.approx(MEAN, abs=0.1)


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="--steps is 0"):
        Sampling(steps=0)
    for strength in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"--strength is {strength}"):
            Sampling(strength=strength)


def test_interpolation_goes_round_the_sphere_and_differences_turn_towards_the_text() -> None:
    one, two = torch.eye(3)[:2]
    assert torch.allclose(slerp(one, two, 0.5), torch.tensor([math.sqrt(0.5)] * 2 + [0.0]))
    assert torch.allclose(slerp(one, one, 0.3), one)
    turned = text_difference(torch.eye(3)[2], one, two, 0.25)
    assert turned.norm().item() == pytest.approx(1)
    assert turned[0] > 0 > turned[1]
