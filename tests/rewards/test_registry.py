"""The table of well-known reward models, and models as TRL's RewardTrainer leaves them."""

import dataclasses
import importlib

import numpy as np
import pytest

from prefstrength.errors import InputError
from prefstrength.rewards import HFReward, registered_rewards, score
from prefstrength.rewards.registry import REGISTRY

FIELDS = {field.name for field in dataclasses.fields(HFReward)}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_entry_says_what_it_knows_and_from_where(name):
    entry = REGISTRY[name]
    assert name.count("/") == 1
    assert set(entry.settings) <= FIELDS
    assert "trust_remote_code" not in entry.settings  # only the user says that
    assert entry.sources
    assert all(source.startswith("https://") for source in entry.sources)
    assert entry.heads
    if entry.loads is False:
        assert entry.note
        with pytest.raises(InputError, match="transformers 5 can load"):
            HFReward.from_registry(name, trust_remote_code=True)
    elif entry.remote_code:
        with pytest.raises(InputError, match="trust_remote_code=False"):
            HFReward.from_registry(name)
        assert HFReward.from_registry(name, trust_remote_code=True).trust_remote_code
    else:
        reward = HFReward.from_registry(name, batch_size=3)
        assert not reward.trust_remote_code
        assert reward.batch_size == 3
        assert {key: getattr(reward, key) for key in entry.settings} == entry.settings


def test_why_some_do_not_load():
    """Their code imports what this transformers no longer has; if it comes back, mend the table."""
    llama = importlib.import_module("transformers.models.llama.modeling_llama")
    assert not hasattr(llama, "LLAMA_INPUTS_DOCSTRING")
    assert [name for name, entry in REGISTRY.items() if entry.loads is False]


def test_changes_come_before_the_registered_settings():
    name = "Skywork/Skywork-Reward-V2-Qwen3-0.6B"
    assert HFReward.from_registry(name).dtype == "bfloat16"
    assert HFReward.from_registry(name, dtype="float32").dtype == "float32"
    assert HFReward.from_registry(name).name_or_path == name


def test_a_name_that_is_not_registered():
    with pytest.raises(InputError, match="Did you mean 'Skywork/Skywork-Reward-V2-Qwen3-0.6B'"):
        HFReward.from_registry("Skywork/Skywork-Reward-V2-Qwen3-0.6b")
    with pytest.raises(InputError, match="say the settings yourself"):
        HFReward.from_registry("someone/else")


def test_the_table_lists_them_all():
    table = registered_rewards()
    assert list(table["name"]) == list(REGISTRY)
    assert table[["template", "bos", "heads", "sources"]].notna().all(axis=None)


# -- TRL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "form"), [("trl", "plain"), ("trl", "chat"), ("chat", "chat")]
)
def test_models_of_trls_reward_trainer(template, form, tmp_path):
    """The same tokens as in training, and so the scores that training saw."""
    torch = pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    from tests.helpers.word_models import (
        conversations,
        make_model,
        make_pairs,
        make_tokenizer,
        save,
    )

    pairs = make_pairs(6)
    for side in ("chosen", "rejected"):
        pairs[side] = " " + pairs[side]
    data = conversations(pairs) if form == "chat" else pairs.reset_index(drop=True)
    args = trl.RewardConfig(
        str(tmp_path / "run"), report_to="none", use_cpu=True, bf16=False, disable_tqdm=True
    )
    base = save(tmp_path / "base", make_model(), make_tokenizer())
    trainer = trl.RewardTrainer(
        str(base), args=args, train_dataset=datasets.Dataset.from_pandas(data)
    )
    trainer.save_model(str(tmp_path / "trained"))
    trained = HFReward(tmp_path / "trained", template=template, batch_size=4)
    scored = score(data, trained, progress=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "trained")
    for side in ("chosen", "rejected"):
        with torch.no_grad():
            expected = [
                model(torch.tensor([ids])).logits.item()
                for ids in trainer.train_dataset[f"{side}_ids"]
            ]
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], expected, atol=1e-5, rtol=0)
    guards = scored.attrs["reward"]["guards"]
    assert ("system_prompt" in guards) == (form == "chat")


def test_conversations_that_trl_would_put_through_a_template_need_one(tmp_path):
    pytest.importorskip("transformers")
    from tests.helpers.word_models import (
        conversations,
        make_model,
        make_pairs,
        make_tokenizer,
        save,
    )

    reward = HFReward(save(tmp_path, make_model(), make_tokenizer(None)), template="trl")
    assert len(score(" " + make_pairs(3), reward, progress=False)) == 3
    with pytest.raises(InputError, match="expects a chat template .* or plain texts"):
        score(conversations(make_pairs(3)), reward, progress=False)
