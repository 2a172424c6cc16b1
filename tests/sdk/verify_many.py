"""Checks many webhooks with the PyPI package standardwebhooks.

Reads {webhooks: [{body, headers}], standard_secret} (bodies in base64) and prints how many the library takes.
"""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
library = Webhook(given["standard_secret"])


def takes(webhook):
    try:
        library.verify(base64.b64decode(webhook["body"]), webhook["headers"])
        return True
    except WebhookVerificationError:
        return False


print(json.dumps({"library": sum(map(takes, given["webhooks"]))}))
