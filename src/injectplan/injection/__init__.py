"""Flow through the needle, filling of the cavity, dose-volume and dose-surface histograms."""

from injectplan.injection.dose import dose_document, estimate_dose
from injectplan.injection.flow import flow_document, flow_through_needle
from injectplan.injection.values import DoseEstimate, Flow, Ranged

__all__ = [
    "DoseEstimate",
    "Flow",
    "Ranged",
    "dose_document",
    "estimate_dose",
    "flow_document",
    "flow_through_needle",
]
