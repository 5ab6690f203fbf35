"""The demo without training, small, and the numbers that it gave when they were stored.

``python -m tests.helpers.demo`` stores them anew. Do so where numbers are meant to change, and
name the change in CHANGELOG.md under *Changed numbers*.
"""

import hashlib
import json
import platform
import re
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.helpers.processes import TORCH, python

STORED = Path(__file__).parents[1] / "pipeline" / "demo_numbers"
NUMBERS = ("heterogeneity.csv", "strength_prior.json")

#: Libraries whose next version may round otherwise, or stands in the files.
_LIBRARIES = (
    "prefstrength", "arviz", "jax", "jaxlib", "numpy", "numpyro", "pandas", "scikit-learn",
    "scipy", "xarray",
)  # fmt: skip


def run_small_demo(folder: Path) -> Path:
    """Run it where torch cannot be found; its results go to ``out`` in the folder."""
    said = python(
        """
        from prefstrength.pipeline.demo import run_demo
        from prefstrength.pipeline.options import Sampler
        fit = run_demo(
            "out", choosers=120, situations=12, train=False, progress=False,
            sampler=Sampler(draws=200, warmup=200, chains=2),
        )
        print(fit.method)
        """,
        hidden=TORCH | {"datasets"},
        cwd=folder,
    )
    assert said.strip()
    return folder / "out"


def made_with() -> dict[str, str]:
    """Versions and processor (a digest of its kind): where they are the same, so is every bit."""
    cpu, processor = Path("/proc/cpuinfo"), platform.processor()
    if cpu.is_file():
        wanted = r"(?:vendor_id|cpu family|model|stepping|flags)\s*:.*"
        lines = re.findall(f"^{wanted}$", cpu.read_text(encoding="utf-8"), re.MULTILINE)
        processor = hashlib.sha256("\n".join(sorted(set(lines))).encode()).hexdigest()[:16]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "system": f"{platform.system()} {platform.machine()} {platform.libc_ver()[1]}",
        "processor": processor,
    }


def store() -> None:
    """Write the numbers of this version, made on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        out = run_small_demo(Path(folder))
        STORED.mkdir(exist_ok=True)
        for name in NUMBERS:
            shutil.copyfile(out / name, STORED / name)
    text = json.dumps(made_with(), indent=2) + "\n"
    (STORED / "made_with.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    store()
