"""Fit: the posterior of a model, draws with names and where they came from."""

import hashlib
import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from prefstrength._shared.files import atomic_directory, write_json
from prefstrength._shared.records import read_saved
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.expressions import mixing_of
from prefstrength.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from prefstrength.posterior.checks import Checks

__all__ = ["Fit", "load_fit"]

_SCHEMA = "prefstrength/fit/1"
_FILES = ("fit.json", "posterior.nc")
_HASH = "sha256_of_draws"
#: What every record says, and as what.
_FIELDS = {
    "method": str,
    "reason": str,
    "coefficients": dict,
    "groups": list,
    "cells": list,
    "scales": dict,
    "likelihood": dict,
    "versions": dict,
    "data": dict,
}


@dataclass(frozen=True, eq=False)
class Fit:
    """Posterior of a :class:`~prefstrength.MixedLogit`, with everything needed to judge it.

    Parameters
    ----------
    tree : xarray.DataTree
        Groups posterior, prior, prior_predictive, sample_stats, log_likelihood,
        posterior_predictive, observed_data, constant_data and, with choosers, chooser_level;
        any ArviZ function reads it.
    spec : dict
        Model, data, method and versions, as JSON holds them.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> sorted(fit.posterior.data_vars)[-2:]
    ['reward_mu', 'reward_sigma']
    """

    tree: xr.DataTree
    spec: dict[str, Any]

    @property
    def posterior(self) -> xr.DataTree:
        """Draws of the population level, dims (chain, draw, …)."""
        return self.tree["posterior"]

    @property
    def method(self) -> str:
        """How the posterior was computed, such as ``"importance"`` or ``"nuts"``."""
        return str(self.spec["method"])

    @property
    def reason(self) -> str:
        """Why that method was used."""
        return str(self.spec["reason"])

    @property
    def attributes(self) -> list[str]:
        """Attributes that have a coefficient."""
        return list(self.spec["coefficients"])

    @property
    def groups(self) -> list[str]:
        """Factors that shift the mixing distributions."""
        return list(self.spec["groups"])

    def family(self, attribute: str | None = None) -> str:
        """Family of an attribute's mixing distribution, by name."""
        return str(self.spec["coefficients"][self.attribute(attribute)])

    def mixing(self, attribute: str | None = None) -> Mixing:
        """Mixing distribution of an attribute's coefficient, as the model was given it."""
        return mixing_of(self.family(attribute))

    def attribute(self, attribute: str | None = None) -> str:
        """The given attribute, checked; without one the only one, or the only one that varies.

        Raises
        ------
        InputError
            If the model has no such attribute, or several and none was given.
        """
        if attribute is None:
            varying = [name for name in self.attributes if self.mixing(name).varies]
            alone = varying if len(self.attributes) > 1 else self.attributes
            if len(alone) == 1:
                return alone[0]
            raise InputError(
                f"Expected one of the attributes {self.attributes}; got a model in which "
                f"{len(varying) or 'none'} of them may vary between choosers. Name the one that "
                f"is asked about, such as {self.attributes[0]!r}, with `attribute=...`."
            )
        if attribute not in self.attributes:
            raise InputError(
                f"Expected an attribute of the model, one of {self.attributes}; got {attribute!r}."
            )
        return attribute

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        """What is known of the errors of each attribute that is measured with error, by name."""
        return dict(self.spec.get("errors", {}))

    def summary(self) -> "pd.DataFrame":
        """Posterior mean, sd, interval and convergence of every population-level variable.

        Returns
        -------
        pandas.DataFrame
            ArviZ's summary, one row for each variable (and group). Where no chain was run R-hat
            means nothing: after importance sampling the column ``ess`` holds the effective
            number of the weights.
        """
        import arviz as az

        shown = self.tree.assign(posterior=self._once())
        if "sample_stats" in self.tree:
            return az.summary(shown, round_to="none")
        table = az.summary(shown, round_to="none", kind="stats")
        return table.assign(ess=self.spec["effective"]) if "effective" in self.spec else table

    def _once(self) -> xr.DataTree:
        """The posterior without location and dispersion where they are the parameters."""
        posterior = self.posterior.to_dataset()
        twice = []
        for attribute in self.attributes:
            names = {each for family in self.mixing(attribute).kinds.families
                     for each in family().parameters}  # fmt: skip
            shown = (f"{attribute}_{name}" for name in sorted(names))
            own = [posterior[name] for name in shown if name in posterior]
            for name in (f"{attribute}_location", f"{attribute}_dispersion"):
                if name in posterior and any(posterior[name].equals(each) for each in own):
                    twice.append(name)
        return xr.DataTree(posterior.drop_vars(twice))

    def check(self) -> "Checks":
        """Diagnostics against named thresholds; see :func:`prefstrength.check`."""
        from prefstrength.posterior.checks import check

        return check(self)

    def strength_prior_fields(
        self,
        mean_strength: float,
        group: str | None = None,
        mean_strength_sd: float = 0.1,
        attribute: str | None = None,
    ) -> dict[str, Any]:
        """Fields of the :class:`~prefstrength.StrengthPrior` that this fit supports.

        What :meth:`StrengthPrior.from_fit <prefstrength.StrengthPrior.from_fit>` asks of a fit,
        so that the record, which training reads, knows nothing of the analysis.
        """
        from prefstrength.posterior.prior_from_fit import strength_prior_summary

        return strength_prior_summary(self, mean_strength, group, mean_strength_sd, attribute)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``posterior.nc`` (netCDF) and ``fit.json`` into a directory of that name.

        The directory appears when it is complete; a fit that was there is replaced, and a
        directory with anything else is refused.
        """
        with atomic_directory(directory, replaces=_FILES) as temporary:
            # In memory first: HDF5 crashes where the disk is full, and we can say so.
            content = self.tree.to_netcdf(None, engine="h5netcdf")
            (temporary / "posterior.nc").write_bytes(content)
            hashed = {_HASH: hashlib.sha256(content).hexdigest()}
            write_json(temporary / "fit.json", {"schema": _SCHEMA, **self.spec, **hashed})
        return Path(directory)

    def __repr__(self) -> str:
        data = self.spec["data"]
        coefficients = ", ".join(f"{k} ~ {v}" for k, v in self.spec["coefficients"].items())
        error = self.spec["likelihood"]["error"]
        lines = [
            f"Fit of MixedLogit({coefficients}"
            + (f"; groups {', '.join(self.groups)}" if self.groups else "")
            + ")",
            f"  data:       {data['situations']} situations"
            + (f" of {data['choosers']} choosers" if data["choosers"] else ", choosers not known"),
            f"  method:     {self.method} ({self.reason})",
            f"  likelihood: {self.spec['likelihood']['how']}"
            + (f"; error below {error:.1g} nats" if error else ""),
            *(
                f"  errors:     {name} is measured with error, sd {error['sd']:.3g}; reliability "
                f"of its differences {error['reliability_here']:.2f}, corrected for"
                for name, error in self.errors.items()
            ),
            f"  draws:      {dict(self.posterior.sizes)['chain']} chains of "
            f"{dict(self.posterior.sizes)['draw']}",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def load_fit(directory: str | os.PathLike[str]) -> Fit:
    """Read what :meth:`Fit.save` wrote.

    Parameters
    ----------
    directory : path

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the directory or one of its two files is missing, damaged, or of another kind or fit.

    Examples
    --------
    >>> import tempfile
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.PointMass(value=1.0), choosers=30, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = ps.load_fit(fit.save(folder + "/fit"))
    >>> again.posterior.equals(fit.posterior)
    True
    """
    directory = Path(directory)
    spec = read_saved(directory, _FILES, "a fit", _SCHEMA)
    del spec["schema"]
    hashed = spec.pop(_HASH, None)  # earlier versions wrote none
    content = (directory / "posterior.nc").read_bytes()
    if hashed is not None and hashlib.sha256(content).hexdigest() != hashed:
        raise InputError(
            f"Expected the draws that were saved with the fit in {str(directory)!r}; got another "
            "posterior.nc. It is damaged, or of another fit. Copy both files again, or fit again."
        )
    _require_fields(spec, directory)
    try:
        with xr.open_datatree(io.BytesIO(content), engine="h5netcdf") as opened:
            tree = opened.load()
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"Expected the draws of a fit in {str(directory)!r}; got a posterior.nc of "
            f"{len(content):,} bytes that is no netCDF ({error}). A copy may have stopped early, "
            "or it is another file. Copy it again, or fit again."
        ) from error
    tree = tree.map_over_datasets(_of_cells)
    missing = [name for name in ("posterior", "constant_data") if name not in tree.children]
    missing += [
        f"a coefficient of {name}"
        for name in spec["coefficients"]
        if not missing and not any(v.startswith(f"{name}_") for v in tree["posterior"].data_vars)
    ]
    if missing:
        raise InputError(
            f"Expected the draws of the fit in {str(directory)!r}; got a posterior.nc without "
            f"{', '.join(missing)}. It is of another fit or model. Copy both files again, or fit "
            "again."
        )
    return Fit(tree, spec)


def _of_cells(dataset: xr.Dataset) -> xr.Dataset:
    """The same with the dimension of earlier versions, which ArviZ takes for its own."""
    return dataset.rename(group="cell") if "group" in dataset.dims else dataset


def _require_fields(spec: dict[str, Any], directory: Path) -> None:
    """Stop where the record lacks what every fit says of itself."""
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(spec.get(name), kind)]
    data = spec["data"] if "data" not in wrong else {}
    wrong += [f"data.{name}" for name in ("situations", "levels", "hash") if name not in data]
    if wrong:
        raise InputError(
            f"Expected the record of a fit in {str(directory / _FILES[0])!r}; got one without "
            f"{', '.join(wrong)}, or with another kind of value there. Somebody edited it, or "
            "another version wrote it. Copy it again, or fit again."
        )
