"""Which weights made the embeddings is recorded whatever names them, and a data set never mixes two."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import config, tamis, write_crawl

REPOSITORY = "somebody/little-clip"
MAKE = """
import json, sys, pathlib, torch, open_clip
from safetensors.torch import save_file
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
towers = {"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32},
          "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}
settings = {"model_cfg": {"embed_dim": 32, **towers}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
(folder / "open_clip_config.json").write_text(json.dumps(settings))
torch.manual_seed(seed)
save_file(open_clip.CLIP(embed_dim=32, **towers).state_dict(), folder / "open_clip_model.safetensors")
"""
WHERE = """
import sys
from pipeline.clip_model import weights_file
from pipeline.clip_spec import ModelSpec
print(weights_file(ModelSpec(sys.argv[1], sys.argv[2])))
"""


def python(program: str, *arguments: object, cache: Path) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def in_cache(cache: Path, repository: str, revision: str = "a" * 40) -> Path:
    """Return the folder of a repository's files, laid out as huggingface_hub does after a download."""
    root = cache / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / revision
    folder.mkdir(parents=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(revision)
    return folder


def published(dataset: Path, number: int) -> dict[str, object]:
    found: dict[str, object] = json.loads((dataset / f"snapshots/{number:06d}.json").read_text())["clip"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weights_of_a_hub_are_recorded_and_others_under_the_same_name_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = in_cache(cache, REPOSITORY)
    python(MAKE, folder, 1, cache=cache)
    digest = hashlib.sha256((folder / "open_clip_model.safetensors").read_bytes()).hexdigest()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    clip = {"model": f"hf-hub:{REPOSITORY}", "threshold": -1.0}
    crawl = write_crawl(tmp_path / "crawl", pictures=12, sites=2, files=1)
    file = config(tmp_path / "crawl.toml", str(tmp_path / "set"), crawl, clip=clip)
    tamis("ingest", file, "--quiet", env=environment)
    assert published(tmp_path / "set", 1)["weights_sha256"] == digest
    records = [json.loads(path.read_text()) for path in (tmp_path / "set/embed").glob("*.json")]
    assert {record["facts"]["weights_sha256"] for record in records} == {digest}
    assert json.loads(tamis("verify", tmp_path / "set", "--json", env=environment).stdout)["problems"] == []

    (cache / f"models--{REPOSITORY.replace('/', '--')}/refs/main").write_text("gone")
    tamis("ingest", file, "--quiet", env=environment)  # nothing is new: no model is looked for

    python(MAKE, in_cache(cache, REPOSITORY, "b" * 40), 2, cache=cache)
    more = [*crawl, *write_crawl(tmp_path / "more", pictures=4, sites=2, files=1, first=100)]
    config(file, str(tmp_path / "set"), more, clip=clip)
    refused = tamis("ingest", file, "--quiet", env=environment, check=False)
    assert refused.returncode == 2
    assert digest in refused.stderr
    assert "embeddings were made with" in refused.stderr
    asked = tamis("search", tmp_path / "set", "--text", "a red circle", "--json", env=environment, check=False)
    assert asked.returncode == 1
    assert "not those the data set was made with" in asked.stderr


def test_weights_of_a_published_tag_are_found_where_the_library_keeps_them(tmp_path: Path) -> None:
    folder = in_cache(tmp_path, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    found = python(WHERE, "ViT-B/32", "laion2b_s34b_b79k", cache=tmp_path)
    assert Path(found) == folder / "open_clip_model.safetensors"


def test_a_model_without_weights_is_refused_rather_than_drawn_at_random(tmp_path: Path) -> None:
    program = WHERE.replace("weights_file(ModelSpec(sys.argv[1], sys.argv[2]))", "weights_file(ModelSpec(sys.argv[1]))")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        python(program, "ViT-B-32", "", cache=tmp_path)
    assert "it names no weights" in failure.value.stderr
