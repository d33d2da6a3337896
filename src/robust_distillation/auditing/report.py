"""What an audit found, typed: figures with their intervals, the flags beside them, and their pictures and tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.distances import summary
from robust_distillation.auditing.figures import (
    distance_curves,
    group_bars,
    image_rows,
    robustness_curves,
    trade_off_curves,
    worst_case,
)
from robust_distillation.auditing.flags import Flag
from robust_distillation.auditing.refusal import TradeOff
from robust_distillation.auditing.robustness import contrast_groups, interval, per_group
from robust_distillation.auditing.table import accuracies
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, Verdicts
from robust_distillation.threats.evasion.norms import Norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


@dataclass(frozen=True)
class Share:
    """A share of images, and its 95 % Wilson interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rows: Array) -> Self:
        """Return the mean of booleans (N,)."""
        return cls(float(rows.mean()), **interval(rows))


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A victim under the whole ensemble in one ball.

    Attributes:
        epsilon: radius of the ball, in [0, 1] units.
        verdicts: on each image.
        after: accuracy after each attack, in the order in which they ran.
    """

    epsilon: float
    verdicts: Verdicts
    after: Mapping[str, float]

    @property
    def standing(self) -> Array:
        """Booleans (N,): right, and under every attack."""
        return np.equal(self.verdicts.broken_by, STANDS)

    @property
    def fell(self) -> Array:
        """Booleans (N,): right until attacked."""
        return ~np.isin(self.verdicts.broken_by, (STANDS, WRONG))

    @property
    def worst_case(self) -> Share:
        """Accuracy under the whole ensemble."""
        return Share.of(self.standing)


@dataclass(frozen=True, kw_only=True)
class VictimAudit:
    """One victim in every ball, from the smallest.

    Attributes:
        name: of the victim.
        attacked: by epsilon, ascending.
    """

    name: str
    attacked: tuple[Attacked, ...]

    @property
    def right(self) -> Array:
        """Booleans (N,): right without any attack."""
        return np.not_equal(self.attacked[0].verdicts.broken_by, WRONG)

    @property
    def clean(self) -> float:
        """Accuracy without any attack."""
        return float(self.right.mean())


@dataclass(frozen=True, kw_only=True)
class DefenceAttacked:
    """The whole defence in one ball.

    Attributes:
        epsilon: radius of the ball, in [0, 1] units.
        as_student: share of images answered rightly under the attack on the student, which knows of no refusal.
        adaptively: share of images answered rightly under the attacks on all of it.
        worst_case: share of images answered rightly under all these attacks.
        success: share of images that some attack makes it answer wrongly, unrefused.
    """

    epsilon: float
    as_student: float
    adaptively: float
    worst_case: Share
    success: Share


@dataclass(frozen=True, kw_only=True)
class Refusing:
    """How well a part of a defence tells what an attacker made from clean images, in one ball."""

    part: str
    attacker: str
    epsilon: float
    trade_off: TradeOff


@dataclass(frozen=True, kw_only=True)
class DefenceAudit:
    """What detector and abstention add to the student.

    Attributes:
        clean: share of clean images answered rightly.
        attacked: by epsilon, ascending.
        adaptive: the attackers who know of everything: `denied` for those who want no useful answer, `deceived` for
            those who want a harmful one.
        parts: names of those that may refuse an image.
        refusing: by part, attacker and epsilon, where anything was fooled; an attacker who wants to be refused is no
            case of it.
    """

    clean: float
    parts: tuple[str, ...]
    attacked: tuple[DefenceAttacked, ...]
    adaptive: tuple[VictimAudit, ...]
    refusing: tuple[Refusing, ...]


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Distances (N,) of the nearest adversarial images that were found for a victim; see `nearest_distances`."""

    name: str
    norm: Norm
    distances: Array


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """A reliability flag by name, about the figures of the model on its own or of the whole defence."""

    name: str
    flag: Flag
    whole: bool = False

    @property
    def key(self) -> str:
        """The flag's name, behind `defence.` where it is about a whole defence."""
        return f"defence.{self.name}" if self.whole else self.name


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that an audit found.

    Attributes:
        images: that were attacked, float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        attacks: names of all that the worst cases are over, in their order.
        models: each on its own; the last is the one that the audit is about.
        defence: None where nothing refuses an image.
        compared: other defences by name.
        nearest: distances without a radius chosen beforehand.
        flags: signs that a figure cannot be trusted.
        reformed: what the model sees of the images that fooled it in the largest ball; None where nothing reforms.

    Example:
        >>> weak = rd.Budget(steps=20, queries=1000)
        >>> report = rd.audit(model, images, labels, epsilons=[0.1, 0.2], attacks=["fgsm"], budget=weak)
        >>> report.to_dict()["model"]["worst_case"]
        {'0.1': 0.8, '51/255': 0.6}
    """

    images: Array
    labels: Array
    attacks: tuple[str, ...]
    models: tuple[VictimAudit, ...]
    defence: DefenceAudit | None
    compared: Mapping[str, DefenceAudit]
    nearest: tuple[Nearest, ...]
    flags: tuple[Flagged, ...]
    reformed: Array | None

    @property
    def main(self) -> VictimAudit:
        """The model that the audit is about, on its own."""
        return self.models[-1]

    @property
    def raised(self) -> list[str]:
        """Keys of the flags that are raised."""
        return [flagged.key for flagged in self.flags if flagged.flag.raised]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON takes them, epsilons written as `8/255`."""
        rows: dict[str, Any] = {"images": len(self.images), "attacks": ", ".join(self.attacks)}
        rows |= {model.name: self._model_rows(model) for model in self.models[:-1]}
        rows |= {name: _whole_rows(other) | _harm_rows(other) for name, other in self.compared.items()}
        rows |= {self.main.name: self._model_rows(self.main)}
        if self.defence is not None:
            rows |= self._defence_rows(self.defence)
        rows["nearest"] = {f"{one.name} {one.norm}": summary(one.distances) for one in self.nearest}
        rows["flags"] = {one.key: float(one.flag.raised) for one in self.flags}
        rows["flag_values"] = {one.key: one.flag.value for one in self.flags}
        return rows

    def _model_rows(self, model: VictimAudit) -> dict[str, Any]:
        by_epsilon = {format_epsilon(one.epsilon): one for one in model.attacked}
        return {attack: {key: one.after[attack] for key, one in by_epsilon.items()} for attack in self.attacks} | {
            "clean": model.clean,
            **_shares("worst_case", {key: one.worst_case for key, one in by_epsilon.items()}),
        }

    def _defence_rows(self, defence: DefenceAudit) -> dict[str, Any]:
        refusal: dict[str, dict[str, Any]] = {part: {} for part in defence.parts}
        for one in defence.refusing:
            refusal[one.part][f"{one.attacker} {format_epsilon(one.epsilon)}"] = {
                "auroc": one.trade_off.auroc,
                "clean_refused": one.trade_off.clean_refused,
                "attacked_refused": one.trade_off.attacked_refused,
            }
        return {"defence": _whole_rows(defence), **_harm_rows(defence), "refusal": refusal}

    def table(self) -> "Table":
        """Return what stands as a table for `rich.print`, with the flags that are raised."""
        return accuracies(self.to_dict())

    def verdicts(self) -> Iterator[tuple[str, float, Verdicts]]:
        """Yield the name of each victim, adaptive attackers included, an epsilon, and the verdicts there."""
        for victim in (*self.models, *(self.defence.adaptive if self.defence else ())):
            for one in victim.attacked:
                yield victim.name, one.epsilon, one.verdicts

    @property
    def shown(self) -> Array:
        """Rows of up to eight images that fooled the model in the largest ball, evenly drawn; of any if none did."""
        fell = np.flatnonzero(self.main.attacked[-1].fell)
        among = fell if len(fell) else np.arange(len(self.images))
        rows: Array = among[np.unique(np.linspace(0, len(among) - 1, 8).astype(int))]
        return rows

    def figures(self) -> "dict[str, Figure]":
        """Draw worst cases, accuracy by class and contrast, samples, and where measured distances and refusal.

        Returns:
            matplotlib figures by name.
        """
        rows = self.to_dict()
        names = [name for name, values in rows.items() if isinstance(values, dict) and "worst_case" in values]
        epsilons = [one.epsilon for one in self.main.attacked]
        drawn = {
            "robustness": robustness_curves({name: rows[name] for name in names}, epsilons, self.attacks, self.raised),
            "robustness_classes": self._group_figure("class", self.labels),
            "robustness_contrast": self._group_figure("contrast, in grey levels from", contrast_groups(self.images)),
            "robustness_samples": self._sample_figure(),
        }
        if self.nearest:
            found = {(one.name, one.norm): one.distances for one in self.nearest}
            drawn["robustness_distances"] = distance_curves(found)
        if self.defence and self.defence.parts:
            drawn["robustness_refusal"] = trade_off_curves(_curves(self.defence))
        return drawn

    def _group_figure(self, by: str, groups: Array) -> "Figure":
        smallest = self.main.attacked[0]
        shares = {
            "clean": per_group(self.main.right, groups),
            format_epsilon(smallest.epsilon): per_group(smallest.standing, groups),
        }
        return group_bars(shares, by, f"{self.main.name.capitalize()} by {by}\n{worst_case(self.attacks)}")

    def _sample_figure(self) -> "Figure":
        largest = self.main.attacked[-1]
        original, adversarial = self.images[self.shown], largest.verdicts.adversarial[self.shown]
        pictures = {
            "original": original,
            "change x10": np.clip(0.5 + 10 * (adversarial - original), 0, 1),
            "attacked": adversarial,
        }
        title = f"What fooled the {self.main.name} at {format_epsilon(largest.epsilon)}"
        if self.reformed is not None:
            pictures["reformed"], title = self.reformed, f"{title}, through the autoencoder"
        return image_rows(pictures, title)


def _whole_rows(defence: DefenceAudit) -> dict[str, Any]:
    by_epsilon = {format_epsilon(one.epsilon): one for one in defence.attacked}
    return {
        "clean": defence.clean,
        "attacked_as_student": {key: one.as_student for key, one in by_epsilon.items()},
        "attacked_adaptively": {key: one.adaptively for key, one in by_epsilon.items()},
        **_shares("worst_case", {key: one.worst_case for key, one in by_epsilon.items()}),
    }


def _harm_rows(defence: DefenceAudit) -> dict[str, Any]:
    return _shares("attack_success", {format_epsilon(one.epsilon): one.success for one in defence.attacked})


def _shares(name: str, by_epsilon: Mapping[str, Share]) -> dict[str, Any]:
    return {
        name: {key: share.value for key, share in by_epsilon.items()},
        f"{name}_interval": {key: {"low": share.low, "high": share.high} for key, share in by_epsilon.items()},
    }


def _curves(defence: DefenceAudit) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {part: {} for part in defence.parts}
    for one in defence.refusing:
        found = one.trade_off
        label = f"{one.attacker} {format_epsilon(one.epsilon)}: AUROC {found.auroc:.2f}"
        deployed = found.clean_refused, found.attacked_refused
        parts[one.part][label] = found.false_positive, found.true_positive, deployed
    return parts
