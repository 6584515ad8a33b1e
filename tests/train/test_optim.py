"""Learning rates by the step, and averaged weights that catch up fast at first."""

import pytest
import torch

from train.optim import Averaged, lr_at
from train.settings import OptimConfig


@pytest.mark.parametrize(("step", "rate"), [(0, 0.2), (3, 0.8), (4, 1.0), (50, 1.0), (80, 1.0), (90, 0.5), (99, 0.05)])
def test_the_rate_rises_stays_and_falls(step: int, rate: float) -> None:
    config = OptimConfig(steps=100, lr=1.0, warmup_steps=4, cooldown_frac=0.2)
    assert lr_at(config, step) == pytest.approx(rate)


def test_without_a_cool_down_the_rate_does_not_depend_on_how_long_the_run_will_be() -> None:
    short, long = (OptimConfig(steps=steps, lr=1.0, warmup_steps=4) for steps in (10, 1000))
    assert [lr_at(short, step) for step in range(10)] == [lr_at(long, step) for step in range(10)]


def test_the_average_follows_closely_at_first_and_is_lent_to_the_module_for_a_while() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    average = Averaged.of(module, 0.999)
    for value in (0.0, 1.0, 1.0, 1.0):
        torch.nn.init.constant_(module.weight, value)
        average.step()
    with average.used():
        lent = float(module.weight.detach())
    assert 0.8 < lent < 1.0
    assert float(module.weight.detach()) == 1.0
    again = Averaged.of(module, 0.999)
    with average.used():
        again.restore(average.steps)
    assert again.steps == 4
    with again.used():
        assert float(module.weight.detach()) == lent


def test_running_statistics_are_averaged_with_the_weights_and_other_buffers_are_not() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
    module.register_buffer("constant", torch.tensor([0.1, float("-inf")]))
    average = Averaged.of(module, 0.9)
    for step in range(20):
        module(torch.full((4, 1), float(step)) + torch.arange(4.0)[:, None])
        average.step()
    now = float(module[0].running_mean)  # type: ignore[arg-type]
    with average.used():
        lent = float(module[0].running_mean)  # type: ignore[arg-type]
        assert torch.equal(module.get_buffer("constant"), torch.tensor([0.1, float("-inf")]))
    assert float(module[0].running_mean) == now  # type: ignore[arg-type]
    assert 0 < lent < 0.9 * now
