"""`injectplan schema`: the JSON Schema of a document."""

from __future__ import annotations

from dataclasses import replace

from injectplan.cli._common import DEFAULT, Common, as_json, finish


def command(name: str, *, common: Common = DEFAULT) -> None:
    """Print the JSON Schema of a document: case, model, alignment, plan, frame, dose, record, …

    Parameters
    ----------
    name
        Which document.
    """
    import injectplan.alignment
    import injectplan.casefile  # both register their documents' schemas
    from injectplan.documents import json_schema

    assert injectplan.alignment
    assert injectplan.casefile
    common.begin()
    document = json_schema(name)
    finish(document, replace(common, json=True), by="schema", write=as_json(document, f"{name}.schema.json"))
