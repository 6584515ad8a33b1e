"""A CLIP model learns from the pairs of a data set, and the result judges the next crawl."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.clip_model import ClipModel
from pipeline.clip_spec import ModelSpec
from pipeline.errors import ConfigError, InputError
from pipeline.stage import sha256_file
from pipeline.store import Store
from tests import small_dataset
from tests.train import tiny_clip
from tests.train.command import tamis
from train import checkpoint, ledger
from train.data import Batches
from train.handed_out import exports
from train.lineage import checkpoints
from train.progress import METRICS
from train.run import Run, open_run


def metrics(run: Path, name: str) -> list[float]:
    lines = (run / METRICS).read_text().splitlines()
    return [found[name] for found in map(json.loads, lines) if name in found]


@pytest.fixture(scope="module")
def learnt(pictures: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model from random weights after 60 steps; not to be changed."""
    folder = tmp_path_factory.mktemp("clip")
    settings = tiny_clip.toml(
        folder / "run.toml", optim={"steps": 60, "batch": 32, "ema_decay": 0.9},
        run={"checkpoint_steps": 30, "validate_steps": 30, "sample_steps": 30},
    )  # fmt: skip
    out = folder / "run"
    model = tiny_clip.folder(folder / "model")
    tamis("train", "clip", pictures.root, "--model", model, "--out", out, "--config", settings, "--quiet")
    return open_run(out)


@pytest.fixture(scope="module")
def exported(learnt: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "little"
    assert tamis("export", learnt.folder, "--out", out).strip() == str(out)
    return out


def test_from_random_weights_it_finds_held_out_pairs_far_more_often_than_chance(learnt: Run) -> None:
    losses, among = metrics(learnt.folder, "loss"), metrics(learnt.folder, "recall_among")
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert among == [learnt.held.rows_shown] * 2
    for way in ("image_to_text", "text_to_image"):
        assert metrics(learnt.folder, f"{way}_recall_1_frac")[-1] >= 3 / among[0]
        assert metrics(learnt.folder, f"{way}_recall_10_frac")[-1] > 0.9
    assert metrics(learnt.folder, "validation_loss")[-1] < 0.7 * np.log(among[0])
    assert learnt.facts.parents == []


def test_it_is_a_run_like_the_others_to_ledger_and_lineage(learnt: Run) -> None:
    cursor = checkpoint.read(learnt.folder / checkpoint.name(60))
    assert ledger.check(learnt.folder, learnt.shown, learnt.order, 60) == cursor.images_seen
    said = json.loads(tamis("train", "check", learnt.folder, "--json"))
    assert said == {"steps": 60, "samples": cursor.images_seen}
    uid = bytes(Batches(learnt.store, learnt.shown, learnt.order, pictures=False)[0].uid[0]).ljust(16, b"\0")
    told = [
        one for one in checkpoints(learnt.store, [uid])[uid] if one["run"] == learnt.facts.id and "exported" not in one
    ]
    assert [(one["kind"], one["checkpoint"]) for one in told] == [
        ("clip", str(learnt.folder / checkpoint.name(step))) for step in (30, 60)
    ]


def test_the_exported_folder_gives_open_clip_and_tamis_the_same_vectors(exported: Path, learnt: Run) -> None:
    name = f"local-dir:{exported}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name, bpe_path=str(exported / "bpe.txt.gz"))
    ours = ClipModel(ModelSpec(name))
    rgb, text = small_dataset.draw(7)
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(Image.fromarray(rgb))[None], normalize=True)
        words = model.encode_text(tokenizer([text]), normalize=True)
    assert float(image[0] @ torch.from_numpy(ours.images(ours.prepare(rgb)[None])[0]).float()) > 0.9999
    assert float(words[0] @ torch.from_numpy(ours.texts([text])[0]).float()) > 0.9999
    kept = load_file(learnt.folder / checkpoint.name(60) / "ema" / "open_clip_model.safetensors")
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in kept.items())
    assert ours.weights_sha256 == json.loads((exported / "tamis.json").read_text())["weights_sha256"]


def test_the_model_card_says_what_it_learnt_from_and_how_well_and_names_no_place_on_this_disk(
    exported: Path, learnt: Run
) -> None:
    card, facts = (exported / "README.md").read_text(), json.loads((exported / "tamis.json").read_text())
    assert "started from | random weights" in card
    assert f"{learnt.shown.rows_shown} of snapshot 000001" in card
    assert f"among {learnt.held.rows_shown} held out; by chance" in card
    assert facts["measured"]["image_to_text_recall_1_frac"] == metrics(learnt.folder, "image_to_text_recall_1_frac")[-1]
    assert facts["config"]["clip"]["model"] == "local-dir:model"
    assert str(learnt.folder.parent) not in card + json.dumps(facts)
    assert facts["files"]["open_clip_model.safetensors"] == facts["weights_sha256"]
    assert all(sha256_file(exported / name) == digest for name, digest in facts["files"].items())


def test_an_export_over_something_that_is_there_is_refused(exported: Path, learnt: Run) -> None:
    assert [(one.folder, one.step) for one in exports(learnt.folder)] == [(str(exported), 60)]
    with pytest.raises(InputError, match="is not empty"):
        tamis("export", learnt.folder, "--out", exported)
    with pytest.raises(InputError, match="is a clip run; --prior and --with-clip belong to decoders"):
        tamis("export", learnt.folder, "--out", exported / "x", "--with-clip")


@pytest.mark.parametrize(("option", "tower"), [("--lock-image", "visual."), ("--lock-text", "text.")])
def test_a_locked_tower_stays_as_it_was_and_the_other_one_learns(
    pictures: Store, tmp_path: Path, option: str, tower: str
) -> None:
    model = tiny_clip.folder(tmp_path / "model", weights=True)
    out, settings = tmp_path / "run", tiny_clip.toml(tmp_path / "run.toml", optim={"steps": 2})
    tamis("train", "clip", pictures.root, "--model", model, "--out", out, "--config", settings, option, "--quiet")
    before, after = (
        load_file(path / "open_clip_model.safetensors") for path in (model, out / checkpoint.name(2) / "model")
    )
    assert before.keys() == after.keys()
    same = {name for name, one in before.items() if torch.equal(one, after[name])}
    assert {name for name in before if name.startswith(tower)} <= same
    assert {name for name in before if not name.startswith(tower)} - same > {"logit_scale"}
    assert f"local-dir:{model} (weights " in open_run(out).facts.parents[0]


@pytest.mark.slow
def test_the_bundled_model_goes_on_learning(pictures: Store, tmp_path: Path) -> None:
    settings = tiny_clip.toml(tmp_path / "run.toml", optim={"steps": 1, "batch": 4})
    out = tmp_path / "run"
    tamis("train", "clip", pictures.root, "--model", "tamis-mini", "--out", out, "--config", settings, "--quiet")
    assert metrics(out, "loss")[0] < 2 * np.log(4)
    assert "tamis-mini (weights 464fc993" in open_run(out).facts.parents[0]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("no-such-model", "no-such-model.*not found in built-ins"),
        ("ViT-B-32/no-such-tag", "no-such-tag"),
        ("local-dir:/nowhere/at/all", "not found"),
        ("coca_ViT-B-32", "CoCa with a loss of its own"),
        ("ViT-B-16-SigLIP", "CustomTextCLIP with a loss of its own"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_with_the_reason(
    pictures: Store, tmp_path: Path, model: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        tamis("train", "clip", pictures.root, "--model", model, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_both_towers_locked_is_nothing_to_train(pictures: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        tamis("train", "clip", pictures.root, "--lock-image", "--lock-text", "--out", tmp_path / "run")
