"""Entry point `promote`: the challenger becomes champion when it is better on rows that neither has trained on."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import ParameterError, StudyError, UserError
from pipelines.registry.gate import (
    ROLLED_BACK,
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
    from pipelines.registry.heldout import HeldOut


@dataclass(frozen=True)
class Promotion:
    """What `promote` found and did.

    `verdict` holds the checks, None when there was nothing to compare; `replaced` is the champion
    before; `done` is False when the version was champion already.
    """

    champion: Candidate
    replaced: Candidate | None
    verdict: Verdict | None
    done: bool
    dry_run: bool

    def __str__(self) -> str:
        """What happened, with the numbers, and what to do next."""
        name = self.champion.name
        if self.verdict is None:
            return f"{self.champion} is champion already; nothing to do"
        verb = "would become" if self.dry_run else "is now"
        lines = [
            f"{self.champion} {verb} champion: {self.verdict.summary}",
            "",
            self.verdict.table(),
            "",
        ]
        if self.dry_run:
            return "\n".join([*lines, "nothing was changed; run it again without dry_run"])
        lines += [
            f'load it:  mlflow.pyfunc.load_model("models:/{name}@champion")',
            f"serve it: mlflow models serve -m 'models:/{name}@champion' --env-manager local",
        ]
        if self.replaced is not None:
            lines.append(f"go back:  mlflow run . -e rollback --env-manager local -P 'name={name}'")
        return "\n".join(lines)


def promote(
    name: str,
    version: int | None = None,
    dry_run: bool = False,
    data: str | Path | pd.DataFrame | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    slice: str | None = None,
    tolerance: float = 0.01,
    max_latency: str | float | None = None,
    max_size: float | None = None,
) -> Promotion:
    """Make the challenger of a registered model its champion if it is better and keeps to the limits.

    Challenger and champion predict the same rows: those that the challenger's study held out, or
    new ones. The challenger must be better with a stated probability (paired bootstrap over the
    rows), than the trivial baseline too; take the champion's inputs and answer in its form; and
    keep to the limits that are given. The old champion gets the alias `previous`. Run again after a
    kill at any moment, it completes what was begun.

    Args:
        name: The registered model.
        version: The version to promote instead of the one with the alias challenger.
        dry_run: Only say what would happen, and change nothing.
        data: New rows with the target, which neither model has seen; or the study's table, when it
            has moved.
        margin: By how much it must be better than the champion, in the metric's units.
        confidence: The probability with which it must be better.
        slice: A column; on none of its groups of 50 rows or more may the challenger be worse beyond
            chance.
        tolerance: By how much it may be worse on a group, in the metric's units.
        max_latency: The most milliseconds for one row (99th percentile), or limits like
        p50:5,p99x1000:80.
        max_size: The most megabytes of the model's files.

    Raises:
        PromotionRefusedError: when the challenger fails a check, or cannot be compared.
        UserError: when there is no such model, version or challenger, or a value is impossible.
    """
    limits = Limits(margin, confidence, slice, tolerance, read_latency(max_latency), max_size)
    from pipelines.registry import versions as registry
    from pipelines.store.tracking import connect

    registry.check_model_name(name)
    if version is not None and version < 1:
        raise ParameterError(
            f"version={version} must be 1 or more; leave it out for the challenger"
        )
    client = connect()
    known = registry.aliases(client, name)
    number = version if version is not None else known.get(registry.CHALLENGER)
    if number is None:
        raise UserError(
            f"registered model {name!r} has no challenger; register one with `tune -P register={name}`, or name a "
            "version with -P version="
        )
    challenger = registry.candidate(client, name, number)
    before = known.get(registry.CHAMPION)
    if before == number:
        return Promotion(challenger, None, None, done=False, dry_run=dry_run)
    if version is None and ROLLED_BACK in challenger.tags:
        raise PromotionRefusedError(
            f"{challenger} was champion and was rolled back ({challenger.tags[ROLLED_BACK]}); it is promoted again "
            f"only when it is named: -P version={number}"
        )
    champion = None if before is None else registry.candidate(client, name, before)
    verdict = _judge(challenger, champion, data, limits)
    if verdict.failed:
        raise PromotionRefusedError(_refusal(challenger, champion, verdict))
    if not dry_run:
        registry.crown(client, challenger, champion, verdict)
    return Promotion(challenger, champion, verdict, done=True, dry_run=dry_run)


def _judge(
    challenger: Candidate,
    champion: Candidate | None,
    data: str | Path | pd.DataFrame | None,
    limits: Limits,
) -> Verdict:
    """Compare two versions; nothing is changed anywhere.

    Raises:
        UserError: when they cannot be compared.
    """
    from pipelines.registry.comparison import compare

    score = HeldOutScore.from_tags(challenger.tags, str(challenger))
    if not math.isfinite(score.value):
        raise PromotionRefusedError(
            f"{challenger} scored {score.value} on the held-out rows; it must be a finite number"
        )
    with tempfile.TemporaryDirectory() as folder:
        mine = _served(challenger, Path(folder))
        theirs = None if champion is None else _served(champion, Path(folder))
    rows = _rows(challenger, score, mine, data)
    verdict = compare(mine, theirs, rows, score, limits)
    if champion is None or not rows.of_study or score.same_rows(champion.tags):
        return verdict
    note = (
        "the champion comes from another table or split and may have trained on some of these rows, which flatters it; "
        "new rows (-P data=) are fair to both"
    )
    return replace(verdict, notes=(*verdict.notes, note))


def _served(candidate: Candidate, folder: Path) -> "Served":
    from pipelines.registry.comparison import Served
    from pipelines.registry.versions import load_predictor

    place = folder / str(candidate.version)
    place.mkdir()
    try:
        predictor, size = load_predictor(candidate, place)
    except PromotionRefusedError as error:
        raise PromotionRefusedError(f"{error}; {_by_hand(candidate)}") from error
    return Served(candidate.version, predictor, size)


def _rows(
    challenger: Candidate,
    score: HeldOutScore,
    mine: "Served",
    data: str | Path | pd.DataFrame | None,
) -> "HeldOut":
    from pipelines.registry.heldout import held_out_rows
    from pipelines.registry.versions import STUDY
    from pipelines.study.runs import study_header
    from pipelines.table.source import DataPlan

    try:
        header: dict[str, Any] = study_header(challenger.tags.get(STUDY, "none"))
        plan, seed = DataPlan(**header["data"]), int(header["seed"])
    except (StudyError, KeyError, TypeError) as error:
        raise PromotionRefusedError(
            f"which rows {challenger} was not trained on is known to its study only, and that cannot be read: {error}; "
            f"{_by_hand(challenger)}"
        ) from error
    return held_out_rows(plan, seed, score, mine.predictor.target, data)


def _refusal(challenger: Candidate, champion: Candidate | None, verdict: Verdict) -> str:
    reasons = ", ".join(check.name for check in verdict.failed)
    stays = (
        f"the champion stays version {champion.version}" if champion else "there is no champion yet"
    )
    return (
        f"{challenger} does not become champion: {verdict.summary}; not passed: {reasons}; {stays}\n\n"
        f"{verdict.table()}\n\n"
        f"Search on (`tune -P register={challenger.name}` with more trials, or `-P study=` of the last study), look at "
        f"the limits again, or {_by_hand(challenger)}"
    )


def _by_hand(candidate: Candidate) -> str:
    return f"decide by hand: {set_alias(candidate)}"
