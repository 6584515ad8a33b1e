"""Compiled or plain: decided when a run begins, kept when it goes on, and the same to the bit after a kill."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.test_loop import equal, weights
from train import compiling
from train.compiling import Trouble, compiled, settled
from train.run import Run, open_run, resumed
from train.start import train

CPU = torch.device("cpu")
WORTH: dict[str, Any] = {"optim": {"steps": compiling.WORTH_STEPS}}


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "trouble", lambda: None)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "trouble", lambda: Trouble("no g++"))


@pytest.mark.usefixtures("works")
def test_long_runs_of_one_shape_are_compiled_on_a_cpu() -> None:
    long, short = tiny_run.config(**WORTH), tiny_run.config(optim={"steps": compiling.WORTH_STEPS - 1})
    chosen = [
        settled(config, kind, device, shapes).run.compile
        for config, kind, device, shapes in (
            (long, "decoder", CPU, 1), (long, "prior", CPU, 1), (short, "decoder", CPU, 1), (long, "clip", CPU, 1),
            (long, "decoder", torch.device("meta"), 1), (long, "decoder", CPU, 3),
        )
    ]  # fmt: skip
    assert chosen == [True, True, False, False, False, False]


@pytest.mark.usefixtures("fails")
def test_where_nothing_compiles_only_who_asks_for_it_is_told() -> None:
    assert settled(tiny_run.config(**WORTH), "decoder", CPU, 1).run.compile is False
    with pytest.raises(ConfigError, match=r"run.compile: torch.compile does not work here \(no g\+\+\); install"):
        settled(tiny_run.config(run={"compile": True}), "decoder", CPU, 1)
    assert settled(tiny_run.config(run={"compile": False}), "decoder", CPU, 1).run.compile is False


@pytest.mark.usefixtures("fails")
def test_a_compiled_run_goes_on_plain_where_nothing_compiles(capsys: pytest.CaptureFixture[str]) -> None:
    module = torch.nn.Linear(2, 2)
    assert compiled(module, tiny_run.config(run={"compile": True}), quiet=True) is module
    assert "(no g++): this run was compiled and goes on without" in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_compiler_is_found_out(tmp_path: Path) -> None:
    asks = "from train import compiling; print(compiling.trouble())"
    environment = {**os.environ, "CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, env=environment, check=True)
    assert "No working C++ compiler" in done.stdout.splitlines()[-1]


def test_what_was_decided_stays_when_a_run_goes_on(decoder_run: Run) -> None:
    assert json.loads((decoder_run.folder / "run.json").read_text())["config"]["run"]["compile"] is False
    config = replace(decoder_run.facts, config={**decoder_run.facts.config})
    config.config["run"] = {**config.config["run"], "compile": True}
    same = resumed(replace(decoder_run, facts=config), tiny_run.config(), decoder_run.store)
    assert same.config.run.compile is True


@pytest.mark.slow
def test_a_compiled_run_that_was_stopped_has_the_same_weights_to_the_bit(pictures: Store, tmp_path: Path) -> None:
    how: dict[str, Any] = {"run": {"compile": True, "checkpoint_steps": 7}, "optim": {"steps": 24}}
    whole = tiny_run.trained(pictures, tmp_path / "whole", **how)
    begun = tiny_run.begun(pictures, tmp_path / "parts", **how)
    assert train(replace(begun, facts=replace(begun.facts, config=_steps(begun, 11))), quiet=True)
    torch.compiler.reset()
    parts = open_run(begun.folder)
    assert train(replace(parts, facts=replace(parts.facts, config=_steps(parts, 24))), quiet=True)
    assert equal(weights(whole, 24), weights(parts, 24))


def _steps(run: Run, steps: int) -> dict[str, object]:
    config = run.facts.config
    return {**config, "optim": {**config["optim"], "steps": steps}}
