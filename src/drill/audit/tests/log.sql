-- A small log, written by hand: a user, a catalogue, a prompt of two versions, and executions that ended in every way.
insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
select position, 1, event_id, stream, id, version, kind, 1, scope, data::json, meta::json, at,
       sha256(convert_to(concat_ws(E'\n',
           event_id, stream, id, version, kind, 1, coalesce(scope::text, ''),
           to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           encode(sha256(convert_to(data, 'utf8')), 'hex'), encode(sha256(convert_to(meta, 'utf8')), 'hex')), 'utf8'))
from (
    select position, ('00000000-0000-7000-8000-' || lpad(position::text, 12, '0'))::uuid as event_id, stream,
           ('00000000-0000-7000-9000-' || lpad(id, 12, '0'))::uuid as id, version, kind,
           case when scope then '00000000-0000-7000-9000-000000000001'::uuid end as scope, data, '{"correlation_id":"x"}' as meta,
           timestamptz '2026-11-20 12:00:00.000001+00' + position * interval '1 second' as at
    from (values
        (1, 'user', '1', 1, 'user_registered', true, '{"email":"a@b.example","username":"Ä","roles":["admin"]}'),
        (2, 'specialty', '2', 1, 'specialty_created', false, '{"name":"Cardiology","description":"hearts"}'),
        (3, 'sub_specialty', '3', 1, 'sub_specialty_created', false,
         '{"specialty_id":"00000000-0000-7000-9000-000000000002","name":"Rhythm","description":""}'),
        (4, 'prompt', '4', 1, 'prompt_created', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","sub_specialty_id":"00000000-0000-7000-9000-000000000003","title":"T","content":"{{ x }}","variables":{"type":"object","b":1,"a":2},"llm_provider":"echo","model":"m","parameters":{},"is_public":false}'),
        (5, 'prompt', '4', 2, 'prompt_revised', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","sub_specialty_id":"00000000-0000-7000-9000-000000000003","title":"T2","content":"{{ x }}","variables":{"type":"object","b":1,"a":2},"llm_provider":"echo","model":"m","parameters":{"temperature":0.5},"is_public":true}'),
        (6, 'execution', '6', 1, 'execution_requested', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":2,"variables":{"z":1,"y":"\u00e4"},"messages":[],"llm_provider":"openai","model":"gpt","parameters":{}}'),
        (7, 'execution', '6', 2, 'execution_started', true, '{"attempt":1,"worker":"w"}'),
        (8, 'execution', '6', 3, 'execution_attempt_failed', true, '{"attempt":1,"class":"worker_lost","code":"worker_lost","detail":"gone"}'),
        (9, 'execution', '6', 4, 'execution_started', true, '{"attempt":2,"worker":"w"}'),
        (10, 'execution', '6', 5, 'execution_succeeded', true,
         '{"attempt":2,"result":"yes","finish_reason":"stop","input_tokens":10,"output_tokens":20,"cached_input_tokens":3,"reasoning_tokens":4,"cost":"0.000315","price_table":"p","duration_ms":1500,"response_id":"r"}'),
        (11, 'execution', '11', 1, 'execution_requested', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"echo","model":"m","parameters":{}}'),
        (12, 'execution', '11', 2, 'execution_cancel_requested', true, '{"by":"00000000-0000-7000-9000-000000000001"}'),
        (13, 'execution', '11', 3, 'execution_cancelled', true, '{"attempt":0,"duration_ms":0}'),
        (14, 'execution', '14', 1, 'execution_requested', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"echo","model":"m","parameters":{},"retry_of":"00000000-0000-7000-9000-000000000011"}'),
        (15, 'execution', '14', 2, 'execution_started', true, '{"attempt":1,"worker":"w"}'),
        (16, 'execution', '14', 3, 'execution_timed_out', true, '{"attempt":1,"limit_ms":2000,"duration_ms":2001}'),
        (17, 'execution', '17', 1, 'execution_requested', true,
         '{"user_id":"00000000-0000-7000-9000-000000000001","prompt_id":"00000000-0000-7000-9000-000000000004","prompt_version":1,"variables":{},"messages":[],"llm_provider":"openai","model":"m","parameters":{}}'),
        (18, 'execution', '17', 2, 'execution_started', true, '{"attempt":1,"worker":"w"}'),
        (19, 'execution', '17', 3, 'execution_failed', true,
         '{"attempt":1,"class":"permanent","code":"bad_request","detail":"no","input_tokens":1,"duration_ms":5}')
    ) e (position, stream, id, version, kind, scope, data)
) e;

-- What the read models must be then, likewise by hand.
insert into read.user_account values
    ('00000000-0000-7000-9000-000000000001', 'a@b.example', 'Ä', '{admin}', true,
     '2026-11-20 12:00:01.000001+00', '2026-11-20 12:00:01.000001+00', 1, 1);
insert into read.specialty values
    ('00000000-0000-7000-9000-000000000002', 'Cardiology', 'hearts', null,
     '2026-11-20 12:00:02.000001+00', '2026-11-20 12:00:02.000001+00', 1, 2);
insert into read.sub_specialty values
    ('00000000-0000-7000-9000-000000000003', '00000000-0000-7000-9000-000000000002', 'Rhythm', '',
     '2026-11-20 12:00:03.000001+00', '2026-11-20 12:00:03.000001+00', 1, 3);
insert into read.prompt
    (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters, is_public, created_at,
     updated_at, version, position)
values
    ('00000000-0000-7000-9000-000000000004', '00000000-0000-7000-9000-000000000001', '00000000-0000-7000-9000-000000000003',
     'T2', '{{ x }}', '{"type":"object","b":1,"a":2}', 'echo', 'm', '{"temperature":0.5}', true,
     '2026-11-20 12:00:04.000001+00', '2026-11-20 12:00:05.000001+00', 2, 5);
insert into read.prompt_version
    (id, version, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters, is_public,
     created_at, position)
values
    ('00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001', '00000000-0000-7000-9000-000000000003',
     'T', '{{ x }}', '{"type":"object","b":1,"a":2}', 'echo', 'm', '{}', false, '2026-11-20 12:00:04.000001+00', 4),
    ('00000000-0000-7000-9000-000000000004', 2, '00000000-0000-7000-9000-000000000001', '00000000-0000-7000-9000-000000000003',
     'T2', '{{ x }}', '{"type":"object","b":1,"a":2}', 'echo', 'm', '{"temperature":0.5}', true,
     '2026-11-20 12:00:05.000001+00', 5);
insert into read.execution
    (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result, input_tokens, output_tokens,
     cached_input_tokens, reasoning_tokens, cost, price_table, duration_ms, response_id, finish_reason, attempts,
     error_code, error_detail, retry_of, cancel_requested, created_at, started_at, finished_at, version, position)
values
    ('00000000-0000-7000-9000-000000000006', '00000000-0000-7000-9000-000000000004', 2, '00000000-0000-7000-9000-000000000001',
     '{"z":1,"y":"\u00e4"}', 'openai', 'gpt', 'succeeded', 'yes', 10, 20, 3, 4, 0.000315, 'p', 1500, 'r', 'stop', 2,
     null, null, null, false,
     '2026-11-20 12:00:06.000001+00', '2026-11-20 12:00:07.000001+00', '2026-11-20 12:00:10.000001+00', 5, 10),
    ('00000000-0000-7000-9000-000000000011', '00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001',
     '{}', 'echo', 'm', 'cancelled', null, null, null, null, null, null, null, null, null, null, 0,
     null, null, null, true,
     '2026-11-20 12:00:11.000001+00', null, '2026-11-20 12:00:13.000001+00', 3, 13),
    ('00000000-0000-7000-9000-000000000014', '00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001',
     '{}', 'echo', 'm', 'timed_out', null, null, null, null, null, null, null, 2001, null, null, 1,
     'timed_out', 'the model did not answer within 2000 ms', '00000000-0000-7000-9000-000000000011', false,
     '2026-11-20 12:00:14.000001+00', '2026-11-20 12:00:15.000001+00', '2026-11-20 12:00:16.000001+00', 3, 16),
    ('00000000-0000-7000-9000-000000000017', '00000000-0000-7000-9000-000000000004', 1, '00000000-0000-7000-9000-000000000001',
     '{}', 'openai', 'm', 'failed', null, 1, null, null, null, null, null, 5, null, null, 1,
     'bad_request', 'no', null, false,
     '2026-11-20 12:00:17.000001+00', '2026-11-20 12:00:18.000001+00', '2026-11-20 12:00:19.000001+00', 3, 19);
insert into read.usage_execution (id, tenant_id, llm_provider, model, version, position) values
    ('00000000-0000-7000-9000-000000000006', '00000000-0000-7000-9000-000000000001', 'openai', 'gpt', 5, 10),
    ('00000000-0000-7000-9000-000000000011', '00000000-0000-7000-9000-000000000001', 'echo', 'm', 3, 13),
    ('00000000-0000-7000-9000-000000000014', '00000000-0000-7000-9000-000000000001', 'echo', 'm', 3, 16),
    ('00000000-0000-7000-9000-000000000017', '00000000-0000-7000-9000-000000000001', 'openai', 'm', 3, 19);
insert into read.usage_daily
    (id, day, tenant_id, llm_provider, model, executions, succeeded, failed, input_tokens, output_tokens, cached_input_tokens,
     reasoning_tokens, cost, position)
select substr(encode(sha256(convert_to(concat_ws(e'\n', day, tenant_id, octet_length(llm_provider), llm_provider || model), 'UTF8')), 'hex'), 1, 32)::uuid,
       day, tenant_id, llm_provider, model, executions, succeeded, failed, input, output, cached, reasoning, cost, position
from (values
    (date '2026-11-20', uuid '00000000-0000-7000-9000-000000000001', 'openai', 'gpt', 1, 1, 0, 10, 20, 3, 4, 0.000315, 10),
    (date '2026-11-20', uuid '00000000-0000-7000-9000-000000000001', 'echo', 'm', 2, 0, 1, 0, 0, 0, 0, 0, 16),
    (date '2026-11-20', uuid '00000000-0000-7000-9000-000000000001', 'openai', 'm', 1, 0, 1, 1, 0, 0, 0, 0, 19)
) x (day, tenant_id, llm_provider, model, executions, succeeded, failed, input, output, cached, reasoning, cost, position);
insert into read.checkpoint (name, version, position, epoch, event_id)
select name, 1, 19, 1, '00000000-0000-7000-8000-000000000019'
from unnest(array['identity', 'catalog', 'item', 'prompt', 'execution', 'usage', 'company', 'session']) name;
