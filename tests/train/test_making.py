"""Pictures made with a tiny model: the same for every batch, with their facts, exported and loaded where tamis is not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import InputError
from tests import pictures
from train import asking, making, models
from train.card import card
from train.copy_check import against
from train.export import assemble, export
from train.exported.pipeline import TamisPipeline
from train.exported.sampling import noise
from train.handed_out import noted
from train.provenance import facts_of
from train.quality import Sample, measure
from train.settings import DecoderConfig, PriorConfig

DIMENSIONS = 16
FACTS: dict[str, Any] = {
    "objective": "flow", "clip": {"model": "tamis-mini", "weights_sha256": "00"}, "run": "r1", "step": 10, "rows": 5,
    "snapshot": 3, "snapshot_digest": "ab", "images_seen": 640, "skipped": 2, "resolution_px": 16,
    "prior": {"run": "p1", "step": 4, "images_seen": 9},
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline() -> TamisPipeline:
    torch.manual_seed(0)
    decoder = models.decoder(DecoderConfig(heads=2, head_width=8, layers=2, tokens=3), DIMENSIONS, 3, 16)
    assert isinstance(decoder.net.proj_out, torch.nn.Linear)
    torch.nn.init.normal_(decoder.net.proj_out.weight, std=0.05)
    prior = models.prior(PriorConfig(heads=2, head_width=8, layers=2), DIMENSIONS)
    return assemble(decoder.eval(), prior.eval(), FACTS)


class Words:
    """An encoder whose vectors are those of the words' hashes."""

    def texts(self, texts: Any) -> Any:
        made = [np.random.default_rng(sum(text.encode())).normal(size=DIMENSIONS) for text in texts]
        return np.stack([one / np.linalg.norm(one) for one in made]).astype(np.float16)

    def picture(self, path: Path) -> Any:
        return self.texts([path.name])[0]


def maker(pipeline: TamisPipeline, **settings: Any) -> making.Maker:
    return making.Maker(pipeline, {"model": {"run": "r1"}}, making.Settings(steps=3, **settings))


def pixels(made: list[making.Made]) -> Any:
    return [np.asarray(one.picture) for one in made]


def test_a_prompt_gives_the_same_picture_alone_in_any_batch_and_every_time(pipeline: TamisPipeline) -> None:
    lines = [{"prompt": word} for word in ("red", "green", "blue", "a cat", "a dog")]
    asks = list(asking.prompts(Words(), lines, seed=3, count=2))
    assert [ask.seed for ask in asks] == list(range(3, 13))
    together = pixels(list(maker(pipeline, batch=10).make(asks)))
    apart = pixels(list(maker(pipeline, batch=3).make(asks)))
    alone = pixels(list(maker(pipeline).make([asks[7]])))
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(together, apart, strict=True)) <= 1
    assert int(np.abs(alone[0].astype(int) - together[7]).max()) <= 1
    assert np.abs(together[0].astype(int) - together[1]).max() > 5


def test_a_prior_draws_with_the_guidance_that_is_asked_for(pipeline: TamisPipeline) -> None:
    text = torch.from_numpy(Words().texts(["a ring", "a star"]).astype(np.float32))
    start = noise([1, 3], (1, 1, DIMENSIONS)).reshape(2, DIMENSIONS)
    said = pipeline.prior_tokens(text)
    none = pipeline.prior_tokens(text, torch.zeros(2, dtype=torch.bool))
    told, untold = (
        pipeline.prior(
            start, timestep=torch.full((2,), 999.0), proj_embedding=one[:, 0], encoder_hidden_states=one[:, 1:]
        ).predicted_image_embedding
        for one in (said, none)
    )
    for guidance in (0.0, 1.0, 4.0):
        clean = untold + guidance * (told - untold)
        expected = torch.nn.functional.normalize(clean * pipeline.prior.clip_std + pipeline.prior.clip_mean, dim=-1)
        made = pipeline.imagine(text, [0, 1], 1, guidance)
        assert torch.allclose(made, expected, atol=1e-4), guidance
    assert not torch.allclose(told, untold, atol=1e-2)
    with pytest.raises(ValueError, match="guidance is nan"):
        pipeline.imagine(text, [0, 1], 5, float("nan"))


def test_variations_ways_and_differences_begin_at_the_picture(pipeline: TamisPipeline, tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    varied = asking.variations(Words(), one, 0, 3)
    assert [ask.seed for ask in varied] == [0, 1, 2]
    way = asking.between(Words(), one, two, 5, 5)
    ends = [torch.from_numpy(Words().picture(path).astype(np.float32)) for path in (one, two)]
    assert all(
        torch.allclose(a, b, atol=1e-3) for a, b in ((way[0].image, ends[0]), (way[-1].image, ends[1])) if a is not None
    )
    assert [ask.told["share"] for ask in way] == [0, 0.25, 0.5, 0.75, 1]
    turned = asking.differences(Words(), one, "winter", "summer", 5, 3, 0.4)
    assert turned[0].image is not None
    assert torch.allclose(turned[0].image, ends[0], atol=1e-3)
    assert len(pixels(list(maker(pipeline).make([*varied, *way, *turned])))) == 11


def test_inpainting_keeps_what_the_mask_leaves_and_draws_the_rest(pipeline: TamisPipeline, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 30, 30)).save(tmp_path / "start.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    making_ = maker(pipeline, start=tmp_path / "start.png", mask=tmp_path / "mask.png", strength=1.0)
    (made,) = making_.make(asking.prompts(Words(), [{"prompt": "sea"}], 1, 1))
    drawn = np.asarray(made.picture).astype(int)
    assert np.abs(drawn[:, :8] - [200, 30, 30]).max() <= 1
    assert np.abs(drawn[:, 8:] - [200, 30, 30]).mean() > 20
    assert (made.facts["start"], made.facts["mask"]) == ("start.png", "mask.png")


def test_files_hold_their_facts_and_a_copy_of_a_training_row_is_named(pipeline: TamisPipeline, tmp_path: Path) -> None:
    asks = list(asking.prompts(Words(), [{"prompt": "a <red> fruit", "seed": 9}], 0, 1))
    plain = maker(pipeline)
    (made,) = plain.make(asks)
    path = making.write(made, tmp_path, 0, "png")
    told = facts_of(path)
    assert path.name == "00000-9.png"
    assert (told["prompt"], told["seed"], told["solver"], told["model"]) == ("a <red> fruit", 9, "unipc", {"run": "r1"})
    stored = path.read_bytes()
    other = pictures.jpeg(64, 64)
    rows = [("aa" * 16, 0.99, other), ("bb" * 16, 0.95, stored)]
    plain.check = against(lambda rgb: np.ones(DIMENSIONS, np.float32), lambda vector, k: rows)
    (checked,) = plain.make(asks)
    assert checked.found is not None
    assert checked.found.near is not None
    assert (checked.found.near.uid, checked.found.near.copy, checked.found.removed) == ("bb" * 16, True, False)
    flagged = making.write(checked, tmp_path, 0, "png")
    assert flagged.name == "00000-9.copy.png"
    assert facts_of(flagged)["copy_of"] == "bb" * 16
    plain.check = against(lambda rgb: np.ones(DIMENSIONS, np.float32), lambda vector, k: [], lambda rgb: True)
    (removed,) = plain.make(asks)
    assert removed.found is not None
    assert (removed.found.near, removed.copy) == (None, True)
    assert json.loads(making.line(removed, path))["looks_removed"] is True
    assert facts_of(making.write(removed, tmp_path, 1, "png"))["copy_of_removed"] is True
    sheet = making.sheet([made, checked])
    assert sheet.width > sheet.height


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no prompt"),
        ('{"prompt": 3}', "line 1"),
        ('a\n{"prompt": "x", "seed": "y"}', "line 2"),
        ("{nonsense", "line 1"),
        ('{"prompt": ' + "[" * 100_000, "line 1"),
        ('{"prompt": "x", "seed": true}', "line 1"),
        ('{"prompt": "x", "seed": -1}', "line 1"),
        ('{"prompt": "x", "seed": 9223372036854775808}', "0 to 2"),
    ],
)
def test_files_of_prompts_that_cannot_be_read_say_where(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        asking.read_prompts(file)


def test_prompts_are_lines_or_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '\ufeffa red fruit\n\n{"prompt": "日本", "seed": 4}\n{"prompt": "two\u2028lines"}\n', encoding="utf-8"
    )
    assert asking.read_prompts(file) == [
        {"prompt": "a red fruit"},
        {"prompt": "日本", "seed": 4},
        {"prompt": "two\u2028lines"},
    ]


_ELSEWHERE = """
import sys
for name in ("train", "pipeline", "filters", "index", "tamis", "open_clip"):
    sys.modules[name] = None
import numpy, torch
from diffusers import DiffusionPipeline
vectors = torch.load("vectors.pt")
loaded = DiffusionPipeline.from_pretrained("out", trust_remote_code=True)
made = loaded(text_embeds=vectors, seeds=[3, 4], num_inference_steps=3, output_type="np").images
numpy.save("made.npy", made)
try:
    loaded("a prompt")
except ValueError as error:
    print(error)
"""


@pytest.mark.timeout(200)
def test_an_exported_folder_draws_the_same_where_only_diffusers_is(pipeline: TamisPipeline, tmp_path: Path) -> None:
    vectors = torch.from_numpy(Words().texts(["one", "two"]).astype(np.float32))
    ours = pipeline(text_embeds=vectors, seeds=[3, 4], num_inference_steps=3, output_type="np").images
    with noted([], tmp_path / "out") as draft:
        export(pipeline, FACTS, tmp_path / "out", draft, card=card(FACTS, "out"))
    torch.save(vectors, tmp_path / "vectors.pt")
    (tmp_path / "elsewhere.py").write_text(_ELSEWHERE)
    done = subprocess.run(
        [sys.executable, "-I", "elsewhere.py"], cwd=tmp_path, capture_output=True, text=True,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "made.npy"), ours)
    assert "open_clip" in done.stdout
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["transformer"] == ["diffusers", "PixArtTransformer2DModel"]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        export(pipeline, FACTS, tmp_path / "other", tmp_path / "draft", card="", clip=tmp_path / "none")
    assert sorted(tmp_path.iterdir()) == before


def test_the_card_says_what_is_known_and_that_the_rest_was_not_measured(tmp_path: Path) -> None:
    told = card(FACTS, "emoji", tmp_path)
    assert "640 in 10 steps; 2 hidden ones were passed over" in told
    assert "snapshot 000003" in told
    assert "not measured" in told
    unit = np.eye(20, dtype=np.float32)
    quality = measure(Sample(unit, unit, unit), unit, unit).told()
    kept = {"held": quality, "among": 20, "prior": {"run": "p1", "step": 4}, "run": "r1", "step": 10}
    kept["sampler"] = {"solver": "unipc", "steps": 12, "guidance": 3.0}
    (tmp_path / "quality.json").write_text(json.dumps(kept))
    told = card(FACTS, "emoji", tmp_path)
    assert "| prompts retrieved among 20 | 100.0% (95 % interval 83.9% to 100.0%, 20 held-out captions; real" in told
    assert "| KID | 0.0000 (real against real 0.0000) |" in told
    assert "| measured at | step 10, drawn from prompts; unipc, 12 steps, guidance 3 |" in told


def test_a_picture_in_halves_is_nearly_that_in_single_precision_and_says_which_it_is(pipeline: TamisPipeline) -> None:
    asks = list(asking.prompts(Words(), [{"prompt": "sea"}], 1, 4))
    single, halves = (list(maker(pipeline, precision=name).make(asks)) for name in ("float32", "bfloat16"))
    assert [one.facts["precision"] for one in single + halves] == ["float32"] * 4 + ["bfloat16"] * 4
    off = np.abs(np.stack(pixels(single)).astype(int) - np.stack(pixels(halves)))
    assert 0 < off.mean() < 2


@pytest.mark.parametrize("prompt", ["a\x00b", "half \ud800", "bell \x07", "no character \ufffe", "\uffff"])
def test_a_prompt_that_metadata_cannot_hold_is_refused_before_anything_is_drawn(prompt: str) -> None:
    with pytest.raises(InputError, match=r"U\+[0-9A-F]{4} is no character that a picture's metadata can hold"):
        list(asking.prompts(Words(), [{"prompt": "sea"}, {"prompt": prompt}], 0, 1))


def test_seeds_end_where_they_are_said_to(tmp_path: Path) -> None:
    last = 2**63 - 1
    (one,) = asking.prompts(Words(), [{"prompt": "sea", "seed": last}], 0, 1)
    assert one.seed == last
    with pytest.raises(InputError, match=r"2 pictures from seed 9223372036854775807 on pass 2⁶³ - 1"):
        list(asking.prompts(Words(), [{"prompt": "sea", "seed": last}], 0, 2))
