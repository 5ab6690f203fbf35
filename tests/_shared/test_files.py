"""Saving takes nobody else's files away."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength._shared.files import atomic_directory, require_own_tables, require_replaceable
from prefstrength.errors import InputError
from prefstrength.validation.calibration import Calibration

NAMES = ("kind.json", "numbers.npz")


def write(path, replaces=NAMES):
    with atomic_directory(path, replaces=replaces) as folder:
        for name in NAMES:
            (folder / name).write_text("new")


def test_what_may_be_replaced(tmp_path):
    folder = tmp_path / "saved"
    write(folder)
    write(folder)  # an earlier save of the kind
    (folder / "numbers.npz").unlink()
    write(folder)  # one of which something was lost
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "saved"]


@pytest.mark.parametrize("more", ["thesis.txt", "checkpoint-9/", "kind.json/"])
def test_what_may_not(tmp_path, more):
    folder = tmp_path / "precious"
    write(folder)
    path = folder / more.rstrip("/")
    if more.endswith("/"):
        path.unlink(missing_ok=True)
        path.mkdir()
    else:
        path.write_text("years")
    with pytest.raises(InputError, match=r"kind\.json and what .* something else \(" + path.name):
        write(folder)
    assert path.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["precious"]  # no temporary one is left


def test_tables_of_others_are_not_replaced(tmp_path):
    names, columns = ("a.csv", "b.png"), ["x", "y"]
    require_own_tables(tmp_path, names, columns)
    (tmp_path / "b.png").write_bytes(b"theirs")
    with pytest.raises(InputError, match=r"holds b\.png of somebody else's"):
        require_own_tables(tmp_path, names, columns)
    (tmp_path / "a.csv").write_text("time,money\n1,2\n")
    with pytest.raises(InputError, match=r"holds a\.csv, b\.png of somebody else's"):
        require_own_tables(tmp_path, names, columns)
    (tmp_path / "a.csv").write_text("x,y,z\n1,2,3\n")  # ours, by its first columns
    require_own_tables(tmp_path, names, columns)


def test_names_that_others_use_too_do_not_make_the_kind(tmp_path):
    (tmp_path / "numbers.npz").write_text("somebody's")
    with pytest.raises(InputError, match=r"something else \(numbers\.npz\)"):
        require_replaceable(tmp_path, NAMES)
    with pytest.raises(InputError, match="got the file"):
        require_replaceable(tmp_path / "numbers.npz", NAMES)


def test_what_comes_while_a_directory_is_written_stays(tmp_path):
    folder = tmp_path / "saved"
    write(folder)
    writing = atomic_directory(folder, replaces=NAMES)
    (writing.__enter__() / "kind.json").write_text("new")
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="something else"):
        writing.__exit__(None, None, None)
    assert (folder / "thesis.txt").read_text() == "years"
    assert [each.name for each in tmp_path.iterdir()] == ["saved"]


# -- everything that is saved as a directory -------------------------------------------------------


def fit(path):
    choices = ps.simulate(ps.PointMass(value=1.0), choosers=10, situations=4)
    return ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, progress=False).save(path)


def simulations(path):
    from prefstrength.validation.folder import save

    save(path, pd.DataFrame({"simulation": [0], "variable": ["x"]}), {"seed": 0}, "Calibration")


def compressed(path):
    table = pd.DataFrame({"reward_chosen": np.arange(50.0), "reward_rejected": 0.0})
    table.to_parquet(path.parent / "pairs.parquet")
    ps.compress_choices(path.parent / "pairs.parquet", progress=False).save(path)


def tiny(path):
    pytest.importorskip("trl")
    from prefstrength.mixdpo.tiny import make_tiny_model

    make_tiny_model([("Say hello.", "Hello.")], path, steps=0, hidden=16)


def wins(path):
    pytest.importorskip("trl")
    from prefstrength.mixdpo import WinRate

    frame = pd.DataFrame({"prompt": ["Say hello."]})
    WinRate(frame, frame, {"model_a": "a"}).save(path)


KINDS = [fit, simulations, compressed, tiny, wins]


@pytest.mark.parametrize("save", KINDS)
def test_no_save_takes_what_is_not_its_own(tmp_path, save):
    kept = tmp_path / "precious"
    (kept / "checkpoint-9").mkdir(parents=True)
    (kept / "checkpoint-9" / "weights").write_text("weeks")
    (kept / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="which holds something else") as refused:
        save(kept)
    assert "\n" not in str(refused.value)
    assert (kept / "thesis.txt").read_text() == "years"
    assert (kept / "checkpoint-9" / "weights").read_text() == "weeks"
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize("save", KINDS)
def test_every_save_replaces_its_own(tmp_path, save):
    for _ in range(2):
        save(tmp_path / "saved")
    assert any((tmp_path / "saved").iterdir())


@pytest.mark.parametrize("save", KINDS)
def test_no_save_takes_one_of_another_kind(tmp_path, save):
    for other in KINDS:
        if other is save:
            continue
        folder = tmp_path / other.__name__
        other(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(InputError, match="which holds something else"):
            save(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_simulations_of_another_kind_or_unfinished_ones_stay(tmp_path):
    from prefstrength.validation.folder import save

    frame = pd.DataFrame({"simulation": [0], "variable": ["x"]})
    save(tmp_path / "a", frame, {"seed": 0}, "Recovery")
    with pytest.raises(InputError, match="schema 'prefstrength/calibration/1' in the settings"):
        save(tmp_path / "a", frame, {"seed": 0}, "Calibration")
    running = tmp_path / "running"
    running.mkdir()
    (running / "settings.json").write_text(json.dumps({"schema": "prefstrength/calibration/1"}))
    (running / "part-000000.parquet").write_text("hours")
    with pytest.raises(InputError, match=r"something else \(part-000000\.parquet\)"):
        Calibration(frame, {"seed": 0}).save(running)
    assert (running / "part-000000.parquet").is_file()


def test_a_real_model_is_no_tiny_one(tmp_path):
    tiny(tmp_path / "model")
    (tmp_path / "model" / "tiny_model.json").unlink()  # as save_pretrained writes it
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="which holds something else"):
        tiny(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights


def test_a_win_rate_is_saved_beside_what_made_it(tmp_path):
    pytest.importorskip("trl")
    from prefstrength.mixdpo import win_rate

    tiny(tmp_path / "model")
    asked = []

    class Length:
        def score_pairs(self, pairs, *, cache=None, progress=True):
            cache.mkdir(exist_ok=True)
            (cache / "scores").write_text("paid for")
            asked.append(len(pairs))
            chosen, rejected = (pairs[s].str.len().to_numpy() for s in ("chosen", "rejected"))
            return SimpleNamespace(chosen=chosen, rejected=rejected, provenance={})

    out, model = tmp_path / "win_rate", str(tmp_path / "model")

    def run():
        return win_rate(
            model, model, ["Say hello."], Length(), max_new_tokens=4, out=out, progress=False
        )

    done = run()
    cached = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(cached) >= 2
    for _ in range(2):
        done.save(out)
        assert {path: path.read_bytes() for path in cached} == cached
    assert pd.read_parquet(out / "responses.parquet")["prompt"].tolist() == ["Say hello."]
    pd.testing.assert_frame_equal(run().responses, done.responses)
    (out / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"something else \(thesis\.txt\)"):
        done.save(out)
