"""Make the train, validate, test and trusted sets from the raw files."""

import mlflow

from robust_distillation.dataset.generator import SETS, DatasetGenerator
from robust_distillation.params import Params
from robust_distillation.paths import DATASET, INFO, RAW


def main(params: Params) -> None:
    """Generate the sets as params.dataset asks and write them.

    Raises:
        InputError: the raw files do not give what is asked.
    """
    asked = params.dataset
    splits = DatasetGenerator(
        n_classes=asked.classes,
        n_train_samples=asked.train_samples,
        n_validate_samples=asked.validate_samples,
        n_test_samples=asked.test_samples,
        n_trusted_samples=asked.trusted_samples,
        image_size=asked.image_size,
        colour=asked.colour,
        crop_to_roi=asked.crop_to_roi,
        seed=asked.seed,
    ).generate(RAW, source=params.data.source)
    splits.save(DATASET)
    mlflow.log_metrics({f"{name}_images": len(getattr(splits, name)) for name in SETS})
    mlflow.log_artifact(str(INFO))
