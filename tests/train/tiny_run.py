"""A run small enough for a test: 16 px, a few thousand weights, single precision."""

import json
from pathlib import Path
from typing import Any

from pipeline.store import Store
from train.presets import Kind
from train.run import Run, create
from train.settings import TrainConfig, settle
from train.start import train

TINY: dict[str, dict[str, Any]] = {
    "decoder": {"condition": "image", "heads": 2, "head_width": 8, "layers": 1, "patch_px": 4, "tokens": 2},
    "prior": {"heads": 2, "head_width": 8, "layers": 1, "tokens": 2},
    "optim": {"steps": 8, "batch": 8, "lr": 0.01, "warmup_steps": 2, "cooldown_frac": 0.0},
    "data": {"resolution_px": 16, "validation_frac": 0.1, "scale_rows": 32},
    "run": {
        "device": "cpu", "precision": "float32", "checkpoint_steps": 4, "validate_steps": 4, "sample_steps": 1000,
        "log_steps": 1, "keep_last": 5,
    },
}  # fmt: skip


def config(kind: Kind = "decoder", **sections: dict[str, Any]) -> TrainConfig:
    """Return the tiny configuration with some keys changed."""
    return settle(
        kind, None, None, {name: {**TINY.get(name, {}), **sections.get(name, {})} for name in {**TINY, **sections}}
    )


def toml(path: Path) -> Path:
    """Write the tiny configuration to a file."""
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for name, keys in TINY.items()
    ]
    path.write_text("".join(lines))
    return path


def begun(store: Store, folder: Path, kind: Kind = "decoder", **sections: dict[str, Any]) -> Run:
    """Make a tiny run that has not trained yet."""
    return create(kind, store, config(kind, **sections), folder)


def trained(store: Store, folder: Path, kind: Kind = "decoder", **sections: dict[str, Any]) -> Run:
    """Make a tiny run and train it to its end."""
    run = begun(store, folder, kind, **sections)
    assert train(run, quiet=True)
    return run
