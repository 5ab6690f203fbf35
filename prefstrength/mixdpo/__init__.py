"""MixDPO: preference training with a mixing distribution in the place of DPO's β.

Public names stand in ``__init__.pyi``. Torch loads with the first of them; TRL only with
:class:`MixDPOConfig`, :class:`MixDPOTrainer`, :func:`evaluate_preferences` and :func:`win_rate`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
