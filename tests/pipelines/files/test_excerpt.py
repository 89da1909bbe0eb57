"""Texts that are kept in parts when they are long."""

from pathlib import Path

import pytest

from pipelines.files.excerpt import taken


@pytest.mark.parametrize("size", [10, 65_536, 65_616, 65_617, 200_000])
def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path, size: int) -> None:
    path, text = tmp_path / "x.txt", "".join(str(i % 10) for i in range(size))
    path.write_text(text)
    found = taken(path)
    if size <= 65_616:
        assert found == text
    else:
        assert found.startswith(text[:32_768])
        assert found.endswith(text[-32_768:])
        assert f"… {size - 65_536:,} bytes are left out …" in found
        path.write_text(found)
        assert taken(path) == found, "once cut, it is not cut again"
