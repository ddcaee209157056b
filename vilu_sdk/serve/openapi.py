"""What the service says of its bodies and answers, for ``/openapi.json``."""

from typing import Any

from vilu_sdk.serve.bodies import JSON, NPY

_EMBEDDING: dict[str, Any] = {
    "type": "array",
    "items": {"type": "number"},
    "description": "Of the model's width",
}
_EMBEDDINGS: dict[str, Any] = {"type": "array", "items": _EMBEDDING, "minItems": 1}
_CANDIDATE: dict[str, Any] = {"oneOf": [_EMBEDDING, _EMBEDDINGS | {"description": "Several prompts"}]}
_BOOLEANS: dict[str, Any] = {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "boolean"}}]}
_ASKED: dict[str, Any] = {
    "type": "object",
    "required": ["z_img"],
    "additionalProperties": False,
    "properties": {
        "z_img": _EMBEDDINGS | {"description": "Image embeddings, one a row"},
        "z_txt_set": {
            "description": "Candidates, where the service has none of its own; an object gives them names",
            "oneOf": [
                {"type": "array", "items": _CANDIDATE},
                {"type": "object", "additionalProperties": _CANDIDATE},
            ],
        },
        "ids": {
            "type": "array",
            "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            "description": "What the images are called, which comes back with each row",
        },
    },
}
_ROW: dict[str, Any] = {
    "type": "object",
    "required": ["prediction", "uncertainty"],
    "properties": {
        "id": {"description": "As it was given"},
        "prediction": {"type": "integer", "description": "Row of the candidates"},
        "uncertainty": {"type": "number", "description": "Higher = the prediction is more likely wrong"},
        "answer": {"type": "integer", "description": "The candidate that the posterior holds likeliest"},
        "answer_uncertainty": {"type": "number", "description": "Higher = the answer is more likely wrong"},
        "novelty": {"type": "number", "description": "Higher = more likely none of the candidates"},
        "accepted": {"type": "boolean", "description": "Whether the threshold accepts the prediction"},
        "name": {"type": "string", "description": "What the prediction is called"},
        "answer_name": {"type": "string", "description": "What the answer is called"},
        "set": {
            "type": "array",
            "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            "description": "The plausible candidates, by name or row",
        },
    },
}
_WARNING = {"category": "PromiseWarning", "message": "The candidates are not those of fit, in their order."}
_WARNINGS: dict[str, Any] = {"type": "array", "items": {"type": "object"}, "example": [_WARNING]}


def _body(schema: dict[str, Any], examples: dict[str, Any], **more: Any) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "requestBody": {"required": True, "content": {JSON: {"schema": schema, "examples": shown}, **more}}
    }


def _answer(what: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"description": what, "content": {JSON: {"schema": schema, "example": example}}}


def _refusals(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return how requests are refused; all say where, and what is wrong and what to do."""
    entry = {"type": "object", "properties": {"loc": {"type": "array"}, "msg": {"type": "string"}}}
    schema = {"type": "object", "properties": {"detail": {"type": "array", "items": entry}}}
    said = {
        400: "The body cannot be read",
        408: "The body did not arrive in time",
        413: "The body, or what it holds, is too large",
        415: "The body is of another kind",
        422: "What the body holds cannot be used; of bad rows, each",
        503: "Too many requests at once; try again",
    }
    return {status: _answer(what, schema, {"detail": [example]}) for status, what in said.items()}


#: Of ``POST /judge``: its body, and its answers.
JUDGE = _body(
    _ASKED,
    {
        "candidates of the service": {"z_img": [[0.9, 0.3, 0.1]], "ids": ["cat-1.jpg"]},
        "candidates of the request": {
            "z_img": [[0.9, 0.3, 0.1], [0.2, 0.8, 0.3]],
            "z_txt_set": {"cat": [1.0, 0.0, 0.0], "dog": [[0.0, 1.0, 0.0], [0.0, 0.9, 0.1]]},
        },
    },
    **{
        NPY: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "numpy.save of the images and, where candidates come with the request, of "
                "these after it into the same file",
            }
        }
    },
)
JUDGED: dict[int | str, dict[str, Any]] = {
    200: _answer(
        "What there is to say of each image",
        {"type": "object", "properties": {"rows": {"type": "array", "items": _ROW}, "warnings": _WARNINGS}},
        {
            "rows": [
                {"id": "cat-1.jpg", "prediction": 0, "uncertainty": 0.02, "accepted": True, "name": "cat"}
            ],
            "warnings": [],
        },
    ),
    **_refusals(
        {
            "loc": ["body", "z_img", 3],
            "msg": "z_img is all zero in row 3, which has no direction; remove the row or embed it again.",
        }
    ),
}
#: Of ``POST /feedback``.
FEEDBACK = _body(
    {"type": "object", "required": ["correct"], "properties": {"correct": _BOOLEANS}},
    {"one": {"correct": True}, "several": {"correct": [True, True, False]}},
)
HEARD: dict[int | str, dict[str, Any]] = {
    200: _answer(
        "What all feedback says of the promise",
        {"type": "object"},
        {
            "broken": False,
            "promised": 0.05,
            "audits": 3,
            "errors": 1,
            "risk": [0.0, 0.985],
            "evidence": 1.69,
            "says": "No sign that more than 5.0 % of the accepted predictions are wrong.",
        },
    ),
    409: {"description": "What is served promises no risk"},
    **_refusals(
        {"loc": ["body", "correct"], "msg": "correct is missing: pass true or false, or a list of them."}
    ),
}
