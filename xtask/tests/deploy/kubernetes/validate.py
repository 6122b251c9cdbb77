"""Holds manifests, as YAML on standard input, to the schemas of a Kubernetes version.

Prints a JSON array with an entry for each object: the object itself as `object`, and as
`verdict` null, "no schema", or what its schema forbids.
"""

import json
import sys

import kubernetes_validate as schemas
import yaml


def verdict(manifest, version):
    try:
        schemas.validate(manifest, version, strict=True)
    except schemas.SchemaNotFoundError:
        return "no schema"
    except schemas.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        return f"{path}: {error.message}"
    return None


objects = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
json.dump(
    [{"object": it, "verdict": verdict(it, sys.argv[1])} for it in objects], sys.stdout
)
