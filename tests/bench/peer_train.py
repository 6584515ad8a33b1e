"""The peers of bench_train.py: a loop in the shape of diffusers' `train_unconditional.py`, by accelerate, and the bare steps.

    python peer_train.py accelerate|bare RUN ARROW STEPS

Both train the model of the run's own configuration from the same weights on the same pictures and vectors (a `datasets` folder on
disk with the columns image and embedding), by rectified flow. The first keeps what their example does at every step: a DataLoader
of decoded Pillow pictures, prepare, accumulate, backward, clipping, a schedule, EMA, a progress bar and a log. The bare one has one
batch in memory and does forward, backward and the optimiser. One line of JSON: steps a second, and a second of the processor.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from clock import cpu_seconds
from torch import nn
from torchvision import transforms

from train.run import Run, open_run
from train.tasks import decoder_task

WARM_UP = 4
DROP_FRAC = 0.1


class Timed:
    """Counts steps; the clock starts after the warm-up."""

    def __init__(self) -> None:
        self.steps, self._began = 0, (0.0, 0.0)

    def step(self) -> None:
        """Note that a step is over."""
        self.steps += 1
        self.now = (time.perf_counter(), cpu_seconds()) if self.steps >= WARM_UP else (0.0, 0.0)
        if self.steps == WARM_UP:
            self._began = self.now

    def told(self) -> str:
        """Return the line."""
        seconds, cpu = (now - then for now, then in zip(self.now, self._began, strict=True))
        done = self.steps - WARM_UP
        return json.dumps({"steps_per_s": done / seconds, "steps_per_cpu_s": done / cpu})


def model_of(run: Run) -> nn.Module:
    """Return the run's decoder with the weights it begins with."""
    return decoder_task(run.config, 512, torch.device("cpu")).module.train()


def noised(clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noisy pictures, times in thousands, targets, and which conditions are told, by torch's generator."""
    noise = torch.randn_like(clean)
    time_ = torch.sigmoid(torch.randn(len(clean)))
    share = time_[:, None, None, None]
    return (1 - share) * clean + share * noise, time_ * 1000, noise - clean, torch.rand(len(clean)) >= DROP_FRAC


def accelerated(run: Run, arrow: str, steps: int) -> Timed:
    """Train as their example does."""
    from accelerate import Accelerator  # type: ignore[import-untyped]
    from datasets import load_from_disk
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    config, timed = run.config, Timed()
    accelerator = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=1, cpu=True)
    side = config.data.resolution_px
    change = transforms.Compose(
        [
            transforms.Resize(side, interpolation=transforms.InterpolationMode.BILINEAR), transforms.RandomCrop(side),
            transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5], [0.5]),
        ]
    )  # fmt: skip

    def changed(examples: dict[str, Any]) -> dict[str, Any]:
        pictures = [change(one.convert("RGB")) for one in examples["image"]]
        return {"pixels": pictures, "embedding": [torch.tensor(one) for one in examples["embedding"]]}

    data: Any = load_from_disk(arrow)
    data.set_transform(changed)
    batches: Any = torch.utils.data.DataLoader(
        data, batch_size=config.optim.batch, shuffle=True, num_workers=config.run.workers, drop_last=True
    )
    model = model_of(run)
    averaged = EMAModel(model.parameters(), decay=config.optim.ema_decay, use_ema_warmup=True, power=3 / 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, betas=(0.9, config.optim.beta2))
    schedule = get_scheduler("constant_with_warmup", optimizer, num_warmup_steps=config.optim.warmup_steps)
    model, optimizer, batches, schedule = accelerator.prepare(model, optimizer, batches, schedule)
    bar = tqdm(total=steps, disable=not accelerator.is_local_main_process)
    while timed.steps < steps:
        for batch in batches:
            with accelerator.accumulate(model):
                noisy, times, target, said = noised(batch["pixels"])
                found = model(noisy, times, {"image": batch["embedding"]}, said)
                loss = nn.functional.mse_loss(found.float(), target.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                averaged.step(model.parameters())
                bar.update(1)
            logs = {"loss": loss.detach().item(), "lr": schedule.get_last_lr()[0], "step": timed.steps}
            bar.set_postfix(**logs)
            accelerator.log(logs, step=timed.steps)
            timed.step()
            if timed.steps == steps:
                break
    return timed


def bare(run: Run, steps: int) -> Timed:
    """Repeat forward, backward and the optimiser on one batch."""
    config, timed = run.config, Timed()
    model = model_of(run)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, betas=(0.9, config.optim.beta2), fused=True)
    side = config.data.resolution_px
    noisy, times, target, said = noised(torch.rand(config.optim.batch, 3, side, side) * 2 - 1)
    embedding = {"image": nn.functional.normalize(torch.randn(config.optim.batch, 512), dim=-1)}
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            found = model(noisy, times, embedding, said)
        nn.functional.mse_loss(found.float(), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        timed.step()
    return timed


def main(which: str, folder: str, arrow: str, steps: str) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    run = open_run(Path(folder))
    timed = accelerated(run, arrow, int(steps)) if which == "accelerate" else bare(run, int(steps))
    print(timed.told(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
