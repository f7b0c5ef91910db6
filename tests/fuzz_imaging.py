"""Damage small files of every format by seed, and read them in a process of its own with bounds.

Run as `python fuzz_imaging.py FOLDER SEED COUNT [FORMATS]`: writes FOLDER/bad.txt with what escaped the error
tree, and FOLDER/counts.txt with how many files were read and how many were refused.
"""

from __future__ import annotations

import re
import resource
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

FAST = (
    "nrrd",
    "seg.nrrd",
    "nhdr",
    "mha",
    "nii",
    "nii.gz",
    "stl",
    "txt.stl",
    "ply",
    "txt.ply",
    "obj",
    "glb",
    "vtp",
    "toml",
)
SLOW = ("vtk", "dcm")
EXTREMES = (
    b"0",
    b"-1",
    b"1000000000000",
    b"nan",
    b"1e308",
    b"-inf",
    b"99999999999999999999",
    b"",
    b"(",
    b"65536",
)


def make_seeds(folder: Path) -> dict[str, Path]:
    """Write one small sound file of each format."""
    from injectplan.imaging.surfaces import write_surface
    from injectplan.imaging.values import LabelMap, Surface
    from injectplan.imaging.volumes import write_labelmap
    from oracles_imaging import dicom_slice, tetrahedron, write_text_ply, write_text_stl

    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:6, 2:6, 2:5] = 1
    labels[4:8, 4:7, 3:6] = 2
    overlap = np.zeros(labels.shape, bool)
    overlap[1:5, 1:5, 1:5] = True
    affine = np.array([[0.5, 0.1, 0, -3], [-0.1, 0.5, 0, 4], [0, 0, 0.7, 5], [0, 0, 0, 1.0]])
    grid = LabelMap(affine=affine, labels=labels, names={1: "femur", 2: "tibia"})
    seeds = {}
    for name in ("nrrd", "mha", "nii", "nii.gz"):
        write_labelmap(folder / f"seed.{name}", grid)
        seeds[name] = folder / f"seed.{name}"
    both = LabelMap(affine=affine, labels=labels, names=grid.names, overlaps={"patella": overlap})
    write_labelmap(folder / "seed.seg.nrrd", both)
    seeds["seg.nrrd"] = folder / "seed.seg.nrrd"
    raw = folder / "data.raw"
    raw.write_bytes(labels.tobytes(order="F"))
    (folder / "seed.nhdr").write_text(
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 9 8 7\n"
        "space directions: (0.5,0,0) (0,0.5,0) (0,0,0.7)\nencoding: raw\ndata file: data.raw\n"
    )
    seeds["nhdr"] = folder / "seed.nhdr"
    vertices, triangles = tetrahedron(40.0)
    surface = Surface(vertices, triangles)
    for name in ("stl", "ply", "glb", "vtp"):
        write_surface(folder / f"seed.{name}", surface)
        seeds[name] = folder / f"seed.{name}"
    write_text_stl(folder / "seed.txt.stl", vertices, triangles)
    write_text_ply(folder / "seed.txt.ply", vertices, triangles)
    (folder / "seed.obj").write_text(
        "".join(f"v {x} {y} {z}\n" for x, y, z in vertices)
        + "".join(f"f {a}/1 {b}/1 {c}/1\n" for a, b, c in triangles + 1)
    )
    (folder / "seed.vtk").write_text(
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 4 float\n"
        + "".join(f"{x} {y} {z}\n" for x, y, z in vertices)
        + "POLYGONS 4 16\n" + "".join(f"3 {a} {b} {c}\n" for a, b, c in triangles)
    )  # fmt: skip
    (folder / "seed.toml").write_text(
        '[labels]\n1 = "femur"\n2 = "cyst"\n[structures.cyst]\ntissue = "water"\nrisk = "none"\n'
    )
    dicom_slice(folder / "seed.dcm", np.arange(64, dtype=np.int16).reshape(8, 8))
    return seeds | {n: folder / f"seed.{n}" for n in ("txt.stl", "txt.ply", "obj", "vtk", "toml", "dcm")}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file's bytes: numbers of its header, bits, pieces."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        size = len(out)
        if size < 4:
            break
        kind = int(rng.integers(0, 8))
        at = int(rng.integers(0, size if rng.random() < 0.5 else min(size, 400)))
        if kind <= 2:
            numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(out[:4000])))
            if numbers:
                found = numbers[int(rng.integers(len(numbers)))]
                out[found.start() : found.end()] = EXTREMES[int(rng.integers(len(EXTREMES)))]
        elif kind == 3:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            del out[at : at + int(rng.integers(1, 40))]
        elif kind == 6:
            out[at:at] = out[at : at + int(rng.integers(1, 60))]
        else:
            out[at : at + 4] = bytes(rng.integers(0, 256, 4, dtype=np.uint8))
    return bytes(out)


def main(folder: Path, seed: int, count: int, formats: tuple[str, ...]) -> None:
    """Damage and read `count` files; report what escaped."""
    from injectplan.errors import InjectplanError
    from injectplan.imaging.labels import label_table
    from injectplan.imaging.surfaces import read_surface
    from injectplan.imaging.volumes import read_labelmap, read_volume

    resource.setrlimit(resource.RLIMIT_AS, (12_000_000_000, 12_000_000_000))
    warnings.simplefilter("error")
    sound = folder / "sound"
    sound.mkdir()
    seeds = make_seeds(sound)
    shutil.copy(sound / "data.raw", folder)
    bad, read, refused = [], 0, 0
    for i in range(count):
        name = formats[i % len(formats)]
        rng = np.random.default_rng([seed, i])
        path = folder / f"case.{name}"
        path.write_bytes(damaged(seeds[name].read_bytes(), rng))
        try:
            if name == "toml":
                label_table(path)
            elif name.endswith(("nrrd", "nhdr", "mha", "nii", "nii.gz", "dcm")):
                if i // len(formats) % 2 and name != "dcm":
                    read_labelmap(path, None if name == "seg.nrrd" else "pymskt")
                else:
                    read_volume(path)
            else:
                read_surface(path)
            read += 1
        except InjectplanError as error:
            refused += 1
            if "\n" in str(error) or error.exit_code != 2 or len(str(error)) < 20:
                bad.append(f"{name} {i}: message {str(error)!r}")
        except BaseException as error:  # the point of the exercise
            bad.append(f"{name} {i}: {type(error).__name__}: {str(error)[:200]}")
    (folder / "bad.txt").write_text("\n".join(bad))
    (folder / "counts.txt").write_text(f"{read} {refused}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), tuple(sys.argv[4:]) or FAST)
