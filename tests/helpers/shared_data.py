"""Readers of the real data beside the repository; for tests marked ``realdata`` only.

The folder is the environment variable PREFSTRENGTH_DATA or ``../shared/data`` seen from the
repository. Where a data set is absent the test is skipped and says so.
"""

import itertools
import os
from pathlib import Path

import pandas as pd
import pytest

from prefstrength.data.choices import Choices
from prefstrength.data.reading import pairs_from_votes


def folder() -> Path:
    """Where the data sets lie, each in a folder of its own."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("PREFSTRENGTH_DATA") or beside)


def require(name: str) -> Path:
    """The folder of one data set; skips the test where it is absent."""
    path = folder() / name
    if not path.is_dir():
        pytest.skip(
            f"real data {name!r} is not in {folder()}: set PREFSTRENGTH_DATA to the folder that "
            "holds it"
        )
    return path


def mtbench_pairs() -> pd.DataFrame:
    """3,355 votes between answers of language models, 780 of them ties, by 65 choosers.

    Chooser ``annotator_id``; groups ``judge_type``, ``category``, ``turn``; attributes ``reward``
    (GPT-4's win share) and ``len``. The prompt of turn 2 is both questions, the first as context
    (it says "your previous answer"); the first answers differ between the two models and are
    left out. Judge author_0 met one pair of models twice, so ``duplicates`` has to be chosen.
    """
    path = require("mtbench_human")
    votes = pd.read_parquet(path / "choices.parquet").drop(columns="winner")
    asked = pd.read_parquet(path / "prompts.parquet").pivot(
        index="question_id", columns="turn", values="prompt"
    )
    prompt = {(q, 1): text for q, text in asked[1].items()}
    prompt |= {(q, 2): f"{asked.loc[q, 1]}\n\n{text}" for q, text in asked[2].items()}
    votes["prompt"] = [prompt[key] for key in zip(votes["question_id"], votes["turn"], strict=True)]
    answers = pd.read_parquet(path / "responses.parquet").set_index(
        ["question_id", "turn", "model"]
    )["text"]
    for side in "ab":
        keys = pd.MultiIndex.from_frame(votes[["question_id", "turn", f"model_{side}"]])
        votes[f"response_{side}"] = answers.loc[keys].to_numpy()
    return pairs_from_votes(votes)


def ukp_pairs() -> pd.DataFrame:
    """84,445 votes on which argument convinces more, 19,105 of them ties, by 3,815 choosers.

    Chooser ``annotator_id``; groups ``debate``, ``worker_stance`` ('not stated' where the worker
    said nothing, which is not the answer 'none'); attributes ``reward`` and ``len``. The prompt
    is debate and stance. A few arguments have the same text, so ``identical`` and ``duplicates``
    have to be chosen.
    """
    path = require("ukp_convarg1")
    votes = pd.read_parquet(path / "choices.parquet")
    votes["worker_stance"] = votes["worker_stance"].fillna("not stated")
    arguments = pd.read_parquet(path / "arguments.parquet").set_index("arg_id")
    for side in "ab":
        votes[f"response_{side}"] = votes[f"arg_{side}"].map(arguments["text"])
    stance = votes["arg_a"].map(arguments["stance"])
    votes["prompt"] = votes["debate"].str.replace("-", " ") + ": " + stance
    return pairs_from_votes(votes)


def hh_pairs() -> pd.DataFrame:
    """8,552 pairs with texts, 36 of them identical; group ``criterion``; no chooser, no reward."""
    pairs = pd.read_parquet(require("hh_rlhf") / "pairs.parquet")
    return pairs.rename(columns={"chosen_response": "chosen", "rejected_response": "rejected"})


def wqrm_pairs() -> pd.DataFrame:
    """840 pairs out of 280 rankings of three texts; groups ``genre``, ``llm``; reward; texts.

    The three pairs of a ranking depend on each other and share a ``ranking_id``. Who ranked is
    not known, and several ranked the same item: ``duplicates="keep"``.
    """
    path = require("wqrm_triplets")
    rankings = pd.read_parquet(path / "rankings.parquet")
    texts = pd.read_parquet(path / "texts.parquet").set_index(["item", "alternative"])["text"]
    rows = []
    for ranking, three in rankings.sort_values("rank").groupby("ranking_id", sort=False):
        for better, worse in itertools.combinations(three.itertuples(), 2):
            rows.append(
                {
                    "ranking_id": ranking,
                    "item": better.item,
                    "genre": better.genre,
                    "llm": better.llm,
                    "prompt": better.item,
                    "chosen": texts[better.item, better.alternative],
                    "rejected": texts[worse.item, worse.alternative],
                    "reward_chosen": better.reward,
                    "reward_rejected": worse.reward,
                    "len_chosen": better.n_char,
                    "len_rejected": worse.n_char,
                }
            )
    return pd.DataFrame(rows)


def electricity_choices() -> Choices:
    """4,308 choices of one out of four suppliers by 361 customers; six attributes."""
    table = pd.read_csv(require("electricity") / "electricity.csv.gz")
    return Choices.from_long(
        table,
        situation="chid",
        alternative="alt",
        chosen="choice",
        attributes=["pf", "cl", "loc", "wk", "tod", "seas"],
        chooser="id",
    )
