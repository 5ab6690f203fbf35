"""Figures say what they leave out, tell labels apart, and follow the user's size of type."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import prefstrength as ps
from prefstrength import plots
from prefstrength.errors import DataWarning
from prefstrength.plots.style import DOUBLE, detached, points, style
from tests.helpers.made_up import made_up_fit

LEVELS = [f"topic {i:02d}" for i in range(20)]


@pytest.fixture(scope="module")
def many() -> ps.Fit:
    return made_up_fit({"topic": LEVELS}, choosers=200)


@pytest.mark.parametrize("plot", [plots.plot_strength, plots.plot_choice_curve])
def test_a_figure_says_that_it_shows_some_levels(many, plot):
    with detached():
        drawn = plot(many, by="topic")
    assert len(drawn) == 12
    assert drawn[0].figure.get_suptitle() == "12 of 20 levels of topic, those with most data"
    with pytest.warns(DataWarning, match="12 of 20 levels"):
        plot(many, by="topic", axes=Figure().subplots(3, 4))
    some = made_up_fit({"topic": LEVELS[:5]}, choosers=60)
    with detached():
        assert plot(some, by="topic")[0].figure.get_suptitle() == ""


def test_the_panel_of_agreement_says_it_too(many):
    with detached():
        drawn = np.ravel(plots.plot_data(many, by="topic"))
    assert drawn[-1].get_legend().get_title().get_text() == "topic\n(4 of 20 levels)"


LONG = [f"people who answered in the {side} of the country" for side in ("north", "south")]


def test_long_names_stay_different():
    fit = made_up_fit({"where": [*LONG, "WWWWWWWWWWWWWWWWWWWWWWWWWWW", "x"]}, choosers=60)
    with detached():
        panels = plots.plot_strength(fit, by="where")
        rows = plots.plot_groups(fit)
    titles = [ax.get_title("left") for ax in panels]
    assert len(set(titles)) == 4
    room = DOUBLE / 4
    figure = panels[0].figure
    figure.canvas.draw()
    for ax, title in zip(panels, titles, strict=True):
        shown = next(t for t in ax.findobj(Text) if t.get_text() == title)
        assert shown.get_window_extent().width / figure.dpi < room
    labels = [label.get_text() for label in rows[0].get_yticklabels()]
    assert len(set(labels)) == len(labels)


def test_the_size_of_type_is_the_users(many):
    with style():
        assert mpl.rcParams["font.size"] == 8.5
        assert points(8) == 8
        with style():  # once, however deep
            assert mpl.rcParams["font.size"] == 8.5
    with mpl.rc_context({"font.size": 20}), detached():
        drawn = plots.plot_strength(many, by="topic")
        groups = plots.plot_groups(many)
    title = next(t for t in drawn[0].findobj(Text) if t.get_text() == "topic 00")
    assert title.get_fontsize() == pytest.approx(16)
    assert groups[0].xaxis.label.get_fontsize() == pytest.approx(17)
    assert groups[0].get_yticklabels()[0].get_fontsize() == pytest.approx(16)
