"""prompts.py DATASET OUT: what makes pictures follow their prompts? Small decoders that differ in one thing, and one long run.

Every arm sees as many pictures. Results stay in OUT/*.json, so a study that was stopped goes on; `study.md` is the table.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.study.measures import Looker, imagined, pictures

BASE: dict[str, dict[str, Any]] = {
    "decoder": {"condition": "image", "heads": 2, "head_width": 64, "layers": 3, "patch_px": 4, "tokens": 8},
    "optim": {"batch": 16, "lr": 1e-3, "warmup_steps": 200, "cooldown_frac": 0.0, "ema_decay": 0.998},
    "data": {"resolution_px": 32, "validation_frac": 0.1},
    "run": {"device": "cpu", "checkpoint_steps": 100_000, "validate_steps": 250, "sample_steps": 100_000},
}
PRIOR: dict[str, dict[str, Any]] = {
    "optim": {"batch": 32, "lr": 1e-3, "warmup_steps": 100, "ema_decay": 0.99, "steps": 800},
    "data": {"resolution_px": 32, "validation_frac": 0.1},
    "run": {"device": "cpu", "checkpoint_steps": 100_000, "validate_steps": 100, "sample_steps": 100_000},
}
GUIDANCES = (1.0, 2.0, 3.0, 4.0, 6.0)
SHIPPED = 3.0


@dataclass(frozen=True)
class Arm:
    """A run that differs from the base in some keys."""

    name: str
    changed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: str = "decoder"

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the arm's configuration."""
        base = PRIOR if self.kind == "prior" else BASE
        return {name: {**base.get(name, {}), **self.changed.get(name, {})} for name in {**base, **self.changed}}


PRIORS = (
    Arm("prior, condition noise 0.1", kind="prior"),
    Arm("prior, condition noise 0.3", {"objective": {"condition_noise": 0.3}}, "prior"),
    Arm("prior, condition noise 0.6", {"objective": {"condition_noise": 0.6}}, "prior"),
)
DECODERS = (
    Arm("base: 8 tokens, patch 4, width 128, 3 layers, noise 0.1"),
    Arm("1 token", {"decoder": {"tokens": 1}}),
    Arm("text embedding, no prior", {"decoder": {"condition": "text"}}),
    Arm("patch 8", {"decoder": {"patch_px": 8}}),
    Arm("condition noise 0.5", {"objective": {"condition_noise": 0.5}}),
    Arm("condition noise 0", {"objective": {"condition_noise": 0.0}}),
    Arm("patch 8, width 256", {"decoder": {"patch_px": 8, "heads": 4}}),
    Arm("batch 64", {"optim": {"batch": 64}}),
    Arm("4 tokens", {"decoder": {"tokens": 4}}),
    Arm("6 layers", {"decoder": {"layers": 6}}),
    Arm("width 192", {"decoder": {"heads": 3}}),
    Arm("patch 2", {"decoder": {"patch_px": 2}}),
    Arm("picture and text", {"decoder": {"condition": "both"}}),
)


def train(arm: Arm, dataset: Path, out: Path, images: int) -> tuple[Path, float]:
    """Train an arm by the command line, or go on with it, and return its folder and how long it took, in seconds."""
    folder = out / slug(arm.name)
    settings = arm.settings()
    steps = settings["optim"].get("steps") or -(-images // settings["optim"]["batch"])
    took = folder / "seconds.json"
    if took.exists():
        return folder, float(json.loads(took.read_text()))
    file = out / f"{folder.name}.toml"
    file.write_text("\n".join(f"[{name}]\n{_lines(keys)}" for name, keys in settings.items()))
    begun = ["--resume"] if (folder / "run.json").exists() else ["--config", str(file), "--preset", "tiny"]
    command = [sys.executable, "-m", "tamis", "train", arm.kind, str(dataset), "--out", str(folder), *begun]
    began = time.monotonic()
    subprocess.run([*command, "--steps", str(steps), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    took.write_text(json.dumps(time.monotonic() - began))
    return folder, time.monotonic() - began


def slug(name: str) -> str:
    """Return a name for a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _lines(keys: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def study(dataset: Path, out: Path, images: int) -> None:
    """Train and measure every arm that has no result yet."""
    out.mkdir(parents=True, exist_ok=True)
    priors = {}
    for arm in PRIORS:
        folder, seconds = train(arm, dataset, out, images)
        priors[arm.name] = folder
        keep(out, arm.name, done(out, arm.name) or {"seconds": seconds, **imagined(folder)})
    best = max(priors, key=lambda name: _agreement(out, name))
    looker = Looker()
    for arm in DECODERS:
        if done(out, arm.name):
            continue
        folder, seconds = train(arm, dataset, out, images)
        found = [pictures(folder, None, SHIPPED, looker)]
        if arm is DECODERS[0] or arm.settings()["decoder"]["condition"] == "both":
            found.append(pictures(folder, priors[best], SHIPPED, looker))
        result = {"seconds": seconds, "images": images, "prior": best, "measured": [vars(one) for one in found]}
        keep(out, arm.name, {**result, "validation_loss": validation_loss(folder)})
        print(arm.name, round(seconds), "s", *found, sep="\n  ", flush=True)


def guidances(run: Path, prior: Path, out: Path) -> None:
    """Measure one run at several weights of the condition, from its pictures' own vectors and through a prior."""
    looker = Looker()
    found = [pictures(run, one, guidance, looker) for one in (None, prior) for guidance in GUIDANCES]
    keep(out, "guidance", {"measured": [vars(one) for one in found]})


def validation_loss(folder: Path) -> float:
    """Return the last validation loss of a run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float([line["validation_loss"] for line in lines if "validation_loss" in line][-1])


def _agreement(out: Path, name: str) -> float:
    found = done(out, name)
    return float(found["agreement"]["value"]) if found else 0.0


def done(out: Path, name: str) -> dict[str, Any] | None:
    """Return an arm's result, or None."""
    path = out / f"{slug(name)}.result.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def keep(out: Path, name: str, result: Mapping[str, Any]) -> None:
    """Write an arm's result."""
    (out / f"{slug(name)}.result.json").write_text(json.dumps(result, indent=1))


def table(out: Path) -> str:
    """Return the results as Markdown."""
    lines = ["| prior (800 steps of 32) | its vectors find their text among 100 | cosine with the real picture's |",
             "|---|---|---|"]  # fmt: skip
    for arm in PRIORS:
        found = done(out, arm.name)
        if found:
            lines.append(f"| {arm.name} | {share(found['agreement'])} | {number(found['cos'])} |")
    lines += ["", "| decoder | drawn from | cosine with the real picture | with another | found among 100 | among the first 5 | CMMD | "
              "validation loss | images/s |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for arm in DECODERS:
        found = done(out, arm.name)
        if not found:
            continue
        rate = f"{found['images'] / found['seconds']:.0f}"
        lines += [
            f"| {arm.name} | {_measured(one)} | {found['validation_loss']:.3f} | {rate} |" for one in found["measured"]
        ]
    swept = done(out, "guidance")
    if swept:
        lines += ["", "| guidance | drawn from | cosine with the real picture | with another | found among 100 | of the first 5 | CMMD |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        lines += [f"| {one['guidance']:g} | {_measured(one)} |" for one in swept["measured"]]
    return "\n".join(lines) + "\n"


def _measured(one: Mapping[str, Any]) -> str:
    cells = (
        number(one["likeness"]),
        f"{one['others']:.3f}" if "others" in one else "",
        share(one["agreement"]),
        share(one["first_five"]),
        f"{one['cmmd']:.2f}",
    )
    return " | ".join((one["source"], *cells))


def number(one: Mapping[str, Any]) -> str:
    """Return an estimate with its interval."""
    return f"{one['value']:.3f} ± {one['high'] - one['value']:.3f}"


def share(one: Mapping[str, Any]) -> str:
    """Return a share with its interval."""
    return f"{one['value']:.1%} ({one['low']:.0%}–{one['high']:.0%})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=24_000, help="Pictures that every decoder sees")
    parser.add_argument(
        "--guidance", type=Path, nargs=2, metavar=("RUN", "PRIOR"), help="Only measure these at several weights"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    np.seterr(all="raise", under="ignore")
    if given.guidance:
        guidances(given.guidance[0], given.guidance[1], given.out)
    else:
        study(given.dataset, given.out, given.images)
    (given.out / "study.md").write_text(table(given.out))
    print(table(given.out))
