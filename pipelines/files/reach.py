"""Whether another machine reaches the place of the checkpoints."""

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import UserError
from pipelines.files.objects import Objects
from pipelines.files.uris import first_line, safe

_MARK = "mark"


@dataclass(frozen=True)
class Mark:
    """A tiny file at a place, by which another machine knows that it sees the same place.

    Attributes:
        uri: of the place.
        name: of the file.
    """

    uri: str
    name: str

    @classmethod
    def left(cls, uri: str) -> "Mark":
        """Leave a mark at a place.

        Raises:
            UserError: when it cannot be written.
        """
        mark = cls(uri, f"reach-{uuid.uuid4().hex}")
        try:
            Objects(uri).save(mark.name, lambda folder: (folder / _MARK).write_text(mark.name))
        except OSError as error:
            raise UserError(f"{safe(uri)} cannot be written ({first_line(error)})") from error
        return mark

    def remove(self) -> None:
        """Remove it."""
        Objects(self.uri).delete(self.name)


@dataclass(frozen=True)
class Reached:
    """A check that a worker makes when it starts: whether its machine reaches a mark."""

    mark: Mark

    def __call__(self) -> str:
        """Why it does not; "" if it does."""
        why = unreached(self.mark)
        place = safe(self.mark.uri)
        return f"{place}, the place of the checkpoints, is not reached: {why}" if why else ""


def unreached(mark: Mark) -> str:
    """Why this machine does not read and write there what another one does; "" if it does."""
    place, own = Objects(mark.uri), f"{mark.name}-{uuid.uuid4().hex}"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            found = place.load(mark.name, Path(scratch) / "mark")
            if (found / _MARK).read_text() != mark.name:
                return "what is read there is not what was written"
        place.save(own, lambda folder: (folder / _MARK).write_text(own))
        place.delete(own)
    except FileNotFoundError:
        return "what the driver has written is not there"
    except Exception as error:  # each file system has errors of its own
        return first_line(error)
    return ""
