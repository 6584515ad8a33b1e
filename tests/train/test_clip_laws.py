"""The laws of a CLIP run's weights: interruptions, processes and pieces change nothing, and whoever is hidden is not there."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from open_clip import ClipLoss
from safetensors.torch import load_file, save_file

from pipeline.errors import ConfigError, InvariantError
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests.train import tiny_clip
from tests.train.command import tamis
from tests.train.test_clip import metrics
from tests.train.test_loop import alone, quiet
from train import checkpoint, loop
from train.clip_task import ClipTask, clip_task
from train.data import Batch, Batches
from train.draws import Draws
from train.gradient import Gradient
from train.lineage import Exposure, tainted
from train.optim import adamw
from train.run import Run, create, open_run
from train.sources import source
from train.start import begin, train

NORMED = {
    "timm_model_name": "test_efficientnet", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
    "timm_drop": 0.2, "image_size": 32,
}  # fmt: skip
"""An image tower with batch norms and dropout."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.folder(tmp_path_factory.mktemp("model") / "one", weights=True)


@pytest.fixture(scope="module")
def whole(pictures: Store, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 8 steps that nothing happened to; not to be changed."""
    run = create("clip", pictures, tiny_clip.config(model), tmp_path_factory.mktemp("runs") / "whole")
    assert train(run, quiet=True)
    return run


def weights(run: Run, step: int, which: str = "ema") -> dict[str, torch.Tensor]:
    folder = run.folder / checkpoint.name(step)
    files = (folder / which / "open_clip_model.safetensors", folder / "optimizer.safetensors")
    return {f"{path.name}/{name}": value for path in files for name, value in load_file(path).items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def batches(run: Run) -> Batches:
    return source(run, run.shown, run.order, alone(), plain=False)


def full(run: Run) -> Batch:
    """Return the first batch of which no place is empty."""
    source = batches(run)
    return next(one for one in map(source.__getitem__, range(run.order.batches)) if one.weight.all())


class PowerCut(Batches):
    """Batches until a step; then the light goes out."""

    def __getitem__(self, step: int) -> Batch:
        if step >= 5:
            raise KeyboardInterrupt
        return super().__getitem__(step)


@pytest.mark.parametrize("kind", ["plain", "with batch norms and dropout"])
def test_eight_steps_are_some_steps_and_a_power_cut_and_the_rest_to_the_last_bit(
    pictures: Store, tmp_path: Path, kind: str
) -> None:
    vision = NORMED if kind != "plain" else None
    config = tiny_clip.config(tiny_clip.folder(tmp_path / "model", vision=vision), run={"checkpoint_steps": 3})
    straight = create("clip", pictures, config, tmp_path / "straight")
    assert train(straight, quiet=True)
    run = create("clip", pictures, config, tmp_path / "run")
    given = batches(run)
    cut = PowerCut(given.store, given.manifest, given.order, mirror=given.mirror, captions=True, shaped=given.shaped)
    going = loop.Loop(run, clip_task(run, alone()), alone(), cut, quiet(run))
    with pytest.raises(KeyboardInterrupt):
        going.go()
    assert checkpoint.steps(run.folder) == [3]
    assert train(open_run(run.folder), quiet=True)
    for which in ("ema", "model"):
        assert equal(weights(run, 8, which), weights(straight, 8, which))
    assert metrics(run.folder, "loss") == metrics(straight.folder, "loss")[3:]


def test_it_goes_on_where_the_model_it_started_from_is_gone(pictures: Store, tmp_path: Path) -> None:
    base = tiny_clip.folder(tmp_path / "model", weights=True)
    run = create("clip", pictures, tiny_clip.config(base, optim={"steps": 2}), tmp_path / "run")
    assert train(run, quiet=True)
    base.rename(tmp_path / "elsewhere")
    tamis("train", "clip", pictures.root, "--out", run.folder, "--resume", "--steps", "3", "--quiet")
    assert checkpoint.steps(run.folder)[-1] == 3


@pytest.mark.slow
def test_two_processes_compare_the_same_pairs_and_come_to_the_same_losses(
    whole: Run, pictures: Store, model: Path, tmp_path: Path
) -> None:
    settings = tiny_clip.toml(tmp_path / "run.toml", optim={"micro_batch": 5})
    command = Path(loop.__file__).parents[1] / "tamis.py"
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(command), "train",
         "clip", pictures.root, "--model", str(model), "--out", str(out), "--config", str(settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(command.parent)}, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("loss", "validation_loss", "seen_loss", "gradient_norm"):
        assert metrics(out, name) == pytest.approx(metrics(whole.folder, name), rel=1e-3), name
    one, two = weights(open_run(out), 8, "model"), weights(whole, 8, "model")
    assert all(torch.allclose(one[name], two[name], atol=3e-3) for name in one if "step" not in name)


@pytest.fixture
def task(whole: Run) -> ClipTask:
    task = clip_task(whole, alone())
    task.module.train()
    return task


def gradients(task: ClipTask, batch: Batch, micro: int | None = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return each sample's loss and every parameter's gradient."""
    task.module.zero_grad()
    losses = Gradient(alone(), 0, len(batch.weight), micro, nullcontext()).add(task, task.module, batch)
    return losses, [one.grad.clone() for one in task.module.parameters() if one.grad is not None]


def test_the_loss_is_open_clips_own(whole: Run, task: ClipTask) -> None:
    batch = full(whole)
    image, text, scale = task.features(task.module, batch, Draws(0, batch.slot.tolist()))
    found = task.contrast(image, text, scale, batch.weight > 0)
    theirs = ClipLoss()(image, text, scale)
    assert found.mean().item() == pytest.approx(theirs.item(), rel=1e-6)


def test_pieces_of_a_batch_give_the_gradient_of_the_whole(whole: Run, task: ClipTask) -> None:
    batch = full(whole)
    once, all_at_once = gradients(task, batch)
    for micro in (1, 5, 8):
        losses, found = gradients(task, batch, micro)
        assert torch.allclose(losses, once, atol=1e-5)
        assert len(found) == len(all_at_once) == len(list(task.module.parameters()))
        assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(found, all_at_once, strict=True))


@pytest.mark.parametrize("micro", [None, 3])
def test_a_hidden_pair_is_neither_a_positive_nor_a_negative_nor_in_the_statistics(
    pictures: Store, tmp_path: Path, micro: int | None
) -> None:
    config = tiny_clip.config(tiny_clip.folder(tmp_path / "model", vision={**NORMED, "timm_drop": 0.0}))
    run = create("clip", pictures, config, tmp_path / "run")
    task = clip_task(run, alone())
    task.module.train()
    before = {name: one.clone() for name, one in task.module.state_dict().items()}
    batch = full(run)
    weight = batch.weight.clone()
    weight[[2, 9]] = 0.0
    hidden = replace(batch, weight=weight)
    pixels = hidden.pixels.clone()
    pixels[[2, 9]] = 255
    texts = tuple("something else" if at in (2, 9) else text for at, text in enumerate(hidden.captions))
    seen = torch.tensor([at for at in range(16) if at not in (2, 9)])
    left = replace(
        batch, weight=batch.weight[seen], pixels=batch.pixels[seen], slot=batch.slot[seen], uid=batch.uid[seen.numpy()],
        captions=tuple(batch.captions[at] for at in seen.tolist()),
    )  # fmt: skip
    found = []
    for one in (hidden, replace(hidden, pixels=pixels, captions=texts), left):
        task.module.load_state_dict(before)
        losses, grads = gradients(task, one, micro)
        statistics = [buffer.clone() for buffer in task.module.buffers()]
        found.append((losses[losses != 0], [*grads, *statistics]))
    assert len(found[0][0]) == 14
    assert all(torch.equal(one, two) for one, two in zip(found[0][1], found[1][1], strict=True))
    if micro is None:  # in pieces, batch norms see other company when two are missing
        assert torch.allclose(found[0][0], found[2][0])
        shares = [14 / 16] * len(grads) + [1.0] * len(statistics)  # a sample's share is 1/batch
        assert all(
            torch.allclose(one.float(), two * share, atol=1e-5)
            for one, two, share in zip(found[0][1], found[2][1], shares, strict=True)
        )


@pytest.mark.parametrize("micro", [None, 4])
def test_a_batch_of_which_nobody_is_left_moves_nothing(whole: Run, task: ClipTask, micro: int | None) -> None:
    batch = full(whole)
    losses, found = gradients(task, replace(batch, weight=torch.zeros(16)), micro)
    assert losses.tolist() == [0.0] * 16
    assert len(found) == len(list(task.module.parameters()))
    assert not any(one.any() for one in found)


def test_a_row_hidden_while_the_run_is_under_way_is_skipped_and_an_erasure_is_branched_from(
    own: Store, model: Path, tmp_path: Path
) -> None:
    run = create("clip", own, tiny_clip.config(model, run={"checkpoint_steps": 2}), tmp_path / "run")
    late = bytes(batches(run)[3].uid[1]).ljust(16, b"\0")
    publish(own, of_request([late], [""], "r1"))
    assert train(run, quiet=True)
    assert Exposure(run).of(late) == []
    assert checkpoint.read(run.folder / checkpoint.name(8)).skipped == sum(
        bytes(uid).ljust(16, b"\0") == late for step in range(8) for uid in batches(run).__getitem__(step).uid
    )
    assert tainted(run) is None
    gone = bytes(batches(run)[3].uid[4]).ljust(16, b"\0")
    publish(own, of_request([gone], [""], "r2"))
    tamis("train", "after-erasure", run.folder, "--out", tmp_path / "new", "--quiet")
    new = open_run(tmp_path / "new")
    assert tainted(new) is None
    assert new.facts.parents[-1] == f"{run.facts.id}@2"
    assert checkpoint.steps(new.folder)[-1] == 8


def test_the_factor_of_the_cosines_stays_at_or_under_a_hundred(pictures: Store, model: Path, tmp_path: Path) -> None:
    run = create("clip", pictures, tiny_clip.config(model, optim={"steps": 4}), tmp_path / "run")
    task = clip_task(run, alone())
    with torch.no_grad():
        task.module.logit_scale.fill_(9.0)  # type: ignore[operator]
    going = loop.Loop(run, task, alone(), batches(run), quiet(run))
    assert going.go()
    kept = [weights(run, 4, which)["open_clip_model.safetensors/logit_scale"] for which in ("model", "ema")]
    assert all(float(one.exp()) <= 100.001 for one in kept)


def test_gains_biases_and_scalars_do_not_decay(task: ClipTask, whole: Run) -> None:
    decayed, spared = adamw(task.module, whole.config.optim).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    assert all(one.ndim > 1 for one in decayed["params"])
    assert {one.ndim for one in spared["params"]} == {0, 1}


def test_plain_clip_models_have_a_text_tower_to_lock_too(tmp_path: Path, pictures: Store) -> None:
    base = tiny_clip.folder(tmp_path / "model", custom_text=False)
    run = create("clip", pictures, tiny_clip.config(base, clip={"lock_text": True}), tmp_path / "run")
    learns = {name for name, one in clip_task(run, alone()).module.named_parameters() if one.requires_grad}
    assert learns == {"logit_scale", *(name for name in learns if name.startswith("visual."))}
    assert len(learns) > 10


def test_a_model_that_sees_pieces_apart_learns_in_none(pictures: Store, model: Path, tmp_path: Path) -> None:
    normed = tiny_clip.folder(tmp_path / "normed", vision=NORMED)
    said = r"optim.micro_batch: this model has batch norms or dropout"
    with pytest.raises(ConfigError, match=said):
        create("clip", pictures, tiny_clip.config(normed, optim={"micro_batch": 4}), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    for folder, micro in ((normed, 16), (model, 4)):
        run = create(
            "clip", pictures, tiny_clip.config(folder, optim={"micro_batch": micro}), tmp_path / f"run-{folder.name}"
        )
        assert clip_task(run, alone())
    later = tiny_clip.config(normed, optim={"micro_batch": 4}).model_dump(mode="json")
    changed = open_run(tmp_path / f"run-{normed.name}")  # a smaller piece when it goes on
    with pytest.raises(ConfigError, match=said):
        clip_task(replace(changed, facts=replace(changed.facts, config=later)), alone())


def test_whatever_leaves_parts_out_by_chance_refuses_pieces_and_batch_norms_refuse_to_be_computed_twice(
    pictures: Store, model: Path, tmp_path: Path
) -> None:
    plain = {"image_size": tiny_clip.SIDE_PX, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
    patches = tiny_clip.folder(tmp_path / "patches", vision={**plain, "patch_dropout": 0.5})
    normed = tiny_clip.folder(tmp_path / "normed", vision={**NORMED, "timm_drop": 0.0})
    for folder, sections, key in (
        (patches, {"optim": {"micro_batch": 4}}, "optim.micro_batch"),
        (normed, {"run": {"recompute": True}}, "run.recompute"),
    ):
        with pytest.raises(ConfigError, match=f"{key}: this model has batch norms"):
            create("clip", pictures, tiny_clip.config(folder, **sections), tmp_path / f"run-{folder.name}")
    assert create("clip", pictures, tiny_clip.config(model, run={"recompute": True}), tmp_path / "run")


def test_a_batch_that_the_processes_cannot_share_is_refused_before_there_is_a_run(
    pictures: Store, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="16 samples cannot be shared among 3 processes evenly"):
        begin("clip", pictures, tiny_clip.config(model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("gone", [False, True])
def test_other_weights_to_start_from_than_the_run_was_made_for_are_refused(
    pictures: Store, tmp_path: Path, gone: bool
) -> None:
    model = tiny_clip.folder(tmp_path / "model", weights=True)
    run = create("clip", pictures, tiny_clip.config(model), tmp_path / "run")
    weights = load_file(model / "open_clip_model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, model / "open_clip_model.safetensors")
    if gone:  # it would begin from random ones
        (model / "open_clip_model.safetensors").unlink()
    with pytest.raises(InvariantError, match="was made to start from"):
        train(run, quiet=True)
    assert checkpoint.steps(run.folder) == []
