"""`injectplan flow`: pressure, force and wall stress of an injection through a needle."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, as_json, finish


def command(
    *,
    length_mm: float,
    volume_ml: float,
    time_s: float,
    gauge: float | None = None,
    id_mm: float | None = None,
    viscosity_mpa_s: float | None = None,
    k_pa_s_n: float | None = None,
    n: float | None = None,
    barrel_mm: float | None = None,
    common: Common = DEFAULT,
) -> None:
    """Compute the flow of an injectate through a needle, with what the bore's tolerance makes of it.

    Parameters
    ----------
    length_mm
        Length of the needle.
    volume_ml
        Volume to inject.
    time_s
        Time it takes.
    gauge
        Needle by gauge; or --id-mm.
    id_mm
        Needle by inner diameter.
    viscosity_mpa_s
        Newtonian viscosity.
    k_pa_s_n
        Consistency of a power-law fluid, with --n.
    n
        Exponent of a power-law fluid.
    barrel_mm
        Inner diameter of the syringe's barrel.
    """
    from injectplan.workflow import needle_flow

    common.begin()
    document = needle_flow(
        gauge=gauge,
        id_mm=id_mm,
        length_mm=length_mm,
        volume_ml=volume_ml,
        time_s=time_s,
        viscosity_mpa_s=viscosity_mpa_s,
        k_pa_s_n=k_pa_s_n,
        n=n,
        barrel_mm=barrel_mm,
    )

    def table(shown: Console) -> None:
        rows = Table("", "value", "low", "high")
        for name, entry in document.items():
            if isinstance(entry, dict) and "low" in entry:
                rows.add_row(
                    name,
                    *("missing" if entry[k] is None else f"{entry[k]:.4g}" for k in ("value", "low", "high")),
                )
        shown.print(rows)

    finish(document, common, by="flow", table=table, write=as_json(document, "flow.json"))
