-- Companies, and who is a member of them. Written by the projection `company` alone.
create table read.company (
    id uuid constraint company_pkey primary key,
    tenant_id uuid,
    created_by uuid,
    name text not null,
    archived boolean not null,
    settings json not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);

-- Everybody who ever was one. The role is null for who is a member no more.
create table read.company_member (
    id uuid not null,
    user_id uuid not null,
    role text,
    joined_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null,
    constraint company_member_pkey primary key (id, user_id)
);
create index company_member_user_id_idx on read.company_member (user_id, id) where role is not null;
