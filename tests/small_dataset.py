"""A small data set with a known truth, committed by the machinery itself: drawn JPEGs, planned fates, real shards."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import pack
from pipeline.config import parse
from pipeline.ids import stable_hash, uid, uid_digest
from pipeline.rows import PartFiles
from pipeline.schema import CANDIDATE, FETCH
from pipeline.snapshot import PartEntry, Snapshot, publish
from pipeline.stage import Draft, Outcome, Part, Stage, count_reasons, run
from pipeline.store import Store

THRESHOLD_COS = 0.10
WEIGHTS = "464f" * 16
DIMENSIONS = 8
SCRIPT = "<script>alert('alt text')</script> & \"quoted\""
EARLY = {"url_invalid": 3, "text_empty": 40, "opted_out": 6, "duplicate_pair": 25}
ADMIT = {"text_short": 15, "text_filename": 6, "text_boilerplate": 4}
FETCHED = {"http_4xx": 10, "timeout": 3, "robots_disallow": 5, "html_not_image": 2}
LATE = {"embed_nonfinite": 1, "clip_low": 22, "size_small": 5, "duplicate_of": 9}
KEPT = 38
ROWS = sum([*ADMIT.values(), *FETCHED.values(), *LATE.values(), KEPT])  # of a part
_STATUS = {"http_4xx": 404, "html_not_image": 200, "timeout": None, "robots_disallow": None}
_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (196, 62, 54), "blue": (52, 98, 178), "green": (70, 140, 84), "yellow": (232, 190, 70),
    "violet": (122, 84, 160),
    "orange": (222, 126, 48), "white": (244, 242, 236), "black": (40, 42, 48), "turquoise": (60, 164, 164),
}  # fmt: skip
_SHAPES = ("circle", "square", "triangle", "star", "ring")
_SIZES = ((640, 480), (800, 600), (400, 400), (1920, 1080), (320, 480), (1024, 768), (300, 120))
_DOMAINS = (
    "pictures.example", "museum.example", "travel-notes.example", "shop.example", "xn--bcher-kva.example",
    "garden.example", "photo$club.example", "an-uncommonly-long-name-of-a-domain-that-goes-on.example",
)  # fmt: skip
_TEXTS = (
    SCRIPT,
    "دائرة حمراء على خلفية زرقاء",
    "赤い円と青い背景",
    "ein blauer Stern, der allein am Rand eines Feldes steht",
)


@dataclass(frozen=True)
class Small:
    """The data set and what is true of it."""

    store: Store
    snapshot: Snapshot
    parts: int

    def count(self, planned: Mapping[str, int]) -> dict[str, int]:
        """Return how often each of the planned reasons of a part occurs in the whole."""
        return {reason: n * self.parts for reason, n in planned.items()}


def draw(number: int) -> tuple[NDArray[np.uint8], str]:
    """Draw a shape on a ground, u8[H,W,3] RGB at most 256 px high, and say what it is."""
    names = list(_COLOURS)
    shape, ground = _SHAPES[number % 5], names[number % 9]
    colour = names[(number // 5 + 1 + names.index(ground)) % 9]
    colour = names[(names.index(ground) + 1) % 9] if colour == ground else colour
    width, height = (round(side * 256 / min(_SIZES[number % 7])) for side in _SIZES[number % 7])
    width, height = min(width, 480), min(height, 480)
    picture = np.full((height, width, 3), _COLOURS[ground], np.uint8)
    picture = (picture * np.linspace(0.82, 1.0, height)[:, None, None]).astype(np.uint8)
    x, y, r = width // 2 + number % 11 * 3 - 15, height // 2 + number % 7 * 3 - 9, min(width, height) // 3
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    corners = {
        "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        "triangle": [(0, -1), (0.9, 0.7), (-0.9, 0.7)],
        "star": [(np.cos(t) * s, np.sin(t) * s) for t, s in zip(turns, [1, 0.42] * 5, strict=True)],
    }
    if shape in corners:
        points = np.array([(x + dx * r, y + dy * r) for dx, dy in corners[shape]], np.int32)
        cv2.fillPoly(picture, [points], _COLOURS[colour], cv2.LINE_AA)
    else:
        cv2.circle(picture, (x, y), r, _COLOURS[colour], -1 if shape == "circle" else r // 3, cv2.LINE_AA)
    return picture, f"a {colour} {shape} on a {ground} ground, drawn number {number}"


def jpeg(number: int) -> bytes:
    """Return a drawing as JPEG bytes."""
    done, data = cv2.imencode(".jpg", draw(number)[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return data.tobytes()


def build(root: Path, parts: int = 2, shard_samples: int = 50) -> Small:
    """Build and publish a data set of `parts` parts with `ROWS` candidates each."""
    store = Store.open_url(str(root))
    config = parse(
        {
            "dataset": str(root),
            "inputs": ["crawl/little-web-*.warc.gz"],
            "text": {"min_words": 3},
            "fetch": {"allow_hosts": ["127.0.0.1"]},
        }
    )
    tables = [_Planned(number) for number in range(parts)]
    extract = run(store, Stage("extract", lambda draft: _extract(draft, parts), {"unit": "crawl/little-web-1.warc.gz"}))
    layout = run(store, Stage("layout", lambda draft: _layout(draft, tables, parts), {"bucket": 0}), [extract])
    candidates = [Part(**facts) for facts in layout.facts["parts"]]
    files = [_commit(store, planned, part) for planned, part in zip(tables, candidates, strict=True)]
    kept = [pack.KeptPart(f, KEPT, f.decide.facts["kept_bytes"]) for f in files if f.decide]
    slices = pack.plan_shards(kept, shard_samples, 10**9)
    shards = [pack.pack(store, "000001", i, piece, pack.shard_key(piece)) for i, piece in enumerate(slices)]
    public = config.model_dump(mode="json", exclude={"cluster", "dataset"})
    dropped = Counter({reason: n * parts for reason, n in (EARLY | ADMIT | FETCHED | LATE).items()})
    snapshot = Snapshot(
        number=1,
        parent=None,
        config=public,
        config_digest=stable_hash(public),
        rows_in=parts * (ROWS + sum(EARLY.values())),
        rows=parts * KEPT,
        dropped=dict(sorted(dropped.items())),
        extracts=[extract.key],
        layouts=[layout.key],
        parts=[PartEntry(f.candidates.key, f.stages()) for f in files],
        shards=shards,
        clip={"model": "tamis-mini", "pretrained": None, "weights_sha256": WEIGHTS, "threshold_cos": THRESHOLD_COS},
    )
    publish(store, snapshot)
    return Small(store, snapshot, parts)


class _Planned:
    """What happens to each row of one part, in uid order."""

    def __init__(self, number: int) -> None:
        chance = np.random.default_rng(number)
        plan = [reason for reason, n in (ADMIT | FETCHED | LATE | {"": KEPT}).items() for _ in range(n)]
        rows: list[dict[str, Any]] = []
        for i, reason in enumerate(plan):
            serial = number * ROWS + i
            text = draw(serial)[1]
            if reason == "" and i % 9 == 0:
                text = _TEXTS[i // 9 % len(_TEXTS)]
            domain = _DOMAINS[min(int(chance.exponential(1.8)), len(_DOMAINS) - 1)]
            url = f"https://www.{domain}/{number}/{i:04d}.jpg"
            row = {"uid": uid(url, text), "url": url, "text": text, "domain": domain, "picture": serial}
            rows.append(row | {"reason": reason or None})
        keepers = [row["uid"] for row in rows if row["reason"] is None]
        losers = [row for row in rows if row["reason"] == "duplicate_of"]
        for i, row in enumerate(losers):
            row["duplicate_of"] = keepers[0 if i < 5 else i]
            row["picture"] = next(r["picture"] for r in rows if r["uid"] == row["duplicate_of"])
        self.rows: list[dict[str, Any]] = sorted(rows, key=lambda row: row["uid"])
        for row in self.rows:
            if row["reason"] == "clip_low":
                row["cos"] = float(np.clip(chance.normal(0.02, 0.05), -0.2, 0.0995))
            else:
                row["cos"] = float(np.clip(chance.normal(0.22, 0.07), 0.1005, 0.6))

    @property
    def uids(self) -> pa.Array:
        return pa.array([row["uid"] for row in self.rows], pa.binary(16))

    def where(self, reasons: Sequence[str | None]) -> list[dict[str, Any]]:
        """Return the rows that end by one of the reasons."""
        return [row for row in self.rows if row["reason"] in reasons]


def _table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def _extract(draft: Draft, parts: int) -> Outcome:
    dropped = {reason: EARLY[reason] * parts for reason in ("url_invalid", "text_empty", "opted_out")}
    rows = parts * (ROWS + EARLY["duplicate_pair"])
    draft.table(pa.table({"dh": pa.array([], pa.uint64())}), "domains.parquet")
    counts = {"records": 900 * parts, "pages": 60 * parts, "images": rows + sum(dropped.values()), "bad_records": 1}
    return Outcome(rows + sum(dropped.values()), rows, dropped, {"counts": counts, "kind": "warc"})


def _layout(draft: Draft, planned: Sequence[_Planned], parts: int) -> Outcome:
    committed = []
    for number, part in enumerate(planned):

        def write(inner: Draft, part: _Planned = part) -> Outcome:
            same = {"text_from": "alt", "source": "little-web", "tags": 1}
            rows = [row | same | {"page_url": f"https://www.{row['domain']}/"} for row in part.rows]
            inner.table(_table(CANDIDATE, rows))
            return Outcome(ROWS, ROWS, {}, {"captured": 0})

        committed.append(run(draft.store, Stage("candidates", write, {"layout": draft.key, "number": number})))
    merged = EARLY["duplicate_pair"] * parts
    draft.table(pa.table({"uid": pa.array([], pa.binary(16))}), "known.parquet")
    facts = {"parts": [part.__dict__ for part in committed]}
    return Outcome(parts * ROWS + merged, parts * ROWS, {"duplicate_pair": merged}, facts)


def _commit(store: Store, planned: _Planned, candidates: Part) -> PartFiles:
    """Send one part through the remaining stages."""

    def commit(name: str, fn: Callable[[Draft, _Planned], Outcome], *inputs: Part) -> Part:
        return run(store, Stage(name, lambda draft: fn(draft, planned), {}), inputs)

    early = (*ADMIT, *FETCHED, *(reason for reason in LATE if reason != "duplicate_of"))
    texts = commit("texts", _texts, candidates)
    admit = commit("admit", partial(_reasons, known=tuple(ADMIT)), candidates, texts)
    fetch = commit(f"fetch/{candidates.key}", _fetch, candidates)
    embed = commit("embed", _embed, candidates, fetch)
    scores = commit("scores", _scores, candidates, fetch, embed)
    judge = commit("judge", partial(_reasons, known=early), candidates, admit, fetch, embed, scores)
    decide = commit("decide", partial(_decide, fetched=fetch), judge)
    return PartFiles(candidates, admit, [fetch], [embed], scores, decide)


def _texts(draft: Draft, planned: _Planned) -> Outcome:
    codes = {_TEXTS[1]: "ar", _TEXTS[2]: "ja", _TEXTS[3]: "de"}
    columns = {
        "uid": planned.uids,
        "text_words": pa.array([len(row["text"].split()) for row in planned.rows], pa.int32()),
        "language": pa.array([codes.get(row["text"], "en") for row in planned.rows]),
    }
    draft.table(pa.table(columns))
    return Outcome(ROWS, ROWS)


def _reasons(draft: Draft, planned: _Planned, known: Sequence[str]) -> Outcome:
    reasons = pa.array([row["reason"] if row["reason"] in known else None for row in planned.rows], pa.string())
    draft.table(pa.table({"uid": planned.uids, "reason": reasons}))
    dropped = count_reasons(reasons)
    return Outcome(ROWS, ROWS - sum(dropped.values()), dropped)


def _fetch(draft: Draft, planned: _Planned) -> Outcome:
    rows, at = [], 0
    with draft.path("tar").open("wb") as tar:
        for row in planned.where([*FETCHED, *LATE, None]):
            reason = row["reason"] if row["reason"] in FETCHED else None
            fact = {"uid": row["uid"], "reason": reason, "transient": reason == "timeout", "via": "web"}
            fact["http_status"] = _STATUS.get(reason or "", 200)
            if reason is None:
                picture = jpeg(row["picture"])
                width, height = (24, 24) if row["reason"] == "size_small" else _SIZES[row["picture"] % 7]
                stored = draw(row["picture"])[0].shape
                member = pack.member(f"{row['uid'].hex()}.jpg", picture)
                tar.write(member)
                fact |= {
                    "sha256": bytes.fromhex(f"{row['picture']:064x}"), "width_px": stored[1], "height_px": stored[0],
                    "original_width_px": width, "original_height_px": height,
                    "format": "png" if row["picture"] % 4 == 0 else "jpeg",
                    "original_bytes": 4 * len(picture), "tar_offset": at + 512, "tar_bytes": len(picture),
                }  # fmt: skip
                at += len(member)
            rows.append(fact)
    draft.table(_table(FETCH, rows))
    lost = sum(FETCHED.values())
    return Outcome(len(rows), len(rows) - lost, FETCHED, {"base": "b", "generation": 0, "extension": "jpg"})


def _looked_at(planned: _Planned) -> list[dict[str, Any]]:
    return planned.where([*(reason for reason in LATE if reason != "embed_nonfinite"), None])


def _embed(draft: Draft, planned: _Planned) -> Outcome:
    rows = _looked_at(planned)
    image = np.zeros((len(rows), DIMENSIONS), np.float32)
    image[:, 0] = 1
    cos = np.array([row["cos"] for row in rows])
    text = np.zeros_like(image)
    text[:, 0], text[:, 1] = cos, np.sqrt(1 - cos**2)
    np.save(draft.path("img.npy"), image.astype(np.float16))
    np.save(draft.path("text.npy"), text.astype(np.float16))
    draft.table(pa.table({"uid": pa.array([row["uid"] for row in rows], pa.binary(16))}))
    return Outcome(len(rows) + 1, len(rows), {"embed_nonfinite": 1})


def _scores(draft: Draft, planned: _Planned) -> Outcome:
    rows = _looked_at(planned)
    cos = pa.array([row["cos"] for row in rows], pa.float32())
    draft.table(pa.table({"uid": pa.array([row["uid"] for row in rows], pa.binary(16)), "clip_cos": cos}))
    return Outcome(len(rows), len(rows))


def _decide(draft: Draft, planned: _Planned, fetched: Part) -> Outcome:
    reasons = pa.array([row["reason"] for row in planned.rows], pa.string())
    copies = pa.array([row.get("duplicate_of") for row in planned.rows], pa.binary(16))
    draft.table(pa.table({"uid": planned.uids, "reason": reasons, "duplicate_of": copies}))
    kept = planned.where([None])
    size = sum(len(jpeg(row["picture"])) for row in kept)
    digest = uid_digest(pa.array([row["uid"] for row in kept]))
    facts = {"kept_digest": digest, "kept_bytes": size, "fetches": [fetched.key]}
    return Outcome(ROWS, KEPT, count_reasons(reasons), facts)
