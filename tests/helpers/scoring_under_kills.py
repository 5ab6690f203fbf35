"""Scoring that is killed again and again; run as a process of its own.

``python tests/scoring_under_kills.py FOLDER KILLS`` prints one line of JSON about a run over the
responses of a table; with the word ``parquet`` after them, about `score_parquet`.

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

from prefstrength.rewards import Scores
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.responses import distinct_responses
from prefstrength.rewards.engine.run import run
from prefstrength.rewards.parquet import job
from prefstrength.rewards.parquet import scoring as parquet

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

    def encode_all(self, prompts, responses):
        return list(map(self.encode, prompts, responses))

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


# -- files -----------------------------------------------------------------------------------

#: Pairs of a file, and of a part; about.
FILE_PAIRS, PART_PAIRS = 120, 40
#: Seconds that an attempt stays at a part while it writes, so that some are killed there.
WRITING = 0.05


class FakeReward:
    """A reward from texts by the fake model; says nothing that an interruption changes."""

    def __init__(self, source):
        self.source = source

    def identity(self):
        return dict(self.source.identity)

    def score_pairs(self, pairs, *, cache=None, progress=True):
        responses = distinct_responses(pairs)
        found = run(
            once(self, lambda: self.source),
            responses,
            batch_size=BATCH,
            max_truncated=0.0,
            cache=cache,
            progress=progress,
        )
        return Scores(
            chosen=found.values[responses.chosen],
            rejected=found.values[responses.rejected],
            attributes=self.source.outputs,
            provenance={"name": "fake", "responses": len(responses), "alone": found.alone},
        )


def score_files(folder, source, out):
    job.PART_PAIRS = PART_PAIRS
    return parquet.score_parquet(folder / "pairs", out, FakeReward(source), progress=False)


def slowly(write):
    """Writing that takes time before and after a file appears."""

    def written(self, part):
        time.sleep(WRITING / 2)
        said = write(self, part)
        time.sleep(WRITING / 2)
        return said

    return written


def attempt_of_files(folder, attempt, out):
    """Score until killed, from the first look at the files to the last of ``reward.json``."""
    parquet.Writer.__call__ = slowly(parquet.Writer.__call__)
    os.write(sys.stdout.fileno(), b".")
    score_files(folder, Fake(log_of(folder), attempt, seconds=0.004), out)


def contents(folder):
    """Every file below a folder but hidden ones, which go when they are an hour old."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def main_of_files(folder, kills):
    folder.mkdir(parents=True)
    (folder / "pairs").mkdir()
    table = pairs(2 * FILE_PAIRS // PAIRS_A_KILL)
    for name, rows in (("a", slice(FILE_PAIRS)), ("b", slice(FILE_PAIRS, None))):
        table[rows].to_parquet(folder / "pairs" / f"{name}.parquet", row_group_size=50)
    draw = random.Random(1)
    outs, moments, attempts = [folder / "out-0"], [], 0
    # at least so many, and some of them in each pass
    while len(moments) < kills or not {"scoring", "writing"} <= set(moments):
        child = subprocess.Popen(
            [sys.executable, __file__, str(folder), "files", str(attempts), str(outs[-1])],
            stdout=subprocess.PIPE,
        )
        attempts += 1
        assert child.stdout is not None
        child.stdout.read(1)  # it is about to begin
        time.sleep(draw.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        code = child.wait()
        child.stdout.close()
        assert code in (0, -signal.SIGKILL)
        if code == 0:  # all done before it could be killed: begin with a new folder
            outs.append(folder / f"out-{len(outs)}")
            continue
        written = len(list(outs[-1].glob("part-*.parquet")))
        moments.append("writing" if written else "scoring" if outs[-1].exists() else "beginning")
    about = [score_files(folder, Fake(log_of(folder), attempts), out) for out in outs]
    whole = score_files(folder, Fake(), folder / "whole")
    forwarded = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    count = pd.Series([text for _, texts in forwarded for text in texts]).value_counts()
    expected = contents(folder / "whole")
    found = {
        "killed": len(moments),
        **{moment: moments.count(moment) for moment in ("beginning", "scoring", "writing")},
        "folders": len(outs),
        "files": len(expected),
        "equal": [contents(out) == expected for out in outs],
        "about": [one == whole for one in about],
        "responses": 2 * len(table),
        "forwarded": len(count),
        "again": int((count - len(outs)).sum()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    folder, word, *rest = Path(sys.argv[1]), *sys.argv[2:]
    if word == "attempt":
        attempt_of(folder, int(rest[0]), int(rest[1]))
    elif word == "files":
        attempt_of_files(folder, int(rest[0]), Path(rest[1]))
    elif rest == ["parquet"]:
        main_of_files(folder.resolve(), int(word))
    else:
        main(folder, int(word))
