"""What models are asked, checked against diffusers' own schedulers and against the papers' formulas."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from train.draws import Draws
from train.objective import Ddpm, Flow, Objective, losses

CHANCE = torch.tensor([0.0, 0.1, 0.5, 0.9, 1 - 2**-53], dtype=torch.float64)


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)


def test_the_flow_leads_from_the_picture_to_the_noise_at_constant_speed() -> None:
    clean, noise = samples()
    asked = Flow().ask(clean, noise, CHANCE)
    t = (asked.time / 1000).view(-1, 1, 1, 1)
    assert torch.allclose(asked.noisy - t * asked.target, clean, atol=1e-5)
    assert torch.allclose(asked.noisy + (1 - t) * asked.target, noise, atol=1e-5)
    assert asked.time[2] == pytest.approx(500)
    assert ((asked.time >= 0) & (asked.time <= 1000)).all()
    later = Flow(logit_mean=1.0).ask(clean, noise, CHANCE)
    assert (later.time[1:4] > asked.time[1:4]).all()


@pytest.mark.parametrize("predict", ["eps", "v", "sample"])
def test_ddpm_asks_what_diffusers_schedulers_ask(predict: str) -> None:
    clean, noise = samples()
    asked = Ddpm(predict).ask(clean, noise, CHANCE)  # type: ignore[arg-type]
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    time = asked.time.long()
    assert torch.allclose(asked.noisy, theirs.add_noise(clean, noise, time), atol=1e-5)
    targets = {"eps": noise, "v": theirs.get_velocity(clean, noise, time), "sample": clean}
    assert torch.allclose(asked.target, targets[predict], atol=1e-5)


def test_min_snr_weights_are_those_of_the_paper() -> None:
    clean, noise = samples()
    kept = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    for predict in ("eps", "v"):
        asked = Ddpm(predict, 5.0).ask(clean, noise, CHANCE)
        snr = (kept / (1 - kept))[asked.time.long()]
        below = snr if predict == "eps" else snr + 1
        assert torch.allclose(asked.weight, torch.minimum(snr, torch.tensor(5.0)) / below, rtol=1e-4)
    assert (Ddpm("sample").ask(clean, noise, CHANCE).weight == 1).all()


@pytest.mark.parametrize("objective", [Flow(), Ddpm("v"), Ddpm("eps"), Ddpm("sample")])
def test_a_model_that_answers_perfectly_gives_the_picture_back_by_the_scheduler_that_is_named(
    objective: Objective,
) -> None:
    clean, noise = (one[:1].clamp(-1, 1) for one in samples())
    name, config = objective.scheduler()
    scheduler = {"DDIMScheduler": DDIMScheduler, "FlowMatchEulerDiscreteScheduler": FlowMatchEulerDiscreteScheduler}[
        name
    ].from_config(config)
    scheduler.set_timesteps(10)
    at = noise
    for time in scheduler.timesteps:
        at = scheduler.step(_perfect(objective, at, float(time), clean), time, at).prev_sample
    assert torch.allclose(at, clean, atol=1e-3)


def _perfect(objective: Objective, at: torch.Tensor, time: float, clean: torch.Tensor) -> torch.Tensor:
    if isinstance(objective, Flow):
        return (at - clean) / (time / 1000)
    assert isinstance(objective, Ddpm)
    kept = objective._kept[int(time)].float()
    noise = (at - kept.sqrt() * clean) / (1 - kept).sqrt()
    return {"eps": noise, "v": kept.sqrt() * noise - (1 - kept).sqrt() * clean, "sample": clean}[objective.predict]


def test_a_sample_counts_by_its_weight() -> None:
    clean, noise = samples()
    asked = Ddpm("eps").ask(clean, noise, CHANCE)
    found = losses(asked.target + 2, asked)
    assert torch.allclose(found, 4 * asked.weight, rtol=1e-4)


def test_chances_belong_to_the_slot_and_the_purpose_and_look_normal() -> None:
    together = Draws(1, range(10, 14)).normal("noise", 2, 3)
    assert torch.equal(together[2], Draws(1, [12]).normal("noise", 2, 3)[0])
    others = (
        Draws(1, [13]).normal("noise", 2, 3),
        Draws(2, [12]).normal("noise", 2, 3),
        Draws(1, [12]).normal("x", 2, 3),
    )
    assert all(not torch.equal(together[2], one[0]) for one in others)
    many = Draws(0, range(200)).normal("noise", 100)
    assert abs(float(many.mean())) < 0.03
    assert abs(float(many.std()) - 1) < 0.03
    shares = Draws(0, range(2000)).uniform("drop")
    assert 0.07 < float((shares < 0.1).double().mean()) < 0.13
