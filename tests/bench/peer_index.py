"""The peer of bench_index.py, run by the Python of its own environment: builds with autofaiss, and answers for its index.

    python peer_index.py build EMBEDDINGS INDEX MEMORY
    python peer_index.py ask INDEX QUESTIONS RIGHT SECONDS

`ask` raises the index's own dial (nprobe or efSearch) until 95 % of the ten nearest are found, and measures there; one line of JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from clock import clocked, kilobytes, together


def build(embeddings: str, index: str, memory: str) -> None:
    """Build as its README says, for inner products."""
    from autofaiss import build_index

    build_index(
        embeddings, index_path=index, index_infos_path=index + ".json", metric_type="ip", max_index_memory_usage=memory,
        current_memory_available="16G", nb_cores=2,
    )  # fmt: skip


def ask(path: str, questions: str, right: str, seconds: str) -> None:
    """Measure at the least effort that finds enough, or at the greatest there is."""
    before = kilobytes("VmRSS")
    faiss.omp_set_num_threads(1)
    index = faiss.read_index(path)
    asked, truth = np.load(questions), np.load(right)
    dial = "efSearch" if "HNSW" in type(faiss.downcast_index(index)).__name__ else "nprobe"
    space: Any = faiss.ParameterSpace()
    efforts = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512] if dial == "efSearch" else [2**n for n in range(11)]
    for effort in efforts:
        space.set_index_parameter(index, dial, effort)
        _, found = index.search(asked, 10)
        recall = float(
            np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth.tolist(), found.tolist(), strict=True)])
        )
        if recall >= 0.95:
            break
    told = clocked(lambda one: index.search(one, 10), asked, float(seconds))
    faiss.omp_set_num_threads(2)
    told["together"] = together(lambda many: index.search(many, 10), asked, float(seconds))
    kind = json.loads(Path(path + ".json").read_text()).get("index_key", type(index).__name__)
    memory = (kilobytes("VmRSS") - before) / 1e3
    print(json.dumps({"kind": f"{kind} {dial}={effort}", "recall": recall, "mb": memory, **told}))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    build(*arguments) if what == "build" else ask(*arguments)
