"""Settings of how a classifier is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from robust_distillation.classifiers import ARCHITECTURES, METHODS
from robust_distillation.settings import Count, Epsilon, Precision, Seed, Share, one_of, section


@section
class Adversary:
    """Whom an adversarial training method trains against; see `methods`.

    Attributes:
        epsilon: largest change of a pixel.
        warm_up: share of the training in which epsilon grows from 0.
        noise: how far `n_fgsm` goes at random before its step, in epsilons.
        steps: gradients of `pgd` and `trades`.
        beta: weight of the second part of the loss of `trades` and `fgsm_pgi`.
    """

    epsilon: Epsilon = 8 / 255
    warm_up: Share = 0.25
    noise: Annotated[float, Field(ge=0)] = 2.0
    steps: Count = 10
    beta: Annotated[float, Field(ge=0)] = 6.0


@section
class Augmentation:
    """How training images are varied, each anew in every epoch; see `augmentation`.

    Attributes:
        rotation: largest angle, in radians.
        scale: largest change of the size, as a share.
        shear: largest shear.
        shift: largest shift, in pixels.
        brightness: largest change of all pixels, in [0, 1] units.
        contrast: largest change of the contrast, as a share.
        saturation: largest change of the colours' distance from grey, as a share.
        blur: share of the images that are blurred.
        cut_out: side of a grey square that is put somewhere, in pixels; 0 for none.
        mirror: share of the images that are mirrored, where what they show then is a class too, and labelled so.
    """

    rotation: Annotated[float, Field(ge=0)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear: Annotated[float, Field(ge=0)] = 0.0
    shift: Annotated[float, Field(ge=0)] = 0.0
    brightness: Share = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    blur: Share = 0.0
    cut_out: Annotated[int, Field(ge=0)] = 0
    mirror: Share = 0.0


@section
class Smoothing:
    """Noise to train with, for randomized smoothing; see `methods.noise`.

    Attributes:
        sigma: standard deviation of the noise, in [0, 1] units.
        draws: of `consistency` and `smooth_adv`, for each image.
        consistency: weight of how far the answers to the draws are from their mean.
        entropy: weight of how unsure that mean is.
        radius: of the ball in L2 in which the adversary of `smooth_adv` is.
    """

    sigma: Annotated[float, Field(gt=0)] = 0.25
    draws: Count = 2
    consistency: Annotated[float, Field(ge=0)] = 10.0
    entropy: Annotated[float, Field(ge=0)] = 0.5
    radius: Annotated[float, Field(gt=0)] = 0.5


@section
class Training:
    """How a classifier is trained.

    Attributes:
        method: what a step does with a batch.
        architecture: of the network.
        epochs: at most.
        batch_size: images of a step.
        optimizer: `adam`, or `sgd` with Nesterov momentum 0.9.
        learning_rate: the largest.
        schedule: how it falls to 0: along half a `cosine`, or in a straight line.
        weight_decay: decoupled, of all weights but biases and those of normalisation.
        average: decay of the exponential moving average of the weights, which is kept; 0 keeps the last ones.
        self_distillation: share of each target that the moving average's own answer to the image has in the end; it
            grows from 0 over the training (after Kim et al. 2021, whose teacher is the network of the last epoch).
        label_smoothing: share of each target that is spread over all classes.
        class_balance: whether an image counts the less, the more images its class has.
        weight_perturbation: how far weights are moved against the gradient's opposite before each step, as a share of
            their length (adversarial weight perturbation, Wu et al. 2020); 0 for not.
        adversary: of adversarial methods.
        smoothing: of methods that train with noise.
        augmentation: of training images.
        patience: epochs without a better validation accuracy after which training ends; 0 for none.
        further_share: share of what an epoch trains on that is further images, drawn by the data's source.
        precision: of convolutions and matrix products while it trains; the weights are float32 anyway. `bfloat16` is
            worth half of the time where the CPU has instructions for it, and changes nothing where it has not.
        seed: of everything that is drawn.

    Example:
        >>> plain = rd.Training(architecture="cnn", epochs=2, batch_size=5, learning_rate=0.01, seed=0)
        >>> plain.method
        'standard'
    """

    method: Annotated[str, one_of(METHODS)] = "standard"
    architecture: Annotated[str, one_of(ARCHITECTURES)]
    epochs: Count
    batch_size: Count
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    self_distillation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_balance: bool = False
    weight_perturbation: Annotated[float, Field(ge=0)] = 0.0
    adversary: Adversary = Adversary()
    smoothing: Smoothing = Smoothing()
    augmentation: Augmentation = Augmentation()
    patience: Annotated[int, Field(ge=0)] = 0
    further_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Precision = "float32"
    seed: Seed

    @model_validator(mode="after")
    def average_teaches(self) -> "Training":
        """Refuse self-distillation without a moving average."""
        if self.self_distillation and not self.average:
            raise ValueError(
                f"self_distillation {self.self_distillation:g} needs the moving average; set average, say to 0.99"
            )
        return self
