"""The data card says what the snapshot says, and what it tells people to type works."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from pipeline import card
from tests.small_dataset import WEIGHTS, Small
from tests.small_dataset import build as build_small


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = build_small(tmp_path_factory.mktemp("sets") / "little-web")
    card.write(made.store, made.snapshot)
    return made


@pytest.fixture
def text(small: Small, monkeypatch: pytest.MonkeyPatch) -> str:
    """The card, with its folder as the current one."""
    monkeypatch.chdir(small.store.root)
    return Path("README.md").read_text(encoding="utf-8")


def _blocks(text: str, word: str) -> str:
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in block]
    return str(found)


def test_the_head_is_what_the_hub_reads(small: Small, text: str) -> None:
    head: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "other"
    assert "text-to-image" in head["task_categories"]
    assert head["size_categories"] == ["n<1K"]
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "shards/000001/*.tar"}]
    assert head["pretty_name"] == "little-web"


def test_every_reason_stands_in_it_and_the_sum_is_right(small: Small, text: str) -> None:
    told = {m[1]: int(m[2]) for m in re.finditer(r"^\| `(\w+)` \| ([\d,]+) \| [\d.]+ % \| .+ \|$", text, re.MULTILINE)}
    assert told == dict(small.snapshot.dropped)
    assert "| **all of these** | **312** |" in text


def test_model_threshold_and_weights_are_named(text: str) -> None:
    assert "| model that judged | `tamis-mini` |" in text
    assert "| threshold | cosine 0.1 |" in text
    assert WEIGHTS in text
    assert "very small model" in text


def test_webdataset_reads_it_as_the_card_says(small: Small, text: str) -> None:
    keys: list[str] = []
    code = _blocks(text, "webdataset as wds").replace("    ...", "    keys.append(facts['key'])")
    exec(code, {"keys": keys})
    assert "shards/000001/{00000..00001}.tar" in text
    assert len(keys) == len(set(keys)) == small.snapshot.rows


def test_huggingface_datasets_reads_it_as_the_card_says(small: Small, text: str, tmp_path: Path) -> None:
    from datasets import load_dataset

    names: dict[str, Any] = {}
    exec(_blocks(text, "load_dataset"), names)
    assert sum(1 for _ in names["pairs"]) == small.snapshot.rows
    whole = load_dataset(small.store.root, split="train", cache_dir=str(tmp_path))
    assert whole.num_rows == small.snapshot.rows
    assert {"jpg", "txt", "json"} <= set(whole.column_names)


def test_vectors_and_sidecar_are_row_aligned_as_the_card_says(small: Small, text: str) -> None:
    names: dict[str, Any] = {}
    exec(_blocks(text, "np.load"), names)
    assert len(names["vectors"]) == names["rows"].num_rows == small.snapshot.shards[0].rows


def test_the_same_snapshot_gives_the_same_card(small: Small, text: str) -> None:
    assert card.text(small.store, small.snapshot) == text


def test_what_was_switched_off_is_said(small: Small) -> None:
    config = dict(small.snapshot.config)
    config["fetch"] = config["fetch"] | {"robots": False}
    told = card.text(small.store, replace(small.snapshot, config=config))
    assert "robots.txt and tdmrep.json were not asked for" in told
    assert "such pictures may be in it" in told


def test_filters_that_were_on_are_listed(small: Small) -> None:
    config = dict(small.snapshot.config)
    head = {"positive": ["gore"], "negative": ["a photo"], "max_prob": 0.4}
    config["filters"] = config["filters"] | {"min_aesthetic": 4.5, "zero_shot": {"gore": head}}
    told = card.text(small.store, replace(small.snapshot, config=config))
    assert "| aesthetic score | at least 4.5 |" in told
    assert "| probability of “gore” | at most 0.4 |" in told
    assert "No filter for nudity" not in told


def test_values_cannot_break_out_of_their_cell() -> None:
    assert card.cell("a|b\n# c <script> `d`") == "a\\|b # c &lt;script> 'd'"


@pytest.mark.parametrize(
    ("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12, "n>1T")]
)
def test_sizes_have_the_hubs_names(rows: int, name: str) -> None:
    assert card.size_category(rows) == name
