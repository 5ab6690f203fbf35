"""What all tests share: an environment without network, and the way to real data."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Before anything imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # it warns when a test forks
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run in a process for each core; more threads would wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
# Processes that tests start run the package that is tested, whichever is installed.
_PATH = [str(ROOT), os.environ.get("PYTHONPATH")]
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in _PATH if path)
# Programs that JAX compiles are kept from one run of the tests to the next, and shared by the
# processes of one run; `pytest --cache-clear` forgets them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "d" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real preference data; tests that ask for it carry the marker ``realdata``."""
    from tests.helpers.shared_data import folder

    if not folder().is_dir():
        pytest.skip(f"no real data at {folder()}; set PREFSTRENGTH_DATA to their folder")
    return folder()
