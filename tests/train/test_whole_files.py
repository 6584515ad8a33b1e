"""Which files are kept whole: at, below and above what they are worth, and what has room."""

import pytest

from train import whole_files
from train.whole_files import File, WholeFiles

A, B = ("img_emb", 0), ("img_emb", 1)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_files, "MOST_BYTES", 100)
    monkeypatch.setattr(whole_files, "REQUEST_BYTES", 10)
    monkeypatch.setattr(whole_files, "IDLE_BATCHES", 2)


def keep(files: WholeFiles, asked: list[File], size_bytes: int = 60) -> File | None:
    found = files.worth(asked, lambda _: size_bytes)
    if found is not None:
        files.kept[found] = bytes(size_bytes)
    return found


@pytest.mark.parametrize(("pieces", "worth"), [(5, None), (6, A), (7, A)])
def test_a_file_is_kept_when_its_pieces_have_cost_as_much(pieces: int, worth: File | None) -> None:
    assert keep(WholeFiles(), [A] * pieces) == worth
    files = WholeFiles()
    assert keep(files, [A] * (pieces - 1)) == (A if pieces == 7 else None)


def test_one_is_taken_at_a_time_and_the_one_most_asked_for_first() -> None:
    files = WholeFiles()
    assert [keep(files, [A] * 6 + [B] * 7, 50) for _ in range(3)] == [B, A, None]


def test_a_file_that_has_no_room_waits_until_another_is_asked_for_no_more() -> None:
    files = WholeFiles()
    assert keep(files, [A] * 6) == A
    assert [keep(files, [A, *[B] * 6]), keep(files, [B]), keep(files, [B])] == [None, None, None]
    assert sum(map(len, files.kept.values())) == 60
    assert keep(files, [B]) == B
    assert list(files.kept) == [B]
    assert keep(files, [A] * 5) is None, "what was forgotten is counted anew"
