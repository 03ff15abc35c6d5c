"""Import path to the small models of the training tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "training"))
