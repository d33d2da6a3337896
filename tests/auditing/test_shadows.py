"""The networks of the membership game, trained on noise that they can only know by heart."""

from dataclasses import replace

import numpy as np
import pytest

from robust_distillation.auditing import shadows
from robust_distillation.auditing.membership import attack_members, draw_members
from robust_distillation.auditing.settings import Privacy
from robust_distillation.auditing.shadows import Methods, Pool, play
from robust_distillation.classifiers.settings import Adversary, Smoothing, Training
from robust_distillation.defences.settings import Student, Teacher
from robust_distillation.records import Classes

IMAGES = 120
RNG = np.random.default_rng(5)
NOISE = Pool(
    images=RNG.random((IMAGES, 8, 8, 1), np.float32),
    labels=RNG.integers(0, 3, IMAGES),
    validation=(RNG.random((10, 8, 8, 1), np.float32), RNG.integers(0, 3, 10)),
    classes=Classes(ids=[0, 1, 2], names=["a", "b", "c"], mirror=[]),
)
NETWORK = {"architecture": "cnn", "epochs": 20, "batch_size": 16, "learning_rate": 0.006}
MILD = Adversary(epsilon=0.01, steps=2)
METHODS = Methods(
    teacher=Teacher(**NETWORK, method="n_fgsm", temperature=2.0, adversary=MILD, seed=1),
    student=Student(**NETWORK, method="standard", adversary=MILD, seed=2),
    smoothed=Training(**NETWORK, method="gaussian", smoothing=Smoothing(sigma=0.02), seed=3),
)
ASKED = Privacy(
    models=["undefended", "teacher", "student", "smoothed"],
    images=IMAGES,
    networks=3,
    network=Training(**NETWORK, seed=4),
    draws=4,
    seed=6,
)
MEMBERS = draw_members(ASKED.networks, IMAGES, np.random.default_rng(ASKED.seed))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return play(NOISE, MEMBERS, ASKED, METHODS, folder), folder


@pytest.mark.parametrize("name", ASKED.models)
def test_what_networks_know_by_heart_is_found(played, name):
    found = attack_members(played[0][name], np.arange(IMAGES))
    assert found.to_dict()["gap"] > 0.3
    assert found.auroc("loss") > 0.8


def test_what_no_network_saw_is_not_found(played):
    game = replace(played[0]["undefended"], members=draw_members(ASKED.networks, IMAGES, np.random.default_rng(99)))
    found = attack_members(game, np.arange(IMAGES))
    assert all(found.auroc(attack) == pytest.approx(0.5, abs=0.15) for attack in found.scores)


def test_what_is_there_is_not_trained_again(played, monkeypatch):
    games, folder = played
    assert {file.name for file in folder.iterdir()} == {
        f"{name} {number}.keras" for name in ASKED.models for number in range(3)
    }
    (folder / "student 1.keras").unlink()
    trained = []
    again = shadows._student
    monkeypatch.setattr(shadows, "_student", lambda *given: trained.append("student") or again(*given))
    monkeypatch.setattr(shadows, "_on_labels", lambda *_: trained.append("another"))
    once_more = play(NOISE, MEMBERS, ASKED, METHODS, folder)
    assert trained == ["student"]
    for name, game in games.items():
        np.testing.assert_array_equal(once_more[name].logits, game.logits)
