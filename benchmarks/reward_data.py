"""Real preference data under rewards that can be doubted: HH-RLHF and WQRM.

``python -m benchmarks.reward_data [--quick] [--data FOLDER] [--out FOLDER]``

Not part of ``make bench``, as the data are not in the repository.

- *HH-RLHF* (the two splits whose origin is verified): scored by ``TextReward``, cross-fitted, and
  fitted with the criterion (helpful, harmless) as group. Two cross-fits with different folds are
  an ensemble of two, whose disagreement is the part of the reward's error that comes from the
  split; the errors-in-variables fit takes it out. Sensitivity: other folds, corrected for length.
- *WQRM*: writers rank three versions of a text; the pairs of each ranking against the score of a
  writing-quality reward model, given with the data.
"""

import argparse
import warnings
from pathlib import Path

import pandas as pd

from benchmarks.common import RESULTS, ROOT, machine, store, table

DATA = ROOT.parent / "shared" / "data"
_VERIFIED = ("helpful-base", "harmless-base")


def hh(folder, rows, out):
    """Scores, fits and sensitivity on HH-RLHF."""
    import prefstrength as ps

    frame = pd.read_parquet(folder / "hh_rlhf" / "pairs.parquet")
    dropped = int(frame["identical"].sum())
    frame = frame[~frame["identical"]]
    frame = frame[frame["split"].isin(_VERIFIED)]
    frame = frame.rename(columns={"chosen_response": "chosen", "rejected_response": "rejected"})
    for side in ("chosen", "rejected"):
        frame[f"words_{side}"] = frame[side].str.split().str.len()
    frame = frame[(frame["words_chosen"] > 0) & (frame["words_rejected"] > 0)]
    frame = frame.sample(min(rows, len(frame)), random_state=0).reset_index(drop=True)
    frame = frame.rename(columns={f"words_{s}": f"length_{s}" for s in ("chosen", "rejected")})
    members = {}
    for name, seed in (("first", 0), ("second", 1)):
        scored = ps.score(frame, ps.TextReward(seed=seed), progress=False)
        members[name] = scored.attrs["reward"]
        for side in ("chosen", "rejected"):
            frame[f"{name}_{side}"] = scored[f"reward_{side}"]
    error = ps.measurement_error(frame, ["first", "second"], prompt="prompt")
    pairs = error.combine(frame)
    choices = ps.Choices.from_pairs(pairs, groups=["criterion"])
    law = {"reward": ps.LogNormal()}
    naive = ps.MixedLogit(law, groups=["criterion"]).fit(choices, progress=False)
    errors = {"reward": error}
    corrected = ps.MixedLogit(law, groups=["criterion"], errors=errors).fit(choices, progress=False)
    other = {
        name: pairs[f"{name}_chosen"] - pairs[f"{name}_rejected"] for name in ("first", "second")
    }
    other["corrected for length"] = ps.length_corrected(pairs, length="length")
    moved = ps.sensitivity(naive, other, progress=False)
    figure = ps.plot_sensitivity(moved)[0].figure
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "reward_data_hh.png", dpi=200)
    return {
        "pairs": len(choices),
        "identical, left out": dropped,
        "text reward": {
            name: {k: v for k, v in about.items() if isinstance(v, int | float)}
            for name, about in members.items()
        },
        "measurement error": error.as_json() | {"prompts": frame["prompt"].nunique()},
        "naive": _levels(naive),
        "corrected": _levels(corrected),
        "attenuation": ps.attenuation(naive, corrected).to_dict("records"),
        "sensitivity": moved.to_dict("records"),
    }


def wqrm(folder):
    """The pairs of every ranking of three versions, against the given scores."""
    import prefstrength as ps

    frame = pd.read_parquet(folder / "wqrm_triplets" / "rankings.parquet")
    pairs = ranked_pairs(frame)
    choices = ps.Choices.from_pairs(pairs, chooser="ranking", groups=["genre"])
    fits = {
        "one strength": ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, progress=False),
        "LogNormal": ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, progress=False),
        "Normal": ps.MixedLogit({"reward": ps.Normal()}).fit(choices, progress=False),
        "LogNormal by genre": ps.MixedLogit({"reward": ps.LogNormal()}, groups=["genre"]).fit(
            choices, progress=False
        ),
    }
    corrected = {"corrected for length": ps.length_corrected(pairs, length="chars")}
    moved = ps.sensitivity(fits["LogNormal"], corrected, progress=False)
    best = pairs["best"].to_numpy()
    agreement = pairs["reward_chosen"] > pairs["reward_rejected"]
    return {
        "rankings": choices.n_choosers,
        "pairs": len(choices),
        "agreement": float(agreement.mean()),
        "agreement without the version picked by the score": float(agreement[~best].mean()),
        **{name: _levels(fit) for name, fit in fits.items()},
        "sensitivity": moved.to_dict("records"),
    }


def ranked_pairs(frame):
    """Each ranking of three versions as its pairs, the better first."""
    rows = []
    for name, group in frame.groupby("ranking_id", sort=False):
        each = group.sort_values("rank").to_dict("records")
        for i, better in enumerate(each):
            for worse in each[i + 1 :]:
                if better["rank"] < worse["rank"]:
                    rows.append(
                        {
                            "ranking": name,
                            "genre": better["genre"],
                            "best": "best_cot" in (better["alternative"], worse["alternative"]),
                            "reward_chosen": better["reward"],
                            "reward_rejected": worse["reward"],
                            "chars_chosen": better["n_char"],
                            "chars_rejected": worse["n_char"],
                        }
                    )
    return pd.DataFrame(rows)


def _levels(fit):
    import prefstrength as ps

    columns = ["factor", "level", "situations", "choosers"]
    for name in ("mean", "cv", "sd_log"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["p_heterogeneous", "data_share", "verdict"]
    return ps.heterogeneity(fit)[columns].to_dict("records")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    before = machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of single choices and small groups: reported as numbers
        of_wqrm = wqrm(options.data)
        of_hh = hh(options.data, 600 if options.quick else 10**9, options.out)
    for name, found in (("WQRM", of_wqrm), ("HH-RLHF", of_hh)):
        print(f"\n{name}")
        for key, value in found.items():
            is_table = isinstance(value, list)
            print(f"{key}:\n{table(value)}\n" if is_table else f"{key}: {value}")
    store("reward_data", {"wqrm": of_wqrm, "hh": of_hh}, before, options.out)


if __name__ == "__main__":
    main()
