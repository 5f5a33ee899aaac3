"""Pages from templates. All values in a template are escaped. A page loads nothing from another server."""

from functools import partial
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from qrtrack.console.language import Language
from qrtrack.console.stored import translate_stored
from qrtrack.routers.languages import LANGUAGES

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    # After the sign-out, the browser's back button must not show the pages of the session.
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Vary": "HX-Request, Cookie, Accept-Language",
}

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("qrtrack.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def page(language: Language, template: str, *, status_code: int = 200, **values: Any) -> Response:
    content = ENVIRONMENT.get_template(template).render(
        language=language,
        languages=LANGUAGES,
        t=language.text,
        number=language.number,
        amount=language.amount,
        duration=language.duration,
        counted=language.counted,
        time=language.time,
        moment=language.moment,
        age=language.age,
        translated=partial(translate_stored, language),
        **values,
    )
    return HTMLResponse(content, status_code, HEADERS)
