"""Made pictures say so, in words that others' tools read."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from tests import signed_pictures
from train.provenance import SOURCE_TYPE, encode, facts_of, sign

FACTS = {"prompt": 'a <red> "fruit" & 日本', "seed": 7, "model": "tiny", "snapshot": 3, "steps": 12}


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))


@pytest.mark.parametrize("form", ["png", "webp"])
def test_the_facts_come_back_and_the_pixels_are_untouched(picture: Image.Image, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"made.{form}"
    path.write_bytes(encode(picture, form, FACTS))
    assert facts_of(path) == FACTS
    assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), np.asarray(picture))
    assert encode(picture, form, FACTS) == path.read_bytes()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="ExifTool is not installed")
@pytest.mark.parametrize("form", ["png", "webp"])
def test_exiftool_reads_the_digital_source_type_and_the_prompt(picture: Image.Image, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"made.{form}"
    path.write_bytes(encode(picture, form, FACTS))
    told = json.loads(subprocess.run(["exiftool", "-json", "-n", path], capture_output=True, check=True).stdout)[0]
    assert told["DigitalSourceType"] == SOURCE_TYPE
    assert told["Title"] == FACTS["prompt"]


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_signed_picture_says_in_c2pa_that_a_model_made_it(picture: Image.Image, form: str, tmp_path: Path) -> None:
    chain, key = signed_pictures.chain()
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    data = sign(encode(picture, form, FACTS), form, FACTS, tmp_path / "chain.pem", tmp_path / "key.pem")
    with c2pa.Reader(f"image/{form}", io.BytesIO(data)) as reader:
        told = json.loads(reader.json())
    assertions = {one["label"]: one["data"] for one in told["manifests"][told["active_manifest"]]["assertions"]}
    assert assertions["c2pa.actions.v2"]["actions"][0]["digitalSourceType"] == SOURCE_TYPE
    assert assertions["org.tamis.sample"] == FACTS
    failures = {one["code"] for one in told.get("validation_status", [])}
    assert failures <= {"signingCredential.untrusted"}


def test_a_certificate_that_is_none_and_a_format_that_is_none_are_refused(picture: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"bad\.pem"):
        sign(encode(picture, "png", FACTS), "png", FACTS, tmp_path / "bad.pem", tmp_path / "bad.pem")
    with pytest.raises(InputError, match="there are png, webp"):
        encode(picture, "jpg", FACTS)
    plain = tmp_path / "plain.png"
    picture.save(plain)
    with pytest.raises(InputError, match="no facts"):
        facts_of(plain)
