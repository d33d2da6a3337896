"""Logging the deployed model and registering it as a version, and finding the version of what lies here."""

from importlib.metadata import version
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

import robust_distillation
from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.errors import InputError
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import DEFENCE, REGISTERED, TEST
from robust_distillation.pretrained import CARD, pretrained_folder
from robust_distillation.quiet import stderr_held_back
from robust_distillation.records import Registered
from robust_distillation.tracking import store
from robust_distillation.tracking.runs import commit_tags, digest, outcome_digest, stage_run
from robust_distillation.tracking.summary import headline_table, log_dataset, log_summary, read_metrics

STAGE = "register"
PIPELINE_TAG = "pipeline"
PRETRAINED_TAG = "pretrained"
EXAMPLES = 2
SERVING = Path(__file__).with_name("serving.py")
REQUIREMENTS = ("keras", "mlflow", "numpy", "pandas", "pydantic", "pyyaml", "tensorflow", "tqdm")
OUTPUTS = {
    "label": "long",
    "name": "string",
    "probability": "double",
    "uncertainty": "double",
    "abstained": "boolean",
    "reconstruction_error": "double",
    "suspicious": "boolean",
}
NULLABLE = ("label", "name", "uncertainty", "reconstruction_error")


def register(params: Params) -> Registered:
    """Sum the pipeline up in the active MLflow run, log the deployed model in it, and register that as a version.

    Raises:
        InputError: an output of an earlier stage is missing.
    """
    import mlflow

    from robust_distillation.defences.defence import Defence

    run = mlflow.active_run()
    assert run, "no run is open"
    Defence.load(DEFENCE)  # what cannot be loaded is not registered
    name, metrics, pipeline = params.register.name, read_metrics(), outcome_digest(STAGE, params)
    log_summary(params, metrics)
    log_dataset(params, run.info.run_id)
    number = log_defence(name, DEFENCE, example=ImageSet.load(TEST).features[:EXAMPLES])
    client = mlflow.MlflowClient()
    client.update_model_version(name, number, headline_table(metrics))
    client.set_model_version_tag(name, number, PIPELINE_TAG, pipeline)
    tags = commit_tags()
    origin = tags.get("dvc_experiment", tags.get("git_commit", "")[:8])
    mlflow.set_tag("mlflow.runName", f"summary v{number} {origin}".strip())
    return Registered(name=name, version=number, run_id=run.info.run_id, pipeline=pipeline)


def log_report(path: Path, registered: Registered) -> None:
    """Log a file to the active run, and to the summary run of a version, where this store has that."""
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.log_artifact(str(path))
    try:
        mlflow.MlflowClient().log_artifact(registered.run_id, str(path))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def version_here(params: Params) -> tuple[int, bool]:
    """Return the version of what the pipeline left in this folder; a store that has none gets one.

    A clone that pulled data and models has a store of its own, without them. Versions are found by the hash of what
    went into them, for another store numbers them otherwise. Nothing is written in this folder: what DVC keeps, stays.

    Returns:
        The version, and whether it was registered now.

    Raises:
        InputError: the pipeline has not run to its end here, or its outputs have changed since.
    """
    here = read_registered()
    if here.name != params.register.name:
        raise InputError(
            f"{REGISTERED}: name: is not register.name of params.yaml; run `dvc repro`. Received: {here.name}"
        )
    pipeline = outcome_digest(STAGE, params)
    if here.pipeline != pipeline:
        raise InputError(
            f"{REGISTERED}: pipeline: data, models or metrics have changed since; run `dvc repro` or `dvc checkout`, "
            f"or choose with --version N. Received: {here.pipeline}, found: {pipeline}"
        )
    with store.lock("registration"), store.connected() as client:
        found = client.search_model_versions(f"name = '{here.name}' and tag.{PIPELINE_TAG} = '{pipeline}'")
        if found:
            # The same models may have been registered anew, with other code; this folder's own come first.
            return int(max(found, key=lambda item: (item.run_id == here.run_id, int(item.version))).version), False
        with stage_run(STAGE, params):
            return int(register(params).version), True


def register_pretrained(name: str) -> tuple[int, bool]:
    """Register a defence that comes with the package under its own name, with its card; the same one only once.

    Returns:
        The version, and whether it was registered now.

    Raises:
        InputError: there is none of that name.
    """
    folder = pretrained_folder(name)
    found_by = digest(folder)
    with store.connected() as client:
        import mlflow

        from robust_distillation.dataset.synthetic.further import draw_further
        from robust_distillation.defences.defence import Defence

        known = client.search_model_versions(f"name = '{name}' and tag.{PRETRAINED_TAG} = '{found_by}'")
        if known:
            return int(known[0].version), False
        defence = Defence.load(folder)
        example = draw_further(
            defence.classes.ids[:1],
            tracks_per_class=1,
            frames_per_track=EXAMPLES,
            image_size=defence.student.input_shape[1],
            colour="rgb",
            crop_to_roi=True,
            seed=0,
            jobs=1,
        )
        mlflow.set_experiment(experiment_id=store.experiment(client, name))
        with mlflow.start_run(run_name=name, tags=commit_tags()):
            mlflow.log_artifact(str(folder / CARD))
            number = log_defence(name, folder, example=example.features)
        client.update_model_version(name, number, (folder / CARD).read_text())
        client.set_model_version_tag(name, number, PRETRAINED_TAG, found_by)
        return int(number), True


def read_registered(path: Path = REGISTERED) -> Registered:
    """Read what the register stage wrote.

    Raises:
        InputError: the file is missing, is not JSON, or a field is missing or wrong.
    """
    absent = "run `dvc repro`, or `dvc pull` in a fresh clone, or choose with --version N"
    return read_record(path, Registered, absent=absent)


def log_defence(name: str, folder: Path, *, example: Array) -> str:
    """Log the served model to the active MLflow run and register it.

    Args:
        name: of the registered model, which is made where it is missing.
        folder: of the defence, as it was saved.
        example: uint8 images (N, H, W, C), logged with the model and answered once to check it.

    Returns:
        The new version.
    """
    with stderr_held_back():
        import tensorflow  # noqa: F401  # MLflow tries the model, which imports it
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([ColSpec(kind, column, column not in NULLABLE) for column, kind in OUTPUTS.items()]),
    )
    # MLflow would cast what comes over HTTP to uint8, 0.5 to 0; so marked, it leaves checking to the model.
    signature._is_signature_from_type_hint = True
    package = Path(robust_distillation.__file__).parent
    with TemporaryDirectory() as place:
        code = copytree(package, Path(place) / package.name, ignore=ignore_patterns("__pycache__", "*.keras"))
        logged = mlflow.pyfunc.log_model(
            name="defence",
            python_model=str(SERVING),
            artifacts={"defence": str(folder)},
            code_paths=[str(code)],
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            signature=signature,
            input_example=example,
            registered_model_name=name,
        )
    return str(logged.registered_model_version)
