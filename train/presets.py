"""The presets: what differs from the defaults, one table. Their cost is measured by `train.cost`."""

from typing import Any, Final, Literal

Kind = Literal["decoder", "prior", "finetune", "clip"]

DEFAULTS: Final[dict[Kind, dict[str, Any]]] = {
    # Radford et al. 2021 (2103.00020), table 18; a rate that harms trained weights little and random ones can live with
    "clip": {"optim": {"weight_decay": 0.2, "beta2": 0.98, "lr": 1e-4, "cooldown_frac": 1.0}},
}
"""What a kind has otherwise than the configuration's defaults, whether or not a preset is named."""

PRESETS: Final[dict[str, dict[Kind, dict[str, Any]]]] = {
    "tiny": {  # minutes on one CPU core; what tests/study/prompts.py found, docs/training.md says it
        "decoder": {
            "decoder": {
                "condition": "both",
                "heads": 2,
                "head_width": 64,
                "layers": 3,
                "patch_px": 4,
                "tokens": 8,
            },
            "optim": {
                "steps": 15_000,
                "batch": 16,
                "lr": 1e-3,
                "warmup_steps": 200,
                "cooldown_frac": 0.3,
                "ema_decay": 0.999,
            },
            "data": {"resolution_px": 32},
            "run": {"validate_steps": 500, "checkpoint_steps": 1_500, "keep_steps": 1_500, "sample_steps": 5_000},
        },
        "prior": {
            "prior": {"heads": 4, "head_width": 32, "layers": 4},
            "optim": {"steps": 800, "batch": 32, "lr": 1e-3, "warmup_steps": 100, "ema_decay": 0.99},
            "data": {"resolution_px": 32},
            "run": {"validate_steps": 100, "sample_steps": 400},
        },
        "clip": {
            "clip": {"model": "tamis-mini"},
            "optim": {"steps": 500, "batch": 128, "lr": 1e-4, "warmup_steps": 50, "ema_decay": 0.99},
            "run": {"checkpoint_steps": 100, "validate_steps": 50, "sample_steps": 100},
        },
    },
    "small": {  # hours of one GPU, pixels
        "decoder": {
            "decoder": {"heads": 6, "head_width": 64, "layers": 12, "patch_px": 4},
            "optim": {"steps": 200_000, "batch": 256, "lr": 3e-4, "warmup_steps": 1_000, "ema_decay": 0.9999},
            "data": {"resolution_px": 64, "validation_frac": 0.005},
            "run": {"workers": 4, "checkpoint_steps": 2_000, "keep_steps": 20_000, "sample_steps": 5_000},
        },
        "prior": {
            "prior": {"heads": 8, "head_width": 64, "layers": 8},
            "optim": {"steps": 200_000, "batch": 512, "lr": 3e-4, "warmup_steps": 1_000, "ema_decay": 0.9999},
            "data": {"validation_frac": 0.005},
            "run": {"workers": 4, "checkpoint_steps": 2_000, "keep_steps": 20_000},
        },
        "clip": {
            "clip": {"model": "ViT-B-32"},
            "optim": {"steps": 50_000, "batch": 4_096, "lr": 5e-4, "warmup_steps": 2_000, "ema_decay": 0.9999},
            "data": {"validation_frac": 0.005},
            "run": {"workers": 8, "checkpoint_steps": 1_000, "keep_steps": 10_000, "sample_steps": 1_000},
        },
    },
    "base": {  # a week of one GPU, or a day of eight, latents of 256 px
        "decoder": {
            "decoder": {"heads": 12, "head_width": 64, "layers": 12, "patch_px": 2, "tokens": 16},
            "optim": {"steps": 400_000, "batch": 1_024, "lr": 2e-4, "warmup_steps": 2_000, "ema_decay": 0.9999},
            "data": {"resolution_px": 256, "max_aspect": 2.0, "validation_frac": 0.001},
            "run": {"workers": 8, "checkpoint_steps": 5_000, "keep_steps": 50_000, "sample_steps": 10_000},
        },
        "prior": {
            "prior": {"heads": 12, "head_width": 64, "layers": 12},
            "optim": {"steps": 400_000, "batch": 2_048, "lr": 2e-4, "warmup_steps": 2_000, "ema_decay": 0.9999},
            "data": {"validation_frac": 0.001},
            "run": {"workers": 8, "checkpoint_steps": 5_000, "keep_steps": 50_000},
        },
        "clip": {
            "clip": {"model": "ViT-B-16"},
            "optim": {"steps": 100_000, "batch": 16_384, "lr": 5e-4, "warmup_steps": 2_000, "ema_decay": 0.9999},
            "data": {"validation_frac": 0.001},
            "run": {"workers": 8, "recompute": True, "checkpoint_steps": 2_000, "keep_steps": 20_000},
        },
    },
}
