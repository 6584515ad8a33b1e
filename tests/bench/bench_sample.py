"""Claim: drawing costs no more than stock diffusers' steps of the same model, and 12 solver steps draw as well as 50.

    python tests/bench/bench_sample.py [RUN] [--pictures 64] [--rounds 5] [--compare 256]

Speed: `TamisPipeline` (what `tamis sample` and an export draw with) against a loop of diffusers' own parts as their pipelines write it:
the transformer called on the doubled batch for guidance, FlowMatchEuler's step, VaeImageProcessor to PIL; same weights, noise and
steps, in turn, one thread; ours as shipped (bfloat16 where the processor has it) and in float32, where the pictures are the same.
Without RUN the model is the preset `tiny` with random weights.

Quality, with a RUN of `tamis train decoder`: pictures of rows' embeddings by 12 steps of UniPC (12 evaluations of the model; as
shipped), 12 of DPM++ (12 evaluations) and 6 of Heun (11), against 50 of the same solver and 50 of Euler with the same noise; KID
(Bińkowski et al. 2018) against other real rows, on the unit vectors of the data set's CLIP as `tamis train quality` measures it.
The noise floor is what |KID| two random halves of real rows stay below 19 times in 20.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import diffusers
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from train import models, quality
from train.data import Batches
from train.export import assemble
from train.exported.pipeline import TamisPipeline
from train.exported.sampling import noise
from train.opening import ClipEncoder, open_model
from train.order import Order
from train.run import open_run
from train.settings import settle

STEPS, GUIDANCE, BATCH, SPLITS = 12, 3.0, 16, 40
FACTS: dict[str, Any] = {"objective": "flow", "clip": {"model": "-", "weights_sha256": "-"}}


@torch.no_grad()
def stock(pipeline: TamisPipeline, embeddings: torch.Tensor, seeds: list[int]) -> list[Any]:
    """Draw as diffusers' pipelines do."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    said = pipeline.image_tokens(embeddings)
    none = pipeline.image_tokens(embeddings, torch.zeros(len(embeddings), dtype=torch.bool))
    conditions = torch.cat([none, said])
    side = pipeline.transformer.config.sample_size
    latents = noise(seeds, (3, side, side))
    for time_ in scheduler.timesteps:
        doubled = torch.cat([latents] * 2)
        found = pipeline.transformer(
            doubled, timestep=time_.expand(len(doubled)), encoder_hidden_states=conditions, return_dict=False
        )[0]
        untold, told = found.chunk(2)
        latents = scheduler.step(untold + GUIDANCE * (told - untold), time_, latents, return_dict=False)[0]
    made: list[Any] = pipeline.image_processor.postprocess(latents.clamp(-1, 1), output_type="pil")
    return made


def ours(
    pipeline: TamisPipeline,
    embeddings: torch.Tensor,
    seeds: list[int],
    steps: int,
    solver: str,
    precision: str = "auto",
) -> list[Any]:
    """Draw by our pipeline."""
    made: list[Any] = pipeline(
        image_embeds=embeddings, seeds=seeds, num_inference_steps=steps, guidance_scale=GUIDANCE, solver=solver,
        precision=precision,
    ).images  # fmt: skip
    return made


def speed(pipeline: TamisPipeline, width: int, pictures: int, rounds: int) -> None:
    """Print pictures a second of both; they must be the same pictures."""
    vectors = torch.nn.functional.normalize(torch.randn(pictures, width), dim=-1)
    blocks = [(vectors[at : at + BATCH], list(range(at, at + BATCH))) for at in range(0, pictures, BATCH)]
    mine, theirs = ours(pipeline, *blocks[0], STEPS, "euler", "float32"), stock(pipeline, *blocks[0])
    off = max(int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) for a, b in zip(mine, theirs, strict=True))
    assert off <= 1, f"the two draw different pictures: {off} of 255"
    ways: dict[str, Callable[[torch.Tensor, list[int]], Any]] = {
        "as shipped": lambda vectors, seeds: ours(pipeline, vectors, seeds, STEPS, "euler"),
        "float32": lambda vectors, seeds: ours(pipeline, vectors, seeds, STEPS, "euler", "float32"),
        "stock": lambda vectors, seeds: stock(pipeline, vectors, seeds),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=turn % 2 == 1):  # who comes first finds the caches of another
            began = time.process_time()
            for block in blocks:
                ways[name](*block)
            seconds[name].append(time.process_time() - began)
    taken = {name: statistics.median(all_) for name, all_ in seconds.items()}
    for name in ("as shipped", "float32"):
        row: dict[str, Any] = {
            "claim": f"drawing, Euler {STEPS} steps with guidance, {name} (diffusers' own parts, float32)"
        }
        row |= {"unit": "pictures/CPU-s", "ours": pictures / taken[name], "peer": pictures / taken["stock"]}
        print(json.dumps(row | {"ratio": taken["stock"] / taken[name], "aim": "≥ 1.0×"}), flush=True)


def distance(one: Any, two: Any) -> float:
    """Return the KID of all vectors, a thousandfold."""
    return 1000 * quality.kid(np.asarray(one, np.float32), np.asarray(two, np.float32)).value


def few_steps(folder: Path, count: int) -> None:
    """Print how much worse 12 steps draw than 50, beside what two draws of real pictures differ by chance."""
    run, model = open_run(folder), open_model(folder, None, "cpu")
    encoder = ClipEncoder(model, "cpu")
    rows = Batches(run.store, run.shown, Order(run.shown.shards, 1, BATCH), pictures=False)
    batches = [rows[step] for step in range(min(rows.order.batches, -(-2 * count // BATCH)))]
    real = torch.cat([one.image_emb[one.weight > 0] for one in batches])[: 2 * count]
    half = len(real) // 2
    said, others = real[:half], real[half:].numpy()
    chance = np.random.default_rng(0)
    splits = [real[torch.from_numpy(chance.permutation(len(real)))].numpy() for _ in range(SPLITS)]
    floor = float(np.quantile([abs(distance(one[:half], one[half:])) for one in splits], 0.95))

    def drawn(solver: str, steps: int) -> float:
        made = []
        for at in range(0, half, BATCH):
            block = said[at : at + BATCH]
            pictures = ours(model.pipeline, block, list(range(at, at + len(block))), steps, solver)
            made += [encoder.pixels(np.asarray(one.convert("RGB"))) for one in pictures]
        return distance(np.stack(made), others)

    euler = drawn("euler", 50)
    for solver, steps in (("unipc", 12), ("dpm++", 12), ("heun", 6)):
        few = drawn(solver, steps)
        for name, most in (("Euler", euler), (solver, drawn(solver, 50))):
            claim = f"KID × 1000 by {steps} steps of {solver} minus by 50 of {name}, {half} pictures; peer: real halves, 95 %"
            row: dict[str, Any] = {
                "claim": claim,
                "unit": "KID × 1000",
                "ours": few - most,
                "peer": floor,
                "ratio": None,
            }
            print(json.dumps(row | {"aim": "below the floor", "kid": few, "kid_50": most}), flush=True)


def main() -> None:
    """Print a JSON line a claim."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compare", type=int, default=256)
    asked = parser.parse_args()
    torch.manual_seed(0)
    config = settle("decoder", "tiny", None, {"decoder": {"condition": "image"}})
    decoder = models.decoder(config.decoder, 512, 3, config.data.resolution_px).eval()
    torch.nn.init.normal_(decoder.net.proj_out.weight, std=0.05)  # type: ignore[union-attr,arg-type]
    speed(assemble(decoder, None, FACTS), 512, asked.pictures, asked.rounds)
    if asked.run is not None:
        few_steps(asked.run, asked.compare)


if __name__ == "__main__":
    main()
