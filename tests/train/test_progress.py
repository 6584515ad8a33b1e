"""What is shown and written while a run goes on."""

import json
from pathlib import Path

import pytest

from train.progress import METRICS, Progress, forget_after


def test_lines_on_stderr_say_how_far_a_run_is_and_the_file_keeps_every_tenth_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(tmp_path, 0, 30, log_steps=10) as progress:
        for step in range(1, 31):
            progress.step(step, 64, loss=1 / step, gradient_norm=0.5, lr=1e-3, hidden=2)
        progress.note(30, validation_loss=0.25)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("step 1/30  loss 1  gradient 0.5")
    assert "step 30/30" in shown[-1]
    assert "validation 0.25  hidden 2" in shown[-1]
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [(line["step"], "loss" in line) for line in lines] == [(10, True), (20, True), (30, True), (30, False)]


def test_measurements_of_steps_that_are_done_again_and_half_a_line_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 4, "loss": 1}\n{"step": 8, "loss": 2}\n{"step": 9, "lo')
    forget_after(tmp_path, 4)
    assert (tmp_path / METRICS).read_text() == '{"step": 4, "loss": 1}\n'
    (tmp_path / METRICS).write_bytes(b'{"step": 4, "loss": 1}\n\xdf\xff damaged\n[1]\n{"step": 4, "grad": 2}\n')
    forget_after(tmp_path, 4)
    assert (tmp_path / METRICS).read_text() == '{"step": 4, "loss": 1}\n{"step": 4, "grad": 2}\n'


def test_a_quiet_run_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(tmp_path, 0, 2, quiet=True) as progress:
        progress.step(1, 1, loss=1.0)
    assert capsys.readouterr().err == ""
