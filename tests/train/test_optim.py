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
