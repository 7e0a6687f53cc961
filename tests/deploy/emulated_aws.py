"""An emulated AWS for the deployment tests: ministack, and what it lacks for this template.

`python -m tests.deploy.emulated_aws ADDRESS...` serves every service over TLS on port 443 of these addresses. Each
section says what it stands in for; README.md says what remains unproven. The patches fit the pinned ministack.
"""

import asyncio
import contextvars
import os
import string
import sys
from typing import Any

import samtranslator.translator.transform as sam
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app
from ministack.core import tls
from ministack.services import apigateway, lambda_svc, s3
from ministack.services.cloudformation import changesets, custom_resource, engine, handlers, provisioners

from tests.deploy import emulated_codedeploy, emulated_states, faults
from tests.deploy.aws import CONTAINERS_HOST

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]  # a resource's physical ID and its attributes
RESOURCES = provisioners._RESOURCE_HANDLERS


# CloudFormation passes the parameters to the SAM transform, which resolves DeploymentPreference with them;
# ministack passes none.

parameters: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("parameters")
sam_transform, apply_transforms = sam.transform, engine._apply_transforms


def transform_with_parameters(template: Any, _: Any, policies: Any) -> Any:
    return sam_transform(template, parameters.get(), policies)


def apply_transforms_with_parameters(template: Any, provided: Any = None, previous: Any = None) -> Any:
    parameters.set(engine._transform_parameters(template, provided, previous))
    return apply_transforms(template, provided, previous)


sam.transform = transform_with_parameters
changesets._apply_transforms = handlers._apply_transforms = apply_transforms_with_parameters


# CloudFormation accepts UpdateStack with an unchanged template if the template has a transform: the result of the
# transform may differ. SAM relies on it for the stack of its image repositories; ministack refuses it.

handlers._stack_has_no_updates = lambda *_, **__: False


# CloudWatch: an alarm on an expression exists, as an alarm on the expression's first metric.

alarm_record = provisioners._cw_metric_alarm_record


def record_alarm_on_expression(name: str, properties: Properties) -> Any:
    metrics = [each["MetricStat"] for each in properties.get("Metrics", []) if "MetricStat" in each]
    if metrics:
        first = metrics[0]["Metric"] | {"Period": metrics[0]["Period"], "Statistic": metrics[0]["Stat"]}
        properties = {key: value for key, value in properties.items() if key != "Metrics"} | first
    return alarm_record(name, properties)


provisioners._cw_metric_alarm_record = record_alarm_on_expression


# CloudFormation deletes stacks in the background. SAM looks at once, then every 30 seconds; to save them, DeleteStack
# responds when the stack is gone.

deletions: list[asyncio.Event] = []
handle_cloudformation, delete_stack = app.SERVICE_HANDLERS["cloudformation"], handlers._delete_stack_async


async def handle_until_deleted(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
    response = await handle_cloudformation(method, path, headers, body, query)
    while deletions:
        await deletions.pop().wait()
    return response


def start_deletion(*arguments: Any, **named: Any) -> Any:
    deletions.append(finished := asyncio.Event())
    return delete(finished, *arguments, **named)


async def delete(finished: asyncio.Event, *arguments: Any, **named: Any) -> None:
    await delete_stack(*arguments, **named)
    finished.set()


app.SERVICE_HANDLERS["cloudformation"], handlers._delete_stack_async = handle_until_deleted, start_deletion


# API Gateway imports the routes, integrations and authorizers of an HTTP API from its OpenAPI document.

METHODS = {"get": "GET", "post": "POST", "x-amazon-apigateway-any-method": "ANY"}
http_api = dict(RESOURCES["AWS::ApiGatewayV2::Api"])


def create_api(logical_id: str, properties: Properties, stack_name: str) -> Created:
    api_id, attributes = http_api["create"](logical_id, with_title(properties), stack_name)
    import_openapi(api_id, properties["Body"])
    return api_id, attributes


def update_api(api_id: str, old: Properties, new: Properties, *rest: str, **named: str) -> Created:
    result: Created = http_api["update"](api_id, with_title(old), with_title(new), *rest, **named)
    import_openapi(api_id, new["Body"])
    return result


def with_title(properties: Properties) -> Properties:
    info = properties["Body"]["info"]
    return {"Name": info["title"], "Version": info["version"], **properties}


def import_openapi(api_id: str, document: dict[str, Any]) -> None:
    for store in (apigateway._routes, apigateway._integrations, apigateway._authorizers):
        store[api_id] = {}
    schemes = document.get("components", {}).get("securitySchemes", {})
    authorizers = {
        name: import_authorizer(api_id, name, scheme["x-amazon-apigateway-authorizer"])
        for name, scheme in schemes.items()
        if "x-amazon-apigateway-authorizer" in scheme
    }
    for path, operations in document["paths"].items():
        for method in METHODS.keys() & operations:
            import_route(api_id, METHODS[method], path, operations[method], authorizers)


def import_authorizer(api_id: str, name: str, authorizer: dict[str, Any]) -> str:
    jwt = authorizer["jwtConfiguration"]
    settings = {
        "authorizerType": "JWT",
        "name": name,
        "identitySource": [authorizer["identitySource"]],
        "jwtConfiguration": {"Issuer": jwt["issuer"], "Audience": jwt["audience"]},
    }
    return created(apigateway._create_authorizer, apigateway._authorizers, api_id, settings)


def import_route(api_id: str, method: str, path: str, operation: dict[str, Any], authorizers: dict[str, str]) -> None:
    source = operation["x-amazon-apigateway-integration"]
    integration = {
        "integrationType": source["type"].upper(),
        "integrationUri": source["uri"],
        "integrationMethod": source["httpMethod"],
        "payloadFormatVersion": source["payloadFormatVersion"],
        "timeoutInMillis": source["timeoutInMillis"],
    }
    integration_id = created(apigateway._create_integration, apigateway._integrations, api_id, integration)
    route = {
        "routeKey": "$default" if operation.get("isDefaultRoute") else f"{method} {path}",
        "target": f"integrations/{integration_id}",
    }
    for name, scopes in ((name, scopes) for each in operation.get("security", []) for name, scopes in each.items()):
        if name in authorizers:
            route |= {"authorizationType": "JWT", "authorizerId": authorizers[name], "authorizationScopes": scopes}
        else:
            route |= {"authorizationType": "AWS_IAM"}
    apigateway._create_route(api_id, route)


def created(create: Any, store: Any, api_id: str, settings: dict[str, Any]) -> str:
    """Call one of API Gateway's operations; return the ID of what it stored last."""
    create(api_id, settings)
    return str(next(reversed(store[api_id])))


RESOURCES["AWS::ApiGatewayV2::Api"] |= {"create": create_api, "update": update_api}


# API Gateway passes preflight requests to the routes of an API that has no CORS configuration; ministack handles them
# itself, if the method is in upper case.

handle_in_scope = apigateway._handle_execute_in_scope
match_route, invoke_function = apigateway._match_route, apigateway._invoke_lambda_proxy


async def handle_preflights_by_route(api_id: str, stage: str, path: str, method: str, *rest: Any, **named: Any) -> Any:
    return await handle_in_scope(api_id, stage, path, method.lower(), *rest, **named)


async def invoke_with_method(
    integration: Any, api_id: str, stage: str, path: str, method: str, *rest: Any, **named: Any
) -> Any:
    return await invoke_function(integration, api_id, stage, path, method.upper(), *rest, **named)


apigateway._handle_execute_in_scope = handle_preflights_by_route
apigateway._match_route = lambda api_id, method, path: match_route(api_id, method.upper(), path)
apigateway._invoke_lambda_proxy = invoke_with_method


# CloudFormation sets a function's reserved concurrency; ministack takes it only from Lambda's own operation.

function = dict(RESOURCES["AWS::Lambda::Function"])


def create_function(logical_id: str, properties: Properties, stack_name: str) -> Created:
    name, attributes = function["create"](logical_id, properties, stack_name)
    reserve_concurrency(name, properties)
    return name, attributes


def update_function(name: str, old: Properties, new: Properties, *rest: str) -> Created:
    result: Created = function["update"](name, old, new, *rest)
    reserve_concurrency(name, new)
    return result


def reserve_concurrency(name: str, properties: Properties) -> None:
    if "ReservedConcurrentExecutions" in properties:
        reserved = {"ReservedConcurrentExecutions": int(properties["ReservedConcurrentExecutions"])}
        lambda_svc._put_function_concurrency(name, reserved)
    else:
        lambda_svc._delete_function_concurrency(name)


RESOURCES["AWS::Lambda::Function"] |= {"create": create_function, "update": update_function}


# Lambda has execution environments for each version of a function; ministack shares them between versions of one image.

pool_key = lambda_svc._warm_pool_key
lambda_svc._warm_pool_key = lambda function, config: f"{pool_key(function, config)}:{config.get('Version')}"


# A custom resource's function responds to CloudFormation under a name that leads from its container to the emulator.

custom_resource._HOST = CONTAINERS_HOST


# S3 has a host name for each bucket. In a container it is below the name that leads to the emulator, where ministack
# does not recognize it.

bucket_of_host = app._extract_s3_vhost_bucket


def bucket_of(host: str) -> Any:
    bucket, _, rest = host.partition(":")[0].partition(".")
    return bucket if rest == CONTAINERS_HOST else bucket_of_host(host)


app._extract_s3_vhost_bucket = bucket_of


# Secrets Manager can generate secrets without punctuation; ministack excludes only listed characters.

secret_string = provisioners._sm_secret_string


def generate_secret(properties: Properties) -> Any:
    generated = properties.get("GenerateSecretString", {})
    if generated.get("ExcludePunctuation"):
        properties = properties | {"GenerateSecretString": generated | {"ExcludeCharacters": string.punctuation}}
    return secret_string(properties)


provisioners._sm_secret_string = generate_secret


# An API's /health is its own, not ministack's.

emulator_health = app._handle_health_request
app._handle_health_request = lambda path, request_id: None if path == "/health" else emulator_health(path, request_id)


# S3 fails now and then; here it does so when a test asks for it.

handle_s3 = s3.handle_request


async def handle_with_faults(method: str, path: str, *rest: Any, **named: Any) -> Any:
    fault = faults.fault_of(f"{method} {path}")
    if fault:
        text = f"<Error><Code>{fault.code}</Code><Message>a test's fault</Message></Error>"
        return fault.status, {"content-type": "application/xml"}, text.encode()
    return await handle_s3(method, path, *rest, **named)


s3.handle_request = handle_with_faults


emulated_codedeploy.install()
emulated_states.install()


def main() -> None:
    """Serve until SIGTERM."""
    config = Config()
    config.bind = [f"{address}:443" for address in sys.argv[1:]]
    config.certfile, config.keyfile = tls.resolve_tls_material()
    config.loglevel = os.environ.get("LOG_LEVEL", "INFO")
    asyncio.run(serve(app.app, config))


if __name__ == "__main__":
    main()
