"""A data set's folder, local or on an object store, with commits that are whole or absent."""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec

from pipeline.errors import StorageError

_SCRATCH = "tmp"

try:
    from botocore.exceptions import BotoCoreError, ClientError

    _REMOTE_ERRORS: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
except ImportError:  # without the extra `s3`
    _REMOTE_ERRORS = ()


@contextmanager
def explained(doing: str, then: str = "run the same command again, finished parts are kept") -> Iterator[None]:
    """Turn an operating-system error into one that says what to do, and what `then`."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except _REMOTE_ERRORS as error:
        raise StorageError(f"{doing}: the object store refused: {error}; check its address and credentials") from error
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some room",
            errno.EDQUOT: "the disk quota is used up: free some room",
            errno.EACCES: "permission denied: check the folder's owner and mode",
            errno.EROFS: "the file system is read-only",
        }.get(error.errno or 0, str(error))
        raise StorageError(f"{doing}: {advice}; then {then}") from error


def make_dirs(folder: Path) -> None:
    """Make a folder and its parents, each synced into the one above."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _fsync_dir(new.parent)


def _fsync_dir(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_name(name: str) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"not a name inside the data set: {name!r}")


@dataclass(frozen=True)
class Store:
    """Named files below one root; names are relative and use `/`.

    Local files appear by fsync + rename, objects by one put: a reader sees a whole file or none.
    """

    root: str

    @classmethod
    def open_url(cls, url: str) -> "Store":
        """Return the store at a folder or an fsspec URL such as `s3://bucket/prefix`."""
        if "://" in url and not url.startswith("file://"):
            return cls(url.rstrip("/"))
        return cls(str(Path(url.removeprefix("file://")).resolve()))

    @property
    def is_local(self) -> bool:
        """Tell whether files of this store are plain files."""
        return "://" not in self.root

    def _fs(self) -> tuple[Any, str]:
        fs, path = fsspec.core.url_to_fs(self.root, skip_instance_cache=False, use_listings_cache=False)
        return fs, path

    def _full(self, name: str) -> tuple[Any, str]:
        _check_name(name)
        fs, path = self._fs()
        return fs, f"{path}/{name}"

    def _path(self, name: str) -> Path:
        """Return the plain path of a name in a local store."""
        _check_name(name)
        return Path(self.root) / name

    def local(self, name: str) -> Path | None:
        """Return the plain path of a name, or None on an object store."""
        return self._path(name) if self.is_local else None

    def uri(self, name: str) -> str:
        """Return the address of a name as other programs take it."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Tell whether a name is there."""
        with explained(f"looking for {self.uri(name)}"):
            fs, path = self._full(name)
            return bool(fs.exists(path))

    def size_bytes(self, name: str) -> int:
        """Return the size of a file in bytes."""
        fs, path = self._full(name)
        return int(fs.info(path)["size"])

    def read(self, name: str) -> bytes:
        """Return a file's bytes; FileNotFoundError when it is absent."""
        with explained(f"reading {self.uri(name)}"):
            fs, path = self._full(name)
            return cast(bytes, fs.cat_file(path))

    def ranges(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return the bytes [first, end) of files, each given as (name, first, end), asked for side by side."""
        some = [one for one in wanted if one[2] > one[1]]  # S3 takes an empty range for the whole file
        paths = [self._full(name)[1] for name, _, _ in some]
        with explained(f"reading {len(some):,} pieces of {self.root}"):
            found = self._fs()[0].cat_ranges(paths, [a for _, a, _ in some], [b for _, _, b in some], on_error="raise")
        pieces = iter(cast(list[bytes], found))
        return [next(pieces) if end > first else b"" for _, first, end in wanted]

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading, seekable."""
        with explained(f"opening {self.uri(name)}"):
            fs, path = self._full(name)
            return cast(IO[bytes], fs.open(path, "rb"))

    def names(self, prefix: str) -> list[str]:
        """Return the names of the files directly in a folder, sorted."""
        fs, path = self._full(prefix)
        try:
            with explained(f"listing {self.uri(prefix)}"):
                found = fs.ls(path, detail=True, refresh=True) if not self.is_local else fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        base = path.rstrip("/")
        return sorted(
            f"{prefix}/{entry['name'].rstrip('/').rsplit('/', 1)[1]}"
            for entry in found
            if entry["type"] == "file" and entry["name"].rstrip("/") != base
        )

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        fs, path = self._full(prefix)
        try:
            found = fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(f"{prefix}/{e['name'].rstrip('/').rsplit('/', 1)[1]}" for e in found if e["type"] == "directory")

    def walk(self) -> list[str]:
        """Return every file name of the store, scratch files left out, sorted."""
        fs, path = self._fs()
        base = path.rstrip("/") + "/"
        names = (str(found)[len(base) :] for found in fs.find(path))
        return sorted(name for name in names if not name.startswith(_SCRATCH + "/"))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, replacing what was there."""
        with explained(f"writing {self.uri(name)}"):
            if not self.is_local:
                fs, path = self._full(name)
                fs.pipe_file(path, data)
                return
            with self.scratch() as scratch:
                draft = scratch / "draft"
                draft.write_bytes(data)
                self.put(draft, name)

    def put(self, draft: Path, name: str) -> None:
        """Move a finished local file to its name: synced first, then visible at once."""
        with explained(f"writing {self.uri(name)}"):
            if not self.is_local:
                fs, path = self._full(name)
                fs.put_file(str(draft), path)
                draft.unlink()
                return
            with draft.open("rb") as handle:
                os.fsync(handle.fileno())
            final = self._path(name)
            make_dirs(final.parent)
            draft.replace(final)
            _fsync_dir(final.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if nobody has; return False when it was there already."""
        with explained(f"writing {self.uri(name)}"):
            fs, path = self._full(name)
            if not self.is_local:
                try:
                    fs.pipe_file(path, data, mode="create")
                except FileExistsError:
                    return False
                return True
            final = self._path(name)
            make_dirs(final.parent)
            with self.scratch() as scratch:
                draft = scratch / "draft"
                with draft.open("wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
                try:
                    os.link(draft, final)
                except FileExistsError:
                    return False
                _fsync_dir(final.parent)
            return True

    def copy(self, source: str, target: str) -> None:
        """Give a file a second name, at once: a hard link locally, a copy inside the object store."""
        fs, path = self._full(target)
        with explained(f"writing {self.uri(target)}"):
            if not self.is_local:
                fs.cp_file(self._full(source)[1], path)
                return
            final = self._path(target)
            make_dirs(final.parent)
            with self.scratch() as scratch:
                os.link(self._path(source), scratch / "link")
                (scratch / "link").replace(final)
            _fsync_dir(final.parent)

    def delete(self, name: str) -> None:
        """Remove a file; one that is gone already is fine."""
        fs, path = self._full(name)
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    def delete_folder(self, name: str) -> None:
        """Remove a folder and what is in it; one that is gone already is fine."""
        fs, path = self._full(name)
        with suppress(FileNotFoundError):
            fs.rm(path, recursive=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a local folder for drafts, on the data set's own file system when that is local; removed afterwards."""
        if self.is_local:
            folder = Path(self.root) / _SCRATCH / f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
            with explained(f"making {folder}"):
                folder.mkdir(parents=True)
        else:
            folder = Path(tempfile.mkdtemp(prefix="tamis-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed runs left behind; call it only while holding the data set's lock."""
        if self.is_local:
            shutil.rmtree(Path(self.root) / _SCRATCH, ignore_errors=True)
        else:
            self.delete_folder(_SCRATCH)
