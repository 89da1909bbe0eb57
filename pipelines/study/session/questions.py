"""What a study has asked a language model, as an artifact of its run."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from hpo.samplers import Sampler
from hpo.samplers.llm import questions
from pipelines.store import StudyNotes


def save_questions(sampler: Sampler, notes: StudyNotes, say: Callable[[str], None]) -> None:
    """Save the questions of a session with their answers, and say what came of them."""
    asked = questions(sampler)
    if not asked:
        return
    lines = [json.dumps(asdict(each), ensure_ascii=False) for each in asked]
    name = f"llm/from-{asked[0].trial}.jsonl"
    notes.save_text("\n".join(lines) + "\n", name)
    outcomes = Counter(each.outcome for each in asked)
    used = outcomes.pop("used", 0)
    others = "; ".join(f"{number} × {outcome}" for outcome, number in outcomes.most_common())
    rest = f", tpe for the others: {others}" if others else ""
    say(f"llm: {used} of {len(asked)} answers were used{rest}; all are in the artifact {name}")
