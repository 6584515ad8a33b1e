"""What a run draws of itself while it learns is what `tamis sample` draws of its checkpoint."""

from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.store import Store
from tests.train import tiny_run
from tests.train.test_loop import metrics
from train import grid
from train.opening import open_model
from train.run import Run


def held(run: Run) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Return image and text embeddings of what is drawn for, with the seeds."""
    batch = grid.source(run)[0]
    shown = batch.weight > 0
    return batch.image_emb[shown], batch.text_emb[shown], batch.slot[shown].tolist()


def test_a_sheet_shows_what_the_checkpoint_draws(pictures: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(pictures, tmp_path / "run", run={"sample_steps": 8})
    image, text, seeds = held(run)
    made = open_model(run.folder, None, "cpu").pipeline(image_embeds=image, text_embeds=text, seeds=seeds).images
    kept = cv2.imread(str(run.folder / "samples" / "000000008.png"))
    assert kept is not None
    sheet = kept[..., ::-1]
    side = run.config.data.resolution_px
    assert sheet.shape == (-(-len(made) // 8) * side, 8 * side, 3)
    for at, picture in enumerate(made):
        top, left = at // 8 * side, at % 8 * side
        assert np.array_equal(sheet[top : top + side, left : left + side], np.asarray(picture))


def test_a_priors_cosine_is_that_of_what_it_imagines_by_default(
    pictures: Store, decoder_run: Run, tmp_path: Path
) -> None:
    run = tiny_run.trained(pictures, tmp_path / "run", "prior", run={"sample_steps": 8})
    image, text, seeds = held(run)
    pipeline = open_model(decoder_run.folder, run.folder, "cpu").pipeline
    made = pipeline.imagine(text, seeds, 25, 2.0)
    (said,) = metrics(run, "sampled_cos")
    assert np.isclose(said, float((made * torch.nn.functional.normalize(image)).sum(1).mean()), atol=1e-5)
    assert not np.isclose(said, float((pipeline.imagine(text, seeds, 5, 2.0) * image).sum(1).mean()), atol=1e-5)
