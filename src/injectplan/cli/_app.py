"""The application: its commands, and how errors become one line and an exit code."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from injectplan import __version__
from injectplan.errors import InjectplanError
from injectplan.measure import NOT_A_DEVICE

app = App(
    name="injectplan",
    version=__version__,
    help=f"""Plan, rehearse and simulate ultrasound-guided injections into the knee, hip and ankle.

For {NOT_A_DEVICE}.

Start with `injectplan demo --out demo`.""",
    help_flags=["--help", "-h"],
    version_flags=["--version"],
    help_epilogue="Exit: 0 done, 2 bad input or usage, 3 refused (the result says why).",
)
# Each command is imported only when it is asked for, so that --help and shell completion stay quick.
_COMMANDS = {
    "demo": ("Run the main job on the built-in knee phantom.", "demo --out out/demo"),
    "run": (
        "Run a whole case: joint, alignment, plan, ultrasound preview, dose, report.",
        "run case.toml --out out/case",
    ),
    "check": ("Print every value a case runs with: given, default or assumed.", "check case.toml"),
    "model": (
        "Build a joint model from a segmentation or surfaces, and measure it.",
        "model seg.nrrd --labels pymskt --joint knee --side right --out out/knee",
    ),
    "t2": ("Fit T2 relaxation times of a multi-echo image.", "t2 echoes.nrrd --echo-times-ms 10 20 30 40"),
    "alignment": (
        "Measure axial deformity, with its uncertainty and a verdict.",
        "alignment --surfaces femur=femur.ply tibia=tibia.ply --side right --frame LPS",
    ),
    "plan": ("Search, rank and re-check needle trajectories.", "plan case.toml --json"),
    "frame": (
        "Simulate one ultrasound frame with all its maps.",
        "frame case.toml --out frame.npz --png frame.png",
    ),
    "flow": (
        "Compute pressure and force of an injection through a needle.",
        "flow --gauge 22 --length-mm 38 --volume-ml 2 --time-s 10 --viscosity-mpa-s 1",
    ),
    "dose": ("Estimate what an injection delivers, and where it goes.", "dose case.toml --json"),
    "phantom": ("List or export the built-in phantoms.", "phantom export sphere --out out/sphere"),
    "schema": ("Print the JSON Schema of a document.", "schema plan"),
    "doctor": ("Show what this machine can do.", "doctor"),
}
for _name, (_help, _example) in _COMMANDS.items():
    app.command(
        f"injectplan.cli.{_name}:command", name=_name, help=f"{_help}\n\nExample: injectplan {_example}"
    )
app.register_install_completion_command()


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Errors made on purpose become one plain line on stderr."""
    debug = "--debug" in arguments
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `injectplan … | head` ends quietly
    signal.signal(signal.SIGTERM, _stop)  # so that an unfinished folder goes, as on Ctrl-C
    if "" in arguments:
        return _say("an argument is empty: give a name or a path (see injectplan --help)", 2)
    try:
        result = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) and not isinstance(result, bool) else 0
    except CycloptsError as error:
        return _say(_unknown_option(arguments) or f"{_one_line(error)} (see injectplan --help)", 2)
    except InjectplanError as error:
        if debug:
            raise
        return _say(_one_line(error), error.exit_code)
    except _StoppedError:
        return _say("stopped", 143)
    except KeyboardInterrupt:
        return _say("stopped", 130)
    except MemoryError:
        return _say("out of memory: give a smaller input", 2)


class _StoppedError(KeyboardInterrupt):
    """Somebody asked the process to end."""


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends at once
    raise _StoppedError


def _unknown_option(arguments: Sequence[str]) -> str:
    """Name the first option that the command does not know: it says more than what then is missing."""
    _, apps, rest = app.parse_commands(list(arguments))
    if apps[-1].default_command is None:
        return ""
    known = {name for argument in apps[-1].assemble_argument_collection() for name in argument.names}
    known |= {"--help", "-h", "--version"}
    for word in rest:
        option = word.split("=")[0]
        if option.startswith("--") and option not in known:
            near = difflib.get_close_matches(option, known, 1, 0.0)
            return f"unknown option {option}; nearest known: {near[0]} (see injectplan --help)"
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _say(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def console(*, quiet: bool = False) -> Console:
    """Return the console for people, on stderr when the result goes to stdout as JSON."""
    return Console(stderr=True, quiet=quiet, no_color="NO_COLOR" in os.environ, highlight=False)
