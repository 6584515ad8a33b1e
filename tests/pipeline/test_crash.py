"""Kill anything at any moment, run again: the published data set has the bytes of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import Store
from tests.tiny import config, published_digest, tamis, write_crawl

Undisturbed = tuple[Path, dict[str, str], float]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A crawl, the digest of its undisturbed data set, and how long the run took."""
    base = tmp_path_factory.mktemp("undisturbed")
    write_crawl(base / "crawl")
    began = time.monotonic()
    tamis("ingest", _config(base, base / "set"), "--quiet")
    return base, published_digest(base / "set"), time.monotonic() - began


def _config(base: Path, dataset: Path | str) -> Path:
    return config(
        dataset.with_suffix(".toml") if isinstance(dataset, Path) else base / "s3.toml",
        str(dataset),
        sorted((base / "crawl").glob("*.gz")),
    )


def _start(file: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tamis", "ingest", str(file), "--quiet", *more]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _children(pid: int) -> list[int]:
    """Return the processes below one, as /proc tells."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *_children(child)]
    return found


def _finish(file: Path, dataset: Path, expected: dict[str, str], *more: str) -> None:
    tamis("ingest", file, "--quiet", *more)
    assert published_digest(dataset) == expected
    found = json.loads(tamis("verify", dataset, "--json").stdout)
    assert found["problems"] == []


def _moments(count: int, seed: int) -> list[float]:
    return [random.Random(f"{seed}/{i}").uniform(0.15, 1.0) for i in range(count)]


_FIRST, _SECOND = _moments(2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("share", [_FIRST, _SECOND])
def test_the_whole_process_group_killed(undisturbed: Undisturbed, tmp_path: Path, share: float, scheduler: str) -> None:
    base, expected, seconds = undisturbed
    file = _config(base, tmp_path / "set")
    process = _start(file)
    time.sleep(share * seconds)
    _kill_group(process)
    _finish(file, tmp_path / "set", expected, "--scheduler", scheduler)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_process_group_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    base, expected, seconds = undisturbed
    for number in range(5):
        dataset = (
            tmp_path / str(number) / "set"
        )  # the data card names the folder, so it is called as the undisturbed one
        dataset.parent.mkdir()
        file = _config(base, dataset)
        for share in _moments(4, seed=100 + number):
            process = _start(file)
            time.sleep(share * seconds)
            _kill_group(process)
        _finish(file, dataset, expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_killed_during_the_run(undisturbed: Undisturbed, tmp_path: Path) -> None:
    base, expected, seconds = undisturbed
    file = _config(base, tmp_path / "set")
    process = _start(file)
    rng = random.Random(5)
    killed = 0
    while killed < 3 and process.poll() is None:
        time.sleep(seconds * rng.uniform(0.2, 0.4))
        workers = [pid for pid in _children(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed += 1
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out.decode()
    assert killed >= 1
    assert published_digest(tmp_path / "set") == expected


@pytest.fixture
def cluster() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real dask cluster of processes: a scheduler and two workers."""
    port = random.Random().randint(20_000, 40_000)
    address = f"tcp://127.0.0.1:{port}"
    dask = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "2",
        "--no-dashboard",
        "--death-timeout",
        "60",
    ]
    scheduler = subprocess.Popen(dask, stderr=subprocess.DEVNULL)
    workers = [subprocess.Popen(worker, stderr=subprocess.DEVNULL) for _ in range(2)]
    yield address, scheduler
    for process in [*workers, scheduler]:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_scheduler_killed_ends_the_run_with_advice_and_another_run_finishes(
    undisturbed: Undisturbed, tmp_path: Path, cluster: tuple[str, subprocess.Popen[bytes]]
) -> None:
    base, expected, _ = undisturbed
    address, scheduler = cluster
    file = _config(base, tmp_path / "set")
    process = _start(file, "--scheduler", address)
    while not list((tmp_path / "set" / "embed").glob("*.json")) and process.poll() is None:
        time.sleep(0.05)
    scheduler.kill()
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 1, out.decode()
    assert b"lost the dask scheduler; finished parts are kept, run the same command again" in out
    _finish(file, tmp_path / "set", expected)


@pytest.mark.slow
def test_a_full_disk_stops_with_advice_and_room_lets_it_finish(undisturbed: Undisturbed, tmp_path: Path) -> None:
    base, expected, _ = undisturbed
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a small file system")
    try:
        file = config(tmp_path / "full.toml", str(small / "set"), sorted((base / "crawl").glob("*.gz")))
        run = tamis("ingest", file, "--quiet", check=False)
        assert run.returncode == 1
        assert "the disk is full: free some room" in run.stderr
        assert "Traceback" not in run.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        _finish(file, small / "set", expected)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.slow
def test_a_second_run_is_refused_while_the_first_goes_on_and_ctrl_c_stops_that_cleanly(
    undisturbed: Undisturbed, tmp_path: Path, scheduler: str
) -> None:
    base, expected, _ = undisturbed
    file = _config(base, tmp_path / "set")
    process = _start(file)
    while not list((tmp_path / "set" / "extract").glob("*.json")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGSTOP)  # so that it is surely not done before the second one has looked
    second = tamis("ingest", file, "--quiet", check=False)
    os.killpg(process.pid, signal.SIGCONT)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert second.returncode == 1
    assert "another run holds this data set" in second.stderr
    assert str(process.pid) in second.stderr
    assert process.returncode == 130, out.decode()
    assert b"What is finished is kept; run the same command again to go on." in out
    assert b"Traceback" not in out
    _finish(file, tmp_path / "set", expected, "--scheduler", scheduler)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_an_object_store_a_killed_run_ends_with_the_same_data(
    undisturbed: Undisturbed, tmp_path: Path, s3_endpoint: str
) -> None:
    base, expected, seconds = undisturbed
    dataset = f"s3://sets/{tmp_path.name}"
    file = _config(base, dataset)
    process = _start(file)
    time.sleep(seconds)
    _kill_group(process)
    store = Store.open_url(dataset)
    store.delete("run.lock")  # as a person does who knows that the holder is dead and will not wait a minute
    tamis("ingest", file, "--quiet")
    for name in expected:
        if not name.endswith(".record"):
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / name).write_bytes(store.read(name))
    got = published_digest(tmp_path / "copy")
    assert {n: d for n, d in got.items() if n != "README.md"} == {
        n: d for n, d in expected.items() if n != "README.md" and not n.endswith(".record")
    }
    assert json.loads(tamis("verify", dataset, "--json").stdout)["problems"] == []
