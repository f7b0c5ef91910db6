"""`python -m injectplan`: the command line."""

from injectplan.cli import main

main()
