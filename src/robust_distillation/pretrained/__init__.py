"""Trained defences that come with the package, a folder and a card each.

Usage:
    defence = rd.load_pretrained("gtsrb-student")
    defence.answer(images).best
"""

from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.errors import InputError

if TYPE_CHECKING:
    from robust_distillation.defences.defence import Defence

FOLDER = Path(__file__).parent
CARD = "card.md"


def pretrained_names() -> list[str]:
    """Return the names of all that `load_pretrained` takes."""
    return sorted(card.parent.name for card in FOLDER.glob(f"*/{CARD}"))


def pretrained_folder(name: str) -> Path:
    """Return where a pretrained defence lies, beside its card.

    Raises:
        InputError: there is none of that name.
    """
    if name not in pretrained_names():
        raise InputError(f"pretrained {name}: there is none; choose one of {', '.join(pretrained_names())}")
    return FOLDER / name


def load_pretrained(name: str) -> "Defence":
    """Load a defence that comes with the package: its networks are plain Keras, and `answer` is all of it.

    Args:
        name: one of `pretrained_names`; each has a card that says on what it was trained, by which command, and what it
            is worth.

    Raises:
        InputError: there is none of that name.

    Example:
        >>> defence = rd.load_pretrained("gtsrb-student")
        >>> defence.student.input_shape, len(defence.classes.names)
        ((None, 32, 32, 3), 43)
    """
    from robust_distillation.defences.defence import Defence

    return Defence.load(pretrained_folder(name))
