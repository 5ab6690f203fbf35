"""Tool calls, tools and the template's arguments reach a model that scores, as in training."""

import json

import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import prefstrength as ps  # noqa: E402
from prefstrength.data.messages import options_of, read_message, with_options  # noqa: E402
from prefstrength.rewards import HFReward, ImplicitReward  # noqa: E402
from prefstrength.rewards.engine.responses import (  # noqa: E402
    content_key,
    distinct_responses,
    messages,
)
from tests.helpers.word_models import make_causal, make_tokenizer, save  # noqa: E402

TOOLS = (
    "{{ bos_token }}{% if tools %}{{ tools[0]['function']['name'] }} {% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}w9 {% endif %}"
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }} {{ m['content'] or '' }} "
    "{% if m['tool_calls'] %}{{ m['tool_calls'][0]['function']['name'] }} {% endif %}"
    "<|end|>{% endfor %}"
)


def call(name: str) -> list[dict[str, object]]:
    return [{"type": "function", "function": {"name": name, "arguments": {"b": 1, "a": 2}}}]


def pairs(content: str | None = "") -> pd.DataFrame:
    def answer(name: str) -> list[dict[str, object]]:
        return [{"role": "assistant", "content": content, "tool_calls": call(name)}]

    return pd.DataFrame(
        {
            "prompt": [[{"role": "user", "content": f"w{i}"}] for i in range(4)],
            "chosen": [answer("w7"), answer("w8"), answer("w9"), answer("w10")],
            "rejected": [answer("w11"), answer("w12"), answer("w13"), answer("w14")],
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("tools"), tokenizer=make_tokenizer(TOOLS))


@pytest.mark.parametrize("content", ["", None])
def test_two_calls_are_two_responses(model, content):
    scored = ps.score(pairs(content), HFReward(model, template="chat"), progress=False)
    assert (scored["reward_chosen"] != scored["reward_rejected"]).all()
    ps.Choices.from_pairs(scored)  # which refuses identical responses


@pytest.mark.parametrize(
    "columns",
    [
        {"tools": [json.dumps([{"function": {"name": f"w{20 + i}"}}]) for i in range(4)]},
        {"tools": [[{"function": {"name": f"w{20 + i}"}}] for i in range(4)]},
        {"chat_template_kwargs": [{"enable_thinking": False}, None, {}, {"enable_thinking": True}]},
    ],
)
def test_the_template_is_given_what_training_gives_it(model, columns):
    reward = HFReward(model, template="chat")
    frame = pairs().assign(**columns)
    with_them = reward.score_pairs(frame, progress=False).chosen
    plain = reward.score_pairs(pairs(), progress=False).chosen
    changes = [True] * 4 if "tools" in columns else [True, False, False, False]
    assert (with_them != plain).tolist() == changes


def test_the_implicit_reward_reads_them_too(tmp_path):
    tokenizer = make_tokenizer(TOOLS)
    policy = save(tmp_path / "policy", make_causal(1), tokenizer)
    reference = save(tmp_path / "reference", make_causal(2), tokenizer)
    reward = ImplicitReward(policy, reference)
    tools = [json.dumps([{"function": {"name": f"w{20 + i}"}}]) for i in range(4)]
    frame = pairs().assign(tools=tools)
    plain, told = (reward.score_pairs(each, progress=False) for each in (pairs(), frame))
    assert (plain.chosen != plain.rejected).all()
    assert (plain.chosen != told.chosen).all()
    # As TRL tokenises for training.
    source = reward.source()
    read = distinct_responses(frame)
    want = tokenizer.apply_chat_template(
        frame["prompt"][0] + frame["chosen"][0], tools=json.loads(tools[0]), tokenize=True,
        return_dict=True,
    )["input_ids"]  # fmt: skip
    assert list(source.encode(read.prompts[0], read.texts[0])["input_ids"]) == list(want)


def test_messages_with_more_are_messages_of_their_own():
    plain = ({"role": "user", "content": "hello"},)
    named = ({"role": "user", "content": "hello", "name": "ann", "seen": True},)
    chats = [tuple(map(read_message, chat)) for chat in (plain, named)]
    assert chats[0] == (("user", "hello"),)
    chats.append(with_options(chats[1], {"enable_thinking": False}))
    assert [options_of(chat) for chat in chats] == [{}, {}, {"enable_thinking": False}]
    assert messages(chats[2], "yes")[0] == {"role": "user", "content": "hello", "name": "ann"}
    assert len({content_key(each, "yes") for each in chats}) == 3
    assert content_key(chats[0], "yes") == '[[["user","hello"]],"yes"]'  # as it always was
    places, _ = pd.factorize(pd.Series([*chats, chats[0]], dtype=object))
    assert places.tolist() == [0, 1, 2, 0]


def test_control_tokens_inside_a_text_are_read_as_in_training(tmp_path):
    from datasets import Dataset

    from prefstrength.mixdpo.preparation import prepared_pairs

    tokenizer = make_tokenizer(TOOLS)
    policy = save(tmp_path / "policy", make_causal(1), tokenizer)
    reference = save(tmp_path / "reference", make_causal(2), tokenizer)
    texts = pd.DataFrame({"prompt": ["w1 w2 "], "chosen": ["w3 <|end|> w4"], "rejected": ["w5 w6"]})
    reward = ImplicitReward(policy, reference)
    with pytest.warns(ps.DataWarning, match=r"1 of 2 responses .* control tokens .* as such"):
        reward.score_pairs(texts, progress=False)
    trained = prepared_pairs(Dataset.from_pandas(texts), tokenizer, 64, "keep_start")[0]
    read = distinct_responses(texts)
    ids = reward.source().encode(read.prompts[0], read.texts[0])["input_ids"]
    assert list(ids) == trained["prompt_ids"] + trained["chosen_ids"]
    other = ImplicitReward(policy, reference, sanitize=True)
    assert list(other.source().encode(read.prompts[0], read.texts[0])["input_ids"]) != list(ids)
