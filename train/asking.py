"""What pictures are asked for: prompts, files of prompts, pictures to vary, ways between two, and text differences."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from train.exported.sampling import slerp, text_difference

Told = dict[str, Any]
_MOST_CHARS: Final = 10_000
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 does not allow (section 2.2), and the control characters that it only discourages."""


class Encoder(Protocol):
    """The CLIP model that a training set was embedded with."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return f16[B,D], unit norm."""
        ...

    def picture(self, path: Path) -> NDArray[np.float16]:
        """Return f16[D], unit norm."""
        ...


@dataclass(frozen=True)
class Ask:
    """One picture to be made: an embedding of a text or of a picture f32[D], its seed, and what was said, for the facts."""

    seed: int
    told: Told
    text: torch.Tensor | None = None
    image: torch.Tensor | None = None


def prompts(encoder: Encoder, lines: Sequence[Told], seed: int, count: int) -> Iterator[Ask]:
    """Yield `count` pictures a line {"prompt": …, "seed": … or absent}; seeds count on from `seed` where none is given."""
    for line in lines:
        _writable(line["prompt"])
    for start in range(0, len(lines), 256):
        block = lines[start : start + 256]
        vectors = torch.from_numpy(encoder.texts([line["prompt"] for line in block]).astype(np.float32))
        for at, (line, vector) in enumerate(zip(block, vectors, strict=True), start):
            first = int(line.get("seed", seed + at * count))
            if first + count > 2**63:
                raise InputError(
                    f"prompt {line['prompt']!r}: {count} pictures from seed {first} on pass 2⁶³ - 1, the last seed"
                )
            for more in range(count):
                yield Ask(first + more, {"prompt": line["prompt"]}, text=vector)


def read_prompts(file: Path) -> list[Told]:
    """Read a file of prompts: one a line, or JSON lines {"prompt", "seed"}; InputError names a line that is neither."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may hold what Unicode calls line ends
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    found = [_line(file, number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(f"{file}: holds no prompt; write one a line")
    return found


def _line(file: Path, number: int, line: str) -> Told:
    if not line.startswith("{"):
        return {"prompt": line}
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}, line {number}: not JSON ({error})") from error
    seed = told.get("seed", 0)
    sound = isinstance(told.get("prompt"), str) and type(seed) is int and 0 <= seed < 2**63
    if not sound:
        raise InputError(
            f'{file}, line {number}: give {{"prompt": "…", "seed": 7}}; the seed, 0 to 2⁶³ - 1, may be absent'
        )
    return {name: told[name] for name in ("prompt", "seed") if name in told}


def _writable(prompt: str) -> None:
    """Refuse a prompt that is a book, or that no picture's metadata can hold (XML 1.0, section 2.2)."""
    if len(prompt) > _MOST_CHARS:
        raise InputError(
            f"prompt {prompt[:40]!r}…: {len(prompt):,} characters, of which a CLIP reads some hundred; {_MOST_CHARS:,} at most"
        )
    bad = _UNWRITABLE.search(prompt)
    if bad is not None:
        raise InputError(
            f"prompt {prompt!r}: U+{ord(bad[0]):04X} is no character that a picture's metadata can hold; leave it out"
        )


def shown_name(picture: Path) -> str:
    """Return a file's name as metadata can hold it: what is no Unicode, or no character of XML, becomes U+FFFD."""
    return _UNWRITABLE.sub("\ufffd", os.fsencode(picture.name).decode("utf-8", "replace"))


def variations(encoder: Encoder, picture: Path, seed: int, count: int) -> list[Ask]:
    """Return pictures that say the same as a picture, each drawn anew (Ramesh et al. 2022, section 3.1)."""
    vector = _vector(encoder, picture)
    return [Ask(seed + at, {"image": shown_name(picture)}, image=vector) for at in range(count)]


def between(encoder: Encoder, one: Path, two: Path, seed: int, count: int) -> list[Ask]:
    """Return the way from one picture to another, one noise throughout (section 3.2)."""
    first, last = _vector(encoder, one), _vector(encoder, two)
    shares = [at / max(1, count - 1) for at in range(count)]
    told = {"image": shown_name(one), "between": shown_name(two)}
    return [Ask(seed, {**told, "share": round(share, 4)}, image=slerp(first, last, share)) for share in shares]


def differences(
    encoder: Encoder, picture: Path, towards: str, away: str, seed: int, count: int, most: float
) -> list[Ask]:
    """Return a picture turned more and more towards what one text says beyond another, up to `most` of the way (section 3.3)."""
    for text in (towards, away):
        _writable(text)
    if not 0 < most <= 1:
        raise InputError(f"--strength is {most}; give how far the picture is turned, above 0, at most 1")
    vector = _vector(encoder, picture)
    texts = torch.from_numpy(encoder.texts([towards, away]).astype(np.float32))
    told = {"image": shown_name(picture), "towards": towards, "away": away}
    shares = [most * at / max(1, count - 1) for at in range(count)]
    turned = [text_difference(vector, texts[0], texts[1], share) for share in shares]
    return [Ask(seed, {**told, "share": round(s, 4)}, image=v) for s, v in zip(shares, turned, strict=True)]


def _vector(encoder: Encoder, picture: Path) -> torch.Tensor:
    return torch.from_numpy(encoder.picture(picture).astype(np.float32))
