"""Mistakes people make with preference data, each with the one sentence that answers it.

A row of the table is a function that makes the bad input and returns the call that meets it.
"""

import copy
import gzip
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from prefstrength.choice.responses.graded import Graded
from prefstrength.data.choices import Choices
from prefstrength.data.reading import pairs_from_votes, read_choices, read_pairs
from prefstrength.errors import DataWarning, InputError


class Case(NamedTuple):
    make: Callable[[Path], partial]
    sentence: str
    kind: type


CASES: dict[str, Case] = {}


def refused(sentence: str) -> Callable:
    return _entry(sentence, InputError)


def warned(sentence: str) -> Callable:
    return _entry(sentence, DataWarning)


def _entry(sentence: str, kind: type) -> Callable:
    def add(make: Callable[[Path], partial]) -> Callable:
        CASES[make.__name__] = Case(make, sentence, kind)
        return make

    return add


# -- good tables, and ways to spoil them ------------------------------------------------------


def pairs(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "prompt": [f"question {i}" for i in range(rows)],
            "chosen": [f"good answer {i}" for i in range(rows)],
            "rejected": [f"bad answer {i}" for i in range(rows)],
            "reward_chosen": rng.normal(0.3, 1, rows).round(3),
            "reward_rejected": rng.normal(0, 1, rows).round(3),
            "annotator": [f"w{i % 8}" for i in range(rows)],
            "region": ["north" if i // 8 % 2 else "south" for i in range(rows)],
        }
    )


def trips() -> pd.DataFrame:
    rows = [
        {"trip": f"t{s}", "mode": mode, "taken": mode == "bus", "open": True, "cost": 1.0 * s + m}
        for s in range(4)
        for m, mode in enumerate(("bus", "car", "walk"))
    ]
    return pd.DataFrame(rows).assign(person=[f"p{i // 6}" for i in range(12)])


def with_cells(column: str, cells: dict[int, Any], frame: pd.DataFrame | None = None):
    frame = pairs() if frame is None else frame
    values = frame[column].astype(object).tolist()
    for row, value in cells.items():
        values[row] = value
    return frame.assign(**{column: pd.Series(values, index=frame.index)})


def of_pairs(frame: pd.DataFrame, **call: Any) -> partial:
    return partial(Choices.from_pairs, frame, **call)


def of_long(frame: pd.DataFrame, **call: Any) -> partial:
    columns = {"situation": "trip", "alternative": "mode", "chosen": "taken", "attributes": "cost"}
    return partial(Choices.from_long, frame, **(columns | call))


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def conversations() -> pd.DataFrame:
    frame = pairs()
    return frame.assign(**{c: frame[c].map(messages) for c in ("prompt", "chosen", "rejected")})


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# -- columns that are not there ---------------------------------------------------------------


@refused(
    "The table should have the column 'anotator' (chooser); got 7 columns: 'prompt', "
    "'chosen', 'rejected', 'reward_chosen', 'reward_rejected', 'annotator', 'region'. Did you"
    " mean 'annotator'?"
)
def misspelt_chooser(folder):
    return of_pairs(pairs(), chooser="anotator")


@refused(
    "The table should have the column 'Regions' (groups); got 7 columns: 'prompt', 'chosen', "
    "'rejected', 'reward_chosen', 'reward_rejected', 'annotator', 'region'. Did you mean "
    "'region'?"
)
def misspelt_group(folder):
    return of_pairs(pairs(), groups=["Regions"])


@refused(
    "The table should have the column 'importance' (weights); got 7 columns: 'prompt', "
    "'chosen', 'rejected', 'reward_chosen', 'reward_rejected', 'annotator', 'region'. Check "
    "the spelling of weights."
)
def missing_weights(folder):
    return of_pairs(pairs(), weights="importance")


@refused(
    "Attribute 'rewards' should be two columns, 'rewards_chosen' and 'rewards_rejected'; got "
    "neither among 7 columns: 'prompt', 'chosen', 'rejected', 'reward_chosen', "
    "'reward_rejected', 'annotator', 'region'. Did you mean `attributes=['reward']`?"
)
def misspelt_attribute(folder):
    return of_pairs(pairs(), attributes=["rewards"])


@refused(
    "attributes should be names without their endings; got 'reward_chosen', which is one half"
    " of the attribute 'reward'. Both halves are found by the name alone. Pass "
    "`attributes=['reward']`."
)
def attribute_with_its_ending(folder):
    return of_pairs(pairs(), attributes=["reward_chosen"])


@refused(
    "Attribute 'reward' should be two columns, 'reward_chosen' and 'reward_rejected'; got "
    "'reward_chosen' without 'reward_rejected'. Did you mean 'reward_rejcted'? Rename it, or "
    "name another attribute."
)
def one_side_of_an_attribute(folder):
    return of_pairs(pairs().rename(columns={"reward_rejected": "reward_rejcted"}))


@refused(
    "Attribute 'reward' should be two columns, 'reward_chosen' and 'reward_rejected'; got "
    "neither among 3 columns: 'prompt', 'chosen', 'rejected'. The pairs have no rewards yet. "
    "Score them first: score(pairs, ...)."
)
def texts_without_rewards(folder):
    return of_pairs(pairs()[["prompt", "chosen", "rejected"]])


@refused(
    "Attribute 'reward' should be two columns, 'reward_chosen' and 'reward_rejected'; got "
    "neither among 3 columns: 'reward_a', 'reward_b', 'choice'. This is a table of votes. "
    "Make it pairs with pairs_from_votes(frame) first."
)
def votes_instead_of_pairs(folder):
    return of_pairs(pd.DataFrame({"reward_a": [1.0], "reward_b": [0.5], "choice": ["a"]}))


@refused(
    "Attribute 'reward' should be two columns, 'reward_chosen' and 'reward_rejected'; got "
    "neither among 2 columns: 'reward', 'annotator'. Column 'reward' is one number for a pair"
    " of responses. Score both of them."
)
def one_score_for_a_pair(folder):
    return of_pairs(pd.DataFrame({"reward": [1.0, 2.0], "annotator": ["w1", "w2"]}))


@refused(
    "A pair should have both texts, 'chosen' and 'rejected'; got 'chosen' without 'rejected'."
    " Did you mean to rename 'reject'? Add the column, or rename 'chosen' if it is no text."
)
def chosen_without_rejected(folder):
    return of_pairs(pairs().rename(columns={"rejected": "reject"}))


@refused(
    "Column names should be unique; got 2 columns called 'annotator' (positions 5, 7). A join"
    " may have doubled them. Rename or delete one."
)
def two_columns_of_one_name(folder):
    frame = pairs()
    return of_pairs(pd.concat([frame, frame[["annotator"]]], axis=1), chooser="annotator")


@refused(
    "The columns should have plain names; got 2 levels of names (first: ('left', 'prompt')). "
    "A pivot or groupby made them. Flatten them first: frame.columns = ['_'.join(c) for c in "
    "frame.columns]."
)
def columns_of_two_levels(folder):
    return of_pairs(pd.concat({"left": pairs(), "right": pairs()}, axis=1))


@refused(
    "The table should have at least one row; got 0 rows and 7 columns. A filter may have "
    "removed everything. Check the step before this one."
)
def no_rows(folder):
    return of_pairs(pairs().iloc[:0])


# -- a call that cannot be meant ----------------------------------------------------------------


@refused("ties should be one of 'raise', 'drop', 'split'; got 'splitt'. Did you mean 'split'?")
def unknown_ties(folder):
    return of_pairs(pairs(), ties="splitt")


@refused("duplicates should be one of 'raise', 'drop', 'keep'; got True. Pass one of them.")
def unknown_duplicates(folder):
    return of_pairs(pairs(), duplicates=True)


@refused(
    "attributes should name at least one column; got none. Strength is the taste for an "
    "attribute. Leave attributes out for 'reward', or name one."
)
def no_attributes(folder):
    return of_pairs(pairs(), attributes=[])


@refused("groups should name each column once; got 'region' twice. Remove the repetition.")
def group_named_twice(folder):
    return of_pairs(pairs(), groups=["region", "region"])


@refused(
    "groups should not contain the chooser's column; got 'annotator' as both. Each chooser "
    "would be a group of one. Remove it from groups."
)
def chooser_as_group(folder):
    return of_pairs(pairs(), chooser="annotator", groups=["region", "annotator"])


@refused(
    "A column should have one use; got 'weight' as a group and as attribute or weights. "
    "Remove it from one of them."
)
def weights_as_group(folder):
    return of_pairs(pairs().assign(weight=1.0), groups=["weight"], weights="weight")


# -- rewards ----------------------------------------------------------------------------------


@refused(
    "Column 'reward_chosen' should hold a finite number in every row; got missing values "
    "(NaN) in 2 of 40 rows (first: 4, 9). Scoring or measuring may have failed there. Fill "
    "these rows in or drop them."
)
def missing_reward(folder):
    return of_pairs(with_cells("reward_chosen", {4: np.nan, 9: None}))


@refused(
    "Column 'reward_rejected' should hold a finite number in every row; got missing values "
    "(NaN) and infinite values in 3 of 40 rows (first: 2, 3, 5). Scoring or measuring may "
    "have failed there. Fill these rows in or drop them."
)
def infinite_reward(folder):
    return of_pairs(with_cells("reward_rejected", {2: np.inf, 3: -np.inf, 5: np.nan}))


@refused(
    "Attribute 'reward' should have ordinary numbers; got 1e+300 in size in 1 of 40 pairs "
    "(first: 6). A placeholder may stand for a missing score. Score these rows again or drop "
    "them."
)
def placeholder_reward(folder):
    return of_pairs(with_cells("reward_rejected", {6: -1e300}))


@refused(
    "Attribute 'reward' should vary; got 0.5 in every row of 'reward_chosen' and "
    "'reward_rejected' (40 pairs). The scoring may have returned a default. Score again, or "
    "name another attribute."
)
def constant_reward(folder):
    return of_pairs(pairs().assign(reward_chosen=0.5, reward_rejected=0.5))


@refused(
    "Attribute 'reward' should differ between the alternatives of at least one situation; got"
    " equal values of 'reward_chosen' and 'reward_rejected' in all 40 pairs. One column may "
    "be a copy of the other. Check where the scores come from."
)
def equal_rewards_in_every_pair(folder):
    frame = pairs()
    return of_pairs(frame.assign(reward_rejected=frame["reward_chosen"]))


@refused(
    "Column 'reward_chosen' should hold numbers; got true/false in 40 rows (first: 0, 1, 2). "
    "A flag says who was chosen, not how good the response is. Name the column with the "
    "scores."
)
def boolean_reward(folder):
    return of_pairs(pairs().assign(reward_chosen=True, reward_rejected=False))


@refused(
    "Column 'reward_chosen' should hold numbers; got numbers written as text, such as "
    "'0.426', in 40 of 40 rows (first: 0, 1, 2). Quotes in the file make numbers into text. "
    "Convert first: frame['reward_chosen'] = pandas.to_numeric(frame['reward_chosen'])."
)
def numbers_as_text(folder):
    frame = pairs()
    return of_pairs(frame.assign(reward_chosen=frame["reward_chosen"].astype(str)))


@refused(
    "Column 'reward_rejected' should hold numbers; got numbers, partly as text, such as "
    "'1.5', in 2 of 40 rows (first: 0, 7). Quotes in the file make numbers into text. Convert"
    " first: frame['reward_rejected'] = pandas.to_numeric(frame['reward_rejected'])."
)
def some_numbers_as_text(folder):
    return of_pairs(with_cells("reward_rejected", {0: "1.5", 7: "2"}))


@refused(
    "Column 'reward_chosen' should hold numbers; got text such as '1,5' in 2 of 40 rows "
    "(first: 3, 4). The comma or space is a decimal comma or a separator of thousands. Write "
    "1.5 for one and a half and 1500 for fifteen hundred (`pandas.read_csv(path, "
    "decimal=..., thousands=...)`)."
)
def comma_in_numbers(folder):
    return of_pairs(with_cells("reward_chosen", {3: "1,5", 4: "12 000"}))


@refused(
    "Column 'reward_chosen' should hold numbers only; got numbers mixed with text, such as "
    "'failed', in 2 of 40 rows (first: 11, 12). Text may stand for a missing score. Drop "
    "these rows or score them again."
)
def words_among_numbers(folder):
    return of_pairs(with_cells("reward_chosen", {11: "failed", 12: "n/a"}))


@refused(
    "Column 'style_chosen' should hold numbers; got text, such as 'good answer 0', in 40 of "
    "40 rows (first: 0, 1, 2). An attribute is a measurement, not a label. Name a numeric "
    "column, or pass the labels as groups."
)
def text_as_attribute(folder):
    frame = pairs().rename(columns={"chosen": "style_chosen", "rejected": "style_rejected"})
    return of_pairs(frame, attributes=["style"])


@refused(
    "Column 'reward_chosen' should hold one value in each row (a number); got a list in 40 of"
    " 40 rows (first: 0, 1, 2). The column is nested. Take one field out of it into a column "
    "of its own."
)
def lists_as_rewards(folder):
    return of_pairs(with_cells("reward_chosen", {i: [0.1, 0.2] for i in range(40)}))


@refused(
    "Column 'reward_chosen' should hold real numbers; got values of type datetime64, such as "
    "Timestamp('2026-01-01 00:00:00'), in 40 of 40 rows (first: 0, 1, 2). These cannot be "
    "compared as rewards. Name the column with the scores."
)
def dates_as_rewards(folder):
    return of_pairs(pairs().assign(reward_chosen=pd.Timestamp("2026-01-01")))


@refused(
    "Column 'reward_rejected' should hold real numbers; got values of type complex, such as "
    "(1+2j), in 40 of 40 rows (first: 0, 1, 2). These cannot be compared as rewards. Name the"
    " column with the scores."
)
def complex_rewards(folder):
    return of_pairs(pairs().assign(reward_rejected=1 + 2j))


@warned(
    "Attribute 'reward' is higher for the chosen alternative in all 40 pairs; strength then "
    "has no upper bound. It may be made from these very choices: use rewards that are not."
)
def reward_made_from_the_choice(folder):
    return of_pairs(pairs().assign(reward_chosen=1.0, reward_rejected=0.0))


@warned(
    "Attribute 'rank' is lower for the chosen alternative in all 40 pairs; strength then has "
    "no upper bound. Lower may mean better here: change the sign if so."
)
def reward_where_lower_is_better(folder):
    frame = pairs()
    rank = frame["reward_chosen"].abs()
    return of_pairs(frame.assign(rank_chosen=-rank - 1, rank_rejected=rank), attributes="rank")


@warned(
    "Attributes 'reward' and 'score' have proportional differences in all 40 pairs; their "
    "tastes cannot be told apart. Leave one of them out."
)
def two_attributes_that_are_one(folder):
    frame = pairs()
    twice = {f"score_{s}": 2 * frame[f"reward_{s}"] + 1 for s in ("chosen", "rejected")}
    return of_pairs(frame.assign(**twice), attributes=["reward", "score"])


# -- texts ------------------------------------------------------------------------------------


@refused(
    "Column 'prompt' should have a text in every row; got nothing in 1 of 40 rows (first: 5)."
    " An empty response is the text '', not a missing one. Fill these rows in or drop them."
)
def missing_prompt(folder):
    return of_pairs(with_cells("prompt", {5: None}))


@refused(
    "Column 'rejected' should hold texts or lists of messages; got 3 in 40 of 40 rows (first:"
    " 0, 1, 2). Scores belong into columns such as 'reward_chosen'. Rename the column."
)
def numbers_as_responses(folder):
    return of_pairs(pairs().assign(rejected=3))


@refused(
    "Columns 'chosen' and 'rejected' should both be text or both be messages; got lists of "
    "messages in 'chosen' and plain text in 'rejected' (first row: 0). TRL's two formats "
    "cannot be mixed. Write all of them in one."
)
def messages_against_text(folder):
    return of_pairs(conversations().assign(rejected=pairs()["rejected"]))


@refused(
    "Columns 'chosen' and 'prompt' should both be text or both be messages; got lists of "
    "messages in 'chosen' and plain text in 'prompt' (first row: 0). TRL's two formats cannot"
    " be mixed. Write all of them in one."
)
def plain_prompt_of_messages(folder):
    return of_pairs(conversations().assign(prompt=pairs()["prompt"]))


@refused(
    "Column 'chosen' should hold either texts or lists of messages; got both: messages in 2 "
    "of 40 rows (first: 1, 8). Two sources may have been glued together. Write all rows in "
    "one format."
)
def text_and_messages_in_one_column(folder):
    return of_pairs(with_cells("chosen", {1: messages("yes"), 8: messages("no")}))


@refused(
    "Column 'chosen' should hold lists of messages with the text fields 'role' and 'content';"
    " got a message without 'role' (its fields: 'from', 'value') in 2 of 40 rows (first: 0, "
    "6). Other chat formats use other names, such as 'from' and 'value'. Rename the fields."
)
def messages_without_role(folder):
    odd = {i: [{"from": "human", "value": "hello"}] for i in (0, 6)}
    return of_pairs(with_cells("chosen", odd, conversations()))


@refused(
    "Column 'prompt' should hold lists of messages with the text fields 'role' and 'content';"
    " got a message whose 'content' is list in 1 of 40 rows (first: 4). Images"
    " are not read. Keep the text, or drop the row."
)
def messages_with_parts(folder):
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    return of_pairs(with_cells("prompt", {4: parts}, conversations()))


@refused(
    "Column 'chosen' should hold lists of messages with the text fields 'role' and 'content';"
    " got str instead of a message in 1 of 40 rows (first: 4). Other chat formats list bare "
    "texts. Make each one a dict with both fields."
)
def list_of_texts(folder):
    return of_pairs(with_cells("chosen", {4: ["hello", "there"]}, conversations()))


@refused(
    "Column 'rejected' should hold lists of messages with the text fields 'role' and "
    "'content'; got an empty list in 1 of 40 rows (first: 2). A response has at least one "
    "message. Fill it in or drop the row."
)
def empty_conversation(folder):
    return of_pairs(with_cells("rejected", {2: []}, conversations()))


@refused(
    "Column 'rejected' should hold texts or lists of messages; got {'role': 'a', 'content': "
    "'b'} in 40 of 40 rows (first: 0, 1, 2). A single message is a list with one entry: "
    "[{'role': ..., 'content': ...}]."
)
def one_message_without_a_list(folder):
    return of_pairs(with_cells("rejected", {i: {"role": "a", "content": "b"} for i in range(40)}))


@refused(
    "Column 'chosen' should hold the messages as lists; got lists written out as text in 40 "
    "of 40 rows (first: 0, 1, 2). CSV cannot hold lists. Save the conversations as JSONL or "
    "Parquet."
)
def messages_written_as_text(folder):
    frame = conversations()
    return of_pairs(
        frame.assign(**{c: frame[c].astype(str) for c in ("prompt", "chosen", "rejected")})
    )


@refused(
    "The responses of a pair should differ; got 'chosen' equal to 'rejected' in 2 of 40 rows "
    "(first: 7, 30). There was nothing to choose. Pass `identical='drop'` to leave them out "
    "(counted)."
)
def identical_responses(folder):
    return of_pairs(with_cells("rejected", {7: "good answer 7", 30: "good answer 30"}))


@refused(
    "The same two responses should be judged once by one chooser ('annotator'); got repeated "
    "'chosen' and 'rejected' (in either order) in 2 of 42 rows (first: 40, 41). The file may "
    "hold the row twice, or the judgement was repeated. Pass `duplicates='drop'` to keep the "
    "first, or `duplicates='keep'` to keep all."
)
def repeated_judgement(folder):
    frame = pairs()
    swapped = frame.iloc[[3]].rename(columns={"chosen": "rejected", "rejected": "chosen"})
    return of_pairs(
        pd.concat([frame, frame.iloc[[0]], swapped], ignore_index=True), chooser="annotator"
    )


@refused(
    "The same two responses should be judged once in the table; got repeated 'chosen' and "
    "'rejected' (in either order) in 2 of 42 rows (first: 40, 41). Without a chooser, several"
    " people's votes look like one person's. Pass `duplicates='drop'` to keep the first, or "
    "`duplicates='keep'` to keep all."
)
def several_votes_without_chooser(folder):
    frame = pairs()
    again = frame.iloc[[0, 1]].assign(annotator="somebody else")
    return of_pairs(pd.concat([frame, again], ignore_index=True))


@warned(
    "Column 'chosen' has an empty text in 2 of 40 rows (first: 5, 6); they are kept. Check "
    "that the responses were really empty."
)
def empty_response(folder):
    return of_pairs(with_cells("chosen", {5: "", 6: "  "}))


# -- ties -------------------------------------------------------------------------------------


@refused(
    "Each row should prefer one response; got a tie (column 'tie') in 4 of 40 rows (first: 4,"
    " 14, 24). A tie is no choice, but it is information. Pass `ties='drop'` to leave them out "
    "(counted), or `ties='split'` for two situations of half weight."
)
def ties_undecided(folder):
    return of_pairs(pairs().assign(tie=[i % 10 == 4 for i in range(40)]))


@refused(
    "Column 'tie' should be true or false (true: a tie); got 'no' in 40 of 40 rows (first: 0,"
    " 1, 2). Words and codes have to be translated. Convert first, as in frame['tie'] = "
    "frame['tie'] == 'yes'."
)
def tie_in_words(folder):
    return of_pairs(pairs().assign(tie=["yes" if i == 3 else "no" for i in range(40)]))


@refused(
    "Column 'tie' should be true or false (true: a tie); got 0.5 in 1 of 40 rows (first: 3). "
    "Words and codes have to be translated. Convert first, as in frame['tie'] = frame['tie'] "
    "== 1."
)
def tie_in_degrees(folder):
    return of_pairs(pairs().assign(tie=[0.5 if i == 3 else 0.0 for i in range(40)]))


@refused(
    "Column 'tie' should be true or false in every row (true: a tie); got nothing in 2 of 40 "
    "rows (first: 3, 5). An empty cell may mean either. Fill these rows in."
)
def tie_unknown(folder):
    return of_pairs(pairs().assign(tie=[None if i in (3, 5) else False for i in range(40)]))


@refused(
    "The column that marks ties should be called 'tie'; got 'is_tie'. It would be overlooked."
    " Rename it: `frame.rename(columns={'is_tie': 'tie'})`."
)
def tie_by_another_name(folder):
    return of_pairs(pairs().assign(is_tie=False))


@refused(
    "Ties should be marked by a boolean column 'tie'; got 'tie' in column 'winner' in 1 of 40"
    " rows (first: 8), and no column 'tie'. They would count as choices. Add it: frame['tie']"
    " = frame['winner'] == 'tie'."
)
def tie_among_the_votes(folder):
    return of_pairs(pairs().assign(winner=["tie" if i == 8 else "model_a" for i in range(40)]))


@refused(
    "Something should be left after dropping; got 0 of 40 rows after 40 ties. The column may "
    "mark something else. Check it, or choose another way than 'drop'."
)
def nothing_but_ties(folder):
    return of_pairs(pairs().assign(tie=True), ties="drop")


# -- grades, ties and who was shown first ---------------------------------------------------------

SEVEN = [i % 7 - 3 for i in range(40)]
WORDS = ["worse", "alike", "better"]


def graded(cells: dict[int, Any] | None = None, **columns: Any) -> pd.DataFrame:
    frame = pairs().assign(grade=SEVEN, **columns)
    return with_cells("grade", cells, frame) if cells else frame


@refused(
    "Column 'grade' should hold the grades -3, -2, -1, 0, 1, 2, 3; got 5 in 2 of 40 rows (first: "
    "3, 30). Correct these rows, or give the whole scale in `grades=...`."
)
def grade_outside_the_scale(folder):
    return of_pairs(graded({3: 5, 30: 5}), grade="grade", grades=[-3, -2, -1, 0, 1, 2, 3])


@refused(
    "Column 'verdict' should hold the grades 'worse', 'alike', 'better'; got 'beter' in 1 of 40 "
    "rows (first: 4). Did you mean 'better'? Correct these rows, or give the whole scale in "
    "`grades=...`."
)
def misspelt_grade(folder):
    words = [WORDS[i % 3] for i in range(40)]
    frame = with_cells("verdict", {4: "beter"}, pairs().assign(verdict=words))
    return of_pairs(frame, grade="verdict", grades=WORDS)


@refused(
    "Grades in words (column 'verdict') should have an order; got 'alike', 'better', 'worse' in "
    "40 rows. Pass `grades=[...]`, the least in favour of the chosen response first, or make the "
    "column an ordered pandas.Categorical."
)
def grades_in_no_order(folder):
    words = pd.Categorical([WORDS[i % 3] for i in range(40)])
    return of_pairs(pairs().assign(verdict=words), grade="verdict")


@refused(
    "grades should rise in favour of the chosen response; got 3, 2, 1, 0, -1, -2, -3. Turn the "
    "list around, or number the grades anew."
)
def grades_that_fall(folder):
    return of_pairs(graded(), grade="grade", grades=[3, 2, 1, 0, -1, -2, -3])


@refused(
    "A scale should have as many grades for the one response as for the other; got -1, 0, 1, 2, "
    "3. Grades that nobody gave belong to it, too. Name them all."
)
def one_sided_scale(folder):
    return of_pairs(graded(), grade="grade", grades=[-1, 0, 1, 2, 3])


@refused(
    "A scale should have 2 to 20 grades, each once; got 3: 'worse', 'better', 'better'. Name the "
    "grades of column 'grade' in `grades=...`."
)
def grade_named_twice(folder):
    return of_pairs(graded(), grade="grade", grades=["worse", "better", "better"])


@refused(
    "A scale should have 2 to 20 grades, each once; got 201: -100, -99, -98, -97, -96, -95, -94, "
    "-93 and 193 more. Name the grades of column 'slider' in `grades=...`."
)
def slider_as_grade(folder):
    return of_pairs(pairs().assign(slider=range(-100, 100, 5)), grade="slider")


@refused(
    "Grades (column 'stars') should say on which side they are; got whole numbers from 1 to 5. "
    "They may go from one response to the other, or say how much better the chosen one is. Pass "
    "`grades=5` for 1 to 5 in its favour, or all grades from -5 to 5 as a list."
)
def grades_without_a_side(folder):
    return of_pairs(pairs().assign(stars=[i % 5 + 1 for i in range(40)]), grade="stars")


@refused(
    "Column 'grade' should hold a grade in every row; got nothing in 2 of 40 rows (first: 0, 7). "
    "No answer is not a tie. Fill these rows in or drop them."
)
def missing_grade(folder):
    return of_pairs(graded({0: None, 7: np.nan}), grade="grade")


@refused(
    "Column 'grade' should hold grades as whole numbers or words; got 1.5 in 1 of 40 rows (first:"
    " 2). A mean of several people's grades is a measurement. Give each their own row."
)
def mean_grade(folder):
    return of_pairs(graded({2: 1.5}), grade="grade")


@refused(
    "Column 'good' should hold grades as whole numbers or words; got boolean values, such as "
    "True, in 40 of 40 rows (first: 0, 1, 2). A grade says how much better one response is. Name "
    "another column."
)
def flag_as_grade(folder):
    return of_pairs(pairs().assign(good=True), grade="good")


@refused(
    "grades should come with the column that holds them; got 5 without a column. Name it: "
    "`grade=...`."
)
def scale_without_grades(folder):
    return of_pairs(graded(), grades=5)


@refused(
    "A tie (column 'tie') should have the grade in the middle, and no other row (column 'grade');"
    " got no tie with the grade '0' in 6 of 40 rows (first: 3, 10, 17). One of the two is wrong. "
    "Correct it, or drop column 'tie'."
)
def tie_and_grade_that_disagree(folder):
    return of_pairs(graded(tie=False), grade="grade")


@refused(
    "A tie (column 'draw') should have the grade in the middle, and no other row (column "
    "'grade'); got a tie with the grade '-1' in 1 of 40 rows (first: 2). One of the two is wrong."
    " Correct it, or drop column 'draw'."
)
def tie_on_a_scale_without_a_middle(folder):
    even = [grade or 1 for grade in SEVEN]
    return of_pairs(
        pairs().assign(grade=even, draw=[i == 2 for i in range(40)]), grade="grade", tie="draw"
    )


@refused(
    "ties should be left out where ties are kept as answers (grade or tie); got `ties='drop'`. "
    "Both cannot be. Drop one of the two."
)
def ties_kept_and_dropped(folder):
    return of_pairs(pairs().assign(tie=False), tie="tie", ties="drop")


@refused(
    "response should be one of the answers that are there, such as Graded(answers=['+3', '+2', "
    "'+1', '0', '-1', '-2', '-3']); got Graded(answers=['+2', '+1', '0', '-1', '-2']). Leave it "
    "out, or name the columns of its answers."
)
def response_of_fewer_grades(folder):
    return of_pairs(graded(), grade="grade", response=Graded(5))


@refused(
    "Column 'left' should say which response was shown first, 'chosen' or 'rejected' (or true for"
    " the chosen one); got 'gpt-4' in 2 of 40 rows (first: 5, 6). It may name a model or a side "
    "of the screen. Translate it."
)
def first_that_names_neither(folder):
    frame = with_cells("left", {5: "gpt-4", 6: "llama"}, pairs().assign(left="chosen"))
    return of_pairs(frame, first="left")


@refused(
    "Column 'left' should say which response was shown first, 'chosen' or 'rejected' (or true for"
    " the chosen one); got nothing in 40 of 40 rows (first: 0, 1, 2). It may name a model or a "
    "side of the screen. Translate it."
)
def first_known_nowhere(folder):
    return of_pairs(pairs().assign(left=None), first="left")


@refused(
    "Rows of one pair (column 'task') should show the same two responses; got others in 32 of 40 "
    "rows (first: 8, 9, 10). The column may number prompts. Name one that numbers pairs, or leave"
    " pair out."
)
def prompts_as_pairs(folder):
    return of_pairs(pairs().assign(task=[i % 8 for i in range(40)]), pair="task")


@refused(
    "Column 'pair' should say which pair a row belongs to; got nothing in 1 of 40 rows (first: "
    "9). Without it the row cannot be placed. Fill these rows in or drop them."
)
def pair_without_id(folder):
    return of_pairs(with_cells("pair", {9: None}, pairs().assign(pair=range(40))), pair="pair")


@refused(
    "A chooser should have one weight (column 'person'); got several for 'w3' in 1 of 40 rows "
    "(first: 11). Weights of single choices are `weights=...`. Pass the column there, or correct "
    "it."
)
def weights_that_vary_within_a_chooser(folder):
    frame = pairs().assign(person=[2.0 if i == 11 else 1.0 for i in range(40)])
    return of_pairs(frame, chooser="annotator", chooser_weights="person")


@refused(
    "Weights of choosers (column 'person') should come with the chooser's column; got no chooser."
    " They say how often a person counts. Name `chooser=...`, or pass the column as `weights=...`"
    " if it is about situations."
)
def weights_of_nobody(folder):
    return of_pairs(pairs().assign(person=1.0), chooser_weights="person")


@refused(
    "The table should have the column 'grad' (grade); got 8 columns: 'prompt', 'chosen', "
    "'rejected', 'reward_chosen', 'reward_rejected', 'annotator', 'region', 'grade'. Did you mean"
    " 'grade'?"
)
def misspelt_column_of_grades(folder):
    return of_pairs(graded(), grade="grad")


# -- choosers and groups ----------------------------------------------------------------------


@refused(
    "Every row should say who chose, in column 'annotator'; got no id in 3 of 40 rows (first:"
    " 1, 2, 3). All of them would count as one chooser. Fill the ids in, drop these rows, or "
    "leave chooser out."
)
def chooser_without_id(folder):
    return of_pairs(with_cells("annotator", {1: None, 2: " ", 3: ""}), chooser="annotator")


@refused(
    "Column 'annotator' (chooser) should hold values of one type; got text mixed with int, "
    "the latter in 2 of 40 rows (first: 2, 4). The number 7 and the text '7' would count as "
    "two. Make them alike: frame['annotator'] = frame['annotator'].astype(str)."
)
def choosers_of_two_types(folder):
    return of_pairs(with_cells("annotator", {2: 7, 4: 8}), chooser="annotator")


@refused(
    "Column 'reward_chosen' (chooser) should hold names or whole numbers; got 0.426 in 40 of "
    "40 rows (first: 0, 1, 2). A fraction is a measurement, not a chooser. Name another "
    "column, or cut it into classes with pandas.cut."
)
def measurement_as_chooser(folder):
    return of_pairs(pairs(), chooser="reward_chosen")


@refused(
    "Column 'annotator' should hold one value in each row (a chooser); got a dict with the "
    "keys 'id', 'age' in 40 of 40 rows (first: 0, 1, 2). The column is nested. Take one field"
    " out of it into a column of its own."
)
def nested_chooser(folder):
    return of_pairs(
        with_cells("annotator", {i: {"id": i, "age": 30} for i in range(40)}), chooser="annotator"
    )


@refused(
    "Column 'annotator' (chooser) should hold text or whole numbers; got b'w1' in 40 of 40 rows "
    "(first: 0, 1, 2). These have no label to show. Convert first: frame['annotator'] = "
    "frame['annotator'].str.decode('utf-8')."
)
def bytes_as_chooser(folder):
    return of_pairs(pairs().assign(annotator=[b"w1"] * 40), chooser="annotator")


@warned(
    "Column 'annotator' (chooser) has 2 pairs of values that differ only in capitals or "
    "spaces (first: 'W0' and 'w0', 'W0' and 'w0 '); they count as different. If they are the "
    "same, clean them: frame['annotator'].str.strip().str.lower()."
)
def choosers_that_look_alike(folder):
    return of_pairs(with_cells("annotator", {1: "W0", 9: "w0 "}), chooser="annotator")


@refused(
    "Group 'region' should have a level in every row; got none in 2 of 40 rows (first: 0, "
    "39). Who did not answer may differ from who did. Drop these rows, or give them a level: "
    "frame['region'].fillna('not stated')."
)
def missing_group_level(folder):
    return of_pairs(with_cells("region", {0: None, 39: np.nan}), groups="region")


@refused(
    "Group 'age' should be a category with a few levels; got 120 different values of type "
    "integer (first: 0, 1, 2). A measurement is no group. Cut it into classes with "
    "pandas.cut, or make it text if these are names."
)
def age_as_group(folder):
    frame = pairs(120).assign(age=range(120))
    return of_pairs(frame, groups="age")


@refused(
    "Group 'prompt' should be a category that many rows share; got 60 different values in 60 "
    "rows (first: 'question 0', 'question 1', 'question 10'). It may be the column of texts "
    "or ids. Name another column."
)
def text_as_group(folder):
    return of_pairs(pairs(60), groups="prompt")


@refused(
    "Column 'reward_chosen' (group) should hold names or whole numbers; got 0.426 in 40 of 40"
    " rows (first: 0, 1, 2). A fraction is a measurement, not a group. Name another column, "
    "or cut it into classes with pandas.cut."
)
def fraction_as_group(folder):
    return of_pairs(pairs(), groups=["reward_chosen"])


@refused(
    "Column 'region' should hold one value in each row (a group); got a list in 40 of 40 rows"
    " (first: 0, 1, 2). The column is nested. Take one field out of it into a column of its "
    "own."
)
def nested_group(folder):
    return of_pairs(pairs().assign(region=[["north", "coast"]] * 40), groups=["region"])


@warned(
    "Group 'region' has one level, 'north', in all 40 situations; there is nothing to "
    "compare. Leave 'region' out of groups."
)
def group_of_one_level(folder):
    return of_pairs(pairs().assign(region="north"), groups="region")


@warned(
    "Group 'region' has hardly any data in 2 of 4 levels: 'east' has 2, 'west' has 1 "
    "situations (fewer than 10). Their strength will come from the other levels. Merge small "
    "levels, or read their intervals with care."
)
def level_with_hardly_any_data(folder):
    return of_pairs(with_cells("region", {4: "west", 5: "east", 6: "east"}), groups="region")


@warned(
    "Group 'site' has a single chooser in 1 of 2 levels (first: 'lab'); how much choosers "
    "differ there cannot be seen. Merge these levels with others."
)
def level_with_one_chooser(folder):
    frame = pairs(120)
    site = np.where(frame["annotator"] == "w3", "lab", "web")
    return of_pairs(frame.assign(site=site), chooser="annotator", groups="site")


@warned(
    "Groups 'region' and 'side' split the situations in the same way; their effects cannot be"
    " told apart. Leave one of them out."
)
def two_groups_that_are_one(folder):
    frame = pairs()
    side = frame["region"].map({"north": "up", "south": "down"})
    return of_pairs(frame.assign(side=side), groups=["region", "side"])


# -- weights ----------------------------------------------------------------------------------


@refused(
    "Weights in column 'weight' should be zero or more; got a negative weight, such as -2, in"
    " 2 of 40 rows (first: 3, 30). A weight counts how often a situation is used. Correct "
    "these rows or drop them."
)
def negative_weights(folder):
    return of_pairs(
        pairs().assign(weight=[-2.0 if i in (3, 30) else 1.0 for i in range(40)]), weights="weight"
    )


@refused(
    "Column 'weight' should hold a finite number in every row; got infinite values in 1 of 40"
    " rows (first: 1). A weight counts how often a situation is used. Fill these rows in or "
    "drop them."
)
def infinite_weights(folder):
    return of_pairs(
        pairs().assign(weight=[np.inf if i == 1 else 1.0 for i in range(40)]), weights="weight"
    )


@refused(
    "Weights in column 'weight' should not all be zero; got 0 in all 40 rows. Nothing would "
    "be left to learn from. Name another column, or leave weights out."
)
def weights_all_zero(folder):
    return of_pairs(pairs().assign(weight=0), weights="weight")


# -- several alternatives ---------------------------------------------------------------------


@refused(
    "Each situation should have one chosen alternative (column 'taken'); got 0 in 2 of 4 "
    "situations (first: t1, t3). Choosing none may be an alternative without a row. Add that "
    "row, or drop these situations."
)
def nothing_chosen(folder):
    frame = trips()
    return of_long(frame.assign(taken=frame["taken"] & ~frame["trip"].isin(["t1", "t3"])))


@refused(
    "Each situation should have one chosen alternative (column 'taken'); got up to 3 in 1 of "
    "4 situations (first: t0). They may be ties. Pass `ties='drop'` to leave them out "
    "(counted), or `ties='split'` to share their weight."
)
def several_chosen(folder):
    return of_long(with_cells("taken", {1: True, 2: True}, trips()))


@refused(
    "Column 'taken' should be true or false (true: this alternative was chosen); got 'bus' in"
    " 12 of 12 rows (first: 0, 1, 2). Words and codes have to be translated. Convert first, "
    "as in frame['taken'] = frame['taken'] == frame['mode']."
)
def label_instead_of_flag(folder):
    return of_long(trips().assign(taken="bus"))


@refused(
    "A chosen alternative (column 'taken') should be available; got 'open' false in 1 of 12 "
    "rows (first: 6). One of the two is wrong. Correct it, or drop these situations."
)
def chosen_but_not_available(folder):
    return of_long(with_cells("open", {6: False}, trips()), available="open")


@refused(
    "A situation should offer at least two alternatives; got fewer in 1 of 4 situations "
    "(first: t1). Rows of the others may have been lost. Add them, or drop these situations."
)
def only_one_alternative(folder):
    return of_long(trips().drop(index=[4, 5]))


@refused(
    "An alternative ('mode') should occur once in a situation ('trip'); got it again in 1 of "
    "13 rows (first: 12). Rows may be doubled, or situations numbered anew for each chooser. "
    "Make the situations' ids unique, or pass `duplicates='drop'` to keep the first."
)
def alternative_twice(folder):
    return of_long(pd.concat([trips(), trips().iloc[[7]]], ignore_index=True))


@refused(
    "Column 'trip' should say which situation a row belongs to; got nothing in 1 of 12 rows "
    "(first: 10). Without it the row cannot be placed. Fill these rows in or drop them."
)
def situation_without_id(folder):
    return of_long(with_cells("trip", {10: None}, trips()))


@refused(
    "A situation should have one chooser (column 'person'); got several in 1 of 4 situations "
    "(first: t1). Situations may be numbered anew for each chooser. Give every situation an "
    "id of its own."
)
def situation_of_two_choosers(folder):
    return of_long(with_cells("person", {5: "p9"}, trips()), chooser="person")


@refused("duplicates should be one of 'raise', 'drop'; got 'keep'. Pass one of them.")
def keep_repeated_alternatives(folder):
    return of_long(trips(), duplicates="keep")


@refused(
    "Attribute 'cost' should differ between the alternatives of at least one situation; got "
    "equal values of 'cost' in all 4 situations. One column may be a copy of the other. Check"
    " where the scores come from."
)
def attribute_of_the_situation(folder):
    return of_long(trips().assign(cost=[10.0 * (i // 3) for i in range(12)]))


@refused(
    "Column 'cost' should hold a finite number in every row; got missing values (NaN) in 1 of"
    " 12 rows (first: 8). Scoring or measuring may have failed there. Fill these rows in or "
    "drop them."
)
def missing_cost(folder):
    return of_long(with_cells("cost", {8: None}, trips()))


# -- rankings -------------------------------------------------------------------------------------


def places(cells: dict[int, Any] | None = None, **columns: Any) -> pd.DataFrame:
    frame = trips().drop(columns="taken").assign(place=[1, 2, 3] * 4, **columns)
    return with_cells("place", cells, frame) if cells else frame


def of_places(frame: pd.DataFrame, **call: Any) -> partial:
    columns = {"situation": "trip", "alternative": "mode", "attributes": "cost", "rank": "place"}
    return partial(Choices.from_long, frame, **(columns | call))


def triples(**columns: Any) -> pd.DataFrame:
    rewards = [[0.1 * i, 0.5, 1.0 - 0.3 * i] for i in range(4)]
    return pd.DataFrame({"reward": rewards, "order": [[0, 1, 2]] * 4} | columns)


def of_triples(frame: pd.DataFrame, **call: Any) -> partial:
    return partial(Choices.from_rankings, frame, **({"order": "order"} | call))


@refused(
    "The ranks of a situation (column 'place') should count 1, 2, 3 without a gap; got a number "
    "left out in 1 of 4 situations (first: t1). A row may be lost, or a rank mistyped. Correct "
    "it, or leave the rank of what was not ranked empty."
)
def ranking_with_a_gap(folder):
    return of_places(places({5: 4}))


@refused(
    "A situation should rank at least one alternative (column 'place'); got none in 1 of 4 "
    "situations (first: t2). Nothing was answered there. Drop these situations."
)
def ranking_of_nothing(folder):
    return of_places(places({6: None, 7: np.nan, 8: 0}))


@refused(
    "Ranks in column 'place' should be whole numbers from 1, the best; got 1.5 in 2 of 12 rows "
    "(first: 0, 1). Those that tie share a rank. Number them anew, as pandas does with "
    "`frame.rank(method='dense')`."
)
def ranks_in_between(folder):
    return of_places(places({0: 1.5, 1: 1.5}))


@refused(
    "Ranks in column 'place' should be whole numbers from 1, the best; got -1 in 1 of 12 rows "
    "(first: 3). Those that tie share a rank. Number them anew, as pandas does with "
    "`frame.rank(method='dense')`."
)
def negative_rank(folder):
    return of_places(places({3: -1}))


@refused(
    "Ranks in column 'place' should be whole numbers from 1, the best; got 'best' in 1 of 12 rows"
    " (first: 0). Those that tie share a rank. Number them anew, as pandas does with "
    "`frame.rank(method='dense')`."
)
def rank_in_words(folder):
    return of_places(places({i: "best" if i == 0 else None for i in range(12)}))


@warned(
    "Attribute 'cost' is lower for the higher ranked alternative in all 20 situations; strength "
    "then has no upper bound. Lower may mean better here: change the sign if so."
)
def ranks_made_of_the_attribute(folder):
    frame = pd.concat([places().assign(trip=lambda t, k=k: t["trip"] + str(k)) for k in range(5)])
    return of_places(frame)


@refused(
    "A ranked alternative (column 'place') should be available; got one that is not in 1 of 12 "
    "rows (first: 6). One of the two is wrong. Correct it, or leave the rank empty."
)
def ranked_but_not_available(folder):
    return of_places(with_cells("open", {6: False}, places()), available="open")


@refused(
    "A long table should have one column of answers, which alternative was chosen or how they "
    "rank; got 'chosen', 'rank'. Name one: `chosen=...` or `rank=...`."
)
def chosen_and_ranked(folder):
    return of_places(places(taken=[True, False, False] * 4), chosen="taken")


@refused(
    "A long table should have one column of answers, which alternative was chosen or how they "
    "rank; got none. Name one: `chosen=...` or `rank=...`."
)
def long_table_without_answers(folder):
    return of_places(places(), rank=None)


@refused(
    "ties should be left out where ranks tell who ties; got 'drop'. Equal ranks are answers. "
    "Leave ties out."
)
def ties_of_rankings_dropped(folder):
    return of_places(places(), ties="drop")


@refused(
    "Column 'score' should hold a finite number in every row; got missing values (NaN) in 1 of 12"
    " rows (first: 4). Without a score an alternative has no place. Fill these rows in or drop "
    "them."
)
def missing_score(folder):
    frame = places(score=[50.0 if i != 4 else np.nan for i in range(12)])
    return partial(
        Choices.from_rankings, frame, "cost", situation="trip", alternative="mode", score="score"
    )


@refused(
    "A ranking (column 'order') should name each alternative once; got one twice in 1 of 4 rows "
    "(first: 2). Where two tie, they stand in a list of their own. Correct these rows or drop "
    "them."
)
def alternative_ranked_twice(folder):
    return of_triples(triples(order=[[0, 1, 2], [2, 1], [1, 0, 1], [0, [1, 2]]]))


@refused(
    "Column 'order' should name alternatives of its row, such as 0; got 3 in 1 of 4 rows (first: "
    "1). Without names they are numbered from 0. Correct it, or give their names in "
    "`alternatives=...`."
)
def places_counted_from_one(folder):
    return of_triples(triples(order=[[0, 1, 2], [1, 2, 3], [1, 0], [0, 1]]))


@refused(
    "Column 'order' should name alternatives of its row, such as 'a'; got 'd' in 1 of 4 rows "
    "(first: 3). Without names they are numbered from 0. Correct it, or give their names in "
    "`alternatives=...`."
)
def alternative_that_was_not_there(folder):
    frame = triples(name=[["a", "b", "c"]] * 4, order=[["a", "b"]] * 3 + [["a", "d"]])
    return of_triples(frame, alternatives="name")


@refused(
    "Column 'name' should list each alternative once; got one again in 1 of 4 rows (first: 0). "
    "Two responses may have the same text. Give them names of their own, or drop one."
)
def two_alternatives_of_one_name(folder):
    frame = triples(name=[["a", "b", "a"]] + [["a", "b", "c"]] * 3)
    return of_triples(
        frame.assign(rank=[[1, 2, 3]] * 4), alternatives="name", rank="rank", order=None
    )


@refused(
    "Lists of column 'rank' should have an entry for each alternative; got 2 of 3 in 1 of 4 rows "
    "(first: 1). Something may be lost. Correct these rows or drop them."
)
def list_of_ranks_too_short(folder):
    frame = triples(rank=[[1, 2, 3], [1, 2], [3, 2, 1], [2, 1, 3]])
    return of_triples(frame, rank="rank", order=None)


@refused(
    "Column 'order' should hold a list in every row, one entry for each alternative; got '[0, 1, "
    "2]' in 1 of 4 rows (first: 1). CSV cannot hold lists. Save them as JSONL or Parquet; or name"
    " `situation=...` and `alternative=...` where each alternative has a row, endings of columns "
    "in `alternatives=[...]` where it has columns."
)
def list_written_out_as_text(folder):
    return of_triples(triples(order=[[0, 1, 2], "[0, 1, 2]", [1, 0], [0, 1]]))


@refused(
    "Rankings should have one kind of answer, order, rank, score or best (and worst); got "
    "'order', 'score'. Name one column."
)
def order_and_score(folder):
    return of_triples(triples(), score="order")


@refused(
    "worst should come with best; got it with order. Other answers know the last one themselves. "
    "Leave worst out, or name best."
)
def worst_without_best(folder):
    return of_triples(triples(), worst="order")


@refused(
    "The worst alternative (column 'bad') should be another than the best (column 'good'); got "
    "one for both in 1 of 4 rows (first: 2). One of the two is wrong. Correct it, or drop these "
    "rows."
)
def best_that_is_the_worst(folder):
    frame = triples(good=[0, 1, 2, 0], bad=[1, 2, 2, 1])
    return of_triples(frame, order=None, best="good", worst="bad")


@refused(
    "Column 'good' should name the best alternative in every row; got nothing in 1 of 4 rows "
    "(first: 3). Nothing was answered there. Drop these rows."
)
def missing_best(folder):
    return of_triples(
        triples(good=pd.array([0, 1, 2, None], dtype="Int64")), order=None, best="good"
    )


@refused(
    "A table with one row for each alternative should name situation, alternative, and rank or "
    "score; got `situation='trip'`, `alternative=None` and rank. Name them, or leave situation and "
    "alternative out where a row is a ranking."
)
def situation_without_alternative(folder):
    return partial(Choices.from_rankings, places(), "cost", situation="trip", rank="place")


@refused(
    "alternatives should name at least two endings of columns; got 'reward'. A list in one column"
    " is named by a text."
)
def one_ending(folder):
    return of_triples(triples(), alternatives=["reward"])


# -- votes ------------------------------------------------------------------------------------


def votes(**columns: Any) -> pd.DataFrame:
    frame = {"reward_a": [1.0, 2.0, 3.0], "reward_b": [0.0, 5.0, 3.0], "choice": ["a", "b", "tie"]}
    return pd.DataFrame(frame | columns)


@refused(
    "Column 'choice' should hold 'a', 'b', 'tie'; got 'B' in 1 of 3 rows (first: 1). Did you "
    "mean 'b'? Name the votes in `first=...`, `second=...` and `tie=...`, or translate them."
)
def unknown_vote(folder):
    return partial(pairs_from_votes, votes(choice=["a", "B", "tie"]))


@refused(
    "Column 'choice' should say which response was preferred; got no vote in 1 of 3 rows "
    "(first: 1). No answer is not a tie. Drop these rows."
)
def missing_vote(folder):
    return partial(pairs_from_votes, votes(choice=["a", None, "b"]))


@refused(
    "Columns of votes should come in twos, ending in '_a' and '_b'; got 'length_a' without "
    "the other. Add it, or rename the column."
)
def vote_column_without_its_other_half(folder):
    return partial(pairs_from_votes, votes(length_a=[1, 2, 3]))


@refused(
    "Column 'choice' should hold 'left', 'right', 'tie'; got 'a' in 2 of 3 rows (first: 0, "
    "1). Name the votes in `first=...`, `second=...` and `tie=...`, or translate them."
)
def no_columns_in_twos(folder):
    return partial(pairs_from_votes, votes(), first="left", second="right")


@refused(
    "A table of votes should have columns in twos, ending in '_1' and '_2' or '_a' and '_b'; got "
    "none among 'reward_left', 'reward_right', 'choice'. Give the endings in `endings=...`, or "
    "rename the columns."
)
def codes_without_columns_in_twos(folder):
    frame = votes(choice=[1, 2, 3]).rename(
        columns={"reward_a": "reward_left", "reward_b": "reward_right"}
    )
    return partial(pairs_from_votes, frame, first=1, second=2, tie=3)


@refused(
    "A table of votes should not be made into pairs yet; got the columns 'reward_chosen', "
    "'tie' already. They would be overwritten. Rename or delete them."
)
def already_pairs(folder):
    return partial(pairs_from_votes, votes(reward_chosen=[1.0, 2.0, 3.0], tie=False))


# -- files ------------------------------------------------------------------------------------


@refused(
    "A file or folder should be at FOLDER/pair.csv; got nothing of that name in FOLDER. Did "
    "you mean 'pairs.csv'?"
)
def misspelt_file(folder):
    file(folder, "pairs.csv", "reward_chosen,reward_rejected\n1,2\n")
    return partial(read_pairs, folder / "pair.csv")


@refused(
    "A table should end in one of .parquet, .pq, .jsonl, .ndjson, .json, .csv, .tsv; got "
    "pairs.xlsx. The ending says how to read it. Save it as one of .parquet, .jsonl, .csv."
)
def unknown_ending(folder):
    return partial(read_pairs, file(folder, "pairs.xlsx", "PK"))


@refused(
    "The file pairs.parquet should hold a table; got 0 bytes. The step that wrote it may have"
    " stopped early. Run that step again."
)
def empty_file(folder):
    return partial(read_pairs, file(folder, "pairs.parquet", ""))


@refused(
    "The file pairs.jsonl should hold a table; got blank lines only. The step that wrote it "
    "may have stopped early. Run that step again."
)
def blank_lines(folder):
    return partial(read_pairs, file(folder, "pairs.jsonl", "\n\n"))


@refused(
    "The file pairs.csv should have at least one row; got 0 rows and the columns "
    "'reward_chosen', 'reward_rejected'. The step that wrote it may have filtered everything "
    "out. Check that step."
)
def header_only(folder):
    return partial(read_pairs, file(folder, "pairs.csv", "reward_chosen,reward_rejected\n"))


@refused(
    "A folder should hold Parquet files; got pairs with nothing in it. Only Parquet is read from "
    "folders, and not from the folders inside. Name one file, or the folder that holds the "
    "Parquet files."
)
def empty_folder(folder):
    (folder / "pairs").mkdir()
    return partial(read_pairs, folder / "pairs")


@refused("A path should name a file or a folder; got ''. Name the file of pairs.")
def no_path(folder):
    return partial(read_pairs, "")


@refused(
    "The file pairs.jsonl should have at least one row; got 2 rows and no columns. The step that "
    "wrote it may have filtered everything out. Check that step."
)
def objects_without_names(folder):
    return partial(read_pairs, file(folder, "pairs.jsonl", "{}\n{}\n"))


@refused(
    "All files of a folder should have the same columns; got 'region' in only one of "
    "0.parquet and 1.parquet. They may be different tables. Name one file, or put the others "
    "elsewhere."
)
def folder_of_two_tables(folder):
    (folder / "pairs").mkdir()
    pairs().to_parquet(folder / "pairs" / "0.parquet")
    pairs().drop(columns="region").to_parquet(folder / "pairs" / "1.parquet")
    return partial(read_pairs, folder / "pairs")


@refused(
    "The file pairs.parquet should be a Parquet file; got 21 bytes that cannot be read as "
    "one. A copy or download may have stopped early. Copy it again, or check the ending."
)
def corrupt_parquet(folder):
    return partial(read_pairs, file(folder, "pairs.parquet", b"PAR1 this is no table"))


@refused(
    "Every line of pairs.jsonl should be a JSON object; got a broken one in line 4, column 2 "
    "(Unterminated string starting at): '{\"reward_c'. Writing may have stopped there, or two "
    "lines ran together. Correct or delete that line."
)
def broken_json_line(folder):
    lines = [json.dumps({"reward_chosen": i, "reward_rejected": 0}) for i in range(5)]
    lines[3] = lines[3][:10]
    return partial(read_pairs, file(folder, "pairs.jsonl", "\n".join(lines)))


@refused(
    'Every line of pairs.jsonl should be a JSON object; got list in line 2: \'["b", "c"]\'. A '
    'row needs names for its values. Write {"chosen": ..., "rejected": ...}.'
)
def json_line_without_names(folder):
    return partial(read_pairs, file(folder, "pairs.jsonl", '{"chosen": "a"}\n["b", "c"]\n'))


@refused(
    "The file pairs.jsonl should hold one object a line; got one JSON array over 4 lines. Let"
    " its name end in .json."
)
def json_array_called_jsonl(folder):
    return partial(
        read_pairs, file(folder, "pairs.jsonl", '[\n{"chosen": "a"},\n{"chosen": "b"}\n]')
    )


@refused(
    "The file pairs.json should be an array of objects, one for each row; got dict. The rows "
    'may lie deeper inside. Write [{"chosen": ..., "rejected": ...}, ...].'
)
def rows_deep_in_json(folder):
    return partial(read_pairs, file(folder, "pairs.json", '{"data": [{"chosen": "a"}]}'))


@refused(
    "The columns of pairs.csv should be separated by commas; got semicolons in the first "
    "line: 'reward_chosen;reward_rejected'. Spreadsheets of some countries write these. Save "
    "it again, or read it with `pandas.read_csv(path, sep=';')`."
)
def semicolons(folder):
    return partial(
        read_pairs, file(folder, "pairs.csv", "reward_chosen;reward_rejected\n1,5;2,5\n")
    )


@refused(
    "Column names of pairs.csv should be unique; got 'annotator' more than once in the first "
    "line. Rename or delete one."
)
def name_twice_in_header(folder):
    return partial(
        read_pairs, file(folder, "pairs.csv", "reward_chosen,annotator,annotator\n1,a,b\n")
    )


@refused(
    "Every line of pairs.csv should have 2 cells, as the first one has; got 3 in line 3. A "
    "text with a comma in it needs quotes. Write the file with a CSV writer, or use JSONL."
)
def comma_without_quotes(folder):
    text = "chosen,rejected\nyes,no\nyes, of course,no\n"
    return partial(read_pairs, file(folder, "pairs.csv", text))


@refused(
    "Every line of pairs.csv should have 2 cells, as the first one has; got a quote that "
    "opens in line 2 and never closes. A quote inside a text is written twice. Write the file"
    " with a CSV writer, or use JSONL."
)
def quote_never_closed(folder):
    return partial(read_pairs, file(folder, "pairs.csv", 'chosen,rejected\nyes,"no\nyes,no\n'))


@refused(
    "Every line of pairs.csv should have 2 cells, as the first one has; got more in some "
    "lines. The header may lack a name, such as that of an index. Write the file with a CSV "
    "writer, or use JSONL."
)
def one_cell_too_many_everywhere(folder):
    return partial(read_pairs, file(folder, "pairs.csv", "chosen,rejected\n1,yes,no\n2,yes,no\n"))


@refused(
    "The file pairs.csv should be UTF-8; got the byte 0xef in line 2. It may come from an "
    "older spreadsheet, or be no text at all. Save it again as UTF-8."
)
def not_utf8(folder):
    return partial(
        read_pairs, file(folder, "pairs.csv", "chosen,rejected\nna\xefve,no\n".encode("latin-1"))
    )


@refused(
    "The file pairs.csv.gz should be readable; got an error (Compressed file ended before the"
    " end-of-stream marker was reached). It may be cut off, not packed with gzip, or closed "
    "to you. Copy it again, or change its permissions."
)
def cut_off_gzip(folder):
    packed = gzip.compress(b"chosen,rejected\nyes,no\n" * 100, mtime=0)
    return partial(read_pairs, file(folder, "pairs.csv.gz", packed[:40]))


@refused(
    "Column 'reward_chosen' should hold a finite number in every row; got missing values "
    "(NaN) in 2 of 4 rows (first: 1, 2). Scoring or measuring may have failed there. Fill "
    "these rows in or drop them. (In pairs.csv; rows count from 0, without a header.)"
)
def gaps_in_a_csv(folder):
    text = "reward_chosen,reward_rejected\n1.5,0.5\nNaN,0.1\n,0.2\n2.0,1.0\n"
    return partial(read_choices, file(folder, "pairs.csv", text))


# -- the table against the package --------------------------------------------------------------


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_answers_it(name, tmp_path, monkeypatch):
    make, sentence, kind = CASES[name]
    monkeypatch.chdir(tmp_path)
    call = make(tmp_path)
    files, given = listing(tmp_path), copy.deepcopy(call.args[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except InputError as error:
            said, said_kind = str(error), InputError
        else:
            assert len(caught) == 1, [str(w.message) for w in caught]
            said, said_kind = str(caught[0].message), caught[0].category
            assert caught[0].filename == __file__  # it points at the caller, not into the package
    assert said.replace(str(tmp_path), "FOLDER") == sentence
    assert said_kind is kind
    assert listing(tmp_path) == files  # nothing was written
    if isinstance(given, pd.DataFrame):
        pd.testing.assert_frame_equal(call.args[0], given)


def test_there_are_many_and_all_sentences_differ():
    sentences = [case.sentence for case in CASES.values()]
    assert len(sentences) >= 30
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("name", CASES)
def test_every_sentence_says_what_was_expected_what_was_found_and_what_to_do(name):
    sentence = CASES[name].sentence
    assert "\n" not in sentence
    assert len(sentence) < 420
    if CASES[name].kind is InputError:
        assert " should " in sentence
        assert "; got " in sentence
        assert sentence.count(". ") >= 1


def test_the_good_tables_pass():
    assert Choices.from_pairs(pairs(), "annotator", "region").n_situations == 40
    assert Choices.from_pairs(conversations(), "annotator").n_situations == 40
    assert of_long(trips(), chooser="person", available="open")().n_situations == 4


def test_a_reward_that_is_lower_for_every_chosen_response_is_no_error():
    frame = pairs(12).assign(reward_chosen=range(12), reward_rejected=range(20, 32))
    assert (Choices.from_pairs(frame).differences("reward") == -20).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Choices.from_pairs("pairs.csv"), "read_choices"),
        (lambda: Choices.from_pairs([{"reward_chosen": 1}]), "pandas.DataFrame"),
        (lambda: Choices.from_pairs(pairs(), chooser=["annotator"]), "the name of a column"),
        (lambda: Choices.from_pairs(pairs(), groups=3), "groups="),
        (lambda: Choices.from_pairs(pairs(), groups=[3]), "list of column names"),
    ],
)
def test_wrong_python_types_are_type_errors(call, sentence):
    with pytest.raises(TypeError, match=sentence):
        call()
