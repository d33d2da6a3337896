"""Moving versions of the registered model to staging and back, through a gate, with a trail of who did what.

The trail lies in MLflow itself, as runs of the experiment `<name>-promotions` and as tags of the versions, so it is the
same for everyone who uses one server. A move is first decided, as a run that is still RUNNING, then carried out, and
its run finished last. Whoever comes next finishes what was decided and then interrupted. A lock lets one process at a
time move or read; processes in other clones that share a server are not kept out.
"""

import getpass
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from robust_distillation.auditing.flags import MEANINGS
from robust_distillation.errors import InputError
from robust_distillation.params import Params
from robust_distillation.settings import format_epsilon
from robust_distillation.tracking import store
from robust_distillation.tracking.interruption import close_abandoned
from robust_distillation.tracking.runs import git
from robust_distillation.tracking.settings import Promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "staging"
FLAGS = "robustness.flags."  # on the student's own logits: raised, its robust accuracy cannot be trusted
GATE = "gate."  # before a metric's name: the least value that the gate let pass at that time
DECIDED = "decided"  # tag of a move's run that holds everything, so that the move can be carried out


@dataclass(frozen=True, kw_only=True)
class Move:
    """One entry of the trail.

    Attributes:
        when: UTC, ISO 8601.
        action: what was done.
        from_version: what was in staging before; empty if nothing.
        to_version: what is in staging since.
        who: git's user name, else the login name.
        commit: that made `to_version`; empty if unknown.
        forced: whether the gate had refused.
        reason: as given.
        metrics: of `to_version`, those that the gate looks at, the reliability flags among them.
        gate: the least value of each metric with which a version passed at that time.
    """

    when: str
    action: Literal["promote", "rollback"]
    from_version: str
    to_version: str
    who: str
    commit: str
    forced: bool
    reason: str
    metrics: dict[str, float]
    gate: dict[str, float]


NUMBERS = ("metrics", "gate")  # the fields of a move that are not tags of its run


def minima(promotion: Promotion) -> dict[str, float]:
    """Return the least value of each metric with which a version passes the gate, by the metric's name."""
    return {
        "student_accuracy": promotion.min_clean_accuracy,
        "coverage": promotion.min_coverage,
        f"robustness.defence.worst_case.{format_epsilon(promotion.robust_epsilon)}": promotion.min_robust_accuracy,
    }


def refusals(metrics: dict[str, float], promotion: Promotion) -> list[str]:
    """Return why the gate does not let a version of these metrics pass; nothing if it does."""
    found = [
        f"{name} is missing" if name not in metrics else f"{name} {metrics[name]:.4g} is below {least:g}"
        for name, least in minima(promotion).items()
        if name not in metrics or metrics[name] < least
    ]
    flags = {name.removeprefix(FLAGS): value for name, value in metrics.items() if name.startswith(FLAGS)}
    found += [
        f"{FLAGS}{name} is raised, so robust accuracy cannot be trusted ({meaning(name)})"
        for name, value in flags.items()
        if value
    ]
    if not flags:
        found.append(f"{FLAGS}* are missing")
    return found


def meaning(flag: str) -> str:
    """Return what a reliability flag looks at."""
    return MEANINGS.get(flag.removeprefix("defence."), "a check of other code")


def promote(params: Params, version: int | None = None, *, force: bool = False, reason: str = "") -> Move | None:
    """Move a version to staging: alias, version tag and stage.

    Args:
        params: all of params.yaml; `promotion` is the gate.
        version: which; the newest when None.
        force: move it although the gate refuses.
        reason: for the trail; a forced move needs one.

    Returns:
        The move, or None if the version is in staging already.

    Raises:
        InputError: the gate refuses, with the numbers; there is no such version; a forced move has no reason; a reason
            is given for a version that is in staging already; the MLflow server does not answer.
    """
    _check_reason(force, reason)
    with _settled(params) as client:
        chosen = _version(client, params.register.name, version)
        current = _current(client, params.register.name)
        if str(chosen.version) == current:
            if reason:
                raise InputError(
                    f"{chosen.name} version {current}: in staging already; nothing moves, so the trail would not keep "
                    "--reason; leave it out"
                )
            return None
        return _move(client, "promote", chosen, current, params.promotion, force=force, reason=reason)


def rollback(params: Params, *, force: bool = False, reason: str = "") -> Move:
    """Move the version that was in staging before the present one back there; promotions rolled back do not count.

    Args:
        params: all of params.yaml; `promotion` is the gate.
        force: move it although the gate, as it is today, refuses.
        reason: for the trail; a forced move needs one.

    Raises:
        InputError: there is nothing to roll back to, staging was changed without leaving a trail, the gate refuses, a
            forced move has no reason, or the MLflow server does not answer.
    """
    _check_reason(force, reason)
    name = params.register.name
    with _settled(params) as client:
        promoted = _still_promoted(_trail(client, name))
        current = _current(client, name) if promoted else ""
        if promoted and current != promoted[-1]:
            raise InputError(
                f"{name}: version {current or 'none'} is in staging, which the trail does not say; "
                "choose one with `robust-distillation promote --version N`"
            )
        former = next((version for version in reversed(promoted) if version != current), None)
        if former is None:
            raise InputError(f"{name}: nothing to roll back to; no other version was promoted before")
        chosen = _version(client, name, int(former))
        return _move(client, "rollback", chosen, current, params.promotion, force=force, reason=reason)


def history(params: Params) -> list[Move]:
    """Return the trail, oldest first.

    Raises:
        InputError: the MLflow server does not answer.
    """
    with _settled(params) as client:
        return _trail(client, params.register.name)


@contextmanager
def _settled(params: Params) -> Iterator["MlflowClient"]:
    """Yield a client while no other process moves versions, and after what a killed process left is settled."""
    name = params.register.name
    with store.connected() as client, store.lock("promotion"):
        close_abandoned(client, store.experiment(client, name))
        for run in _runs(client, name, "RUNNING"):
            _settle(client, name, run)
        yield client


def _settle(client: "MlflowClient", name: str, run: "Run") -> None:
    """Finish a move that was decided; drop one that was not, or whose version was deleted since."""
    from mlflow.exceptions import MlflowException

    try:
        if DECIDED in run.data.tags:
            _carry_out(client, name, run)
        else:
            client.set_terminated(run.info.run_id, "KILLED")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.set_terminated(run.info.run_id, "FAILED")


def _move(
    client: "MlflowClient",
    action: Literal["promote", "rollback"],
    chosen: "ModelVersion",
    current: str,
    promotion: Promotion,
    *,
    force: bool,
    reason: str,
) -> Move:
    from mlflow.entities import Metric, Param, RunTag

    metrics = _gate_metrics(client, chosen, promotion)
    reasons = refusals(metrics, promotion)
    if reasons and not force:
        raise InputError(
            f"{chosen.name} version {chosen.version}: refused: {', '.join(reasons)} (promotion in params.yaml); "
            f"{'train' if action == 'promote' else 'promote'} a better one, or override with --force --reason TEXT"
        )
    tags = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "action": action,
        "from_version": current,
        "to_version": str(chosen.version),
        "who": _who(),
        "commit": client.get_run(chosen.run_id).data.tags.get("git_commit", "") if chosen.run_id else "",
        "forced": str(bool(reasons)),
        "reason": reason,
    }
    experiment = store.experiment(client, _experiment(chosen.name))
    run_id = client.create_run(experiment, run_name=f"{action} {chosen.version}", tags=tags).info.run_id
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
        params=[Param(f"{GATE}{key}", f"{least:g}") for key, least in minima(promotion).items()],
        tags=[RunTag(DECIDED, "True")],
    )
    return _carry_out(client, chosen.name, client.get_run(run_id))


def _carry_out(client: "MlflowClient", name: str, run: "Run") -> Move:
    """Do what a decided move says; what is done already is done once more, to the same effect."""
    move = _read(run)
    for key, value in vars(move).items():
        if key not in NUMBERS:
            client.set_model_version_tag(name, move.to_version, f"staging.{key}", str(value))
    client.set_registered_model_alias(name, ALIAS, move.to_version)
    client.set_model_version_tag(name, move.to_version, "stage", "staging")
    if move.from_version:
        client.set_model_version_tag(name, move.from_version, "stage", "archived")
    with warnings.catch_warnings():
        # MLflow announces the end of stages, yet shows and serves them; alias and tag say the same without them.
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(name, move.to_version, stage="Staging", archive_existing_versions=True)
    client.set_terminated(run.info.run_id)
    return move


def _still_promoted(trail: list[Move]) -> list[str]:
    """Return the versions that were promoted, oldest first, without those that were rolled back."""
    promoted: list[str] = []
    for move in trail:
        if move.action == "promote":
            promoted.append(move.to_version)
        else:
            while promoted and promoted[-1] != move.to_version:
                promoted.pop()
    return promoted


def _check_reason(force: bool, reason: str) -> None:
    if force and not reason.strip():
        raise InputError("--force: needs --reason TEXT, which the trail keeps")


def _version(client: "MlflowClient", name: str, version: int | None) -> "ModelVersion":
    found = client.search_model_versions(f"name = '{name}'")
    if not found:
        raise InputError(f"{name}: no version is registered; run `dvc repro`")
    by_number = {int(item.version): item for item in found}
    number = max(by_number) if version is None else version
    if number not in by_number:
        raise InputError(f"{name} version {number}: not registered; there are {', '.join(map(str, sorted(by_number)))}")
    return by_number[number]


def _current(client: "MlflowClient", name: str) -> str:
    return str(client.get_registered_model(name).aliases.get(ALIAS, ""))


def _gate_metrics(client: "MlflowClient", version: "ModelVersion", promotion: Promotion) -> dict[str, float]:
    metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
    return {name: value for name, value in metrics.items() if name in minima(promotion) or name.startswith(FLAGS)}


def _trail(client: "MlflowClient", name: str) -> list[Move]:
    return [_read(run) for run in _runs(client, name, "FINISHED")]


def _runs(client: "MlflowClient", name: str, status: str) -> list["Run"]:
    import mlflow

    return mlflow.search_runs(
        experiment_ids=[store.experiment(client, _experiment(name))],
        filter_string=f"attributes.status = '{status}'",
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )


def _read(run: "Run") -> Move:
    tags: dict[str, Any] = {
        field.name: run.data.tags[field.name] for field in fields(Move) if field.name not in NUMBERS
    }
    gate = {key.removeprefix(GATE): float(value) for key, value in run.data.params.items() if key.startswith(GATE)}
    return Move(**{**tags, "forced": tags["forced"] == "True", "metrics": run.data.metrics, "gate": gate})


def _experiment(name: str) -> str:
    return f"{name}-promotions"


def _who() -> str:
    name = git("config", "user.name")
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):
        raise InputError("who promotes is unknown; say it with `git config user.name NAME`") from None
