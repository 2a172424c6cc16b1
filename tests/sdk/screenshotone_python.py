"""ScreenshotOne's PyPI SDK as it is published; only the module's constant for the address is ours.

Reads {base, access_key, secret_key, url, failing_url}; prints what came back, files in base64.
"""

import base64
import json
import sys

import requests
import screenshotone.sdk
from screenshotone import APIErrorException, Client, InvalidRequestException, TakeOptions

given = json.load(sys.stdin)
screenshotone.sdk.API_BASE_URL = given["base"]
client = Client(given["access_key"], given["secret_key"])


def take(url=given["url"]):
    options = TakeOptions.url(url).format("png").viewport_width(160).viewport_height(120)
    return options.hide_selectors(["#square", ".a b"]).full_page(False)


def text(data):
    return base64.b64encode(data).decode()


def fetched(link):
    response = requests.get(link, timeout=60)
    return {
        "status": response.status_code,
        "type": response.headers["content-type"],
        "file": text(response.content),
    }


def failure(client, options):
    try:
        client.take(options)
    except APIErrorException as error:
        return {
            "own": type(error).__name__,
            "invalid_request": isinstance(error, InvalidRequestException),
            "message": str(error),
            "http_status_code": error.http_status_code,
            "error_code": error.error_code,
            "documentation_url": error.documentation_url,
            "host_returned_status_code": error.host_returned_status_code,
        }
    return None


link = client.generate_take_url(take())
print(
    json.dumps(
        {
            "take": text(client.take(take()).read()),
            "signed": fetched(link),
            "tampered": fetched(link.replace("viewport_width=160", "viewport_width=161")),
            "unsigned": fetched(link.split("&signature=")[0]),
            "invalid": failure(client, take().delay(99)),
            "failing": failure(client, take(given["failing_url"])),
            "unknown_key": failure(Client("nobody", "nothing"), take()),
        }
    )
)
