"""Scoring with a reward model, beside transformers' own pipeline and beside the limit.

``python -m benchmarks.scoring [--quick] [--out FOLDER]``

All of them have the same weights (random ones) in the same number format and score the same texts,
in turns, so that whatever else the machine does befalls all. The limit is the model's forward pass
on batches of equal lengths, as long as the texts are: no padding, no tokeniser, nothing kept. On a
GPU if there is one, with a model of half a billion parameters.
"""

import argparse
import copy
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.common import RESULTS, ROOT, machine, store, table
from prefstrength.errors import DataWarning

VOCABULARY, LONGEST = 8192, 2048
BATCH_SIZES = {"CPU": (1, 2, 4, 8, 16), "GPU": (4, 8, 16, 32, 64, 128)}
#: Tokens of a batch that the limit is tried with.
BUDGETS = (1024, 2048, 4096, 16_384)
#: Hidden size, layers, pairs, turns.
ON_CPU = {"0.6M": (64, 2, 800, 3), "2M": (128, 4, 400, 3), "8M": (256, 6, 100, 3)}
ON_GPU = {"0.5B": (1024, 32, 4000, 3)}
QUICK = {"tiny": (64, 2, 20, 1)}
#: What is asked of our way of scoring.
WAYS = {
    "ours": {},
    "ours, nothing shared": {"share": False},
    "ours, compiled": {"compile": True},
}


def texts(pairs):
    """Pairs of the given number from hh_rlhf, or of made-up words with lengths like theirs."""
    import numpy as np
    import pandas as pd

    beside = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get("PREFSTRENGTH_DATA") or beside) / "hh_rlhf" / "pairs.parquet"
    if path.is_file():
        frame = pd.read_parquet(path).query("not identical")
        frame = frame.rename(columns={"chosen_response": "chosen", "rejected_response": "rejected"})
        frame = frame[["prompt", "chosen", "rejected"]]
        frame = frame[frame.apply(lambda texts: texts.str.strip() != "").all(axis=1)]
        return frame.sample(min(pairs, len(frame)), random_state=0, ignore_index=True), "hh_rlhf"
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("etaoinshr"), 4)) for _ in range(4000)])

    def some(mean, sigma):
        counts = rng.lognormal(np.log(mean), sigma, pairs).astype(int) + 3
        return [" ".join(rng.choice(words, count)) for count in counts]

    # medians of words in hh_rlhf: 88 of a prompt, 33 of a response
    frame = {"prompt": some(88, 0.9), "chosen": some(33, 1.0), "rejected": some(33, 1.0)}
    return pd.DataFrame(frame), "made-up words, log-normal lengths like those of hh_rlhf"


def build(folder, frame, hidden, layers):
    """A Qwen 3 with random weights and a tokeniser trained on the texts, on disk."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((text for name in frame for text in frame[name]), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", model_max_length=LONGEST
    ).save_pretrained(folder)
    heads = max(1, hidden // 64)
    config = Qwen3Config(
        vocab_size=len(tokenizer.get_vocab()),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=64,
        max_position_embeddings=LONGEST,
        pad_token_id=0,
        num_labels=1,
        initializer_range=0.1,
    )
    model = Qwen3ForSequenceClassification(config)
    model.save_pretrained(folder)
    return model.num_parameters()


class Contest:
    """The ways to score in one number format, each with a model loaded once."""

    def __init__(self, folder, frame, dtype):
        import torch
        from transformers import AutoModelForSequenceClassification

        from prefstrength.rewards import HFReward
        from prefstrength.rewards.engine.responses import distinct_responses

        self.torch = torch
        self.sources, self.models = {}, {}
        for compiled in (False, True):
            reward = HFReward(folder, template="plain", dtype=dtype, compile=compiled)
            self.sources[compiled] = reward.source()
            self.models[compiled] = self.sources[compiled].load()
        source = self.sources[False]
        self.device, self.tokenizer = source.device, source.checkpoint.tokenizer
        plain = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=source.checkpoint.dtype
        )
        self.model = plain.eval().to(self.device)
        self.responses = distinct_responses(frame)
        both = list(zip(self.responses.prompts, self.responses.texts, strict=True))
        self.texts = [f"{prompt}\n{text}" for prompt, text in both]
        items = source.encode_all(self.responses.prompts, self.responses.texts)
        self.lengths = [len(item["input_ids"]) for item in items]
        self.tokens = sum(self.lengths)

    def ours(self, share=True, compile=False):
        """Scores by the engine, tokeniser, store and the sample at batch size 1 included."""
        from prefstrength.rewards.engine.run import run

        source = copy.copy(self.sources[compile])
        source.load = lambda: self.models[compile]
        source.shares = lambda model: share and self.sources[compile].shares(model)
        with tempfile.TemporaryDirectory() as cache, warnings.catch_warnings():
            # random weights in half precision move with the batch; the table says by how much
            warnings.simplefilter("ignore", DataWarning)
            found = run(source, self.responses, max_truncated=1.0, cache=cache, progress=False)
        return found.values[:, 0]

    def pipeline(self, batch_size):
        """Scores by transformers' pipeline, as its documentation says."""
        import numpy as np
        from transformers import pipeline

        classify = pipeline(
            "text-classification",
            model=self.model,
            tokenizer=self.tokenizer,
            device=self.device,
            batch_size=batch_size,
            function_to_apply="none",
        )
        found = classify(self.texts, truncation=True)
        return np.array([each["score"] for each in found])

    def limit(self, budget, seconds):
        """Tokens per second of the forward pass alone, on batches of equal lengths.

        Eight lengths, the means of eighths of the sorted texts, each with its share of the tokens:
        long texts cost more attention, whoever batches them.
        """
        import numpy as np

        torch, needed = self.torch, 0.0
        for part in np.array_split(np.sort(self.lengths), 8):
            length = round(float(part.mean()))
            shape = (max(1, budget // length), length)
            ids = torch.randint(1, self.model.config.vocab_size, shape, device=self.device)
            batches, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds / 8:
                with torch.inference_mode():
                    self.model(input_ids=ids).logits.cpu()
                batches += 1
            rate = batches * ids.numel() / (time.perf_counter() - start)
            needed += float(part.sum()) / rate
        return self.tokens / needed

    def rate(self, score, *arguments, **options):
        """Tokens of the texts per second."""
        start = time.perf_counter()
        found = score(*arguments, **options)
        return self.tokens / (time.perf_counter() - start), found


def measure(name, shape, gpu):
    """Rows of the table for one model."""
    hidden, layers, pairs, turns = shape
    frame, origin = texts(pairs)
    with tempfile.TemporaryDirectory() as folder:
        parameters = build(folder, frame, hidden, layers)
        rows, about = [], {"model": name, "parameters": parameters, "texts": origin}
        for dtype in ("bfloat16",) if gpu else ("float32", "bfloat16"):
            contest = Contest(folder, frame, dtype)
            found, tried = compete(contest, turns, BATCH_SIZES["GPU" if gpu else "CPU"])
            rows += [{"model": name, "dtype": dtype, **row} for row in found]
            about |= {
                "responses": len(contest.lengths),
                "tokens, mean": contest.tokens / len(contest.lengths),
                "tokens, longest": max(contest.lengths),
                dtype: tried,
            }
    return rows, about


def compete(contest, turns, sizes):
    """What came of the turns, and of the trials before them."""
    import numpy as np

    seconds = 3.0 if turns > 1 else 0.2
    # What is best for them is found first, and compiling is over; then everything takes turns.
    tried = {size: contest.rate(contest.pipeline, size)[0] for size in sizes}
    best = max(tried, key=tried.get)
    packed = {budget: contest.limit(budget, seconds) for budget in BUDGETS}
    fullest = max(packed, key=packed.get)
    first = {
        way: contest.tokens / contest.rate(contest.ours, **how)[0] for way, how in WAYS.items()
    }
    rates = {"pipeline": [], "limit": [], **{way: [] for way in WAYS}}
    scores = {}
    for _ in range(turns):
        rate, scores["pipeline"] = contest.rate(contest.pipeline, best)
        rates["pipeline"].append(rate)
        rates["limit"].append(contest.limit(fullest, seconds))
        for way, how in WAYS.items():
            rate, scores[way] = contest.rate(contest.ours, **how)
            rates[way].append(rate)
    spread = float(np.std(scores["pipeline"]))
    rows = []
    for way in WAYS:
        # Turn by turn: what slows the machine down slows all.
        ratio = {
            other: median(a / b for a, b in zip(rates[way], rates[other], strict=True))
            for other in ("pipeline", "limit")
        }
        rows.append(
            {
                "way": way,
                "tokens/s": median(rates[way]),
                "pipeline": median(rates["pipeline"]),
                "batch size": best,
                "limit": median(rates["limit"]),
                "/ pipeline": ratio["pipeline"],
                "/ limit": ratio["limit"],
                "largest difference, sd": float(
                    np.abs(scores[way] - scores["pipeline"]).max() / spread
                ),
            }
        )
    compiling = first["ours, compiled"] - contest.tokens / median(rates["ours, compiled"])
    return rows, {"pipeline tried": tried, "limit tried": packed, "seconds to compile": compiling}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    before = machine()
    gpu = torch.cuda.is_available()
    rows, about = [], []
    for name, shape in (QUICK if options.quick else ON_GPU if gpu else ON_CPU).items():
        found, what = measure(name, shape, gpu)
        rows += found
        about.append(what)
    results = {
        "device": "GPU" if gpu else "CPU",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rates": rows,
        "models": about,
    }
    store("scoring", results, before, options.out)
    print(f"{about[0]['texts']}, on the {results['device']}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
