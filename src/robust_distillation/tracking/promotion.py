"""Moving versions of the registered model to staging and back, through a gate, with a trail of who did what.

The trail lies in MLflow itself, as runs of the experiment `<name>-promotions` and as tags of the versions, so it is the
same for everyone who uses one server.
"""

import getpass
import warnings
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from robust_distillation.errors import InputError
from robust_distillation.params import Params, Promotion, format_epsilon
from robust_distillation.tracking import store
from robust_distillation.tracking.runs import git

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "staging"
FLAGS = "robustness.flags."  # on the student's own logits: raised, its robust accuracy cannot be trusted


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


def minima(promotion: Promotion) -> dict[str, float]:
    """Return the least value of each metric with which a version passes the gate, by the metric's name."""
    return {
        "student_accuracy": promotion.min_clean_accuracy,
        "coverage": promotion.min_coverage,
        f"robustness.defence.worst_case.{format_epsilon(promotion.robust_epsilon)}": promotion.min_robust_accuracy,
    }


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
        InputError: the gate refuses, with the numbers; there is no such version; a forced move has no reason; the
            MLflow server does not answer.
    """
    if force and not reason.strip():
        raise InputError("--force: needs --reason TEXT, which the trail keeps")
    with store.connected() as client:
        chosen = _version(client, params.register.name, version)
        current = _current(client, params.register.name)
        if str(chosen.version) == current:
            return None
        metrics = _gate_metrics(client, chosen, params.promotion)
        refusals = [
            f"{name} is missing" if name not in metrics else f"{name} {metrics[name]:.4g} is below {least:g}"
            for name, least in minima(params.promotion).items()
            if name not in metrics or metrics[name] < least
        ]
        flags = {name: value for name, value in metrics.items() if name.startswith(FLAGS)}
        refusals += [f"{name} is raised" for name, value in flags.items() if value]
        if not flags:
            refusals.append(f"{FLAGS}* are missing")
        if refusals and not force:
            raise InputError(
                f"{chosen.name} version {chosen.version}: refused: {', '.join(refusals)} (promotion in params.yaml); "
                "train a better one, or override with --force --reason TEXT"
            )
        return _move(client, "promote", chosen, current, metrics, forced=bool(refusals), reason=reason)


def rollback(params: Params, *, reason: str = "") -> Move:
    """Move the version that was in staging before the present one back there; promotions rolled back do not count.

    Raises:
        InputError: there is nothing to roll back to, staging was changed without leaving a trail, or the MLflow server
            does not answer.
    """
    name = params.register.name
    with store.connected() as client:
        promoted: list[str] = []
        for move in _trail(client, name):
            if move.action == "promote":
                promoted.append(move.to_version)
            else:
                promoted.pop()
        if len(promoted) < 2:
            raise InputError(f"{name}: nothing to roll back to; no other version was promoted before")
        current = _current(client, name)
        if current != promoted[-1]:
            raise InputError(
                f"{name}: version {current or 'none'} is in staging, which the trail does not say; "
                "choose one with `robust-distillation promote --version N`"
            )
        former = _version(client, name, int(promoted[-2]))
        metrics = _gate_metrics(client, former, params.promotion)
        return _move(client, "rollback", former, current, metrics, forced=False, reason=reason)


def history(params: Params) -> list[Move]:
    """Return the trail, oldest first.

    Raises:
        InputError: the MLflow server does not answer.
    """
    with store.connected() as client:
        return _trail(client, params.register.name)


def _move(
    client: "MlflowClient",
    action: Literal["promote", "rollback"],
    chosen: "ModelVersion",
    current: str,
    metrics: dict[str, float],
    *,
    forced: bool,
    reason: str,
) -> Move:
    import mlflow

    move = Move(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        action=action,
        from_version=current,
        to_version=str(chosen.version),
        who=_who(),
        commit=client.get_run(chosen.run_id).data.tags.get("git_commit", "") if chosen.run_id else "",
        forced=forced,
        reason=reason,
        metrics=metrics,
    )
    tags = {key: str(value) for key, value in vars(move).items() if key != "metrics"}
    experiment = store.experiment(client, _experiment(chosen.name))
    with mlflow.start_run(experiment_id=experiment, run_name=f"{action} {chosen.version}", tags=tags):
        mlflow.log_metrics(metrics)
        for key, value in tags.items():
            client.set_model_version_tag(chosen.name, chosen.version, f"staging.{key}", value)
        _put_in_staging(client, chosen, current)
    return move


def _put_in_staging(client: "MlflowClient", chosen: "ModelVersion", current: str) -> None:
    client.set_registered_model_alias(chosen.name, ALIAS, chosen.version)
    client.set_model_version_tag(chosen.name, chosen.version, "stage", "staging")
    if current:
        client.set_model_version_tag(chosen.name, current, "stage", "archived")
    with warnings.catch_warnings():
        # MLflow announces the end of stages, yet shows and serves them; alias and tag say the same without them.
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(
            chosen.name, chosen.version, stage="Staging", archive_existing_versions=True
        )


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
    import mlflow

    runs = mlflow.search_runs(
        experiment_ids=[store.experiment(client, _experiment(name))],
        filter_string="attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )
    return [_read(run) for run in runs]


def _read(run: "Run") -> Move:
    tags: dict[str, Any] = {field.name: run.data.tags[field.name] for field in fields(Move) if field.name != "metrics"}
    return Move(**{**tags, "forced": tags["forced"] == "True", "metrics": run.data.metrics})


def _experiment(name: str) -> str:
    return f"{name}-promotions"


def _who() -> str:
    name = git("config", "user.name")
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):
        raise InputError("who promotes is unknown; say it with `git config user.name NAME`") from None
