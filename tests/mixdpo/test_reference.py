"""The reference of a run: training starts there, and evaluation compares with the same."""

import shutil
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from peft import AutoPeftModelForCausalLM, get_peft_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import evaluate_preferences  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    Worse,
    assert_same,
    lora,
    rows,
    trained_parameters,
    trainer_of,
)

LAW = PointMass(value=0.1)


@pytest.fixture
def pairs():
    return Dataset.from_list(rows(16))


def deltas(model, reference, data, **options):
    found = evaluate_preferences(
        model, reference, data, LAW, max_length=32, progress=False, **options
    )
    return found.pairs["delta"].to_numpy()


def with_tokenizer(folder, model_path):
    AutoTokenizer.from_pretrained(model_path).save_pretrained(folder)
    return folder


def trained_adapter(folder, model_path):
    """An adapter that is no longer zero, saved with a tokenizer."""
    torch.manual_seed(3)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), lora())
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora" in name:
                each += 0.5 * torch.randn_like(each)
    model.save_pretrained(folder)
    return with_tokenizer(folder, model_path)


# -- the start -------------------------------------------------------------------------------------


def test_a_merged_adapter_does_not_start_at_its_reference(tmp_path, model_path, pairs):
    folder = trained_adapter(tmp_path / "adapter", model_path)
    merged = AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True).merge_and_unload()
    for each in merged.parameters():
        each.requires_grad_(True)
    trainer = trainer_of(tmp_path / "run", merged, pairs, max_steps=2)
    with pytest.warns(DataWarning, match=r"log-ratios of 0 before the first step.*merged") as said:
        trainer.train()
    assert sum("log-ratios of 0" in str(each.message) for each in said) == 1


@pytest.mark.parametrize("variant", ["path", "object", "adapter", "new adapter"])
def test_a_run_that_starts_at_its_reference_is_not_warned_of(tmp_path, model_path, pairs, variant):
    model, more = model_path, {}
    if variant == "object":
        model = AutoModelForCausalLM.from_pretrained(model_path)
    elif variant == "adapter":
        folder = trained_adapter(tmp_path / "adapter", model_path)
        model = AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True)
    elif variant == "new adapter":
        more = {"peft_config": lora()}
    trainer = trainer_of(tmp_path / "run", model, pairs, max_steps=1, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        trainer.train()


@pytest.mark.filterwarnings("ignore:.*keep_end:FutureWarning")
@pytest.mark.parametrize("changed", [{"max_length": 8}, {"ld_alpha": 0.3}])
def test_what_was_computed_of_the_reference_is_that_of_this_delta(
    tmp_path, model_path, pairs, changed
):
    folder = tmp_path / "data"
    pairs.save_to_disk(folder)
    data = Dataset.load_from_disk(folder)  # on disk, so that TRL keeps what it computed
    usual = {"precompute_ref_log_probs": True, "truncation_mode": "keep_end", "max_length": 32}
    for settings in ({}, changed):
        trainer = trainer_of(
            tmp_path / "run", model_path, data, max_steps=1, **{**usual, **settings}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            trainer.train()
        assert trainer.state.log_history[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)


# -- what evaluation compares with -----------------------------------------------------------------


def test_an_adapter_on_disk_is_measured_against_the_one_it_was_trained_from(
    tmp_path, model_path, pairs
):
    first = trained_adapter(tmp_path / "first", model_path)
    model = AutoPeftModelForCausalLM.from_pretrained(first, is_trainable=True)
    trainer = trainer_of(tmp_path / "run", model, pairs, max_steps=3, learning_rate=0.1)
    trainer.train()
    trainer.save_model(str(tmp_path / "second"))
    want = deltas(trainer.model, None, pairs, tokenizer=trainer.processing_class)
    from_base = deltas(trainer.model, model_path, pairs, tokenizer=trainer.processing_class)
    assert np.abs(want - from_base).max() > 0.1
    np.testing.assert_allclose(deltas(tmp_path / "second", None, pairs), want, atol=1e-5)


# -- a reference that moves ------------------------------------------------------------------------

SYNC = {
    "sync_ref_model": True,
    "ref_model_sync_steps": 2,
    "ref_model_mixup_alpha": 0.5,
    "learning_rate": 5e-2,
}


def test_a_run_whose_reference_moves_is_resumed_with_it(tmp_path, model_path, pairs):
    settings = {**SYNC, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = trainer_of(tmp_path / "run", model_path, pairs, **settings)
    whole.train()
    again = trainer_of(tmp_path / "run", model_path, pairs, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert_same(trained_parameters(whole), trained_parameters(again), 1e-7)
    for one, two in zip(whole.ref_model.parameters(), again.ref_model.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    shutil.rmtree(tmp_path / "run" / "checkpoint-3" / "reference")
    third = trainer_of(tmp_path / "run", model_path, pairs, **settings)
    with pytest.raises(InputError, match="Expected the reference, which moves"):
        third.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))


def test_evaluation_knows_of_a_reference_that_moved(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path / "run", model_path, pairs, **SYNC, max_steps=4)
    trainer.train()
    trainer.save_model()
    folder = with_tokenizer(tmp_path / "run", model_path)
    want = deltas(trainer.model, trainer.ref_model, pairs, tokenizer=trainer.processing_class)
    np.testing.assert_allclose(deltas(folder, None, pairs), want, atol=1e-5)
    np.testing.assert_allclose(deltas(folder, folder / "reference", pairs), want, atol=1e-5)
    with pytest.warns(DataWarning, match="a reference that moved"):
        stale = deltas(folder, model_path, pairs)
    assert np.abs(stale - want).max() > 0.01


def test_the_best_checkpoint_brings_its_reference(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs, eval_dataset=pairs, callbacks=[Worse()], **SYNC,
        max_steps=6, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
        load_best_model_at_end=True,
    )  # fmt: skip
    trainer.train()
    kept = load_file(tmp_path / "checkpoint-2" / "reference" / "model.safetensors")
    for name, value in trainer.ref_model.state_dict().items():
        torch.testing.assert_close(value, kept[name])
