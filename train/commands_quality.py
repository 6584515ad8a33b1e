"""`tamis train quality`: a model's pictures, by numbers."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Json


def mount(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def quality(
        run: Annotated[Path, typer.Argument(metavar="RUN", help="A decoder's run")],
        prior: Annotated[
            Path | None,
            typer.Option("--prior", help="A prior's run; without one the decoder draws the pictures' own vectors"),
        ] = None,
        prompts: Annotated[int, typer.Option(min=10, help="Held-out captions to draw, and as many trained-on ones")] = 200,
        words: Annotated[
            list[str] | None,
            typer.Option(help="Words, by commas, of which captions hold one: a probe tells if pictures show it; repeatable"),
        ] = None,
        steps: Annotated[int | None, typer.Option(min=1, help="Steps of the solver; as `tamis sample` when absent")] = None,
        guidance: Annotated[float | None, typer.Option(help="Weight of the condition; as `tamis sample`")] = None,
        solver: Annotated[str | None, typer.Option(help="As `tamis sample` when absent")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of the first picture")] = 0,
        step: Annotated[int | None, typer.Option(min=0, help="Checkpoint; the newest when absent")] = None,
        curve: Annotated[
            bool, typer.Option("--curve", help="Measure every kept checkpoint too: quality-curve.json and .svg")
        ] = False,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
        as_json: Json = False,
    ) -> None:  # fmt: skip
        """Draw held-out captions and measure the pictures; ends with 1 when they do not follow their prompts.

        Writes quality.json (the model card reads it), quality.svg and quality.png into the run's folder.
        """
        from train import quality_report, trial
        from train.making import Settings
        from train.opening import ClipEncoder, open_model
        from train.run import open_run

        model = open_model(run, prior, device, step)
        given = {"steps": steps, "guidance": guidance, "solver": solver}
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        asked = [[word.strip() for word in line.split(",") if word.strip()] for line in words or ()]
        exam = trial.Exam.of(open_run(run), ClipEncoder(model, device).pixels, prompts)
        found = exam.take(model, settings, seed=seed, words=asked)
        kept = quality_report.record(found, model.facts, settings, model.pipeline.default_solver, seed)
        quality_report.keep(found, kept, run.resolve())
        if curve:
            from train import quality_curve

            quality_curve.keep(exam.run, quality_curve.points(exam, prior, settings, device, seed))
        print(json.dumps(kept, sort_keys=True) if as_json else quality_report.table(kept))
        wrong = quality_report.verdict(kept, run)
        if wrong is not None:
            print(f"tamis: {wrong}", file=sys.stderr)
            raise typer.Exit(1)
