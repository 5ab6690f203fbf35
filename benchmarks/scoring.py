"""Scoring with a reward model, beside transformers' own pipeline and beside the limit.

``python -m benchmarks.scoring [--quick] [--out FOLDER]``

All of them hold the same model (random weights) and score the same texts, in turns, so that
whatever else the machine does befalls all. The limit is the model's forward pass on batches of
equal lengths, as long as the texts are: no padding, no tokeniser, nothing kept. On a GPU if there
is one, with a model of half a billion parameters in bfloat16.
"""

import argparse
import copy
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.common import RESULTS, ROOT, machine, store, table

VOCABULARY, LONGEST = 8192, 2048
BATCH_SIZES = {"CPU": (1, 2, 4, 8, 16, 32), "GPU": (4, 8, 16, 32, 64, 128)}
#: Tokens of a batch that the limit is tried with.
BUDGETS = (1024, 2048, 4096, 16_384)
#: Hidden size, layers, pairs, turns.
ON_CPU = {"0.6M": (64, 2, 400, 3), "2M": (128, 4, 200, 3), "8M": (256, 6, 100, 3)}
ON_GPU = {"0.5B": (1024, 32, 4000, 3)}
QUICK = {"tiny": (64, 2, 20, 1)}


def texts(pairs):
    """Pairs of the given number from hh_rlhf, or of made-up words with lengths like theirs."""
    import numpy as np
    import pandas as pd

    beside = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get("PREFSTRENGTH_DATA") or beside) / "hh_rlhf" / "pairs.parquet"
    if path.is_file():
        frame = pd.read_parquet(path).query("not identical")
        frame = frame.rename(columns={"chosen_response": "chosen", "rejected_response": "rejected"})
        frame = frame.sample(min(pairs, len(frame)), random_state=0)
        return frame[["prompt", "chosen", "rejected"]].reset_index(drop=True), "hh_rlhf"
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
    """The ways to score, with one model loaded once."""

    def __init__(self, folder, frame, gpu):
        import torch

        from prefstrength.rewards import HFReward
        from prefstrength.rewards._responses import distinct_responses
        from prefstrength.rewards._source import open_source

        self.torch, self.gpu, self.folder = torch, gpu, folder
        dtype = "bfloat16" if gpu else "float32"
        self.source = open_source(HFReward(folder, template="plain", dtype=dtype))
        self.model = self.source.load()
        self.responses = distinct_responses(frame)
        both = zip(self.responses.prompts, self.responses.texts, strict=True)
        self.texts = [f"{prompt}\n{text}" for prompt, text in both]
        items = [self.source.encode(p, t) for p, t in zip(
            self.responses.prompts, self.responses.texts, strict=True)]  # fmt: skip
        self.lengths = [len(item["input_ids"]) for item in items]
        self.tokens = sum(self.lengths)

    def ours(self, share):
        """Scores by the engine, tokeniser, store and the sample at batch size 1 included."""
        from prefstrength.rewards._run import run

        source = copy.copy(self.source)
        source.load = lambda: self.model
        source.shares = lambda model: share and self.source.shares(model)
        with tempfile.TemporaryDirectory() as cache:
            return run(
                source, self.responses, max_truncated=1.0, cache=cache, progress=False
            ).values[:, 0]

    def pipeline(self, batch_size):
        """Scores by transformers' pipeline, as its documentation says."""
        import numpy as np
        from transformers import pipeline

        classify = pipeline(
            "text-classification",
            model=self.model,
            tokenizer=self.source.checkpoint.tokenizer,
            device=self.source.device,
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
            ids = torch.randint(1, self.model.config.vocab_size, shape, device=self.source.device)
            batches, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds / 8:
                with torch.inference_mode():
                    self.model(input_ids=ids).logits.cpu()
                batches += 1
            rate = batches * ids.numel() / (time.perf_counter() - start)
            needed += float(part.sum()) / rate
        return self.tokens / needed

    def rate(self, score, *arguments):
        """Tokens of the texts per second."""
        start = time.perf_counter()
        found = score(*arguments)
        return self.tokens / (time.perf_counter() - start), found


def measure(name, shape, gpu):
    """Rows of the table for one model."""
    import numpy as np

    hidden, layers, pairs, turns = shape
    frame, origin = texts(pairs)
    with tempfile.TemporaryDirectory() as folder:
        parameters = build(folder, frame, hidden, layers)
        contest = Contest(folder, frame, gpu)
        # What is best for them is found first; then everything takes turns.
        sizes = BATCH_SIZES["GPU" if gpu else "CPU"]
        tried = {size: contest.rate(contest.pipeline, size)[0] for size in sizes}
        best = max(tried, key=tried.get)
        seconds = 3.0 if turns > 1 else 0.2
        packed = {budget: contest.limit(budget, seconds) for budget in BUDGETS}
        fullest = max(packed, key=packed.get)
        rates = {"pipeline": [], "limit": [], "ours": [], "ours, nothing shared": []}
        scores = {}
        for _ in range(turns):
            rate, scores["pipeline"] = contest.rate(contest.pipeline, best)
            rates["pipeline"].append(rate)
            rates["limit"].append(contest.limit(fullest, seconds))
            for way, share in (("ours", True), ("ours, nothing shared", False)):
                rate, scores[way] = contest.rate(contest.ours, share)
                rates[way].append(rate)
    spread = float(np.std(scores["pipeline"]))
    rows = []
    for way in ("ours", "ours, nothing shared"):
        # Turn by turn: what slows the machine down slows all.
        ratio = {
            other: median(a / b for a, b in zip(rates[way], rates[other], strict=True))
            for other in ("pipeline", "limit")
        }
        rows.append(
            {
                "model": name,
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
    about = {
        "model": name,
        "parameters": parameters,
        "texts": origin,
        "responses": len(contest.lengths),
        "tokens, mean": contest.tokens / len(contest.lengths),
        "tokens, longest": max(contest.lengths),
        "pipeline tried": tried,
        "limit tried": packed,
    }
    return rows, about


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
