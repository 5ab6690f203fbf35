"""What numba compiles runs also where nothing can be kept on disk."""

import numpy as np
import pytest
from numba.core import caching

from prefstrength.data.compressed.compiled import compiled


def total(values: np.ndarray) -> float:
    found = 0.0
    for value in values:
        found += value
    return found


def test_without_a_place_for_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container whose package and home cannot be written.
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert compiled(total)(np.arange(4.0)) == 6.0
