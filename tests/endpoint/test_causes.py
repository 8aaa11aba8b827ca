"""Every word that the endpoint writes as a cause is explained where the figures are read."""

from __future__ import annotations

import re
from pathlib import Path

import jitkit.endpoint
from jitkit.endpoint.stores import Verdict
from jitkit.explanations import meaning

# Causes of calls that went as they should: nothing has to be explained or fixed.
FINE = {"right", "right_must_change", "wrong", "unknown_user"}


def test_every_cause_is_explained() -> None:
    sources = Path(jitkit.endpoint.__file__).parent.glob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    causes = set(re.findall(r'Refused\(\s*(?:\d+|status|_[A-Z_]+), "(\w+)"', text))
    causes |= set(re.findall(r'failure\("(\w+)"\)', text)) | (set(Verdict) - FINE)
    assert len(causes) > 40
    assert [cause for cause in sorted(causes) if meaning(cause) == cause] == []
