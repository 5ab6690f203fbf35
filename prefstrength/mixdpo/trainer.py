r"""MixDPO on TRL's DPO trainer.

TRL computes the log-ratios, their difference Δ, and :math:`-\log\sigma(\beta\Delta)`. An objective
is hosted in that one expression: :class:`HostedStrength` stands in the place of β for the time of
the loss and answers ``beta * delta`` with a :class:`_Logit`, of which the log-sigmoid is minus the
loss of every pair. Whatever TRL does around it (adapters, precomputed reference,
mixture-of-experts losses, metrics) stays TRL's own. What is leaned on is checked in every step,
and by a contract test.
"""

import math
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, save
from transformers import TrainerCallback, get_scheduler
from trl import DPOTrainer

from prefstrength._shared.files import atomic_write_bytes
from prefstrength._shared.words import warn
from prefstrength.choice.learned_parts import DeltaSettings
from prefstrength.choice.learned_strength import FILE_NAME, LearnedStrength
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.mixdpo.checkpoints import STATE_NAME, last_checkpoint
from prefstrength.mixdpo.columns import (
    CarriedColumns,
    check_columns,
    check_covariates,
    check_group,
    check_level_names,
    check_levels,
    check_weights,
    group_sizes,
    levels_of,
    split_columns,
    standardisation,
)
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.dataset_checks import (
    check_model,
    check_pairs,
    is_tokenized,
    model_name,
    named,
    warn_of_missing,
)
from prefstrength.mixdpo.evaluation.metrics import group_means, overall_means
from prefstrength.mixdpo.hosted_strength import HostedStrength
from prefstrength.mixdpo.objectives.losses import mean_strength
from prefstrength.mixdpo.objectives.registry import OBJECTIVES, Batch, Running
from prefstrength.mixdpo.strength import MOST_POINTS, Strength

__all__ = ["MixDPOTrainer"]

# In the same file: β-DPO's running threshold, and where the schedule of the strength's rate is.
_THRESHOLD = "objective.threshold"
_SCHEDULE_STEP = "schedule.step"


class MixDPOTrainer(DPOTrainer):
    r"""Trainer that learns a policy and the law of strength together.

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
        The law of strength; ``trainer.strength.learned()`` is its record.

    Raises
    ------
    InputError
        If the data, the model or the arguments cannot be trained on, before the first step; if a
        loss is not finite, at that step.

    Notes
    -----
    Besides TRL's metrics, in which rewards are log-ratios times the *mean* strength (of the pair's
    own law), the logs hold ``strength/mean``, ``strength/cv``, ``strength/<parameter>``,
    ``strength/grad_norm`` (of the objective in everything learned of strength),
    ``strength/gradient/location`` and ``…/dispersion`` (in those of the common law),
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
    TRL's rewards are means of batches). The logs of an objective's own numbers begin with
    ``objective/``.

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
        if isinstance(model, str):
            options: Any = args.model_init_kwargs or {}  # a dict once the arguments are read
            args.model_init_kwargs = {"use_safetensors": True, **options}
        rewards = OBJECTIVES[args.objective].columns
        weights = () if args.weight_column is None else (args.weight_column,)
        check_pairs(train_dataset, "train_dataset")
        check_columns(train_dataset, "train_dataset", rewards, weights)
        for label, dataset in named(eval_dataset):
            check_pairs(dataset, label)
            check_columns(dataset, label, rewards, ())
        self._levels = levels_of(named(eval_dataset), args.group_columns or ())
        self._reported = tuple(self._levels)
        check_level_names(self._levels)
        self.strength = self._build_strength(args, train_dataset)
        if args.strength_group_column is not None:
            # Evaluation pairs are of these levels, or stop here.
            self._levels[args.strength_group_column] = list(self.strength.groups)
        for label, dataset in named(eval_dataset):
            self._check_strength_columns(dataset, label)

        self._objective = OBJECTIVES[args.objective]
        covariates = self.strength.covariates
        self._columns = tuple(dict.fromkeys((*rewards, *weights, *self._levels, *covariates)))
        self._evaluated: list[Any] = []
        self.strength.model_name = name
        self._max_length = args.max_length
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **kwargs,
        )
        self._running = Running(
            mean=lambda value: self.accelerator.reduce(value, "mean"),
            process=self.accelerator.process_index,
        )
        if self._columns:
            collator: Any = self.data_collator  # type: ignore[has-type]
            self.data_collator = CarriedColumns(
                collator,
                (*rewards, *weights),
                self._levels,
                self.strength.group_column,
                covariates,
                rewards,
            )
        num_pairs = self._num_pairs() if self.strength.held and self.strength.learns else None
        self._prior_weight = 0.0 if num_pairs is None else 1 / num_pairs
        self.strength.delta = _delta_settings(args, num_pairs)
        self._learned_parameters = [p for p in self.strength.parameters() if p.requires_grad]
        self.strength_optimizer = (
            torch.optim.Adam(self._learned_parameters, lr=args.strength_learning_rate)
            if self._learned_parameters
            else None
        )
        self.strength_scheduler: Any = None
        self.add_callback(_StrengthCallback(self))

    @staticmethod
    def _build_strength(args: MixDPOConfig, train_dataset: Any) -> Strength:
        pairs = covariates = None
        if args.strength_group_column is not None:
            pairs = group_sizes(train_dataset, args.strength_group_column)
        if args.strength_covariates:
            covariates = standardisation(
                train_dataset, args.strength_covariates, args.strength_covariate_scale
            )
        return args.build_strength(pairs, covariates)

    def _check_strength_columns(self, dataset: Any, label: str) -> None:
        """Find in the pairs to be evaluated what leaves their strength unknown."""
        if self.strength.group_column is not None:
            check_group(dataset, label, self.strength.group_column, list(self.strength.groups))
        check_covariates(dataset, label, list(self.strength.covariates))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As ``trl.DPOTrainer.train``.

        With ``resume_from_checkpoint=True`` the run goes on from the newest *complete* checkpoint
        in ``args.output_dir``: one that was being written when the run was killed is passed over,
        with a warning.
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
        columns, codes, inputs, covariates = split_columns(inputs)
        logged: dict[str, float] = {}
        group = None if self.strength.group_column is None else codes[self.strength.group_column]
        law = self.strength.mixing(group, covariates)
        own = group is not None or covariates is not None
        mean = mean_strength(law).detach() if own else self.strength.mean

        def pair_loss(delta: torch.Tensor) -> torch.Tensor:
            learning = mode == "train"
            loss, found = self._objective.loss(
                Batch(delta, columns, law, self.args, self._running, learning)
            )
            logged.update(found)
            if mode == "train" and self.args.weight_column is not None:
                weights = columns[self.args.weight_column]
                if isinstance(self.train_dataset, IterableDataset):  # others were looked through
                    step = self.state.global_step + 1
                    check_weights(weights, self.args.weight_column, step)
                loss = loss * weights
            return loss

        hosted = HostedStrength(mean, pair_loss)
        self.beta = hosted  # type: ignore[assignment]
        try:
            result = super()._compute_loss(model, inputs, return_outputs)
        finally:
            self.beta = self.strength.mean
        lengths = inputs["completion_mask"].sum(dim=1).clamp(min=1.0).chunk(2)
        hosted.check(lengths if "sigmoid_norm" in self.loss_types else None)
        loss = result[0] if return_outputs else result
        for key, value in logged.items():
            self._metrics[mode][f"objective/{key}"].append(value)
        self._require_finite(hosted.delta, loss, inputs, mode)
        if mode == "train":
            if self._prior_weight:
                prior = self.strength.negative_log_prior() * self._prior_weight
                loss = loss + prior.to(device=loss.device, dtype=loss.dtype)
        else:
            self._log_strength("eval")
            if self._reported:
                # A dataset given to evaluate may have some of them, or none.
                found = {factor: codes[factor] for factor in self._reported if factor in codes}
                parameters = _detached(law) if own else {}
                self._evaluated.append(
                    self.accelerator.gather_for_metrics((hosted.delta, found, parameters))
                )
        return (loss, result[1]) if return_outputs else loss

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> Any:
        given = eval_dataset if not isinstance(eval_dataset, str) else None
        for label, dataset in named(given):
            if not is_tokenized(dataset):
                check_pairs(dataset, label)
            check_columns(dataset, label, self._objective.columns, ())
            self._check_strength_columns(dataset, label)
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
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if self._evaluated:
            deltas, codes, parameters = zip(*self._evaluated, strict=True)
            delta, law = torch.cat(deltas), self.strength.current()
            if parameters[0]:  # every pair has its own
                law = law.with_parameters(
                    {name: torch.cat([p[name] for p in parameters]).cpu() for name in parameters[0]}
                )
            for metric, value in overall_means(delta, law).items():
                output.metrics[f"{metric_key_prefix}_{metric}"] = value
            for factor in codes[0]:
                code = torch.cat([each[factor] for each in codes])
                levels = self._levels[factor]
                for key, value in group_means(delta, law, code, levels).items():
                    output.metrics[f"{metric_key_prefix}_{factor}/{key}"] = value
            self._evaluated.clear()
        return output

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(model, split_columns(inputs).rest)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [c for c in self._columns if c not in self._signature_columns]

    def _require_finite(
        self, delta: torch.Tensor, loss: torch.Tensor, inputs: dict[str, Any], mode: str
    ) -> None:
        bad = int((~torch.isfinite(delta)).sum())
        if not bad and torch.isfinite(loss):
            return
        when = f"at step {self.state.global_step + 1}" if mode == "train" else "in evaluation"
        for name in ("ref_chosen_logps", "ref_rejected_logps"):
            lost = int((~torch.isfinite(inputs[name])).sum()) if name in inputs else 0
            if lost:
                raise InputError(
                    "Expected finite log-probabilities of the reference, which were computed "
                    f"beforehand; got others in column {name} of {lost} of {delta.numel()} pairs "
                    f"of a batch {when}. The policy is not to blame. Compute them again, or check "
                    "the reference."
                )
        raise InputError(
            f"Expected a finite loss; got {loss.item()} {when}, with log-ratio differences that "
            f"are not finite in {bad} of {delta.numel()} pairs of the batch. The policy has "
            "probably diverged. Lower learning_rate, or resume from an earlier checkpoint."
        )

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
        """Take the optimizer step of the strength, from the mean gradient over all processes."""
        self.strength.steps = self.state.global_step + 1
        if self.strength_optimizer is None:
            self._log_strength("train")
            self._follow()
            return
        gradient = torch.cat([each.grad.reshape(-1) for each in self._learned_parameters])
        if self.accelerator.num_processes > 1:
            on_device = gradient.to(self.accelerator.device)
            gradient = self.accelerator.reduce(on_device, reduction="mean").cpu()
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None:
            gradient = gradient / scaler.get_scale()
            if not torch.isfinite(gradient).all():
                # An overflow of half precision, for which the model skips its step as well.
                self.strength_optimizer.zero_grad()
                return
        if not torch.isfinite(gradient).all():
            raise InputError(
                "Expected a finite gradient of the strength; got "
                f"{gradient.tolist()} at step {self.state.global_step + 1}. "
                "Lower strength_learning_rate or learning_rate."
            )
        sizes = [each.numel() for each in self._learned_parameters]
        for each, value in zip(self._learned_parameters, gradient.split(sizes), strict=True):
            each.grad = value.reshape(each.shape)
        self.strength.gradients = {
            f"gradient/{name}": each.grad.item()
            for name, each in self.strength.named_parameters()
            if name in ("location", "dispersion") and each.requires_grad and each.grad is not None
        }
        rate = self.strength_optimizer.param_groups[0]["lr"]
        self.strength_optimizer.step()
        self.strength_scheduler.step()
        self.strength_optimizer.zero_grad()
        self._follow()
        self._log_strength(
            "train",
            **self.strength.gradients,
            grad_norm=gradient.norm().item(),
            learning_rate=rate,
            negative_log_prior=self.strength.negative_log_prior().item(),
        )

    def _follow(self) -> None:
        """Add a point to the trajectory, or to a long one every k-th."""
        step, most = self.strength.steps, self.state.max_steps
        if step % max(1, math.ceil(most / MOST_POINTS)) == 0 or step == most:
            self.strength.record_common(step)

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        if self.strength_optimizer is not None:
            self.strength_scheduler = get_scheduler(
                self.args.strength_lr_scheduler,
                self.strength_optimizer,
                num_warmup_steps=self.args.get_warmup_steps(num_training_steps),
                num_training_steps=num_training_steps,
            )
        return super().create_scheduler(num_training_steps, *args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_dataset(dataset, *args, **kwargs)
        if isinstance(prepared, Dataset) and len(prepared) < len(dataset):
            # TRL drops pairs of which the prompt alone fills max_length, without a word.
            dropped = (
                f"{len(dataset) - len(prepared)} of {len(dataset)} pairs, whose prompt alone has "
                f"{self._max_length} tokens (max_length) or more"
            )
            if len(prepared) == 0:
                raise InputError(
                    f"Expected pairs that fit into max_length; got {dropped}. Raise max_length."
                )
            warn(f"Left out {dropped}.")
        elif isinstance(prepared, IterableDataset) and next(iter(prepared), None) is None:
            raise InputError(
                "Expected pairs that fit into max_length; got a stream of which the prompt alone "
                f"has {self._max_length} tokens (max_length) or more in all of them. Raise "
                "max_length."
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
        super().save_model(output_dir, _internal_call=_internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            atomic_write_bytes(Path(output_dir) / STATE_NAME, save(self._strength_state()))

    def _strength_state(self) -> dict[str, torch.Tensor]:
        state = dict(self.strength.state_dict())
        state[_THRESHOLD] = self._running.threshold
        if self.strength_optimizer is not None:
            names = [name for name, each in self.strength.named_parameters() if each.requires_grad]
            saved = self.strength_optimizer.state_dict()["state"]
            for index, values in saved.items():
                state |= {f"{names[index]}.{key}": value for key, value in values.items()}
        if self.strength_scheduler is not None:
            state[_SCHEDULE_STEP] = torch.tensor(self.strength_scheduler.last_epoch)
        return state

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
        self._running.threshold = state.pop(_THRESHOLD, self._running.threshold)
        step = state.pop(_SCHEDULE_STEP, None)
        own = {name: state.pop(name) for name in self.strength.state_dict()}
        self.strength.load_state_dict(own)
        if self.strength_optimizer is not None:
            names = [name for name, each in self.strength.named_parameters() if each.requires_grad]
            record = self.strength_optimizer.state_dict()
            record["state"] = {
                index: {
                    key.removeprefix(f"{name}."): value
                    for key, value in state.items()
                    if key.startswith(f"{name}.")
                }
                for index, name in enumerate(names)
            }
            self.strength_optimizer.load_state_dict(record)
        if self.strength_scheduler is not None and step is not None:
            self._restore_schedule(step.item())

    def _restore_schedule(self, step: int) -> None:
        """Go on with the schedule of this run's arguments, from a step on."""
        schedule = self.strength_scheduler
        (base,), (share,) = schedule.base_lrs, schedule.lr_lambdas
        (group,) = schedule.optimizer.param_groups
        group["lr"] = base * share(step)
        state = {**schedule.state_dict(), "last_epoch": step, "_last_lr": [group["lr"]]}
        schedule.load_state_dict(state)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        best = self.state.best_model_checkpoint
        whole, of_groups = self.strength.trajectory, self.strength.group_trajectories
        self.strength.restore(LearnedStrength.load(best), best)
        self.strength.trajectory, self.strength.group_trajectories = whole, of_groups
        path = Path(best) / STATE_NAME
        if path.is_file():  # save_only_model=True keeps no state
            self._running.threshold = load_file(path)[_THRESHOLD]


def _detached(law: Mixing) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in law.parameters.items()}


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


# -- at the door -----------------------------------------------------------------------------------


def _delta_settings(args: MixDPOConfig, num_pairs: int | None) -> DeltaSettings:
    losses: Any = args.loss_type  # one, as the config makes sure
    names = [*OBJECTIVES[args.objective].arguments, "weight_column", "use_weighting"]
    if args.estimator == "exact" and "samples" in names:
        names.remove("samples")
    arguments = {name: getattr(args, name) for name in names}
    if num_pairs is not None:  # that the prior is weighed against
        arguments["strength_num_pairs"] = num_pairs
    return DeltaSettings(
        losses if isinstance(losses, str) else losses[0],
        args.truncation_mode,
        args.max_length,
        args.ld_alpha,
        args.objective,
        arguments,
    )
