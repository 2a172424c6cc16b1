"""Scheduled tasks by ScreenshotMAX's PyPI SDK as it is published; only the client's class attribute for the address is
ours. Reads {base, access_key, secret_key}; prints what each call gave.
"""

import json
import sys

from screenshotmax import SDK
from screenshotmax.client import APIClient

given = json.load(sys.stdin)
APIClient.base_url = given["base"]
task = SDK(given["access_key"], given["secret_key"]).task

options = {
    "name": "test",
    "api": "screenshot",
    "query": "url=https://example.com",
    "frequency": "every_day",
    "timezone": "Etc/UTC",
    "enabled": True,
}
said = {"created": task.create_task(options)}
number = said["created"]["id"]
said["listed"] = json.loads(task.get_tasks())
said["shown"] = json.loads(task.get_task(number))
said["updated"] = task.update_task(number, {**options, "frequency": "every_month", "enabled": False})
said["invalid"] = task.create_task({**options, "api": "take"})
try:
    said["deleted"] = task.delete_task(number)
except ValueError as error:
    said["deleted"] = type(error).__name__
said["left"] = json.loads(task.get_tasks())
print(json.dumps(said))
