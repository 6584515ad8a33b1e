"""Every model that a configuration can ask for trains, is kept in folders that diffusers reads, and comes back to the bit."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import PixArtTransformer2DModel, PriorTransformer, UNet2DConditionModel
from PIL import Image

from pipeline.errors import ConfigError, InputError, InvariantError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.train import tiny_pipeline, tiny_run
from tests.train.command import tamis
from train import checkpoint, manifest, models
from train.buckets import Bucket
from train.cost import cost
from train.data import Batches
from train.draws import Draws
from train.export import assemble
from train.exported.tokens import EmbeddingTokens
from train.latents import Latents
from train.order import Order
from train.run import Run
from train.settings import settle
from train.start import train
from train.tasks import decoder_task, disturbed, prior_task

SHORT: dict[str, dict[str, Any]] = {"optim": {"steps": 2}, "run": {"checkpoint_steps": 2, "sample_steps": 2}}


@pytest.mark.parametrize(
    "sections",
    [
        {"decoder": {"architecture": "unet", "channels": [8, 12], "head_width": 4}},
        {"decoder": {"condition": "both"}, "objective": {"predict": "v"}},
        {"decoder": {"condition": "text"}, "objective": {"predict": "eps"}, "run": {"precision": "bfloat16"}},
        {"data": {"max_aspect": 2.0}, "run": {"recompute": True}},
    ],
    ids=["unet", "both-v", "text-eps-bf16", "buckets-recompute"],
)
def test_a_decoder_of_any_kind_trains_and_draws(pictures: Store, tmp_path: Path, sections: dict[str, Any]) -> None:
    merged = {name: {**SHORT.get(name, {}), **sections.get(name, {})} for name in {**SHORT, **sections}}
    run = tiny_run.trained(pictures, tmp_path / "run", "decoder", **merged)
    assert (run.folder / "samples" / "000000002.png").exists()
    model = models.load(run.folder / checkpoint.name(2) / "ema")
    assert isinstance(model, models.Decoder)
    wanted = {"both": ["image", "text"], "text": ["text"]}.get(run.config.decoder.condition, ["image"])
    assert list(model.tokens) == wanted


def test_a_decoder_in_latents_trains_and_draws(
    pictures: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pipeline.vae().save_pretrained(tmp_path / "vae")
    with monkeypatch.context() as there:
        there.chdir(tmp_path)  # the run knows the whole path
        run = tiny_run.trained(pictures, tmp_path / "run", "decoder", decoder={"vae": "vae", "patch_px": 2}, **SHORT)
    tamis("export", run.folder, "--out", tmp_path / "whole")
    assert (tmp_path / "whole" / "vae" / "config.json").is_file()
    model = models.load(run.folder / checkpoint.name(2) / "model")
    assert isinstance(model, models.Decoder)
    assert (model.net.config.in_channels, model.net.config.sample_size) == (4, 8)  # type: ignore[union-attr]
    config = json.loads((tmp_path / "vae" / "config.json").read_text())
    (tmp_path / "vae" / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    with pytest.raises(InvariantError, match=r"vae: not the model that .* was begun with"):
        train(run, quiet=True)
    for asked in (("export", run.folder, "--out", tmp_path / "out"), ("train", "quality", run.folder)):
        with pytest.raises(InvariantError, match=r"vae: not the model that .* was begun with"):
            tamis(*asked)
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not an AutoencoderKL"):
        tiny_run.trained(
            pictures, tmp_path / "no", decoder={"vae": str(run.folder / checkpoint.name(2) / "model" / "transformer")}
        )
    with pytest.raises(ConfigError, match="12 is no multiple of 8"):
        tiny_run.begun(pictures, tmp_path / "odd", decoder={"vae": str(tmp_path / "vae")}, data={"resolution_px": 12})


def test_stock_diffusers_classes_read_what_a_checkpoint_holds(decoder_run: Run) -> None:
    folder = decoder_run.folder / checkpoint.name(8) / "ema"
    net = PixArtTransformer2DModel.from_pretrained(folder / "transformer")
    tokens = EmbeddingTokens.from_pretrained(folder / "image_tokens")
    model = models.load(folder)
    vectors = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    noisy, time, said = torch.randn(3, 3, 16, 16), torch.tensor([1.0, 500.0, 999.0]), torch.tensor([True, False, True])
    with torch.no_grad():
        ours = model(noisy, time, {"image": vectors}, said)
        theirs = net(noisy, encoder_hidden_states=tokens(vectors, said), timestep=time).sample
    assert torch.equal(ours, theirs)


def test_a_prior_is_kept_whole(tmp_path: Path) -> None:
    prior = models.prior(tiny_run.config("prior").prior, 8).eval()
    image, text = torch.randn(50, 8) * 0.2 + 0.3, torch.randn(50, 8)
    models.standardise(prior, image, text)
    assert torch.allclose(prior.standard(image).mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(prior.standard(image).std(0), torch.ones(8), atol=1e-5)
    models.save(prior, tmp_path)
    again = models.load(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in prior.state_dict().items())
    assert torch.equal(PriorTransformer.from_pretrained(tmp_path / "prior").clip_mean, prior.net.clip_mean)
    with pytest.raises(InputError, match="no model here"):
        models.load(tmp_path / "prior")


def test_a_prior_learns_without_its_text_as_often_as_asked_but_never_when_it_is_measured(pictures: Store) -> None:
    config = tiny_run.config("prior", objective={"drop_frac": 0.4}, optim={"batch": 64})
    task = prior_task(config, 8, torch.device("cpu"))
    heard: list[torch.Tensor] = []

    def module(noisy: torch.Tensor, time: torch.Tensor, text: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        heard.append(said)
        found: torch.Tensor = task.module(noisy, time, text, said)
        return found

    rows = manifest.make(pictures, require_latest(pictures), (Bucket(16, 16),))
    batch = Batches(pictures, rows, Order(rows.shards, 0, 64), pictures=False)[0]
    for step in range(10):
        draws = Draws(0, (batch.slot + 64 * step).tolist())
        task.losses(module, batch, draws)  # type: ignore[arg-type]
        task.losses(module, batch, draws, plain=True)  # type: ignore[arg-type]
    dropped = 1 - torch.cat(heard[::2]).float().mean().item()
    assert dropped == pytest.approx(0.4, abs=0.08)  # four deviations of 640 draws
    assert all(one.all() for one in heard[1::2])


def test_without_a_condition_a_model_hears_nothing_of_the_embedding() -> None:
    for name in ("transformer", "unet"):
        config = tiny_run.config(decoder={"architecture": name, "channels": [8, 16], "head_width": 4}).decoder
        model = models.decoder(config, 8, 3, 16).eval()
        for one in model.parameters():
            torch.nn.init.normal_(one, std=0.05)
        noisy, time = torch.randn(2, 3, 16, 16), torch.full((2,), 300.0)
        with torch.no_grad():
            mute, heard = (
                [model(noisy, time, {"image": torch.randn(2, 8)}, torch.tensor([on, on])) for _ in range(2)]
                for on in (False, True)
            )
        assert torch.equal(*mute), name
        assert not torch.equal(*heard), name


def test_embeddings_are_moved_by_about_the_length_asked_for_and_stay_unit() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(200, 64), dim=-1)
    vectors[0] = 0
    moved = disturbed(vectors, 0.3, Draws(0, range(200)), "image")
    assert torch.allclose(moved[1:].norm(dim=-1), torch.ones(199), atol=1e-5)
    assert not moved[0].any()
    assert 0.25 < float((moved - vectors)[1:].norm(dim=-1).mean()) < 0.32
    assert torch.equal(disturbed(vectors, 0, Draws(0, range(200)), "image"), vectors)


def test_tokens_undo_their_own_scale() -> None:
    tokens = EmbeddingTokens(8, 2, 4)
    tokens.mean.copy_(torch.randn(8))
    tokens.deviation.copy_(torch.rand(8) + 0.5)
    vectors = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    assert torch.allclose(tokens.unit(tokens.standard(vectors)), vectors, atol=1e-5)


def test_what_a_preset_costs_is_counted_and_grows_with_it() -> None:
    tiny, small = (cost("decoder", settle("decoder", name)) for name in ("tiny", "small"))
    assert 2e6 < tiny.parameters < 4e6 < small.parameters
    assert tiny.flops_per_image < small.flops_per_image / 20
    assert tiny.images == 15_000 * 16
    unet = settle("decoder", "tiny", None, {"decoder": {"architecture": "unet"}})
    assert cost("decoder", unet).parameters != tiny.parameters
    assert UNet2DConditionModel.__name__ == type(models.decoder(unet.decoder, 8, 3, 32).net).__name__


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(decoder_run: Run, pictures: Store, tmp_path: Path) -> None:
    compiled = tiny_run.trained(pictures, tmp_path / "run", run={"compile": True})
    one, two = (checkpoint.read(run.folder / checkpoint.name(8)).validation_loss for run in (compiled, decoder_run))
    assert one == pytest.approx(two, rel=1e-3)


def test_a_decoder_of_both_learns_without_texts_too_and_draws_where_there_is_none() -> None:
    torch.manual_seed(0)
    config = tiny_run.config(decoder={"condition": "both"})
    task = decoder_task(config, 8, torch.device("cpu"))
    vectors = torch.nn.functional.normalize(torch.randn(400, 8), dim=-1)
    heard: list[tuple[torch.Tensor, torch.Tensor]] = []

    def listening(noisy: torch.Tensor, time: torch.Tensor, said: dict[str, torch.Tensor], any_: torch.Tensor) -> Any:
        heard.append((said["text"].any(dim=-1), any_))
        return torch.zeros_like(noisy)

    batch = SimpleNamespace(pixels=torch.zeros(400, 3, 16, 16, dtype=torch.uint8), image_emb=vectors, text_emb=vectors)
    task.losses(listening, batch, Draws(0, range(400)))  # type: ignore[arg-type]
    with_text, with_any = heard[0]
    assert 0.06 < (~with_any).float().mean() < 0.14
    assert 0.06 < (with_any & ~with_text).float().mean() < 0.14
    pipeline = assemble(task.module.eval(), None, {"objective": "flow", "clip": {"model": "-", "weights_sha256": "-"}})
    told, untold = pipeline._tokens(vectors[:2], None)
    assert torch.equal(told[:, 2:], untold[:, 2:]), "no text is said"
    assert not torch.equal(told[:, :2], untold[:, :2])
    assert len(pipeline(image_embeds=vectors[:2], num_inference_steps=2).images) == 2
    with pytest.raises(ValueError, match="this model listens to image_embeds as well"):
        pipeline._tokens(None, vectors[:2])


def test_the_heads_of_a_u_net_are_as_wide_as_asked() -> None:
    config = tiny_run.config(decoder={"architecture": "unet", "channels": [8, 16, 32], "head_width": 8}).decoder
    net = models.decoder(config, 8, 3, 16).net
    heads = {(one.inner_dim, one.heads) for name, one in net.named_modules() if name.endswith("attn1")}
    assert heads == {(16, 2), (32, 4)}


def test_latents_are_moved_for_drawing_as_they_were_for_training(tmp_path: Path) -> None:
    vae = tiny_pipeline.vae()
    vae.register_to_config(shift_factor=0.3, scaling_factor=0.5)
    decoder: Any = models.decoder(tiny_run.config(decoder={"patch_px": 2}).decoder, 8, 4, 8).eval()
    vae.save_pretrained(tmp_path / "vae")
    facts = {"objective": "flow", "clip": {"model": "-", "weights_sha256": "-"}}
    latents = Latents.open(tmp_path / "vae", torch.device("cpu"))
    pipeline = assemble(decoder, None, facts, latents.vae)
    made = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        drawn = torch.from_numpy(pipeline._pictures(made, None, None, "np")).permute(0, 3, 1, 2) * 2 - 1
        decoded = latents.vae.decode(made / 0.5 + 0.3).sample.clamp(-1, 1)
        picture = Image.new("RGB", (16, 16), (200, 30, 30))
        start = pipeline._start(picture, None, (4, 8, 8), 1).picture
    assert torch.allclose(drawn, decoded, atol=1e-5)
    pixels = pipeline.image_processor.preprocess(picture, height=16, width=16)
    assert torch.allclose(start, latents.encode(pixels, torch.zeros(1, 4, 8, 8)), atol=1e-5)
