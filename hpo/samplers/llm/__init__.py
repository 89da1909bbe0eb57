"""A language model proposes configurations from the task, the space and the results.

Liu et al. (2024), "Large language models to enhance Bayesian optimization", ICLR, arXiv:2402.03921;
Zhang et al. (2023), "Using large language models for hyperparameter optimization",
arXiv:2312.04528. Published results are mixed: see `docs/algorithms.md`.

Each answer is checked against the space. Where there is no answer in time, or none of its
configurations can be tried, `tpe` proposes one. After `MAX_FAILURES` questions in a row without
an answer, none is asked in this process any more.

Answers cannot be repeated, so neither can a study.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.learned import LearnedSampler
from hpo.samplers.llm.chat import BASE, NoAnswer, ask, endpoint_mistake, why_unreachable
from hpo.samplers.llm.prompt import configurations, is_known, messages
from hpo.samplers.settings import Range, Settings, Text, setting
from hpo.samplers.tpe import TPESampler
from hpo.space import SearchSpace, Value

MAX_FAILURES = 3
_TPE = TPESampler()


@dataclass(frozen=True)
class Asked:
    """A question and what came of it.

    Attributes:
        trial: how many trials the sampler had proposed before.
        question: the user's part of the prompt.
        answer: the text; empty if there is none.
        outcome: `used`, or why `tpe` proposed the configuration.
    """

    trial: int
    question: str
    answer: str
    outcome: str


@dataclass
class Record:
    """The questions of a session, and how many in a row had no answer."""

    asked: list[Asked] = field(default_factory=list)
    failures: int = 0


@dataclass(frozen=True)
class LLMSampler(Settings):
    """Proposes what a language model answers, or else what `tpe` does.

    Attributes:
        endpoint: the base URL of an OpenAI-compatible API; without one, that of the environment
            variable `OPENAI_BASE_URL`. The key is `OPENAI_API_KEY`.
        model: its name at the endpoint.
        seconds: after which an answer is late.
        task: what is tuned, in a sentence.
        record: of the questions.
    """

    endpoint: str = setting("", Text(endpoint_mistake))
    model: str = setting("", Text())
    seconds: float = setting(30.0, Range(above=0, at_most=600))
    task: str = "the smallest loss"
    record: Record = field(default_factory=Record, compare=False)

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from super().mistakes()
        if self.endpoint and not self.model:
            yield "model is missing; name one that the endpoint has: model=NAME"

    @property
    def url(self) -> str:
        """The base URL of the endpoint; empty without one."""
        return self.endpoint or os.environ.get(BASE, "")

    def min_results(self, space: SearchSpace) -> int:
        """The start-up observations of `tpe`."""
        return _TPE.min_results(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        found = None
        if self.url and self.model and self.record.failures < MAX_FAILURES:
            found = self._answered(history)
        return _TPE.suggest(history, rng) if found is None else found

    def _answered(self, history: History) -> dict[str, Value] | None:
        """The first new configuration of an answer."""
        question, answer, found = messages(self.task, history), "", None
        try:
            answer = ask(self.url, self.model, question, self.seconds)
        except NoAnswer as error:
            outcome = str(error)
            self.record.failures += 1
        else:
            self.record.failures = 0
            valid = list(configurations(history.space, answer))
            found = next((each for each in valid if not is_known(history, each)), None)
            outcome = "used" if found else "known already" if valid else "not in the space"
        asked = Asked(history.n_sampled, question[-1]["content"], answer, outcome)
        self.record.asked.append(asked)
        return found


def informed(sampler: Sampler, task: str, timeout: float | None) -> Sampler:
    """The sampler, which knows the task if it asks a language model.

    Args:
        sampler: of a study.
        task: what is tuned, in a sentence.
        timeout: of the study's session; no answer is waited for longer than a tenth of it.
    """
    if isinstance(sampler, LearnedSampler):
        return replace(sampler, own=informed(sampler.own, task, timeout))
    if not isinstance(sampler, LLMSampler):
        return sampler
    seconds = sampler.seconds if timeout is None else min(sampler.seconds, timeout / 10)
    return replace(sampler, task=task, seconds=seconds)


def questions(sampler: Sampler) -> list[Asked]:
    """What a sampler has asked a language model."""
    own = sampler.own if isinstance(sampler, LearnedSampler) else sampler
    return own.record.asked if isinstance(own, LLMSampler) else []


def check_endpoint(sampler: Sampler) -> None:
    """Check that the language model of a sampler can be asked.

    Raises:
        ParameterError: if none is named, or nothing answers there.
    """
    if not isinstance(sampler, LLMSampler):
        return
    if not sampler.url or not sampler.model:
        raise ParameterError(
            "algorithm=llm asks a language model: name an OpenAI-compatible endpoint and its "
            "model, as llm:endpoint=http://localhost:5000/v1,model=NAME; the endpoint can also be "
            f"given as {BASE}"
        )
    mistake = endpoint_mistake("endpoint", sampler.url)
    why = None if mistake else why_unreachable(sampler.url)
    if mistake:
        raise ParameterError(f"algorithm=llm: {mistake}")
    if why:
        raise ParameterError(
            f"algorithm=llm: nothing accepts a connection at {sampler.url} ({why}); start it, or "
            "give another endpoint"
        )
