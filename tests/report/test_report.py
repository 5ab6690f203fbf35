"""The report: what it says, that it says it safely, and what it leaves alone."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.report import write_report
from prefstrength.report.answer import best_model
from prefstrength.report.figures import Drawing
from prefstrength.report.provenance import commit
from prefstrength.report.tables import Table, escape_latex, latex
from prefstrength.report.words import fixed, listing, number, probability, times
from tests.helpers.made_up import made_up_fit

SCRIPT = "<script>alert('x')</script>"
LATEX = "50%_of $a$ & {b} ~ \\c^#"
#: The spread of the made-up fits, whose sd/mean is 0.8.
SIGMA = float(np.sqrt(np.log1p(0.8**2)))
GROUPS = {"data_set": [SCRIPT, LATEX], "region": ["north", "south"]}


class Page(HTMLParser):
    """Text, tags with attributes, and whether every tag that was opened was closed."""

    VOID = {"meta", "img", "br", "link", "hr"}

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def learned(prior: bool = True, sigma: float = SIGMA, mode: str = "joint") -> ps.LearnedStrength:
    points = [
        {"step": s, "mu": -2.5, "sigma": sigma, "mean": 0.1 + s / 1e3, "cv": 0.8} for s in range(5)
    ]
    return ps.LearnedStrength(
        "LogNormal",
        {"mu": -2.5, "sigma": sigma},
        mode,
        prior=ps.StrengthPrior("LogNormal", np.log(0.1), 0.1, np.log(0.7), 0.1) if prior else None,
        steps=4,
        trajectory=tuple(points),
        model="tiny",
        versions={"torch": "2"},
    )


def truth(sigma: float = SIGMA) -> dict[str, Any]:
    """What the made-up fits are about: mean 1 and sd/mean 0.8 everywhere."""
    cells = [
        {"data_set": a, "region": b, "mu": -(sigma**2) / 2, "sigma": sigma}
        for a in GROUPS["data_set"]
        for b in GROUPS["region"]
    ]
    return {"cells": cells, "unit": "sd of the true quality"}


def scored_pairs() -> pd.DataFrame:
    pairs = pd.DataFrame(
        {
            "chosen": ["a long answer", "short", [{"role": "assistant", "content": "four words"}]],
            "rejected": ["short", "an even longer answer", [{"role": "assistant", "content": "x"}]],
            "reward_chosen": [1.0, 0.5, 0.2],
            "reward_rejected": [0.0, 0.0, 0.4],
        }
    )
    pairs.attrs["reward"] = {
        "name": "TextReward", "settings": {"folds": 5}, "agreement": 0.7123, "unit": 2.5
    }  # fmt: skip
    return pairs


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it, labels of the worst kind included."""
    folder = tmp_path_factory.mktemp("full")
    fit = made_up_fit(GROUPS, choosers=60, cv=0.8)
    point = made_up_fit(GROUPS, choosers=60, family="PointMass")
    write_report(
        folder,
        fit=fit,
        learned=learned(),
        comparison_fits={"MixDPO": fit, "DPO & co": point},
        title=f"About {SCRIPT}",
        truth=truth(),
        pairs=scored_pairs(),
        notes=[f"A note: {SCRIPT}"],
    )
    return folder


@pytest.fixture(scope="module")
def page(full: Path) -> Page:
    return Page((full / "report.html").read_text(encoding="utf-8"))


Simple = Callable[..., Page]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that take no time, where a test is about words and files."""

    def drawings(facts: Any) -> list[Drawing]:
        names = ["data", *(["trajectory"] if facts.learned is not None else [])]
        return [Drawing(n, "data", n, "caption", "alt", b"png", b"pdf", True) for n in names]

    monkeypatch.setattr("prefstrength.report.drawings", drawings)


@pytest.fixture
def simple(tmp_path: Path, undrawn: None) -> Simple:
    """Write a report without figures and read its page."""

    def write(fit: ps.Fit | None = None, **options: Any) -> Page:
        path = write_report(tmp_path / "report", fit=fit or made_up_fit(), **options)
        return Page(path.read_text(encoding="utf-8"))

    return write


# -- what is written ----------------------------------------------------------------------------


def test_everything_is_written(full: Path) -> None:
    names = {path.name for path in full.iterdir()}
    assert names == {"report.html", "figures", "tables", "provenance.json"}
    figures = {path.name for path in (full / "figures").iterdir()}
    wanted = {
        "data", "choice_curve", "strength", "groups", "strength_by_1_data_set",
        "choice_curve_by_region", "choosers", "prior_posterior", "comparison", "trajectory",
    }  # fmt: skip
    wanted = {name.replace("1_data_set", "data_set") for name in wanted}
    for name in wanted:
        assert {f"{name}.png", f"{name}.pdf"} <= figures
    for path in (full / "figures").iterdir():
        start = path.read_bytes()[:5]
        assert start == (b"%PDF-" if path.suffix == ".pdf" else b"\x89PNG\r")
    tables = {path.name for path in (full / "tables").iterdir()}
    for name in (
        "heterogeneity", "checks", "population", "models", "choosers", "comparison", "quantiles",
        "truth",
    ):  # fmt: skip
        assert {f"{name}.csv", f"{name}.tex"} <= tables


def test_csv_has_every_digit_and_every_row(full: Path) -> None:
    frame = pd.read_csv(full / "tables" / "heterogeneity.csv", keep_default_na=False)
    fit = made_up_fit(GROUPS, choosers=60, cv=0.8)
    pd.testing.assert_frame_equal(frame, ps.heterogeneity(fit), check_dtype=False)
    with (full / "tables" / "choosers.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.reader(stream))) == 61


def test_provenance_says_what_made_it(full: Path) -> None:
    record = json.loads((full / "provenance.json").read_text(encoding="utf-8"))
    assert record["schema"] == "prefstrength/report/1"
    assert record["seed"] == 0
    assert record["data"]["hash"] == "0" * 64
    assert record["versions"]["report"]["matplotlib"]
    assert record["versions"]["training"] == {"torch": "2"}
    assert record["options"] == {"attribute": "reward", "prob": 0.9, "rope": 0.25}
    assert record["reward"]["name"] == "TextReward"
    assert record["all_checks_passed"] is True
    assert {check["check"] for check in record["checks"]} >= {"pareto_k", "likelihood_error"}
    assert record["learned"]["parameters"] == {"mu": -2.5, "sigma": SIGMA}
    for name, digest in record["files"].items():
        assert hashlib.sha256((full / name).read_bytes()).hexdigest() == digest


def test_no_commit_where_there_is_no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: Any, **options: Any) -> Any:
        raise FileNotFoundError("git")

    monkeypatch.setattr("subprocess.run", nothing)
    assert commit() is None


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    fit = made_up_fit()

    def written() -> dict[Path, bytes]:
        write_report(tmp_path, fit=fit)
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert written() == written()


def test_choices_among_several_alternatives(tmp_path: Path) -> None:
    """Differences are not kept then: no figure and no column that needs them."""
    write_report(tmp_path, fit=made_up_fit(pairs=False))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "share of variance P(varies)" not in page.text
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {
        "strength", "choice_curve", "choosers", "prior_posterior"
    }  # fmt: skip


def test_other_files_are_left_alone(tmp_path: Path, undrawn: None) -> None:
    (tmp_path / "figures" / "mine").mkdir(parents=True)
    theirs = {
        "notes.txt": "mine", "figures/mine.png": "my own", "figures/mine/deep.txt": "deep",
        "pairs.parquet": "data",
    }  # fmt: skip
    for name, content in theirs.items():
        (tmp_path / name).write_text(content)
    fit = made_up_fit({"g": ["a", "b"]})
    write_report(tmp_path, fit=fit, learned=learned())
    assert (tmp_path / "figures" / "trajectory.png").is_file()
    write_report(tmp_path, fit=fit)
    assert not (tmp_path / "figures" / "trajectory.png").exists(), "of a report that is gone"
    assert not (tmp_path / "tables" / "comparison.csv").exists()
    for name, content in theirs.items():
        assert (tmp_path / name).read_text() == content
    assert not [path for path in tmp_path.rglob(".*")], "no temporary file stays"


@pytest.mark.parametrize(
    "name", ["report.html", "provenance.json", "figures/data.png", "tables/heterogeneity.csv"]
)
def test_files_that_no_report_wrote_are_not_replaced(
    name: str, tmp_path: Path, undrawn: None
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds '{name}', and no report wrote"):
        write_report(tmp_path, fit=made_up_fit())
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_what_a_killed_report_left_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("prefstrength.report.atomic_write_text", _killed)
        with pytest.raises(KeyboardInterrupt):
            write_report(tmp_path, fit=made_up_fit())
    assert (tmp_path / "figures").is_dir()
    write_report(tmp_path, fit=made_up_fit())
    assert (tmp_path / "report.html").is_file()


def _killed(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_a_report_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    fit = made_up_fit()
    write_report(tmp_path, fit=fit)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fails(*arguments: Any) -> str:
        raise RuntimeError("the page cannot be made")

    monkeypatch.setattr("prefstrength.report.render", fails)
    with pytest.raises(RuntimeError):
        write_report(tmp_path, fit=fit, learned=learned())
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_mistakes_are_answered_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Expected a folder for the report; got the file"):
        write_report(tmp_path / "file", fit=made_up_fit())
    with pytest.raises(TypeError, match="Expected fit as a Fit; got str"):
        write_report(tmp_path / "out", fit="fit")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="as DPO"):
        write_report(tmp_path / "out", fit=made_up_fit(), comparison_fits={"DPO": 3})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="Expected truth"):
        write_report(tmp_path / "out", fit=made_up_fit(), truth=3)
    assert not (tmp_path / "out").exists()


# -- the page as a document ---------------------------------------------------------------------


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.open == []
    assert page.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for anchor in page.all("a"):
        assert str(anchor["href"]).removeprefix("#") in ids
    for _, attributes in page.tags:
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids


def test_the_page_needs_nothing_from_elsewhere(full: Path, page: Page) -> None:
    assert not page.all("script")
    assert not page.all("link")
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    text = (full / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(|https?://", text)


def test_figures_are_embedded_and_described(full: Path, page: Page) -> None:
    import base64

    images = page.all("img")
    files = {path.read_bytes() for path in (full / "figures").glob("*.png")}
    assert {base64.b64decode(str(i["src"]).partition(",")[2]) for i in images} == files
    for image in images:
        assert len(str(image["alt"])) > 25
    assert len(page.all("figcaption")) == len(images)


def test_wide_things_scroll_by_themselves(full: Path, page: Page) -> None:
    scrolling = sum("scroll" in str(each.get("class", "")) for each in page.all("div"))
    assert scrolling == len(page.all("table"))
    style = (full / "report.html").read_text(encoding="utf-8")
    assert ".scroll { overflow-x: auto" in style
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_labels_and_texts_are_escaped(full: Path, page: Page) -> None:
    raw = (full / "report.html").read_text(encoding="utf-8")
    assert "<script" not in raw
    assert SCRIPT in page.text, "shown as it is"
    assert page.text.count(SCRIPT) >= 4, "title, note, tables, answer"
    assert LATEX in page.text


# -- what it says -------------------------------------------------------------------------------


def test_the_answer_comes_first_then_evidence_diagnostics_limits(page: Page) -> None:
    order = [
        "Does strength of preference vary between choosers?", "Strength of preference by group",
        "How strength is distributed", "Posterior against learned", "All 6 checks passed",
        "The scale of strength", "SHA-256",
    ]  # fmt: skip
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)


def test_heterogeneous_choosers(page: Page) -> None:
    assert "Yes: some weigh rewards much more heavily than others." in page.text
    assert "region of practical equivalence" in page.text
    found = re.search(r"at least ([\d.]+) times as heavily", page.text)
    assert found is not None
    law = ps.LogNormal(mu=0.0, sigma=SIGMA)
    ratio = law.quantile(0.9) / law.quantile(0.1)
    assert float(found[1]) == pytest.approx(ratio, rel=0.05)
    assert "With MixDPO, under the prior below." in page.text


def test_homogeneous_choosers(simple: Simple) -> None:
    page = simple(made_up_fit({"g": ["a", "b"]}, cv=0.08, uncertainty=0.02))
    assert "No, not by enough to matter." in page.text
    assert "Plain DPO is enough." in page.text
    assert "In no group by enough to matter." in page.text


def test_data_that_cannot_tell(simple: Simple) -> None:
    page = simple(made_up_fit(cv=0.25, uncertainty=0.7))
    assert "The data cannot tell." in page.text
    assert "Either; MixDPO is the safer." in page.text


def test_a_prior_with_a_share_at_zero_says_so(simple: Simple) -> None:
    given = ps.StrengthPrior(
        "LogNormal", np.log(0.1), 0.1, np.log(0.7), 0.1, source={"words": f"Wide. {SCRIPT}"},
        zero_share=0.12,
    )  # fmt: skip
    page = simple(learned=replace(learned(), prior=given))
    assert "12% of the choosers hardly weigh this reward: training holds that share" in page.text
    assert "mean strength 0.088 and" in page.text
    assert f"Wide. {SCRIPT}" in page.text
    assert not page.all("script")
    assert "(mean and spread were both learned) sd/mean is" in page.text
    point = ps.StrengthPrior("PointMass", np.log(0.1), 0.1, zero_share=0.12)
    record = ps.LearnedStrength("PointMass", {"value": 0.1}, "frozen", prior=point)
    assert "One strength of 0.1 for those who weigh it." in simple(learned=record).text


def test_a_prior_that_speaks_louder_than_the_data_is_named(simple: Simple) -> None:
    page = simple(made_up_fit(cv=0.8, uncertainty=0.6))
    assert "Where the prior speaks louder than the data" in page.text
    assert "Take this with care" in page.text


def test_a_model_without_spread_does_not_pretend_to_know(simple: Simple) -> None:
    page = simple(made_up_fit({"g": ["a", "b"]}, family="PointMass"))
    assert "This model cannot say: it assumes that it does not." in page.text
    assert "This model alone gives no reason for either." in page.text
    assert "PointMass), as plain DPO" in page.text


def test_groups_that_differ_are_named(simple: Simple) -> None:
    fit = made_up_fit({"task": ["code", "poems"], "region": ["a", "b"]}, cv=0.8, choosers=80)
    sigma = fit.tree["posterior"]["reward_sigma"].values
    sigma[..., :2] *= 0.05
    fit.tree["posterior"]["reward_mu"].values[..., :2] = 0.3
    page = simple(fit)
    assert "That differs by task." in page.text
    assert re.search(r"task: code homogeneous \(sd/mean .*?\); poems heterogeneous", page.text)


def test_many_levels_are_counted_rather_than_listed(simple: Simple) -> None:
    fit = made_up_fit({"topic": [f"t{i}" for i in range(16)]}, choosers=96)
    page = simple(fit)
    assert "topic: all 16 heterogeneous; strength varies least in t" in page.text
    assert "With 16 verdicts" in page.text


def test_negative_strengths_are_not_given_a_ratio(simple: Simple) -> None:
    page = simple(made_up_fit(family="Normal", cv=1.2))
    assert "The weakest tenth of choosers pay no heed to the reward" in page.text
    assert "sd of log strength" not in page.text.split("What the data cannot tell")[0]


def test_training_that_was_skipped_is_said(simple: Simple, tmp_path: Path) -> None:
    page = simple()
    assert "Nothing was trained." in page.text
    assert "Training was skipped." in page.text
    assert "Which prior do the data hand to training?" in page.text
    assert not (tmp_path / "report" / "figures" / "comparison.png").exists()


def test_training_that_learned_what_the_data_support(page: Page) -> None:
    assert "Yes: the learned spread lies inside" in page.text
    assert "It stayed within one sd of the prior's centre" in page.text
    assert "The prior from the analysis is what holds it here." in page.text
    assert "Wasserstein" in page.text


def test_training_that_learned_something_else(simple: Simple) -> None:
    page = simple(learned=learned(prior=False, sigma=0.1))
    assert "No: the learned spread lies below the interval" in page.text
    assert "It stayed within one sd" not in page.text
    assert "The record of the training holds no prior" in page.text
    assert "do not read what was learned as data" in page.text


def test_strength_that_was_frozen_is_not_judged(simple: Simple) -> None:
    page = simple(learned=learned(mode="frozen"))
    assert "the strength was frozen" in page.text


def test_failed_checks_come_first_and_loud(simple: Simple, tmp_path: Path) -> None:
    page = simple(made_up_fit(pareto_k=0.93))
    alarm = page.text.index("Do not rely on this report yet: 1 of 6 checks failed")
    assert alarm < page.text.index("Does strength of preference vary")
    assert "Use `method='nuts'`." in page.text
    assert any(each.get("role") == "alert" for each in page.all("section"))
    record = json.loads((tmp_path / "report" / "provenance.json").read_text())
    assert record["all_checks_passed"] is False
    rows = pd.read_csv(tmp_path / "report" / "tables" / "checks.csv")
    assert rows["check"].iloc[0] == "pareto_k", "failed ones first"


def test_checks_that_passed_raise_no_alarm(page: Page) -> None:
    assert not any(each.get("role") == "alert" for each in page.all("section"))
    assert "All 6 checks passed." in page.text


def test_true_values_inside_their_intervals(page: Page, full: Path) -> None:
    table = pd.read_csv(full / "tables" / "truth.csv")
    inside = int(table["inside"].sum())
    assert f"{inside} of {len(table)} true values lie inside their 90% intervals" in page.text
    assert len(table) == 5 * 3 + 4 * 2
    assert "True strengths are per sd of the true quality" in page.text


def test_true_values_outside_are_named(simple: Simple) -> None:
    page = simple(truth=ps.LogNormal(mu=1.0, sigma=0.7))
    found = re.search(r"(\d+) of 5 true values lie inside .*?; outside:", page.text)
    assert found is not None
    assert int(found[1]) < 5
    assert re.search(r"mean strength of all data: true 3\.47, interval", page.text)
    assert "OUTSIDE" in page.text


def test_models_are_compared(page: Page) -> None:
    assert "Which model predicts better?" in page.text
    assert re.search(r"In predicting choosers left out \(PSIS-LOO\), .*? nats", page.text)


def test_models_that_cannot_be_compared_are_not_passed_over(simple: Simple) -> None:
    fit = made_up_fit()
    page = simple(fit, comparison_fits={"only": fit})
    assert "The models could not be compared. Expected at least two fits" in page.text


def test_a_close_call_is_called_one() -> None:
    models = pd.DataFrame({"model": ["a", "b"], "elpd": [-10.0, -11.0], "dse": [0.0, 3.0]})
    assert best_model(models) == ("a", "b", 1.0, 3.0)
    assert best_model(models[:1]) is None
    assert best_model(None) is None


# -- what the data cannot tell ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situations", "said"),
    [
        (1, "Hardly any chooser chose twice"),
        (4, "Few choices for each chooser"),
        (20, "heterogeneity is seen in how consistent each chooser is"),
    ],
)
def test_choices_per_chooser_are_judged(simple: Simple, situations: int, said: str) -> None:
    assert said in simple(made_up_fit(situations=situations)).text


def test_unknown_choosers_are_named_as_a_limit(simple: Simple) -> None:
    page = simple(made_up_fit(choosers=0, situations=300))
    assert "Who chose is not known" in page.text
    assert "label noise" in page.text


def test_where_the_rewards_come_from(simple: Simple, page: Page) -> None:
    assert "cross-fitted by prompt in 5 folds" in page.text
    assert "agrees with the choice in" in page.text
    unknown = simple()
    assert "Nothing is known here of how the rewards were made" in unknown.text


def test_length_is_held_against_choice_and_reward(page: Page) -> None:
    assert "The longer response was chosen in 66.7% of pairs" in page.text
    assert "have a correlation of" in page.text


def test_what_was_left_out_is_said(simple: Simple) -> None:
    fit = made_up_fit(dropped=[{"reason": "ties", "count": 100}])
    page = simple(fit)
    assert "Left out on request: 100 (ties), 20% of what there was." in page.text


# -- LaTeX and words ----------------------------------------------------------------------------


def test_latex_tables_are_escaped(full: Path) -> None:
    text = (full / "tables" / "heterogeneity.tex").read_text(encoding="utf-8")
    assert (
        r"50\%\_of \$a\$ \& \{b\} \textasciitilde{} \textbackslash{}c\textasciicircum{}\#" in text
    )
    assert r"\textless{}script\textgreater{}" in text
    for line in text.splitlines():
        if line.startswith("%") or r"\caption" in line:
            continue
        bare = re.sub(r"\\[%&$#_{}]", "", line)
        bare = re.sub(r"\\[a-zA-Z]+(\{\})?", "", bare)
        assert not re.search(r"[%$#_~^\\]", bare.replace("\\\\", "").replace(r"\ ", "")), line


@pytest.mark.parametrize("name", ["heterogeneity", "checks", "models", "truth", "population"])
def test_latex_tables_hold_together(full: Path, name: str) -> None:
    text = (full / "tables" / f"{name}.tex").read_text(encoding="utf-8")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    kinds = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert kinds is not None
    for line in text.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == len(kinds[1]) - 1
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


def test_every_special_character_is_escaped() -> None:
    assert escape_latex("a_b") == r"a\_b"
    assert (
        escape_latex("β ≥ −1…") == r"\ensuremath{\beta} \ensuremath{\geq} \ensuremath{-}1\ldots{}"
    )
    assert escape_latex("line\nbreak\x00") == "line break "
    assert escape_latex("Zürich 東京") == "Zürich 東京"


def test_a_table_that_nobody_would_print_has_no_latex() -> None:
    rows = tuple((str(i),) for i in range(500))
    assert latex(Table("t", "c", pd.DataFrame(), ("a",), rows)) is None


def test_numbers_are_rounded_to_what_is_known() -> None:
    assert [number(x) for x in (0, 1e-7, 12345.6, 1.0, 99.96)] == [
        "0",
        "1.00e−07",
        "12,346",
        "1",
        "100",
    ]
    assert number(float("inf")) == "∞"
    assert [fixed(x) for x in (-0.5, 1234.567, 0.001)] == ["−0.50", "1,234.57", "0.001"]
    assert [probability(p) for p in (0.996, 0.5, 0.004)] == ["above 0.99", "0.50", "below 0.01"]
    assert times(9.96) == "10.0 times"
    assert listing(["a"]) == "a"
