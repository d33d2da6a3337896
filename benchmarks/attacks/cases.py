"""The attacks that are compared, by the names and settings that each side has for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_distillation.settings import Precision

EPSILON = 8 / 255
NEAR = 1.0  # the L2 radius at which attacks that look for the nearest adversarial image are judged


@dataclass(frozen=True)
class Setting:
    """How our side runs.

    Attributes:
        precision: of the folded stand-in that is searched, or None to search the model itself.
        changes: of the attack's own defaults.
    """

    precision: "Precision | None" = None
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
