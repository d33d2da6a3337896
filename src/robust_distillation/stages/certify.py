"""certify: what no change in L2 can turn, of the network that was trained with noise."""

import csv

import mlflow
import numpy as np

from robust_distillation.auditing.certification import Certification, certification_figure, certify_in_shards
from robust_distillation.classifiers.storage import load_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.smoothing import Certificates, Smoothed
from robust_distillation.files import replacing
from robust_distillation.params import Params
from robust_distillation.paths import BUILD, CERTIFIED, SMOOTHED, TEST
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.stages.shards import Shards
from robust_distillation.tracking.runs import input_digest


def main(params: Params) -> None:
    """Certify test images, report accuracies by radius, and write each certificate."""
    asked, sigma = params.certify, params.smoothed.smoothing.sigma
    test = ImageSet.load(TEST)
    test = test.take(np.argsort(test.ids)[: len(test) if asked.images == "all" else asked.images])
    shards = Shards(BUILD / "certify" / input_digest("certify", params), Certificates)
    certificates = certify_in_shards(
        Smoothed(load_model(SMOOTHED), sigma=sigma, seed=asked.seed),
        test.images,
        n0=asked.n0,
        n=asked.n,
        alpha=asked.alpha,
        done=shards,
    )
    found = Certification(certificates=certificates, labels=test.labels, sigma=sigma, shape=test.features.shape[1:])
    report_metrics("certify", found.to_dict(asked.radii))
    report_figure("certified_accuracy", certification_figure({f"{params.smoothed.method}, sigma {sigma:g}": found}))
    with replacing(CERTIFIED) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "answer", "radius"])
        writer.writerows(zip(test.ids, test.labels, certificates.labels, certificates.radii, strict=True))
    mlflow.log_artifact(str(CERTIFIED))
    shards.clear()
