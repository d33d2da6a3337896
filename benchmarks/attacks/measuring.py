"""Time and strength of one attack, all sides in turn."""

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from robust_distillation.arrays import Array

from .cases import CASES, SETTINGS
from .models import first_images, load
from .results import Row
from .sides import Build, Run, bare_gradients, ours, peers_of

BATCH_SIZES = (100, 250, 500)
WARM_UP = 8  # images, where the set is not run in full beforehand


@dataclass(frozen=True)
class Measured:
    """The median time of one side, and what it found."""

    seconds: float
    adversarial: Array


def seconds_of(run: Run, images: Array, labels: Array) -> float:
    start = time.perf_counter()
    run(images, labels)
    return time.perf_counter() - start


def warmed(build: Build, images: Array, labels: Array) -> Run:
    """Return a side that has run before, with its fastest batch size; a small set is one batch."""
    sizes = sorted({min(size, len(images)) for size in BATCH_SIZES})
    if len(sizes) == 1:
        run = build(sizes[0])
        run(images[:WARM_UP], labels[:WARM_UP])
        return run
    pilot = slice(sizes[-1])
    trials = {}
    for size in sizes:
        run = build(size)
        run(images[pilot], labels[pilot])
        trials[seconds_of(run, images[pilot], labels[pilot])] = run
    return trials[min(trials)]


def take_turns(runs: dict[str, Run], images: Array, labels: Array, repeats: int, title: str) -> dict[str, Measured]:
    """Run every side in turn, again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    adversarial = {}
    bar = tqdm([name for _ in range(repeats) for name in runs], desc=title, unit="pass")
    for name in bar:
        bar.set_postfix_str(name)
        start = time.perf_counter()
        adversarial[name] = runs[name](images, labels)
        seconds[name].append(time.perf_counter() - start)
    return {name: Measured(statistics.median(seconds[name]), adversarial[name]) for name in runs}


def answers(model: Any, images: Array) -> Array:
    classes: Array = model.predict(images, batch_size=500, verbose=0).argmax(axis=1)
    return classes


def distances(images: Array, adversarial: Array, norm: str) -> Array:
    changes = (adversarial - images).reshape(len(images), -1)
    lengths: Array = np.linalg.norm(changes, np.inf if norm == "linf" else 2, axis=1)
    return lengths


def stands(model: Any, images: Array, labels: Array, adversarial: Array, epsilon: float, norm: str) -> Array:
    """Tell for which images the model is right and no wrong answer within epsilon was found."""
    near = distances(images, adversarial, norm) <= epsilon + 1e-6
    fell = near & (answers(model, adversarial) != labels)
    still: Array = (answers(model, images) == labels) & ~fell
    return still


def nearest(model: Any, images: Array, labels: Array, adversarial: Array, norm: str) -> float | None:
    """Return the median distance of what fooled the model, of images that it got right; None where nothing did."""
    fell = (answers(model, images) == labels) & (answers(model, adversarial) != labels)
    return round(float(np.median(distances(images, adversarial, norm)[fell])), 4) if fell.any() else None


def compare(attack: str, model_name: str, count: int, settings: Sequence[str], repeats: int) -> list[Row]:
    """Measure one attack on one model, all settings and peers side by side."""
    case, model = CASES[attack], load(model_name)
    images, labels = first_images(count)
    peers = peers_of(case, model)
    builds: dict[str, Build] = {name: partial(ours, case, model, SETTINGS[name]) for name in settings} | peers
    if case.exact:
        builds["limit"] = partial(bare_gradients, model, case.steps)
    title = f"{attack} on {model_name}"
    sides = {name: warmed(build, images, labels) for name, build in tqdm(builds.items(), desc=f"{title}: warm-up")}
    measured = take_turns(sides, images, labels, repeats, title)
    speed = {name: count / one.seconds for name, one in measured.items()}
    judged = {
        name: float(stands(model, images, labels, measured[name].adversarial, case.epsilon, case.norm).mean())
        for name in (*settings, *peers)
    }
    rows = []
    for setting in settings:
        for peer in peers:
            row = {
                "attack": attack,
                "model": model_name,
                "peer": peer,
                "setting": setting,
                "images": count,
                "epsilon": case.epsilon,
                "steps": case.steps,
                "ours_images_per_s": round(speed[setting], 3),
                "peer_images_per_s": round(speed[peer], 3),
                "ratio": round(speed[setting] / speed[peer], 2),
                "ours_robust_accuracy": judged[setting],
                "peer_robust_accuracy": judged[peer],
                "limit_share": round(speed[setting] / speed["limit"], 3) if case.exact else None,
            }
            if case.norm == "l2":
                for side, name in (("ours", setting), ("peer", peer)):
                    row[f"{side}_median_distance"] = nearest(
                        model, images, labels, measured[name].adversarial, case.norm
                    )
            rows.append(row)
    return rows


def scale(model_name: str, count: int) -> Row:
    """Attack once in this process; return the time, and the peak memory before and after."""
    case = CASES["pgd"]
    images, labels = first_images(count)
    run = ours(case, load(model_name), SETTINGS["float32"], 250)
    run(images[:250], labels[:250])
    before = peak_mib()
    seconds = seconds_of(run, images, labels)
    return {
        "attack": "pgd_scaling",
        "model": model_name,
        "images": count,
        "epsilon": case.epsilon,
        "steps": case.steps,
        "seconds": round(seconds, 2),
        "images_per_s": round(count / seconds, 2),
        "images_mib": round(images.nbytes / 2**20, 1),
        "peak_mib_before": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
