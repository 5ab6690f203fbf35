"""Which pairs count, how, and what of them reaches the model, in training and in evaluation."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import evaluate_preferences  # noqa: E402
from prefstrength.mixdpo.objectives.mixdpo import mixdpo_loss  # noqa: E402
from tests.helpers.tiny_training import delta_of, moved, rows, trainer_of  # noqa: E402

LAW = PointMass(value=0.1)


def evaluated(model, reference, data, **options):
    return evaluate_preferences(
        model, reference, data, LAW, **{"max_length": 32, **options}, progress=False
    ).pairs


# -- the best checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["negative_log_likelihood", "calibration_error"])
def test_the_best_checkpoint_is_kept_whatever_it_goes_by(tmp_path, model_path, metric):
    data = Dataset.from_list([{**row, "region": "one"} for row in rows(16)])
    trainer = trainer_of(
        tmp_path, model_path, data, eval_dataset=data, max_steps=9, learning_rate=0.3,
        eval_strategy="steps", eval_steps=3, save_strategy="steps", save_steps=3,
        load_best_model_at_end=True, metric_for_best_model=f"eval_{metric}",
        group_columns=["region"],
    )  # fmt: skip
    trainer.train()
    found = {
        entry["step"]: entry[f"eval_{metric}"]
        for entry in trainer.state.log_history
        if f"eval_{metric}" in entry
    }
    assert len(set(found.values())) > 1
    assert trainer.state.best_global_step == min(found, key=found.get)


def test_a_metric_that_no_evaluation_has(tmp_path, model_path):
    data = Dataset.from_list(rows(8))
    with pytest.raises(InputError, match="Expected group_columns with metric_for_best_model"):
        trainer_of(
            tmp_path, model_path, data, eval_dataset=data, metric_for_best_model="eval_accuracy"
        )


# -- pairs that are one response -------------------------------------------------------------------


def one_after_a_cut(n):
    """Pairs whose responses differ in their last words alone, behind 20 that are the same."""
    same = " ".join(["w3"] * 20)
    return [
        {"prompt": "w1 w2 ", "chosen": f"{same} w{4 + i}", "rejected": f"{same} w{14 + i}"}
        for i in range(n)
    ]


def test_pairs_that_are_one_after_the_cut_train_nothing_and_do_not_count(tmp_path, model_path):
    data = Dataset.from_list([*rows(8), *one_after_a_cut(3)])
    with pytest.warns(DataWarning, match=r"Left out 3 of 11 pairs, .* same tokens within 16"):
        trainer = trainer_of(tmp_path, model_path, data, max_length=16)
    assert len(trainer.train_dataset) == 8
    with pytest.warns(DataWarning, match="Left out 3 of 11"):
        pairs = evaluated(model_path, model_path, data, max_length=16)
    assert pairs["row"].tolist() == list(range(8))
    assert len(evaluated(model_path, model_path, data)) == 11


@pytest.mark.filterwarnings("ignore:.*keep_end:FutureWarning")
def test_of_pairs_cut_at_the_start_the_end_counts(tmp_path, model_path):
    data = Dataset.from_list([*rows(4), *one_after_a_cut(3)])
    trainer = trainer_of(tmp_path, model_path, data, max_length=16, truncation_mode="keep_end")
    assert len(trainer.train_dataset) == 7


def test_nothing_but_pairs_of_one_response(tmp_path, model_path):
    data = Dataset.from_list([{**row, "rejected": row["chosen"]} for row in rows(4)])
    with pytest.raises(InputError, match="pairs of two different responses; got 4 of 4"):
        trainer_of(tmp_path, model_path, data)


def test_of_a_stream_they_are_left_out_too(tmp_path, model_path):
    data = Dataset.from_list([*one_after_a_cut(3), *rows(8)]).to_iterable_dataset()
    trainer = trainer_of(tmp_path, model_path, data, max_length=16, max_steps=1)
    assert len(list(trainer.train_dataset)) == 8


# -- the loss in evaluation ------------------------------------------------------------------------


def test_the_loss_in_evaluation_is_the_mean_of_the_pairs(tmp_path, model_path):
    data = Dataset.from_list(rows(11))
    trainer = moved(
        trainer_of(tmp_path, model_path, data, eval_dataset=data, per_device_eval_batch_size=4)
    )
    found = trainer.evaluate()["eval_loss"]  # batches of 4, 4 and 3
    trainer.model.eval()
    batches = [trainer.data_collator([trainer.eval_dataset[i]]) for i in range(11)]
    with torch.no_grad():
        want = [float(mixdpo_loss(delta_of(trainer, batch), LAW)) for batch in batches]
    assert found == pytest.approx(np.mean(want), rel=1e-5)


# -- what the template is told ---------------------------------------------------------------------

TOOLS = (
    "{% if tools %}{{ tools[0]['function']['name'] }} {% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}w9 w9 {% endif %}"
    "{% for m in messages %}{{ m['content'] }} {% if m['tool_calls'] %}"
    "{{ m['tool_calls'][0]['function']['name'] }} {% endif %}<eos> {% endfor %}"
)


def with_tools(n):
    def call(name):
        return [{"type": "function", "function": {"name": name, "arguments": {}}}]

    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": "", "tool_calls": call("w7")}],
            "rejected": [{"role": "assistant", "content": "", "tool_calls": call("w8")}],
            "tools": json.dumps([{"type": "function", "function": {"name": f"w{20 + i}"}}]),
            "chat_template_kwargs": {"enable_thinking": False},
        }
        for i, row in enumerate(rows(n))
    ]


@pytest.mark.parametrize("frame", [False, True])
def test_evaluation_sees_tools_and_calls_as_training_does(tmp_path, model_path, frame):
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.chat_template = TOOLS
    AutoModelForCausalLM.from_pretrained(model_path).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    data = Dataset.from_list(with_tools(6))
    trainer = moved(trainer_of(tmp_path / "run", str(tmp_path / "model"), data))
    trainer.model.eval()
    batches = [trainer.data_collator([trainer.train_dataset[i]]) for i in range(6)]
    with torch.no_grad():
        want = [float(delta_of(trainer, batch)) for batch in batches]
    found = evaluated(
        trainer.model, trainer.ref_model, data.to_pandas() if frame else data, tokenizer=tokenizer
    )
    assert np.abs(want).min() > 1e-4
    np.testing.assert_allclose(found["delta"], want, atol=1e-5)
