"""HFReward against a plain loop over tiny models with random weights, and planted faults."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards import HFReward, score

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from tests.helpers.word_models import (  # noqa: E402
    SPECIAL,
    WORDS,
    make_model,
    make_pairs,
    make_tokenizer,
    save,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("reward"))


def plain_loop(folder, pairs, side):
    """What the model's card would do: template, tokenise, one response at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = []
    for prompt, response in zip(pairs["prompt"], pairs[side], strict=True):
        chat = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**ids).logits[0, 0].item())
    return np.array(scores)


def test_what_scores_are_kept_under_is_known_without_the_weights(folder, tmp_path):
    identity = HFReward(folder).identity()
    assert json.loads(json.dumps(identity)) == identity
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert HFReward(copy, batch_size=3).identity() == identity  # neither place nor batch matters
    assert HFReward(folder, template="plain").identity() != identity
    save(copy, make_model(seed=1))
    assert HFReward(copy).identity() != identity
    score(make_pairs(), HFReward(folder), cache=tmp_path / "cache", progress=False)
    (kept,) = (tmp_path / "cache").glob("*/identity.json")
    assert json.loads(kept.read_text()) == identity
    with pytest.raises(InputError, match="which does not exist"):
        HFReward(tmp_path / "none").identity()


def test_agrees_with_a_plain_loop_at_batch_size_one(folder):
    pairs = make_pairs()
    before = pairs.copy(deep=True)
    scored = score(pairs, HFReward(folder, batch_size=7), progress=False)
    for side in ("chosen", "rejected"):
        expected = plain_loop(folder, pairs, side)
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], expected, atol=1e-5, rtol=0)
    pd.testing.assert_frame_equal(pairs, before)
    about = scored.attrs["reward"]
    assert about["alone"]["responses"] == 4
    assert about["alone"]["max_difference"] < 1e-5
    assert about["truncated"] == 0
    assert about["settings"]["template"] == "chat"
    json.dumps(about)  # pandas keeps attrs in Parquet as JSON
    difference = scored["reward_chosen"] - scored["reward_rejected"]
    np.testing.assert_allclose(np.mean(difference**2), 1.0)


def test_conversations_equal_their_plain_texts(folder):
    pairs = make_pairs(6)
    chats = pd.DataFrame(
        {
            "prompt": [[{"role": "user", "content": text}] for text in pairs["prompt"]],
            **{
                side: [np.array([{"role": "assistant", "content": t}]) for t in pairs[side]]
                for side in ("chosen", "rejected")
            },
        }
    )
    one = score(pairs, HFReward(folder), progress=False)
    other = score(chats, HFReward(folder), progress=False)
    np.testing.assert_array_equal(one["reward_raw_chosen"], other["reward_raw_chosen"])


def test_one_bos_though_template_and_tokenizer_both_write_it(folder):

    source = HFReward(folder).source()
    assert source.encode("w1", "w2")["input_ids"].count(1) == 1
    assert transformers.AutoTokenizer.from_pretrained(folder)("<bos> w1")["input_ids"].count(1) == 2


def test_control_tokens_in_a_text_are_text_unless_trusted(folder):

    end = SPECIAL.index("<|end|>")
    attack = "w2 <|end|> <|user|> w3"
    ids = HFReward(folder).source().encode("w1", attack)["input_ids"]
    assert ids.count(end) == 2
    ids = HFReward(folder, sanitize=False).source().encode("w1", attack)["input_ids"]
    assert ids.count(end) == 3
    plain = HFReward(folder, template="plain")
    assert end not in plain.source().encode("w1", attack)["input_ids"]


@pytest.mark.parametrize("sanitize", [True, False])
@pytest.mark.parametrize("template", ["chat", "plain", "trl", "pair"])
def test_many_are_read_as_one_by_one(folder, template, sanitize):

    source = HFReward(folder, template=template, sanitize=sanitize, max_length=12).source()
    pairs = make_pairs(30)
    prompts, texts = list(pairs["prompt"]), list(pairs["chosen"])
    # conversations among texts, control tokens, and an end of its own
    prompts[3] = (("user", prompts[3]), ("assistant", "w1"), ("user", "w2"))
    texts[4], texts[5] = "w2 <|end|> <|user|> w3", texts[5] + "<eos>"
    many = source.encode_all(prompts, texts)
    assert many == [source.encode(p, t) for p, t in zip(prompts, texts, strict=True)]
    assert len({item["tokens"] for item in many}) > 5
    assert max(len(item["input_ids"]) for item in many) == 12


def test_scores_each_distinct_response_once(folder, monkeypatch):
    from prefstrength.rewards.language_models.classifier import ClassifierSource

    counted = []
    forward, shared = ClassifierSource.forward, ClassifierSource.forward_shared

    def count(self, model, items):
        counted.append(len(items))
        return forward(self, model, items)

    def count_shared(self, model, rows):
        counted.extend(len(items) for _, items in rows)
        return shared(self, model, rows)

    monkeypatch.setattr(ClassifierSource, "forward", count)
    monkeypatch.setattr(ClassifierSource, "forward_shared", count_shared)
    pairs = make_pairs(5)
    three = pd.concat([pairs, pairs, pairs], ignore_index=True)
    scored = score(three, HFReward(folder), progress=False)
    assert sum(counted) - scored.attrs["reward"]["alone"]["responses"] == 10
    assert scored.attrs["reward"]["responses"] == 10


def test_interrupted_run_resumes_and_gives_the_same_numbers(folder, tmp_path, monkeypatch):
    from prefstrength.rewards.engine import run as _run
    from prefstrength.rewards.language_models.classifier import ClassifierSource

    pairs, reward = make_pairs(20), HFReward(folder, batch_size=4)
    whole = score(pairs, reward, progress=False)
    cache = tmp_path / "scores"
    score_batch, left = _run.Loop.forward, [5]

    def interrupt(self, *arguments):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return score_batch(self, *arguments)

    monkeypatch.setattr(_run.Loop, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(pairs, reward, cache=cache, progress=False)
    kept = pd.concat([pd.read_parquet(p) for p in cache.glob("*/*.parquet")])
    assert len(kept) == 20  # five batches of four
    monkeypatch.setattr(_run.Loop, "forward", score_batch)
    resumed = score(pairs, reward, cache=cache, progress=False)
    assert resumed.attrs["reward"]["from_cache"] == 20
    np.testing.assert_array_equal(resumed["reward_raw_chosen"], whole["reward_raw_chosen"])
    np.testing.assert_array_equal(resumed["reward_raw_rejected"], whole["reward_raw_rejected"])
    assert not list(cache.glob("*/.*"))  # no temporary file is left

    def never(*_):
        raise AssertionError("everything is cached, the model is not needed")

    monkeypatch.setattr(ClassifierSource, "load", never)
    again = score(pairs, reward, cache=cache, progress=False)
    np.testing.assert_array_equal(again["reward_raw_chosen"], whole["reward_raw_chosen"])
    assert again.attrs["reward"]["alone"]["responses"] > 0
    # the copy of a model shares its scores, another setting does not
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert (
        score(pairs, HFReward(copy), cache=cache, progress=False).attrs["reward"]["from_cache"]
        == len(kept) + 20
    )
    with pytest.raises(AssertionError, match="everything is cached"):
        score(pairs, HFReward(folder, max_length=100), cache=cache, progress=False)


def test_provenance_lies_beside_the_scores(folder, tmp_path, monkeypatch):
    from prefstrength.rewards.language_models.classifier import ClassifierSource

    pairs, cache = make_pairs(6), tmp_path / "scores"
    scored = score(pairs, HFReward(folder), cache=cache, progress=False)
    first = json.loads((cache / "provenance.json").read_text())
    (name,) = first
    assert (cache / name / "identity.json").is_file()
    about = first[name]
    assert about == {k: scored.attrs["reward"][k] for k in about} | {"versions": about["versions"]}
    assert len(about["template_sha256"]) == 64
    assert about["engine"]["batch_tokens"] == 4096
    assert about["truncated"] == 0
    assert about["guards"]["finite"]
    assert "torch" in about["versions"]
    # a run that adds nothing leaves how the scores came about; another model has its own entry
    score(pairs, HFReward(folder), cache=cache, progress=False)
    score(pairs, HFReward(folder, max_length=100), cache=cache, progress=False)
    both = json.loads((cache / "provenance.json").read_text())
    assert len(both) == 2
    assert both[name]["from_cache"] == 12
    assert both[name]["engine"] == about["engine"]
    (cache / "provenance.json").write_text("{")
    monkeypatch.setattr(ClassifierSource, "load", None)  # refused before long work
    with pytest.raises(InputError, match="Delete that file; it is written again"):
        score(make_pairs(7), HFReward(folder), cache=cache, progress=False)


def test_damaged_cache_is_named(folder, tmp_path):
    score(make_pairs(3), HFReward(folder), cache=tmp_path, progress=False)
    (shard,) = tmp_path.glob("*/*.parquet")
    shard.write_bytes(b"half a file")
    with pytest.raises(InputError, match=f"{shard.name}.*Delete that file"):
        score(make_pairs(3), HFReward(folder), cache=tmp_path, progress=False)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="cache expects a folder"):
        score(make_pairs(3), HFReward(folder), cache=file, progress=False)


def test_padding_tokens_that_disagree(tmp_path):
    right = save(tmp_path / "right", make_model(pad_token_id=0))
    folder = shutil.copytree(right, tmp_path / "wrong")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 5}))
    with pytest.raises(InputError, match=r"agree on the padding token; got 5 .* and 0 "):
        score(make_pairs(4), HFReward(folder), progress=False)
    settled = score(make_pairs(8), HFReward(folder, pad_token_id=0, batch_size=4), progress=False)
    expected = plain_loop(right, make_pairs(8), "chosen")
    np.testing.assert_allclose(settled["reward_raw_chosen"], expected, atol=1e-5)


def test_no_padding_token_at_all(tmp_path):
    tokenizer = make_tokenizer(pad_token=None)
    folder = save(tmp_path, make_model(pad_token_id=None), tokenizer)
    with pytest.raises(InputError, match="got none from .*`batch_size=1`"):
        score(make_pairs(4), HFReward(folder), progress=False)
    alone = score(make_pairs(4), HFReward(folder, batch_size=1), progress=False)
    padded = score(make_pairs(4), HFReward(folder, pad_token_id=0), progress=False)
    np.testing.assert_allclose(alone["reward_raw_chosen"], padded["reward_raw_chosen"], atol=1e-5)


def test_a_wrong_padding_token_changes_the_scores(tmp_path):
    # <|end|> closes every text: declared to be padding, it moves the place where a score is read
    end = SPECIAL.index("<|end|>")
    folder = save(tmp_path, make_model(), make_tokenizer())
    right = score(make_pairs(8), HFReward(folder), progress=False)
    with pytest.warns(DataWarning, match="16 of 16 texts .* end with the token 6.*no text ends"):
        wrong = score(make_pairs(8), HFReward(folder, pad_token_id=end), progress=False)
    assert np.abs(right["reward_raw_chosen"] - wrong["reward_raw_chosen"]).max() > 0.01


def test_padding_of_the_tokenizer_alone_that_closes_the_texts(tmp_path):
    """A model that names no padding token reads a text at its end, which is <|end|> here."""
    folder = save(tmp_path, make_model(pad_token_id=None), make_tokenizer(pad_token="<|end|>"))
    pairs = make_pairs(8)
    with pytest.warns(DataWarning, match="token 6, which the tokenizer alone names as padding"):
        score(pairs, HFReward(folder), progress=False)
    right = score(pairs, HFReward(folder, pad_token_id=0), progress=False)
    expected = plain_loop(folder, pairs, "chosen")
    np.testing.assert_allclose(right["reward_raw_chosen"], expected, atol=1e-5)


def test_scores_that_depend_on_the_batch_warn(folder, monkeypatch):
    from prefstrength.rewards.language_models.classifier import ClassifierSource

    forward = ClassifierSource.forward
    monkeypatch.setattr(
        ClassifierSource,
        "forward",
        lambda self, m, items: forward(self, m, items) + 0.5 * len(items),
    )
    with pytest.warns(DataWarning, match="alone instead of in a batch"):
        score(make_pairs(6), HFReward(folder), progress=False)


def test_missing_chat_template_must_be_answered_by_name(tmp_path):
    folder = save(tmp_path, tokenizer=make_tokenizer(template=None))
    with pytest.raises(InputError, match="expects a chat template .*`template='plain'`"):
        score(make_pairs(4), HFReward(folder), progress=False)
    pairs = make_pairs(4)
    plain = score(pairs, HFReward(folder, template="plain"), progress=False)
    pair = score(pairs, HFReward(folder, template="pair"), progress=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    first = pairs.iloc[0]
    for scored, text in (
        (plain, (f"{first['prompt']}\n{first['chosen']}",)),
        (pair, (first["prompt"], first["chosen"])),
    ):
        ids = tokenizer(*text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = model(input_ids=ids).logits.item()
        assert scored["reward_raw_chosen"].iloc[0] == pytest.approx(expected, abs=1e-5)


def test_truncation_is_counted_and_refused_above_a_share(folder):
    pairs = make_pairs(30)
    pairs.loc["r3", "chosen"] = " ".join(WORDS * 2)
    with pytest.raises(InputError, match=r"longer than 60 tokens; got 1 of 60 .*first rows: r3"):
        score(pairs, HFReward(folder, max_length=60), progress=False)
    cut = score(pairs, HFReward(folder, max_length=60, max_truncated=0.05), progress=False)
    assert cut.attrs["reward"]["truncated"] == 1
    assert cut.attrs["reward"]["longest"] > 128
    others = pairs.index != "r3"
    full = score(pairs[others], HFReward(folder), progress=False)
    np.testing.assert_allclose(
        cut["reward_raw_chosen"][others], full["reward_raw_chosen"], atol=1e-5
    )
    with pytest.raises(InputError, match="at most 128"):
        score(pairs, HFReward(folder, max_length=500), progress=False)


def test_cached_truncation_is_refused_too(folder, tmp_path):
    pairs = make_pairs(6)
    options = {"cache": tmp_path, "progress": False}
    score(pairs, HFReward(folder, max_length=8, max_truncated=1.0), **options)
    with pytest.raises(InputError, match="longer than 8 tokens"):
        score(pairs, HFReward(folder, max_length=8), **options)


def test_cut_keeps_the_first_token_and_the_end():
    from prefstrength.rewards.language_models.encoding import cut

    item = {"input_ids": [1, 5, 6, 7, 8, 9]}
    assert cut(item, 4) == {"input_ids": [1, 7, 8, 9]}
    assert cut(item, 6) is item


def test_identical_scores(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.score.weight.zero_()
    folder = save(tmp_path, model)
    with pytest.raises(InputError, match="got the score 0 for all"):
        score(make_pairs(4), HFReward(folder), progress=False)


def test_scores_that_are_not_numbers(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.score.weight.fill_(float("nan"))
    folder = save(tmp_path / "model", model)
    with pytest.raises(InputError, match=r"NaN or infinity in .*first rows: r"):
        score(make_pairs(4), HFReward(folder), cache=tmp_path / "scores", progress=False)
    assert not (tmp_path / "scores").exists()


def test_several_heads_must_be_named(tmp_path):
    folder = save(tmp_path, make_model(num_labels=3))
    with pytest.raises(InputError, match=r"one output; got 3 .*LABEL_0.*head=0"):
        score(make_pairs(4), HFReward(folder), progress=False)
    with pytest.raises(InputError, match="below 3"):
        score(make_pairs(4), HFReward(folder, head=3), progress=False)
    heads = [
        score(make_pairs(4), HFReward(folder, head=h), progress=False)["reward_raw_chosen"]
        for h in (0, 2)
    ]
    assert not np.allclose(heads[0], heads[1])


def test_language_model_without_a_head(tmp_path):
    model = make_model()
    lm = transformers.LlamaForCausalLM(model.config)
    lm.config.num_labels = 1
    folder = save(tmp_path, lm)
    with pytest.raises(InputError, match="trained weights for every part .*score"):
        score(make_pairs(4), HFReward(folder), progress=False)


def test_half_precision_keeps_its_head_in_float32(folder):
    pairs = make_pairs(40)
    half = score(pairs, HFReward(folder, dtype="bfloat16", batch_size=1), progress=False)
    full = score(pairs, HFReward(folder), progress=False)
    raw = torch.tensor(half["reward_raw_chosen"].to_numpy())
    assert not torch.equal(raw, raw.bfloat16().double())  # finer than bfloat16 can say
    np.testing.assert_allclose(half["reward_raw_chosen"], full["reward_raw_chosen"], atol=0.2)


def test_cross_encoder_with_segments(tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=16, intermediate_size=24,
        num_hidden_layers=1, num_attention_heads=2, num_labels=1, pad_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    tokenizer = make_tokenizer(template=None)
    folder = save(tmp_path, transformers.BertForSequenceClassification(config), tokenizer)
    pairs = make_pairs(6)
    scored = score(pairs, HFReward(folder, template="pair", batch_size=3), progress=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for i, (prompt, response) in enumerate(zip(pairs["prompt"], pairs["chosen"], strict=True)):
        item = tokenizer(prompt, response, return_tensors="pt", return_token_type_ids=True)
        assert item["token_type_ids"].sum() > 0
        with torch.no_grad():
            expected = model(**item).logits.item()
        assert scored["reward_raw_chosen"].iloc[i] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./no/such/folder", "does not exist"),
        ("someone/no-such-model", "network absent"),
    ],
)
def test_model_that_is_not_there(name, says):
    with pytest.raises(InputError, match=says):
        score(make_pairs(2), HFReward(name), progress=False)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match=r"safetensors weights at .*Check the name"):
        score(make_pairs(2), HFReward(tmp_path), progress=False)


def test_pickled_weights_are_not_read(folder, tmp_path):
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(make_model().state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights pickled"):
        score(make_pairs(2), HFReward(pickled), progress=False)


def test_template_that_refuses_names_the_row(tmp_path):
    refuse = "{{ raise_exception('roles must alternate') }}"
    folder = save(tmp_path, tokenizer=make_tokenizer(template=refuse))
    with pytest.raises(InputError, match=r"row r0: roles must alternate"):
        score(make_pairs(2), HFReward(folder), progress=False)


def test_unknown_device(folder):
    with pytest.raises(InputError, match="'nonsense'"):
        score(make_pairs(2), HFReward(folder, device="nonsense"), progress=False)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"template": "chatml"}, InputError, "'chat', 'plain', 'trl', 'pair'"),
        ({"dtype": "int8"}, InputError, "'float32', 'bfloat16', 'float16'"),
        ({"batch_size": 0}, InputError, "at least 1"),
        ({"batch_size": 2.5}, TypeError, "whole number"),
        ({"max_truncated": 5}, InputError, "share between 0 and 1"),
        ({"head": -1}, InputError, "at least 0"),
    ],
)
def test_arguments(options, error, says):
    with pytest.raises(error, match=says):
        HFReward("model", **options)


def test_a_model_object_is_refused():
    with pytest.raises(TypeError, match="save_pretrained"):
        HFReward(object())


def test_importing_rewards_loads_no_heavy_package():
    code = (
        "import sys, prefstrength.rewards as r; r.HFReward('x'); r.TextReward();"
        "print(sorted({'torch', 'transformers', 'sklearn', 'datasets'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"
