"""Choices: one validated, immutable container of choice data, and the tables it is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from prefstrength.choice.responses.base import Response
from prefstrength.data.choice_arrays import ChoiceArrays
from prefstrength.data.from_columns import read_call
from prefstrength.data.from_long import LongColumns, long_fields
from prefstrength.data.from_pairs import pairs_fields
from prefstrength.data.from_rankings import RankingColumns, ranking_fields

__all__ = ["Choices"]


@dataclass(frozen=True, eq=False, repr=False)
class Choices(ChoiceArrays):
    """Choice data: in each situation one of several alternatives was chosen, or more was said.

    Make one with :meth:`from_pairs`, :meth:`from_long`, :meth:`from_rankings` or
    :func:`~prefstrength.data.reading.read_choices`; they check a table and say what is wrong with
    it. The constructor takes arrays that are already in order, copies them and makes them
    read-only.

    Parameters
    ----------
    values : array_like, shape (situation, alternative, attribute)
        The attributes, in the units of the table; 0 where an alternative is not available.
    chosen : array_like of int, shape (situation,)
        Position of the chosen alternative; 0 in pairs (0 chosen, 1 rejected). Where answers say
        more than that it is the better one by the answer, the first where they tie, and may be
        left ``None``.
    attributes : sequence of str
    available : array_like of bool, shape (situation, alternative), optional
        The choice sets; everything when left out.
    weights : array_like, shape (situation,), optional
        How often each situation counts; 1 when left out.
    chooser : array_like of int, shape (situation,), optional
        Position of the chooser in ``choosers``.
    choosers : sequence of str
        Labels of the choosers.
    groups : mapping of str to Factor
        Subgroups to compare.
    situations : sequence of str, optional
        Labels of the situations: the rows of the file they came from.
    dropped : sequence of Dropped
    alternatives : sequence of str, optional
        Labels of the alternatives; their positions when left out.
    notes : sequence of str
        What was done to the table on request, other than dropping.
    response : Response, optional
        Kind of answer. :class:`~prefstrength.Pair` for pairs and
        :class:`~prefstrength.Multinomial` for other plain choices when left out;
        :class:`~prefstrength.Graded`, :class:`~prefstrength.Ties` or
        :class:`~prefstrength.RaoKupper` with ``answer``, :class:`~prefstrength.Ranking` with
        ``ranks``.
    answer : array_like of int, shape (situation,), optional
        Position in ``response.answers``, of answers to two alternatives; 0 is the one most in
        favour of the first.
    ranks : array_like of int, shape (situation, alternative), optional
        1 is the best; equal numbers tie; 0 is not ranked, below all that is.
    shown_first : array_like of int, shape (situation,), optional
        1 where the first of two alternatives was shown first, -1 the second, 0 not known.
    pair : array_like of int, shape (situation,), optional
        Equal in situations that show the same two responses.
    chooser_weights : array_like, shape (chooser,), optional
        How often each chooser counts, with all they chose; ``None`` where all count alike.

    Raises
    ------
    InputError
        If shapes disagree, a number is not finite, a weight is negative, a code has no label,
        a chosen alternative is not available, or an answer is none of its response; names the
        first situations.

    Examples
    --------
    >>> import pandas as pd
    >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5, 2.0], "reward_rejected": [0.0, 1.0, 0.0],
    ...                       "annotator": ["ann", "ann", "ben"]})
    >>> choices = Choices.from_pairs(pairs, chooser="annotator")
    >>> choices.n_situations, choices.choosers
    (3, ('ann', 'ben'))
    >>> choices.differences("reward")
    array([ 1. , -0.5,  2. ])
    """

    @classmethod
    def from_pairs(
        cls,
        frame: Any,
        chooser: str | None = None,
        groups: str | Sequence[str] = (),
        attributes: str | Sequence[str] = ("reward",),
        *,
        weights: str | None = None,
        ties: str = "raise",
        identical: str = "raise",
        duplicates: str = "raise",
        grade: str | None = None,
        grades: Sequence[Any] | int | None = None,
        tie: str | None = None,
        first: str | None = None,
        chooser_weights: str | None = None,
        pair: str | None = None,
        response: Response | None = None,
    ) -> Self:
        """Make choices from a table of pairs, one row for each choice.

        Parameters
        ----------
        frame : DataFrame or datasets.Dataset
            Two columns for each attribute, ``<attribute>_chosen`` and ``<attribute>_rejected``.
            Optional: ``prompt``, ``chosen`` and ``rejected``, texts or TRL's lists of messages,
            which are checked and not kept; ``tie``, true where nobody was preferred.
            It is never changed.
        chooser : str, optional
            Column that says who chose.
        groups : sequence of str
            Categorical columns to compare, such as dataset or region.
        attributes : sequence of str
            Names of the attributes, without ``_chosen`` and ``_rejected``.
        weights : str, optional
            Column of weights, zero or more.
        ties : {"raise", "drop", "split"}
            Ties are refused, left out and counted, or made into two situations of half weight,
            one each way.
        identical : {"raise", "drop"}
            What to do with pairs whose two responses are the same.
        duplicates : {"raise", "drop", "keep"}
            What to do when one chooser judged the same two texts (in either order, under the
            same prompt) more than once. "drop" keeps the first. Without texts nothing is
            compared; without a chooser all rows count as one chooser's.
        grade : str, optional
            Column that says how much better the response in ``chosen`` is: whole numbers that
            rise in its favour (-3 to 3), words, or an ordered categorical. The middle of an odd
            number of grades is a tie. Where the sign is the other, the rejected one is better.
        grades : sequence or int, optional
            All grades in order, the least in favour of the chosen response first, or their number
            L for 1 to L. Needed for words without an order and for numbers without a sign.
        tie : str, optional
            Boolean column of ties that are to be answers of their own. Without it, ``ties`` says
            what happens to those in a column ``tie``.
        first : str, optional
            Column that says which response was shown first: ``"chosen"`` or ``"rejected"`` (or
            the name of a column that ends so), or whether it was the chosen one; missing where
            it is not known.
        chooser_weights : str, optional
            Column of weights of choosers, how often a person counts with all they chose.
        pair : str, optional
            Column that is equal where the same two responses were judged.
        response : Response, optional
            In place of :class:`~prefstrength.Graded` or :class:`~prefstrength.Ties`, such as
            :class:`~prefstrength.RaoKupper`.

        Returns
        -------
        Choices
            ``situations`` are the row labels of ``frame``; positions counted from 0 where labels
            occur twice.

        Raises
        ------
        InputError
            For whatever is wrong with the table: one sentence that names column and rows.

        Warns
        -----
        DataWarning
            For what works but deserves a look, such as a group level with hardly any rows.

        Examples
        --------
        >>> import pandas as pd
        >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5], "reward_rejected": [0.0, 1.0],
        ...                       "tie": [False, True]})
        >>> Choices.from_pairs(pairs, ties="drop").dropped
        (Dropped(reason='ties', count=1, rows=('1',)),)
        >>> Choices.from_pairs(pairs, ties="split").weights
        array([1. , 0.5, 0.5])
        >>> Choices.from_pairs(pairs, tie="tie").answer_counts()
        {'first': 1, 'tie': 1, 'second': 0}
        """
        fields = pairs_fields(
            frame, chooser, groups, attributes,
            weights=weights, chooser_weights=chooser_weights,
            ties=ties, identical=identical, duplicates=duplicates,
            grade=grade, grades=grades, tie=tie, first=first, pair=pair, response=response,
        )  # fmt: skip
        return cls(**fields)

    @classmethod
    def from_long(
        cls,
        frame: Any,
        situation: str,
        alternative: str,
        chosen: str | None = None,
        attributes: str | Sequence[str] = ("reward",),
        *,
        chooser: str | None = None,
        groups: str | Sequence[str] = (),
        available: str | None = None,
        weights: str | None = None,
        ties: str = "raise",
        duplicates: str = "raise",
        rank: str | None = None,
        chooser_weights: str | None = None,
        response: Response | None = None,
    ) -> Self:
        """Make choices from a table with one row for each alternative of each situation.

        Parameters
        ----------
        frame : DataFrame or datasets.Dataset
            It is never changed.
        situation, alternative : str
            Columns that say which situation and which alternative a row describes. An
            alternative that was not on offer has no row, or ``available`` false.
        chosen : str, optional
            Boolean column (or 0 and 1), true in one row of each situation.
        attributes : sequence of str
            Numeric columns.
        chooser, groups, weights, chooser_weights
            As in :meth:`from_pairs`; the same in all rows of a situation.
        available : str, optional
            Boolean column; attributes of alternatives that are not available may be missing.
        ties : {"raise", "drop", "split"}
            Situations with several chosen alternatives are refused, left out and counted, or
            repeated once for each chosen one with their weight shared out.
        duplicates : {"raise", "drop"}
            What to do when an alternative occurs twice in a situation. "drop" keeps the first.
        rank : str, optional
            In the place of ``chosen``: column of ranks, 1 for the best. Equal ranks tie; a
            missing one, or 0, is not ranked, below all that is.
        response : Response, optional
            In place of :class:`~prefstrength.Ranking`, such as ``Ranking("efron")``.

        Returns
        -------
        Choices
            Alternatives take the sorted order of their labels. With more than 100 labels (each
            response has its own) they are numbered within each situation, in that order.

        Raises
        ------
        InputError
            For whatever is wrong with the table: one sentence that names column and rows.

        Examples
        --------
        >>> import pandas as pd
        >>> trips = pd.DataFrame({
        ...     "trip": [1, 1, 1, 2, 2],
        ...     "mode": ["bus", "car", "walk", "bus", "car"],
        ...     "taken": [1, 0, 0, 0, 1],
        ...     "cost": [2.0, 5.0, 0.0, 2.0, 3.0],
        ... })
        >>> choices = Choices.from_long(trips, "trip", "mode", "taken", "cost")
        >>> choices.alternatives, choices.available.sum(axis=1)
        (('bus', 'car', 'walk'), array([3, 2]))
        """
        call = read_call(chooser, groups, attributes, weights, chooser_weights)
        columns = LongColumns(situation, alternative, available, chosen, rank)
        return cls(**long_fields(frame, columns, call, ties, duplicates, response))

    @classmethod
    def from_rankings(
        cls,
        frame: Any,
        attributes: str | Sequence[str] = ("reward",),
        *,
        order: str | None = None,
        rank: str | None = None,
        score: str | None = None,
        best: str | None = None,
        worst: str | None = None,
        alternatives: str | Sequence[str] | None = None,
        situation: str | None = None,
        alternative: str | None = None,
        chooser: str | None = None,
        groups: str | Sequence[str] = (),
        weights: str | None = None,
        chooser_weights: str | None = None,
        response: Response | None = None,
    ) -> Self:
        """Make choices from rankings, whole or in part, of any layout.

        One row for each ranking, with lists: ``attributes``, ``rank`` and ``score`` name columns of
        lists with an entry for each alternative. One row for each ranking, with columns for each
        alternative: ``alternatives`` lists their endings, and ``attributes``, ``rank`` and
        ``score`` are what stands before, as in ``reward_a``. One row for each alternative:
        ``situation`` and ``alternative`` say which, as in :meth:`from_long`.

        Parameters
        ----------
        frame : DataFrame or datasets.Dataset
            It is never changed.
        attributes : sequence of str
        order : str, optional
            Column of lists of alternatives, the best first; a list in the list is a tie. What is
            not listed is not ranked, below all that is.
        rank : str, optional
            Ranks, 1 for the best. Equal ranks tie; a missing one, or 0, is not ranked.
        score : str, optional
            Scores of the responses, the higher the better. They become a ranking, with ties where
            they are equal, and ``notes`` says so.
        best, worst : str, optional
            Columns that name the best and the worst alternative; all others tie in between. The
            worst may be missing.
        alternatives : str or sequence of str, optional
            Column of lists of the alternatives' names, or the endings of their columns. Without
            names ``order``, ``best`` and ``worst`` give places in the lists, from 0.
        situation, alternative : str, optional
            Columns of a table with one row for each alternative.
        chooser, groups, weights, chooser_weights
            As in :meth:`from_pairs`.
        response : Response, optional
            ``Ranking()`` when left out, with the exact probability of ties; or
            ``Ranking("efron")``, ``Ranking("breslow")``.

        Returns
        -------
        Choices
            Alternatives take the sorted order of their names. With more than 100 names (each
            response has its own) they are numbered within each situation.

        Raises
        ------
        InputError
            For whatever is wrong with the table: one sentence that names column and rows.

        Examples
        --------
        >>> import pandas as pd
        >>> rankings = pd.DataFrame({"reward": [[0.1, 2.0, 1.0], [0.0, 0.5, 3.0]],
        ...                          "order": [[1, 2, 0], [2, [0, 1]]]})
        >>> Choices.from_rankings(rankings, order="order").ranks
        array([[3, 1, 2],
               [2, 2, 1]])
        >>> trials = pd.DataFrame({"yield_a": [3.0, 2.0], "yield_b": [1.0, 4.0],
        ...                        "yield_c": [2.0, 3.0], "good": ["a", "b"], "bad": ["b", None]})
        >>> Choices.from_rankings(trials, "yield", best="good", worst="bad",
        ...                       alternatives=["a", "b", "c"]).ranks
        array([[1, 3, 2],
               [0, 1, 0]])
        """
        call = read_call(chooser, groups, attributes, weights, chooser_weights)
        columns = RankingColumns(alternatives, order, rank, score, best, worst)
        if situation is None and alternative is None:
            return cls(**ranking_fields(frame, columns, call, response))
        long = columns.of_long(situation, alternative)
        return cls(**long_fields(frame, long, call, "raise", "raise", response))
