"""Recipes: every file is one that runs, and the same stages in miniature run from end to end."""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("torch")
pytest.importorskip("trl")

from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import SFTTrainer  # noqa: E402

from prefstrength._shared.folder import differences
from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.data.sources import SOURCES  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import MixDPOTrainer, WinRate, preference_metrics  # noqa: E402
from prefstrength.mixdpo.evaluation import generate  # noqa: E402
from prefstrength.mixdpo.evaluation.win_metrics import win_metrics  # noqa: E402
from prefstrength.mixdpo.stages.arguments import preference_arguments, sft_arguments  # noqa: E402
from prefstrength.mixdpo.stages.evaluation import judge_policy  # noqa: E402
from prefstrength.recipes import table as results  # noqa: E402
from prefstrength.recipes import train as running  # noqa: E402
from prefstrength.recipes.data import (  # noqa: E402
    NOT_STATED,
    DataSettings,
    distinct_prompts,
    load_data,
    sft_texts,
)
from prefstrength.recipes.recipe import read_recipe  # noqa: E402
from prefstrength.rewards import HFReward  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator:UserWarning"),
    # The paper's methods have no prior, of which the configuration warns.
    pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior:UserWarning"),
]

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").glob("*.yaml"))
METHODS = {"dpo": "PointMass", "mixdpo-lognormal": "LogNormal", "mixdpo-gamma": "Gamma"}


def miniature():
    """The script, as it lies beside the recipes."""
    spec = importlib.util.spec_from_file_location("miniature", ROOT / "recipes" / "miniature.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the files -------------------------------------------------------------------------------------


def test_two_models_on_two_datasets():
    recipes = [read_recipe(path) for path in FILES]
    pairs = {(recipe.model, recipe.data.source) for recipe in recipes}
    models = {"EleutherAI/pythia-2.8b", "Qwen/Qwen2.5-1.5B"}
    assert pairs == {(model, data) for model in models for data in ("prism", "hh")}
    assert len({recipe.output_dir for recipe in recipes}) == len(recipes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_holds_what_the_trainers_know(path):
    recipe = read_recipe(path, ["training.use_cpu=true"])  # for this machine alone
    assert recipe.stages == ("sft", *METHODS)
    assert recipe.data.source in SOURCES
    assert recipe.data.groups
    args = sft_arguments(recipe.sft, "runs/sft", recipe.batch_size)
    assert (args.learning_rate, args.warmup_steps) == (1e-6, 150)
    assert args.model_init_kwargs == {"use_safetensors": True}
    for name, family in METHODS.items():
        args = preference_arguments(
            recipe.methods[name], f"runs/{name}", recipe.batch_size, groups=recipe.data.groups
        )
        assert (args.strength_family, args.beta, args.objective) == (family, 0.1, "mixdpo")
        assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 64
        assert args.group_columns == list(recipe.data.groups)
    assert recipe.win_rate.opponent == "sft"
    assert recipe.win_rate.reward.name_or_path.startswith("Skywork/Skywork-Reward-V2-")
    assert recipe.win_rate.reward.trust_remote_code is False
    assert read_recipe(path, ["win_rate=null"]).win_rate is None
    # From one GPU to sixteen without a change.
    assert recipe.batch_size % (16 * args.per_device_train_batch_size) == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_says_what_was_not_done_and_how_to_do_it(path):
    text = path.read_text(encoding="utf-8")
    assert "NOT RUN AT FULL SIZE" in text
    assert f"accelerate launch -m prefstrength.recipes.train recipes/{path.name}" in text
    shared = (path.parent / "shared" / "paper.yaml").read_text(encoding="utf-8")
    ours = ("learning_rate", "beta", "batch_size", "warmup_steps", "strength_start_cv")
    for name in (*ours, "name_or_path", "opponent", "prompts", "max_new_tokens", "temperature"):
        lines = [line for line in shared.splitlines() if line.strip().startswith(f"{name}:")]
        assert lines, name
        assert all("OUR CHOICE" in line for line in lines), name


# -- reading a recipe ------------------------------------------------------------------------------

SMALL = """
model: path/to/model
output_dir: runs/small
batch_size: 8
data: {source: pairs.parquet, groups: region}
training: {learning_rate: 1e-6, max_steps: 3}
preference: {beta: 0.2, learning_rate: 5e-7}
methods:
  dpo: {}
  mixdpo: {strength_family: LogNormal, strength_start_cv: 0.4, beta: 0.3}
"""


JUDGED = "win_rate={judge: path/to/judge, opponent: dpo}"


def written(tmp_path, text=SMALL, name="small.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_sections_are_laid_over_each_other(tmp_path):
    path = written(tmp_path)
    other = written(tmp_path, "extends: small.yaml\nmodel: other\nmethods: {dpo: {beta: 0.5}}", "b")
    recipe = read_recipe(other, ["preference.max_length=99", "methods.mixdpo.samples=4"])
    assert recipe.name == "b"
    assert recipe.model == "other"
    assert recipe.sft is None
    assert recipe.stages == ("dpo", "mixdpo")
    assert recipe.data.groups == ("region",)
    assert recipe.methods["dpo"] == {
        "learning_rate": "5e-7", "max_steps": 3, "beta": 0.5, "max_length": 99,
    }  # fmt: skip
    assert recipe.methods["mixdpo"]["beta"] == 0.3
    assert read_recipe(path, ["sft={}"]).sft == {"learning_rate": "1e-6", "max_steps": 3}


def test_a_prior_takes_the_place_of_mean_and_spread(tmp_path):
    prior = tmp_path / "strength_prior.json"
    StrengthPrior("LogNormal", np.log(0.15), 0.2, np.log(0.7), 0.3).save(prior)
    recipe = read_recipe(written(tmp_path), [f"methods.mixdpo.strength={prior}"])
    args = preference_arguments(
        {**recipe.methods["mixdpo"], "use_cpu": True, "bf16": False}, tmp_path / "run", 8
    )
    assert args.beta == pytest.approx(0.15)
    assert args.strength_mode == "joint"
    assert recipe.methods["dpo"]["beta"] == 0.2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["modle=a"], r"Expected extends, model, .* got 'modle'. Did you mean 'model'\?"),
        (["model=null"], "Expected model in recipe .*small.yaml; got none"),
        (["methods=null"], "Expected methods in recipe"),
        (["methods.dpo=3"], "Expected names and values under dpo .* got 3"),
        (["methods.sft={}"], "other than 'sft' and 'win_rate'; got 'sft'"),
        (["methods={../up: {}}"], r"got '\.\./up'"),
        (["batch_size=0"], "Expected batch_size as a whole number >= 1 .* got 0"),
        (["batch_size=8.5"], "got 8.5"),
        (["seed=-1"], "Expected seed as a whole number >= 0"),
        (["data.sorce=x"], r"in data of recipe small.yaml; got 'sorce'. Did you mean 'source'\?"),
        (["data.source=null"], "Expected data.source in recipe"),
        (["data.eval_fraction=2"], "data.eval_fraction as a number between 0 and 1; got 2"),
        (["preference.output_dir=x"], "Expected no output_dir for stage dpo .* got 'x'"),
        (["training.gradient_accumulation_steps=2"], "It follows from batch_size of the recipe"),
        (["data.eval_fraction=lots"], "data.eval_fraction as a number .* got 'lots'"),
        (["data.eval_fraction=true"], "data.eval_fraction as a number .* got True"),
        (["data.eval_fraction=[1]"], r"data.eval_fraction as a number .* got \[1\]"),
        (["data.groups=5"], "data.groups as names of columns; got 5"),
        (["data.groups=[region, 5]"], r"names of columns; got \['region', 5\]"),
        (["data.options=[1]"], r"data.options as names and values, .* got \[1\]"),
        (["data.split=5"], "data.split as a text; got 5"),
        (["data.split_by=[a]"], "data.split_by as a text"),
        (["data.split_by=who", "data.eval_split=test"], "got 'test' and 'who'.* one to null"),
        (["data.conversational=maybe"], "data.conversational as true or false; got 'maybe'"),
        (["methods={..: {}}"], r"not \. or - first.* got '\.\.'"),
        (["methods={.: {}}"], r"got '\.'"),
        (["data={source: a, source: b}"], r"got 'data=.*' \('source' a second time\)"),
        (["data"], "as key=value; got 'data'"),
        (["a..b=1"], "as key=value; got 'a..b=1'"),
        (["seed={"], "Expected a value as in YAML; got 'seed={'"),
        (["methods.win_rate={}"], "other than 'sft' and 'win_rate'; got 'win_rate'"),
        (["win_rate=3"], "Expected names and values under win_rate .* got 3"),
        (["win_rate.opponent=dpo"], r"Expected win_rate.judge in recipe .* win_rate=null"),
        (["win_rate={jugde: j}"], r"in win_rate of recipe .* Did you mean 'judge'\?"),
        ([JUDGED, "win_rate.opponent=ppo"], r"a stage .*\(dpo, mixdpo\); got 'ppo'.*=null"),
        ([JUDGED, "win_rate.prompts=0"], "win_rate.prompts as a whole number >= 1; got 0"),
        ([JUDGED, "win_rate.max_new_tokens=8.5"], "win_rate.max_new_tokens .* got 8.5"),
        ([JUDGED, "win_rate.temperature=-1"], "win_rate.temperature as a number, 0 .* got -1"),
        ([JUDGED, "win_rate.temperature=hot"], "got 'hot'. Write 0.7"),
        ([JUDGED, "win_rate.judge=[a]"], "name or path of a reward model, or as arguments"),
        ([JUDGED, "win_rate.judge={head: 0}"], "win_rate.judge.name_or_path; got none"),
        ([JUDGED, "win_rate.judge={trust_remote_code: true}"], "got 'trust_remote_code'"),
        ([JUDGED, "win_rate.judge={name_or_path: j, template: poem}"], "got 'poem'"),
        ([JUDGED, "win_rate.judge={name_or_path: j, head: x}"], "judge cannot be taken. .*'x'"),
        (["model=[a]"], r"Expected model in recipe .* as a text; got \['a'\]"),
        (["output_dir=5"], "Expected output_dir in recipe .* as a text; got 5"),
        (["seed=2020-13-45"], "Expected a value as in YAML; got 'seed=2020-13-45' .*month"),
        (["extends=other.yaml"], "extends in a recipe's file alone; got 'extends=other.yaml'"),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        read_recipe(written(tmp_path), changes)


def test_numbers_that_yaml_reads_as_texts(tmp_path):
    recipe = read_recipe(written(tmp_path), ["data.eval_fraction=5e-2"])
    assert recipe.data.eval_fraction == 0.05
    recipe = read_recipe(written(tmp_path), [JUDGED, "win_rate.temperature=7e-1"])
    assert recipe.win_rate.temperature == 0.7


def test_a_judge_is_a_name_or_arguments(tmp_path):
    path = written(tmp_path)
    assert read_recipe(path).win_rate is None
    settings = read_recipe(path, [JUDGED]).win_rate
    assert settings.reward == HFReward("path/to/judge")
    assert (settings.opponent, settings.prompts, settings.temperature) == ("dpo", 512, 0.0)
    more = ["win_rate.judge={name_or_path: j, template: plain, batch_size: 2}"]
    settings = read_recipe(path, [JUDGED, *more, "win_rate.temperature=1"]).win_rate
    assert settings.reward == HFReward("j", template="plain", batch_size=2)
    assert settings.temperature == 1


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(InputError, match="Expected a recipe at .*none.yaml; got no file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="to extend another recipe; got itself"):
        read_recipe(written(tmp_path, "extends: self.yaml", "self.yaml"))
    with pytest.raises(InputError, match="Expected YAML in .*month must be in"):
        read_recipe(written(tmp_path, "seed: 2020-13-45", "date.yaml"))
    with pytest.raises(InputError, match="Expected YAML in .*line 1"):
        read_recipe(written(tmp_path, "model: [", "broken.yaml"))
    twice = SMALL.replace("batch_size: 8", "batch_size: 8\nmodel: another")
    with pytest.raises(InputError, match=r"Expected YAML in .*twice.*; got 'model' a second time"):
        read_recipe(written(tmp_path, twice, "twice.yaml"))
    anchors = "\nextra: &a {model: x}\nmore: &b {<<: *a, model: y}\nlast: {<<: *b, model: z}"
    with pytest.raises(InputError, match="got 'extra'"):  # merging says nothing twice
        read_recipe(written(tmp_path, SMALL + anchors, "anchors.yaml"))
    with pytest.raises(InputError, match="Expected names and values in recipe .*got list"):
        read_recipe(written(tmp_path, "- model", "list.yaml"))


CPU = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 4}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lerning_rate": 1}, "Expected arguments of MixDPOConfig for run; got lerning_rate"),
        ({"learning_rate": "fast"}, "arguments for run cannot be taken.* invalid float value"),
        ({"strength_family": "Cauchy"}, "Expected strength_family to be one of .* got 'Cauchy'"),
        ({"lr_scheduler_type": "zigzag"}, "zigzag"),
        ({"bf16": True, "fp16": True}, "that MixDPOConfig accepts for run; got: .*fp16"),
        ({"per_device_train_batch_size": 3}, "got 8 for 1 of 3 .* Take a multiple of 3"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size of at least 1 for run"),
        ({"trust_remote_code": True}, "got trust_remote_code: True. .* is not run"),
        ({"model_init_kwargs": {"trust_remote_code": True}}, "got trust_remote_code: True"),
        ({"model_init_kwargs": {"use_safetensors": False}}, "got use_safetensors: False"),
    ],
)
def test_arguments_that_the_trainers_do_not_take(tmp_path, values, text):
    with pytest.raises(InputError, match=text):
        preference_arguments({**CPU, **values}, tmp_path / "run", batch_size=8)


@pytest.mark.parametrize("name", ["outcome", "reward_a", "delta", "row", "prompt"])
def test_groups_with_names_that_results_use(tmp_path, name):
    with pytest.raises(InputError, match=f"the results do not use themselves; got '{name}'"):
        preference_arguments(CPU, tmp_path / "run", 8, groups=("region", name))


def test_a_level_with_a_name_of_the_logs_is_known_before_training(ran, tmp_path):
    folder, _ = ran
    pairs = pd.read_parquet(folder / "pairs.parquet")
    pairs.assign(region=pairs["region"].replace("coast", "macro")).to_parquet(
        tmp_path / "p.parquet"
    )
    with pytest.raises(InputError, match="method dpo cannot .* levels of 'region' .* got 'macro'"):
        again(folder, tmp_path / "new", f"data.source={tmp_path / 'p.parquet'}")
    assert not (tmp_path / "new").exists()


def test_fine_tuning_evaluates_nothing(tmp_path):
    with pytest.raises(InputError, match="no eval_strategy for supervised .* got 'steps'"):
        sft_arguments({**CPU, "eval_strategy": "steps"}, tmp_path / "sft", batch_size=8)


# -- data ------------------------------------------------------------------------------------------


def frame(n=40):
    return pd.DataFrame(
        {
            "prompt": [f"p{i}" for i in range(n)],
            "chosen": [f" c{i}" for i in range(n)],
            "rejected": [f" r{i}" for i in range(n)],
            "who": [f"w{i % 8}" for i in range(n)],
            "region": ["a", None] * (n // 2),
        }
    )


def test_a_split_keeps_levels_together_and_is_the_same_again(tmp_path):
    path = tmp_path / "pairs.parquet"
    table = frame()
    table.to_parquet(path)
    settings = DataSettings(str(path), eval_fraction=0.25, split_by="who", groups=("region",))
    train, held = load_data(settings, seed=1)
    who = dict(zip(table["prompt"], table["who"], strict=True))
    sides = [set(side["prompt"].map(who)) for side in (train, held)]
    assert len(sides[1]) == 2
    assert not sides[0] & sides[1]
    assert len(train) + len(held) == 40
    assert set(train["region"]) == {"a", NOT_STATED}
    assert list(train.columns) == ["prompt", "chosen", "rejected", "region", "who"]
    again = load_data(settings, seed=1)
    pd.testing.assert_frame_equal(train, again[0])
    pd.testing.assert_frame_equal(held, again[1])
    assert not held.equals(load_data(settings, seed=2)[1])


@pytest.mark.parametrize("conversations", [False, True])
@pytest.mark.parametrize("split_by", [None, "prompt"])
def test_without_another_column_no_prompt_is_on_both_sides(tmp_path, split_by, conversations):
    path = tmp_path / "pairs.parquet"
    table = frame().assign(prompt=[f"p{i % 10}" for i in range(40)])
    if conversations:
        table["prompt"] = [[{"role": "user", "content": text}] for text in table["prompt"]]
    table.to_parquet(path)
    sides = load_data(DataSettings(str(path), split_by=split_by, eval_fraction=0.2))
    prompts = [set(map(str, side["prompt"])) for side in sides]
    assert (len(prompts[0]), len(prompts[1]), len(sides[1])) == (8, 2, 8)
    assert not prompts[0] & prompts[1]


def test_pairs_without_a_preference_are_left_out_and_counted(tmp_path):
    path = tmp_path / "pairs.jsonl"
    table = frame()
    table["tie"] = [True] * 3 + [False] * 37
    table.loc[5, "rejected"] = table.loc[5, "chosen"]
    table.to_json(path, orient="records", lines=True)
    with pytest.warns(DataWarning, match="left out 3 ties and 1 of two equal"):
        train, held = load_data(DataSettings(str(path)))
    assert len(train) + len(held) == 36


def test_hh_comes_with_prompts_and_its_own_test_pairs(tmp_path):
    for split in ("train", "test"):
        file = tmp_path / "helpful-base" / f"{split}.jsonl.gz"
        file.parent.mkdir(exist_ok=True)
        pair = {
            "chosen": f"\n\nHuman: Hi {split}!\n\nAssistant: Hello.",
            "rejected": f"\n\nHuman: Hi {split}!\n\nAssistant: What?",
        }
        file.write_bytes(gzip.compress(json.dumps(pair).encode()))
    changes = [f"data.path={tmp_path}"]
    settings = read_recipe(ROOT / "recipes" / "pythia-2.8b-hh.yaml", changes).data
    train, held = load_data(settings)
    assert train.iloc[0].to_dict() == {
        "prompt": "\n\nHuman: Hi train!\n\nAssistant:",
        "chosen": " Hello.",
        "rejected": " What?",
        "criterion": "helpful",
        "subset": "helpful-base",
    }
    assert "Hi test!" in held.loc[0, "prompt"]


def test_prism_keeps_conversations_apart_and_carries_the_survey(tmp_path):
    from tests.data.test_sources import make_prism, person, utterance

    turns = [
        utterance(c, turn, within, f"answer {within} of {c}", 90 - within, within == 0, f"u{c % 5}")
        for c in range(20)
        for turn, answers in ((0, 4), (1, 2))
        for within in range(answers)
    ]
    people = [person(f"u{i}", "Africa" if i else "US", gender=None) for i in range(5)]
    make_prism(tmp_path, turns, people)
    recipe = read_recipe(ROOT / "recipes" / "pythia-2.8b-prism.yaml", [f"data.path={tmp_path}"])
    train, held = load_data(recipe.data)
    assert (len(train), len(held)) == (18 * 4, 2 * 4)
    assert list(train.columns) == [
        "prompt", "chosen", "rejected", "region", "gender", "age", "conversation_id",
    ]  # fmt: skip
    assert set(train["region"]) == {"Africa", "US"}
    assert set(train["gender"]) == {NOT_STATED}
    assert train["prompt"].str.endswith("\n\nAssistant:").all()
    talks = [set(side["prompt"].str.extract(r"of conversation (\d+)")[0]) for side in (train, held)]
    assert not talks[0] & talks[1]
    assert len(sft_texts(train)) == 18 * 2  # three pairs of a first turn share their answer


def test_messages_are_texts_too(tmp_path):
    path = tmp_path / "pairs.parquet"
    table = frame(8)
    for name, role in (("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant")):
        table[name] = [[{"role": role, "content": text}] for text in table[name]]
    table = pd.concat([table, table])
    table.to_parquet(path)
    train, held = load_data(DataSettings(str(path), eval_fraction=0.5, split_by="who"))
    both = pd.concat([train, held])
    assert len(both) == 16
    assert len(sft_texts(both)) == 8


@pytest.mark.parametrize(
    ("changes", "drop", "text"),
    [
        ({"groups": ("land",)}, (), "got no land among"),
        ({}, ("prompt",), r"got no prompt among .* map trl.extract_prompt"),
        ({"split_by": "planet"}, (), "got no planet among"),
        ({"eval_split": "test"}, (), "A file has no splits"),
        ({"split": "test"}, (), "no data.split with the file .* got 'test'"),
        ({"revision": "main"}, (), "no data.revision with the file .* no revisions"),
        ({"path": "x"}, (), "with prism, hh, helpsteer3 alone; got them with"),
        ({"split_by": "dataset"}, (), "enough levels of dataset in .* to hold some out; got 1"),
    ],
)
def test_data_that_cannot_be_used(tmp_path, changes, drop, text):
    path = tmp_path / "pairs.parquet"
    frame().assign(dataset="one").drop(columns=list(drop)).to_parquet(path)
    with pytest.raises(InputError, match=text):
        load_data(DataSettings(str(path), **changes))


def test_pairs_without_texts(tmp_path):
    path = tmp_path / "pairs.parquet"
    table = frame()
    table.loc[[3, 5], "rejected"] = None
    table.to_parquet(path)
    with pytest.raises(
        InputError, match=r"Expected rejected of every pair .* in 2 of 40 rows \(first: 3, 5\)"
    ):
        load_data(DataSettings(str(path)))


@pytest.mark.parametrize("options", [{"subst": "helpful-base"}, {"split": "test"}])
def test_options_that_a_source_does_not_have(options):
    with pytest.raises(InputError, match=f"data.options cannot be taken.*{next(iter(options))}"):
        load_data(DataSettings("hh", options=options))


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="got nothing"):
        load_data(DataSettings(str(tmp_path / "pairs.parquet")))
    with pytest.raises(InputError, match="or a dataset on the hub; got 'no-one/no-data'"):
        load_data(DataSettings("no-one/no-data"))


def test_further_columns_come_along_where_they_are_there(tmp_path):
    path = tmp_path / "pairs.parquet"
    frame().assign(weight=2.5, country=["x", None] * 20).to_parquet(path)
    settings = DataSettings(str(path), groups=("region",))
    for side in load_data(settings, groups=["country"], numbers=["weight", "length"]):
        assert list(side.columns) == [
            "prompt", "chosen", "rejected", "region", "country", "weight",
        ]  # fmt: skip
        assert set(side["country"]) <= {"x", NOT_STATED}


# -- in miniature ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All stages of a recipe, in miniature, and the table."""
    folder = tmp_path_factory.mktemp("miniature")
    files = miniature().run(folder, pairs=480, steps=6)
    return folder, files


def again(folder, runs, *more, stages=None):
    """The recipe once more, on the model and the pairs of the miniature."""
    script = miniature()
    changes = [*script.changes(folder, folder / "pairs.parquet", 6), f"output_dir={runs}", *more]
    running.run_recipe(read_recipe(script.RECIPE, changes), stages)


def test_every_stage_trains_and_is_evaluated(ran):
    folder, _ = ran
    weights = {name: load_file(folder / "runs" / name / "model.safetensors") for name in METHODS}
    start = load_file(folder / "runs" / "sft" / "model.safetensors")
    first = load_file(folder / "model" / "model.safetensors")
    assert any((start[name] != first[name]).any() for name in first)
    table = pd.read_parquet(folder / "pairs.parquet")
    script = miniature()
    recipe = read_recipe(script.RECIPE, script.changes(folder, folder / "pairs.parquet", 6))
    prompts = load_data(recipe.data, recipe.seed)[1]["prompt"]
    assert prompts.duplicated().any()
    for name, family in METHODS.items():
        stage = folder / "runs" / name
        assert any((weights[name][key] != start[key]).any() for key in start)
        learned = LearnedStrength.load(stage)
        assert (learned.family, learned.steps) == (family, 6)
        assert learned.model == str(folder / "runs" / "sft")
        pairs = pd.read_parquet(stage / "evaluation" / "pairs.parquet")
        assert len(pairs) == len(prompts) == pytest.approx(0.1 * len(table), abs=20)
        assert pairs["row"].tolist() == list(range(len(pairs)))
        assert pairs["delta"].abs().max() > 0.1
        metrics = pd.read_csv(stage / "evaluation" / "metrics.csv").set_index("level")
        mean = learned.mixing().mean()
        assert metrics.loc["all", "margin"] == pytest.approx(mean * pairs["delta"].mean())
        by_hand = mean * pairs.groupby("region")["delta"].mean().mean()
        region = metrics[metrics["factor"] == "region"]
        assert region.loc["macro", "margin"] == pytest.approx(by_hand)
        # Pairs of one prompt are not independent: the interval goes by prompts (Bell, McCaffrey).
        by_prompt = (pairs["delta"] - pairs["delta"].mean()).groupby(prompts)
        off, share = by_prompt.sum(), by_prompt.size() / len(pairs)
        error = np.sqrt((off**2 / (1 - share)).sum()) / len(pairs)
        pull = share**2 / (1 - share)
        freedom = 1 / ((share**2).sum() + pull.sum() ** 2 - (pull**2).sum())
        low = mean * (pairs["delta"].mean() - stats.t.ppf(0.95, freedom) * error)
        assert metrics.loc["all", "margin_low"] == pytest.approx(low)
        assert not list(stage.glob("training_args.bin"))
    free = LearnedStrength.load(folder / "runs" / "mixdpo-gamma")
    assert free.mixing().mean() != pytest.approx(0.1, rel=1e-6)


OWN = "mixdpo-lognormal"


@pytest.fixture(scope="module")
def by_region(ran, tmp_path_factory):
    """One method that asks for columns of its own, and whose strength differs by region."""
    folder, runs = ran[0], tmp_path_factory.mktemp("by-region")
    pairs = pd.read_parquet(folder / "pairs.parquet")
    words = pairs["chosen"].str.split().str.len()
    rewards = {"reward_chosen": words.astype(float), "reward_rejected": 1.0}
    pairs.assign(place=pairs["region"], words=words, weight=words / 4, **rewards).to_parquet(
        runs / "pairs.parquet"
    )
    method = (
        f"methods.{OWN}={{objective: odpo, weight_column: weight, strength_covariates: [words], "
        "strength_group_column: place, strength_group_location_scale: 2.0, "
        "strength_learning_rate: 0.3}"
    )
    again(folder, runs, method, *from_the_start(folder, runs), stages=[OWN])
    return runs


def from_the_start(folder, runs):
    return [
        "win_rate=null", "sft=null", f"model={folder / 'model'}",
        f"data.source={runs / 'pairs.parquet'}",
    ]  # fmt: skip


def test_every_pair_is_evaluated_under_its_own_strength(by_region):
    learned = LearnedStrength.load(by_region / OWN)
    assert learned.columns == ("place", "words")
    means = {level: learned.of_group(level).mixing().mean() for level in learned.groups}
    assert max(means.values()) > 1.05 * min(means.values())
    effect = learned.covariates["words"]
    assert abs(effect.coefficient) > 0.05
    recipe = read_recipe(
        miniature().RECIPE,
        [*miniature().changes(by_region, by_region / "pairs.parquet", 6)],
    )
    _, held = load_data(recipe.data, recipe.seed, numbers=["words"])
    pairs = pd.read_parquet(by_region / OWN / "evaluation" / "pairs.parquet")
    shift = effect.coefficient * (held["words"] - effect.mean) / effect.sd
    margins = pairs["region"].map(means) * np.exp(shift) * pairs["delta"]
    metrics = pd.read_csv(by_region / OWN / "evaluation" / "metrics.csv").set_index("level")
    assert metrics.loc["all", "margin"] == pytest.approx(margins.mean())
    for level, mean in margins.groupby(pairs["region"]).mean().items():
        assert metrics.loc[level, "margin"] == pytest.approx(mean)


def test_columns_of_one_method_do_not_touch_the_other_stages(ran, by_region):
    folder, _ = ran
    settings = [
        json.loads((stage / "settings.json").read_text())
        for stage in (folder / "runs" / OWN, by_region / OWN)
    ]
    assert settings[0]["train_sha256"] == settings[1]["train_sha256"]
    assert "columns_sha256" not in settings[0]
    pairs = pd.read_parquet(by_region / "pairs.parquet")
    changed = by_region / "changed"
    changed.mkdir()
    pairs.assign(weight=1.0).to_parquet(changed / "pairs.parquet")
    method = f"methods.{OWN}={json.dumps(settings[1]['arguments'])}"
    more = [method, *from_the_start(folder, changed)]
    with pytest.raises(InputError, match="the content of columns_sha256"):
        again(folder, by_region, *more, stages=[OWN])


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("{objective: odpo}", "Expected columns reward_chosen, reward_rejected in train_dataset"),
        ("{weight_column: w}", "Expected columns w in train_dataset"),
        ("{weight_column: minus}", r"Expected weights >= 0 in column minus .* got -1.0 in row"),
        ("{strength_family: Gamma, strength_covariates: [x]}", "Expected a column x in train"),
        (
            "{strength_family: Gamma, strength_covariates: [one]}",
            "Expected a covariate that varies",
        ),
        ("{strength_family: Gamma, strength_group_column: y}", "Expected a column y in train"),
        (
            "{strength_family: Gamma, strength_group_column: rare}",
            r"got 'held out' in row .* of eval",
        ),
        ("{max_length: 3}", "pairs in train_dataset that fit into max_length; got .* Raise max_l"),
    ],
)
def test_a_method_that_cannot_run_is_known_before_training(ran, tmp_path, method, text):
    folder, _ = ran
    pairs = pd.read_parquet(folder / "pairs.parquet")
    script = miniature()
    data = read_recipe(script.RECIPE, script.changes(folder, folder / "pairs.parquet", 6)).data
    held = ~pairs["prompt"].isin(set(load_data(data)[0]["prompt"]))
    assert 0 < held.sum() < len(pairs)
    pairs.assign(minus=-1.0, one=1, rare=np.where(held, "held out", "trained on")).to_parquet(
        tmp_path / "pairs.parquet"
    )
    more = [f"data.source={tmp_path / 'pairs.parquet'}", f"methods.last={method}"]
    with pytest.raises(InputError, match=f"The method last cannot be trained on .*{text}"):
        again(folder, tmp_path / "new", *more)
    assert not (tmp_path / "new").exists()


def test_the_table_says_what_the_files_say(ran):
    folder, (csv, markdown, tex, _) = ran
    table = pd.read_csv(csv)
    assert set(table["method"]) == set(METHODS)
    assert set(table["factor"]) == {"dataset", "region"}
    assert len(table) == 6
    row = table[(table["method"] == "mixdpo-lognormal") & (table["factor"] == "region")].iloc[0]
    stage = folder / "runs" / "mixdpo-lognormal"
    metrics = pd.read_csv(stage / "evaluation" / "metrics.csv")
    macro = metrics[(metrics["factor"] == "region") & (metrics["kind"] == "macro")].iloc[0]
    for end in ("", "_low", "_high"):
        assert row[f"macro_margin{end}"] == pytest.approx(macro[f"margin{end}"])
        assert row[f"micro_margin{end}"] == pytest.approx(metrics.loc[0, f"margin{end}"])
    law = LearnedStrength.load(stage).mixing()
    assert (row["family"], row["mean_strength"]) == ("LogNormal", pytest.approx(law.mean()))
    assert row["cv_strength"] == pytest.approx(law.cv())
    text = markdown.read_text()
    assert text.count("\n| pythia-2.8b-prism |") == 6
    assert r"\begin{tabular}" in tex.read_text()


def test_the_table_tells_runs_of_one_recipe_apart(ran, tmp_path):
    folder, _ = ran
    base = ["win_rate=null", "sft=null", f"model={folder / 'model'}", "training.max_steps=1"]
    for seed, more in (("0", []), ("1", ["methods.dpo.beta=0.2"])):
        again(folder, tmp_path / "runs" / f"s{seed}", *base, f"seed={seed}", *more, stages=["dpo"])
    csv, markdown, *_ = results.write_table([tmp_path / "runs"], tmp_path)
    table = pd.read_csv(csv).drop_duplicates("run")
    assert table["run"].tolist() == [str(tmp_path / "runs" / name) for name in ("s0", "s1")]
    assert table["seed"].tolist() == [0, 1]
    assert table["changes"].str.endswith("seed=1; methods.dpo.beta=0.2").tolist() == [False, True]
    rows = [
        re.split(r"(?<!\\) *\| ", line)[1:] for line in markdown.read_text().splitlines()
        if line.startswith("| ")
    ]  # fmt: skip
    of_results = [row[:4] for row in rows if row[0] == "pythia-2.8b-prism"]
    assert of_results[0] == ["pythia-2.8b-prism", "s0", "0", "dpo"]
    assert of_results[-1] == ["pythia-2.8b-prism", "s1", "1", "dpo"]
    changed = {row[0]: row[4] for row in rows if row[0] in ("s0", "s1")}
    assert "training.max\\_steps=1" in changed["s0"]
    assert "methods.dpo.beta" not in changed["s0"]
    assert changed["s1"].rstrip(" |").endswith("methods.dpo.beta=0.2")
    assert "seed=" not in changed["s1"]


def test_learned_strengths_of_groups_have_a_table(by_region, tmp_path):
    _, markdown, tex, csv = results.write_table([by_region], tmp_path)
    learned = LearnedStrength.load(by_region / OWN)
    table = pd.read_csv(csv, keep_default_na=False, na_values=[""])
    assert table["level"].tolist()[0] == "all"
    groups = table[table["column"] == "place"].set_index("level")
    assert set(groups.index) == set(learned.groups)
    assert groups["mean"].is_monotonic_increasing
    for level, group in learned.groups.items():
        law = learned.of_group(level).mixing()
        assert groups.loc[level, "pairs"] == group.pairs > 0
        assert groups.loc[level, ["mean", "cv"]].tolist() == pytest.approx([law.mean(), law.cv()])
        assert f"| place | {level} | {group.pairs} |" in markdown.read_text()
        assert f"place & {level} & {group.pairs} &" in tex.read_text()
    covariate = table[table["column"] == "words"].iloc[0]
    assert covariate["coefficient"] == pytest.approx(learned.covariates["words"].coefficient)
    assert "Learned strength by group" in markdown.read_text()


def test_a_second_run_keeps_what_is_there(ran):
    folder, _ = ran
    stage = folder / "runs" / "dpo"
    names = ("model.safetensors", "trained.json", "settings.json", "win_rate")
    files = [stage / name for name in names]
    before = [file.stat().st_mtime_ns for file in files]
    metrics = stage / "evaluation" / "metrics.csv"
    whole = metrics.read_bytes()
    metrics.unlink()  # as if it had been stopped while evaluating
    again(folder, folder / "runs")
    assert metrics.read_bytes() == whole
    assert [file.stat().st_mtime_ns for file in files] == before


def test_methods_are_judged_on_prompts_that_were_held_out(ran):
    folder, (csv, markdown, *_) = ran
    table = pd.read_csv(csv)
    script = miniature()
    recipe = read_recipe(script.RECIPE, script.changes(folder, folder / "pairs.parquet", 6))
    train, held = load_data(recipe.data, recipe.seed)
    known = {tuple(row) for row in held[["prompt", "dataset", "region"]].to_numpy()}
    judge = HFReward(folder / "judge", template="plain")
    assert not (folder / "runs" / "sft" / "win_rate").exists()
    seen = []
    for name in METHODS:
        saved = folder / "runs" / name / "win_rate"
        responses = pd.read_parquet(saved / "responses.parquet")
        assert len(responses) == 16
        assert {tuple(row) for row in responses[["prompt", "dataset", "region"]].to_numpy()} < known
        assert not set(responses["prompt"]) & set(train["prompt"])
        seen.append(responses["prompt"].tolist())
        # The method is a, the fine-tuned model b, and the recipe's judge said who is better.
        for side, stage in (("a", name), ("b", "sft")):
            model = AutoModelForCausalLM.from_pretrained(folder / "runs" / stage)
            made = generate.generate_responses(
                model,
                AutoTokenizer.from_pretrained(folder / "runs" / stage),
                responses["prompt"].tolist(),
                generate.Decoding(8),
                progress=False,
            )
            assert made["response"].tolist() == responses[f"response_{side}"].tolist()
        pairs = responses[["prompt"]].assign(
            chosen=responses["response_a"], rejected=responses["response_b"]
        )
        scores = judge.score_pairs(pairs, progress=False)
        np.testing.assert_allclose(scores.chosen, responses["reward_a"], atol=1e-5)
        np.testing.assert_allclose(scores.rejected, responses["reward_b"], atol=1e-5)
        # The table holds what follows from the responses, with the intervals that were saved.
        lead = responses["reward_a"] - responses["reward_b"]
        same = responses["response_a"] == responses["response_b"]
        assert responses["outcome"].tolist() == np.where(same, 0.5, lead > 0).tolist()
        by_hand = win_metrics(
            responses["outcome"], lead, responses["characters_a"] - responses["characters_b"]
        ).iloc[0]
        metrics = pd.read_csv(saved / "metrics.csv")
        rows = table[table["method"] == name]
        for rate in ("win_rate", "length_controlled_win_rate"):
            for end in ("", "_low", "_high"):
                assert rows[rate + end].nunique() == 1
                assert rows[rate + end].iloc[0] == pytest.approx(metrics.loc[0, rate + end])
            assert rows[rate].iloc[0] == pytest.approx(by_hand[rate])
            low, middle, high = (rows[rate + end].iloc[0] for end in ("_low", "", "_high"))
            assert low < middle < high
            assert f"{middle:.2f} ({low:.2f}–{high:.2f})" in markdown.read_text()
        assert set(metrics["factor"]) == {"all", "dataset", "region"}
        assert rows["opponent"].unique().tolist() == [str(folder / "runs" / "sft")]
        assert rows["prompts"].unique().tolist() == [16]
        settings = json.loads((saved / "settings.json").read_text())
        assert settings["recipe"]["judge"]["fingerprint"] == judge.identity()["fingerprint"]
    assert seen[0] == seen[1] == seen[2]
    assert table["win_rate"].min() != 0.5  # the judge told them apart


@pytest.mark.filterwarnings("ignore:Expected length differences that vary")  # of few prompts
def test_win_rates_go_on_and_are_measured_anew_when_something_changed(ran, tmp_path, monkeypatch):
    folder, _ = ran
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs", runs, ignore=shutil.ignore_patterns("checkpoint-*"))
    saved = {name: runs / name / "win_rate" / "metrics.csv" for name in METHODS}
    before = {name: path.read_bytes() for name, path in saved.items()}
    shutil.rmtree(runs / "dpo" / "win_rate")  # as if it had been stopped while judging
    made = []
    of_batch = generate.responses_of_batch
    monkeypatch.setattr(
        generate, "responses_of_batch", lambda *all: made.append(1) or of_batch(*all)
    )
    again(folder, runs)
    assert {name: path.read_bytes() for name, path in saved.items()} == before
    assert not made  # all responses were there
    # Against another stage only what is new is done, and that stage keeps what it has.
    again(folder, runs, "win_rate.opponent=dpo", stages=["dpo", "mixdpo-gamma"])
    assert not made
    kept = [saved[name].read_bytes() == before[name] for name in METHODS]
    assert kept == [True, True, False]
    row = results.collect_results([runs / "mixdpo-gamma"]).iloc[0]
    assert row["opponent"] == str(runs / "dpo")
    # Other settings, other weights of the opponent: measured anew.
    again(folder, runs, "win_rate.prompts=4", stages=["mixdpo-lognormal"])
    row = results.collect_results([runs / "mixdpo-lognormal"]).iloc[0]
    assert (row["prompts"], row["opponent"], made) == (4, str(runs / "sft"), [])
    shutil.copy(folder / "model" / "model.safetensors", runs / "sft")
    again(folder, runs, stages=["dpo"])
    assert made
    assert saved["dpo"].read_bytes() != before["dpo"]


def test_prompts_that_are_trained_on_are_not_judged(ran, tmp_path):
    folder, _ = ran
    runs = tmp_path / "runs"
    changes = [
        "sft=null", f"model={folder / 'runs' / 'sft'}", "training.max_steps=1",
        "data.split_by=annotator", "win_rate.prompts=99", "win_rate.opponent=dpo",
    ]  # fmt: skip
    again(folder, runs, *changes, stages=["dpo", "mixdpo-gamma"])
    script = miniature()
    few = [*script.changes(folder, folder / "pairs.parquet", 6), *changes]
    recipe = read_recipe(script.RECIPE, few)
    train, held = (set(side["prompt"]) for side in load_data(recipe.data, recipe.seed))
    assert held & train
    responses = pd.read_parquet(runs / "mixdpo-gamma" / "win_rate" / "responses.parquet")
    assert set(responses["prompt"]) == held - train != set()


def test_win_rates_that_cannot_be_measured_are_known_before_training(ran, tmp_path):
    folder, _ = ran
    new = tmp_path / "new"
    with pytest.raises(InputError, match="a folder with .*; got '/none/judge'"):
        again(folder, new, "win_rate.judge.name_or_path=/none/judge")
    with pytest.raises(InputError, match="expects a chat template"):
        again(folder, new, "win_rate.judge.template=chat")
    with pytest.raises(InputError, match="opponent 'dpo' among the stages, or trained to its end"):
        again(folder, new, "win_rate.opponent=dpo", stages=["sft", "mixdpo-gamma"])
    # Another column may put a prompt on both sides.
    pairs = pd.read_parquet(folder / "pairs.parquet")
    pairs.assign(prompt=pairs["prompt"].iloc[0]).to_parquet(tmp_path / "one.parquet")
    by_person = [f"data.source={tmp_path / 'one.parquet'}", "data.split_by=annotator"]
    with pytest.raises(InputError, match="prompts that are not trained on, .* all prompts of the"):
        again(folder, new, *by_person)
    assert not new.exists()
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs", runs, ignore=shutil.ignore_patterns("checkpoint-*"))
    (runs / "dpo" / "win_rate" / "settings.json").write_text("{}")
    with pytest.raises(
        InputError, match="folder for a win rate of a recipe, .*dpo/win_rate.*settings.json"
    ):
        again(folder, runs, stages=["dpo"])


@pytest.mark.filterwarnings("ignore:Expected length differences that vary")
def test_prompts_without_room_for_a_response_are_left_out(ran, tmp_path):
    folder, _ = ran
    judge = HFReward(folder / "judge", template="plain")
    text = pd.read_parquet(folder / "pairs.parquet").loc[:, "prompt"].iloc[0]
    prompts = pd.DataFrame({"prompt": [f"{text} " * 60, text, f"{text} {text}"]})
    few = {"max_new_tokens": 4, "temperature": 0.0, "seed": 0, "progress": False}
    stages = [folder / "runs" / name for name in ("dpo", "sft")]
    with pytest.warns(DataWarning, match="Left out 1 of 3 prompts that leave no room for 4 tokens"):
        done = judge_policy(*stages, judge, prompts, (), most=1, out=tmp_path, **few)
    assert done.responses["prompt"].tolist() == [text]
    with pytest.raises(InputError, match="got 1 of 1 prompts that leave no room.* Lower max_new"):
        judge_policy(*stages, judge, prompts[:1], (), most=1, out=tmp_path, **few)


def test_conversations_are_judged(ran, tmp_path):
    folder, _ = ran
    stages = []
    for name in ("dpo", "sft"):
        stages.append(tmp_path / name)
        source = folder / "runs" / name
        shutil.copytree(source, stages[-1], ignore=shutil.ignore_patterns("checkpoint-*"))
        tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
        tokenizer.save_pretrained(stages[-1])
    texts = pd.read_parquet(folder / "pairs.parquet")["prompt"].unique()[:6]
    talks = [np.array([{"role": "user", "content": text}]) for text in texts]  # as Parquet has them
    pairs = pd.DataFrame({"prompt": talks + talks, "chosen": "yes", "rejected": "no", "who": "all"})
    prompts = distinct_prompts(pairs, seed=3)
    assert len(prompts) == 6
    judge = HFReward(folder / "judge", template="plain")
    done = judge_policy(
        *stages, judge, prompts, ["who"], most=4, max_new_tokens=8, temperature=0.9, seed=1,
        out=tmp_path / "kept", progress=False,
    )  # fmt: skip
    asked = [talk[0]["content"] for talk in done.responses["prompt"]]
    assert asked == [talk[0]["content"] for talk in prompts["prompt"][:4]]
    assert done.metrics["factor"].tolist() == ["all", "who", "who", "who"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("sft.max_length=3", "texts that fit into max_length; got .* 3 tokens .* Raise sft.max_l"),
        ("sft={learning_rate: 1e30, max_grad_norm: 0}", "finite weights after training in .*sft"),
    ],
)
def test_fine_tuning_that_comes_to_nothing_is_no_stage_that_ended(ran, tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        again(ran[0], tmp_path, change, stages=["sft"])
    assert not (tmp_path / "sft" / "trained.json").exists()
    assert not (tmp_path / "sft" / "model.safetensors").exists()


def test_what_stopped_a_stage_before_it_began_can_be_corrected(ran, tmp_path):
    with pytest.raises(InputError, match="Raise sft.max_length"):
        again(ran[0], tmp_path, "sft.max_length=3", stages=["sft"])
    again(ran[0], tmp_path, "training.max_steps=1", stages=["sft"])
    settings = tmp_path / "sft" / "settings.json"
    assert json.loads(settings.read_text())["sft"]["max_length"] == 128
    with pytest.raises(InputError, match="begun with; got others .sft.max_length was 128, now 64"):
        again(ran[0], tmp_path, "training.max_steps=1", "sft.max_length=64", stages=["sft"])
    for damaged in ("{half", "5"):
        settings.write_text(damaged)
        with pytest.raises(InputError, match="record of the stage sft of a recipe as"):
            again(ran[0], tmp_path, "training.max_steps=1", stages=["sft"])


@pytest.mark.parametrize("stopped", [True, False])
def test_a_method_goes_on_from_no_other_fine_tuned_model(ran, tmp_path, stopped):
    folder, _ = ran
    for name in ("sft", "dpo"):
        shutil.copytree(folder / "runs" / name, tmp_path / name)
    if stopped:  # while it was trained: it would go on from its checkpoint
        (tmp_path / "dpo" / "trained.json").unlink()
    done = tmp_path / "sft" / "trained.json"
    record = json.loads(done.read_text())
    content = (tmp_path / "sft" / "model.safetensors").read_bytes()
    digest = hashlib.sha256(f"model.safetensors\0{hashlib.sha256(content).hexdigest()}\n".encode())
    assert record["weights_sha256"] == digest.hexdigest()
    # Fine-tuned anew, as another machine does it.
    done.write_text(json.dumps(record | {"weights_sha256": "another"}))
    with pytest.raises(
        InputError, match="dpo' was begun with; .*the content of sft_weights_sha256 changed"
    ):
        again(folder, tmp_path, stages=["dpo"])
    shutil.rmtree(tmp_path / "sft")
    with pytest.raises(
        InputError, match="dpo' was begun with; .*the content of sft_weights_sha256 changed"
    ):
        again(folder, tmp_path)
    assert not (tmp_path / "sft").exists()


def test_another_method_may_lack_its_prior(ran, tmp_path):
    folder, _ = ran
    missing = "methods.dpo={strength: none.json, strength_family: null}"
    again(folder, folder / "runs", missing, "win_rate=null", stages=["mixdpo-gamma"])
    with pytest.raises(InputError, match="Expected a strength prior at none.json"):
        again(folder, tmp_path, missing, "win_rate=null", stages=["sft", "dpo"])


@pytest.mark.parametrize("name", ["sft", "mixdpo-gamma"])
def test_interrupted_and_resumed_is_uninterrupted(ran, tmp_path, monkeypatch, name):
    folder, _ = ran
    runs = tmp_path / "runs"
    trainer = SFTTrainer if name == "sft" else MixDPOTrainer
    started = ["win_rate=null"]
    if name != "sft":
        started += [f"model={folder / 'runs' / 'sft'}", "sft=null"]
    step, steps = trainer.training_step, []

    def stopping(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    def counting(self, *args, **kwargs):
        steps.append(self.state.global_step)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        again(folder, runs, *started, stages=[name])
    assert (runs / name / "checkpoint-3").is_dir()
    assert not (runs / name / "trained.json").exists()
    monkeypatch.setattr(trainer, "training_step", counting)
    # What is shown and kept on the way may change; what is learned does not.
    others = ["logging_steps=2", "save_steps=4", "save_total_limit=1", "disable_tqdm=true"]
    again(folder, runs, *started, *(f"training.{each}" for each in others), stages=[name])
    assert sorted(set(steps)) == [3, 4, 5]
    mine, whole = runs / name, folder / "runs" / name
    first, second = (load_file(each / "model.safetensors") for each in (mine, whole))
    assert first.keys() == second.keys()
    assert all((first[key] == second[key]).all() for key in first)
    if name != "sft":
        laws = [LearnedStrength.load(each).parameters for each in (mine, whole)]
        assert laws[0] == laws[1]
        tables = [(each / "evaluation" / "metrics.csv").read_bytes() for each in (mine, whole)]
        assert tables[0] == tables[1]


def test_folders_with_something_else_are_left_alone(ran, tmp_path):
    folder, _ = ran
    before = (folder / "runs" / "dpo" / "settings.json").read_bytes()
    with pytest.raises(
        InputError,
        match=r"begun with; got others \(arguments.beta was 0.1, now 0.2\). Choose another",
    ):
        again(folder, folder / "runs", "methods.dpo.beta=0.2")
    with pytest.raises(
        InputError, match="sft' was begun with; .*seed was 0, now 5; the content of train_sha256"
    ):
        again(folder, folder / "runs", "seed=5", stages=["dpo"])
    assert (folder / "runs" / "dpo" / "settings.json").read_bytes() == before
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="sft', which holds something else .'thesis.txt'"):
        again(folder, tmp_path)
    with pytest.raises(InputError, match=r"stages of the recipe .*\(sft, dpo, .*; got ppo"):
        again(folder, tmp_path, stages=["ppo"])
    with pytest.raises(InputError, match="Expected the fine-tuned model in .* Run the stage sft"):
        again(folder, tmp_path / "new", stages=["dpo"])
    with pytest.raises(InputError, match="a causal language model in safetensors; got '/none'"):
        again(folder, tmp_path / "other", "model=/none", stages=["sft"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "seed=5",
            "seed was 0, now 5; the content of train_sha256",
        ),  # other pairs held out: those would have been trained on
        ("sft.learning_rate=5e-2", "sft.learning_rate"),
        ("model=another", "model"),
    ],
)
def test_a_method_starts_from_no_model_of_other_settings(ran, tmp_path, change, named):
    folder, _ = ran
    shutil.copytree(folder / "runs" / "sft", tmp_path / "sft")
    with pytest.raises(InputError, match=f"sft' was begun with; got others .*{named}"):
        again(folder, tmp_path, change, stages=["dpo"])
    assert not (tmp_path / "dpo").exists()


def test_a_method_is_judged_against_no_model_of_other_settings(ran, tmp_path):
    folder, _ = ran
    for name in ("sft", "dpo"):
        shutil.copytree(folder / "runs" / name, tmp_path / name)
    changes = ["methods.dpo.beta=0.2", "win_rate.opponent=dpo"]
    with pytest.raises(InputError, match=r"dpo' was begun with; .*arguments.beta was"):
        again(folder, tmp_path, *changes, stages=["mixdpo-gamma"])
    assert not (tmp_path / "mixdpo-gamma").exists()


def test_where_the_best_checkpoint_is_taken_it_matters_which_there_are():
    kept = {"arguments": {"load_best_model_at_end": True, "save_steps": 3, "logging_steps": 1}}
    other = {"arguments": {"load_best_model_at_end": True, "save_steps": 4, "logging_steps": 2}}
    seen = [running.of_effect(settings) for settings in (kept, other)]
    assert differences(*seen) == ["arguments.save_steps was 3, now 4"]
    del other["arguments"]["load_best_model_at_end"]
    assert "save_steps" not in running.of_effect(other)["arguments"]


def test_the_commands_name_mistakes_in_a_sentence(tmp_path, capsys, ran):
    assert running.main([str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith("Error: Expected a recipe at ")
    assert results.main([str(tmp_path)]) == 2
    assert "got no evaluation/metrics.csv" in capsys.readouterr().err
    assert results.main([str(ran[0] / "runs"), "--out", str(tmp_path / "table")]) == 0
    assert "| mixdpo-gamma |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "table").iterdir()} == {
        "results.csv", "results.md", "results.tex", "strengths.csv",
    }  # fmt: skip


@pytest.mark.parametrize(("rank", "start"), [("0", "Error: "), ("3", "Error (process 4): ")])
def test_every_process_says_what_it_found(tmp_path, capsys, monkeypatch, rank, start):
    monkeypatch.setenv("RANK", rank)
    assert running.main([str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"{start}Expected a recipe at ")


def test_the_commands_in_the_documents_are_understood(monkeypatch):
    read = []
    monkeypatch.setattr(running, "run_recipe", lambda recipe, stages: read.append((recipe, stages)))
    monkeypatch.chdir(ROOT)
    text = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^\$ accelerate launch (.*)$", text, flags=re.MULTILINE)
    for command in commands:
        words = shlex.split(command)
        module = words.index("-m")
        assert words[module + 1] == "prefstrength.recipes.train"
        assert running.main(words[module + 2 :]) == 0
    assert len(read) == len(commands) >= 5
    assert any(stages == ["sft", "mixdpo-lognormal"] for _, stages in read)
    assert any(recipe.data.groups == ("country",) for recipe, _ in read)
    for path in FILES:
        assert f"`{path.name}`" in text


OTHERS = [path for path in FILES if path != miniature().RECIPE]


def miniature_of(ran, path, tmp_path, *more, stages=None):
    """Another recipe, on the model, the judge and the pairs of the miniature."""
    changes = miniature().changes(ran[0], ran[0] / "pairs.parquet", 6)
    recipe = read_recipe(path, [*changes, f"output_dir={tmp_path / 'runs'}", *more])
    running.run_recipe(recipe, stages)
    return pd.read_csv(results.write_table([tmp_path / "runs"], tmp_path)[0])


@pytest.mark.filterwarnings("ignore:Expected length differences that vary")
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_recipe_runs_in_miniature_with_one_of_its_methods(ran, tmp_path, path):
    pairs = pd.read_parquet(ran[0] / "pairs.parquet")
    pairs.iloc[::5].to_parquet(tmp_path / "pairs.parquet")
    few = ["training.max_steps=2", f"data.source={tmp_path / 'pairs.parquet'}"]
    table = miniature_of(ran, path, tmp_path, *few, stages=["sft", "mixdpo-gamma"])
    assert table["recipe"].unique().tolist() == [path.stem]
    assert table["method"].unique().tolist() == ["mixdpo-gamma"]
    assert LearnedStrength.load(tmp_path / "runs" / "mixdpo-gamma").steps == 2
    assert table["win_rate"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_recipe_runs_in_miniature(ran, tmp_path, path):
    table = miniature_of(ran, path, tmp_path)
    whole = pd.read_csv(ran[1][0])
    # Model and data of the miniature take the place of theirs: what is left is the same.
    for column in ("method", "factor", "micro_margin", "win_rate", "mean_strength"):
        assert table[column].tolist() == whole[column].tolist()
    assert set(table["recipe"]) == {path.stem}


@pytest.mark.slow
def test_accelerate_launches_a_recipe(ran, tmp_path):
    folder, _ = ran
    script = miniature()
    changes = script.changes(folder, folder / "pairs.parquet", 6)
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
            "-m", "prefstrength.recipes.train", str(script.RECIPE), *changes,
            f"output_dir={tmp_path}", "win_rate=null", "--stages", "sft", "dpo",
        ],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (
        load_file(each / "dpo" / "model.safetensors") for each in (folder / "runs", tmp_path)
    )
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
    assert (tmp_path / "dpo" / "evaluation" / "metrics.csv").is_file()


# -- the table alone -------------------------------------------------------------------------------


@pytest.fixture
def stage(ran, tmp_path):
    """A method's folder to be changed, without a win rate."""
    source, target = ran[0] / "runs" / "dpo", tmp_path / "runs" / "dpo"
    (target / "evaluation").mkdir(parents=True)
    for name in ("settings.json", "learned_strength.json", "evaluation/metrics.csv"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


def win_rate_against(opponent):
    """Eight prompts, of which a wins six, where its responses are the longer ones by and large."""
    lead = np.array([1.0, 2.0, -1.0, 3.0, 1.0, 0.5, -2.0, 1.0])
    length = np.array([5, 9, -3, 2, -4, 8, 1, 0])
    return WinRate(pd.DataFrame(), win_metrics(lead > 0, lead, length), {"model_b": opponent})


def test_without_a_win_rate_the_table_has_no_column_of_it(stage, tmp_path):
    csv, markdown, *_ = results.write_table([tmp_path / "runs"], tmp_path)
    row = pd.read_csv(csv).iloc[0]
    assert row[["win_rate", "length_controlled_win_rate_high", "opponent"]].isna().all()
    assert "win rate" not in markdown.read_text().lower()


def test_win_rates_are_joined_and_texts_escaped(stage, tmp_path):
    done = win_rate_against("runs/sft_a|<b>\n50 %")
    done.save(stage / "win_rate")
    csv, markdown, tex, _ = results.write_table([tmp_path / "runs"], tmp_path)
    row, saved = pd.read_csv(csv).iloc[0], done.metrics.iloc[0]
    assert row["win_rate"] == 0.75
    for rate in ("win_rate", "length_controlled_win_rate"):
        names = [rate, f"{rate}_low", f"{rate}_high"]
        assert row[names].tolist() == pytest.approx(saved[names].tolist(), abs=1e-12)
        middle, low, high = saved[names]
        assert f" {middle:.2f} ({low:.2f}–{high:.2f}) |" in markdown.read_text()
    assert "a reward model prefers" in markdown.read_text()
    assert "| sft\\_a\\|&lt;b&gt; 50 %" in markdown.read_text()
    assert r"sft\_a|<b> 50 \%" in tex.read_text().replace(r"\textbar{}", "|").replace(
        r"\textless{}", "<"
    ).replace(r"\textgreater{}", ">")


def test_lengths_that_never_differ_leave_a_cell_empty(stage, tmp_path):
    done = win_rate_against("sft")
    done.metrics.loc[:, done.metrics.columns.str.startswith("length_controlled")] = np.nan
    done.save(stage / "win_rate")
    csv, markdown, *_ = results.write_table([tmp_path / "runs"], tmp_path)
    assert np.isnan(pd.read_csv(csv).loc[0, "length_controlled_win_rate"])
    assert f"0.75 ({done.metrics.loc[0, 'win_rate_low']:.2f}" in markdown.read_text()


def test_a_group_of_one_pair_has_no_interval_and_a_folder_counts_once(stage, tmp_path):
    learned = LearnedStrength.load(stage)
    regions = ["a", "a", "a", "b"]
    table = preference_metrics([3.0, -1.0, 2.0, 4.0], learned.mixing(), {"region": regions})
    table.to_csv(stage / "evaluation" / "metrics.csv", index=False)
    record = json.loads((stage / "settings.json").read_text()) | {"groups": ["region"]}
    (stage / "settings.json").write_text(json.dumps(record))
    folders = [tmp_path / "runs", stage, tmp_path / "runs" / ".." / "runs"]
    frame = results.collect_results(folders)
    assert len(frame) == len(results.collect_strengths(folders)) == 1
    assert np.isnan(frame.loc[0, ["macro_margin_low", "worst_margin_high"]].astype(float)).all()
    macro = frame.loc[0, "macro_margin"]
    assert macro == pytest.approx(learned.mixing().mean() * (4 / 3 + 4) / 2)
    _, markdown, *_ = results.write_table(folders, tmp_path)
    assert f"| {macro:.2f} |" in markdown.read_text()


def test_no_latex_of_fewer_runs_is_left(stage, tmp_path, monkeypatch):
    assert "results.tex" in [path.name for path in results.write_table([stage], tmp_path)]
    monkeypatch.setattr(sys.modules["prefstrength.report.tables"], "_MOST_LATEX", 0)
    assert "results.tex" not in [path.name for path in results.write_table([stage], tmp_path)]
    assert not (tmp_path / "results.tex").exists()


def test_files_that_do_not_hold_what_they_should(stage, tmp_path):
    saved = win_rate_against("sft").save(stage / "win_rate")
    (saved / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="of a win rate in .*win_rate; got a problem .*'model_b'"):
        results.collect_results([tmp_path])
    win_rate_against("sft").save(stage / "win_rate")
    (saved / "metrics.csv").write_text("kind,prompts\nmacro,3\n")
    with pytest.raises(InputError, match="settings.json and metrics.csv of a win rate in"):
        results.collect_results([tmp_path])
    shutil.rmtree(saved)
    metrics = stage / "evaluation" / "metrics.csv"
    table = pd.read_csv(metrics)
    table[table["kind"] != "macro"].to_csv(metrics, index=False)
    with pytest.raises(InputError, match="Expected one macro row for 'dataset' in"):
        results.collect_results([tmp_path])
    (stage / "settings.json").write_text("{}")
    with pytest.raises(
        InputError, match="Expected recipe, changes, model, data, seed, stage, groups in"
    ):
        results.collect_results([tmp_path])
    (stage / "settings.json").unlink()
    with pytest.raises(InputError, match=r"Expected settings\.json of a recipe in"):
        results.collect_results([tmp_path])


# -- in two processes ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_write_what_one_writes(ran, tmp_path, way):
    folder, _ = ran
    script = miniature()
    changes = [
        *script.changes(folder, folder / "pairs.parquet", 6), "training.lr_scheduler_type=constant",
        "training.warmup_steps=0", "training.optim=sgd", "training.learning_rate=1e-2",
        "training.per_device_train_batch_size=2",
    ]  # fmt: skip
    again(folder, tmp_path / "one", *changes[-5:], stages=["sft", "mixdpo-gamma"])
    if way == "fsdp":
        changes += [
            "training.fsdp=true",
            "training.fsdp_config={version: 2, transformer_layer_cls_to_wrap: LlamaDecoderLayer, "
            "cpu_ram_efficient_loading: true, state_dict_type: SHARDED_STATE_DICT}",
        ]
    code = tmp_path / "run.py"
    code.write_text(
        "import sys\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.helpers.fsdp_on_cpu import allow_fsdp_on_cpu\n"
        "allow_fsdp_on_cpu()\n"
        "from prefstrength.recipes.train import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(code),
            str(script.RECIPE), *changes, f"output_dir={tmp_path / 'two'}",
            "--stages", "sft", "mixdpo-gamma",
        ],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (tmp_path / name / "mixdpo-gamma" for name in ("one", "two"))
    sharded = (two / "checkpoint-6" / "pytorch_model_fsdp_0").is_dir()
    assert sharded == (way == "fsdp")
    mine, other = (load_file(each / "model.safetensors") for each in (one, two))
    assert mine.keys() <= other.keys()  # shards of tied weights are written twice
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=0, atol=1e-5)
    first, second = (LearnedStrength.load(each).parameters for each in (one, two))
    assert first == pytest.approx(second, rel=1e-5)
    tables = [pd.read_csv(each / "evaluation" / "metrics.csv") for each in (one, two)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)
    assert (two / "evaluation" / "process-2-of-2").is_dir()
    wins = [pd.read_parquet(each / "win_rate" / "responses.parquet") for each in (one, two)]
    assert wins[0]["prompt"].tolist() == wins[1]["prompt"].tolist()
    # Weights that differ by 1e-5 may choose another word, once in a while.
    assert (wins[0]["response_a"] == wins[1]["response_a"]).mean() > 0.8
