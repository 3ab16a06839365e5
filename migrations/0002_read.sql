-- The read models. Each is exactly a fold of the log: written by `projectors` alone, read by `query-api` alone.
-- Code names these tables without their schema (search_path is read, public), so that a new generation can be built beside
-- the old one and take its place.
create schema read;

-- How far each projection has come; moved in the same transaction as its rows.
create table read.checkpoint (
    name text constraint checkpoint_pkey primary key,
    -- The projection's VERSION in code that wrote the rows.
    version integer not null,
    position bigint not null,
    -- Identity of the event at that position: after a restore the same position may hold another fact.
    epoch integer not null,
    event_id uuid,
    updated_at timestamptz not null default now()
);

create table read.user_account (
    id uuid constraint user_account_pkey primary key,
    email text not null,
    username text not null,
    roles text[] not null,
    is_active boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);

create table read.specialty (
    id uuid constraint specialty_pkey primary key,
    name text not null,
    description text not null,
    icon_url text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);

create table read.sub_specialty (
    id uuid constraint sub_specialty_pkey primary key,
    specialty_id uuid not null,
    name text not null,
    description text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);
create index sub_specialty_specialty_id_id_idx on read.sub_specialty (specialty_id, id);

create table read.prompt (
    id uuid constraint prompt_pkey primary key,
    user_id uuid not null,
    sub_specialty_id uuid not null,
    title text not null,
    content text not null,
    variables json not null,
    llm_provider text not null,
    model text not null,
    parameters json not null,
    is_public boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);
create index prompt_user_id_id_idx on read.prompt (user_id, id);
create index prompt_public_id_idx on read.prompt (id) where is_public;
create index prompt_sub_specialty_id_id_idx on read.prompt (sub_specialty_id, id);

-- Every version that a prompt ever had; none is ever changed.
create table read.prompt_version (
    id uuid not null,
    version integer not null,
    user_id uuid not null,
    sub_specialty_id uuid not null,
    title text not null,
    content text not null,
    variables json not null,
    llm_provider text not null,
    model text not null,
    parameters json not null,
    is_public boolean not null,
    created_at timestamptz not null,
    position bigint not null,
    constraint prompt_version_pkey primary key (id, version)
);

create table read.execution (
    id uuid constraint execution_pkey primary key,
    prompt_id uuid not null,
    prompt_version integer not null,
    user_id uuid not null,
    variables json not null,
    llm_provider text not null,
    model text not null,
    status text not null constraint execution_status_check
        check (status in ('queued', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled')),
    result text,
    input_tokens bigint,
    output_tokens bigint,
    cached_input_tokens bigint,
    reasoning_tokens bigint,
    cost numeric,
    price_table text,
    duration_ms bigint,
    response_id text,
    -- Why the answer ended, in the provider's word.
    finish_reason text,
    attempts integer not null,
    error_code text,
    error_detail text,
    retry_of uuid,
    cancel_requested boolean not null,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    version integer not null,
    position bigint not null
);
create index execution_user_id_id_idx on read.execution (user_id, id);
create index execution_prompt_id_id_idx on read.execution (prompt_id, id);
create index execution_status_id_idx on read.execution (status, id);
create index execution_user_id_status_id_idx on read.execution (user_id, status, id);
