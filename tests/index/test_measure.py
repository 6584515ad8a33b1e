"""Recall is told as it is: where many vectors are equal, any ten of the nearest are right, and ten that are farther are not."""

from pathlib import Path

import numpy as np
import pytest

from index import measure
from index.build import build
from index.check import check
from index.measure import Exam, K
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.made_set import DIMENSIONS, KINDS, Shard, publish_set, shards, small_kinds

ROWS, CAPTIONS = 2_400, 3


def with_few_captions(made: list[Shard]) -> list[Shard]:
    """Give every text the vector of one of three captions, as under a site's photographs."""
    few = made[0].text[:CAPTIONS]
    return [Shard(one.uids, one.image, few[np.arange(len(one.uids)) % CAPTIONS]) for one in made]


@pytest.mark.parametrize("kind", ["fast scan", "bits on disk"])
def test_captions_that_stand_under_many_pictures_are_no_reason_to_refuse_an_index(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    store = Store.open_url(str(tmp_path))
    publish_set(store, with_few_captions(shards(ROWS, 4)))
    record = build(store, require_latest(store), KINDS[kind])
    assert record.sides["text"].curve[-1].within_frac >= KINDS[kind].recall_frac
    found = check(store, require_latest(store))
    assert found.problems == []
    assert min(found.recall["text"]) >= KINDS[kind].recall_frac


@pytest.mark.parametrize("tied", [False, True])
def test_only_what_is_as_near_as_the_tenth_is_counted(
    tmp_path: Path, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "QUESTIONS", 20)
    made = shards(400, 2)
    made = with_few_captions(made) if tied else made
    store = Store.open_url(str(tmp_path))
    snapshot = publish_set(store, made)
    ids = [one.ids for one in made]
    exam = Exam(store, snapshot, "text", DIMENSIONS, ids).answer(None)
    every, vectors = np.concatenate(ids), np.concatenate([one.text for one in made]).astype(np.float32)
    cos = exam.questions @ vectors.T
    order = np.argsort(-cos, axis=1)

    def cosines(number: int, asked: np.ndarray) -> np.ndarray:
        assert tied, "nothing has to be compared where there is one right answer"
        return np.array([cos[number, every == one][0] for one in asked], np.float32)

    def marked(rank: slice) -> tuple[float, float]:
        return exam.mark([every[row[rank]] for row in order], cosines)

    assert marked(slice(0, 2 * K)) == (1.0, 1.0)
    assert marked(slice(-2 * K, None)) == (0.0, 0.0)
    assert 0.39 < min(marked(slice(0, 5))) < 0.51  # five of ten; of `within` one may be the question itself


def test_questions_are_drawn_from_all_shards_for_both_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "QUESTIONS", 100)
    made = shards(1_000, 4)
    store = Store.open_url(str(tmp_path))
    snapshot = publish_set(store, made)
    ids = [one.ids.copy() for one in made]
    ids[2][:100] = -1  # erased
    exam = Exam(store, snapshot, "image", DIMENSIONS, ids)
    for asked, modality in ((exam.across, "text"), (exam.within, "image")):
        assert len(asked) == 100
        own = [(asked[:, None] == getattr(one, modality).astype(np.float32)).all(axis=2) for one in made]
        assert [int(one.any(axis=1).sum()) > 5 for one in own] == [True] * 4
        assert not own[2][:, :100].any()
