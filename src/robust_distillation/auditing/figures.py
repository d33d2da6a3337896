"""Pictures of what was measured. Each function returns a matplotlib figure and writes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from robust_distillation.arrays import Array

if TYPE_CHECKING:
    from robust_distillation.auditing.filtering import Curve

SMALLEST_RATE = 1e-3  # of clean images discarded, that is drawn


def learning_curves(history: dict[str, list[float]], title: str) -> Figure:
    """Draw every quantity of a training history by epoch, losses on the left and accuracies on the right."""
    panels = [("loss", [key for key in history if "accuracy" not in key])]
    if accuracies := [key for key in history if "accuracy" in key]:
        panels.append(("accuracy", accuracies))
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, (label, keys) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        for key in keys:
            axes.plot(range(1, len(history[key]) + 1), history[key], label=key)
        axes.set(xlabel="epoch", ylabel=label, title=title)
        axes.legend()
    return figure


def score_histogram(scores: Array, poisoned: Array, threshold: float) -> Figure:
    """Draw the detector's scores of clean and poisoned rows, with the threshold."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(scores.min(), scores.max(), 50)
    axes.hist([scores[~poisoned], scores[poisoned]], bins=bins, stacked=True, label=["clean", "poisoned"])
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4f}")
    axes.set(xlabel="score", ylabel="images", title="Scores of the training set")
    axes.legend()
    return figure


def roc_figure(curves: "Mapping[str, Curve]") -> Figure:
    """Draw receiver operating characteristics by name beside chance, small losses of clean images drawn large."""
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    chance = np.geomspace(SMALLEST_RATE, 1, 50)
    axes.plot(chance, chance, color="grey", linestyle=":", label="chance")
    for name, curve in curves.items():
        axes.plot(curve.false_positive, curve.true_positive, label=f"{name}: AUROC {curve.figures['auroc']:.3f}")
    axes.set(xscale="log", xlim=(SMALLEST_RATE, 1), ylim=(0, 1.02))
    axes.set(xlabel="clean images discarded", ylabel="poison discarded", title="Filter against the truth")
    axes.legend(fontsize=8)
    return figure


def image_rows(rows: dict[str, Array], title: str, columns: Sequence[str] = ()) -> Figure:
    """Draw one row of pictures per name.

    Args:
        rows: float32 images (N, H, W, C) in [0, 1] by name, the same N in each.
        title: of the figure.
        columns: what stands above each of the N columns; nothing by default.
    """
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.2 * count, 1.3 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    grid = np.reshape(figure.subplots(len(rows), count), (len(rows), count))
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for axes, column in zip(grid[0], columns, strict=False):
        axes.set_title(column, fontsize=8)
    return figure


def robustness_curves(
    models: dict[str, dict[str, Any]], epsilons: list[float], attacks: Iterable[str], raised: list[str]
) -> Figure:
    """Draw worst-case robust accuracy by epsilon for each model, with 95 % intervals.

    Args:
        models: by name, `clean`, and by epsilon `worst_case` and `worst_case_interval`.
        epsilons: ascending, in [0, 1] units, the order of the worst cases.
        attacks: names of those that the worst case is over.
        raised: names of the reliability flags that taint the figures.
    """
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    positions = [0, *(255 * epsilon for epsilon in epsilons)]
    for name, values in models.items():
        (line,) = axes.plot(positions, [values["clean"], *values["worst_case"].values()], marker="o", label=name)
        bounds = values["worst_case_interval"].values()
        axes.fill_between(
            positions[1:],
            [bound["low"] for bound in bounds],
            [bound["high"] for bound in bounds],
            color=line.get_color(),
            alpha=0.12,
        )
    flags = f"RAISED: {', '.join(raised)}" if raised else "none raised"
    axes.set(
        xlabel=f"epsilon, grey levels of 255\nreliability flags: {flags}",
        ylabel="accuracy",
        ylim=(-0.02, 1.02),
        title=worst_case(attacks),
    )
    axes.legend()
    return figure


def worst_case(attacks: Iterable[str], width: int = 60) -> str:
    """Say what attacks a worst case is over, in lines of `width` characters."""
    return fill(f"Worst case over {', '.join(attacks)}", width)


def distance_curves(distances: Mapping[tuple[str, Any], Array]) -> Figure:
    """Draw for every radius the share of images whose nearest known adversarial image lies farther away.

    Args:
        distances: (N,) by model and norm (`linf` or `l2`), in [0, 1] units; infinite where none is known.
    """
    labels = {"linf": "L-infinity distance, grey levels of 255", "l2": "L2 distance, pixels in [0, 1]"}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    figure.suptitle("Nearest adversarial images, found by FAB-T")
    for axes, (norm, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for (name, of), values in distances.items():
            if of == norm:
                axes.ecdf((255 if norm == "linf" else 1) * values, complementary=True, label=name)
        axes.set(xlabel=label, ylabel="share of images", ylim=(-0.02, 1.02))
        axes.legend()
    return figure


def trade_off_curves(
    parts: dict[str, dict[str, tuple[Array, Array, tuple[float, float]]]],
) -> Figure:
    """Draw how each part of a defence tells attacked from clean images, with the points that are deployed.

    Args:
        parts: by name and label, the shares of clean and of attacked images refused over all thresholds, and the two
            shares as deployed.
    """
    figure = Figure(figsize=(4.6 * len(parts), 4), layout="constrained")
    figure.suptitle("Attacked images refused; a dot is what is deployed")
    for axes, (part, curves) in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts.items(), strict=True):
        for label, (clean, attacked, deployed) in curves.items():
            (line,) = axes.plot(clean, attacked, label=label)
            axes.plot(*deployed, marker="o", color=line.get_color())
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
        axes.set(xlabel="clean images refused", ylabel="attacked images refused", title=part)
        axes.legend(fontsize="x-small")
    return figure


def certified_curves(radii: Mapping[str, Array], side: float) -> Figure:
    """Draw for every radius in L2 the share of images that are certified there.

    Args:
        radii: by name, the radius of each image (N,), -1 where the answer is wrong or none.
        side: radius in L2 over the one in L-infinity that follows from it.
    """
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for name, values in radii.items():
        ends = np.sort(values[values >= 0])
        left = np.arange(len(ends), -1, -1) / len(values)
        axes.step([0, *ends], [left[0], *left[1:]], where="post", label=name)
    axes.set(xlabel="radius in L2", ylabel="certified accuracy", ylim=(-0.02, 1.02), title="Randomized smoothing")
    levels = 255 / side  # of grey in L-infinity, for each unit in L2
    above = axes.secondary_xaxis("top", functions=(lambda x: np.multiply(x, levels), lambda x: np.divide(x, levels)))
    above.set_xlabel("radius in L-infinity that follows, grey levels of 255")
    axes.legend()
    return figure


def comparison_figure(rows: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw a line for each defence: accuracy without an attack, under each attack, and under an adaptive one.

    Args:
        rows: by name, `clean`, and by ball the shares that stand under each attack, `adaptive` the last.
    """
    names = list(rows)[::-1]
    balls = [name for name, value in rows[names[0]].items() if isinstance(value, Mapping)]
    figure = Figure(figsize=(3 + 3.2 * len(balls), 0.8 + 0.28 * len(names)), layout="constrained")
    for axes, ball in zip(np.atleast_1d(figure.subplots(1, len(balls), sharey=True)), balls, strict=True):
        shares = {"clean": [rows[name]["clean"] for name in names]}
        shares |= {attack: [rows[name][ball][attack] for name in names] for attack in rows[names[0]][ball]}
        for label, values in shares.items():
            last = label == "adaptive"
            axes.plot(values, range(len(names)), "D" if last else "o", color="black" if last else None, label=label)
        axes.hlines(range(len(names)), shares["adaptive"], shares["clean"], color="lightgrey", zorder=0)
        axes.set(xlabel="answered and right", xlim=(-0.02, 1.02), title=ball)
        axes.set_yticks(range(len(names)), labels=names)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def group_bars(shares: dict[str, dict[str, float]], by: str, title: str) -> Figure:
    """Draw one bar per group and name.

    Args:
        shares: by name, then by group.
        by: what tells the groups apart.
        title: of the figure.
    """
    groups = list(next(iter(shares.values())))
    figure = Figure(figsize=(max(4.5, 0.32 * len(groups)), 3), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for number, (name, values) in enumerate(shares.items()):
        axes.bar(np.arange(len(groups)) + number * width, [values[group] for group in groups], width, label=name)
    axes.set_xticks(np.arange(len(groups)) + 0.4 - width / 2, labels=groups)
    axes.set(xlabel=by, ylabel="accuracy", ylim=(0, 1.02), title=title)
    axes.legend()
    return figure


def membership_figure(curves: Mapping[str, Mapping[str, Array]], rates: Array) -> Figure:
    """Draw which share of the members attacks find, by the share of others that they take for members.

    Args:
        curves: by model and attack, true positive rates (M,).
        rates: false positive rates (M,), above 0.
    """
    figure = Figure(figsize=(1.2 + 2.9 * len(curves), 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(curves), sharey=True))
    for axes, (model, by_attack) in zip(panels, curves.items(), strict=True):
        axes.plot(rates, rates, color="grey", linestyle=":", label="chance")
        for attack, caught in by_attack.items():
            axes.plot(rates, np.maximum(caught, rates[0]), label=attack)
        axes.set(xscale="log", yscale="log", xlim=(rates[0], 1), ylim=(rates[0], 1.1), title=model)
        axes.set_xlabel("others taken for members")
    panels[0].set_ylabel("members found")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def confusion_figure(labels: Array, answers: Array, names: Sequence[str]) -> Figure:
    """Draw which class is answered, as a share of each true class."""
    count = len(names)
    shares = confusion_matrix(labels, answers, labels=range(count), normalize="true")
    side = 3.2 + 0.16 * count
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axes, label="share of the true class")
    short = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
    axes.set_xticks(range(count), labels=short, rotation=90, fontsize=7)
    axes.set_yticks(range(count), labels=short, fontsize=7)
    axes.set(xlabel="answered", ylabel="true class", title="What the student answers")
    return figure
