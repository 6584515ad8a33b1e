"""`tamis train …`: begin runs, go on with them, look at presets and keys."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json
from train import commands_quality

if TYPE_CHECKING:
    from train.lineage import Tainted
    from train.presets import Kind
    from train.settings import TrainConfig

app = typer.Typer(
    no_args_is_help=True, help="Train a decoder, a prior or a CLIP on a data set's shards; resumable to the sample."
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


def sections(**given: tuple[str, Any]) -> dict[str, dict[str, Any]]:
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
    given = sections(
        steps=("optim", steps), validation_frac=("data", validation_frac), seed=("data", seed), vae=("decoder", vae)
    )
    run_kind("decoder", dataset, out, preset, config, resume, given, quiet)


@app.command()
def prior(
    dataset: Dataset, out: Out, preset: Preset = None, config: ConfigFile = None, resume: Resume = False,
    steps: Steps = None, validation_frac: Validation = None, seed: Seed = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a model that makes CLIP image embeddings from text embeddings."""
    given = sections(steps=("optim", steps), validation_frac=("data", validation_frac), seed=("data", seed))
    run_kind("prior", dataset, out, preset, config, resume, given, quiet)


@app.command()
def finetune(
    dataset: Dataset, out: Out,
    base: Annotated[Path | None, typer.Option("--from", help="Folder of a diffusers pipeline with a U-Net")] = None,
    config: ConfigFile = None, resume: Resume = False, steps: Steps = None, validation_frac: Validation = None,
    seed: Seed = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Go on training the U-Net of a Stable-Diffusion-style pipeline, with the captions of a data set."""
    if base is None and not resume:
        raise typer.BadParameter("name the folder of the pipeline to start from", param_hint="--from")
    given = sections(steps=("optim", steps), validation_frac=("data", validation_frac), seed=("data", seed))
    run_kind(
        "finetune", dataset, out, None, config, resume, given, quiet, None if base is None else str(base.resolve())
    )


def run_kind(
    kind: "Kind", dataset: str, out: Path, preset: str | None, file: Path | None, resume: bool,
    given: dict[str, dict[str, Any]], quiet: bool, base: str | None = None,
) -> None:  # fmt: skip
    """Begin a run of a kind, or go on with it, and print its folder; exit code 130 when somebody asked to stop."""
    from pipeline.errors import InputError
    from pipeline.store import Store
    from train import checkpoint, start
    from train.run import open_run, resumed

    store = Store.open_url(dataset)
    if not resume:
        settled = _settled(kind, preset or ("tiny" if base is None else None), file, given)
        finished = start.begin(kind, store, settled, out, base, quiet=quiet)
    else:
        run = open_run(out)
        if run.facts.kind != kind:
            raise InputError(
                f"{out} trains a {run.facts.kind}; `tamis train {run.facts.kind} … --resume` goes on with it"
            )
        if base is not None and base != run.facts.base:
            raise InputError(f"{out} began from {run.facts.base}, not from {base}; leave --from out to go on")
        before, run = run, resumed(run, _again(run.config, kind, preset, file, given), store)
        if before.config.optim.steps != run.config.optim.steps and run.config.optim.cooldown_frac > 0:
            print(
                "the learning rate cools down towards other last steps now: not as if the run had been begun so",
                file=sys.stderr,
            )
        if (checkpoint.last(run.folder) or 0) > run.config.optim.steps:
            raise InputError(
                f"{out} has done {checkpoint.last(run.folder):,} steps already, more than {run.config.optim.steps:,}; give more --steps, "
                "or draw from an earlier checkpoint (--step)"
            )
        finished = start.train(run, quiet=quiet)
    if not finished:
        raise typer.Exit(130)
    if os.environ.get("RANK", "0") == "0":  # torchrun's other processes have nothing to say
        print(out)


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
    return settle(kind, preset or ("tiny" if kind != "finetune" else None), file, given)


def _over(held: dict[str, Any], given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: {**values, **given.get(section, {})} for section, values in held.items()}


@app.command("after-erasure")
def after_erasure(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run that saw what is hidden or erased now")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the new run; RUN-after-STEP when absent")] = None,
    steps: Steps = None,
    quiet: Quiet = False,
) -> None:
    """Train again from the newest checkpoint that saw nothing of what was removed since; the old run stays as it is."""
    from pipeline.errors import InputError
    from train import start
    from train.lineage import tainted
    from train.run import branch, held, keep, open_run, resumed
    from train.sheets import remove_stale

    old, first = open_run(run), os.environ.get("RANK", "0") == "0"  # torchrun's other processes have nothing to say
    run = old.folder  # `.` has no name for the new run
    _tell_sheets(remove_stale(old))
    found = tainted(old)
    if found is None or not found.holders:
        if first:
            print(f"no checkpoint in {run} saw anything that is hidden or erased; there is nothing to train again")
            _tell_exports(found.exports if found is not None else [])
        return
    start.must_be_there(old)
    folder = out or run.with_name(f"{run.name}-after-{found.clean or 0:09d}")

    def make() -> None:
        _tell_tainted(found, folder)
        with held(old):
            now = tainted(old)
            if now is None or replace(now, exports=found.exports) != found:
                raise InputError(
                    f"somebody else was removed meanwhile, before {folder} was begun; run the same command again"
                )
            new = branch(old, found.clean, folder)
        if tainted(new) is not None:
            raise InputError(f"somebody else was removed meanwhile: remove {folder} and run the same command again")
        if steps is not None:
            given = _again(new.config, new.facts.kind, None, None, sections(steps=("optim", steps)))
            with held(new):
                keep(resumed(new, given, new.store))

    if not start.made(make, old.config.run.device, folder, quiet=quiet):
        raise typer.Exit(130)
    if first:
        print(folder.resolve())


def _tell_sheets(gone: list[Path]) -> None:
    if gone:
        print("removed, since somebody who is gone was drawn for in them:", *(f"  {path}" for path in gone), sep="\n")


def _tell_tainted(found: "Tainted", folder: Path) -> None:
    gone = "1 sample that is gone was seen" if found.rows == 1 else f"{found.rows:,} samples that are gone were seen"
    goes_on = (
        f"goes on from the checkpoint of step {found.clean:,}" if found.clean else "no checkpoint is clean: begins anew"
    )
    when = f"first at step {found.first_step:,}" if found.first_step is not None else "for the scale of vectors alone"
    print(f"{gone}, {when}; {goes_on} in {folder}\nthese saw them, and stay until you remove them:")
    print(*(f"  {one}" for one in found.holders), sep="\n")
    _tell_exports(found.exports)


def _tell_exports(exports: list[str]) -> None:
    if exports:
        print("these saw them too, and stay until you remove them and what was copied of them:")
        print(*(f"  {one}" for one in exports), sep="\n")


@app.command()
def check(run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder")], as_json: Json = False) -> None:
    """Compare what a run was really fed, as its ledger has it, with what its order says."""
    from train import checkpoint, ledger
    from train.run import open_run

    found = open_run(run)
    step = checkpoint.last(found.folder) or 0
    samples = ledger.check(found.folder, found.shown, found.order, step)
    print(
        json.dumps({"steps": step, "samples": samples})
        if as_json
        else f"{step:,} steps, {samples:,} samples: as the order says"
    )


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


@app.command()
def presets(as_json: Json = False) -> None:
    """Show the presets: size, pictures shown, and the GPU hours to expect from counted operations."""
    from train.cost import PEAK_FLOPS, UTILISATION_FRAC, cost
    from train.presets import PRESETS
    from train.settings import TrainConfig

    found = []
    for name, kinds in PRESETS.items():
        for kind, settings in kinds.items():
            config = TrainConfig.model_validate(settings)
            told = cost(kind, config, in_latents=name == "base")
            found.append(
                {"preset": name, "kind": kind, "resolution_px": told.side_px,
                 "steps": config.optim.steps, "batch": config.optim.batch,
                 **{key: value for key, value in vars(told).items() if key != "side_px"}}
            )  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("preset  model    px   parameters  GFLOP/image      images  GPU hours")
    for row in found:
        px, size, flops = row["resolution_px"] or "", row["parameters"] / 1e6, row["flops_per_image"] / 1e9
        print(
            f"{row['preset']:<7} {row['kind']:<8} {px:>3} {size:>9.1f} M {flops:>12.2f} {row['images'] / 1e6:>9.2f} M"
            f" {row['gpu_hours']:>10.2f}"
        )
    print(
        f"\nGPU hours: an A100 at {UTILISATION_FRAC:.0%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s, with 768-d embeddings; `tiny` needs none"
    )


commands_quality.mount(app)
