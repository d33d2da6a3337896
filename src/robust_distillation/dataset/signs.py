"""The 43 signs of GTSRB by class id, and how a part of them is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from robust_distillation.errors import InputError

SIGNS = (
    "Speed limit (20km/h)",
    "Speed limit (30km/h)",
    "Speed limit (50km/h)",
    "Speed limit (60km/h)",
    "Speed limit (70km/h)",
    "Speed limit (80km/h)",
    "End of speed limit (80km/h)",
    "Speed limit (100km/h)",
    "Speed limit (120km/h)",
    "No passing",
    "No passing for vehicles over 3.5 metric tons",
    "Right-of-way at the next intersection",
    "Priority road",
    "Yield",
    "Stop",
    "No vehicles",
    "Vehicles over 3.5 metric tons prohibited",
    "No entry",
    "General caution",
    "Dangerous curve to the left",
    "Dangerous curve to the right",
    "Double curve",
    "Bumpy road",
    "Slippery road",
    "Road narrows on the right",
    "Road work",
    "Traffic signals",
    "Pedestrians",
    "Children crossing",
    "Bicycles crossing",
    "Beware of ice/snow",
    "Wild animals crossing",
    "End of all speed and passing limits",
    "Turn right ahead",
    "Turn left ahead",
    "Ahead only",
    "Go straight or right",
    "Go straight or left",
    "Keep right",
    "Keep left",
    "Roundabout mandatory",
    "End of no passing",
    "End of no passing by vehicles over 3.5 metric tons",
)


def name_signs(_: Path) -> dict[int, str]:
    """Return the signs' English names by class id, whatever the folder."""
    return dict(enumerate(SIGNS))


def resolve_classes(asked: int | Sequence[int] | Literal["all"], available: Sequence[int]) -> list[int]:
    """Return the class ids, ascending, that are asked for.

    Args:
        asked: how many of the first, which ids, or all.
        available: the ids that there are, ascending.

    Raises:
        InputError: there are not as many, there is no such id, or an id is listed twice.
    """
    if asked == "all":
        return list(available)
    if isinstance(asked, int):
        if not 1 <= asked <= len(available):
            raise InputError(f"classes: asked for {asked}, the data hold 1 to {len(available)} classes")
        return list(available[:asked])
    classes = sorted(set(asked))
    if not classes or len(classes) < len(asked):
        raise InputError(f"classes: must list each id once. Received: {list(asked)}")
    if missing := sorted(set(classes) - set(available)):
        raise InputError(f"classes: the data hold no class {missing[0]}; they hold {list(available)}")
    return classes
