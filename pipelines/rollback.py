"""Entry point `rollback`: restores the previous champion."""

from dataclasses import dataclass

from hpo.errors import UserError
from pipelines.files.commands import command
from pipelines.registry.gate import Candidate


@dataclass(frozen=True)
class Rollback:
    """What `rollback` did.

    Attributes:
        champion: The champion now.
        replaced: The version that was champion; None if only the alias `previous` changed, which
            an interrupted promotion or rollback had left on the champion.
        previous: The version that a further rollback restores; None if there is none.
        dry_run: Whether nothing was changed.
    """

    champion: Candidate
    replaced: Candidate | None
    previous: int | None
    dry_run: bool

    def __str__(self) -> str:
        """What happened, and what to do next."""
        further = (
            f"a further rollback leads to version {self.previous}"
            if self.previous
            else "there is nothing before it to go back to"
        )
        if self.replaced is None:
            verb = "would be" if self.dry_run else "was"
            return (
                f"{self.champion} stays champion: an interrupted promotion or rollback {verb} "
                f"completed; {further}"
            )
        verb = "would be" if self.dry_run else "is"
        replaced = self.replaced.version
        result = f"{self.champion} {verb} champion again instead of version {replaced}; {further}"
        if self.dry_run:
            return f"{result}\nnothing was changed; run it again without dry_run"
        promote = command("promote", name=self.champion.name, version=replaced)
        return f"{result}\nversion {replaced} is not promoted again unless it is named: {promote}"


def rollback(name: str, dry_run: bool = False) -> Rollback:
    """Restore the previous champion of a registered model.

    The alias `previous` moves to the version that this one had replaced, so that a further rollback
    goes back further. The version that was champion is marked: `promote` takes it again only when
    it is named. After a kill at any moment, running `rollback` again completes it.

    Args:
        name: The registered model.
        dry_run: Only show what would happen; change nothing.

    Raises:
        UserError: If there is no such model, no champion, or no previous one.
    """
    from pipelines.registry import champions, versions
    from pipelines.store.tracking import connect

    versions.check_model_name(name)
    client = connect()
    aliases = versions.aliases(client, name)
    present, target = aliases.get(versions.CHAMPION), aliases.get(versions.PREVIOUS)
    if present is None:
        raise UserError(
            f"registered model {name!r} has no champion to roll back; `promote -P name={name}` "
            "makes one"
        )
    if target is None:
        raise UserError(
            f"registered model {name!r} has no previous champion: version {present} is the first "
            f"one, or the alias {versions.PREVIOUS} was removed; to promote another version use "
            f"`promote -P name={name} -P version=`"
        )
    champion = versions.candidate(client, name, present)
    previous = versions.candidate(client, name, target)
    before = champions.champion_before(client, previous, excluded=(present, target))
    if present == target:
        if not dry_run:
            champions.set_previous(client, name, before)
        return Rollback(champion, None, before, dry_run)
    if not dry_run:
        champions.restore_champion(client, champion, previous, before)
    return Rollback(previous, champion, before, dry_run)
