-- Sessions. Written by the projection `session` alone.
create table read.session (
    id uuid constraint session_pkey primary key,
    tenant_id uuid,
    created_by uuid,
    user_id uuid not null,
    last_used_at timestamptz not null,
    expires_at timestamptz not null,
    closed boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);
create index session_user_id_id_idx on read.session (user_id, id) where not closed;
