"""The recipes in miniature: the same stages and files, on a laptop, in about a minute.

``python recipes/miniature.py [--recipe FILE] [--out FOLDER]``

A language model of 70,000 parameters takes the place of the recipe's, the simulated pairs of
``data/`` that of its data, a reward model with random weights that of its judge, and a few steps
that of its epochs. Everything else is as the recipe says. What comes out says nothing about the
methods.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "data" / "demo_pairs.parquet"
RECIPE = ROOT / "recipes" / "pythia-2.8b-prism.yaml"


def changes(out, pairs, steps):
    """What differs from the recipe as it stands."""
    return [
        f"model={out / 'model'}",
        f"output_dir={out / 'runs'}",
        "batch_size=8",
        f"data={{source: '{pairs}', path: null, eval_split: null, eval_fraction: 0.1, "
        "split_by: null, groups: [dataset, region]}",
        f"training.max_steps={steps}",
        "training.warmup_steps=2",
        "training.learning_rate=1e-3",
        f"training.save_steps={max(1, steps // 2)}",
        "training.logging_steps=1",
        "training.use_cpu=true",
        "training.bf16=false",
        "training.activation_checkpointing=false",
        "sft.max_length=128",
        "preference.max_length=128",
        f"preference.eval_steps={steps}",
        f"win_rate.judge.name_or_path={out / 'judge'}",
        "win_rate.judge.template=plain",
        "win_rate.prompts=16",
        "win_rate.max_new_tokens=8",
    ]


def make_judge(model, folder):
    """Make a reward model that prefers what its random weights say, but tells responses apart."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = AutoConfig.from_pretrained(model, num_labels=1, initializer_range=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = AutoModelForSequenceClassification.from_config(config)
    judge.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)


def run(out, recipe=RECIPE, *, pairs=1200, steps=6, more=()):
    """Make a tiny model and judge, run a recipe on them, and write the table."""
    import pandas as pd

    from prefstrength.mixdpo.tiny import make_tiny_model, one_thread
    from prefstrength.recipes.recipe import read_recipe
    from prefstrength.recipes.table import write_table
    from prefstrength.recipes.train import run_recipe

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "model").is_dir():
        table = pd.read_parquet(PAIRS)
        # Spread over the table: all datasets, regions and people.
        some = table.iloc[:: max(1, len(table) // pairs)]
        some.to_parquet(out / "pairs.parquet", index=False)
        texts = list(zip(table["prompt"], table["chosen"], strict=True))
        make_tiny_model(texts, out / "model", steps=20)
        make_judge(out / "model", out / "judge")
    with one_thread():
        run_recipe(read_recipe(recipe, [*changes(out, out / "pairs.parquet", steps), *more]))
    return write_table([out / "runs"], out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default=RECIPE, help="YAML file")
    parser.add_argument("--out", default="runs/recipes-in-miniature", help="where everything goes")
    given = parser.parse_args()
    files = run(given.out, given.recipe)
    print(files[1].read_text(encoding="utf-8"))
    print("Written:", ", ".join(map(str, files)))


if __name__ == "__main__":
    sys.exit(main())
