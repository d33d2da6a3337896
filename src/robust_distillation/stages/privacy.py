"""privacy: who can tell which images a model was trained on."""

import shutil

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.figures import membership_figure
from robust_distillation.auditing.membership import ATTACKS, Game, Membership, attack_members, draw_members
from robust_distillation.auditing.shadows import Methods, Pool, answers, play
from robust_distillation.classifiers.storage import load_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.tracks import track_groups
from robust_distillation.defences.defence import Defence
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import BUILD, CLASSES, DEFENCE, FILTERED, SMOOTHED, TEACHER, UNDEFENDED, VALIDATE
from robust_distillation.records import Classes
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.tracking.runs import input_digest

POINTS = 60  # of a drawn curve


def main(params: Params) -> None:
    """Attack networks that were trained on halves of a pool, and by their losses alone the models here."""
    asked, filtered, validate = params.privacy, ImageSet.load(FILTERED), ImageSet.load(VALIDATE)
    rng = np.random.default_rng(asked.seed)
    most = None if asked.images == "all" else asked.images
    chosen = filtered.take(np.sort(rng.permutation(len(filtered))[:most]))
    members = draw_members(asked.networks, len(chosen), rng)
    folder = BUILD / "privacy" / input_digest("privacy", params)
    pool = Pool(
        images=chosen.images,
        labels=chosen.labels,
        validation=(validate.images, validate.labels),
        classes=read_record(CLASSES, Classes),
    )
    methods = Methods(teacher=params.teacher, student=params.student, smoothed=params.smoothed)
    games = play(pool, members, asked, methods, folder)
    found = {name: attack_members(game, track_groups(chosen.tracks)) for name, game in games.items()}
    rates = np.geomspace(1 / (~members).sum(axis=1).min(), 1, POINTS)
    curves = {name: {attack: one.curve(attack, rates) for attack in ATTACKS} for name, one in found.items()}
    report_figure("membership", membership_figure(curves, rates))
    deployed = {name: _by_loss(name, filtered, validate, params).to_dict() for name in asked.models}
    report_metrics("privacy", {name: one.to_dict() for name, one in found.items()} | {"deployed": deployed})
    shutil.rmtree(folder, ignore_errors=True)


def _by_loss(name: str, filtered: ImageSet, validate: ImageSet, params: Params) -> Membership:
    """Attack a model here: it was trained on the filtered set, and not on validation images, whose tracks differ."""
    asked = params.privacy
    paths = {"undefended": UNDEFENDED, "teacher": TEACHER, "smoothed": SMOOTHED}
    model = Defence.load(DEFENCE).classifier if name == "student" else load_model(paths[name])

    def both(key: str) -> Array:
        sides: Array = np.concatenate([getattr(filtered, key), getattr(validate, key)])
        return sides

    logits = answers(model, both("images"), name, params.smoothed.smoothing.sigma, asked.draws, asked.seed)
    members = np.arange(len(logits)) < len(filtered)
    game = Game(logits=logits[None], members=members[None], labels=both("labels"))
    return attack_members(game, track_groups(both("tracks")), ["loss"])
