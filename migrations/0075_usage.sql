-- What executions have used, by day and model: keyed by something else than the thing that the events are about, so a row is the sum
-- of events of many streams. Written by the projection `usage` of `projectors` alone.

-- What an end of an execution does not say again and a day's row needs: who it was for, and by which model.
create table read.usage_execution (
    id uuid constraint usage_execution_pkey primary key,
    tenant_id uuid not null,
    llm_provider text not null,
    model text not null,
    version integer not null,
    position bigint not null
);

create table read.usage_daily (
    -- Made of the four columns that follow, which are the key: rows are spoken of by one id everywhere.
    id uuid constraint usage_daily_pkey primary key,
    -- In UTC, when it was used or ended.
    day date not null,
    tenant_id uuid not null,
    llm_provider text not null,
    model text not null,
    -- Executions that have ended on the day, however; and of those how many have succeeded, failed or timed out.
    executions bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    -- What all attempts have used.
    input_tokens bigint not null,
    output_tokens bigint not null,
    cached_input_tokens bigint not null,
    reasoning_tokens bigint not null,
    -- USD, as far as it is known.
    cost numeric not null,
    -- Of the last event in it.
    position bigint not null
);
-- Has the name that PostgreSQL would give it, so that it has the same in every generation.
create index usage_daily_tenant_id_day_idx on read.usage_daily (tenant_id, day);
