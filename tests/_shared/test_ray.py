"""A cluster of this machine: the sums of one process, plain errors, and a Ray left as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefstrength._shared import ray as _ray
from prefstrength.errors import InputError

ROOT = Path(__file__).parents[2]

SCRIPT = """
import logging, os, sys, tempfile, time
import numpy as np, pandas as pd
import ray
import ray.data
import prefstrength as ps
from prefstrength._ray import cluster

os.chdir(sys.argv[1])
rng = np.random.default_rng(0)
for name in "ab":
    rewards = rng.normal(size=(70_000, 2))
    frame = pd.DataFrame(rewards, columns=["reward_chosen", "reward_rejected"])
    frame["annotator"] = rng.integers(0, 40, size=len(frame)).astype(str)
    frame["region"] = rng.choice(["west", "east"], size=len(frame))
    frame.to_parquet(f"{name}.parquet", row_group_size=20_000)

ps.compress_choices("a.parquet", backend="ray", workers=1, progress=False)
assert not ray.is_initialized()
assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
print("together")
print("together", file=sys.stderr)

temporary = tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)
ray.init(
    "local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=temporary.name
)
# settings of the user's own work with Ray Data, which would lose parts without a word
ray.data.DataContext.get_current().max_errored_blocks = 1000
level = logging.getLogger("ray.data").level
for columns, checkpoint in (
    ({"chooser": "annotator"}, False),
    ({"chooser": "annotator"}, True),
    ({"groups": ["region"]}, False),
):
    one, two = (
        ps.compress_choices(
            ["a.parquet", "b.parquet"],
            backend=backend,
            checkpoint=f"kept-{backend}" if checkpoint else None,
            progress=False,
            **columns,
        )
        for backend in (None, "ray")
    )
    assert one.content_hash() == two.content_hash()
assert len(os.listdir("kept-ray")) == 2
assert ray.is_initialized()

def pid_of(item):
    if item == 7:
        raise ps.InputError("Seven is odd.")
    if item == 8:
        {}["eight"]
    if item == 9 and not os.path.exists("died"):
        open("died", "w").close()
        os._exit(1)
    if item == 10:
        os._exit(1)
    return os.getpid()

def several(item):
    time.sleep(0.5 * (item == 0))
    yield from [item, [item]][: item + 1]

def free():
    until = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 2:
        assert time.monotonic() < until
        time.sleep(0.1)

with cluster(2, models=True) as workers:
    found = dict(workers.each(lambda: pid_of, range(6)))
    assert sorted(found) == list(range(6))
    assert os.getpid() not in found.values()
    assert len(set(found.values())) == 2
    results = list(workers.stream(lambda: several, range(3), in_order=True))
    assert results == [(0, 0), (1, 1), (1, [1]), (2, 2), (2, [2])]
    assert len(dict(workers.each(lambda: pid_of, [0, 9]))) == 2  # done again, by another process
    free()
    try:
        list(workers.each(lambda: pid_of, [0, 7, 1]))
    except ps.InputError as error:
        print(error)
    free()
    try:
        list(workers.each(lambda: pid_of, [8]))
    except KeyError as error:
        assert error.args == ("eight",)
        assert "On a worker of the cluster" in error.__notes__[0]
    try:
        list(workers.each(lambda: pid_of, [10]))
    except RuntimeError as error:
        assert "died 4 times in a row" in str(error)
    else:
        raise AssertionError
    free()
    waiting = workers.each(lambda: lambda item: time.sleep(60 * item), [0, 1])
    assert next(waiting) == (0, None)  # as soon as it is done
    waiting.close()
    free()
assert logging.getLogger("ray.data").level == level
assert ray.data.DataContext.get_current().max_errored_blocks == 1000
frame.assign(reward_chosen=np.nan).to_parquet("c.parquet")
try:
    ps.compress_choices("c.parquet", backend="ray", progress=False)
except ps.InputError as error:
    print(error)
try:
    ps.compress_choices("a.parquet", backend="ray", workers=3, progress=False)
except ps.InputError as error:
    print(error)
ray.shutdown()
"""


@pytest.mark.slow
def test_workers_of_a_local_ray_sum_up_as_one_process_does(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        # Ray keeps a token at home
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Ray itself says so when a worker dies
    said = [line for line in done.stdout.splitlines() if "(raylet)" not in line]
    assert done.stderr.startswith("together\n")  # one that is started here says nothing
    assert said[0] == "together"
    assert said[1] == "Seven is odd."
    assert said[2].startswith("Column 'reward_chosen' of c.parquet should hold a finite number")
    assert said[3].startswith("Expected at most one worker for each CPU of the Ray cluster, 2;")
    assert len(said) == 4


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match=r"pip install 'prefstrength\[ray\]'"),
        _ray.cluster(None, models=False),
    ):
        pass
