"""`tamis train quality` on a real data set with real vectors: what it says, writes and refuses."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests import tiny
from tests.train import tiny_run
from tests.train.command import tamis
from train.card import card
from train.data import Batches
from train.making import Settings
from train.opening import facts_of
from train.order import Order
from train.run import Run
from train.trial import rows_of, texts_of

DATA = {"validation_frac": 0.3, "resolution_px": 16}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Store:
    """A data set of 60 drawings, embedded by the bundled CLIP."""
    folder = tmp_path_factory.mktemp("drawn")
    crawl = tiny.write_crawl(folder / "crawl")
    file = tiny.config(folder / "crawl.toml", str(folder / "set"), crawl, fetch={"resize_px": 64})
    tiny.tamis("ingest", file, "--scheduler", scheduler)
    return Store.open_url(str(folder / "set"))


@pytest.fixture(scope="module")
def runs(drawn: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A decoder and a prior that learnt next to nothing."""
    folder = tmp_path_factory.mktemp("runs")
    return (
        tiny_run.trained(drawn, folder / "decoder", data=DATA),
        tiny_run.trained(drawn, folder / "prior", "prior", data=DATA),
    )


def told(*args: str | Path, code: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tamis("train", "quality", *args, "--json", "--steps", "3", code=code))
    return found


def test_a_model_that_learnt_nothing_is_measured_and_does_not_pass(
    runs: tuple[Run, Run], capfd: pytest.CaptureFixture[str]
) -> None:
    decoder, prior = runs
    kept = told(decoder.folder, "--prior", prior.folder, "--words", "circle,square,triangle,cross", code=1)
    assert not kept["follows_prompts"]
    assert kept["held"]["agreement"]["n"] == decoder.held.rows_shown < kept["seen"]["agreement"]["n"]
    assert kept["held"]["kid"]["low"] > kept["held"]["kid_floor"]["high"]
    assert kept["validation_loss"]["n"] == decoder.held.rows_shown
    assert kept["attributes"][0]["words"] == ["circle", "square", "triangle", "cross"]
    assert kept["sampler"] == {"solver": "unipc", "steps": 3, "guidance": Settings().guidance, "seed": 0}
    assert kept == json.loads((decoder.folder / "quality.json").read_text())
    facts = {**facts_of(decoder, None), "prior": {"images_seen": 1, **kept["prior"]}}
    assert f"step {kept['step']:,}, drawn from prompts" in card(facts, "shapes", decoder.folder)
    without = card({**facts_of(decoder, None), "prior": None}, "shapes", decoder.folder)
    assert "not measured of this checkpoint with this prior" in without
    assert "not measured of this" in card({**facts, "step": 1}, "shapes", decoder.folder)
    root = Xml.fromstring((decoder.folder / "quality.svg").read_bytes())
    assert root.tag.endswith("svg")
    with Image.open(decoder.folder / "quality.png") as sheet:
        assert sheet.width > 500


@pytest.mark.slow
def test_the_same_trial_gives_the_same_numbers(runs: tuple[Run, Run]) -> None:
    decoder, prior = runs
    once, again = (told(decoder.folder, "--prior", prior.folder, "--prompts", "12", code=1) for _ in range(2))
    assert once == again
    other = told(decoder.folder, "--prior", prior.folder, "--prompts", "12", "--seed", "900", code=1)
    assert other["held"]["clip_own"] != once["held"]["clip_own"]
    assert other["validation_loss"] == once["validation_loss"]


def test_the_decoder_alone_draws_the_pictures_own_vectors_at_every_checkpoint(runs: tuple[Run, Run]) -> None:
    folder = runs[0].folder
    kept = told(folder, "--prompts", "12", "--curve", code=1)
    assert kept["prior"] is None
    assert "own vectors, without a prior" in card(facts_of(runs[0], None), "shapes", folder)
    curve = json.loads((folder / "quality-curve.json").read_text())
    assert [one["step"] for one in curve] == [4, 8]
    assert curve[0]["images_seen"] < curve[1]["images_seen"] == kept["images_seen"]
    assert curve[1]["held"] == kept["held"] != curve[0]["held"]
    assert Xml.fromstring((folder / "quality-curve.svg").read_bytes()).tag.endswith("svg")


def test_a_prior_is_no_decoder_and_a_run_without_held_out_rows_is_not_measured(
    drawn: Store, runs: tuple[Run, Run], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="trains a prior; name a decoder's run"):
        tamis("train", "quality", runs[1].folder)
    all_shown = tiny_run.trained(drawn, tmp_path / "all", data={**DATA, "validation_frac": 0.0}, optim={"steps": 1})
    with pytest.raises(
        InputError, match="0 rows are held out, and a measurement needs 10 at least; train with a larger"
    ):
        tamis("train", "quality", all_shown.folder)


def test_who_is_hidden_is_neither_drawn_nor_compared_with(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", data={"validation_frac": 0.4})
    before = rows_of(run, run.held, 1000, "quality")
    texts = texts_of(run, run.held, 1000)
    assert len(before) == len(texts) == run.held.rows_shown
    assert {one.shape for one in before.pictures} == {(16, 16, 3)}
    order = Order(run.held.shards, 0, 8)
    gone = bytes(Batches(own, run.held, order, pictures=False)[0].uid[3]).ljust(16, b"\0")
    publish(own, of_request([gone], [""], "r1"))
    left = rows_of(run, run.held, 1000, "quality")
    assert len(left) == len(texts_of(run, run.held, 1000)) == len(before) - 1
    assert set(left.captions) < set(before.captions)
    assert len(rows_of(run, run.held, 5, "quality")) == 5
