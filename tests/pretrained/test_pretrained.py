"""What is shipped is what its card says."""

import numpy as np
import pytest

from robust_distillation.dataset.generator import DatasetGenerator
from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.errors import InputError
from robust_distillation.files import read_json
from robust_distillation.pretrained import CARD, FOLDER, load_pretrained, pretrained_folder, pretrained_names
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, build
from robust_distillation.threats.evasion.victim import Victim

MEGABYTE = 2**20
TOLERANCE = 0.005  # other machines round otherwise


def figures(defence, images, labels):
    attack = build(["pgd"], Budget(steps=20))
    victim = Victim(defence.classifier, temperature=defence.temperature)
    right = defence.answer(images).best == labels
    standing = {
        text: attack(victim, images, labels, epsilon=epsilon).broken_by == STANDS
        for text, epsilon in (("4/255", 4 / 255), ("8/255", 8 / 255))
    }
    return right.mean(), {text: found.mean() for text, found in standing.items()}


@pytest.fixture(scope="module")
def validation(gtsrb):
    """The first images of the validation tracks of GTSRB."""
    generator = DatasetGenerator(
        n_classes="all",
        n_train_samples="all",
        n_validate_samples=1290,
        n_test_samples="all",
        n_trusted_samples=3870,
        image_size=32,
        seed=12,
    )
    return generator.generate(gtsrb).validate.take(np.arange(300))


def test_all_of_them_are_small():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.keras")) < 12 * MEGABYTE


@pytest.mark.parametrize("name", pretrained_names())
def test_each_has_a_card_that_says_what_it_is(name):
    card = (pretrained_folder(name) / CARD).read_text()
    for heading in ("## Data", "## Training", "## Figures", "## Limits", "## Licence"):
        assert heading in card
    assert "commit" in card


def test_what_is_not_there_is_refused():
    names = "gtsrb-published, gtsrb-student, gtsrb-undefended"
    with pytest.raises(InputError, match=f"pretrained nonsense: there is none; choose one of {names}$"):
        load_pretrained("nonsense")


@pytest.mark.parametrize("name", pretrained_names())
def test_drawn_signs_are_answered_as_its_figures_say(name):
    defence = load_pretrained(name)
    drawn = draw_further(
        defence.classes.ids,
        tracks_per_class=2,
        frames_per_track=2,
        image_size=32,
        colour="rgb",
        crop_to_roi=True,
        seed=99,
        jobs=1,
    )
    clean, standing = figures(defence, drawn.images, drawn.labels)
    told = read_json(FOLDER / name / "figures.json")["drawn"]
    assert clean == pytest.approx(told["clean"], abs=TOLERANCE)
    assert standing == pytest.approx(told["pgd_20"], abs=TOLERANCE)


@pytest.mark.parametrize("name", pretrained_names())
def test_validation_signs_are_answered_as_its_figures_say(name, validation):
    clean, standing = figures(load_pretrained(name), validation.images, validation.labels)
    told = read_json(FOLDER / name / "figures.json")["validation, first 300"]
    assert clean == pytest.approx(told["clean"], abs=TOLERANCE)
    assert standing == pytest.approx(told["pgd_20"], abs=TOLERANCE)
