"""The standard ensemble beside the original and ART's AutoAttack, shard by shard."""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from robust_distillation.arrays import Array
from robust_distillation.files import read_json, write_json

from .cases import EPSILON, SETTINGS
from .measuring import stands
from .models import FOLDER, first_images, load
from .results import Row, commit
from .sides import Run, art_classifier, compiled, original

SHARDS = FOLDER / "standard.json"
SHARD = 100  # images that a side of the standard ensemble meets at once


def standard_sides(model: Any, settings: Sequence[str]) -> dict[str, Callable[[], Run]]:
    """Return the sides by name: ours, ART as documented and with one start for each attack, and the original.

    The published budget, that of ours and of the original, is one start; ART takes five.
    """

    def own(setting: str) -> Run:
        from robust_distillation.threats.evasion.ensemble import standard

        victim = SETTINGS[setting].victim(model, batch_size=100)

        def run(images: Array, labels: Array) -> Array:
            return standard()(victim, images, labels, epsilon=EPSILON).adversarial

        run(*first_images(1))  # Traces the graphs; the other sides hold none but the model's, which is traced by now.
        return run

    def art_ensemble(starts: int) -> Run:
        from art.attacks.evasion import AutoAttack

        classifier = art_classifier(model, compiled(model))
        attack = AutoAttack(classifier, eps=EPSILON, eps_step=2 * EPSILON, batch_size=SHARD)
        for part in attack.attacks:
            settings = {"nb_random_init": starts, "nb_restarts": starts, "verbose": False}
            part.set_params(**{name: value for name, value in settings.items() if hasattr(part, name)})
        run: Run = attack.generate
        return run

    return {
        **{setting: partial(own, setting) for setting in settings},
        "autoattack": partial(original, model, SHARD),
        "art-compiled, one start": partial(art_ensemble, 1),
        "art-compiled": partial(art_ensemble, 5),
    }


def run_shards(sides: dict[str, Callable[[], Run]], model: Any, model_name: str, count: int) -> Row:
    """Run every side on all images, shard by shard in turn, skipping those that are done; return its sums by name."""
    images, labels = first_images(count)
    shards: Row = read_json(SHARDS) if SHARDS.exists() else {}
    digest = hashlib.sha256((FOLDER / f"{model_name}.keras").read_bytes()).hexdigest()[:12]
    key = f"{model_name} {digest} {{}} {{}}-{{}}".format
    plan = [(first, min(first + SHARD, count), name) for first in range(0, count, SHARD) for name in sides]
    missing = [(first, last, name) for first, last, name in plan if key(name, first, last) not in shards]
    ready: dict[str, Run] = {}
    bar = tqdm(missing, desc="standard", unit="shard")
    for first, last, name in bar:
        bar.set_postfix_str(f"{name} {first}-{last}")
        if name not in ready:
            ready[name] = sides[name]()
        rows = slice(first, last)
        start = time.perf_counter()
        adversarial = ready[name](images[rows], labels[rows])
        seconds = time.perf_counter() - start
        still = stands(model, images[rows], labels[rows], adversarial, EPSILON, "linf")
        shards[key(name, first, last)] = {"seconds": seconds, "stands": still.tolist(), "commit": commit()}
        write_json(SHARDS, shards)
    totals: Row = {name: {"seconds": 0.0, "standing": 0, "commit": ""} for name in sides}
    for first, last, name in plan:
        shard = shards[key(name, first, last)]
        totals[name]["seconds"] += shard["seconds"]
        totals[name]["standing"] += sum(shard["stands"])
        totals[name]["commit"] = shard["commit"]
    return totals


def forget(names: Sequence[str]) -> None:
    """Drop the finished shards of these sides, so that they run again."""
    if SHARDS.exists():
        shards = read_json(SHARDS)
        write_json(SHARDS, {key: shard for key, shard in shards.items() if not any(f" {one} " in key for one in names)})


def compare_ensembles(model_name: str, count: int, settings: Sequence[str]) -> list[Row]:
    """Measure the standard ensemble on one model, all settings and peers shard by shard in turn."""
    model = load(model_name)
    sides = standard_sides(model, settings)
    totals = run_shards(sides, model, model_name, count)
    return [
        {
            "attack": "standard",
            "model": model_name,
            "peer": peer,
            "setting": setting,
            "images": count,
            "epsilon": EPSILON,
            "steps": None,
            "ours_images_per_s": round(count / totals[setting]["seconds"], 4),
            "peer_images_per_s": round(count / totals[peer]["seconds"], 4),
            "ratio": round(totals[peer]["seconds"] / totals[setting]["seconds"], 2),
            "ours_robust_accuracy": totals[setting]["standing"] / count,
            "peer_robust_accuracy": totals[peer]["standing"] / count,
            "limit_share": None,
            "commit": totals[setting]["commit"],
        }
        for setting in settings
        for peer in sides
        if peer not in settings
    ]
