"""`tamis train` from the command line: begin, go on, and what is said when something does not fit."""

import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, DatasetBusy, InputError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.command import tamis
from train import checkpoint
from train.run import REGISTER, Run, held, open_run
from train.settings import settle

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
    assert checkpoint.steps(out) == [3, 5]
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
    ],
)
def test_a_wrong_key_or_value_is_said_with_the_nearest_right_one(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        settle("decoder", "tiny", tmp_path / "run.toml")


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
