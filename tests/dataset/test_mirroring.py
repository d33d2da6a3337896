from robust_distillation.dataset.generator import _mirror
from robust_distillation.dataset.synthetic.mirroring import mirrored_signs


def test_a_mirror_changes_no_meaning():
    """The signs that people know to be symmetric, and the pairs of which each is the other's mirror image."""
    alone = [11, 12, 13, 15, 17, 18, 22, 26, 30, 35]
    pairs = [(19, 20), (33, 34), (36, 37), (38, 39)]
    expected = {number: number for number in alone}
    expected |= {one: other for pair in pairs for one, other in (pair, pair[::-1])}
    assert mirrored_signs() == expected


def test_labels_follow_the_classes_in_use():
    assert _mirror([13, 33, 34, 14], mirrored_signs()) == [0, 2, 1, -1]
    assert _mirror([33, 14], mirrored_signs()) == [-1, -1], "without turn left, a mirror shows no class"
    assert _mirror([0, 1], {}) == [-1, -1]
