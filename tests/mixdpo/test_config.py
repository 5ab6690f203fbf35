"""Arguments of MixDPO training: what they mean together, and what they cannot."""

import json
import math
import warnings

import pytest

pytest.importorskip("trl")

from transformers import HfArgumentParser  # noqa: E402
from trl import DPOConfig, TrlParser  # noqa: E402

from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import OBJECTIVES, MixDPOConfig  # noqa: E402

PRIOR = StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3, mean_strength=0.1)


def config(tmp_path, **arguments):
    usual = {"report_to": "none", "bf16": False, "use_cpu": True}
    return MixDPOConfig(str(tmp_path), **{**usual, **arguments})


def test_a_prior_says_it_all(tmp_path):
    args = config(tmp_path, strength=PRIOR)
    assert (args.strength_family, args.strength_mode) == ("LogNormal", "joint")
    assert args.beta == pytest.approx(0.1)
    strength = args.build_strength()
    assert strength.prior == PRIOR
    assert strength.cv == pytest.approx(PRIOR.mixing().cv())


def test_a_prior_by_path(tmp_path):
    path = PRIOR.save(tmp_path / "strength_prior.json")
    for given in (path, str(path)):
        args = config(tmp_path, strength=given)
        assert args.strength == str(path)
        assert args.build_strength().prior == PRIOR


def test_nothing_asked_is_plain_dpo(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        args = config(tmp_path)
    assert (args.strength_family, args.strength_mode, args.beta) == ("PointMass", "frozen", 0.1)
    assert not args.build_strength().learns
    assert config(tmp_path, beta=0.3).build_strength().mean == pytest.approx(0.3)


@pytest.mark.parametrize("family", ["Gamma", "InverseGaussian"])
def test_a_free_family_warns_what_happens(tmp_path, family):
    with pytest.warns(UserWarning, match="mean drifts up and the spread shrinks"):
        args = config(tmp_path, strength_family=family, beta=0.2, strength_start_cv=0.8)
    strength = args.build_strength()
    assert strength.prior is None
    assert (strength.mean, strength.cv) == pytest.approx((0.2, 0.8))


def test_frozen_without_a_prior_is_no_matter_of_drift(tmp_path):
    args = config(tmp_path, strength_family="Gamma", strength_mode="frozen")
    assert args.build_strength().cv == pytest.approx(0.5)


def test_trls_defaults_are_kept(tmp_path):
    ours = config(tmp_path).to_dict()
    with warnings.catch_warnings():
        # TRL 1.16 sets gradient_checkpointing, which transformers 5.23 deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        theirs = DPOConfig(str(tmp_path), report_to="none", bf16=False, use_cpu=True).to_dict()
    for record in (ours, theirs):
        record.pop("logging_dir", None)
    new = {name for name in ours if name not in theirs}
    of_objectives = {
        "objective", "estimator", "samples", "odpo_alpha", "beta_dpo_a", "smpo_gamma",
        "answer_column", "weight_column", "group_columns",
    }  # fmt: skip
    assert all(name.startswith("strength") for name in new - of_objectives)
    assert new > of_objectives
    assert {name: ours[name] for name in theirs} == theirs


def test_arguments_survive_their_own_record(tmp_path):
    args = config(tmp_path, strength=PRIOR)
    assert json.loads(args.to_json_string())["strength"]["family"] == "LogNormal"
    again = {name: value for name, value in args.to_dict().items() if name.startswith("strength")}
    assert config(tmp_path, beta=args.beta, **again).to_dict() == args.to_dict()


def test_from_the_command_line(tmp_path):
    path = PRIOR.save(tmp_path / "strength_prior.json")
    line = f"--output_dir {tmp_path} --strength {path} --strength_mode anchored --bf16 false"
    (args,) = HfArgumentParser(MixDPOConfig).parse_args_into_dataclasses(
        [*line.split(), "--use_cpu", "--report_to", "none", "--strength-learning-rate", "0.01"]
    )
    assert args.strength_mode == "anchored"
    assert args.strength_learning_rate == 0.01
    assert args.build_strength().prior == PRIOR


def test_from_yaml_as_trls_scripts_read_it(tmp_path):
    path = PRIOR.save(tmp_path / "strength_prior.json")
    settings = tmp_path / "mixdpo.yaml"
    settings.write_text(
        f"""
        output_dir: {tmp_path / "run"}
        strength: {path}
        strength_mode: anchored
        strength_learning_rate: 1.0e-2
        strength_group_column: region
        strength_group_dispersion_scale: 0.2
        strength_num_pairs: 64
        group_columns: [region, country]
        weight_column: weight
        objective: mixdpo
        report_to: none
        bf16: false
        use_cpu: true
        """
    )
    (args,) = TrlParser(MixDPOConfig).parse_args_and_config(["--config", str(settings)])
    assert type(args) is MixDPOConfig
    assert (args.strength, args.strength_mode, args.strength_num_pairs) == (
        str(path), "anchored", 64,
    )  # fmt: skip
    assert args.strength_learning_rate == 0.01
    assert (args.strength_group_column, args.strength_group_dispersion_scale) == ("region", 0.2)
    assert (args.group_columns, args.weight_column) == (["region", "country"], "weight")
    assert args.build_strength().prior == PRIOR
    # What is on the command line counts.
    (args,) = TrlParser(MixDPOConfig).parse_args_and_config(
        ["--config", str(settings), "--strength_mode", "joint", "--strength_covariates", "a", "b"]
    )
    assert (args.strength_mode, args.strength_covariates) == ("joint", ["a", "b"])
    # What is wrong in the file is said as everywhere.
    settings.write_text(settings.read_text() + "strength_start_cv: 0.3\n")
    with pytest.raises(InputError, match="either strength or strength_start_cv; got both"):
        TrlParser(MixDPOConfig).parse_args_and_config(["--config", str(settings)])


def test_every_argument_is_explained():
    """In the docstring, and in the same words on a command line."""
    text, doc = HfArgumentParser(MixDPOConfig).format_help(), MixDPOConfig.__doc__
    words = " ".join(doc.replace("``", "").split())
    own = {each.name for objective in OBJECTIVES.values() for each in objective.arguments}
    new = MixDPOConfig.__dataclass_fields__.keys() - DPOConfig.__dataclass_fields__.keys()
    for name in {*new, "beta"}:
        said = MixDPOConfig.__dataclass_fields__[name].metadata["help"]
        assert said
        assert name in doc
        assert f"--{name} " in text
        assert name in own or said in words
    loss_type = DPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    assert "hinge" in loss_type  # theirs stay as they are


RESCALED = StrengthPrior("LogNormal", math.log(9.0), 0.2, 0.0, 0.3)
TINY = StrengthPrior("LogNormal", math.log(1e-6), 0.2, 0.0, 0.3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"strength": PRIOR, "beta": 0.3},
            "either strength or beta; got a prior of mean 0.1 and `beta=0.3`",
        ),
        ({"strength": PRIOR, "strength_start_cv": 0.3}, "either strength or strength_start_cv"),
        (
            {"strength": PRIOR, "strength_family": "Gamma"},
            "of the family Gamma; got one of LogNormal",
        ),
        (
            {"strength": PRIOR, "strength_mode": "free"},
            "one of joint, anchored, frozen; got 'free'",
        ),
        ({"strength_family": "Cauchy"}, "got 'Cauchy'"),
        (
            {"strength_mode": "anchored"},
            "strength or strength_family along with `strength_mode='anchored'`",
        ),
        ({"strength_start_cv": 0.3}, "strength or strength_family along with strength_start_cv"),
        (
            {"strength": "missing.json"},
            "Expected a strength prior at missing.json; got no such file",
        ),
        ({"strength": RESCALED}, "mean strength between 0.0001 and 5 per nat .* got 9"),
        ({"strength": TINY}, "got 1e-06"),
        ({"beta": 7.0}, "got 7. A mean in units of a reward model"),
        ({"beta": 0.0}, "Expected beta > 0; got 0"),
        ({"strength": PRIOR, "strength_learning_rate": 0.0}, "Expected strength_learning_rate > 0"),
        ({"strength": PRIOR, "strength_num_pairs": -3}, "Expected strength_num_pairs > 0; got -3"),
        ({"loss_type": "ipo"}, "Expected loss_type 'sigmoid', .* got \\['ipo'\\]"),
        ({"loss_type": ["sigmoid", "sft"]}, "Expected loss_type 'sigmoid'"),
        ({"loss_weights": [0.5]}, "Expected no loss_weights"),
        ({"f_divergence_type": "forward_kl"}, "Expected f_divergence_type 'reverse_kl'"),
        ({"label_smoothing": 0.1}, "Expected no label_smoothing"),
    ],
)
def test_contradictions(tmp_path, arguments, text):
    with pytest.raises(InputError, match=text):
        config(tmp_path, **arguments)


def of_mean(mean, **groups):
    known = {f"region={level}": {"relative_mean": relative} for level, relative in groups.items()}
    return StrengthPrior("LogNormal", math.log(mean), 0.2, 0.0, 0.3, groups=known)


@pytest.mark.parametrize(
    ("mean", "loss_type", "text"),
    [
        (1.2, "sigmoid", "is 1.2 per nat of log-ratio, which is rarely above 1 .* mean_strength="),
        (4.9, ["sigmoid"], "which is rarely above 1"),
        (0.1, "sigmoid_norm", "is 0.1 per nat of log-ratio per token, which is usual for sums"),
        (0.9, ["sigmoid_norm"], "which is usual for sums"),
        (120.0, "sigmoid_norm", "which is rarely above 100"),
    ],
)
def test_a_mean_that_is_seldom_meant_is_said(tmp_path, mean, loss_type, text):
    with pytest.warns(DataWarning, match=text) as said:
        config(tmp_path, strength=of_mean(mean), loss_type=loss_type)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)


@pytest.mark.parametrize(
    ("mean", "loss_type"),
    [(0.01, "sigmoid"), (0.5, "sigmoid"), (1.0, "sigmoid"), (2.5, "sigmoid_norm")],
)
def test_usual_means_are_not_warned_of(tmp_path, mean, loss_type):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config(tmp_path, strength=of_mean(mean), loss_type=loss_type)


def test_means_of_groups_are_held_to_the_same_bounds(tmp_path):
    def built(**relative):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            args = config(
                tmp_path, strength=of_mean(0.1, **relative), strength_group_column="region"
            )
        return args.build_strength(dict.fromkeys(relative, 8))

    assert built(a=1.0, b=9.0).group_means() == pytest.approx({"a": 0.1, "b": 0.9})
    with pytest.raises(
        InputError, match=r"0\.5\) in group region=b; got 100\. Correct the group's"
    ):
        built(a=1.0, b=1000.0)
    with pytest.raises(InputError, match=r"in group region=b; got 1e-06\."):
        built(a=1.0, b=1e-5)
    with pytest.warns(DataWarning, match="strength in group region=b is 2 per nat .* above 1 "):
        built(a=1.0, b=20.0)


@pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior")
def test_point_mass_has_no_dispersion_to_learn(tmp_path):
    with pytest.raises(InputError, match="mode 'anchored' learns the dispersion"):
        config(tmp_path, strength_family="PointMass", strength_mode="anchored")


def test_strength_of_a_wrong_type(tmp_path):
    with pytest.raises(TypeError, match="path of one; got int"):
        config(tmp_path, strength=3)


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("eval_loss", False),
        ("eval_negative_log_likelihood", False),
        ("eval_calibration_error", False),
        ("region/worst/calibration_error", False),
        ("eval_seen_negative_log_likelihood", False),
        ("eval_accuracy", True),
        ("eval_region/macro/margin", True),
        ("eval_rewards/accuracies", True),
    ],
)
def test_the_best_checkpoint_is_not_the_worst(tmp_path, metric, higher):
    about = {"metric_for_best_model": metric, "group_columns": ["region"]}
    args = config(tmp_path, **about)
    assert args.greater_is_better is higher
    assert config(tmp_path, **about, greater_is_better=higher).greater_is_better is higher
    with pytest.raises(InputError, match="which keeps the worst checkpoint"):
        config(tmp_path, **about, greater_is_better=not higher)


def test_a_metric_that_may_be_better_either_way(tmp_path):
    with pytest.raises(InputError, match="may be better either way; got none"):
        config(tmp_path, metric_for_best_model="eval_strength/mean")
    args = config(tmp_path, metric_for_best_model="eval_strength/mean", greater_is_better=False)
    assert args.greater_is_better is False
