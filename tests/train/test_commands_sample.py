"""`tamis sample` and `tamis export` from the command line, on the tests' tiny runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.command import tamis
from train import opening
from train.provenance import facts_of
from train.run import Run


@pytest.fixture(scope="module")
def prior_run(pictures: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run.trained(pictures, tmp_path_factory.mktemp("runs") / "prior", "prior")


@pytest.fixture(autouse=True)
def hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let texts and pictures have vectors of the test set's eight numbers; no CLIP has so few."""

    def vectors(said: list[bytes]) -> Any:
        made = [np.random.default_rng(list(one)).normal(size=8) for one in said]
        return np.stack([one / np.linalg.norm(one) for one in made]).astype(np.float16)

    monkeypatch.setattr(opening.ClipEncoder, "texts", lambda self, texts: vectors([one.encode() for one in texts]))
    monkeypatch.setattr(opening.ClipEncoder, "picture", lambda self, path: vectors([path.read_bytes()[-99:]])[0])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture to begin with, and a mask of its right half beside it."""
    Image.new("RGB", (16, 16), (200, 30, 30)).save(tmp_path / "one.png")
    Image.new("RGB", (16, 16), (30, 30, 200)).save(tmp_path / "two.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "one.png"


def test_every_way_of_asking_leaves_pictures_with_their_facts(
    decoder_run: Run, prior_run: Run, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text('a red ring\n{"prompt": "a star", "seed": 40}\n')
    two, mask = picture.with_name("two.png"), picture.with_name("mask.png")
    ways: dict[str, tuple[tuple[str | Path, ...], int]] = {
        "prompt": (("--prompt", "a ring", "--prompt", "a star", "-n", "2"), 4),
        "prompts": (("--prompts", tmp_path / "prompts.txt"), 2),
        "variations": (("--image", picture, "-n", "3"), 3),
        "between": (("--image", picture, "--between", two, "-n", "4"), 4),
        "difference": (("--image", picture, "--towards", "winter", "--away", "summer", "-n", "3"), 3),
        "img2img": (("--image", two, "--start", picture, "--strength", "0.5"), 1),
        "inpainting": (("--image", two, "--start", picture, "--mask", mask), 1),
    }
    for name, (asked, count) in ways.items():
        out = tmp_path / name
        said = tamis("sample", decoder_run.folder, "--prior", prior_run.folder, *asked, "--steps", "2", "--out", out)
        assert said == f"wrote {count} picture{'s' * (count > 1)}, sheet.png and samples.jsonl to {out}\n"
        lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
        assert [facts_of(out / line["file"])["seed"] for line in lines] == [line["seed"] for line in lines]
        assert (len(lines), (out / "sheet.png").is_file()) == (count, True)
    seeds = [json.loads(line)["seed"] for line in (tmp_path / "prompts" / "samples.jsonl").read_text().splitlines()]
    assert seeds == [0, 40]


def test_an_exported_folder_draws_as_the_run_does(decoder_run: Run, prior_run: Run, tmp_path: Path) -> None:
    asked = ("--prompt", "a ring", "--steps", "3", "--seed", "5")
    tamis("sample", decoder_run.folder, "--prior", prior_run.folder, *asked, "--out", tmp_path / "run")
    tamis("export", decoder_run.folder, "--prior", prior_run.folder, "--out", tmp_path / "model")
    tamis("sample", tmp_path / "model", *asked, "--out", tmp_path / "exported")
    one, two = (np.asarray(Image.open(tmp_path / name / "00000-5.png")) for name in ("run", "exported"))
    assert np.array_equal(one, two)
    assert "export --with-clip" in (tmp_path / "model" / "README.md").read_text()


def test_what_does_not_fit_together_is_said(decoder_run: Run, prior_run: Run, picture: Path, tmp_path: Path) -> None:
    run, prompt, out = decoder_run.folder, ("--prompt", "a ring"), ("--out", tmp_path / "out")
    for asked, says in (
        ((run, *prompt), "a prompt needs a prior's run beside it"),
        ((run, "--prior", run, *prompt), "trains a decoder; --prior names the run of a prior"),
        ((prior_run.folder, *prompt), "trains a prior; name a decoder's run"),
        ((run, *prompt, "--image", picture), "not --prompt and --image"),
        ((run,), "give one of --prompt, --prompts, --image"),
        ((run, "--image", picture, "--solver", "ddim"), "there are euler, heun, dpm"),
        ((run, "--image", picture, "--mask", picture), "--mask needs --start"),
        ((run, "--image", picture, "--format", "jpg"), "no format 'jpg'; there are png, webp"),
        ((tmp_path / "none", *prompt), "no run here"),
    ):
        with pytest.raises(InputError, match=says):
            tamis("sample", *asked, *out)
    assert not (tmp_path / "out").exists()
