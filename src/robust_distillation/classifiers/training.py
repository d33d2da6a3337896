"""Training a classifier at a softmax temperature, the same way for attacker and defender."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm.keras import TqdmCallback

from robust_distillation.arrays import Array
from robust_distillation.classifiers import ARCHITECTURES, METHODS
from robust_distillation.classifiers.augmentation import augment, mirror
from robust_distillation.classifiers.methods.method import HOST, Batch, cross_entropy
from robust_distillation.classifiers.settings import Augmentation, Training
from robust_distillation.classifiers.watching import Kept, Resumable, Watch
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar
from robust_distillation.settings import Precision

History = dict[str, list[float]]

CPU = Path("/proc/cpuinfo")  # on Linux
STEPS_AT_ONCE = 16  # gradient steps between two returns to Python
PREDICTED_AT_ONCE = 256  # images
WATCHED = 32, 500  # validation images that are attacked in each epoch, at least and at most
WATCHED_PER_IMAGE = 64  # training images for each of these, so that they cost a fraction of the epoch


def seed_everything(seed: int) -> None:
    """Seed Keras, TensorFlow, NumPy and Python, and make TensorFlow's operations deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def has_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 itself; imitated by oneDNN, it takes ten times as long."""
    return CPU.exists() and re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", CPU.read_text()) is not None


@contextmanager
def computed_in(precision: Precision) -> Iterator[None]:
    """Let graphs that are built within compute convolutions and matrix products in `float32` or `bfloat16`.

    They compute in float32 where the processor has no instructions for bfloat16.
    """
    rounded = precision == "bfloat16" and has_bfloat16()
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": rounded})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})


def train_classifier(
    images: Array,
    targets: Array,
    settings: Training,
    *,
    temperature: float = 1.0,
    validation: tuple[Array, Array],
    labels: Array | None = None,
    teacher: keras.Model | None = None,
    own: int | None = None,
    becomes: Sequence[int] = (),
    checkpoint: Path | None = None,
) -> tuple[keras.Model, History]:
    """Train a new classifier on targets that softmax(logits / temperature) is to match.

    The temperature lies outside the returned model, which gives logits (Papernot et al. 2016, section IV).

    Args:
        images: float32 (N, H, W, C) in [0, 1].
        targets: float32 (N, K), one-hot or soft labels; row i belongs to image i.
        settings: method, architecture, epochs, batch size, learning rate, seed and the rest.
        temperature: T, above 0.
        validation: images and targets of the same form.
        labels: one-hot, float32 (N, K), where `targets` are soft.
        teacher: whose soft labels at the temperature the targets are; it is asked again where images are varied, and by
            methods that want its answers on attacked ones.
        own: how many of the images, the first, each epoch takes once. Those behind them are further ones, of which it
            takes so many that they are `settings.further_share` of it. All are its own by default.
        becomes: the class that each class is in a mirror, -1 for none; nothing where no image may be mirrored.
        checkpoint: a file in which each epoch is kept, and from which a training that was killed goes on, to the same
            weights.

    Returns:
        The trained model, uncompiled, and per epoch `loss`, `accuracy`, `val_loss` and `val_accuracy`; of an
        adversarial method also `val_robust` and `val_single_step`, see `Watch`.

    Raises:
        InputError: the architecture gives no logits of these classes.

    Example:
        >>> plain = rd.Training(architecture="cnn", epochs=2, batch_size=5, learning_rate=0.01, seed=0)
        >>> targets = rd.one_hot(labels, 2)
        >>> network, history = rd.train_classifier(images, targets, plain, validation=(images, targets))
        >>> network.output_shape, len(history["loss"])
        ((None, 2), 2)
    """
    seed_everything(settings.seed)
    model = build(settings.architecture, images.shape[1:], targets.shape[1])
    labels = targets if labels is None else labels
    orders = orders_of_epochs(len(images) if own is None else own, len(images), settings)
    trainer = _Trainer(model, settings, temperature, images.shape, labels, orders.shape[1], becomes, teacher)
    trainer.compile(
        optimizer=_optimizer(model, settings, trainer.total_steps),
        steps_per_execution=STEPS_AT_ONCE,
        jit_compile=False,  # XLA trains these networks ten times slower on a CPU
    )
    smoothed = targets * np.float32(1 - settings.label_smoothing) + np.float32(
        settings.label_smoothing / targets.shape[1]
    )
    watching: list[Any] = [Kept(settings.patience)]
    if getattr(trainer.method, "watched", True):
        few = int(np.clip(len(images) / WATCHED_PER_IMAGE, *WATCHED))
        watching.insert(0, Watch(validation[0][:few], validation[1][:few], settings.adversary.epsilon, temperature))
    resumable = None if checkpoint is None else Resumable(checkpoint, watching)
    trainer.optimizer.build(model.trainable_variables)
    done = 0 if resumable is None else resumable.restore(trainer, settings.epochs)
    with tf.device(HOST):
        epoch = tf.Variable(done, dtype=tf.int64, trainable=False)
    with computed_in(settings.precision):
        history = trainer.fit(
            batches_of_epoch((images, smoothed, labels), orders, settings.batch_size, epoch),
            epochs=settings.epochs,
            initial_epoch=done,
            validation_data=whole_batches(validation),
            shuffle=False,  # the batches come shuffled
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_begin=lambda number, _: epoch.assign(number)),
                *watching,
                *([] if resumable is None else [resumable]),
                TqdmCallback(verbose=0, desc=f"training {model.name}", tqdm_class=Bar),
            ],
        ).history
    if resumable is not None:
        history = {name: [epoch[name] for epoch in resumable.history] for name in resumable.history[0]}
    return trainer.kept, history


def build(architecture: str, shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Return a new network of an architecture for images (H, W, C), which returns logits (N, K).

    Raises:
        InputError: the architecture is one of a user's, and gives something else.
    """
    model = ARCHITECTURES[architecture](shape, n_classes)
    if not isinstance(model, keras.Model):
        raise InputError(f"architecture {architecture} must return a Keras model. Received: {type(model).__name__}")
    if model.output_shape != (None, n_classes):
        raise InputError(
            f"architecture {architecture} must return logits (N, {n_classes}), one for each class. "
            f"Received: {model.output_shape}"
        )
    answers = model(np.random.default_rng(0).random((2, *shape), dtype=np.float32), training=False).numpy()
    if n_classes > 1 and answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=1e-4):
        raise InputError(f"architecture {architecture} must return logits, not probabilities: leave the softmax out")
    return model


def _optimizer(model: keras.Model, settings: Training, total_steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer with its schedule; weight decay spares vectors, that is, biases and normalisation."""
    rate = falling(settings.learning_rate, total_steps, settings.schedule)
    decay = settings.weight_decay or None
    if settings.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if decay:
        optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    return optimizer


def falling(start: float, steps: int, how: str = "cosine") -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a rate that falls to 0: along half a cosine (Loshchilov and Hutter 2017), or in a straight line."""
    if how == "linear":
        return keras.optimizers.schedules.PolynomialDecay(start, steps, end_learning_rate=0.0)
    return keras.optimizers.schedules.CosineDecay(start, steps)


class _Trainer(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Steps along the gradient of the loss that a method gives; validation is always on images as they are."""

    def __init__(
        self,
        model: keras.Model,
        settings: Training,
        temperature: float,
        shape: tuple[int, ...],
        labels: Array,
        per_epoch: int,
        becomes: Sequence[int],
        teacher: keras.Model | None,
    ) -> None:
        super().__init__()
        self.model, self.settings, self.temperature = model, settings, temperature
        self.becomes = tuple(becomes)
        self.teacher = teacher
        self.varied = settings.augmentation != Augmentation()
        self.method = METHODS[settings.method](settings, temperature, shape)
        self.total_steps = settings.epochs * _steps(per_epoch, settings.batch_size)
        self.counts = tf.constant(class_weights(labels) if settings.class_balance else np.ones(labels.shape[1], "f"))
        self.kept = model
        if settings.average:
            self.kept = keras.models.clone_model(model)
            self.kept.set_weights(model.get_weights())
        self.accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.loss_mean = keras.metrics.Mean(name="loss")

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """Take one step on a batch of images, targets, labels and rows."""
        images, targets, labels, rows = data
        step = tf.cast(self.optimizer.iterations, tf.int32)
        seed = tf.stack([tf.constant(self.settings.seed % 2**31, tf.int32), step])
        progress = tf.cast(step, tf.float32) / self.total_steps
        if self.settings.augmentation.mirror and self.becomes:
            becomes, share = tf.constant(self.becomes, tf.int32), self.settings.augmentation.mirror
            images, targets, labels = mirror(images, targets, labels, becomes, share, seed)
        images = augment(images, self.settings.augmentation, seed)
        if self.teacher is not None and self.varied:
            targets = tf.stop_gradient(self.teach(images))
        if self.settings.self_distillation:
            share = tf.cast(self.settings.self_distillation * progress, tf.float32)
            targets += share * (self._softened(self.kept, images) - targets)
        batch = Batch(images, targets, rows, progress, seed, labels, self.teach)
        weights = self.model.trainable_variables
        moved = []
        if self.settings.weight_perturbation:
            moves = _ascent(self._gradients(batch)[0], weights, self.settings.weight_perturbation)
            moved = list(zip(weights, moves, strict=True))
        for weight, move in moved:
            weight.assign_add(move)
        gradients, losses, logits = self._gradients(batch)
        for weight, move in moved:
            weight.assign_sub(move)
        self.optimizer.apply(gradients, weights)
        if self.settings.average:
            self._average(step)
        return self._measured(losses, logits, targets)

    def teach(self, images: tf.Tensor) -> tf.Tensor:
        """Return the teacher's soft labels (N, K) at the temperature."""
        if self.teacher is None:
            raise InputError(f"training method {self.settings.method} needs a teacher: it is for the student")
        return self._softened(self.teacher, images)

    def _softened(self, model: keras.Model, images: tf.Tensor) -> tf.Tensor:
        """Return a model's answers (N, K) at the temperature."""
        return tf.nn.softmax(model(images, training=False) * (1 / self.temperature))

    def _gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Return the gradients of the mean loss, the losses (N,) and the logits (N, K)."""
        with tf.GradientTape() as tape:
            losses, logits = self.method(self.model, batch)
            counted = losses * tf.gather(self.counts, tf.argmax(batch.labels, axis=1))
            loss = tf.reduce_mean(counted)
        return tape.gradient(loss, self.model.trainable_variables), losses, logits

    def _average(self, step: tf.Tensor) -> None:
        """Move what is kept towards the weights, faster at first."""
        done = tf.cast(step, tf.float32)
        decay = tf.minimum(self.settings.average, (1 + done) / (10 + done))
        for kept, now in zip(self.kept.variables, self.model.variables, strict=True):
            if kept.dtype == "float32":
                kept.assign(decay * kept + (1 - decay) * now)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Judge what is kept on a batch of images and targets."""
        images, targets = data
        logits = self.kept(images, training=False)
        return self._measured(cross_entropy(targets, logits, self.temperature), logits, targets)

    def _measured(self, losses: tf.Tensor, logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        self.accuracy.update_state(targets, logits)
        self.loss_mean.update_state(losses)
        return {metric.name: metric.result() for metric in (self.accuracy, self.loss_mean)}


def _ascent(gradients: list[tf.Tensor], weights: list[tf.Tensor], share: float) -> list[tf.Tensor]:
    """Return a move of each weight along its gradient, of a share of its length; vectors stay."""
    return [
        share * tf.norm(weight) / (tf.norm(gradient) + 1e-12) * gradient
        if len(weight.shape) > 1
        else tf.zeros_like(gradient)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def class_weights(targets: Array) -> Array:
    """Return how much an image of each class (K,) counts, so that all classes of targets (N, K) count the same."""
    counts = np.bincount(targets.argmax(axis=1), minlength=targets.shape[1])
    present = counts > 0
    weights = np.zeros(len(counts), np.float32)
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


def orders_of_epochs(own: int, count: int, settings: Training) -> Array:
    """Return which rows each epoch takes, in which order, int32 (epochs, rows).

    Args:
        own: how many rows, the first, each epoch takes once.
        count: of all rows. Of those behind the own, each epoch takes as many as `settings.further_share` asks.
        settings: whose seed the orders depend on.

    Raises:
        InputError: a share of further rows is asked, and there are none.
    """
    share = settings.further_share
    if share and count == own:
        raise InputError(f"further_share is {share:g}, but there are no further images; set it to 0, or draw some")
    further = round(own * share / (1 - share))
    orders = np.empty((settings.epochs, own + further), np.int32)
    for number, order in enumerate(orders):
        rng = np.random.default_rng([settings.seed, number])
        order[:] = np.concatenate([np.arange(own), own + np.resize(rng.permutation(count - own), further)])
        rng.shuffle(order)
    return orders


def batches_of_epoch(arrays: Sequence[Array], orders: Array, size: int, epoch: tf.Variable) -> tf.data.Dataset:
    """Return the batches of an epoch: rows of several arrays (N, ...) side by side, and which rows they are.

    Args:
        arrays: of as many rows each.
        orders: the rows that each epoch takes, int32 (epochs, rows).
        size: of a batch, at most.
        epoch: an int64 scalar, read when the batches are asked for.
    """
    with tf.device(HOST):
        whole, taken = [tf.constant(array) for array in arrays], tf.constant(orders)
    parts = tf.data.Dataset.from_tensors(0).flat_map(lambda _: _parts(taken[epoch.read_value()], size))
    batches = parts.map(lambda rows: (*(tf.gather(array, rows) for array in whole), rows))
    return _fed(batches, _steps(orders.shape[1], size))


def shuffled_batches(arrays: Sequence[Array], size: int, seed: int) -> tf.data.Dataset:
    """Return batches of the rows of several arrays (N, ...) side by side, in an order that each epoch draws anew.

    The orders depend on the seed alone. Batches have `size` rows at most.
    """
    with tf.device(HOST):
        whole = [tf.constant(array) for array in arrays]
    count = len(arrays[0])
    orders = tf.data.Dataset.range(count).shuffle(count, seed=seed).batch(count)
    parts = orders.flat_map(lambda order: _parts(order, size))
    batches = parts.map(lambda rows: tuple(tf.gather(array, rows) for array in whole))
    return _fed(batches, _steps(count, size))


def _fed(batches: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """Return the same batches, made ahead; told how many there are, Keras does not warn that they end."""
    return _untuned(batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(STEPS_AT_ONCE))


def _untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return the same batches without TensorFlow's tuner, for nothing in them is left to tune.

    It often misses that an epoch has ended: then the next one begins only when the tuner's sleep is over, which may be
    as long as the epoch was.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _parts(rows: tf.Tensor, size: int) -> tf.data.Dataset:
    """Part rows (N,) by `size` at most, alike but for a row, for few images tear batch normalisation apart."""
    count = tf.size(rows, tf.int64)
    parts = _steps(count, size)
    return tf.data.Dataset.range(parts).map(
        lambda number: rows[number * count // parts : (number + 1) * count // parts]
    )


def _steps(rows: Any, size: int) -> Any:
    """Return how many batches of `size` at most as many rows make, be these an int or a tensor."""
    return -(-rows // size)


def whole_batches(arrays: Sequence[Array]) -> tf.data.Dataset:
    """Return large batches of the rows of several arrays (N, ...) side by side, in their order."""
    return _untuned(tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(PREDICTED_AT_ONCE))


def one_hot(labels: Array, n_classes: int) -> Array:
    """Turn labels (N,) into float32 (N, n_classes).

    Example:
        >>> rd.one_hot(labels[4:6], 2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.eye(n_classes, dtype=np.float32)[labels]


def predict_logits(model: keras.Model, images: Array) -> Array:
    """Return logits (N, K) of float32 images (N, H, W, C) in [0, 1]."""
    if not len(images):
        return np.zeros((0, *model.output_shape[1:]), np.float32)
    logits: Array = model.predict(whole_batches((images,)), verbose=0)
    return logits


def evaluate(model: keras.Model, images: Array, labels: Array, *, temperature: float = 1.0) -> dict[str, Any]:
    """Return `accuracy` and `loss`, the mean cross-entropy of softmax(logits / temperature)."""
    logits = predict_logits(model, images)
    losses = keras.ops.sparse_categorical_crossentropy(labels, logits / temperature, from_logits=True)
    return {"accuracy": float(np.mean(logits.argmax(axis=1) == labels)), "loss": float(np.mean(losses))}
