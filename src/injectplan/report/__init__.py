"""The record of a rehearsal: JSON, and one self-contained HTML page with pictures."""

import os

from injectplan.files import cache_folder

# matplotlib would make folders in the user's home; its font list is a cache like any other.
os.environ.setdefault("MPLCONFIGDIR", str(cache_folder("matplotlib")))
