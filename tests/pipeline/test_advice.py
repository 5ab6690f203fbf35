"""What a sentence advises is said in the words of its reader: arguments here, options there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from prefstrength.pipeline.cli import app
from prefstrength.pipeline.cli.advice import as_options, options_of
from prefstrength.rewards import HFReward, JudgeReward
from prefstrength.rewards.named import settings_types

PACKAGE = Path(__file__).parents[2] / "prefstrength"
COMMANDS: Any = get_command(app)


def said(text: str, *commands: str) -> str:
    return as_options(text, options_of(COMMANDS, *commands))


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("Pass `ties='drop'`, or `ties='split'`.", "Pass --ties drop, or --ties split."),
        ("Name it: `Choices.from_pairs(frame, chooser=...)`.", "Name it: --chooser."),
        ("Did you mean `attributes=['length']`?", "Did you mean --attribute length?"),
        ("Pass `groups=['a', 'b']`.", "Pass --group a --group b."),
        ("Replace it with `force=True`.", "Replace it with --force."),
        ("Leave `divide=True` out.", "Leave --divide out."),
        ("got `divide=False`", "got no --divide"),
        ("Use `batch_size=1` or `dtype='float32'`.",
         "Use --reward-setting batch_size=1 or --reward-setting dtype=float32."),
        ("Raise `max_length=...`.", "Raise --reward-setting max_length=...."),
        ("Take one: `HFReward(name, head=0)`.", "Take one: --reward-setting head=0."),
        # What is to be typed, not what is written in Python.
        ("`heads={'reward': 0, 'safety': 1}`", "--reward-setting heads=reward:0,safety:1"),
        ("`labels=('A', 'B')`; mind it.", "--reward-setting labels=A,B; mind it."),
        ("`trust_remote_code=True`", "--reward-setting trust_remote_code=true"),
        ("`max_length=None`", "--reward-setting max_length=none"),
        ("`reward=('hf:ONE', 'hf:OTHER')`", "--reward hf:ONE --reward hf:OTHER"),
    ],
)  # fmt: skip
def test_arguments_are_said_as_options(text: str, typed: str) -> None:
    assert said(text, "score") == typed
    assert said(text) == text  # nobody's options


def test_an_option_is_one_of_the_command() -> None:
    text = "Use `method='nuts'`, `draws=...` or `fit(choices, method='nuts', warmup=1000)`."
    assert said(text, "fit") == "Use --method nuts, --draws or --method nuts --warmup 1000."
    assert said(text, "score") == text
    assert said("`strength_group_column='region'`", "train") == "--strength-group region"
    assert said("with `backend='ray'`; got `workers=2`", "score-parquet") == (
        "with --ray; got --workers 2"
    )
    assert said("got `backend=None`", "score-parquet") == "got no --ray"
    assert said("`scale=0.5`, `weight='w'`", "compress") == "--scale 0.5, --weights w"


@pytest.mark.parametrize(
    "text",
    [
        "Run `prefstrength fit` first, or `pip install 'prefstrength[ray]'`.",
        "Call `RewardError(sd=0.5)` or `LogNormal(mu=0, sigma=0.7)`.",
        "Call `StrengthPrior.from_fit(fit)`.",
        "A column called a`b, and ties='drop' without backticks.",
        "Two columns a`ties=' and `b.",
        "Both `f(ties='drop', members=...)`.",  # half of it could not be typed
        "",
    ],
)
def test_all_else_stays_as_it_is(text: str) -> None:
    assert said(text, "score", "run") == text


# -- every sentence of the package -----------------------------------------------------------

#: An argument with a value, where it is not part of a quoted or a longer word.
ARGUMENT = re.compile(r"(?<![\w'\"-])[a-z][a-z_]+=(?!=)")
#: Rooms with a language of their own: recipes are changed by KEY=VALUE; help names options.
ELSEWHERE = ("recipes/",)
HELP = {"option", "typer.Option", "typer.Argument"}

REPRS = ("__repr__", "_repr_html_", "extra_repr")

#: Arguments that sentences name and no command has, because they belong to Python alone.
PYTHON_ALONE = {
    "alternatives", "answer_column", "beta", "cache", "chosen", "columns", "components",
    "decimal", "endings", "errors", "greater_is_better", "group", "is_trainable", "members",
    "mu", "peft_config", "priors", "processing_class", "reduce", "ref_model", "rejected",
    "response", "save_only_model", "sd", "second", "sep", "shared", "sigma", "strength",
    "thousands", "tokenizer", "value",
}  # fmt: skip


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Texts of a module apart from docstrings, help and reprs; ``...`` for what is filled in."""

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "..."
                    for part in node.values
                ),
            )
            parts: list[ast.AST] = [p for p in node.values if isinstance(p, ast.FormattedValue)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
            return
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in HELP:
            return
        elif isinstance(node, ast.FunctionDef) and node.name in REPRS:
            return
        else:
            parts = list(ast.iter_child_nodes(node))
        for part in parts:
            yield from visit(part)

    yield from visit(tree)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(ELSEWHERE):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def bare(text: str) -> list[str]:
    """Arguments in a text that no backticks mark; none in tags of HTML."""
    return [] if "<" in text else ARGUMENT.findall("".join(text.split("`")[::2]))


def marked(text: str) -> set[str]:
    """Names of the arguments that stand between backticks."""
    found = set()
    for code in text.split("`")[1::2]:
        if ARGUMENT.search(code):
            tree = ast.parse(f"f({code})", mode="eval")  # else it could not be said otherwise
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found |= {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    return found


def test_arguments_in_sentences_are_marked() -> None:
    found = [
        f"{module}:{line} {argument}"
        for module, tree in modules()
        for line, text in strings(tree)
        for argument in bare(text)
    ]
    assert found == []


def test_every_argument_in_a_sentence_is_an_option_or_belongs_to_python() -> None:
    named = {name for _, tree in modules() for _, text in strings(tree) for name in marked(text)}
    settings = {*settings_types(HFReward), *settings_types(JudgeReward)}
    options = {*options_of(COMMANDS, *COMMANDS.commands), "backend", "weight"}
    assert {"ties", "identical", "duplicates", "force", "method", "draws", "dtype"} <= named
    assert named - options - settings == PYTHON_ALONE
    assert PYTHON_ALONE & (options | settings) == set()


def test_what_is_forgotten_is_found() -> None:
    tree = ast.parse(
        "def f(x):\n"
        "    '''Pass ties='drop'.'''\n"
        "    raise InputError(f'Got {x}. Pass ties={x!r} or `ties={x!r}`, or ' 'nothing=1.')\n"
        "ADVICE = {'a': 'Draw more: fit(draws=...).'}\n"
        "x = option('Such as head=0.')\n"
    )
    texts = [text for _, text in strings(tree)]
    assert [each for text in texts for each in bare(text)] == ["ties=", "nothing=", "draws="]
    assert set().union(*map(marked, texts)) == {"ties"}
