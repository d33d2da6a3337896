"""Pictures of what was measured. Each function returns a matplotlib figure and writes nothing."""

import numpy as np
from matplotlib.figure import Figure


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


def score_histogram(scores: np.ndarray, poisoned: np.ndarray, threshold: float) -> Figure:
    """Draw the detector's scores of clean and poisoned rows, with the threshold."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(scores.min(), scores.max(), 50)
    axes.hist([scores[~poisoned], scores[poisoned]], bins=bins, stacked=True, label=["clean", "poisoned"])
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4f}")
    axes.set(xlabel="reconstruction error", ylabel="images", title="Scores of the training set")
    axes.legend()
    return figure


def roc_figure(false_positive: np.ndarray, true_positive: np.ndarray, auroc: float) -> Figure:
    """Draw a receiver operating characteristic beside chance."""
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(false_positive, true_positive, label=f"AUROC {auroc:.3f}")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    axes.set(xlabel="clean images discarded", ylabel="poison discarded", title="Filter against the truth")
    axes.legend()
    return figure


def image_rows(rows: dict[str, np.ndarray], title: str) -> Figure:
    """Draw one row of pictures per name.

    Args:
        rows: float32 images (N, H, W, C) in [0, 1] by name, the same N in each.
        title: of the figure.
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
    return figure


def robustness_curves(worst_cases: dict[str, dict[str, float]], epsilons: list[float]) -> Figure:
    """Draw worst-case robust accuracy by epsilon for each model.

    Args:
        worst_cases: by model, the clean accuracy under `clean` and then one value per epsilon, in order.
        epsilons: ascending, in [0, 1] units.
    """
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, values in worst_cases.items():
        axes.plot([0, *(255 * epsilon for epsilon in epsilons)], list(values.values()), marker="o", label=name)
    axes.set(
        xlabel="epsilon, grey levels of 255", ylabel="accuracy", ylim=(-0.02, 1.02), title="Worst case over attacks"
    )
    axes.legend()
    return figure


def class_bars(shares: dict[str, dict[int, float]], title: str) -> Figure:
    """Draw one bar per class and name.

    Args:
        shares: by name, then by class.
        title: of the figure.
    """
    classes = list(next(iter(shares.values())))
    figure = Figure(figsize=(max(4.5, 0.32 * len(classes)), 3), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for number, (name, values) in enumerate(shares.items()):
        axes.bar(np.arange(len(classes)) + number * width, [values[label] for label in classes], width, label=name)
    axes.set_xticks(np.arange(len(classes)) + 0.4 - width / 2, labels=[str(label) for label in classes])
    axes.set(xlabel="class", ylabel="accuracy", ylim=(0, 1.02), title=title)
    axes.legend()
    return figure
