"""Lets these tests use the small models of the tests of training."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "training"))
