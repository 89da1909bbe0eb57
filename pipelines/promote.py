"""Entry point `promote`: the challenger becomes champion when its held-out score says so."""

from dataclasses import dataclass

from hpo.errors import ParameterError, UserError
from pipelines.gate import Candidate, judge, set_alias

EVIDENCE = "hpo.promotion"  # on the promoted version: what it was compared with


@dataclass(frozen=True)
class Promotion:
    """What `promote` found and did; `replaced` is the champion before, `done` is False when nothing had to change."""

    champion: Candidate
    replaced: Candidate | None
    done: bool
    dry_run: bool

    def __str__(self) -> str:
        """What happened, with the numbers, and what to do next."""
        name = self.champion.name
        if not self.done:
            return f"{self.champion} is champion already ({self.champion.score}); nothing to do"
        verb = "would become" if self.dry_run else "is now"
        lines = [f"{self.champion} {verb} champion: {comparison(self.champion, self.replaced)}"]
        if self.dry_run:
            return "\n".join([*lines, "nothing was changed; run it again without dry_run"])
        lines += [
            f'load it:  mlflow.pyfunc.load_model("models:/{name}@champion")',
            f"serve it: mlflow models serve -m 'models:/{name}@champion' --env-manager local",
        ]
        if self.replaced is not None:
            lines.append(f"go back:  {set_alias(self.replaced)}")
        return "\n".join(lines)


def promote(name: str, version: int | None = None, dry_run: bool = False) -> Promotion:
    """Make the challenger of a registered model its champion if it is better on the held-out rows.

    The first champion must beat the trivial baseline; a later one also the present champion, on the same rows and
    the same metric. The old champion keeps the alias `previous`. Run again after a kill at any moment, it completes
    what was begun.

    Args:
        name: The registered model.
        version: The version to promote instead of the one with the alias challenger.
        dry_run: Only say what would happen, and change nothing.

    Raises:
        PromotionRefusedError: when the challenger is not better or cannot be compared.
        UserError: when there is no such model, version or challenger.
    """
    from pipelines import registry
    from pipelines.tracking import connect

    registry.check_model_name(name)
    if version is not None and version < 1:
        raise ParameterError(f"version={version} must be 1 or more; leave it out for the challenger")
    client = connect()
    known = registry.aliases(client, name)
    number = version if version is not None else known.get(registry.CHALLENGER)
    if number is None:
        raise UserError(
            f"registered model {name!r} has no challenger; register one with `tune -P register={name}`, or name a "
            "version with -P version="
        )
    challenger = registry.candidate(client, name, number)
    if known.get(registry.CHAMPION) == number:
        return Promotion(challenger, None, done=False, dry_run=dry_run)
    champion = (
        registry.candidate(client, name, known[registry.CHAMPION]) if registry.CHAMPION in known else None
    )
    judge(challenger, champion)
    if not dry_run:
        # Evidence first, the alias that counts last. The challenger's alias stays: it names the newest candidate,
        # and taking it away could hit one that another study has just registered.
        client.set_model_version_tag(name, str(number), EVIDENCE, comparison(challenger, champion))
        if champion is not None:
            client.set_registered_model_alias(name, registry.PREVIOUS, str(champion.version))
        client.set_registered_model_alias(name, registry.CHAMPION, str(number))
    return Promotion(challenger, champion, done=True, dry_run=dry_run)


def comparison(challenger: Candidate, champion: Candidate | None) -> str:
    """The numbers behind a promotion."""
    score = challenger.score
    if champion is None:
        other = f"{score.baseline:.6g} of the trivial baseline"
    else:
        other = f"{champion.score.value:.6g} of version {champion.version}"
    return f"{score} against {other} ({score.rule})"
