"""The scoring engine: batches, the store, memory that does not suffice, shared beginnings."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength.errors import InputError
from prefstrength.rewards.engine import cache as _cache
from prefstrength.rewards.engine import run as _run
from prefstrength.rewards.engine import windows
from prefstrength.rewards.engine.batches import Row, plan, shared_rows, single_rows
from prefstrength.rewards.engine.cache import ScoreCache, keep_provenance, load_provenance
from prefstrength.rewards.engine.responses import distinct_responses
from prefstrength.rewards.engine.run import run
from prefstrength.rewards.engine.team import Team, divided, launched

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


class Fake:
    """A model whose score is a sum over the letters; it notes what it is asked for."""

    identity = {"reward": "fake"}  # noqa: RUF012
    outputs = ("reward",)
    pad_token_id = 0
    max_length = None
    device = "cpu"

    def __init__(self, memory=None, error=None):
        self.memory = memory
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.batches: list[list[str]] = []
        self.encoded = self.failed = 0

    def encode(self, prompt, response):
        self.encoded += 1
        ids = [ord(letter) for letter in f"{prompt} {response}"]
        return {"input_ids": ids, "tokens": len(ids)}

    def encode_all(self, prompts, responses):
        return list(map(self.encode, prompts, responses))

    def load(self):
        return None

    def forward(self, model, items):
        width = max(len(item["input_ids"]) for item in items)
        if self.memory is not None and width * len(items) > self.memory:
            self.failed += 1
            raise self.error
        if len(items) > 1:
            self.batches.append(["".join(map(chr, item["input_ids"])) for item in items])
        return np.array([[float(np.sum(item["input_ids"]))] for item in items])


def make_pairs(n=40, seed=0, longest=60):
    rng = np.random.default_rng(seed)

    def text():
        return "".join(rng.choice(list("abcdefgh"), size=rng.integers(3, longest)))

    return pd.DataFrame(
        {name: [text() for _ in range(n)] for name in ("prompt", "chosen", "rejected")},
        index=[f"r{i}" for i in range(n)],
    )


def score(source, pairs, cache=None, **options):
    settings = {"max_truncated": 0.0, "progress": False, "batch_tokens": 256, **options}
    return run(source, distinct_responses(pairs), cache=cache, **settings)


def expected(pairs):
    responses = distinct_responses(pairs)
    texts = zip(responses.prompts, responses.texts, strict=True)
    return [[float(sum(map(ord, f"{prompt} {text}")))] for prompt, text in texts]


# -- batches -------------------------------------------------------------------------------------


def test_batches_keep_to_the_tokens_and_hold_every_row_once():
    rng = np.random.default_rng(0)
    rows = [Row((i,), 0, int(width)) for i, width in enumerate(rng.integers(1, 300, size=500))]
    batches = plan(rows, most_tokens=1000, most=20)
    for batch in batches:
        assert len(batch) * batch[0].width <= 1000
        assert len(batch) <= 20
        assert batch[0].width == max(row.width for row in batch)
    assert sorted(row.responses[0] for batch in batches for row in batch) == list(range(500))
    # a batch is closed only where one more row would be too much
    for batch, after in zip(batches, batches[1:], strict=False):
        assert (len(batch) + 1) * batch[0].width > 1000 or len(batch) == 20
        assert after[0].width <= batch[-1].width
    padded = sum(len(batch) * batch[0].width for batch in batches)
    assert padded < 1.03 * sum(row.width for row in rows)


def test_a_row_wider_than_the_budget_stands_alone():
    batches = plan([Row((0,), 0, 50), Row((1,), 0, 3), Row((2,), 0, 4)], most_tokens=10)
    assert [[row.width for row in batch] for batch in batches] == [[50], [4, 3]]


def test_rows_share_what_their_responses_begin_with():
    rng = np.random.default_rng(1)
    tokens, groups = [], []
    for group in range(60):
        prompt = rng.integers(0, 9, size=rng.integers(1, 80))
        for _ in range(rng.integers(1, 5)):
            tokens.append(np.append(prompt, rng.integers(0, 9, size=rng.integers(1, 20))))
            groups.append(group)
    tokens.append(tokens[0][:3].copy())  # begins the others, and has no end of its own
    groups.append(groups[0])
    rows = shared_rows(range(len(tokens)), tokens, groups)
    assert sorted(i for row in rows for i in row.responses) == list(range(len(tokens)))
    assert any(len(row.responses) > 2 for row in rows)
    for row in rows:
        beginning = tokens[row.responses[0]][: row.shared]
        ends = [len(tokens[i]) - row.shared for i in row.responses]
        assert row.width == row.shared + sum(ends)
        assert min(ends) >= 1
        assert len({groups[i] for i in row.responses}) == 1
        for i in row.responses:
            np.testing.assert_array_equal(tokens[i][: row.shared], beginning)
        if len(row.responses) > 1:
            assert row.width <= 0.875 * sum(len(tokens[i]) for i in row.responses)


def test_rows_do_not_grow_without_bound():
    tokens = [np.append(np.zeros(400, int), np.full(40, i)) for i in range(100)]
    rows = shared_rows(range(100), tokens, [0] * 100)
    assert max(row.width for row in rows) <= 1024
    assert len(rows) == 7  # 15 responses in each: 400 + 15 * 40 = 1000 tokens
    assert max(len(row.responses) for row in shared_rows(range(100), tokens, [0] * 100, 4)) == 4


# -- the run -------------------------------------------------------------------------------------


def test_every_response_is_encoded_once_and_scored_once():
    pairs = pd.concat([make_pairs(30)] * 3, ignore_index=True)
    fake = Fake()
    found = score(fake, pairs)
    np.testing.assert_array_equal(found.values, expected(pairs))
    texts = [text for batch in fake.batches for text in batch]
    assert fake.encoded == 60
    assert len(texts) == len(set(texts)) <= 60
    assert found.engine["text_tokens"] == found.tokens.sum()
    assert found.engine["batches"] == len(fake.batches) + 60 - len(texts)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ..."),
        MemoryError(),
    ],
)
def test_batches_shrink_when_memory_does_not_suffice(error):
    pairs = make_pairs(200)
    fake = Fake(memory=300, error=error)
    found = score(fake, pairs, batch_tokens=4096)
    np.testing.assert_array_equal(found.values, expected(pairs))
    assert found.engine["batch_tokens"] <= 300
    assert 3 <= fake.failed <= 5  # 4096, 2048, ... and never again


def test_one_response_too_long_for_the_memory_is_named():
    pairs = make_pairs(10)
    pairs.loc["r7", "rejected"] = "x" * 500
    with pytest.raises(InputError, match=r"memory for one response .* \(row r7\)"):
        score(Fake(memory=300), pairs)


def test_another_error_is_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes do not match"):
        score(Fake(memory=300, error=RuntimeError("shapes do not match")), make_pairs(40), None,
              batch_tokens=4096)  # fmt: skip


def test_another_data_set_scores_only_what_is_new(tmp_path):
    first, more = make_pairs(40), make_pairs(50, seed=9)
    score(Fake(), first, tmp_path)
    fake = Fake()
    both = pd.concat([first.iloc[::2], more])
    found = score(fake, both, tmp_path)
    np.testing.assert_array_equal(found.values, expected(both))
    assert found.from_cache == 40
    new = set(expected_texts(more))
    assert all(text in new for batch in fake.batches for text in batch)
    # what is left of batches known in part is put together
    assert found.engine["computed_tokens"] < 1.1 * found.engine["text_tokens"]
    assert found.engine["batches"] <= 1.5 * found.engine["text_tokens"] / 256
    again = Fake()
    assert score(again, both, tmp_path).from_cache == 140
    assert again.encoded == 0


def test_few_new_responses_need_no_sample_of_their_own(tmp_path):
    """What was scored alone before says what padding does; a data set of few is spared it."""
    first = make_pairs(40)
    assert score(Fake(), first, tmp_path).alone["reward"]["responses"] == 4
    middle = pd.DataFrame({"prompt": ["a" * 30], "chosen": ["b" * 30], "rejected": ["c" * 30]})
    found = score(Fake(), pd.concat([first, middle]), tmp_path)
    assert found.from_cache == 80
    assert found.alone["reward"]["responses"] == 4


def expected_texts(pairs):
    responses = distinct_responses(pairs)
    return [f"{p} {t}" for p, t in zip(responses.prompts, responses.texts, strict=True)]


def test_an_interrupted_run_leaves_every_batch_but_the_last(tmp_path):
    class Interrupted(Fake):
        def forward(self, model, items):
            if len(self.batches) == 7:
                raise KeyboardInterrupt
            return super().forward(model, items)

    fake = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        score(fake, make_pairs(40), tmp_path)
    rest = Fake()
    found = score(rest, make_pairs(40), tmp_path)
    assert found.from_cache == sum(map(len, fake.batches))
    whole = Fake()
    score(whole, make_pairs(40))
    assert fake.batches + rest.batches == whole.batches


# -- windows of responses that are tokenised ahead ------------------------------------------------


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 16)


def test_windows_hold_every_response_once_longest_first():
    rng = np.random.default_rng(0)
    groups, letters = rng.integers(0, 3000, 9000).tolist(), rng.integers(1, 500, 9000).tolist()
    found = windows.in_windows(groups, letters)
    assert sorted(i for window in found for i in window) == list(range(9000))
    assert len(found) == 5
    assert all(len(window) <= windows.WINDOW for window in found)
    of_group = {}
    for number, window in enumerate(found):
        for i in window:
            assert of_group.setdefault(groups[i], number) == number
    longest = [[max(letters[i] for i in window)] for window in found]
    assert longest == sorted(longest, reverse=True)


def test_windows_change_no_score_and_are_resumed(tmp_path, small_windows):
    pairs = make_pairs(60)
    whole = Fake()
    np.testing.assert_array_equal(score(whole, pairs).values, expected(pairs))
    assert whole.encoded == 120

    class Interrupted(Fake):
        def forward(self, model, items):
            if len(self.batches) == 20:
                raise KeyboardInterrupt
            return super().forward(model, items)

    first, rest = Interrupted(), Fake()
    with pytest.raises(KeyboardInterrupt):
        score(first, pairs, tmp_path)
    found = score(rest, pairs, tmp_path)
    np.testing.assert_array_equal(found.values, expected(pairs))
    assert first.batches + rest.batches == whole.batches
    assert rest.encoded < 80  # windows that are done are not read again


def test_windows_are_tokenised_while_the_device_works(small_windows):
    third = threading.Event()

    class Ahead(Fake):
        device, windows, met = "cuda", 0, True

        def encode_all(self, prompts, responses):
            self.windows += 1
            if self.windows == 3:
                third.set()
            return super().encode_all(prompts, responses)

        def forward(self, model, items):
            # the first window is worked at until the third one has been read
            self.met = self.met and third.wait(20)
            return super().forward(model, items)

    fake = Ahead()
    score(fake, make_pairs(60))
    assert fake.met


def test_what_must_be_cut_is_refused_before_the_model_is_loaded(small_windows):
    class Short(Fake):
        max_length = 60

        def load(self):
            raise AssertionError("not needed")

    pairs = make_pairs(100)
    pairs.loc[["r3", "r70", "r90"], "chosen"] = "x" * 100
    fake = Short()
    with pytest.raises(InputError, match=r"got \d+ of 200 responses \(first rows: "):
        score(fake, pairs)
    assert fake.encoded <= 16 * 3  # and before all else is read


def test_roles_that_a_template_refuses_are_named_before_the_model_is_loaded(small_windows):
    class Strict(Fake):
        def encode(self, prompt, response):
            if not isinstance(prompt, str) and [role for role, _ in prompt] == ["user", "user"]:
                raise ValueError("roles must alternate")
            return super().encode(prompt, response)

        def load(self):
            raise AssertionError("not needed")

    pairs, fake = make_pairs(100).astype(object), Strict()
    for row, said in (("r60", ["a", "b"]), ("r80", ["c"]), ("r90", ["d", "e"])):
        pairs.at[row, "prompt"] = [{"role": "user", "content": text} for text in said]
        pairs.at[row, "chosen"] = pairs.at[row, "rejected"] = "x"
    with pytest.raises(InputError, match="ValueError in row r60: roles must alternate"):
        score(fake, pairs)
    assert fake.encoded < 10


def test_memory_that_did_not_suffice_is_remembered_in_later_windows(small_windows):
    pairs, fake = make_pairs(100), Fake(memory=300)
    found = score(fake, pairs, batch_tokens=2048)
    np.testing.assert_array_equal(found.values, expected(pairs))
    assert found.engine["batch_tokens"] <= 300
    assert 2 <= fake.failed <= 5


def test_progress_ends_at_all_tokens(small_windows, capsys):
    found = score(Fake(), make_pairs(60), progress=True)
    bar = capsys.readouterr().err.split("\r")[-1]
    total = found.engine["text_tokens"]
    assert f"{total / 1000:.2f}k/{total / 1000:.2f}k" in bar


def _under_kills(tmp_path, kills, *what):
    script = Path(__file__).parents[1] / "helpers" / "scoring_under_kills.py"
    root = str(script.parents[2])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "kills"), str(kills), *what],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        timeout=500,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _killed_runs(tmp_path, kills):
    found = _under_kills(tmp_path, kills)
    assert found["killed"] == kills
    assert found["in the midst of scoring"] > kills / 3
    assert found["equal"]
    assert found["tokens"]
    assert found["alone"]
    assert found["forwarded"] == found["responses"] == found["stored"] == found["distinct"]
    assert found["from_cache"] > 0
    assert found["files"] == 1
    # at most one batch of four again for every kill
    assert found["again"] <= 4 * found["in the midst of scoring"]


def test_killed_runs_lose_at_most_a_batch_each(tmp_path):
    _killed_runs(tmp_path, 5)


@pytest.mark.slow
def test_fifty_killed_runs_lose_at_most_a_batch_each(tmp_path):
    _killed_runs(tmp_path, 50)


@pytest.mark.slow
def test_files_of_killed_runs_are_those_of_an_undisturbed_one(tmp_path):
    found = _under_kills(tmp_path, 20, "parquet")
    assert found["killed"] >= 20
    assert set(found["equal"]) == set(found["about"]) == {True}
    assert found["forwarded"] == found["responses"]
    # at most one batch of four again for every kill
    assert found["again"] <= 4 * found["scoring"]


# -- the store -----------------------------------------------------------------------------------


def batch_of(*numbers, value=0.0):
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in numbers],
            "tokens": 1,
            "truncated": False,
            "reward": [n + value for n in numbers],
            "reward_alone": np.nan,
        }
    )


def test_small_files_become_large_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "BATCHES", 8)
    monkeypatch.setattr(_cache, "SHARD", 30)
    with ScoreCache(tmp_path, {"a": 1}) as store:
        most = 0
        for start in range(0, 400, 2):
            store.add(batch_of(start, start + 1))
            most = max(most, len(list(store.folder.glob("*.parquet"))))
    files = list(store.folder.glob("*.parquet"))
    assert len(files) <= 400 / 30 + 1
    assert most <= 400 / 30 + 9
    rows = [len(pd.read_parquet(file)) for file in files]
    assert sum(rows) == 400
    assert sorted(rows)[1] >= 30
    found = store.find([f"k{n}" for n in range(399, -1, -1)] + ["unknown"])
    assert found["reward"].to_dict() == {f"k{n}": float(n) for n in range(400)}
    assert store.find(["unknown"]).empty


def test_provenance_of_another_process_is_not_lost(tmp_path, monkeypatch):
    def about(name, batches):
        return {"name": name, "kept_in": name, "engine": {"batches": batches} if batches else {}}

    def gathered():
        return json.loads((tmp_path / "provenance.json").read_text())

    write, others = _cache.atomic_write_text, [about("second", 2), about("third", 3)]

    def interrupted(path, text):
        if others and path.parent == tmp_path:  # another process begins and ends at this moment
            keep_provenance(tmp_path, [others.pop()])
        return write(path, text)

    monkeypatch.setattr(_cache, "atomic_write_text", interrupted)
    keep_provenance(tmp_path, [about("first", 1)])
    assert others == []
    expected = {name: about(name, n) for n, name in enumerate(("first", "second", "third"), 1)}
    assert gathered() == load_provenance(tmp_path) == expected
    # what a run that added nothing says of the engine is what was known before
    keep_provenance(tmp_path, [about("second", 0), {"name": "keeps nothing"}])
    assert gathered() == expected
    (tmp_path / "provenance.json").unlink()
    assert load_provenance(tmp_path) == expected
    (tmp_path / "first" / "provenance.json").write_text("[1]")
    with pytest.raises(InputError, match=r"first.provenance\.json.*Delete that file"):
        load_provenance(tmp_path)


def test_what_killed_runs_left_is_merged_and_read_once(tmp_path):
    store = ScoreCache(tmp_path, {"a": 1})
    for numbers in ((1, 2), (3, 4), (2, 3), (1, 2, 3, 4)):
        store.add(batch_of(*numbers))
    temporary = store.folder / ".abc.parquet.xyz"
    temporary.write_bytes(b"half")
    young = store.folder / ".def.parquet.xyz"
    young.write_bytes(b"of a process that lives")
    os.utime(temporary, (time.time() - 7200,) * 2)
    assert len(store.find(["k1", "k2", "k3", "k4"])) == 4
    with store:
        pass
    (file,) = store.folder.glob("*.parquet")
    assert sorted(pd.read_parquet(file)["key"]) == ["k1", "k2", "k3", "k4"]
    assert not temporary.exists()
    assert young.exists()


def test_a_file_that_another_process_merges_meanwhile_is_not_lost(tmp_path, monkeypatch):
    store, other = ScoreCache(tmp_path, {"a": 1}), ScoreCache(tmp_path, {"a": 1})
    store.add(batch_of(1, 2))
    store.add(batch_of(3))
    read, merged = ScoreCache.read_file, []

    def merge_first(self, path):
        if self is store and not merged:
            merged.append(other.merge())
        return read(self, path)

    monkeypatch.setattr(ScoreCache, "read_file", merge_first)
    assert sorted(store.find(["k1", "k2", "k3"]).index) == ["k1", "k2", "k3"]
    assert merged


@pytest.mark.parametrize("seed", range(12))
def test_two_processes_that_merge_at_once_do_not_delete_each_others_file(
    tmp_path, monkeypatch, seed
):
    """One is held up between two deletions, while the other merges what is there."""
    rng = np.random.default_rng(seed)
    everything = rng.permutation(40)
    one, other = ScoreCache(tmp_path, {"a": 1}), ScoreCache(tmp_path, {"a": 1})
    one.add(batch_of(*everything[20:25]))
    one.add(batch_of(*everything))
    unlink, deleted = Path.unlink, []

    def held_up(path, missing_ok=False):
        deleted.append(path)
        if len(deleted) == 2:
            other.merge()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held_up)
    one.merge()
    keys = [f"k{n}" for n in range(40)]
    assert sorted(one.find(keys).index) == sorted(keys)


# -- shared beginnings ---------------------------------------------------------------------------

FAMILIES = {
    "llama": (transformers.LlamaConfig, {}),
    "llama3": (
        transformers.LlamaConfig,
        {
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            }
        },
    ),
    "qwen2": (transformers.Qwen2Config, {}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 8}),
    "mistral": (transformers.MistralConfig, {"sliding_window": None}),
    "gemma": (transformers.GemmaConfig, {"head_dim": 8}),
}  # fmt: skip


def tiny(family, attention="sdpa", **more):
    torch.manual_seed(0)
    kind, options = FAMILIES[family]
    config = kind(
        vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
        pad_token_id=0, initializer_range=0.5, **{"num_labels": 3, **options, **more},
    )  # fmt: skip
    model = transformers.AutoModelForSequenceClassification.from_config(
        config, attn_implementation=attention
    )
    return model.eval()


def texts_with_beginnings():
    rng = np.random.default_rng(3)
    rows = []
    for shared, ends in ((40, (5, 9)), (3, (20,)), (17, (1, 30, 2)), (0, (12,)), (60, (1, 1))):
        prompt = rng.integers(1, 60, size=shared)
        items = [
            {"input_ids": np.append(prompt, rng.integers(1, 60, size=end)).astype(np.int32)}
            for end in ends
        ]
        rows.append((shared if len(ends) > 1 else 0, items))
    # a text that ends in the padding token is read where transformers reads it: before that,
    # also where nothing of its own is left
    rows[0][1][1]["input_ids"][-2:] = 0
    rows[2][1][0]["input_ids"][-1:] = 0
    rows[4][1][1]["input_ids"][-1:] = 0
    return rows


@pytest.mark.parametrize(
    ("attention", "packed"), [("sdpa", False), ("sdpa", True), ("eager", False)]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_beginnings_give_the_scores_of_each_text_alone(family, attention, packed):
    from prefstrength.rewards.engine.decoder import (
        can_share,
        last_hidden,
        pack_on_cpu,
        packs,
        pooled,
    )

    model, rows = tiny(family, attention), texts_with_beginnings()
    assert can_share(model)
    if packed:
        pack_on_cpu(model, "cpu")
    assert packs(model) == packed
    places = [[pooled(item["input_ids"], 0)] for _, items in rows for item in items]
    with torch.inference_mode():
        shared = model.score(last_hidden(torch, model, rows, places, 0, "cpu"))
    with torch.inference_mode():
        alone = torch.cat(
            [
                model(input_ids=torch.tensor(item["input_ids"][None], dtype=torch.long)).logits
                for _, items in rows
                for item in items
            ]
        )
    assert float(alone.std()) > 0.1
    np.testing.assert_allclose(shared, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        lambda: tiny("mistral", sliding_window=8),
        lambda: tiny(
            "qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1,
        ),
        lambda: tiny("llama", rope_parameters={
            "rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0,
        }),
        lambda: transformers.BertForSequenceClassification(transformers.BertConfig(
            vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
            num_attention_heads=2,
        )),
    ],
)  # fmt: skip
def test_models_of_which_it_is_not_known_do_not_share(model):
    from prefstrength.rewards.engine.decoder import can_share

    assert not can_share(model())


def test_batch_size_one_scores_every_text_by_itself():
    tokens = [np.arange(9), np.arange(10)]
    assert shared_rows(range(2), tokens, [0, 0], 1) == single_rows(range(2), tokens)


# -- several processes ---------------------------------------------------------------------------


class BatchFake(Fake):
    """Its scores depend on the batch, so that they show how batches were formed."""

    def forward(self, model, items):
        time.sleep(0.002)
        return super().forward(model, items) + 1e-3 * len(items)


@pytest.mark.parametrize("window", [16, 2048])
@pytest.mark.parametrize("late", [0.0, 0.1])
def test_processes_divide_the_work_and_all_see_the_whole(tmp_path, monkeypatch, late, window):
    monkeypatch.setattr(_run, "WAIT", 0.01)
    monkeypatch.setattr(windows, "WINDOW", window)
    pairs = make_pairs(80)
    whole = BatchFake()
    expected_values = score(whole, pairs).values
    fakes, found = [BatchFake(), BatchFake()], {}

    def work(rank):
        time.sleep(late * rank)  # finds then what the other one has already scored
        with divided(Team(rank, 2)):
            found[rank] = score(fakes[rank], pairs, tmp_path)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for rank in (0, 1):
        np.testing.assert_array_equal(found[rank].values, expected_values)
    batches = fakes[0].batches + fakes[1].batches
    assert sorted(batches) == sorted(whole.batches)
    assert len(fakes[0].batches) == pytest.approx(
        len(fakes[1].batches), abs=1 if window > 16 else 5
    )


def test_processes_with_memory_for_different_batches_leave_nothing_out(
    tmp_path, monkeypatch, small_windows
):
    monkeypatch.setattr(_run, "WAIT", 0.01)
    pairs, found = make_pairs(80), {}
    fakes = [Fake(memory=120), Fake()]

    def work(rank):
        with divided(Team(rank, 2)):
            found[rank] = score(fakes[rank], pairs, tmp_path, batch_tokens=512)

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert fakes[0].failed
    for rank in (0, 1):
        np.testing.assert_array_equal(found[rank].values, expected(pairs))


def test_divided_work_needs_a_folder(monkeypatch):
    with divided(Team(1, 2)), pytest.raises(InputError, match="cache='scores/'"):
        score(Fake(), make_pairs(4))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched() == Team(1, 4)


LAUNCHED = """
import os, sys
import pandas as pd
import prefstrength as ps

folder = sys.argv[1]
pairs = pd.read_parquet(f"{folder}/pairs.parquet")
reward = ps.HFReward(f"{folder}/model", template="plain", batch_tokens=128)
scored = ps.score(pairs, reward, cache=f"{folder}/scores", progress=False, divide=True)
scored.to_parquet(f"{folder}/scored-{os.environ['RANK']}.parquet")
"""


@pytest.mark.slow
def test_launched_processes_give_the_table_of_one(tmp_path):
    import tokenizers

    from prefstrength.rewards import HFReward
    from prefstrength.rewards import score as score_pairs

    letters = {"<pad>": 0, **{chr(97 + i): i + 1 for i in range(26)}, " ": 27}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token=" "))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", model_max_length=256
    ).save_pretrained(tmp_path / "model")
    tiny("llama", num_labels=1).save_pretrained(tmp_path / "model")
    pairs = make_pairs(30)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    (tmp_path / "script.py").write_text(LAUNCHED)
    root = str(Path(__file__).parents[2])
    # what accelerate launch runs where there are GPUs; on a CPU it would ask for MPI
    command = ["torch.distributed.run", "--nproc_per_node", "2"]
    subprocess.run(
        [sys.executable, "-m", *command, str(tmp_path / "script.py"), str(tmp_path)],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    reward = HFReward(tmp_path / "model", template="plain", batch_tokens=128)
    one = score_pairs(pairs, reward, cache=tmp_path / "other", progress=False)
    for rank in (0, 1):
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / f"scored-{rank}.parquet"), one, check_exact=True
        )
    about = json.loads((tmp_path / "scores" / "provenance.json").read_text())
    (engine,) = [each["engine"] for each in about.values()]
    assert engine["processes"] == 2
    assert engine["batches"] < one.attrs["reward"]["engine"]["batches"]
    stored = [pd.read_parquet(path) for path in (tmp_path / "scores").glob("*/*.parquet")]
    assert pd.concat(stored)["key"].nunique() == 60
