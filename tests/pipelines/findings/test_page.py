"""The page of a study, whatever names it holds."""

import html.parser
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.space import Categorical, Float, Params, SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings import figures, tables
from pipelines.findings.analysis import analyse
from pipelines.findings.case import Case
from pipelines.findings.evidence import ClassScore, Evidence, Rival
from pipelines.findings.figures import course
from pipelines.findings.figures.drawing import drawing_style
from pipelines.findings.past import BesideCold, LearnedFrom, Warm
from pipelines.findings.rules import diagnose
from pipelines.findings.study_page import study_page
from tests import browser
from tests.pipelines.findings.made_up import SPACE, sampled, study

FOUL = (
    '<script>alert("x")</script>',
    "</script><img src=x onerror=alert(1)>",
    "line\nbreak\r\n\ttab\x00\x1b[31m",
    "../../etc/passwd",
    "long " * 2_000,
    "$\\frac{1}{0}$ {{ 7 * 7 }} {% raw %}",
    "=cmd|' /C calc'!A0",
    "日本語 \u202e עברית 🚀 \ud800",
    "",
)
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"


def rendered(evidence: Evidence, price: float | None = None) -> str:
    analysis = analyse(evidence)
    found, drawings = diagnose(evidence, analysis), figures.draw_all(evidence, analysis)
    for drawn in drawings:
        ET.fromstring(drawn.svg)  # noqa: S314
    return study_page(evidence, found, drawings, price).to_html()


class Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def quadratic(params: Params) -> float:
    return (float(params["bagging_fraction"]) - 0.8) ** 2 + float(params["learning_rate"])


def foul() -> Evidence:
    """A study in which every text that a user can choose is foul."""
    names = [f"{name or 'empty'}{i}" for i, name in enumerate(FOUL)]
    space = SearchSpace(
        tuple(Float(name, 0.0, 1.0) for name in names) + (Categorical("kind", FOUL),)
    )

    def loss(params: Params) -> float:
        if float(params[names[0]]) > 0.8:
            raise ValueError(FOUL[0] + "\n" + FOUL[2])
        return sum(float(params[name]) for name in names)

    evidence = study(
        sampled(space, 60, loss), space, target=FOUL[1], validation=FOUL[0], split=FOUL[4]
    )
    return replace(evidence, name=FOUL[2], baselines={FOUL[0]: 3.0, FOUL[4]: 4.0})


def test_the_page_is_complete_and_needs_no_network() -> None:
    text = rendered(study(sampled(SPACE, 60, quadratic), test={"rmse": 0.1}), price=2.0)
    tags = Tags(text).found
    assert sum(tag == "figure" for tag, _ in tags) == 8
    for tag, attributes in tags:
        source = attributes.get("src") or attributes.get("href") or ""
        assert source.startswith(("data:", "")), (tag, source)
        assert not source.startswith(("http:", "https:", "//", "/"))
    for shown in (
        "Diagnosis",
        "Which parameters matter",
        "What moved each trial",
        "price of the search",
        "rmse",
    ):
        assert shown in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert len(data["trials"]) == 60
    assert {len(mark) for chart in data["charts"].values() for mark in chart["marks"]} == {3}
    assert all(
        0 <= x <= 1 and 0 <= y <= 1 for c in data["charts"].values() for _, x, y in c["marks"]
    )


def test_foul_names_stay_text() -> None:
    text = rendered(foul())
    tags = Tags(text).found
    assert sum(tag == "script" for tag, _ in tags) == 2
    assert all(
        (attributes["src"] or "").startswith("data:image/svg+xml")
        for tag, attributes in tags
        if tag == "img"
    )
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert "alert(" in text  # shown
    assert "\x1b" not in text
    assert "49 " not in text.split("</style>")[1][:3000]  # no template runs in a template
    assert len(text) < 3_000_000
    text.encode("utf-8", "replace")


def test_foul_cells_are_no_formulas() -> None:
    evidence = foul()
    text = tables.configuration(evidence).to_csv() + tables.leaderboard(evidence.rows).to_csv()
    assert not re.search(r"(^|,)\"?[=@]", text, re.MULTILINE)


def test_a_study_without_any_success_has_a_page() -> None:
    failed = [Trial(i, {"bagging_fraction": 0.8}, 10.0, failure="no\nmore") for i in range(3)]
    text = rendered(study(failed))
    assert "No trial succeeded" in text
    assert "3 of 3 trials failed" in text


def test_two_trials_are_enough_for_a_page() -> None:
    assert "Best so far" in rendered(study(sampled(SPACE, 2, quadratic)))


def test_classes_repeats_and_the_past_are_told() -> None:
    trials = sampled(SPACE, 30, quadratic)
    trials = [
        replace(trial, origin="warm start: <b>old</b>") if trial.number < 3 else trial
        for trial in trials
    ]
    evidence = replace(
        study(trials, classes=(ClassScore("<i>a</i>", 90, 0.9), ClassScore("b", 10, 0.1))),
        confirmation=(Rival(7, 0.01, -0.1, 0.12, 0.6),),
        warm=Warm(
            (
                LearnedFrom("0123abcd" * 4, "<b>old</b>", 0.7, True, "least in <i>size</i>"),
                LearnedFrom("4567cdef" * 4, "_$silent$", 0.1, False),
            ),
            ((1.0, 0.5), (2.0, 0.6)),
            ("1 past study left out: <u>still</u> running",),
            (BesideCold(10, 0.75, 40), BesideCold(30, 0.3, 40)),
        ),
    )
    text = rendered(evidence)
    past = tables.all_tables(evidence, None, (), None)["past.csv"].to_csv().splitlines()
    assert past[1] == f"<b>old</b>,{'0123abcd' * 4},0.7,yes,least in <i>size</i>"
    for shown in (
        "Where warm start helped",
        "Trust in the past",
        "The winner by class",
        "&lt;i&gt;a&lt;/i&gt;",
    ):
        assert shown in text
    assert (
        "The past helped in part: this study is ahead of 75 % after 10 trials, "
        "30 % after 30 trials of 40" in text
    )
    assert "of the 27 other trials are no better, so it takes" in text
    assert "Notes from the start: 1 past study left out: &lt;u&gt;still&lt;/u&gt; running." in text
    assert "0123abcd" * 4 in text
    assert "least in &lt;i&gt;size&lt;/i&gt;" in text
    assert "repeats do not tell the winner from 1 of 1 rivals" in text
    assert "<b>old" not in text


def test_the_trust_in_the_past_is_drawn_over_the_results() -> None:
    sources = (LearnedFrom("0" * 8, "_0", 0.5, False),)
    evidence = replace(
        study(sampled(SPACE, 3, quadratic)), warm=Warm(sources, ((1.0, 0.5), (2.0, 0.6)))
    )
    short = replace(evidence, warm=Warm(sources, ((1.0, 0.5),)))
    case = Case(evidence, evidence.trials[0], None)
    with drawing_style():
        figure = course.trust(case)
        nothing = course.trust(replace(case, evidence=short))
    assert figure is not None
    assert "results" in figure.svg.decode()
    assert nothing is None


def test_rungs_and_branches_are_drawn() -> None:
    space = SearchSpace(
        (
            Categorical("boosting", ("gbdt", "dart")),
            Float("drop_rate", 0.0, 1.0, when={"boosting": ("dart",)}),
            Float("learning_rate", 0.01, 1.0, log=True),
        )
    )
    trials = sampled(
        space, 60, lambda p: float(p["learning_rate"]) + float(p.get("drop_rate", 0.3))
    )
    raced = [
        replace(
            t,
            budget=30.0,
            reports=(*t.reports, Report(30.0, t.loss * 0.9, {"rmse": t.loss * 0.9}, 2.0)),
        )
        if t.number % 3 == 0
        else t
        for t in trials
    ]
    raced = [replace(t, origin="warm start: a") if t.number == 3 else t for t in raced]
    warm = Warm((LearnedFrom("a" * 32, "a", 0.5, False),), ())
    text = rendered(replace(study(raced, space, rungs=[10.0, 30.0]), warm=warm))
    assert "at 30 rounds; " in text
    assert "trials were granted each budget" in text
    assert "Which parameters matter beside the winner" in text


@pytest.mark.skipif(
    browser.BROWSER is None or browser.DRIVER is None,
    reason="no Chromium with chromedriver is installed",
)
def test_foul_names_break_no_page_in_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(rendered(foul()).encode("utf-8", "replace"))
    with browser.browser() as window:
        window.open(path.as_uri())
        browser.until(
            lambda: bool(window.run("return document.documentElement.dataset.ready === 'yes'"))
        )
        assert window.run(
            "return [...document.images].every(i => i.complete && i.naturalWidth > 300)"
        )
        assert window.run("return document.documentElement.scrollWidth <= innerWidth")
        assert [line for line in window.console() if line["level"] == "SEVERE"] == []
        window.screenshot(SCREENSHOTS / "foul-names.png")
