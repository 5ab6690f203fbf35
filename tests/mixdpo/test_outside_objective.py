"""An objective from outside the package: one class and its name."""

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import HfArgumentParser  # noqa: E402

from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import MixDPOConfig, evaluate_preferences, mixdpo_loss  # noqa: E402
from prefstrength.mixdpo.columns import split_columns  # noqa: E402
from prefstrength.mixdpo.objectives import (  # noqa: E402
    OBJECTIVES,
    Argument,
    Objective,
    register,
    unregister,
)
from prefstrength.mixdpo.stages.arguments import columns_asked_for, preference_arguments  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    LOGNORMAL,
    arguments,
    assert_same,
    delta_of,
    moved,
    rows,
    trained_parameters,
    trainer_of,
)


class Lead(Objective):
    """The log-ratio is to lead by more where readers were surer."""

    name, paper, columns = "lead", "2405.14734", ("sureness",)
    arguments = (
        Argument("lead_gap", 0.5, "Lead at a sureness of 1, in nats", least=0),
        Argument("lead_form", "linear", "How it grows with sureness", choices=("linear", "square")),
    )

    def loss(self, batch):
        sureness, own = batch.columns["sureness"], batch.arguments
        gap = own.lead_gap * (sureness if own.lead_form == "linear" else sureness**2)
        seen = batch.running.state.get("seen", torch.zeros((), dtype=torch.float64))
        if batch.learning:
            seen = batch.running.state["seen"] = seen + len(gap)
        return mixdpo_loss(batch.delta - gap, batch.mixing), {"seen": seen.item()}


@pytest.fixture(autouse=True)
def lead():
    register(Lead())
    yield
    unregister("lead")


@pytest.fixture(scope="module")
def pairs():
    return Dataset.from_list([{**row, "sureness": (i % 5) / 2} for i, row in enumerate(rows())])


TAKEN = {"objective": "lead", "lead_gap": 0.8, "lead_form": "square", "strength": LOGNORMAL}


def test_the_config_takes_it_with_its_arguments_and_holds_them_to_their_bounds(tmp_path):
    args = arguments(tmp_path, **TAKEN)
    assert (args.objective, args.lead_gap, args.lead_form) == ("lead", 0.8, "square")
    assert arguments(tmp_path).lead_gap == 0.5
    assert {"lead_gap": 0.8, "lead_form": "square"}.items() <= args.to_dict().items()
    for wrong, text in (
        ({"lead_gap": -0.1}, r"lead_gap >= 0; got -0.1. Lead at .* Leave it out for 0.5"),
        ({"lead_gap": math.nan}, "lead_gap >= 0; got nan"),
        ({"lead_form": "cubic"}, "lead_form to be one of linear, square; got 'cubic'"),
    ):
        with pytest.raises(InputError, match=text):
            arguments(tmp_path, **wrong)


def test_parsers_take_it(tmp_path):
    line = f"--output_dir {tmp_path} --objective lead --lead_gap 0.7 --use_cpu --bf16 false"
    parser = HfArgumentParser(MixDPOConfig)
    (args,) = parser.parse_args_into_dataclasses(line.split())
    assert (args.objective, args.lead_gap) == ("lead", 0.7)
    assert "Lead at a sureness of 1, in nats, >= 0." in " ".join(parser.format_help().split())
    values = {"objective": "lead", "lead_gap": "7e-1", "use_cpu": True, "bf16": False}
    args = preference_arguments(values, tmp_path, batch_size=8)
    assert args.lead_gap == 0.7
    assert columns_asked_for(args) == ([], ["sureness"])


def test_its_columns_are_looked_at(tmp_path, model_path, pairs):
    bare = Dataset.from_list(rows(4))
    for sets in ((bare, None), (pairs, bare)):
        with pytest.raises(InputError, match="Expected columns sureness in .*another objective"):
            trainer_of(tmp_path, model_path, sets[0], eval_dataset=sets[1], **TAKEN)
    hole = pairs.select(range(4)).map(lambda row, i: {"sureness": None if i == 2 else 1.0}, True)
    with pytest.raises(InputError, match="numbers in column sureness of .* got None in row 2"):
        trainer_of(tmp_path, model_path, hole, **TAKEN)


def test_it_trains_and_evaluates(tmp_path, model_path, pairs):
    trainer = moved(trainer_of(tmp_path, model_path, pairs, eval_dataset=pairs, **TAKEN))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    sureness = split_columns(batch).numbers["sureness"]
    assert len(set(sureness.tolist())) > 1
    delta = delta_of(trainer, batch) - 0.8 * sureness**2
    want = mixdpo_loss(delta, trainer.strength.mixing()).mean()
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)

    trainer = trainer_of(
        tmp_path, model_path, pairs, eval_dataset=pairs, **TAKEN, max_steps=2, learning_rate=0.1
    )
    before = trained_parameters(trainer)
    trainer.train()
    after = trained_parameters(trainer)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert trainer.strength.mean != pytest.approx(LOGNORMAL.mixing().mean(), rel=1e-6)
    assert [log["objective/seen"] for log in trainer.state.log_history[:2]] == [4.0, 8.0]
    found = trainer.evaluate()
    assert math.isfinite(found["eval_loss"])
    assert found["eval_objective/seen"] == 8.0
    trainer.save_model()
    record = LearnedStrength.load(tmp_path)
    assert record.delta.objective == "lead"
    assert record.delta.arguments["lead_form"] == "square"
    done = evaluate_preferences(str(tmp_path), model_path, pairs, record, progress=False)
    assert done.pairs["delta"].abs().max() > 0


def test_it_is_resumed_with_what_it_kept_and_with_the_same_arguments(tmp_path, model_path, pairs):
    changes = {**TAKEN, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = trainer_of(tmp_path / "whole", model_path, pairs, **changes)
    whole.train()
    middle = tmp_path / "whole" / "checkpoint-2"
    assert load_file(middle / "strength_state.safetensors")["objective.seen"] == 8
    again = trainer_of(tmp_path / "again", model_path, pairs, **changes)
    again.train(resume_from_checkpoint=str(middle))
    assert again.state.log_history[-2]["objective/seen"] == 16
    assert_same(trained_parameters(again), trained_parameters(whole), 0.0)
    other = trainer_of(tmp_path / "other", model_path, pairs, **{**changes, "lead_gap": 0.1})
    with pytest.raises(InputError, match="same lead_gap as this run, 0.1; got 0.8. Give lead_gap"):
        other.train(resume_from_checkpoint=str(middle))


def test_it_may_be_defined_again_and_forgotten(tmp_path):
    class Again(Lead):
        arguments = (Argument("lead_width", 2.0, "Something else", above=0),)

    register(Again())
    assert arguments(tmp_path, lead_width=3.0).lead_width == 3.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'lead_gap'"):
        arguments(tmp_path, lead_gap=1.0)
    unregister("lead")
    with pytest.raises(InputError, match="objective to be one of mixdpo, .*, capo; got 'lead'"):
        arguments(tmp_path, objective="lead")
    assert "--lead" not in HfArgumentParser(MixDPOConfig).format_help()
    register(Lead())


def test_names_that_are_taken(tmp_path):
    class Ours(Lead):
        name = "odpo"

    class Theirs(Lead):
        name = "other"
        arguments = (Argument("learning_rate", 1.0, "Of its own"),)

    class TheSame(Lead):
        name = "other"

    for objective, text in (
        (Ours(), "a name of its own; got 'odpo', which is the package's"),
        (Theirs(), "'other' under names of their own; got learning_rate, as MixDPOConfig has"),
        (TheSame(), "got lead_gap and lead_form, as MixDPOConfig has already"),
    ):
        with pytest.raises(InputError, match=text):
            register(objective)
    assert "other" not in OBJECTIVES
    assert arguments(tmp_path, odpo_alpha=0.3, lead_gap=0.3).lead_gap == 0.3


def test_an_objective_without_a_loss_cannot_be_made():
    class Nothing(Objective):
        name, paper = "nothing", ""

    with pytest.raises(TypeError, match="abstract method '?loss"):
        Nothing()
