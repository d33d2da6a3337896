"""validate: nothing is trained on data that break their bounds."""

from dataclasses import asdict

from robust_distillation.dataset.checks import validate_sets
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.errors import InputError
from robust_distillation.files import read_record, write_json
from robust_distillation.params import Params
from robust_distillation.paths import CLASSES, DATA_DOCS, TEST, TRAIN, TRUSTED, VALIDATE, VERDICT
from robust_distillation.records import Classes


def main(params: Params) -> None:
    """Judge the four sets; write the verdict and Data Docs whatever it is.

    Raises:
        InputError: an expectation fails; the message names it and the images.
    """
    import mlflow

    sets = {path.stem: ImageSet.load(path) for path in (TRAIN, VALIDATE, TEST, TRUSTED)}
    verdict = validate_sets(sets, params.validate, len(read_record(CLASSES, Classes).ids), DATA_DOCS)
    write_json(VERDICT, asdict(verdict))
    failures = [check for check in verdict.checks if not check.success]
    mlflow.log_metrics({f"images.{split}": count for split, count in verdict.images.items()})
    mlflow.log_metric("failed_expectations", len(failures))
    mlflow.log_artifact(str(VERDICT))
    if failures:
        raise InputError(
            f"data break their bounds: {'; '.join(map(str, failures))}. Mend the data, or the bounds in params.yaml "
            f"under validate (all checks: {VERDICT}, {DATA_DOCS / 'index.html'})"
        )
