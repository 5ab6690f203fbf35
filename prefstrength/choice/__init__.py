"""The probability of a choice: mixing distributions and kernels, shared by analysis and training.

Imports neither JAX nor torch; both evaluate the same lines over a
:class:`~prefstrength.choice.arrays.Library`.
"""
