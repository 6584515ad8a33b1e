"""A run's folder: what it trains, on which rows, by which configuration; and its entry in the data set's register."""

import json
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from pipeline.errors import ConfigError, DatasetBusy, FormatError, InputError, InvariantError, StorageError
from pipeline.ids import stable_hash
from pipeline.lock import hold
from pipeline.pins import pin, unpin
from pipeline.snapshot import require_latest
from pipeline.store import Store
from train import checkpoint, ledger, manifest, order
from train.beginning import MODEL, beginning, digest
from train.compiling import settled
from train.manifest import Manifest
from train.order import Order
from train.presets import Kind
from train.settings import TrainConfig, digest_of
from train.world import device_of

REGISTER = "private/runs"
_FILE = "run.json"
_OF_A_RUN: Final = re.compile("[0-9a-f]{16}@[0-9]+")
"""A parent that is a checkpoint of another run, as `branch` writes it."""
_ROWS = "rows"


@dataclass(frozen=True)
class Facts:
    """What stands in run.json."""

    id: str
    kind: Kind
    dataset: str
    snapshot: int
    config: dict[str, Any]
    base: str | None = None
    """Folder of the pipeline, or name of the CLIP model, that is fine-tuned."""
    parents: list[str] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)
    """Folders of models that it computes with and never changes, with their digests."""


_FACTS: Final = TypeAdapter(Facts)


@dataclass(frozen=True)
class Run:
    """A run that exists in a folder."""

    folder: Path
    facts: Facts
    rows: Manifest
    """All rows of the snapshot; `shown` are those that are trained on, `held` those that are not."""

    @cached_property
    def config(self) -> TrainConfig:
        """Return the run's configuration."""
        return TrainConfig.model_validate(self.facts.config)

    @cached_property
    def _split(self) -> tuple[Manifest, Manifest]:
        data = self.config.data
        return self.rows.split(data.validation_frac, data.seed)

    @property
    def shown(self) -> Manifest:
        """Return the rows to train on."""
        return self._split[0]

    @property
    def held(self) -> Manifest:
        """Return the rows held out for validation."""
        return self._split[1]

    @cached_property
    def order(self) -> Order:
        """Return the order of training."""
        config = self.config
        return Order(self.shown.shards, config.data.seed, config.optim.batch, config.data.window)

    @property
    def store(self) -> Store:
        """Return the data set."""
        return Store.open_url(self.facts.dataset)


def create(kind: Kind, store: Store, config: TrainConfig, folder: Path, base: str | None = None) -> Run:
    """Make a run's folder for the newest snapshot; InputError when there is a run already."""
    if (folder / _FILE).exists():
        raise _taken(folder)
    begun, folder = beginning(kind, config, base), folder.resolve()
    config = settled(config, kind, device_of(config.run.device), len(begun.shapes))
    snapshot, name = require_latest(store), uuid.uuid4().hex[:16]
    about = (name, kind, store.root, snapshot.number, config.model_dump(mode="json"))
    facts = Facts(*about, base=begun.base, parents=begun.parents, frozen=begun.frozen)
    pin(store, snapshot.number, _holder(facts, folder))  # first: an ingest that ends meanwhile leaves the shards to us
    try:
        return _new(Run(folder, facts, manifest.make(store, snapshot, begun.shapes)), begun.describe)
    except BaseException:
        with suppress(OSError, StorageError):
            unpin(store, snapshot.number, _holder(facts, folder))
        raise


def _new(run: Run, describe: Callable[[Path], None]) -> Run:
    """Write a run that is not there yet, `describe` what belongs to its model; run.json comes last and makes it one."""
    with held(run):  # two people who name the same folder at once
        if (run.folder / _FILE).exists():
            raise _taken(run.folder)
        manifest.write(run.rows, run.folder / _ROWS)
        describe(run.folder)
        register(run)  # before it is one: what `describe` copied may hold somebody
        keep(run)
    return run


def _taken(folder: Path) -> InputError:
    return InputError(f"{folder}: there is a run here already; --resume goes on with it, or name another folder")


def keep(run: Run) -> None:
    """Write what stands in run.json; call it only while holding the run."""
    Store(str(run.folder)).write(_FILE, json.dumps(asdict(run.facts), sort_keys=True, indent=1).encode())


def open_run(folder: Path) -> Run:
    """Open a run; InputError when there is none."""
    try:
        facts = _FACTS.validate_json((folder / _FILE).read_bytes())
        TrainConfig.model_validate(facts.config)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no run here; `tamis train decoder DATASET --out {folder}` starts one") from error
    except (ValueError, TypeError) as error:
        raise FormatError(f"{folder / _FILE}: not a run of this version ({error})") from error
    return Run(folder.resolve(), facts, manifest.read(folder / _ROWS))


def must_be_as_trained(run: Run, step: int, evidence: Path | None = None) -> None:
    """Refuse a run whose rows, settings, order or ledger are not those that its checkpoint was made with.

    Nothing can be said then of what it was shown. `evidence` is a folder that holds cursor and ledger apart from the run's.
    """
    found = checkpoint.read(evidence or run.folder / checkpoint.name(step))
    names = ("the rows (rows/)", "the settings (run.json)", "the order's version")
    now = (run.shown.digest, digest_of(run.facts.config), order.VERSION)
    then = (found.manifest_digest, found.config_digest, found.order_version)
    changed = [name for name, mine, theirs in zip(names, now, then, strict=True) if mine != theirs]
    if changed:
        raise InvariantError(
            f"{run.folder}: {' and '.join(changed)} changed since the checkpoint of step {found.step:,} was made; what it was shown could "
            "not be told any more. Restore the file from a backup, or start a new run"
        )
    reached = ledger.reach(evidence or run.folder)
    if reached < found.step:
        raise InvariantError(
            f"{evidence or run.folder}: the ledger ends at step {reached:,}, the checkpoint at {found.step:,}; restore ledger/ from "
            "a backup, or move the later checkpoints away to go on from an earlier one"
        )
    if run.facts.kind in ("decoder", "prior") and not ledger.has_scale(evidence or run.folder):
        raise InvariantError(
            f"{evidence or run.folder}: it is not known any more whose vectors the scale was taken from (ledger/scale.roaring is "
            "gone); restore ledger/ from a backup"
        )


def must_have_its_parts(run: Run) -> None:
    """Refuse a run whose autoencoder or text encoder is not the one that it was begun with."""
    for part, recorded in run.facts.frozen.items():
        if digest(Path(part)) != recorded:
            raise InvariantError(
                f"{part}: not the model that {run.folder} was begun with; what was learnt is of no use with another. Put it back, "
                "or start a new run"
            )


def must_begin_as_made(run: Run) -> None:
    """Refuse a run that has no checkpoint yet and whose weights to start from are not those that it was made for."""
    begun = beginning(run.facts.kind, run.config, run.facts.base)
    inherited = [one for one in run.facts.parents if not _OF_A_RUN.fullmatch(one)]
    with tempfile.TemporaryDirectory() as scratch:
        begun.describe(Path(scratch))
        for path in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
            made = run.folder / path.relative_to(scratch)
            if not made.is_file() or made.read_bytes() != path.read_bytes():
                raise InvariantError(
                    f"{run.folder} was made for another {path.name} than {run.facts.base} has now. Put it back, or start a new run"
                )
    if inherited != begun.parents:
        raise InvariantError(
            f"{run.folder} was made to start from {', '.join(inherited)}; there is {', '.join(begun.parents) or 'nothing'} now. Put it "
            "back, or start a new run"
        )


def kind_of(folder: Path) -> str | None:
    """Return what is trained in a folder, or None where there is no run."""
    return open_run(folder).facts.kind if (folder / _FILE).is_file() else None


def resumed(run: Run, config: TrainConfig | None, store: Store) -> Run:
    """Return the run to go on with; what the weights depend on must not change, how it is run may."""
    if store.root != run.facts.dataset:
        raise InputError(
            f"{run.folder} trains on {run.facts.dataset}, not on {store.root}; a run keeps its rows: start another one"
        )
    if config is None:
        return run
    if config.digest() != run.config.digest():
        changed = _changed(run.config.model_dump(mode="json"), config.model_dump(mode="json"))
        raise ConfigError(
            f"{run.folder} was begun with other settings ({', '.join(changed)}); leave them out to go on, or start another run"
        )
    asked, chosen = config.model_dump(mode="json"), {**run.facts.config}
    if config.run.compile == "auto":  # decided when the run began
        asked["run"]["compile"] = run.config.run.compile
    chosen["run"] = asked["run"]
    chosen["optim"] = {**chosen["optim"], **{key: asked["optim"][key] for key in ("steps", "micro_batch")}}
    return replace(run, facts=replace(run.facts, config=chosen))


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    pairs = (
        (f"{section}.{key}", before[section][key], value)
        for section, all_ in after.items()
        for key, value in all_.items()
    )
    free = ("run.", "optim.steps", "optim.micro_batch")
    return [f"{key} {old!r} → {new!r}" for key, old, new in pairs if old != new and not key.startswith(free)]


def branch(run: Run, step: int | None, folder: Path) -> Run:
    """Make another run of the same rows that begins where this one was at a checkpoint, or at its start where None."""
    if (folder / _FILE).exists():
        raise _taken(folder)
    parents = [f"{run.facts.id}@{step or 0}"]
    facts = replace(run.facts, id=uuid.uuid4().hex[:16], parents=[*run.facts.parents, *parents])
    if step is not None:
        must_be_as_trained(run, step)

    def described(new: Path) -> None:
        for left in checkpoint.steps(new):  # by a call that was killed, perhaps before somebody else said no
            checkpoint.remove(new, left)
        ledger.drop_after(new, 0)
        if step is not None:
            checkpoint.copy(run.folder, step, new)
            for segment in ledger.read(run.folder, step):
                ledger.write(new, segment)
            ledger.write_scale(new, ledger.scale(run.folder))
        if (run.folder / MODEL).is_dir():
            shutil.copytree(run.folder / MODEL, new / MODEL, dirs_exist_ok=True)

    return _new(Run(folder.resolve(), facts, run.rows), described)


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run's folder against other processes, or raise DatasetBusy."""
    try:
        with hold(Store(str(run.folder))):
            yield
    except DatasetBusy as error:
        raise DatasetBusy(f"{run.folder}: another process trains this run; wait for it or stop it") from error


def register(run: Run) -> None:
    """Tell the data set that this run learns from it: `tamis lineage` finds it, and its snapshot's shards do not expire."""
    enter(run)
    renew(run)


def enter(run: Run) -> None:
    """Write a run in this folder of this machine into its data set's register, for `tamis lineage`; once is enough."""
    facts = run.facts
    entry = {
        "run": facts.id, "kind": facts.kind, "folder": str(run.folder), "host": socket.gethostname(),
        "snapshot": facts.snapshot, "refusals": run.rows.facts.refusals, "manifest_digest": run.shown.digest,
    }  # fmt: skip
    run.store.create(
        f"{REGISTER}/{_holder(run.facts, run.folder)}.json", json.dumps(entry, sort_keys=True, indent=1).encode()
    )


def renew(run: Run) -> None:
    """Keep the shards of the run's snapshot for another week."""
    pin(run.store, run.facts.snapshot, _holder(run.facts, run.folder))


def done(run: Run) -> None:
    """Tell the data set that this run has come to its end and reads its shards no more."""
    with suppress(OSError):  # it loses its force by itself
        unpin(run.store, run.facts.snapshot, _holder(run.facts, run.folder))


def _holder(facts: Facts, folder: Path) -> str:
    """Return a name for the run in this folder of this machine; a copy of the folder elsewhere has another."""
    return f"{facts.id}-{stable_hash([str(folder), socket.gethostname()], 8)}"


def registered(store: Store) -> list[dict[str, Any]]:
    """Return the register's entries; of a damaged one, only what is known of it, with the reason in `damaged`."""
    return [_entry(store, name) for name in store.names(REGISTER) if name.endswith(".json")]


def _entry(store: Store, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(store.read(name))
        return {key: found[key] for key in ("run", "kind", "folder", "host", "snapshot")} | found
    except (ValueError, TypeError, KeyError) as error:
        where = store.uri(name)
        return {
            "run": Path(name).stem, "kind": "unknown", "folder": where, "host": "unknown", "snapshot": None,
            "damaged": f"{where}: a damaged entry ({error!r}); restore it from a backup",
        }  # fmt: skip
