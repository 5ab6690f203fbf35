"""Draw docs/images/architecture.svg: the rooms of the package, and which imports which.

From the imports in the files themselves: ``python -m docs.images.make_architecture``. It says in
numbers, too, what the figure shows.
"""

import graphlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from scipy.sparse.csgraph import connected_components

from tests.test_imports import (
    JAX,
    MAY_IMPORT,
    MAY_USE_TORCH,
    TORCH,
    USERS,
    entries,
    graph,
    libraries,
    modules,
    name_of,
    room,
)

#: What stands in a room's box, and its column.
ROOMS = {
    "errors": ("three classes", 2.5),
    "_shared": ("files, records, sentences", 2.5),
    "choice": ("the probability of a choice", 2.5),
    "data": ("choices at the door", 2),
    "likelihood": ("of data, compressed", 2),
    "inference": ("one file a way", 2),
    "models": ("what a user specifies", 2),
    "posterior": ("what a Fit says", 3),
    "plots": ("one file a figure", 3),
    "validation": ("before one believes", 2.5),
    "report": ("the page", 2.5),
    "rewards": ("a number for every response", 1),
    "mixdpo": ("training", 0),
    "recipes": ("experiments from YAML", 1.2),
    "pipeline": ("one folder, the commands", 2.5),
    "__main__": ("python -m prefstrength", 2.5),
}
#: Width, height, and distance of columns and floors, inches.
WIDTH, HEIGHT, ACROSS, UP = 1.75, 0.42, 1.95, 0.62
COLOURS = {"JAX": "#CFE3F1", "torch": "#F6D9C4", "neither": "#F2F2F2"}


def between_rooms() -> dict[str, set[str]]:
    """Each room and the rooms that it imports, as the files say.

    Rooms that use the package by its public names reach all that they may.
    """
    found: dict[str, set[str]] = {}
    for module, others in graph().items():
        if module:
            found.setdefault(room(module), set()).update(room(other) for other in others if other)
    found |= {name: MAY_IMPORT[name] for name in USERS}
    return {name: others - {name} for name, others in found.items()}


def direct(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same without what follows from the rest: a room that is imported by way of another."""
    below: dict[str, set[str]] = {}
    for name in graphlib.TopologicalSorter(edges).static_order():
        below[name] = edges[name].union(*(below[other] for other in edges[name]))
    return {
        name: {other for other in others if not any(other in below[each] for each in others)}
        for name, others in edges.items()
    }


def floors(edges: dict[str, set[str]]) -> dict[str, int]:
    """Floor of each room: one above the highest that it imports."""
    found: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(edges).static_order():
        found[name] = 1 + max((found[other] for other in edges[name]), default=-1)
    return found


def numbers(edges: dict[str, set[str]]) -> str:
    """Sizes of the graph of modules, whose public names are ``""``."""
    names = sorted(edges.keys() - {""})
    imported = np.array([[other in edges[name] for other in names] for name in names])
    _, parts = connected_components(imported, connection="strong")
    circles = int((np.bincount(parts) > 1).sum())
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules()]
    return (
        f"{len(entries())} entries at the top, {len(names)} modules, {imported.sum()} imports, "
        f"{circles} circles; {sum(lines):,} lines, {max(lines)} in the longest file"
    )


def uses(name: str) -> str:
    """Which of the two large libraries a room knows."""
    found = set().union(*(libraries(p) for p in modules() if room(name_of(p)) == name))
    known = any(room(each) == name for each in MAY_USE_TORCH) or name == "mixdpo"
    return "JAX" if found & JAX else "torch" if known and found & TORCH else "neither"


def described(edges: dict[str, set[str]]) -> str:
    """The graph in words; it is kept in the figure, so that a test sees when it is out of date."""
    return "; ".join(f"{name} imports {', '.join(sorted(edges[name]))}" for name in sorted(edges))


def draw(ax: Axes, edges: dict[str, set[str]]) -> None:
    """Boxes on their floors, and an arrow to each room that is imported directly."""
    at = {name: (ROOMS[name][1] * ACROSS, floor * UP) for name, floor in floors(edges).items()}
    for name, (x, y) in at.items():
        shape = {"boxstyle": "round,pad=0,rounding_size=0.06", "linewidth": 0.8}
        ax.add_patch(FancyBboxPatch((x - WIDTH / 2, y), WIDTH, HEIGHT, edgecolor="#333333",
                                    facecolor=COLOURS[uses(name)], **shape))  # fmt: skip
        ax.text(x, y + 0.28, name, ha="center", va="center", fontsize=9, fontweight="bold")
        ax.text(x, y + 0.12, ROOMS[name][0], ha="center", va="center", fontsize=7)
    for name, others in direct(edges).items():
        for other in sorted(others):
            (x, y), (to, top) = at[name], (at[other][0], at[other][1] + HEIGHT)
            lean = max(-0.3, min(0.3, (to - x) / 4)) * WIDTH
            ax.annotate("", (to - lean, top), (x + lean, y), zorder=0,
                        arrowprops={"arrowstyle": "-|>", "linewidth": 0.8, "color": "#555555",
                                    "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    for index, (library, colour) in enumerate(COLOURS.items()):
        y = (max(floors(edges).values()) - index * 0.4) * UP
        ax.plot(-0.7, y + 0.2, "s", color=colour, markeredgecolor="#333333", markersize=8)
        ax.text(-0.55, y + 0.2, {"neither": "neither"}.get(library, f"knows {library}"),
                va="center", fontsize=8)  # fmt: skip
    ax.set_xlim(-ACROSS / 2, 3 * ACROSS + WIDTH / 2 + 0.1)
    ax.set_ylim(-0.1, max(floors(edges).values()) * UP + HEIGHT + 0.1)
    ax.set_aspect("equal")
    ax.axis("off")


def main() -> None:
    """Write the figure beside this script."""
    edges = between_rooms()
    with mpl.rc_context({"svg.hashsalt": "architecture", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(7.6, 0.3 + UP * (1 + max(floors(edges).values()))))
        draw(figure.add_axes((0, 0, 1, 1)), edges)
        path = Path(__file__).with_name("architecture.svg")
        figure.savefig(path, metadata={"Date": None, "Description": described(edges)})
    print(f"{numbers(graph())}; {1 + max(floors(edges).values())} floors of rooms")


if __name__ == "__main__":
    main()
