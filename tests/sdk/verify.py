"""Checks a webhook with the PyPI package standardwebhooks.

Reads {body, headers, standard_secret} (the body in base64) and prints what the library says of it and of other bytes.
"""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
raw = base64.b64decode(given["body"])


def check(body):
    try:
        return {"payload": Webhook(given["standard_secret"]).verify(body, given["headers"])}
    except WebhookVerificationError as error:
        return {"refused": str(error)}


print(json.dumps({"library": check(raw), "library_on_other_bytes": check(raw + b" ")}))
