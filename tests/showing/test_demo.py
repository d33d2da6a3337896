"""`robust-distillation demo`, served for a real browser."""

import socket
import subprocess
import sys
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from robust_distillation.cli import main

PATIENCE = 120  # seconds, until a page is there


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The port of a page that runs in an empty folder."""
    port = free_port()
    command = [sys.executable, "-m", "robust_distillation.cli", "demo", "--port", str(port)]
    folder = tmp_path_factory.mktemp("demo")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        for _ in range(PATIENCE):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)
        yield port
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def tab(chromium, served):
    page, asked = chromium.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.goto(f"http://127.0.0.1:{served}")
    page.get_by_text("True class: Stop").wait_for(timeout=1000 * PATIENCE)
    yield page
    page.close()
    local = (f"http://127.0.0.1:{served}", f"ws://127.0.0.1:{served}", "data:", "blob:")
    assert [url for url in asked if not url.startswith(local)] == []


def test_a_drawn_sign_is_attacked_and_answered_twice(tab):
    for text in ("Undefended", "Defended", "what was added, amplified", "abstention: score"):
        tab.get_by_text(text, exact=False).first.wait_for(timeout=1000 * PATIENCE)
    expect(tab.locator("img")).to_have_count(3, timeout=1000 * PATIENCE)


def test_another_attack_gives_another_answer(tab):
    before = tab.get_by_text("attacked:").first.inner_text()
    tab.get_by_text("Attack", exact=True).locator("xpath=ancestor::*[@data-testid='stSelectbox']").locator(
        "input"
    ).click()
    tab.get_by_role("option", name="none").click()
    tab.wait_for_function("(before) => !document.body.innerText.includes(before)", arg=before)
    image, attacked = (tab.get_by_text(text).first.inner_text().split(":")[1] for text in ("the image:", "attacked:"))
    assert image == attacked


def test_an_image_of_ones_own_is_fitted(tab, tmp_path):
    Image.new("RGB", (50, 40), "red").save(tmp_path / "mine.png")
    tab.get_by_text("an image of yours").click()
    tab.get_by_text("Drop an image on the left").wait_for(timeout=30_000)
    tab.locator("input[type=file]").set_input_files(tmp_path / "mine.png")
    tab.get_by_text("fitted from 50x40 to 32x32 pixels").wait_for(timeout=60_000)


def test_nobody_but_this_machine_is_served(served):
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.2", served))


def test_a_port_that_is_taken_is_one_line():
    from click.testing import CliRunner

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = CliRunner().invoke(main, ["demo", "--port", str(port)])
    assert done.exit_code == 1
    assert done.output == f"error: port {port} is taken; choose another with --port\n"
