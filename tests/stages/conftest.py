import numpy as np
import pytest

from robust_distillation.dataset.pickles import ImageSet


@pytest.fixture
def problem_set(problem) -> ImageSet:
    """The images of the problem as a set."""
    count = len(problem.images)
    return ImageSet(
        features=np.rint(255 * problem.images).astype(np.uint8),
        labels=problem.labels,
        ids=np.array([str(number) for number in range(count)]),
        tracks=np.arange(count),
        sizes=np.full((count, 2), 12),
        coords=np.tile([0, 0, 12, 12], (count, 1)),
    )
