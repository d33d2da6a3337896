"""The comparison on a problem whose answers are known."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from robust_distillation.auditing import contenders
from robust_distillation.auditing.comparison import Ball, compare
from robust_distillation.auditing.figures import comparison_figure
from robust_distillation.auditing.table import comparison
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.input_filters import build_filter
from robust_distillation.defences.settings import InputFilters
from robust_distillation.records import Classes
from robust_distillation.threats.evasion.attack import Budget

BALLS = [Ball("linf", 0.1), Ball("l2", 0.5)]
COUNT, FEW = 24, 4


@pytest.fixture(scope="module")
def asked(problem):
    return {
        "images": problem.images[:COUNT],
        "labels": problem.labels[:COUNT],
        "balls": BALLS,
        "attacks": ["fgsm", "pgd"],
        "adaptive": ["pgd"],
        "budget": Budget(steps=20),
        "standard_images": 0,
    }


@pytest.fixture(scope="module")
def entrants(problem, other_problem):
    plain = contenders.classifier("undefended", problem.model)
    names = Classes(ids=[0, 1, 2, 3], names=list("abcd"))
    unsure = Abstention(
        problem.model, measure="passes", passes=4, seed=1, class_distributions=[], threshold=0.0, temperature=1.0
    )
    nobody = Defence(student=problem.model, classes=names, abstention=unsure)
    return [
        plain,
        contenders.defence("bare", Defence(student=problem.model, classes=names)),
        contenders.defence("abstains", nobody),
        contenders.behind_filter("median", build_filter("median", InputFilters()), plain, problem.model),
        contenders.smoothed("smoothing", problem.model, sigma=0.1, votes=100, draws=2, seed=1),
        contenders.ensemble([problem.model, other_problem.model]),
    ]


@pytest.fixture(scope="module")
def rows(entrants, asked):
    return {row.name: row for row in compare(entrants, **asked, done={})}


def test_who_knows_more_is_never_weaker(rows):
    for row in rows.values():
        for stood in row.stood.values():
            assert stood.unaware.shape == (2, COUNT)
            assert not (stood.adaptive & ~stood.unaware.all(axis=0)).any()
            assert not (stood.unaware.any(axis=0) & ~row.clean).any()
        assert row.milliseconds > 0


def test_the_standard_ensemble_counts_too(entrants, asked):
    (row,) = compare(entrants[:1], **asked | {"balls": BALLS[:1], "standard_images": FEW}, done={})
    stood = row.stood[BALLS[0]]
    assert stood.standard.shape == (FEW,)
    assert not (stood.adaptive[:FEW] & ~stood.standard).any()
    assert list(row.to_dict(["fgsm", "pgd"])["linf 0.1"]) == ["fgsm", "pgd", "standard", "adaptive"]


def test_a_defence_with_nothing_around_it_is_its_classifier(rows):
    for ball in BALLS:
        bare, plain = rows["bare"].stood[ball], rows["undefended"].stood[ball]
        np.testing.assert_array_equal(bare.unaware, plain.unaware)
        np.testing.assert_array_equal(bare.adaptive, plain.adaptive)


def test_what_is_refused_is_no_answer(rows):
    assert rows["abstains"].clean.mean() <= rows["undefended"].clean.mean()


def test_a_filter_meets_the_images_that_were_made_without_it(rows, problem, asked):
    stood = rows["median"].stood[BALLS[0]]
    assert stood.unaware.mean() > rows["undefended"].stood[BALLS[0]].unaware.mean()
    assert stood.adaptive.mean() < stood.unaware[1].mean()


def test_an_ensemble_answers_by_the_mean_of_the_probabilities(entrants, problem, other_problem):
    both = [keras.ops.softmax(one.model.predict(problem.images, verbose=0)) for one in (problem, other_problem)]
    np.testing.assert_array_equal(entrants[-1].answer(problem.images), (both[0] + both[1]).numpy().argmax(axis=1))


def test_the_comparison_goes_on_where_it_was(entrants, asked):
    done = {}
    first = compare(entrants[:1], **asked, done=done)
    assert list(done) == ["undefended linf 0.1", "undefended l2 0.5"]
    again = compare([replace(entrants[0], alone=None, whole=None)], **asked, done=done)
    assert again[0].stood is not first[0].stood
    assert all(again[0].stood[ball] is first[0].stood[ball] for ball in BALLS)


def test_table_and_picture_show_every_row(rows):
    found = {name: row.to_dict(["fgsm", "pgd"]) for name, row in rows.items()}
    assert list(found["median"]["linf 0.1"]) == ["fgsm", "pgd", "adaptive"]
    costs = {"median": {"milliseconds": 0.5, "train_minutes": None}}
    table = comparison(found, costs, {"smoothing": {"0.25": 0.3, "0.5": 0.1}})
    assert (table.row_count, len(table.columns)) == (len(rows), 2 + 2 * 3 + 1 + 2)
    figure = comparison_figure(found)
    assert len(figure.axes) == 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(found)[::-1]
