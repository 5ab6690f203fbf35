"""Log-ratios of preference pairs under a policy and its reference, and what they say."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from trl.trainer.dpo_trainer import DataCollatorForPreference, use_adapter

from prefstrength._shared.files import write_parquet
from prefstrength._shared.folder import Folder
from prefstrength.choice.learned_parts import DeltaSettings
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.mixdpo.answers import Answers
from prefstrength.mixdpo.dataset_checks import refuse_ties
from prefstrength.mixdpo.evaluation.metrics import preference_metrics
from prefstrength.mixdpo.model_checks import check_fits_model, check_tokenizer
from prefstrength.mixdpo.models import (
    accelerator,
    evaluating,
    load_model,
    load_tokenizer,
    weights_fingerprint,
)
from prefstrength.mixdpo.preparation import prepared_pairs, tell_left_out, without_identical
from prefstrength.mixdpo.reference import reference_of

__all__ = ["Evaluation", "evaluate_preferences"]

_PART = "part-{:08d}.parquet"
# Batches between two writes.
_BATCHES = 16
_TEXTS = ("prompt", "chosen", "rejected")
# Kept beside the log-ratios where the data have them, so that the two can be held together.
_REWARDS = ("reward_chosen", "reward_rejected")
# Columns that training hands to the chat template, where pairs have them.
_OF_TEMPLATE = ("tools", "chat_template_kwargs")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Log-ratios of pairs and metrics.

    Parameters
    ----------
    pairs : pandas.DataFrame
        One row for each pair, in the order of the data. Columns ``row`` (in the data),
        ``delta``, ``chosen_log_ratio``, ``rejected_log_ratio`` (nats), ``chosen_tokens``,
        ``rejected_tokens``, one for each factor, and ``reward_chosen`` and ``reward_rejected``
        where the data have them. Of a strength that was learned of grades or
        ties also ``answer`` and ``answer_log_probability``, averaged over strength, in nats.
        With ``"sigmoid_norm"``, ``delta`` is the difference of the log-ratios for one token.
    metrics : pandas.DataFrame
        As of :func:`~prefstrength.mixdpo.preference_metrics`; of grades and ties, of the pairs
        whose answer is for one of the two, as choices of that one.
    """

    pairs: pd.DataFrame
    metrics: pd.DataFrame

    def __repr__(self) -> str:
        shown = self.metrics[["factor", "level", "pairs", "accuracy", "margin"]]
        counted = int(self.metrics.loc[0, "pairs"])
        ties = f", {len(self.pairs) - counted} of them ties" if counted < len(self.pairs) else ""
        return (
            f"Evaluation of {len(self.pairs)} pairs{ties}\n{shown.round(3).to_string(index=False)}"
        )


def evaluate_preferences(
    model: Any,
    reference: Any,
    data: Dataset | pd.DataFrame,
    strength: Any,
    groups: Sequence[str] = (),
    *,
    tokenizer: Any = None,
    batch_size: int = 8,
    max_length: int | None | Literal["trained"] = "trained",
    loss_type: str | None = None,
    truncation_mode: str | None = None,
    ld_alpha: float | None = None,
    directory: str | os.PathLike[str] | None = None,
    clusters: str | None = None,
    prob: float = 0.9,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Rank preference pairs by a policy's implicit reward, overall and by group.

    Parameters
    ----------
    model : str, PreTrainedModel or PeftModel
        Policy: a hub name or path (of a model or an adapter), loaded in float32 and onto the
        accelerator if there is one, or an object, which stays as and where it is.
    reference : str, PreTrainedModel or None
        What it was trained against; a name is loaded as the policy is. ``None`` with a PEFT model
        for what TRL compares it with: its adapter ``ref`` if it has one, in memory or beside it on
        disk, else its base model; with a folder that holds a reference which moved in training
        (``sync_ref_model``) for that.
    data : datasets.Dataset or pandas.DataFrame
        Columns ``prompt``, ``chosen``, ``rejected``, texts or conversations as for training, with
        ``tools`` and ``chat_template_kwargs`` where it had them, the columns in ``groups``, and
        those on which the learned strength depends.
    strength : Mixing, LearnedStrength, or an object with ``.learned()``
        Mixing distribution of strength. Of what training learned, ``trainer.strength`` or a
        record, every pair has that of its group and covariates, and Δ is what it was trained on.
        Where it was learned of grades or ties, ``data`` must have their column, and metrics are of
        the pairs in which one response is better by the answer, as choices of that one.
        ``trainer.strength.current()`` is the common one, which does not know of which Δ.
    groups : sequence of str
        Columns to report by.
    tokenizer : PreTrainedTokenizerBase, optional
        By default the one beside the model.
    batch_size : int
        Pairs of a batch. Batches are sorted by length.
    max_length : int, None or "trained"
        Tokens of prompt and response at which they are cut off; ``None`` for nowhere. By default
        as in training where ``strength`` tells, else 1024. Pairs whose prompt alone is that long
        are left out with a warning, where the start is kept.
    loss_type, truncation_mode, ld_alpha : optional
        Which Δ is evaluated, as of ``MixDPOConfig``: ``"sigmoid"`` or ``"sigmoid_norm"``,
        ``"keep_start"`` or ``"keep_end"``, and the weight of the tokens by which a response is
        longer. By default as in training where ``strength`` tells, else ``"sigmoid"``,
        ``"keep_start"`` and no weight: give them along with a mixing distribution that was
        learned otherwise.
    directory : path, optional
        Where log-ratios are kept as they come. The same call goes on from there after an
        interruption, and returns at once where nothing is left to do.
    clusters : str, optional
        Column of what pairs share, such as ``"prompt"`` or the annotator: where several pairs have
        the same one they may be alike, and intervals that take them for independent, as those
        without it do, are too short. Give it wherever prompts or annotators come again.
    prob, seed
        As of :func:`~prefstrength.mixdpo.preference_metrics`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If columns are missing, pairs are marked as ties and strength was learned of choices, a
        group is unknown to the learned strength, Δ is given otherwise than it was trained on,
        nothing fits into ``max_length``, or the directory holds the log-ratios of another model,
        reference, dataset or Δ.

    Examples
    --------
    >>> import tempfile
    >>> from prefstrength import PointMass
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> texts = [("Say hello.", "hello there"), ("Say goodbye.", "good bye")]
    >>> data = pd.DataFrame(
    ...     {"prompt": ["Say hello. "], "chosen": ["hello there"], "rejected": ["good bye"]}
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = make_tiny_model(texts, folder, steps=0)
    ...     done = evaluate_preferences(
    ...         folder, folder, data, PointMass(value=0.1), progress=False
    ...     )
    >>> done.metrics.loc[0, ["accuracy", "margin"]].tolist()  # the policy is its reference
    [0.5, 0.0]
    """
    record = None if isinstance(strength, Mixing) else _learned(strength)
    given = {"loss_type": loss_type, "truncation_mode": truncation_mode, "ld_alpha": ld_alpha}
    settings = _settings(record, given, max_length)
    answers = None if record is None else _answers(record)
    columns = [] if record is None else list(record.columns)
    columns += [clusters] if clusters is not None else []
    table = _checked(data, groups, [*columns, *([answers.column] if answers else [])])
    if answers is not None:
        codes = np.array(answers.codes(list(table[answers.column]), "the data"))
        if not answers.toward(codes).any():
            raise InputError(
                f"Expected some pairs in which one response is better by column {answers.column}; "
                f"got {len(codes)} ties. Evaluate on other pairs."
            )
    elif "tie" in (data.columns if isinstance(data, pd.DataFrame) else data.column_names):
        refuse_ties(list(data["tie"]), "the data")
    law = strength if record is None else record.of_pairs(table)
    reference = reference_of(model, reference)
    policy, kept = load_model(model, "model"), None
    policy = policy if policy is model else policy.to(accelerator())
    tokenizer = tokenizer or load_tokenizer(policy, model)
    if reference is None and not hasattr(policy, "disable_adapter"):
        raise InputError(
            "Expected a reference, or a model with a PEFT adapter, whose base is the reference; "
            f"got reference None and a {type(policy).__name__}. Give the model that training "
            "started from."
        )
    base = None if reference is None else load_model(reference, "reference", policy.dtype)
    base = base if base is None or base is reference else base.to(policy.device)
    prepared = _prepared(table, tokenizer, settings)
    check_fits_model(prepared, "data", policy, settings.max_length)
    if directory is not None:
        kept, spec = Path(directory), _spec(policy, base, prepared, settings)
        folder = Folder(kept, "an evaluation")
        if folder.found_for(spec, lambda one: {**_AS_EVER, **one}) == "new":
            folder.write(spec)
    found = _log_ratios(policy, base, prepared, tokenizer, batch_size, settings, kept, progress)
    pairs = found.sort_values("row").reset_index(drop=True)
    for factor in groups:
        pairs[factor] = table[factor].to_numpy()[pairs["row"]]
    for column in _REWARDS if set(_REWARDS) <= set(table.columns) else ():
        pairs[column] = table[column].to_numpy()[pairs["row"]]
    delta, rows = pairs["delta"].to_numpy(), pairs["row"].to_numpy()
    if answers is not None:
        codes, toward = codes[rows], answers.toward(codes[rows])
        pairs["answer"] = np.array(answers.response.answers)[codes]
        likely = answers.log_probabilities(delta, _of_rows(law, rows), codes)
        pairs["answer_log_probability"] = likely
        delta, rows = (delta * toward)[toward != 0], rows[toward != 0]
    by = {factor: table[factor].to_numpy()[rows] for factor in groups}
    together = None if clusters is None else _labels(table[clusters])[rows]
    law = _of_rows(law, rows)
    metrics = preference_metrics(delta, law, by, clusters=together, prob=prob, seed=seed)
    return Evaluation(pairs, metrics)


# -- at the door -----------------------------------------------------------------------------------


def _learned(strength: Any) -> LearnedStrength:
    learned = strength.learned() if hasattr(strength, "learned") else strength
    if not isinstance(learned, LearnedStrength):
        raise TypeError(
            "Expected strength as a mixing distribution, trainer.strength or a LearnedStrength; "
            f"got {type(strength).__name__}."
        )
    return learned


def _answers(record: LearnedStrength) -> Answers | None:
    """Grades or ties that a strength was learned of."""
    column = None if record.delta is None else record.delta.arguments.get("answer_column")
    return None if column is None else Answers.of(str(column), record.prior)


def _settings(
    record: LearnedStrength | None, given: dict[str, Any], max_length: Any
) -> DeltaSettings:
    """Which Δ: what is given, else as it was trained on, else DPO's."""
    trained = None if record is None else record.delta
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if trained is not None and getattr(trained, name) != value:
            raise InputError(
                f"Expected {name} {getattr(trained, name)!r}, with which the strength was trained; "
                f"got {value!r}. Leave it out, or give a mixing distribution alone, such as "
                "strength.current(), to try it on another log-ratio difference."
            )
    if max_length != "trained":
        given["max_length"] = max_length
    return replace(trained or DeltaSettings(), **given)


def _labels(column: pd.Series) -> np.ndarray:
    """A label for each pair that tells apart texts, numbers and conversations."""
    labels = [v if np.isscalar(v) else json.dumps(v, sort_keys=True, default=str) for v in column]
    return np.array(labels, dtype=object)


def _of_rows(law: Mixing, rows: np.ndarray) -> Mixing:
    """The mixing distribution of the pairs that were not left out."""
    return law.with_parameters(
        {
            name: value if np.ndim(value) == 0 else value[rows]
            for name, value in law.parameters.items()
        }
    )


def _checked(data: Any, groups: Sequence[str], depends: Sequence[str] = ()) -> pd.DataFrame:
    if not isinstance(data, Dataset | pd.DataFrame):
        raise TypeError(
            f"Expected data as a datasets.Dataset or DataFrame; got {type(data).__name__}."
        )
    if isinstance(groups, str):
        raise TypeError(
            f"Expected groups as a list of columns; got {groups!r}. Write [{groups!r}]."
        )
    present = list(data.columns if isinstance(data, pd.DataFrame) else data.column_names)
    columns = list(dict.fromkeys((*_TEXTS, *groups, *depends)))
    missing = [name for name in columns if name not in present]
    if missing:
        raise InputError(
            f"Expected columns {', '.join(columns)}; got no {' and no '.join(missing)} "
            f"among {', '.join(map(str, present))}. Rename the columns."
        )
    besides = [name for name in (*_OF_TEMPLATE, *_REWARDS) if name in present]
    kept = list(dict.fromkeys([*columns, *besides]))
    table = data[kept] if isinstance(data, pd.DataFrame) else data.select_columns(kept)
    table = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table.to_dict())
    table = table.reset_index(drop=True)
    if not len(table):
        raise InputError("Expected preference pairs; got none. A filter may have removed them.")
    for name in columns:
        empty = np.flatnonzero(table[name].isna())
        if len(empty):
            raise InputError(
                f"Expected a value in column {name} of every pair; got none in {len(empty)} of "
                f"{len(table)} rows (first: {empty[0]}). Drop these pairs."
            )
    return table


def _prepared(table: pd.DataFrame, tokenizer: Any, settings: DeltaSettings) -> Dataset:
    """Token numbers of every pair that fits, and the pair's row."""
    extra = [name for name in _OF_TEMPLATE if name in table]
    rows = Dataset.from_list(table[[*_TEXTS, *extra]].to_dict("records"))
    check_tokenizer(tokenizer, rows[0], "evaluation")
    rows = rows.add_column("row", list(range(len(rows))))
    prepared = prepared_pairs(rows, tokenizer, settings.max_length, settings.truncation_mode)
    tell_left_out(prepared, rows, settings.max_length)
    return without_identical(prepared, settings.max_length, settings.truncation_mode)


# -- what is kept ----------------------------------------------------------------------------------


#: What folders that do not tell hold.
_AS_EVER = {
    "loss_type": "sigmoid",
    "truncation_mode": "keep_start",
    "ld_alpha": None,
}


def _spec(policy: Any, base: Any, prepared: Dataset, settings: DeltaSettings) -> dict[str, Any]:
    columns = ("row", "prompt_ids", "chosen_ids", "rejected_ids")
    tokens = json.dumps([list(prepared[name]) for name in columns]).encode()
    return {
        "model": weights_fingerprint(policy),
        "reference": "of the adapter" if base is None else weights_fingerprint(base),
        "pairs": len(prepared),
        "tokens": hashlib.sha256(tokens).hexdigest(),
        "max_length": settings.max_length,
        **{name: getattr(settings, name) for name in _AS_EVER},
    }


def _kept(folder: Path | None) -> list[pd.DataFrame]:
    if folder is None:
        return []
    return [pd.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))]


# -- log-ratios ------------------------------------------------------------------------------------


def _log_ratios(
    policy: Any,
    base: Any,
    prepared: Dataset,
    tokenizer: Any,
    batch_size: int,
    settings: DeltaSettings,
    folder: Path | None,
    progress: bool,
) -> pd.DataFrame:
    parts = _kept(folder)
    done = set(np.concatenate([part["row"] for part in parts])) if parts else set()
    lengths = [
        len(p) + max(len(c), len(r))
        for p, c, r in zip(
            prepared["prompt_ids"], prepared["chosen_ids"], prepared["rejected_ids"], strict=True
        )
    ]
    rows = np.asarray(prepared["row"])
    # The longest first: what does not fit into memory shows at once.
    order = [i for i in np.argsort(lengths, kind="stable")[::-1] if rows[i] not in done]
    collator = DataCollatorForPreference(
        tokenizer.pad_token_id,
        max_length=settings.max_length,
        truncation_mode=settings.truncation_mode,
    )
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    new: list[pd.DataFrame] = []
    with (
        evaluating(policy, base),
        tqdm(
            total=len(prepared),
            initial=len(prepared) - len(order),
            desc="log-ratios",
            unit="pair",
            disable=not progress,
        ) as bar,
    ):
        for number, batch in enumerate(batches, 1):
            examples = [prepared[int(i)] for i in batch]
            new.append(_of_batch(policy, base, collator(examples), rows[batch], settings))
            bar.update(len(batch))
            if folder is not None and (number % _BATCHES == 0 or number == len(batches)):
                part = pd.concat(new)
                # Named by a row that no other part holds.
                path = folder / _PART.format(int(part["row"].min()))
                write_parquet(path, part)
                parts, new = [*parts, part], []
    return pd.concat([*parts, *new], ignore_index=True)


def _of_batch(
    policy: Any, base: Any, batch: dict[str, torch.Tensor], rows: Any, settings: DeltaSettings
) -> pd.DataFrame:
    weight = _token_weights(batch, settings.ld_alpha)
    mine = _log_probabilities(policy, batch, weight)
    if base is None:
        with use_adapter(policy, "ref" if "ref" in policy.peft_config else None):
            theirs = _log_probabilities(policy, batch, weight)
    else:
        theirs = _log_probabilities(base, batch, weight)
    chosen, rejected = (mine - theirs).chunk(2)
    tokens = batch["completion_mask"].sum(dim=1).chunk(2)
    delta = chosen - rejected
    if settings.loss_type == "sigmoid_norm":
        delta = chosen / tokens[0].clamp(min=1) - rejected / tokens[1].clamp(min=1)
    return pd.DataFrame(
        {
            "row": rows,
            "delta": delta.numpy(),
            "chosen_log_ratio": chosen.numpy(),
            "rejected_log_ratio": rejected.numpy(),
            "chosen_tokens": tokens[0].numpy(),
            "rejected_tokens": tokens[1].numpy(),
        }
    )


def _token_weights(batch: dict[str, torch.Tensor], ld_alpha: float | None) -> torch.Tensor:
    """What every token but the first counts (2 pair, token - 1): those of responses, as in TRL."""
    wanted = batch["completion_mask"][:, 1:]
    if ld_alpha is None:
        return wanted
    shorter = torch.minimum(*wanted.sum(dim=1).chunk(2)).repeat(2)[:, None]
    return torch.where(wanted.cumsum(dim=1) <= shorter, 1.0, ld_alpha) * wanted


def _log_probabilities(
    model: Any, batch: dict[str, torch.Tensor], weight: torch.Tensor
) -> torch.Tensor:
    """Log probability of every response (2 pair,), float64 on the CPU."""
    ids = batch["input_ids"].to(model.device)
    mask = batch["attention_mask"].to(model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    # Prompt tuning puts virtual tokens before the real ones.
    logits = logits[:, -ids.shape[1] :][:, :-1].float()
    label = ids[:, 1:, None]
    each = logits.gather(-1, label)[..., 0] - logits.logsumexp(dim=-1)
    return (each * weight.to(each.device)).sum(dim=1).cpu().double()
