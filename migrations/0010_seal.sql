-- The seal of the log: a Merkle tree over it (RFC 6962) and its signed heads; docs/audit.md has the formulas. Written by the
-- sealer of command-api alone, behind the appends. Nothing here is truth: it shows whether the log still is what it was.

-- Who signs. The key of a head is the newest one with fewer events than it. A second key (the first was lost) is inserted by
-- an operator: see docs/operations.md.
create table seal_key (
    since bigint constraint seal_key_pkey primary key constraint seal_key_since_check check (since >= 0),
    public bytea not null constraint seal_key_public_check check (octet_length(public) = 32)
);

-- The roots of complete subtrees of 256^level leaves. (The leaves are computed from event.hash.)
create table seal_node (
    level smallint not null constraint seal_node_level_check check (level > 0),
    index bigint not null constraint seal_node_index_check check (index >= 0),
    hash bytea not null constraint seal_node_hash_check check (octet_length(hash) = 32),
    constraint seal_node_pkey primary key (level, index)
);

create table seal_head (
    size bigint constraint seal_head_pkey primary key,
    -- The size of the head before: of two processes that seal at a time one comes first, and none is left out unseen.
    previous bigint not null constraint seal_head_previous_key unique,
    root bytea not null constraint seal_head_root_check check (octet_length(root) = 32),
    epoch integer not null,
    sealed_at timestamptz not null,
    signature bytea not null constraint seal_head_signature_check check (octet_length(signature) = 64),
    -- event.hash of the positions previous + 1 to size, as it was when they were sealed: tells which of them was changed.
    hashes bytea not null,
    constraint seal_head_size_check check (previous >= 0 and size > previous),
    constraint seal_head_hashes_check check (octet_length(hashes) = 32 * (size - previous))
);
-- Hashes cannot be compressed: no use trying.
alter table seal_head alter column hashes set storage external;

create function seal_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the seal is append-only: % on table % is refused', tg_op, tg_table_name
        using errcode = 'integrity_constraint_violation';
end $$;
create trigger seal_key_append_only before update or delete on seal_key for each row execute function seal_is_append_only();
create trigger seal_node_append_only before update or delete on seal_node for each row execute function seal_is_append_only();
create trigger seal_head_append_only before update or delete on seal_head for each row execute function seal_is_append_only();
create trigger seal_key_no_truncate before truncate on seal_key for each statement execute function seal_is_append_only();
create trigger seal_node_no_truncate before truncate on seal_node for each statement execute function seal_is_append_only();
create trigger seal_head_no_truncate before truncate on seal_head for each statement execute function seal_is_append_only();
alter table seal_key enable always trigger seal_key_append_only;
alter table seal_node enable always trigger seal_node_append_only;
alter table seal_head enable always trigger seal_head_append_only;
alter table seal_key enable always trigger seal_key_no_truncate;
alter table seal_node enable always trigger seal_node_no_truncate;
alter table seal_head enable always trigger seal_head_no_truncate;
