"""How often one model's responses are better than another's, in the eyes of a reward model."""

import contextlib
import html
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.files import (
    require_folder,
    require_replaceable,
    write_csv,
    write_json,
    write_parquet,
)
from prefstrength._shared.records import versions
from prefstrength.errors import InputError
from prefstrength.mixdpo.evaluation.generate import Decoding, generate_responses, read_prompts
from prefstrength.mixdpo.evaluation.levels import check_prob, read_levels
from prefstrength.mixdpo.evaluation.win_metrics import win_metrics
from prefstrength.mixdpo.models import accelerator, load_model, load_tokenizer

__all__ = ["WIN_COLUMNS", "WinRate", "win_rate"]

_OF_EACH = ("response", "reward", "tokens", "characters", "truncated")
#: Columns of the responses that are no factors.
WIN_COLUMNS = ("prompt", "outcome", *(f"{name}_{side}" for name in _OF_EACH for side in "ab"))

# Folders of out, in which win_rate keeps what took long, and files that WinRate.save writes.
_CACHES = ("responses", "rewards")
_FILES = ("responses.parquet", "metrics.csv", "settings.json")


@dataclass(frozen=True, eq=False)
class WinRate:
    """Responses of two models, what the judge made of them, and win rates of the first.

    Parameters
    ----------
    responses : pandas.DataFrame
        One row for each prompt, in their order: ``prompt``, and for each of a and b
        ``response_a``, ``reward_a``, ``tokens_a``, ``characters_a``, ``truncated_a`` and so on;
        ``outcome`` (1 where a wins, 0.5 for a tie, 0 where b wins), and one column for each factor.
    metrics : pandas.DataFrame
        As of :func:`~prefstrength.mixdpo.evaluation.win_metrics.win_metrics`.
    settings : dict
        Models, judge, decoding, tie margin and versions, JSON types only.
    """

    responses: pd.DataFrame
    metrics: pd.DataFrame
    settings: dict[str, Any]

    @property
    def truncated(self) -> dict[str, int]:
        """Responses of each model that were cut off at ``max_new_tokens``."""
        return {side: int(self.responses[f"truncated_{side}"].sum()) for side in "ab"}

    @property
    def blank(self) -> dict[str, int]:
        """Responses of each model without any text, which the judge was not shown."""
        return {side: int(self.responses[f"response_{side}"].map(_blank).sum()) for side in "ab"}

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``responses.parquet``, ``metrics.csv`` and ``settings.json`` into a directory.

        It may be new or empty, hold a win rate, which is replaced, or be the ``out`` of
        :func:`win_rate`, whose responses and rewards stay; with anything else it is refused.
        """
        path = Path(directory)
        require_replaceable(path, _FILES, beside=_CACHES)
        # Last written and first gone: where it is, the others belong to it.
        (path / "settings.json").unlink(missing_ok=True)
        write_parquet(path / "responses.parquet", self.responses)
        write_csv(path / "metrics.csv", self.metrics)
        write_json(path / "settings.json", self.settings)
        return path

    def __repr__(self) -> str:
        names = ["factor", "level", "prompts", "wins", "ties", "losses"]
        rates = ["win_rate", "win_rate_low", "win_rate_high", "length_controlled_win_rate"]
        shown = self.metrics[[*names, *rates, "reward_difference"]].round(3)
        cut, blank = self.truncated, self.blank
        return "\n".join(
            [
                f"Win rate of a = {self.settings['model_a']} against b = "
                f"{self.settings['model_b']}, {len(self.responses)} prompts, judged by "
                f"{self.settings['judge'].get('name', 'a reward')}",
                f"  cut off at {self.settings['decoding']['max_new_tokens']} tokens: {cut['a']} "
                f"responses of a, {cut['b']} of b; blank: {blank['a']} and {blank['b']}",
                shown.to_string(index=False),
            ]
        )

    def _repr_html_(self) -> str:
        head = "\n".join(repr(self).split("\n")[:2])
        return f"<pre>{html.escape(head)}</pre>" + self.metrics.to_html(
            index=False, float_format=lambda v: f"{v:.3g}"
        )


def win_rate(
    model_a: Any,
    model_b: Any,
    prompts: Any,
    judge: Any,
    groups: Mapping[str, Sequence[Any]] | None = None,
    *,
    tokenizer: Any = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    batch_size: int = 8,
    tie_margin: float = 0.0,
    out: str | os.PathLike[str] | None = None,
    prob: float = 0.9,
    seed: int = 0,
    progress: bool = True,
) -> WinRate:
    """Let two models answer prompts, and a reward model say whose answers are better.

    Parameters
    ----------
    model_a, model_b : str, PreTrainedModel or PeftModel
        The win rates are those of a. A hub name or path (of a model or an adapter) is loaded in
        float32 and onto the accelerator while it answers; an object stays as and where it is.
    prompts : sequence of str, or of conversations
        A list or a column. Texts are continued as they are; conversations (lists of messages
        with ``role`` and ``content``) go through the tokenizer's chat template.
    judge : HFReward, or any object with its method ``score_pairs``
        Gives every response a reward.
    groups : dict, optional
        Factor name to the level of every prompt, to report by.
    tokenizer : PreTrainedTokenizerBase, optional
        Of both models; by default the one beside each model.
    chat_template_kwargs : dict, optional
        What the chat template is given besides, as the column of that name gives it in training:
        ``{"enable_thinking": False}``.
    max_new_tokens : int
        Tokens after which a response is cut off. How many were is reported.
    temperature : float
        0 takes the most probable token each time; above, tokens are drawn, by numbers that
        belong to the prompt and ``seed``: the same for both models and any batch.
    batch_size : int
        Prompts of a batch. Batches are sorted by length; in float32 responses do not depend on it.
    tie_margin : float
        Two responses tie where their rewards differ by no more than this, or their texts are the
        same.
    out : path, optional
        Folder where responses are kept as they come, and the judge's rewards if it can keep them.
        The same call goes on from there after an interruption, and another call that needs the
        same responses of one of the models does not make them again.
    prob : float
        Probability of the intervals, in (0, 1).
    seed : int
        Of the tokens that are drawn.
    progress : bool
        Show progress bars.

    Returns
    -------
    WinRate

    Raises
    ------
    InputError
        If there are no prompts or empty ones, a factor has another length, prompts do not fit
        into a model's context, or the judge gives a reward that is not finite.
    TypeError
        If the judge has no ``score_pairs``, or learns from the very pairs that it is given.

    Notes
    -----
    A response without any text has nothing to score: it loses against one with text, ties with
    another without, and is left out of the reward difference. The length-controlled rate follows
    AlpacaEval 2 [1]_ and counts characters, since two models may have two tokenizers. A judge that
    was trained on the same preferences as a model prefers what that model learned.

    References
    ----------
    .. [1] Dubois, Galambosi, Liang, Hashimoto (2024), arXiv:2404.04475.

    Examples
    --------
    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> class Length:  # a judge that likes long responses
    ...     def score_pairs(self, pairs, *, cache=None, progress=True):
    ...         chosen, rejected = (pairs[s].str.len().to_numpy() for s in ("chosen", "rejected"))
    ...         return SimpleNamespace(chosen=chosen, rejected=rejected, provenance={})
    >>> texts = [("Say hello.", "Hello there."), ("Say yes.", "Yes.")]
    >>> prompts = ["Say hello.", "Say yes."]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = make_tiny_model(texts, folder, steps=30, hidden=16)
    ...     done = win_rate(folder, folder, prompts, Length(), max_new_tokens=8, progress=False)
    >>> done.metrics.loc[0, ["win_rate", "ties"]].tolist()  # a model against itself
    [0.5, 2.0]
    """
    read = read_prompts(prompts)
    decoding = Decoding(max_new_tokens, temperature, seed)
    levels = read_levels(groups, len(read), "prompt")
    _check_names(levels)
    _check_judge(judge)
    if not tie_margin >= 0:
        raise InputError(
            f"Expected tie_margin of 0 or more, in units of the reward; got {tie_margin}."
        )
    check_prob(prob)
    folder = None if out is None else Path(out)
    if folder is not None:
        require_folder(folder, "responses and rewards")
    # Both before anything long: a name that is wrong shows at once.
    given = {"a": model_a, "b": model_b}
    models = {side: load_model(model, f"model_{side}") for side, model in given.items()}
    tokenizers = {
        side: tokenizer or load_tokenizer(models[side], model) for side, model in given.items()
    }
    table = pd.DataFrame({"prompt": pd.Series(read, dtype="object")})
    for side, model in models.items():
        with _on_accelerator(model, ours=model is not given[side]):
            made = generate_responses(
                model,
                tokenizers[side],
                read,
                decoding,
                chat_template_kwargs=chat_template_kwargs,
                batch_size=batch_size,
                directory=None if folder is None else folder / _CACHES[0],
                label=f"responses of {side}",
                progress=progress,
            )
        table[f"response_{side}"] = made["response"]
        table[f"tokens_{side}"] = made["tokens"]
        table[f"characters_{side}"] = made["response"].str.len()
        table[f"truncated_{side}"] = made["truncated"]
    about = _judge(table, judge, None if folder is None else folder / _CACHES[1], progress)
    table["outcome"] = _outcomes(table, tie_margin)
    table = table[list(WIN_COLUMNS)].copy()
    for factor, (names, code) in levels.items():
        table[factor] = np.asarray(names, dtype=object)[code]
    metrics = win_metrics(
        table["outcome"],
        table["reward_a"] - table["reward_b"],
        table["characters_a"] - table["characters_b"],
        groups,
        prompts=[json.dumps(prompt) for prompt in read],
        prob=prob,
    )
    settings = {
        **{f"model_{side}": _name(models[side], model) for side, model in given.items()},
        "judge": about,
        "decoding": asdict(decoding),
        "chat_template_kwargs": dict(chat_template_kwargs or {}),
        "tie_margin": float(tie_margin),
        "prob": float(prob),
        "versions": versions("prefstrength", "torch", "transformers"),
    }
    return WinRate(table, metrics, settings)


# -- at the door -----------------------------------------------------------------------------------


def _check_names(levels: Mapping[str, Any]) -> None:
    taken = [name for name in levels if name in WIN_COLUMNS]
    if taken:
        raise InputError(
            f"Expected factors with names that the result does not use itself; got {taken[0]!r}. "
            "Give it another name."
        )


def _check_judge(judge: Any) -> None:
    if isinstance(judge, type) or not callable(getattr(judge, "score_pairs", None)):
        raise TypeError(
            "Expected judge as a reward with the method score_pairs, such as HFReward('name'); "
            f"got {judge!r}. A class needs its parentheses."
        )
    if not getattr(judge, "scores_responses", True):
        raise TypeError(
            "Expected a judge that gives any response a reward by itself, such as "
            f"HFReward('name'); got {type(judge).__name__}, whose rewards come with the very pairs "
            "that are to be judged. Use a reward model."
        )


@contextlib.contextmanager
def _on_accelerator(model: Any, ours: bool) -> Iterator[None]:
    """What was loaded here goes to the accelerator and back, so that two models need not fit."""
    if ours:
        model.to(accelerator())
    try:
        yield
    finally:
        if ours:
            model.to("cpu")


def _name(model: Any, given: Any) -> str:
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    return str(getattr(model.config, "_name_or_path", "")) or type(model).__name__


# -- judging ---------------------------------------------------------------------------------------


def _blank(text: str) -> bool:
    return not text.strip()


def _judge(table: pd.DataFrame, judge: Any, cache: Path | None, progress: bool) -> dict[str, Any]:
    """Add the columns ``reward_a`` and ``reward_b``; what the judge says of itself."""
    blank = table[["response_a", "response_b"]].map(_blank).any(axis=1).to_numpy()
    shown = table.loc[~blank]
    rewards = np.full((len(table), 2), math.nan)
    about: dict[str, Any] = {"name": type(judge).__name__}
    if len(shown):
        pairs = pd.DataFrame(
            {
                "prompt": shown["prompt"],
                "chosen": shown["response_a"],
                "rejected": shown["response_b"],
            }
        )
        scores = judge.score_pairs(pairs, cache=cache, progress=progress)
        found = np.stack([np.asarray(scores.chosen, float), np.asarray(scores.rejected, float)], 1)
        if found.shape != (len(shown), 2):
            raise InputError(
                f"Expected rewards for both responses to {len(shown)} prompts; got shape "
                f"{found.shape} from {type(judge).__name__}."
            )
        wrong = shown.index[~np.isfinite(found).all(axis=1)]
        if len(wrong):
            raise InputError(
                f"Expected finite rewards; got NaN or infinity for {len(wrong)} of {len(shown)} "
                f"prompts (first: {', '.join(map(str, wrong[:3]))}) from {type(judge).__name__}. "
                "Its weights may be damaged, or half precision overflows. Check the judge."
            )
        rewards[~blank] = found
        about |= scores.provenance
    table["reward_a"], table["reward_b"] = rewards.T
    return about


def _outcomes(table: pd.DataFrame, tie_margin: float) -> np.ndarray:
    """1 where a wins, 0.5 for a tie, 0 where b wins."""
    lead = (table["reward_a"] - table["reward_b"]).to_numpy()
    has_a, has_b = (~table[f"response_{side}"].map(_blank).to_numpy() for side in "ab")
    same = (table["response_a"] == table["response_b"]).to_numpy()
    with np.errstate(invalid="ignore"):
        outcome = np.where(same | (np.abs(lead) <= tie_margin), 0.5, lead > 0)
    # With a blank response there is no reward: text wins against none.
    return np.where(has_a & has_b, outcome, 0.5 + (has_a.astype(float) - has_b) / 2)
