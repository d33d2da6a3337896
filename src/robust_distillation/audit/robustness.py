"""Robust accuracy: what is left of a model's answers under an ensemble of attacks."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from tqdm import tqdm

from robust_distillation.params import Robustness, format_epsilon
from robust_distillation.threats.evasion import craft, predict_labels

Passes = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Target:
    """A model under attack.

    Attributes:
        model: float32 images (N, H, W, C) in [0, 1] to logits, all that is deployed before them included.
        temperature: that the model was trained at; attacks divide the logits by it.
        passes: float32 images to booleans (N,), False where the defence abstains or flags; None if it never does.
    """

    model: keras.Model
    temperature: float = 1.0
    passes: Passes | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one image set under one attack.

    Attributes:
        correct: booleans (N,), the label is right.
        passed: booleans (N,), answered and unflagged.
    """

    correct: np.ndarray
    passed: np.ndarray


def judge(target: Target, images: np.ndarray, labels: np.ndarray) -> Outcome:
    """Answer images (N, H, W, C) and compare with labels (N,)."""
    passed = target.passes(images) if target.passes else np.ones(len(images), dtype=bool)
    return Outcome(predict_labels(target.model, images) == labels, passed)


def attack_target(
    target: Target, images: np.ndarray, labels: np.ndarray, settings: Robustness, name: str
) -> dict[str, dict[str, Outcome]]:
    """Attack all images with every attack at every epsilon.

    Args:
        target: the model under attack.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        settings: attacks, epsilons, iterations, restarts and seed. The step size is 2.5 epsilon / iterations
            (Madry et al. 2018).
        name: shown beside the progress bar.

    Returns:
        Outcomes by attack and epsilon.
    """
    cells = [(attack, epsilon) for attack in settings.attacks for epsilon in sorted(settings.epsilons)]
    outcomes: dict[str, dict[str, Outcome]] = {attack: {} for attack in settings.attacks}
    for attack, epsilon in tqdm(cells, desc=f"attacking {name}", unit="attack"):
        adversarial = craft(
            attack,
            target.model,
            images,
            labels,
            epsilon=epsilon,
            alpha=2.5 * epsilon / settings.iterations,
            iterations=settings.iterations,
            restarts=settings.restarts,
            seed=settings.seed,
            temperature=target.temperature,
        )
        outcomes[attack][format_epsilon(epsilon)] = judge(target, adversarial, labels)
    return outcomes


def robust_accuracy(
    clean: Outcome, outcomes: dict[str, dict[str, Outcome]], *, defended: bool
) -> dict[str, float | dict[str, float]]:
    """Summarise outcomes as accuracies: `clean`, by attack and epsilon, and `worst_case` by epsilon.

    An image counts for an attack if it is right both before and after it, and in the worst case if it is right
    whatever the attack.

    Args:
        clean: of the images unchanged.
        outcomes: from `attack_target`.
        defended: count only images that are also answered and unflagged.
    """

    def stands(outcome: Outcome) -> np.ndarray:
        return outcome.correct & outcome.passed if defended else outcome.correct

    rows: dict[str, dict[str, np.ndarray]] = {
        attack: {epsilon: stands(outcome) & stands(clean) for epsilon, outcome in by_epsilon.items()}
        for attack, by_epsilon in outcomes.items()
    }
    epsilons = list(next(iter(rows.values())))
    rows["worst_case"] = {
        epsilon: np.logical_and.reduce([rows[attack][epsilon] for attack in outcomes]) for epsilon in epsilons
    }
    shares = {attack: {epsilon: float(row.mean()) for epsilon, row in cells.items()} for attack, cells in rows.items()}
    return {"clean": float(stands(clean).mean()), **shares}


def attack_success(outcomes: dict[str, dict[str, Outcome]]) -> dict[str, dict[str, float]]:
    """Return the share of images answered, wrong and unflagged: by attack, and for any attack, by epsilon."""
    rows = {
        attack: {epsilon: outcome.passed & ~outcome.correct for epsilon, outcome in by_epsilon.items()}
        for attack, by_epsilon in outcomes.items()
    }
    epsilons = list(next(iter(rows.values())))
    rows["any_attack"] = {
        epsilon: np.logical_or.reduce([rows[attack][epsilon] for attack in outcomes]) for epsilon in epsilons
    }
    return {attack: {epsilon: float(row.mean()) for epsilon, row in cells.items()} for attack, cells in rows.items()}
