-- Items. Written by the projection `item` alone.
create table read.item (
    id uuid constraint item_pkey primary key,
    tenant_id uuid,
    created_by uuid,
    name text not null,
    note text,
    archived boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    position bigint not null
);
create index item_tenant_id_id_idx on read.item (tenant_id, id);
