"""Figure 8 and the consistency-diversity plane as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from soundsight.reproduction.results import Row
from soundsight.reproduction.zeroing import Curve

__all__ = ["plane", "zeroed"]

# Okabe & Ito's colours, told apart by people who see red and green alike; every series has a mark of its own as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def zeroed(curves: Mapping[str, Curve], title: str) -> bytes:
    """Figure 8: a curve with its band for each model."""
    figure, axes = _figure()
    for i, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        percent = [[100 * v for v in values] for values in (curve.mean, curve.low, curve.high)]
        axes.plot(curve.num_zeroed, percent[0], color=colour, marker=_MARKS[i % len(_MARKS)], markevery=8, label=name)
        axes.fill_between(curve.num_zeroed, percent[1], percent[2], color=colour, alpha=0.15, linewidth=0)
    axes.axhline(10, color="#666666", linestyle=":", linewidth=1, label="chance")
    axes.set(xlabel="latent elements set to 0", ylabel="accuracy of the judge, %", ylim=(0, 101), title=title)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def plane(rows: Sequence[Row], metric: str, title: str) -> bytes:
    """The consistency-diversity plane: a point for each row, accuracy upwards, diversity to the right, with ranges."""
    figure, axes = _figure()
    for i, row in enumerate(rows):
        if math.isnan(row.scores[metric].mean):
            continue
        x, y = row.scores[metric], row.scores["accuracy"]
        axes.errorbar(
            x.mean,
            100 * y.mean,
            xerr=[[x.mean - x.low], [x.high - x.mean]],
            yerr=[[100 * (y.mean - y.low)], [100 * (y.high - y.mean)]],
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKS[(i + i // len(_COLOURS)) % len(_MARKS)],
            linestyle="none",
            capsize=2,
            label=row.title,
        )
    for name, mark in (("nearest recording", "x"), ("real images", "*")):
        known = [row for row in rows if name in row.baselines[metric]]
        if known:
            place = known[0].baselines[metric][name], 100 * known[0].baselines["accuracy"][name]
            axes.plot(*place, mark, color="#666666", markersize=8, label=f"{name} (no model)")
    kind = "pixels" if metric == "diversity" else "the judge's features"
    axes.set(xlabel=f"diversity in {kind} (real test images = 1)", ylabel="accuracy of the judge, %", title=title)
    axes.set_xlim(left=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _figure() -> tuple[Any, Any]:
    # Without pyplot: no window, no state that other code would see.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "soundsight"})
    return buffer.getvalue()
