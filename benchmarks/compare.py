"""Compare two versions of injectplan in one run, or print a result file as a table.

    python benchmarks/compare.py main~5 .  -k all_hits --passes 3
    python benchmarks/compare.py --table results.json

BASE and HEAD are each a folder with a checkout or a git revision. Both run the benchmarks of *this* checkout,
turn and turn about (base, head, base, head, …), so that a machine that is busy for a while slows both; what
is reported is the median of the passes' ratios and their range. With --limit the exit code is 1 when a
benchmark became slower by more than that factor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def source_of(version: str, folder: Path) -> Path:
    """Return the `src` folder of a checkout or of a git revision, which is unpacked under `folder`."""
    here = Path(version)
    if (here / "src" / "injectplan").is_dir():
        return here.resolve() / "src"
    archive = folder / "source.tar"
    folder.mkdir(parents=True)
    command = ["git", "-C", str(ROOT), "archive", "--output", str(archive), version]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: {version} is neither a folder with src/injectplan nor a git revision")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def run_once(source: Path, work: Path, arguments: list[str]) -> dict[str, float]:
    """Run the benchmarks against one source; return each benchmark's median seconds."""
    result = work / "result.json"
    environment = {**os.environ, "PYTHONPATH": str(source), "NUMBA_CACHE_DIR": str(work / "cache")}
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "benchmarks"), f"--benchmark-json={result}"]
    child = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if not result.is_file() or result.stat().st_size == 0:
        raise SystemExit(f"error: the benchmarks did not run against {source}:\n{child.stdout[-3000:]}")
    found = json.loads(result.read_text())["benchmarks"]
    result.unlink()
    return {entry["fullname"]: entry["stats"]["median"] for entry in found}


def compare(base: str, head: str, passes: int, arguments: list[str]) -> dict[str, list[float]]:
    """Return head's time as a part of base's, for each benchmark that both have, one number a pass."""
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        sides = []
        for side, version in (("base", base), ("head", head)):
            source = source_of(version, Path(name) / side / "source")
            (Path(name) / side).mkdir(exist_ok=True)
            sides.append((source, Path(name) / side))
        for number in range(passes):
            print(f"pass {number + 1} of {passes}", file=sys.stderr)
            before, after = (run_once(source, work, arguments) for source, work in sides)
            for test in before.keys() & after.keys():
                ratios.setdefault(test, []).append(after[test] / before[test])
    return ratios


def table(path: Path) -> str:
    """Return a result file as a table in Markdown: time per item, and how often the quickest's time."""
    entries = json.loads(path.read_text())["benchmarks"]
    groups: dict[str, list[tuple[str, float, dict[str, object]]]] = {}
    for entry in entries:
        info = entry["extra_info"]
        each = 1e6 * entry["stats"]["median"] / info.get("items", 1)
        groups.setdefault(entry["group"] or entry["name"], []).append(
            (info.get("peer", "injectplan"), each, info)
        )
    lines = [
        "| what | by | µs per item | times injectplan's | rays crossed an odd number of times |",
        "|---|---|---|---|---|",
    ]
    for group, rows in groups.items():
        own = next((each for peer, each, _ in rows if str(peer).startswith("injectplan")), rows[0][1])
        for peer, each, info in sorted(rows, key=lambda row: row[1]):
            odd = f"{100 * float(str(info['odd_rays'])):.2f} %" if "odd_rays" in info else ""
            lines.append(f"| {group} | {peer} | {each:.3g} | {each / own:.2g} | {odd} |")
    return "\n".join(lines)


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="*", metavar="BASE HEAD")
    parser.add_argument("-k", default="not vtk and not embreex", help="which benchmarks, as in pytest")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--limit", type=float, help="exit 1 when a median ratio exceeds this")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print a result file as a table")
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return 0
    if len(options.versions) != 2:
        parser.error("needs BASE and HEAD, or --table RESULTS")
    ratios = compare(*options.versions, options.passes, ["-k", options.k])
    worst = 0.0
    print("head / base (range) benchmark")
    for test, found in sorted(ratios.items()):
        middle = statistics.median(found)
        worst = max(worst, middle)
        print(f"{middle:6.2f} ({min(found):.2f}–{max(found):.2f}) {test}")
    return int(options.limit is not None and worst > options.limit)


if __name__ == "__main__":
    sys.exit(main())
