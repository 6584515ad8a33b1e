"""A part is done once, commits whole, and loses no row without a reason."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import FormatError, InvariantError
from pipeline.stage import Draft, Outcome, Part, Stage, count_reasons, find, run
from pipeline.store import Store


def _stage(outcome: Outcome, calls: list[int], config: dict[str, int] | None = None, version: int = 1) -> Stage:
    def work(draft: Draft) -> Outcome:
        calls.append(1)
        draft.table(pa.table({"x": list(range(outcome.rows))}))
        return outcome

    return Stage("work", work, config or {}, version)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_url(str(tmp_path))


def test_a_known_key_is_not_done_again(store: Store) -> None:
    calls: list[int] = []
    stage = _stage(Outcome(3, 2, {"bad": 1}, {"n": 1}), calls)
    first, second = run(store, stage), run(store, stage)
    assert first == second
    assert len(calls) == 1
    assert first.table(store)["x"].to_pylist() == [0, 1]


def test_name_version_config_and_inputs_each_change_the_key(store: Store) -> None:
    base = Stage("s", lambda _: Outcome(0, 0), {"a": 1})
    part = run(store, base)
    keys = {
        base.key([]),
        Stage("t", base.fn, {"a": 1}).key([]),
        Stage("s", base.fn, {"a": 1}, 2).key([]),
        Stage("s", base.fn, {"a": 2}).key([]),
        base.key([part]),
    }
    assert len(keys) == 5


def test_a_lost_row_stops_the_commit(store: Store) -> None:
    with pytest.raises(InvariantError, match="3 rows in, but 1 out and 1 dropped"):
        run(store, _stage(Outcome(3, 1, {"bad": 1}), []))
    assert store.walk() == []


def test_negative_counts_cannot_balance_the_books(store: Store) -> None:
    with pytest.raises(InvariantError):
        run(store, _stage(Outcome(1, 2, {"bad": -1}), []))


def test_a_crash_before_the_record_leaves_no_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    stage = _stage(Outcome(1, 1), calls)

    def crash(self: Store, name: str, data: bytes) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create", crash)
        with pytest.raises(KeyboardInterrupt):
            run(store, stage)
    assert find(store, "work", stage.key([])) is None
    assert run(store, stage).rows == 1
    assert len(calls) == 2


def test_a_damaged_record_names_its_file(store: Store) -> None:
    part = run(store, _stage(Outcome(1, 1), []))
    store.write(part.record, b"{broken")
    with pytest.raises(FormatError, match=rf"{part.key}\.json: not a commit record .* delete it and run again"):
        find(store, "work", part.key)


def test_records_round_trip(store: Store) -> None:
    part = run(store, _stage(Outcome(5, 3, {"a": 1, "b": 1}, {"k": [1, 2]}), []))
    assert Part.from_json(store.read(part.record), "x") == part


def test_reasons_are_counted_without_nulls() -> None:
    assert count_reasons(pa.array(["a", None, "b", "a"])) == {"a": 2, "b": 1}
    assert count_reasons(pa.array([], pa.string())) == {}


def test_of_two_executions_of_one_task_the_first_to_commit_wins_and_nothing_is_mixed(store: Store) -> None:
    def worker(value: int) -> Stage:
        def work(draft: Draft) -> Outcome:
            draft.table(pa.table({"x": [value]}))
            draft.path("tar").write_bytes(bytes([value]) * 100)
            if value == 1:  # while the first one works, the other starts and finishes
                run(store, worker(2))
            return Outcome(1, 1)

        return Stage("fetch", work, {})

    part = run(store, worker(1))
    assert part.table(store)["x"].to_pylist() == [2]
    assert store.read(part.file("tar")) == bytes([2]) * 100
    assert len(store.walk()) == 3
