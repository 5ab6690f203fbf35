"""PRISM: 1,396 people rate answers of 21 language models, and describe themselves in a survey."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed
from prefstrength.data.columns import numbers, option
from prefstrength.data.messages import Message
from prefstrength.data.sources.hub import (
    DataSource,
    LeftOut,
    Place,
    finish,
    is_blank,
    write_texts,
)
from prefstrength.errors import InputError

UTTERANCES = (
    "interaction_id",
    "conversation_id",
    "user_id",
    "turn",
    "within_turn_id",
    "conversation_type",
    "user_prompt",
    "model_response",
    "model_name",
    "score",
    "if_chosen",
)
#: Survey columns that become group columns under their own names.
SURVEY = ("age", "gender", "study_locale", "english_proficiency")
#: The same, where the release has them.
MORE_SURVEY = ("education", "employment_status", "marital_status", "lm_familiarity")
#: Group columns from the nested fields: name, field, key, and whether it must be there.
NESTED = (
    ("region", "location", "special_region", True),
    ("reside_country", "location", "reside_country", False),
    ("birth_country", "location", "birth_country", False),
    ("religion", "religion", "simplified", False),
    ("ethnicity", "ethnicity", "simplified", False),
)
#: How the release writes a response without text.
EMPTY = "EMPTY STRING"


def load(place: Place, empty: str = "drop") -> pd.DataFrame:
    """Load PRISM as pairs: the chosen response of each turn against each other one.

    In the first turn up to four models answer, later two answers come from the same model. The
    response marked ``if_chosen`` is paired with every other response of its turn, so a first
    turn gives up to three pairs. These share a chosen response and are not independent:
    ``interaction_id`` says which belong together and ``pairs_in_interaction`` how many there
    are (its reciprocal is a weight that lets every turn count once). Responses that were not
    chosen are not paired with each other. Where the two scores are equal PRISM marks one
    response at random, so such pairs have ``tie``. The prompt holds the conversation so far,
    with the chosen response of every earlier turn.

    Parameters
    ----------
    place : Place
        Folder with ``utterances.jsonl`` and ``survey.jsonl``, or a dataset on the hub.
    empty : {"drop", "keep"}
        Pairs with a response that is blank (the release writes ``EMPTY STRING``): leave them
        out and count them, or keep them with the text ``""``.

    Returns
    -------
    DataFrame
        One row a pair; the columns are listed in docs/sources.md.

    Raises
    ------
    InputError
        If files or columns are missing, a person is missing in the survey, or a turn contradicts
        itself.

    Warns
    -----
    DataWarning
        If anything was left out; ``attrs["source"]["dropped"]`` has the counts.
    """
    option(empty, ("drop", "keep"), "empty")
    utterances = place.read("utterances", UTTERANCES)
    people = _people(place.read("survey", ("user_id", *SURVEY, "location")))
    utterances["score"] = numbers(utterances["score"], "score", Rows(utterances.index))
    interactions = _interactions(utterances)
    _check_people(utterances["user_id"], people.index)
    left_out = LeftOut([str(turn["interaction_id"]) for turn in interactions])
    contexts = _contexts(interactions)
    rows = []
    for number, turn in enumerate(interactions):
        context = contexts[number]
        if turn["chosen"] is None:
            left_out.add("turns without a chosen response", number)
        elif len(turn["responses"]) < 2:
            left_out.add("turns with a single response", number)
        elif context is None:
            left_out.add("turns after a turn that is missing", number)
        else:
            rows.extend(_pairs(turn, context, number, left_out, empty, place))
    frame = pd.DataFrame(rows)
    if not frame.empty:
        frame["pairs_in_interaction"] = frame.groupby("interaction_id")["tie"].transform("size")
        frame = frame.join(people, on="annotator")
    return finish(frame, place, ("utterances", "survey"), left_out)


def _people(survey: pd.DataFrame) -> pd.DataFrame:
    """Survey answers by person, nested fields taken apart."""
    twice = survey["user_id"].duplicated().to_numpy()
    if twice.any():
        raise InputError(
            "PRISM's survey should have one row a person; got the same user_id again in "
            f"{Rows(survey.index).where(twice)}. Two releases may have been glued together. "
            "Use the survey of one release."
        )
    survey = survey.set_index("user_id")
    people = survey[[*SURVEY, *(name for name in MORE_SURVEY if name in survey.columns)]].copy()
    for name, field, key, needed in NESTED:
        if field not in survey.columns:
            continue
        values = [v.get(key) if isinstance(v, dict) else None for v in survey[field]]
        present = np.array([value is not None for value in values])
        if needed and not present.all():
            raise InputError(
                f"PRISM's survey should say {field}.{key} of every person; got nothing for "
                f"{Rows(survey.index, 'person').where(~present)}. It may be another release. "
                f"Download it again from {SOURCE.repository}."
            )
        if present.any():
            people[name] = values
    return people


def _check_people(users: pd.Series, known: pd.Index) -> None:
    missing = ~users.isin(known).to_numpy()
    if missing.any():
        raise InputError(
            "PRISM's survey should have every person of the utterances; got no row for "
            f"{listed(users[missing].unique(), most=3)}. The two files may come from different "
            "releases. Use the files of one release."
        )


def _interactions(utterances: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a turn: who, where in which conversation, the responses, which was chosen."""
    shared = ["conversation_id", "user_id", "turn", "user_prompt", "conversation_type"]
    grouped = utterances.groupby("interaction_id", sort=False)
    for name in shared:
        mixed = grouped[name].nunique(dropna=False) > 1
        if mixed.any():
            raise InputError(
                f"PRISM should have one {name} in every interaction; got several in "
                f"{Rows(mixed.index, 'interaction').where(mixed.to_numpy())}. Rows may have been "
                f"shuffled between columns. Download the file again from {SOURCE.repository}."
            )
    found: dict[Any, dict[str, Any]] = {}
    ordered = utterances.sort_values("within_turn_id", kind="stable")
    for index, row in zip(ordered.index, ordered.to_dict("records"), strict=True):
        turn = found.setdefault(
            row["interaction_id"],
            {
                "interaction_id": row["interaction_id"],
                **{name: row[name] for name in shared},
                "responses": {},
                "chosen": None,
            },
        )
        text = "" if _is_empty(row["model_response"]) else row["model_response"]
        response = {"text": text, "score": float(row["score"]), "model": row["model_name"]}
        turn["responses"][index] = response
        if bool(row["if_chosen"]):
            # a few turns mark two responses: the higher score decides, then the order in the turn
            best = turn["chosen"]
            if best is None or response["score"] > turn["responses"][best]["score"]:
                turn["chosen"] = index
    order = utterances["interaction_id"].unique()
    return [found[label] for label in order]


def _contexts(interactions: list[dict[str, Any]]) -> list[list[Message] | None]:
    """Conversation up to each turn's prompt; None where an earlier turn is missing or double."""
    turns: dict[tuple[Any, int], list[dict[str, Any]]] = {}
    for turn in interactions:
        turns.setdefault((turn["conversation_id"], int(turn["turn"])), []).append(turn)
    contexts: list[list[Message] | None] = []
    for turn in interactions:
        earlier = [turns.get((turn["conversation_id"], t), []) for t in range(int(turn["turn"]))]
        if any(len(found) != 1 or found[0]["chosen"] is None for found in earlier):
            contexts.append(None)
            continue
        messages: list[Message] = []
        for (found,) in earlier:
            answer = found["responses"][found["chosen"]]["text"]
            messages.append({"role": "user", "content": str(found["user_prompt"])})
            messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": str(turn["user_prompt"])})
        contexts.append(messages)
    return contexts


def _pairs(
    turn: dict[str, Any],
    context: list[Message],
    number: int,
    left_out: LeftOut,
    empty: str,
    place: Place,
) -> list[dict[str, Any]]:
    chosen = turn["responses"][turn["chosen"]]
    rows = []
    for index, rejected in turn["responses"].items():
        if index == turn["chosen"]:
            continue
        if empty == "drop" and not (chosen["text"] and rejected["text"]):
            left_out.add("pairs with an empty response", number)
            continue
        rows.append(
            {
                **write_texts(context, chosen["text"], rejected["text"], place.conversational),
                "annotator": turn["user_id"],
                "dataset": place.source.name,
                "tie": chosen["score"] == rejected["score"],
                "identical": chosen["text"] == rejected["text"],
                "conversation_id": turn["conversation_id"],
                "interaction_id": turn["interaction_id"],
                "turn": int(turn["turn"]),
                "conversation_type": turn["conversation_type"],
                "model_chosen": chosen["model"],
                "model_rejected": rejected["model"],
                "annotator_score_chosen": chosen["score"],
                "annotator_score_rejected": rejected["score"],
            }
        )
    return rows


def _is_empty(text: Any) -> bool:
    return is_blank(text) or text.strip() == EMPTY


SOURCE = DataSource(
    name="prism",
    repository="HannahRoseKirk/prism-alignment",
    licence="human texts CC-BY-4.0, model responses CC-BY-NC-4.0 and their providers' terms",
    citation=(
        "Kirk et al. (2024), The PRISM Alignment Dataset: What Participatory, Representative and "
        "Individualised Human Feedback Reveals About the Subjective and Multicultural Alignment "
        "of Large Language Models, NeurIPS Datasets and Benchmarks, arXiv:2404.16019"
    ),
    choosers="1,396 people, 20 turns each",
    groups="survey answers",
    load=load,
    identifiers=("annotator", "conversation_id", "interaction_id"),
)
