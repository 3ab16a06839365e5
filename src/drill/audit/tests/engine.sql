-- More of the small log: executions that were tried more than once, and one that runs.
insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
select position, 1, ('00000000-0000-7000-8000-' || lpad(position::text, 12, '0'))::uuid, 'execution',
       ('00000000-0000-7000-9000-' || lpad(id, 12, '0'))::uuid, version, kind, 1, '00000000-0000-7000-9000-000000000001'::uuid,
       data::json, '{}'::json, timestamptz '2026-11-20 12:00:00.000001+00' + position * interval '1 second', sha256('')
from (values
    -- The second worker was lost, its answer came late, and somebody has discarded it.
    (20, '20', 1, 'execution_requested', '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{},"policy":{"max_attempts":2,"deadline_seconds":60,"outcome_unknown":"retry_once"}}'),
    (21, '20', 2, 'execution_started', '{"attempt":1,"worker":"w","token":"00000000-0000-7000-9000-000000000009","lease_ms":15000}'),
    (22, '20', 3, 'provider_call_started', '{"attempt":1,"request_hash":"h","max_cost":"0.5"}'),
    (23, '20', 4, 'execution_attempt_failed', '{"attempt":1,"class":"retryable","code":"provider_unavailable","detail":"down","provider_status":503,"input_tokens":7,"cost":"0","duration_ms":5,"retry_in_ms":1500}'),
    (24, '20', 5, 'execution_retry_due', '{"attempt":2}'),
    (25, '20', 6, 'execution_started', '{"attempt":2,"worker":"w","token":"00000000-0000-7000-9000-000000000009","lease_ms":15000}'),
    (26, '20', 7, 'provider_call_started', '{"attempt":2,"request_hash":"h","max_cost":"0.5"}'),
    (27, '20', 8, 'execution_outcome_unknown', '{"attempt":2,"max_cost":"0.5"}'),
    (28, '20', 9, 'execution_failed', '{"attempt":2,"class":"worker_lost","code":"outcome_unknown","detail":"lost","duration_ms":0,"dead":true}'),
    (29, '20', 10, 'provider_answered_late', '{"attempt":2,"result":"yes","max_cost":"0.5","input_tokens":7,"cost":"0.000315","duration_ms":40000}'),
    (30, '20', 11, 'execution_discarded', '{"reason":"nobody needs it"}'),
    -- Waits for its second attempt; what its first has cost is not known.
    (31, '31', 1, 'execution_requested', '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{},"policy":{"max_attempts":5,"deadline_seconds":600,"outcome_unknown":"hold"}}'),
    (32, '31', 2, 'execution_started', '{"attempt":1,"worker":"w","token":"00000000-0000-7000-9000-000000000009","lease_ms":15000}'),
    (33, '31', 3, 'provider_call_started', '{"attempt":1,"request_hash":"h","max_cost":"0.25"}'),
    (34, '31', 4, 'execution_attempt_failed', '{"attempt":1,"class":"retryable","code":"provider_timeout","detail":"slow","duration_ms":3000,"retry_in_ms":2000}'),
    -- Sends a dead letter again, and runs.
    (35, '35', 1, 'execution_requested', '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{},"retry_of":"00000000-0000-7000-9000-000000000020","policy":{"max_attempts":2,"deadline_seconds":60,"outcome_unknown":"retry_once"},"redrive":{}}'),
    (36, '35', 2, 'execution_started', '{"attempt":1,"worker":"w","token":"00000000-0000-7000-9000-000000000009","lease_ms":15000}'),
    (37, '35', 3, 'provider_call_started', '{"attempt":1,"request_hash":"h","max_cost":"0.25"}'),
    -- Its deadline was past before anybody had it.
    (38, '38', 1, 'execution_requested', '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{},"policy":{"max_attempts":2,"deadline_seconds":1,"outcome_unknown":"retry_once"}}'),
    (39, '38', 2, 'execution_timed_out', '{"attempt":0,"limit_ms":1000,"deadline":true,"duration_ms":0}'),
    -- Thought, and called a tool.
    (40, '40', 1, 'execution_requested', '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{},"policy":{"max_attempts":2,"deadline_seconds":60,"outcome_unknown":"retry_once"}}'),
    (41, '40', 2, 'execution_started', '{"attempt":1,"worker":"w","token":"00000000-0000-7000-9000-000000000009","lease_ms":15000}'),
    (42, '40', 3, 'execution_succeeded', '{"attempt":1,"result":"","finish_reason":"tool_calls","reasoning":"Hm.","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{ }"}}],"input_tokens":7,"cost":"0.5","duration_ms":5}')
) e (position, id, version, kind, data);

insert into read.execution
    (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, input_tokens, cost, duration_ms, attempts,
     error_code, error_detail, retry_of, cancel_requested, created_at, started_at, finished_at, version, position, dead,
     discarded_at, next_attempt_at, deadline_at, cost_ceiling, cost_unknown, is_redrive)
select x.id::uuid, '00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001', '{}', 'openai', 'm',
       x.status, x.input_tokens, x.cost, x.duration_ms, x.attempts, x.code, x.detail, x.retry_of::uuid, false,
       x.created_at::timestamptz, x.started_at::timestamptz, x.finished_at::timestamptz, x.version, x.position, x.dead,
       x.discarded_at::timestamptz, x.next_at::timestamptz, x.deadline_at::timestamptz, x.ceiling, x.unknown, x.redrive
from (values
    ('00000000-0000-7000-9000-000000000020', 'failed', 7, 0.000315, 0, 2, 'outcome_unknown', 'lost', null,
     '2026-11-20 12:00:20.000001+00', '2026-11-20 12:00:21.000001+00', '2026-11-20 12:00:28.000001+00', 11, 30, true,
     '2026-11-20 12:00:30.000001+00', null, '2026-11-20 12:01:20.000001+00', null::numeric, null::numeric, false),
    ('00000000-0000-7000-9000-000000000031', 'queued', null, null, null, 1, 'provider_timeout', 'slow', null,
     '2026-11-20 12:00:31.000001+00', '2026-11-20 12:00:32.000001+00', null, 4, 34, false,
     null, '2026-11-20 12:00:36.000001+00', '2026-11-20 12:10:31.000001+00', null, 0.25, false),
    ('00000000-0000-7000-9000-000000000035', 'running', null, null, null, 1, null, null,
     '00000000-0000-7000-9000-000000000020',
     '2026-11-20 12:00:35.000001+00', '2026-11-20 12:00:36.000001+00', null, 3, 37, false,
     null, null, '2026-11-20 12:01:35.000001+00', 0.25, null, true),
    ('00000000-0000-7000-9000-000000000038', 'timed_out', null, null, null, 0, 'deadline_exceeded',
     'it had not ended within its deadline of 1000 ms', null,
     '2026-11-20 12:00:38.000001+00', null, '2026-11-20 12:00:39.000001+00', 2, 39, false,
     null, null, '2026-11-20 12:00:39.000001+00', null, null, false)
) x (id, status, input_tokens, cost, duration_ms, attempts, code, detail, retry_of, created_at, started_at, finished_at, version,
     position, dead, discarded_at, next_at, deadline_at, ceiling, unknown, redrive);
insert into read.execution
    (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result, finish_reason, reasoning, tool_calls,
     input_tokens, cost, duration_ms, attempts, cancel_requested, created_at, started_at, finished_at, version, position,
     deadline_at)
values ('00000000-0000-7000-9000-000000000040', '00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001',
        '{}', 'openai', 'm', 'succeeded', '', 'tool_calls', 'Hm.',
        '[{"id":"c","type":"function","function":{"name":"f","arguments":"{ }"}}]', 7, 0.5, 5, 1, false,
        '2026-11-20 12:00:40.000001+00', '2026-11-20 12:00:41.000001+00', '2026-11-20 12:00:42.000001+00', 3, 42,
        '2026-11-20 12:01:40.000001+00');
update read.checkpoint set position = 42, event_id = '00000000-0000-7000-8000-000000000042';
insert into read.usage_execution (id, tenant_id, llm_provider, model, version, position) values
    ('00000000-0000-7000-9000-000000000020', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 11, 30),
    ('00000000-0000-7000-9000-000000000031', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 4, 34),
    ('00000000-0000-7000-9000-000000000035', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 3, 37),
    ('00000000-0000-7000-9000-000000000038', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 2, 39),
    ('00000000-0000-7000-9000-000000000040', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 3, 42);
update read.usage_daily
set executions = 4, succeeded = 1, failed = 3, input_tokens = 15, cost = 0.500315, position = 42
where llm_provider = 'openai' and model = 'm';
