"""The steps that make tamis-mini, in their order; each leaves its result in the folder, and is not done twice.

About 75 minutes on two cores. Stopped at any moment, it goes on at the step, the block or the hundred steps it was at.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from pipeline.errors import InputError
from pipeline.store import Store
from train.beginning import MODEL
from train.clip_base import WEIGHTS, preprocessing
from train.clip_pixels import Look
from train.draws import seeded
from train.mini import features, heads, measure, phrases, towers
from train.mini.packages import Packages
from train.mini.pictures import Drawing, drawings
from train.mini.towers import Say

TEACH_STEPS: Final = 1_600
TEACH_BLOCK: Final = 4_096


@dataclass(frozen=True)
class Told:
    """What the folder knows of a picture."""

    number: int
    source: str
    name: str
    captions: list[str]
    held_out: bool


@dataclass(frozen=True)
class Recipe:
    """A folder of packages, the folder of results, and the share of it all that is done: 1, or less to try the way."""

    packages: Packages
    folder: Path
    share_frac: float
    say: Say

    def cook(self) -> dict[str, dict[str, float]]:
        """Do what is not done yet, and return what was measured of the model in `open_clip/`.

        On the clip art held out: with their titles as texts, and with all that is said of each (title, description, keywords).
        """
        self.packages.check()
        if find_spec("resvg_py") is None:
            raise InputError(
                "Fluent's emoji are SVG files: `pip install 'tamis[demo]'` brings resvg-py, which draws them"
            )
        self._once("share.json", lambda: json.dumps(self.share_frac))
        if (held := json.loads((self.folder / "share.json").read_text())) != self.share_frac:
            raise InputError(f"{self.folder} was begun with --share {held:g}; go on so, or name another folder")
        self._once("pictures.jsonl", self._draw)
        self._once("phrases.json", self._phrases)
        self._once("taught.json", self._teach)
        self._once("seen.json", self._see)
        self._once("figures.json", self._bring_together)
        found: dict[str, dict[str, float]] = json.loads((self.folder / "figures.json").read_text())
        return found

    def _once(self, name: str, make: Any) -> None:
        """Make a result unless it is there; it is written whole or not at all."""
        if not (self.folder / name).is_file():
            self.say(f"making {name}")
            Store(str(self.folder)).write(name, make().encode())

    def _chosen(self, name: str) -> bool:
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.share_frac * 2**64

    def _steps(self, whole: int) -> int:
        return max(10, round(whole * self.share_frac))

    def _draw(self) -> str:
        """Draw every picture at 256 px; return a line a picture, in the order of their files."""
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        chosen = (one for one in drawings(self.packages) if self._chosen(one.name))
        for number, one in enumerate(
            chosen
        ):  # those that cannot be read keep their numbers, so that files stay whose they are
            if not (self._file(number).exists() or self._drawn(one, number)):
                continue
            told = Told(number, one.source, one.name, list(one.captions), one.held_out)
            lines.append(json.dumps(asdict(told), ensure_ascii=False))
            if len(lines) % 1_000 == 0:
                self.say(f"pictures: {len(lines):,}")
        self.say(f"pictures: {len(lines):,}")
        return "\n".join(lines)

    def _file(self, number: int) -> Path:
        return self.folder / "pictures" / f"{number:05d}.png"

    def _drawn(self, one: Drawing, number: int) -> bool:
        rgb = one.pixels()
        if rgb is None:
            return False
        draft = self._file(number).with_suffix(".draft.png")
        cv2.imwrite(str(draft), rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        draft.replace(self._file(number))
        return True

    @cached_property
    def told(self) -> list[Told]:
        """Return what is told of every picture."""
        return [Told(**json.loads(line)) for line in (self.folder / "pictures.jsonl").read_text().split("\n")]

    def _phrases(self) -> str:
        captions = [caption for one in self.told if not one.held_out for caption in one.captions]
        found = [one for one in phrases.phrases(self.packages, captions) if self._chosen(one)]
        self.say(f"phrases: {len(found):,}")
        return json.dumps(found, ensure_ascii=False)

    def _teach(self) -> str:
        """Teach the text tower what MiniLM says of the phrases."""
        said: list[str] = json.loads((self.folder / "phrases.json").read_text())
        teacher = phrases.Teacher(self.packages)
        vectors = self._taught(teacher, said)
        basis = towers.directions(vectors, 256)
        targets = vectors.astype(np.float32) @ basis
        kept = float(np.linalg.norm(targets, axis=1).mean())
        targets /= np.linalg.norm(targets, axis=1, keepdims=True) + 1e-6
        text = towers.blank().text
        words = towers.first_words(teacher.words, teacher.tokenizer, text.token_embedding.weight.shape[1])
        text.token_embedding.weight.data.copy_(words)
        towers.distil(text, said, targets, self.folder / "text", self._steps(TEACH_STEPS), self.say)
        return json.dumps({"phrases": len(said), "length_kept_of_256": kept})

    def _taught(self, teacher: phrases.Teacher, said: list[str]) -> NDArray[np.float16]:
        (self.folder / "teacher").mkdir(exist_ok=True)
        found = []
        for number, at in enumerate(range(0, len(said), TEACH_BLOCK)):
            path = self.folder / "teacher" / f"{number:05d}.npy"
            if not path.exists():
                block = said[at : at + TEACH_BLOCK]
                np.save(self.folder / "teacher.draft.npy", teacher.vectors(block))
                (self.folder / "teacher.draft.npy").replace(path)
                self.say(f"teacher: {at + len(block):,}/{len(said):,} phrases")
            found.append(np.load(path))
        return np.concatenate(found)

    def _see(self) -> str:
        trunk, _ = towers.trunk_and_classifier(self.packages)
        look = Look.of(preprocessing(towers.blank()))
        files = (self._file(one.number) for one in self.told)
        count = features.see(trunk, look, map(_read, files), self.folder / "features", self.say)
        return json.dumps({"pictures": count})

    def _bring_together(self) -> str:
        """Train the heads, write the model and measure it on the pictures held out."""
        model, seen = towers.blank(), features.read(self.folder / "features")
        test = np.array([one.held_out for one in self.told])
        copies = features.copies_of(seen, test)
        self.say(f"{test.sum():,} pictures held out, {copies.sum():,} of the others dropped as their copies")
        learnt = [number for number in range(len(seen)) if not test[number] and not copies[number]]
        trunk, classifier = towers.trunk_and_classifier(self.packages)
        weights = load_file(self.folder / "text" / "text.safetensors")
        weights.pop("steps")
        model.text.load_state_dict(weights)
        model.eval()
        numbers = {
            text: at for at, text in enumerate(dict.fromkeys(c for row in learnt for c in self.told[row].captions))
        }
        pairs = heads.Pairs(
            seen[learnt], [[numbers[c] for c in self.told[row].captions] for row in learnt],
            _encoded(model.text, list(numbers)), _encoded(model.text, phrases.class_names()), classifier,
        )  # fmt: skip
        with seeded(1):
            both = heads.Heads(model.visual.head)
        heads.learn(both, pairs, self._steps(heads.STEPS), self.say)
        self._write(model, trunk, both)
        rows = np.flatnonzero(test)
        held = [self.told[row].captions for row in rows]
        views = torch.from_numpy(seen[rows, 0].astype(np.float32))
        found = {}
        for name, texts in (("titles", [one[0] for one in held]), ("all_said", [", ".join(one) for one in held])):
            with torch.no_grad():
                image, text = both(views, _encoded(model.text, texts))
            found[name] = measure.figures(image.numpy(), text.numpy(), texts)
        self.say(json.dumps(found, indent=1))
        return json.dumps(found, indent=1)

    def _write(self, model: Any, trunk: torch.nn.Module, both: heads.Heads) -> None:
        """Write the `local-dir:` folder; the turn of the texts becomes part of the tower's own last matrix."""
        model.visual.trunk.load_state_dict(trunk.state_dict())
        with torch.no_grad():
            turned = {**model.text.state_dict(), "text_projection": model.text.text_projection @ both.turn}
            weights = {**model.state_dict(), **{f"text.{name}": one for name, one in turned.items()}}
            weights["logit_scale"] = both.logit_scale
        draft = self.folder / f"{MODEL}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        towers.BASE.describe(draft, preprocessing(model))
        halves = {name: one.detach().half() if one.is_floating_point() else one for name, one in weights.items()}
        save_file({name: one.contiguous() for name, one in halves.items()}, draft / WEIGHTS, {"format": "pt"})
        shutil.rmtree(self.folder / MODEL, ignore_errors=True)
        draft.rename(self.folder / MODEL)


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


@torch.inference_mode()
def _encoded(text: torch.nn.Module, said: list[str]) -> torch.Tensor:
    """Return the tower's vectors f32[N,256] as it makes them."""
    read = towers.Reader(text)
    found = [read(said[at : at + 256]) for at in range(0, len(said), 256)]
    return torch.cat(found).clone()
