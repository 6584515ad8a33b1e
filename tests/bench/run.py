"""Runs every benchmark and prints the table of the README: ours, the peer, the ratio, the aim."""

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run the named benchmarks (all when none is named) and print one Markdown row a claim."""
    benches = [HERE / f"bench_{name}.py" for name in names] or sorted(HERE.glob("bench_*.py"))
    rows = []
    failed = 0
    for bench in benches:
        print(f"running {bench.name} …", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, str(bench)], stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1])
        failed += done.returncode != 0
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    print(
        f"\n{platform.machine()}, {len(_cores())} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n"
    )
    print("| claim | unit | ours | peer | ratio | aim |\n|---|---|---|---|---|---|")
    for row in rows:
        numbers = " | ".join(_number(row[name]) for name in ("ours", "peer", "ratio"))
        print(f"| {row['claim']} | {row['unit']} | {numbers} | {row.get('aim', '')} |")
    return 1 if failed else 0


def _cores() -> set[int]:
    import os

    return os.sched_getaffinity(0)


def _number(value: float | str | None) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, (int, float)) and abs(value) < 1000
        else (f"{value:,.0f}" if isinstance(value, (int, float)) else str(value or "–"))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
