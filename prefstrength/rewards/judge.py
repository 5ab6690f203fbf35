"""A language model as judge: which of two responses it prefers, whatever their order."""

import os
import string
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, warn
from prefstrength.errors import InputError
from prefstrength.rewards.engine.outcome import Run
from prefstrength.rewards.engine.responses import (
    Responses,
    Text,
    content_key,
    distinct_responses,
    flatten,
)
from prefstrength.rewards.language_models.causal import JudgeSource
from prefstrength.rewards.model_reward import ModelReward, check_one_of
from prefstrength.rewards.score import Scores

JUDGE_PROMPT = """\
Compare two answers to the same request.

[Request]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

Which answer is better? Reply with one letter, A or B."""

#: Below this mean probability of the two labels together, their odds say little.
LEAST_LABEL_PROBABILITY = 0.5
#: Below this share of pairs with the same verdict in both orders, place counts more than content.
LEAST_CONSISTENT = 0.5


@dataclass(frozen=True)
class JudgeReward(ModelReward):
    r"""A language model as judge: its log-odds that one response is better than the other.

    Each pair is shown in both orders. The verdict is read from the probabilities of two label
    tokens at the first place of the answer; nothing is generated. With :math:`l` the log-odds of
    the label of the response shown first,

    .. math:: d = \tfrac{1}{2} \left( l(\text{chosen first}) - l(\text{rejected first}) \right)

    takes out what the judge gives to the place alone. Only the difference :math:`d` is known:
    the chosen response has the reward :math:`d/2`, the rejected one :math:`-d/2`.

    Parameters
    ----------
    name_or_path : str or path
        Causal language model: name on the hub, or a folder with safetensors.
    prompt : str
        What the judge is asked, with the fields ``{prompt}``, ``{first}`` and ``{second}``;
        literal braces are doubled.
    labels : (str, str)
        What the judge should answer for the first and for the second response; one token each.
    revision : str, optional
        Branch, tag or commit on the hub.
    template : {"chat", "plain"}
        ``"chat"``: the question is a user message in the tokenizer's chat template, followed by
        its generation prompt, with thinking switched off where the template knows how
        (``enable_thinking``). ``"plain"``: the question as it is, for a model without a template.
    batch_size, max_length, max_truncated, dtype, compile, device, sanitize, trust_remote_code
        As of :class:`HFReward`. The output layer stays in float32.

    Raises
    ------
    InputError
        For a prompt without its fields; when scoring, for labels that are not one token each,
        and as :class:`HFReward`.

    Warns
    -----
    DataWarning
        If the two labels have less than half of the probability, or if the verdict turns with
        the order in more than half of the pairs.

    Notes
    -----
    ``score(...).attrs["reward"]`` reports ``position_bias`` (mean log-odds that the judge gives to
    the response shown first, whatever it is), ``consistent`` (share of pairs with the same verdict
    in both orders) and ``label_probability`` (mean probability of the two labels together).

    The judge's verdict is about pairs, so rewards of the same response in two pairs may differ.

    References
    ----------
    Zheng et al. (2023), Judging LLM-as-a-Judge, arXiv:2306.05685 (position bias, swapped orders).

    Examples
    --------
    >>> from prefstrength.rewards import JudgeReward
    >>> JudgeReward("Qwen/Qwen3-0.6B", labels=("1", "2"), prompt=(
    ...     "{prompt}\n\n1: {first}\n2: {second}\nBetter:"
    ... )).template
    'chat'
    """

    in_steps = False

    name_or_path: str | os.PathLike[str]
    _: KW_ONLY
    prompt: str = JUDGE_PROMPT
    labels: tuple[str, str] = ("A", "B")
    revision: str | None = None
    template: str = "chat"
    batch_size: int = 16
    max_length: int | None = None
    max_truncated: float = 0.01
    dtype: str = "float32"
    compile: bool = False
    device: str | None = None
    sanitize: bool = True
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("JudgeReward", "template", self.template, ("chat", "plain"))
        labels = (self.labels,) if isinstance(self.labels, str) else tuple(self.labels)
        if len(labels) != 2 or not all(isinstance(label, str) and label for label in labels):
            raise InputError(
                "JudgeReward expects two labels, for the first and the second response; got "
                f"{self.labels!r}. Use single letters or digits: `labels=('A', 'B')`."
            )
        object.__setattr__(self, "labels", labels)
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(self.prompt) if name}
        except ValueError as error:
            raise InputError(
                f"JudgeReward expects literal braces in prompt to be doubled; got {error}."
            ) from error
        if fields != {"prompt", "first", "second"}:
            raise InputError(
                "JudgeReward expects a prompt with the fields {prompt}, {first} and {second}; got "
                f"{', '.join(f'{{{name}}}' for name in sorted(fields)) or 'none'}. Double the "
                "braces that are text."
            )

    def source(self) -> JudgeSource:
        """Look at the model, without its weights."""
        return JudgeSource(self, prompt=self.prompt, labels=self.labels, template=self.template)

    def asks(self, pairs: pd.DataFrame) -> Responses:
        """Show every distinct pair in both orders."""
        return _both_orders(distinct_responses(pairs), Rows(pairs.index).labels())

    def read(self, found: Run, asked: Responses) -> Scores:
        """Half the log-odds and their negative: only differences are known."""
        log_odds = found.values[:, 0] - found.values[:, 1]
        chosen_first, rejected_first = log_odds[asked.chosen], log_odds[asked.rejected]
        difference = 0.5 * (chosen_first - rejected_first)
        same = asked.chosen == asked.rejected  # the same text twice has no verdict
        consistent = float(np.mean((chosen_first * rejected_first < 0)[~same])) if any(~same) else 1
        labels = float(np.mean(np.exp(found.values).sum(axis=1)))
        bias = float(np.mean(0.5 * (chosen_first + rejected_first)))
        _warn(self.labels, labels, consistent, bias)
        about = {"position_bias": bias, "consistent": consistent, "label_probability": labels}
        return Scores(0.5 * difference, -0.5 * difference, about)


def _both_orders(responses: Responses, labels: list[str]) -> Responses:
    """Questions of the pairs: the chosen response shown first, and shown second.

    A question has the label of the first pair that asks it.
    """
    asked: dict[str, tuple[Text, Any, str]] = {}
    keys = []
    for chosen, rejected, label in zip(responses.chosen, responses.rejected, labels, strict=True):
        for first, second in ((chosen, rejected), (rejected, chosen)):
            shown = (
                ("first", flatten(responses.texts[first])),
                ("second", flatten(responses.texts[second])),
            )
            keys.append(content_key(responses.prompts[chosen], shown))
            asked.setdefault(keys[-1], (responses.prompts[chosen], shown, label))
    prompts, texts, rows = zip(*asked.values(), strict=True)
    number = {key: i for i, key in enumerate(asked)}
    places = np.array([number[key] for key in keys])
    return Responses(prompts, texts, tuple(asked), rows, chosen=places[::2], rejected=places[1::2])


def _warn(labels: tuple[str, str], probability: float, consistent: float, bias: float) -> None:
    if probability < LEAST_LABEL_PROBABILITY:
        warn(
            f"The judge gives its labels {labels[0]!r} and {labels[1]!r} a probability of only "
            f"{probability:.2g} together: it would rather say something else. Ask for one label in "
            "`prompt=...`, or check whether `labels=...` need a blank before them."
        )
    if consistent < LEAST_CONSISTENT:
        warn(
            f"The judge keeps its verdict in only {consistent:.0%} of the pairs when their order "
            f"is turned (mean log-odds for the place: {bias:.3g}). Both orders are averaged, but "
            "such a judge says little. Use another `prompt=...` or a larger model."
        )
