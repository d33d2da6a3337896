"""What a reliability flag is, and what each one means: read wherever figures are judged, and imports nothing heavy."""

from dataclasses import dataclass

MEANINGS = {
    "zero_gradients": "share of images whose gradient is zero in every pixel",
    "softmax_outputs": "largest output; these are probabilities",
    "random_forward": "largest difference of two passes over the same images",
    "survives_large_epsilon": "robust accuracy where every image can be made grey",
    "black_box_beats_white_box": "share of images that only Square fells, and no iterative attack",
    "more_steps_gain": "share of images that fall to twice the steps, and to no iterative attack before",
    "transfer_beats_white_box": "share of images that fall as made on other models, and to no iterative attack",
    "single_step_beats_iterative": "robust accuracy under the iterative attacks less that under FGSM",
}


@dataclass(frozen=True)
class Flag:
    """One check.

    Attributes:
        raised: whether the robust accuracy beside it cannot be trusted.
        value: what was measured; `MEANINGS` says what that is.
    """

    raised: bool
    value: float
