"""Progress: a step that failed is not called done."""

import pytest

from injectplan.workflow.story import _Clock


def test_a_failed_step_is_not_called_done():
    said = []
    clock = _Clock(lambda label, fraction: said.append((label, fraction)))
    with clock("plan"):
        clock.within("search", 0.5)
    with pytest.raises(ValueError, match="no"), clock("joint"):
        raise ValueError("no")
    assert said == [("plan", 0.0), ("plan: search", 0.5), ("plan", 1.0), ("joint", 0.0)]
    assert set(clock.seconds) == {"plan", "joint"}
