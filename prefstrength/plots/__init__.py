"""Figures: each one function, one file, returning the Matplotlib axes it drew on.

What they share is there for figures from outside, too: size, type and colours in
:mod:`~prefstrength.plots.style`, what a fit was made from in
:mod:`~prefstrength.plots.observed`, panels of levels in :mod:`~prefstrength.plots.levels`, rows
of intervals in :mod:`~prefstrength.plots.forest`. Public names stand in ``__init__.pyi``, here
and so in ``prefstrength``, and load on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
