"""`tamis sample` and `tamis export` from the command line, on the tests' tiny runs."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.clip_spec import ModelSpec
from pipeline.errors import FormatError, InputError, TamisError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.train import tiny_clip, tiny_run
from tests.train.command import tamis
from train import making, opening
from train.export import clip_folder, public
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
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:45])
    for asked, says in (
        ((run, *prompt), "a prompt needs a prior's run beside it"),
        ((run, "--prior", run, *prompt), "trains a decoder; --prior names the run of a prior"),
        ((prior_run.folder, *prompt), "trains a prior; name a decoder's run"),
        ((run, *prompt, "--image", picture), "not --prompt and --image"),
        ((run,), "give one of --prompt, --prompts, --image"),
        ((run, "--image", picture, "--solver", "ddim"), "there are euler, heun, dpm"),
        ((run, "--image", picture, "--mask", picture), "--mask needs --start"),
        ((tmp_path / "none", *prompt), "no run here"),
        ((run, "--image", picture, "--guidance", "nan"), "--guidance is nan; give a number from -1000 to 1000"),
        ((run, "--image", picture, "--guidance", "-inf"), "--guidance is -inf"),
        ((run, "--image", picture, "--start", picture, "--strength", "nan"), "--strength is nan"),
        ((run, "--image", picture, "--towards", "a", "--away", "b", "--strength", "1.5"), "above 0, at most 1"),
        ((run, "--prior", prior_run.folder, "--prompt", "a" * 10_001), "10,001 characters"),
        ((run, "--image", picture, "--start", broken), "broken.png: not a picture that can be read"),
        ((run, "--image", picture, "--start", picture, "--mask", broken), "broken.png: not a picture"),
        ((run, "--image", picture, "--device", "banana"), "device 'banana': there is no such device"),
        ((run, "--image", picture, "--device", "meta"), "device 'meta': give auto, cpu, cuda"),
        ((run, "--image", picture, "--step", "5"), "no checkpoint here"),
    ):
        with pytest.raises(TamisError, match=says):
            tamis("sample", *asked, *out)
    for option, value in (("--format", "jpg"), ("--steps", "1001"), ("-n", "1000000000")):
        said = tamis("sample", run, *prompt, *out, option, value, code=2, stream="stderr")
        assert f"Invalid value for '{option}'" in said
    assert not (tmp_path / "out").exists()


def test_what_cannot_sign_is_told_before_anything_is_drawn(decoder_run: Run, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    signing = ("--certificate", tmp_path / "bad.pem", "--key", tmp_path / "bad.pem")
    with pytest.raises(InputError, match="cannot sign with these"):
        tamis("sample", decoder_run.folder, "--image", picture, *signing, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()  # the same command with the right files is refused by nobody


def test_a_damaged_record_of_quality_stops_an_export_with_what_to_do(decoder_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(decoder_run.folder, run)
    (run / "quality.json").write_text('{"run": 1}')
    with pytest.raises(FormatError, match="not a record of `tamis train quality`"):
        tamis("export", run, "--out", tmp_path / "model")
    (run / "quality.json").write_text("{")
    tamis("export", run, "--out", tmp_path / "model")
    assert "| quality | not measured" in (tmp_path / "model" / "README.md").read_text()


def test_pictures_are_never_written_over_others(decoder_run: Run, picture: Path, tmp_path: Path) -> None:
    asked = ("sample", decoder_run.folder, "--image", picture, "--steps", "1", "--out", tmp_path / "out")
    tamis(*asked)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="is not empty, and pictures are not written over others"):
        tamis(*asked, "--seed", "0", "--guidance", "1")
    with pytest.raises(InputError, match="is a file"):
        tamis(*asked[:-1], picture)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_what_is_drawn_when_the_rest_fails_is_kept_with_its_lines(
    decoder_run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, number = making.write, iter(range(9))

    def full(*args: Any) -> Path:
        if next(number) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args)

    monkeypatch.setattr(making, "write", full)
    with pytest.raises(OSError, match="No space left"):
        tamis("sample", decoder_run.folder, "--image", picture, "-n", "4", "--steps", "1", "--out", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["00000-0.png", "00001-1.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["00000-0.png", "00001-1.png"]


def test_copies_are_not_looked_for_among_vectors_of_another_encoder(
    decoder_run: Run, own: Store, picture: Path, tmp_path: Path
) -> None:
    name = f"snapshots/{require_latest(own).folder}.json"
    raw = json.loads(own.read(name))
    raw["clip"] = {"model": "ViT-L-14", "weights_sha256": "00" * 32}
    own.write(name, json.dumps(raw).encode())
    with pytest.raises(InputError, match=r"was embedded with ViT-L-14 .*their vectors find nothing in each other"):
        tamis("sample", decoder_run.folder, "--image", picture, "--check-copies", own.root, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_names_no_folder_of_this_machine_and_takes_no_checkpoint(decoder_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tamis("export", decoder_run.folder, "--out", folder)
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if str(decoder_run.folder.parent.parent).encode() in text] == []
    with pytest.raises(InputError, match="--step and --prior are for runs"):
        tamis("sample", folder, "--image", tmp_path / "none.png", "--step", "4", "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (
            "transformer/diffusion_pytorch_model.safetensors",
            lambda data: data[:-9] + b"123456789",
            "damaged since it was",
        ),
        ("sampling.py", lambda data: data + b"\n", "damaged since it was exported"),
        ("model_index.json", lambda data: b"{}", "damaged since it was exported"),
        ("image_tokens/config.json", None, "gone since it was exported"),
        ("tamis.json", lambda data: data.replace(b'"step": 8', b'"step": NaN'), "NaN is no number of JSON"),
        ("tamis.json", lambda data: b'{"files": {}}', "not a folder of `tamis export`"),
        ("tamis.json", lambda data: b"[" * 100_000, "not a folder of `tamis export`"),
    ],
)
def test_an_export_that_is_not_as_it_was_written_draws_nothing(
    decoder_run: Run, picture: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes] | None, says: str
) -> None:
    folder = tmp_path / "model"
    tamis("export", decoder_run.folder, "--out", folder)
    (folder / "README.md").write_text("a card of somebody's own")
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(change((folder / file).read_bytes()))
    with pytest.raises(TamisError, match=says):
        tamis("sample", folder, "--image", picture, "--out", tmp_path / "out")


def _hostile_code(folder: Path, code: bytes) -> None:
    (folder / "sampling.py").write_bytes(code + (folder / "sampling.py").read_bytes())


def _hostile_name(folder: Path, code: bytes) -> None:
    (folder.parent / "evil").mkdir()
    (folder.parent / "evil" / "pipeline.py").write_bytes(code + (folder / "pipeline.py").read_bytes())
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = ["../evil/pipeline", "TamisPipeline"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _hostile_link(folder: Path, code: bytes) -> None:
    away = folder.parent / "away"
    (folder / "image_tokens").rename(away)
    (away / "tokens.py").write_bytes(code + (away / "tokens.py").read_bytes())
    (folder / "image_tokens").symlink_to(away)


def _hostile_class(folder: Path, code: bytes) -> None:
    (folder / "transformer" / "tokens.py").write_bytes(code)
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["tokens", "EmbeddingTokens"]
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("attack", [_hostile_code, _hostile_name, _hostile_link, _hostile_class])
def test_code_of_somebody_else_in_an_export_is_not_run(
    decoder_run: Run, picture: Path, tmp_path: Path, attack: Callable[[Path, bytes], None]
) -> None:
    folder, ran = tmp_path / "model", tmp_path / "ran"
    tamis("export", decoder_run.folder, "--out", folder)
    attack(folder, f"open({str(ran)!r}, 'w')\n".encode())
    told = json.loads((folder / "tamis.json").read_text())
    told["files"] = {}
    (folder / "tamis.json").write_text(json.dumps(told))
    if attack is _hostile_class:
        with pytest.raises(InputError, match="transformer is a EmbeddingTokens, not a PixArtTransformer2DModel or"):
            tamis("sample", folder, "--image", picture, "--out", tmp_path / "out")
    else:
        tamis("sample", folder, "--image", picture, "--out", tmp_path / "out")
        assert (tmp_path / "out" / "samples.jsonl").exists()
    assert not ran.exists()


def test_an_empty_folder_is_filled_from_within(
    decoder_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    tamis("export", decoder_run.folder, "--out", ".")
    assert (tmp_path / "model" / "model_index.json").is_file()


def test_of_two_who_draw_into_one_folder_at_once_one_is_refused(
    decoder_run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sample", decoder_run.folder, "--image", picture, "--steps", "1", "--out", tmp_path / "out")
    make = making.Maker.make

    def slow(self: making.Maker, asks: Any) -> Iterator[making.Made]:
        monkeypatch.setattr(making.Maker, "make", make)
        tamis(*asked, "--seed", "7")  # the other one, all of it while this one was at its first picture
        return make(self, asks)

    monkeypatch.setattr(making.Maker, "make", slow)
    with pytest.raises(InputError, match="is not empty, and pictures are not written over others"):
        tamis(*asked, "-n", "3")
    assert [path.name for path in (tmp_path / "out").glob("0*.png")] == ["00000-7.png"]


def test_names_of_files_that_are_no_text_are_told_as_far_as_they_are(decoder_run: Run, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\xff\xef\xbf\xbe.png")
    Image.new("RGB", (16, 16)).save(odd)
    out = tmp_path / "out"
    tamis("sample", decoder_run.folder, "--image", odd, "--start", odd, "--mask", odd, "--steps", "1", "--out", out)
    told = facts_of(out / "00000-0.png")
    assert [told[name] for name in ("image", "start", "mask")] == ["a\ufffd\ufffd.png"] * 3


def test_facts_of_others_machines_are_told_without_their_folders() -> None:
    local = {"model": "local-dir:/home/a/clip", "pretrained": "/home/a/weights.pt"}
    facts = {"clip": local, "clip_config": local, "config": {"decoder": {"vae": "/home/a/vae", "heads": 2}}}
    named = {"model": "local-dir:clip", "pretrained": "weights.pt"}
    assert public(facts) == {"clip": named, "clip_config": named, "config": {"decoder": {"vae": "vae", "heads": 2}}}
    hub = {"model": "hf-hub:org/name", "pretrained": None}
    assert public({**facts, "clip": hub})["clip"] == hub


def test_a_clip_that_is_not_the_one_learnt_from_is_not_taken_along(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    spec = ModelSpec(f"local-dir:{folder}")
    assert clip_folder(spec, {"weights_sha256": digest}) == folder
    with pytest.raises(InputError, match="is not the one that the model learnt from"):
        clip_folder(spec, {"weights_sha256": "00"})
    with pytest.raises(InputError, match="no local folder"):
        clip_folder(ModelSpec("ViT-B-32", "openai"), {"weights_sha256": "00"})


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("transformer/config.json", {"sample_size": 0}, "diffusers cannot open it"),
        ("transformer/config.json", {"patch_size": 0}, "diffusers cannot open it"),
        ("transformer/config.json", {"activation_fn": "evil"}, "diffusers cannot open it"),
        ("transformer/config.json", {"quantization_config": {"quant_method": "quanto"}}, "diffusers cannot open it"),
        ("model_index.json", {"objective": "evil"}, "it predicts 'evil'"),
        ("transformer/w.bin", None, "a pickle, which no export has"),
    ],
)
def test_an_export_that_makes_diffusers_stumble_is_refused_in_words(
    decoder_run: Run, picture: Path, tmp_path: Path, part: str, change: dict[str, Any] | None, said: str
) -> None:
    folder = tmp_path / "model"
    tamis("export", decoder_run.folder, "--out", folder)
    told = json.loads((folder / part).read_text()) if change is not None else {}
    (folder / part).write_text(json.dumps({**told, **(change or {})}))
    facts = json.loads((folder / "tamis.json").read_text())
    (folder / "tamis.json").write_text(json.dumps({**facts, "files": {}}))
    with pytest.raises(TamisError, match=said):
        tamis("sample", folder, "--image", picture, "--out", tmp_path / "out")


def test_a_clip_of_another_width_is_refused_in_words(decoder_run: Run, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tamis("export", decoder_run.folder, "--out", folder)
    tiny_clip.folder(folder / "clip", weights=True)
    facts = json.loads((folder / "tamis.json").read_text())
    facts["clip"]["weights_sha256"] = None  # nothing else tells the two apart
    (folder / "tamis.json").write_text(json.dumps(facts))
    encoder = opening.ClipEncoder(opening.open_model(folder, None, "cpu"), "cpu")
    with pytest.raises(InputError, match="makes vectors of 32 numbers, the model listens to 8"):
        encoder.pixels(np.asarray(Image.open(picture)))
