from pathlib import Path

import pytest
import yaml

from robust_distillation.errors import InputError
from robust_distillation.params import format_epsilon, load_params

DEFAULTS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def load_with(tmp_path):
    """Load the default params with one value changed."""

    def load(dotted, value):
        params = yaml.safe_load(DEFAULTS.read_text())
        *sections, key = dotted.split(".")
        target = params
        for section in sections:
            target = target[section]
        target[key] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(params))
        return load_params(path)

    return load


def test_default_params_load_and_fractions_are_parsed():
    params = load_params(DEFAULTS)
    assert params.poison.alpha == pytest.approx(1 / 255)
    assert 8 / 255 in params.poison.epsilons


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("poison.epsilons", [8]),
        ("poison.epsilons", [0.01, 0]),
        ("poison.epsilons", ["8/0"]),
        ("poison.epsilons", ["eight"]),
        ("poison.epsilons", []),
        ("poison.alpha", -0.1),
        ("poison.fraction", 1.5),
        ("poison.kinds", ["pgd", "magic"]),
        ("poison.colour", "red"),
        ("student.epochs", 0),
        ("student.epochs", "many"),
        ("data.source", "imagenet"),
        ("dataset.classes", 0),
        ("dataset.classes", [-1]),
        ("teacher.temperature", 0),
        ("validate.max_shared_share", 2),
        ("register.name", ""),
    ],
)
def test_a_bad_value_is_one_line_that_names_file_and_key(load_with, key, value):
    with pytest.raises(InputError, match=rf"params\.yaml: {key}.*Received: ") as caught:
        load_with(key, value)
    assert "\n" not in str(caught.value)


def test_an_epsilon_in_grey_levels_is_told_how_to_write_it(load_with):
    with pytest.raises(InputError, match="8/255"):
        load_with("robustness.epsilons", [8])


def test_an_unknown_section_is_named(load_with):
    with pytest.raises(InputError, match="poisson"):
        load_with("poisson", {})


@pytest.mark.parametrize("name", ["probe", "teacher", "student"])
@pytest.mark.parametrize("key", ["architecture", "seed"])
def test_attacker_and_defender_share_nothing(load_with, name, key):
    surrogate = getattr(load_params(DEFAULTS).surrogate, key)
    with pytest.raises(InputError, match=rf"{name}\.{key} equals surrogate\.{key}"):
        load_with(f"{name}.{key}", surrogate)


@pytest.mark.parametrize("classes", [5, [14, 3], "all"])
def test_classes_are_a_count_a_list_or_all(load_with, classes):
    assert load_with("dataset.classes", classes).dataset.classes == classes


@pytest.mark.parametrize(("text", "reason"), [("poison: [", "not YAML"), ("", "whole file"), ("- 1", "whole file")])
def test_a_file_that_holds_no_params_is_named(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"params\.yaml: {reason}"):
        load_params(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: not found"):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(("epsilon", "text"), [(8 / 255, "8/255"), (0.01, "0.01"), (1.0, "255/255")])
def test_an_epsilon_is_written_as_people_do(epsilon, text):
    assert format_epsilon(epsilon) == text
