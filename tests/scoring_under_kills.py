"""A scoring run that is killed again and again; run as a process of its own.

``python tests/scoring_under_kills.py FOLDER KILLS`` prints one line of JSON.

Every attempt is a process that scores until it is killed. A fake model notes the responses of
every forward pass in a file before it scores them, and its scores depend on the batch: a resumed
run gives the numbers of an undisturbed one only if it forms the same batches.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from prefstrength.rewards._responses import distinct_responses
from prefstrength.rewards._run import run

BATCH = 4
#: More than the attempts get through, so that each of them is killed.
PAIRS_A_KILL = 30


class Fake:
    """Scores by the letters of a text, by the size of the batch, and by its longest text."""

    identity = {"reward": "fake"}
    outputs = ("reward", "other")
    pad_token_id = 0
    max_length = None
    device = "cpu"

    def __init__(self, log=None, attempt=0, seconds=0.0, beginning=None):
        self.log, self.attempt, self.seconds = log, attempt, seconds
        self.beginning = beginning

    def encode(self, prompt, response):
        ids = [ord(letter) for letter in f"{prompt} {response}"]
        return {"input_ids": ids, "tokens": len(ids)}

    def load(self):
        if self.beginning is not None:
            os.write(self.beginning, b".")

    def forward(self, model, items):
        if self.log is not None and len(items) > 1:
            texts = ["".join(map(chr, item["input_ids"])) for item in items]
            os.write(self.log, (json.dumps([self.attempt, texts]) + "\n").encode())
        time.sleep(self.seconds)
        width = max(len(item["input_ids"]) for item in items)
        own = np.array([float(np.sum(item["input_ids"])) for item in items])
        return np.stack([own + 1e-3 * len(items), own - 1e-3 * width], axis=1)


def pairs(kills):
    draw = random.Random(0)

    def text():
        return "".join(draw.choice("abcdefgh") for _ in range(draw.randint(8, 40)))

    rows = [
        {"prompt": text(), "chosen": text(), "rejected": text()}
        for _ in range(PAIRS_A_KILL * kills)
    ]
    return pd.DataFrame(rows)


def score(source, folder, kills):
    return run(
        source,
        distinct_responses(pairs(kills)),
        batch_size=BATCH,
        max_truncated=0.0,
        cache=folder,
        progress=False,
    )


def log_of(folder):
    return os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def attempt_of(folder, attempt, kills):
    fake = Fake(log_of(folder), attempt, seconds=0.004, beginning=sys.stdout.fileno())
    score(fake, folder / "scores", kills)


def main(folder, kills):
    folder.mkdir(parents=True)
    draw = random.Random(1)
    killed = 0
    for attempt in range(kills):
        child = subprocess.Popen(
            [sys.executable, __file__, str(folder), "attempt", str(attempt), str(kills)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.read(1)  # scoring is about to begin
        time.sleep(draw.uniform(0.0, 0.12))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
    finished = score(Fake(log_of(folder), kills), folder / "scores", kills)
    whole = score(Fake(), None, kills)
    forwarded = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    count = pd.Series([text for _, texts in forwarded for text in texts]).value_counts()
    files = list((folder / "scores").glob("*/*.parquet"))
    stored = pd.concat([pd.read_parquet(file) for file in files])
    found = {
        "killed": killed,
        "in the midst of scoring": len({attempt for attempt, _ in forwarded} - {kills}),
        "responses": len(whole.values),
        "forwarded": len(count),
        "again": int((count - 1).sum()),
        "equal": bool(np.array_equal(finished.values, whole.values)),
        "alone": finished.alone == whole.alone,
        "tokens": bool(np.array_equal(finished.tokens, whole.tokens)),
        "from_cache": finished.from_cache,
        "stored": len(stored),
        "distinct": int(stored["key"].nunique()),
        "files": len(files),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[2] == "attempt":
        attempt_of(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
