"""A real study with hostile names, its report, and the report inside MLflow's UI."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import browser
from tests.end_to_end.conftest import ROOT, Place

SCREENSHOTS = ROOT / "build" / "screenshots"
TARGET = '<img src=x onerror="alert(1)">'
COLUMNS = (
    "<script>alert(2)</script>",
    "two\nlines",
    "../../up",
    "long " * 2_000,
    "{{ 7 * 7 }} $x^2$",
    "=1+1",
)

POINT_AT_THE_FIRST_TRIAL = """
const figure = document.querySelector('figure');
figure.scrollIntoView();
const box = figure.getBoundingClientRect();
const data = JSON.parse(document.getElementById('data').textContent);
const [, x, y] = data.charts.best_so_far.marks[0];
const at = {clientX: box.left + x * box.width, clientY: box.top + y * box.height};
figure.dispatchEvent(new PointerEvent('pointermove', at));
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str, str]:
    """The place of a study, its id and its output."""
    place = Place.made_in(tmp_path_factory.mktemp("report"))
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(240, len(COLUMNS))), columns=[*COLUMNS])
    table[COLUMNS[1]] = np.where(rng.random(240) < 0.5, "<b>a</b>", "b\nc")
    signal_ = table[COLUMNS[0]] + rng.normal(0, 0.5, 240)
    table[TARGET] = np.where(signal_ > 0.8, "<i>yes</i>", "no\n")
    table.to_parquet(place.folder / "foul.parquet")
    code, output = place.command(
        "tune",
        data="foul.parquet",
        target=TARGET,
        trials=14,
        max_budget=8,
        validation="cv:3",
        workers=1,
    )
    assert code == 0, output
    study = re.search(r"study ([0-9a-f]{32})", output)
    assert study, output
    return place, study.group(1), output


def artifacts(place: Place, study: str) -> dict[str, Path]:
    (folder,) = place.folder.glob(f"mlruns/*/{study}/artifacts")
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def test_a_study_ends_with_a_report(finished: tuple[Place, str, str]) -> None:
    place, study, output = finished
    assert "warning" not in output
    assert "Diagnosis:" in output
    assert f"/runs/{study}/artifacts/report/report.html" in output
    kept = artifacts(place, study)
    wanted = {
        "leaderboard.csv",
        "report/report.html",
        "report/best_so_far.svg",
        "report/importance.csv",
    }
    assert wanted <= kept.keys()
    assert all(re.fullmatch(r"[\w.]+", path.name) for path in kept.values())
    page = kept["report/report.html"].read_text(encoding="utf-8")
    assert TARGET not in page
    assert "&lt;img src=x" in page
    assert len(page) < 1_500_000


@pytest.fixture
def ui(finished: tuple[Place, str, str]) -> Iterator[str]:
    place, *_ = finished
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**place.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [
        "mlflow",
        "ui",
        "--backend-store-uri",
        place.tracking_uri,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    server = subprocess.Popen(
        command,
        cwd=place.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_for(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return True
        except OSError:
            return False

    browser.until(answers, 120.0)


@pytest.mark.skipif(
    browser.BROWSER is None or browser.DRIVER is None,
    reason="no Chromium with chromedriver is installed",
)
def test_the_report_opens_inside_mlflow(finished: tuple[Place, str, str], ui: str) -> None:
    _, study, output = finished
    link = re.search(r"http://\S+report\.html", output)
    assert link
    with browser.browser() as window:
        window.open(link.group().replace("http://127.0.0.1:5000", ui))
        window.enter("iframe")
        browser.until(
            lambda: bool(window.run("return document.documentElement.dataset.ready === 'yes'"))
        )
        widths = window.run("return [...document.images].map(image => image.naturalWidth)")
        assert len(widths) >= 6
        assert min(widths) > 300
        window.run(POINT_AT_THE_FIRST_TRIAL)
        browser.until(lambda: bool(window.run("return !document.getElementById('tip').hidden")))
        assert "roc_auc" in window.run("return document.getElementById('tip').textContent")
        assert window.run("return document.querySelectorAll('figure svg circle').length") > 2
        window.screenshot(SCREENSHOTS / "report-in-mlflow.png")
        errors = [line["message"] for line in window.console() if line["level"] == "SEVERE"]
        assert [message for message in errors if "/ajax-api/" not in message] == []  # MLflow's own
    assert (SCREENSHOTS / "report-in-mlflow.png").stat().st_size > 10_000
