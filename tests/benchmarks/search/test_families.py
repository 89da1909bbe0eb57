from pathlib import Path

import pytest

from benchmarks.search.families import SETS, main, regrets, together


def test_the_short_form_prints_all_searches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--quick", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert all(each in printed for each in ("no race", "race", "LightGBM alone"))
    assert (tmp_path / "families.json").exists()


def test_regret_falls_with_time() -> None:
    found = regrets("race", together(SETS[0])[0], seed=0)
    assert found == sorted(found, reverse=True)
    assert 0.0 <= found[-1] < 1.0
