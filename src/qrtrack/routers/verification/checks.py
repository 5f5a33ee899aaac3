"""Public verification over HTTP, without a token: checking, redeeming, reporting."""

from typing import Final

from fastapi import APIRouter, Request, Response

from qrtrack.domain.errors import NotFound, Unauthenticated
from qrtrack.domain.identity import Permission
from qrtrack.domain.verification.checks import NotRedeemable, Purpose
from qrtrack.domain.verification.limits import TooManyFailures
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import body_limit
from qrtrack.routers.dependencies import MissingRole, RuntimeState, require, sign_in
from qrtrack.routers.problems import problems
from qrtrack.routers.verification.texts import catalogue, language_of, written_day
from qrtrack.routers.verification.visitors import keep_look, visitor_of
from qrtrack.runtime import Runtime
from qrtrack.schemas.verification.checks import RedeemRequest, VerificationAnswer, VerifyRequest
from qrtrack.schemas.verification.reports import ReportAnswer, ReportRequest
from qrtrack.services.verification.admission import VerificationBusy
from qrtrack.services.verification.checks import Checked, Claimed, KeyNotProven, Visitor
from qrtrack.services.verification.reports import TooManyReports
from qrtrack.services.verification.reports import report as add_report

router = APIRouter(route_class=StrictRoute, prefix="/api", tags=["verification"])

SMALL_BODY: Final = 16 * 1024
OF_THE_DATABASE: Final = (DatabaseUnavailable, DatabaseRefused)
UNKNOWN: Final = "unknown"


@router.post(
    "/verify",
    summary="Check a unit",
    responses=problems(TooManyFailures, VerificationBusy, Unauthenticated, MissingRole, *OF_THE_DATABASE),
)
@body_limit(SMALL_BODY)
async def verify_unit(
    body: VerifyRequest, request: Request, response: Response, runtime: RuntimeState
) -> VerificationAnswer:
    """Checks a unit by its root key: `{"uniq_code": "…", "code": "SKA000001", "root_key": "ZR4K"}`. A wrong key and an
    unknown code get the same answer, `unknown`. The first check of a unit on sale is `genuine`. Checks of one browser
    within 30 minutes are one check: keep the cookie. With `"purpose": "qc"` and an operator's token the check does not
    count.
    """
    visitor = visitor_of(request, runtime)
    is_qc = body.purpose is Purpose.QC
    if is_qc:
        _, staff = await sign_in(request)
        require(staff, Permission.PACK)
        visitor = visitor._replace(staff=staff)
    await _start(runtime, visitor)
    checked = await runtime.verifier.verify(Claimed(body.uniq_code, body.root_key, body.code), visitor)
    keep_look(request, response, visitor, proxies=runtime.settings.trusted_proxies)
    return _answer(request, runtime, checked, in_full=is_qc)


@router.post(
    "/redeem",
    summary="Redeem a unit",
    responses=problems(KeyNotProven, NotRedeemable, TooManyFailures, VerificationBusy, *OF_THE_DATABASE),
)
@body_limit(SMALL_BODY)
async def redeem_unit(
    body: RedeemRequest, request: Request, response: Response, runtime: RuntimeState
) -> VerificationAnswer:
    """Redeems a unit once, with the same proof as a check: for loyalty points, a warranty, a deposit. A second time is
    refused; the answer has the day on which the unit was redeemed.
    """
    visitor = visitor_of(request, runtime)
    await _start(runtime, visitor)
    checked = await runtime.verifier.redeem(Claimed(body.uniq_code, body.root_key, body.code), visitor)
    keep_look(request, response, visitor, proxies=runtime.settings.trusted_proxies)
    return _answer(request, runtime, checked, in_full=False)


@router.post(
    "/report",
    summary="Report a product",
    responses=problems(NotFound, TooManyReports, *OF_THE_DATABASE),
)
@body_limit(SMALL_BODY)
async def report_product(body: ReportRequest, request: Request, runtime: RuntimeState) -> ReportAnswer:
    """Tells the manufacturer about a product that seems wrong, without an account. A network may send 20 an hour."""
    visitor = visitor_of(request, runtime)
    await _start(runtime, visitor)
    await add_report(
        runtime.database,
        hashes=runtime.verifier.hashes,
        network=visitor.network,
        uniq_code=body.uniq_code,
        code=body.code,
        reason=body.reason,
        message=body.text,
    )
    return ReportAnswer()


async def _start(runtime: Runtime, visitor: Visitor) -> None:
    """Delays the requests of a network that sends many at once: they must not block the event loop for others."""
    await runtime.starts.wait(("verification", visitor.network.name))


def _answer(request: Request, runtime: Runtime, checked: Checked | None, *, in_full: bool) -> VerificationAnswer:
    language = language_of(request)
    words = catalogue(language)["results"][UNKNOWN if checked is None else checked.result]
    day = written_day(None if checked is None else checked.first_checked_on, language)
    names = runtime.settings.names_of_organisations
    return VerificationAnswer.of(
        checked,
        title=words["title"],
        message=words["message"].format(day=day),
        made_by=None if checked is None else names.get(checked.unit.manufacturer_org_id),
        in_full=in_full,
    )
