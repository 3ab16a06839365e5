//! The routes of plain commands.

use std::{collections::BTreeMap, sync::Arc};

use events::clock;
use poem::{
    Endpoint, EndpointExt as _, IntoResponse as _, Request, Response, Route, RouteMethod,
    endpoint::make,
    http::{Method, StatusCode},
};
use poem_openapi::{ApiExtractor as _, ExtractParamOptions};
use service::http::{Caller, Problem, Schema, checked_json};
use uuid::Uuid;

use super::{Command, Operation};
use crate::{dispatch::Dispatcher, envelope::Envelope};

/// Adds the routes of `operations` to `route`.
pub fn routes(dispatcher: &Arc<Dispatcher>, operations: Vec<Operation>, mut route: Route) -> Result<Route, Problem> {
    let mut paths: BTreeMap<String, RouteMethod> = BTreeMap::new();
    for operation in operations {
        let path = format!("{}{}", operation.collection, operation.below);
        let method = operation.method.clone();
        let endpoint = endpoint(dispatcher, operation)?;
        let methods = paths.remove(&path).unwrap_or_default();
        paths.insert(path, methods.method(method, endpoint));
    }
    for (path, methods) in paths {
        route = route.at(path, methods);
    }
    Ok(route)
}

fn endpoint(
    dispatcher: &Arc<Dispatcher>,
    operation: Operation,
) -> Result<impl Endpoint<Output = Response> + use<>, Problem> {
    let schema = Schema::new(&operation.schema)?;
    let (dispatcher, operation) = (Arc::clone(dispatcher), Arc::new((operation, schema)));
    let endpoint = make(move |request: Request| {
        let (dispatcher, operation) = (Arc::clone(&dispatcher), Arc::clone(&operation));
        async move { answer(&dispatcher, &operation, request).await }
    });
    Ok(endpoint.map_to_response())
}

fn path_id(request: &Request, name: &str) -> Result<Option<Uuid>, Problem> {
    let id = request.raw_path_param(name).map(str::parse).transpose();
    id.map_err(|_| Problem::invalid_parameter(name, "must be a UUID"))
}

async fn answer(
    dispatcher: &Arc<Dispatcher>,
    operation: &Arc<(Operation, Schema)>,
    request: Request,
) -> poem::Result<Response> {
    let (request, mut body) = request.split();
    let (known, schema) = &**operation;
    let caller = Caller::from_request(&request, &mut body, ExtractParamOptions::default()).await?;
    let id = path_id(&request, "id")?.unwrap_or_else(clock::id);
    let part = path_id(&request, "part")?;
    let envelope = <Envelope as poem::FromRequest>::from_request(&request, &mut body).await?;
    let (body, digest) = checked_json(&request, body.take()?, schema, known.check).await?;
    let call = envelope.call(caller.id, digest);
    let operation = Arc::clone(operation);
    let work = move |dispatcher: Arc<Dispatcher>, call| {
        let command = Command { caller, id, part, body, call };
        async move { (operation.0.run)(dispatcher, command).await }
    };
    let receipt = dispatcher.run(call, work).await?;
    let status =
        if known.method == Method::POST && known.below.is_empty() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response =
        serde_json::json!({ "id": receipt.id, "version": receipt.version, "position": receipt.position })
            .to_string()
            .with_content_type("application/json; charset=utf-8")
            .with_header("location", format!("{}/{}", known.collection, receipt.id))
            .into_response();
    response.set_status(status);
    if receipt.replayed {
        response.headers_mut().insert("idempotent-replayed", poem::http::HeaderValue::from_static("true"));
    }
    Ok(response)
}
