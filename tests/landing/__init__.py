"""Where completed structures land, measured as the published studies measured them: one row per quantity."""

from landing.ankle import ANKLE
from landing.hip import HIP
from landing.knee import KNEE
from landing.measure import Made, Quantity

QUANTITIES = {"knee": KNEE, "hip": HIP, "ankle": ANKLE}

__all__ = ["QUANTITIES", "Made", "Quantity"]
