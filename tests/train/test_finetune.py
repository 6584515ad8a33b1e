"""A pipeline that exists goes on learning, from the captions in the shards."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from pipeline.errors import InputError, InvariantError
from pipeline.stage import sha256_file
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests.train import tiny_pipeline
from tests.train.command import tamis
from train import checkpoint
from train.data import Batches
from train.lineage import checkpoints
from train.progress import METRICS
from train.run import open_run

CONFIG = """
[optim]
steps = 12
batch = 8
lr = 0.003
warmup_steps = 0
[data]
resolution_px = 16
validation_frac = 0.1
[run]
device = "cpu"
precision = "float32"
checkpoint_steps = 6
log_steps = 1
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline.make(tmp_path_factory.mktemp("base"))


def test_a_pipeline_goes_on_learning_and_the_result_takes_its_place_in_it(
    pictures: Store, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(CONFIG)
    out = tmp_path / "run"
    tamis(
        "train", "finetune", pictures.root, "--from", base, "--out", out, "--config", tmp_path / "run.toml", "--quiet"
    )
    lines = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12
    assert np.isfinite(losses).all()
    with pytest.raises(InputError, match=r"began from .*, not from .*elsewhere; leave --from out to go on"):
        tamis("train", "finetune", pictures.root, "--from", tmp_path / "elsewhere", "--out", out, "--resume")
    cursor = checkpoint.read(out / checkpoint.name(12))
    assert str(base) in cursor.parents[0]
    net = UNet2DConditionModel.from_pretrained(out / checkpoint.name(12) / "ema" / "unet")
    before = UNet2DConditionModel.from_pretrained(base / "unet")
    assert not torch.equal(net.conv_in.weight, before.conv_in.weight)
    whole = tmp_path / "whole"
    with pytest.raises(InputError, match=r"name a decoder's run.*`tamis export .* makes a pipeline"):
        tamis("sample", out, "--prompt", "a red circle", "--out", tmp_path / "pictures")
    with pytest.raises(InputError, match="--prior and --with-clip belong to decoders"):
        tamis("export", out, "--out", whole, "--with-clip")
    tamis("export", out, "--out", whole)
    pipeline = StableDiffusionPipeline.from_pretrained(whole, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    assert torch.equal(pipeline.unet.conv_in.weight, net.conv_in.weight)
    made = pipeline("a red circle", num_inference_steps=2, height=16, width=16).images[0]
    assert made.size == (16, 16)
    facts, card = json.loads((whole / "tamis.json").read_text()), (whole / "README.md").read_text()
    assert (facts["step"], facts["images_seen"], facts["base"]) == (12, cursor.images_seen, "pipeline")
    assert "fine-tuned from | pipeline: pipeline (unet " in card
    assert str(base) not in card + json.dumps(facts)
    assert all(sha256_file(whole / name) == digest for name, digest in facts["files"].items())
    uid = bytes(Batches(pictures, open_run(out).shown, open_run(out).order, pictures=False)[0].uid[0]).ljust(16, b"\0")
    told = [one for one in checkpoints(pictures, [uid])[uid] if "exported" in one and one["run"] == facts["run"]]
    assert [(one["checkpoint"], one["first_step"], one["exported"]["step"]) for one in told] == [(str(whole), 0, 12)]


def test_captions_come_from_the_shards_and_a_hidden_rows_is_empty(own: Store, base: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(CONFIG)
    tamis(
        "train", "finetune", own.root, "--from", base, "--out", tmp_path / "run", "--config", tmp_path / "run.toml",
        "--steps", "1", "--quiet",
    )  # fmt: skip
    run = open_run(tmp_path / "run")
    source = Batches(run.store, run.shown, run.order, captions=True)
    batch = source[0]
    assert sum("drawn number" in text for text in batch.captions) >= 5
    publish(own, of_request([bytes(batch.uid[1]).ljust(16, b"\0")], [""], "r1"))
    after = Batches(run.store, run.shown, run.order, captions=True)[0]
    assert after.captions == (batch.captions[0], "", *batch.captions[2:])


def test_a_folder_that_cannot_be_fine_tuned_is_refused_with_the_reason(
    pictures: Store, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no diffusers"):
        tamis("train", "finetune", pictures.root, "--from", tmp_path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_schedule_of_the_pipeline_is_part_of_the_run(pictures: Store, tmp_path: Path) -> None:
    base = tiny_pipeline.make(tmp_path / "base")
    (tmp_path / "run.toml").write_text(CONFIG)
    begin = (
        "train",
        "finetune",
        pictures.root,
        "--from",
        base,
        "--out",
        tmp_path / "run",
        "--config",
        tmp_path / "run.toml",
    )
    tamis(*begin, "--steps", "1", "--quiet")
    schedule = base / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps({**json.loads(schedule.read_text()), "prediction_type": "v_prediction"}))
    with pytest.raises(InvariantError, match=r"scheduler: not the model that .*run was begun with"):
        tamis("train", "finetune", pictures.root, "--out", tmp_path / "run", "--resume", "--steps", "2", "--quiet")
