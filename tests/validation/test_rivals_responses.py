"""Rivals of every kind of answer: choices among several, rankings, further attributes."""

import pandas as pd

import prefstrength as ps


def evidence(found: ps.Rivals) -> pd.Series:
    """Log marginal likelihoods by explanation, less the largest."""
    return found.table.set_index("explanation")["log_evidence"]


def test_one_of_two_is_a_pair_however_it_was_read() -> None:
    pairs = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=30, situations=8, seed=3)
    read = ps.Choices(
        pairs.values,
        pairs.chosen,
        pairs.attributes,
        chooser=pairs.chooser,
        choosers=pairs.choosers,
        response=ps.Multinomial(),
    )
    assert evidence(ps.rivals(read)).equals(evidence(ps.rivals(pairs)))
