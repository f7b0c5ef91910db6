"""Case files: `case.toml` ⇄ `Case`, each mistake named with its path in the file."""

from injectplan.casefile.reading import APPROACHES, case_of, read_case
from injectplan.casefile.values import AnatomySource, Case, DrawnDefect, View

__all__ = ["APPROACHES", "AnatomySource", "Case", "DrawnDefect", "View", "case_of", "read_case"]
