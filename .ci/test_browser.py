"""The lessons as a student meets them: in JupyterLab, in Debian's Chromium, driven by Playwright: make test-browser.

A copy of what git knows of this working tree is opened. The pictures of what was seen are kept in build/browser/.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from r3lib.pages import course, play

ROOT = Path(__file__).resolve().parent.parent
SEEN = ROOT / "build" / "browser"
MINUTES = 60_000  # milliseconds, as Playwright counts
expect.set_options(timeout=2 * MINUTES)
RED = ".jp-OutputArea-output[data-mime-type$='stderr'], .jp-OutputArea-output[data-mime-type$='error']"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM += ["--disable-component-update", "--disable-sync"]
SETTINGS = {  # every cell is in the page, and nobody asks for news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="session")
def address(copy_tree: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a JupyterLab shows a copy of this working tree."""
    top = tmp_path_factory.mktemp("lab")
    copy_tree(top / "kit")
    for name, settings in SETTINGS.items():
        file = top / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "R3_HOME", "R3_PROFILE")}
    clean |= {"JUPYTERLAB_SETTINGS_DIR": str(top / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(top / "workspaces")}
    clean |= {"JUPYTER_CONFIG_DIR": str(top / "config"), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--IdentityProvider.token="]
    words += [f"--ServerApp.port={port}", f"--ServerApp.root_dir={top / 'kit'}", "--ServerApp.port_retries=0"]
    with open(top / "log", "wb") as log, subprocess.Popen(words, env=clean, cwd=top, stdout=log, stderr=log) as server:
        for _ in range(240):
            try:
                urlopen(f"http://127.0.0.1:{port}/api/status").close()
                break
            except OSError:
                assert server.poll() is None, (top / "log").read_text(encoding="utf-8")
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab"
        server.terminate()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a browser of its own."""
    program = shutil.which("chromium") or pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(2 * MINUTES)
        yield page
        browser.close()


def see(page: Page, name: str) -> None:
    """Keep a picture."""
    SEEN.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SEEN / f"{name}.png")


def open_lesson(page: Page, address: str, name: str) -> Locator:
    """The cells of a lesson, with a kernel that waits for them and without the outputs that are stored."""
    page.goto(f"{address}/tree/notebooks/{name}.ipynb?reset")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    see(page, f"{name}-opened")
    choose(page, "Edit", "Clear Outputs of All Cells")
    return page.locator(".jp-NotebookPanel .jp-Notebook .jp-Cell")


def choose(page: Page, menu: str, entry: str) -> None:
    page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-item", has_text=re.compile(f"^{entry}$")).click()


def run_all(page: Page, minutes: float) -> None:
    """Run every cell; wait for the last."""
    choose(page, "Run", "Run All Cells")
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    expect(last).to_have_text(re.compile(r"\[(\d+|\*)\]"))
    try:
        expect(last).to_have_text(re.compile(r"\[\d+\]"), timeout=minutes * MINUTES)
    finally:
        see(page, "last")
    assert not page.locator(RED).all_inner_texts()


def look_through(page: Page, name: str) -> None:
    """Pictures of the whole lesson, a window each."""
    panel = page.locator(".jp-WindowedPanel-outer").first
    height = panel.evaluate("panel => panel.clientHeight")
    for i in range(panel.evaluate("panel => Math.ceil(panel.scrollHeight / panel.clientHeight)")):
        panel.evaluate("(panel, top) => panel.scrollTo(0, top)", i * height)
        page.wait_for_timeout(200)
        see(page, f"{name}-{i:02}")


def press(page: Page, cell: Locator) -> None:
    """Run one cell and wait for it."""
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    prompt.click()
    page.keyboard.press("Control+Enter")
    expect(prompt).not_to_have_text(before)
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"))


def write(page: Page, cell: Locator, code: str) -> None:
    """Another source for a cell."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Escape")


def number(name: str, has: str) -> int:
    """Which cell of a lesson has this in its source."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    (found,) = (i for i, cell in enumerate(cells) if has in "".join(cell["source"]))
    return found


def test_00_runs_whole_and_the_loop_is_played_by_hand(page, address):
    cells = open_lesson(page, address, "00_start_here")
    run_all(page, 20)
    board = cells.nth(number("00_start_here", "play.Board(")).locator(".jp-OutputArea-output")
    buttons = {stage: board.get_by_role("button", name=stage) for stage in play.STAGES}
    board.scroll_into_view_if_needed()
    expect(buttons["attempt"]).to_be_enabled()
    expect(buttons["reflect"]).to_be_disabled()
    expect(buttons["retry"]).to_be_disabled()
    for _ in range(30):  # up to the first failure
        buttons["attempt"].click()
        expect(board).to_contain_text(re.compile("Wrong. Press|Right at once"))
        if "Wrong" in board.inner_text():
            break
    buttons["reflect"].click()
    expect(board).to_contain_text("Will this reflection help?")
    buttons["retry"].click()
    expect(board).to_contain_text(re.compile("The reward of this reflection is [01]"))
    see(page, "00-board")
    slider = board.locator(".noUi-handle").last
    slider.focus()
    slider.press("ArrowRight")  # another target is another problem
    expect(board).to_contain_text("Press “attempt”.")
    expect(buttons["reflect"]).to_be_disabled()
    look_through(page, "00")


def test_01_runs_whole_and_an_exercise_is_failed_and_then_solved(page, address):
    name = "01_verifiers"
    cells = open_lesson(page, address, name)
    run_all(page, 20)
    look_through(page, "01")
    exercise = course.read(ROOT / "notebooks" / "exercises" / f"{name}.py")[0]
    old, new, sentence = exercise.mistakes[0]
    stub, check = (cells.nth(number(name, has)) for has in (exercise.stub, exercise.check))
    expect(check).to_contain_text("not yet")
    for code, told in ((exercise.mistaken(old, new), sentence), (exercise.solution, "passed")):
        write(page, stub, code)
        press(page, stub)
        press(page, check)
        expect(check.locator(".jp-OutputArea")).to_contain_text(told)
        see(page, f"01-exercise-{told.split()[0]}")
    assert not page.locator(RED).all_inner_texts()


def test_03_runs_whole(page, address):
    open_lesson(page, address, "03_masked_loss")
    run_all(page, 20)
    look_through(page, "03")


def test_12_runs_whole_and_its_training_is_drawn_while_it_runs(page, address):
    name = "12_your_own_task"
    cells = open_lesson(page, address, name)
    run_all(page, 30)
    drawn = cells.nth(number(name, "with play.watch(")).get_by_role("img")
    expect(drawn.first).to_have_attribute("alt", re.compile(r"step (\d+) of \1"))
    look_through(page, "12")
