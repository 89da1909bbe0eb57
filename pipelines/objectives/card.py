"""The model card: what a registered version is, in Markdown, so that it can be judged and its configuration used again.

A card is a list of sections in the order of their worth. The registry's tables have 5,000
characters for a description (`SqlModelVersion.description` in MLflow 3.17; SQLite does not mind
more, PostgreSQL and MySQL do). So the description is what fits, whole sections only, and names what
it lacks; the whole card is an artifact of the study's run.
"""

import html
import json
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpo.space.parameters import Params, Value
from hpo.trial import Trial
from pipelines.findings.analysis import FAIR
from pipelines.findings.evidence import comparable
from pipelines.findings.importance import MIN_TRIALS, decompose, fit
from pipelines.findings.scales import duration
from pipelines.models import search_model, settings
from pipelines.objectives.jobs import BEST
from pipelines.registry.gate import HeldOutScore
from pipelines.study.options import TRAIN
from pipelines.study.plan import Plan
from pipelines.study.summary import failures
from pipelines.table.metrics import METRICS

if TYPE_CHECKING:
    from pipelines.study.confirmation import Confirmation
    from pipelines.table.bootstrap import Interval
    from pipelines.table.data import Prepared
    from pipelines.table.permutation import Permuted

LIMIT = 5_000
ARTIFACT = "model_card.md"
WATTS = "HPO_WATTS_PER_CORE"
WATTS_ASSUMED = 10.0

_SHOWN_NAME = 60
_SHOWN_FEATURES, _SHOWN_PARAMETERS = 15, 8
_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*")
_MARKDOWN = re.compile(r"([\\`*{}\[\]()|~$]|(?<!\w)_|_(?!\w))")


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    `trials` are all of the study, `best` the one whose configuration won. `test` holds every metric
    on the held-out rows, `interval` that of the deciding one, `baselines` the deciding one on the
    validation rows; `confirmation` is how the best few did when they were trained again.
    """

    study: str
    trial: str
    plan: Plan
    prepared: "Prepared"
    best: Trial
    trials: Sequence[Trial]
    score: HeldOutScore
    test: Mapping[str, float]
    interval: "Interval | None"
    baselines: Mapping[str, float]
    permuted: "Permuted | None"
    confirmation: "Confirmation | None" = None


@dataclass(frozen=True)
class Section:
    """A part of a card; the first has no title."""

    title: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Markdown."""
        return "\n".join([*([f"## {self.title}", ""] if self.title else []), *self.lines, ""])


def model_card(subject: Subject) -> tuple[Section, ...]:
    """All sections, the ones that matter most first."""
    parts = (
        ("", _headline),
        ("Configuration", _configuration),
        ("Scores", _scores),
        ("Data", _data),
        ("Search", _search),
        ("Limits", _limits),
        ("Importance of the columns", _columns),
        ("Importance of the parameters", _parameters),
        ("Cost", _cost),
    )
    return tuple(Section(title, tuple(write(subject))) for title, write in parts)


def whole(sections: Sequence[Section]) -> str:
    """The card as one text."""
    return "\n".join(map(str, sections))


def description(sections: Sequence[Section], limit: int = LIMIT) -> str:
    """The sections that fit into `limit` characters, with a word on those that do not."""
    if len(text := whole(sections)) <= limit:
        return text
    room = limit - len(whole(_missing([section.title for section in sections]))) - 1
    kept, missing = [sections[0]], []
    for section in sections[1:]:
        if len(whole([*kept, section])) <= room:
            kept.append(section)
        else:
            missing.append(section.title)
    return whole([*kept, *_missing(missing)])[:limit]


def _missing(titles: Sequence[str]) -> list[Section]:
    if not titles:
        return []
    return [
        Section(
            "",
            (
                f"No room here for: {', '.join(titles)}. See `{ARTIFACT}`, an artifact of the study's run.",
            ),
        )
    ]


# --- sections
# ---------------------------------------------------------------------------------------


def _headline(subject: Subject) -> Iterator[str]:
    score, data = subject.score, subject.plan.data
    better = "higher" if score.greater_is_better else "lower"
    bounds = (
        f" [{subject.interval.low:.6g}, {subject.interval.high:.6g}]" if subject.interval else ""
    )
    yield (
        f"**{_family(subject)}** predicts {_name(data.target)} ({data.task}): **{score}**{bounds} on {score.rows:,} "
        f"held-out rows ({better} is better; trivial baseline {score.baseline:.6g})."
    )
    yield ""
    yield f"Study `{subject.study}`, trial `{subject.trial}`."


def _configuration(subject: Subject) -> Iterator[str]:
    text = as_yaml(search_model(subject.plan.model).resolve(subject.best.params)[1])
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield f"`params.yaml`; with `-P trial={subject.trial}` instead it need not be copied."
    yield ""
    yield from (f"{fence}yaml", *text.splitlines(), fence, "")
    command = _command(subject)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    yield from (f"{fence}bash", command, fence)


def _scores(subject: Subject) -> Iterator[str]:
    metric = subject.score.metric
    yield from ("| metric | held-out rows |", "|---|---|")
    bounds = (
        f" (95 % interval {subject.interval.low:.6g} to {subject.interval.high:.6g})"
        if subject.interval
        else ""
    )
    yield f"| {metric} | {subject.score.value:.6g}{bounds} |"
    yield from (
        f"| {name} | {value:.6g} |" for name, value in subject.test.items() if name != metric
    )
    yield ""
    of = "" if subject.plan.rows == TRAIN else " (before it was trained on them, too)"
    others = "".join(f", baseline {name} {value:.6g}" for name, value in subject.baselines.items())
    chosen = "" if subject.confirmation else ", by which it was chosen"
    yield f"On the validation rows{chosen}: {metric} {_validation(subject):.6g}{of}{others}."
    if subject.confirmation:
        yield f"{subject.confirmation.lines()[0]}."


def _data(subject: Subject) -> Iterator[str]:
    data, prepared = subject.plan.data, subject.prepared
    place = "in memory" if data.uri is None else _name(data.uri.rpartition("/")[2])
    features = prepared.features
    yield f"- table {place}, digest `{data.digest}`, {data.rows:,} rows with a target"
    yield (
        f"- {len(features.inputs)} columns read ({len(features.numeric_names)} numeric, "
        f"{len(features.categorical_names)} categorical features), target {_name(data.target)}, {data.task}"
    )
    train, valid = prepared.rows.folds[0]
    parts = f"{len(train):,} to train, {len(valid):,} to validate"
    if len(prepared.rows.folds) > 1:
        parts = f"{len(prepared.rows.rest):,} in {len(prepared.rows.folds)} folds"
    yield (
        f"- {parts}, {len(prepared.rows.test):,} held out; split {_name(data.split)} of {data.test_share:g}, "
        f"validation {data.validation}, seed {subject.plan.seed}, digest `{subject.score.split}`"
    )


def _search(subject: Subject) -> Iterator[str]:
    plan, best = subject.plan, subject.best
    begun = [trial for trial in subject.trials if trial.reports or trial.failure]
    failed = [trial for trial in begun if not trial.reports]
    if len(subject.trials) == 1:
        yield f"- one configuration, from: {_name(best.origin)}"
    else:
        yield (
            f"- {plan.algorithm} over {len(plan.space)} parameters of {plan.model}: {len(begun)} trials, "
            f"{len(failed)} failed" + (f" ({_name(failures(failed))})" if failed else "")
        )
        yield f"- won by trial {best.number}, from: {_name(best.origin)}"
    reached = f"{best.reached:g} of {plan.rungs[-1]:g} {plan.budget_unit}"
    best_at = best.best.metrics.get(BEST, math.nan) if best.best else math.nan
    yield f"- trained for {reached}, best after {best_at:.4g} {settings(_family(subject)).budget.unit}"
    if plan.rows != TRAIN:
        yield f"- trained once more for as long on {len(subject.prepared.rows.rest):,} training and validation rows"


def _limits(subject: Subject) -> Iterator[str]:
    yield "- missing values and levels that training did not see are taken; missing columns are refused"
    yield (
        "- the interval is of this model on rows like the held-out ones; other times or places may differ, and rows "
        "that depend on each other make it too narrow"
    )
    yield "- no group of rows was looked at by itself: `promote -P slice=COLUMN` does"
    if subject.prepared.task.kind == "regression" and _family(subject) != "mlp":
        yield "- trees predict nothing beyond the range of the targets that they were trained on"
    if subject.prepared.task.kind != "regression":
        yield "- probabilities are as the model gives them; nothing was calibrated afterwards"


def _columns(subject: Subject) -> Iterator[str]:
    permuted = subject.permuted
    if permuted is None:
        yield f"Not computed: {subject.score.metric} is not defined on the rows, or there are too many columns."
        return
    yield f"How much worse {subject.score.metric} gets on {permuted.rows:,} held-out rows when a column is shuffled:"
    yield ""
    yield from ("| column | loss |", "|---|---|")
    yield from (
        f"| {_name(name)} | {loss:.4g} |" for name, loss in permuted.losses[:_SHOWN_FEATURES]
    )
    if (more := len(permuted.losses) - _SHOWN_FEATURES) > 0:
        yield f"| {more} more | {permuted.losses[_SHOWN_FEATURES][1]:.4g} or less |"


def _parameters(subject: Subject) -> Iterator[str]:
    space, data = subject.plan.space, comparable(subject.trials, subject.plan.space)
    if len(data.losses) < MIN_TRIALS or np.ptp(data.losses) == 0:
        yield f"Not computed: it takes {MIN_TRIALS} trials of one budget with different scores."
        return
    forest = fit(data.x, data.losses)
    if forest.explained < FAIR:
        yield f"{len(data.losses)} trials say too little of it."
        return
    total = decompose(forest).total
    yield f"Share of the score's variance that would be missing without it (fANOVA of {len(data.losses)} trials):"
    yield ""
    yield from ("| parameter | share |", "|---|---|")
    ranked = sorted(zip(space.names, total, strict=True), key=lambda item: -item[1])
    yield from (f"| {_name(name)} | {share:.3f} |" for name, share in ranked[:_SHOWN_PARAMETERS])


def _cost(subject: Subject) -> Iterator[str]:
    seconds = sum(report.seconds for trial in subject.trials for report in trial.reports)
    cores = seconds * subject.plan.threads
    watts, whose = watts_per_core()
    yield (
        f"- trainings that succeeded: {duration(seconds)} of workers with {subject.plan.threads} thread(s), "
        f"{cores / 3600:.3g} core hours at most"
    )
    yield (
        f"- energy, an estimate and not measured: {cores * watts / 3600:.3g} Wh = core hours × {watts:g} W a core "
        f"({whose}); memory, other devices and idle cores are not in it"
    )


def watts_per_core() -> tuple[float, str]:
    """What a busy core is taken to use, and where the number comes from."""
    given = os.environ.get(WATTS, "")
    try:
        watts = float(given)
    except ValueError:
        watts = math.nan
    if math.isfinite(watts) and watts > 0:
        return watts, f"${WATTS}"
    return WATTS_ASSUMED, f"assumed; ${WATTS} sets it"


def _family(subject: Subject) -> str:
    return search_model(subject.plan.model).resolve(subject.best.params)[0]


def _validation(subject: Subject) -> float:
    return METRICS[subject.plan.metric].from_loss(subject.best.loss)


# --- using it again
# ---------------------------------------------------------------------------------


def as_yaml(params: Params) -> str:
    """A configuration as YAML that `train -P params=` reads back exactly; an empty one is the library's defaults."""
    return "".join(f"{_key(name)}: {_scalar(value)}\n" for name, value in params.items()) or "{}\n"


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else _scalar(name)


def _scalar(value: Value) -> str:
    """JSON, which is YAML 1.2 but for characters that YAML has only escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _command(subject: Subject) -> str:
    """The command that trains the configuration in `params.yaml` on the same rows for as long."""
    plan, family = subject.plan, _family(subject)
    data = plan.data
    given: dict[str, object] = {
        "params": "params.yaml",
        "data": "TABLE" if data.uri is None else data.uri,
        "target": data.target,
        "model": family,
        "metric": plan.metric,
        "seed": plan.seed,
        "task": data.task,
    }
    defaults = {"split": "random", "test_share": 0.2, "validation": "holdout"}
    given |= {
        name: getattr(data, name)
        for name, usual in defaults.items()
        if getattr(data, name) != usual
    }
    own = settings(family).budget.max
    full = own
    if plan.fidelity != "rows":
        full = search_model(plan.model).rounds(family, plan.rungs[-1])
    given |= {"budget": full} if full != own else {}
    given |= {"rows": plan.rows} if plan.rows != TRAIN else {}
    values = " ".join(f"-P {name}={shlex.quote(str(value))}" for name, value in given.items())
    return f"mlflow run . -e train --env-manager local {values}"


def _name(text: str) -> str:
    """A name that anybody chose, as Markdown shows it: on one line, cut, and without meaning for Markdown or HTML."""
    line = " ".join(text.split())
    short = line if len(line) <= _SHOWN_NAME else line[: _SHOWN_NAME - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", html.escape(short, quote=False))
