//! The read models once more, by SQL over the events alone: what each table must hold for the log as it is.
//!
//! Written from the contract and from what the events say, not from the projectors' code. Every column of every table is
//! derived; a table or a column that is not in here would not be checked, so the comparison refuses tables whose columns are
//! not these.

/// A table of the schema `read` and the query that folds it from the log.
pub struct Folded {
    /// Its name.
    pub table: &'static str,
    /// The projection that keeps it, by the name of its checkpoint.
    pub projection: &'static str,
    /// The columns of its primary key.
    pub key: &'static str,
    /// All its columns, in the order of the table.
    pub columns: &'static [&'static str],
    /// The query, whose columns have these names.
    pub query: &'static str,
}

/// All of them.
pub const ALL: [Folded; 12] = [
    USER,
    SESSION,
    COMPANY,
    COMPANY_MEMBER,
    SPECIALTY,
    SUB_SPECIALTY,
    ITEM,
    PROMPT,
    PROMPT_VERSION,
    EXECUTION,
    USAGE_EXECUTION,
    USAGE_DAILY,
];

const USER: Folded = Folded {
    table: "user_account",
    projection: "identity",
    key: "id",
    columns: &["id", "email", "username", "roles", "is_active", "created_at", "updated_at", "version", "position"],
    query: "
        select u.id, u.data ->> 'email' as email, u.data ->> 'username' as username,
               array(select json_array_elements_text(u.data -> 'roles')) as roles, true as is_active,
               u.recorded_at as created_at, l.recorded_at as updated_at, l.version, l.position
        from event u
        cross join lateral (select e.recorded_at, e.version, e.position from event e
                            where e.stream = u.stream and e.id = u.id order by e.version desc limit 1) l
        where u.stream = 'user' and u.kind = 'user_registered'",
};

const SESSION: Folded = Folded {
    table: "session",
    projection: "session",
    key: "id",
    columns: &[
        "id",
        "tenant_id",
        "created_by",
        "user_id",
        "last_used_at",
        "expires_at",
        "closed",
        "created_at",
        "updated_at",
        "version",
        "position",
    ],
    query: "
        select s.id, s.scope as tenant_id, (s.meta ->> 'actor')::uuid as created_by, (s.data ->> 'user_id')::uuid as user_id,
               u.recorded_at as last_used_at, (u.data ->> 'expires_at')::timestamptz as expires_at,
               l.kind = 'session_closed' as closed, s.recorded_at as created_at, l.recorded_at as updated_at, l.version,
               l.position
        from event s
        cross join lateral (select e.kind, e.recorded_at, e.version, e.position from event e
                            where e.stream = s.stream and e.id = s.id order by e.version desc limit 1) l
        cross join lateral (select e.data, e.recorded_at from event e
                            where e.stream = s.stream and e.id = s.id and e.kind <> 'session_closed'
                            order by e.version desc limit 1) u
        where s.stream = 'session' and s.kind = 'session_opened'",
};

/// The name that was given last, and of each setting what was said last, in the order of the contract.
const COMPANY: Folded = Folded {
    table: "company",
    projection: "company",
    key: "id",
    columns: &[
        "id",
        "tenant_id",
        "created_by",
        "name",
        "archived",
        "settings",
        "created_at",
        "updated_at",
        "version",
        "position",
    ],
    query: "
        with said as (
            select distinct on (e.id, k.key) e.id, k.key, (e.data -> k.key)::text as value
            from event e cross join lateral json_object_keys(e.data) as k (key)
            where e.stream = 'company' and e.kind = 'company_setting_changed'
            order by e.id, k.key, e.version desc
        )
        select c.id, c.id as tenant_id, (c.meta ->> 'actor')::uuid as created_by, n.name,
               exists (select from event a where a.stream = c.stream and a.id = c.id and a.kind = 'company_archived')
                   as archived,
               (select '{' || string_agg('\"' || k.key || '\":' || coalesce(s.value, 'null'), ',' order by k.n) || '}'
                from unnest(array['locale', 'currency', 'timezone', 'retention_days', 'default_provider', 'default_model'])
                     with ordinality as k (key, n)
                left join said s on s.id = c.id and s.key = k.key)::json as settings,
               c.recorded_at as created_at, l.recorded_at as updated_at, l.version, l.position
        from event c
        cross join lateral (select e.data ->> 'name' as name from event e
                            where e.stream = c.stream and e.id = c.id and e.kind in ('company_created', 'company_renamed')
                            order by e.version desc limit 1) n
        cross join lateral (select e.recorded_at, e.version, e.position from event e
                            where e.stream = c.stream and e.id = c.id order by e.version desc limit 1) l
        where c.stream = 'company' and c.kind = 'company_created'",
};

/// What was said last of each who was ever a member, since when they are one.
const COMPANY_MEMBER: Folded = Folded {
    table: "company_member",
    projection: "company",
    key: "id, user_id",
    columns: &["id", "user_id", "role", "joined_at", "updated_at", "version", "position"],
    query: "
        select distinct on (m.id, m.data ->> 'user_id') m.id, (m.data ->> 'user_id')::uuid as user_id,
               case when m.kind in ('member_joined', 'member_role_changed') then m.data ->> 'role' end as role,
               (select j.recorded_at from event j
                where j.stream = m.stream and j.id = m.id and j.kind = 'member_joined'
                  and j.data ->> 'user_id' = m.data ->> 'user_id'
                order by j.version desc limit 1) as joined_at,
               m.recorded_at as updated_at, m.version, m.position
        from event m
        where m.stream = 'company'
          and m.kind in ('member_joined', 'member_left', 'member_removed', 'member_role_changed')
        order by m.id, m.data ->> 'user_id', m.version desc",
};

const SPECIALTY: Folded = Folded {
    table: "specialty",
    projection: "catalog",
    key: "id",
    columns: &[
        "id",
        "tenant_id",
        "created_by",
        "name",
        "description",
        "icon_url",
        "archived",
        "created_at",
        "updated_at",
        "version",
        "position",
    ],
    query: "
        select s.id, s.scope as tenant_id, (s.meta ->> 'actor')::uuid as created_by, o.name, o.description, o.icon_url,
               o.archived, s.recorded_at as created_at, l.recorded_at as updated_at, l.version, l.position
        from event s
        cross join lateral (select e.recorded_at, e.version, e.position from event e
                            where e.stream = s.stream and e.id = s.id order by e.version desc limit 1) l
        -- Each column as the last event has it that speaks of it; null takes it away.
        cross join lateral (
            select (array_agg(e.data ->> 'name' order by e.version desc)
                        filter (where e.data -> 'name' is not null))[1] as name,
                   (array_agg(e.data ->> 'description' order by e.version desc)
                        filter (where e.data -> 'description' is not null))[1] as description,
                   (array_agg(e.data ->> 'icon_url' order by e.version desc)
                        filter (where e.data -> 'icon_url' is not null))[1] as icon_url,
                   bool_or(e.kind = 'specialty_archived') as archived
            from event e where e.stream = s.stream and e.id = s.id) o
        where s.stream = 'specialty' and s.kind = 'specialty_created'",
};

const SUB_SPECIALTY: Folded = Folded {
    table: "sub_specialty",
    projection: "catalog",
    key: "id",
    columns: &[
        "id",
        "tenant_id",
        "created_by",
        "specialty_id",
        "name",
        "description",
        "archived",
        "created_at",
        "updated_at",
        "version",
        "position",
    ],
    query: "
        select s.id, s.scope as tenant_id, (s.meta ->> 'actor')::uuid as created_by,
               (s.data ->> 'specialty_id')::uuid as specialty_id, o.name, o.description, o.archived,
               s.recorded_at as created_at, l.recorded_at as updated_at, l.version, l.position
        from event s
        cross join lateral (select e.recorded_at, e.version, e.position from event e
                            where e.stream = s.stream and e.id = s.id order by e.version desc limit 1) l
        cross join lateral (
            select (array_agg(e.data ->> 'name' order by e.version desc)
                        filter (where e.data -> 'name' is not null))[1] as name,
                   (array_agg(e.data ->> 'description' order by e.version desc)
                        filter (where e.data -> 'description' is not null))[1] as description,
                   bool_or(e.kind = 'sub_specialty_archived') as archived
            from event e where e.stream = s.stream and e.id = s.id) o
        where s.stream = 'sub_specialty' and s.kind = 'sub_specialty_created'",
};

const ITEM: Folded = Folded {
    table: "item",
    projection: "item",
    key: "id",
    columns: &[
        "id",
        "tenant_id",
        "created_by",
        "name",
        "note",
        "archived",
        "created_at",
        "updated_at",
        "version",
        "position",
    ],
    query: "
        select i.id, i.scope as tenant_id, (i.meta ->> 'actor')::uuid as created_by, o.name, o.note, o.archived,
               i.recorded_at as created_at, l.recorded_at as updated_at, l.version, l.position
        from event i
        cross join lateral (select e.recorded_at, e.version, e.position from event e
                            where e.stream = i.stream and e.id = i.id order by e.version desc limit 1) l
        cross join lateral (
            select (array_agg(e.data ->> 'name' order by e.version desc)
                        filter (where e.data -> 'name' is not null))[1] as name,
                   (array_agg(e.data ->> 'note' order by e.version desc)
                        filter (where e.data -> 'note' is not null))[1] as note,
                   bool_or(e.kind = 'item_archived') as archived
            from event e where e.stream = i.stream and e.id = i.id) o
        where i.stream = 'item' and i.kind = 'item_created'",
};

/// The newest version of each prompt, with the time of the oldest.
const PROMPT: Folded = Folded {
    table: "prompt",
    projection: "prompt",
    key: "id",
    columns: &[
        "id",
        "user_id",
        "sub_specialty_id",
        "title",
        "content",
        "variables",
        "llm_provider",
        "model",
        "parameters",
        "is_public",
        "created_at",
        "updated_at",
        "version",
        "position",
        "policy",
        "archived",
    ],
    query: "
        select distinct on (p.id) p.id, (p.data ->> 'user_id')::uuid as user_id,
               (p.data ->> 'sub_specialty_id')::uuid as sub_specialty_id, p.data ->> 'title' as title,
               p.data ->> 'content' as content, p.data -> 'variables' as variables,
               p.data ->> 'llm_provider' as llm_provider, p.data ->> 'model' as model,
               p.data -> 'parameters' as parameters, (p.data ->> 'is_public')::boolean as is_public,
               first_value(p.recorded_at) over (partition by p.id order by p.version) as created_at,
               l.recorded_at as updated_at, l.version, l.position, p.data -> 'policy' as policy,
               l.kind = 'prompt_archived' as archived
        from event p
        cross join lateral (select e.recorded_at, e.version, e.position, e.kind from event e
                            where e.stream = p.stream and e.id = p.id order by e.version desc limit 1) l
        where p.stream = 'prompt' and p.kind <> 'prompt_archived'
        order by p.id, p.version desc",
};

const PROMPT_VERSION: Folded = Folded {
    table: "prompt_version",
    projection: "prompt",
    key: "id, version",
    columns: &[
        "id",
        "version",
        "user_id",
        "sub_specialty_id",
        "title",
        "content",
        "variables",
        "llm_provider",
        "model",
        "parameters",
        "is_public",
        "created_at",
        "position",
        "policy",
    ],
    query: "
        select p.id, p.version, (p.data ->> 'user_id')::uuid as user_id,
               (p.data ->> 'sub_specialty_id')::uuid as sub_specialty_id, p.data ->> 'title' as title,
               p.data ->> 'content' as content, p.data -> 'variables' as variables,
               p.data ->> 'llm_provider' as llm_provider, p.data ->> 'model' as model,
               p.data -> 'parameters' as parameters, (p.data ->> 'is_public')::boolean as is_public,
               p.recorded_at as created_at, p.position, p.data -> 'policy' as policy
        from event p
        where p.stream = 'prompt' and p.kind <> 'prompt_archived'",
};

/// The request gives what was asked for, the outcome what came of it, the first start when it began, and the last event that
/// speaks of an attempt how many there were.
const EXECUTION: Folded = Folded {
    table: "execution",
    projection: "execution",
    key: "id",
    columns: &[
        "id",
        "prompt_id",
        "prompt_version",
        "user_id",
        "variables",
        "llm_provider",
        "model",
        "status",
        "result",
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "reasoning_tokens",
        "cost",
        "price_table",
        "duration_ms",
        "response_id",
        "finish_reason",
        "attempts",
        "error_code",
        "error_detail",
        "retry_of",
        "cancel_requested",
        "created_at",
        "started_at",
        "finished_at",
        "version",
        "position",
        "dead",
        "discarded_at",
        "next_attempt_at",
        "deadline_at",
        "cost_ceiling",
        "cost_unknown",
        "is_redrive",
        "reasoning",
        "tool_calls",
    ],
    query: "
        with happened as materialized (
            select id, version, position, kind, data, recorded_at, (data ->> 'attempt')::integer as attempt
            from event where stream = 'execution'
        ), outcome as (
            select distinct on (id) id, kind, data, recorded_at, attempt, version
            from happened
            where kind in ('execution_succeeded', 'execution_failed', 'execution_timed_out', 'execution_cancelled')
            order by id, version desc
        ), began as (
            select id, min(recorded_at) as at from happened where kind = 'execution_started' group by id
        ), tried as (
            select distinct on (id) id, attempt
            from happened
            where attempt is not null
              and kind not in ('execution_retry_due', 'execution_resolved', 'provider_answered_late')
            order by id, version desc
        ), wish as (
            select distinct id from happened where kind = 'execution_cancel_requested'
        ), mark as (
            select id, max(recorded_at) as at from happened where kind = 'execution_discarded' group by id
        ), resolved as (
            select distinct on (id) id, recorded_at, (data ->> 'deadline_seconds')::integer as seconds
            from happened where kind = 'execution_resolved' and data ->> 'deadline_seconds' is not null
            order by id, version desc
        ), used as (
            -- What attempts have told that they used, however they ended.
            select id, sum((data ->> 'input_tokens')::bigint)::bigint as input_tokens,
                   sum((data ->> 'output_tokens')::bigint)::bigint as output_tokens,
                   sum((data ->> 'cached_input_tokens')::bigint)::bigint as cached_input_tokens,
                   sum((data ->> 'reasoning_tokens')::bigint)::bigint as reasoning_tokens
            from happened
            where kind in ('execution_attempt_failed', 'execution_succeeded', 'execution_failed', 'execution_timed_out',
                           'execution_cancelled')
            group by id
        ), spent as (
            select id, sum((data ->> 'cost')::numeric) as cost from happened group by id
        ), call as (
            -- Each call with what it has cost, if anybody ever said so: whoever had it, late or not, or a person.
            select c.id, c.attempt, max((c.data ->> 'max_cost')::numeric) as ceiling,
                   sum((t.data ->> 'cost')::numeric) as told,
                   min(t.version) filter (where t.kind in
                       ('execution_attempt_failed', 'execution_outcome_unknown', 'execution_succeeded', 'execution_failed',
                        'execution_timed_out', 'execution_cancelled')) as over
            from happened c
            left join happened t on t.id = c.id and t.attempt = c.attempt and t.version > c.version
            where c.kind = 'provider_call_started'
            group by c.id, c.attempt
        ), booked as (
            select id, sum(ceiling) filter (where over is null) as open,
                   nullif(sum(ceiling) filter (where over is not null and told is null), 0) as unknown
            from call group by id
        ), last as (
            select id, max(version) as version, max(position) as position from happened group by id
        ), now as (
            -- What was last said of how far it is.
            select distinct on (id) id, kind, data, recorded_at
            from happened
            where kind in ('execution_requested', 'execution_started', 'execution_attempt_failed', 'execution_retry_due',
                           'execution_outcome_unknown')
            order by id, version desc
        ), failed as (
            select distinct on (id) id, data from happened
            where kind in ('execution_attempt_failed', 'execution_started') order by id, version desc
        )
        select r.id, (r.data ->> 'prompt_id')::uuid as prompt_id,
               (r.data ->> 'prompt_version')::integer as prompt_version, (r.data ->> 'user_id')::uuid as user_id,
               r.data -> 'variables' as variables, r.data ->> 'llm_provider' as llm_provider,
               r.data ->> 'model' as model,
               case when o.kind is not null then substr(o.kind, length('execution_') + 1)
                    when n.kind = 'execution_started' then 'running'
                    when n.kind = 'execution_outcome_unknown' then 'outcome_unknown' else 'queued' end as status,
               case when o.kind = 'execution_succeeded' then o.data ->> 'result' end as result,
               u.input_tokens, u.output_tokens, u.cached_input_tokens, u.reasoning_tokens,
               s.cost, o.data ->> 'price_table' as price_table,
               case when o.attempt > 0 then coalesce((o.data ->> 'duration_ms')::bigint, 0) end as duration_ms,
               o.data ->> 'response_id' as response_id,
               case when o.kind = 'execution_succeeded' then o.data ->> 'finish_reason' end as finish_reason,
               coalesce(t.attempt, 0) as attempts,
               case when o.kind = 'execution_failed' then o.data ->> 'code'
                    when o.kind = 'execution_timed_out' and (o.data ->> 'deadline')::boolean then 'deadline_exceeded'
                    when o.kind = 'execution_timed_out' then 'timed_out'
                    when o.kind is null then f.data ->> 'code' end as error_code,
               case when o.kind = 'execution_failed' then o.data ->> 'detail'
                    when o.kind = 'execution_timed_out' and (o.data ->> 'deadline')::boolean
                    then format('it had not ended within its deadline of %s ms', o.data ->> 'limit_ms')
                    when o.kind = 'execution_timed_out'
                    then format('the model did not answer within %s ms', o.data ->> 'limit_ms')
                    when o.kind is null then f.data ->> 'detail' end as error_detail,
               (r.data ->> 'retry_of')::uuid as retry_of, w.id is not null as cancel_requested,
               r.recorded_at as created_at, b.at as started_at, o.recorded_at as finished_at, l.version, l.position,
               coalesce(o.kind = 'execution_failed' and (o.data ->> 'dead')::boolean, false) as dead,
               m.at as discarded_at,
               case when o.kind is null and n.kind = 'execution_attempt_failed'
                    then n.recorded_at + (n.data ->> 'retry_in_ms')::bigint * interval '1 millisecond'
               end as next_attempt_at,
               coalesce(d.recorded_at + d.seconds * interval '1 second',
                        r.recorded_at + (r.data -> 'policy' ->> 'deadline_seconds')::integer * interval '1 second')
                   as deadline_at,
               k.open as cost_ceiling, k.unknown as cost_unknown, r.data -> 'redrive' is not null as is_redrive,
               case when o.kind = 'execution_succeeded' then o.data ->> 'reasoning' end as reasoning,
               case when o.kind = 'execution_succeeded' then o.data -> 'tool_calls' end as tool_calls
        from happened r
        join last l on l.id = r.id
        join now n on n.id = r.id
        left join outcome o on o.id = r.id
        left join began b on b.id = r.id
        left join tried t on t.id = r.id
        left join wish w on w.id = r.id
        left join mark m on m.id = r.id
        left join resolved d on d.id = r.id
        left join used u on u.id = r.id
        left join spent s on s.id = r.id
        left join booked k on k.id = r.id
        left join failed f on f.id = r.id
        where r.kind = 'execution_requested'",
};

const USAGE_EXECUTION: Folded = Folded {
    table: "usage_execution",
    projection: "usage",
    key: "id",
    columns: &["id", "tenant_id", "llm_provider", "model", "version", "position"],
    query: "
        select r.id, (r.data ->> 'user_id')::uuid as tenant_id, r.data ->> 'llm_provider' as llm_provider,
               r.data ->> 'model' as model, l.version, l.position
        from event r
        cross join lateral (select e.version, e.position from event e
                            where e.stream = r.stream and e.id = r.id order by e.version desc limit 1) l
        where r.stream = 'execution' and r.kind = 'execution_requested'",
};

/// What ended on a day, and what was used on it, of everybody by model.
const USAGE_DAILY: Folded = Folded {
    table: "usage_daily",
    projection: "usage",
    key: "id",
    columns: &[
        "id",
        "day",
        "tenant_id",
        "llm_provider",
        "model",
        "executions",
        "succeeded",
        "failed",
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "reasoning_tokens",
        "cost",
        "position",
    ],
    query: "
        with happened as (
            select (e.recorded_at at time zone 'UTC')::date as day, r.data ->> 'user_id' as tenant,
                   r.data ->> 'llm_provider' as llm_provider, r.data ->> 'model' as model, e.position,
                   (e.kind in ('execution_succeeded', 'execution_failed', 'execution_timed_out', 'execution_cancelled'))::integer
                       as ended,
                   (e.kind = 'execution_succeeded')::integer as succeeded,
                   (e.kind in ('execution_failed', 'execution_timed_out'))::integer as failed,
                   e.kind not in ('execution_resolved', 'provider_answered_late') as has_tokens, e.data
            from event e
            join event r on r.stream = e.stream and r.id = e.id and r.kind = 'execution_requested'
            where e.stream = 'execution'
              and e.kind in ('execution_attempt_failed', 'execution_succeeded', 'execution_failed', 'execution_timed_out',
                             'execution_cancelled', 'execution_resolved', 'provider_answered_late')
        ), used as (
            select h.*, coalesce((data ->> 'cost')::numeric, 0) as cost,
                   case when has_tokens then coalesce((data ->> 'input_tokens')::bigint, 0) else 0 end as input,
                   case when has_tokens then coalesce((data ->> 'output_tokens')::bigint, 0) else 0 end as output,
                   case when has_tokens then coalesce((data ->> 'cached_input_tokens')::bigint, 0) else 0 end as cached,
                   case when has_tokens then coalesce((data ->> 'reasoning_tokens')::bigint, 0) else 0 end as reasoning
            from happened h
        )
        select substr(encode(sha256(convert_to(concat_ws(e'\\n', day, tenant, octet_length(llm_provider),
                                                         llm_provider || model), 'UTF8')), 'hex'), 1, 32)::uuid as id,
               day, tenant::uuid as tenant_id, llm_provider, model, sum(ended)::bigint as executions,
               sum(succeeded)::bigint as succeeded, sum(failed)::bigint as failed, sum(input)::bigint as input_tokens,
               sum(output)::bigint as output_tokens, sum(cached)::bigint as cached_input_tokens,
               sum(reasoning)::bigint as reasoning_tokens, sum(cost) as cost, max(position) as position
        from used
        where ended > 0 or cost <> 0 or input + output + cached + reasoning > 0
        group by day, tenant, llm_provider, model",
};
