"""The command line inside the test's process, for commands whose imports take longer than their work."""

from pathlib import Path
from typing import Literal

from typer.testing import CliRunner

import tamis as command


def tamis(*args: str | Path, code: int = 0, stream: Literal["stdout", "stderr"] = "stdout") -> str:
    """Run a command and return what it printed on a stream; its own errors are raised."""
    done = CliRunner().invoke(command.app, [str(one) for one in args], catch_exceptions=False)
    assert done.exit_code == code, done.output
    printed: str = getattr(done, stream)
    return printed
