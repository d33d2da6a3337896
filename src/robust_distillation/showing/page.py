"""The page of `robust-distillation demo`, a Streamlit script: one image, one attack, two models."""

import numpy as np
import streamlit as st

from robust_distillation.arrays import Array
from robust_distillation.classifiers.storage import load_model
from robust_distillation.dataset.fitting import fit_image
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.defences.defence import Answers, Defence
from robust_distillation.errors import InputError
from robust_distillation.paths import DEFENCE, TEST, UNDEFENDED
from robust_distillation.pretrained import load_pretrained
from robust_distillation.showing.trial import ATTACKED, Trial, try_out, verdict
from robust_distillation.threats.evasion.attack import Attack, Budget
from robust_distillation.threats.evasion.ensemble import attack_by_name

PRETRAINED, HERE = "pretrained, 43 signs", "of the last run here"
DRAWN, UPLOADED, TESTED = "a sign, drawn now", "an image of yours", "the test set of the last run"
ATTACKS = {
    "none": None,
    "FGSM": "fgsm",
    "I-FGSM": "i_fgsm",
    "MI-FGSM": "mi_fgsm",
    "PGD": "pgd",
    "APGD": "apgd_ce",
    "Square": "square",
    "noise": "uniform_noise",
}
LEVELS = 16  # of 255, at most
SHOWN = 224  # pixels, about an image's width on the page


@st.cache_resource(show_spinner="loading the models")
def models(which: str) -> tuple[Defence, Defence]:
    """Return the undefended model, a classifier alone, and the defence."""
    if which == PRETRAINED:
        alone, defence = load_pretrained("gtsrb-undefended").student, load_pretrained("gtsrb-student")
    else:
        alone, defence = load_model(UNDEFENDED), Defence.load(DEFENCE)
    return Defence(student=alone, classes=defence.classes), defence


@st.cache_data(show_spinner=False)
def drawn(class_id: int, seed: int, side: int, grey: bool) -> Array:
    """Return a sign, uint8 (H, W, C)."""
    signs = draw_further(
        [class_id],
        tracks_per_class=1,
        frames_per_track=1,
        image_size=side,
        colour="grey" if grey else "rgb",
        crop_to_roi=True,
        seed=seed,
        jobs=1,
    )
    features: Array = signs.features[0]
    return features


def choose_image(which: str, defence: Defence) -> tuple[Array, int | None]:
    """Ask for an image; return it, uint8 (H, W, C), and its label, None where nobody knows."""
    names, shape = defence.classes.names, defence.student.input_shape[1:]
    sources = [DRAWN, UPLOADED] if which == PRETRAINED else [TESTED, UPLOADED]
    source = st.sidebar.radio("Image", sources)
    if source == UPLOADED:
        file = st.sidebar.file_uploader("A picture of a sign", type=["png", "jpg", "jpeg", "ppm", "bmp", "webp"])
        if file is None:
            st.info("Drop an image on the left.")
            st.stop()
        fitted = fit_image(file, shape)
        for note in fitted.notes:
            st.sidebar.caption(note)
        known = st.sidebar.selectbox("True class", ["as the undefended model says", *names])
        return fitted.features, names.index(known) if known in names else None
    if source == TESTED:
        test = ImageSet.load(TEST)
        row = int(st.sidebar.number_input("Number", 0, len(test) - 1, 0))
        return test.features[row], int(test.labels[row])
    label = names.index(st.sidebar.selectbox("Sign", names, index=names.index("Stop")))
    seed = int(st.sidebar.number_input("Drawing", 0, 9999, 1))
    return drawn(defence.classes.ids[label], seed, shape[0], shape[2] == 1), label


def choose_attack() -> tuple[Attack | None, float, str]:
    """Ask for an attack, its epsilon, and whom it is made for."""
    name = ATTACKS[st.sidebar.selectbox("Attack", list(ATTACKS), index=4)]
    levels = st.sidebar.slider("Epsilon, grey levels of 255", 1, LEVELS, 8)
    against = st.sidebar.radio("Made to mislead", ATTACKED, format_func=lambda one: f"the {one} model")
    attack = None if name is None else attack_by_name(name, Budget(steps=40, queries=1000))
    return attack, levels / 255, against


def show_images(trial: Trial, reforms: bool) -> None:
    """Show the image, what became of it, and what was added."""
    pictures = {"the image": trial.image, "attacked": trial.attacked}
    pictures |= {"as the student sees it": trial.reformed} if reforms else {}
    pictures |= {"what was added, amplified": trial.residual}
    for column, (title, pixels) in zip(st.columns(len(pictures)), pictures.items(), strict=True):
        times = max(1, SHOWN // pixels.shape[0])  # the browser would blur what is enlarged there
        large = np.repeat(np.repeat(np.clip(pixels, 0, 1), times, axis=0), times, axis=1)
        column.image(large.squeeze(), caption=title)


def show_answers(title: str, answers: Answers, names: list[str], label: int) -> None:
    """Show what a model says of the image as it was and as it is now, and what its parts say of that."""
    st.subheader(title)
    for row, when in enumerate(("the image", "attacked")):
        right = answers.best[row] == label
        st.markdown(f"{when}: **{verdict(answers, row, names)}** {'✓' if right else '✗'}")
    top = np.argsort(answers.probabilities[1])[::-1][:5]
    for one in top:
        share = float(answers.probabilities[1, one])
        st.progress(share, text=f"{names[one]}, {share:.1%}")
    for part, scores in answers.scores.items():
        st.caption(f"{part}: score {scores[1]:.3g}, refused above {answers.thresholds[part]:.3g}")


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title="Attack a traffic sign", page_icon="🛑", layout="wide")
    st.title("Attack a traffic sign")
    there = DEFENCE.is_dir() and UNDEFENDED.is_file() and TEST.is_file()
    which = st.sidebar.radio("Models", [PRETRAINED, HERE]) if there else PRETRAINED
    try:
        undefended, defence = models(which)
        features, known = choose_image(which, defence)
        image = features.astype(np.float32) / 255
        label = int(undefended.answer(image[None]).best[0]) if known is None else known
        attack, epsilon, against = choose_attack()
        with st.spinner("attacking"):
            trial = try_out(undefended, defence, image, label, attack=attack, epsilon=epsilon, against=against)
    except InputError as error:
        st.error(str(error))
        st.stop()
    show_images(trial, defence.autoencoder is not None)
    names = defence.classes.names
    for column, title, answers in zip(
        st.columns(2), ("Undefended", "Defended"), (trial.undefended, trial.defended), strict=True
    ):
        with column:
            show_answers(title, answers, names, label)
    st.caption(
        f"True class: {names[label]}. An attack on one model may mislead the other too. Who attacks the defended one "
        "knows all of it, and wants a wrong answer that is not refused."
    )


main()
