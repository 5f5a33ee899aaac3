from plant import ended_and_queued_jobs, explained_claim, nodes_of, pages_of
from qrtrack.database import Database


async def test_a_claim_among_a_million_ended_jobs_reads_few_pages(database: Database) -> None:
    await ended_and_queued_jobs(database, ended=1_000_000)
    plan = await explained_claim(database)
    scans = [node for node in nodes_of(plan["Plan"]) if node.get("Relation Name") == "qr_reverse_jobs"]
    assert {node["Index Name"] for node in scans if "Index Name" in node} == {
        "ix_qr_reverse_jobs_claim",
        "pk_qr_reverse_jobs",
    }
    assert "Seq Scan" not in {node["Node Type"] for node in scans}
    assert pages_of(plan) < 2_000
