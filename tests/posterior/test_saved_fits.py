"""Fits on disk: whole or refused in one sentence, also where the disk is full."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import prefstrength as ps
from prefstrength.posterior.fit import Fit


def made_up(attribute: str = "reward", draws: int = 50) -> Fit:
    """A fit that nobody made, with the parts that every one has."""
    value = np.random.default_rng(0).normal(size=(2, draws))
    posterior = xr.Dataset({f"{attribute}_value": (("chain", "draw"), value)})
    constant = xr.Dataset({"weight": ("situation", np.ones(3))})
    spec = {
        "coefficients": {attribute: "PointMass"},
        "groups": [],
        "cells": [],
        "scales": {attribute: 1.0},
        "likelihood": {"how": "exact", "error": 0.0},
        "method": "nuts",
        "reason": "asked for",
        "seed": 0,
        "versions": {},
        "data": {"situations": 3, "choosers": 0, "levels": {}, "hash": "x"},
    }
    return Fit(xr.DataTree.from_dict({"/posterior": posterior, "/constant_data": constant}), spec)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    fit = made_up()
    again = ps.load_fit(fit.save(tmp_path / "fit"))
    assert again.spec == fit.spec
    assert again.posterior.equals(fit.posterior)


@pytest.mark.parametrize("how", ["cut", "flipped", "foreign", "other model", "empty"])
@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "not hashed"])
def test_draws_that_are_not_those_of_the_fit_are_refused(
    how: str, hashed: bool, tmp_path: Path
) -> None:
    folder = made_up().save(tmp_path / "fit")
    path = folder / "posterior.nc"
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "flipped":
        content[len(content) // 2] ^= 255
    elif how == "foreign":
        content = bytearray(b"PAR1 and not netCDF")
    elif how == "empty":
        content = bytearray()
    else:
        other = made_up("price").save(tmp_path / "other")
        content = bytearray((other / "posterior.nc").read_bytes())
    path.write_bytes(bytes(content))
    if not hashed:  # as earlier versions wrote it
        if how == "flipped":
            return  # a draw that differs in a bit is a draw
        record = json.loads((folder / "fit.json").read_text())
        del record["sha256_of_draws"]
        (folder / "fit.json").write_text(json.dumps(record))
    with pytest.raises(ps.InputError, match=r"posterior\.nc"):
        ps.load_fit(folder)


@pytest.mark.parametrize("name", ["method", "coefficients", "groups", "cells", "data", "scales"])
@pytest.mark.parametrize("value", [None, 800, [{}], "x"])
def test_records_that_are_none_of_a_fit_are_refused(name: str, value, tmp_path: Path) -> None:
    folder = made_up().save(tmp_path / "fit")
    record = json.loads((folder / "fit.json").read_text())
    if isinstance(value, type(record[name])):
        return
    record[name] = value
    if value is None:
        del record[name]
    (folder / "fit.json").write_text(json.dumps(record))
    with pytest.raises(ps.InputError, match=rf"fit\.json.* without {name}"):
        ps.load_fit(folder)


FULL = """
import resource, signal, sys
from prefstrength.posterior.fit import Fit
from tests.posterior.test_saved_fits import made_up
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fit = made_up(draws=100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fit.save(sys.argv[1])
except OSError as error:
    print("refused:", error)
"""


def test_a_disk_that_is_full_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "fit"
    made_up().save(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr  # not a crash
    assert "refused:" in done.stdout
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]
