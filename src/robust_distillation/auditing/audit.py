"""The audit: an ensemble of attacks against a model or a whole defence, what it left, and whether to believe it."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, get_args

from robust_distillation.arrays import Array
from robust_distillation.auditing.distances import nearest_distances
from robust_distillation.auditing.outcome import outcome
from robust_distillation.auditing.refusal import trade_off
from robust_distillation.auditing.reliability import Known, reliability_flags
from robust_distillation.auditing.report import (
    Attacked,
    DefenceAttacked,
    DefenceAudit,
    Flagged,
    Nearest,
    Refusing,
    Report,
    Share,
    VictimAudit,
)
from robust_distillation.auditing.robustness import accuracy_after, attack_in_shards
from robust_distillation.auditing.settings import NearestSearch, Reliability
from robust_distillation.defences.defence import Answers, Defence
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import Ensemble, Verdicts, build, rand, standard
from robust_distillation.threats.evasion.norms import Norm, length
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.victim import Goal, Model, Victim, as_victim

DENIED, DECEIVED, KNOWN = "denied", "deceived", "as_student"
ADAPTIVE: dict[str, Goal] = {DENIED: "deny", DECEIVED: "deceive"}
ROUNDING = 1e-5  # of pixels, and relative to a radius

Attacks = Ensemble | Sequence[str] | Literal["standard", "rand"]
Transferred = dict[float, dict[str, Array]]  # by epsilon and source


def audit(
    target: Defence | Victim | Model,
    images: Array,
    labels: Array,
    *,
    epsilons: Sequence[float],
    attacks: Attacks = "standard",
    budget: Budget | None = None,
    beside: Mapping[str, Defence | Victim | Model] | None = None,
    sources: Mapping[str, Victim | Model] | None = None,
    transfer_steps: int = 20,
    nearest: NearestSearch | None = None,
    reliability: Reliability | None = None,
    done: MutableMapping[str, Verdicts] | None = None,
) -> Report:
    """Attack a model, or a defence through everything that it is made of, and say what stands.

    A defence is attacked three times: its student behind the reform, by someone who knows of no refusal; all of it, by
    someone who wants no useful answer (`denied`), and by someone who wants a harmful one (`deceived`). Both of these
    first try what fooled the student, and so are never the weaker ones.

    Args:
        target: maps float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably; or a `Victim`; or a
            `Defence`.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,), the true classes.
        epsilons: radii of the balls in [0, 1] units.
        attacks: `standard` or `rand`, AutoAttack's ensembles with their published budgets; or names of attacks, each
            with `budget`; or an ensemble.
        budget: of attacks by name, of the reliability flags and the transfers, whose norm it gives too.
        beside: other models and defences by name, attacked and reported in the same way, without flags.
        sources: other models by name, on which images are made that are tried last.
        transfer_steps: gradients of each image that is made on another model; those of the budget if that is more.
        nearest: whether, and how, to search for the nearest adversarial images.
        reliability: how the reliability flags are computed; None for the defaults.
        done: verdicts of an audit that was interrupted, by key, which go on where they were; new ones are put there.

    Returns:
        What stands under each attack and all of them, with the flags that say whether to believe it.

    Raises:
        InputError: something given is of a wrong type, shape or range, or an attack left its ball.

    Example:
        >>> attacks, budget = ["fgsm", "pgd"], rd.Budget(steps=20, queries=1000)
        >>> report = rd.audit(model, images, labels, epsilons=[0.1], attacks=attacks, budget=budget)
        >>> report.main.clean, report.main.attacked[0].worst_case.value
        (1.0, 0.8)
        >>> report.raised
        []
    """
    if not len(images) or not len(epsilons):
        raise InputError(f"an audit needs an image and an epsilon. Received: {len(images)} and {len(epsilons)}")
    budget = budget or Budget()
    ensemble = _ensemble(attacks, budget)
    case = _Case(images, labels, sorted(epsilons), ensemble, _norm(ensemble), budget, {} if done is None else done)
    main, alone, adaptive = _victims(target)
    if taken := {main, *adaptive, "defence"} & set(beside or {}):
        raise InputError(f"beside: {min(taken)} is what the audit calls its target; choose another name")
    others = {name: one for name, one in (beside or {}).items() if isinstance(one, Defence)}
    victims = {name: as_victim(one) for name, one in (beside or {}).items() if not isinstance(one, Defence)}
    victims[main] = alone
    transferred = case.transfer(sources or {}, max(budget.steps, transfer_steps))
    tried = (*ensemble.attacks, *(f"transfer_{source}" for source in sources or {}))

    models = {name: case.attack(name, victim, tried, transferred) for name, victim in victims.items()}
    attackers = case.adapt("", adaptive, tried, transferred, models[main])
    compared = {}
    for name, other in others.items():
        _, alone_too, adaptive_too = _victims(other)
        student = case.attack(f"{name} student", alone_too, tried, transferred)
        adapted = case.adapt(f"{name} ", adaptive_too, tried, transferred, student)
        compared[name] = _defence(other, case, student, adapted)

    settings = reliability or Reliability()
    flags = case.flags(alone, models[main], transferred, settings)
    if DECEIVED in adaptive:
        flags += case.flags(adaptive[DECEIVED], attackers[DECEIVED], transferred, settings, whole=True)

    report = Report(
        images=images,
        labels=labels,
        attacks=tried,
        models=tuple(models.values()),
        defence=_defence(target, case, models[main], attackers) if isinstance(target, Defence) else None,
        compared=compared,
        nearest=() if nearest is None else case.nearest(victims, nearest),
        flags=tuple(flags),
        reformed=None,
    )
    if not isinstance(target, Defence) or target.autoencoder is None:
        return report
    return replace(report, reformed=target.reform(report.main.attacked[-1].verdicts.adversarial[report.shown]))


def _victims(target: Defence | Victim | Model) -> tuple[str, Victim, dict[str, Victim]]:
    """Return the name of the model on its own, that victim, and the defence around it as its attackers hold it."""
    if not isinstance(target, Defence):
        return "model", as_victim(target), {}
    student = Victim(target.classifier, temperature=target.temperature)
    return "student", student, {name: target.victim(goal) for name, goal in ADAPTIVE.items() if target.refuses}


def _ensemble(attacks: Attacks, budget: Budget) -> Ensemble:
    if isinstance(attacks, Ensemble):
        return attacks
    if isinstance(attacks, str):
        made = {"standard": standard, "rand": rand}.get(attacks)
        if made is None:
            raise InputError(f"attacks must be standard, rand, names in a list, or an Ensemble. Received: {attacks!r}")
        return made(norm=budget.norm, seed=budget.seed)
    return build(attacks, budget)


def _norm(ensemble: Ensemble) -> Norm:
    norms = {attack.norm for attack in ensemble.attacks.values()}
    if len(norms) != 1:
        raise InputError(f"attacks must share one norm, {' or '.join(get_args(Norm))}. Received: {sorted(norms)}")
    return norms.pop()


@dataclass(frozen=True)
class _Case:
    """What all victims are attacked with, on the same images (N, H, W, C) with labels (N,)."""

    images: Array
    labels: Array
    epsilons: Sequence[float]
    ensemble: Ensemble
    norm: Norm
    budget: Budget
    done: MutableMapping[str, Verdicts]

    def transfer(self, sources: Mapping[str, Model | Victim], steps: int) -> Transferred:
        """Return the images as attacked on each source, all the way, for all victims alike."""
        attack = PGD(norm=self.norm, steps=steps, seed=self.budget.seed)
        made: Transferred = {epsilon: {} for epsilon in self.epsilons}
        for epsilon, name in Bar(list(product(made, sources)), desc="attacking other models", unit="set"):
            made[epsilon][f"transfer_{name}"] = attack(sources[name], self.images, self.labels, epsilon=epsilon)
        return made

    def attack(
        self,
        name: str,
        victim: Victim,
        tried: tuple[str, ...],
        transferred: Transferred,
        known: VictimAudit | None = None,
    ) -> VictimAudit:
        """Attack a victim in every ball; what is known to fool another one is tried first."""
        attacked, names = [], (*((KNOWN,) if known else ()), *tried)
        for index, epsilon in enumerate(self.epsilons):
            verdicts = attack_in_shards(
                victim,
                self.images,
                self.labels,
                self.ensemble,
                epsilon=epsilon,
                name=f"{name} at {format_epsilon(epsilon)}",
                done=self.done,
                candidates={KNOWN: known.attacked[index].verdicts.adversarial} if known else None,
                transferred=transferred[epsilon],
            )
            self._check_ball(name, verdicts, epsilon)
            attacked.append(Attacked(epsilon=epsilon, verdicts=verdicts, after=accuracy_after(verdicts, names)))
        return VictimAudit(name=name, attacked=tuple(attacked))

    def adapt(
        self,
        prefix: str,
        adaptive: Mapping[str, Victim],
        tried: tuple[str, ...],
        transferred: Transferred,
        student: VictimAudit,
    ) -> dict[str, VictimAudit]:
        """Attack a defence as those hold it who know all of it, by what they want; what fooled its student is tried."""
        return {
            goal: replace(self.attack(f"{prefix}{goal}", victim, tried, transferred, student), name=goal)
            for goal, victim in adaptive.items()
        }

    def _check_ball(self, victim: str, verdicts: Verdicts, epsilon: float) -> None:
        adversarial = verdicts.adversarial
        far = length(adversarial - self.images, self.norm).numpy() > epsilon * (1 + ROUNDING) + ROUNDING
        outside = ((adversarial < 0) | (adversarial > 1)).any(axis=(1, 2, 3))
        for rows, where in ((far, f"the {self.norm} ball of {format_epsilon(epsilon)}"), (outside, "[0, 1]")):
            if rows.any():
                attack = verdicts.broken_by[rows][0]
                raise InputError(f"attack {attack} on {victim}: {rows.sum()} images left {where}; mend the attack")

    def flags(
        self,
        victim: Victim,
        found: VictimAudit,
        transferred: Transferred,
        settings: Reliability,
        whole: bool = False,
    ) -> list[Flagged]:
        """Check whether what was found about a victim can be believed."""
        few = slice(settings.images)
        known = Known(
            self.ensemble.attacks,
            {
                one.epsilon: Verdicts(one.verdicts.adversarial[few], one.verdicts.broken_by[few])
                for one in found.attacked
            },
            {epsilon: [made[few] for made in sets.values()] for epsilon, sets in transferred.items() if sets},
            candidates=(KNOWN,),
        )
        flags = reliability_flags(
            victim,
            self.images[few],
            self.labels[few],
            epsilons=self.epsilons,
            steps=self.budget.steps,
            queries=self.budget.queries,
            seed=self.budget.seed,
            norm=self.norm,
            known=known,
            tolerance=settings.tolerance,
            zero_share=settings.zero_gradients,
            large_epsilon=settings.large_epsilon,
        )
        return [Flagged(name=name, flag=flag, whole=whole) for name, flag in flags.items()]

    def nearest(self, victims: Mapping[str, Victim], search: NearestSearch) -> tuple[Nearest, ...]:
        """Search for the nearest adversarial images of each victim, in both norms."""
        few = slice(search.images)
        names = list(victims) if search.models is None else search.models
        if unknown := set(names) - set(victims):
            raise InputError(f"nearest.models must be among {', '.join(victims)}. Received: {min(unknown)}")
        steps = max(self.budget.steps, search.steps)
        found = []
        for name, norm in Bar(list(product(names, get_args(Norm))), desc="nearest adversarial images", unit="case"):
            distances = nearest_distances(
                victims[name], self.images[few], self.labels[few], norm=norm, steps=steps, seed=self.budget.seed
            )
            found.append(Nearest(name=name, norm=norm, distances=distances))
        return tuple(found)


def _defence(target: Defence, case: _Case, student: VictimAudit, adaptive: Mapping[str, VictimAudit]) -> DefenceAudit:
    clean = target.answer(case.images)
    answers = {
        victim.name: [target.answer(one.verdicts.adversarial) for one in victim.attacked]
        for victim in (student, *adaptive.values())
    }
    attacked = []
    for index, one in enumerate(student.attacked):
        left = outcome(case.labels, clean, *(by_epsilon[index] for by_epsilon in answers.values()))
        attacked.append(
            DefenceAttacked(
                epsilon=one.epsilon,
                as_student=float(left.as_student.mean()),
                adaptively=float(left.adaptively.mean()),
                worst_case=Share.of(left.stands),
                success=Share.of(left.harmed),
            )
        )
    wanting_harm = [victim for victim in (student, *adaptive.values()) if victim.name != DENIED]
    return DefenceAudit(
        clean=float(clean.useful(case.labels).mean()),
        attacked=tuple(attacked),
        adaptive=tuple(adaptive.values()),
        parts=tuple(clean.scores),
        refusing=tuple(
            refusing for victim in wanting_harm for refusing in _refusing(clean, victim, answers[victim.name])
        ),
    )


def _refusing(clean: Answers, victim: VictimAudit, answers: Sequence[Answers]) -> list[Refusing]:
    """Return how well each part tells what deceives from clean images."""
    return [
        Refusing(
            part=part,
            attacker=victim.name,
            epsilon=one.epsilon,
            trade_off=trade_off(clean.excess[part], answered.excess[part][one.fell]),
        )
        for part in clean.excess
        for one, answered in zip(victim.attacked, answers, strict=True)
        if one.fell.any()
    ]
