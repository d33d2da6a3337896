"""robustness: attack the undefended model, the teacher and the student, through everything that is deployed."""

from typing import Any

import numpy as np

from robust_distillation.audit.figures import image_rows, robustness_curves
from robust_distillation.audit.robustness import Target, attack_success, attack_target, judge, robust_accuracy
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.defences.reform import reform, reformed_classifier
from robust_distillation.files import read_json
from robust_distillation.params import Params, format_epsilon
from robust_distillation.paths import ABSTENTION, AUTOENCODER, DETECTOR, STUDENT, TEACHER, TEST, UNDEFENDED
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.threats.evasion import craft


def main(params: Params) -> None:
    """Report accuracies by model, attack and epsilon; `defence` counts only what is answered, right and unflagged."""
    seed_everything(params.robustness.seed)
    settings, temperature, how = params.robustness, params.teacher.temperature, params.filter.reform
    test = ImageSet.load(TEST)
    count = len(test) if settings.images == "all" else min(settings.images, len(test))
    images, labels = test.images[:count], test.labels[:count]
    autoencoder, student = load_model(AUTOENCODER), load_model(STUDENT)
    detector = Detector(autoencoder, read_json(DETECTOR)["threshold"])
    abstention = Abstention(student, **read_json(ABSTENTION))

    def passes(batch: np.ndarray) -> np.ndarray:
        answered = abstention.uncertainty(reform(autoencoder, batch, how)) <= abstention.threshold
        return answered & (detector.score(batch) <= detector.threshold)

    targets = {
        "undefended": Target(load_model(UNDEFENDED)),
        "teacher": Target(reformed_classifier(autoencoder, load_model(TEACHER), how), temperature),
        "student": Target(reformed_classifier(autoencoder, student, how), temperature, passes),
    }
    rows: dict[str, Any] = {}
    for name, target in targets.items():
        clean, outcomes = judge(target, images, labels), attack_target(target, images, labels, settings, name)
        rows[name] = robust_accuracy(clean, outcomes, defended=False)
        if target.passes:
            rows["defence"] = robust_accuracy(clean, outcomes, defended=True)
            rows["attack_success"] = attack_success(outcomes)
    report_metrics("robustness", rows | {"images": count})

    worst = {name: {"clean": rows[name]["clean"], **rows[name]["worst_case"]} for name in (*targets, "defence")}
    report_figure("robustness", robustness_curves(worst, sorted(settings.epsilons)))

    shown = np.unique(np.linspace(0, count - 1, 8).astype(int))
    strongest = max(settings.epsilons)
    adversarial = craft(
        settings.attacks[-1],
        targets["student"].model,
        images[shown],
        labels[shown],
        epsilon=strongest,
        alpha=2.5 * strongest / settings.iterations,
        iterations=settings.iterations,
        seed=settings.seed,
        temperature=temperature,
    )
    pictures = {
        "original": images[shown],
        "change x10": np.clip(0.5 + 10 * (adversarial - images[shown]), 0, 1),
        "attacked": adversarial,
        "reformed": reform(autoencoder, adversarial, how),
    }
    title = f"{settings.attacks[-1]} at {format_epsilon(strongest)} through the autoencoder and the student"
    report_figure("robustness_samples", image_rows(pictures, title))
