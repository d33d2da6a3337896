"""Which sign a sign becomes in a mirror, found by mirroring the drawings."""

from functools import cache

import numpy as np

from robust_distillation.dataset.synthetic.faces import FACES, Style, draw_face

SIDE = 257  # pixels; odd, so that the middle is a pixel
TOLERANCE = 0.01  # of the pixels; the next pair differs in 0.015


@cache
def mirrored_signs() -> dict[int, int]:
    """Return the class of each sign in a mirror, by class; a sign that becomes none that there is, is left out."""
    faces = np.stack([draw_face(number, Style(), size=SIDE) for number in range(len(FACES))])
    differing = np.array([(face[:, ::-1] != faces).mean(axis=(1, 2)) for face in faces])
    nearest = differing.argmin(axis=1)
    return {number: int(other) for number, other in enumerate(nearest) if differing[number, other] <= TOLERANCE}
