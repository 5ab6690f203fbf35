"""Pairs as TRL prepares them for its trainer, and those that it leaves out."""

from types import SimpleNamespace
from typing import Any

from datasets import Dataset
from trl import DPOTrainer

from prefstrength._shared.words import warn
from prefstrength.errors import InputError

__all__ = ["prepared_pairs", "tell_left_out", "without_identical"]


def prepared_pairs(
    rows: Dataset, tokenizer: Any, max_length: int | None, truncation_mode: str
) -> Dataset:
    """Token numbers of every pair that fits, by TRL's own preparation without its trainer."""
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    args: Any = SimpleNamespace(
        dataset_num_proc=None, max_length=max_length, truncation_mode=truncation_mode
    )
    return DPOTrainer._prepare_dataset(trainer, rows, tokenizer, args, "pairs")


def tell_left_out(prepared: Dataset, rows: Dataset, max_length: int | None) -> None:
    """Warn of pairs that TRL dropped without a word; stop where it dropped all of them."""
    if len(prepared) == len(rows):
        return
    dropped = (
        f"{len(rows) - len(prepared)} of {len(rows)} pairs, whose prompt alone has "
        f"{max_length} tokens (max_length) or more"
    )
    if len(prepared) == 0:
        raise InputError(
            f"Expected pairs that fit into max_length; got {dropped}. Raise max_length."
        )
    warn(f"Left out {dropped}.")


def without_identical(prepared: Any, max_length: int | None, truncation_mode: str) -> Any:
    """Leave out pairs of which both responses are the same tokens, once they are cut.

    Their Δ is 0 whatever the policy: they train nothing, and would count as pairs all the same.

    Parameters
    ----------
    prepared : Dataset or IterableDataset
        Columns ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.
    max_length, truncation_mode
        As of ``DPOConfig``.

    Warns
    -----
    DataWarning
        If there are any; of a stream nothing is said.

    Raises
    ------
    InputError
        If there are no others.
    """

    def differ(prompt_ids: list[int], chosen_ids: list[int], rejected_ids: list[int]) -> bool:
        sides = [prompt_ids + ids for ids in (chosen_ids, rejected_ids)]
        if max_length is not None:
            start = truncation_mode == "keep_start"
            sides = [ids[:max_length] if start else ids[-max_length:] for ids in sides]
        return sides[0] != sides[1]

    columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
    if not isinstance(prepared, Dataset):
        return prepared.filter(differ, input_columns=columns)
    kept = prepared.filter(differ, input_columns=columns, desc="Looking for identical responses")
    if len(kept) == len(prepared):
        return prepared
    same = f"{len(prepared) - len(kept)} of {len(prepared)} pairs"
    cut = "" if max_length is None else f" within {max_length} tokens (max_length)"
    if not len(kept):
        raise InputError(
            f"Expected pairs of two different responses; got {same} of which both are the same "
            f"tokens{cut}. Raise max_length, or check the columns chosen and rejected."
        )
    warn(
        f"Left out {same}, of which both responses are the same tokens{cut}: there is nothing to "
        "prefer."
    )
    return kept
