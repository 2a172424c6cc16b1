"""Documents against a JSON schema: what is wrong with each, by its place."""

import json
import sys

from jsonschema.validators import validator_for

asked = json.load(sys.stdin)
with open(asked["schema"], encoding="utf-8") as file:
    schema = json.load(file)
validator = validator_for(schema)(schema)


def places(document):
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


print(json.dumps([places(document) for document in asked["documents"]]))
