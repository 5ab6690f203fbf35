"""Run a recipe: every stage that is not done yet, each from where it stopped, then win rates.

``accelerate launch -m prefstrength.recipes.train RECIPE [KEY=VALUE ...] [--stages NAME ...]``
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import write_json
from prefstrength._shared.folder import Folder
from prefstrength._shared.records import read_json, versions
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.recipes.data import (
    TEXTS,
    fingerprint,
    load_data,
    of_trained_prompts,
    sft_texts,
    together,
)
from prefstrength.recipes.judging import judge_methods, weights_of
from prefstrength.recipes.recipe import SFT, Recipe, read_recipe

__all__ = ["main", "of_effect", "run_recipe"]

SCHEMA = "prefstrength/recipe-stage/1"
#: In every stage's folder: what it was run with, written first; and that it ran to its end.
SETTINGS_FILE, TRAINED_FILE = "settings.json", "trained.json"
#: Of the settings, what was laid over the recipe's file; what came of it is in the others.
CHANGES = "changes"
#: What tells one trained model from another.
WEIGHTS = "weights_sha256"

# Arguments of a trainer that say what is shown, and what is kept on the way.
_REPORTING = (
    "disable_tqdm", "log_level", "log_level_replica", "log_on_each_node", "logging_dir",
    "logging_first_step", "logging_nan_inf_filter", "logging_steps", "logging_strategy",
    "report_to", "run_name",
)  # fmt: skip
_SAVING = ("save_steps", "save_strategy", "save_total_limit")
_LIBRARIES = ("prefstrength", "torch", "transformers", "trl", "accelerate", "datasets")


def run_recipe(recipe: Recipe, stages: Sequence[str] | None = None) -> None:
    """Train, evaluate and judge what a recipe describes.

    Parameters
    ----------
    recipe : Recipe
    stages : sequence of str, optional
        Which stages; all by default. A method needs the model that was fine-tuned with the same
        settings, unless the recipe leaves supervised fine-tuning out.

    Raises
    ------
    InputError
        If data, model, judge or arguments of any stage cannot be used, before the first of them
        is trained; or if a folder holds a stage with other settings.

    Notes
    -----
    ``<output_dir>/<stage>`` gets the model, its tokenizer, checkpoints, ``settings.json`` and
    ``trained.json``; a method also ``learned_strength.json``, ``evaluation/`` and, judged,
    ``win_rate/``. Stages that ran to their end are kept as they are. All processes of
    ``accelerate launch`` call this; after the last evaluation the first of them judges, and the
    others are done.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = make_tiny_model([("Say hello.", "hello there"), ("Say no.", "no")], folder / "model")
    >>> prompts = [f"Say hello {i}. " for i in range(8)]
    >>> pairs = pd.DataFrame({"prompt": prompts, "chosen": "hello there", "rejected": "no"})
    >>> pairs.to_parquet(folder / "pairs.parquet")
    >>> _ = (folder / "small.yaml").write_text(
    ...     f"{{model: {folder}/model, output_dir: {folder}/runs, batch_size: 4, "
    ...     f"data: {{source: {folder}/pairs.parquet, eval_fraction: 0.5}}, "
    ...     "training: {max_steps: 1, use_cpu: true, bf16: false, disable_tqdm: true, "
    ...     "per_device_train_batch_size: 4}, methods: {dpo: {beta: 0.1}}}"
    ... )
    >>> run_recipe(read_recipe(folder / "small.yaml"))
    >>> sorted(path.name for path in (folder / "runs" / "dpo" / "evaluation").glob("*.*"))
    ['metrics.csv', 'pairs.parquet']
    """
    mixdpo_stages = _mixdpo_stages()
    wanted = _wanted(recipe, stages)
    relied_on = _relied_on(recipe, wanted)
    arguments = {name: _arguments(recipe, name, mixdpo_stages) for name in relied_on}
    if recipe.win_rate is not None:
        recipe.win_rate.reward.identity()  # is there, and says how to score
    asked = {
        name: mixdpo_stages.columns_asked_for(args)
        for name, args in arguments.items()
        if name != SFT
    }
    whole = load_data(
        recipe.data,
        recipe.seed,
        groups=[name for groups, _ in asked.values() for name in groups],
        numbers=[name for _, numbers in asked.values() for name in numbers],
    )
    # Without what single methods ask for, which does not touch the other stages.
    shared = [*TEXTS, *recipe.data.groups]
    train, held_out = (side[shared] for side in whole)
    pairs = {
        name: [_with(side, shared, [*groups, *numbers]) for side in whole]
        for name, (groups, numbers) in asked.items()
    }
    settings = _settings(recipe, relied_on, train, held_out, pairs)
    state = mixdpo_stages.processes()
    for name in relied_on:
        _check_folder(_folder(recipe, name), settings[name] | _start(recipe, name))
    start = recipe.model if recipe.sft is None else str(recipe.output_dir / SFT)
    if recipe.sft is not None and SFT not in wanted and not _is_trained(Path(start)):
        raise InputError(
            f"Expected the fine-tuned model in {start}; got none that was trained to its end. "
            f"Run the stage {SFT} first."
        )
    _check_opponent(recipe, wanted)
    unseen = held_out if recipe.win_rate is None else _unseen(held_out, train)
    methods = {name: arguments[name] for name in wanted if name != SFT}
    tuned = start if _is_trained(Path(start)) else recipe.model
    for name, args in methods.items():
        if not _is_trained(recipe.output_dir / name):
            _check_pairs(name, tuned, args, pairs[name], state.num_processes, mixdpo_stages)
    # Nobody writes before everybody has looked.
    state.wait_for_everyone()
    for name in wanted:
        folder, args = recipe.output_dir / name, arguments[name]
        if state.is_main_process and not _is_trained(folder):
            _folder(recipe, name).write(settings[name] | _start(recipe, name))
        state.wait_for_everyone()
        if not _is_trained(folder):
            if name == SFT:
                mixdpo_stages.train_sft(recipe.model, args, sft_texts(train))
            else:
                mixdpo_stages.train_preferences(start, args, *pairs[name])
            state.wait_for_everyone()
            if state.is_main_process:
                done = {"versions": versions(*_LIBRARIES), WEIGHTS: weights_of(folder)}
                write_json(folder / TRAINED_FILE, done)
            state.wait_for_everyone()
        if name != SFT and not (folder / "evaluation" / mixdpo_stages.METRICS_FILE).is_file():
            mixdpo_stages.evaluate_policy(
                folder,
                start,
                pairs[name][1],
                recipe.data.groups,
                batch_size=args.per_device_eval_batch_size,
                max_length=args.max_length,
                clusters=together(whole[1], recipe.data),
                progress=not args.disable_tqdm,
            )
    # After all stages: any of them may be the opponent, and nobody has to wait for the judge.
    if recipe.win_rate is not None and state.is_main_process:
        judge_methods(recipe, methods, unseen)


def _mixdpo_stages() -> Any:
    try:
        from prefstrength.mixdpo import stages
    except ModuleNotFoundError as error:
        raise InputError(
            f"Recipes expect torch, transformers and trl; got no module named {error.name}. "
            "Install them with `pip install 'prefstrength[mixdpo]'`."
        ) from error
    return stages


def _wanted(recipe: Recipe, stages: Sequence[str] | None) -> tuple[str, ...]:
    unknown = [name for name in stages or () if name not in recipe.stages]
    if unknown:
        raise InputError(
            f"Expected stages of the recipe {recipe.name} ({', '.join(recipe.stages)}); got "
            f"{', '.join(unknown)}. Correct the name."
        )
    return tuple(name for name in recipe.stages if stages is None or name in stages)


def _relied_on(recipe: Recipe, wanted: Sequence[str]) -> list[str]:
    """Stages that run, that others start from, or that they are judged against."""
    opponent = None if recipe.win_rate is None else recipe.win_rate.opponent
    return [name for name in recipe.stages if name in (*wanted, SFT, opponent)]


def _check_opponent(recipe: Recipe, wanted: Sequence[str]) -> None:
    if recipe.win_rate is None:
        return
    opponent = recipe.win_rate.opponent
    judged = [name for name in wanted if name in recipe.methods and name != opponent]
    if judged and opponent not in wanted and not _is_trained(recipe.output_dir / opponent):
        raise InputError(
            f"Expected win_rate.opponent {opponent!r} among the stages, or trained to its end in "
            f"{recipe.output_dir}; got neither. Run that stage, too, or turn win rates off: "
            "win_rate=null."
        )


def _arguments(recipe: Recipe, name: str, stages: Any) -> Any:
    folder = recipe.output_dir / name
    if name == SFT:
        return stages.sft_arguments(recipe.sft, folder, recipe.batch_size, recipe.seed)
    return stages.preference_arguments(
        recipe.methods[name], folder, recipe.batch_size, recipe.seed, recipe.data.groups
    )


def _with(pairs: pd.DataFrame, columns: Sequence[str], more: Sequence[str]) -> pd.DataFrame:
    """Some columns of pairs, and more of them where they are there."""
    further = [name for name in more if name in pairs.columns]
    return pairs[list(dict.fromkeys((*columns, *further)))]


def _check_pairs(
    name: str, model: str, args: Any, pairs: Sequence[pd.DataFrame], processes: int, stages: Any
) -> None:
    try:
        stages.check_preferences(model, args, *pairs)
    except InputError as error:
        raise InputError(f"The method {name} cannot be trained on these pairs. {error}") from error
    if len(pairs[1]) < processes:
        raise InputError(
            f"Expected at least one pair for each of {processes} processes to evaluate {name}; got "
            f"{len(pairs[1])}. Hold out more."
        )


def _unseen(held_out: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Held-out pairs of prompts that are not trained on, which another column may put there, too.

    How well a model answers what it was trained on says little of what it learned.
    """
    seen = of_trained_prompts(held_out, train)
    if seen.all():
        raise InputError(
            "Expected prompts that are not trained on, to measure win rates; got training pairs of "
            f"all prompts of the {len(held_out)} pairs that are held out. Leave data.split_by out, "
            "which holds out prompts, or turn win rates off: win_rate=null."
        )
    return held_out[~seen]


# -- what lies in the folders ----------------------------------------------------------------------


def _settings(
    recipe: Recipe,
    stages: Sequence[str],
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    pairs: Mapping[str, Sequence[pd.DataFrame]],
) -> dict[str, dict[str, Any]]:
    shared = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        CHANGES: list(recipe.changes),
        "model": recipe.model,
        "data": recipe.data.source,
        "groups": list(recipe.data.groups),
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "train_sha256": fingerprint(train),
        SFT: None if recipe.sft is None else dict(recipe.sft),
    }
    evaluation = fingerprint(held_out)
    found = {}
    for name in stages:
        found[name] = {**shared, "stage": name}
        if name != SFT:
            arguments = dict(recipe.methods[name])
            prior = arguments.get("strength")
            if isinstance(prior, str):  # what it says, not where it lies
                arguments["strength"] = StrengthPrior.load(prior).to_dict()
            found[name] |= {"evaluation_sha256": evaluation, "arguments": arguments}
            more = [side.drop(columns=list(train.columns)) for side in pairs.get(name, ())]
            if any(len(side.columns) for side in more):  # what it alone asks for
                found[name]["columns_sha256"] = [fingerprint(side) for side in more]
    as_json: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return as_json


def _start(recipe: Recipe, name: str) -> dict[str, Any]:
    """Which fine-tuned model a method starts from: trained anew, the same settings give another."""
    path = recipe.output_dir / SFT / TRAINED_FILE
    if name == SFT or recipe.sft is None:
        return {}
    done = read_json(path, "record of training") if path.is_file() else {}
    return {f"{SFT}_{WEIGHTS}": done.get(WEIGHTS)}


def _folder(recipe: Recipe, name: str) -> Folder:
    return Folder(recipe.output_dir / name, f"the stage {name} of a recipe", SETTINGS_FILE)


def _check_folder(folder: Folder, settings: dict[str, Any]) -> None:
    # With settings alone it was stopped before anything came of it, perhaps by what is now
    # corrected.
    if folder.foreign(ours=(folder.record,)):
        folder.found_for(settings, of_effect)


def of_effect(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that change what is learned or measured."""
    found = {name: value for name, value in settings.items() if name != CHANGES}
    for name in (SFT, "arguments"):
        if isinstance(given := found.get(name), dict):
            # Where the best checkpoint is taken, it matters which there are.
            without = _REPORTING if given.get("load_best_model_at_end") else _REPORTING + _SAVING
            found[name] = {each: given[each] for each in given if each not in without}
    return found


def _is_trained(folder: Path) -> bool:
    return (folder / TRAINED_FILE).is_file()


# -- command line ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe from the command line, and return the exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    parser = argparse.ArgumentParser(
        prog="accelerate launch -m prefstrength.recipes.train",
        description="Train, evaluate and judge what a recipe describes; goes on where it stopped.",
    )
    parser.add_argument("recipe", help="YAML file")
    parser.add_argument(
        "changes", nargs="*", metavar="KEY=VALUE", help="laid over the file, such as seed=1"
    )
    parser.add_argument("--stages", nargs="+", metavar="NAME", help="only these; all by default")
    given = parser.parse_args(arguments)
    return told(lambda: run_recipe(read_recipe(given.recipe, given.changes), given.stages))


def told(work: Callable[[], None]) -> int:
    """Do the work, print a mistake of the user as one sentence, and return the exit code."""
    try:
        work()
    except InputError as error:
        # Of its own share of the pairs only one process may know.
        rank = int(os.environ.get("RANK", "0"))
        print(f"Error{f' (process {rank + 1})' if rank else ''}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
