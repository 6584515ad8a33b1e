"""Where the registry is: named, found, and never silently another one, for an empty one would forget who said no."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, StorageError
from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_url(str(tmp_path / "set"))


def test_the_address_is_the_one_given_else_the_environments_else_the_data_sets(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAMIS_REGISTRY", raising=False)
    assert place.address(store) == f"sqlite:///{store.root}/private/registry.sqlite"
    assert not place.exists(store)
    monkeypatch.setenv("TAMIS_REGISTRY", "postgres://tamis@db.example/optout")
    assert place.address(store) == "postgresql+pg8000://tamis@db.example/optout"
    assert place.address(store, "postgresql://other@db.example/optout") == "postgresql+pg8000://other@db.example/optout"
    assert place.exists(store)


def test_the_private_folder_is_its_owners_alone(store: Store) -> None:
    Path(store.root).mkdir()
    (Path(store.root) / "private").mkdir(mode=0o755)
    Registry.open(store)
    assert (Path(store.root) / "private").stat().st_mode & 0o777 == 0o700


def test_sqlite_is_opened_so_that_it_forgets_and_survives(store: Store) -> None:
    with place.reading(Registry.open(store).engine) as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "secure_delete", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert said == {
        "journal_mode": "wal",
        "secure_delete": 1,
        "foreign_keys": 1,
        "busy_timeout": 60000,
        "synchronous": 2,
    }


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        (
            "mysql://root@127.0.0.1/x",
            ConfigError,
            "optout.registry: not a database tamis can use|mysql is not supported",
        ),
        (
            "no url at all",
            ConfigError,
            r"not a database tamis can use .*; sqlite:////path or postgresql://user@host/name",
        ),
        ("oracle+none://x", ConfigError, "not a database tamis can use"),
        ("sqlite:////nowhere/at/all.sqlite", StorageError, "unable to open database file; see that the database runs"),
        (
            "postgresql://tamis:secret@127.0.0.1:1/x",
            StorageError,
            r"the registry at postgresql\+pg8000://tamis:\*\*\*@127",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_explained_without_its_password(
    store: Store, url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        Registry.open(store, url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_and_a_database_that_is_not_there_are_explained(
    store: Store, tmp_path: Path, postgres_server: str
) -> None:
    (tmp_path / "set" / "private").mkdir(parents=True)
    (tmp_path / "set" / "private" / "registry.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        Registry.open(store)
    with pytest.raises(StorageError, match='database "none" does not exist; see that the database runs'):
        Registry.open(store, f"{postgres_server}none")


def test_an_object_store_needs_a_registry_elsewhere(s3_endpoint: str, tmp_path: Path) -> None:
    away = Store.open_url("s3://sets/place")
    says = r"keeps its requests in a database elsewhere; give its URL as optout\.registry .* or in TAMIS_REGISTRY"
    with pytest.raises(ConfigError, match=says):
        Registry.open(away)
    assert "keeps its requests in a database elsewhere" in str(place.lacking(away))
    url = f"sqlite:///{tmp_path}/away.sqlite"
    assert not place.exists(away)
    Registry.open(away, url)
    assert place.exists(away)
    with pytest.raises(ConfigError, match=r"give its URL \(it was sqlite:///.*away\.sqlite\) as optout\.registry"):
        Registry.open(away)


def test_a_data_set_with_a_registry_elsewhere_is_not_given_an_empty_one(store: Store, postgres_url: str) -> None:
    elsewhere = Registry.open(store, postgres_url)
    elsewhere.add("domain", "artist.example")
    assert place.exists(store)
    with pytest.raises(
        ConfigError, match=r"has a registry of requests; name postgresql\+pg8000://postgres@127"
    ) as caught:
        Registry.open(store)
    assert "private/registry.json" in str(caught.value)
    assert not (Path(store.root) / "private" / "registry.sqlite").exists()
    with pytest.raises(ConfigError, match="its requests are in another registry, postgresql"):
        Registry.open(store, f"sqlite:///{store.root}/other.sqlite")
    assert Registry.open(store, postgres_url).id == elsewhere.id


def test_a_registry_that_was_lost_is_not_replaced_by_an_empty_one(store: Store) -> None:
    registry = Registry.open(store)
    registry.add("domain", "artist.example")
    registry.engine.dispose()
    file = Path(store.root) / "private" / "registry.sqlite"
    file.unlink()
    with pytest.raises(ConfigError, match=r"registry\.sqlite is gone: restore it from a backup"):
        Registry.open(store)
    assert not file.exists()
    (file.parent / "registry.json").unlink()
    (file.parent / "signing.key").unlink()
    assert Registry.open(store).position() == 0


def test_a_data_set_that_was_moved_keeps_its_registry(store: Store, tmp_path: Path) -> None:
    request = Registry.open(store).add("domain", "artist.example")
    Path(store.root).rename(tmp_path / "moved")
    assert Registry.open(Store.open_url(str(tmp_path / "moved"))).get(request.id) == request
