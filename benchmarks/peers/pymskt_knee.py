"""pymskt's way from a label map to femur and tibia with thickness and regions; prints seconds and means.

Runs in an environment of its own (`pip install mskt`, 2.8 GB), as `python pymskt_knee.py LABELMAP`; the
steps are those of pymskt's own examples, at the mesh's full resolution.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time

LABELS = {"femur": (5, (1,)), "tibia": (6, (2, 3))}


def main(path: str) -> None:
    """Measure both bones and print the result."""
    began = time.perf_counter()
    from pymskt.mesh import BoneMesh

    imported = time.perf_counter() - began
    seconds: dict[str, float] = {}
    means: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # it prints as it goes
        for bone, (label, cartilage) in LABELS.items():
            step = time.perf_counter()
            mesh = BoneMesh(path_seg_image=path, label_idx=label, list_cartilage_labels=list(cartilage))
            mesh.create_mesh()
            seconds[f"{bone} surface"] = time.perf_counter() - step
            step = time.perf_counter()
            mesh.calc_cartilage_thickness()
            seconds[f"{bone} cartilage and thickness"] = time.perf_counter() - step
            step = time.perf_counter()
            mesh.assign_cartilage_regions()
            seconds[f"{bone} regions"] = time.perf_counter() - step
            thickness = mesh.get_scalar("thickness (mm)")
            means[bone] = float(thickness[thickness > 0].mean())
            means |= {f"{bone} {i}": float(mesh.get_cart_thickness_mean(i)) for i in cartilage}
    print(
        json.dumps(
            {
                "by": "pymskt", "import_s": imported, "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu, "seconds": seconds, "mean_mm": means,
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
