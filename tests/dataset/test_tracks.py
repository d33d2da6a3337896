import numpy as np

from robust_distillation.dataset.tracks import split_by_track


def test_tracks_are_never_split():
    tracks = np.array([5, 5, 7, 7, 9, 9, -1, -1, -1, -1])
    first, second = split_by_track(tracks, 0.5, seed=0)
    assert sorted([*first, *second]) == list(range(10))
    assert len(first)
    assert len(second)
    assert not set(tracks[first][tracks[first] >= 0]) & set(tracks[second])


def test_rows_without_tracks_can_be_split():
    first, second = split_by_track(np.full(10, -1), 0.5, seed=0)
    assert len(first) == len(second) == 5
