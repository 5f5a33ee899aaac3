"""The OpenAPI document with seeded values as its examples: Schemathesis tries those, and what lies beside them."""

from collections.abc import Iterator
from typing import Any

from contract.seeds import Seeds, Sound

Document = dict[str, Any]


def operations(document: Document) -> Iterator[Document]:
    for by_method in document["paths"].values():
        yield from by_method.values()


def with_examples(document: Document, seeds: Seeds) -> Document:
    """In place."""
    for schema in document["components"]["schemas"].values():
        schema.pop("example", None)
        for name, member in schema.get("properties", {}).items():
            _exemplify(member, seeds.values.get(name, [])[:2])
    for operation in operations(document):
        sound = seeds.sound.get(operation["operationId"], Sound())
        for parameter in operation.get("parameters", ()):
            value = (sound.path | sound.query).get(parameter["name"])
            _exemplify(parameter["schema"], [] if value is None else [value])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if sound.body is not None:
                content["example"] = sound.body
    return document


def _exemplify(schema: Document, values: list[Any]) -> None:
    schema.pop("examples", None)
    if values:
        schema["examples"] = [values] if schema.get("type") == "array" else values[:1]
