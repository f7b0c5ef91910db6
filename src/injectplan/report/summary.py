"""The short tables that a command prints for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from injectplan.report.html import nearest, sentence


def print_plan(document: Mapping[str, Any], shown: Console) -> None:
    """Print a plan's ranking, or why there is none."""
    if not document["trajectories"]:
        shown.print(f"[bold]no trajectory[/bold]: {document.get('refused', '')}")
        return
    rows = Table("#")
    rows.add_column("approach, and into", no_wrap=True)
    for name in ("mm", "skin°", "nearest, mm", "hit %", "seen"):
        rows.add_column(name)
    for i, t in enumerate(document["trajectories"], 1):
        near = ", ".join(f"{name.replace('_', ' ')} {mm:.1f}" for name, mm in nearest(t, 1))
        rows.add_row(
            str(i),
            f"{t['approach']}\n{t['technique']}, {t['recess'].replace('_', ' ')}",
            f"{t['length_mm']:.1f}",
            f"{t['skin_angle_deg']:.0f}",
            near,
            f"{100 * t['hit_probability']['value']:.0f}",
            f"{t['ultrasound']['visibility']:.2f}",
        )
    shown.print(rows)
    searched = document["searched"]
    shown.print(f"{searched['feasible']:,} of {searched['pairs']:,} pairs keep every constraint")


def print_dose(document: Mapping[str, Any], shown: Console) -> None:
    """Print an injection's main numbers, or why there are none."""
    if "refused" in document:
        shown.print(f"[bold]refused[/bold]: {document['refused']}")
        return
    flow, filling = document["flow"], document["filling"]
    rows = Table("injection", "")
    rows.add_row("pressure in the needle", f"{flow['total_pressure_kpa']['value']:.1f} kPa")
    rows.add_row("force on the plunger", f"{flow['force_n']['value']:.1f} N")
    rows.add_row("into the cavity", f"{filling['in_cavity_ml']:.2f} of {filling['injected_ml']:.2f} mL")
    cells = document["cells"]
    if cells.get("injected"):
        rows.add_row("cells on cartilage", f"{cells['on_cartilage']:.2f} of {cells['injected']:.2f} million")
    shown.print(rows)


def print_summary(document: Mapping[str, Any], shown: Console) -> None:
    """Print what a whole run gave."""
    print_plan(document["plan"], shown)
    if document["dose"] is not None:
        print_dose(document["dose"], shown)
    verdict = document["alignment"].get("verdict")
    if verdict:
        shown.print(
            f"axial deformity: [bold]{verdict['state']}[/bold] {' '.join(map(sentence, verdict['reasons']))}"
        )
    seconds = Table("step", "s")
    for step, taken in document["seconds"].items():
        seconds.add_row(step, f"{taken:.1f}")
    shown.print(seconds)
