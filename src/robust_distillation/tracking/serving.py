"""The served model: the whole defence behind one signature.

MLflow runs this file when it loads a model (models from code), so nothing of it is pickled. To serve a promoted model:

    export MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db
    mlflow models serve --model-uri models:/traffic-sign-student@staging --env-manager local --port 5001
"""

import json
from pathlib import Path
from threading import Lock
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from robust_distillation.arrays import Array
from robust_distillation.classifiers.storage import load_autoencoder, load_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.reform import reform


class Defence(PythonModel):
    """Reforms images, classifies them, abstains where the student is unsure, and flags suspicious ones."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the two networks and the settings that the model was logged with."""
        self.student = load_model(Path(context.artifacts["student"]))
        self.autoencoder = load_autoencoder(Path(context.artifacts["autoencoder"]), self.student.input_shape[1:])
        self.config = json.loads(Path(context.artifacts["config"]).read_text())
        self.abstention = Abstention(self.student, **self.config["abstention"])
        self.detector = Detector(self.autoencoder, self.config["threshold"])
        self.lock = Lock()

    def predict(
        self, context: PythonModelContext, model_input: Array, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer each image.

        Args:
            context: not used; MLflow passes it.
            model_input: uint8 images (N, H, W, C), 0 to 255; over HTTP nested lists of whole numbers.
            params: none are known.

        Returns:
            One row per image: `label` (class id) and `name`, both null where the student abstains; `probability` of
            the most probable class; `uncertainty` in nats; `abstained`; `reconstruction_error` of the image as it
            came; `suspicious`, whether that error exceeds the detector's threshold.

        Raises:
            MlflowException: the input is anything else; over HTTP this is status 400.
        """
        images = as_images(model_input, self.student.input_shape[1:]).astype(np.float32) / 255
        with self.lock:  # Requests come in threads, and the dropout passes set the masks' seed in the shared network.
            errors = self.detector.score(images)
            seen = reform(self.autoencoder, images, self.config["reform"])
            probabilities = soften(predict_logits(self.student, seen), self.config["temperature"])
            uncertainty = self.abstention.uncertainty(seen)
        abstained = uncertainty > self.abstention.threshold
        classes = self.config["classes"]
        best = probabilities.argmax(axis=1)
        return pd.DataFrame(
            {
                "label": _unless(abstained, [classes["ids"][index] for index in best]),
                "name": _unless(abstained, [classes["names"][index] for index in best]),
                "probability": probabilities.max(axis=1).astype(np.float64),
                "uncertainty": uncertainty.astype(np.float64),
                "abstained": abstained,
                "reconstruction_error": errors.astype(np.float64),
                "suspicious": errors > self.detector.threshold,
            }
        )


def as_images(values: Any, shape: tuple[int, int, int]) -> Array:
    """Return the images that a caller sent, uint8 (N, H, W, C), never cast from anything that would lose a digit.

    Args:
        values: a uint8 array, or nested lists of whole numbers from 0 to 255, as they come over HTTP.
        shape: height, width and channels that the model takes.

    Raises:
        MlflowException: the values are of another type, range or shape.
    """
    try:
        images = np.asarray(values)
    except ValueError:
        raise _refusal(shape, "lists of unequal length") from None
    received = f"{images.dtype} of shape {images.shape}"
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise _refusal(shape, received)
    if isinstance(values, list) and images.dtype.kind == "i":
        if images.min() < 0 or images.max() > 255:
            raise _refusal(shape, f"values from {images.min()} to {images.max()}")
        images = images.astype(np.uint8)
    if images.dtype != np.uint8:
        raise _refusal(shape, received)
    return images


def _refusal(shape: tuple[int, int, int], received: str) -> MlflowException:
    height, width, channels = shape
    message = (
        f"images must be uint8 (whole numbers, 0 to 255) of shape (N, {height}, {width}, {channels}), N at least 1. "
        f"Received: {received}"
    )
    error = MlflowException.invalid_parameter_value(message)
    # MLflow's server puts all pixels in front of the message; over HTTP this entry takes that one's place.
    error.json_kwargs["message"] = message
    return error


def _unless(abstained: Array, values: list[Any]) -> pd.Series:
    return pd.Series([None if silent else value for silent, value in zip(abstained, values, strict=True)], dtype=object)


mlflow.models.set_model(Defence())
