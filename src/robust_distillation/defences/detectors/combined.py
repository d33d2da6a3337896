"""Several detectors as one: the smallest p-value of theirs on trusted images, with Bonferroni's correction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.defences.detectors.detector import Detector, Fitted, Models, restore
from robust_distillation.defences.detectors.evidence import SMALLEST, clean_like, p_values, smallest
from robust_distillation.defences.settings import Filter
from robust_distillation.records import Detecting


@dataclass(frozen=True)
class Combined:
    """Scores images by -log of the smallest p-value of several detectors, times how many they are.

    A p-value is the share of trusted images that score as high, see `p_values`. An image is suspicious where the
    smallest, times the number of detectors, is below `1 - keep_clean`, so that no more clean images are lost than that.

    Attributes:
        members: detectors by name.
        references: by name, ascending scores of trusted images (M,).
        threshold: scores above it are suspicious.
    """

    members: Mapping[str, Detector]
    references: Mapping[str, Array]
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """Those of all members, theirs alone by `MEMBER_NAME`."""
        return {
            name if name == "autoencoder" else f"{member}_{name}": network
            for member, detector in self.members.items()
            for name, network in detector.networks.items()
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What is stored of each member, and its references."""
        return {
            name: {
                "threshold": detector.threshold,
                "settings": detector.settings,
                "reference": self.references[name].tolist(),
            }
            for name, detector in self.members.items()
        }

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Fit all members on the same; see `Detector`."""
        fitted = {name: DETECTORS[name].fit(train, trusted, models, settings) for name in settings.combined}
        references = {name: np.sort(one.reference) for name, one in fitted.items()}
        threshold = threshold_of(settings.keep_clean)
        detector = cls({name: one.detector for name, one in fitted.items()}, references, threshold)
        parts = {name: p_values(one.scores, references[name]) for name, one in fitted.items()}
        scores = smallest(parts)
        return Fitted(detector, scores, clean_like(detector.score(trusted.images, trusted.labels), scores), parts)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        members, references = {}, {}
        for name, stored in settings.items():
            own = {key.removeprefix(f"{name}_"): network for key, network in networks.items()}
            record = Detecting(name=name, threshold=stored["threshold"], settings=stored["settings"])
            members[name] = restore(record, own)
            references[name] = np.array(stored["reference"])
        return cls(members, references, threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return -log of the corrected p-value (N,), at least 0, of float32 images (N, H, W, C) in [0, 1]."""
        return smallest(
            {
                name: p_values(detector.score(images, labels), self.references[name])
                for name, detector in self.members.items()
            }
        )


def threshold_of(keep_clean: float) -> float:
    """Return -log of the largest corrected p-value that is suspicious; all are kept at 1."""
    return float(-np.log(max(1 - keep_clean, SMALLEST)))
