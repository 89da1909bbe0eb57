import errno
import io
import re
from dataclasses import replace

import pytest

from hpo.goals import Goal, Goals
from hpo.trial import Report, Trial
from pipelines.findings.scales import duration
from pipelines.study.progress import Reporter, is_quiet, shown

ROC_AUC = Goals((Goal("roc_auc", "maximize"),))


def trial(number: int, value: float) -> Trial:
    return Trial(
        number, {}, 1.0, "default", (Report(1.0, ROC_AUC.first.to_loss(value), seconds=0.25),)
    )


def test_a_line_for_each_trial_in_the_users_direction() -> None:
    stream = io.StringIO()
    with Reporter(ROC_AUC, 3, None, stream=stream) as reporter:
        reporter.say("[not markup]")
        reporter.show(trial(0, 0.75), trial(0, 0.75), 1 / 3)
        reporter.show(Trial(1, {}, 1.0, failure="ValueError: no\nmore"), trial(0, 0.75), 2 / 3)
    said, first, second = stream.getvalue().splitlines()
    assert said == "[not markup]"
    assert re.fullmatch(
        r"trial 0/3 \(default\)  roc_auc 0.75  0.2 s  best 0.75 \(trial 0\)  "
        r"[\d.]+ trials/s  ETA 0:0\d",
        first,
    )
    assert second.startswith("trial 1/3 FAILED: ValueError: no  best 0.75 (trial 0)")


def test_quiet_shows_warnings_alone_and_verbose_the_configurations() -> None:
    texts = {}
    for name in ("quiet", "verbose"):
        stream = io.StringIO()
        with shown(**{name: True}), Reporter(ROC_AUC, 3, None, stream=stream) as reporter:
            reporter.say("the study begins")
            reporter.say("data: warning: a column tells the target")
            reporter.show(replace(trial(0, 0.75), params={"x": 0.5}), None, 1 / 3)
        texts[name] = stream.getvalue().splitlines()
    assert texts["quiet"] == ["data: warning: a column tells the target"]
    assert texts["verbose"][0] == "the study begins"
    assert texts["verbose"][3] == "  x=0.5"
    assert not is_quiet()


@pytest.mark.parametrize(
    "error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "full")]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_a_study_outlives_whoever_reads_its_progress(error: OSError, terminal: bool) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

        def isatty(self) -> bool:
            return terminal

    with Reporter(ROC_AUC, 3, None, stream=Gone()) as reporter:
        reporter.say("hello")
        reporter.show(trial(0, 0.75), trial(0, 0.75), 1 / 3)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (-1, "0:00"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
