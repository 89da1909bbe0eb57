"""Entry point `promote`: makes the challenger champion if it is better on held-out or new rows."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import ParameterError, StudyError, UserError
from pipelines.entry_points import entry_point
from pipelines.files.commands import command
from pipelines.registry.gate import (
    ALL_ROWS,
    ROLLED_BACK,
    TRAINED_ON,
    Candidate,
    HeldOutScore,
    Limits,
    PromotionRefusedError,
    Verdict,
    read_latency,
    set_alias,
)

if TYPE_CHECKING:
    from pipelines.registry.comparison import Served
    from pipelines.registry.heldout import StudyTable

_UNFAIR = (
    "the champion comes from another table or split and may have been trained on some of these "
    "rows, which favours it; new rows (-P data=) are fair to both"
)


@dataclass(frozen=True)
class Promotion:
    """What `promote` found and did.

    Attributes:
        champion: The version that was promoted, or in a dry run would be.
        replaced: The previous champion, if there was one.
        verdict: The checks; None if the version was champion already.
        done: False if the version was champion already.
        dry_run: Whether nothing was changed.
    """

    champion: Candidate
    replaced: Candidate | None
    verdict: Verdict | None
    done: bool
    dry_run: bool

    def __str__(self) -> str:
        """What happened, with the numbers, and what to do next."""
        if self.verdict is None:
            return f"{self.champion} is champion already; nothing to do"
        verb = "would become" if self.dry_run else "is now"
        result = f"{self.champion} {verb} champion: {self.verdict.summary}"
        return "\n".join([result, "", self.verdict.table(), "", *self._next_steps()])

    def _next_steps(self) -> list[str]:
        if self.dry_run:
            return ["nothing was changed; run it again without dry_run"]
        name = self.champion.name
        steps = [
            f'load it:  mlflow.pyfunc.load_model("models:/{name}@champion")',
            f"serve it: mlflow models serve -m 'models:/{name}@champion' --env-manager local",
        ]
        if self.replaced is not None:
            steps.append(f"go back:  {command('rollback', name=name)}")
        return steps


@dataclass(frozen=True)
class PromoteOptions:
    """Which version is promoted, and what it must pass.

    Args:
        name: The registered model.
        version: The version to promote instead of the one with the alias challenger.
        dry_run: Only show what would happen; change nothing.
        data: New rows with the target, which neither model has seen; or the study's table at its
            new place.
        margin: By how much it must be better than the champion, in the metric's units.
        confidence: The probability with which it must be better.
        slice: A column; on none of its groups of 50 rows or more may the challenger be worse beyond
            chance.
        tolerance: By how much it may be worse on a group, in the metric's units.
        max_latency: The most milliseconds for one row (99th percentile), or limits like
            p50:5,p99x1000:80.
        max_size: The most megabytes of the model's files.
        target: Of a model that your own code has logged: the column of data to predict. The model
            is then loaded and run, in a process of its own.
        metric: Of such a model: the score to compare by; none is that of its study.
    """

    name: str
    version: int | None = None
    dry_run: bool = False
    data: str | Path | pd.DataFrame | None = None
    margin: float = 0.0
    confidence: float = 0.95
    slice: str | None = None
    tolerance: float = 0.01
    max_latency: str | float | None = None
    max_size: float | None = None
    target: str | None = None
    metric: str | None = None

    def limits(self) -> Limits:
        """The limits that the challenger must keep.

        Raises:
            ParameterError: If one is invalid.
        """
        return Limits(
            self.margin,
            self.confidence,
            self.slice,
            self.tolerance,
            read_latency(self.max_latency),
            self.max_size,
        )


@entry_point(PromoteOptions)
def promote(options: PromoteOptions) -> Promotion:
    """Make the challenger of a registered model its champion, if it passes all checks.

    Challenger and champion predict the same rows: those that the challenger's study held out, or
    new ones. The challenger must be better with a given probability (paired bootstrap over the
    rows), also than the trivial baseline; accept the champion's inputs and answer in the same form;
    and be within the given limits. The replaced champion gets the alias `previous`. After a kill at
    any moment, running `promote` again completes it.

    Raises:
        PromotionRefusedError: If the challenger fails a check, or cannot be compared.
        UserError: If there is no such model, version or challenger, or a parameter is invalid.
    """
    limits = options.limits()
    from pipelines.registry import champions, versions
    from pipelines.store.tracking import connect

    versions.check_model_name(options.name)
    if options.version is not None and options.version < 1:
        raise ParameterError(
            f"version={options.version} must be 1 or more; leave it out for the challenger"
        )
    client = connect()
    aliases = versions.aliases(client, options.name)
    number = options.version or aliases.get(versions.CHALLENGER)
    if number is None:
        raise UserError(
            f"registered model {options.name!r} has no challenger; register one with "
            f"`tune -P register={options.name}`, or name a version with -P version="
        )
    challenger = versions.candidate(client, options.name, number)
    current = aliases.get(versions.CHAMPION)
    if current == number:
        return Promotion(challenger, None, None, done=False, dry_run=options.dry_run)
    if options.version is None and ROLLED_BACK in challenger.tags:
        raise PromotionRefusedError(
            f"{challenger} was champion and was rolled back ({challenger.tags[ROLLED_BACK]}); it "
            f"is promoted again only when it is named: -P version={number}"
        )
    champion = None if current is None else versions.candidate(client, options.name, current)
    if versions.is_own_code(challenger):
        verdict = _judge_own_code(challenger, champion, options, limits)
    elif options.target is not None or options.metric is not None:
        raise ParameterError(
            f"{challenger} is of a study that knows its target and its metric; leave target and "
            "metric out"
        )
    else:
        verdict = _judge(challenger, champion, options.data, limits)
    if verdict.failed:
        raise PromotionRefusedError(_refusal(challenger, champion, verdict))
    if not options.dry_run:
        champions.make_champion(client, challenger, champion, verdict)
    return Promotion(challenger, champion, verdict, done=True, dry_run=options.dry_run)


def _judge(
    challenger: Candidate,
    champion: Candidate | None,
    data: str | Path | pd.DataFrame | None,
    limits: Limits,
) -> Verdict:
    """Compare two versions, without changing anything.

    Raises:
        UserError: If they cannot be compared.
    """
    from pipelines.registry.comparison import compare
    from pipelines.registry.heldout import held_out_rows

    score = HeldOutScore.from_tags(challenger.tags, str(challenger))
    if not math.isfinite(score.value):
        raise PromotionRefusedError(
            f"{challenger} scored {score.value} on the held-out rows; it must be a finite number"
        )
    with tempfile.TemporaryDirectory() as folder:
        mine = _load(challenger, Path(folder))
        theirs = None if champion is None else _load(champion, Path(folder))
    study = _study_table(challenger, score)
    rows = held_out_rows(study, mine.predictor.target, data)
    if rows.of_study and challenger.tags.get(TRAINED_ON) == ALL_ROWS:
        raise PromotionRefusedError(
            f"{challenger} was trained on all rows of its table (refit=all), those that its study "
            "held out among them, so it cannot be compared on them; give new rows with -P data=, "
            f"or {_by_hand(challenger)}"
        )
    verdict = compare(mine, theirs, rows, score, limits)
    fair = champion is None or not rows.of_study or score.unseen_by(champion.tags)
    return verdict if fair else replace(verdict, notes=(*verdict.notes, _UNFAIR))


def _judge_own_code(
    challenger: Candidate, champion: Candidate | None, options: PromoteOptions, limits: Limits
) -> Verdict:
    """Compare two versions of which the challenger is a model that the user's code has logged.

    Raises:
        UserError: If they cannot be compared.
    """
    from pipelines.registry.own_code import Model, Rows, judge, of_project, predicted
    from pipelines.registry.versions import is_own_code, load_predictor, size_of, uri_of

    if options.data is None or options.target is None:
        raise PromotionRefusedError(
            f"{challenger} was logged by your own code, whose study holds out no rows: give a "
            f"table that it has not seen as -P data=, and its target as -P target=; or "
            f"{_by_hand(challenger)}"
        )
    if limits.latency:
        raise ParameterError(
            "max_latency is not measured for a model that your own code has logged; leave it out"
        )
    rows = Rows.read(options.data, options.target)
    metric = rows.metric(options.metric or _metric_of(challenger))

    def model(which: Candidate) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            if not is_own_code(which):
                predictor, size = load_predictor(which, Path(folder))
                return Model(f"version {which.version}", of_project(predictor, rows, metric), size)
            size = size_of(which, Path(folder))
        prediction = predicted(uri_of(which), str(which), rows, metric)
        return Model(f"version {which.version}", prediction, size)

    mine = model(challenger)
    return judge(mine, None if champion is None else model(champion), rows, metric, limits)


def _metric_of(challenger: Candidate) -> str:
    """The metric of the study that a version comes from.

    Raises:
        ParameterError: If it comes from none.
    """
    from pipelines.registry.versions import STUDY
    from pipelines.study.runs import study_header

    try:
        return str(study_header(challenger.tags.get(STUDY, "none"))["metric"])
    except (StudyError, KeyError) as error:
        raise ParameterError(
            f"{challenger} comes from no study, whose metric could compare it; give metric="
        ) from error


def _load(candidate: Candidate, folder: Path) -> "Served":
    from pipelines.registry.comparison import Served
    from pipelines.registry.versions import load_predictor

    place = folder / str(candidate.version)
    place.mkdir()
    try:
        predictor, size = load_predictor(candidate, place)
    except PromotionRefusedError as error:
        raise PromotionRefusedError(f"{error}; {_by_hand(candidate)}") from error
    return Served(candidate.version, predictor, size)


def _study_table(challenger: Candidate, score: HeldOutScore) -> "StudyTable":
    """The table of the challenger's study."""
    from pipelines.registry.heldout import StudyTable
    from pipelines.registry.versions import STUDY
    from pipelines.study.runs import study_header
    from pipelines.table.source import DataPlan

    try:
        header: dict[str, Any] = study_header(challenger.tags.get(STUDY, "none"))
        return StudyTable(DataPlan.from_header(header), int(header["seed"]), score)
    except (StudyError, KeyError, TypeError) as error:
        raise PromotionRefusedError(
            f"the held-out rows of {challenger} are recorded in its study, which cannot be read: "
            f"{error}; {_by_hand(challenger)}"
        ) from error


def _refusal(challenger: Candidate, champion: Candidate | None, verdict: Verdict) -> str:
    failed = ", ".join(check.name for check in verdict.failed)
    stays = (
        f"the champion stays version {champion.version}" if champion else "there is no champion yet"
    )
    return (
        f"{challenger} does not become champion: {verdict.summary}; not passed: {failed}; {stays}"
        f"\n\n{verdict.table()}\n\n"
        f"Continue the search (`tune -P register={challenger.name}` with more trials, or "
        f"`-P study=` of the last study), change the limits, or {_by_hand(challenger)}"
    )


def _by_hand(candidate: Candidate) -> str:
    return f"decide by hand: {set_alias(candidate)}"
