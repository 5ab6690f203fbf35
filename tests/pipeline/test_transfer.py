"""The stage compare, where log-ratio differences and rewards of the same pairs are there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength import pipeline
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.pipeline import stages
from tests.helpers.made_up import made_up_fit
from tests.pipeline.test_cli import call


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder in which a fit has finished."""
    folder, fit = tmp_path / "out", made_up_fit({"region": ["east", "west"]})

    def work(new: Path) -> None:
        fit.save(new / "fit")

    stages.perform(folder, "fit", {}, {}, work, lambda: None, False, None)
    return folder


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    record = LearnedStrength("LogNormal", {"mu": -2.5, "sigma": 0.7}, mode="joint")
    return record.save(tmp_path / "learned_strength.json")


def evaluated(slope: float = 3.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(300, 2))
    return pd.DataFrame(
        {
            "row": np.arange(300),
            "delta": slope * (reward[:, 0] - reward[:, 1]) + rng.normal(size=300),
            "reward_chosen": reward[:, 0],
            "reward_rejected": reward[:, 1],
            "region": np.where(np.arange(300) % 2, "east", "west"),
        }
    )


def test_what_the_transfer_assumes_is_told_and_written(
    out: Path, learned: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "evaluated.parquet"
    evaluated().to_parquet(pairs)
    result = call("compare", out, "--learned", learned, "--evaluated", pairs)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "Over 300 pairs Δ changes by" in said
    assert "Under this link strength per nat has a mean of" in said
    table = pd.read_csv(out / "transfer.csv").set_index("quantity")
    assert table.loc["slope", "value"] == pytest.approx(3.0, abs=0.1)
    assert "slope_spread" in table.index  # the group is known of every pair
    assert (out / "comparison.csv").is_file()
    # The same again is kept; other pairs are not.
    told: list[tuple[str, str]] = []
    pipeline.compare(out, learned, evaluated=pairs, tell=lambda *one: told.append(one[:2]))
    assert told == [("compare", "kept")]
    evaluated(slope=-3.0).to_parquet(pairs)
    result = call("compare", out, "--learned", learned, "--evaluated", pairs)
    assert "Δ does not rise with the reward" in " ".join(result.output.split())
    assert pd.read_csv(out / "transfer.csv")["value"][0] < 0


def test_without_pairs_nothing_is_said_and_an_older_table_goes(
    out: Path, learned: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "evaluated.parquet"
    evaluated().to_parquet(pairs)
    assert call("compare", out, "--learned", learned, "--evaluated", pairs).exit_code == 0
    result = call("compare", out, "--learned", learned)
    assert result.exit_code == 0, result.output
    assert "pairs Δ changes by" not in " ".join(result.output.split())
    assert not (out / "transfer.csv").exists()


def test_pairs_beside_the_model_are_found_where_they_have_rewards(out: Path, learned: Path) -> None:
    beside = out / "train" / "evaluation" / "pairs.parquet"

    def work(new: Path) -> None:
        (new / "train" / "evaluation").mkdir(parents=True)
        (new / "train" / "learned_strength.json").write_bytes(learned.read_bytes())
        evaluated().to_parquet(new / "train" / "evaluation" / "pairs.parquet")

    stages.perform(out, "train", {}, {}, work, lambda: None, False, None)
    assert beside.is_file()
    assert "Over 300 pairs" in " ".join(call("compare", out).output.split())
    assert (out / "transfer.csv").is_file()


def test_pairs_without_rewards_are_refused(out: Path, learned: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "evaluated.parquet"
    evaluated().drop(columns="reward_rejected").to_parquet(pairs)
    result = call("compare", out, "--learned", learned, "--evaluated", pairs)
    assert result.exit_code == 2
    assert "got no reward_rejected" in " ".join(result.stderr.split())
