"""What a run reads: the inputs of its configuration, expanded into units that one task each can read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import fsspec

from filters.page_signals import OF_PAGES
from pipeline import common_crawl, read_html, read_img2dataset, read_lists, read_warc, read_wat
from pipeline.config import Config, release_policy
from pipeline.errors import InputError
from pipeline.sightings import Counts, Item, ReadOptions

ROWS_PER_UNIT = 500_000

_LISTS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_PACKED = (".gz", ".zst", ".bz2")


@dataclass(frozen=True)
class Unit:
    """One file, folder or slice of a list. `stamp` changes when its content does (size and mtime, or an ETag)."""

    kind: str  # warc, wat, html, list, img2dataset
    uri: str
    start: int = 0
    stop: int | None = None
    stamp: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what the unit's key depends on."""
        return {"kind": self.kind, "uri": self.uri, "start": self.start, "stop": self.stop, "stamp": self.stamp}


def read_options(config: Config) -> ReadOptions:
    """Return how the readers are to read."""
    c, f = config.candidates, config.fetch
    policy = release_policy(config.signals)
    return ReadOptions(
        text_from=tuple(c.text_from),
        url_col=c.url_col,
        caption_col=c.caption_col,
        base_url=c.base_url,
        user_agent_token=f.user_agent_token,
        disallowed=tuple(f.disallowed),
        from_warc=f.from_warc,
        policy=replace(policy, proxy_tokens=True, off=[name for name in policy.off if name in OF_PAGES]),
    )


def expand(config: Config) -> list[Unit]:
    """Return the units of all inputs, each once, in the order of their addresses; InputError names what matches nothing."""
    units: dict[tuple[str, int], Unit] = {}
    for pattern in config.inputs:
        found = list(_expand_one(pattern, config))
        if not found:
            raise InputError(f"inputs: nothing matches {pattern!r}; relative paths start at the current folder")
        for unit in found:
            units[unit.uri, unit.start] = unit
    return [units[key] for key in sorted(units)]


def _expand_one(pattern: str, config: Config) -> Iterator[Unit]:
    if pattern.startswith("cc:"):
        c = config.candidates
        segments = c.common_crawl_segments
        for uri in common_crawl.paths(
            pattern[3:], base_url=c.common_crawl_url, kind=c.common_crawl_kind, segments=segments
        ):
            yield Unit(c.common_crawl_kind, uri, stamp="common-crawl")  # a crawl's files never change
        return
    fs, path = fsspec.core.url_to_fs(pattern)
    paths = sorted(fs.glob(path)) if any(sign in path for sign in "*?[") else [path]
    for found in paths:
        if not fs.exists(found):
            continue
        yield from _units(fs, found, config)


def _units(fs: Any, path: str, config: Config) -> Iterator[Unit]:
    uri = fs.unstrip_protocol(path).removeprefix("file://")
    if fs.isdir(path):
        kind = "img2dataset" if read_img2dataset.is_img2dataset(uri) else "html"
        yield Unit(kind, uri, stamp=_folder_stamp(fs, path))
        return
    kind = kind_of(path)
    stamp = _stamp(fs.info(path))
    if kind == "list":
        for start, stop in read_lists.split(uri, ROWS_PER_UNIT):
            yield Unit(kind, uri, start, stop, stamp)
    else:
        yield Unit(kind, uri, stamp=stamp)


def kind_of(path: str) -> str:
    """Return the kind of an input file by its name; InputError lists the kinds there are."""
    name = path.rsplit("/", 1)[-1].lower()
    bare = name
    for ending in _PACKED:
        bare = bare.removesuffix(ending)
    if bare.endswith((".wat", ".warc.wat")):
        return "wat"
    if bare.endswith(".warc"):
        return "warc"
    if bare.endswith((".html", ".htm", ".xhtml")):
        return "html"
    if bare.endswith(_LISTS):
        return "list"
    raise InputError(
        f"inputs: {path}: unknown kind of file; known are .warc, .wat, .html, {', '.join(_LISTS)} (also packed: {', '.join(_PACKED)}), "
        "folders of HTML, img2dataset's output folders, and cc:CRAWL-ID"
    )


def _stamp(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "mtime", "LastModified", "last_modified"):
        if info.get(name):
            return f"{info.get('size')}:{info[name]}"
    return str(info.get("size"))


def _folder_stamp(fs: Any, path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, info in sorted(fs.find(path, detail=True).items()):
        digest.update(f"{name}\0{_stamp(info)}\n".encode())
    return digest.hexdigest()


def read_unit(unit: Unit, options: ReadOptions, counts: Counts) -> Iterator[Item]:
    """Yield the unit's batches of sightings and captures."""
    readers = {
        "warc": read_warc.read,
        "wat": read_wat.read,
        "html": read_html.read,
        "list": read_lists.read,
        "img2dataset": read_img2dataset.read_img2dataset,
    }
    yield from readers[unit.kind](unit.uri, options=options, counts=counts, start=unit.start, stop=unit.stop)


def describe(units: Sequence[Unit]) -> dict[str, int]:
    """Return how many units there are of each kind."""
    kinds: dict[str, int] = {}
    for unit in units:
        kinds[unit.kind] = kinds.get(unit.kind, 0) + 1
    return kinds
