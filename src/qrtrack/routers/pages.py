"""The pages for people: the description of the API. Everything that they load comes from the package `fastapi-offline`,
since a plant may have no internet.
"""

from importlib import resources
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

# Addresses are relative, since a proxy may put the service under a path of its own.
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>qrtrack: the API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. Programs read <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl: null`, Swagger UI sends the document's address to a validator on the internet.
START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null,
});
"""
# Swagger UI sets styles on its elements and embeds its icons as data. Everything else comes from this service.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Browsers ask each time whether a file has changed (ETag), so that they show nothing outdated after an upgrade.
HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
ASSETS: Final = StaticFiles(directory=str(resources.files("fastapi_offline") / "static"))


@router.head("/")
@router.get("/")
async def start() -> Response:
    """Redirects to the console."""
    return RedirectResponse("console")


@router.head("/docs")
@router.get("/docs")
async def describe_api() -> Response:
    return HTMLResponse(PAGE, headers=HEADERS | {"Content-Security-Policy": POLICY})


@router.head("/docs/start.js")
@router.get("/docs/start.js")
async def start_description() -> Response:
    return Response(START, media_type="text/javascript", headers=HEADERS)


@router.head("/docs/{name}")
@router.get("/docs/{name}")
async def get_asset(name: str, request: Request) -> Response:
    """Returns a file of Swagger UI, or 304 if the browser has it already."""
    answer = await ASSETS.get_response(name, request.scope)
    answer.headers.update(HEADERS)
    return answer
