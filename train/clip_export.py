"""A CLIP run becomes an open_clip `local-dir:` folder with its facts and a model card; `tamis ingest` takes it by its path."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.clip_spec import file_sha256
from pipeline.errors import InputError
from pipeline.stage import sha256_file
from train import checkpoint
from train.beginning import MODEL
from train.clip_base import CONFIG, WEIGHTS, WORDS
from train.clip_card import RECALLS, card
from train.handed_out import noted
from train.progress import METRICS
from train.run import Run, must_be_as_trained, open_run


def export_clip(run: Path, out: Path, step: int | None = None) -> None:
    """Write the folder from a checkpoint's averaged weights, the newest where no step is named.

    InputError when there is no such checkpoint, or `out` holds something.
    """
    found = open_run(run)
    at = checkpoint.last(found.folder) if step is None else step
    if at is None:
        raise InputError(f"{run}: no checkpoint yet; wait for the first, or `tamis train clip … --resume`")
    out = out.resolve()
    checkpoint.sound(found.folder / checkpoint.name(at), "ema/")
    must_be_as_trained(found, at)
    facts = clip_facts(found, at)

    def fill(draft: Path) -> None:
        shutil.copytree(found.folder / checkpoint.name(at) / "ema", draft)
        files = {path.name: sha256_file(path) for path in sorted(draft.iterdir()) if path.is_file()}
        (draft / "tamis.json").write_text(json.dumps({**facts, "files": files}, indent=1, sort_keys=True) + "\n")
        (draft / "README.md").write_text(card(facts, out.name, own_words=(draft / WORDS).is_file()))

    with noted([(found.folder, at)], out) as draft:
        checkpoint.publish(out, draft, fill)


def clip_facts(run: Run, step: int) -> dict[str, Any]:
    """Return what a checkpoint is, what it learnt from, and what was measured of it."""
    folder = run.folder / checkpoint.name(step)
    cursor, rows = checkpoint.read(folder), run.rows.facts
    model = json.loads((run.folder / MODEL / CONFIG).read_text())
    named = run.config.clip.model
    shown = (
        f"local-dir:{Path(named).name}" if named.startswith("local-dir:") else named
    )  # whose disk it was on is nobody's concern
    config = {**run.facts.config, "clip": {**run.facts.config["clip"], "model": shown}}
    return {
        "run": run.facts.id, "kind": run.facts.kind, "step": cursor.step, "images_seen": cursor.images_seen,
        "skipped": cursor.skipped, "weights_sha256": file_sha256(folder / "ema" / WEIGHTS),
        "dataset": Path(rows.dataset).name, "snapshot": rows.snapshot, "snapshot_digest": rows.snapshot_digest,
        "refusals": rows.refusals, "rows": run.shown.rows_shown, "rows_held_out": run.held.rows_shown,
        "parents": [one.replace(named, shown) for one in cursor.parents], "config": config, "model_cfg": model["model_cfg"],
        "measured": measured(run.folder, step),
    }  # fmt: skip


def measured(run: Path, step: int) -> dict[str, float]:
    """Return the validation loss and the recalls that were measured of the weights of a step; of another step there are none."""
    names = ("validation_loss", "recall_among", *RECALLS)
    found: dict[str, float] = {}
    if (run / METRICS).exists():
        for line in (run / METRICS).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that a kill cut off
                one = json.loads(line)
                found |= {name: one[name] for name in names if name in one} if one["step"] == step else {}
    return found
