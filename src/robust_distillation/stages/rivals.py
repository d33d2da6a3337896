"""rivals: train the models that the comparison alone needs: runtime adversarial training, members of an ensemble."""

from dataclasses import replace

from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import evaluate
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.params import Params
from robust_distillation.paths import FILTERED, POISONED, RIVALS, TEST
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_metrics
from robust_distillation.stages.training import train_on_labels

RUNTIME = "runtime"


def members(params: Params) -> dict[str, Training]:
    """Return how each further member of the ensemble is trained, by name: as the undefended model is."""
    plain = replace(params.student, method="standard", further_share=0.0)
    return {
        f"member_{number}": replace(plain, seed=(plain.seed + number) % 2**32)
        for number in range(1, params.rivals.members)
    }


def main(params: Params) -> None:
    """Train the one on what the filter left, and the others, as nobody defends them, on the poisoned set as it came."""
    filtered, poisoned, test = (ImageSet.load(path) for path in (FILTERED, POISONED, TEST))
    asked = {RUNTIME: (filtered, params.rivals.runtime)}
    asked |= {name: (poisoned, settings) for name, settings in members(params).items()}
    found = {}
    for name, (train, settings) in asked.items():
        with checkpoint("rivals", name, params) as kept:
            model, _ = train_on_labels(train, settings, RIVALS / f"{name}.keras", kept)
        found[name] = evaluate(model, test.images, test.labels)
    report_metrics("rivals", found)
