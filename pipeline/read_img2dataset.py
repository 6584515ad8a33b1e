"""Read what img2dataset left (webdataset tars or the `files` layout): its rows, and where each picture is."""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow.parquet as pq

from filters.html import fold, pair_reason
from filters.urls import canonical_url
from pipeline.errors import ConfigError, FormatError, InputError
from pipeline.sightings import BATCH_ROWS, Batcher, Counts, Item, Place, ReadOptions

_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_SHARD_DIGITS = 5
_MAX_MEMBER_BYTES = 16 << 20


def is_img2dataset(uri: str) -> bool:
    """Tell whether a folder is an img2dataset output: numbered shards with tars, tables or statistics."""
    filesystem, root = fsspec.core.url_to_fs(uri)
    if not filesystem.isdir(root):
        return False
    names = {path.rstrip("/").rsplit("/", 1)[-1] for path in filesystem.ls(root, detail=False)}
    numbered = {name.split("_")[0].split(".")[0] for name in names if _is_shard_file(name)}
    return any(
        f"{number}_stats.json" in names
        or (f"{number}.parquet" in names and (f"{number}.tar" in names or number in names))
        for number in numbered
    )


def _is_shard_file(name: str) -> bool:
    number, ending = name[:_SHARD_DIGITS], name[_SHARD_DIGITS:]
    return number.isdecimal() and ending.lstrip("0123456789") in (".tar", ".parquet", "_stats.json")


def read_img2dataset(
    uri: str, *, options: ReadOptions, counts: Counts, start: int = 0, stop: int | None = None
) -> Iterator[Item]:
    """Yield the batches of an output folder; `start` and `stop` cut the sorted list of its shards.

    A sample that was downloaded is a sighting with its capture; one that was not is a sighting alone, and one that
    img2dataset refused for its X-Robots-Tag is opted_out.
    """
    filesystem, root = fsspec.core.url_to_fs(uri)
    if not filesystem.isdir(root):
        raise InputError(f"{uri}: there is no such folder")
    entries = {path.rstrip("/").rsplit("/", 1)[-1]: path.rstrip("/") for path in filesystem.ls(root, detail=False)}
    numbers = sorted(
        {name.removesuffix(".tar").removesuffix(".parquet") for name in entries if name.endswith((".tar", ".parquet"))}
        | {name for name in entries if name.isdecimal() and filesystem.isdir(entries[name])}
    )
    batcher = Batcher(uri, counts)
    for number in [name for name in numbers if name.isdecimal()][start:stop]:
        shard = _Shard(filesystem, entries, number, batcher, counts, options)
        yield from shard.items()
    yield from batcher.take(rest=True)


class _Shard:
    """One numbered shard."""

    def __init__(
        self, fs: Any, entries: dict[str, str], number: str, batcher: Batcher, counts: Counts, options: ReadOptions
    ) -> None:
        self.fs = fs
        self.batcher = batcher
        self.counts = counts
        self.options = options
        self.table = entries.get(f"{number}.parquet")
        self.where = entries.get(f"{number}.tar") or entries.get(number) or ""
        self.is_tar = self.where.endswith(".tar")
        self.pictures: dict[str, tuple[Place, str]] = {}  # key → place, content type
        self.rows: dict[str, dict[str, Any]] = {}  # key → what the sample's own .json or .txt says

    def items(self) -> Iterator[Item]:
        """Yield the shard's batches."""
        if self.is_tar:
            self._list_tar()
        elif self.where:
            self._list_folder()
        if self.table is None:
            for key in sorted(self.rows.keys() | self.pictures.keys()):
                self._row({"key": key, **self.rows.get(key, {})})
                yield from self.batcher.take()
            return
        try:
            with self.fs.open(self.table, "rb") as file:
                table = pq.ParquetFile(file)
                for batch in table.iter_batches(BATCH_ROWS, columns=self._columns(table.schema_arrow.names)):
                    for row in batch.to_pylist():
                        self._row(row)
                    yield from self.batcher.take()
        except OSError as error:
            raise InputError(f"{self.table}: cannot be read ({error})") from error
        except ValueError as error:  # ArrowInvalid
            raise FormatError(f"{self.table}: not a Parquet file ({error})") from error

    def _columns(self, names: list[str]) -> list[str]:
        if "url" not in names or "key" not in names:
            raise ConfigError(
                f"{self.table}: img2dataset's columns url and key are missing; there are: {', '.join(names)}"
            )
        return [name for name in ("key", "url", "caption", "status", "error_message") if name in names]

    def _row(self, row: dict[str, Any]) -> None:
        self.counts.records += 1
        raw = str(row.get("url") or "")
        url, text = canonical_url(raw) if raw else None, fold(str(row.get("caption") or ""))
        reason, evidence = pair_reason(raw, url, text), None
        message = str(row.get("error_message") or "")
        if "X-Robots-Tag" in message:
            reason, evidence = "opted_out", f"img2dataset: {message}"[:1000]
        place, content_type = self.pictures.get(str(row.get("key")), (None, None))
        if row.get("status", "success") != "success":
            place = None
        if place and url and self.options.from_warc and reason != "opted_out":
            self.batcher.capture(url, place, content_type)
        else:
            place = None
        self.batcher.row((url, text, "list", reason), evidence, place)

    def _list_tar(self) -> None:
        uri = _uri(self.fs, self.where)
        try:
            with self.fs.open(self.where, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.isfile():
                        key, _, ending = member.name.rsplit("/", 1)[-1].partition(".")
                        self._member(key, ending.lower(), ("file", uri, member.offset_data, member.size), tar, member)
                    tar.members = []  # type: ignore[attr-defined]  # tarfile would remember every member
        except (tarfile.TarError, EOFError):
            self.counts.truncated_inputs += 1
        except OSError as error:
            raise InputError(f"{uri}: cannot be read ({error})") from error

    def _member(self, key: str, ending: str, place: Place, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if ending in _TYPES:
            self.pictures[key] = place, _TYPES[ending]
        elif self.table is None and ending in ("json", "txt") and member.size <= _MAX_MEMBER_BYTES:
            self._aside(key, ending, (tar.extractfile(member) or io.BytesIO()).read())

    def _list_folder(self) -> None:
        for path, info in sorted(self.fs.find(self.where, detail=True).items()):
            key, _, ending = path.rsplit("/", 1)[-1].partition(".")
            size = int(info.get("size") or 0)
            if ending.lower() in _TYPES:
                self.pictures[key] = ("file", _uri(self.fs, path), 0, size), _TYPES[ending.lower()]
            elif self.table is None and ending in ("json", "txt") and size <= _MAX_MEMBER_BYTES:
                self._aside(key, ending, self.fs.cat_file(path))

    def _aside(self, key: str, ending: str, data: bytes) -> None:
        row = self.rows.setdefault(key, {})
        if ending == "txt":
            row.setdefault("caption", data.decode("utf-8", "replace"))
            return
        try:
            found = json.loads(data)
        except ValueError:
            self.counts.bad_records += 1
            return
        if isinstance(found, dict):
            row.update({name: found[name] for name in ("url", "caption", "status", "error_message") if found.get(name)})


def _uri(fs: Any, path: str) -> str:
    return str(fs.unstrip_protocol(path)).removeprefix("file://")
