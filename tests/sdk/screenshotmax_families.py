"""The calls of ScreenshotMAX's PyPI SDK beside the picture: paper, text, devices, usage. Only the address is ours.

Reads {base, access_key, secret_key, url}; prints what came back, files in base64.
"""

import base64
import json
import sys

from screenshotmax import SDK
from screenshotmax.client import APIClient
from screenshotmax.enums import PDFPaperFormat, ScrapeFormat
from screenshotmax.options import PDFOptions, ScrapeOptions

given = json.load(sys.stdin)
APIClient.base_url = given["base"]
sdk = SDK(given["access_key"], given["secret_key"])


def answer(service, signed=True):
    data, headers = service.fetch(signed)
    data = data.encode() if isinstance(data, str) else data
    headers = {name.lower(): value for name, value in headers.items()}
    return {"type": headers.get("content-type"), "file": base64.b64encode(data).decode()}


pdf = PDFOptions(url=given["url"], pdf_paper_format=PDFPaperFormat.A4, pdf_landscape=True)
markdown = ScrapeOptions(url=given["url"], format=ScrapeFormat.MARKDOWN)
html = ScrapeOptions(url=given["url"], js_enabled=False)
print(
    json.dumps(
        {
            "pdf": answer(sdk.pdf.set_options(pdf)),
            "pdf_unsigned": answer(sdk.pdf.set_options(pdf), False),
            "markdown": answer(sdk.scrape.set_options(markdown)),
            "html": answer(sdk.scrape.set_options(html)),
            "devices": json.loads(sdk.device.get()),
            "usage": json.loads(sdk.usage.get()),
        }
    )
)
