import os

import pytest

from robust_distillation.quiet import stderr_held_back


def test_native_noise_is_dropped_and_later_words_are_shown(capfd):
    with stderr_held_back():
        os.write(2, b"Unable to register cuDNN factory\n")
    os.write(2, b"epoch 1\n")
    assert capfd.readouterr().err == "epoch 1\n"


def test_what_was_said_before_a_failure_is_shown(capfd):
    @stderr_held_back()
    def fail():
        os.write(2, b"libGL is missing\n")
        raise ImportError("no module")

    with pytest.raises(ImportError, match="no module"):
        fail()
    assert capfd.readouterr().err == "libGL is missing\n"
