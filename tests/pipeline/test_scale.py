"""Ten million rows go through extraction and layout in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from pipeline import batches
from pipeline.config import parse
from pipeline.engine import connect
from pipeline.inputs import expand
from pipeline.progress import Progress
from pipeline.run import Run
from pipeline.store import Store

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    config = parse({"dataset": sys.argv[1], "inputs": [sys.argv[2]]})
    store = Store.open_url(config.dataset)
    with Progress(store, quiet=True) as progress, connect(None, 1, 1, 0) as engine:
        plan = batches.lay_out(Run(store, config, engine, progress), expand(config))
        peaks = {"driver": peak_mb(), **engine.client.run(peak_mb)}
    rows = [part.rows for part in plan.parts]
    print(json.dumps({"rows": sum(rows), "parts": len(rows), "largest": max(rows), "peaks_mb": peaks,
                      "dropped": sum(sum(part.dropped.values()) for part in plan.layouts)}))
"""


def write_list(path: Path, rows: int) -> None:
    """Write a list of URLs of 200,000 sites, one of them with a tenth of all; one pair in a hundred stands twice."""
    step = 500_000
    with pq.ParquetWriter(path, pa.schema([("url", pa.string()), ("caption", pa.string())])) as writer:
        for low in range(0, rows, step):
            numbers = [n - 1 if n % 100 == 1 else n for n in range(low, min(rows, low + step))]
            sites = [0 if n % 10 == 0 else n * 7919 % 200_000 for n in numbers]
            urls = [f"http://www.site{s}.example/pictures/{n}.jpg" for s, n in zip(sites, numbers, strict=True)]
            texts = [f"a caption that tells of picture number {n}" for n in numbers]
            writer.write_table(pa.table({"url": urls, "caption": texts}), row_group_size=100_000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_million_rows_are_laid_out_in_under_a_gigabyte(tmp_path: Path) -> None:
    rows = 10_000_000
    write_list(tmp_path / "list.parquet", rows)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path / "set"), str(tmp_path / "list.parquet")]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1700, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["rows"] == rows - rows // 100
    assert found["dropped"] == rows // 100
    assert found["largest"] <= 10_000
    assert max(found["peaks_mb"].values()) < 1000
