"""mini.py FOLDER: the CLIP that `tamis train mini … --out FOLDER` made beside the bundled tamis-mini, on the clip art it held out.

Both look at the same files through `pipeline.clip_model`, as an ingest does. The bundled model was trained on another split of the
same collection, so it has seen most of these pictures: a model as good as it on them would be better than it.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline import clip_model
from pipeline.clip_spec import MINI, ModelSpec
from train.mini.measure import figures


def measured(spec: ModelSpec, files: list[Path], captions: list[str]) -> dict[str, float]:
    """Return what a model reaches on pictures and their captions."""
    clip = clip_model.load(spec, "cpu")
    shown = (np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8) for path in files)
    image = np.concatenate([clip.images(clip.prepare(rgb)[None]) for rgb in shown]).astype(np.float32)
    text = np.concatenate([clip.texts(captions[at : at + 64]) for at in range(0, len(captions), 64)])
    return figures(image, text.astype(np.float32), captions)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    told = [json.loads(line) for line in (folder / "pictures.jsonl").read_text().split("\n")]
    told = [one for one in told if one["held_out"]]
    files = [folder / "pictures" / f"{one['number']:05d}.png" for one in told]
    texts = {"titles": [one["captions"][0] for one in told], "all said": [", ".join(one["captions"]) for one in told]}
    models = {"made by the recipe": ModelSpec(f"local-dir:{folder / 'open_clip'}"), "bundled": ModelSpec(MINI)}
    for what, captions in texts.items():
        found = {name: measured(spec, files, captions) for name, spec in models.items()}
        print(
            f"\n| {len(files)} pictures, held out by title; {what} | {' | '.join(found)} |\n|---|{'---|' * len(found)}"
        )
        for name in found["bundled"]:
            print(f"| {name} | {' | '.join(f'{one[name]:.3f}' for one in found.values())} |")


if __name__ == "__main__":
    main()
