"""Which filters a configuration asks for, and their two halves: scores that are kept, decisions that are redone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.base import Filter
from filters.boilerplate import boilerplate
from filters.clip import clip
from filters.language import language, languages
from filters.size import size
from filters.text import text
from filters.vectorart import vectorart
from pipeline.clip_spec import MINI, MINI_THRESHOLD_COS
from pipeline.config import Config, release_policy
from pipeline.copies_choice import members_of
from pipeline.errors import ConfigError
from pipeline.fetch import FetchOptions
from pipeline.ids import url_hash
from pipeline.picture_heads import picture_heads
from pipeline.refusals import REMOVED
from pipeline.rows import PartFiles, fetched, vectors
from pipeline.schema import MEMBER
from pipeline.stage import Draft, Outcome, Part, Stage, count_reasons

_EXACT_TEXTS = 20_000_000
"""Distinct texts counted exactly; beyond, texts seen once so far are forgotten now and then (lossy counting, Manku & Motwani 2002)."""


@dataclass(frozen=True)
class Decisions:
    """An ordered list of filters; the first reason of a row wins."""

    filters: Sequence[Filter]
    config: dict[str, Any]

    def decide(self, table: pa.Table) -> pa.Array:
        """Return one nullable reason a row."""
        reason = pa.nulls(table.num_rows, pa.string())
        for filter_ in self.filters:
            found = filter_.decide(table)
            reason = pc.coalesce(reason, found)
        return reason


@dataclass(frozen=True)
class Scoring:
    """The filters that look at pictures and vectors; `config` is what their scores depend on."""

    filters: Sequence[Filter]
    config: dict[str, Any]
    heads: Sequence[str] = ()
    """Columns that configured heads write; they stand in the shards too."""

    def score(self, rows: pa.Table, image_emb: NDArray[np.float16], text_emb: NDArray[np.float16]) -> pa.Table:
        """Return the uids with every score, row-aligned."""
        wide = rows.append_column("image_emb", vectors(image_emb)).append_column("text_emb", vectors(text_emb))
        out = pa.table({"uid": rows["uid"]})
        for filter_ in self.filters:
            scores = filter_.score(wide.select([name for name in filter_.reads if name in wide.column_names]))
            for name in scores.column_names:
                out = out.append_column(name, scores[name])
        return out


def threshold_cos(config: Config) -> float:
    """Return the smallest cosine that is kept; ConfigError when the model has no default and none is given."""
    if config.clip.threshold is not None:
        return config.clip.threshold
    if config.clip.model == MINI:
        return MINI_THRESHOLD_COS
    raise ConfigError(
        "clip.threshold: thresholds depend on the model; give one for this model (0.28 is usual for ViT-B/32 and English)"
    )


def fetch_options(config: Config) -> FetchOptions:
    """Return the downloader's options."""
    return FetchOptions(**config.fetch.model_dump(), policy=release_policy(config.signals))


def text_filter(config: Config) -> Filter:
    """Return the filter of text length and kind."""
    t = config.text
    return text(min_words=t.min_words, min_chars=t.min_chars, max_chars=t.max_chars)


def long_enough(table: pa.Table, config: Config) -> pa.Array:
    """Tell which texts pass the limits of length, whatever else is said of them."""
    plain = table.set_column(
        table.schema.get_field_index("text_kind"), "text_kind", pa.nulls(table.num_rows, pa.string())
    )
    return pc.is_null(text_filter(config).decide(plain))


def text_stage() -> Stage:
    """Return the stage that scores texts; thresholds play no part."""
    filters = [text(), language()]

    def score(draft: Draft) -> Outcome:
        rows = draft.inputs[0].table(draft.store, columns=["uid", "text"])
        out = rows.select(["uid"])
        for filter_ in filters:
            scores = filter_.score(rows.select(list(filter_.reads)))
            for name in scores.column_names:
                out = out.append_column(name, scores[name])
        draft.table(out)
        return Outcome(rows.num_rows, rows.num_rows)

    return Stage("texts", score, {f.name: f.version for f in filters})


def text_decisions(config: Config) -> Decisions:
    """Return what decides, before the fetch, whether a text is worth one."""
    keep = config.text.languages
    if keep is not None and (unknown := sorted(set(keep) - languages())):
        raise ConfigError(f"text.languages: unknown {unknown}; ISO 639-1 codes such as {sorted(languages())[:5]}")
    filters = [text_filter(config), language(keep=keep), boilerplate(max_pictures=config.text.max_pictures)]
    if not config.text.drop_filenames:
        filters[0] = _only(filters[0], ("text_missing", "text_short", "text_long"))
    return Decisions(filters, {"text": config.text.model_dump(), "versions": [f.version for f in filters]})


def _only(filter_: Filter, reasons: tuple[str, ...]) -> Filter:
    """Return the filter with only these of its reasons in force."""

    def decide(table: pa.Table) -> pa.Array:
        found = filter_.decide(table)
        return pc.if_else(pc.is_in(found, value_set=pa.array(reasons)), found, None)

    return Filter(filter_.name, filter_.reads, reasons, filter_.score, decide, filter_.version)


def with_text_counts(candidates: pa.Table, scores: pa.Table, counts: pa.Table) -> pa.Table:
    """Return texts with their scores, and on how many pictures and domains of the data set each one stands."""
    hashes = pa.array([_text_hash(t) for t in candidates["text"].to_pylist()], pa.uint64())
    at = pc.index_in(hashes, counts["text_hash"].combine_chunks())
    table = candidates.select(["uid", "text"])
    for name in scores.column_names:
        if name != "uid":
            table = table.append_column(name, scores[name])
    for name in ("text_count", "text_domains"):
        table = table.append_column(name, pc.fill_null(counts[name].combine_chunks().take(at), 1))
    return table


def _text_hash(value: str | None) -> int | None:
    if value is None:
        return None
    return int.from_bytes(url_hash(value.casefold()), "big")


def boilerplate_stage() -> Stage:
    """Return the reduce that counts repeated texts: parts → text hash, pictures, domains (texts seen once are left out)."""

    def count(draft: Draft) -> Outcome:
        total = _PAIR_COUNTS.empty_table()
        rows_in = 0
        for part in draft.inputs:
            rows = part.table(draft.store, columns=["url", "text", "domain"])
            rows_in += rows.num_rows
            rows = rows.filter(pc.is_valid(rows["text"]))  # rows that were erased tell nothing
            hashes = pa.array([_text_hash(t) for t in rows["text"].to_pylist()], pa.uint64())
            domains = pa.array([_text_hash(d) for d in rows["domain"].to_pylist()], pa.uint64())
            pairs = pa.table({"text": hashes, "domain": domains, "url": rows["url"]}).group_by(["text", "domain"])
            counted = pairs.aggregate([("url", "count_distinct")]).rename_columns(
                _PAIR_COUNTS.names
            )  # a URL is in one part
            both = pa.concat_tables([total, counted.cast(_PAIR_COUNTS)]).group_by(["text", "domain"])
            total = both.aggregate([("pictures", "sum")]).rename_columns(_PAIR_COUNTS.names)
            if total.num_rows > _EXACT_TEXTS:
                total = total.filter(pc.greater(total["pictures"], 1))
        texts = total.group_by("text").aggregate([("pictures", "sum"), ("domain", "count")])
        texts = texts.rename_columns(["text_hash", "text_count", "text_domains"])
        draft.table(texts.filter(pc.greater(texts["text_count"], 1)).sort_by("text_hash"))
        return Outcome(rows_in, rows_in)

    return Stage("boilerplate", count, {})


_PAIR_COUNTS = pa.schema([("text", pa.uint64()), ("domain", pa.uint64()), ("pictures", pa.int64())])


def picture_scores(config: Config) -> Scoring:
    """Return the filters whose scores need the picture or its vectors, heads included."""
    heads = picture_heads(config.filters, config.clip)
    filters = [clip(threshold=0.0), vectorart(), *(head.filter for head in heads)]
    identity = {"versions": {f.name: f.version for f in filters}, "heads": [head.identity for head in heads]}
    columns = [head.column for head in heads]
    if columns:  # also so that scores whose record does not tell of them are made anew
        identity["in_shards"] = columns
    return Scoring(filters, identity, columns)


def picture_decisions(config: Config) -> Decisions:
    """Return what decides on a picture that was looked at, in order."""
    f = config.filters
    filters = [size(min_px=f.min_px, max_aspect=f.max_aspect), clip(threshold=threshold_cos(config))]
    filters.append(vectorart(max_score=f.max_vector_art))
    filters += [head.filter for head in picture_heads(f, config.clip)]
    settings = f.model_dump(mode="json") | {"threshold_cos": threshold_cos(config)}
    return Decisions(filters, {"filters": settings, "versions": [x.version for x in filters]})


def judge(
    draft: Draft, part: PartFiles, decisions: Decisions, copies: Part | None, listed: Mapping[str, pa.Array]
) -> Outcome:
    """Decide every candidate row of a part, in the order a row travels: text, fetch, embedding, picture filters.

    `listed` names pictures that were fetched before somebody had them listed. Writes uid and reason of all rows with the size
    of the stored picture, and for members of groups what the choice of the kept one needs (`copies.parquet`: MEMBER).
    """
    store = draft.store
    admitted = part.admit.table(store)
    got = fetched(store, part.fetches)
    assert part.scores is not None
    scores = part.scores.table(store)
    at = pc.index_in(scores["uid"].combine_chunks(), got["uid"].combine_chunks())
    wide = got.take(at)
    stats = pa.concat_tables([embed.table(store) for embed in part.embeds]) if part.embeds else None
    for table in [scores] + ([stats] if stats is not None else []):
        where = pc.index_in(scores["uid"].combine_chunks(), table["uid"].combine_chunks())
        for name in table.column_names:
            if name not in wide.column_names:
                wide = wide.append_column(name, table[name].combine_chunks().take(where))
    judged = decisions.decide(wide)
    uids = admitted["uid"].combine_chunks()
    in_got = pc.index_in(uids, got["uid"].combine_chunks())
    in_scores = pc.index_in(uids, scores["uid"].combine_chunks())
    looked_at = pc.is_valid(in_scores)
    late = pc.if_else(looked_at, judged.take(in_scores), "embed_nonfinite")
    fetch_reason = got["reason"].combine_chunks().take(in_got)
    for said, out in listed.items():
        late = pc.if_else(pc.is_in(uids, value_set=out), said, late)
    reason = pc.coalesce(admitted["reason"].combine_chunks(), pc.coalesce(fetch_reason, late))
    draft.table(
        pa.table(
            {
                "uid": uids,
                "reason": reason,
                "tar_bytes": got["tar_bytes"].combine_chunks().take(in_got),
                "fetch_key": got["fetch_key"].combine_chunks().take(in_got),
            }
        )
    )
    final = reason.take(pc.index_in(wide["uid"].combine_chunks(), uids))
    draft.table(_members(store, wide, final, copies), "copies.parquet")
    dropped = count_reasons(reason)
    return Outcome(admitted.num_rows, admitted.num_rows - sum(dropped.values()), dropped)


def _members(store: Any, wide: pa.Table, reason: pa.Array, copies: Part | None) -> pa.Table:
    if copies is None:
        return MEMBER.empty_table()
    groups, near = members_of(store, copies)
    at = pc.index_in(wide["uid"].combine_chunks(), groups["uid"].combine_chunks())
    px = pc.multiply(pc.cast(wide["original_width_px"], pa.int64()), pc.cast(wide["original_height_px"], pa.int64()))
    group = groups["group"].combine_chunks().take(at)
    removed = pc.is_in(reason, value_set=pa.array(REMOVED))
    columns = [
        wide["uid"],
        group,
        pc.fill_null(px, 0),
        pc.fill_null(wide["clip_cos"], 0.0),
        pc.is_null(reason),
        removed,
    ]
    table = pa.table(columns, schema=MEMBER)
    return table.filter(pc.or_(pc.is_valid(at), pc.is_in(wide["uid"].combine_chunks(), value_set=near)))
