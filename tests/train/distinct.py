"""A data set of the tests whose rows have vectors of their own, so that a mix-up shows."""

import numpy as np

from pipeline.pack import shard_files
from pipeline.snapshot import require_latest
from pipeline.store import Store


def distinct(store: Store) -> Store:
    """Give every row of the newest snapshot unit vectors of its own, picture and text; the digests are then not the recorded ones."""
    snapshot = require_latest(store)
    chance = np.random.default_rng(5)
    for shard in snapshot.shards:
        names = shard_files(snapshot.folder, shard.number)
        for which in ("img_emb", "text_emb"):
            path = store.local(names[which])
            assert path is not None
            shape = np.load(path).shape
            made = chance.normal(size=shape) + 0.3
            np.save(path, (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16))
    return store
