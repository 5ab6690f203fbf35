"""Likelihoods of choice data: compressed where they can be, certified against the direct sum."""
