"""The little web as data: every picture, what its origin answers and what has to become of it; pure in its seed."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.demo import reservations, specials
from pipeline.demo.builder import HOSTILE_SITES, LEAVING_SITE, SITES, Builder, Leaving, ok
from pipeline.demo.fate import Fate
from pipeline.demo.origin import Origin, Reply
from pipeline.demo.pictures import NEAR_COPIES, TYPES, Picture

WRONG_FRAC = 0.18
"""Share of the pictures that stand beside the text of another one."""
COPIES_FRAC = 0.28
"""Copies for each picture that stands beside its own text."""
TIMEOUT_S = 4.0


@dataclass(frozen=True)
class World:
    """What the origin serves, what the crawler asks for, and the fates."""

    fates: list[Fate]
    replies: dict[str, Reply]
    pages: list[str]
    captured: list[str]
    leaving: Leaving

    @property
    def crawl_urls(self) -> list[str]:
        """List what the crawler asks for: every page, and the few pictures that the crawl is to hold."""
        return [*self.pages, *self.captured]


def open_origin(port: int = 0) -> Origin:
    """Bind the sites of the little web; the same port gives the same URLs, and so the same uids."""
    return Origin([*SITES, *HOSTILE_SITES, LEAVING_SITE, *reservations.RESERVING_SITES], port=port)


def build(origin: Origin, *, pictures: int | None = None, seed: int = 2026) -> World:
    """Build the world for an origin's addresses from at most so many pictures (all there are by default)."""
    builder = Builder(origin, limit=pictures, seed=seed)
    wrong = round(len(builder.pool) * WRONG_FRAC)
    specials.add_all(builder)
    reservations.add_all(builder)
    _wrong_texts(builder, [builder.take() for _ in range(wrong)])
    matched: list[tuple[Fate, Picture]] = []
    while builder.pool:
        picture = builder.take()
        fate = builder.add("matched", f"{builder.site()}:{builder.path(picture)}", picture.text, ok(picture))
        matched.append((fate, picture))
    _copies(builder, matched)
    pages = builder.lay_out()
    return World(builder.fates, builder.replies, pages, builder.captured, builder.leaving)


def _wrong_texts(builder: Builder, shown: list[Picture]) -> None:
    """Give each picture the text of the next one."""
    for picture, other in zip(shown, shown[1:] + shown[:1], strict=True):
        builder.add("wrong_text", f"{builder.site()}:{builder.path(other)}", other.text, ok(picture))


def _copies(builder: Builder, matched: list[tuple[Fate, Picture]]) -> None:
    """Plant exact and near copies in equal numbers of each sort; some originals get several, of different sorts."""
    times = max(1, round(len(matched) * COPIES_FRAC / (len(NEAR_COPIES) + 1)))
    pool = builder.rng.permutation(len(matched))[: max(times, round(len(matched) * COPIES_FRAC * 0.7))]
    for sort in ("exact", *NEAR_COPIES):
        for row in builder.rng.permutation(pool)[:times]:
            fate, picture = matched[int(row)]
            data = picture.data if sort == "exact" else NEAR_COPIES[sort](picture.pixels(), builder.rng)
            kind, suffix = f"copy_{sort}", _suffix(data)
            reply = Reply(200, (("Content-Type", TYPES[suffix]),), data)
            text = fate.text if builder.rng.random() < 0.7 else fate.text.title()
            where = f"{builder.site()}:{builder.path(picture, 'copies', suffix)}"
            builder.add(kind, where, text, reply, copy_of=fate.url)


def _suffix(data: bytes) -> str:
    return "png" if data.startswith(b"\x89PNG") else "webp" if data.startswith(b"RIFF") else "jpg"


def config_toml(folder: Path, origin: Origin) -> str:
    """Write the run's configuration: the crawl of `folder` into a data set beside it."""
    return f"""\
dataset = {json.dumps(str(folder / "dataset"))}
inputs  = [{json.dumps(str(folder / "crawl" / "*.warc.gz"))}]

[candidates]
part_rows = 400

[text]
min_chars = 3

[fetch]
from_warc   = true
allow_hosts = {json.dumps(origin.hosts)}
timeout_s   = {TIMEOUT_S}
max_bytes   = 5_000_000
retries     = 1
resize_px   = 256

[clip]
model     = "tamis-mini"
threshold = 0.10

[filters]
min_px = 64
"""
