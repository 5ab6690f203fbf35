"""Every fault that makes a score wrong without an error is planted here, and must be named."""

import json
import textwrap

import numpy as np
import pandas as pd
import pytest

from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards import HFReward, ImplicitReward, score
from prefstrength.rewards.engine.guards import check_ties

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.helpers.word_models import (  # noqa: E402
    ASKING,
    TEMPLATE,
    WORDS,
    make_causal,
    make_model,
    make_pairs,
    make_tokenizer,
    save,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("reward"))


def raw(pairs, reward):
    return score(pairs, reward, progress=False)[["reward_raw_chosen", "reward_raw_rejected"]]


def test_results_of_all_guards_are_reported(folder):
    pairs = make_pairs(12)
    pairs.loc["r3", "rejected"] = " ".join(WORDS * 2)
    reward = HFReward(folder, max_length=60, max_truncated=0.1)
    guards = score(pairs, reward, progress=False).attrs["reward"]["guards"]
    assert guards["bos"] == {"token": "<bos>", "checked": 24, "doubled": 0, "absent": 0}
    assert guards["boundary"] == {"checked": 24, "inside_token": 0, "otherwise": 0}
    assert guards["system_prompt"] == {"rows": 0, "ignored": 0}
    assert guards["date"] is False
    assert guards["truncation"]["rows"] == ["r3"]
    assert guards["truncation"]["responses"] == 1
    assert guards["truncation"]["longest"] > guards["truncation"]["max_length"] == 60
    assert guards["ties"]["reward"]["pairs"] == 0
    assert guards["ties"]["reward"]["written_in"] is None
    assert guards["alone"]["reward"]["max_difference"] < 1e-5
    assert guards["training_mode"] == []
    assert guards["unused_weights"] == []
    assert guards["padding_token"] == {"id": 0, "ends_texts": 0}
    assert guards["finite"]
    assert guards["distinct"]
    json.dumps(guards)


# -- one BOS ---------------------------------------------------------------------------------


def test_second_bos_of_a_template_is_dropped(folder, tmp_path):
    twice = save(tmp_path, make_model(), make_tokenizer("{{ bos_token }} " + TEMPLATE))
    pairs = make_pairs(8)
    with pytest.warns(DataWarning, match="begin with '<bos>' twice in 16 of 16"):
        scored = score(pairs, HFReward(twice), progress=False)
    pd.testing.assert_frame_equal(raw(pairs, HFReward(folder)), scored[scored.columns[-2:]])
    assert scored.attrs["reward"]["guards"]["bos"]["doubled"] == 16


def test_second_bos_of_a_text_is_dropped(folder):
    pairs = make_pairs(8)
    plain = HFReward(folder, template="plain", sanitize=False)
    right = raw(pairs, plain)
    pairs["prompt"] = "<bos> " + pairs["prompt"]
    with pytest.warns(DataWarning, match="twice in 16 of 16"):
        twice = raw(pairs, plain)
    pd.testing.assert_frame_equal(right, twice)


def test_missing_bos_warns(tmp_path):
    model = save(tmp_path, make_model(), make_tokenizer(BARE))
    with pytest.warns(DataWarning, match="without '<bos>' in 8 of 8 .*documentation"):
        score(make_pairs(4), HFReward(model), progress=False)


# -- system messages -------------------------------------------------------------------------

BARE = TEMPLATE.replace("{{ bos_token }}", "")
NO_SYSTEM = TEMPLATE.replace(
    "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
)
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TEMPLATE
)


def with_system(pairs, rows=("r1", "r4")):
    """Conversations, of which some have a system message."""
    system = {"role": "system", "content": "w7 w8"}
    chats = pairs.copy()
    chats["prompt"] = [
        ([system] if row in rows else []) + [{"role": "user", "content": text}]
        for row, text in pairs["prompt"].items()
    ]
    for side in ("chosen", "rejected"):
        chats[side] = [[{"role": "assistant", "content": text}] for text in pairs[side]]
    return chats


def test_system_message_that_the_template_leaves_out(tmp_path):
    pairs = with_system(make_pairs(6))
    model = save(tmp_path / "deaf", make_model(), make_tokenizer(NO_SYSTEM))
    says = r"leaves them out in 2 rows \(first rows: r1, r4\).*first user message"
    with pytest.raises(InputError, match=says):
        score(pairs, HFReward(model), progress=False)
    assert len(score(pairs.drop(["r1", "r4"]), HFReward(model), progress=False)) == 4
    tokenizer = make_tokenizer(NO_SYSTEM)
    causal = [save(tmp_path / f"causal{i}", make_causal(i), tokenizer) for i in (0, 1)]
    with pytest.raises(InputError, match=says):
        score(pairs, ImplicitReward(*causal), progress=False)


def test_system_message_that_the_template_shows_or_refuses(folder, tmp_path):
    tokenizer = make_tokenizer(TEMPLATE.replace("'<|' + m['role'] + '|>'", "m['role']"))
    shows = save(tmp_path / "shows", make_model(), tokenizer)
    about = score(with_system(make_pairs(6)), HFReward(shows), progress=False).attrs["reward"]
    assert about["guards"]["system_prompt"] == {"rows": 2, "ignored": 0}
    strict = save(tmp_path / "strict", make_model(), make_tokenizer(STRICT))
    with pytest.raises(InputError, match="row r1: System role not supported"):
        score(with_system(make_pairs(6)), HFReward(strict), progress=False)


# -- dates -----------------------------------------------------------------------------------


def test_template_that_writes_the_date_is_told_the_same_every_day(tmp_path):
    """As Llama 3.2's: what it writes would depend on the day of scoring."""
    date = "{{ 'w1' if strftime_now('%d %b %Y') == '26 Jul 2024' else 'w2' }} "
    dated = save(tmp_path / "dated", make_model(), make_tokenizer("{{ bos_token }} " + date + BARE))
    fixed = save(tmp_path / "fixed", make_model(), make_tokenizer("{{ bos_token }} w1 " + BARE))
    pairs = make_pairs(6)
    with pytest.warns(DataWarning, match="writes today's date .* 26 July 2024"):
        scored = score(pairs, HFReward(dated), progress=False)
    pd.testing.assert_frame_equal(scored[scored.columns[-2:]], raw(pairs, HFReward(fixed)))
    assert scored.attrs["reward"]["guards"]["date"] is True
    asking = ASKING.replace("{{ bos_token }}", "{{ bos_token }} " + date)
    causal = [save(tmp_path / f"c{i}", make_causal(i), make_tokenizer(asking)) for i in (0, 1)]
    with pytest.warns(DataWarning, match="ImplicitReward: the chat template .* today's date"):
        score(with_system(make_pairs(4), rows=()), ImplicitReward(*causal), progress=False)


def test_date_in_a_format_that_is_made_up_on_the_way_is_pointed_out(tmp_path):
    later = "{% set how = '%d %b' %}{{ 'w1' if strftime_now(how) == '26 Jul' else 'w2' }} "
    template = make_tokenizer("{{ bos_token }} " + later + BARE)
    folder = save(tmp_path, make_model(), template)
    with pytest.warns(DataWarning, match="made up on the way. Scores change from day to day"):
        scored = score(make_pairs(4), HFReward(folder), progress=False)
    assert scored.attrs["reward"]["guards"]["date"] is True


# -- where the response begins ---------------------------------------------------------------


def test_response_that_begins_inside_a_token(tmp_path):
    glued = "{{ bos_token }} {% for m in messages %}{{ m['content'] }}{% endfor %}"
    model = save(tmp_path, make_model(), make_tokenizer(glued))
    pairs = make_pairs(6)
    apart = pairs.assign(**{side: " " + pairs[side] for side in ("chosen", "rejected")})
    with pytest.warns(DataWarning, match="begins inside a token in 12 of 12"):
        scored = score(pairs, HFReward(model), progress=False)
    assert scored.attrs["reward"]["guards"]["boundary"]["inside_token"] == 12
    about = score(apart, HFReward(model), progress=False).attrs["reward"]
    assert about["guards"]["boundary"] == {"checked": 12, "inside_token": 0, "otherwise": 0}


def test_conversations_without_a_template(tmp_path):
    models = [save(tmp_path / f"m{i}", make_causal(i), make_tokenizer(None)) for i in (0, 1)]
    with pytest.raises(InputError, match="ImplicitReward expects a chat template.*plain texts"):
        score(with_system(make_pairs(2)), ImplicitReward(*models), progress=False)
    with pytest.raises(InputError, match="got the same weights for both"):
        score(make_pairs(2), ImplicitReward(models[0], models[0]), progress=False)


def test_prompt_that_is_written_otherwise_alone(tmp_path):
    """As templates that end the generation prompt with an empty block of thoughts."""
    thinking = ASKING.replace("<|assistant|>{% endif", "<|assistant|> w1 <|end|>{% endif")
    policy = save(tmp_path / "policy", make_causal(), make_tokenizer(thinking))
    reference = save(tmp_path / "reference", make_causal(1), make_tokenizer(thinking))
    chats = with_system(make_pairs(4), rows=())
    with pytest.warns(DataWarning, match="the prompt alone otherwise .* in 8 of 8"):
        score(chats, ImplicitReward(policy, reference), progress=False)
    glued = make_pairs(4)
    with pytest.warns(DataWarning, match="begins inside a token in 8 of 8"):
        score(glued, ImplicitReward(policy, reference), progress=False)


# -- ties ------------------------------------------------------------------------------------


def test_head_in_half_precision_is_found_out(folder, monkeypatch):
    from prefstrength.rewards.language_models import classifier as _source

    pairs = make_pairs(40)
    half = HFReward(folder, dtype="bfloat16", batch_size=1)
    assert score(pairs, half, progress=False).attrs["reward"]["guards"]["ties"]["reward"]
    monkeypatch.setattr(_source, "head_in_float32", lambda model, name: None)
    with pytest.warns(DataWarning, match="numbers that bfloat16 can write.*dtype='float32'"):
        scored = score(pairs, half, progress=False)
    assert scored.attrs["reward"]["guards"]["ties"]["reward"]["written_in"] == "bfloat16"


def test_ties_are_compared_with_what_rounding_explains():
    """Scores in float32 meet by chance, as the formula says; coarser ones more often."""
    rng = np.random.default_rng(0)
    values = (20 + rng.normal(size=40_000)).astype(np.float32).astype(np.float64)
    found = check_ties(values, lambda i: [i], output="score")
    step, n = float(np.spacing(np.float32(20))), len(values)
    assert found["expected"] == pytest.approx(
        n * (n - 1) / 2 * step / (2 * np.sqrt(np.pi)), rel=0.02
    )
    _, counts = np.unique(values, return_counts=True)
    met = np.sum(counts * (counts - 1) / 2)
    assert abs(met - found["expected"]) < 5 * np.sqrt(found["expected"])
    with pytest.warns(DataWarning, match="share their score more often"):
        check_ties(np.round(values[:1000], 2), lambda i: [i], output="score")
    # what is the same to the model may have the same score
    assert check_ties(np.repeat(values[:500], 2), lambda i: [i // 2], output="score")["pairs"] == 0


# -- training mode ---------------------------------------------------------------------------

FOREIGN = """
import torch
from transformers import LlamaForSequenceClassification

class Gate(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(size, track_running_stats={tracked})
        self.drop = torch.nn.Dropout(0.5)
    def train(self, mode=True):
        return super().train({mode})
    def forward(self, x):
        {before}
        return self.drop(self.norm(x))

class GatedForSequenceClassification(LlamaForSequenceClassification):
    def __init__(self, config):
        super().__init__(config)
        self.gate = Gate(1)
        self.post_init()
    def forward(self, **inputs):
        found = super().forward(**inputs)
        found.logits = self.gate(found.logits)
        return found
"""


def save_foreign(folder, mode="mode", before="pass", tracked="True"):
    """A reward model with code of its own."""
    save(folder, make_model())
    name = f"gated_{abs(hash((mode, before, tracked))) % 10**8}"
    code = FOREIGN.format(mode=mode, before=before, tracked=tracked)
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoModelForSequenceClassification": f"{name}.GatedForSequenceClassification",
    }
    (folder / "config.json").write_text(json.dumps(config))
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights |= {f"gate.norm.{part}": torch.ones(1) for part in ("weight", "bias")}
    if tracked == "True":
        weights |= {
            "gate.norm.running_mean": torch.zeros(1),
            "gate.norm.running_var": torch.ones(1),
        }
        weights["gate.norm.num_batches_tracked"] = torch.tensor(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def code_cache(tmp_path, monkeypatch):
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


def test_parts_that_stay_in_training_mode_are_set_back(folder, code_cache, tmp_path):
    stubborn = save_foreign(tmp_path / "stubborn", mode="True")
    pairs = make_pairs(8)
    # without its code it would load as the plain model, and score without its gate
    with pytest.raises(InputError, match=r"brings some and uses .*gate.norm.*trust_remote_code"):
        score(pairs, HFReward(stubborn), progress=False)
    reward = HFReward(stubborn, trust_remote_code=True, batch_size=4)
    scored = score(pairs, reward, progress=False)
    guards = scored.attrs["reward"]["guards"]
    assert guards["training_mode"] == ["gate", "gate.norm", "gate.drop"]
    assert guards["alone"]["reward"]["max_difference"] < 1e-5
    expected = 1 + raw(pairs, HFReward(folder)) / np.sqrt(1 + 1e-5)
    pd.testing.assert_frame_equal(scored[scored.columns[-2:]], expected, atol=1e-5, rtol=0)


def test_training_mode_in_the_forward_pass_is_refused(code_cache, tmp_path):
    sly = save_foreign(tmp_path / "sly", before="self.norm.training = True")
    says = r"evaluation mode; got 'gate.norm' \(BatchNorm1d\).*in training mode"
    with pytest.raises(InputError, match=says):
        score(make_pairs(4), HFReward(sly, trust_remote_code=True), progress=False)


def test_batch_norm_without_statistics_is_refused(code_cache, tmp_path):
    blind = save_foreign(tmp_path / "blind", tracked="False")
    with pytest.raises(InputError, match="batch norm 'gate.norm' without statistics of its own"):
        score(make_pairs(4), HFReward(blind, trust_remote_code=True), progress=False)


def test_weights_that_the_model_does_not_use_warn(tmp_path):
    folder = save_foreign(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(DataWarning, match="does not use: 'gate.norm.bias'.* and 2 more"):
        score(make_pairs(4), HFReward(folder), progress=False)


DOUBLING = """
from transformers import LlamaForSequenceClassification

class DoublingForSequenceClassification(LlamaForSequenceClassification):
    def forward(self, **inputs):
        found = super().forward(**inputs)
        found.logits = 2 * found.logits
        return found
"""


def test_code_that_does_not_run_is_said_and_keeps_its_scores_apart(code_cache, tmp_path):
    """The weights are those of transformers' own class, so that nothing else would show it."""
    model = save(tmp_path / "model")
    (model / "doubling.py").write_text(DOUBLING)
    config = json.loads((model / "config.json").read_text())
    name = "doubling.DoublingForSequenceClassification"
    config["auto_map"] = {"AutoModelForSequenceClassification": name}
    (model / "config.json").write_text(json.dumps(config))
    pairs, options = make_pairs(6), {"cache": tmp_path / "scores", "progress": False}
    with pytest.warns(DataWarning, match="did not run: LlamaForSequenceClassification .*others"):
        native = score(pairs, HFReward(model), **options)
    own = score(pairs, HFReward(model, trust_remote_code=True), **options)
    assert own.attrs["reward"]["from_cache"] == 0
    np.testing.assert_allclose(own["reward_raw_chosen"], 2 * native["reward_raw_chosen"], rtol=1e-5)
    assert HFReward(model, trust_remote_code=True).identity()["own_code"]
    assert "own_code" not in HFReward(model).identity()


def test_code_without_which_nothing_loads(tmp_path):
    folder = save_foreign(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    name = config["auto_map"]["AutoModelForSequenceClassification"].split(".")[0]
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": f"{name}.GatedConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"cannot be loaded without it.*trust_remote_code=True"):
        score(make_pairs(4), HFReward(folder), progress=False)
