"""Which batches a run of each kind reads: with pictures or without, with captions or without, cut at random or plainly."""

from train.beginning import MODEL
from train.data import Batches
from train.manifest import Manifest
from train.order import Order
from train.run import Run
from train.world import World


def source(run: Run, rows: Manifest, order: Order, world: World, *, plain: bool) -> Batches:
    """Return a process's batches of some of a run's rows; `plain`: as they are measured, not as they are learnt from."""
    kind, config = run.facts.kind, run.config
    shaped = None
    if kind == "clip":
        from train.clip_pixels import Look

        shaped = Look.read(run.folder / MODEL).shaped(None if plain else config.clip.crop_least_frac)
    return Batches(
        run.store, rows, order, world.rank, world.size, config.data.mirror and not plain, kind != "prior",
        kind in ("finetune", "clip"), shaped,
    )  # fmt: skip
