"""Statements that put rows of every state into an organisation, for full_plant.py."""

from typing import Final

# More batches than one page of a list shows, and one in each state.
BATCHES = """
INSERT INTO qr_batches (id, order_id, manufacturer_org_id, uniq_code, product_name, quantity, items_created,
    units_per_case, serial_mode, serial_prefix, first_number, key_length, status, keys_to_hash, keys_hashed,
    error_message, created_by, created_at, codes_created_at, ready_at)
SELECT (CAST(:ids AS uuid[]))[number], gen_random_uuid(), CAST(:org AS uuid),
    translate(upper(substr(md5(CAST(:org AS text) || number), 1, 12)), '01', 'XY'),
    CASE status WHEN 'failed' THEN :long_name ELSE 'Gold ' || number || ' g' END, 40000,
    CASE status WHEN 'creating' THEN 17000 WHEN 'failed' THEN 23000 ELSE 40000 END, 100, 'sequential', 'TB', number, 4,
    status, 40000, CASE status WHEN 'ready' THEN 40000 WHEN 'hashing' THEN 12000 ELSE 0 END,
    CASE status WHEN 'failed' THEN 'Some codes from TB number 3 on exist already: they were not created by this batch.'
    END, 'planner',
    now() - number * interval '1 hour', CASE WHEN status IN ('ready', 'hashing') THEN now() END,
    CASE status WHEN 'ready' THEN now() END
FROM generate_series(1, 60) AS number
CROSS JOIN LATERAL (
    SELECT (ARRAY['creating', 'hashing', 'failed'] || array_fill('ready'::text, ARRAY[57]))[number] AS status) AS chosen
"""
JOBS = """
INSERT INTO qr_reverse_jobs (id, batch_id, order_id, manufacturer_org_id, exclude_codes, first_sequence, last_sequence,
    next_sequence, counted_at, total_available_in_batch, remaining_to_prepare, prepared_count, excluded_count, progress,
    result_summary, error_message, created_by, status, lease_token, lease_expires_at, created_at, started_at,
    finished_at)
SELECT (CAST(:ids AS uuid[]))[number], :batch, :order, :org, '{}', 1, 1000, 1, now(), 1000,
    CASE WHEN status = 'completed' THEN 0 ELSE 400 END, CASE WHEN status = 'queued' THEN 0 ELSE 600 END, 3,
    CASE status WHEN 'completed' THEN 100 WHEN 'queued' THEN 0 ELSE 60 END,
    CASE status WHEN 'completed' THEN '{}' END::jsonb,
    CASE status WHEN 'failed' THEN 'worker lost: the process of the last attempt died or lost the database' END,
    'operator', status, CASE status WHEN 'running' THEN gen_random_uuid() END,
    CASE status WHEN 'running' THEN now() + interval '1 day' END, now() - number * interval '17 minutes', now(),
    CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN now() END
FROM generate_series(1, 60) AS number
CROSS JOIN LATERAL (SELECT COALESCE((ARRAY['running', 'failed', 'queued', 'cancelled', 'failed'])[number], 'completed')
    AS status) AS chosen
"""
LOGS = """
INSERT INTO qr_reverse_job_logs (job_id, manufacturer_org_id, level, message)
SELECT job.id, job.manufacturer_org_id, level, message
FROM qr_reverse_jobs AS job
CROSS JOIN (VALUES ('info', 'Counted: 1000 available, 3 of them excluded, 0 in the queue.'),
    ('warn', 'Attempt 1 failed and will be repeated: ' || repeat('worker-7f3a-', 12)),
    ('error', 'Failed: worker lost: the process of the last attempt died or lost the database'))
    AS line (level, message)
WHERE job.manufacturer_org_id = :org AND job.status IN ('running', 'failed')
"""
EVENTS = """
INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, uuid, payload, content_hash, status, error, note,
    attempts, forward_status, forward_attempts, forward_error, created_at, finished_at)
SELECT CAST(:org AS uuid), (ARRAY['SALES_INVOICE', 'ITEM_TRANSFER', 'SALES_RECEIPT', 'ITEM'])[1 + number % 4],
    :database,
    'event-' || CAST(CAST(:org AS uuid) AS text) || '-' || number,
    '{"databaseId": 1443290, "type": "SALES_INVOICE", "data": [{"salesInvoiceNo": "INV/' || number || '"}]}',
    uuid_send(gen_random_uuid()), status,
    CASE status WHEN 'dead' THEN 'internal error (KeyError); the service''s log has the details'
    WHEN 'invalid' THEN 'It is nested too deeply to be read.' END,
    CASE status WHEN 'skipped' THEN 'no handler knows this type' WHEN 'done' THEN
    'its timestamp is missing or unreadable: the time of receipt is used; 2 of 1000 rows have no id and are ignored'
    END,
    CASE status WHEN 'dead' THEN 8 ELSE 1 END, CASE number % 9 WHEN 1 THEN 'dead' WHEN 2 THEN 'pending' ELSE 'sent' END,
    CASE number % 9 WHEN 1 THEN 8 ELSE 0 END, CASE number % 9 WHEN 1 THEN 'the endpoint answered 500' END,
    now() - number * interval '3 minutes', CASE WHEN status IN ('done', 'skipped', 'invalid', 'dead') THEN now() END
FROM generate_series(1, 120) AS number
CROSS JOIN LATERAL (SELECT COALESCE((ARRAY['dead', 'dead', 'invalid', 'skipped', 'pending', 'dead'])[number], 'done')
    AS status) AS chosen
"""
CONFLICTS = """
INSERT INTO webhook_conflicts (queue_id, manufacturer_org_id, database_id, content_hash, payload, times)
SELECT id, manufacturer_org_id, database_id, uuid_send(gen_random_uuid()), '[{"salesInvoiceNo": "INV/other"}]', 3
FROM webhook_queue WHERE manufacturer_org_id = :org ORDER BY id LIMIT 4
"""
REPLAYS = """
INSERT INTO webhook_replays (manufacturer_org_id, actor, reason, selection, event_count)
VALUES (:org, 'admin', 'The field was mapped again', '{"status": "dead"}', 42)
"""
DOCUMENTS = """
INSERT INTO accurate_documents (manufacturer_org_id, database_id, type, entity_id, number, amount, event_at, event_id,
    deleted)
SELECT manufacturer_org_id, database_id, type, id::text, 'INV/2026/11/' || id, 125000000.50, created_at, id, false
FROM webhook_queue WHERE manufacturer_org_id = :org AND status = 'done'
"""
# A trigger demands that an attempt begins as one that is being sent.
ATTEMPTS = """
INSERT INTO t_akselgate_transaction_log (id, manufacturer_org_id, transaction_type, kd_settle, request_id,
    attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by, sent_at, stale_at)
OVERRIDING SYSTEM VALUE
SELECT id, :org, CASE WHEN number % 3 = 0 THEN 'ESCROW_BILLER_PL' ELSE 'CA_ESCROW' END,
    'STL-2026-11-26-' || number || CASE number WHEN 4 THEN '-ADJUSTMENT-YOGYAKARTA' ELSE '' END, id::text, 1, 3,
    '{"data": []}', md5(id::text), 125450000.76 * number, 'sending', 'sari', now() - number * interval '5 minutes',
    now() + interval '1 day'
FROM (SELECT number, nextval('t_akselgate_transaction_log_id_seq') AS id FROM generate_series(1, 60) AS number) AS made
"""
TRANSACTIONS = """
INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number, debit_account,
    credit_account, amount, description)
SELECT id, manufacturer_org_id, number, 'R' || id || '-' || number, '1000000001', '2000000002',
    round(control_sum / 3, 2),
    'Escrow of 26 November for the partner ' || number
FROM t_akselgate_transaction_log CROSS JOIN generate_series(1, 3) AS number WHERE manufacturer_org_id = :org
"""
OUTCOMES = """
UPDATE t_akselgate_transaction_log AS log
SET outcome = chosen.outcome,
    status_code_res = CASE chosen.outcome WHEN 'accepted' THEN '200' WHEN 'rejected' THEN '400' ELSE chosen.outcome END,
    response_code = CASE chosen.outcome WHEN 'accepted' THEN '00' WHEN 'rejected' THEN '96' END,
    response_message = CASE chosen.outcome WHEN 'unknown' THEN 'No complete answer came (ReadError: connection reset).'
    WHEN 'not_sent' THEN 'The gateway gave no token for the login (status 502).'
    WHEN 'rejected' THEN 'Duplicate reference number in the batch of the partner' END,
    is_success = CASE chosen.outcome WHEN 'accepted' THEN 1 WHEN 'unknown' THEN NULL ELSE 0 END
FROM (SELECT id, COALESCE(
        (ARRAY['sending', 'unknown', 'rejected', 'unknown', 'not_sent'])[row_number() OVER (ORDER BY id)], 'accepted'
      ) AS outcome FROM t_akselgate_transaction_log WHERE manufacturer_org_id = :org) AS chosen
WHERE chosen.id = log.id AND chosen.outcome <> 'sending'
"""
CALLED = """
INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, reference_number, result)
SELECT attempt_id, entry.manufacturer_org_id, 'callback', 'gateway', reference_number,
    CASE row_number WHEN 1 THEN '00' ELSE '51' END
FROM t_akselgate_transaction_rows AS entry JOIN t_akselgate_transaction_log AS log ON log.id = attempt_id
WHERE log.outcome = 'accepted' AND log.manufacturer_org_id = :org AND log.id % 2 = 0
"""
CALLBACKS = """
UPDATE t_akselgate_transaction_rows AS entry
SET callback_state = (ARRAY['ok', 'failed', 'conflict'])[row_number], callback_at = now()
FROM t_akselgate_transaction_log AS log
WHERE log.id = entry.attempt_id AND log.outcome = 'accepted' AND log.manufacturer_org_id = :org AND log.id % 2 = 0
"""
ATTEMPT_EVENTS = """
INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor)
SELECT id, manufacturer_org_id, 'swept', 'sweeper' FROM t_akselgate_transaction_log
WHERE manufacturer_org_id = :org AND outcome = 'unknown'
"""
FAN_OUTS = """
INSERT INTO sync_batch_progress (batch_id, name, kind, total_records, processed_records, success_count, failed_records,
    progress_percentage, status, created_by, created_at, started_at, completed_at, manufacturer_org_id)
SELECT (CAST(:ids AS uuid[]))[number], CASE number WHEN 2 THEN :long_name ELSE 'Price list ' || number END,
    'prices', 10000,
    CASE WHEN status IN ('completed', 'failed') THEN 10000 WHEN status = 'pending' THEN 0 ELSE 6120 END,
    CASE WHEN status IN ('completed', 'failed') THEN 9880 WHEN status = 'pending' THEN 0 ELSE 6000 END,
    CASE status WHEN 'pending' THEN 0 ELSE 120 END,
    CASE WHEN status IN ('completed', 'failed') THEN 100 WHEN status = 'pending' THEN 0 ELSE 61 END, status, 'planner',
    now() - number * interval '9 minutes', CASE status WHEN 'pending' THEN NULL ELSE now() END,
    CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN now() END, :org
FROM generate_series(1, 60) AS number
CROSS JOIN LATERAL (SELECT COALESCE((ARRAY['processing', 'failed', 'pending', 'cancelled'])[number], 'completed')
    AS status) AS chosen
"""
FAILED_RECORDS = """
INSERT INTO sync_batch_records (batch_id, manufacturer_org_id, record_key, success, error)
SELECT batch_id, manufacturer_org_id, 'price-' || number, false,
    'The price list of the branch Yogyakarta refuses the item: ' || repeat('no such unit of measure; ', 4)
FROM sync_batch_progress CROSS JOIN generate_series(1, 120) AS number
WHERE manufacturer_org_id = :org AND status IN ('processing', 'failed')
"""
CHECKS = """
INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result, actor, checked_at)
SELECT :org, :batch, 1 + number % 100, purpose,
    (ARRAY['genuine', 'genuine_seen_before', 'not_released', 'void', 'recalled'])[1 + number % 5],
    CASE purpose WHEN 'qc' THEN 'quality' END, now() - number * interval '7 minutes'
FROM generate_series(1, 120) AS number
CROSS JOIN LATERAL (SELECT CASE number % 4 WHEN 0 THEN 'qc' ELSE 'consumer' END AS purpose) AS chosen
"""
REPORTS = """
INSERT INTO verification_reports (manufacturer_org_id, batch_id, code, reason, message, network, reported_at)
SELECT :org, :batch, CASE WHEN number % 5 > 0 THEN 'SKA' || lpad(number::text, 6, '0') END,
    (ARRAY['not_me', 'label_damaged', 'key_opened', 'product_doubtful', 'sold_too_early', 'other'])[1 + number % 6],
    CASE number % 3 WHEN 0 THEN NULL ELSE 'Bought at a stall beside the museum. The seal was open. ' ||
    repeat('The seller said that this is normal. ', number % 9) END, '', now() - number * interval '2 hours'
FROM generate_series(1, 60) AS number
"""
ALERTS = """
INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number, raised_on, raised_at)
SELECT :org, :batch, kind, CASE kind WHEN 'guessing' THEN NULL ELSE number::int END, current_date - (day - 1)::int,
    now() - (day - 1) * interval '1 day'
FROM unnest(ARRAY['guessing', 'many_networks', 'void', 'recalled', 'not_released', 'expired'])
    WITH ORDINALITY AS kinds (kind, number)
CROSS JOIN generate_series(1, 9) AS day
"""
UNPRINTED = """
UPDATE print_jobs AS job
SET status = chosen.status, finished_at = now(), error_message = chosen.error,
    sending_at = CASE chosen.status WHEN 'failed' THEN NULL ELSE now() END
FROM (SELECT id, (ARRAY['unknown', 'failed', 'completed'])[place] AS status,
        (ARRAY['The connection broke after 2048 bytes: broken pipe. '
               'Look whether the label was printed. If not, reprint it.',
               'Zebra at Packing table 3, hall B, night shift cannot print: the paper is out.'])[place] AS error
      FROM (SELECT id, row_number() OVER (ORDER BY id) AS place
            FROM print_jobs WHERE manufacturer_org_id = :org) AS ordered
      WHERE place <= 3) AS chosen
WHERE chosen.id = job.id
"""
FAILED_LABELS = """
UPDATE label_jobs SET status = 'failed', progress = 40, finished_at = now(),
    error_message = 'Every unit of the range has become void: there is no label to draw.'
WHERE id = :job
"""
SETS: Final = (
    LOGS, EVENTS, CONFLICTS, REPLAYS, DOCUMENTS, ATTEMPTS, TRANSACTIONS, OUTCOMES, CALLED, CALLBACKS, ATTEMPT_EVENTS,
    FAILED_RECORDS, CHECKS, REPORTS, ALERTS, UNPRINTED,
)  # fmt: skip
