"""`tamis sample` and `tamis export`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from pipeline.commands.options import Json

if TYPE_CHECKING:
    from train.asking import Ask, Encoder
    from train.copy_check import Neighbours, Removed
    from train.making import Made
    from train.opening import Model

NeighboursOf = Callable[[str], tuple["Neighbours", "Removed | None"]]
"""Data set → its nearest training rows, and what knows its removed pictures; the command line knows an index, this package does not."""

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A decoder's run, or a folder of `tamis export`")]
PriorFolder = Annotated[Path | None, typer.Option("--prior", help="A prior's run; prompts need one")]
Step = Annotated[int | None, typer.Option(min=0, help="Checkpoint; the newest when absent")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(
        help="auto: bfloat16 where the processor has it; float32 is nearest to the same picture on every machine"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]

Prompt = Annotated[list[str] | None, typer.Option(help="What to draw; may be given several times")]
Prompts = Annotated[Path | None, typer.Option(help='File of prompts: one a line, or JSON lines {"prompt", "seed"}')]
Picture = Annotated[Path | None, typer.Option(help="Draw variations of this picture")]
Between = Annotated[Path | None, typer.Option(help="With --image: the way from it to this picture")]
Towards = Annotated[str | None, typer.Option(help="With --image and --away: turn it towards this text …")]
Away = Annotated[str | None, typer.Option(help="… and away from this one")]
Start = Annotated[Path | None, typer.Option(help="Begin with this picture (img2img, inpainting)")]
Mask = Annotated[Path | None, typer.Option(help="With --start: draw anew only where this picture is white")]
Strength = Annotated[
    float,
    typer.Option(
        help="Above 0, at most 1. With --start: how much of it is drawn anew; with --towards: how far the picture is turned"
    ),
]
Out = Annotated[Path, typer.Option(help="New folder for the pictures")]
Count = Annotated[int, typer.Option("-n", min=1, max=100_000, help="Pictures a prompt, or steps of a way")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="Of the first picture")]
Steps = Annotated[int, typer.Option(min=1, max=1000, help="Steps of the solver")]
Guidance = Annotated[float, typer.Option(help="Weight of the condition; 1 is none beyond it")]
Solver = Annotated[str | None, typer.Option(help="euler, heun, dpm++, unipc; ddim for eps and v")]
Form = Annotated[Literal["png", "webp"], typer.Option("--format", help="png, or webp (lossless)")]
Batch = Annotated[int, typer.Option(min=1, max=4096, help="Pictures at once")]
Certificate = Annotated[Path | None, typer.Option(help="Sign with this certificate chain (PEM) as C2PA …")]
Key = Annotated[Path | None, typer.Option(help="… and its private key (PEM, P-256)")]
CheckCopies = Annotated[
    str | None, typer.Option(metavar="DATASET", help="Compare every picture with the rows of this data set")
]


def mount(app: typer.Typer, neighbours: NeighboursOf) -> None:
    """Add the two commands."""

    @app.command()
    def sample(
        run: RunFolder, prompt: Prompt = None, prompts: Prompts = None, image: Picture = None, between: Between = None,
        towards: Towards = None, away: Away = None, start: Start = None, mask: Mask = None, strength: Strength = 0.7,
        out: Out = Path("samples"), prior: PriorFolder = None, count: Count = 1, seed: Seed = 0, steps: Steps = 12,
        guidance: Guidance = 3.0, solver: Solver = None, form: Form = "png", batch: Batch = 16, step: Step = None,
        precision: Precision = "auto", certificate: Certificate = None, key: Key = None,
        check_copies: CheckCopies = None, device: Device = "auto", as_json: Json = False,
    ) -> None:  # fmt: skip
        """Draw pictures: from prompts, from pictures, between two, along a text difference, or over a picture.

        Each picture holds its facts (model, snapshot, seed, prompt) and says that a model made it; `sheet.png` shows all.
        """
        from pipeline.errors import InputError
        from train import asking, making
        from train.opening import ClipEncoder, open_model

        if (certificate is None) != (key is None):
            raise InputError("--certificate and --key belong together")
        if mask is not None and start is None:
            raise InputError("--mask needs --start, the picture that it masks")
        _must_be_new(out)
        signing = making.Signing(certificate, key) if certificate is not None and key is not None else None
        if signing is not None:
            signing.must_sign(form)
        model = open_model(run, prior, device, step)
        if image is None and (prompt or prompts):
            _can_be_prompted(model, run)
        encoder = ClipEncoder(model, device)
        asked = _asks(asking, encoder, prompt, prompts, image, between, towards, away, seed, count, strength)
        settings = making.Settings(steps, guidance, solver, batch, start, mask, strength, precision=precision)
        maker = making.Maker(model.pipeline, _public(model.facts), settings)
        if check_copies is not None:
            from train.copy_check import against, same_vectors

            same_vectors(check_copies, model.facts["clip"])
            maker.check = against(lambda rgb: encoder.pixels(rgb).astype("float32"), *neighbours(check_copies))
        _write_all(making, maker.make(asked), out, form, signing, as_json)

    _mount_export(app)


def _asks(
    asking: Any, encoder: "Encoder", prompt: list[str] | None, prompts: Path | None, image: Path | None,
    between: Path | None, towards: str | None, away: str | None, seed: int, count: int, share: float,
) -> "Iterable[Ask]":  # fmt: skip
    from pipeline.errors import InputError

    given = [name for name, value in (("--prompt", prompt), ("--prompts", prompts), ("--image", image)) if value]
    if len(given) != 1:
        said = f" (not {' and '.join(given)})" if given else ""
        raise InputError(f"give one of --prompt, --prompts, --image{said}")
    if image is None:
        if between or towards or away:
            raise InputError("--between, --towards and --away need --image")
        lines = asking.read_prompts(prompts) if prompts is not None else [{"prompt": one} for one in prompt or ()]
        asked: Iterable[Ask] = asking.prompts(encoder, lines, seed, count)
        return asked
    if (towards is None) != (away is None) or (between and towards):
        raise InputError("a text difference needs --towards and --away, and no --between")
    if between is not None:
        found: list[Ask] = asking.between(encoder, image, between, seed, max(2, count))
    elif towards is not None:
        found = asking.differences(encoder, image, towards, away, seed, max(2, count), share)
    else:
        found = asking.variations(encoder, image, seed, count)
    return found


def _must_be_new(out: Path) -> None:
    from pipeline.errors import InputError

    if out.is_dir() and any(out.iterdir()):
        raise _taken(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a new folder (--out)")


def _taken(out: Path) -> Exception:
    from pipeline.errors import InputError

    return InputError(f"{out}: is not empty, and pictures are not written over others; name a new folder (--out)")


def _public(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a picture says of its model: no path and no configuration."""
    kept = {
        name: facts[name] for name in ("run", "step", "snapshot", "snapshot_digest", "images_seen") if name in facts
    }
    return {"model": kept | {"weights_sha256": facts.get("weights_sha256"), "prior": facts.get("prior")}}


def _can_be_prompted(model: "Model", run: Path) -> None:
    from pipeline.errors import InputError

    if model.pipeline.image_tokens is not None and model.pipeline.prior is None:
        raise InputError(f"{run} draws from image embeddings: a prompt needs a prior's run beside it (--prior)")


def _write_all(making: Any, made: "Iterator[Made]", out: Path, form: str, signing: Any, as_json: bool) -> None:
    """Write the pictures as they come, each with its line in samples.jsonl: those that are done stay where the rest fails."""
    shown: list[Made] = []
    copies: list[tuple[str, Made]] = []
    number, first = 0, next(made)  # what is wrong with the question is told before there is a folder
    with _begun(out) as lines:
        for number, one in enumerate(chain([first], made), 1):
            path = making.write(one, out, number - 1, form, signing)
            lines.write(making.line(one, path) + "\n")
            lines.flush()
            shown += [one] if len(shown) < 200 else []
            copies += [(path.name, one)] if one.copy else []
            if as_json:
                print(making.line(one, path))
            elif sys.stderr.isatty():
                print(f"\r{number:,} pictures", end="", file=sys.stderr, flush=True)
    making.sheet(shown).save(out / "sheet.png")
    if as_json:
        return
    print(f"wrote {number:,} picture{'s' * (number != 1)}, sheet.png and samples.jsonl to {out}")
    for name, one in copies:
        assert one.found is not None
        near = one.found.near
        if near is not None and near.copy:
            print(f"COPY  {name} agrees with {near.uid} in {near.agreement:.0%} of its blocks")
        if one.found.removed:
            print(f"COPY  {name} looks like a picture that was removed, or that a list names (by its perceptual hash)")


def _begun(out: Path) -> TextIO:
    """Make the folder and begin its samples.jsonl; InputError where somebody else did so meanwhile."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        return (out / "samples.jsonl").open("x", encoding="utf-8")
    except FileExistsError:
        raise _taken(out) from None


def _mount_export(app: typer.Typer) -> None:
    @app.command()
    def export(
        run: Annotated[Path, typer.Argument(metavar="RUN", help="The run of a decoder, of fine-tuning or of a CLIP")],
        out: Annotated[Path, typer.Option(help="A new folder")],
        prior: PriorFolder = None,
        step: Step = None,
        with_clip: Annotated[bool, typer.Option("--with-clip", help="Take a local CLIP along, for prompts")] = False,
    ) -> None:
        """Write a diffusers pipeline, of a CLIP run an open_clip folder, that loads where tamis is not installed.

        A model card from facts is with it.
        """
        from pipeline.errors import InputError
        from train.run import kind_of

        kind = kind_of(run)
        if kind in ("clip", "finetune"):
            if prior is not None or with_clip:
                raise InputError(f"{run} is a {kind} run; --prior and --with-clip belong to decoders")
            if kind == "clip":
                from train.clip_export import export_clip as write_whole
            else:
                from train.finetune_export import export_finetuned as write_whole
            write_whole(run, out, step)
            print(out)
            return
        from train.card import card
        from train.export import clip_folder, public
        from train.export import export as write
        from train.handed_out import noted
        from train.opening import open_model

        out = out.resolve()  # `.` has no name for the card
        if (run / "model_index.json").is_file():
            raise InputError(f"{run} was exported already: copy the folder, or name the run to export it again")
        model = open_model(run, prior, "cpu", step)
        folder = clip_folder(model.clip, model.facts["clip"]) if with_clip else None
        facts = public(model.facts)
        parts = [(run, facts["step"])] + ([(prior, facts["prior"]["step"])] if prior is not None else [])
        with noted(parts, out) as draft:
            write(model.pipeline, facts, out, draft, card=card(facts, out.name, run), clip=folder)
        print(out)
