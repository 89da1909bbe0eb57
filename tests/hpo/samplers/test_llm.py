"""Proposals of a language model: what is asked, which answers are used, and what follows others."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.algorithms import canonical, sampler_of
from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers.llm import MAX_FAILURES, LLMSampler, check_endpoint, informed, questions
from hpo.samplers.llm.prompt import configurations, messages
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Forbidden, Integer, SearchSpace, Value
from tests.hpo.samplers.language_models import completion, serving
from tests.strategies import spaces

SPACE = SearchSpace(
    (
        Float("rate", 1e-3, 1.0, log=True),
        Integer("leaves", 2, 64),
        Categorical("kind", ("tree", "linear")),
        Float("depth", 0.0, 1.0, step=0.25, when={"kind": ("tree",)}),
    )
)
GOOD: Mapping[str, Value] = {"rate": 0.1, "leaves": 8, "kind": "linear"}
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def history(*known: Mapping[str, Any], space: SearchSpace = SPACE) -> History:
    found = History(space)
    for i, params in enumerate(known):
        found.observe(params, float(i))
    found.n_sampled = len(known)
    return found


def suggested(sampler: LLMSampler, past: History) -> Mapping[str, Any]:
    return sampler.suggest(past, np.random.default_rng(0))


def test_a_valid_answer_is_used_and_the_key_is_in_the_header_alone() -> None:
    text = f"Sure:\n```json\n{json.dumps([{'rate': 7}, GOOD])}\n```"
    with serving(lambda _: completion(text)) as server:
        sampler = LLMSampler(endpoint=server.url, model="small", task="binary of 'income'")
        past = history({**GOOD, "rate": 0.5})
        assert suggested(sampler, past) == GOOD
    assert server.paths == ["/v1/chat/completions"]
    assert server.keys == [f"Bearer {KEY}"]
    (request,) = server.requests
    assert request["model"] == "small"
    question = request["messages"][-1]["content"]
    for part in ("binary of 'income'", '"leaves": integer', "loss 0:", '"kind": ["tree"]'):
        assert part in question
    (asked,) = questions(sampler)
    assert (asked.outcome, asked.answer, asked.question) == ("used", text, question)
    assert KEY not in json.dumps(request) + repr(sampler) + repr(asked)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (completion(json.dumps([{"rate": 0.1}])), "not in the space"),
        (completion(json.dumps([{**GOOD, "kind": "forest"}])), "not in the space"),
        (completion(json.dumps([{**GOOD, "rate": "0.1; rm -rf"}, 3, None])), "not in the space"),
        (completion("I cannot do that"), "not in the space"),
        (completion("[" * 50_000), "not in the space"),
        (completion(json.dumps([{**GOOD, "rate": 0.5}])), "known already"),
        ((200, b"<html>"), "the answer is no chat completion"),
        ((200, b'{"choices": [{"message": {"content": null}}]}'), "the answer has no text"),
        ((401, f"bad key {KEY}".encode()), "HTTP status 401: Unauthorized"),
        ((307, b"http://127.0.0.1:1/elsewhere"), "HTTP status 307: Temporary Redirect"),
        ((200, b" " * 2_000_000), "the answer has more than 1,000,000 bytes"),
    ],
)
def test_any_other_answer_is_followed_by_tpe(reply: tuple[int, bytes], outcome: str) -> None:
    past = history({**GOOD, "rate": 0.5})
    with serving(lambda _: reply) as server:
        sampler = LLMSampler(endpoint=server.url, model="small")
        found = suggested(sampler, past)
    assert found == TPESampler().suggest(past, np.random.default_rng(0))
    (asked,) = questions(sampler)
    assert asked.outcome == outcome
    assert KEY not in repr(asked)


def test_an_echoed_key_is_cut_out() -> None:
    with serving(lambda _: completion(f"your key is {KEY}")) as server:
        sampler = LLMSampler(endpoint=server.url, model="small")
        suggested(sampler, history())
    assert questions(sampler)[0].answer == "your key is ***"


def test_a_late_answer_is_not_waited_for() -> None:
    def late(_: object) -> tuple[int, bytes]:
        time.sleep(1.0)
        return completion(json.dumps(GOOD))

    with serving(late) as server:
        sampler = LLMSampler(endpoint=server.url, model="small", seconds=0.2)
        past = history()
        assert suggested(sampler, past) == TPESampler().suggest(past, np.random.default_rng(0))
    assert questions(sampler)[0].outcome == "no answer within 0.2 seconds"


def test_an_endpoint_that_is_away_is_left_alone_after_a_few_questions() -> None:
    with serving(lambda _: completion("")) as server:
        url = server.url
    sampler = LLMSampler(endpoint=url, model="small")
    for _ in range(MAX_FAILURES + 2):
        suggested(sampler, history())
    assert len(questions(sampler)) == MAX_FAILURES
    with pytest.raises(ParameterError, match=r"nothing accepts a connection at .*refused"):
        check_endpoint(sampler)


@given(spaces(), st.integers(0, 1000))
@settings(max_examples=50)
def test_every_configuration_of_a_space_can_be_answered(space: SearchSpace, seed: int) -> None:
    params = space.sample(np.random.default_rng(seed))
    (found,) = configurations(space, json.dumps([params, {"no such": 1}]))
    assert space.decode(space.encode(found)) == pytest.approx(space.decode(space.encode(params)))
    space.validate(found)


def test_values_are_moved_to_the_grid_and_inactive_ones_left_out() -> None:
    text = json.dumps({"rate": 1, "leaves": 8.0, "kind": "tree", "depth": 0.3, "more": 1})
    assert list(configurations(SPACE, text)) == [
        {"rate": 1.0, "leaves": 8, "kind": "tree", "depth": 0.25}
    ]
    assert list(configurations(SPACE, json.dumps({**GOOD, "depth": 0.5}))) == [GOOD]


def test_the_question_has_forbidden_combinations_and_stays_short() -> None:
    space = SearchSpace(SPACE.parameters, (Forbidden({"kind": ("tree",), "leaves": (">32",)}),))
    rng = np.random.default_rng(0)
    many = history(*(space.sample(rng) for _ in range(500)), space=space)
    many.set_pending([GOOD])
    question = messages("a task", many)[-1]["content"]
    assert "Never allowed together" in question
    assert question.count("- loss") == 30
    assert "- loss 0:" in question
    assert question.count("- running:") == 1
    assert len(question) < 6_000
    forbidden = {"rate": 0.1, "leaves": 40, "kind": "tree", "depth": 0.5}
    assert list(configurations(space, json.dumps(forbidden))) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llm:endpoint=localhost,model=x", "endpoint='localhost' must be a URL"),
        ("llm:endpoint=http://me:secret@h/v1,model=x", "must hold no password or key"),
        ("llm:endpoint=http://h/v1?key=secret,model=x", "must hold no password or key"),
        ("llm:endpoint=http://h/v1", "model is missing; name one that the endpoint has"),
        ("llm:seconds=0", "seconds=0.0 must be greater than 0"),
    ],
)
def test_settings_that_are_not_allowed(name: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said) as error:
        sampler_of(name)
    assert "secret" not in str(error.value)


def test_the_settings_are_part_of_the_name_and_the_environment_may_give_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "llm:endpoint=http://localhost:5000/v1,model=small"
    assert canonical(name) == name
    with pytest.raises(ParameterError, match="name an OpenAI-compatible endpoint and its model"):
        check_endpoint(sampler_of("llm"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h/v1")
    assert LLMSampler(model="x").url == "http://h/v1"
    told = informed(LLMSampler(model="x", seconds=30), "a task", 50.0)
    assert isinstance(told, LLMSampler)
    assert (told.task, told.seconds) == ("a task", 5.0)
    assert replace(told, task="", seconds=30.0) == LLMSampler(model="x", seconds=30, task="")
