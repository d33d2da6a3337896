"""How the students of benchmarks/student.py are trained, and the candidates among which the recipe was chosen."""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from robust_distillation.classifiers.settings import Adversary, Augmentation, Training
from robust_distillation.defences.settings import Student

Settings = TypeVar("Settings", bound=Training)

BUDGET = 22_000  # steps: under two hours of two cores for the network `srn`
DEEP_BUDGET = 14_000  # likewise for `srn_deep` with self-distillation
TENTH = 2_100  # of `srn_small`: about a tenth of that time
BATCH = 128
FURTHER = {"tracks_per_class": 600, "frames_per_track": 8, "seed": 13}  # of synthetic signs
DRAWN = {"tracks_per_class": 2, "frames_per_track": 2, "seed": 99}  # signs by which what is shipped is checked

MILD = Augmentation(rotation=0.12, scale=0.09, shear=0.09, shift=1.8, brightness=0.15, contrast=0.4)
BASE = Training(
    method="n_fgsm",
    architecture="srn",
    epochs=1,  # counted in steps, see `for_steps`
    batch_size=BATCH,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="linear",
    weight_decay=5e-4,
    average=0.999,
    label_smoothing=0.05,
    augmentation=MILD,
    precision="bfloat16",
    seed=16,
)
MIXED = replace(BASE, further_share=0.5)
DECAYED = replace(MIXED, weight_decay=5e-3)
GUIDED = replace(DECAYED, method="fgsm_ep")
SOFT = replace(GUIDED, learning_rate=0.2, weight_decay=1e-2, average=0.9995, label_smoothing=0.3, self_distillation=0.8)
DEEP = replace(SOFT, architecture="srn_deep")
SMALL = replace(SOFT, architecture="srn_small")  # for what takes many trainings
CHOSEN = DEEP  # what it is made of, left out one by one on `srn_small`: results/gtsrb/choice.json
CANDIDATES: dict[str, Training] = {
    "srn": BASE,
    "srn_small": replace(BASE, architecture="srn_small"),
    "srn, noise 1": replace(BASE, adversary=Adversary(noise=1.0)),
    "srn, synthetic 0.5": MIXED,
    "srn, synthetic 0.7": replace(BASE, further_share=0.7),
    "srn, synthetic 0.5, weight decay 0.005": DECAYED,
    "srn, synthetic 0.5, weight decay 0.005, fgsm_ep": GUIDED,
    "srn, synthetic 0.5, weight decay 0.005, fgsm_ep, self-distillation 0.5": replace(GUIDED, self_distillation=0.5),
    "srn, synthetic 0.5, weight decay 0.005, fgsm_ep, weight perturbation": replace(GUIDED, weight_perturbation=0.005),
    "srn, soft": SOFT,
    "srn_deep, soft": DEEP,
    "small, former recipe": replace(GUIDED, architecture="srn_small"),
    "small": SMALL,
    "small, no synthetic signs": replace(SMALL, further_share=0.0),
    "small, no augmentation": replace(SMALL, augmentation=Augmentation()),
    "small, no self-distillation": replace(SMALL, self_distillation=0.0),
    "small, no averaging": replace(SMALL, average=0.0, self_distillation=0.0),
    "small, no label smoothing": replace(SMALL, label_smoothing=0.0),
    "small, no weight decay": replace(SMALL, weight_decay=0.0),
    "small, no perturbation kept": replace(SMALL, method="n_fgsm"),
    "small, no standardisation": replace(SMALL, architecture="variants:unstandardised"),
    "small, ReLU": replace(SMALL, architecture="variants:relu"),
}

PLAIN = replace(BASE, method="standard")  # what meets no attack
SOFTENED = replace(  # Adam, whose steps do not shrink with the gradients at a temperature
    PLAIN, optimizer="adam", learning_rate=0.002, schedule="cosine", weight_decay=0.0, label_smoothing=0.0
)


@dataclass(frozen=True)
class Row:
    """A student of the final table.

    Attributes:
        student: how it is trained, its steps aside.
        steps: of its training.
        teacher: how its teacher is trained; None where it learns the true classes.
        teacher_steps: of the teacher's training.
        temperature: of both.
        measure: by which it abstains.
    """

    student: Student
    steps: int
    teacher: Training | None = None
    teacher_steps: int = 0
    temperature: float = 1.0
    measure: Literal["passes", "margin", "outlier"] = "passes"

    def seeded(self, seed: int) -> "Row":
        """Return the row with another seed of both trainings."""
        teacher = None if self.teacher is None else replace(self.teacher, seed=seed + 1000)
        return replace(self, student=replace(self.student, seed=seed), teacher=teacher)


def for_steps(settings: Settings, steps: int, own: int) -> Settings:
    """Return settings with as many epochs as come nearest to a number of steps, on a training set of `own` images."""
    per_epoch = own / (1 - settings.further_share) / settings.batch_size
    return replace(settings, epochs=max(1, round(steps / per_epoch)))


def student(settings: Training, **changes: Any) -> Student:
    """Return the settings of a student out of those of any training."""
    return Student(**vars(settings) | changes)


ROWS: dict[str, Row] = {
    "undefended": Row(student(PLAIN), 6_000),
    "distilled": Row(student(SOFTENED), 6_000, SOFTENED, 6_000, temperature=20.0),
    "distilled, extended": Row(student(SOFTENED, labels="outlier"), 6_000, SOFTENED, 6_000, measure="outlier"),
    "adversarial training": Row(student(GUIDED), BUDGET),
    "ours": Row(student(CHOSEN), DEEP_BUDGET, measure="margin"),
}

SEEDS = (1, 2, 3)
ALONE = replace(SMALL, self_distillation=0.0)
TAUGHT = replace(ALONE, label_smoothing=0.0)  # soft labels are smooth already
RIVALS: dict[str, Row] = {  # all of the same time
    "adversarial training": Row(student(ALONE), TENTH),
    "distillation of an adversarially trained teacher": Row(student(TAUGHT), TENTH // 2, ALONE, TENTH // 2),
    "self-distillation": Row(student(SMALL), round(0.85 * TENTH)),
}
