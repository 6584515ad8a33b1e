"""`tamis train` from the command line: begin, go on, and what is said when something does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import ConfigError, DatasetBusy, InputError, TamisError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.command import tamis
from train import checkpoint
from train.data import Batches
from train.lineage import checkpoints
from train.presets import Kind
from train.run import REGISTER, Run, held, open_run
from train.settings import settle
from train.start import begin, memory_explained, train

TOML = """
[decoder]
heads = 2
head_width = 8
layers = 1
[data]
resolution_px = 16
[optim]
batch = 8
[run]
device = "cpu"
precision = "float32"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text(TOML)
    return tmp_path / "run.toml"


def test_a_run_begins_stops_at_its_steps_and_goes_on_for_more(own: Store, tmp_path: Path, file: Path) -> None:
    out = tmp_path / "run"
    begin = ("train", "decoder", own.root, "--out", out, "--config", file, "--steps", "3", "--quiet")
    assert tamis(*begin).strip() == str(out)
    with pytest.raises(InputError, match="a run here already; --resume"):
        tamis(*begin)
    assert checkpoint.steps(out) == [3]
    tamis("train", "decoder", own.root, "--out", out, "--resume", "--steps", "5", "--quiet")
    assert checkpoint.steps(out) == [3, 5]
    tamis("train", "decoder", own.root, "--out", out, "--resume", "--quiet")
    before = (out / "run.json").read_bytes()
    with pytest.raises(InputError, match="has done 5 steps already, more than 2; give more --steps"):
        tamis("train", "decoder", own.root, "--out", out, "--resume", "--steps", "2", "--quiet")
    assert (checkpoint.steps(out), (out / "run.json").read_bytes()) == ([3, 5], before)
    (entry,) = [json.loads(own.read(name)) for name in own.names(REGISTER)]
    assert (entry["run"], entry["folder"], entry["snapshot"]) == (open_run(out).facts.id, str(out), 1)
    said = json.loads(tamis("train", "check", out, "--json"))
    assert said == {"steps": 5, "samples": checkpoint.read(out / checkpoint.name(5)).images_seen}


def test_a_run_keeps_the_settings_its_weights_depend_on(
    decoder_run: Run, pictures: Store, own: Store, file: Path
) -> None:
    out = decoder_run.folder
    with pytest.raises(ConfigError, match=r"begun with other settings \(data\.seed 0 → 7\)"):
        tamis("train", "decoder", pictures.root, "--out", out, "--resume", "--seed", "7")
    with pytest.raises(InputError, match="a run keeps its rows"):
        tamis("train", "decoder", own.root, "--out", out, "--resume")
    with pytest.raises(InputError, match="trains a decoder"):
        tamis("train", "prior", pictures.root, "--out", out, "--resume")


def test_a_run_of_a_version_that_knew_fewer_keys_goes_on_and_is_known(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", optim={"steps": 4})
    told = json.loads((run.folder / "run.json").read_text())
    assert told["config"]["data"].pop("scale_rows") == 32
    (run.folder / "run.json").write_text(json.dumps(told))
    assert train(open_run(run.folder), quiet=True)
    tamis("train", "decoder", own.root, "--out", run.folder, "--resume", "--steps", "6", "--quiet")
    assert checkpoint.steps(run.folder) == [4, 6]
    uid = bytes(Batches(own, run.shown, run.order, pictures=False)[5].uid[0]).ljust(16, b"\0")
    assert [one["times"] for one in checkpoints(own, [uid])[uid]][-1] == 1


def test_two_people_do_not_train_one_run_at_once(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run")
    with held(run), pytest.raises(DatasetBusy, match="another process trains this run"):
        tamis("train", "decoder", own.root, "--out", run.folder, "--resume", "--quiet")
    assert checkpoint.steps(run.folder) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[decoder]\nheds = 3", r"decoder\.heds: unknown key; did you mean `decoder\.heads`\?"),
        ("[optim]\nlr = -1", r"optim\.lr: Input should be greater than 0"),
        ("[optim", "not valid TOML"),
        ("optim = 3", r"optim: Input should be a valid dictionary"),
        ("[data]\nmax_aspect = inf", r"data\.max_aspect: Input should be "),
        ("[data]\nmax_aspect = 17", r"data\.max_aspect: Input should be less than or equal to 16"),
        ("[optim]\nlr = nan", r"optim\.lr: Input should be a finite number"),
        ("[data]\nresolution_px = 100000", r"data\.resolution_px: Input should be less than or equal to 4096"),
        ("[decoder]\nchannels = [32, 0]", r"decoder\.channels\.1: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_key_or_value_is_said_with_the_nearest_right_one(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        settle("decoder", "tiny", tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"decoder": {"heads": 256, "head_width": 512, "layers": 200}},
            r"million weights needs [\d,]+ GB to be trained",
        ),
        ({"prior": {"heads": 256, "head_width": 512, "layers": 200}}, r"\[prior\]: a model of .* weights needs"),
        ({"data": {"resolution_px": 4096}, "decoder": {"patch_px": 4}}, r"1,048,576 patches, more than 65,536"),
        ({"decoder": {"heads": 1, "head_width": 5}}, r"\[decoder\]: no model can be made with these"),
        ({"data": {"resolution_px": 17}}, "17 is no multiple of 4"),
        ({"run": {"workers": 10_000}}, "10,000 processes are too many for this machine"),
    ],
)
def test_a_model_that_this_machine_cannot_hold_is_refused_before_there_is_a_run(
    pictures: Store, tmp_path: Path, sections: dict[str, dict[str, Any]], message: str
) -> None:
    kind: Kind = "prior" if "prior" in sections else "decoder"
    with pytest.raises(ConfigError, match=message):
        begin(kind, pictures, tiny_run.config(kind, **sections), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_presets_files_and_options_win_in_this_order(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[optim]\nsteps = 9\nlr = 0.5")
    found = settle("decoder", "small", tmp_path / "run.toml", {"optim": {"steps": 7}})
    assert (found.optim.steps, found.optim.lr, found.optim.batch) == (7, 0.5, 256)
    with pytest.raises(ConfigError, match="'huge' is none of tiny, small, base"):
        settle("decoder", "huge")
    with pytest.raises(ConfigError, match="draws in latents"):
        settle("decoder", "base")


def test_every_key_and_preset_is_shown() -> None:
    keys = {row["key"] for row in json.loads(tamis("train", "config", "--json"))}
    assert {"decoder.tokens", "objective.condition_noise", "run.keep_steps"} <= keys
    assert "heads = 4" in tamis("train", "config")
    rows = json.loads(tamis("train", "presets", "--json"))
    assert [(row["preset"], row["kind"]) for row in rows][:3] == [
        ("tiny", "decoder"),
        ("tiny", "prior"),
        ("tiny", "clip"),
    ]
    assert "GPU hours" in tamis("train", "presets")


def test_a_batch_that_does_not_fit_into_memory_is_told_with_what_to_do() -> None:
    config = tiny_run.config(optim={"batch": 16, "micro_batch": 8})
    with (
        pytest.raises(TamisError, match=r"does not fit into memory \(.*optim.micro_batch below 8") as told,
        memory_explained(config),
    ):
        torch.empty(2**50)
    assert isinstance(told.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError, match="shape"), memory_explained(config):  # anything else is not about memory
        torch.ones(2) @ torch.ones(3, 3)
