"""Simulation-based calibration of other answers than pairs, and of other kinds of choosers.

    python -m benchmarks.calibration_responses --out DIR [--simulations 500] [--only NAME ...]

Interrupted, the same command goes on. Panels of 30 choosers with 12 situations each, under the
default priors. Writes DIR/calibration_responses.csv (one row for each variable of each
configuration) and DIR/calibration_responses.json, and prints whether all passed.
"""

import prefstrength as ps
from benchmarks.calibration import run
from prefstrength.data.choices import Choices

KEEN = ps.LogNormal(mu=0.0, sigma=0.7)


def panel(
    mixing: ps.LogNormal | ps.Normal = KEEN,
    situations: int = 12,
    spread: float = 1.5,
    **answers: object,
) -> Choices:
    """The design: who meets what. Answers are simulated anew."""
    return ps.simulate(mixing, 30, situations, spread, seed=1, **answers)


def configurations() -> dict[str, tuple[ps.MixedLogit, Choices]]:
    plain, log_normal = panel(), ps.LogNormal()
    graded = panel(response=ps.Graded(5), shared={"cut_1": 0.5, "cut_2": 1.0})
    mixture = ps.FiniteMixture((log_normal, log_normal))
    return {
        "graded-LogNormal": (ps.MixedLogit({"reward": log_normal}), graded),
        "ties-Normal": (
            ps.MixedLogit({"reward": ps.Normal()}),
            panel(ps.Normal(mu=0.8, sigma=0.5), response=ps.Ties(), shared={"tie": 0.7}),
        ),
        "rankings-LogNormal": (
            ps.MixedLogit({"reward": log_normal}),
            panel(response=ps.Ranking(), alternatives=4),
        ),
        "pair-ZeroMass": (ps.MixedLogit({"reward": ps.ZeroMass(log_normal)}), plain),
        "pair-FiniteMixture": (ps.MixedLogit({"reward": mixture}), plain),
        "pair-LogNormal-power": (ps.MixedLogit({"reward": log_normal}, utility="power"), plain),
        "pair-LogNormal-lapse": (ps.MixedLogit({"reward": log_normal}, lapse=True), plain),
    }


if __name__ == "__main__":
    run(configurations(), "calibration_responses", __doc__)
