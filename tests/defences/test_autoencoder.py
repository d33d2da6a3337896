import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.defences.autoencoder import (
    Hyperparameters,
    adversarial_pairs,
    build_autoencoder,
    flipped_batches,
    gaussian_pairs,
    join,
    mean_squared_error,
    reconstruct,
    reconstruction,
    train_autoencoder,
)
from robust_distillation.defences.detectors.mse import ReconstructionError, infer_threshold, reconstruction_error
from robust_distillation.defences.reform import reform, reformed_classifier
from robust_distillation.defences.settings import Autoencoder

CHOSEN = Hyperparameters(width=8, depth=1, latent=8, optimizer="adam", learning_rate=0.01)
SETTINGS = Autoencoder(
    mode="adversarial",
    kinds=["fgsm", "i_fgsm"],
    epsilons=[0.01, 8 / 255],
    alpha=1 / 255,
    iterations=4,
    noise=0.12,
    epochs=4,
    patience=2,
    batch_size=16,
    seed=7,
)


@pytest.fixture(scope="module")
def features(problem):
    return np.rint(255 * problem.images).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(problem, features):
    pairs = join(adversarial_pairs(features, problem.labels, problem.model, SETTINGS))
    return train_autoencoder(CHOSEN, pairs, pairs, SETTINGS, [])


@pytest.mark.parametrize("shape", [(28, 28, 3), (30, 30, 1), (13, 17, 3)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reconstructions_have_the_images_shape_and_range(shape, depth):
    chosen = Hyperparameters(width=4, depth=depth, latent=4, optimizer="sgd", learning_rate=0.01)
    images = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    output = reconstruct(build_autoencoder(shape, chosen), images)
    assert output.shape == images.shape
    assert output.min() >= 0
    assert output.max() <= 1


def test_training_lowers_the_error_and_repeats(problem, features, trained):
    model, history = trained
    pairs = join(adversarial_pairs(features, problem.labels, problem.model, SETTINGS))
    again, _ = train_autoencoder(CHOSEN, pairs, pairs, SETTINGS, [])
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert mean_squared_error(model, pairs) == pytest.approx(min(history["val_loss"]), rel=1e-4)
    assert mean_squared_error(again, pairs) == mean_squared_error(model, pairs)


def test_adversarial_pairs_keep_the_clean_target_and_the_ball(problem, features):
    pairs = adversarial_pairs(features, problem.labels, problem.model, SETTINGS)
    assert list(pairs) == ["clean", "fgsm 0.01", "fgsm 8/255", "i_fgsm 0.01", "i_fgsm 8/255"]
    for name, (distorted, clean) in pairs.items():
        np.testing.assert_array_equal(clean, features.astype(np.float32) / 255)
        bound = {"clean": 0, "0.01": 0.01, "8/255": 8 / 255}[name.split()[-1]]
        assert np.abs(distorted - clean).max() <= bound + 1e-6


def test_gaussian_pairs_have_the_noise_asked_for(features):
    ((distorted, clean),) = gaussian_pairs(features, SETTINGS).values()
    inside = (clean > 0.45) & (clean < 0.55)
    assert np.std((distorted - clean)[inside]) == pytest.approx(0.12, abs=0.01)


def symmetries(image):
    turned = [np.rot90(image, turns) for turns in range(4)]
    return [*turned, *(each[:, ::-1] for each in turned)]


@pytest.mark.parametrize(("shape", "count"), [((6, 6, 3), 8), ((4, 6, 3), 4)])
def test_flips_turn_both_images_of_a_pair_alike_and_use_every_symmetry(shape, count):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    clean = np.repeat(image[None], 100, axis=0)
    batches = list(flipped_batches((clean + 1, clean), 32, seed=1).as_numpy_iterator())
    assert [len(batch[0]) for batch in batches] == [25, 25, 25, 25]
    seen = set()
    for distorted, target in batches:
        np.testing.assert_array_equal(distorted, target + 1)
        seen |= {one.tobytes() for one in target}
    assert seen == {one.tobytes() for one in symmetries(image) if one.shape == shape}
    assert len(seen) == count


def test_epochs_draw_anew_and_a_seed_draws_the_same():
    clean = np.random.default_rng(0).random((20, 6, 6, 3), dtype=np.float32)
    first, again = (flipped_batches((clean + 1, clean), 8, seed=1) for _ in range(2))
    epochs = [[np.concatenate([target for _, target in batches]) for _ in range(2)] for batches in (first, again)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert not np.array_equal(*epochs[0])


def test_the_score_is_the_mean_squared_error_and_alibi_detect_agrees(problem, trained):
    from alibi_detect.od import OutlierAE

    model, _ = trained
    scores = ReconstructionError(model, 0.1).score(problem.images)
    np.testing.assert_allclose(scores, reconstruction_error(problem.images, reconstruct(model, problem.images)))
    outlier = OutlierAE(threshold=0.1, ae=model, data_type="image")
    _, theirs = outlier.score(problem.images)
    np.testing.assert_allclose(scores, theirs, rtol=1e-4)


@pytest.mark.parametrize("keep", [0.5, 0.9, 1.0])
def test_the_inferred_threshold_keeps_the_promised_share(problem, trained, keep):
    model, _ = trained
    threshold = infer_threshold(model, problem.images, start=1.0, keep_clean=keep)
    kept = ReconstructionError(model, threshold).score(problem.images) <= threshold + 1e-9
    assert kept.mean() == pytest.approx(keep, abs=1 / 60)


def test_scores_do_not_depend_on_order_or_company(problem, trained):
    detector = ReconstructionError(trained[0], 0.1)
    scores = detector.score(problem.images)
    np.testing.assert_allclose(detector.score(problem.images[::-1])[::-1], scores, rtol=1e-5)
    np.testing.assert_allclose(detector.score(problem.images[3:4]), scores[3:4], rtol=1e-5)


def test_the_reformed_classifier_is_the_classifier_of_the_reformed_image(problem, trained):
    model, _ = trained
    both = reformed_classifier(model, problem.model)
    expected = problem.model(reform(model, problem.images, "reconstruct"))
    np.testing.assert_allclose(both(problem.images), expected, rtol=1e-4, atol=1e-5)
    assert reform(model, problem.images, "none") is problem.images
    assert reformed_classifier(None, problem.model) is problem.model


def test_a_tensor_is_reconstructed_once_per_graph():
    calls = []

    def twice(images):
        calls.append(1)
        return 2 * images

    def seen(images):
        return reconstruction(twice, images)

    image = tf.constant([1.0])
    graph = tf.function(lambda images: seen(images) + seen(images))
    assert graph(image).numpy() == 4
    assert len(calls) == 1
    # Another graph has a tensor of its own, and eager calls are never remembered.
    assert tf.function(lambda images: seen(images))(image).numpy() == 2
    assert len(calls) == 2
    assert seen(image) + seen(image) == 4
    assert len(calls) == 4
