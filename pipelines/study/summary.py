"""The text of a study's result: the leaderboard, the winner, and the next commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.agreement import agreements, describe
from hpo.errors import counted
from hpo.goals.forecast import HORIZON
from hpo.goals.leaders import ranked
from hpo.trial import Trial, schedule
from pipelines.files.commands import command
from pipelines.findings.diagnosis import diagnosis_lines
from pipelines.models import PERCENT_OF_ROWS
from pipelines.table.scores.named import is_beside
from warmstart.families import is_code

if TYPE_CHECKING:
    from pipelines.study.result import StudyResult

ROWS = 10  # of the leaderboard


def summary(result: "StudyResult") -> str:
    """The whole text."""
    parts = [
        _leaderboard(result),
        _rank_agreement(result),
        result.confirmation.lines() if result.confirmation else [],
        result.ensemble.lines() if result.ensemble else [],
        result.outcome.decision.lines() if result.outcome.decision else [],
        list(_winner(result)),
        list(_forecast(result)),
        diagnosis_lines(result.findings) if result.report else [],
    ]
    paragraphs = ["\n".join(lines) for lines in [*parts, _next_steps(result)] if lines]
    return "\n" + "\n\n".join(paragraphs)


def line(result: "StudyResult") -> str:
    """The result in one line."""
    n = len(result.trials)
    start = f"study {result.run_id}: {counted(n, 'trial')}"
    if result.winner is None:
        return f"{start}, stopped before a winner was named"
    test = result.test.get(result.plan.score.name)
    held_out = "" if test is None else f", {test:.5g} on the held-out rows"
    model = f", model {result.model_uri}" if result.model_uri else ""
    version = f", {result.plan.register} version {result.version}" if result.version else ""
    goals = result.plan.goals
    text = goals.text(result.winner.best) if result.winner.best else ""
    word = "best" if goals.is_single else "winner"
    broken = ", which breaks the limits" if _breaks(result, result.winner) else ""
    which = f"(trial {result.winner.number}{broken})"
    return f"{start}, {word} {text} {which}{held_out}{model}{version}"


def _breaks(result: "StudyResult", winner: Trial) -> bool:
    return winner.best is not None and result.plan.goals.excess(winner.best) > 0


def short(params: Mapping[str, object], most: int = 80) -> str:
    """A configuration in at most so many characters."""
    shown = [
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    ]
    text = ", ".join(shown)
    return text if len(text) <= most else text[: most - 1] + "…"


def failures(trials: Sequence[Trial]) -> str:
    """The most common reason of the failed trials."""
    reasons = [trial.failure.splitlines()[0] for trial in trials if trial.failure]
    return max(reasons, key=reasons.count) if reasons else "none failed"


def _leaderboard(result: "StudyResult") -> list[str]:
    """The best trials, the default among them, and the baselines."""
    goals = result.plan.goals
    done = ranked(result.trials, goals)
    shown = [*done[:ROWS], *(trial for trial in done[ROWS:] if trial.origin == "default")]
    front = set() if goals.is_single else {trial.number for trial in result.front}
    rows = [
        (
            f"trial {trial.number}{' *' * (trial.number in front)}",
            "  ".join(f"{v:>10.5g}" for v in goals.scores(trial.best).values()),
            _origin(result, trial),
            short(trial.params),
        )
        for trial in shown
        if trial.best
    ]
    rows += [(f"baseline {n}", f"{score:>10.5g}", "", "") for n, score in result.baselines.items()]
    width = max((len(name) for name, *_ in rows), default=0)
    high = max((len(scores) for _, scores, *_ in rows), default=0)
    wide = max((len(origin) for *_, origin, _ in rows), default=0)
    failed = sum(trial.failure is not None and not trial.reports for trial in result.trials)
    count = counted(len(done), "trial")
    note = f", {failed} failed" if failed else ""
    where = "" if is_code(result.plan.model) else " on the validation rows"
    best = f"; * marks the front of {len(front)}" if front else ""
    head = f"Leaderboard by {', '.join(goals.names)}{where} ({count}{note}){best}"
    lines = [
        f"{name:<{width}}  {scores:<{high}}  {origin:<{wide}}  {params}".rstrip()
        for name, scores, origin, params in rows
    ]
    return [head, *lines]


def _origin(result: "StudyResult", trial: Trial) -> str:
    """Where a trial comes from; in a race also how far it came, and where it was best."""
    if not result.plan.races or trial.best is None:
        return trial.origin
    best = f", best at {trial.best.budget:g}" if trial.reports[-1].loss > trial.loss else ""
    failed = f", failed at {trial.budget:g}" if trial.failure else ""
    return f"{trial.origin}, {trial.reached:g} {result.plan.budget_unit}{best}{failed}"


def _rank_agreement(result: "StudyResult") -> list[str]:
    found = agreements(result.trials) if result.plan.races else []
    return [describe(found, result.plan.budget_unit)] if found else []


def _winner(result: "StudyResult") -> Iterator[str]:
    """The winner's scores on the held-out rows, its model, and what to know about it."""
    if result.winner is None:
        return
    if is_code(result.plan.model):
        yield from _best(result, result.winner)
    elif not result.plan.goals.is_single:
        yield f"Winner: {_chosen(result, result.winner)}"
    score = result.plan.score.name
    if score not in result.test:
        return
    interval = result.interval
    bounds = f" [{interval.low:.5g}, {interval.high:.5g}]" if interval else ""
    others = [f"{name} {v:.5g}" for name, v in result.test.items() if name != score]
    more = f"  ({', '.join(others)})" if others else ""
    yield f"Held-out test rows: {score} {result.test[score]:.5g}{bounds}{more}"
    yield from _beside(result, result.winner)
    if result.outcome.default is not None:
        yield f"  {result.outcome.default}"
    if result.winner.parent is not None and not is_code(result.plan.model):
        yield f"Trial {result.winner.number} was trained with values that changed:"
        yield from _earlier(result, result.winner)
    yield f"Model: {result.model_uri}"
    yield from _budget_note(result, result.winner)
    if result.plan.uses_test_rows and result.outcome.trained_on:
        yield (
            f"Note: it was trained on all {result.outcome.trained_on:,} rows after the score; the "
            "scores are those of the model without the test rows"
        )
    elif result.outcome.trained_on:
        yield (
            f"Note: it was trained on training and validation rows, {result.outcome.trained_on:,}; "
            "the score on the validation rows is that of a model trained without them"
        )
    if result.version is not None:
        name = result.plan.register
        yield f"Registered: {name} version {result.version}, alias challenger"
    yield from _better_baselines(result, result.winner)


def _beside(result: "StudyResult", winner: Trial) -> Iterator[str]:
    """What was measured of the winner beside scores, where the goals or limits name it."""
    metrics = winner.best.metrics if winner.best else {}
    wanted = filter(is_beside, result.plan.goals.sums.measured)
    names = [name for name in wanted if name in metrics]
    if names and not is_code(result.plan.model):
        shown = ", ".join(f"{name} {metrics[name]:.5g}" for name in names)
        yield f"  {shown} (measured in the search)"


def _better_baselines(result: "StudyResult", winner: Trial) -> Iterator[str]:
    """Notes on baselines that score better than the winner of a single goal."""
    for name, score in result.baselines.items():
        if result.plan.goals.is_single and result.goal.to_loss(score) < winner.loss:
            yield (
                f"Note: no trial beats the baseline {name}; the table may need more rows or other "
                "columns"
            )


def _chosen(result: "StudyResult", winner: Trial) -> str:
    """The winner with its values of all goals, and how it was chosen."""
    goals = result.plan.goals
    scores = goals.text(winner.best) if winner.best else ""
    how = "by the weights of prefer" if goals.weights else "the nearest to the best of every goal"
    chosen = f"; {how}" if len(goals.goals) > 1 else ""
    if _breaks(result, winner):
        chosen = f"; it breaks {', '.join(map(str, goals.limits))} least, and no trial keeps it"
    return f"trial {winner.number}, {scores}{chosen}"


def _best(result: "StudyResult", winner: Trial) -> Iterator[str]:
    """The winner of the user's own code: its configuration, and the model that it has logged."""
    yield f"Best: {_chosen(result, winner)}"
    yield from (f"  {name}: {value}" for name, value in winner.params.items())
    yield from _earlier(result, winner)
    if result.model_uri is not None:
        yield f"Model: {result.model_uri}"
    if result.version is not None:
        yield f"Registered: {result.plan.register} version {result.version}, alias challenger"


def _earlier(result: "StudyResult", winner: Trial) -> Iterator[str]:
    """The values that a copied trial was trained with before its own."""
    for phase in schedule(result.trials, winner.number)[:-1]:
        values = short(phase.params)
        yield f"  before, from {phase.start:g} to {phase.to:g}, as trial {phase.number}: {values}"


def _budget_note(result: "StudyResult", winner: Trial) -> Iterator[str]:
    """A note on a winner that has not had a full training."""
    unit, full = result.plan.budget_unit, result.plan.rungs[-1]
    if not result.plan.races:
        return
    if unit == PERCENT_OF_ROWS and winner.best is not None and winner.best.budget < full:
        yield f"Note: it was trained on {winner.best.budget:g} {unit}; `train` takes all of them"
    elif winner.reached < full:
        train = command("train", trial=result.winner_run)
        yield (
            f"Note: it has had {winner.reached:g} of {full:g} {unit}; to train it to the end: "
            f"{train}"
        )


def _forecast(result: "StudyResult") -> Iterator[str]:
    """What more trials would bring, if that is known."""
    if result.expected_gain is not None and not result.exhausted:
        yield (
            f"{HORIZON} more trials are expected to improve {result.metric} by "
            f"{result.expected_gain:.2g}"
        )


def _next_steps(result: "StudyResult") -> list[str]:
    lines = ["Next:"]
    links = [link for link in (result.link, result.report) if link]
    if result.tracking_uri.startswith("http"):
        first, *links = links or [result.tracking_uri]
        lines.append(f"  open     {first}")
    else:
        uri = shlex.quote(result.tracking_uri)
        lines.append(f"  look     mlflow ui --backend-store-uri {uri}")
    lines += [f"           {link}" for link in links]
    if result.version is not None:
        lines.append(f"  promote  {command('promote', name=str(result.plan.register))}")
    return [*lines, *_continuing(result)]


def _continuing(result: "StudyResult") -> Iterator[str]:
    """How to resume a study that is not finished, or to go on with one that is."""
    wanted = result.plan.extent.trials
    if result.interrupted:
        yield f"  resume   {_again(result, wanted)}"
    elif wanted is None:  # the end of its time is the end of the search
        if not result.exhausted:
            yield f"  go on    {_again(result, None)}"
    elif not result.complete or (
        len(result.trials) < wanted and not (result.exhausted or result.stalled)
    ):
        yield f"  resume   {_again(result, wanted)}"
    elif wanted > 1 and not result.exhausted:  # a single configuration is no search
        yield f"  go on    {_again(result, max(2 * len(result.trials), wanted))}"


def _again(result: "StudyResult", trials: int | None) -> str:
    """How to resume the study, up to a number of trials or for as long as before."""
    timeout = result.plan.extent.timeout
    ends = {} if trials is None else {"trials": f"{trials}"}
    ends |= {"timeout": f"{timeout:g}"} if timeout else {}
    if result.stalled and result.plan.extent.patience is not None:
        ends["patience"] = f"{2 * result.plan.extent.patience}"
    if result.stalled and result.plan.extent.min_gain is not None:
        gain = min(result.plan.extent.min_gain, result.expected_gain or result.plan.extent.min_gain)
        ends["min_gain"] = f"{gain / 2:.2g}"  # less than what is expected, to go on at all
    if result.spent:
        ends["budget"] = result.plan.extent.allowance.twice
    for name, text in result.given_again.items():
        if text is None:
            given = ", ".join(f"{end}={value}" for end, value in ends.items())
            what = "table" if name == "data" else name
            return f"tune({name}=…, study={result.run_id!r}, {given}), with the same {what}"
        ends[name] = text
    return command("tune", study=result.run_id, **ends)
