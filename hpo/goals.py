"""The goal of a study: a score and its direction. Inside the engine every score is a loss."""

from dataclasses import dataclass

from hpo.errors import ParameterError

MINIMIZE, MAXIMIZE = "minimize", "maximize"


@dataclass(frozen=True)
class Goal:
    """A score by its name and its direction, `minimize` or `maximize`.

    Raises:
        ParameterError: for any other direction.
    """

    name: str
    direction: str = MINIMIZE

    def __post_init__(self) -> None:
        if self.direction not in (MINIMIZE, MAXIMIZE):
            raise ParameterError(f"direction={self.direction!r} must be {MINIMIZE} or {MAXIMIZE}")

    @property
    def greater_is_better(self) -> bool:
        """Whether the score is maximised."""
        return self.direction == MAXIMIZE

    def to_loss(self, value: float) -> float:
        """The loss of a score."""
        return -value if self.greater_is_better else value

    def from_loss(self, loss: float) -> float:
        """The score of a loss."""
        return -loss if self.greater_is_better else loss
