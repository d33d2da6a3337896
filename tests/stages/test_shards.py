import numpy as np
import pytest

from robust_distillation.stages.shards import Shards
from robust_distillation.threats.evasion.ensemble import Verdicts


def test_shards_outlive_the_process_and_go_when_all_is_done(tmp_path):
    folder = tmp_path / "shards"
    shards = Shards(folder, Verdicts)
    assert "student at 8/255 0" not in shards
    verdicts = Verdicts(np.full((2, 3, 3, 1), 0.5, np.float32), np.array(["", "pgd"]))
    shards["student at 8/255 0"] = verdicts
    again = Shards(folder, Verdicts)
    assert "student at 8/255 0" in again
    assert list(again) == ["student at 8/255 0"]
    with pytest.raises(KeyError, match="student at 8/255 100"):
        again["student at 8/255 100"]
    found = again["student at 8/255 0"]
    np.testing.assert_array_equal(found.adversarial, verdicts.adversarial)
    np.testing.assert_array_equal(found.broken_by, verdicts.broken_by)
    again.clear()
    assert not folder.exists()
