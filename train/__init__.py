"""Training and sampling: order and batches, models, the loop, checkpoints, pictures, lineage."""
