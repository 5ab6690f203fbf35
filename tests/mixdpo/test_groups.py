"""Strength by group and on covariates: the law of every pair, what holds it, and how it trains."""

import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset, IterableDataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from prefstrength.choice.learned_parts import LearnedCovariate, ShiftPrior  # noqa: E402
from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.choice.mixing.families import MIXINGS  # noqa: E402
from prefstrength.choice.mixing.gamma import Gamma  # noqa: E402
from prefstrength.choice.mixing.log_normal import LogNormal  # noqa: E402
from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import (  # noqa: E402
    MixDPOConfig,
    Strength,
    beta_dpo_loss,
    capo_loss,
    evaluate_preferences,
    log_choice_probability,
    mixdpo_loss,
    odpo_loss,
    preference_metrics,
    smpo_loss,
)
from prefstrength.mixdpo.columns import CarriedColumns, split_columns  # noqa: E402
from prefstrength.mixdpo.shifts import shift_priors  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    GAMMA,
    LOGNORMAL,
    USUAL,
    Worse,
    assert_same,
    delta_of,
    moved,
    rows,
    trained_parameters,
    trainer_of,
)

FAMILIES = ["PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"]
LEVELS = ["east", "north", "west"]
BY_REGION = {"strength": LOGNORMAL, "strength_group_column": "region"}


def grouped(n=32, seed=0):
    draw = np.random.default_rng(seed)
    return Dataset.from_list(
        [
            {
                **row,
                "region": LEVELS[i % 3],
                "length": float(draw.normal(50.0, 8.0)),
                "reward_chosen": float(draw.normal(0.8)),
                "reward_rejected": float(draw.normal()),
            }
            for i, row in enumerate(rows(n, seed))
        ]
    )


@pytest.fixture(scope="module")
def pairs():
    return grouped()


def of_levels(levels=LEVELS, family="LogNormal", scale=0.3, **changes):
    spread = (None, None) if family == "PointMass" else (0.0, scale)
    groups = {level: ShiftPrior(0.0, scale, *spread) for level in levels}
    dispersion = None if family == "PointMass" else math.log(0.7)
    return Strength(
        family, math.log(0.1), dispersion, **{"group_column": "region", "groups": groups, **changes}
    )


def put(strength, **scores):
    """Set shifts and coefficients to these multiples of their prior sds."""
    with torch.no_grad():
        for name, values in scores.items():
            free, scale = (getattr(strength, f"{name}_{what}") for what in ("free", "scale"))
            free.copy_(torch.tensor(values) * scale.clamp(min=0.1))


# -- every pair its own law ------------------------------------------------------------------------

LOCATION = torch.linspace(math.log(0.01), math.log(3.0), 7, dtype=torch.float64)
# Narrow and wide laws side by side: the nodes of one must not serve another.
DISPERSION = torch.tensor([0.02, 0.1, 0.4, 0.6, 1.0, 1.6, 2.7], dtype=torch.float64).log()


def many_pairs():
    generator = torch.Generator().manual_seed(0)
    delta = 30 * torch.randn(300, dtype=torch.float64, generator=generator)
    delta[:4] = torch.tensor([0.0, 1e-6, -1e4, 1e4])
    reward = torch.randn(300, dtype=torch.float64, generator=generator)
    return delta, reward, torch.randint(7, (300,), generator=generator)


LOSSES = {
    "mixdpo": lambda delta, law, reward: mixdpo_loss(delta, law),
    "odpo": lambda delta, law, reward: odpo_loss(delta, law, reward),
    "beta-dpo": lambda delta, law, reward: beta_dpo_loss(
        delta, law, 2.0, a=0.1, batch_mean=torch.tensor(1.0)
    ),
    "smpo": lambda delta, law, reward: smpo_loss(delta, law, reward, gamma=2.0),
    "capo": lambda delta, law, reward: capo_loss(delta, law, reward),
}


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("family", FAMILIES)
def test_laws_side_by_side_are_laws_one_by_one(family, name):
    delta, reward, code = many_pairs()
    found = []
    for together in (True, False):
        inputs = [each.clone().requires_grad_() for each in (delta, LOCATION, DISPERSION)]
        x, location, dispersion = inputs
        if together:
            law = MIXINGS[family].from_log_mean_spread(location[code], dispersion[code])
            loss = LOSSES[name](x, law, reward)
        else:
            loss = torch.zeros_like(delta)
            for g in range(7):
                mine = torch.nonzero(code == g)[:, 0]
                law = MIXINGS[family].from_log_mean_spread(location[g], dispersion[g])
                loss = loss.index_put((mine,), LOSSES[name](x[mine], law, reward[mine]))
        gradients = torch.autograd.grad(loss.sum(), inputs, allow_unused=True)
        found.append([loss.detach(), *(each for each in gradients if each is not None)])
    assert len(found[0]) >= 3
    for mine, other in zip(*found, strict=True):
        assert torch.isfinite(mine).all()
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_draws_follow_the_law_of_the_pair():
    law = Gamma.from_log_mean_spread(torch.tensor([0.1, 3.0]).log(), torch.tensor([0.5, 0.5]).log())
    delta = torch.tensor([2.0, 2.0], dtype=torch.float64)
    torch.manual_seed(0)
    drawn = mixdpo_loss(delta, law, estimator="monte-carlo", samples=100_000)
    torch.testing.assert_close(drawn, mixdpo_loss(delta, law), rtol=0.02, atol=0.0)


def test_the_law_of_a_pair_is_common_law_shift_and_covariates():
    covariates = {
        "length": LearnedCovariate(50.0, 8.0, 0.5),
        "turns": LearnedCovariate(2.0, 1.0, 0.2),
    }
    strength = of_levels(covariates=covariates)
    put(strength, location=[1.0, -2.0, 0.0], dispersion=[0.0, 1.0, -1.0], coefficient=[2.0, -1.0])
    group, x = (
        torch.tensor([2, 0, 1, 0]),
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 2.0], [0.0, -1.0]]),
    )
    law = strength.mixing(group, x)
    location = np.log(0.1) + 0.3 * np.array([0, 1, -2, 1]) + x.numpy() @ [1.0, -0.2]
    sigma = 0.7 * np.exp(0.3 * np.array([-1, 0, 1, 0]))
    np.testing.assert_allclose(law.sigma.detach(), sigma, rtol=1e-12)
    np.testing.assert_allclose(law.mu.detach(), location - sigma**2 / 2, rtol=1e-7)
    # The record says the same of columns.
    table = pd.DataFrame(
        {
            "region": [LEVELS[i] for i in group],
            "length": 50 + 8 * x[:, 0].numpy(),
            "turns": 2 + x[:, 1].numpy(),
        }
    )
    again = strength.learned().of_pairs(table)
    np.testing.assert_allclose(again.mu, law.mu.detach(), rtol=1e-7)
    np.testing.assert_allclose(again.sigma, sigma, rtol=1e-12)
    # Covariates alone.
    alone = Strength("LogNormal", math.log(0.1), math.log(0.7), covariates=covariates)
    put(alone, coefficient=[2.0, -1.0])
    law = alone.mixing(covariates=x)
    assert law.mu.shape == law.sigma.shape == (4,)
    np.testing.assert_allclose(alone.learned().of_pairs(table).mu, law.mu.detach(), rtol=1e-7)
    assert (
        Strength.from_prior(LOGNORMAL).learned().of_pairs(table).parameters
        == LOGNORMAL.mixing().parameters
    )


# -- what holds the shifts -------------------------------------------------------------------------


def test_the_prior_counts_what_is_learned():
    covariates = {"length": LearnedCovariate(0.0, 1.0, 0.5)}
    for mode, want in (("joint", (1 + 4 + 9) / 2), ("anchored", 4 / 2), ("frozen", 0.0)):
        strength = of_levels(["a"], mode=mode, covariates=covariates if mode == "joint" else None)
        put(strength, location=[1.0], dispersion=[2.0])
        if mode == "joint":
            put(strength, coefficient=[3.0])
        assert strength.negative_log_prior().item() == pytest.approx(want)
        assert strength.held
        # A shift of k prior sds costs k^2 / 2, whatever the sd.
        assert strength.location_shift().item() == pytest.approx(0.3)
    assert not Strength.from_start("Gamma", 0.1, 0.5).held


@pytest.mark.parametrize(("scale", "share"), [(2.0, 1.0), (0.3, 1.0), (0.1, 1.0), (0.01, 0.1)])
def test_a_step_is_as_long_as_the_rate_or_shorter_where_the_prior_is_tight(scale, share):
    strength = of_levels(["a", "b"], scale=scale)
    optimizer = torch.optim.Adam(strength.parameters(), lr=0.02)
    law = strength.mixing(torch.tensor([0, 1]))
    (law.mu + law.sigma).sum().backward()
    optimizer.step()
    moved_by = torch.stack([strength.location_shift(), strength.dispersion_shift()]).abs()
    torch.testing.assert_close(moved_by, torch.full_like(moved_by, 0.02 * share), rtol=1e-5, atol=0)
    z = 0.02 * share / scale
    assert strength.negative_log_prior().item() == pytest.approx(4 * z**2 / 2, rel=1e-5)


def labelled(strengths, n=1500, seed=0):
    """Δ of the chosen less that of the other, where choosers follow it with these strengths."""
    draw = np.random.default_rng(seed)
    delta = draw.normal(0.0, 8.0, n)
    code = draw.integers(len(strengths), size=n)
    strength = np.array(strengths)[code] if np.ndim(strengths) == 1 else None
    right = draw.random(n) < 1 / (1 + np.exp(-strength * delta))
    return torch.tensor(np.where(right, delta, -delta)), torch.tensor(code)


def fitted(strength, delta, code=None, covariates=None):
    """Minimise the objective of the whole data."""
    optimizer = torch.optim.LBFGS(
        [p for p in strength.parameters() if p.requires_grad],
        max_iter=100, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective():
        optimizer.zero_grad()
        loss = mixdpo_loss(delta, strength.mixing(code, covariates)).mean()
        loss = loss + strength.negative_log_prior() / len(delta)
        loss.backward()
        return loss

    optimizer.step(objective)
    return strength


def test_groups_separate_where_they_differ_and_shrink_with_the_scale():
    truth = [0.05, 0.2, 0.8]
    delta, code = labelled(truth)
    spread = []
    for scale in (3.0, 0.3, 0.03, 1e-6):
        strength = fitted(of_levels(family="PointMass", scale=scale), delta, code)
        shift = strength.location_shift().detach()
        spread.append((shift.max() - shift.min()).item())
        law = strength.mixing(torch.arange(3))
        if scale == 3.0:  # next to no shrinkage: each group's own maximum likelihood
            for g in range(3):
                alone = fitted(Strength("PointMass", math.log(0.1), None), delta[code == g])
                assert law.value[g].item() == pytest.approx(alone.mean, rel=0.03)
                assert alone.mean == pytest.approx(truth[g], rel=0.25)
    assert spread[0] > spread[1] > spread[2] > spread[3]
    assert spread[0] == pytest.approx(math.log(16), rel=0.15)
    assert spread[3] < 1e-6
    common = fitted(Strength("PointMass", math.log(0.1), None), delta)
    assert strength.mean == pytest.approx(common.mean, rel=1e-5)


def test_dispersions_separate_too():
    draw = np.random.default_rng(1)
    code = torch.tensor(np.arange(4000) % 2)
    strength = np.where(code == 0, 0.3, 0.3 * np.exp(1.5 * draw.normal(size=4000) - 1.5**2 / 2))
    delta = draw.normal(0.0, 12.0, 4000)
    right = draw.random(4000) < 1 / (1 + np.exp(-strength * delta))
    delta = torch.tensor(np.where(right, delta, -delta))
    found = fitted(of_levels(["one", "varied"], scale=1.0), delta, code)
    sigma = found.mixing(torch.arange(2)).sigma
    assert sigma[0] < 0.5 < 1.0 < sigma[1]


def test_a_covariate_is_found():
    draw = np.random.default_rng(2)
    x = draw.normal(size=4000)
    strength = 0.2 * np.exp(0.8 * x)
    delta = draw.normal(0.0, 8.0, 4000)
    right = draw.random(4000) < 1 / (1 + np.exp(-strength * delta))
    delta = torch.tensor(np.where(right, delta, -delta))
    covariates = {"x": LearnedCovariate(0.0, 1.0, 1.0)}
    found = fitted(
        Strength("PointMass", math.log(0.1), None, covariates=covariates),
        delta,
        covariates=torch.tensor(x)[:, None],
    )
    assert found.coefficients().item() == pytest.approx(0.8, abs=0.12)
    assert found.mean == pytest.approx(0.2, rel=0.12)


def test_gradients_by_hand():
    """Of DPO's loss: d/du of -log sigma(e^(l + u) Δ) is -(1 - p) e^(l + u) Δ."""
    delta, code = labelled([0.05, 0.4], n=40)
    strength = of_levels(["a", "b"], family="PointMass", scale=0.2)
    put(strength, location=[0.5, -1.0])
    loss = mixdpo_loss(delta, strength.mixing(code)).mean() + strength.negative_log_prior() / 40
    loss.backward()
    beta = 0.1 * torch.exp(0.2 * torch.tensor([0.5, -1.0], dtype=torch.float64))[code]
    each = -(1 - torch.sigmoid(beta * delta)) * beta * delta / 40
    assert strength.location.grad.item() == pytest.approx(each.sum().item(), rel=1e-12)
    for g, score in enumerate([0.5, -1.0]):
        want = each[code == g].sum().item() + score / 0.2 / 40
        assert strength.location_free.grad[g].item() == pytest.approx(want, rel=1e-12)


# -- the prior's groups ----------------------------------------------------------------------------

WITH_GROUPS = StrengthPrior(
    "LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3,
    groups={
        "region=east": {"dispersion": math.log(0.3), "dispersion_sd": 0.4, "relative_mean": 2.0},
        "region=west": {"dispersion": math.log(1.1), "dispersion_sd": 0.2, "relative_mean": 0.5},
        "age=old": {"dispersion": 0.0, "dispersion_sd": 0.2, "relative_mean": 9.0},
    },
)  # fmt: skip


def test_shifts_start_where_the_prior_has_them():
    with pytest.warns(DataWarning, match=r"nothing of 1 of 3 levels of region \('north'\)"):
        shifts = shift_priors(LEVELS, "region", WITH_GROUPS, "LogNormal", 0.25, 0.35)
    assert shifts["north"] == ShiftPrior(0.0, 0.25, 0.0, 0.35)
    assert shifts["east"] == ShiftPrior(math.log(2), 0.25, math.log(0.3) - math.log(0.7), 0.4)
    strength = Strength.from_prior(WITH_GROUPS, group_column="region", groups=shifts)
    law = strength.mixing(torch.arange(3))
    np.testing.assert_allclose(law.sigma.detach(), [0.3, 0.7, 1.1])
    np.testing.assert_allclose((law.mu + law.sigma**2 / 2).exp().detach(), [0.2, 0.1, 0.05])
    assert strength.negative_log_prior().item() == 0.0
    # Of one group alone: its law, and the prior of the sum.
    own = strength.learned().of_group("east")
    assert own.mixing().sigma == pytest.approx(0.3)
    assert own.prior.dispersion == pytest.approx(math.log(0.3))
    assert own.prior.dispersion_sd == pytest.approx(math.hypot(0.3, 0.4))
    assert own.prior.location_sd == pytest.approx(math.hypot(0.2, 0.25))
    with pytest.raises(InputError, match=r"training learned \(east, north, west\); got 'region=e"):
        strength.learned().of_group("region=east")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a prior without this column is no half knowledge
        assert set(
            shift_priors(LEVELS, "country", WITH_GROUPS, "LogNormal", 0.3, 0.3).values()
        ) == {ShiftPrior(0.0, 0.3, 0.0, 0.3)}


def test_a_group_that_prefers_the_lower_reward():
    prior = StrengthPrior("Normal", -2.0, 0.2, 0.0, 0.3, groups={"g=a": {"relative_mean": -0.5}})
    with pytest.raises(
        InputError, match="positive relative_mean of group g=a in the prior; got -0"
    ):
        shift_priors(["a"], "g", prior, "Normal", 0.3, 0.3)


# -- the record ------------------------------------------------------------------------------------


def test_saved_read_and_restored(tmp_path):
    covariates = {"length": LearnedCovariate(50.0, 8.0, 0.5)}
    changes = {"family": "Gamma", "scale": 0.05, "covariates": covariates}
    strength, other = (of_levels(**changes) for _ in range(2))
    with torch.no_grad():
        for number, each in enumerate(strength.parameters()):
            each += 0.1 * (number + 1)
        strength.location_free[1] -= 1.0
    strength.restart(0)
    strength.record(4)
    record = strength.learned()
    assert LearnedStrength.load(record.save(tmp_path / "learned_strength.json")) == record
    assert [p["step"] for p in record.groups["west"].trajectory] == [0, 4]
    assert record.of_group("west").trajectory == record.groups["west"].trajectory
    other.restore(record, "the run")
    assert_same(other.state_dict(), strength.state_dict(), 1e-12)
    assert other.learned().groups["north"].trajectory == record.groups["north"].trajectory
    strength.restart(4)
    assert [p["step"] for p in strength.learned().groups["west"].trajectory] == [0, 4]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"levels": ["east"]}, "same strength groups as this run; got another"),
        ({"scale": 0.1}, "same strength groups as this run; got another"),
        ({"group_column": "country"}, "strength group_column as this run 'country'; got 'region'"),
        ({"covariates": {"length": LearnedCovariate(0.0, 1.0, 0.3)}}, "same strength covariates"),
    ],
)
def test_a_record_of_other_groups_is_refused(other, text):
    with pytest.raises(InputError, match=text):
        of_levels(**other).restore(of_levels().learned(), "the run")


def test_many_groups_do_not_flood_the_logs():
    levels = [f"g{i:03d}" for i in range(230)]
    strength = of_levels(levels, pairs={level: i for i, level in enumerate(levels)})
    strength.record(0)
    logged = [key for key in strength.logged() if key.startswith("region/")]
    assert len(logged) == 40  # mean and cv of the twenty with the most pairs
    assert "region/g229/mean" in logged
    assert "region/g100/mean" not in logged
    record = strength.learned()
    assert len(record.groups) == 230
    assert sum(bool(group.trajectory) for group in record.groups.values()) == 200
    assert record.groups["g229"].trajectory
    assert not record.groups["g029"].trajectory


def record_with(**changes):
    record = {**of_levels(["a"]).learned().to_dict(), **changes}
    return LearnedStrength(**{name: value for name, value in record.items() if name != "schema"})


def test_records_that_do_not_hold_together():
    shift = {"location": 0.0, "location_scale": 0.3, "dispersion": 0.0, "dispersion_scale": 0.3}
    law = {"mu": 0.0, "sigma": 1.0}
    for changes, text in (
        ({"group_column": None}, "group_column along with groups"),
        ({"groups": {}}, "group_column along with groups"),
        ({"groups": {"a": {"parameters": law}}}, "prior of the shift of group 'a'; got none"),
        (
            {"groups": {"a": {"parameters": {"mu": 0.0}, "shift": shift}}},
            "has the parameters mu, sigma",
        ),
        ({"groups": {"a": {"parameters": law, "shift": {**shift, "location_scale": 0.0}}}}, "> 0"),
        (
            {"groups": {"a": {"parameters": law, "shift": shift, "trajectory": [{"step": 0}]}}},
            "each point of the trajectory of group 'a'",
        ),
        ({"covariates": {"x": {"mean": 0.0, "sd": 0.0, "scale": 1.0}}}, "sd of a covariate .* > 0"),
    ):
        with pytest.raises(InputError, match=text):
            record_with(**changes)


def test_pairs_whose_law_is_not_known():
    covariates = {"length": LearnedCovariate(0.0, 1.0, 0.3)}
    record = of_levels(covariates=covariates).learned()
    for table, text in (
        ({"length": [1.0]}, "Expected a column region"),
        (
            {"region": ["moon"], "length": [1.0]},
            r"learned \('east', 'north', 'west'\); got 'moon' in row 0",
        ),
        (
            {"region": ["east"] * 2, "length": [1.0, math.nan]},
            r"column length.*nan in row 1 \(1 of 2",
        ),
        ({"region": ["east"], "length": [None]}, "got None in row 0"),
    ):
        with pytest.raises(InputError, match=text):
            record.of_pairs(table)
        with pytest.raises(InputError, match=text):
            record.of_pairs(pd.DataFrame(table))


# -- training --------------------------------------------------------------------------------------

BOTH = {**BY_REGION, "strength_covariates": ["length"], "strength_learning_rate": 1e-2}


def test_the_gradient_is_that_of_the_objective(tmp_path, model_path, pairs):
    trainer = moved(trainer_of(tmp_path, model_path, pairs, **BOTH))
    strength = trainer.strength
    with torch.no_grad():
        for each in strength.parameters():
            each += 0.3 * torch.arange(1.0, each.numel() + 1).reshape(each.shape)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    learned = list(strength.parameters())
    assert len(learned) == 5
    some = trainer.model.model.layers[0].mlp.up_proj.weight
    got = torch.autograd.grad(loss, [*learned, some])

    delta = delta_of(trainer, batch)
    rows_of = [list(pairs["prompt"]).index(p) for p in prompts_of(trainer, batch)]
    length = np.array(pairs["length"])
    code = torch.tensor([LEVELS.index(pairs["region"][i]) for i in rows_of])
    x = torch.tensor((length[rows_of] - length.mean()) / length.std())
    location = strength.location + strength.location_free[code] + x * strength.coefficient_free[0]
    sigma = torch.exp(strength.dispersion + strength.dispersion_free[code])
    law = LogNormal(mu=location - sigma**2 / 2, sigma=sigma)
    prior = sum(
        ((each - centre) / sd).square().sum() / 2
        for each, centre, sd in (
            (strength.location, LOGNORMAL.location, LOGNORMAL.location_sd),
            (strength.dispersion, LOGNORMAL.dispersion, LOGNORMAL.dispersion_sd),
            *((free, 0.0, 0.3) for free in learned if free.ndim),
        )
    )
    objective = mixdpo_loss(delta, law).mean() + prior / 32
    want = torch.autograd.grad(objective, [*learned, some])
    assert loss.item() == pytest.approx(objective.item(), rel=1e-5)
    for mine, other in zip(got, want, strict=True):
        torch.testing.assert_close(mine, other.to(mine.dtype), rtol=1e-4, atol=1e-7)
    # Rewards are log-ratios times the pair's own mean strength.
    margin, logs = (location.exp() * delta).mean().item(), {}
    trainer.log(logs)
    assert logs["rewards/margins"] == pytest.approx(margin, rel=1e-4)


def prompts_of(trainer, batch):
    """Texts of the prompts of a batch, from its tokens."""
    ids = batch["input_ids"].chunk(2)[0]
    mask = (batch["attention_mask"] - batch["completion_mask"]).chunk(2)[0]
    texts = [trainer.processing_class.decode(i[m.bool()]) for i, m in zip(ids, mask, strict=True)]
    return [text.strip() + " " for text in texts]


@pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior")
def test_a_step_is_adams_own(tmp_path, model_path, pairs):
    """Parameters of several shapes go through one reduction and come back to their places."""
    free = {"strength_family": "LogNormal", **BOTH, "strength": None}
    trainer = moved(trainer_of(tmp_path, model_path, pairs, **free))
    trainer.create_scheduler(
        num_training_steps=5, optimizer=torch.optim.SGD(trainer.model.parameters())
    )
    strength = trainer.strength
    assert (strength.prior, trainer.strength_learner.prior_weight) == (
        None,
        1 / 32,
    )  # the shifts have theirs
    trainer.model.train()
    for batch in list(trainer.get_train_dataloader())[:3]:
        before = [each.detach().clone().requires_grad_() for each in strength.parameters()]
        trainer.compute_loss(trainer.model, batch).backward()
        for copy, each in zip(before, strength.parameters(), strict=True):
            copy.grad = each.grad.clone()
        assert len({round(g.item(), 12) for each in before for g in each.grad.reshape(-1)}) > 5
        adam = torch.optim.Adam(before, lr=1e-2)
        state = trainer.strength_learner.optimizer.state_dict()
        adam.load_state_dict(
            {
                **state,
                "state": {
                    k: {n: v.clone() for n, v in each.items()} for k, each in state["state"].items()
                },
            }
        )
        adam.step()
        trainer.strength_learner.step(trainer.accelerator, 1, 5)
        for want, got in zip(before, strength.parameters(), strict=True):
            torch.testing.assert_close(got.detach(), want.detach(), rtol=0.0, atol=1e-14)


def test_a_batch_of_eight_is_eight_of_one(tmp_path, model_path, pairs):
    runs = [
        trainer_of(
            tmp_path / str(size),
            model_path,
            pairs,
            **BOTH,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
            learning_rate=1e-3,
            max_steps=12,
        )
        for size in (8, 1)
    ]
    for run in runs:
        run.train()
    first, second = runs
    assert_same(trained_parameters(first), trained_parameters(second), 1e-6)
    assert_same(first.strength.state_dict(), second.strength.state_dict(), 1e-6)
    shift = first.strength.location_shift().detach()
    assert (shift.max() - shift.min()).item() > 1e-3
    for mine, other in zip(first.state.log_history, second.state.log_history, strict=True):
        for key, value in other.items():
            if key.startswith(("loss", "strength/", "rewards/margins")):
                assert mine[key] == pytest.approx(value, abs=1e-6), key


def test_one_group_held_tightly_is_no_group(tmp_path, model_path, pairs):
    usual = {"strength": GAMMA, "strength_learning_rate": 1e-2, "max_steps": 10}
    without = trainer_of(tmp_path / "without", model_path, pairs, **usual)
    one = pairs.map(lambda row: {"region": "all"})
    held = trainer_of(
        tmp_path / "held",
        model_path,
        one,
        **usual,
        strength_group_column="region",
        strength_group_location_scale=1e-9,
        strength_group_dispersion_scale=1e-9,
    )
    without.train()
    held.train()
    assert_same(trained_parameters(without), trained_parameters(held), 1e-6)
    assert held.strength.learned().groups["all"].parameters == pytest.approx(
        without.strength.current().parameters, rel=1e-7
    )
    assert without.strength.cv != pytest.approx(0.5, rel=1e-3)


def test_resumed_is_uninterrupted(tmp_path, model_path, pairs):
    changes = {
        **BOTH,
        "strength_lr_scheduler": "cosine",
        "save_strategy": "steps",
        "save_steps": 5,
        "logging_steps": 2,
        "max_steps": 12,
    }
    whole = trainer_of(tmp_path / "whole", model_path, pairs, **changes)
    whole.train()
    resumed = trainer_of(tmp_path / "resumed", model_path, pairs, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert_same(trained_parameters(resumed), trained_parameters(whole), 0.0)
    assert_same(resumed.strength_learner.state(), whole.strength_learner.state(), 0.0)
    assert resumed.strength.learned() == whole.strength.learned()
    state = load_file(tmp_path / "whole" / "checkpoint-5" / "strength_state.safetensors")
    assert {
        "location_free.exp_avg",
        "coefficient_free",
        "covariate_mean",
        "schedule.step",
    } <= set(state)
    assert state["schedule.step"].item() == 5
    record = LearnedStrength.load(tmp_path / "whole" / "checkpoint-5")
    assert [p["step"] for p in record.groups["west"].trajectory] == [0, 2, 4, 5]
    # Other pairs, other standardisation: not the same run.
    other = trainer_of(tmp_path / "other", model_path, grouped(31), **changes)
    with pytest.raises(InputError, match="same strength covariates as this run; got another"):
        other.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))


def test_the_schedule_is_transformers_own(tmp_path, model_path, pairs):
    for name, want in (
        ("constant", lambda step: 1.0),
        (
            "cosine",
            lambda step: step / 4 if step < 4 else (1 + math.cos(math.pi * (step - 4) / 6)) / 2,
        ),
        ("inverse_sqrt", lambda step: step / 4 if step < 4 else math.sqrt(4 / step)),
    ):
        trainer = trainer_of(
            tmp_path / name, model_path, pairs, strength=GAMMA, strength_lr_scheduler=name,
            strength_learning_rate=0.02, warmup_steps=4, max_steps=10,
        )  # fmt: skip
        used = []
        trainer.strength_learner.optimizer.register_step_pre_hook(
            lambda optimizer, *_, used=used: used.append(optimizer.param_groups[0]["lr"])
        )
        trainer.train()
        assert used == pytest.approx([0.02 * want(step) for step in range(10)])
        logs = trainer.state.log_history[:10]
        assert [log["strength/learning_rate"] for log in logs] == used
    # A second training begins its schedule anew.
    trainer.train()
    assert trainer.state.log_history[4]["strength/learning_rate"] == pytest.approx(0.02)


def test_anchored_means_stay_and_dispersions_are_learned(tmp_path, model_path, pairs):
    with pytest.warns(DataWarning, match="nothing of 1 of 3 levels"):
        trainer = trainer_of(
            tmp_path, model_path, pairs, strength=WITH_GROUPS, strength_group_column="region",
            strength_mode="anchored", strength_learning_rate=1e-2,
        )  # fmt: skip
    trainer.train()
    record = trainer.strength.learned()
    for level, mean in zip(LEVELS, (0.2, 0.1, 0.05), strict=True):
        points = record.groups[level].trajectory
        assert {round(point["mean"], 12) for point in points} == {mean}
        assert points[-1]["cv"] != pytest.approx(points[0]["cv"], rel=1e-3)
    assert record.mixing().mean() == pytest.approx(0.1)


def test_frozen_groups_are_the_priors(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs.filter(lambda row: row["region"] != "north"),
        strength=WITH_GROUPS, strength_group_column="region", strength_mode="frozen", max_steps=3,
    )  # fmt: skip
    trainer.train()
    assert trainer.strength_learner.optimizer is None
    logs = trainer.state.log_history
    means = [log["strength/region/east/mean"] for log in logs if "loss" in log]
    assert means == pytest.approx([0.2] * 3)
    assert trainer.strength.learned().groups["west"].parameters["sigma"] == pytest.approx(1.1)


def test_logged_evaluated_and_saved(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        eval_dataset=grouped(11, seed=1),  # of unequal batches
        **{**BOTH, "strength_learning_rate": 0.1},
        max_steps=6,
        group_columns=["region"],
        per_device_eval_batch_size=4,
    )
    trainer.train()
    trainer.save_model()
    log = trainer.state.log_history[5]
    record = LearnedStrength.load(tmp_path)
    assert record == trainer.strength.learned()
    for level in LEVELS:
        law = record.of_group(level).mixing()
        assert log[f"strength/region/{level}/mean"] == pytest.approx(law.mean())
        assert log[f"strength/region/{level}/cv"] == pytest.approx(law.cv())
        assert [p["step"] for p in record.groups[level].trajectory] == list(range(7))
    assert {level: group.pairs for level, group in record.groups.items()} == {
        "east": 11, "north": 11, "west": 10,
    }  # fmt: skip
    assert log["strength/coefficient/length"] == record.covariates["length"].coefficient != 0
    with (tmp_path / "learned_strength.json").open() as file:
        assert json.load(file)["groups"]["east"]["shift"]["location_scale"] == 0.3

    # Evaluation by the trainer and by the function, each pair with its own law.
    data = grouped(11, seed=1)
    logged = trainer.evaluate()
    done = [
        evaluate_preferences(
            str(tmp_path), model_path, data, strength, ["region"], max_length=32, progress=False
        )
        for strength in (trainer.strength, record)
    ]
    pd.testing.assert_frame_equal(done[0].metrics, done[1].metrics)
    table = done[0].metrics.set_index(["factor", "level"])
    delta = done[0].pairs["delta"].to_numpy()
    x = (np.array(data["length"]) - record.covariates["length"].mean) / record.covariates[
        "length"
    ].sd
    mean = np.array([record.of_group(level).mixing().mean() for level in data["region"]])
    mean = mean * np.exp(record.covariates["length"].coefficient * x)
    assert np.ptp(mean) > 0.005
    assert table.loc[("all", "all"), "margin"] == pytest.approx((mean * delta).mean())
    loss = -log_choice_probability(torch.tensor(delta), record.of_pairs(data)).mean().item()
    assert table.loc[("all", "all"), "negative_log_likelihood"] == pytest.approx(loss)
    for level in [*LEVELS, "macro", "worst"]:
        for name in ("margin", "negative_log_likelihood", "accuracy"):
            assert logged[f"eval_region/{level}/{name}"] == pytest.approx(
                table.loc[("region", level), name], rel=1e-4, abs=1e-6
            )
    common = evaluate_preferences(
        str(tmp_path), model_path, data, record.mixing(), max_length=32, progress=False
    )
    assert common.metrics.loc[0, "margin"] != pytest.approx((mean * delta).mean(), rel=1e-3)
    with pytest.raises(InputError, match="got no length among"):
        evaluate_preferences(str(tmp_path), model_path, data.remove_columns("length"), record)
    with pytest.raises(
        InputError, match=r"learned \('east', 'north', 'west'\); got 'moon' in row 0"
    ):
        evaluate_preferences(
            str(tmp_path), model_path, data.map(lambda row: {"region": "moon"}), record
        )
    with pytest.raises(TypeError, match="trainer.strength or a LearnedStrength; got float"):
        evaluate_preferences(str(tmp_path), model_path, data, 0.1)


def test_pairs_left_out_take_their_law_with_them(tmp_path, model_path):
    table = grouped(4).to_pandas()
    table.loc[1, "prompt"] = " ".join(["w1"] * 40) + " "
    strength = of_levels(family="PointMass")
    put(strength, location=[1.0, 20.0, -1.0])
    moved_model = trainer_of(tmp_path, model_path, grouped(8), max_steps=3, learning_rate=0.1)
    moved_model.train()
    with pytest.warns(DataWarning, match="Left out 1 of 4 pairs"):
        done = evaluate_preferences(
            moved_model.model, model_path, table, strength,
            tokenizer=moved_model.processing_class, max_length=32, progress=False,
        )  # fmt: skip
    mean = 0.1 * np.exp(0.3 * np.array([1.0, -1.0, 1.0]))
    want = (mean * done.pairs["delta"]).mean()
    assert done.metrics.loc[0, "margin"] == pytest.approx(want)


def test_metrics_want_as_many_laws_as_pairs():
    with pytest.raises(InputError, match=r"one for each of 2 pairs; got shape \(3,\)"):
        preference_metrics([1.0, 2.0], PointMass(value=np.array([0.1, 0.2, 0.3])))


def test_the_best_checkpoint_brings_its_groups(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs, eval_dataset=grouped(6, seed=1), callbacks=[Worse()],
        **BOTH, max_steps=4, eval_strategy="steps", eval_steps=2, save_strategy="steps",
        save_steps=2, load_best_model_at_end=True, metric_for_best_model="eval_loss",
    )  # fmt: skip
    trainer.train()
    best, learned = LearnedStrength.load(tmp_path / "checkpoint-2"), trainer.strength.learned()
    for level in LEVELS:
        assert learned.groups[level].parameters == pytest.approx(best.groups[level].parameters)
        assert learned.groups[level].trajectory[-1]["step"] == 4
    assert learned.covariates["length"] == best.covariates["length"]


@pytest.mark.parametrize("name", ["odpo", "beta-dpo", "smpo"])
def test_every_objective_learns_by_group(tmp_path, model_path, pairs, name):
    trainer = trainer_of(
        tmp_path, model_path, pairs, **BOTH, objective=name, max_steps=3, optim="sgd"
    )
    trainer.train()
    assert all(math.isfinite(log["loss"]) for log in trainer.state.log_history[:3])
    assert trainer.strength.location_free.abs().min() > 1e-4


def test_the_papers_estimator_learns_by_group(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs, **BOTH, estimator="monte-carlo", samples=8, max_steps=3
    )
    trainer.train()
    assert trainer.strength.location_free.abs().min() > 1e-3


# -- inputs that cannot work -----------------------------------------------------------------------


def with_column(name, values, n=6):
    return grouped(n).remove_columns(name).add_column(name, values)


@pytest.mark.parametrize(
    ("dataset", "changes", "text"),
    [
        (lambda: grouped(6), {"strength_group_column": "country"}, "a column country in train"),
        (
            lambda: with_column("region", ["east", None, "west"] * 2),
            {"strength_group_column": "region"},
            r"level in column region of every pair in train_dataset; got none in row 1 \(2 of 6",
        ),
        (lambda: grouped(6), {"strength_covariates": ["size"]}, "a column size in train_dataset"),
        (
            lambda: with_column("length", [1.0, 2.0, math.nan, 1.0, 2.0, 3.0]),
            {"strength_covariates": ["length"]},
            r"numbers in column length of train_dataset.*got nan in row 2 \(1 of 6",
        ),
        (
            lambda: with_column("length", [0.1] * 6),
            {"strength_covariates": "length"},
            "covariate that varies in column length of train_dataset; got 0.1 in all",
        ),
        (lambda: grouped(6), {"strength_covariates": ["region"]}, "numbers in column region"),
        (
            lambda: IterableDataset.from_generator(lambda: iter(grouped(6))),
            {"strength_group_column": "region", "strength_num_pairs": 6},
            "with strength_group_column; got a stream",
        ),
    ],
)  # fmt: skip
def test_pairs_on_which_strength_cannot_depend(tmp_path, model_path, dataset, changes, text):
    with pytest.raises(InputError, match=text):
        trainer_of(tmp_path, model_path, dataset(), strength=GAMMA, max_steps=1, **changes)


def test_evaluation_pairs_whose_strength_is_not_learned(tmp_path, model_path, pairs):
    strange = grouped(6).map(
        lambda row, i: {"region": "moon" if i == 4 else "east"}, with_indices=True
    )
    unknown = (
        r"'region' that train_dataset has \('east', 'north', 'west'\); got 'moon' in row 4 of eval"
    )
    missing = r"numbers in column length of eval_dataset.*got None in row 1 \(1 of 6"
    hole = with_column("length", [1.0, None, 2.0, 3.0, 4.0, 5.0])
    for wrong, text in (
        (strange, unknown),
        (hole, missing),
        (grouped(6).remove_columns("region"), "a column region in eval_dataset"),
        (grouped(6).remove_columns("length"), "a column length in eval_dataset"),
    ):
        with pytest.raises(InputError, match=text):
            trainer_of(tmp_path, model_path, pairs, eval_dataset=wrong, **BOTH)
        trainer = trainer_of(tmp_path, model_path, pairs, **BOTH)
        with pytest.raises(InputError, match=text):
            trainer.evaluate(wrong)
    # Some of the groups are enough, and a stream is looked at as it comes.
    some = grouped(9).filter(lambda row: row["region"] != "north")
    assert math.isfinite(trainer.evaluate(some)["eval_loss"])
    collator = CarriedColumns(
        lambda examples: {}, [], {"region": LEVELS}, "region", trainer.strength.covariates
    )
    with pytest.raises(InputError, match="train_dataset has .* got 'moon' in row 0 of a batch"):
        collator([{"region": "moon", "length": 1.0}])
    with pytest.raises(InputError, match="numbers in column length of a batch"):
        collator([{"region": "east"}])


def test_covariates_are_standardised_before_they_are_rounded():
    """Times in seconds would lose their minutes in single precision."""
    covariate = LearnedCovariate(1.7e9, 100.0, 0.3)
    collator = CarriedColumns(lambda examples: {}, [], {}, covariates={"time": covariate})
    batch = collator([{"time": 1.7e9 + 50}, {"time": 1.7e9 - 100}])
    cast = {k: v.half() if v.is_floating_point() else v for k, v in batch.items()}
    assert split_columns(cast).covariates.tolist() == [[0.5], [-1.0]]


@pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"strength_group_column": "g"}, "a prior with groups of 'g'.*got a frozen one"),
        (
            {"strength": WITH_GROUPS, "strength_group_column": "g", "strength_mode": "frozen"},
            "frozen one with groups 'region=east', 'region=west', 'age=old'. All groups",
        ),
        ({"strength_covariates": ["x"]}, "'joint' with strength_covariates.*got 'frozen'"),
        (
            {"strength": GAMMA, "strength_mode": "anchored", "strength_covariates": ["x"]},
            "'joint' with strength_covariates.*got 'anchored'",
        ),
        ({"strength": GAMMA, "strength_covariates": ["x", "x"]}, "covariates once"),
        ({"strength": GAMMA, "strength_group_location_scale": 0.0}, "group_location_scale > 0"),
        ({"strength": GAMMA, "strength_group_dispersion_scale": -1.0}, "dispersion_scale > 0"),
        ({"strength": GAMMA, "strength_covariate_scale": math.inf}, "covariate_scale > 0; got inf"),
        ({"strength": GAMMA, "strength_lr_scheduler": "cosin"}, "one of constant, .* got 'cosin'"),
        ({"strength": GAMMA, "strength_lr_scheduler": "reduce_lr_on_plateau"}, "one of constant"),
    ],
)  # fmt: skip
def test_arguments_that_contradict(changes, text):
    with pytest.raises(InputError, match=text):
        MixDPOConfig("unused", report_to="none", bf16=False, use_cpu=True, **changes)


def test_what_strength_itself_refuses():
    with pytest.raises(InputError, match="mode 'joint' with covariates.*got 'anchored'"):
        of_levels(mode="anchored", covariates={"x": LearnedCovariate(0.0, 1.0, 0.3)})
    with pytest.raises(InputError, match="group_column along with groups"):
        of_levels(group_column=None)
    with pytest.raises(InputError, match="shift of the dispersion of LogNormal; got none"):
        of_levels(groups={"a": ShiftPrior(0.0, 0.3)})
    with pytest.raises(InputError, match="both dispersion and dispersion_scale"):
        ShiftPrior(0.0, 0.3, 0.0)


# -- several processes -----------------------------------------------------------------------------

TWO = """
import torch
from datasets import Dataset
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
from prefstrength.choice.strength_prior import StrengthPrior

model, folder, usual, rows = {model!r}, {folder!r}, {usual!r}, {rows!r}
torch.set_num_threads(1)
args = MixDPOConfig(
    folder, strength=StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3),
    strength_group_column="region", strength_covariates=["length"],
    strength_learning_rate=1e-2, strength_lr_scheduler="linear", **usual,
)
data = Dataset.from_list(rows)
few = data.select(range(11))  # of unequal batches, filled up across processes
trainer = MixDPOTrainer(model, args=args, train_dataset=data, eval_dataset=few)
trainer.train()
found = trainer.evaluate()
trainer.save_model()
if trainer.accelerator.is_main_process:
    import json
    kept = {{k: v for k, v in found.items() if k.startswith("eval_region/")}}
    json.dump(kept, open(folder + "/evaluated.json", "w"))
"""


@pytest.mark.slow
def test_two_processes_are_one_with_two_accumulation_steps(tmp_path, model_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    data = grouped().to_list()
    for name, start, steps in (("one", [sys.executable], 2), ("two", launch, 1)):
        usual = USUAL | {
            "max_steps": 8,
            "gradient_accumulation_steps": steps,
            "learning_rate": 1e-3,
            "group_columns": ["region"],
            "per_device_eval_batch_size": 3,
        }
        script = tmp_path / f"{name}.py"
        script.write_text(
            TWO.format(model=model_path, folder=str(tmp_path / name), usual=usual, rows=data)
        )
        done = subprocess.run(
            [*start, str(script)], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (LearnedStrength.load(tmp_path / name) for name in ("one", "two"))
    for level in LEVELS:
        mine, other = one.groups[level], two.groups[level]
        assert mine.parameters == pytest.approx(other.parameters, abs=1e-8)
        assert mine.parameters["mu"] != pytest.approx(mine.trajectory[0]["mu"], abs=1e-3)
    assert one.covariates["length"].coefficient == pytest.approx(
        two.covariates["length"].coefficient, abs=1e-8
    )
    found = [
        json.loads((tmp_path / name / "evaluated.json").read_text()) for name in ("one", "two")
    ]
    assert len(found[0]) == 20
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-6)
