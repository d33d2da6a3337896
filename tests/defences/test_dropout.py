import keras
import numpy as np
import tensorflow as tf
from keras import layers

from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.dropout import DropoutSampler


def test_passes_differ_and_repeat(problem):
    sampler = DropoutSampler(problem.model, passes=6, seed=1)
    alone, first = sampler.predict_logits(problem.images)
    np.testing.assert_allclose(alone, predict_logits(problem.model, problem.images), atol=1e-4)
    assert first.shape == (6, 60, 4)
    assert tf.nn.softmax(first).numpy().std(axis=0).max() > 1e-3
    np.testing.assert_array_equal(first, sampler.predict_logits(problem.images)[1])
    _, others = DropoutSampler(problem.model, passes=6, seed=2).predict_logits(problem.images)
    assert not np.array_equal(first, others)


def test_an_images_answer_does_not_depend_on_its_batch(problem):
    sampler = DropoutSampler(problem.model, passes=6, seed=1)

    def predicted(images, **settings):
        return tf.nn.softmax(sampler.predict_logits(images, **settings)[1]).numpy()

    together = predicted(problem.images)
    np.testing.assert_allclose(predicted(problem.images[::-1])[:, ::-1], together, atol=1e-5)
    np.testing.assert_allclose(predicted(problem.images[5:6]), together[:, 5:6], atol=1e-5)
    np.testing.assert_allclose(predicted(problem.images, batch_size=7), together, atol=1e-5)


def test_only_dropout_is_random_not_batch_normalisation():
    image = keras.Input((4, 4, 1))
    x = layers.BatchNormalization()(image)
    x = layers.GaussianNoise(1.0)(x)
    model = keras.Model(image, layers.Dense(3)(layers.Dropout(0.0)(layers.Flatten()(x))))
    images = np.random.default_rng(0).random((9, 4, 4, 1), dtype=np.float32) * 7
    alone, passes = DropoutSampler(model, passes=3, seed=0).predict_logits(images)
    expected = predict_logits(model, images)
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    np.testing.assert_allclose(passes, np.stack([expected] * 3), atol=1e-5)
