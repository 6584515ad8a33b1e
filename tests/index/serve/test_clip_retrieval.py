"""clip-retrieval's clients against `tamis serve`: what ClipClient 2.45 and the front end send, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tombstones
from pipeline.ids import faiss_id
from tests.index.made import make
from tests.serving import COPIES, DIMENSIONS, ROWS, Running, direction, running, uid, vectors, wait


def as_client(found: Running, **given: Any) -> Any:
    """Post what ClipClient posts (all parameters, no Content-Type) and return the JSON."""
    body = {
        "text": None, "image": None, "image_url": None, "embedding_input": None, "deduplicate": True, "use_safety_model": True,
        "use_violence_detector": True, "indice_name": "drawn", "use_mclip": False, "aesthetic_score": 9, "aesthetic_weight": 0.5,
        "modality": "image", "num_images": 40, "num_result_ids": 40, **given,
    }  # fmt: skip
    answer = found.client.post("/knn-service", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer


def test_clip_clients_question_is_answered_in_its_shape(server: Running) -> None:
    answer = as_client(server, embedding_input=direction(3), num_images=5, num_result_ids=5)
    first = answer.json()[0]
    assert (first["id"], first["url"]) == (faiss_id(bytes.fromhex(uid(3))), "https://www.pictures.example/3.jpg")
    assert (round(first["similarity"], 3), first["caption"][:2], first["uid"]) == (1.0, "a ", uid(3))
    ignored = "use_safety_model, use_violence_detector, aesthetic_score"
    assert answer.headers["x-tamis-ignored"] == ignored


def test_only_the_first_images_have_metadata_and_the_rest_can_be_asked_for(server: Running) -> None:
    found = as_client(server, embedding_input=direction(3), num_images=4, num_result_ids=60).json()
    assert (len(found), [set(one) == {"id", "similarity"} for one in found]) == (60, [False] * 4 + [True] * 56)
    ids = [one["id"] for one in found]
    # json-bigint reads a long number as an object whose JSON is a string: so the front end asks
    asked = json.dumps({"ids": [str(one) for one in ids[4:8]], "indice_name": "drawn"})
    told = server.client.post("/metadata", content=asked, headers={"content-type": "text/plain;charset=UTF-8"}).json()
    assert [one["id"] for one in told] == ids[4:8]
    assert all(one["metadata"]["url"].startswith("https://") for one in told)


def test_deduplicate_tops_results_up(server: Running) -> None:
    for deduplicate in (False, True):
        found = as_client(server, embedding_input=direction(COPIES[0]), deduplicate=deduplicate).json()
        copies = {one["uid"] for one in found} & {uid(number) for number in COPIES}
        assert (len(found), len(copies)) == (40, 1 if deduplicate else 3)


def test_ids_are_exact_and_a_rounded_one_shows_nobody_elses_row(server: Running) -> None:
    found = as_client(server, embedding_input=direction(0), num_images=ROWS, num_result_ids=ROWS).json()
    for one in found:
        assert server.client.post("/metadata", json={"ids": [one["id"]]}).json()[0]["metadata"]["uid"] == one["uid"]
        rounded = int(float(one["id"]))  # what JSON.parse makes of it
        told = server.client.post("/metadata", json={"ids": [rounded]}).json()
        assert [two["metadata"]["uid"] for two in told] == ([one["uid"]] if rounded == one["id"] else [])


def test_the_front_ends_empty_strings_mean_nothing(server: Running) -> None:
    found = as_client(server, text="", embedding_input=direction(1), aesthetic_score="", aesthetic_weight="0.5")
    assert "aesthetic_score" not in found.headers["x-tamis-ignored"]
    assert server.client.get("/indices-list").json() == ["drawn", "again"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"text": ""}, 400), ({"embedding_input": [1.0]}, 400), ({"embedding_input": "x"}, 400),
        ({"text": "a", "indice_name": "../../etc"}, 404), ({"text": "a", "num_images": 10**9}, 400),
        ({"image": "%%%"}, 400), ({"embedding_input": [0.0] * DIMENSIONS}, 400), ({"text": "a", "modality": "sound"}, 400),
        ({"image_url": "http://127.0.0.1:1/x.jpg"}, 400), ({"image_url": "file:///etc/passwd"}, 400),
        ({"text": "a", "aesthetic_score": "fine"}, 400), ({"text": "a", "aesthetic_weight": 10**9}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told_in_a_sentence(server: Running, body: Any, status: int) -> None:
    answer = server.client.post("/knn-service", json=body)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_what_heads_said_of_pictures_is_followed(tmp_path: Path) -> None:
    safe, fair = {3, 4, 5, 6}, {10, 11, 12}
    said = {
        n: {"nsfw_prob": 0.1 if n in safe else 0.9, "aesthetic_score": 8.7 if n in fair else 4.0} for n in range(40)
    }
    said[6]["nsfw_prob"] = 0.5  # the limit is let through, as the ingest does
    store = make(tmp_path / "drawn", vectors()[:40], changed=said)
    with running(tmp_path / "drawn") as found:
        asked = {"embedding_input": direction(0), "use_violence_detector": False}
        plain = as_client(found, **asked, use_safety_model=False, aesthetic_weight=0).json()
        assert len(plain) == 40
        answer = as_client(found, **asked, aesthetic_weight=0)
        assert {one["uid"] for one in answer.json()} == {uid(n) for n in safe}
        assert "x-tamis-ignored" not in answer.headers
        mean = vectors()[sorted(fair)].mean(axis=0)
        moved = vectors()[0] + 2 * mean / np.linalg.norm(mean)
        liked = as_client(found, **asked, use_safety_model=False, aesthetic_score="9", aesthetic_weight="2")
        assert [one["uid"] for one in liked.json()] == [uid(n) for n in np.argsort(-(vectors()[:40] @ moved)).tolist()]
        assert "x-tamis-ignored" not in liked.headers
        nobody = as_client(found, **asked, use_safety_model=False, aesthetic_score=1)
        assert nobody.headers["x-tamis-ignored"] == "aesthetic_score"
        assert [one["uid"] for one in nobody.json()] == [one["uid"] for one in plain]
        keys = [bytes.fromhex(uid(n)) for n in fair]
        tombstones.publish(store, tombstones.of_request(keys, ["-"] * 3, "r-1"))
        again = {"use_safety_model": False, "aesthetic_score": 9, **asked}
        wait(lambda: as_client(found, **again).headers.get("x-tamis-ignored") == "aesthetic_score", 1.0)


def test_odd_ids_are_left_out(server: Running) -> None:
    odd = [-1, 2**63, 2**70, "x", "٣", "9" * 30, "", "-5", 0]
    assert server.client.post("/metadata", json={"ids": odd}).json() == []
    assert server.client.post("/metadata", json={"ids": []}).json() == []


def test_pictures_come_along_when_the_server_was_told_so(drawn_set: Path) -> None:
    with running(drawn_set, inline_pictures=True) as found:
        hits = as_client(found, embedding_input=direction(3), num_images=2, num_result_ids=3).json()
        assert [one.get("image", "")[:4] for one in hits] == ["/9j/", "/9j/", ""]  # base64 of a JPEG's beginning
        told = found.client.post("/metadata", json={"ids": [hits[2]["id"]]}).json()
        assert told[0]["metadata"]["image"].startswith("/9j/")


@pytest.mark.slow
def test_the_real_clip_client_works_unchanged(server: Running, tmp_path: Path) -> None:
    environment = tmp_path / "clip"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "install", "-q"]
    if subprocess.run([*pip, "--no-deps", "clip-retrieval==2.45.0"]).returncode:
        pytest.skip("clip-retrieval cannot be installed here")
    subprocess.run([*pip, "requests"], check=True)
    script = tmp_path / "ask.py"
    script.write_text(
        "import json, runpy, site, sys\n"
        "client = runpy.run_path(site.getsitepackages()[0] + '/clip_retrieval/clip_client.py')\n"
        "asked = client['ClipClient'](url=sys.argv[1] + '/knn-service', indice_name='again', num_images=7)\n"
        "print(json.dumps(asked.query(embedding_input=json.loads(sys.argv[2]))))\n"
    )
    run = [str(environment / "bin" / "python"), str(script), server.address, json.dumps(direction(8))]
    found = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert (len(found), found[0]["uid"], round(found[0]["similarity"], 3)) == (7, uid(8), 1.0)
