"""`injectplan schema`: the JSON Schema of a document."""

from __future__ import annotations

import sys

from injectplan.cli._common import DEFAULT, Common


def command(name: str, *, common: Common = DEFAULT) -> None:
    """Print the JSON Schema of a document: case, model, alignment, plan, frame, dose, record, …

    Parameters
    ----------
    name
        Which document.
    """
    import injectplan.alignment
    import injectplan.casefile  # both register their documents' schemas
    from injectplan.documents import json_schema, to_json

    assert injectplan.alignment
    assert injectplan.casefile
    common.begin()
    sys.stdout.write(to_json(json_schema(name)))
