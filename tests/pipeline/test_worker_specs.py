"""Workers of a machine with GPUs, started for real as processes; the GPUs need not be there for that."""

import os
from pathlib import Path

import pytest
from distributed import Client

from pipeline.engine import pinned_cluster
from pipeline.worker_specs import MODEL, gpus, worker_specs


def visible() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize(
    ("found", "cpus", "names"),
    [
        (["0"], 1, ["gpu-0"]),
        (["0", "1"], 4, ["gpu-0", "gpu-1", "cpu-0", "cpu-1"]),
        (["GPU-a", "GPU-b", "GPU-c"], 2, ["gpu-0", "gpu-1", "gpu-2"]),
    ],
)
def test_every_gpu_has_its_worker_and_the_other_cores_have_theirs(
    found: list[str], cpus: int, names: list[str]
) -> None:
    specs = worker_specs(found, cpus)
    assert list(specs) == names
    options = [spec["options"] for spec in specs.values()]
    assert [o["env"]["CUDA_VISIBLE_DEVICES"] for o in options] == [*found, *[""] * (len(names) - len(found))]
    assert [o["resources"] for o in options] == [*[{MODEL: 1}] * len(found), *[{}] * (len(names) - len(found))]
    assert sum(o["memory_limit"] for o in options) == pytest.approx(1)


def test_models_run_on_pinned_workers_alone_and_each_sees_its_own_gpu() -> None:
    with pinned_cluster(worker_specs(["7", "GPU-5c2"], 3)) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=60)
        assert sorted(client.run(visible).values()) == ["", "7", "GPU-5c2"]
        with_model = [client.submit(visible, pure=False, resources={MODEL: 1}) for _ in range(12)]
        assert {future.result(timeout=60) for future in with_model} == {"7", "GPU-5c2"}


def test_the_gpus_are_those_that_the_driver_lists_and_the_environment_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.worker_specs.version", lambda _: "2.14.1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-11\necho GPU-22\n")
    program.chmod(0o755)
    assert gpus() == gpus("cuda") == ["GPU-11", "GPU-22"]
    assert gpus("cpu") == gpus("cuda:1") == []
    for chosen, left in (("1", ["1"]), ("", []), ("-1", []), ("GPU-22,0", ["GPU-22", "0"]), ("0,-1,1", ["0"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert gpus() == left
    program.write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    assert gpus() == []
