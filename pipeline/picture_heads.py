"""The heads a configuration names: files of trained layers, or pairs of prompt lists, each made a filter."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filters import heads
from filters.base import Filter
from filters.heads import Scorer
from pipeline.clip_spec import ModelSpec
from pipeline.config import ClipConfig, FiltersConfig, ZeroShotConfig
from pipeline.errors import ConfigError
from pipeline.heads import load_head
from pipeline.stage import sha256_file


@dataclass(frozen=True)
class Head:
    """A filter on stored embeddings, and what its scores depend on."""

    filter: Filter
    identity: dict[str, Any]
    column: str
    """Of its scores; it goes into the shards' sidecars too, where searches can ask for it."""


def picture_heads(filters: FiltersConfig, clip: ClipConfig) -> list[Head]:
    """Return the heads in order: NSFW, watermark, aesthetic, then those made of prompts. ConfigError names a bad file."""
    found = []
    if filters.nsfw_head is not None:
        make = partial(heads.nsfw, max_prob=filters.max_nsfw_prob)
        found.append(_from_file("nsfw", filters.nsfw_head, make, "nsfw_prob"))
    if filters.watermark_head is not None:
        make = partial(heads.watermark, max_prob=filters.max_watermark_prob)
        found.append(_from_file("watermark", filters.watermark_head, make, "watermark_prob"))
    if filters.aesthetic_head is not None:
        make = partial(heads.aesthetic, min_score=filters.min_aesthetic)
        found.append(_from_file("aesthetic", filters.aesthetic_head, make, "aesthetic_score"))
    found += [_from_prompts(name, prompts, clip) for name, prompts in sorted(filters.zero_shot.items())]
    return found


def _from_file(name: str, file: str, make: Callable[..., Filter], column: str) -> Head:
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"filters.{name}_head: no such file: {file}")
    scorer = load_head(path, probability=column.endswith("_prob"))
    return Head(make(scorer=scorer), {"name": name, "sha256": sha256_file(path)}, column)


def _from_prompts(name: str, prompts: ZeroShotConfig, clip: ClipConfig) -> Head:
    """Make a head of prompts. The model is loaded when the first picture is scored, not for a decision."""
    spec = ModelSpec(clip.model, clip.pretrained, clip.precision)
    loaded: list[Scorer] = []

    def scorer(embeddings: heads.Vectors) -> Any:
        if not loaded:
            from pipeline import clip_model

            model = clip_model.load(spec, clip.device)
            positive, negative = (model.texts(p).astype(np.float32) for p in (prompts.positive, prompts.negative))
            loaded.append(heads.zero_shot(positive, negative))
        return loaded[0](embeddings)

    base = heads.nsfw(scorer=scorer, max_prob=prompts.max_prob)
    reasons = (f"{name}_missing", name)
    filter_ = replace(
        base, name=name, reasons=reasons, score=partial(_renamed, base, name), decide=partial(_decided, base, name)
    )
    identity = {"name": name, "positive": prompts.positive, "negative": prompts.negative}
    return Head(filter_, identity, f"{name}_prob")


def _renamed(base: Filter, name: str, table: pa.Table) -> pa.Table:
    return base.score(table).rename_columns([f"{name}_prob"])


def _decided(base: Filter, name: str, table: pa.Table) -> pa.Array:
    reasons = base.decide(pa.table({"nsfw_prob": table[f"{name}_prob"]}))
    names = {"nsfw": name, "nsfw_missing": f"{name}_missing"}
    return pa.array([names.get(reason) if reason else None for reason in reasons.to_pylist()], pa.string())
