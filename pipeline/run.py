"""What every step of a run is handed."""

from dataclasses import dataclass, field

from pipeline.config import Config
from pipeline.engine import Engine
from pipeline.progress import Progress
from pipeline.refusals import Refusals
from pipeline.store import Store


@dataclass(frozen=True)
class Run:
    """The data set, what is asked of it, the cluster, and where progress is told."""

    store: Store
    config: Config
    engine: Engine
    progress: Progress
    retry_transient: bool = False
    refusals: Refusals = field(default_factory=Refusals)
