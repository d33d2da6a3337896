"""Further synthetic signs as an image set, to train on beside a training set."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.pixels import Colour, as_features
from robust_distillation.dataset.synthetic.archives import FURTHER, photograph_in_parallel


def draw_further(
    classes: Sequence[int],
    *,
    tracks_per_class: int,
    frames_per_track: int,
    image_size: int,
    colour: Colour,
    crop_to_roi: bool,
    seed: int,
    jobs: int = -1,
) -> ImageSet:
    """Draw signs of some classes that are in no archive of the same seed.

    Args:
        classes: ids of the signs, ascending; a label is a place in this list.
        tracks_per_class: signs of each class; none gives an empty set.
        frames_per_track: images of each sign, at least 1.
        image_size: side of the square images in pixels.
        colour: "rgb" or "grey".
        crop_to_roi: whether to cut the sign's box out first.
        seed: not negative.
        jobs: worker processes; -1 is one for each core.

    Example:
        >>> size = {"image_size": 32, "colour": "rgb", "crop_to_roi": True}
        >>> signs = rd.draw_further([13, 14], tracks_per_class=1, frames_per_track=2, **size, seed=0, jobs=1)
        >>> signs.features.shape, signs.labels.tolist()
        ((4, 32, 32, 3), [0, 0, 1, 1])
    """
    tracks = [(seed, FURTHER, class_id, track) for class_id in classes for track in range(tracks_per_class)]
    approaches = np.linspace(0, 1, frames_per_track).tolist()
    channels = 1 if colour == "grey" else 3
    count = len(tracks) * frames_per_track
    features = np.empty((count, image_size, image_size, channels), np.uint8)
    sizes, coords, ids = np.empty((count, 2), np.int64), np.empty((count, 4), np.int64), []
    row = 0
    for track, photographs in zip(
        tracks, photograph_in_parallel(tracks, approaches, jobs, "drawing further signs"), strict=True
    ):
        for frame, (pixels, box) in enumerate(photographs):
            image = Image.fromarray(pixels)
            features[row] = as_features(image.crop(box) if crop_to_roi else image, image_size, colour)
            sizes[row], coords[row] = image.size, box
            ids.append(f"further/{track[2]:05d}/{track[3]:05d}_{frame:05d}")
            row += 1
    return ImageSet(
        features=features,
        labels=np.repeat(np.arange(len(classes)), tracks_per_class * frames_per_track),
        ids=np.array(ids, np.str_),
        tracks=np.repeat(np.arange(len(tracks)), frames_per_track),
        sizes=sizes,
        coords=coords,
    )
