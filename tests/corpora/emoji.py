"""emoji.py DEB_FOLDER EMOJIBASE_FOLDER DEST: two artists' emoji with captions, as an img2dataset folder.

The pictures are those of Debian's ruby-gemojione (EmojiOne) and ruby-tanuki-emoji (Noto), the captions emojibase-data's English
labels and tags (MIT); emoji.sh fetches them and calls this. Flags and skin tones are left out: hundreds of pictures that differ
by a few pixels.
"""

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_SHARD = 1_000
_FLAGS = 9
STYLES = {"emojione": "ruby-gemojione", "noto": "ruby-tanuki-emoji"}


def hexcode(path: Path) -> str:
    """Return an emoji's code points as emojibase writes them, without variation selectors."""
    name = path.stem.upper().removeprefix("EMOJI_U").replace("_", "-")
    return "-".join(part.zfill(4) for part in name.split("-") if part != "FE0F")


def captions(emojibase: Path) -> dict[str, tuple[str, list[str]]]:
    """Return code points → (label, tags)."""
    rows = json.loads((emojibase / "en" / "data.json").read_text(encoding="utf-8"))
    plain = [row for row in rows if row.get("group") != _FLAGS]
    return {row["hexcode"].replace("-FE0F", ""): (row["label"], row.get("tags", [])) for row in plain}


def samples(debs: Path, emojibase: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield (URL, caption, PNG) of every emoji that has a caption."""
    told = captions(emojibase)
    for style, package in STYLES.items():
        for path in sorted((debs / package).rglob("*.png")):
            code = hexcode(path)
            if code in told:
                label, tags = told[code]
                more = [tag for tag in tags if tag not in label][:2]
                caption = f"{label}{', ' + ' '.join(more) if more else ''}, {style} emoji"
                yield f"https://{style}.example/{code.lower()}.png", caption, path.read_bytes()


def write(debs: Path, emojibase: Path, dest: Path) -> int:
    """Write the folder and return how many samples it holds."""
    dest.mkdir(parents=True, exist_ok=True)
    rows = list(samples(debs, emojibase))
    for number, start in enumerate(range(0, len(rows), _SHARD)):
        table = []
        with tarfile.open(dest / f"{number:05d}.tar", "w") as tar:
            for at, (url, caption, data) in enumerate(rows[start : start + _SHARD], start):
                key = f"{at:09d}"
                meta = {"key": key, "url": url, "caption": caption, "status": "success", "error_message": None}
                table.append(meta)
                for ending, content in (("png", data), ("txt", caption.encode()), ("json", json.dumps(meta).encode())):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        pq.write_table(pa.Table.from_pylist(table), dest / f"{number:05d}.parquet")
    return len(rows)


if __name__ == "__main__":
    print(write(*map(Path, sys.argv[1:4])), "samples")
