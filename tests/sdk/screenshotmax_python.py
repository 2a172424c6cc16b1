"""ScreenshotMAX's PyPI SDK as it is published; only the client's class attribute for the address is ours.

Reads {base, access_key, secret_key, url, failing_url, webhook_url}; prints what came back, files in base64.
The SDK looks at no status: an error comes back as bytes, and that is what is passed on here.
"""

import base64
import json
import sys

import requests
from screenshotmax import SDK
from screenshotmax.client import APIClient
from screenshotmax.enums import ImageFormat, Scenario, ScrollEasing, VideoFormat
from screenshotmax.options import ScreencastOptions, ScreenshotOptions

given = json.load(sys.stdin)
APIClient.base_url = given["base"]


def options(url=given["url"], **more):
    return ScreenshotOptions(
        url=url,
        format=ImageFormat.PNG,
        viewport_width=160,
        viewport_height=120,
        hide_selectors=["#square", ".a b"],
        **more,
    )


def fetched(link):
    response = requests.get(link, timeout=60)
    return {
        "status": response.status_code,
        "type": response.headers["content-type"],
        "file": base64.b64encode(response.content).decode(),
    }


def fetch(service, signed=True):
    data, headers = service.fetch(signed)
    # A plain dictionary: the case is that of the wire.
    headers = {name.lower(): value for name, value in headers.items()}
    return {"type": headers.get("content-type"), "file": base64.b64encode(data).decode()}


def service(secret=given["secret_key"], **more):
    return SDK(given["access_key"], secret).screenshot.set_options(options(**more))


def screencast(**more):
    options = ScreencastOptions(
        url=given["url"], viewport_width=160, viewport_height=120, hide_selectors=["#square"], duration=1, **more
    )
    return SDK(given["access_key"], given["secret_key"]).screencast.set_options(options)


film = screencast(
    format=VideoFormat.MOV,
    scenario=Scenario.SCROLL,
    scroll_by_amount=300,
    scroll_back=True,
    scroll_easing=ScrollEasing.EASE_IN_QUAD,
)
link = service().get_url()
print(
    json.dumps(
        {
            "signed": fetch(service()),
            "unsigned": fetch(service(), False),
            "signed_url": fetched(link),
            "unsigned_url": fetched(service().get_url(False)),
            "screencast": fetch(film),
            "screencast_url": fetched(film.get_url()),
            "unknown_format": fetch(screencast(format=VideoFormat.OGG)),
            "tampered": fetched(link.replace("viewport_width=160", "viewport_width=161")),
            "invalid": fetch(service(delay=99)),
            "failing": fetch(service(url=given["failing_url"])),
            "wrong_secret": fetch(service(secret="wrong")),
        }
    )
)
