"""Speed and strength of the attacks beside those of other libraries, on the same models and images in one run.

    python benchmarks/attack_models.py --archives FOLDER     # trains the models, once
    python benchmarks/attacks.py speed                       # attack by attack
    python benchmarks/attacks.py standard                    # the standard ensemble of AutoAttack
    python benchmarks/attacks.py scaling                     # time and memory by number of images

Writes results/attacks.json, measurement by measurement: a run that was killed goes on where it was, and what is there
is not measured again, unless `--again NAME` asks for it.

- The sides of a comparison take turns, `--repeats` times; the figures are those of the median. Before that each side
  runs once, so that nobody's graph tracing is counted, with each of several batch sizes where there are over 100
  images, of which it keeps the fastest.
- `art` and `foolbox` attack the Keras model itself, as their documentation shows, the `-compiled` ones the same model
  in a `tf.function`. `autoattack` is the original code of AutoAttack on the same weights in torch.
- Robust accuracy is judged here, on the original float32 model: the share of all images that it gets right and for
  which no wrong answer within epsilon was found.
- The limit is what bare gradients of the model cost: as many as the attack has steps, at the best batch size.
"""

import hashlib
import multiprocessing
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pandas as pd
from tqdm import tqdm

from robust_distillation.arrays import Array
from robust_distillation.files import read_json, write_json

FOLDER = Path("build/attacks")
RESULTS = Path("results/attacks.json")
SHARDS = FOLDER / "standard.json"
EPSILON = 8 / 255
NEAR = 1.0  # the L2 radius at which attacks that look for the nearest adversarial image are judged
BATCH_SIZES = (100, 250, 500)
SHARD = 100  # images that a side of the standard ensemble meets at once
WARM_UP = 8  # images, where the set is not run in full beforehand
PACKAGES = ("tensorflow", "keras", "numpy", "foolbox", "adversarial-robustness-toolbox", "torch", "pyautoattack")
KEY = ("attack", "model", "peer", "setting", "images", "epsilon", "steps")

Row = dict[str, Any]
Run = Callable[[Array, Array], Array]  # images and labels to adversarial images
Build = Callable[[int], Run]  # for a batch size


@dataclass(frozen=True)
class Setting:
    """How our side runs.

    Attributes:
        precision: of the folded stand-in that is searched, or None to search the model itself.
        changes: of the attack's own defaults.
    """

    precision: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    def victim(self, model: Any, batch_size: int) -> Any:
        """Return the model as this setting attacks it."""
        if self.precision is None:
            from robust_distillation.threats.evasion.victim import Victim

            return Victim(model, batch_size=batch_size)
        from robust_distillation.threats.evasion.acceleration import accelerated

        return accelerated(model, precision=self.precision, batch_size=batch_size)


SETTINGS = {
    "float32": Setting(),
    "compaction": Setting(changes={"early_stop": True}),
    "folded": Setting("float32"),
    "folded+bfloat16": Setting("bfloat16"),
    "folded+bfloat16+compaction": Setting("bfloat16", {"early_stop": True}),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack, as each side names it. A call is the name of a class and its arguments; None where there is none.

    Attributes:
        ours: in `robust_distillation.threats.evasion`, with its module.
        art: in `art.attacks.evasion`.
        foolbox: in `foolbox.attacks`.
        autoattack: the attack's name in AutoAttack.
        models: to attack.
        images: from the start of the test set.
        steps: gradients per image, or queries where the attack has none.
        exact: whether every image takes all these gradients, so that there is a limit to compare with.
        settings: of our side.
        norm: of the ball; in the L2 norm the nearest adversarial images are asked for, whatever their distance.
    """

    ours: tuple[str, dict[str, Any]]
    art: tuple[str, dict[str, Any]] | None = None
    foolbox: tuple[str, dict[str, Any]] | None = None
    autoattack: str | None = None
    models: Sequence[str] = ("cnn", "robust-resnet")
    images: int
    steps: int
    exact: bool = False
    settings: Sequence[str] = ("float32",)
    norm: str = "linf"

    @property
    def epsilon(self) -> float:
        """The radius that the adversarial images are judged at."""
        return EPSILON if self.norm == "linf" else NEAR


BALL = {"eps": EPSILON}
QUIET = {"verbose": False}
EVERY_MODEL = ("cnn", "robust-cnn", "robust-resnet")
CASES = {
    "fgsm": Case(
        ours=("sign.FGSM", {}),
        art=("FastGradientMethod", BALL),
        foolbox=("LinfFastGradientAttack", {}),
        models=EVERY_MODEL,
        images=500,
        steps=1,
        exact=True,
    ),
    "i_fgsm": Case(
        ours=("sign.IFGSM", {"steps": 10, "step_size": EPSILON / 4}),
        art=("BasicIterativeMethod", BALL | QUIET | {"max_iter": 10, "eps_step": EPSILON / 4}),
        foolbox=("LinfBasicIterativeAttack", {"steps": 10, "abs_stepsize": EPSILON / 4}),
        models=EVERY_MODEL,
        images=500,
        steps=10,
        exact=True,
        settings=tuple(SETTINGS),
    ),
    "pgd": Case(
        ours=("sign.PGD", {"steps": 20, "step_size": EPSILON / 8}),
        art=(
            "ProjectedGradientDescentTensorFlowV2",
            BALL | QUIET | {"max_iter": 20, "eps_step": EPSILON / 8, "num_random_init": 1},
        ),
        foolbox=("LinfPGD", {"steps": 20, "abs_stepsize": EPSILON / 8}),
        models=EVERY_MODEL,
        images=500,
        steps=20,
        exact=True,
        settings=tuple(SETTINGS),
    ),
    # ART's MomentumIterativeMethod refuses TensorFlow models; this class is what it is built on elsewhere.
    "mi_fgsm": Case(
        ours=("sign.MIFGSM", {"steps": 10}),
        art=(
            "ProjectedGradientDescentNumpy",
            BALL | QUIET | {"max_iter": 10, "eps_step": EPSILON / 10, "decay": 1.0},
        ),
        foolbox=("LinfMomentumIterativeFastGradientMethod", {"steps": 10, "abs_stepsize": EPSILON / 10}),
        images=500,
        steps=10,
        exact=True,
    ),
    "apgd_ce": Case(
        ours=("apgd.APGD", {}),
        art=(
            "AutoProjectedGradientDescent",
            BALL | QUIET | {"eps_step": 2 * EPSILON, "nb_random_init": 1, "loss_type": "cross_entropy"},
        ),
        autoattack="apgd-ce",
        images=100,
        steps=100,
    ),
    "apgd_t": Case(ours=("apgd.APGDT", {}), autoattack="apgd-t", images=32, steps=900),
    "fab_t": Case(ours=("fab.FABT", {}), autoattack="fab-t", images=32, steps=900),
    # ART stretches the published schedule of window sizes over its queries, the original leaves it as it is.
    "square": Case(
        ours=("square.Square", {"queries": 1000}),
        art=("SquareAttack", BALL | QUIET | {"max_iter": 1000}),
        images=64,
        steps=1000,
    ),
    "square_unstretched": Case(
        ours=("square.Square", {"queries": 1000, "rescale_schedule": False}),
        autoattack="square",
        images=64,
        steps=1000,
    ),
    "deepfool": Case(
        ours=("deepfool.DeepFool", {"norm": "l2"}),
        art=("DeepFool", QUIET | {"max_iter": 50, "epsilon": 0.02, "nb_grads": 10}),
        foolbox=("L2DeepFoolAttack", {}),
        images=32,
        steps=50,
        norm="l2",
    ),
    "carlini_wagner": Case(
        ours=("carlini_wagner.CarliniWagner", {"steps": 100, "binary_search_steps": 5, "learning_rate": 0.1}),
        art=(
            "CarliniL2Method",
            QUIET | {"max_iter": 100, "binary_search_steps": 5, "learning_rate": 0.1, "initial_const": 1e-3},
        ),
        foolbox=("L2CarliniWagnerAttack", {"steps": 100, "binary_search_steps": 5, "stepsize": 0.1}),
        models=("cnn",),
        images=16,
        steps=500,
        norm="l2",
    ),
    # Ten iterations of the peer ask about 2,500 queries, most of them for the boundary's normal. foolbox's L2 version
    # divides each image's direction by the norm over the whole batch, and is no match.
    "hop_skip_jump": Case(
        ours=("hop_skip_jump.HopSkipJump", {"norm": "l2", "queries": 2500}),
        art=("HopSkipJump", QUIET | {"max_iter": 10, "max_eval": 1000}),
        models=("cnn",),
        images=16,
        steps=2500,
        norm="l2",
    ),
}


# Models and images


def load(name: str) -> Any:
    """Return a trained model."""
    from robust_distillation.classifiers.storage import load_model

    return load_model(found(FOLDER / f"{name}.keras"))


def first_images(count: int) -> tuple[Array, Array]:
    """Return the first official test images, float32 (count, 32, 32, 3) in [0, 1], and their labels."""
    with np.load(found(FOLDER / "test.npz")) as arrays:
        return arrays["features"][:count].astype(np.float32) / 255, arrays["labels"][:count].astype(np.int64)


def found(path: Path) -> Path:
    if not path.exists():
        raise click.ClickException(f"{path}: not found; run `python benchmarks/attack_models.py --archives FOLDER`")
    return path


def compiled(model: Any) -> Callable[..., Any]:
    """Return the model in a `tf.function`, traced once, called as Keras models are."""
    import tensorflow as tf

    graph = tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec(model.input_shape, tf.float32)]
    )
    graph.get_concrete_function()
    return lambda images, training=False: graph(tf.cast(images, tf.float32))


def converted(model: Any) -> Callable[[Any], Any]:
    """Rebuild a Keras classifier in torch with the same weights; it takes images (N, C, H, W)."""
    import torch

    steps = [(layer.input, layer.output, torch_layer(layer)) for layer in model.layers[1:]]

    def forward(images: Any) -> Any:
        values = {id(model.inputs[0]): images.contiguous(memory_format=torch.channels_last)}
        for inputs, output, function in steps:
            values[id(output)] = function(
                *(values[id(one)] for one in (inputs if isinstance(inputs, list) else [inputs]))
            )
        return values[id(model.outputs[0])]

    images, _ = first_images(32)
    difference = np.abs(forward(channels_first(images)).numpy() - model(images, training=False).numpy()).max()
    if not difference < 1e-4:
        raise click.ClickException(f"{model.name}: its logits in torch differ by {difference:g} from those in Keras")
    return forward


def torch_layer(layer: Any) -> Callable[..., Any]:
    """Return what a Keras layer does at inference, as a function of torch tensors (N, C, H, W)."""
    import torch
    from torch.nn import functional

    weights = [torch.tensor(weight) for weight in layer.get_weights()]
    match type(layer).__name__:
        case "Conv2D":
            kernel = weights[0].permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            bias = weights[1] if layer.use_bias else None
            before, after = same_padding(layer)
            if before == after:
                return activated(
                    layer, lambda x: functional.conv2d(x, kernel, bias, stride=layer.strides, padding=before)
                )
            sides = (before, after, before, after)
            return activated(
                layer, lambda x: functional.conv2d(functional.pad(x, sides), kernel, bias, stride=layer.strides)
            )
        case "Dense":
            kernel, bias = weights[0].T.contiguous(), weights[1]
            return activated(layer, lambda x: functional.linear(x, kernel, bias))
        case "BatchNormalization":
            scale, shift, mean, variance = weights
            return lambda x: functional.batch_norm(x, mean, variance, scale, shift, eps=layer.epsilon)
        case "ReLU":
            return torch.relu
        case "MaxPooling2D":
            return lambda x: functional.max_pool2d(x, layer.pool_size)
        case "GlobalAveragePooling2D":
            return lambda x: x.mean((2, 3))
        case "Flatten":
            return lambda x: x.permute(0, 2, 3, 1).flatten(1)
        case "Dropout":
            return lambda x: x
        case "Add":
            return torch.add
    raise click.ClickException(f"{layer.name}: a {type(layer).__name__} has no counterpart in torch here")


def same_padding(layer: Any) -> tuple[int, int]:
    """Return the rows of zeros that Keras adds before and after square images for this square convolution."""
    if layer.padding == "valid":
        return 0, 0
    side, stride, kernel = layer.input.shape[1], layer.strides[0], layer.kernel_size[0]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def activated(layer: Any, linear: Callable[..., Any]) -> Callable[..., Any]:
    """Follow a linear map by the layer's activation, linear or ReLU."""
    import torch

    return linear if layer.activation.__name__ == "linear" else lambda x: torch.relu(linear(x))


def channels_first(images: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


# The sides


def in_batches(attack: Run, batch_size: int) -> Run:
    """Return an attack that meets the images batch by batch."""

    def run(images: Array, labels: Array) -> Array:
        rows = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
        return np.concatenate([attack(images[row], labels[row]) for row in rows])

    return run


def ours(case: Case, model: Any, setting: Setting, batch_size: int) -> Run:
    """Return our side."""
    module, name = case.ours[0].split(".")
    attack_class = getattr(import_module(f"robust_distillation.threats.evasion.{module}"), name)
    attack = attack_class(**case.ours[1] | setting.changes)
    victim = setting.victim(model, batch_size)
    return partial(attack.minimal, victim) if case.norm == "l2" else partial(attack, victim, epsilon=case.epsilon)


def art_classifier(model: Any, forward: Callable[..., Any]) -> Any:
    """Return a model as ART takes it."""
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    # ART 1.20 asks Keras for the names of reductions that Keras 3 takes as text.
    names = ("none", "sum", "sum_over_batch_size")
    tf.keras.losses.Reduction = SimpleNamespace(**{name.upper(): name for name in names})
    classifier = TensorFlowV2Classifier(
        forward,
        nb_classes=model.output_shape[-1],
        input_shape=model.input_shape[1:],
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    for count in (2, 3):  # Its graph is traced for the first shape and, for all others, at the second.
        classifier.predict(np.zeros((count, *classifier.input_shape), np.float32))
    return classifier


def art(case: Case, model: Any, forward: Callable[..., Any], batch_size: int) -> Run:
    """Return ART's side."""
    assert case.art is not None
    attack_class = getattr(import_module("art.attacks.evasion"), case.art[0])
    return attack_class(art_classifier(model, forward), **case.art[1], batch_size=batch_size).generate


def foolbox(case: Case, model: Any, forward: Callable[..., Any], batch_size: int) -> Run:
    """Return foolbox's side, without the checks of the result that its public call adds."""
    import foolbox
    import tensorflow as tf

    assert case.foolbox is not None
    attack = getattr(foolbox.attacks, case.foolbox[0])(**case.foolbox[1])
    bounded = foolbox.TensorFlowModel(forward, bounds=(0, 1), device="/CPU:0")
    radius = {"epsilon": case.epsilon} if case.norm == "linf" else {}

    def run(images: Array, labels: Array) -> Array:
        wrong = foolbox.criteria.Misclassification(tf.constant(labels))
        return attack.run(bounded, tf.constant(images), wrong, **radius).numpy()

    return in_batches(run, batch_size)


def original(model: Any, batch_size: int, *, attack: str | None = None, queries: int = 5000) -> Run:
    """Return the original AutoAttack: one of its attacks with one restart, or the standard ensemble."""
    import torch
    from pyautoattack import AutoAttack

    chosen: dict[str, Any] = {"version": "custom", "attacks": [attack]} if attack else {"version": "standard"}
    judge = AutoAttack(converted(model), norm="Linf", eps=EPSILON, seed=0, device="cpu", **chosen)
    judge.apgd.n_restarts = judge.fab.n_restarts = 1
    judge.square.n_queries = queries

    def run(images: Array, labels: Array) -> Array:
        adversarial, _ = judge.run_standard_evaluation(
            channels_first(images), torch.from_numpy(labels), batch_size=batch_size
        )
        return adversarial.numpy().transpose(0, 2, 3, 1)

    return run


def bare_gradients(model: Any, steps: int, batch_size: int) -> Run:
    """Return a gradient of the cross-entropy for each image, computed `steps` times: the limit."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32), tf.TensorSpec([None], tf.int64)])
    def gradient(images: Any, labels: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = model(images, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return tape.gradient(loss, images)

    return in_batches(lambda images, labels: [gradient(images, labels).numpy() for _ in range(steps)][-1], batch_size)


def peers_of(case: Case, model: Any) -> dict[str, Build]:
    """Return who else has this attack."""
    builds: dict[str, Build] = {}
    for name, library in (("art", art), ("foolbox", foolbox)):
        if getattr(case, name):
            builds[name] = partial(library, case, model, model)
            builds[f"{name}-compiled"] = partial(library, case, model, compiled(model))
    if case.autoattack:
        builds["autoattack"] = partial(original, model, attack=case.autoattack, queries=case.steps)
    return builds


# Measuring


@dataclass(frozen=True)
class Measured:
    """The median time of one side, and what it found."""

    seconds: float
    adversarial: Array


def seconds_of(run: Run, images: Array, labels: Array) -> float:
    start = time.perf_counter()
    run(images, labels)
    return time.perf_counter() - start


def warmed(build: Build, images: Array, labels: Array) -> Run:
    """Return a side that has run before, with its fastest batch size; a small set is one batch."""
    sizes = sorted({min(size, len(images)) for size in BATCH_SIZES})
    if len(sizes) == 1:
        run = build(sizes[0])
        run(images[:WARM_UP], labels[:WARM_UP])
        return run
    pilot = slice(sizes[-1])
    trials = {}
    for size in sizes:
        run = build(size)
        run(images[pilot], labels[pilot])
        trials[seconds_of(run, images[pilot], labels[pilot])] = run
    return trials[min(trials)]


def take_turns(runs: dict[str, Run], images: Array, labels: Array, repeats: int, title: str) -> dict[str, Measured]:
    """Run every side in turn, again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    adversarial = {}
    bar = tqdm([name for _ in range(repeats) for name in runs], desc=title, unit="pass")
    for name in bar:
        bar.set_postfix_str(name)
        start = time.perf_counter()
        adversarial[name] = runs[name](images, labels)
        seconds[name].append(time.perf_counter() - start)
    return {name: Measured(statistics.median(seconds[name]), adversarial[name]) for name in runs}


def answers(model: Any, images: Array) -> Array:
    return model.predict(images, batch_size=500, verbose=0).argmax(axis=1)


def distances(images: Array, adversarial: Array, norm: str) -> Array:
    changes = (adversarial - images).reshape(len(images), -1)
    return np.linalg.norm(changes, np.inf if norm == "linf" else 2, axis=1)


def stands(model: Any, images: Array, labels: Array, adversarial: Array, epsilon: float, norm: str) -> Array:
    """Tell for which images the model is right and no wrong answer within epsilon was found."""
    near = distances(images, adversarial, norm) <= epsilon + 1e-6
    fell = near & (answers(model, adversarial) != labels)
    return (answers(model, images) == labels) & ~fell


def nearest(model: Any, images: Array, labels: Array, adversarial: Array, norm: str) -> float | None:
    """Return the median distance of what fooled the model, of images that it got right; None where nothing did."""
    fell = (answers(model, images) == labels) & (answers(model, adversarial) != labels)
    return round(float(np.median(distances(images, adversarial, norm)[fell])), 4) if fell.any() else None


def compare(attack: str, model_name: str, count: int, settings: Sequence[str], repeats: int) -> list[Row]:
    """Measure one attack on one model, all settings and peers side by side."""
    case, model = CASES[attack], load(model_name)
    images, labels = first_images(count)
    peers = peers_of(case, model)
    builds: dict[str, Build] = {name: partial(ours, case, model, SETTINGS[name]) for name in settings} | peers
    if case.exact:
        builds["limit"] = partial(bare_gradients, model, case.steps)
    title = f"{attack} on {model_name}"
    sides = {name: warmed(build, images, labels) for name, build in tqdm(builds.items(), desc=f"{title}: warm-up")}
    measured = take_turns(sides, images, labels, repeats, title)
    speed = {name: count / one.seconds for name, one in measured.items()}
    judged = {
        name: float(stands(model, images, labels, measured[name].adversarial, case.epsilon, case.norm).mean())
        for name in (*settings, *peers)
    }
    rows = []
    for setting in settings:
        for peer in peers:
            row = {
                "attack": attack,
                "model": model_name,
                "peer": peer,
                "setting": setting,
                "images": count,
                "epsilon": case.epsilon,
                "steps": case.steps,
                "ours_images_per_s": round(speed[setting], 3),
                "peer_images_per_s": round(speed[peer], 3),
                "ratio": round(speed[setting] / speed[peer], 2),
                "ours_robust_accuracy": judged[setting],
                "peer_robust_accuracy": judged[peer],
                "limit_share": round(speed[setting] / speed["limit"], 3) if case.exact else None,
            }
            if case.norm == "l2":
                for side, name in (("ours", setting), ("peer", peer)):
                    row[f"{side}_median_distance"] = nearest(
                        model, images, labels, measured[name].adversarial, case.norm
                    )
            rows.append(row)
    return rows


# The standard ensemble


def standard_sides(model: Any, settings: Sequence[str]) -> dict[str, Callable[[], Run]]:
    """Return the sides by name: ours, ART as documented and with one start for each attack, and the original.

    The published budget, that of ours and of the original, is one start; ART takes five.
    """

    def own(setting: str) -> Run:
        from robust_distillation.threats.evasion.ensemble import standard

        victim = SETTINGS[setting].victim(model, batch_size=100)

        def run(images: Array, labels: Array) -> Array:
            return standard()(victim, images, labels, epsilon=EPSILON).adversarial

        run(*first_images(1))  # Traces the graphs; the other sides hold none but the model's, which is traced by now.
        return run

    def art_ensemble(starts: int) -> Run:
        from art.attacks.evasion import AutoAttack

        classifier = art_classifier(model, compiled(model))
        attack = AutoAttack(classifier, eps=EPSILON, eps_step=2 * EPSILON, batch_size=SHARD)
        for part in attack.attacks:
            settings = {"nb_random_init": starts, "nb_restarts": starts, "verbose": False}
            part.set_params(**{name: value for name, value in settings.items() if hasattr(part, name)})
        return attack.generate

    return {
        **{setting: partial(own, setting) for setting in settings},
        "autoattack": partial(original, model, SHARD),
        "art-compiled, one start": partial(art_ensemble, 1),
        "art-compiled": partial(art_ensemble, 5),
    }


def run_shards(sides: dict[str, Callable[[], Run]], model: Any, model_name: str, count: int) -> Row:
    """Run every side on all images, shard by shard in turn, skipping those that are done; return its sums by name."""
    images, labels = first_images(count)
    shards: Row = read_json(SHARDS) if SHARDS.exists() else {}
    digest = hashlib.sha256((FOLDER / f"{model_name}.keras").read_bytes()).hexdigest()[:12]
    key = f"{model_name} {digest} {{}} {{}}-{{}}".format
    plan = [(first, min(first + SHARD, count), name) for first in range(0, count, SHARD) for name in sides]
    missing = [(first, last, name) for first, last, name in plan if key(name, first, last) not in shards]
    ready: dict[str, Run] = {}
    bar = tqdm(missing, desc="standard", unit="shard")
    for first, last, name in bar:
        bar.set_postfix_str(f"{name} {first}-{last}")
        if name not in ready:
            ready[name] = sides[name]()
        rows = slice(first, last)
        start = time.perf_counter()
        adversarial = ready[name](images[rows], labels[rows])
        seconds = time.perf_counter() - start
        still = stands(model, images[rows], labels[rows], adversarial, EPSILON, "linf")
        shards[key(name, first, last)] = {"seconds": seconds, "stands": still.tolist(), "commit": commit()}
        write_json(SHARDS, shards)
    totals: Row = {name: {"seconds": 0.0, "standing": 0, "commit": ""} for name in sides}
    for first, last, name in plan:
        shard = shards[key(name, first, last)]
        totals[name]["seconds"] += shard["seconds"]
        totals[name]["standing"] += sum(shard["stands"])
        totals[name]["commit"] = shard["commit"]
    return totals


# What is written


def machine() -> Row:
    """Return what the figures depend on besides the code."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    try:
        versions = {name: metadata.version(name) for name in PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing; run `pip install -e '.[peers]'`") from None
    return {"cpu": names[0], "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def commit() -> str:
    """Return the commit that is checked out, marked `-dirty` where more than results has changed since."""
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()  # noqa: S607
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!results"], check=False)  # noqa: S607
    return f"{head}-dirty" if changed.returncode else head


class Results:
    """The file of results, written anew after each measurement.

    Raises:
        click.ClickException: the file holds figures of another machine or of other versions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        here = machine()
        self.content: Row = {"rows": [], "scaling": [], "machine": here}
        if path.exists():
            self.content = read_json(path)
            there = self.content["machine"]
            if there != here:
                changed = ", ".join(key for key in here if there.get(key) != here[key])
                raise click.ClickException(
                    f"{path}: measured with another {changed}; delete the file to measure all afresh"
                )
        self.origin = {"command": shlex.join(["python", "benchmarks/attacks.py", *sys.argv[1:]]), "commit": commit()}

    def missing(self, **wanted: Any) -> bool:
        """Tell whether no row holds these values."""
        rows = self.content["rows"] + self.content["scaling"]
        return not any(all(row.get(key) == value for key, value in wanted.items()) for row in rows)

    def add(self, section: str, rows: list[Row]) -> None:
        """Write rows in the place of those of the same key."""
        keys = [[row.get(key) for key in KEY] for row in rows]
        kept = [row for row in self.content[section] if [row.get(key) for key in KEY] not in keys]
        self.content[section] = kept + [self.origin | row for row in rows]
        write_json(self.path, self.content)


# Commands


@click.group()
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
@click.pass_context
def main(context: click.Context, results: Path) -> None:
    """Compare the attacks with those of other libraries."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.obj = Results(results)


@main.command()
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="Attacks; by default all.")
@click.option("--model", "models", multiple=True, help="By default those of each attack.")
@click.option(
    "--setting", "settings", multiple=True, type=click.Choice(list(SETTINGS)), help="Of those of each attack."
)
@click.option("--images", type=int, help="At most.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--again", multiple=True, type=click.Choice(list(CASES)), help="Attacks to measure again.")
@click.pass_obj
def speed(
    results: Results,
    only: tuple[str, ...],
    models: tuple[str, ...],
    settings: tuple[str, ...],
    images: int | None,
    repeats: int,
    again: tuple[str, ...],
) -> None:
    """Compare attack by attack."""
    for attack in only or CASES:
        case = CASES[attack]
        count = min(images or case.images, case.images)
        for model in models or case.models:
            key = {"attack": attack, "model": model, "images": count, "epsilon": case.epsilon, "steps": case.steps}
            chosen = [name for name in case.settings if name in (settings or SETTINGS)]
            chosen = [name for name in chosen if attack in again or results.missing(**key, setting=name)]
            if chosen:
                rows = compare(attack, model, count, chosen, repeats)
                results.add("rows", rows)
                for row in rows:
                    click.echo("{attack} {model} {setting}: {ours_images_per_s}/s, {ratio} x {peer}".format(**row))


@main.command()
@click.option("--model", default="robust-resnet", show_default=True)
@click.option("--setting", "settings", multiple=True, type=click.Choice(list(SETTINGS)), default=["float32"])
@click.option("--images", default=200, show_default=True)
@click.option("--again", multiple=True, help="Sides to run again: float32, art-compiled, autoattack, ...")
@click.pass_obj
def standard(results: Results, model: str, settings: tuple[str, ...], images: int, again: tuple[str, ...]) -> None:
    """Compare the standard ensemble with ART's AutoAttack and with the original, shard by shard."""
    if SHARDS.exists():
        shards = read_json(SHARDS)
        write_json(SHARDS, {key: shard for key, shard in shards.items() if not any(f" {one} " in key for one in again)})
    loaded = load(model)
    sides = standard_sides(loaded, settings)
    totals = run_shards(sides, loaded, model, images)
    rows = [
        {
            "attack": "standard",
            "model": model,
            "peer": peer,
            "setting": setting,
            "images": images,
            "epsilon": EPSILON,
            "steps": None,
            "ours_images_per_s": round(images / totals[setting]["seconds"], 4),
            "peer_images_per_s": round(images / totals[peer]["seconds"], 4),
            "ratio": round(totals[peer]["seconds"] / totals[setting]["seconds"], 2),
            "ours_robust_accuracy": totals[setting]["standing"] / images,
            "peer_robust_accuracy": totals[peer]["standing"] / images,
            "limit_share": None,
            "commit": totals[setting]["commit"],
        }
        for setting in settings
        for peer in sides
        if peer not in settings
    ]
    results.add("rows", rows)
    for row in rows:
        click.echo("standard {model} {setting}: {ours_robust_accuracy}, {ratio} x {peer}".format(**row))


@main.command()
@click.option("--images", multiple=True, type=int, default=[1000, 4000, 12000], show_default=True)
@click.option("--model", default="cnn", show_default=True)
@click.option("--again", is_flag=True)
@click.pass_obj
def scaling(results: Results, images: tuple[int, ...], model: str, again: bool) -> None:
    """Measure time and peak memory of PGD, each number of images in a process of its own."""
    for count in tqdm(images, desc="scaling"):
        if again or results.missing(attack="pgd_scaling", model=model, images=count):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                results.add("scaling", [pool.submit(scale, model, count).result()])


def scale(model_name: str, count: int) -> Row:
    """Attack once in this process; return the time, and the peak memory before and after."""
    case = CASES["pgd"]
    images, labels = first_images(count)
    run = ours(case, load(model_name), SETTINGS["float32"], 250)
    run(images[:250], labels[:250])
    before = peak_mib()
    seconds = seconds_of(run, images, labels)
    return {
        "attack": "pgd_scaling",
        "model": model_name,
        "images": count,
        "epsilon": case.epsilon,
        "steps": case.steps,
        "seconds": round(seconds, 2),
        "images_per_s": round(count / seconds, 2),
        "images_mib": round(images.nbytes / 2**20, 1),
        "peak_mib_before": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


@main.command()
@click.pass_obj
def table(results: Results) -> None:
    """Print the results as Markdown: of each attack and model, float32 and our fastest setting."""
    key = ["attack", "model", "setting"]
    order = [*CASES, "standard", *EVERY_MODEL, *SETTINGS].index
    rows = pd.DataFrame(results.content["rows"]).sort_values(key, key=lambda names: names.map(order), kind="stable")
    own = rows.groupby(key, sort=False).agg(
        images_per_s=("ours_images_per_s", "first"),
        of_limit=("limit_share", "first"),
        stands=("ours_robust_accuracy", "first"),
        peers_from=("peer_robust_accuracy", "min"),
        peers_to=("peer_robust_accuracy", "max"),
    )
    fastest = own.groupby(["attack", "model"], sort=False)["images_per_s"].transform("max") == own["images_per_s"]
    shown = own[fastest | (own.index.get_level_values("setting") == "float32")]
    ratios = rows.pivot_table(index=key, columns="peer", values="ratio", sort=False).add_prefix("x ")
    whole = shown.join(ratios).reset_index().astype(object)
    click.echo(whole.where(whole.notna(), None).to_markdown(index=False, missingval="", floatfmt=".4g"))


if __name__ == "__main__":
    main()
