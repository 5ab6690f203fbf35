"""Python in a process of its own, with libraries out of reach."""

import subprocess
import sys
import textwrap
from pathlib import Path

#: Libraries of one half of the package, which the other works without.
TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "safetensors"}
JAX = {"jax", "jaxlib", "numpyro"}

HIDE = """
import sys
class Hidden:
    # A finder that does not find some libraries, as if they were not installed.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hidden(finder) for finder in sys.meta_path]
"""


def python(code: str, hidden: set[str] | None = None, cwd: Path | None = None) -> str:
    """Run ``code`` in a fresh interpreter that does not find the ``hidden`` libraries."""
    prelude = HIDE.format(hidden=sorted(hidden)) if hidden else ""
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
