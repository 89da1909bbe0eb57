"""Entry point `rollback`: the champion before the present one is champion again."""

from dataclasses import dataclass

from hpo.errors import UserError
from pipelines.registry.gate import NOBODY, REPLACED, ROLLED_BACK, Candidate


@dataclass(frozen=True)
class Rollback:
    """What `rollback` did.

    `replaced` is the champion that had to go, None when nothing had to change but the alias
    `previous`, which an interrupted promotion or rollback had left on the champion. `previous` is
    where a further rollback leads.
    """

    champion: Candidate
    replaced: Candidate | None
    previous: int | None
    dry_run: bool

    def __str__(self) -> str:
        """What happened, and what to do next."""
        name = self.champion.name
        further = f"a further rollback leads to version {self.previous}" if self.previous else ""
        further = further or "there is nothing before it to go back to"
        if self.replaced is None:
            verb = "would be" if self.dry_run else "was"
            return (
                f"{self.champion} stays champion: a promotion or rollback had been interrupted, and its end {verb} "
                f"made up; {further}"
            )
        verb = "would be" if self.dry_run else "is"
        lines = [
            f"{self.champion} {verb} champion again instead of version {self.replaced.version}; {further}"
        ]
        if self.dry_run:
            return "\n".join([*lines, "nothing was changed; run it again without dry_run"])
        return "\n".join(
            [
                *lines,
                f"version {self.replaced.version} is not promoted again unless it is named: mlflow run . -e promote "
                f"--env-manager local -P 'name={name}' -P version={self.replaced.version}",
            ]
        )


def rollback(name: str, dry_run: bool = False) -> Rollback:
    """Make the previous champion of a registered model its champion again.

    The alias `previous` goes to the version that this one had replaced, so that a further rollback
    goes back further. The version that had to go is marked, and `promote` takes it again only when
    it is named. Run again after a kill at any moment, it completes what was begun.

    Args:
        name: The registered model.
        dry_run: Only say what would happen, and change nothing.

    Raises:
        UserError: when there is no such model, no champion, or no previous one.
    """
    from pipelines.registry import versions as registry
    from pipelines.store.tracking import connect

    registry.check_model_name(name)
    client = connect()
    known = registry.aliases(client, name)
    present, target = known.get(registry.CHAMPION), known.get(registry.PREVIOUS)
    if present is None:
        raise UserError(
            f"registered model {name!r} has no champion to roll back; `promote -P name={name}` makes one"
        )
    if target is None:
        raise UserError(
            f"registered model {name!r} has no previous champion: version {present} is the first one, or the alias "
            f"{registry.PREVIOUS} was removed; another version is promoted with `promote -P name={name} -P version=`"
        )
    champion, previous = (registry.candidate(client, name, number) for number in (present, target))
    before = _replaced_by(previous)
    if before in (present, target) or before not in registry.versions(client, name):
        before = None
    if before is not None and ROLLED_BACK in registry.candidate(client, name, before).tags:
        before = None
    if present == target:
        if not dry_run:
            registry.settle(client, name, before)
        return Rollback(champion, None, before, dry_run)
    if not dry_run:
        registry.uncrown(client, champion, previous, before)
    return Rollback(previous, champion, before, dry_run)


def _replaced_by(candidate: Candidate) -> int | None:
    """The champion before this version became it."""
    number = candidate.tags.get(REPLACED, NOBODY)
    return int(number) if number.isdigit() else None
