"""Objects for a cluster against Kubernetes' own schemas: what is wrong with each, in each of the versions."""

import json
import sys

import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError

asked = json.load(sys.stdin)
found = []
for item in asked["items"]:
    for version in asked["versions"]:
        problem = None
        try:
            # Strict: a property that is misspelt is an error, and not left out in silence.
            kubernetes_validate.validate(item, version, strict=True)
        except ValidationError as error:
            problem = f"{'.'.join(map(str, error.path))}: {error.message}"
        except SchemaNotFoundError:
            problem = "no schema"
        found.append({"kind": item["kind"], "name": item["metadata"]["name"], "version": version, "problem": problem})
print(json.dumps(found))
