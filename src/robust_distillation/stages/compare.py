"""compare: defences of all kinds in one table and one picture."""

import mlflow
import numpy as np

from robust_distillation.auditing import contenders
from robust_distillation.auditing.comparison import Ball, Contender, Stood, compare
from robust_distillation.auditing.figures import comparison_figure
from robust_distillation.auditing.table import SMOOTHING
from robust_distillation.classifiers.storage import load_autoencoder, load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.input_filters import build_filter
from robust_distillation.defences.reform import reformed_classifier
from robust_distillation.files import write_json
from robust_distillation.params import Params
from robust_distillation.paths import (
    AUTOENCODER,
    BUILD,
    COSTS,
    DEFENCE,
    PUBLISHED,
    RIVALS,
    SMOOTHED,
    TEACHER,
    TEST,
    UNDEFENDED,
)
from robust_distillation.stages.checkpoints import training_minutes
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.stages.rivals import RUNTIME, members
from robust_distillation.stages.shards import Shards
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.tracking.runs import input_digest

Trainings = list[tuple[str, str]]  # by stage and name
PLAIN: Trainings = [("student", "undefended")]
AS_PUBLISHED: Trainings = [("published", "teacher"), ("published", "student")]
TAUGHT: Trainings = [("teacher", "teacher"), ("student", "student")]


def main(params: Params) -> None:
    """Attack all of them, report shares, and draw them; what answers and trainings cost lies apart."""
    asked = params.compare
    seed_everything(asked.seed)
    test = ImageSet.load(TEST)
    test = test.take(np.argsort(test.ids)[: len(test) if asked.images == "all" else asked.images])
    entrants = _entrants(params)
    shards = Shards(BUILD / "compare" / input_digest("compare", params), Stood)
    rows = compare(
        [one for one, _ in entrants],
        test.images,
        test.labels,
        balls=[Ball("linf", radius) for radius in asked.linf] + [Ball("l2", radius) for radius in asked.l2],
        attacks=asked.attacks,
        adaptive=asked.adaptive,
        budget=Budget(steps=asked.steps, queries=asked.queries, seed=asked.seed),
        standard_images=asked.standard_images,
        done=shards,
    )
    found = {row.name: row.to_dict(asked.attacks) for row in rows}
    report_metrics("compare", found)
    report_figure("comparison", comparison_figure(found))
    costs = {
        row.name: {"milliseconds": row.milliseconds, "train_minutes": training_minutes(trainings)}
        for row, (_, trainings) in zip(rows, entrants, strict=True)
    }
    write_json(COSTS, costs)
    mlflow.log_artifact(str(COSTS))
    shards.clear()


def _entrants(params: Params) -> list[tuple[Contender, Trainings]]:
    """Return each contender, and the trainings that it took."""
    published, ours, asked = Defence.load(PUBLISHED), Defence.load(DEFENCE), params.compare
    model, teacher, runtime, base = (
        load_model(path) for path in (UNDEFENDED, TEACHER, RIVALS / f"{RUNTIME}.keras", SMOOTHED)
    )
    autoencoder = load_autoencoder(AUTOENCODER, model.input_shape[1:])
    taught, names = reformed_classifier(ours.autoencoder, teacher), list(members(params))
    plain = contenders.classifier("undefended", model)
    sigma = params.smoothed.smoothing.sigma
    noisy = contenders.smoothed(SMOOTHING, base, sigma=sigma, votes=asked.votes, draws=asked.draws, seed=asked.seed)
    trained_at_runtime = contenders.classifier("runtime adversarial training", runtime)
    trained = contenders.classifier(
        f"adversarial training ({params.teacher.method})", taught, params.teacher.temperature
    )
    return [
        (plain, PLAIN),
        (contenders.classifier("distillation", published.student, published.temperature), AS_PUBLISHED),
        (contenders.defence("autoencoder and distillation", published), AS_PUBLISHED),
        (trained_at_runtime, [("rivals", RUNTIME)]),
        (trained, TAUGHT[:1]),
        (contenders.classifier("student", ours.classifier, ours.temperature), TAUGHT),
        (contenders.defence("student that abstains", ours), TAUGHT),
        *(
            (contenders.behind_filter(name, build_filter(name, asked.strengths, autoencoder), plain, model), PLAIN)
            for name in asked.filters
        ),
        (noisy, [("smoothed", "base")]),
        (
            contenders.ensemble([model, *(load_model(RIVALS / f"{name}.keras") for name in names)]),
            [*PLAIN, *(("rivals", name) for name in names)],
        ),
    ]
