"""Where completed structures land, measured as the published studies measured them: one row per quantity."""

from landing.ankle import ANKLE
from landing.hip import HIP
from landing.knee import KNEE
from landing.measure import Made, Quantity
from landing.recess import RECESSES

_TISSUES = {"knee": KNEE, "hip": HIP, "ankle": ANKLE}
QUANTITIES = {kind: (*rows, *(q for q in RECESSES if q.kind == kind)) for kind, rows in _TISSUES.items()}

__all__ = ["QUANTITIES", "Made", "Quantity"]
