"""The `t2` command's part: from an image file to its T2 map and document.

It stands apart from the other steps: these import planning, ultrasound and pictures, which takes three times
as long as the fit itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from injectplan import imaging
from injectplan.anatomy.t2 import fit_t2
from injectplan.documents import SCHEMA, to_json
from injectplan.errors import UsageError
from injectplan.measure import NOT_A_DEVICE
from injectplan.workflow.origin import made_from

if TYPE_CHECKING:
    from injectplan.anatomy.model import JointModel, Kind, Side
    from injectplan.imaging.values import Volume

Document = Mapping[str, Any]


def measure_t2(
    image: Path,
    echo_times_ms: Sequence[float],
    *,
    mask: Path | None,
    labels: str | None,
    side: Side | None,
    method: Literal["loglinear", "nonlinear", "qdess"],
    joint: Kind | None = None,
) -> tuple[Document, Volume, JointModel | None]:
    """Fit T2 of an image file; the document, the map, and the joint whose cartilage it was told for.

    joint : which joint the mask shows; its subregions are then told apart.
    """
    if joint is not None and (mask is None or side is None):
        raise UsageError(f"--joint {joint}: subregions need --mask and --side; give both, or leave it out")
    volume = imaging.read_volume(image, gaps=False)
    regions = imaging.read_labelmap(mask, labels, side) if mask is not None else None
    mapped, zones = None, None
    if regions is not None and joint is not None and side is not None:
        from injectplan.anatomy.zones import cartilage_zones, mapped_joint

        mapped = mapped_joint(regions, joint, side)
        zones = cartilage_zones(mapped, regions)
    fitted = fit_t2(volume, echo_times_ms, method=method, regions=regions, zones=zones)
    made = {"provenance": made_from(0, image=image, mask=mask, labels=labels)}
    document = {"schema": SCHEMA, "purpose": NOT_A_DEVICE, **fitted.to_json(), **made}
    return document, fitted.volume(), mapped


def write_t2(document: Document, volume: Volume, folder: Path, joint: JointModel | None = None) -> None:
    """Write the T2 map and its document, and where a joint is given its cartilage coloured by T2."""
    if joint is not None:
        from injectplan.report import images
        from injectplan.report.maps import t2_maps

        picture = t2_maps(joint, volume)
        if picture is not None:
            images.save(picture, folder / "t2_maps.png")
    imaging.write_volume(folder / "t2.nii.gz", volume)
    (folder / "t2.json").write_text(to_json(document), encoding="utf-8")
