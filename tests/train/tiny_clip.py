"""A CLIP model of a few hundred thousand random weights, made here: no hub can be reached."""

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from train.presets import Kind
from train.settings import TrainConfig, settle

KIND: Kind = "clip"
SIDE_PX = 32
_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": {"image_size": SIDE_PX, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 14514, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
}
SECTIONS: dict[str, dict[str, Any]] = {
    "optim": {"steps": 8, "batch": 16, "lr": 0.003, "warmup_steps": 2, "cooldown_frac": 0.0},
    "data": {"validation_frac": 0.2},
    "run": {
        "device": "cpu", "precision": "float32", "checkpoint_steps": 4, "validate_steps": 4, "sample_steps": 1000,
        "log_steps": 1, "keep_last": 5,
    },
}  # fmt: skip


def folder(
    path: Path, *, weights: bool = False, custom_text: bool = True, vision: dict[str, Any] | None = None
) -> Path:
    """Write a `local-dir:` folder, with random weights or with none, and return it."""
    path.mkdir(parents=True)
    model = {**_CONFIG["model_cfg"], "custom_text": custom_text}
    model["vision_cfg"] = vision or model["vision_cfg"]
    (path / "open_clip_config.json").write_text(json.dumps({**_CONFIG, "model_cfg": model}))
    shutil.copyfile(str(files("pipeline.tamis_mini") / "bpe.txt.gz"), path / "bpe.txt.gz")
    if weights:
        torch.manual_seed(3)
        made = open_clip.create_model(f"local-dir:{path}")
        save_file(
            {name: one.contiguous() for name, one in made.state_dict().items()}, path / "open_clip_model.safetensors"
        )
    return path


def config(model: Path, **sections: dict[str, Any]) -> TrainConfig:
    """Return the tiny configuration with some keys changed."""
    whole: dict[str, dict[str, Any]] = {**SECTIONS, "clip": {"model": f"local-dir:{model}"}}
    return settle(
        KIND, None, None, {name: {**whole.get(name, {}), **sections.get(name, {})} for name in {**whole, **sections}}
    )


def toml(path: Path, **sections: dict[str, Any]) -> Path:
    """Write the tiny configuration to a file."""
    whole = {name: {**SECTIONS.get(name, {}), **sections.get(name, {})} for name in {**SECTIONS, **sections}}
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for name, keys in whole.items()
    ]
    path.write_text("".join(lines))
    return path
