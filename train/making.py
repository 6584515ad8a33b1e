"""Pictures are made in batches and written one by one, each with its facts and, if asked, compared with the training rows."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import InputError
from pipeline.given_picture import read_rgb
from train.asking import Ask, shown_name
from train.exported.pipeline import TamisPipeline
from train.exported.sampling import half
from train.provenance import SOURCE_TYPE, encode, sign


@dataclass(frozen=True)
class Settings:
    """How pictures are made; what is absent is the model's own default."""

    steps: int = 12
    guidance: float = 3.0
    solver: str | None = None
    batch: int = 16
    start: Path | None = None
    mask: Path | None = None
    strength: float = 0.7
    height_px: int | None = None
    width_px: int | None = None
    precision: str = "auto"
    """float32 or bfloat16; auto: bfloat16 where the processor has it."""


@dataclass(frozen=True)
class Near:
    """A training row that a made picture is near to."""

    uid: str
    cos: float
    agreement: float
    """Share of picture blocks that agree after alignment, 0 to 1 (filters.pixels)."""
    copy: bool


@dataclass(frozen=True)
class Finding:
    """What a made picture was found to be near to."""

    near: Near | None
    removed: bool
    """It looks like a picture that somebody had removed, or that a list names."""

    @property
    def copy(self) -> bool:
        """Tell whether it is a copy of either."""
        return self.removed or (self.near is not None and self.near.copy)


_LINE_PX = 13
Check = Callable[[Image.Image], Finding]


@dataclass(frozen=True)
class Made:
    """A picture and all that is known of how it came about."""

    picture: Image.Image
    facts: dict[str, Any]
    found: Finding | None = None

    @property
    def copy(self) -> bool:
        """Tell whether it was compared and found to be a copy."""
        return self.found is not None and self.found.copy


@dataclass(frozen=True)
class Signing:
    """A user's certificate chain and private key, PEM."""

    certificate: Path
    private_key: Path

    def must_sign(self, form: str) -> None:
        """Sign a blank picture, before anything is drawn; InputError when certificate and key do not fit."""
        sign(encode(Image.new("RGB", (8, 8)), form, {}), form, {}, self.certificate, self.private_key)


@dataclass
class Maker:
    """Makes pictures with a pipeline; `model` are the facts that go into every picture."""

    pipeline: TamisPipeline
    model: dict[str, Any]
    settings: Settings = field(default_factory=Settings)
    check: Check | None = None

    def make(self, asks: Iterable[Ask]) -> Iterator[Made]:
        """Yield the pictures in the order of the asks; what each looks like does not depend on the others."""
        waiting = iter(asks)
        while block := list(islice(waiting, self.settings.batch)):
            yield from self._block(block)

    def _block(self, asks: Sequence[Ask]) -> Iterator[Made]:
        how = self.settings
        seeds = [ask.seed for ask in asks]
        more: dict[str, Any] = {**self._embeddings(asks), "height": how.height_px, "width": how.width_px}
        if how.start is not None:
            more |= {"image": Image.fromarray(read_rgb(how.start)), "strength": how.strength}
            more["mask_image"] = None if how.mask is None else Image.fromarray(read_rgb(how.mask)).convert("L")
        try:
            pictures = self.pipeline(
                seeds=seeds,
                num_inference_steps=how.steps,
                guidance_scale=how.guidance,
                solver=how.solver,
                precision=how.precision,
                **more,
            ).images
        except ValueError as error:
            raise InputError(str(error)) from error
        for ask, picture in zip(asks, pictures, strict=True):
            facts = self.model | self._facts() | ask.told | {"seed": ask.seed}
            yield Made(picture, facts, self.check(picture) if self.check else None)

    def _embeddings(self, asks: Sequence[Ask]) -> dict[str, torch.Tensor]:
        if all(ask.image is not None for ask in asks):
            return {"image_embeds": torch.stack([ask.image for ask in asks if ask.image is not None])}
        return {"text_embeds": torch.stack([ask.text for ask in asks if ask.text is not None])}

    def _facts(self) -> dict[str, Any]:
        how = self.settings
        told: dict[str, Any] = {"steps": how.steps, "guidance": how.guidance, "digital_source_type": SOURCE_TYPE}
        told["solver"] = how.solver or self.pipeline.default_solver
        told["precision"] = "bfloat16" if half(how.precision, self.pipeline.device) else "float32"
        if how.start is not None:
            told |= {"start": shown_name(how.start), "strength": how.strength}
            told |= {"mask": shown_name(how.mask)} if how.mask is not None else {}
        return told


def write(made: Made, folder: Path, number: int, form: str, signing: Signing | None = None) -> Path:
    """Write a picture with its facts in it and return its path; one that is too near a training row is named so."""
    facts = made.facts
    near = made.found.near if made.found is not None else None
    if near is not None and near.copy:
        facts = facts | {"copy_of": near.uid, "copy_cos": round(near.cos, 4)}
    if made.found is not None and made.found.removed:
        facts = facts | {"copy_of_removed": True}
    data = encode(made.picture, form, facts)
    if signing is not None:
        data = sign(data, form, facts, signing.certificate, signing.private_key)
    mark = ".copy" if made.copy else ""
    path = folder / f"{number:05d}-{facts['seed']}{mark}.{form}"
    draft = folder / f".{path.name}.draft"
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return path


def sheet(made: Sequence[Made], cell_px: int = 128) -> Image.Image:
    """Return the pictures side by side, each over its prompt."""
    columns = max(1, math.ceil(math.sqrt(len(made) * 1.4)))
    rows, line_px = math.ceil(len(made) / columns), 2 * _LINE_PX + 2
    page = Image.new("RGB", (columns * (cell_px + 8) + 8, rows * (cell_px + line_px + 8) + 8), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for at, one in enumerate(made):
        left, top = 8 + at % columns * (cell_px + 8), 8 + at // columns * (cell_px + line_px + 8)
        scale = cell_px / max(one.picture.size)
        way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        small = one.picture.convert("RGB").resize(
            (round(one.picture.width * scale), round(one.picture.height * scale)), way
        )
        page.paste(small, (left, top))
        words = str(one.facts.get("prompt") or one.facts.get("share") or one.facts.get("image") or "")
        words = "\n".join(_lines(words, lambda text: draw.textlength(text, font) <= cell_px))
        draw.multiline_text((left, top + cell_px + 1), words, "#b3261e" if one.copy else "#222222", font, spacing=1)
    return page


def _lines(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Return a text in two lines at most, broken between words; what is left over is cut off."""
    words = text.split()
    first = next((n for n in range(len(words), 0, -1) if fits(" ".join(words[:n]))), 1)
    lines = [" ".join(words[:first]), " ".join(words[first:])]
    return [_cut(one, fits) for one in lines if one]


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    while text and not fits(text):
        text = text[:-2].rstrip("…") + "…"
    return text


def line(made: Made, path: Path) -> str:
    """Return a picture's facts as a line of JSON."""
    told = {"file": path.name, **made.facts}
    if made.found is not None:
        told["near"] = vars(made.found.near) if made.found.near is not None else None
        told["looks_removed"] = made.found.removed
    return json.dumps(told, ensure_ascii=False, sort_keys=True, allow_nan=False)
