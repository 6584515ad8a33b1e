"""`tamis train clip` and `tamis train mini`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Dataset
from train.commands import ConfigFile, Out, Preset, Quiet, Resume, Seed, Steps, Validation, run_kind, sections


def mount(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def clip(
        dataset: Dataset, out: Out,
        model: Annotated[
            str | None, typer.Option(help="NAME (random weights), NAME/PRETRAINED, local-dir:PATH, hf-hub:ORG/NAME, tamis-mini")
        ] = None,
        preset: Preset = None, config: ConfigFile = None, resume: Resume = False, steps: Steps = None,
        batch: Annotated[int | None, typer.Option(min=2, help="Pairs of a step, over all processes")] = None,
        lr: Annotated[float | None, typer.Option(help="Learning rate: 5e-4 from random weights, 1e-5 for large trained ones")] = None,
        lock_image: Annotated[bool | None, typer.Option("--lock-image", help="Leave the image tower as it is (LiT)")] = None,
        lock_text: Annotated[bool | None, typer.Option("--lock-text", help="Leave the text tower as it is")] = None,
        validation_frac: Validation = None, seed: Seed = None, quiet: Quiet = False,
    ) -> None:  # fmt: skip
        """Train or fine-tune an open_clip model on the pairs of a data set; `tamis export` makes a `local-dir:` of it."""
        given = sections(
            model=("clip", model), steps=("optim", steps), batch=("optim", batch), lr=("optim", lr), seed=("data", seed),
            lock_image=("clip", lock_image), lock_text=("clip", lock_text), validation_frac=("data", validation_frac),
        )  # fmt: skip
        run_kind("clip", dataset, out, preset, config, resume, given, quiet)

    @app.command()
    def mini(
        packages: Annotated[
            Path, typer.Argument(help="Folder of the packages; what is missing is named with its command")
        ],
        out: Annotated[
            Path, typer.Option("--out", help="Folder of the steps' results; the model is in its open_clip/")
        ],
        share: Annotated[
            float, typer.Option(min=0.001, max=1, help="Share of pictures, phrases and steps; less than 1 to try")
        ] = 1.0,
    ) -> None:
        """Rebuild tamis-mini from packages: about 75 minutes on two cores; stop it, run it again: it goes on."""
        from train.mini.packages import Packages
        from train.mini.recipe import Recipe

        def say(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        out.mkdir(parents=True, exist_ok=True)
        found = Recipe(Packages(packages), out.resolve(), share, say).cook()
        print(json.dumps(found, indent=1))
