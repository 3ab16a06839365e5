//! Any event of every context: any text, any number, any JSON.

use events::{
    catalog,
    execution::{self, Answer, Bill, FailureClass, Function, Redrive, Request, Resolution, ToolCall, Usage, Wire},
    identity,
    model::{Message, Parameters, Role},
    policy::{OnUnknown, Policy},
    prompt,
};
use proptest::{collection::vec, option, prelude::*, sample};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

pub fn ids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), r#"["\\{}:,u0/\n]{0,12}"#, "[a-z ]{0,12}"]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
    ]
}

/// Any JSON of some levels.
pub fn json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text().prop_map(Value::from),];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((text(), inner), 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let float = || option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO);
    let numbers = (float(), float(), option::of(any::<u32>()), option::of(any::<u64>()));
    (option::of(text()), numbers, vec(text(), 0..4)).prop_map(
        |(system, (temperature, top_p, max_tokens, seed), stop)| Parameters {
            system,
            temperature,
            top_p,
            max_tokens,
            seed,
            stop,
            ..Parameters::default()
        },
    )
}

fn bill() -> impl Strategy<Value = Bill> {
    let tokens = || option::of(any::<u64>());
    let usage = (tokens(), tokens(), tokens(), tokens()).prop_map(
        |(input_tokens, output_tokens, cached_input_tokens, reasoning_tokens)| Usage {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            reasoning_tokens,
        },
    );
    (usage, option::of(cost()), any::<bool>(), option::of(text()), any::<u64>(), tokens(), option::of(text())).prop_map(
        |(usage, cost, estimated, price_table, duration_ms, first_chunk_ms, response_id)| Bill {
            usage,
            cost,
            estimated,
            price_table,
            duration_ms,
            first_chunk_ms,
            response_id,
        },
    )
}

fn cost() -> impl Strategy<Value = Decimal> {
    (any::<i64>(), 0..=28u32).prop_map(|(units, scale)| Decimal::new(units, scale))
}

fn wire() -> impl Strategy<Value = Wire> {
    (option::of(any::<u16>()), option::of(text()))
        .prop_map(|(provider_status, request_id)| Wire { provider_status, request_id })
}

fn policy() -> impl Strategy<Value = Policy> {
    let unknown = sample::select(OnUnknown::NAMES.map(|(_, policy)| policy).to_vec());
    (any::<u32>(), any::<u32>(), unknown).prop_map(|(max_attempts, deadline_seconds, outcome_unknown)| Policy {
        max_attempts,
        deadline_seconds,
        outcome_unknown,
    })
}

fn redrive() -> impl Strategy<Value = Redrive> {
    (option::of(ids()), option::of(text())).prop_map(|(by, reason)| Redrive { by, reason })
}

fn request() -> impl Strategy<Value = Request> {
    let role = sample::select(vec![Role::System, Role::User, Role::Assistant]);
    let message = (role, text()).prop_map(|(role, content)| Message { role, content });
    let who = (ids(), ids(), any::<i32>(), option::of(ids()), option::of(policy()), option::of(redrive()));
    (who, json(), vec(message, 0..4), text(), text(), parameters()).prop_map(
        |(
            (user_id, prompt_id, prompt_version, retry_of, policy, redrive),
            variables,
            messages,
            llm_provider,
            model,
            parameters,
        )| {
            Request {
                user_id,
                prompt_id,
                prompt_version,
                variables,
                messages,
                llm_provider,
                model,
                parameters,
                retry_of,
                policy,
                redrive,
            }
        },
    )
}

fn answer() -> impl Strategy<Value = Answer> {
    let call = (option::of(text()), text(), text(), text()).prop_map(|(id, kind, name, arguments)| ToolCall {
        id,
        kind,
        function: Function { name, arguments },
    });
    (text(), option::of(text()), option::of(text()), vec(call, 0..3)).prop_map(
        |(result, finish_reason, reasoning, tool_calls)| Answer { result, finish_reason, reasoning, tool_calls },
    )
}

pub fn executions() -> impl Strategy<Value = execution::Event> {
    use execution::Event;
    let class = || {
        let all = [
            FailureClass::Retryable,
            FailureClass::Permanent,
            FailureClass::Misconfigured,
            FailureClass::Malformed,
            FailureClass::WorkerLost,
        ];
        sample::select(all.to_vec())
    };
    prop_oneof![
        request().prop_map(|request| Event::ExecutionRequested { request: Box::new(request) }),
        (any::<u32>(), text(), ids(), any::<u64>()).prop_map(|(attempt, worker, token, lease_ms)| {
            Event::ExecutionStarted { attempt, worker, token, lease_ms }
        }),
        (any::<u32>(), text(), option::of(cost())).prop_map(|(attempt, request_hash, max_cost)| {
            Event::ProviderCallStarted { attempt, request_hash, max_cost }
        }),
        (any::<u32>(), class(), text(), text(), wire(), bill(), any::<u64>()).prop_map(
            |(attempt, class, code, detail, wire, bill, retry_in_ms)| Event::ExecutionAttemptFailed {
                attempt,
                class,
                code,
                detail,
                wire,
                bill,
                retry_in_ms
            }
        ),
        any::<u32>().prop_map(|attempt| Event::ExecutionRetryDue { attempt }),
        (any::<u32>(), option::of(cost()))
            .prop_map(|(attempt, max_cost)| Event::ExecutionOutcomeUnknown { attempt, max_cost }),
        (any::<u32>(), ids(), any::<bool>(), option::of(text()), option::of(cost()), option::of(any::<u32>()))
            .prop_map(|(attempt, by, again, reason, cost, deadline_seconds)| {
                let resolution = if again { Resolution::Retry } else { Resolution::Fail };
                Event::ExecutionResolved { attempt, by, resolution, reason, cost, max_cost: cost, deadline_seconds }
            }),
        (any::<u32>(), option::of(text()), option::of(text()), option::of(text()), option::of(cost()), bill())
            .prop_map(|(attempt, result, finish_reason, code, max_cost, bill)| Event::ProviderAnsweredLate {
                attempt,
                reasoning: result.clone(),
                tool_calls: Vec::new(),
                result,
                finish_reason,
                code,
                max_cost,
                bill
            }),
        (option::of(ids()), text()).prop_map(|(by, reason)| Event::ExecutionDiscarded { by, reason }),
        (any::<u32>(), answer(), bill()).prop_map(|(attempt, answer, bill)| Event::ExecutionSucceeded {
            attempt,
            answer,
            bill
        }),
        (any::<u32>(), class(), text(), text(), wire(), bill(), any::<bool>()).prop_map(
            |(attempt, class, code, detail, wire, bill, dead)| Event::ExecutionFailed {
                attempt,
                class,
                code,
                detail,
                wire,
                bill,
                dead
            }
        ),
        (any::<u32>(), any::<u64>(), any::<bool>(), bill()).prop_map(|(attempt, limit_ms, deadline, bill)| {
            Event::ExecutionTimedOut { attempt, limit_ms, deadline, bill }
        }),
        (ids(), option::of(text())).prop_map(|(by, reason)| Event::ExecutionCancelRequested { by, reason }),
        (any::<u32>(), bill()).prop_map(|(attempt, bill)| Event::ExecutionCancelled { attempt, bill }),
    ]
}

pub fn prompts() -> impl Strategy<Value = prompt::Event> {
    let model = (text(), text(), parameters());
    let revision = (ids(), (text(), text(), json()), model, any::<bool>(), policy()).prop_map(
        |(sub_specialty_id, (title, content, variables), (llm_provider, model, parameters), is_public, policy)| {
            prompt::Revision {
                sub_specialty_id,
                title,
                content,
                variables,
                llm_provider,
                model,
                parameters,
                is_public,
                policy,
            }
        },
    );
    (ids(), revision, 0..5_u8).prop_map(|(user_id, revision, which)| {
        let revision = Box::new(revision);
        match which {
            0 => prompt::Event::PromptArchived {},
            1 | 2 => prompt::Event::PromptCreated { user_id, revision },
            _ => prompt::Event::PromptRevised { user_id, revision },
        }
    })
}

pub fn users() -> impl Strategy<Value = identity::Event> {
    (text(), text(), vec(text(), 0..3)).prop_map(|(email, username, roles)| identity::Event::UserRegistered {
        email,
        username,
        roles,
    })
}

pub fn specialties() -> impl Strategy<Value = catalog::SpecialtyEvent> {
    (text(), text(), option::of(text())).prop_map(|(name, description, icon_url)| {
        catalog::SpecialtyEvent::SpecialtyCreated { name, description, icon_url }
    })
}

pub fn sub_specialties() -> impl Strategy<Value = catalog::SubSpecialtyEvent> {
    (ids(), text(), text()).prop_map(|(specialty_id, name, description)| {
        catalog::SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }
    })
}
