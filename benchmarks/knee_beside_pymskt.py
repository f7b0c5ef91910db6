"""Femur and tibia of the real knee, surfaces, thickness and regions, beside pymskt in one run.

    python benchmarks/knee_beside_pymskt.py /path/to/its/environment/bin/python [rounds]

The two take turns, each in a process of its own; the first round of ours loads the compiled kernels, as a
user's first call does. Reading the file counts for both, importing for neither.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KNEE = ROOT.parent / "shared/data/knee_dess/SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
PEER = Path(__file__).resolve().parent / "peers" / "pymskt_knee.py"
NAMES = ("femur", "tibia", "femoral_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage")


def ours(path: Path) -> dict[str, Any]:
    """Measure both bones by injectplan."""
    began = time.perf_counter()
    from injectplan.anatomy import joint_axes, structures_of
    from injectplan.anatomy.build import map_all_cartilage
    from injectplan.anatomy.measures import cartilage_document
    from injectplan.imaging import LabelMap, read_labelmap

    imported = time.perf_counter() - began
    cpu, wall = time.process_time(), time.perf_counter()
    seconds: dict[str, float] = {}
    read = read_labelmap(path, "pymskt", "right")
    kept = {v: n for v, n in read.names.items() if n in NAMES}
    seconds["read"] = time.perf_counter() - wall
    step = time.perf_counter()
    solids = structures_of(LabelMap(affine=read.affine, labels=read.labels, names=kept))
    seconds["surfaces"] = time.perf_counter() - step
    step = time.perf_counter()
    axes = joint_axes("knee", "right", {n: s.surface for n, s in solids.items() if s.risk == "bone"})
    maps, _ = map_all_cartilage(solids, axes, coarsest_spacing_mm=float(read.spacing_mm.max()))
    found = {n: cartilage_document(m, solids[m.bone].surface) for n, m in maps.items()}
    seconds["thickness and regions"] = time.perf_counter() - step
    return {
        "by": "injectplan", "import_s": imported, "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu, "seconds": seconds,
        "mean_mm": {n: d["thickness_mm"]["mean"] for n, d in found.items()},
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Take turns and print both with their ratio."""
    if len(sys.argv) == 2 and sys.argv[1] == "--ours":
        print(json.dumps(ours(KNEE)))
        return
    peer = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    results: dict[str, list[dict[str, Any]]] = {"injectplan": [], "pymskt": []}
    for _ in range(rounds):
        results["injectplan"].append(_run([sys.executable, __file__, "--ours"]))
        results["pymskt"].append(_run([peer, str(PEER), str(KNEE)]))
        print(json.dumps({k: v[-1] for k, v in results.items()}), file=sys.stderr)
    for key in ("wall_s", "cpu_s", "import_s", "peak_gb"):
        one, other = (median(r[key] for r in results[by]) for by in ("injectplan", "pymskt"))
        print(f"{key:8s} injectplan {one:7.2f}   pymskt {other:7.2f}   ratio {other / one:5.1f}")
    for by, runs in results.items():
        print(by, json.dumps(runs[-1]["mean_mm"]))


if __name__ == "__main__":
    main()
