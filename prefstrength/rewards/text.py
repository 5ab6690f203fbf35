"""The embedded default: a cross-fitted Bradley-Terry model on the words of the responses."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from prefstrength._shared.records import versions
from prefstrength._shared.words import warn
from prefstrength.data.columns import tied
from prefstrength.errors import InputError
from prefstrength.rewards.engine.responses import Responses, distinct_responses, flatten, opening
from prefstrength.rewards.score import Scores

INNER_FOLDS = 3
#: Pairs that are enough to choose C: a prior variance does not depend on the number of pairs.
INNER_PAIRS = 20_000
SHOWN_WORDS = 10
CALIBRATION_BINS = np.linspace(0.5, 1.0, 11)


@dataclass(frozen=True)
class TextReward:
    r"""A Bradley-Terry model on words, cross-fitted by prompt; needs no download.

    The reward of a response is the sum of the weights of the words it holds, plus a weight on
    the log of its length in words. In a pair of responses :math:`a, b` to one prompt

    .. math:: P(a \succ b) = \sigma(w \cdot (\phi(a) - \phi(b)))

    so that the model is a logistic regression without intercept on differences, the same
    whichever response is named first. Ties count half each way. Every pair is scored by a model
    that was fitted without its prompt: prompts are dealt into folds, and the model of a fold
    learns from all other folds. Turns of one conversation share a fold, because folds go by the
    first user message; where prompts are plain texts each is a message of its own, whatever it
    quotes. The penalty is chosen inside the training folds, again by prompt.

    Parameters
    ----------
    folds : int
        Number of folds, at least 2.
    seed : int
        Deals the prompts into folds; the same seed gives the same rewards.
    min_count : int
        Words in fewer distinct responses than this are left out.
    max_words : int
        At most so many words are kept, those in most responses.
    C : sequence of float
        Candidates for the prior variance of a weight (scikit-learn's inverse penalty), tried
        upwards until the held-out log loss worsens.

    Notes
    -----
    A linear model on words: it knows nothing of order, meaning or the prompt, and treats a
    language written without spaces poorly. On real text its agreement is modest, which widens
    what the analysis can say; a reward model (:class:`HFReward`) says more. A model fitted to
    the very choices it scores would inflate strength; cross-fitting prevents that.

    ``score(...).attrs["reward"]`` reports out-of-fold ``agreement``, ``log_loss`` (a coin has
    0.693), ``calibration`` (predicted probability that the higher reward is chosen, against the
    observed share; ties count half), the chosen ``C`` of each fold, and the ``words`` with the
    largest weights. Raw rewards are log-odds.

    References
    ----------
    Bradley and Terry (1952), Biometrika 39, 324-345. Chernozhukov et al. (2018), The
    Econometrics Journal 21, C1-C68 (cross-fitting).

    Examples
    --------
    >>> import pandas as pd
    >>> from prefstrength.rewards import TextReward, score
    >>> pairs = pd.DataFrame({
    ...     "prompt": [f"question {i}" for i in range(40)],
    ...     "chosen": [f"a kind answer number {i % 7}" for i in range(40)],
    ...     "rejected": [f"a rude answer number {i % 5}" for i in range(40)],
    ... })
    >>> scored = score(pairs, TextReward(), progress=False)
    >>> scored.attrs["reward"]["agreement"]
    1.0
    >>> scored.attrs["reward"]["words"]["raise"][0]["word"]
    'kind'
    """

    #: It learns from the pairs that it scores, so it cannot judge others.
    scores_responses: ClassVar[bool] = False

    folds: int = 5
    seed: int = 0
    min_count: int = 2
    max_words: int = 50_000
    C: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("seed", 0), ("min_count", 1), ("max_words", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"TextReward expects a whole number for {name}; got {value!r}.")
            if value < least:
                raise InputError(f"TextReward expects {name} of at least {least}; got {value}.")
        candidates = tuple(float(value) for value in self.C)
        if not candidates or not all(0 < value < np.inf for value in candidates):
            raise InputError(
                f"TextReward expects C as one or more positive numbers; got {self.C!r}."
            )
        object.__setattr__(self, "C", tuple(sorted(candidates)))

    def score_pairs(
        self,
        pairs: pd.DataFrame,
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Scores:
        """Fit one model a fold and score the pairs of that fold with it.

        Parameters
        ----------
        pairs : DataFrame, one row a pair
            Columns ``prompt``, ``chosen``, ``rejected``, optionally ``tie``.
        cache
            Not used: a reward here depends on the whole set.
        progress : bool
            Show a progress bar over the folds.

        Returns
        -------
        Scores
            Out-of-fold log-odds, shape (pair,).

        Raises
        ------
        InputError
            If texts are missing or blank, all responses are alike, no pair is decided, or there
            are too few prompts for the folds.

        Warns
        -----
        DataWarning
            If the rewards predict held-out choices no better than a coin.
        """
        responses = distinct_responses(pairs)
        tie = tied(pairs)
        prompts, prompt = np.unique(
            [opening(responses.prompts[i]) for i in responses.chosen], return_inverse=True
        )
        self._check(len(prompts), tie, len(pairs))
        matrix, words = self._features(responses)
        difference = (matrix[responses.chosen] - matrix[responses.rejected]).tocsr()
        difference.eliminate_zeros()
        if difference.nnz == 0:
            raise InputError(
                "TextReward expects responses that differ in their words; got the same words on "
                f"both sides of all {len(pairs)} pairs. The two sides may be the same column. "
                "Check the columns chosen and rejected."
            )
        fold = deal(prompt, self.folds, self.seed)
        reward = np.zeros(len(pairs)), np.zeros(len(pairs))
        weights = np.zeros(matrix.shape[1])
        chosen_C = []
        for k in tqdm(range(self.folds), desc="text reward", unit="fold", disable=not progress):
            train, test = fold != k, fold == k
            C = self._choose_C(difference[train], tie[train], prompt[train])
            w = BradleyTerry(difference[train], tie[train]).fit(C)
            chosen_C.append(C)
            weights += w / self.folds
            reward[0][test] = matrix[responses.chosen[test]] @ w
            reward[1][test] = matrix[responses.rejected[test]] @ w
        delta = reward[0] - reward[1]
        loss = float(np.mean(log_loss(delta, tie)))
        if loss >= np.log(2):
            warn(
                "TextReward predicts held-out choices no better than a coin (log loss "
                f"{loss:.3f}, a coin 0.693). The words may not carry the preference, or the pairs "
                "are too few. Use a reward model: HFReward(name)."
            )
        return Scores(
            chosen=reward[0],
            rejected=reward[1],
            provenance={
                "name": "TextReward",
                "settings": {**asdict(self), "C": list(self.C)},
                "prompts": len(prompts),
                "responses": len(responses),
                "vocabulary": len(words) - 1,
                "C": chosen_C,
                "log_loss": loss,
                "calibration": calibration(delta, tie),
                "words": _largest(words, weights),
                "versions": versions("scikit-learn", "scipy"),
            },
        )

    def _check(self, prompts: int, tie: np.ndarray, pairs: int) -> None:
        if tie.all():
            raise InputError(
                f"TextReward expects pairs with a preference to learn from; got {pairs} ties of "
                f"{pairs} pairs. Ties may be coded the wrong way round. Check the column 'tie'."
            )
        # the folds that a model learns from must hold two prompts, or C cannot be chosen
        least = max(self.folds, 4 if self.folds == 2 else 3)
        if prompts < least:
            raise InputError(
                f"TextReward expects at least {least} different prompts for {self.folds} folds; "
                f"got {prompts} in {pairs} pairs. All pairs of a prompt stay in one fold. Give "
                "more prompts, or use a reward that needs no fitting: ColumnReward or HFReward."
            )

    def _features(self, responses: Responses) -> tuple[Any, np.ndarray]:
        """Word presence and log length, shape (response, word + 1), with their names."""
        from scipy import sparse
        from sklearn.feature_extraction.text import CountVectorizer

        count = CountVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
        try:
            matrix = count.fit_transform([flatten(text) for text in responses.texts])
        except ValueError as error:
            raise InputError(
                "TextReward expects responses made of words; got no word in "
                f"{len(responses)} responses. They may be punctuation or numbers of tokens. "
                "Check the columns chosen and rejected."
            ) from error
        length = np.log1p(np.asarray(matrix.sum(axis=1)))
        matrix.data[:] = 1.0
        # chosen here, not by the vectorizer, whose lengths would count the kept words only
        frequency = np.asarray(matrix.sum(axis=0)).ravel()
        kept = np.argsort(-frequency, kind="stable")[: self.max_words]
        kept = np.sort(kept[frequency[kept] >= self.min_count])
        words = np.append(count.get_feature_names_out()[kept], "")
        return sparse.hstack([matrix[:, kept], sparse.csr_matrix(length)], "csr"), words

    def _choose_C(self, difference: Any, tie: np.ndarray, prompt: np.ndarray) -> float:
        """Choose the C with the least held-out log loss, prompts kept together."""
        if len(self.C) == 1:
            return self.C[0]
        keep = _whole_prompts(prompt, INNER_PAIRS, self.seed)
        difference, tie, prompt = difference[keep], tie[keep], prompt[keep]
        folds = min(INNER_FOLDS, len(np.unique(prompt)))
        inner = deal(prompt, folds, self.seed)
        models = [BradleyTerry(difference[inner != k], tie[inner != k]) for k in range(folds)]
        best, least = self.C[0], np.inf
        for C in self.C:
            loss = 0.0
            for k, model in enumerate(models):
                held_out = difference[inner == k] @ model.fit(C)
                loss += float(np.sum(log_loss(held_out, tie[inner == k])))
            if loss >= least:
                break
            best, least = C, loss
        return best


def deal(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal whole groups into folds of about the same number of groups.

    Parameters
    ----------
    group : ndarray of int, shape (pair,)
        Group of every pair; a group is never split.
    folds : int
        Number of folds.
    seed : int
        Order in which the groups are dealt.

    Returns
    -------
    ndarray of int, shape (pair,)
        Fold of every pair.

    Examples
    --------
    >>> deal(np.array([0, 0, 1, 2, 2, 3]), folds=2, seed=0).tolist()
    [1, 1, 1, 0, 0, 0]
    """
    from sklearn.model_selection import GroupKFold

    fold = np.empty(len(group), np.int64)
    split = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for k, (_, test) in enumerate(split.split(group, groups=group)):
        fold[test] = k
    return fold


class BradleyTerry:
    """Weights of the attributes of responses from choices between pairs of them.

    Parameters
    ----------
    difference : sparse matrix, shape (pair, attribute)
        Attributes of the chosen minus those of the rejected response.
    tie : ndarray of bool, shape (pair,)
        Pairs without a preference; they enter with half weight each way.

    Examples
    --------
    >>> from scipy import sparse
    >>> difference = sparse.csr_matrix([[1.0, 0.0], [1.0, -1.0], [0.0, 1.0]])
    >>> model = BradleyTerry(difference, np.array([False, False, True]))
    >>> model.fit(C=1.0).round(2).tolist()
    [0.64, -0.24]
    """

    def __init__(self, difference: Any, tie: np.ndarray) -> None:
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        decided, tied = difference[~tie], difference[tie]
        # naming the other response first in every second pair changes no likelihood, and shows
        # the classifier both of its classes
        turn = np.where(np.arange(decided.shape[0]) % 2 == 0, 1.0, -1.0)
        rows = [sparse.diags_array(turn) @ decided, tied, tied]
        won = [turn > 0, np.ones(tied.shape[0], bool), np.zeros(tied.shape[0], bool)]
        weight = [np.ones(decided.shape[0]), np.full(2 * tied.shape[0], 0.5)]
        if decided.shape[0] < 2 and tied.shape[0] == 0:  # from both sides, half each
            rows, won, weight = [decided, -decided], [turn > 0, turn < 0], [np.full(2, 0.5)]
        self._rows = sparse.csr_matrix(sparse.vstack(rows))
        self._won = np.concatenate(won)
        self._weight = np.concatenate(weight)
        # Newton with conjugate gradients: a few dozen products where L-BFGS needs hundreds
        self._model = LogisticRegression(
            solver="newton-cg", fit_intercept=False, warm_start=True, tol=1e-6, max_iter=1000
        )

    def fit(self, C: float) -> np.ndarray:
        """Weights, shape (attribute,), under prior variance ``C``, started from the last fit."""
        self._model.C = C
        self._model.fit(self._rows, self._won, sample_weight=self._weight)
        return np.array(self._model.coef_[0])


def log_loss(difference: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Negative log probability of each choice; a tie counts half each way."""
    lost = np.logaddexp(0.0, -difference)
    return np.where(tie, 0.5 * (lost + np.logaddexp(0.0, difference)), lost)


def calibration(difference: np.ndarray, tie: np.ndarray) -> list[dict[str, float]]:
    """Predicted probability that the higher reward is chosen, against the observed share.

    Parameters
    ----------
    difference : ndarray, shape (pair,)
        Log-odds that the chosen response is chosen.
    tie : ndarray of bool, shape (pair,)
        Pairs without a preference; they count as half chosen.

    Returns
    -------
    list of dict
        ``low``, ``high``, ``pairs``, ``predicted``, ``observed`` of each bin that holds pairs.

    Examples
    --------
    >>> calibration(np.array([0.1, -0.1]), np.array([False, False]))[0]["observed"]
    0.5
    """
    predicted = 1.0 / (1.0 + np.exp(-np.abs(difference)))
    observed = np.where(tie | (difference == 0), 0.5, difference > 0)
    last = len(CALIBRATION_BINS) - 2
    place = np.clip(np.searchsorted(CALIBRATION_BINS, predicted, side="right") - 1, 0, last)
    return [
        {
            "low": float(CALIBRATION_BINS[b]),
            "high": float(CALIBRATION_BINS[b + 1]),
            "pairs": int(np.sum(place == b)),
            "predicted": float(np.mean(predicted[place == b])),
            "observed": float(np.mean(observed[place == b])),
        }
        for b in np.unique(place)
    ]


def _whole_prompts(prompt: np.ndarray, pairs: int, seed: int) -> np.ndarray:
    """Mask of randomly drawn prompts that together hold about ``pairs`` pairs."""
    if len(prompt) <= pairs:
        return np.ones(len(prompt), bool)
    names, index, counts = np.unique(prompt, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    taken = np.zeros(len(names), bool)
    enough = 1 + int(np.searchsorted(np.cumsum(counts[order]), pairs))
    taken[order[: max(enough, 2)]] = True
    return taken[index]


def _largest(words: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Words that raise and lower the reward most, and the weight of the log length."""
    order = np.argsort(weights[:-1], kind="stable")

    def shown(places: np.ndarray, sign: int) -> list[dict[str, Any]]:
        return [
            {"word": str(words[i]), "weight": float(weights[i])}
            for i in places
            if sign * weights[i] > 0
        ]

    return {
        "raise": shown(order[::-1][:SHOWN_WORDS], 1),
        "lower": shown(order[:SHOWN_WORDS], -1),
        "log_length": float(weights[-1]),
    }
