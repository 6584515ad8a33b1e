"""A virtual environment that holds some installed distributions and what they require, and nothing else: links instead of downloads."""

import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def closure(names: list[str]) -> dict[str, Distribution]:
    """Return distributions by name: those named and, without extras, all they require on this machine."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            assert name not in names, f"{name} is not installed"
            continue  # what pip, too, would have found unnecessary here
        wanted = [Requirement(text) for text in found[name].requires or ()]
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def make(folder: Path, names: list[str]) -> Path:
    """Make the environment and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    for one in closure(names).values():
        for top in {Path(str(path)).parts[0] for path in one.files or ()} - {"..", "__pycache__"}:
            source, link = Path(str(one.locate_file(top))), site / top
            if not link.exists() and source.exists():
                link.symlink_to(source, source.is_dir())
    return folder / "bin" / "python"
