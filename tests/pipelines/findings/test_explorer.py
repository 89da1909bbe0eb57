"""The page of all trials."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import ParameterError
from hpo.space import Categorical, Float, Params, SearchSpace
from pipelines.findings import explorer
from pipelines.findings.evidence import Evidence
from pipelines.findings.explorer import check_explorer, explorer_page
from pipelines.report import report
from tests import browser
from tests.pipelines.findings.made_up import sampled, study
from tests.pipelines.findings.test_page import FOUL, Tags, foul

SPACE = SearchSpace(
    (
        Float("rate", 1e-3, 1.0, log=True),
        Categorical("kind", ("a", "<b>")),
        Float("seconds", 0.0, 1.0),
    )
)


def loss(params: Params) -> float:
    if float(params["seconds"]) > 0.9:
        raise ValueError("too long")
    return float(params["rate"])


def evidence(n: int = 200) -> Evidence:
    return study(sampled(SPACE, n, loss), SPACE)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def values_of(column: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(base64.b64decode(column["data"]), dtype="<f4")


def test_all_trials_are_there_in_the_order_of_their_rank() -> None:
    found = evidence()
    data = data_of(explorer_page(found))
    columns = {column["name"]: column for column in data["columns"]}
    assert data["n"] == 200
    numbers = values_of(columns["trial"]).astype(int).tolist()
    assert numbers == [row["number"] for row in found.rows]
    rates = [row["params"]["rate"] for row in found.rows]
    assert values_of(columns["rate"]) == pytest.approx(rates, rel=1e-6)
    assert columns["rate"]["is_log"]
    kinds = [columns["kind"]["labels"][int(code)] for code in values_of(columns["kind"])]
    assert kinds == [row["params"]["kind"] for row in found.rows]
    scores = values_of(columns[data["color"]])
    is_missing = [found.scope.goal.name not in row["metrics"] for row in found.rows]
    assert np.isnan(scores).tolist() == is_missing
    assert any(is_missing)
    assert {"seconds", "seconds (2)"} <= set(columns)  # the parameter has the name of a column


@given(st.lists(st.sampled_from(["a", "b", "x" * 50, "x" * 60, "a (2)"]), max_size=9))
def test_names_of_columns_differ(names: list[str]) -> None:
    taken = explorer._Names()
    found = list(map(taken.new, names))
    assert len(set(found)) == len(found)


def test_many_trials_are_drawn_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "DRAWN", 20)
    page = explorer_page(evidence())
    drawn = data_of(page)["drawn"]
    assert len(drawn) == len(set(drawn)) == 20
    assert drawn[:10] == list(range(10))
    assert "20 of the 200 trials are drawn" in page


def test_foul_names_stay_text() -> None:
    page = explorer_page(foul())
    shell = page[: page.index("<script>")] + page[page.rindex("<script>") :]
    assert [tag for tag, _ in Tags(shell).found if tag in ("img", "iframe", "object")] == []
    names = [column["name"] for column in data_of(page)["columns"]]
    assert any(FOUL[0][:10] in name for name in names)
    assert len(set(names)) == len(names)


def test_plotly_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "find_spec", lambda _: None)
    with pytest.raises(ParameterError, match=r"pip install 'mlflow-warmstart\[explore\]'"):
        check_explorer()
    with pytest.raises(ParameterError, match="explore=true is for a single study"):
        report(studies="a,b", explore=True)


@pytest.mark.skipif(
    browser.BROWSER is None or browser.DRIVER is None,
    reason="no Chromium with chromedriver is installed",
)
@pytest.mark.parametrize("made", [evidence, foul])
def test_brushes_choose_what_the_table_shows(made: Any, tmp_path: Path) -> None:
    found = replace(made(), name="a study")
    page = tmp_path / "trials.html"
    page.write_bytes(explorer_page(found).encode("utf-8", "replace"))
    with browser.browser() as window:

        def text(name: str) -> str:
            return str(window.run(f"return document.getElementById('{name}').textContent"))

        window.open(page.as_uri())
        browser.until(lambda: window.run("return document.documentElement.dataset.ready") == "yes")
        n = len(found.rows)
        assert text("count") == f"{n} of {n} trials"
        window.run(
            "Plotly.restyle('axes', {'dimensions[0].constraintrange': [[[-1, 9.5], [19.5, 29.5]]]})"
        )
        browser.until(lambda: text("count") == f"20 of {n} trials")
        window.run("document.querySelector('#head th').click()")
        column = (
            "return [...document.querySelectorAll('#body tr')].map(r => r.cells[0].textContent)"
        )
        assert window.run(column) == [str(i) for i in (*range(10), *range(20, 30))]
        window.run("document.querySelector('#head th').click()")
        assert window.run(column)[0] == "29"
        window.run("document.getElementById('clear').click()")
        browser.until(lambda: text("count") == f"{n} of {n} trials")
        window.run("document.getElementById('next').click()")
        assert text("page") == f"page 2 of {-(-n // 50)}"
        assert window.run(column)[0] == str(n - 51)
        errors = [line["message"] for line in window.console() if line["level"] == "SEVERE"]
        assert errors == []
