"""The served model: the whole defence behind one signature.

MLflow runs this file when it loads a model (models from code), so nothing of it is pickled. To serve a promoted model:

    export MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db
    mlflow models serve --model-uri models:/traffic-sign-student@staging --env-manager local --port 5001
"""

from pathlib import Path
from threading import Lock
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from robust_distillation.arrays import Array
from robust_distillation.defences.defence import Answers, Defence
from robust_distillation.records import Classes


class ServedDefence(PythonModel):
    """Reforms images, classifies them, abstains where the student is unsure, and flags suspicious ones."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the defence that was logged."""
        self.defence = Defence.load(Path(context.artifacts["defence"]))
        self.lock = Lock()

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # type: ignore[type-arg]  # MLflow warns of arrays that say of what
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer each image.

        Args:
            context: not used; MLflow passes it.
            model_input: uint8 images (N, H, W, C), 0 to 255; over HTTP nested lists of whole numbers.
            params: none are known.

        Returns:
            One row per image: `label` (class id) and `name`, both null where the student abstains; `probability` of
            the most probable class; `uncertainty` in nats, or the probability of an outlier class; `abstained`;
            `reconstruction_error` of the image as it came; `suspicious`, whether that error exceeds the detector's
            threshold.

        Raises:
            MlflowException: the input is anything else; over HTTP this is status 400.
        """
        images = as_images(model_input, self.defence.student.input_shape[1:]).astype(np.float32) / 255
        with self.lock:  # Requests come in threads, which would crowd each other out of the same cores.
            answers = self.defence.answer(images)
        return as_table(answers, self.defence.classes)


def as_table(answers: Answers, classes: Classes) -> pd.DataFrame:
    """Return answers as a served model gives them, a row for each image; the score of a missing part is null."""
    abstained = answers.refused_by("abstention")
    return pd.DataFrame(
        {
            "label": _unless(abstained, [classes.ids[index] for index in answers.best]),
            "name": _unless(abstained, [classes.names[index] for index in answers.best]),
            "probability": answers.probabilities.max(axis=1).astype(np.float64),
            "uncertainty": _doubles(answers.scores.get("abstention"), len(abstained)),
            "abstained": abstained,
            "reconstruction_error": _doubles(answers.scores.get("detector"), len(abstained)),
            "suspicious": answers.refused_by("detector"),
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
    error: MlflowException = MlflowException.invalid_parameter_value(message)
    # MLflow's server puts all pixels in front of the message; over HTTP this entry takes that one's place.
    error.json_kwargs["message"] = message
    return error


def _doubles(scores: Array | None, count: int) -> Any:
    """Return scores as doubles; None for each where there are none, for NaN is no JSON."""
    return np.full(count, None) if scores is None else scores.astype(np.float64)


def _unless(abstained: Array, values: list[Any]) -> pd.Series:
    return pd.Series([None if silent else value for silent, value in zip(abstained, values, strict=True)], dtype=object)


mlflow.models.set_model(ServedDefence())
