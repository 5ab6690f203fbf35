r"""MixDPO on TRL's DPO trainer.

TRL computes the log-ratios, their difference Δ, and :math:`-\log\sigma(\beta\Delta)`. An objective
is hosted in that one expression: :class:`HostedStrength` stands in the place of β for the time of
the loss and answers ``beta * delta`` with a :class:`_Logit`, of which the log-sigmoid is minus the
loss of every pair. Whatever TRL does around it (adapters, precomputed reference,
mixture-of-experts losses, metrics) stays TRL's own. What is leaned on is checked in every step,
and by a contract test.
"""

import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, save
from transformers import TrainerCallback
from trl import DPOTrainer

from prefstrength._shared.files import atomic_write_bytes
from prefstrength.choice.learned_strength import FILE_NAME, LearnedStrength
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.mixdpo.answers import log_decided
from prefstrength.mixdpo.checkpoints import (
    STATE_NAME,
    last_checkpoint,
    objective_state,
    with_prefix,
)
from prefstrength.mixdpo.columns import (
    Carried,
    CarriedColumns,
    check_columns,
    check_level_names,
    check_levels,
    check_weights,
    levels_of,
    split_columns,
)
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.config_checks import delta_settings
from prefstrength.mixdpo.dataset_checks import (
    check_best_is_evaluated,
    check_pairs,
    check_strength_columns,
    is_tokenized,
    named,
    strength_for,
    warn_of_missing,
)
from prefstrength.mixdpo.evaluation.metrics import logged_means
from prefstrength.mixdpo.hosted_strength import HostedStrength
from prefstrength.mixdpo.model_checks import (
    check_fits_model,
    check_model,
    check_tokenizer,
    model_name,
    processor_of,
)
from prefstrength.mixdpo.objectives.base import Batch, Running
from prefstrength.mixdpo.objectives.registry import OBJECTIVES
from prefstrength.mixdpo.preparation import tell_left_out, without_identical
from prefstrength.mixdpo.reference import (
    cached_by_delta,
    check_sync,
    load_reference,
    save_reference,
    start_of,
)
from prefstrength.mixdpo.strength_learner import StrengthLearner

__all__ = ["MixDPOTrainer"]


class MixDPOTrainer(DPOTrainer):
    r"""Trainer that learns a policy and the mixing distribution together.

    It minimises the mean over the training pairs of
    :math:`-\log E_{\beta \sim F}[\sigma(\beta\Delta)]`, plus the negative log prior of the
    strength divided by the number of pairs: the maximum-a-posteriori objective of the whole data
    (:mod:`prefstrength.mixdpo.strength`).

    Parameters
    ----------
    model : str, PreTrainedModel or PeftModel
        Policy, by name, path, or as an object loaded from one of them (the reference is loaded
        from there again).
    ref_model : PreTrainedModel, optional
        Reference; by default the policy as it is on disk, or with an adapter its base model.
    args : MixDPOConfig, optional
        Arguments; by default plain DPO with strength 0.1.
    train_dataset : datasets.Dataset or datasets.IterableDataset
        Columns ``prompt``, ``chosen``, ``rejected``: texts, or conversations as lists of
        ``{"role", "content"}``. Further columns as the objective and ``weight_column`` ask for.
    eval_dataset : Dataset or dict of Dataset, optional
        The same, for evaluation during training.
    **kwargs
        As for ``trl.DPOTrainer``: ``processing_class``, ``peft_config``, ``callbacks``, ….

    Attributes
    ----------
    strength : Strength
        The mixing distribution; ``trainer.strength.learned()`` is its record.

    Raises
    ------
    InputError
        If the data, the model or the arguments cannot be trained on, before the first step; if a
        loss is not finite, at that step.

    Notes
    -----
    Besides TRL's metrics, in which rewards are log-ratios times the *mean* strength (of the pair's
    own one), the logs hold ``strength/mean``, ``strength/cv``, ``strength/<parameter>``,
    ``strength/zero_share``, ``strength/grad_norm`` (of the objective in all that is learned),
    ``strength/gradient/location`` and ``…/dispersion`` (in those of the common one),
    ``strength/learning_rate`` and ``strength/negative_log_prior``; with groups
    ``strength/<column>/<level>/mean`` and ``…/cv`` of the 20 with the most pairs, and with
    covariates ``strength/coefficient/<column>``. The trajectory has a point for every optimizer
    step, of more than 10,000 steps for every k-th with the least k that suffices, and for every
    checkpoint; those of groups for every log and checkpoint, of the 200 with the most pairs.
    ``save_model`` and each checkpoint write ``learned_strength.json``; a resumed run continues with
    the same strength and the same state of its optimizer and schedule, and stops where an argument
    on which the objective depends is another than before. In training ``loss`` is the
    objective, prior included; in evaluation ``eval_loss`` is the mean loss of the pairs alone,
    weights and prior apart (for the default objective the mixed negative log-likelihood), and the
    strength is not touched. With ``group_columns``, evaluations hold ``eval_accuracy``,
    ``eval_margin``, ``eval_negative_log_likelihood`` and ``eval_calibration_error`` of all pairs
    beside those of the groups (:data:`~prefstrength.mixdpo.METRICS`; each pair counts once, where
    TRL's rewards are means of batches). With ``answer_column`` these and TRL's accuracies and
    margins are of the pairs that have a better response, in its favour. The logs of an objective's
    own numbers begin with ``objective/``.

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO.
    .. [2] arXiv:2305.18290, DPO.
    """

    _tag_names = ["trl", "dpo", "mixdpo"]
    _name = "MixDPO"
    _paper = {
        "title": "MixDPO: Modeling Preference Strength for Pluralistic Alignment",
        "id": "2601.06180",
        "citation": (
            "@article{imai2026mixdpo,\n"
            "    title   = {{MixDPO: Modeling Preference Strength for Pluralistic Alignment}},\n"
            "    author  = {Imai, Saki and Heydari, Pedram and Sicilia, Anthony and "
            "Kaeberlein, Asteria and Atwell, Katherine and Alikhani, Malihe},\n"
            "    year    = 2026,\n"
            "    journal = {arXiv preprint arXiv:2601.06180}\n"
            "}"
        ),
    }

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        args: MixDPOConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        **kwargs: Any,
    ) -> None:
        model = os.fspath(model) if isinstance(model, os.PathLike) else model
        name = model_name(model)
        if args is None:
            args = MixDPOConfig(f"{Path(name).name or 'model'}-MixDPO")
        elif not isinstance(args, MixDPOConfig):
            raise TypeError(f"Expected args as a MixDPOConfig; got {type(args).__name__}.")
        check_model(model, name, ref_model, args, kwargs)
        check_best_is_evaluated(args, own=kwargs.get("compute_metrics") is not None)
        options: Any = args.model_init_kwargs or {}  # a dict once the arguments are read
        if isinstance(model, str):
            args.model_init_kwargs = {"use_safetensors": True, **options}
        if kwargs.get("processing_class") is None:
            code = {"trust_remote_code": args.trust_remote_code}
            of_model = options if isinstance(model, str) else {}
            kwargs["processing_class"] = processor_of(name, {**code, **of_model})
        evaluation = named(eval_dataset)
        self._objective = OBJECTIVES[args.objective]
        self.strength = strength_for(args, train_dataset, evaluation)
        check_tokenizer(kwargs["processing_class"], next(iter(train_dataset)))
        self.strength.model_name = name
        self._levels = levels_of(evaluation, args.group_columns or ())
        self._reported = tuple(self._levels)
        check_level_names(self._levels)
        if self.strength.group_column is not None:
            # Evaluation pairs are of these levels, or stopped above.
            self._levels[self.strength.group_column] = list(self.strength.groups)
        numbers = [*self._objective.columns, *([args.weight_column] if args.weight_column else [])]
        self._answers = args.answers
        answer = [] if self._answers is None else [self._answers.column]
        carried = (*numbers, *self._levels, *self.strength.covariates, *answer)
        self._columns = tuple(dict.fromkeys(carried))
        self._evaluated: list[Any] = []
        self._pair_losses: list[torch.Tensor] = []
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **kwargs,
        )
        for label, prepared in (("train_dataset", self.train_dataset), *named(self.eval_dataset)):
            check_fits_model(prepared, label, self.model, args.max_length)
        check_sync(self)
        self._start = start_of(self, ref_model, name)
        self._running = Running(
            mean=lambda value: self.accelerator.reduce(value, "mean"),
            process=self.accelerator.process_index,
        )
        if self._columns:
            collator: Any = self.data_collator  # type: ignore[has-type]
            self.data_collator = CarriedColumns(
                collator,
                numbers,
                self._levels,
                self.strength.group_column,
                self.strength.covariates,
                self._objective.columns,
                self._answers,
            )
        num_pairs = self._num_pairs() if self.strength.held and self.strength.learns else None
        self.strength.delta = delta_settings(args, num_pairs)
        self.strength_learner = StrengthLearner(
            self.strength, args.strength_learning_rate, num_pairs
        )
        self.add_callback(_StrengthCallback(self))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As ``trl.DPOTrainer.train``.

        ``resume_from_checkpoint=True`` goes on from the newest *complete* checkpoint in
        ``args.output_dir``; one that a killed run left half written is passed over, with a warning.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(str(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise InputError(
                    f"Expected a complete checkpoint in {self.args.output_dir} to resume from; "
                    "got none. Start anew, with resume_from_checkpoint left out."
                )
        return super().train(resume_from_checkpoint, *args, **kwargs)

    # -- the loss ---------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mode = "train" if self.model.training else "eval"
        carried = split_columns(inputs)
        law, mean = self._law_of(carried)
        hosted = HostedStrength(mean, lambda delta: self._pair_loss(delta, law, carried, mode))
        result = self._hosted_loss(hosted, model, carried.rest, return_outputs)
        loss = result[0] if return_outputs else result
        step = self.state.global_step
        hosted.require_finite(loss, carried.rest, step if mode == "train" else None)
        self._start.look(hosted, carried.rest["completion_mask"], step)
        if self._answers is not None and carried.answers is not None:
            lead, decided = self._answers.lead(mean * hosted.delta, carried.answers)
            log_decided(self._metrics[mode], self.accelerator, lead, decided)
        if mode == "train":
            loss = self.strength_learner.with_prior(loss)
        else:
            self._log_strength("eval")
            self._keep_for_groups(hosted.delta, law, carried)
        return (loss, result[1]) if return_outputs else loss

    def _law_of(self, carried: Carried) -> tuple[Mixing, Any]:
        """Mixing distribution of the pairs of a batch and its mean, of all or of each."""
        group = carried.codes.get(self.strength.group_column or "")
        law = self.strength.mixing(group, carried.covariates)
        return law, law.mean().detach() if self._own_laws else self.strength.mean

    @property
    def _own_laws(self) -> bool:
        """Whether pairs have mixing distributions of their own."""
        return bool(self.strength.groups or self.strength.covariates)

    def _hosted_loss(
        self, hosted: HostedStrength, model: Any, inputs: dict[str, Any], return_outputs: bool
    ) -> Any:
        """One forward pass of policy and reference through TRL's loss, with the objective in it."""
        self.beta = hosted  # type: ignore[assignment]
        try:
            result = super()._compute_loss(model, inputs, return_outputs)
        finally:
            self.beta = self.strength.mean
        lengths = inputs["completion_mask"].sum(dim=1).clamp(min=1.0).chunk(2)
        hosted.check(lengths if "sigmoid_norm" in self.loss_types else None)
        return result

    def _pair_loss(
        self, delta: torch.Tensor, law: Mixing, carried: Carried, mode: str
    ) -> torch.Tensor:
        """Loss of every pair, weighted in training."""
        columns, learning = carried.numbers, mode == "train"
        loss, found = self._objective.loss(
            Batch(
                delta,
                columns,
                law,
                self.args,
                self._running,
                learning,
                self._answers,
                carried.answers,
            )
        )
        for key, value in found.items():
            self._metrics[mode][f"objective/{key}"].append(value)
        if not learning:
            self._pair_losses.append(self.accelerator.gather_for_metrics(loss.detach()))
        if not learning or self.args.weight_column is None:
            return loss
        weights = columns[self.args.weight_column]
        if isinstance(self.train_dataset, IterableDataset):  # others were looked through
            check_weights(weights, self.args.weight_column, self.state.global_step + 1)
        return loss * weights

    def _keep_for_groups(self, delta: torch.Tensor, law: Mixing, carried: Carried) -> None:
        """Keep what the metrics by group are made of when the evaluation is through."""
        if not self._reported:
            return
        # A dataset given to evaluate may have some of them, or none.
        found = {name: carried.codes[name] for name in self._reported if name in carried.codes}
        own = law.apart_from_zero[1].parameters if self._own_laws else {}
        parameters = {name: value.detach() for name, value in own.items()}
        decided = torch.ones_like(delta, dtype=torch.bool)
        if self._answers is not None and carried.answers is not None:
            delta, decided = self._answers.lead(delta, carried.answers)
        kept = self.accelerator.gather_for_metrics((delta, decided, found, parameters))
        self._evaluated.append(kept)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> Any:
        given = eval_dataset if not isinstance(eval_dataset, str) else None
        for label, dataset in named(given):
            if not is_tokenized(dataset):
                check_pairs(dataset, label, self._answers)
            check_columns(dataset, label, self._objective.columns, ())
            check_strength_columns(dataset, label, self.strength)
            check_levels(dataset, label, self._levels)
            warn_of_missing(dataset, label, self._reported)
        return super().evaluate(eval_dataset, *args, **kwargs)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        self._evaluated.clear()
        self._pair_losses.clear()
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if self._pair_losses:  # transformers' own is a mean of batches, some of them filled up
            loss = torch.cat(self._pair_losses).mean().item()
            output.metrics[f"{metric_key_prefix}_loss"] = loss
        if self._evaluated:
            law = self.strength.current()
            for metric, value in logged_means(self._evaluated, law, self._levels).items():
                output.metrics[f"{metric_key_prefix}_{metric}"] = value
            self._evaluated.clear()
        return output

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        check_fits_model(dataset, name, self.model, self.args.max_length)
        with cached_by_delta(self):
            return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(model, split_columns(inputs).rest)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [c for c in self._columns if c not in self._signature_columns]

    def _log_strength(self, mode: str, **more: float) -> None:
        # The last value counts, not the mean since the last log.
        for key, value in {**self.strength.logged(), **more}.items():
            self._metrics[mode][f"strength/{key}"] = [value]

    # -- learning the strength ----------------------------------------------------------------

    def _num_pairs(self) -> int:
        if self.args.strength_num_pairs is not None:
            return self.args.strength_num_pairs
        if isinstance(self.train_dataset, IterableDataset):
            raise InputError(
                "Expected strength_num_pairs with a streaming train_dataset; got none. The prior "
                "is weighed against the number of training pairs, and a stream has no length. "
                "Give strength_num_pairs."
            )
        return len(self.train_dataset)

    def _step_strength(self) -> None:
        step, steps = self.state.global_step + 1, self.state.max_steps
        logged = self.strength_learner.step(self.accelerator, step, steps)
        if logged is not None:
            self._log_strength("train", **logged)

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        warmup = self.args.get_warmup_steps(num_training_steps)
        self.strength_learner.schedule(self.args.strength_lr_scheduler, warmup, num_training_steps)
        return super().create_scheduler(num_training_steps, *args, **kwargs)

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: Any, dataset_name: str
    ) -> Any:
        check_tokenizer(processing_class, next(iter(dataset)))
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if isinstance(prepared, Dataset):
            tell_left_out(prepared, dataset, args.max_length)
        prepared = without_identical(prepared, args.max_length, args.truncation_mode)
        if not isinstance(prepared, Dataset) and next(iter(prepared), None) is None:
            raise InputError(
                "Expected pairs that fit into max_length; got a stream of which the prompt alone "
                f"has {args.max_length} tokens (max_length) or more in all of them, or both "
                "responses are the same up to there. Raise max_length."
            )
        return prepared

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        self.strength.record_groups(self.state.global_step)

    # -- saving and restoring ------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        self.strength.record(self.state.global_step)
        if self.args.should_save:
            # Before the model, so that a push to the hub takes it along.
            folder.mkdir(parents=True, exist_ok=True)
            self.strength.learned().save(folder / FILE_NAME)
        save_reference(self, folder)
        super().save_model(output_dir, _internal_call=_internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            state = save(self.strength_learner.state() | with_prefix(self._running.state))
            atomic_write_bytes(Path(output_dir) / STATE_NAME, state)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE_NAME
        if not path.is_file():
            raise InputError(
                f"Expected {STATE_NAME} in the checkpoint {checkpoint}; got none. It was not "
                "written by MixDPOTrainer, or with `save_only_model=True`. Resume from another "
                "checkpoint, or start anew."
            )
        self.strength.restore(LearnedStrength.load(checkpoint), str(checkpoint))
        state = load_file(path)
        self.strength_learner.load_state(state)
        self._running.state = objective_state(state)
        load_reference(self, checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        best = self.state.best_model_checkpoint
        load_reference(self, best)
        whole, of_groups = self.strength.trajectory, self.strength.group_trajectories
        self.strength.restore(LearnedStrength.load(best), best)
        self.strength.trajectory, self.strength.group_trajectories = whole, of_groups
        path = Path(best) / STATE_NAME
        if path.is_file():  # save_only_model=True keeps no state
            self._running.state = objective_state(load_file(path))


class _StrengthCallback(TrainerCallback):
    """Calls the trainer at the moments for which it has no method."""

    def __init__(self, trainer: MixDPOTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.strength.zero_grad()
        self._trainer.strength.restart(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0 and state.max_steps > 0:
            raise InputError(
                "Expected at least one batch of training pairs; got none, and no step was taken. "
                "The stream had pairs when it was looked at, and none when it was read again. "
                "Give one that can be read more than once."
            )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer._step_strength()
