"""The page of one study."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpo.errors import counted
from hpo.trial import Trial
from pipelines.files.commands import command
from pipelines.findings import tables
from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.evidence import Evidence, best_and_others
from pipelines.findings.figures.drawing import Drawing
from pipelines.findings.page import READ_FROM_MLFLOW, Fact, Page, Section
from pipelines.findings.past import Warm, beside_cold_in_words, helped, loss_at
from pipelines.findings.scales import duration, number, predicted, short

_NAMED = 1_500  # trials that the pointer finds: the best and an even sample of the rest
_NO_FINDINGS = Diagnosis("fine", "fine", "No findings", "None of the checks found a problem.", "")


def study_page(
    evidence: Evidence,
    findings: Sequence[Diagnosis],
    drawings: Sequence[Drawing],
    price: float | None = None,
) -> Page:
    """The page of one study; `price` is that of an hour of the machine."""
    header, name = evidence.header, short(evidence.name, 60)
    headline, kicker = _headline(evidence)
    return Page(
        title=f"Study {name}",
        subtitle=f"{header['model']} by {header['algorithm']}{predicted(header)}, study {name}",
        headline=headline,
        kicker=kicker,
        facts=list(_facts(evidence)),
        sections=list(_sections(evidence, findings, drawings, price)),
        footer=[
            f"Study {evidence.study}; {_rows(header)}seed {header.get('seed')}.",
            READ_FROM_MLFLOW,
        ],
        data=script_data(evidence, drawings),
    )


def _rows(header: Mapping[str, Any]) -> str:
    """The use of a table's rows; nothing for another objective."""
    if "split" not in header:
        return ""
    rows = header["data"].get("rows", "?")
    return f"{rows} rows, split {header['split']}, validation {short(header['validation'], 60)}, "


def _headline(evidence: Evidence) -> tuple[str, str]:
    winner, n = evidence.winner, len(evidence.trials)
    if winner is None:
        return "No trial succeeded", ""
    where = "" if evidence.scope.model is None else ", on the validation rows"
    scores = evidence.scope.goals.scores(winner.best) if winner.best else {}
    single = evidence.scope.goals.is_single
    chosen = "the best" if single else f"chosen from the {len(evidence.front)} on the front"
    return (
        ", ".join(f"{name} {number(value, 5)}" for name, value in scores.items()),
        f"trial {winner.number}, {chosen} of {n}{where}",
    )


def _facts(evidence: Evidence) -> Iterator[Fact]:
    yield from _test_facts(evidence)
    yield from _default_facts(evidence)
    for baseline, value in evidence.baselines.items():
        if baseline != "trivial" or len(evidence.baselines) == 1:
            yield Fact(f"baseline {short(baseline)}", number(value, 5))
    failed = len(evidence.failed) or "none"
    yield Fact("trials", f"{len(evidence.trials):,}", f"{failed} failed")
    workers = evidence.header.get("workers")
    note = counted(workers, "worker") if workers else ""
    yield Fact("time of search", duration(evidence.elapsed), note)


def _test_facts(evidence: Evidence) -> Iterator[Fact]:
    name, test = evidence.scope.goals.score.name, evidence.test
    if name in test:
        ends = [number(test[end]) for end in (f"{name}_low", f"{name}_high") if end in test]
        note = " to ".join(ends) or "scored once, by the winner"
        yield Fact("on held-out rows", number(test[name], 5), note)


def _default_facts(evidence: Evidence) -> Iterator[Fact]:
    default, winner = evidence.default, evidence.winner
    if winner and default and default.reports and default is not winner:
        gain = f"the search gained {abs(default.loss - winner.loss):.2g}"
        yield Fact("the library's default", number(evidence.scope.score(default.loss), 5), gain)


def _sections(
    evidence: Evidence,
    findings: Sequence[Diagnosis],
    drawings: Sequence[Drawing],
    price: float | None,
) -> Iterator[Section]:
    figures = list(map(Section.of_drawing, drawings))
    code = _next_space(evidence, findings)
    yield Section("Diagnosis", findings=findings or [_NO_FINDINGS], code=code)
    yield from figures[:1]
    if winner := evidence.winner:
        is_model = evidence.scope.model is not None
        reading = f"Train it again: {_train_command(evidence, winner)}" if is_model else ""
        configuration = tables.configuration(evidence)
        yield Section.of_table("The winner's configuration", configuration, reading)
        course = tables.course(evidence)
        if course.rows:
            yield Section.of_table("The winner's values over time", course)
    yield from figures[1:]
    if warm := evidence.warm:
        reading = _past_in_words(evidence, warm)
        yield Section.of_table("Where warm start helped", tables.past(evidence), reading)
    if evidence.classes:
        reading = "The share of each class's held-out rows that is found."
        yield Section.of_table("The winner by class", tables.classes(evidence), reading)
    if any(trial.failure for trial in evidence.trials):
        reading = "The first line of each reason; the tag hpo.failure of the trial's run has all."
        yield Section.of_table("Trials that failed", tables.failures(evidence), reading)
    title = "Time" if price is None else "Time and money"
    yield Section.of_table(title, tables.costs(evidence, price))
    if evidence.winner:
        reading = "All trials are in leaderboard.csv."
        yield Section.of_table("The best trials", tables.best_trials(evidence), reading)


def _next_space(evidence: Evidence, findings: Sequence[Diagnosis]) -> str:
    """How to start a study from the adjusted space, if a finding adjusts it."""
    if not any(found.changes for found in findings):
        return ""
    return f"To start a new study from the adjusted space:\nspace=auto:{evidence.study}"


def _train_command(evidence: Evidence, trial: Trial) -> str:
    run = next(row["run_id"] for row in evidence.rows if row["number"] == trial.number)
    return command("train", trial=run)


def _past_in_words(evidence: Evidence, warm: Warm) -> str:
    """Whether the past helped, how its best configuration did, and what was left out."""
    verdict = beside_cold_in_words(warm.beside_cold)
    sentences = [f"{verdict[:1].upper()}{verdict[1:]}."] if verdict else []
    sentences.append(_best_from_the_past(evidence))
    if warm.notes:
        sentences.append(f"Notes from the start: {'; '.join(warm.notes)}.")
    return " ".join(sentences)


def _best_from_the_past(evidence: Evidence) -> str:
    best = helped(evidence.trials)
    if best is None:
        return "No configuration was taken over from the past; it only guided the search."
    raced = len(evidence.scope.rungs) > 1
    at = f" at {best.budget:g} {evidence.scope.budget_unit}" if raced else ""
    loss = loss_at(evidence.default, best.budget) if evidence.default else None
    default = "" if loss is None else f", the default {number(evidence.scope.score(loss), 5)}"
    return (
        f"The best configuration from the past, trial {best.best.number}, reached "
        f"{number(evidence.scope.score(best.loss), 5)}{at}{default}; {best.beaten} of the "
        f"{best.others} other trials are no better, so it takes {best.trials:.1f} of those on "
        "average to be as good."
    )


def script_data(evidence: Evidence, drawings: Sequence[Drawing]) -> dict[str, Any]:
    """The data of the script: where trials stand in the figures, and a description of each."""
    named = {trial.number: trial for trial in _named_trials(evidence.trials)}
    metric, names = evidence.scope.goal.name, evidence.scope.space.names
    return {
        "charts": {drawing.name: _chart(drawing, named) for drawing in drawings},
        "columns": ["trial", metric, "seconds", "from", *(short(name, 40) for name in names)],
        "trials": {n: _description(evidence, trial) for n, trial in named.items()},
    }


def _named_trials(trials: Sequence[Trial]) -> list[Trial]:
    ranked = sorted(trials, key=lambda trial: (trial.loss, trial.number))
    return [ranked[place] for place in best_and_others(len(ranked), _NAMED)]


def _chart(drawing: Drawing, named: Mapping[int, Trial]) -> dict[str, Any]:
    marks = [place for place in drawing.places if place[0] in named]
    return {"joined": drawing.joined, "marks": marks}


def _description(evidence: Evidence, trial: Trial) -> list[str | None]:
    """The values of `columns` for one trial; None for inactive parameters."""
    score = number(evidence.scope.score(trial.loss), 5) if trial.reports else "failed"
    values = map(trial.params.get, evidence.scope.space.names)
    return [
        str(trial.number),
        score,
        f"{trial.seconds:.1f}",
        short(trial.origin, 40),
        *(None if value is None else short(number(value), 40) for value in values),
    ]
