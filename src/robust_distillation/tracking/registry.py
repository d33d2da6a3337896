"""Logging the deployed model and registering it as a version."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import robust_distillation
from robust_distillation.files import write_json

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
NULLABLE = ("label", "name")


def log_defence(name: str, *, student: Path, autoencoder: Path, config: dict[str, Any], example: np.ndarray) -> str:
    """Log the served model to the active MLflow run and register it.

    Args:
        name: of the registered model, which is made where it is missing.
        student: Keras file, images to logits.
        autoencoder: Keras file, images to reconstructions.
        config: `classes` (`ids` and `names`, in the order of the logits), `reform`, `temperature`,
            `threshold` (of the detector) and `abstention` (the fields of `Abstention`, the student aside).
        example: uint8 images (N, H, W, C), logged with the model and answered once to check it.

    Returns:
        The new version.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([ColSpec(kind, column, column not in NULLABLE) for column, kind in OUTPUTS.items()]),
    )
    # MLflow would cast what comes over HTTP to uint8, 0.5 to 0; so marked, it leaves checking to the model.
    signature._is_signature_from_type_hint = True
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config.json"
        write_json(settings, config)
        logged = mlflow.pyfunc.log_model(
            name="defence",
            python_model=str(SERVING),
            artifacts={"student": str(student), "autoencoder": str(autoencoder), "config": str(settings)},
            code_paths=[str(Path(robust_distillation.__file__).parent)],
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            signature=signature,
            input_example=example,
            registered_model_name=name,
        )
    return str(logged.registered_model_version)
