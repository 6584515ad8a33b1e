"""Who was given what: manifests that name every byte, a register, and no release while somebody's no is not carried out."""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from pipeline.disclosure.releases import min_safe, read_manifest, register, releases, root_of, shard_list
from pipeline.errors import FormatError, InputError
from pipeline.identify import take_up
from pipeline.registry import log, merkle
from pipeline.registry.imports import import_list
from tests.pipeline.disclosure.conftest import Made, Told, url_of
from tests.tiny import tamis

WHO: dict[str, Any] = {"to": "The Lab", "contact": "data@lab.example", "purpose": "a model of sieves"}


def test_the_manifest_names_every_file_with_its_digest_and_nothing_private(fresh: Made) -> None:
    made = register(fresh.store, fresh.registry, **WHO)
    told = read_manifest(fresh.store, made)
    files = {name: digest for shard in told["shards"] for name, digest in shard["files"].items()}
    kinds = ("shards/000001/*.tar", "shards/000001/*.parquet", "embeddings/000001/*/*.*")
    on_disk = {str(p.relative_to(fresh.root)): p for kind in kinds for p in fresh.root.glob(kind)}
    assert files == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in on_disk.items()}
    assert sum(shard["rows"] for shard in told["shards"]) == told["rows"] == 60
    assert (told["snapshot"], told["erasures"], told["tombstones"], told["min_safe_snapshot"]) == (1, 0, 0, 1)
    assert told["config_digest"] == fresh.snapshot.config_digest
    assert set(told["signals"]["versions"]) >= {"proxy_tokens"}
    assert b"private" not in fresh.store.read(made.manifest)
    assert b"data@lab.example" not in fresh.store.read(made.manifest)


def test_the_root_is_the_merkle_root_and_any_digest_changes_it(plain: Made) -> None:
    shards = shard_list(plain.store, plain.snapshot)
    leaves = [merkle.leaf_hash(log.canonical(shard).encode()) for shard in shards]
    assert len(shards) == 6
    pairs = [merkle.node_hash(leaves[i], leaves[i + 1]) for i in (0, 2, 4)]
    root = root_of(shards)
    assert root == merkle.node_hash(merkle.node_hash(pairs[0], pairs[1]), pairs[2])
    roots = {root}
    for at, shard in enumerate(shards):
        for name in shard["files"]:
            changed = deepcopy(shards)
            digest = changed[at]["files"][name]
            changed[at]["files"][name] = digest[:-1] + ("0" if digest[-1] != "0" else "1")
            roots.add(root_of(changed))
    assert len(roots) == 1 + 6 * 5
    assert root_of(shards[::-1]) != root
    assert root_of([]) == merkle.EMPTY


def test_the_same_release_again_is_the_same_and_another_purpose_is_another(fresh: Made) -> None:
    registry = fresh.registry
    first, again = (register(fresh.store, registry, **WHO) for _ in range(2))
    assert first == again
    other = register(fresh.store, registry, **{**WHO, "purpose": "a second model"})
    moved = register(fresh.store, registry, **{**WHO, "to": "The Lab", "contact": "new@lab.example"})
    assert moved == first
    assert other.recipient_id == first.recipient_id
    assert [made.id for made in releases(registry)] == sorted([first.id, other.id])
    logged = [json.loads(entry) for entry in _entries(registry, "release")]
    assert [entry["release"] for entry in logged] == [first.id, other.id]
    assert registry.check_log() == []


def _entries(registry: Any, kind: str) -> list[str]:
    from sqlalchemy import select

    from pipeline.registry import place
    from pipeline.registry.tables import leaf

    with place.reading(registry.engine) as connection:
        found = connection.execute(select(leaf.c.entry).where(leaf.c.type == kind).order_by(leaf.c.number))
        return [str(entry) for entry in found.scalars()]


def test_a_release_killed_before_it_was_entered_is_entered_by_the_next_try(
    fresh: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            register(fresh.store, fresh.registry, **WHO)
    assert releases(fresh.registry) == []
    (orphan,) = (fresh.root / "releases").iterdir()
    data = orphan.read_bytes()
    made = register(fresh.store, fresh.registry, **WHO)
    assert made.manifest == f"releases/{orphan.name}"
    assert made.manifest_sha256 == hashlib.sha256(data).hexdigest()


def _hidden(made: Made) -> None:
    take_up(made.store, made.registry, made.registry.add("url", url_of(3)).id)


def _not_looked_for(made: Made) -> None:
    made.registry.add("url", url_of(3))


def _list(made: Made) -> None:
    path = made.root.parent / "list.txt"
    path.write_text("site1.example\n")
    import_list(made.registry, path, source="list", kind="domain")


@pytest.mark.parametrize(
    ("no", "says"),
    [
        (_hidden, "1 hidden samples are not erased yet"),
        (_not_looked_for, "1 requests have not been looked for"),
        (_list, "1 imported lists have not been looked for"),
    ],
)
def test_nothing_is_released_while_a_no_is_not_carried_out(fresh: Made, no: Callable[[Made], None], says: str) -> None:
    no(fresh)
    with pytest.raises(InputError, match=rf"{says}; run `tamis optout apply`"):
        register(fresh.store, fresh.registry, **WHO)
    assert not (fresh.root / "releases").exists()
    assert releases(fresh.registry) == []


def test_what_cannot_be_released_is_explained(fresh: Made) -> None:
    with pytest.raises(InputError, match="no snapshot 4; there are 1"):
        register(fresh.store, fresh.registry, **WHO, number=4)
    with pytest.raises(InputError, match="contact must have 1 to 400"):
        register(fresh.store, fresh.registry, **{**WHO, "contact": " "})
    made = register(fresh.store, fresh.registry, **WHO)
    fresh.store.write(made.manifest, fresh.store.read(made.manifest).replace(b'"rows": 60', b'"rows": 61'))
    with pytest.raises(FormatError, match="not the manifest that was registered"):
        read_manifest(fresh.store, made)
    fresh.store.delete_folder("shards/000001")
    with pytest.raises(InputError, match="shards of snapshot 1 have expired"):
        register(fresh.store, fresh.registry, **WHO)


def test_after_an_erasure_the_manifest_names_the_bytes_that_are_there_now(told: Told) -> None:
    before, after = (read_manifest(told.made.store, made) for made in (told.before[0], told.after))
    assert after["snapshot"] == before["snapshot"] == 1
    assert after["root"] != before["root"]
    assert (before["erasures"], after["erasures"]) == (0, 1)
    for shard in after["shards"]:
        for name, digest in shard["files"].items():
            assert hashlib.sha256((told.made.root / name).read_bytes()).hexdigest() == digest
    changed = sum(a != b for a, b in zip(after["shards"], before["shards"], strict=True))
    assert changed == len(_shards_of(told))


def _shards_of(told: Told) -> set[str]:
    return {row["tar"].name for row in told.made.sidecars() if row["key"] in told.erased}


def test_a_snapshot_that_never_packed_what_was_removed_is_safe(told: Told, fresh: Made) -> None:
    uids = [bytes.fromhex(key) for key in told.erased]
    assert min_safe(told.made.store, uids) == (2, False)  # the next one, once it is published
    assert min_safe(fresh.store, uids) == (1, True)
    assert min_safe(told.made.store, [b"\0" * 16]) == (1, True)


def test_the_commands_register_and_list(fresh: Made) -> None:
    done = tamis(
        "release", fresh.root, "--to", "The Lab", "--contact", "data@lab.example", "--purpose", "tests", "--json"
    )
    made = json.loads(done.stdout)
    assert made["manifest"] == f"releases/{made['id']}.json"
    listed = json.loads(tamis("releases", fresh.root, "--json").stdout)
    assert [(entry["id"], entry["recipient"], entry["snapshot"]) for entry in listed] == [(made["id"], "The Lab", 1)]
    assert made["id"] in tamis("releases", fresh.root).stdout
    tamis("optout", "add", fresh.root, "--url", url_of(3))
    refused = tamis("release", fresh.root, "--to", "B", "--contact", "b@b.example", "--purpose", "tests", check=False)
    assert refused.returncode == 1
    assert "run `tamis optout apply` first" in refused.stderr
