"""A share of choosers at strength zero, held while the strength of the others is learned."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from prefstrength import LearnedStrength, LogNormal, StrengthPrior, ZeroMass  # noqa: E402
from prefstrength.choice.learned_parts import ShiftPrior  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import Strength, evaluate_preferences, mixdpo_loss  # noqa: E402
from prefstrength.mixdpo.shifts import shift_priors  # noqa: E402
from prefstrength.plots import plot_trajectory  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    arguments,
    assert_same,
    rows,
    trained_parameters,
    trainer_of,
)

SHARE = 0.25
PRIOR = StrengthPrior("LogNormal", math.log(0.2), 0.2, math.log(0.7), 0.3, zero_share=SHARE)


def restored_from(strength, **of):
    other = Strength.from_prior(PRIOR, **of)
    other.restore(strength.learned(), "the run")
    return other


def test_the_share_is_held_and_the_others_are_learned():
    strength = Strength.from_prior(PRIOR)
    assert strength.mean == pytest.approx(0.75 * 0.2)
    assert strength.mean == pytest.approx(PRIOR.mixing().mean())
    assert strength.cv == pytest.approx(PRIOR.mixing().cv())
    assert {name for name, each in strength.named_parameters() if each.requires_grad} == {
        "location",
        "dispersion",
    }
    delta = torch.tensor([-30.0, 0.5, 8.0], dtype=torch.float64)
    loss = mixdpo_loss(delta, strength.mixing())
    alone = mixdpo_loss(delta, strength.mixing().mixing)
    torch.testing.assert_close(torch.exp(-loss), SHARE / 2 + (1 - SHARE) * torch.exp(-alone))
    # Those at zero keep the loss of a pair on the wrong side below log(2 / share), and its pull.
    assert loss[0] < math.log(2 / SHARE) < alone[0]
    pull = [torch.autograd.grad(each[0], strength.location)[0] for each in (loss, alone)]
    assert 0 < pull[0] < pull[1]


def test_the_record_and_the_way_back():
    strength = Strength.from_prior(PRIOR)
    with torch.no_grad():
        strength.location += 0.3
        strength.dispersion -= 0.2
    strength.record(4)
    learned = strength.learned()
    assert set(learned.parameters) == {"mu", "sigma"}
    assert isinstance(learned.mixing(), ZeroMass)
    assert learned.mixing().mean() == pytest.approx(strength.mean)
    assert learned.trajectory[-1]["mean"] == pytest.approx(0.75 * 0.2 * math.exp(0.3))
    assert learned.trajectory[-1]["cv"] == pytest.approx(learned.mixing().cv())
    assert strength.logged()["zero_share"] == SHARE
    assert "zero_share" not in Strength.from_start("LogNormal", 0.1, 0.5).logged()
    again = restored_from(strength)
    assert again.location.item() == pytest.approx(strength.location.item(), rel=1e-12)
    assert again.dispersion.item() == pytest.approx(strength.dispersion.item(), rel=1e-12)


def test_a_mean_that_is_not_learned_is_checked_over_all():
    record = Strength.from_prior(PRIOR, "anchored").learned()
    Strength.from_prior(PRIOR, "anchored").restore(record, "the run")
    other = StrengthPrior("LogNormal", math.log(0.2), 0.2, math.log(0.7), 0.3, zero_share=0.2)
    with pytest.raises(InputError, match="same strength prior as this run; got another"):
        Strength.from_prior(other, "anchored").restore(record, "the run")


def test_groups_and_pairs_carry_it():
    groups = {"east": ShiftPrior(0.5, 0.3, 0.1, 0.2), "west": ShiftPrior(-0.5, 0.3, 0.0, 0.2)}
    of = {"group_column": "region", "groups": groups, "pairs": {"east": 3, "west": 2}}
    strength = Strength.from_prior(PRIOR, **of)
    assert strength.group_means() == pytest.approx(
        {"east": 0.15 * math.exp(0.5), "west": 0.15 * math.exp(-0.5)}
    )
    learned = strength.learned()
    east = learned.of_group("east")
    assert east.zero_share == SHARE
    assert east.mixing().mean() == pytest.approx(0.15 * math.exp(0.5))
    law = learned.of_pairs({"region": ["west", "east"]})
    np.testing.assert_allclose(law.mean(), [0.15 * math.exp(-0.5), 0.15 * math.exp(0.5)])
    again = restored_from(strength, **of)
    assert again.group_means() == pytest.approx(strength.group_means(), rel=1e-12)


def test_a_group_of_unknown_mean_starts_at_the_common_one():
    own = {"dispersion": math.log(0.4), "dispersion_sd": 0.2}
    prior = StrengthPrior("LogNormal", 0.0, 0.2, 0.0, 0.3, groups={"region=east": own})
    shift = shift_priors(["east"], "region", prior, "LogNormal", 0.3, 0.3)["east"]
    assert shift == ShiftPrior(0.0, 0.3, math.log(0.4), 0.2)


def test_draws_with_gradients_are_refused_before_training(tmp_path):
    with pytest.raises(InputError, match="Expected estimator 'exact' with a prior of zero_share"):
        arguments(tmp_path, strength=PRIOR, estimator="monte-carlo")
    assert arguments(tmp_path, strength=PRIOR).beta == pytest.approx(0.15)
    with pytest.raises(InputError, match=r"a prior of mean 0\.15 and `beta=0\.2`"):
        arguments(tmp_path, strength=PRIOR, beta=0.2)


@pytest.mark.parametrize("grouped", [False, True], ids=["all", "groups"])
def test_trained_saved_resumed_and_evaluated(tmp_path, model_path, grouped):
    pairs = rows(16)
    for number, pair in enumerate(pairs):
        pair["region"] = ("east", "west")[number % 2]
    data = Dataset.from_list(pairs)
    changes = {
        "strength": PRIOR,
        "strength_learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 4,
        "group_columns": ["region"],
        **({"strength_group_column": "region"} if grouped else {}),
    }
    whole = trainer_of(tmp_path / "whole", model_path, data, eval_dataset=data, **changes)
    whole.train()
    resumed = trainer_of(tmp_path / "resumed", model_path, data, eval_dataset=data, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert_same(trained_parameters(resumed), trained_parameters(whole), 0.0)
    assert resumed.strength.learned() == whole.strength.learned()

    assert whole.strength.location.item() != pytest.approx(PRIOR.location, abs=1e-3)
    logged = [each for each in whole.state.log_history if "strength/zero_share" in each]
    assert {each["strength/zero_share"] for each in logged} == {SHARE}
    learned = LearnedStrength.load(tmp_path / "whole" / "checkpoint-4")
    assert learned.mixing().share == SHARE
    assert learned.zero_share == PRIOR.zero_share

    found = whole.evaluate()
    table = evaluate_preferences(
        whole.model,
        model_path,
        data,
        learned,
        tokenizer=whole.processing_class,
        progress=False,
    ).metrics
    table = table[table["kind"] == "micro"].iloc[0]
    for name in ("accuracy", "margin", "negative_log_likelihood"):
        assert table[name] == pytest.approx(found[f"eval_{name}"], rel=1e-4), name
    assert table["negative_log_likelihood"] == pytest.approx(found["eval_loss"], rel=1e-4)


def test_the_prior_is_drawn_over_all_choosers():
    strength = Strength.from_prior(PRIOR)
    strength.record(0)
    strength.record(9)
    mean, cv = plot_trajectory(strength, axes=Figure().subplots(1, 2))
    for ax, value in ((mean, strength.mean), (cv, strength.cv)):
        centre = next(line for line in ax.lines if line.get_linestyle() == "--")
        assert centre.get_ydata()[0] == pytest.approx(value)


def test_the_law_is_that_of_the_analysis():
    law = PRIOR.mixing()
    inner = LogNormal.from_log_mean_spread(math.log(0.2), math.log(0.7))
    assert law.quantile(0.2) == 0.0
    assert law.quantile(0.625) == pytest.approx(inner.quantile(0.5))
