"""Bayesian discrete choice for preference data of language models.

Public names stand in ``__init__.pyi``, and load on first use.

>>> import prefstrength as ps
>>> ps.LogNormal(mu=0.0, sigma=0.7)
LogNormal(mu=0, sigma=0.7)
"""

from importlib.metadata import version

from prefstrength._shared.public_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
# Parts that are reached as ps.plots and so on; `from prefstrength import *` is not to load torch.
__all__ = [name for name in __all__ if name not in ("mixdpo", "plots", "report")]

__version__ = version("prefstrength")
