"""`tamis index build`, `sync` and `verify` as people use them, and every sort of damage that verify tells of."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import segments
from index.build import build
from index.check import check
from index.commands import size_bytes
from index.record import folder, read_record
from index.sync import sync
from pipeline.lock import hold
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.erasing import copy
from tests.made_set import KINDS, Shard, publish_set, shards, small_kinds
from tests.tiny import tamis


@pytest.fixture(scope="session")
def made() -> list[Shard]:
    return shards(1_200, 3)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, made: list[Shard]) -> Path:
    path = tmp_path_factory.mktemp("checked") / "set"
    store = Store.open_url(str(path))
    with pytest.MonkeyPatch.context() as patch:
        small_kinds(patch)
        build(store, publish_set(store, made), KINDS["bits on disk"])
    return path


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    return copy(built, tmp_path / "set")


def test_from_the_command_line_it_is_built_kept_in_step_and_checked(tmp_path: Path, made: list[Shard]) -> None:
    store = Store.open_url(str(tmp_path / "set"))
    publish_set(store, made[:2])
    out = tamis("index", "build", store.root, "--memory", "1GB", "--recall", "0.9").stdout
    assert "built; 800 samples, 32 numbers each" in out
    assert "image  IDMap2,SQfp16: 800 vectors are few enough to look at each of them" in out
    assert "is there already" in tamis("index", "build", store.root, "--memory", "1GB", "--recall", "0.9").stdout
    assert "nothing to do" in tamis("index", "sync", store.root).stdout
    publish_set(store, made)
    told = json.loads(tamis("index", "sync", store.root, "--json").stdout)
    assert (told["rows"], told["kind"], told["options"]["recall_frac"]) == (1_200, "exact", 0.9)
    assert "everything is as promised" in tamis("index", "verify", store.root).stdout
    path = Path(store.root, "index/000002", next(name for name in told["sides"]["text"]["segments"])["name"])
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    done = tamis("index", "verify", store.root, check=False)
    assert done.returncode == 3
    assert "its bytes differ from index.json" in done.stdout


def test_what_cannot_be_done_is_told_in_a_sentence(tmp_path: Path, made: list[Shard]) -> None:
    store = Store.open_url(str(tmp_path / "set"))
    done = tamis("index", "sync", store.root, check=False)
    assert (done.returncode, "no snapshot published here" in done.stderr) == (1, True)
    assert not Path(store.root).exists()  # asking makes nothing
    publish_set(store, made[:1])
    done = tamis("index", "verify", store.root, check=False)
    assert (done.returncode, "has no index; run `tamis index sync " in done.stderr) == (1, True)
    with hold(store):
        done = tamis("index", "build", store.root, check=False)
    assert (done.returncode, "another run holds this data set" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4 * 10**9), ("500 mb", 5 * 10**8), ("2GiB", 2**31), ("1.5GB", 1_500_000_000), ("7", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "4 GBs", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no size; write 4GB"):
        size_bytes(text)


def test_a_whole_index_has_no_problems_and_its_recall_is_measured_again(store: Store) -> None:
    found = check(store, require_latest(store))
    assert found.problems == []
    assert found.files == len(found.record.sha256)
    assert set(found.recall) == {"image", "text"}
    assert all(min(recall) > 0.85 for recall in found.recall.values())


def _swapped_facts(store: Store, made: list[Shard]) -> str:
    one, two = (store.read(f"index/000001/facts/{shard.key}.arrow") for shard in made[:2])
    store.write(f"index/000001/facts/{made[0].key}.arrow", two)
    store.write(f"index/000001/facts/{made[1].key}.arrow", one)
    return "its rows are not those of shard 00000"


def _lost_place(store: Store, made: list[Shard]) -> str:
    path = Path(store.root, "index/000001/places.npy")
    with path.open("rb") as handle:
        places = np.load(handle)
    with path.open("wb") as handle:
        np.save(handle, places[:, 1:])
    return "knows 1,199 samples, the shards hold 1,200"


def _other_vectors(store: Store, made: list[Shard]) -> str:
    path = Path(store.root, "embeddings/000001/img_emb/img_emb_0000.npy")
    with path.open("wb") as handle:
        np.save(handle, np.roll(made[0].image, 1, axis=0))
    return ""


def _missing_segment(store: Store, made: list[Shard]) -> str:
    record = read_record(store, require_latest(store))
    assert record is not None
    path = Path(store.root, folder(require_latest(store)), record.sides["image"].segments[0].name)
    assert not segments.wipe(path, made[0].ids[:40], path.with_suffix(".draft"))
    return "samples are in no image segment"


@pytest.mark.parametrize("damage", [_swapped_facts, _lost_place, _missing_segment])
def test_every_sort_of_damage_is_told(
    store: Store, made: list[Shard], damage: Callable[[Store, list[Shard]], str]
) -> None:
    said = damage(store, made)
    problems = check(store, require_latest(store)).problems
    assert any(said in problem for problem in problems), problems


def test_vectors_that_the_index_was_not_made_of_are_noticed(store: Store, made: list[Shard]) -> None:
    assert _other_vectors(store, made) == ""
    assert any(
        "do not find themselves" in p or "of the nearest" in p for p in check(store, require_latest(store)).problems
    )


def _files(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.walk() if name.startswith("index/")}


@pytest.mark.parametrize("name", ["places.npy", "image/", "text/", "facts/"])
@pytest.mark.parametrize("damage", ["gone", "cut", "noise", "a bit"])
def test_a_damaged_file_is_a_problem_and_a_build_mends_it(
    store: Store, name: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    snapshot, before = require_latest(store), _files(store)
    path = Path(store.root, next(one for one in before if name in one))
    data = before[str(path.relative_to(store.root))]
    changed = {"cut": data[:-9], "noise": bytes(99) + data[99:], "a bit": data[:-1] + bytes([data[-1] ^ 1])}
    path.unlink()
    if damage != "gone":
        path.write_bytes(changed[damage])
    said = "missing" if damage == "gone" else "its bytes differ from index.json"
    assert (
        f"{path.relative_to(store.root)}: {said}; `tamis index build` makes it anew" in check(store, snapshot).problems
    )
    build(store, snapshot, KINDS["bits on disk"])
    after = _files(store)
    assert {one: after[one] for one in before if not one.endswith(".json")} == {
        one: data for one, data in before.items() if not one.endswith(".json")
    }
    assert check(store, snapshot).problems == []


@pytest.mark.parametrize("name", ["places.npy", "image/", "facts/"])
def test_a_sync_mends_what_is_missing_and_carries_nothing_from_an_index_with_gaps(
    store: Store, made: list[Shard], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    path = Path(store.root, next(one for one in _files(store) if name in one))
    path.unlink()
    sync(store, require_latest(store))
    assert check(store, require_latest(store)).problems == []
    path.unlink()
    snapshot = publish_set(store, [*made, *shards(60, 1, seed=3)])
    assert [one.rows for one in sync(store, snapshot).sides["image"].segments] == [1_260]
    assert check(store, snapshot).problems == []


def test_a_build_carries_no_damaged_facts_from_an_earlier_index(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    path = Path(store.root, f"index/000001/facts/{made[0].key}.arrow")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data.replace(b"a picture called", b"a picture CALLED"))
    snapshot = publish_set(store, [*made, *shards(60, 1, seed=3)])
    build(store, snapshot)
    assert Path(store.root, f"index/000002/facts/{made[0].key}.arrow").read_bytes() == data
    assert check(store, snapshot).problems == []
