"""`tamis train …`: begin runs, go on with them, look at presets and keys."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json

if TYPE_CHECKING:
    from train.presets import Kind
    from train.settings import TrainConfig

app = typer.Typer(
    no_args_is_help=True, help="Train a decoder and a prior on a data set's shards; resumable to the sample."
)

Out = Annotated[Path, typer.Option("--out", help="The run's folder")]
Preset = Annotated[str | None, typer.Option(help="tiny, small or base; `tamis train presets` shows them")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings that differ; `tamis train config` prints the keys"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, from its newest checkpoint")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps in all")]
Validation = Annotated[
    float | None, typer.Option("--validation-frac", min=0, max=0.99, help="Share of the rows held out")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the order, the noise and the weights")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr")]


def _options(**given: tuple[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options that were given as sections: key = (section, value)."""
    found: dict[str, dict[str, Any]] = {}
    for key, (section, value) in given.items():
        if value is not None:
            found.setdefault(section, {})[key] = value
    return found


@app.command()
def decoder(
    dataset: Dataset, out: Out, preset: Preset = None, config: ConfigFile = None, resume: Resume = False,
    steps: Steps = None, validation_frac: Validation = None, seed: Seed = None,
    vae: Annotated[str | None, typer.Option(help="Folder of a diffusers AutoencoderKL to work in its latents")] = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a model that draws pictures from CLIP image embeddings."""
    given = _options(
        steps=("optim", steps), validation_frac=("data", validation_frac), seed=("data", seed), vae=("decoder", vae)
    )
    _run("decoder", dataset, out, preset, config, resume, given, quiet)


@app.command()
def prior(
    dataset: Dataset, out: Out, preset: Preset = None, config: ConfigFile = None, resume: Resume = False,
    steps: Steps = None, validation_frac: Validation = None, seed: Seed = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a model that makes CLIP image embeddings from text embeddings."""
    given = _options(steps=("optim", steps), validation_frac=("data", validation_frac), seed=("data", seed))
    _run("prior", dataset, out, preset, config, resume, given, quiet)


def _run(
    kind: "Kind", dataset: str, out: Path, preset: str | None, file: Path | None, resume: bool,
    given: dict[str, dict[str, Any]], quiet: bool, base: str | None = None,
) -> None:  # fmt: skip
    from pipeline.errors import InputError
    from pipeline.store import Store
    from train import start
    from train.run import open_run, resumed

    store = Store.open_url(dataset)
    if not resume:
        run = start.begin(kind, store, _settled(kind, preset or "tiny", file, given), out, base)
    else:
        run = open_run(out)
        if run.facts.kind != kind:
            raise InputError(
                f"{out} trains a {run.facts.kind}; `tamis train {run.facts.kind} … --resume` goes on with it"
            )
        run = resumed(run, _again(run.config, kind, preset, file, given), store)
    finished = start.train(run, quiet=quiet)
    if not finished:
        raise typer.Exit(130)
    print(run.folder)


def _settled(kind: "Kind", preset: str | None, file: Path | None, given: dict[str, dict[str, Any]]) -> "TrainConfig":
    from train.settings import settle

    return settle(kind, preset, file, given)


def _again(
    held: "TrainConfig", kind: "Kind", preset: str | None, file: Path | None, given: dict[str, dict[str, Any]]
) -> "TrainConfig | None":
    """Return the settings to go on with: those of the run, with what is given again on top."""
    from train.settings import settle

    if preset is None and file is None:
        if not given:
            return None
        return settle(kind, None, None, _over(held.model_dump(mode="json"), given))
    fresh = settle(kind, preset or "tiny", file, given)
    return fresh


def _over(held: dict[str, Any], given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: {**values, **given.get(section, {})} for section, values in held.items()}


@app.command("config")
def show_config(as_json: Json = False) -> None:
    """Print every key of a training configuration with its meaning, type and default."""
    from pipeline.config import keys
    from train.settings import TrainConfig

    found = list(keys(TrainConfig))
    if as_json:
        names = ("key", "type", "default", "meaning")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in found], indent=1))
        return
    section = ""
    for key, kind, default, meaning in found:
        head, _, leaf = key.rpartition(".")
        if head != section:
            print(f"\n[{head}]")
            section = head
        print(f"# {meaning} ({kind})")
        print(f"{leaf} = {json.dumps(default)}" if default is not None else f"# {leaf} =  (absent)")
