"""Changing which version of a registered model is the champion.

The registry moves an alias for whoever asks last: it has no conditions and no locks. So only one
promotion or rollback at a time changes the aliases of a model (`_locked`), and the champion is read
again just before and just after the change.
"""

import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from mlflow import MlflowClient

from pipelines.registry.gate import (
    EVIDENCE,
    NOBODY,
    PROBABILITY,
    REPLACED,
    ROLLED_BACK,
    TABLE,
    Candidate,
    PromotionRefusedError,
    Verdict,
)
from pipelines.registry.versions import CHAMPION, PREVIOUS, aliases, candidate, versions
from pipelines.store.lease import SETTLE, Driver

GATE = "hpo.gate"  # tag of a registered model: the process that changes its aliases now

_NOT_IN_FILE_NAMES = re.compile(r"[^\w.-]")


def make_champion(
    client: MlflowClient, challenger: Candidate, champion: Candidate | None, verdict: Verdict
) -> None:
    """Make the challenger the champion, and the current champion `previous`.

    The evidence is written first and the alias `champion` last: after a kill at any moment either
    the old champion is in use, or the new one with all of its evidence, and calling this again
    completes it. The alias `challenger` stays: it names the newest candidate, and removing it could
    hit one that was just registered.

    Raises:
        PromotionRefusedError: If another process has changed the champion in the meantime.
    """
    name, number = challenger.name, str(challenger.version)
    reason = f"version {number} was compared with"
    with _locked(client, name):
        _check_champion(client, name, champion, reason)
        _write_evidence(client, challenger, champion, verdict)
        if champion is not None:
            client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        _check_champion(client, name, champion, reason)
        client.set_registered_model_alias(name, CHAMPION, number)
        _check_champion(client, name, challenger, "this promotion made it")


def _write_evidence(
    client: MlflowClient, challenger: Candidate, champion: Candidate | None, verdict: Verdict
) -> None:
    name, number = challenger.name, str(challenger.version)
    tags = {
        EVIDENCE: verdict.summary,
        PROBABILITY: repr(verdict.probability),
        REPLACED: str(champion.version) if champion else NOBODY,
    }
    if challenger.run_id:
        path = f"promotion/{_NOT_IN_FILE_NAMES.sub('_', name)}-{number}.csv"
        client.log_text(challenger.run_id, verdict.to_csv(), path)
        tags[TABLE] = f"runs:/{challenger.run_id}/{path}"
    for tag, value in tags.items():
        client.set_model_version_tag(name, number, tag, value)
    if ROLLED_BACK in challenger.tags:
        client.delete_model_version_tag(name, number, ROLLED_BACK)


def restore_champion(
    client: MlflowClient, champion: Candidate, previous: Candidate, before: int | None
) -> None:
    """Make `previous` the champion again, and `before`, the version that it replaced, `previous`.

    As in `make_champion` one call moves the alias `champion`. A kill after it leaves the alias
    `previous` on the champion; `set_previous` completes that.

    Raises:
        PromotionRefusedError: If another process has changed the champion in the meantime.
    """
    name = champion.name
    mark = f"to version {previous.version}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    with _locked(client, name):
        client.set_model_version_tag(name, str(champion.version), ROLLED_BACK, mark)
        _check_champion(client, name, champion, "it was to be rolled back from")
        client.set_registered_model_alias(name, CHAMPION, str(previous.version))
        set_previous(client, name, before)
        _check_champion(client, name, previous, "this rollback made it")


def champion_before(
    client: MlflowClient, version: Candidate, excluded: Collection[int]
) -> int | None:
    """The champion that a version replaced; None if there is none to go back to.

    A version that is `excluded`, was deleted, or was rolled back itself does not count.
    """
    replaced = version.tags.get(REPLACED, NOBODY)
    if not replaced.isdigit():
        return None
    number = int(replaced)
    if number in excluded or number not in versions(client, version.name):
        return None
    rolled_back = ROLLED_BACK in candidate(client, version.name, number).tags
    return None if rolled_back else number


def set_previous(client: MlflowClient, name: str, previous: int | None) -> None:
    """Move the alias `previous` to a version, or delete it if there is no earlier champion."""
    if previous is None:
        client.delete_registered_model_alias(name, PREVIOUS)
    else:
        client.set_registered_model_alias(name, PREVIOUS, str(previous))


@contextmanager
def _locked(client: MlflowClient, name: str) -> Iterator[None]:
    """Lock the aliases of a model against other promotions and rollbacks.

    Each process writes its own token to a tag of the registered model, waits, and reads the tag:
    of two processes at once one finds the token of the other and gives up. (Both could go on only
    if one stood still for longer than the wait between two calls.) The lock of a killed process
    ends with the process, or after a minute if it ran on another machine.

    Raises:
        PromotionRefusedError: If another process holds the lock.
    """
    me = Driver.myself()
    holder = _lock_holder(client, name)
    if holder is not None and not _same_process(holder, me) and holder.alive(time.time()):
        raise _locked_by(name, holder)
    client.set_registered_model_tag(name, GATE, me.to_tag())
    time.sleep(SETTLE)
    holder = _lock_holder(client, name)
    if holder is None or holder.token != me.token:
        raise _locked_by(name, holder)
    try:
        yield
    except PromotionRefusedError:
        client.delete_registered_model_tag(name, GATE)
        raise
    client.delete_registered_model_tag(name, GATE)


def _lock_holder(client: MlflowClient, name: str) -> Driver | None:
    return Driver.from_tag(client.get_registered_model(name).tags.get(GATE))


def _same_process(one: Driver, other: Driver) -> bool:
    return (one.machine, one.pid, one.born) == (other.machine, other.pid, other.born)


def _locked_by(name: str, holder: Driver | None) -> PromotionRefusedError:
    return PromotionRefusedError(
        f"another promotion or rollback of {name} is in progress "
        f"({holder or 'it has just ended'}); this one changed nothing: look at the versions and "
        "run it again"
    )


def _check_champion(
    client: MlflowClient, name: str, expected: Candidate | None, reason: str
) -> None:
    """Check that the champion is the expected version.

    Raises:
        PromotionRefusedError: If it is not.
    """
    found = aliases(client, name).get(CHAMPION)
    wanted = expected.version if expected else None
    if found != wanted:
        raise PromotionRefusedError(
            f"another process has changed the champion of {name} in the meantime: it is "
            f"{_shown(found)}, {reason} {_shown(wanted)}. Nothing was undone; look at the versions "
            "and run it again"
        )


def _shown(version: int | None) -> str:
    return f"version {version}" if version else "nobody"
