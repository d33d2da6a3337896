"""The page about a run, in a real browser."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from robust_distillation.showing.report import COLUMNS, Page, Seen, render

HOSTILE = '</script><script>document.title = "taken"</script><img src=x onerror=alert(1)>'
PHONE, DESKTOP = 375, 1280
LARGEST = 5 * 2**20


def picture(width=60, height=40):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def between(value):
    return {radius: {"low": value - 0.1, "high": value + 0.1} for radius in ("4/255", "8/255")}


def victim(clean, worst):
    return {
        "clean": clean,
        "worst_case": dict.fromkeys(("4/255", "8/255"), worst),
        "worst_case_interval": between(worst),
    }


METRICS = {
    "poison": {"poisoned": 4, "of": 20},
    "filter": {"kept": 15, "discarded": 5},
    "filter_audit": {
        "recall": 0.75,
        "precision": 0.6,
        "clean_kept": 0.9,
        "per_kind": {
            "fgsm 8/255": {"auroc": 0.97, "auroc_low": 0.9, "auroc_high": 1.0, "tpr_at_1": 0.5, "caught": 0.5},
            "i_fgsm 0.01": {"caught": 0.0},
        },
    },
    "teacher": {"accuracy": 0.9},
    "student": {"accuracy": 0.8, "coverage": 0.9, "accuracy_when_answering": None, "undefended_accuracy": 0.95},
    "robustness": {
        "images": 30,
        "attacks": "fgsm, pgd",
        "undefended": victim(0.95, 0.2),
        "student": victim(0.8, 0.6),
        "defence": victim(0.7, 0.4),
        "attack_success": dict.fromkeys(("4/255", "8/255"), 0.3),
        "attack_success_interval": between(0.3),
        "flags": {},
    },
    "compare": {
        "undefended": {"clean": 0.95, "parameters": 3, "linf 4/255": {"fgsm": 0.4, "adaptive": 0.2}},
        "student": {"clean": 0.8, "parameters": 3, "linf 4/255": {"fgsm": 0.7, "adaptive": 0.6}},
    },
    "certify": {
        "sigma": 0.25,
        "images": 30,
        "certified": {"0.1": 0.5, "0.25": 0.3},
        "certified_interval": {"0.1": {"low": 0.4, "high": 0.6}, "0.25": {"low": 0.2, "high": 0.4}},
    },
    "privacy": {
        "undefended": {
            "strongest": "lira_online",
            "accuracy_on_members": 1.0,
            "accuracy_on_others": 0.8,
            "attacks": {"lira_online": {"auroc": 0.7, "tpr_at_1": None, "tpr_at_1_interval": None}},
        },
        "student": {
            "strongest": "rmia",
            "accuracy_on_members": 0.9,
            "accuracy_on_others": 0.8,
            "attacks": {"rmia": {"auroc": 0.55, "tpr_at_1": 0.02, "tpr_at_1_interval": [0.01, 0.04]}},
        },
        "deployed": {},
    },
}


def seen(number):
    fell = ["clean", "pgd", ""][number % 3]
    return Seen(
        id=f"test/{number:05d}",
        label=number % 2,
        answer=number % 2,
        confidence=0.75,
        undefended=1,
        refused="abstention" if number == 4 else "",
        scores={"abstention": (0.1 * number, 0.35)},
        fell={
            "undefended": {"4/255": "fgsm", "8/255": "fgsm"},
            "student": {"4/255": "clean" if fell == "clean" else "", "8/255": fell},
        },
    )


PAGE = Page(
    title="a student, version 3",
    refusals=[],
    gate={"student_accuracy": (0.65, 0.8), "coverage": (0.7, None)},
    metrics=METRICS,
    flags=[],
    validation={"images": {"train": 20, "test": 30}, "checks": [{}, {}]},
    figures={"poison_samples": picture(900), "robustness": picture(), "robustness_samples": picture(1200)},
    names=["Stop", HOSTILE],
    seen=[seen(number) for number in range(30)],
    features=np.random.default_rng(1).integers(0, 256, (30, 12, 12, 3), np.uint8),
    lineage={"commit": "c" * 40},
    hashes={"data/dataset": "0" * 32},
    params="data: {source: <synthetic>}",
)


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a page, and fail on anything that the console says or the network is asked for."""
    contexts = []

    def visit(page=PAGE, width=DESKTOP, scheme="light"):
        file = tmp_path / "report.html"
        file.write_text(render(page), encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab, heard = context.new_page(), []
        tab.on("console", lambda message: heard.append(message.text))
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith("data:") else heard.append(request.url))
        tab.goto(file.as_uri())
        contexts.append((context, heard, file.as_uri()))
        return tab

    yield visit
    for context, heard, address in contexts:
        context.close()
        assert heard == [address]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_can_be_read(opened, width, scheme):
    tab = opened(width=width, scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert all(image["width"] > 0 for image in tab.evaluate(IMAGES))
    assert {one["text"]: one["ratio"] for one in tab.evaluate(CONTRASTS) if one["ratio"] < 4.5} == {}


IMAGES = "[...document.images].map((image) => ({ width: image.naturalWidth }))"
CONTRASTS = """() => {
    const channels = (text) => text.match(/[0-9.]+/g).map(Number);
    const luminance = (text) => {
        const [r, g, b] = channels(text).slice(0, 3).map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const [, , , alpha = 1] = channels(getComputedStyle(at).backgroundColor);
            if (alpha > 0) return getComputedStyle(at).backgroundColor;
        }
        return "rgb(255, 255, 255)";
    };
    return [...document.querySelectorAll("body *")]
        .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
        .filter((one) => !["SCRIPT", "STYLE", "NOSCRIPT"].includes(one.tagName))
        .map((one) => {
            const pair = [luminance(getComputedStyle(one).color), luminance(ground(one))];
            const [dark, light] = pair.sort((a, b) => a - b);
            return { text: one.textContent.slice(0, 40), ratio: (light + 0.05) / (dark + 0.05) };
        });
}"""


def test_the_verdict_comes_first(opened):
    assert opened().locator("main h2").first.inner_text() == "The gate lets this student pass"
    refused = opened(replace(PAGE, refusals=["coverage 0.5 is below 0.7"]))
    assert refused.locator("main h2").first.inner_text() == "The gate refuses this student"
    assert "coverage 0.5 is below 0.7" in refused.locator("#verdict").inner_text()


def test_flags_stand_beside_what_they_cast_doubt_on(opened):
    tab = opened(replace(PAGE, flags=["zero_gradients: share of images, 0.4"]))
    assert "cannot be trusted" in tab.locator("#robustness").inner_text()
    assert "cannot be trusted" not in opened().locator("#robustness").inner_text()


def test_images_are_filtered_by_class_and_verdict(opened):
    tab = opened()
    assert tab.locator(".thumb").count() == 30
    tab.select_option("#class", "0")
    assert tab.locator(".thumb").count() == 15
    tab.select_option("#verdict-filter", "stands")
    assert tab.locator("#count").inner_text() == "5 of 30 images"
    tab.select_option("#class", "")
    tab.select_option("#victim", "undefended")
    assert tab.locator("#verdict-filter option").all_inner_texts() == ["all", "falls at 4/255"]


def test_an_image_shows_what_broke_it_without_a_mouse(opened):
    tab = opened()
    tab.locator("#verdict-filter").focus()
    for _ in range(5):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    told = tab.locator("#detail").inner_text()
    for text in ("test/00004", "Stop", "75.0 %", "refuses: abstention", "0.400, refused above 0.350", "8/255: pgd"):
        assert text in told


def test_each_thumbnail_is_its_own_image(opened):
    """The 28th image lies in the second row of the sheet."""
    tab = opened()
    place = tab.locator(".thumb").nth(27).evaluate("(one) => getComputedStyle(one).backgroundPosition")
    assert place == f"{-(27 % COLUMNS) * 42}px -42px"


def test_names_run_no_code(opened):
    tab = opened()
    tab.locator(".thumb").nth(1).click()
    assert tab.title() == PAGE.title
    assert HOSTILE in tab.locator("#detail").inner_text()


def test_grey_images_will_do(opened):
    assert opened(replace(PAGE, features=PAGE.features[..., :1])).locator(".thumb").count() == 30


def test_it_is_small():
    large = np.random.default_rng(2).integers(0, 256, (300, 32, 32, 3), np.uint8)
    page = replace(PAGE, features=large, seen=[seen(number) for number in range(300)])
    figures = {f"figure {number}": b"0" * 80_000 for number in range(20)}
    assert len(render(replace(page, figures=figures)).encode()) < LARGEST
