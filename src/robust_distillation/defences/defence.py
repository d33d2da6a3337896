"""The whole defence behind one answer: what is saved, attacked and served is this."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.classifiers.storage import load_autoencoder, load_model, save_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.abstention import ASKED, Abstention
from robust_distillation.defences.autoencoder import reconstruct, reconstruction
from robust_distillation.defences.detectors.detector import Detector, margin, record_of, restore
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.reform import reformed_classifier
from robust_distillation.errors import InputError
from robust_distillation.files import AGAIN, read_record, replacing, write_json
from robust_distillation.records import Abstaining, Classes, Composition
from robust_distillation.threats.evasion.victim import Goal, Victim

COMPOSITION = "defence.json"


@dataclass(frozen=True)
class Answers:
    """What a defence says about images.

    Attributes:
        logits: float32 (N, K), of the student.
        scores: by part that may refuse an image, `detector` or `abstention`, what it gives each image (N,).
        thresholds: by part; an image with a score above it is refused.
    """

    logits: Array
    scores: Mapping[str, Array] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def probabilities(self) -> Array:
        """Of each class, float32 (N, K), at temperature 1."""
        return soften(self.logits, 1.0)

    @cached_property
    def best(self) -> Array:
        """The most probable class (N,), an index into the defence's classes."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def excess(self) -> dict[str, Array]:
        """By part, its score less its threshold (N,): above 0 it refuses."""
        return {part: scores - self.thresholds[part] for part, scores in self.scores.items()}

    def refused_by(self, part: str) -> Array:
        """Return booleans (N,): which images a part refuses; none where the defence lacks it."""
        if part not in self.scores:
            return np.zeros(len(self.logits), bool)
        return np.greater(self.scores[part], self.thresholds[part])

    @property
    def passed(self) -> Array:
        """Booleans (N,): answered and unflagged."""
        return ~np.logical_or(self.refused_by("detector"), self.refused_by("abstention"))

    def useful(self, labels: Array) -> Array:
        """Return booleans (N,): answered, unflagged, and as the labels (N,) have it."""
        return np.logical_and(self.passed, self.best == labels)

    def harmful(self, labels: Array) -> Array:
        """Return booleans (N,): answered, unflagged, and not as the labels (N,) have it."""
        return np.logical_and(self.passed, self.best != labels)


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A student and what stands around it; every part but the student may be missing.

    Attributes:
        student: float32 images (N, H, W, C) in [0, 1] to logits (N, K).
        classes: of the labels, in the order of the logits.
        temperature: of the student's distillation, by which attackers divide its logits; answers are at 1.
        autoencoder: reforms images before the student sees them; None leaves them as they are.
        detector: flags images as they come; None flags none.
        abstention: of this student, or of the network with an outlier class that it is a part of, on what it sees; None
            answers every image.

    Example:
        >>> classes = rd.Classes(ids=[0, 1], names=["dark", "bright"])
        >>> defence = rd.Defence(student=model, classes=classes)
        >>> [classes.names[label] for label in defence.answer(images).best[4:6]]
        ['dark', 'bright']
    """

    student: keras.Model
    classes: Classes
    temperature: float = 1.0
    autoencoder: keras.Model | None = None
    detector: Detector | None = None
    abstention: Abstention | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        networks = self._networks
        for part in self._parts:
            for name, network in part.networks.items():
                if networks[name] is not network:
                    raise InputError(f"{type(part).__name__}: its {name} is another network than the defence's")
        known, n_classes = self.student.output_shape[-1], len(self.classes.ids)
        if known != n_classes:
            raise InputError(f"classes must be those of the student, {known}. Received: {n_classes}")
        if self.abstention is not None and self.abstention.measure == "outlier":
            told = self.abstention.student.output_shape[-1]
            if told != n_classes + 1:
                raise InputError(f"Abstention: outlier needs {n_classes} logits and one more. Received: {told}")

    @property
    def _parts(self) -> list[Detector | Abstention]:
        """What may refuse an image, where it is there."""
        return [part for part in (self.detector, self.abstention) if part is not None]

    @property
    def _networks(self) -> dict[str, keras.Model]:
        """All networks by name, those of the defence itself before those of its parts."""
        found: dict[str, keras.Model] = {}
        for part in self._parts:
            found |= part.networks
        if self.autoencoder is not None:
            found["autoencoder"] = self.autoencoder
        return found | {"student": self.student}

    @cached_property
    def classifier(self) -> keras.Model:
        """The student behind the reform, images to logits."""
        return reformed_classifier(self.autoencoder, self.student)

    @property
    def refuses(self) -> bool:
        """Whether there is a part that may refuse an image."""
        return bool(self._parts)

    def reform(self, images: Array) -> Array:
        """Return what the student sees of float32 images (N, H, W, C) in [0, 1], of the same shape and range."""
        return images if self.autoencoder is None else reconstruct(self.autoencoder, images)

    def answer(self, images: Array) -> Answers:
        """Answer float32 images (N, H, W, C) in [0, 1]."""
        seen = self.reform(images)
        scores, thresholds = {}, {}
        if self.detector is not None:
            scores["detector"], thresholds["detector"] = self.detector.score(images), self.detector.threshold
        if self.abstention is None:
            return Answers(predict_logits(self.student, seen), scores, thresholds)
        logits, scores["abstention"] = self.abstention.answer(seen)
        thresholds["abstention"] = self.abstention.threshold
        return Answers(logits, scores, thresholds)

    def judge(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the student's logits (N, K), and margins (N,) above 0 where a part refuses; None without such a part.

        Both are differentiable by the images (N, H, W, C), and have in common what they can.
        """
        seen = images if self.autoencoder is None else reconstruction(self.autoencoder, images)
        margins = [] if self.detector is None else [margin(self.detector, images)]
        if self.abstention is None:
            logits = self.student(seen)
        else:
            logits, unsure = self.abstention.judge(seen, self.temperature)
            margins.append(unsure)
        return logits, reduce(tf.maximum, margins) if margins else None

    def victim(self, goal: Goal | None = None) -> Victim:
        """Return all of it as an attacker holds it who knows everything, the dropout masks that are deployed included.

        Args:
            goal: `deny` any useful answer, or `deceive` by a harmful one; None for `deceive`.

        Raises:
            InputError: a goal for a defence without detector and abstention, which refuses nothing.
        """
        return _Deployed(self, goal)

    def save(self, folder: str | Path) -> None:
        """Write the networks as Keras files, and defence.json, into a folder, which is replaced as a whole."""
        networks = self._networks
        detector, abstention = self.detector, self.abstention
        composition = Composition(
            classes=self.classes,
            temperature=self.temperature,
            reform="none" if self.autoencoder is None else "reconstruct",
            detector=None if detector is None else record_of(detector),
            abstention=None if abstention is None else Abstaining(**abstention.settings),
            networks=list(networks),
        )
        with replacing(Path(folder)) as temporary:
            temporary.mkdir()
            for name, network in networks.items():
                save_model(network, temporary / f"{name}.keras")
            write_json(temporary / COMPOSITION, asdict(composition))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; Keras files in safe mode, which runs no code from them.

        Raises:
            InputError: a file is missing, damaged or of something else.
        """
        folder = Path(folder)
        path = folder / COMPOSITION
        stored = read_record(path, Composition)
        unsure = stored.abstention
        student = load_model(folder / "student.keras")
        networks = {"student": student}
        for name in set(stored.networks) - {"student"}:
            file = folder / f"{name}.keras"
            is_autoencoder = name == "autoencoder"
            networks[name] = load_autoencoder(file, student.input_shape[1:]) if is_autoencoder else load_model(file)
        try:
            return cls(
                student=student,
                classes=stored.classes,
                temperature=stored.temperature,
                autoencoder=networks["autoencoder"] if stored.reform == "reconstruct" else None,
                detector=None if stored.detector is None else restore(stored.detector, networks),
                abstention=None if unsure is None else Abstention(networks[ASKED[unsure.measure]], **vars(unsure)),
            )
        except KeyError as error:
            raise InputError(f"{path}: networks: lists no {error.args[0]}; {AGAIN} again") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


class _Deployed(Victim):
    """A defence under attack, which computes once what answers and refusals have in common."""

    def __init__(self, defence: Defence, goal: Goal | None) -> None:
        refusal = (lambda images: defence.judge(images)[1]) if defence.refuses else None
        super().__init__(defence.classifier, temperature=defence.temperature, refusal=refusal, goal=goal)
        self.defence = defence

    def outputs(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """See `Victim`."""
        return self.defence.judge(images)
