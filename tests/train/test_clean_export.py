"""A run that was exported draws what `tamis sample` draws, in an environment of diffusers, torch and safetensors alone."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.store import Store
from tests.train import clean_env, tiny_run
from tests.train.command import tamis
from train import asking, making
from train.opening import open_model
from train.run import Run

_THERE = """
import importlib.util, json, pathlib, sys
missing = [name for name in ("tamis", "train", "pipeline", "filters", "index", "open_clip", "transformers", "accelerate",
           "faiss", "pyarrow", "cv2", "typer") if importlib.util.find_spec(name) is None]
import torch
from diffusers import DiffusionPipeline
loaded = DiffusionPipeline.from_pretrained("model", trust_remote_code=True)
text = torch.load("text.pt")
made = loaded(text_embeds=text, seeds=[7, 8], num_inference_steps=4, guidance_scale=3.0).images
for at, picture in enumerate(made):
    picture.save(f"{at}.png")
stock = json.loads(pathlib.Path("model/model_index.json").read_text())["transformer"]
print(json.dumps({"missing": missing, "transformer": stock}))
"""


@pytest.fixture
def prior_run(pictures: Store, tmp_path: Path) -> Run:
    return tiny_run.trained(pictures, tmp_path / "prior", "prior")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_exported_run_draws_the_same_picture_in_an_environment_without_tamis(
    decoder_run: Run, prior_run: Run, tmp_path: Path
) -> None:
    tamis("export", decoder_run.folder, "--prior", prior_run.folder, "--out", tmp_path / "model")
    text = torch.nn.functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.save(text, tmp_path / "text.pt")
    python = clean_env.make(tmp_path / "clean", ["diffusers", "torch", "safetensors"])
    (tmp_path / "there.py").write_text(_THERE)
    done = subprocess.run(
        [str(python), "-I", "there.py"], cwd=tmp_path, capture_output=True, text=True,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"tamis", "train", "pipeline", "open_clip", "transformers"} <= set(told["missing"])
    assert told["transformer"] == ["diffusers", "PixArtTransformer2DModel"]
    model = open_model(decoder_run.folder, prior_run.folder, "cpu")
    asks = [asking.Ask(seed, {}, text=vector) for seed, vector in zip((7, 8), text, strict=True)]
    ours = making.Maker(model.pipeline, model.facts, making.Settings(steps=4, guidance=3.0)).make(asks)
    for at, one in enumerate(ours):
        with Image.open(tmp_path / f"{at}.png") as theirs:
            assert np.array_equal(np.asarray(theirs), np.asarray(one.picture))
