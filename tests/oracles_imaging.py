"""Slow, obvious twins and small sound files for the tests of imaging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME = "Doe^Jane"


def tetrahedron(size: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]) * size
    return vertices, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def write_text_stl(path: Path, vertices: Any, triangles: Any) -> None:
    text = "solid x\n"
    for triangle in triangles:
        text += "facet normal 0 0 0\nouter loop\n"
        text += "".join("vertex {} {} {}\n".format(*vertices[v]) for v in triangle)
        text += "endloop\nendfacet\n"
    path.write_text(text + "endsolid x\n")


def write_text_ply(path: Path, vertices: Any, triangles: Any) -> None:
    path.write_text(
        f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nproperty uchar red\nelement face {len(triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
        + "".join("{} {} {} 7\n".format(*v) for v in vertices)
        + "".join("3 {} {} {}\n".format(*t) for t in triangles)
    )


def dicom_slice(
    path: Path, pixels: npt.NDArray[np.int16], *, position: Any = (10.0, 20.0, 30.0),
    orientation: Any = (1.0, 0, 0, 0, 1.0, 0), spacing: Any = (0.5, 0.4), series: str = "1.2.3",
    echo_ms: float | None = None, syntax: str = ExplicitVRLittleEndian, big: bool = False,
) -> None:  # fmt: skip
    """Write one MR slice with an identity that must not come through."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = MRImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.InstitutionName = NAME, "4711", "St Elsewhere"
    data.SeriesInstanceUID = series
    data.Modality = "MR"
    data.Rows, data.Columns = pixels.shape
    data.ImagePositionPatient = [float(v) for v in position]
    data.ImageOrientationPatient = [float(v) for v in orientation]
    data.PixelSpacing = [float(v) for v in spacing]
    data.SliceThickness = 2.0
    if echo_ms is not None:
        data.EchoTime = echo_ms
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 1, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels.astype(">i2" if big else "<i2").tobytes()
    data["PixelData"].VR = "OW"
    pydicom.dcmwrite(path, data, enforce_file_format=True, little_endian=not big, implicit_vr=False)
