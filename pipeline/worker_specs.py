"""Which worker processes a local cluster on a machine with GPUs has: one a GPU, pinned to it, and the other cores' for the rest."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from distributed import Nanny

MODEL = "model"
"""Name of the dask resource that a stage with a model takes: start GPU workers with `--resources model=1`."""

Specs = dict[str, dict[str, Any]]

THREADS = 2
"""Threads of a worker: one waits for the network while the other computes."""


def worker_specs(gpus: Sequence[str], cpus: int) -> Specs:
    """Return the workers of a machine, by name, in the form that dask's SpecCluster takes.

    Each GPU (an index or a UUID, as CUDA_VISIBLE_DEVICES takes them) has one worker that sees no other, which alone offers
    the resource "model", so that a model is loaded once a GPU. The remaining cores fetch, decode and judge, and see none.
    """
    pins = [(f"gpu-{number}", gpu, {MODEL: 1}) for number, gpu in enumerate(gpus)]
    pins += [(f"cpu-{number}", "", {}) for number in range(cpus - len(gpus))]
    return {
        name: {
            "cls": Nanny,
            "options": {
                "host": "127.0.0.1",
                "nthreads": THREADS,
                "memory_limit": 1 / len(pins),  # of the machine's
                "resources": resources,
                "env": {"CUDA_VISIBLE_DEVICES": gpu},
            },
        }
        for name, gpu, resources in pins
    }


def gpus(device: str = "auto") -> list[str]:
    """Return the GPUs that a local cluster may pin workers to; none where `clip.device` names the CPU or one GPU.

    They are those that nvidia-smi lists and CUDA_VISIBLE_DEVICES leaves. What a run on them needs: NVIDIA's driver with
    nvidia-smi on the path, and a CUDA build of torch. torch itself is not asked, since importing it takes seconds.
    """
    program = shutil.which("nvidia-smi")
    if device not in ("auto", "cuda") or program is None or "+cpu" in version("torch"):
        return []
    command = [program, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer runs no model either
        return []
    found = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not found:
        return found
    named = [name.strip() for name in chosen.split(",")]
    return named[: named.index("-1")] if "-1" in named else [name for name in named if name]
