from pathlib import Path

import pytest
import yaml

from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.settings import format_epsilon

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
        ("register.name", " "),
        ("register.name", "signs/student"),
        ("register.name", "models:student"),
        ("register.name", "..student"),
        ("data.path", None),
        ("data.path", 5),
        ("student.seed", 2**32),
        ("student.learning_rate", float("inf")),
        ("filter.threshold_start", float("nan")),
        ("tune.learning_rates", [0.001, float("inf")]),
        ("poison.epsilons", ["1e999"]),
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


def test_a_name_that_mlflow_takes_passes(load_with):
    assert load_with("register.name", "a.b @ c").register.name == "a.b @ c"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("dataset.classes", "some", "must be a whole number from 1, a list of class ids, or all. Received: 'some'"),
        ("dataset.classes", [], "must be a whole number from 1, a list of class ids, or all. Received: []"),
        ("dataset.train_samples", "most", "must be a whole number from 1, or all. Received: 'most'"),
        ("dataset.test_samples", 0, "must be a whole number from 1, or all. Received: 0"),
        ("robustness.images", 1.5, "must be a whole number from 1, or all. Received: 1.5"),
        ("robustness.attacks", "pgd", "must be standard, or a list of fgsm, i_fgsm"),
        ("robustness.attacks", ["magic"], "must be standard, or a list of fgsm, i_fgsm"),
    ],
)
def test_a_value_of_several_kinds_is_refused_in_one_sentence(load_with, key, value, words):
    with pytest.raises(InputError) as caught:
        load_with(key, value)
    assert str(caught.value).count(key) == 1
    assert f"params.yaml: {key}: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "twice"),
    [
        ("dataset.classes", [14, 3, 14], "14"),
        ("robustness.attacks", ["pgd", "fgsm", "pgd"], "pgd"),
        ("poison.kinds", ["fgsm", "fgsm"], "fgsm"),
        ("autoencoder.kinds", ["pgd", "pgd"], "pgd"),
        ("poison.epsilons", ["8/255", 8 / 255], "8/255"),
        ("autoencoder.epsilons", ["4/255", "12/255", "4/255"], "4/255"),
        ("robustness.epsilons", [0.01, 0.010], "0.01"),
    ],
)
def test_an_entry_that_stands_twice_is_named(load_with, key, value, twice):
    with pytest.raises(InputError, match=rf"params\.yaml: {key}: lists {twice} twice; name each once"):
        load_with(key, value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("validate.min_side", 9000, "validate: min_side 9000 is above max_side 8192; lower it"),
        ("tune.learning_rates", [0.01, 0.001], r"tune: learning_rates must be .* Received: \[0.01, 0.001\]"),
        ("tune.learning_rates", [0.01, 0.01], "tune: learning_rates must be the lower end, then the higher"),
        (
            "promotion.robust_epsilon",
            "2/255",
            r"promotion.robust_epsilon 2/255 is not among .* \(0.01, 4/255",
        ),
        ("robustness.images", 101, "robustness.images 101 is above dataset.test_samples 100; lower it"),
        ("data.path", "zips", "data: source synthetic reads no files; set path to data/downloads, not zips"),
        ("data.source", "udacity", "data: with source udacity, path must name the folder"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_both_named(load_with, key, value, words):
    with pytest.raises(InputError, match=rf"params\.yaml: {words}") as caught:
        load_with(key, value)
    assert "{" not in str(caught.value)


def test_a_gate_is_an_epsilon_that_is_measured_however_it_is_written(load_with):
    assert load_with("promotion.robust_epsilon", 8 / 255).promotion.robust_epsilon == pytest.approx(8 / 255)


def test_an_audit_of_all_images_fits_any_number_of_them(load_with):
    assert load_with("dataset.test_samples", "all").robustness.images == "all"
    assert load_with("robustness.images", 100).robustness.images == 100


@pytest.mark.parametrize("name", ["probe", "teacher", "student"])
@pytest.mark.parametrize("key", ["architecture", "seed"])
def test_attacker_and_defender_share_nothing(load_with, name, key):
    surrogate = getattr(load_params(DEFAULTS).surrogate, key)
    with pytest.raises(InputError, match=rf"{name}\.{key} equals surrogate\.{key}, both {surrogate}: ") as caught:
        load_with(f"{name}.{key}", surrogate)
    assert "{" not in str(caught.value)


def test_the_defender_does_not_train_on_the_recipe_of_the_attacker(load_with):
    recipe = {"kinds": ["i_fgsm", "fgsm"], "epsilons": ["8/255", 0.01], "alpha": "1/255", "iterations": 10}
    trained = yaml.safe_load(DEFAULTS.read_text())["autoencoder"] | recipe
    with pytest.raises(InputError, match=r"autoencoder\.kinds, epsilons, alpha and iterations all equal .* poison"):
        load_with("autoencoder", trained)
    assert load_with("autoencoder", trained | {"iterations": 9}).autoencoder.iterations == 9
    assert load_with("autoencoder", trained | {"mode": "gaussian"}).autoencoder.mode == "gaussian"


@pytest.mark.parametrize("classes", [5, [14, 3], "all"])
def test_classes_are_a_count_a_list_or_all(load_with, classes):
    assert load_with("dataset.classes", classes).dataset.classes == classes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("poison: [", "not YAML"),
        ("", "whole file"),
        ("- 1", "whole file"),
        ("a: 2024-13-13", "not YAML"),
        ("? [a]\n: 1", "not YAML"),
    ],
)
def test_a_file_that_holds_no_params_is_named(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"params\.yaml: {reason}"):
        load_params(path)


@pytest.mark.parametrize("content", [b"data: \xff\xfe", b"data: \x00", bytes(range(256))])
def test_a_file_that_is_no_text_is_one_line(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"params\.yaml: not YAML: ") as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(DEFAULTS.read_text() + "  min_coverage: 0\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(InputError, match=rf"the key min_coverage stands twice; remove one in .* line {line},"):
        load_params(path)


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a folder where a file is expected; move it away"):
        load_params(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: not found"):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(("epsilon", "text"), [(8 / 255, "8/255"), (0.01, "0.01"), (1.0, "255/255")])
def test_an_epsilon_is_written_as_people_do(epsilon, text):
    assert format_epsilon(epsilon) == text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("robustness.distances.models", ["student", "nope"], "names nope; choose among undefended, teacher, student"),
        ("student.augmentation.cut_out", 28, "cut_out 28 leaves nothing of images of dataset.image_size 28"),
        ("teacher.augmentation.shift", 1000.0, "shift 1000 leaves nothing of images"),
        (
            "student.further_share",
            0.5,
            "student.further_share is 0.5, but draw.tracks_per_class 0 draws none",
        ),
        (
            "published.student.self_distillation",
            0.5,
            "student: self_distillation 0.5 needs the moving average; set average",
        ),
        ("probe.further_share", 0.5, "probe.further_share: further images are for teacher and student"),
        ("student.further_share", 1.0, "student.further_share: Input should be less than 1"),
        ("student.further_share", -0.1, "student.further_share: Input should be greater than or equal to 0"),
        ("student.labels", "hard", r"student\.labels: Input should be 'soft' or 'outlier'\. Received: 'hard'"),
        ("teacher.labels", "soft", r"teacher\.labels: "),
        (
            "abstention.measure",
            "outlier",
            r"abstention\.measure outlier needs student\.labels outlier; set both, or another measure",
        ),
        (
            "filter.inference_detector",
            "label",
            r"filter\.inference_detector: detector label needs labels, which images lack at inference",
        ),
        (
            "dataset.trusted_samples",
            0,
            r"autoencoder\.mode adversarial needs trusted images, but dataset\.trusted_samples is 0",
        ),
        ("dataset.trusted_samples", 1, r"trusted_samples 1 cannot be split in two; choose 0 for none, or more"),
        ("published.detector", "trigger", r"published\.detector: detector trigger needs labels"),
        (
            "filter.detector",
            "nope",
            r"filter\.detector: must be one of mse, kl, combined, label, residual, trigger, or package",
        ),
        ("filter.combined", ["mse", "combined"], "combined lists combined; name the detectors that it is made of"),
        ("filter.combined", [], "filter.combined: must name at least one detector"),
        ("filter.residual.drop", 1.0, r"filter\.residual\.drop: Input should be less than 1"),
        ("filter.residual.steps", [], r"filter\.residual\.steps: "),
        ("poison.target", -1, r"poison\.target: Input should be greater than or equal to 0"),
        ("poison.source", 0, "source 0 is the target too; choose another class"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(load_with, key, value, said):
    with pytest.raises(InputError, match=said):
        load_with(key, value)


@pytest.mark.parametrize("name", ["surrogate", "probe", "teacher"])
def test_a_method_that_needs_a_teacher_is_for_the_student(load_with, name):
    with pytest.raises(InputError, match=f"{name}.method rslad needs a teacher: it is for the student"):
        load_with(f"{name}.method", "rslad")
    assert load_with("student.method", "rslad").student.method == "rslad"


@pytest.mark.parametrize("method", ["ard", "rslad", "adaad"])
def test_an_outlier_class_is_learned_without_the_methods_that_need_soft_labels(load_with, method):
    student = yaml.safe_load(DEFAULTS.read_text())["student"] | {"labels": "outlier"}
    assert load_with("student", student | {"method": "pgd"}).student.labels == "outlier"
    with pytest.raises(InputError, match=rf"student\.method {method} needs student\.labels soft; set them, or"):
        load_with("student", student | {"method": method})
