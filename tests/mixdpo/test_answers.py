"""Training on grades, ties and rankings: the analysis's own lines, averaged over strength."""

import json
import math
import subprocess
import sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset, IterableDataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from prefstrength import (  # noqa: E402
    FiniteMixture,
    Gamma,
    Graded,
    InverseGaussian,
    Lapse,
    LogNormal,
    Normal,
    PointMass,
    Ranking,
    RaoKupper,
    StrengthPrior,
    Ties,
    ZeroMass,
)
from prefstrength.choice.arrays import NUMPY  # noqa: E402
from prefstrength.choice.kernel import log_pair_answer, log_set_answer  # noqa: E402
from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import (  # noqa: E402
    answer_loss,
    evaluate_preferences,
    mixdpo_loss,
    ranking_loss,
)
from prefstrength.mixdpo.answers import Answers  # noqa: E402
from prefstrength.mixdpo.columns import split_columns  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    USUAL,
    arguments,
    assert_same,
    delta_of,
    moved,
    rows,
    trained_parameters,
    trainer_of,
)

CUTS = {"cut_1": 0.4, "cut_2": 0.9}
FIVE = {"name": "Graded", "settings": {"answers": ["+2", "+1", "0", "-1", "-2"]}, "shared": CUTS}
TIES = {"name": "Ties", "settings": {}, "shared": {"tie": 0.6}}

LAWS = [
    PointMass(value=0.1),
    Normal(mu=0.1, sigma=0.08),
    LogNormal(mu=-2.4, sigma=0.7),
    LogNormal(mu=-3.0, sigma=2.0),
    Gamma(shape=4.0, rate=40.0),
    Gamma(shape=0.5, rate=5.0),
    InverseGaussian(mu=0.1, shape=0.2),
    ZeroMass(LogNormal(mu=-2.4, sigma=0.5), share=0.2),
    Lapse(Gamma(shape=2.0, rate=20.0), share=0.1),
    FiniteMixture((PointMass(value=0.02), LogNormal(mu=-2.0, sigma=0.3)), shares=(0.3, 0.7)),
]
DELTA = np.array([-80.0, -3.0, 0.0, 0.5, 20.0, 150.0])


def name(law):
    return repr(law)


def prior_of(response, family="LogNormal"):
    spread = (None, None) if family == "PointMass" else (math.log(0.5), 0.3)
    return StrengthPrior(family, math.log(0.1), 0.2, *spread, response=response)


# -- the loss --------------------------------------------------------------------------------------


def davidson(v, nu):
    size = np.abs(v) / 2
    weights = np.stack([np.exp(v / 2 - size), nu * np.exp(-size), np.exp(-v / 2 - size)])
    return weights / weights.sum(axis=0)


def ordered(v, cuts):
    above = [special.expit(v - c) for c in sorted(cuts)]
    edges = [np.ones_like(v), *above, np.zeros_like(v)]
    return np.stack([a - b for a, b in zip(edges[:-1], edges[1:], strict=True)][::-1])


FORMULAS = [
    (Graded(5), CUTS, lambda v: ordered(v, [-1.3, -0.4, 0.4, 1.3])),
    (Graded(4), {"cut_1": 1.1}, lambda v: ordered(v, [-1.1, 0.0, 1.1])),
    (Ties(), {"tie": 0.6}, lambda v: davidson(v, 0.6)),
    (RaoKupper(), {"cut_1": 0.5}, lambda v: ordered(v, [-0.5, 0.5])),
]


@pytest.mark.parametrize(("response", "shared", "formula"), FORMULAS, ids=lambda x: str(x)[:12])
def test_a_point_has_the_ordinary_ordered_loss(response, shared, formula):
    v = 0.1 * DELTA[1:5]
    for code, wanted in enumerate(formula(v)):
        codes = torch.full((len(v),), code)
        delta = torch.tensor(DELTA[1:5])
        loss = answer_loss(delta, PointMass(value=0.1), codes, response, shared)
        np.testing.assert_allclose(loss.numpy(), -np.log(wanted), rtol=1e-12)


DENSE = [law for law in LAWS if law.has_density and not isinstance(law, Lapse)]


@pytest.mark.parametrize("law", DENSE, ids=name)
@pytest.mark.parametrize("which", [0, 2])
def test_it_is_the_integral_over_strength(law, which):
    """Of the density, over strength or its log: nothing is a quantile here."""
    response, shared, formula = FORMULAS[which]
    ends = law.quantile(special.ndtr(np.array([-8.2, 8.2])))
    t = np.linspace(*(np.log(ends) if law.positive else ends), 40_001)
    strength = np.exp(t) if law.positive else t
    density = law.pdf(strength) * (strength if law.positive else 1.0)
    for delta in (-20.0, 5.0, 60.0):
        wanted = integrate.trapezoid(formula(strength * delta) * density, t, axis=1)
        codes = torch.arange(len(response.answers))
        at = torch.full((len(codes),), delta, dtype=torch.float64)
        loss = answer_loss(at, law, codes, response, shared)
        np.testing.assert_allclose(np.exp(-loss.numpy()), wanted, rtol=1e-8)


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_torch_is_numpy(law, dtype, tolerance):
    for response, shared, _ in FORMULAS:
        codes = np.arange(len(DELTA)) % len(response.answers)
        wanted = log_pair_answer(NUMPY, DELTA, codes, law, response, shared)
        delta = torch.tensor(DELTA, dtype=dtype)
        loss = answer_loss(delta, law, torch.tensor(codes), response, shared)
        assert loss.dtype == dtype
        np.testing.assert_allclose(-loss.numpy(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_without_width_it_is_the_choice(law):
    delta, first = torch.tensor(DELTA), torch.zeros(len(DELTA), dtype=torch.int64)
    wanted = mixdpo_loss(delta, law)
    cases = [(Graded(2), {})]
    if not isinstance(law, Lapse):  # a lapse may be a tie
        cases += [(Ties(), {"tie": 0.0}), (RaoKupper(), {"cut_1": 0.0})]
    for response, shared in cases:
        loss = answer_loss(delta, law, first, response, shared)
        torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-10)
        last = first + len(response.answers) - 1
        torch.testing.assert_close(answer_loss(-delta, law, last, response, shared), wanted)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_probabilities_of_all_answers_add_up(law):
    response, delta = Graded(5), torch.tensor(DELTA)
    each = [answer_loss(delta, law, torch.full((6,), k), response, CUTS) for k in range(5)]
    total = torch.exp(-torch.stack(each)).sum(dim=0)
    torch.testing.assert_close(total, torch.ones(6).double(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_gradients(law):
    delta = torch.tensor([-12.0, 4.0, 30.0]).double().requires_grad_()
    codes = torch.tensor([2, 1, 0])
    free = {k: torch.tensor(float(v)).double().requires_grad_() for k, v in law.parameters.items()}
    cut = torch.tensor(0.4).double().requires_grad_()
    ratios = torch.tensor([[9.0, -4.0, 2.0]]).double().requires_grad_()

    def graded(delta, cut, *values):
        own = law.with_parameters(dict(zip(free, values, strict=True)))
        return answer_loss(delta, own, codes, Graded(3), {"cut_1": cut})

    def ranked(ratios, *values):
        return ranking_loss(ratios, law.with_parameters(dict(zip(free, values, strict=True))))

    assert torch.autograd.gradcheck(graded, (delta, cut, *free.values()), rtol=1e-4, atol=1e-7)
    assert torch.autograd.gradcheck(ranked, (ratios, *free.values()), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_finite_at_any_difference(law):
    delta = torch.tensor([-1e4, 0.0, 1e4]).requires_grad_()
    for code in range(5):
        loss = answer_loss(delta, law, torch.full((3,), code), Graded(5), CUTS)
        assert torch.isfinite(loss).all()
        (slope,) = torch.autograd.grad(loss.sum(), delta)
        assert torch.isfinite(slope).all()


def test_an_answer_that_is_none():
    with pytest.raises(InputError, match="codes of answers from 0 to 2; got 3. Code 0 is 'first'"):
        answer_loss(torch.zeros(2), LAWS[0], torch.tensor([0, 3]), Ties(), {"tie": 1.0})


# -- rankings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_a_ranking_of_two_is_the_choice(law):
    delta = torch.tensor(DELTA)
    pair = torch.stack([delta, torch.zeros_like(delta)], dim=-1)
    wanted = mixdpo_loss(delta, law)
    torch.testing.assert_close(ranking_loss(pair, law), wanted, rtol=1e-10, atol=1e-10)
    turned = torch.tensor([2, 1]).expand(pair.shape)
    torch.testing.assert_close(
        ranking_loss(pair.flip(-1), law, turned), wanted, rtol=1e-10, atol=1e-10
    )


def test_a_point_is_plackett_luce():
    ratios = torch.tensor([[3.0, 20.0, -5.0, 8.0]]).double()
    v = 0.1 * ratios[0].numpy()[[1, 3, 0, 2]]
    wanted = -sum(v[k] - special.logsumexp(v[k:]) for k in range(4))
    ranks = torch.tensor([[3, 1, 4, 2]])
    assert ranking_loss(ratios, PointMass(value=0.1), ranks).item() == pytest.approx(wanted)


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize("ties", ["exact", "efron", "breslow"])
def test_rankings_are_those_of_the_analysis(law, ties):
    rng = np.random.default_rng(0)
    ratios = rng.normal(0, 15, (4, 5))
    ranks = np.array([[1, 2, 3, 4, 5], [2, 1, 2, 3, 0], [1, 0, 0, 0, 0], [3, 3, 1, 2, 0]])
    there = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    wanted = log_set_answer(NUMPY, ratios, ranks, law, Ranking(ties), there)
    given = [torch.tensor(each) for each in (ratios, ranks, there)]
    given[0][~given[2]] = 1e6  # whatever stands where there is no response
    loss = ranking_loss(given[0], law, given[1], ties=ties, available=given[2])
    np.testing.assert_allclose(-loss.numpy(), wanted, rtol=1e-9)


def test_all_orders_of_a_ranking_add_up():
    ratios, law = torch.tensor([4.0, -7.0, 12.0]).double(), LogNormal(mu=-2.0, sigma=0.8)
    loss = [ranking_loss(ratios[list(order)], law) for order in permutations(range(3))]
    assert torch.exp(-torch.stack(loss)).sum().item() == pytest.approx(1.0, abs=1e-10)
    best = ranking_loss(ratios, law, torch.tensor([0, 0, 1]))
    second = mixdpo_loss(ratios[0] - ratios[1], law)
    whole = ranking_loss(ratios[[2, 0, 1]], law)
    assert whole.item() < (best + second).item() - 1e-3  # one strength has made both choices


def test_rankings_that_cannot_be():
    with pytest.raises(InputError, match=r"a rank for each of \(3,\) responses; got shape \(2,\)"):
        ranking_loss(torch.zeros(3), LAWS[0], torch.tensor([1, 2]))
    there = torch.tensor([True, True, False])
    with pytest.raises(InputError, match="got one of a response that is not available"):
        ranking_loss(torch.zeros(3), LAWS[0], torch.tensor([1, 2, 3]), available=there)


# -- the trainer -----------------------------------------------------------------------------------


def graded(n=32):
    return Dataset.from_list([{**row, "grade": i % 5 - 2} for i, row in enumerate(rows(n))])


def tied(n=32):
    return Dataset.from_list([{**row, "tie": i % 3 == 0} for i, row in enumerate(rows(n))])


ON_GRADES = {"answer_column": "grade", "strength": prior_of(FIVE)}
ON_TIES = {"answer_column": "tie", "strength": prior_of(TIES)}


def test_the_loss_of_a_batch_is_that_of_its_grades(tmp_path, model_path):
    trainer = moved(trainer_of(tmp_path, model_path, graded(), **ON_GRADES))
    batch = next(iter(trainer.get_train_dataloader()))
    codes = split_columns(batch).answers
    assert len(set(codes.tolist())) > 1
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    delta = delta_of(trainer, batch)
    law = trainer.strength.mixing()
    want = answer_loss(delta, law, codes, Graded(FIVE["settings"]["answers"]), CUTS)
    assert loss.item() == pytest.approx(want.mean().item(), rel=1e-5)
    decided = codes != 2
    toward = torch.sign(2.0 - codes)
    metrics = trainer._metrics["train"]
    lead = (delta * toward)[decided]
    assert metrics["rewards/accuracies"] == [pytest.approx((lead > 0).float().mean().item())]
    assert metrics["rewards/margins"] == [pytest.approx(0.1 * lead.mean().item(), rel=1e-4)]
    assert metrics["objective/tied_share"] == [pytest.approx((~decided).float().mean().item())]


def test_it_trains_evaluates_and_is_read_again(tmp_path, model_path):
    data = graded()
    trainer = trainer_of(
        tmp_path, model_path, data, eval_dataset=data.add_column("half", ["a", "b"] * 16),
        group_columns=["half"], **ON_GRADES, max_steps=3, strength_learning_rate=0.05,
    )  # fmt: skip
    before = trained_parameters(trainer)
    trainer.train()
    after = trained_parameters(trainer)
    assert any(not torch.equal(before[each], after[each]) for each in before)
    assert trainer.strength.mean != pytest.approx(0.1, rel=1e-4)
    found = trainer.evaluate()
    trainer.save_model()
    record = LearnedStrength.load(tmp_path)
    assert record.delta.arguments["answer_column"] == "grade"
    assert record.prior.answers().shared == CUTS

    done = evaluate_preferences(str(tmp_path), model_path, data, record, progress=False)
    assert found["eval_loss"] == pytest.approx(
        -done.pairs["answer_log_probability"].mean(), rel=1e-4
    )
    assert done.pairs["answer"].tolist()[:5] == ["-2", "-1", "0", "+1", "+2"]
    grade = np.array(data["grade"])
    lead = (done.pairs["delta"] * np.sign(grade))[grade != 0]
    assert done.metrics.loc[0, "pairs"] == (grade != 0).sum()
    assert done.metrics.loc[0, "accuracy"] == pytest.approx((lead > 0).mean())
    assert found["eval_accuracy"] == pytest.approx((lead > 0).mean())
    assert found["eval_half/a/accuracy"] != found["eval_accuracy"]
    assert "32 pairs, 6 of them ties" in repr(done)

    bare = data.remove_columns("grade")
    with pytest.raises(InputError, match="Expected columns .*grade; got no grade"):
        evaluate_preferences(str(tmp_path), model_path, bare, record, progress=False)
    alike = data.filter(lambda row: row["grade"] == 0)
    with pytest.raises(InputError, match="one response is better by column grade; got 6 ties"):
        evaluate_preferences(str(tmp_path), model_path, alike, record, progress=False)


def test_ties_are_not_counted_as_choices(tmp_path, model_path):
    law = PointMass(value=0.1)
    with pytest.raises(InputError, match="in every pair of the data; got 11 of 32 marked as ties"):
        evaluate_preferences(model_path, model_path, tied(), law, progress=False)
    with pytest.raises(InputError, match="11 of 32 marked as ties .*`answer_column='tie'`"):
        trainer_of(tmp_path, model_path, tied())


def test_a_grade_for_the_rejected_is_the_pair_turned_around(tmp_path, model_path):
    """Whoever stands as chosen: grade -2 for it is grade 2 for the other."""
    turned = graded().map(
        lambda row: {"chosen": row["rejected"], "rejected": row["chosen"], "grade": -row["grade"]}
    )
    runs = []
    for label, data in (("one", graded()), ("other", turned)):
        trainer = trainer_of(tmp_path / label, model_path, data, **ON_GRADES, max_steps=3)
        trainer.train()
        runs.append(trainer)
    assert_same(*(trained_parameters(each) for each in runs), 1e-5)
    for name_ in ("rewards/accuracies", "rewards/margins"):
        first, second = (each.state.log_history[2][name_] for each in runs)
        assert first == pytest.approx(second, abs=1e-5)


def test_grades_at_the_ends_alone_of_two_levels_are_dpo(tmp_path, model_path):
    two = {"name": "Graded", "settings": {"answers": ["1", "-1"]}, "shared": {}}
    data = Dataset.from_list([{**row, "grade": 1.0} for row in rows()])
    runs = []
    for label, given, extra in (
        ("graded", data, {"answer_column": "grade", "strength": prior_of(two)}),
        ("plain", Dataset.from_list(rows()), {"strength": prior_of({})}),
    ):
        trainer = trainer_of(tmp_path / label, model_path, given, **extra, max_steps=4)
        trainer.train()
        runs.append(trainer)
    assert_same(*(trained_parameters(each) for each in runs), 1e-6)
    assert runs[0].strength.mean == pytest.approx(runs[1].strength.mean, rel=1e-9)
    kept = [
        {k: v for k, v in each.state.log_history[3].items() if k.startswith(("rewards", "loss"))}
        for each in runs
    ]
    assert kept[0] == pytest.approx(kept[1], abs=1e-5)


def test_a_batch_of_eight_is_eight_of_one(tmp_path, model_path):
    runs = []
    for size, accumulation in ((8, 1), (1, 8)):
        trainer = trainer_of(
            tmp_path / f"{size}", model_path, tied(), **ON_TIES, max_steps=3,
            per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
            learning_rate=1e-3,
        )  # fmt: skip
        trainer.train()
        runs.append(trainer)
    assert_same(*(trained_parameters(each) for each in runs), 1e-5)
    one, other = (each.strength.learned().parameters for each in runs)
    assert one == pytest.approx(other, abs=1e-7)


TWO = """
import json
import torch
from datasets import Dataset
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer

model, folder, usual, rows, prior = {model!r}, {folder!r}, {usual!r}, {rows!r}, {prior!r}
torch.set_num_threads(1)
data = Dataset.from_list(rows)
args = MixDPOConfig(
    folder, strength=prior, strength_learning_rate=1e-2, answer_column="tie",
    group_columns=["half"], **usual
)
trainer = MixDPOTrainer(model, args=args, train_dataset=data, eval_dataset=data)
trainer.train()
found = trainer.evaluate()
trainer.save_model()
if trainer.accelerator.is_main_process:
    ours = ("eval_accuracy", "eval_margin", "eval_half")  # others of TRL are means of batches
    kept = {{k: v for k, v in found.items() if k.startswith(ours)}}
    kept["loss"] = trainer.state.log_history[3]["loss"]
    json.dump(kept, open(folder + "/found.json", "w"))
"""


@pytest.mark.slow
def test_two_processes_are_one_with_two_accumulation_steps(tmp_path, model_path):
    data = [{**row, "half": "ab"[i % 2]} for i, row in enumerate(tied())]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    for label, start, steps in (("one", [sys.executable], 2), ("two", launch, 1)):
        usual = {**USUAL, "max_steps": 4, "gradient_accumulation_steps": steps}
        usual["learning_rate"] = 1e-3
        script = tmp_path / f"{label}.py"
        given = {"model": model_path, "folder": str(tmp_path / label), "usual": usual}
        prior = prior_of(TIES).to_dict()
        script.write_text(TWO.format(**given, rows=data, prior=prior))
        done = subprocess.run(
            [*start, str(script)], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (LearnedStrength.load(tmp_path / label) for label in ("one", "two"))
    assert one.parameters == pytest.approx(two.parameters, abs=1e-9)
    assert_same(
        *(load_file(tmp_path / label / "model.safetensors") for label in ("one", "two")), 1e-6
    )
    found = [json.loads((tmp_path / label / "found.json").read_text()) for label in ("one", "two")]
    assert "eval_half/a/margin" in found[0]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_resumed_is_uninterrupted_and_with_the_same_answers(tmp_path, model_path):
    changes = {**ON_TIES, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = trainer_of(tmp_path / "whole", model_path, tied(), **changes)
    whole.train()
    middle = str(tmp_path / "whole" / "checkpoint-2")
    again = trainer_of(tmp_path / "again", model_path, tied(), **changes)
    again.train(resume_from_checkpoint=middle)
    assert_same(trained_parameters(again), trained_parameters(whole), 0.0)
    data = tied().filter(lambda row: not row["tie"])
    other = trainer_of(tmp_path / "other", model_path, data, **{**changes, "answer_column": None})
    with pytest.raises(InputError, match="same answer_column as this run, None; got 'tie'"):
        other.train(resume_from_checkpoint=middle)
    wider = prior_of({**TIES, "shared": {"tie": 0.9}})
    other = trainer_of(tmp_path / "wider", model_path, tied(), **{**changes, "strength": wider})
    with pytest.raises(InputError, match="same strength prior"):
        other.train(resume_from_checkpoint=middle)


@pytest.mark.parametrize("kind", ["groups", "covariates", "weights"])
def test_with_what_else_pairs_may_have(tmp_path, model_path, kind):
    data = (
        graded().add_column("half", ["a", "b"] * 16).add_column("turns", [1.0, 2.0, 4.0, 3.0] * 8)
    )
    extra = {
        "groups": {"strength_group_column": "half"},
        "covariates": {"strength_covariates": ["turns"]},
        "weights": {"weight_column": "turns"},
    }[kind]
    trainer = moved(trainer_of(tmp_path, model_path, data, **ON_GRADES, **extra))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    carried = split_columns(batch)
    group = carried.codes.get(trainer.strength.group_column or "")
    law = trainer.strength.mixing(group, carried.covariates)
    want = answer_loss(
        delta_of(trainer, batch), law, carried.answers, Graded(FIVE["settings"]["answers"]), CUTS
    )
    if kind == "weights":
        want = want * carried.numbers["turns"]
    assert loss.item() == pytest.approx(want.mean().item(), rel=1e-5)


def test_a_batch_of_ties_alone_has_no_accuracy(tmp_path, model_path):
    data = tied().map(lambda row: {"tie": True})
    trainer = trainer_of(tmp_path, model_path, data, **ON_TIES, max_steps=2)
    trainer.train()
    log = trainer.state.log_history[0]
    assert "rewards/accuracies" not in log
    assert "rewards/margins" not in log
    assert log["objective/tied_share"] == 1.0


def test_a_stream_is_looked_at_on_its_way(tmp_path, model_path):
    table = [{**row, "tie": i % 3 == 0} for i, row in enumerate(rows())]
    table[2]["tie"] = None
    stream = IterableDataset.from_generator(lambda: iter(table))
    trainer = trainer_of(
        tmp_path, model_path, stream, **ON_TIES, strength_num_pairs=32, max_steps=1
    )
    with pytest.raises(InputError, match="in column tie of a batch; got None in row 2"):
        trainer.train()


# -- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"strength": prior_of({})}, "a strength prior of grades or ties .* got one of choices"),
        ({"strength": None}, "a strength prior of grades or ties .* got no prior"),
        ({"strength": prior_of({"name": "Ranking", "shared": {}})}, "got one of Ranking answers"),
        ({"objective": "odpo"}, "objective mixdpo with answer_column.*got 'odpo' and 'exact'"),
        ({"estimator": "monte-carlo"}, "got 'mixdpo' and 'monte-carlo', which know of no grades"),
    ],
)
def test_arguments_that_contradict(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        arguments(tmp_path, **{**ON_GRADES, **changes})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row, i: {"grade": 3 if i == 4 else 0}, r"answers \+2, .*; got 3 in row 4 \(1 of"),
        (lambda row, i: {"grade": None if i == 1 else 0}, "got None in row 1"),
        (lambda row, i: {"grade": "better"}, "got 'better' in row 0 .*strength prior was fitted"),
        (lambda row, i: {"grade": 0.5}, "got 0.5 in row 0"),
        (lambda row, i: {"tie": i == 7}, r"disagree in 5 of 32 rows \(first: 2\)"),
    ],
)
def test_columns_that_cannot_be_answers(tmp_path, model_path, change, text):
    data = graded().map(change, with_indices=True)
    with pytest.raises(InputError, match=text):
        trainer_of(tmp_path, model_path, data, **ON_GRADES)
    with pytest.raises(InputError, match="Expected a column grade in train_dataset"):
        trainer_of(tmp_path, model_path, data.remove_columns("grade"), **ON_GRADES)
    trainer = trainer_of(tmp_path, model_path, graded(), **ON_GRADES)
    with pytest.raises(InputError, match=text):
        trainer.evaluate(data)


def test_words_numbers_and_marks_are_answers():
    words = {"name": "Graded", "settings": {"answers": ["better", "same", "worse"]},
             "shared": {"cut_1": 1.0}}  # fmt: skip
    read = Answers.of("a", prior_of(words)).code
    assert [read(x) for x in ("better", "worse", "first", True, 1)] == [0, 2, None, None, None]
    read = Answers.of("a", prior_of(FIVE)).code
    assert [read(x) for x in (2, 2.0, "+2", "-1", -1.0, 0, False)] == [0, 0, 0, 3, 3, 2, None]
    read = Answers.of("a", prior_of(TIES)).code
    found = [read(x) for x in (True, False, np.True_, "tie", "chosen", "rejected", "first", "no")]
    assert found == [1, 0, 1, 1, 0, 2, 0, None]
    assert read(1) is None
    assert Answers.of("a", prior_of(FIVE)).toward([0, 1, 2, 3, 4]).tolist() == [1, 1, 0, -1, -1]


def test_pandas_too(tmp_path, model_path):
    trainer = trainer_of(tmp_path, model_path, tied(), **ON_TIES)
    table = pd.DataFrame(tied().to_dict())
    done = evaluate_preferences(model_path, model_path, table, trainer.strength, progress=False)
    assert done.metrics.loc[0, "pairs"] == 21
    assert set(done.pairs["answer"]) == {"first", "tie"}
