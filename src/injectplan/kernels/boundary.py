"""What happens where two tissues meet: reflection, refraction, a tilted mirror's lobe, the diffuse part.

Lengths in mm, speeds in mm/µs (= km/s), angles by their cosine; amplitudes are re a perfect planar mirror.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import bare_kernel, tight_kernel
from injectplan.kernels._scalar import swift_exp
from injectplan.kernels.line_values import NEPER

# A cortex's rough outside as facets that face every way about the surface, with this rms slope (tangent).
# Read from bone's grey against tilt in public frames, whose scanners lie between 0.2 and 0.5; what the facets
# send back at normal incidence, re the diffuse floor; and flanks steeper than STEEP_DEG fade, a dB a degree.
ROUGH_SLOPE, ROUGH_DB, STEEP_DEG = 0.33, 20.3, 45.0

# The most that a soft edge reflects in a picture, amplitude: 3 dB of the two-way beam are lost there.
EDGE_MOST = 0.54


@bare_kernel
def fluid_fluid(z1, c1, z2, c2, cos1):
    """Pressure reflection coefficient at a fluid-fluid boundary; ±1 beyond the critical angle.

    z1, z2 : impedances.  cos1 : cosine of the angle of incidence.  Kinsler & Frey, section 6.4.
    """
    sin2 = c2 / c1 * math.sqrt(max(0.0, 1.0 - cos1 * cos1))
    if sin2 >= 1.0:
        return 1.0
    cos2 = math.sqrt(1.0 - sin2 * sin2)
    return (z2 * cos1 - z1 * cos2) / (z2 * cos1 + z1 * cos2)


@bare_kernel
def fluid_solid(rho1, c1, rho2, cl, cs, cos1):
    """Complex pressure reflection coefficient from a fluid onto an elastic half-space.

    Brekhovskikh (1980), Waves in Layered Media, section 7: the solid acts as the impedance
    Z_L cos²(2θ_S) + Z_S sin²(2θ_S), evanescent waves by complex cosines.
    """
    sin1 = math.sqrt(max(0.0, 1.0 - cos1 * cos1))
    sin_l = cl / c1 * sin1
    sin_s = cs / c1 * sin1
    cos_l = (
        complex(math.sqrt(1.0 - sin_l * sin_l), 0.0)
        if sin_l <= 1.0
        else complex(0.0, math.sqrt(sin_l * sin_l - 1.0))
    )
    cos_s = (
        complex(math.sqrt(1.0 - sin_s * sin_s), 0.0)
        if sin_s <= 1.0
        else complex(0.0, math.sqrt(sin_s * sin_s - 1.0))
    )
    cos_2s = 1.0 - 2.0 * sin_s * sin_s
    sin_2s_squared = 4.0 * sin_s * sin_s * (1.0 - sin_s * sin_s)
    # Z_L cos²2θ + Z_S sin²2θ over Z_1, each multiplied through by the cosines to stay finite at grazing
    top = rho2 * cl * cos_2s * cos_2s * cos_s + rho2 * cs * sin_2s_squared * cos_l
    bottom = rho1 * c1 * cos_l * cos_s
    return (top * cos1 - bottom) / (top * cos1 + bottom)


@bare_kernel
def reflection(rho1, c1, shear1, rho2, c2, shear2, cos1):
    """Signed reflection coefficient between two tissues; from a soft tissue onto a solid, with shear."""
    if shear2 > 0.0 and shear1 == 0.0:
        return abs(fluid_solid(rho1, c1, rho2, c2, shear2, cos1))
    return fluid_fluid(rho1 * c1, c1, rho2 * c2, c2, cos1)


@bare_kernel
def eased(r):
    """Reflection coefficient at an edge between soft tissues as a focused beam meets it: at most EDGE_MOST.

    Past the critical angle a plane wave is reflected whole, and a single ray leaves a black streak below.
    A beam is no plane wave: its rays meet the edge over ±1 / 2F (10 degrees at F/3), some of them short of
    the critical angle, and d mm under an edge of width w (a fraction of a millimetre, where a round solid is
    grazed) the converging aperture is d / F wide and sees past it.
    """
    return min(EDGE_MOST, max(-EDGE_MOST, r))


@bare_kernel
def snell_cosine(ratio, cos1):
    """Cosine of the angle of refraction, ratio = c2 / c1; NaN beyond the critical angle."""
    under = 1.0 - ratio * ratio * (1.0 - cos1 * cos1)
    return math.sqrt(under) if under > 0.0 else np.nan


# A tilted mirror's coherent response, dB, over F·tan(2·tilt): computed for F/1.5, F/2 and F/3 apertures at
# 7.5 MHz and a focus of 20 mm; the three fall on one curve, as the overlap of the aperture with its image.
_LOBE_AT = np.array([0.0, 0.281, 0.425, 0.573, 0.866, 0.890, 1.092, 1.155, 1.678, 3.0])
_LOBE_DB = np.array([0.0, -2.4, -4.25, -6.7, -14.2, -16.0, -25.0, -30.0, -50.0, -90.0])


@tight_kernel
def lobe(overlap):
    """Amplitude that a mirror keeps when tilted: overlap = F·tan(2·tilt), 0 = facing."""
    if overlap >= 3.0:
        return 0.0
    i = 1
    while _LOBE_AT[i] < overlap:
        i += 1
    f = (overlap - _LOBE_AT[i - 1]) / (_LOBE_AT[i] - _LOBE_AT[i - 1])
    db = _LOBE_DB[i - 1] + f * (_LOBE_DB[i] - _LOBE_DB[i - 1])
    return swift_exp(NEPER * db)


@tight_kernel
def overlap_of(slope, f_number):
    """F·tan(2·tilt) of a surface of this slope (tangent of the tilt); infinite from 45 degrees on."""
    s = abs(slope)
    return f_number * 2.0 * s / (1.0 - s * s) if s < 1.0 else np.inf


@tight_kernel
def normal_at(corner, n, i, x, y, z):
    """Unit normal of triangle i at a point, from its corners' normals."""
    ax, ay, az = corner[i, 0], corner[i, 1], corner[i, 2]
    abx, aby, abz = corner[i, 3] - ax, corner[i, 4] - ay, corner[i, 5] - az
    acx, acy, acz = corner[i, 6] - ax, corner[i, 7] - ay, corner[i, 8] - az
    px, py, pz = x - ax, y - ay, z - az
    d00 = abx * abx + aby * aby + abz * abz
    d01 = abx * acx + aby * acy + abz * acz
    d11 = acx * acx + acy * acy + acz * acz
    d20 = px * abx + py * aby + pz * abz
    d21 = px * acx + py * acy + pz * acz
    det = d00 * d11 - d01 * d01
    inverse = 1.0 / det if det > 0.0 else 0.0
    v, w = (d11 * d20 - d01 * d21) * inverse, (d00 * d21 - d01 * d20) * inverse
    u = 1.0 - v - w
    nx = u * n[i, 0] + v * n[i, 3] + w * n[i, 6]
    ny = u * n[i, 1] + v * n[i, 4] + w * n[i, 7]
    nz = u * n[i, 2] + v * n[i, 5] + w * n[i, 8]
    square = nx * nx + ny * ny + nz * nz
    if not square > 0.0:
        return 0.0, 0.0, 0.0
    inverse = 1.0 / math.sqrt(square)
    return nx * inverse, ny * inverse, nz * inverse


@tight_kernel
def at_boundary(corner, normals, i, x, y, z, dx, dy, dz):
    """Return a boundary's unit normal towards the beam, and the cosine of the angle of incidence."""
    nx, ny, nz = normal_at(corner, normals, i, x, y, z)
    along = nx * dx + ny * dy + nz * dz
    if along > 0.0:
        nx, ny, nz, along = -nx, -ny, -nz, -along
    return nx, ny, nz, min(1.0, max(-along, 1e-3))


@tight_kernel
def mirror_part(gx, gy, f_lateral, f_elevation, smear_x, smear_y, sigma_z):
    """Return (lobe, peak): what a mirror of slopes gx, gy keeps re facing, and what to add to keep it.

    The filters across lines and planes smear a tilted surface; the lobe already holds that loss.
    """
    ux, uy = overlap_of(gx, f_lateral), overlap_of(gy, f_elevation)
    facing = lobe(math.sqrt(ux * ux + uy * uy))
    sx, sy = gx * smear_x, gy * smear_y
    return facing, facing * min(math.sqrt(1.0 + (sx * sx + sy * sy) / (sigma_z * sigma_z)), 12.0)


@bare_kernel
def facets_facing(cos1):
    """Amplitude that the facets of a rough surface send back when it is tilted, re facing.

    Slopes are normally distributed: power exp(-tan²θ / 2m²).  Beckmann & Spizzichino (1963), The Scattering
    of Electromagnetic Waves from Rough Surfaces, chapter 5.
    """
    square = cos1 * cos1
    return swift_exp(-(1.0 - square) / (square * 4.0 * ROUGH_SLOPE * ROUGH_SLOPE))


@bare_kernel
def diffuse_part(floor, solid, facing, cos1):
    """Amplitude of a boundary's diffuse echo re its mirror echo; none where the mirror part is whole.

    A solid's rough surface sends back what its facets do that happen to face the beam, and its floor.
    """
    part = floor * math.sqrt(max(0.0, 1.0 - facing * facing))
    if solid:
        facets = swift_exp(NEPER * ROUGH_DB) * facets_facing(cos1)
        tilt = math.degrees(math.acos(min(1.0, cos1)))
        steep = swift_exp(-NEPER * max(0.0, tilt - STEEP_DEG))
        return min(0.9, part * math.sqrt(facets * facets + steep * steep))
    return part * cos1
