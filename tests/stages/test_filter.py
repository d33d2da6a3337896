import numpy as np
import pytest

from robust_distillation.errors import InputError
from robust_distillation.files import write_json
from robust_distillation.paths import CLASSES
from robust_distillation.stages.filter import check_classes


def test_a_threshold_that_discards_a_whole_class_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(CLASSES, {"ids": [1, 14], "names": ["Speed limit (30km/h)", "Stop"]})
    labels = np.array([0, 0, 1, 1])
    check_classes(labels, np.array([True, False, False, True]), 0.01)
    with pytest.raises(InputError, match=r"discards every image of class 14 \(Stop\); raise filter.keep_clean"):
        check_classes(labels, np.array([True, True, False, False]), 0.01)
