r"""The demo's data: invented texts, choosers with known strengths, and the choices that follow.

Nothing here is learned from anybody's data. A response is a few sentences with a slot each; the
word in the slot carries the quality, so a response's quality is the sum of the weights of its
words. A chooser picks the better response with probability
:math:`\sigma(\beta_a \Delta q)`; the strength :math:`\beta_a` is log-normal over choosers, and
how much it varies depends on the dataset, how large it is also on the region.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.errors import InputError

__all__ = ["DATASETS", "REGIONS", "DemoData", "make_demo_data", "response_quality", "word_weights"]

#: Mixing distribution of the strength in each dataset, in the region without a shift, for
#: differences in quality of standard deviation 1.
DATASETS: dict[str, LogNormal] = {
    "howto": LogNormal(mu=0.6, sigma=0.10),
    "stories": LogNormal(mu=0.6, sigma=0.90),
}

#: What a region adds to the mean of log strength.
REGIONS: dict[str, float] = {"coast": 0.15, "hills": 0.0, "islands": -0.15}

# Sentences and the words that fill them. The weights are for quality before scaling.
SENTENCES: tuple[tuple[str, dict[str, float]], ...] = (
    ("This is a {} answer.", dict(careful=1.0, tidy=0.5, quick=0.0, rough=-0.6)),
    ("It opens with a {} summary.", dict(clear=0.9, short=0.3, long=-0.3, vague=-1.0)),
    ("Each step has a {} example.", dict(worked=1.1, small=0.4, borrowed=-0.2, broken=-1.2)),
    ("The order of the parts is {}.", dict(sensible=0.7, usual=0.1, odd=-0.5, muddled=-0.9)),
    ("A {} list names what you need.", dict(complete=0.8, neat=0.4, partial=-0.4, wrong=-1.3)),
    ("The tone stays {}.", dict(kind=0.6, plain=0.2, dry=-0.2, impatient=-0.8)),
    ("The numbers were {}.", dict(checked=1.0, rounded=0.2, guessed=-0.7, missing=-0.9)),
    ("It ends on a {} note.", dict(helpful=0.7, cheerful=0.3, sudden=-0.4, puzzling=-0.7)),
)

_PROMPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "howto": (
        (
            "How do I {}?",
            "Please help me to {}.",
            "What is the easiest way to {}?",
            "I have one hour to {}. Where do I start?",
            "A neighbour asked me how to {}. What should I say?",
            "Which mistakes should I avoid when I {}?",
        ),
        (
            "patch a bicycle tube", "plan a small herb garden", "sharpen a kitchen knife",
            "fold a paper boat", "bake a loaf of bread", "label a box of old photographs",
            "tune a guitar", "clean a fountain pen", "hang a picture straight",
            "sort a shelf of books", "plant a row of beans", "mend a torn pocket",
            "read a tide table", "set up a bird feeder", "make a pot of soup",
            "draw a floor plan", "pack for a day of hiking", "learn ten words of a new language",
            "build a wooden stool", "keep a weather diary",
        ),
    ),
    "stories": (
        (
            "Write the opening of a story about {}.",
            "Tell a bedtime story about {}.",
            "Describe {} in a few lines.",
            "Write a letter that mentions {}.",
            "Give me an idea for a short film about {}.",
            "Retell an old fable with {} in it.",
        ),
        (
            "a lighthouse in fog", "two rival bakers", "a fox that collects buttons",
            "the last train of the evening", "a map with no names", "a very patient heron",
            "a clock that runs backwards", "the keeper of a small museum", "a market before dawn",
            "a lost umbrella", "three sisters and a boat", "a garden on a roof",
            "a choir of frogs", "the first snow of the year", "a letter without a sender",
            "a shy inventor", "a bridge made of rope", "an orchard in moonlight",
            "a cat that keeps accounts", "the longest queue in town",
        ),
    ),
}  # fmt: skip

_SENTENCES_SHOWN = 4

# Weights have one decimal, so that anything smaller is no difference.
_LEAST_DIFFERENCE = 0.05


@dataclass(frozen=True, eq=False)
class DemoData:
    """Pairs, and what they were drawn from.

    Attributes
    ----------
    pairs : DataFrame
        One row for each choice: ``prompt``, ``chosen``, ``rejected``, ``annotator``, ``dataset``,
        ``region``.
    truth : dict
        ``cells``: mu, sigma, mean and cv of the strength for each ``"dataset | region"``;
        ``datasets``: mean, cv and sd_log of the strength over all choosers of a dataset;
        ``words``: the quality that each word carries; ``choosers``: each chooser's strength.
        Strengths are for differences in quality of standard deviation 1.
    """

    pairs: pd.DataFrame
    truth: dict[str, Any]


def word_weights() -> dict[str, float]:
    """Quality of each word that a response may contain, before scaling.

    Examples
    --------
    >>> word_weights()["careful"]
    1.0
    """
    return {word: weight for _, words in SENTENCES for word, weight in words.items()}


def response_quality(text: str, words: dict[str, float] | None = None) -> float:
    """True quality of a response: the sum of the weights of the distinct words in it.

    Parameters
    ----------
    text : str
        A response.
    words : dict, optional
        Weight of each word; those of :func:`word_weights` by default.

    Returns
    -------
    float

    Examples
    --------
    >>> response_quality("This is a careful answer. The tone stays kind.")
    1.6
    """
    words = word_weights() if words is None else words
    return sum(words.get(word, 0.0) for word in set(text.lower().replace(".", " ").split()))


def make_demo_data(choosers: int = 240, situations: int = 24, seed: int = 0) -> DemoData:
    """Draw texts, choosers and choices.

    Parameters
    ----------
    choosers : int
        How many; they are spread evenly over the six cells of dataset and region.
    situations : int
        Choices of each chooser, each about another prompt.
    seed : int
        The same seed gives the same data.

    Returns
    -------
    DemoData

    Raises
    ------
    InputError
        If there are too few choosers for the cells, or more situations than prompts.

    Examples
    --------
    >>> data = make_demo_data(choosers=12, situations=3, seed=1)
    >>> data.pairs.shape
    (36, 6)
    >>> sorted(data.truth["datasets"])
    ['howto', 'stories']
    """
    cells = [(dataset, region) for dataset in DATASETS for region in REGIONS]
    prompts = {
        dataset: [start.format(topic) for start in starts for topic in topics]
        for dataset, (starts, topics) in _PROMPTS.items()
    }
    most = min(len(texts) for texts in prompts.values())
    if choosers < len(cells):
        raise InputError(
            f"Expected at least one chooser for each of the {len(cells)} cells of dataset and "
            f"region; got {choosers}. Ask for more choosers."
        )
    if not 1 <= situations <= most:
        raise InputError(
            f"Expected 1 to {most} situations for each chooser, one for each prompt of a dataset; "
            f"got {situations}. Ask for another number."
        )

    rng = np.random.default_rng(seed)
    rows: list[dict[str, str]] = []
    strengths: dict[str, float] = {}
    strength_of_row: list[float] = []
    better: list[str] = []
    other: list[str] = []
    for index in range(choosers):
        dataset, region = cells[index % len(cells)]
        law = DATASETS[dataset]
        label = f"p{index + 1:03d}"
        strengths[label] = float(
            np.exp(law.mu + REGIONS[region] + law.sigma * rng.standard_normal())
        )
        for which in rng.choice(len(prompts[dataset]), size=situations, replace=False):
            first, second = _response(rng), _response(rng)
            while abs(response_quality(first) - response_quality(second)) < _LEAST_DIFFERENCE:
                second = _response(rng)  # no choice without a difference
            better.append(first)
            other.append(second)
            strength_of_row.append(strengths[label])
            rows.append(
                {
                    "prompt": prompts[dataset][which],
                    "annotator": label,
                    "dataset": dataset,
                    "region": region,
                }
            )

    difference = np.array(
        [response_quality(a) - response_quality(b) for a, b in zip(better, other, strict=True)]
    )
    unit = float(np.sqrt(np.mean(difference**2)))
    first_chosen = rng.random(len(rows)) < expit(np.array(strength_of_row) * difference / unit)
    pairs = pd.DataFrame(rows)
    pairs.insert(1, "chosen", np.where(first_chosen, better, other))
    pairs.insert(2, "rejected", np.where(first_chosen, other, better))
    return DemoData(pairs=pairs, truth=_truth(unit, strengths, seed))


def _response(rng: np.random.Generator) -> str:
    shown = np.sort(rng.choice(len(SENTENCES), size=_SENTENCES_SHOWN, replace=False))
    return " ".join(
        sentence.format(rng.choice(list(words)))
        for sentence, words in (SENTENCES[index] for index in shown)
    )


def _truth(unit: float, strengths: dict[str, float], seed: int) -> dict[str, Any]:
    cells = {}
    for dataset, law in DATASETS.items():
        for region, shift in REGIONS.items():
            cell = LogNormal(mu=law.mu + shift, sigma=law.sigma)
            cells[f"{dataset} | {region}"] = {
                "mu": cell.mu,
                "sigma": cell.sigma,
                "mean": cell.mean(),
                "cv": cell.cv(),
            }
    return {
        "unit": "sd of the difference in true quality",
        "family": "LogNormal",
        "seed": seed,
        "factors": ["dataset", "region"],
        "cells": cells,
        "datasets": {
            dataset: _mixture([LogNormal(mu=law.mu + s, sigma=law.sigma) for s in REGIONS.values()])
            for dataset, law in DATASETS.items()
        },
        "words": {word: weight / unit for word, weight in word_weights().items()},
        "choosers": strengths,
    }


def _mixture(laws: list[LogNormal]) -> dict[str, float]:
    """Summaries of the strength over choosers that are spread evenly over ``laws``."""
    means = np.array([law.mean() for law in laws])
    squares = np.array([law.sd() ** 2 + law.mean() ** 2 for law in laws])
    mus = np.array([law.mu for law in laws])
    mean = float(means.mean())
    return {
        "mean": mean,
        "cv": float(np.sqrt(squares.mean() - mean**2)) / mean,
        "sd_log": float(np.sqrt(np.mean([law.sigma**2 for law in laws]) + mus.var())),
    }
